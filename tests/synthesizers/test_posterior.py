"""Denoised marginals: nearer the truth than what was measured, and the same where there is no noise to speak of."""

import numpy as np
import pytest

from synthkit.data.schema import Boolean, Categorical, Column, Integer, Schema
from synthkit.privacy.mechanisms.counts import NoisyMarginal
from synthkit.synthesizers.posterior import posterior

ROWS = 10_000.0
NUMBER = Integer(min=0, max=31, bins=32)
COLUMNS: dict[str, Column] = {
    "age": NUMBER,
    "dose": Integer(min=0, max=31, bins=32, nullable=True),
    "ward": Categorical(categories=tuple("abcdefghijklmnopqrstuvwx")),
    "sex": Boolean(),
}
SCHEMA = Schema("patients", COLUMNS, int(ROWS), reviewed=True)
BELL = np.exp(-0.5 * ((np.arange(32) - 14) / 6) ** 2)


def shares(*weights: np.ndarray) -> np.ndarray:
    """The product of weights as counts of ``ROWS``."""
    table = np.ones(())
    for weight in weights:
        table = np.multiply.outer(table, weight / weight.sum())
    return ROWS * table


def errors(names: tuple[str, ...], truth: np.ndarray, sigma: float, draws: int = 20) -> tuple[float, float]:
    """Mean squared error of a cell in variances of the noise: denoised, and as the posterior itself has it."""
    rng = np.random.default_rng(7)
    found, said = [], []
    for _ in range(draws):
        measured = NoisyMarginal(names, truth + sigma * rng.standard_normal(truth.shape), sigma)
        answer = posterior(measured, SCHEMA, ROWS)
        found.append(np.mean((answer.counts - truth) ** 2) / sigma**2)
        said.append(answer.variance / sigma**2)
    return float(np.mean(found)), float(np.mean(said))


class TestWhatNoiseDrowns:
    def test_a_flat_column_is_nearly_flat(self) -> None:
        error, said = errors(("age",), shares(np.ones(32)), sigma=100.0)
        assert error < 0.25
        assert said < 0.3

    def test_a_smooth_column_is_smoothed(self) -> None:
        error, said = errors(("age",), shares(BELL), sigma=100.0)
        assert error < 0.4
        assert 0.5 * error < said < 2 * error

    def test_nulls_stand_apart_from_the_numbers(self) -> None:
        truth = shares(np.append(BELL, BELL.sum()))  # half of all are null
        error, _ = errors(("dose",), truth, sigma=100.0)
        assert error < 0.5

    def test_rare_categories_lose_their_noise_and_a_spike_keeps_its_count(self) -> None:
        truth = shares(np.array([500.0, *np.ones(23)]))
        error, _ = errors(("ward",), truth, sigma=100.0)
        assert error < 0.3
        measured = truth + 100 * np.random.default_rng(1).standard_normal(24)
        assert posterior(NoisyMarginal(("ward",), measured, 100.0), SCHEMA, ROWS).counts[0] == measured[0]

    def test_independent_columns_stay_independent(self) -> None:
        error, said = errors(("age", "sex"), shares(BELL, np.array([3.0, 1.0])), sigma=100.0)
        assert error < 0.4
        assert said < 0.4

    def test_a_large_table_is_denoised_cell_by_cell(self) -> None:
        truth = shares(BELL, np.append(BELL, 1.0))
        assert truth.size > 700
        error, said = errors(("age", "dose"), truth, sigma=50.0, draws=3)
        assert error < 0.15
        assert said < 0.15


class TestWhatNoiseLeaves:
    @pytest.mark.parametrize("names", [("age",), ("ward",), ("age", "sex"), ("ward", "age"), ("age", "dose")])
    def test_clear_counts_are_kept(self, names: tuple[str, ...]) -> None:
        rng = np.random.default_rng(3)
        truth = shares(rng.dirichlet(np.ones(int(np.prod([COLUMNS[name].size for name in names]))))).reshape(
            [COLUMNS[name].size for name in names]
        )
        measured = truth + 0.01 * rng.standard_normal(truth.shape)
        answer = posterior(NoisyMarginal(names, measured, 0.01), SCHEMA, ROWS)
        assert np.abs(answer.counts - measured).max() < 0.05
        assert answer.variance <= 0.01**2

    def test_an_expectation_that_is_right_helps(self) -> None:
        truth = shares(BELL, np.array([3.0, 1.0]))
        truth[20:, 1] += 40  # which no product of columns shows
        rng, told, untold = np.random.default_rng(5), 0.0, 0.0
        for _ in range(20):
            measured = NoisyMarginal(("age", "sex"), truth + 60 * rng.standard_normal(truth.shape), 60.0)
            told += np.mean((posterior(measured, SCHEMA, ROWS, truth).counts - truth) ** 2)
            untold += np.mean((posterior(measured, SCHEMA, ROWS).counts - truth) ** 2)
        assert told < 0.8 * untold

    @pytest.mark.parametrize("column", [Integer(min=3, max=4, bins=1, nullable=True), Integer(min=3, max=4, bins=1)])
    @pytest.mark.parametrize("spiky", [0, -1])
    def test_columns_of_hardly_a_code(self, column: Column, spiky: int) -> None:
        counts = np.full(column.size, 3.0)
        counts[spiky] = 9_000
        only = Schema("only", {"only": column}, 9_003, reviewed=True)
        found = posterior(NoisyMarginal(("only",), counts, 5.0), only, 9_003.0).counts
        assert np.abs(found - counts).max() < 10

    def test_pure_noise_is_legal(self) -> None:
        rng = np.random.default_rng(11)
        for names in (("age",), ("ward", "sex"), ("age", "dose")):
            shape = [COLUMNS[name].size for name in names]
            answer = posterior(NoisyMarginal(names, 1e6 * rng.standard_normal(shape), 1e6), SCHEMA, 1.0)
            assert np.isfinite(answer.counts).all()
            assert 0 < answer.variance <= 1e12
