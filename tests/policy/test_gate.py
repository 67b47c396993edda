"""The gate: what is missing never passes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from synthkit.errors import PolicyDenied, PolicyError
from synthkit.evidence import Evidence
from synthkit.policy.decide import decide
from synthkit.policy.document import Policy
from synthkit.policy.gate import Attestation, Gate, Parcel, gate
from synthkit.policy.request import Request
from tests.policy.house import GOOD, HOSPITAL, ROOT

BUNDLE, OTHER = "a" * 64, "b" * 64
NOW = datetime(2026, 6, 1, tzinfo=UTC)
FIGURE = Evidence("fidelity.tvd_2way", 0.05, (0.04, 0.06), "how", "charged")
PARCEL = Parcel(
    bundle=BUNDLE, attempts=1, recipients=("university-hospital",), labels=("synthetic", "gb-45438"), retention=365
)
REQUEST = Request(**GOOD)
LARGE = Request(**{**GOOD, "purpose": "registered-study", "epsilon": 3.0})


def signed(who: str = "Dora", role: str = "data-protection-officer", **changes: Any) -> Attestation:
    values = {"statement": "approves", "bundle": BUNDLE, "expires": NOW + timedelta(days=1), "signature": b"good"}
    return Attestation(who=who, role=role, **{**values, **changes})


BOARD = [signed("Ada", "ethics-board"), signed("Ben", "ethics-board")]
REGISTERED = signed("Ada", "ethics-board", statement="study-is-registered")


def verify(attestation: Attestation) -> bool:
    return attestation.signature == b"good"


def ask(
    request: Request = REQUEST,
    parcel: Parcel = PARCEL,
    evidence: Sequence[Evidence] = (FIGURE,),
    attestations: Sequence[Attestation] = (signed(),),
    *,
    policy: Policy = HOSPITAL,
    first: Request | None = None,
    **options: Any,
) -> Gate:
    options = {"verify": verify, "now": NOW, **options}
    return gate(policy, decide(policy, first or request), request, parcel, evidence, attestations, **options)


def states(found: Gate, word: str) -> list[str]:
    return [item.state for item in found.items if word in item.what]


def test_a_complete_release_may_leave() -> None:
    found = ask()
    assert found.allowed and found.enforce() is found
    assert {item.state for item in found.items} == {"pass", "attested"}
    assert states(found, "approved") == ["attested"] and found.attempts == 1
    assert len(found.opened_by) == 1 and "small releases" in found.opened_by[0]


@pytest.mark.parametrize(
    ("figures", "state"),
    [
        ([], "not evaluated"),
        ([replace(FIGURE, name="fidelity.tvd_1way")], "not evaluated"),
        ([replace(FIGURE, payment="internal")], "not evaluated"),
        ([replace(FIGURE, payment="FREE")], "not evaluated"),
        ([replace(FIGURE, payment="free")], "pass"),
        ([replace(FIGURE, value=math.nan)], "not evaluated"),
        ([replace(FIGURE, interval=(0.0, math.nan))], "not evaluated"),
        ([replace(FIGURE, value="0.01")], "not evaluated"),
        ([replace(FIGURE, value=True)], "not evaluated"),
        ([replace(FIGURE, value=math.inf, interval=None)], "fail"),
        ([replace(FIGURE, value=0.15, interval=None)], "pass"),
        ([replace(FIGURE, value=0.1501, interval=None)], "fail"),
        ([replace(FIGURE, interval=(0.0, 0.16))], "fail"),
        ([FIGURE, replace(FIGURE, value=0.5, interval=None)], "fail"),
        ([FIGURE, replace(FIGURE, value=0.5, interval=None, payment="internal")], "pass"),
    ],
)
def test_a_check_passes_on_its_own_evidence_alone(figures: list[Evidence], state: str) -> None:
    found = ask(evidence=figures)
    assert states(found, "check") == [state]
    assert found.allowed == (state == "pass")


@pytest.mark.parametrize(
    ("attestations", "counts"),
    [
        ([signed()], True),
        ([], False),
        ([signed(signature=b"bad")], False),
        ([signed(role="steward")], False),
        ([signed(role="Data-Protection-Officer")], False),
        ([signed(bundle=OTHER)], False),
        ([signed(bundle=BUNDLE.upper())], False),
        ([signed(expires=NOW)], False),
        ([signed(expires=NOW - timedelta(seconds=1))], False),
        ([signed(expires=(NOW + timedelta(days=1)).replace(tzinfo=None))], False),
        ([signed(expires="2099-01-01")], False),
        ([signed(statement="study-is-registered")], False),
        ([signed(statement="Approves")], False),
        ([signed(who=" ")], False),
    ],
)
def test_an_attestation_counts_for_this_bundle_for_a_while(attestations: list[Attestation], counts: bool) -> None:
    found = ask(attestations=attestations)
    assert states(found, "approved") == ["attested" if counts else "not evaluated"]
    assert found.allowed == counts
    if attestations and not counts and attestations[0].role == "data-protection-officer":
        assert "not counted" in str(found) or "nobody" in str(found)


def test_without_keys_no_signature_is_good() -> None:
    assert not gate(HOSPITAL, decide(HOSPITAL, REQUEST), REQUEST, PARCEL, [FIGURE], [signed()], now=NOW).allowed


@pytest.mark.parametrize("answer", [1, "yes", None, RuntimeError("no keys")])
def test_a_verifier_says_true_or_nothing(answer: object) -> None:
    def odd(attestation: Attestation) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert not ask(verify=odd).allowed


@pytest.mark.parametrize(
    ("attestations", "allowed"),
    [
        ([signed(), *BOARD, REGISTERED], True),
        ([signed(), BOARD[0], BOARD[0], REGISTERED], False),
        ([signed(), BOARD[0], signed(" Ada ", "ethics-board"), REGISTERED], False),
        ([signed(), *BOARD], False),
        ([*BOARD, REGISTERED], False),
        ([signed(), *BOARD, replace(REGISTERED, role="steward")], False),
        ([signed(), *BOARD, replace(REGISTERED, expires=NOW)], False),
    ],
)
def test_so_many_different_people_sign(attestations: list[Attestation], allowed: bool) -> None:
    assert ask(LARGE, attestations=attestations).allowed == allowed


@pytest.mark.parametrize(
    ("changes", "what", "state"),
    [
        ({"attempts": 2}, "attempts", "pass"),
        ({"attempts": 3}, "attempts", "fail"),
        ({"attempts": None}, "attempts", "not evaluated"),
        ({"retention": 1826}, "kept", "fail"),
        ({"retention": None}, "kept", "not evaluated"),
        ({"recipients": ("university-hospital", "cancer-research-centre")}, "goes to", "pass"),
        ({"recipients": ("university-hospital", "insurer")}, "goes to", "fail"),
        ({"recipients": ("University-Hospital",)}, "goes to", "fail"),
        ({"recipients": ()}, "goes to", "fail"),
        ({"recipients": None}, "goes to", "not evaluated"),
        ({"labels": ("synthetic",)}, "labelled", "pass"),
        ({"labels": ("Synthetic",)}, "labelled", "fail"),
        ({"labels": ()}, "labelled", "fail"),
        ({"labels": None}, "labelled", "not evaluated"),
    ],
)
def test_what_leaves_is_as_demanded(changes: dict[str, Any], what: str, state: str) -> None:
    found = ask(LARGE, replace(PARCEL, **changes), attestations=[signed(), *BOARD, REGISTERED])
    assert states(found, what) == [state]
    assert found.allowed == (state == "pass")


def test_attempts_are_shown() -> None:
    assert "(attempts: 3)" in str(ask(parcel=replace(PARCEL, attempts=3)))
    assert "(attempts: not counted)" in str(ask(parcel=replace(PARCEL, attempts=None)))


def test_a_policy_that_was_edited_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "hospital.yaml"
    file.write_bytes((ROOT / "policies/hospital.yaml").read_bytes())
    policy = Policy.read(file)
    first = decide(policy, REQUEST)
    file.write_text(file.read_text("utf-8").replace("at most 0.15", "at most 0.95"), encoding="utf-8")
    found = gate(policy.reread(), first, REQUEST, PARCEL, [FIGURE], [signed()], verify=verify, now=NOW)
    assert not found.allowed and "it was edited" in str(found)
    assert states(found, "check") == ["pass"], "all else is as it should be"


@pytest.mark.parametrize(
    "changes",
    [
        {"purpose": "teaching"},
        {"dataset": "hospital-visits-2024"},
        {"epsilon": 0.9},
        {"epsilon": None},
        {"delta": 1e-7},
        {"unit_column": "household"},
        {"rows": 4000},
        {"adjacency": "replace-one"},
    ],
    ids=str,
)
def test_what_was_done_is_what_was_decided_on(changes: dict[str, Any]) -> None:
    found = ask(first=Request(**{**GOOD, **changes}))
    assert not found.allowed and states(found, "what was done") == ["fail"]


def test_to_pay_less_than_was_asked_is_fine() -> None:
    assert ask(Request(**{**GOOD, "epsilon": 0.9}), first=REQUEST).allowed
    assert not ask(Request(**{**GOOD, "epsilon": None}), first=REQUEST).allowed


def test_others_who_spent_meanwhile_shut_the_gate() -> None:
    found = ask(Request(**{**GOOD, "spent": 3.5}), first=REQUEST)
    assert not found.allowed and states(found, "at the price") == ["fail"]
    with pytest.raises(PolicyDenied, match="dataset's life"):
        found.enforce()


def test_a_denied_first_decision_shuts_the_gate() -> None:
    late = Request(**{**GOOD, "schema": "unreviewed"})
    assert not gate(HOSPITAL, decide(HOSPITAL, late), REQUEST, PARCEL, [FIGURE], [signed()], verify=verify).allowed


TIERS = Policy.parse(
    """
