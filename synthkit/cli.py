"""The command line: parse, call a verb, show the result. No decision of its own.

Exit codes: 0 done; 1 refused, or a check failed; 2 bad input.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synthkit import __version__
from synthkit.cli_anonymize import anonymize
from synthkit.cli_attacks import risks
from synthkit.cli_compliance import label, report
from synthkit.cli_explain import explain
from synthkit.cli_export import export
from synthkit.cli_options import JSON, LEDGER, Asked, asking, refuse_existing, show, writing
from synthkit.cli_policy import policy
from synthkit.cli_trust import attest, keys, log, sign, write_verifier
from synthkit.cli_vault import shred, vault
from synthkit.errors import JobError, SynthkitError, VerificationFailed

if TYPE_CHECKING:
    from synthkit.data.image_schema import ImageSchema
    from synthkit.data.tables import Source
    from synthkit.release.hand_out import Release
    from synthkit.release.run import Price
    from synthkit.synthesizers.image_model import ImageModel
    from synthkit.synthesizers.linked import LinkedModel

_TABLE_SUFFIXES = (".csv", ".tsv", ".gz", ".parquet")  # of files that hold one table


class _Group(click.Group):
    """Shows this package's errors as one message and its exit code, never as a traceback."""

    def invoke(self, context: click.Context) -> Any:
        with suppress(ValueError):  # signals belong to the main thread
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite end cleans up as Ctrl-C does
        try:
            return super().invoke(context)
        except SynthkitError as problem:
            click.echo("\n".join([f"Error: {problem}", *_notes(problem)]), err=True)
            context.exit(problem.exit_code)
        except KeyboardInterrupt as stopped:
            told = "Interrupted. No half-written file or bundle is left. "
            told += "If a mechanism had run, its whole reservation stays booked: see 'synthkit ledger show'."
            click.echo("\n".join([told, *_notes(stopped)]), err=True)
            context.exit(1)


def _notes(problem: BaseException) -> list[str]:
    return [str(note) for note in getattr(problem, "__notes__", ())]


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="synthkit")
def main() -> None:
    """Synthetic data that may leave the house, with the evidence that it may.

    \b
    Start with:   synthkit demo
    Then:         synthkit schema draft data.csv -o data.schema.yaml
                  synthkit plan release.yaml
                  synthkit release release.yaml
    """


for _command in (anonymize, policy, explain, export, keys, sign, attest, log, report, label, vault, shred):
    main.add_command(_command)


@main.command()
@click.argument("what", type=click.Choice(["table", "images"]), default="table")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("synthkit-demo"),
    show_default=True,
    help="Folder of the demo.",
)
@click.option("--epsilon", type=float, default=3.0, show_default=True, help="Budget of the demo release.")
@JSON
def demo(what: str, output: Path, epsilon: float, as_json: bool) -> None:
    """Release the bundled UCI Adult table, or 5,000 images of MNIST, from first file to verified bundle.

    Writes a release file, a ledger of its own and a bundle into the folder; a second run adds a second
    bundle beside the first.

    \b
    Example:
      synthkit demo -o synthkit-demo
      synthkit demo images
    """
    from synthkit.privacy.budget import Budget
    from synthkit.privacy.ledger import Ledger
    from synthkit.release.job import Job
    from synthkit.release.run import run
    from synthkit.release.seals import verify

    Budget(epsilon, 1e-6)  # refused before a file is written
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    number = next(n for n in range(1, 10_000) if not (output / f"release-{n}").exists())
    file = output / f"release-{number}.yaml"
    with writing(file):
        file.write_text(
            (_DEMO if what == "table" else _IMAGE_DEMO).format(epsilon=epsilon, number=number), encoding="utf-8"
        )
    with _progress(as_json) as progress:
        release = run(Job.read(file), Ledger(output / "ledger.sqlite"), progress=progress)
    verify(release.folder)
    _show_release(release, as_json)


