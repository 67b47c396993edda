from __future__ import annotations

import numpy as np
import pytest

from synthkit.privacy.budget import Budget
from synthkit.synthesizers.independent import shares
from tests.synthesizers.contract import MethodContract, fitted
from tests.tables import frame


class TestIndependent(MethodContract):
    name = "independent"


def test_marginals_come_close_at_a_large_budget() -> None:
    from synthkit.synthesizers.independent import Independent

    model, _ = fitted(Independent(), data=frame(400), budget=Budget(20.0, 1e-5))
    drawn = model.sample(20_000, seed=0).frame
    # Noise of about 1 row of 400 a cell, sampling below 0.02: 0.05 is beyond five standard deviations.
    assert drawn["ill"].eq("yes").mean() == pytest.approx(frame(400)["ill"].eq("yes").mean(), abs=0.05)


def test_shares_of_nothing_are_uniform() -> None:
    np.testing.assert_allclose(shares(np.array([-3.0, -1.0])), [0.5, 0.5])
