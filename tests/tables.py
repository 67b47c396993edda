"""Small public tables that tests share."""

from __future__ import annotations

import numpy as np
import pandas as pd

from synthkit.data.encoding import Table, from_frame
from synthkit.data.private import Private
from synthkit.data.schema import Boolean, Categorical, Column, Continuous, Datetime, Identifier, Integer, Schema, Unit
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.rows import bound_contributions

COLUMNS: dict[str, Column] = {
    "age": Integer(min=0, max=99, bins=5, unknown="clamp", nullable=True),
    "sex": Categorical(categories=("f", "m")),
    "region": Categorical(categories=("north", "south", "east"), nullable=True, unknown="other"),
    "income": Continuous(min=0, max=1000, decimals=1, bins=4, unknown="clamp"),
    "seen": Datetime(min="2020-01-01", max="2020-12-31", bins=3, nullable=True),
    "smoker": Boolean(nullable=True),
    "ill": Categorical(categories=("no", "yes")),
}


def schema(*, target: str | None = "ill", unit: Unit | None = None, rows: int = 400) -> Schema:
    """Every kind of column; with a unit, a person identifier in front."""
    columns = dict(COLUMNS)
    if unit is not None and unit.column is not None:
        columns = {unit.column: Identifier(), **columns}
    return Schema(name="people", columns=columns, rows=rows, unit=unit or Unit(), target=target, reviewed=True)


def frame(rows: int = 400, *, seed: int = 0, people: int | None = None) -> pd.DataFrame:
    """Rows with a strong dependence of ``ill`` on ``smoker`` and ``age``."""
    rng = np.random.default_rng(seed)
    age = rng.integers(0, 100, rows)
    smoker = rng.random(rows) < 0.3
    ill = rng.random(rows) < 0.1 + 0.5 * smoker + 0.003 * age
    data = {
        "age": pd.array(np.where(rng.random(rows) < 0.05, None, age), dtype="Int64"),
        "sex": rng.choice(["f", "m"], rows),
        "region": rng.choice(np.array(["north", "south", "east", None], dtype=object), rows),
        "income": np.round(rng.gamma(2, 100, rows), 1),
        "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 366, rows), unit="D"),
        "smoker": smoker,
        "ill": np.where(ill, "yes", "no"),
    }
    if people is not None:
        return pd.DataFrame({"person": rng.integers(0, people, rows), **data})
    return pd.DataFrame(data)


def private(data: pd.DataFrame, public: Schema) -> Private[Table]:
    """Locked rows, every unit's number of them bounded."""
    box = Private(from_frame(data, public), dataset="people", schema=public)
    return bound_contributions(box, NoiseSource(test_seed=0))
