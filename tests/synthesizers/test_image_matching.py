"""Matching: real images are counted with noise and charged; what is kept of candidates is as clear as they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.errors import BudgetExceeded
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.region_sums import region_sums_event
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.image_matching import Match, cell_of, measured_match
from synthkit.synthesizers.networks import seeded

PUBLIC = ImageSchema(name="grey", height=4, width=4, channels=1, classes=("dark", "bright"), rows=100)


def locked(brightness: list[int]) -> Private[Images, ImageSchema]:
    """Images of one brightness each."""
    pixels = np.array(brightness, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 4), dtype=np.uint8)
    labels = (pixels[:, 0, 0, 0] > 127).astype(np.int32)
    return Private(Images(pixels, labels), dataset="grey", schema=PUBLIC, bounded=True)


def session(sigma: float) -> Session:
    budget = Budget(1e6, 1e-4)
    return Session(Plan(budget, region_sums_event(sigma, budget), {"seen": sigma}), noise=NoiseSource(test_seed=0))


def brightness(images: Tensor) -> Tensor:
    """Logits of dark and bright: the one above the other by 10 from black to white, none in the middle."""
    mean = images.flatten(1).mean(dim=1)
    return torch.stack([10 * (0.5 - mean), 10 * (mean - 0.5)], dim=1)


def logits(gaps: list[float]) -> Tensor:
    """Of two classes, the second one seen by so much (below zero: the first one)."""
    return torch.tensor([[0.0, gap] for gap in gaps])


def test_cells_tell_what_is_seen_what_is_next_and_how_far_behind() -> None:
    assert cell_of(logits([0.1, 0.5, 9.0])).tolist() == [12, 13, 23]  # class 1, then 0; or far from it
    assert cell_of(logits([-0.1, -0.5, -9.0])).tolist() == [6, 7, 5]  # class 0, then 1; or far from it
    three = torch.tensor([[0.0, 3.0, 1.5], [2.0, -1.0, 2.1]])
    assert cell_of(three).tolist() == [(1 * 3 + 2) * 6 + 2, (2 * 3 + 0) * 6 + 0]
    assert cell_of(three + 5).tolist() == cell_of(three).tolist()  # a constant says nothing
    assert cell_of(torch.zeros(4, 1)).tolist() == [0, 0, 0, 0]  # a single class


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_every_cell_has_its_odds(classes: int) -> None:
    seen = 5 * torch.randn(200, classes, generator=seeded(1))
    assert int(cell_of(seen).max()) < len(Match(classes).odds)


def test_counts_are_those_of_real_images_and_are_charged() -> None:
    match, spent = Match(2), session(0.01)
    assert not match.known
    measured_match(locked([0] * 30 + [255] * 20 + [130] * 10), spent, brightness, match)
    assert match.known and float(match.sigma) == pytest.approx(0.01)
    found = {cell: round(float(match.counts[cell])) for cell in range(24) if match.counts[cell] > 0.5}
    assert found == {5: 30, 23: 20, 12: 10}
    assert [charge.what for charge in spent.trace] == ["what the labels' classifier sees"]
    with pytest.raises(BudgetExceeded):
        measured_match(locked([0]), spent, brightness, match)


@pytest.mark.parametrize("rows", [[], [0], [255] * 3])
def test_noise_hides_a_few_images(rows: list[int]) -> None:
    """Odds stay within what noise alone makes of them (six standard deviations), whoever is there."""
    match = Match(2)
    measured_match(locked(rows), session(50.0), brightness, match)
    match.weigh(logits([9.0] * 100))
    assert match.odds.isfinite().all() and (match.odds > 0).all() and match.odds.max() < 4


@pytest.fixture
def weighed() -> Callable[[float], Match]:
    """A match where 900 real images are clear and 100 in doubt, and half of the candidates are."""

    def made(sigma: float) -> Match:
        match = Match(2)
        match.counts[23], match.counts[12] = 900, 100
        match.sigma.fill_(sigma)
        match.weigh(logits([9.0] * 500 + [0.1] * 500))
        return match

    return made


def test_odds_are_real_to_drawn(weighed: Callable[[float], Match]) -> None:
    exact, noisy = weighed(1e-6), weighed(1e6)
    assert float(exact.odds[23]) == pytest.approx(900 / 500) and float(exact.odds[12]) == pytest.approx(100 / 500)
    assert float(exact.odds[0]) == pytest.approx(1)  # neither real nor drawn
    torch.testing.assert_close(noisy.odds, torch.ones(24), atol=1e-3, rtol=0)


def test_candidates_are_kept_with_their_odds(weighed: Callable[[float], Match]) -> None:
    match, seen = weighed(1e-6), logits([9.0] * 6000 + [0.1] * 6000)
    kept = match.chosen(seen, 1200, seeded(2))
    assert len(kept.unique()) == 1200
    clear = (kept < 6000).double().mean()  # nine to one, a little less without replacement; sd .009
    assert 0.82 < clear < 0.95
    assert not torch.equal(kept, match.chosen(seen, 1200, seeded(3)))
    torch.testing.assert_close(kept, match.chosen(seen, 1200, seeded(2)))


def test_nothing_released_keeps_candidates_alike() -> None:
    match = Match(2)
    match.weigh(logits([9.0] * 10))
    torch.testing.assert_close(match.odds, torch.ones(24))
    kept = match.chosen(logits([9.0] * 6000 + [0.1] * 6000), 1200, seeded(2))
    assert 0.42 < (kept < 6000).double().mean() < 0.58  # sd .014
