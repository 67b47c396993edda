"""What is to become of each column, as the steward declares it: plain values, held against the schema alone.

Every column has one role. It is a quasi-identifier (generalized), sensitive (kept, under a model), a direct identifier
(named anew by a key), free text (redacted), microaggregated, kept as it is, or dropped. A column without a role is an error: what nobody
thought of must not leave.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from synthkit.anonymize import hierarchies
from synthkit.anonymize.free_text import Redaction
from synthkit.anonymize.hierarchies import Hierarchy
from synthkit.anonymize.lattice import Loss
from synthkit.anonymize.models import (
    AlphaK,
    DeltaDisclosure,
    DistinctL,
    EntropyL,
    KAnonymity,
    Model,
    RecursiveL,
    TCloseness,
)
from synthkit.data.schema import Boolean, Categorical, Column, Continuous, Datetime, Identifier, Integer, Schema, Text
from synthkit.errors import DataError, JobError

_LISTED = 1_000  # declared whole numbers that a file or a tree must list one by one
_ROLES = ("quasi_identifiers", "sensitive", "pseudonyms", "redact", "microaggregate", "keep", "drop")

Order = tuple[str, ...] | None  # of categories; None: as numbers and moments are ordered


@dataclass(frozen=True)
class Generalization:
    """How a quasi-identifier is made coarser.

    Attributes:
        column: its name.
        kind: ``intervals``, ``prefix``, ``dates``, ``tree``, ``csv`` or ``suppress``.
        settings: as declared; of a file, its name.
        height: the highest level.
        build: the hierarchy over given values.
    """

    column: str
    kind: str
    settings: Any
    height: int
    build: Callable[[pd.Series[Any]], Hierarchy] = field(repr=False, compare=False)


@dataclass(frozen=True)
class Sensitive:
    """A column that is kept, and what each class must be like in it.

    Attributes:
        column: its name.
        models: at least one.
        order: of its categories, where they have one that matters.
    """

    column: str
    models: tuple[Model, ...]
    order: Order = None


@dataclass(frozen=True)
class Limits:
    """How right an attacker may be, each in (0, 1]; 1 is no limit.

    Attributes:
        threshold: records at a higher risk than this are counted.
        prosecutor_highest, prosecutor_average: knows that the person is in the table.
        journalist_highest, journalist_average: does not.
        marketer: share of records that are named rightly.
        population: a table of everybody, by which the journalist is judged; None: the table itself.
    """

    threshold: float = 0.2
    prosecutor_highest: float = 1.0
    prosecutor_average: float = 1.0
    journalist_highest: float = 1.0
    journalist_average: float = 1.0
    marketer: float = 1.0
    population: Path | None = None

    @property
    def least_class(self) -> int:
        """The size of class that follows: a record's risk is 1 over it. Of the journalist, where nobody else is known."""
        highest = min(self.prosecutor_highest, 1.0 if self.population else self.journalist_highest)
        return math.ceil(1 / highest - 1e-9)

    @property
    def average(self) -> float:
        """Most classes per record. The average risk and the marketer's success are this figure, as long as the population
        is the table."""
        if self.population:
            return self.prosecutor_average
        return min(self.prosecutor_average, self.journalist_average, self.marketer)


@dataclass(frozen=True)
class Pseudonyms:
    """Direct identifiers that are named anew.

    Attributes:
        columns: which.
        keys: the folder of keys.
        purpose, recipient: whose key.
        version: an earlier key; None: the newest.
    """

    columns: tuple[str, ...]
    keys: Path
    purpose: str
    recipient: str
    version: int | None = None


