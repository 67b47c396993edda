"""Equivalence classes counted in a table as it leaves: what the maker says of it, and what anybody can recompute.

Nothing but the table is looked at, so that no figure rests on what the maker says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from synthkit.anonymize.hierarchies import NULL, as_text
from synthkit.anonymize.lattice import grouped
from synthkit.anonymize.models import Bools, Classes, Model
from synthkit.anonymize.recipe import Order
from synthkit.errors import DataError

Groups = NDArray[np.int64]


def groups_of(frame: pd.DataFrame, columns: Sequence[str]) -> Groups:
    """Per row the number of its class, ``(rows,)`` from 0: rows that share the text of all ``columns``."""
    codes, radices = [], []
    for name in columns:
        column, labels = pd.factorize(as_text(frame[name]))
        codes.append(column.astype(np.int32))
        radices.append(max(1, len(labels)))
    return grouped(codes, radices)[0]


def coded(values: pd.Series[Any], order: Order, *, ordered: bool) -> tuple[NDArray[np.int32], int]:
    """Codes of a sensitive column, ``(rows,)`` from 0 in the order of its values, and how many there are.

    Args:
        values: the column; null is a value of its own.
        order: of its categories; None: as numbers and moments are ordered.
        ordered: whether the order matters; without it any will do.

    Raises:
        DataError: a value that has no place in the order; says how many rows.
    """
    found: Any
    if not ordered:
        codes, found = pd.factorize(as_text(values))
        return codes.astype(np.int32), len(found)
    places: Any = values
    if order is not None:
        places = pd.Series(as_text(values)).map({label: place for place, label in enumerate(order)})
    codes, found = pd.factorize(places, sort=True)
    if lost := int((codes < 0).sum()):
        raise DataError(
            f"column {values.name!r}: {lost} rows have no value, or none of the declared ones; an order has no place for "
            "them: leave 'ordered' out, or fill them in before"
        )
    return codes.astype(np.int32), len(found)


def classes_of(
    groups: Groups, frame: pd.DataFrame, models: Iterable[Model], orders: Mapping[str, Order] | None = None
) -> Classes:
    """The classes with the counts that ``models`` ask for.

    Args:
        groups: per row its class, from 0 without gaps.
        frame: the table.
        models: whose sensitive columns are counted.
        orders: per sensitive column.
    """
    count = int(groups.max()) + 1
    size = np.bincount(groups, minlength=count).astype(np.int64)
    counts, totals = {}, {}
    for name, ordered in sensitive_of(models).items():
        codes, width = coded(frame[name], (orders or {}).get(name), ordered=ordered)
        flat = np.bincount(groups * width + codes, minlength=count * width)
        counts[name] = flat.reshape(count, width).astype(np.int64)
        totals[name] = counts[name].sum(0)
    return Classes(size, counts, totals)


def sensitive_of(models: Iterable[Model]) -> dict[str, bool]:
    """The sensitive columns that models name, and whether their values' order matters to any of them."""
    found: dict[str, bool] = {}
    for model in models:
        if model.sensitive is not None:
            found[model.sensitive] = found.get(model.sensitive, False) or bool(getattr(model, "ordered", False))
    return found


def met(classes: Classes, models: Iterable[Model]) -> Bools:
    """Which classes meet all of ``models``, ``(classes,)``."""
    holds: Bools = np.ones(len(classes.size), bool)
    for model in models:
        holds &= model.holds(classes)
    return holds


__all__ = ["NULL", "Groups", "classes_of", "coded", "groups_of", "met", "sensitive_of"]
