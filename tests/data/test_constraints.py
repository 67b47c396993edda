"""Constraints are declared once, without contradiction, and written back as they were read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthkit.data.constraints import (
    KINDS,
    Constraint,
    Determines,
    Inequality,
    Never,
    OneOf,
    Sum,
    derived,
    masks,
    ticks,
    values_at,
)
from synthkit.data.encoding import from_frame
from synthkit.data.schema import Boolean, Categorical, Column, Continuous, Datetime, Identifier, Integer, Schema
from synthkit.documents import json_schema
from synthkit.errors import SchemaError
from tests.tables import constrained, constrained_frame, unmet

FILE = """
version: 1
name: stays
rows: 100
columns:
  admitted: {kind: datetime, min: 2024-01-01, max: 2024-12-31}
  left: {kind: datetime, min: 2024-01-01, max: 2025-03-31, nullable: true}
  own: {kind: continuous, min: 0, max: 100, decimals: 2}
  insured: {kind: continuous, min: 0, max: 100, decimals: 2}
  paid: {kind: continuous, min: 0, max: 200, decimals: 2}
  walk_in: {kind: boolean}
  referred: {kind: boolean}
  ward: {kind: categorical, categories: [surgery, maternity, 3]}
  floor: {kind: integer, min: 0, max: 9}
  sex: {kind: categorical, categories: [f, m]}
  age: {kind: integer, min: 0, max: 99, nullable: true}
constraints:
  - {kind: inequality, low: admitted, high: left, strict: true}
  - {kind: sum, columns: [own, insured], total: paid, repair: true}
  - {kind: one_of, columns: [walk_in, referred]}
  - {kind: determines, column: ward, other: floor, map: {surgery: 1, maternity: 4, 3: 0}}
  - {kind: never, where: {ward: maternity, sex: m}}
  - {kind: never, where: {ward: [surgery, maternity], age: [0, 2], admitted: ["2024-06-01", "2024-06-30"]}}
  - {kind: never, where: {walk_in: true, age: null}}
