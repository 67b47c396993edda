"""A planted value is found in every form in which software keeps values."""

from __future__ import annotations

import base64
import gzip
import io
import json
import pickle
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthkit.audit.forensics import Found, search

TEXT, NUMBER, WHOLE = "zq-planted-8812", 48613.7, 10_004_817
PLANTED: dict[str, str | float | int] = {"text": TEXT, "number": NUMBER, "whole": WHOLE}


def forms(places: Any) -> set[tuple[str, str]]:
    return {(found.planted, found.form) for found in search(places, PLANTED)}


def around(content: bytes) -> bytes:
    """Content in the midst of other bytes, at an odd offset."""
    return b"\x00\x07x" + content + b"y\x00\xff"


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (around(TEXT.encode()), ("text", "text")),
        (around(TEXT.encode("utf-16")), ("text", "UTF-16")),
        (around(TEXT.encode("utf-16-le")), ("text", "UTF-16")),
        (json.dumps({"a": [TEXT]}).encode(), ("text", "text")),
        (pickle.dumps({"a": [TEXT]}), ("text", "text")),
        (pd.DataFrame({"a": [TEXT]}).to_csv().encode(), ("text", "text")),
        (repr(pd.DataFrame({"a": [NUMBER]})).encode(), ("number", "digits")),
        (json.dumps([1, NUMBER, 2]).encode(), ("number", "digits")),
        (around(np.array([1.0, NUMBER]).tobytes()), ("number", "float64")),
        (around(np.array([1.0, NUMBER], np.float32).tobytes()), ("number", "float32")),
        (around(np.array([1.0, NUMBER], ">f8").tobytes()), ("number", "big-endian float64")),
        (b"n=10004817.0;", ("whole", "digits")),
        (around(np.array([1, WHOLE]).tobytes()), ("whole", "int64")),
        (around(np.array([1, WHOLE], np.int32).tobytes()), ("whole", "int32")),
        (around(np.array([WHOLE], np.float64).tobytes()), ("whole", "float64")),
        (around(np.array([WHOLE], np.float32).tobytes()), ("whole", "float32")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_every_form_is_found(content: bytes, form: tuple[str, str]) -> None:
    assert form in forms({"place": content})


@pytest.mark.parametrize("before", range(6))
def test_base64_is_found_at_every_offset(before: int) -> None:
    found = forms({"place": base64.b64encode(b"." * before + TEXT.encode() + b"!" * (before % 4))})
    assert any(name == "text" and form.startswith("base64") for name, form in found)


def test_gzip_and_zip_and_what_is_in_them() -> None:
    packed = gzip.compress(gzip.compress(TEXT.encode() * 3))
    (once,) = {found.where for found in search({"log.gz": packed}, PLANTED)}
    assert once == "log.gz (unpacked) (unpacked)"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("weights/0", np.full(100, NUMBER).tobytes())
    assert search({"model.pt": archive.getvalue()}, PLANTED) == [Found("number", "model.pt (weights/0)", "float64")]
    numbers = io.BytesIO()
    np.savez_compressed(numbers, counts=np.array([WHOLE, 3]))
    assert ("whole", "int64") in forms({"counts.npz": numbers.getvalue()})


@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_parquet(tmp_path: Path, compression: str) -> None:
    rows = pd.DataFrame({"a": ["x", TEXT] * 50, "b": [1.0, NUMBER] * 50, "c": [2, WHOLE] * 50})
    rows.to_parquet(tmp_path / "data.parquet", compression=compression)
    assert {name for name, _ in forms({"data": tmp_path / "data.parquet"})} == set(PLANTED)


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_sqlite(tmp_path: Path, journal: str) -> None:
    path = tmp_path / "ledger.sqlite"
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA journal_mode={journal}")
    database.execute("CREATE TABLE entries (a TEXT, b REAL, c INTEGER)")
    database.execute("INSERT INTO entries VALUES (?, ?, ?)", (TEXT, NUMBER, WHOLE))
    database.commit()
    database.close()
    assert {name for name, _ in forms({"ledger": path})} == set(PLANTED)


def test_folders_are_searched_with_all_they_hold(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/deep.txt").write_text(TEXT)
    (tmp_path / "a/clean.txt").write_text("nothing")
    found = search({"release": tmp_path}, PLANTED)
    assert found == [Found("text", "release/a/b/deep.txt", "text")]
    assert search({"file": tmp_path / "a/b/deep.txt"}, PLANTED) == [Found("text", "file", "text")]
    assert search({"words": f"error in {TEXT}"}, PLANTED) == [Found("text", "words", "text")]


def test_what_was_found_shows_no_value() -> None:
    assert TEXT not in repr(search({"place": TEXT}, PLANTED))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nothing",
        b"\x1f\x8b no gzip",
        b"\x1f\x8b\x08\x00 no gzip either, though it begins like it",
        gzip.compress(b"x" * 100)[:30],
        b"PK\x03\x04 no archive",
        b"PAR1 no table",
        b"SQLite format 3\x00 no database",
        np.random.default_rng(0).bytes(200_000),
    ],
    ids=["empty", "clean", "gz", "gzip", "torn", "zip", "parquet", "sqlite", "random"],
)
def test_nothing_is_found_where_nothing_is(content: bytes) -> None:
    assert search({"place": content}, PLANTED) == []


def test_a_broken_package_is_searched_as_bytes() -> None:
    assert forms({"place": b"PAR1" + TEXT.encode()}) == {("text", "text")}


@pytest.mark.parametrize("value", ["", "short", "12345", 12_345, 1_000_000, 0.5, 99.5, 1e20, -0.0])
def test_what_would_occur_by_chance_is_refused(value: str | float) -> None:
    with pytest.raises(ValueError, match="by chance"):
        search({"place": b""}, {"x": value})


@pytest.mark.parametrize("value", [3_000_000_017, -10_004_817, 2**52 + 12_345, 2**70 + 1, 1.2345678e200, -48613.7])
def test_numbers_of_every_size_can_be_planted(value: float) -> None:
    found = search({"text": f"x={value!r};", "bytes": around(np.float64(value).tobytes())}, {"x": value})
    assert {item.form for item in found} >= {"digits", "float64"}
