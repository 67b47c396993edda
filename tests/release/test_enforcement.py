"""The policy is asked before data open, again once the price is reserved, and at the gate."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

import synthkit as sk
from synthkit.cli import main
from synthkit.data.tables import FileSource
from synthkit.errors import JobError, PolicyDenied
from synthkit.privacy.ledger import Ledger
from synthkit.release import run as run_module
from synthkit.release.job import Job
from synthkit.release.permission import Asker, attempts
from synthkit.release.run import fit_job, price, resume, run
from tests.release.test_job import write
from tests.tables import frame, schema

POLICY = """\
version: 1
name: house
roles: {steward: keeps the data, officer: signs}
purposes: {research: {study: }, teaching: }
datasets: {people: people}
rules:
  - {name: prepares, allow: steward, to: [draft, plan, sample], on: any, for: [research, teaching]}
  - {name: looks, allow: officer, to: assess-internal, on: any, for: research}
  - name: releases
    allow: steward
    to: [train, release]
    on: people
    for: [research, teaching]
    when: {epsilon: at most 1, lifetime_epsilon: at most LIFE, method: private, schema: reviewed}
    require: {REQUIRE}
"""
NOTHING = "labels: synthetic"


opened: list[str] = []  # what was looked into


class Spy(FileSource):
    """A source that tells when somebody looks."""

    def columns(self) -> list[str]:
        opened.append("columns")
        return super().columns()

    def _batches(self, rows: int) -> Iterator[pd.DataFrame]:
        opened.append("rows")
        return super()._batches(rows)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    opened.clear()
    yield


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite")


def job(folder: Path, *, require: str = NOTHING, life: str = "2", **changes: Any) -> Job:
    """A release file that names a policy; its source is spied on."""
    frame().to_csv(folder / "people.csv", index=False)
    (folder / "house.yaml").write_text(POLICY.replace("LIFE", life).replace("REQUIRE", require))
    asked = {"policy": "house.yaml", "as": "steward", "for": "research", "holdout": 0, **changes}
    made = Job.read(write(folder, **asked))
    assert isinstance(made.source, FileSource)
    return Job(**{**made.__dict__, "source": Spy(made.source.path, made.source.null_values)})


def with_output(asked: Job, name: str) -> Job:
    return Job(**{**asked.__dict__, "output": asked.output.with_name(name)})


def test_what_was_decided_is_written_down(tmp_path: Path, ledger: Ledger) -> None:
    made = run(job(tmp_path), ledger)
    told = json.loads((made.folder / "manifest.json").read_text())["policy"]
    assert (told["name"], told["as"], told["for"], told["packaged"]) == ("house", "steward", "research", False)
    assert told["sha256"] == sk.Policy.read(tmp_path / "house.yaml").digest and told["allowed_by"] == ["releases"]
    opened_by = json.loads((made.folder / "gate.json").read_text())
    assert opened_by["allowed"] and opened_by["attempts"] == 1
    assert {item["state"] for item in opened_by["items"]} == {"pass"}
    assert "house" in (made.folder / "report.html").read_text()
    assert str(tmp_path) not in (made.folder / "gate.json").read_text() + json.dumps(told)
    assert made.folder.stat().st_mode & 0o050 and not made.held
    assert sk.verify(made.folder).private


def test_an_explanation_is_asked_for(tmp_path: Path, ledger: Ledger) -> None:
    """As part of a release, before data open; and of a bundle that is there."""
    with pytest.raises(PolicyDenied, match="explain"):
        run(job(tmp_path, explain=True), ledger)
    assert "rows" not in opened and ledger.spent("people").epsilon == 0
    made = run(job(tmp_path, model=True), ledger)
    command = ["explain", str(made.folder), "-o", str(tmp_path / "why"), "--rows", "10", "--seeds", "2"]
    asked = ["--policy", str(tmp_path / "house.yaml"), "--as", "steward", "--for", "research"]
    denied = CliRunner().invoke(main, [*command, *asked])
    assert denied.exit_code == 1 and "explain" in denied.output and not (tmp_path / "why").exists()


def test_without_a_policy_the_packaged_one_applies_and_is_named(tmp_path: Path, ledger: Ledger) -> None:
    asked = Job(**{**job(tmp_path).__dict__, "asker": Asker()})
    told = run(asked, ledger).manifest["policy"]
    assert told["packaged"] and told["name"] == "default" and told["sha256"] == sk.Policy.default().digest


def test_the_third_release_is_denied_before_data_open(tmp_path: Path, ledger: Ledger) -> None:
    asked = job(tmp_path, life="1.6")  # two of epsilon 1 compose to less than 1.6, three to more
    for name in ("first", "second"):
        assert sk.verify(run(with_output(asked, name), ledger).folder).private
    assert "rows" in opened, "the spy sees"
    assert ledger.spent("people").epsilon < 1.6
    before = ledger.entries()
    opened.clear()
    with pytest.raises(PolicyDenied, match=r"over the dataset's life, this release included: at most 1\.6"):
        run(with_output(asked, "third"), ledger)
    assert opened == [] and ledger.entries() == before and not (tmp_path / "third").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"as": "officer"}, "no rule allows officer to plan"),
        ({"as": "stewart"}, "unknown role 'stewart'"),
        ({"for": "sale"}, "unknown purpose 'sale'"),
        ({"for": "any"}, "no rule allows"),
        ({"dataset": "others"}, "declares no dataset 'others'"),
        ({"budget": {"epsilon": 1.5, "delta": 1e-6}}, "epsilon of this release: at most 1"),
        ({"internal": "allow", "holdout": 0.2}, "to assess-internal"),
    ],
)
def test_denied_before_data_open(tmp_path: Path, ledger: Ledger, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(PolicyDenied, match=told):
        run(job(tmp_path, **changes), ledger)
    assert opened == [] and ledger.entries() == []


def test_other_verbs_are_asked_too(tmp_path: Path, ledger: Ledger) -> None:
    asked = job(tmp_path, **{"as": "officer"})
    with pytest.raises(PolicyDenied, match="to plan"):
        price(asked)
    with pytest.raises(PolicyDenied, match="to train"):
        fit_job(asked, ledger)
    with pytest.raises(PolicyDenied, match="to train"):
        sk.fit(frame(), schema(), asked.budget, dataset="people", ledger=ledger, asker=asked.asker)
    assert opened == [] and ledger.entries() == []


def test_what_others_reserve_meanwhile_counts(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = job(tmp_path, life="1.1")
    event = run_module._price(asked).event

    def look(_: object) -> None:  # between the first decision and the reservation
        ledger.reserve("people", event, asked.budget)

    monkeypatch.setattr("synthkit.release.kinds.OneTable.check", look)
    with pytest.raises(PolicyDenied, match="over the dataset's life"):
        run(asked, ledger)
    assert [entry.kind for entry in ledger.entries()] == ["reserve", "reserve", "cancel"]
    assert "rows" not in opened


def test_an_edit_between_the_decisions_is_refused_and_spent_stays_spent(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, written = job(tmp_path), run_module.bundle.write

    def write_and_edit(*given: Any, **named: Any) -> Any:
        with (tmp_path / "house.yaml").open("a") as stream:
            stream.write("# harmless\n")
        return written(*given, **named)

    monkeypatch.setattr(run_module.bundle, "write", write_and_edit)
    with pytest.raises(PolicyDenied, match="it was edited: ") as refused:
        run(asked, ledger)
    assert "stays spent" in str(refused.value)
    assert not asked.output.exists() and ledger.spent("people").releases == 1
    held = tmp_path / "release.held"
    assert held.stat().st_mode & 0o077 == 0 and not (held / "gate.json").exists()
    with pytest.raises(PolicyDenied, match="it was edited: "):
        resume(asked, ledger)
    with pytest.raises(JobError, match="held exists"):
        run(asked, ledger)


def test_a_figure_that_is_missing_shuts_the_gate(tmp_path: Path, ledger: Ledger) -> None:
    asked = job(tmp_path, require="checks: {fidelity.tvd_2way: at most 0.5}")
    with pytest.raises(PolicyDenied, match=r"not evaluated check fidelity\.tvd_2way"):
        run(asked, ledger)
    assert not asked.output.exists() and ledger.spent("people").releases == 1


@pytest.mark.parametrize(
    ("require", "handling", "opens"),
    [
        ("labels: [synthetic, secret]", {}, False),
        ("labels: [synthetic, secret]", {"labels": ["secret"]}, True),
        ("retention: at most 30 days", {}, False),
        ("retention: at most 30 days", {"retention_days": 30}, True),
        ("recipients: [registry]", {"recipients": ["registry", "press"]}, False),
        ("recipients: [registry]", {"recipients": ["registry"]}, True),
    ],
)
def test_what_a_release_says_of_its_handling(
    tmp_path: Path, ledger: Ledger, require: str, handling: dict[str, Any], opens: bool
) -> None:
    asked = job(tmp_path, require=require, handling=handling)
    if opens:
        made = run(asked, ledger)
        assert sk.Handling.from_dict(made.manifest["handling"]) == asked.handling
        return
    with pytest.raises(PolicyDenied, match="Must not leave"):
        run(asked, ledger)


def test_a_bundle_is_its_owners_alone_from_the_start(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No folder that a bundle is written into, or held in, can be read by others at any time."""
    modes, made, renamed = [], Path.mkdir, os.rename

    def watch(path: Path, *given: Any, **named: Any) -> None:
        made(path, *given, **named)
        modes.append((path.name, path.stat().st_mode & 0o777))

    def rename(old: Path, new: Path) -> None:
        modes.append((Path(new).name, Path(old).stat().st_mode & 0o777))
        renamed(old, new)

    monkeypatch.setattr(Path, "mkdir", watch)
    monkeypatch.setattr(os, "rename", rename)
    run(job(tmp_path), ledger)
    seen = [mode for name, mode in modes if "held" in name]
    assert len(seen) == 2 and set(seen) == {0o700}, modes


