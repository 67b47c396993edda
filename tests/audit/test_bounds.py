"""Lower bounds hold as often as they say, see what they should see, and agree with other derivations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import optimize, special, stats

from synthkit.audit.bounds import (
    Bound,
    clopper_pearson,
    delta_of_mu,
    epsilon_of_mu,
    gaussian,
    guesses,
    multi_run,
    one_run,
    one_run_gaussian,
)

DELTA = 1e-5
ALARM = 1e-6  # chance of a false alarm of a statistical test, each


def mu_of(epsilon: float) -> float:
    """The Gaussian mechanism that costs just epsilon at DELTA."""
    return float(optimize.brentq(lambda mu: delta_of_mu(mu, epsilon) - DELTA, 1e-4, 60))


def worlds(mu: float, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(mu, 1, size), rng.normal(0, 1, size)


def guessed(mu: float, canaries: int, count: int, seed: int, *, noise: float = 1.0) -> tuple[int, int]:
    """One run of a Gaussian mechanism over canaries, with ``noise`` of what was claimed."""
    rng = np.random.default_rng(seed)
    included = rng.random(canaries) < 0.5
    return guesses(included * mu + noise * rng.normal(size=canaries), included, count)


def too_many(repeats: int, alpha: float) -> float:
    """So many wrong bounds among ``repeats`` have a chance below ALARM."""
    return float(stats.binom.isf(ALARM, repeats, alpha))


# Clopper and Pearson


@pytest.mark.parametrize("alpha", [0.2, 0.05, 1e-6])
def test_clopper_pearson_is_the_exact_limit(alpha: float) -> None:
    for hits, trials in ((0, 1), (0, 20), (1, 20), (7, 20), (19, 20), (3, 5_000)):
        known = stats.binomtest(hits, trials, alternative="less").proportion_ci(1 - alpha, method="exact").high
        assert clopper_pearson(hits, trials, alpha) == pytest.approx(known, rel=1e-9)
    assert clopper_pearson(0, 300, 0.05) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert clopper_pearson(0, 300, 0.05) == pytest.approx(3 / 300, rel=0.01), "the rule of three"
    assert clopper_pearson(20, 20, alpha) == clopper_pearson(0, 0, alpha) == 1.0


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.001])
def test_clopper_pearson_covers_every_probability(alpha: float) -> None:
    trials = 40
    limits = np.array([clopper_pearson(k, trials, alpha) for k in range(trials + 1)])
    assert (np.diff(limits) > 0).all()
    for p in np.linspace(0.001, 0.999, 50):
        missed = stats.binom.pmf(np.flatnonzero(limits < p), trials, p).sum()  # exact, no simulation
        assert missed <= alpha * (1 + 1e-9)


# mu and epsilon


def test_epsilon_of_mu_inverts_delta_of_mu() -> None:
    for mu in (0.05, 0.27, 1.0, 3.7, 8.0):
        for epsilon in (0.01, 0.5, 1.0, 4.0):
            delta = delta_of_mu(mu, epsilon)
            if 1e-12 < delta < 0.99:
                assert epsilon_of_mu(mu, delta) == pytest.approx(epsilon, abs=1e-6)
    assert mu_of(1.0) == pytest.approx(0.2681, abs=1e-4)
    assert delta_of_mu(1.0, 0.0) == pytest.approx(2 * stats.norm.cdf(0.5) - 1)  # total variation


def test_delta_of_mu_is_the_hockey_stick_divergence() -> None:
    x = np.linspace(-12, 14, 200_001)
    for mu, epsilon in ((0.5, 0.2), (1.0, 1.0), (2.0, 3.0)):
        gap = stats.norm.pdf(x, mu) - math.exp(epsilon) * stats.norm.pdf(x)
        assert delta_of_mu(mu, epsilon) == pytest.approx(np.trapezoid(np.maximum(gap, 0), x), rel=1e-6)


def test_no_mu_is_no_epsilon_and_a_large_one_is_cut_off() -> None:
    assert epsilon_of_mu(0.0, DELTA) == epsilon_of_mu(-3.0, DELTA) == 0.0
    assert epsilon_of_mu(1e-6, DELTA) == 0.0, "delta alone pays for it"
    assert epsilon_of_mu(100.0, DELTA) == 50.0
    values = [epsilon_of_mu(mu, DELTA) for mu in np.linspace(0, 9, 40)]
    assert (np.diff(values) >= 0).all()


# Many runs


def test_multi_run_holds_for_randomized_response() -> None:
    """Tight for pure privacy: the attacker sees one bit, and epsilon is exact."""
    repeats, alpha, size, rate = 300, 0.05, 2_000, math.e / (1 + math.e)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(repeats):
        inside, outside = (rng.random(size) < rate).astype(float), (rng.random(size) > rate).astype(float)
        found.append(multi_run(inside, outside, 0.0, alpha=alpha).epsilon)
    assert sum(epsilon > 1 for epsilon in found) <= too_many(repeats, alpha)
    assert 0.75 < np.median(found) < 1


def test_multi_run_holds_for_a_gaussian() -> None:
    repeats, alpha = 30, 0.05
    found = [multi_run(*worlds(mu_of(1.0), 1_000, seed), DELTA, alpha=alpha).epsilon for seed in range(repeats)]
    assert sum(epsilon > 1 for epsilon in found) <= too_many(repeats, alpha)


def test_multi_run_holds_where_the_attack_is_one_sided() -> None:
    """The canary is seen rarely and never by mistake: only one of the two inequalities is of use."""
    repeats, alpha, size = 100, 0.05, 4_000
    rng = np.random.default_rng(1)
    found = []
    for _ in range(repeats):
        inside, outside = (rng.random(size) < 0.2).astype(float), (rng.random(size) < 0.02).astype(float)
        forward = multi_run(inside, outside, 0.0, alpha=alpha).epsilon
        backward = multi_run(-outside, -inside, 0.0, alpha=alpha).epsilon
        assert forward > 1.5 and backward > 1.5
        found.append(max(forward, backward) > math.log(10))
    assert sum(found) <= too_many(repeats, 2 * alpha)


def test_multi_run_reaches_its_ceiling_without_noise() -> None:
    """Sure of every run: nothing but the number of runs limits the bound."""
    size, alpha = 2_000, 0.05
    bound = multi_run(np.ones(size), np.zeros(size), DELTA, alpha=alpha)
    limit = 1 - (alpha / 2) ** (2 / size)
    assert bound.epsilon == pytest.approx(math.log((1 - DELTA - limit) / limit))
    assert bound.epsilon == pytest.approx(5.6, abs=0.1) and bound.refutes(5.0) and not bound.refutes(6.0)
    assert bound.confidence == 0.95 and bound.delta == DELTA and "2000 runs" in bound.how


@pytest.mark.parametrize("bound", [multi_run, gaussian])
def test_nothing_is_learnt_from_nothing(bound) -> None:
    flat = np.ones(500)
    assert bound(flat, flat, DELTA).epsilon == 0.0, "all scores are tied"
    assert bound(np.ones(2), np.zeros(2), DELTA).epsilon == 0.0, "two runs"
    assert bound(-np.ones(500), np.ones(500), DELTA, alpha=1e-6).epsilon >= 0.0
    same = np.random.default_rng(0).normal(size=4_000)
    assert bound(same[:2_000], same[2_000:], DELTA, alpha=ALARM).epsilon == 0.0
    assert bound(np.ones(500), np.zeros(500), 1.0).epsilon == 0.0, "delta 1 allows all"


@pytest.mark.parametrize("bound", [multi_run, gaussian])
def test_more_confidence_and_more_delta_mean_a_lower_bound(bound) -> None:
    inside, outside = worlds(2.0, 4_000, 0)
    by_alpha = [bound(inside, outside, DELTA, alpha=alpha).epsilon for alpha in (0.2, 0.05, 1e-3, 1e-6)]
    assert by_alpha == sorted(by_alpha, reverse=True) and by_alpha[0] > by_alpha[-1] > 0
    by_delta = [bound(inside, outside, delta).epsilon for delta in (0.0, 1e-5, 0.01, 0.3)]
    assert by_delta == sorted(by_delta, reverse=True)


def test_gaussian_holds_as_often_as_it_says() -> None:
    repeats, alpha = 300, 0.05
    for epsilon in (0.5, 4.0):
        mu = mu_of(epsilon)
        found = [gaussian(*worlds(mu, 600, seed), DELTA, alpha=alpha).epsilon for seed in range(repeats)]
        assert sum(value > epsilon for value in found) <= too_many(repeats, alpha)


@pytest.mark.parametrize(
    ("factor", "size", "median", "refuted"),
    [(1.0, 10_000, 0.61, 0), (1.0, 50_000, 0.81, 0), (2.0, 10_000, 1.72, 40), (1 / 0.7, 50_000, 1.30, 40)],
    ids=["ten thousand", "fifty thousand", "doubled sensitivity", "noise x 0.7"],
)
def test_gaussian_has_its_power(factor: float, size: int, median: float, refuted: int) -> None:
    """Claimed epsilon 1, 99% sure: figures that were measured beforehand, with another implementation."""
    mu = factor * mu_of(1.0)
    found = [gaussian(*worlds(mu, size, seed), DELTA, alpha=0.01) for seed in range(40)]
    assert np.median([bound.epsilon for bound in found]) == pytest.approx(median, abs=0.12)
    assert sum(bound.refutes(1.0) for bound in found) == refuted


# Guesses


def test_guesses_takes_both_ends() -> None:
    scores = np.array([5.0, -1.0, 3.0, 0.0, 9.0, -7.0])
    included = np.array([True, False, False, True, True, True])
    assert guesses(scores, included, 1) == (1, 2)  # 9 is in: right; -7 is in: wrong
    assert guesses(scores, included, 2) == (3, 4)
    assert guesses(scores, included, 3) == (3, 6)
    assert guesses(scores, ~included, 2) == (1, 4)


def test_ties_are_guessed_at_by_place() -> None:
    included = np.random.default_rng(0).random(10_000) < 0.5
    right, made = guesses(np.zeros(10_000), included, 5_000)
    assert ALARM < stats.binom.cdf(right, made, 0.5) < 1 - ALARM
    assert one_run(right, made, 10_000, DELTA, alpha=ALARM).epsilon == 0.0


@pytest.mark.parametrize("count", [0, -1, 4])
def test_no_canary_is_guessed_twice(count: int) -> None:
    with pytest.raises(ValueError, match="half of 7"):
        guesses(np.arange(7.0), np.ones(7, dtype=bool), count)


# One run, (epsilon, delta)


def test_one_run_is_exact_for_randomized_response_over_all_inputs() -> None:
    """Every input and every output of a few bits, summed up: no mechanism gives more right guesses."""
    for m, epsilon in itertools.product((1, 2, 3, 4), (0.3, 1.0, 2.5)):
        keep = math.exp(epsilon) / (1 + math.exp(epsilon))
        chance = np.zeros(m + 1)
        for secret in itertools.product((0, 1), repeat=m):
            for answer in itertools.product((0, 1), repeat=m):
                right = sum(a == b for a, b in zip(secret, answer, strict=True))
                chance[right] += 0.5**m * keep**right * (1 - keep) ** (m - right)
        for v in range(1, m + 1):
            at_least = chance[v:].sum()
            bound = one_run(v, m, m, 0.0, alpha=at_least * (1 + 1e-9))
            assert bound.epsilon == pytest.approx(epsilon, abs=2e-4)
            assert one_run(v, m, m, 0.0, alpha=at_least * 0.9).epsilon < epsilon


@pytest.mark.parametrize("delta", [0.001, 0.05])
def test_one_run_holds_for_mechanisms_that_use_their_delta(delta: float) -> None:
    """Two ways to spend delta: each bit leaks with it, or all bits leak at once with it."""
    for m, epsilon in itertools.product((1, 2, 5, 8), (0.2, 1.0, 2.0)):
        keep = math.exp(epsilon) / (1 + math.exp(epsilon))
        for v in range(1, m + 1):
            each = stats.binom.sf(v - 1, m, delta + (1 - delta) * keep)
            all_at_once = delta + (1 - delta) * stats.binom.sf(v - 1, m, keep)
            for chance in (each, all_at_once):
                assert one_run(v, m, m, delta, alpha=chance * (1 - 1e-9)).epsilon <= epsilon + 1e-4


def test_one_run_pays_for_delta_with_the_number_of_canaries() -> None:
    """Written out once more: beta + 2 m delta times the best gain of i guesses over i."""
    right, made, canaries, delta, epsilon = 70, 100, 500, 1e-3, 0.7
    rate = math.exp(epsilon) / (1 + math.exp(epsilon))
    mass = [math.comb(made, k) * rate**k * (1 - rate) ** (made - k) for k in range(made + 1)]
    beta = sum(mass[right:])
    best = max(sum(mass[right - i : right]) / i for i in range(1, right + 1))
    chance = beta + 2 * canaries * delta * best
    assert one_run(right, made, canaries, delta, alpha=chance).epsilon == pytest.approx(epsilon, abs=2e-4)
    assert one_run(right, made, canaries, 0.0, alpha=beta).epsilon == pytest.approx(epsilon, abs=2e-4)


@pytest.mark.parametrize("bound", [one_run, one_run_gaussian])
def test_one_run_at_its_edges(bound) -> None:
    assert bound(0, 100, 1_000, DELTA).epsilon == 0.0
    assert bound(50, 100, 1_000, DELTA).epsilon == 0.0
    assert bound(1, 1, 1, DELTA, alpha=0.4).epsilon == 0.0, "one coin proves nothing"
    every = bound(100, 100, 1_000, DELTA)
    assert 3 < every.epsilon < 20 and "100 of 100" in every.how and every.refutes(2.0)
    assert bound(1_000, 1_000, 1_000, 0.0, alpha=1e-9).epsilon > 3
    assert bound(0, 2, 10, 0.0).epsilon == 0.0


@pytest.mark.parametrize("bound", [one_run, one_run_gaussian])
def test_one_run_is_monotone(bound) -> None:
    by_right = [bound(right, 200, 1_000, DELTA).epsilon for right in range(90, 201, 5)]
    assert by_right == sorted(by_right) and by_right[0] == 0 < by_right[-1]
    by_alpha = [bound(180, 200, 1_000, DELTA, alpha=alpha).epsilon for alpha in (0.2, 0.05, 1e-3, 1e-7)]
    assert by_alpha == sorted(by_alpha, reverse=True)
    by_delta = [bound(180, 200, 1_000, delta).epsilon for delta in (0.0 if bound is one_run else 1e-12, 1e-6, 1e-4)]
    assert by_delta == sorted(by_delta, reverse=True)


def test_one_run_holds_as_often_as_it_says() -> None:
    repeats, alpha = 100, 0.1
    for epsilon in (0.5, 1.0):
        found = [
            one_run(*guessed(mu_of(epsilon), 200, 50, seed), 200, DELTA, alpha=alpha).epsilon for seed in range(repeats)
        ]
        assert sum(value > epsilon for value in found) <= too_many(repeats, alpha)


def test_one_run_has_its_power() -> None:
    """Claimed epsilon 1, 1,000 canaries, 200 guesses, 99% sure; half of the noise goes unseen."""
    expected = {1.0: (0.10, 0.12, 0), 0.5: (0.53, 0.15, 0), 0.25: (1.44, 0.25, 40), 0.0: (3.8, 0.3, 40)}
    for noise, (median, tolerance, refuted) in expected.items():
        found = [
            one_run(*guessed(mu_of(1.0), 1_000, 100, seed, noise=noise), 1_000, DELTA, alpha=0.01) for seed in range(40)
        ]
        assert np.median([bound.epsilon for bound in found]) == pytest.approx(median, abs=tolerance)
        assert sum(bound.refutes(1.0) for bound in found) == refuted
        if noise == 1.0:
            assert max(bound.epsilon for bound in found) < 0.6


# One run, Gaussian curves


def least_alpha(mu: float, right: int, made: int, canaries: int) -> float:
    """The largest chance of ``right`` right guesses that the code believes of a mu-Gaussian mechanism."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        # The bound exceeds mu just where the code holds the chance to be below alpha.
        claimed = one_run_gaussian(right, made, canaries, 1e-300, alpha=middle)
        stated = float(claimed.how.rpartition("at least ")[2].rstrip(")"))
        low, high = (middle, high) if stated < mu else (low, middle)
    return high


