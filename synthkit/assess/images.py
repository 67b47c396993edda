"""The quality report on a holdout of images: its price, its figures; and exact figures for the steward.

    utility   a network, logistic regression and gradient boosting, trained on the synthetic images alone:
              a noisy count of right and wrong answers, class by class
    likeness  precision, recall and coverage from one noisy histogram, a Fréchet distance from noisy moments,
              in a public feature space (``likeness.py``)

As for tables, the report composes in parallel with training, and every answer gets the same noise relative
to what one unit can change. Exact figures and pictures of nearest neighbours are internal.
"""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from dp_accounting import DpEvent
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from synthkit.assess import likeness
from synthkit.assess.classifiers import TRAINERS, Classifier, trained
from synthkit.assess.likeness import Cells, Space, space_of
from synthkit.assess.utility import simulated
from synthkit.data import vault
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.evidence import Evidence
from synthkit.privacy.accounting import calibrate
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import compose, repeat
from synthkit.privacy.mechanisms.counts import counts_event, noisy_image_histogram
from synthkit.privacy.mechanisms.moments import noisy_sum, sum_event
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import Progress, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORDS = {"cnn": "a small convolutional network", "logistic": "logistic regression", "boosting": "gradient boosting"}
_NOISE = "holdout"  # what the noise is called in a plan
_NORM = math.sqrt(2)  # of (v, v v') where |v| <= 1
_DRAWS = 60  # for intervals and floors
_PAIRS = 16  # of neighbours that are shown
_WARNING = (
    "INTERNAL. Exact figures and pictures of real images. They carry no privacy guarantee and must not be shared, "
    "published, or used to decide whether a release may leave."
)


class Drawn(Protocol):
    """Synthetic images: uint8 pixels (n, C, H, W), labels (n,) as places of classes."""

    @property
    def pixels(self) -> NDArray[np.uint8]: ...
    @property
    def labels(self) -> NDArray[np.int32]: ...


def plan(schema: ImageSchema, budget: Budget) -> Plan:
    """The price of the report.

    Args:
        schema: the holdout's (its ``rows`` are the holdout's share).
        budget: what the holdout may cost; the same as the training's.
    """

    def event(sigma: float) -> DpEvent:
        counts = repeat(counts_event(sigma, budget), len(TRAINERS) + 1)
        return compose([counts, sum_event(sigma * _NORM, _NORM, budget)])

    sigma = calibrate(event, budget)
    size = math.sqrt(schema.values / 784)
    seconds = 60 + 0.02 * schema.rows * size
    return Plan(budget, event(sigma), {_NOISE: sigma}, seconds, megabytes=900 + 2e-6 * schema.values * schema.rows)


def assess(
    holdout: Private[Images, ImageSchema], session: Session, synthetic: Drawn, *, progress: Progress = silent
) -> tuple[Evidence, ...]:
    """Run the report.

    Args:
        holdout: real images that no generator saw.
        session: its plan is :func:`plan`'s.
        synthetic: the very images that are to be released, at least one.
        progress: told what is being done.
    """
    schema, sigma = holdout.schema, session.plan.noise[_NOISE]
    images = Images(synthetic.pixels, synthetic.labels)
    found: list[Evidence] = []
    for k, (name, words) in enumerate(WORDS.items()):
        progress(0.25 * k, f"{words} on the holdout")
        found += _utility(holdout, session, trained(images, len(schema.classes), name), sigma)
    progress(0.75, "features of the holdout")
    found += _likeness(holdout, session, images, sigma)
    progress(1.0, "assessed")
    return tuple(found)


