"""mostlyai-engine: the tabular model with its differential privacy switched on, value protection as by default.

What is looked at is the model store alone: what is needed to generate, not the workspace with the split rows.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

PACKAGE = "mostlyai-engine"
EPSILON = 2.0
TYPES = {"categorical": "TABULAR_CATEGORICAL", "integer": "TABULAR_NUMERIC_AUTO", "continuous": "TABULAR_NUMERIC_AUTO"}


def fit(
    method: str,
    frame: pd.DataFrame,
    kinds: dict[str, str],
    public: dict[str, Any] | None,
    seed: int | None,
    folder: Path,
) -> tuple[pd.DataFrame, dict[str, Any], Any]:
    import torch
    from mostlyai.engine import TabularARGN
    from mostlyai.engine.domain import DifferentialPrivacyConfig

    if public is not None:
        raise SystemExit("this adapter declares no domain")
    with tempfile.TemporaryDirectory() as workspace:
        model = TabularARGN(
            model="MOSTLY_AI/Small",
            max_epochs=2,
            differential_privacy=DifferentialPrivacyConfig(max_epsilon=EPSILON),
            tgt_encoding_types={name: TYPES[kind] for name, kind in kinds.items()},
            workspace_dir=workspace,
            device="cpu",
            random_state=seed,
            verbose=1,
        )
        model.fit(frame)
        synthetic = model.sample(n_samples=len(frame))
        shutil.copytree(Path(workspace) / "ModelStore", folder, dirs_exist_ok=True)
    loaded: dict[str, Any] = {
        str(path.relative_to(folder)): json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))
    }
    for path in sorted(folder.rglob("*.pt")):
        loaded[str(path.relative_to(folder))] = torch.load(path, map_location="cpu", weights_only=False)
    domain = {}
    stats = next(content for name, content in loaded.items() if name.endswith("tgt-stats/stats.json"))
    for name, column in stats["columns"].items():
        if "codes" in column:
            domain[name] = {"categories": list(column["codes"])}
        elif column.get("min") is not None:
            domain[name] = {"lower": float(column["min"]), "upper": float(column["max"])}
    # Its statistics name the categories that it keeps, and say how many it does not.
    distinct = {
        name: column["no_of_rare_categories"] + sum(code != "_RARE_" for code in column["codes"])
        for name, column in stats["columns"].items()
        if "codes" in column and "no_of_rare_categories" in column
    }
    facts: dict[str, Any] = {"domain": domain, "distinct": distinct, "asked": EPSILON}
    for path in folder.rglob("progress-messages.csv"):
        loaded[str(path.relative_to(folder))] = messages = pd.read_csv(path)
        kept = messages[messages["is_checkpoint"] == 1]
        spent = (kept if len(kept) else messages)["dp_eps"].dropna()
        if len(spent):
            facts |= {"reported": float(spent.iloc[-1]), "how": "its progress messages, at the weights that it kept"}
    return synthetic, facts, loaded
