"""Epsilon against second sources: closed forms, published figures, and sums over the outcomes themselves.

What matters most is one side: no figure may lie below what was proved possible. An *oracle* here is a
function of epsilon that gives the exact delta; :func:`check_price` takes a price and an oracle.
"""

from __future__ import annotations

import itertools
import math
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from dp_accounting import (
    ComposedDpEvent,
    DpEvent,
    GaussianDpEvent,
    LaplaceDpEvent,
    NonPrivateDpEvent,
    NoOpDpEvent,
    PoissonSampledDpEvent,
)
from dp_accounting.dp_event import ZCDpEvent
from scipy.optimize import brentq, minimize_scalar
from scipy.special import gammaln, log_ndtr

from synthkit.errors import JobError
from synthkit.privacy import accounting
from synthkit.privacy.accounting import accountant, calibrate, epsilon, is_private
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.events import (
    DiscreteGaussianDpEvent,
    ExponentialMechanismDpEvent,
    ParallelDpEvent,
    compose,
    from_json,
    repeat,
)

ADD, REPLACE = Adjacency.ADD_OR_REMOVE, Adjacency.REPLACE_ONE
BOTH = list(Adjacency)
Oracle = Callable[[float], float]  # epsilon -> the exact delta
Price = Callable[[DpEvent, float, Adjacency], float]


def gaussian(mu: float) -> Oracle:
    """Balle and Wang 2018, theorem 8: mu is sensitivity / standard deviation."""
    return lambda eps: math.exp(log_ndtr(-eps / mu + mu / 2)) - math.exp(eps + log_ndtr(-eps / mu - mu / 2))


def laplace(ratio: float) -> Oracle:
    """Laplace noise, ``ratio`` is sensitivity / scale: delta = 1 - exp((eps - ratio) / 2)."""
    return lambda eps: max(0.0, -math.expm1((eps - ratio) / 2))


def randomized_response(eps0: float, k: int) -> Oracle:
    """Kairouz, Oh and Viswanath 2015, theorem 3.3: the worst of all k-fold compositions of eps0-DP."""
    wrong = np.arange(k + 1)  # how many of k answers point the other way
    choose = gammaln(k + 1) - gammaln(wrong + 1) - gammaln(k - wrong + 1)
    total = k * math.log1p(math.exp(eps0))

    def delta(eps: float) -> float:
        one = np.exp(choose + (k - wrong) * eps0 - total)
        other = np.exp(choose + wrong * eps0 + eps - total)
        return float(np.maximum(one - other, 0).sum())

    return delta


def discrete_gaussian(sigma: float, cells: int) -> Oracle:
    """By the definition: the sum over all outcomes of ``cells`` counts, each of which moves by 1."""
    reach = math.ceil(9 * sigma) + 3
    x = np.arange(-reach, reach + 1)
    one, other = np.exp(-(x**2) / (2 * sigma**2)), np.exp(-((x - 1) ** 2) / (2 * sigma**2))
    one, other = one / one.sum(), other / one.sum()
    p, q = one, other
    for _ in range(cells - 1):
        p, q = np.multiply.outer(p, one).ravel(), np.multiply.outer(q, other).ravel()
    return lambda eps: float(np.maximum(p - math.exp(eps) * q, 0).sum())


def exact(oracle: Oracle, delta: float) -> float:
    """The exact epsilon."""
    return 0.0 if oracle(0.0) <= delta else float(brentq(lambda eps: oracle(eps) - delta, 0, 600, xtol=1e-12))


