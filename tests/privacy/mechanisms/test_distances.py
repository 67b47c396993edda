"""The noisy mean distance: charged before it reads, no more sensitive than charged, with the right noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
from synthkit.privacy.events import compose
from synthkit.privacy.mechanisms import distances
from synthkit.privacy.mechanisms.counts import exact_marginal
from synthkit.privacy.mechanisms.distances import distance_event, noisy_distance
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Charge, Plan
from synthkit.privacy.session import Session
from tests.privacy.mechanisms.promises import (
    BUDGETS,
    Recording,
    Release,
    Silent,
    check_bounded,
    check_charged_first,
    check_normal,
    check_scale,
    forgetting,
    locked,
    neighbours,
    worst_neighbours,
)
from tests.tables import schema

SIGMA = 2.0
ROW = BUDGETS[0]
ASKED = [("age",), ("region", "ill"), ("age", "sex", "smoker")]

each_budget = pytest.mark.parametrize("budget", BUDGETS, ids=lambda b: f"{b.adjacency}, {b.unit}")


def distributions(seed: int, *, sparse: bool = False) -> list[np.ndarray]:
    """A public distribution for each marginal; a sparse one has a single cell."""
    rng = np.random.default_rng(seed)
    found = []
    for query in ASKED:
        shape = tuple(schema().domain[name] for name in query)
        chances = np.zeros(math.prod(shape)) if sparse else rng.gamma(0.3, size=math.prod(shape))
        chances[-1] += 1e-9 + sparse
        found.append((chances / chances.sum()).reshape(shape))
    return found


def dense(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
    return [np.array([noisy_distance(data, session, ASKED, distributions(1), SIGMA, "a table")])]


def sparse(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
    return [np.array([noisy_distance(data, session, ASKED, distributions(1, sparse=True), SIGMA, "one cell")])]


# --- charged before read -----------------------------------------------------------------------------


@each_budget
@pytest.mark.parametrize("factor", [None, 0.999, 1.001])
def test_what_is_not_planned_is_not_read(budget: Budget, factor: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = dp_accounting.NoOpDpEvent() if factor is None else distance_event(factor * SIGMA, budget)
    check_charged_first(dense, budget, planned, distances, monkeypatch)


def test_a_mechanism_that_reads_first_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads_first(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        distances.reveal(data)
        return dense(data, session)

    with pytest.raises(AssertionError, match="before the charge"):
        check_charged_first(reads_first, ROW, dp_accounting.NoOpDpEvent(), distances, monkeypatch)


NOT_DISTRIBUTIONS = {
    "too much": np.full(6, 0.2),
    "too little": np.full(6, 0.1),
    "negative": np.array([-1.0, 2.0, 0, 0, 0, 0]),
    "not a number": np.array([np.nan, 1.0, 0, 0, 0, 0]),
    "infinite": np.array([np.inf, 0, 0, 0, 0, 0]),
    "counts": np.full(6, 30.0),
}


@pytest.mark.parametrize("reference", NOT_DISTRIBUTIONS.values(), ids=NOT_DISTRIBUTIONS)
def test_what_is_no_distribution_is_refused_before_any_charge(
    reference: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distances, "reveal", lambda _: pytest.fail("private rows were opened"))
    session = Recording(ROW)
    with pytest.raises(MethodError, match="distributions"):
        noisy_distance(locked([[0]], ROW), session, [("age",)], [reference], SIGMA, "a mistake")
    assert session.trace == ()


def test_a_reference_of_another_shape_is_refused() -> None:
    """(2,) for (age, sex) of shape (6, 2) is spread over six ages and sums to 6: one row moves the answer by 3.5."""

    def spread(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        reference = np.array([1.0, 0.0])
        return [np.array([noisy_distance(data, session, [("age", "sex")], [reference], SIGMA, "a mistake")])]

    try:
        for pair in worst_neighbours(ROW):
            check_bounded(spread, ROW, pair)  # fails: moves by 3.5 times what is charged
    except MethodError:
        return
    raise AssertionError("a reference of the wrong shape was taken")


# --- what is charged ---------------------------------------------------------------------------------


def test_the_event_follows_from_the_unit() -> None:
    for adjacency, times in ((Adjacency.ADD_OR_REMOVE, 1), (Adjacency.REPLACE_ONE, 2)):
        # The accountant doubles the radius where a unit is replaced; the distance moves no further then.
        assert distance_event(6.0, Budget(1, 1e-5, adjacency)) == dp_accounting.GaussianDpEvent(6.0 * times)
        person = Budget(1, 1e-5, adjacency, Unit("person", 3))
        assert distance_event(6.0, person) == dp_accounting.GaussianDpEvent(2.0 * times)


@each_budget
def test_the_declared_event_is_charged(budget: Budget) -> None:
    event = distance_event(SIGMA, budget)
    session = Session(Plan(budget, event), noise=Silent())
    dense(locked([[0], [1]], budget), session)
    assert session.event == compose([event])
    assert session.trace[0].sensitivity(budget.adjacency) == budget.unit.max_rows
    with pytest.raises(BudgetExceeded):
        dense(locked([[0]], budget), session)


# --- neighbours --------------------------------------------------------------------------------------


@each_budget
def test_neighbours_are_as_close_as_charged(budget: Budget) -> None:
    reached = max(check_bounded(sparse, budget, pair) for pair in worst_neighbours(budget))
    assert reached == pytest.approx(1.0, abs=1e-4)  # a row in an unlikely cell counts in full
    for pair in worst_neighbours(budget):
        check_bounded(dense, budget, pair)


@each_budget
@given(drawn=st.data(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_any_neighbours_are_as_close_as_charged(budget: Budget, drawn: st.DataObject, seed: int) -> None:
    def release(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        return [np.array([noisy_distance(data, session, ASKED, distributions(seed), SIGMA, "a table")])]

    check_bounded(release, budget, drawn.draw(neighbours(budget)))


def caught(release: Release, budget: Budget, why: str = "moves by") -> None:
    """The check that the mechanism passes fails for ``release``."""
    with pytest.raises(AssertionError, match=why):
        for pair in worst_neighbours(budget):
            check_bounded(release, budget, pair)


@pytest.mark.parametrize("budget", BUDGETS[1::2], ids=str)
def test_forgetting_that_a_unit_has_several_rows_is_caught(budget: Budget) -> None:
    caught(forgetting(sparse, unit=Unit()), budget)


def _of_gaps(combine: object, factor: float, *, shares: bool = False) -> Release:
    """A distance of another make, charged as the right one."""

    def release(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        event, k = distance_event(SIGMA, session.plan.budget), float(session.plan.budget.unit.max_rows)
        session.charge(Charge(event, "noisy mean distance", k, "a mistake", "one cell"))
        codes = discretize(reveal(data), data.schema)
        size = 50.0 if shares else float(len(codes))
        gaps = []
        for query, reference in zip(ASKED, distributions(1, sparse=True), strict=True):
            table = exact_marginal(codes, data.schema, query)
            table = table / max(1, len(codes)) * size if shares else table
            gaps.append(factor * np.abs(table - size * reference).sum())
        return [session.noise.gaussian(np.array([combine(gaps)]), SIGMA)]  # type: ignore[operator]

    return release


def test_other_distances_than_the_charged_one_are_caught() -> None:
    for pair in worst_neighbours(ROW):
        check_bounded(_of_gaps(np.mean, 0.5), ROW, pair)  # this copy is right
    caught(_of_gaps(np.mean, 1.0), ROW, "moves by 2 times")  # without the half
    caught(_of_gaps(np.sum, 0.5), ROW, "moves by 3 times")  # the sum of three marginals
    caught(_of_gaps(np.mean, 0.5, shares=True), ROW)  # of 50 rows, whatever the exact count is


def test_references_from_the_data_are_caught() -> None:
    def release(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        first = discretize(reveal(data), data.schema)[:1]
        reference = exact_marginal(first, data.schema, ("age",))
        reference = reference / max(1.0, reference.sum()) if len(first) else np.eye(6)[0]
        return [np.array([noisy_distance(data, session, [("age",)], [reference], SIGMA, "the first row")])]

    others = [[5]] * 6
    with pytest.raises(AssertionError, match="moves by"):
        check_bounded(release, ROW, ([[4], *others], others))


# --- values ------------------------------------------------------------------------------------------


@given(drawn=st.data(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_distance_by_brute_force(drawn: st.DataObject, seed: int) -> None:
    rows, _ = drawn.draw(neighbours(ROW))
    data = locked(rows, ROW)
    found = noisy_distance(data, Recording(ROW), ASKED, distributions(seed), 1e-3, "a table")
    codes, names = discretize(reveal(data), data.schema).tolist(), list(schema().domain)
    total = 0.0
    for query, reference in zip(ASKED, distributions(seed), strict=True):
        for cell in np.ndindex(reference.shape):
            count = sum(all(row[names.index(n)] == c for n, c in zip(query, cell, strict=True)) for row in codes)
            total += abs(count - len(codes) * reference[cell]) / 2
    assert found == pytest.approx(total / len(ASKED), abs=1e-6)


def test_the_extremes_are_nothing_and_the_number_of_rows() -> None:
    rows = locked([[1]] * 7, ROW)
    codes = discretize(reveal(rows), rows.schema)
    same = [exact_marginal(codes, rows.schema, query) / 7 for query in ASKED]
    assert noisy_distance(rows, Recording(ROW), ASKED, same, 1e-3, "itself") == pytest.approx(0, abs=1e-6)
    assert sparse(rows, Recording(ROW))[0] == pytest.approx(7.0, abs=1e-5)
    assert dense(locked([], ROW), Recording(ROW))[0] == 0


# --- noise -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [BUDGETS[0], BUDGETS[3]], ids=str)
def test_noise_has_the_declared_scale(budget: Budget) -> None:
    """10,000 answers of an empty table; 0.7 and 1.3 times of the scale are rejected at 1e-7."""
    sigma, session = 3.7, Recording(budget, NoiseSource(test_seed=14))
    empty, reference = locked([], budget), [np.array([0.25, 0.75])]
    drawn = [noisy_distance(empty, session, [("sex",)], reference, sigma, "nothing") for _ in range(10_000)]
    check_scale(check_normal, np.array(drawn), sigma)
