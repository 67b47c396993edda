"""The command that lets a copy of a bundle leave the house: parse, call a verb, show the result."""

from __future__ import annotations

from pathlib import Path

import click

from synthkit.cli_options import JSON, LEDGER, Asked, asking, show


@click.command("export")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--to", metavar="RECIPIENT", required=True, help="Who gets it, as policy and release name them.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The copy: a folder, or a file with --lock."
)
@click.option("--lock", "readers", metavar="AGE1...", multiple=True, help="Encrypt the copy to this key of theirs.")
@click.option("--trust", type=click.Path(path_type=Path), help="The file of the keys whose signatures count.")
@asking
@LEDGER
@JSON
def export(
    bundle: Path,
    to: str,
    output: Path,
    readers: tuple[str, ...],
    trust: Path | None,
    asked: Asked,
    ledger_location: str | None,
    as_json: bool,
) -> None:
    """Hand a copy of BUNDLE to somebody, if today's policy lets it leave. Exits 1 where it does not.

    The bundle is verified, the gate decides again, and the log says to whom it went.

    \b
    Example:
      synthkit export release/ --to registry -o to-registry
    """
    from synthkit.privacy.ledger import Ledger
    from synthkit.release.export import export as hand

    made = hand(
        bundle,
        to=to,
        destination=output,
        ledger=Ledger(ledger_location),
        asker=asked.asker,
        trust=trust,
        readers=readers,
    )
    facts = {"output": str(made.path), "receipt": str(made.receipt), "to": to, "gate": made.gate.to_dict()}
    text = f"{made.path}: a copy for {to}; {made.place} in the log.\nKeep the receipt: {made.receipt}"
    show(facts, text, as_json)


__all__ = ["export"]
