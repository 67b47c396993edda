"""Adaptive, label-aware select-measure-generate on a junction tree.

AIM (McKenna, Mullins, Sheldon and Miklau 2022, arXiv:2201.12677) with three changes: several marginals
are chosen and measured a round instead of one, so that the model is fitted a few times and not
hundreds; the noise of every round is set beforehand, so that the price is known before the data open;
and the workload is label-aware, since what predicts the target is what a table is mostly used for.

    START     measure every column with the target
    SELECT    the exponential mechanism picks the marginals that the model gets most wrong
    MEASURE   with discrete Gaussian noise
    GENERATE  fit the graphical model to everything measured (``graphical.py``), then again SELECT
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from dp_accounting import DpEvent

from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.errors import InputError, JobError
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import ExponentialMechanismDpEvent, compose, repeat
from synthkit.privacy.mechanisms.counts import NoisyMarginal, counts_event, exact_marginal, noisy_marginals
from synthkit.privacy.mechanisms.select import select_several
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import Progress, Synthetic, check_settings, codes_of, finish, silent, write_model_card
from synthkit.synthesizers.graphical import Clique, Graphical, Target, Tree, fit, junction_tree
from synthkit.synthesizers.marginals import estimated_rows, target_position

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_CANDIDATES = 3_000  # more are thinned out evenly, by position
_SAMPLED = 4  # the model's marginals are read off so many rows for every real one
_BYTES = 8  # a cell


@dataclass(frozen=True, kw_only=True)
class Aim:
    """Settings of AIM. All are public; none is tuned on private data.

    Attributes:
        rounds: how often marginals are chosen, measured and fitted.
        batch: marginals a round.
        start: share of the budget (as zCDP counts it) for every column with the target.
        selection: share for all choices; the rounds share the rest evenly.
        model_megabytes: the junction tree may have so many; what would make it larger is not chosen.
        iterations: of mirror descent a round; the last has three times as many.
    """

    name: ClassVar[str] = "aim"
    short: ClassVar[Mapping[str, Any]] = {"iterations": 5}
    rounds: int = 16
    batch: int = 2
    start: float = 0.2
    selection: float = 0.06
    model_megabytes: float = 8.0
    iterations: int = 60

    def __post_init__(self) -> None:
        check_settings(
            self,
            rounds=(1, 100),
            batch=(1, 1_000),
            start=(0.01, 0.9),
            selection=(0.001, 0.5),
            model_megabytes=(0.01, 4_000.0),
            iterations=(1, 100_000),
        )

    def plan(self, schema: Schema, budget: Budget) -> Plan:
        """Noise by shares of the budget; one scale for all, calibrated to the whole."""
        start, rounds = len(_start(schema)), self.rounds if _candidates(schema) else 0
        left = 1 - self.start - self.selection if rounds else 0.0
        first = math.sqrt(start / (self.start if rounds else 1.0))
        later = math.sqrt(rounds * self.batch / left) if rounds else 0.0
        # At scale s a measurement of noise c s costs 1 / (2 c^2 s^2), a choice of epsilon e costs e^2 / 8.
        chosen = 2 * math.sqrt(self.selection / (rounds * self.batch)) if rounds else 0.0
        radius = budget.unit.max_rows

        def event(scale: float) -> DpEvent:
            parts = [repeat(counts_event(first * scale, budget), start)]
            if rounds:
                parts.append(repeat(counts_event(later * scale, budget), rounds * self.batch))
                parts.append(repeat(ExponentialMechanismDpEvent(chosen * radius / scale), rounds * self.batch))
            return compose(parts)

        scale = calibrate(event, budget)
        noise = {"start": first * scale}
        if rounds:
            noise |= {"rounds": later * scale, "selection": chosen * radius / scale}
        return Plan(budget, event(scale), noise, *self._forecast(schema))

    def fit(self, data: Private[Table], session: Session, *, progress: Progress = silent) -> AimModel:
        """START, then SELECT, MEASURE, GENERATE."""
        schema, noise = data.schema, session.plan.noise
        sizes, names = tuple(schema.domain.values()), list(schema.domain)
        progress(0.0, "measuring every column with the target")
        released = noisy_marginals(data, session, [_named(c, names) for c in _start(schema)], noise["start"])
        cliques: list[Clique] = list(_start(schema))
        model = _fitted(None, released, sizes, names, self.iterations)
        candidates = _candidates(schema)
        rng = np.random.default_rng(session.noise.public_seed())
        for k in range(self.rounds if candidates else 0):
            progress(0.1 + 0.8 * k / self.rounds, f"round {k + 1}: choosing")
            room = self.model_megabytes * 1e6 / _BYTES * (k + 1) / self.rounds
            # SELECT
            picked = self._select(data, session, model, released, candidates, cliques, room, rng)
            # MEASURE
            queries = [_named(clique, names) for clique in picked]
            released += noisy_marginals(data, session, queries, noise["rounds"])
            cliques += [clique for clique in picked if clique not in cliques]
            # GENERATE
            progress(0.1 + 0.8 * (k + 0.5) / self.rounds, f"round {k + 1}: fitting")
            last = k == self.rounds - 1
            model = _fitted(model, released, sizes, names, self.iterations * (3 if last else 1))
        progress(1.0, "fitted")
        return AimModel(schema, model, tuple(released))

    def _select(
        self,
        data: Private[Table],
        session: Session,
        model: Graphical,
        released: Sequence[NoisyMarginal],
        candidates: Sequence[Clique],
        cliques: Sequence[Clique],
        room: float,
        rng: np.random.Generator,
    ) -> list[Clique]:
        schema, noise = data.schema, session.plan.noise
        names, sizes = list(schema.domain), tuple(schema.domain.values())
        rows = estimated_rows(released)
        queries = [_named(clique, names) for clique in candidates]
        drawn = model.sample(min(max(1_000, round(_SAMPLED * rows)), 400_000), rng)
        expected = [exact_marginal(drawn, schema, query) * (rows / len(drawn)) for query in queries]
        penalty = [math.sqrt(2 / math.pi) * noise["rounds"] * table.size for table in expected]

        def scores(codes: NDArray[np.int32]) -> NDArray[np.float64]:
            # One row more or less moves one cell of the exact marginal by one, and so the L1 error.
            gaps = [
                np.abs(exact_marginal(codes, schema, query) - table).sum() - bias
                for query, table, bias in zip(queries, expected, penalty, strict=True)
            ]
            return np.array(gaps)

        def allowed(chosen: Sequence[int]) -> NDArray[np.bool_]:
            now = [*cliques, *(candidates[k] for k in chosen)]
            taken = [set(candidates[k]) for k in chosen]
            return np.array(
                [
                    not any(set(clique) <= other or other <= set(clique) for other in taken)
                    and junction_tree(sizes, [*now, clique]).cells <= room
                    for clique in candidates
                ]
            )

        what = f"one of {len(candidates)} marginals"
        picks = select_several(data, session, scores, allowed, self.batch, 1.0, noise["selection"], what)
        return [candidates[k] for k in picks]

    def _forecast(self, schema: Schema) -> tuple[float, float]:
        # The tree seldom fills its room: it grows with what is chosen, and chosen are some large cliques.
        sizes, candidates = list(schema.domain.values()), _candidates(schema)
        mean = np.mean([math.prod(sizes[j] for j in clique) for clique in candidates]) if candidates else 1.0
        cells = min(self.model_megabytes * 1e6 / _BYTES, 4 * float(mean) * self.rounds * self.batch)
        fits = self.iterations * (self.rounds + 3)
        seconds = 3.0 + fits * (2e-7 * cells + 2e-4 * len(schema.modelled)) + 5e-8 * schema.rows * len(candidates)
        return seconds, 500.0 + 12 * self.model_megabytes + 2e-4 * schema.rows * len(schema.modelled)


@dataclass(frozen=True)
class AimModel:
    """The fitted graphical model, and the noisy marginals behind it."""

    schema: Schema
    graphical: Graphical
    measured: tuple[NoisyMarginal, ...]

    @property
    def marginals(self) -> tuple[NoisyMarginal, ...]:
        """What was measured, and the one-way marginals that follow from it."""
        return (*_one_ways(self.measured, self.schema), *self.measured)

    def sample(self, n: int, *, where: Mapping[str, Any] | None = None, seed: int | None = None) -> Synthetic:
        """Draw rows; conditions are met exactly, by conditioning the model."""
        rng = np.random.default_rng(seed)
        wanted = codes_of(where or {}, self.schema)
        try:
            model = self.graphical.given(wanted) if wanted else self.graphical
        except ValueError:
            raise JobError("no synthetic row meets the condition: the model gives it no probability") from None
        return finish(model.sample(n, rng), self.schema, rng, where or {})

    def save(self, folder: Path) -> None:
        """Write the cliques' marginals and the measurements."""
        from safetensors.numpy import save

        tree = self.graphical.tree
        arrays = {f"clique.{k}": belief.numpy() for k, belief in enumerate(self.graphical.beliefs)}
        arrays |= {f"measured.{k}": marginal.counts for k, marginal in enumerate(self.measured)}
        parameters = {
            "cliques": [list(clique) for clique in tree.cliques],
            "parents": list(tree.parents),
            "measured": [{"columns": list(m.columns), "sigma": m.sigma} for m in self.measured],
        }
        write_model_card(folder, Aim.name, self.schema, parameters, save(arrays))


