"""Canaries stay hidden in the noise that was paid for, and show through less of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from synthkit.audit import bounds
from synthkit.audit.canaries import gradient_canaries, with_and_without
from synthkit.audit.neighbours import pairs
from synthkit.audit.programs import fitting
from synthkit.audit.replay import Call, replay
from synthkit.privacy import accounting
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.events import DiscreteGaussianDpEvent, ExponentialMechanismDpEvent, compose, repeat
from synthkit.privacy.mechanisms.counts import counts_event, counts_radius
from synthkit.privacy.mechanisms.dpsgd import step_event
from synthkit.privacy.mechanisms.moments import sum_event
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Charge
from synthkit.synthesizers.base import method
from tests.tables import schema

DELTA = 1e-3
ALPHA = 1e-6  # chance that a bound is wrong: fixed before anything was drawn
TRIALS = 30_000


class Quieter(NoiseSource):
    """Noise of less than was paid for."""

    def __init__(self, share: float, seed: int) -> None:
        super().__init__(test_seed=seed)
        self.share = share

    def gaussian(self, values: NDArray[np.float64], scale: float, *, grid: float | None = None) -> NDArray[np.float64]:
        return super().gaussian(values, scale * self.share) if self.share else np.asarray(values, dtype=float)

    def discrete_gaussian(self, sigma: float, size: int) -> NDArray[np.int64]:
        return super().discrete_gaussian(sigma * self.share, size)


def answers(event: Any, left: Any, right: Any, *, radius: float = 1.0, replaced: bool = False) -> tuple[Call, Call]:
    """One answer of a replay, on both sides."""
    charge = Charge(event, "probe", radius, "test", norm="L2")
    sides = [np.asarray(side, dtype=float) for side in (left, right)]
    one, two = (Call(charge, side, side, radius * (2 if replaced else 1), "here") for side in sides)
    return one, two


def seen(
    calls: list[tuple[Call, Call]], *, share: float = 1.0, seed: int = 0, delta: float = DELTA, trials: int = TRIALS
) -> tuple[float, float]:
    """Bounds on epsilon: of any mechanism, and of one whose trade-off is Gaussian."""
    left, right = ([one for one, _ in calls], [two for _, two in calls])
    inside, outside = with_and_without([left], [right], trials=trials, noise=Quieter(share, seed))
    assert inside.shape == outside.shape == (trials,)
    return tuple(bound(inside, outside, delta, alpha=ALPHA).epsilon for bound in (bounds.multi_run, bounds.gaussian))


def price(event: Any, adjacency: Adjacency = Adjacency.ADD_OR_REMOVE, delta: float = DELTA) -> float:
    return accounting.epsilon(event, delta, adjacency)


# Answers with and without one unit


@pytest.mark.parametrize("adjacency", list(Adjacency))
def test_counts(adjacency: Adjacency) -> None:
    budget = Budget(3.0, DELTA, adjacency)
    sigma = accounting.calibrate(lambda s: repeat(counts_event(s, budget), 3), budget)
    event, replaced = counts_event(sigma, budget), adjacency is Adjacency.REPLACE_ONE
    claimed = price(repeat(event, 3), adjacency)
    right = [4, 1, 8] if replaced else [4, 1, 9]
    left = [5, 0, 8] if replaced else [4, 1, 8]
    calls = [answers(event, left, right, radius=counts_radius(budget), replaced=replaced)] * 3
    anyone, gaussian = seen(calls)
    assert 0.2 * claimed < anyone <= claimed
    assert 0.8 * claimed < gaussian <= claimed
    assert seen(calls, share=0.7)[1] > 1.2 * claimed
    radius = counts_radius(budget)
    twice = [
        answers(event, one.exact, one.exact + 2 * (two.exact - one.exact), radius=radius, replaced=replaced)
        for one, two in calls
    ]
    assert seen(twice)[1] > 1.7 * claimed and seen(twice)[0] > claimed


@pytest.mark.parametrize("adjacency", list(Adjacency))
def test_sums(adjacency: Adjacency) -> None:
    reach = 2.0 if adjacency is Adjacency.REPLACE_ONE else 1.0
    event = sum_event(7.0, 6.0, Budget(1.0, DELTA, adjacency))
    claimed = price(event, adjacency)
    gap = np.array([0.6, -0.8, 0.0]) * 6.0 * reach
    calls = [answers(event, [1.5, 2.5, -7.0], np.array([1.5, 2.5, -7.0]) + gap, radius=6.0, replaced=reach > 1)]
    anyone, gaussian = seen(calls)
    assert 0.2 * claimed < anyone <= claimed
    assert 0.8 * claimed < gaussian <= claimed
    assert seen(calls, share=0.7)[1] > 1.2 * claimed
    calls = [answers(event, np.zeros(3), 2 * gap, radius=6.0, replaced=reach > 1)]
    assert seen(calls)[1] > 1.6 * claimed


@pytest.mark.parametrize(("adjacency", "reach"), zip(Adjacency, (1.0, 2.0), strict=True))
def test_choices(adjacency: Adjacency, reach: float) -> None:
    """At its worst: one candidate gains what all others lose."""
    event = ExponentialMechanismDpEvent(2.0)
    candidates = np.arange(20)

    def sides(gain: float) -> list[tuple[Call, Call]]:
        left = np.where(candidates == 0, -gain, gain) / 2
        one, two = answers(event, left + 3.0, -left + 3.0, replaced=reach > 1)
        return [(one, two)]

    anyone, _ = seen(sides(reach), trials=5_000, delta=0.0)
    assert 0.9 < anyone <= 2.0
    assert seen(sides(2 * reach), trials=5_000, delta=0.0)[0] > 2.0


def test_sampled_steps() -> None:
    """Twenty steps, of which the unit joined some: the attacker does not know which."""
    steps, rate, multiplier = 20, 0.25, 1.5
    event = step_event(multiplier, rate)
    claimed = price(repeat(event, steps))
    joined = np.arange(steps) % 4 == 0

    def sides(gap: float) -> list[tuple[Call, Call]]:
        return [answers(event, [k, 0.0], [k + gap * there, 0.0]) for k, there in enumerate(joined)]

    anyone, gaussian = seen(sides(1.0))
    assert 0.1 * claimed < anyone <= claimed and 0.6 * claimed < gaussian <= claimed
    assert seen(sides(1.0), share=0.7)[1] > claimed
    assert seen(sides(2.0))[1] > 1.5 * claimed


@pytest.mark.parametrize("rate", [0.05, 0.25])
def test_sampled_steps_under_replacement(rate: float) -> None:
    """The unit sits out in both worlds: an attack that forgot one of them would see more than there is."""
    steps, multiplier = 20, 1.2
    event = step_event(multiplier, rate)
    claimed = price(repeat(event, steps), Adjacency.REPLACE_ONE)

    def sides(gap: float) -> list[tuple[Call, Call]]:
        return [answers(event, [-gap / 2 * (k < 5)], [gap / 2 * (k < 5)], replaced=True) for k in range(steps)]

    anyone, gaussian = seen(sides(2.0))
    assert anyone <= claimed and gaussian <= claimed and gaussian > 0.5 * claimed
    assert seen(sides(4.0))[1] > claimed


def test_everything_that_is_released_counts_together() -> None:
    event = DiscreteGaussianDpEvent(4.0)
    alone, other = answers(event, [0], [1]), answers(event, [7, 7], [7, 8])
    still = answers(event, [3], [3])
    one, many = seen([alone]), seen([alone, other, still] * 5)
    assert many[1] > 2 * one[1] > 0
    assert many[1] <= price(repeat(event, 10))
    assert seen([still])[1] == 0.0, "an answer that nobody moves says nothing"
    mixed = [alone, answers(ExponentialMechanismDpEvent(0.5), [0, 0], [0, 1])]
    assert seen(mixed, trials=2_000)[0] <= price(compose([event, ExponentialMechanismDpEvent(0.5)]))


def test_a_replay_hands_over_what_is_released_again() -> None:
    public = schema(rows=60)
    budget = Budget(1.0, DELTA)
    program = fitting(method("independent"), public, budget, rows=5)
    pair = next(iter(pairs(public, Adjacency.ADD_OR_REMOVE, rows=60)))
    found = replay(program, pair.left, pair.right)
    scores = with_and_without(*found.calls, trials=20_000, noise=NoiseSource(test_seed=0))
    bound = bounds.gaussian(*scores, DELTA, alpha=ALPHA)
    assert 0.5 < bound.epsilon <= 1.0
    scores = with_and_without(*found.calls, trials=20_000, noise=Quieter(0.7, 0))
    assert bounds.gaussian(*scores, DELTA, alpha=ALPHA).epsilon > 1.0


def test_the_noise_is_fresh_where_no_source_is_given() -> None:
    call = [[answers(DiscreteGaussianDpEvent(4.0), [0], [1])[side]] for side in (0, 1)]
    one, two = (with_and_without([call[0]], [call[1]], trials=100)[0] for _ in range(2))
    assert not np.array_equal(one, two)


# Gradients

STEPS, RATE, MULTIPLIER, CANARIES = 20, 0.25, 4.0, 5_000


def shown(noise: NoiseSource, **options: Any) -> bounds.Bound:
    found = gradient_canaries(
        canaries=CANARIES,
        steps=STEPS,
        sample_rate=RATE,
        noise_multiplier=MULTIPLIER,
        noise=noise,
        clipping="ghost",
        **options,
    )
    assert found.score.shape == found.included.shape == (CANARIES,)
    right, made = bounds.guesses(found.score, found.included, 250)
    return bounds.one_run_gaussian(right, made, CANARIES, 1e-5, alpha=ALPHA)


def test_canaries_stay_hidden_in_dp_sgd_and_show_without_its_noise() -> None:
    claimed = price(repeat(step_event(MULTIPLIER, RATE), STEPS), delta=1e-5)
    assert claimed == pytest.approx(1.149, abs=0.01)
    assert shown(NoiseSource(test_seed=0)).epsilon < 0.6 * claimed
    assert shown(Quieter(0.25, 1)).refutes(claimed)
    assert shown(Quieter(0.0, 2)).refutes(2.5 * claimed)


def test_a_trainer_that_clips_too_late_is_found() -> None:
    """A clipping norm four times the one that the noise is set for."""
    from synthkit.privacy.mechanisms.dpsgd import NoisyGradients

    class Generous(NoisyGradients):
        def _clipped_sum(self, rows: Any, owners: Any) -> Any:
            return 4 * super()._clipped_sum(rows, owners)

    claimed = price(repeat(step_event(MULTIPLIER, RATE), STEPS), delta=1e-5)
    assert shown(NoiseSource(test_seed=0), make=Generous).refutes(claimed)


def test_half_of_the_canaries_are_in() -> None:
    found = gradient_canaries(
        canaries=400, steps=2, sample_rate=1.0, noise_multiplier=0.01, noise=NoiseSource(test_seed=0)
    )
    assert 140 < found.included.sum() < 260
    assert found.score[found.included].min() > found.score[~found.included].max()
