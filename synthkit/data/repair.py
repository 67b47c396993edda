"""Rows that break a constraint, changed as little as may be until they meet all of them.

Columns that constraints tie together form a group. In two steps, each of which looks at one row and
the schema alone, so that it may stand before a mechanism:

    SEARCH   a cell for every column of the group (a category, a bin or a part of one, null) such that
             values exist in the cells that meet everything: one column after the other, nearest cells
             first, going back where nothing is left
    SETTLE   numbers within their cells: bounds are passed along inequalities and sums, one column is
             set, bounds are passed along again

Why SETTLE always ends well: bounds that no constraint can tighten any more leave for every single
column exactly the values that some full solution has. That holds for inequalities without circles
(all columns at their lower bounds are a solution), and where sums take part, for ties without
circles (Freuder 1982: arc consistency on a tree needs no going back; sums of whole numbers leave no
gaps). :func:`synthkit.data.constraints.check` refuses the rest.

A search that takes too long gives up for a row that is known to meet everything, found when the
schema was made: repairing never fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from synthkit.data.constraints import (
    Columns,
    Constraint,
    Determines,
    Inequality,
    Never,
    OneOf,
    Sum,
    check,
    derived,
    null_position,
    segments,
    several,
    ticks,
    values_at,
)
from synthkit.data.schema import Modelled, Numeric, Schema
from synthkit.errors import DataError, SchemaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PATIENCE = 2_000  # cells that the search for one row tries
_STUBBORN = 200_000  # and that the search for any row does, once a schema
_WAYS = 64  # orders in which columns are gone through, by lot
_TOLD = 50  # constraints of a contradiction that are looked at one by one, for the message
_REDRAWS = 24  # numbers drawn anew, evenly, before they are drawn one after the other

Span = tuple[int, int]


def verify(schema: Schema) -> None:
    """Refuse constraints that are ill-formed, or that no row can meet.

    Raises:
        SchemaError: says which constraint, or which of them contradict each other.
    """
    check(schema)
    if group := unsolvable(schema, {}):
        raise SchemaError(f"constraints: no row meets all of: {'; '.join(map(str, group))}")


def unsolvable(schema: Schema, fixed: Mapping[str, Any]) -> tuple[Constraint, ...]:
    """Some constraints that no row can meet together whose columns in ``fixed`` have these inner values."""

    def impossible(constraints: Sequence[Constraint]) -> tuple[Constraint, ...]:
        groups = _groups(schema, constraints, fixed)
        return next((group.constraints for group in groups if group.known is None), ())

    found = impossible(schema.constraints)
    for constraint in found[:_TOLD]:  # what matters is what cannot be left out
        found = impossible([other for other in found if other is not constraint]) or found
    return found


def admit(columns: Columns, schema: Schema, source: str) -> dict[str, NDArray[np.generic]]:
    """Hold rows against the constraints, on the way in.

    Args:
        columns: values on the inner line, (n,) each.
        schema: the public domain.
        source: the data's name, for messages.

    Returns:
        The columns; rows that break a constraint with ``repair: true`` are repaired, row by row and
        without randomness.

    Raises:
        DataError: rows break a constraint without it. Says how many.
    """
    for constraint in schema.constraints:
        if not constraint.repair and (count := int(constraint.broken(columns, schema).sum())):
            raise DataError(
                f"{source}: {count} row{'s' if count != 1 else ''} with values that break the constraint "
                f"'{constraint}'; correct them, take the constraint out, or give it 'repair: true'"
            )
    return repaired(columns, schema)


def repaired(
    columns: Columns, schema: Schema, *, fixed: Mapping[str, Any] | None = None, rng: np.random.Generator | None = None
) -> dict[str, NDArray[np.generic]]:
    """The columns, with every row that breaks a constraint changed until it meets all.

    Args:
        columns: values on the inner line, (n,) each.
        schema: the public domain.
        fixed: columns that have this inner value in all rows, and keep it.
        rng: draws numbers evenly from what is left of their bins, and what gives way by lot. None:
            numbers move to the nearest value that is left, and no lot is drawn.

    Raises:
        DataError: no row with the fixed values can meet the constraints (see :func:`unsolvable`).
    """
    found = dict(columns)
    if not schema.constraints or not len(next(iter(columns.values()))):
        return found
    for group in _groups(schema, schema.constraints, fixed or {}):
        broken = np.logical_or.reduce([c.broken(found, schema) for c in group.constraints])
        index = np.flatnonzero(broken)
        if not len(index):
            continue
        if group.known is None:
            raise DataError(f"no row with the fixed values meets all of: {'; '.join(map(str, group.constraints))}")
        rows = {name: found[name][index] for name in group.names}
        for name, values in group.repair(rows, rng).items():
            found[name] = found[name].copy()
            found[name][index] = values
    return found


@dataclass(frozen=True)
class _Cells:
    """What a column's values are divided into: categories or, for numbers, bins cut further; null last."""

    column: Modelled
    low: NDArray[np.int64]  # first tick of every cell, null left out
    high: NDArray[np.int64]
    allowed: range

    @property
    def null(self) -> int:
        """The null cell; -1 where there is none."""
        return len(self.low) if self.column.nullable else -1

    def of(self, values: NDArray[np.generic]) -> NDArray[np.int64]:
        """The cell of every value."""
        if not isinstance(self.column, Numeric):
            return values.astype(np.int64)
        cells = np.searchsorted(self.low, ticks(values, self.column), side="right") - 1
        return np.where(np.isnan(values.astype(np.float64)), self.null, cells)

    def around(self, values: Span) -> range:
        """The cells that hold some of these ticks."""
        first, last = np.searchsorted(self.low, values, side="right").tolist()
        return range(max(first - 1, 0), last)


