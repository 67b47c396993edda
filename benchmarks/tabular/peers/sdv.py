"""SDV: CTGAN and TVAE, without any privacy: what a network reaches where nothing is protected. Every code is a category."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PACKAGE = "sdv"


def fit(task: dict[str, Any], codes: np.ndarray, folder: Path) -> tuple[Callable[[int], np.ndarray], dict[str, Any]]:
    from sdv.metadata import Metadata
    from sdv.single_table import CTGANSynthesizer, TVAESynthesizer

    names = [f"c{j}" for j in range(codes.shape[1])]
    columns = {name: {"sdtype": "categorical"} for name in names}
    metadata = Metadata.load_from_dict({"tables": {"table": {"columns": columns}}, "relationships": []})
    kind = {"ctgan": CTGANSynthesizer, "tvae": TVAESynthesizer}[task["method"]]
    synthesizer = kind(metadata, enable_gpu=False, **task["settings"])
    synthesizer.fit({"table": pd.DataFrame(codes.astype(str), columns=names)})

    def draw(n: int) -> np.ndarray:
        rows = synthesizer.sample(n)
        rows = rows["table"] if isinstance(rows, dict) else rows
        found: np.ndarray = rows[names].to_numpy().astype(int)
        return found

    return draw, {}
