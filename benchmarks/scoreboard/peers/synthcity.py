"""synthcity: PrivBayes, AIM, DPGAN and PATEGAN.

It pins torch below 2.3; here it runs with the torch of every other peer, and with the releases of its other
dependencies that go with it. What it keeps and what it takes from the rows does not depend on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

PACKAGE = "synthcity"
EPSILON = 1.0
SETTINGS: dict[str, dict[str, Any]] = {
    "privbayes": {"K": 2},
    "aim": {"max_model_size": 1, "num_marginals": 2},
    "dpgan": {"n_iter": 2, "n_iter_min": 1},
    "pategan": {"n_iter": 2, "n_teachers": 3},
}


def fit(
    method: str,
    frame: pd.DataFrame,
    kinds: dict[str, str],
    public: dict[str, Any] | None,
    seed: int | None,
    folder: Path,
) -> tuple[pd.DataFrame, dict[str, Any], Any]:
    from synthcity.plugins import Plugins
    from synthcity.utils.serialization import load, save

    if public is not None:
        raise SystemExit("this adapter declares no domain")
    chosen = {} if seed is None else {"random_state": seed}
    plugin = Plugins(categories=["privacy"]).get(
        method, epsilon=EPSILON, workspace=folder.parent / "workspace", **SETTINGS[method], **chosen
    )
    plugin.fit(frame)
    synthetic = plugin.generate(len(frame)).dataframe()
    facts: dict[str, Any] = {"asked": EPSILON, "domain": {}}
    for name, kind in kinds.items():
        column = plugin.schema()[name]
        if kind == "categorical":
            facts["domain"][name] = {"categories": list(map(str, column.choices))}
        else:
            facts["domain"][name] = {"lower": float(column.low), "upper": float(column.high)}
    try:
        content = save(plugin)
        (folder / "plugin.bin").write_bytes(content)
        loaded = load(content)
        if isinstance(loaded, dict) and isinstance(loaded.get("custom_model_state"), bytes):  # DPGAN's is nested
            loaded["custom_model_state"] = load(loaded["custom_model_state"])
    except Exception as error:
        if not (folder / "plugin.bin").exists():
            return synthetic, facts | {"kept_as": f"fitted object (its save raises {type(error).__name__})"}, plugin
        return synthetic, facts | {"kept_as": f"saved model (its load raises {type(error).__name__})"}, plugin
    return synthetic, facts, loaded
