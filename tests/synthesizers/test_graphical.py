"""The junction-tree engine against brute force over the whole table of probabilities."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synthkit.synthesizers.descent import Target, fit
from synthkit.synthesizers.graphical import Clique, Graphical, Tree, calibrate, junction_tree

SIZES = (3, 4, 2, 5, 3)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Clique]]:
    sizes = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=6)))
    columns = st.sets(st.integers(0, len(sizes) - 1), min_size=1, max_size=3)
    return sizes, [tuple(sorted(clique)) for clique in draw(st.lists(columns, max_size=7))]


def whole(tree: Tree, factors: list[np.ndarray]) -> np.ndarray:
    """The product of factors over all columns, normalized."""
    full = np.ones(tree.sizes)
    for clique, factor in zip(tree.cliques, factors, strict=True):
        full = full * factor.reshape([tree.sizes[j] if j in clique else 1 for j in range(len(tree.sizes))])
    return full / full.sum()


def summed(full: np.ndarray, kept: Clique) -> np.ndarray:
    return full.sum(axis=tuple(j for j in range(full.ndim) if j not in kept))


def random_model(sizes: tuple[int, ...], cliques: list[Clique], seed: int) -> tuple[Graphical, np.ndarray]:
    tree, rng = junction_tree(sizes, cliques), np.random.default_rng(seed)
    factors = [rng.gamma(0.5, size=[sizes[j] for j in clique]) + 1e-3 for clique in tree.cliques]
    return Graphical(tree, calibrate(tree, [torch.from_numpy(f) for f in factors])), whole(tree, factors)


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_a_junction_tree_holds_every_clique_and_runs_through(graph: tuple[tuple[int, ...], list[Clique]]) -> None:
    sizes, cliques = graph
    tree = junction_tree(sizes, cliques)
    assert set(itertools.chain(*tree.cliques)) == set(range(len(sizes)))
    for clique in cliques:
        assert set(clique) <= set(tree.cliques[tree.home(clique)])
    assert tree.parents[0] == -1 and all(parent < k for k, parent in enumerate(tree.parents))
    for column in range(len(sizes)):  # the nodes that hold a column hang together: only one has no parent that does
        heads = [k for k, c in enumerate(tree.cliques) if column in c and column not in tree.separators[k]]
        assert len(heads) == 1
    assert tree.cells == sum(math.prod(sizes[j] for j in clique) for clique in tree.cliques)


@given(graphs(), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_calibrated_cliques_are_marginals(graph: tuple[tuple[int, ...], list[Clique]], seed: int) -> None:
    model, full = random_model(*graph, seed)
    for clique, belief in zip(model.tree.cliques, model.beliefs, strict=True):
        np.testing.assert_allclose(belief.numpy(), summed(full, clique), atol=1e-12)
    for clique in graph[1]:
        np.testing.assert_allclose(model.marginal(clique).numpy(), summed(full, clique), atol=1e-12)


@given(graphs(), st.integers(0, 99), st.data())
@settings(max_examples=30, deadline=None)
def test_conditions_are_exact(graph: tuple[tuple[int, ...], list[Clique]], seed: int, data: st.DataObject) -> None:
    model, full = random_model(*graph, seed)
    column = data.draw(st.integers(0, len(graph[0]) - 1))
    code = data.draw(st.integers(0, graph[0][column] - 1))
    kept = np.zeros(graph[0][column])
    kept[code] = 1
    given_ = full * kept.reshape([-1 if j == column else 1 for j in range(full.ndim)])
    given_ /= given_.sum()
    under = model.given({column: code})
    for clique, belief in zip(under.tree.cliques, under.beliefs, strict=True):
        np.testing.assert_allclose(belief.numpy(), summed(given_, clique), atol=1e-10)
    assert (under.sample(20, np.random.default_rng(0))[:, column] == code).all()


def test_zero_everywhere_is_refused() -> None:
    model = Graphical(junction_tree((2, 2), [(0, 1)]), [torch.tensor([[0.5, 0.5], [0.0, 0.0]], dtype=torch.float64)])
    with pytest.raises(ValueError, match="zero everywhere"):
        model.given({0: 1})


def test_samples_follow_the_model_more_closely_than_chance() -> None:
    cliques: list[Clique] = [(0, 1), (1, 2), (2, 3), (0, 3), (3, 4)]
    model, full = random_model(SIZES, cliques, 3)
    drawn = model.sample(20_000, np.random.default_rng(0))
    for pair in itertools.combinations(range(5), 2):
        seen = np.zeros([SIZES[j] for j in pair])
        np.add.at(seen, tuple(drawn[:, j] for j in pair), 1 / 20_000)
        distance = 0.5 * np.abs(seen - summed(full, pair)).sum()
        chance = 0.5 * np.sqrt(2 / np.pi * summed(full, pair) / 20_000).sum()
        assert distance < 1.7 * chance
    in_root = model.tree.cliques[0]
    seen = np.zeros([SIZES[j] for j in in_root])
    np.add.at(seen, tuple(drawn[:, j] for j in in_root), 1)
    assert np.abs(seen - 20_000 * summed(full, in_root)).max() <= 1 + 1e-6  # as even as whole rows can be
    assert model.sample(0, np.random.default_rng(0)).shape == (0, 5)


def test_fitting_reaches_the_least_squares_solution() -> None:
    """Exact marginals are met; noisy ones as closely as a general-purpose optimizer of the whole table can."""
    from scipy.optimize import minimize

    rng, sizes = np.random.default_rng(1), (3, 2, 3)
    cliques: list[Clique] = [(0, 1), (1, 2), (0, 2)]
    truth = rng.dirichlet(np.ones(18)).reshape(sizes)
    exact = [Target(c, summed(truth, c), 1e4) for c in cliques]
    found = fit(Graphical(junction_tree(sizes, cliques)), exact, 400)
    for target in exact:
        np.testing.assert_allclose(found.marginal(target.columns).numpy(), target.shares, atol=2e-3)
    noisy = [Target(c, summed(truth, c) + rng.normal(0, 0.05, [sizes[j] for j in c]), 400.0) for c in cliques]

    def loss(logits: np.ndarray) -> float:
        p = np.exp(logits - logits.max())
        p = (p / p.sum()).reshape(sizes)
        return sum(0.5 * t.weight * ((summed(p, t.columns) - t.shares) ** 2).sum() for t in noisy)

    best = min(minimize(loss, rng.normal(size=18), options={"maxiter": 2000}).fun for _ in range(3))
    found = fit(Graphical(junction_tree(sizes, cliques)), noisy, 400)
    ours = sum(0.5 * t.weight * ((found.marginal(t.columns).numpy() - t.shares) ** 2).sum() for t in noisy)
    assert ours <= best * 1.001 + 1e-6


def test_a_start_is_carried_to_another_tree() -> None:
    model, full = random_model(SIZES, [(0, 1), (1, 2)], 5)
    moved = model.on(junction_tree(SIZES, [(0, 1), (1, 2), (2, 3), (0, 2)]))
    for pair in ((0, 1), (1, 2)):
        np.testing.assert_allclose(moved.marginal(pair).numpy(), summed(full, pair), atol=1e-10)


@given(graphs(), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_what_is_impossible_has_no_probability(graph: tuple[tuple[int, ...], list[Clique]], seed: int) -> None:
    """Structural zeros: the distribution given that a row is possible, and fitting keeps it so."""
    sizes, cliques = graph
    model, full = random_model(sizes, cliques, seed)
    rng = np.random.default_rng(seed)
    clique = model.tree.cliques[-1]
    table = rng.random([sizes[j] for j in clique]) < 0.7
    table.flat[0] = True
    wider = table.reshape([sizes[j] if j in clique else 1 for j in range(len(sizes))])
    left = model.without([(clique, table)])
    expected = full * wider / (full * wider).sum()
    for k, node in enumerate(left.tree.cliques):
        np.testing.assert_allclose(left.beliefs[k].numpy(), summed(expected, node), atol=1e-9)
    target = Target(clique, rng.dirichlet(np.ones(table.size)).reshape(table.shape), 1.0)
    fitted = fit(left, [target], 20)
    assert (fitted.marginal(clique).numpy()[~table] == 0).all()


def test_a_fit_stops_at_the_noise() -> None:
    """Within the misfit that was asked for, and not far below."""
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(60)).reshape(3, 4, 5)
    targets = [
        Target(pair, truth.sum(axis=out) + rng.normal(0, 0.01, truth.sum(axis=out).shape), 1e4)
        for pair, out in [((0, 1), 2), ((1, 2), 0), ((0, 2), 1)]
    ]
    start = Graphical(junction_tree((3, 4, 5), [target.columns for target in targets]))

    def misfit(model: Graphical) -> float:
        gaps = [((model.marginal(t.columns).numpy() - t.shares) ** 2 * t.weight).ravel() for t in targets]
        return float(np.concatenate(gaps).mean())

    assert 0.5 < misfit(fit(start, targets, 500, misfit=0.75)) <= 0.75 < misfit(start)
    assert misfit(fit(start, targets, 500)) < 0.75


def test_wild_measurements_of_hardly_any_rows_are_fitted() -> None:
    """Noise forty times the table: steps that underflow are shortened, and the model goes on to be of use."""
    rng = np.random.default_rng(0)
    sizes = (7, 5, 6, 4)
    model = None
    measured: list[Target] = []
    for pairs in ([(0, 3), (1, 3), (2, 3)], [(0, 1), (1, 2)], [(0, 2, 3)]):
        measured += [Target(c, rng.normal(0, 400, [sizes[j] for j in c]), 1e-4) for c in pairs]
        tree = junction_tree(sizes, [target.columns for target in measured])
        model = fit(model.on(tree) if model else Graphical(tree), measured, 150, 0.75)
        for belief in model.beliefs:
            assert torch.isfinite(belief).all() and belief.sum() == pytest.approx(1)
    assert model is not None and len(model.given({0: 6, 3: 3}).sample(10, rng)) == 10


def test_the_fit_is_private_pgms() -> None:
    """To 1e-6 against what mbi 2.0.0 (Private-PGM's own library) found for these measurements."""
    import json
    from pathlib import Path

    case = json.loads((Path(__file__).parent / "mbi.json").read_text())
    sizes = tuple(case["sizes"])
    targets = [
        Target(tuple(entry["columns"]), np.array(entry["shares"]), float(entry["weight"])) for entry in case["targets"]
    ]
    tree = junction_tree(sizes, [target.columns for target in targets])
    model = fit(Graphical(tree), targets, 3_000)
    for entry in case["marginals"]:
        np.testing.assert_allclose(model.marginal(tuple(entry["columns"])).numpy(), entry["shares"], atol=1e-6)
