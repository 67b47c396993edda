"""What leaves is counted in plain Python: every class of it meets what was asked for, whatever was done on the way."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthkit.anonymize.pseudonyms import Key
from synthkit.anonymize.recipe import Recipe
from synthkit.anonymize.route import Anonymized, anonymize, measured
from synthkit.errors import DataError, JobError
from tests.anonymize.test_recipe import GOOD, SCHEMA

ILL = ("no", "mild", "severe")


def people(seed: int, rows: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "patient": [f"p{n}" for n in range(rows)],
            "age": rng.integers(0, 100, rows),
            "zip": pd.array(rng.choice(np.array(["11", "12", "21", None], object), rows), dtype="string"),
            "smoker": pd.array(rng.random(rows) < 0.3, dtype="boolean"),
            "seen": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 366, rows), unit="D"),
            "cost": np.round(rng.gamma(2, 100, rows).clip(0, 1000), 2),
            "ill": rng.choice(ILL, rows, p=[0.6, 0.3, 0.1]),
        }
    )


def made(
    frame: pd.DataFrame, *, key: Key | None = None, population: Any = None, **changes: Any
) -> tuple[Anonymized, Recipe]:
    document = {key: value for key, value in {**GOOD, "suppression": 0.2, **changes}.items() if value is not None}
    recipe = Recipe.from_dict(document, SCHEMA, Path())
    return anonymize(frame, recipe, SCHEMA, key=key, population=population), recipe


def classes(frame: pd.DataFrame, names: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    """Rows that are equal in all of ``names``, null included."""
    members: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, row in enumerate(frame[list(names)].astype("string").fillna("").itertuples(index=False, name=None)):
        members[row].append(number)
    for numbers in members.values():
        yield frame.iloc[numbers]


def distance(inside: list[str], whole: list[str]) -> float:
    gap = moved = 0.0
    for value in ILL:
        gap += inside.count(value) / len(inside) - whole.count(value) / len(whole)
        moved += abs(gap)
    return moved / (len(ILL) - 1)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("loss", ["precision", "entropy"])
def test_every_class_that_leaves_meets_every_model(seed: int, loss: str) -> None:
    frame = people(seed)
    got, recipe = made(frame, loss=loss)
    whole = got.frame["ill"].tolist()
    assert len(got.frame) + got.suppressed == got.records == len(frame)
    assert got.suppressed <= 0.2 * len(frame)
    worst = [math.inf, math.inf, 0.0, 0.0]
    for rows in classes(got.frame, recipe.quasi):
        ill = rows["ill"].tolist()
        assert len(rows) >= 4  # groups of microaggregated numbers, and k = 3
        assert len(set(ill)) >= 2
        assert max(Counter(ill).values()) / len(ill) <= 0.9 + 1e-9
        assert distance(ill, whole) <= 0.5 + 1e-9
        figures = [len(ill), len(set(ill)), max(Counter(ill).values()) / len(ill), distance(ill, whole)]
        worst = [
            min(worst[0], figures[0]),
            min(worst[1], figures[1]),
            max(worst[2], figures[2]),
            max(worst[3], figures[3]),
        ]
    told = measured(got.frame, recipe.quasi, recipe.models, recipe.limits, {"ill": ILL})
    k, t, distinct, alpha = told.attained
    assert [k, distinct, alpha, t] == pytest.approx(worst)
    assert told.failing == () and told.over == ()


@pytest.mark.parametrize("seed", range(5))
def test_microaggregation_keeps_the_sums_of_each_class(seed: int) -> None:
    frame = people(seed)
    got, recipe = made(frame)
    plain, _ = made(frame, microaggregate=None, keep=["cost"], k=4)
    coarse = tuple(recipe.generalizations)

    def totals(table: pd.DataFrame) -> list[float]:
        return sorted(rows["cost"].mean() for rows in classes(table, coarse))

    assert totals(got.frame) == pytest.approx(totals(plain.frame), abs=0.02)
    assert got.frame["cost"].nunique() < plain.frame["cost"].nunique()


def test_who_is_left_out_is_gone_and_the_order_of_the_source_too() -> None:
    frame = people(3)
    got, _ = made(frame, suppression=0.2)
    again, _ = made(frame.sample(frac=1, random_state=1), suppression=0.2)
    pd.testing.assert_frame_equal(got.frame, again.frame)
    assert "patient" not in got.frame
    assert got.suppressed > 0 and not (got.frame[["age", "seen"]] == "").any().any()


def test_names_are_pseudonyms_and_numbers_are_coded() -> None:
    key = Key("study", "lab", 1, bytes(range(32)))
    names = {"columns": ["patient"], "keys": "keys", "purpose": "study", "recipient": "lab"}
    coding = {"cost": {"top": 200}, "age": {"bottom": 20, "top": 80}}
    frame = people(5)
    got, _ = made(frame, key=key, pseudonyms=names, drop=None, microaggregate=None, keep=["cost"], coding=coding)
    expected = set(key.names(frame["patient"], domain="patient"))
    assert set(got.frame["patient"]) <= expected and got.frame["patient"].str.fullmatch("[0-9a-f]{32}").all()
    assert got.frame["cost"].max() == 200


def test_a_table_that_is_safe_as_it_is_stays_as_it_is() -> None:
    frame = pd.concat([people(1, 40)] * 4, ignore_index=True)
    got, _ = made(
        frame, sensitive=None, keep=["ill"], microaggregate=None, drop=["patient", "cost"], k=4, suppression=0
    )
    assert set(got.levels.values()) == {0}
    assert got.frame["age"].dtype == frame["age"].dtype and sorted(got.frame["age"]) == sorted(frame["age"])
    assert got.frame["seen"].tolist()[0] == frame["seen"].min().date().isoformat() or len(got.frame) == 160


def test_risks_are_kept_or_refused() -> None:
    frame = people(2, 300)
    got, recipe = made(
        frame, risk={"prosecutor": {"highest": 0.1, "average": 0.05}}, microaggregate=None, keep=["cost"]
    )
    sizes = [len(rows) for rows in classes(got.frame, recipe.quasi)]
    assert min(sizes) >= 10 and len(sizes) / sum(sizes) <= 0.05
    with pytest.raises(JobError, match="nearest k that can be had is 300"):
        made(frame, k=301, microaggregate=None, keep=["cost"])
    with pytest.raises(JobError, match=r"limits of risk.*raise the suppression limit"):
        made(frame, risk={"marketer": 0.003}, microaggregate=None, keep=["cost"])


def test_the_population_is_counted_where_there_is_one() -> None:
    frame, everybody = people(2, 60), people(9, 600)
    everybody = pd.concat([frame, everybody], ignore_index=True)
    risk = {"journalist": {"highest": 0.5, "population": "all.csv"}}
    got, recipe = made(frame, population=everybody, risk=risk, microaggregate=None, keep=["cost"])
    assert got.population is not None
    told = measured(got.frame, recipe.quasi, recipe.models, recipe.limits, {"ill": ILL}, got.population)
    journalist, prosecutor = told.risks["journalist"], told.risks["prosecutor"]
    assert journalist.highest < prosecutor.highest  # type: ignore[union-attr]
    with pytest.raises(JobError, match="not of the same people"):
        made(frame, population=everybody[-60:], risk=risk, microaggregate=None, keep=["cost"])


def test_what_cannot_be_is_refused() -> None:
    frame = people(0)
    with pytest.raises(DataError, match="columns cost: 1 rows have no value"):
        made(frame.assign(cost=frame["cost"].where(frame.index != 5)), suppression=0)
    with pytest.raises(JobError, match="there are no records"):
        made(frame[:0])
    with pytest.raises(DataError, match="column 'ill': 1 rows have no value"):
        made(frame.assign(ill=frame["ill"].where(frame.index != 5)))
