"""Planted defects are found and named, none is seen where there is none, and marginals cost what they cost."""

from __future__ import annotations

import numpy as np
import pytest

from synthkit.data.encoding import discretize, from_frame
from synthkit.data.schema import Schema
from synthkit.errors import BudgetExceeded, ExplanationError
from synthkit.explain import defects
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.counts import NoisyMarginal, exact_marginal
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.session import Session
from tests.tables import frame, private, schema

PUBLIC = schema()
NAMES = list(PUBLIC.modelled)


def real(rows: int, seed: int) -> np.ndarray:
    """Codes of the shared table."""
    return discretize(from_frame(frame(rows, seed=seed), PUBLIC), PUBLIC)


def shifted(seed: int) -> np.ndarray:
    """Incomes a standard deviation too high."""
    data = frame(1200, seed=1000 + seed)
    data["income"] = np.round(data["income"] + data["income"].std(), 1)
    return discretize(from_frame(data, PUBLIC), PUBLIC)


def shuffled(seed: int) -> np.ndarray:
    """Smokers drawn anew: the marginal is right, the dependence is gone."""
    codes = real(1200, 1000 + seed)
    codes[:, NAMES.index("smoker")] = np.random.default_rng(seed).permutation(codes[:, NAMES.index("smoker")])
    return codes


@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(10), marks=pytest.mark.slow)])
def test_a_planted_shift_comes_first(seeds: range) -> None:
    first = [defects.internal(real(1200, seed), shifted(seed), PUBLIC, seed=seed) for seed in seeds]
    assert sum(found.columns[0][0] == "income" for found in first) >= 0.9 * len(seeds)
    for found in first:
        assert found.found and found.payment == "internal" and found.auc is not None
        assert found.auc.payment == "internal" and found.auc.value > 0.6
        assert found.sentences[0].startswith("income is too high: mean ")


@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(10), marks=pytest.mark.slow)])
def test_a_planted_shuffle_is_among_the_first_two(seeds: range) -> None:
    """A correlated partner may take the credit: ill depends on smoker."""
    found = [defects.internal(real(1200, seed), shuffled(seed), PUBLIC, seed=seed) for seed in seeds]
    assert sum("smoker" in [name for name, _ in one.columns[:2]] for one in found) >= 0.9 * len(seeds)
    for one in found:
        assert set(one.pairs[0][:2]) == {"smoker", "ill"}
        assert any("smoker" in sentence and "ill" in sentence for sentence in one.sentences)


@pytest.mark.parametrize("seeds", [range(1), pytest.param(range(10), marks=pytest.mark.slow)])
def test_two_halves_of_one_table_have_no_defect(seeds: range) -> None:
    held = 0
    for seed in seeds:
        codes = real(2000, seed)
        found = defects.internal(codes[:1000], codes[1000:], PUBLIC, seed=seed)
        assert found.auc is not None and found.auc.interval is not None
        low, high = found.auc.interval
        held += low <= 0.5 <= high
        assert not found.found and found.verdict.startswith("No defect") and found.sentences == ()
    assert held >= 0.9 * len(seeds)  # it is a 95% interval


def noisy(codes: np.ndarray, queries: list[tuple[str, ...]], sigma: float, seed: int = 0) -> list[NoisyMarginal]:
    """Marginals as a mechanism would release them."""
    rng = np.random.default_rng(seed)
    exact = [exact_marginal(codes, PUBLIC, query) for query in queries]
    return [NoisyMarginal(q, e + rng.normal(0, sigma, e.shape), sigma) for q, e in zip(queries, exact, strict=True)]


def test_released_marginals_find_what_they_show_for_free() -> None:
    queries: list[tuple[str, ...]] = [("income",), ("age", "ill"), ("smoker", "ill")]
    marginals = noisy(real(2000, 0), queries, 5.0)
    wrong = defects.measured(marginals, shifted(3), PUBLIC)
    assert wrong.payment == "free" and wrong.found and wrong.auc is None
    assert wrong.columns[0][0] == "income" and "income" in wrong.sentences[0]
    apart = defects.measured(marginals, shuffled(3), PUBLIC)
    assert apart.pairs[0][:2] == ("smoker", "ill") and "smoker" in apart.sentences[0]
    right = defects.measured(marginals, real(2000, 7), PUBLIC)
    assert not right.found and right.verdict.startswith("No defect")
    drowned = defects.measured(noisy(real(2000, 0), queries, 500.0), shifted(3), PUBLIC)
    assert not drowned.found  # noise explains it
    assert "Nothing was measured" in defects.measured([], shifted(0), PUBLIC).verdict


def test_the_charged_form_costs_its_plan_and_finds_the_shift() -> None:
    public: Schema = schema(rows=1200)
    budget = Budget(3.0, 1e-5)
    plan = defects.plan(public, budget)
    assert plan.epsilon <= 3.0
    session = Session(plan, noise=NoiseSource(test_seed=0))
    found = defects.charged(private(frame(1200), public), session, shifted(1))
    assert found.payment == "charged" and found.columns[0][0] == "income"
    assert len(session.trace) == 21 and session.spent <= 3.0
    with pytest.raises(BudgetExceeded):
        defects.charged(private(frame(1200), public), session, shifted(1))


def test_bad_input_is_named() -> None:
    with pytest.raises(ExplanationError, match="7 modelled columns"):
        defects.internal(real(100, 0)[:, :4], real(100, 1), PUBLIC)
    with pytest.raises(ExplanationError, match="40 rows"):
        defects.internal(real(30, 0), real(100, 1), PUBLIC)


def test_a_constant_column_is_no_obstacle() -> None:
    one, other = real(200, 0), real(200, 1)
    one[:, 2] = other[:, 2] = 1
    found = defects.internal(one, other, PUBLIC)
    assert dict(found.columns)["region"] == 0
