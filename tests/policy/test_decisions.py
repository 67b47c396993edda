"""The table: everything is decided as it says, and nothing hostile is ever allowed."""

from __future__ import annotations

import dataclasses
import math
import timeit
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthkit.errors import PolicyError
from synthkit.policy import cedar
from synthkit.policy import decide as deciding
from synthkit.policy.cases import check_cases, read_cases
from synthkit.policy.decide import decide, matches
from synthkit.policy.document import Policy
from synthkit.policy.facts import LARGEST, whole
from synthkit.policy.request import Request
from tests.policy.house import CELLS, DEFAULT, GOOD, HOSPITAL, OFFICE, ROOT, allowed

# One change each of a request that is allowed.
LIMITS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"epsilon": 0.001}, True),
    ({"epsilon": 1}, True),
    ({"epsilon": 0.9999}, True),
    ({"epsilon": 1.0001}, False),
    ({"epsilon": 1.0001, "purpose": "registered-study"}, True),
    ({"epsilon": 3.0, "purpose": "registered-study"}, True),
    ({"epsilon": 3.0001, "purpose": "registered-study"}, False),
    ({"epsilon": 3.0, "purpose": "clinical-research"}, False),
    ({"spent": 3.0}, True),
    ({"spent": 3.0001}, False),
    ({"spent": 5.0, "epsilon": 1.0, "purpose": "registered-study"}, True),
    ({"spent": 5.1, "epsilon": 1.0, "purpose": "registered-study"}, False),
    ({"spent": None, "total": 4.0}, True),
    ({"spent": None, "total": 4.0001}, False),
    ({"spent": None, "total": 0.0}, True),
    ({"delta": 1e-5}, True),
    ({"delta": 1.0000001e-5}, False),
    ({"delta": 0.0}, True),
    ({"rows": 1000}, True),
    ({"rows": 999}, False),
    ({"rows": 0}, False),
    ({"unit": "row", "unit_column": None}, False),
    ({"unit_column": "household"}, True),
    ({"schema": "allowed"}, False),
    ({"schema": "unreviewed"}, False),
    ({"adjacency": "replace-one"}, True),
    ({"epsilon": np.float64(1.0)}, True),
    ({"dataset": "hospital-visits-"}, True),
    ({"dataset": "hospital-visits-2025-q1"}, True),
]

HOSTILE: list[dict[str, Any]] = [
    {"epsilon": "1"},
    {"epsilon": "at most 1"},
    {"epsilon": True},
    {"epsilon": [1]},
    {"epsilon": Decimal(1)},
    {"epsilon": math.nan},
    {"epsilon": math.inf},
    {"epsilon": -math.inf},
    {"epsilon": -1.0},
    {"epsilon": -1e-9},
    {"epsilon": 1.0000001},
    {"epsilon": 1e300},
    {"epsilon": 10**400},
    {"epsilon": 2**63},
    {"epsilon": 2**64 + 1},
    {"epsilon": None},
    {"spent": -5.0},
    {"spent": math.nan},
    {"spent": math.inf},
    {"spent": 1e308},
    {"spent": "0"},
    {"spent": None},
    {"spent": 0.0, "total": 1.0},
    {"spent": None, "total": math.nan},
    {"spent": None, "total": -1.0},
    {"spent": None, "total": "1"},
    {"spent": None, "total": math.inf},
    {"delta": "1e-6"},
    {"delta": True},
    {"delta": math.nan},
    {"delta": -1e-9},
    {"delta": 1.5},
    {"delta": None},
    {"rows": "5000"},
    {"rows": 5000.0},
    {"rows": True},
    {"rows": -5000},
    {"rows": 2**64},
    {"rows": None},
    {"role": "steward "},
    {"role": "Steward"},
    {"role": "STEWARD"},
    {"role": "stewаrd"},
    {"role": "steward\u200b"},
    {"role": "ｓteward"},
    {"role": "any"},
    {"role": ""},
    {"role": None},
    {"role": ["steward"]},
    {"role": 'steward" || true || "'},
    {"role": "nobody"},
    {"role": "steward" * 100_000},
    {"role": "\ud800"},
    {"unit_column": "\ud800"},
    {"action": "Release"},
    {"action": "release "},
    {"action": "publish"},
    {"action": "any"},
    {"action": "*"},
    {"action": ["release"]},
    {"action": 'plan", Action::"release'},
    {"purpose": "Research"},
    {"purpose": "reseаrch"},
    {"purpose": "research "},
    {"purpose": "research.clinical-research"},
    {"purpose": "unheard-of"},
    {"purpose": "any"},
    {"purpose": ""},
    {"purpose": None},
    {"dataset": "Hospital-Visits-2025"},
    {"dataset": "hospital-visits"},
    {"dataset": "hospital-visits-*"},
    {"dataset": "*"},
    {"dataset": "hospital-visits-2025 "},
    {"dataset": "hospital-visits-\n2025"},
    {"dataset": "hospital-visits-\u202e2025"},
    {"dataset": "hospіtal-visits-2025"},
    {"dataset": "old-hospital-visits-2025"},
    {"dataset": "tumour-registry"},
    {"dataset": "Tumour-Registry"},
    {"dataset": "hospital-visits-" + "x" * 300},
    {"dataset": ""},
    {"dataset": None},
    {"adjacency": "Add-Or-Remove"},
    {"adjacency": 1},
    {"unit": "Person"},
    {"unit": "row"},
    {"unit": None, "unit_column": None},
    {"unit_column": None},
    {"unit_column": 7},
    {"schema": "Reviewed"},
    {"schema": True},
    {"schema": None},
]


