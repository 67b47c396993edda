"""Noisy one-way marginals, columns drawn independently: the honest floor.

Any method that costs more must beat it. MEASURE every column's marginal with the discrete Gaussian
mechanism, all at once; GENERATE each column from its own, denoised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.errors import InputError
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import repeat
from synthkit.privacy.mechanisms.counts import NoisyMarginal, counts_event, noisy_marginals
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import Progress, Synthetic, codes_of, finish, silent, write_model_card
from synthkit.synthesizers.locked import Place
from synthkit.synthesizers.marginals import estimated_rows, simplex
from synthkit.synthesizers.posterior import posterior
from synthkit.synthesizers.shaped import shaped


@shaped
@dataclass(frozen=True, kw_only=True)
class Independent:
    """Independent columns from noisy one-way marginals. No settings."""

    name: ClassVar[str] = "independent"

    def plan(self, schema: Schema, budget: Budget) -> Plan:
        """One noisy marginal a column, equal noise."""
        columns = len(schema.modelled)
        sigma = calibrate(lambda scale: repeat(counts_event(scale, budget), columns), budget)
        event = repeat(counts_event(sigma, budget), columns)
        cells = sum(schema.domain.values())
        return Plan(
            budget, event, {"marginals": sigma}, seconds=1 + 2e-7 * schema.rows * columns, megabytes=300 + 1e-5 * cells
        )

    def fit(self, data: Private[Table], session: Session, *, progress: Progress = silent) -> IndependentModel:
        """MEASURE."""
        progress(0.0, "measuring marginals")
        queries = [(name,) for name in data.schema.modelled]
        released = noisy_marginals(data, session, queries, session.plan.noise["marginals"])
        progress(1.0, "measured")
        return IndependentModel(data.schema, tuple(released))


@dataclass(frozen=True)
class IndependentModel:
    """One noisy marginal a column."""

    schema: Schema
    marginals: tuple[NoisyMarginal, ...]

    def sample(self, n: int, *, where: Mapping[str, Any] | None = None, seed: int | None = None) -> Synthetic:
        """GENERATE. Conditions are met exactly: columns are independent."""
        rng = np.random.default_rng(seed)
        wanted = codes_of(where or {}, self.schema)
        codes, rows = np.empty((n, len(self.marginals)), dtype=np.int32), estimated_rows(self.marginals)
        for j, marginal in enumerate(self.marginals):
            if j in wanted:
                codes[:, j] = wanted[j]
            else:
                shares = simplex(posterior(marginal, self.schema, rows).counts / rows)
                codes[:, j] = rng.choice(len(shares), n, p=shares)
        return finish(codes, self.schema, rng, where or {})

    def save(self, folder: Place) -> None:
        """Write the noisy counts."""
        from safetensors.numpy import save

        arrays = {f"counts.{j}": marginal.counts for j, marginal in enumerate(self.marginals)}
        write_model_card(folder, Independent.name, self.schema, {"sigma": self.marginals[0].sigma}, save(arrays))


def load(folder: Place, parameters: Mapping[str, Any], schema: Schema) -> IndependentModel:
    """Read a saved model; its digests have been checked."""
    from safetensors.numpy import load as load_bytes

    arrays = load_bytes((folder / "weights.safetensors").read_bytes())
    marginals = []
    for j, (name, size) in enumerate(schema.domain.items()):
        counts = arrays.get(f"counts.{j}")
        if counts is None or counts.shape != (size,):
            raise InputError(f"{folder}: the weights do not fit the schema")
        marginals.append(NoisyMarginal((name,), counts, float(parameters["sigma"])))
    return IndependentModel(schema, tuple(marginals))


__all__ = ["Independent", "IndependentModel", "load"]
