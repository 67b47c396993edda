"""A session: one fit, one plan, one trace. Charge before release; refuse to overspend.

A mechanism makes three calls, in this order: it charges, it reveals, it releases. The noise of a
release is read off the very event that was charged, so that what is paid and what is added cannot
differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dp_accounting
import numpy as np
from dp_accounting import DpEvent

from synthkit.data.private import Private
from synthkit.errors import BudgetExceeded, MethodError
from synthkit.privacy import events
from synthkit.privacy.accounting import epsilon, is_private
from synthkit.privacy.events import DiscreteGaussianDpEvent, ExponentialMechanismDpEvent
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Charge, Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        self._table = ""
        self._left = events.parts(plan.event)
        self._trace: list[Charge] = []
        self._owed: list[Charge] = []  # charged, answer not yet released

    def check(self, data: Private[Any, Any]) -> None:
        """Refuse rows that the plan's price is not about. Looks at what is public alone.

        Raises:
            MethodError: the rows' unit of privacy is not the budget's, or its contributions are not
                bounded yet.
        """
        if data.schema.unit != self.plan.budget.unit:
            raise MethodError(f"the plan protects one {self.plan.budget.unit}, the rows' unit is {data.schema.unit}")
        if not data.bounded:
            raise MethodError(f"a unit may have any number of rows in {data!r}; bound_contributions() them first")

    def part(self, plan: Plan, table: str) -> Session:
        """This session, for the mechanisms on one of several tables that hold rows of the same units.

        Claim. Mechanisms on several tables, each with its sensitivity under its own table's unit, cost
        their composition. Argument: (1) a neighbouring change adds, removes or replaces one unit, with
        all its rows in all tables. (2) Seen from one table, that is at most one unit of *its* unit, of
        at most ``max_rows`` rows there (or nothing at all, where the unit has none): its event bounds
        the privacy loss of a mechanism that reads this table alone. (3) So every mechanism is one on
        the whole database with that event, and they compose adaptively in the ordinary way.

        The books are the same: what a part charges is charged here, and must be in the plan here.

        Args:
            plan: of the part; its budget says the table's unit, and is otherwise this session's.
            table: its name, which the trace puts before what was asked of it.

        Raises:
            MethodError: another adjacency, another delta, or a unit that another column names.
        """
        ours, theirs = self.plan.budget, plan.budget
        if (ours.adjacency, ours.delta, ours.unit.column) != (theirs.adjacency, theirs.delta, theirs.unit.column):
            raise MethodError(f"a part protects one {theirs.unit} ({theirs.adjacency}), the whole one {ours.unit}")
        seen = copy(self)
        seen.plan, seen._table = plan, table
        return seen

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
        self._trace.append(replace(charge, what=f"{self._table}: {charge.what}") if self._table else charge)
        self._owed.append(charge)

    def release(self, charge: Charge, exact: NDArray[np.float64]) -> NDArray[np.float64]:
        """The exact answer to a query, with the noise that ``charge`` paid for. Pays for one answer.

        Args:
            charge: what was charged; its ``norm_bound`` and event give the noise's scale.
            exact: any shape; whole numbers where the event is discrete.

        Raises:
            BudgetExceeded: nothing of the kind was charged, or its answer was released before.
        """
        self._settle(charge)
        match charge.event:
            case DiscreteGaussianDpEvent(sigma=sigma):
                return exact + self.noise.discrete_gaussian(sigma, exact.size).reshape(exact.shape)
            case (
                dp_accounting.GaussianDpEvent(noise_multiplier=z)
                | dp_accounting.PoissonSampledDpEvent(event=dp_accounting.GaussianDpEvent(noise_multiplier=z))
            ):
                return self.noise.gaussian(exact, z * charge.norm_bound)
            case _:
                raise TypeError(f"{charge.mechanism}: no noise is added for a {type(charge.event).__name__}")

    def choose(self, charge: Charge, scores: NDArray[np.float64], rules: Sequence[Callable[[int], bool]] = ()) -> int:
        """One of several candidates by the exponential mechanism that ``charge`` paid for.

        Drawing again and again until a candidate meets a public rule is drawing once among those that meet
        it, and asks the rule about few.

        Args:
            charge: its ``norm_bound`` says how far one unit moves any score.
            scores: one a candidate, higher is better.
            rules: public. The first that any candidate meets is met; where none is, all candidates may be drawn.

        Raises:
            BudgetExceeded: as :meth:`release`.
        """
        self._settle(charge)
        if not isinstance(charge.event, ExponentialMechanismDpEvent):
            raise TypeError(f"{charge.mechanism}: nothing is chosen for a {type(charge.event).__name__}")
        sensitivity = charge.sensitivity(self.plan.budget.adjacency)
        log_weights = scores * (charge.event.epsilon / (2 * sensitivity))
        for rule in rules:
            left = np.arange(len(scores))
            while len(left):
                drawn = self.noise.choice(log_weights[left])
                if rule(int(left[drawn])):
                    return int(left[drawn])
                left = np.delete(left, drawn)
        return self.noise.choice(log_weights)

    def _settle(self, charge: Charge) -> None:
        if charge not in self._owed:
            raise BudgetExceeded(
                f"{charge.mechanism} ({charge.what or 'no details'}) would release an answer that nothing was charged for"
            )
        self._owed.remove(charge)

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
