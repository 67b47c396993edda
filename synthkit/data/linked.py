"""What is public about two linked tables: every child row belongs to one parent (visits, patients).

The unit of privacy is one parent with all its children. Both schemas say so: the parent's unit has
one row, the child's as many as ``max_children``, and the same column names it in both.

Three schemas follow, by which the tables are modelled. *Counted* is the parent's with one more column,
the number of its children; *widened* is the child's with the columns of its own parent beside it; *chained* is
that with the columns of the sibling before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthkit.data.schema import Categorical, Datetime, Integer, Modelled, Numeric, Quantiles, Schema, Unit
from synthkit.data.tables import Source
from synthkit.errors import SchemaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1
_MOST_CODES = 32  # of the number of children; above, neighbouring numbers share one
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class LinkedSource:
    """Where the rows of two linked tables are.

    Attributes:
        parents, children: one source each, of any kind.
    """

    parents: Source
    children: Source


@dataclass(frozen=True)
class LinkedSchema:
    """Two schemas, one to many.

    Attributes:
        parent: one row a unit: ``unit`` is the key with ``max_rows: 1``.
        child: ``unit`` is the same key; ``max_rows`` is the most children that are used of one parent.

    Raises:
        SchemaError: the units do not fit together, or names collide.
    """

    parent: Schema
    child: Schema

    def __post_init__(self) -> None:
        key, here = self.child.unit.column, f"schemas {self.parent.name} and {self.child.name}"
        if key is None:
            raise SchemaError(f"{here}: the child's unit is a row; its unit.column must name its parent's key")
        if self.parent.unit != Unit(key, 1):
            raise SchemaError(
                f"{here}: the parent's unit is {self.parent.unit}; it must be {Unit(key, 1)}, named as the child's"
            )
        if self.parent.name.lower() == self.child.name.lower():
            raise SchemaError(f"{here}: have the same name; tables and their files are told apart by it")
        if odd := [name for name in (self.parent.name, self.child.name) if not _FILE_NAME.fullmatch(name)]:
            raise SchemaError(
                f"{here}: {odd[0]!r} cannot be the name of a file; name linked tables by letters, digits, '-', '_' and '.'"
            )
        if self.count in self.parent.columns:
            raise SchemaError(
                f"{here}: the parent has a column {self.count!r}; that name is for the number of children"
            )
        if taken := sorted(set(self.brought.values()) & set(self.child.columns)):
            raise SchemaError(f"{here}: the child has a column {taken[0]!r}; that name is for its parent's column")
        others = {*self.child.columns, *self.brought.values()}
        if taken := sorted(set(self.previous.values()) & others):
            raise SchemaError(f"{here}: there is a column {taken[0]!r}; that name is for the sibling's before")

    @property
    def key(self) -> str:
        """The column that names the parent, in both tables."""
        return str(self.child.unit.column)

    @property
    def max_children(self) -> int:
        """At most so many children of one parent are used; the choice does not look at values."""
        return self.child.unit.max_rows

    @property
    def unit(self) -> Unit:
        """One parent with its children: its rows in both tables together. It is a budget's unit."""
        return Unit(self.key, 1 + self.max_children)

    @property
    def units(self) -> int:
        """About how many units of privacy there are: one a parent."""
        return self.parent.rows

    @property
    def rows(self) -> int:
        """About how many parents, as publicly known."""
        return self.parent.rows

    @property
    def reviewed(self) -> bool:
        """Somebody vouches for both."""
        return self.parent.reviewed and self.child.reviewed

    @property
    def name(self) -> str:
        """Both names, for people."""
        return f"{self.parent.name} and {self.child.name}"

    @property
    def count(self) -> str:
        """What the column with the number of children is called."""
        return f"number of {self.child.name}"

    @property
    def brought(self) -> dict[str, str]:
        """The parent's modelled columns, the number of children last, by what they are called beside the child's."""
        return {name: f"{self.parent.name}.{name}" for name in (*self.parent.modelled, self.count)}

    @property
    def counted(self) -> Schema:
        """The parent's schema, with the number of children: 0 to ``max_children``."""
        most = self.max_children
        number = Integer(min=0, max=most, bins=min(most + 1, _MOST_CODES), unknown="clamp")
        return replace(self.parent, columns={**self.parent.columns, self.count: number})

    @property
    def widened(self) -> Schema:
        """The child's schema, with the columns of its own parent; their codes are the public ones."""
        counted = self.counted.modelled
        beside = {called: _as_declared(counted[name]) for name, called in self.brought.items()}
        return replace(self.child, columns={**self.child.columns, **beside})

    @property
    def order(self) -> str | None:
        """The child's column by which siblings stand in order: its first point in time; None: they stand by lot."""
        return next((name for name, column in self.child.modelled.items() if isinstance(column, Datetime)), None)

    @property
    def previous(self) -> dict[str, str]:
        """The child's columns by what they are called of the sibling before; none where a parent has one child at most.

        Columns whose codes are found in the data (``quantiles``, ``rare: merge``) are not among them.
        """
        if self.max_children < 2:
            return {}
        return {
            name: f"previous {self.child.name}.{name}"
            for name, column in self.child.modelled.items()
            if _as_declared(column) is column
        }

    @property
    def chained(self) -> Schema:
        """The widened schema, with columns of the sibling before; null where there is none before."""
        own = self.child.modelled
        before = {called: replace(own[name], nullable=True) for name, called in self.previous.items()}
        return replace(self.widened, columns={**self.widened.columns, **before})

    def in_chain(self, codes: NDArray[np.int32], owner: NDArray[np.int64]) -> NDArray[np.int32]:
        """Codes by :attr:`chained` of codes by :attr:`widened`.

        Args:
            codes: (m, e), siblings one after the other, in their order.
            owner: (m,) whose each row is.
        """
        names, sizes = list(self.widened.modelled), self.chained.domain
        first = np.r_[True, owner[1:] != owner[:-1]][: len(codes)]
        before = [
            np.where(first, sizes[called] - 1, np.roll(codes[:, names.index(name)], 1))
            for name, called in self.previous.items()
        ]
        return np.column_stack([codes, *before]).astype(np.int32)

    def with_rows(self, rows: int) -> LinkedSchema:
        """The same schemas for about so many parents (e.g. after a split), and children in proportion."""
        parent = self.parent.with_rows(rows)
        children = round(self.child.rows * parent.rows / self.parent.rows)
        return replace(self, parent=parent, child=self.child.with_rows(children))

    @classmethod
    def read(cls, parent: str | Path, child: str | Path) -> LinkedSchema:
        """Read two schema files (YAML).

        Raises:
            SchemaError: one is unreadable or contradictory, or they do not fit together.
        """
        return cls(Schema.read(parent), Schema.read(child))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"version": VERSION, "parent": self.parent.to_dict(), "child": self.child.to_dict()}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str = "linked schema") -> LinkedSchema:
        """The inverse of :meth:`to_dict`.

        Raises:
            SchemaError: of another version, not two schemas, or they do not fit together.
        """
        if document.get("version") != VERSION:
            raise SchemaError(f"{source}: version is {document.get('version')!r}; this synthkit reads {VERSION}")
        if set(document) != {"version", "parent", "child"}:
            raise SchemaError(f"{source}: must have exactly the entries version, parent and child")
        parent, child = (
            Schema.from_dict(document[part], source=f"{source}: {part}")
            if isinstance(document[part], Mapping)
            else None
            for part in ("parent", "child")
        )
        if parent is None or child is None:
            raise SchemaError(f"{source}: parent and child must each be a schema")
        return cls(parent, child)


def _as_declared(column: Modelled) -> Modelled:
    """The column with the codes that its declaration gives without looking at rows."""
    if isinstance(column, Numeric) and isinstance(column.bins, Quantiles):
        return replace(column, bins=tuple(column.edge(float(edge)) for edge in column.edges if edge <= column.high))
    if isinstance(column, Categorical) and column.rare == "merge":
        return replace(column, rare="keep")
    return column


__all__ = ["LinkedSchema", "LinkedSource"]
