"""DENOISE: what a noisy marginal says, given what was expected of it. Post-processing, and free.

Cells were measured as y = x + N(0, sigma^2); m was expected before, from the columns by themselves or from a
model of other marginals. The prior is

    x = m + sqrt(m) * (B' a),    a ~ N(0, tau_k) in block k

so that a cell of which more was expected may be further off. B is a product of one orthonormal basis a column:
along numbers, cosines from slow to quick ones, in octaves; along categories, their mean and what is left. A
block is an octave of one column by an octave of another, and the tau are those that make the measurement
likeliest: an empirical Bayes estimate (Efron and Morris 1973), found by expectation maximization (Dempster,
Laird and Rubin 1977). So age is smoothed where its noise is as large as its shape, a spike at zero is left
as it is, a pair of columns that noise drowns stays independent, and where rows are many for the noise
nothing changes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import dct

from synthkit.data.schema import Modelled, Numeric, Schema
from synthkit.privacy.mechanisms.counts import NoisyMarginal

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEPS = 15  # of expectation maximization
_MOST_CELLS = 700  # whose covariance is computed; beyond, all cells are one block
_LEAST_EXPECTED = 0.05  # of a cell's mean: the prior leaves room where little was expected
_NEVER_SURER = 0.01  # variances of the noise
_SPIKE, _CLEAR = 3.0, 6.0  # so many times what the others have, and so many deviations of the noise above it


@dataclass(frozen=True)
class Posterior:
    """A denoised marginal.

    Attributes:
        counts: posterior means, one axis a column; may be negative.
        variance: mean posterior variance of a cell, at most that of the noise.
    """

    counts: NDArray[np.float64]
    variance: float


def posterior(
    marginal: NoisyMarginal, schema: Schema, rows: float, expected: NDArray[np.float64] | None = None
) -> Posterior:
    """DENOISE.

    Args:
        marginal: measured.
        schema: the public schema.
        rows: estimated number of rows, at least 1.
        expected: the counts that were expected, from public and released things alone; none negative. None: those of
            independent columns, from the marginal's own sums.
    """
    columns = [schema.modelled[name] for name in marginal.columns]
    if expected is None:
        if len(columns) == 1:
            return _alone(marginal.counts, columns[0], marginal.sigma)
        expected = _product(marginal, columns, rows)
    scale = np.sqrt(np.maximum(expected, _LEAST_EXPECTED * max(float(expected.mean()), 1e-9)))
    gaps = (marginal.counts - expected) / marginal.sigma
    if marginal.counts.size <= _MOST_CELLS:
        found, variance = _in_blocks(gaps.ravel(), scale.ravel(), *_product_basis(columns))
    else:
        found, variance = _as_one_block(gaps.ravel(), scale.ravel())
    counts = expected + marginal.sigma * found.reshape(expected.shape)
    return Posterior(counts, marginal.sigma**2 * min(max(variance, _NEVER_SURER), 1.0))


def _product(marginal: NoisyMarginal, columns: Sequence[Modelled], rows: float) -> NDArray[np.float64]:
    """The counts of independent columns: products of each one's denoised sums."""
    axes = range(marginal.counts.ndim)
    product = np.full(marginal.counts.shape, rows)
    for axis, column in enumerate(columns):
        sums = marginal.counts.sum(axis=tuple(k for k in axes if k != axis))
        found = _alone(sums, column, marginal.sigma * math.sqrt(marginal.counts.size / sums.size)).counts
        found = np.maximum(found, _LEAST_EXPECTED * max(float(np.median(found)), rows / 1e4 / sums.size))
        product = product * (found / found.sum()).reshape([-1 if k == axis else 1 for k in axes])
    return product


def _alone(counts: NDArray[np.float64], column: Modelled, sigma: float) -> Posterior:
    """One column's counts: spikes as they are, the others around their mean."""
    spike = _spikes(counts, sigma)
    rest = ~spike
    middle = float(counts[rest].mean())
    basis, blocks = _basis(
        int(rest.sum()), isinstance(column, Numeric), column.nullable and not spike[-1] and rest.sum() > 1
    )
    gaps, scale = (counts[rest] - middle) / sigma, np.full(int(rest.sum()), math.sqrt(max(middle, 1e-9)))
    found, variance = _in_blocks(gaps, scale, basis, blocks)
    denoised = counts.copy()
    denoised[rest] = middle + sigma * found
    variance = (spike.sum() + rest.sum() * min(variance, 1.0)) / len(counts)
    return Posterior(denoised, sigma**2 * max(variance, _NEVER_SURER))


