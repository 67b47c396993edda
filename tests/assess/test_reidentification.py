"""The three risks counted with noise: what they cost, what they find, and that one unit moves them by no more than was paid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthkit.assess import holdout as report
from synthkit.assess import reidentification
from synthkit.assess.reidentification import NOISE, Risks, evidence, reads
from synthkit.audit.neighbours import pairs
from synthkit.audit.replay import Opener, replay
from synthkit.audit.risks import Attacked, Rate
from synthkit.data.encoding import to_frame
from synthkit.data.schema import Schema, Unit
from synthkit.data.tables import FrameSource
from synthkit.errors import JobError
from synthkit.privacy import accounting
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.internal import internal_table
from synthkit.privacy.ledger import Ledger
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.rows import split
from synthkit.privacy.session import Session
from synthkit.release import bundle, run
from synthkit.release.job import Job
from synthkit.synthesizers.base import method
from tests.tables import frame, private, schema

PUBLIC = schema(rows=3000)
ALL = Risks().of(PUBLIC)


def priced(public: Schema, budget: Budget, risks: Risks) -> tuple[Plan, Plan]:
    fit = method("independent")
    training = reidentification.plan(lambda left: fit.plan(public, left), budget, risks)
    held = report.plan(public, budget, beside=[(NOISE, lambda sigma: reads(sigma, budget, risks, control=True))])
    return training, held


def attacked(synthetic: str, *, epsilon: float = 20.0, rows: int = 3000, holdout: float = 0.4) -> dict[str, Attacked]:
    """What is found of a table that is a copy of the training rows, or of strangers."""
    public, budget = schema(rows=rows), Budget(epsilon, 1e-5)
    noise = NoiseSource(test_seed=4)
    training, held = split(private(frame(rows, seed=1), public), holdout, noise)
    plans = priced(public, budget, ALL)
    table = to_frame(internal_table(training, allowed=True), public)
    if synthetic == "strangers":
        table = frame(rows, seed=2).assign(
            age=lambda f: f["age"].clip(0, 99), income=lambda f: f["income"].clip(0, 1000)
        )
    sides = [(rows, Session(plan, noise=noise)) for rows, plan in zip((training, held), plans, strict=True)]
    found = reidentification.attack(sides[0], sides[1], table, ALL, holdout, noise)
    return {one.name.split()[0]: one for one in found}


# What it finds


def test_a_copy_is_found_by_every_attack() -> None:
    found = attacked("copied")
    assert list(found) == ["singling", "linkability", "inference"]
    for name, one in found.items():
        assert one.verdict == "risk found", (name, one)
        assert one.main.error > 0 and one.interval[0] > 0.02


def test_strangers_rows_are_no_risk() -> None:
    for name, one in attacked("strangers").items():
        assert one.verdict in ("no evidence", "no risk found"), name
        low, _, high = one.over(one.main)
        assert low <= 0 <= high + 0.05, name


def test_noise_widens_the_interval() -> None:
    exact, noisy = Rate(300, 1000), Rate(300, 1000, 0.05)
    assert noisy.wilson()[0] == exact.wilson()[0]
    assert noisy.wilson()[1] == pytest.approx(np.hypot(exact.wilson()[1], 1.959964 * 0.05))
    loud = attacked("copied", epsilon=0.05)["inference"]
    assert loud.verdict != "risk found", "at this price nobody can tell"


def test_as_many_of_both_are_attacked_wherever_the_holdout_lies() -> None:
    for holdout in (0.2, 0.8):
        one = attacked("copied", holdout=holdout)["inference"]
        assert one.main.attacks == pytest.approx(one.control.attacks, rel=0.2) == pytest.approx(600, rel=0.2)


# What it costs


@pytest.mark.parametrize("name", ["independent", "mst", "aim"])
def test_the_fit_gets_what_the_attacks_leave(name: str) -> None:
    budget, fit = Budget(1.0, 1e-5), method(name)
    plan = reidentification.plan(lambda left: fit.plan(PUBLIC, left), budget, ALL)
    attacks = reads(plan.noise[NOISE], budget, ALL, control=False)
    whole = accounting.epsilon(plan.event, budget.delta, budget.adjacency)
    alone = accounting.epsilon(fit.plan(PUBLIC, budget).event, budget.delta, budget.adjacency)
    assert 0.9 < whole <= 1.0 + 1e-9 and alone <= 1.0 + 1e-9
    assert 0.2 < accounting.epsilon(attacks, budget.delta, budget.adjacency) < 0.4
    assert plan.budget == budget
    Session(plan)


def test_training_pays_in_a_row_and_the_holdout_in_parallel(tmp_path: Path) -> None:
    made = release(tmp_path)
    training, held = made.manifest["parts"]
    for part, isolations in ((training, 2), (held, 1)):
        told = [charge for charge in part["charges"] if charge["mechanism"] in ("noisy isolations", "noisy sum")]
        assert sum(charge["mechanism"] == "noisy isolations" for charge in told) == isolations
        assert sum("inference of ill" in charge["what"] for charge in told) == 1
        assert sum("linkability" in charge["what"] for charge in told) == 1
        assert part["epsilon"] <= 2.0
    assert run.price(job(tmp_path, output=tmp_path / "other")).epsilon <= 2.0 + 1e-9
    bundle.verify(made.folder)


@pytest.mark.parametrize("adjacency", list(Adjacency), ids=str)
def test_it_replays_on_neighbours(adjacency: Adjacency) -> None:
    """The fit's whole way: one unit moves no count by more than was priced, on either side."""
    unit = Unit("person", 2)
    public = schema(rows=60, unit=unit)
    budget, risks = Budget(1.0, 1e-5, adjacency, unit), Risks(("ill", "income")).of(public)
    plans = priced(public, budget, risks)
    made = frame(80, seed=3).assign(income=lambda f: f["income"].clip(0, 1000))

    def program(rows: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        sides = split(private(rows, public), 0.4, noise)
        training, held = (open_session(plan) for plan in plans)
        found = reidentification.attack((sides[0], training), (sides[1], held), made, risks, 0.4, noise)
        return {"found": [vars(one.main) | vars(one.control) for one in found]}

    tightest = []
    for pair in pairs(public, adjacency, rows=60):
        found = replay(program, pair.left, pair.right)
        assert found.passed, (pair.name, [str(one) for one in found.divergences[:3]])
        tightest.append(found.tightest)
    assert max(tightest) > 0.15


# What is told


def job(folder: Path, **changes: Any) -> Job:
    """A release of :func:`frame` with its risks."""
    public, budget = schema(rows=1500), Budget(2.0, 1e-5)
    asked = Job("people", FrameSource(frame(1500)), public, budget, "independent", 800, folder / "out", risks=Risks())
    return replace(asked, holdout=0.4, **changes)


def release(folder: Path, **changes: Any) -> Any:
    return run.run(job(folder, **changes), Ledger(folder / "ledger.sqlite"), noise=NoiseSource(test_seed=1))


def test_a_release_tells_each_risk_beside_guessing(tmp_path: Path) -> None:
    made = release(tmp_path, risks=Risks(("ill", "smoker"), ("age", "sex", "smoker", "ill")))
    told = {one.name: one for one in made.evidence if one.name.startswith("risk.")}
    kinds = ("singling_out", "linkability", "inference", "inference.ill", "inference.smoker")
    assert set(told) == {f"risk.{kind}{end}" for kind in kinds for end in ("", "_baseline")}
    assert all(one.payment == "charged" and one.interval is not None for one in told.values())
    assert "risk" in (made.folder / "report.html").read_text().lower()
    plan = run.price(job(tmp_path, output=tmp_path / "other"))
    assert plan.holdout is not None and plan.training.noise[NOISE] > plan.holdout.noise[NOISE] > 0
    assert plan.epsilon <= 2.0


def test_the_worst_secret_stands_for_inference() -> None:
    ones = [
        Attacked(f"inference of {name}", Rate(hits, 100), Rate(30, 100), Rate(20, 100))
        for name, hits in (("a", 31), ("b", 60), ("c", 40))
    ]
    told = {one.name: one for one in evidence(ones)}
    assert told["risk.inference"].value == told["risk.inference.b"].value > told["risk.inference.c"].value
    below = next(evidence([Attacked("inference of d", Rate(1, 100), Rate(100, 100), Rate(0, 100))]))
    assert below.value == -1 and below.interval is not None and -1 <= below.interval[0] <= below.interval[1] <= 1


def test_a_table_of_one_row_is_not_attacked(tmp_path: Path) -> None:
    made = release(tmp_path, rows=1)
    assert not [one for one in made.evidence if one.name.startswith("risk.")]
    bundle.verify(made.folder)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"holdout": 0.0}, "holdout is 0; set a holdout"),
        ({"schema": schema(target=None, rows=1500)}, "declares no target; say what an attacker is after"),
        ({"risks": Risks(("name",))}, "column 'name' is not modelled"),
        ({"risks": Risks((), ("agge",))}, "column 'agge' is not modelled"),
        ({"risks": Risks(("ill",), ("ill",))}, "knows nothing but his secret"),
    ],
)
def test_what_cannot_be_attacked_is_refused_before_anything_is_booked(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(JobError, match=told):
        run.run(replace(job(tmp_path), **changes), ledger)
    assert ledger.entries() == []
