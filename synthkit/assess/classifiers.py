"""Classifiers that learn from synthetic images alone, to be tested on real ones.

Every choice (which epoch of the network, how strong a penalty, how many trees) is made on a fifth of the
synthetic images. Real images choose nothing: that would spend privacy, and flatter the result (DPImageBench,
Gong et al. 2025, shows by how much).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthkit.data.images import Images
from synthkit.synthesizers.image_classifier import BATCH, learn, plain_classifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

Predict = Callable[["NDArray[np.uint8]"], "NDArray[np.int64]"]

_MOST = {"cnn": 60_000, "logistic": 6_000, "boosting": 6_000}  # images that each learns from
_EPOCHS, _STEPS = 5, 200  # of the network: so many epochs, and not fewer steps
_SIDE = 12  # the two others see images at most so high and wide
_HELD = 0.2  # of the synthetic images, for choices


@dataclass(frozen=True)
class Classifier:
    """A classifier of images.

    Attributes:
        name: key of :data:`TRAINERS`.
        predict: pixels uint8 (n, C, H, W) to places of classes (n,), image by image.
    """

    name: str
    predict: Predict


def trained(images: Images, classes: int, name: str) -> Classifier:
    """Train one classifier on synthetic images.

    Args:
        images: synthetic, at least one.
        classes: how many there are.
        name: key of :data:`TRAINERS`.
    """
    rng = np.random.default_rng(0)
    some = images.take(rng.permutation(images.rows)[: _MOST[name]])
    held = max(int(some.rows > 1), int(_HELD * some.rows))
    learnt = some.take(np.arange(held, some.rows))
    only = np.unique(learnt.labels)
    if len(only) == 1:  # nothing to tell apart
        return Classifier(name, lambda pixels: np.full(len(pixels), only[0], dtype=np.int64))
    return Classifier(name, TRAINERS[name](learnt, some.take(np.arange(held)), classes))


def _cnn(learnt: Images, held: Images, classes: int) -> Predict:
    """The plain classifier; of its epochs, the best on ``held``."""
    channels, height, width = learnt.pixels.shape[1:]
    epochs = max(_EPOCHS, -(-_STEPS // -(-learnt.rows // BATCH)))
    best, state = -1.0, {}

    def keep() -> None:
        nonlocal best, state
        reached = float((_classes(network, held.pixels) == held.labels).mean())
        if reached >= best:
            best, state = reached, {name: tensor.clone() for name, tensor in network.state_dict().items()}

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = plain_classifier(channels, height, width, classes)
        learn(network, torch.from_numpy(learnt.pixels), torch.from_numpy(learnt.labels), epochs, after=keep)
    network.load_state_dict(state)
    return lambda pixels: _classes(network, pixels)


@torch.no_grad()
def _classes(network: nn.Module, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    network.eval()
    parts = [network(_tensor(part)).argmax(dim=1).numpy() for part in np.array_split(pixels, -(-len(pixels) // 500))]
    return np.concatenate(parts)


def _logistic(learnt: Images, held: Images, classes: int) -> Predict:
    """Logistic regression on small images; of three penalties, the best on ``held``."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, others = _small(learnt.pixels), _small(held.pixels)
    fitted = []
    for strength in (0.001, 0.01, 0.1):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=200))
        fitted.append(model.fit(rows, learnt.labels))
    best = max(fitted, key=lambda model: float((model.predict(others) == held.labels).mean()))
    return lambda pixels: np.asarray(best.predict(_small(pixels)), dtype=np.int64)


def _boosting(learnt: Images, held: Images, classes: int) -> Predict:
    """Gradient boosting on small images; as many trees as make it better on a fifth of all."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=40,
        learning_rate=0.2,
        max_leaf_nodes=15,
        max_bins=64,
        random_state=0,
        early_stopping=learnt.rows > 100,
        validation_fraction=_HELD,
        n_iter_no_change=5,
    )
    rows = _small(np.concatenate([learnt.pixels, held.pixels]))
    labels = np.concatenate([learnt.labels, held.labels])
    if np.unique(labels, return_counts=True)[1].min() < 2:  # its validation needs one of each class on both sides
        model.set_params(early_stopping=False)
    model.fit(rows, labels)
    return lambda pixels: np.asarray(model.predict(_small(pixels)), dtype=np.int64)


def _small(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Pixels (n, C, H, W) to small images, flat: (n, C h w)."""
    size = (min(pixels.shape[2], _SIDE), min(pixels.shape[3], _SIDE))
    return F.adaptive_avg_pool2d(_tensor(pixels), size).flatten(1).double().numpy()


def _tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255


TRAINERS: Mapping[str, Callable[[Images, Images, int], Predict]] = {
    "cnn": _cnn,
    "logistic": _logistic,
    "boosting": _boosting,
}

__all__ = ["TRAINERS", "Classifier", "trained"]
