"""Runs in Anonymeter's environment: its three risks of each release in a folder, as one line of JSON."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anonymeter.evaluators import InferenceEvaluator, LinkabilityEvaluator, SinglingOutEvaluator


def told(evaluator: Any, **settings: Any) -> dict[str, float]:
    evaluator.evaluate(**settings)
    risk, results = evaluator.risk(confidence_level=0.95), evaluator.results(confidence_level=0.95)
    return {
        "risk": float(risk.value),
        "low": float(risk.ci[0]),
        "high": float(risk.ci[1]),
        "main": float(results.attack_rate.value),
        "control": float(results.control_rate.value),
    }


def risks(folder: Path) -> dict[str, dict[str, float]]:
    asked = json.loads((folder / "asked.json").read_text())
    parts = {name: pd.read_csv(folder / f"{name}.csv") for name in ("original", "control", "synthetic")}
    tables = {"ori": parts["original"], "syn": parts["synthetic"], "control": parts["control"]}
    count, known, secret = asked["attacks"], asked["known"], asked["secret"]
    half = (len(known) + 1) // 2
    np.random.seed(0)
    return {
        "singling out": told(SinglingOutEvaluator(**tables, n_attacks=asked["singling"], seed=0), mode="univariate"),
        "linkability": told(
            LinkabilityEvaluator(**tables, aux_cols=(known[:half], known[half:]), n_attacks=count, n_neighbors=1),
            n_jobs=1,
        ),
        "inference": told(
            InferenceEvaluator(
                **tables, aux_cols=[c for c in known if c != secret], secret=secret, regression=False, n_attacks=count
            ),
            n_jobs=1,
        ),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    print(json.dumps({path.name: risks(path) for path in sorted(Path(sys.argv[1]).iterdir())}))