def check_price(
    price: Price, event: DpEvent, delta: float, adjacency: Adjacency, oracle: Oracle, *, slack: float = 1e-3
) -> None:
    """Never below the exact figure (but for rounding), and at most 1 in 1000 above."""
    found, truth = price(event, delta, adjacency), exact(oracle, delta)
    assert found >= truth * (1 - 1e-9) - 1e-9, f"{event}: {found} is below the exact {truth}"
    assert found <= truth * (1 + slack) + 1e-4, f"{event}: {found} is far above the exact {truth}"


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Interrupts what takes longer."""

    def stop(*_: Any) -> None:
        raise AssertionError(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Gaussian


@pytest.mark.parametrize(("adjacency", "diameter"), [(ADD, 1), (REPLACE, 2)])
@pytest.mark.parametrize("z", [0.5, 1, 4.3, 50, 1000])
@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-10])
def test_gaussian(z: float, delta: float, adjacency: Adjacency, diameter: int) -> None:
    check_price(epsilon, GaussianDpEvent(z), delta, adjacency, gaussian(diameter / z))


@pytest.mark.parametrize("count", [2, 30, 10**6])
def test_gaussians_compose_by_their_squares(count: int) -> None:
    check_price(epsilon, repeat(GaussianDpEvent(2 * math.sqrt(count)), count), 1e-6, ADD, gaussian(0.5))


def test_different_gaussians_compose_by_their_squares() -> None:
    event = compose([GaussianDpEvent(3.0), GaussianDpEvent(4.0), repeat(GaussianDpEvent(12.0), 3)])
    mu = math.sqrt(1 / 9 + 1 / 16 + 3 / 144)
    check_price(epsilon, event, 1e-6, ADD, gaussian(mu))
    check_price(epsilon, event, 1e-6, REPLACE, gaussian(2 * mu))


def test_the_library_composes_gaussians_no_better_than_the_closed_form() -> None:
    """One part of weight 1 keeps an event from being summed in closed form: the library convolves."""
    for count, z in ((10, 5.0), (100, 10.0), (1000, 60.0)):
        event = repeat(ParallelDpEvent((1.0,), (GaussianDpEvent(z),)), count)
        for delta in (1e-4, 1e-6, 1e-9):
            check_price(epsilon, event, delta, ADD, gaussian(math.sqrt(count) / z))


@pytest.mark.parametrize(("count", "mu", "delta"), [(10_000, 1.0, 1e-12), (30_000, 3.0, 1e-12), (100_000, 0.3, 1e-11)])
def test_figures_at_tiny_deltas_are_no_lower_than_the_truth(count: int, mu: float, delta: float) -> None:
    event = repeat(ParallelDpEvent((1.0,), (GaussianDpEvent(math.sqrt(count) / mu),)), count)
    assert epsilon(event, delta, ADD) >= exact(gaussian(mu), delta) * (1 - 1e-9)


def test_wrong_prices_are_caught() -> None:
    """What passes above does not pass for a price that errs."""

    def ignores_adjacency(event: DpEvent, delta: float, _: Adjacency) -> float:
        return epsilon(event, delta, ADD)

    def rounds_down(event: DpEvent, delta: float, adjacency: Adjacency) -> float:
        return epsilon(event, delta, adjacency) * 0.999

    def takes_ten_deltas(event: DpEvent, delta: float, adjacency: Adjacency) -> float:
        return epsilon(event, 10 * delta, adjacency)

    def counts_once(event: DpEvent, delta: float, adjacency: Adjacency) -> float:
        return epsilon(event.event, delta, adjacency)

    def adds_up(event: DpEvent, delta: float, adjacency: Adjacency) -> float:
        return event.count * epsilon(event.event, delta / event.count, adjacency)

    event, oracle = repeat(GaussianDpEvent(4.0), 4), gaussian(1.0)
    check_price(epsilon, event, 1e-6, REPLACE, oracle)
    for wrong in (ignores_adjacency, rounds_down, takes_ten_deltas, counts_once, adds_up):
        with pytest.raises(AssertionError):
            check_price(wrong, event, 1e-6, REPLACE, oracle)


# Poisson-sampled Gaussian: DP-SGD

# research: auditing.md, section 3. (sigma, q, steps, delta) -> PLD, lower and upper bound of prv_accountant
# (Gopi, Lee and Wutschitz 2021), PLD under replace-one.
PUBLISHED = [
    (1.0, 0.01, 1000, 1e-5, 1.828, 1.778, 1.878, 2.84),
    (0.7, 0.02, 500, 1e-5, 6.65, 6.60, 6.70, 8.35),
    (2.0, 0.05, 2000, 1e-6, 6.11, 6.06, 6.16, 12.57),
]


def dpsgd(sigma: float, q: float, steps: int) -> DpEvent:
    return repeat(PoissonSampledDpEvent(q, GaussianDpEvent(sigma)), steps)


def opacus_gdp(sigma: float, q: float, steps: int, delta: float) -> float:
    from opacus.accountants import GaussianAccountant

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns itself that it may underestimate
        library = GaussianAccountant()
    library.history = [(sigma, q, steps)]
    return float(library.get_epsilon(delta))


@pytest.mark.parametrize(("sigma", "q", "steps", "delta", "pld", "lower", "upper", "replace"), PUBLISHED)
def test_published_figures(
    sigma: float, q: float, steps: int, delta: float, pld: float, lower: float, upper: float, replace: float
) -> None:
    event = dpsgd(sigma, q, steps)
    assert epsilon(event, delta, ADD) == pytest.approx(pld, abs=0.005)
    assert epsilon(event, delta, REPLACE) == pytest.approx(replace, abs=0.005)
    assert accountant(event, 1e-6, ADD) == accountant(event, 1e-6, REPLACE) == "PLD"

    def check_bounds(found: float) -> None:
        assert lower <= found <= upper

    check_bounds(epsilon(event, delta, ADD))
    with pytest.raises(AssertionError):  # Opacus's Gaussian-DP accountant lies below the proved lower bound
        check_bounds(opacus_gdp(sigma, q, steps, delta))


@pytest.mark.parametrize("adjacency", BOTH)
def test_one_sampled_gaussian(adjacency: Adjacency) -> None:
    """The worse of two neighbours' divergences, integrated. Replaced, both samples may hold the unit."""
    z, q = 0.8, 0.1

    def oracle(eps: float) -> float:
        x = np.linspace(-14 * z, 14 * z + 2, 80_001)
        centre = 1.0 if adjacency is REPLACE else 0.0

        def density(mean: float) -> Any:
            return np.exp(-((x - mean) ** 2) / (2 * z**2)) / (z * math.sqrt(2 * math.pi))

        out = density(centre)
        one = (1 - q) * out + q * density(centre + 1)
        other = (1 - q) * out + q * density(centre - 1) if adjacency is REPLACE else out
        step = x[1] - x[0]
        return max(float(np.maximum(a - math.exp(eps) * b, 0).sum() * step) for a, b in ((one, other), (other, one)))

    found, truth = epsilon(PoissonSampledDpEvent(q, GaussianDpEvent(z)), 1e-5, adjacency), exact(oracle, 1e-5)
    assert found == pytest.approx(truth, rel=1e-3)


