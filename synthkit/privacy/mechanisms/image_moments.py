"""Class by class, noisy first and second moments of bounded features of labelled images.

An image with features v, |v| <= 1, and class c gives, side by side,

    COUNT in c's place,  MEAN v in c's block,  CLASS v v' in c's block,  v v' in the block of all classes

(COUNT, MEAN and CLASS are weights; of the symmetric v v' the upper triangle, times sqrt(2) off the diagonal).
The sum over all images is released once. The block of all classes is what the classes' blocks add up
to; but it is measured with the noise of one, not of ten, and structure that classes share is read there.

Claim. The release costs ``class_moments_event(sigma)``, a ``GaussianDpEvent(sigma / (k * BOUND))``, k the
images a unit may have, BOUND = sqrt(COUNT^2 + MEAN^2 + CLASS^2 + 1).

Argument. (1) v is a function of one image alone: the function is called with one image at a time, since
the rounding of a convolution or a matrix product may depend on what else is in the batch. (2) A vector
that is not finite counts as zero, a longer one is scaled down to 1, and it is cut to multiples of 2^-16
towards zero: |v| <= 1 holds for whole numbers. (3) Its upper triangle so weighted has the norm
|v v'|_F = |v|^2 <= 1. So an image's vector has a squared norm of at most BOUND^2, and each image has one
class: the other classes' blocks are zero. (4) Sums of the whole numbers are exact, in any order: products
stay below 2^32, and a float64 matrix product of so few of them below 2^53. (5) A unit's k images give at
most k * BOUND, the radius; the accountant doubles it where a unit is replaced. Weighting and rounding to
the noise's grid come after exact sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from dp_accounting import DpEvent

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private, reveal
from synthkit.errors import MethodError
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.moments import sum_event
from synthkit.privacy.plan import Charge
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNT, MEAN, CLASS = 0.1, 0.5, 0.5
BOUND = math.sqrt(COUNT**2 + MEAN**2 + CLASS**2 + 1)
_SOURCE = "Gaussian mechanism, Dwork and Roth 2014, appendix A; noise rounded to a grid"
_CHUNK = 2_000  # vectors that are held at a time
UNIT_STEPS = 2.0**16  # in the length 1


@dataclass(frozen=True)
class ClassMoments:
    """Released sums over images, float64, all with the mechanism's noise.

    Attributes:
        counts: images of every class (K,).
        sums: of the features, class by class (K, d).
        products: of v v', class by class (K, d, d), symmetric.
        pooled: of v v' over all classes (d, d), symmetric.
        sigma: standard deviation of the noise of the pooled diagonal. That of an entry off the diagonal is
            sigma / sqrt(2), of a class's products sigma / CLASS of these, of sums sigma / MEAN, of counts
            sigma / COUNT.
    """

    counts: NDArray[np.float64]
    sums: NDArray[np.float64]
    products: NDArray[np.float64]
    pooled: NDArray[np.float64]
    sigma: float


def class_moments_event(sigma: float, budget: Budget) -> DpEvent:
    """The cost of one release of class moments with noise ``sigma``."""
    return sum_event(sigma, BOUND, budget)


def steps_beside(sample_rate: float, steps: int, budget: Budget) -> float:
    """The noise multiplier of so many steps of DP-SGD that cost about as much as one release with noise 1.

    As if a step were a Gaussian mechanism with q^2 of its cost: near enough to split a budget by, never to price one.
    """
    return sample_rate * math.sqrt(steps) / (BOUND * budget.unit.max_rows)


def noisy_class_moments(
    data: Private[Images, ImageSchema],
    session: Session,
    features_of: Callable[[NDArray[np.uint8]], NDArray[np.floating]],
    width: int,
    sigma: float,
    what: str,
) -> ClassMoments:
    """Release counts, sums and second moments of features, class by class and over all classes.

    Args:
        data: labelled images.
        session: charged ``class_moments_event(sigma)``.
        features_of: one image's pixels (1, channels, height, width) to its features (1, ``width``), finite and
            of L2 norm at most 1; what is not is cut to that.
        width: d, how many features.
        sigma: standard deviation of the noise, in images.
        what: what the features are, in public words.

    Raises:
        MethodError: another unit of privacy than the plan's, or features of another width.
        BudgetExceeded: not in the plan. Nothing was read.
    """
    session.check(data)
    budget, classes = session.plan.budget, len(data.schema.classes)
    radius = BOUND * budget.unit.max_rows
    charge = Charge(class_moments_event(sigma, budget), "noisy class moments", radius, _SOURCE, what)
    session.charge(charge)
    images = reveal(data)
    counts = np.zeros(classes, dtype=np.int64)
    sums = np.zeros((classes, width), dtype=np.int64)
    products = np.zeros((classes, width, width), dtype=np.int64)
    for start in range(0, images.rows, _CHUNK):
        steps = _steps(images.pixels[start : start + _CHUNK], features_of, width)  # (b, d)
        labels = images.labels[start : start + _CHUNK]
        for c in np.unique(labels):
            mine = steps[labels == c]
            counts[c] += len(mine)
            sums[c] += mine.sum(axis=0).astype(np.int64)
            products[c] += (mine.T @ mine).astype(np.int64)
    first, second = sums / UNIT_STEPS, products / UNIT_STEPS**2
    pooled = products.sum(axis=0) / UNIT_STEPS**2
    parts = [COUNT * counts, MEAN * first, CLASS * _packed(second), _packed(pooled)]
    flat = session.release(charge, np.concatenate([np.asarray(part, dtype=np.float64).ravel() for part in parts]))
    ends = np.cumsum([part.size for part in parts])[:-1]
    noisy = [piece.reshape(part.shape) for piece, part in zip(np.split(flat, ends), parts, strict=True)]
    return ClassMoments(
        noisy[0] / COUNT, noisy[1] / MEAN, _unpacked(noisy[2], width) / CLASS, _unpacked(noisy[3], width), sigma
    )


def _steps(
    pixels: NDArray[np.uint8], features_of: Callable[[NDArray[np.uint8]], NDArray[np.floating]], width: int
) -> NDArray[np.float64]:
    """Features (b, d) of each image on its own, as whole multiples of 1 / UNIT_STEPS."""
    vectors = np.zeros((len(pixels), width))
    for i in range(len(pixels)):
        one = np.asarray(features_of(pixels[i : i + 1]), dtype=np.float64)
        if one.shape != (1, width):
            raise MethodError(f"noisy_class_moments needs {width} features of an image")
        vectors[i] = one[0]
    return whole_steps(vectors)


def whole_steps(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors (b, d) cut to the unit ball, as whole multiples of 1 / UNIT_STEPS; each by itself."""
    return np.trunc(_clip(vectors) * UNIT_STEPS)


def _clip(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    usable = (np.abs(vectors) <= 1e150).all(axis=1, keepdims=True)  # NaN is not; larger squares would overflow
    vectors = np.where(usable, vectors, 0.0)
    norms = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    clipped: NDArray[np.float64] = vectors / np.maximum(norms, 1.0)
    return clipped


def _packed(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Symmetric (..., d, d) to (..., d (d + 1) / 2), of the same Frobenius norm."""
    rows, columns = np.triu_indices(matrices.shape[-1])
    packed: NDArray[np.float64] = matrices[..., rows, columns] * np.where(rows == columns, 1.0, math.sqrt(2))
    return packed


def _unpacked(packed: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    rows, columns = np.triu_indices(width)
    matrices = np.zeros((*packed.shape[:-1], width, width))
    entries = packed / np.where(rows == columns, 1.0, math.sqrt(2))
    matrices[..., rows, columns] = entries
    matrices[..., columns, rows] = entries
    return matrices


__all__ = [
    "BOUND",
    "CLASS",
    "COUNT",
    "MEAN",
    "UNIT_STEPS",
    "ClassMoments",
    "class_moments_event",
    "noisy_class_moments",
    "steps_beside",
    "whole_steps",
]
