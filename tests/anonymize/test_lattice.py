"""The search finds what trying every node, row by row in plain Python, finds."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthkit.anonymize import hierarchies
from synthkit.anonymize.hierarchies import Hierarchy
from synthkit.anonymize.lattice import LOSSES, Solution, search
from synthkit.anonymize.models import DistinctL, KAnonymity, Model, TCloseness
from synthkit.errors import JobError

HEIGHTS = {"age": 3, "zip": 3, "job": 2}


def people(seed: int, rows: int = 60) -> tuple[pd.DataFrame, dict[str, Hierarchy]]:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(20, 60, rows),
            "zip": rng.choice(["11", "12", "21", "22", "31"], rows),
            "job": rng.choice(["a", "b", "c", "d"], rows, p=[0.5, 0.3, 0.1, 0.1]),
            "ill": rng.integers(0, 3, rows),
        }
    )
    return frame, {
        "age": hierarchies.intervals("age", frame["age"], 20, 60, [10, 20]),
        "zip": hierarchies.prefix("zip", frame["zip"], [1]),
        "job": hierarchies.tree("job", frame["job"], {"x": ["a", "b"], "y": ["c", "d"]}),
    }


def solved(frame: pd.DataFrame, found: dict[str, Hierarchy], models: list[Model], **settings: object) -> Solution:
    codes = {name: hierarchy.encode(frame[name]) for name, hierarchy in found.items()}
    sensitive = {"ill": frame["ill"].to_numpy(np.int32)}
    return search(codes, found, models, sensitive=sensitive, **settings)  # type: ignore[arg-type]


def labels(frame: pd.DataFrame, found: dict[str, Hierarchy], levels: dict[str, int]) -> list[tuple[str, ...]]:
    columns = [
        [h.labels[levels[name]][code] for code in h.maps[levels[name]][h.encode(frame[name])]]
        for name, h in found.items()
    ]
    return list(zip(*columns, strict=True))


def holds(inside: list[int], whole: Counter[int], k: int, l: int, t: float) -> bool:  # noqa: E741
    counts = Counter(inside)
    far = sum(abs(counts[v] / len(inside) - whole[v] / whole.total()) for v in whole) / 2
    return len(inside) >= k and len(counts) >= l and far <= t + 1e-9


def brute(
    frame: pd.DataFrame,
    found: dict[str, Hierarchy],
    k: int,
    l: int,  # noqa: E741
    t: float,
    limit: int,
    loss: str,
) -> dict[tuple[int, ...], float]:
    """The loss of each node that will do."""
    n, width = len(frame), len(found)
    ill = frame["ill"].tolist()
    raw = labels(frame, found, dict.fromkeys(found, 0))
    before = [Counter(row[j] for row in raw) for j in range(width)]
    losses = {}
    for node in itertools.product(*(range(h.height + 1) for h in found.values())):
        rows = labels(frame, found, dict(zip(found, node, strict=True)))
        members: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            members[row].append(number)
        good, before_that = list(members.values()), -1
        while len(good) != before_that:  # those that are left are the table that others are held against
            before_that, whole = len(good), Counter(ill[i] for numbers in good for i in numbers)
            good = [numbers for numbers in good if holds([ill[i] for i in numbers], whole, k, l, t)]
        gone = n - sum(map(len, good))
        if gone > limit or not good:
            continue
        kept = [i for numbers in good for i in numbers]
        if loss == "precision":
            level = sum(lv / h.height for lv, h in zip(node, found.values(), strict=True)) / width
            losses[node] = (level * len(kept) + gone) / n
        elif loss == "discernibility":
            losses[node] = (sum(len(g) ** 2 for g in good) + gone * n) / n**2
        elif loss == "average-class-size":
            losses[node] = n / (len(good) + (1 if gone else 0))
        else:
            after = [Counter(row[j] for row in rows) for j in range(width)]
            keeping = set(kept)
            lost = all_of_it = 0.0
            for i, j in itertools.product(range(n), range(width)):
                total = math.log2(n / before[j][raw[i][j]])
                all_of_it += total
                lost += math.log2(after[j][rows[i][j]] / before[j][raw[i][j]]) if i in keeping else total
            losses[node] = lost / all_of_it
    return losses


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("seed", range(4))
def test_the_optimum_is_that_of_brute_force(seed: int, loss: str) -> None:
    frame, found = people(seed)
    for k, l, t, share in ((3, 1, 1.0, 0.1), (2, 2, 0.4, 0.2), (4, 1, 1.0, 0.0)):  # noqa: E741
        models: list[Model] = [KAnonymity(k=k), DistinctL(sensitive="ill", l=l), TCloseness(sensitive="ill", t=t)]
        expected = brute(frame, found, k, l, t, int(share * len(frame)), loss)
        got = solved(frame, found, models, suppression=share, loss=loss)
        assert got.optimal
        assert got.loss == pytest.approx(min(expected.values()), abs=1e-9)
        assert expected[tuple(got.levels[name] for name in found)] == pytest.approx(got.loss, abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("levels", [{"age": (1, 2)}, {"zip": (1, 1), "job": (0, 0)}, {"age": (0, 1), "zip": (0, 2)}])
def test_within_levels_the_optimum_is_that_of_brute_force(levels: dict[str, tuple[int, int]], loss: str) -> None:
    frame, found = people(2)
    share = 0.3
    expected = {
        node: lost
        for node, lost in brute(frame, found, 3, 1, 1.0, int(share * len(frame)), loss).items()
        if all(levels.get(name, (0, 9))[0] <= level <= levels.get(name, (0, 9))[1] for name, level in zip(found, node, strict=True))
    }  # fmt: skip
    for width in (10**9, 1):
        got = solved(frame, found, [KAnonymity(k=3)], suppression=share, loss=loss, levels=levels, max_nodes=width)
        node = tuple(got.levels[name] for name in found)
        assert expected[node] == pytest.approx(got.loss, abs=1e-9)
        assert got.nodes == math.prod(
            levels.get(name, (0, one.height))[1] - levels.get(name, (0, 0))[0] + 1 for name, one in found.items()
        )
        rows = labels(frame, found, got.levels)
        assert sorted(Counter(row for row, kept in zip(rows, got.kept, strict=True) if kept).values()) == sorted(
            got.classes.size.tolist()
        )
        if width > 1:
            assert got.loss == pytest.approx(min(expected.values()), abs=1e-9)


def test_levels_that_cannot_be_had_are_refused_and_say_what_would_help() -> None:
    frame, found = people(0)
    with pytest.raises(JobError, match=r"or let age, zip go higher \('levels'\)"):
        solved(frame, found, [KAnonymity(k=30)], levels={"age": (0, 1), "zip": (0, 0)})
    with pytest.raises(JobError, match="column 'age': levels 2 to 9 are not within 0 to 3"):
        solved(frame, found, [KAnonymity(k=2)], levels={"age": (2, 9)})


@pytest.mark.parametrize("loss", LOSSES)
def test_the_beam_is_near_the_optimum(loss: str) -> None:
    """On eight quasi-identifiers that depend on each other, at most 2% above it. A beam of 8 missed it by half at times."""
    rng = np.random.default_rng(5)
    base = rng.normal(size=600)
    frame = pd.DataFrame(
        {f"c{j}": np.clip(base * 2 + rng.normal(size=600) * (1 + j) + 6, 0, 11).round() for j in range(8)}
    )
    found = {name: hierarchies.intervals(name, frame[name], 0, 11, [3]) for name in frame}
    codes = {name: hierarchy.encode(frame[name]) for name, hierarchy in found.items()}
    for k, share in ((3, 0.1), (10, 0.02), (5, 0.0)):
        settings: dict[str, Any] = {"suppression": share, "loss": loss}
        exact = search(codes, found, [KAnonymity(k=k)], **settings)
        beam = search(codes, found, [KAnonymity(k=k)], max_nodes=1, **settings)
        assert exact.optimal and not beam.optimal
        assert exact.loss - 1e-9 <= beam.loss <= 1.02 * exact.loss, (k, share)


@pytest.mark.parametrize("seed", range(5))
def test_kept_rows_form_the_classes_that_are_told(seed: int) -> None:
    frame, found = people(seed, 100)
    got = solved(frame, found, [KAnonymity(k=4)], suppression=0.1)
    rows = labels(frame, found, got.levels)
    sizes = Counter(row for row, kept in zip(rows, got.kept, strict=True) if kept)
    assert sorted(sizes.values()) == sorted(got.classes.size.tolist())
    assert min(sizes.values()) >= 4
    assert (~got.kept).sum() <= 10
    assert not {row for row, kept in zip(rows, got.kept, strict=True) if not kept} & set(sizes)


def test_rows_are_counted_once_and_branches_are_cut() -> None:
    frame, found = people(0, 200)
    got = solved(frame, found, [KAnonymity(k=5)], suppression=0.05)
    assert got.nodes == 4 * 3 * 3
    assert got.counted < 2 * got.nodes


def test_a_beam_says_that_it_is_one_and_meets_the_models() -> None:
    frame, found = people(1, 100)
    exact = solved(frame, found, [KAnonymity(k=3)], suppression=0.05)
    got = solved(frame, found, [KAnonymity(k=3)], suppression=0.05, max_nodes=5)
    assert not got.optimal
    assert got.classes.size.min() >= 3
    assert got.loss >= exact.loss


def test_wide_data_of_more_nodes_than_a_key_can_hold() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"c{i}": rng.integers(0, 100, 300) for i in range(20)})
    found = {name: hierarchies.identity(name, frame[name]) for name in frame}
    codes = {name: hierarchy.encode(frame[name]) for name, hierarchy in found.items()}
    got = search(codes, found, [KAnonymity(k=2)], suppression=0.2)
    assert (got.nodes, got.optimal) == (2**20, False)
    shown = [tuple(row) for row in frame[[name for name, level in got.levels.items() if level == 0]].to_numpy()]
    sizes = Counter(row for row, kept in zip(shown, got.kept, strict=True) if kept)
    assert min(sizes.values()) >= 2
    assert sum(got.levels.values()) < 20


def test_classes_are_those_of_the_rows_where_keys_are_hashed() -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({f"c{i}": rng.integers(0, 12, 400) for i in range(6)})
    found = {name: hierarchies.intervals(name, frame[name], 0, 11, [3, 6]) for name in frame}
    codes = {name: hierarchy.encode(frame[name]) for name, hierarchy in found.items()}
    got = search(codes, found, [KAnonymity(k=3)], suppression=0.3, loss="entropy")
    rows = labels(frame, found, got.levels)
    sizes = Counter(rows)
    assert got.kept.tolist() == [sizes[row] >= 3 for row in rows]


def test_infeasible_k_says_the_nearest() -> None:
    frame = pd.DataFrame({"sex": ["f"] * 7 + ["m"] * 3})
    plain = Hierarchy("sex", (("f", "m"),), (np.arange(2, dtype=np.int32),))
    codes = {"sex": plain.encode(frame["sex"])}
    with pytest.raises(JobError, match=r"nearest k that can be had is 3,"):
        search(codes, {"sex": plain}, [KAnonymity(k=5)])
    with pytest.raises(JobError, match=r"nearest k that can be had is 7, with 3 of 10"):
        search(codes, {"sex": plain}, [KAnonymity(k=8)], suppression=0.3)
    assert search(codes, {"sex": plain}, [KAnonymity(k=7)], suppression=0.3).kept.sum() == 7
    assert search(codes, {"sex": plain}, [KAnonymity(k=3)]).kept.all()


def test_other_models_that_fail_are_named() -> None:
    frame, found = people(0)
    with pytest.raises(JobError, match=r"no levels meet k-anonymity, distinct l-diversity .* k = 60"):
        solved(frame, found, [KAnonymity(k=2), DistinctL(sensitive="ill", l=4)])


def test_suppressing_everything_is_no_solution() -> None:
    one = hierarchies.identity("c", pd.Series(["a"]))
    with pytest.raises(JobError, match="nearest k that can be had is 1,"):
        search({"c": np.zeros(1, np.int32)}, {"c": one}, [KAnonymity(k=2)], suppression=0.99)
