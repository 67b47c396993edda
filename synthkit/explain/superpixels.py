"""Superpixels: neighbouring pixels of like brightness, the players of an image.

Simple linear iterative clustering (SLIC, Achanta et al. 2012): k-means on place and colour, from a regular grid,
every pixel looking at near centres alone. Deterministic.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from synthkit.errors import ExplanationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDS = 8
_COMPACT = 0.5  # weight of place against colour: a grid cell's width counts as half of black to white


def superpixels(pixels: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Segments (height, width) of one image, numbered from 0; about ``count``, none empty.

    Args:
        pixels: uint8 (channels, height, width).
        count: 2 to half as many as there are pixels.

    Raises:
        ExplanationError: not an image, or a count that it cannot have.
    """
    if pixels.ndim != 3:
        raise ExplanationError(f"pixels have shape {pixels.shape}; one image is (channels, height, width)")
    _, height, width = pixels.shape
    if not 2 <= count <= height * width // 2:
        raise ExplanationError(f"{count} superpixels; an image of {height} x {width} has 2 to {height * width // 2}")
    down = max(1, round(math.sqrt(count * height / width)))
    across = max(1, round(count / down))
    cell = math.sqrt(height * width / (down * across))
    y, x = np.mgrid[:height, :width].astype(np.float64)
    features = np.stack([*(pixels / 255.0), y / cell * _COMPACT, x / cell * _COMPACT], axis=-1)  # (h, w, c + 2)
    rows = ((np.arange(down) + 0.5) * height / down).astype(int)
    columns = ((np.arange(across) + 0.5) * width / across).astype(int)
    centres = features[np.ix_(rows, columns)].reshape(-1, features.shape[-1])  # (k, c + 2)
    flat = features.reshape(-1, features.shape[-1])
    owner = np.zeros(len(flat), dtype=np.int64)
    for _ in range(_ROUNDS):
        gaps = ((flat[:, None, :] - centres[None]) ** 2).sum(axis=2)  # (h w, k)
        far = np.abs(flat[:, None, -2:] - centres[None, :, -2:]).max(axis=2) > 1.5 * _COMPACT
        owner = np.where(far, np.inf, gaps).argmin(axis=1)
        for k in range(len(centres)):
            if (owner == k).any():
                centres[k] = flat[owner == k].mean(axis=0)
    return np.unique(owner, return_inverse=True)[1].reshape(height, width)


__all__ = ["superpixels"]
