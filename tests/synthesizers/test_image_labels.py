"""Labels of drawn images: learnt by the steps that were priced, from one image at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from synthkit.data.private import Private
from synthkit.data.schema import Unit
from synthkit.errors import BudgetExceeded
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import repeat
from synthkit.privacy.mechanisms.dpsgd import step_event
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.features import Energies
from synthkit.synthesizers.image_labels import Labels, measured_labels, row_of, sample_rate
from synthkit.synthesizers.image_model import images_of
from synthkit.synthesizers.image_moments import ImageMoments
from synthkit.synthesizers.procedural import procedural
from tests.images import images, schema


def trained(steps: int, priced: int, unit: Unit | None = None, noise: float = 0.5) -> tuple[Labels, Energies, Session]:
    public = schema(rows=1_000, unit=unit or Unit())
    energies = Energies((1, 8, 8), 8, procedural(500, (1, 8, 8)))
    budget = Budget(1e3, 1e-5, unit=unit or Unit())
    event = repeat(step_event(noise, sample_rate(public)), priced)
    session = Session(Plan(budget, event, {"labels": noise}), noise=NoiseSource(test_seed=0))
    labels = Labels(len(energies.mean) + 1, 3)
    box = Private(images(public, 1_000), dataset="bars", schema=public, bounded=True)
    measured_labels(box, session, energies, labels, steps)
    return labels, energies, session


@pytest.mark.parametrize("unit", [Unit(), Unit("patient", 2)], ids=["image", "patient"])
def test_bars_are_told_apart(unit: Unit) -> None:
    labels, energies, session = trained(60, 60, unit)
    assert len(session.trace) == 60 and all(charge.what == "gradient of the labels" for charge in session.trace)
    fresh = images(schema(), 300, seed=1)
    said = labels(row_of(energies, images_of(fresh.pixels, schema()))).argmax(dim=1).numpy()
    assert (said == fresh.labels).mean() > 0.9
    assert not any(parameter.requires_grad for parameter in labels.parameters())


def test_more_steps_than_priced_are_refused() -> None:
    with pytest.raises(BudgetExceeded):
        trained(3, 2)


def test_without_steps_nothing_is_read_and_labels_stay_as_drawn() -> None:
    labels, energies, session = trained(0, 1)
    assert session.trace == ()
    logits = labels(row_of(energies, procedural(4, (1, 8, 8))))
    assert torch.equal(logits, torch.zeros(4, 3))


def test_rows_are_of_one_image_and_bounded() -> None:
    energies = Energies((1, 8, 8), 8, procedural(500, (1, 8, 8)))
    made = torch.cat([procedural(6, (1, 8, 8)), torch.ones(1, 1, 8, 8)])
    together = row_of(energies, made)
    torch.testing.assert_close(
        together, torch.cat([row_of(energies, image[None]) for image in made]), atol=1e-5, rtol=1e-4
    )
    assert (together.norm(dim=1) < 1.05).all()


def test_a_large_set_samples_no_more_a_step() -> None:
    assert sample_rate(schema(rows=1_000)) == 0.04
    assert sample_rate(schema(rows=10_000_000)) == pytest.approx(4e-4)


def test_the_budget_of_labels_goes_to_the_rest_where_there_are_none() -> None:
    public, budget = schema(rows=1_000), Budget(3.0, 1e-5)
    with_labels, without = (ImageMoments(label_steps=steps).plan(public, budget) for steps in (100, 0))
    assert set(with_labels.noise) - set(without.noise) == {"labels", "seen"}
    assert all(without.noise[what] < with_labels.noise[what] for what in without.noise)
    np.testing.assert_allclose([with_labels.epsilon, without.epsilon], 3.0, rtol=0.01)
