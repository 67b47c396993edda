"""Codes in people's words: labels, middles of bins, and sentences on how two tables differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from synthkit.data.schema import Categorical, Datetime, Numeric, Schema

if TYPE_CHECKING:
    from numpy.typing import NDArray


def labels(name: str, schema: Schema) -> list[str]:
    """What the codes of a column stand for, in order."""
    column = schema.modelled[name]
    if isinstance(column, Numeric):
        shown = list(column.bin_labels())
        if isinstance(column, Datetime):  # midnight at every edge says nothing
            times = {word.partition("T")[2] for label in shown for word in label.split() if "T" in word}
            shown = [label.replace("T00:00:00", "") for label in shown] if times == {"00:00:00"} else shown
    elif isinstance(column, Categorical):
        shown = [str(label) for label in column.labels]
    else:
        shown = ["false", "true"]
    return shown + (["(no value)"] if column.nullable else [])


def middles(name: str, schema: Schema) -> NDArray[np.float64] | None:
    """The middle of each code's bin, NaN for null; None of a column that has no mean to speak of."""
    column = schema.modelled[name]
    if not isinstance(column, Numeric) or isinstance(column, Datetime):
        return None
    edges = np.asarray(column.edges, dtype=np.float64)
    shown = (edges[:-1] + edges[1:]) / 2
    return np.append(shown, np.nan) if column.nullable else shown


def percent(share: float) -> str:
    """A share for people."""
    return f"{100 * share:.1f}%" if abs(share) >= 0.001 or share == 0 else f"{100 * share:.2g}%"


def listed(names: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([*[", ".join(names[:-1])], names[-1]] if len(names) > 1 else names)


__all__ = ["labels", "listed", "middles", "percent"]
