"""synthcity: DPGAN and PrivBayes with their default settings; every code is a category.

It takes the domain from the rows. PrivBayes has no delta: its guarantee is pure, as stated.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PACKAGE = "synthcity"


def fit(task: dict[str, Any], codes: np.ndarray, folder: Path) -> tuple[Callable[[int], np.ndarray], dict[str, Any]]:
    from synthcity.plugins import Plugins

    names = [f"c{j}" for j in range(codes.shape[1])]
    settings = {"delta": task["delta"]} if task["method"] == "dpgan" else {}
    plugin = Plugins(categories=["privacy"]).get(
        task["method"],
        epsilon=task["epsilon"],
        random_state=task["seed"],
        workspace=folder / "workspace",
        **settings,
        **task["settings"],
    )
    plugin.fit(pd.DataFrame(codes.astype(str), columns=names))

    def draw(n: int) -> np.ndarray:
        rows: np.ndarray = plugin.generate(n).dataframe()[names].to_numpy().astype(int)
        return rows

    return draw, {}
