"""What every mechanism promises, as checks that take a mechanism: the right one passes, a broken copy does not.

A *release* is a function of a locked table and a session that runs one or more mechanisms and returns
their answers, one array a charge, in the order of the charges.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import dp_accounting
import numpy as np
import pytest
from dp_accounting import DpEvent
from hypothesis import strategies as st
from scipy import stats

from synthkit.data.encoding import Table, from_frame
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Schema, Unit
from synthkit.errors import BudgetExceeded
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.events import DiscreteGaussianDpEvent, ExponentialMechanismDpEvent
from synthkit.privacy.noise import GRID, NoiseSource
from synthkit.privacy.plan import Charge, Plan
from synthkit.privacy.session import Session
from tests.tables import frame, schema

Release = Callable[[Private[Table], Session], Sequence[np.ndarray]]

BUDGETS = [Budget(1e5, 1e-5, adjacency, unit) for adjacency in Adjacency for unit in (Unit(), Unit("person", 3))]
FALSE_ALARM = 1e-7

# --- sessions and noise ------------------------------------------------------------------------------


class Silent(NoiseSource):
    """Noise of zero on the same path.

    Attributes:
        scales: scale of every noise that was asked for, in order.
        sums: everything that left by ``gaussian``, in order.
        weights: log weights of every choice, in order.
    """

    def __init__(self) -> None:
        super().__init__(test_seed=0)
        self.scales: list[float] = []
        self.sums: list[np.ndarray] = []
        self.weights: list[np.ndarray] = []

    def normal(self, size: int) -> np.ndarray:
        return np.zeros(size)

    def discrete_gaussian(self, sigma: float, size: int) -> np.ndarray:
        self.scales.append(sigma)
        return np.zeros(size, dtype=np.int64)

    def gaussian(self, values: np.ndarray, scale: float, *, grid: float | None = None) -> np.ndarray:
        self.scales.append(scale)
        self.sums.append(super().gaussian(values, scale, grid=grid))
        return self.sums[-1]

    def choice(self, log_weights: np.ndarray) -> int:
        self.weights.append(np.array(log_weights))
        return super().choice(log_weights)


class Recording(Session):
    """Books every charge and refuses none, so that a broken copy's own charge is held against it."""

    noise: Any

    def __init__(self, budget: Budget, noise: NoiseSource | None = None) -> None:
        super().__init__(Plan(budget, dp_accounting.NoOpDpEvent()), noise=noise or Silent())
        self._left = defaultdict(lambda: math.inf)  # type: ignore[assignment]


# --- neighbours ----------------------------------------------------------------------------------------


def _pool() -> Table:
    """Rows of all kinds: ordinary, without values, outside every bound, not finite."""
    data = frame(12).astype({"age": object, "income": object, "smoker": object})
    data.loc[0, ["age", "region", "seen", "smoker"]] = None
    data.loc[1, "income"] = 1e30
    data.loc[2, ["age", "income"]] = [float("nan"), float("inf")]
    data.loc[3, ["age", "region", "income"]] = [-1e30, "atlantis", -float("inf")]
    table = from_frame(data, schema())
    # Past the encoding, which would have clamped them: a mechanism must bound these by itself.
    table.columns["income"][4:8] = [1e30, -1e30, np.inf, -np.inf]  # type: ignore[call-overload]
    table.columns["age"][8:12] = [np.nan, np.inf, -1e30, 1e30]  # type: ignore[call-overload]
    return table


POOL = _pool()
Units = list[list[int]]  # rows of the pool, by unit


def public(budget: Budget) -> Schema:
    """The shared schema, with the budget's unit."""
    return schema(unit=budget.unit if budget.unit.column else None)


def locked(units: Units, budget: Budget) -> Private[Table]:
    """The pool's rows of every unit, locked."""
    rows = np.array([row for unit in units for row in unit], dtype=np.int64)
    table = POOL.take(rows)
    if budget.unit.column is not None:
        keys = np.repeat(np.arange(len(units), dtype=np.uint64), [len(unit) for unit in units])
        table = Table(table.columns, keys, table.rows)
    return Private(table, dataset="people", schema=public(budget), bounded=True)


