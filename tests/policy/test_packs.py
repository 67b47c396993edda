"""Packs: read strictly, weighed by what is known. What is missing never passes, and no internal figure is looked at."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from synthkit.documents import json_schema
from synthkit.errors import PolicyError
from synthkit.evidence import Evidence
from synthkit.meanings import HOLDS
from synthkit.policy.gate import Attestation
from synthkit.policy.packs import identifiers
from synthkit.policy.packs.audit import audit
from synthkit.policy.packs.checks import CHECKS, STATED
from synthkit.policy.packs.document import NAMES, Pack, known_laws
from synthkit.policy.packs.dossier import Column, Dossier
from synthkit.policy.packs.identifiers import IDENTIFIERS, hashed, problems, too_old

NOW = datetime(2026, 11, 28, tzinfo=UTC)
BUNDLE, OTHER = "a" * 64, "b" * 64
TEXT = """\
version: 1
pack: house
title: House rules
about: What the house asks.
advice: This is no legal advice.
laws: {ico-anonymisation: "2025-03-28"}
rules:
  - id: first
    text: A rule.
    law: ico-anonymisation
    section: somewhere
"""
COLUMNS = (Column("t", "ward", "categorical", "other", frozenset({"north"}), frozenset({"north", "south"}), rows=9),)


def pack(rule: str, text: str = TEXT) -> Pack:
    return Pack.parse(text + "".join(f"    {line}\n" for line in rule.splitlines()), source="house.yaml")


def dossier(**changes: Any) -> Dossier:
    values: dict[str, Any] = {
        "what": "table",
        "bundle": BUNDLE,
        "facts": {},
        "epsilon": None,
        "columns": COLUMNS,
        "now": NOW,
    }
    return Dossier(**{**values, "believed": lambda a: a.signature == b"good", **changes})


def stated(**changes: Any) -> Attestation:
    values: dict[str, Any] = {"who": "dora", "role": "officer", "statement": "done", "bundle": BUNDLE,
                              "expires": NOW + timedelta(days=1), "signature": b"good"}  # fmt: skip
    return Attestation(**{**values, **changes})


def weighed(rule: str, **changes: Any) -> tuple[str, str]:
    (requirement,) = audit(pack(rule), dossier(**changes)).requirements
    return requirement.state, "; ".join(e.found for e in requirement.evidence)


# Reading


def test_packaged_packs_are_consistent() -> None:
    used: set[str] = set()
    checks: set[str] = set()
    for name in NAMES:
        found = Pack.packaged(name)
        used |= {title for title, (law, _) in known_laws().items() if law in {x.title for x in found.laws.values()}}
        checks |= {check.name for rule in found.rules for check in rule.machine}
        assert "no legal advice" in found.advice
    assert used == set(known_laws()) and checks == set(CHECKS), "nothing is declared that no pack uses"


def test_packs_are_where_their_names_say() -> None:
    folder = Path(identifiers.__file__).parent
    assert {path.stem for path in folder.glob("*.yaml")} == {*NAMES, "laws", "zip3"}


def test_what_a_schema_may_say_is_what_is_known() -> None:
    assert json_schema("data/schema.v1.json")["properties"]["holds"]["additionalProperties"]["enum"] == list(HOLDS)
    assert set(json_schema("data/image_schema.v1.json")["properties"]["holds"]["enum"]) <= set(HOLDS)
    assert set().union(*(kind.holds for kind in IDENTIFIERS.values())) <= set(HOLDS)
    direct = {word for word, kind in HOLDS.items() if kind == "direct"}
    assert direct <= set().union(*(kind.holds for kind in IDENTIFIERS.values()))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("version: 1", "version: 2", "version is 2; this synthkit reads version 1"),
        ("version: 1", "version: true", "version is True"),
        ('"2025-03-28"', '"2026-01-01"', "edition '2026-01-01' of ICO, Anonymisation guidance is not known"),
        ("laws: {ico-anonymisation", "laws: {ico", "unknown law; known are"),
        ("This is no legal advice.", "Trust this.", "advice"),
        ("law: ico-anonymisation", "law: gdpr", "is not one of the pack's laws"),
        ('"2025-03-28"}', '"2025-03-28", wp216: "2014-04-10"}', "no rule comes from wp216"),
        ("title: House rules", "title: House rules\ntitle: Other", "appears twice"),
        ("title: House rules", "titel: House rules", "unexpected|required"),
        ("version: 1", "version: 1\ncolour: red", "colour"),
    ],
)
def test_a_pack_that_cannot_be_used_is_refused(old: str, new: str, told: str) -> None:
    assert old in TEXT
    with pytest.raises(PolicyError, match=told):
        pack("machine: [{check: no-hashes}]", TEXT.replace(old, new))


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("applies: [table]", "not valid|anyOf|under any|machine"),
        ("machine: [{check: no-hash}]", r"house\.yaml:8: unknown check 'no-hash'; did you mean 'no-hashes'"),
        ("machine: [{check: no-identifiers}]", "is told nothing; it must be told of"),
        ("machine: [{check: no-identifiers, of: hats}]", "'hats' is not known"),
        ("machine: [{check: no-hashes, of: names}]", "is told of; it must be told nothing"),
        ("machine: [{check: bound, accuracy: 2}]", "must be a number above 0 and at most 1"),
        ("machine: [{check: bound, accuracy: high}]", "must be a number above 0"),
        ("machine: [{check: zip3, census: census-2000}]", "must be a list of words"),
        ("machine: [{check: zip3, census: [census-1900]}]", "'census-1900' is not known"),
        ("machine: [{check: no-hashes}]\nneed: any", "'need' is about several checks"),
        ("human: {states: done, as: [officer], when: unknown}", "there is no machine that could know"),
        ('human: {states: done, as: ["off*icer"], when: always}', "character that no name may have"),
        ("human: {states: done, as: [], when: always}", "non-empty|too short|should be"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused(rule: str, told: str) -> None:
    with pytest.raises(PolicyError, match=told):
        pack(rule)


def test_two_rules_of_one_name_are_refused() -> None:
    again = "  - {id: first, text: A rule., law: ico-anonymisation, section: x, machine: [{check: no-hashes}]}\n"
    with pytest.raises(PolicyError, match="a rule 'first' stands above already"):
        Pack.parse(TEXT + "    machine: [{check: no-hashes}]\n" + again, source="house.yaml")


# Weighing


@pytest.mark.parametrize("check", sorted(CHECKS))
def test_a_missing_check_never_passes(check: str) -> None:
    """On an empty dossier, no check passes, whatever it is told."""
    run, parameters = CHECKS[check]
    choices: dict[str, list[Any]] = {
        name: [[word] for word in p.known]
        if p.kind == "words"
        else list(p.known) or ([0.5] if p.kind == "number" else ["x"])
        for name, p in parameters.items()
    }
    empty = dossier(columns=(), facts={})
    for number in range(max([len(values) for values in choices.values()], default=1)):
        told = {name: values[number % len(values)] for name, values in choices.items()}
        assert run(empty, **told).state != "pass", told


def test_every_fact_is_missing_where_the_manifest_does_not_have_it() -> None:
    stubs: list[dict[str, Any]] = [{}, {"guarantee": {}}, {"parts": []}, {"handling": {}}, {"policy": None}]
    for what in STATED:
        for facts in stubs:
            state, found = weighed(f"machine: [{{check: stated, what: {what}}}]", facts=facts)
            assert state == "fail", (what, facts, found)


HUMAN = "human: {states: done, as: [officer], when: always}"
EITHER = "machine: [{check: inventory}]\nhuman: {states: done, as: [officer], when: unknown}"
BOTH = "machine: [{check: inventory}]\nhuman: {states: done, as: [officer], when: always}"
UNKNOWN = (replace(COLUMNS[0], holds=None),)
DIRECT = (replace(COLUMNS[0], holds="name"),)


@pytest.mark.parametrize(
    ("rule", "columns", "statements", "state"),
    [
        (HUMAN, COLUMNS, [stated()], "attested"),
        (HUMAN, COLUMNS, [], "not evaluated"),
        (HUMAN, COLUMNS, [stated(bundle=OTHER)], "fail"),
        (HUMAN, COLUMNS, [stated(expires=NOW)], "fail"),
        (HUMAN, COLUMNS, [stated(signature=b"bad")], "fail"),
        (HUMAN, COLUMNS, [stated(who="")], "fail"),
        (HUMAN, COLUMNS, [stated(role="intern")], "not evaluated"),
        (HUMAN, COLUMNS, [stated(statement="other")], "not evaluated"),
        (HUMAN, COLUMNS, [stated(bundle=OTHER), stated(expires=NOW), stated()], "attested"),
        (EITHER, COLUMNS, [], "pass"),
        (EITHER, UNKNOWN, [], "not evaluated"),
        (EITHER, UNKNOWN, [stated()], "attested"),
        (EITHER, UNKNOWN, [stated(bundle=OTHER)], "fail"),
        (EITHER, DIRECT, [stated()], "fail"),
        (BOTH, COLUMNS, [], "not evaluated"),
        (BOTH, COLUMNS, [stated()], "attested"),
        (BOTH, UNKNOWN, [stated()], "not evaluated"),
        (BOTH, DIRECT, [stated()], "fail"),
    ],
)
def test_what_people_may_answer_for(rule: str, columns: Any, statements: Any, state: str) -> None:
    assert weighed(rule, columns=columns, statements=tuple(statements))[0] == state


def test_one_person_counts_once() -> None:
    rule = "human: {states: done, as: [officer], at_least: 2, when: always}"
    assert weighed(rule, statements=(stated(), stated())) == (
        "not evaluated",
        "1 of 2; dora, as officer, until 2026-11-29",
    )
    assert weighed(rule, statements=(stated(), stated(who="emil")))[0] == "attested"


def test_without_keys_a_statement_is_not_counted_and_an_old_one_fails() -> None:
    state, found = weighed(HUMAN, statements=(stated(),), believed=None)
    assert state == "not evaluated" and "no keys to hold it against" in found
    assert weighed(HUMAN, statements=(stated(expires=NOW),), believed=None)[0] == "fail"


def test_internal_figures_are_refused() -> None:
    with pytest.raises(PolicyError, match=r"risk\.x: internal figures are no evidence"):
        dossier(figures=(Evidence("risk.x", 0.0, None, "how", "internal"),))


RISK = "machine: [{check: risk, figure: risk.x, baseline: risk.y, at_most: 0.05}]"


@pytest.mark.parametrize(
    ("attack", "interval", "baseline", "state", "told"),
    [
        (0.02, (0.01, 0.03), 0.005, "pass", "at most 0.03"),
        (0.04, (0.02, 0.06), 0.005, "fail", "up to 0.06"),
        (0.02, None, 0.005, "not evaluated", "no interval"),
        (0.06, None, 0.005, "fail", "up to 0.06"),
        (0.02, (0.01, 0.03), 0.02, "not evaluated", "no evidence"),
        (float("nan"), (0.01, 0.03), 0.0, "not evaluated", "could not be computed"),
        (0.02, (0.01, float("nan")), 0.0, "not evaluated", "could not be computed"),
        (0.9, (0.8, 1.0), 0.1, "fail", "up to 1"),
        (0.02, (-0.01, 0.06), -0.2, "not evaluated", "too noisy to tell"),
        (0.06, (-0.01, 0.09), -0.2, "fail", "up to 0.09"),
    ],
)
def test_an_attack_is_evidence_where_it_beats_its_baseline(
    attack: float, interval: Any, baseline: float, state: str, told: str
) -> None:
    figures = (
        Evidence("risk.x", attack, interval, "how", "charged"),
        Evidence("risk.y", baseline, None, "how", "free"),
    )
    found = weighed(RISK, figures=figures)
    assert found[0] == state and told in found[1]
    assert weighed(RISK, figures=figures[:1])[0] == "not evaluated"


def test_two_intervals_that_overlap_are_no_evidence() -> None:
    attack = Evidence("risk.x", 0.03, (0.02, 0.04), "how", "charged")
    guessing = (Evidence("risk.y", 0.01, ends, "how", "charged") for ends in ((-0.01, 0.03), (-0.01, 0.015)))
    assert [weighed(RISK, figures=(attack, one))[0] for one in guessing] == ["not evaluated", "pass"]


def test_one_of_several_checks_may_be_enough_and_one_that_fails_decides() -> None:
    facts = {"guarantee": {"epsilon": 1.0, "delta": 1e-6, "unit": "row"}}
    both = "machine: [{check: bound, accuracy: 0.9}, {check: risk, figure: risk.x, baseline: risk.y, at_most: 0.05}]\nneed: "
    assert weighed(both + "any", facts=facts, epsilon=1.0)[0] == "pass"
    assert weighed(both + "all", facts=facts, epsilon=1.0)[0] == "not evaluated"
    assert weighed(both + "any", facts=facts, epsilon=0.5)[0] == "fail", "an edited epsilon"
    bad = (Evidence("risk.x", 0.9, (0.8, 1.0), "", "free"), Evidence("risk.y", 0.1, None, "", "free"))
    assert weighed(both + "any", facts=facts, epsilon=1.0, figures=bad)[0] == "fail"


def test_what_a_rule_does_not_apply_to_is_listed_apart() -> None:
    found = audit(pack("applies: [images]\nmachine: [{check: provenance}]"), dossier())
    assert found.requirements == () and [rule.name for rule in found.elsewhere] == ["first"]


# Identifiers


def texts(*values: str, name: str = "remark", holds: str | None = "other") -> Column:
    return Column("t", name, "categorical", holds, frozenset(values), frozenset(values), rows=9)


HARMLESS = (
    "I10", "E11.9", "C50.4", "30-39", "1990-1999", "2020", "1.5 mg", "10 mg/kg", "120/80", "3-4 times a week", "Never-married",
    "United States", "Prof-specialty", "Some college", "12th", "<=50K", "70,000 to 100,000", "v1.2.3", "A-B", "O+", "n/a", "12:30",
    "may", "March", "st", "Main", "www", "http", "MRN", "fax", "100 m", "5.5", "-0.25", "1,234", "phone call", "Dr", "IV", "deadbeef",
    "0123456789abcdef", "10115", "000-00-0000", "666-12-3456", "4111 1111 1111 1112", "DE89 3704 0044 0532 0130 01", "999.1.1.1",
    "1HGCM82633A004353", "BRCA1", "HLA-B27", "SARS-CoV-2", "12345678", "a@b", "::ffff",
)  # fmt: skip


@pytest.mark.parametrize("kind", IDENTIFIERS)
def test_harmless_values_are_no_identifiers(kind: str) -> None:
    found = [value for value in HARMLESS if problems([texts(value)], kind)]
    assert found in ([], ["::ffff"]), found  # an IPv6 address it is
    assert too_old([texts(*HARMLESS)]) == []


def test_harmless_names_of_columns_are_none() -> None:
    names = ("age_group", "drug name", "ward", "capacity", "hourly", "sex", "ICD10", "stage", "device type", "account type", "updated",
             "package", "lab value", "vaccination", "hours-per-week", "native-country", "race", "estimate", "plateau", "ipsilateral",
             "telemetry", "candidate", "teletherapy", "emailing", "facsimile", "cardiac", "idle", "town-like")  # fmt: skip
    columns = [texts("a", name=name, holds=None) for name in names]
    found = {kind: problems(columns, kind) for kind in IDENTIFIERS}
    assert {kind: words for kind, words in found.items() if words} == {"geography": [f"{columns[-1]} is named as if it held it; say in the schema what it holds ('holds')"]}  # fmt: skip


@pytest.mark.parametrize(
    "group", ["90+", "90 +", ">=90", "≥ 90", "90 and over", "90 or older", "over 89", "> 89", "90 years and older"]
)
def test_everybody_above_89_may_share_one_category(group: str) -> None:
    assert too_old([texts("0-17", "18-89", group, name="age", holds="age")]) == []
    assert too_old([texts("0-17", "18-89", group, "95+", name="age", holds="age")]) != []


@pytest.mark.parametrize(
    ("kind", "largest", "ceiling", "told"),
    [
        ("integer", 90, 90, 0),
        ("integer", 90, 99, 1),
        ("integer", 89, 99, 0),
        ("integer", 91, 91, 1),
        ("continuous", 90, 90, 1),
    ],
)
def test_a_number_may_be_top_coded_at_90(kind: str, largest: float, ceiling: float, told: int) -> None:
    assert len(too_old([Column("t", "age", kind, "age", largest=largest, ceiling=ceiling, rows=9)])) == told


def test_hashes_are_told_from_words() -> None:
    import hashlib

    for name in ("md5", "sha1", "sha224", "sha256", "sha384", "sha512"):
        digest = hashlib.new(name, b"Ada", usedforsecurity=False)
        assert hashed(digest.hexdigest()) and hashed(digest.hexdigest().upper()) and hashed(f" {digest.hexdigest()} ")
    assert hashed("$2b$12$KIXQJ9h1p7uJ3O9v1sYx6e") and not hashed("a" * 31) and not hashed("hello world")
