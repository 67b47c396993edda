"""Policies are read strictly; what is wrong is named, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from synthkit.documents import json_schema
from synthkit.errors import PolicyError
from synthkit.policy.cedar import compiled
from synthkit.policy.demands import Check, Signatures
from synthkit.policy.document import Policy
from synthkit.policy.lint import warnings
from tests.policy.house import DEFAULT, HOSPITAL, OFFICE

GOOD = """\
version: 1
name: house
roles: {steward: keeps it, guest: }
purposes:
  research:
    clinical:
  sales:
datasets:
  visits: visits-*
rules:
  - name: small
    allow: steward
    to: [train, release]
    on: visits
    for: research
    when: {epsilon: at most 1, rows: at least 100}
    require: {checks: {fidelity.tvd: at most 0.1}, signatures: [{at_least: 1, of: guest}]}
  - forbid: any
    to: any
    on: any
    for: sales
"""


def parse(text: str) -> Policy:
    return Policy.parse(text, source="house.yaml")


def test_a_policy_is_read() -> None:
    policy = parse(GOOD)
    small, never = policy.rules
    assert (small.effect, small.roles, small.actions, small.datasets) == (
        "allow", ("steward",), ("train", "release"), ("visits",),
    )  # fmt: skip
    assert small.where == "house.yaml:11" and str(never) == "house.yaml:18 (rule 2)"
    assert small.reach == {"research", "clinical"} and never.reach == {"sales", "any"}
    assert small.require == (Check("fidelity.tvd", "at most", 0.1), Signatures(1, ("guest",)))
    assert [condition.limit for condition in small.when] == [1000, 99]
    assert policy.parents == {"any": None, "research": "any", "clinical": "research", "sales": "any"}
    assert warnings(policy) == ()


def test_on_and_yes_and_no_are_words() -> None:
    text = GOOD.replace("guest: }", "no: , yes: , off: }").replace("of: guest", "of: [no, yes, off]")
    assert list(parse(text).roles) == ["steward", "no", "yes", "off"]
    assert parse(GOOD.replace("    on: visits", "    'on': visits")).rules[0].datasets == ("visits",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 1", "version: 2", "reads version 1"),
        ("version: 1", "version: true", "reads version 1"),
        ("version: 1", 'version: "1"', "reads version 1"),
        ("name: house", "name: house\nname: house", "appears twice"),
        ("    on: visits", "    on: visits\n    on: any", "line 15: the key 'on' appears twice"),
        ("    allow: steward", "    allow: steward\n    forbid: guest", "either 'allow: ROLE' or 'forbid: ROLE'"),
        ("    allow: steward\n", "", "either 'allow: ROLE' or 'forbid: ROLE'"),
        ("    allow: steward", "    allow: stewart", "house.yaml:11: unknown role 'stewart'; did you mean 'steward'"),
        ("    allow: steward", "    allow: stewаrd", "unknown role"),
        ("    allow: steward", "    allow: [steward, steward]", "named twice"),
        ("    allow: steward", "    allow: [steward, any]", "stands alone"),
        ("    allow: steward", "    allow: []", "rules.0.allow"),
        ("    allow: steward", "    allow: 7", "rules.0.allow"),
        ("to: [train, release]", "to: [train, relase]", "unknown action 'relase'; did you mean 'release'"),
        ("to: [train, release]", "to: [Train]", "unknown action 'Train'"),
        ("to: [train, release]", "to: [draft, release]", "draft has none"),
        ("to: [train, release]", "to: [train, plan]", "allows none of release, export and anonymize"),
        ("    on: visits", "    on: visit", "unknown dataset 'visit'"),
        ("    on: visits", "    on: visits-2025", "unknown dataset 'visits-2025'"),
        ("    for: research", "    for: researches", "unknown purpose 'researches'"),
        ("    for: research\n", "", "'for' is a required property"),
        ("    clinical:", "    research:", "research > research is a circle"),
        ("    clinical:", "    clinical:\n      research:", "research > clinical > research is a circle"),
        ("  sales:", "  sales:\n    clinical:", "clinical stands in two places"),
        ("    clinical:", "    any:", "'any' stands for all"),
        ("    clinical:", "    clinical: yes", "write purposes as a tree"),
        ("    clinical:", "    - clinical", "write purposes as a tree"),
        ("    clinical:", "    clinical: " + "{a: " * 40 + "}" * 40, "circle|levels"),
        ("    clinical:", "    clinical: " + "".join(f"{{p{n}: " for n in range(30)) + "}" * 30, "more than 16 levels"),
        ("    clinical:", "    clinical: " + "{a: " * 3000 + "}" * 3000, "too deep|circle"),
        ("    clinical:", "    Research:", "easily taken for each other"),
        ("guest: }", "Steward: }", "easily taken for each other"),
        ("guest: }", "ѕtewаrd: }", "mixes scripts"),
        ("guest: }", '"guest ": }', "begins or ends with a blank"),
        ("guest: }", '"gu\u200best": }', r"U\+200B"),
        ("guest: }", '"ｇuest": }', "only look like others"),
        ("guest: }", '"gue\u0301st": }', "only look like others"),
        ("guest: }", '"": }', "is empty"),
        ("guest: }", "any: }", "cannot be declared"),
        ("guest: }", "guest: , сор: , cop: }", "easily taken for each other"),
        ("guest: }", "guest: {a: b}}", "roles.guest"),
        ("  visits: visits-*", "  visits: [visits-*, 'a\tb']", r"U\+0009"),
        ("  visits: visits-*", "  visits: []", "datasets.visits"),
        ("epsilon: at most 1,", "epsilon: 1,", "write 'at most NUMBER'"),
        ("epsilon: at most 1,", "epsilon: above 1,", "write 'at most NUMBER'"),
        ("epsilon: at most 1,", "epsilon: at most -1,", "not understood"),
        ("epsilon: at most 1,", "epsilon: at most .nan,", "not understood"),
        ("epsilon: at most 1,", "epsilon: at most inf,", "not understood"),
        ("epsilon: at most 1,", "epsilon: at most 1e300,", "too large"),
        ("epsilon: at most 1,", "epsilon: at most 9223372036854776,", "too large"),
        ("epsilon: at most 1,", "epsilon: at most 0.0005,", "finer than is counted"),
        ("epsilon: at most 1,", "epsilon: at most 0." + "9" * 30 + ",", "finer than is counted"),
        ("epsilon: at most 1,", "epsilon: at most 1 or 2,", "not understood"),
        ("epsilon: at most 1,", "epsilons: at most 1,", "known are epsilon"),
        ("epsilon: at most 1,", "epsilon: [at most 1],", "not understood"),
        ("rows: at least 100", "rows: at most 100", "write 'at least NUMBER'"),
        ("rows: at least 100", "unit: row", "no meaning where a rule allows; write 'person'"),
        ("rows: at least 100", "schema: unreviewed", "'reviewed' or 'reviewed or allowed'"),
        ("rows: at least 100", "method: non-private", "write 'private'"),
        ("rows: at least 100", "unit_column: [1]", "is not text"),
        ("fidelity.tvd: at most 0.1", "fidelity.tvd: 0.1", "write 'at most X', 'at least X' or 'present'"),
        ("fidelity.tvd: at most 0.1", "fidelity.tvd: at mostly 0.1", "not understood"),
        ("at_least: 1", "at_least: 0", "minimum of 1"),
        ("at_least: 1", "at_least: true", "at_least"),
        ("of: guest", "of: nobody", "unknown role 'nobody'"),
        ("signatures:", "attest: {approves: guest}, signatures:", "is what a signature says"),
        ("signatures:", "attest: {fine: any}, signatures:", "name the role"),
        ("signatures:", "retention: at most 1.5 days, signatures:", "whole number"),
        ("signatures:", "retention: 30 days, signatures:", "write 'at most NUMBER days'"),
        ("signatures:", "attempts: at most 0, signatures:", "whole number"),
        ("    for: sales", "    for: sales\n    require: {labels: x}", "forbids cannot require"),
        ("    for: sales", "    for: sales\n    when: {epsilon: above 1}", "draft, sample, explain, anonymize have none"),
        ("    for: sales", "    for: sales\n    unless: x", "known are name"),
        ("roles: {steward: keeps it, guest: }", "roles: &r {steward: keeps it, guest: }\nabout: *r", "alias"),
        ("keeps it", "!!python/name:os.system", "not valid YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused(old: str, new: str, message: str) -> None:
    assert GOOD.count(old) >= 1
    with pytest.raises(PolicyError, match=message):
        parse(GOOD.replace(old, new, 1))


def test_a_forbidding_rule_has_its_own_words() -> None:
    rule = "  - {forbid: any, to: release, on: any, for: any, when: {%s}}\n"
    for words in ("epsilon: above 3", "rows: below 50", "unit: row", "schema: unreviewed", "method: non-private"):
        assert parse(GOOD + rule % words).rules[2].when[0].written in words
    for words in ("epsilon: at most 3", "rows: at least 50", "unit: person", "unit_column: id"):
        with pytest.raises(PolicyError, match=r"house\.yaml:22"):
            parse(GOOD + rule % words)


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no such file"):
        Policy.read(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(PolicyError, match="expected a mapping"):
        Policy.read(tmp_path / "empty.yaml")


def test_the_digest_is_of_the_text(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(GOOD)
    policy = Policy.read(file)
    assert policy.reread().digest == policy.digest == parse(GOOD).digest
    file.write_text(GOOD + "# a comment\n")
    assert policy.reread().digest != policy.digest
    assert DEFAULT.reread() is DEFAULT


def test_the_packaged_json_schemas_are_some() -> None:
    import jsonschema

    for name in ("policy/policy.v1.json", "policy/cases.v1.json"):
        jsonschema.Draft202012Validator.check_schema(json_schema(name))


@pytest.mark.parametrize("policy", [DEFAULT, HOSPITAL, OFFICE], ids=lambda policy: policy.name)
def test_what_we_ship_compiles_without_a_warning(policy: Policy) -> None:
    compiled(policy)
    assert warnings(policy) == ()


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("{allow: steward, to: plan, on: any, for: sales}", "rule 3.* can never allow anything.*rule 2"),
        ("{allow: steward, to: plan, on: any, for: any}", None),
        ("{allow: guest, to: release, on: any, for: research, when: {epsilon: at most 0}}", "can never allow anything: no release has epsilon"),
        ("{forbid: any, to: any, on: visits, for: clinical}", "small.* can never allow anything.*rule 3"),
        ("{forbid: any, to: any, on: visits, for: research}", "small.* can never allow anything.*rule 3"),
        ("{forbid: any, to: [train, release], on: any, for: any, when: {epsilon: above 1}}", None),
        ("{allow: steward, to: release, on: any, for: any, when: {epsilon: at most 2}}", "what .*small.* requires never binds"),
        ("{allow: steward, to: release, on: any, for: any, when: {epsilon: at most 0.5}}", None),
        ("{allow: steward, to: release, on: any, for: clinical}", None),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_warned_of(added: str, message: str | None) -> None:
    import re

    found = "\n".join(warnings(parse(f"{GOOD}  - {added}\n")))
    assert (found == "") if message is None else re.search(message, found), found


def test_a_forbidden_word_makes_a_rule_dead() -> None:
    text = GOOD.replace("rows: at least 100", "schema: reviewed or allowed")
    forbid = "  - {forbid: any, to: any, on: any, for: research}\n"
    assert "can never allow" in warnings(parse(text + forbid))[0]
    assert warnings(parse(text + forbid.replace("to: any", "to: [train, release]").replace(
        "for: research", "for: research, when: {schema: unreviewed}"))) == ()  # fmt: skip


def test_names_that_nobody_uses_are_warned_of() -> None:
    text = GOOD.replace("guest: }", "guest: , idle: }").replace("  visits: visits-*", "  visits: visits-*\n  spare: x")
    text = text.replace("forbid: any", "forbid: guest").replace("    on: any", "    on: visits")
    assert warnings(parse(text)) == ("no rule names the role idle", "no rule names the dataset spare")