@pytest.mark.parametrize("adjacency", BOTH)
def test_sampling_all_and_sampling_none(adjacency: Adjacency) -> None:
    bare = GaussianDpEvent(2.0)
    assert epsilon(PoissonSampledDpEvent(1.0, bare), 1e-6, adjacency) == epsilon(bare, 1e-6, adjacency)
    assert epsilon(PoissonSampledDpEvent(0.0, bare), 1e-6, adjacency) == 0


# Laplace, discrete Gaussian, exponential mechanism


@pytest.mark.parametrize(("adjacency", "diameter"), [(ADD, 1), (REPLACE, 2)])
@pytest.mark.parametrize("scale", [0.2, 1.0, 7.5, 200.0])
def test_laplace(scale: float, adjacency: Adjacency, diameter: int) -> None:
    for delta in (1e-2, 1e-6):
        check_price(epsilon, LaplaceDpEvent(scale), delta, adjacency, laplace(diameter / scale))


@pytest.mark.parametrize("sigma", [0.08, 0.274, 0.5, 0.93, 1.0, 2.5, 7.1])
@pytest.mark.parametrize("cells", [1, 2])
def test_discrete_gaussian_by_brute_force(sigma: float, cells: int) -> None:
    for delta in (1e-3, 1e-6, 1e-9):
        oracle = discrete_gaussian(sigma, cells)
        for adjacency in BOTH:  # the cells say what one change does; adjacency says no more
            check_price(epsilon, DiscreteGaussianDpEvent(sigma, cells), delta, adjacency, oracle)


