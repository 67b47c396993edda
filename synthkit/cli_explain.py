"""The command about explanations: parse, call a verb, show the result."""

from __future__ import annotations

import json
from pathlib import Path

import click

from synthkit.errors import JobError


@click.command("explain")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--rows", type=int, default=200, show_default=True, help="How many synthetic rows are explained.")
@click.option("--seeds", type=int, default=5, show_default=True, help="Draws whose rankings are compared.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all draws.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for explanation.html and explanation.json.  [default: the model's, with .explanation]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines instead of text.")
def explain(model: Path, rows: int, seeds: int, seed: int, output: Path | None, as_json: bool) -> None:
    """Explain MODEL: a model folder, or a bundle that has one. Free of charge: only synthetic rows are looked at.

    \b
    Example:
      synthkit explain release/ -o release.explanation
    """
    from synthkit.release.explaining import PAGE, explain_saved, write

    folder = output or model.absolute().with_name(f"{model.absolute().name}.explanation")
    if folder.exists():
        raise JobError(f"{folder} exists; name another folder, or move it away")
    explained = explain_saved(model, rows=rows, seeds=seeds, seed=seed)
    write(folder, explained)
    lines = [*explained.verdict, f"Report: {folder / PAGE}"]
    click.echo(json.dumps(explained.to_dict(), indent=2) if as_json else "\n".join(lines))


__all__ = ["explain"]
