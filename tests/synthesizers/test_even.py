"""Chosen rows are nearer to their model than rows by chance."""

from __future__ import annotations

import numpy as np
import pytest

from synthkit.synthesizers import even
from synthkit.synthesizers.even import even_rows

SIZES = (4, 6, 3, 5)


def draw(count: int, rng: np.random.Generator) -> np.ndarray:
    first = rng.integers(0, 4, count)
    return np.stack([first, (first + rng.integers(0, 3, count)) % 6, rng.integers(0, 3, count), first], 1).astype(
        np.int32
    )


def distance(rows: np.ndarray, truth: np.ndarray) -> float:
    total = 0.0
    for i in range(4):
        for j in range(i):
            both = [np.bincount(x[:, i] * SIZES[j] + x[:, j], minlength=30) / len(x) for x in (rows, truth)]
            total += float(np.abs(both[0] - both[1]).sum())
    return total


def test_they_are_much_nearer_to_the_model() -> None:
    rng = np.random.default_rng(0)
    truth = draw(200_000, rng)
    chosen = even_rows(lambda count: draw(count, rng), 1_000, SIZES, rng)
    assert chosen.shape == (1_000, 4) and chosen.dtype == np.int32
    assert distance(chosen, truth) < 0.6 * distance(draw(1_000, rng), truth)


@pytest.mark.parametrize("rows", [0, 1, 2, 7])
def test_few_rows(rows: int) -> None:
    rng = np.random.default_rng(1)
    assert even_rows(lambda count: draw(count, rng), rows, SIZES, rng).shape == (rows, 4)


def test_one_column_and_large_tables_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(count: int) -> np.ndarray:
        asked.append(count)
        return draw(count, np.random.default_rng(2))

    even_rows(lambda count: counted(count)[:, :1], 50, SIZES[:1], np.random.default_rng(0))
    monkeypatch.setattr(even, "_MOST", 1_000)
    even_rows(counted, 900, SIZES, np.random.default_rng(0))
    assert asked == [50, 900]
