"""Fields: correlations that are there are found, none are believed in noise, and draws vary as much as was measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.region_sums import region_sums_event
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.fields import ROOM, Field, measured_field
from synthkit.synthesizers.networks import seeded

SHAPE = (1, 8, 8)
GREY, SCATTER = torch.full((64,), 0.5), torch.tensor(0.04)
USUAL = 64 * 0.25 / (0.25 + ROOM)


def halves(rows: int) -> np.ndarray:
    """Images whose left and right halves go up and down together, each against the other, and nothing else."""
    together = np.random.default_rng(0).normal(0, 0.1, (rows, 1, 1, 1))
    sides = np.where(np.arange(8) < 4, 1.0, -1.0)
    return np.round(255 * (0.5 + together * np.broadcast_to(sides, SHAPE))).astype(np.uint8)


def measured(pixels: np.ndarray, sigma: float) -> Field:
    public, budget = (
        ImageSchema(name="halves", height=8, width=8, channels=1, classes=("a",), rows=500),
        Budget(1e6, 1e-5),
    )
    plan = Plan(budget, region_sums_event(sigma, budget), {"correlations": sigma})
    box = Private(Images(pixels, np.zeros(len(pixels), np.int32)), dataset="halves", schema=public, bounded=True)
    field = Field(SHAPE, 64)

    def picture_of(image: Tensor, label: int) -> tuple[Tensor, Tensor]:
        return GREY, SCATTER

    measured_field(box, Session(plan, noise=NoiseSource(test_seed=0)), field, picture_of, torch.eye(64), USUAL)
    return field


def test_pixels_vary_together_as_the_real_ones_do() -> None:
    field = measured(halves(500), 0.5)
    drawn = field.draw(GREY.expand(2_000, 1, 64), SCATTER.expand(2_000), seeded(1)).view(-1, 8, 8)
    correlations = torch.corrcoef(drawn.flatten(1).T)
    left, right = torch.arange(64)[torch.arange(64) % 8 < 4], torch.arange(64)[torch.arange(64) % 8 >= 4]
    assert correlations[left][:, left].mean() > 0.8 and correlations[left][:, right].mean() < -0.5
    assert drawn.std() == pytest.approx(0.1, rel=0.2)  # far differences are cut
    assert 0 <= field.rest < 0.4


@pytest.mark.parametrize("rows", [0, 1, 500])
def test_noise_alone_is_not_taken_for_correlations(rows: int) -> None:
    field = measured(halves(500)[:rows], 1_000.0)
    assert torch.isfinite(field.common).all() and 0 <= field.rest <= 1
    drawn = field.draw(GREY.expand(500, 1, 64), SCATTER.expand(500), seeded(1))
    assert torch.isfinite(drawn).all() and drawn.std() == pytest.approx(0.1, rel=0.3)


def test_where_nothing_was_measured_the_field_is_public() -> None:
    field = Field((3, 8, 8), 10)
    means = torch.full((300, 3, 64), 0.5)
    means[:, :, :20] = 1.0
    drawn = field.draw(means, torch.full((300,), 0.04), seeded(0))
    assert (drawn[:, :, :20] == 0).all()  # what is certain stays
    assert drawn[:, :, 20:].std() == pytest.approx(0.1, rel=0.1)
    torch.testing.assert_close(drawn[:, 0], drawn[:, 2])  # colours vary together
