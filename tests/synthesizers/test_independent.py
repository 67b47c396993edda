from __future__ import annotations

import numpy as np
import pytest

from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.counts import NoisyMarginal
from synthkit.synthesizers.independent import IndependentModel
from tests.synthesizers.contract import MethodContract, fitted
from tests.tables import frame, schema


class TestIndependent(MethodContract):
    name = "independent"


def test_marginals_come_close_at_a_large_budget() -> None:
    from synthkit.synthesizers.independent import Independent

    model, _ = fitted(Independent(), data=frame(400), budget=Budget(20.0, 1e-5))
    drawn = model.sample(20_000, seed=0).frame
    # Noise of about 1 row of 400 a cell, sampling below 0.02: 0.05 is beyond five standard deviations.
    assert drawn["ill"].eq("yes").mean() == pytest.approx(frame(400)["ill"].eq("yes").mean(), abs=0.05)


def test_counts_that_are_all_negative_are_drawn_evenly() -> None:
    public = schema()
    marginals = tuple(NoisyMarginal((name,), np.full(size, -7.0), 3.0) for name, size in public.domain.items())
    drawn = IndependentModel(public, marginals).sample(600, seed=1).codes
    assert all(np.bincount(drawn[:, j]).max() < 1200 / size for j, size in enumerate(public.domain.values()))
