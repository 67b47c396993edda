"""True records with free text: redacted before they leave, and searched again by whoever checks the folder."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from synthkit.anonymize import free_text
from synthkit.cli import main
from synthkit.data.schema import Schema, Text, Unit
from synthkit.data.tables import FrameSource, read
from synthkit.errors import JobError, SchemaError, VerificationFailed
from synthkit.release import anonymized, anonymizing, records
from synthkit.release.anonymize_job import AnonymizeJob
from tests.anonymize.test_recipe import SCHEMA
from tests.anonymize.test_route import people
from tests.release.test_anonymizing import edited, house, ledger, tampered

installed = pytest.mark.skipif(
    not free_text.is_installed(), reason="presidio is not installed: pip install 'synthkit[text]'"
)
REDACT: dict[str, Any] = {"columns": ["note"], "countries": ["us"]}
NOTED = replace(SCHEMA, columns={**SCHEMA.columns, "note": Text()}, reviewed=True, holds={"note": "other"})


def written(folder: Path, **changes: Any) -> Path:
    """As :func:`house`, with a column of notes."""
    path = house(folder, **{"redact": REDACT, **changes})
    (folder / "schema.yaml").write_text(yaml.safe_dump(NOTED.to_dict(), sort_keys=False), encoding="utf-8")
    frame = people(0, 200)
    notes = [f"mail p{n}@example.org" if n % 2 else "is better" for n in range(len(frame))]
    notes[:3] = [None, "ssn 536-90-4399, Zoltan", "call 212-555-0147"]
    frame.assign(note=notes).to_csv(folder / "patients.csv", index=False)
    return path


def handed(folder: Path, **changes: Any) -> Path:
    return anonymizing.run(AnonymizeJob.read(written(folder, **changes)), ledger(folder)).folder


@installed
def test_the_command_redacts_says_so_and_can_be_checked(tmp_path: Path) -> None:
    file, runner = written(tmp_path), CliRunner()
    shown = runner.invoke(main, ["anonymize", str(file), "--plan"])
    assert shown.exit_code == 0, shown.output
    assert "note: free text, redacted; otherwise kept as it is, unprotected" in shown.output
    assert "in free text, without a guarantee: EMAIL_ADDRESS, PHONE_NUMBER" in shown.output
    assert "names in prose are not looked for" in shown.output
    made = runner.invoke(main, ["anonymize", str(file), "--ledger", str(tmp_path / "l.sqlite")])
    assert made.exit_code == 0, made.output
    assert "NO GUARANTEE: what no pattern matches stays" in made.output
    for name in ("data.csv", "data.parquet"):
        content = (tmp_path / "out" / name).read_bytes()
        assert b"@example" not in content and b"536-90" not in content and b"0147" not in content
        assert b"EMAIL_ADDRESS" in content and b"is better" in content
    checked = runner.invoke(main, ["verify", str(tmp_path / "out"), "--json"])
    assert checked.exit_code == 0, checked.output
    told = json.loads(checked.output)["redacted"]["note"]
    frame = pd.read_parquet(tmp_path / "out" / "data.parquet")
    assert told["marks"]["EMAIL_ADDRESS"] == frame["note"].dropna().str.count("<EMAIL_ADDRESS>").sum()
    assert told["statement"] == free_text.STATEMENT and told["model"] is None and "US_SSN" in told["looked_for"]


@installed
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, f: f.assign(note=f["note"].where(f.index != 5, "to ann@example.org")), "found in 1 redacted texts"),
        (lambda d, f: f.assign(note=f["note"].where(f.index != 5, "<EMAIL_ADDRESS> <URL>")), "holds other marks"),
        (edited("columns.7.redaction.marks", {}), "holds other marks"),
        (edited("columns.7.redaction.looked_for", ["EMAIL_ADDRESS", "PERSON"]), "more was looked for than can be"),
        (edited("columns.7.redaction.listed", True), "more was looked for than can be"),
        (edited("columns.7.redaction.patterns", {"CALM": "better"}), r"found in \d+ redacted texts"),
        (edited("columns.7.redaction.patterns", {"CALM": "("}), "not a regular expression"),
        (edited("columns.7.redaction.statement", "Nobody is named."), "comes without a guarantee"),
        (edited("columns.7.redaction.model", "en_core_web_none"), "not installed, and synthkit downloads none"),
        (edited("columns.7.role", "kept"), "does not say how column 'note' was searched"),
    ],
)  # fmt: skip
def test_what_is_not_true_of_redacted_text_is_noticed(tmp_path: Path, change: Any, message: str) -> None:
    out = handed(tmp_path)
    tampered(out, change)
    with pytest.raises(VerificationFailed, match=message) as problem:
        anonymized.check(out)
    assert "ann@" not in str(problem.value)


@installed
def test_listed_words_are_gone_and_the_folder_does_not_have_them(tmp_path: Path) -> None:
    (tmp_path / "staff.txt").write_text("Zoltan\n", encoding="utf-8")
    out = handed(tmp_path, redact={**REDACT, "listed": "staff.txt"}, k=2)
    assert not any(b"oltan" in path.read_bytes() for path in out.iterdir())
    description = json.loads((out / "description.json").read_text())
    assert description["columns"][7]["redaction"]["listed"] is True
    anonymized.check(out)


@installed
def test_pseudonyms_in_marks_need_a_key_and_no_column_of_identifiers(tmp_path: Path) -> None:
    key = {"keys": "keys", "purpose": "study", "recipient": "lab"}
    out = handed(tmp_path, redact={**REDACT, "replace": "pseudonym"}, pseudonyms=key, drop=["patient"])
    notes = pd.read_parquet(out / "data.parquet")["note"].dropna()
    assert notes.str.contains(r"<EMAIL_ADDRESS:[0-9a-f]{32}>").any()
    anonymized.check(out)
    secret = next((tmp_path / "keys").iterdir()).read_text()
    assert not any(secret.encode() in path.read_bytes() for path in out.iterdir())


@installed
def test_no_pack_takes_free_text_for_what_is_declared(tmp_path: Path) -> None:
    out = handed(tmp_path)
    checked, manifest = anonymized.check(out), json.loads((out / "manifest.json").read_text())
    (note,) = [c for c in records.columns(out, checked.description, manifest) if c.name == "note"]
    assert note.holds is None and not note.known
    figures = {figure.name: figure.value for figure in anonymizing.evidence(checked)}
    assert figures["anonymity.free_text"] == 1


@installed
def test_a_policy_may_refuse_free_text(tmp_path: Path) -> None:
    from synthkit.errors import PolicyDenied

    with pytest.raises(PolicyDenied, match=r"anonymity\.free_text"):
        handed(tmp_path, require="checks: {anonymity.free_text: at most 0}")


def test_without_presidio_nothing_is_opened_and_nothing_verifies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = AnonymizeJob.read(written(tmp_path))
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    (tmp_path / "patients.csv").unlink()
    for verb in (anonymizing.plan, lambda job: anonymizing.run(job, ledger(tmp_path))):
        with pytest.raises(JobError, match="presidio, which is not installed"):
            verb(asked)
    assert not (tmp_path / "keys").exists()


@installed
def test_who_has_no_presidio_is_not_told_that_it_verifies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = handed(tmp_path)
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(VerificationFailed, match="presidio, which is not installed"):
        anonymized.check(out)


def test_a_folder_that_says_redacted_is_not_believed(tmp_path: Path) -> None:
    """Whether or not presidio is there: without it nobody can tell."""
    out = anonymizing.run(AnonymizeJob.read(house(tmp_path)), ledger(tmp_path)).folder
    searched = {
        "statement": free_text.STATEMENT, "countries": [], "phones": [], "dates": False, "language": "en", "model": None, "patterns": {},
        "listed": False, "certainty": 0.4, "replace": "kind", "looked_for": ["URL"], "versions": {}, "marks": {},
    }  # fmt: skip

    def claim(description: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
        description["columns"][0] = {"name": "patient", "role": "redacted", "redaction": searched}
        return frame.assign(patient="mail ann@example.org")

    tampered(out, claim)
    with pytest.raises(VerificationFailed, match=r"found in \d+ redacted texts|presidio, which is not installed"):
        anonymized.check(out)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"redact": None, "keep": ["note"]}, "keep: column 'note' is declared free text; name it under 'redact' or"),
        ({"redact": {**REDACT, "columns": ["note", "ill"]}, "sensitive": None}, "'ill' is not declared free text"),
        ({"redact": None}, "no role for 'note'; name each under one of"),
        ({"redact": {"columns": ["note"]}}, "'countries' is a required property"),
        ({"redact": {**REDACT, "replace": "pseudonym"}, "pseudonyms": None, "drop": ["patient"]}, "pseudonyms need a key"),
        ({"pseudonyms": {"keys": "k", "purpose": "p", "recipient": "r"}, "drop": ["patient"]}, "pseudonyms: no columns"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(JobError, match=told):
        AnonymizeJob.read(written(tmp_path, **changes))


# The other route


def test_free_text_is_never_modelled_and_in_no_synthetic_table() -> None:
    schema = Schema.from_dict(NOTED.to_dict())
    assert isinstance(schema.columns["note"], Text) and "note" not in schema.modelled
    table = read(FrameSource(people(0, 20).assign(note="Zoltan")), replace(schema, constraints=()), dataset="x")
    from synthkit.privacy.internal import internal_table

    assert "note" not in internal_table(table, allowed=True).columns
    with pytest.raises(SchemaError, match="must be declared as a column of kind identifier"):
        replace(schema, unit=Unit("note", 2))
    with pytest.raises(SchemaError, match="free text is never modelled"):
        Schema.from_dict({**NOTED.to_dict(), "rules": {"note": {"pseudonym": True}}})
    with pytest.raises(TypeError, match="release"):
        Text(release="regenerate")  # type: ignore[call-arg]
    with pytest.raises(SchemaError, match="release"):
        Schema.from_dict({**NOTED.to_dict(), "columns": {**NOTED.to_dict()["columns"], "note": {"kind": "text", "release": "drop"}}})  # fmt: skip
