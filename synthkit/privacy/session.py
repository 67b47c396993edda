"""A session: one fit, one plan, one trace. Charge before release; refuse to overspend."""

from __future__ import annotations

from dp_accounting import DpEvent

from synthkit.errors import BudgetExceeded
from synthkit.privacy import events
from synthkit.privacy.accounting import epsilon, is_private
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Charge, Plan

_TOLERANCE = 1 + 1e-9  # rounding of a float comparison, not a gift


class Session:
    """Watches that nothing is released that the plan does not contain.

    Every mechanism calls :meth:`charge` before it looks at a private value. A charge is accepted
    only while the plan still holds an equal event; so the composition of what ran is always a part
    of what was agreed, and its epsilon needs no recomputation on the way.

    Attributes:
        plan: what was agreed.
        noise: where mechanisms draw their noise from: a cryptographic generator with a fresh key.
    """

    def __init__(self, plan: Plan, *, noise: NoiseSource | None = None) -> None:
        """
        Args:
            plan: what was agreed.
            noise: a seeded source makes results reproducible **and non-private**; for tests alone.

        Raises:
            BudgetExceeded: the plan itself costs more than its budget.
        """
        planned = epsilon(plan.event, plan.budget.delta, plan.budget.adjacency)
        # A plan without any guarantee may run (a baseline): every gate refuses what comes of it.
        if planned > plan.budget.epsilon * _TOLERANCE and is_private(plan.event):
            raise BudgetExceeded(f"the plan costs epsilon {planned:.4g}, above the budget of {plan.budget.epsilon:g}")
        self.plan = plan
        self.noise = noise or NoiseSource()
        self._left = events.parts(plan.event)
        self._trace: list[Charge] = []

    def charge(self, charge: Charge) -> None:
        """Book one mechanism, before it reads.

        Raises:
            BudgetExceeded: the plan holds no such event (any more). Nothing was read.
        """
        name = events.key(charge.event)
        if self._left[name] < 1:
            raise BudgetExceeded(
                f"{charge.mechanism} ({charge.what or 'no details'}) is not in the plan, or not any more: "
                "a fit may run only what was priced before the data were opened"
            )
        self._left[name] -= 1
        self._trace.append(charge)

    @property
    def trace(self) -> tuple[Charge, ...]:
        """Every charge so far, in order."""
        return tuple(self._trace)

    @property
    def event(self) -> DpEvent:
        """What ran so far, composed."""
        return events.compose([charge.event for charge in self._trace])

    @property
    def spent(self) -> float:
        """Epsilon of what ran so far, at the budget's delta."""
        return epsilon(self.event, self.plan.budget.delta, self.plan.budget.adjacency)


__all__ = ["Session"]
