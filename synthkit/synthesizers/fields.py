"""How images differ from the picture of their region: a random field, as strong as was measured, correlated as was measured.

A number in [0, 1] of mean m has a variance of at most m (1 - m): pixels that are neither dark nor bright for certain can
vary. So a difference counts in units of that, times what images of its class scatter. What is left then is much
alike everywhere (those near one another vary together, a shirt's left side with its right), so that all classes
share one matrix of correlations, along public patterns, released once. Of a noisy matrix only eigenvalues that
stand out are believed, and these in part: noise adds to them and turns their axes (a spiked Wigner matrix,
Benaych-Georges and Nadakuditi 2011, The eigenvalues and eigenvectors of finite, low rank
perturbations of large random matrices). The rest of the variance is a public guess, a smooth or rough field.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.privacy.mechanisms.region_sums import noisy_region_sums
from synthkit.privacy.session import Session
from synthkit.synthesizers.image_model import images_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOM = 0.05  # variance that also dark and bright pixels may have
_REACH = 1.4  # times the usual norm of a difference: norm that becomes 1
_RANGE, _SMOOTH = 3.0, 0.05  # pixels over which a public field changes; share of its patterns that are always there

# An image and its class to the mean image (C h w,) that it is held against, and its class's scatter.
PictureOf = Callable[[Tensor, int], "tuple[Tensor, Tensor]"]


class Field(nn.Module):
    """Random differences from pictures."""

    common: Tensor  # (C h w, d) columns of the measured correlations' root; zero where nothing stood out
    rest: Tensor  # () share of the variance that is not in them
    public: Tensor  # (h w, h w) columns that a public field is made of, the smoothest first

    def __init__(self, shape: tuple[int, int, int], patterns: int) -> None:
        super().__init__()
        self.register_buffer("common", torch.zeros(math.prod(shape), patterns))
        self.register_buffer("rest", torch.ones(()))
        self.register_buffer("public", _smooth_first(*shape[1:]), persistent=False)

    def draw(self, means: Tensor, scatter: Tensor, draws: torch.Generator) -> Tensor:
        """Differences from mean images (b, C, h w) in [0, 1] with scatters (b,): (b, C, h w)."""
        count, _, pixels = means.shape
        rough = torch.rand(count, 1, generator=draws).expand(-1, pixels).clone()
        rough[:, : math.ceil(_SMOOTH * pixels)] = 1.0
        public = (torch.randn(count, pixels, generator=draws) * rough) @ self.public.T
        public = public / public.square().mean(dim=1, keepdim=True).sqrt()
        common = torch.randn(count, self.common.shape[1], generator=draws) @ self.common.T
        room = means * (1 - means)
        differences = (room + ROOM).sqrt() * common.view_as(means) + (self.rest * room).sqrt() * public[:, None]
        return scatter[:, None, None].sqrt() * differences


def measured_field(
    data: Private[Images, ImageSchema],
    session: Session,
    field: Field,
    picture_of: PictureOf,
    patterns: Tensor,
    usual: float,
) -> None:
    """A field's correlations, by one release of a region sum: the sum of z z' over all images.

    Args:
        data: labelled images.
        session: charged one release, with the plan's noise for ``correlations``.
        field: gets them.
        picture_of: what an image is held against, a function of it, its class and released values.
        patterns: orthonormal columns (C h w, d) along which differences are looked at.
        usual: squared norm that a difference is expected to have in its units.
    """
    schema, sigma, width = data.schema, session.plan.noise["correlations"], patterns.shape[1]
    reach = _REACH * math.sqrt(usual)
    rows, columns = torch.triu_indices(width, width).unbind()
    double = torch.where(rows == columns, 1.0, math.sqrt(2))  # so that the triangle's norm is the matrix's

    @torch.no_grad()
    def correlation_of(pixels: NDArray[np.uint8], label: int) -> tuple[int, NDArray[np.floating]]:
        image = images_of(pixels, schema).flatten()
        mean, scatter = picture_of(image, label)
        standard = (image - mean) / (scatter * (mean * (1 - mean) + ROOM)).sqrt()
        along = standard @ patterns / reach
        along = along / along.norm().clamp_min(1.0)
        return 0, (double * along[rows] * along[columns])[None].numpy()

    what = f"correlations of {width} patterns"
    sums = noisy_region_sums(data, session, correlation_of, 1, len(rows), sigma, what)
    count = max(float(sums.counts[0]), 1.0)
    half = torch.zeros(width, width, dtype=torch.float64)
    half[rows, columns] = torch.from_numpy(sums.sums[0]) / (count * double)
    values, axes = torch.linalg.eigh(half + half.triu(1).T)
    variances = _spikes(values, sigma / count * math.sqrt(width / 2)) * reach**2
    variances = variances * min(1.0, usual / max(float(variances.sum()), 1e-9))
    field.common.copy_(patterns @ (axes * variances.sqrt()).float())
    field.rest.fill_(max(0.0, 1 - float(variances.sum()) / usual))


def _spikes(values: Tensor, radius: float) -> Tensor:
    """Variances along the axes of a noisy symmetric matrix with these eigenvalues; noise alone has them in +-2 ``radius``."""
    seen = values.clamp_min(2 * radius)
    true = (seen + (seen.square() - 4 * radius**2).sqrt()) / 2
    return torch.where(values > 2 * radius, true * (1 - (radius / true).square()), 0.0)


def _smooth_first(height: int, width: int) -> Tensor:
    """Eigenvectors of exp(-distance / range), each as long as its standard deviation, the smoothest first."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    places = torch.stack([y.flatten(), x.flatten()], dim=1)
    values, vectors = torch.linalg.eigh(torch.exp(-torch.cdist(places, places) / _RANGE).double())
    columns: Tensor = (vectors * values.clamp_min(0).sqrt()).flip(1).float()
    return columns


__all__ = ["ROOM", "Field", "PictureOf", "measured_field"]
