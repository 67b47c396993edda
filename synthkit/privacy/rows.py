"""Two steps before any mechanism: bound what one unit contributes, and set a holdout aside.

Both are stable: adding or removing one unit adds or removes rows of that unit alone. Choices are
made by random numbers that look neither at values nor at how many other units there are.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from synthkit.data.encoding import Table
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Schema
from synthkit.privacy.noise import NoiseSource

if TYPE_CHECKING:
    from numpy.typing import NDArray

R = TypeVar("R", Table, Images)  # rows: of a table, or images
S = TypeVar("S", Schema, ImageSchema)


def bound_contributions(data: Private[R, S], noise: NoiseSource) -> Private[R, S]:
    """At most ``unit.max_rows`` rows (images, say) of every unit, chosen by lot.

    Returns the same box where every row is a unit of its own.
    """
    table, schema = reveal(data), data.schema
    if table.units is None:
        return data
    lots = noise.words(table.rows)
    order = np.lexsort((lots, table.units))
    units = table.units[order]
    starts = np.flatnonzero(np.r_[True, units[1:] != units[:-1]]) if table.rows else np.zeros(0, dtype=np.int64)
    rank = np.arange(table.rows) - np.repeat(starts, np.diff(np.r_[starts, table.rows]))
    kept = np.zeros(table.rows, dtype=bool)
    kept[order[rank < schema.unit.max_rows]] = True
    return Private(table.take(kept), dataset=data.dataset, schema=schema, bounded=True)


def split(data: Private[R, S], holdout: float, noise: NoiseSource) -> tuple[Private[R, S], Private[R, S]]:
    """Assign every unit to training or holdout by a coin of its own.

    Under replace-one a unit's rows are exchanged and its identifier (its place, where a unit is a
    row) stays: so does its coin, and the change touches one part alone.

    The row counts of both schemas are shares of the public count, not of the real one.

    Args:
        data: all rows.
        holdout: probability of the holdout, in (0, 1).
        noise: where the coins come from.

    Returns:
        (training, holdout).
    """
    table, schema = reveal(data), data.schema
    if table.units is None:
        held = noise.coins(table.rows, holdout)
    else:
        held = _keyed_coins(table.units, holdout, noise)
    rows = round(schema.rows * holdout)
    return (
        Private(
            table.take(~held),
            dataset=data.dataset,
            schema=schema.with_rows(schema.rows - rows),
            bounded=data.bounded,
        ),
        Private(table.take(held), dataset=data.dataset, schema=schema.with_rows(rows), bounded=data.bounded),
    )


def _keyed_coins(units: NDArray[np.uint64], probability: float, noise: NoiseSource) -> NDArray[np.bool_]:
    # A keyed hash of the unit's key: one coin a unit, whoever else is there.
    secret = noise.words(4).tobytes()
    threshold = int(probability * 2.0**64)
    distinct, index = np.unique(units, return_inverse=True)
    coins = [
        int.from_bytes(blake2b(unit.tobytes(), key=secret, digest_size=8).digest(), "big") < threshold
        for unit in distinct
    ]
    return np.array(coins, dtype=bool)[index]


__all__ = ["bound_contributions", "split"]