def _spikes(counts: NDArray[np.float64], sigma: float) -> NDArray[np.bool_]:
    """Cells that stand far out of the others and of the noise; no more than half of all."""
    order = np.argsort(-counts)
    spike = np.zeros(len(counts), dtype=bool)
    for k in order[: len(counts) // 2]:
        others = float(counts[~spike].sum() - counts[k]) / max(int((~spike).sum()) - 1, 1)
        if counts[k] < max(_SPIKE * others, others + _CLEAR * sigma):
            break
        spike[k] = True
    return spike


def _in_blocks(
    gaps: NDArray[np.float64], scale: NDArray[np.float64], basis: NDArray[np.float64], blocks: NDArray[np.intp]
) -> tuple[NDArray[np.float64], float]:
    """Posterior mean (n,) of the gaps and mean variance, in units of the noise; expectation maximization over tau."""
    sizes = np.bincount(blocks)
    drawn = basis * scale  # a to its part of every cell, row by row
    products, seen = drawn @ drawn.T, drawn @ gaps
    start = max(float(gaps @ gaps) / len(gaps) - 1, 0.1) / float(np.square(scale).mean())
    tau = np.full(len(sizes), start)
    for _ in range(_STEPS):
        root = np.sqrt(tau)[blocks]
        # (products + 1 / tau)^-1, by way of a matrix that stays regular where tau is nearly zero
        inner = np.linalg.inv(np.eye(len(gaps)) + root[:, None] * products * root)
        spread = root[:, None] * inner * root
        mean = spread @ seen
        tau = np.maximum(np.bincount(blocks, mean**2 + np.diag(spread)) / sizes, 1e-12)
    return drawn.T @ mean, float((spread * products).sum()) / len(gaps)


def _as_one_block(gaps: NDArray[np.float64], scale: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """As :func:`_in_blocks`, for one block: every cell by itself, whatever the basis."""
    squares = np.square(scale)
    tau = max(float(gaps @ gaps) / len(gaps) - 1, 0.1) / float(squares.mean())
    for _ in range(_STEPS):
        kept = tau * squares / (1 + tau * squares)
        tau = max(float(np.mean(np.square(kept * gaps) / squares + tau * (1 - kept))), 1e-12)
    kept = tau * squares / (1 + tau * squares)
    return kept * gaps, float(kept.mean())


def _product_basis(columns: Sequence[Modelled]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """An orthonormal basis of all cells, one vector a row, and the block of each."""
    basis: NDArray[np.float64] = np.eye(1)
    octaves = np.zeros((1, 0), dtype=np.intp)
    for column in columns:
        own, octave = _basis(column.size, isinstance(column, Numeric), column.nullable)
        basis = np.kron(basis, own).astype(np.float64)
        octaves = np.hstack([np.repeat(octaves, len(octave), axis=0), np.tile(octave, len(octaves))[:, None]])
    return basis, np.unique(octaves, axis=0, return_inverse=True)[1].ravel()


@functools.lru_cache(maxsize=1_000)
def _basis(size: int, number: bool, nullable: bool) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """One column's basis, and the octave of every vector; the null code of a number stands by itself."""
    if not number:
        first = np.concatenate([np.full((size, 1), size**-0.5), np.eye(size)[:, 1:]], axis=1)
        return np.linalg.qr(first)[0].T, np.minimum(np.arange(size), 1)
    bins = size - nullable
    basis = np.eye(size)
    basis[:bins, :bins] = dct(np.eye(bins), axis=0, norm="ortho")
    octave = np.array([0, *(int(math.log2(k)) + 1 for k in range(1, bins))])
    return basis, np.append(octave, octave[-1] + 1) if nullable else octave


__all__ = ["Posterior", "posterior"]
