"""The compliance report: a clean release has no findings, and every seeded violation is caught, by the rule that it breaks."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import markupsafe
import pandas as pd
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from synthkit.cli import main
from synthkit.data.schema import Boolean, Categorical, Datetime, Integer, Unit
from synthkit.documents import validate
from synthkit.errors import InputError, JobError, PolicyError, VerificationFailed
from synthkit.policy.packs.document import NAMES, Pack
from synthkit.policy.packs.identifiers import IDENTIFIERS
from synthkit.privacy import events
from synthkit.privacy.budget import Budget
from synthkit.release import bundle, compliance, log, sign, verify_alone
from synthkit.release.companions import companions
from synthkit.release.handling import Handling
from tests.release import compliant
from tests.release.compliant import clean, copied, late, rewritten, sealed
from tests.release.forging import refresh
from tests.release.test_companions import manifest_in, seal


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A house whose release meets everything; its log's heads are signed."""
    folder = tmp_path_factory.mktemp("compliant")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(log.KEY, str(folder / "house.key"))
        clean(folder)
        yield folder


@pytest.fixture(scope="module")
def release(place: Path) -> Path:
    return place / "release"


def states(folder: Path, *packs: str, trust: Path | None = None, **options: Any) -> dict[str, tuple[str, str]]:
    """By requirement (``pack/id``), its state and everything that was found."""
    made = compliance.report(folder, packs or NAMES, trust=trust, **options)
    return {
        f"{entry.pack.name}/{r.rule.name}": (r.state, "; ".join(e.found for e in r.evidence))
        for entry in made.audits
        for r in entry.requirements
    }


# The clean release


def test_the_clean_release_has_no_findings(place: Path, release: Path) -> None:
    made = compliance.report(release, trust=place / "keys.toml")
    assert [e for e in made.intact if e.state != "pass"] == []
    findings = [
        (a.pack.name, r.rule.name) for a in made.audits for r in a.requirements if r.state in ("fail", "not evaluated")
    ]
    assert findings == [] and made.complete and not made.failed
    assert sum(len(a.requirements) for a in made.audits) > 80


def test_without_keys_nobody_answers_for_anything(release: Path) -> None:
    made = compliance.report(release)
    assert not made.failed and not made.complete
    for entry in made.audits:
        for r in entry.requirements:
            assert r.state != "attested" and not r.answers
            assert r.state == ("pass" if r.rule.human is None or (r.rule.human.when == "unknown" and r.rule.name != "re-identification-study") else "not evaluated")  # fmt: skip


# Seeded violations: identifiers. Each is planted in its own column, and its own rule must name that column.

SHA = hashlib.sha256(b"Ada Lovelace").hexdigest()
VALUES: dict[str, tuple[str, ...]] = {
    "names": ("Dr. Ada Lovelace", "Mrs. Mary Shelley"),
    "geography": ("12 North Main Street", "Columbus, OH 43215"),
    "dates": ("1961-03-14", "2024-11-02"),
    "phones": ("(555) 010-4477", "+49 30 901820"),
    "faxes": ("fax: 555-010-4478", "Fax 555 010 4479"),
    "emails": ("ada@example.org", "mary@example.org"),
    "social-security-numbers": ("219-09-9999", "457-55-5462"),
    "medical-record-numbers": ("MRN 00482913", "MRN 00482914"),
    "health-plan-numbers": ("1EG4-TE5-MK73", "1EG4TE5MK72"),
    "account-numbers": ("DE89 3704 0044 0532 0130 00", "4111 1111 1111 1111"),
    "licence-numbers": ("AB1234563", "licence no. 4482913"),
    "vehicle-numbers": ("1HGCM82633A004352", "1M8GDM9AXKP042788"),
    "device-numbers": ("00:1b:44:11:3a:b7", "(01)00844588003288"),
    "urls": ("https://example.org/~ada", "www.example.org"),
    "ip-addresses": ("192.0.2.17", "2001:db8::17"),
    "other": (str(uuid.UUID(int=7)), SHA),
}
SAYS = {"names": "name", "geography": "place", "dates": "date", "phones": "phone", "faxes": "fax", "emails": "email",
        "social-security-numbers": "social-security-number", "medical-record-numbers": "medical-record-number",
        "health-plan-numbers": "health-plan-number", "account-numbers": "account-number", "licence-numbers": "licence-number",
        "vehicle-numbers": "vehicle-number", "device-numbers": "device-number", "urls": "url", "ip-addresses": "ip-address",
        "biometrics": "biometric", "photographs": "face-photo", "other": "other-identifier"}  # fmt: skip
