"""What a method that measures marginals releases: a graphical model fitted to all of them.

A measurement is denoised (``posterior.py``) by what was expected of it: independent columns, or the model
before. Each column by itself is one more target, the mean of what all measurements say of it. And fitting
stops early, on purpose: the true table misses a noisy cell by one standard deviation, so a model that comes
much nearer has learnt noise. It goes towards the measurements only until the mean squared gap of a cell is
``MISFIT`` of its posterior variances (Morozov's discrepancy principle, 1966).
"""

from __future__ import annotations

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
from synthkit.synthesizers.posterior import posterior

if TYPE_CHECKING:
    from numpy.typing import NDArray

MISFIT = 0.4
_ALONE = 2.0  # weight of columns by themselves, by that of marginals: every pair leans on them


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
        measured = {marginal.columns for marginal in self.measured}
        return (*(s for s in _sums(self.measured, self.schema) if s.columns not in measured), *self.measured)

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


@dataclass(frozen=True)
class Fitted:
    """A model of what was measured so far.

    Attributes:
        graphical: the model.
        released: all measurements.
        targets: the same, denoised.
    """

    graphical: Graphical
    released: tuple[NoisyMarginal, ...]
    targets: tuple[Target, ...]


def fitted(
    before: Fitted | None,
    new: Sequence[NoisyMarginal],
    schema: Schema,
    zeros: Sequence[Mask],
    iterations: int,
) -> Fitted:
    """The model of what was measured, from ``before`` on; impossible combinations have probability zero.

    Args:
        before: a model of less, as the start; None: independent columns.
        new: measured since then; every column is in one, if there was nothing before.
        schema: the public schema.
        zeros: tables over codes, False where impossible.
        iterations: of mirror descent, at most.
    """
    released = (*(before.released if before else ()), *new)
    targets = before.targets if before else ()
    rows, names = estimated_rows(released), list(schema.domain)
    columns = [tuple(names.index(name) for name in marginal.columns) for marginal in new]
    cliques = [*(target.columns for target in targets), *columns, *(columns for columns, _ in zeros)]
    tree = junction_tree(tuple(schema.domain.values()), cliques)
    start = before.graphical.on(tree) if before else Graphical(tree)
    expected = [rows * start.marginal(clique).numpy() for clique in columns] if before else None
    targets += tuple(denoised(new, schema, rows, expected))
    wanted = [*targets, *alone(released, schema, rows)]
    return Fitted(fit(start.without(zeros), wanted, iterations, MISFIT), released, targets)


def denoised(
    marginals: Sequence[NoisyMarginal],
    schema: Schema,
    rows: float,
    expected: Sequence[NDArray[np.float64]] | None = None,
    weight: float = 1.0,
) -> list[Target]:
    """What to fit: posterior means, and weights by posterior variances.

    Args:
        marginals: measured.
        schema: the public schema.
        rows: estimated number of rows.
        expected: the counts that a model has had for each; None: those of independent columns.
        weight: of all of them.
    """
    names, targets = list(schema.domain), []
    for k, marginal in enumerate(marginals):
        known = posterior(marginal, schema, rows, expected[k] if expected else None)
        columns = tuple(names.index(name) for name in marginal.columns)
        targets.append(Target(columns, known.counts / rows, weight * rows**2 / known.variance))
    return targets


def alone(released: Sequence[NoisyMarginal], schema: Schema, rows: float) -> list[Target]:
    """Each column by itself, as all measurements together have it."""
    return denoised(_sums(released, schema), schema, rows, weight=_ALONE)


def structural_zeros(schema: Schema, cells: float) -> list[Mask]:
    """The schema's impossible combinations, as far as a junction tree of so many cells holds them.

    What is left out is met all the same: rows that break a constraint are repaired.
    """
    sizes, kept = list(schema.domain.values()), list[Mask]()
    for mask in sorted(masks(schema), key=lambda mask: mask[1].size):
        if tree_cells(sizes, [columns for columns, _ in (*kept, mask)]) <= cells:
            kept.append(mask)
    return kept


def _sums(released: Sequence[NoisyMarginal], schema: Schema) -> list[NoisyMarginal]:
    """Each column's counts: the mean of all measurements that hold it, weighted by their precision."""
    found = []
    for name in schema.domain:
        sums = []
        for marginal in released:
            if name in marginal.columns:
                axis = marginal.columns.index(name)
                counts = marginal.counts.sum(axis=tuple(k for k in range(marginal.counts.ndim) if k != axis))
                sums.append((counts, counts.size / marginal.counts.size / marginal.sigma**2))
        if sums:
            counts, precisions = zip(*sums, strict=True)
            mean = np.average(counts, axis=0, weights=precisions)
            found.append(NoisyMarginal((name,), mean, sum(precisions) ** -0.5))
    return found


__all__ = ["MISFIT", "Fitted", "TreeModel", "alone", "denoised", "fitted", "load_tree_model", "structural_zeros"]
