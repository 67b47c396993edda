"""A copy leaves the house by a decision of its own, made at that moment."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import synthkit as sk
from synthkit.cli import main
from synthkit.data import vault
from synthkit.errors import JobError, LedgerError, PolicyDenied, Refused, VerificationFailed
from synthkit.release import log, sign
from synthkit.release.export import Exported, export
from synthkit.release.job import Job
from synthkit.release.permission import Asker
from synthkit.release.run import run
from synthkit.synthesizers.locked import place
from tests.release.signed import house
from tests.release.test_job import write
from tests.tables import frame

POLICY = """\
version: 1
name: house
roles: {steward: keeps the data, officer: signs, press: asks}
purposes: {research: }
datasets: {people: people}
rules:
  - {name: releases, allow: steward, to: [plan, train, release], on: people, for: research}
  - name: exports
    allow: steward
    to: export
    on: people
    for: research
    when: {epsilon: at most 1, lifetime_epsilon: at most 1.2, method: private, schema: reviewed}
    require:
      recipients: [registry, university]
      signatures: [{at_least: 1, of: officer}]
"""
NOW = datetime.now(UTC)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house with a bundle that was handed out, and approved by the officer for 10 days."""
    house(tmp_path, approvals="")
    monkeypatch.setenv(log.KEY, str(tmp_path / "house.key"))
    frame().to_csv(tmp_path / "people.csv", index=False)
    (tmp_path / "house.yaml").write_text(POLICY)
    asked = {"policy": "house.yaml", "as": "steward", "for": "research", "trust": "keys.toml", "holdout": 0}
    job = Job.read(write(tmp_path, handling={"retention_days": 30}, **asked))
    made = run(job, sk.Ledger(tmp_path / "ledger.sqlite"))
    sign.attest(made.folder, sign.read_key(tmp_path / "dora.key"), "officer", days=10)
    return tmp_path


def hand(home: Path, *, role: str = "steward", **changes: Any) -> Exported:
    given: dict[str, Any] = {
        "to": "registry",
        "destination": home / "copy",
        "ledger": sk.Ledger(home / "ledger.sqlite"),
        "asker": Asker.under(home / "house.yaml", role=role, purpose="research"),
        "trust": home / "keys.toml",
    }
    return export(home / "release", **{**given, **changes})


def nothing_left(home: Path) -> bool:
    return (
        not [path for path in home.iterdir() if "copy" in path.name]
        and log.verify(sk.Ledger(home / "ledger.sqlite")) == 1
    )


def test_a_copy_leaves_and_the_log_says_to_whom(home: Path) -> None:
    made = hand(home)
    assert sk.verify(made.path, trust=home / "keys.toml", policy=home / "house.yaml").private
    receipt = json.loads(made.receipt.read_text())
    assert (receipt["to"], receipt["allowed"], receipt["decision"]["request"]["action"]) == ("registry", True, "export")
    leaves, _ = log.read(sk.Ledger(home / "ledger.sqlite"))
    last = json.loads(leaves[-1])
    assert last["to"] == "registry" and last["bundle"] == receipt["bundle"] and made.place == "entry 2"
    assert json.loads((made.path / "log.json").read_text())["head"]["size"] == 2, "a proof under the head of now"
    assert sk.verify(home / "release").private, "what stays is as it was"
    assert hand(home, to="university", destination=home / "second").place == "entry 3"


def test_the_copy_may_be_encrypted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = vault.new_identity(home / "theirs")
    monkeypatch.setenv(vault.IDENTITY, str(home / "theirs"))
    made = hand(home, readers=(public,))
    assert made.path == home / "copy.age" and made.path.read_bytes().startswith(b"age-encryption.org/v1")
    inside = place(made.path)
    assert (inside / "data.csv").read_bytes() == (home / "release/data.csv").read_bytes()
    assert not [path for path in home.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"role": "press"}, "no rule allows press to export"),
        ({"to": "press"}, "fail +goes to nobody but: registry, university"),
        ({"trust": None}, "not evaluated +approved by at least 1 of: officer"),
        ({"now": NOW + timedelta(days=11)}, "1 not counted: expired"),
    ],
)
def test_the_gate_decides_again(home: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(PolicyDenied, match=told):
        hand(home, **changes)
    assert nothing_left(home)


def test_todays_policy_decides(home: Path) -> None:
    (home / "house.yaml").write_text(POLICY.replace("registry, university", "university"))
    with pytest.raises(PolicyDenied, match="nobody but: university"):
        hand(home)
    (home / "house.yaml").write_text(
        POLICY.replace("to: export", "to: sample").replace("    when:", "    #").split("    require")[0]
    )
    with pytest.raises(PolicyDenied, match="no rule allows steward to export"):
        hand(home)
    assert nothing_left(home)


def test_what_was_spent_since_counts(home: Path) -> None:
    ledger = sk.Ledger(home / "ledger.sqlite")
    job = Job.read(home / "release.yaml")
    run(Job(**{**job.__dict__, "output": home / "another"}), ledger)
    with pytest.raises(PolicyDenied, match="over the dataset's life"):
        hand(home)


def test_the_packaged_policy_does_not_stand_in(home: Path) -> None:
    with pytest.raises(JobError, match="was released under policy 'house', and none is named"):
        hand(home, asker=Asker())
    (home / "house.yaml").write_text(POLICY.replace("name: house", "name: lax"))
    with pytest.raises(JobError, match="'lax' is named"):
        hand(home)
    assert nothing_left(home)


def test_its_time_its_recipients_and_the_clock(home: Path) -> None:
    with pytest.raises(Refused, match="its time is over"):
        hand(home, now=NOW + timedelta(days=31))
    with pytest.raises(LedgerError, match="before the log's head"):
        hand(home, now=NOW - timedelta(days=1))
    stated = {"handling": {"recipients": ["university"]}, "output": "other", "holdout": 0}
    made = run(Job.read(write(home, **stated)), sk.Ledger(home / "ledger.sqlite"))
    with pytest.raises(Refused, match="is for university, as it says itself"):
        export(made.folder, to="registry", destination=home / "copy", ledger=sk.Ledger(home / "ledger.sqlite"))
    assert not [path for path in home.iterdir() if "copy" in path.name]


def test_a_bundle_that_was_changed_or_is_not_from_here(home: Path) -> None:
    with pytest.raises(VerificationFailed, match="is not in the log"):
        hand(home, ledger=sk.Ledger(home / "other.sqlite"))
    with (home / "release/data.csv").open("a") as stream:
        stream.write("\n")
    with pytest.raises(VerificationFailed, match=r"data\.csv was changed"):
        hand(home)
    with pytest.raises(JobError, match="is no bundle"):
        export(home / "people.csv", to="registry", destination=home / "copy", ledger=sk.Ledger(home / "ledger.sqlite"))
    assert nothing_left(home)


def test_the_command_line(home: Path) -> None:
    words = ["export", home / "release", "--to", "registry", "-o", home / "copy", "--ledger", home / "ledger.sqlite"]
    under = ["--policy", home / "house.yaml", "--as", "steward", "--for", "research", "--trust", home / "keys.toml"]
    done = CliRunner().invoke(main, list(map(str, [*words, *under])))
    assert done.exit_code == 0 and "entry 2 in the log" in done.output, done.output
    again = CliRunner().invoke(main, list(map(str, [*words, *under])))
    assert again.exit_code == 2 and "copy exists" in again.output
    assert (
        CliRunner().invoke(main, list(map(str, [*words, *under, "--to", "press", "-o", home / "copy2"]))).exit_code == 1
    )
