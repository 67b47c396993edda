"""What holds for every policy: to forbid allows nothing, to pay more allows nothing, both evaluations agree."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthkit.policy.decide import Decision, decide
from synthkit.policy.document import Policy
from synthkit.policy.facts import ACTIONS, PRICED
from synthkit.policy.gate import Parcel, gate
from synthkit.policy.request import Request

ROLES = ("steward", "guest")
PURPOSES = ("any", "research", "clinical", "trial", "sales")
GROUPS = ("visits", "secret")
QUIET = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

numbers = st.sampled_from(["0.5", "1", "2.5"])
some = {
    "roles": st.lists(st.sampled_from(ROLES), min_size=1, unique=True) | st.just("any"),
    "groups": st.lists(st.sampled_from(GROUPS), min_size=1, unique=True) | st.just("any"),
    "purposes": st.lists(st.sampled_from(PURPOSES[1:]), min_size=1, unique=True) | st.just("any"),
}
LIMITS = {
    "allow": {
        "epsilon": numbers.map("at most {}".format),
        "lifetime_epsilon": numbers.map("at most {}".format),
        "delta": st.just("at most 1e-6"),
        "rows": st.just("at least 100"),
        "unit": st.just("person"),
        "schema": st.sampled_from(["reviewed", "reviewed or allowed"]),
        "method": st.just("private"),
    },
    "forbid": {
        "epsilon": numbers.map("above {}".format),
        "lifetime_epsilon": numbers.map("above {}".format),
        "delta": st.just("above 1e-6"),
        "rows": st.just("below 100"),
        "unit": st.just("row"),
        "schema": st.just("unreviewed"),
        "method": st.just("non-private"),
    },
}


@st.composite
def rules(draw: st.DrawFn, effect: str) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(LIMITS[effect])), max_size=3, unique=True))
    actions = draw(st.lists(st.sampled_from(sorted(PRICED) if names else ACTIONS), min_size=1, unique=True))
    rule: dict[str, Any] = {
        effect: draw(some["roles"]), "to": actions, "on": draw(some["groups"]), "for": draw(some["purposes"]),
    }  # fmt: skip
    if names:
        rule["when"] = {name: draw(LIMITS[effect][name]) for name in names}
    if effect == "allow" and {"release", "export"} & set(actions) and draw(st.booleans()):
        rule["require"] = {"labels": draw(st.sampled_from(["synthetic", "other"]))}
    return rule


def policy_of(written: list[dict[str, Any]]) -> Policy:
    document = {
        "version": 1,
        "name": "drawn",
        "roles": dict.fromkeys(ROLES),
        "purposes": {"research": {"clinical": {"trial": None}}, "sales": None},
        "datasets": {"visits": "visits-*", "secret": ["secret", "visits-9*"]},
        "rules": written,
    }
    return Policy.parse(json.dumps(document), source="drawn")  # JSON is YAML


EVERYTHING = {"allow": "any", "to": list(ACTIONS), "on": "any", "for": "any"}
drawn_rules = st.builds(
    lambda base, more: base + more,  # half of the policies allow whatever is not forbidden
    st.sampled_from([[], [EVERYTHING]]),
    st.lists(rules("allow") | rules("forbid"), min_size=1, max_size=6),
)
requests = st.builds(
    dict,
    role=st.sampled_from(ROLES),
    action=st.sampled_from(ACTIONS),
    dataset=st.sampled_from(["visits-1", "visits-9", "secret", "Secret", "other"]),
    purpose=st.sampled_from(PURPOSES),
    epsilon=st.none() | st.floats(0, 3) | st.just(float("inf")),
    delta=st.none() | st.sampled_from([1e-7, 1e-6, 1e-5]),
    rows=st.none() | st.sampled_from([10, 100, 1000]),
    spent=st.none() | st.floats(0, 3) | st.just(float("inf")),
    schema=st.none() | st.sampled_from(["reviewed", "allowed", "unreviewed"]),
    unit_column=st.none() | st.just("id"),
).map(lambda values: {**values, "unit": "row" if values["unit_column"] is None else "person"})


def ask(policy: Policy, values: dict[str, Any]) -> Decision:
    decision = decide(policy, Request(**values))
    assert not any("disagree" in reason or "evaluated" in reason for reason in decision.reasons), decision
    return decision


def leaves(policy: Policy, values: dict[str, Any]) -> bool:
    request = Request(**values)
    return gate(policy, decide(policy, request), request, Parcel(bundle="a" * 64, labels=("synthetic",))).allowed


@QUIET
@given(drawn_rules, rules("forbid"), st.lists(requests, min_size=1, max_size=8), st.integers(0, 6))
def test_to_forbid_more_allows_nothing(
    written: list[dict[str, Any]], added: dict[str, Any], asked: list[dict[str, Any]], at: int
) -> None:
    before, after = policy_of(written), policy_of([*written[:at], added, *written[at:]])
    for values in asked:
        assert ask(before, values).allowed >= ask(after, values).allowed


@QUIET
@given(drawn_rules, rules("allow"), st.lists(requests, min_size=1, max_size=8))
def test_to_allow_more_denies_nothing(
    written: list[dict[str, Any]], added: dict[str, Any], asked: list[dict[str, Any]]
) -> None:
    before, after = policy_of(written), policy_of([*written, added])
    for values in asked:
        assert ask(before, values).allowed <= ask(after, values).allowed
        assert leaves(before, values) <= leaves(after, values)


@QUIET
@given(drawn_rules, st.lists(st.tuples(requests, st.floats(0, 3)), min_size=1, max_size=8))
def test_to_pay_more_allows_nothing(written: list[dict[str, Any]], asked: list[tuple[dict[str, Any], float]]) -> None:
    policy = policy_of(written)
    for values, more in asked:
        for name in ("epsilon", "spent"):
            if values[name] is not None:
                dearer = {**values, name: values[name] + more}
                assert ask(policy, values).allowed >= ask(policy, dearer).allowed
                assert leaves(policy, values) >= leaves(policy, dearer)
        if values["rows"] is not None:
            assert ask(policy, values).allowed >= ask(policy, {**values, "rows": values["rows"] // 2}).allowed
        if values["delta"] is not None:
            assert ask(policy, values).allowed >= ask(policy, {**values, "delta": 2 * values["delta"]}).allowed


@QUIET
@given(drawn_rules, st.lists(requests, min_size=1, max_size=8))
def test_to_say_less_allows_nothing(written: list[dict[str, Any]], asked: list[dict[str, Any]]) -> None:
    policy = policy_of(written)
    for values in asked:
        allowed = ask(policy, values).allowed
        for name in ("epsilon", "delta", "rows", "spent", "schema"):
            assert allowed >= ask(policy, {**values, name: None}).allowed
        assert allowed >= ask(policy, {**values, "unit": None, "unit_column": None}).allowed


@QUIET
@given(drawn_rules, st.lists(requests, min_size=1, max_size=8))
def test_a_denial_says_why_and_what_is_needed(written: list[dict[str, Any]], asked: list[dict[str, Any]]) -> None:
    policy = policy_of(written)
    for values in asked:
        decision = ask(policy, values)
        assert decision.reasons
        assert bool(decision.needed) != decision.allowed
        assert bool(decision.rules) >= decision.allowed
