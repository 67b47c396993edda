"""What is replayed: a method's fit, from the table that a user hands in to what the model gives out."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from synthkit.audit.replay import Opener, Program
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

    def fit(self, data: Private[Any, Any], session: Session, *, progress: Any = ...) -> Any:
        """Run it; the model has ``sample`` and ``save``."""


def fitting(method: Fits, schema: Schema, budget: Budget, *, rows: int = 50) -> Program:
    """``method`` as a program: read, bound, fit, save, sample.

    Args:
        method: what is attacked.
        schema, budget: under which.
        rows: synthetic rows that are drawn and compared.
    """
    plan = method.plan(schema, budget)

    def program(frame: pd.DataFrame, open_session: Opener, noise: NoiseSource) -> Mapping[str, Any]:
        steps: list[tuple[float, str]] = []
        box = read(FrameSource(frame), schema, dataset=schema.name)
        session = open_session(plan)
        model = method.fit(
            bound_contributions(box, noise), session, progress=lambda share, what: steps.append((share, what))
        )
        return {
            "progress": steps,
            "model": saved(model),
            "sample": model.sample(rows, seed=0).frame,
            "spent": session.spent,
        }

    return program


def saved(model: Any) -> dict[str, bytes]:
    """The files that a model saves, by name."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        model.save(place)
        files = sorted(path for path in place.rglob("*") if path.is_file())
        return {str(path.relative_to(place)): path.read_bytes() for path in files}


__all__ = ["Fits", "fitting", "saved"]