_DEMO = """\
version: 1
dataset: adult
data: {{sample: adult}}
budget: {{epsilon: {epsilon}, delta: 1.0e-6, adjacency: add-or-remove}}
method: {{name: auto}}
rows: 32561
holdout: 0.2
output: release-{number}
"""

_IMAGE_DEMO = """\
version: 1
dataset: mnist
data: {{sample: mnist}}
budget: {{epsilon: {epsilon}, delta: 1.0e-5, adjacency: add-or-remove}}
method: {{name: image_moments, matched: 4000, style_draws: 4000}}
rows: 5000
holdout: 0.2
output: release-{number}
"""


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--allow-unreviewed", is_flag=True, help="Release although nobody vouched for the schema; the bundle will say so."
)
@click.option("--resume", is_flag=True, help="Hand out what was held until people had signed it. Opens no data.")
@asking
@LEDGER
@JSON
def release(
    file: Path, allow_unreviewed: bool, resume: bool, asked: Asked, ledger_location: str | None, as_json: bool
) -> None:
    """Make the release that FILE asks for: fit, sample, assess, write the bundle, and hand it out.

    Where its policy asks for signatures, the bundle is held in a folder beside, and the command exits with 1.
    Once it is signed, --resume hands it out.

    \b
    Example:
      synthkit release release.yaml
    """
    from synthkit.privacy.ledger import Ledger
    from synthkit.release.job import Job
    from synthkit.release.run import resume as hand_out
    from synthkit.release.run import run

    job = asked.over(Job.read(file))
    with _progress(as_json) as progress:
        if resume:
            made = hand_out(job, Ledger(ledger_location))
        else:
            made = run(job, Ledger(ledger_location), allow_unreviewed=allow_unreviewed, progress=progress)
    _show_release(made, as_json)
    if made.held:
        click.get_current_context().exit(1)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@asking
@LEDGER
@JSON
def plan(file: Path, asked: Asked, ledger_location: str | None, as_json: bool) -> None:
    """Show the price of FILE's release, and the time and memory it needs. Opens no data.

    \b
    Example:
      synthkit plan release.yaml
    """
    from synthkit.privacy.ledger import Ledger
    from synthkit.release.job import Job
    from synthkit.release.run import price

    job = asked.over(Job.read(file))
    ledger = Ledger(ledger_location) if job.asker.policy else None  # the packaged policy asks for no total
    _show_price(price(job, ledger), as_json)


@main.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--rows", type=click.IntRange(min=0), required=True, help="How many rows.")
@click.option(
    "--where", "conditions", metavar="COLUMN=VALUE", multiple=True, help="Only rows with this value; may be repeated."
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Draw the same rows again. Costs no privacy: the model is released."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="A .csv or .parquet file to write; of linked tables, a folder; of images, a folder or an .npz file.",
)
@click.option("--on", "dataset", metavar="DATASET", help="The ledger's name for the data; a bundle says it itself.")
@asking
@JSON
def sample(
    model: Path,
    rows: int,
    conditions: tuple[str, ...],
    seed: int | None,
    output: Path,
    dataset: str | None,
    asked: Asked,
    as_json: bool,
) -> None:
    """Draw rows from a fitted MODEL: a model folder, an encrypted model, or a bundle that has one. Free of charge.

    Of linked tables, rows and conditions are of parents; both tables are written into a new folder. Of
    images, the only condition is on their label.

    \b
    Example:
      synthkit sample release/ --rows 1000 --where sex=Female -o women.csv
    """
    from synthkit.data.image_schema import ImageSchema
    from synthkit.data.tables import write_csv, write_parquet
    from synthkit.release.sampling import load
    from synthkit.synthesizers.linked import LinkedModel

    where: dict[str, str] = {}
    for column, value in map(_condition, conditions):
        if column in where:
            raise JobError(f"--where {column} is given twice; a row has one value there: draw once for each")
        where[column] = value
    refuse_existing(output)
    fitted = load(model, asker=asked.asker, dataset=dataset)
    if isinstance(fitted, LinkedModel):
        _sample_linked(fitted, rows, where, seed, output, as_json)
        return
    if isinstance(fitted.schema, ImageSchema):
        _sample_images(fitted, rows, where, seed, output, as_json)
        return
    drawn = fitted.sample(rows, where=where, seed=seed)
    with writing(output):
        (write_parquet if output.suffix.lower() == ".parquet" else write_csv)(drawn.frame, output)
    show({"rows": rows, "output": str(output)}, f"{rows} rows written to {output}", as_json)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option("--trust", type=click.Path(path_type=Path), help="The file of the keys that you trust (keys.toml).")
