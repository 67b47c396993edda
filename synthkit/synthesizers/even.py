"""Rows that are as near to their model as so few rows can be.

A table of n rows drawn at random misses its model's marginals by chance, by about as much as the
real table misses the truth. That part of the error is needless: the model is released, so rows may
be chosen. Draw several times as many rows as wanted, and keep those whose pairs of columns occur as
often as in all of them (herding, Welling 2009, with swaps in place of a sequence). All of it is
post-processing of a released model.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from synthkit.synthesizers.base import sample_where

if TYPE_CHECKING:
    from numpy.typing import NDArray

_POOL = 8  # drawn for every row that is kept, at most
_SWEEPS = 200
_MOST = 60_000_000  # pairs of values looked at; of larger tables fewer are drawn, of the largest each row once


def even_rows(
    draw: Callable[[int], NDArray[np.integer]], n: int, sizes: Sequence[int], rng: np.random.Generator
) -> NDArray[np.integer]:
    """``n`` rows (n, d) out of more that ``draw`` gives, with the pairwise counts of all of them.

    Args:
        draw: so many rows of codes from the model.
        n: how many are wanted.
        sizes: codes of every column.
        rng: public randomness.
    """
    pairs = list(itertools.combinations(range(len(sizes)), 2))
    times = min(_POOL, _MOST // max(1, n * len(pairs)))
    if n < 2 or not pairs or times < 2:
        return draw(n)
    pool = draw(times * n)
    widths = [sizes[i] * sizes[j] for i, j in pairs]
    starts = np.cumsum([0, *widths])
    cells = np.empty((len(pool), len(pairs)), dtype=np.int32)
    for k, (i, j) in enumerate(pairs):
        cells[:, k] = starts[k] + pool[:, i] * sizes[j] + pool[:, j]

    def counts(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.bincount(cells[rows].ravel(), minlength=starts[-1]).astype(np.float64)

    order = rng.permutation(len(pool))
    kept, spare = order[:n].copy(), order[n:].copy()
    excess = counts(kept) - counts(order) / times
    looked, swapped = max(2, n // 5), max(1, n // 50)
    for _ in range(_SWEEPS):
        # Of some rows on either side, exchange those in the fullest cells for those in the emptiest.
        out, into = rng.choice(n, looked, replace=False), rng.choice(len(spare), looked, replace=False)
        weight = excess.astype(np.float32)
        worst = out[np.argsort(-weight[cells[kept[out]]].sum(axis=1), kind="stable")[:swapped]]
        best = into[np.argsort(weight[cells[spare[into]]].sum(axis=1), kind="stable")[:swapped]]
        after = excess - counts(kept[worst]) + counts(spare[best])
        if after @ after < excess @ excess:
            excess = after
            kept[worst], spare[best] = spare[best], kept[worst]
        else:
            swapped = max(1, swapped * 4 // 5)
    return pool[kept]


def rows_where(
    draw: Callable[[int], NDArray[np.integer]],
    n: int,
    wanted: Mapping[int, int],
    sizes: Sequence[int],
    rng: np.random.Generator,
) -> NDArray[np.integer]:
    """``n`` rows (n, d) from ``draw``: even ones or, under a condition (column to code), by rejection.

    Raises:
        JobError: the model (almost) never draws such a row.
    """
    return sample_where(draw, n, wanted) if wanted else even_rows(draw, n, sizes, rng)


__all__ = ["even_rows", "rows_where"]
