"""Noisy class moments of images: charged before they are read, bounded, exact, with the noise that was charged."""

from __future__ import annotations

import math
from dataclasses import replace

import dp_accounting
import numpy as np
import pytest

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Unit
from synthkit.errors import BudgetExceeded, MethodError
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.events import compose
from synthkit.privacy.mechanisms import image_moments
from synthkit.privacy.mechanisms.image_moments import (
    BOUND,
    CLASS,
    COUNT,
    MEAN,
    class_moments_event,
    noisy_class_moments,
)
from synthkit.privacy.noise import GRID, NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from tests.privacy.mechanisms.promises import BUDGETS, Recording, Silent, check_normal, check_scale

SIGMA, WIDTH = 2.0, 5
ROW = BUDGETS[0]
each_budget = pytest.mark.parametrize("budget", BUDGETS, ids=lambda b: f"{b.adjacency}, {b.unit}")

# What an image's features are is written in its first pixel: short, long, opposite, and not usable at all.
WILD = np.array(
    [
        [0.6, 0, 0, 0.8, 0],
        [-0.6, 0, 0, -0.8, 0],
        [1, 1, 1, 1, 1],
        [1e30, -1e30, 0, 0, 1],
        [np.inf, 0, 0, 0, 0],
        [np.nan, 1, 0, 0, 0],
        [1e200, 0, 0, 0, 0],
        [0, 0, 1e-9, 0, 0],
        [0.1, 0.2, -0.3, 0.4, -0.5],
    ]
)


def features_of(pixels: np.ndarray) -> np.ndarray:
    """One image's row of WILD."""
    assert len(pixels) == 1, "more than one image at a time"
    return WILD[pixels[:, 0, 0, 0]]


def locked(units: list[list[tuple[int, int]]], budget: Budget) -> Private[Images, ImageSchema]:
    """Images (kind, class) of every unit, locked."""
    schema = ImageSchema(
        name="dots", height=4, width=4, channels=1, classes=("a", "b", "c"), rows=100, unit=budget.unit
    )
    flat = [image for unit in units for image in unit]
    pixels = np.zeros((len(flat), 1, 4, 4), dtype=np.uint8)
    pixels[:, 0, 0, 0] = [kind for kind, _ in flat]
    labels = np.array([label for _, label in flat], dtype=np.int32)
    keys = np.repeat(np.arange(len(units), dtype=np.uint64), [len(unit) for unit in units])
    images = Images(pixels, labels, None if budget.unit.column is None else keys)
    return Private(images, dataset="dots", schema=schema, bounded=True)


def released(data: Private[Images, ImageSchema], session: Session, features=features_of) -> np.ndarray:
    """What left through the noise, as one vector."""
    noisy_class_moments(data, session, features, WIDTH, SIGMA, "dots")
    return session.noise.sums[-1]


def share(units: list, others: list, budget: Budget, release=released) -> float:
    """How far neighbours are apart, of what the charge covers."""
    answers, sessions = [], []
    for side in (units, others):
        session = Recording(budget)
        answers.append(release(locked(side, budget), session))
        sessions.append(session)
    assert sessions[0].trace == sessions[1].trace, "what was charged depends on the data"
    (charge,) = sessions[0].trace
    radius = SIGMA / charge.event.noise_multiplier
    assert charge.norm_bound == pytest.approx(radius)
    assert np.isfinite(answers[0]).all() and np.isfinite(answers[1]).all()
    diameter = 2 if budget.adjacency is Adjacency.REPLACE_ONE else 1
    slack = 2 * SIGMA * GRID * math.sqrt(answers[0].size)
    return max(0.0, float(np.linalg.norm(answers[0] - answers[1])) - slack) / (radius * diameter)


def worst(budget: Budget, release=released) -> float:
    """Over units of images all alike, added to (or exchanged in) an empty and a larger set."""
    k, reached = budget.unit.max_rows, 0.0
    for others in ([], [[(kind, kind % 3)] for kind in range(len(WILD))] * 2):
        for kind in range(len(WILD)):
            for other in (0, 1, 2):
                left = [*others, [(kind, 0)] * k]
                exchanged = [*others, [(other, 1)] * k]
                right = exchanged if budget.adjacency is Adjacency.REPLACE_ONE else others
                reached = max(reached, share(left, right, budget, release))
    return reached


@each_budget
def test_neighbours_are_as_close_as_charged(budget: Budget) -> None:
    # Two images of different classes share the pooled block, so replacing one does not reach twice the radius.
    assert (0.6 if budget.adjacency is Adjacency.REPLACE_ONE else 0.999) < worst(budget) <= 1 + 1e-9


@each_budget
def test_no_clipping_is_caught(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_moments, "_clip", lambda vectors: np.clip(np.nan_to_num(vectors), -1, 1))
    assert worst(budget) > 1.5


@each_budget
def test_forgetting_a_weight_is_caught(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_moments, "CLASS", 3.0)  # in the sum, but not in the bound
    assert worst(budget) > 1.5


