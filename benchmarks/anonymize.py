"""Time and memory of the search over generalization levels.

    python benchmarks/anonymize.py -o anonymize.json

UCI Adult (the bundled sample) with 8 quasi-identifiers, k = 5, at most 5% suppressed, by each loss model; and a
made-up table of a million rows with 6 quasi-identifiers, k = 10. Encoding the columns is part of the time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import peak_megabytes, report

from synthkit.anonymize import hierarchies
from synthkit.anonymize.hierarchies import Hierarchy
from synthkit.anonymize.lattice import LOSSES, search
from synthkit.anonymize.models import KAnonymity
from synthkit.data import samples

TREES: dict[str, dict[str, Any]] = {
    "workclass": {
        "private": ["Private"],
        "self-employed": ["Self-emp-not-inc", "Self-emp-inc"],
        "government": ["Federal-gov", "Local-gov", "State-gov"],
        "unpaid": ["Without-pay", "Never-worked"],
    },
    "education": {
        "school": {
            "primary": ["Preschool", "1st-4th", "5th-6th", "7th-8th"],
            "secondary": ["9th", "10th", "11th", "12th", "HS-grad"],
        },
        "higher": {
            "some": ["Some-college", "Assoc-voc", "Assoc-acdm"],
            "degree": ["Bachelors", "Masters", "Prof-school", "Doctorate"],
        },
    },
    "marital-status": {
        "married": ["Married-civ-spouse", "Married-AF-spouse", "Married-spouse-absent"],
        "single": ["Divorced", "Never-married", "Separated", "Widowed"],
    },
    "occupation": {
        "office": ["Adm-clerical", "Exec-managerial", "Prof-specialty", "Sales", "Tech-support"],
        "manual": [
            "Craft-repair",
            "Farming-fishing",
            "Handlers-cleaners",
            "Machine-op-inspct",
            "Transport-moving",
        ],
        "service": ["Armed-Forces", "Other-service", "Priv-house-serv", "Protective-serv"],
    },
}


def adult() -> tuple[pd.DataFrame, dict[str, Hierarchy]]:
    """8 quasi-identifiers: 5 * 3 * 4 * 3 * 3 * 2 * 2 * 2 levels or more."""
    frame = pd.read_parquet(samples.path("adult"))
    frame.columns = [name.replace("_", "-") for name in frame.columns]
    found = {"age": hierarchies.intervals("age", frame["age"], 0, 99, [5, 10, 20])}
    for name, branches in TREES.items():
        found[name] = hierarchies.tree(name, frame[name], branches)
    for name in ("native-country", "race", "sex"):
        found[name] = hierarchies.identity(name, frame[name])
    return frame, found


def large(rows: int) -> tuple[pd.DataFrame, dict[str, Hierarchy]]:
    """Age, ZIP code, birth month, occupation, sex, country."""
    rng = np.random.default_rng(0)
    days = pd.date_range("1930-01-01", "2005-12-31", freq="MS").strftime("%Y-%m-%d").to_numpy()
    jobs = [f"job{i:02d}" for i in range(40)]
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 95, rows),
            "zip": np.char.zfill(rng.zipf(1.3, rows).clip(0, 99_999).astype(str), 5),
            "since": rng.choice(days, rows),
            "job": rng.choice(jobs, rows),
            "sex": rng.choice(["f", "m"], rows),
            "country": rng.choice([f"c{i}" for i in range(30)], rows, p=(p := 0.7 ** np.arange(30)) / p.sum()),
        }
    )
    branches = {f"g{i}": {f"s{i}{j}": jobs[i * 10 + j * 5 : i * 10 + j * 5 + 5] for j in range(2)} for i in range(4)}
    return frame, {
        "age": hierarchies.intervals("age", frame["age"], 0, 99, [5, 10, 20, 40]),
        "zip": hierarchies.prefix("zip", frame["zip"], [4, 3, 2, 1]),
        "since": hierarchies.dates("since", frame["since"], ["quarter", "year", "decade"]),
        "job": hierarchies.tree("job", frame["job"], branches),
        "sex": hierarchies.identity("sex", frame["sex"]),
        "country": hierarchies.identity("country", frame["country"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the made-up table")
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    lines = []
    for table, build, k, share in (("adult", adult, 5, 0.05), ("large", lambda: large(asked.rows), 10, 0.05)):
        for loss in LOSSES:
            frame, _ = build()
            started = time.perf_counter()
            _, found = build()
            codes = {name: hierarchy.encode(frame[name]) for name, hierarchy in found.items()}
            encoded = time.perf_counter()
            solution = search(codes, found, [KAnonymity(k=k)], suppression=share, loss=loss)  # type: ignore[arg-type]
            ended = time.perf_counter()
            lines.append(
                {
                    "table": table,
                    "rows": len(frame),
                    "k": k,
                    "loss model": loss,
                    "nodes": solution.nodes,
                    "counted": solution.counted,
                    "loss": round(solution.loss, 5),
                    "suppressed": int((~solution.kept).sum()),
                    "encode s": round(encoded - started, 2),
                    "search s": round(ended - encoded, 2),
                    "peak MB": peak_megabytes(),
                }
            )
            print(lines[-1], flush=True)
    report("Levels that meet k-anonymity", lines, asked.output)


if __name__ == "__main__":
    main()