def load(folder: Path, parameters: Mapping[str, Any], schema: Schema) -> AimModel:
    """Read a saved model; its digests have been checked."""
    import torch
    from safetensors.numpy import load_file

    arrays = load_file(folder / "weights.safetensors")
    sizes = tuple(schema.domain.values())
    cliques = tuple(tuple(clique) for clique in parameters["cliques"])
    parents = tuple(parameters["parents"])
    separators = tuple(
        tuple(sorted(set(clique) & set(cliques[parent]))) if parent >= 0 else ()
        for clique, parent in zip(cliques, parents, strict=True)
    )
    beliefs = [torch.from_numpy(arrays[f"clique.{k}"].copy()) for k in range(len(cliques))]
    for clique, belief in zip(cliques, beliefs, strict=True):
        if list(belief.shape) != [sizes[j] for j in clique]:
            raise InputError(f"{folder}: the weights do not fit the schema")
    measured = tuple(
        NoisyMarginal(tuple(entry["columns"]), arrays[f"measured.{k}"], float(entry["sigma"]))
        for k, entry in enumerate(parameters["measured"])
    )
    return AimModel(schema, Graphical(Tree(sizes, cliques, parents, separators), beliefs), measured)


def _fitted(
    before: Graphical | None,
    released: Sequence[NoisyMarginal],
    sizes: tuple[int, ...],
    names: list[str],
    iterations: int,
) -> Graphical:
    rows = estimated_rows(released)
    targets = []
    for marginal in released:
        columns = tuple(names.index(name) for name in marginal.columns)
        targets.append(Target(columns, marginal.counts / rows, (rows / marginal.sigma) ** 2))
    tree = junction_tree(sizes, [target.columns for target in targets])
    return fit(before.on(tree) if before else Graphical(tree), targets, iterations)