def largest_chance(mu: float, right: int, made: int, canaries: int) -> float:
    """The same by linear programming, from the theorem alone, without its recursion.

    p_j is the chance of just j right guesses. Look at a random canary, and flip its coin: where it
    was guessed right and j were right in all, it is now guessed wrong and j - 1 are right. For every
    i, therefore, with F(x) = Phi(Phi^-1(x) + mu),

        sum_{j >= i} p_j j / m  <=  F( sum_{j >= i - 1} p_j (made - j) / m ).

    F is concave: the least of its tangents. The largest P[j >= right] under all of these is an
    upper bound for every mechanism.
    """
    j = np.arange(made + 1)
    touch = special.ndtr(np.linspace(-8, 8, 250))
    value = special.ndtr(special.ndtri(touch) + mu)
    slope = np.exp(stats.norm.logpdf(special.ndtri(touch) + mu) - stats.norm.logpdf(special.ndtri(touch)))
    rows, limits = [], []
    for i in range(1, made + 1):
        hit, wrong = np.where(j >= i, j / canaries, 0.0), np.where(j >= i - 1, (made - j) / canaries, 0.0)
        rows.append(hit - slope[:, None] * wrong)
        limits.append(value - slope * touch)
    scale = np.maximum(1.0, slope)
    solved = optimize.linprog(
        -(j >= right).astype(float),
        A_ub=np.concatenate([row / scale[:, None] for row in rows]),
        b_ub=np.concatenate([limit / scale for limit in limits]),
        A_eq=np.ones((1, made + 1)),
        b_eq=[1.0],
        bounds=(0, 1),
    )
    assert solved.status == 0
    return float(-solved.fun)


