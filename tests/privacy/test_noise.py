"""Noise has the law that it claims, betrays no value by its last bits, and cannot be predicted.

Thresholds are fixed beforehand: a true law is rejected with probability 1e-7 a check, and the seeds
below are fixed besides, so that nothing here fails by chance. Every check is also applied to broken
copies, which it must catch.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy import stats

from synthkit.privacy.noise import GRID, NoiseSource

REJECT = 1e-7
DRAWS = 100_000
TOP = 2**64 - 1
Draw = Callable[[NoiseSource, int], np.ndarray]


def seeded(seed: int = 2025) -> NoiseSource:
    return NoiseSource(test_seed=seed)


class Scripted(NoiseSource):
    """Words as written; then the seeded stream."""

    def __init__(self, words: Sequence[int]) -> None:
        super().__init__(test_seed=0)
        self.script = list(words)

    def words(self, size: int) -> np.ndarray:
        written, self.script = self.script[:size], self.script[size:]
        return np.concatenate([np.array(written, dtype=np.uint64), super().words(size - len(written))])


# Laws


def check_continuous(draw: Draw, law: Callable[[np.ndarray], np.ndarray]) -> None:
    """Kolmogorov and Smirnov; and neighbours in the stream know nothing of each other."""
    x = draw(seeded(), DRAWS)
    assert x.shape == (DRAWS,) and x.dtype == np.float64
    assert stats.kstest(x, law).pvalue >= REJECT
    for lag in (1, 2, DRAWS // 2):  # Box and Muller's two halves share their radius and their angle
        for f in (np.asarray, np.abs):
            assert abs(np.corrcoef(f(x[lag:]), f(x[:-lag]))[0, 1]) < 5.5 / math.sqrt(DRAWS - lag)


def check_discrete(draw: Draw, pmf: Callable[[np.ndarray], np.ndarray], reach: int) -> None:
    """Chi-square against the exact probabilities; rare outcomes are taken together."""
    x = draw(seeded(), DRAWS)
    assert x.shape == (DRAWS,) and x.dtype == np.int64
    support = np.arange(-reach, reach + 1)
    weights = pmf(support)
    expected = DRAWS * weights / weights.sum()
    assert np.abs(x).max() <= reach
    # Neighbouring outcomes are joined until 25 are expected in each.
    group = np.minimum((np.cumsum(expected) - expected / 2) // 25, (DRAWS - 25) // 25).astype(int)
    _, group = np.unique(group, return_inverse=True)
    observed = np.bincount(group, np.bincount(x + reach, minlength=len(support)))
    expected = np.bincount(group, expected)
    assert len(expected) >= 3
    assert stats.chisquare(observed, expected).pvalue >= REJECT


def caught(check: Callable[..., None], *arguments: object) -> None:
    with pytest.raises(AssertionError):
        check(*arguments)


def times(factor: float, draw: Draw) -> Draw:
    return lambda source, size: factor * draw(source, size)


def test_uniform() -> None:
    draw: Draw = NoiseSource.uniform
    check_continuous(draw, stats.uniform.cdf)
    for broken in (times(0.99, draw), lambda source, size: np.tile(draw(source, size // 2), 2)):
        caught(check_continuous, broken, stats.uniform.cdf)


def test_uniform_reaches_one_and_never_zero() -> None:
    """log(0) would be infinite noise; small values keep their precision."""
    assert Scripted([0, 0]).uniform(1)[0] == 2.0**-129
    assert Scripted([TOP, TOP]).uniform(1)[0] == 1.0
    assert Scripted([0, 3 << 60]).uniform(1)[0] == pytest.approx(3 * 2.0**-68, rel=1e-15)
    assert np.isfinite(Scripted([0] * 4).normal(2)).all()


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_normal_of_every_size(size: int) -> None:
    assert seeded().normal(size).shape == (size,)


def test_normal() -> None:
    draw: Draw = NoiseSource.normal
    check_continuous(draw, stats.norm.cdf)

    def same_halves(source: NoiseSource, size: int) -> np.ndarray:
        half = draw(source, size // 2)
        return np.concatenate([half, half])

    def one_radius(source: NoiseSource, size: int) -> np.ndarray:
        signs = np.where(source.coins(size // 2, 0.5), 1, -1)
        half = draw(source, size // 2)
        return np.concatenate([half, signs * half])

    for broken in (times(0.7, draw), times(1.3, draw), times(0.95, draw), same_halves, one_radius):
        caught(check_continuous, broken, stats.norm.cdf)


@pytest.mark.parametrize("scale", [1e-6, 0.3, 1.0, 77.7, 1e9])
def test_gaussian(scale: float) -> None:
    def at(factor: float) -> Draw:
        return lambda source, size: (source.gaussian(np.full(size, 5 * scale), factor * scale) - 5 * scale) / scale

    check_continuous(at(1.0), stats.norm.cdf)
    for factor in (0.7, 1.3):
        caught(check_continuous, at(factor), stats.norm.cdf)


def gaussian_weights(sigma: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.exp(-(x.astype(np.float64) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize("sigma", [0.35, 0.61, 1.0, 2.0, 2.718, 10.3, 997.0])
def test_discrete_gaussian(sigma: float) -> None:
    weights, reach = gaussian_weights(sigma), math.ceil(9 * sigma) + 1

    def at(factor: float) -> Draw:
        return lambda source, size: source.discrete_gaussian(factor * sigma, size)

    def rounded(source: NoiseSource, size: int) -> np.ndarray:
        return np.floor(sigma * source.normal(size)).astype(np.int64)

    def without_thinning(source: NoiseSource, size: int) -> np.ndarray:
        return source.discrete_laplace(math.floor(sigma) + 1, size)

    check_discrete(at(1.0), weights, reach)
    for broken in (at(0.7), at(1.3), without_thinning):
        caught(check_discrete, broken, weights, reach)
    if sigma < 100:
        caught(check_discrete, rounded, weights, reach)


def test_a_discrete_gaussian_far_below_one() -> None:
    """P[1] / P[0] = exp(-1 / (2 sigma^2)): at 0.25, 33.5 in 100,000; at 0.05 never."""
    sigma = 0.25
    share = 2 * math.exp(-8) / (1 + 2 * math.exp(-8))
    seen = np.count_nonzero(seeded().discrete_gaussian(sigma, DRAWS))
    assert stats.binomtest(seen, DRAWS, share).pvalue >= REJECT
    assert (
        stats.binomtest(np.count_nonzero(seeded().discrete_gaussian(0.7 * sigma, DRAWS)), DRAWS, share).pvalue < REJECT
    )
    assert not seeded().discrete_gaussian(0.05, DRAWS).any()


def test_a_discrete_gaussian_of_great_width_is_a_gaussian() -> None:
    sigma = 2.0**50 + 0.5
    check_continuous(lambda source, size: source.discrete_gaussian(sigma, size) / sigma, stats.norm.cdf)


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.5, 1 / 3, 40.0])
def test_discrete_laplace(scale: float) -> None:
    def weights(x: np.ndarray) -> np.ndarray:
        return np.exp(-np.abs(x) / scale)

    def at(factor: float) -> Draw:
        return lambda source, size: source.discrete_laplace(factor * scale, size)

    def zero_twice(source: NoiseSource, size: int) -> np.ndarray:
        """A sign on every magnitude, so that both zeros count (the reason for the rejection in algorithm 2)."""
        magnitude = source._geometric(size) if scale == 1 else np.abs(source.discrete_laplace(scale, size))
        return np.where(source.coins(size, 0.5), -magnitude, magnitude)

    reach = math.ceil(40 * scale)
    check_discrete(at(1.0), weights, reach)
    for factor in (0.7, 1.3):
        caught(check_discrete, at(factor), weights, reach)
    if scale == 1:
        caught(check_discrete, zero_twice, weights, reach)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, 2.0**60])
def test_scales_that_cannot_be_are_refused(bad: float) -> None:
    source, values = seeded(), np.zeros(3)
    for draw in (source.discrete_gaussian, source.discrete_laplace):
        with pytest.raises((ValueError, OverflowError)):
            draw(bad, 3)
    if bad != 2.0**60:
        with pytest.raises((ValueError, OverflowError)):
            source.gaussian(values, bad)


@pytest.mark.parametrize("size", [0, 1, 5])
def test_integer_noise_of_every_size(size: int) -> None:
    for noise in (seeded().discrete_gaussian(2.5, size), seeded().discrete_laplace(2.5, size)):
        assert noise.shape == (size,) and noise.dtype == np.int64


# Coins, choices and whole numbers


def check_coins(coins: Callable[[NoiseSource, int, float], np.ndarray], probability: float) -> None:
    """Mean, and variance of batches: a shuffled batch has the right mean, and no variance."""
    source, batches, size = seeded(), 2000, 100
    batch = np.array([coins(source, size, probability).sum() for _ in range(batches)])
    total = batches * size
    assert stats.binomtest(int(batch.sum()), total, probability).pvalue >= REJECT
    spread = batch.var() * batches / (size * probability * (1 - probability))
    assert REJECT <= stats.chi2.cdf(spread, batches - 1) <= 1 - REJECT


@pytest.mark.parametrize("probability", [0.05, 0.19, 0.5, 0.97])
def test_coins(probability: float) -> None:
    check_coins(NoiseSource.coins, probability)

    def shuffled(source: NoiseSource, size: int, p: float) -> np.ndarray:
        return source.words(size).argsort() < round(size * p)

    def clustered(source: NoiseSource, size: int, p: float) -> np.ndarray:
        return np.repeat(source.coins(size // 2, p), 2)

    def biased(source: NoiseSource, size: int, p: float) -> np.ndarray:
        return source.coins(size, 0.9 * p)

    for broken in (shuffled, clustered, biased):
        caught(check_coins, broken, probability)


def test_coins_at_the_ends() -> None:
    assert not seeded().coins(DRAWS, 0.0).any() and not Scripted([0, 0]).coins(2, 0.0).any()
    assert seeded().coins(DRAWS, 1.0).all() and Scripted([TOP, TOP]).coins(2, 1.0).all()
    assert Scripted([2**63 - 1, 2**63]).coins(2, 0.5).tolist() == [True, False]
    assert Scripted([TOP]).coins(1, math.nextafter(1, 0)).tolist() == [False]


def check_choice(choice: Callable[[NoiseSource, np.ndarray], int], log_weights: Sequence[float]) -> None:
    """Chi-square of 6,000 choices."""
    source, logs = seeded(), np.array(log_weights)
    weights = np.exp(logs - logs.max())
    expected = 6000 * weights / weights.sum()
    seen = np.bincount([choice(source, logs) for _ in range(6000)], minlength=len(logs))
    assert not seen[weights == 0].any()
    possible = expected > 0
    assert stats.chisquare(seen[possible], expected[possible]).pvalue >= REJECT


@pytest.mark.parametrize(
    "log_weights",
    [[0.0, 0.0, 0.0], [1.0, -1.0, 0.5, 2.0], [1e6, 1e6 + 1], [0.0, -math.inf, 0.3], [-2000.0, -2001.0, -4000.0]],
)
def test_choice(log_weights: list[float]) -> None:
    check_choice(NoiseSource.choice, log_weights)
    caught(check_choice, lambda source, logs: int(logs.argmax()), log_weights)
    caught(check_choice, lambda source, logs: source.choice(0.5 * logs + 0.7 * np.arange(len(logs))), log_weights)


def test_choice_at_the_ends_of_the_uniform() -> None:
    """The least and the greatest draw still name a candidate of some weight."""
    logs = np.array([0.0, -math.inf, -800.0, -1.0])
    assert Scripted([0, 0]).choice(logs) in (0, 3)
    assert Scripted([TOP, TOP]).choice(logs) == 0
    assert seeded().choice(np.array([-5.0])) == 0


def check_below(below: Callable[[NoiseSource, int, int], np.ndarray], bound: int) -> None:
    seen = np.bincount(below(seeded(), bound, DRAWS), minlength=bound)
    assert len(seen) == bound
    if bound > 1:
        assert stats.chisquare(seen).pvalue >= REJECT


@pytest.mark.parametrize("bound", [1, 2, 3, 10, 64, 1000])
def test_below(bound: int) -> None:
    check_below(NoiseSource._below, bound)
    caught(check_below, lambda source, n, size: source._below(n + 1, size), bound)
    if bound > 2:
        caught(check_below, lambda source, n, size: source._below(256, size) * n // 240 % n, bound)


def test_below_draws_again_above_the_last_whole_multiple() -> None:
    """2^64 = 1 modulo 3 and modulo 5: the last word would favour 0."""
    for bound in (3, 5):
        assert Scripted([TOP, *range(bound)] + [0] * 20)._below(bound, bound).tolist() == list(range(bound))
    assert Scripted([TOP])._below(4, 1).tolist() == [3]  # 2^64 = 0 modulo 4: every word is good
    wide = 2**56 - 1
    found = seeded()._below(wide, 1000)
    assert found.min() >= 0 and found.max() < wide and found.max() > wide * 0.98


# The exact way of deciding a coin


def check_exact_coins(source: NoiseSource, gamma: float, exact: Fraction) -> None:
    n = 3000
    coins = source._exponential_coins(np.full(n, gamma), lambda _: exact, doubt=2.0)  # every coin is in doubt
    assert stats.binomtest(int(coins.sum()), n, math.exp(-exact)).pvalue >= REJECT


@pytest.mark.parametrize("exact", [Fraction(0), Fraction(7, 10), Fraction(1), Fraction(31, 9), Fraction(40)])
def test_exact_coins(exact: Fraction) -> None:
    check_exact_coins(seeded(), float(exact), exact)
    check_exact_coins(seeded(), 0.1, exact)  # float64's figure does not enter where there is doubt


def test_broken_exact_coins_are_caught() -> None:
    class Half(NoiseSource):
        def _settle(self, word: int, gamma: Fraction) -> bool:
            return super()._settle(word, gamma / 2)

    class Turned(NoiseSource):
        def _settle(self, word: int, gamma: Fraction) -> bool:
            return not super()._settle(word, gamma)

    for broken in (Half, Turned):
        caught(check_exact_coins, broken(test_seed=1), 0.3, Fraction(3, 10))


@pytest.mark.parametrize("gamma", [Fraction(1), Fraction(1, 3), Fraction(12, 7)])
def test_float_and_exact_coins_agree(gamma: Fraction) -> None:
    """The same words give the same coins, whichever way decides (but for the one in 2^40 in doubt)."""
    words = [int(word) for word in seeded().words(500)]
    quick = Scripted(words)._exponential_coins(np.full(500, float(gamma)), lambda _: gamma)
    slow = Scripted(words)._exponential_coins(np.full(500, float(gamma)), lambda _: gamma, doubt=2.0)
    assert (quick == slow).all() and quick.any() and not quick.all()


@pytest.mark.parametrize("gamma", [Fraction(1), Fraction(1, 3), Fraction(12, 7)])
def test_a_word_on_the_threshold_is_decided_by_further_bits(gamma: Fraction) -> None:
    with mpmath.workprec(400):
        threshold = int(
            mpmath.floor(mpmath.exp(-mpmath.mpf(gamma.numerator) / gamma.denominator) * mpmath.mpf(2) ** 256)
        )
    words = [threshold >> shift & TOP for shift in (192, 128, 64, 0)]

    def coin(*tail: int) -> bool:
        return bool(Scripted([words[0], *tail])._exponential_coins(np.array([float(gamma)]), lambda _: gamma)[0])

    assert coin(0, 0, 0) and not coin(TOP, TOP, TOP)
    assert coin(*words[1:3], words[3] - 1) and not coin(*words[1:3], words[3] + 1)


def test_a_geometric_counts_to_the_first_false() -> None:
    seen = np.bincount(seeded()._geometric(DRAWS))
    expected = DRAWS * math.exp(-1) ** np.arange(len(seen)) * (1 - math.exp(-1))
    enough = expected > 25
    seen = np.append(seen[enough], seen[~enough].sum())
    expected = np.append(expected[enough], DRAWS - expected[enough].sum())
    assert stats.chisquare(seen, expected).pvalue >= REJECT


# The last bits


@pytest.mark.parametrize("scale", [1e-30, 0.001, 0.7, 1.0, 3.3, 1e6, 1e30])
def test_every_release_is_on_the_grid(scale: float) -> None:
    grid = 2.0 ** math.floor(math.log2(scale)) * GRID
    assert scale / 2 < grid / GRID <= scale
    for value in (0.0, scale, math.pi * scale, 1e3 * scale, -1e6 * scale):
        steps = seeded().gaussian(np.full(2000, value), scale) / grid
        assert (steps == np.rint(steps)).all() and len(set(steps)) > 1900


def test_a_grid_may_be_given() -> None:
    counts = seeded().gaussian(np.full((20, 30), 0.5), 7.0, grid=1.0)
    assert counts.shape == (20, 30) and (counts == np.rint(counts)).all()


def check_last_bits(release: Callable[[np.ndarray], np.ndarray]) -> None:
    """Mironov 2012: near 0 a float is finer than near 1. What is off 1's grid cannot have come from 1.

    2^-24 is the grid of float32 below 1, 2^-53 of float64.
    """
    for bits in (24, 53):
        for value in (0.0, 1.0):
            scaled = release(np.full(DRAWS, value)).astype(np.float64) * 2.0**bits
            assert np.count_nonzero(scaled != np.rint(scaled)) == 0, f"{value} is told apart at 2^-{bits}"


def test_the_last_bits_betray_nothing() -> None:
    check_last_bits(lambda values: seeded().gaussian(values, 1.0))

    def float32(values: np.ndarray) -> np.ndarray:  # as torch adds noise
        return values.astype(np.float32) + seeded().normal(len(values)).astype(np.float32)

    def float64(values: np.ndarray) -> np.ndarray:
        return values + seeded().normal(len(values))

    for broken in (float32, float64):
        caught(check_last_bits, broken)


def test_the_attack_tells_zero_from_one_in_float32() -> None:
    """The event is seen for 0 alone, in some 9 of 100 draws: that is the leak that the grid closes."""
    noise = seeded().normal(DRAWS).astype(np.float32)
    off = [np.count_nonzero((x := (np.float32(v) + noise).astype(np.float64) * 2.0**24) != np.rint(x)) for v in (0, 1)]
    assert off[0] > 0.05 * DRAWS and off[1] == 0


def test_values_beyond_the_grid_are_cut_off_and_never_moved_apart() -> None:
    values = np.array([-math.inf, -1e300, -1.0, 0.0, 1.0, 1e300, math.inf])
    released = seeded().gaussian(values, 1.0)
    assert np.isfinite(released).all()
    bound = 2.0**52 * GRID
    assert np.abs(released).max() <= bound + 10
    noise = seeded().gaussian(np.zeros(7), 1.0)
    cut = np.clip(values, -bound, bound)
    assert np.abs(released - noise - cut).max() <= 2 * GRID


def test_the_input_is_not_changed() -> None:
    values = np.full(5, 1.25)
    seeded().gaussian(values, 1.0)
    assert (values == 1.25).all()


# Keys


def test_a_test_seed_repeats_and_says_so() -> None:
    one, other = seeded(1), seeded(1)
    assert (one.words(100) == other.words(100)).all()
    assert (one.discrete_gaussian(3.0, 50) == other.discrete_gaussian(3.0, 50)).all()
    assert (seeded(1).words(100) != seeded(2).words(100)).all()
    assert one.seeded and "NON-PRIVATE" in one.description
    assert seeded(0).seeded  # a seed of 0 is a seed
    fresh = NoiseSource()
    assert not fresh.seeded and "NON-PRIVATE" not in fresh.description and "fresh key" in fresh.description


def test_the_stream_does_not_come_round() -> None:
    words = seeded().words(200_000)
    assert len(np.unique(words)) == len(words)
    halves = seeded()
    assert (np.concatenate([halves.words(3), halves.words(7)]) == seeded().words(10)).all()
    seeds = {seeded(seed).public_seed() for seed in range(100)}
    assert len(seeds) == 100 and all(0 <= seed < 2**63 for seed in seeds)


def check_fresh(one: Sequence[int], other: Sequence[int]) -> None:
    assert len(one) == len(other) == 16 and not set(one) & set(other)


def test_two_sources_differ() -> None:
    check_fresh(NoiseSource().words(16).tolist(), NoiseSource().words(16).tolist())
    caught(check_fresh, seeded().words(16).tolist(), seeded().words(16).tolist())
    np.random.seed(0)
    one = NoiseSource().words(16).tolist()
    np.random.seed(0)
    check_fresh(one, NoiseSource().words(16).tolist())


def test_two_processes_differ() -> None:
    script = "from synthkit.privacy.noise import NoiseSource; print(*NoiseSource().words(16))"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    running = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    one, other = ([int(word) for word in process.communicate(timeout=60)[0].split()] for process in running)
    check_fresh(one, other)


def forked(source: NoiseSource) -> tuple[list[int], list[int], list[int]]:
    """What the process, its child and its grandchild draw after the forks."""
    drawn = []
    for depth in (1, 2):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                if depth == 2 and os.fork():
                    os._exit(0)
                os.write(writer, source.words(16).tobytes())
            finally:
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            drawn.append(np.frombuffer(stream.read(), dtype=np.uint64).tolist())
        os.waitpid(child, 0)
    return source.words(16).tolist(), drawn[0], drawn[1]


def check_forks(source: NoiseSource) -> None:
    source.words(5)
    parent, child, grandchild = forked(source)
    check_fresh(parent, child)
    check_fresh(parent, grandchild)
    check_fresh(child, grandchild)


def test_a_forked_child_draws_other_noise() -> None:
    check_forks(NoiseSource())

    class Unaware(NoiseSource):
        def words(self, size: int) -> np.ndarray:
            return np.frombuffer(self._stream.update(bytes(8 * size)), dtype=np.uint64)

    caught(check_forks, Unaware())


def test_a_fork_does_not_disturb_the_parent() -> None:
    """The parent's stream goes on as if nothing had happened; and a seeded one repeats everywhere."""
    source = seeded()
    parent, child, _ = forked(source)
    assert parent == child == seeded().words(16).tolist()
