"""STYLE: in which way images are to be drawn, by what classifiers that learn from each way get right on real images.

Whether blends with decoded images help, whether digits may lean and clothes may not, is different from one set
to the next, and no released moment tells. So a plain classifier is trained on images of every style, all are
asked about every real image of the training set, and what each gets right is counted, with noise. Counts of
so many images are worth little noise, so that the choice is cheap: private selection by noisy scores, as in
report noisy max, except that the scores are released too. What teaches most from few images is not always what
teaches most from many, so that the best two are asked again, with more images: successive halving (Jamieson and Talwalkar
2016, arXiv:1502.07943) in two rounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.privacy.mechanisms.region_sums import noisy_region_sums
from synthkit.privacy.session import Session
from synthkit.synthesizers.image_classifier import learn, plain_classifier
from synthkit.synthesizers.image_drawer import Drawer, Style
from synthkit.synthesizers.image_model import images_of, pixels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROUNDS = ((1, 2), (3, 1))  # times as many images to learn from, and how many styles are left afterwards
_EPOCHS = 5


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
        session: charged a release of region sums in every round, with the plan's noise for ``styles``.
        network: draws images in any style.
        among: what to choose from.
        count: images that each classifier learns from in the first round.
        draws: all chance.
    """
    left = list(among)
    for more, kept in ROUNDS:
        scores = _scores(data, session, [_learnt(network, style, more * count, draws) for style in left])
        left = [left[place] for place in np.argsort(-scores, kind="stable")[:kept]]
    return left[0]


def _scores(data: Private[Images, ImageSchema], session: Session, judges: Sequence[nn.Module]) -> NDArray[np.float64]:
    """How many real images each judge gets right, with noise, in units that all share."""
    schema = data.schema

    @torch.no_grad()
    def right(pixels: NDArray[np.uint8], label: int) -> tuple[int, NDArray[np.floating]]:
        image = images_of(pixels, schema)
        found = [float(judge(image).argmax() == label) for judge in judges]
        return 0, np.array([found]) / math.sqrt(len(judges))  # of norm 1 at most, whoever is right

    what = f"what classifiers of {len(judges)} styles get right"
    sums = noisy_region_sums(data, session, right, 1, len(judges), session.plan.noise["styles"], what)
    return sums.sums.ravel()


def _learnt(network: Drawer, style: Style, count: int, draws: torch.Generator) -> nn.Module:
    """A plain classifier of images (b, C, h, w), trained on ``count`` that are drawn in a style."""
    images, labels = _drawn(network, style, count, draws)
    channels, height, width = images.shape[1:]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=draws)))
        return learn(plain_classifier(channels, height, width, len(network.shares)), images, labels, _EPOCHS)


def _drawn(network: Drawer, style: Style, count: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (n, C, h, w), uint8, and their labels (n,)."""
    wanted = torch.multinomial(network.shares, count, replacement=True, generator=draws)
    images, labels = [], []
    for part in wanted.split(500):
        found, shown = network.drawn(part, style, draws)
        images.append(pixels_of(found))
        labels.append(shown)
    return torch.cat(images), torch.cat(labels)


__all__ = ["ROUNDS", "best_style", "styles"]
