"""Rows given what is known of each: drawn exactly as the tree has it, at the price that was planned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from synthkit.data.encoding import discretize, from_frame
from synthkit.data.schema import Schema
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import load
from synthkit.synthesizers.conditional import Conditional, sample_given
from synthkit.synthesizers.graphical import Clique, Graphical, calibrate, junction_tree
from synthkit.synthesizers.shaped import ShapedModel
from tests.tables import frame, private, schema, shaped, shaped_frame

GIVEN = ("sex", "smoker", "region")


def test_a_tree_is_the_same_from_any_node() -> None:
    cliques: list[Clique] = [(0, 1), (1, 2), (2, 3), (2, 4), (4, 5), (6,)]
    tree = junction_tree((2, 3, 2, 4, 2, 3, 2), cliques)
    model = Graphical(tree, calibrate(tree, [torch.rand([tree.sizes[j] for j in c]).double() for c in tree.cliques]))
    for columns in cliques:
        again = tree.rooted(columns)
        assert set(columns) <= set(again.cliques[0]) and again.parents[0] == -1
        assert sorted(again.cliques) == sorted(tree.cliques) and again.cells == tree.cells
        assert all(parent < k for k, parent in enumerate(again.parents))
        for clique, parent, separator in zip(again.cliques[1:], again.parents[1:], again.separators[1:], strict=True):
            assert set(separator) == set(clique) & set(again.cliques[parent])
        same = Graphical(again, [model.beliefs[tree.cliques.index(clique)] for clique in again.cliques])
        for other in cliques:
            torch.testing.assert_close(same.on(again).marginal(other), model.marginal(other))


@pytest.mark.parametrize("known", [(0,), (0, 1), (1,)])
def test_what_is_drawn_has_the_conditional_distribution(known: Clique) -> None:
    """Against conditioning on one value after the other, which is exact by itself."""
    rng = np.random.default_rng(0)
    sizes = (2, 3, 3, 2, 2)
    tree = junction_tree(sizes, [(0, 1, 2), (1, 3), (2, 4)]).rooted(known)
    potentials = [torch.from_numpy(rng.random([sizes[j] for j in clique])) for clique in tree.cliques]
    model = Graphical(tree, calibrate(tree, potentials))
    rows = 60_000
    codes = {j: rng.integers(0, sizes[j], rows) for j in known}  # not as likely as in the model, on purpose
    drawn = model.sample(rows, rng, codes)
    for j in known:
        np.testing.assert_array_equal(drawn[:, j], codes[j])
    for values in np.ndindex(*[sizes[j] for j in known]):
        some = drawn[np.logical_and.reduce([codes[j] == value for j, value in zip(known, values, strict=True)])]
        given = model.given(dict(zip(known, values, strict=True)))
        for pair in ((1, 3), (2, 4), (1, 2)):
            found = np.zeros([sizes[j] for j in pair])
            np.add.at(found, tuple(some[:, j] for j in pair), 1 / len(some))
            np.testing.assert_allclose(found, given.marginal(pair).numpy(), atol=0.02)


def recipe(**changes: object) -> Conditional:
    """Fast, and told of rows in which every combination occurs."""
    rng = np.random.default_rng(0)
    known = np.stack([rng.integers(0, schema().domain[name], 2_000) for name in GIVEN], axis=1)
    return replace(Conditional(given=GIVEN, known=known, iterations=20, marginals=6), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("adjacency", list(Adjacency))
@pytest.mark.parametrize("public", [schema(), schema(target=None), schema(target="sex"), shaped()])
def test_fit_runs_what_was_priced(public: Schema, adjacency: Adjacency) -> None:
    data = shaped_frame() if "balance" in public.columns else frame()
    session = Session(recipe().plan(public, Budget(2.0, 1e-5, adjacency)))
    model = recipe().fit(private(data, public), session)
    assert 0.99 * 2 < session.plan.epsilon <= 2 and session.spent == pytest.approx(session.plan.epsilon)
    measured = {m.columns for m in model.marginals if len(m.columns) > 1}
    assert not any(set(columns) <= set(GIVEN) - {public.target} for columns in measured), "known already"


def test_known_codes_are_kept_and_what_depends_on_them_follows() -> None:
    public, data, others = schema(rows=8_000), frame(8_000), frame(3_000, seed=1)
    for rows in (data, others):
        rows["sex"] = np.where(rows["ill"].eq("yes"), "f", "m")
    names, codes_of_others = list(public.modelled), discretize(from_frame(others, public), public)
    known = {names.index(name): codes_of_others[:, names.index(name)] for name in GIVEN}
    told = recipe(known=np.stack(list(known.values()), axis=1))
    session = Session(told.plan(public, Budget(10.0, 1e-5)))
    model = told.fit(private(data, public), session)
    drawn = sample_given(model, known, 3_000, 0)
    for j, codes in known.items():
        np.testing.assert_array_equal(drawn.codes[:, j], codes)
    assert (drawn.frame["sex"].eq("f") == drawn.frame["ill"].eq("yes")).mean() > 0.9


def test_shaped_models_keep_known_codes_and_are_saved(tmp_path: Path) -> None:
    public = shaped(rows=2_000)
    session = Session(recipe().plan(public, Budget(10.0, 1e-5)))
    model = recipe().fit(private(shaped_frame(2_000), public), session)
    assert isinstance(model, ShapedModel)
    known = {list(public.modelled).index(name): np.zeros(50, dtype=np.int32) for name in GIVEN}
    drawn = sample_given(model, known, 50, 0)
    assert set(drawn.frame["sex"]) == {"f"} and len(drawn.frame) == 50
    model.save(tmp_path / "model")
    assert sample_given(load(tmp_path / "model"), known, 50, 0).frame.equals(drawn.frame)
