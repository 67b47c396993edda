"""Shapley values against closed forms, brute force and each other; what does not add up is not shown."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from synthkit.errors import ExplanationError
from synthkit.explain import shapley
from synthkit.explain.checks import deletion_share, spearman, stability, top_jaccard
from synthkit.explain.networks import randomized, score_of
from synthkit.explain.shapley import Attribution, explain
from tests.explain.scores import NAMES, SIZES, OneHotNetwork, codes, tables

NETWORK = score_of(OneHotNetwork())


def brute_force(score: shapley.Score, row: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Means over all orders of the columns, one at a time."""
    d = len(row)
    values = np.zeros(d)
    for order in itertools.permutations(range(d)):
        mixed = background.copy()
        before = score(mixed).mean()
        for j in order:
            mixed[:, j] = row[j]
            after = score(mixed).mean()
            values[j] += after - before
            before = after
    return values / math.factorial(d)


def test_exact_values_are_the_mean_over_all_orders() -> None:
    rows, background = codes(3), codes(6, seed=1)
    found = explain(NETWORK, rows[:, :7], background, NAMES, how="exact")
    four = [0, 2, 4, 6]

    def some(part: np.ndarray) -> np.ndarray:
        whole = np.repeat(rows[:1], len(part), axis=0)
        whole[:, four] = part
        return NETWORK(whole)

    names = [NAMES[j] for j in four]
    small = explain(some, rows[:, four], background[:, four], names)
    for i in range(3):
        np.testing.assert_allclose(small.values[i], brute_force(some, rows[i, four], background[:, four]), atol=1e-6)
    assert found.gap <= 1e-5 and found.errors is None and found.payment == "internal"


@pytest.mark.parametrize("how", ["exact", "sampled"])
def test_a_linear_score_has_its_closed_form(how: Any) -> None:
    rng = np.random.default_rng(0)
    weights, rows, background = rng.normal(size=7), rng.normal(size=(20, 7)), rng.normal(size=(30, 7))
    found = explain(lambda x: x @ weights, rows, background, NAMES, how=how)
    np.testing.assert_allclose(found.values, weights * (rows - background.mean(axis=0)), atol=1e-6)
    assert found.gap <= 1e-5


def test_sampled_values_are_near_the_exact_ones_and_know_how_near() -> None:
    rows, background = codes(25), codes(20, seed=1)
    for score in (NETWORK, tables(4)):
        exact = explain(score, rows, background, NAMES, how="exact")
        drawn = explain(score, rows, background, NAMES, how="sampled")
        error = np.abs(drawn.values - exact.values)
        assert error.mean() / np.abs(exact.values).mean() <= 0.03
        assert drawn.gap <= 1e-5 and drawn.errors is not None
        assert 0.5 <= error.mean() / drawn.errors.mean() <= 1.2  # of a normal: 0.8


def test_antithetic_pairs_are_exact_where_two_columns_interact() -> None:
    rows, background = codes(10), codes(8, seed=1)
    exact = explain(tables(2), rows, background, NAMES, how="exact")
    drawn = explain(tables(2), rows, background, NAMES, how="sampled")
    np.testing.assert_allclose(drawn.values, exact.values, atol=1e-9)
    assert drawn.errors is not None and drawn.errors.max() < 1e-9
    assert explain(tables(3), rows, background, NAMES, how="sampled").relative_error > 0


def test_columns_held_fixed_are_no_players() -> None:
    rows, background = codes(6), codes(8, seed=1)
    found = explain(tables(2), rows, background, NAMES, fixed=(NAMES[3],), how="exact")
    assert found.columns == tuple(name for name in NAMES if name != NAMES[3])
    for value in (0, 1):  # as if the background had only rows with the row's own value
        same = rows[:, 3] == value
        alike = background.copy()
        alike[:, 3] = value
        expected = explain(tables(2), rows[same], alike, NAMES, how="exact")
        np.testing.assert_allclose(found.values[same], np.delete(expected.values, 3, axis=1), atol=1e-9)
        np.testing.assert_allclose(np.delete(expected.values, [0, 1, 2, 4, 5, 6], axis=1), 0, atol=1e-9)


def test_many_columns_are_sampled_and_a_constant_one_has_no_part() -> None:
    sizes = (3,) * 20
    rows, background = codes(3, sizes=sizes), codes(5, seed=1, sizes=sizes)
    rows[:, 4] = background[:, 4] = 1
    weights = np.random.default_rng(0).normal(size=20)
    found = explain(lambda x: np.tanh(x @ weights), rows, background, [f"c{k}" for k in range(20)])
    assert "permutations" in found.explainer and found.errors is not None
    assert found.importance[4] == 0 and found.ranking[-1] == "c4"


def boosted(classes: int = 2) -> tuple[HistGradientBoostingClassifier, np.ndarray]:
    rows = codes(1500)
    truth = (rows[:, 0] + rows[:, 2] * (rows[:, 3] == 1)) % classes
    return HistGradientBoostingClassifier(random_state=0, max_iter=30, early_stopping=False).fit(rows, truth), rows


