"""What every row must meet: public statements about several columns at once.

    Inequality   low <= high, or low < high
    Sum          the columns add up to the total
    OneOf        exactly one of the booleans is true
    Determines   one column follows from another, by a public map
    Never        values that never occur together (a structural zero)

A constraint is declared in the schema, as the domain is. It is never learnt. Whether a row meets it
is seen from that row and the schema alone. Numbers are compared in *ticks*: whole steps of the
column's grid (a thousandth, a day), so that 0.1 + 0.2 is 0.3; on a continuum, the floats in their
order. :mod:`synthkit.data.repair` changes rows that break one.

Nulls: an inequality and a sum say nothing about a row in which one of their columns is null; a null
is not true (OneOf); null determines null; Never may name null as a value.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from synthkit.data.schema import Boolean, Categorical, Continuous, Datetime, Identifier, Modelled, Numeric, Schema, Text
from synthkit.errors import SchemaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_CELLS = 1 << 16  # a table of more than two columns that masks() writes out has at most so many
_MOST_PAIRS = 1 << 22  # and one of two columns

Columns = Mapping[str, "NDArray[np.generic]"]  # values on the schema's inner line, (n,) each
Mask = tuple[tuple[int, ...], "NDArray[np.bool_]"]


@dataclass(frozen=True, kw_only=True)
class Inequality:
    """``low <= high``, or ``low < high`` where ``strict``; numbers or moments on the same grid."""

    kind: ClassVar[str] = "inequality"
    low: str
    high: str
    strict: bool = False
    repair: bool = False

    @property
    def touched(self) -> tuple[str, ...]:
        """The columns that it ties together."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.low} {'<' if self.strict else '<='} {self.high}"

    def broken(self, columns: Columns, schema: Schema) -> NDArray[np.bool_]:
        """The rows that break it, (n,)."""
        present = ~(_null(columns[self.low]) | _null(columns[self.high]))
        low, high = (ticks(columns[name], _numeric(schema, name)) for name in self.touched)
        broken: NDArray[np.bool_] = present & (low + self.strict > high)
        return broken


@dataclass(frozen=True, kw_only=True)
class Sum:
    """``columns`` add up to ``total``: integers, or continuous values of the same decimals."""

    kind: ClassVar[str] = "sum"
    columns: tuple[str, ...]
    total: str
    repair: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))

    @property
    def touched(self) -> tuple[str, ...]:
        """The columns that it ties together."""
        return *self.columns, self.total

    def __str__(self) -> str:
        return f"{' + '.join(self.columns)} = {self.total}"

    def broken(self, columns: Columns, schema: Schema) -> NDArray[np.bool_]:
        """The rows that break it, (n,)."""
        null = np.logical_or.reduce([_null(columns[name]) for name in self.touched])
        parts = sum(ticks(columns[name], _numeric(schema, name)) for name in self.columns)
        broken: NDArray[np.bool_] = ~null & (parts != ticks(columns[self.total], _numeric(schema, self.total)))
        return broken


@dataclass(frozen=True, kw_only=True)
class OneOf:
    """Exactly one of these booleans is true."""

    kind: ClassVar[str] = "one_of"
    columns: tuple[str, ...]
    repair: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))

    @property
    def touched(self) -> tuple[str, ...]:
        """The columns that it ties together."""
        return self.columns

    def __str__(self) -> str:
        return f"exactly one of {', '.join(self.columns)}"

    def broken(self, columns: Columns, schema: Schema) -> NDArray[np.bool_]:
        """The rows that break it, (n,)."""
        true = np.sum([columns[name] == 1 for name in self.columns], axis=0)
        broken: NDArray[np.bool_] = true != 1
        return broken


