"""Neighbouring tables differ in exactly one unit, and the schema takes them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthkit.audit.neighbours import Pair, pairs, table
from synthkit.data.encoding import discretize, from_frame
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Boolean, Categorical, Continuous, Datetime, Identifier, Integer, Schema, Unit
from synthkit.privacy.budget import Adjacency
from synthkit.privacy.noise import NoiseSource
from synthkit.privacy.rows import bound_contributions
from tests.tables import constrained, schema

STRICT = {
    "age": Integer(min=-3, max=99, bins=5),
    "income": Continuous(min=0.5, max=1000, bins=4),
    "share": Continuous(min=0, max=1, decimals=2),
    "seen": Datetime(min="2020-01-01T00:00", max="2020-12-31T23:00", resolution="hour"),
    "sex": Categorical(categories=("f", "m")),
    "grade": Categorical(categories=(1, 2, 3)),
    "ill": Boolean(),
}
OPEN = {
    "age": Integer(min=-3, max=99, bins=5, unknown="clamp", nullable=True),
    "income": Continuous(min=0.5, max=1000, bins=4, unknown="clamp", nullable=True),
    "seen": Datetime(min="2020-01-01", max="2020-12-31", unknown="clamp", nullable=True),
    "sex": Categorical(categories=("f", "m"), unknown="other", nullable=True),
    "ill": Boolean(nullable=True),
}
SCHEMAS: Mapping[str, Schema] = {
    "every kind": schema(rows=40),
    "no target": schema(rows=40, target=None),
    "people": schema(rows=40, unit=Unit("person", 3)),
    "people of one row": schema(rows=40, unit=Unit("person", 1)),
    "more rows a person than rows": schema(rows=40, unit=Unit("person", 50)),
    "constraints": constrained(),
    "constraints with repair": constrained(repair=True, unit=Unit("person", 3)),
    "strict": Schema("strict", STRICT, 40, target="sex"),
    "open": Schema("open", OPEN, 40, target="ill"),
    "one column": Schema("one", {"ill": Boolean()}, 40),
    "one value": Schema("one", {"x": Categorical(categories=("only",))}, 40),
    "identifiers": Schema(
        "keys",
        {"key": Identifier(), "x": Integer(min=0, max=9), "person": Identifier(release="regenerate")},
        40,
        Unit("person", 2),
        target="x",
    ),
}


def rows_of(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    """Every row in words; pandas has three words for no value."""
    return [tuple("null" if pd.isna(value) else repr(value) for value in row) for row in frame.itertuples(index=False)]


def made(name: str, adjacency: Adjacency, seed: int = 0) -> dict[str, Pair]:
    found = list(pairs(SCHEMAS[name], adjacency, rows=40, seed=seed))
    named = {pair.name: pair for pair in found}
    assert len(named) == len(found), "names are distinct"
    return named


@pytest.mark.parametrize("adjacency", list(Adjacency))
@pytest.mark.parametrize("name", SCHEMAS)
def test_every_table_can_be_read(name: str, adjacency: Adjacency) -> None:
    for pair in made(name, adjacency).values():
        for side in (pair.left, pair.right):
            read = from_frame(side, SCHEMAS[name])
            codes = discretize(read, SCHEMAS[name])
            assert (codes >= 0).all() and (codes < np.array(list(SCHEMAS[name].domain.values()))).all()


@pytest.mark.parametrize("name", SCHEMAS)
def test_added_and_removed_pairs_differ_in_one_unit(name: str) -> None:
    public = SCHEMAS[name]
    size = 1 if public.unit.column is None else public.unit.max_rows + 1
    for pair in made(name, Adjacency.ADD_OR_REMOVE).values():
        more, fewer = (pair.left, pair.right) if pair.name.startswith("removed") else (pair.right, pair.left)
        assert len(more) == len(fewer) + size
        assert rows_of(more)[: len(fewer)] == rows_of(fewer)
        if public.unit.column is not None:
            newcomer = more[public.unit.column].iloc[len(fewer) :]
            assert newcomer.nunique() == 1 and not newcomer.isin(fewer[public.unit.column]).any()


@pytest.mark.parametrize("name", SCHEMAS)
def test_replaced_pairs_differ_in_one_unit(name: str) -> None:
    public = SCHEMAS[name]
    size = 1 if public.unit.column is None else public.unit.max_rows + 1
    differing = 0
    for pair in made(name, Adjacency.REPLACE_ONE).values():
        assert len(pair.left) == len(pair.right) == 40 + size, "the number of units is public"
        assert rows_of(pair.left)[:40] == rows_of(pair.right)[:40]
        if public.unit.column is not None:
            assert pair.left[public.unit.column].equals(pair.right[public.unit.column])
            assert not pair.left[public.unit.column].iloc[40:].isin(pair.left[public.unit.column].iloc[:40]).any()
        differing += rows_of(pair.left) != rows_of(pair.right)
    assert differing or name == "one value"


@pytest.mark.parametrize("adjacency", list(Adjacency))
@pytest.mark.parametrize("name", ["people", "people of one row", "more rows a person than rows", "identifiers"])
def test_a_newcomer_sorts_last_and_has_one_row_too_many(name: str, adjacency: Adjacency) -> None:
    public = SCHEMAS[name]
    for pair in made(name, adjacency).values():
        for side in (pair.left, pair.right):
            units = from_frame(side, public).units
            assert units is not None
            kept = reveal(
                bound_contributions(
                    Private(from_frame(side, public), dataset="x", schema=public), NoiseSource(test_seed=0)
                )
            ).units
            assert kept is not None and max(Counter(kept.tolist()).values(), default=0) <= public.unit.max_rows
        more = max(pair.left, pair.right, key=len)
        units = from_frame(more, public).units
        assert units is not None
        assert (units[-1] >= units).all()
        assert (units == units[-1]).sum() == public.unit.max_rows + 1


def test_under_add_or_remove_there_is_every_kind_of_neighbour() -> None:
    names = set(made("people", Adjacency.ADD_OR_REMOVE))
    assert names >= {
        "added: ordinary",
        "added: null",
        "added: not a number",
        "added: infinite",
        "added: minus infinite",
        "added: 1e30",
        "added: unseen category",
        "removed: ordinary",
        "added to an empty table",
        "added to a single row",
        "added: the only one of its label",
    }
    assert "added: the only one of its label" not in made("no target", Adjacency.ADD_OR_REMOVE)
    replaced = set(made("people", Adjacency.REPLACE_ONE))
    assert all(name.startswith("replaced: ") for name in replaced) and len(replaced) >= 7


def newcomer(name: str, kind: str) -> Any:
    return made(name, Adjacency.ADD_OR_REMOVE)[f"added: {kind}"].right.iloc[-1]


def test_hostile_values_enter_where_the_schema_lets_them_in() -> None:
    assert newcomer("open", "infinite")["age"] == newcomer("open", "infinite")["income"] == np.inf
    assert newcomer("open", "minus infinite")["age"] == -np.inf
    assert newcomer("open", "1e30")["income"] == 1e30
    assert all(newcomer("open", "null")[name] is None for name in OPEN)
    assert all(np.isnan(newcomer("open", "not a number")[name]) for name in ("age", "income", "seen"))
    assert newcomer("open", "unseen category")["sex"] not in ("f", "m", "other")


@pytest.mark.parametrize(
    "kind", ["ordinary", "last", "null", "not a number", "infinite", "minus infinite", "1e30", "unseen category"]
)
def test_a_strict_schema_gets_values_of_its_domain(kind: str) -> None:
    row = newcomer("strict", kind)
    assert -3 <= row["age"] <= 99 and 0.5 <= row["income"] <= 1000 and row["sex"] in ("f", "m")
    assert row["grade"] in (1, 2, 3) and row["ill"] in (True, False) and not row.isna().any()
    if kind in ("last", "infinite", "minus infinite", "1e30"):
        assert (row["age"], row["income"], row["sex"], row["grade"], bool(row["ill"])) == (99, 1000, "m", 3, True)


@pytest.mark.parametrize("name", ["every kind", "strict", "open", "identifiers"])
def test_the_only_one_of_its_label_is_alone(name: str) -> None:
    pair = made(name, Adjacency.ADD_OR_REMOVE)["added: the only one of its label"]
    public = SCHEMAS[name]
    position = list(public.modelled).index(public.target or "")
    left = discretize(from_frame(pair.left, public), public)[:, position]
    right = discretize(from_frame(pair.right, public), public)[:, position]
    assert not (left == right[-1]).any()


def test_the_tables_of_a_pair_are_whoever_asks_the_same() -> None:
    for one, two in zip(
        made("people", Adjacency.ADD_OR_REMOVE).values(), made("people", Adjacency.ADD_OR_REMOVE).values(), strict=True
    ):
        pd.testing.assert_frame_equal(one.left, two.left)
        pd.testing.assert_frame_equal(one.right, two.right)
    other = made("people", Adjacency.ADD_OR_REMOVE, seed=1)["added: ordinary"]
    assert not made("people", Adjacency.ADD_OR_REMOVE)["added: ordinary"].left.equals(other.left)


def test_a_drawn_table_uses_the_whole_domain() -> None:
    public = schema(rows=2_000, unit=Unit("person", 3))
    drawn = table(public, 2_000)
    assert list(drawn.columns) == list(public.columns) and len(drawn) == 2_000
    codes = discretize(from_frame(drawn, public), public)
    for j, size in enumerate(public.domain.values()):
        counts = np.bincount(codes[:, j], minlength=size)
        assert (counts > 0).all() and counts.max() < 2 * counts.min()
    assert 500 < drawn["person"].nunique() <= 667
    assert len(table(public, 0)) == 0
