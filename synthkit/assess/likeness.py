"""How like real images synthetic ones are: precision, recall, and a Fréchet distance, in a public feature space.

The space is frozen and needs no download: oriented energies of images at most 32 pixels high, standardized by
procedurally drawn images and projected onto 64 principal directions of those (``synthesizers/features.py``).
Figures in it compare with one another, not with those of other spaces, such as Inception's. ``image_moments``
trains its decoder in a space of the same kind, and is flattered by it: the classifiers' figures are not.

    precision, recall  Sajjadi et al. 2018 (arXiv:1806.00035): F_1/8 and F_8 of the curve over cells, which
                       are 20 clusters of synthetic images, each within and beyond the reach of them
    covered            recall of Kynkäänniemi et al. 2019 (arXiv:1904.06991): the share of real images within
                       reach of a synthetic one, whose reach is the distance to its third neighbour
    Fréchet distance   Heusel et al. 2017 (arXiv:1706.08500): between Gaussians of the same means and covariances

Cells and reaches are made from one half of the synthetic images; the other half is counted beside the real ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from synthkit.data.images import Images
from synthkit.synthesizers.features import Energies, resized, working_shape
from synthkit.synthesizers.procedural import procedural

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIRECTIONS = 64
_PUBLIC = 1_500  # procedural images that the space is read from
_CLUSTERS, _NEIGHBOUR = 20, 3
_MOST = 2_000  # synthetic images with a reach
_ANGLES = 201  # points of the precision-recall curve
_WEIGHT = 8.0  # beta of F_beta


@cache
def space_of(shape: tuple[int, int, int]) -> Space:
    """The space for images of some channels, height and width. It is public, and made once."""
    return Space(shape)


class Space:
    """The public feature space for images of some channels, height and width."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        shape = working_shape(shape)
        self.width = min(DIRECTIONS, math.prod(shape))
        self._size = shape[1:]
        self._energies = Energies(shape, self.width, procedural(_PUBLIC, shape, seed=1))

    @torch.no_grad()
    def places(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """uint8 (n, C, H, W) to (n, width) in the unit ball, image by image."""
        parts = [np.zeros((0, self.width))]
        for start in range(0, len(pixels), 500):
            images = torch.from_numpy(np.ascontiguousarray(pixels[start : start + 500])).float() / 255
            parts.append(self._energies(resized(images, *self._size)).double().numpy())
        return np.concatenate(parts)


@dataclass(frozen=True)
class Cells:
    """A public partition of the space, made from synthetic images.

    Attributes:
        centres: of clusters (b, d).
        known: synthetic places (m, d).
        reach: of each (m,).
    """

    centres: NDArray[np.float64]
    known: NDArray[np.float64]
    reach: NDArray[np.float64]

    @property
    def count(self) -> int:
        """Of cells: each cluster within reach, then each beyond."""
        return 2 * len(self.centres)

    def of(self, places: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n, d) to cells (n,)."""
        nearest = _squares(places, self.centres).argmin(axis=1)
        within = (_squares(places, self.known) <= self.reach**2).any(axis=1)
        found: NDArray[np.int64] = np.where(within, nearest, nearest + len(self.centres))
        return found


def cells(places: NDArray[np.float64]) -> Cells:
    """Clusters and reaches of synthetic places (n, d), at least one."""
    from sklearn.cluster import KMeans

    some = places[:_MOST]
    means: Any = KMeans(min(_CLUSTERS, len(np.unique(some, axis=0))), n_init=1, random_state=0).fit(some)
    near = np.sort(_squares(some, some), axis=1)
    return Cells(means.cluster_centers_, some, np.sqrt(near[:, min(_NEIGHBOUR, len(some) - 1)]))


def precision_recall(
    real: NDArray[np.floating] | NDArray[np.integer], synthetic: NDArray[np.floating] | NDArray[np.integer]
) -> tuple[float, float]:
    """Precision and recall from two histograms (cells,); negative counts count as none."""
    p, q = (np.maximum(counts, 0) / max(1e-12, np.maximum(counts, 0).sum()) for counts in (real, synthetic))
    slopes = np.tan(np.linspace(1e-6, math.pi / 2 - 1e-6, _ANGLES))[:, None]
    alphas = np.minimum(slopes * p, q).sum(axis=1)
    betas = np.minimum(p, q / slopes).sum(axis=1)
    return _best(alphas, betas, 1 / _WEIGHT), _best(alphas, betas, _WEIGHT)


def _best(precision: NDArray[np.float64], recall: NDArray[np.float64], weight: float) -> float:
    mean = (1 + weight**2) * precision * recall / np.maximum(weight**2 * precision + recall, 1e-12)
    return float(np.clip(mean.max(), 0, 1))


def frechet(
    mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    other_mean: NDArray[np.float64],
    other_covariance: NDArray[np.float64],
) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2); what is negative in a noisy covariance counts as zero."""
    root, whole = _root(covariance), _positive(covariance)
    middle = np.linalg.eigvalsh(root @ _positive(other_covariance) @ root)
    shared = np.sqrt(np.maximum(middle, 0)).sum()
    gap = float(np.square(mean - other_mean).sum())
    return max(0.0, gap + float(np.trace(whole) + np.trace(_positive(other_covariance)) - 2 * shared))


def moments(places: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (d,) and covariance (d, d) of places (n, d), at least one."""
    centred = places - places.mean(axis=0)
    return places.mean(axis=0), centred.T @ centred / len(places)


def halves(images: Images) -> tuple[Images, Images]:
    """Every second image, and the others; one alone stands for both."""
    order = np.arange(images.rows)
    return images.take(order[::2]), images.take(order[1::2] if images.rows > 1 else order)


def _squares(places: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances (n, m)."""
    cross = places @ others.T
    squares = np.square(places).sum(axis=1)[:, None] + np.square(others).sum(axis=1) - 2 * cross
    found: NDArray[np.float64] = np.maximum(squares, 0)
    return found


def _positive(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    kept: NDArray[np.float64] = (vectors * np.maximum(values, 0)) @ vectors.T
    return kept


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root


__all__ = ["DIRECTIONS", "Cells", "Space", "cells", "frechet", "halves", "moments", "precision_recall", "space_of"]
