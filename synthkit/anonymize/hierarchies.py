"""What each value becomes, level by level: intervals, prefixes, dates, trees, and ARX's CSV files.

A hierarchy is one map per level from the codes of the values to the codes of that level. Level 0 is the value
itself. Levels are nested: two values that share a label go on sharing one (else counts could not be added up).
A value that no level knows is an error; it is never passed on as it is. Null is a value of its own: where the
hierarchy does not list it, it stays null up to the last level, if that is one label for all.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synthkit.documents import read_text
from synthkit.errors import DataError, JobError

ANY = "*"  # the label of a value of which nothing is said
NULL = ""
_NAMED = 5  # values that an error names
Codes = NDArray[np.int32]
Chain = tuple[str, ...]  # labels of one value, from level 1 on
DATE_LEVELS = ("month", "quarter", "year", "decade")


@dataclass(frozen=True)
class Hierarchy:
    """The levels of one column.

    Attributes:
        column: its name.
        labels: per level, the label of each code.
        maps: per level, ``(values,)`` int32: the code of each value of level 0; ``maps[0]`` counts up.
    """

    column: str
    labels: tuple[tuple[str, ...], ...]
    maps: tuple[Codes, ...]

    @property
    def height(self) -> int:
        """The highest level; 0 where the column is kept as it is."""
        return len(self.maps) - 1

    def encode(self, values: pd.Series[Any]) -> Codes:
        """Codes of level 0, ``(rows,)``.

        Raises:
            DataError: values that the hierarchy misses; says how many, never which.
        """
        texts, firsts = pd.factorize(as_text(values))
        known = {label: code for code, label in enumerate(self.labels[0])}
        found = np.array([known.get(text, -1) for text in firsts], np.int32)
        codes: Codes = found[texts] if len(found) else np.zeros(0, np.int32)
        if missed := int((found < 0).sum()):
            raise _missed(self.column, missed, int((codes < 0).sum()))
        return codes


def as_text(values: pd.Series[Any]) -> NDArray[np.object_]:
    """Values as hierarchies write them: whole numbers without a point, dates as YYYY-MM-DD, true and false, null empty."""
    uniques: Any
    codes, uniques = pd.factorize(values, use_na_sentinel=True)
    texts = np.array([*(_text(value) for value in uniques), NULL], object)
    return texts[codes]


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating) and math.isfinite(value) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, date):  # and a timestamp, which is one
        return value.isoformat()[:10]
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    return str(value)


def identity(column: str, values: pd.Series[Any]) -> Hierarchy:
    """No level but the value, and one label for all above it."""
    return _built(column, values, lambda _: (ANY,), 1)


def intervals(
    column: str,
    values: pd.Series[Any],
    low: float,
    high: float,
    widths: Sequence[float],
    declared: Container[str] = (),
) -> Hierarchy:
    """Level i is the interval ``[a, a + widths[i])`` counted from ``low``; the last level is one label.

    Args:
        column: its name.
        values: numbers.
        low: where intervals begin; a declared bound, at most every value.
        high: a declared bound, at least every value.
        widths: each a multiple of the one before it.
        declared: values that are public, so that an error may name them.

    Raises:
        JobError: widths that are not nested.
        DataError: values that are no number, or out of bounds.
    """
    for narrow, wide in pairwise(widths):
        if wide <= narrow or not math.isclose(wide / narrow, round(wide / narrow)):
            raise JobError(f"column {column!r}: width {wide:g} is no multiple of {narrow:g}; intervals must nest")
    if not widths or widths[0] <= 0 or high < low:
        raise JobError(f"column {column!r}: intervals need widths above 0, and 'high' at least 'low'")

    def chain(text: str) -> Chain | None:
        try:
            number = float(text)
        except ValueError:
            return None
        if not low <= number <= high:
            return None
        starts = [(low + math.floor((number - low) / width) * width, width) for width in widths]
        return (*(f"[{start:g}, {start + width:g})" for start, width in starts), ANY)

    return _built(column, values, chain, len(widths) + 1, declared=declared)


def prefix(column: str, values: pd.Series[Any], keep: Sequence[int]) -> Hierarchy:
    """Level i keeps the first ``keep[i]`` characters and stars the others; the last level is one label.

    Raises:
        JobError: ``keep`` that does not go down.
    """
    if any(b >= a for a, b in pairwise(keep)) or (keep and keep[-1] < 1):
        raise JobError(f"column {column!r}: 'keep' must go down, and end at 1 or above")
    return _built(
        column,
        values,
        lambda text: (*(text[:n] + ANY * max(0, len(text) - n) for n in keep), ANY),
        len(keep) + 1,
    )


def dates(column: str, values: pd.Series[Any], levels: Sequence[str]) -> Hierarchy:
    """Some of month, quarter, year and decade, in this order; the last level is one label.

    Raises:
        JobError: an unknown level, or an order that does not nest.
        DataError: values that are no date (YYYY-MM-DD).
    """
    if not levels or [name for name in DATE_LEVELS if name in levels] != list(levels):
        raise JobError(f"column {column!r}: levels of dates are {', '.join(DATE_LEVELS)}, in this order")

    def chain(text: str) -> Chain | None:
        try:
            day = date.fromisoformat(text[:10])
        except ValueError:
            return None
        named = {
            "month": f"{day:%Y-%m}",
            "quarter": f"{day:%Y}-Q{(day.month + 2) // 3}",
            "year": f"{day:%Y}",
            "decade": f"{day.year // 10 * 10}s",
        }
        return (*(named[level] for level in levels), ANY)

    return _built(column, values, chain, len(levels) + 1)


def tree(column: str, values: pd.Series[Any], branches: Mapping[str, Any], declared: Container[str] = ()) -> Hierarchy:
    """Nested mappings down to lists of values, all equally deep; the last level is one label.

    Args:
        column: its name.
        values: what must be listed.
        branches: the tree.
        declared: values that are public, so that an error may name them.

    Raises:
        JobError: a value that appears twice, or branches of several depths.
        DataError: values that the tree misses.
    """
    chains: dict[str, Chain] = {}

    def walk(branch: Any, above: Chain) -> None:
        if isinstance(branch, Mapping):
            for name, inner in branch.items():
                walk(inner, (str(name), *above))
            return
        for value in branch:
            if str(value) in chains:
                raise JobError(f"column {column!r}: the tree lists {str(value)!r} twice; keep one")
            chains[str(value)] = (*above, ANY)

    walk(branches, ())
    if len({len(chain) for chain in chains.values()}) != 1:
        raise JobError(f"column {column!r}: all values of a tree must be equally deep, and there must be one")
    return _built(column, values, chains.get, len(next(iter(chains.values()))), declared=declared)


def from_csv(column: str, values: pd.Series[Any], path: Path, declared: Container[str] = ()) -> Hierarchy:
    """A hierarchy file of ARX: no header, fields split by ``;``, first the value, then its levels.

    Args:
        column: its name.
        values: what must be listed.
        path: the file.
        declared: values that are public, so that an error may name them.

    Raises:
        JobError: no such file, lines of several lengths, a value twice.
        DataError: values that the file misses.
    """
    lines = [line for line in csv.reader(read_text(path, error=JobError).splitlines(), delimiter=";") if line]
    if len({len(line) for line in lines}) != 1 or len(lines[0]) < 2:
        raise JobError(f"{path}: each line needs the same number of fields, at least two, split by ';'")
    chains = {line[0]: tuple(line[1:]) for line in lines}
    if len(chains) < len(lines):
        raise JobError(f"{path}: {len(lines) - len(chains)} values are listed twice; keep one line of each")
    return _built(column, values, chains.get, len(lines[0]) - 1, declared=declared, where=f"{path}: ")


def _built(
    column: str,
    values: pd.Series[Any],
    chain: Callable[[str], Chain | None],
    levels: int,
    *,
    declared: Container[str] = (),
    where: str = "",
) -> Hierarchy:
    """Codes from labels, over the values that occur."""
    texts, firsts = pd.factorize(as_text(values), sort=True)
    found = {text: chain(text) for text in firsts if text != NULL}
    if NULL in firsts:
        tops = {known[-1] for known in found.values() if known} or {ANY}
        found[NULL] = chain(NULL) or ((*[NULL] * (levels - 1), tops.pop()) if len(tops) == 1 else None)
    missed = np.array([found[text] is None for text in firsts], bool)
    if missed.any():
        named = [text for text in firsts[missed] if text in declared]
        raise _missed(column, int(missed.sum()), int(missed[texts].sum()), named=named, where=where)
    complete = [known for text in firsts if (known := found[text]) is not None]
    labels: list[tuple[str, ...]] = [tuple(firsts)]
    maps = [np.arange(len(firsts), dtype=np.int32)]
    for level in range(levels):
        names = sorted({known[level] for known in complete})
        place = {name: code for code, name in enumerate(names)}
        codes = np.array([place[known[level]] for known in complete], np.int32)
        _check_nested(f"{where}column {column!r}", level, maps[-1], codes)
        labels.append(tuple(names))
        maps.append(codes)
    return Hierarchy(column, tuple(labels), tuple(maps))


def _check_nested(where: str, level: int, finer: Codes, coarser: NDArray[Any]) -> None:
    pairs = len(set(zip(finer.tolist(), coarser.tolist(), strict=True)))
    if pairs != len(set(finer.tolist())):
        raise JobError(
            f"{where}: level {level + 1} parts values that level {level} joins; each level must be coarser "
            "than the one before it"
        )


def _missed(column: str, values: int, rows: int, *, named: Sequence[str] = (), where: str = "") -> DataError:
    """What a hierarchy misses: which values, where all are public anyway; else in how many rows."""
    shown = ", ".join(text or "no value" for text in named[:_NAMED]) + (", ..." if len(named) > _NAMED else "")
    what = f"{values} {'value' if values == 1 else 'values'}" + (f" ({shown})" if named else "")
    if len(named) < values:
        what += f" in {rows} {'row' if rows == 1 else 'rows'}"
    return DataError(
        f"{where}column {column!r}: its hierarchy misses {what}; list them, widen the bounds, or code them before"
    )


__all__ = [
    "ANY",
    "DATE_LEVELS",
    "Hierarchy",
    "as_text",
    "dates",
    "from_csv",
    "identity",
    "intervals",
    "prefix",
    "tree",
]
