"""The levels that meet the models at the least loss: a search over the whole lattice of generalization levels.

A node is one level per quasi-identifier: global recoding, every value of a column at the same level (local recoding
falls to refinement attacks). Records in classes that fail a model are suppressed, up to a limit; where a model holds
classes against the whole table, that is the table of the records that are kept, so classes are looked at again until
no more fail. Rows are grouped once; every other node is rolled up from a finer one, by adding the counts of its classes.

Branches are left out for two reasons only, so that what is found is optimal:
  - the loss of a node, before suppression, never falls when a level rises, and suppression only adds to it;
  - records in classes below the models' least size never grow in number when a level rises: where the most general
    node of a branch has too many, all have. Other models are not monotone once records are suppressed, and prune nothing.

Wide data (more nodes than ``max_nodes``) are searched from the top by a beam, which may miss the optimum and says so.

The losses, each for the whole table, lower is better:
    precision            mean level over height, a suppressed record counting 1 (Sweeney 2002)
    discernibility       sum of squared class sizes, a suppressed record counting all records; over records squared
                         (Bayardo, Agrawal 2005)
    average-class-size   records over classes, the suppressed ones together being a class (LeFevre et al. 2006)
    entropy              non-uniform entropy over that of a table in which all is suppressed (Gionis, Tassa 2009)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synthkit.anonymize.hierarchies import Codes, Hierarchy
from synthkit.anonymize.models import RELATIVE, Bools, Classes, Model
from synthkit.errors import JobError

Loss = Literal["precision", "discernibility", "average-class-size", "entropy"]
Node = tuple[int, ...]
Counts = NDArray[np.int64]
LOSSES: tuple[str, ...] = get_args(Loss)
MAX_NODES = 100_000
_BEAM = 128
_LARGEST_KEY = 1 << 62
_CELLS = 500_000_000  # of counts of sensitive values, 4 GB


@dataclass(frozen=True)
class Solution:
    """What was chosen.

    Attributes:
        levels: per quasi-identifier.
        kept: ``(rows,)``, False where the record is suppressed.
        classes: of the kept records.
        loss: of the whole table.
        nodes: how many the lattice has.
        counted: of how many the classes were counted.
        optimal: False where a beam searched.
    """

    levels: dict[str, int]
    kept: Bools
    classes: Classes
    loss: float
    nodes: int
    counted: int
    optimal: bool


@dataclass(frozen=True)
class _Groups:
    """The classes at one node: their codes, ``(groups,)`` per column, sizes, and sensitive counts."""

    node: Node
    codes: tuple[Codes, ...]
    size: Counts
    counts: dict[str, Counts]


@dataclass(frozen=True)
class _Judged:
    loss: float
    node: Node


def search(
    codes: Mapping[str, Codes],
    hierarchies: Mapping[str, Hierarchy],
    models: Sequence[Model],
    *,
    sensitive: Mapping[str, Codes] | None = None,
    suppression: float = 0.0,
    loss: Loss = "precision",
    average_risk: float = 1.0,
    levels: Mapping[str, tuple[int, int]] | None = None,
    max_nodes: int = MAX_NODES,
) -> Solution:
    """The node of the least loss at which every kept class meets every model.

    Args:
        codes: per quasi-identifier, ``(rows,)`` codes of level 0.
        hierarchies: per quasi-identifier.
        models: at least one.
        sensitive: per sensitive column that a model names, ``(rows,)`` codes from 0.
        suppression: the share of records that may be suppressed, in [0, 1).
        loss: one of :data:`LOSSES`.
        average_risk: at most so many classes per kept record, in (0, 1].
        levels: by quasi-identifier, the finest and the coarsest level that it may have; of others, all.
        max_nodes: a lattice of more is searched by a beam.

    Raises:
        JobError: no node will do; says which k would.
    """
    searched = _Search(codes, hierarchies, models, sensitive or {}, suppression, loss, average_risk, levels or {})
    best = searched.exact() if searched.nodes <= max_nodes else searched.beam()
    if best is None:
        raise JobError(searched.why_not())
    return searched.solution(best, optimal=searched.nodes <= max_nodes)


class _Search:
    def __init__(
        self,
        codes: Mapping[str, Codes],
        hierarchies: Mapping[str, Hierarchy],
        models: Sequence[Model],
        sensitive: Mapping[str, Codes],
        suppression: float,
        loss: Loss,
        average_risk: float,
        levels: Mapping[str, tuple[int, int]],
    ) -> None:
        if not models or not codes:
            raise JobError("anonymization needs a model and a quasi-identifier")
        if not 0 <= suppression < 1:
            raise JobError(f"the suppression limit must be at least 0 and below 1, got {suppression:g}")
        if loss not in LOSSES:
            raise JobError(f"loss {loss!r} is not known; known are {', '.join(LOSSES)}")
        # Many values first: branches that are cut are then cut near the root.
        self.names = sorted(codes, key=lambda name: (-len(hierarchies[name].labels[0]), name))
        self.levels = [hierarchies[name] for name in self.names]
        limits = [levels.get(one.column, (0, one.height)) for one in self.levels]
        for one, (low, high) in zip(self.levels, limits, strict=True):
            if not 0 <= low <= high <= one.height:
                raise JobError(f"column {one.column!r}: levels {low} to {high} are not within 0 to {one.height}")
        self.bottom, self.top = tuple(low for low, _ in limits), tuple(high for _, high in limits)
        self.nodes = math.prod(high - low + 1 for low, high in limits)
        self.models = models
        self.least = max(model.least_size for model in models)
        self.relative = any(isinstance(model, RELATIVE) for model in models)
        self.average_risk = average_risk
        self.loss_model = loss
        self.counted = 0
        self.rows = len(next(iter(codes.values())))
        if not self.rows:
            raise JobError("there are no records to anonymize")
        self.limit = int(suppression * self.rows + 1e-9)
        self.finest, self.group_of_row = self._first(codes, sensitive)
        self._prepare_losses()
        if any(self.bottom):
            self.finest, merged = self._merged(self.finest, self.bottom)
            self.group_of_row = merged[self.group_of_row]

    # Grouping

    def _first(self, codes: Mapping[str, Codes], sensitive: Mapping[str, Codes]) -> tuple[_Groups, NDArray[np.int64]]:
        columns = tuple(codes[name] for name in self.names)
        group, first = grouped(columns, [len(hierarchy.labels[0]) for hierarchy in self.levels])
        counts = {}
        for name, values in sensitive.items():
            width = int(values.max()) + 1
            if len(first) * width > _CELLS:
                raise JobError(f"column {name!r}: {width} sensitive values are too many to count; group them first")
            flat = np.bincount(group * width + values, minlength=len(first) * width)
            counts[name] = flat.reshape(len(first), width).astype(np.int64)
        size = np.bincount(group, minlength=len(first)).astype(np.int64)
        node = (0,) * len(self.names)
        return _Groups(node, tuple(column[first] for column in columns), size, counts), group

    def _rolled(self, groups: _Groups, node: Node) -> _Groups:
        """``groups`` at a node that is nowhere finer."""
        return groups if node == groups.node else self._merged(groups, node)[0]

    def _merged(self, groups: _Groups, node: Node) -> tuple[_Groups, NDArray[np.int64]]:
        """``groups`` at a node that is nowhere finer, and where each of them went."""
        self.counted += 1
        columns = tuple(
            codes if old == new else _between(hierarchy, old, new)[codes]
            for codes, hierarchy, old, new in zip(groups.codes, self.levels, groups.node, node, strict=True)
        )
        radices = [len(hierarchy.labels[level]) for hierarchy, level in zip(self.levels, node, strict=True)]
        group, first = grouped(columns, radices)
        size = _summed(groups.size, group, len(first))
        counts = {name: _summed_rows(held, group, len(first)) for name, held in groups.counts.items()}
        return _Groups(node, tuple(column[first] for column in columns), size, counts), group

    # Losses

    def _prepare_losses(self) -> None:
        """What each column's level adds to an additive loss, and the entropy's parts."""
        self.frequency: list[list[Counts]] = []  # per column and level: records per code
        self.cost: list[NDArray[np.float64]] = []  # per column: (levels,), what is lost without suppression
        n = self.rows
        original = 0.0
        for column, hierarchy in zip(self.finest.codes, self.levels, strict=True):
            frequency = [
                _summed(self.finest.size, mapped[column], len(labels))
                for mapped, labels in zip(hierarchy.maps, hierarchy.labels, strict=True)
            ]
            self.frequency.append(frequency)
            spread = np.array([_logs(f) @ f for f in frequency])
            original += float(spread[0])
            self.cost.append(spread - spread[0])
        self.original, self.entropy_of_all = original, len(self.levels) * n * math.log2(n) - original
        if self.loss_model == "precision":
            self.cost = [np.arange(one.height + 1) / max(1, one.height) / len(self.levels) for one in self.levels]
        elif self.loss_model == "entropy":
            self.cost = [cost / max(self.entropy_of_all, 1e-300) for cost in self.cost]

    def _bound(self, node: Node, groups: _Groups | None) -> float:
        """At most the loss of ``node`` and of every node above it; 0 where it needs classes that are not counted."""
        if self.loss_model in ("precision", "entropy"):
            return float(sum(cost[level] for cost, level in zip(self.cost, node, strict=True)))
        if groups is None:
            return 0.0
        if self.loss_model == "discernibility":
            return _discernibility(groups.size, self.rows)
        return self.rows / len(groups.size)

    def _loss(self, groups: _Groups, kept: Bools) -> float:
        n, size = self.rows, groups.size
        suppressed = int(size[~kept].sum())
        if self.loss_model == "precision":
            share = suppressed / n
            return self._bound(groups.node, groups) * (1 - share) + share
        if self.loss_model == "discernibility":
            return _discernibility(size[kept], n) + suppressed / n
        if self.loss_model == "average-class-size":
            return n / (int(kept.sum()) + (suppressed > 0))
        lost = len(self.levels) * math.log2(n) * suppressed - self.original
        for codes, frequency, level in zip(groups.codes, self.frequency, groups.node, strict=True):
            lost += float((_logs(frequency[level])[codes] * size)[kept].sum())
        return max(0.0, lost) / max(self.entropy_of_all, 1e-300)

    # Judging

    def _too_small(self, groups: _Groups) -> bool:
        return int(groups.size[groups.size < self.least].sum()) > self.limit

    def _judged(self, groups: _Groups) -> _Judged | None:
        """The node with its suppression, or None where that is over the limit or leaves nothing."""
        if self._too_small(groups):
            return None
        kept = self._kept(groups)
        if int(groups.size[~kept].sum()) > self.limit or not kept.any():
            return None
        if kept.sum() > self.average_risk * int(groups.size[kept].sum()) + 1e-9:
            return None
        return _Judged(self._loss(groups, kept), groups.node)

    def _kept(self, groups: _Groups) -> Bools:
        """Classes that meet every model, in the table of those that are kept."""
        kept: Bools = np.ones(len(groups.size), bool)
        while kept.any() and int(groups.size[~kept].sum()) <= self.limit:
            classes = _classes(groups, kept)
            met: Bools = np.ones(len(classes.size), bool)
            for model in self.models:
                met &= model.holds(classes)
            kept[kept] = met
            if met.all() or not self.relative:
                break
        return kept

    # Searching

    def exact(self) -> _Judged | None:
        """Depth first, one column after the other; see the module's text for what is left out."""
        best = self.beam(1)  # a good first answer cuts much

        def visit(groups: _Groups, column: int) -> None:
            nonlocal best
            held = groups
            for level in range(self.bottom[column], self.top[column] + 1):
                node = (*groups.node[:column], level, *groups.node[column + 1 :])
                if best is not None and self._bound(node, None) >= best.loss:
                    return
                held = self._rolled(held, node)
                if best is not None and self._bound(node, held) >= best.loss:
                    return
                if column + 1 < len(self.top):
                    above = (*node[: column + 1], *self.top[column + 1 :])
                    if not self._too_small(self._rolled(held, above)):
                        visit(held, column + 1)
                elif (judged := self._judged(held)) and (best is None or judged.loss < best.loss):
                    best = judged

        visit(self.finest, 0)
        return best

    def beam(self, width: int = _BEAM) -> _Judged | None:
        """From the top down, one level at a time, keeping the ``width`` nodes of the least loss."""
        top = self._judged(self._rolled(self.finest, self.top))
        best, seen = top, {self.top}
        ring = [top] if top else []
        while ring:
            below = []
            for held in ring:
                # Rows are added up once for all the nodes below this one, which differ in one column each.
                lower = (max(low, level - 1) for low, level in zip(self.bottom, held.node, strict=True))
                finer = self._rolled(self.finest, tuple(lower))
                for column, level in enumerate(held.node):
                    node = (*held.node[:column], level - 1, *held.node[column + 1 :])
                    if level > self.bottom[column] and node not in seen:
                        seen.add(node)
                        if judged := self._judged(self._rolled(finer, node)):
                            below.append(judged)
            ring = sorted(below, key=lambda judged: (judged.loss, judged.node))[:width]
            if ring and best and ring[0].loss < best.loss:
                best = ring[0]
        return best

    def solution(self, best: _Judged, *, optimal: bool) -> Solution:
        groups, group = self._merged(self.finest, best.node)
        kept = self._kept(groups)
        classes = _classes(groups, kept)
        levels = dict(sorted(zip(self.names, best.node, strict=True)))
        return Solution(levels, kept[group[self.group_of_row]], classes, best.loss, self.nodes, self.counted, optimal)

    def why_not(self) -> str:
        """The nearest k: of the most general node, which is the best that any node can do for k."""
        size = np.sort(self._rolled(self.finest, self.top).size)
        nearest = max(int(s) for s in np.unique(size) if size[size < s].sum() <= self.limit)
        told = ", ".join(model.name for model in self.models)
        held = [one.column for one, top in zip(self.levels, self.top, strict=True) if top < one.height]
        higher = f", or let {', '.join(held)} go higher ('levels')" if held else ""
        if self.least > nearest:
            return (
                f"no levels give classes of {self.least} records, not even the most general; the nearest k that can be "
                f"had is {nearest}, with {self.limit} of {self.rows} records suppressed at most. Lower k, raise the "
                f"suppression limit, or add a level to a hierarchy{higher}"
            )
        return (
            f"no levels meet {told}{' and the limits of risk' if self.average_risk < 1 else ''} together with at most "
            f"{self.limit} of {self.rows} records suppressed; k-anonymity alone can be had up to k = {nearest}. Loosen the "
            f"other demands, or raise the suppression limit{higher}"
        )


