"""What a budget accepts, and what it says to what it does not."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from synthkit.errors import JobError, SchemaError
from synthkit.privacy.budget import Adjacency, Budget, Unit


@pytest.mark.parametrize("bad", [0, 0.0, -0.0, -1, math.inf, -math.inf, math.nan])
def test_epsilon_is_finite_and_above_zero(bad: float) -> None:
    with pytest.raises(JobError, match=r"epsilon is .*finite number above 0"):
        Budget(bad, 1e-6)


@pytest.mark.parametrize("bad", [0, 1, 1.5, -1e-6, math.inf, math.nan])
def test_delta_lies_strictly_between_zero_and_one(bad: float) -> None:
    with pytest.raises(JobError, match=r"delta is .*between 0 and 1"):
        Budget(1, bad)


@pytest.mark.parametrize("bad", ["", "zero-out", "ADD-OR-REMOVE", None, 1])
def test_adjacency_is_one_of_two(bad: Any) -> None:
    with pytest.raises(JobError, match="use add-or-remove or replace-one"):
        Budget(1, 1e-6, bad)


@pytest.mark.parametrize("adjacency", list(Adjacency))
def test_adjacency_may_be_written_as_text(adjacency: Adjacency) -> None:
    written = Budget(1, 1e-6, adjacency.value)  # type: ignore[arg-type]
    assert written.adjacency is adjacency and written == Budget(1, 1e-6, adjacency)


def test_a_unit_of_several_rows_has_a_name() -> None:
    assert str(Unit()) == "row" and "person" in str(Unit("person", 3))
    with pytest.raises(SchemaError, match="must be 1 or more"):
        Unit("person", 0)
    with pytest.raises(SchemaError, match=r"needs unit\.column"):
        Unit(None, 2)


def test_a_budget_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Budget(1, 1e-6).epsilon = 2  # type: ignore[misc]


@pytest.mark.parametrize("rows", [1, 2, 9, 10, 11, 400, 48_842, 10**9])
def test_a_delta_that_allows_publishing_a_record_is_refused(rows: int) -> None:
    if rows > 1:
        Budget(1, 1 / rows).check_against(rows)
    delta = min(1.0001 / rows, 0.999_999)
    if delta <= 1 / rows:
        return
    with pytest.raises(JobError, match=r"above 1/rows.*use .* or less") as refused:
        Budget(1, delta).check_against(rows)
    # The remedy that the message offers is one, with room to spare.
    offered = float(str(refused.value).split("use ")[1].split(" or less")[0])
    assert 0.01 / rows <= offered * (1 + 1e-9) and offered <= 0.1 / rows * (1 + 1e-9)
    Budget(1, offered).check_against(rows)


def test_plain_values() -> None:
    unit = Unit("person", 3)
    assert Budget(2, 1e-5, Adjacency.REPLACE_ONE, unit).to_dict() == {
        "epsilon": 2,
        "delta": 1e-5,
        "adjacency": "replace-one",
        "unit": {"column": "person", "max_rows": 3},
    }
