"""Encryption at rest: age (https://age-encryption.org/v1), to the public keys of those who may read.

Whoever writes needs recipients (``SYNTHKIT_RECIPIENTS``, public), whoever reads an identity (``SYNTHKIT_IDENTITY``, the
file of a private key). What is encrypted is opened in memory alone: no decrypted copy touches the disk.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from synthkit.documents import write_atomically
from synthkit.errors import DataError, JobError
from synthkit.secret_files import read_secret, write_secret

SUFFIX = ".age"
RECIPIENTS = "SYNTHKIT_RECIPIENTS"  # age1..., several with blanks between
IDENTITY = "SYNTHKIT_IDENTITY"  # a file of AGE-SECRET-KEY-1...


def new_identity(path: Path) -> str:
    """Make a key pair; the private one goes into ``path``, readable by its owner alone. Returns the public one.

    Raises:
        JobError: the file exists, or cannot be written.
    """
    import pyrage

    identity = pyrage.x25519.Identity.generate()
    public = str(identity.to_public())
    write_secret(path, f"# public key: {public}\n{identity}\n".encode())
    return public


def lock(source: Path, target: Path, recipients: tuple[str, ...]) -> None:
    """Encrypt a file to recipients; the result is readable by its owner alone.

    Raises:
        JobError: no recipient, one that is none, or a file that cannot be read or written.
    """
    try:
        content = source.read_bytes()
    except OSError as problem:
        raise JobError(f"{source}: cannot be read: {problem.strerror}; name a file") from None
    write_secret(target, encrypt(content, recipients))


def encrypt(content: bytes, recipients: tuple[str, ...]) -> bytes:
    """``content`` for the eyes of ``recipients`` (``age1...``).

    Raises:
        JobError: no recipient, or one that is none.
    """
    import pyrage

    if not recipients:
        raise JobError("nobody is named who may read it; name recipients, such as age1...")
    try:
        keys = [pyrage.x25519.Recipient.from_str(recipient) for recipient in recipients]
    except pyrage.RecipientError:
        raise JobError("a recipient is no public key of age; it must be 'age1' and 58 more characters") from None
    encrypted: bytes = pyrage.encrypt(content, keys)
    return encrypted


def decrypt(content: bytes, *, source: Path) -> bytes:
    """What :func:`encrypt` encrypted, in memory, by the identity that ``SYNTHKIT_IDENTITY`` names.

    Raises:
        JobError: no identity, or not one.
        DataError: it is for somebody else, or damaged.
    """
    import pyrage

    problem = "it is for other recipients, or damaged"
    try:
        opened: bytes = pyrage.decrypt(content, _identities(source))
        return opened
    except pyrage.DecryptError:
        pass  # what the library says of it is not passed on
    raise DataError(f"{source}: cannot be decrypted with the identity in {IDENTITY}: {problem}")


def put(path: Path, content: bytes) -> Path:
    """Write what stays in the house: encrypted where ``SYNTHKIT_RECIPIENTS`` names any, for its owner alone in any case.

    Returns:
        where it is: ``path``, or ``path`` with ``.age``.
    """
    if readers := recipients():
        path, content = path.with_name(path.name + SUFFIX), encrypt(content, readers)
    write_atomically(path, content)
    path.chmod(0o600)
    return path


def recipients() -> tuple[str, ...]:
    """Those whom ``SYNTHKIT_RECIPIENTS`` names; empty where what stays in the house is not encrypted."""
    return tuple(os.environ.get(RECIPIENTS, "").split())


def check_recipients() -> None:
    """Find out beforehand whether ``SYNTHKIT_RECIPIENTS`` can be used.

    Raises:
        JobError: one is no public key.
    """
    if readers := recipients():
        encrypt(b"", readers)


def get(path: Path) -> bytes | None:
    """What :func:`put` wrote; None where there is nothing.

    Raises:
        JobError, DataError: as :func:`decrypt`.
    """
    if path.is_file():
        return path.read_bytes()
    locked = path.with_name(path.name + SUFFIX)
    return decrypt(locked.read_bytes(), source=locked) if locked.is_file() else None


def _identities(source: Path) -> list[Any]:
    import pyrage

    if not (named := os.environ.get(IDENTITY)):
        raise JobError(f"{source}: is encrypted; name the file of your identity in {IDENTITY}")
    lines = [line for line in read_secret(Path(named)).decode("utf-8", "replace").splitlines() if line.strip()]
    try:
        return [pyrage.x25519.Identity.from_str(line.strip()) for line in lines if not line.startswith("#")]
    except pyrage.IdentityError:
        pass
    raise JobError(f"{named}: is no identity of age; 'synthkit vault new' makes one")


__all__ = [
    "IDENTITY",
    "RECIPIENTS",
    "SUFFIX",
    "check_recipients",
    "decrypt",
    "encrypt",
    "get",
    "lock",
    "new_identity",
    "put",
    "recipients",
]
