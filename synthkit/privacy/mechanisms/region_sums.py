"""Noisy sums of images' features over regions: of the images of a class that are alike, how many and what mean.

An image with class c falls into one of c's regions and gives, side by side,

    COUNT in its region's place,  v in its region's block,  |v| <= 1

The sum over all images is released once. Regions are drawn up from what was released before, so that an image's
region is a function of that image, its class and released values.

Claim. The release costs ``region_sums_event(sigma)``, a ``GaussianDpEvent(sigma / (k * BOUND))``, k the
images a unit may have, BOUND = sqrt(COUNT^2 + 1).

Argument. (1) Region and v are functions of one image and its class alone: the function is called with one
image at a time (rounding may depend on what else is in a batch). (2) v is cut to the unit ball and to whole
multiples of 2^-16, and what is not finite counts as zero, as for class moments (:mod:`.image_moments`). A
region that does not exist becomes the nearest that does. (3) An image falls into one region; all other places
are zero. So its vector has a norm of at most BOUND, however many regions there are. (4) Sums of whole numbers
are exact in int64, in any order. (5) A unit's k images give at most k * BOUND, the radius; the accountant doubles it
where a unit is replaced.
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
from synthkit.privacy.mechanisms.image_moments import UNIT_STEPS, whole_steps
from synthkit.privacy.mechanisms.moments import sum_event
from synthkit.privacy.plan import Charge
from synthkit.privacy.session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNT = 0.3
BOUND = math.sqrt(COUNT**2 + 1)
_SOURCE = "Gaussian mechanism, Dwork and Roth 2014, appendix A; noise rounded to a grid"

# One image's pixels (1, channels, height, width) and its class to its region and its features (1, width).
RegionOf = Callable[["NDArray[np.uint8]", int], "tuple[int, NDArray[np.floating]]"]


@dataclass(frozen=True)
class RegionSums:
    """Released sums over images, float64, all with the mechanism's noise.

    Attributes:
        counts: images of every region (R,).
        sums: of their features (R, d).
        sigma: standard deviation of the noise of an entry of the sums; that of counts is sigma / COUNT.
    """

    counts: NDArray[np.float64]
    sums: NDArray[np.float64]
    sigma: float


def region_sums_event(sigma: float, budget: Budget) -> DpEvent:
    """The cost of one release of region sums with noise ``sigma``."""
    return sum_event(sigma, BOUND, budget)


def noisy_region_sums(
    data: Private[Images, ImageSchema],
    session: Session,
    region_of: RegionOf,
    regions: int,
    width: int,
    sigma: float,
    what: str,
) -> RegionSums:
    """Release counts and sums of features, region by region.

    Args:
        data: labelled images.
        session: charged ``region_sums_event(sigma)``.
        region_of: one image's pixels and class to its region, 0 to ``regions`` - 1, and its features, finite and
            of L2 norm at most 1; what is not is cut to that.
        regions: R, how many there are, over all classes.
        width: d, how many features.
        sigma: standard deviation of the noise, in images.
        what: what the features are, in public words.

    Raises:
        MethodError: another unit of privacy than the plan's, or features of another width.
        BudgetExceeded: not in the plan. Nothing was read.
    """
    session.check(data)
    budget = session.plan.budget
    charge = Charge(region_sums_event(sigma, budget), "noisy region sums", BOUND * budget.unit.max_rows, _SOURCE, what)
    session.charge(charge)
    images = reveal(data)
    counts = np.zeros(regions, dtype=np.int64)
    sums = np.zeros((regions, width), dtype=np.int64)
    for pixels, label in zip(images.pixels, images.labels, strict=True):
        region, vector = region_of(pixels[None], int(label))
        if vector.shape != (1, width):
            raise MethodError(f"noisy_region_sums needs {width} features of an image")
        region = min(max(int(region), 0), regions - 1)
        counts[region] += 1
        sums[region] += whole_steps(np.asarray(vector, dtype=np.float64))[0].astype(np.int64)
    exact = np.concatenate([COUNT * counts, (sums / UNIT_STEPS).ravel()])
    noisy = session.release(charge, exact)
    return RegionSums(noisy[:regions] / COUNT, noisy[regions:].reshape(regions, width), sigma)


__all__ = ["BOUND", "COUNT", "RegionOf", "RegionSums", "noisy_region_sums", "region_sums_event"]