@dataclass(frozen=True)
class _Wish:
    """Which cells a column may have, and which it would like best.

    Attributes:
        cells: the column's.
        best: tried first, in this order.
        others: tried then: of categories in this order, of numbers the nearest to the last of ``best`` first.
        null: whether null may be tried in the end.
    """

    cells: _Cells
    best: tuple[int, ...]
    others: Sequence[int]
    null: bool

    def tried(self, values: Span | None = None) -> Iterator[int]:
        """The cells in the order in which they are tried; those with such values alone."""
        yield from (cell for cell in self.best if cell == self.cells.null and cell in self.cells.allowed)
        if isinstance(self.others, range):
            inside = self.others
            if values is not None:
                near = self.cells.around(values)
                inside = range(max(inside.start, near.start), min(inside.stop, near.stop))
            yield from (cell for cell in self.best if cell in inside)
            yield from (cell for cell in _outwards(self.best[-1], inside) if cell not in self.best)
        else:
            yield from (cell for cell in self.best if cell in self.others)
            yield from (cell for cell in self.others if cell not in self.best)
        if self.null and self.cells.null not in self.best:
            yield self.cells.null

    @cached_property
    def hull(self) -> Span | None:
        """Bounds of a number; None where it may be null, and so free of all ties."""
        if self.null or not self.others or self.cells.null in self.best:
            return None
        return int(self.cells.low[self.others[0]]), int(self.cells.high[self.others[-1]])


@dataclass(frozen=True)
class _Way:
    """In which order columns are gone through (the last give way first), and categories are tried."""

    order: tuple[int, ...]
    others: tuple[Sequence[int], ...]


@dataclass(frozen=True)
class _Rule:
    """A constraint among cells; columns by their position in the group."""

    columns: tuple[int, ...]

    def allows(self, chosen: Mapping[int, int]) -> bool:
        """Whether the cells chosen so far can still meet it."""
        raise NotImplementedError


@dataclass(frozen=True)
class _Exactly(_Rule):
    def allows(self, chosen: Mapping[int, int]) -> bool:
        given = [chosen[k] for k in self.columns if k in chosen]
        true = given.count(1)
        return true == 1 or (true == 0 and len(given) < len(self.columns))


@dataclass(frozen=True)
class _Follows(_Rule):
    to: tuple[int, ...]  # the other column's cell for every cell

    def allows(self, chosen: Mapping[int, int]) -> bool:
        column, other = self.columns
        if column not in chosen or other not in chosen:
            return other not in chosen or chosen[other] in self.to
        return self.to[chosen[column]] == chosen[other]


@dataclass(frozen=True)
class _NotAll(_Rule):
    cells: tuple[frozenset[int], ...]  # of every column

    def allows(self, chosen: Mapping[int, int]) -> bool:
        return not all(k in chosen and chosen[k] in cells for k, cells in zip(self.columns, self.cells, strict=True))


