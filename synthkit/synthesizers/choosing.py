"""SELECT: which marginals does a model get most wrong?

The exponential mechanism over all pairs of columns and all pairs together with the target, as in AIM
(McKenna and others 2022, arXiv:2201.12677). The score of a candidate is the L1 distance between its
exact table and the model's, less what noise would leave of it if it were measured.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from dp_accounting import DpEvent

from synthkit.data.constraints import Determines
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import ExponentialMechanismDpEvent, compose, repeat
from synthkit.privacy.mechanisms.counts import Marginals, counts_event, exact_marginals
from synthkit.privacy.mechanisms.select import Rule, select_several
from synthkit.privacy.session import Session
from synthkit.synthesizers.graphical import Clique, junction_tree, tree_cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SAMPLED = 4  # a model's marginals are read off so many rows for every real one ...
_MOST_SAMPLED = 400_000  # ... and off so many at most
_MOST_READ = 800_000_000  # rows times candidates that are counted a round, at most ...
_LEAST_SAMPLED = 20_000  # ... but off so many rows at least, where there are as many real ones
_MOST_CANDIDATES = 6_000  # pairs, and then pairs with the target; beyond, they are thinned out evenly, by position ...
_MOST_CELLS = 10_000_000  # ... and beyond so many cells together: their tables are kept in memory
_START = 1.5  # noise of what is chosen, by that of what is measured at the start: much follows from the latter
_MUCH = 2_000  # rows, counted in standard deviations of the least noise, from which gradients are worth their share
_LEFT = 0.3  # of the noise of a measured marginal, what is left in a fitted one, about
_ROWS_A_CHOICE = 180  # one more marginal for so many rows, counted in standard deviations of the least noise
MOST_MARGINALS = 64


def how_many(schema: Schema, budget: Budget, target: int | None, asked: int = 0, part: float = 1.0) -> int:
    """How many marginals to choose: ``asked``; where that is 0, what columns, rows and the budget are worth.

    Never more than there are pairs of columns: beyond, what is measured anew says less than its noise costs the others.
    ``part`` of the rule is for whoever has another source of dependence.
    """
    pairs = math.comb(len(free_columns(schema)) - (target is not None), 2)
    if asked or not pairs:
        return asked if pairs else 0
    return min(max(2, round(part * min(_signal(schema, budget) / _ROWS_A_CHOICE, MOST_MARGINALS))), pairs)


def for_gradients(share: float, schema: Schema, budget: Budget) -> float:
    """What of a ``share`` of the budget is worth spending on gradients: less where rows are few for the noise.

    There, what columns are by themselves must be known first. The rule looks at public facts alone.
    """
    return share * min(1.0, _signal(schema, budget) / _MUCH)


def _signal(schema: Schema, budget: Budget) -> float:
    """The public number of rows, in standard deviations of a marginal that all of the budget is spent on."""
    return schema.rows / calibrate(lambda sigma: counts_event(sigma, budget), budget)


def priced(
    budget: Budget, start: int, chosen: int, selection: float, *, part: float = 1.0
) -> tuple[DpEvent, dict[str, float]]:
    """What ``start`` marginals and ``chosen`` more cost, and the noise that costs the budget, or part of it.

    Args:
        budget: what may be spent.
        start: marginals that are measured at once.
        chosen: marginals that are chosen, then measured.
        selection: share of the cost (as zCDP counts it) of all choices.
        part: share of the budget (as zCDP counts it) for all of this.

    Returns:
        the event, and noise: ``start`` and, where any are chosen, ``marginals``, ``selection`` (epsilon) and ``chosen``.
    """
    share, radius = selection if chosen else 0.0, budget.unit.max_rows
    # A marginal of noise s costs 1 / (2 s^2) of zCDP at radius 1, a choice of epsilon e costs e^2 / 8.
    measured = start * _START**2 + chosen
    per_scale = 2 * math.sqrt(share / (1 - share) * measured / chosen) if chosen else 0.0

    def event(sigma: float) -> DpEvent:
        parts = [repeat(counts_event(sigma / _START, budget), start)]
        if chosen:
            parts.append(repeat(counts_event(sigma, budget), chosen))
            parts.append(repeat(ExponentialMechanismDpEvent(per_scale * radius / sigma), chosen))
        return compose(parts)

    sigma = calibrate(event, budget) / math.sqrt(part)
    noise = {"start": sigma / _START}
    if chosen:
        noise |= {"marginals": sigma, "selection": per_scale * radius / sigma, "chosen": float(chosen)}
    return event(sigma), noise


def first(schema: Schema, target: int | None, most: float) -> list[Clique]:
    """Every column with the target; by itself where there is none, or where both have more than ``most`` cells."""
    columns, sizes = free_columns(schema), list(schema.domain.values())
    if target is None or len(columns) == 1:
        return [(j,) for j in columns]
    return [tuple(sorted((j, target))) if sizes[j] * sizes[target] <= most else (j,) for j in columns if j != target]


def candidates(schema: Schema, target: int | None) -> list[Clique]:
    """All pairs of columns and, with a target, all pairs together with it."""
    pairs: list[Clique] = list(itertools.combinations([j for j in free_columns(schema) if j != target], 2))
    pairs = thinned(pairs, schema)
    if target is None:
        return pairs
    return pairs + thinned([tuple(sorted((*pair, target))) for pair in pairs], schema)


def thinned(cliques: Sequence[Clique], schema: Schema) -> list[Clique]:
    """As many of them, by position, as can be counted and kept."""
    sizes = list(schema.domain.values())
    cells = [math.prod(sizes[j] for j in clique) for clique in cliques]
    small = [clique for clique, count in zip(cliques, cells, strict=True) if count <= _MOST_CELLS // 10]
    together = sum(count for count in cells if count <= _MOST_CELLS // 10)
    return small[:: max(1, math.ceil(len(small) / _MOST_CANDIDATES), math.ceil(together / _MOST_CELLS))]


def sampled(rows: float, among: int) -> int:
    """Off how many rows of a model the marginals of ``among`` candidates are read."""
    most = min(_MOST_SAMPLED, max(_LEAST_SAMPLED, _MOST_READ // max(1, among)))
    return min(max(1_000, round(_SAMPLED * rows)), most)


def worst(
    tables: Private[Marginals],
    session: Session,
    among: Sequence[Clique],
    drawn: NDArray[np.integer],
    rows: float,
    rules: Sequence[Rule],
    count: int,
) -> list[Clique]:
    """The ``count`` candidates that a model misses most, each chosen with privacy.

    Args:
        tables: the exact marginals of the candidates, locked.
        session: charged ``count`` exponential mechanisms of ``noise["selection"]``; later measurements
            have ``noise["marginals"]``.
        among: the candidates.
        drawn: rows of codes (m, d) from the model.
        rows: estimated number of real rows.
        rules: which may come next, as for ``select_several``.
        count: how many.
    """
    schema, noise = tables.schema, session.plan.noise
    queries = named(among, schema)
    expected = [table * (rows / len(drawn)) for table in exact_marginals(drawn, schema, queries)]
    penalty = [_LEFT * math.sqrt(2 / math.pi) * noise["marginals"] * table.size for table in expected]

    def scores(exact: Mapping[tuple[str, ...], NDArray[np.float64]]) -> NDArray[np.float64]:
        # One row more or less moves one cell of the exact marginal by one, and so the L1 error.
        gaps = [
            np.abs(exact[query] - table).sum() - bias
            for query, table, bias in zip(queries, expected, penalty, strict=True)
        ]
        return np.array(gaps)

    what = f"one of {len(among)} marginals"
    return [among[k] for k in select_several(tables, session, scores, rules, count, 1.0, noise["selection"], what)]


def within_room(
    sizes: Sequence[int],
    among: Sequence[Clique],
    cliques: Sequence[Clique],
    room: float,
    closed: Callable[[Sequence[Clique]], Sequence[Clique]] = lambda cliques: cliques,
) -> tuple[Rule, Rule]:
    """Two rules on what may be chosen next: what is new and has room, and what the tree holds already.

    Both follow from what was chosen alone. To remember which candidates had no room before would not do: which
    ones were asked about depends on private scores.

    Args:
        sizes: codes of every column.
        among: the candidates.
        cliques: what is measured already.
        room: cells that a junction tree may have.
        closed: cliques to those that the tree must hold.
    """

    @functools.lru_cache(maxsize=1)
    def grown(chosen: Sequence[int]) -> tuple[list[Clique], list[set[int]]]:
        now = [*cliques, *(among[k] for k in chosen)]
        return now, [set(node) for node in junction_tree(sizes, closed(now)).cliques]

    def held(chosen: Sequence[int], k: int) -> bool:
        return any(node.issuperset(among[k]) for node in grown(chosen)[1])

    def fits(chosen: Sequence[int], k: int) -> bool:
        now = grown(chosen)[0]
        return among[k] not in now and (held(chosen, k) or tree_cells(sizes, closed([*now, among[k]])) <= room)

    return fits, held


def apart(among: Sequence[Clique], chosen: Sequence[int], k: int) -> bool:
    """Whether candidate ``k`` lies neither within a chosen one nor around it."""
    clique = set(among[k])
    return not any(clique <= set(among[c]) or clique >= set(among[c]) for c in chosen)


def batches(count: int, rounds: int) -> list[int]:
    """``count`` choices in rounds of nearly the same size, none empty."""
    rounds = min(count, rounds)
    return [count * (k + 1) // rounds - count * k // rounds for k in range(rounds)]


def free_columns(schema: Schema) -> list[int]:
    """Positions of the columns worth measuring: all but those that another determines (the target always is)."""
    determined = {c.other for c in schema.constraints if isinstance(c, Determines)} - {schema.target}
    return [j for j, name in enumerate(schema.modelled) if name not in determined]


def named(cliques: Iterable[Clique], schema: Schema) -> list[tuple[str, ...]]:
    """The columns' names of each."""
    names = list(schema.modelled)
    return [tuple(names[j] for j in clique) for clique in cliques]


__all__ = [
    "MOST_MARGINALS",
    "apart",
    "batches",
    "candidates",
    "first",
    "for_gradients",
    "free_columns",
    "how_many",
    "named",
    "priced",
    "sampled",
    "thinned",
    "within_room",
    "worst",
]
