"""DRAW and LABEL: images from all that was released, in any style, and what they show.

An image is decoded from codes, or a picture of a region with a field on it, or a blend of both; pushed towards
its class, moved or sharpened a little, if that is the style. Its label is what the labels' classifier sees in it,
the drawn class in case of doubt. Of several candidates those are kept that make images as clear as real ones are
(:mod:`~synthkit.synthesizers.image_matching`). All of this is post-processing. What was measured, and how, says
:mod:`~synthkit.synthesizers.image_moments`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthkit.synthesizers.class_gaussians import ClassGaussians
from synthkit.synthesizers.features import Codes, Energies
from synthkit.synthesizers.image_labels import Labels, row_of
from synthkit.synthesizers.image_matching import Match
from synthkit.synthesizers.image_model import Decoder
from synthkit.synthesizers.regions import Regions

_DRAWN_CLASS = 1.0  # added to the drawn class's log likelihood when an image is labelled
_CLEARER, _STRIDES = 1.0, 2  # norm by which an image is pushed towards its class, at most; in so many strides
_CANDIDATES = 3  # for every image, where something is known to choose by; a third of them is pushed


@dataclass(frozen=True)
class Style:
    """A way of drawing images.

    Attributes:
        decoded: share of the decoder; what is left are regions' pictures.
        moved: slightly turned, scaled, sheared and shifted.
        sharper: weight of an unsharp mask, at most.
    """

    decoded: float = 0.5
    moved: bool = True
    sharper: float = 0.0


class Drawer(nn.Module):
    """Codes' Gaussians, a decoder, regions, the energies' judge, the labels' classifier, and what it should see."""

    shares: Tensor  # (K,)
    code_means: Tensor  # (K, d)
    code_spreads: Tensor  # (K, d, d)
    means: Tensor  # (K, e) of energies
    whiten: Tensor  # (K, e, e)
    log_volumes: Tensor  # (K,)

    def __init__(self, codes: Codes, energies: Energies, regions: Regions, style: Style) -> None:
        super().__init__()
        self.codes, self.energies, self.regions, self.style = codes, energies, regions, style
        classes = len(regions.scatter)
        d, e = codes.patterns.shape[1], energies.basis.shape[1]
        self.decoder = Decoder(codes.shape, d, classes)
        self.labels = Labels(len(energies.mean) + 1, classes)
        self.match = Match(classes)
        self.register_buffer("shares", torch.full((classes,), 1 / classes))
        self.register_buffer("code_means", torch.zeros(classes, d))
        self.register_buffer("code_spreads", torch.zeros(classes, d, d))
        self.register_buffer("means", torch.zeros(classes, e))
        self.register_buffer("whiten", torch.zeros(classes, e, e))
        self.register_buffer("log_volumes", torch.zeros(classes))

    def place(self, codes: ClassGaussians, energies: ClassGaussians) -> None:
        """JUDGE: released Gaussians. Counts are those with the smaller noise."""
        for name, value in (
            ("shares", energies.shares),
            ("code_means", codes.means),
            ("code_spreads", codes.spreads),
            ("means", energies.means),
            ("whiten", energies.whiten),
            ("log_volumes", energies.log_volumes),
        ):
            getattr(self, name).copy_(torch.from_numpy(value))

    def judge(self, energies: Tensor) -> Tensor:
        """Log likelihood of every class, up to a common constant: (b, e) to (b, K)."""
        return self.likelihoods(self.distances(energies))

    def likelihoods(self, distances: Tensor) -> Tensor:
        """As :meth:`judge`, from :meth:`distances`."""
        return -(distances + self.log_volumes) / 2

    def distances(self, energies: Tensor) -> Tensor:
        """Squared Mahalanobis distances: (b, e) to (b, K)."""
        return self.gaps(energies).square().sum(dim=2)

    def gaps(self, energies: Tensor) -> Tensor:
        """Whitened distances to every class's mean, axis by axis: (b, e) of any float type to (b, K, e)."""
        means, whiten = self.means.to(energies), self.whiten.to(energies)
        return torch.einsum("be,kef->bkf", energies, whiten) - torch.einsum("ke,kef->kf", means, whiten)

    def draw_codes(self, classes: Tensor, draws: torch.Generator) -> Tensor:
        """Codes from every class's Gaussian: (b,) to (b, d)."""
        noise = torch.randn(len(classes), self.code_means.shape[1], generator=draws)
        return self.code_means[classes] + torch.einsum("bij,bj->bi", self.code_spreads[classes], noise)

    def decode(self, codes: Tensor, classes: Tensor) -> Tensor:
        """(b, d), (b,) to images (b, C, h, w) in [0, 1]."""
        images: Tensor = self.decoder(self.codes.drawn(codes), codes * codes.shape[1] ** 0.5, classes)
        return images

    @torch.no_grad()
    def draw(self, classes: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """DRAW, LABEL and MATCH: images drawn for some classes (b,), in any order, and what they show (b,)."""
        if not self.match.known:
            return self.drawn(classes, self.style, draws)
        # One candidate of each image at a time: decoding takes memory.
        candidates = [self._candidates(classes, draws) for _ in range(_CANDIDATES)]
        images, seen = (torch.cat(parts) for parts in zip(*candidates, strict=True))
        kept = self.match.chosen(seen, len(classes), draws)
        return images[kept], self.labelled(seen, classes.repeat(_CANDIDATES))[kept]

    @torch.no_grad()
    def drawn(self, classes: Tensor, style: Style, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """DRAW and LABEL: an image for each of some classes (b,), in any style, and what it shows (b,)."""
        images, seen = self.shown(classes, style, 1.0, draws)
        return images, self.labelled(seen, classes)

    @torch.no_grad()
    def weigh(self, count: int, draws: torch.Generator) -> None:
        """MATCH: take the odds from ``count`` candidates, 1 or more."""
        wanted = torch.multinomial(self.shares, count, replacement=True, generator=draws)
        self.match.weigh(torch.cat([self._candidates(part, draws)[1] for part in wanted.split(500)]))

    @torch.no_grad()
    def shown(self, classes: Tensor, style: Style, pushed: float, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images drawn for classes (b,), a share of them pushed towards those, and what they show: log likelihoods (b, K)."""
        if not len(classes):
            return torch.zeros(0, *self.codes.shape), torch.zeros(0, len(self.shares))
        # A third are blends, whatever the style's share.
        decoded = (3 * torch.rand(len(classes), 1, 1, 1, generator=draws) - 2 + 2 * style.decoded).clamp(0, 1)
        images = self.regions.draw(classes, draws)
        some = decoded.flatten().nonzero()[:, 0]
        if len(some):
            made = self.decode(self.draw_codes(classes[some], draws), classes[some])
            images[some] = torch.lerp(images[some], made, decoded[some])
        if style.moved:
            images = _moved(images, draws)
        lengths = (torch.rand(len(classes), generator=draws) / pushed - 1 / pushed + 1).clamp_min(0) * _CLEARER
        some = lengths.nonzero()[:, 0]
        if len(some):
            images[some] = self.clearer(images[some], classes[some], lengths[some])
        if style.sharper:
            images = _sharper(images, style.sharper * torch.rand(len(classes), generator=draws))
        return images, self.see(images)

    def labelled(self, seen: Tensor, classes: Tensor) -> Tensor:
        """LABEL: what images show (b, K), the drawn class (b,) in case of doubt: (b,)."""
        return (seen + _DRAWN_CLASS * F.one_hot(classes, len(self.shares))).argmax(dim=1)

    def _candidates(self, classes: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.shown(classes, self.style, 1 / _CANDIDATES, draws)

    def see(self, images: Tensor) -> Tensor:
        """Log likelihoods of classes (b, K), as the labels' classifier sees images (b, C, h, w)."""
        return F.log_softmax(self.labels(row_of(self.energies, images)), dim=1)

    @torch.enable_grad()
    def clearer(self, images: Tensor, classes: Tensor, lengths: Tensor) -> Tensor:
        """Images moved so far (b,) to where the labels' classifier sees their class better: (b, C, h, w) in [0, 1]."""
        for _ in range(_STRIDES):
            images = images.detach().requires_grad_(True)
            doubt = F.cross_entropy(self.labels(row_of(self.energies, images)), classes, reduction="sum")
            (slope,) = torch.autograd.grad(doubt, images)
            outwards = ((images <= 0) & (slope > 0)) | ((images >= 1) & (slope < 0))
            slope = slope.masked_fill(outwards, 0.0)
            steepness = slope.flatten(1).norm(dim=1).clamp_min(1e-12)
            images = (images - (lengths / _STRIDES / steepness)[:, None, None, None] * slope).clamp(0, 1)
        return images.detach()


def _moved(images: Tensor, draws: torch.Generator) -> Tensor:
    """Images turned by at most 10 degrees, scaled by 12%, sheared by 15%, shifted by 5%."""
    count = len(images)

    def within(most: float) -> Tensor:
        return (2 * torch.rand(count, generator=draws) - 1) * most

    turn, wide, high, shear = within(math.radians(10)), 1 + within(0.12), 1 + within(0.12), within(0.15)
    first = torch.stack([wide * turn.cos(), shear - wide * turn.sin(), within(0.1)], dim=1)
    second = torch.stack([high * turn.sin(), high * turn.cos(), within(0.1)], dim=1)
    grid = F.affine_grid(torch.stack([first, second], dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _sharper(images: Tensor, weights: Tensor) -> Tensor:
    """Images (b, C, h, w) with what they differ by from their neighbourhood's mean added, times weights (b,)."""
    smooth = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return (images + weights[:, None, None, None] * (images - smooth)).clamp(0, 1)


__all__ = ["Drawer", "Style"]