@click.option("--policy", type=click.Path(path_type=Path), help="The policy file that must have decided.")
@click.option(
    "--at", type=click.DateTime(["%Y-%m-%d"]), help="The day on which signatures must hold.  [default: today]"
)
@click.option("--write-verifier", "alone", type=click.Path(path_type=Path), help="Write a verifier that stands alone.")
@JSON
def verify(
    folder: Path | None,
    trust: Path | None,
    policy: Path | None,
    at: datetime | None,
    alone: Path | None,
    as_json: bool,
) -> None:
    """Check a bundle: every digest, no other file, epsilon recomputed, signatures, gate, log. Exits 1 on any doubt.

    Of anonymized true records, every model is counted again in the data.

    \b
    Example:
      synthkit verify release/ --trust keys.toml
    """
    from synthkit.cli_anonymize import summary, told
    from synthkit.release.anonymized import Checked
    from synthkit.release.seals import verify as check

    if alone is not None:
        with writing(alone):
            write_verifier(alone)
        show({"written": str(alone)}, f"{alone} written; it needs Python 3.11 and the package 'cryptography'.", as_json)
        return
    if folder is None:
        raise JobError("name the FOLDER of a bundle")
    try:
        found = check(folder, trust=trust, policy=policy, now=None if at is None else at.replace(tzinfo=UTC))
    except VerificationFailed as problem:
        if as_json:
            click.echo(json.dumps({"verified": False, "problem": str(problem)}))
        raise
    if isinstance(found, Checked):
        lines = [f"{folder}: verified. {summary(found)}", *(f"  {seal}" for seal in found.seals)]
        show({"verified": True, **told(found)}, "\n".join(lines), as_json)
        return
    facts = {
        "verified": True,
        "private": found.private,
        "epsilon": found.epsilon if found.private else None,
        "delta": found.delta,
        "adjacency": str(found.adjacency),
        "unit": str(found.unit),
        "rows": found.rows,
        "tables": {table.name: table.rows for table in found.tables},
        "files": sorted(found.files),
        "policy": found.policy,
        "seals": list(found.seals),
    }
    guarantee = (
        f"epsilon {found.epsilon:.4g} at delta {found.delta:g}" if found.private else "NON-PRIVATE: no guarantee"
    )
    rows = _counted({table.name: table.rows for table in found.tables}, found.what)
    lines = [f"{folder}: verified. {guarantee}; {rows}; {len(found.files)} files as listed."]
    if found.policy:
        lines.append(f"  policy {found.policy['name']}, asked as {found.policy['as']} for {found.policy['for']}")
    show(facts, "\n".join([*lines, *(f"  {seal}" for seal in found.seals)]), as_json)


class _AuditGroup(click.Group):
    """``audit FILE`` is ``audit configuration FILE``."""

    def resolve_command(self, context: click.Context, arguments: list[str]) -> Any:
        if arguments and arguments[0] not in self.commands and not arguments[0].startswith("-"):
            arguments = ["configuration", *arguments]
        return super().resolve_command(context, arguments)


@main.group(cls=_AuditGroup)
def audit() -> None:
    """Attack a configuration before it is released, or a release that was made.

    \b
    Example:
      synthkit audit release.yaml
    """


