"""The commands about keys, signatures and the log: parse, call a verb, show the result."""

from __future__ import annotations

import json
from pathlib import Path

import click

from synthkit.cli_options import JSON, LEDGER, refuse_existing, show
from synthkit.errors import JobError

_KEY = click.option("--key", type=click.Path(path_type=Path), required=True, help="Your private key.")
_ROLE = click.option("--as", "role", metavar="ROLE", required=True, help="In which role you sign.")
_DAYS = click.option("--days", type=click.IntRange(1), default=365, show_default=True, help="For how long it holds.")
_TRUST = click.option("--trust", type=click.Path(path_type=Path), help="The file of the keys that you trust.")


@click.group()
def keys() -> None:
    """Make key pairs for signatures."""


@keys.command("new")
@click.argument("name")
@click.option("--as", "roles", metavar="ROLE", multiple=True, required=True, help="A role to sign in; may be repeated.")
@click.option("--days", type=click.IntRange(1), default=365, show_default=True, help="For how long it is to be used.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The private key to write.")
@JSON
def new(name: str, roles: tuple[str, ...], days: int, output: Path, as_json: bool) -> None:
    """Make a key pair for the person NAME. What it prints belongs into keys.toml, by the hands of those who trust it.

    \b
    Example:
      synthkit keys new dora --as data-protection-officer -o dora.key
    """
    from synthkit.release.sign import new_key

    entry = new_key(output, name, roles, days=days)
    show({"private": str(output), "entry": entry}, f"# {output}: keep it secret. For keys.toml:\n{entry}", as_json)


@keys.command("images")
@click.argument("organization")
@_DAYS
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Key and certificates to write.")
@JSON
def images(organization: str, days: int, output: Path, as_json: bool) -> None:
    """Make the key by which ORGANIZATION signs images (C2PA), and a root certificate of its own.

    \b
    Example:
      synthkit keys images hospital -o images.pem
    """
    from synthkit.release.credentials import new_credentials

    root = new_credentials(output, organization, days=days)
    text = f"{output}: keep it secret; 'credentials: {output.name}' in a release file names it.\n{root}: for those who trust it."
    show({"private": str(output), "root": str(root)}, text, as_json)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@_KEY
@_ROLE
@_DAYS
@JSON
def sign(folder: Path, key: Path, role: str, days: int, as_json: bool) -> None:
    """Approve of the bundle in FOLDER, held or handed out. It is verified first.

    \b
    Example:
      synthkit sign release.held --key dora.key --as data-protection-officer
    """
    _attest(folder, key, role, None, days, as_json)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("statement")
@_KEY
@_ROLE
@_DAYS
@JSON
def attest(folder: Path, statement: str, key: Path, role: str, days: int, as_json: bool) -> None:
    """State something about the bundle in FOLDER that no machine can check, under the name that a policy gives it.

    \b
    Example:
      synthkit attest release.held study-is-registered --key eva.key --as ethics-board
    """
    _attest(folder, key, role, statement, days, as_json)


def _attest(folder: Path, key: Path, role: str, statement: str | None, days: int, as_json: bool) -> None:
    from synthkit.policy.demands import APPROVES
    from synthkit.release.sign import attest as state
    from synthkit.release.sign import read_key

    statement = statement or APPROVES
    digest = state(folder, read_key(key), role, statement, days=days)
    facts = {"bundle": digest, "role": role, "statement": statement, "days": days}
    show(facts, f"{folder}: {role} states {statement!r} for {days} days, about manifest {digest}", as_json)


@click.group()
def log() -> None:
    """Prove and check the log of all bundles that were handed out."""


@log.command("prove")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@click.option(
    "--since", type=click.IntRange(1), help="Prove that the log of so many entries is the beginning of today's."
)
@LEDGER
@JSON
def prove(folder: Path | None, since: int | None, ledger_location: str | None, as_json: bool) -> None:
    """Write a fresh proof into the bundle in FOLDER that it stands in the log; or prove that the log only grew.

    \b
    Example:
      synthkit log prove release/
    """
    from synthkit.privacy.ledger import Ledger
    from synthkit.release import log as house

    if (folder is None) == (since is None):
        raise JobError("name either the FOLDER of a bundle, or --since SIZE")
    ledger = Ledger(ledger_location)
    if folder is not None:
        place = house.prove(ledger, folder)
        show({"place": place}, f"{folder / 'log.json'} written: {place} in the log.", as_json)
    else:
        proof = house.consistency(ledger, since or 0)
        show(proof, json.dumps(proof, indent=2), as_json)


@log.command("verify")
@click.option(
    "--head", type=click.Path(path_type=Path), help="A log.json that was kept elsewhere: the log must go on from it."
)
@_TRUST
@LEDGER
@JSON
def log_verify(head: Path | None, trust: Path | None, ledger_location: str | None, as_json: bool) -> None:
    """Check that no entry of the log was changed, removed or reordered. Exits 1 on any doubt.

    \b
    Example:
      synthkit log verify --trust keys.toml
    """
    from synthkit.privacy.ledger import Ledger
    from synthkit.release import log as house
    from synthkit.release.sign import trusted

    ledger = Ledger(ledger_location)
    keys_file = None if trust is None else trusted(trust)
    count = house.verify(ledger, trust=keys_file, head=None if head is None else house.read_head(head))
    show(
        {"verified": True, "entries": count},
        f"{ledger.location}: {count} entries in the log, all as they were.",
        as_json,
    )


def write_verifier(path: Path) -> None:
    """Write the verifier that stands alone."""
    from synthkit.documents import write_atomically
    from synthkit.release import verify_alone

    refuse_existing(path)
    write_atomically(path, Path(verify_alone.__file__).read_bytes())


__all__ = ["attest", "keys", "log", "sign", "write_verifier"]