NAMED = {"names": "patient_name", "geography": "zip", "dates": "birthDate", "phones": "phone", "faxes": "fax", "emails": "e-mail",
         "social-security-numbers": "SSN", "medical-record-numbers": "mrn", "health-plan-numbers": "beneficiary",
         "account-numbers": "iban", "licence-numbers": "license", "vehicle-numbers": "plate", "device-numbers": "imei",
         "urls": "homepage", "ip-addresses": "ip", "biometrics": "fingerprint", "photographs": "photo", "other": "visitor_id"}  # fmt: skip
RULES = {"other": "other-identifiers"}  # where a rule is not called like its kind


def words(*values: str) -> Categorical:
    return Categorical(categories=values)


def test_there_are_eighteen_kinds() -> None:
    assert "".join(sorted(kind.letter for kind in IDENTIFIERS.values())) == "ABCDEFGHIJKLMNOPQR"
    assert set(SAYS) == set(NAMED) == set(IDENTIFIERS) == set(VALUES) | {"biometrics", "photographs"}


@pytest.fixture(scope="module")
def planted(release: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, tuple[str, str]]]:
    """Three careless releases: their columns say what they hold, or are named so, or hold values of that form."""
    folder = tmp_path_factory.mktemp("planted")
    columns: dict[str, dict[str, Any]] = {
        "declared": {f"x {kind}": (words("p", "q"), word, ("p", "q")) for kind, word in SAYS.items()},
        "named": {name: (words("p", "q"), None, ("p", "q")) for name in NAMED.values()},
        "formed": {f"x {kind}": (words(*values), "other", values) for kind, values in VALUES.items()},
    }
    return {
        way: states(rewritten(release, folder / way, **planted), "hipaa-safe-harbor")
        for way, planted in columns.items()
    }


IDENTIFYING = [
    *((way, kind) for way in ("declared", "named") for kind in IDENTIFIERS),
    *(("formed", kind) for kind in VALUES),
]


@pytest.mark.parametrize(("way", "kind"), IDENTIFYING, ids=[f"{way}-{kind}" for way, kind in IDENTIFYING])
def test_a_planted_identifier_is_caught(planted: dict[str, dict[str, tuple[str, str]]], way: str, kind: str) -> None:
    state, found = planted[way][f"hipaa-safe-harbor/{RULES.get(kind, kind)}"]
    column = NAMED[kind] if way == "named" else f"x {kind}"
    assert state == "fail" and f"visits.{column}" in found
    assert not any(value in found for value in VALUES.get(kind, ())), "no value is quoted"


# Seeded violations: everything else. Each says what it does to the release, and which rule must notice.

Change = Callable[[Path, Path, Path], Path]
HIPAA, GDPR, NIST, DRB, CHINA, ACT = (
    "hipaa-safe-harbor",
    "gdpr",
    "nist-sp-800-226",
    "nist-sp-800-188",
    "china",
    "eu-ai-act-50",
)


def column(name: str, kind: Any, holds: str | None, *values: Any) -> Change:
    """A further column."""
    return lambda release, place, folder: rewritten(release, folder, **{name: (kind, holds, values)})


def facts(**changes: Any) -> Change:
    """Other facts; a value may be a function of the former one."""

    def changed(found: bundle.Facts) -> bundle.Facts:
        return replace(found, **{k: v(getattr(found, k)) if callable(v) else v for k, v in changes.items()})

    return lambda release, place, folder: rewritten(release, folder, changed)


def handled(**changes: Any) -> Change:
    return facts(handling=lambda found: replace(found, **changes))


def stated(statement: str, **options: Any) -> Change:
    """Everybody stated what they must, but this one thing only so."""

    def change(release: Path, place: Path, folder: Path) -> Path:
        copied(release, folder)
        path = folder / verify_alone.ATTESTATIONS
        lines = [x for x in path.read_text().splitlines() if verify_alone.read_statement(x).statement != statement]
        path.write_text("".join(f"{line}\n" for line in lines))
        if options:
            compliant.state(folder, place, lambda one: one == statement, **options)
        return folder

    return change