version: 1
name: tiers
roles: {steward: , officer: , board: }
datasets: {visits: visits}
rules:
  - {name: small, allow: steward, to: release, on: any, for: any, when: {epsilon: at most 1},
     require: {signatures: [{at_least: 1, of: officer}]}}
  - {name: large, allow: steward, to: release, on: any, for: any, when: {epsilon: at most 3},
     require: {signatures: [{at_least: 1, of: board}], labels: synthetic}}
""",
    source="tiers.yaml",
)


@pytest.mark.parametrize(
    ("epsilon", "role", "opened"),
    [(1.0, "officer", "small"), (1.0, "board", "large"), (2.0, "board", "large"), (2.0, "officer", None), (4.0, "board", None)],
)  # fmt: skip
def test_one_rule_with_all_that_it_demands_is_enough(epsilon: float, role: str, opened: str | None) -> None:
    request = Request(role="steward", action="release", dataset="visits", epsilon=epsilon)
    found = ask(request, attestations=[signed(role=role)], policy=TIERS)
    assert found.allowed == (opened is not None)
    assert [rule.partition("(")[2] for rule in found.opened_by] == ([] if opened is None else [f"{opened})"])


@pytest.mark.parametrize(
    "changes",
    [
        {"bundle": "a"},
        {"bundle": BUNDLE.upper()},
        {"bundle": None},
        {"attempts": 0},
        {"attempts": True},
        {"attempts": "1"},
        {"retention": -1},
        {"labels": "synthetic"},
        {"recipients": ["university-hospital"]},
        {"recipients": (1,)},
    ],
)
def test_a_parcel_is_well_formed(changes: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match="parcel"):
        replace(PARCEL, **changes)


def test_a_gate_is_plain_json() -> None:
    document = json.loads(json.dumps(ask(evidence=[]).to_dict()))
    assert document["allowed"] is False and document["opened_by"] == [] and document["attempts"] == 1
    assert {"what", "rule", "state", "found"} == set(document["items"][0])
