"""The free explanation of a released model of two linked tables: each table's, side by side.

Parents are explained as the table that they are, with the number of their children as a column. Children are
explained with the columns of their parent beside their own, as they are drawn: their downstream model may decide by
what the parent is. Everything is computed from rows that the model draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from synthkit.data.linked import LinkedSchema
from synthkit.data.schema import Schema
from synthkit.errors import ExplanationError
from synthkit.explain.model import Explanation, Subject, explain_model
from synthkit.privacy.mechanisms.counts import NoisyMarginal
from synthkit.synthesizers.base import Model, Progress, Synthetic, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDS = 20  # draws of parents, until there are as many children as are wanted


class LinkedDrawing(Protocol):
    """A released model that draws parents and their children."""

    @property
    def schema(self) -> LinkedSchema: ...
    @property
    def parents(self) -> Model: ...
    @property
    def children(self) -> Model: ...

    def sample(self, n: int, *, seed: int | None = None) -> Any: ...


@dataclass(frozen=True)
class _Children:
    """The children as one table, their parents' columns among theirs."""

    linked: LinkedDrawing

    @property
    def schema(self) -> Schema:
        return self.linked.schema.widened

    @property
    def marginals(self) -> tuple[NoisyMarginal, ...]:
        known = set(self.schema.modelled)
        return tuple(marginal for marginal in self.linked.children.marginals if set(marginal.columns) <= known)

    def sample(self, n: int, *, where: Mapping[str, Any] | None = None, seed: int | None = None) -> Synthetic:
        """The first ``n`` children of parents that are drawn; only their codes are looked at here."""
        both = self.linked.schema
        parents = max(100, 2 * n * both.parent.rows // max(1, both.child.rows))
        found: list[NDArray[np.int32]] = []
        for k in range(_ROUNDS):
            drawn = self.linked.sample(parents, seed=None if seed is None else seed + 7919 * k)
            found.append(drawn.child_codes)
            if sum(map(len, found)) >= n:
                codes = np.concatenate(found)[:n]
                return Synthetic(drawn.children, codes)
        raise ExplanationError(f"the model draws hardly any rows of {both.child.name}: there is nothing to explain")

    def save(self, folder: Any) -> None:
        raise NotImplementedError("a view of a model, to be explained; save the model itself")


def explain_linked(
    model: LinkedDrawing, *, rows: int = 200, seeds: int = 5, seed: int = 0, progress: Progress = silent
) -> Explanation:
    """Explain a released model of two linked tables. Free: no private value is in reach.

    Args:
        model: as fitting released it.
        rows, seeds, seed, progress: as for :func:`~synthkit.explain.model.explain_model`, for each table.

    Raises:
        ExplanationError: as there; or hardly any child is drawn.
    """
    parent, child = model.schema.parent.name, model.schema.child.name
    found: Sequence[Explanation] = [
        explain_model(part, rows=rows, seeds=seeds, seed=seed, progress=_half(progress, k, name))
        for k, (name, part) in enumerate(((parent, model.parents), (child, _Children(model))))
    ]
    subjects: list[Subject] = []
    defects, missing = [], []
    for name, one in zip((parent, child), found, strict=True):
        subjects += [_named(subject, name) for subject in one.subjects]
        defects += [replace(defect, verdict=f"{name}: {defect.verdict}") for defect in one.defects]
        missing += [f"{name}: {told}" for told in one.missing]
    return Explanation(f"{parent} and {child}", rows, tuple(subjects), tuple(defects), tuple(missing))


def _named(subject: Subject, table: str) -> Subject:
    return replace(
        subject,
        name=f"{table}-{subject.name}",
        title=f"{table}, {subject.title[0].lower()}{subject.title[1:]}",
        verdict=f"{table}: {subject.verdict}",
    )


def _half(progress: Progress, which: int, table: str) -> Progress:
    return lambda share, what: progress((which + share) / 2, f"{table}: {what}")


__all__ = ["LinkedDrawing", "explain_linked"]