@dataclass(frozen=True, kw_only=True)
class Determines:
    """``other`` has the value that ``map`` gives for ``column``'s: every category (or boolean) is mapped."""

    kind: ClassVar[str] = "determines"
    column: str
    other: str
    map: Mapping[str, Any]
    repair: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "map", {_text(key): value for key, value in self.map.items()})

    @property
    def touched(self) -> tuple[str, ...]:
        """The columns that it ties together."""
        return self.column, self.other

    def __str__(self) -> str:
        return f"{self.column} determines {self.other}"

    def broken(self, columns: Columns, schema: Schema) -> NDArray[np.bool_]:
        """The rows that break it, (n,)."""
        given, other = columns[self.column].astype(np.int64), schema.modelled[self.other]
        values = self.values(schema)
        null = np.array([value is None for value in values])[given]
        expected = np.array([value or 0 for value in values], dtype=np.int64)[given]
        follows = columns[self.other]
        found = ticks(follows, other) if isinstance(other, Numeric) else follows
        missing = _null(follows) if isinstance(other, Numeric) else follows == null_position(other)
        broken: NDArray[np.bool_] = np.where(null, ~missing, missing | (found != expected))
        return broken

    def values(self, schema: Schema) -> list[int | None]:
        """For every position of ``column`` the position or the tick that ``other`` has; None for null."""
        column, other = schema.modelled[self.column], schema.modelled[self.other]
        values = [single(other, self.map[label], self.other) for label in _labels(column)]
        return [*values, None] if column.nullable else values


@dataclass(frozen=True, kw_only=True)
class Never:
    """These values never occur together.

    ``where`` maps at least two columns to a category or a list of them, true or false, a number or
    a moment, a range ``(low, high)`` of those with both ends in it, or None for null.
    """

    kind: ClassVar[str] = "never"
    where: Mapping[str, Any]
    repair: bool = False

    def __post_init__(self) -> None:
        where = {name: tuple(value) if isinstance(value, list) else value for name, value in self.where.items()}
        object.__setattr__(self, "where", where)

    @property
    def touched(self) -> tuple[str, ...]:
        """The columns that it ties together."""
        return tuple(self.where)

    def __str__(self) -> str:
        return f"never {' and '.join(f'{name} = {_shown(value)}' for name, value in self.where.items())}"

    def broken(self, columns: Columns, schema: Schema) -> NDArray[np.bool_]:
        """The rows that break it, (n,)."""
        held = []
        for name, value in self.where.items():
            column, values = schema.modelled[name], columns[name]
            wanted = several(column, value, name)
            if isinstance(column, Numeric):
                line, null = ticks(values, column), _null(values)
                held.append(null if wanted is None else ~null & (line >= wanted[0]) & (line <= wanted[-1]))
            else:
                held.append(np.isin(values, [null_position(column)] if wanted is None else wanted))
        broken: NDArray[np.bool_] = np.logical_and.reduce(held)
        return broken


Constraint = Inequality | Sum | OneOf | Determines | Never
KINDS: Mapping[str, type[Constraint]] = {kind.kind: kind for kind in (Inequality, Sum, OneOf, Determines, Never)}


def from_dict(entry: Mapping[str, Any]) -> Constraint:
    """One entry of a schema file's ``constraints``; the file's form has been checked."""
    settings = {name: value for name, value in entry.items() if name != "kind"}
    kind: Any = KINDS[entry["kind"]]
    made: Constraint = kind(**settings)
    return made


def to_dict(constraint: Constraint) -> dict[str, Any]:
    """Plain values; the inverse of :func:`from_dict`."""
    entry: dict[str, Any] = {"kind": constraint.kind}
    for field in fields(constraint):
        value = getattr(constraint, field.name)
        if value != field.default:
            entry[field.name] = _plain(value)
    return entry


def derived(schema: Schema) -> dict[str, Constraint]:
    """The columns that follow from others (totals, and what is determined), and what they follow from."""
    found: dict[str, Constraint] = {}
    for constraint in schema.constraints:
        match constraint:
            case Sum(total=name) | Determines(other=name):
                found[name] = constraint
    return found


def check(schema: Schema) -> None:
    """Hold every constraint against the columns, and all of them against each other.

    Raises:
        SchemaError: a column that is unknown, of the wrong kind or on another grid; a value outside
            its column's domain; a column that follows from two others or, in a circle, from itself;
            inequalities in a circle; a sum and another constraint that share two columns.
    """
    for constraint in schema.constraints:
        try:
            _check_one(constraint, schema)
        except SchemaError as problem:
            raise SchemaError(f"constraint '{constraint}': {problem}") from None
    _check_derived(schema)
    _check_inequalities(schema)
    _check_sums(schema)


