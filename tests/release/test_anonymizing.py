"""True records leave under a policy alone, in a folder that says what they are, and that anybody can count again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner, Result

from synthkit.cli import main
from synthkit.data import vault
from synthkit.data.tables import FileSource, write_csv, write_parquet
from synthkit.errors import DataError, JobError, PolicyDenied, VerificationFailed
from synthkit.privacy.ledger import Ledger
from synthkit.release import anonymized, anonymizing, verify_alone
from synthkit.release.anonymize_job import AnonymizeJob
from synthkit.release.labels import MARKS
from synthkit.release.seals import verify
from synthkit.release.sign import attest, new_key, read_key
from tests.anonymize.test_recipe import GOOD, SCHEMA
from tests.anonymize.test_route import people

POLICY = """\
version: 1
name: house
roles: {steward: keeps the data, officer: signs}
purposes: {research: , sales: }
datasets: {patients: patients}
rules:
  - {name: lets out, allow: steward, to: anonymize, on: patients, for: research, require: {REQUIRE}}
  - {name: synthesizes, allow: steward, to: [plan, train, release], on: patients, for: sales, when: {epsilon: at most 1}}
"""
NAMES = {"columns": ["patient"], "keys": "keys", "purpose": "study", "recipient": "lab"}
FILE: dict[str, Any] = {
    "version": 1,
    "dataset": "patients",
    "data": {"path": "patients.csv"},
    "schema": "schema.yaml",
    **GOOD,
    "drop": None,
    "pseudonyms": NAMES,
    "suppression": 0.2,
    "output": "out",
    "policy": "house.yaml",
    "as": "steward",
    "for": "research",
}


def house(folder: Path, *, require: str = "labels: anonymized true records", **changes: Any) -> Path:
    """Patients, a policy, and a file that asks for them."""
    people(0, 200).to_csv(folder / "patients.csv", index=False)
    schema = replace(SCHEMA, reviewed=True)
    (folder / "schema.yaml").write_text(yaml.safe_dump(schema.to_dict(), sort_keys=False), encoding="utf-8")
    (folder / "house.yaml").write_text(POLICY.replace("REQUIRE", require), encoding="utf-8")
    written = {key: value for key, value in {**FILE, **changes}.items() if value is not None}
    (folder / "job.yaml").write_text(yaml.safe_dump(written, sort_keys=False), encoding="utf-8")
    return folder / "job.yaml"


def job(folder: Path, **changes: Any) -> AnonymizeJob:
    return AnonymizeJob.read(house(folder, **changes))


def ledger(folder: Path) -> Ledger:
    return Ledger(folder / "ledger.sqlite")


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that was handed out."""
    return anonymizing.run(job(tmp_path), ledger(tmp_path)).folder


# What leaves


def test_the_command_says_what_it_would_do_does_it_and_can_be_checked(tmp_path: Path) -> None:
    file = house(tmp_path)
    shown = call("anonymize", file, "--plan")
    assert shown.exit_code == 0, shown.output
    assert "zip: quasi-identifier, by prefix, levels 0 to 2" in shown.output
    assert "key 1 of study for lab, which would be drawn" in shown.output and "No epsilon" in shown.output
    assert not (tmp_path / "out").exists() and not (tmp_path / "keys").exists()
    made = call("anonymize", file, "--ledger", tmp_path / "ledger.sqlite", "--json")
    assert made.exit_code == 0, made.output
    facts = json.loads(made.output)
    assert facts["kind"] == "anonymized true records" and not facts["held"]
    assert facts["models"][0]["name"] == "k-anonymity"
    checked = call("verify", tmp_path / "out")
    assert checked.exit_code == 0 and "entry 1 of 1 in the log" in checked.output
    assert "true records of real people" in checked.output and "no epsilon" in checked.output
    again = call("anonymize", file, "--ledger", tmp_path / "ledger.sqlite")
    assert again.exit_code == 2 and "out exists; move it away" in again.output


