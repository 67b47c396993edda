"""Pictures of what is alike: every class split into regions of its codes, and the mean image of each, from noisy sums.

A class's Gaussian of linear codes is one blurred cloud, though a class may be of several kinds. So codes are drawn
from it and put into R clusters (Lloyd 1982), and every centre has its picture; a real image falls to the nearest picture
of its class. What is released is by how much the images of a region differ, on average, from its picture: along
public patterns, finer ones than the codes. What stands out of the noise is added to that picture (a Wiener weight
for every pattern, empirical Bayes over regions). Then once more, from the pictures as they are now. Central images
by a few sums: Li et al. 2025, DP-FETA (arXiv:2504.01395), with one region a class.

How much images scatter about their region's picture is measured, too, class by class. How their pixels do so together,
:mod:`~synthkit.synthesizers.fields` measures. So a draw is a region's picture with a random field on it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.privacy.mechanisms.region_sums import COUNT, RegionOf, RegionSums, noisy_region_sums
from synthkit.privacy.session import Session
from synthkit.synthesizers.features import Codes
from synthkit.synthesizers.fields import ROOM, Field, measured_field
from synthkit.synthesizers.image_model import images_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

DETAILS = 300  # public patterns along which a region's picture is measured, at most
PASSES = 2  # measurements, each of differences from the pictures before
_MOST = 250  # regions a class
_CROWD, _STEEP = (
    12,
    1.5,
)  # images that a region should have where the noise is of one image or less; by which power of it more
_CLUSTERED, _ROUNDS = 4_000, 15
_REACH = 1.4  # times the usual distance of an image from its centre: norm of a difference that becomes 1
_SPREAD = 0.5  # weight of the squared distance beside the difference
_WHOLE = math.sqrt(1 + _SPREAD**2)  # norm of both together, at most
_BAND = 20  # patterns to either side that a Wiener weight's prior is read from
_LEAST = 0.05  # scatter that every class has, so that no two draws are the same
_DARK = 0.03  # what is darker in a picture is noise


def regions_a_class(schema: ImageSchema, sigma: float) -> int:
    """How many a class can be split into, by what is public: as many as leave each a crowd far above the noise."""
    return max(1, min(_MOST, int(schema.rows / (len(schema.classes) * _CROWD * max(sigma, 1.0) ** _STEEP))))


class Regions(nn.Module):
    """Pictures of every class's regions, and drawing from them."""

    pictures: Tensor  # (K, R, C h w) in [0, 1]
    weights: Tensor  # (K, R) shares of a class's images
    scatter: Tensor  # (K,) variance of pixels, as a share of m (1 - m)

    def __init__(self, shape: tuple[int, int, int], classes: int, regions: int, patterns: int) -> None:
        super().__init__()
        self.shape, self.field = shape, Field(shape, patterns)
        self.register_buffer("pictures", torch.zeros(classes, regions, math.prod(shape)))
        self.register_buffer("weights", torch.full((classes, regions), 1 / regions))
        self.register_buffer("scatter", torch.zeros(classes))

    def draw(self, classes: Tensor, draws: torch.Generator) -> Tensor:
        """A picture and a field for each of some classes: (b,) to images (b, C, h, w)."""
        which = torch.multinomial(self.weights[classes], 1, generator=draws)[:, 0]
        means = self.pictures[classes, which].view(len(classes), self.shape[0], math.prod(self.shape[1:]))
        strength = 0.6 + 0.8 * torch.rand(len(classes), generator=draws)
        differences = strength[:, None, None] * self.field.draw(means, self.scatter[classes], draws)
        return (means + differences).clamp(0, 1).view(-1, *self.shape)


def measured_regions(
    data: Private[Images, ImageSchema],
    session: Session,
    codes: Codes,
    details: Codes,
    means: Tensor,
    spreads: Tensor,
    draws: torch.Generator,
) -> Regions:
    """Regions by released Gaussians of codes, and their pictures by releases of region sums.

    Args:
        data: labelled images.
        session: charged ``PASSES`` releases, with the plan's noise for ``regions``, and the field's.
        codes: whose clusters have the first pictures.
        details: patterns along which pictures are measured.
        means, spreads: of the classes' codes, released (K, d) and (K, d, d).
        draws: all chance.
    """
    schema, sigma = data.schema, session.plan.noise["regions"]
    classes, width = len(means), details.patterns.shape[1]
    regions = regions_a_class(schema, sigma)
    split = [_clusters(mean, spread, regions, draws) for mean, spread in zip(means, spreads, strict=True)]
    centres = torch.stack([found for found, _ in split])  # (K, R, d)
    pictures = codes.drawn(centres.flatten(0, 1)).flatten(1).clamp(0, 1)  # (K R, C h w)
    distance = sum(away for _, away in split) / classes
    unseen = float(details.radius**2 - codes.radius**2)  # squared length that codes miss of public images
    reach = _REACH * math.sqrt(max((float(codes.radius) * distance) ** 2 + unseen, 1e-6))
    for _ in range(PASSES):
        sums = noisy_region_sums(
            data,
            session,
            _region_of(schema, pictures, details, reach),
            classes * regions,
            width + 1,
            sigma,
            f"{width} patterns of {regions} regions a class",
        )
        counts = torch.from_numpy(np.maximum(sums.counts, max(1.0, sigma / COUNT)))
        noise = (sigma * _WHOLE / counts).square()[:, None]
        shifts = torch.from_numpy(sums.sums[:, :width]) * _WHOLE / counts[:, None]
        shifts = shifts * _wiener(shifts, noise)  # (K R, d)
        pictures = (pictures + reach * (shifts.float() @ details.patterns.T)).clamp(0, 1)
        pictures = torch.where(pictures < _DARK, 0.0, pictures)
    made = Regions(codes.shape, classes, regions, width)
    made.pictures.copy_(pictures.view(classes, regions, -1))
    made.weights.copy_(_shares(sums, classes))
    made.scatter.copy_(_scatter(sums, pictures, shifts, reach, classes))
    room = made.pictures * (1 - made.pictures)
    usual = float((made.weights[..., None] * room / (room + ROOM)).sum()) / classes

    def picture_of(image: Tensor, label: int) -> tuple[Tensor, Tensor]:
        return made.pictures[label, _nearest(image, made.pictures[label])], made.scatter[label]

    measured_field(data, session, made.field, picture_of, details.patterns, usual)
    return made


