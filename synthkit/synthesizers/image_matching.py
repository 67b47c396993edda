"""MATCH: of what is drawn, so many images as clear, and so many as doubtful between which classes, as real ones are.

Drawn images are too often clear or too often in doubt, and in some classes more than in others: what a classifier
learns from them about the borders between classes is off by that. How it should be is worth one release of counts: the
labels' classifier looks at every real image, and counted is which class it sees, which one comes next if any does, and how far
behind. Candidates are kept with the odds of their cell, real to drawn: sampling importance resampling (Rubin 1988). Where
the noise is larger than what was counted, odds are even.
"""

from __future__ import annotations

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

_GAPS = (0.2, 1.0, 2.0, 4.0, 7.0)  # in log likelihood, from the class that is seen to the next: borders of cells
_DOUBT = 2.0  # standard deviations of noise, in images, that every cell is given before the odds are taken


class Match(nn.Module):
    """Odds of keeping a candidate, cell by cell; even until something is measured and weighed."""

    counts: Tensor  # (cells,) of real images, as released
    sigma: Tensor  # () standard deviation of their noise; 0: nothing was released
    odds: Tensor  # (cells,)

    def __init__(self, classes: int) -> None:
        super().__init__()
        cells = classes * classes * (len(_GAPS) + 1)
        self.register_buffer("counts", torch.zeros(cells))
        self.register_buffer("sigma", torch.zeros(()))
        self.register_buffer("odds", torch.ones(cells))

    @property
    def known(self) -> bool:
        """Whether real images were counted."""
        return bool(self.sigma > 0)

    def weigh(self, seen: Tensor) -> None:
        """Take the odds from what the classifier sees in many candidates: logits (n, K), n at least 1."""
        if self.known:
            drawn = torch.bincount(cell_of(seen), minlength=len(self.odds)) * (self.counts.sum() / len(seen))
            even = _DOUBT * self.sigma
            self.odds.copy_((self.counts.clamp_min(0) + even) / (drawn.clamp_min(0) + even))

    def chosen(self, seen: Tensor, count: int, draws: torch.Generator) -> Tensor:
        """Places of ``count`` candidates (n, K), none twice, kept with their odds (the Gumbel trick: Kool et al. 2019, arXiv:1903.06059)."""
        luck = torch.rand(len(seen), generator=draws).clamp_min(1e-12)
        return (self.odds[cell_of(seen)].log() - luck.log().neg().log()).topk(count).indices


def cell_of(seen: Tensor) -> Tensor:
    """Logits (b, K) to cells (b,): the class that is seen, the next one, and how far behind it is; the last are all one."""
    classes = seen.shape[1]
    if classes == 1:
        return torch.zeros(len(seen), dtype=torch.int64)
    likely = seen.topk(2, dim=1)
    gaps = torch.bucketize(likely.values[:, 0] - likely.values[:, 1], torch.tensor(_GAPS))
    first, second = likely.indices.T
    second = torch.where(gaps == len(_GAPS), first, second)  # what is clear is of its class, whatever comes next
    cells: Tensor = (first * classes + second) * (len(_GAPS) + 1) + gaps
    return cells


def measured_match(
    data: Private[Images, ImageSchema], session: Session, see: Callable[[Tensor], Tensor], match: Match
) -> None:
    """Count real images in ``match``'s cells.

    Args:
        data: labelled images.
        session: charged one release of region sums, with the plan's noise for ``seen``.
        see: released; images (b, C, h, w) to logits (b, K).
        match: gets the counts.
    """
    schema, sigma = data.schema, session.plan.noise["seen"]

    @torch.no_grad()
    def cell(pixels: NDArray[np.uint8], label: int) -> tuple[int, NDArray[np.floating]]:
        return int(cell_of(see(images_of(pixels, schema)))), np.ones((1, 1))

    sums = noisy_region_sums(data, session, cell, len(match.counts), 1, sigma, "what the labels' classifier sees")
    match.counts.copy_(torch.from_numpy(sums.sums[:, 0]))
    match.sigma.fill_(sigma)


__all__ = ["Match", "cell_of", "measured_match"]
