"""Two schemas, one to many: what fits together, and the two that follow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from synthkit.data.encoding import discretize, from_frame
from synthkit.data.linked import LinkedSchema
from synthkit.data.schema import Categorical, Identifier, Integer, Numeric, Quantiles, Schema, Unit
from synthkit.errors import SchemaError
from tests.linked import linked
from tests.tables import schema, shaped


def test_it_says_what_one_unit_is() -> None:
    public = linked(max_children=4)
    assert (public.key, public.max_children, public.unit) == ("patient", 4, Unit("patient", 5))
    assert public.counted.unit == Unit("patient", 1) and public.widened.unit == Unit("patient", 4)
    assert public.reviewed and not LinkedSchema(replace(public.parent, reviewed=False), public.child).reviewed


def test_counted_is_the_parent_with_the_number_of_its_children() -> None:
    public = linked(max_children=4)
    assert list(public.counted.columns) == [*public.parent.columns, "number of visits"]
    assert public.counted.domain["number of visits"] == 5
    many = linked(max_children=500).counted.modelled["number of visits"]
    assert isinstance(many, Integer) and many.max == 500 and many.size == 32


def test_widened_is_the_child_with_its_parents_columns() -> None:
    public = linked()
    beside = [f"patients.{name}" for name in public.parent.modelled]
    assert list(public.widened.columns) == [*public.child.columns, *beside, "patients.number of visits"]
    assert public.widened.target == public.child.target and public.widened.rows == public.child.rows


def test_chained_is_the_widened_child_with_columns_of_the_sibling_before() -> None:
    public = linked()
    before = {name: f"previous visits.{name}" for name in public.child.modelled}
    assert public.previous == before and public.order == "seen"
    assert list(public.chained.columns) == [*public.widened.columns, *before.values()]
    for name, called in before.items():
        own = public.child.modelled[name]
        assert public.chained.domain[called] == own.size + (not own.nullable)
    assert public.chained.unit == public.widened.unit
    alone = linked(max_children=1)
    assert alone.previous == {} and alone.chained == alone.widened


def test_columns_whose_codes_are_found_are_not_chained() -> None:
    public = linked()
    found = {
        "days": Integer(min=0, max=30, bins=Quantiles(4), unknown="clamp"),
        "ward": Categorical(categories=("a", "b", "c"), rare="merge", unknown="other"),
    }
    child = replace(public.child, columns={**public.child.columns, **found})
    assert list(LinkedSchema(public.parent, child).previous) == ["cost", "seen", "readmitted"]


def test_codes_beside_a_child_are_the_parents_public_ones() -> None:
    columns = {"key": Identifier(), **shaped().columns}
    parent = Schema("parents", columns, 400, Unit("key", 1))
    child = Schema("children", {"key": Identifier(), "x": Integer(min=0, max=9)}, 900, Unit("key", 3))
    public = LinkedSchema(parent, child)
    for name, called in public.brought.items():
        declared, beside = public.counted.modelled[name], public.widened.modelled[called]
        assert declared.size == beside.size
        if isinstance(declared, Numeric) and isinstance(beside, Numeric):
            assert declared.edges == beside.edges and not isinstance(beside.bins, Quantiles)
        if isinstance(beside, Categorical):
            assert beside.rare != "merge"


@pytest.mark.parametrize(
    ("parent", "child", "words"),
    [
        ({}, {"unit": Unit()}, "child's unit is a row"),
        ({"unit": Unit()}, {}, "parent's unit is row"),
        ({"unit": Unit("patient", 2)}, {}, r"parent's unit is patient \(at most 2 rows\)"),
        ({"name": "visits"}, {}, "the same name"),
        ({"columns": {"number of visits": Integer(min=0, max=9)}}, {}, "number of children"),
        ({}, {"columns": {"patients.sex": Integer(min=0, max=9)}}, "parent's column"),
    ],
)
def test_schemas_that_do_not_fit_are_refused(parent: dict[str, object], child: dict[str, object], words: str) -> None:
    public = linked()

    def changed(one: Schema, changes: dict[str, object]) -> Schema:
        more = changes.get("columns", {})
        assert isinstance(more, dict)
        return replace(one, **{**changes, "columns": {**one.columns, **more}})  # type: ignore[arg-type]

    with pytest.raises(SchemaError, match=words):
        LinkedSchema(changed(public.parent, parent), changed(public.child, child))


def test_plain_values_and_back() -> None:
    public = linked()
    assert LinkedSchema.from_dict(public.to_dict()) == public


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"version": 9}, "version is 9"), ({"third": {}}, "exactly the entries"), ({"child": 3}, "each be a schema")],
)
def test_other_documents_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        LinkedSchema.from_dict({**linked().to_dict(), **changes})


def test_two_schema_files(tmp_path: Path) -> None:
    public = linked()
    paths = [tmp_path / "patients.yaml", tmp_path / "visits.yaml"]
    for path, part in zip(paths, (public.parent, public.child), strict=True):
        path.write_text(yaml.safe_dump(part.to_dict(), sort_keys=False))
    assert LinkedSchema.read(*paths) == public


def test_codes_of_a_wide_row_are_those_of_both() -> None:
    parent = replace(schema(unit=Unit("person", 1)), name="people")
    child = Schema("visits", {"person": Identifier(), "x": Integer(min=0, max=9)}, 900, Unit("person", 3))
    public = LinkedSchema(parent, child)
    row = {name: [None if name in ("age", "region") else value] for name, value in _person().items()}
    counted = discretize(from_frame(pd.DataFrame({**row, public.count: [2]}), public.counted), public.counted)
    wide = {
        "person": ["p"],
        "x": [7],
        **{called: [2] if n == public.count else row[n] for n, called in public.brought.items()},
    }
    codes = discretize(from_frame(pd.DataFrame(wide), public.widened), public.widened)
    np.testing.assert_array_equal(codes[:, 1:], counted)


def _person() -> dict[str, object]:
    return {
        "person": "p",
        "age": 3,
        "sex": "f",
        "region": "north",
        "income": 10.0,
        "seen": "2020-03-01",
        "smoker": True,
        "ill": "no",
    }
