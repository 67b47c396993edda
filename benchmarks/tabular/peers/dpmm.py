"""dpmm: MST and AIM. The domain is declared and its binning is off, so that all of epsilon goes into the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PACKAGE = "dpmm"
MODEL_MEGABYTES = 80  # its models' own default; the pipelines' default is no limit


def fit(task: dict[str, Any], codes: np.ndarray, folder: Path) -> tuple[Callable[[int], np.ndarray], dict[str, Any]]:
    from dpmm import pipelines

    names = [f"c{j}" for j in range(codes.shape[1])]
    kind = {"mst": pipelines.MSTPipeline, "aim": pipelines.AIMPipeline}[task["method"]]
    pipeline = kind(
        epsilon=task["epsilon"],
        delta=task["delta"],
        max_model_size=MODEL_MEGABYTES,
        n_jobs=1,
        disable_processing=True,
    )
    domain = dict(zip(names, task["domain"].values(), strict=True))
    pipeline.fit(pd.DataFrame(codes, columns=names), domain=domain, random_state=task["seed"])

    def draw(n: int) -> np.ndarray:
        rows: np.ndarray = pipeline.generate(n_records=n, random_state=task["seed"])[names].to_numpy().astype(int)
        return rows

    return draw, {}
