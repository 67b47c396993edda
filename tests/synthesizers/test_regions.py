"""Regions of classes: as many as the crowd allows, true pictures where the noise is small, usable ones where it is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import repeat
from synthkit.privacy.mechanisms.region_sums import region_sums_event
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.features import Codes
from synthkit.synthesizers.networks import seeded
from synthkit.synthesizers.procedural import procedural
from synthkit.synthesizers.regions import PASSES, Regions, measured_regions, regions_a_class

SHAPE = (1, 12, 12)


def schema(rows: int = 400) -> ImageSchema:
    return ImageSchema(name="squares", height=12, width=12, channels=1, classes=("small", "large"), rows=rows)


def squares(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Two kinds in each class: left or right, small or large, a little noisy."""
    rng = np.random.default_rng(0)
    labels, sides = rng.integers(0, 2, rows), rng.integers(0, 2, rows)
    pixels = np.zeros((rows, *SHAPE), dtype=np.uint8)
    for image, label, side in zip(pixels, labels, sides, strict=True):
        width = 3 + 2 * label
        image[0, 3:9, (6 if side else 6 - width) : (6 + width if side else 6)] = rng.integers(150, 250)
    return pixels, labels.astype(np.int32)


def made(rows: int, sigma: float, regions_of: ImageSchema | None = None) -> tuple[Regions, np.ndarray, np.ndarray]:
    public, budget = regions_of or schema(), Budget(1e6, 1e-5)
    images = procedural(500, SHAPE)
    codes, details = Codes(SHAPE, 20, images), Codes(SHAPE, 144, images)
    pixels, labels = squares(rows)
    found = codes(torch.from_numpy(pixels).float() / 255)
    means, spreads = torch.zeros(2, 20), 0.1 * torch.eye(20).repeat(2, 1, 1)
    for c in range(2):
        if (mine := torch.from_numpy(labels == c)).sum() > 1:
            means[c] = found[mine].mean(dim=0)
            values, axes = torch.linalg.eigh(torch.cov(found[mine].T))
            spreads[c] = axes * values.clamp_min(0).sqrt()
    event = repeat(region_sums_event(sigma, budget), PASSES + 1)
    session = Session(Plan(budget, event, {"regions": sigma, "correlations": sigma}), noise=NoiseSource(test_seed=0))
    box = Private(Images(pixels, labels), dataset="squares", schema=public, bounded=True)
    return measured_regions(box, session, codes, details, means, spreads, seeded(0)), pixels, labels


def test_regions_are_fewer_where_there_is_less_to_see() -> None:
    few, many = schema(100), schema(100_000)
    assert regions_a_class(few, 10.0) == 1 < regions_a_class(many, 100.0) < regions_a_class(many, 40.0) < 250
    assert regions_a_class(many, 0.01) == 250
    assert regions_a_class(few, 0.01) == few.rows // (12 * len(few.classes))  # without noise, too, a region is of some
    assert regions_a_class(schema(1), 1.0) == 1


def test_pictures_are_those_of_the_kinds_where_noise_is_small() -> None:
    found, pixels, labels = made(400, 0.05)
    assert found.pictures.shape == (2, 16, 144)
    torch.testing.assert_close(found.weights.sum(dim=1), torch.ones(2))
    for c in range(2):
        real = torch.from_numpy(pixels[labels == c]).float().flatten(1) / 255
        away = torch.cdist(real, found.pictures[c][found.weights[c] > 0.01]).amin(dim=1)
        assert away.mean() < 0.5 * (real - real.mean(dim=0)).norm(dim=1).mean()
    blended = torch.stack([(found.weights[c][:, None] * found.pictures[c]).sum(dim=0) for c in range(2)])
    means = torch.stack([torch.from_numpy(pixels[labels == c]).float().flatten(1).mean(dim=0) / 255 for c in range(2)])
    assert (blended - means).abs().mean() < 0.03  # long differences are scaled down, so edges are a little soft


@pytest.mark.parametrize("rows", [0, 1, 400])
def test_pure_noise_is_usable(rows: int) -> None:
    found, _, _ = made(rows, 1_000.0)
    for values in (found.pictures, found.weights, found.scatter):
        assert torch.isfinite(values).all() and values.min() >= 0 and values.max() <= 1
    drawn = found.draw(torch.tensor([0, 1, 1]), seeded(1))
    assert drawn.shape == (3, *SHAPE) and torch.isfinite(drawn).all()


def test_draws_vary_as_much_as_pixels_can() -> None:
    regions = Regions((3, 8, 12), 2, 1, 5)
    regions.pictures.fill_(0.5)
    regions.pictures[:, :, :40] = 0.0  # dark stays dark
    regions.scatter.copy_(torch.tensor([0.0, 0.1]))
    drawn = regions.draw(torch.tensor([0, 1]).repeat(300), seeded(0))
    assert (drawn[0::2].flatten(1) == regions.pictures[0, 0]).all()
    flat = drawn[1::2].flatten(1)
    assert (flat[:, :40] == 0).all()
    assert flat[:, 40:].var() == pytest.approx(0.1 * 0.25, rel=0.2)  # strengths between 0.6 and 1.4, cut to [0, 1]
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert regions.draw(torch.zeros(0, dtype=torch.long), seeded(0)).shape == (0, 3, 8, 12)
