"""Documents are read strictly and written whole."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from synthkit import documents
from synthkit.documents import (
    canonical_json,
    json_schema,
    parse_yaml,
    read_text,
    read_yaml,
    validate,
    write_atomically,
    yaml_lines,
)
from synthkit.errors import InputError, JobError, SchemaError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("010", 10),
        ("-5", -5),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("1e-6", 1e-6),
        ("1E6", 1e6),
        (".5", 0.5),
        ("2.", 2.0),
        (".inf", math.inf),
        ("2024-05-31", "2024-05-31"),
        ("2024-05-31T12:00:00", "2024-05-31T12:00:00"),
        ("<<", "<<"),
        ("=", "="),
        ('"1"', "1"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    parsed = parse_yaml(f"a: {text}", source="t")["a"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_keys_are_text() -> None:
    assert parse_yaml("2020: a\ntrue: b\n1e3: c", source="t") == {"2020": "a", "true": "b", "1e3": "c"}


@pytest.mark.parametrize("text", ["a: 1\na: 2", "x: {b: 1, b: 2}", 'a: 1\n"a": 2', "- {c: 1, c: 1}"])
def test_duplicate_keys_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="appears twice"):
        parse_yaml(text, source="t")


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a: !!int abc",
        "a: !!float abc",
        "a: !!bool maybe",
        "a: !!binary aGVsbG8=",
        "a: !!timestamp 2020-01-01",
        "a: !!set {b}",
        "a: !!python/object:os.system b",
        "a: &x [*x]",
        "a: *nowhere",
        "[a]: 1",
        "a: 1\n---\nb: 2",
        "a: \x00",
        "a: " + "[" * 1500,
        "a: " + "9" * 5000,
    ],
)
def test_what_is_not_plain_yaml_is_an_input_error(text: str) -> None:
    with pytest.raises(JobError, match=r"^job\.yaml: not valid YAML"):
        parse_yaml(text, source="job.yaml", error=JobError)


@pytest.mark.parametrize("text", ["", "- a", "word", "5"])
def test_a_document_is_a_mapping(text: str) -> None:
    with pytest.raises(InputError, match="expected a mapping"):
        parse_yaml(text, source="t")


def test_read_text_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="no such file"):
        read_text(tmp_path / "none", error=SchemaError)
    with pytest.raises(InputError, match="cannot be read"):
        read_text(tmp_path)
    (tmp_path / "latin").write_bytes("a: é".encode("latin-1"))
    with pytest.raises(InputError, match=r"not UTF-8 \(byte 3\)"):
        read_text(tmp_path / "latin")
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_yaml(tmp_path / "bom") == {"a": 1}


def test_validate_lists_every_problem_by_place() -> None:
    document = {"version": 1, "name": "", "rows": 1.0, "columns": {"a": {"kind": "integer", "min": "x", "max": True}}}
    with pytest.raises(SchemaError) as caught:
        validate(document, "data/schema.v1.json", source="s.yaml", error=SchemaError)
    for place in ("name", "rows", "columns.a.min", "columns.a.max"):
        assert f"  {place}: " in str(caught.value)


def test_validate_stops_after_ten() -> None:
    document = {"version": 1, "name": "n", "rows": 1, "columns": {f"c{i}": {"kind": "no"} for i in range(30)}}
    with pytest.raises(SchemaError, match=r"\.\.\. and 20 more"):
        validate(document, "data/schema.v1.json", source="s", error=SchemaError)


def test_the_packaged_schema_is_one() -> None:
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(json_schema("data/schema.v1.json"))


def test_canonical_json() -> None:
    assert canonical_json({"b": 1, "a": [1.5, "é"]}) == '{"a":[1.5,"\\u00e9"],"b":1}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(math.nan)


def test_write_atomically_replaces_and_leaves_nothing(tmp_path: Path) -> None:
    write_atomically(tmp_path / "f", "old")
    write_atomically(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_atomically(tmp_path / "folder", "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f", "folder"]


def test_aliases_are_refused() -> None:
    """A few lines of them can stand for billions of values."""
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    with pytest.raises(InputError, match="line 2: an alias"):
        parse_yaml(bomb, source="t")


def test_lines_are_known() -> None:
    lines = yaml_lines("a: 1\nb:\n  - x\n  - {c: 2}\n")
    assert (lines[("a",)], lines["b", 0], lines["b", 1], lines["b", 1, "c"]) == (1, 3, 4, 4)
    assert yaml_lines("") == {}


def test_forms_by_reference_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several allowed forms some stand as references, and some say no type."""
    defined = {"size": {"type": "object", "required": ["width"], "properties": {"width": {"type": "integer"}}}}
    forms = [{"$ref": "#/$defs/size"}, {"type": ["string", "null"]}, {"not": {"type": "integer"}, "minItems": 1}]
    schema = {"type": "object", "properties": {"x": {"oneOf": forms[:2]}, "y": {"oneOf": [*forms, forms[2]]}}}
    monkeypatch.setattr(documents, "json_schema", lambda _: {**schema, "$defs": defined})
    documents._validator.cache_clear()
    try:
        for value, told in (
            ({"x": 3}, "3 is none of what may stand here: a mapping with width; text or nothing"),
            ({"x": {"width": "a"}}, "x.width: 'a' is not of type 'integer'"),
            ({"y": 3}, "3 is none of what may stand here: a mapping with width; text or nothing; what its description"),
        ):
            with pytest.raises(InputError) as problem:
                validate(value, "made up", source="file", error=InputError)
            assert told in str(problem.value)
    finally:
        documents._validator.cache_clear()
