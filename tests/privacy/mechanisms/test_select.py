"""The exponential mechanism: charged before it reads, no more sensitive than charged, with the right odds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import dp_accounting
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthkit.data.encoding import Table, discretize
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Unit
from synthkit.errors import BudgetExceeded, MethodError
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.events import ExponentialMechanismDpEvent, compose, repeat
from synthkit.privacy.mechanisms import select as module
from synthkit.privacy.mechanisms.select import noisy_quantiles, select
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Charge, Plan
from synthkit.privacy.session import Session
from tests.privacy.mechanisms.promises import (
    BUDGETS,
    POOL,
    Recording,
    Release,
    check_bounded,
    check_charged_first,
    check_choices,
    forgetting,
    locked,
    neighbours,
    worst_neighbours,
)
from tests.tables import frame, private, schema

EPSILON = 2.0
FRACTIONS = (0.1, 0.5, 0.75)
ROW = BUDGETS[0]
AGES = schema().domain["age"]

each_budget = pytest.mark.parametrize("budget", BUDGETS, ids=lambda b: f"{b.adjacency}, {b.unit}")


def votes(codes: np.ndarray) -> np.ndarray:
    """Each row votes for its own age group and against the others: +1 or -1."""
    return np.where(codes[:, [0]] == np.arange(AGES), 1.0, -1.0).sum(axis=0)


def by_votes(data: Private[Table], session: Recording) -> Sequence[np.ndarray]:
    select(data, session, votes, 1.0, EPSILON, "an age group")
    return session.noise.weights


def by_quantiles(data: Private[Table], session: Recording) -> Sequence[np.ndarray]:
    noisy_quantiles(data, session, "age", FRACTIONS, EPSILON)
    return session.noise.weights


TIMES = {by_votes: 1, by_quantiles: len(FRACTIONS)}


# --- charged before read -----------------------------------------------------------------------------


@each_budget
@pytest.mark.parametrize("release", TIMES)
@pytest.mark.parametrize("planned", [None, 1.999, 2.001])
def test_what_is_not_planned_is_not_read(
    release: Release, budget: Budget, planned: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = repeat(ExponentialMechanismDpEvent(planned), 9) if planned else dp_accounting.NoOpDpEvent()
    check_charged_first(release, budget, event, module, monkeypatch)


def test_each_quantile_is_charged_before_its_own_read(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = repeat(ExponentialMechanismDpEvent(EPSILON), 2)
    check_charged_first(by_quantiles, ROW, planned, module, monkeypatch, reads=2)


def test_a_mechanism_that_reads_first_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads_first(data: Private[Table], session: Recording) -> Sequence[np.ndarray]:
        module.reveal(data)
        return by_votes(data, session)

    with pytest.raises(AssertionError, match="before the charge"):
        check_charged_first(reads_first, ROW, dp_accounting.NoOpDpEvent(), module, monkeypatch)


def test_a_refused_choice_does_not_call_its_scores() -> None:
    def scores_of(codes: np.ndarray) -> np.ndarray:
        raise AssertionError("called with private codes")

    with pytest.raises(BudgetExceeded, match="not in the plan"):
        select(locked([[0]], ROW), Session(Plan(ROW, dp_accounting.NoOpDpEvent())), scores_of, 1.0, EPSILON, "nothing")


def test_quantiles_of_a_category_are_refused_before_any_charge() -> None:
    session = Recording(ROW)
    with pytest.raises(MethodError, match="quantiles need a numeric column; region is categorical"):
        noisy_quantiles(locked([[0]], ROW), session, "region", FRACTIONS, EPSILON)
    assert session.trace == ()


# --- what is charged ---------------------------------------------------------------------------------


@each_budget
@pytest.mark.parametrize("release", TIMES)
def test_the_declared_event_is_charged(release: Release, budget: Budget) -> None:
    session = Recording(budget)
    release(locked([[0], [1]], budget), session)
    assert session.event == compose([repeat(ExponentialMechanismDpEvent(EPSILON), TIMES[release])])
    assert {charge.norm_bound for charge in session.trace} == {float(budget.unit.max_rows)}


# --- neighbours --------------------------------------------------------------------------------------


@each_budget
@pytest.mark.parametrize("release", TIMES)
def test_neighbours_are_as_close_as_charged(release: Release, budget: Budget) -> None:
    reached = max(check_bounded(release, budget, pair) for pair in worst_neighbours(budget))
    if release is by_votes:
        assert reached == pytest.approx(1.0)  # a replaced vote moves a score by 2


@each_budget
@given(drawn=st.data())
@settings(deadline=None, max_examples=30, derandomize=True)
def test_any_neighbours_are_as_close_as_charged(budget: Budget, drawn: st.DataObject) -> None:
    pair = drawn.draw(neighbours(budget))
    check_bounded(by_votes, budget, pair)
    check_bounded(by_quantiles, budget, pair)


def caught(release: Release, budget: Budget, why: str) -> None:
    """The check that the mechanism passes fails for ``release``."""
    with pytest.raises(AssertionError, match=why):
        for pair in worst_neighbours(budget):
            check_bounded(release, budget, pair)


def _choosing(
    scores_of: Callable[[np.ndarray], np.ndarray], sensitivity: float
) -> Callable[[Private[Table], Recording], Sequence[np.ndarray]]:
    """An exponential mechanism with a sensitivity of its own."""

    def release(data: Private[Table], session: Recording) -> Sequence[np.ndarray]:
        event = ExponentialMechanismDpEvent(EPSILON)
        session.charge(Charge(event, "exponential mechanism", sensitivity, "a mistake", "an age group"))
        scores = scores_of(discretize(reveal(data), data.schema))
        session.noise.choice(scores * (EPSILON / (2 * sensitivity)))
        return session.noise.weights

    return release


def _diameter(budget: Budget) -> int:
    return budget.unit.max_rows * (2 if budget.adjacency is Adjacency.REPLACE_ONE else 1)


@each_budget
def test_half_the_sensitivity_is_caught_and_all_of_it_passes(budget: Budget) -> None:
    for pair in worst_neighbours(budget):
        check_bounded(_choosing(votes, _diameter(budget)), budget, pair)
    caught(_choosing(votes, _diameter(budget) / 2), budget, "moves by")


@pytest.mark.parametrize("budget", BUDGETS[1::2], ids=str)
def test_forgetting_that_a_unit_has_several_rows_is_caught(budget: Budget) -> None:
    caught(forgetting(by_votes, unit=Unit()), budget, "moves by")
    if budget.adjacency is Adjacency.ADD_OR_REMOVE:  # an exchanged row moves a quantile's score by 1, half of the bound
        caught(forgetting(by_quantiles, unit=Unit()), budget, "moves by")


@pytest.mark.parametrize("budget", BUDGETS[2:], ids=str)
def test_forgetting_that_replacing_moves_a_score_twice_is_caught(budget: Budget) -> None:
    caught(forgetting(by_votes, adjacency=Adjacency.ADD_OR_REMOVE), budget, "moves by 2 times")


@each_budget
def test_candidates_from_the_data_are_caught(budget: Budget) -> None:
    def seen(codes: np.ndarray) -> np.ndarray:
        return np.append(np.unique(codes[:, 0], return_counts=True)[1], 0.0)

    caught(_choosing(seen, 2.0 * _diameter(budget)), budget, "shape depends on the data")


@each_budget
def test_a_score_that_is_divided_by_the_exact_count_is_caught(budget: Budget) -> None:
    def mean(codes: np.ndarray) -> np.ndarray:
        return votes(codes) / max(1, len(codes)) * 20

    caught(_choosing(mean, 2.0), budget, "moves by")


# --- odds --------------------------------------------------------------------------------------------

DRAWS = 10_000


@pytest.mark.parametrize("budget", [BUDGETS[0], BUDGETS[3]], ids=str)
def test_odds_follow_the_charged_epsilon(budget: Budget) -> None:
    """10,000 choices; odds of 0.7 and 1.3 times the epsilon are rejected at 1e-7."""
    scores = np.array([2.0, 0.0, -1.0, 1.0]) * _diameter(budget)
    session = Recording(budget, NoiseSource(test_seed=13))
    data = locked([[0]], budget)
    drawn = np.array([select(data, session, lambda _: scores, 1.0, EPSILON, "odds") for _ in range(DRAWS)])

    def odds(epsilon: float) -> np.ndarray:
        weights = np.exp(epsilon * scores / (2 * _diameter(budget)))
        return weights / weights.sum()

    check_choices(drawn, odds(EPSILON))
    for factor in (0.7, 1.3):
        with pytest.raises(AssertionError):
            check_choices(drawn, odds(factor * EPSILON))


def test_a_score_that_is_not_a_number_is_never_chosen_beside_one_that_is() -> None:
    session = Recording(ROW, NoiseSource(test_seed=1))
    data, scores = locked([[0]], ROW), np.array([np.nan, -1e9, -np.inf, np.nan])
    assert {select(data, session, lambda _: scores, 1.0, 1e-3, "what is left") for _ in range(50)} == {1}
    nothing = np.full(4, np.nan)
    assert {select(data, session, lambda _: nothing, 1.0, 1.0, "anything") for _ in range(200)} == {0, 1, 2, 3}


# --- quantiles ---------------------------------------------------------------------------------------


@given(rows=st.lists(st.integers(0, POOL.rows - 1), max_size=30), fraction=st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_quantile_scores_by_brute_force(rows: list[int], fraction: float) -> None:
    session = Recording(ROW)
    data = locked([[row] for row in rows], ROW)
    noisy_quantiles(data, session, "age", [fraction], EPSILON)
    edges, ages = schema().modelled["age"].edges, discretize(reveal(data), data.schema)[:, 0]  # type: ignore[union-attr]
    ages = ages[ages < len(edges) - 1]  # nulls don't count
    expected = []
    for j in range(len(edges)):
        below, above = (ages < j).sum(), (ages >= j).sum()
        expected.append(-abs((1 - fraction) * below - fraction * above))
    np.testing.assert_allclose(session.noise.weights[0], np.array(expected) * EPSILON / 2, atol=1e-9)


def test_quantiles_of_many_rows_are_the_nearest_edges() -> None:
    data, fractions = frame(2000), (0.2, 0.4, 0.6, 0.8)
    edges = noisy_quantiles(private(data, schema()), Recording(ROW), "age", fractions, 10.0)
    assert edges == [20.0, 40.0, 60.0, 80.0]  # ages are uniform on 0..99, in five groups


def test_quantiles_of_nothing_are_uniform() -> None:
    session = Recording(ROW, NoiseSource(test_seed=2))
    empty, edges = private(frame(0), schema()), schema().modelled["age"].edges  # type: ignore[union-attr]
    drawn = noisy_quantiles(empty, session, "age", [0.5] * 3000, 1.0)
    check_choices(np.array([edges.index(edge) for edge in drawn]), np.full(len(edges), 1 / len(edges)))
