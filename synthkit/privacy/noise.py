"""Noise that an adversary can neither predict nor read values out of.

Two attacks are met here. *Prediction*: every bit comes from AES-256 in counter mode under a fresh
key of the operating system, so that earlier outputs tell nothing of later ones. *Floating point*
(Mironov 2012; Haney et al. 2022): the low bits of a float sum betray its summands. Real-valued
releases are therefore rounded to a grid far coarser than float64's, and counts get integer noise
drawn exactly.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRID = 2.0**-20  # grid of real-valued releases, relative to the noise's standard deviation
_DOUBT = 2.0**-40  # float64 decides a coin only where it is this sure; exact arithmetic decides the rest
_MOST = 2.0**52  # a released value is at most so many grid steps: float64 has no finer bits there to betray
_LARGEST = 2**56  # numerator of a discrete Laplace scale: its draws must fit into 64 bits


_forks = 0  # forks between this process and the first; a child may get its parent's number in a new namespace


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


class NoiseSource:
    """A stream of cryptographic random numbers.

    Attributes:
        seeded: True where the key is known; everything made with it is NON-PRIVATE.
    """

    def __init__(self, *, test_seed: int | None = None) -> None:
        """
        Args:
            test_seed: makes the stream reproducible, and every result non-private. For tests.
        """
        self.seeded = test_seed is not None
        self._restart(os.urandom(32) if test_seed is None else test_seed.to_bytes(32, "big"))

    @property
    def description(self) -> str:
        """What a manifest says of the randomness."""
        return "FIXED SEED: NON-PRIVATE" if self.seeded else "AES-256-CTR, fresh key from the operating system"

    def words(self, size: int) -> NDArray[np.uint64]:
        """Uniform 64-bit words, shape (size,)."""
        if not self.seeded and self._process != (os.getpid(), _forks):
            self._restart(os.urandom(32))  # after a fork, parent and child would draw the same noise
        return np.frombuffer(self._stream.update(bytes(8 * size)), dtype=np.uint64)

    def uniform(self, size: int) -> NDArray[np.float64]:
        """Uniform on (0, 1], shape (size,): 128 bits, so that small values keep float64's precision."""
        return self.words(size) * 2.0**-64 + (self.words(size) + 0.5) * 2.0**-128

    def coins(self, size: int, probability: float) -> NDArray[np.bool_]:
        """Independent coins, True with ``probability`` (to 2^-64), shape (size,)."""
        if probability >= 1:
            return np.ones(size, dtype=bool)
        return self.words(size) < np.uint64(int(probability * 2.0**64))

    def public_seed(self) -> int:
        """A seed for randomness that protects nothing (initial weights, drawing synthetic rows)."""
        return int(self.words(1)[0] >> np.uint64(1))

    def normal(self, size: int) -> NDArray[np.float64]:
        """Standard normal, float64, shape (size,); Box and Muller 1958. Tails reach 13 deviations."""
        half = (size + 1) // 2
        radius = np.sqrt(-2 * np.log(self.uniform(half)))
        angle = 2 * np.pi * self.uniform(half)
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]

    def gaussian(self, values: NDArray[np.float64], scale: float, *, grid: float | None = None) -> NDArray[np.float64]:
        """``values`` plus Gaussian noise, rounded to a grid.

        Rounding the sum is post-processing of the Gaussian mechanism, so it costs nothing. Values
        beyond 2^52 grid steps are cut off before, which moves no two of them further apart.

        Args:
            values: float64, any shape.
            scale: standard deviation, in the units of ``values``.
            grid: spacing of the outputs; default: a power of two near ``scale`` times 2^-20.
        """
        grid = grid or 2.0 ** math.floor(math.log2(scale)) * GRID
        # Mechanisms hand in finite values; were one not to, NaN would show through any noise.
        finite = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0)
        bounded = np.clip(finite, -_MOST * grid, _MOST * grid)
        noisy = bounded + scale * self.normal(np.size(values)).reshape(np.shape(values))
        rounded: NDArray[np.float64] = np.rint(noisy / grid) * grid
        return rounded

    def discrete_laplace(self, scale: float, size: int) -> NDArray[np.int64]:
        """Integers with P[x] proportional to exp(-|x| / scale); exact.

        Canonne, Kamath and Steinke 2020 (arXiv:2004.00010), algorithm 2, for a whole number t of
        unit steps and s = scale's denominator: magnitude u + t v, divided by s.
        """
        ratio = Fraction(scale).limit_denominator(2**20)
        if not 0 < ratio.numerator <= _LARGEST:
            raise ValueError("scale must be above 0, and its draws must fit into 64 bits")
        t, s = ratio.numerator, ratio.denominator

        def propose(count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
            u = self._below(t, count)
            kept = self._exponential_coins(u / t, lambda i: Fraction(int(u[i]), t))
            v = self._geometric(count)
            sign = self.words(count) & np.uint64(1) == 1
            magnitude = (u + t * v) // s
            kept &= ~(sign & (magnitude == 0))
            return np.where(sign, -magnitude, magnitude), kept

        return _collect(propose, size)

    def discrete_gaussian(self, sigma: float, size: int) -> NDArray[np.int64]:
        """Integers with P[x] proportional to exp(-x^2 / (2 sigma^2)); exact.

        Canonne, Kamath and Steinke 2020 (arXiv:2004.00010), algorithm 3: discrete Laplace
        proposals of scale t = floor(sigma) + 1, thinned.

        Args:
            sigma: scale, above 0, in the units of the counts; taken as the exact rational it is.
            size: how many.
        """
        if not (sigma > 0 and math.isfinite(sigma)):
            raise ValueError("sigma must be a finite number above 0")
        t, variance = math.floor(sigma) + 1, Fraction(sigma) ** 2

        def propose(count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
            y = self.discrete_laplace(t, count)
            gamma = (np.abs(y) - sigma**2 / t) ** 2 / (2 * sigma**2)
            kept = self._exponential_coins(gamma, lambda i: (abs(int(y[i])) - variance / t) ** 2 / (2 * variance))
            return y, kept

        return _collect(propose, size)

    def choice(self, log_weights: NDArray[np.float64]) -> int:
        """An index, drawn with probability proportional to exp(log_weights)."""
        order = np.argsort(log_weights)  # small weights are added first, where float64 can still tell them from 0
        reached = np.cumsum(np.exp(log_weights[order] - log_weights.max()))
        return int(order[np.searchsorted(reached, self.uniform(1)[0] * reached[-1], side="left")])

    def _restart(self, key: bytes) -> None:
        self._process = (os.getpid(), _forks)
        self._stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()

    def _below(self, bound: int, size: int) -> NDArray[np.int64]:
        """Uniform on 0..bound-1, exact (words above the last whole multiple are drawn again)."""
        limit = np.uint64(2**64 - 1 - 2**64 % bound)

        def propose(count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
            words = self.words(count)
            return (words % np.uint64(bound)).astype(np.int64), words <= limit

        return _collect(propose, size)

    def _geometric(self, size: int) -> NDArray[np.int64]:
        """How many coins of probability exp(-1) come up True before the first False; exact."""
        count = np.zeros(size, dtype=np.int64)
        alive = np.arange(size)
        while len(alive):
            alive = alive[self._exponential_coins(np.ones(len(alive)), lambda _: Fraction(1))]
            count[alive] += 1
        return count

    def _exponential_coins(
        self, gamma: NDArray[np.float64], exact: Callable[[int], Fraction], doubt: float = _DOUBT
    ) -> NDArray[np.bool_]:
        """Coins that are True with probability exp(-gamma), exactly.

        A 64-bit uniform is compared with float64's exp; where the two are too close to call, the
        uniform is extended by 192 bits and compared with exp of the exact rational.
        """
        words = self.words(len(gamma))
        gap = words * 2.0**-64 - np.exp(-gamma)
        coins = gap < 0
        for i in np.flatnonzero(np.abs(gap) < doubt):
            coins[i] = self._settle(int(words[i]), exact(int(i)))
        return coins

    def _settle(self, word: int, gamma: Fraction) -> bool:
        import mpmath

        for extra in self.words(3):
            word = word << 64 | int(extra)
        with mpmath.workprec(320):
            threshold = mpmath.exp(-mpmath.mpf(gamma.numerator) / gamma.denominator)
            return bool(mpmath.mpf(word) / mpmath.mpf(2) ** 256 < threshold)


def _collect(propose: Callable[[int], tuple[NDArray[np.int64], NDArray[np.bool_]]], size: int) -> NDArray[np.int64]:
    """Rejection sampling: proposals until ``size`` are kept."""
    parts: list[NDArray[np.int64]] = []
    missing = size
    while missing > 0:
        values, kept = propose(int(missing * 1.5) + 16)
        parts.append(values[kept][:missing])
        missing -= len(parts[-1])
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


__all__ = ["GRID", "NoiseSource"]