def by_a_stranger(statement: str, role: str) -> Change:
    def change(release: Path, place: Path, folder: Path) -> Path:
        stated(statement)(release, place, folder)
        key = folder.with_suffix(".key")
        sign.new_key(key, "dora", (role,))
        sign.attest(folder, sign.read_key(key), role, statement)
        return folder

    return change


def in_another_role(release: Path, place: Path, folder: Path) -> Path:
    stated("hipaa-very-small-risk")(release, place, folder)
    sign.attest(folder, sign.read_key(place / "carl.key"), "statistical-expert", "hipaa-very-small-risk")
    return folder


def of_another_bundle(release: Path, place: Path, folder: Path) -> Path:
    rewritten(release, folder)
    shutil.copy(release / verify_alone.ATTESTATIONS, folder)
    return folder


def unlogged(release: Path, place: Path, folder: Path) -> Path:
    copied(release, folder)
    (folder / verify_alone.PROOF).unlink()
    return folder


def unapproved(release: Path, place: Path, folder: Path) -> Path:
    """Nobody's signature is there."""
    copied(release, folder)
    (folder / verify_alone.ATTESTATIONS).unlink()
    return folder


OLD = timedelta(days=-2)
DAY = {"days": 1, "now": datetime.now(UTC) + OLD}
VIOLATIONS: dict[str, tuple[Change, str, str, str]] = {
    "age 93": (column("years", Integer(min=0, max=99), "age", 93), f"{HIPAA}/ages", "fail", "goes beyond 89"),
    "age 93 that nobody declared": (column("age at visit", Integer(min=0, max=99), None, 93), f"{HIPAA}/ages", "fail", "beyond 89"),
    "an age group of 95 to 99": (column("group", words("0-89", "90-94", "95-99"), "age", "0-89"), f"{HIPAA}/ages", "fail", "merge them"),
    "two open age groups": (column("group", words("0-89", "90+", "over 95"), "age", "90+"), f"{HIPAA}/ages", "fail", "merge them"),
    "an age in words": (column("note", words("fell", "94 years old"), "other", "fell"), f"{HIPAA}/ages", "fail", "tell an age"),
    "a small ZIP3": (column("zip3", words("036", "432"), "zip3", "036"), f"{HIPAA}/small-zip3", "fail", "036"),
    "a ZIP3 that only the census of 2010 calls small": (column("zip3", words("369", "432"), "zip3", "432"), f"{HIPAA}/small-zip3", "fail", "369"),
    "a small ZIP3 as a number": (column("z3", Integer(min=0, max=999), "zip3", 36), f"{HIPAA}/small-zip3", "fail", "036"),
    "a small ZIP3 that nobody declared": (column("zip3", words("821"), None, "821"), f"{HIPAA}/small-zip3", "fail", "821"),
    "five digits where three may be": (column("zip3", words("43215"), "zip3", "43215"), f"{HIPAA}/small-zip3", "fail", "not three digits"),
    "a column of dates": (column("seen", Datetime(min="2020-01-01", max="2020-12-31"), "other", pd.Timestamp("2020-05-05")), f"{HIPAA}/dates", "fail", "finer than a year"),
    "months": (column("month", words("2024-03", "2024-04"), "other", "2024-03"), f"{HIPAA}/dates", "fail", "of that form"),
    "a day in words": (column("when", words("14 March", "2 May"), "other", "2 May"), f"{HIPAA}/dates", "fail", "of that form"),
    "a code for every row": (column("remark", words(*(f"r{k}x" for k in range(200))), "other", *(f"r{k}x" for k in range(200))), f"{HIPAA}/other-identifiers", "fail", "a value of its own"),
    "an unkeyed hash": (column("who", words(SHA), "other", SHA), f"{HIPAA}/no-derived-codes", "fail", "form of a hash"),
    "an unkeyed hash, pseudonymised": (column("who", words(SHA[:32]), "quasi", SHA[:32]), f"{GDPR}/no-unkeyed-hashes", "fail", "form of a hash"),
    "a hash in base64": (column("who", words("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="), "other", "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="), f"{CHINA}/no-plain-hashes", "fail", "form of a hash"),
    "a hash that was declared, and not drawn": (column("who", words("a", SHA), "other", "a"), "ico/pseudonyms", "fail", "1 value of the form"),
    "a column of which nobody says what it holds": (column("note", words("a", "b"), None, "a"), f"{HIPAA}/free-text", "not evaluated", "visits.note"),
    "a direct identifier in the inventory": (column("caller", words("a", "b"), "phone", "a"), f"{GDPR}/no-direct-identifiers", "fail", "visits.caller"),
    "a row is protected, not a person": (facts(schema=lambda s: replace(s, unit=Unit()), budget=lambda b: Budget(b.epsilon, b.delta, b.adjacency)), f"{NIST}/unit", "not evaluated", "nobody said"),
    "a seed that is known": (facts(seeded=True), f"{NIST}/randomness", "fail", "knows the seed"),
    "no guarantee at all": (facts(seeded=True), f"{NIST}/epsilon", "fail", "no finite epsilon"),
    "no limits are named": (facts(not_covered=()), f"{NIST}/limits", "fail", "not stated"),
    "no figure of quality": (facts(evidence=()), f"{NIST}/utility", "fail", "not stated"),
    "a bound that is too weak": (facts(budget=lambda b: replace(b, epsilon=9.0), parts=lambda parts: tuple(replace(p, charges=tuple(replace(c, event=events.from_json({"kind": "gaussian", "noise_multiplier": 1.0})) for c in p.charges[:1])) for p in parts)), f"{GDPR}/singling-out", "not evaluated", "weaker than 90%"),
    "no retention": (handled(retention_days=None), f"{NIST}/retention", "fail", "not stated"),
    "no recipients": (handled(recipients=None), f"{DRB}/sharing-model", "fail", "not stated"),
    "no producer": (handled(producer=None), f"{CHINA}/producer", "fail", "missing in"),
    "no producer in the AI Act's mark": (handled(producer=None), f"{ACT}/producer", "fail", "missing in"),
    "no policy": (facts(policy=None), "ico/who-is-responsible", "fail", "no policy"),
    "no purpose": (facts(policy=lambda p: {**p, "for": "any"}), f"{CHINA}/purpose", "fail", "none is named"),
    "an expired attestation": (stated("hipaa-very-small-risk", **DAY), "hipaa-expert/very-small-risk", "fail", "expired on"),
    "an expired assessment": (stated("identifiability-assessment", **DAY), "ico/review-date", "fail", "expired on"),
    "a missing attestation": (stated("hipaa-no-actual-knowledge"), f"{HIPAA}/no-actual-knowledge", "not evaluated", "nobody states it"),
    "a missing impact assessment": (stated("pipl-impact-assessment"), f"{CHINA}/impact-assessment", "not evaluated", "nobody states it"),
    "an attestation of another bundle": (of_another_bundle, "hipaa-expert/very-small-risk", "fail", "about another bundle"),
    "an approval of another bundle": (of_another_bundle, f"{DRB}/review-board", "fail", "about another bundle"),
    "an attestation by a stranger": (by_a_stranger("ai-act-50-scope", "compliance-officer"), f"{ACT}/scope", "fail", "not signed by a key that is trusted"),
    "an attestation in somebody else's role": (in_another_role, "hipaa-expert/very-small-risk", "fail", "not signed by a key that is trusted in that role"),
    "a missing signature": (unapproved, f"{DRB}/review-board", "not evaluated", "nobody states it"),
}  # fmt: skip


