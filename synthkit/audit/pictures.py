"""Membership inference on released images: was this image, or this unit's, in the training data?

As in ``membership.py``, for images. An attacker has the released images and a reference sample of the population, and
looks at distances in two spaces: that of pixels (Euclidean, of values 0 to 255) and a public one of features.

*nearest neighbour*   how close is the nearest released image? (Hayes et al. 2019, LOGAN; Chen et al. 2020, GAN-Leaks,
                      arXiv:1909.03935)
*relative distance*   how close is it, compared with the nearest one of the reference? (calibrated, as by Chen et
                      al. 2020)

Where a unit has several images, whoever is attacked is the unit: what speaks most for it among its images counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from synthkit.audit.membership import Attack, told_apart
from synthkit.data.images import Images

if TYPE_CHECKING:
    from numpy.typing import NDArray

Places = Callable[["NDArray[np.uint8]"], "NDArray[np.float64]"]

MOST = 2_000  # units of each kind that are looked at
_RELEASED = 10_000  # synthetic images, at most
_CHUNK = 500  # images compared at once
_NEAR = 1e-6  # a distance of nothing, for the logarithm


def some_units(images: Images, most: int, rng: np.random.Generator) -> Images:
    """All images of at most ``most`` units, chosen by lot and in an order by lot; units are called by numbers from 0."""
    if images.units is None:
        chosen = images.take(rng.permutation(images.rows)[:most])
        return Images(chosen.pixels, chosen.labels, np.arange(chosen.rows, dtype=np.uint64))
    distinct, of = np.unique(images.units, return_inverse=True)
    lots = rng.permutation(len(distinct))[of]  # (images,) each unit's place in the order
    kept = np.flatnonzero(lots < most)
    kept = kept[np.argsort(lots[kept], kind="stable")]
    return Images(images.pixels[kept], images.labels[kept], lots[kept].astype(np.uint64))


def attacks(
    training: Images, holdout: Images, synthetic: NDArray[np.uint8], features: Places, *, seed: int = 0
) -> list[Attack]:
    """Run all attacks, in both spaces, and their controls.

    Args:
        training: the members.
        holdout: images of units that were not trained on; a third of the units each serves as reference, as the others
            that members are told from, and as control.
        synthetic: pixels (n, C, H, W) of the released images.
        features: pixels to places (n, d) in a public space.
        seed: of the choice of units.

    Returns:
        attacks, then controls; none where one side has nobody.
    """
    rng = np.random.default_rng(seed)
    members, outside = some_units(training, MOST, rng), some_units(holdout, 3 * MOST, rng)
    reference, others, control = _thirds(outside)
    released = synthetic[rng.permutation(len(synthetic))[:_RELEASED]]
    if not min(members.rows, reference.rows, others.rows, control.rows, len(released)):
        return []
    spaces: dict[str, Places] = {"pixels": _flat, "features": features}
    gaps = {name: (_Nearest(places, released), _Nearest(places, reference.pixels)) for name, places in spaces.items()}
    scores: dict[str, Callable[[Images], NDArray[np.float64]]] = {}
    for name, (near, usual) in gaps.items():
        scores[f"nearest neighbour, {name}"] = partial(_closeness, near)
        scores[f"relative distance, {name}"] = partial(_relative, near, usual)
    return told_apart(scores, members, others, control)


class _Nearest:
    """Distances to the nearest of some images in a space; of whom it was asked before, it remembers them."""

    def __init__(self, places: Places, known: NDArray[np.uint8]) -> None:
        self._places = places
        self._known = [places(known[k : k + _CHUNK]) for k in range(0, len(known), _CHUNK)]
        self._asked: dict[int, tuple[Images, NDArray[np.float64]]] = {}

    def __call__(self, images: Images) -> NDArray[np.float64]:
        if id(images) not in self._asked:
            self._asked[id(images)] = (
                images,
                np.concatenate([self._of(images.pixels[k : k + _CHUNK]) for k in range(0, images.rows, _CHUNK)]),
            )
        return self._asked[id(images)][1]

    def _of(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        ours = self._places(pixels)  # (b, d)
        square = np.square(ours).sum(axis=1)
        nearest = np.full(len(ours), np.inf)
        for theirs in self._known:
            gaps = np.square(theirs).sum(axis=1) - 2 * (ours @ theirs.T)  # (b, n), but for |ours|^2
            nearest = np.minimum(nearest, gaps.min(axis=1))
        found: NDArray[np.float64] = np.sqrt(np.maximum(nearest + square, 0))
        return found


def _closeness(near: _Nearest, images: Images) -> NDArray[np.float64]:
    return _by_unit(images, -near(images))


def _relative(near: _Nearest, usual: _Nearest, images: Images) -> NDArray[np.float64]:
    return _by_unit(images, np.log(usual(images) + _NEAR) - np.log(near(images) + _NEAR))


def _flat(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n, C, H, W) to (n, values): whole numbers, whose squares and sums are exact."""
    return pixels.reshape(len(pixels), -1).astype(np.float64)


def _thirds(images: Images) -> list[Images]:
    """Every third unit, of images whose units are numbers from 0."""
    assert images.units is not None, "some_units numbers them"
    return [images.take(images.units % 3 == k) for k in range(3)]


def _by_unit(images: Images, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """The highest score among each unit's images."""
    assert images.units is not None, "some_units numbers them"
    _, of = np.unique(images.units, return_inverse=True)
    best = np.full(int(of.max()) + 1, -np.inf)
    np.maximum.at(best, of, scores)
    return best


__all__ = ["MOST", "attacks", "some_units"]