def test_attempts_are_counted_over_related_purposes(tmp_path: Path, ledger: Ledger) -> None:
    asked = job(tmp_path, require="attempts: at most 2", life="9")
    for use in ("teaching", "study"):
        ledger.reserve("people", run_module._price(asked).event, asked.budget, use=use)
    assert attempts(asked.asker, ledger.spent("people")) == 1  # of the study, a part of research
    assert run(with_output(asked, "second"), ledger).gate.attempts == 2
    with pytest.raises(PolicyDenied, match="3 attempts"):
        run(with_output(asked, "third"), ledger)
    ledger.reserve("people", run_module._price(asked).event, asked.budget)
    assert attempts(asked.asker, ledger.spent("people")) == 4, "whose purpose nobody stated, counts"


def test_a_signature_is_waited_for(tmp_path: Path, ledger: Ledger) -> None:
    asked = job(tmp_path, require="signatures: [{at_least: 1, of: officer}]")
    made = run(asked, ledger)
    assert made.held and made.gate.waits_for_people and made.folder == tmp_path / "release.held"
    assert not asked.output.exists() and made.folder.stat().st_mode & 0o077 == 0
    again = resume(asked, ledger)
    assert again.held and [entry.kind for entry in ledger.entries()] == ["reserve", "commit"]
    (made.folder / "data.csv").write_text("other\n")
    with pytest.raises(sk.errors.VerificationFailed):  # type: ignore[attr-defined]
        resume(asked, ledger)


