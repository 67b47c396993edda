"""What is replayed: a method's fit, from the table that a user hands in to what the model gives out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from synthkit.audit.replay import Opener, Program
from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.data.tables import FrameSource, read
from synthkit.privacy.budget import Budget
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.rows import bound_contributions
from synthkit.privacy.session import Session


class Fits(Protocol):
    """The part of a method that is attacked."""

    def plan(self, schema: Any, budget: Budget) -> Plan:
        """The price of a fit."""

    def fit(self, data: Any, session: Session, *, progress: Any = ...) -> Any:
        """Run it; the model has ``sample`` and ``save``."""


def fitting(method: Fits, schema: Schema, budget: Budget, *, rows: int = 50) -> Program:
    """``method`` as a program: read, bound, fit, save, sample.

    Args:
        method: what is attacked.
        schema, budget: under which.
        rows: synthetic rows that are drawn and compared.
    """

    def locked(frame: pd.DataFrame, noise: NoiseSource) -> Private[Table]:
        return bound_contributions(read(FrameSource(frame), schema, dataset=schema.name), noise)

    return program_of(
        method, method.plan(schema, budget), locked, lambda model: {"sample": model.sample(rows, seed=0).frame}
    )


def program_of(
    method: Fits,
    plan: Plan,
    locked: Callable[[pd.DataFrame, NoiseSource], Any],
    drawn: Callable[[Any], Mapping[str, Any]],
) -> Program:
    """A fit as a program that gives out all that a fit gives out.

    Args:
        method: what is attacked.
        plan: its price.
        locked: the replay's frame to what ``method`` is fitted to: read, and bounded.
        drawn: what is drawn from the model and compared, by name.
    """

    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        steps: list[tuple[float, str]] = []
        session = open_session(plan)
        model = method.fit(locked(frame, noise), session, progress=lambda share, what: steps.append((share, what)))
        return {"progress": steps, "model": saved(model), **drawn(model), "spent": session.spent}

    return program


def saved(model: Any) -> dict[str, bytes]:
    """The files that a model saves, by name."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        model.save(place)
        files = sorted(path for path in place.rglob("*") if path.is_file())
        return {str(path.relative_to(place)): path.read_bytes() for path in files}


__all__ = ["Fits", "fitting", "program_of", "saved"]
