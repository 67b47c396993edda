"""Downstream figures: what the noisy histograms say is what scikit-learn says of the same rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import dp_accounting
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import stats
from sklearn.metrics import log_loss, roc_auc_score

from synthkit.assess import utility
from synthkit.data.encoding import Table, discretize, from_frame
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Categorical, Schema
from synthkit.errors import BudgetExceeded
from synthkit.evidence import Evidence
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import compose, repeat
from synthkit.privacy.mechanisms import counts, moments
from synthkit.privacy.mechanisms.counts import counts_event
from synthkit.privacy.mechanisms.moments import sum_event
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Charge, Plan
from synthkit.privacy.session import Session
from tests.privacy.mechanisms.promises import Recording, check_bounded
from tests.tables import frame, private, schema

BUDGET = Budget(1e5, 1e-5)
TINY = 1e-3
MODELS = tuple(utility.MODELS)


@cache
def codes(rows: int, seed: int) -> np.ndarray:
    return discretize(from_frame(frame(rows, seed=seed), schema()), schema())


@pytest.fixture(autouse=True)
def _train_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training is deterministic; the same rows are learnt once."""
    monkeypatch.setattr(utility, "train", _remembering)


_trained: dict[tuple[bytes, str | None, str], utility.Downstream | None] = {}
_train = utility.train


def _remembering(synthetic: np.ndarray, public: Schema, name: str) -> utility.Downstream | None:
    key = (synthetic.tobytes(), public.target, name)
    if key not in _trained:
        _trained[key] = _train(synthetic, public, name)
    return _trained[key]


def charged(public: Schema, rows: int, sigma: float, noise: NoiseSource | None = None) -> dict[str, Evidence]:
    session = Recording(BUDGET, noise)
    found = utility.charged(private(frame(rows, seed=5), public), session, codes(800, 9), float(rows), sigma)
    assert len({figure.name for figure in found}) == len(found)
    return {figure.name: figure for figure in found}


# --- training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_training_repeats_and_leaves_the_global_generator_alone(name: str) -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    one, two = _train(codes(300, 1), schema(), name), _train(codes(300, 1), schema(), name)
    assert one is not None and two is not None
    np.testing.assert_array_equal(one.probabilities(codes(99, 2)), two.probabilities(codes(99, 2)))
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[arg-type]
    assert one.inputs == (0, 1, 2, 3, 4, 5) and one.target == 6


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", ["ill", "region"])
def test_a_row_is_scored_by_itself(name: str, target: str) -> None:
    """Bit for bit: a score that moved with the other rows would move many of them over a bin's edge."""
    trained, rows = utility.train(codes(800, 9), schema(target=target), name), codes(517, 2)
    assert trained is not None
    whole = trained.probabilities(rows)
    for cut in (1, 2, 7, 8, 64, 400, 516):
        parts = [trained.probabilities(rows[:cut]), trained.probabilities(rows[cut:])]
        np.testing.assert_array_equal(whole, np.concatenate(parts))
    shuffled = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_array_equal(whole[shuffled], trained.probabilities(rows[shuffled]))


def test_nothing_to_learn_gives_no_model() -> None:
    constant = codes(50, 1).copy()
    constant[:, 6] = 1
    only = Schema("only", {"ill": schema().columns["ill"]}, 10, target="ill")
    for name in MODELS:
        assert _train(constant, schema(), name) is None
        assert _train(codes(50, 1)[:, [6]], only, name) is None