def _utility(
    holdout: Private[Images, ImageSchema], session: Session, classifier: Classifier, sigma: float
) -> list[Evidence]:
    classes, name, words = holdout.schema.classes, classifier.name, WORDS[classifier.name]

    def cell_of(image: Images) -> int:
        return int(2 * image.labels[0] + (classifier.predict(image.pixels)[0] == image.labels[0]))

    what = f"right and wrong answers of {words} by class"
    with threadpool_limits(1):  # one image at a time: threads would only wait for each other
        counts = noisy_image_histogram(holdout, session, cell_of, 2 * len(classes), sigma, what).reshape(-1, 2)
    value, interval = simulated(counts, sigma, _right)
    how = f"TSTR accuracy, {words}, from a noisy count; chosen on synthetic images"
    found = [Evidence(f"utility.tstr_accuracy_{name}", _share(value), interval, how, "charged")]
    for code, label in enumerate(classes if name == "cnn" else ()):
        value, interval = simulated(counts[code : code + 1], sigma, _right)
        figure = f"class_accuracy.{code}_{re.sub('[^A-Za-z0-9]+', '_', str(label))}"
        how = f"TSTR accuracy, {words}, real images of class {label}, from a noisy count"
        found.append(Evidence(figure, _share(value), interval, how, "charged"))
    return found


def _likeness(holdout: Private[Images, ImageSchema], session: Session, images: Images, sigma: float) -> list[Evidence]:
    space = space_of(holdout.schema.shape)
    first, second = (space.places(half.pixels) for half in likeness.halves(images))
    cells = likeness.cells(first)
    counts = noisy_image_histogram(
        holdout,
        session,
        lambda image: int(cells.of(space.places(image.pixels))[0]),
        cells.count,
        sigma,
        "real images by cluster of synthetic ones, within and beyond their reach",
    )
    found = _by_cells(cells, counts, np.bincount(cells.of(second), minlength=cells.count), sigma)
    rows = max(1.0, float(counts.sum()))
    width = directions(holdout.schema, space)
    upper = np.triu_indices(width)

    def vector_of(image: Images) -> NDArray[np.float64]:
        place = space.places(image.pixels)[:, :width]  # (1, d)
        return np.concatenate([place, _packed(place[:, :, None] * place[:, None, :], upper)], axis=1)

    total = noisy_sum(
        holdout, session, vector_of, width + len(upper[0]), _NORM, sigma * _NORM, f"moments of {width} features"
    )
    return [*found, *_frechet(total / rows, rows, sigma * _NORM / rows, np.concatenate([first, second])[:, :width])]


