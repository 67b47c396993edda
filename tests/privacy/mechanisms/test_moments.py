"""Noisy sums and moments: charged before they are read, clipped, exact, with the noise that was charged."""

from __future__ import annotations

import math
from collections.abc import Sequence

import dp_accounting
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from synthkit.data.encoding import Table, from_frame
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Unit
from synthkit.errors import BudgetExceeded, MethodError
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.events import compose, repeat
from synthkit.privacy.mechanisms import moments
from synthkit.privacy.mechanisms.moments import noisy_moments, noisy_sum, sum_event
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
from tests.tables import frame, private, schema

SIGMA, BOUND = 2.0, 5.0
ROW = BUDGETS[0]

each_budget = pytest.mark.parametrize("budget", BUDGETS, ids=lambda b: f"{b.adjacency}, {b.unit}")


def raw(table: Table) -> np.ndarray:
    """Income and age as they are: 1e30, infinite and NaN among them."""
    return np.stack([table.columns["income"], table.columns["age"], -np.asarray(table.columns["income"])], axis=1)


def of_sum(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
    return [noisy_sum(data, session, raw, 3, BOUND, SIGMA, "income and age")]


def of_moments(data: Private[Table], session: Recording) -> Sequence[np.ndarray]:
    with np.errstate(over="ignore"):  # see test_the_largest_numbers_are_silent
        noisy_moments(data, session, ["age", "income", "seen"], SIGMA)
    return session.noise.sums


EVENTS = {of_sum: (BOUND, 1), of_moments: (math.sqrt(3), 3)}


# --- charged before read -----------------------------------------------------------------------------


@each_budget
@pytest.mark.parametrize("release", EVENTS)
@pytest.mark.parametrize("factor", [None, 0.999, 1.001])
def test_what_is_not_planned_is_not_read(
    release: Release, budget: Budget, factor: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound, _ = EVENTS[release]
    planned = dp_accounting.NoOpDpEvent() if factor is None else repeat(sum_event(factor * SIGMA, bound, budget), 9)
    check_charged_first(release, budget, planned, moments, monkeypatch)


def test_each_moment_is_charged_before_its_own_read(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = repeat(sum_event(SIGMA, math.sqrt(3), ROW), 2)
    check_charged_first(of_moments, ROW, planned, moments, monkeypatch, reads=2)


def test_a_mechanism_that_reads_first_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads_first(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        rows = moments.reveal(data).rows
        return [noisy_sum(data, session, raw, 3, BOUND * rows, SIGMA, "income and age")]

    with pytest.raises(AssertionError, match="before the charge"):
        check_charged_first(reads_first, ROW, dp_accounting.NoOpDpEvent(), moments, monkeypatch)


def test_a_refused_sum_does_not_call_its_vectors() -> None:
    def vector_of(table: Table) -> np.ndarray:
        raise AssertionError("called with private rows")

    with pytest.raises(BudgetExceeded, match="not in the plan"):
        noisy_sum(
            locked([[0]], ROW), Session(Plan(ROW, dp_accounting.NoOpDpEvent())), vector_of, 1, 1.0, SIGMA, "nothing"
        )


def test_moments_of_a_category_are_refused_before_any_charge() -> None:
    session = Recording(ROW)
    with pytest.raises(MethodError, match="moments need a numeric column; region is categorical"):
        noisy_moments(locked([[0]], ROW), session, ["region"], SIGMA)
    assert session.trace == ()


# --- what is charged ---------------------------------------------------------------------------------


def test_the_event_follows_from_bound_and_unit() -> None:
    gaussian = dp_accounting.GaussianDpEvent
    for adjacency in Adjacency:  # the accountant doubles the radius where a unit is replaced
        assert sum_event(6.0, 2.0, Budget(1, 1e-5, adjacency)) == gaussian(3.0)
        assert sum_event(6.0, 2.0, Budget(1, 1e-5, adjacency, Unit("person", 3))) == gaussian(1.0)


@each_budget
@pytest.mark.parametrize("release", EVENTS)
def test_the_declared_event_is_charged(release: Release, budget: Budget) -> None:
    bound, times = EVENTS[release]
    event = repeat(sum_event(SIGMA, bound, budget), times)
    session = Session(Plan(budget, event), noise=Silent())
    release(locked([[0], [1]], budget), session)
    assert session.event == compose([event])
    assert {charge.norm_bound for charge in session.trace} == {bound * budget.unit.max_rows}
    with pytest.raises(BudgetExceeded):
        release(locked([[0]], budget), session)


# --- neighbours --------------------------------------------------------------------------------------


@each_budget
@pytest.mark.parametrize("release", EVENTS)
def test_neighbours_are_as_close_as_charged(release: Release, budget: Budget) -> None:
    reached = max(check_bounded(release, budget, pair) for pair in worst_neighbours(budget))
    # Clipped vectors of opposite signs are twice the radius apart; (1, x, x^2) are not.
    assert reached > (0.5 if release is of_moments else 0.999)


@each_budget
@given(drawn=st.data())
@settings(deadline=None, max_examples=30, derandomize=True)
def test_any_neighbours_are_as_close_as_charged(budget: Budget, drawn: st.DataObject) -> None:
    pair = drawn.draw(neighbours(budget))
    check_bounded(of_sum, budget, pair)
    check_bounded(of_moments, budget, pair)


def caught(release: Release, budget: Budget, why: str = "moves by") -> None:
    """The check that the mechanism passes fails for ``release``."""
    with pytest.raises(AssertionError, match=why):
        for pair in worst_neighbours(budget):
            check_bounded(release, budget, pair)


@each_budget
def test_clipping_to_twice_the_norm_is_caught(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = moments._clip
    monkeypatch.setattr(moments, "_clip", lambda vectors, bound: clip(vectors, 2 * bound))
    caught(of_sum, budget, "moves by 2 times")


@each_budget
def test_no_clipping_is_caught(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "_clip", lambda vectors, bound: np.clip(np.nan_to_num(vectors), -1e3, 1e3))
    caught(of_sum, budget)


@each_budget
def test_clipping_coordinates_for_norms_is_caught(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "_clip", lambda vectors, bound: np.clip(np.nan_to_num(vectors), -bound, bound))
    caught(of_sum, budget)


@pytest.mark.parametrize("budget", BUDGETS[1::2], ids=str)
def test_forgetting_that_a_unit_has_several_rows_is_caught(budget: Budget) -> None:
    caught(forgetting(of_sum, unit=Unit()), budget)
    caught(forgetting(of_moments, unit=Unit()), budget)


def test_taking_the_diameter_for_the_radius_is_caught() -> None:
    def halved(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        event = dp_accounting.GaussianDpEvent(SIGMA / (BOUND / 2))
        session.charge(Charge(event, "noisy sum", BOUND / 2, "a mistake", "income"))
        clipped = moments._clip(raw(reveal(data)), BOUND)
        return [session.noise.gaussian(clipped.sum(axis=0), SIGMA)]

    caught(halved, ROW, "moves by 2 times")


@each_budget
def test_centring_at_the_mean_of_the_rows_is_caught(budget: Budget) -> None:
    def centred(table: Table) -> np.ndarray:
        x = np.nan_to_num(np.asarray(table.columns["income"], dtype=np.float64), posinf=1e30, neginf=-1e30)
        return (x - (x.mean() if len(x) else 0.0))[:, None]

    def release(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        return [noisy_sum(data, session, centred, 1, BOUND, SIGMA, "income around its mean")]

    caught(release, budget)


def test_one_record_that_is_not_a_number_does_not_decide() -> None:
    """Without the guard the answer is NaN on one side: told apart with certainty."""

    def unguarded(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        session.charge(Charge(sum_event(SIGMA, BOUND, ROW), "noisy sum", BOUND, "a mistake", "income"))
        vectors = raw(reveal(data))
        scale = np.minimum(1, BOUND / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9))
        with np.errstate(invalid="ignore"):
            return [(vectors * scale).sum(axis=0)]  # the noise source would take NaN for zero

    with pytest.raises(AssertionError, match="not finite"):
        check_bounded(unguarded, ROW, ([[0], [1], [6]], [[0], [1]]))
    check_bounded(of_sum, ROW, ([[0], [1], [6]], [[0], [1]]))


# --- clipping and adding -----------------------------------------------------------------------------

wild = npst.arrays(
    np.float64,
    st.tuples(st.integers(0, 6), st.integers(1, 5)),
    elements=st.one_of(
        st.floats(-1e150, 1e150), st.sampled_from([np.inf, -np.inf, np.nan, 0.0, 5e-324, 1e-170, 1e30, -1e30])
    ),
)


@given(vectors=wild, bound=st.floats(1e-6, 1e6))
@settings(deadline=None, max_examples=150, derandomize=True)
def test_a_row_adds_at_most_the_bound_in_exact_arithmetic(vectors: np.ndarray, bound: float) -> None:
    rows, width = vectors.shape
    one = private(frame(max(1, rows)).iloc[:rows], schema())
    found = noisy_sum(one, Recording(ROW), lambda _: vectors, width, bound, bound, "any vectors")
    assert np.isfinite(found).all()
    steps = np.trunc(moments._clip(vectors, bound) / bound * moments._STEPS)
    for row in steps.tolist():  # whole numbers: no rounding hides a longer vector
        assert sum(int(step) ** 2 for step in row) <= moments._STEPS**2 * (1 + 1e-12)
    np.testing.assert_allclose(found, steps.sum(axis=0) / moments._STEPS * bound, atol=bound * 2.0**-20)


@given(vectors=wild, bound=st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=100, derandomize=True)
def test_clipping_keeps_directions_and_short_vectors(vectors: np.ndarray, bound: float) -> None:
    clipped = moments._clip(vectors, bound)
    for before, after in zip(vectors, clipped, strict=True):
        if not np.isfinite(before).all():
            assert not after.any()
        elif (norm := math.hypot(*before)) <= bound:
            np.testing.assert_array_equal(before, after)
        else:
            np.testing.assert_allclose(after, before * (bound / norm), rtol=1e-9, atol=bound * 1e-12)


@pytest.mark.parametrize("value", [1e200, -1.7e308])
def test_the_largest_numbers_are_silent(value: float) -> None:
    """A warning on standard error, or a crash under -W error, tells that such a record is there."""
    found = noisy_sum(locked([[0]], ROW), Recording(ROW), lambda _: np.array([[value]]), 1, BOUND, SIGMA, "too much")
    assert abs(found[0]) <= BOUND


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_the_bound_holds_for_coarse_floats(kind: type) -> None:
    """Scores of a float32 model: 1e-7 over the bound. In half precision the integer steps overflow: 69 times of it."""
    vectors = np.random.default_rng(0).normal(0, 10, (30, 300)).astype(kind)
    for row in vectors:
        one = noisy_sum(locked([[0]], ROW), Recording(ROW), lambda _, row=row: row[None], 300, 1.0, 1e-9, "scores")
        assert np.linalg.norm(one) <= 1 + 1e-9


def test_the_sum_does_not_depend_on_the_order_of_rows() -> None:
    """A float sum's rounding would: 1e6 first swallows what 0.1 after 0.1 adds up to."""
    data = frame(3000, seed=2)
    values = np.random.default_rng(0).lognormal(0, 8, 3000)

    def exact(order: np.ndarray) -> np.ndarray:
        vectors = np.minimum(values, 1e6)[order][:, None]
        return noisy_sum(private(data, schema()), Recording(ROW), lambda _: vectors, 1, 1e6, 1e-3, "sum")

    one = exact(np.arange(3000))
    for seed in range(5):
        np.testing.assert_array_equal(one, exact(np.random.default_rng(seed).permutation(3000)))


def test_chunks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    data = private(frame(57), schema())
    whole = of_sum(data, Recording(ROW))[0]
    for size in (1, 7, 57, 58):
        monkeypatch.setattr(moments, "_CHUNK", size)
        np.testing.assert_array_equal(of_sum(data, Recording(ROW))[0], whole)


# --- moments -----------------------------------------------------------------------------------------


def test_moments_are_those_of_the_column() -> None:
    public, data = schema(), frame(300)
    table = from_frame(data, public)
    found = noisy_moments(private(data, public), Recording(ROW), ["age", "income", "seen"], 1e-4)
    for released in found:
        values = np.asarray(table.columns[released.column], dtype=np.float64)
        values = values[~np.isnan(values)]
        half = (public.modelled[released.column].high - public.modelled[released.column].low) / 2  # type: ignore[union-attr]
        assert released.rows == pytest.approx(len(values), abs=1e-6)
        assert released.mean == pytest.approx(values.mean(), abs=1e-6 * half)
        assert released.variance == pytest.approx(values.var(), abs=1e-5 * half**2)


@pytest.mark.parametrize("rows", [0, 1])
def test_moments_of_tiny_tables_lie_within_the_bounds(rows: int) -> None:
    for seed in range(5):
        session = Recording(ROW, NoiseSource(test_seed=seed))
        for released in noisy_moments(private(frame(rows), schema()), session, ["age", "income"], 40.0):
            column = schema().modelled[released.column]
            assert column.low <= released.mean <= column.high  # type: ignore[union-attr]
            assert 0 <= released.variance <= ((column.high - column.low) / 2) ** 2  # type: ignore[union-attr]


# --- noise -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [BUDGETS[0], BUDGETS[3]], ids=str)
def test_noise_has_the_declared_scale(budget: Budget) -> None:
    """100,000 coordinates over an empty table; 0.7 and 1.3 times of the scale are rejected at 1e-7."""
    sigma = 3.7
    session = Session(Plan(budget, sum_event(sigma, BOUND, budget)), noise=NoiseSource(test_seed=12))
    drawn = noisy_sum(locked([], budget), session, raw, 100_000, BOUND, sigma, "nothing")
    check_scale(check_normal, drawn, sigma)


def test_answers_lie_on_the_grid() -> None:
    session = Recording(ROW, NoiseSource(test_seed=3))
    drawn = noisy_sum(locked([[0]], ROW), session, raw, 3, BOUND, 5.0, "income and age")
    grid = 4.0 * 2.0**-20
    np.testing.assert_array_equal(drawn, np.rint(drawn / grid) * grid)
