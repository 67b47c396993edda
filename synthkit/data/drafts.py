"""A first schema to start from, learnt from the data and marked so.

A schema must be public by declaration. A draft is not: it shows categories that occur and bounds
near the smallest and largest value. So it says ``reviewed: false``, which a release refuses, and
every line that was learnt carries a comment. Reviewing means replacing what was learnt by what is
publicly known.

Bounds are rounded outwards to two significant digits (moments: to whole years), so that a draft
seldom shows the extreme value of one person; this is courtesy, not a guarantee.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

import pandas as pd

from synthkit.data.schema import MAX_CATEGORIES, MAX_COLUMNS, RESOLUTIONS
from synthkit.data.tables import FrameSource, Source
from synthkit.errors import DataError

FEW = 50  # so many distinct texts are categories whatever the number of rows
SMALL_RATIO = 0.05  # distinct texts per row, below which they are categories
NEARLY_ALL = 0.9  # distinct texts per row, above which they name something: an identifier
ENOUGH = 20  # rows, below which distinctness says nothing
LEARNT = "learnt from values: review"
UNIT = "unit: row  # if one person has several rows: {column: <an identifier>, max_rows: <at most so many>}"

Kind = Literal["categorical", "boolean", "integer", "continuous", "datetime", "identifier"]
Resolution = Literal["second", "minute", "hour", "day"]

_FINER: Mapping[str, Resolution] = {"day": "hour", "hour": "minute", "minute": "second"}
_DRAFT = """\
# A draft. Nobody has vouched for it, and no release is made from it.
#
"""
_LEARNT = """\
# The privacy guarantee covers what mechanisms release. It does not cover what was learnt here: every
# line with the comment "{mark}" shows something about the real values,
# and would go out with every release.
#
# To review: replace each such line by what is known without looking at the data (a codebook, a law,
# a form's choices, common sense), or decide that what it shows may be public. Then delete the
# comments and write 'reviewed: true' below.
"""
_TO_FILL_IN = """\
# To review: write what is known without looking at the data (a codebook, a law, a form's choices,
# common sense) where it says FILL-IN, and 'nullable: true' where values may be missing. Then write
# 'reviewed: true' below.
"""
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
_NUMBER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)(?:\.([0-9]+))?")
_SCIENTIFIC = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)


def draft(data: pd.DataFrame | Source, *, name: str) -> str:
    """Propose a schema for ``data``, as the YAML text of a schema file.

    Kinds: booleans; integers; continuous with the decimals seen; datetimes in ISO 8601; texts are
    categories where few are distinct, identifiers where nearly all or very many are. Rows are
    rounded to two significant digits.

    Args:
        data: a frame, or any source; it is read batch by batch.
        name: the schema's name.

    Raises:
        DataError: the source cannot be read, has no rows, or has columns without a usable name.
    """
    source = FrameSource(data) if isinstance(data, pd.DataFrame) else data
    seen = observe(source)
    rows = next(iter(seen.values())).rows
    lines = [*header(name), f"rows: {rounded(rows)}  # {LEARNT}", UNIT, "columns:"]
    kinds = {column: values.kind(column) for column, values in seen.items()}
    if all(kind == "identifier" for kind in kinds.values()):
        raise DataError(f"{source.label}: every column looks like an identifier or is empty; nothing to model")
    for column, values in seen.items():
        lines += [f"  {scalar(column)}:", f"    kind: {kinds[column]}  # {LEARNT}{values.remark(kinds[column])}"]
        lines += [f"    {line}" for line in domain(kinds[column], values)]
    return "\n".join(lines) + "\n"


@dataclass(repr=False)
class Seen:
    """What a draft remembers of one column. Private until somebody reviewed it."""

    rows: int = 0
    nulls: int = 0
    texts: dict[str, None] = field(default_factory=dict)  # distinct values in order of appearance
    overflow: bool = False  # more distinct values than are remembered
    boolean: bool = True
    number: bool = True
    whole: bool = True
    decimals: int | None = 0
    moment: bool = True
    resolution: Resolution = "day"
    low: float = math.inf
    high: float = -math.inf
    first: int = 9999
    last: int = 1

    def add(self, values: pd.Series) -> None:
        """Take note of one batch."""
        self.rows += len(values)
        present = values[values.notna()]
        self.nulls += len(values) - len(present)
        texts = [str(value) for value in pd.unique(present.astype(object).map(_text))]
        for text in texts:
            self._add(text)
        if self.moment:
            self._add_moments(texts)

    def kind(self, name: str) -> Kind:
        """The likeliest kind; the column's name helps only to recognize running numbers."""
        present = self.rows - self.nulls
        distinct = len(self.texts)
        if not present:
            return "identifier"
        if self.boolean:
            return "boolean"
        named = bool(re.search(r"(^|[^a-z0-9])(id|uuid|key)$", name.lower()))
        mostly_distinct = self.overflow or ((named or present >= ENOUGH) and distinct >= NEARLY_ALL * present)
        if self.number and math.isfinite(self.low):
            if self.whole and ((named and mostly_distinct) or max(abs(self.low), abs(self.high)) > 2**48):
                return "identifier"
            return "integer" if self.whole else "continuous"
        if self.moment:
            return "datetime"
        if mostly_distinct:
            return "identifier"
        return "categorical" if distinct <= max(FEW, SMALL_RATIO * present) else "identifier"

    def fits(self, kind: Kind) -> bool:
        """Whether the domain of a column of this kind can be learnt from what was seen."""
        if kind == "categorical":
            return bool(self.texts) and not self.overflow
        if kind in ("integer", "continuous"):
            return self.number and math.isfinite(self.low)
        if kind == "datetime":
            return self.moment and bool(self.texts)
        return True

    def remark(self, kind: Kind) -> str:
        """A hint for the reviewer, where the kind needs one."""
        if kind != "identifier":
            return ""
        if self.rows == self.nulls:
            return "; no value was seen, so it is left out"
        return "; too many different values to list, so it is left out of the synthetic table"

    def _add(self, text: str) -> None:
        if len(self.texts) < MAX_CATEGORIES:
            self.texts[text] = None
        elif text not in self.texts:
            self.overflow = True
        self.boolean = self.boolean and text.lower() in ("true", "false")
        if self.number:
            self._add_number(text)

    def _add_number(self, text: str) -> None:
        text = text.strip()
        plain, scientific = _NUMBER.fullmatch(text), _SCIENTIFIC.fullmatch(text)
        if text.lower() in ("inf", "-inf", "nan"):
            return  # no bound can be learnt from it; reading will name it
        if not (plain or scientific) or abs(float(text)) > 1e300:
            self.number = False
            return
        places = len(plain[1] or "") if plain else None
        if plain and not (plain[1] or "").strip("0"):
            places = 0
        self.whole = self.whole and places == 0
        self.decimals = None if places is None or self.decimals is None else max(self.decimals, places)
        self.low, self.high = min(self.low, float(text)), max(self.high, float(text))

    def _add_moments(self, texts: list[str]) -> None:
        stripped = [text.strip() for text in texts]
        if not all(_MOMENT.fullmatch(text) for text in stripped):
            self.moment = False
            return
        for text in stripped:
            try:
                moment = dt.datetime.fromisoformat(text)
                moment = moment.replace(tzinfo=None) - (moment.utcoffset() or dt.timedelta())
            except (ValueError, OverflowError):
                self.moment = False
                return
            self.first, self.last = min(self.first, moment.year), max(self.last, moment.year)
            seconds = (moment.hour * 60 + moment.minute) * 60 + moment.second
            while self.resolution != "second" and seconds % RESOLUTIONS[self.resolution]:
                self.resolution = _FINER[self.resolution]