def test_there_are_sixty_and_more() -> None:
    assert len(IDENTIFYING) + len(VIOLATIONS) + len(FORGED) >= 60
    assert {rule.partition("/")[0] for _, rule, _, _ in VIOLATIONS.values()} == set(NAMES)


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_seeded_violation_is_caught(name: str, place: Path, release: Path, tmp_path: Path) -> None:
    change, rule, state, told = VIOLATIONS[name]
    folder = change(release, place, tmp_path / "forged")
    found = states(folder, rule.partition("/")[0], trust=place / "keys.toml")[rule]
    assert found[0] == state and told in found[1], found


# Seeded violations: what is not intact is not reported on


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """A manifest that was changed, and everything else made to fit it, as a careful forger would."""

    def forge(folder: Path) -> None:
        manifest = manifest_in(folder)
        change(manifest)
        refresh(folder, manifest)
        seal(folder, manifest)

    return forge


def unlabelled(folder: Path) -> None:
    table = pyarrow.parquet.read_table(folder / "data.parquet")
    pyarrow.parquet.write_table(table.replace_schema_metadata({}), folder / "data.parquet")
    manifest = manifest_in(folder)
    manifest["files"]["data.parquet"] = bundle._describe(folder / "data.parquet")
    for name, content in companions(manifest).items():
        (folder / name).write_bytes(content)
        manifest["files"][name] = bundle._describe(folder / name)
    seal(folder, manifest)


