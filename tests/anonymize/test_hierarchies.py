"""Hierarchies say what each value becomes, nest, and let no unknown value through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthkit.anonymize import hierarchies
from synthkit.anonymize.hierarchies import Hierarchy
from synthkit.errors import DataError, JobError


def shown(hierarchy: Hierarchy, values: pd.Series, level: int) -> list[str]:  # type: ignore[type-arg]
    return [hierarchy.labels[level][code] for code in hierarchy.maps[level][hierarchy.encode(values)]]


def test_intervals_nest_and_end_in_one_label() -> None:
    ages = pd.Series([17, 23, 90, 23])
    found = hierarchies.intervals("age", ages, 0, 99, [5, 20])
    assert shown(found, ages, 0) == ["17", "23", "90", "23"]
    assert shown(found, ages, 1) == ["[15, 20)", "[20, 25)", "[90, 95)", "[20, 25)"]
    assert shown(found, ages, 2) == ["[0, 20)", "[20, 40)", "[80, 100)", "[20, 40)"]
    assert shown(found, ages, 3) == ["*"] * 4


def test_prefixes_star_what_they_hide() -> None:
    codes = pd.Series(["53711", "53703", "02138"])
    found = hierarchies.prefix("zip", codes, [3, 1])
    assert shown(found, codes, 1) == ["537**", "537**", "021**"]
    assert shown(found, codes, 2) == ["5****", "5****", "0****"]


def test_dates_from_text_and_from_timestamps() -> None:
    text = pd.Series(["2024-03-31", "2024-04-01"])
    for values in (text, pd.to_datetime(text)):
        found = hierarchies.dates("born", values, ["quarter", "decade"])
        assert shown(found, values, 0) == list(text)
        assert shown(found, values, 1) == ["2024-Q1", "2024-Q2"]
        assert shown(found, values, 2) == ["2020s", "2020s"]


def test_a_tree_and_its_arx_file_are_one(tmp_path: Path) -> None:
    jobs = pd.Series(["nurse", "smith", "doctor"])
    as_tree = hierarchies.tree("job", jobs, {"care": ["nurse", "doctor"], "craft": ["smith", "baker"]})
    file = tmp_path / "job.csv"
    file.write_text("nurse;care;*\ndoctor;care;*\nsmith;craft;*\nbaker;craft;*\n", encoding="utf-8")
    from_file = hierarchies.from_csv("job", jobs, file)
    assert as_tree.labels == from_file.labels
    assert all(np.array_equal(a, b) for a, b in zip(as_tree.maps, from_file.maps, strict=True))
    assert shown(as_tree, jobs, 1) == ["care", "craft", "care"]


def test_null_stays_null_up_to_the_last_level() -> None:
    ages = pd.Series([30.0, None, 35.0])
    found = hierarchies.intervals("age", ages, 0, 99, [10])
    assert shown(found, ages, 0) == ["30", "", "35"]
    assert shown(found, ages, 1) == ["[30, 40)", "", "[30, 40)"]
    assert shown(found, ages, 2) == ["*"] * 3


@pytest.mark.parametrize(
    ("values", "build"),
    [
        ([120, 130, 5], lambda v: hierarchies.intervals("c", v, 0, 99, [10])),
        (["a", "b", "5"], lambda v: hierarchies.intervals("c", v, 0, 99, [10])),
        (["a", "b", "2024-01-01"], lambda v: hierarchies.dates("c", v, ["year"])),
        (["a", "b", "x"], lambda v: hierarchies.tree("c", v, {"t": ["x"]})),
    ],
)
def test_a_missed_value_is_counted_and_not_shown(values: list[object], build) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=r"column 'c': its hierarchy misses 2 values in 2 rows") as raised:
        build(pd.Series(values))
    assert str(values[0]) not in str(raised.value).split("misses 2 values in 2 rows")[1]


def test_new_rows_with_unknown_values_are_refused() -> None:
    found = hierarchies.identity("c", pd.Series(["a", "b"]))
    with pytest.raises(DataError, match="misses 1 value in 2 rows"):
        found.encode(pd.Series(["a", "z", "z"]))


def test_what_does_not_nest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="no multiple"):
        hierarchies.intervals("c", pd.Series([1]), 0, 9, [2, 3])
    with pytest.raises(JobError, match="go down"):
        hierarchies.prefix("c", pd.Series(["a"]), [1, 2])
    with pytest.raises(JobError, match="in this order"):
        hierarchies.dates("c", pd.Series(["2024-01-01"]), ["year", "month"])
    file = tmp_path / "h.csv"
    file.write_text("a;x;1\nb;x;2\n", encoding="utf-8")
    with pytest.raises(JobError, match="level 2 parts values that level 1 joins"):
        hierarchies.from_csv("c", pd.Series(["a", "b"]), file)
    file.write_text("a;x\nb\n", encoding="utf-8")
    with pytest.raises(JobError, match="same number of fields"):
        hierarchies.from_csv("c", pd.Series(["a", "b"]), file)
