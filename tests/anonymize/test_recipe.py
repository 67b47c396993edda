"""A recipe gives every column one role, and is refused where it does not fit the schema. No data are looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from synthkit.anonymize.models import AlphaK, DistinctL, KAnonymity, TCloseness
from synthkit.anonymize.recipe import Recipe
from synthkit.data.schema import Boolean, Categorical, Continuous, Datetime, Identifier, Integer, Schema
from synthkit.errors import DataError, JobError

SCHEMA = Schema(
    "patients",
    {
        "patient": Identifier(),
        "age": Integer(min=0, max=99),
        "zip": Categorical(categories=("11", "12", "21"), nullable=True),
        "smoker": Boolean(),
        "seen": Datetime(min="2024-01-01", max="2024-12-31"),
        "cost": Continuous(min=0, max=1000, decimals=2),
        "ill": Categorical(categories=("no", "mild", "severe")),
    },
    rows=100,
)
GOOD: dict[str, Any] = {
    "quasi_identifiers": {
        "age": {"intervals": {"widths": [10, 50]}},
        "zip": {"prefix": [1]},
        "seen": {"dates": ["quarter", "year"]},
        "smoker": {"suppress": True},
    },
    "k": 3,
    "sensitive": {"ill": {"t_closeness": 0.5, "ordered": True, "distinct_l": 2, "alpha": 0.9}},
    "microaggregate": {"columns": ["cost"], "groups": 4},
    "drop": ["patient"],
}


def recipe(folder: Path = Path("."), **changes: Any) -> Recipe:
    document = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    return Recipe.from_dict(document, SCHEMA, folder)


def test_a_recipe_says_what_each_column_becomes() -> None:
    read = recipe(coding={"age": {"top": 90}})
    assert {name: one.height for name, one in read.generalizations.items()} == {
        "age": 3,
        "zip": 2,
        "seen": 3,
        "smoker": 1,
    }
    assert read.nodes == 4 * 3 * 4 * 2
    assert read.models == (
        KAnonymity(k=4),  # a group of 4 needs as many records
        TCloseness(sensitive="ill", t=0.5, ordered=True),
        DistinctL(sensitive="ill", l=2),
        AlphaK(sensitive="ill", alpha=0.9, k=3),
    )
    assert read.sensitive["ill"].order == ("no", "mild", "severe")
    assert read.quasi == ("age", "zip", "seen", "smoker", "cost")
    assert read.coding == {"age": (None, 90)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": None}, "no role for 'patient'"),
        ({"drop": ["patient", "zipp"]}, "declares no column 'zipp'; did you mean 'zip'"),
        ({"drop": ["patient", "ill"]}, "'ill' stands twice, in sensitive and drop; a column has one role"),
        ({"sensitive": {"age": {"distinct_l": 2}, "ill": {"distinct_l": 2}}}, "quasi_identifiers and sensitive.*not known to him"),
        ({"drop": None, "keep": ["patient"]}, "keep: column 'patient' is declared an identifier"),
        ({"sensitive": {"ill": {"ordered": True}}}, "'ill' has no model; name one of alpha"),
        ({"sensitive": {"ill": {"distinct_l": 2, "ordered": True}}}, "'ordered' is for t_closeness"),
        ({"sensitive": {"ill": {"t_closeness": 1.5}}}, "column 'ill': t must be above 0 and at most 1"),
        ({"microaggregate": {"columns": ["cost"], "groups": 2}}, "groups of 2 are below k = 3"),
        ({"microaggregate": {"columns": ["ill"], "groups": 5}, "sensitive": None, "drop": ["patient", "cost"]}, "holds no numbers"),
        ({"levels": {"ill": {"to": 1}}}, "levels: column 'ill' is no quasi-identifier; those are age, zip"),
        ({"levels": {"age": {"to": 4}}}, r"'age': its hierarchy has levels 0 \(the value\) to 3 \(the last\), and none is 4"),
        ({"levels": {"age": {"from": 3, "to": 1}}}, "from 3 is above to 1; the value itself is level 0"),
        ({"coding": {"zip": {"top": 3}}}, "coding: column 'zip' holds no numbers"),
        ({"coding": {"ages": {"top": 3}}}, "did you mean 'age'"),
        ({"coding": {"age": {"bottom": 5, "top": 3}}}, "bottom 5 is above top 3"),
        ({"drop": ["patient", "cost"], "microaggregate": None, "coding": {"cost": {"top": 3}}}, "'cost' does not leave"),
        ({"pseudonyms": {"columns": ["ill"], "keys": "k", "purpose": "p", "recipient": "r"}, "sensitive": None}, "hide nothing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        recipe(**changes)


@pytest.mark.parametrize(
    ("column", "hierarchy", "message"),
    [
        ("zip", {"intervals": {"widths": [1]}}, "'zip' holds no numbers"),
        ("age", {"dates": ["year"]}, "'age' holds no dates"),
        ("age", {"intervals": {"widths": [10, 15]}}, "15 is no multiple of 10"),
        ("seen", {"dates": ["year", "month"]}, "in this order"),
        ("zip", {"prefix": [1, 2]}, "must go down"),
    ],
)
def test_a_hierarchy_that_does_not_fit_is_refused(column: str, hierarchy: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        recipe(quasi_identifiers={**GOOD["quasi_identifiers"], column: hierarchy})


def test_declared_values_that_a_hierarchy_misses_are_named_before_data_are_read(tmp_path: Path) -> None:
    (tmp_path / "zips.csv").write_text("11;1*;*\n21;2*;*\n", encoding="utf-8")
    changed = {**GOOD["quasi_identifiers"], "zip": {"csv": "zips.csv"}}
    with pytest.raises(DataError, match=r"zips.csv: column 'zip': its hierarchy misses 1 value \(12\); list") as raised:
        recipe(tmp_path, quasi_identifiers=changed)
    assert "row" not in str(raised.value)
    tree = {"tree": {"yes": ["true"]}}
    with pytest.raises(DataError, match=r"'smoker': its hierarchy misses 1 value \(false\)"):
        recipe(quasi_identifiers={**GOOD["quasi_identifiers"], "smoker": tree})
    ages = {"tree": {"young": [*range(50)], "old": [*range(50, 90)]}}
    with pytest.raises(DataError, match=r"misses 10 values \(90, 91, 92, 93, 94, ...\)"):
        recipe(quasi_identifiers={**GOOD["quasi_identifiers"], "age": ages})
    assert recipe(quasi_identifiers={**GOOD["quasi_identifiers"], "age": ages}, coding={"age": {"top": 89}})
    with pytest.raises(DataError, match=r"'age': its hierarchy misses 1 value \(0\); list"):
        recipe(quasi_identifiers={**GOOD["quasi_identifiers"], "age": {"intervals": {"widths": [10], "low": 5}}})


def test_what_is_not_declared_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("ann;a;*\n", encoding="utf-8")
    read = recipe(
        tmp_path, drop=None, quasi_identifiers={**GOOD["quasi_identifiers"], "patient": {"csv": "people.csv"}}
    )
    with pytest.raises(
        DataError, match=r"people.csv: column 'patient': its hierarchy misses 1 value in 2 rows"
    ) as raised:
        read.generalizations["patient"].build(pd.Series(["ann", "secretive", "secretive"]))
    assert "secretive" not in str(raised.value)


def test_levels_bound_the_lattice() -> None:
    read = recipe(levels={"age": {"from": 1, "to": 2}, "seen": {"to": 1}, "zip": {"from": 2}})
    assert read.levels == {"age": (1, 2), "seen": (0, 1), "zip": (2, 2)}
    assert read.nodes == 2 * 2 * 1 * 2 and read.between("smoker") == (0, 1)


def test_a_limit_of_risk_asks_for_larger_classes() -> None:
    assert recipe(risk={"prosecutor": {"highest": 0.1}}).k == 10
    assert recipe(risk={"prosecutor": {"highest": 0.15}}).k == 7
    assert recipe(risk={"journalist": {"highest": 0.1}}).k == 10  # nobody else is known
    assert recipe(risk={"journalist": {"highest": 0.1, "population": "all.csv"}}).k == 4
    assert recipe(risk={"marketer": 0.05, "prosecutor": {"average": 0.2}}).limits.average == 0.05
