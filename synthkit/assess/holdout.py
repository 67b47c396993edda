"""The quality report on the holdout: its price, and its figures.

The holdout is protected like the training rows. Its mechanisms compose in parallel with training
(every unit is in one of the two), so the report may spend the same (epsilon, delta) again, and the
release costs no more. Every count, distance and loss gets the same noise relative to what one
unit can change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from dp_accounting import DpEvent

from synthkit.assess import fidelity, utility
from synthkit.assess.fidelity import Distance
from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.evidence import Evidence
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import compose, repeat
from synthkit.privacy.mechanisms.counts import counts_event, noisy_histogram
from synthkit.privacy.mechanisms.distances import distance_event
from synthkit.privacy.mechanisms.moments import sum_event
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import Progress, Synthetic, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALL = 0  # the single cell that every row falls into
_NOISE = "holdout"  # what the noise is called in a plan


def plan(schema: Schema, budget: Budget, *, beside: Sequence[tuple[str, Callable[[float], DpEvent]]] = ()) -> Plan:
    """The price of the report.

    Args:
        schema: the holdout's schema (its ``rows`` are the holdout's share).
        budget: what the holdout may cost; the same as the training's.
        beside: what else is asked of the same rows: what its noise is called in the plan, and what it costs with a
            given noise. Everything gets the same noise.
    """
    asked = fidelity.distances(schema)

    def event(scale: float) -> DpEvent:
        return compose([plan_table(schema, budget, scale, asked).event, *(cost(scale) for _, cost in beside)])

    sigma = calibrate(event, budget)
    report = plan_table(schema, budget, sigma, asked)
    noise = {**report.noise, **{name: sigma for name, _ in beside}}
    return replace(report, event=event(sigma), noise=noise, seconds=(report.seconds or 0.0) + 5.0 * len(beside))


def assess(
    holdout: Private[Table], session: Session, synthetic: Synthetic, *, progress: Progress = silent
) -> tuple[Evidence, ...]:
    """Run the report.

    Args:
        holdout: real rows that no generator saw.
        session: its plan is :func:`plan`'s.
        synthetic: the very table that is to be released.
        progress: told what is being done.

    Returns:
        distances with their sampling floor, then TSTR figures; empty where there are no synthetic rows.
    """
    return assess_table(holdout, session, synthetic.codes, fidelity.distances(holdout.schema), progress=progress)


@dataclass(frozen=True)
class Beside:
    """The rows of a table with more columns, and distances that are asked of them.

    Attributes:
        holdout: the same real rows.
        synthetic: codes (m, d) of the same synthetic rows.
        asked: the distances; they are priced among the table's.
    """

    holdout: Private[Table]
    synthetic: NDArray[np.int32]
    asked: Sequence[Distance]


def plan_table(schema: Schema, budget: Budget, sigma: float, asked: Sequence[Distance]) -> Plan:
    """What one table's figures cost with a given noise.

    Args:
        schema: the holdout's.
        budget: its unit is the table's.
        sigma: noise, in rows.
        asked: the distances.
    """
    histograms = utility.histograms(schema)
    models = len(utility.MODELS) if histograms else 0
    reads: list[DpEvent] = [
        repeat(counts_event(sigma, budget), 1 + models * histograms),
        repeat(distance_event(sigma, budget), len(asked)),
    ]
    if models:
        reads.append(repeat(sum_event(sigma * utility.LOSS_BOUND, utility.LOSS_BOUND, budget), models))
    seconds = 15.0 + 3e-5 * schema.rows + 0.05 * len(schema.modelled)
    return Plan(budget, compose(reads), {_NOISE: sigma}, seconds, megabytes=600.0)


def assess_table(
    holdout: Private[Table],
    session: Session,
    synthetic: NDArray[np.int32],
    asked: Sequence[Distance],
    *,
    owner: NDArray[np.int64] | None = None,
    beside: Beside | None = None,
    progress: Progress = silent,
) -> tuple[Evidence, ...]:
    """Run what :func:`plan_table` priced.

    Args:
        holdout: real rows that no generator saw.
        session: its plan is that price.
        synthetic: codes (m, d) of the table that is to be released.
        asked: the distances.
        owner: as for :func:`~synthkit.assess.fidelity.charged`.
        beside: what is asked of the same rows with more columns.
        progress: told what is being done.
    """
    sigma = session.plan.noise[_NOISE]
    progress(0.0, "counting the holdout")
    counted = noisy_histogram(holdout, session, lambda codes: codes[:, 0] * _ALL, 1, sigma, "rows of the holdout")
    rows = max(1.0, float(counted[0]))
    if len(synthetic) == 0:
        return ()
    progress(0.1, "distances on the holdout")
    found = fidelity.charged(holdout, session, synthetic, rows, sigma, asked, owner)
    if beside is not None:
        found += fidelity.charged(beside.holdout, session, beside.synthetic, rows, sigma, beside.asked, owner)
    progress(0.5, "downstream models on the holdout")
    found += utility.charged(holdout, session, synthetic, rows, sigma)
    progress(1.0, "assessed")
    return tuple(found)


__all__ = ["Beside", "assess", "assess_table", "plan", "plan_table"]