def test_the_table_is_large_enough() -> None:
    assert len(CELLS) + len(LIMITS) >= 200
    assert len(HOSTILE) >= 40
    assert allowed()


@pytest.mark.parametrize("role", sorted({cell[1] for cell in CELLS}))
def test_every_cell_is_decided_as_the_table_says(role: str) -> None:
    wrong = [
        cell
        for cell in CELLS
        if cell[1] == role
        and allowed(dataset=cell[0], role=cell[1], purpose=cell[2], action=cell[3]) != cell[4]
    ]  # fmt: skip
    assert wrong == []


@pytest.mark.parametrize(("changes", "expected"), LIMITS, ids=str)
def test_limits_hold_to_the_last_digit(changes: dict[str, Any], expected: bool) -> None:
    assert allowed(**changes) == expected


@pytest.mark.parametrize("changes", HOSTILE, ids=ascii)
def test_nothing_hostile_is_allowed(changes: dict[str, Any]) -> None:
    assert not allowed(**changes)


@pytest.mark.parametrize("name", ["hospital", "statistics-office"])
def test_the_examples_decide_as_their_cases_say(name: str) -> None:
    policy = {"hospital": HOSPITAL, "statistics-office": OFFICE}[name]
    outcomes = check_cases(policy, read_cases(ROOT / f"policies/{name}.cases.yaml"))
    assert len(outcomes) > 20
    assert [str(outcome) for outcome in outcomes if not outcome.passed] == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"schema": "allowed"}, True),
        ({"schema": "unreviewed"}, False),
        ({"schema": "unreviewed", "action": "plan"}, True),
        ({"epsilon": math.inf}, False),
        ({"epsilon": math.inf, "action": "plan"}, True),
        ({"epsilon": 1e6, "rows": 1, "unit": "row", "unit_column": None}, True),
        ({"action": "draft"}, True),
        ({"dataset": "Kunden 2025 (Süd)"}, True),
        ({"dataset": "患者-2025"}, True),
        ({"role": "researcher"}, False),
        ({"purpose": "research"}, False),
        ({"action": "export"}, True),
        ({"action": "anonymize"}, False),
        ({"action": "anonymize", "epsilon": 0.0}, False),
    ],
    ids=str,
)
def test_without_a_policy_the_steward_may_release_what_has_a_guarantee(changes: dict[str, Any], expected: bool) -> None:
    assert allowed(DEFAULT, **{"purpose": "any", **changes}) == expected


