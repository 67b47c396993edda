"""Numbers that keep their shape, and rare categories, for every method.

Domain compression, once and before the method proper. In steps:

    MEASURE   one noisy marginal over the fine public domain of every column that asks for it
    COMPRESS  few codes for each, and the distribution within them, from what was measured (``shapes.py``)
    FIT       the method itself, on the same rows under the schema with these codes
    DECODE    codes of synthetic rows to fine cells by their shares, then evenly within a cell

MEASURE is charged and takes a share of the budget; the method is priced for the rest, so that both
together cost what was asked. COMPRESS and DECODE are post-processing. That the method's codes follow from a
released answer is adaptive composition: what it runs, and with how much noise, was set before.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.errors import InputError
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget, Remainder
from synthkit.privacy.events import compose, repeat
from synthkit.privacy.mechanisms.counts import NoisyMarginal, counts_event, noisy_marginals
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers import base, shapes
from synthkit.synthesizers.base import (
    Discriminator,
    Method,
    Model,
    Progress,
    Synthetic,
    codes_of,
    discriminator_of,
    finish,
    silent,
    write_model_card,
)
from synthkit.synthesizers.locked import Place
from synthkit.synthesizers.shapes import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

M = TypeVar("M", bound=Method)

_MODEL = "shaped"  # what a saved model is called
_NOISE = "shapes"  # what the noise of the fine marginals is called in a plan
_SHARE = 0.1  # of the budget (as zCDP counts) if all columns are concerned


def shaped(kind: type[M]) -> type[M]:
    """A class decorator for methods: columns whose codes are to be found are found before the method runs.

    The method itself sees a schema without ``quantiles`` and without ``rare: merge``. What it runs must
    follow from the columns' names, the target and the number of rows, not from how many codes
    a column has: it is priced for the most codes that there can be, and run with those that were found.
    """
    plan, fit = kind.plan, kind.fit

    @functools.wraps(plan)
    def plan_shaped(self: M, schema: Schema, budget: Budget) -> Plan:
        if not shapes.concerned(schema):
            return plan(self, schema, budget)
        return _plan(functools.partial(plan, self), schema, budget)

    @functools.wraps(fit)
    def fit_shaped(self: M, data: Private[Table], session: Session, *, progress: Progress = silent) -> Model:
        if not shapes.concerned(data.schema):
            return fit(self, data, session, progress=progress)
        return _fit(functools.partial(fit, self), data, session, progress)

    kind.plan = plan_shaped  # type: ignore[method-assign,assignment]
    kind.fit = fit_shaped  # type: ignore[method-assign,assignment]
    return kind


def _plan(plan: Callable[[Schema, Budget], Plan], schema: Schema, budget: Budget) -> Plan:
    """The fine marginals by their share of the budget, the method by what they leave."""
    count = len(shapes.concerned(schema))
    alone = calibrate(lambda scale: repeat(counts_event(scale, budget), count), budget)
    sigma = alone / math.sqrt(_SHARE * count / len(schema.modelled))
    measured = repeat(counts_event(sigma, budget), count)
    inner = plan(shapes.promised(schema, sigma), Remainder.of(budget, measured))
    return Plan(
        budget,
        compose([measured, inner.event]),
        {**inner.noise, _NOISE: sigma},
        None if inner.seconds is None else inner.seconds + 1 + 3e-7 * schema.rows * len(schema.modelled),
        inner.megabytes,
    )


def _fit(fit: Callable[..., Model], data: Private[Table], session: Session, progress: Progress) -> ShapedModel:
    """MEASURE, COMPRESS, FIT."""
    schema, sigma = data.schema, session.plan.noise[_NOISE]
    progress(0.0, "measuring shapes")
    queries = [(name,) for name in shapes.concerned(schema)]
    measured = noisy_marginals(data.under(shapes.fine(schema)), session, queries, sigma)
    found = {m.columns[0]: shapes.shape(m.counts, m.sigma, m.columns[0], schema) for m in measured}
    rows = data.under(shapes.coarse(schema, found))
    inner = fit(rows, session, progress=lambda share, what: progress(0.05 + 0.95 * share, what))
    return ShapedModel(schema, inner, tuple(measured), found)


@dataclass(frozen=True)
class ShapedModel:
    """A method's model of codes that were found, and what they stand for.

    Attributes:
        schema: the public schema, as declared.
        inner: the method's own model, of the schema with the codes that were found.
        measured: the noisy marginals over the fine domains.
        shapes: by column, how its codes lie on its fine domain.
    """

    schema: Schema
    inner: Model
    measured: tuple[NoisyMarginal, ...]
    shapes: Mapping[str, Shape]
    _fine: Schema = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_fine", shapes.fine(self.schema))

    @property
    def marginals(self) -> tuple[NoisyMarginal, ...]:
        """The inner model's, and the fine ones summed to the codes of the public schema.

        The noise of a sum is that of its widest code; a code of fewer cells has less.
        """
        others = [m for m in self.inner.marginals if not set(m.columns) & set(self.shapes)]
        found = []
        for marginal in self.measured:
            codes = shapes.public_codes(self.schema)[marginal.columns[0]]
            summed = np.bincount(codes, weights=marginal.counts).astype(np.float64)
            sigma = marginal.sigma * math.sqrt(np.bincount(codes).max())
            found.append(NoisyMarginal(marginal.columns, summed, sigma))
        return (*found, *others)

    def sample(self, n: int, *, where: Mapping[str, Any] | None = None, seed: int | None = None) -> Synthetic:
        """DECODE what the inner model draws. It meets conditions up to their code; here they are met exactly."""
        drawn = self.inner.sample(n, where=where, seed=seed)
        rng = np.random.default_rng(None if seed is None else [seed, 1])
        names, fixed = list(self.schema.modelled), codes_of(where or {}, self._fine)
        cells = drawn.codes.copy()
        for name, found in self.shapes.items():
            j = names.index(name)
            cells[:, j] = fixed[j] if j in fixed else found.draw(drawn.codes[:, j], rng)
        made = finish(cells, self._fine, rng, where or {})
        codes = made.codes.copy()
        for name, public in shapes.public_codes(self.schema).items():
            codes[:, names.index(name)] = public[made.codes[:, names.index(name)]]
        return Synthetic(made.frame, codes)

    def discriminator(self) -> Discriminator | None:
        """The inner model's, of the codes that were found."""
        return discriminator_of(self.inner)

    def save(self, folder: Place) -> None:
        """Write the fine counts and shares, and the inner model in a folder of its own."""
        from safetensors.numpy import save

        arrays: dict[str, NDArray[Any]] = {}
        for j, marginal in enumerate(self.measured):
            found = self.shapes[marginal.columns[0]]
            arrays |= {f"counts.{j}": marginal.counts, f"codes.{j}": found.codes, f"shares.{j}": found.shares}
        write_model_card(folder, _MODEL, self.schema, {"sigma": self.measured[0].sigma}, save(arrays))
        self.inner.save(folder / "inner")


def load(folder: Place, parameters: Mapping[str, Any], schema: Schema) -> ShapedModel:
    """Read a saved model; its digests have been checked."""
    from safetensors.numpy import load as load_bytes

    arrays, inner = load_bytes((folder / "weights.safetensors").read_bytes()), base.load(folder / "inner")
    names, domain = shapes.concerned(schema), shapes.fine(schema).domain
    measured, found = [], {}
    for j, name in enumerate(names):
        kept = [arrays[key] for key in (f"counts.{j}", f"codes.{j}", f"shares.{j}") if key in arrays]
        if [array.shape for array in kept] != [(domain[name],)] * 3:
            raise InputError(f"{folder}: the weights do not fit the schema")
        counts, codes, shares = kept
        measured.append(NoisyMarginal((name,), counts, float(parameters["sigma"])))
        found[name] = Shape(codes, shares)
    if inner.schema != shapes.coarse(schema, found):
        raise InputError(f"{folder / 'inner'}: belongs to another model; restore it or fit again")
    return ShapedModel(schema, inner, tuple(measured), found)


__all__ = ["ShapedModel", "load", "shaped"]
