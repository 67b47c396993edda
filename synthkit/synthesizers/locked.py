"""Saved models that stay in the house: one encrypted file each, opened in memory alone.

The file is an archive of the model's folder (zip, nothing compressed), encrypted to recipients by age. No file of the
model touches the disk in the open, neither when it is written nor when it is read.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from synthkit.data import vault
from synthkit.errors import InputError, JobError
from synthkit.secret_files import write_secret

Place: TypeAlias = Path | zipfile.Path  # of a model's files: a folder, or the inside of an opened archive


def place(path: str | Place) -> Place:
    """Where a saved model's files are: the folder itself, or the inside of an encrypted file, decrypted in memory.

    Raises:
        JobError: it is encrypted, and there is no identity (``SYNTHKIT_IDENTITY``).
        InputError: encrypted for somebody else, damaged, or no model.
    """
    if isinstance(path, zipfile.Path):
        return path
    path = Path(path)
    if path.suffix != vault.SUFFIX or path.is_dir():
        return path
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise InputError(f"{path}: cannot be read: {problem.strerror}; name a saved model") from None
    opened = vault.decrypt(content, source=path)
    try:
        archive = zipfile.ZipFile(io.BytesIO(opened))
        usable = all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError):
        usable = False
    if not usable:  # what is compressed may unpack to any size
        raise InputError(f"{path}: holds no model as 'synthkit vault lock' writes one")
    archive.filename = str(path)  # for messages
    return zipfile.Path(archive)


def write_locked(path: Path, save: Callable[[Place], None], recipients: Sequence[str]) -> None:
    """Write a model into one encrypted file that only its owner can read.

    Args:
        path: to be written; never over another.
        save: a model's ``save``.
        recipients: who may read it (``age1...``).

    Raises:
        JobError: no recipient, one that is none, or a file that cannot be written.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.filename = str(path)
        save(zipfile.Path(archive))
    write_secret(path, vault.encrypt(stream.getvalue(), tuple(recipients)))


def lock_folder(folder: Path, target: Path, recipients: Sequence[str]) -> None:
    """Encrypt a folder, such as a saved model's, into one file.

    Raises:
        JobError: as :func:`write_locked`; or the folder cannot be read.
    """
    names = [Path(here) / name for here, _, found in os.walk(folder) for name in found]

    def copy(inside: Place) -> None:
        for path in sorted(names):
            write_into(inside / path.relative_to(folder).as_posix(), path.read_bytes())

    try:
        write_locked(target, copy, recipients)
    except OSError as problem:
        raise JobError(f"{folder}: cannot be read: {problem.strerror}") from None


def write_into(path: Place, content: bytes) -> None:
    """Write one file of an archive."""
    assert isinstance(path, zipfile.Path)
    with path.open("wb") as stream:
        stream.write(content)


__all__ = ["Place", "lock_folder", "place", "write_into", "write_locked"]
