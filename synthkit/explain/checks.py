"""Whether an explanation deserves trust: agreement of rankings, deletion, and weights that are shuffled.

stability   rank correlation and overlap of the first three between seeds (Spearman, Jaccard)
deletion    the columns that are said to matter are taken away first: the score must move faster than for
            random orders (Petsiuk et al. 2018, arXiv:1806.07421)
weights     a network with random weights must not have the same explanation (Adebayo et al. 2018,
            arXiv:1810.03292)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synthkit.explain.shapley import Attribution, Score, asked

if TYPE_CHECKING:
    from numpy.typing import NDArray

STABLE_SPEARMAN, STABLE_JACCARD = 0.9, 0.8


@dataclass(frozen=True)
class Stability:
    """How far several seeds agree on what matters: the mean over pairs of seeds.

    Attributes:
        spearman: rank correlation of the importances.
        jaccard: overlap of the three most important.
        seeds: how many were compared.
    """

    spearman: float
    jaccard: float
    seeds: int

    @property
    def stable(self) -> bool:
        """Both are high enough that the ranking is not one of this seed alone."""
        return self.spearman >= STABLE_SPEARMAN and self.jaccard >= STABLE_JACCARD


def stability(importances: Sequence[NDArray[np.float64]]) -> Stability:
    """Agreement of importances (p,) from two seeds or more."""
    pairs = list(itertools.combinations(importances, 2))
    return Stability(
        float(np.mean([spearman(*pair) for pair in pairs])),
        float(np.mean([top_jaccard(*pair) for pair in pairs])),
        len(importances),
    )


def spearman(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Rank correlation, ties sharing their mean rank; 1 of two constants, 0 of one with another."""
    from scipy.stats import rankdata

    ranks = [rankdata(side) for side in (left, right)]
    spread = [float(side.std()) for side in ranks]
    if min(spread) == 0:
        return float(max(spread) == 0)
    return float(np.corrcoef(*ranks)[0, 1])


def top_jaccard(left: NDArray[np.float64], right: NDArray[np.float64], count: int = 3) -> float:
    """Overlap of the ``count`` largest: 1 the same, 0 disjoint."""
    first, second = (set(np.argsort(-side, kind="stable")[:count].tolist()) for side in (left, right))
    return len(first & second) / len(first | second)


def deletion_share(
    score: Score, explained: Attribution, background: NDArray[Any], *, orders: int = 20, seed: int = 0
) -> float:
    """The share of random orders of deletion that the explanation's own order beats: 1 is best.

    Columns are replaced by the background's, the one that raises the score most first and the one that lowers
    it most last; the area between the row's score and the curve is compared, over all rows together.

    Args:
        score: takes the players' columns alone.
        explained: its attribution, with no column held fixed.
        background: (b, p).
    """
    rng = np.random.default_rng(seed)
    own = np.argsort(-explained.values, axis=1)  # (n, p)
    drawn = [rng.permuted(np.tile(np.arange(own.shape[1]), (len(own), 1)), axis=1) for _ in range(orders)]
    areas = [_deletion_area(score, explained.rows, background, order) for order in (own, *drawn)]
    return float(np.mean([areas[0] > area for area in areas[1:]]))


def _deletion_area(score: Score, rows: NDArray[Any], background: NDArray[Any], order: NDArray[np.integer]) -> float:
    whole, area = asked(score, rows), 0.0
    rank = np.argsort(order, axis=1)
    for gone in range(1, order.shape[1] + 1):
        mixed = np.where((rank < gone)[:, None, :], background[None], rows[:, None, :])  # (n, b, p)
        left = asked(score, mixed.reshape(-1, rows.shape[1])).reshape(len(rows), -1).mean(axis=1)
        area += float((whole - left).mean())
    return float(area / order.shape[1])


__all__ = [
    "STABLE_JACCARD",
    "STABLE_SPEARMAN",
    "Stability",
    "deletion_share",
    "spearman",
    "stability",
    "top_jaccard",
]
