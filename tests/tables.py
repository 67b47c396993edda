"""Small public tables that tests share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from synthkit.data.constraints import Constraint, Determines, Inequality, Never, OneOf, Sum
from synthkit.data.encoding import Table, from_frame
from synthkit.data.private import Private
from synthkit.data.schema import (
    Boolean,
    Categorical,
    Column,
    Continuous,
    Datetime,
    Identifier,
    Integer,
    Quantiles,
    Schema,
    Unit,
)
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


SHAPED: dict[str, Column] = COLUMNS | {
    "age": Integer(min=0, max=99, bins=Quantiles(6), unknown="clamp", nullable=True),
    "income": Continuous(min=0, max=1e6, bins=Quantiles(16, scale="log"), unknown="clamp"),
    "balance": Continuous(min=-500, max=2000, decimals=2, bins=Quantiles(5, grid=64, scale="log", spikes=(99.99,))),
    "seen": Datetime(min="2020-01-01", max="2020-12-31", bins=Quantiles(4, spikes=("2020-07-01",)), nullable=True),
    "diagnosis": Categorical(categories=tuple(f"d{k}" for k in range(200)), rare="merge", nullable=True),
}


def shaped(*, target: str | None = "ill", unit: Unit | None = None, rows: int = 400) -> Schema:
    """As :func:`schema`, with numbers in quantiles and two hundred categories, most of them rare."""
    public = schema(target=None, unit=unit, rows=rows)
    return replace(public, columns={**public.columns, **SHAPED}, target=target)


def shaped_frame(rows: int = 400, *, seed: int = 0, people: int | None = None) -> pd.DataFrame:
    """Rows of :func:`shaped`: a heavy tail, two fifths zeros, a few categories that are frequent."""
    rng = np.random.default_rng(seed + 1)
    data = frame(rows, seed=seed, people=people)
    tail = np.minimum(rng.lognormal(9, 1.5, rows), 1e6)
    frequency = np.minimum(rng.zipf(1.6, rows), 200) - 1
    return data.assign(
        income=np.where(rng.random(rows) < 0.4, 0.0, tail),
        balance=np.where(rng.random(rows) < 0.2, 99.99, np.round(rng.normal(50, 100, rows), 2)),
        diagnosis=pd.array([None if k > 150 else f"d{k}" for k in frequency], dtype=object),
    )


RANKS = {"none": 1, "school": 4, "college": 7, "doctor": 9}
CONSTRAINED: dict[str, Column] = {
    "born": Datetime(min="2020-01-01", max="2020-12-31", bins=4),
    "admitted": Datetime(min="2020-01-01", max="2021-12-31", bins=6),
    "discharged": Datetime(min="2020-01-01", max="2022-06-30", bins=5, nullable=True),
    "inside": Integer(min=0, max=60, bins=5, unknown="clamp"),
    "outside": Integer(min=0, max=60, bins=4, unknown="clamp"),
    "total": Integer(min=0, max=100, bins=6, unknown="clamp"),
    "walk_in": Boolean(),
    "referred": Boolean(),
    "emergency": Boolean(),
    "education": Categorical(categories=tuple(RANKS)),
    "rank": Integer(min=0, max=10, bins=5),
    "sex": Categorical(categories=("f", "m")),
    "pregnant": Boolean(nullable=True),
    "age": Integer(min=0, max=99, bins=5),
    "ill": Categorical(categories=("no", "yes")),
}


def constrained(*, target: str | None = "ill", repair: bool = False, unit: Unit | None = None) -> Schema:
    """Constraints of every kind, some of which share columns."""
    columns = dict(CONSTRAINED)
    if unit is not None and unit.column is not None:
        columns = {unit.column: Identifier(), **columns}
    ties: tuple[Constraint, ...] = (
        Inequality(low="born", high="admitted", repair=repair),
        Inequality(low="admitted", high="discharged", strict=True, repair=repair),
        Sum(columns=("inside", "outside"), total="total", repair=repair),
        OneOf(columns=("walk_in", "referred", "emergency"), repair=repair),
        Determines(column="education", other="rank", map=RANKS, repair=repair),
        Never(where={"sex": "m", "pregnant": True}, repair=repair),
        Never(where={"age": (0, 11), "pregnant": True}, repair=repair),
        Never(where={"education": ("college", "doctor"), "age": (0, 15)}, repair=repair),
    )
    return Schema(
        name="visits",
        columns=columns,
        rows=400,
        unit=unit or Unit(),
        target=target,
        reviewed=True,
        constraints=ties,
    )


def constrained_frame(rows: int = 400, *, seed: int = 0) -> pd.DataFrame:
    """Rows that meet every constraint of :func:`constrained`."""
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2020-01-01")
    born, stay, more = rng.integers(0, 366, rows), rng.integers(0, 200, rows), rng.integers(1, 150, rows)
    inside, outside = rng.integers(0, 61, rows), rng.integers(0, 41, rows)
    way, age = rng.integers(0, 3, rows), rng.integers(0, 100, rows)
    education = np.where(age < 16, rng.choice(["none", "school"], rows), rng.choice(list(RANKS), rows))
    sex = rng.choice(["f", "m"], rows)
    left = pd.Series(start + pd.to_timedelta(born + stay + more, unit="D")).mask(rng.random(rows) < 0.1)
    return pd.DataFrame(
        {
            "born": start + pd.to_timedelta(born, unit="D"),
            "admitted": start + pd.to_timedelta(born + stay, unit="D"),
            "discharged": left,
            "inside": inside,
            "outside": outside,
            "total": inside + outside,
            "walk_in": way == 0,
            "referred": way == 1,
            "emergency": way == 2,
            "education": education,
            "rank": [RANKS[level] for level in education],
            "sex": sex,
            "pregnant": (sex == "f") & (age > 14) & (rng.random(rows) < 0.3),
            "age": age,
            "ill": rng.choice(["no", "yes"], rows),
        }
    )


def unmet(frame: pd.DataFrame) -> dict[str, int]:
    """How many rows break what :func:`constrained` says, in words of their own."""
    pregnant = frame["pregnant"].eq(True).fillna(False).astype(bool)
    ways = frame[["walk_in", "referred", "emergency"]].astype(bool).sum(axis=1)
    late = frame["discharged"].notna() & ~(frame["admitted"] < frame["discharged"])
    broken = {
        "order": (frame["born"] > frame["admitted"]) | late,
        "sum": frame["inside"] + frame["outside"] != frame["total"],
        "one_of": ways != 1,
        "rank": frame["education"].astype(str).map(RANKS) != frame["rank"],
        "never": pregnant & ((frame["sex"] == "m") | (frame["age"] <= 11)),
        "early": frame["education"].isin(["college", "doctor"]) & (frame["age"] <= 15),
    }
    return {name: int(rows.sum()) for name, rows in broken.items() if rows.any()}
