"""From events to (epsilon, delta), and from a budget to the noise that spends it.

Privacy loss distributions (PLD) of dp-accounting carry every event that has one; Renyi DP (RDP)
is used for the whole composition where one event has none, where it is the tighter of the two (many
choices by the exponential mechanism), or where a PLD would take hours. Opacus's Gaussian-DP accountant is
not used: it understates epsilon (see docs/known-vulnerabilities.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import dp_accounting
import numpy as np
from dp_accounting import DpEvent
from dp_accounting.pld import common
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.privacy_accountant import NeighboringRelation, UnsupportedEventError
from dp_accounting.rdp import rdp_privacy_accountant as rdp

from synthkit.errors import JobError
from synthkit.privacy.budget import Adjacency, Budget, Remainder
from synthkit.privacy.events import (
    DiscreteGaussianDpEvent,
    ExponentialMechanismDpEvent,
    ParallelDpEvent,
    compose,
    from_json,
    key,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Privacy losses are discretized; the estimate is pessimistic at any interval. Up to epsilon 1 it is
# INTERVAL, above it grows with epsilon, so that the relative error stays and the work does not grow.
INTERVAL = 1e-4
_COARSE = 1e-2
_MEANINGLESS = 1e3  # losses beyond are too large to discretize, and RDP's coarse figure will do
_FOLDS = 10**5  # more repetitions of anything but plain Gaussian noise take a PLD hours
_PARTS = 1_000  # so do more different parts
_LOUD = 10.0  # and sampled noise so small that one joining unit loses more than this
_SMALLEST = 1e-10  # below this delta, rounding in the Fourier transforms of a composition shows
_ROUNDING = 1e-12  # bound on that rounding: the figure is read off at a delta smaller by so much
_NARROW, _WIDE = 0.05, 2e4  # discrete Gaussian noise outside has too sparse or too many losses to tabulate
# High orders are what a small epsilon needs: at order a, no figure lies below log(1 / delta) / a.
_ORDERS = np.array([*rdp.DEFAULT_RDP_ORDERS, *(2.0**k for k in range(11, 15))], dtype=np.float64)
_RELATION = {
    Adjacency.ADD_OR_REMOVE: NeighboringRelation.ADD_OR_REMOVE_ONE,
    Adjacency.REPLACE_ONE: NeighboringRelation.REPLACE_ONE,
}


def epsilon(event: DpEvent, delta: float, adjacency: Adjacency) -> float:
    """The smallest known epsilon with which ``event`` is (epsilon, delta)-DP.

    Args:
        event: what ran, or would run.
        delta: between 0 and 1.
        adjacency: what a neighbouring dataset is.

    Returns:
        epsilon, 0 or more; infinity where no finite guarantee is known.

    Raises:
        ValueError: an event that has no price under this adjacency.
    """
    if is_private(event):
        return _priced(key(event), delta, adjacency)[0]
    return math.inf


def accountant(event: DpEvent, delta: float, adjacency: Adjacency) -> str:
    """Which accountant gave the figure of :func:`epsilon`: ``"PLD"``, ``"RDP"``, or ``"none"``."""
    return _priced(key(event), delta, adjacency)[1] if is_private(event) else "none"


def is_private(event: DpEvent) -> bool:
    """False where the event, or a part of it, has no noise at all."""
    match event:
        case dp_accounting.NonPrivateDpEvent():
            return False
        case dp_accounting.ComposedDpEvent() | ParallelDpEvent():
            return all(is_private(part) for part in event.events)
        case dp_accounting.SelfComposedDpEvent() | dp_accounting.PoissonSampledDpEvent():
            return is_private(event.event)
        case dp_accounting.GaussianDpEvent() | dp_accounting.LaplaceDpEvent():
            return bool(event.noise_multiplier > 0)
        case DiscreteGaussianDpEvent():
            return event.sigma > 0
        case _:
            return True


def calibrate(event_at: Callable[[float], DpEvent], budget: Budget, *, low: float = 1e-2, high: float = 1e6) -> float:
    """The smallest noise scale whose event fits the budget, to one part in two thousand.

    Args:
        event_at: the event at a noise scale; its epsilon falls as the scale grows.
        budget: what may be spent; of a :class:`Remainder`, together with what is spoken for.
        low, high: where the scale is looked for; at ``low`` no more noise is taken away.

    Returns:
        a scale whose epsilon lies in (0.99, 1] times ``budget.epsilon``. (Lower only for budgets near 50
        and above, where the accountants change over and the figure jumps.)

    Raises:
        JobError: no scale in the range reaches the budget.
    """

    def spent(scale: float) -> float:
        event = event_at(scale)
        whole = compose([budget.spoken_for, event]) if isinstance(budget, Remainder) else event
        return epsilon(whole, budget.delta, budget.adjacency)

    # Approach from the quiet side: privacy losses of tiny noise are huge and slow to compute.
    above = 8.0
    while spent(above) > budget.epsilon:
        above *= 2
        if above > high:
            raise JobError(
                f"epsilon {budget.epsilon:g} cannot be reached at delta {budget.delta:g} with this method's settings; "
                "ask for fewer steps or a larger epsilon"
            )
    while above > low and spent(above / 2) <= budget.epsilon:
        above /= 2
    below = above / 2
    # Epsilon mostly moves no faster than the square of the scale; a sampled Gaussian's may move faster.
    while above / below > 1 + 5e-4 or (spent(above) <= 0.99 * budget.epsilon and above / below > 1 + 1e-9):
        middle = math.sqrt(below * above)
        if spent(middle) > budget.epsilon:
            below = middle
        else:
            above = middle
    return above


@lru_cache(maxsize=4096)
def _priced(event_key: str, delta: float, adjacency: Adjacency) -> tuple[float, str]:
    import json

    event = from_json(json.loads(event_key))
    if isinstance(event, dp_accounting.ComposedDpEvent) and len(event.events) == 1:
        return _priced(key(event.events[0]), delta, adjacency)
    by_pld = by_rdp = math.inf
    if has_pld := _size(event) <= _MEANINGLESS and delta >= _SMALLEST:
        by_pld = _by_pld(event, delta - _ROUNDING, adjacency)
    if not has_pld or "exponential-mechanism" in event_key:
        by_rdp = float(rdp.compute_epsilon(_ORDERS, _rdp(event, adjacency), delta)[0])
    found = (max(0.0, by_pld), "PLD") if by_pld <= by_rdp else (max(0.0, by_rdp), "RDP")
    if isinstance(event, ParallelDpEvent) and "exponential-mechanism" in event_key:
        # delta(eps) <= sum_i weight_i delta_i(eps), so it holds at the largest epsilon of any part, each by its own
        # best accountant: one part may be cheaper by RDP while the other is by PLD.
        apart = [_priced(key(part), delta, adjacency) for part in event.events]
        worst = max(epsilon for epsilon, _ in apart)
        found = min(found, (worst, "RDP" if any(name == "RDP" for _, name in apart) else "PLD"))
    return found


def _by_pld(event: DpEvent, delta: float, adjacency: Adjacency) -> float:
    interval, found = _COARSE, float(_pld(event, adjacency, _COARSE).get_epsilon_for_delta(delta))
    # Many steps of tiny loss look far worse on a coarse grid: go on until the grid fits the figure.
    while found <= _MEANINGLESS and (finer := INTERVAL * 2.0 ** math.ceil(math.log2(max(1.0, found)))) < interval:
        interval, found = finer, float(_pld(event, adjacency, finer).get_epsilon_for_delta(delta))
    return found


def _size(event: DpEvent) -> float:
    """About how large the privacy loss is; infinite where it has no PLD that can be held in memory.

    It chooses the accountant and enters no figure. A manifest from elsewhere may ask for the price of
    anything: what is decided here keeps that from taking hours.
    """
    match event:
        case dp_accounting.ComposedDpEvent():
            return sum(_size(part) for part in event.events) if len(event.events) <= _PARTS else math.inf
        case dp_accounting.SelfComposedDpEvent(event=dp_accounting.NoOpDpEvent()):
            return 0.0
        case dp_accounting.SelfComposedDpEvent(event=part, count=count) if count > _FOLDS and not isinstance(
            part, dp_accounting.GaussianDpEvent
        ):
            return math.inf
        case ParallelDpEvent():
            return max(_size(part) for part in event.events)
        case dp_accounting.SelfComposedDpEvent():
            return event.count * _size(event.event)
        case dp_accounting.PoissonSampledDpEvent(sampling_probability=q):
            whole = _size(event.event)
            return min(whole, q**2 * math.expm1(2 * whole)) if whole <= _LOUD else math.inf
        case dp_accounting.GaussianDpEvent(noise_multiplier=z):
            return 0.5 / z**2
        case dp_accounting.LaplaceDpEvent(noise_multiplier=z):
            return min(1 / z, 0.5 / z**2) if 1 / z <= _MEANINGLESS / 4 else math.inf
        case DiscreteGaussianDpEvent(sigma=sigma, cells=cells):
            return 0.5 * cells / sigma**2 if _NARROW <= sigma <= _WIDE and cells <= _FOLDS else math.inf
        case ExponentialMechanismDpEvent(epsilon=eps):
            return min(eps, eps**2 / 8) if eps <= _MEANINGLESS / 4 else math.inf
        case dp_accounting.dp_event.ZCDpEvent():
            return math.inf
        case _:
            return 0.0


def _pld(event: DpEvent, adjacency: Adjacency, interval: float) -> pld.PrivacyLossDistribution:
    match event:
        case dp_accounting.NoOpDpEvent() | dp_accounting.SelfComposedDpEvent(event=dp_accounting.NoOpDpEvent()):
            return pld.identity(interval)
        case dp_accounting.ComposedDpEvent():
            total = pld.identity(interval)
            for part in event.events:
                total = total.compose(_pld(part, adjacency, interval))
            return total
        case dp_accounting.SelfComposedDpEvent(event=dp_accounting.GaussianDpEvent(noise_multiplier=z), count=count):
            return _pld(dp_accounting.GaussianDpEvent(z / math.sqrt(count)), adjacency, interval)
        case dp_accounting.SelfComposedDpEvent(event=part, count=count):
            return _pld(part, adjacency, interval).self_compose(count)
        case ParallelDpEvent():
            return _mixture(event, adjacency, interval)
        case dp_accounting.GaussianDpEvent(noise_multiplier=z):
            return _gaussian(z, 1.0, adjacency, interval)
        case dp_accounting.PoissonSampledDpEvent(
            sampling_probability=q, event=dp_accounting.GaussianDpEvent(noise_multiplier=z)
        ):
            return pld.identity(interval) if q == 0 else _gaussian(z, q, adjacency, interval)
        case dp_accounting.LaplaceDpEvent(noise_multiplier=z):
            width = 2.0 if adjacency is Adjacency.REPLACE_ONE else 1.0
            return pld.from_laplace_mechanism(z, sensitivity=width, value_discretization_interval=interval)
        case DiscreteGaussianDpEvent(sigma=sigma, cells=cells):
            return pld.from_discrete_gaussian_mechanism(
                sigma, value_discretization_interval=interval, use_connect_dots=True
            ).self_compose(cells)
        case ExponentialMechanismDpEvent(epsilon=eps):
            return pld.from_privacy_parameters(common.DifferentialPrivacyParameters(eps), interval)
        case _:
            raise ValueError(f"{type(event).__name__} has no price here")


def _gaussian(z: float, q: float, adjacency: Adjacency, interval: float) -> pld.PrivacyLossDistribution:
    return pld.from_gaussian_mechanism(
        z, sampling_prob=q, value_discretization_interval=interval, neighboring_relation=_RELATION[adjacency]
    )


def _mixture(event: ParallelDpEvent, adjacency: Adjacency, interval: float) -> pld.PrivacyLossDistribution:
    mixed, weight = pld.identity(interval), 0.0
    for part, share in zip(event.events, event.weights, strict=True):
        if share > 0:
            weight += share
            mixed = _pld(part, adjacency, interval).compute_mixture(mixed, share / weight)
    return mixed


def _rdp(event: DpEvent, adjacency: Adjacency) -> NDArray[np.float64]:
    """Renyi divergence at every order. The library's own accountant ignores the adjacency of a
    Gaussian event (it doubles the radius in its PLD, not in its RDP), so it is applied here."""
    diameter = 2.0 if adjacency is Adjacency.REPLACE_ONE else 1.0
    match event:
        case dp_accounting.ComposedDpEvent():
            return np.sum([_rdp(part, adjacency) for part in event.events], axis=0)
        case dp_accounting.SelfComposedDpEvent():
            return event.count * _rdp(event.event, adjacency)
        case ParallelDpEvent():  # Renyi divergence is quasi-convex: a mixture is no worse than its worst part
            return np.max([_rdp(part, adjacency) for part in event.events], axis=0)
        case dp_accounting.NoOpDpEvent():
            return np.zeros_like(_ORDERS)
        case dp_accounting.GaussianDpEvent(noise_multiplier=z):
            return _ORDERS * diameter**2 / (2 * z**2)
        case DiscreteGaussianDpEvent(sigma=sigma, cells=cells):
            return _ORDERS * cells / (2 * sigma**2)
        case ExponentialMechanismDpEvent(epsilon=eps):
            return np.minimum(_ORDERS * eps**2 / 8, eps)
        case dp_accounting.dp_event.ZCDpEvent(rho=rho, xi=xi):
            return xi + rho * _ORDERS
        case dp_accounting.LaplaceDpEvent(noise_multiplier=z):
            return _library_rdp(dp_accounting.LaplaceDpEvent(z / diameter))
        case dp_accounting.PoissonSampledDpEvent() if adjacency is Adjacency.ADD_OR_REMOVE:
            return _library_rdp(event)
        case dp_accounting.PoissonSampledDpEvent():
            # No tighter bound is known here. Quasi-convexity again: sampling is a mixture over who joins,
            # and the neighbours' records share a coin, so that it never costs more than not sampling.
            return _rdp(event.event, adjacency)
        case _:
            raise ValueError(f"{type(event).__name__} has no price here")


def _library_rdp(event: DpEvent) -> NDArray[np.float64]:
    library = rdp.RdpAccountant(_ORDERS)
    try:
        library.compose(event)
    except UnsupportedEventError:
        raise ValueError(f"{type(event).__name__} has no price here") from None
    divergences: NDArray[np.float64] = library._rdp  # the curve itself has no public name
    return divergences


__all__ = ["accountant", "calibrate", "epsilon", "is_private"]
