"""The charged quality report: what it costs, and that its figures mean what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from synthkit.assess import fidelity, holdout, utility
from synthkit.data.encoding import discretize, from_frame
from synthkit.data.schema import Schema, Unit
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import Synthetic
from tests.tables import frame, private, schema


def synthetic(rows: int = 3000, seed: int = 9, public: Schema | None = None) -> Synthetic:
    """A good synthetic table: fresh rows of the same law."""
    public = public or schema()
    data = frame(rows, seed=seed)
    return Synthetic(data, discretize(from_frame(data, public), public))


def assessed(public: Schema, rows: int, epsilon: float, **options: object) -> tuple[dict[str, object], Session]:
    session = Session(holdout.plan(public, Budget(epsilon, 1e-6, **options)))  # type: ignore[arg-type]
    found = holdout.assess(private(frame(rows, seed=5), public), session, synthetic(public=public))
    return {figure.name: figure for figure in found}, session


@pytest.mark.parametrize("adjacency", list(Adjacency))
@pytest.mark.parametrize("target", ["ill", "region", "age", None])
def test_the_report_runs_what_was_priced(adjacency: Adjacency, target: str | None) -> None:
    found, session = assessed(schema(target=target, rows=800), 800, 1.0, adjacency=adjacency)
    # Classes that the synthetic table does not show are not asked about: less may run, never more.
    assert (0.9 if target == "region" else 0.99) < session.spent <= session.plan.epsilon <= 1.0
    assert "fidelity.tvd_2way" in found
    assert ("utility.tstr_auc_logistic" in found) == (target in ("ill", "region"))


def test_figures_match_exact_ones_within_their_intervals() -> None:
    public, rows = schema(rows=4000), 4000
    found, _ = assessed(public, rows, 3.0)
    real = discretize(from_frame(frame(rows, seed=5), public), public)
    drawn = synthetic().codes
    exact = {
        e.name.replace("exact_", "").replace("_holdout", ""): e.value
        for e in fidelity.exact(real, drawn, public, against="holdout")
    }
    exact |= {e.name.replace("exact_", ""): e.value for e in utility.exact(drawn, real, public, "tstr")}
    # Noise is about 5 rows of 4000, so 0.02 is beyond ten standard deviations of every figure; binned
    # scores and clipped losses move AUC and log loss by less than 0.01.
    for name in (
        "fidelity.tvd_1way",
        "fidelity.tvd_2way",
        "utility.tstr_auc_logistic",
        "utility.tstr_accuracy_boosting",
    ):
        assert found[name].value == pytest.approx(exact[name], abs=0.03), name  # type: ignore[attr-defined]
    assert found["utility.tstr_log_loss_logistic"].value == pytest.approx(
        exact["utility.tstr_log_loss_logistic"], abs=0.05
    )  # type: ignore[attr-defined]


def test_the_sampling_floor_lies_below_a_bad_table() -> None:
    public = schema(rows=2000)
    session = Session(holdout.plan(public, Budget(2.0, 1e-6)))
    bad = np.zeros((2000, 7), dtype=np.int32)
    found = {e.name: e for e in holdout.assess(private(frame(2000), public), session, Synthetic(frame(2000), bad))}
    assert found["fidelity.tvd_1way"].value > 0.4
    assert found["fidelity.tvd_1way_floor"].value == pytest.approx(0, abs=1e-9)
    assert "utility.tstr_auc_logistic" not in found  # a single class teaches nothing


def test_units_of_several_rows() -> None:
    public = schema(unit=Unit("person", 3), rows=400)
    session = Session(holdout.plan(public, Budget(2.0, 1e-5, unit=public.unit)))
    found = holdout.assess(private(frame(400, people=200), public), session, synthetic())
    assert found and 1.98 < session.spent <= 2.0


@pytest.mark.parametrize("rows", [0, 1])
def test_an_empty_holdout_is_legal(rows: int) -> None:
    found, _ = assessed(schema(), rows, 1.0)
    assert all(math.isfinite(figure.value) for figure in found.values())  # type: ignore[attr-defined]


def test_distance_sensitivity_by_brute_force() -> None:
    """n times the mean distance moves by at most 1 when any row is added or removed."""
    public = schema()
    rng = np.random.default_rng(3)
    drawn = synthetic().codes
    asked = fidelity.queries(public, 2)

    def scaled(codes: np.ndarray) -> float:
        return len(codes) * fidelity.mean_distance(codes, drawn, public, asked) if len(codes) else 0.0

    for _ in range(40):
        size = int(rng.integers(1, 60))
        codes = np.stack([rng.integers(0, k, size) for k in public.domain.values()], axis=1).astype(np.int32)
        if rng.random() < 0.5:
            codes[:] = codes[0]
        assert abs(scaled(codes) - scaled(codes[1:])) <= 1 + 1e-9


def test_associations() -> None:
    public = schema()
    codes = synthetic().codes.copy()
    codes[:, 1] = codes[:, 5] % 2
    matrix = fidelity.associations(codes, public)
    assert matrix.shape == (7, 7) and np.allclose(matrix, matrix.T)
    assert matrix[1, 5] == pytest.approx(1.0)
    assert matrix[1, 4] < 0.1


def test_many_columns_are_thinned_not_listed() -> None:
    wide = Schema("wide", {f"c{i}": schema().columns["sex"] for i in range(1000)}, 100)
    assert 0 < len(fidelity.queries(wide, 2)) <= 2000
    assert 0 < len(fidelity.queries(wide, 3)) <= 2000
