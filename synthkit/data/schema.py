"""What is public about a table: its columns, their domains, about how many rows.

A :class:`Schema` is declared by the steward, never learnt silently. Everything that turns values
into codes and back (``encoding.py``) looks at the schema alone, so that nothing about the private
rows can slip into the shape of the computation.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from synthkit.data.grids import Grid, Quantiles, grid
from synthkit.documents import read_yaml, validate
from synthkit.errors import SchemaError
from synthkit.meanings import HOLDS

if TYPE_CHECKING:
    from synthkit.data.constraints import Constraint
    from synthkit.data.rules import Rule

VERSION = 1
DEFAULT_BINS = 16
MAX_COLUMNS = 2_000
MAX_CATEGORIES = 10_000
RESOLUTIONS: Mapping[str, int] = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}  # in seconds

Category = str | int

HALF = "a text holds half a character (\\ud800 to \\udfff), which no file can; write the character itself"


def encodes(text: str) -> bool:
    """Whether a text can be written to a file as UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def check_labels(labels: Sequence[Category], what: str) -> list[str]:
    """The labels as texts, by which values are told apart; refuses a list in which they cannot be.

    Args:
        labels: as declared.
        what: what they are called where they are declared, e.g. ``categories``.
    """
    if not labels:
        raise SchemaError(f"{what} is empty; list the values that may occur")
    if len(labels) > MAX_CATEGORIES:
        raise SchemaError(f"{len(labels)} {what}; at most {MAX_CATEGORIES} (is this an identifier?)")
    texts = [str(label) for label in labels]
    if not all(text.strip() for text in texts):
        raise SchemaError(f"one of the {what} is empty or blank, which means no value; a column says 'nullable: true'")
    if not all(encodes(text) for text in texts):
        raise SchemaError(HALF)
    if twice := sorted({text for text in texts if texts.count(text) > 1}) if len(set(texts)) < len(texts) else []:
        raise SchemaError(f"{what} are listed twice: {', '.join(twice)}")
    return texts


def check_rows(rows: int, where: str) -> None:
    """Refuse a public number of rows that is none."""
    if rows < 1:
        raise SchemaError(f"{where}: rows is {rows}; declare about how many rows there are")
    if rows > 2**52:
        raise SchemaError(f"{where}: rows is above 2^52; declare about how many rows there are")


@dataclass(frozen=True)
class Unit:
    """The unit of privacy: what one neighbouring change is.

    Attributes:
        column: the column that names the person (or household, device...), or None where every
            row is a unit of its own.
        max_rows: at most so many rows of one unit are used; the choice does not look at values.
    """

    column: str | None = None
    max_rows: int = 1

    def __post_init__(self) -> None:
        if self.max_rows < 1:
            raise SchemaError(f"unit.max_rows is {self.max_rows}; it must be 1 or more")
        if self.column is None and self.max_rows != 1:
            raise SchemaError("unit.max_rows needs unit.column: without one, a unit is a single row")

    def __str__(self) -> str:
        return "row" if self.column is None else f"{self.column} (at most {self.max_rows} rows)"


@dataclass(frozen=True, kw_only=True)
class Categorical:
    """A value out of a declared list.

    ``unknown``: ``error`` refuses a value that is not listed; ``other`` maps it to the category
    ``other`` (added to the list where it is not in it). ``rare``: ``merge`` lets the categories that a
    charged mechanism finds to be few share one code; a list says which ones do; ``keep``: none.
    """

    kind: ClassVar[str] = "categorical"
    categories: tuple[Category, ...]
    nullable: bool = False
    unknown: Literal["error", "other"] = "error"
    rare: Literal["keep", "merge"] | tuple[Category, ...] = "keep"

    def __post_init__(self) -> None:
        if self.unknown not in ("error", "other"):
            raise SchemaError(f"unknown: {self.unknown} has no meaning for categories; use error or other")
        labels = check_labels(self.categories, "categories")
        if self.unknown == "other" and "other" not in labels:
            object.__setattr__(self, "categories", (*self.categories, "other"))
        if isinstance(self.rare, str) and self.rare not in ("keep", "merge"):
            raise SchemaError(f"rare: {self.rare} has no meaning; use keep, merge, or a list of categories")
        if not self.merged <= {str(category) for category in self.categories}:
            raise SchemaError("rare lists a category that is not declared")

    @property
    def merged(self) -> frozenset[str]:
        """The categories, as texts, that are listed to share one code."""
        return frozenset() if isinstance(self.rare, str) else frozenset(map(str, self.rare))

    @property
    def codes(self) -> tuple[int, ...]:
        """The code of every category, in their order: the one that is shared comes after all others."""
        merged, shared = self.merged, len(self.categories) - len(self.merged)
        own = itertools.count()
        return tuple(shared if str(category) in merged else next(own) for category in self.categories)

    @property
    def labels(self) -> list[str]:
        """What each code stands for, for people; the null code left out."""
        merged = self.merged
        own = [str(category) for category in self.categories if str(category) not in merged]
        return [*own, "(rare)"] if merged else own

    @property
    def size(self) -> int:
        """Number of codes, the null code included."""
        return len(self.categories) - len(self.merged) + bool(self.merged) + self.nullable