@audit.command("configuration")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--quick/--thorough", default=True, show_default=True, help="How much is attempted.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for audit.json and audit.html.  [default: the release's, with .audit]",
)
@asking
@JSON
def audit_configuration(file: Path, quick: bool, output: Path | None, asked: Asked, as_json: bool) -> None:
    """Attack the configuration that FILE is about to release, without opening its data. Exits 1 on a violation.

    \b
    Example:
      synthkit audit configuration release.yaml --quick
    """
    from synthkit.release.attack import audit as attack
    from synthkit.release.attack import write
    from synthkit.release.job import Job

    job = asked.over(Job.read(file))
    folder = output or job.output.with_name(f"{job.output.name}.audit")
    refuse_existing(folder)
    with _progress(as_json) as progress:
        found = attack(job, thorough=not quick, progress=progress)
    write(folder, found)
    lines = [found.verdict]
    for finding in found.findings:
        figures = "" if finding.bound is None else f"  (claimed {finding.claimed:.3f}, at least {finding.bound:.3f})"
        lines.append(f"  {finding.attack:28} {finding.outcome}{figures}")
    lines.append(f"Report: {folder / 'audit.html'}")
    show(found.to_dict(), "\n".join(lines), as_json)
    if found.violated:
        click.get_current_context().exit(1)


@audit.command("release")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--against", type=click.Choice(["holdout"]), required=True, help="Whom members are told from.")
@asking
@JSON
def audit_release(bundle: Path, against: str, asked: Asked, as_json: bool) -> None:
    """Try to tell who was in BUNDLE's training data. Internal: needs the folder beside it ('internal: allow').

    What it shows are exact figures of real rows: for the steward's eyes, never for a bundle.

    \b
    Example:
      synthkit audit release release/ --against holdout
    """
    from synthkit.release.internal import membership

    found = membership(bundle, asked.asker)
    lines = ["INTERNAL, NOT to be shared. 0.5 is guessing; the control shows what chance looks like."]
    lines += [
        f"  {one.name:30} AUC {one.auc:.4f} ({one.interval[0]:.4f} to {one.interval[1]:.4f})   "
        f"found at 1% false alarms: {one.tpr_at_1_percent:.2%}"
        for one in found
    ]
    show({"internal": True, "attacks": [vars(one) for one in found]}, "\n".join(lines), as_json)


audit.add_command(risks)


@main.command()
@JSON
def methods(as_json: bool) -> None:
    """List the methods and their settings.

    \b
    Example:
      synthkit methods
    """
    from synthkit.release.job import LINKED
    from synthkit.synthesizers.base import METHODS, method, settings_of
    from synthkit.synthesizers.linked import Linked

    listed: dict[str, Any] = {
        name: {"what": what, "settings": settings_of(method(name))} for name, (_, what) in METHODS.items()
    }
    listed[LINKED] = {"what": "two linked tables ('tables' in a release file)", "settings": settings_of(Linked())}
    lines = []
    for name, entry in listed.items():
        lines.append(f"{name}\n  {entry['what']}")
        lines += [f"    {setting}: {value}" for setting, value in entry["settings"].items()]
    show(listed, "\n".join(lines), as_json)


_ON = click.option(
    "--on", "dataset", metavar="DATASET", help="The ledger's name for the data.  [default: the schema's]"
)


@main.group()
def schema() -> None:
    """Draft, check and convert schemas: what is public about a table."""


