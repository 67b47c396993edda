"""Local surrogates: a weighted linear model of the score around one row, or one image.

Ribeiro, Singh and Guestrin 2016 (arXiv:1602.04938), with two repairs. A column is one feature however it is
encoded (a superpixel likewise): known, or exchanged for the background's. And a perturbation is the mean over the
background, not over one draw, so that what is left over is the score's curvature and not the draw's noise.

A surrogate is only as good as it fits. The weighted R2 on the perturbations and the agreement of several seeds
are part of the result; below an R2 of .5 it says that it is not faithful, and what it shows is not to be used.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synthkit.errors import ExplanationError
from synthkit.evidence import Payment
from synthkit.explain.checks import Stability, spearman, stability
from synthkit.explain.shapley import Attribution, Score, Worth, checked_players, game

if TYPE_CHECKING:
    from numpy.typing import NDArray

FAITHFUL = 0.5  # weighted R2
_WIDTH = 0.75  # of the kernel, in units of sqrt(players): LIME's own choice
_RIDGE = 1e-6


@dataclass(frozen=True)
class Surrogate:
    """Linear weights around some rows, the mean over seeds.

    Attributes:
        columns: the features (p).
        weights: (n, p) how much the score rises where the row's own value is known.
        r2: (n,) weighted R2 of the linear fit: 1 the score is linear here, 0 the weights say nothing.
        stability: one a row, between seeds.
        payment: as of its inputs.
    """

    columns: tuple[str, ...]
    weights: NDArray[np.float64]
    r2: NDArray[np.float64]
    stability: tuple[Stability, ...]
    payment: Payment

    @property
    def faithful(self) -> NDArray[np.bool_]:
        """(n,) where the linear model follows the score closely enough to be read."""
        return self.r2 >= FAITHFUL

    def verdict(self, row: int) -> str:
        """One sentence on the surrogate of a row."""
        fit = f"local R² {self.r2[row]:.2f}"
        if not self.faithful[row]:
            return f"Not faithful ({fit}, below {FAITHFUL}): the score is not linear around this row; do not use it."
        steady = "" if self.stability[row].stable else ", and seeds disagree on the order"
        return f"Faithful ({fit}){steady}."

    def agreement(self, explained: Attribution, rows: Sequence[int]) -> NDArray[np.float64]:
        """(n,) rank correlation with the Shapley values of the same rows, in absolute values.

        Args:
            explained: Shapley values.
            rows: which of its rows each surrogate is of.
        """
        if explained.columns != self.columns:
            raise ExplanationError("Shapley values and surrogate are of different columns")
        return np.array(
            [
                spearman(np.abs(weights), np.abs(explained.values[row]))
                for weights, row in zip(self.weights, rows, strict=True)
            ]
        )


def surrogate(
    score: Score,
    rows: NDArray[Any],
    background: NDArray[Any],
    columns: Sequence[str],
    *,
    fixed: Collection[str] = (),
    seeds: int = 5,
    payment: Payment = "internal",
) -> Surrogate:
    """Local surrogates of ``score`` around rows of codes.

    Args:
        score, rows, background, columns, fixed, payment: as for :func:`synthkit.explain.shapley.explain`.
        seeds: of the perturbations; two or more.

    Raises:
        ExplanationError: inputs that do not fit, or scores that are not finite.
    """
    players = checked_players(rows, background, columns, fixed)
    games = [game(score, row, background, players) for row in rows]
    return of_games(games, [columns[j] for j in players], seeds, payment)


def of_games(games: Sequence[Worth], columns: Sequence[str], seeds: int, payment: Payment) -> Surrogate:
    """Surrogates of games: each the worth of coalitions around one row or image."""
    if seeds < 2:
        raise ExplanationError(f"{seeds} seed: stability takes two at least")
    weights, fits, steady = [], [], []
    for worth in games:
        drawn = [fitted(worth, len(columns), np.random.default_rng(seed)) for seed in range(seeds)]
        weights.append(np.mean([found for found, _ in drawn], axis=0))
        fits.append(float(np.mean([fit for _, fit in drawn])))
        steady.append(stability([np.abs(found) for found, _ in drawn]))
    return Surrogate(tuple(columns), np.array(weights), np.array(fits), tuple(steady), payment)


def fitted(worth: Worth, players: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
    """A linear fit on random coalitions, near ones counting more: weights (p,), weighted R2."""
    masks = rng.random((150 + 5 * players, players)) < 0.5
    masks[0] = True
    near = np.exp(-(~masks).sum(axis=1) / (_WIDTH**2 * players))
    target = worth(masks)
    design = np.column_stack([masks, np.ones(len(masks))]).astype(np.float64)
    inner = design.T @ (near[:, None] * design)
    inner[np.arange(players), np.arange(players)] += _RIDGE
    found = np.linalg.solve(inner, design.T @ (near * target))
    centre = np.average(target, weights=near)
    total = float((near * (target - centre) ** 2).sum())
    left = float((near * (target - design @ found) ** 2).sum())
    return found[:-1], 1.0 if total <= 1e-18 else 1.0 - left / total


__all__ = ["FAITHFUL", "Surrogate", "fitted", "of_games", "surrogate"]
