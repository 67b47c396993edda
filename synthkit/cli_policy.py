"""The commands about policies: parse, call a verb, show the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from synthkit.cli_options import JSON, show
from synthkit.errors import JobError


@click.group()
def policy() -> None:
    """Check and explain policies: who may do what with which data, and what a release needs."""


@policy.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@JSON
def check(file: Path, as_json: bool) -> None:
    """Check that a policy FILE is consistent, and warn of what has no effect in it.

    \b
    Example:
      synthkit policy check policies/hospital.yaml
    """
    from synthkit.policy.cedar import compiled
    from synthkit.policy.document import Policy
    from synthkit.policy.lint import warnings

    read = Policy.read(file)
    compiled(read)
    found = warnings(read)
    facts = {
        "valid": True,
        "name": read.name,
        "sha256": read.digest,
        "rules": len(read.rules),
        "warnings": list(found),
    }
    lines = [f"{file}: valid. {len(read.rules)} rules, {len(read.roles)} roles, sha256 {read.digest}"]
    show(facts, "\n".join(lines + [f"  Warning: {warning}" for warning in found]), as_json)


@policy.command("explain")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "role", metavar="ROLE", required=True, help="In which role it is asked.")
@click.option("--do", "action", metavar="ACTION", required=True, help="What is to be done, e.g. train or release.")
@click.option("--for", "purpose", metavar="PURPOSE", default="any", show_default=True, help="For which purpose.")
@click.option("--on", "dataset", metavar="DATASET", help="The ledger's name; may be left out where there is one.")
@click.option("--epsilon", type=float, help="What the release may cost.")
@click.option("--delta", type=float, help="Its slack.")
@click.option("--adjacency", help="add-or-remove or replace-one.")
@click.option("--unit-column", metavar="COLUMN", help="The column that names the unit of privacy.")
@click.option("--rows", type=int, help="Declared number of rows.")
@click.option("--spent", type=float, help="Epsilon that the dataset cost so far.")
@click.option("--schema", help="reviewed, allowed or unreviewed.")
@JSON
def explain(
    file: Path, role: str, action: str, purpose: str, dataset: str | None, unit_column: str | None, as_json: bool,
    **facts: Any,
) -> None:  # fmt: skip
    """Say whether the policy FILE allows it: why, by which rule, and what would be needed.

    \b
    Example:
      synthkit policy explain policies/hospital.yaml --as steward --do plan --for research --on hospital-visits-2025
    """
    from synthkit.policy.decide import decide
    from synthkit.policy.document import Policy
    from synthkit.policy.request import Request

    read = Policy.read(file)
    request = Request(
        role=role,
        action=action,
        dataset=dataset if dataset is not None else _only_dataset(read.datasets, file),
        purpose=purpose,
        unit_column=unit_column,
        unit=None if unit_column is None else "person",
        **facts,
    )
    decision = decide(read, request)
    show(decision.to_dict(), str(decision), as_json)


@policy.command("test")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("cases", type=click.Path(path_type=Path))
@JSON
def test(file: Path, cases: Path, as_json: bool) -> None:
    """Hold the policy FILE against a table of CASES (YAML or CSV). Exits 1 where one is not as expected.

    \b
    Example:
      synthkit policy test policies/hospital.yaml policies/hospital.cases.yaml
    """
    from synthkit.policy.cases import check_cases, read_cases
    from synthkit.policy.document import Policy

    outcomes = check_cases(Policy.read(file), read_cases(cases))
    wrong = [str(outcome) for outcome in outcomes if not outcome.passed]
    facts = {"cases": len(outcomes), "as_expected": len(outcomes) - len(wrong), "wrong": wrong}
    lines = [*wrong, f"{len(outcomes) - len(wrong)} of {len(outcomes)} cases as expected."]
    show(facts, "\n".join(lines), as_json)
    if wrong:
        click.get_current_context().exit(1)


@policy.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--odrl", is_flag=True, required=True, help="As ODRL 2.2, in JSON-LD.")
@JSON
def export(file: Path, odrl: bool, as_json: bool) -> None:
    """Print the policy FILE in another language, for other people's tools.

    \b
    Example:
      synthkit policy export --odrl policies/hospital.yaml
    """
    from synthkit.policy.document import Policy
    from synthkit.policy.odrl import export_odrl

    document = export_odrl(Policy.read(file))
    show(document, json.dumps(document, indent=2), as_json)


def _only_dataset(datasets: Any, file: Path) -> str:
    """The dataset that is meant where none is named."""
    names = [name for patterns in datasets.values() for name in patterns]
    if len(names) != 1 or "*" in names[0]:
        raise JobError(f"{file} is about several datasets ({', '.join(names)}); name one with --on")
    return str(names[0])


__all__ = ["policy"]
