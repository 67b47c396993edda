"""Membership inference on two linked tables: was this parent, with all its children, in the training data?

As in ``membership.py``, lifted from rows to families: whoever is attacked is one parent with all its children, and
counts once, however many they are. Attacks see the released tables and a reference sample of families:

*density ratio*              is the family likelier among synthetic ones than among the reference?
*nearest neighbour*          how close is the nearest synthetic family?
*density ratio of children*  the same of single children, as a mean over those of the family: finds children that
                             were copied without their parents

Two families are as far apart as their parents have columns that differ (the number of children is one), and as far as
their children are, at the mean: of each child, the columns in which the nearest child of the other family differs; of both
directions, the mean (a Chamfer distance; Barrow et al. 1977). So families are at no distance where their parents are equal and
their children are, and no further apart than one row of all columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthkit.audit.membership import Attack, distances, log_density, log_kernel, told_apart

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHUNK = 32  # families compared at once
_MOST, _MOST_CHILDREN = 2_000, 8_000  # families of each kind that are looked at, and children of them, about
_RELEASED = 5  # times as many synthetic ones


@dataclass(frozen=True)
class Families:
    """Parents with all their children, as codes.

    Attributes:
        parents: (n, d), the number of children among the columns.
        children: (m, e), in the order of their parents.
        owner: (m,) place of each child's parent, ascending.
    """

    parents: NDArray[np.int32]
    children: NDArray[np.int32]
    owner: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.parents)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """How many children each has: (n,)."""
        return np.bincount(self.owner, minlength=len(self))

    def take(self, places: NDArray[np.integer]) -> Families:
        """The families at ``places``, in that order."""
        numbers = self.numbers[places]
        first = np.searchsorted(self.owner, places)
        before = np.cumsum(numbers) - numbers
        rows = np.arange(numbers.sum()) + np.repeat(first - before, numbers)
        return Families(self.parents[places], self.children[rows], np.repeat(np.arange(len(places)), numbers))


def attacks(training: Families, holdout: Families, synthetic: Families, *, seed: int = 0) -> list[Attack]:
    """Run all attacks, and their controls.

    Args:
        training: the members.
        holdout: families that were not trained on; a third each serves as reference, as the others that members are
            told from, and as control.
        synthetic: the released ones.
        seed: of the choice of families.

    Returns:
        attacks, then controls; none where one side has nobody.
    """
    rng = np.random.default_rng(seed)
    number = max(1.0, len(training.children) / max(1, len(training)))
    most = max(1, min(_MOST, int(_MOST_CHILDREN / number)))
    members = training.take(rng.permutation(len(training))[:most])
    reference, others, control = (holdout.take(part) for part in _thirds(rng, len(holdout), most))
    released = synthetic.take(rng.permutation(len(synthetic))[: _RELEASED * most])
    if not min(map(len, (members, reference, others, control, released))):
        return []
    scores = {
        "density ratio": lambda some: _density(some, released) - _density(some, reference),
        "nearest neighbour": lambda some: -_each(some, released, lambda apart: apart.min(axis=1)),
        "density ratio of children": lambda some: _of_children(some, released) - _of_children(some, reference),
    }
    return told_apart(scores, members, others, control)


def apart(some: Families, others: Families) -> NDArray[np.float64]:
    """How far families are apart: (b, n), at most as far as there are columns of parent and child."""
    found = distances(some.parents, others.parents).astype(np.float64)
    alone, lonely = some.numbers == 0, others.numbers == 0
    # A family with children and one without are as far apart as children can be.
    found += some.children.shape[1] * (alone[:, None] != lonely[None, :])
    if alone.all() or lonely.all():
        return found
    between = distances(some.children, others.children)  # (children, their children)
    ours, theirs = _starts(some), _starts(others)
    there = np.minimum.reduceat(between, theirs, axis=1)  # (children, n')
    there = np.add.reduceat(there, ours, axis=0) / some.numbers[~alone][:, None]
    back = np.minimum.reduceat(between, ours, axis=0)  # (b', their children)
    back = np.add.reduceat(back, theirs, axis=1) / others.numbers[~lonely][None, :]
    found[np.ix_(~alone, ~lonely)] += (there + back) / 2
    return found


def _starts(families: Families) -> NDArray[np.int64]:
    """Where the children of each family that has any begin."""
    return np.flatnonzero(np.r_[True, families.owner[1:] != families.owner[:-1]])


def _thirds(rng: np.random.Generator, count: int, most: int) -> list[NDArray[np.int64]]:
    return np.array_split(rng.permutation(count)[: 3 * most], 3)


def _each(
    some: Families, others: Families, of: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """What ``of`` says of each family's distances, a few families at a time: (n,)."""
    places = np.arange(len(some))
    return np.concatenate([of(apart(some.take(places[k : k + _CHUNK]), others)) for k in range(0, len(places), _CHUNK)])


def _density(some: Families, others: Families) -> NDArray[np.float64]:
    return _each(some, others, log_kernel)


def _of_children(some: Families, others: Families) -> NDArray[np.float64]:
    """The mean log density of a family's children among those of the others; 0 where there are none."""
    if not len(others.children):
        return np.zeros(len(some))
    summed = np.bincount(some.owner, weights=log_density(some.children, others.children), minlength=len(some))
    mean: NDArray[np.float64] = summed / np.maximum(1, some.numbers)
    return mean


__all__ = ["Families", "apart", "attacks"]
