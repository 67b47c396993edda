"""Coding of numbers: bounds are kept, groups are large enough, means stay."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from synthkit.anonymize.recoding import clamped, microaggregated
from synthkit.errors import DataError, JobError


def test_values_past_a_bound_become_it() -> None:
    ages = pd.Series(["3", "93", None, "40"], name="age")
    assert clamped(ages, low=18, high=90).tolist()[:2] == [18, 90]
    assert clamped(ages, low=18, high=90).isna().tolist() == [False, False, True, False]
    with pytest.raises(DataError, match="column 'age': 1 values are no numbers") as raised:
        clamped(pd.Series(["1", "secret"], name="age"), high=2)
    assert "secret" not in str(raised.value)
    with pytest.raises(JobError, match="above top"):
        clamped(ages, low=5, high=1)


@pytest.mark.parametrize(("rows", "k"), [(3, 3), (5, 3), (6, 3), (50, 4), (101, 5)])
def test_groups_hold_k_to_2k_minus_1_records(rows: int, k: int) -> None:
    values = np.random.default_rng(rows).normal(size=(rows, 2))
    found = microaggregated(values, k)
    sizes = Counter(map(tuple, found)).values()
    assert min(sizes) >= k
    assert max(sizes) <= 2 * k - 1
    np.testing.assert_allclose(found.mean(0), values.mean(0))


def test_near_records_share_a_group_whatever_the_unit() -> None:
    values = np.array([[0.0, 0.0], [1e6, 1.0], [1.0, 0.0], [1e6 + 1, 1.0], [0.5, 0.01], [1e6, 0.99]])
    found = microaggregated(values, 3)
    np.testing.assert_allclose(found[[0, 2, 4]], np.tile(values[[0, 2, 4]].mean(0), (3, 1)))
    np.testing.assert_allclose(found[[1, 3, 5]], np.tile(values[[1, 3, 5]].mean(0), (3, 1)))


def test_what_cannot_be_grouped_is_refused() -> None:
    with pytest.raises(JobError, match="at least 2"):
        microaggregated(np.zeros((3, 1)), 1)
    with pytest.raises(DataError, match="needs as many records; there are 2"):
        microaggregated(np.zeros((2, 1)), 3)
    with pytest.raises(DataError, match="1 records have no value"):
        microaggregated(np.array([[0.0], [np.nan], [1.0]]), 2)
