"""STYLE: in which way images are to be drawn, by what classifiers that learn from each way get right on real images.

Whether blends with decoded images help, whether digits may lean and clothes may not, is different from one set
to the next, and no released moment tells. So a small classifier is trained on images of every style, all are
asked about every real image of the training set, and what each gets right is counted, with noise. Counts of
so many images are worth little noise, so that the choice is cheap: private selection by noisy scores, as in
report noisy max, except that the scores are released too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.privacy.mechanisms.region_sums import noisy_region_sums
from synthkit.privacy.session import Session
from synthkit.synthesizers.image_model import images_of, initialize_decoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from synthkit.synthesizers.image_moments import Drawer

_EPOCHS, _BATCH, _RATE = 6, 100, 3e-3


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


def styles(*, moved: bool) -> list[Style]:
    """What is chosen from; ``moved``: whether images may be. Regions' pictures are of real images, so they stay where they are."""
    ways = [(0.0, False), (0.5, False), *([(0.5, True)] if moved else [])]
    return [Style(decoded, move, sharper) for decoded, move in ways for sharper in (0.0, 1.5)]


def best_style(
    data: Private[Images, ImageSchema],
    session: Session,
    network: Drawer,
    among: Sequence[Style],
    count: int,
    draws: torch.Generator,
) -> Style:
    """The style whose classifier gets most real images right, as far as the noise tells.

    Args:
        data: labelled images.
        session: charged one release of region sums, with the plan's noise for ``styles``.
        network: draws images in any style.
        among: what to choose from.
        count: images that each classifier learns from.
        draws: all chance.
    """
    schema = data.schema
    judges = [_learnt(network, style, count, draws) for style in among]

    @torch.no_grad()
    def right(pixels: NDArray[np.uint8], label: int) -> tuple[int, NDArray[np.floating]]:
        image = images_of(pixels, schema)
        found = [float(judge(image).argmax() == label) for judge in judges]
        return 0, np.array([found]) / math.sqrt(len(judges))  # of norm 1 at most, whoever is right

    what = f"what classifiers of {len(among)} styles get right"
    sums = noisy_region_sums(data, session, right, 1, len(among), session.plan.noise["styles"], what)
    return among[int(sums.sums[0].argmax())]


def _learnt(network: Drawer, style: Style, count: int, draws: torch.Generator) -> nn.Module:
    """A small classifier of images (b, C, h, w), trained on ``count`` that are drawn in a style."""
    wanted = torch.multinomial(network.shares, count, replacement=True, generator=draws)
    drawn = [network.drawn(part, style, draws) for part in wanted.split(500)]
    images, labels = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    judge = _classifier(images[0], len(network.shares), draws)
    steps = _EPOCHS * -(-count // _BATCH)
    learner = torch.optim.Adam(judge.parameters(), _RATE)
    pace = torch.optim.lr_scheduler.OneCycleLR(learner, _RATE, total_steps=steps)
    for _ in range(_EPOCHS):
        for batch in torch.randperm(count, generator=draws).split(_BATCH):
            loss = F.cross_entropy(judge(images[batch]), labels[batch])
            learner.zero_grad()
            loss.backward()
            learner.step()
            pace.step()
    return judge.eval()


def _classifier(image: Tensor, classes: int, draws: torch.Generator) -> nn.Module:
    channels, height, width = image.shape
    cells = -(-height // 4) * -(-width // 4)
    with torch.random.fork_rng(devices=[]):
        judge = nn.Sequential(
            nn.Conv2d(channels, 24, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(48 * cells, classes),
        )
    initialize_decoder(judge, draws)
    return judge


__all__ = ["Style", "best_style", "styles"]
