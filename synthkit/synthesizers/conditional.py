"""Rows given what is known of each: adaptive noisy marginals, as in ``aim.py``, for a conditional distribution.

Some columns (*given*) need no model, since whoever draws rows knows them: the columns of a visit's
patient, say. What is wanted is the distribution of the others given these. In steps:

    START     measure every other column with the target
    SELECT    the exponential mechanism picks the marginals that the model gets most wrong, among pairs
              and triples of columns that are not all given
    MEASURE   with noise
    GENERATE  fit a junction tree to everything measured, whose first clique holds every given column that
              any measured marginal has

Nothing is spent on how given columns lie among themselves: rows of them that are already released
(``known``) say so. They are what the fit starts from, and one more table that it has to meet. So
the model is log-linear, and two given columns that say the same are not counted twice.

Since all given columns that matter are in the first clique, drawing the others given these goes down
the tree as always, and is exact.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from synthkit.data.constraints import Mask
from synthkit.data.encoding import Table, row_megabytes
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.counts import NoisyMarginal, noisy_marginals, tabulate
from synthkit.privacy.mechanisms.select import Rule
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers import choosing
from synthkit.synthesizers.base import Model, Progress, Synthetic, check_settings, finish, silent
from synthkit.synthesizers.choosing import free_columns, named
from synthkit.synthesizers.descent import Target, fit
from synthkit.synthesizers.graphical import Clique, Graphical, junction_tree
from synthkit.synthesizers.graphical import calibrate as calibrated
from synthkit.synthesizers.locked import Place
from synthkit.synthesizers.marginals import estimated_rows, target_position
from synthkit.synthesizers.shaped import ShapedModel, shaped
from synthkit.synthesizers.tree_model import TreeModel, load_tree_model, structural_zeros

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BYTES = 8  # a cell
_MISFIT = 0.75  # variances of a cell's noise: a fit that comes nearer learns the noise (Morozov 1966)
_LEAST = 4  # marginals are chosen, where there are as many
_SAMPLED, _MOST_SAMPLED = 2, 60_000  # rows that the model's marginals are read off: for a real row, and at most
_UNSEEN = 1e-3  # of a row in every cell that no known row has: what it holds follows from the others


@shaped
@dataclass(frozen=True, kw_only=True)
class Conditional:
    """Settings. All are public; none is tuned on private data.

    Attributes:
        given: the columns that are known when rows are drawn.
        known: (m, given) released codes of them, as rows are going to have them; for :meth:`fit` alone.
        marginals: how many are chosen; 0: by rule.
        rounds: in how many rounds, at most.
        selection: share of the budget (as zCDP counts it) for all choices.
        model_megabytes: the junction tree may have so many.
        iterations: of mirror descent a round, at most.
    """

    name: ClassVar[str] = "conditional"
    short: ClassVar[Mapping[str, Any]] = {"iterations": 5}
    given: tuple[str, ...]
    known: NDArray[np.integer] | None = field(default=None, repr=False, compare=False)
    marginals: int = 0
    rounds: int = 6
    selection: float = 0.1
    model_megabytes: float = 4.0
    iterations: int = 150

    def __post_init__(self) -> None:
        check_settings(
            self,
            marginals=(0, 10_000),
            rounds=(1, 1_000),
            selection=(0.001, 0.5),
            model_megabytes=(0.01, 4_000.0),
            iterations=(1, 100_000),
        )

    def plan(self, schema: Schema, budget: Budget) -> Plan:
        """Less noise for the start than for what is chosen; calibrated to the whole."""
        start, chosen = len(self._start(schema, math.inf)), self._marginals(schema, budget)
        event, noise = choosing.priced(budget, start, chosen, self.selection)
        return Plan(budget, event, noise, *self._forecast(schema, chosen))

    def fit(self, data: Private[Table], session: Session, *, progress: Progress = silent) -> TreeModel:
        """START, then SELECT, MEASURE, GENERATE."""
        schema, noise = data.schema, session.plan.noise
        room = self.model_megabytes * 1e6 / _BYTES
        zeros = structural_zeros(schema, room / 2)
        start = self._start(schema, min(room / len(schema.modelled), schema.rows))
        among = [*self._candidates(schema), *start]
        progress(0.0, "measuring every column")
        tables = tabulate(data, named(among, schema))
        released = noisy_marginals(tables, session, named(start, schema), noise["start"])
        cliques = [*start, *(columns for columns, _ in zeros)]
        model = self._fitted(released, schema, zeros)
        rng = np.random.default_rng(session.noise.public_seed())
        batches = choosing.batches(round(noise.get("chosen", 0)), self.rounds)
        for k, batch in enumerate(batches):
            progress(0.1 + 0.8 * k / len(batches), f"round {k + 1}: choosing")
            # SELECT
            rows = estimated_rows(released)
            drawn = self._drawn(model, schema, choosing.sampled(rows, len(among)), rng)
            rules = self._rules(schema, among, cliques, room * (k + 1) / len(batches))
            picked = choosing.worst(tables, session, among, drawn, rows, rules, batch)
            # MEASURE
            released += noisy_marginals(tables, session, named(picked, schema), noise["marginals"])
            cliques += [clique for clique in picked if clique not in cliques]
            # GENERATE
            progress(0.1 + 0.8 * (k + 0.5) / len(batches), f"round {k + 1}: fitting")
            model = self._fitted(released, schema, zeros)
        progress(1.0, "fitted")
        return TreeModel(schema, self.name, model, tuple(released))

    # SELECT

    def _start(self, schema: Schema, most: float) -> list[Clique]:
        """Every column that is not given, with the target; by itself where both have more than ``most`` cells."""
        given = self._given(schema)
        first = choosing.first(schema, target_position(schema), most)
        alone = [clique for clique in first if not set(clique) & given]
        if not alone:  # the target is all there is to draw
            target = target_position(schema)
            return [(j,) for j in free_columns(schema) if j not in given or j == target]
        return alone

    def _candidates(self, schema: Schema) -> list[Clique]:
        """Pairs of which one column at least is not given; such a column with two given ones; pairs with the target."""
        given, target = self._given(schema), target_position(schema)
        free = [j for j in free_columns(schema) if j != target]
        own = [j for j in free if j not in given]
        pairs: list[Clique] = [pair for pair in itertools.combinations(free, 2) if not set(pair) <= given]
        triples: list[Clique] = [
            tuple(sorted((j, *two))) for two in itertools.combinations(sorted(given), 2) for j in own
        ]
        if target is not None:
            pairs += [tuple(sorted((j, target))) for j in sorted(given)]
            triples += [tuple(sorted((*pair, target))) for pair in itertools.combinations(free, 2)]
        return [*choosing.thinned(pairs, schema), *choosing.thinned(triples, schema)]

    def _rules(
        self, schema: Schema, among: Sequence[Clique], cliques: Sequence[Clique], room: float
    ) -> tuple[Rule, Rule]:
        """Which candidates may come next; all given columns that are measured lie in one clique."""
        given = self._given(schema)

        def together(now: Sequence[Clique]) -> list[Clique]:
            return [*now, tuple(sorted({j for clique in now for j in clique if j in given}))]

        return choosing.within_room(tuple(schema.domain.values()), among, cliques, room, together)

    def _drawn(self, model: Graphical, schema: Schema, count: int, rng: np.random.Generator) -> NDArray[np.int32]:
        """So many rows from the model, the given columns as in the known ones."""
        known = self._known(schema)
        some = known[rng.permutation(np.arange(count) % len(known))]
        given = sorted(self._given(schema))
        return model.sample(count, rng, {j: some[:, k] for k, j in enumerate(given)})

    # GENERATE

    def _fitted(self, released: Sequence[NoisyMarginal], schema: Schema, zeros: Sequence[Mask]) -> Graphical:
        """The model of what was measured, from the known rows on, with the given columns in its first clique."""
        rows, names, sizes = estimated_rows(released), list(schema.domain), tuple(schema.domain.values())
        targets = [
            Target(tuple(names.index(n) for n in m.columns), m.counts / rows, (rows / m.sigma) ** 2) for m in released
        ]
        given = sorted(self._given(schema))
        matter = tuple(j for j in given if any(j in target.columns for target in targets))
        cliques = [*(target.columns for target in targets), *(columns for columns, _ in zeros), matter]
        tree = junction_tree(sizes, cliques).rooted(matter)
        measured = sum(target.shares.size for target in targets)
        potentials = [torch.ones([sizes[j] for j in clique], dtype=torch.float64) for clique in tree.cliques]
        if matter:
            shape = [sizes[j] for j in matter]
            known = [self._known(schema)[:, given.index(j)] for j in matter]
            counts = np.bincount(np.ravel_multi_index(known, shape), minlength=math.prod(shape)) + _UNSEEN
            shares = (counts / counts.sum()).reshape(shape)
            targets.append(Target(matter, shares, targets[0].weight))
            wide = [sizes[j] if j in matter else 1 for j in tree.cliques[0]]
            potentials[0] = potentials[0] * torch.from_numpy(shares.reshape(wide))
        start = Graphical(tree, calibrated(tree, potentials))
        # The known rows are met from the start: they are no reason to stop before the measured tables are.
        misfit = _MISFIT * measured / sum(target.shares.size for target in targets)
        return fit(start.without(zeros), targets, self.iterations, misfit)

    def _given(self, schema: Schema) -> set[int]:
        return {j for j, name in enumerate(schema.modelled) if name in self.given}

    def _known(self, schema: Schema) -> NDArray[np.integer]:
        """The known codes, in the order of the schema's columns."""
        if self.known is None or not len(self.known):
            return np.zeros((1, len(self.given)), dtype=np.int32)
        order = sorted(range(len(self.given)), key=lambda k: list(schema.modelled).index(self.given[k]))
        return self.known[:, order]

    def _marginals(self, schema: Schema, budget: Budget) -> int:
        """How many are chosen: as for a table by itself, or up to twice as many where there are columns to tie."""
        candidates, own = len(self._candidates(schema)), len(schema.modelled) - len(self.given)
        if self.marginals or not candidates:
            return self.marginals if candidates else 0
        alone = choosing.how_many(schema, budget, target_position(schema), 0)
        return min(candidates, max(_LEAST, alone, min(2 * alone, 2 * own)))

    def _forecast(self, schema: Schema, chosen: int) -> tuple[float, float]:
        cells, candidates = self.model_megabytes * 1e6 / _BYTES / 4, len(self._candidates(schema))
        rounds = min(self.rounds, chosen)
        fits = self.iterations * rounds / 3
        reads = 5e-9 * (schema.rows + choosing.sampled(schema.rows, candidates) * rounds) * candidates
        trees = 5e-5 * len(schema.modelled) * candidates * chosen
        seconds = 2.0 + fits * (2e-7 * cells + 2e-4 * len(schema.modelled)) + reads + trees
        return seconds, 500.0 + 12 * self.model_megabytes + row_megabytes(schema)


