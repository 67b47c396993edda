"""Frames to tables to codes and back, by the schema alone.

    DataFrame  --from_frame-->  Table   --discretize-->    codes (n, d)
    DataFrame  <---to_frame---  Table   <--undiscretize--  codes (n, d)

A *table* keeps every value on the schema's inner line: categories as positions in the declared
list, numbers and moments as floats. *Codes* are what marginals and networks see: one small integer
a column, bins for numbers, the last code for null where the column is nullable. Both directions
look at one row and the schema, never at other rows, so that they may stand before a mechanism.

``to_frame`` inverts ``from_frame`` exactly, and ``discretize`` inverts ``undiscretize`` exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from synthkit.data.repair import admit
from synthkit.data.schema import (
    RESOLUTIONS,
    Boolean,
    Categorical,
    Continuous,
    Datetime,
    Identifier,
    Integer,
    Modelled,
    Numeric,
    Schema,
)
from synthkit.data.spooled import Spooled
from synthkit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

IN_MEMORY = 15_000_000  # values of a table, as publicly known, that are kept in memory
_TRUE, _FALSE = {"true", "t", "yes", "1", "1.0"}, {"false", "f", "no", "0", "0.0"}


@dataclass(frozen=True, repr=False)
class Table:
    """Checked rows on the schema's inner line.

    Attributes:
        columns: one array (n,) per modelled column: int32 positions for categories and booleans
            (null is the last), float64 for numbers and moments (NaN for null). In memory, or encrypted on
            the disk (``spooled.py``).
        units: uint64 (n,), one key per unit of privacy; None where every row is its own unit.
        rows: n.
    """

    columns: Mapping[str, NDArray[np.generic]]
    units: NDArray[np.uint64] | None
    rows: int

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Table:
        """The rows at ``index`` (positions or a mask), in that order."""
        columns = _taken(self.columns, index)
        units = None if self.units is None else self.units[index]
        rows = int(np.count_nonzero(index)) if index.dtype == np.bool_ else len(index)
        return Table(columns, units, rows)

    def part(self, rows: slice) -> Table:
        """The rows of a slice, in memory; shared with this table's where it is in memory itself."""
        return Table(
            _taken(self.columns, rows),
            None if self.units is None else self.units[rows],
            len(range(*rows.indices(self.rows))),
        )


def _taken(
    columns: Mapping[str, NDArray[np.generic]], rows: slice | NDArray[np.integer] | NDArray[np.bool_]
) -> Mapping[str, NDArray[np.generic]]:
    if isinstance(columns, Spooled):
        return columns.taken(rows)
    return {name: values[rows] for name, values in columns.items()}


def concatenate(parts: Iterable[Table], schema: Schema) -> Table:
    """Tables of the same schema, one after the other; no parts make the empty table.

    Where ``parts`` is a generator, the peak of memory is the result and one column more: columns
    are joined one at a time and their pieces let go.
    """
    pieces: dict[str, list[NDArray[np.generic]]] = {name: [] for name in schema.modelled}
    keys: list[NDArray[np.uint64]] = []
    rows = 0
    for part in parts:
        rows += part.rows
        for name, arrays in pieces.items():
            arrays.append(part.columns[name])
        if part.units is not None:
            keys.append(part.units)
    empty = from_frame(pd.DataFrame({name: [] for name in schema.columns}), schema)
    columns = {name: np.concatenate([empty.columns[name], *pieces.pop(name)]) for name in schema.modelled}
    return Table(columns, None if empty.units is None else np.concatenate([empty.units, *keys]), rows)


def is_large(schema: Schema) -> bool:
    """Whether rows are kept on the disk; from public facts alone."""
    return schema.rows * len(schema.modelled) > IN_MEMORY


def row_megabytes(schema: Schema) -> float:
    """Forecast of the memory that a table's rows take, all copies counted, in megabytes."""
    return 9e-6 * min(schema.rows * len(schema.modelled), IN_MEMORY)


def spool(parts: Iterable[Table], schema: Schema) -> Table:
    """As :func:`concatenate`, but what is read goes to the disk, encrypted; keys of units stay in memory.

    Raises:
        DataError: there is no room for the file.
    """
    empty = from_frame(pd.DataFrame({name: [] for name in schema.columns}), schema)
    keys = None if empty.units is None else [empty.units]

    def columns() -> Iterator[Mapping[str, NDArray[np.generic]]]:
        for part in parts:
            if keys is not None and part.units is not None:
                keys.append(part.units)
            yield part.columns

    spooled = Spooled.of(columns(), {name: values.dtype for name, values in empty.columns.items()})
    return Table(spooled, None if keys is None else np.concatenate(keys), spooled.rows)


