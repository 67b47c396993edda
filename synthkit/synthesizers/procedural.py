"""Public images, drawn by rule from a fixed seed: strokes, filled shapes, gradients and textures.

What a generator should know of pictures before it sees any: edges, flat areas, lines of a width. Nobody's
data are behind them. A third of them are strokes alone, a third filled shapes, a third both.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from synthkit.synthesizers.networks import seeded

SEED = 20_261_124
_BATCH = 500
_OBJECTS = 4


class _Uniform(Protocol):
    """Draws (count, *size) numbers, uniform from ``low`` to ``high``."""

    def __call__(self, *size: int, low: float = 0.0, high: float = 1.0) -> Tensor: ...


def procedural(count: int, shape: tuple[int, int, int], seed: int = SEED) -> Tensor:
    """Drawn images.

    Args:
        count: how many.
        shape: channels (1 or 3), height, width.
        seed: of the drawing; the same images for the same seed.

    Returns:
        float32 (count, channels, height, width) in [0, 1].
    """
    draws = seeded(seed)
    parts = [_drawn(min(_BATCH, count - start), shape, draws) for start in range(0, count, _BATCH)]
    return torch.cat(parts) if parts else torch.zeros(0, *shape)


def _drawn(count: int, shape: tuple[int, int, int], draws: torch.Generator) -> Tensor:
    channels, height, width = shape

    def uniform(*size: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(count, *size, generator=draws)

    def chance(share: float) -> Tensor:
        return (uniform(1) < share).float()

    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    x, y = x.flatten(), y.flatten()  # (pixels,)

    def shade(rough: Tensor) -> Tensor:
        """A colour, with a gradient and a texture where ``rough`` is 1: (count, channels, pixels)."""
        slope = uniform(2, low=-0.35, high=0.35) * chance(0.4) * rough
        angle, pitch, phase = uniform(1, high=math.pi), uniform(1, low=2, high=20), uniform(1, high=6.28)
        waves = 0.3 * uniform(1) * chance(0.3) * torch.sin(pitch * (x * angle.cos() + y * angle.sin()) + phase)
        grain = 0.25 * uniform(1) * chance(0.3) * uniform(len(x), low=-0.5, high=0.5)
        level = torch.where((rough < 0.5) & (uniform(1) < 0.8), uniform(1, low=0.85), uniform(1, low=0.15))
        relief = level + slope[:, :1] * x + slope[:, 1:] * y + rough * (waves + grain)  # (count, pixels)
        tint = uniform(channels, low=-0.5, high=0.5) if channels > 1 else torch.zeros(count, 1)
        return (relief[:, None] + tint[:, :, None]).clamp(0, 1)

    image = shade(torch.ones(count, 1)) * chance(0.2)[:, :, None]  # most grounds are dark
    family = uniform(1)
    for k in range(_OBJECTS):
        lone = torch.where(family < 0.35, 1.0, torch.where(family < 0.7, 0.1, 0.5))
        line = (uniform(1) < lone).float()
        mask = torch.where(line > 0, _stroke(uniform, x, y), _filled(uniform, x, y)) * chance(1.0 if k == 0 else 0.6)
        image = image * (1 - mask[:, None]) + shade(1 - line) * mask[:, None]
    return image.view(count, channels, height, width)


def _stroke(uniform: _Uniform, x: Tensor, y: Tensor) -> Tensor:
    """Quadratic curves of some width, as polygons of short pieces: (count, pixels) in [0, 1]."""
    corners = uniform(3, 2, low=-0.8, high=0.8)
    t = torch.linspace(0, 1, 9)[None, :, None]
    curve = (1 - t) ** 2 * corners[:, :1] + 2 * t * (1 - t) * corners[:, 1:2] + t**2 * corners[:, 2:]  # (count, 9, 2)
    nearest = torch.full((len(curve), len(x)), 9.0)
    for start, end in zip(curve.unbind(1)[:-1], curve.unbind(1)[1:], strict=True):
        along = end - start  # (count, 2)
        dx, dy = x - start[:, :1], y - start[:, 1:]
        share = (dx * along[:, :1] + dy * along[:, 1:]) / along.square().sum(1, keepdim=True).clamp_min(1e-9)
        share = share.clamp(0, 1)
        distance = (dx - share * along[:, :1]).square() + (dy - share * along[:, 1:]).square()
        nearest = torch.minimum(nearest, distance)
    return torch.sigmoid((uniform(1, low=0.04, high=0.16) - nearest.sqrt()) * 30)


def _filled(uniform: _Uniform, x: Tensor, y: Tensor) -> Tensor:
    """Turned, sheared superellipses, from round to square, sharp or soft: (count, pixels) in [0, 1]."""
    centre, axes = uniform(2, low=-0.5, high=0.5), uniform(2, low=0.12, high=0.72)
    angle, power, shear = uniform(1, high=math.pi), uniform(1, low=1.5, high=6.5), uniform(1, low=-0.5, high=0.5)
    dx, dy = x - centre[:, :1], y - centre[:, 1:]
    u, v = dx * angle.cos() + dy * angle.sin(), dy * angle.cos() - dx * angle.sin()
    u = (u + shear * v) / axes[:, :1]
    radius = (u.abs() ** power + (v / axes[:, 1:]).abs() ** power + 1e-9) ** (1 / power)
    return torch.sigmoid((1 - radius) * uniform(1, low=5, high=25))


__all__ = ["SEED", "procedural"]
