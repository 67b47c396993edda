"""Noisy marginals on a maximum spanning tree.

MST (McKenna, Miklau and Sheldon 2021, arXiv:2108.04978), the winner of NIST's 2018 challenge: each
column depends on one other. It is quick, needs few rows, and is what a cleverer method has to beat.

    MEASURE   every column's marginal
    SELECT    a spanning tree of pairs (Kruskal), each edge by the exponential mechanism: the score
              of a pair is how far its table is from independence, in L1
    MEASURE   the pairs of the tree
    GENERATE  fit the graphical model to the pairs that stand out of the noise, draw
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from dp_accounting import DpEvent

from synthkit.data.encoding import Table, row_megabytes
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import ExponentialMechanismDpEvent, compose, repeat
from synthkit.privacy.mechanisms.counts import NoisyMarginal, counts_event, noisy_marginals, tabulate
from synthkit.privacy.mechanisms.select import select_several
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import Progress, check_settings, silent
from synthkit.synthesizers.choosing import free_columns, named
from synthkit.synthesizers.graphical import Clique
from synthkit.synthesizers.locked import Place
from synthkit.synthesizers.marginals import estimated_rows, simplex
from synthkit.synthesizers.shaped import shaped
from synthkit.synthesizers.tree_model import TreeModel, fitted, load_tree_model, structural_zeros

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STANDS_OUT = 3.0  # standard deviations
_CELLS = 1_000_000  # structural zeros may make the tree so large


@shaped
@dataclass(frozen=True, kw_only=True)
class Mst:
    """Settings of MST.

    Attributes:
        iterations: of mirror descent, at most.
    """

    name: ClassVar[str] = "mst"
    short: ClassVar[Mapping[str, Any]] = {"iterations": 5}
    iterations: int = 150

    def __post_init__(self) -> None:
        check_settings(self, iterations=(1, 100_000))

    def plan(self, schema: Schema, budget: Budget) -> Plan:
        """A third of the budget (as zCDP counts it) for columns, for choices, and for pairs."""
        columns = len(free_columns(schema))
        edges, radius = columns - 1, budget.unit.max_rows
        if not edges:
            sigma = calibrate(lambda scale: counts_event(scale, budget), budget)
            return Plan(budget, counts_event(sigma, budget), {"columns": sigma}, 1.0, 400.0)
        # A marginal of noise s costs 1 / (2 s^2), a choice of epsilon e costs e^2 / 8.
        pairs_per_columns = math.sqrt(edges / columns)
        choice = 2 * math.sqrt(columns / edges) * radius

        def event(sigma: float) -> DpEvent:
            return compose(
                [
                    repeat(counts_event(sigma, budget), columns),
                    repeat(ExponentialMechanismDpEvent(choice / sigma), edges),
                    repeat(counts_event(pairs_per_columns * sigma, budget), edges),
                ]
            )

        sigma = calibrate(event, budget)
        noise = {"columns": sigma, "selection": choice / sigma, "pairs": pairs_per_columns * sigma}
        return Plan(budget, event(sigma), noise, *self._forecast(schema))

    def fit(self, data: Private[Table], session: Session, *, progress: Progress = silent) -> TreeModel:
        """MEASURE, SELECT, MEASURE, GENERATE."""
        schema, noise = data.schema, session.plan.noise
        columns = free_columns(schema)
        progress(0.0, "measuring every column")
        released = noisy_marginals(data, session, named([(j,) for j in columns], schema), noise["columns"])
        if "pairs" in noise:
            progress(0.2, "choosing the tree")
            edges = self._select(data, session, released)
            progress(0.6, "measuring its pairs")
            released += noisy_marginals(data, session, named(edges, schema), noise["pairs"])
        progress(0.8, "fitting")
        zeros = structural_zeros(schema, _CELLS)
        model = fitted(None, released[: len(columns)], schema, zeros, self.iterations)
        if clear := _clear(released[: len(columns)], released[len(columns) :]):
            model = fitted(model, clear, schema, zeros, self.iterations)
        progress(1.0, "fitted")
        return TreeModel(schema, self.name, model.graphical, tuple(released))

    def _select(self, data: Private[Table], session: Session, released: Sequence[NoisyMarginal]) -> list[Clique]:
        """A spanning tree of the pairs that depend most."""
        schema, columns = data.schema, free_columns(data.schema)
        apart = _independence(released)
        pairs: list[Clique] = list(itertools.combinations(columns, 2))
        queries = named(pairs, schema)

        def scores(exact: Mapping[tuple[str, ...], NDArray[np.float64]]) -> NDArray[np.float64]:
            # One row more or less moves one cell of the exact marginal by one, and so the L1 distance.
            return np.array([np.abs(exact[query] - apart(query)).sum() for query in queries])

        @functools.lru_cache(maxsize=1)
        def parts(chosen: Sequence[int]) -> dict[int, int]:
            part = {j: j for j in columns}
            for k in chosen:
                kept, gone = (part[j] for j in pairs[k])
                part = {j: kept if of == gone else of for j, of in part.items()}
            return part

        def joins(chosen: Sequence[int], k: int) -> bool:
            return len({parts(chosen)[j] for j in pairs[k]}) == 2

        what = f"one of {len(pairs)} pairs, for a tree"
        tables, price = tabulate(data, queries), session.plan.noise["selection"]
        picks = select_several(tables, session, scores, [joins], len(columns) - 1, 1.0, price, what)
        return [pairs[k] for k in picks]

    def _forecast(self, schema: Schema) -> tuple[float, float]:
        sizes, pairs = list(schema.domain.values()), math.comb(len(schema.modelled), 2)
        cells = len(sizes) * float(np.mean(sizes)) ** 2
        seconds = 2.0 + self.iterations * (1e-7 * cells + 1e-4 * len(sizes)) + 3e-8 * schema.rows * pairs
        return seconds, 450.0 + 6e-5 * cells + row_megabytes(schema)


def load(folder: Place, parameters: Mapping[str, Any], schema: Schema) -> TreeModel:
    """Read a saved model; its digests have been checked."""
    return load_tree_model(folder, parameters, schema, Mst.name)


def _clear(columns: Sequence[NoisyMarginal], pairs: Sequence[NoisyMarginal]) -> list[NoisyMarginal]:
    """The pairs that noise alone would hardly have brought so far from independence.

    A pair of independent columns misses their product by about one variance of the noise a cell; the mean of c
    such squares spreads by sqrt(2 / c).
    """
    apart, clear = _independence(columns), []
    for pair in pairs:
        misfit = float(np.mean(((pair.counts - apart(pair.columns)) / pair.sigma) ** 2))
        if misfit > 1 + _STANDS_OUT * math.sqrt(2 / pair.counts.size):
            clear.append(pair)
    return clear


def _independence(columns: Sequence[NoisyMarginal]) -> Callable[[tuple[str, ...]], NDArray[np.float64]]:
    """Two columns' names to the counts that they would have if they were independent, by one-way marginals."""
    rows = estimated_rows(columns)
    shares = {marginal.columns[0]: simplex(marginal.counts / rows) for marginal in columns}

    def table(pair: tuple[str, ...]) -> NDArray[np.float64]:
        left, right = (shares[name] for name in pair)
        return rows * np.outer(left, right)

    return table


__all__ = ["Mst", "load"]
