"""The red-team bench, on the code as it is. ``tests/mutants`` runs it on code that is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from synthkit.data.schema import Unit
from synthkit.privacy.budget import Adjacency
from tests.audit import checks


@pytest.mark.parametrize(
    ("name", "unit", "adjacency"),
    [
        ("independent", Unit(), Adjacency.ADD_OR_REMOVE),
        ("independent", Unit("person", 3), Adjacency.REPLACE_ONE),
        ("aim", Unit("person", 3), Adjacency.ADD_OR_REMOVE),
        ("mst", Unit(), Adjacency.REPLACE_ONE),
        ("tabular_vae", Unit(), Adjacency.ADD_OR_REMOVE),
        ("tabular_gan", Unit(), Adjacency.ADD_OR_REMOVE),
        ("tabular_gan", Unit("person", 3), Adjacency.ADD_OR_REMOVE),
    ],
    ids=str,
)
def test_replay(name: str, unit: Unit, adjacency: Adjacency) -> None:
    """The contract suite replays every method under everything; this is a cross-section of it."""
    checks.replays(name, checks.SHORT[name], unit, adjacency)


@pytest.mark.parametrize("clipping", ["hooks", "ghost"])
@pytest.mark.parametrize(
    "check", [checks.neighbours_are_clipped, checks.gradients_have_parity, checks.unusable_gradients_are_dropped]
)
def test_gradients(check: Callable[[str], None], clipping: str) -> None:
    check(clipping)


@pytest.mark.parametrize(
    "check",
    [
        checks.synthetic_losses_keep_their_gradient,
        checks.mixing_is_refused,
        checks.an_empty_sample_is_legal,
        checks.processes_differ,
        checks.prices_agree_with_others,
        checks.budgets_are_kept,
        checks.charges_come_first,
        checks.the_whole_release_replays,
        checks.shapes_replay,
    ],
)
def test_once(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize(
    "check", [checks.a_known_seed_is_owned_up_to, checks.nothing_planted_is_found, checks.crashes_refund_nothing]
)
def test_on_disk(check: Callable[..., None]) -> None:
    checks.temporary(check)()


@pytest.mark.parametrize("check", checks.STATISTICAL)
def test_statistical(check: Callable[[int], None]) -> None:
    check(0)


@pytest.mark.parametrize("scale", [0.7, 1.3])
def test_noise_of_another_scale_is_found(scale: float) -> None:
    with pytest.raises(AssertionError):
        checks.noise_has_its_scale(0, scale=scale)


def test_a_trainer_without_noise_shows_at_least_five() -> None:
    """Power, as the claims above mean little without it: f-DP in one run at a claimed epsilon of 4."""
    import numpy as np

    from synthkit.audit import bounds

    included = np.random.default_rng(0).random(5000) < 0.5
    right, made = bounds.guesses(included.astype(float), included, 1250)
    assert bounds.one_run_gaussian(right, made, 5000, checks.DELTA).epsilon >= 5.0


@pytest.mark.slow
def test_shuffling_shows_where_poisson_sampling_does_not() -> None:
    """One epoch of a hundred batches at sigma 1 is charged 0.72 (Poisson); a shuffle leaks more than that."""
    assert checks.shuffling_scores(0, shuffled=False, trials=400_000).epsilon <= 0.72
    assert checks.shuffling_scores(0, shuffled=True, trials=400_000).epsilon >= 1.30


@pytest.mark.slow
def test_a_tight_mechanism_is_nearly_reached() -> None:
    """With a million samples, what is learnt of counts is nine tenths of their price, and not more than all."""
    checks.primitives_withstand_an_audit(1, trials=1_000_000, least=0.85)