@dataclass(frozen=True)
class Recipe:
    """What to do with a table.

    Attributes:
        generalizations: by quasi-identifier.
        k: the least class: what was asked for, or what limits of risk and groups need if that is more.
        sensitive: by column.
        levels: by quasi-identifier, the finest and the coarsest level that it may have; of others, all.
        suppression: share of records that may be left out, in [0, 1).
        loss: what is made least.
        limits: how right an attacker may be.
        pseudonyms: of direct identifiers, or None.
        redaction: what is looked for in free text, or None.
        coding: by column, the least and the greatest value that is told; None where there is none.
        microaggregated: columns whose values are replaced by means of groups.
        groups: the least group.
        dropped, kept: columns.
    """

    generalizations: Mapping[str, Generalization]
    k: int
    sensitive: Mapping[str, Sensitive] = field(default_factory=dict)
    levels: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    suppression: float = 0.0
    loss: Loss = "precision"
    limits: Limits = Limits()
    pseudonyms: Pseudonyms | None = None
    redaction: Redaction | None = None
    coding: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    microaggregated: tuple[str, ...] = ()
    groups: int = 0
    dropped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], schema: Schema, folder: Path) -> Recipe:
        """Read a recipe that its JSON Schema accepts.

        Args:
            document: plain values; other keys are not looked at.
            schema: what is public about the table.
            folder: where relative paths start.

        Raises:
            JobError: a column that is not there, has no role or several, or a setting that does not fit its kind.
            DataError: a hierarchy that misses declared values.
        """
        given = {role: _columns(role, document.get(role, ())) for role in _ROLES}
        _check_roles(given, schema)
        coding = {name: (ends.get("bottom"), ends.get("top")) for name, ends in document.get("coding", {}).items()}
        _check_coding(coding, given["drop"] + given["pseudonyms"], schema)
        pseudonyms = document.get("pseudonyms")
        redaction = Redaction.from_dict(document["redact"], folder) if "redact" in document else None
        _check_key(pseudonyms, redaction)
        together = document.get("microaggregate")
        k = document["k"]
        if together and together["groups"] < k:
            raise JobError(f"microaggregate: groups of {together['groups']} are below k = {k}; write {k} or more")
        limits = _limits(document.get("risk", {}), folder)
        found = {
            name: _generalization(name, settings, schema.columns[name], coding.get(name), folder)
            for name, settings in document["quasi_identifiers"].items()
        }
        return cls(
            generalizations=found,
            levels=_levels(document.get("levels", {}), found),
            k=max(k, limits.least_class, together["groups"] if together else 0),
            sensitive={
                name: _sensitive(name, settings, k, schema.columns[name])
                for name, settings in document.get("sensitive", {}).items()
            },
            suppression=float(document.get("suppression", 0.0)),
            loss=document.get("loss", "precision"),
            limits=limits,
            pseudonyms=None
            if pseudonyms is None
            else Pseudonyms(
                given["pseudonyms"],
                folder / pseudonyms["keys"],
                pseudonyms["purpose"],
                pseudonyms["recipient"],
                pseudonyms.get("version"),
            ),
            redaction=redaction,
            coding=coding,
            microaggregated=given["microaggregate"],
            groups=together["groups"] if together else 0,
            dropped=given["drop"],
            kept=given["keep"],
        )

    @property
    def models(self) -> tuple[Model, ...]:
        """All that each class must meet."""
        return (KAnonymity(k=self.k), *(model for one in self.sensitive.values() for model in one.models))

    @property
    def quasi(self) -> tuple[str, ...]:
        """The columns by which classes are told apart in what leaves."""
        return (*self.generalizations, *self.microaggregated)

    @property
    def nodes(self) -> int:
        """How many nodes the lattice has."""
        return math.prod(high - low + 1 for low, high in map(self.between, self.generalizations))

    def between(self, name: str) -> tuple[int, int]:
        """The finest and the coarsest level that a quasi-identifier may have."""
        return self.levels.get(name, (0, self.generalizations[name].height))


# Roles -----------------------------------------------------------------------------------------


def _columns(role: str, written: Any) -> tuple[str, ...]:
    return tuple(
        written.get("columns", ()) if role in ("pseudonyms", "redact", "microaggregate") and written else written
    )


def _check_key(pseudonyms: Mapping[str, Any] | None, redaction: Redaction | None) -> None:
    marked = redaction is not None and redaction.pseudonyms
    if marked and pseudonyms is None:
        raise JobError("redact.replace: pseudonyms need a key; say under 'pseudonyms' where keys lie, and whose it is")
    if pseudonyms is not None and not marked and "columns" not in pseudonyms:
        raise JobError("pseudonyms: no columns; name those that are named anew, or leave 'pseudonyms' out")


