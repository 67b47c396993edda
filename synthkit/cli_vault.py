"""The commands about what lies on the disk: encrypt it, and destroy it at the end of its retention."""

from __future__ import annotations

from pathlib import Path

import click

from synthkit.cli_options import JSON, show
from synthkit.errors import JobError


@click.group()
def vault() -> None:
    """Encrypt what stays in the house."""


@vault.command("new")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The identity (private key) to write."
)
@JSON
def new(output: Path, as_json: bool) -> None:
    """Make a key pair of age: the identity reads, the public key (age1...) is who it is encrypted to.

    \b
    Example:
      synthkit vault new -o steward.identity
    """
    from synthkit.data.vault import new_identity

    public = new_identity(output)
    show({"identity": str(output), "public": public}, f"{output}: keep it secret. Public key: {public}", as_json)


@vault.command("lock")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--to", "recipients", metavar="AGE1...", multiple=True, required=True, help="Who may read; may be repeated."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write.  [default: FILE with .age]")
@JSON
def lock(file: Path, recipients: tuple[str, ...], output: Path | None, as_json: bool) -> None:
    """Encrypt FILE, such as a source table or the folder of a saved model.

    A release file may name the encrypted table as its data; commands take the encrypted model as their MODEL.

    \b
    Example:
      synthkit vault lock patients.csv --to age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
    """
    from synthkit.data.vault import SUFFIX
    from synthkit.data.vault import lock as encrypt
    from synthkit.synthesizers.locked import lock_folder

    if file.is_dir() and not (file / "model.json").is_file():
        raise JobError(f"{file}: is a folder, and holds no saved model; encrypt files one by one")
    target = output or file.with_name(file.name + SUFFIX)
    (lock_folder if file.is_dir() else encrypt)(file, target, recipients)
    show({"output": str(target)}, f"{target} written. {file} is still there: 'synthkit shred' destroys it.", as_json)


@click.command()
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--early", is_flag=True, help="Destroy a bundle before its retention is over, too.")
@click.confirmation_option(prompt="Destroy them for good?")
@JSON
def shred(paths: tuple[Path, ...], early: bool, as_json: bool) -> None:
    """Overwrite and remove files and folders. A bundle is destroyed once its retention is over.

    \b
    Example:
      synthkit shred release.internal/ --yes
    """
    from synthkit.release.retention import beside, destroy

    count = destroy(paths, early=early)
    left = [str(path) for path in beside(paths)]
    text = f"{count} files overwritten and removed. Backups, snapshots and flash memory may still hold old bytes."
    text += f"\nStill there, of the same release: {', '.join(left)}" if left else ""
    show({"files": count, "left": left}, text, as_json)


__all__ = ["shred", "vault"]
