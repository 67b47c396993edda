"""dpmm: MST and PrivBayes pipelines with their default binning."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

PACKAGE = "dpmm"
EPSILON, DELTA = 1.0, 1e-5
STEPS = 500  # of inference, which reads released counts alone; the default of 5,000 takes a minute a fit


def fit(
    method: str,
    frame: pd.DataFrame,
    kinds: dict[str, str],
    public: dict[str, Any] | None,
    seed: int | None,
    folder: Path,
) -> tuple[pd.DataFrame, dict[str, Any], Any]:
    from dpmm import pipelines
    from dpmm.models import load_model

    logging.basicConfig(level=logging.INFO)
    kind = {"mst": pipelines.MSTPipeline, "privbayes": pipelines.PrivBayesPipeline}
    pipeline = kind[method](epsilon=EPSILON, delta=DELTA, n_jobs=1, gen_kwargs={"n_iters": STEPS})
    table = frame.copy()
    for name in (name for name, kind in kinds.items() if kind == "categorical"):
        table[name] = table[name].astype("category")
    pipeline.fit(table, domain=_domain(public), random_state=seed)
    synthetic = pipeline.generate(n_records=len(frame), random_state=seed)
    pipeline.store(folder)
    loaded = type(pipeline).load(folder)
    domain: dict[str, Any] = {
        name: {"categories": list(map(str, kept))} for name, kept in loaded.proc.categories.items()
    }
    domain |= {
        name: {"lower": float(binner.bins[0]), "upper": float(binner.bins[-1])}
        for name, binner in loaded.proc.binners.items()
    }
    binning = {name: spent for name, spent in loaded.proc.spent_epsilon.items() if spent is not None}
    reported = float(loaded.gen.generator.epsilon) + sum(binning.values())
    facts = {
        "domain": domain,
        "asked": EPSILON,
        "reported": reported,
        "how": f"model {loaded.gen.generator.epsilon}, and binning {sum(binning.values()):.3g} by spent_epsilon "
        "(proc_epsilon, its own argument, comes on top)",
    }
    return synthetic, facts, {"pipeline": loaded, "model": load_model(folder / "generative_model")}


def _domain(public: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if public is None else {name: dict(column) for name, column in public.items()}
