"""Files that only their owner may read: keys, and what must not lie about."""

from __future__ import annotations

import os
from pathlib import Path

from synthkit.errors import JobError


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, from its first byte on; never over another.

    Raises:
        JobError: it exists, or cannot be written.
    """
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise JobError(f"{path} exists; nothing is overwritten: name another file") from None
    except OSError as problem:
        raise JobError(f"{path}: cannot be written: {problem.strerror}; name another place") from None
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        path.unlink(missing_ok=True)  # half of it is of no use
        raise


def read_secret(path: Path) -> bytes:
    """Read a file that only its owner may read.

    Raises:
        JobError: there is none, or others may read or write it.
    """
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode & 0o777
            if mode & 0o077:
                raise JobError(
                    f"{path}: others may read or write this key (mode {mode:o}); 'chmod 600 {path}', and think about "
                    "whether somebody has done so"
                )
            return stream.read()
    except FileNotFoundError:
        raise JobError(f"{path}: no such key; 'synthkit keys new' makes one") from None
    except OSError as problem:
        raise JobError(f"{path}: cannot be read: {problem.strerror}") from None


def shred(path: Path) -> None:
    """Overwrite a file with zeros, and remove it.

    A disk or a file system that writes elsewhere (flash memory, snapshots, copy on write, a backup) may keep the old
    bytes all the same. What must be gone for certain is kept encrypted, and its identity is destroyed.

    Raises:
        JobError: it cannot be overwritten or removed.
    """
    try:
        with path.open("r+b") as stream:
            left = os.fstat(stream.fileno()).st_size
            while left > 0:
                left -= stream.write(b"\0" * min(left, 1 << 20))
            stream.flush()
            os.fsync(stream.fileno())
        path.unlink()
    except OSError as problem:
        raise JobError(f"{path}: cannot be shredded: {problem.strerror}") from None


__all__ = ["read_secret", "shred", "write_secret"]
