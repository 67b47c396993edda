"""Numbers made less telling one by one (top- and bottom-coding), or in groups (microaggregation).

MDAV: Domingo-Ferrer, Torra 2005, Algorithm 1: maximum distance to the average vector, groups of k to 2k - 1 records.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synthkit.errors import DataError, JobError

Floats = NDArray[np.float64]


def clamped(values: pd.Series[Any], *, low: float | None = None, high: float | None = None) -> pd.Series[Any]:
    """Values below ``low`` as ``low``, above ``high`` as ``high``: "90" then means 90 or more. Null stays null.

    Raises:
        JobError: ``low`` above ``high``.
        DataError: values that are no number.
    """
    if low is not None and high is not None and low > high:
        raise JobError(f"column {values.name!r}: bottom {low:g} is above top {high:g}")
    return numbers(values).clip(low, high)


def numbers(values: pd.Series[Any]) -> pd.Series[Any]:
    """``values`` as numbers.

    Raises:
        DataError: some are none; says how many.
    """
    read: pd.Series[Any] = pd.to_numeric(values, errors="coerce")
    if wrong := int((read.isna() & values.notna()).sum()):
        raise DataError(f"column {values.name!r}: {wrong} values are no numbers; correct them, or leave the coding out")
    return read


def microaggregated(values: Floats, k: int) -> Floats:
    """Each record replaced by the mean of a group of at least ``k`` records near to it.

    Args:
        values: ``(rows, columns)``, finite. Distances are taken after each column is standardised.
        k: at least 2. Time grows with rows squared over k.

    Returns:
        ``(rows, columns)``; column means are kept.

    Raises:
        JobError: ``k`` below 2.
        DataError: fewer than ``k`` records, or values that are not finite.
    """
    if k < 2:
        raise JobError(f"microaggregation needs groups of at least 2 records, got {k}")
    if len(values) < k:
        raise DataError(f"microaggregation in groups of {k} needs as many records; there are {len(values)}")
    if wrong := int((~np.isfinite(values)).any(1).sum()):
        raise DataError(f"microaggregation: {wrong} records have no value, or none that is finite; fill them in before")
    spread = values.std(0)
    scaled = (values - values.mean(0)) / np.where(spread > 0, spread, 1.0)
    result = np.empty_like(values, dtype=np.float64)
    for group in _mdav(scaled, k):
        result[group] = values[group].mean(0)
    return result


def _mdav(points: Floats, k: int) -> list[NDArray[np.int64]]:
    left = np.arange(len(points))
    groups = []

    def take(center: Floats) -> None:
        nonlocal left
        distance = _distances(points[left], center)
        chosen = np.argsort(distance, kind="stable")[:k]
        groups.append(left[chosen])
        left = np.delete(left, chosen)

    while len(left) >= 3 * k:  # a group around the farthest record, and one around the farthest from that
        farthest = points[left[np.argmax(_distances(points[left], points[left].mean(0)))]]
        opposite = points[left[np.argmax(_distances(points[left], farthest))]]
        take(farthest)
        take(opposite)
    if len(left) >= 2 * k:
        take(points[left[np.argmax(_distances(points[left], points[left].mean(0)))]])
    return [*groups, left]


def _distances(points: Floats, center: Floats) -> Floats:
    distances: Floats = ((points - center) ** 2).sum(1)
    return distances


__all__ = ["clamped", "microaggregated", "numbers"]