# The command line


def command(*words: object) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_command_line_asks(tmp_path: Path) -> None:
    job(tmp_path)
    under = ["--policy", tmp_path / "house.yaml", "--as", "officer", "--for", "research"]
    data, public = tmp_path / "people.csv", tmp_path / "people.schema.yaml"
    ledger = ["--ledger", tmp_path / "ledger.sqlite"]
    for words in (
        ["plan", tmp_path / "release.yaml", *ledger],
        ["release", tmp_path / "release.yaml", *ledger],
        ["audit", "configuration", tmp_path / "release.yaml"],
        ["schema", "draft", data, "-o", tmp_path / "draft.yaml", "--on", "people"],
        ["schema", "check", public, data],
    ):
        denied = command(*words, *under)
        assert denied.exit_code == 1 and "Denied by policy house: officer to" in denied.output, words
    assert command("schema", "check", public, *under).exit_code == 0, "a schema alone opens no data"
    assert command("plan", tmp_path / "release.yaml", *ledger).exit_code == 0
    half = command("plan", tmp_path / "release.yaml", "--policy", tmp_path / "house.yaml")
    assert half.exit_code == 2 and "--policy needs --as ROLE and --for PURPOSE" in half.output


def test_sampling_and_exact_figures_are_asked_about(tmp_path: Path, ledger: Ledger) -> None:
    made = run(job(tmp_path, model=True), ledger)
    for role, code in (("officer", 1), ("steward", 0)):
        under = ["--policy", tmp_path / "house.yaml", "--as", role, "--for", "study"]
        drawn = command("sample", made.folder, "--rows", 3, "-o", tmp_path / "drawn.csv", *under)
        assert drawn.exit_code == code, drawn.output
    assert len(pd.read_csv(tmp_path / "drawn.csv")) == 3
    unnamed = command("sample", tmp_path, "--rows", 3, "-o", tmp_path / "other.csv", *under)
    assert unnamed.exit_code == 2 and "--on" in unnamed.output
    looked = command("audit", "release", made.folder, "--against", "holdout", *under)
    assert looked.exit_code == 1 and "steward to assess-internal" in looked.output


def test_a_policy_needs_a_role_and_a_purpose(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "people.csv", index=False)
    with pytest.raises(JobError, match="'as' is a dependency of 'policy'"):
        Job.read(write(tmp_path, policy="house.yaml"))