def from_frame(frame: pd.DataFrame, schema: Schema, *, source: str = "data") -> Table:
    """Check a frame against the schema and put it on the inner line.

    Identifiers are dropped here, before anything else sees them; the unit's column becomes keys.

    Args:
        frame: any dtypes; text is parsed as the schema says.
        schema: the public domain.
        source: the data's name, for messages.

    Raises:
        DataError: missing, extra or repeated columns; a value of the wrong type; a value outside
            the domain where the schema says ``unknown: error``; rows that, once clamped, break a
            constraint without ``repair: true``. Names column or constraint, and row count.
    """
    check_columns(list(frame.columns), schema, source=source)
    columns = {
        name: _encode(frame[name], column, f"{source}: column {name}") for name, column in schema.modelled.items()
    }
    units = None
    if schema.unit.column is not None:
        units = unit_keys(frame[schema.unit.column], f"{source}: column {schema.unit.column}")
    columns = admit(columns, schema, source)
    return Table(columns, units, len(frame))


def to_frame(table: Table, schema: Schema) -> pd.DataFrame:
    """The table's values as users know them: declared categories, integers, floats, timestamps.

    Identifiers that the schema regenerates are filled with 1..n, the others are left out.
    """
    columns: dict[str, object] = {}
    for name, column in schema.columns.items():
        if isinstance(column, Identifier):
            if column.release == "regenerate":
                columns[name] = np.arange(1, table.rows + 1)
        else:
            columns[name] = _decode(table.columns[name], column)
    return pd.DataFrame(columns)


def discretize(table: Table, schema: Schema) -> NDArray[np.int32]:
    """Codes of every modelled column, shape (n, d), in the schema's order."""
    codes = np.empty((table.rows, len(schema.modelled)), dtype=np.int32)
    for j, (name, column) in enumerate(schema.modelled.items()):
        values = table.columns[name]
        if isinstance(column, Numeric):
            codes[:, j] = np.searchsorted(np.asarray(column.edges[1:-1]), values, side="right")
            codes[np.isnan(values.astype(np.float64, copy=False)), j] = len(column.edges) - 1
        elif isinstance(column, Categorical) and column.merged:
            codes[:, j] = np.array([*column.codes, column.size - 1], dtype=np.int32)[values.astype(np.int64)]
        else:
            codes[:, j] = values
    return codes


def undiscretize(codes: NDArray[np.integer], schema: Schema, rng: np.random.Generator) -> Table:
    """A table whose codes are ``codes``: numbers are drawn uniformly from their bin, merged categories likewise.

    Args:
        codes: (n, d), each column within the schema's domain.
        rng: public randomness; codes are released values, so this is post-processing.
    """
    columns: dict[str, NDArray[np.generic]] = {}
    for j, (name, column) in enumerate(schema.modelled.items()):
        if isinstance(column, Numeric):
            columns[name] = _draw_from_bins(codes[:, j], column, rng)
        elif isinstance(column, Categorical) and column.merged:
            columns[name] = _draw_from_merged(codes[:, j], column, rng)
        else:
            columns[name] = codes[:, j].astype(np.int32)
    return Table(columns, None, len(codes))


def check_columns(names: list[str], schema: Schema, *, source: str) -> None:
    """Refuse missing, extra and repeated columns (column names are public)."""
    check_names(names, list(schema.columns), declared_in=f"schema {schema.name}", source=source)


def check_names(names: list[str], declared: list[str], *, declared_in: str, source: str) -> None:
    """Refuse ``names`` that are not, in some order, the ``declared`` ones."""
    wanted, given = set(declared), set(names)
    twice = sorted({str(name) for name in names if names.count(name) > 1}) if len(given) < len(names) else []
    # Where a declared name is missing, no other is shown: without a header line, they are a person's values.
    missing = [name for name in declared if name not in given]
    if twice := [name for name in twice if not missing or name in wanted]:
        raise DataError(f"{source}: column {', '.join(twice)} appears more than once; rename or remove it")
    if missing:
        it = "it" if len(missing) == 1 else "them"
        remedy = f"add {it} to the data or take {it} out of {declared_in}"
        if len(missing) == len(declared):
            remedy = "is there a header line, and is the separator the one of the file's kind?"
        elif {name.strip().lower() for name in missing} & {str(name).strip().lower() for name in given}:
            remedy = f"names are equal but for spaces or capitals: rename {it}"
        raise DataError(f"{source}: {_listed(missing)} declared in {declared_in}, not in the data; {remedy}")
    if extra := [str(name) for name in names if name not in wanted]:
        raise DataError(
            f"{source}: {_listed(extra)} in the data, not in {declared_in}; "
            "declare it (kind: identifier, or text, leaves it out) or remove it from the data"
        )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"column{'s' if len(names) > 1 else ''} {shown} {'are' if len(names) > 1 else 'is'}"


