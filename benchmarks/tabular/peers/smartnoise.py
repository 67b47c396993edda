"""smartnoise-synth: MST and AIM. Its transformers are fitted on the declared domain, never on rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PACKAGE = "smartnoise-synth"


def fit(task: dict[str, Any], codes: np.ndarray, folder: Path) -> tuple[Callable[[int], np.ndarray], dict[str, Any]]:
    from snsynth import Synthesizer
    from snsynth.transform import LabelTransformer, TableTransformer

    names, sizes = [f"c{j}" for j in range(codes.shape[1])], list(task["domain"].values())
    transformer = TableTransformer([LabelTransformer(nullable=False) for _ in names])
    rows = np.arange(max(sizes))
    transformer.fit(pd.DataFrame({name: rows % size for name, size in zip(names, sizes, strict=True)}))
    synthesizer = Synthesizer.create(task["method"], epsilon=task["epsilon"], delta=task["delta"])
    synthesizer.fit(pd.DataFrame(codes, columns=names), transformer=transformer)
    return lambda n: np.asarray(synthesizer.sample(n)).astype(int), {}
