"""Mean attributions: charged before they are read, no more sensitive than charged, with the right noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import dp_accounting
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.errors import MethodError
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms import moments
from synthkit.privacy.mechanisms.attributions import BOUND, importance_event, noisy_importance
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from tests.privacy.mechanisms.promises import (
    BUDGETS,
    Recording,
    check_bounded,
    check_charged_first,
    check_normal,
    check_scale,
    locked,
    neighbours,
    worst_neighbours,
)
from tests.tables import schema

SIGMA, CLIP = 2.0, 0.5
NAMES = tuple(schema().domain)
ROW = BUDGETS[0]
each_budget = pytest.mark.parametrize("budget", BUDGETS, ids=lambda b: f"{b.adjacency}, {b.unit}")


def attributions(codes: np.ndarray) -> np.ndarray:
    """Signed values, some far beyond the clip, some not finite."""
    found = np.where(codes % 2 == 0, codes, -codes).astype(float)
    found[codes[:, 0] == 3] = np.inf
    return found


def release(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
    noisy_importance(data, session, attributions, NAMES, CLIP, SIGMA, "a model")
    return session.noise.sums[-1:]  # type: ignore[attr-defined]  (as it left: count and sums)


@each_budget
def test_what_is_not_planned_is_not_read(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    check_charged_first(release, budget, dp_accounting.NoOpDpEvent(), moments, monkeypatch)


@each_budget
def test_neighbours_are_as_close_as_charged(budget: Budget) -> None:
    reached = max(check_bounded(release, budget, pair) for pair in worst_neighbours(budget))
    assert reached == pytest.approx(1.0, abs=1e-4 if "add" in str(budget.adjacency) else 0.6)


@each_budget
@given(drawn=st.data())
@settings(deadline=None, max_examples=20, derandomize=True)
def test_any_neighbours_are_as_close_as_charged(budget: Budget, drawn: st.DataObject) -> None:
    check_bounded(release, budget, drawn.draw(neighbours(budget)))


def test_the_bound_holds_before_the_sum_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row's count is whole: had the sum to clip, long attributions would make their row count less."""
    seen: list[np.ndarray] = []

    def spy(data: Private[Table], session: Session, vector_of: object, *rest: object) -> np.ndarray:
        from synthkit.data.private import reveal

        seen.append(vector_of(reveal(data)))  # type: ignore[operator]
        return moments.noisy_sum(data, session, vector_of, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("synthkit.privacy.mechanisms.attributions.noisy_sum", spy)
    noisy_importance(locked([[k] for k in range(12)], ROW), Recording(ROW), attributions, NAMES, CLIP, SIGMA, "a model")
    assert np.linalg.norm(seen[0], axis=1).max() <= BOUND + 1e-12
    assert (seen[0][:, 0] == 1).all() and (seen[0] >= 0).all()


def test_means_by_hand() -> None:
    found = noisy_importance(
        locked([[1], [2], [8]], ROW),
        Recording(ROW),
        lambda codes: np.full((len(codes), 7), -0.1),
        NAMES,
        10.0,
        1e-3,
        "m",
    )
    assert found.rows == pytest.approx(3, abs=1e-2)
    np.testing.assert_allclose(found.values, 0.1, atol=1e-2)
    assert found.error == pytest.approx(1.959964 * 1e-3 * 10 / 3, rel=1e-2)
    clipped = noisy_importance(
        locked([[1], [2]], ROW), Recording(ROW), lambda codes: np.full((len(codes), 7), 9.0), NAMES, 0.7, 1e-6, "m"
    )
    np.testing.assert_allclose(clipped.values, 0.7 / math.sqrt(7), rtol=1e-4)
    empty = noisy_importance(locked([], ROW), Recording(ROW), attributions, NAMES, CLIP, SIGMA, "nothing")
    assert empty.rows == 1 and (empty.values == 0).all()


def test_noise_has_the_declared_scale() -> None:
    session = Recording(ROW, NoiseSource(test_seed=3))
    drawn = [
        noisy_importance(locked([], ROW), session, lambda c: np.zeros((len(c), 7)), NAMES, 1.0, 3.7, "m")
        for _ in range(4_000)
    ]
    positive = np.concatenate([one.values for one in drawn])
    positive = positive[positive > 0]  # the negative half is cut off; the count is at least 1
    scales = [one.error / 1.959964 for one in drawn]
    rows = np.array([one.rows for one in drawn])
    np.testing.assert_allclose(np.array(scales) * rows, 3.7)
    half = np.concatenate([one.values * one.rows for one in drawn])
    half = half[half > 0]
    signs = np.random.default_rng(0).choice([-1, 1], len(half))
    check_scale(check_normal, half * signs, 3.7)
    assert len(positive) == len(half)


@pytest.mark.parametrize("clip", [0.0, -1.0, math.inf, math.nan])
def test_a_clip_that_bounds_nothing_is_refused(clip: float) -> None:
    session = Recording(ROW)
    with pytest.raises(MethodError, match="clip"):
        noisy_importance(locked([[0]], ROW), session, attributions, NAMES, clip, SIGMA, "a model")
    assert session.trace == ()
    with pytest.raises(MethodError, match="7 attributions"):
        noisy_importance(locked([[0]], ROW), session, lambda c: np.zeros((len(c), 3)), NAMES, 1.0, SIGMA, "a model")


def test_the_event_follows_from_the_bound() -> None:
    assert importance_event(2.0, ROW) == dp_accounting.GaussianDpEvent(2.0 / BOUND)
    session = Session(Plan(ROW, importance_event(SIGMA, ROW)), noise=NoiseSource(test_seed=0))
    noisy_importance(locked([[0], [1]], ROW), session, attributions, NAMES, CLIP, SIGMA, "a model")
    assert session.trace[0].norm_bound == BOUND * ROW.unit.max_rows
