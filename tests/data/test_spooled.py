"""Encrypted rows on the disk behave as rows in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography.exceptions import InvalidTag

from synthkit.data import encoding
from synthkit.data.encoding import Table, concatenate, from_frame, spool
from synthkit.data.private import reveal
from synthkit.data.schema import Unit
from synthkit.data.tables import FrameSource, read
from synthkit.errors import DataError
from synthkit.privacy.mechanisms.counts import exact_marginals
from tests.tables import frame, schema


@pytest.fixture(scope="module")
def both() -> tuple[Table, Table]:
    parts = [from_frame(frame(count), schema()) for count in (40, 0, 25, 60)]
    return concatenate(iter(parts), schema()), spool(iter(parts), schema())


def equal(one: Table, other: Table) -> None:
    assert one.rows == other.rows
    for name, values in one.columns.items():
        np.testing.assert_array_equal(values, other.columns[name])
        assert values.dtype == other.columns[name].dtype


@pytest.mark.parametrize(
    "of",
    [
        lambda table: table,
        lambda table: table.part(slice(30, 70)),
        lambda table: table.part(slice(100, 10_000)),
        lambda table: table.part(slice(124, 124)),
        lambda table: table.take(np.array([3, 124, 3, 41])),
        lambda table: table.take(np.arange(125) % 3 == 0),
        lambda table: table.take(np.arange(125) % 3 == 0).take(np.arange(42) % 2 == 1).part(slice(5, 15)),
        lambda table: table.take(np.zeros(125, dtype=bool)),
    ],
)
def test_the_same_rows(both: tuple[Table, Table], of: Callable[[Table], Table]) -> None:
    equal(of(both[0]), of(both[1]))


def test_counts_are_the_same(both: tuple[Table, Table]) -> None:
    names = list(schema().domain)
    queries = [(names[0],), (names[1], names[2])]
    for one, other in zip(*(exact_marginals(table, schema(), queries) for table in both), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_in_steps_are_refused(both: tuple[Table, Table]) -> None:
    with pytest.raises(ValueError, match="steps of 2"):
        both[1].part(slice(0, 10, 2))


def test_a_large_table_is_put_away_and_keys_of_units_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "IN_MEMORY", 100)
    data = frame(50).assign(patient=np.arange(50) // 2)
    public = schema(unit=Unit("patient", 2))
    put_away = reveal(read(FrameSource(data), public, dataset="d", batch_rows=20))
    monkeypatch.undo()
    held = reveal(read(FrameSource(data), public, dataset="d"))
    assert type(put_away.columns) is not dict and type(held.columns) is dict
    equal(held, put_away)
    assert held.units is not None and put_away.units is not None
    np.testing.assert_array_equal(held.units, put_away.units)


def test_what_is_on_the_disk_is_sealed(both: tuple[Table, Table]) -> None:
    """No value stands in the file, and what was changed there is not read."""
    part = from_frame(frame(60), schema())
    spooled = spool(iter([part]), schema())
    descriptor = spooled.columns._sealed._file.fileno()  # type: ignore[attr-defined]
    content = os.pread(descriptor, 10**6, 0)
    assert len(content) > sum(values.nbytes for values in part.columns.values())
    for values in part.columns.values():
        assert values[:8].tobytes() not in content
    os.pwrite(descriptor, bytes([content[5] ^ 1]), 5)
    with pytest.raises(InvalidTag):
        spooled.columns[next(iter(part.columns))]


def test_no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="TMPDIR"):
        spool(iter([from_frame(frame(5), schema())]), schema())
