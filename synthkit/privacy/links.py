"""Two linked tables, made ready for mechanisms: bounded, counted, widened; and a holdout of them set aside.

Claim. Adding, removing or replacing one parent with all its children adds, removes or replaces at
most one row of ``parents`` and at most ``max_children`` rows of ``children``, all of that unit.

Argument. (1) Bounding keeps rows of a unit by lots that look neither at values nor at other units
(``rows.py``). (2) COUNT: a parent's row gets the number of its own children that were kept. (3)
WIDEN: a child's row gets the columns of its own parent, which is of its own unit. (4) CHAIN: of the rows of a unit
that were kept, each gets columns of the one before it, in an order by their own values and by lots; which rows these are,
and so how many, was settled by (1). None looks at another unit's rows, so nobody else's row changes.

Set a holdout aside: (5) SPLIT: a parent's coin is its own (``rows.py``), and its children go where it goes.
So a neighbouring change touches one part alone, and there no more rows than stated.

That every child has a parent, and no parent two rows, is a condition on each unit alone: neighbours
of legal tables are legal. It is checked before any mechanism runs, and refused as every row that
does not fit the schema is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthkit.data.encoding import Table
from synthkit.data.linked import LinkedSchema
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Categorical, Numeric, Schema
from synthkit.data.tables import Source, check, read
from synthkit.errors import DataError
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import compose
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.rows import bound_contributions, split

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Linked:
    """Two locked tables, bounded.

    Attributes:
        schema: of both.
        parents: rows of ``schema.counted``.
        children: rows of ``schema.widened``.
        chained: the same rows, under ``schema.chained``.
    """

    schema: LinkedSchema
    parents: Private[Table]
    children: Private[Table]
    chained: Private[Table]


@dataclass(frozen=True, kw_only=True)
class LinkedPlan(Plan):
    """The price of what reads both tables, and of what reads each.

    Attributes:
        parents, children: their parts of ``event``; each one's budget has its own table's unit.
    """

    parents: Plan
    children: Plan

    @classmethod
    def of(cls, budget: Budget, parents: Plan, children: Plan) -> LinkedPlan:
        """Both together: one unit is in both tables, so that their events compose (:meth:`Session.part`)."""
        noise = {f"parents.{name}": scale for name, scale in parents.noise.items()}
        noise |= {f"children.{name}": scale for name, scale in children.noise.items()}
        return cls(
            budget,
            compose([parents.event, children.event]),
            noise,
            (parents.seconds or 0.0) + (children.seconds or 0.0),
            max(parents.megabytes or 0.0, children.megabytes or 0.0),
            parents=parents,
            children=children,
        )


def table_budgets(schema: LinkedSchema, budget: Budget) -> tuple[Budget, Budget]:
    """The budget as each table has it: the same, for the part of one unit's rows that is there.

    Returns:
        (of one row of the parents, of ``max_children`` rows of the children).
    """
    above, below = (
        Budget(budget.epsilon, budget.delta, budget.adjacency, part.unit) for part in (schema.counted, schema.widened)
    )
    return above, below


def read_linked(parents: Source, children: Source, schema: LinkedSchema, *, dataset: str, noise: NoiseSource) -> Linked:
    """Read both tables, and :func:`link` them.

    Args:
        parents, children: where the rows are.
        schema: the public domain; columns are checked against it before any row is read.
        dataset: the steward's name for both tables together, as the ledger knows them.
        noise: as for :func:`link`.

    Raises:
        DataError: as :func:`~synthkit.data.tables.read` and :func:`link`.
    """
    for source, public in ((parents, schema.parent), (children, schema.child)):
        check(source, public)
    above = read(parents, schema.parent, dataset=dataset)
    return link(above, read(children, schema.child, dataset=dataset), schema, noise)


def link(parents: Private[Table], children: Private[Table], schema: LinkedSchema, noise: NoiseSource) -> Linked:
    """Bound, count, widen and chain. A table without rows is legal.

    Args:
        parents: rows under ``schema.parent``.
        children: rows under ``schema.child``.
        schema: what is public about both.
        noise: draws the lots by which children beyond ``schema.max_children`` are left out, and siblings that nothing
            puts in order stand one before the other.

    Raises:
        DataError: a parent with several rows, or children without a parent: how many rows.
    """
    _check(_units(parents), _units(children), schema)
    kept, bounded = bound_contributions(children, noise), bound_contributions(parents, noise)
    rows, units = reveal(bounded), _units(bounded)
    order = np.argsort(units, kind="stable")
    of = order[np.searchsorted(units[order], _units(kept))]  # (children,) the place of each child's parent
    number = np.bincount(of, minlength=rows.rows).astype(np.float64)
    counted: dict[str, NDArray[np.generic]] = {**rows.columns, schema.count: number}
    beside = {called: counted[name][of] for name, called in schema.brought.items()}
    own = reveal(kept)
    columns = {**own.columns, **beside, **_before(own, schema, noise)}
    return Linked(
        schema,
        _boxed(bounded, counted, schema.counted),
        _boxed(kept, columns, schema.widened),
        _boxed(kept, columns, schema.chained),
    )


def _before(rows: Table, schema: LinkedSchema, noise: NoiseSource) -> dict[str, NDArray[np.generic]]:
    """CHAIN: the columns of the sibling before each row; null where there is none."""
    keys: list[NDArray[np.generic]] = [noise.words(rows.rows)]
    if schema.order is not None:
        keys.append(rows.columns[schema.order].astype(np.float64))  # null is NaN, which stands last
    assert rows.units is not None, "a linked schema names its units"
    order = np.lexsort((*keys, rows.units))
    units = rows.units[order]
    first = np.r_[True, units[1:] != units[:-1]][: rows.rows]
    before = np.empty(rows.rows, dtype=np.int64)
    before[order] = np.roll(order, 1)
    none = np.empty(rows.rows, dtype=bool)
    none[order] = first
    found: dict[str, NDArray[np.generic]] = {}
    for name, called in schema.previous.items():
        column, values = schema.child.modelled[name], rows.columns[name][before]
        if isinstance(column, Numeric):
            null: float = np.nan
            values = values.astype(np.float64)
        else:
            null = len(column.categories) if isinstance(column, Categorical) else 2
        found[called] = np.where(none, null, values).astype(values.dtype)
    return found


def split_linked(data: Linked, holdout: float, noise: NoiseSource) -> tuple[Linked, Linked]:
    """Assign every parent, with all its children, to training or holdout by a coin of its own.

    The row counts of all schemas are shares of the public counts, not of the real ones.

    Args:
        data: both tables.
        holdout: probability of the holdout, in (0, 1).
        noise: where the coins come from.

    Returns:
        (training, holdout).
    """
    training, held = split(data.parents, holdout, noise)
    return _with_children(training, data), _with_children(held, data)


def _with_children(parents: Private[Table], whole: Linked) -> Linked:
    """The children of these parents beside them."""
    schema = whole.schema.with_rows(parents.schema.rows)
    theirs = np.isin(_units(whole.children), _units(parents))
    rows = reveal(whole.children).take(theirs)
    children, chained = (
        Private(rows, dataset=parents.dataset, schema=public, bounded=whole.children.bounded)
        for public in (schema.widened, schema.chained)
    )
    return Linked(schema, parents, children, chained)


def _check(parents: NDArray[np.uint64], children: NDArray[np.uint64], schema: LinkedSchema) -> None:
    parent, child, key = schema.parent.name, schema.child.name, schema.key
    if repeated := len(parents) - len(np.unique(parents)):
        raise DataError(
            f"{parent}: column {key}: {_rows(repeated)} with a key that an earlier row has; "
            "a parent has one row: merge them, or give each its own key"
        )
    if orphans := int(np.count_nonzero(~np.isin(children, parents))):
        raise DataError(
            f"{child}: column {key}: {_rows(orphans)} without a parent in {parent}; add the parents, or leave these out"
        )


def _units(box: Private[Table]) -> NDArray[np.uint64]:
    units = reveal(box).units
    assert units is not None, "a linked schema names its units"
    return units


def _boxed(box: Private[Table], columns: Mapping[str, NDArray[np.generic]], schema: Schema) -> Private[Table]:
    table = reveal(box)
    return Private(Table(columns, table.units, table.rows), dataset=box.dataset, schema=schema, bounded=box.bounded)


def _rows(count: int) -> str:
    return f"{count} row{'s' if count != 1 else ''}"


__all__ = ["Linked", "LinkedPlan", "link", "read_linked", "split_linked", "table_budgets"]
