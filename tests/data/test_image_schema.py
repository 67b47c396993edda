"""An image schema says what is public about images, once, without contradiction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthkit.data.image_schema import ImageSchema
from synthkit.data.private import Private
from synthkit.data.schema import Schema, Unit
from synthkit.errors import SchemaError

FULL = """
version: 1
name: chest
description: frontal x-rays
reviewed: true
rows: 5000
unit: {column: patient, max_rows: 4}
height: 64
width: 48
channels: 3
classes: [normal, no, 7]
"""


def document(**change: Any) -> dict[str, Any]:
    smallest = {"version": 1, "name": "s", "rows": 10, "height": 4, "width": 4, "channels": 1, "classes": ["a"]}
    return {key: value for key, value in {**smallest, **change}.items() if value is not ...}


def test_a_schema_file_is_read_and_written_back(tmp_path: Path) -> None:
    (tmp_path / "chest.yaml").write_text(FULL)
    schema = ImageSchema.read(tmp_path / "chest.yaml")
    assert schema.reviewed
    assert schema.description == "frontal x-rays"
    assert schema.classes == ("normal", "no", 7)
    assert schema.unit == Unit("patient", 4)
    assert schema.shape == (3, 64, 48)
    assert (schema.values, schema.units) == (9216, 1250)
    assert str(schema) == "chest: about 5000 images, 64 x 48 colour, 3 classes, unit patient (at most 4 rows)"
    assert ImageSchema.from_dict(schema.to_dict()) == schema
    assert schema.with_rows(0).rows == 1
    assert schema.with_rows(3).units == 1
    assert hash(schema) == hash(ImageSchema.read(tmp_path / "chest.yaml"))


def test_the_smallest_schema() -> None:
    schema = ImageSchema.from_dict(document())
    assert not schema.reviewed
    assert schema.description is None
    assert schema.unit == Unit()
    assert schema.units == schema.rows == 10
    assert str(schema) == "s: about 10 images, 4 x 4 grey, 1 class, unit row"
    assert "description" not in schema.to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, r"s\.yaml: version is 2; this synthkit reads version 1"),
        ({"version": ...}, "version is None"),
        ({"version": True}, "version"),
        ({"name": ""}, "name"),
        ({"name": "\ud800"}, "half a character"),
        ({"description": ""}, "description"),
        ({"rows": 0}, "rows"),
        ({"rows": 1.5}, "rows"),
        ({"rows": 2**53}, r"s\.yaml: schema s: rows is above 2\^52"),
        ({"height": 3}, "height"),
        ({"height": 513}, "height"),
        ({"width": 0}, "width"),
        ({"width": 28.0}, "width"),
        ({"width": ...}, "width"),
        ({"channels": 2}, "channels"),
        ({"channels": 4}, "channels"),
        ({"channels": True}, "channels"),
        ({"height": 512, "width": 512, "channels": 3}, "512 x 512 colour is 786432 values an image; at most 262144"),
        ({"classes": []}, "classes"),
        ({"classes": ...}, "classes"),
        ({"classes": ["a", "a"]}, r"s\.yaml: schema s: classes are listed twice: a"),
        ({"classes": [1, "1"]}, "classes are listed twice: 1"),
        ({"classes": [0.5]}, "classes"),
        ({"classes": [True]}, "classes"),
        ({"classes": ["a", " "]}, "one of the classes is empty or blank"),
        ({"classes": list(range(10_001))}, "10001 classes; at most 10000"),
        ({"unit": "image"}, "unit"),
        ({"unit": {"column": "patient"}}, "max_rows"),
        ({"unit": {"column": "patient", "max_rows": 0}}, "max_rows"),
        ({"unit": {"column": "", "max_rows": 1}}, "column"),
        ({"surprise": 1}, "surprise"),
        ({"columns": {}}, r"s\.yaml: has columns, so it is a table's schema"),
    ],
)
def test_a_contradictory_schema_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        ImageSchema.from_dict(document(**change), source="s.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 3}, "schema s: height is 3; it must be 4 to 512 pixels"),
        ({"width": 1000}, "schema s: width is 1000; it must be 4 to 512 pixels"),
        ({"channels": 4}, r"schema s: channels is 4; it must be 1 \(grey\) or 3"),
        ({"classes": ()}, "schema s: classes is empty"),
        ({"rows": 0}, "schema s: rows is 0; declare about how many"),
    ],
)
def test_python_is_held_to_the_same(change: dict[str, Any], message: str) -> None:
    settings = {"name": "s", "rows": 10, "height": 4, "width": 4, "channels": 1, "classes": ["a"], **change}
    with pytest.raises(SchemaError, match=message):
        ImageSchema(**settings)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"none\.yaml: no such file"):
        ImageSchema.read(tmp_path / "none.yaml")
    (tmp_path / "twice.yaml").write_text("name: a\nname: b\n")
    with pytest.raises(SchemaError, match="the key 'name' appears twice"):
        ImageSchema.read(tmp_path / "twice.yaml")
    with pytest.raises(SchemaError, match="columns"):
        Schema.from_dict(document())


@given(
    classes=st.lists(st.one_of(st.integers(), st.text(min_size=1)), min_size=1, max_size=5, unique_by=str).filter(
        lambda labels: all(str(label).strip() for label in labels)
    ),
    side=st.integers(4, 200),
    channels=st.sampled_from([1, 3]),
    rows=st.integers(1, 2**52),
    unit=st.one_of(st.just(Unit()), st.builds(Unit, st.text(min_size=1, max_size=9), st.integers(1, 99))),
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_plain_values_and_back(classes: list[Any], side: int, channels: int, rows: int, unit: Unit) -> None:
    schema = ImageSchema(
        name="s", height=side, width=4, channels=channels, classes=tuple(classes), rows=rows, unit=unit
    )
    assert ImageSchema.from_dict(schema.to_dict()) == schema


def test_a_box_of_images_is_named_by_what_is_public() -> None:
    schema = ImageSchema.from_dict(document())
    box = Private([1], dataset="scans", schema=schema)
    assert repr(box) == "Private(dataset='scans', schema='s', images='4 x 4 grey')"
    assert box.bounded
    by_patient = ImageSchema.from_dict(document(unit={"column": "patient", "max_rows": 2}))
    assert not Private([1], dataset="scans", schema=by_patient).bounded


def test_locked_images_are_not_seen_under_a_schema_that_reads_them_otherwise() -> None:
    schema = ImageSchema.from_dict(document(classes=["a", "b"]))
    box = Private([1], dataset="scans", schema=schema)
    assert box.under(ImageSchema.from_dict(document(classes=["a", "b"], rows=99))).schema.rows == 99
    for change in ({"classes": ["b", "a"]}, {"height": 5}, {"unit": {"column": "patient", "max_rows": 1}}):
        with pytest.raises(SchemaError, match="the columns and the unit"):
            box.under(ImageSchema.from_dict(document(**{"classes": ["a", "b"], **change})))