def test_a_price_never_lets_true_records_leave() -> None:
    text = """
version: 1
name: priced
roles: {steward: }
datasets: {everything: "*"}
rules:
  - {allow: steward, to: [train, release, export], on: any, for: any, when: {epsilon: at most 1}}
"""
    priced = Policy.parse(text, source="priced.yaml")
    asked = {"purpose": "any", "epsilon": 0.5, "action": "anonymize"}
    assert allowed(priced, **{**asked, "action": "release"}) and not allowed(priced, **asked)
    with pytest.raises(PolicyError, match="anonymize has none"):
        Policy.parse(text.replace("export]", "anonymize]"), source="priced.yaml")
    named = (
        text + "  - {allow: steward, to: anonymize, on: any, for: any, require: {checks: {anonymity.k: at least 5}}}\n"
    )
    assert allowed(Policy.parse(named, source="named.yaml"), **asked)


# What forbids, forbids what looks alike

SECRETIVE = Policy.parse(
    """
version: 1
name: secretive
roles: {steward: , guest: }
datasets: {everything: "*", secrets: [secret-*, Geheim]}
rules:
  - {allow: steward, to: any, on: any, for: any}
  - {forbid: any, to: any, on: secrets, for: any}
""",
    source="secretive.yaml",
)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("open", True),
        ("secret", True),
        ("secret-1", False),
        ("SECRET-1", False),
        ("secret_1", False),
        ("sécret-1", False),
        ("secret\u20101", False),
        ("geheim", False),
        ("ｓecret-1", False),
        ("ѕесrеt-1", False),
    ],
)
def test_what_is_forbidden_is_forbidden_in_every_spelling(dataset: str, expected: bool) -> None:
    assert allowed(SECRETIVE, dataset=dataset, purpose="any") == expected


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("a", "a", True),
        ("a", "ab", False),
        ("a*", "a", True),
        ("*", "", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*c", "axxbxxc", True),
        ("a*b*c", "axxcxxb", False),
        ("a.c", "abc", False),
        ("*a*" * 40, "a" * 60 + "b", True),
        ("*a" * 60 + "b", "a" * 200, False),
    ],
)
def test_a_star_stands_for_any_characters(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) == expected


LIMITED = Policy.parse(
    """
version: 1
name: limited
roles: {steward: }
datasets: {everything: "*"}
rules:
  - {allow: any, to: any, on: any, for: any}
  - {forbid: any, to: release, on: any, for: any, when: {epsilon: above 3}}
  - {forbid: any, to: release, on: any, for: any, when: {unit: row, rows: below 500}}
  - {forbid: any, to: release, on: any, for: any, when: {schema: unreviewed}}
""",
    source="limited.yaml",
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"epsilon": 3.0}, True),
        ({"epsilon": 3.0001}, False),
        ({"epsilon": None}, False),
        ({"epsilon": math.inf}, False),
        ({"rows": 10}, True),
        ({"rows": 10, "unit": "row", "unit_column": None}, False),
        ({"rows": None, "unit": "row", "unit_column": None}, False),
        ({"rows": 10, "unit": None, "unit_column": None}, False),
        ({"rows": None, "unit": None, "unit_column": None}, False),
        ({"schema": "allowed"}, False),
        ({"schema": None}, False),
    ],
    ids=str,
)
def test_what_is_not_known_counts_against_the_request(changes: dict[str, Any], expected: bool) -> None:
    assert allowed(LIMITED, purpose="any", **changes) == expected


def test_names_with_quotes_are_names() -> None:
    policy = Policy.parse(
        """
version: 1
name: quotes
roles: {steward: }
datasets: {odd: 'a"b\\*) || (true'}
rules:
  - {allow: any, to: release, on: odd, for: any, when: {unit_column: 'id" || "" == "'}}
""",
        source="quotes.yaml",
    )
    odd, column = 'a"b\\7) || (true', 'id" || "" == "'
    assert allowed(policy, purpose="any", dataset=odd, unit_column=column)
    assert not allowed(policy, purpose="any", dataset=odd, unit_column="id")
    assert not allowed(policy, purpose="any", dataset="anything", unit_column=column)


