"""Frozen, public features of images: linear codes, which a picture can be drawn from, and oriented energies.

Both look at one image alone, at a working size of at most 32 pixels a side, and have an L2 norm of at most 1.
Their bases are principal components of :mod:`~synthkit.synthesizers.procedural` images: public, from a fixed seed.

    codes     U'(x - mean) / radius: an image's place along d smooth patterns; what is longer than 1 is scaled down
    energies  amplitudes of oriented waves of three sizes, averaged over overlapping windows, and pixels at half
              the size (first-order scattering, Bruna and Mallat 2013, arXiv:1203.1513); each standardized by
              the public images, the whole softly scaled into the unit ball, and projected onto d directions
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LARGEST = 32
_ORIENTATIONS = 8
_PIXELS = 1.5  # weight of the half-size pixels beside the energies
_ROOM = 1.25  # what a code may be long, as a multiple of the usual public image's
_BATCH = 500


def working_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Channels, height and width at which images are looked at and drawn: 8 to 32, multiples of 4."""
    channels, height, width = shape
    scale = min(1.0, _LARGEST / max(height, width))

    def side(pixels: int) -> int:
        return min(_LARGEST, max(8, 4 * round(pixels * scale / 4)))

    return channels, side(height), side(width)


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Images (n, C, H, W) brought to another size; the same where it is theirs."""
    if images.shape[2:] == (height, width):
        return images
    return F.interpolate(images, size=(height, width), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


class Codes(nn.Module):
    """Images as places along principal components of public images.

    Attributes:
        patterns: orthonormal columns (C h w, d).
        centre: (C h w,).
        radius: () norm that becomes 1.
    """

    patterns: Tensor
    centre: Tensor
    radius: Tensor

    def __init__(self, shape: tuple[int, int, int], width: int, public: Tensor | None = None) -> None:
        """
        Args:
            shape: working channels, height, width.
            width: d, at most C h w.
            public: images (n, C, h, w) that the basis is read from; None leaves it to be loaded.
        """
        super().__init__()
        self.shape, size = shape, math.prod(shape)
        self.register_buffer("patterns", torch.zeros(size, width))
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("radius", torch.ones(()))
        if public is not None:
            flat = public.flatten(1)
            self.centre.copy_(flat.mean(dim=0))
            self.patterns.copy_(_components(flat - self.centre, width))
            norms = ((flat - self.centre) @ self.patterns).norm(dim=1)
            self.radius.copy_(_ROOM * norms.median())

    def forward(self, images: Tensor) -> Tensor:
        """(n, C, h, w) in [0, 1] to (n, d) of norm at most 1."""
        codes = self.places(images)
        bounded: Tensor = codes / codes.norm(dim=1, keepdim=True).clamp_min(1.0)
        return bounded

    def places(self, images: Tensor) -> Tensor:
        """As :meth:`forward`, of any norm."""
        return (images.flatten(1) - self.centre) @ self.patterns / self.radius

    def drawn(self, codes: Tensor) -> Tensor:
        """The smooth images that codes stand for: (n, d) to (n, C, h, w), not cut to [0, 1]."""
        return (codes @ self.patterns.T * self.radius + self.centre).view(-1, *self.shape)


class Energies(nn.Module):
    """Standardized oriented energies, projected onto principal components of those of public images.

    Attributes:
        basis: (features, d).
        mean, deviation: of every raw feature over public images.
    """

    basis: Tensor
    mean: Tensor
    deviation: Tensor
    small: Tensor
    large: Tensor

    def __init__(self, shape: tuple[int, int, int], width: int, public: Tensor | None = None) -> None:
        """As :class:`Codes`."""
        super().__init__()
        self.register_buffer("small", _waves(1.0, 7), persistent=False)
        self.register_buffer("large", _waves(2.0, 11), persistent=False)
        size = self._raw(torch.zeros(1, *shape)).shape[1]
        self.register_buffer("basis", torch.zeros(size, width))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        if public is not None:
            with torch.no_grad():
                raw = torch.cat([self._raw(batch) for batch in public.split(_BATCH)])
            self.mean.copy_(raw.mean(dim=0))
            self.deviation.copy_(raw.std(dim=0).clamp_min(1e-3))
            self.deviation[: math.prod(shape) // 4] /= _PIXELS
            self.basis.copy_(_components(self._scaled(raw), width))

    def forward(self, images: Tensor) -> Tensor:
        """(n, C, h, w) in [0, 1] to (n, d) of norm at most 1."""
        return self.every(images) @ self.basis

    def every(self, images: Tensor) -> Tensor:
        """As :meth:`forward`, before the projection: (n, features) of norm below 1."""
        return self._scaled(self._raw(images))

    def _scaled(self, raw: Tensor) -> Tensor:
        standard = (raw - self.mean) / self.deviation
        return standard / (raw.shape[1] / 4 + standard.square().sum(dim=1, keepdim=True)).sqrt()

    def _raw(self, images: Tensor) -> Tensor:
        half = F.avg_pool2d(images, 2)  # (n, C, h / 2, w / 2)
        grey, small_grey = images.mean(dim=1, keepdim=True), half.mean(dim=1, keepdim=True)
        parts = [half.flatten(1)]
        for seen, waves, step in ((grey, self.small, 4), (small_grey, self.small, 2), (small_grey, self.large, 2)):
            pairs = F.conv2d(seen, waves, padding=waves.shape[-1] // 2)
            amplitudes = (pairs[:, 0::2].square() + pairs[:, 1::2].square() + 1e-6).sqrt() - 1e-3
            pooled = F.avg_pool2d(amplitudes, 2 * step, step, padding=step // 2)  # windows that overlap by half
            parts.append(pooled.flatten(1))
        return torch.cat(parts, dim=1)


def bases(public: Tensor, codes: int, energies: int) -> tuple[Tensor, Codes, Energies]:
    """Public images, and the two features whose bases they give.

    Args:
        public: (n, C, h, w) of the working size.
        codes, energies: how many of each.
    """
    channels, height, width = public.shape[1:]
    shape = (channels, height, width)
    return public, Codes(shape, codes, public), Energies(shape, energies, public)


def _components(rows: Tensor, width: int) -> Tensor:
    """The ``width`` leading eigenvectors of the rows' second moment, each with its largest entry positive."""
    rows = rows.double()
    if len(rows) < rows.shape[1]:  # the same by the smaller of the two products
        _, weights = torch.linalg.eigh(rows @ rows.T / len(rows))
        leading = F.normalize(rows.T @ weights.flip(1)[:, :width], dim=0)
    else:
        _, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        leading = vectors.flip(1)[:, :width]
    signs = leading.gather(0, leading.abs().argmax(dim=0, keepdim=True)).sign()
    components: Tensor = (leading * signs).float()
    return components


def _waves(scale: float, size: int) -> Tensor:
    """Even and odd Gabor waves of every orientation: (2 orientations, 1, size, size), each pair of norm 1."""
    reach = torch.arange(size) - float(size // 2)
    y, x = torch.meshgrid(reach, reach, indexing="ij")
    kernels = []
    for k in range(_ORIENTATIONS):
        angle = math.pi * k / _ORIENTATIONS
        along = x * math.cos(angle) + y * math.sin(angle)
        across = -x * math.sin(angle) + y * math.cos(angle)
        window = torch.exp(-(along**2 + 0.4 * across**2) / (2 * scale**2))
        even, odd = window * torch.cos(2.2 / scale * along), window * torch.sin(2.2 / scale * along)
        even = even - window * (even.sum() / window.sum())  # blind to flat areas
        norm = (even.square().sum() + odd.square().sum()).sqrt()
        kernels += [even / norm, odd / norm]
    return torch.stack(kernels)[:, None]


__all__ = ["Codes", "Energies", "bases", "resized", "working_shape"]