def _check_roles(given: Mapping[str, tuple[str, ...]], schema: Schema) -> None:
    seen: dict[str, str] = {}
    for role, names in given.items():
        for name in names:
            if name not in schema.columns:
                raise JobError(f"{role}: {_unknown(name, schema)}")
            if name in seen:
                both = role if seen[name] == role else f"{seen[name]} and {role}"
                raise JobError(
                    f"column {name!r} stands twice, in {both}; a column has one role{_advice(seen[name], role)}"
                )
            seen[name] = role
            text = isinstance(schema.columns[name], Text)
            identifies = isinstance(schema.columns[name], Identifier) and not text
            if text and role not in ("redact", "drop"):
                raise JobError(f"{role}: column {name!r} is declared free text; name it under 'redact' or 'drop'")
            if role == "redact" and not text:
                raise JobError(f"redact: column {name!r} is not declared free text; write 'kind: text' in the schema")
            if identifies and role in ("sensitive", "microaggregate", "keep"):
                raise JobError(
                    f"{role}: column {name!r} is declared an identifier; name it under 'drop', 'pseudonyms' or, with a "
                    "hierarchy, 'quasi_identifiers'"
                )
            if role == "microaggregate" and not isinstance(schema.columns[name], Integer | Continuous):
                raise JobError(f"microaggregate: column {name!r} holds no numbers; generalize it, or drop it")
            if role == "pseudonyms" and not identifies:
                raise JobError(
                    f"pseudonyms: column {name!r} is not declared an identifier (kind: identifier); pseudonyms of a few "
                    "known values hide nothing"
                )
    if left := [name for name in schema.columns if name not in seen]:
        raise JobError(f"no role for {', '.join(map(repr, left))}; name each under one of {', '.join(_ROLES)}")


def _advice(one: str, other: str) -> str:
    if {one, other} == {"quasi_identifiers", "sensitive"}:
        return ". What an attacker knows is generalized; what he is after is not known to him"
    return ""


