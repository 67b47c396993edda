"""Quality on UCI Adult: methods against each other and against real rows, on the same split.

    python benchmarks/adult.py --epsilon 1 --runs 3 -o adult.json

80/20 split by row, bins as in the bundled schema, exact figures: mean total variation distance of
all 1-way and 2-way marginals against the training rows, and the AUC on the test rows of models
trained on synthetic rows. Adult is public, so exact figures may be shown. Nothing is tuned here.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import peak_megabytes, report

from synthkit.assess import fidelity, utility
from synthkit.data import samples
from synthkit.data.encoding import discretize, from_frame
from synthkit.data.private import Private
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import method

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "independent": ("independent", {}),
    "tabular_gan, warm start alone": ("tabular_gan", {"iterations": 0}),
    "tabular_gan, marginals alone": ("tabular_gan", {"critic": 0.0}),
    "tabular_gan, critic and one marginal": ("tabular_gan", {"marginals": 1}),
    "tabular_gan, without threshold": ("tabular_gan", {"threshold": 0.0}),
    "tabular_gan": ("tabular_gan", {}),
    "aim": ("aim", {}),
    "aim, target as any other column": ("aim", {"label_aware": False}),
    "aim, four rounds": ("aim", {"rounds": 4}),
    "mst": ("mst", {}),
    "tabular_vae": ("tabular_vae", {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--delta", type=float, default=1e-6)
    parser.add_argument("--adjacency", default="add-or-remove", choices=[a.value for a in Adjacency])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--methods", nargs="*", default=["independent", "tabular_gan, warm start alone", "tabular_gan", "aim"]
    )
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()

    schema = samples.schema("adult")
    frame = pd.read_parquet(samples.path("adult"))
    every: list[dict[str, Any]] = []
    for run in range(options.runs):
        order = np.random.default_rng(run).permutation(len(frame))
        cut = int(0.8 * len(frame))
        train_frame, test_frame = frame.iloc[order[:cut]], frame.iloc[order[cut:]]
        public = schema.with_rows(cut)
        train = discretize(from_frame(train_frame, public), public)
        test = discretize(from_frame(test_frame, public), public)
        if run == 0:
            real = {"method": "real rows", "run": 0, **figures(train, train, test, public)}
            real["tvd_2way"] = fidelity.mean_distance(train, test, public, fidelity.queries(public, 2))
            real["tvd_1way"] = fidelity.mean_distance(train, test, public, fidelity.queries(public, 1))
            every.append(real)
        for label in options.methods:
            name, settings = METHODS[label]
            recipe = method(name, settings)
            start = time.perf_counter()
            plan = recipe.plan(public, Budget(options.epsilon, options.delta, Adjacency(options.adjacency)))
            session = Session(plan)
            data = Private(from_frame(train_frame, public), dataset="adult", schema=public)
            model = recipe.fit(data, session)
            seconds = time.perf_counter() - start
            drawn = model.sample(cut, seed=run).codes
            row = {"method": label, "run": run, **figures(drawn, train, test, public)}
            row |= {"spent": session.spent, "fit_seconds": seconds, "peak_MB": peak_megabytes()}
            every.append(row)
            print(row, flush=True)
    numbers = [key for key in every[-1] if key not in ("method", "run")]
    means = []
    for label in dict.fromkeys(row["method"] for row in every):
        of = [row for row in every if row["method"] == label]
        mean: dict[str, Any] = {"method": label, "runs": len(of)}
        mean |= {key: float(np.mean([row[key] for row in of])) for key in numbers if key in of[0]}
        means.append(mean)
    print()
    report(f"adult, epsilon {options.epsilon:g}, delta {options.delta:g}", means, options.output)


def figures(rows: np.ndarray, train: np.ndarray, test: np.ndarray, schema: Any) -> dict[str, float]:
    """Exact figures of one table of codes."""
    found = {f"tvd_{k}way": fidelity.mean_distance(train, rows, schema, fidelity.queries(schema, k)) for k in (1, 2)}
    for evidence in utility.exact(rows, test, schema, "tstr"):
        if "_auc_" in evidence.name:
            found[evidence.name.removeprefix("utility.exact_tstr_")] = evidence.value
    return found


if __name__ == "__main__":
    main()
