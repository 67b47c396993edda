"""The table that every peer gets, and its neighbours: the bundled Adult sample, with one number per row made unique.

`weight` is the survey weight with three random decimals. No two rows share it, and it does not occur in a file
by chance: where one is found, a row was kept. Everything here is public.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthkit.data import samples
from synthkit.data.schema import Categorical, Integer

ROWS = 2001
TEXT = "planted-occupation-7f3a91c4"
AGE, WEIGHT = 104, 7654321.625  # no row of Adult comes near
KINDS = {
    "age": "integer",
    "weight": "continuous",
    "education": "categorical",
    "occupation": "categorical",
    "race": "categorical",
    "sex": "categorical",
    "hours_per_week": "integer",
    "income": "categorical",
}


@dataclass(frozen=True)
class Tables:
    """A table and its neighbours.

    Attributes:
        base: the table; its last row is the witness, whose weight nobody else has.
        ordinary: one more row, like the others.
        category: one more row, with an occupation that nobody has.
        outlier: one more row, older and heavier than everyone.
        public: the domain by column, from the published codebook: what a careful steward declares.
    """

    base: pd.DataFrame
    ordinary: pd.DataFrame
    category: pd.DataFrame
    outlier: pd.DataFrame
    public: dict[str, dict[str, Any]]


def tables(rows: int = ROWS, *, seed: int = 20) -> Tables:
    """``rows`` rows of Adult, and the three neighbours that have one row more."""
    rng = np.random.default_rng(seed)
    adult = pd.read_parquet(samples.path("adult")).dropna()
    adult = adult.iloc[rng.permutation(len(adult))[: rows + 1]].reset_index(drop=True)
    adult["weight"] = np.round(adult["fnlwgt"].astype(float) + rng.integers(1, 1000, len(adult)) / 1000, 3)
    adult = adult.astype({name: str for name, kind in KINDS.items() if kind == "categorical"})[list(KINDS)]
    assert adult["weight"].is_unique
    base, extra = adult.iloc[:rows], adult.iloc[rows:]

    def with_row(**changed: Any) -> pd.DataFrame:
        return pd.concat([base, extra.assign(**changed)], ignore_index=True)

    return Tables(
        base=base,
        ordinary=with_row(),
        category=with_row(occupation=TEXT),
        outlier=with_row(age=AGE, weight=WEIGHT),
        public=_public(),
    )


def _public() -> dict[str, dict[str, Any]]:
    schema = samples.schema("adult")
    public: dict[str, dict[str, Any]] = {}
    for name in KINDS:
        column = schema.columns["fnlwgt" if name == "weight" else name]
        if isinstance(column, Categorical):
            public[name] = {"categories": list(column.categories)}
        else:
            assert isinstance(column, Integer)
            public[name] = {"lower": column.min, "upper": column.max}
    return public


__all__ = ["AGE", "KINDS", "ROWS", "TEXT", "WEIGHT", "Tables", "tables"]
