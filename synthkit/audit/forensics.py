"""Artefact forensics: is a planted value found in anything that was written or said?

Unique texts and numbers are planted in a table before a fit. Whatever comes of it (models, bundles,
ledgers, logs, tracebacks, reprs) is then searched for them in every form in which software keeps
values: UTF-8 and UTF-16 text, decimal digits, float and integer bytes, inside gzip and Parquet, too.
Finding none is no proof; finding one ends the discussion.
"""

from __future__ import annotations

import base64
import gzip
import io
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
    forms = {name: _forms(value) for name, value in planted.items()}
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
    forms = {"digits": digits.encode(), "float64": np.float64(value).tobytes(), "float32": np.float32(value).tobytes()}
    if isinstance(value, int):
        forms |= {"int64": np.int64(value).tobytes(), "int32": np.int32(value).tobytes()}
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
    if content[:2] == b"\x1f\x8b":
        try:
            yield f"{name} (unpacked)", gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            return  # not gzip after all: its bytes were searched
    if content[:4] == b"PAR1":
        import pyarrow.parquet as pq

        table = pq.read_table(io.BytesIO(content))
        shown = "\n".join("\t".join(map(str, row.values())) for row in table.to_pylist())
        yield f"{name} (rows)", shown.encode()
        yield f"{name} (metadata)", str(table.schema.metadata).encode()


__all__ = ["Found", "search"]
