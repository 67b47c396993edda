"""Neighbouring tables to attack with, drawn from a schema alone.

No private value is needed to attack a method: its promise is about every pair of neighbours, and
the cruellest pairs are the ones that nobody has. The changed unit stands last, so that a coupling
of coins by position leaves everyone else's coin alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from synthkit.data.encoding import Table, discretize, from_frame, to_frame, undiscretize
from synthkit.data.repair import repaired
from synthkit.data.schema import Categorical, Continuous, Datetime, Identifier, Integer, Numeric, Schema
from synthkit.errors import DataError
from synthkit.privacy.budget import Adjacency


@dataclass(frozen=True)
class Pair:
    """Two neighbouring tables.

    Attributes:
        name: what distinguishes them, e.g. ``"added: infinite"``.
        left, right: the tables, as a user would hand them in.
    """

    name: str
    left: pd.DataFrame
    right: pd.DataFrame


def table(schema: Schema, rows: int, *, seed: int = 0) -> pd.DataFrame:
    """``rows`` rows with every code equally likely, columns independent; identifiers filled in.

    Rows that break a constraint are repaired: the schema refuses them.
    """
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.integers(0, size, rows) for size in schema.domain.values()], axis=1)  # (rows, d)
    modelled = Schema(name=schema.name, columns=schema.modelled, rows=schema.rows)
    columns = repaired(undiscretize(codes, modelled, rng).columns, schema, rng=rng)
    values = to_frame(Table(columns, None, rows), modelled)
    names = people(schema, max(1, rows // schema.unit.max_rows))[:-1]
    for name, column in schema.columns.items():
        if isinstance(column, Identifier):
            values[name] = (
                rng.choice(names, rows) if name == schema.unit.column else [f"{name} {k}" for k in range(rows)]
            )
    return values[list(schema.columns)].astype(object)


def pairs(schema: Schema, adjacency: Adjacency, *, rows: int = 200, seed: int = 0) -> Iterator[Pair]:
    """Pairs that differ in one unit: ordinary and hostile ones, as far as the schema lets them in.

    A value that the schema refuses (``unknown: error``) never reaches a mechanism: such columns get
    an extreme of their domain instead. Under replace-one the number of units is public, so units
    are exchanged; under add-or-remove they are added and removed.

    Args:
        schema: the public domain.
        adjacency: what a neighbour is.
        rows: size of the tables.
        seed: of the draws.
    """
    common = table(schema, rows, seed=seed)
    newcomer = people(schema, max(1, rows // schema.unit.max_rows))[-1]
    # All rows of one unit, one more than it may have where it may have several.
    most = 1 if schema.unit.column is None else schema.unit.max_rows + 1
    units = {kind: unit(schema, newcomer, kind, most, seed=seed + 1) for kind in _KINDS}
    if adjacency is Adjacency.REPLACE_ONE:
        base = units["ordinary"]
        for kind, rows_of_one in units.items():
            if kind != "ordinary":
                yield Pair(f"replaced: {kind}", _joined(common, base), _joined(common, rows_of_one))
        return
    for kind, rows_of_one in units.items():
        yield Pair(f"added: {kind}", common, _joined(common, rows_of_one))
    yield Pair("removed: ordinary", _joined(common, units["ordinary"]), common)
    yield Pair("added to an empty table", common.iloc[:0], units["ordinary"])
    yield Pair("added to a single row", common.iloc[:1], _joined(common.iloc[:1], units["ordinary"]))
    if schema.target is not None:
        lonely = _without_last_label(common, schema)
        yield Pair("added: the only one of its label", lonely, _joined(lonely, units["last"]))


def unit(schema: Schema, newcomer: str, kind: str, rows: int, *, seed: int = 0) -> pd.DataFrame:
    """``rows`` rows of one unit, whose values are all of one kind: ``"ordinary"``, ``"last"``, ``"null"``..."""
    made = table(schema, rows, seed=seed)
    for name, column in schema.modelled.items():
        value = _KINDS[kind](column)
        if value is not _KEEP:
            made[name] = pd.Series([value] * rows, dtype=object)
    if schema.unit.column is not None:
        made[schema.unit.column] = newcomer
    return _admitted(made, schema)


def _admitted(made: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The rows as they are, or repaired where a constraint refuses them."""
    try:
        from_frame(made, schema)
    except DataError:
        lenient = replace(schema, constraints=tuple(replace(c, repair=True) for c in schema.constraints))
        values = to_frame(from_frame(made, lenient), schema).astype(object)
        return made.assign(**{name: values[name] for name in schema.modelled})
    return made


def people(schema: Schema, count: int) -> list[str]:
    """Names of ``count`` units and one more, whose key sorts last: it takes nobody's place."""
    names = [f"person {k}" for k in range(count + 1)]
    if schema.unit.column is None:
        return names
    name, column = next(iter(schema.modelled.items()))
    narrow = Schema(
        name=schema.name,
        columns={schema.unit.column: Identifier(), name: column},
        rows=schema.rows,
        unit=schema.unit,
    )
    probe = to_frame(undiscretize(np.zeros((len(names), 1), dtype=np.int32), narrow, np.random.default_rng(0)), narrow)
    probe.insert(0, schema.unit.column, names)
    keys = from_frame(probe, narrow).units
    assert keys is not None
    return [names[k] for k in np.argsort(keys)]


def _joined(*parts: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([part for part in parts if len(part)], ignore_index=True)


def _without_last_label(common: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The table without the rows that carry the target's last value."""
    assert schema.target is not None
    target = _target_alone(schema)
    codes = discretize(from_frame(common[[schema.target]], target), target)[:, 0]
    last = target.modelled[schema.target].size - 1 - target.modelled[schema.target].nullable
    kept: pd.DataFrame = common[codes != last].reset_index(drop=True)
    return kept


def _target_alone(schema: Schema) -> Schema:
    assert schema.target is not None
    return Schema(name=schema.name, columns={schema.target: schema.columns[schema.target]}, rows=schema.rows)


_KEEP = object()  # the column keeps an ordinary value


def _last(column: Any) -> object:
    if isinstance(column, Categorical):
        return column.categories[-1]
    return column.max if isinstance(column, Integer | Continuous | Datetime) else True


def _null(column: Any) -> object:
    return None if column.nullable else _KEEP


def _out_of_domain(value: object) -> Callable[[Any], object]:
    def make(column: Any) -> object:
        if isinstance(column, Numeric) and not isinstance(column, Datetime) and column.unknown == "clamp":
            return value
        return _last(column)

    return make


def _unseen(column: Any) -> object:
    if isinstance(column, Categorical) and column.unknown == "other":
        return "a category that nobody declared"
    return _KEEP


_KINDS: Mapping[str, Callable[[Any], object]] = {
    "ordinary": lambda column: _KEEP,
    "last": _last,
    "null": _null,
    "not a number": lambda column: float("nan") if isinstance(column, Numeric) and column.nullable else _KEEP,
    "infinite": _out_of_domain(float("inf")),
    "minus infinite": _out_of_domain(float("-inf")),
    "1e30": _out_of_domain(1e30),
    "unseen category": _unseen,
}


__all__ = ["Pair", "pairs", "people", "table", "unit"]
