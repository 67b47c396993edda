"""The choice follows from public facts, costs nothing, and says why."""

from __future__ import annotations

import pytest

from synthkit.errors import MethodError
from synthkit.privacy.budget import Budget
from synthkit.synthesizers.aim import Aim
from synthkit.synthesizers.portfolio import Auto
from tests.synthesizers.contract import MethodContract, fitted
from tests.tables import schema


class TestAuto(MethodContract):
    name = "auto"


@pytest.mark.parametrize(
    ("settings", "rows", "epsilon", "chosen"),
    [
        ({}, 50_000, 1.0, "aim"),
        ({}, 200, 0.1, "independent"),
        ({"most_seconds": 5.0}, 1_000_000, 1.0, "mst"),
        ({"most_seconds": 1.0}, 1_000_000, 1.0, "independent"),
        ({"most_megabytes": 100.0}, 50_000, 1.0, "independent"),
    ],
)
def test_it_chooses_and_says_why(settings: dict[str, float], rows: int, epsilon: float, chosen: str) -> None:
    plan = Auto(**settings).plan(schema(rows=rows), Budget(epsilon, 1e-6))
    assert plan.note.startswith(f"{chosen}: ")


def test_what_predicts_a_target_is_worth_less_rows() -> None:
    budget = Budget(1.0, 1e-6)
    rows = next(rows for rows in range(10, 5_000) if not Auto().plan(schema(rows=rows), budget).note.startswith("ind"))
    assert Auto().plan(schema(rows=rows), budget).note.startswith("aim: ")
    assert Auto().plan(schema(rows=rows, target=None), budget).note.startswith("independent: ")


def test_it_is_the_chosen_method() -> None:
    budget = Budget(2.0, 1e-6)
    plan, chosen = Auto().plan(schema(rows=5_000), budget), Aim().plan(schema(rows=5_000), budget)
    assert plan.event == chosen.event and plan.noise == chosen.noise
    model, session = fitted(Auto(), schema(rows=5_000), budget=budget)
    assert session.spent == pytest.approx(plan.epsilon) and model.method == "aim"  # type: ignore[attr-defined]


@pytest.mark.parametrize("setting", [{"most_seconds": 0.0}, {"most_megabytes": float("nan")}])
def test_settings_are_checked(setting: dict[str, float]) -> None:
    with pytest.raises(MethodError, match=next(iter(setting))):
        Auto(**setting)