def test_a_cell_more_or_less_is_noticed() -> None:
    for right, wrong in ((1, 2), (2, 1)):
        with pytest.raises(AssertionError):
            check_price(epsilon, DiscreteGaussianDpEvent(2.5, wrong), 1e-6, ADD, discrete_gaussian(2.5, right))


def test_a_wide_discrete_gaussian_is_a_gaussian() -> None:
    assert epsilon(DiscreteGaussianDpEvent(300.0), 1e-6, ADD) == pytest.approx(exact(gaussian(1 / 300), 1e-6), rel=1e-2)


@pytest.mark.parametrize(("eps", "count"), [(0.5, 1), (2.0, 1), (0.1, 10), (0.1, 100), (1.0, 20)])
def test_exponential_mechanism(eps: float, count: int) -> None:
    """The better of two: the optimal composition of any pure epsilon-DP, and its zCDP curve eps^2/8."""
    event = repeat(ExponentialMechanismDpEvent(eps), count)
    pure, renyian = exact(randomized_response(eps, count), 1e-6), renyi(count * eps**2 / 8, 1e-6)
    for adjacency in BOTH:
        found = epsilon(event, 1e-6, adjacency)
        assert found <= min(pure * (1 + 2e-3), renyian * 1.03, count * eps * (1 + 2e-3))
        if pure < renyian:  # a pure mechanism may be randomized response itself, and then nothing less is true
            check_price(epsilon, event, 1e-6, adjacency, randomized_response(eps, count), slack=2e-3)


def renyi(rho: float, delta: float, *, xi: float = 0.0) -> float:
    """Zero-concentrated to approximate DP, at the best real order (Canonne, Kamath and Steinke 2020, cor. 13)."""

    def at(log_order: float) -> float:
        a = 1 + math.exp(log_order)
        return xi + rho * a + math.log(1 / (a * delta)) / (a - 1) + math.log1p(-1 / a)

    return float(minimize_scalar(at, bounds=(-6, 12), method="bounded", options={"xatol": 1e-10}).fun)


@pytest.mark.parametrize("adjacency", BOTH)
@pytest.mark.parametrize("rho", [1e-4, 0.01, 0.3, 5.0])
def test_zcdp_falls_back_on_renyi(rho: float, adjacency: Adjacency) -> None:
    """zCDP states its neighbours itself. Known orders are few: up to 3 % above the best."""
    for event, xi in ((ZCDpEvent(rho), 0.0), (ZCDpEvent(rho, 0.25), 0.25), (repeat(ZCDpEvent(rho / 4), 4), 0.0)):
        found, best = epsilon(event, 1e-6, adjacency), renyi(rho, 1e-6, xi=xi)
        assert best * (1 - 1e-9) <= found <= best * 1.03
        assert found <= xi + rho + 2 * math.sqrt(rho * math.log(1e6))  # Bun and Steinke 2016
        assert accountant(event, 1e-6, adjacency) == "RDP"
    # The Gaussian mechanism is rho-zCDP, and its exact figure is lower.
    assert epsilon(ZCDpEvent(rho), 1e-6, adjacency) > exact(gaussian(math.sqrt(2 * rho)), 1e-6)


NOT_IN_PLD = ZCDpEvent(1e-90)  # costs nothing, and makes the whole go by RDP


