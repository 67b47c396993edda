"""Noisy counts, histograms and marginals.

Claim. Releasing h + noise, h the table of counts over some columns, costs ``counts_event(sigma)``.

Argument. (1) A row adds 1 to exactly one cell; which one depends on that row and the schema alone.
(2) Unit = at most one row: adding or removing a unit changes one cell by 1, replacing one changes
two cells by 1 each. Discrete Gaussian noise is independent over cells, so the privacy loss is that
of one (two) shifted one-dimensional discrete Gaussians: ``DiscreteGaussianDpEvent(sigma, cells)``.
(3) Unit = at most k > 1 rows: a unit contributes a vector of whole numbers >= 0 with sum <= k,
hence of L2 norm <= k; two such vectors differ by at most sqrt(2) k in L2. The noise is then
Gaussian, rounded to whole numbers after adding (post-processing): ``GaussianDpEvent``, with radius
k under add-or-remove and k / sqrt(2) under replace-one. (4) The shape of h is public: it follows
from the schema. No cell is left out for being empty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dp_accounting
import numpy as np
from dp_accounting import DpEvent

from synthkit.data.encoding import Table, discretize
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Schema
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.events import DiscreteGaussianDpEvent
from synthkit.privacy.plan import Charge
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BATCH = 100_000  # rows that are counted at a time
_SOURCE = "discrete Gaussian mechanism, Canonne, Kamath and Steinke 2020 (arXiv:2004.00010)"


@dataclass(frozen=True)
class NoisyMarginal:
    """A released table of counts.

    Attributes:
        columns: the columns counted over.
        counts: noisy counts, float64 of whole numbers, one axis a column; may be negative.
        sigma: standard deviation of the noise of every cell.
    """

    columns: tuple[str, ...]
    counts: NDArray[np.float64]
    sigma: float


@dataclass(frozen=True, repr=False)
class Marginals:
    """Exact tables of counts, for a locked box: counted once, asked several times.

    Attributes:
        tables: by the columns counted over.
    """

    tables: Mapping[tuple[str, ...], NDArray[np.float64]]


def counts_event(sigma: float, budget: Budget) -> DpEvent:
    """The cost of one table of counts with noise ``sigma`` (in rows) under ``budget``'s neighbours."""
    replace = budget.adjacency is Adjacency.REPLACE_ONE
    if budget.unit.max_rows == 1:
        return DiscreteGaussianDpEvent(sigma, cells=2 if replace else 1)
    return dp_accounting.GaussianDpEvent(sigma / counts_radius(budget))


def counts_radius(budget: Budget) -> float:
    """L2 radius of one unit's contribution to a table of counts."""
    rows = budget.unit.max_rows
    return rows / math.sqrt(2) if budget.adjacency is Adjacency.REPLACE_ONE else float(rows)


def tabulate(data: Private[Table], queries: Sequence[tuple[str, ...]]) -> Private[Marginals]:
    """Count over the columns of every query. The tables stay locked: nothing leaves, so nothing is charged."""
    tables = exact_marginals(reveal(data), data.schema, queries)
    counted = Marginals(dict(zip(queries, tables, strict=True)))
    return Private(counted, dataset=data.dataset, schema=data.schema, bounded=data.bounded)


def noisy_marginals(
    data: Private[Table] | Private[Marginals], session: Session, queries: Sequence[tuple[str, ...]], sigma: float
) -> list[NoisyMarginal]:
    """Release the marginal of every query, each charged on its own.

    Args:
        data: the rows, or their tables for these queries.
        session: charged ``counts_event(sigma)`` a query.
        queries: columns of each marginal.
        sigma: noise of every cell, in rows.
    """
    session.check(data)
    charges = [_charge(session, sigma, "noisy marginal", " x ".join(query)) for query in queries]
    held: Table | Marginals = reveal(data)  # type: ignore[misc]
    if isinstance(held, Marginals):
        tables = [held.tables[query] for query in queries]
    else:
        tables = exact_marginals(held, data.schema, queries)
    return [
        NoisyMarginal(query, _release(session, charge, table), sigma)
        for query, charge, table in zip(queries, charges, tables, strict=True)
    ]