@each_budget
def test_forgetting_that_the_triangle_counts_twice_is_caught(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(matrices: np.ndarray) -> np.ndarray:
        rows, columns = np.triu_indices(matrices.shape[-1])
        return matrices[..., rows, columns] * 2.0

    monkeypatch.setattr(image_moments, "_packed", whole)
    assert worst(budget) > 1.04  # opposite classes halve it where one is replaced


def test_forgetting_that_a_unit_has_several_images_is_caught() -> None:
    def alone(data: Private[Images, ImageSchema], session: Session) -> np.ndarray:
        session.plan = replace(session.plan, budget=replace(session.plan.budget, unit=Unit()))
        session.check = lambda _: None  # type: ignore[method-assign]
        return released(data, session)

    assert worst(BUDGETS[1], alone) > 2


@each_budget
@pytest.mark.parametrize("factor", [None, 0.999, 1.001])
def test_what_is_not_planned_is_not_read(budget: Budget, factor: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    monkeypatch.setattr(image_moments, "reveal", lambda private: looked.append(private) or reveal(private))
    planned = dp_accounting.NoOpDpEvent() if factor is None else class_moments_event(factor * SIGMA, budget)
    with pytest.raises(BudgetExceeded, match="not in the plan"):
        released(locked([[(0, 0)]], budget), Session(Plan(budget, planned), noise=Silent()))
    assert not looked


def test_the_event_follows_from_bound_and_unit() -> None:
    assert pytest.approx(COUNT**2 + MEAN**2 + CLASS**2 + 1) == BOUND**2
    gaussian = dp_accounting.GaussianDpEvent
    for adjacency in Adjacency:  # the accountant doubles the radius where a unit is replaced
        assert class_moments_event(6 * BOUND, Budget(1, 1e-5, adjacency)) == gaussian(6.0)
        assert class_moments_event(6 * BOUND, Budget(1, 1e-5, adjacency, Unit("person", 3))) == gaussian(2.0)


@each_budget
def test_the_declared_event_is_charged_once(budget: Budget) -> None:
    event = class_moments_event(SIGMA, budget)
    session = Session(Plan(budget, event), noise=Silent())
    released(locked([[(0, 0)]], budget), session)
    assert session.event == compose([event])
    with pytest.raises(BudgetExceeded):
        released(locked([[(0, 0)]], budget), session)


def test_another_unit_is_refused() -> None:
    with pytest.raises(MethodError, match="the plan protects"):
        released(locked([[(0, 0)]], ROW), Recording(BUDGETS[1]))


def test_another_width_is_refused() -> None:
    with pytest.raises(MethodError, match="5 features"):
        released(locked([[(0, 0)]], ROW), Recording(ROW), lambda pixels: np.zeros((1, 4)))


def test_moments_are_those_of_the_features() -> None:
    kinds = np.array([0, 1, 8, 8, 7])
    labels = np.array([0, 2, 2, 0, 2])
    images = [[(int(kind), int(label))] for kind, label in zip(kinds, labels, strict=True)]
    found = noisy_class_moments(locked(images, ROW), Recording(ROW), features_of, WIDTH, SIGMA, "dots")
    close = {"atol": 1e-3}  # steps of 2^-16, and the noise's grid over the weights
    for c in range(3):
        mine = WILD[kinds[labels == c]]
        np.testing.assert_allclose(found.counts[c], len(mine), **close)
        np.testing.assert_allclose(found.sums[c], mine.sum(axis=0), **close)
        np.testing.assert_allclose(found.products[c], mine.T @ mine, **close)
    np.testing.assert_allclose(found.pooled, WILD[kinds].T @ WILD[kinds], **close)
    assert found.sigma == SIGMA


def test_order_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images = [
        [(int(kind), int(label))] for kind, label in zip(rng.integers(0, 9, 57), rng.integers(0, 3, 57), strict=True)
    ]
    whole = released(locked(images, ROW), Recording(ROW))
    for size in (1, 7, 57, 58):
        monkeypatch.setattr(image_moments, "_CHUNK", size)
        shuffled = [images[i] for i in rng.permutation(57)]
        np.testing.assert_array_equal(released(locked(shuffled, ROW), Recording(ROW)), whole)


def test_noise_has_the_declared_scale() -> None:
    """Over no images at all; 0.7 and 1.3 times of the scale are rejected at 1e-7."""
    diagonal, beside, classes, sums = [], [], [], []
    rows, columns = np.triu_indices(WIDTH, 1)
    for seed in range(400):
        session = Recording(ROW, NoiseSource(test_seed=seed))
        found = noisy_class_moments(locked([], ROW), session, features_of, WIDTH, SIGMA, "dots")
        diagonal.append(np.diag(found.pooled))
        beside.append(found.pooled[rows, columns])
        classes.append(found.products[:, rows, columns].ravel())
        sums.append(found.sums.ravel())
        assert np.array_equal(found.products, found.products.transpose(0, 2, 1))
    check_scale(check_normal, np.concatenate(diagonal), SIGMA)
    check_scale(check_normal, np.concatenate(beside), SIGMA / math.sqrt(2))
    check_scale(check_normal, np.concatenate(classes), SIGMA / math.sqrt(2) / CLASS)
    check_scale(check_normal, np.concatenate(sums), SIGMA / MEAN)
