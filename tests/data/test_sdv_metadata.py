"""SDV's metadata come in as a draft to finish, and go out as SDV writes them."""

from __future__ import annotations

import ast
import inspect
import json
from typing import Any

import pandas as pd
import pytest

from synthkit.data import samples
from synthkit.data.drafts import LEARNT
from synthkit.data.schema import Boolean, Categorical, Continuous, Datetime, Identifier, Integer, Schema
from synthkit.data.sdv_metadata import FILL_IN, from_sdv, to_sdv
from synthkit.data.tables import SampleSource
from synthkit.documents import parse_yaml
from synthkit.errors import DataError, InputError, SchemaError

COLUMNS: dict[str, dict[str, Any]] = {
    "guest_email": {"sdtype": "email", "pii": True},
    "booking": {"sdtype": "id", "regex_format": "B[0-9]{5}"},
    "odd": {"sdtype": "unknown", "pii": True},
    "has_rewards": {"sdtype": "boolean"},
    "room": {"sdtype": "categorical"},
    "stars": {"sdtype": "categorical", "order": [1, 2, "no"]},
    "nights": {"sdtype": "numerical", "computer_representation": "Int8"},
    "rate": {"sdtype": "numerical", "computer_representation": "Float"},
    "fee": {"sdtype": "numerical"},
    "checkin": {"sdtype": "datetime", "datetime_format": "%Y-%m-%d"},
    "paid": {"sdtype": "datetime", "datetime_format": "%d %b %Y %H:%M"},
}
SINGLE = {"METADATA_SPEC_VERSION": "SINGLE_TABLE_V1", "primary_key": "booking", "columns": COLUMNS}
MULTI = {
    "METADATA_SPEC_VERSION": "V1",
    "tables": {"hotel guests": {"primary_key": "booking", "columns": COLUMNS}},
    "relationships": [],
}
DATA = pd.DataFrame(
    {
        "guest_email": ["a@b.c", "d@e.f"],
        "booking": ["B1", "B2"],
        "odd": [None, None],
        "has_rewards": [True, None],
        "room": ["BASIC", "SUITE"],
        "stars": [1, None],
        "nights": [1, 14],
        "rate": [99.5, 251.25],
        "fee": [0, 10],
        "checkin": ["2024-01-05", "2024-07-31"],
        "paid": ["05 Jan 2024 10:30", "31 Jul 2024 11:00"],
    }
)


@pytest.mark.parametrize("metadata", [SINGLE, MULTI, MULTI | {"METADATA_SPEC_VERSION": "MULTI_TABLE_V1"}])
def test_without_data_every_missing_figure_is_to_be_filled_in(metadata: dict[str, Any]) -> None:
    text = from_sdv(metadata)
    assert LEARNT not in text
    document = parse_yaml(text, source="t")
    assert document["reviewed"] is False
    assert document["name"] == ("table" if metadata is SINGLE else "hotel guests")
    assert document["rows"] == FILL_IN
    bounds = {"min": FILL_IN, "max": FILL_IN}
    assert document["columns"] == {
        "guest_email": {"kind": "identifier"},
        "booking": {"kind": "identifier"},
        "odd": {"kind": "identifier"},
        "has_rewards": {"kind": "boolean"},
        "room": {"kind": "categorical", "categories": FILL_IN},
        "stars": {"kind": "categorical", "categories": [1, 2, "no"]},
        "nights": {"kind": "integer", **bounds},
        "rate": {"kind": "continuous", **bounds},
        "fee": {"kind": "continuous", **bounds},
        "checkin": {"kind": "datetime", **bounds, "resolution": "day"},
        "paid": {"kind": "datetime", **bounds, "resolution": "minute"},
    }
    assert "not ISO 8601: convert the data" in text
    with pytest.raises(SchemaError, match="FILL-IN"):
        Schema.from_dict(document)


@pytest.mark.parametrize("column", ["nights", "rate", "checkin", "room"])
def test_no_single_placeholder_passes_for_a_schema(column: str) -> None:
    text = from_sdv({"METADATA_SPEC_VERSION": "SINGLE_TABLE_V1", "columns": {column: COLUMNS[column]}})
    document = parse_yaml(text, source="t") | {"rows": 10}
    with pytest.raises(SchemaError, match="FILL-IN"):
        Schema.from_dict(document)