"""


def test_a_schema_file_is_read_and_written_back(tmp_path: Path) -> None:
    (tmp_path / "stays.yaml").write_text(FILE)
    schema = Schema.read(tmp_path / "stays.yaml")
    assert schema.constraints == (
        Inequality(low="admitted", high="left", strict=True),
        Sum(columns=("own", "insured"), total="paid", repair=True),
        OneOf(columns=("walk_in", "referred")),
        Determines(column="ward", other="floor", map={"surgery": 1, "maternity": 4, "3": 0}),
        Never(where={"ward": "maternity", "sex": "m"}),
        Never(where={"ward": ("surgery", "maternity"), "age": (0, 2), "admitted": ("2024-06-01", "2024-06-30")}),
        Never(where={"walk_in": True, "age": None}),
    )
    assert Schema.from_dict(schema.to_dict()) == schema
    assert schema.with_rows(5).constraints == schema.constraints
    assert list(derived(schema)) == ["paid", "floor"]
    assert [str(constraint) for constraint in schema.constraints] == [
        "admitted < left",
        "own + insured = paid",
        "exactly one of walk_in, referred",
        "ward determines floor",
        "never ward = maternity and sex = m",
        "never ward = [surgery, maternity] and age = [0, 2] and admitted = [2024-06-01, 2024-06-30]",
        "never walk_in = true and age = null",
    ]


def test_a_schema_without_constraints_is_written_as_before() -> None:
    schema = replace(constrained(), constraints=())
    assert "constraints" not in schema.to_dict()
    assert masks(schema) == []


def test_the_file_format_knows_every_kind_and_setting() -> None:
    document = json_schema("data/schema.v1.json")
    for name, kind in KINDS.items():
        assert set(document["$defs"][name]["properties"]) == {"kind", *kind.__dataclass_fields__}


COLUMNS: dict[str, Column] = {
    "a": Integer(min=0, max=9),
    "b": Integer(min=0, max=9),
    "c": Integer(min=0, max=9),
    "d": Integer(min=20, max=30),
    "x": Continuous(min=0, max=1, decimals=1),
    "y": Continuous(min=0, max=1, decimals=2),
    "z": Continuous(min=0, max=1),
    "day": Datetime(min="2024-01-01", max="2024-12-31"),
    "hour": Datetime(min="2024-01-01", max="2024-12-31", resolution="hour"),
    "t": Boolean(),
    "u": Boolean(),
    "k": Categorical(categories=("one", "two")),
    "n": Categorical(categories=("one", "two"), nullable=True),
    "id": Identifier(),
}


def schema(*constraints: Constraint, **columns: Column) -> Schema:
    return Schema(name="s", columns={**COLUMNS, **columns}, rows=10, constraints=constraints)


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (Inequality(low="a", high="nobody"), "there is no column nobody"),
        (Inequality(low="a", high="id"), "id is an identifier"),
        (Inequality(low="a", high="a"), "named twice"),
        (Inequality(low="a", high="x"), "equal decimals"),
        (Inequality(low="x", high="y"), "equal decimals"),
        (Inequality(low="day", high="hour"), "equal resolution"),
        (Inequality(low="k", high="n"), "both columns must be"),
        (Inequality(low="d", high="a"), "d's min is above a's max"),
        (Sum(columns=("a",), total="b"), "2 to 100 columns"),
        (Sum(columns=("a", "b"), total="b"), "named twice"),
        (Sum(columns=("a", "x"), total="b"), "all columns must be integer"),
        (Sum(columns=("x", "y"), total="x"), "named twice"),
        (Sum(columns=("x", "z"), total="y"), "equal decimals"),
        (Sum(columns=("day", "a"), total="b"), "all columns must be integer"),
        (Sum(columns=("a", "d"), total="b"), "hold no sum"),
        (OneOf(columns=("t",)), "two or more columns"),
        (OneOf(columns=("t", "k")), "all of kind boolean"),
        (Determines(column="a", other="b", map={}), "a must be of kind categorical or boolean"),
        (Determines(column="k", other="a", map={"one": 1}), "no value for two"),
        (Determines(column="k", other="a", map={"one": 1, "two": 2, "six": 6}), "has six, which k has not"),
        (Determines(column="k", other="a", map={"one": 1, "two": 10}), "10 is outside a's min and max"),
        (Determines(column="k", other="a", map={"one": 1, "two": 1.5}), "1.5 is not a possible value of a"),
        (Determines(column="k", other="a", map={"one": 1, "two": None}), "null is no value of a"),
        (Determines(column="k", other="t", map={"one": 1, "two": True}), "1 is not one of t's values"),
        (Determines(column="k", other="day", map={"one": "soon", "two": 1}), "not a moment in ISO 8601"),
        (Determines(column="n", other="a", map={"one": 1, "two": 2}), "declare it nullable"),
        (Never(where={"a": 1}), "two or more columns"),
        (Never(where={"a": 1, "k": "six"}), "six is not one of k's values, which are one, two"),
        (Never(where={"a": 1, "k": ()}), "list the values that are meant"),
        (Never(where={"a": (1, 2, 3), "t": True}), "a range is"),
        (Never(where={"a": (3, 1), "t": True}), "low is above high"),
        (Never(where={"a": (10, 12), "t": True}), "never occurs anyway"),
        (Never(where={"a": "1", "t": True}), "1 is not a number"),
        (Never(where={"a": True, "t": True}), "true is not a number"),
        (Never(where={"x": float("nan"), "t": True}), "is not a number"),
        (Never(where={"a": None, "t": True}), "null is no value of a"),
    ],
    ids=str,
)
def test_ill_formed_constraints_are_refused(constraint: Constraint, message: str) -> None:
    with pytest.raises(SchemaError, match=message) as caught:
        schema(constraint)
    assert str(caught.value).startswith(f"schema s: constraint '{constraint}': ")


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ((Sum(columns=("a", "b"), total="c"), Determines(column="k", other="c", map={"one": 1, "two": 2})),
         "c follows from a [+] b and from k"),
        ((Determines(column="k", other="n", map={"one": "one", "two": "two"}),
          Determines(column="t", other="k", map={True: "one", False: "two"}),
          Determines(column="u", other="t", map={True: True, False: False}),
          Determines(column="k", other="u", map={"one": True, "two": False})), "follows from itself"),
        ((Inequality(low="a", high="b"), Inequality(low="b", high="c"), Inequality(low="c", high="a")),
         "the inequalities come back to"),
        ((Sum(columns=("a", "b"), total="c"), Inequality(low="a", high="c")), "tied in one way only"),
        ((Inequality(low="a", high="b"), Sum(columns=("b", "x1"), total="c"), Inequality(low="a", high="c")),
         "tied in one way only"),
        ((Never(where={"t": True, "u": (True, False)}), Never(where={"t": False, "u": (True, False)})),
         "no row meets all of: never t = true"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(constraints: tuple[Constraint, ...], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        schema(*constraints, x1=Integer(min=0, max=9))


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "unequal", "low": "a", "high": "b"},
        {"kind": "inequality", "low": "a"},
        {"kind": "inequality", "low": "a", "high": "b", "total": "c"},
        {"kind": "sum", "columns": "a", "total": "b"},
        {"kind": "never", "where": {"a": {"min": 1}, "b": 1}},
        {"low": "a", "high": "b"},
    ],
)
def test_the_file_is_read_strictly(entry: dict[str, Any]) -> None:
    document = {**schema().to_dict(), "constraints": [entry]}
    with pytest.raises(SchemaError, match="constraints"):
        Schema.from_dict(document)


def test_the_target_and_identifiers_stay_what_they_are() -> None:
    follows = Determines(column="k", other="a", map={"one": 1, "two": 2})
    assert replace(schema(follows), target="a").modelled.keys() == schema().modelled.keys()


def test_rows_that_break_are_seen_as_such() -> None:
    public, frame = constrained(), constrained_frame(30)
    assert unmet(frame) == {}
    table = from_frame(frame, public)
    assert not any(constraint.broken(table.columns, public).any() for constraint in public.constraints)
    broken = frame.copy()
    broken.loc[0, "admitted"] = pd.Timestamp("2020-01-01")
    broken.loc[0, "born"] = pd.Timestamp("2020-01-02")
    broken.loc[1, "discharged"] = broken.loc[1, "admitted"]
    broken.loc[2, "total"] += 1
    broken.loc[3, ["walk_in", "referred", "emergency"]] = True
    broken.loc[4, "rank"] = 0
    broken["pregnant"] = broken["pregnant"].astype("boolean")
    broken.loc[5, "pregnant"] = True
    broken.loc[5, "sex"] = "m"
    table = from_frame(broken, replace(public, constraints=()))
    for k, constraint in enumerate(public.constraints[:6]):
        assert np.flatnonzero(constraint.broken(table.columns, public)).tolist() == [k], str(constraint)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_ticks_keep_the_order_of_floats_and_come_back(values: list[float]) -> None:
    line, column = np.array(values), Continuous(min=-1e307, max=1e307)
    steps = ticks(line, column)
    np.testing.assert_array_equal(np.argsort(steps, kind="stable"), np.argsort(line, kind="stable"))
    np.testing.assert_array_equal(values_at(steps, column), line)


@given(st.integers(0, 12), st.integers(-(10**9), 10**9))
def test_ticks_are_whole_decimals(decimals: int, step: int) -> None:
    column = Continuous(min=0, max=1, decimals=decimals)
    value = float(f"{step}e-{decimals}")
    assert ticks(np.array([value]), column).tolist() == [step]
    assert values_at(np.array([step]), column).tolist() == [value]


def test_large_tables_of_possible_codes_are_split_into_pairs() -> None:
    columns: dict[str, Column] = {f"b{k}": Boolean() for k in range(20)}
    found = masks(Schema(name="s", columns=columns, rows=1, constraints=(OneOf(columns=tuple(columns)),)))
    assert len(found) == 190 and all(table.tolist() == [[True, True], [True, False]] for _, table in found)
    columns = {f"n{k}": Integer(min=0, max=31, bins=32) for k in range(3)} | {"total": Integer(min=0, max=31, bins=32)}
    tie = Sum(columns=("n0", "n1", "n2"), total="total")
    found = masks(Schema(name="s", columns=columns, rows=1, constraints=(tie,)))
    assert [positions for positions, _ in found] == [(0, 3), (1, 3), (2, 3)]
    np.testing.assert_array_equal(found[0][1], np.tri(32, dtype=bool).T)


def test_categories_that_share_a_code_are_possible_together() -> None:
    columns: dict[str, Column] = {
        "k": Categorical(categories=("a", "b", "c"), rare=("a", "c")),
        "t": Boolean(),
    }
    public = Schema(name="s", columns=columns, rows=1, constraints=(Never(where={"k": "a", "t": True}),))
    assert masks(public) == []
    public = replace(public, constraints=(Never(where={"k": ("a", "c"), "t": True}),))
    ((positions, table),) = masks(public)
    assert positions == (0, 1) and table.tolist() == [[True, True], [True, False]]
