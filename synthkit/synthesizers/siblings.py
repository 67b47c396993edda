"""What siblings have in common beyond what their parent says: the same ward again, visits in order of time.

    MEASURE   for a few columns of the child, how its value lies to that of the sibling before: a noisy table of both,
              or, where noise would blur it, whether they are the same, and which of two numbers is higher
    GENERATE  children that were drawn, each given its parent, change places with others whose parents are alike,
              until neighbours in the chain are as the tables say

A child changes places with children of parents that have the same in every column that the model of the children
looks at. So the synthetic children are the same rows before and after, and equally many of each kind have each kind of
parent: what was measured of the children by themselves, and with their parents, stays to the row, and only siblings
change. Places are taken by the Metropolis rule (1953) for weights of neighbours that are learnt on the way: iterative
proportional fitting (Deming and Stephan 1940), with tables counted in the chains.

A parent has at most ``max_children`` rows among the chained children, each of which falls into one cell: the bound of
a count (``counts.py``) is the unit's number of rows, as for every other table of the children. All the rest is
post-processing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthkit.data.encoding import Table
from synthkit.data.linked import LinkedSchema
from synthkit.data.private import Private
from synthkit.data.schema import Numeric
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget, Remainder
from synthkit.privacy.events import compose, repeat
from synthkit.privacy.mechanisms.counts import counts_event, noisy_histogram
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.marginals import simplex

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOISE = "siblings"  # what the noise of the tables is called in a plan
POOL = 300  # parents are drawn at least, so that children find others to change places with
_MOST = 8  # columns that are asked about: the first of the child
_FEW = 9  # cells of a table that is readable in any case
_READABLE = 8  # others have so many cells, times their noise, in all rows at most: it misplaces a twentieth of them
_SWEEPS, _LEARNING = 60, 50  # over all places; so many with weights that still change
_RATE, _STEEPEST = 0.5, 8.0  # of learning; and no weight is beyond e^8
_SMALLEST = 1e-4  # a share of nothing, for the logarithm


@dataclass(frozen=True)
class Relation:
    """How a child's value in a column lies to that of the sibling before: a public partition of pairs of codes.

    Attributes:
        name: the column.
        cells: (codes of the sibling before, codes of the child) to the cell of each pair. The last code of the sibling
            before is that there is none, or that it has no value.
        count: of cells.
    """

    name: str
    cells: NDArray[np.int64]
    count: int


@dataclass(frozen=True)
class Siblings:
    """A released table of a relation.

    Attributes:
        relation: what was counted.
        counts: noisy, (cells,).
        sigma: the noise of each.
    """

    relation: Relation
    counts: NDArray[np.float64]
    sigma: float


def columns(schema: LinkedSchema) -> list[str]:
    """Which columns are asked about: a rule of the schema alone."""
    return list(schema.previous)[:_MOST]


def relations(schema: LinkedSchema, sigma: float) -> list[Relation]:
    """What is asked about them, with such a noise: a rule of public facts, too."""
    return [_relation(name, schema, sigma) for name in columns(schema)]


def priced(plan: Plan, budget: Budget, sigma: float, count: int) -> Plan:
    """``plan`` of the children's model with ``count`` tables of siblings beside it."""
    event = compose([repeat(counts_event(sigma, budget), count), plan.event])
    return Plan(budget, event, {**plan.noise, NOISE: sigma}, plan.seconds, plan.megabytes)


def noise(share: float, count: int, budget: Budget) -> tuple[float, Budget]:
    """The noise with which ``count`` tables take a share of a budget (as zCDP counts it), and what they leave."""
    alone = calibrate(lambda scale: repeat(counts_event(scale, budget), count), budget)
    sigma = alone / math.sqrt(share)
    return sigma, Remainder.of(budget, repeat(counts_event(sigma, budget), count))


def measured(chained: Private[Table], session: Session, schema: LinkedSchema) -> tuple[Siblings, ...]:
    """MEASURE, as it was priced.

    Args:
        chained: the children, with the columns of the sibling before.
        session: its plan has the noise.
        schema: of both tables.
    """
    names, sigma = list(schema.chained.modelled), session.plan.noise[NOISE]
    found = []
    for relation in relations(schema, sigma):
        own, before = names.index(relation.name), names.index(schema.previous[relation.name])

        def cell_of(
            codes: NDArray[np.int32], own: int = own, before: int = before, cells: NDArray[np.int64] = relation.cells
        ) -> NDArray[np.int64]:
            return cells[codes[:, before], codes[:, own]]

        what = f"{relation.name} beside that of the sibling before"
        counts = noisy_histogram(chained, session, cell_of, relation.count, sigma, what)
        found.append(Siblings(relation, counts, sigma))
    return tuple(found)


