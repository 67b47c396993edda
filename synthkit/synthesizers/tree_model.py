"""What a method that measures marginals releases: a graphical model fitted to all of them.

Fitting stops early, on purpose. The true table misses a noisy cell by one standard deviation, so a
model that comes nearer than that has learnt noise. It begins at the columns' independence (or at the
model before) and goes towards the measurements only until the mean squared gap of a cell is
``MISFIT`` variances of its noise (Morozov's discrepancy principle, 1966; a little below 1, since
cells that are empty in truth cannot be fitted on their negative side).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from synthkit.data.constraints import Mask, masks
from synthkit.data.schema import Schema
from synthkit.errors import InputError, JobError
from synthkit.privacy.mechanisms.counts import NoisyMarginal
from synthkit.synthesizers.base import Synthetic, codes_of, finish, write_model_card
from synthkit.synthesizers.descent import Target, fit
from synthkit.synthesizers.even import even_rows
from synthkit.synthesizers.graphical import Graphical, Tree, junction_tree, tree_cells
from synthkit.synthesizers.locked import Place
from synthkit.synthesizers.marginals import estimated_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISFIT = 0.75


@dataclass(frozen=True)
class TreeModel:
    """A fitted graphical model, and the noisy marginals behind it."""

    schema: Schema
    method: str
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
        rows = even_rows(lambda count: model.sample(count, rng), n, model.tree.sizes, rng)
        return finish(rows, self.schema, rng, where or {})

    def save(self, folder: Place) -> None:
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
        write_model_card(folder, self.method, self.schema, parameters, save(arrays))


def load_tree_model(folder: Place, parameters: Mapping[str, Any], schema: Schema, method: str) -> TreeModel:
    """Read a saved model; its digests have been checked."""
    import torch
    from safetensors.numpy import load as load_bytes

    arrays = load_bytes((folder / "weights.safetensors").read_bytes())
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
    return TreeModel(schema, method, Graphical(Tree(sizes, cliques, parents, separators), beliefs), measured)


def fitted(
    before: Graphical | None,
    released: Sequence[NoisyMarginal],
    schema: Schema,
    zeros: Sequence[Mask],
    iterations: int,
) -> Graphical:
    """The model of what was measured, from ``before`` on; impossible combinations have probability zero.

    Args:
        before: a model of less, as the start; None: independent columns.
        released: all measurements; every column is in one.
        schema: the public schema.
        zeros: tables over codes, False where impossible.
        iterations: of mirror descent, at most.
    """
    rows, names = estimated_rows(released), list(schema.domain)
    targets = []
    for marginal in released:
        columns = tuple(names.index(name) for name in marginal.columns)
        targets.append(Target(columns, marginal.counts / rows, (rows / marginal.sigma) ** 2))
    cliques = [*(target.columns for target in targets), *(columns for columns, _ in zeros)]
    tree = junction_tree(tuple(schema.domain.values()), cliques)
    start = before.on(tree) if before else Graphical(tree)
    return fit(start.without(zeros), targets, iterations, MISFIT)


def structural_zeros(schema: Schema, cells: float) -> list[Mask]:
    """The schema's impossible combinations, as far as a junction tree of so many cells holds them.

    What is left out is met all the same: rows that break a constraint are repaired.
    """
    sizes, kept = list(schema.domain.values()), list[Mask]()
    for mask in sorted(masks(schema), key=lambda mask: mask[1].size):
        if tree_cells(sizes, [columns for columns, _ in (*kept, mask)]) <= cells:
            kept.append(mask)
    return kept


def _one_ways(measured: Sequence[NoisyMarginal], schema: Schema) -> list[NoisyMarginal]:
    """Each column's counts, from the first measurement that holds it: sums of noisy cells."""
    found = []
    for name in schema.domain:
        marginal = next((m for m in measured if name in m.columns), None)
        if marginal is None or len(marginal.columns) == 1:
            continue
        axis = marginal.columns.index(name)
        others = tuple(k for k in range(len(marginal.columns)) if k != axis)
        counts: NDArray[np.float64] = marginal.counts.sum(axis=others)
        found.append(NoisyMarginal((name,), counts, marginal.sigma * math.sqrt(marginal.counts.size / counts.size)))
    return found


__all__ = ["MISFIT", "TreeModel", "fitted", "load_tree_model", "structural_zeros"]
