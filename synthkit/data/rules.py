"""What becomes of single values on the way in, before anything else sees them: coarser, capped, left out, named anew.

Each rule is a map of one value, by what the schema declares. A row becomes one row, whatever the others are, so that a rule may
stand before a mechanism: removing a person changes what it is given by that person's rows, as before. Whatever looks at
several rows (k-anonymity and its kin, microaggregation, bounds or rare values found in the data) may not, and is refused.

Rules are applied where rows are read (``tables.py``), never to synthetic ones.
"""

from __future__ import annotations

import datetime as dt
import hmac
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from synthkit.documents import canonical_json
from synthkit.errors import DataError, JobError, SchemaError
from synthkit.secret_files import read_secret

if TYPE_CHECKING:
    from synthkit.data.schema import Column, Schema

KEY = "SYNTHKIT_PSEUDONYM_KEY"  # names the file of the key: hexadecimal digits
_LEAST_BITS = 128
_LOOK_AROUND = (
    "k", "k_anonymity", "alpha", "l_diversity", "distinct_l", "entropy_l", "recursive_l", "t_closeness", "delta_disclosure",
    "microaggregate", "suppression", "groups", "quantile", "rare",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What becomes of the values of one column. One kind of rule; of numbers, bounds and a width may go together.

    Attributes:
        column: its name.
        bottom, top: numbers beyond become this.
        width: numbers become the lower end of their interval, counted from the declared ``min``.
        prefix: text keeps so many characters.
        date: moments become the first day of their month, quarter or year; at least the declared ``min``.
        tree: values become the name that they are listed under; others stay.
        suppress: all values, or those that are listed, become null.
        pseudonym: identifiers become an HMAC-SHA-256 under the key that ``SYNTHKIT_PSEUDONYM_KEY`` names.
    """

    column: str
    bottom: float | None = None
    top: float | None = None
    width: float | None = None
    prefix: int | None = None
    date: Literal["month", "quarter", "year"] | None = None
    tree: tuple[tuple[str, tuple[str, ...]], ...] = ()
    suppress: Literal[True] | tuple[str, ...] | None = None
    pseudonym: bool = False

    @classmethod
    def from_dict(cls, column: str, written: Mapping[str, Any]) -> Rule:
        """From the plain values of a schema file."""
        settings = dict(written)
        if "tree" in settings:
            settings["tree"] = tuple((name, tuple(map(str, values))) for name, values in settings["tree"].items())
        if isinstance(settings.get("suppress"), list):
            settings["suppress"] = tuple(map(str, settings["suppress"]))
        return cls(column=column, **settings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; the inverse of :meth:`from_dict`."""
        told: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("bottom", "top", "width", "prefix", "date", "suppress")
            if getattr(self, name) is not None
        }
        if isinstance(self.suppress, tuple):
            told["suppress"] = list(self.suppress)
        if self.tree:
            told["tree"] = {name: list(values) for name, values in self.tree}
        return told | ({"pseudonym": True} if self.pseudonym else {})

    @property
    def kinds(self) -> list[str]:
        """What it does, by the keys of :meth:`to_dict`; bounds and width are one."""
        keys = self.to_dict()
        numbers = [key for key in ("bottom", "top", "width") if key in keys]
        return [*(["top"] if numbers else []), *(key for key in keys if key not in numbers)]


def refuse_looking_around(written: Mapping[str, Any], columns: Mapping[str, Any], *, source: str) -> None:
    """Refuse rules that look at several rows, with the reason; others that are unknown, the schema's form refuses.

    Raises:
        SchemaError: says which, and what to do instead.
    """
    asked = [(name, name) for name in written if name not in columns]
    asked += [(name, key) for name, settings in written.items() if isinstance(settings, Mapping) for key in settings]
    for name, key in asked:
        if key in _LOOK_AROUND:
            raise SchemaError(
                f"{source}: rules.{name}: {key!r} looks at other rows. One person's presence would then change what becomes "
                "of others, and no price would be right; declare a rule of one value, or anonymize true records by "
                "themselves ('synthkit anonymize')"
            )


def check(schema: Schema) -> None:
    """Refuse rules that do not fit their columns, or lead out of what is declared.

    Raises:
        SchemaError: says which rule.
    """
    seen: set[str] = set()
    for rule in schema.rules:
        where = f"rules.{rule.column}"
        if rule.column not in schema.columns:
            raise SchemaError(f"{where}: no such column; declared are {', '.join(schema.columns)}")
        if rule.column in seen:
            raise SchemaError(f"{where}: stands twice; keep one")
        seen.add(rule.column)
        if len(rule.kinds) != 1:
            raise SchemaError(
                f"{where}: write one kind of rule for a column (of numbers, bounds and width may go together)"
            )
        if wrong := _misfit(rule, schema.columns[rule.column]):
            raise SchemaError(f"{where}: {wrong}")


