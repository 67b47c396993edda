"""The style whose classifier gets real images right is found where noise is small, and the choice is charged."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private
from synthkit.errors import BudgetExceeded
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import repeat
from synthkit.privacy.mechanisms.region_sums import region_sums_event
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.image_drawer import Style
from synthkit.synthesizers.image_styles import ROUNDS, best_style, styles
from synthkit.synthesizers.networks import seeded

SHAPE = (1, 12, 12)
PUBLIC = ImageSchema(name="halves", height=12, width=12, channels=1, classes=("left", "right"), rows=60)


class Halves:
    """Draws images bright on one side. In the good style that is the class's side, in others the other."""

    shares = torch.tensor([0.5, 0.5])

    def __init__(self, good: Style) -> None:
        self.good = good

    def drawn(self, classes: torch.Tensor, style: Style, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        sides = classes if style == self.good else 1 - classes
        images = 0.2 * torch.rand(len(classes), *SHAPE, generator=draws)
        for image, side in zip(images, sides, strict=True):
            image[:, :, 6 * int(side) : 6 * int(side) + 6] += 0.8
        return images, classes


def session(sigma: float) -> Session:
    budget = Budget(1e6, 1e-5)
    event = repeat(region_sums_event(sigma, budget), len(ROUNDS))
    return Session(Plan(budget, event, {"styles": sigma}), noise=NoiseSource(test_seed=0))


def halves(rows: int) -> Private[Images, ImageSchema]:
    labels = (np.arange(rows) % 2).astype(np.int32)
    pixels = np.zeros((rows, *SHAPE), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[:, :, 6 * label : 6 * label + 6] = 220
    return Private(Images(pixels, labels), dataset="halves", schema=PUBLIC, bounded=True)


@pytest.mark.parametrize("good", styles(moved=True)[:3])
def test_the_style_that_teaches_is_found(good: Style) -> None:
    # The good style's classifier is right 60 times, the others' never (each count's noise is .28).
    among = styles(moved=True)
    assert best_style(halves(60), session(0.1), Halves(good), among, 200, seeded(0)) == good  # type: ignore[arg-type]


class Late(Halves):
    """In the first round one style is better (the other shows a single class); in the second it is the other way round."""

    def __init__(self, early: Style, late: Style, first_round: int) -> None:
        self.early, self.late, self.left = early, late, {early: first_round, late: first_round}

    def drawn(self, classes: torch.Tensor, style: Style, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        first = self.left.get(style, 0) > 0
        self.left[style] = self.left.get(style, 0) - len(classes)
        self.good = self.early if first else self.late
        if style == self.late and first:
            return torch.rand(len(classes), *SHAPE, generator=draws), torch.zeros_like(classes)
        return super().drawn(classes, style, draws)


def test_the_best_two_are_asked_again() -> None:
    among = styles(moved=True)
    network = Late(among[1], among[3], 200)
    assert best_style(halves(60), session(0.1), network, among, 200, seeded(0)) == among[3]  # type: ignore[arg-type]
    assert {style for style, left in network.left.items() if left <= -600} == {among[1], among[3]}


@pytest.mark.parametrize("rows", [0, 1])
def test_noise_chooses_something(rows: int) -> None:
    among = styles(moved=False)
    assert best_style(halves(rows), session(100.0), Halves(among[0]), among, 1, seeded(0)) in among  # type: ignore[arg-type]


def test_every_round_is_charged() -> None:
    spent, among = session(1.0), styles(moved=False)
    best_style(halves(4), spent, Halves(among[0]), among, 10, seeded(0))  # type: ignore[arg-type]
    asked = [f"what classifiers of {left} styles get right" for left in (4, 2)]
    assert [charge.what for charge in spent.trace] == asked
    with pytest.raises(BudgetExceeded):
        best_style(halves(4), spent, Halves(among[0]), among, 10, seeded(0))  # type: ignore[arg-type]


def test_what_must_not_move_does_not() -> None:
    assert set(styles(moved=False)) < set(styles(moved=True))
    assert styles(moved=False) == [style for style in styles(moved=True) if not style.moved]
    assert not any(style.moved for style in styles(moved=False))