def observe(source: Source) -> dict[str, Seen]:
    """Go through all rows once; what was seen of each column, in order.

    Raises:
        DataError: no rows, or columns that no schema could name.
    """
    names = source.columns()
    _check_names(names, source.label)
    seen = {name: Seen() for name in names}
    for frame in source.batches():
        for name in names:
            seen[name].add(frame[name])
    if not next(iter(seen.values())).rows:
        raise DataError(f"{source.label}: no rows to learn from; write the schema by hand")
    return seen


def header(name: str, *, learnt: bool = True) -> list[str]:
    """The draft's first lines, up to and without ``rows``: what it is, and how to review it."""
    comment = _DRAFT + (_LEARNT.format(mark=LEARNT) if learnt else _TO_FILL_IN)
    return [*comment.splitlines(), "version: 1", f"name: {scalar(name)}", "reviewed: false"]


def domain(kind: Kind, seen: Seen) -> Iterator[str]:
    """The lines below ``kind`` in a column's entry, each learnt line marked."""
    mark = f"  # {LEARNT}"
    if kind == "identifier":
        return
    if kind == "categorical":
        yield "categories:"
        yield from (f"  - {scalar(text)}{mark}" for text in sorted(seen.texts))
    if kind in ("integer", "continuous"):
        decimals = 0 if kind == "integer" else seen.decimals
        if decimals is not None and (decimals > 6 or max(abs(seen.low), abs(seen.high)) * 10**decimals > 2**48):
            decimals = None  # more places than were written on purpose, or than floats can keep
        low, high = _outwards(seen.low, seen.high, decimals)
        yield f"min: {low}{mark}"
        yield f"max: {high}{mark}"
        if kind == "continuous" and decimals is not None:
            yield f"decimals: {decimals}{mark}"
    if kind == "datetime":
        yield f'min: "{seen.first:04d}-01-01"{mark}'
        yield f'max: "{seen.last:04d}-12-31{"" if seen.resolution == "day" else "T23:59:59"}"{mark}'
        yield f"resolution: {seen.resolution}{mark}"
    if seen.nulls:
        yield f"nullable: true{mark}"


