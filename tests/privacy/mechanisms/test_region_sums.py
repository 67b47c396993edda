"""Noisy sums over regions of images: charged before they are read, bounded, exact, with the noise that was charged."""

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
from synthkit.privacy.mechanisms import image_moments, region_sums
from synthkit.privacy.mechanisms.region_sums import BOUND, COUNT, noisy_region_sums, region_sums_event
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from tests.privacy.mechanisms.promises import BUDGETS, Recording, Silent, check_normal, check_scale
from tests.privacy.mechanisms.test_image_moments import ROW, SIGMA, WIDTH, WILD, each_budget, locked, worst

REGIONS = 6


def region_of(pixels: np.ndarray, label: int) -> tuple[int, np.ndarray]:
    """Two regions a class, by the parity of the kind; some kinds name regions that do not exist."""
    assert len(pixels) == 1, "more than one image at a time"
    kind = int(pixels[0, 0, 0, 0])
    return (2 * label + kind % 2 if kind < 7 else 100 - 200 * (kind % 2)), WILD[kind : kind + 1]


def released(data: Private[Images, ImageSchema], session: Session, of=region_of) -> np.ndarray:
    """What left through the noise, as one vector."""
    noisy_region_sums(data, session, of, REGIONS, WIDTH, SIGMA, "dots")
    return session.noise.sums[-1]


@each_budget
def test_neighbours_are_as_close_as_charged(budget: Budget) -> None:
    # Images of two regions are at a right angle: replacing one reaches 2^-0.5 of the diameter.
    assert (0.7 if budget.adjacency is Adjacency.REPLACE_ONE else 0.999) < worst(budget, released) <= 1 + 1e-9


@each_budget
def test_no_clipping_is_caught(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_moments, "_clip", lambda vectors: np.clip(np.nan_to_num(vectors), -1, 1))
    assert worst(budget, released) > 1.2


@each_budget
def test_forgetting_a_weight_is_caught(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_sums, "COUNT", 3.0)  # in the sum, but not in the bound
    assert worst(budget, released) > 1.5


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
    monkeypatch.setattr(region_sums, "reveal", lambda private: looked.append(private) or reveal(private))
    planned = dp_accounting.NoOpDpEvent() if factor is None else region_sums_event(factor * SIGMA, budget)
    with pytest.raises(BudgetExceeded, match="not in the plan"):
        released(locked([[(0, 0)]], budget), Session(Plan(budget, planned), noise=Silent()))
    assert not looked


@each_budget
def test_the_declared_event_is_charged_once(budget: Budget) -> None:
    session = Session(Plan(budget, region_sums_event(SIGMA, budget)), noise=Silent())
    released(locked([[(0, 0)]], budget), session)
    with pytest.raises(BudgetExceeded):
        released(locked([[(0, 0)]], budget), session)


def test_the_event_follows_from_bound_and_unit() -> None:
    assert pytest.approx(COUNT**2 + 1) == BOUND**2
    gaussian = dp_accounting.GaussianDpEvent
    for adjacency in Adjacency:  # the accountant doubles the radius where a unit is replaced
        assert region_sums_event(6 * BOUND, Budget(1, 1e-5, adjacency)) == gaussian(6.0)
        assert region_sums_event(6 * BOUND, Budget(1, 1e-5, adjacency, Unit("person", 3))) == gaussian(2.0)


def test_another_unit_or_width_is_refused() -> None:
    with pytest.raises(MethodError):
        released(locked([[(0, 0)]], ROW), Recording(BUDGETS[1]))
    with pytest.raises(MethodError, match="5 features"):
        released(locked([[(0, 0)]], ROW), Recording(ROW), lambda pixels, label: (0, np.zeros((1, 4))))


def test_sums_are_those_of_the_regions_in_any_order() -> None:
    kinds, labels = np.array([0, 1, 2, 8, 0, 5]), np.array([0, 0, 2, 1, 0, 1])
    images = [[(int(kind), int(label))] for kind, label in zip(kinds, labels, strict=True)]
    found = noisy_region_sums(locked(images, ROW), Recording(ROW), region_of, REGIONS, WIDTH, SIGMA, "dots")
    np.testing.assert_allclose(found.counts, [2, 1, 0, 1, 1, 1], atol=1e-3)  # kind 8: past the last
    np.testing.assert_allclose(found.sums[0], 2 * WILD[0], atol=1e-3)
    np.testing.assert_allclose(found.sums[1], WILD[1], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(found.sums, axis=1)[4], 1, atol=1e-3)  # longer than 1: scaled down
    assert found.sigma == SIGMA
    one, two = (released(locked(some, ROW), Recording(ROW)) for some in (images, images[::-1]))
    np.testing.assert_array_equal(one, two)


def test_noise_has_the_declared_scale() -> None:
    """Over no images at all; 0.7 and 1.3 times of the scale are rejected at 1e-7."""
    counts, sums = [], []
    for seed in range(200):
        session = Recording(ROW, NoiseSource(test_seed=seed))
        found = noisy_region_sums(locked([], ROW), session, region_of, REGIONS, WIDTH, SIGMA, "dots")
        counts.append(found.counts)
        sums.append(found.sums.ravel())
    check_scale(check_normal, np.concatenate(counts), SIGMA / COUNT)
    check_scale(check_normal, np.concatenate(sums), SIGMA)
    assert math.isfinite(float(np.abs(np.concatenate(sums)).max()))
