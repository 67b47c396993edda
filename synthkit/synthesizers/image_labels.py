"""LABEL: which class an image shows, by a linear classifier of public energies that DP-SGD trains on real images.

Softmax regression on all oriented energies (:class:`~synthkit.synthesizers.features.Energies`, before they are
projected). Frozen features under a linear layer are what DP-SGD learns best: Tramèr and Boneh 2021
(arXiv:2011.11660). A clip below the usual gradient, momentum, and a rate that falls to nearly nothing. Where it starts
follows from what is public: the noise moves the weights by as much in a step whatever its multiplier and
the number of images, so that steps are long where noise is small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.privacy.mechanisms.dpsgd import NoisyGradients
from synthkit.privacy.session import Session
from synthkit.synthesizers.features import Energies
from synthkit.synthesizers.image_model import images_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RATE = 0.04  # probability with which a unit joins a step
_MOST_SAMPLED = 4_000  # images a step, expected
_CLIP, _MOMENTUM, _SLOWEST = 0.3, 0.9, 0.05
_STRIDE = 0.06  # by which the noise of the first step moves a weight, in clips
_CONSTANT = 0.3  # a feature that is the same for all


def sample_rate(schema: ImageSchema) -> float:
    """Probability with which a unit joins a step."""
    return min(_RATE, _MOST_SAMPLED / max(schema.rows, 1))


class Labels(nn.Module):
    """Softmax regression: rows of :func:`row_of` (b, f) to logits (b, K)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.layer = nn.Linear(features, classes, bias=False)
        nn.init.zeros_(self.layer.weight)

    def forward(self, rows: Tensor) -> Tensor:
        logits: Tensor = self.layer(rows)
        return logits


def row_of(energies: Energies, images: Tensor) -> Tensor:
    """What labels are read from: images (b, C, h, w) to energies and a constant (b, f)."""
    every = energies.every(images)
    return torch.cat([every, torch.full((len(every), 1), _CONSTANT)], dim=1)


def measured_labels(
    data: Private[Images, ImageSchema], session: Session, energies: Energies, labels: Labels, steps: int
) -> None:
    """Train ``labels`` by ``steps`` of DP-SGD, with the plan's noise multiplier for ``labels``."""
    if not steps:
        return
    schema = data.schema

    @torch.no_grad()
    def encode(pixels: NDArray[np.uint8]) -> NDArray[np.floating]:
        found: NDArray[np.floating] = row_of(energies, images_of(pixels, schema)).double().numpy()
        return found

    def loss(network: nn.Module, rows: Tensor) -> Tensor:
        return F.cross_entropy(network(rows[:, :-1]), rows[:, -1].long(), reduction="none")

    gradients = NoisyGradients(
        data,
        session,
        labels,
        loss,
        encode=encode,
        clipping_norm=_CLIP,
        noise_multiplier=session.plan.noise["labels"],
        sample_rate=sample_rate(schema),
        clipping="ghost" if session.plan.budget.unit.max_rows == 1 else "hooks",
        what="labels",
    )
    weight, pace = labels.layer.weight, torch.zeros_like(labels.layer.weight)
    stride = _STRIDE * sample_rate(schema) * schema.rows / session.plan.noise["labels"]
    for step in range(steps):
        (gradient,) = gradients.step()
        with torch.no_grad():
            pace.mul_(_MOMENTUM).add_(gradient)
            weight.sub_(stride * max(_SLOWEST, 1 - step / steps) * pace)
    labels.requires_grad_(False)


__all__ = ["Labels", "measured_labels", "row_of", "sample_rate"]