@dataclass(frozen=True)
class _Below:
    """low + gap <= high, among ticks."""

    low: int
    high: int
    gap: int

    @property
    def columns(self) -> tuple[int, ...]:
        return self.low, self.high

    def tightened(self, spans: Mapping[int, tuple[Any, Any]], larger: Any, smaller: Any) -> Iterator[tuple[int, Any]]:
        """The bounds that follow from the others'."""
        (below, top), (bottom, above) = spans[self.low], spans[self.high]
        yield self.low, (below, smaller(top, above - self.gap))
        yield self.high, (larger(bottom, below + self.gap), above)


@dataclass(frozen=True)
class _Adds:
    """The sum of parts is total, among ticks."""

    parts: tuple[int, ...]
    total: int

    @property
    def columns(self) -> tuple[int, ...]:
        return *self.parts, self.total

    def tightened(self, spans: Mapping[int, tuple[Any, Any]], larger: Any, smaller: Any) -> Iterator[tuple[int, Any]]:
        """The bounds that follow from the others'."""
        low, high = spans[self.total]
        least, most = sum(spans[k][0] for k in self.parts), sum(spans[k][1] for k in self.parts)
        yield self.total, (larger(low, least), smaller(high, most))
        for k in self.parts:
            bottom, top = spans[k]
            yield k, (larger(bottom, low - (most - top)), smaller(top, high - (least - bottom)))


