"""mostlyai-engine: the tabular model under DP-SGD; every code is a category.

Value protection is off, since the domain is taken as public, so that all of epsilon goes into training.
Its noise is set beforehand and training ends where epsilon is used up.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PACKAGE = "mostlyai-engine"


def fit(task: dict[str, Any], codes: np.ndarray, folder: Path) -> tuple[Callable[[int], np.ndarray], dict[str, Any]]:
    from mostlyai.engine import TabularARGN
    from mostlyai.engine.domain import DifferentialPrivacyConfig

    names = [f"c{j}" for j in range(codes.shape[1])]
    model = TabularARGN(
        value_protection=False,
        differential_privacy=DifferentialPrivacyConfig(max_epsilon=task["epsilon"], delta=task["delta"]),
        tgt_encoding_types=dict.fromkeys(names, "TABULAR_CATEGORICAL"),
        workspace_dir=str(folder / "workspace"),
        device="cpu",
        random_state=task["seed"],
        verbose=1,
        **task["settings"],
    )
    model.fit(pd.DataFrame(codes.astype(str), columns=names))
    facts: dict[str, Any] = {}
    for path in (folder / "workspace").rglob("progress-messages.csv"):
        messages = pd.read_csv(path)
        kept = messages[messages["is_checkpoint"] == 1]
        spent = (kept if len(kept) else messages)["dp_eps"].dropna()
        if len(spent):
            facts["reported_epsilon"] = float(spent.iloc[-1])
    return lambda n: model.sample(n_samples=n)[names].to_numpy().astype(int), facts