def test_trees_add_up_and_rank_what_decides() -> None:
    model, rows = boosted()
    found = shapley.trees(model, rows[:50], NAMES, payment="free")
    assert found.gap <= 1e-3 and found.payment == "free"
    assert set(found.ranking[:3]) == {NAMES[0], NAMES[2], NAMES[3]}
    np.testing.assert_allclose(found.scores, model.decision_function(rows[:50]))
    pairs = shapley.tree_interactions(model, rows[:20])
    np.testing.assert_allclose(pairs.sum(axis=2), found.values[:20], atol=1e-6)
    many, rows = boosted(3)
    third = shapley.trees(many, rows[:10], NAMES, output=2)
    np.testing.assert_allclose(third.scores, many.decision_function(rows[:10])[:, 2])
    with pytest.raises(ExplanationError, match="3 classes"):
        shapley.trees(many, rows[:10], NAMES)


def test_trees_that_are_read_wrongly_are_refused() -> None:
    rows = codes(800)
    categorical = HistGradientBoostingClassifier(categorical_features=[0, 2], max_iter=5).fit(rows, rows[:, 0] % 2)
    with pytest.raises(ExplanationError, match="categorical_features"):
        shapley.trees(categorical, rows[:5], NAMES)
    from sklearn.naive_bayes import GaussianNB

    with pytest.raises(ExplanationError, match="does not know GaussianNB"):
        shapley.trees(GaussianNB().fit(rows, rows[:, 0] % 2), rows[:5], NAMES)


def test_what_does_not_add_up_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = codes(6)

    def mixing(part: np.ndarray) -> np.ndarray:  # as batch normalization in training does
        return part[:, 0] - part[:, 0].mean() + 0.0

    with pytest.raises(ExplanationError, match="do not add up"):
        explain(mixing, rows, codes(5, seed=1), NAMES)
    model, rows = boosted()
    right = shapley.raw_scores
    monkeypatch.setattr(shapley, "raw_scores", lambda *a: right(*a) + 0.01)
    with pytest.raises(ExplanationError, match="do not add up"):
        shapley.trees(model, rows[:5], NAMES)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"background": codes(1)}, "background of 1"),
        ({"rows": codes(0)}, "0 rows"),
        ({"rows": codes(3)[:, :5]}, "another schema"),
        ({"columns": NAMES[:5]}, "another schema"),
        ({"fixed": ("elsewhere",)}, "not there: elsewhere"),
        ({"fixed": NAMES}, "every column is held fixed"),
        ({"score": lambda rows: rows[:, :2]}, "one finite number"),
        ({"score": lambda rows: np.full(len(rows), np.nan)}, "one finite number"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], why: str) -> None:
    given: dict[str, Any] = {"score": NETWORK, "rows": codes(3), "background": codes(4), "columns": NAMES} | change
    with pytest.raises(ExplanationError, match=why):
        explain(**given)


def test_exact_values_of_many_columns_are_refused() -> None:
    wide = codes(3, sizes=(2,) * 13)
    with pytest.raises(ExplanationError, match="2\\^13 coalitions"):
        explain(lambda x: x[:, 0] * 1.0, wide, wide, [str(k) for k in range(13)], how="exact")


# --- whether it deserves trust -------------------------------------------------------------------------


def explained(score: shapley.Score, seed: int = 0, rows: int = 60) -> Attribution:
    return explain(score, codes(rows, seed=seed), codes(30, seed=100 + seed), NAMES, how="exact")


def test_deleting_what_matters_first_is_better_than_chance() -> None:
    assert deletion_share(NETWORK, explained(NETWORK, rows=30), codes(15, seed=1)) >= 0.95


def test_random_weights_have_another_explanation() -> None:
    network = OneHotNetwork()
    original = explained(NETWORK).values.ravel()
    others = [explained(score_of(randomized(network, seed))).values.ravel() for seed in range(8)]
    assert np.mean([abs(np.corrcoef(original, other)[0, 1]) for other in others]) <= 0.3
    again = explained(score_of(network)).values.ravel()
    assert np.corrcoef(original, again)[0, 1] == pytest.approx(1)


def test_seeds_agree_on_what_matters() -> None:
    found = stability([explained(NETWORK, seed, 100).importance for seed in range(4)])
    assert found.spearman >= 0.9 and found.jaccard >= 0.8 and found.stable and found.seeds == 4


def test_rank_correlation_and_overlap() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(x, x**3) == pytest.approx(1) and spearman(x, -x) == pytest.approx(-1)
    assert spearman(x, np.ones(4)) == 0 and spearman(np.ones(4), np.ones(4)) == 1
    assert top_jaccard(x, x) == 1 and top_jaccard(x, -x) == 0.5 and top_jaccard(x, -x, 1) == 0


# --- the trained network is left alone -----------------------------------------------------------------


def test_the_score_of_a_network_is_of_a_copy() -> None:
    network = OneHotNetwork()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    score = score_of(network)
    with torch.no_grad():
        network.body[0].weight.zero_()
    np.testing.assert_allclose(score(codes(5)), NETWORK(codes(5)))
    assert network.training and any(not torch.equal(v, network.state_dict()[k]) for k, v in before.items())
    assert len(SIZES) == len(NAMES)