def test_it_says_that_records_are_true_and_never_an_epsilon(out: Path) -> None:
    assert {path.name for path in out.iterdir()} == {
        "data.csv", "data.parquet", "description.json", "label.json", "manifest.json", "gate.json", "log.json"
    }  # fmt: skip
    for name in ("description.json", "manifest.json", "label.json"):
        text = (out / name).read_text("utf-8")
        assert '"epsilon"' not in text and '"delta"' not in text and "AIGC" not in text
    assert json.loads((out / "label.json").read_text())["synthetic"] is False
    description = json.loads((out / "description.json").read_text())
    assert "true records of real people" in description["statement"] and "not synthetic" in description["statement"]
    import pyarrow.parquet as pq

    marks = json.loads(pq.read_metadata(out / "data.parquet").metadata[MARKS.encode()])
    assert marks == ["anonymized true records"]


def test_nothing_is_booked_and_the_hand_out_is_logged(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    anonymizing.run(job(tmp_path), book)
    assert book.spent("patients").epsilon == 0
    from synthkit.release import log

    assert log.verify(book) == 1


def test_an_encrypted_source_is_read_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = vault.new_identity(tmp_path / "me.identity")
    asked = job(tmp_path, data={"path": "patients.csv.age"})
    vault.lock(tmp_path / "patients.csv", tmp_path / "patients.csv.age", (public,))
    (tmp_path / "patients.csv").unlink()
    monkeypatch.setenv(vault.IDENTITY, str(tmp_path / "me.identity"))
    assert anonymizing.run(asked, ledger(tmp_path)).folder.exists()


def test_a_folder_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        raise OSError("no room")

    monkeypatch.setattr(anonymized, "check", fail)
    with pytest.raises(OSError, match="no room"):
        anonymizing.run(job(tmp_path), ledger(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["keys"]


def test_levels_that_are_asked_for_are_kept_and_told(tmp_path: Path) -> None:
    file = house(tmp_path, levels={"age": {"from": 2, "to": 2}, "seen": {"from": 1}}, suppression=0.6)
    shown = call("anonymize", file, "--plan")
    assert "age: quasi-identifier, by intervals, levels 2 to 2 of 0 to 3" in shown.output
    made = call("anonymize", file, "--ledger", tmp_path / "ledger.sqlite", "--json")
    assert made.exit_code == 0, made.output
    assert json.loads(made.output)["levels"]["age"] == 2 and json.loads(made.output)["levels"]["seen"] >= 1
    out = tmp_path / "out"
    description = json.loads((out / "description.json").read_text())
    (age,) = [column for column in description["columns"] if column["name"] == "age"]
    assert age["levels"] == {"from": 2, "to": 2}
    tampered(out, edited(f"columns.{description['columns'].index(age)}.levels.to", 1))
    with pytest.raises(VerificationFailed, match="'age' is said to be at a level that it may not have"):
        anonymized.check(out)
    tight = {"zip": {"to": 0}, "age": {"to": 0}}
    with pytest.raises(JobError, match=r"or let age, zip go higher \('levels'\)"):
        anonymizing.run(job(tmp_path, levels=tight, suppression=0, output="o2"), ledger(tmp_path))


# The policy


class Spy(FileSource):
    """A source that tells when somebody looks."""

    def columns(self) -> list[str]:
        raise AssertionError("opened")

    def _batches(self, rows: int) -> Iterator[pd.DataFrame]:
        raise AssertionError("opened")


def spied(asked: AnonymizeJob) -> AnonymizeJob:
    assert isinstance(asked.source, FileSource)
    return replace(asked, source=Spy(asked.source.path))


@pytest.mark.parametrize(
    "changes",
    [{"policy": None, "as": None, "for": None}, {"for": "sales"}, {"as": "officer"}, {"dataset": "others"}],
    ids=["packaged", "purpose with an epsilon", "role", "dataset"],
)
def test_it_is_asked_before_the_data_are_opened(tmp_path: Path, changes: dict[str, Any]) -> None:
    asked = spied(job(tmp_path, **changes))
    for verb in (anonymizing.plan, lambda one: anonymizing.run(one, ledger(tmp_path))):
        with pytest.raises(PolicyDenied):
            verb(asked)
    with pytest.raises(AssertionError, match="opened"):
        anonymizing.run(spied(job(tmp_path)), ledger(tmp_path))


@pytest.mark.parametrize(
    ("require", "message"),
    [
        ("checks: {anonymity.k: at least 50}", r"anonymity.k.*4 \(the worse end"),
        ("checks: {risk.marketer: at most 0.0001}", "risk.marketer"),
        ("checks: {anonymity.suppressed: at most 1}", "there is no such figure"),
        ("labels: synthetic", "synthetic"),
        ("retention: at most 30 days", "not stated"),
        ("attempts: at most 3", "not stated"),
    ],
)
def test_it_is_asked_again_before_anything_leaves(tmp_path: Path, require: str, message: str) -> None:
    with pytest.raises(PolicyDenied, match=message):
        anonymizing.run(job(tmp_path, require=require), ledger(tmp_path))
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.held").stat().st_mode & 0o777 == 0o700


def test_figures_that_hold_let_it_leave(tmp_path: Path) -> None:
    require = (
        "checks: {anonymity.k: at least 4, anonymity.t_closeness.ill: at most 0.5, risk.prosecutor_highest: at most 0.25}, "
        "recipients: [lab], retention: at most 30 days"
    )
    handling = {"recipients": ["lab"], "retention_days": 30}
    assert not anonymizing.run(job(tmp_path, require=require, handling=handling), ledger(tmp_path)).held


def test_with_a_population_a_policy_may_ask_about_the_prosecutor_alone(tmp_path: Path) -> None:
    risk = {"journalist": {"highest": 1, "population": "patients.csv"}}
    named = job(tmp_path, require="checks: {risk.prosecutor_average: at most 0.25}", risk=risk)
    assert not anonymizing.run(named, ledger(tmp_path)).held
    found = anonymized.check(tmp_path / "out")
    assert found.description["attackers"]["population"] == "patients.csv"
    asked = job(tmp_path, require="checks: {risk.marketer: at most 1}", risk=risk, output="again")
    with pytest.raises(PolicyDenied, match="there is no such figure"):
        anonymizing.run(asked, ledger(tmp_path))


def test_a_policy_that_was_edited_meanwhile_shuts_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = job(tmp_path)
    whole = anonymizing.anonymize

    def slowly(*arguments: Any, **settings: Any) -> Any:
        (tmp_path / "house.yaml").write_text(POLICY.replace("REQUIRE", "labels: anonymized true records") + "\n")
        return whole(*arguments, **settings)

    monkeypatch.setattr(anonymizing, "anonymize", slowly)
    with pytest.raises(PolicyDenied, match="it was edited"):
        anonymizing.run(asked, ledger(tmp_path))


def test_it_waits_for_signatures(tmp_path: Path) -> None:
    entry = new_key(tmp_path / "dora.key", "dora", ("officer",))
    (tmp_path / "keys.toml").write_text(f"version = 1\n{entry}", encoding="utf-8")
    asked = job(tmp_path, require="signatures: [{at_least: 1, of: officer}]", trust="keys.toml")
    made = anonymizing.run(asked, ledger(tmp_path))
    assert made.held and made.folder.name == "out.held"
    with pytest.raises(JobError, match=r"out\.held exists"):
        anonymizing.run(asked, ledger(tmp_path))
    attest(made.folder, read_key(tmp_path / "dora.key"), "officer")
    done = anonymizing.resume(asked, ledger(tmp_path))
    assert not done.held and done.folder == asked.output
    found = verify(done.folder, trust=tmp_path / "keys.toml", policy=tmp_path / "house.yaml")
    assert isinstance(found, anonymized.Checked)
    assert any("officer: approves, by dora" in seal for seal in found.seals)
    with pytest.raises(JobError, match="no folder is held"):
        anonymizing.resume(asked, ledger(tmp_path))


def test_what_is_held_and_changed_does_not_leave(tmp_path: Path) -> None:
    entry = new_key(tmp_path / "dora.key", "dora", ("officer",))
    (tmp_path / "keys.toml").write_text(f"version = 1\n{entry}", encoding="utf-8")
    asked = job(tmp_path, require="signatures: [{at_least: 1, of: officer}]", trust="keys.toml")
    held = anonymizing.run(asked, ledger(tmp_path)).folder
    attest(held, read_key(tmp_path / "dora.key"), "officer")
    (held / "data.csv").write_bytes((held / "data.csv").read_bytes() + b"1,2,3\n")
    with pytest.raises(VerificationFailed, match=r"data.csv was changed"):
        anonymizing.resume(asked, ledger(tmp_path))


# Checking


def tampered(folder: Path, change: Callable[[dict[str, Any], pd.DataFrame], pd.DataFrame | None]) -> None:
    """Change a folder as somebody would who recomputes every digest."""
    description = json.loads((folder / "description.json").read_text())
    frame = pd.concat(list(FileSource(folder / "data.parquet").batches()), ignore_index=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    changed = change(description, frame)
    if changed is not None:
        marks = json.dumps(manifest["handling"]["labels"], separators=(",", ":")).encode()
        write_parquet(changed, folder / "data.parquet", metadata={MARKS.encode(): marks})
        write_csv(changed, folder / "data.csv")
    description["files"] = {name: verify_alone.digest_of(folder / name) for name in ("data.csv", "data.parquet")}
    (folder / "description.json").write_text(json.dumps(description))
    for name, entry in manifest["files"].items():
        entry |= {"sha256": verify_alone.digest_of(folder / name), "bytes": (folder / name).stat().st_size}
    del manifest["manifest_sha256"]
    (folder / "manifest.json").write_text(anonymized._sealed(manifest), encoding="utf-8")


def edited(path: str, value: Any) -> Callable[[dict[str, Any], pd.DataFrame], None]:
    def change(description: dict[str, Any], frame: pd.DataFrame) -> None:
        place: Any = description
        *keys, last = path.split(".")
        for key in keys:
            place = place[int(key) if key.isdecimal() else key]
        place[last] = value

    return change


def test_a_rebuilt_folder_is_fine_where_nothing_is_wrong(out: Path) -> None:
    tampered(out, lambda description, frame: frame)
    anonymized.check(out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, f: f.assign(age=f["age"].where(f.index != 0, "[7, 8)")), "does not meet k-anonymity"),
        (lambda d, f: f.assign(cost=f["cost"].where(f.index != 0, 7.77)), "does not meet k-anonymity"),
        (lambda d, f: f.assign(ill="no"), "does not meet"),
        (lambda d, f: f.assign(patient="zoltan"), "something else than pseudonyms"),
        (lambda d, f: f[1:], "counts otherwise"),
        (lambda d, f: f.assign(name="ann"), "columns of data.parquet"),
        (lambda d, f: f.drop(columns="ill"), "columns of data.parquet"),
        (edited("models.0.attained", 40), "k-anonymity, as attained: stated is 40"),
        (edited("models.0.asked.k", 1000), "does not meet k-anonymity"),
        (edited("models.1.asked.t", 1e-6), "does not meet t-closeness"),
        (edited("models.1.attained", 0.01), "t-closeness, as attained"),
        (edited("models.1.name", "w-closeness"), "not known"),
        (edited("attackers.prosecutor.highest", 0.01), "prosecutor's highest risk: stated is 0.01"),
        (edited("attackers.journalist.average", 0.01), "journalist's average risk"),
        (edited("attackers.marketer.success", 0.01), "marketer's success"),
        (edited("attackers.prosecutor.limits.highest", 0.01), "highest risk 0.25 is above 0.01"),
        (edited("records.suppressed", 0), "counts otherwise"),
        (edited("records.suppression_limit", 0.0), "more records were left out"),
        (edited("records.classes", 1), "counts 1 classes"),
        (edited("statement", "These are synthetic."), "does not state that these are true records"),
        (edited("kind", "synthetic"), "description.v1.json"),
        (edited("epsilon", 1.0), "description.v1.json"),
        (edited("dataset", "others"), "another dataset"),
        (edited("columns.6.role", "kept"), "other columns than those that are stated as sensitive"),
    ],
)  # fmt: skip
def test_what_is_not_true_is_noticed_though_every_digest_is_right(
    out: Path, change: Callable[[dict[str, Any], pd.DataFrame], Any], message: str
) -> None:
    tampered(out, change)
    with pytest.raises(VerificationFailed, match=message) as raised:
        anonymized.check(out)
    assert "zoltan" not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("policy.request.action", "release", "something else than to anonymize patients"),
        ("policy.request.dataset", "others", "something else than to anonymize patients"),
        ("policy.for", "sales", "another role or purpose"),
        ("policy", {}, "damaged"),
        ("created", "yesterday", "damaged"),
        ("guarantee", {"statement": "epsilon 1"}, "without a guarantee"),
        ("handling.labels", ["synthetic"], "does not label them"),
        ("kind", "synthetic", "does not say that these are"),
    ],
)
def test_a_manifest_about_something_else_is_noticed(out: Path, path: str, value: Any, message: str) -> None:
    manifest = json.loads((out / "manifest.json").read_text())
    edited(path, value)(manifest, pd.DataFrame())
    del manifest["manifest_sha256"]
    (out / "manifest.json").write_text(anonymized._sealed(manifest), encoding="utf-8")
    with pytest.raises(VerificationFailed, match=message):
        anonymized.check(out)


