"""Superpixels, and values of images: right where the answer is known, seen where the object is."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from synthkit.data.image_schema import ImageSchema
from synthkit.errors import ExplanationError
from synthkit.explain.figures import pictures
from synthkit.explain.images import ImageExplanation, explain_image, explain_images, train_classifier
from synthkit.explain.networks import score_of
from synthkit.explain.superpixels import superpixels
from synthkit.release import explaining

PUBLIC = ImageSchema(name="corners", height=16, width=16, channels=1, classes=("left", "right"), rows=500)


@dataclass(frozen=True)
class Images:
    """Labelled images."""

    pixels: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Corners:
    """A model of images with a bright square: left of the middle, or right of it."""

    schema: ImageSchema = PUBLIC
    classes: int = 2

    def sample(self, n: int, *, seed: int | None = None) -> Images:
        rng = np.random.default_rng(seed)
        pixels = rng.integers(0, 60, (n, *self.schema.shape)).astype(np.uint8)
        labels = rng.integers(0, self.classes, n).astype(np.int32)
        for image, label in zip(pixels, labels, strict=True):
            y, x = rng.integers(2, 9), (1 if label == 0 else 10)
            image[:, y : y + 5, x : x + 5] = 220
        return Images(pixels, labels)


@pytest.fixture(scope="module")
def explained() -> ImageExplanation:
    return explain_images(Corners(), images=2, trained=500)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 9, 24), (1, 28, 28)])
def test_superpixels_are_connected_regions_of_about_the_wanted_number(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    segments = superpixels(rng.integers(0, 256, shape).astype(np.uint8), 12)
    assert segments.shape == shape[1:]
    assert 6 <= segments.max() + 1 <= 16
    np.testing.assert_array_equal(np.unique(segments), np.arange(segments.max() + 1))
    for k in range(segments.max() + 1):  # near each other
        assert np.ptp(np.argwhere(segments == k), axis=0).max() <= 3 * np.sqrt(shape[1] * shape[2] / 12)


def test_superpixels_follow_edges() -> None:
    pixels = np.zeros((1, 16, 16), dtype=np.uint8)
    pixels[:, :, 9:] = 255
    segments = superpixels(pixels, 8)
    for k in range(segments.max() + 1):
        assert np.ptp(pixels[0][segments == k]) == 0


def test_superpixels_that_cannot_be_are_refused() -> None:
    with pytest.raises(ExplanationError, match="1 superpixels"):
        superpixels(np.zeros((1, 8, 8), dtype=np.uint8), 1)
    with pytest.raises(ExplanationError, match="one image is"):
        superpixels(np.zeros((8, 8), dtype=np.uint8), 4)


@pytest.mark.parametrize("count", [9, 30])
def test_a_linear_score_has_its_closed_form(count: int) -> None:
    """Whether all coalitions are asked or permutations drawn."""
    rng = np.random.default_rng(0)
    drawn = Corners().sample(9, seed=0)
    weights = rng.normal(size=(16, 16))

    def score(images: np.ndarray) -> np.ndarray:
        return (images[:, 0] * weights).sum(axis=(1, 2))

    found = explain_image(score, drawn.pixels[0], drawn.pixels[1:], title="linear", count=count)
    moved = weights * (drawn.pixels[0, 0] / 255 - drawn.pixels[1:, 0].mean(axis=0) / 255)
    expected = np.bincount(found.segments.ravel(), weights=moved.ravel())
    np.testing.assert_allclose(found.values, expected, atol=1e-5)
    np.testing.assert_allclose(found.weights, expected, atol=1e-3)
    assert found.r2 > 0.99 and (found.errors is None) == (count <= 9) and found.gap < 1e-5
    assert found.payment == "internal" and found.gradients is None and found.stability.spearman > 0.5


def test_the_object_is_what_is_seen(explained: ImageExplanation) -> None:
    assert explained.payment == "free" and len(explained.pictures) == 2
    assert "names the class of fresh synthetic ones in 100%" in explained.verdict[0]
    assert "no discriminator" in explained.verdict[-1]
    for one in explained.pictures:
        bright = one.pixels[0] >= 200
        covers = np.bincount(one.segments.ravel(), weights=bright.ravel()) / np.bincount(one.segments.ravel())
        assert covers[one.values.argmax()] > 0.5  # the strongest superpixel is the square
        assert one.gradients is not None and one.gradients.argmax() == one.values.argmax()
        assert one.agreement > 0.5 and one.payment == "free"


def test_a_discriminator_is_explained_beside_the_classifier() -> None:
    def judge(images: np.ndarray) -> np.ndarray:
        return images[:, 0, :, :8].mean(axis=(1, 2))  # likes it bright on the left

    found = explain_images(Corners(), images=1, trained=100, judge=judge)
    assert [one.title.partition(": ")[2] for one in found.pictures] == [
        "what makes a classifier see it",
        "what makes the discriminator take it for real",
    ]
    left = [found.pictures[1].segments[:, x] for x in range(10, 16)]
    assert (
        np.abs(found.pictures[1].values[np.setdiff1d(np.unique(left), found.pictures[1].segments[:, :8])]).max() < 1e-6
    )


def test_gradients_that_are_not_complete_are_not_shown() -> None:
    class Steps(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            total = images.sum(dim=(1, 2, 3))
            return torch.round(20 * total) + 0 * total

    drawn = Corners().sample(6, seed=0)
    network = Steps()
    found = explain_image(score_of(network), drawn.pixels[0], drawn.pixels[1:], title="steps", count=6, network=network)
    assert found.gradients is None and len(pictures(found)) == 3


def test_pictures_have_words_signs_and_no_link(explained: ImageExplanation) -> None:
    page = explaining.render(explained)
    drawings = re.findall(r'<svg class="picture"[^>]*aria-label="([^"]*)"', page)
    assert len(drawings) == 8 and all(len(label) > 15 for label in drawings)
    assert "data:image/png;base64," in page and "<script" not in page and "https://" not in page
    assert "img-src data:" in page and ">+</text>" in page
    assert "raises it by" in page and "Paid: free" in page
    assert json.loads(json.dumps(explained.to_dict(), allow_nan=False))["payment"] == "free"
    assert "<svg" in explained._repr_html_()


def test_bad_input_is_named() -> None:
    drawn = Corners().sample(6, seed=0)
    for background in (drawn.pixels[:2], drawn.pixels[:, :, :8]):
        with pytest.raises(ExplanationError, match="4 images of the same size"):
            explain_image(lambda images: images[:, 0, 0, 0], drawn.pixels[0], background, title="x")
    with pytest.raises(ExplanationError, match="single class"):
        train_classifier(drawn.pixels, np.zeros(6, dtype=np.int32), 2)
    with pytest.raises(ExplanationError, match="single class"):
        explain_images(Corners(classes=1), images=1)
    with pytest.raises(ExplanationError, match="images is 0"):
        explain_images(Corners(), images=0)


def test_global_random_state_is_left_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    drawn = Corners().sample(40, seed=0)
    train_classifier(drawn.pixels, drawn.labels, 2)
    assert torch.equal(before, torch.random.get_rng_state())
