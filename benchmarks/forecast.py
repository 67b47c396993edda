"""The forecast of time and memory in `plan`, against what a fit takes.

    python benchmarks/forecast.py --method tabular_vae -o forecast.json

Tables of random codes, of several shapes; each in a process of its own, so that peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from common import peak_megabytes, report

from synthkit.data.encoding import Table
from synthkit.data.private import Private
from synthkit.data.schema import Categorical, Schema
from synthkit.privacy.budget import Budget
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import method

SHAPES = [(5_000, 8, 8), (30_000, 15, 16), (30_000, 40, 8), (200_000, 15, 16)]  # rows, columns, categories


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=3, type=int, metavar=("ROWS", "COLUMNS", "CATEGORIES"))
    parser.add_argument("--method", default="tabular_gan")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.method, *options.one)))
        return
    rows = []
    for shape in SHAPES:
        command = [sys.executable, __file__, "--method", options.method, "--one", *map(str, shape)]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows.append(json.loads(shown.splitlines()[-1]))
    report(f"forecast of {options.method}", rows, options.output)


def measure(name: str, rows: int, columns: int, categories: int) -> dict[str, float]:
    """Plan and fit a method on a random table."""
    kind = Categorical(categories=tuple(f"v{k}" for k in range(categories)))
    target = Categorical(categories=("no", "yes"))
    schema = Schema(
        "random", {f"c{j}": kind for j in range(columns - 1)} | {"y": target}, rows, target="y", reviewed=True
    )
    rng = np.random.default_rng(0)
    codes = {name: rng.integers(0, size, rows).astype(np.int32) for name, size in schema.domain.items()}
    recipe = method(name)
    plan = recipe.plan(schema, Budget(1.0, 1e-7))
    start = time.perf_counter()
    recipe.fit(Private(Table(codes, None, rows), dataset="random", schema=schema), Session(plan))
    seconds, megabytes = time.perf_counter() - start, peak_megabytes()
    assert plan.seconds and plan.megabytes
    return {
        "rows": rows,
        "columns": columns,
        "categories": categories,
        "seconds": seconds,
        "forecast_seconds": plan.seconds,
        "ratio_seconds": plan.seconds / seconds,
        "MB": megabytes,
        "forecast_MB": plan.megabytes,
        "ratio_MB": plan.megabytes / megabytes,
    }


if __name__ == "__main__":
    main()
