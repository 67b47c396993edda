"""Distances mean what they say: exact ones by brute force, charged ones within their intervals."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from synthkit.assess import fidelity
from synthkit.data.encoding import undiscretize
from synthkit.data.private import Private
from synthkit.data.schema import Categorical, Schema
from synthkit.errors import BudgetExceeded
from synthkit.evidence import Evidence
from synthkit.privacy.budget import Budget
from synthkit.privacy.events import compose, repeat
from synthkit.privacy.mechanisms import distances
from synthkit.privacy.mechanisms.distances import distance_event
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.plan import Plan
from synthkit.privacy.session import Session
from tests.privacy.mechanisms.promises import Recording
from tests.tables import schema

BUDGET = Budget(1e5, 1e-5)
SMALL = Schema(
    "small", {name: Categorical(categories=tuple(range(size))) for name, size in {"a": 2, "b": 3, "c": 4}.items()}, 300
)
WHOLE = schema()


def codes(public: Schema, rows: int, seed: int) -> np.ndarray:
    """Codes of the domain, uneven."""
    rng = np.random.default_rng(seed)
    columns = [rng.choice(size, rows, p=rng.dirichlet(np.ones(size))) for size in public.domain.values()]
    return np.stack(columns, axis=1).astype(np.int32).reshape(rows, len(public.domain))


def locked(real: np.ndarray, public: Schema) -> Private:  # type: ignore[type-arg]
    return Private(undiscretize(real, public, np.random.default_rng(0)), dataset="holdout", schema=public)


def by_name(found: Sequence[Evidence]) -> dict[str, Evidence]:
    assert len({figure.name for figure in found}) == len(found)
    return {figure.name: figure for figure in found}


def brute_distance(left: np.ndarray, right: np.ndarray, public: Schema, asked: Sequence[tuple[str, ...]]) -> float:
    names, total = list(public.domain), 0.0
    for query in asked:
        places = [names.index(name) for name in query]
        one, two = (Counter(tuple(row[j] for j in places) for row in table.tolist()) for table in (left, right))
        cells = itertools.product(*(range(public.domain[name]) for name in query))
        total += sum(abs(one[c] / max(1, len(left)) - two[c] / max(1, len(right))) for c in cells) / 2
    return total / len(asked)


# --- queries -----------------------------------------------------------------------------------------


def test_queries_are_all_sets_of_columns() -> None:
    for order in (1, 2, 3):
        assert fidelity.queries(WHOLE, order) == list(itertools.combinations(WHOLE.domain, order))
    assert fidelity.queries(SMALL, 4) == []


def test_queries_depend_on_the_schema_alone() -> None:
    wide = Schema("wide", {f"c{i}": Categorical(categories=(0, 1)) for i in range(300)}, 10)
    asked = fidelity.queries(wide, 3)
    assert asked == fidelity.queries(wide, 3)
    assert 500 < len(asked) <= 2000 and len(set(asked)) == len(asked)
    assert all(len(set(query)) == 3 for query in asked)


def test_tables_that_are_too_large_are_not_asked_for() -> None:
    many = {name: Categorical(categories=tuple(range(1100))) for name in "ab"}
    assert fidelity.queries(Schema("large", many, 10), 1) == [("a",), ("b",)]
    assert fidelity.queries(Schema("large", many, 10), 2) == []


# --- exact -------------------------------------------------------------------------------------------


@given(left=st.integers(0, 12), right=st.integers(0, 12), seed=st.integers(0, 999), order=st.integers(1, 3))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_mean_distance_by_brute_force(left: int, right: int, seed: int, order: int) -> None:
    one, two = codes(SMALL, left, seed), codes(SMALL, right, seed + 1)
    asked = fidelity.queries(SMALL, order)
    found = fidelity.mean_distance(one, two, SMALL, asked)
    assert found == pytest.approx(brute_distance(one, two, SMALL, asked), abs=1e-12)
    assert found == pytest.approx(fidelity.mean_distance(two, one, SMALL, asked))
    assert fidelity.mean_distance(one, one, SMALL, asked) == 0


def test_exact_figures_by_brute_force_and_internal() -> None:
    real, drawn = codes(WHOLE, 60, 1), codes(WHOLE, 80, 2)
    found = fidelity.exact(real, drawn, WHOLE, against="training")
    assert [figure.name for figure in found] == [f"fidelity.exact_tvd_{order}way_training" for order in (1, 2, 3)]
    for order, figure in enumerate(found, start=1):
        asked = fidelity.queries(WHOLE, order)
        assert figure.value == pytest.approx(brute_distance(real, drawn, WHOLE, asked))
        assert figure.payment == "internal" and figure.interval is None
        assert f"{len(asked)} {order}-way" in figure.how
    assert found[0].value < found[1].value < found[2].value  # a margin is never further apart than its table


def test_one_column_has_one_distance() -> None:
    one = Schema("one", {"a": SMALL.columns["a"]}, 10)
    assert [e.name for e in fidelity.exact(codes(one, 9, 1), codes(one, 9, 2), one, against="x")] == [
        "fidelity.exact_tvd_1way_x"
    ]


def test_associations_by_brute_force() -> None:
    """Cramer's V by scipy, on the categories that occur."""
    real = codes(WHOLE, 200, 4)
    real[:, 1] = real[:, 4] > 1
    matrix, names = fidelity.associations(real, WHOLE), list(WHOLE.domain)
    for i, j in itertools.combinations(range(len(names)), 2):
        table = np.zeros((WHOLE.domain[names[i]], WHOLE.domain[names[j]]), dtype=int)
        np.add.at(table, (real[:, i], real[:, j]), 1)
        table = table[table.any(axis=1)][:, table.any(axis=0)]
        expected = stats.contingency.association(table, method="cramer") if min(table.shape) > 1 else 0.0
        assert matrix[i, j] == matrix[j, i] == pytest.approx(expected, abs=1e-9)
    assert np.array_equal(np.diag(matrix), np.ones(len(names)))
    assert fidelity.associations(real[:0], WHOLE).sum() == len(names)


