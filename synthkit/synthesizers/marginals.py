"""From noisy marginals to one consistent start: columns independent given a class.

Post-processing of released counts, denoised first (``posterior.py``). Repeated measurements of one margin are
averaged by their precision, negative counts are projected away (Euclidean projection onto the simplex), and each
table is fitted to its margins by iterative proportional fitting (Deming and Stephan 1940).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthkit.data.schema import Schema
from synthkit.privacy.mechanisms.counts import NoisyMarginal
from synthkit.synthesizers.posterior import posterior

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SWEEPS = 50


@dataclass(frozen=True)
class Measured:
    """What the noisy marginals say.

    Attributes:
        schema: the public schema.
        condition: position of the conditioning column, or None (one class).
        rows: estimated number of rows, at least 1.
        sigma: noise of every cell, in rows.
        chances: (k,) probability of every class.
        conditionals: (k, width) distribution of every column given the class, side by side; the
            conditioning column's block is its indicator.
    """

    schema: Schema
    condition: int | None
    rows: float
    sigma: float
    chances: NDArray[np.float64]
    conditionals: NDArray[np.float64]

    @classmethod
    def of(cls, released: Sequence[NoisyMarginal], schema: Schema, condition: int | None) -> Measured:
        """Read all one-way marginals; with a condition each column's table with it, and one-way marginals if any."""
        names = list(schema.domain)
        rows, sigma = estimated_rows(released), released[0].sigma
        tables = {m.columns: posterior(m, schema, rows).counts for m in released}
        if condition is None:
            blocks = [simplex(tables[(name,)] / rows)[None, :] for name in names]
            return cls(schema, None, rows, sigma, np.ones(1), np.concatenate(blocks, axis=1))
        given = names[condition]
        joint = {name: tables[(name, given)] for name in names if name != given}
        given_counts = [(table.sum(axis=0), table.shape[0]) for table in joint.values()]
        chances = simplex(_pooled(tables.get((given,)), given_counts) / rows)
        blocks = []
        for name in names:
            if name == given:
                blocks.append(np.eye(len(chances)))
                continue
            table = joint[name]
            margin = simplex(_pooled(tables.get((name,)), [(table.sum(axis=1), table.shape[1])]) / rows)
            blocks.append(_fit(simplex(table / rows), margin, chances))
        return cls(schema, condition, rows, sigma, chances, np.concatenate(blocks, axis=1))


def target_position(schema: Schema) -> int | None:
    """Position of the target among the modelled columns, where there is one."""
    return None if schema.target is None else list(schema.modelled).index(schema.target)


def simplex(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean projection onto distributions (Held, Wolfe and Crowder 1974), any shape."""
    flat = np.sort(shares.ravel())[::-1]
    excess = (np.cumsum(flat) - 1) / np.arange(1, flat.size + 1)
    shift = excess[np.flatnonzero(flat > excess)[-1]]
    projected: NDArray[np.float64] = np.maximum(shares - shift, 0.0)
    return projected


def estimated_rows(released: Sequence[NoisyMarginal]) -> float:
    """Every table's total estimates the number of rows, at least 1; its variance grows with its cells."""
    weights = np.array([1 / (marginal.counts.size * marginal.sigma**2) for marginal in released])
    totals = np.array([marginal.counts.sum() for marginal in released])
    return max(1.0, float((weights * totals).sum() / weights.sum()))


def _pooled(once: NDArray[np.float64] | None, sums: Sequence[tuple[NDArray[np.float64], int]]) -> NDArray[np.float64]:
    """Measurements of one margin: one direct, if there, and others that are sums of so many cells with equal noise."""
    measured = [*sums] if once is None else [(once, 1), *sums]
    pooled: NDArray[np.float64] = np.average(
        [counts for counts, _ in measured], axis=0, weights=[1 / terms for _, terms in measured]
    )
    return pooled


def _fit(table: NDArray[np.float64], margin: NDArray[np.float64], chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """A table (size, k) with the given margins, as conditionals (k, size)."""
    # A little of the product keeps cells alive that the projection set to zero.
    fitted = 0.999 * table + 0.001 * margin[:, None] * chances[None, :]
    for _ in range(_SWEEPS):
        fitted = fitted * (margin / np.maximum(fitted.sum(axis=1), 1e-300))[:, None]
        fitted = fitted * (chances / np.maximum(fitted.sum(axis=0), 1e-300))
    columns = fitted.sum(axis=0)
    given = np.where(columns > 0, fitted / np.maximum(columns, 1e-300), margin[:, None])
    return np.ascontiguousarray(given.T)


__all__ = ["Measured", "estimated_rows", "simplex", "target_position"]
