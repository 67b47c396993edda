"""Scores that tests explain: a linear one, one with interactions, a small network on one-hot codes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from synthkit.explain.shapley import Score

SIZES = (4, 3, 5, 2, 6, 3, 4)
NAMES = tuple(f"column {k}" for k in range(len(SIZES)))


def codes(rows: int, *, seed: int = 0, sizes: tuple[int, ...] = SIZES) -> np.ndarray:
    """Uniform codes (rows, d)."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, size, rows) for size in sizes], axis=1).astype(np.int32)


class OneHotNetwork(nn.Module):
    """Codes to a logit through one-hot blocks and a small MLP: columns interact in every order."""

    def __init__(self, sizes: tuple[int, ...] = SIZES, seed: int = 0) -> None:
        super().__init__()
        self.sizes = sizes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Linear(sum(sizes), 24), nn.SiLU(), nn.LayerNorm(24), nn.Linear(24, 1))
            nn.init.normal_(self.body[0].weight)
            scale = torch.cat([torch.full((size,), 2.0**-j) for j, size in enumerate(sizes)])
            self.body[0].weight.data *= scale  # columns matter less and less

    def forward(self, rows: Tensor) -> Tensor:
        blocks = [nn.functional.one_hot(rows[:, j].long(), size) for j, size in enumerate(self.sizes)]
        found: Tensor = self.body(torch.cat(blocks, dim=1).to(self.body[0].weight.dtype))[:, 0]
        return found


def tables(order: int, *, seed: int = 0) -> Score:
    """A sum of random tables over all sets of ``order`` columns or fewer."""
    import itertools

    rng = np.random.default_rng(seed)
    sets = [c for k in range(1, order + 1) for c in itertools.combinations(range(len(SIZES)), k)]
    drawn = [rng.normal(size=tuple(SIZES[j] for j in c)) for c in sets]

    def score(rows: np.ndarray) -> np.ndarray:
        return sum(table[tuple(rows[:, j] for j in c)] for c, table in zip(sets, drawn, strict=True))  # type: ignore[return-value]

    return score