def noisy_histogram(
    data: Private[Table],
    session: Session,
    cell_of: Callable[[NDArray[np.int32]], NDArray[np.integer]],
    cells: int,
    sigma: float,
    what: str,
) -> NDArray[np.float64]:
    """Release how many rows fall into each cell of a public partition.

    Args:
        data: the rows.
        session: charged ``counts_event(sigma)``.
        cell_of: codes (n, d) to cells (n,) in 0..cells-1, looking at one row at a time.
        cells: how many cells.
        sigma: noise of every cell, in rows.
        what: what the cells are, in public words.
    """
    session.check(data)
    charge = _charge(session, sigma, "noisy histogram", what)
    rows, counts = reveal(data), np.zeros(cells)
    for start in range(0, rows.rows, _BATCH):
        codes = discretize(rows.part(slice(start, start + _BATCH)), data.schema)
        counts += np.bincount(cell_of(codes), minlength=cells)[:cells]
    return _release(session, charge, counts)


def noisy_image_histogram(
    data: Private[Images, ImageSchema],
    session: Session,
    cell_of: Callable[[Images], int],
    cells: int,
    sigma: float,
    what: str,
) -> NDArray[np.float64]:
    """Release how many images fall into each cell of a public partition.

    Args:
        data: the images.
        session: charged ``counts_event(sigma)``.
        cell_of: one image, with its label, to its cell in 0..cells-1. It is called with one image at a
            time: what a network computes of an image may be rounded otherwise among others.
        cells: how many cells; what lies beyond counts for the last.
        sigma: noise of every cell, in images.
        what: what the cells are, in public words.
    """
    session.check(data)
    charge = _charge(session, sigma, "noisy histogram", what)
    images = reveal(data)
    placed = [cell_of(images.take(np.array([i]))) for i in range(images.rows)]
    inside = np.clip(np.array(placed, dtype=np.int64), 0, cells - 1)
    return _release(session, charge, np.bincount(inside, minlength=cells).astype(np.float64))


def exact_marginals(
    rows: Table | NDArray[np.integer], schema: Schema, queries: Sequence[tuple[str, ...]]
) -> list[NDArray[np.float64]]:
    """Counts over the columns of every query, their domain sizes as shape.

    Args:
        rows: a table, or codes (n, d). A table is cut into codes batch by batch, so that memory does not grow with it.
        schema: the public domain.
        queries: the columns of each marginal.
    """
    names, sizes = list(schema.domain), schema.domain
    shapes = [tuple(sizes[name] for name in query) for query in queries]
    places = [[names.index(name) for name in query] for query in queries]
    asked = {j for place in places for j in place}
    found = [np.zeros(math.prod(shape), dtype=np.int64) for shape in shapes]
    count = rows.rows if isinstance(rows, Table) else len(rows)
    for start in range(0, count if queries else 0, _BATCH):
        part = slice(start, start + _BATCH)
        codes = discretize(rows.part(part), schema) if isinstance(rows, Table) else rows[part]
        columns = {j: codes[:, j].astype(np.int64) for j in asked}
        for table, shape, (first, *others) in zip(found, shapes, places, strict=True):
            cells = columns[first]
            for j, size in zip(others, shape[1:], strict=True):
                cells = cells * size + columns[j]
            table += np.bincount(cells, minlength=len(table))
    return [table.reshape(shape).astype(np.float64) for table, shape in zip(found, shapes, strict=True)]


def exact_marginal(codes: NDArray[np.integer], schema: Schema, columns: tuple[str, ...]) -> NDArray[np.float64]:
    """Counts of ``codes`` (n, d) over ``columns``: shape is the columns' domain sizes."""
    return exact_marginals(codes, schema, [columns])[0]


def _charge(session: Session, sigma: float, mechanism: str, what: str) -> Charge:
    budget = session.plan.budget
    charge = Charge(counts_event(sigma, budget), mechanism, counts_radius(budget), _SOURCE, what)
    session.charge(charge)
    return charge


def _release(session: Session, charge: Charge, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.rint(session.release(charge, counts))


__all__ = [
    "Marginals",
    "NoisyMarginal",
    "counts_event",
    "counts_radius",
    "exact_marginal",
    "exact_marginals",
    "noisy_histogram",
    "noisy_image_histogram",
    "noisy_marginals",
    "tabulate",
]
