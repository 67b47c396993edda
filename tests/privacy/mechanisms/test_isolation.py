"""How many cells hold one row: moves by no more than is priced, whoever comes or goes, and is released with that noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthkit.audit.neighbours import pairs
from synthkit.audit.replay import Opener, replay
from synthkit.data.encoding import Table, discretize
from synthkit.data.schema import Unit
from synthkit.errors import BudgetExceeded, MethodError
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.mechanisms.isolation import NOBODY, isolation_event, noisy_isolated
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from tests.tables import frame, private, schema

PUBLIC = schema(rows=60)
CELLS = 5


def planned(budget: Budget) -> tuple[Plan, float]:
    sigma = calibrate(lambda scale: isolation_event(scale, budget), budget)
    return Plan(budget, isolation_event(sigma, budget), {"isolated": sigma}), sigma


def by_age(table: Table) -> np.ndarray[Any, Any]:
    """The bin of the age; null is in no cell."""
    codes = discretize(table, PUBLIC)[:, 0]
    return np.where(codes < CELLS, codes, NOBODY)


@pytest.mark.parametrize("unit", [Unit(), Unit("person", 3)], ids=str)
@pytest.mark.parametrize("adjacency", list(Adjacency), ids=str)
def test_it_replays_on_neighbours(adjacency: Adjacency, unit: Unit) -> None:
    public = schema(rows=8, unit=unit)
    budget = Budget(1.0, 1e-5, adjacency, unit)
    plan, sigma = planned(budget)

    def program(rows: pd.DataFrame, open_session: Opener, _: NoiseSource) -> Mapping[str, Any]:
        session = open_session(plan)
        cell_of = lambda table: discretize(table, public)[:, 0]  # noqa: E731
        return {"alone": noisy_isolated(private(rows, public), session, cell_of, 6, sigma, "ages")}

    moved = []
    for pair in pairs(public, adjacency, rows=8):
        found = replay(program, pair.left, pair.right)
        assert found.passed, [str(one) for one in found.divergences[:3]]
        moved.append(found.tightest)
    assert max(moved) > 0.2


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-1, CELLS), max_size=12), st.lists(st.integers(-1, CELLS), max_size=3), st.data())
def test_rows_that_come_or_go_move_it_by_one_each(others: list[int], unit: list[int], data: Any) -> None:
    def alone(cells: list[int]) -> int:
        return sum(cells.count(cell) == 1 for cell in range(CELLS))

    replaced = data.draw(st.lists(st.integers(-1, CELLS), min_size=len(unit), max_size=len(unit)))
    assert abs(alone(others + unit) - alone(others)) <= len(unit)
    assert abs(alone(others + unit) - alone(others + replaced)) <= 2 * len(unit)


def test_it_counts_cells_that_hold_one_row() -> None:
    budget = Budget(1e6, 1e-5)
    plan, sigma = planned(budget)
    ages = pd.DataFrame(frame(7)).assign(age=pd.array([5, 25, 26, 45, 65, None, 200], dtype="Int64"))
    session = Session(plan, noise=NoiseSource(test_seed=0))
    found = noisy_isolated(private(ages, PUBLIC), session, by_age, CELLS, sigma, "ages")
    assert found == pytest.approx(4, abs=0.2)  # 0-19, 40-59, 60-79, and 200 clamped into the last


def test_it_is_charged_before_it_reads_and_once() -> None:
    plan, sigma = planned(Budget(1.0, 1e-5))
    session = Session(plan, noise=NoiseSource(test_seed=0))
    noisy_isolated(private(frame(20), PUBLIC), session, by_age, CELLS, sigma, "ages")

    def never(table: Table) -> Any:
        raise AssertionError("read")

    with pytest.raises(BudgetExceeded):
        noisy_isolated(private(frame(20), PUBLIC), session, never, CELLS, sigma, "ages")
    (charge,) = session.trace
    assert charge.norm_bound == 1 and charge.event == isolation_event(sigma, plan.budget)


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.3])
def test_the_noise_is_what_was_charged(scale: float) -> None:
    """Accepts the true deviation, and tells it from one that is three tenths off."""
    budget = Budget(1.0, 1e-5)
    plan, sigma = planned(budget)
    empty = private(frame(1)[:0], PUBLIC)
    drawn = [
        noisy_isolated(empty, Session(plan, noise=NoiseSource(test_seed=k)), by_age, CELLS, sigma, "ages")
        for k in range(800)
    ]
    assert (abs(np.std(drawn) / (sigma * scale) - 1) < 0.12) == (scale == 1.0)


def test_a_row_has_one_cell() -> None:
    plan, sigma = planned(Budget(1.0, 1e-5))
    for wrong in (lambda table: np.zeros((table.rows, 2), int), lambda table: np.zeros(table.rows)):
        with pytest.raises(MethodError, match="one cell for each row"):
            noisy_isolated(private(frame(5), PUBLIC), Session(plan), wrong, CELLS, sigma, "ages")