class _Group:
    """Columns that constraints tie together, and what the constraints say of their cells."""

    def __init__(self, schema: Schema, constraints: Sequence[Constraint], fixed: Mapping[str, Any]) -> None:
        self.constraints = tuple(constraints)
        touched = {name for constraint in constraints for name in constraint.touched}
        self.names = [name for name in schema.modelled if name in touched]
        at = {name: k for k, name in enumerate(self.names)}
        self.cells = [_cells(name, schema, constraints, fixed) for name in self.names]
        self.numeric = [k for k, cells in enumerate(self.cells) if isinstance(cells.column, Numeric)]
        follow = derived(schema)
        self.first = [at[name] for name in self.names if name in fixed]
        self.first += [at[name] for name in self.names if name == schema.target and name not in fixed]
        self.last = [at[name] for name in self.names if name in follow and at[name] not in self.first]
        self.rules: list[_Rule] = []
        self.ties: list[_Below | _Adds] = []
        for constraint in constraints:
            columns = tuple(at[name] for name in constraint.touched)
            match constraint:
                case Inequality(strict=strict):
                    self.ties.append(_Below(columns[0], columns[1], int(strict)))
                case Sum():
                    self.ties.append(_Adds(columns[:-1], columns[-1]))
                case OneOf():
                    self.rules.append(_Exactly(columns))
                case Determines():
                    other = self.cells[columns[1]]
                    to = tuple(_cell(value, other) for value in constraint.values(schema))
                    self.rules.append(_Follows(columns, to))
                case Never(where=where):
                    meant = [_meant(self.cells[at[name]], value, name) for name, value in where.items()]
                    self.rules.append(_NotAll(columns, tuple(meant)))
        self.rules_of = [[rule for rule in self.rules if k in rule.columns] for k in range(len(self.names))]

    @cached_property
    def known(self) -> tuple[int, ...] | None:
        """Cells that meet everything; None where there are none (or none was found in long)."""
        way = self._way(None)
        wishes = [
            _Wish(cells, (others[0],) if others else (cells.null,), others, cells.null in cells.allowed)
            for cells, others in zip(self.cells, way.others, strict=True)
        ]
        return self._search(wishes, way.order, _STUBBORN)

    def repair(self, rows: Columns, rng: np.random.Generator | None) -> dict[str, NDArray[np.generic]]:
        """These rows' columns, so that they meet everything."""
        drawn = np.stack([cells.of(rows[name]) for name, cells in zip(self.names, self.cells, strict=True)], axis=1)
        sums = self._sums(rows, drawn)
        if rng is None:  # a total that was not drawn, but read, is worth no more than its parts
            for k, cells in sums.items():
                drawn[:, k] = cells
        ways = [self._way(rng) for _ in range(1 if rng is None else _WAYS)]
        which = np.zeros(len(drawn), dtype=np.int64) if rng is None else rng.integers(0, _WAYS, len(drawn))
        kinds, index = np.unique(np.column_stack([drawn, *sums.values(), which]), axis=0, return_inverse=True)
        width = drawn.shape[1]
        solved = [
            self._nearest(row[:width], dict(zip(sums, row[width:], strict=False)), ways[row[-1]])
            for row in kinds.tolist()
        ]
        return self._settle(rows, np.array(solved)[index.reshape(-1)], rng)

    def _way(self, rng: np.random.Generator | None) -> _Way:
        """Fixed columns come first, then the target, others, those that follow; the rest by lot."""
        others: list[Sequence[int]] = []
        for cells in self.cells:
            values = range(cells.allowed.start, min(cells.allowed.stop, len(cells.low)))
            if rng is not None and not isinstance(cells.column, Numeric):  # categories have no neighbours
                others.append(rng.permutation(values).tolist())
            else:
                others.append(values)
        return _Way(self._order(rng), tuple(others))

    def _order(self, rng: np.random.Generator | None) -> tuple[int, ...]:
        rest = [k for k in range(len(self.names)) if k not in self.first and k not in self.last]
        return (*self.first, *(rest if rng is None else rng.permutation(rest).tolist()), *self.last)

    def _sums(self, rows: Columns, drawn: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
        """For every total that may give way, the cells in which its parts' values add up; its own beside a null."""
        totals = [tie for tie in self.ties if isinstance(tie, _Adds) and tie.total in self.last]
        given = {k: ticks(rows[self.names[k]], self._column(k)) for tie in totals for k in tie.columns}
        null = {k: np.isnan(rows[self.names[k]].astype(np.float64)) for k in given}
        cells: dict[int, NDArray[np.int64]] = {}
        for _ in totals:  # a total may be a part of another
            for tie in totals:
                low, high = self.cells[tie.total].low, self.cells[tie.total].high
                given[tie.total] = np.clip(sum(given[k] for k in tie.parts), low[0], high[-1])
                found = np.searchsorted(low, given[tie.total], side="right") - 1
                cells[tie.total] = np.where(self._present(tie, null), found, drawn[:, tie.total])
        return cells

    def _nearest(self, drawn: list[int], sums: Mapping[int, int], way: _Way) -> tuple[int, ...]:
        """SEARCH: cells near ``drawn``; nulls come and go only where nothing else is left."""
        free: list[_Wish] = []
        kept: list[_Wish] = []
        for k, (cells, cell) in enumerate(zip(self.cells, drawn, strict=True)):
            wish = _Wish(cells, (cell, sums[k]) if k in sums else (cell,), way.others[k], cells.null in cells.allowed)
            free.append(wish)
            if k not in self.last:
                wish = replace(wish, others=() if cell == cells.null else wish.others, null=cell == cells.null)
            kept.append(wish)
        found = self._search(kept, way.order, _PATIENCE) or self._search(free, way.order, _PATIENCE) or self.known
        assert found is not None
        return found

    def _search(self, wishes: Sequence[_Wish], order: Sequence[int], patience: int) -> tuple[int, ...] | None:
        """Cells that meet everything, the most wished for first; None where there are none, or patience ends."""
        chosen: dict[int, int] = {}
        spans = self._spans(chosen, wishes)
        if spans is None:
            return None
        trail = [wishes[order[0]].tried(spans.get(order[0]))]
        while trail and patience:
            k = order[len(trail) - 1]
            cell = next(trail[-1], None)
            if cell is None:
                chosen.pop(k, None)
                trail.pop()
                continue
            patience -= 1
            chosen[k] = cell
            spans = self._spans(chosen, wishes) if all(rule.allows(chosen) for rule in self.rules_of[k]) else None
            if spans is None:
                continue
            if len(trail) == len(order):
                return tuple(chosen[j] for j in range(len(order)))
            following = order[len(trail)]
            trail.append(wishes[following].tried(spans.get(following)))
        return None

    def _spans(self, chosen: Mapping[int, int], wishes: Sequence[_Wish]) -> dict[int, Span] | None:
        """Bounds that the ties leave to numbers, given the chosen cells; None where they leave nothing."""
        cells = dict(chosen)
        for rule in self.rules if self.ties else ():
            if isinstance(rule, _Follows) and rule.columns[0] in chosen:
                cells.setdefault(rule.columns[1], rule.to[chosen[rule.columns[0]]])
        spans: dict[int, Span] = {}
        for k in {k for tie in self.ties for k in tie.columns}:
            own = self.cells[k]
            if k not in cells:
                if (hull := wishes[k].hull) is not None:
                    spans[k] = hull
            elif cells[k] != own.null:
                spans[k] = int(own.low[cells[k]]), int(own.high[cells[k]])
        ties = [tie for tie in self.ties if all(k in spans for k in tie.columns)]
        moved = True
        while moved:
            moved = False
            for tie in ties:
                for k, span in tie.tightened(spans, max, min):
                    if span[0] > span[1]:
                        return None
                    moved |= span != spans[k]
                    spans[k] = span
        return spans

    def _settle(
        self, rows: Columns, cells: NDArray[np.int64], rng: np.random.Generator | None
    ) -> dict[str, NDArray[np.generic]]:
        """SETTLE: values in these cells (n, d) that meet everything."""
        found: dict[str, NDArray[np.generic]] = {}
        null: dict[int, NDArray[np.bool_]] = {}
        spans: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        for k, name in enumerate(self.names):
            if k in self.numeric:
                null[k] = cells[:, k] == self.cells[k].null
                inside = np.where(null[k], 0, cells[:, k])
                spans[k] = self.cells[k].low[inside], self.cells[k].high[inside]
            else:
                found[name] = cells[:, k].astype(np.int32)
        self._pass_on(spans, null)
        given = {k: ticks(rows[self.names[k]], self._column(k)) for k in self.numeric}
        for k in self.numeric:  # a null that becomes a number has none to start from
            low, high = spans[k]
            gone = np.isnan(rows[self.names[k]].astype(np.float64)) | (given[k] < low) | (given[k] > high)
            given[k] = np.where(
                gone, np.clip(given[k], low, high) if rng is None else self._draw(k, spans, rng), given[k]
            )
        self._add_up(given, spans, null)
        for _ in range(0 if rng is None else _REDRAWS):
            wrong = self._wrong(given, null)
            if not wrong.any():
                break
            index = np.flatnonzero(wrong)
            some = {k: (low[index], high[index]) for k, (low, high) in spans.items()}
            for k in self.numeric:
                if any(k in tie.columns for tie in self.ties):
                    given[k][index] = self._draw(k, some, rng)
            self._add_up(given, spans, null)
        index = np.flatnonzero(self._wrong(given, null))
        if len(index):
            some = {k: (low[index], high[index]) for k, (low, high) in spans.items()}
            absent = {k: values[index] for k, values in null.items()}
            for k in (k for k in self._order(rng) if k in spans):
                low, high = some[k]
                value = np.clip(given[k][index], low, high) if rng is None else self._draw(k, some, rng)
                given[k][index] = value
                some[k] = value, value
                self._pass_on(some, absent)
        for k in self.numeric:
            found[self.names[k]] = np.where(null[k], np.nan, values_at(given[k], self._column(k)))
        return found

    def _add_up(
        self,
        given: dict[int, NDArray[np.int64]],
        spans: Mapping[int, tuple[NDArray[np.int64], NDArray[np.int64]]],
        null: Mapping[int, NDArray[np.bool_]],
    ) -> None:
        """Totals become what their parts add up to, where that is in their cells."""
        for tie in self.ties:
            if isinstance(tie, _Adds):
                total, (low, high) = sum(given[k] for k in tie.parts), spans[tie.total]
                fits = (total >= low) & (total <= high) & self._present(tie, null)
                given[tie.total] = np.where(fits, total, given[tie.total])

    def _wrong(
        self,
        given: Mapping[int, NDArray[np.int64]],
        null: Mapping[int, NDArray[np.bool_]],
    ) -> NDArray[np.bool_]:
        """The rows whose numbers break a tie."""
        rows = len(next(iter(given.values()))) if given else 0
        wrong = np.zeros(rows, dtype=bool)
        for tie in self.ties:
            present = self._present(tie, null)
            if isinstance(tie, _Below):
                wrong |= present & (given[tie.low] + tie.gap > given[tie.high])
            else:
                wrong |= present & (sum(given[k] for k in tie.parts) != given[tie.total])
        return wrong

    def _pass_on(
        self, spans: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]], null: Mapping[int, NDArray[np.bool_]]
    ) -> None:
        """Tighten the bounds of every row until nothing moves."""
        moved = True
        while moved:
            moved = False
            for tie in self.ties:
                present = self._present(tie, null)
                for k, (low, high) in tie.tightened(spans, np.maximum, np.minimum):
                    low, high = np.where(present, low, spans[k][0]), np.where(present, high, spans[k][1])
                    moved |= bool((low != spans[k][0]).any() or (high != spans[k][1]).any())
                    spans[k] = low, high

    def _present(self, tie: _Below | _Adds, null: Mapping[int, NDArray[np.bool_]]) -> NDArray[np.bool_]:
        present: NDArray[np.bool_] = ~np.logical_or.reduce([null[k] for k in tie.columns])
        return present

    def _draw(
        self,
        k: int,
        spans: Mapping[int, tuple[NDArray[np.int64], NDArray[np.int64]]],
        rng: np.random.Generator | None,
    ) -> NDArray[np.int64]:
        """Ticks drawn evenly from their bounds: even in value, where floats lie closer near zero."""
        assert rng is not None
        (low, high), column = spans[k], self._column(k)
        if column.step is not None:
            return rng.integers(low, high, endpoint=True)
        start, end = values_at(low, column), values_at(high, column)
        return np.clip(ticks(start + rng.random(len(low)) * (end - start), column), low, high)

    def _column(self, k: int) -> Numeric:
        column = self.cells[k].column
        assert isinstance(column, Numeric)
        return column


