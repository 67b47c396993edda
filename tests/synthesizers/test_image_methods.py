"""What every method for images promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from synthkit.audit.images import fitting, pairs, table
from synthkit.audit.replay import deterministic, replay
from synthkit.data.image_schema import ImageSchema
from synthkit.data.private import Private
from synthkit.data.schema import Unit
from synthkit.errors import BudgetExceeded, DataError, InputError, JobError, MethodError
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import for_images, load, method, method_class, method_for, settings_of
from synthkit.synthesizers.image_gan import Discriminator, ImageGan
from synthkit.synthesizers.image_model import ImageModel
from synthkit.synthesizers.image_moments import ImageMoments
from synthkit.synthesizers.image_vae import ImageVae
from synthkit.synthesizers.public_images import declared, public_images
from tests.images import images, schema

MOMENTS: dict[str, Any] = {
    "codes": 6,
    "energies": 8,
    "public": 500,
    "steps": 2,
    "label_steps": 2,
    "matched": 20,
    "style_draws": 20,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "image_moments": MOMENTS,
    "image_gan": {"moments": MOMENTS, "discriminator_steps": 5, "steps_per_play": 2, "sample_rate": 0.5, "width": 4},
    "image_vae": {"codes": 6, "public": 500, "public_steps": 3, "steps": 3, "sample_rate": 0.5},
}
BUDGET = Budget(5.0, 1e-4)
each_method = pytest.mark.parametrize("name", SETTINGS)


def fitted(
    name: str, public: ImageSchema | None = None, budget: Budget = BUDGET, rows: int = 90, seed: int | None = None
) -> tuple[ImageModel, Session]:
    public = public or schema(rows=90)
    recipe = method_for(public, name, SETTINGS[name])
    noise = None if seed is None else NoiseSource(test_seed=seed)
    session = Session(recipe.plan(public, budget), noise=noise)
    box = Private(images(public, rows), dataset="bars", schema=public, bounded=True)
    return recipe.fit(box, session), session


@each_method
def test_is_registered_for_images_alone(name: str) -> None:
    recipe: Any = method(name, SETTINGS[name])
    assert recipe.name == name and for_images(method_class(name)) and not for_images(method_class("aim"))
    assert method(name, settings_of(recipe)) == recipe
    with pytest.raises(JobError, match="no setting stepz"):
        method(name, {"stepz": 1})


@each_method
@pytest.mark.parametrize("adjacency", list(Adjacency))
@pytest.mark.parametrize("epsilon", [0.5, 10.0])
def test_a_plan_spends_the_budget(name: str, adjacency: Adjacency, epsilon: float) -> None:
    plan = method_for(schema(), name).plan(schema(), Budget(epsilon, 1e-5, adjacency))
    assert 0.99 * epsilon < plan.epsilon <= epsilon
    assert plan.seconds and plan.megabytes


@each_method
@pytest.mark.parametrize("unit", [Unit(), Unit("patient", 2)], ids=["image", "patient"])
def test_a_fit_runs_what_was_priced(name: str, unit: Unit) -> None:
    model, session = fitted(name, schema(unit=unit), Budget(5.0, 1e-4, unit=unit))
    assert session.spent == pytest.approx(session.plan.epsilon)
    assert all(charge.norm_bound > 0 and charge.source for charge in session.trace)
    assert model.marginals[0].counts.shape == (3,) and model.marginals[0].sigma > 0


@each_method
def test_a_fit_that_is_not_in_the_plan_is_refused(name: str) -> None:
    recipe = method_for(schema(), name, SETTINGS[name])
    planned, cheaper = (recipe.plan(schema(), Budget(epsilon, 1e-4)) for epsilon in (5.0, 1.0))
    session = Session(Plan(planned.budget, cheaper.event, planned.noise))
    with pytest.raises(BudgetExceeded):
        recipe.fit(Private(images(schema()), dataset="bars", schema=schema()), session)
    assert session.trace == ()


@each_method
def test_models_draw_and_are_saved(name: str, tmp_path: Path) -> None:
    model, _ = fitted(name)
    drawn = model.sample(30, seed=3)
    assert drawn.pixels.shape == (30, 1, 8, 8) and drawn.pixels.dtype == np.uint8 and set(drawn.labels) <= {0, 1, 2}
    assert set(model.sample(5, where={"label": "right"}).labels) == {1}
    model.save(tmp_path / "model")
    again: Any = load(tmp_path / "model")
    assert again.method == name
    np.testing.assert_array_equal(again.sample(30, seed=3).pixels, drawn.pixels)
    weights = tmp_path / "model" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(InputError, match="damaged"):
        load(tmp_path / "model")


@each_method
def test_two_fits_differ_unless_seeded_and_leave_torch_alone(name: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two = (fitted(name)[0].sample(20, seed=1).pixels for _ in range(2))
    assert not np.array_equal(one, two)
    one, two = (fitted(name, seed=7)[0].sample(20, seed=1).pixels for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert torch.equal(before, torch.get_rng_state())


@each_method
@pytest.mark.parametrize("rows", [0, 1])
def test_tiny_sets_are_legal(name: str, rows: int) -> None:
    model, session = fitted(name, rows=rows)
    assert session.spent == pytest.approx(session.plan.epsilon)
    assert len(model.sample(10).labels) == 10


@each_method
@pytest.mark.parametrize(("height", "width", "channels"), [(4, 4, 1), (12, 20, 3)])
def test_any_size(name: str, height: int, width: int, channels: int) -> None:
    model, _ = fitted(name, schema(height=height, width=width, channels=channels, classes=("x",)), rows=9)
    assert model.sample(3).pixels.shape == (3, channels, height, width)


@pytest.mark.slow  # tests/audit/test_image_bench.py has a cross-section of it
@each_method
@pytest.mark.parametrize("adjacency", list(Adjacency))
@pytest.mark.parametrize("unit", [Unit(), Unit("patient", 2)], ids=["image", "patient"])
def test_replay_on_neighbours_finds_nothing(name: str, unit: Unit, adjacency: Adjacency) -> None:
    public = schema(unit=unit, rows=20)
    recipe: Any = method(name, SETTINGS[name])
    program = fitting(recipe, public, Budget(5.0, 1e-4, adjacency, unit))
    assert not deterministic(program, table(public, 20))
    tightest = 0.0
    for pair in pairs(public, adjacency, images=20):
        found = replay(program, pair.left, pair.right)
        assert found.passed, f"{pair.name}: {'; '.join(map(str, found.divergences[:3]))}"
        tightest = max(tightest, found.tightest)
    assert tightest > 0.3


def test_settings_are_checked() -> None:
    for kind, wrong in (
        (ImageGan, {"share": 1.0}),
        (ImageGan, {"width": 0}),
        (ImageVae, {"steps": -1}),
        (ImageVae, {"sample_rate": 0.0}),
    ):
        with pytest.raises(MethodError, match=next(iter(wrong))):
            kind(**wrong)  # type: ignore[arg-type]
    with pytest.raises(JobError, match="no setting stepz"):
        ImageGan(moments={"stepz": 3})


def test_without_private_steps_the_warm_start_gets_the_whole_budget() -> None:
    gan, moments = ImageGan(discriminator_steps=0), ImageMoments()
    assert gan.plan(schema(), BUDGET).noise == moments.plan(schema(), BUDGET).noise
    assert set(ImageVae(steps=0).plan(schema(), BUDGET).noise) == {"codes"}


def test_the_discriminator_looks_at_one_row() -> None:
    critic = Discriminator(6, 2, 3, torch.Generator().manual_seed(0)).double()
    rows = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(critic(rows), torch.cat([critic(row) for row in rows.split(1)]))


# --- public images ----------------------------------------------------------------------------------------


def test_a_warm_start_takes_public_images_and_says_which(tmp_path: Path) -> None:
    (tmp_path / "own" / "deep").mkdir(parents=True)
    for k, place in enumerate(("a.png", "deep/b.jpg")):
        Image.fromarray(np.full((20, 30, 3), 40 + 100 * k, dtype=np.uint8)).save(tmp_path / "own" / place)
    (tmp_path / "own" / "notes.txt").write_text("licence")
    folder = str(tmp_path / "own")
    found = public_images((1, 8, 8), 500, folder)
    assert found.shape == (500, 1, 8, 8)
    assert found[-2:].mean(dim=(1, 2, 3)).tolist() == pytest.approx([40 / 255, 140 / 255], abs=0.01)
    said = declared(folder)
    assert said.startswith("warm start on 2 images that are declared public, sha256 ")
    for name in ("image_moments", "image_vae"):
        assert method_for(schema(), name, {"warm_start": folder}).plan(schema(), BUDGET).note == said
    (tmp_path / "own" / "a.png").write_bytes(b"no image")
    assert declared(folder) != said
    with pytest.raises(DataError):
        public_images((1, 8, 8), 500, folder)


def test_a_warm_start_without_images_is_refused(tmp_path: Path) -> None:
    for folder, says in ((tmp_path / "gone", "no such folder"), (tmp_path, "no PNG or JPEG file in it")):
        with pytest.raises(JobError, match=says):
            ImageVae(warm_start=str(folder)).plan(schema(), BUDGET)
