"""The mean explanation of real rows: clipped attribution vectors, summed once with noise.

Explanations of single real rows give the rows away (Shokri et al. 2021, arXiv:1907.00164; Luo et al. 2024,
arXiv:2407.11359), so none is released. What may leave is how much each column matters on average.

Claim. Releasing the sum over rows of (1, |phi_1| / C, ..., |phi_p| / C), every |phi| / C scaled down to an L2 norm
of at most 1, plus Gaussian noise of deviation sigma on each of the p + 1 coordinates, costs
``importance_event(sigma)``: a ``GaussianDpEvent(sigma / (sqrt(2) k))``, k the rows a unit may have.

Argument. (1) phi is a function of one row and of released values alone: the explained model, the background and the
clip C are public. Were the background real, a row's explanation would depend on others, and nothing below would
hold. (2) Absolute values are taken, and the vector clipped to norm 1, row by row; with the count's 1 beside it a row's
vector has a norm of at most sqrt(2): BOUND. ``noisy_sum`` enforces that bound again, drops what is not finite, and
sums whole numbers. (3) The rest is its argument: a unit moves the sum by at most k BOUND, twice that where it is
replaced. (4) The mean is a quotient of two released numbers: post-processing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from dp_accounting import DpEvent

from synthkit.data.encoding import Table, discretize
from synthkit.data.private import Private
from synthkit.errors import MethodError
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.moments import noisy_sum, sum_event
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOUND = math.sqrt(2)
_Z95 = 1.959964


@dataclass(frozen=True)
class NoisyImportance:
    """Released mean absolute attributions over real rows.

    Attributes:
        columns: the inputs (p).
        rows: noisy count of the rows.
        values: (p,) means, 0 or more.
        error: half width of each 95% interval, for the noise alone.
    """

    columns: tuple[str, ...]
    rows: float
    values: NDArray[np.float64]
    error: float


def importance_event(sigma: float, budget: Budget) -> DpEvent:
    """The cost of one release with noise ``sigma``, in rows."""
    return sum_event(sigma, BOUND, budget)


def noisy_importance(
    data: Private[Table],
    session: Session,
    attributions_of: Callable[[NDArray[np.int32]], NDArray[np.float64]],
    columns: tuple[str, ...],
    clip: float,
    sigma: float,
    what: str,
) -> NoisyImportance:
    """Release how much each column matters to a released model, on average over real rows.

    Args:
        data: the rows.
        session: charged ``importance_event(sigma)``.
        attributions_of: codes (n, d) to attributions (n, p), each from its own row and released values.
        columns: names of the p inputs.
        clip: C, the L2 norm of a row's attributions that counts in full. Public: choose it on synthetic rows.
        sigma: standard deviation of the noise, in rows.
        what: which model is explained, in public words.

    Raises:
        MethodError: a clip that is not above 0, or another unit of privacy than the plan's.
        BudgetExceeded: not in the plan. Nothing was read.
    """
    if not (math.isfinite(clip) and clip > 0):
        raise MethodError(f"clip is {clip}; it must be a finite number above 0, chosen on synthetic rows")
    session.check(data)
    schema, width = data.schema, len(columns)

    def vectors(table: Table) -> NDArray[np.float64]:
        found = np.abs(np.asarray(attributions_of(discretize(table, schema)), dtype=np.float64)) / clip  # (n, p)
        if found.shape != (table.rows, width):
            raise MethodError(f"noisy_importance needs one vector of {width} attributions for each row")
        found = np.where(np.isfinite(found).all(axis=1, keepdims=True), found, 0.0)
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        return np.hstack([np.ones((table.rows, 1)), found / np.maximum(norms, 1.0)])

    released = noisy_sum(data, session, vectors, width + 1, BOUND, sigma, f"mean attributions of {what}")
    rows = max(1.0, float(released[0]))
    values = np.maximum(released[1:], 0.0) * clip / rows
    return NoisyImportance(tuple(columns), rows, values, _Z95 * sigma * clip / rows)


__all__ = ["BOUND", "NoisyImportance", "importance_event", "noisy_importance"]