def test_a_group_smaller_than_stated_is_noticed(out: Path) -> None:
    def change(description: dict[str, Any], frame: pd.DataFrame) -> None:
        edited("columns.5.groups", 5)(description, frame)

    tampered(out, change)
    with pytest.raises(VerificationFailed, match="of fewer records than is stated"):
        anonymized.check(out)


def test_digests_files_and_labels_are_held_against_the_manifest(out: Path, tmp_path: Path) -> None:
    def copy() -> Path:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        return Path(shutil.copytree(out, tmp_path / "copy"))

    changed = copy()
    (changed / "notes.txt").write_text("x")
    with pytest.raises(VerificationFailed, match=r"not in the manifest: notes.txt"):
        anonymized.check(changed)
    changed = copy()
    (changed / "label.json").write_text("{}")
    with pytest.raises(VerificationFailed, match=r"label.json was changed"):
        anonymized.check(changed)
    changed = copy()
    (changed / "label.json").write_text(
        '{"labels": ["synthetic"], "kind": "anonymized true records", "synthetic": true}'
    )
    tampered(changed, lambda description, frame: None)
    with pytest.raises(VerificationFailed, match="does not carry the label"):
        anonymized.check(changed)
    changed = copy()
    frame = pd.read_parquet(changed / "data.parquet")
    write_parquet(frame, changed / "data.parquet")
    tampered(changed, lambda description, frame: None)
    with pytest.raises(VerificationFailed, match="does not carry the label"):
        anonymized.check(changed)
    changed = copy()
    (changed / "data.csv").write_text((changed / "data.csv").read_text().replace("mild", "none"))
    tampered(changed, lambda description, frame: None)
    with pytest.raises(VerificationFailed, match=r"data.csv does not hold what data.parquet holds"):
        anonymized.check(changed)