@pytest.mark.parametrize(
    ("event", "rho"),
    [
        (GaussianDpEvent(4.0), {ADD: 1 / 32, REPLACE: 4 / 32}),
        (repeat(GaussianDpEvent(8.0), 4), {ADD: 1 / 32, REPLACE: 4 / 32}),
        (DiscreteGaussianDpEvent(4.0, 2), {ADD: 2 / 32, REPLACE: 2 / 32}),
    ],
)
@pytest.mark.parametrize("adjacency", BOTH)
def test_what_has_a_pld_has_a_renyi_curve_too(
    event: DpEvent, rho: dict[Adjacency, float], adjacency: Adjacency
) -> None:
    whole = compose([event, NOT_IN_PLD])
    assert accountant(event, 1e-6, adjacency) == "PLD" and accountant(whole, 1e-6, adjacency) == "RDP"
    best = renyi(rho[adjacency], 1e-6)
    assert best * (1 - 1e-9) <= epsilon(whole, 1e-6, adjacency) <= best * 1.03


@pytest.mark.parametrize("adjacency", BOTH)
@pytest.mark.parametrize("event", [LaplaceDpEvent(3.0), dpsgd(2.0, 0.05, 20)])
def test_renyi_is_no_lower_than_pld(event: DpEvent, adjacency: Adjacency) -> None:
    by_pld, by_rdp = epsilon(event, 1e-6, adjacency), epsilon(compose([event, NOT_IN_PLD]), 1e-6, adjacency)
    assert by_pld <= by_rdp
    if adjacency is ADD:
        assert by_rdp < 1.8 * by_pld


def test_many_choices_cost_no_more_than_their_renyi_figure() -> None:
    event = repeat(ExponentialMechanismDpEvent(0.1), 100)
    assert epsilon(event, 1e-6, ADD) == pytest.approx(renyi(1 / 8, 1e-6), rel=1e-4)
    assert accountant(event, 1e-6, ADD) == "RDP"


# Composition, parts, and no guarantee

RUN = [GaussianDpEvent(20.0), DiscreteGaussianDpEvent(30.0, 2), LaplaceDpEvent(40.0), GaussianDpEvent(20.0)]


def check_order(composed: Callable[[list[DpEvent]], DpEvent]) -> None:
    figures = {epsilon(composed(list(order)), 1e-6, ADD).hex() for order in itertools.permutations(RUN)}
    assert len(figures) == 1


def test_the_order_does_not_matter_to_the_last_bit() -> None:
    check_order(compose)
    kinds = [repeat(PoissonSampledDpEvent(0.1, GaussianDpEvent(3.0)), 7), ExponentialMechanismDpEvent(0.1), *RUN[:2]]
    one, other = compose(kinds), compose([compose(kinds[2:]), compose(kinds[:2])])
    assert epsilon(one, 1e-6, REPLACE).hex() == epsilon(other, 1e-6, REPLACE).hex()


def test_composition_grows_and_is_below_the_sum() -> None:
    event: list[DpEvent] = []
    last = 0.0
    for part in RUN:
        event.append(part)
        now = epsilon(compose(event), 1e-6, ADD)
        assert last < now < last + epsilon(part, 1e-9, ADD)
        last = now


def test_one_ledger_of_three_kinds() -> None:
    """research: auditing.md, section 3: DP-SGD, 30 Gaussians and 10 Laplace at delta 1e-5: PLD 2.22, naive 3.56."""
    kinds = [dpsgd(1.0, 0.01, 1000), repeat(GaussianDpEvent(20.0), 30), repeat(LaplaceDpEvent(20.0), 10)]
    assert epsilon(compose(kinds), 1e-5, ADD) == pytest.approx(2.22, abs=0.01)


def test_nothing_costs_nothing() -> None:
    for event in (NoOpDpEvent(), ComposedDpEvent([]), repeat(NoOpDpEvent(), 5), ExponentialMechanismDpEvent(0.0)):
        for adjacency in BOTH:
            assert epsilon(event, 1e-6, adjacency) == 0


