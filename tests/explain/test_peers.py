"""Held against other people's explainers, where they are installed: lime, captum, and trees by LightGBM and XGBoost.

None of them is a dependency. In an environment of their own beside synthkit's:
``pip install lime captum lightgbm xgboost``, then ``pytest -m slow tests/explain/test_peers.py``.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from synthkit.explain import lime as ours
from synthkit.explain import shapley
from synthkit.explain.checks import spearman

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NAMES = ["a", "b", "c", "d", "e", "f"]
RNG = np.random.default_rng(0)
ROWS = RNG.integers(0, 6, (400, 6)).astype(np.int32)
WEIGHTS = np.array([2.0, -1.0, 0.5, 0.0, 0.25, -3.0])


def peer(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"needs {name}, in an environment of its own")


def truth(rows: np.ndarray) -> np.ndarray:
    return (rows @ WEIGHTS + 0.5 * rows[:, 0] * rows[:, 1] > np.median(ROWS @ WEIGHTS)).astype(int)  # type: ignore[no-any-return]


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
@pytest.mark.parametrize("classes", [2, 3])
def test_boosted_trees_of_others_are_explained(library: str, classes: int) -> None:
    kind = peer(library)
    model = (
        kind.LGBMClassifier(n_estimators=30, verbose=-1)
        if library == "lightgbm"
        else kind.XGBClassifier(n_estimators=30)
    )
    target = truth(ROWS) + (classes == 3) * (ROWS[:, 2] > 4)
    model.fit(ROWS, target)
    output = None if classes == 2 else 0
    found = shapley.trees(model, ROWS[:100], NAMES, output=output, payment="free")
    assert found.gap <= shapley.TREE_ADDITIVITY * max(1.0, float(np.abs(found.scores).max()))
    assert set(found.ranking[:2]) <= {"a", "b", "f"}
    if classes == 3:
        with pytest.raises(shapley.ExplanationError, match="3 classes; say which"):
            shapley.trees(model, ROWS[:5], NAMES, payment="free")


def test_exact_values_are_captums() -> None:
    """Shapley (1953) by captum's enumeration of permutations, of a score with interactions of three columns."""
    torch, attr = peer("torch"), peer("captum.attr")

    def score(rows: Any) -> Any:
        values = np.asarray(rows, dtype=np.float64)
        return values @ WEIGHTS + values[:, 0] * values[:, 1] * values[:, 2] - (values[:, 4] > 2) * values[:, 5]

    known, unknown = ROWS[:5], ROWS[50]
    mine = shapley.explain(score, known, np.stack([unknown, unknown]), NAMES, payment="free")
    theirs = attr.ShapleyValues(lambda rows: torch.from_numpy(score(rows.numpy())))
    with torch.no_grad():
        found = theirs.attribute(torch.from_numpy(known).double(), baselines=torch.from_numpy(unknown[None]).double())
    sampled = attr.ShapleyValueSampling(lambda rows: torch.from_numpy(score(rows.numpy()))).attribute(
        torch.from_numpy(known).double(), baselines=torch.from_numpy(unknown[None]).double(), n_samples=400
    )
    # captum enumerates permutations when asked for all of them
    assert np.abs(mine.values - found.numpy()).max() <= 1e-5
    assert np.abs(mine.values - sampled.numpy()).mean() <= 0.1 * np.abs(mine.values).mean()


def test_surrogates_are_captums_and_limes_where_the_score_is_linear() -> None:
    torch, attr, tabular = peer("torch"), peer("captum.attr"), peer("lime.lime_tabular")
    linear = peer("captum._utils.models.linear_model").SkLearnLinearRegression

    def score(rows: Any) -> Any:
        return np.asarray(rows, dtype=np.float64) @ WEIGHTS

    known, unknown = ROWS[:3], ROWS[50]
    mine = ours.surrogate(score, known, np.stack([unknown, unknown]), NAMES, payment="free")
    captum = attr.Lime(lambda rows: torch.from_numpy(score(rows.numpy())), interpretable_model=linear())
    exact = WEIGHTS * (known - unknown)
    for row, weights, r2 in zip(known, mine.weights, mine.r2, strict=True):
        found = captum.attribute(
            torch.from_numpy(row[None]).double(), baselines=torch.from_numpy(unknown[None]).double(), n_samples=300
        )
        assert r2 > 0.99 and np.abs(weights - found.numpy()[0]).max() < 1e-3
    assert np.abs(mine.weights - exact).max() <= 0.05 * np.abs(exact).max()
    spread = ROWS.std(axis=0)
    whole = ours.surrogate(score, known, ROWS[100:140], NAMES, payment="free")
    explainer = tabular.LimeTabularExplainer(
        ROWS, feature_names=NAMES, mode="regression", discretize_continuous=False, random_state=0
    )
    for row, weights in zip(known, whole.weights, strict=True):
        listed = dict(explainer.explain_instance(row.astype(float), score, num_features=6).local_exp[1])
        slopes = np.array([listed[j] for j in range(6)])  # per standard deviation
        assert spearman(weights, slopes * (row - ROWS.mean(axis=0)) / spread) > 0.8