# An error is a no

_OVERFLOW = """
@id("0") permit (principal, action, resource);
@id("1") forbid (principal, action in [Action::"release"], resource)
when { context has rows && context.rows * 9223372036854775807 > 0 };
"""


def test_a_rule_that_forbids_and_fails_is_a_no() -> None:
    """Cedar skips it and allows; we do not."""
    answer = cedar.assemble(_OVERFLOW, HOSPITAL).ask(Request(**GOOD))
    assert not answer.allowed and "overflow" in answer.errors[0]
    assert cedar.assemble(_OVERFLOW, HOSPITAL).ask(Request(**{**GOOD, "action": "plan"})).allowed


def test_a_decision_with_an_error_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "compiled", lambda policy: cedar.assemble(_OVERFLOW, policy))
    decision = decide(HOSPITAL, Request(**GOOD))
    assert not decision.allowed and "could not be evaluated" in decision.reasons[0]


@pytest.mark.parametrize(
    "policies",
    [
        '@id("0") permit (principal, action, resource);',
        '@id("1") permit (principal, action, resource); @id("2") permit (principal, action, resource);',
        '@id("1") forbid (principal, action, resource);',
        "permit (principal, action, resource);",
        "",
    ],
)
def test_two_evaluations_that_disagree_are_a_no(policies: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, "compiled", lambda policy: cedar.assemble(policies, policy))
    decision = decide(HOSPITAL, Request(**GOOD))
    assert not decision.allowed and "disagree" in decision.reasons[0]


def test_an_engine_that_breaks_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    import cedarpy

    def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(cedarpy, "is_authorized", breaks)
    decision = decide(HOSPITAL, Request(**GOOD))
    assert not decision.allowed and "out of order" in decision.reasons[0]


def test_what_does_not_fit_the_schema_does_not_compile() -> None:
    with pytest.raises(PolicyError, match="does not compile"):
        cedar.assemble("permit (principal, action, resource) when { context.epsilon <= 1 };", HOSPITAL)


@pytest.mark.parametrize(
    "changes", [{"role": "nobody"}, {"action": "publish"}, {"purpose": "unheard-of"}], ids=lambda c: next(iter(c))
)
def test_the_engine_itself_knows_no_strangers(changes: dict[str, str]) -> None:
    assert not cedar.compiled(HOSPITAL).ask(Request(**{**GOOD, **changes})).allowed


# Whole units


@pytest.mark.parametrize(
    ("fact", "value", "expected"),
    [
        ("epsilon", 0.1, 100),
        ("epsilon", 0.3, 300),
        ("epsilon", 1.0001, 1001),
        ("epsilon", 1e-9, 1),
        ("epsilon", 0, 0),
        ("epsilon", 1e300, LARGEST),
        ("epsilon", 10**400, LARGEST),
        ("epsilon", math.inf, LARGEST),
        ("delta", 1e-6, 10**12),
        ("delta", 1e-30, 1),
        ("delta", 5e-324, 1),
        ("delta", 1.0, 10**18),
    ],
)
def test_requests_are_rounded_up(fact: str, value: float, expected: int) -> None:
    assert whole(fact, value) == expected
    assert expected == LARGEST or Fraction(expected) >= Fraction(repr(value)) * {"epsilon": 1000, "delta": 10**18}[fact]


# In words


def test_an_explanation_names_rule_line_and_remedy() -> None:
    denied = decide(HOSPITAL, Request(**{**GOOD, "epsilon": 2.0}))
    text = str(denied)
    assert "policies/hospital.yaml:" in text and "small releases of visits" in text
    assert "epsilon of this release: at most 1 (asked: 2)" in text
    line = next(rule for rule in HOSPITAL.rules if rule.name == "small releases of visits").where.rpartition(":")[2]
    assert Path(HOSPITAL.source).read_text("utf-8").splitlines()[int(line) - 1].endswith("small releases of visits")


