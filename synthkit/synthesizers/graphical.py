"""A graphical model of a table, fitted to noisy marginals; sampled exactly, under conditions too.

Private-PGM (McKenna, Sheldon and Miklau 2019, arXiv:1901.09136): among all distributions over the
table's codes, the one that fits the noisy marginals best by weighted least squares and is otherwise
as random as possible. It lives on a junction tree (Lauritzen and Spiegelhalter 1988) whose cliques
hold the measured ones, so that everything is exact. All of it is post-processing.

    TREE       eliminate columns one by one, always the one whose clique is smallest
    CALIBRATE  pass messages up and down; every clique then holds its own marginal
    FIT        accelerated mirror descent (``descent.py``)
    SAMPLE     clique by clique from the root, counts as even as the distribution allows

The model is kept as calibrated clique marginals: on a junction tree they say everything,
p(x) = prod_c mu_c(x_c) / prod_s mu_s(x_s).
"""

from __future__ import annotations

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

TINY = 1e-300


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
    maximal = _eliminate([math.log(size) for size in sizes], _near(sizes, cliques))
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


def tree_cells(sizes: Sequence[int], cliques: Iterable[Clique]) -> int:
    """``junction_tree(sizes, cliques).cells``, in less time."""
    return sum(
        math.prod(sizes[j] for j in node)
        for node in _eliminate([math.log(size) for size in sizes], _near(sizes, cliques))
    )


def _near(sizes: Sequence[int], cliques: Iterable[Clique]) -> list[set[int]]:
    """The neighbours of every column: what shares a clique with it."""
    near: list[set[int]] = [set() for _ in sizes]
    for clique in cliques:
        for j in clique:
            near[j].update(clique)
    for j, others in enumerate(near):
        others.discard(j)
    return near


def _eliminate(weights: list[float], near: list[set[int]]) -> list[set[int]]:
    """Maximal cliques of a triangulation: eliminate the column whose clique has the fewest cells. Uses up ``near``."""
    cost = {j: weights[j] + sum(weights[i] for i in near[j]) for j in range(len(near))}
    found: list[set[int]] = []
    while cost:
        j = min(cost, key=lambda j: (cost[j], j))
        others = near[j]
        clique = others | {j}
        if not any(clique <= known for known in found):  # an earlier one has an eliminated column, so is in none later
            found.append(clique)
        for i in others:
            near[i] |= others - {i}
            near[i].discard(j)
        del cost[j]
        for i in others:
            cost[i] = weights[i] + sum(weights[k] for k in near[i])
    return found


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
        return sum_to(self.beliefs[k], self.tree.cliques[k], columns)

    def on(self, tree: Tree) -> Graphical:
        """Nearly the same distribution on another tree: a start for fitting there.

        Potentials are carried over where a clique has a home; what has none is lost.
        """
        potentials = [torch.ones([tree.sizes[j] for j in clique], dtype=torch.float64) for clique in tree.cliques]
        for clique, factor in zip(self.tree.cliques, self.potentials(), strict=True):
            homes = [k for k, node in enumerate(tree.cliques) if set(clique) <= set(node)]
            if homes:
                potentials[homes[0]] = potentials[homes[0]] * widen(factor, clique, tree.cliques[homes[0]])
        return Graphical(tree, calibrate(tree, potentials))

    def without(self, zeros: Iterable[tuple[Clique, NDArray[np.bool_]]]) -> Graphical:
        """The distribution given that a row is possible: by tables over codes, False where it is not.

        Raises:
            ValueError: nothing is possible.
        """
        potentials = self.potentials()
        for columns, table in zeros:
            home = self.tree.home(columns)
            potentials[home] = potentials[home] * widen(torch.from_numpy(table), columns, self.tree.cliques[home])
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

    def potentials(self) -> list[Tensor]:
        """Each node given its separator: their product is the distribution."""
        return [
            belief / widen(sum_to(belief, clique, separator), separator, clique).clamp_min(TINY)
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
    return propagate(tree, potentials)[0]


def propagate(tree: Tree, potentials: Sequence[Tensor]) -> tuple[list[Tensor], float]:
    """As :func:`calibrate`, and the logarithm of the product's sum over all cells of the table."""
    beliefs, log_sum = list(potentials), 0.0
    upward: list[Tensor] = [torch.ones(())] * len(beliefs)
    for k in reversed(range(1, len(beliefs))):
        message = sum_to(beliefs[k], tree.cliques[k], tree.separators[k])
        scale = message.max().clamp_min(TINY)  # taken out, so that products stay in range
        log_sum += math.log(scale)
        upward[k] = message
        parent = tree.parents[k]
        beliefs[parent] = beliefs[parent] * widen(message / scale, tree.separators[k], tree.cliques[parent])
    total = float(beliefs[0].sum())
    if not (math.isfinite(total) and total > 0):
        raise ValueError("the distribution is zero everywhere")
    beliefs[0] = beliefs[0] / total
    for k in range(1, len(beliefs)):
        parent, separator = tree.parents[k], tree.separators[k]
        wanted = sum_to(beliefs[parent], tree.cliques[parent], separator)
        ratio = torch.where(upward[k] > 0, wanted / upward[k].clamp_min(TINY), 0.0)
        beliefs[k] = beliefs[k] * widen(ratio, separator, tree.cliques[k])
    return beliefs, log_sum + math.log(total)


def sum_to(table: Tensor, columns: Clique, kept: Clique) -> Tensor:
    """Sum out all columns but ``kept``."""
    sizes = [size for size, column in zip(table.shape, columns, strict=True) if column in kept]
    for axis, column in enumerate(columns):  # the first first: rows of memory are added to one another
        if column not in kept:
            table = table.sum(dim=axis, keepdim=True)
    return table.reshape(sizes)


def widen(table: Tensor, columns: Clique, wider: Clique) -> Tensor:
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
    upto = upto / np.maximum(upto[:, -1:], TINY)
    flat = (upto + np.arange(len(table))[:, None]).ravel()
    picked = np.searchsorted(flat, points + sorted_groups, side="right") - sorted_groups * table.shape[1]
    cells = np.empty(rows, dtype=np.int64)
    cells[order] = np.clip(picked, 0, table.shape[1] - 1)
    return cells


__all__ = [
    "TINY",
    "Clique",
    "Graphical",
    "Tree",
    "calibrate",
    "junction_tree",
    "propagate",
    "sum_to",
    "tree_cells",
    "widen",
]