FORGED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "epsilon was edited": (edited(lambda m: m["guarantee"].update(epsilon=0.1)), "cost epsilon"),
    "epsilon of a part was edited": (edited(lambda m: m["parts"][0].update(epsilon=0.1)), "it states 0.1"),
    "a read was taken off the list": (edited(lambda m: m["parts"][0]["charges"].pop()), "cost epsilon"),
    "noise was edited": (
        edited(lambda m: m["parts"][0]["charges"][0]["event"].update(noise_multiplier=1.0)),
        "cost epsilon",
    ),
    "delta was edited": (edited(lambda m: m["guarantee"].update(delta=1e-9)), "delta"),
    "the unit is missing": (edited(lambda m: m["guarantee"].pop("unit")), "'unit' is a required property"),
    "the unit was edited": (edited(lambda m: m["guarantee"].update(unit="household")), "unit"),
    "the label is missing": (unlabelled, "does not carry the manifest's label"),
    "the sidecar is missing": (lambda folder: (folder / "label.json").unlink(), "missing: label.json"),
    "the mark is missing": (edited(lambda m: m["handling"].update(labels=["draft"])), "does not carry the label"),
    "an internal figure": (edited(lambda m: m["evidence"][0].update(payment="internal")), "internal"),
    "a file was added": (lambda folder: (folder / "keys.txt").write_text("secret"), "not in the manifest"),
    "a row was edited": (lambda folder: (folder / "data.csv").write_text("age\n1\n"), "was changed"),
    "a statement is damaged": (lambda folder: (folder / verify_alone.ATTESTATIONS).write_text("{}\n"), "line 1"),
}


@pytest.mark.parametrize("name", FORGED)
def test_nothing_is_reported_of_what_is_not_intact(name: str, place: Path, release: Path, tmp_path: Path) -> None:
    change, told = FORGED[name]
    change(copied(release, tmp_path / "forged"))
    with pytest.raises(VerificationFailed, match=re.escape(told)):
        compliance.report(tmp_path / "forged", trust=place / "keys.toml")


@pytest.mark.parametrize(
    ("change", "told"), [(unapproved, "approved by 0 of the 1 needed"), (unlogged, "log.json is missing")]
)
def test_gate_signatures_and_log_are_looked_at(
    change: Change, told: str, place: Path, release: Path, tmp_path: Path
) -> None:
    made = compliance.report(change(release, place, tmp_path / "forged"), ["gdpr"], trust=place / "keys.toml")
    compliance.write(made, tmp_path / "report")
    page = (tmp_path / "report/gdpr.html").read_text("utf-8")
    assert 'verdict bad" role="alert"' in page and "place in the log: fail" in page
    assert told in (tmp_path / "report/index.html").read_text("utf-8")
    assert made.failed and [(e.state, told in e.found) for e in made.intact] == [
        ("pass", False),
        ("pass", False),
        ("fail", True),
    ]


def test_what_is_held_is_reported_and_not_complete(place: Path, release: Path, tmp_path: Path) -> None:
    held = rewritten(release, tmp_path / "held")
    compliant.state(held, place)
    made = compliance.report(held, trust=place / "keys.toml")
    assert not made.failed and not made.complete and made.intact[-1].state == "not evaluated"
    assert all(entry.complete for entry in made.audits)
    assert compliance.report(sealed(held, place), trust=place / "keys.toml").complete


# What does not matter