# --- charged -----------------------------------------------------------------------------------------


def test_each_order_is_charged_once_and_named() -> None:
    session = Recording(BUDGET)
    found = fidelity.charged(locked(codes(SMALL, 50, 1), SMALL), session, codes(SMALL, 90, 2), 50.0, 2.0)
    assert session.event == compose([repeat(distance_event(2.0, BUDGET), 2)])
    assert {figure.name: figure.payment for figure in found} == {
        "fidelity.tvd_1way": "charged",
        "fidelity.tvd_1way_floor": "free",
        "fidelity.tvd_2way": "charged",
        "fidelity.tvd_2way_floor": "free",
    }
    for figure in found:
        assert figure.interval is not None
        low, high = figure.interval
        assert 0 <= low <= figure.value <= high <= 1


def test_what_is_not_planned_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "reveal", lambda _: pytest.fail("private rows were opened"))
    session = Session(Plan(BUDGET, distance_event(3.0, BUDGET)))
    with pytest.raises(BudgetExceeded):
        fidelity.charged(locked(codes(SMALL, 50, 1), SMALL), session, codes(SMALL, 90, 2), 50.0, 2.0)


def test_without_noise_the_charged_distance_is_the_exact_one() -> None:
    real, drawn = codes(WHOLE, 70, 5), codes(WHOLE, 200, 6)
    found = by_name(fidelity.charged(locked(real, WHOLE), Recording(BUDGET), drawn, 70.0, 1e-3))
    for order in (1, 2):
        exact = brute_distance(real, drawn, WHOLE, fidelity.queries(WHOLE, order))
        assert found[f"fidelity.tvd_{order}way"].value == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("rows", [0, 1])
def test_an_empty_holdout_has_finite_figures(rows: int) -> None:
    real, session = codes(SMALL, rows, 1), Recording(BUDGET, NoiseSource(test_seed=1))
    for figure in fidelity.charged(locked(real, SMALL), session, codes(SMALL, 90, 2), 1.0, 5.0):
        assert figure.interval is not None
        assert all(0 <= value <= 1 for value in (figure.value, *figure.interval))


def test_the_floor_is_what_sampling_shows() -> None:
    """E|X/n - p| of a binomial, by its distribution; the mean of eight draws is within five of its deviations."""
    one = Schema("one", {"a": Categorical(categories=(0, 1))}, 400)
    drawn = np.repeat([[0], [1]], [700, 300], axis=0).astype(np.int32)
    for rows in (50, 400):
        whole = np.arange(rows + 1)
        gaps, chances = np.abs(whole / rows - 0.3), stats.binom.pmf(whole, rows, 0.3)
        mean = (gaps * chances).sum()
        deviation = math.sqrt((gaps**2 * chances).sum() - mean**2)
        session = Recording(BUDGET)
        found = by_name(fidelity.charged(locked(drawn[::7], one), session, drawn, float(rows), 1.0))
        floor = found["fidelity.tvd_1way_floor"]
        assert floor.value == pytest.approx(mean, abs=5 * deviation / math.sqrt(8))
        assert f"{rows} rows" in floor.how
    # The floor is free: it never looks at the holdout.
    other = by_name(fidelity.charged(locked(drawn[:1], one), Recording(BUDGET), drawn, 400.0, 1.0))
    assert other["fidelity.tvd_1way_floor"] == floor


# --- intervals ---------------------------------------------------------------------------------------

REPEATS, ROWS, SIGMA = 500, 300, 8.0
# 95% intervals hold in at least so many of 500 repeats, or something is wrong at 1e-6.
AT_LEAST = int(stats.binom.ppf(1e-6, REPEATS, 0.95))


def covered(real: np.ndarray, drawn: np.ndarray) -> list[int]:
    """How often the intervals of the 1- and 2-way distances hold the exact ones, rows counted with noise too."""
    box, hits = locked(real, SMALL), [0, 0]
    exact = [fidelity.mean_distance(real, drawn, SMALL, fidelity.queries(SMALL, order)) for order in (1, 2)]
    for seed in range(REPEATS):
        noise = NoiseSource(test_seed=seed)
        rows = len(real) + float(noise.discrete_gaussian(SIGMA, 1)[0])
        found = by_name(fidelity.charged(box, Recording(BUDGET, noise), drawn, rows, SIGMA))
        for order, value in enumerate(exact, start=1):
            low, high = found[f"fidelity.tvd_{order}way"].interval or (1.0, 0.0)
            hits[order - 1] += low <= value <= high
    return hits


def test_intervals_hold_for_a_good_table() -> None:
    """500 repeats; fewer than 449 hits happen with probability below 1e-6."""
    assert AT_LEAST == 449
    both = codes(SMALL, 1000, 3)
    assert min(covered(both[:ROWS], both[ROWS:])) >= AT_LEAST


def test_intervals_hold_for_a_bad_table() -> None:
    """A distance of 0.8 moves by 0.8 sigma / n with the count: the interval is too narrow by a factor of 1.3."""
    real, drawn = np.zeros((ROWS, 3), dtype=np.int32), np.zeros((1000, 3), dtype=np.int32)
    real[: int(0.8 * ROWS)] = 1
    assert min(covered(real, drawn)) >= AT_LEAST
