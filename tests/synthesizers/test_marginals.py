"""From noisy marginals to one consistent start: projection, pooling, fitting."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import optimize, stats

from synthkit.data.encoding import discretize, from_frame
from synthkit.data.schema import Categorical, Schema
from synthkit.privacy.mechanisms.counts import NoisyMarginal, exact_marginal
from synthkit.synthesizers import marginals
from synthkit.synthesizers.marginals import Measured, simplex
from synthkit.synthesizers.posterior import posterior
from tests.tables import frame, schema

PUBLIC = schema()
NAMES, SIZES = list(PUBLIC.domain), list(PUBLIC.domain.values())
TARGET = NAMES.index("ill")
FALSE_ALARM = 1e-6


def released(rows: int, sigma: float, seed: int = 0, *, condition: int | None = TARGET) -> list[NoisyMarginal]:
    """What a warm start measures, with rounded normal noise."""
    codes, rng = discretize(from_frame(frame(rows), PUBLIC), PUBLIC), np.random.default_rng(seed)
    asked = [(name,) for name in NAMES]
    if condition is not None:
        asked += [(name, NAMES[condition]) for name in NAMES if name != NAMES[condition]]
    found = []
    for query in asked:
        table = exact_marginal(codes, PUBLIC, query)
        found.append(NoisyMarginal(query, table + np.rint(rng.normal(0, sigma, table.shape)), sigma or 1e-6))
    return found


def blocks(measured: Measured) -> dict[str, np.ndarray]:
    ends = np.cumsum(SIZES)[:-1]
    return dict(zip(NAMES, np.split(measured.conditionals, ends, axis=1), strict=True))


# --- simplex -----------------------------------------------------------------------------------------

shares = npst.arrays(
    np.float64, npst.array_shapes(min_dims=1, max_dims=3, max_side=6), elements=st.floats(-1e4, 1e4, width=32)
)


@given(shares)
@settings(deadline=None, max_examples=150, derandomize=True)
def test_the_projection_meets_its_optimality_conditions(x: np.ndarray) -> None:
    """Karush, Kuhn and Tucker: p >= 0, sum 1, one shift where p > 0, and nothing above the shift where p = 0."""
    p = simplex(x)
    slack = 1e-9 * max(1.0, float(np.abs(x).max()))
    assert p.shape == x.shape and (p >= 0).all()
    assert p.sum() == pytest.approx(1, abs=slack)
    shifts = (x - p)[p > 0]
    assert np.ptp(shifts) <= slack
    assert (x[p == 0] <= shifts.min() + slack).all()


@pytest.mark.parametrize("seed", range(8))
def test_the_projection_is_what_a_solver_finds(seed: int) -> None:
    x = np.random.default_rng(seed).normal(0.2, 0.6, 5)
    solved = optimize.minimize(
        lambda p: ((p - x) ** 2).sum(),
        np.full(5, 0.2),
        jac=lambda p: 2 * (p - x),
        method="SLSQP",
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1, "jac": lambda p: np.ones(5)},
        options={"ftol": 1e-14},
    )
    np.testing.assert_allclose(simplex(x), solved.x, atol=1e-6)


def test_distributions_stay_and_nothing_becomes_uniform() -> None:
    kept = np.random.default_rng(0).dirichlet(np.ones(12)).reshape(3, 4)
    np.testing.assert_allclose(simplex(kept), kept, atol=1e-15)
    np.testing.assert_allclose(simplex(np.full((2, 3), -5.0)), np.full((2, 3), 1 / 6))
    np.testing.assert_array_equal(simplex(np.array([-100.0])), [1.0])
    np.testing.assert_array_equal(simplex(np.array([0.0, 100.0, 3.0])), [0, 1, 0])


# --- pooling -----------------------------------------------------------------------------------------

DRAWS = 4000


def check_variance(samples: np.ndarray, variance: float) -> None:
    """Chi-square test of the variance of independent normal samples with a known mean of zero."""
    statistic = (samples**2).sum() / variance
    tail = min(stats.chi2.cdf(statistic, samples.size), stats.chi2.sf(statistic, samples.size))
    assert 2 * tail > FALSE_ALARM


def test_two_measurements_of_a_margin_are_averaged_by_precision() -> None:
    """One has variance 1, the sum of seven cells has 7: the best average has 7/8."""
    rng = np.random.default_rng(1)
    once, summed = rng.normal(0, 1, (DRAWS, 3)), rng.normal(0, 1, (DRAWS, 3, 7)).sum(axis=2)
    pooled = marginals._pooled(once, [(summed, 7)])
    check_variance(pooled, 7 / 8)
    assert pooled.var() < once.var() < ((once + summed) / 2).var()


def test_all_tables_are_pooled_by_precision() -> None:
    rng, sizes = np.random.default_rng(2), [2, 6, 40]
    pooled, once = np.empty((DRAWS, 3)), rng.normal(0, 1, (DRAWS, 3))
    plain = np.empty((DRAWS, 3))
    for i in range(DRAWS):
        tables = {f"c{size}": rng.normal(0, 1, (size, 3)) for size in sizes}
        sums = [table.sum(axis=0) for table in tables.values()]
        pooled[i] = marginals._pooled(once[i], list(zip(sums, sizes, strict=True)))
        plain[i] = np.mean([once[i], *sums], axis=0)
    check_variance(pooled, 1 / (1 + sum(1 / size for size in sizes)))
    assert pooled.var() < once.var() < plain.var()
    with pytest.raises(AssertionError):  # the check sees weights that forget one table
        check_variance(pooled, 1 / (1 + 1 / 2 + 1 / 6) * 1.15)


def test_a_margin_needs_no_measurement_of_its_own() -> None:
    """Warm starts that measure columns with the target alone."""
    alone = [marginal for marginal in released(4000, 3.0) if len(marginal.columns) == 2]
    both = Measured.of(released(4000, 3.0), PUBLIC, TARGET)
    found = Measured.of(alone, PUBLIC, TARGET)
    np.testing.assert_allclose(found.conditionals, both.conditionals, atol=0.05)
    np.testing.assert_allclose(found.chances, both.chances, atol=0.01)


def test_rows_are_estimated_by_precision() -> None:
    rng, shapes = np.random.default_rng(3), [(2,), (5,), (5, 2), (6, 4)]
    found = np.empty(DRAWS)
    for i in range(DRAWS):
        tables = [np.full(shape, 100 / math.prod(shape)) + rng.normal(0, 2, shape) for shape in shapes]
        found[i] = marginals.estimated_rows([NoisyMarginal(("x",), table, 2.0) for table in tables])
    check_variance(found - 100, 1 / sum(1 / (4 * math.prod(shape)) for shape in shapes))


def test_a_less_noisy_table_weighs_more_in_the_rows() -> None:
    tables = [NoisyMarginal(("a",), np.array([100.0, 0.0]), 1.0), NoisyMarginal(("b",), np.array([0.0, 200.0]), 3.0)]
    assert marginals.estimated_rows(tables) == pytest.approx((100 + 200 / 9) / (1 + 1 / 9))


# --- Measured ----------------------------------------------------------------------------------------


def test_without_noise_the_table_is_recovered() -> None:
    codes = discretize(from_frame(frame(400), PUBLIC), PUBLIC)
    measured = Measured.of(released(400, 0.0), PUBLIC, TARGET)
    assert measured.rows == pytest.approx(400)
    np.testing.assert_allclose(measured.chances, np.bincount(codes[:, TARGET], minlength=2) / 400, atol=1e-12)
    for name, block in blocks(measured).items():
        if name == "ill":
            np.testing.assert_array_equal(block, np.eye(2))
            continue
        for k in range(2):
            rows = codes[codes[:, TARGET] == k][:, NAMES.index(name)]
            # A thousandth of the product keeps empty cells alive.
            np.testing.assert_allclose(block[k], np.bincount(rows, minlength=block.shape[1]) / len(rows), atol=2e-3)


@pytest.mark.parametrize("condition", [None, *range(len(NAMES))])
@pytest.mark.parametrize("sigma", [0.0, 3.0, 30.0, 500.0])
def test_whatever_the_noise_it_is_consistent(condition: int | None, sigma: float) -> None:
    for seed in range(3):
        noisy = released(200, sigma, seed, condition=condition)
        check_consistent(Measured.of(noisy, PUBLIC, condition), noisy, condition)


def check_consistent(measured: Measured, noisy: list[NoisyMarginal], condition: int | None) -> None:
    """Every column has a distribution in every class, and together they have the denoised margin."""
    classes = 1 if condition is None else SIZES[condition]
    assert measured.chances.shape == (classes,) and measured.conditionals.shape == (classes, sum(SIZES))
    assert measured.rows >= 1
    assert (measured.chances >= 0).all() and measured.chances.sum() == pytest.approx(1, abs=1e-9)
    tables = {marginal.columns: posterior(marginal, PUBLIC, measured.rows).counts for marginal in noisy}
    for name, block in blocks(measured).items():
        assert (block >= 0).all()
        np.testing.assert_allclose(block.sum(axis=1), 1, atol=1e-9)
        once = tables[(name,)]
        if condition is None:
            np.testing.assert_allclose(block[0], simplex(once / measured.rows), atol=1e-9)
        elif name != NAMES[condition]:
            joint = tables[(name, NAMES[condition])]
            pooled = (joint.shape[1] * once + joint.sum(axis=1)) / (joint.shape[1] + 1)
            # Fitting stops after 50 sweeps; where the projection left few cells it is not quite there.
            np.testing.assert_allclose(
                measured.chances @ block, simplex(pooled / measured.rows), atol=1e-6 if measured.sigma < 5 else 0.05
            )


def test_forgetting_a_margin_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = released(200, 3.0)
    monkeypatch.setattr(marginals, "_fit", lambda table, margin, chances: (table / table.sum(axis=0)).T)
    with pytest.raises(AssertionError):
        check_consistent(Measured.of(noisy, PUBLIC, TARGET), noisy, TARGET)


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("condition", [None, TARGET])
def test_tiny_and_empty_tables(rows: int, condition: int | None) -> None:
    for sigma, seed in itertools.product((0.0, 4.0), range(4)):
        noisy = released(rows, sigma, seed, condition=condition)
        measured = Measured.of(noisy, PUBLIC, condition)
        assert measured.rows >= 1 and np.isfinite(measured.conditionals).all()
        for block in blocks(measured).values():
            np.testing.assert_allclose(block.sum(axis=1), 1, atol=1e-9)


def test_counts_that_are_all_negative_start_nearly_uniform() -> None:
    noisy = [NoisyMarginal(m.columns, np.full(m.counts.shape, -7.0), 3.0) for m in released(0, 1.0)]
    measured = Measured.of(noisy, PUBLIC, TARGET)
    assert measured.rows == 1
    for name, block in blocks(measured).items():
        if name != "ill":
            assert (block > 0.3 / block.shape[1]).all()


def test_more_measurements_come_closer() -> None:
    """The conditioning column is measured by itself and by every table with it: closer than by itself alone."""
    pair = Schema("pair", {name: Categorical(categories=(0, 1)) for name in "abcde"}, 100)
    rng, exact = np.random.default_rng(5), np.array([70.0, 30.0])
    errors = []
    for _ in range(400):
        noise = lambda shape: rng.normal(0, 5, shape)  # noqa: E731
        noisy = [NoisyMarginal((name,), exact + noise(2), 5.0) for name in "abcde"]
        noisy += [NoisyMarginal((name, "e"), np.outer([0.5, 0.5], exact) + noise((2, 2)), 5.0) for name in "abcd"]
        together = Measured.of(noisy, pair, 4)
        alone = simplex(noisy[4].counts / together.rows)
        errors.append((together.chances[0] - 0.7, alone[0] - 0.7))
    together, alone = np.std(errors, axis=0)
    # Four sums of two cells: variance 1 / (1 + 4/2) of one measurement. At 400 draws 0.75 is 5 deviations off.
    assert together < 0.75 * alone
