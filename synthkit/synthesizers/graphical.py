"""A graphical model of a table, fitted to noisy marginals; sampled exactly, under conditions too.

Private-PGM (McKenna, Sheldon and Miklau 2019, arXiv:1901.09136): among all distributions over the
table's codes, the one that fits the noisy marginals best by weighted least squares and is otherwise
as random as possible. It lives on a junction tree (Lauritzen and Spiegelhalter 1988) whose cliques
hold the measured ones, so that everything is exact. All of it is post-processing.

    TREE       eliminate columns one by one, always the one whose clique is smallest
    CALIBRATE  pass messages up and down; every clique then holds its own marginal
    FIT        accelerated mirror descent in the entropic geometry (Auslender and Teboulle 2006)
    SAMPLE     clique by clique from the root, counts as even as the distribution allows

The model is kept as calibrated clique marginals: on a junction tree they say everything,
p(x) = prod_c mu_c(x_c) / prod_s mu_s(x_s).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

Clique = tuple[int, ...]  # columns, ascending

_TINY = 1e-300
_TRACE = 1e-9


@dataclass(frozen=True)
class Tree:
    """A junction tree.

    Attributes:
        sizes: codes of every column.
        cliques: its nodes; a parent stands before its children.
        parents: position of every node's parent, -1 for the first.
        separators: the columns that a node shares with its parent.
    """

    sizes: tuple[int, ...]
    cliques: tuple[Clique, ...]
    parents: tuple[int, ...]
    separators: tuple[Clique, ...]

    @property
    def cells(self) -> int:
        """Numbers that the cliques hold together."""
        return sum(math.prod(self.sizes[j] for j in clique) for clique in self.cliques)

    def home(self, columns: Clique) -> int:
        """The smallest node that holds ``columns``."""
        holders = [k for k, clique in enumerate(self.cliques) if set(columns) <= set(clique)]
        return min(holders, key=lambda k: math.prod(self.sizes[j] for j in self.cliques[k]))

    def rooted(self, columns: Clique) -> Tree:
        """The same tree, whose first node is the home of ``columns``."""
        near: list[list[int]] = [[] for _ in self.cliques]
        for k, parent in enumerate(self.parents):
            if parent >= 0:
                near[k].append(parent)
                near[parent].append(k)
        order, parents = [self.home(columns)], [-1]
        for place, k in enumerate(order):  # grows on the way
            ahead = [other for other in near[k] if other not in order]
            order += ahead
            parents += [place] * len(ahead)
        cliques = [self.cliques[k] for k in order]
        separators = [
            tuple(j for j in clique if parent >= 0 and j in cliques[parent])
            for clique, parent in zip(cliques, parents, strict=True)
        ]
        return Tree(self.sizes, tuple(cliques), tuple(parents), tuple(separators))


def junction_tree(sizes: Sequence[int], cliques: Iterable[Clique]) -> Tree:
    """TREE: a junction tree over all columns in which every one of ``cliques`` has a home."""
    near: list[set[int]] = [set() for _ in sizes]
    for clique in cliques:
        for i, j in itertools.permutations(clique, 2):
            near[i].add(j)
    maximal = _eliminate([math.log(size) for size in sizes], near)
    # A spanning tree of the heaviest separators (Prim); parts that share nothing hang together by ().
    placed, parents, order = [0], [-1], [0]
    best = {k: (len(maximal[k] & maximal[0]), 0) for k in range(1, len(maximal))}
    while best:
        k = max(best, key=lambda k: (best[k][0], -k))
        parents.append(placed.index(best.pop(k)[1]))
        placed.append(k)
        order.append(k)
        for other, (weight, _) in list(best.items()):
            if (shared := len(maximal[other] & maximal[k])) > weight:
                best[other] = (shared, k)
    nodes = [maximal[k] for k in order]
    separators = [nodes[k] & nodes[parent] if parent >= 0 else set() for k, parent in enumerate(parents)]
    return Tree(
        tuple(sizes),
        tuple(tuple(sorted(node)) for node in nodes),
        tuple(parents),
        tuple(tuple(sorted(separator)) for separator in separators),
    )


def _eliminate(weights: list[float], near: list[set[int]]) -> list[set[int]]:
    """Maximal cliques of a triangulation: eliminate the column whose clique has the fewest cells."""
    near = [set(others) for others in near]
    cost = {j: weights[j] + sum(weights[i] for i in near[j]) for j in range(len(near))}
    found: list[set[int]] = []
    while cost:
        j = min(cost, key=lambda j: (cost[j], j))
        others = near[j]
        clique = others | {j}
        if not any(clique <= known for known in found):
            found = [known for known in found if not known <= clique] + [clique]
        for i in others:
            near[i] |= others - {i}
            near[i].discard(j)
        del cost[j]
        for i in others:
            cost[i] = weights[i] + sum(weights[k] for k in near[i])
    return found


@dataclass(frozen=True)
class Target:
    """A noisy marginal as a share of all rows.

    Attributes:
        columns: ascending.
        shares: one axis a column; may be negative, need not sum to 1.
        weight: of its squared error: 1 / variance of a share.
    """

    columns: Clique
    shares: NDArray[np.float64]
    weight: float


class Graphical:
    """A distribution on a junction tree, by the marginals of its cliques."""

    def __init__(self, tree: Tree, beliefs: Sequence[Tensor] | None = None) -> None:
        """
        Args:
            tree: where it lives.
            beliefs: calibrated marginals of the cliques; default: uniform.
        """
        self.tree = tree
        if beliefs is None:
            shapes = [[tree.sizes[j] for j in clique] for clique in tree.cliques]
            beliefs = [torch.full(shape, 1 / math.prod(shape), dtype=torch.float64) for shape in shapes]
        self.beliefs = list(beliefs)

    def marginal(self, columns: Clique) -> Tensor:
        """The marginal of columns that have a common clique."""
        k = self.tree.home(columns)
        return _sum_to(self.beliefs[k], self.tree.cliques[k], columns)

    def on(self, tree: Tree) -> Graphical:
        """Nearly the same distribution on another tree: a start for fitting there.

        Potentials are carried over where a clique has a home; what has none is lost.
        """
        potentials = [torch.ones([tree.sizes[j] for j in clique], dtype=torch.float64) for clique in tree.cliques]
        for clique, factor in zip(self.tree.cliques, self._potentials(), strict=True):
            homes = [k for k, node in enumerate(tree.cliques) if set(clique) <= set(node)]
            if homes:
                potentials[homes[0]] = potentials[homes[0]] * _widen(factor, clique, tree.cliques[homes[0]])
        return Graphical(tree, calibrate(tree, potentials))

    def without(self, zeros: Iterable[tuple[Clique, NDArray[np.bool_]]]) -> Graphical:
        """The distribution given that a row is possible: by tables over codes, False where it is not.

        Raises:
            ValueError: nothing is possible.
        """
        potentials = self._potentials()
        for columns, table in zeros:
            home = self.tree.home(columns)
            potentials[home] = potentials[home] * _widen(torch.from_numpy(table), columns, self.tree.cliques[home])
        return Graphical(self.tree, calibrate(self.tree, potentials))

    def given(self, evidence: Mapping[int, int]) -> Graphical:
        """The distribution under a condition: column to code. Exact.

        Raises:
            ValueError: the condition has probability zero.
        """
        zeros = []
        for column, code in evidence.items():
            table = np.zeros(self.tree.sizes[column], dtype=bool)
            table[code] = True
            zeros.append(((column,), table))
        return self.without(zeros)

    def _potentials(self) -> list[Tensor]:
        """Each node given its separator: their product is the distribution."""
        return [
            belief / _widen(_sum_to(belief, clique, separator), separator, clique).clamp_min(_TINY)
            for clique, separator, belief in zip(self.tree.cliques, self.tree.separators, self.beliefs, strict=True)
        ]

    def sample(
        self, rows: int, rng: np.random.Generator, known: Mapping[int, NDArray[np.integer]] | None = None
    ) -> NDArray[np.int32]:
        """SAMPLE: codes (rows, d).

        Within every group of rows that agree on a separator, counts differ from their expectation
        by less than one; which row gets which is by lot.

        Args:
            rows: how many.
            rng: public randomness.
            known: columns with the codes (rows,) that they have. The others are drawn given these, which
                is exact where every node but the first holds of them what it shares with its parent, or
                nothing else.
        """
        codes = np.zeros((rows, len(self.tree.sizes)), dtype=np.int32)
        for j, given in (known or {}).items():
            codes[:, j] = given
        for clique, separator, belief in zip(self.tree.cliques, self.tree.separators, self.beliefs, strict=True):
            held = tuple(j for j in clique if j in separator or j in (known or {}))
            rest = tuple(j for j in clique if j not in held)
            if not rest:
                continue
            order = [clique.index(j) for j in (*held, *rest)]
            groups = math.prod(self.tree.sizes[j] for j in held)
            table = belief.permute(order).reshape(groups, -1).numpy()  # (groups, cells)
            at = _ravel(codes, held, self.tree.sizes)
            cells = _even(table, at, rng)
            for j, values in zip(rest, np.unravel_index(cells, [self.tree.sizes[j] for j in rest]), strict=True):
                codes[:, j] = values
        return codes


def calibrate(tree: Tree, potentials: Sequence[Tensor]) -> list[Tensor]:
    """CALIBRATE: the clique marginals of the distribution that is proportional to the product.

    Raises:
        ValueError: the product is zero everywhere.
    """
    beliefs = list(potentials)
    upward: list[Tensor] = [torch.ones(())] * len(beliefs)
    for k in reversed(range(1, len(beliefs))):
        message = _sum_to(beliefs[k], tree.cliques[k], tree.separators[k])
        message = message / message.max().clamp_min(_TINY)  # scale is free, and keeps products in range
        upward[k] = message
        parent = tree.parents[k]
        beliefs[parent] = beliefs[parent] * _widen(message, tree.separators[k], tree.cliques[parent])
    total = beliefs[0].sum()
    if not (torch.isfinite(total) and total > 0):
        raise ValueError("the distribution is zero everywhere")
    beliefs[0] = beliefs[0] / total
    for k in range(1, len(beliefs)):
        parent, separator = tree.parents[k], tree.separators[k]
        wanted = _sum_to(beliefs[parent], tree.cliques[parent], separator)
        own = _sum_to(beliefs[k], tree.cliques[k], separator)
        ratio = torch.where(own > 0, wanted / own.clamp_min(_TINY), 0.0)
        beliefs[k] = beliefs[k] * _widen(ratio, separator, tree.cliques[k])
    return beliefs


def fit(model: Graphical, targets: Sequence[Target], iterations: int, misfit: float = 0.0) -> Graphical:
    """FIT: least squares on the targets, from ``model`` on.

    The true table misses a noisy cell by one standard deviation. A model that comes nearer than
    that learns the noise; so it is best to stop on the way there (Morozov 1966 on discrepancy).

    Args:
        model: the start; on a tree in which every target has a home.
        targets: what to fit.
        iterations: of mirror descent, at most.
        misfit: stop where the mean squared gap of a cell, in variances of its noise, is as small.
    """
    tree = model.tree
    homes = [tree.home(target.columns) for target in targets]
    wanted = [torch.from_numpy(np.ascontiguousarray(target.shares)) for target in targets]

    def slope(beliefs: Sequence[Tensor]) -> tuple[float, list[Tensor | None]]:
        """Loss, and its gradient by the marginal of every clique (None: zero)."""
        loss = 0.0
        gradients: list[Tensor | None] = [None] * len(beliefs)
        for target, home, shares in zip(targets, homes, wanted, strict=True):
            gap = _sum_to(beliefs[home], tree.cliques[home], target.columns) - shares
            loss += 0.5 * target.weight * float((gap * gap).sum())
            part = _widen(target.weight * gap, target.columns, tree.cliques[home])
            known = gradients[home]
            gradients[home] = part if known is None else known + part
        return loss, gradients

    def moved(beliefs: Sequence[Tensor], gradients: Sequence[Tensor | None], step: float) -> list[Tensor]:
        """One step against the gradient in the entropic geometry: potentials times exp(-step gradient)."""
        potentials = []
        for k, (belief, gradient) in enumerate(zip(beliefs, gradients, strict=True)):
            separator = tree.separators[k]
            factor = belief / _widen(_sum_to(belief, tree.cliques[k], separator), separator, tree.cliques[k]).clamp_min(
                _TINY
            )
            if gradient is not None:
                exponent = -step * gradient
                factor = factor * (exponent - exponent.max()).clamp_min(-600).exp()
            potentials.append(factor)
        return calibrate(tree, potentials)

    best, mirror = model.beliefs, model.beliefs
    smooth = max(target.weight for target in targets)  # grows where a step turns out too long
    share = 1.0
    last = slope(best)[0]
    enough = 0.5 * misfit * sum(target.shares.size for target in targets)
    for _ in range(iterations):
        while True:
            # Auslender and Teboulle: share solves share^2 / (1 - share) = (last share)^2 at constant smoothness.
            point = [(1 - share) * b + share * m for b, m in zip(best, mirror, strict=True)]
            value, gradients = slope(point)
            try:
                new_mirror = moved(mirror, gradients, 1 / (smooth * share))
            except ValueError:  # so long a step that everything underflowed
                smooth *= 2
                continue
            new_best = [(1 - share) * b + share * m for b, m in zip(best, new_mirror, strict=True)]
            found = slope(new_best)[0]
            change = sum(
                float((g * (n - p)).sum()) for g, n, p in zip(gradients, new_best, point, strict=True) if g is not None
            )
            far = share**2 * _divergence(new_mirror, mirror, tree)
            if found <= value + change + smooth * far + 1e-9 * abs(value) or smooth > 1e12:
                break
            smooth *= 2
        if found > last and share < 1.0:
            share, mirror, last = 1.0, best, math.inf  # momentum overshot: start again from here
            continue
        best, mirror, last = new_best, new_mirror, found
        if found <= enough:
            break
        share = (math.sqrt(share**4 + 4 * share**2) - share**2) / 2
        smooth *= 0.9
    # A trace of the start keeps possible what underflowed: a later measurement may ask for it.
    return Graphical(tree, [(1 - _TRACE) * b + _TRACE * s for b, s in zip(best, model.beliefs, strict=True)])


def _divergence(left: Sequence[Tensor], right: Sequence[Tensor], tree: Tree) -> float:
    """KL(left || right) of two distributions on one tree."""
    total = 0.0
    for k, (p, q) in enumerate(zip(left, right, strict=True)):
        total += float((p * (p.clamp_min(_TINY).log() - q.clamp_min(_TINY).log())).sum())
        if tree.separators[k] or k:
            ps, qs = (_sum_to(x, tree.cliques[k], tree.separators[k]) for x in (p, q))
            total -= float((ps * (ps.clamp_min(_TINY).log() - qs.clamp_min(_TINY).log())).sum())
    return max(total, 0.0)


def _sum_to(table: Tensor, columns: Clique, kept: Clique) -> Tensor:
    """Sum out all columns but ``kept``."""
    out = [axis for axis, column in enumerate(columns) if column not in kept]
    return table.sum(dim=out) if out else table


def _widen(table: Tensor, columns: Clique, wider: Clique) -> Tensor:
    """``table`` with axes of length one for the columns of ``wider`` that it lacks."""
    sizes = dict(zip(columns, table.shape, strict=True))
    return table.reshape([sizes.get(column, 1) for column in wider])


def _ravel(codes: NDArray[np.int32], columns: Clique, sizes: Sequence[int]) -> NDArray[np.int64]:
    if not columns:
        return np.zeros(len(codes), dtype=np.int64)
    return np.ravel_multi_index([codes[:, j] for j in columns], [sizes[j] for j in columns]).astype(np.int64)


def _even(table: NDArray[np.float64], groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A cell for every row from its group's distribution, systematically within the group, in random order."""
    rows = len(groups)
    order = rng.permutation(rows)
    order = order[np.argsort(groups[order], kind="stable")]
    sorted_groups = groups[order]
    counts = np.bincount(sorted_groups, minlength=len(table))
    starts = np.cumsum(counts) - counts
    rank = np.arange(rows) - starts[sorted_groups]
    points = (rank + rng.random(len(table))[sorted_groups]) / counts[sorted_groups]  # in [0, 1)
    upto = np.cumsum(table, axis=1)
    upto = upto / np.maximum(upto[:, -1:], _TINY)
    flat = (upto + np.arange(len(table))[:, None]).ravel()
    picked = np.searchsorted(flat, points + sorted_groups, side="right") - sorted_groups * table.shape[1]
    cells = np.empty(rows, dtype=np.int64)
    cells[order] = np.clip(picked, 0, table.shape[1] - 1)
    return cells


__all__ = ["Clique", "Graphical", "Target", "Tree", "calibrate", "fit", "junction_tree"]