def _unknown(name: str, schema: Schema) -> str:
    close = get_close_matches(name, schema.columns, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"declared are {', '.join(schema.columns)}"
    return f"schema {schema.name} declares no column {name!r}; {hint}"


def _check_coding(
    coding: Mapping[str, tuple[float | None, float | None]], gone: tuple[str, ...], schema: Schema
) -> None:
    for name, (bottom, top) in coding.items():
        if name not in schema.columns:
            raise JobError(f"coding: {_unknown(name, schema)}")
        if not isinstance(schema.columns[name], Integer | Continuous):
            raise JobError(f"coding: column {name!r} holds no numbers; only they have a top and a bottom")
        if name in gone:
            raise JobError(f"coding: column {name!r} does not leave; take it out")
        if bottom is not None and top is not None and bottom > top:
            raise JobError(f"coding: column {name!r}: bottom {bottom:g} is above top {top:g}")


# Quasi-identifiers -----------------------------------------------------------------------------


def _generalization(
    name: str, settings: Mapping[str, Any], column: Column, ends: tuple[float | None, float | None] | None, folder: Path
) -> Generalization:
    ((kind, value),) = settings.items()
    declared = [*_declared(column, ends, listed=kind in ("tree", "csv"))]
    public = frozenset(declared)
    told = value
    build: Callable[[pd.Series[Any]], Hierarchy]
    if kind == "suppress":
        build, told = partial(hierarchies.identity, name), True
    elif kind == "prefix":
        build = partial(hierarchies.prefix, name, keep=value)
    elif kind == "dates":
        if isinstance(column, Categorical | Boolean | Integer | Continuous):
            raise JobError(f"quasi_identifiers: column {name!r} holds no dates; use another hierarchy")
        build = partial(hierarchies.dates, name, levels=value)
    elif kind == "tree":
        build = partial(hierarchies.tree, name, branches=value, declared=public)
    elif kind == "csv":
        build, told = partial(hierarchies.from_csv, name, path=folder / value, declared=public), Path(value).name
    else:
        if not isinstance(column, Integer | Continuous):
            raise JobError(f"quasi_identifiers: column {name!r} holds no numbers; intervals are for numbers")
        low, high = value.get("low", column.low), value.get("high", column.high)
        build = partial(hierarchies.intervals, name, low=low, high=high, widths=value["widths"], declared=public)
        told = {"low": low, "high": high, "widths": value["widths"]}
    try:
        height = build(pd.Series(declared, dtype=object)).height  # and whether all that is declared is known to it
    except DataError as problem:
        raise DataError(f"quasi_identifiers: {problem}") from None
    return Generalization(name, kind, told, height, build)


def _levels(
    written: Mapping[str, Mapping[str, int]], found: Mapping[str, Generalization]
) -> dict[str, tuple[int, int]]:
    levels = {}
    for name, ends in written.items():
        if name not in found:
            raise JobError(f"levels: column {name!r} is no quasi-identifier; those are {', '.join(found)}")
        height = found[name].height
        low, high = ends.get("from", 0), ends.get("to", height)
        if high > height or low > height:
            raise JobError(
                f"levels: column {name!r}: its hierarchy has levels 0 (the value) to {height} (the last), and none is "
                f"{max(low, high)}"
            )
        if low > high:
            raise JobError(f"levels: column {name!r}: from {low} is above to {high}; the value itself is level 0")
        levels[name] = (low, high)
    return levels


def _declared(column: Column, ends: tuple[float | None, float | None] | None, *, listed: bool) -> Iterator[str]:
    """Values that a hierarchy must know, whatever occurs, as text."""
    if isinstance(column, Categorical):
        yield from map(str, column.categories)
    elif isinstance(column, Boolean):
        yield from ("true", "false")
    elif isinstance(column, Integer | Continuous):
        bottom, top = ends or (None, None)
        low = column.min if bottom is None else max(bottom, column.min)
        high = column.max if top is None else min(top, column.max)
        if not listed:
            yield from hierarchies.as_text(pd.Series([low, high]))
        elif isinstance(column, Integer) and high - low < _LISTED:
            yield from map(str, range(math.ceil(low), math.floor(high) + 1))
    elif isinstance(column, Datetime) and not listed:
        yield from (column.min[:10], column.max[:10])
    if listed and not isinstance(column, Identifier) and column.nullable:
        yield hierarchies.NULL


# Sensitive columns -----------------------------------------------------------------------------


def _sensitive(name: str, settings: Mapping[str, Any], k: int, column: Column) -> Sensitive:
    ordered = settings.get("ordered", False)
    order = tuple(map(str, column.categories)) if ordered and isinstance(column, Categorical) else None
    build: Mapping[str, Callable[[Any], Model]] = {
        "alpha": lambda alpha: AlphaK(sensitive=name, alpha=float(alpha), k=k),
        "distinct_l": lambda least: DistinctL(sensitive=name, l=least),
        "entropy_l": lambda least: EntropyL(sensitive=name, l=float(least)),
        "recursive_l": lambda both: RecursiveL(sensitive=name, l=both["l"], c=float(both["c"])),
        "t_closeness": lambda t: TCloseness(sensitive=name, t=float(t), ordered=ordered),
        "delta_disclosure": lambda delta: DeltaDisclosure(sensitive=name, delta=float(delta)),
    }
    try:
        models = tuple(build[key](value) for key, value in settings.items() if key in build)
    except JobError as problem:
        raise JobError(f"sensitive: column {name!r}: {problem}") from None
    if not models:
        raise JobError(f"sensitive: column {name!r} has no model; name one of {', '.join(build)}")
    if ordered and not any(isinstance(model, TCloseness) for model in models):
        raise JobError(f"sensitive: column {name!r}: 'ordered' is for t_closeness; add it, or leave 'ordered' out")
    return Sensitive(name, models, order)


# Attackers -------------------------------------------------------------------------------------


def _limits(written: Mapping[str, Any], folder: Path) -> Limits:
    values = {key: float(value) for key, value in written.items() if key in ("threshold", "marketer")}
    for attacker in ("prosecutor", "journalist"):
        for figure in ("highest", "average"):
            if figure in written.get(attacker, {}):
                values[f"{attacker}_{figure}"] = float(written[attacker][figure])
    population = written.get("journalist", {}).get("population")
    return Limits(**values, population=None if population is None else folder / population)


__all__ = ["Generalization", "Limits", "Order", "Pseudonyms", "Recipe", "Sensitive"]
