"""Plain types: what one mechanism costs, and what a fit will cost before any data are opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from synthkit.privacy.budget import Adjacency, Budget

if TYPE_CHECKING:
    from dp_accounting import DpEvent

Norm = Literal["L1", "L2", "Linf"]


@dataclass(frozen=True)
class Charge:
    """One run of one mechanism.

    Attributes:
        event: its cost in the accountant's algebra.
        mechanism: its name.
        norm_bound: bound on one unit's contribution, in the mechanism's norm and units, as a
            radius (see ``events.py``).
        source: the paper or the proof that the cost rests on.
        what: what was asked, in public words (columns, step), for people.
        norm: the norm of ``norm_bound``.
    """

    event: DpEvent
    mechanism: str
    norm_bound: float
    source: str
    what: str = ""
    norm: Norm = "L2"

    def sensitivity(self, adjacency: Adjacency) -> float:
        """How far one neighbouring change moves the exact answer, at most, in ``norm``."""
        return self.norm_bound * (2 if adjacency is Adjacency.REPLACE_ONE else 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        from synthkit.privacy.events import to_json

        return {
            "event": to_json(self.event),
            "mechanism": self.mechanism,
            "norm_bound": self.norm_bound,
            "norm": self.norm,
            "source": self.source,
            "what": self.what,
        }


@dataclass(frozen=True)
class Plan:
    """The price of a fit, agreed before the data open.

    Attributes:
        budget: what was asked.
        event: everything that the fit will run.
        noise: the noise scales that follow from it, by the method's names for them.
        seconds, megabytes: forecast of time and peak memory on a machine like the benchmark's,
            or None where the method gives none.
        note: what people should know about it, in public words.
    """

    budget: Budget
    event: DpEvent
    noise: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    megabytes: float | None = None
    note: str = ""

    @property
    def epsilon(self) -> float:
        """Epsilon of the planned event at the budget's delta."""
        from synthkit.privacy.accounting import epsilon

        return epsilon(self.event, self.budget.delta, self.budget.adjacency)


__all__ = ["Charge", "Norm", "Plan"]