def test_a_machine_that_cannot_know_lets_people_answer_and_no_more(place: Path, release: Path, tmp_path: Path) -> None:
    folder = rewritten(
        release,
        tmp_path / "undeclared",
        note=(words("a", "b"), None, ("a",)),
        caller=(words("p", "q"), "phone", ("p",)),
        flag=(Boolean(), None, (True,)),
    )
    key = sign.read_key(place / "dora.key")
    for statement in ("hipaa-a-names", "hipaa-d-phones"):
        sign.attest(folder, key, "privacy-officer", statement, days=30)
    found = states(folder, HIPAA, trust=place / "keys.toml")
    assert found[f"{HIPAA}/names"][0] == "attested" and "dora" in found[f"{HIPAA}/names"][1]
    assert found[f"{HIPAA}/emails"][0] == "not evaluated" and "visits.flag" not in found[f"{HIPAA}/emails"][1]
    assert found[f"{HIPAA}/phones"][0] == "fail", "no statement outweighs what was found"


def test_statements_expire_by_the_clock(place: Path, release: Path) -> None:
    made = compliance.report(release, ["hipaa-expert"], trust=place / "keys.toml", now=late())
    assert made.failed and made.intact[-1].state == "fail"
    assert {r.state for r in made.audits[0].requirements if r.rule.by == "human"} == {"fail"}


def test_a_model_in_the_bundle_may_draw_what_was_not_drawn(release: Path, tmp_path: Path) -> None:
    facts = compliant.facts_of(manifest_in(release))
    years = Integer(min=0, max=99)
    schema = replace(
        facts.schema, columns={**facts.schema.columns, "years": years}, holds={**facts.schema.holds, "years": "age"}
    )  # type: ignore[arg-type, union-attr]
    table = pd.read_parquet(release / "data.parquet").assign(years=50)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.json").write_text("{}")
    for name, model, state in (("alone", None, "pass"), ("with", tmp_path / "model", "fail")):
        bundle.write(tmp_path / name, replace(facts, schema=schema), table, figures=(), model=model)
        assert states(tmp_path / name, HIPAA)[f"{HIPAA}/ages"][0] == state


# Packs that are named


def test_packs_are_named_or_files(release: Path, tmp_path: Path) -> None:
    text = Path(compliance.__file__).parents[1].joinpath("policy/packs/ico.yaml").read_text("utf-8")
    own = tmp_path / "own.yaml"
    own.write_text(text.replace("pack: ico", "pack: own").replace("accuracy: 0.9", "accuracy: 0.6"), encoding="utf-8")
    made = compliance.report(release, ["ico", own])
    assert [a.pack.name for a in made.audits] == ["ico", "own"]
    assert [a.requirements[0].state for a in made.audits] == ["pass", "not evaluated"]
    own.write_text(text.replace("2025-03-28", "2031"), encoding="utf-8")
    with pytest.raises(PolicyError, match="edition '2031' of ICO, Anonymisation guidance is not known"):
        compliance.report(release, [own])
    with pytest.raises(PolicyError, match="did you mean 'gdpr'"):
        compliance.report(release, ["gdrp"])


def test_two_packs_of_one_name_are_refused(release: Path, tmp_path: Path) -> None:
    own = tmp_path / "ico.yaml"
    own.write_text(Path(compliance.__file__).parents[1].joinpath("policy/packs/ico.yaml").read_text("utf-8"))
    with pytest.raises(JobError, match="two packs are called 'ico'"):
        compliance.report(release, ["ico", own])


# Pages and the command