@dataclass(frozen=True, kw_only=True)
class Boolean:
    """True or false."""

    kind: ClassVar[str] = "boolean"
    nullable: bool = False

    @property
    def size(self) -> int:
        """Number of codes, the null code included."""
        return 2 + self.nullable


@dataclass(frozen=True, kw_only=True)
class Numeric(ABC):
    """What integers, continuous values and moments in time share: a range, cut into bins.

    Inside, all three are floats on a line from ``low`` to ``high``; values sit on a grid of
    ``step`` (None: no grid). ``edges`` has one entry more than there are bins; bin i is
    ``[edges[i], edges[i+1])``, the last one closed. Where the bins are quantiles, ``edges`` are public
    ones on the same grid, for forecasts and figures; methods find their own.
    """

    kind: ClassVar[str]
    nullable: bool = False
    unknown: Literal["error", "clamp"] = "error"
    bins: int | tuple[Any, ...] | Quantiles = DEFAULT_BINS
    edges: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.unknown not in ("error", "clamp"):
            raise SchemaError(f"unknown: {self.unknown} has no meaning for numbers; use error or clamp")
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise SchemaError("min and max must be finite numbers")
        if not self.low < self.high:
            raise SchemaError(f"min ({self._show(self.low)}) must be below max ({self._show(self.high)})")
        object.__setattr__(self, "edges", self._cut())

    @property
    @abstractmethod
    def low(self) -> float:
        """Lowest value, on the inner line."""

    @property
    @abstractmethod
    def high(self) -> float:
        """Highest value, on the inner line."""

    @property
    @abstractmethod
    def step(self) -> float | None:
        """Distance of neighbouring values, or None on a continuum."""

    def _inner(self, value: Any) -> float:
        return float(value)

    def _show(self, value: float) -> str:
        return f"{value:g}"

    def _at(self, steps: int) -> float:
        # The grid's value so many steps above low; where there is a step alone.
        return self.low + steps * (self.step or 0.0)

    @property
    def size(self) -> int:
        """Number of codes: the bins and, where nullable, the null code."""
        return len(self.edges) - 1 + self.nullable

    @property
    def grid(self) -> Grid:
        """The public cells on which quantiles are found.

        Raises:
            SchemaError: the bins are no quantiles, or a spike is no possible value.
        """
        if not isinstance(self.bins, Quantiles):
            raise SchemaError("bins are declared, not found: there is no grid; write 'bins: {quantiles: 16}' for one")
        try:
            spikes = {self._inner(spike) for spike in self.bins.spikes}
        except ValueError:
            raise SchemaError("bins: a spike is not a possible value of the column") from None
        spikes |= {0.0} if self.bins.scale == "log" and self.low <= 0 <= self.high else set()
        spikes |= {self.low, self.high} if self.unknown == "clamp" else set()
        return grid(self.low, self.high, self.step, self._at, self.bins, spikes)

    def edge(self, value: float) -> Any:
        """An edge on the inner line as it is written in ``bins``."""
        return value

    def bin_labels(self) -> list[str]:
        """What each bin holds, for people."""
        step = self.step
        shown = []
        for low, top in itertools.pairwise(self.edges):
            high = top - step if step else top
            shown.append(
                self._show(low) if step and high - low < step / 2 else f"{self._show(low)} to {self._show(high)}"
            )
        return shown

    def _cut(self) -> tuple[float, ...]:
        # On a grid, an edge is the first value of its bin and the top edge lies one step above
        # max, so that bins tile the values exactly and none is empty.
        if isinstance(self.bins, Quantiles):
            return self.grid.coarse
        low, high, step = self.low, self.high, self.step
        values = round((high - low) / step) + 1 if step else 0
        top = self._at(values) if step else high
        if isinstance(self.bins, int):
            if self.bins < 1:
                raise SchemaError(f"bins is {self.bins}; it must be 1 or more")
            if step:
                count = min(self.bins, values)
                inner = [self._at(-(-values * i // count)) for i in range(1, count)]  # rounded up
            else:
                inner = [low + (high - low) * i / self.bins for i in range(1, self.bins)]
        else:
            inner = [self._inner(edge) for edge in self.bins]
            if any(b <= a for a, b in itertools.pairwise(inner)):
                raise SchemaError("bins must be a number, or edges in ascending order without repeats")
            if inner and (inner[0] < low or inner[-1] > top):
                raise SchemaError("bins has edges outside min and max")
            if step:
                steps = [round((edge - low) / step) for edge in inner]
                if any(abs(edge - self._at(i)) > step * 1e-6 for edge, i in zip(inner, steps, strict=True)):
                    raise SchemaError("bins has edges that are not possible values of the column")
                inner = [self._at(i) for i in steps]
        return (low, *sorted({edge for edge in inner if low < edge < top}), top)


@dataclass(frozen=True, kw_only=True)
class Integer(Numeric):
    """A whole number between ``min`` and ``max``, both included."""

    kind: ClassVar[str] = "integer"
    min: int
    max: int

    @property
    def low(self) -> float:
        return float(self.min)

    @property
    def high(self) -> float:
        return float(self.max)

    @property
    def step(self) -> float:
        return 1.0

    def edge(self, value: float) -> int:
        return int(value)

    def __post_init__(self) -> None:
        if max(abs(self.min), abs(self.max)) > 2**52:
            raise SchemaError("integers beyond 2^52 cannot be handled exactly; is this an identifier?")
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class Continuous(Numeric):
    """A real number between ``min`` and ``max``; ``decimals`` places are kept (None: all)."""

    kind: ClassVar[str] = "continuous"
    min: float
    max: float
    decimals: int | None = None

    @property
    def low(self) -> float:
        return float(self.min)

    @property
    def high(self) -> float:
        return float(self.max)

    @property
    def step(self) -> float | None:
        return None if self.decimals is None else 10.0**-self.decimals

    def _at(self, steps: int) -> float:
        # The float that the decimals are written as: 0.1 + 2 * 0.1 is not 0.3.
        return round(super()._at(steps), self.decimals)

    def __post_init__(self) -> None:
        if not math.isfinite(self.high - self.low):
            raise SchemaError("min and max must be finite numbers, and so must be their distance")
        if self.decimals is not None:
            if max(abs(self.low), abs(self.high)) * 10**self.decimals > 2**49:
                raise SchemaError(f"numbers up to max cannot be kept exactly at {self.decimals} decimals; keep fewer")
            if round(self.low, self.decimals) != self.low or round(self.high, self.decimals) != self.high:
                raise SchemaError(f"min and max must be written with at most {self.decimals} decimals")
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class Datetime(Numeric):
    """A moment between ``min`` and ``max`` (ISO 8601, no zone or UTC), at ``resolution``.

    The inner line counts resolution steps since 1970-01-01T00:00.
    """

    kind: ClassVar[str] = "datetime"
    min: str
    max: str
    resolution: Literal["second", "minute", "hour", "day"] = "day"

    def __post_init__(self) -> None:
        if isinstance(self.bins, Quantiles) and self.bins.scale != "linear":
            raise SchemaError("bins: a log scale has no meaning for moments; leave it out")
        super().__post_init__()

    def edge(self, value: float) -> str:
        return self._show(value)

    @property
    def low(self) -> float:
        return self._inner(self.min)

    @property
    def high(self) -> float:
        return self._inner(self.max)

    @property
    def step(self) -> float:
        return 1.0

    def position(self, value: object) -> float | None:
        """Where an ISO 8601 text, a date or a moment lies on the inner line; None if it is none of these."""
        try:
            moment = dt.datetime.fromisoformat(str(value))
        except ValueError:
            return None
        shift = moment.utcoffset() or dt.timedelta()  # no zone means UTC
        since = moment.replace(tzinfo=None) - dt.datetime(1970, 1, 1) - shift
        return float(since // dt.timedelta(seconds=RESOLUTIONS[self.resolution]))

    def _inner(self, value: Any) -> float:
        position = self.position(value)
        if position is None:
            raise SchemaError(f"{value!r} is not a date or time in ISO 8601 (2024-05-31 or 2024-05-31T12:00)")
        return position

    def _show(self, value: float) -> str:
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=value * RESOLUTIONS[self.resolution])
        return moment.isoformat()


@dataclass(frozen=True, kw_only=True)
class Identifier:
    """A name, a number, a key: never modelled.

    ``release: drop`` leaves the column out of the synthetic table; ``regenerate`` fills it with
    fresh running numbers that have nothing to do with the real ones.
    """

    kind: ClassVar[str] = "identifier"
    release: Literal["drop", "regenerate"] = "drop"


@dataclass(frozen=True, kw_only=True)
class Text(Identifier):
    """Free text: notes, letters, answers. It names people, so it is treated as what names them: never modelled, and in no
    synthetic table. Of true records it may leave redacted (``anonymize/free_text.py``).
    """

    kind: ClassVar[str] = "text"
    release: Literal["drop", "regenerate"] = field(init=False, default="drop")


Column = Categorical | Boolean | Integer | Continuous | Datetime | Identifier
Modelled = Categorical | Boolean | Integer | Continuous | Datetime
KINDS: Mapping[str, type[Column]] = {
    kind.kind: kind for kind in (Categorical, Boolean, Integer, Continuous, Datetime, Identifier, Text)
}


@dataclass(frozen=True)
class Schema:
    """Everything about a table that is public by declaration.

    Attributes:
        name: a name for people.
        columns: the columns by name, in the table's order.
        rows: about how many rows, as publicly known. Sets sampling rates; a wrong figure costs
            quality, never privacy.
        unit: the unit of privacy.
        target: the column that downstream models predict, or None.
        reviewed: somebody vouches that nothing here was read off the private values.
        constraints: what every row meets, real and synthetic (``constraints.py``).
        holds: by column, what it holds (``meanings.py``); those that are not listed do not say.
        rules: what becomes of single values on the way in (``rules.py``).
    """

    name: str
    columns: Mapping[str, Column]
    rows: int
    unit: Unit = Unit()
    target: str | None = None
    reviewed: bool = False
    constraints: tuple[Constraint, ...] = ()
    holds: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        if not self.columns:
            raise SchemaError(f"schema {self.name}: no columns")
        if len(self.columns) > MAX_COLUMNS:
            raise SchemaError(f"schema {self.name}: {len(self.columns)} columns; at most {MAX_COLUMNS}")
        if not all(encodes(str(name)) for name in (self.name, *self.columns)):
            raise SchemaError(f"the schema's name, or a column's: {HALF}")
        check_rows(self.rows, f"schema {self.name}")
        if not self.modelled:
            raise SchemaError(f"schema {self.name}: only identifiers, nothing to model")
        if self.target is not None and self.target not in self.modelled:
            raise SchemaError(f"schema {self.name}: target {self.target!r} is not one of the modelled columns")
        named = self.columns.get(self.unit.column) if self.unit.column is not None else Identifier()
        if not isinstance(named, Identifier) or isinstance(named, Text):
            raise SchemaError(
                f"schema {self.name}: unit.column {self.unit.column!r} must be declared as a column of kind identifier"
            )
        if strange := sorted(set(self.holds.values()) - set(HOLDS)):
            raise SchemaError(f"schema {self.name}: holds: unknown {', '.join(strange)}; known are {', '.join(HOLDS)}")
        if self.constraints:
            from synthkit.data.repair import verify  # it needs this module

            try:
                verify(self)
            except SchemaError as problem:
                raise SchemaError(f"schema {self.name}: {problem}") from None
        if self.rules:
            from synthkit.data.rules import check  # likewise

            try:
                check(self)
            except SchemaError as problem:
                raise SchemaError(f"schema {self.name}: {problem}") from None

    @property
    def modelled(self) -> dict[str, Modelled]:
        """The columns that are modelled: all but identifiers and free text, in order."""
        return {name: column for name, column in self.columns.items() if not isinstance(column, Identifier)}

    @property
    def domain(self) -> dict[str, int]:
        """Number of codes of each modelled column (bins, categories, null), in order."""
        return {name: column.size for name, column in self.modelled.items()}

    @property
    def units(self) -> int:
        """About how many units of privacy there are: at most one a row."""
        return self.rows if self.unit.column is None else max(1, self.rows // self.unit.max_rows)

    def with_rows(self, rows: int) -> Schema:
        """The same schema for about so many rows (e.g. after a split)."""
        return replace(self, rows=max(1, rows))

    @classmethod
    def read(cls, path: str | Path) -> Schema:
        """Read a schema file (YAML).

        Raises:
            SchemaError: unreadable, of another version, or contradictory; says where.
        """
        return cls.from_dict(read_yaml(Path(path), error=SchemaError), source=str(path))

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str = "schema") -> Schema:
        """Build a schema from plain values, as they stand in a schema file."""
        version = document.get("version")
        if version != VERSION:
            raise SchemaError(
                f"{source}: version is {version!r}; this synthkit reads version {VERSION} (write 'version: 1')"
            )
        rules: list[Rule] = []
        if written := document.get("rules"):
            from synthkit.data.rules import Rule, refuse_looking_around

            if isinstance(written, Mapping):
                refuse_looking_around(written, document.get("columns") or {}, source=source)
        validate(document, "data/schema.v1.json", source=source, error=SchemaError)
        if written:
            rules = [Rule.from_dict(name, entry) for name, entry in written.items()]
        columns: dict[str, Column] = {}
        for name, entry in document["columns"].items():
            settings = {key: _setting(value) for key, value in entry.items() if key != "kind"}
            make: Callable[..., Column] = KINDS[entry["kind"]]
            try:
                columns[name] = make(**settings)
            except SchemaError as problem:
                raise SchemaError(f"{source}: column {name}: {problem}") from None
            except OverflowError:
                raise SchemaError(f"{source}: column {name}: a number is too large; at most about 1e308") from None
        unit, holds = document.get("unit", "row"), document.get("holds", {})
        if strange := sorted(set(holds) - set(columns)):
            raise SchemaError(f"{source}: holds: {', '.join(strange)}: no such column; it is by column, what it holds")
        constraints: list[Constraint] = []
        if document.get("constraints"):
            from synthkit.data.constraints import from_dict

            constraints = [from_dict(entry) for entry in document["constraints"]]
        try:
            return cls(
                name=document["name"],
                columns=columns,
                rows=document["rows"],
                unit=Unit() if unit == "row" else Unit(**unit),
                target=document.get("target"),
                reviewed=document.get("reviewed", False),
                constraints=tuple(constraints),
                holds=holds,
                rules=tuple(rules),
            )
        except SchemaError as problem:
            raise SchemaError(f"{source}: {problem}") from None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in a schema file; the inverse of :meth:`from_dict`."""
        document: dict[str, Any] = {"version": VERSION, "name": self.name, "reviewed": self.reviewed, "rows": self.rows}
        document["unit"] = (
            "row" if self.unit.column is None else {"column": self.unit.column, "max_rows": self.unit.max_rows}
        )
        if self.target is not None:
            document["target"] = self.target
        document["columns"] = {name: _column_to_dict(column) for name, column in self.columns.items()}
        if self.constraints:
            from synthkit.data.constraints import to_dict

            document["constraints"] = [to_dict(constraint) for constraint in self.constraints]
        if self.holds:
            document["holds"] = dict(self.holds)
        if self.rules:
            document["rules"] = {rule.column: rule.to_dict() for rule in self.rules}
        return document


def lines(schema: Schema) -> list[tuple[str, Column]]:
    """The columns up to how they are coded: equal where the inner lines are."""
    return [
        (
            name,
            replace(column, bins=DEFAULT_BINS)
            if isinstance(column, Numeric)
            else replace(column, rare="keep")
            if isinstance(column, Categorical)
            else column,
        )
        for name, column in schema.columns.items()
    ]


def _setting(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Quantiles.from_dict(value)
    return tuple(value) if isinstance(value, list) else value


def _column_to_dict(column: Column) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": column.kind}
    for name, parameter in column.__dataclass_fields__.items():
        if not parameter.init:
            continue
        value = getattr(column, name)
        if value != parameter.default:
            entry[name] = list(value) if isinstance(value, tuple) else value
            if isinstance(value, Quantiles):
                entry[name] = value.to_dict()
    return entry


__all__ = [
    "HALF",
    "KINDS",
    "RESOLUTIONS",
    "Boolean",
    "Categorical",
    "Category",
    "Column",
    "Continuous",
    "Datetime",
    "Identifier",
    "Integer",
    "Modelled",
    "Numeric",
    "Quantiles",
    "Schema",
    "Text",
    "Unit",
    "check_labels",
    "check_rows",
    "encodes",
    "lines",
]
