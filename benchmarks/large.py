"""Large tables: does a fit finish, in the time and memory that `plan` says, and does its memory grow with rows?

    python benchmarks/large.py -o large.json                        # 100 x 50,000; 15 x 0.5 and 5 million
    python benchmarks/large.py --shapes 50000x60 --methods aim tabular_gan

Rows come from a public mixture, are written to a Parquet file batch by batch, and each fit reads that file in a
process of its own. `forecast` is what the plan says of the fit; `MB` is the peak, `imports_MB` what imports alone take.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from adult import figures
from common import peak_megabytes, report

from synthkit.data.encoding import discretize, from_frame
from synthkit.data.schema import Categorical, Column, Continuous, Schema
from synthkit.data.tables import FileSource, read
from synthkit.privacy.budget import Budget
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import method

SHAPES = ("50000x100", "500000x15", "5000000x15")
CLASSES, BATCH, TEST = 6, 250_000, 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, metavar="ROWSxCOLUMNS")
    parser.add_argument("--methods", nargs="+", default=["aim"])
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--one", nargs=2, metavar=("FILE", "METHOD"), help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    if options.one:
        rows, columns = map(int, options.shapes[0].split("x"))
        print(json.dumps(measure(Path(options.one[0]), rows, columns, options.one[1], options.epsilon)))
        return
    found = []
    for shape in options.shapes:
        rows, columns = map(int, shape.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.parquet"
            write(path, rows, columns)
            for name in options.methods:
                command = [sys.executable, __file__, "--one", str(path), name, "--shapes", shape]
                command += ["--epsilon", str(options.epsilon)]
                shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                found.append(json.loads(shown.splitlines()[-1]))
                print(found[-1], file=sys.stderr, flush=True)
    report(f"large tables, epsilon {options.epsilon:g}", found, options.output)


def schema_of(rows: int, columns: int) -> Schema:
    """A third of the columns numbers in 16 bins, the others of 3 to 16 categories; a target of two."""
    kinds: dict[str, Column] = {}
    for j in range(columns - 1):
        if j % 3 == 0:
            kinds[f"c{j}"] = Continuous(min=-4.0, max=8.0, unknown="clamp")
        else:
            kinds[f"c{j}"] = Categorical(categories=tuple(f"v{k}" for k in range(3 + 5 * j % 14)))
    return Schema("large", kinds | {"y": Categorical(categories=("no", "yes"))}, rows, target="y", reviewed=True)


def batch(schema: Schema, rows: int, rng: np.random.Generator) -> pd.DataFrame:
    """Rows of a mixture of latent classes, with a chain from column to column on top of it."""
    public = np.random.default_rng(0)
    group = rng.integers(0, CLASSES, rows)
    made: dict[str, Any] = {}
    last = np.zeros(rows)
    for name, column in schema.columns.items():
        if isinstance(column, Continuous):
            centres = public.normal(0, 1.5, CLASSES)
            made[name] = last = np.round(centres[group] + 0.5 * last + rng.normal(0, 1, rows), 3)
            continue
        assert isinstance(column, Categorical)
        chances = public.dirichlet(np.full(len(column.categories), 0.5), (CLASSES, 2))
        upto = np.cumsum(chances, axis=2)[group, (last > 0).astype(int)]
        drawn = np.minimum((rng.random(rows)[:, None] > upto).sum(axis=1), len(column.categories) - 1)
        made[name] = np.array(column.categories, dtype=object)[drawn]
        last = drawn - drawn.mean()
    return pd.DataFrame(made)


def write(path: Path, rows: int, columns: int) -> None:
    """The rows, and test rows beside them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, rng = schema_of(rows, columns), np.random.default_rng(1)
    first = pa.Table.from_pandas(batch(schema, 10, rng), preserve_index=False)
    with pq.ParquetWriter(path, first.schema) as file:
        for start in range(0, rows, BATCH):
            frame = batch(schema, min(BATCH, rows - start), rng)
            file.write_table(pa.Table.from_pandas(frame, schema=first.schema, preserve_index=False))
    batch(schema, TEST, rng).to_parquet(path.with_suffix(".test"))


def measure(path: Path, rows: int, columns: int, name: str, epsilon: float) -> dict[str, Any]:
    """Plan, read, fit; then the figures, which do not count."""
    schema = schema_of(rows, columns)
    recipe = method(name)
    plan = recipe.plan(schema, Budget(epsilon, 1e-9))
    before, start = peak_megabytes(), time.perf_counter()
    data = read(FileSource(path), schema, dataset="large")
    read_seconds = time.perf_counter() - start
    model = recipe.fit(data, Session(plan))
    seconds, megabytes = time.perf_counter() - start, peak_megabytes()
    assert plan.seconds and plan.megabytes
    found = {
        "rows": rows,
        "columns": columns,
        "method": name,
        "reading": round(read_seconds, 1),
        "fit": round(seconds - read_seconds, 1),
        "forecast": round(plan.seconds, 1),
        "MB": round(megabytes),
        "imports_MB": round(before),
        "forecast_MB": round(plan.megabytes),
    }
    few = min(rows, 50_000)
    real = pd.read_parquet(path).iloc[:few] if rows <= 500_000 else batch(schema, few, np.random.default_rng(2))
    train, test = (
        discretize(from_frame(frame, schema), schema) for frame in (real, pd.read_parquet(path.with_suffix(".test")))
    )
    return found | figures(model.sample(few, seed=0).codes, train, test, schema)


if __name__ == "__main__":
    main()
