"""From file to bundle, and everything that may stop it on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import synthkit as sk
from synthkit.data.schema import Unit
from synthkit.errors import BudgetExceeded, DataError, InputError, JobError, SchemaError, UnreviewedSchema
from synthkit.privacy.ledger import Ledger
from synthkit.privacy.noise import NoiseSource
from synthkit.release import bundle
from synthkit.release.job import Job
from synthkit.release.run import run
from tests.release.test_job import write
from tests.tables import frame, schema

SECRET = "ZZTOP-91733"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def job(tmp_path: Path, data: pd.DataFrame | None = None, **changes: Any) -> Job:
    (frame() if data is None else data).to_csv(tmp_path / "people.csv", index=False)
    return Job.read(write(tmp_path, **changes))


def test_a_release_verifies_and_is_booked(tmp_path: Path, ledger: Ledger) -> None:
    made = run(job(tmp_path, model=True), ledger)
    found = sk.verify(made.folder)
    assert found.private and found.rows == 100
    assert found.epsilon == pytest.approx(made.epsilon) == ledger.spent("people").epsilon
    assert 0.99 < made.epsilon <= 1.0
    assert {p.name for p in made.folder.iterdir()} == {
        "data.csv",
        "data.parquet",
        "manifest.json",
        "report.html",
        "gate.json",
        "log.json",
        "label.json",
        "croissant.json",
        "datasheet.md",
        "model",
    }
    assert [entry.kind for entry in ledger.entries()] == ["reserve", "commit"]
    assert len(sk.load(made.folder / "model").sample(10).frame) == 10
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"people.csv", "people.schema.yaml", "release.yaml", "release", "ledger.sqlite"}


def test_evidence_is_charged_or_free_and_has_intervals(tmp_path: Path, ledger: Ledger) -> None:
    made = run(job(tmp_path), ledger)
    names = {figure.name for figure in made.evidence}
    assert {"fidelity.tvd_1way", "fidelity.tvd_2way", "fidelity.tvd_2way_floor", "utility.tstr_auc_logistic"} <= names
    for figure in made.evidence:
        assert figure.payment in ("charged", "free") and figure.interval is not None
        assert figure.interval[0] <= figure.value <= figure.interval[1]
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert [part["name"] for part in manifest["parts"]] == ["training", "holdout"]
    assert all(part["epsilon"] <= 1.0 for part in manifest["parts"])


def test_without_holdout_there_is_no_report(tmp_path: Path, ledger: Ledger) -> None:
    made = run(job(tmp_path, holdout=0), ledger)
    assert made.evidence == ()
    assert sk.verify(made.folder).private


def test_user_level_release(tmp_path: Path, ledger: Ledger) -> None:
    public = schema(unit=Unit("person", 3))
    asked = job(tmp_path, frame(400, people=120))
    asked = Job(**{**asked.__dict__, "schema": public, "budget": sk.Budget(1.0, 1e-6, unit=public.unit)})
    made = run(asked, ledger)
    assert str(ledger.spent("people").unit) == "person (at most 3 rows)"
    assert "person" not in pd.read_csv(made.folder / "data.csv").columns
    assert sk.verify(made.folder).private


def test_a_test_seed_marks_everything_non_private(tmp_path: Path, ledger: Ledger) -> None:
    made = run(job(tmp_path), ledger, noise=NoiseSource(test_seed=1))
    found = sk.verify(made.folder)
    assert not found.private
    assert "NON-PRIVATE" in (made.folder / "report.html").read_text()


def test_internal_figures_stay_outside_the_bundle(tmp_path: Path, ledger: Ledger) -> None:
    made = run(job(tmp_path, internal="allow"), ledger)
    assert made.internal == tmp_path / "release.internal"
    figures = json.loads((made.internal / "internal.json").read_text())["evidence"]
    names = {figure["name"] for figure in figures}
    assert {
        "fidelity.exact_tvd_3way_training",
        "utility.exact_trtr_auc_logistic",
        "similarity.copies_training",
    } <= names
    assert {figure["payment"] for figure in figures} == {"internal"}
    assert "exact_" not in (made.folder / "manifest.json").read_text() + (made.folder / "report.html").read_text()
    assert made.internal.stat().st_mode & 0o077 == 0


def test_unreviewed_schemas_need_a_word_and_leave_a_mark(tmp_path: Path, ledger: Ledger) -> None:
    asked = job(tmp_path)
    unreviewed = Job(**{**asked.__dict__, "schema": sk.Schema.from_dict({**schema().to_dict(), "reviewed": False})})
    with pytest.raises(UnreviewedSchema, match="not reviewed"):
        run(unreviewed, ledger)
    assert ledger.entries() == []
    made = run(unreviewed, ledger, allow_unreviewed=True)
    assert bundle.UNREVIEWED in made.manifest["not_covered"]
    assert bundle.UNREVIEWED in (made.folder / "report.html").read_text()


def test_an_exhausted_budget_is_refused_before_the_data_open(tmp_path: Path, ledger: Ledger) -> None:
    ledger.cap("people", 1.2, 1e-6)
    asked = job(tmp_path)
    run(asked, ledger)
    (tmp_path / "people.csv").write_text(",".join(schema().columns) + "\n" + SECRET + "\n")  # would not parse
    again = Job(**{**asked.__dict__, "output": tmp_path / "second"})
    with pytest.raises(BudgetExceeded, match="people"):
        run(again, ledger)
    assert not (tmp_path / "second").exists()


def test_an_existing_output_is_never_overwritten(tmp_path: Path, ledger: Ledger) -> None:
    asked = job(tmp_path)
    (tmp_path / "release").mkdir()
    with pytest.raises(JobError, match="exists"):
        run(asked, ledger)
    assert ledger.entries() == []


BROKEN_ROWS: dict[str, Any] = {
    "missing column": lambda data: data.drop(columns="sex"),
    "extra column": lambda data: data.assign(name=SECRET),
    "wrong type": lambda data: data.astype({"age": object}).assign(age=SECRET),
    "undeclared category": lambda data: data.assign(sex=SECRET),
    "null where none may be": lambda data: data.assign(sex=None),
    "not a date": lambda data: data.assign(seen=SECRET),
}


@pytest.mark.parametrize("kind", BROKEN_ROWS)
def test_bad_rows_cost_nothing_and_show_nothing(tmp_path: Path, ledger: Ledger, kind: str) -> None:
    asked = job(tmp_path, BROKEN_ROWS[kind](frame()))
    with pytest.raises(DataError) as caught:
        run(asked, ledger)
    problem: BaseException | None = caught.value
    while problem is not None:
        assert SECRET not in str(problem)
        problem = problem.__cause__ or problem.__context__
    assert ledger.spent("people").epsilon == 0
    assert [entry.kind for entry in ledger.entries()] in ([], ["reserve", "cancel"])
    assert not (tmp_path / "release").exists()


@pytest.mark.parametrize("rows", [0, 1])
def test_tiny_tables_release(tmp_path: Path, ledger: Ledger, rows: int) -> None:
    made = run(job(tmp_path, frame().iloc[:rows]), ledger)
    assert sk.verify(made.folder).rows == 100


def test_a_crash_after_the_fit_keeps_the_model_and_the_price(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "write", full)
    with pytest.raises(InputError, match=r"No space left on device.*is kept in"):
        run(job(tmp_path), ledger)
    assert 0.99 < ledger.spent("people").epsilon <= 1.0
    assert not (tmp_path / "release").exists()
    kept = next(tmp_path.glob("release.model-*"))
    assert len(sk.load(kept).sample(5).frame) == 5


def test_a_crash_during_the_fit_stays_counted(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    from synthkit.synthesizers import independent

    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("after the charge")

    monkeypatch.setattr(independent, "IndependentModel", fails)
    with pytest.raises(RuntimeError, match="after the charge"):
        run(job(tmp_path), ledger)
    assert 0.99 < ledger.spent("people").epsilon <= 1.0
    assert ledger.spent("people").reserved == 1


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [2.0, 6.0, 9.0])
def test_killed_at_any_point(tmp_path: Path, how: signal.Signals, delay: float) -> None:
    """The ledger stays true and no half-written bundle exists."""
    job(tmp_path, method={"name": "tabular_gan", "iterations": 3000})
    ledger = tmp_path / "ledger.sqlite"
    command = [sys.executable, "-m", "synthkit.cli", "release", "release.yaml", "--ledger", str(ledger)]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(sk.__file__).parents[1])}
    )
    time.sleep(delay)
    process.send_signal(how)
    process.wait(60)
    entries = Ledger(ledger).entries() if ledger.exists() else []
    if (tmp_path / "release").exists():
        sk.verify(tmp_path / "release")
        assert [entry.kind for entry in entries] == ["reserve", "commit"]
    elif entries and entries[-1].kind != "cancel":
        assert Ledger(ledger).spent("people").epsilon > 0.99
    if ledger.exists():
        Ledger(ledger).verify()


def test_fit_in_python(tmp_path: Path, ledger: Ledger) -> None:
    model = sk.fit(frame(), schema(), sk.Budget(1.0, 1e-6), dataset="people", name="independent", ledger=ledger)
    assert len(model.sample(10, where={"sex": "f"}).frame) == 10
    assert 0.99 < ledger.spent("people").epsilon <= 1.0
    with pytest.raises(DataError, match="column sex"):
        sk.fit(
            frame().assign(sex="x"), schema(), sk.Budget(1.0, 1e-6), dataset="other", name="independent", ledger=ledger
        )
    assert ledger.spent("other").epsilon == 0
    with pytest.raises(JobError, match="unit"):
        sk.fit(frame(), schema(), sk.Budget(1.0, 1e-6, unit=Unit("person", 2)), dataset="people", ledger=ledger)


def test_a_thousand_columns(tmp_path: Path, ledger: Ledger) -> None:
    names = [f"c{i}" for i in range(1000)]
    public = {
        "version": 1,
        "name": "wide",
        "rows": 50,
        "reviewed": True,
        "columns": {name: {"kind": "integer", "min": 0, "max": 3} for name in names},
    }
    data = pd.DataFrame({name: [0, 1, 2, 3] * 5 for name in names})
    model = sk.fit(
        data, sk.Schema.from_dict(public), sk.Budget(1.0, 1e-6), dataset="wide", name="independent", ledger=ledger
    )
    assert model.sample(10).frame.shape == (10, 1000)
    with pytest.raises(SchemaError, match="at most"):
        sk.Schema.from_dict({**public, "columns": {f"c{i}": {"kind": "boolean"} for i in range(2001)}})