def masks(schema: Schema) -> list[Mask]:
    """Which combinations of codes are possible at all.

    Returns:
        For every constraint positions of modelled columns, ascending, and a boolean table over their
        codes: False where no values with these codes meet the constraint. A table of more than 65,536
        combinations is split into pairs where they say anything, or left out. Rows whose codes are
        possible by every table may still need :func:`synthkit.data.repair.repaired`: within bins,
        and where constraints meet.
    """
    found: list[Mask] = []
    for constraint in schema.constraints:
        sizes = [_positions(schema.modelled[name]) for name in constraint.touched]
        if math.prod(sizes) <= (_MOST_PAIRS if len(sizes) == 2 else MOST_CELLS):
            tables = [(constraint.touched, _possible(constraint, schema))]
        else:
            tables = _pairwise(constraint, schema)
        found += [_ascending(names, table, schema) for names, table in tables]
    return [(positions, table) for positions, table in found if not table.all()]


def ticks(values: NDArray[np.generic], column: Numeric) -> NDArray[np.int64]:
    """Values on the inner line as whole steps of the column's grid (its floats by rank where it has none).

    The order is the values'; null (NaN) becomes 0.
    """
    line = np.nan_to_num(values.astype(np.float64), nan=0.0)
    if column.step is None:
        # Among floats of one sign, the order is that of their bits.
        bits = (line + 0.0).view(np.int64)  # no -0.0
        return np.where(bits >= 0, bits, bits ^ np.int64(2**63 - 1))
    return np.rint(line * _per_unit(column)).astype(np.int64)


def values_at(steps: NDArray[np.int64], column: Numeric) -> NDArray[np.float64]:
    """The values at these ticks; the inverse of :func:`ticks`."""
    if column.step is None:
        return np.where(steps >= 0, steps, steps ^ np.int64(2**63 - 1)).view(np.float64)
    values: NDArray[np.float64] = steps / _per_unit(column)  # the float nearest to the decimal
    return values


def segments(column: Numeric, cuts: Sequence[int] = ()) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last tick of the column's bins, cut further before each of ``cuts``; (k,), (k,)."""
    first, last = ticks(np.array([column.low, column.high]), column)
    starts = {int(tick) for tick in ticks(np.asarray(column.edges[:-1]), column)} | set(cuts)
    low = np.array(sorted(tick for tick in starts if first <= tick <= last), dtype=np.int64)
    return low, np.append(low[1:] - 1, last)


def null_position(column: Modelled) -> int:
    """Where null stands in a table, after the categories (or booleans, or bins), if there is one."""
    return column.size - column.nullable if not isinstance(column, Categorical) else len(column.categories)


def single(column: Modelled, value: Any, name: str) -> int | None:
    """One declared value as a position (categories, booleans) or a tick (numbers, moments); None for null.

    Raises:
        SchemaError: it is not in the column's domain.
    """
    if value is None:
        if not column.nullable:
            raise SchemaError(f"null is no value of {name}, which is not nullable")
        return None
    if isinstance(column, Numeric):
        tick = _tick(column, value, name)
        first, last = ticks(np.array([column.low, column.high]), column)
        if not first <= tick <= last:
            raise SchemaError(f"{_shown(value)} is outside {name}'s min and max")
        return tick
    labels = _labels(column)
    if (isinstance(column, Boolean) and not isinstance(value, bool)) or _text(value) not in labels:
        raise SchemaError(f"{_shown(value)} is not one of {name}'s values, which are {', '.join(labels[:20])}")
    return labels.index(_text(value))


def several(column: Modelled, value: Any, name: str) -> tuple[int, ...] | None:
    """Declared values as positions (any of them), or as first and last tick of a range; None for null.

    Raises:
        SchemaError: they are not in the column's domain.
    """
    if value is None or not isinstance(value, tuple):
        only = single(column, value, name)
        return None if only is None else (only, only)
    if not isinstance(column, Numeric):
        if not value or any(part is None for part in value):
            raise SchemaError(f"{name}: list the values that are meant, without null")
        return tuple(place for part in value if (place := single(column, part, name)) is not None)
    if len(value) != 2:
        raise SchemaError(f"{name}: a range is [low, high], both ends in it")
    low, high = (_tick(column, end, name) for end in value)
    first, last = (int(tick) for tick in ticks(np.array([column.low, column.high]), column))
    if low > high:
        raise SchemaError(f"{name}: a range is [low, high], and low is above high")
    if high < first or low > last:
        raise SchemaError(f"{name}: {_shown(value)} lies outside min and max, so it never occurs anyway")
    return max(low, first), min(high, last)