@schema.command("draft")
@click.argument("data")
@click.option("--query", help="Where DATA is a database URL: the rows, as one SELECT.")
@click.option(
    "--null", "nulls", multiple=True, metavar="TEXT", help="A text that means 'no value', e.g. '?'; may be repeated."
)
@click.option("--name", help="The schema's name.  [default: the file's]")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The schema file to write.")
@_ON
@asking
@JSON
def schema_draft(
    data: str,
    query: str | None,
    nulls: tuple[str, ...],
    name: str | None,
    output: Path,
    dataset: str | None,
    asked: Asked,
    as_json: bool,
) -> None:
    """Propose a schema from DATA, marked unreviewed: every line learnt from values says so.

    \b
    Example:
      synthkit schema draft patients.csv -o patients.schema.yaml
    """
    from synthkit.data.drafts import draft

    refuse_existing(output)
    # Of a URL nothing is taken: it may hold a password.
    name = name or ("query" if "://" in data else Path(data).name.split(".")[0])
    asked.asker.may("draft", dataset or name)
    text = draft(_source(data, query, nulls), name=name)
    _write_text(output, text)
    show(
        {"output": str(output), "reviewed": False},
        f"{output} written. It was learnt from the data: review every marked line, then write 'reviewed: true'.",
        as_json,
    )


@schema.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("data", required=False)
@click.option("--query", help="Where DATA is a database URL: the rows, as one SELECT.")
@click.option("--null", "nulls", multiple=True, metavar="TEXT", help="A text that means 'no value'; may be repeated.")
@_ON
@asking
@JSON
def schema_check(
    file: Path,
    data: str | None,
    query: str | None,
    nulls: tuple[str, ...],
    dataset: str | None,
    asked: Asked,
    as_json: bool,
) -> None:
    """Check a schema FILE and, where DATA is given, that every row fits it.

    What it says of DATA is for the steward's eyes: it is read off the private values.

    \b
    Example:
      synthkit schema check patients.schema.yaml patients.csv
    """
    from synthkit.data.image_schema import ImageSchema
    from synthkit.data.tables import read
    from synthkit.release.image_job import read_schema as at

    read_schema = at(file)
    if isinstance(read_schema, ImageSchema):
        if data is not None:
            asked.asker.may("draft", dataset or read_schema.name)
        _check_image_schema(file, read_schema, data, as_json)
        return
    label = None
    if data is not None:
        asked.asker.may("draft", dataset or read_schema.name)
        source = _source(data, query, nulls)
        read(source, read_schema, dataset=read_schema.name)
        label = source.label  # a URL may hold a password, a label never does
    facts = {
        "name": read_schema.name,
        "columns": len(read_schema.columns),
        "cells": sum(read_schema.domain.values()),
        "reviewed": read_schema.reviewed,
        "data": label,
    }
    text = f"{file}: schema {read_schema.name}, {len(read_schema.columns)} columns, unit {read_schema.unit}"
    text += ", reviewed" if read_schema.reviewed else ", NOT reviewed: a release refuses it"
    show(facts, text + (f"; every row of {label} fits" if label else ""), as_json)


@schema.command("from-sdv")
@click.argument("metadata", type=click.Path(path_type=Path))
@click.option("--data", help="Learn bounds and categories from this file (marked as learnt).")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The schema file to write.")
@_ON
@asking
@JSON
def schema_from_sdv(
    metadata: Path, data: str | None, output: Path, dataset: str | None, asked: Asked, as_json: bool
) -> None:
    """Turn SDV METADATA (JSON, version 1) into a schema to be reviewed.

    \b
    Example:
      synthkit schema from-sdv metadata.json -o patients.schema.yaml
    """
    from synthkit.data.sdv_metadata import from_sdv
    from synthkit.documents import read_text

    refuse_existing(output)
    try:
        document = json.loads(read_text(metadata))
    except (ValueError, RecursionError):
        raise JobError(f"{metadata}: not JSON; give SDV's metadata file (metadata.save_to_json)") from None
    if data:
        asked.asker.may("draft", dataset or Path(data).name.split(".")[0])
    _write_text(output, from_sdv(document, data=_source(data, None, ()) if data else None))
    show({"output": str(output), "reviewed": False}, f"{output} written, to be filled in and reviewed.", as_json)


