"""The budget: how much may be learnt about one unit, and what a neighbouring dataset is."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from synthkit.data.schema import Unit
from synthkit.errors import JobError

if TYPE_CHECKING:
    from dp_accounting import DpEvent


class Adjacency(StrEnum):
    """Which datasets count as neighbours.

    ``add-or-remove``: one unit more or less; the number of units is private.
    ``replace-one``: one unit's rows are exchanged; the number of units is public.
    """

    ADD_OR_REMOVE = "add-or-remove"
    REPLACE_ONE = "replace-one"


@dataclass(frozen=True)
class Budget:
    """What a release may cost, under (epsilon, delta)-differential privacy.

    Attributes:
        epsilon: greater than 0, finite.
        delta: strictly between 0 and 1; at most 1 / number of units (checked against the schema).
        adjacency: what a neighbouring dataset is.
        unit: the unit of privacy.
    """

    epsilon: float
    delta: float
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE
    unit: Unit = Unit()  # noqa: RUF009  (frozen)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "adjacency", Adjacency(self.adjacency))
        except ValueError:
            raise JobError(f"adjacency is {self.adjacency!r}; use {' or '.join(a.value for a in Adjacency)}") from None
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise JobError(f"epsilon is {self.epsilon}; it must be a finite number above 0 (1 is a common choice)")
        if not (math.isfinite(self.delta) and 0 < self.delta < 1):
            raise JobError(f"delta is {self.delta}; it must lie between 0 and 1, well below 1 / number of people")

    def check_against(self, rows: int) -> None:
        """Refuse a delta with which publishing somebody's rows outright would be allowed.

        Raises:
            JobError: delta above 1/rows.
        """
        if self.delta > 1 / rows:
            raise JobError(
                f"delta is {self.delta:g}, above 1/rows = {1 / rows:.3g}: it would allow publishing a whole record; "
                f"use {10 ** math.floor(math.log10(0.1 / rows)):.0e} or less"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "adjacency": self.adjacency.value}


@dataclass(frozen=True, kw_only=True)
class Remainder(Budget):
    """A budget of which a part is spoken for: what is calibrated to it gets the rest.

    ``epsilon`` remains the whole. Nothing is subtracted: costs are composed, and the composition is priced.

    Attributes:
        spoken_for: what else will run within the same budget.
    """

    spoken_for: DpEvent

    @classmethod
    def of(cls, budget: Budget, spoken_for: DpEvent) -> Remainder:
        """What ``spoken_for`` leaves of ``budget``; of a remainder, together with what it leaves out already."""
        if isinstance(budget, Remainder):
            from synthkit.privacy.events import compose

            spoken_for = compose([budget.spoken_for, spoken_for])
        return cls(budget.epsilon, budget.delta, budget.adjacency, budget.unit, spoken_for=spoken_for)


__all__ = ["Adjacency", "Budget", "Remainder", "Unit"]