def _encode(values: pd.Series, column: Modelled, where: str) -> NDArray[np.generic]:
    try:
        if isinstance(column, Numeric):
            return _encode_number(values, column, where)
        return _encode_label(values, column, where)
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        # A list or a dictionary in a cell, a moment beyond all calendars. The message of pandas may
        # quote it, so nothing of it goes on, not even as the context of our own error.
        pass
    raise DataError(f"{where}: holds values that are neither text, numbers, booleans nor moments; convert them first")


def _encode_label(values: pd.Series, column: Categorical | Boolean, where: str) -> NDArray[np.int32]:
    null = values.isna().to_numpy(dtype=bool, copy=True)
    # Work on the few distinct values, not on the rows.
    index, distinct = pd.factorize(values)
    lookup = np.array([_position(value, column) for value in distinct], dtype=np.int32)
    codes = np.full(len(values), -1, dtype=np.int32)
    codes[~null] = lookup[index[~null]] if len(lookup) else -1
    unknown = (codes < 0) & ~null
    if isinstance(column, Categorical) and column.unknown == "other":
        other = [str(category) for category in column.categories].index("other")
        codes[unknown] = other
        codes[null] = len(column.categories) if column.nullable else other
        return codes
    if count := int(unknown.sum()):
        remedy = (
            "declare the category, or say 'unknown: other'" if isinstance(column, Categorical) else "use true and false"
        )
        raise DataError(f"{where}: {_rows(count)} with a value that is not declared; {remedy}")
    _refuse_null(null, column.nullable, where)
    codes[null] = len(column.categories) if isinstance(column, Categorical) else 2
    return codes


def _position(value: object, column: Categorical | Boolean) -> int:
    text = str(value)
    if isinstance(column, Boolean):
        text = text.strip().lower()
        return 1 if text in _TRUE else 0 if text in _FALSE else -1
    positions = _positions(column.categories)
    if text in positions:
        return positions[text]
    if isinstance(value, float) and value.is_integer():  # integers with nulls arrive as floats
        return positions.get(str(int(value)), -1)
    return positions.get(text.strip(), -1)


def _positions(categories: tuple[str | int, ...]) -> dict[str, int]:
    return {str(category): i for i, category in enumerate(categories)}


def _encode_number(values: pd.Series, column: Numeric, where: str) -> NDArray[np.float64]:
    null = values.isna().to_numpy(dtype=bool, copy=True)
    line, unreadable = (_moments if isinstance(column, Datetime) else _numbers)(values, column)
    if count := int((unreadable & ~null).sum()):
        wanted = {"integer": "whole numbers", "continuous": "numbers", "datetime": "ISO 8601 dates or times"}
        raise DataError(f"{where}: {_rows(count)} with a value of the wrong type; expected {wanted[column.kind]}")
    null |= np.isnan(line)
    clamp = column.unknown == "clamp"
    if isinstance(column, Integer):
        fractional = np.isfinite(line) & (line != np.round(line))
        if not clamp and (count := int(fractional.sum())):
            raise DataError(f"{where}: {_rows(count)} with a fraction; declare the column continuous, or clamp")
        line = np.round(line)
    elif isinstance(column, Continuous) and column.decimals is not None:
        line = np.round(line, column.decimals)
    outside = ~null & ((line < column.low) | (line > column.high))
    if not clamp and (count := int(outside.sum())):
        raise DataError(
            f"{where}: {_rows(count)} outside the declared min and max; correct them, widen the bounds from public "
            "knowledge, or say 'unknown: clamp'"
        )
    line = np.clip(line, column.low, column.high)
    if not column.nullable:
        if clamp:
            line[null] = column.low
        else:
            _refuse_null(null, False, where)
    return line


def _numbers(values: pd.Series, column: Numeric) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    if values.dtype.kind in "mMc" or isinstance(values.dtype, pd.PeriodDtype):
        return np.full(len(values), np.nan), np.ones(len(values), dtype=bool)
    line = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan).copy()
    unreadable = np.isnan(line)
    if unreadable.any() and not pd.api.types.is_numeric_dtype(values.dtype):
        text = values[unreadable].astype(str).str.strip().str.lower()
        unreadable[unreadable] = ~text.isin(["nan", ""]).to_numpy(dtype=bool)
    if pd.api.types.is_numeric_dtype(values.dtype):
        unreadable[:] = False
    else:  # Python reads decimals to the nearest float, pandas before version 3 to a neighbour
        readable = ~np.isnan(line)
        line[readable] = values[readable].to_numpy(dtype=object).astype(np.float64)
    return line, unreadable