def test_the_verifier_that_stands_alone_reads_it(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "keys.toml").write_text("version = 1\n" + new_key(tmp_path / "a.key", "ann", ("officer",)))
    assert verify_alone.main([str(out), "--trust", str(tmp_path / "keys.toml")]) == 0
    assert "true records of real people" in capsys.readouterr().out


# Keys


def test_a_key_never_leaves(tmp_path: Path) -> None:
    out = anonymizing.run(job(tmp_path), ledger(tmp_path)).folder
    (file,) = (tmp_path / "keys").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    secret = file.read_text().strip()
    for path in out.iterdir():
        content = path.read_bytes()
        assert secret.encode() not in content and bytes.fromhex(secret) not in content, path.name
    named = pd.read_csv(out / "data.csv")["patient"]
    assert named.str.fullmatch("[0-9a-f]{32}").all() and named.is_unique


def test_rotation_gives_new_names_and_an_earlier_key_the_old_ones(tmp_path: Path) -> None:
    def names(output: str, *, rotate: bool = False, **changes: Any) -> set[str]:
        made = anonymizing.run(job(tmp_path, output=output, **changes), ledger(tmp_path), rotate=rotate)
        (told,) = [column["key"] for column in made.checked.description["columns"] if "key" in column]
        versions.append(told["version"])
        return set(pd.read_csv(made.folder / "data.csv")["patient"])

    versions: list[int] = []
    first, same, rotated = names("a"), names("b"), names("c", rotate=True)
    earlier = names("d", pseudonyms={**NAMES, "version": 1})
    other = names("e", pseudonyms={**NAMES, "recipient": "ministry"})
    assert versions == [1, 1, 2, 1, 1]
    assert first == same == earlier and not first & rotated and not first & other
    with pytest.raises(JobError, match="take one of them out"):
        names("f", rotate=True, pseudonyms={**NAMES, "version": 1})


