from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from synthkit.data.encoding import discretize, from_frame
from synthkit.errors import MethodError
from synthkit.privacy.budget import Budget
from synthkit.privacy.mechanisms.counts import NoisyMarginal, exact_marginal
from synthkit.synthesizers.base import discriminator_of, load
from synthkit.synthesizers.marginals import Measured, simplex
from synthkit.synthesizers.tabular_gan import ChosenCells, Generator, TabularGan
from tests.synthesizers.contract import MethodContract, fitted
from tests.tables import frame, schema


class TestTabularGan(MethodContract):
    name = "tabular_gan"
    settings = {"iterations": 5, "batch": 64, "width": 16, "latent": 4}  # noqa: RUF012


class TestWithoutCritic(MethodContract):
    """A neural model of chosen marginals alone (GEM)."""

    name = "tabular_gan"
    settings = {"critic": 0.0, "marginals": 4, "rounds": 2, "iterations": 4, "batch": 64, "width": 16, "latent": 4}  # noqa: RUF012


class TestGhostFree(MethodContract):
    """The other road: many small private steps."""

    name = "tabular_gan"
    settings = {  # noqa: RUF012
        "iterations": 3,
        "batch": 32,
        "width": 8,
        "latent": 2,
        "discriminator_steps": 20,
        "sample_rate": 0.05,
        "critic": 0.2,
        "marginals": 3,
    }


@pytest.mark.parametrize(
    "setting",
    [
        {"critic": 1.0},
        {"marginals": -1},
        {"batch": 0},
        {"sample_rate": 0},
        {"threshold": float("nan")},
        {"iterations": True},
    ],
)
def test_settings_are_checked(setting: dict[str, float]) -> None:
    with pytest.raises(MethodError, match=next(iter(setting))):
        TabularGan(**setting)  # type: ignore[arg-type]


def test_the_discriminator_is_released_and_kept(tmp_path: Path) -> None:
    """It scores rows by what the private steps released, and a saved model has it."""
    data = frame(2000)
    data["sex"] = np.where(data["smoker"], "m", "f")
    recipe = TabularGan(iterations=2, batch=64, width=8, latent=2)
    model, session = fitted(recipe, schema(rows=2000), data, Budget(5.0, 1e-5))
    reads = session.trace
    found = discriminator_of(model)
    assert found is not None and found.held == "ill" and session.trace == reads
    codes = found.draw(500, 0)
    names = list(schema().domain)
    agree = codes[:, names.index("sex")] == codes[:, names.index("smoker")]
    scores = found.pushed(codes)
    assert scores[agree].mean() > scores[~agree].mean() + 0.1  # real rows agree, its first fakes did not
    model.save(tmp_path / "model")
    again = discriminator_of(load(tmp_path / "model"))
    assert again is not None
    np.testing.assert_array_equal(again.pushed(codes), scores)
    np.testing.assert_array_equal(again.left(codes), found.left(codes))
    without, _ = fitted(TabularGan(critic=0.0, marginals=2, iterations=1, batch=32, width=8, latent=2))
    assert discriminator_of(without) is None


def test_the_generator_starts_at_the_measured_product() -> None:
    model, _ = fitted(TabularGan(iterations=0))
    measured = Measured.of(list(model.marginals), schema(), 6)
    generator = Generator(measured, latent=3, width=8, seed=0)
    classes = torch.tensor([0, 1])
    shares = generator.one_hot.shares(generator(torch.randn(2, 3), classes))
    torch.testing.assert_close(shares, torch.tensor(measured.conditionals, dtype=torch.float32), atol=1e-5, rtol=1e-3)


def test_chosen_cells_are_the_marginals_of_what_is_generated() -> None:
    """Against counting rows that are certain of their values."""
    model, _ = fitted(TabularGan(iterations=0))
    measured = Measured.of(list(model.marginals), schema(), 6)
    generator = Generator(measured, latent=3, width=8, seed=0)
    codes = discretize(from_frame(frame(300), schema()), schema())
    one_hot = generator.one_hot.encode(torch.tensor(codes, dtype=torch.int64))
    classes = torch.tensor(codes[:, 6], dtype=torch.int64)
    generator.chances = torch.bincount(classes, minlength=len(measured.chances)) / len(classes)
    names = list(schema().domain)
    chosen = [
        NoisyMarginal(columns, exact_marginal(codes, schema(), columns), 1.0)
        for columns in [(names[0], names[2]), (names[1], names[4], names[6]), (names[3], names[5])]
    ]
    cells = ChosenCells(chosen, dataclasses.replace(measured, rows=300.0))
    torch.testing.assert_close(cells.of(generator.moments(one_hot, classes)), cells.shares)
    assert len(cells.shares) == sum(marginal.counts.size for marginal in chosen)


def test_simplex_is_the_nearest_distribution() -> None:
    np.testing.assert_allclose(simplex(np.array([0.2, 0.8])), [0.2, 0.8])
    np.testing.assert_allclose(simplex(np.array([-5.0, 1.5, 0.5])), [0.0, 1.0, 0.0])
    np.testing.assert_allclose(simplex(np.array([0.6, 0.6, -0.1])), [0.5, 0.5, 0.0])


def test_global_random_state_is_left_alone() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    fitted(TabularGan(iterations=2, batch=32, width=8, latent=2))[0].sample(10)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.slow
def test_the_critic_finds_dependence_that_the_warm_start_lacks() -> None:
    """Two columns that are equal, and independent of the target."""
    rng = np.random.default_rng(0)
    data = frame(4000)
    data["sex"] = rng.choice(["f", "m"], 4000)
    data["smoker"] = data["sex"].eq("m")
    gaps = []
    for iterations in (0, 600):
        recipe = TabularGan(iterations=iterations, width=64, latent=16, batch=512)
        drawn = fitted(recipe, schema(rows=4000), data, Budget(3.0, 1e-6))[0].sample(4000, seed=0).frame
        gaps.append((drawn["sex"].eq("m") != drawn["smoker"].fillna(False)).mean())
    assert gaps[0] > 0.4
    assert gaps[1] < 0.2
