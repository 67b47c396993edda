"""A Gaussian for every class, from noisy class moments.

What classes share is known far better than what they don't: it is the sum over all images, measured with
the noise of one release. So a class's covariance is the pooled one, changed only as far as its own moments
stand out of their noise (a Wiener weight for every entry), and directions in which the pooled covariance
itself is lost in noise are left as wide as the noise for telling classes apart (``whiten``), and as wide as
the variances along the public axes say for drawing (``spreads``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synthkit.privacy.mechanisms.image_moments import CLASS, ClassMoments

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PRIOR = 0.02  # variance of how classes' covariances differ, relative to the pooled one
_SHARED = 0.4  # share of the pooled covariance in a class's when telling classes apart (Friedman 1989)
_STANDS_OUT = 0.7  # of the noise's largest eigenvalue; smaller eigenvalues of the pooled covariance are noise


@dataclass(frozen=True)
class ClassGaussians:
    """Released Gaussians, float64.

    Attributes:
        shares: of every class (K,), summing to 1.
        means: (K, d).
        spreads: (K, d, d); a draw is its class's mean + spread @ standard normal noise.
        whiten: (K, d, d); the class's Mahalanobis distance is |(v - mean) @ whiten|.
        log_volumes: (K,) logarithm of the determinant of every class's covariance, up to a common constant.
    """

    shares: NDArray[np.float64]
    means: NDArray[np.float64]
    spreads: NDArray[np.float64]
    whiten: NDArray[np.float64]
    log_volumes: NDArray[np.float64]


def class_gaussians(moments: ClassMoments) -> ClassGaussians:
    """Post-processing of released moments; any values of them are legal, pure noise too."""
    width, classes, sigma = moments.sums.shape[1], len(moments.counts), moments.sigma
    counts = np.maximum(moments.counts, 1.0)
    total = counts.sum()
    means = _shortened(moments.sums / counts[:, None])
    products, pooled = _reconciled(moments)
    within = pooled / total - np.einsum("c,ci,cj->ij", counts / total, means, means)
    noise = sigma / math.sqrt(2) / total  # of an entry off the diagonal
    largest = 2 * math.sqrt(width) * noise
    values, vectors = np.linalg.eigh(within)
    # A covariance of vectors in the unit ball has no eigenvalue above 1.
    wide = np.clip(values, max(largest / 2, 1e-5), 1.0)  # (d,)
    root, inverse = vectors * np.sqrt(wide), vectors / np.sqrt(wide)
    alive = values > _STANDS_OUT * largest
    kept = (vectors[:, alive] * np.minimum(values[alive], 1.0)) @ vectors[:, alive].T
    rest = np.clip(np.diag(within) - np.diag(kept), min(math.sqrt(2) * noise, 1.0 / width), 1.0)
    drawn = kept + np.diag(rest)
    spreads, whiten, volumes = [], [], []
    for c in range(classes):
        own = inverse.T @ (products[c] / counts[c] - np.outer(means[c], means[c])) @ inverse
        variance = (sigma / CLASS / math.sqrt(2) / counts[c]) ** 2 / np.outer(wide, wide)
        change = _PRIOR / (_PRIOR + variance) * (own - np.eye(width))
        values, axes = np.linalg.eigh(np.eye(width) + (1 - _SHARED) * change)
        values = np.clip(values, 0.1, 10.0)
        whiten.append(inverse @ (axes / np.sqrt(values)))
        volumes.append(np.log(values).sum())
        values, axes = np.linalg.eigh(drawn + root @ change @ root.T)
        spreads.append(axes * np.sqrt(np.clip(values, 1e-6, 1.0)))
    return ClassGaussians(counts / total, means, np.stack(spreads), np.stack(whiten), np.array(volumes))


def _reconciled(moments: ClassMoments) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Products and their pooled sum, moved by least squares until the ones add up to the other."""
    classes = len(moments.counts)
    gap = moments.pooled - moments.products.sum(axis=0)
    noisier = classes / CLASS**2  # variance of the classes' sum; of the pooled one: 1
    products = moments.products + gap * noisier / (1 + noisier) / classes
    return products, moments.pooled - gap / (1 + noisier)


def _shortened(means: NDArray[np.float64]) -> NDArray[np.float64]:
    shortened: NDArray[np.float64] = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1.0)
    return shortened


__all__ = ["ClassGaussians", "class_gaussians"]
