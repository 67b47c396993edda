"""Time of explanations: a GAN's model of Adult, and tables of more columns, with the standard errors that were reached.

    python benchmarks/explain.py --model adult-model/ -o explain.json

Without ``--model`` one is fitted first, shortly: what is explained does not change the time. The wide tables are
explained as they are in a release: discriminator (sampled permutations) and gradient boosting.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import peak_megabytes, report

from synthkit.data import samples
from synthkit.data.schema import Categorical, Schema
from synthkit.data.tables import SampleSource, read
from synthkit.explain.model import Explanation, explain_model
from synthkit.privacy.budget import Budget
from synthkit.privacy.session import Session
from synthkit.release.explaining import write
from synthkit.synthesizers.base import Discriminator, Model, Synthetic, load
from synthkit.synthesizers.tabular_gan import TabularGan


@dataclass(frozen=True)
class Wide:
    """A model of many columns with a discriminator whose columns interact in threes."""

    schema: Schema
    seed: int = 0

    marginals: tuple[Any, ...] = ()

    def sample(self, n: int, *, where: Any = None, seed: int | None = None) -> Synthetic:
        rng = np.random.default_rng(seed)
        codes = rng.integers(0, 8, (n, len(self.schema.modelled))).astype(np.int32)
        codes[:, -1] = (codes[:, 0] + codes[:, 1] + rng.integers(0, 4, n)) > 8
        return Synthetic(None, codes)  # type: ignore[arg-type]  (no frame is looked at)

    def discriminator(self) -> Discriminator:
        rng = np.random.default_rng(self.seed)
        width = len(self.schema.modelled)
        weights = rng.normal(size=(8, width, 16)) / np.sqrt(width)
        leave = rng.normal(size=16)

        def score(codes: np.ndarray) -> np.ndarray:
            hidden = np.zeros((len(codes), 16), dtype=np.float32)
            for j in range(width):
                hidden += weights[codes[:, j], j].astype(np.float32)
            return np.tanh(hidden) @ leave  # type: ignore[no-any-return]

        return Discriminator(
            self.schema, score, score, self.schema.target, lambda n, seed: self.sample(n, seed=seed).codes
        )


def wide(columns: int) -> Wide:
    """Categories of eight, and a target of two."""
    declared = {f"c{k}": Categorical(categories=tuple(f"v{i}" for i in range(8))) for k in range(columns - 1)}
    declared["target"] = Categorical(categories=("no", "yes"))
    return Wide(Schema(name=f"wide {columns}", columns=declared, rows=10_000, target="target", reviewed=True))


def adult(folder: Path | None) -> Model:
    """A saved model, or one that is fitted here."""
    if folder is not None:
        return load(folder)
    schema, budget, method = samples.schema("adult"), Budget(3.0, 1e-6), TabularGan(iterations=200)
    return method.fit(read(SampleSource("adult"), schema, dataset="adult"), Session(method.plan(schema, budget)))


def timed(name: str, make: Callable[[], Explanation]) -> dict[str, Any]:
    """One explanation, report written: seconds, gaps, standard errors, stability."""
    start = time.perf_counter()
    explained = make()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), explained)
    row: dict[str, Any] = {"table": name, "rows": explained.rows, "seconds": time.perf_counter() - start}
    for subject in explained.subjects:
        row |= {
            f"{subject.name}_columns": len(subject.explained.columns),
            f"{subject.name}_gap": subject.explained.gap,
            f"{subject.name}_relative_error": subject.explained.relative_error,
            f"{subject.name}_spearman": subject.stability.spearman,
            f"{subject.name}_jaccard": subject.stability.jaccard,
            f"{subject.name}_deletion": subject.deletion,
        }
    return row | {"peak_mb": peak_megabytes()}


def told(share: float, what: str) -> None:
    """On standard error, with the processor time so far."""
    print(f"{time.process_time():7.1f} s  {share:4.0%}  {what}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--columns", type=int, nargs="*", default=[20, 60])
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    model = adult(options.model)
    rows = [timed("adult", lambda: explain_model(model, progress=told))]
    for columns in options.columns:
        rows.append(timed(f"{columns} columns", lambda columns=columns: explain_model(wide(columns), progress=told)))
    report("explain", rows, options.output)


if __name__ == "__main__":
    main()