def test_a_denial_says_what_is_broader_than_what_is_forbidden() -> None:
    assert "purpose any includes commercial" in str(decide(HOSPITAL, Request(**{**GOOD, "purpose": "any"})))


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"role": "Steward"}, "did you mean 'steward'"),
        ({"action": "relaese"}, "did you mean 'release'"),
        ({"purpose": "reserch"}, "did you mean 'research'"),
        ({"dataset": "staff"}, "known are hospital-visits-*, tumour-registry"),
        ({"role": "researcher"}, "role steward"),
        ({"action": "export"}, "action "),
    ],
    ids=str,
)
def test_a_denial_says_what_would_be_needed(changes: dict[str, str], hint: str) -> None:
    assert any(hint in need for need in decide(HOSPITAL, Request(**{**GOOD, **changes})).needed)


def test_a_decision_is_plain_json_and_can_be_enforced() -> None:
    import json

    from synthkit.errors import PolicyDenied

    decision = decide(HOSPITAL, Request(**GOOD))
    assert decision.enforce() is decision
    document = json.loads(json.dumps(decision.to_dict()))
    assert document["allowed"] is True and document["policy"]["sha256"] == HOSPITAL.digest
    with pytest.raises(PolicyDenied, match="What would be needed"):
        decide(HOSPITAL, Request(**{**GOOD, "epsilon": math.inf})).enforce()


def test_a_request_is_made_of_a_budget() -> None:
    from synthkit.privacy.budget import Budget, Unit

    budget = Budget(1.0, 1e-6, unit=Unit("person_id", 4))
    request = Request.under(budget, role="steward", action="release", dataset="hospital-visits-2025",
                            purpose="research", private=True, rows=5000, spent=0.0, schema="reviewed")  # fmt: skip
    assert request == Request(**GOOD)
    other = Request.under(Budget(1.0, 1e-6), role="a", action="plan", dataset="d", private=False)
    assert (other.unit, other.epsilon, other.facts()["method"]) == ("row", math.inf, "non-private")


def test_a_decision_is_quick() -> None:
    """Under a millisecond when warm; ten times as much here, for machines that do other things."""
    import timeit

    request = Request(**GOOD)
    decide(HOSPITAL, request)
    assert min(timeit.repeat(lambda: decide(HOSPITAL, request), number=20, repeat=5)) / 20 < 0.01


@pytest.mark.parametrize(("dataset", "role", "purpose", "action", "expected"), CELLS[::7])
def test_asking_the_rules_about_a_role_and_an_action_asks_enough(
    dataset: str, role: str, purpose: str, action: str, expected: bool
) -> None:
    request = Request(**{**GOOD, "dataset": dataset, "role": role, "purpose": purpose, "action": action})
    narrow = cedar.compiled(HOSPITAL)
    whole = dataclasses.replace(narrow, of=None)
    assert narrow.ask(request) == whole.ask(request)


def test_a_decision_takes_less_than_a_millisecond_with_a_thousand_rules() -> None:
    """Some two hundred datasets with five rules each; the best of many, for other work on the machine is not measured."""
    head, _, rules = (ROOT / "policies/hospital.yaml").read_text("utf-8").partition("rules:\n")
    names = "".join(f"  set-{k}: set-{k}-*\n" for k in range(198))
    roles = ("researcher", "ethics-board", "data-protection-officer", "steward", "researcher")
    more = "".join(
        f"  - {{allow: {role}, to: {action}, on: set-{k}, for: teaching}}\n"
        for k in range(198)
        for role, action in zip(roles, ("sample", "explain", "draft", "draft", "explain"), strict=True)
    )
    policy = Policy.parse(head.rstrip() + "\n" + names + "\nrules:\n" + rules + more, source="large.yaml")
    request = Request(**GOOD)
    assert decide(policy, request).allowed and len(policy.rules) >= 998
    assert min(timeit.repeat(lambda: decide(policy, request), number=1, repeat=100)) < 1e-3
