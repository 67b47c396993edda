"""Choosing with privacy: the exponential mechanism, and quantiles by it.

Claim. Drawing index j with probability proportional to exp(epsilon * score_j / (2 * sensitivity))
is ``ExponentialMechanismDpEvent(epsilon)``.

Argument (McSherry and Talwar 2007). A neighbouring change moves every score by at most the
sensitivity, so each weight changes by at most exp(epsilon / 2), and so does their sum; a
probability changes by at most exp(epsilon). The candidates are public.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from synthkit.data.encoding import Table, discretize
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Numeric
from synthkit.errors import MethodError
from synthkit.privacy.events import ExponentialMechanismDpEvent
from synthkit.privacy.mechanisms.counts import Marginals
from synthkit.privacy.plan import Charge
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rule = Callable[[Sequence[int], int], bool]  # (chosen so far, candidate): may it come next?

_LARGEST = 1e300
_SOURCE = "exponential mechanism, McSherry and Talwar 2007"


def select(
    data: Private[Table],
    session: Session,
    scores_of: Callable[[NDArray[np.int32]], NDArray[np.float64]],
    row_bound: float,
    epsilon: float,
    what: str,
) -> int:
    """Choose one of several public candidates by a private score (report-noisy-max).

    Args:
        data: the rows.
        session: charged ``ExponentialMechanismDpEvent(epsilon)``.
        scores_of: codes (n, d) to one score a candidate, higher is better.
        row_bound: how much adding or removing one row can move any score.
        epsilon: the price; larger chooses better.
        what: what is chosen, in public words.

    Returns:
        the index of the chosen candidate.
    """
    session.check(data)
    charge = _charge(session, row_bound, epsilon, what)
    return session.choose(charge, _in_range(scores_of(discretize(reveal(data), data.schema))))


def select_several(
    data: Private[Marginals],
    session: Session,
    scores_of: Callable[[Mapping[tuple[str, ...], NDArray[np.float64]]], NDArray[np.float64]],
    rules: Sequence[Rule],
    count: int,
    row_bound: float,
    epsilon: float,
    what: str,
) -> list[int]:
    """Choose ``count`` public candidates, one after the other, by the same private scores.

    Args:
        data: exact tables of counts.
        session, row_bound, what: as for :func:`select`.
        scores_of: tables to one score a candidate; called once.
        rules: which candidates may come next, given those chosen so far; look at nothing private. The second
            counts where the first leaves none, and so on; after the last, all candidates may.
        count: how many; each is charged on its own.
        epsilon: the price of each.

    Returns:
        indices in the order of choice.
    """
    session.check(data)
    charges = [_charge(session, row_bound, epsilon, what) for _ in range(count)]
    scores = _in_range(scores_of(reveal(data).tables))
    chosen: list[int] = []
    for charge in charges:
        chosen.append(session.choose(charge, scores, [functools.partial(rule, tuple(chosen)) for rule in rules]))
    return chosen


def _charge(session: Session, row_bound: float, epsilon: float, what: str) -> Charge:
    radius = row_bound * session.plan.budget.unit.max_rows
    charge = Charge(ExponentialMechanismDpEvent(epsilon), "exponential mechanism", radius, _SOURCE, what, norm="Linf")
    session.charge(charge)
    return charge


def _in_range(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(np.nan_to_num(scores, nan=-_LARGEST), -_LARGEST, _LARGEST)


def noisy_quantiles(
    data: Private[Table], session: Session, column: str, fractions: Sequence[float], epsilon: float
) -> list[float]:
    """Quantiles of a numeric column, each chosen among the schema's bin edges (Smith 2011).

    The score of an edge is -|(1 - p) * below - p * at or above|: zero where a share p of the rows
    lies below it. One row moves it by at most max(p, 1 - p) <= 1.

    Args:
        data: the rows; nulls don't count.
        session: charged one exponential mechanism of ``epsilon`` a fraction.
        column: a numeric column.
        fractions: in (0, 1).
        epsilon: the price of each.
    """
    declared = data.schema.modelled[column]
    if not isinstance(declared, Numeric):
        raise MethodError(f"quantiles need a numeric column; {column} is {declared.kind}")
    position, edges = list(data.schema.modelled).index(column), declared.edges
    bins = len(edges) - 1

    def scores(codes: NDArray[np.int32], p: float) -> NDArray[np.float64]:
        counts = np.bincount(codes[:, position], minlength=bins)[:bins]
        below = np.concatenate([[0], np.cumsum(counts)])  # (edges,)
        return np.asarray(-np.abs((1 - p) * below - p * (counts.sum() - below)), dtype=np.float64)

    return [
        edges[select(data, session, lambda codes, p=p: scores(codes, p), 1.0, epsilon, f"quantile {p:g} of {column}")]  # type: ignore[misc]
        for p in fractions
    ]


__all__ = ["Rule", "noisy_quantiles", "select", "select_several"]