@dataclass(frozen=True)
class Given:
    """A conditional model and the rows that it is asked about: the i-th row drawn is given the i-th codes.

    Attributes:
        tree: the conditional model.
        known: codes (n,) of every given column, by its position.
    """

    tree: TreeModel
    known: Mapping[int, NDArray[np.integer]]

    @property
    def schema(self) -> Schema:
        """The model's."""
        return self.tree.schema

    @property
    def marginals(self) -> tuple[NoisyMarginal, ...]:
        """The model's."""
        return self.tree.marginals

    def sample(self, n: int, *, where: Mapping[str, Any] | None = None, seed: int | None = None) -> Synthetic:
        """The ``n`` rows, in their order; there is no other condition than what is known."""
        rng = np.random.default_rng(seed)
        return finish(self.tree.graphical.sample(n, rng, self.known), self.schema, rng, where or {})

    def save(self, folder: Place) -> None:
        """The model, without the rows."""
        self.tree.save(folder)


def sample_given(model: Model, known: Mapping[int, NDArray[np.integer]], n: int, seed: int | None) -> Synthetic:
    """One row for each of ``n`` rows of known codes.

    Args:
        model: of :class:`Conditional`.
        known: codes (n,) of every given column, by its position among the modelled ones.
        n: how many rows.
        seed: reproducible draws.
    """
    if isinstance(model, ShapedModel):
        assert isinstance(model.inner, TreeModel)
        return replace(model, inner=Given(model.inner, known)).sample(n, seed=seed)
    assert isinstance(model, TreeModel)
    return Given(model, known).sample(n, seed=seed)


def load(folder: Place, parameters: Mapping[str, Any], schema: Schema) -> TreeModel:
    """Read a saved model; its digests have been checked."""
    return load_tree_model(folder, parameters, schema, Conditional.name)


__all__ = ["Conditional", "Given", "load", "sample_given"]