def directions(schema: ImageSchema, space: Space) -> int:
    """How many directions of the space the noisy Fréchet distance uses: few where there are few images."""
    return min(space.width, 32, max(4, schema.units // 100))


def _by_cells(cells: Cells, real: NDArray[np.float64], synthetic: NDArray[np.integer], sigma: float) -> list[Evidence]:
    within = len(cells.centres)
    rng = np.random.default_rng(0)
    rates = np.maximum(real, 0.0)
    names = ("precision", "recall", "covered")

    def figures(counts: NDArray[np.float64], others: NDArray[np.integer]) -> tuple[float, float, float]:
        precision, recall = likeness.precision_recall(counts, others)
        return precision, recall, _share(float(counts[:within].sum() / max(1.0, counts.sum())))

    value = figures(real, synthetic)
    drawn = np.array([figures(_again(rates, sigma, rng), synthetic) for _ in range(_DRAWS)])
    # Were both of one distribution, the synthetic images' own: as many, and as much noise.
    same = synthetic * (rates.sum() / max(1, synthetic.sum()))
    floor = np.array([figures(_again(same, sigma, rng), synthetic) for _ in range(_DRAWS)])
    hows = (
        "precision (F_1/8 over 20 clusters, twice): how far synthetic images stay among real ones; noisy histogram",
        "recall (F_8 over 20 clusters, twice): how far synthetic images reach all real ones; noisy histogram",
        "share of real images within reach of a synthetic one (third neighbour); noisy histogram",
    )
    found = []
    for k, (name, how) in enumerate(zip(names, hows, strict=True)):
        low, high = np.quantile(drawn[:, k], [0.025, 0.975]) - np.median(drawn[:, k]) + value[k]
        interval = (_share(min(low, value[k])), _share(max(high, value[k])))
        found.append(Evidence(f"likeness.{name}", value[k], interval, how, "charged"))
        spread = (float(np.quantile(floor[:, k], 0.025)), float(np.quantile(floor[:, k], 0.975)))
        what = f"{name} that other images of the synthetic distribution would show, with as many and as much noise"
        found.append(Evidence(f"likeness.{name}_floor", float(floor[:, k].mean()), spread, what, "free"))
    return found


def _again(rates: NDArray[np.float64], sigma: float, rng: np.random.Generator) -> NDArray[np.float64]:
    drawn: NDArray[np.float64] = rng.poisson(rates) + rng.normal(0.0, sigma, len(rates))
    return drawn


def _frechet(
    mean_vector: NDArray[np.float64], rows: float, noise: float, synthetic: NDArray[np.float64]
) -> list[Evidence]:
    width = synthetic.shape[1]
    mean, second = mean_vector[:width], _unpacked(mean_vector[width:], width)
    theirs = likeness.moments(synthetic)
    value = likeness.frechet(mean, second - np.outer(mean, mean), *theirs)
    rng = np.random.default_rng(0)

    def simulate(centre: NDArray[np.float64], covariance: NDArray[np.float64]) -> NDArray[np.float64]:
        """The figure for as many images of a Gaussian, with as much noise."""
        values, vectors = np.linalg.eigh(covariance)
        root = vectors * np.sqrt(np.maximum(values, 0))
        drawn = []
        for _ in range(_DRAWS):
            some = centre + rng.normal(size=(max(2, min(20_000, int(rows))), width)) @ root.T
            m, c = likeness.moments(some)
            upper = rng.normal(0, noise / math.sqrt(2), (width, width))
            shake = np.triu(upper, 1) + np.triu(upper, 1).T + np.diag(rng.normal(0, noise, width))
            drawn.append(likeness.frechet(m + rng.normal(0, noise, width), c + shake, *theirs))
        return np.array(drawn)

    seen = simulate(mean, second - np.outer(mean, mean))
    low, high = np.quantile(seen, [0.025, 0.975]) - np.median(seen) + value
    floor = simulate(*theirs)
    how = f"Fréchet distance in {width} directions of public features, from noisy moments; its noise adds to it"
    what = "what as many images of the synthetic distribution itself would show, with as much noise"
    spread = (float(np.quantile(floor, 0.025)), float(np.quantile(floor, 0.975)))
    return [
        Evidence("frechet.distance", value, (max(0.0, min(low, value)), max(high, value)), how, "charged"),
        Evidence("frechet.distance_floor", float(floor.mean()), spread, what, "free"),
    ]


# Exact figures


def exact(training: Images, holdout: Images, synthetic: Drawn, schema: ImageSchema) -> tuple[Evidence, ...]:
    """Exact TSTR beside TRTR, precision, recall, coverage and Fréchet distance with their real-real floor. Internal.

    Args:
        training, holdout: real images; of the holdout at least one for figures on it.
        synthetic: the images that are to be released.
        schema: the public schema.
    """
    images, found = Images(synthetic.pixels, synthetic.labels), list[Evidence]()
    space = space_of(schema.shape)
    if holdout.rows and training.rows:
        for prefix, learnt in (("tstr", images), ("trtr", training)):
            for name, words in WORDS.items():
                predicted = trained(learnt, len(schema.classes), name).predict(holdout.pixels)
                value = float((predicted == holdout.labels).mean())
                how = f"exact {prefix.upper()} accuracy, {words}"
                found.append(Evidence(f"utility.exact_{prefix}_accuracy_{name}", value, None, how, "internal"))
        real = space.places(holdout.pixels)
        for suffix, others in (("", images), ("_floor", training)):
            first, second = (space.places(half.pixels) for half in likeness.halves(others))
            found += _exact_likeness(real, first, second, suffix)
    copies = 0
    if training.rows:
        _, nearest = _nearest(space.places(images.pixels), space.places(training.pixels))
        copies = sum(np.array_equal(images.pixels[i], training.pixels[j]) for i, j in enumerate(nearest))
    how = "synthetic images that equal their nearest training image in every pixel"
    return (*found, Evidence("similarity.exact_copies", float(copies), None, how, "internal"))


def _exact_likeness(
    real: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64], suffix: str
) -> list[Evidence]:
    cells = likeness.cells(first)
    theirs, ours = (np.bincount(cells.of(places), minlength=cells.count) for places in (real, second))
    precision, recall = likeness.precision_recall(theirs, ours)
    covered = float(theirs[: len(cells.centres)].sum() / theirs.sum())
    distance = likeness.frechet(*likeness.moments(real), *likeness.moments(np.concatenate([first, second])))
    against = "the training images" if suffix else "the synthetic images"
    named = {"precision": precision, "recall": recall, "covered": covered, "frechet": distance}
    return [
        Evidence(f"likeness.exact_{name}{suffix}", value, None, f"exact {name}, holdout and {against}", "internal")
        for name, value in named.items()
    ]


def write_exact(
    folder: Path, evidence: tuple[Evidence, ...], training: Images, synthetic: Drawn, schema: ImageSchema
) -> None:
    """Write the figures and pictures of nearest neighbours into ``folder``, for its owner alone (``vault.put``)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=False)
    document = {"warning": _WARNING, "evidence": [figure.to_dict() for figure in evidence]}
    vault.put(folder / "internal.json", (json.dumps(document, indent=1) + "\n").encode())
    if training.rows:
        vault.put(folder / "neighbours.png", _neighbours(training, synthetic, schema))


def _neighbours(training: Images, synthetic: Drawn, schema: ImageSchema) -> bytes:
    """Synthetic images in the upper row, the training image nearest to each below it; the closest pairs first."""
    from PIL import Image

    space = space_of(schema.shape)
    gaps, nearest = _nearest(space.places(synthetic.pixels), space.places(training.pixels))
    order = np.argsort(gaps)[:_PAIRS]
    rows = [np.concatenate(list(synthetic.pixels[order]), axis=2)]
    rows.append(np.concatenate(list(training.pixels[nearest[order]]), axis=2))
    sheet = np.moveaxis(np.concatenate(rows, axis=1), 0, 2)
    picture = Image.fromarray(sheet[:, :, 0] if sheet.shape[2] == 1 else sheet)
    stream = io.BytesIO()
    picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.NEAREST).save(stream, "PNG")
    return stream.getvalue()


def _nearest(
    places: NDArray[np.float64], others: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
    """Distance to, and place of, the nearest of ``others``: (n,), (n,)."""
    from sklearn.neighbors import NearestNeighbors

    gaps, index = NearestNeighbors(n_neighbors=1).fit(others).kneighbors(places)
    return gaps[:, 0], index[:, 0]


def _right(table: NDArray[np.float64]) -> float:
    """Share of right answers in counts (classes, wrong and right)."""
    return float(table[:, 1].sum() / max(1.0, table.sum()))


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))


def _packed(matrices: NDArray[np.float64], upper: tuple[NDArray[np.integer], ...]) -> NDArray[np.float64]:
    """Symmetric (n, d, d) to upper triangles (n, d (d + 1) / 2), of the same norm."""
    weights = np.where(upper[0] == upper[1], 1.0, math.sqrt(2))
    packed: NDArray[np.float64] = matrices[:, upper[0], upper[1]] * weights
    return packed


def _unpacked(packed: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    upper = np.triu_indices(width)
    matrix = np.zeros((width, width))
    matrix[upper] = packed / np.where(upper[0] == upper[1], 1.0, math.sqrt(2))
    return matrix + np.triu(matrix, 1).T


__all__ = ["WORDS", "assess", "directions", "exact", "plan", "write_exact"]
