"""Compliance reports and labels of anonymized true records: a clean folder has no findings, and every seeded violation is caught."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import yaml
from click.testing import CliRunner

from synthkit.cli import main
from synthkit.data.schema import Boolean, Categorical, Column, Continuous, Datetime, Identifier, Integer, Schema
from synthkit.documents import validate
from synthkit.errors import InputError, VerificationFailed
from synthkit.policy.packs.checks import TRUE_RECORDS
from synthkit.policy.packs.document import NAMES
from synthkit.privacy.ledger import Ledger
from synthkit.release import anonymizing, compliance, label_check, log
from synthkit.release.anonymize_job import AnonymizeJob
from synthkit.release.labels import AIGC, MARKS
from tests.release import compliant
from tests.release.compliant import late
from tests.release.test_anonymizing import edited, tampered

ROWS = 400
ZIPS = tuple(f"{area}{n:02}" for area in ("432", "841") for n in range(30))
COLUMNS: dict[str, Column] = {
    "patient": Identifier(),
    "age": Integer(min=0, max=110),
    "zip": Categorical(categories=ZIPS),
    "admitted": Datetime(min="2022-01-01", max="2023-12-31"),
    "weight": Continuous(min=0, max=200, decimals=1),
    "years": Integer(min=0, max=89),
    "area": Categorical(categories=("432", "841", "000")),
    "note": Categorical(categories=("calm", "brisk")),
    "smoker": Boolean(),
    "ill": Categorical(categories=("I10", "E11", "J45")),
}
HOLDS = {"patient": "other-identifier", "age": "age", "zip": "place", "admitted": "date", "weight": "quasi",
         "years": "age", "area": "zip3", "note": "other", "ill": "sensitive"}  # fmt: skip
POLICY = """\
version: 1
name: house
roles: {steward: keeps the data, data-protection-officer: signs}
purposes: {research: }
datasets: {visits: visits}
rules:
  - name: lets out
    allow: steward
    to: anonymize
    on: visits
    for: research
    require:
      signatures: [{at_least: 1, of: data-protection-officer}]
"""
FILE: dict[str, Any] = {
    "version": 1,
    "dataset": "visits",
    "data": {"path": "visits.csv"},
    "schema": "schema.yaml",
    "quasi_identifiers": {
        "age": {"intervals": {"widths": [10, 30]}},
        "zip": {"prefix": [3]},
        "admitted": {"dates": ["year"]},
    },
    "k": 5,
    "sensitive": {"ill": {"alpha": 0.9}},
    "microaggregate": {"columns": ["weight"], "groups": 5},
    "coding": {"age": {"top": 90}},
    "pseudonyms": {"columns": ["patient"], "keys": "keys", "purpose": "study", "recipient": "registry"},
    "keep": ["years", "area", "note", "smoker"],
    "suppression": 0.3,
    "policy": "house.yaml",
    "as": "steward",
    "for": "research",
    "trust": "keys.toml",
    "handling": compliant.HANDLING,
    "output": "records",
}


def frame() -> pd.DataFrame:
    """Made-up patients, some of them over 89."""
    rng = np.random.default_rng(11)
    return pd.DataFrame(
        {
            "patient": [f"p{n}" for n in range(ROWS)],
            "age": rng.integers(20, 101, ROWS),
            "zip": rng.choice(ZIPS, ROWS),
            "admitted": pd.Timestamp("2022-01-01") + pd.to_timedelta(rng.integers(0, 700, ROWS), unit="D"),
            "weight": np.round(rng.normal(75, 10, ROWS), 1),
            "years": rng.integers(0, 90, ROWS),
            "area": rng.choice(["432", "841", "000"], ROWS),
            "note": rng.choice(["calm", "brisk"], ROWS),
            "smoker": rng.random(ROWS) < 0.3,
            "ill": rng.choice(["I10", "E11", "J45"], ROWS),
        }
    )


def made(folder: Path, **changes: Any) -> Path:
    """A folder that is held, and what it was made of beside it."""
    frame().to_csv(folder / "visits.csv", index=False)
    schema = Schema("visits", COLUMNS, ROWS, reviewed=True, holds=HOLDS)
    (folder / "schema.yaml").write_text(yaml.safe_dump(schema.to_dict(), sort_keys=False))
    (folder / "house.yaml").write_text(POLICY)
    (folder / "job.yaml").write_text(yaml.safe_dump({**FILE, **changes}, sort_keys=False))
    return anonymizing.run(AnonymizeJob.read(folder / "job.yaml"), Ledger(folder / "ledger.sqlite")).folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A house whose records meet everything that is asked of records; its log's heads are signed."""
    folder = tmp_path_factory.mktemp("records")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(log.KEY, str(folder / "house.key"))
        compliant.keys(folder)
        compliant.state(made(folder), folder, what="records")
        anonymizing.resume(AnonymizeJob.read(folder / "job.yaml"), Ledger(folder / "ledger.sqlite"))
        yield folder


