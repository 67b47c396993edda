"""synthkit: whichever method is asked for, with its default settings.

The codes are those that every peer gets. Numbers are drawn within their bins first, so that the usual way in is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from synthkit.data.encoding import undiscretize
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.privacy.budget import Budget
from synthkit.privacy.session import Session
from synthkit.synthesizers.base import method

PACKAGE = "synthkit"


def fit(task: dict[str, Any], codes: np.ndarray, folder: Path) -> tuple[Callable[[int], np.ndarray], dict[str, Any]]:
    schema = Schema.from_dict(json.loads((folder / "schema.json").read_text()))
    recipe = method(task["method"], task["settings"])
    session = Session(recipe.plan(schema, Budget(task["epsilon"], task["delta"])))
    table = undiscretize(codes, schema, np.random.default_rng(task["seed"]))
    model = recipe.fit(Private(table, dataset=schema.name, schema=schema), session)
    return lambda n: model.sample(n, seed=task["seed"]).codes, {"reported_epsilon": session.spent}
