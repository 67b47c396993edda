"""Noisy sums of bounded vectors, and the moments that follow from them.

Claim. Releasing sum_i v_i + N(0, sigma^2 I), rounded to a grid, costs
``GaussianDpEvent(sigma / (k * norm_bound))``, k the rows a unit may have.

Argument. Every row's vector is a function of that row alone; a non-finite one is set to zero, a
longer one is scaled down to ``norm_bound`` in L2. Vectors are then cut to whole multiples of
norm_bound / 2^32 towards zero and added as integers: a float sum's rounding would depend on all rows,
and could move by more than the radius (Casacuberta et al. 2022, arXiv:2207.10635). So a unit contributes a vector of norm at most
k * norm_bound around zero: its radius. Adding or removing a unit moves the sum by at most the
radius, replacing one by at most twice that, which is how the accountant reads the event under
either adjacency. Rounding to the grid is post-processing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import dp_accounting
import numpy as np
from dp_accounting import DpEvent

from synthkit.data.encoding import Table
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Numeric, Schema
from synthkit.errors import MethodError
from synthkit.privacy.budget import Budget
from synthkit.privacy.plan import Charge
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SOURCE = "Gaussian mechanism, Dwork and Roth 2014, appendix A; noise rounded to a grid"
_CHUNK = 100_000  # rows at a time
_LARGEST = 1e150  # larger entries count as infinite: their squares would be
_STEPS = 2.0**32  # exact sums: of up to 2^31 rows in 64 bits

R = TypeVar("R", Table, Images)  # rows: of a table, or images
S = TypeVar("S", Schema, ImageSchema)


def sum_event(sigma: float, norm_bound: float, budget: Budget) -> DpEvent:
    """The cost of one noisy sum of rows' vectors of L2 norm at most ``norm_bound``."""
    return dp_accounting.GaussianDpEvent(sigma / (norm_bound * budget.unit.max_rows))


def noisy_sum(
    data: Private[R, S],
    session: Session,
    vector_of: Callable[[R], NDArray[np.float64]],
    width: int,
    norm_bound: float,
    sigma: float,
    what: str,
) -> NDArray[np.float64]:
    """Release the sum of a bounded vector over all rows.

    Args:
        data: the rows, or images.
        session: charged ``sum_event(sigma, norm_bound)``.
        vector_of: a table of n rows to vectors (n, width), looking at one row at a time. It is called with one
            image at a time: what a network computes of an image may be rounded otherwise among others.
        width: length of the vectors.
        norm_bound: L2 bound a row; longer vectors are scaled down, non-finite ones set to zero.
        sigma: standard deviation of the noise on every coordinate.
        what: what is summed, in public words.

    Returns:
        (width,), on the noise's grid.
    """
    budget = session.plan.budget
    radius = norm_bound * budget.unit.max_rows
    charge = Charge(sum_event(sigma, norm_bound, budget), "noisy sum", radius, _SOURCE, what)
    session.charge(charge)
    table = reveal(data)
    total, size = np.zeros(width, dtype=np.int64), 1 if isinstance(table, Images) else _CHUNK
    for start in range(0, table.rows, size):
        chunk = table.part(slice(start, start + size))
        vectors = np.asarray(vector_of(chunk), dtype=np.float64)  # (b, width)
        if vectors.shape != (chunk.rows, width):
            raise MethodError(f"noisy_sum needs one vector of {width} numbers for each row")
        total += np.trunc(_clip(vectors, norm_bound) / norm_bound * _STEPS).astype(np.int64).sum(axis=0)
    return session.release(charge, total / _STEPS * norm_bound)


@dataclass(frozen=True)
class NoisyMoments:
    """Released first and second moments of one column, in its own units."""

    column: str
    rows: float
    mean: float
    variance: float


def noisy_moments(data: Private[Table], session: Session, columns: Sequence[str], sigma: float) -> list[NoisyMoments]:
    """Release count, mean and variance of numeric columns, one noisy sum a column.

    A row's vector is (1, x, x^2), x the value mapped to [-1, 1] by the schema's bounds: norm at
    most sqrt(3). Nulls contribute nothing.

    Args:
        data: the rows.
        session: charged ``sum_event(sigma, sqrt(3))`` a column.
        columns: numeric columns.
        sigma: noise of each of the three sums.
    """
    released = []
    for name in columns:
        column = data.schema.modelled[name]
        if not isinstance(column, Numeric):
            raise MethodError(f"moments need a numeric column; {name} is {column.kind}")
        centre, half = (column.low + column.high) / 2, (column.high - column.low) / 2

        def vector(table: Table, name: str = name, centre: float = centre, half: float = half) -> NDArray[np.float64]:
            x = (table.columns[name].astype(np.float64) - centre) / half
            stacked: NDArray[np.float64] = np.nan_to_num(np.stack([np.where(np.isnan(x), 0.0, 1.0), x, x * x], axis=1))
            return stacked  # (n, 3)

        count, first, second = noisy_sum(data, session, vector, 3, 3**0.5, sigma, f"moments of {name}")
        rows = max(float(count), 1.0)
        mean = float(np.clip(first / rows, -1, 1))
        variance = float(np.clip(second / rows - mean**2, 0, 1))
        released.append(NoisyMoments(name, float(count), centre + half * mean, half**2 * variance))
    return released


def _clip(vectors: NDArray[np.float64], bound: float) -> NDArray[np.float64]:
    usable = (np.abs(vectors) <= _LARGEST).all(axis=1, keepdims=True)  # NaN is not
    vectors = np.where(usable, vectors, 0.0)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)  # (n, 1)
    clipped: NDArray[np.float64] = vectors * np.minimum(1.0, bound / np.maximum(norms, 1e-300))
    return clipped


__all__ = ["NoisyMoments", "noisy_moments", "noisy_sum", "sum_event"]
