"""Adaptive, label-aware select-measure-generate on a junction tree.

AIM (McKenna, Mullins, Sheldon and Miklau 2022, arXiv:2201.12677) with three changes: several marginals
are chosen and measured a round instead of one, so that the model is fitted a few times and not
hundreds; the noise is set beforehand, less for the start than for what is chosen, so that the price
is known before the data open; and the workload is label-aware, since what predicts the target is what a
table is mostly used for.

    START     measure every column with the target
    SELECT    the exponential mechanism picks the marginals that the model gets most wrong
    MEASURE   with discrete Gaussian noise
    GENERATE  fit the graphical model to everything measured (``graphical.py``), then again SELECT
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from synthkit.data.encoding import Table, row_megabytes
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.errors import MethodError
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.counts import Marginals, noisy_marginals, tabulate
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers import choosing
from synthkit.synthesizers.base import Progress, check_settings, silent
from synthkit.synthesizers.choosing import free_columns, named
from synthkit.synthesizers.graphical import Clique
from synthkit.synthesizers.locked import Place
from synthkit.synthesizers.marginals import estimated_rows, target_position
from synthkit.synthesizers.shaped import shaped
from synthkit.synthesizers.tree_model import Fitted, TreeModel, fitted, load_tree_model, structural_zeros

_BYTES = 8  # a cell


@shaped
@dataclass(frozen=True, kw_only=True)
class Aim:
    """Settings of AIM. All are public; none is tuned on private data.

    Attributes:
        marginals: how many are chosen; 0: by rule, more where there are more rows for the noise.
        rounds: in how many rounds, at most; the model is fitted after each.
        label_aware: measure every column with the target, and pairs with it. Otherwise each column
            by itself, and the target is a column like any other: AIM as published.
        selection: share of the budget (as zCDP counts it) for all choices.
        model_megabytes: the junction tree may have so many; what would make it larger is not chosen.
        iterations: of mirror descent a round, at most.
    """

    name: ClassVar[str] = "aim"
    short: ClassVar[Mapping[str, Any]] = {"iterations": 5}
    marginals: int = 0
    rounds: int = 16
    label_aware: bool = True
    selection: float = 0.1
    model_megabytes: float = 16.0
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
        if not isinstance(self.label_aware, bool):
            raise MethodError(f"Aim: label_aware is {self.label_aware!r}; it must be true or false")

    def plan(self, schema: Schema, budget: Budget) -> Plan:
        """Less noise for the start than for what is chosen; calibrated to the whole."""
        target = self._target(schema)
        start, chosen = len(free_columns(schema)), choosing.how_many(schema, budget, target, self.marginals)
        if target is not None and start > 1:
            start -= 1  # the target comes with the others
        event, noise = choosing.priced(budget, start, chosen, self.selection)
        return Plan(budget, event, noise, *self._forecast(schema, chosen))

    def fit(self, data: Private[Table], session: Session, *, progress: Progress = silent) -> TreeModel:
        """START, then SELECT, MEASURE, GENERATE."""
        schema, noise = data.schema, session.plan.noise
        room = self.model_megabytes * 1e6 / _BYTES
        zeros = structural_zeros(schema, room / 2)
        target = self._target(schema)
        start = choosing.first(schema, target, min(room / len(schema.modelled), schema.rows))
        among = [*choosing.candidates(schema, target), *start]
        progress(0.0, "measuring every column")
        tables = tabulate(data, named(among, schema))
        released = noisy_marginals(tables, session, named(start, schema), noise["start"])
        cliques = [*start, *(columns for columns, _ in zeros)]
        known = fitted(None, released, schema, zeros, self.iterations)
        rng = np.random.default_rng(session.noise.public_seed())
        batches = choosing.batches(round(noise.get("chosen", 0)), self.rounds)
        for k, batch in enumerate(batches):
            progress(0.1 + 0.8 * k / len(batches), f"round {k + 1}: choosing")
            # SELECT
            now = room * (k + 1) / len(batches)
            picked = self._select(tables, session, known, among, cliques, batch, now, rng)
            # MEASURE
            released = noisy_marginals(tables, session, named(picked, schema), noise["marginals"])
            cliques += [clique for clique in picked if clique not in cliques]
            # GENERATE
            progress(0.1 + 0.8 * (k + 0.5) / len(batches), f"round {k + 1}: fitting")
            known = fitted(known, released, schema, zeros, self.iterations)
        progress(1.0, "fitted")
        return TreeModel(schema, self.name, known.graphical, known.released)

    def _select(
        self,
        tables: Private[Marginals],
        session: Session,
        known: Fitted,
        among: Sequence[Clique],
        cliques: Sequence[Clique],
        count: int,
        room: float,
        rng: np.random.Generator,
    ) -> list[Clique]:
        """The ``count`` candidates that the model misses most; a tree of ``room`` cells must hold them."""
        fits, held = choosing.within_room(tuple(tables.schema.domain.values()), among, cliques, room)

        def fresh(chosen: Sequence[int], k: int) -> bool:
            return choosing.apart(among, chosen, k) and fits(chosen, k)

        rows = estimated_rows(known.released)
        drawn = known.graphical.sample(choosing.sampled(rows, len(among)), rng)
        # Where nothing new has room, something is measured again.
        return choosing.worst(tables, session, among, drawn, rows, [fresh, held], count)

    def _target(self, schema: Schema) -> int | None:
        return target_position(schema) if self.label_aware else None

    def _forecast(self, schema: Schema, chosen: int) -> tuple[float, float]:
        sizes, columns = list(schema.domain.values()), len(schema.modelled)
        candidates = choosing.candidates(schema, self._target(schema))
        rounds, drawn = min(self.rounds, chosen), choosing.sampled(schema.rows, len(candidates))
        counting = 3e-9 * (schema.rows + rounds * drawn) * len(candidates)
        drawing = 1e-7 * rounds * drawn * columns
        # The tree seldom fills its room: only where much is chosen, of much.
        cells = self.model_megabytes * 1e6 / _BYTES * min(1.0, chosen / choosing.MOST_MARGINALS) ** 3
        step = 5e-6 * (3 * (columns + chosen) + 10 * columns) + 1.2e-8 * cells
        tables = sum(math.prod(sizes[j] for j in clique) for clique in candidates)
        seconds = 1.5 + counting + drawing + rounds * self.iterations / 2 * step
        return seconds, 470.0 + 8 * self.model_megabytes + row_megabytes(schema) + 16e-6 * tables


def load(folder: Place, parameters: Mapping[str, Any], schema: Schema) -> TreeModel:
    """Read a saved model; its digests have been checked."""
    return load_tree_model(folder, parameters, schema, Aim.name)


__all__ = ["Aim", "load"]