# --- no figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [None, "age", "income", "seen"])
def test_a_regression_target_or_none_gives_no_figures(target: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (counts, moments):
        monkeypatch.setattr(module, "reveal", lambda _: pytest.fail("private rows were opened"))
    public, session = schema(target=target), Recording(BUDGET)
    assert utility.histograms(public) == 0
    assert utility.charged(private(frame(50), public), session, codes(100, 9), 50.0, 1.0) == []
    assert utility.exact(codes(100, 9), codes(50, 5), public, "tstr") == []
    assert session.trace == ()


def test_a_single_synthetic_class_gives_no_figures_and_charges_nothing() -> None:
    constant, session = codes(100, 9).copy(), Recording(BUDGET)
    constant[:, 6] = 0
    assert utility.charged(private(frame(50), schema()), session, constant, 50.0, 1.0) == []
    assert utility.exact(constant, codes(50, 5), schema(), "tstr") == []
    assert session.trace == ()


# --- what is charged ---------------------------------------------------------------------------------


def test_so_many_histograms_a_model() -> None:
    many = Schema("many", {"t": Categorical(categories=tuple(range(50))), "x": schema().columns["sex"]}, 9, target="t")
    assert [utility.histograms(public) for public in (schema(), schema(target="smoker"), many)] == [1, 4, 21]


@pytest.mark.parametrize("target", ["ill", "smoker", "region"])
def test_what_was_priced_is_charged(target: str) -> None:
    public, session = schema(target=target), Recording(BUDGET)
    found = utility.charged(private(frame(60), public), session, codes(800, 9), 60.0, 2.0)
    assert found and all(figure.payment == "charged" for figure in found)
    loss = sum_event(2.0 * utility.LOSS_BOUND, utility.LOSS_BOUND, BUDGET)
    classes = len(np.unique(codes(800, 9)[:, list(public.domain).index(target)]))
    histograms = 1 if classes == public.domain[target] == 2 else classes + 1
    assert session.event == compose([repeat(counts_event(2.0, BUDGET), 2 * histograms), repeat(loss, 2)])
    assert histograms <= utility.histograms(public)


@pytest.mark.parametrize("target", ["ill", "region"])
def test_what_is_not_planned_is_not_read(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (counts, moments):
        monkeypatch.setattr(module, "reveal", lambda _: pytest.fail("private rows were opened"))
    session = Session(Plan(BUDGET, dp_accounting.NoOpDpEvent()))
    with pytest.raises(BudgetExceeded):
        utility.charged(private(frame(50), schema(target=target)), session, codes(800, 9), 50.0, 2.0)


@pytest.mark.parametrize("target", ["ill", "region"])
def test_neighbours_are_as_close_as_charged(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The models' scores are cells and losses of single rows: no histogram moves by more than a row."""
    monkeypatch.setattr(utility, "_DRAWS", 2)
    public = schema(target=target)
    answers: list[np.ndarray] = []

    class Watched(Recording):
        def release(self, charge: Charge, exact: np.ndarray) -> np.ndarray:
            answers.append(super().release(charge, exact))
            return answers[-1]

    def release(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        answers.clear()
        watched = Watched(BUDGET, session.noise)
        utility.charged(_with_target(data, public), watched, codes(800, 9), 60.0, 2.0)
        session._trace.extend(watched.trace)
        return list(answers)

    others = [[row] for row in range(12)]
    for row in (0, 2, 3, 4, 7, 9):  # of the pool: without values, clamped, past the encoding
        pair = ([*others[:5], [row], *others[5:]], others)
        check_bounded(release, BUDGET, pair)


def _with_target(data: Private[Table], public: Schema) -> Private[Table]:
    return Private(reveal(data), dataset="people", schema=public)


# --- figures against scikit-learn --------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_two_classes_with_tiny_noise(name: str) -> None:
    public, rows = schema(), 700
    found, real = charged(public, rows, TINY), codes(rows, 5)
    trained = utility.train(codes(800, 9), public, name)
    assert trained is not None
    truth, scores = real[:, 6], trained.probabilities(real)[:, 1]
    edges = utility._score_edges(trained.probabilities(codes(800, 9))[:, 1])
    binned = roc_auc_score(truth, np.searchsorted(edges, scores, side="right"))
    auc = found[f"utility.tstr_auc_{name}"]
    assert auc.value == pytest.approx(binned, abs=1e-9)  # exactly that of the binned scores
    assert auc.value == pytest.approx(roc_auc_score(truth, scores), abs=0.01)
    assert found[f"utility.tstr_accuracy_{name}"].value == pytest.approx(((scores >= 0.5) == truth).mean(), abs=1e-9)
    chance = np.clip(np.where(truth == 1, scores, 1 - scores), 0.01, 1)
    assert found[f"utility.tstr_log_loss_{name}"].value == pytest.approx(-np.log(chance).mean(), abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", ["region", "smoker"])
def test_many_classes_with_tiny_noise(name: str, target: str) -> None:
    public, rows = schema(target=target), 700
    found, real = charged(public, rows, TINY), codes(rows, 5)
    trained = utility.train(codes(800, 9), public, name)
    assert trained is not None
    truth, scores = real[:, trained.target], trained.probabilities(real)
    known = trained.probabilities(codes(800, 9))
    areas = []
    for k, label in enumerate(trained.classes):
        place = np.searchsorted(utility._score_edges(known[:, k]), scores[:, k], side="right")
        areas.append(roc_auc_score(truth == label, place))
    auc = found[f"utility.tstr_auc_{name}"]
    assert auc.value == pytest.approx(np.mean(areas), abs=1e-9)
    whole = scores[:, 1] if len(trained.classes) == 2 else scores
    assert auc.value == pytest.approx(roc_auc_score(truth, whole, multi_class="ovr"), abs=0.01)
    predicted = trained.classes[scores.argmax(axis=1)]
    assert found[f"utility.tstr_accuracy_{name}"].value == pytest.approx((predicted == truth).mean(), abs=1e-9)
    place = np.searchsorted(trained.classes, truth)
    chance = np.clip(scores[np.arange(rows), place], 0.01, 1)
    assert found[f"utility.tstr_log_loss_{name}"].value == pytest.approx(-np.log(chance).mean(), abs=1e-4)


def test_a_class_that_the_synthetic_table_lacks_counts_as_wrong() -> None:
    public, drawn = schema(target="region"), codes(800, 9)
    drawn = drawn[drawn[:, 2] < 2]  # two of four classes
    session = Recording(BUDGET)
    found = {e.name: e for e in utility.charged(private(frame(500, seed=5), public), session, drawn, 500.0, TINY)}
    for name in MODELS:
        trained = utility.train(drawn, public, name)
        assert trained is not None
        truth, scores = codes(500, 5)[:, 2], trained.probabilities(codes(500, 5))
        right = trained.classes[scores.argmax(axis=1)] == truth
        assert found[f"utility.tstr_accuracy_{name}"].value == pytest.approx(right.mean(), abs=1e-9)
        chance = [scores[i, t] if t < 2 else 0.0 for i, t in enumerate(truth)]
        expected = -np.log(np.clip(chance, 0.01, 1)).mean()
        assert found[f"utility.tstr_log_loss_{name}"].value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("target", ["ill", "region"])
@pytest.mark.parametrize("prefix", ["tstr", "trtr"])
def test_exact_figures_are_those_of_scikit_learn_and_internal(target: str, prefix: str) -> None:
    public, real = schema(target=target), codes(500, 5)
    found = {e.name: e for e in utility.exact(codes(800, 9), real, public, prefix)}
    assert len(found) == 6
    for figure in found.values():
        assert figure.payment == "internal" and figure.interval is None and prefix.upper() in figure.how
    for name in MODELS:
        trained = utility.train(codes(800, 9), public, name)
        assert trained is not None
        truth, scores = real[:, trained.target], trained.probabilities(real)
        clipped = np.clip(scores, 0.01, 0.99)
        clipped /= clipped.sum(axis=1, keepdims=True)
        expected = {
            "accuracy": (trained.classes[scores.argmax(axis=1)] == truth).mean(),
            "log_loss": log_loss(truth, clipped, labels=trained.classes),
            "auc": roc_auc_score(truth, scores[:, 1] if target == "ill" else scores, multi_class="ovr"),
        }
        for figure_name, value in expected.items():
            assert found[f"utility.exact_{prefix}_{figure_name}_{name}"].value == pytest.approx(value)


def test_exact_figures_without_a_class_have_no_area() -> None:
    real = codes(500, 5)
    found = utility.exact(codes(800, 9), real[real[:, 6] == 0], schema(), "tstr")
    assert {e.name.split("_")[2] for e in found} == {"accuracy", "log"}


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("target", ["ill", "region"])
def test_tiny_holdouts_have_finite_figures(rows: int, target: str) -> None:
    session = Recording(BUDGET, NoiseSource(test_seed=2))
    holdout = private(frame(rows), schema(target=target))
    for figure in utility.charged(holdout, session, codes(800, 9), 1.0, 5.0):
        assert figure.interval is not None and all(map(math.isfinite, (figure.value, *figure.interval)))


# --- histograms --------------------------------------------------------------------------------------


@given(table=npst.arrays(np.float64, st.tuples(st.just(2), st.integers(1, 12)), elements=st.integers(0, 9).map(float)))
@settings(deadline=None, max_examples=80, derandomize=True)
def test_area_of_a_histogram(table: np.ndarray) -> None:
    bins = np.arange(table.shape[1])
    truth = np.repeat([0, 1], table.sum(axis=1).astype(int))
    place = np.concatenate([np.repeat(bins, row.astype(int)) for row in table])
    expected = roc_auc_score(truth, place) if len(set(truth.tolist())) == 2 else 0.5
    assert utility._auc(table) == pytest.approx(expected)
    for first in range(table.shape[1] + 1):
        expected = ((place >= first) == truth).mean() if len(truth) else 0.5
        assert utility._accuracy(table, first) == pytest.approx(expected)


@given(table=npst.arrays(np.float64, (2, 6), elements=st.integers(-50, 50).map(float)))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_figures_of_noisy_histograms_stay_in_their_range(table: np.ndarray) -> None:
    assert 0 <= utility._auc(table) <= 1
    assert 0 <= utility._accuracy(table, 3) <= 1


def test_edges_come_from_synthetic_scores_and_hold_one_half() -> None:
    edges = utility._score_edges(np.linspace(0.1, 0.3, 500))
    assert edges[-1] == 0.5 and (np.diff(edges) > 0).all() and len(edges) <= 24
    assert utility._score_edges(np.full(10, 0.5)).tolist() == [0.5]


# --- intervals ---------------------------------------------------------------------------------------

REPEATS = 120
# 95% intervals hold in at least so many of 120 repeats, or something is wrong at 1e-6.
AT_LEAST = int(stats.binom.ppf(1e-6, REPEATS, 0.95))


def covered(sigma: float, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often the intervals hold the exact figure of the same 400 rows, where only the noise differs."""
    monkeypatch.setattr(utility, "MODELS", {"logistic": utility.MODELS["logistic"]})
    monkeypatch.setattr(utility, "_DRAWS", 200)
    rows = 400
    exact = {
        e.name.replace("exact_", ""): e.value for e in utility.exact(codes(800, 9), codes(rows, 5), schema(), "tstr")
    }
    hits = dict.fromkeys(exact, 0)
    holdout = private(frame(rows, seed=5), schema())
    for seed in range(REPEATS):
        noise = NoiseSource(test_seed=seed)
        counted = rows + float(noise.discrete_gaussian(sigma, 1)[0])
        for figure in utility.charged(holdout, Recording(BUDGET, noise), codes(800, 9), counted, sigma):
            low, high = figure.interval or (1.0, 0.0)
            hits[figure.name] += low <= exact[figure.name] <= high
    return hits


def test_intervals_hold_where_noise_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """120 repeats with noise of 2 rows a bin; fewer than 100 hits happen with probability below 1e-6."""
    assert AT_LEAST == 100
    hits = covered(2.0, monkeypatch)
    assert len(hits) == 3 and min(hits.values()) >= AT_LEAST, hits


def test_intervals_hold_where_noise_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of 20 rows a bin is what the report has at epsilon 1 under replace-one, at 0.5 under add-or-remove."""
    hits = covered(20.0, monkeypatch)
    assert min(hits.values()) >= AT_LEAST, hits
