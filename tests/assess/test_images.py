"""Figures of synthetic images: right where they are known, chosen without real images, no dearer than priced."""

from __future__ import annotations

import numpy as np
import pytest

from synthkit.assess import images as report
from synthkit.assess import likeness
from synthkit.assess.classifiers import TRAINERS, trained
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.data.schema import Unit
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.session import Session
from tests.images import images, schema


@pytest.mark.parametrize("name", TRAINERS)
def test_classifiers_learn_what_is_plain(name: str) -> None:
    classifier = trained(images(schema(), 300), 3, name)
    other = images(schema(), 100, seed=1)
    assert (classifier.predict(other.pixels) == other.labels).mean() > 0.9
    assert (classifier.predict(other.pixels[:1]) == classifier.predict(other.pixels)[:1]).all()


@pytest.mark.parametrize("name", TRAINERS)
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_classifiers_take_few_images_and_few_classes(name: str, rows: int) -> None:
    made = images(schema(), rows)
    assert set(trained(made, 3, name).predict(made.pixels)) <= set(made.labels)


def test_precision_and_recall_of_known_histograms() -> None:
    same = np.array([10.0, 20, 30])
    assert likeness.precision_recall(same, 2 * same) == pytest.approx((1, 1), abs=0.02)
    assert likeness.precision_recall(np.array([1.0, 0]), np.array([0.0, 1])) == pytest.approx((0, 0), abs=1e-3)
    precision, recall = likeness.precision_recall(np.array([5.0, 5]), np.array([10.0, 0]))  # one mode is lost
    assert precision > 0.95 and recall == pytest.approx(0.5, abs=0.05)
    precision, recall = likeness.precision_recall(np.array([10.0, 0]), np.array([5.0, 5]))  # one is made up
    assert recall > 0.95 and precision == pytest.approx(0.5, abs=0.05)


def test_frechet_distance_of_known_gaussians() -> None:
    eye = np.eye(3)
    assert likeness.frechet(np.zeros(3), eye, np.zeros(3), eye) == pytest.approx(0, abs=1e-9)
    assert likeness.frechet(np.zeros(3), eye, np.array([1.0, 2, 0]), eye) == pytest.approx(5)
    assert likeness.frechet(np.zeros(3), 4 * eye, np.zeros(3), eye) == pytest.approx(3)  # (2 - 1)^2 an axis
    assert np.isfinite(likeness.frechet(np.zeros(3), -eye, np.zeros(3), eye))  # noise may make it so


def test_cells_tell_what_lies_beyond_reach() -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(size=(200, 5))
    cells = likeness.cells(known)
    near, far = cells.of(known + 1e-6), cells.of(known + 50)
    assert (near < len(cells.centres)).all() and (far >= len(cells.centres)).all() and far.max() < cells.count


def test_the_space_looks_at_one_image_and_stays_in_the_unit_ball() -> None:
    space = likeness.space_of(schema().shape)
    pixels = images(schema(), 20).pixels
    together = space.places(pixels)
    assert (np.linalg.norm(together, axis=1) <= 1 + 1e-6).all()
    np.testing.assert_allclose(np.concatenate([space.places(p[None]) for p in pixels]), together, atol=1e-5)
    assert space.places(pixels[:0]).shape == (0, space.width)


def assessed(synthetic: Images, epsilon: float, budget: Budget | None = None) -> tuple[dict[str, float], Session]:
    public = schema(rows=150) if budget is None else schema(rows=150, unit=budget.unit)
    session = Session(report.plan(public, budget or Budget(epsilon, 1e-4)))
    held = Private(images(public, 150, seed=5), dataset="bars", schema=public, bounded=True)
    return {figure.name: figure.value for figure in report.assess(held, session, synthetic)}, session


@pytest.mark.parametrize("adjacency", list(Adjacency))
def test_the_report_runs_what_was_priced(adjacency: Adjacency) -> None:
    unit = Unit("patient", 2)
    budget = Budget(3.0, 1e-4, adjacency, unit)
    _, session = assessed(images(schema(), 40), 3, budget)
    assert session.spent == pytest.approx(session.plan.epsilon) and 0.99 * 3 < session.spent <= 3


def test_good_images_look_good_and_bad_ones_bad() -> None:
    good, _ = assessed(images(schema(), 200, seed=8), 1e4)
    shuffled = images(schema(), 200, seed=8)
    static = np.random.default_rng(0).integers(0, 256, shuffled.pixels.shape).astype(np.uint8)
    bad, _ = assessed(Images(static, shuffled.labels), 1e4)
    for name in ("utility.tstr_accuracy_cnn", "likeness.precision", "likeness.recall", "likeness.covered"):
        assert good[name] > 0.8 > 0.7 > bad[name], name
    assert good["frechet.distance"] < 0.2 * bad["frechet.distance"]
    assert abs(good["frechet.distance"] - good["frechet.distance_floor"]) < 0.05


def test_exact_figures_are_near_the_charged_ones() -> None:
    synthetic, held = images(schema(), 200, seed=8), images(schema(), 150, seed=5)
    figures = {f.name: f for f in report.exact(images(schema(), 200), held, synthetic, schema())}
    charged, _ = assessed(synthetic, 1e4)
    assert {figure.payment for figure in figures.values()} == {"internal"}
    cnn, covered = "utility.tstr_accuracy_cnn", "likeness.covered"
    assert figures["utility.exact_tstr_accuracy_cnn"].value == pytest.approx(charged[cnn], abs=0.02)
    assert figures["likeness.exact_covered"].value == pytest.approx(charged[covered], abs=0.02)
    assert figures["similarity.exact_copies"].value == 0
    copied = {f.name: f.value for f in report.exact(synthetic, held.take(np.arange(0)), synthetic, schema())}
    assert copied["similarity.exact_copies"] == 200
