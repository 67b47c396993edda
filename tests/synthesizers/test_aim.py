from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import synthkit as sk
from synthkit.data.constraints import Determines
from synthkit.data.tables import FrameSource
from synthkit.errors import JobError, MethodError
from synthkit.privacy.budget import Budget
from synthkit.release.run import price
from synthkit.synthesizers.aim import Aim
from tests.synthesizers.contract import MethodContract, fitted
from tests.tables import constrained, constrained_frame, frame, schema


class TestAim(MethodContract):
    name = "aim"
    settings = {"marginals": 4, "rounds": 2, "iterations": 5}  # noqa: RUF012


class TestPlain(MethodContract):
    """AIM as published: the target is a column like any other, and one marginal is chosen a round."""

    name = "aim"
    settings = {"marginals": 3, "rounds": 3, "label_aware": False, "iterations": 4}  # noqa: RUF012


@pytest.mark.parametrize(
    "setting",
    [{"rounds": 0}, {"marginals": 1.5}, {"label_aware": 1}, {"selection": 0.0}, {"model_megabytes": float("nan")}],
)
def test_settings_are_checked(setting: dict[str, float]) -> None:
    with pytest.raises(MethodError, match=next(iter(setting))):
        Aim(**setting)  # type: ignore[arg-type]


def test_it_finds_the_dependence_that_matters() -> None:
    """``smoker`` equals ``sex`` here, and nothing says so but the pair itself."""
    data = frame(4000)
    data["sex"] = np.random.default_rng(0).choice(["f", "m"], 4000)
    data["smoker"] = data["sex"].eq("m")
    model, _ = fitted(Aim(marginals=8, rounds=4), schema(rows=4000), data, Budget(2.0, 1e-6))
    drawn = model.sample(4000, seed=0).frame
    assert (drawn["sex"].eq("m") != drawn["smoker"].fillna(False)).mean() < 0.05


def test_the_tree_stays_within_its_room() -> None:
    model, _ = fitted(Aim(marginals=18, rounds=6, model_megabytes=0.01, iterations=5), schema(rows=4000), frame(2000))
    assert model.graphical.tree.cells * 8 <= 0.01 * 1e6 * 1.5  # type: ignore[attr-defined]


def test_what_has_no_room_is_not_measured_and_the_fit_goes_on() -> None:
    public = schema(rows=4000)
    model, session = fitted(Aim(marginals=6, rounds=2, model_megabytes=0.01, iterations=3), public, frame(2000))
    assert session.spent == pytest.approx(session.plan.epsilon, rel=1e-9)
    assert model.graphical.tree.cells * 8 <= 0.01 * 1e6 * 1.5  # type: ignore[attr-defined]


@pytest.mark.parametrize(("epsilon", "rows", "fewest", "most"), [(0.1, 2_000, 2, 2), (10.0, 10**6, 12, 64)])
def test_more_rows_for_the_noise_more_marginals(epsilon: float, rows: int, fewest: int, most: int) -> None:
    plan = Aim().plan(schema(rows=rows), Budget(epsilon, 1e-6))
    assert fewest <= plan.noise["chosen"] <= most


def test_a_determined_column_is_not_measured_and_follows() -> None:
    public = constrained(target=None)
    determined = next(c for c in public.constraints if isinstance(c, Determines))
    model, _ = fitted(Aim(marginals=4, rounds=2, iterations=20), public, constrained_frame(2000))
    measured = {name for marginal in model.marginals for name in marginal.columns}
    assert determined.other not in measured or determined.other == public.target
    drawn = model.sample(500, seed=0).frame
    for given, follows in zip(drawn[determined.column], drawn[determined.other], strict=True):
        assert str(determined.map[str(given)]) == str(follows)


def test_a_condition_without_probability_is_refused() -> None:
    import torch

    model, _ = fitted(Aim(marginals=1, rounds=1, iterations=5))
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
