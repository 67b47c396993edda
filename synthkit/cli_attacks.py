"""The command that attacks a synthetic table with the knowledge of its original: parse, call a verb, show the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from synthkit.cli_options import JSON, Asked, asking, refuse_existing, show


@click.command("risks")
@click.argument("synthetic", type=click.Path(path_type=Path))
@click.option(
    "--original",
    type=click.Path(path_type=Path),
    help="Real rows that it was made of.  [default: a bundle's internal folder]",
)
@click.option(
    "--control", type=click.Path(path_type=Path), help="Real rows that it was not made of.  [default: likewise]"
)
@click.option("--schema", type=click.Path(path_type=Path), help="The schema file of all three.  [default: a bundle's]")
@click.option("--on", "dataset", metavar="DATASET", help="The ledger's name for the real rows.  [default: a bundle's]")
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
    synthetic: Path, original: Path | None, control: Path | None, schema: Path | None, dataset: str | None, knows: tuple[str, ...],
    secret: tuple[str, ...], attacks: int, seed: int, output: Path | None, asked: Asked, as_json: bool,
) -> None:  # fmt: skip
    """Attack SYNTHETIC (a table, or a bundle of one) by the three risks: singling out, linkability, inference. Internal.

    Of a bundle whose release file said 'internal: allow', the rows of its training and its holdout are taken from the
    internal folder beside it; else name the four. What it shows are exact figures of real rows: for the steward's eyes,
    never for a bundle or a gate.

    \b
    Example:
      synthkit audit risks release/ --original people.csv --control others.csv --schema people.schema.yaml --on people
    """
    from synthkit.data.schema import Schema
    from synthkit.data.tables import FileSource
    from synthkit.errors import JobError
    from synthkit.release import risks as attacked

    if output is not None:
        refuse_existing(output)
    settings: dict[str, Any] = {
        "asker": asked.asker, "auxiliary": knows or None, "secrets": secret, "attacks": attacks, "seed": seed,
    }  # fmt: skip
    named = {"--original": original, "--control": control, "--schema": schema, "--on": dataset}
    beside: Path | None = None
    if original is not None and control is not None and schema is not None and dataset is not None:
        found = attacked.risks(
            synthetic, FileSource(original), FileSource(control), Schema.read(schema), dataset=dataset, **settings
        )
    elif any(value is not None for value in named.values()):
        missing = [name for name, value in named.items() if value is None]
        raise JobError(f"{', '.join(missing)} missing: name all of {', '.join(named)}, or none, of a bundle")
    elif not synthetic.is_dir():
        raise JobError(f"{synthetic}: is no bundle; name the rows that it is held against: {', '.join(named)}")
    else:
        found, beside = attacked.of_bundle(synthetic, **settings)
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
    if beside is not None:
        lines.append(f"Written to {beside}")
    if output is not None:
        lines.append(f"Written to {attacked.write(output, found)}")
    show({"internal": True, **attacked.document(found)}, "\n".join(lines), as_json)


__all__ = ["risks"]
