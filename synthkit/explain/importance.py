"""What matters to a released model on real rows, on average: one charged read.

The model was trained on synthetic rows, so it is free. That real rows are explained costs the read. With a
thousand rows or more, the noise is far below what tells one column from another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.explain.downstream import train
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.attributions import NoisyImportance, importance_event, noisy_importance
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOISE = "importance"  # what it is called in a plan
_PUBLIC_ROWS = 300  # synthetic rows on which the clip is chosen


def plan(schema: Schema, budget: Budget) -> Plan:
    """The price of :func:`charged`: one noisy sum of clipped attributions."""
    sigma = calibrate(lambda scale: importance_event(scale, budget), budget)
    return Plan(budget, importance_event(sigma, budget), {NOISE: sigma}, 5.0 + 1e-3 * schema.rows, 600.0)


def charged(rows: Private[Table], session: Session, synthetic: NDArray[np.int32]) -> NoisyImportance:
    """Train on synthetic rows, explain real ones, release the noisy mean.

    Args:
        rows: real rows, e.g. a holdout.
        session: its plan is :func:`plan`'s.
        synthetic: codes (m, d): the model's training rows, and where the clip comes from.

    Raises:
        ExplanationError: as :func:`synthkit.explain.downstream.train`.
    """
    model = train(synthetic, rows.schema)
    norms = np.linalg.norm(model.explain(synthetic[:_PUBLIC_ROWS], "free").values, axis=1)
    clip = float(np.quantile(norms, 0.9)) or 1.0
    return noisy_importance(
        rows,
        session,
        lambda codes: model.explain(codes, "charged").values if len(codes) else np.zeros((0, len(model.columns))),
        model.columns,
        clip,
        session.plan.noise[NOISE],
        f"gradient boosting of {model.target}, trained on synthetic rows",
    )


__all__ = ["NOISE", "charged", "plan"]