def _one_ways(measured: Sequence[NoisyMarginal], schema: Schema) -> list[NoisyMarginal]:
    """Each column's counts, from the first measurement that holds it: sums of noisy cells."""
    found = []
    for name in schema.domain:
        marginal = next((m for m in measured if name in m.columns), None)
        if marginal is None or len(marginal.columns) == 1:
            continue
        axis = marginal.columns.index(name)
        others = tuple(k for k in range(len(marginal.columns)) if k != axis)
        counts = marginal.counts.sum(axis=others)
        found.append(NoisyMarginal((name,), counts, marginal.sigma * math.sqrt(marginal.counts.size / counts.size)))
    return found


def _start(schema: Schema) -> list[Clique]:
    """Every column with the target; every column by itself where there is none, or nothing else."""
    target, columns = target_position(schema), range(len(schema.modelled))
    if target is None or len(columns) == 1:
        return [(j,) for j in columns]
    return [tuple(sorted((j, target))) for j in columns if j != target]


def _candidates(schema: Schema) -> list[Clique]:
    """All pairs of columns and, with a target, all pairs together with it."""
    target = target_position(schema)
    others = [j for j in range(len(schema.modelled)) if j != target]
    pairs: list[Clique] = list(itertools.combinations(others, 2))
    if target is not None:
        pairs += [tuple(sorted((*pair, target))) for pair in pairs]
    return pairs[:: max(1, math.ceil(len(pairs) / _MOST_CANDIDATES))]


def _named(clique: Clique, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(names[j] for j in clique)


__all__ = ["Aim", "AimModel", "load"]