def _groups(schema: Schema, constraints: Sequence[Constraint], fixed: Mapping[str, Any]) -> Iterator[_Group]:
    """The constraints, those that share columns together."""
    waiting = list(constraints)
    while waiting:
        names, tied = set(waiting[0].touched), [waiting.pop(0)]
        while more := [constraint for constraint in waiting if names & set(constraint.touched)]:
            tied += more
            names |= {name for constraint in more for name in constraint.touched}
            waiting = [constraint for constraint in waiting if constraint not in more]
        yield _Group(schema, tied, {name: value for name, value in fixed.items() if name in names})


def _cells(name: str, schema: Schema, constraints: Sequence[Constraint], fixed: Mapping[str, Any]) -> _Cells:
    """A column's cells, cut so that no constraint holds for a part of one; of fixed columns one is allowed."""
    column = schema.modelled[name]
    if not isinstance(column, Numeric):
        positions = np.arange(null_position(column))
        cells = _Cells(column, positions, positions, range(len(positions) + column.nullable))
    else:
        cuts: set[int] = set()
        for constraint in constraints:
            match constraint:
                case Never(where=where) if name in where and where[name] is not None:
                    meant = several(column, where[name], name)
                    cuts |= {meant[0], meant[-1] + 1} if meant else set()
                case Determines(other=other) if other == name:
                    cuts |= {
                        cut for value in constraint.values(schema) if value is not None for cut in (value, value + 1)
                    }
        if name in fixed and not np.isnan(fixed[name]):
            value = int(ticks(np.array([fixed[name]]), column)[0])
            cuts |= {value, value + 1}
        low, high = segments(column, sorted(cuts))
        cells = _Cells(column, low, high, range(len(low) + column.nullable))
    if name not in fixed:
        return cells
    cell = int(cells.of(np.array([fixed[name]]))[0])
    return replace(cells, allowed=range(cell, cell + 1))


def _outwards(start: int, inside: range) -> Iterator[int]:
    """The numbers in ``inside``, the nearest to ``start`` first."""
    if inside:
        start = min(max(start, inside[0]), inside[-1])
        yield start
        for distance in range(1, len(inside)):
            yield from (k for k in (start - distance, start + distance) if k in inside)


def _cell(value: int | None, cells: _Cells) -> int:
    """The cell of a position, a tick or null."""
    return cells.null if value is None else int(np.searchsorted(cells.low, value, side="right")) - 1


def _meant(cells: _Cells, value: Any, name: str) -> frozenset[int]:
    """The cells of declared values."""
    meant = several(cells.column, value, name)
    if meant is None:
        return frozenset({cells.null})
    if not isinstance(cells.column, Numeric):
        return frozenset(meant)
    return frozenset(np.flatnonzero((cells.low >= meant[0]) & (cells.high <= meant[1])).tolist())


__all__ = ["admit", "repaired", "unsolvable", "verify"]
