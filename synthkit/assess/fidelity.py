"""How close the synthetic distribution is: total variation distance of 1-, 2- and 3-way marginals.

*Charged*: the mean distance between the synthetic marginals (public) and the holdout's, released
by one Gaussian mechanism each. *Free*: the sampling floor, the distance that as many rows drawn
from the synthetic distribution itself would show. *Internal*: exact distances to real rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.evidence import Evidence
from synthkit.privacy.mechanisms.counts import exact_marginal
from synthkit.privacy.mechanisms.distances import noisy_distance
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_QUERIES = 2_000  # of each order; more are thinned out evenly, by position
_MOST_CELLS = 1_000_000
_REPEATS = 8  # draws for the sampling floor
_Z95 = 1.959964


@dataclass(frozen=True)
class Distance:
    """One figure that is asked for: the mean distance of some marginals.

    Attributes:
        name: of the evidence.
        queries: the columns of each marginal; at least one.
        what: which marginals, in words that go on after "distance of".
    """

    name: str
    queries: Sequence[tuple[str, ...]]
    what: str


def queries(schema: Schema, order: int) -> list[tuple[str, ...]]:
    """All sets of ``order`` modelled columns, thinned where there are thousands."""
    return thinned(schema, _combinations(schema.domain, order))


def thinned(schema: Schema, sets: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Those of ``sets`` of columns whose marginals are small enough; evenly fewer where there are thousands."""
    sizes = schema.domain
    small = [q for q in sets if math.prod(sizes[name] for name in q) <= _MOST_CELLS]
    return small[:: max(1, math.ceil(len(small) / _MOST_QUERIES))]


def distances(schema: Schema) -> list[Distance]:
    """What is asked of a table by itself: all 1-way and all 2-way marginals."""
    asked = [(order, queries(schema, order)) for order in (1, 2)]
    return [
        Distance(f"fidelity.tvd_{order}way", sets, f"{len(sets)} {order}-way marginals")
        for order, sets in asked
        if sets
    ]


def charged(
    holdout: Private[Table],
    session: Session,
    synthetic: NDArray[np.int32],
    rows: float,
    sigma: float,
    asked: Sequence[Distance] | None = None,
    owner: NDArray[np.int64] | None = None,
) -> list[Evidence]:
    """Mean distances between synthetic table and holdout, each with its sampling floor.

    Args:
        holdout: real rows that no generator saw.
        session: charged one ``distance_event(sigma)`` for each of ``asked``.
        synthetic: codes (m, d).
        rows: a released (noisy) count of the holdout's rows.
        sigma: noise, in rows.
        asked: the figures; None: :func:`distances`.
        owner: (m,) in order, whose each synthetic row is, where rows of one belong together: the floor is
            then that of so many owners. None: each row is by itself.
    """
    schema = holdout.schema
    found = []
    for figure in distances(schema) if asked is None else asked:
        references = [_shares(synthetic, schema, query) for query in figure.queries]
        total = noisy_distance(holdout, session, figure.queries, references, sigma, f"mean distance of {figure.what}")
        floor, spread = _floor(synthetic, schema, figure.queries, references, rows, owner)
        drawn = f"{round(rows)} rows drawn from the synthetic table itself"
        if owner is not None:
            drawn += ", an owner's together"
        distance = total / rows
        error = _Z95 * math.hypot(sigma / rows, distance * sigma / rows, spread)
        found.append(
            Evidence(
                figure.name,
                _unit(distance),
                (_unit(distance - error), _unit(distance + error)),
                f"mean total variation distance of {figure.what}, synthetic against holdout",
                "charged",
            )
        )
        found.append(
            Evidence(
                f"{figure.name}_floor",
                _unit(floor),
                (_unit(floor - _Z95 * spread), _unit(floor + _Z95 * spread)),
                f"the same for {drawn}: what sampling alone shows",
                "free",
            )
        )
    return found


