"""The command about explanations: parse, call a verb, show the result."""

from __future__ import annotations

from pathlib import Path

import click

from synthkit.cli_options import JSON, Asked, asking, show
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
@click.option("--on", "dataset", metavar="DATASET", help="The ledger's name for the data; a bundle says it itself.")
@asking
@JSON
def explain(
    model: Path,
    rows: int,
    seeds: int,
    seed: int,
    output: Path | None,
    dataset: str | None,
    asked: Asked,
    as_json: bool,
) -> None:
    """Explain MODEL: a model folder, an encrypted model, or a bundle that has one. Free: only synthetic rows are looked at.

    \b
    Example:
      synthkit explain release/ -o release.explanation
    """
    from synthkit.release.explaining import PAGE, explain_saved, write
    from synthkit.release.sampling import allow

    folder = output or model.absolute().with_name(f"{model.absolute().name}.explanation")
    if folder.exists():
        raise JobError(f"{folder} exists; name another folder, or move it away")
    allow(model, asked.asker, "explain", dataset=dataset)
    explained = explain_saved(model, rows=rows, seeds=seeds, seed=seed)
    write(folder, explained)
    lines = [*explained.verdict, f"Report: {folder / PAGE}"]
    show(explained.to_dict(), "\n".join(lines), as_json)


__all__ = ["explain"]