def test_with_data_what_is_learnt_is_marked() -> None:
    text = from_sdv(SINGLE, name="hotel", data=DATA)
    document = parse_yaml(text, source="t")
    assert document["name"] == "hotel"
    assert document["rows"] == 2
    columns = document["columns"]
    assert columns["nights"] == {"kind": "integer", "min": 1, "max": 14}
    assert columns["rate"] == {"kind": "continuous", "min": 99.0, "max": 260.0, "decimals": 2}
    assert columns["room"]["categories"] == ["BASIC", "SUITE"]
    assert columns["has_rewards"] == {"kind": "boolean", "nullable": True}
    assert columns["stars"] == {"kind": "categorical", "categories": [1, 2, "no"], "nullable": True}
    assert columns["guest_email"] == {"kind": "identifier"}
    assert columns["paid"] == {"kind": "datetime", "min": FILL_IN, "max": FILL_IN, "resolution": "minute"}
    learnt = [line for line in text.splitlines() if line.strip().startswith(("min", "max", "null", "rows", "decimals"))]
    assert all(LEARNT in line or FILL_IN in line for line in learnt)
    assert "a@b.c" not in text


def test_data_make_a_schema_that_reads_them() -> None:
    text = from_sdv(to_sdv(samples.schema("adult")), data=SampleSource("adult"))
    schema = Schema.from_dict(parse_yaml(text, source="t"))
    assert not schema.reviewed
    assert schema.name == "adult"
    assert {n: c.kind for n, c in schema.columns.items()} == {
        n: c.kind for n, c in samples.schema("adult").columns.items()
    }


def test_data_must_have_the_metadata_s_columns() -> None:
    with pytest.raises(DataError, match="column nights is declared in the SDV metadata, not in the data"):
        from_sdv(SINGLE, data=DATA.drop(columns="nights"))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "METADATA_SPEC_VERSION is None"),
        ({"METADATA_SPEC_VERSION": "V9", "columns": COLUMNS}, "is 'V9'; synthkit reads V1"),
        ({"METADATA_SPEC_VERSION": "V1"}, "describe 0 tables"),
        ({"METADATA_SPEC_VERSION": "V1", "tables": {"a": {}, "b": {}}}, "describe 2 tables; synthkit handles one"),
        ({"METADATA_SPEC_VERSION": "V1", "tables": {"a": {}}}, "no columns for table a"),
        ({"METADATA_SPEC_VERSION": "V1", "tables": {"a": 1}}, "no columns for table a"),
        ({"METADATA_SPEC_VERSION": "SINGLE_TABLE_V1", "columns": {}}, "no columns"),
        ({"METADATA_SPEC_VERSION": "SINGLE_TABLE_V1", "columns": {"a": {}}}, "column a no sdtype"),
        ({"METADATA_SPEC_VERSION": "SINGLE_TABLE_V1", "columns": {"a": "id"}}, "column a no sdtype"),
    ],
)
def test_other_metadata_are_refused(metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        from_sdv(metadata)


def test_to_sdv() -> None:
    schema = Schema(
        name="s",
        columns={
            "who": Identifier(),
            "c": Categorical(categories=("x", 1)),
            "b": Boolean(),
            "i": Integer(min=0, max=9),
            "x": Continuous(min=0, max=1),
            "d": Datetime(min="2020-01-01", max="2021-01-01"),
            "t": Datetime(min="2020-01-01", max="2021-01-01", resolution="minute"),
        },
        rows=10,
    )
    columns = {
        "who": {"sdtype": "id"},
        "c": {"sdtype": "categorical"},
        "b": {"sdtype": "boolean"},
        "i": {"sdtype": "numerical", "computer_representation": "Int64"},
        "x": {"sdtype": "numerical", "computer_representation": "Float"},
        "d": {"sdtype": "datetime", "datetime_format": "%Y-%m-%d"},
        "t": {"sdtype": "datetime", "datetime_format": "%Y-%m-%dT%H:%M:%S"},
    }
    assert to_sdv(schema, spec="SINGLE_TABLE_V1") == {"METADATA_SPEC_VERSION": "SINGLE_TABLE_V1", "columns": columns}
    assert to_sdv(schema) == {
        "METADATA_SPEC_VERSION": "V1",
        "tables": {"s": {"columns": columns}},
        "relationships": [],
    }
    json.dumps(to_sdv(schema))
    with pytest.raises(InputError, match="expected V1 or SINGLE_TABLE_V1"):
        to_sdv(schema, spec="V2")  # type: ignore[arg-type]
    back = parse_yaml(from_sdv(to_sdv(schema)), source="t")["columns"]
    assert {name: entry["kind"] for name, entry in back.items()} == {
        name: column.kind for name, column in schema.columns.items()
    }


def test_sdv_itself_is_not_needed() -> None:
    import synthkit.data.sdv_metadata as module

    imports = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ImportFrom)]
    assert imports
    assert not [node.module for node in imports if (node.module or "").split(".")[0] == "sdv"]
