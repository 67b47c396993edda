"""Membership of images: a bundle that copies some is found, in pixels and in features, and no other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from synthkit.audit.membership import Attack
from synthkit.audit.pictures import attacks, some_units
from synthkit.data.images import Images
from tests.audit.caught import caught
from tests.images import images, schema

PUBLIC = schema()


def features(pixels: np.ndarray) -> np.ndarray:
    """Means of blocks of four pixels: a public map that loses something."""
    blocks = pixels.reshape(len(pixels), 4, 2, 4, 2).mean(axis=(2, 4))
    return blocks.reshape(len(pixels), 16) / 255


def found(training: Images, synthetic: np.ndarray, holdout: Images | None = None, seed: int = 0) -> dict[str, Attack]:
    others = images(PUBLIC, 900, seed=99) if holdout is None else holdout
    return {attack.name: attack for attack in attacks(training, others, synthetic, features, seed=seed)}


NAMES = (
    "nearest neighbour, pixels",
    "relative distance, pixels",
    "nearest neighbour, features",
    "relative distance, features",
)


def test_a_bundle_of_thirty_percent_copies_is_found() -> None:
    training = images(PUBLIC, 300, seed=1)
    released = images(PUBLIC, 300, seed=2).pixels
    released[:90] = training.pixels[:90]
    seen = found(training, released)
    assert list(seen) == [*NAMES, *(f"{name} (control)" for name in NAMES)]
    for name in NAMES:
        assert caught(seen[name]) and seen[name].beats_guessing and 0.58 < seen[name].auc < 0.75
        assert 0.3 <= seen[name].tpr_at_1_percent < 0.4
        assert not caught(seen[f"{name} (control)"])


def test_copies_with_noise_are_found_too() -> None:
    training = images(PUBLIC, 300, seed=1)
    noisy = training.pixels + np.random.default_rng(0).normal(0, 4, training.pixels.shape)
    seen = found(training, np.clip(noisy, 0, 255).astype(np.uint8))
    assert all(caught(seen[name]) for name in NAMES)


def test_independent_images_are_not_found() -> None:
    repeats, inside = 20, dict.fromkeys(NAMES, 0)
    for seed in range(repeats):
        some = attacks(
            images(PUBLIC, 100, seed=10 + seed),
            images(PUBLIC, 300, seed=500 + seed),
            images(PUBLIC, 100, seed=900 + seed).pixels,
            features,
        )
        assert not any(caught(attack) for attack in some)
        for attack in some[:4]:
            inside[attack.name] += attack.interval[0] <= 0.5 <= attack.interval[1]
    assert min(inside.values()) >= stats.binom.ppf(1e-6, repeats, 0.93)


def test_a_unit_counts_once_and_by_the_image_that_tells_most() -> None:
    """Of every patient one of three images was copied: all patients are found."""
    of = np.repeat(np.arange(150), 3).astype(np.uint64) * 7
    training = images(PUBLIC, 450, seed=1)
    training = Images(training.pixels, training.labels, of)
    strangers = images(PUBLIC, 900, seed=99)
    strangers = Images(strangers.pixels, strangers.labels, np.repeat(np.arange(300), 3).astype(np.uint64))
    seen = found(training, training.pixels[::3], strangers)
    for name in NAMES:
        assert (seen[name].members, seen[name].others) == (150, 100)
        assert caught(seen[name]) and seen[name].auc > 0.95


def test_units_are_chosen_by_lot_and_whole() -> None:
    made = images(PUBLIC, 90)
    of = np.random.default_rng(0).integers(0, 30, 90).astype(np.uint64)
    some = some_units(Images(made.pixels, made.labels, of), 11, np.random.default_rng(1))
    assert some.units is not None and set(some.units) == set(range(11))
    assert (np.diff(some.units.astype(int)) >= 0).all()
    whole = {pixels.tobytes(): int(unit) for pixels, unit in zip(made.pixels, of, strict=True)}
    for unit in range(11):
        (named,) = {whole[pixels.tobytes()] for pixels in some.pixels[some.units == unit]}
        assert (some.units == unit).sum() == (of == named).sum()


@pytest.mark.parametrize("empty", ["training", "holdout", "synthetic"])
def test_with_nobody_to_compare_there_is_no_figure(empty: str) -> None:
    sides = {name: images(PUBLIC, 30, seed=k) for k, name in enumerate(("training", "holdout", "synthetic"))}
    sides[empty] = sides[empty].take(np.arange(0))
    assert attacks(sides["training"], sides["holdout"], sides["synthetic"].pixels, features) == []


def test_many_images_are_looked_at_in_part() -> None:
    seen = found(images(PUBLIC, 2_050, seed=1), images(PUBLIC, 40, seed=2).pixels, images(PUBLIC, 30, seed=3))
    assert (seen[NAMES[0]].members, seen[NAMES[0]].others) == (2_000, 10)