def _neighbour(others: Units, place: int, one: list[int], two: list[int], budget: Budget) -> tuple[Units, Units]:
    left = [*others[:place], one, *others[place:]]
    exchanged = [*others[:place], two, *others[place:]]
    return left, exchanged if budget.adjacency is Adjacency.REPLACE_ONE else others


@st.composite
def neighbours(draw: st.DrawFn, budget: Budget) -> tuple[Units, Units]:
    """Any table, the empty one included, and the same with one unit more (or exchanged)."""
    unit = st.lists(st.integers(0, POOL.rows - 1), min_size=1, max_size=budget.unit.max_rows)
    others = draw(st.lists(unit, max_size=8))
    return _neighbour(others, draw(st.integers(0, len(others))), draw(unit), draw(unit), budget)


def worst_neighbours(budget: Budget) -> list[tuple[Units, Units]]:
    """The pairs that reach the bounds: a unit's rows all alike, in an empty, a tiny and a larger table."""
    k = budget.unit.max_rows
    return [
        _neighbour(others, len(others) // 2, [row] * k, [(row + step) % POOL.rows] * k, budget)
        for others in ([], [[4]], [[row] for row in range(POOL.rows)] * 2)
        for row in range(POOL.rows)
        for step in (1, 3)
    ]


# --- the checks ----------------------------------------------------------------------------------------


def check_bounded(release: Release, budget: Budget, pair: tuple[Units, Units]) -> float:
    """The noise-free answers on neighbours are no further apart than what was charged covers.

    Returns:
        the largest share of the bound that was reached, so that a test can ask for a tight one.
    """
    (left, charged), (right, again) = (_answers(release, locked(units, budget), budget) for units in pair)
    assert charged == again, "what was charged depends on the data"
    assert len(left) == len(charged), "one charge for each answer"
    reached = 0.0
    for (charge, scale), x, y in zip(charged, left, right, strict=True):
        assert x.shape == y.shape, "the shape depends on the data"
        assert np.isfinite(x).all() and np.isfinite(y).all(), "an answer is not finite"
        reached = max(reached, _share(charge, scale, x, y, budget))
        assert reached <= 1 + 1e-9, f"{charge.mechanism} moves by {reached:.3g} times what {charge.event} covers"
    return reached


def _answers(
    release: Release, data: Private[Table], budget: Budget
) -> tuple[list[np.ndarray], list[tuple[Charge, float]]]:
    session = Recording(budget)
    answers = [np.asarray(answer, dtype=np.float64) for answer in release(data, session)]
    scales = session.noise.scales or [0.0] * len(session.trace)  # a choice has none
    return answers, list(zip(session.trace, scales, strict=True))


def _share(charge: Charge, scale: float, x: np.ndarray, y: np.ndarray, budget: Budget) -> float:
    diameter = 2 if budget.adjacency is Adjacency.REPLACE_ONE else 1
    match charge.event:
        case DiscreteGaussianDpEvent(sigma=sigma, cells=cells):
            assert sigma == scale, "the noise is not what was charged"
            moved = np.abs(x - y)
            assert np.array_equal(moved, np.rint(moved)), "counts are whole"
            return max(float(moved.max(initial=0)), float((moved > 0).sum()) / cells)
        case dp_accounting.GaussianDpEvent(noise_multiplier=z):
            radius = scale / z  # the convention of events.py
            assert charge.norm_bound == pytest.approx(radius, rel=1e-12), "the stated bound is not the charged one"
            slack = 2 * scale * GRID * math.sqrt(x.size)  # both answers are rounded to the noise's grid
            return max(0.0, float(np.linalg.norm(x - y)) - slack) / (radius * diameter)
        case ExponentialMechanismDpEvent(epsilon=epsilon):
            lost = np.abs(_log_softmax(x) - _log_softmax(y)).max()
            assert lost <= epsilon * (1 + 1e-9), "a choice's probability moves by more than exp(epsilon)"
            return float(np.abs(x - y).max() / (epsilon / 2))
    raise AssertionError(f"no check for {charge.event}")


def _log_softmax(weights: np.ndarray) -> np.ndarray:
    shifted = weights - weights.max()
    return shifted - np.log(np.exp(shifted).sum())


def forgetting(release: Release, **what: Any) -> Release:
    """The same release, priced for a budget that differs in ``what``: another unit, another adjacency."""

    def broken(data: Private[Table], session: Session) -> Sequence[np.ndarray]:
        session.plan = replace(session.plan, budget=replace(session.plan.budget, **what))
        session.check = lambda _: None  # type: ignore[method-assign]  (it would notice another unit)
        return release(data, session)

    return broken


def check_charged_first(
    release: Release, budget: Budget, planned: DpEvent, module: Any, monkeypatch: pytest.MonkeyPatch, reads: int = 0
) -> None:
    """With a plan that holds only ``planned``, the release is refused after ``reads`` looks at the rows."""
    looked: list[object] = []

    def spy(private: Private[Table]) -> Table:
        looked.append(private)
        return reveal(private)

    with monkeypatch.context() as patch:
        patch.setattr(module, "reveal", spy)
        session = Session(Plan(budget, planned), noise=Silent())
        try:
            release(locked([[0], [1], [2]], budget), session)
        except BudgetExceeded:
            pass
        else:
            raise AssertionError("ran without being in the plan")
    assert len(looked) == reads, "private rows were opened before the charge"


# --- noise ---------------------------------------------------------------------------------------------


def check_normal(samples: np.ndarray, sigma: float) -> None:
    """``samples`` are normal with deviation ``sigma`` (Kolmogorov and Smirnov)."""
    assert stats.kstest(np.asarray(samples) / sigma, "norm").pvalue > FALSE_ALARM


def check_rounded_normal(samples: np.ndarray, sigma: float) -> None:
    """``samples`` are whole, and a normal of deviation ``sigma`` was rounded (chi-square)."""
    edges = np.arange(-math.ceil(9 * sigma), math.ceil(9 * sigma) + 2) - 0.5
    _check_whole(samples, edges, np.diff(stats.norm.cdf(edges / sigma)))


def check_discrete_gaussian(samples: np.ndarray, sigma: float) -> None:
    """``samples`` are whole, with P[x] proportional to exp(-x^2 / (2 sigma^2)) (chi-square)."""
    edges = np.arange(-math.ceil(9 * sigma), math.ceil(9 * sigma) + 2) - 0.5
    whole = edges[:-1] + 0.5
    chances = np.exp(-(whole**2) / (2 * sigma**2))
    _check_whole(samples, edges, chances / chances.sum())


def check_choices(drawn: np.ndarray, chances: np.ndarray) -> None:
    """``drawn`` are indices with these ``chances`` (chi-square)."""
    counts = np.bincount(drawn, minlength=len(chances))
    assert counts.size == len(chances)
    assert stats.chisquare(counts, chances * len(drawn)).pvalue > FALSE_ALARM


def _check_whole(samples: np.ndarray, edges: np.ndarray, chances: np.ndarray) -> None:
    assert np.array_equal(samples, np.rint(samples))
    counts = np.histogram(samples, edges)[0]
    common = chances * len(samples) >= 20
    observed = np.append(counts[common], len(samples) - counts[common].sum())
    expected = np.append(chances[common], 1 - chances[common].sum()) * len(samples)
    kept = expected > 1e-9
    assert not observed[~kept].any()
    assert stats.chisquare(observed[kept], expected[kept], sum_check=False).pvalue > FALSE_ALARM


def check_scale(check: Callable[[np.ndarray, float], None], samples: np.ndarray, sigma: float) -> None:
    """``check`` accepts the declared scale and would have seen 0.7 and 1.3 times of it."""
    check(samples, sigma)
    for factor in (0.7, 1.3):
        with pytest.raises(AssertionError):
            check(samples, factor * sigma)