@schema.command("to-sdv")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The JSON file to write.")
@JSON
def schema_to_sdv(file: Path, output: Path, as_json: bool) -> None:
    """Turn a schema FILE into SDV metadata (JSON, version 1). Bounds and categories have no place there.

    \b
    Example:
      synthkit schema to-sdv patients.schema.yaml -o metadata.json
    """
    from synthkit.data.schema import Schema
    from synthkit.data.sdv_metadata import to_sdv

    refuse_existing(output)
    _write_text(output, json.dumps(to_sdv(Schema.read(file)), indent=2) + "\n")
    show({"output": str(output)}, f"{output} written.", as_json)


@main.group()
def ledger() -> None:
    """Show and check what was ever spent on each dataset."""


@ledger.command("show")
@click.argument("dataset", required=False)
@LEDGER
@JSON
def ledger_show(dataset: str | None, ledger_location: str | None, as_json: bool) -> None:
    """Show the total spent on DATASET, or on all.

    \b
    Example:
      synthkit ledger show adult
    """
    from synthkit.privacy.ledger import Ledger

    _refuse_missing(ledger_location)
    book = Ledger(ledger_location)
    if dataset and dataset not in book.datasets():
        known = ", ".join(book.datasets()) or "none"
        click.echo(f"Note: the ledger has no entry for {dataset}; datasets in it: {known}.", err=True)
    rows: list[dict[str, Any]] = []
    for name in [dataset] if dataset else book.datasets():
        spent = book.spent(name)
        rows.append(
            {
                "dataset": name,
                "epsilon": _finite(spent.epsilon),
                "delta": spent.delta,
                "adjacency": str(spent.adjacency) if spent.adjacency else None,
                "unit": str(spent.unit) if spent.unit else None,
                "releases": spent.releases,
                "reserved": spent.reserved,
                "cap": {"epsilon": spent.cap.epsilon, "delta": spent.cap.delta} if spent.cap else None,
            }
        )
    lines = [f"{'dataset':24} {'epsilon':>9} {'delta':>9} {'releases':>8} {'open':>5}  cap"]
    for row in rows:
        epsilon = "infinite" if row["epsilon"] is None else f"{row['epsilon']:.4f}"
        cap = f"epsilon {row['cap']['epsilon']:g}" if row["cap"] else "none"
        lines.append(
            f"{row['dataset']!s:24} {epsilon:>9} {row['delta']:>9.1e} {row['releases']:>8} {row['reserved']:>5}  {cap}"
        )
    show({"location": book.location, "datasets": rows}, "\n".join(lines) if rows else "The ledger is empty.", as_json)


@ledger.command("verify")
@LEDGER
@JSON
def ledger_verify(ledger_location: str | None, as_json: bool) -> None:
    """Check that no entry was changed, removed or reordered. Exits 1 on any doubt.

    \b
    Example:
      synthkit ledger verify
    """
    from synthkit.privacy.ledger import Ledger

    _refuse_missing(ledger_location)
    book = Ledger(ledger_location)
    count = book.verify()
    show({"verified": True, "entries": count}, f"{book.location}: {count} entries, the chain is whole.", as_json)


@ledger.command("cap")
@click.argument("dataset")
@click.option("--epsilon", type=float, required=True, help="Most that may ever be spent.")
@click.option("--delta", type=float, required=True, help="The delta at which it is counted.")
@LEDGER
@JSON
def ledger_cap(dataset: str, epsilon: float, delta: float, ledger_location: str | None, as_json: bool) -> None:
    """Set the most that may ever be spent on DATASET.

    \b
    Example:
      synthkit ledger cap adult --epsilon 5 --delta 1e-6
    """
    from synthkit.privacy.ledger import Ledger

    Ledger(ledger_location).cap(dataset, epsilon, delta)
    show(
        {"dataset": dataset, "epsilon": epsilon, "delta": delta},
        f"{dataset}: at most epsilon {epsilon:g} at delta {delta:g}.",
        as_json,
    )