@pytest.mark.parametrize("adjacency", BOTH)
def test_equal_parts_cost_what_one_costs(adjacency: Adjacency) -> None:
    part = GaussianDpEvent(2.0)
    whole = ParallelDpEvent((0.3, 0.7), (part, part))
    assert epsilon(whole, 1e-6, adjacency) == pytest.approx(epsilon(part, 1e-6, adjacency), rel=1e-9)
    assert epsilon(whole, 1e-6, adjacency) < 0.7 * epsilon(compose([part, part]), 1e-6, adjacency)


@pytest.mark.parametrize(("adjacency", "diameter"), [(ADD, 1), (REPLACE, 2)])
def test_unequal_parts_mix_their_deltas(adjacency: Adjacency, diameter: int) -> None:
    scales = (2.0, 5.0)
    deltas = [gaussian(diameter / z) for z in scales]
    for weights in ((0.5, 0.5), (0.9, 0.1), (0.02, 0.98), (1.0, 0.0), (0.0, 1.0)):
        whole = ParallelDpEvent(weights, tuple(GaussianDpEvent(z) for z in scales))

        def mixed(eps: float, weights: tuple[float, ...] = weights) -> float:
            return sum(w * delta(eps) for w, delta in zip(weights, deltas, strict=True))

        check_price(epsilon, whole, 1e-6, adjacency, mixed)
        worst, best = (epsilon(GaussianDpEvent(z), 1e-6, adjacency) for z in scales)
        assert best * (1 - 1e-6) <= epsilon(whole, 1e-6, adjacency) <= worst * (1 + 1e-6)
    swapped = ParallelDpEvent((0.1, 0.9), tuple(GaussianDpEvent(z) for z in scales))
    with pytest.raises(AssertionError):  # the weights belong to their events
        check_price(epsilon, swapped, 1e-6, adjacency, lambda eps: 0.9 * deltas[0](eps) + 0.1 * deltas[1](eps))


def test_three_parts_mix_by_their_own_weights() -> None:
    weights, scales = (0.2, 0.3, 0.5), (1.0, 2.0, 4.0)
    whole = ParallelDpEvent(weights, tuple(GaussianDpEvent(z) for z in scales))

    def mixed(eps: float) -> float:
        return sum(w * gaussian(1 / z)(eps) for w, z in zip(weights, scales, strict=True))

    check_price(epsilon, whole, 1e-6, ADD, mixed)


def test_mixtures_without_a_pld_cost_what_their_worst_part_costs() -> None:
    whole = ParallelDpEvent((0.5, 0.5), (ZCDpEvent(0.01), ZCDpEvent(0.3)))
    assert epsilon(whole, 1e-6, ADD) == epsilon(ZCDpEvent(0.3), 1e-6, ADD)


@pytest.mark.parametrize(
    "bare", [NonPrivateDpEvent(), GaussianDpEvent(0.0), LaplaceDpEvent(0.0), DiscreteGaussianDpEvent(0.0)]
)
def test_no_noise_is_infinite_wherever_it_hides(bare: DpEvent) -> None:
    fine = GaussianDpEvent(100.0)
    for event in (
        bare,
        repeat(bare, 3),
        compose([fine, bare]),
        PoissonSampledDpEvent(1e-9, bare),
        ParallelDpEvent((1.0, 0.0), (fine, bare)),
        ComposedDpEvent([repeat(ParallelDpEvent((0.5, 0.5), (fine, ComposedDpEvent([bare]))), 2)]),
    ):
        for adjacency in BOTH:
            assert not is_private(event)
            assert epsilon(event, 1e-6, adjacency) == math.inf
            assert accountant(event, 1e-6, adjacency) == "none"
    assert is_private(fine)


def test_the_accountant_is_named() -> None:
    sampled = dpsgd(1.0, 0.01, 1000)
    for event in (NoOpDpEvent(), *RUN, sampled, compose(RUN), ExponentialMechanismDpEvent(1.0)):
        assert accountant(event, 1e-6, ADD) == "PLD"
    for event in (ZCDpEvent(0.1), compose([*RUN, ZCDpEvent(0.1)]), GaussianDpEvent(1e-3), LaplaceDpEvent(1e-4)):
        assert accountant(event, 1e-6, ADD) == "RDP"


