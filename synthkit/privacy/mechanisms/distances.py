"""How far the real rows are from a public distribution, with noise.

Claim. Let f(D) be the mean over Q marginals of n * TVD(h_q / n, s_q), h_q the counts of D's n rows
and s_q a public distribution. One row more or less moves f by at most 1.

Argument. n * TVD = 1/2 sum_c |h_c - n s_c|. A row in cell j adds 1 - s_j to the difference in j
and -s_c elsewhere: at most 1/2 ((1 - s_j) + sum_{c != j} s_c) = 1 - s_j <= 1 by the triangle
inequality. A mean of such terms moves by at most 1. A unit of k rows: at most k. Replacing k rows by k
others leaves n s alone and moves at most k out of cells and k into cells: 1/2 (k + k) = k. Replacing
them by fewer is replacing some and removing others: at most k again. So f + N(0, sigma^2) is
``GaussianDpEvent(sigma / r)``, radius r = k under add-or-remove, k / 2 under replace-one.
Divided by a noisy row count, it is an honest mean distance, nearly free: its noise is sigma / n.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dp_accounting
import numpy as np
from dp_accounting import DpEvent

from synthkit.data.encoding import Table
from synthkit.data.private import Private, reveal
from synthkit.errors import MethodError
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.mechanisms.counts import exact_marginals
from synthkit.privacy.plan import Charge
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SOURCE = "Gaussian mechanism; sensitivity proved in synthkit/privacy/mechanisms/distances.py"


def distance_event(sigma: float, budget: Budget) -> DpEvent:
    """The cost of one noisy mean distance."""
    return dp_accounting.GaussianDpEvent(sigma / distance_radius(budget))


def distance_radius(budget: Budget) -> float:
    """Half of how far exchanging a unit moves it; all of how far adding or removing one does."""
    return budget.unit.max_rows / (2 if budget.adjacency is Adjacency.REPLACE_ONE else 1)


def noisy_distance(
    data: Private[Table],
    session: Session,
    queries: Sequence[tuple[str, ...]],
    references: Sequence[NDArray[np.float64]],
    sigma: float,
    what: str,
) -> float:
    """Release n times the mean total variation distance between real and public marginals.

    Args:
        data: the rows.
        session: charged ``distance_event(sigma)``.
        queries: the columns of each marginal.
        references: the public distribution of each, summing to 1, shaped as the columns' domains.
        sigma: standard deviation of the noise, in rows.
        what: what is compared, in public words.

    Returns:
        rows times distance; divide by a (noisy) row count.

    Raises:
        MethodError: a reference is not a distribution, so that the sensitivity would not hold.
    """
    if not all((reference >= 0).all() and abs(reference.sum() - 1) < 1e-6 for reference in references):
        raise MethodError("noisy_distance needs references that are distributions: 0 or more, summing to 1")
    sizes = data.schema.domain
    for query, reference in zip(queries, references, strict=True):
        if reference.shape != tuple(sizes[name] for name in query):
            raise MethodError("noisy_distance needs references that are shaped as their columns' domains")
    budget = session.plan.budget
    session.check(data)
    charge = Charge(distance_event(sigma, budget), "noisy mean distance", distance_radius(budget), _SOURCE, what)
    session.charge(charge)
    rows = reveal(data)
    tables = exact_marginals(rows, data.schema, queries)
    exact = np.mean(
        [0.5 * np.abs(table - rows.rows * reference).sum() for table, reference in zip(tables, references, strict=True)]
    )
    return float(session.release(charge, np.array([exact]))[0])


__all__ = ["distance_event", "noisy_distance"]