def _check_one(constraint: Constraint, schema: Schema) -> None:
    touched = constraint.touched
    for name in touched:
        if name not in schema.columns:
            raise SchemaError(f"there is no column {name}")
        if isinstance(schema.columns[name], Identifier):
            raise SchemaError(
                f"{name} is {'free text' if isinstance(schema.columns[name], Text) else 'an identifier'}, which is not modelled"
            )
    if len(set(touched)) < len(touched):
        raise SchemaError("a column is named twice")
    columns = [schema.modelled[name] for name in touched]
    match constraint:
        case Inequality():
            low, high = columns
            if not (isinstance(low, Numeric) and isinstance(high, Numeric) and _grid(low) == _grid(high)):
                raise SchemaError(
                    "both columns must be integer, or continuous with equal decimals, or datetime with equal resolution"
                )
            if ticks(np.array([low.low]), low)[0] + constraint.strict > ticks(np.array([high.high]), high)[0]:
                raise SchemaError(f"{constraint.low}'s min is above {constraint.high}'s max: no row can meet it")
        case Sum():
            grids = {_grid(column) for column in columns}
            if len(grids) > 1 or not grids <= {("integer", 1.0)} | {("continuous", 10.0**-k) for k in range(13)}:
                raise SchemaError("all columns must be integer, or all continuous with equal decimals")
            if not 2 <= len(constraint.columns) <= 100:
                raise SchemaError(f"a sum has 2 to 100 columns, not {len(constraint.columns)}")
            if not _possible_total(constraint, schema):
                raise SchemaError(f"{constraint.total}'s min and max hold no sum of the columns: no row can meet it")
        case OneOf():
            if len(columns) < 2 or not all(isinstance(column, Boolean) for column in columns):
                raise SchemaError("there must be two or more columns, all of kind boolean")
        case Determines():
            _check_map(constraint, columns[0], columns[1])
        case Never():
            if len(columns) < 2:
                raise SchemaError("name two or more columns; a value that never occurs is left out of its column")
            for name, value in constraint.where.items():
                several(schema.modelled[name], value, name)


def _check_map(constraint: Determines, column: Modelled, other: Modelled) -> None:
    if not isinstance(column, Categorical | Boolean):
        raise SchemaError(f"{constraint.column} must be of kind categorical or boolean")
    labels = _labels(column)
    if missing := [label for label in labels if label not in constraint.map]:
        raise SchemaError(f"map has no value for {', '.join(missing[:8])}; map every category")
    if unknown := [key for key in constraint.map if key not in labels]:
        raise SchemaError(f"map has {', '.join(unknown[:8])}, which {constraint.column} has not")
    if column.nullable and not other.nullable:
        raise SchemaError(f"{constraint.column} may be null, and then {constraint.other} is: declare it nullable, too")
    for value in constraint.map.values():
        single(other, value, constraint.other)


def _check_derived(schema: Schema) -> None:
    sources: dict[str, tuple[str, ...]] = {}
    for constraint in schema.constraints:
        match constraint:
            case Sum(total=name, columns=parts):
                origin = parts
            case Determines(other=name, column=column):
                origin = (column,)
            case _:
                continue
        if name in sources:
            raise SchemaError(f"constraints: {name} follows from {_listed(sources[name])} and from {_listed(origin)}")
        sources[name] = origin
    if circle := _circle(sources):
        raise SchemaError(f"constraints: {circle} follows from itself, in a circle; declare one direction")


def _check_inequalities(schema: Schema) -> None:
    above: dict[str, tuple[str, ...]] = {}
    for constraint in schema.constraints:
        if isinstance(constraint, Inequality):
            above[constraint.low] = (*above.get(constraint.low, ()), constraint.high)
    if circle := _circle(above):
        raise SchemaError(f"constraints: the inequalities come back to {circle}, in a circle")