@pytest.fixture(scope="module")
def records(place: Path) -> Path:
    return place / "records"


def states(folder: Path, *packs: str, **options: Any) -> dict[str, tuple[str, str]]:
    """By requirement (``pack/id``), its state and everything that was found."""
    return {
        f"{entry.pack.name}/{r.rule.name}": (r.state, "; ".join(e.found for e in r.evidence))
        for entry in compliance.report(folder, packs or NAMES, **options).audits
        for r in entry.requirements
    }


def unsealed(records: Path, folder: Path) -> Path:
    """A copy that was not handed out, about which nobody states anything."""
    shutil.copytree(records, folder)
    for name in ("gate.json", "log.json", "attestations.intoto.jsonl"):
        (folder / name).unlink(missing_ok=True)
    return folder


# The clean folder


def test_clean_records_have_no_findings(place: Path, records: Path) -> None:
    found = compliance.report(records, trust=place / "keys.toml")
    assert [e for e in found.intact if e.state != "pass"] == []
    findings = [
        (a.pack.name, r.rule.name, [e.found for e in r.evidence])
        for a in found.audits
        for r in a.requirements
        if r.state in ("fail", "not evaluated")
    ]
    assert findings == [] and found.complete and not found.failed
    document = found.to_dict()
    assert document["release"]["what"] == "records"
    assert document["release"]["epsilon"] is None and document["release"]["delta"] is None
    assert "not synthetic" in document["release"]["statement"]


def test_rules_about_synthetic_data_do_not_apply_and_it_is_said(records: Path, tmp_path: Path) -> None:
    found = compliance.report(records)
    compliance.write(found, tmp_path / "report")
    document = json.loads((tmp_path / "report/compliance.json").read_bytes())
    validate(document, "release/compliance.v1.json", source="compliance.json", error=InputError)
    packs = {pack["pack"]: pack for pack in document["packs"]}
    for name in ("nist-sp-800-226", "eu-ai-act-50"):
        assert packs[name]["requirements"] == [] and packs[name]["does_not_apply"], name
        page = (tmp_path / f"report/{name}.html").read_text("utf-8")
        assert (
            "No requirement applies" in page
            and "This release is of true records" in page
            and "By the evidence below" not in page
        )
    asked = {r["id"] for pack in document["packs"] for r in pack["requirements"]}
    assert not asked & {"guarantee", "unit", "synthetic-marked", "implicit-label", "singling-out", "inference"}
    page = (tmp_path / "report/gdpr.html").read_text("utf-8")
    assert "true records, anonymized" in page and "right up to" in page


def test_without_keys_nobody_answers_for_records(records: Path) -> None:
    found = compliance.report(records)
    assert not found.failed and not found.complete
    assert all(r.state != "attested" for entry in found.audits for r in entry.requirements)


def test_a_keyed_pseudonym_is_no_hash_and_people_say_whether_it_is_a_code(records: Path, tmp_path: Path) -> None:
    found = states(unsealed(records, tmp_path / "x"))
    for rule in ("gdpr/no-unkeyed-hashes", "hipaa-safe-harbor/no-derived-codes", "ico/pseudonyms", "gdpr/keyed-pseudonyms"):  # fmt: skip
        assert found[rule][0] == "pass", rule
    state, told = found["hipaa-safe-harbor/other-identifiers"]
    assert state == "not evaluated" and "HMAC-SHA-256 under key 1 of study for registry" in told


def test_what_is_left_of_a_column_is_what_it_holds(records: Path, tmp_path: Path) -> None:
    found = states(unsealed(records, tmp_path / "x"), "hipaa-safe-harbor")
    description = json.loads((records / "description.json").read_text())
    levels = {column["name"]: column.get("level") for column in description["columns"]}
    assert levels["age"] > 0 and levels["zip"] > 0 and levels["admitted"] > 0, "else nothing is shown here"
    assert {"geography", "small-zip3", "dates", "ages"} == {
        rule for rule in ("geography", "small-zip3", "dates", "ages") if found[f"hipaa-safe-harbor/{rule}"][0] == "pass"
    }


