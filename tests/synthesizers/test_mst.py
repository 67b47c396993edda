"""A spanning tree, chosen and measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synthkit.errors import InputError, MethodError
from synthkit.privacy.budget import Budget
from synthkit.synthesizers.base import load
from synthkit.synthesizers.mst import Mst
from tests.synthesizers.contract import MethodContract, fitted
from tests.tables import frame, schema


class TestMst(MethodContract):
    name = "mst"
    settings = {"iterations": 5}  # noqa: RUF012


def test_settings_are_checked() -> None:
    with pytest.raises(MethodError, match="iterations"):
        Mst(iterations=0)


def test_pairs_form_a_tree_over_all_columns() -> None:
    model, _ = fitted(Mst(iterations=3))
    pairs = [marginal.columns for marginal in model.marginals if len(marginal.columns) == 2]
    reached = {pairs[0][0]}
    for _ in pairs:
        reached |= {name for pair in pairs if reached & set(pair) for name in pair}
    assert len(pairs) == len(schema().modelled) - 1 and reached == set(schema().modelled)


def test_it_finds_the_pair_that_depends() -> None:
    data = frame(4000)
    data["sex"] = np.random.default_rng(0).choice(["f", "m"], 4000)
    data["smoker"] = data["sex"].eq("m")
    model, _ = fitted(Mst(), schema(rows=4000), data, Budget(2.0, 1e-6))
    drawn = model.sample(4000, seed=0).frame
    assert (drawn["sex"].eq("m") != drawn["smoker"].fillna(False)).mean() < 0.05


def test_a_number_in_another_spelling_is_damage(tmp_path: Path) -> None:
    """A changed digit that rounds to the same double leaves every value, and is found all the same."""
    model, _ = fitted(Mst(iterations=3))
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    text = path.read_text()
    sigma = repr(model.marginals[0].sigma)
    assert sigma in text
    path.write_text(text.replace(sigma, sigma + "0", 1))
    with pytest.raises(InputError, match="damaged"):
        load(tmp_path / "model")
