"""The bundled samples are what their SOURCE.md and schema say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthkit.data import samples
from synthkit.data.encoding import from_frame, to_frame
from synthkit.data.image_schema import ImageSchema
from synthkit.data.schema import Categorical, Integer, Schema
from synthkit.errors import InputError

TABLES = [(name, samples.path, samples.schema) for name in samples.names()]
IMAGES = [(name, samples.image_path, samples.image_schema) for name in samples.image_names()]


def test_names() -> None:
    assert samples.names() == ["adult"]
    assert samples.image_names() == ["mnist"]


@pytest.mark.parametrize(
    ("read", "known", "other"),
    [
        (samples.path, "adult", ("mnist", "of images")),
        (samples.schema, "adult", ("mnist", "of images")),
        (samples.image_path, "mnist", ("adult", "a table")),
        (samples.image_schema, "mnist", ("adult", "a table")),
    ],
)
def test_an_unknown_sample_lists_the_known_ones(
    read: Callable[[str], object], known: str, other: tuple[str, str]
) -> None:
    with pytest.raises(InputError, match=f"no bundled sample is called 'adlut'; there are: {known}"):
        read("adlut")
    name, kind = other
    with pytest.raises(InputError, match=f"the bundled sample {name} is {kind}"):
        read(name)


@pytest.mark.parametrize(("name", "path", "schema"), [*TABLES, *IMAGES])
def test_each_sample_is_small_reviewed_and_sourced(
    name: str, path: Callable[[str], Path], schema: Callable[[str], Schema | ImageSchema]
) -> None:
    assert path(name).stat().st_size < 1_000_000
    assert schema(name).reviewed
    source = (path(name).parent / "SOURCE.md").read_text()
    for word in ("Licence", "Origin", "SHA-256"):
        assert word in source


def test_mnist_is_what_was_published() -> None:
    schema = samples.image_schema("mnist")
    assert schema.classes == tuple(range(10))
    with np.load(samples.image_path("mnist"), allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    assert (images.shape, images.dtype) == ((schema.rows, *schema.shape[1:]), np.uint8)
    assert np.bincount(labels).tolist() == [500] * 10
    source = (samples.image_path("mnist").parent / "SOURCE.md").read_text()
    assert hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest() in source


def test_adult_fits_its_schema() -> None:
    schema = samples.schema("adult")
    frame = pd.read_parquet(samples.path("adult"))
    assert list(frame.columns) == list(schema.columns)
    assert len(frame) == schema.rows == 32_561
    assert schema.target == "income"
    table = from_frame(frame, schema)
    again = to_frame(table, schema)
    for name in frame:
        assert _marked(again[name]) == _marked(frame[name])


def test_adult_holds_the_published_counts() -> None:
    frame = pd.read_parquet(samples.path("adult"))
    assert frame["income"].value_counts().to_dict() == {"<=50K": 24_720, ">50K": 7_841}
    assert int(frame.notna().all(axis="columns").sum()) == 30_162  # adult.names: "train=30162" without unknowns
    nullable = {name for name, column in samples.schema("adult").modelled.items() if column.nullable}
    assert nullable == {"workclass", "occupation", "native_country"}


def test_adult_rows_are_the_original_ones() -> None:
    """The first and last rows as in adult.data, and a checksum over all values."""
    frame = pd.read_parquet(samples.path("adult"))
    rows = list(zip(*(_marked(frame[name]) for name in frame), strict=True))
    assert rows[0][:5] == (39, "State-gov", 77516, "Bachelors", 13)
    text = "\n".join(", ".join(map(str, row)) for row in rows)
    assert hashlib.sha256(f"{text}\n\n".encode()).hexdigest() in _source()


def test_zero_and_forty_are_bins_of_their_own() -> None:
    columns = samples.schema("adult").columns
    for name, value in (("capital_gain", 0), ("capital_loss", 0), ("hours_per_week", 40)):
        column = columns[name]
        assert isinstance(column, Integer)
        k = column.edges.index(value)
        assert column.edges[k + 1] == value + 1
    assert all(len(c.categories) == len(set(c.categories)) for c in columns.values() if isinstance(c, Categorical))


def _marked(values: pd.Series) -> list[object]:
    return ["?" if missing else value for value, missing in zip(values, values.isna(), strict=True)]


def _source() -> str:
    return Path(samples.path("adult").parent / "SOURCE.md").read_text()
