from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import synthkit as sk
from synthkit.data.tables import FrameSource
from synthkit.errors import JobError, MethodError
from synthkit.privacy.budget import Budget
from synthkit.release.run import price
from synthkit.synthesizers.aim import Aim
from tests.synthesizers.contract import MethodContract, fitted
from tests.tables import frame, schema


class TestAim(MethodContract):
    name = "aim"
    settings = {"rounds": 2, "batch": 2, "iterations": 5}  # noqa: RUF012


class TestOneAtATime(MethodContract):
    """Plain AIM: one marginal a round."""

    name = "aim"
    settings = {"rounds": 3, "batch": 1, "iterations": 4}  # noqa: RUF012


@pytest.mark.parametrize(
    "setting", [{"rounds": 0}, {"batch": 1.5}, {"start": 1.0}, {"selection": 0.0}, {"model_megabytes": float("nan")}]
)
def test_settings_are_checked(setting: dict[str, float]) -> None:
    with pytest.raises(MethodError, match=next(iter(setting))):
        Aim(**setting)  # type: ignore[arg-type]


def test_it_finds_the_dependence_that_matters() -> None:
    """``smoker`` equals ``sex`` here, and nothing says so but the pair itself."""
    data = frame(4000)
    data["sex"] = np.random.default_rng(0).choice(["f", "m"], 4000)
    data["smoker"] = data["sex"].eq("m")
    model, _ = fitted(Aim(rounds=4, batch=2), schema(rows=4000), data, Budget(2.0, 1e-6))
    drawn = model.sample(4000, seed=0).frame
    assert (drawn["sex"].eq("m") != drawn["smoker"].fillna(False)).mean() < 0.05


def test_the_tree_stays_within_its_room() -> None:
    model, _ = fitted(Aim(rounds=6, batch=3, model_megabytes=0.01, iterations=5), schema(rows=4000), frame(2000))
    assert model.graphical.tree.cells * 8 <= 0.01 * 1e6 * 1.5  # type: ignore[attr-defined]


def test_a_condition_without_probability_is_refused() -> None:
    import torch

    model, _ = fitted(Aim(rounds=1, batch=1, iterations=5))
    graphical = model.graphical  # type: ignore[attr-defined]
    k = next(k for k, clique in enumerate(graphical.tree.cliques) if 1 in clique)
    axis = graphical.tree.cliques[k].index(1)
    graphical.beliefs[k] = graphical.beliefs[k] * torch.tensor([1.0, 0.0]).view(
        [2 if a == axis else 1 for a in range(graphical.beliefs[k].ndim)]
    )
    with pytest.raises(JobError, match="no probability"):
        model.sample(3, where={"sex": "m"})


def test_with_a_holdout_the_release_costs_no_more_than_was_asked(tmp_path: Path) -> None:
    """Training has choices and is cheaper by RDP, the quality report by PLD: together they stay within the budget."""
    job = sk.Job("people", FrameSource(frame(300)), schema(), Budget(1.0, 1e-6), "aim", 50, tmp_path / "release")
    assert 0.98 < price(job).epsilon <= 1.0
    made = sk.run(job, sk.Ledger(tmp_path / "ledger.sqlite"))
    assert sk.verify(made.folder).epsilon == made.epsilon <= 1.0
