"""Lower bounds on epsilon, from what an attacker sees.

An audit plays the guessing game that differential privacy bounds: was the canary in, or out? Whoever
guesses better than the claim allows refutes it. Every bound here holds with a stated confidence for
any mechanism (``multi_run``, ``one_run``) or for any whose trade-off is Gaussian (``gaussian``,
``one_run_gaussian``); none proves privacy: a bound far below the claim is silence, not praise.

Sources: Nasr et al. 2021 (arXiv:2101.04535, multi-run with Clopper-Pearson); Nasr et al. 2023
(arXiv:2302.07956, Gaussian DP); Steinke, Nasr and Jagielski 2023 (arXiv:2305.08846, one run);
Mahloujifar, Melis and Chaudhuri 2024 (arXiv:2410.22235, f-DP in one run).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize, special, stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LARGEST = 50.0  # an epsilon beyond which a bound is not looked for


@dataclass(frozen=True)
class Bound:
    """A lower bound on epsilon.

    Attributes:
        epsilon: with the given confidence, the mechanism is not (epsilon', delta)-DP for any smaller
            epsilon'; 0 where nothing was learnt.
        delta: at which epsilon holds.
        confidence: 1 - alpha.
        how: the method, and its sizes.
    """

    epsilon: float
    delta: float
    confidence: float
    how: str

    def refutes(self, claimed: float) -> bool:
        """Whether the claim is contradicted with the stated confidence."""
        return self.epsilon > claimed


# Many runs


def clopper_pearson(hits: int, trials: int, alpha: float) -> float:
    """Upper confidence limit of a probability: exceeded with probability at most ``alpha``."""
    return 1.0 if hits >= trials else float(stats.beta.ppf(1 - alpha, hits + 1, trials - hits))


def multi_run(inside: NDArray[np.float64], outside: NDArray[np.float64], delta: float, *, alpha: float = 0.05) -> Bound:
    """From scores of independent runs with and without a canary, higher meaning "in".

    epsilon >= log((1 - delta - FNR) / FPR) and the same with the errors exchanged. The threshold is
    chosen on the first half of the runs and used on the second, so that choosing costs nothing.

    Args:
        inside, outside: one score a run, (n,) each.
        delta: of the claim.
        alpha: chance that the bound is wrong.
    """
    half_in, half_out = len(inside) // 2, len(outside) // 2
    threshold, side = _best_threshold(inside[:half_in], outside[:half_out], delta, alpha)
    missed, false = _errors(inside[half_in:], outside[half_out:], threshold, alpha)
    value = _from_errors(missed, false, delta, side)
    how = f"{len(inside)} runs with and {len(outside)} without a canary, Clopper-Pearson, threshold from the first half"
    return Bound(max(0.0, value), delta, 1 - alpha, how)


def gaussian(inside: NDArray[np.float64], outside: NDArray[np.float64], delta: float, *, alpha: float = 0.05) -> Bound:
    """As :func:`multi_run`, for mechanisms whose trade-off is Gaussian: mu from both error rates.

    mu >= Phi^-1(1 - FPR) - Phi^-1(FNR); mu gives epsilon at delta (Dong, Roth and Su 2019,
    arXiv:1905.02383). The threshold is the midpoint of the first halves' medians.
    """
    half_in, half_out = len(inside) // 2, len(outside) // 2
    threshold = (np.median(inside[:half_in]) + np.median(outside[:half_out])) / 2
    missed, false = _errors(inside[half_in:], outside[half_out:], float(threshold), alpha)
    mu = float(stats.norm.ppf(1 - false) - stats.norm.ppf(missed)) if missed < 1 and false < 1 else 0.0
    how = f"{len(inside)} and {len(outside)} samples, Gaussian trade-off, mu at least {max(0.0, mu):.3f}"
    return Bound(epsilon_of_mu(mu, delta), delta, 1 - alpha, how)


def epsilon_of_mu(mu: float, delta: float) -> float:
    """The epsilon of mu-Gaussian DP at ``delta``; 0 for mu <= 0."""
    if mu <= 0 or delta_of_mu(mu, 0.0) <= delta:
        return 0.0
    if delta_of_mu(mu, _LARGEST) > delta:
        return _LARGEST
    return float(optimize.brentq(lambda epsilon: delta_of_mu(mu, epsilon) - delta, 0.0, _LARGEST))


def delta_of_mu(mu: float, epsilon: float) -> float:
    """delta(epsilon) = Phi(-epsilon/mu + mu/2) - e^epsilon Phi(-epsilon/mu - mu/2)."""
    upper = stats.norm.cdf(-epsilon / mu + mu / 2)
    return float(upper - math.exp(epsilon + stats.norm.logcdf(-epsilon / mu - mu / 2)))


def _errors(
    inside: NDArray[np.float64], outside: NDArray[np.float64], threshold: float, alpha: float
) -> tuple[float, float]:
    """Upper limits of the miss rate and the false alarm rate, together right with 1 - alpha."""
    missed = clopper_pearson(int((inside <= threshold).sum()), len(inside), alpha / 2)
    false = clopper_pearson(int((outside > threshold).sum()), len(outside), alpha / 2)
    return missed, false


def _best_threshold(
    inside: NDArray[np.float64], outside: NDArray[np.float64], delta: float, alpha: float
) -> tuple[float, bool]:
    """The threshold, and which of the two inequalities to use, that look best on these runs."""
    best, chosen = -math.inf, (0.0, True)
    tail = np.logspace(-5, -2, 25)
    shares = np.concatenate([tail, np.linspace(0.01, 0.99, 99), 1 - tail])
    for threshold in np.unique(np.quantile(np.concatenate([inside, outside]), shares)):
        missed, false = _errors(inside, outside, float(threshold), alpha)
        for side in (True, False):
            if (value := _from_errors(missed, false, delta, side)) > best:
                best, chosen = value, (float(threshold), side)
    return chosen


def _from_errors(missed: float, false: float, delta: float, side: bool) -> float:
    first, second = (missed, false) if side else (false, missed)
    return math.log((1 - delta - first) / second) if 1 - delta - first > 0 else -math.inf


# One run, many canaries


def guesses(scores: NDArray[np.float64], included: NDArray[np.bool_], count: int) -> tuple[int, int]:
    """Guess the ``count`` highest scores to be in and the ``count`` lowest to be out.

    Returns:
        (right guesses, guesses). ``count`` must be chosen before the scores are seen.

    Raises:
        ValueError: ``count`` is not between 1 and half of the canaries: some would be guessed twice.
    """
    if not 1 <= count <= len(scores) // 2:
        raise ValueError(f"count is {count}; it must lie between 1 and half of {len(scores)} canaries")
    order = np.argsort(scores, kind="stable")
    right = int(included[order[-count:]].sum() + (~included[order[:count]]).sum())
    return right, 2 * count


def one_run(right: int, made: int, canaries: int, delta: float, *, alpha: float = 0.05) -> Bound:
    """From one run in which every canary was in or out by a fair coin (Steinke et al. 2023, theorem 5.2).

    Under (epsilon, delta)-DP the chance of at least v right among r guesses is at most
    beta + 2 m delta max_i (P[B >= v - i] - beta) / i, with beta = P[B >= v] and B binomial
    (r, e^epsilon / (1 + e^epsilon)). The bound is the largest epsilon for which that is <= alpha.

    Args:
        right: right guesses v.
        made: guesses r, 2 or more; the other canaries were abstained from.
        canaries: m.
        delta: of the claim.
        alpha: chance that the bound is wrong.
    """

    def chance(epsilon: float) -> float:
        rate = 1 / (1 + math.exp(-epsilon))
        tails = stats.binom.sf(right - 1 - np.arange(right + 1), made, rate)  # P[B >= v - i], i = 0..v
        beta = tails[0]
        gain = float(np.max((tails[1:] - beta) / np.arange(1, right + 1))) if right else 0.0
        return float(min(1.0, beta + 2 * canaries * delta * gain))

    how = f"one run, {canaries} canaries, {right} of {made} guesses right"
    return Bound(_largest(lambda epsilon: chance(epsilon) <= alpha), delta, 1 - alpha, how)


def one_run_gaussian(right: int, made: int, canaries: int, delta: float, *, alpha: float = 0.05) -> Bound:
    """From one run, against the whole Gaussian trade-off curve (Mahloujifar et al. 2024, algorithm 3).

    The bound is the epsilon (at ``delta``) of the largest mu whose curve forbids ``right`` right
    guesses among ``made``, with m ``canaries``.
    """

    def forbidden(mu: float) -> bool:
        return mu > 0 and not _consistent(
            lambda x: float(special.ndtr(special.ndtri(x) - mu)), right, made, canaries, alpha
        )

    low = 0.0
    step = 8.0
    while step > 1e-3:
        if forbidden(low + step):
            low += step
        step /= 2
    how = f"one run, {canaries} canaries, {right} of {made} guesses right, against Gaussian curves (mu at least {low:.3f})"
    return Bound(epsilon_of_mu(low, delta), delta, 1 - alpha, how)


def _consistent(shrink: Callable[[float], float], right: int, made: int, canaries: int, alpha: float) -> bool:
    """Whether ``right`` of ``made`` guesses may happen with chance ``alpha`` under a trade-off curve.

    Backwards over the number of right guesses, as in algorithm 3: ``wrong`` and ``hit`` bound the
    probabilities of the events that the adversary has at least i right guesses.
    """
    chance = alpha * made / canaries
    hit, wrong = chance * right / made, chance * (made - right) / made
    for i in range(right - 1, -1, -1):
        grown = max(wrong, shrink(min(hit, 1.0)))
        hit += (i / (made - i)) * (grown - wrong)
        wrong = grown
        if hit + wrong > made / canaries:
            return False
    return hit + wrong <= made / canaries


def _largest(refuted: Callable[[float], bool]) -> float:
    """The largest epsilon that is refuted, where refutation is monotone; 0 where none is."""
    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high) and high < _LARGEST:
        low, high = high, 2 * high
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


__all__ = [
    "Bound",
    "clopper_pearson",
    "delta_of_mu",
    "epsilon_of_mu",
    "gaussian",
    "guesses",
    "multi_run",
    "one_run",
    "one_run_gaussian",
]
