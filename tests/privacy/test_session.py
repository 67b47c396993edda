"""A session charges before anything is read, and nothing that was not agreed."""

from __future__ import annotations

from collections.abc import Callable

import dp_accounting
import numpy as np
import pytest
from dp_accounting import ComposedDpEvent, DpEvent, GaussianDpEvent, LaplaceDpEvent, NonPrivateDpEvent, NoOpDpEvent
from scipy.stats import norm

from synthkit.errors import BudgetExceeded
from synthkit.privacy import events
from synthkit.privacy.accounting import epsilon
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.events import DiscreteGaussianDpEvent, ExponentialMechanismDpEvent
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Charge, Plan
from synthkit.privacy.session import Session

BUDGET = Budget(1.0, 1e-6)
WIDE = Budget(50.0, 1e-6)
GAUSSIAN, LAPLACE = GaussianDpEvent(20.0), LaplaceDpEvent(40.0)
PLAN = Plan(BUDGET, events.compose([GAUSSIAN, LAPLACE, GAUSSIAN]))


def charge(event: DpEvent, what: str = "", *, bound: float = 1.0) -> Charge:
    return Charge(event, "mechanism", bound, "a paper", what)


def seeded(plan: Plan, seed: int = 1) -> Session:
    return Session(plan, noise=NoiseSource(test_seed=seed))


def refused(session: Session, event: DpEvent) -> None:
    """``event`` is refused, and leaves no trace."""
    before = (session.trace, session.spent)
    with pytest.raises(BudgetExceeded, match="is not in the plan, or not any more"):
        session.charge(charge(event))
    assert (session.trace, session.spent) == before


def check_session(make: Callable[[Plan], Session]) -> None:
    """What a session guarantees. Applied below to the true one, and to broken ones."""
    session = make(PLAN)
    assert session.trace == () and session.spent == 0
    for other in (GaussianDpEvent(19.999), LaplaceDpEvent(20.0), NonPrivateDpEvent()):
        refused(session, other)
    run: list[Charge] = []
    for event in (GAUSSIAN, LAPLACE, GAUSSIAN):  # two of one kind, one of the other
        run.append(charge(event, f"step {len(run)}"))
        session.charge(run[-1])
        assert session.trace == tuple(run)
        expected = epsilon(ComposedDpEvent([one.event for one in run]), BUDGET.delta, BUDGET.adjacency)
        assert session.spent == pytest.approx(expected, rel=1e-3)
        assert 0 < session.spent <= PLAN.epsilon <= BUDGET.epsilon
    assert session.spent == PLAN.epsilon
    for event in (GAUSSIAN, LAPLACE):
        refused(session, event)


def test_session() -> None:
    check_session(Session)


class Uncounted(Session):
    """Asks whether an event is in the plan, and not how often."""

    def charge(self, charge: Charge) -> None:
        super().charge(charge)
        self._left[events.key(charge.event)] += 1


class Unread(Session):
    """Takes everything."""

    def charge(self, charge: Charge) -> None:
        self._left[events.key(charge.event)] += 1
        super().charge(charge)


class Forgetful(Session):
    """Does not write down what it took."""

    def charge(self, charge: Charge) -> None:
        super().charge(charge)
        self._trace.clear()


class Late(Session):
    """Writes down first, and refuses after."""

    def charge(self, charge: Charge) -> None:
        self._trace.append(charge)
        if self._left[events.key(charge.event)] < 1:
            super().charge(charge)
        self._left[events.key(charge.event)] -= 1


class ByKind(Session):
    """Looks at the kind of an event, and not at its noise."""

    def charge(self, charge: Charge) -> None:
        self._left[events.key(charge.event)] = 1 if type(charge.event) in (GaussianDpEvent, LaplaceDpEvent) else 0
        super().charge(charge)


