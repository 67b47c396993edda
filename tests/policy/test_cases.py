"""Tables of cases, the command line, and the export."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from synthkit.cli import _Group
from synthkit.cli_policy import policy as commands
from synthkit.errors import PolicyError
from synthkit.policy.cases import check_cases, read_cases
from synthkit.policy.odrl import export_odrl
from tests.policy.house import DEFAULT, HOSPITAL, OFFICE, ROOT

HEADER = "as,do,on,for,epsilon,delta,adjacency,unit_column,rows,spent,schema,expect\n"
LINE = "steward,release,hospital-visits-2025,research,1,1e-6,add-or-remove,person_id,5000,0,reviewed,allow\n"
FILE = ROOT / "policies/hospital.yaml"
main = _Group("synthkit", commands={"policy": commands})


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["policy", *map(str, arguments)])


def table(tmp_path: Path, text: str, name: str = "cases.csv") -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def test_csv_is_read_as_yaml_is(tmp_path: Path) -> None:
    lines = HEADER + LINE + LINE.replace(",1,", ",1.5,").replace("allow", "deny") + "\n"
    outcomes = check_cases(HOSPITAL, read_cases(table(tmp_path, lines)))
    assert [(outcome.passed, outcome.allowed) for outcome in outcomes] == [(True, True), (True, False)]
    assert outcomes[1].case.where.endswith("cases.csv:3")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("steward", "steward "),
        (",1,", ",one,"),
        (",1,", ",nan,"),
        (",1,", ",inf,"),
        (",1,", ",-1,"),
        (",1,", ",,"),
        ("steward", ""),
        ("release", ""),
        ("5000", "5e3"),
        ("reviewed", "Reviewed"),
        ("person_id", ""),
    ],
)
def test_a_malformed_request_is_denied(old: str, new: str, tmp_path: Path) -> None:
    (outcome,) = check_cases(HOSPITAL, read_cases(table(tmp_path, HEADER + LINE.replace(old, new, 1))))
    assert not outcome.allowed and not outcome.passed and outcome.why


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.csv", "", "has a header"),
        ("c.csv", HEADER, "a case or more"),
        ("c.csv", HEADER.replace("spent", "delta") + LINE, "each name once"),
        ("c.csv", HEADER.replace("spent", "spend") + LINE, "unknown column 'spend'"),
        ("c.csv", HEADER + LINE.replace("allow", "permit"), r":2: expect is 'permit'"),
        ("c.csv", HEADER + "steward\n", "1 cells; the header has 12"),
        ("c.csv", HEADER + '"x', "not CSV"),
        ("c.yaml", "version: 1\ncases: []", "cases"),
        ("c.yaml", "version: 1\ncases: [{as: steward}]", "'expect' is a required property"),
        ("c.yaml", "version: 1\ncases: [{as: steward, expect: maybe}]", "expect"),
        ("c.yaml", "version: 1\ncases: [{role: steward, expect: allow}]", "known are as"),
        ("c.yaml", "version: 1\ncases: [{as: a, as: b, expect: allow}]", "appears twice"),
    ],
)
def test_a_malformed_table_is_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=message):
        read_cases(table(tmp_path, text, name))


# The command line


def test_check_says_what_a_policy_is(tmp_path: Path) -> None:
    shown = call("check", FILE)
    assert shown.exit_code == 0 and "valid. 9 rules" in shown.output and HOSPITAL.digest in shown.output
    dead = FILE.read_text("utf-8") + "  - {forbid: any, to: any, on: visits, for: any}\n"
    facts = json.loads(call("check", table(tmp_path, dead, "p.yaml"), "--json").output)
    assert facts["valid"] is True and "can never allow" in facts["warnings"][0]
    wrong = call("check", table(tmp_path, dead.replace("to: any", "to: all"), "p.yaml"))
    assert wrong.exit_code == 2 and "unknown action 'all'" in wrong.output


def test_explain_says_why(tmp_path: Path) -> None:
    asked = ["explain", FILE, "--as", "steward", "--do", "release", "--for", "research", "--on", "hospital-visits-2025"]
    price = ["--epsilon", "1", "--delta", "1e-6", "--unit-column", "id", "--rows", "5000", "--spent", "0"]
    allowed = call(*asked, *price, "--adjacency", "add-or-remove", "--schema", "reviewed")
    assert allowed.exit_code == 0 and allowed.output.startswith("Allowed") and "approved by" in allowed.output
    denied = call(*asked, *price)
    assert denied.exit_code == 0 and "schema: reviewed (asked: not stated)" in denied.output
    assert json.loads(call(*asked, "--json").output)["allowed"] is False
    assert call(*asked, "--epsilon", "-1").exit_code == 2
    assert "name one with --on" in call(*asked[:-2]).output
    one = table(tmp_path, FILE.read_text("utf-8").replace("hospital-visits-*", "tumour-registry"), "one.yaml")
    assert call("explain", one, *asked[2:-2]).exit_code == 2, "two names of it"


def test_test_exits_with_what_it_finds(tmp_path: Path) -> None:
    good = call("test", FILE, ROOT / "policies/hospital.cases.yaml")
    assert good.exit_code == 0 and "28 of 28" in good.output
    bad = call("test", FILE, table(tmp_path, HEADER + LINE.replace("allow", "deny")), "--json")
    assert bad.exit_code == 1
    facts = json.loads(bad.output)
    assert (facts["cases"], facts["as_expected"]) == (1, 0) and "expected deny, got allow" in facts["wrong"][0]


def test_export_is_odrl() -> None:
    shown = call("export", "--odrl", FILE)
    assert shown.exit_code == 0 and json.loads(shown.output) == export_odrl(HOSPITAL)
    assert call("export", FILE).exit_code == 2


@pytest.mark.parametrize("name", sorted(commands.commands))
def test_every_help_has_an_example_that_parses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = commands.commands[name]
    assert command.help is not None
    example = command.help.partition("Example:")[2].strip().splitlines()[0].split()
    assert example[:3] == ["synthkit", "policy", name]
    command.make_context(name, example[3:])
    assert any(isinstance(option, click.Option) and "--json" in option.opts for option in command.params)
    monkeypatch.chdir(ROOT)
    assert call(*example[2:]).exit_code == 0


def test_the_commands_are_light() -> None:
    code = "import sys, synthkit, synthkit.cli_policy; print({'cedarpy', 'torch', 'pandas', 'yaml'} & set(sys.modules))"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
    assert time.perf_counter() - start < 10  # under one on a machine that does nothing else


def test_a_policy_opens_no_data() -> None:
    code = (
        "import sys; from synthkit.policy.document import Policy; from synthkit.policy.gate import gate; "
        "from synthkit.policy.cedar import compiled; compiled(Policy.default()); "
        "print({'torch', 'pandas', 'numpy', 'sqlalchemy', 'dp_accounting'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# ODRL


@pytest.mark.parametrize("policy", [DEFAULT, HOSPITAL, OFFICE], ids=lambda policy: policy.name)
def test_every_rule_is_exported(policy: Any) -> None:
    document = json.loads(json.dumps(export_odrl(policy)))
    assert document["@type"] == "Set" and document["conflict"] == "prohibit"
    assert len(document["permission"]) + len(document["prohibition"]) == len(policy.rules)
    for kind in ("permission", "prohibition"):
        for rule in document[kind]:
            assert rule["assignee"] and rule["action"] and rule["target"] and rule["constraint"]
    duties = [duty for rule in document["permission"] for duty in rule.get("duty", ())]
    assert len(duties) == sum(len(rule.require) for rule in policy.rules)


def test_purposes_and_limits_are_spelled_out() -> None:
    rule = export_odrl(HOSPITAL)["permission"][2]
    purposes, epsilon, *_ = rule["constraint"]
    assert purposes == {"leftOperand": "purpose", "operator": "isAnyOf", "rightOperand": ["synthkit:registered-study"]}
    assert epsilon["operator"] == "lteq" and epsilon["rightOperand"] == {"@value": "3", "@type": "xsd:decimal"}
    delta = next(entry for entry in rule["constraint"] if entry["leftOperand"] == "synthkit:delta")
    assert delta["rightOperand"]["@value"] == "0.00001"
    never = export_odrl(HOSPITAL)["prohibition"][0]["constraint"][0]["rightOperand"]
    assert {"synthkit:any", "synthkit:commercial", "synthkit:marketing"} <= set(never)