def _classes(groups: _Groups, kept: Bools) -> Classes:
    """The classes of the records that are kept; sensitive values that none of them has are left out."""
    counts, totals = {}, {}
    for name, held in groups.counts.items():
        inside = held[kept]
        total = inside.sum(0)
        counts[name], totals[name] = inside[:, total > 0], total[total > 0]
    return Classes(groups.size[kept], counts, totals)


def grouped(columns: Sequence[Codes], radices: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per row its group, and per group one row of it."""
    key, space = columns[0].astype(np.int64), radices[0]
    for column, radix in zip(columns[1:], radices[1:], strict=True):
        if space * radix > _LARGEST_KEY:
            key, uniques = pd.factorize(key)
            space = len(uniques)
        key = key * radix + column
        space *= radix
    rows = np.arange(len(key))
    if space <= 4 * len(key) + 1024:  # a table of all keys is cheaper than hashing
        lookup = np.zeros(space, np.int64)
        lookup[key] = 1
        present = np.flatnonzero(lookup)
        lookup[present] = np.arange(len(present))
        group = lookup[key]
    else:
        group, present = pd.factorize(key)
    first = np.empty(len(present), np.int64)
    first[group] = rows
    return group, first


def _between(hierarchy: Hierarchy, old: int, new: int) -> Codes:
    """The map from codes of level ``old`` to codes of level ``new``."""
    mapped = np.empty(len(hierarchy.labels[old]), np.int32)
    mapped[hierarchy.maps[old]] = hierarchy.maps[new]
    return mapped


def _summed(size: Counts, group: NDArray[Any], groups: int) -> Counts:
    return np.bincount(group, weights=size, minlength=groups).astype(np.int64)  # exact below 2**53


def _summed_rows(counts: Counts, group: NDArray[Any], groups: int) -> Counts:
    return np.stack([_summed(column, group, groups) for column in counts.T], 1)


def _logs(frequency: Counts) -> NDArray[np.float64]:
    return np.log2(np.maximum(frequency, 1))


def _discernibility(size: Counts, rows: int) -> float:
    return float((size.astype(np.float64) ** 2).sum()) / rows**2


__all__ = ["LOSSES", "MAX_NODES", "Loss", "Solution", "grouped", "search"]
