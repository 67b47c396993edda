"""The charged mean explanation of real rows: costs its plan, finds what matters, and replays on neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthkit.audit.neighbours import pairs
from synthkit.audit.replay import Opener, replay
from synthkit.data.encoding import discretize, from_frame
from synthkit.data.schema import Unit
from synthkit.errors import BudgetExceeded, ExplanationError
from synthkit.explain import importance
from synthkit.explain.downstream import train
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.session import Session
from tests.tables import frame, private, schema

PUBLIC = schema(rows=2000)
SYNTHETIC = discretize(from_frame(frame(800, seed=5), PUBLIC), PUBLIC)


def test_it_costs_its_plan_and_finds_what_matters() -> None:
    plan = importance.plan(PUBLIC, Budget(1.0, 1e-5))
    assert plan.epsilon <= 1.0
    session = Session(plan, noise=NoiseSource(test_seed=0))
    rows = frame(2000, seed=9)
    found = importance.charged(private(rows, PUBLIC), session, SYNTHETIC)
    assert len(session.trace) == 1 and session.spent <= 1.0
    exact = train(SYNTHETIC, PUBLIC).importance(discretize(from_frame(rows, PUBLIC), PUBLIC))
    assert found.columns[int(found.values.argmax())] == "smoker"
    assert np.abs(found.values - exact).max() < 3 * found.error + 0.15 * exact.max()  # noise, and what the clip takes
    with pytest.raises(BudgetExceeded):
        importance.charged(private(rows, PUBLIC), session, SYNTHETIC)


@pytest.mark.parametrize("adjacency", list(Adjacency), ids=str)
def test_it_replays_on_neighbours(adjacency: Adjacency) -> None:
    budget = Budget(1.0, 1e-5, adjacency, Unit())
    public = schema(rows=60)
    plan = importance.plan(public, budget)

    def program(rows: pd.DataFrame, open_session: Opener, _: NoiseSource) -> Mapping[str, Any]:
        session = open_session(plan)
        found = importance.charged(private(rows, public), session, SYNTHETIC)
        return {"rows": found.rows, "values": found.values.tolist(), "spent": session.spent}

    for pair in list(pairs(public, adjacency, rows=60))[:3]:
        found = replay(program, pair.left, pair.right)
        assert found.passed, [str(one) for one in found.divergences[:3]]


def test_a_synthetic_table_of_one_class_is_refused_before_a_read() -> None:
    session = Session(importance.plan(PUBLIC, Budget(1.0, 1e-5)), noise=NoiseSource(test_seed=0))
    constant = SYNTHETIC.copy()
    constant[:, 6] = 0
    with pytest.raises(ExplanationError, match="single class"):
        importance.charged(private(frame(100), PUBLIC), session, constant)
    assert session.trace == ()