def test_keys_that_others_may_read_or_that_would_leave_are_refused(tmp_path: Path) -> None:
    anonymizing.run(job(tmp_path), ledger(tmp_path))
    (file,) = (tmp_path / "keys").iterdir()
    file.chmod(0o640)
    for verb in (anonymizing.plan, lambda one: anonymizing.run(one, ledger(tmp_path))):
        with pytest.raises(JobError, match=r"study.lab.1.key: others may read"):
            verb(job(tmp_path, output="again"))
    assert not (tmp_path / "again.held").exists()
    for inside in ("out", "out/keys", "./x/../out/keys"):
        with pytest.raises(JobError, match="below the output"):
            job(tmp_path, pseudonyms={**NAMES, "keys": inside})


# Bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "reads version 1"),
        ({"budget": {"epsilon": 1, "delta": 1e-6}}, "anonymized records have no epsilon"),
        ({"k": 1}, "k: 1 is less than the minimum of 2"),
        ({"sensitive": {"age": {"distinct_l": 2}, "ill": {"distinct_l": 2}}}, "quasi_identifiers and sensitive"),
        ({"handling": {"labels": ["Synthetic data"]}}, "is not true of real records"),
        ({"quasi_identifiers": {"age": {"intervals": {"widths": [10]}, "suppress": True}}}, "quasi_identifiers.age"),
        ({"suppression": 1}, "suppression"),
        ({"schema": None}, "no schema"),
        ({"data": {"path": "postgresql://me:secret@host/x"}}, "is a URL"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message) as raised:
        job(tmp_path, **changes)
    assert "secret" not in str(raised.value)