def arranged(
    codes: NDArray[np.int32],
    owner: NDArray[np.int64],
    alike: NDArray[np.int64],
    schema: LinkedSchema,
    tables: Sequence[Siblings],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """GENERATE: which child comes to each place.

    Args:
        codes: children (m, e) by ``schema.widened``, drawn each by itself.
        owner: (m,) whose each is, ascending.
        alike: (m,) equal where children may change places.
        schema: of both tables.
        tables: what was released of siblings.
        rng: of the choices.

    Returns:
        a permutation (m,) within what is alike.
    """
    places = np.arange(len(codes))
    if not len(places) or not tables:
        return places
    names, sizes = list(schema.widened.modelled), schema.chained.domain
    own = np.stack([codes[:, names.index(table.relation.name)] for table in tables])  # (tables, m)
    none = np.array([sizes[schema.previous[table.relation.name]] - 1 for table in tables])[:, None]
    first = np.r_[True, owner[1:] != owner[:-1]]
    last = np.r_[first[1:], True]
    rank = places - np.maximum.accumulate(np.where(first, places, 0))
    parities = [np.flatnonzero(rank % 2 == parity) for parity in (0, 1)]

    def counted() -> list[NDArray[np.float64]]:
        before = np.where(first, none, np.roll(own, 1, axis=1))
        return [
            np.bincount(table.relation.cells[before[k], own[k]], minlength=table.relation.count) / len(places)
            for k, table in enumerate(tables)
        ]

    now = counted()
    wanted = [_wanted(table, shares) for table, shares in zip(tables, now, strict=True)]
    weights = [np.zeros(table.relation.count) for table in tables]
    for sweep in range(_SWEEPS):
        if sweep < _LEARNING:
            for k, (goal, shares) in enumerate(zip(wanted, counted() if sweep else now, strict=True)):
                step = np.log(goal + _SMALLEST) - np.log(shares + _SMALLEST)
                weights[k] = np.clip(weights[k] + (_RATE if sweep else 1.0) * step, -_STEEPEST, _STEEPEST)
            fits = [weight[table.relation.cells] for weight, table in zip(weights, tables, strict=True)]
        for some in parities:
            one, other = _paired(some, alike, rng)
            gain = np.zeros(len(one))
            for k, fit in enumerate(fits):
                ours, theirs = own[k, one], own[k, other]
                for place, leaves, comes in ((one, ours, theirs), (other, theirs, ours)):
                    before = np.where(first[place], none[k], own[k, place - 1])
                    gain += fit[before, comes] - fit[before, leaves]
                    after = own[k, np.minimum(place + 1, len(places) - 1)]
                    gain += np.where(last[place], 0.0, fit[comes, after] - fit[leaves, after])
            taken = np.log(1 - rng.random(len(one))) < gain
            one, other = one[taken], other[taken]
            own[:, one], own[:, other] = own[:, other], own[:, one]
            places[one], places[other] = places[other], places[one]
    return places


def _relation(name: str, schema: LinkedSchema, sigma: float) -> Relation:
    """All pairs of codes where the noise leaves them readable; else how the two lie to each other."""
    column, size = schema.child.modelled[name], schema.widened.domain[name]
    before = schema.chained.domain[schema.previous[name]]
    if before * size <= _FEW or _READABLE * before * size * sigma <= schema.child.rows:
        return Relation(name, np.arange(before * size).reshape(before, size), before * size)
    apart = np.arange(size)[None, :] - np.arange(before)[:, None]  # codes after that of the sibling before
    cells = np.clip(apart, -2, 2) + 2 if isinstance(column, Numeric) else (apart != 0).astype(np.int64)
    none = int(cells.max()) + 1
    if column.nullable:
        cells[:, size - 1] = none + 1  # a value, then none
    cells[before - 1] = none  # there is none before
    return Relation(name, cells, none + 1 + column.nullable)


def _paired(
    some: NDArray[np.int64], alike: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of places, by lot among those that are alike; each place in one pair at most."""
    order = some[np.lexsort((rng.random(len(some)), alike[some]))]
    groups = alike[order]
    starts = np.r_[True, groups[1:] != groups[:-1]][: len(order)]
    at = np.arange(len(order))
    within = at - np.maximum.accumulate(np.where(starts, at, 0))
    chosen = np.flatnonzero((within[:-1] % 2 == 0) & (groups[1:] == groups[:-1]))
    return order[chosen], order[chosen + 1]


def _wanted(table: Siblings, independent: NDArray[np.float64]) -> NDArray[np.float64]:
    """The table that chains should have: what was released, as far as it stands out of its noise.

    The gap to what children that know nothing of each other show is shrunk by the share of it that is noise (James and
    Stein 1961, the positive part), and the table projected onto distributions.
    """
    rows = float(table.counts.sum())
    deviation = table.sigma * math.sqrt(table.counts.size)
    if rows <= deviation:
        return independent
    gap = table.counts / rows - independent
    length = float(np.square(gap).sum())
    kept = max(0.0, 1 - (deviation / rows) ** 2 / length) if length > 0 else 0.0
    return simplex(independent + kept * gap)


__all__ = ["NOISE", "POOL", "Relation", "Siblings", "arranged", "columns", "measured", "noise", "priced", "relations"]