def _region_of(schema: ImageSchema, pictures: Tensor, details: Codes, reach: float) -> RegionOf:
    """An image and its class to the region of the nearest picture, and to its difference from that."""
    regions = len(pictures) // len(schema.classes)

    @torch.no_grad()
    def region_of(pixels: NDArray[np.uint8], label: int) -> tuple[int, NDArray[np.floating]]:
        image, mine = images_of(pixels, schema).flatten(1), pictures[label * regions : (label + 1) * regions]
        nearest = _nearest(image, mine)
        gap = (image - mine[nearest]) / reach
        along = gap @ details.patterns
        along = along / along.norm(dim=1, keepdim=True).clamp_min(1.0)
        away = (gap.square().sum(dim=1, keepdim=True) / 4).clamp(max=1.0)
        return label * regions + nearest, (torch.cat([along, _SPREAD * away], dim=1) / _WHOLE).numpy()

    return region_of


def _nearest(image: Tensor, pictures: Tensor) -> int:
    """Place of the picture (R, C h w) that an image is nearest to."""
    return int((image - pictures).square().sum(dim=1).argmin())


def _clusters(mean: Tensor, spread: Tensor, regions: int, draws: torch.Generator) -> tuple[Tensor, float]:
    """Centres (R, d) of codes drawn from a Gaussian, and their mean distance from them."""
    codes = mean + torch.randn(_CLUSTERED, len(mean), generator=draws) @ spread.T
    codes = codes / codes.norm(dim=1, keepdim=True).clamp_min(1.0)
    centres = codes[:regions].clone()
    for _ in range(_ROUNDS):
        nearest = torch.cdist(codes, centres).argmin(dim=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, codes)
        counts = torch.bincount(nearest, minlength=regions)
        centres = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), centres)
    return centres, float(torch.cdist(codes, centres).amin(dim=1).mean())


def _wiener(shifts: Tensor, noise: Tensor) -> Tensor:
    """Weights (K R, d): the variance of shifts along a pattern and its neighbours, beside the noise's (K R, 1)."""
    trust = 1 / (noise + noise.median())
    variance = ((shifts.square() - noise) * trust).sum(dim=0) / trust.sum()
    band = min(_BAND, (len(variance) - 1) // 2)
    smooth = F.avg_pool1d(variance[None], 2 * band + 1, 1, band, count_include_pad=False)[0].clamp_min(0)
    return smooth / (smooth + noise)


def _shares(sums: RegionSums, classes: int) -> Tensor:
    counts = torch.from_numpy(np.maximum(sums.counts, 1e-3)).view(classes, -1)
    return counts / counts.sum(dim=1, keepdim=True)


def _scatter(sums: RegionSums, pictures: Tensor, shifts: Tensor, reach: float, classes: int) -> Tensor:
    """Variance about the pictures, of what pixels could have at most: (K,) in [_LEAST, 1]."""
    counts = np.maximum(sums.counts.reshape(classes, -1), 0).sum(axis=1)  # of a class
    away = sums.sums[:, -1].reshape(classes, -1).sum(axis=1) * _WHOLE / _SPREAD
    squares = torch.from_numpy(4 * away / np.maximum(counts, 1.0))
    weights = _shares(sums, classes)
    moved = (weights * shifts.square().sum(dim=1).view(classes, -1)).sum(dim=1)
    most = (weights * (pictures * (1 - pictures)).sum(dim=1).view(classes, -1)).sum(dim=1)
    return ((squares - moved) * reach**2 / most.clamp_min(1e-6)).clamp(_LEAST, 1)


__all__ = ["DETAILS", "PASSES", "Regions", "measured_regions", "regions_a_class"]