def test_what_these_data_cannot_give_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="nearest k that can be had is 200"):
        anonymizing.run(job(tmp_path, k=201, microaggregate=None, keep=["cost"]), ledger(tmp_path))
    with pytest.raises(JobError, match="no levels meet"):
        anonymizing.run(job(tmp_path, sensitive={"ill": {"distinct_l": 4}}), ledger(tmp_path))
    asked = job(tmp_path)
    (tmp_path / "patients.csv").write_text((tmp_path / "patients.csv").read_text().replace(",severe", ",secretive"))
    with pytest.raises(DataError, match=r"patients.csv.*column ill: .* not declared") as raised:
        anonymizing.run(asked, ledger(tmp_path))
    assert "secretive" not in str(raised.value)
    (tmp_path / "patients.csv").write_text("patient,age,zip,smoker,seen,cost,ill\n")
    with pytest.raises(JobError, match="no records"):
        anonymizing.run(asked, ledger(tmp_path))
    assert not list(tmp_path.glob("out*"))


def test_a_person_with_several_rows_does_not_hide_among_himself(tmp_path: Path) -> None:
    from synthkit.data.schema import Unit

    asked = job(tmp_path)
    asked = replace(asked, schema=replace(asked.schema, unit=Unit("patient", 3)))
    assert anonymizing.run(asked, ledger(tmp_path))
    doubled = pd.concat([people(0, 200), people(0, 3)])
    doubled.to_csv(tmp_path / "patients.csv", index=False)
    with pytest.raises(DataError, match="column patient: 6 rows are of persons who have several"):
        anonymizing.run(replace(asked, output=tmp_path / "again"), ledger(tmp_path))


def test_other_commands_do_not_take_it_for_a_bundle(out: Path) -> None:
    from synthkit.release import bundle

    with pytest.raises(VerificationFailed):
        bundle.verify(out)
    assert call("sample", out, "--rows", "3", "-o", out.parent / "x.csv").exit_code != 0


def test_a_policy_is_named_on_the_command_line_too(tmp_path: Path) -> None:
    file = house(tmp_path, policy=None, **{"as": None, "for": None})
    denied = call("anonymize", file, "--plan")
    assert denied.exit_code == 1 and "true records stay" in denied.output
    under = ["--policy", tmp_path / "house.yaml", "--as", "steward", "--for", "research"]
    assert call("anonymize", file, "--plan", "--json", *under).exit_code == 0
    assert call("anonymize", file, "--plan", "--resume", *under).exit_code == 2
