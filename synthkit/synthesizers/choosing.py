"""SELECT: which marginals does a model get most wrong?

The exponential mechanism over all pairs of columns and all pairs together with the target, as in AIM
(McKenna and others 2022, arXiv:2201.12677). The score of a candidate is the L1 distance between its
exact table and the model's, less what noise would leave of it if it were measured.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from dp_accounting import DpEvent

from synthkit.data.constraints import Determines
from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import ExponentialMechanismDpEvent, compose, repeat
from synthkit.privacy.mechanisms.counts import counts_event, exact_marginal
from synthkit.privacy.mechanisms.select import select_several
from synthkit.privacy.session import Session
from synthkit.synthesizers.graphical import Clique

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLED = 4  # a model's marginals are read off so many rows for every real one ...
MOST_SAMPLED = 400_000  # ... and off so many at most
_MOST_CANDIDATES = 6_000  # beyond, pairs are thinned out evenly, by position, and then pairs with the target
_LEFT = 0.3  # of the noise of a measured marginal, what is left in a fitted one, about
_ROWS_A_CHOICE = 180  # one more marginal for so many rows, counted in standard deviations of the least noise
_MOST_MARGINALS = 64


def how_many(schema: Schema, budget: Budget, target: int | None, asked: int = 0) -> int:
    """How many marginals to choose: ``asked``; where that is 0, what columns, rows and the budget are worth."""
    pairs = math.comb(len(free_columns(schema)) - (target is not None), 2)
    if asked or not pairs:
        return asked if pairs else 0
    least = calibrate(lambda sigma: counts_event(sigma, budget), budget)  # all of the budget for one marginal
    return min(max(2, round(schema.rows / least / _ROWS_A_CHOICE)), 2 * pairs, _MOST_MARGINALS)


def priced(budget: Budget, start: int, chosen: int, selection: float) -> tuple[DpEvent, dict[str, float]]:
    """What ``start`` marginals and ``chosen`` more cost, all with the same noise, and the noise that costs the budget.

    Args:
        budget: what may be spent.
        start: marginals that are measured at once.
        chosen: marginals that are chosen, then measured.
        selection: share of the budget (as zCDP counts it) for all choices.

    Returns:
        the event, and noise: ``marginals`` and, where any are chosen, ``selection`` (epsilon) and ``chosen``.
    """
    share, measured, radius = selection if chosen else 0.0, start + chosen, budget.unit.max_rows
    # A marginal of noise s costs 1 / (2 s^2) of zCDP at radius 1, a choice of epsilon e costs e^2 / 8.
    per_scale = 2 * math.sqrt(share / (1 - share) * measured / chosen) if chosen else 0.0

    def event(sigma: float) -> DpEvent:
        parts = [repeat(counts_event(sigma, budget), measured)]
        if chosen:
            parts.append(repeat(ExponentialMechanismDpEvent(per_scale * radius / sigma), chosen))
        return compose(parts)

    sigma = calibrate(event, budget)
    noise = {"marginals": sigma}
    if chosen:
        noise |= {"selection": per_scale * radius / sigma, "chosen": float(chosen)}
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
    pairs = pairs[:: max(1, math.ceil(len(pairs) / _MOST_CANDIDATES))]
    if target is None:
        return pairs
    triples: list[Clique] = [tuple(sorted((*pair, target))) for pair in pairs]
    return pairs + triples[:: max(1, math.ceil(len(triples) / max(1, _MOST_CANDIDATES - len(pairs))))]


def worst(
    data: Private[Table],
    session: Session,
    among: Sequence[Clique],
    drawn: NDArray[np.integer],
    rows: float,
    allowed: Callable[[Sequence[int]], NDArray[np.bool_]],
    count: int,
) -> list[Clique]:
    """The ``count`` candidates that a model misses most, each chosen with privacy.

    Args:
        data: the rows.
        session: charged ``count`` exponential mechanisms of ``noise["selection"]``; later measurements
            have ``noise["marginals"]``.
        among: the candidates.
        drawn: rows of codes (m, d) from the model.
        rows: estimated number of real rows.
        allowed: which may come next, given those chosen so far.
        count: how many.
    """
    schema, noise = data.schema, session.plan.noise
    queries = [named(clique, schema) for clique in among]
    expected = [exact_marginal(drawn, schema, query) * (rows / len(drawn)) for query in queries]
    penalty = [_LEFT * math.sqrt(2 / math.pi) * noise["marginals"] * table.size for table in expected]

    def scores(codes: NDArray[np.int32]) -> NDArray[np.float64]:
        # One row more or less moves one cell of the exact marginal by one, and so the L1 error.
        gaps = [
            np.abs(exact_marginal(codes, schema, query) - table).sum() - bias
            for query, table, bias in zip(queries, expected, penalty, strict=True)
        ]
        return np.array(gaps)

    what = f"one of {len(among)} marginals"
    return [among[k] for k in select_several(data, session, scores, allowed, count, 1.0, noise["selection"], what)]


def batches(count: int, rounds: int) -> list[int]:
    """``count`` choices in rounds of nearly the same size, none empty."""
    rounds = min(count, rounds)
    return [count * (k + 1) // rounds - count * k // rounds for k in range(rounds)]


def free_columns(schema: Schema) -> list[int]:
    """Positions of the columns worth measuring: all but those that another determines (the target always is)."""
    determined = {c.other for c in schema.constraints if isinstance(c, Determines)} - {schema.target}
    return [j for j, name in enumerate(schema.modelled) if name not in determined]


def named(clique: Clique, schema: Schema) -> tuple[str, ...]:
    """The columns' names."""
    names = list(schema.domain)
    return tuple(names[j] for j in clique)


__all__ = [
    "SAMPLED",
    "MOST_SAMPLED",
    "batches",
    "candidates",
    "first",
    "free_columns",
    "how_many",
    "named",
    "priced",
    "worst",
]
