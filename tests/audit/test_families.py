"""Membership of parents with all their children: distances, a copy that is found, and nobody else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from synthkit.audit.families import Families, apart, attacks
from synthkit.audit.membership import Attack
from tests.audit.caught import caught


def families(count: int, seed: int, *, most: int = 4, width: int = 6) -> Families:
    """Children depend on their parent, and nobody is like all others."""
    rng = np.random.default_rng(seed)
    parents = rng.integers(0, 5, (count, width)).astype(np.int32)
    numbers = rng.integers(0, most + 1, count)
    owner = np.repeat(np.arange(count), numbers)
    own = rng.integers(0, 5, (len(owner), width))
    children = np.where(rng.random(own.shape) < 0.4, parents[owner], own).astype(np.int32)
    return Families(np.column_stack([parents, numbers]).astype(np.int32), children, owner)


def found(training: Families, synthetic: Families, seed: int = 0) -> dict[str, Attack]:
    return {attack.name: attack for attack in attacks(training, families(900, 99), synthetic, seed=seed)}


NAMES = ("density ratio", "nearest neighbour", "density ratio of children")


def slow_apart(one: Families, other: Families, i: int, j: int) -> float:
    parents = float((one.parents[i] != other.parents[j]).sum())
    ours, theirs = one.children[one.owner == i], other.children[other.owner == j]
    if not len(ours) and not len(theirs):
        return parents
    if not len(ours) or not len(theirs):
        return parents + one.children.shape[1]
    there = [min((a != b).sum() for b in theirs) for a in ours]
    back = [min((a != b).sum() for a in ours) for b in theirs]
    return parents + (np.mean(there) + np.mean(back)) / 2


def test_distances_are_those_of_the_definition() -> None:
    some, others = families(20, 1), families(25, 2)
    seen = apart(some, others)
    expected = [[slow_apart(some, others, i, j) for j in range(25)] for i in range(20)]
    np.testing.assert_allclose(seen, expected)
    np.testing.assert_allclose(apart(others, some), seen.T)
    assert (np.diag(apart(some, some)) == 0).all() and seen.max() <= 13
    childless = some.take(np.flatnonzero(some.numbers == 0))
    slow = [[(a != b).sum() for b in childless.parents] for a in childless.parents]
    np.testing.assert_allclose(apart(childless, childless), slow)


def test_families_are_taken_whole_and_in_order() -> None:
    some = families(30, 3)
    order = np.random.default_rng(0).permutation(30)[:17]
    taken = some.take(order)
    for k, place in enumerate(order):
        np.testing.assert_array_equal(taken.parents[k], some.parents[place])
        np.testing.assert_array_equal(taken.children[taken.owner == k], some.children[some.owner == place])
    assert len(some.take(order[:0])) == 0


def test_a_copy_is_found_and_its_controls_are_not() -> None:
    training = families(300, 1)
    seen = found(training, training)
    assert list(seen) == [*NAMES, *(f"{name} (control)" for name in NAMES)]
    for name in NAMES:
        assert caught(seen[name]) and seen[name].auc > 0.75 and seen[name].beats_guessing
        assert not caught(seen[f"{name} (control)"])
        assert (seen[name].members, seen[name].others) == (300, 300)


def test_children_that_were_copied_without_their_parents_are_found() -> None:
    training, strangers = families(300, 1), families(300, 2)
    owner = np.sort(np.random.default_rng(0).integers(0, 300, len(training.children)))
    torn = Families(strangers.parents, training.children, owner)
    seen = found(training, torn)
    assert caught(seen["density ratio of children"]) and not caught(seen["density ratio of children (control)"])


def test_independent_families_are_not_found() -> None:
    """Over many tables, the intervals hold one half nearly as often as they say, and nothing is caught."""
    repeats, inside, areas = 20, dict.fromkeys(NAMES, 0), {name: [] for name in NAMES}
    for seed in range(repeats):
        some = attacks(families(120, 10 + seed), families(360, 5_000 + seed), families(120, 9_000 + seed))
        assert not any(caught(attack) for attack in some)
        for attack in some[:3]:
            inside[attack.name] += attack.interval[0] <= 0.5 <= attack.interval[1]
            areas[attack.name].append(attack.auc)
    for name in NAMES:
        assert inside[name] >= stats.binom.ppf(1e-6, repeats, 0.93)
        assert np.mean(areas[name]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("empty", ["training", "holdout", "synthetic"])
def test_with_nobody_to_compare_there_is_no_figure(empty: str) -> None:
    sides = {name: families(30, k) for k, name in enumerate(("training", "holdout", "synthetic"))}
    sides[empty] = sides[empty].take(np.zeros(0, dtype=np.int64))
    assert attacks(**sides) == []


def test_without_any_child_parents_are_attacked_alone() -> None:
    childless = [families(60, k, most=0) for k in range(3)]
    seen = {attack.name: attack for attack in attacks(childless[0], childless[1], childless[0])}
    assert seen["nearest neighbour"].auc > 0.6
    assert seen["density ratio of children"].auc == 0.5


def test_large_families_are_looked_at_in_part() -> None:
    seen = attacks(families(900, 1, most=60), families(60, 2, most=60), families(30, 3, most=60))
    assert 200 < seen[0].members < 320 and seen[0].others == 20