# Seeded violations: what somebody changed who recomputed every digest

SHA = hashlib.sha256(b"Ada Lovelace").hexdigest()
Change = Callable[[dict[str, Any], pd.DataFrame], pd.DataFrame | None]


def planted(column: str, value: Any) -> Change:
    def change(description: dict[str, Any], table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{column: table[column].where(table.index != 0, value)})

    return change


def position(name: str) -> int:
    return list(COLUMNS).index(name)


def without(name: str, *keys: str) -> Change:
    def change(description: dict[str, Any], table: pd.DataFrame) -> None:
        for key in keys:
            description["columns"][position(name)].pop(key)

    return change


def hashed(description: dict[str, Any], table: pd.DataFrame) -> pd.DataFrame:
    digests = [hashlib.md5(str(n).encode(), usedforsecurity=False).hexdigest() for n in range(len(table))]
    return table.assign(note=digests)


def undated(description: dict[str, Any], table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(admitted=table["admitted"].map(lambda year: f"{year}-03"))


def quarterly(description: dict[str, Any], table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(admitted=table["admitted"].map(lambda year: f"{year}-Q1"))


def unlimited(description: dict[str, Any], table: pd.DataFrame) -> None:
    for model in description["models"]:
        if "k" in model["asked"]:
            model["asked"]["k"] = 2


def bare(description: dict[str, Any], table: pd.DataFrame) -> None:
    description["columns"][position("note")]["holds"] = "sensitive"


FINDINGS: dict[str, tuple[Change, str, str]] = {
    "an unkeyed hash": (hashed, "gdpr/no-unkeyed-hashes", "visits.note"),
    "one unkeyed hash": (planted("note", SHA), "hipaa-safe-harbor/no-derived-codes", "visits.note"),
    "an e-mail": (planted("note", "ada@example.org"), "hipaa-safe-harbor/emails", "visits.note"),
    "a telephone": (planted("note", "(555) 010-4477"), "hipaa-safe-harbor/phones", "visits.note"),
    "a social security number": (planted("note", "219-09-9999"), "hipaa-safe-harbor/social-security-numbers", "visits.note"),
    "age 93": (planted("years", 93), "hipaa-safe-harbor/ages", "visits.years"),
    "age 90, not top-coded": (planted("years", 90), "hipaa-safe-harbor/ages", "visits.years"),
    "ages from 90, to the decade": (without("age", "coding"), "hipaa-safe-harbor/ages", "visits.age"),
    "a small ZIP3": (planted("area", "036"), "hipaa-safe-harbor/small-zip3", "036"),
    "a county": (without("zip", "holds"), "hipaa-safe-harbor/geography", "visits.zip"),
    "quarters": (quarterly, "hipaa-safe-harbor/dates", "visits.admitted"),
    "months": (undated, "hipaa-safe-harbor/dates", "visits.admitted"),
    "a name": (edited(f"columns.{position('note')}.holds", "name"), "gdpr/no-direct-identifiers", "visits.note"),
    "a sensitive column without a model": (bare, "gdpr/inference-from-records", "visits.note"),
    "a pseudonym without a key": (without("patient", "key"), "gdpr/keyed-pseudonyms", "patient"),
    "digits that no key made": (without("patient", "key"), "ico/pseudonyms", "visits.patient"),
    "a key for somebody else": (edited(f"columns.{position('patient')}.key.recipient", "lab"), "gdpr/keyed-pseudonyms", "recipient lab"),
    "a missing limit": (unlimited, "nist-sp-800-188/standard-for-records", "no limit of 20% was set"),
    "a missing limit on singling out": (unlimited, "gdpr/singling-out-in-records", "no limit of 20% was set"),
}  # fmt: skip


@pytest.mark.parametrize("name", FINDINGS)
def test_a_seeded_violation_fails_its_rule(records: Path, tmp_path: Path, name: str) -> None:
    change, rule, told = FINDINGS[name]
    folder = unsealed(records, tmp_path / "x")
    tampered(folder, change)
    state, found = states(folder, rule.partition("/")[0])[rule]
    assert state == "fail" and told in found, (state, found)


REFUSED: dict[str, tuple[Change, str]] = {
    "an edited k": (edited("models.0.attained", 50), "k-anonymity, as attained"),
    "an edited risk": (edited("attackers.prosecutor.highest", 0.01), "prosecutor's highest risk"),
    "an edited success": (edited("attackers.marketer.success", 0.001), "marketer's success"),
    "a limit that is passed": (edited("attackers.prosecutor.limits.highest", 0.01), "above 0.01"),
    "an age beyond its coding": (edited(f"columns.{position('years')}.coding", {"bottom": None, "top": 50}), "beyond its coding"),
    "an epsilon": (edited("epsilon", 1.0), "description.v1.json"),
    "a statement that says synthetic": (edited("statement", "synthetic"), "does not state that these are true records"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_of_records_that_are_not_what_they_say_nothing_is_reported(records: Path, tmp_path: Path, name: str) -> None:
    change, message = REFUSED[name]
    folder = unsealed(records, tmp_path / "x")
    tampered(folder, change)
    with pytest.raises(VerificationFailed, match=message):
        compliance.report(folder)


def relabelled(folder: Path, marks: list[str] | None, **more: str) -> None:
    """The label of the Parquet file alone, as a careless tool writes it anew."""
    table = pyarrow.parquet.read_table(folder / "data.parquet")
    metadata = dict(table.schema.metadata or {})
    metadata.pop(MARKS.encode(), None)
    if marks is not None:
        metadata[MARKS.encode()] = json.dumps(marks, separators=(",", ":")).encode()
    metadata |= {key.encode(): value.encode() for key, value in more.items()}
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), folder / "data.parquet")


@pytest.mark.parametrize("marks", [None, ["synthetic"], [TRUE_RECORDS, "synthetic"]])
def test_records_without_their_label_or_with_another_are_refused(
    records: Path, tmp_path: Path, marks: list[str] | None
) -> None:
    folder = unsealed(records, tmp_path / "x")
    relabelled(folder, marks)
    tampered(folder, lambda description, table: None)
    with pytest.raises(VerificationFailed, match="does not carry the label"):
        compliance.report(folder)


def test_records_that_carry_a_label_of_generated_content_fail(records: Path, tmp_path: Path) -> None:
    folder = unsealed(records, tmp_path / "x")
    relabelled(folder, [TRUE_RECORDS], **{AIGC: json.dumps({"Label": "1"})})
    tampered(folder, lambda description, table: None)
    assert states(folder, "nist-sp-800-188")["nist-sp-800-188/records-marked"][0] == "fail"


# Seeded violations: statements


def test_statements_about_other_records_do_not_count(place: Path, records: Path, tmp_path: Path) -> None:
    folder = unsealed(records, tmp_path / "x")
    tampered(folder, planted("note", "calm" if pd.read_parquet(records / "data.parquet")["note"][0] == "brisk" else "brisk"))  # fmt: skip
    shutil.copy(records / "attestations.intoto.jsonl", folder)
    found = states(folder, trust=place / "keys.toml")
    assert found["hipaa-expert/very-small-risk"][0] == "fail"
    assert "about another bundle" in found["hipaa-expert/very-small-risk"][1]


def test_statements_expire(place: Path, records: Path) -> None:
    state, told = states(records, trust=place / "keys.toml", now=late())["ico/motivated-intruder"]
    assert state == "fail" and "expired on" in told


def test_people_answer_for_linkability_beside_the_figure(place: Path, records: Path, tmp_path: Path) -> None:
    rule = "gdpr/linkability-of-records"
    folder = unsealed(records, tmp_path / "x")
    assert states(folder)[rule][0] == "not evaluated", "the figure alone is not enough"
    compliant.state(folder, place, only=lambda statement: statement == "wp216-linkability", what="records")
    assert states(folder, trust=place / "keys.toml")[rule][0] == "attested"


def test_a_folder_that_was_not_approved_is_not_intact(place: Path, records: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(records, tmp_path / "x")
    (folder / "attestations.intoto.jsonl").unlink()
    found = compliance.report(folder, trust=place / "keys.toml")
    assert [e.state for e in found.intact] == ["pass", "pass", "fail"] and found.failed


def test_recipients_that_nobody_named_leave_keys_to_people(place: Path, tmp_path: Path) -> None:
    shutil.copy(place / "keys.toml", tmp_path)
    found = states(made(tmp_path, handling={"producer": "Clinic"}))
    assert found["gdpr/keyed-pseudonyms"][0] == "not evaluated"
    assert found["gdpr/pseudonymisation-domain"][0] == "fail"


def test_few_records_in_a_class_fail_though_a_limit_was_not_asked_for(place: Path, tmp_path: Path) -> None:
    shutil.copy(place / "keys.toml", tmp_path)
    found = states(made(tmp_path, k=2, microaggregate={"columns": ["weight"], "groups": 2}))
    state, told = found["gdpr/singling-out-in-records"]
    assert state == "fail" and "at most 20% may be" in told


def test_journalists_of_a_population_cannot_be_counted_again(place: Path, tmp_path: Path) -> None:
    shutil.copy(place / "keys.toml", tmp_path)
    frame().to_csv(tmp_path / "everybody.csv", index=False)
    risk = {"journalist": {"highest": 0.2, "population": "everybody.csv"}}
    found = states(made(tmp_path, risk=risk), "gdpr")
    assert found["gdpr/singling-out-in-records"][0] == "pass"  # the prosecutor needs no population
    state, told = found["gdpr/linkability-of-records"]
    assert state == "not evaluated" and "no figure risk.marketer that anybody can count again" in told


# Labels


def test_the_label_of_records_says_what_they_are(records: Path) -> None:
    found = {entry.carried.file: entry for entry in label_check.check(records)}
    assert set(found) == {"data.parquet", "data.csv", "label.json"}
    assert not any(entry.problems for entry in found.values())
    assert found["data.parquet"].carried.marks == (TRUE_RECORDS,) and found["label.json"].carried.aigc is None
    assert "label.json does" in found["data.csv"].note
    told = CliRunner().invoke(main, ["label", "check", str(records)])
    assert told.exit_code == 0 and f"marks: {TRUE_RECORDS}" in told.output and "AIGC" not in told.output


def test_files_of_records_are_held_against_the_folder_and_against_their_sidecar(records: Path, tmp_path: Path) -> None:
    assert not label_check.check(records / "data.parquet")[0].problems
    copy = tmp_path / "copy.parquet"
    shutil.copy(records / "data.parquet", copy)
    assert not label_check.check(copy, against=records)[0].problems and not label_check.check(copy)[0].problems
    pd.read_parquet(copy).to_parquet(copy)
    (lost,) = label_check.check(copy, against=records)[0].problems
    assert lost.startswith("lost: the marks") and TRUE_RECORDS in lost and "synthetic" not in lost
    shutil.copy(records / "label.json", tmp_path)
    assert label_check.check(copy)[0].problems == (lost,)


@pytest.mark.parametrize("marks", [["synthetic"], [TRUE_RECORDS, "synthetic"], [TRUE_RECORDS, "fully Synthetic data"]])
def test_records_that_are_passed_on_as_synthetic_are_told(records: Path, tmp_path: Path, marks: list[str]) -> None:
    folder = unsealed(records, tmp_path / "x")
    relabelled(folder, marks)
    found = label_check.check(folder / "data.parquet", against=records)[0].problems
    assert any(problem.startswith("wrong: it says that the data are synthetic") for problem in found)


def test_a_label_of_generated_content_on_records_is_wrong(records: Path, tmp_path: Path) -> None:
    folder = unsealed(records, tmp_path / "x")
    relabelled(folder, [TRUE_RECORDS], **{AIGC: json.dumps({"Label": "1"})})
    assert label_check.check(folder / "data.parquet", against=records)[0].problems
    label = json.loads((folder / "label.json").read_text())
    (tmp_path / "label.json").write_text(json.dumps({**label, "synthetic": True}))
    assert label_check.check(tmp_path / "label.json")[0].problems
    (tmp_path / "label.json").write_text(json.dumps({**label, AIGC: {"Label": "1"}}))
    assert label_check.check(tmp_path / "label.json")[0].problems


def test_a_synthetic_file_is_not_one_of_these_records(records: Path, tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "x.parquet")
    assert label_check.check(tmp_path / "x.parquet", against=records)[0].problems


def test_a_tampered_folder_says_nothing_of_labels(records: Path, tmp_path: Path) -> None:
    folder = unsealed(records, tmp_path / "x")
    (folder / "data.csv").write_text("a\n1\n")
    with pytest.raises(VerificationFailed):
        label_check.check(folder)


def test_the_command_reports_of_records(place: Path, records: Path, tmp_path: Path) -> None:
    words = ["report", "compliance", str(records), "--trust", str(place / "keys.toml"), "-o", str(tmp_path / "all")]
    told = CliRunner().invoke(main, [*words, "--complete"])
    assert told.exit_code == 0, told.output
    assert "held against 8 packs" in told.output and "counted again in the records" in told.output