def rounded(rows: int) -> int:
    """``rows`` to two significant digits."""
    return round(rows, min(0, 2 - len(str(rows))))


def scalar(text: str) -> str:
    """``text`` as YAML that every reader takes for this text: quoted unless it is a plain word."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character == " " or character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _check_names(names: list[str], label: str) -> None:
    if len(set(names)) < len(names):
        raise DataError(f"{label}: column names are repeated; rename them")
    if any(not 1 <= len(name) <= 200 for name in names):
        raise DataError(f"{label}: a column's name is empty or longer than 200 characters; rename it")
    if not 1 <= len(names) <= MAX_COLUMNS:
        raise DataError(f"{label}: {len(names)} columns; a schema has 1 to {MAX_COLUMNS}")


def _text(value: object) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(float(value))
    if isinstance(value, Decimal):
        return f"{value:f}"
    return str(value)


def _outwards(low: float, high: float, decimals: int | None) -> tuple[str, str]:
    """Bounds with two significant digits that hold ``low`` and ``high`` and differ."""
    down, up = -_coarse(-low), _coarse(high)
    if decimals is not None:
        grid = Decimal(10) ** -decimals
        down, up = math.floor(down / grid) * grid, math.ceil(up / grid) * grid
    if down >= up:
        up = down + 1
    return _written(down, decimals), _written(up, decimals)


def _coarse(value: float) -> Decimal:
    """The smallest number of two significant digits that is not below ``value``."""
    exact = Decimal(repr(value))
    if not exact:
        return exact
    unit = Decimal(10) ** (exact.adjusted() - 1)
    return math.ceil(exact / unit) * unit


def _written(value: Decimal, decimals: int | None) -> str:
    if decimals == 0:
        return str(int(value))
    text = repr(float(value))
    return text if "e" not in text or "." in text.split("e")[0] else text.replace("e", ".0e")


__all__ = ["LEARNT", "UNIT", "Kind", "Resolution", "Seen", "domain", "draft", "header", "observe", "rounded", "scalar"]
