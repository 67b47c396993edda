"""Membership inference on a released table: can an attacker tell who was in the training data?

Internal evidence: it looks at exact real rows, never enters a bundle and decides nothing. Two attacks
that need the released table alone and, for the first, a reference sample of the population
(of linked tables and of images, see ``families.py`` and ``pictures.py``):

*density ratio*     is the row likelier under the synthetic table than under the reference?
                    (van Breugel et al. 2023, DOMIAS, arXiv:2302.12580), with a Hamming kernel
*nearest neighbour* how close is the nearest synthetic row? (Hayes et al. 2019)

Beside each stands the same attack against people who were not in the data either: what it shows
there is chance. An AUC near one half refutes nothing and proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK = 256  # rows compared at once
_MOST = 4_000  # rows of each kind that are looked at
_Z95 = 1.959964

R = TypeVar("R")  # what is attacked: rows, families, images


@dataclass(frozen=True)
class Attack:
    """How well one attack tells members from others.

    Attributes:
        name: of rows, ``"density ratio"`` or ``"nearest neighbour"``, and ``"... (control)"``.
        auc: area under the ROC curve; one half is guessing.
        interval: 95% interval of it (Hanley and McNeil 1982).
        tpr_at_1_percent: share of members found at 1% false alarms.
        members, others: how many were attacked: rows, or parents, or units that have images.
    """

    name: str
    auc: float
    interval: tuple[float, float]
    tpr_at_1_percent: float
    members: int
    others: int

    @property
    def beats_guessing(self) -> bool:
        """Whether the interval lies above one half."""
        return self.interval[0] > 0.5


def attacks(
    training: NDArray[np.int32], holdout: NDArray[np.int32], synthetic: NDArray[np.int32], *, seed: int = 0
) -> list[Attack]:
    """Run both attacks, and both controls.

    Args:
        training: codes (n, d) of the members.
        holdout: codes of people who were not trained on; a third each serves as reference, as the
            others that members are told from, and as control.
        synthetic: codes of the released table.
        seed: of the choice of rows.
    """
    rng = np.random.default_rng(seed)
    members = _some(training, _MOST, rng)
    reference, others, control = np.array_split(rng.permutation(holdout)[: 3 * _MOST], 3)
    released = _some(synthetic, 5 * _MOST, rng)
    if not min(len(members), len(reference), len(others), len(control), len(released)):
        return []
    scores = {
        "density ratio": lambda rows: log_density(rows, released) - log_density(rows, reference),
        "nearest neighbour": lambda rows: -_nearest(rows, released).astype(np.float64),
    }
    return told_apart(scores, members, others, control)


def told_apart(
    scores: Mapping[str, Callable[[R], NDArray[np.float64]]], members: R, others: R, control: R
) -> list[Attack]:
    """Every attack against the members, then the same against the control.

    Args:
        scores: by the attack's name, what it says of each one who is attacked; higher is likelier a member.
        members: who were in the data.
        others: who were not; members are told from them.
        control: who were not in the data either.
    """
    known = {name: score(others) for name, score in scores.items()}
    return [
        _attack(f"{name}{suffix}", score(against), known[name])
        for suffix, against in (("", members), (" (control)", control))
        for name, score in scores.items()
    ]


def auc(members: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """P[a member scores higher than another], ties counting half."""
    merged = np.sort(others)
    below = np.searchsorted(merged, members, side="left")
    upto = np.searchsorted(merged, members, side="right")
    return float((below + upto).mean() / (2 * len(others)))


def _attack(name: str, members: NDArray[np.float64], others: NDArray[np.float64]) -> Attack:
    area, m, n = auc(members, others), len(members), len(others)
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (m - 1) * (first - area**2) + (n - 1) * (second - area**2)) / (m * n)
    half = _Z95 * math.sqrt(max(variance, 0.0))
    threshold = np.quantile(others, 0.99, method="higher")
    found = float((members > threshold).mean())
    return Attack(name, area, (max(0.0, area - half), min(1.0, area + half)), found, m, n)


def _some(rows: NDArray[np.int32], most: int, rng: np.random.Generator) -> NDArray[np.int32]:
    return rows[rng.permutation(len(rows))[:most]]


def distances(rows: NDArray[np.int32], others: NDArray[np.int32]) -> NDArray[np.int32]:
    """How many columns of codes (b, d) and (n, d) differ: (b, n)."""
    total = np.zeros((len(rows), len(others)), dtype=np.int32)
    for j in range(rows.shape[1]):
        total += rows[:, j, None] != others[None, :, j]
    return total


def _nearest(rows: NDArray[np.int32], others: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.concatenate([distances(rows[k : k + _CHUNK], others).min(axis=1) for k in range(0, len(rows), _CHUNK)])


def log_density(rows: NDArray[np.int32], others: NDArray[np.int32]) -> NDArray[np.float64]:
    """Kernel density (n,) among codes of others, with weight e^-1 a differing column; smoothed, so that no row has none."""
    if not len(rows):
        return np.zeros(0)
    parts = []
    for k in range(0, len(rows), _CHUNK):
        parts.append(log_kernel(distances(rows[k : k + _CHUNK], others)))
    return np.concatenate(parts)


def log_kernel(apart: NDArray[np.integer] | NDArray[np.floating]) -> NDArray[np.float64]:
    """The log of the mean of e^-distance, (b, n) to (b,)."""
    smoothed: NDArray[np.float64] = np.log(np.exp(-apart.astype(np.float64)).mean(axis=1) + 1e-12)
    return smoothed


__all__ = ["Attack", "attacks", "auc", "distances", "log_density", "log_kernel", "told_apart"]
