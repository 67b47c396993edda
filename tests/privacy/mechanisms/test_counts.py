"""Noisy counts: charged before they are read, no more sensitive than charged, with the noise that was charged."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import dp_accounting
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthkit.data.encoding import Table, discretize, from_frame
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Categorical, Identifier, Schema, Unit
from synthkit.errors import BudgetExceeded
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.events import DiscreteGaussianDpEvent, compose, repeat
from synthkit.privacy.mechanisms import counts
from synthkit.privacy.mechanisms.counts import (
    counts_event,
    counts_radius,
    exact_marginal,
    noisy_histogram,
    noisy_marginals,
)
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from tests.privacy.mechanisms.promises import (
    BUDGETS,
    Recording,
    Release,
    Units,
    check_bounded,
    check_charged_first,
    check_discrete_gaussian,
    check_rounded_normal,
    check_scale,
    forgetting,
    locked,
    neighbours,
    worst_neighbours,
)
from tests.tables import frame, private, schema

SIGMA = 2.0
QUERIES = [("age",), ("region", "ill"), ("age", "income", "smoker"), ("ill",)]
ROW = BUDGETS[0]

each_budget = pytest.mark.parametrize("budget", BUDGETS, ids=lambda b: f"{b.adjacency}, {b.unit}")


def marginals(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
    return [released.counts for released in noisy_marginals(data, session, QUERIES, SIGMA)]


def income_by_ill(codes: np.ndarray) -> np.ndarray:
    return codes[:, 3] * 2 + codes[:, 6]


def histogram(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
    return [noisy_histogram(data, session, income_by_ill, 8, SIGMA, "income by ill")]


# --- charged before read -----------------------------------------------------------------------------


@each_budget
@pytest.mark.parametrize("release", [marginals, histogram])
@pytest.mark.parametrize("other", ["nothing", "more noise", "less noise", "another kind"])
def test_what_is_not_planned_is_not_read(
    release: Release, budget: Budget, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = {
        "nothing": dp_accounting.NoOpDpEvent(),
        "more noise": repeat(counts_event(SIGMA * 1.001, budget), 9),
        "less noise": repeat(counts_event(SIGMA * 0.999, budget), 9),
        "another kind": repeat(dp_accounting.LaplaceDpEvent(SIGMA), 9),
    }[other]
    check_charged_first(release, budget, planned, counts, monkeypatch)


@each_budget
def test_all_queries_are_charged_before_the_first_is_read(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    check_charged_first(marginals, budget, repeat(counts_event(SIGMA, budget), 3), counts, monkeypatch)


def test_a_mechanism_that_reads_first_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads_first(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        counts.reveal(data)
        return histogram(data, session)

    def never_charges(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        return [exact_marginal(discretize(reveal(data), data.schema), data.schema, ("ill",))]

    for broken, why in ((reads_first, "before the charge"), (never_charges, "without being in the plan")):
        with pytest.raises(AssertionError, match=why):
            check_charged_first(broken, ROW, dp_accounting.NoOpDpEvent(), counts, monkeypatch)


def test_a_refused_histogram_does_not_call_its_cells() -> None:
    def cell_of(codes: np.ndarray) -> np.ndarray:
        raise AssertionError("called with private codes")

    with pytest.raises(BudgetExceeded, match="not in the plan"):
        noisy_histogram(
            locked([[0]], ROW), Session(Plan(ROW, dp_accounting.NoOpDpEvent())), cell_of, 2, SIGMA, "nothing"
        )


# --- what is charged ---------------------------------------------------------------------------------


def test_the_event_follows_from_unit_and_adjacency() -> None:
    remove, replace = Adjacency
    person = Unit("person", 3)
    gaussian = dp_accounting.GaussianDpEvent
    assert counts_event(4.0, Budget(1, 1e-5, remove)) == DiscreteGaussianDpEvent(4.0, 1)
    assert counts_event(4.0, Budget(1, 1e-5, replace)) == DiscreteGaussianDpEvent(4.0, 2)
    assert counts_event(4.0, Budget(1, 1e-5, replace, Unit("person", 1))) == DiscreteGaussianDpEvent(4.0, 2)
    assert counts_event(4.0, Budget(1, 1e-5, remove, person)) == gaussian(4.0 / 3)
    assert counts_event(4.0, Budget(1, 1e-5, replace, person)) == gaussian(4.0 / (3 / math.sqrt(2)))


@each_budget
def test_the_declared_event_is_charged(budget: Budget) -> None:
    event = counts_event(SIGMA, budget)
    for release, times in ((marginals, len(QUERIES)), (histogram, 1)):
        session = Session(Plan(budget, repeat(event, times)))
        release(locked([[0], [1], [2]], budget), session)
        assert session.event == compose([repeat(event, times)])
        assert {charge.norm_bound for charge in session.trace} == {counts_radius(budget)}
        with pytest.raises(BudgetExceeded):
            release(locked([[0]], budget), session)


def test_the_trace_names_public_words_alone() -> None:
    session = Recording(ROW)
    marginals(locked([[0]], ROW), session)
    assert [charge.what for charge in session.trace] == ["age", "region x ill", "age x income x smoker", "ill"]


# --- neighbours --------------------------------------------------------------------------------------


@each_budget
@pytest.mark.parametrize("release", [marginals, histogram])
def test_neighbours_are_as_close_as_charged(release: Release, budget: Budget) -> None:
    reached = max(check_bounded(release, budget, pair) for pair in worst_neighbours(budget))
    assert reached == pytest.approx(1.0, abs=1e-4)  # and the bound is tight


@each_budget
@given(drawn=st.data())
@settings(deadline=None, max_examples=30, derandomize=True)
def test_any_neighbours_are_as_close_as_charged(budget: Budget, drawn: st.DataObject) -> None:
    pair = drawn.draw(neighbours(budget))
    check_bounded(marginals, budget, pair)
    check_bounded(histogram, budget, pair)


def caught(release: Release, budget: Budget, why: str | None = None) -> None:
    """The check that the mechanism passes fails for ``release``."""
    with pytest.raises(AssertionError, match=why):
        for pair in worst_neighbours(budget):
            check_bounded(release, budget, pair)


@pytest.mark.parametrize("budget", BUDGETS[1::2], ids=str)
@pytest.mark.parametrize("release", [marginals, histogram])
def test_forgetting_that_a_unit_has_several_rows_is_caught(release: Release, budget: Budget) -> None:
    caught(forgetting(release, unit=Unit()), budget, "moves by")


@pytest.mark.parametrize("budget", BUDGETS[1::2], ids=str)
def test_a_radius_of_one_row_is_caught(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "counts_radius", lambda _: 1.0)
    caught(marginals, budget, "moves by")


@pytest.mark.parametrize("release", [marginals, histogram])
@pytest.mark.parametrize("budget", BUDGETS[2:], ids=str)
def test_forgetting_that_replacing_moves_two_cells_is_caught(release: Release, budget: Budget) -> None:
    if budget.unit.max_rows == 1:
        caught(forgetting(release, adjacency=Adjacency.ADD_OR_REMOVE), budget, "moves by 2 times")
    else:  # the accountant doubles the radius: a larger one than needed, by sqrt(2)
        for pair in worst_neighbours(budget):
            check_bounded(forgetting(release, adjacency=Adjacency.ADD_OR_REMOVE), budget, pair)


@each_budget
def test_less_noise_than_charged_is_caught(budget: Budget) -> None:
    def quiet(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        counts._charge(session, SIGMA, "noisy histogram", "ill")
        table = exact_marginal(discretize(reveal(data), data.schema), data.schema, ("ill",))
        return [session.noise.gaussian(table, SIGMA / 2)]

    caught(quiet, budget)


@each_budget
def test_bins_that_look_at_all_rows_are_caught(budget: Budget) -> None:
    def above_the_median(codes: np.ndarray) -> np.ndarray:
        return (codes[:, 3] > np.median(codes[:, 3])).astype(np.int64)

    def release(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        return [noisy_histogram(data, session, above_the_median, 2, SIGMA, "income above its median")]

    with pytest.raises(AssertionError, match="moves by"):
        check_bounded(release, budget, median_neighbours(budget))


def median_neighbours(budget: Budget) -> tuple[Units, Units]:
    """Half the rows at the lowest income, half at the highest: one unit decides on which side the median lies."""
    low, high = [5] * budget.unit.max_rows, [4] * budget.unit.max_rows
    others = [low] * 3 + [high] * 3
    return [*others, high], [*others, low] if budget.adjacency is Adjacency.REPLACE_ONE else others


def test_a_row_counted_twice_is_caught() -> None:
    def twice(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        charge = counts._charge(session, SIGMA, "noisy histogram", "age at most")
        table = exact_marginal(discretize(reveal(data), data.schema), data.schema, ("age",))
        return [session.release(charge, table.cumsum())]

    caught(twice, ROW, "moves by")


def test_counting_what_lies_outside_the_domain_is_caught() -> None:
    """A table that grows a cell for a value that the schema does not list tells that the value is there."""

    def grows(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        charge = counts._charge(session, SIGMA, "noisy histogram", "age")
        found = discretize(reveal(data), data.schema)[:, 0]
        return [session.release(charge, np.bincount(found).astype(np.float64))]

    caught(grows, ROW, "shape depends on the data")


def test_leaving_out_empty_cells_is_caught() -> None:
    def sparse(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        (table,) = histogram(data, session)
        return [table[table > 0]]

    caught(sparse, ROW, "shape depends on the data")


def test_rows_outside_the_cells_add_nothing() -> None:
    data = locked([[row] for row in range(8)], ROW)
    session = Recording(ROW)
    found = noisy_histogram(data, session, lambda codes: codes[:, 0] + 3, 4, SIGMA, "shifted ages")
    ages = discretize(reveal(data), data.schema)[:, 0]
    assert found.shape == (4,)
    assert found.tolist() == [0, 0, 0, (ages == 0).sum()]


# --- exact counts ------------------------------------------------------------------------------------


@given(rows=st.integers(0, 40), seed=st.integers(0, 999), query=st.sampled_from(QUERIES))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_exact_marginal_counts(rows: int, seed: int, query: tuple[str, ...]) -> None:
    sizes, names = schema().domain, list(schema().domain)
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, size, rows) for size in sizes.values()], axis=1)
    found = exact_marginal(codes, schema(), query)
    assert found.shape == tuple(sizes[name] for name in query)
    assert found.sum() == rows
    expected = Counter(tuple(row[names.index(name)] for name in query) for row in codes.tolist())
    assert all(found[cell] == expected[cell] for cell in np.ndindex(found.shape))


@pytest.mark.parametrize("rows", [0, 1])
def test_tiny_tables_have_all_cells(rows: int) -> None:
    for released in noisy_marginals(private(frame(rows), schema()), Recording(ROW), QUERIES, SIGMA):
        assert released.counts.shape == tuple(schema().domain[name] for name in released.columns)
        assert released.counts.sum() == rows
        assert released.sigma == SIGMA


# --- noise -------------------------------------------------------------------------------------------

MANY = 100_000
WIDE = Schema(
    "wide", {"c": Categorical(categories=tuple(range(1000))), "d": Categorical(categories=tuple(range(100)))}, 9
)


@each_budget
@pytest.mark.parametrize("way", ["marginal", "histogram"])
def test_noise_has_the_declared_scale(budget: Budget, way: str) -> None:
    """100,000 cells of an empty table; the other 0.7 and 1.3 times are rejected at 1e-7."""
    sigma = 3.7
    session = Session(Plan(budget, counts_event(sigma, budget)), noise=NoiseSource(test_seed=11))
    rows = from_frame(frame(0)[["ill", "sex"]].set_axis(["c", "d"], axis=1), WIDE)
    wide = replace(WIDE, unit=budget.unit, columns={"person": Identifier(), **WIDE.columns})
    empty = Private(rows, dataset="w", schema=wide, bounded=True)
    if way == "marginal":
        drawn = noisy_marginals(empty, session, [("c", "d")], sigma)[0].counts.ravel()
    else:
        drawn = noisy_histogram(empty, session, lambda codes: codes[:, 0], MANY, sigma, "nothing")
    assert drawn.size == MANY
    check_scale(check_discrete_gaussian if budget.unit.max_rows == 1 else check_rounded_normal, drawn, sigma)


def test_noise_is_drawn_anew_for_every_cell_and_query() -> None:
    session = Session(Plan(ROW, repeat(counts_event(50.0, ROW), 2)), noise=NoiseSource(test_seed=1))
    one, two = noisy_marginals(private(frame(0), schema()), session, [("age", "region")] * 2, 50.0)
    assert len(np.unique(one.counts)) > 15  # of 30 cells, with 200 likely values
    assert (one.counts != two.counts).sum() > 20