@pytest.mark.parametrize(
    ("right", "made", "canaries"),
    [(1, 1, 1), (2, 2, 2), (2, 3, 3), (4, 6, 6), (6, 6, 12), (9, 10, 40), (15, 20, 20), (27, 30, 100)],
)
def test_the_recursion_is_the_linear_programme(right: int, made: int, canaries: int) -> None:
    for mu in (0.3, 2.0):
        ours, theirs = least_alpha(mu, right, made, canaries), largest_chance(mu, right, made, canaries)
        assert ours >= theirs - 2e-3, "the recursion would refute what the theorem allows"
        assert ours == pytest.approx(theirs, abs=5e-3)


def test_one_canary_is_exact() -> None:
    for mu in (0.2, 1.0, 3.0):
        assert least_alpha(mu, 1, 1, 1) == pytest.approx(stats.norm.cdf(mu / 2), abs=1e-3)


def test_one_run_gaussian_holds_for_independent_bits_exactly() -> None:
    """Every bit with Gaussian noise of its own: the number of right guesses is binomial."""
    for m, mu in itertools.product((1, 2, 3, 10, 60), (0.3, 1.0, 2.5)):
        rate = stats.norm.cdf(mu / 2)
        for v in range(1, m + 1):
            chance = stats.binom.sf(v - 1, m, rate)
            bound = one_run_gaussian(v, m, m, DELTA, alpha=chance * (1 - 1e-9))
            assert bound.epsilon <= epsilon_of_mu(mu, DELTA)


