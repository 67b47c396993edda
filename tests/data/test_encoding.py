"""Encoding is exact both ways, looks at the schema alone, and refuses without quoting."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthkit.data.encoding import (
    Table,
    check_names,
    concatenate,
    discretize,
    from_frame,
    to_frame,
    undiscretize,
)
from synthkit.data.private import reveal
from synthkit.data.schema import (
    Boolean,
    Categorical,
    Column,
    Continuous,
    Datetime,
    Identifier,
    Integer,
    Numeric,
    Quantiles,
    Schema,
    Unit,
)
from synthkit.data.tables import FileSource, FrameSource, read, write_csv, write_parquet
from synthkit.errors import DataError

# --- random schemas ----------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
names = texts.filter(lambda text: text.strip() == text and "\ufeff" not in text)
labels = st.one_of(
    texts.filter(str.strip), st.integers(-(2**60), 2**60), st.sampled_from(["nan", "None", "true", "1.0"])
)


@st.composite
def categoricals(draw: st.DrawFn) -> Categorical:
    categories = draw(st.lists(labels, min_size=1, max_size=6, unique_by=str))
    return Categorical(
        categories=tuple(categories),
        nullable=draw(st.booleans()),
        unknown=draw(st.sampled_from(["error", "other"])),
        rare=draw(st.sampled_from(["keep", "merge"]) | merged(categories)),
    )


def merged(categories: list[str | int]) -> st.SearchStrategy[tuple[str | int, ...]]:
    return st.lists(st.sampled_from(categories), min_size=1, unique=True).map(tuple)


@st.composite
def cuts(draw: st.DrawFn, *scales: str) -> int | Quantiles:
    """A number of bins, or quantiles on a grid."""
    count = draw(st.integers(1, 20))
    if draw(st.booleans()):
        return count
    return Quantiles(count, grid=draw(st.integers(count, 300)), scale=draw(st.sampled_from(scales)))  # type: ignore[arg-type]


@st.composite
def integers(draw: st.DrawFn) -> Integer:
    low, high = sorted(draw(st.lists(st.integers(-(2**52), 2**52), min_size=2, max_size=2, unique=True)))
    edges = st.lists(st.integers(low, high), min_size=1, max_size=5, unique=True).map(lambda e: tuple(sorted(e)))
    return Integer(min=low, max=high, nullable=draw(st.booleans()), bins=draw(cuts("linear", "log") | edges))


@st.composite
def continua(draw: st.DrawFn) -> Continuous:
    decimals = draw(st.none() | st.integers(0, 6))
    if decimals is None:
        number = st.floats(-1e300, 1e300)
    else:
        number = st.integers(-(10**9), 10**9).map(lambda n: round(n / 10**decimals, decimals))
    low, high = sorted(draw(st.lists(number, min_size=2, max_size=2, unique=True)))
    bins = draw(cuts("linear", "log"))
    return Continuous(min=low, max=high, decimals=decimals, nullable=draw(st.booleans()), bins=bins)


@st.composite
def datetimes(draw: st.DrawFn) -> Datetime:
    resolution = draw(st.sampled_from(["second", "minute", "hour", "day"]))
    years = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))
    low = draw(years)
    high = draw(st.datetimes(low + dt.timedelta(days=1), dt.datetime(9999, 12, 31)))
    return Datetime(
        min=low.isoformat(),
        max=high.isoformat(),
        resolution=resolution,
        nullable=draw(st.booleans()),
        bins=draw(cuts("linear")),
    )


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    booleans = st.builds(Boolean, nullable=st.booleans())
    regenerated = st.just(Identifier(release="regenerate"))
    kinds: st.SearchStrategy[Column] = st.one_of(
        categoricals(), integers(), continua(), datetimes(), booleans, regenerated
    )
    columns = draw(st.dictionaries(names, kinds, min_size=1, max_size=5))
    columns["modelled"] = Boolean()
    return Schema(name="random", columns=columns, rows=10)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Schema, np.ndarray, Table]:
    """A schema, codes and a table: n = 0 and n = 1 often, and values at both bounds."""
    schema = draw(schemas())
    n = draw(st.sampled_from([0, 1, 7]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    codes = np.column_stack([rng.integers(0, size, n) for size in schema.domain.values()]).astype(np.int32)
    table = undiscretize(codes, schema, rng)
    if draw(st.booleans()):
        for name, column in schema.modelled.items():
            if isinstance(column, Numeric) and n:
                table.columns[name][0] = column.low if draw(st.booleans()) else column.high
    return schema, codes, table


def same(a: Table, b: Table) -> None:
    assert a.rows == b.rows
    assert list(a.columns) == list(b.columns)
    for name in a.columns:
        assert a.columns[name].dtype == b.columns[name].dtype
        np.testing.assert_array_equal(a.columns[name], b.columns[name], err_msg=name)


slow_machines = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


@slow_machines
@given(tables())
def test_to_frame_inverts_from_frame(drawn: tuple[Schema, np.ndarray, Table]) -> None:
    schema, _, table = drawn
    frame = to_frame(table, schema)
    assert list(frame.columns) == list(schema.columns)
    again = from_frame(frame, schema)
    same(again, table)
    pd.testing.assert_frame_equal(to_frame(again, schema), frame)


@slow_machines
@given(schemas(), st.sampled_from([0, 1, 50]), st.integers(0, 2**32))
def test_discretize_inverts_undiscretize(schema: Schema, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = np.column_stack([rng.integers(0, size, n) for size in schema.domain.values()]).astype(np.int32)
    np.testing.assert_array_equal(discretize(undiscretize(codes, schema, rng), schema), codes)


@slow_machines
@given(schemas())
def test_a_schema_survives_its_file(schema: Schema) -> None:
    assert Schema.from_dict(schema.to_dict()) == schema


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(drawn=tables(), extension=st.sampled_from([".csv", ".tsv", ".csv.gz", ".parquet"]))
def test_files_keep_every_value(tmp_path: Path, drawn: tuple[Schema, np.ndarray, Table], extension: str) -> None:
    schema, _, table = drawn
    path = tmp_path / f"t{extension}"
    (write_parquet if extension == ".parquet" else write_csv)(to_frame(table, schema), path)
    same(reveal(read(FileSource(path), schema, dataset="d", batch_rows=3)), table)


@slow_machines
@given(tables())
def test_values_stay_in_the_domain(drawn: tuple[Schema, np.ndarray, Table]) -> None:
    schema, _, table = drawn
    codes = discretize(table, schema)
    assert codes.shape == (table.rows, len(schema.modelled))
    assert (codes >= 0).all()
    assert (codes < np.array(list(schema.domain.values()))).all()


# --- one column at a time ----------------------------------------------------------------------


def encode(column: Column, values: Any, dtype: Any = None) -> list[Any]:
    schema = Schema(name="s", columns={"a": column, "z": Boolean()}, rows=1)
    frame = pd.DataFrame({"a": pd.Series(values, dtype=dtype), "z": [True] * len(values)})
    return list(to_frame(from_frame(frame, schema), schema)["a"].astype(object).where(lambda s: s.notna(), None))


INTEGER = Integer(min=0, max=100, nullable=True)
MOMENT = Datetime(min="1900-01-01", max="2100-01-01", resolution="second", nullable=True)


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        (INTEGER, ["1", None, "2.0", " 3 ", "nan"], [1, None, 2, 3, None]),
        (INTEGER, [Decimal(3), None], [3, None]),
        (INTEGER, [True, False], [1, 0]),
        (INTEGER, pd.array([5, None], dtype="Int64"), [5, None]),
        (INTEGER, pd.Categorical(["7", None]), [7, None]),
        (Integer(min=0, max=9, unknown="clamp"), ["-5", "99", "inf", "2.6", None], [0, 9, 9, 3, 0]),
        (Continuous(min=0, max=1, decimals=1), ["0.26", "1e-1"], [0.3, 0.1]),
        (Continuous(min=-1, max=1, unknown="clamp"), [float("-inf"), 0.5], [-1.0, 0.5]),
        (Boolean(), ["yes", "0", "T", "False"], [True, False, True, False]),
        (Boolean(nullable=True), [1.0, None], [True, None]),
        (Categorical(categories=(1, 2), nullable=True), [1.0, None, 2.0], [1, None, 2]),
        (Categorical(categories=("1", "x")), [1, "x"], ["1", "x"]),
        (Categorical(categories=("a",), unknown="other"), ["a", "b", None], ["a", "other", "other"]),
        (Categorical(categories=("a", " a")), ["a", " a", "a "], ["a", " a", "a"]),
        (MOMENT, ["2020-01-01", None], [pd.Timestamp("2020-01-01"), None]),
        (MOMENT, ["2020-01-01T12:00:00+02:00"], [pd.Timestamp("2020-01-01 10:00")]),
        (MOMENT, ["1969-12-31T23:59:59.5"], [pd.Timestamp("1969-12-31 23:59:59")]),
        (MOMENT, [dt.date(2020, 1, 1), dt.date(2021, 1, 1)], [pd.Timestamp("2020-01-01"), pd.Timestamp("2021-01-01")]),
    ],
)
def test_many_spellings_one_value(column: Column, values: Any, expected: list[Any]) -> None:
    assert encode(column, values) == expected


@pytest.mark.parametrize("column", [INTEGER, Continuous(min=0, max=1, nullable=True), MOMENT, Boolean(nullable=True)])
@pytest.mark.parametrize("dtype", [object, "float64", "str"])
def test_a_column_of_nulls(column: Column, dtype: Any) -> None:
    assert encode(column, [None, None], dtype) == [None, None]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            INTEGER,
            ["1", "PLANTED", "PLANTED"],
            "column a: 2 rows with a value of the wrong type; expected whole numbers",
        ),
        (INTEGER, ["101", "5"], "1 row outside the declared min and max"),
        (INTEGER, ["inf"], "outside"),
        (INTEGER, pd.Series([10**400], dtype=object), "neither text, numbers"),
        (INTEGER, ["1.5"], "1 row with a fraction"),
        (INTEGER, [["PLANTED"]], "wrong type"),
        (INTEGER, [b"PLANTED"], "wrong type"),
        (INTEGER, [1 + 2j], "wrong type"),
        (INTEGER, pd.to_timedelta([1]), "wrong type"),
        (INTEGER, pd.to_datetime(["2020-01-01"]), "wrong type"),
        (INTEGER, pd.period_range("2020", periods=1), "wrong type"),
        (Integer(min=0, max=9), ["1", None], "1 row without a value; declare 'nullable: true'"),
        (Integer(min=0, max=9), [None, None], "2 rows without a value"),
        (MOMENT, ["PLANTED"], "expected ISO 8601"),
        (MOMENT, ["31.12.2020"], "expected ISO 8601"),
        (MOMENT, ["now"], "expected ISO 8601"),
        (MOMENT, ["today "], "expected ISO 8601"),
        (MOMENT, [20200101], "expected ISO 8601"),
        (MOMENT, ["1850-01-01"], "outside"),
        (MOMENT, [{"PLANTED": 1}], "ISO 8601"),
        (Boolean(), ["PLANTED"], "use true and false"),
        (Boolean(), [None], "without a value"),
        (Categorical(categories=("a",)), ["a", "PLANTED"], "1 row with a value that is not declared"),
        (Categorical(categories=("a",)), [["PLANTED"]], "neither text, numbers"),
        (Categorical(categories=("a",)), [None], "without a value"),
    ],
)
def test_bad_values_are_counted_not_shown(
    column: Column, values: Any, message: str, planted: str, refusal: Callable[..., str]
) -> None:
    def plant(value: Any) -> Any:
        if isinstance(value, list):
            return [plant(one) for one in value]
        if isinstance(value, dict):
            return {plant(key): one for key, one in value.items()}
        if isinstance(value, bytes):
            return value.replace(b"PLANTED", planted.encode())
        return planted if value == "PLANTED" else value

    values = plant(values) if isinstance(values, list) else values
    assert message in refusal(lambda: encode(column, values), DataError)


# --- whole frames ------------------------------------------------------------------------------

PEOPLE = Schema(
    name="people",
    columns={"who": Identifier(), "age": Integer(min=0, max=120)},
    rows=10,
    unit=Unit("who", 2),
)


def test_units_become_keys_and_identifiers_are_dropped() -> None:
    table = from_frame(pd.DataFrame({"age": [1, 2, 3], "who": ["ann", "bob", "ann"]}), PEOPLE)
    assert list(table.columns) == ["age"]
    assert table.units is not None
    assert table.units.dtype == np.uint64
    assert table.units[0] == table.units[2] != table.units[1]
    assert list(to_frame(table, PEOPLE).columns) == ["age"]
    taken = table.take(np.array([True, False, True]))
    assert taken.rows == 2
    assert list(taken.columns["age"]) == [1, 3]
    assert list(table.take(np.array([2, 0])).columns["age"]) == [3, 1]


def test_a_unit_without_a_name_is_refused(refusal: Callable[..., str], planted: str) -> None:
    frame = pd.DataFrame({"age": [1, 2], "who": [planted, None]})
    assert "unit of privacy must be known" in refusal(lambda: from_frame(frame, PEOPLE), DataError)


def test_units_of_odd_text_have_keys() -> None:
    frame = pd.DataFrame({"age": [1, 2], "who": np.array(["\ud800", "b"], dtype=object)}, dtype=object)
    assert from_frame(frame, PEOPLE).rows == 2


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["who"], "column age is declared in schema people, not in the data"),
        (["who", "age", "x", "y"], "columns x, y are in the data, not in schema people"),
        (["who", "age", "age"], "column age appears more than once"),
        ([], "columns who, age are declared"),
        ([0, "who", "age"], "column 0 is in the data"),
    ],
)
def test_columns_must_be_the_declared_ones(columns: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_frame(pd.DataFrame([[1] * len(columns)], columns=columns), PEOPLE, source="f.csv")


def test_long_lists_of_names_are_cut() -> None:
    with pytest.raises(DataError, match=r"c7 and 12 more are"):
        check_names([], [f"c{i}" for i in range(20)], declared_in="schema s", source="f")


def test_concatenate_is_one_table() -> None:
    frame = pd.DataFrame({"who": list("abcde"), "age": range(5)})
    whole = from_frame(frame, PEOPLE)
    parts = concatenate((from_frame(frame[i : i + 2], PEOPLE) for i in range(0, 5, 2)), PEOPLE)
    same(parts, whole)
    np.testing.assert_array_equal(parts.units, whole.units)
    empty = concatenate([], PEOPLE)
    assert empty.rows == 0
    assert empty.units is not None
    assert empty.columns["age"].dtype == np.float64


def test_a_thousand_columns() -> None:
    schema = Schema(name="wide", columns={f"c{i}": Integer(min=0, max=9) for i in range(1000)}, rows=5)
    frame = pd.DataFrame({name: range(5) for name in schema.columns})
    table = reveal(read(FrameSource(frame), schema, dataset="d"))
    assert discretize(table, schema).shape == (5, 1000)


def test_a_table_shows_nothing(planted: str) -> None:
    schema = Schema(name="s", columns={"a": Categorical(categories=(planted,))}, rows=1)
    table = from_frame(pd.DataFrame({"a": [planted]}), schema)
    assert planted not in repr(table) + str(table)


def test_codes_of_bins() -> None:
    schema = Schema(
        name="s",
        columns={"a": Integer(min=0, max=99, bins=(0, 1, 50), nullable=True), "b": Continuous(min=0, max=1, bins=2)},
        rows=1,
    )
    frame = pd.DataFrame({"a": [0, 1, 49, 50, 99, None], "b": [0, 0.49, 0.5, 1, 1, 0]})
    codes = discretize(from_frame(frame, schema), schema)
    assert codes.dtype == np.int32
    assert codes.tolist() == [[0, 0], [1, 0], [1, 1], [2, 1], [2, 1], [3, 0]]


def test_numbers_drawn_from_a_bin_are_uniform() -> None:
    schema = Schema(name="s", columns={"a": Integer(min=0, max=9, bins=(0, 2))}, rows=1)
    table = undiscretize(np.ones((20_000, 1), dtype=int), schema, np.random.default_rng(1))
    counts = np.bincount(table.columns["a"].astype(int), minlength=10)
    assert counts[:2].tolist() == [0, 0]
    assert abs(counts[2:] - 2500).max() < 250  # five standard deviations