@pytest.fixture(scope="module")
def written(place: Path, release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "report"
    compliance.write(compliance.report(release, trust=place / "keys.toml"), folder)
    return folder


def test_a_page_for_each_pack_and_the_same_for_machines(written: Path) -> None:
    document = json.loads((written / "compliance.json").read_bytes())
    validate(document, "release/compliance.v1.json", source="compliance.json", error=InputError)
    assert sorted(p.name for p in written.iterdir()) == sorted(
        ["compliance.json", "index.html", *(f"{n}.html" for n in NAMES)]
    )
    for pack in document["packs"]:
        page = (written / f"{pack['pack']}.html").read_text("utf-8")
        assert "no legal advice" in page and "<script" not in page and "default-src 'none'" in page
        for requirement in pack["requirements"]:
            assert f'id="{requirement["id"]}"' in page and requirement["law_edition"] in page
            assert str(markupsafe.escape(requirement["citation"])) in page
        assert not re.search(r'(?:src|href)="(?!#|index\.html)', page), "a page loads nothing"
    attested = next(r for p in document["packs"] for r in p["requirements"] if r["id"] == "very-small-risk")
    (answer,) = attested["attested_by"]
    assert answer["who"] == "emil" and answer["as"] == "statistical-expert" and answer["until"] > document["created"]


def test_a_citation_that_nobody_compared_says_so_on_its_face(written: Path) -> None:
    document = json.loads((written / "compliance.json").read_bytes())
    told = {(p["pack"], r["id"]): r["citation"] for p in document["packs"] for r in p["requirements"]}
    assert told["hipaa-expert", "very-small-risk"].startswith("citation compared with the Code of Federal Regulations")
    assert told["gdpr", "inference"] == "no comparison of the citation with the primary text is on record"
    compared = [where for where, text in told.items() if text.startswith("citation compared with ")]
    assert 10 <= len(compared) < len(told)
    assert all(text.startswith(("citation compared with ", "no comparison of the citation")) for text in told.values())


def test_names_from_outside_are_escaped(release: Path, tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"
    compliance.write(
        compliance.report(rewritten(release, tmp_path / "x", **{name: (words("a"), None, ("a",))})), tmp_path / "r"
    )
    page = (tmp_path / "r/hipaa-safe-harbor.html").read_text("utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page


def command(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return str(done.output)


def test_the_command_line(place: Path, release: Path, tmp_path: Path) -> None:
    told = command(
        "report", "compliance", release, "--trust", place / "keys.toml", "-o", tmp_path / "all", "--complete"
    )
    assert "held against 8 packs. No legal advice" in told and "not evaluated" not in told
    told = command("report", "compliance", release, "--pack", "gdpr", "-o", tmp_path / "gdpr")
    assert "not evaluated reasonably-likely: stated, and there are no keys to hold it against (--trust)" in told
    command("report", "compliance", release, "--pack", "gdpr", "-o", tmp_path / "more", "--complete", code=1)
    shown = json.loads(command("report", "compliance", release, "--pack", "ico", "-o", tmp_path / "j", "--json"))
    assert shown["packs"][0]["pack"] == "ico" and shown["failed"] is False
    told = command("report", "compliance", release, "--pack", "ico", "-o", tmp_path / "j", code=2)
    assert "exists" in told
    forged = handled(producer=None)(release, place, tmp_path / "forged")
    told = command("report", "compliance", forged, "--pack", "china", code=1)
    assert "fail          producer: missing in data.parquet, label.json" in told
    assert (tmp_path / "forged.compliance/china.html").exists()
    told = command("report", "compliance", release, "-o", release / "inside", code=2)
    assert "lies in the bundle" in told
    told = command("report", "compliance", tmp_path / "nowhere", code=1)
    assert "no such folder" in told
    at = (datetime.now(UTC) + timedelta(days=400)).strftime("%Y-%m-%d")
    told = command("report", "compliance", release, "--pack", "hipaa-expert", "--trust", place / "keys.toml", "--at", at,
                   "-o", tmp_path / "late", code=1)  # fmt: skip
    assert "expired on" in told


def test_every_pack_says_what_it_is() -> None:
    for name in NAMES:
        pack = Pack.packaged(name)
        assert pack.name == name and "no legal advice" in pack.advice.casefold()
        assert all(rule.source and rule.law.edition and rule.text.endswith(".") for rule in pack.rules)


def test_handling_is_as_it_was_written(release: Path) -> None:
    assert Handling.from_dict(manifest_in(release)["handling"]).producer == "Clinic of Xanten"


def test_the_commands_of_the_page_run(
    place: Path, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("release", "keys.toml", "dora.key"):
        (shutil.copytree if (place / name).is_dir() else shutil.copy)(place / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    text = Path(__file__).parents[2].joinpath("docs/compliance.md").read_text("utf-8")
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S) for line in block.splitlines()]
    assert len(lines) == 5
    for line in lines:
        shutil.rmtree(tmp_path / "release.compliance", ignore_errors=True)
        command(*shlex.split(line)[1:])
    pd.read_parquet("release/data.parquet").to_parquet("copy.parquet")
    assert command("label", "check", "copy.parquet", "--against", "release", code=1) in text
