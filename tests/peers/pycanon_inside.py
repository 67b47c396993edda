"""Runs in pycanon's environment: what it measures of each table in a folder, as one line of JSON."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from pycanon import anonymity

QUASI = ["age", "zip", "job"]


def figure(value: object) -> float:
    return float(np.asarray(value).max()) if isinstance(value, list) else float(value)  # type: ignore[arg-type]


def measures(path: Path) -> dict[str, float]:
    frame = pd.read_csv(path, dtype=str)
    numbers = frame.assign(ill=frame["ill"].astype(int))
    return {
        "k": figure(anonymity.k_anonymity(frame, QUASI)),
        "alpha": figure(anonymity.alpha_k_anonymity(frame, QUASI, ["ill"])[0]),
        "distinct_l": figure(anonymity.l_diversity(frame, QUASI, ["ill"])),
        "entropy_l": figure(anonymity.entropy_l_diversity(frame, QUASI, ["ill"])),
        "t_categorical": figure(anonymity.t_closeness(frame, QUASI, ["ill"])),
        "t_ordered": figure(anonymity.t_closeness(numbers, QUASI, ["ill"])),
        "delta": figure(anonymity.delta_disclosure(frame, QUASI, ["ill"])),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps({path.stem: measures(path) for path in sorted(Path(sys.argv[1]).glob("*.csv"))}))