def _check_sums(schema: Schema) -> None:
    # Where numbers hang together through a sum without circles, bounds that are passed along say
    # exactly which values are left (repair.py). In a circle they do not.
    numeric = [c for c in schema.constraints if isinstance(c, Sum | Inequality)]
    group = {name: name for c in numeric for name in c.touched}
    circles: list[tuple[str, str]] = []

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for constraint in dict.fromkeys(numeric):
        first, *others = constraint.touched
        for name in others:
            if root(name) == root(first):
                circles.append((root(name), str(constraint)))
            group[root(name)] = root(first)
    summed = {root(c.total) for c in numeric if isinstance(c, Sum)}
    for name, shown in circles:
        if root(name) in summed:
            raise SchemaError(
                f"constraint '{shown}': its columns are tied by a sum and other constraints already; where a sum takes "
                "part, numbers may be tied in one way only (leave out what follows from the bounds)"
            )


def _circle(edges: Mapping[str, tuple[str, ...]]) -> str | None:
    """A node that leads back to itself, or None."""
    safe: set[str] = set()
    for start in edges:
        path, waiting = [start], [iter(edges[start])]
        while waiting:
            step = next(waiting[-1], None)
            if step is None:
                waiting.pop()
                safe.add(path.pop())
            elif step in path:
                return step
            elif step not in safe:
                path.append(step)
                waiting.append(iter(edges.get(step, ())))
    return None


def _possible(constraint: Constraint, schema: Schema) -> NDArray[np.bool_]:
    """The table over the positions (for numbers, bins) of the constraint's columns, in its own order."""
    columns = [schema.modelled[name] for name in constraint.touched]
    match constraint:
        case Inequality():
            (lowest, _), (_, highest) = (_bounds(column) for column in columns)
            return _or_null(lowest[:, None] + constraint.strict <= highest[None, :], columns)
        case Sum():
            bounds = [_bounds(column) for column in columns]
            least, most = (_outer([bound[side] for bound in bounds[:-1]]) for side in (0, 1))
            return _or_null((least[..., None] <= bounds[-1][1]) & (most[..., None] >= bounds[-1][0]), columns)
        case OneOf():
            possible: NDArray[np.bool_] = (
                _outer([(np.arange(_positions(c)) == 1).astype(np.int64) for c in columns]) == 1
            )
            return possible
        case Determines():
            column, other = columns
            table = np.zeros((_positions(column), _positions(other)), dtype=bool)
            for k, value in enumerate(constraint.values(schema)):
                if value is None:
                    table[k, null_position(other)] = True
                elif isinstance(other, Numeric):
                    table[k, np.searchsorted(_bounds(other)[0], value, side="right") - 1] = True
                else:
                    table[k, value] = True
            return table
        case Never():
            held = [_all_held(schema.modelled[name], value, name) for name, value in constraint.where.items()]
            possible = _outer([part.astype(np.int64) for part in held]) < len(held)
            return possible


def _pairwise(constraint: Constraint, schema: Schema) -> list[tuple[tuple[str, ...], NDArray[np.bool_]]]:
    """What a constraint says of two of its columns, where the table over all is too large."""
    columns = schema.modelled
    if isinstance(constraint, OneOf):
        pairs = itertools.combinations(constraint.columns, 2)
        true = {name: np.arange(_positions(columns[name])) == 1 for name in constraint.columns}
        return [((a, b), ~np.outer(true[a], true[b])) for a, b in pairs]
    if not isinstance(constraint, Sum):
        return []
    found: list[tuple[tuple[str, ...], NDArray[np.bool_]]] = []
    total = _bounds(columns[constraint.total])
    for name in constraint.columns:
        others = [columns[other] for other in constraint.columns if other != name]
        if any(other.nullable for other in others):
            continue  # null there, and the sum says nothing
        low, high = _bounds(columns[name])
        least = low + sum(int(_bounds(other)[0][0]) for other in others)
        most = high + sum(int(_bounds(other)[1][-1]) for other in others)
        table = (least[:, None] <= total[1]) & (most[:, None] >= total[0])
        found.append(((name, constraint.total), _or_null(table, [columns[name], columns[constraint.total]])))
    return found