@pytest.mark.parametrize("adjacency", BOTH)
@pytest.mark.parametrize(
    "unpriced",
    [
        PoissonSampledDpEvent(0.1, LaplaceDpEvent(1.0)),
        PoissonSampledDpEvent(0.1, ComposedDpEvent([GaussianDpEvent(1.0)])),
        PoissonSampledDpEvent(0.1, PoissonSampledDpEvent(0.1, GaussianDpEvent(1.0))),
    ],
)
def test_an_event_without_a_price_is_refused(unpriced: DpEvent, adjacency: Adjacency) -> None:
    for event in (unpriced, compose([unpriced, GaussianDpEvent(1.0)])):
        with pytest.raises(ValueError, match="has no price here"):
            epsilon(event, 1e-6, adjacency)


def test_more_noise_costs_less_across_the_change_of_accountant() -> None:
    """Around the size where PLD gives way to RDP, the figure may jump up with less noise, never down."""
    edge = math.sqrt(0.5 / accounting._MEANINGLESS)
    figures = [epsilon(GaussianDpEvent(edge * f), 1e-6, ADD) for f in (0.9, 0.999, 1.001, 1.1, 10, 100)]
    assert figures == sorted(figures, reverse=True)


# Calibration


def laws(budget: Budget) -> dict[str, Callable[[float], DpEvent]]:
    cells = 2 if budget.adjacency is REPLACE else 1
    return {
        "gaussian": GaussianDpEvent,
        "discrete gaussian": lambda sigma: DiscreteGaussianDpEvent(sigma, cells),
        "dp-sgd": lambda sigma: dpsgd(sigma, 0.02, 100),
        "several": lambda sigma: compose(
            [repeat(DiscreteGaussianDpEvent(sigma, cells), 5), PoissonSampledDpEvent(0.01, GaussianDpEvent(sigma))]
        ),
    }


def check_calibration(
    found: Callable[[Callable[[float], DpEvent], Budget], float], name: str, asked: float, adjacency: Adjacency
) -> None:
    budget = Budget(asked, 1e-6, adjacency)
    event_at = laws(budget)[name]
    spent = epsilon(event_at(found(event_at, budget)), 1e-6, adjacency)
    assert 0.99 * asked < spent <= asked


@pytest.mark.parametrize("adjacency", BOTH)
@pytest.mark.parametrize(
    ("name", "asked"),
    [
        *itertools.product(["gaussian", "discrete gaussian"], [0.03, 0.3, 2.0, 20.0]),
        *itertools.product(["dp-sgd"], [0.1]),
        *itertools.product(["several"], [0.1]),
    ],
)
def test_calibration_spends_what_was_asked(name: str, asked: float, adjacency: Adjacency) -> None:
    check_calibration(calibrate, name, asked, adjacency)


def test_sloppy_calibration_is_caught() -> None:
    for factor in (0.99, 1.02):
        with pytest.raises(AssertionError):
            check_calibration(lambda e, b, f=factor: f * calibrate(e, b), "gaussian", 1.0, ADD)


def test_calibration_agrees_with_the_analytic_gaussian() -> None:
    scale = calibrate(GaussianDpEvent, Budget(1.0, 1e-6))
    truth = brentq(lambda z: gaussian(1 / z)(1.0) - 1e-6, 0.5, 100)
    assert truth <= scale <= truth * 1.001


@pytest.mark.parametrize(
    "hopeless",
    [
        lambda _: GaussianDpEvent(1.0),
        lambda _: NonPrivateDpEvent(),
        lambda scale: compose([GaussianDpEvent(scale), LaplaceDpEvent(1.0)]),
        lambda scale: repeat(ZCDpEvent(1 / scale**2), 10**9),
    ],
)
def test_what_cannot_be_reached_is_refused(hopeless: Callable[[float], DpEvent]) -> None:
    with pytest.raises(JobError, match=r"epsilon 0\.001 cannot be reached .* ask for fewer steps or a larger epsilon"):
        calibrate(hopeless, Budget(0.001, 1e-6), high=1e3)


