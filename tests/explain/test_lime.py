"""Local surrogates: right where the score is linear, and honest where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from synthkit.errors import ExplanationError
from synthkit.explain.lime import surrogate
from synthkit.explain.shapley import explain
from tests.explain.scores import NAMES, codes, tables


def test_a_linear_score_is_found_exactly() -> None:
    rng = np.random.default_rng(0)
    weights, rows, background = rng.normal(size=7), rng.normal(size=(4, 7)), rng.normal(size=(10, 7))
    found = surrogate(lambda x: x @ weights, rows, background, NAMES)
    np.testing.assert_allclose(found.weights, weights * (rows - background.mean(axis=0)), atol=1e-4)
    np.testing.assert_allclose(found.r2, 1, atol=1e-6)
    assert found.faithful.all() and all(one.stable for one in found.stability)
    assert found.payment == "internal" and found.verdict(0).startswith("Faithful (local R² 1.00)")
    exact = explain(lambda x: x @ weights, rows, background, NAMES)
    np.testing.assert_allclose(found.agreement(exact, range(4)), 1)


def test_it_says_so_where_it_is_not_faithful() -> None:
    def parity(rows: np.ndarray) -> np.ndarray:
        return (rows.sum(axis=1) % 2).astype(float)

    rows = np.ones((3, 7), dtype=np.int32)
    background = np.zeros((2, 7), dtype=np.int32)
    found = surrogate(parity, rows, background, NAMES)
    assert not found.faithful.any() and (found.r2 < 0.5).all()
    assert "Not faithful" in found.verdict(1)


def test_columns_held_fixed_are_left_out_and_seeds_are_compared() -> None:
    found = surrogate(tables(2), codes(3), codes(9, seed=1), NAMES, fixed=(NAMES[0],))
    assert found.columns == NAMES[1:] and found.weights.shape == (3, 6)
    assert all(one.seeds == 5 and 0 <= one.jaccard <= 1 for one in found.stability)
    np.testing.assert_array_equal(
        found.weights, surrogate(tables(2), codes(3), codes(9, seed=1), NAMES, fixed=(NAMES[0],)).weights
    )
    with pytest.raises(ExplanationError, match="1 seed"):
        surrogate(tables(2), codes(3), codes(9, seed=1), NAMES, seeds=1)
    with pytest.raises(ExplanationError, match="different columns"):
        found.agreement(explain(tables(2), codes(3), codes(9, seed=1), NAMES), range(3))


def test_a_constant_score_is_no_obstacle() -> None:
    found = surrogate(lambda rows: np.zeros(len(rows)), codes(2), codes(4, seed=1), NAMES)
    np.testing.assert_allclose(found.weights, 0, atol=1e-9)