def _ascending(names: tuple[str, ...], table: NDArray[np.bool_], schema: Schema) -> Mask:
    order = list(schema.modelled)
    at = [order.index(name) for name in names]
    for axis, name in enumerate(names):
        column = schema.modelled[name]
        if isinstance(column, Categorical):  # categories may share a code: it is possible where one of them is
            codes = [*column.codes, *([column.size - 1] if column.nullable else [])]
            shared = np.zeros((column.size, *np.delete(table.shape, axis)), dtype=bool)
            np.logical_or.at(shared, codes, np.moveaxis(table, axis, 0))
            table = np.moveaxis(shared, 0, axis)
    axes = sorted(range(len(names)), key=lambda axis: at[axis])
    return tuple(at[axis] for axis in axes), np.ascontiguousarray(table.transpose(axes))


def _possible_total(constraint: Sum, schema: Schema) -> bool:
    bounds = [_bounds(schema.modelled[name]) for name in constraint.touched]
    least, most = sum(int(low[0]) for low, _ in bounds[:-1]), sum(int(high[-1]) for _, high in bounds[:-1])
    return bool(least <= bounds[-1][1][-1] and most >= bounds[-1][0][0])


def _bounds(column: Modelled) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    assert isinstance(column, Numeric)
    return segments(column)


def _outer(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Sums of one entry of each part, over all combinations: one axis a part."""
    total = np.zeros((), dtype=np.int64)
    for part in parts:
        total = np.add.outer(total, part)
    return total


def _or_null(table: NDArray[np.bool_], columns: Sequence[Modelled]) -> NDArray[np.bool_]:
    """The table with room for the null codes, where everything is possible."""
    return np.pad(table, [(0, int(column.nullable)) for column in columns], constant_values=True)


def _all_held(column: Modelled, value: Any, name: str) -> NDArray[np.bool_]:
    """For every position: are all its values among those that are meant?"""
    wanted = several(column, value, name)
    held = np.zeros(_positions(column), dtype=bool)
    if wanted is None:
        held[null_position(column)] = True
    elif isinstance(column, Numeric):
        low, high = segments(column)
        held[: len(low)] = (low >= wanted[0]) & (high <= wanted[1])
    else:
        held[list(wanted)] = True
    return held


def _positions(column: Modelled) -> int:
    return null_position(column) + column.nullable


def _numeric(schema: Schema, name: str) -> Numeric:
    column = schema.modelled[name]
    assert isinstance(column, Numeric)
    return column


def _null(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    null: NDArray[np.bool_] = np.isnan(values.astype(np.float64))
    return null


def _per_unit(column: Numeric) -> float:
    """Steps of the grid in 1 of the inner line."""
    return 10.0 ** (column.decimals or 0) if isinstance(column, Continuous) else 1.0


def _grid(column: Modelled) -> tuple[str, object]:
    return column.kind, column.resolution if isinstance(column, Datetime) else getattr(column, "step", None)


def _tick(column: Numeric, value: Any, name: str) -> int:
    if isinstance(column, Datetime):
        line = column.position(value) if isinstance(value, str) else None
        if line is None:
            raise SchemaError(f"{_shown(value)} is not a moment in ISO 8601, as {name} has them")
    elif isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e308:
        raise SchemaError(f"{_shown(value)} is not a number, as {name} has them")
    else:  # far outside is as good as just outside
        line = min(max(float(value), column.low - 1), column.high + 1) if column.step else float(value)
    tick = ticks(np.array([line]), column)
    if abs(values_at(tick, column)[0] - line) > 1e-9 * max(1.0, abs(line)):
        raise SchemaError(f"{_shown(value)} is not a possible value of {name}")
    return int(tick[0])


def _labels(column: Modelled) -> list[str]:
    if isinstance(column, Categorical):
        return [str(category) for category in column.categories]
    return ["false", "true"]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return "null" if value is None else _text(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _listed(names: Sequence[str]) -> str:
    return " + ".join(names)


__all__ = [
    "KINDS",
    "MOST_CELLS",
    "Constraint",
    "Determines",
    "Inequality",
    "Never",
    "OneOf",
    "Sum",
    "check",
    "derived",
    "from_dict",
    "masks",
    "null_position",
    "segments",
    "several",
    "single",
    "ticks",
    "to_dict",
    "values_at",
]