def exact(real: NDArray[np.int32], synthetic: NDArray[np.int32], schema: Schema, *, against: str) -> list[Evidence]:
    """Exact mean distances of 1-, 2- and 3-way marginals. Internal.

    Args:
        real: codes (n, d).
        synthetic: codes (m, d).
        schema: their schema.
        against: which real rows, for the record's name ("training" or "holdout").
    """
    found = []
    for order in (1, 2, 3):
        if asked := queries(schema, order):
            how = f"exact mean total variation distance of {len(asked)} {order}-way marginals, synthetic against {against}"
            value = mean_distance(real, synthetic, schema, asked)
            found.append(Evidence(f"fidelity.exact_tvd_{order}way_{against}", value, None, how, "internal"))
    return found


def mean_distance(
    left: NDArray[np.int32], right: NDArray[np.int32], schema: Schema, asked: Sequence[tuple[str, ...]]
) -> float:
    """Mean total variation distance between two code tables over the given marginals."""
    return float(np.mean([0.5 * np.abs(_shares(left, schema, q) - _shares(right, schema, q)).sum() for q in asked]))


def associations(codes: NDArray[np.int32], schema: Schema) -> NDArray[np.float64]:
    """Cramer's V of every pair of columns, (d, d). Internal when ``codes`` are real."""
    names = list(schema.domain)
    matrix = np.eye(len(names))
    for i, j in itertools.combinations(range(len(names)), 2):
        joint = _shares(codes, schema, (names[i], names[j]))
        expected = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
        present = expected > 0
        chi2 = float(((joint - expected)[present] ** 2 / expected[present]).sum())
        degrees = min((joint.sum(axis=1) > 0).sum(), (joint.sum(axis=0) > 0).sum()) - 1
        matrix[i, j] = matrix[j, i] = math.sqrt(chi2 / degrees) if degrees > 0 else 0.0
    return matrix


def _combinations(sizes: Iterable[str], order: int) -> Iterable[tuple[str, ...]]:
    names = list(sizes)
    # A thousand columns have 166 million triples: draw by position instead of listing them all.
    if math.comb(len(names), order) <= 200_000:
        return itertools.combinations(names, order)
    rng = np.random.default_rng(order)
    picks = {tuple(sorted(rng.choice(len(names), order, replace=False).tolist())) for _ in range(_MOST_QUERIES)}
    return [tuple(names[i] for i in pick) for pick in sorted(picks)]


def _shares(codes: NDArray[np.int32], schema: Schema, query: tuple[str, ...]) -> NDArray[np.float64]:
    return exact_marginal(codes, schema, query) / max(1, len(codes))


def _floor(
    synthetic: NDArray[np.int32],
    schema: Schema,
    asked: Sequence[tuple[str, ...]],
    references: Sequence[NDArray[np.float64]],
    rows: float,
    owner: NDArray[np.int64] | None,
) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    size = max(1, round(rows))
    repeats = _REPEATS if len(asked) * size < 20_000_000 else 3
    seen = []
    for _ in range(repeats):
        drawn = synthetic[_redrawn(rng, len(synthetic), size, owner)]
        gaps = [0.5 * np.abs(_shares(drawn, schema, q) - r).sum() for q, r in zip(asked, references, strict=True)]
        seen.append(float(np.mean(gaps)))
    return float(np.mean(seen)), float(np.std(seen))


def _redrawn(rng: np.random.Generator, rows: int, size: int, owner: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Places (about ``size``,) of rows drawn with replacement: all rows of an owner together."""
    if owner is None:
        return rng.integers(0, rows, size)
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    lengths = np.diff(np.r_[starts, rows])
    picked = rng.integers(0, len(starts), max(1, round(size * len(starts) / rows)))
    taken = lengths[picked]
    before = np.cumsum(taken) - taken  # rows of the owners that were picked earlier
    places: NDArray[np.int64] = np.arange(taken.sum()) + np.repeat(starts[picked] - before, taken)
    return places


def _unit(value: float) -> float:
    return min(1.0, max(0.0, float(value)))


__all__ = ["Distance", "associations", "charged", "distances", "exact", "mean_distance", "queries", "thinned"]