def _misfit(rule: Rule, column: Column) -> str | None:
    from synthkit.data.schema import Categorical, Continuous, Datetime, Identifier, Integer, Text

    (kind,) = rule.kinds
    if isinstance(column, Text):
        return "free text is never modelled, and no rule makes it so; leave the rule out"
    if kind == "pseudonym":
        return None if isinstance(column, Identifier) else "pseudonyms are for identifiers, which are never modelled"
    if isinstance(column, Identifier):
        return "an identifier is never modelled; the only rule for it is 'pseudonym'"
    if kind == "suppress":
        return None if column.nullable else "suppressed values become null; declare 'nullable: true'"
    if kind == "top":
        if not isinstance(column, Integer | Continuous):
            return "bounds and widths are for numbers"
        low = column.min if rule.bottom is None else rule.bottom
        high = column.max if rule.top is None else rule.top
        if not column.min <= low <= high <= column.max:
            return f"bottom and top must lie between the declared min ({column.min:g}) and max ({column.max:g}), in this order"
        whole = isinstance(column, Integer) and any(
            x is not None and x != int(x) for x in (rule.bottom, rule.top, rule.width)
        )
        if whole or (rule.width is not None and not 0 < rule.width < math.inf):
            return "of whole numbers, bounds and widths are whole; a width is above 0"
        return None
    if kind == "date":
        return None if isinstance(column, Datetime) else "dates are for columns of kind datetime"
    if not isinstance(column, Categorical):
        return f"{kind!r} is for categories"
    if kind == "tree":
        names = [name for name, _ in rule.tree]
        listed = [value for _, values in rule.tree for value in values]
        if unknown := [name for name in names if name not in map(str, column.categories)]:
            return f"the tree leads to {unknown[0]!r}, which is not declared as a category"
        if len(set(listed)) < len(listed):
            return "the tree lists a value twice; keep one"
    return None


def applied(frame: pd.DataFrame, schema: Schema, *, source: str) -> pd.DataFrame:
    """Rows as the rules make them. A value that a rule cannot read stays, for the encoding to refuse.

    Args:
        frame: rows as they were read.
        schema: whose rules are applied.
        source: the data's name, for messages.

    Raises:
        JobError: there is no key for pseudonyms, or it cannot be used.
        DataError: cells that hold neither text, numbers nor moments.
    """
    if not schema.rules:
        return frame
    changed: dict[str, Any] = {}
    for rule in schema.rules:
        values, failed = frame[rule.column], False
        try:
            codes, found = pd.factorize(values)
            become = _map(rule, schema.columns[rule.column])
            told = pd.Series([*(become(value) for value in found), None], dtype=object)
            changed[rule.column] = pd.Series(told.to_numpy()[codes], index=values.index)
        except (ArithmeticError, AttributeError, TypeError, ValueError):
            failed = True  # what pandas says may quote a cell
        if failed:
            raise DataError(
                f"{source}: column {rule.column}: holds values that its rule cannot read; convert them first"
            )
    return frame.assign(**changed)


def _map(rule: Rule, column: Any) -> Callable[[Any], Any]:
    """What becomes of one value that is not null."""
    (kind,) = rule.kinds
    if kind == "top":
        return lambda value: _number(value, rule, column.min)
    if kind == "prefix":
        return lambda value: _text(value)[: rule.prefix]
    if kind == "date":
        return lambda value: _first_day(value, rule.date, column)
    if kind == "tree":
        names = {value: name for name, values in rule.tree for value in values}
        return lambda value: names.get(_text(value), value)
    if kind == "suppress":
        gone = rule.suppress
        return lambda value: None if gone is True or (gone and _text(value) in gone) else value
    key = _key()
    return lambda value: hmac.digest(key, canonical_json([rule.column, _text(value)]).encode(), "sha256").hex()


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _number(value: Any, rule: Rule, low: float) -> Any:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    if not math.isfinite(number):
        return value
    if rule.bottom is not None:
        number = max(number, rule.bottom)
    if rule.top is not None:
        number = min(number, rule.top)
    if rule.width is not None:
        number = low + math.floor((number - low) / rule.width) * rule.width
    return number


def _first_day(value: Any, to: str | None, column: Any) -> Any:
    try:
        day = dt.datetime.fromisoformat(str(value)).date()
    except ValueError:
        return value
    month = {"month": day.month, "quarter": (day.month - 1) // 3 * 3 + 1, "year": 1}[to or "year"]
    first = day.replace(month=month, day=1).isoformat()
    outside = column.position(day.isoformat()) < column.position(column.min)
    if outside or column.position(first) >= column.position(column.min):
        return first
    return column.min


def _key() -> bytes:
    if not (named := os.environ.get(KEY)):
        raise JobError(f"the schema asks for pseudonyms; name the file of the key in {KEY}")
    try:
        key = bytes.fromhex(read_secret(Path(named)).decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) * 8 < _LEAST_BITS:
        raise JobError(f"{named}: is no key for pseudonyms: {_LEAST_BITS} bits or more, in hexadecimal digits")
    return key


__all__ = ["KEY", "Rule", "applied", "check", "refuse_looking_around"]