def _sample_linked(
    fitted: LinkedModel, rows: int, where: dict[str, str], seed: int | None, output: Path, as_json: bool
) -> None:
    """Both tables into a new folder, each as CSV and as Parquet, as in a bundle."""
    from synthkit.data.tables import write_csv, write_parquet

    if output.suffix.lower() in _TABLE_SUFFIXES:
        raise JobError(f"{output}: a model of linked tables gives two tables; name a folder, such as {output.stem}/")
    drawn = fitted.sample(rows, where=where, seed=seed)
    tables = {fitted.schema.parent.name: drawn.parents, fitted.schema.child.name: drawn.children}
    with writing(output):
        output.mkdir()
        try:
            for name, frame in tables.items():
                write_csv(frame, output / f"{name}.csv")
                write_parquet(frame, output / f"{name}.parquet")
        except BaseException:
            shutil.rmtree(output, ignore_errors=True)
            raise
    counts = {name: len(frame) for name, frame in tables.items()}
    show({"rows": counts, "output": str(output)}, f"{_counted(counts)} written into {output}", as_json)


def _sample_images(
    fitted: ImageModel, rows: int, where: dict[str, str], seed: int | None, output: Path, as_json: bool
) -> None:
    """Images as a folder of PNG files with a folder for every class, or as one .npz archive."""
    from synthkit.data.image_files import write_folder, write_npz
    from synthkit.data.images import Images

    if output.suffix.lower() in _TABLE_SUFFIXES:
        raise JobError(f"{output}: a model of images gives images; name a folder, or a file that ends in .npz")
    drawn = fitted.sample(rows, where=where, seed=seed)
    images = Images(drawn.pixels, drawn.labels)
    with writing(output):
        (write_npz if output.suffix.lower() == ".npz" else write_folder)(images, fitted.schema, output)
    show({"rows": rows, "output": str(output)}, f"{rows} images written to {output}", as_json)


def _show_price(priced: Price, as_json: bool) -> None:
    from synthkit.privacy import events

    budget = priced.training.budget
    parts: list[dict[str, Any]] = []
    for name, share, part in (
        ("training", 1 - priced.share, priced.training),
        ("holdout", priced.share, priced.holdout),
    ):
        if part is not None:
            parts.append(
                {
                    "part": name,
                    "share": share,
                    "epsilon": _finite(part.epsilon),
                    "noise": dict(part.noise),
                    "event": events.to_json(part.event),
                    "seconds": part.seconds,
                    "megabytes": part.megabytes,
                    "note": part.note,
                }
            )
    facts = {
        "epsilon": _finite(priced.epsilon),
        "delta": budget.delta,
        "adjacency": budget.adjacency.value,
        "unit": str(budget.unit),
        "parts": parts,
        "seconds": priced.seconds,
        "explaining": priced.explaining,
        "megabytes": priced.megabytes,
    }
    epsilon = "infinite: no guarantee, cannot be released" if facts["epsilon"] is None else f"{priced.epsilon:.4g}"
    lines = [f"epsilon {epsilon} at delta {budget.delta:g}, {budget.adjacency.value}, unit: {budget.unit}"]
    for entry in parts:
        price = "infinite" if entry["epsilon"] is None else f"{entry['epsilon']:.4g}"
        noise = ", ".join(f"{key} {value:.4g}" for key, value in entry["noise"].items())
        lines.append(
            f"  {entry['part']:9} {entry['share']:5.0%} of the units   epsilon {price}   noise: {noise or 'none'}"
        )
        if entry["note"]:
            lines.append(f"            {entry['note']}")
    if len(parts) > 1:
        lines.append("  Every unit is in one of the two, so they compose in parallel.")
    if priced.explaining:
        lines.append(f"  The explanation takes about {_duration(priced.explaining)} of it.")
    lines.append(f"forecast: about {_duration(priced.seconds)}, {priced.megabytes / 1000:.1f} GB (two cores, no GPU)")
    show(facts, "\n".join(lines), as_json)


