"""The command that attacks a synthetic table with the knowledge of its original: parse, call a verb, show the result."""

from __future__ import annotations

from pathlib import Path

import click

from synthkit.cli_options import JSON, Asked, asking, refuse_existing, show


@click.command("risks")
@click.argument("synthetic", type=click.Path(path_type=Path))
@click.option("--original", type=click.Path(path_type=Path), required=True, help="Real rows that it was made of.")
@click.option("--control", type=click.Path(path_type=Path), required=True, help="Real rows that it was not made of.")
@click.option("--schema", type=click.Path(path_type=Path), required=True, help="The schema file of all three.")
@click.option("--on", "dataset", metavar="DATASET", required=True, help="The ledger's name for the real rows.")
@click.option(
    "--knows", metavar="COLUMN", multiple=True, help="What an attacker knows; may be repeated.  [default: all]"
)
@click.option(
    "--secret", metavar="COLUMN", multiple=True, help="What he is after; may be repeated.  [default: the target]"
)
@click.option("--attacks", type=click.IntRange(1), default=500, show_default=True, help="How many of each kind.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of whom and what is attacked.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file for the figures, for its owner alone.")
@asking
@JSON
def risks(
    synthetic: Path, original: Path, control: Path, schema: Path, dataset: str, knows: tuple[str, ...],
    secret: tuple[str, ...], attacks: int, seed: int, output: Path | None, asked: Asked, as_json: bool,
) -> None:  # fmt: skip
    """Attack SYNTHETIC (a table, or a bundle of one) by the three risks: singling out, linkability, inference. Internal.

    What it shows are exact figures of real rows: for the steward's eyes, never for a bundle or a gate.

    \b
    Example:
      synthkit audit risks release/ --original people.csv --control others.csv --schema people.schema.yaml --on people
    """
    from synthkit.data.schema import Schema
    from synthkit.data.tables import FileSource
    from synthkit.release import risks as attacked

    if output is not None:
        refuse_existing(output)
    found = attacked.risks(
        synthetic,
        FileSource(original),
        FileSource(control),
        Schema.read(schema),
        dataset=dataset,
        asker=asked.asker,
        auxiliary=knows or None,
        secrets=secret,
        attacks=attacks,
        seed=seed,
    )
    lines = [
        "INTERNAL, NOT to be shared. Risk: what an attack has over the same attack on people who were not in the data."
    ]
    lines += [
        f"  {one.name:32} risk {one.risk:.3f} ({one.interval[0]:.3f} to {one.interval[1]:.3f})  {one.verdict:14} "
        f"succeeded {one.main.successes} of {one.main.attacks}, control {one.control.successes}, guessing "
        f"{one.baseline.successes}"
        for one in found
    ]
    if any(one.verdict == "no evidence" for one in found):
        lines.append("No evidence: the attack is no better than guessing, so that it fails tells nothing.")
    if output is not None:
        lines.append(f"Written to {attacked.write(output, found)}")
    show({"internal": True, **attacked.document(found)}, "\n".join(lines), as_json)


__all__ = ["risks"]