# Events from elsewhere: a manifest may ask for the price of anything

SAMPLED = {
    "kind": "poisson-sampled",
    "sampling_probability": 1e-3,
    "event": {"kind": "gaussian", "noise_multiplier": 1.0},
}


def often(event: dict[str, Any], *counts: int) -> dict[str, Any]:
    for count in counts:
        event = {"kind": "self-composed", "event": event, "count": count}
    return event


@pytest.mark.parametrize("adjacency", BOTH)
@pytest.mark.parametrize(
    "document",
    [
        {"kind": "gaussian", "noise_multiplier": 1e-100},
        {"kind": "gaussian", "noise_multiplier": 1e100},
        {"kind": "laplace", "noise_multiplier": 1e-100},
        {"kind": "laplace", "noise_multiplier": 1e100},
        {"kind": "discrete-gaussian", "sigma": 1e-100, "cells": 10**9},
        {"kind": "discrete-gaussian", "sigma": 1e100, "cells": 10**9},
        {"kind": "exponential-mechanism", "epsilon": 1e100},
        {"kind": "zcdp", "rho": 1e100, "xi": 1e100},
        often({"kind": "zcdp", "rho": 1e100, "xi": 1e100}, *[10**9] * 15),
        often({"kind": "gaussian", "noise_multiplier": 1e5}, 10**9),
        often(SAMPLED, 10**9),
        often(SAMPLED, 1000, 1000, 1000),
    ],
    ids=lambda document: str(document)[:80],
)
def test_extreme_events_are_priced_at_once(document: dict[str, Any], adjacency: Adjacency) -> None:
    accounting._priced.cache_clear()
    with within(5):
        found = epsilon(from_json(document), 1e-6, adjacency)
    assert found >= 0 and not math.isnan(found)


@pytest.mark.parametrize(
    "document",
    [
        often({"kind": "none"}, 10**9),
        often({"kind": "laplace", "noise_multiplier": 1e5}, 10**9),
        often({"kind": "exponential-mechanism", "epsilon": 1e-5}, 10**9),
        often({"kind": "gaussian", "noise_multiplier": 1e50}, 10**9, 10**9),
        often({**SAMPLED, "sampling_probability": 1e-6}, 10**9),
        {"kind": "discrete-gaussian", "sigma": 2e4, "cells": 10**9},
        {**SAMPLED, "sampling_probability": 1e-9, "event": {"kind": "gaussian", "noise_multiplier": 0.03}},
    ],
    ids=["none", "laplace", "exponential", "gaussian", "sampled", "discrete", "loud"],
)
def test_hostile_events_are_priced_in_bounded_time(document: dict[str, Any]) -> None:
    accounting._priced.cache_clear()
    with within(10):  # instead of hours; a second on an idle machine
        epsilon(from_json(document), 1e-6, ADD)


@pytest.mark.parametrize("adjacency", BOTH)
def test_parts_in_parallel_cost_no_more_than_the_dearest(adjacency: Adjacency) -> None:
    """One part is cheaper by RDP (choices), the other by PLD (Gaussian noise): each keeps its own."""
    choices = compose([repeat(ExponentialMechanismDpEvent(0.05), 60), repeat(GaussianDpEvent(40.0), 10)])
    noise = repeat(GaussianDpEvent(17.0), 10)
    apart = [epsilon(part, 1e-6, adjacency) for part in (choices, noise)]
    together = epsilon(ParallelDpEvent((0.7, 0.3), (choices, noise)), 1e-6, adjacency)
    assert min(apart) * 0.9 < together <= max(apart) * (1 + 1e-9)
    assert epsilon(compose([ParallelDpEvent((0.7, 0.3), (choices, noise))]), 1e-6, adjacency) == together