@pytest.mark.parametrize("broken", [Uncounted, Unread, Forgetful, Late, ByKind])
def test_broken_sessions_are_caught(broken: type[Session]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_session(broken)


def test_what_is_charged_is_the_mechanism_not_its_wrapping() -> None:
    """Two at once are not one; a sampled mechanism is not the bare one; nothing is not something."""
    session = Session(PLAN)
    sampled = dp_accounting.PoissonSampledDpEvent(0.1, GAUSSIAN)
    for event in (dp_accounting.SelfComposedDpEvent(GAUSSIAN, 2), PLAN.event, sampled, NoOpDpEvent()):
        refused(session, event)


def test_the_bare_mechanism_cannot_run_for_a_sampled_one() -> None:
    sampled = dp_accounting.PoissonSampledDpEvent(0.01, GaussianDpEvent(8.0))
    session = Session(Plan(BUDGET, events.repeat(sampled, 10)))
    refused(session, GaussianDpEvent(8.0))
    for _ in range(10):
        session.charge(charge(sampled))
    refused(session, sampled)


def test_spent_does_not_depend_on_the_order() -> None:
    one, other = Session(PLAN), Session(PLAN)
    for event in (GAUSSIAN, GAUSSIAN, LAPLACE):
        one.charge(charge(event))
    for event in (LAPLACE, GAUSSIAN, GAUSSIAN):
        other.charge(charge(event))
    assert one.spent == other.spent == PLAN.epsilon
    assert events.key(one.event) == events.key(PLAN.event)


def test_spent_agrees_with_the_closed_form() -> None:
    """Analytic Gaussian, Balle and Wang 2018: two of 20 are one of 20 / sqrt(2)."""
    session = Session(PLAN)
    session.charge(charge(GAUSSIAN))
    session.charge(charge(GAUSSIAN))
    mu, eps = np.sqrt(2) / 20, session.spent
    delta = norm.cdf(-eps / mu + mu / 2) - np.exp(eps) * norm.cdf(-eps / mu - mu / 2)
    assert delta == pytest.approx(BUDGET.delta, rel=1e-3)


@pytest.mark.parametrize("adjacency", list(Adjacency))
def test_a_plan_above_its_budget_is_refused(adjacency: Adjacency) -> None:
    cost = epsilon(GAUSSIAN, 1e-6, adjacency)
    Session(Plan(Budget(cost, 1e-6, adjacency), GAUSSIAN))
    with pytest.raises(BudgetExceeded, match=r"the plan costs epsilon .* above the budget"):
        Session(Plan(Budget(cost * (1 - 1e-6), 1e-6, adjacency), GAUSSIAN))


def test_neighbours_count() -> None:
    """A plan that fits under add-or-remove does not fit the same budget under replace-one."""
    cost = epsilon(GAUSSIAN, 1e-6, Adjacency.ADD_OR_REMOVE)
    with pytest.raises(BudgetExceeded):
        Session(Plan(Budget(1.5 * cost, 1e-6, Adjacency.REPLACE_ONE), GAUSSIAN))


def test_a_plan_without_a_guarantee_runs_at_an_infinite_price() -> None:
    plan = Plan(BUDGET, NonPrivateDpEvent())
    session = Session(plan)
    assert plan.epsilon == np.inf
    refused(session, GAUSSIAN)
    session.charge(charge(NonPrivateDpEvent()))
    assert session.spent == np.inf
    refused(session, NonPrivateDpEvent())


def test_sessions_are_fresh_unless_a_test_asks_otherwise() -> None:
    one, other = Session(PLAN), Session(PLAN)
    assert not one.noise.seeded
    assert (one.noise.words(8) != other.noise.words(8)).all()
    assert seeded(PLAN).noise.seeded


def test_the_trace_cannot_be_changed_from_outside() -> None:
    session = Session(PLAN)
    session.charge(charge(GAUSSIAN))
    assert isinstance(session.trace, tuple)
    with pytest.raises(AttributeError):
        session.trace = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        session.spent = 0.0  # type: ignore[misc]


# Releases: what is added is what was charged


def check_release(make: Callable[[Plan], Session]) -> None:
    """Nothing is released uncharged, nor twice, nor under another name; and the noise is the charged one."""
    plan = Plan(WIDE, events.compose([GaussianDpEvent(2.0)] * 3))
    session, exact = make(plan), np.zeros(20_000)
    first = charge(GaussianDpEvent(2.0), "first", bound=3.0)
    with pytest.raises(BudgetExceeded, match="nothing was charged for"):
        session.release(first, exact)
    session.charge(first)
    with pytest.raises(BudgetExceeded, match="nothing was charged for"):
        session.release(charge(GaussianDpEvent(2.0), "another", bound=3.0), exact)
    with pytest.raises(BudgetExceeded, match="nothing was charged for"):
        session.release(charge(GaussianDpEvent(2.0), "first", bound=0.3), exact)  # a tenth of the noise
    released = session.release(first, exact)
    # Standard deviation 2 * 3; of 20,000 draws it is off by 0.5 %: 4 % are eight deviations.
    assert abs(released.std() / 6 - 1) < 0.04
    with pytest.raises(BudgetExceeded, match="nothing was charged for"):
        session.release(first, exact)
    session.charge(first)
    again = session.release(first, exact)
    assert (again != released).any()


def test_release() -> None:
    check_release(seeded)


class Unpaid(Session):
    """Releases without looking whether it was charged."""

    def _settle(self, charge: Charge) -> None:
        pass


class Twice(Session):
    """Never strikes an answer off."""

    def _settle(self, charge: Charge) -> None:
        super()._settle(charge)
        self._owed.append(charge)


class Quiet(Session):
    """Adds 0.7 of the noise."""

    def release(self, charge: Charge, exact: np.ndarray) -> np.ndarray:
        return exact + 0.7 * (super().release(charge, exact) - exact)


@pytest.mark.parametrize("broken", [Unpaid, Twice, Quiet])
def test_broken_releases_are_caught(broken: type[Session]) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_release(lambda plan: broken(plan, noise=NoiseSource(test_seed=1)))


def test_discrete_and_sampled_releases_have_the_charged_noise() -> None:
    discrete = DiscreteGaussianDpEvent(3.0, 2)
    sampled = dp_accounting.PoissonSampledDpEvent(0.1, GaussianDpEvent(2.0))
    session = seeded(Plan(WIDE, events.compose([discrete, sampled])))
    exact = np.full((100, 200), 7.0)
    for event, bound, deviation in ((discrete, 1.0, 3.0), (sampled, 4.0, 8.0)):
        session.charge(charge(event, bound=bound))
        released = session.release(charge(event, bound=bound), exact)
        assert released.shape == exact.shape
        assert abs(released.std() / deviation - 1) < 0.04 and abs(released.mean() - 7) < 0.06 * deviation
        if event is discrete:
            assert (released == np.rint(released)).all()
    assert (exact == 7).all()


def test_a_release_needs_an_event_that_names_its_noise() -> None:
    chosen = ExponentialMechanismDpEvent(1.0)
    session = seeded(Plan(WIDE, events.compose([LAPLACE, chosen, GAUSSIAN])))
    for event in (LAPLACE, chosen):
        session.charge(charge(event))
        with pytest.raises(TypeError, match="no noise is added"):
            session.release(charge(event), np.zeros(3))
    session.charge(charge(GAUSSIAN))
    with pytest.raises(TypeError, match="nothing is chosen"):
        session.choose(charge(GAUSSIAN), np.zeros(3))


@pytest.mark.parametrize(("adjacency", "sensitivity"), [(Adjacency.ADD_OR_REMOVE, 1.0), (Adjacency.REPLACE_ONE, 2.0)])
def test_choices_have_the_charged_odds(adjacency: Adjacency, sensitivity: float) -> None:
    """P(1) / P(0) = exp(eps * (score difference) / (2 * sensitivity)); replacing is twice the radius."""
    draws, event = 2000, ExponentialMechanismDpEvent(1.0)
    session = seeded(Plan(Budget(draws * 2.0, 1e-6, adjacency), events.repeat(event, draws)))
    picks = []
    for _ in range(draws):
        session.charge(charge(event, bound=1.0))
        picks.append(session.choose(charge(event, bound=1.0), np.array([0.0, 4.0])))
    odds = np.exp(4.0 / (2 * sensitivity))
    expected = odds / (1 + odds)
    assert abs(np.mean(picks) - expected) < 5.5 * np.sqrt(expected * (1 - expected) / draws)
    with pytest.raises(BudgetExceeded):
        session.choose(charge(event), np.array([0.0, 4.0]))
