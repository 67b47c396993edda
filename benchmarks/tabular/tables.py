"""The tables of the comparison: where they come from, their schemas, and how they are split.

All are public and come with packages, so that no site has to be reached: Adult with synthkit, four with
scikit-learn or ISLP, one with statsmodels. Bounds are round numbers and were written with the data at
hand; they are taken as public, for every method alike. Every target has two classes, by the rule given here.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from synthkit.data import samples
from synthkit.data.encoding import discretize, from_frame
from synthkit.data.schema import Boolean, Categorical, Column, Continuous, Integer, Schema

SOURCES = ("islp==0.6.0", "statsmodels==0.15.0")  # only the files with data are read: no dependency is needed
BINS = 16
YES_NO = Categorical(categories=("No", "Yes"))


@dataclass(frozen=True)
class Split:
    """Codes of the training and the test rows, and the schema with the number of training rows."""

    schema: Schema
    train: np.ndarray
    test: np.ndarray


def split(name: str, seed: int, cache: Path) -> Split:
    """80% of the rows for training, by a permutation that the seed draws."""
    frame, schema = table(name, cache)
    order = np.random.default_rng(seed).permutation(len(frame))
    cut = int(0.8 * len(frame))
    public = schema.with_rows(cut)
    codes = discretize(from_frame(frame, public, source=name), public)
    return Split(public, codes[order[:cut]], codes[order[cut:]])


def table(name: str, cache: Path) -> tuple[pd.DataFrame, Schema]:
    """The table and its schema. The first time it is written to ``cache``, as Parquet, and read from there later."""
    if name == "adult":
        return pd.read_parquet(samples.path("adult")), samples.schema("adult")
    path = cache / "tables" / f"{name}.parquet"
    make, columns, target = TABLES[name]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        make(cache)[list(columns)].to_parquet(path, index=False)
    frame = pd.read_parquet(path)
    return frame, Schema(name, columns, len(frame), target=target, reviewed=True)


def _source(cache: Path, path: str) -> pd.DataFrame:
    """A CSV file inside one of ``SOURCES``."""
    folder = cache / "sources"
    if not (folder / path).exists():
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *SOURCES]
        subprocess.run(command, check=True)
    return pd.read_csv(folder / path)


def _default(cache: Path) -> pd.DataFrame:
    return _source(cache, "ISLP/data/Default.csv")


def _caravan(cache: Path) -> pd.DataFrame:
    return _source(cache, "ISLP/data/Caravan.csv")


def _randhie(cache: Path) -> pd.DataFrame:
    """Did the person visit a doctor in that year: mdvis above zero."""
    frame = _source(cache, "statsmodels/datasets/randhie/randhie.csv")
    flags = {name: frame[name] == 1 for name in ("idp", "hlthg", "hlthf", "hlthp")}
    return frame.assign(visited=_yes(frame["mdvis"] > 0), **flags)


def _breast_cancer(cache: Path) -> pd.DataFrame:
    from sklearn.datasets import load_breast_cancer

    frame = load_breast_cancer(as_frame=True).frame
    return frame.assign(malignant=_yes(frame["target"] == 0))


def _diabetes(cache: Path) -> pd.DataFrame:
    """Disease progression after a year: above 140 is high."""
    from sklearn.datasets import load_diabetes

    frame = load_diabetes(as_frame=True, scaled=False).frame
    return frame.assign(high=_yes(frame["target"] > 140), sex=frame["sex"] == 2)


def _digits(cache: Path) -> pd.DataFrame:
    """64 pixels as columns: is the digit one of five to nine."""
    from sklearn.datasets import load_digits

    frame = load_digits(as_frame=True).frame
    return frame.assign(upper_half=_yes(frame["target"] >= 5)).astype(dict.fromkeys(DIGITS, int))


def _yes(flags: pd.Series) -> np.ndarray:
    return np.where(flags, "Yes", "No")


def _real(low: float, high: float) -> Continuous:
    return Continuous(min=low, max=high, unknown="clamp", bins=BINS)


def _whole(low: int, high: int) -> Integer:
    return Integer(min=low, max=high, unknown="clamp", bins=BINS)


# Caravan (the CoIL 2000 challenge): shares are classes 0 to 9, contributions 0 to 9, numbers of policies 0 to 12.
_SHARES = [
    "MGODRK",
    "MGODPR",
    "MGODOV",
    "MGODGE",
    "MRELGE",
    "MRELSA",
    "MRELOV",
    "MFALLEEN",
    "MFGEKIND",
    "MFWEKIND",
    "MOPLHOOG",
    "MOPLMIDD",
    "MOPLLAAG",
    "MBERHOOG",
    "MBERZELF",
    "MBERBOER",
    "MBERMIDD",
    "MBERARBG",
    "MBERARBO",
    "MSKA",
    "MSKB1",
    "MSKB2",
    "MSKC",
    "MSKD",
    "MHHUUR",
    "MHKOOP",
    "MAUT1",
    "MAUT2",
    "MAUT0",
    "MZFONDS",
    "MZPART",
    "MINKM30",
    "MINK3045",
    "MINK4575",
    "MINK7512",
    "MINK123M",
    "MINKGEM",
]
_POLICIES = [
    "WAPART",
    "WABEDR",
    "WALAND",
    "PERSAUT",
    "BESAUT",
    "MOTSCO",
    "VRAAUT",
    "AANHANG",
    "TRACTOR",
    "WERKT",
    "BROM",
    "LEVEN",
    "PERSONG",
    "GEZONG",
    "WAOREG",
    "BRAND",
    "ZEILPL",
    "PLEZIER",
    "FIETS",
    "INBOED",
    "BYSTAND",
]
CARAVAN: Mapping[str, Column] = {
    "MOSTYPE": Categorical(categories=tuple(range(1, 42))),
    "MAANTHUI": _whole(1, 10),
    "MGEMOMV": _whole(1, 6),
    "MGEMLEEF": _whole(1, 6),
    "MOSHOOFD": Categorical(categories=tuple(range(1, 11))),
    **{name: _whole(0, 9) for name in _SHARES},
    "MKOOPKLA": _whole(1, 8),
    **{f"P{name}": _whole(0, 9) for name in _POLICIES},
    **{f"A{name}": _whole(0, 12) for name in _POLICIES},
    "Purchase": YES_NO,
}
_CELLS = {  # of a nucleus: bounds of the mean, of its standard error, of the worst
    "radius": ((5, 30), (0, 3), (5, 40)),
    "texture": ((5, 40), (0, 5), (10, 50)),
    "perimeter": ((40, 200), (0, 25), (50, 300)),
    "area": ((100, 2500), (0, 500), (100, 4000)),
    "smoothness": ((0.05, 0.2), (0, 0.03), (0.05, 0.25)),
    "compactness": ((0, 0.4), (0, 0.15), (0, 1)),
    "concavity": ((0, 0.5), (0, 0.4), (0, 1.2)),
    "concave points": ((0, 0.2), (0, 0.05), (0, 0.3)),
    "symmetry": ((0.1, 0.3), (0, 0.08), (0.15, 0.7)),
    "fractal dimension": ((0.05, 0.1), (0, 0.03), (0.05, 0.2)),
}
BREAST_CANCER: Mapping[str, Column] = {
    **{f"mean {name}": _real(*bounds[0]) for name, bounds in _CELLS.items()},
    **{f"{name} error": _real(*bounds[1]) for name, bounds in _CELLS.items()},
    **{f"worst {name}": _real(*bounds[2]) for name, bounds in _CELLS.items()},
    "malignant": YES_NO,
}
DIGITS = tuple(f"pixel_{row}_{column}" for row in range(8) for column in range(8))

TABLES: Mapping[str, tuple[Callable[[Path], pd.DataFrame], Mapping[str, Column], str]] = {
    "default": (
        _default,
        {"student": YES_NO, "balance": _real(0, 3000), "income": _real(0, 80_000), "default": YES_NO},
        "default",
    ),
    "breast_cancer": (_breast_cancer, BREAST_CANCER, "malignant"),
    "diabetes": (
        _diabetes,
        {
            "age": _whole(18, 80),
            "sex": Boolean(),
            "bmi": _real(15, 45),
            "bp": _real(60, 140),
            "s1": _real(80, 320),
            "s2": _real(40, 250),
            "s3": _real(20, 100),
            "s4": _real(0, 10),
            "s5": _real(3, 6.5),
            "s6": _real(50, 130),
            "high": YES_NO,
        },
        "high",
    ),
    "randhie": (
        _randhie,
        {
            "lncoins": _real(0, 5),
            "idp": Boolean(),
            "lpi": _real(0, 8),
            "fmde": _real(0, 9),
            "physlm": _real(0, 1),
            "disea": _real(0, 60),
            "hlthg": Boolean(),
            "hlthf": Boolean(),
            "hlthp": Boolean(),
            "visited": YES_NO,
        },
        "visited",
    ),
    "digits": (_digits, {**{name: _whole(0, 16) for name in DIGITS}, "upper_half": YES_NO}, "upper_half"),
    "caravan": (_caravan, CARAVAN, "Purchase"),
}
NAMES = ("adult", *TABLES)

__all__ = ["BINS", "NAMES", "SOURCES", "TABLES", "Split", "split", "table"]
