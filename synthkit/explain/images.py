"""Images: which parts of a picture moved a score, by superpixels.

A superpixel is one player: its own pixels inside a coalition, those of background images outside, on average.
Shapley values as for tables (exact up to 9 superpixels), LIME beside them, and integrated gradients, summed over
superpixels, where they are complete. Scores are plain functions of images, so a discriminator, a classifier or
anything else can be explained.

The free explanation of a released image model is of a classifier that is trained on images which it draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from synthkit.data.image_schema import ImageSchema
from synthkit.errors import ExplanationError
from synthkit.evidence import Payment
from synthkit.explain import lime, shapley
from synthkit.explain.checks import Stability, spearman, stability
from synthkit.explain.networks import evaluation_copy, integrated_gradients, score_of
from synthkit.explain.shapley import Score, Worth, added_up, asked
from synthkit.explain.superpixels import superpixels
from synthkit.synthesizers.image_classifier import learn

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BACKGROUND = 12
_MOST_EXACT = 9  # superpixels
_TESTED, _EPOCHS = 500, 8
_CELLS = 4_000_000  # pixel values a score is asked for at a time


class Drawn(Protocol):
    """Synthetic labelled images."""

    pixels: NDArray[np.uint8]  # (n, channels, height, width)
    labels: NDArray[np.int32]  # (n,)


class ImageDrawing(Protocol):
    """A released model that draws labelled images."""

    @property
    def schema(self) -> ImageSchema: ...

    def sample(self, n: int, *, seed: int | None = None) -> Any: ...


@dataclass(frozen=True)
class Picture:
    """One image's explanation.

    Attributes:
        pixels: uint8 (channels, height, width).
        title: what it is, and what is explained.
        segments: (height, width) superpixel of each pixel.
        values: (k,) Shapley value of each superpixel.
        errors: (k,) standard errors; None where exact.
        gap: what base plus values miss the score by.
        score, base: the score, and the mean score of the background.
        weights: (k,) of the local surrogate.
        r2: its local R2.
        gradients: (k,) integrated gradients summed over superpixels; None where they are not complete.
        stability: of the values, over backgrounds.
        payment: ``free`` where images, background and score are released values.
    """

    pixels: NDArray[np.uint8]
    title: str
    segments: NDArray[np.int64]
    values: NDArray[np.float64]
    errors: NDArray[np.float64] | None
    gap: float
    score: float
    base: float
    weights: NDArray[np.float64]
    r2: float
    gradients: NDArray[np.float64] | None
    stability: Stability
    payment: Payment

    @property
    def agreement(self) -> float:
        """Rank correlation of LIME's weights with the Shapley values, signed."""
        return spearman(self.values, self.weights)

    def _repr_html_(self) -> str:
        from synthkit.explain.figures import pictures

        return "".join(pictures(self))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the image itself is left out."""
        return {
            "title": self.title,
            "payment": self.payment,
            "score": self.score,
            "base": self.base,
            "additivity_gap": self.gap,
            "segments": self.segments.tolist(),
            "shapley": self.values.tolist(),
            "standard_errors": None if self.errors is None else self.errors.tolist(),
            "lime": {"weights": self.weights.tolist(), "r2": self.r2, "faithful": self.r2 >= lime.FAITHFUL},
            "lime_agreement": self.agreement,
            "integrated_gradients": None if self.gradients is None else self.gradients.tolist(),
            "stability": {"spearman": self.stability.spearman, "jaccard": self.stability.jaccard},
        }


@dataclass(frozen=True)
class ImageExplanation:
    """What can be said of an image model.

    Attributes:
        schema: its name.
        verdict: one sentence each.
        pictures: explained synthetic images.
        payment: the dearest part's.
    """

    schema: str
    verdict: tuple[str, ...]
    pictures: tuple[Picture, ...]
    payment: Payment

    def _repr_html_(self) -> str:
        return "".join(picture._repr_html_() for picture in self.pictures)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "synthkit_explanation": 1,
            "schema": self.schema,
            "payment": self.payment,
            "verdict": list(self.verdict),
            "pictures": [picture.to_dict() for picture in self.pictures],
        }


def explain_image(
    score: Score,
    pixels: NDArray[np.uint8],
    background: NDArray[np.uint8],
    *,
    title: str,
    count: int = 16,
    network: nn.Module | None = None,
    output: int | None = None,
    seed: int = 0,
    payment: Payment = "internal",
) -> Picture:
    """Which superpixels moved the score of one image.

    Args:
        score: images float32 (n, channels, height, width) in [0, 1] to logits (n,), each from its own image.
        pixels: uint8 (channels, height, width).
        background: uint8 (b, channels, height, width), four or more: what a superpixel is when not known.
        title: what is explained, for people.
        count: superpixels, about; above 9, values are sampled (a coalition costs as many images as the background has).
        network: the score's network, for integrated gradients; None: without.
        output: which of its outputs the score is.
        seed: of permutations.
        payment: as for :func:`synthkit.explain.shapley.explain`.

    Raises:
        ExplanationError: images of another size, a small background, or values that do not add up.
    """
    if background.ndim != 4 or background.shape[1:] != pixels.shape or len(background) < 4:
        raise ExplanationError(
            f"background {background.shape} for an image {pixels.shape}; it takes 4 images of the same size at least"
        )
    segments = superpixels(pixels, count)
    players = int(segments.max()) + 1
    halves = [background[: len(background) // 2], background[len(background) // 2 :]]
    whole, *parts = (_game(score, pixels, some, segments) for some in (background, *halves))
    values, errors, base = _values(whole, players, seed)
    alone = asked(score, _unit(pixels[None]))
    gap = added_up(values[None], np.array([base]), alone, shapley.ADDITIVITY * 10)  # networks are in single precision
    surrogate = lime.of_games([whole], [str(k) for k in range(players)], 3, payment)
    gradients = None if network is None else _gradients(network, pixels, background, segments, output)
    steady = stability([np.abs(_values(part, players, seed)[0]) for part in parts])
    return Picture(
        pixels, title, segments, values, errors, gap, float(alone[0]), base, surrogate.weights[0],
        float(surrogate.r2[0]), gradients, steady, payment,
    )  # fmt: skip


def explain_images(
    model: ImageDrawing, *, images: int = 6, trained: int = 2_000, seed: int = 0, judge: Score | None = None
) -> ImageExplanation:
    """Explain a released image model by images that it draws. Free: no private value is in reach.

    Args:
        model: draws labelled images.
        images: how many are explained, 1 to 100.
        trained: on how many the classifier is trained.
        seed: of draws and training.
        judge: a released discriminator's score, explained beside the classifier; or None.

    Raises:
        ExplanationError: another kind of model, or drawn images of one class alone.
    """
    schema = model.schema
    if not isinstance(schema, ImageSchema) or not 1 <= images <= 100:
        raise ExplanationError(f"images is {images} (1 to 100), of a model of labelled images")
    drawn = model.sample(trained + _TESTED, seed=seed)
    network = train_classifier(drawn.pixels[:trained], drawn.labels[:trained], len(schema.classes), seed=seed)
    tested = slice(trained, None)
    with torch.no_grad():
        said = network(torch.from_numpy(_unit(drawn.pixels[tested]))).argmax(dim=1).numpy()
    right = float((said == drawn.labels[tested]).mean())
    background = drawn.pixels[trained : trained + _BACKGROUND]
    made = []
    for k in _spread(drawn.labels[trained + _BACKGROUND :], images):
        pixels, label = drawn.pixels[trained + _BACKGROUND + k], int(drawn.labels[trained + _BACKGROUND + k])
        made.append(
            explain_image(
                score_of(network, output=label),
                pixels,
                background,
                network=network,
                output=label,
                seed=seed,
                title=f"Class {schema.classes[label]}: what makes a classifier see it",
                payment="free",
            )
        )
        if judge is not None:
            title = f"Class {schema.classes[label]}: what makes the discriminator take it for real"
            made.append(explain_image(judge, pixels, background, seed=seed, title=title, payment="free"))
    faithful, agree = sum(one.r2 >= lime.FAITHFUL for one in made), float(np.mean([one.agreement for one in made]))
    complete = sum(one.gradients is not None for one in made)
    verdict = (
        f"A classifier trained on {trained:,} synthetic images names the class of fresh synthetic ones in {right:.0%} of cases.",
        f"Of {len(made)} explained images, LIME is faithful in {faithful}; its rank correlation with the Shapley values is {agree:.2f}.",
        f"Integrated gradients are complete in {complete} of {len(made)}.",
        *(() if judge is not None else ("The method has no discriminator, so nothing is said of what one pushed on.",)),
    )
    return ImageExplanation(schema.name, verdict, tuple(made), "free")


def train_classifier(pixels: NDArray[np.uint8], labels: NDArray[np.int32], classes: int, *, seed: int = 0) -> nn.Module:
    """A small convolutional classifier (n, channels, height, width) to (n, classes), in evaluation mode.

    Raises:
        ExplanationError: a single class: there is nothing to tell apart.
    """
    if len(np.unique(labels)) < 2:
        raise ExplanationError("the images are of a single class: there is nothing to tell apart, and so no reasons")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(  # explainers ask it many thousand times
            nn.Conv2d(pixels.shape[1], 16, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.LeakyReLU(0.1),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(32 * 16, classes),
        )
        learn(network, torch.from_numpy(pixels), torch.from_numpy(labels), _EPOCHS)
    return evaluation_copy(network)


def _values(worth: Worth, players: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, float]:
    if players <= _MOST_EXACT:
        values, base = shapley.exact_values(worth, players)
        return values, None, base
    return shapley.sampled_values(worth, players, np.random.default_rng(seed))


def _game(
    score: Score, pixels: NDArray[np.uint8], background: NDArray[np.uint8], segments: NDArray[np.int64]
) -> Callable[[NDArray[np.bool_]], NDArray[np.float64]]:
    own, others = _unit(pixels[None]), _unit(background)  # (1, C, H, W), (b, C, H, W)
    step = max(1, _CELLS // others.size)

    def worth(coalitions: NDArray[np.bool_]) -> NDArray[np.float64]:
        parts = []
        for start in range(0, len(coalitions), step):
            known = coalitions[start : start + step][:, segments]  # (k, H, W)
            mixed = np.where(known[:, None, None], own[None], others[None])  # (k, b, C, H, W)
            parts.append(asked(score, mixed.reshape(-1, *pixels.shape)).reshape(len(known), -1).mean(axis=1))
        return np.concatenate(parts)

    return worth


def _gradients(
    network: nn.Module,
    pixels: NDArray[np.uint8],
    background: NDArray[np.uint8],
    segments: NDArray[np.int64],
    output: int | None,
) -> NDArray[np.float64] | None:
    """Summed over superpixels; None where they are not complete, which is what the caller shows."""
    row: Tensor = torch.from_numpy(_unit(pixels[None]))
    baseline = torch.from_numpy(_unit(background)).mean(dim=0)
    try:
        found = integrated_gradients(network, row, baseline, output=output)
    except ExplanationError:
        return None
    per_pixel = found.values[0].reshape(pixels.shape).sum(axis=0)
    return np.bincount(segments.ravel(), weights=per_pixel.ravel()).astype(np.float64)


def _unit(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / np.float32(255)


def _spread(labels: NDArray[np.int32], count: int) -> Sequence[int]:
    """Positions of ``count`` images, of as many classes as there are."""
    order = np.argsort([(labels[:k] == label).sum() for k, label in enumerate(labels)], kind="stable")
    return [int(k) for k in order[:count]]


__all__ = ["ImageDrawing", "ImageExplanation", "Picture", "explain_image", "explain_images", "train_classifier"]