def _show_release(made: Release, as_json: bool) -> None:
    from synthkit.release.report import tables_of

    figures = {figure.name: figure for figure in made.evidence}
    facts = {
        "folder": str(_near(made.folder)),
        "held": made.held,
        "gate": made.gate.to_dict(),
        "epsilon": made.epsilon,
        "budget": made.manifest["budget"],
        "evidence": [figure.to_dict() for figure in made.evidence],
        "internal": str(made.internal) if made.internal else None,
    }
    budget = made.manifest["budget"]
    counts = {name: table["rows"] for name, table in tables_of(made.manifest).items()}
    rows = _counted(
        counts,
        "synthetic rows" if "tables" in made.manifest or "columns" in made.manifest["schema"] else "synthetic images",
    )
    lines = [
        f"{_near(made.folder)}: {rows}",
        f"  epsilon {made.epsilon:.4f} spent of {budget['epsilon']:g}, delta {budget['delta']:g}",
    ]
    for name, figure in figures.items():
        low, high = figure.interval or (figure.value, figure.value)
        lines.append(f"  {name:36} {figure.value:7.4f}   ({low:.4f} to {high:.4f})  {figure.payment}")
    if made.internal:
        lines.append(f"  exact figures, NOT to be shared: {made.internal}")
    folder = _near(made.folder)
    lines.append(f"Report: {folder / 'report.html'}")
    if made.held:
        lines += ["", str(made.gate), "", f"Held in {folder} until it is signed; then: synthkit release FILE --resume"]
    else:
        lines.append(f"Check:  synthkit verify {folder}")
    show(facts, "\n".join(lines), as_json)


def _counted(rows: dict[str, int], what: str = "rows") -> str:
    """How many rows; of several tables, each by its name."""
    if len(rows) == 1:
        return f"{next(iter(rows.values()))} {what}"
    return ", ".join(f"{count} {what} of {name}" for name, count in rows.items())


def _near(path: Path) -> Path:
    """The path as it is called from the current folder, where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _finite(value: float) -> float | None:
    return value if value != float("inf") else None


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise JobError(f"--where {text}: write COLUMN=VALUE")
    return name, value


def _check_image_schema(file: Path, read_schema: ImageSchema, data: str | None, as_json: bool) -> None:
    from synthkit.data.image_files import images_at
    from synthkit.data.images import read_images

    source = images_at(data) if data is not None else None
    if source is not None:
        read_images(source, read_schema, dataset=read_schema.name)
    facts = {
        "name": read_schema.name,
        "size": [read_schema.channels, read_schema.height, read_schema.width],
        "classes": len(read_schema.classes),
        "reviewed": read_schema.reviewed,
        "data": source.label if source else None,
    }
    text = f"{file}: schema {read_schema}"
    text += ", reviewed" if read_schema.reviewed else ", NOT reviewed: a release refuses it"
    show(facts, text + (f"; every image of {source.label} fits" if source else ""), as_json)


def _source(data: str, query: str | None, nulls: tuple[str, ...]) -> Source:
    from synthkit.data.tables import FileSource, SqlSource

    if "://" in data:
        if query is None:
            raise JobError("a database URL needs --query 'SELECT ...'")
        return SqlSource(data, query, nulls)
    return FileSource(Path(data), nulls)


def _refuse_missing(ledger_location: str | None) -> None:
    """Opening would make an empty ledger, and an empty one where a full one was looked for is no good news."""
    if ledger_location and "://" not in ledger_location and not Path(ledger_location).expanduser().exists():
        raise JobError(f"{ledger_location}: no such ledger; check the path (the first release or cap makes it)")


def _write_text(path: Path, text: str) -> None:
    from synthkit.documents import write_atomically

    with writing(path):
        write_atomically(path, text)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[float, str], None]]:
    """A progress bar on standard error, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda share, what: None
        return
    with click.progressbar(length=1000, file=sys.stderr, item_show_func=lambda what: what, show_pos=False) as bar:

        def show(share: float, what: str) -> None:
            bar.update(max(0, round(1000 * share) - bar.pos), what)

        yield show


if __name__ == "__main__":
    main()
