"""Keyed names in place of direct identifiers: HMAC-SHA-256, a key for each purpose and recipient.

An unkeyed hash of a name is no pseudonym: whoever has a list of names computes it. A key is drawn here, is 256 bits
long (128 at least is read), and lies in a file that only its owner may read, never in what is given away. Two
recipients get two keys, so they cannot join their tables (EDPB Guidelines 01/2025 on pseudonymisation). Rotation adds
a key; earlier ones stay, for those who must recognise earlier names, until somebody shreds them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synthkit.anonymize.hierarchies import NULL, as_text
from synthkit.documents import canonical_json
from synthkit.errors import JobError
from synthkit.secret_files import read_secret, write_secret

LEAST_BITS = 128
_WORD = re.compile(r"[A-Za-z0-9_-]{1,60}")
_LENGTH = 32  # hexadecimal digits of a pseudonym: 128 bits


@dataclass(frozen=True)
class Key:
    """One key. Its secret is in no repr.

    Attributes:
        purpose, recipient: for which it is used, and for no other.
        version: counts from 1.
    """

    purpose: str
    recipient: str
    version: int
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        for name, word in (("purpose", self.purpose), ("recipient", self.recipient)):
            _check_word(name, word)
        if len(self.secret) * 8 < LEAST_BITS:
            raise JobError(f"a key for pseudonyms has {len(self.secret) * 8} bits; at least {LEAST_BITS} are needed")

    @property
    def fingerprint(self) -> str:
        """Tells keys apart, and says nothing of them: 16 hexadecimal digits."""
        told = canonical_json([self.purpose, self.recipient, "fingerprint"])
        return hmac.new(self.secret, told.encode(), hashlib.sha256).hexdigest()[:16]

    def names(self, values: pd.Series[Any], *, domain: str) -> pd.Series[Any]:
        """Pseudonyms of ``values``: 32 hexadecimal digits each; null stays null.

        Args:
            values: direct identifiers.
            domain: what they identify: equal values of two domains get two names.
        """
        texts = as_text(values)
        codes, firsts = pd.factorize(texts)
        begun = self._begun(["name", domain])
        named = [None if text == NULL else self._mac(begun, text)[:_LENGTH] for text in firsts]
        return pd.Series(np.array(named, object)[codes], index=values.index, name=values.name, dtype=object)

    def _begun(self, message: list[str]) -> str:
        """Canonical JSON of a list to which one text is to be added."""
        return canonical_json([self.purpose, self.recipient, *message])[:-1]

    def _mac(self, begun: str, text: str) -> str:
        return hmac.digest(self.secret, f"{begun},{encode_basestring_ascii(text)}]".encode(), "sha256").hex()


def current(folder: Path, purpose: str, recipient: str) -> Key:
    """The newest key for a purpose and a recipient; the first is drawn where there is none.

    Args:
        folder: where keys lie, outside of everything that is given away; made if absent, for its owner alone.

    Raises:
        JobError: a key that others may read, is too short, or serves another purpose or recipient too.
    """
    found = versions(folder, purpose, recipient)
    return _read(folder, purpose, recipient, found[-1]) if found else _drawn(folder, purpose, recipient, 1)


def rotate(folder: Path, purpose: str, recipient: str) -> Key:
    """A new key for a purpose and a recipient, which is the current one from now on.

    Raises:
        JobError: it cannot be written.
    """
    return _drawn(folder, purpose, recipient, max(versions(folder, purpose, recipient), default=0) + 1)


def earlier(folder: Path, purpose: str, recipient: str, version: int) -> Key:
    """A key of before a rotation.

    Raises:
        JobError: there is none.
    """
    return _read(folder, purpose, recipient, version)


def _path(folder: Path, purpose: str, recipient: str, version: int) -> Path:
    return folder / f"{purpose}.{recipient}.{version}.key"


def versions(folder: Path, purpose: str, recipient: str) -> list[int]:
    """The keys that there are for a purpose and a recipient, in order."""
    _check_word("purpose", purpose)
    _check_word("recipient", recipient)
    names = [path.name.split(".") for path in folder.glob(f"{purpose}.{recipient}.*.key")]
    return sorted(int(parts[2]) for parts in names if parts[2].isdecimal())


def _drawn(folder: Path, purpose: str, recipient: str, version: int) -> Key:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise JobError(f"{folder}: cannot be made: {problem.strerror}; name another folder for keys") from None
    key = Key(purpose, recipient, version, secrets.token_bytes(32))
    write_secret(_path(folder, purpose, recipient, version), key.secret.hex().encode())
    return key


def _read(folder: Path, purpose: str, recipient: str, version: int) -> Key:
    path = _path(folder, purpose, recipient, version)
    if not path.exists():
        raise JobError(f"{path}: no such key; without it, names that it gave cannot be recognised")
    written = read_secret(path)
    try:
        key = Key(purpose, recipient, version, bytes.fromhex(written.decode("ascii")))
    except ValueError:
        raise JobError(f"{path}: not a key for pseudonyms (hexadecimal digits); restore it from a backup") from None
    for other in sorted(folder.glob("*.key")):
        if other != path and read_secret(other).lower().strip() == written.lower().strip():
            raise JobError(
                f"{path} and {other.name} hold the same key; rotate one: each recipient needs a key of its own"
            )
    return key


def _check_word(name: str, word: str) -> None:
    if not _WORD.fullmatch(word):
        raise JobError(f"{name} {word!r}: up to 60 letters, digits, '-' and '_' are allowed: it names the key's file")


__all__ = ["LEAST_BITS", "Key", "current", "earlier", "rotate", "versions"]
