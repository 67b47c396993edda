"""``auto``: the method that suits, from public facts alone.

Nothing is spent on the choice. It follows from what a plan knows before any data are opened: how
many columns and rows there are, how large their domains are, what the budget buys, and what each
method forecasts.

    too few rows for the noise   columns by themselves (``independent``)
    otherwise                    ``aim``, where its forecast stays within the limits
    where it does not            ``mst``, and where that does not either, ``independent``
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.counts import counts_event
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.aim import Aim
from synthkit.synthesizers.base import Method, Model, Progress, check_settings, silent
from synthkit.synthesizers.independent import Independent
from synthkit.synthesizers.mst import Mst

_FEW = 25  # rows for the root of the number of columns, counted in standard deviations of the least noise ...
_FEW_WITH_TARGET = 12  # ... and where each column is measured with a target: what predicts it shows in fewer


@dataclass(frozen=True, kw_only=True)
class Auto:
    """Settings of the choice.

    Attributes:
        most_seconds: a method whose forecast is longer is not chosen.
        most_megabytes: nor one that is forecast to need more memory.
    """

    name: ClassVar[str] = "auto"
    most_seconds: float = 3_600.0
    most_megabytes: float = 8_000.0

    def __post_init__(self) -> None:
        check_settings(self, most_seconds=(1.0, 1e9), most_megabytes=(100.0, 1e9))

    def plan(self, schema: Schema, budget: Budget) -> Plan:
        """The chosen method's plan; its ``note`` says which and why."""
        _, plan = self._choose(schema, budget)
        return plan

    def fit(self, data: Private[Table], session: Session, *, progress: Progress = silent) -> Model:
        """The chosen method's fit."""
        chosen, plan = self._choose(data.schema, session.plan.budget)
        progress(0.0, plan.note)
        return chosen.fit(data, session, progress=progress)

    def _choose(self, schema: Schema, budget: Budget) -> tuple[Method, Plan]:
        columns = len(schema.modelled)
        least = calibrate(lambda sigma: counts_event(sigma, budget), budget)  # all of the budget for one marginal
        few = _FEW if schema.target is None else _FEW_WITH_TARGET
        if schema.rows < few * least * columns**0.5:
            why = f"independent: {schema.rows} rows are too few at this epsilon for {columns} columns' dependence"
            return _with_note(Independent(), schema, budget, why)
        chosen: Method
        passed_over = ""
        for chosen in (Aim(), Mst()):
            plan = chosen.plan(schema, budget)
            seconds, megabytes = plan.seconds or 0.0, plan.megabytes or 0.0
            if seconds <= self.most_seconds and megabytes <= self.most_megabytes:
                forecast = f"forecast {seconds:.0f} s and {megabytes:.0f} MB are within the limits"
                return chosen, replace(plan, note=f"{chosen.name}: {passed_over}{forecast}")
            passed_over += f"{chosen.name} is forecast to need {seconds:.0f} s and {megabytes:.0f} MB; "
        return _with_note(Independent(), schema, budget, f"independent: {passed_over}over the limits")


def _with_note(chosen: Method, schema: Schema, budget: Budget, note: str) -> tuple[Method, Plan]:
    return chosen, replace(chosen.plan(schema, budget), note=note)


__all__ = ["Auto"]
