"""The commands about laws and labels: parse, call a verb, show the result."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synthkit.cli_options import JSON, show, writing
from synthkit.errors import JobError

if TYPE_CHECKING:
    from synthkit.policy.packs.audit import Requirement
    from synthkit.release.compliance import Report


@click.group()
def report() -> None:
    """Report on a release for those who must answer for it."""


@report.command("compliance")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--pack",
    "packs",
    metavar="NAME|FILE",
    multiple=True,
    help="A pack; may be repeated.  [default: all that are packaged]",
)
@click.option("--trust", type=click.Path(path_type=Path), help="The file of the keys that you trust (keys.toml).")
@click.option(
    "--at", type=click.DateTime(["%Y-%m-%d"]), help="The day on which statements must hold.  [default: today]"
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the pages and the JSON.  [default: BUNDLE.compliance]",
)
@click.option("--complete", is_flag=True, help="Exit with 1 also where something was not evaluated.")
@JSON
def compliance(
    bundle: Path,
    packs: tuple[str, ...],
    trust: Path | None,
    at: datetime | None,
    output: Path | None,
    complete: bool,
    as_json: bool,
) -> None:
    """Hold the release in BUNDLE against laws and guidelines, line by line. It is verified first. No legal advice.

    BUNDLE may be a folder of anonymized true records, too.

    Exits with 1 where something fails; what could not be evaluated is listed, and never passes.

    \b
    Example:
      synthkit report compliance release/ --pack gdpr --trust keys.toml
    """
    from synthkit.policy.packs.document import NAMES
    from synthkit.release.compliance import report as made_of
    from synthkit.release.compliance import write

    made = made_of(bundle, packs or NAMES, trust=trust, now=None if at is None else at.replace(tzinfo=UTC))
    folder = output or bundle.resolve().with_name(f"{bundle.resolve().name}.compliance")
    with writing(folder):
        write(made, folder)
    show({"output": str(folder), **made.to_dict()}, _told(made, folder), as_json)
    if made.failed or (complete and not made.complete):
        click.get_current_context().exit(1)


def _told(made: Report, folder: Path) -> str:
    from synthkit.policy.packs.audit import MISSING

    lines = [
        f"{made.folder}: held against {len(made.audits)} pack{'' if len(made.audits) == 1 else 's'}. No legal advice."
    ]
    lines += [f"  {entry.state:13} {entry.what}: {entry.found}" for entry in made.intact]
    for entry in made.audits:
        counts = ", ".join(f"{number} {state}" for state, number in entry.counts.items() if number)
        counts = counts or "nothing in it applies to this release"
        lines.append(f"{entry.pack.name}: {counts}")
        lines += [
            f"  {requirement.state:13} {requirement.rule.name}: {_found(requirement, MISSING)}"
            for requirement in entry.requirements
            if requirement.state in ("fail", "not evaluated")
        ]
    return "\n".join([*lines, f"Pages: {folder / 'index.html'}"])


def _found(requirement: Requirement, missing: str) -> str:
    """What made a requirement's state; of a statement that is missing, who would have to state what."""
    decisive = [entry for entry in requirement.evidence if entry.state == requirement.state] or requirement.evidence
    return "; ".join(f"{e.found} ({e.looked})" if e.found == missing else e.found for e in decisive)


@click.group()
def label() -> None:
    """Labels that say of data that they were generated, or that they are anonymized true records."""


@label.command("check")
@click.argument("path", metavar="FILE|DIR", type=click.Path(path_type=Path))
@click.option("--against", type=click.Path(path_type=Path), help="The bundle that it came from, verified first.")
@JSON
def check(path: Path, against: Path | None, as_json: bool) -> None:
    """Say which labels a file carries, or the files of a folder, and what was lost since they left their bundle.

    Exits with 1 where a label is missing, lost or changed.

    \b
    Example:
      synthkit label check copy.parquet --against release/
    """
    from synthkit.release.label_check import check as look

    if against is not None and not against.is_dir():
        raise JobError(f"{against}: no such folder; --against names a bundle")
    checked = look(path, against=against)
    lost = any(entry.problems for entry in checked)
    show(
        {"lost": lost, "files": [entry.to_dict() for entry in checked]},
        "\n".join([*map(str, checked), "Labels are missing, lost or changed." if lost else "All labels are there."]),
        as_json,
    )
    if lost:
        click.get_current_context().exit(1)


__all__ = ["label", "report"]
