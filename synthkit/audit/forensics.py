"""Artefact forensics: is a planted value found in anything that was written or said?

Unique texts and numbers are planted in a table before a fit. Whatever comes of it (models, bundles,
ledgers, logs, tracebacks, reprs) is then searched for them in every form in which software keeps
values: UTF-8 and UTF-16 text, decimal digits, float and integer bytes, inside gzip, zip, PNG, Parquet
and SQLite files, too.
Finding none is no proof; finding one ends the discussion.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_FEWEST_DIGITS = 6  # shorter numbers occur by chance


@dataclass(frozen=True)
class Found:
    """A planted value that was found.

    Attributes:
        planted: the name that it was planted under; never the value.
        where: file or artefact.
        form: how it was kept.
    """

    planted: str
    where: str
    form: str


def search(places: Mapping[str, bytes | str | Path], planted: Mapping[str, str | float | int]) -> list[Found]:
    """Look for every planted value in every place.

    Args:
        places: by name: bytes, text, or a file or folder that is searched with all it holds.
        planted: by name: a text of six characters or more, or a number of six digits or more.

    Raises:
        ValueError: a planted value so short that it would occur by chance.
    """
    return search_bytes(places, {name: _forms(value) for name, value in planted.items()})


def search_bytes(places: Mapping[str, bytes | str | Path], forms: Mapping[str, Mapping[str, bytes]]) -> list[Found]:
    """As :func:`search`, for patterns of bytes: by name, in each of several forms, which are named, too."""
    found = []
    for where, content in _contents(places):
        for name, kept in forms.items():
            found += [Found(name, where, form) for form, pattern in kept.items() if pattern in content]
    return found


def _forms(value: str | float | int) -> dict[str, bytes]:
    if isinstance(value, str):
        if len(value) < _FEWEST_DIGITS:
            raise ValueError("plant a text of six characters or more: shorter ones occur by chance")
        plain = value.encode()
        # The first bytes of base64 hold at any alignment of three; the others are cut away.
        coded = {f"base64 at offset {k}": base64.b64encode(b" " * k + plain)[4 if k else 0 : -4] for k in range(3)}
        return {"text": plain, "UTF-16": value.encode("utf-16-le"), **{k: v for k, v in coded.items() if len(v) >= 8}}
    digits = repr(value)
    if sum(character.isdigit() for character in digits.rstrip("0").rstrip(".")) < _FEWEST_DIGITS:
        raise ValueError("plant a number of six digits or more: shorter ones occur by chance")
    forms = {"digits": digits.encode(), "float64": np.float64(value).tobytes()}
    forms["big-endian float64"] = struct.pack(">d", value)  # how pickle keeps a float
    if abs(value) < float(np.finfo(np.float32).max):
        forms["float32"] = np.float32(value).tobytes()
    for width in (8, 4):
        if isinstance(value, int) and abs(value) < 2 ** (8 * width - 1):
            forms[f"int{8 * width}"] = value.to_bytes(width, "little", signed=True)
    return forms


def _contents(places: Mapping[str, bytes | str | Path]) -> Iterator[tuple[str, bytes]]:
    for name, place in places.items():
        if isinstance(place, Path):
            for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
                if path.is_file():
                    yield from _unpacked(
                        f"{name}/{path.relative_to(place)}" if place.is_dir() else name, path.read_bytes()
                    )
        else:
            yield from _unpacked(name, place.encode() if isinstance(place, str) else place)


def _unpacked(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """The content, and what it holds where it is a packed format."""
    yield name, content
    try:
        if content.startswith(b"\x1f\x8b"):
            yield from _unpacked(f"{name} (unpacked)", gzip.decompress(content))
        elif content.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for member in archive.namelist():
                    yield from _unpacked(f"{name} ({member})", archive.read(member))
        elif content.startswith(b"\x89PNG"):
            from PIL import Image

            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                yield f"{name} (pixels)", np.asarray(picture).tobytes()
        elif content.startswith(b"PAR1"):
            import pyarrow.parquet as pq

            table = pq.read_table(io.BytesIO(content))
            shown = "\n".join("\t".join(map(str, row.values())) for row in table.to_pylist())
            yield f"{name} (rows)", shown.encode()
            yield f"{name} (metadata)", str(table.schema.metadata).encode()
        elif content.startswith(b"SQLite format 3\x00"):
            yield f"{name} (rows)", _dump(content)
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, sqlite3.Error):
        return  # not such a file after all: its bytes were searched


def _dump(content: bytes) -> bytes:
    """An SQLite file as statements: it keeps whole numbers in as few bytes as will do."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        # Bytes 18 and 19 ask for a write-ahead log beside the file; there is none in memory.
        database.deserialize(content[:18] + b"\x01\x01" + content[20:])
        return "\n".join(database.iterdump()).encode()


__all__ = ["Found", "search", "search_bytes"]
