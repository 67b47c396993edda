"""A draft is a valid schema, marks every line that was learnt, and is never reviewed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthkit.data.drafts import LEARNT, draft, scalar
from synthkit.data.encoding import from_frame
from synthkit.data.schema import Schema
from synthkit.data.tables import FileSource, FrameSource, SampleSource, read
from synthkit.documents import parse_yaml
from synthkit.errors import DataError

ODD = [
    "no",
    "on",
    "1",
    "?",
    "null",
    ": x",
    "ü😀",
    "~",
    "- a",
    "# b",
    "'",
    '"',
    "\\",
    "a: b",
    "{",
    "&a",
    "*a",
    "!t",
    "%",
]
BREAKS = ["\t", "a\nb", "\x85", "\u2028", "\ufeff", "\x7f", "\x00", " a ", "<<", "=", "2020-01-01", "1e5", "\ud800"]


def drafted(values: Any, name: str = "a") -> dict[str, Any]:
    """The drafted entry of one column, beside another that can be modelled."""
    frame = pd.DataFrame({name: values, "other": ["x"] * len(values)})
    document = parse_yaml(draft(frame, name="d"), source="d")
    assert Schema.from_dict(document).columns
    columns: dict[str, dict[str, Any]] = document["columns"]
    return columns[name]


MANY = list(range(100))


@pytest.mark.parametrize(
    ("values", "entry"),
    [
        ([True, False], {"kind": "boolean"}),
        (["true", None, "FALSE"], {"kind": "boolean", "nullable": True}),
        ([1, 2, 117], {"kind": "integer", "min": 1, "max": 120}),
        ([-117, 5], {"kind": "integer", "min": -120, "max": 5}),
        ([1.0, None], {"kind": "integer", "min": 1, "max": 2, "nullable": True}),
        (["0", "10"], {"kind": "integer", "min": 0, "max": 10}),
        ([5, 5], {"kind": "integer", "min": 5, "max": 6}),
        ([0.5, 1.25], {"kind": "continuous", "min": 0.5, "max": 1.3, "decimals": 2}),
        (["-1234.5", "0.1"], {"kind": "continuous", "min": -1300, "max": 0.1, "decimals": 1}),
        ([1e-9, 2e20], {"kind": "continuous", "min": 1e-9, "max": 2e20}),
        ([0.123456789, 1.0], {"kind": "continuous", "min": 0.12, "max": 1.0}),
        ([0.5, float("inf")], {"kind": "continuous", "min": 0.5, "max": 1.5, "decimals": 1}),
        ([Decimal("1.10"), Decimal(2)], {"kind": "continuous", "min": 1.1, "max": 2.0, "decimals": 2}),
        (
            ["2020-01-31", "2021-02-01"],
            {"kind": "datetime", "min": "2020-01-01", "max": "2021-12-31", "resolution": "day"},
        ),
        (
            ["2020-01-31T10:30", None],
            {
                "kind": "datetime",
                "min": "2020-01-01",
                "max": "2020-12-31T23:59:59",
                "resolution": "minute",
                "nullable": True,
            },
        ),
        (
            pd.to_datetime(["2020-01-31 10:00:00.5"]),
            {"kind": "datetime", "min": "2020-01-01", "max": "2020-12-31T23:59:59", "resolution": "hour"},
        ),
        ([dt.date(2020, 1, 1)], {"kind": "datetime", "min": "2020-01-01", "max": "2020-12-31", "resolution": "day"}),
        (["2020-02-30"], {"kind": "categorical", "categories": ["2020-02-30"]}),
        (["007", "008"], {"kind": "categorical", "categories": ["007", "008"]}),
        (["b", "a", "b"], {"kind": "categorical", "categories": ["a", "b"]}),
        (pd.Categorical(["b", None]), {"kind": "categorical", "categories": ["b"], "nullable": True}),
        (
            [f"c{i % 60}" for i in range(2000)],
            {"kind": "categorical", "categories": sorted(f"c{i}" for i in range(60))},
        ),
        ([f"name {i}" for i in MANY], {"kind": "identifier"}),
        ([f"name {i % 60}" for i in range(200)], {"kind": "identifier"}),
        ([2**60, 5], {"kind": "identifier"}),
        ([None, None], {"kind": "identifier"}),
    ],
)
def test_kinds(values: Any, entry: dict[str, Any]) -> None:
    assert drafted(values) == entry


@pytest.mark.parametrize("name", ["id", "customer_id", "UUID", "row id"])
def test_running_numbers_are_known_by_name(name: str) -> None:
    assert drafted(MANY, name) == {"kind": "identifier"}
    assert drafted(MANY, "paid")["kind"] == "integer"


@pytest.mark.parametrize("text", [*ODD, *BREAKS, "yes", "No", "TRUE", "y", "N", "off", "Null", ".inf", "0x1", "1_0"])
def test_scalars_are_safe_for_every_reader(text: str) -> None:
    import yaml

    for write in (f"- {scalar(text)}  # c", f"{{{scalar(text)}: 1}}", f"{scalar(text)}:\n  b"):
        document = yaml.safe_load(write)  # YAML 1.1, the reader with the most surprises
        assert list(document) == [text]
    assert parse_yaml(f"{scalar(text)}: {scalar(text)}", source="t") == {text: text}


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(st.text(min_size=1).filter(lambda text: text.strip() and text.isprintable()), min_size=1, max_size=20))
def test_odd_categories_survive(texts: list[str]) -> None:
    values = [f"{text}!" for text in texts]  # not numbers, not moments
    assert drafted(values)["categories"] == sorted(set(values))


def test_odd_categories_and_names_make_a_schema_that_fits(tmp_path: Path) -> None:
    frame = pd.DataFrame({name: [*ODD, "plain"] * 3 for name in ODD})
    text = draft(frame, name=": no")
    schema = Schema.from_dict(parse_yaml(text, source="d"))
    assert schema.name == ": no"
    assert list(schema.columns) == ODD
    assert Schema.from_dict(schema.to_dict()) == schema
    assert from_frame(frame, schema).rows == len(frame)
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    assert Schema.read(tmp_path / "s.yaml") == schema


def test_every_learnt_line_is_marked() -> None:
    text = draft(SampleSource("adult"), name="adult")
    head, body = text.split("\ncolumns:\n")
    assert "rows: 33000  # " + LEARNT in head
    assert "reviewed: false" in head.splitlines()
    for line in body.splitlines():
        structure = line.strip() == "categories:" or (line.startswith("  ") and line[2] != " " and line.endswith(":"))
        assert structure or LEARNT in line, line


def test_the_header_says_what_is_not_covered_and_how_to_review() -> None:
    comments = [line for line in draft(pd.DataFrame({"a": [1, 2]}), name="d").splitlines() if line.startswith("#")]
    text = " ".join(line.lstrip("# ") for line in comments)
    for phrase in ("guarantee", "does not cover what was learnt", LEARNT, "To review", "'reviewed: true'"):
        assert phrase in text
    assert all(len(line) <= 120 for line in comments)


def test_a_draft_of_adult_reads_adult() -> None:
    schema = Schema.from_dict(parse_yaml(draft(SampleSource("adult"), name="adult"), source="d"))
    assert not schema.reviewed
    assert schema.rows == 33_000
    assert schema.columns["capital_gain"].kind == "integer"
    assert schema.columns["income"].kind == "categorical"
    read(SampleSource("adult"), schema, dataset="adult")


def test_a_file_and_its_frame_have_one_draft(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2, None], "b": ["x", "?", "y"], "c": [True, False, True], "d": [0.5, 0.25, 1]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    from_file = draft(FileSource(tmp_path / "t.csv", null_values=("?",)), name="t")
    assert from_file == draft(FrameSource(frame, null_values=("?",)), name="t")
    assert "nullable: true" in from_file


@pytest.mark.parametrize(("rows", "written"), [(1, 1), (9, 9), (99, 99), (104, 100), (12_345, 12_000)])
def test_rows_are_rounded(rows: int, written: int) -> None:
    assert parse_yaml(draft(pd.DataFrame({"a": np.zeros(rows)}), name="d"), source="d")["rows"] == written


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"a": []}), "no rows to learn from"),
        (pd.DataFrame(), "0 columns"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "repeated"),
        (pd.DataFrame({"": [1]}), "empty or longer than 200"),
        (pd.DataFrame({"x" * 201: [1]}), "empty or longer than 200"),
        (pd.DataFrame({"a": ["ZZTOP-91733" + str(i) for i in range(100)]}), "nothing to model"),
    ],
)
def test_what_cannot_be_drafted(frame: pd.DataFrame, message: str, refusal: Callable[..., str]) -> None:
    assert message in refusal(lambda: draft(frame, name="d"), DataError)


def test_a_thousand_columns() -> None:
    frame = pd.DataFrame({f"c{i}": [1, 2] for i in range(1000)})
    assert len(parse_yaml(draft(frame, name="d"), source="d")["columns"]) == 1000
