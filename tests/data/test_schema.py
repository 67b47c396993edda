"""A schema says what is public, once, without contradiction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from synthkit.data.schema import (
    Boolean,
    Categorical,
    Column,
    Continuous,
    Datetime,
    Identifier,
    Integer,
    Numeric,
    Schema,
    Unit,
)
from synthkit.errors import SchemaError

FULL = """
version: 1
name: shop
reviewed: true
rows: 1000
unit: {column: customer, max_rows: 3}
target: plan
columns:
  customer: {kind: identifier, release: regenerate}
  plan: {kind: categorical, categories: [no, on, 1], unknown: other}
  age: {kind: integer, min: 18, max: 120, bins: [18, 30, 65], unknown: clamp, nullable: true}
  spent: {kind: continuous, min: 0, max: 1e4, decimals: 2}
  ratio: {kind: continuous, min: 1e-6, max: 1.5}
  joined: {kind: datetime, min: 2020-01-01, max: 2024-12-31, bins: [2020-01-01, 2022-01-01]}
  active: {kind: boolean, nullable: true}
"""


def document(**columns: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "name": "s", "rows": 10, "columns": columns or {"a": {"kind": "boolean"}}}


def test_a_schema_file_is_read_and_written_back(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(FULL)
    schema = Schema.read(tmp_path / "shop.yaml")
    assert schema.reviewed
    assert schema.unit == Unit("customer", 3)
    assert str(schema.unit) == "customer (at most 3 rows)"
    assert schema.units == 333
    assert list(schema.modelled) == ["plan", "age", "spent", "ratio", "joined", "active"]
    assert schema.domain == {"plan": 4, "age": 4, "spent": 16, "ratio": 16, "joined": 2, "active": 3}
    assert Schema.from_dict(schema.to_dict()) == schema
    assert schema.with_rows(0).rows == 1
    assert schema.with_rows(7).units == 2


def test_the_smallest_schema() -> None:
    schema = Schema.from_dict(document())
    assert not schema.reviewed
    assert str(schema.unit) == "row"
    assert schema.units == schema.rows == 10
    assert schema.target is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, r"s\.yaml: version is 2; this synthkit reads version 1"),
        ({"version": True}, "version"),
        ({"version": None}, "version is None"),
        ({"rows": 0}, "rows"),
        ({"rows": 1.0}, "rows"),
        ({"surprise": 1}, "surprise"),
        ({"columns": {}}, "columns"),
        ({"columns": {"a": {"kind": "identifier"}}}, "only identifiers"),
        ({"target": "b"}, "target 'b'"),
        ({"unit": {"column": "a", "max_rows": 1}}, "must be declared as a column of kind identifier"),
        ({"unit": {"column": "b", "max_rows": 1}}, "must be declared"),
        ({"unit": "person"}, "unit"),
        ({"columns": {f"c{i}": {"kind": "boolean"} for i in range(2001)}}, "2001 columns; at most 2000"),
    ],
)
def test_a_contradictory_schema_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Schema.from_dict({**document(), **change}, source="s.yaml")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "number"}, "kind"),
        ({"kind": "categorical"}, "categories"),
        ({"kind": "categorical", "categories": []}, "categories"),
        ({"kind": "categorical", "categories": ["a", "a"]}, "listed twice: a"),
        ({"kind": "categorical", "categories": [1, "1"]}, "listed twice: 1"),
        ({"kind": "categorical", "categories": [1.0]}, "categories"),
        ({"kind": "categorical", "categories": [True]}, "categories"),
        ({"kind": "categorical", "categories": [" "]}, "empty or blank"),
        ({"kind": "categorical", "categories": ["a"], "unknown": "clamp"}, "unknown"),
        ({"kind": "categorical", "categories": [str(i) for i in range(10_001)]}, "is this an identifier"),
        ({"kind": "integer", "min": 5, "max": 1}, r"min \(5\) must be below max \(1\)"),
        ({"kind": "integer", "min": 5, "max": 5}, "must be below"),
        ({"kind": "integer", "min": 0, "max": 2**53}, "2\\^52"),
        ({"kind": "integer", "min": 0.5, "max": 2}, "min"),
        ({"kind": "integer", "min": 0, "max": 9, "bins": 0}, "bins"),
        ({"kind": "integer", "min": 0, "max": 9, "bins": [0, 5, 5]}, "ascending"),
        ({"kind": "integer", "min": 0, "max": 9, "bins": [5, 1]}, "ascending"),
        ({"kind": "integer", "min": 0, "max": 9, "bins": [-1, 5]}, "outside"),
        ({"kind": "integer", "min": 0, "max": 9, "bins": [5, 11]}, "outside"),
        ({"kind": "integer", "min": 0, "max": 9, "unknown": "other"}, "unknown"),
        ({"kind": "continuous", "min": 0, "max": float("inf")}, "finite"),
        ({"kind": "continuous", "min": float("nan"), "max": 1}, "finite"),
        ({"kind": "continuous", "min": -1.7e308, "max": 1.7e308}, "finite"),
        ({"kind": "continuous", "min": 0.05, "max": 1, "decimals": 1}, "at most 1 decimals"),
        ({"kind": "continuous", "min": 0, "max": 1e9, "decimals": 12}, "keep fewer"),
        ({"kind": "continuous", "min": 0, "max": 1, "decimals": 1, "bins": [0, 0.55]}, "not possible values"),
        ({"kind": "categorical", "categories": ["a", "b"], "rare": "drop"}, "rare"),
        ({"kind": "categorical", "categories": ["a", "b"], "rare": ["c"]}, "not declared"),
        ({"kind": "continuous", "min": 0, "max": 9, "bins": "many"}, "a list; a mapping with quantiles"),
        ({"kind": "continuous", "min": 0, "max": 9, "bins": {}}, "bins"),
        ({"kind": "continuous", "min": 0, "max": 9, "bins": {"quantiles": 0}}, "bins"),
        ({"kind": "continuous", "min": 0, "max": 9, "bins": {"quantiles": 4, "edges": [1]}}, "bins"),
        ({"kind": "continuous", "min": 0, "max": 9, "bins": {"quantiles": 9, "grid": 8}}, "make the grid finer"),
        ({"kind": "continuous", "min": 0, "max": 9, "bins": {"quantiles": 4, "scale": "root"}}, "bins"),
        ({"kind": "continuous", "min": 0, "max": 9, "bins": {"quantiles": 4, "spikes": [10]}}, "outside"),
        ({"kind": "continuous", "min": 0, "max": 9, "bins": {"quantiles": 4, "spikes": ["x"]}}, "spike"),
        ({"kind": "integer", "min": 0, "max": 9, "bins": {"quantiles": 4, "spikes": [0.5]}}, "not a possible value"),
        (
            {"kind": "datetime", "min": "2024-01-01", "max": "2025-01-01", "bins": {"quantiles": 4, "scale": "log"}},
            "moments",
        ),
        ({"kind": "datetime", "min": "2024-13-01", "max": "2025-01-01"}, "ISO 8601"),
        ({"kind": "datetime", "min": "2024-01-02", "max": "2024-01-01"}, "must be below"),
        ({"kind": "datetime", "min": "2024-01-01", "max": "2024-01-02", "resolution": "week"}, "resolution"),
        ({"kind": "boolean", "categories": ["a"]}, "categories"),
        ({"kind": "identifier", "release": "keep"}, "release"),
    ],
)
def test_a_contradictory_column_is_refused(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Schema.from_dict(document(the_column=entry, other={"kind": "boolean"}), source="s.yaml")


def test_errors_name_the_column() -> None:
    with pytest.raises(SchemaError, match=r"s\.yaml: column age: min \(5\)"):
        Schema.from_dict(document(age={"kind": "integer", "min": 5, "max": 1}), source="s.yaml")


@pytest.mark.parametrize(
    ("column", "edges"),
    [
        (Integer(min=0, max=3), (0, 1, 2, 3, 4)),
        (Integer(min=0, max=9, bins=3), (0, 4, 7, 10)),
        (Integer(min=0, max=99, bins=(0, 1, 50)), (0, 1, 50, 100)),
        (Integer(min=0, max=99, bins=(10, 99)), (0, 10, 99, 100)),
        (Integer(min=0, max=9, bins=(0, 10)), (0, 10)),
        (Integer(min=-(2**52), max=2**52 - 2, bins=2), (-(2**52), 0, 2**52 - 1)),
        (Continuous(min=0, max=1, bins=4), (0, 0.25, 0.5, 0.75, 1)),
        (Continuous(min=0, max=1, bins=(0, 0.1, 1)), (0, 0.1, 1)),
        (Continuous(min=0.1, max=0.5, decimals=1), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),
        (Continuous(min=0, max=0.9, decimals=1, bins=(0.3,)), (0, 0.3, 1.0)),
        (Datetime(min="1970-01-01", max="1970-01-10", bins=2), (0, 5, 10)),
        (Datetime(min="1969-12-31T23:00", max="1970-01-01T01:00", resolution="hour"), (-1, 0, 1, 2)),
        (Datetime(min="1970-01-01T00:00+01:00", max="1970-01-01", resolution="hour"), (-1, 0, 1)),
    ],
)
def test_bins_tile_the_values(column: Numeric, edges: tuple[float, ...]) -> None:
    assert column.edges == edges


def test_the_whole_calendar_can_be_declared() -> None:
    column = Datetime(min="0001-01-01", max="9999-12-31T23:59:59", resolution="second")
    assert column.high - column.low == 315_537_897_599


@pytest.mark.parametrize(
    ("column", "size"),
    [
        (Categorical(categories=("a", "b")), 2),
        (Categorical(categories=("a", "b"), unknown="other"), 3),
        (Categorical(categories=("a", "other"), unknown="other"), 2),
        (Categorical(categories=("a",), nullable=True), 2),
        (Boolean(), 2),
        (Boolean(nullable=True), 3),
        (Integer(min=0, max=1, nullable=True), 3),
    ],
)
def test_size_counts_the_null_code(column: Column, size: int) -> None:
    assert not isinstance(column, Identifier)
    assert column.size == size


def test_numeric_is_abstract() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Numeric()  # type: ignore[abstract]


def test_units_are_checked() -> None:
    with pytest.raises(SchemaError, match="max_rows is 0"):
        Unit("a", 0)
    with pytest.raises(SchemaError, match=r"needs unit\.column"):
        Unit(None, 2)