def test_one_run_gaussian_holds_for_bits_with_shared_noise() -> None:
    """Correlated noise, scaled to be just as private of each bit; the attacker undoes the correlation."""
    rng = np.random.default_rng(0)
    m, mu, repeats, alpha = 40, 1.0, 150, 0.1
    covariance = 0.9 + 0.1 * np.eye(m)
    inverse = np.linalg.inv(covariance)
    covariance *= inverse[0, 0] / mu**2  # e' C^-1 e = mu^2: one bit moves by mu standard deviations
    root, wrong = np.linalg.cholesky(covariance), 0
    for _ in range(repeats):
        included = rng.random(m) < 0.5
        seen = included + root @ rng.normal(size=m)
        scores = np.linalg.solve(covariance, seen - 0.5)
        right, made = guesses(scores, included, 10)
        wrong += one_run_gaussian(right, made, m, DELTA, alpha=alpha).epsilon > epsilon_of_mu(mu, DELTA)
    assert wrong <= too_many(repeats, alpha)


def test_one_run_gaussian_has_its_power() -> None:
    """Claimed epsilon 4, 5,000 canaries: thresholds 2 and 5 were fixed beforehand."""
    mu = mu_of(4.0)
    found = {
        noise: [
            one_run_gaussian(*guessed(mu, 5_000, 1_250, seed, noise=noise), 5_000, DELTA, alpha=0.01).epsilon
            for seed in range(10)
        ]
        for noise in (1.0, 0.5, 0.0)
    }
    assert max(found[1.0]) <= 2.0 and np.median(found[1.0]) == pytest.approx(1.69, abs=0.25)
    assert min(found[0.5]) > 2.5
    assert min(found[0.0]) >= 5.0


def test_curves_see_more_than_one_point_of_them() -> None:
    for seed in range(5):
        right, made = guessed(mu_of(4.0), 2_000, 500, seed)
        whole = one_run_gaussian(right, made, 2_000, DELTA).epsilon
        assert whole > one_run(right, made, 2_000, DELTA).epsilon


def test_a_bound_refutes_what_lies_below_it() -> None:
    bound = Bound(1.0, DELTA, 0.95, "by hand")
    assert bound.refutes(0.99) and not bound.refutes(1.0) and not bound.refutes(math.inf)