def _moments(values: pd.Series, column: Numeric) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    assert isinstance(column, Datetime)
    if pd.api.types.is_numeric_dtype(values.dtype):
        return np.full(len(values), np.nan), np.ones(len(values), dtype=bool)
    options: dict[str, Any] = {} if pd.api.types.is_datetime64_any_dtype(values.dtype) else {"format": "ISO8601"}
    moments = pd.to_datetime(values, errors="coerce", utc=True, **options)
    unreadable = moments.isna().to_numpy(dtype=bool, copy=True)
    seconds = moments.dt.tz_localize(None).to_numpy().astype("datetime64[s]")
    line = np.where(unreadable, np.nan, np.floor(seconds.astype(np.int64) / RESOLUTIONS[column.resolution]))
    if options:
        # pandas takes these two words for the hour of the computer's clock ...
        unreadable |= values.astype(str).str.strip().str.lower().isin(["now", "today"]).to_numpy(dtype=bool)
        # ... and, before version 3, knows the years 1678 to 2261 alone.
        for i in np.flatnonzero(unreadable & values.notna().to_numpy(dtype=bool)):
            moment = column.position(values.iloc[i])
            if moment is not None:
                line[i], unreadable[i] = moment, False
    return line, unreadable


def _refuse_null(null: NDArray[np.bool_], nullable: bool, where: str) -> None:
    if not nullable and (count := int(null.sum())):
        raise DataError(f"{where}: {_rows(count)} without a value; declare 'nullable: true' or fill them")


def _rows(count: int) -> str:
    return f"{count} row{'s' if count != 1 else ''}"


def _decode(values: NDArray[np.generic], column: Modelled) -> object:
    if isinstance(column, Categorical):
        numeric = all(isinstance(category, int) for category in column.categories)
        labels = np.array([*column.categories, None], dtype=object)
        decoded = labels[values.astype(np.int64)]
        return pd.array(decoded, dtype="Int64") if numeric else pd.array(decoded, dtype="string")
    if isinstance(column, Boolean):
        return pd.array(np.array([False, True, None], dtype=object)[values.astype(np.int64)], dtype="boolean")
    line = values.astype(np.float64)
    if isinstance(column, Continuous):
        return line if column.decimals is None else np.round(line, column.decimals)
    null = np.isnan(line)
    whole = np.where(null, 0.0, line).astype(np.int64)
    if isinstance(column, Datetime):
        moments = (whole * RESOLUTIONS[column.resolution]).astype("datetime64[s]")
        moments[null] = np.datetime64("NaT")
        return moments
    return pd.arrays.IntegerArray(whole, null) if column.nullable else whole


def _draw_from_bins(codes: NDArray[np.integer], column: Numeric, rng: np.random.Generator) -> NDArray[np.float64]:
    edges = np.asarray(column.edges)
    null = codes >= len(edges) - 1
    bins = np.where(null, 0, codes)
    low, high = edges[bins], edges[bins + 1]
    where = rng.random(len(codes))
    if column.step:
        values = np.minimum(np.round((high - low) / column.step), 2**53)
        line = low + np.minimum(np.floor(where * values), values - 1) * column.step
        if isinstance(column, Continuous) and column.decimals is not None:
            line = np.round(line, column.decimals)
    else:
        line = np.minimum(low + where * (high - low), np.nextafter(high, low))
        line = np.where((high == column.high) & (np.nextafter(low, high) == high), high, line)  # closed: max itself
    line = np.clip(line, column.low, column.high)
    return np.where(null, np.nan, line)


def _draw_from_merged(codes: NDArray[np.integer], column: Categorical, rng: np.random.Generator) -> NDArray[np.int32]:
    coded = np.array([*column.codes, column.size - 1] if column.nullable else column.codes)
    order = np.argsort(coded, kind="stable")
    starts, sizes = np.searchsorted(coded[order], codes), np.bincount(coded)[codes]
    places = starts + np.floor(rng.random(len(codes)) * sizes).astype(np.int64)
    drawn: NDArray[np.int32] = order[places].astype(np.int32)
    return drawn


def unit_keys(values: pd.Series, where: str) -> NDArray[np.uint64]:
    """One key (n,) per unit of privacy: a hash of its identifier, the same in every batch.

    Raises:
        DataError: rows without an identifier; how many.
    """
    if count := int(values.isna().sum()):
        raise DataError(f"{where}: {_rows(count)} without a value; the unit of privacy must be known for every row")
    index, distinct = pd.factorize(values)
    keys = [
        int.from_bytes(blake2b(str(value).encode(errors="surrogatepass"), digest_size=8).digest(), "big")
        for value in distinct
    ]
    return np.array(keys, dtype=np.uint64)[index]


__all__ = [
    "Table",
    "check_columns",
    "check_names",
    "concatenate",
    "discretize",
    "from_frame",
    "to_frame",
    "undiscretize",
    "unit_keys",
]
