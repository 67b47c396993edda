"""Membership inference finds a synthesizer that copies, and no one else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from synthkit.audit.membership import Attack, _attack, attacks, auc


def people(rows: int, seed: int, columns: int = 10) -> np.ndarray:
    """Codes with some dependence, so that rows are neither all alike nor all apart."""
    rng = np.random.default_rng(seed)
    common = rng.integers(0, 4, (rows, 1))
    own = rng.integers(0, 4, (rows, columns))
    return np.where(rng.random((rows, columns)) < 0.4, common, own).astype(np.int32)


def found(training: np.ndarray, synthetic: np.ndarray, seed: int = 0) -> dict[str, Attack]:
    return {attack.name: attack for attack in attacks(training, people(900, 99), synthetic, seed=seed)}


NAMES = {"density ratio", "nearest neighbour", "density ratio (control)", "nearest neighbour (control)"}


def test_a_copy_is_found_and_its_controls_stay_at_one_half() -> None:
    training = people(300, 1)
    copied = found(training, training)
    assert set(copied) == NAMES
    for name in ("density ratio", "nearest neighbour"):
        attack = copied[name]
        assert attack.auc > 0.9 and attack.beats_guessing and attack.tpr_at_1_percent > 0.3
        assert (attack.members, attack.others) == (300, 300)
        control = copied[f"{name} (control)"]
        assert control.auc == pytest.approx(0.5, abs=0.12) and control.tpr_at_1_percent < 0.1


def test_a_noisy_copy_is_found_too() -> None:
    training = people(300, 1)
    rng = np.random.default_rng(2)
    changed = np.where(rng.random(training.shape) < 0.1, rng.integers(0, 4, training.shape), training).astype(np.int32)
    attack = found(training, changed)["density ratio"]
    assert attack.auc > 0.75 and attack.beats_guessing


def test_an_independent_table_is_not_found() -> None:
    """Over many tables, the intervals hold one half nearly as often as they say."""
    repeats = 40
    for name in sorted(NAMES):
        inside, areas = 0, []
        for seed in range(repeats):
            attack = next(
                a
                for a in attacks(people(150, 10 + seed), people(450, 5_000 + seed), people(150, 9_000 + seed))
                if a.name == name
            )
            inside += attack.interval[0] <= 0.5 <= attack.interval[1]
            areas.append(attack.auc)
        assert inside >= stats.binom.ppf(1e-6, repeats, 0.93)
        assert np.mean(areas) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("distinct", [2, 7, 10_000])
def test_auc_is_scikit_learns(distinct: int) -> None:
    rng = np.random.default_rng(distinct)
    members, others = rng.integers(0, distinct, 211) + 0.3 * distinct, rng.integers(0, distinct, 140) * 1.1
    label, score = np.repeat([1, 0], [211, 140]), np.concatenate([members, others])
    assert auc(members, others) == pytest.approx(roc_auc_score(label, score), abs=1e-12)
    assert auc(others, members) == pytest.approx(1 - auc(members, others), abs=1e-12)


def test_auc_at_its_edges() -> None:
    ones, zeros = np.ones(5), np.zeros(3)
    assert (auc(ones, zeros), auc(zeros, ones), auc(ones, ones)) == (1.0, 0.0, 0.5)


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.5])
def test_intervals_cover_the_truth(shift: float) -> None:
    repeats, rng, covered = 400, np.random.default_rng(0), 0
    truth = stats.norm.cdf(shift / 2**0.5)
    for _ in range(repeats):
        low, high = _attack("x", rng.normal(shift, 1, 120), rng.normal(0, 1, 80)).interval
        covered += low <= truth <= high
    assert stats.binom.ppf(1e-6, repeats, 0.93) <= covered


def test_the_rate_at_one_percent_is_the_roc_curves() -> None:
    rng = np.random.default_rng(0)
    members, others = rng.normal(1.5, 1, 700), rng.normal(0, 1, 1_000)
    false, true, _ = roc_curve(np.repeat([1, 0], [700, 1_000]), np.concatenate([members, others]))
    seen = _attack("x", members, others).tpr_at_1_percent
    assert true[false <= 0.008].max() <= seen <= true[false <= 0.01].max()
    tied = _attack("x", np.ones(100), np.ones(100))
    assert (tied.auc, tied.tpr_at_1_percent, tied.beats_guessing) == (0.5, 0.0, False)


def test_the_same_seed_looks_at_the_same_rows() -> None:
    training, synthetic = people(300, 1), people(300, 2)
    assert found(training, synthetic) == found(training, synthetic)
    assert found(training, synthetic) != found(training, synthetic, seed=1)


@pytest.mark.parametrize("empty", ["training", "holdout", "synthetic"])
def test_with_nobody_to_compare_there_is_no_figure(empty: str) -> None:
    rows = {name: people(30, k) for k, name in enumerate(("training", "holdout", "synthetic"))}
    rows[empty] = rows[empty][:0]
    assert attacks(**rows) == []


def test_long_tables_are_looked_at_in_part() -> None:
    training = people(4_100, 1, columns=3)
    (attack, *_) = attacks(training, people(30, 2, columns=3), people(50, 3, columns=3))
    assert attack.members == 4_000 and attack.others == 10
