"""Each model and each risk equals its definition, counted in plain Python."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from synthkit.anonymize.models import (
    AlphaK,
    Classes,
    DeltaDisclosure,
    DistinctL,
    EntropyL,
    KAnonymity,
    RecursiveL,
    TCloseness,
    risks,
)
from synthkit.errors import JobError

VALUES = 4
Rows = list[tuple[int, int]]  # class, sensitive value


def table(seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    rows, groups = int(rng.integers(4, 40)), int(rng.integers(1, 5))
    return [(int(rng.integers(groups)), int(rng.integers(VALUES))) for _ in range(rows)]


def grouped(rows: Rows) -> list[Counter[int]]:
    groups: dict[int, Counter[int]] = defaultdict(Counter)
    for group, value in rows:
        groups[group][value] += 1
    return list(groups.values())


def classes(rows: Rows) -> Classes:
    counts = np.array([[group[v] for v in range(VALUES)] for group in grouped(rows)], np.int64)
    return Classes(counts.sum(1), {"s": counts}, {"s": counts.sum(0)})


def emd_ordered(group: Counter[int], whole: Counter[int]) -> float:
    n, m = group.total(), whole.total()
    moved, carried = 0.0, 0.0
    for value in range(VALUES):
        carried += group[value] / n - whole[value] / m
        moved += abs(carried)
    return moved / (VALUES - 1)


def recursive(group: Counter[int], l: int) -> float:  # noqa: E741
    counts = sorted(group.values(), reverse=True)
    return counts[0] / sum(counts[l - 1 :]) if len(counts) >= l else math.inf


def disclosure(group: Counter[int], whole: Counter[int]) -> float:
    n, m = group.total(), whole.total()
    return max(abs(math.log(group[v] / n / (whole[v] / m))) if group[v] else math.inf for v in whole)


@pytest.mark.parametrize("seed", range(50))
def test_equal_to_the_definitions(seed: int) -> None:
    rows = table(seed)
    found, groups, whole = classes(rows), grouped(rows), Counter(v for _, v in rows)
    size = [g.total() for g in groups]
    share = [[g[v] / g.total() for v in range(VALUES)] for g in groups]
    total = [whole[v] / whole.total() for v in range(VALUES)]
    expected = {
        KAnonymity(k=3): (size, lambda x: x >= 3),
        AlphaK(sensitive="s", alpha=0.5): ([max(p) for p in share], lambda x: x <= 0.5 + 1e-9),
        DistinctL(sensitive="s", l=2): ([len(g) for g in groups], lambda x: x >= 2),
        EntropyL(sensitive="s", l=2): (
            [math.exp(-sum(p * math.log(p) for p in ps if p)) for ps in share],
            lambda x: x >= 2 - 1e-9,
        ),
        RecursiveL(sensitive="s", l=2, c=1.5): ([recursive(g, 2) for g in groups], lambda x: x < 1.5),
        TCloseness(sensitive="s", t=0.3): (
            [sum(abs(p - q) for p, q in zip(ps, total, strict=True)) / 2 for ps in share],
            lambda x: x <= 0.3 + 1e-9,
        ),
        TCloseness(sensitive="s", t=0.2, ordered=True): (
            [emd_ordered(g, whole) for g in groups],
            lambda x: x <= 0.2 + 1e-9,
        ),
        DeltaDisclosure(sensitive="s", delta=1.0): ([disclosure(g, whole) for g in groups], lambda x: x < 1.0),
    }
    for model, (figures, holds) in expected.items():
        np.testing.assert_allclose(model.measure(found), figures, rtol=1e-12, atol=1e-12, err_msg=model.name)
        assert model.holds(found).tolist() == [holds(x) for x in figures], model.name
        assert not (model.holds(found) & (found.size < model.least_size)).any(), model.name


def test_k_of_alpha_k_counts_too() -> None:
    found = Classes(np.array([2]), {"s": np.array([[1, 1]])}, {"s": np.array([1, 1])})
    assert AlphaK(sensitive="s", alpha=0.5, k=2).holds(found).all()
    assert not AlphaK(sensitive="s", alpha=0.5, k=3).holds(found).any()


@pytest.mark.parametrize("seed", range(10))
def test_risks_equal_a_count_over_records(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 8, 6)
    population = size + rng.integers(0, 20, 6)
    found = risks(size, threshold=0.2, population=population)
    prosecutor = [1 / int(n) for n in size for _ in range(n)]
    journalist = [1 / int(p) for n, p in zip(size, population, strict=True) for _ in range(n)]
    for name, each in (("prosecutor", prosecutor), ("journalist", journalist)):
        risk = found[name]
        assert not isinstance(risk, float)
        assert risk.highest == max(each)
        assert risk.average == pytest.approx(sum(each) / len(each))
        assert risk.above == pytest.approx(sum(x > 0.2 + 1e-9 for x in each) / len(each))
    assert found["marketer"] == pytest.approx(sum(journalist) / len(journalist))
    alone = risks(size, threshold=0.2)
    assert alone["journalist"] == alone["prosecutor"]


def test_a_population_that_cannot_hold_the_table_is_refused() -> None:
    with pytest.raises(JobError, match="cannot hold it"):
        risks(np.array([3]), threshold=0.2, population=np.array([2]))


def test_settings_out_of_range_are_refused() -> None:
    for build in (
        lambda: KAnonymity(k=0),
        lambda: AlphaK(sensitive="s", alpha=0),
        lambda: EntropyL(sensitive="s", l=0.5),
        lambda: RecursiveL(sensitive="s", l=1, c=1),
        lambda: TCloseness(sensitive="s", t=1.5),
        lambda: DeltaDisclosure(sensitive="s", delta=0),
    ):
        with pytest.raises(JobError, match="must be"):
            build()
