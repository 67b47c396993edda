"""A hostile newcomer at the command line and in Python.

Whatever comes in, what comes out is one clear message and the documented exit code, no traceback, no
private value (not in the output, nor in an exception's chain, a log or a file), a true ledger, and
nothing half-written.
"""

from __future__ import annotations

import functools
import gzip
import json
import logging
import os
import pty
import resource
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
import sqlalchemy
import yaml
from click.testing import CliRunner, Result

import synthkit as sk
from synthkit import cli
from synthkit.cli import main
from synthkit.data.schema import MAX_COLUMNS
from synthkit.data.tables import FileSource, SqlSource, write_csv
from synthkit.errors import DataError, InputError, JobError, LedgerError, SchemaError, SynthkitError, VerificationFailed
from synthkit.privacy.ledger import Ledger
from synthkit.release import bundle
from synthkit.release import kinds as kinds_module
from synthkit.release import run as run_module
from synthkit.release.job import Job
from synthkit.release.run import price, run
from synthkit.release.sign import new_key
from synthkit.synthesizers import independent
from tests.release.test_anonymizing import house
from tests.release.test_job import write
from tests.tables import frame, schema

TEXT, NUMBER = "zq-secret-771", 987654.25  # private values that may turn up nowhere
CANARIES = (TEXT, "987654")
URL = f"postgresql://reader:{TEXT}@127.0.0.1:1/shop"  # port 1: nobody listens
ROOT = Path(__file__).parents[1]


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def told(problem: BaseException | None) -> str:
    """Everything that an exception and all that hang on it say."""
    text, todo, seen = "", [problem], set()
    while todo:
        current = todo.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        text += f"{current!r}\n{current}\n" + "\n".join(getattr(current, "__notes__", ())) + "\n"
        todo += [current.__cause__, current.__context__]
    return text


def assert_private(text: str) -> None:
    for canary in CANARIES:
        assert canary not in text, text


def assert_clean(result: Result, code: int, *parts: str) -> None:
    """The exit code, a message with all ``parts``, no traceback, nothing private."""
    assert result.exception is None or isinstance(result.exception, SystemExit), told(result.exception)
    assert result.exit_code == code, result.output
    for part in parts:
        assert part in result.output
    assert_private(result.output + told(result.exception))


def kinds(folder: Path) -> list[str]:
    """What the folder's ledger recorded."""
    file = folder / "ledger.sqlite"
    if not file.exists():
        return []
    Ledger(file).verify()
    return [entry.kind for entry in Ledger(file).entries()]


def assert_nothing_left(folder: Path, *allowed: str) -> None:
    """No bundle, no hidden folder, no kept model; and no private value in anything that was written."""
    given = {"people.csv", "people.schema.yaml", "release.yaml", "ledger.sqlite", *allowed}
    assert {path.name for path in folder.iterdir()} <= given
    if (folder / "ledger.sqlite").exists():
        assert_private((folder / "ledger.sqlite").read_bytes().decode("latin-1"))


@pytest.fixture(autouse=True)
def own_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    monkeypatch.setenv("SYNTHKIT_LEDGER", str(tmp_path / "ledger.sqlite"))
    with caplog.at_level(logging.DEBUG):
        yield
        assert_private(caplog.text)


def refused(tmp_path: Path, file: Path, code: int, *parts: str, ledger: tuple[list[str], ...] = ([],)) -> str:
    """The same refusal from the command line and from Python; returns what the command line said."""
    result = call("release", file)
    assert_clean(result, code, *parts)
    assert kinds(tmp_path) in ledger
    with pytest.raises(SynthkitError) as caught:
        run(Job.read(file), Ledger(tmp_path / "ledger.sqlite"))
    assert caught.value.exit_code == code
    assert str(caught.value) in result.output
    assert_private(told(caught.value))
    assert Ledger(tmp_path / "ledger.sqlite").spent("people").epsilon == 0
    assert_nothing_left(tmp_path)
    return result.output


CANCELLED = ([], ["reserve", "cancel"])


# The data --------------------------------------------------------------------------------------


def with_cell(column: str, value: Any, rows: tuple[int, ...] = (3,)) -> pd.DataFrame:
    data = frame()
    cells = list(data[column].astype(object))
    for row in rows:
        cells[row] = value
    return data.assign(**{column: pd.Series(cells, dtype=object)})


def as_csv(data: pd.DataFrame) -> bytes:
    return data.to_csv(index=False).encode()


def strict(column: str) -> dict[str, Any]:
    """The schema with ``unknown: error`` in one column."""
    document = schema().to_dict()
    document["columns"][column].pop("unknown", None)
    return document


def duplicate() -> bytes:
    data = frame()
    data.insert(2, "twin", TEXT)
    return as_csv(data).replace(b"twin", b"sex", 1)


BAD_DATA: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "missing column": (lambda: as_csv(frame().drop(columns="sex")), ("column sex is declared", "add it to the data")),
    "two missing columns": (lambda: as_csv(frame().drop(columns=["sex", "age"])), ("columns age, sex", "add them")),
    "extra column": (lambda: as_csv(frame().assign(town=TEXT)), ("column town is in the data", "declare it")),
    "duplicate column": (duplicate, ("column sex appears more than once", "rename or remove it")),
    "other capitals": (lambda: as_csv(frame().rename(columns={"sex": "Sex"})), ("column sex", "spaces or capitals")),
    "no header line": (
        lambda: as_csv(with_cell("sex", TEXT).set_axis([TEXT, TEXT, *"bcdef"], axis="columns")),
        ("is there a header line",),
    ),
    "another separator": (lambda: frame().to_csv(index=False, sep=";").encode(), ("the separator",)),
    "an index column": (lambda: frame().to_csv().encode(), ("column 1 has no name", "remove it")),
    "text in an integer": (lambda: as_csv(with_cell("age", TEXT)), ("column age: 1 row ", "expected whole numbers")),
    "text in a number": (lambda: as_csv(with_cell("income", TEXT)), ("column income: 1 row ", "expected numbers")),
    "text in a date": (lambda: as_csv(with_cell("seen", TEXT)), ("column seen: 1 row ", "expected ISO 8601")),
    "text in a boolean": (lambda: as_csv(with_cell("smoker", TEXT)), ("column smoker: 1 row ", "use true and false")),
    "undeclared category": (
        lambda: as_csv(with_cell("sex", TEXT, (1, 2))),
        ("column sex: 2 rows ", "declare the category"),
    ),
    "all null": (lambda: as_csv(frame().assign(sex=None)), ("column sex: 400 rows without a value", "fill them")),
    "no bytes": (lambda: b"", ("is empty; expected a header line",)),
    "not UTF-8": (lambda: as_csv(frame()).replace(b"north", TEXT.encode() + b"\xe9", 1), ("not UTF-8", "save it as")),
    "not UTF-8 in the header": (lambda: as_csv(frame()).replace(b"region", b"r\xe9gion", 1), ("not UTF-8 (byte ",)),
    "UTF-16": (lambda: frame().to_csv(index=False).encode("utf-16"), ("not UTF-8 (byte 0)",)),
    "too few fields": (
        lambda: as_csv(frame()) + f"1,2,{TEXT}\n".encode(),
        ("row 402 (the header is row 1)", "check separators"),
    ),
    "an open quotation mark": (
        lambda: (
            as_csv(frame()[["age", "sex", "income", "seen", "smoker", "ill", "region"]])
            + f'3,f,1,2020-01-01,True,no,"{TEXT}\n'.encode()
        ),
        ("a quotation mark is opened and never closed", "close it"),
    ),
    "Parquet by another name": (lambda: b"PAR1\xff" + TEXT.encode(), ("not UTF-8",)),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_are_refused_and_cost_nothing(tmp_path: Path, case: str) -> None:
    make, parts = BAD_DATA[case]
    (tmp_path / "people.csv").write_bytes(make())
    file = write(tmp_path, holdout=0)
    refused(tmp_path, file, 2, str(tmp_path / "people.csv"), *parts, ledger=CANCELLED)
    assert_clean(call("schema", "check", tmp_path / "people.schema.yaml", tmp_path / "people.csv"), 2, *parts)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("income", NUMBER, "column income: 1 row outside the declared min and max"),
        ("income", "inf", "column income: 1 row outside the declared min and max"),
        ("income", "-inf", "column income: 1 row outside the declared min and max"),
        ("income", "nan", "column income: 1 row without a value; declare 'nullable: true'"),
        ("age", NUMBER, "column age: 1 row with a fraction; declare the column continuous"),
    ],
)
def test_numbers_out_of_place(tmp_path: Path, column: str, value: Any, message: str) -> None:
    (tmp_path / "people.csv").write_bytes(as_csv(with_cell(column, value)))
    file = write(tmp_path, holdout=0)
    (tmp_path / "people.schema.yaml").write_text(yaml.safe_dump(strict(column), sort_keys=False))
    refused(tmp_path, file, 2, message, ledger=CANCELLED)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", NUMBER])
def test_numbers_out_of_place_are_clamped_where_the_schema_says_so(tmp_path: Path, value: Any) -> None:
    (tmp_path / "people.csv").write_bytes(as_csv(with_cell("income", value)))
    assert_clean(call("release", write(tmp_path, holdout=0)), 0)
    for path in (tmp_path / "release").iterdir():
        assert_private(path.read_bytes().decode("latin-1"))


@pytest.mark.parametrize("rows", [0, 1, "all null"])
def test_little_data_make_a_release_like_any_other(tmp_path: Path, rows: Any) -> None:
    data = frame().assign(age=None) if rows == "all null" else frame().iloc[:rows]
    (tmp_path / "people.csv").write_bytes(as_csv(data))
    assert_clean(call("release", write(tmp_path)), 0, "100 synthetic rows")
    assert_clean(call("verify", tmp_path / "release"), 0, "verified")
    assert kinds(tmp_path) == ["reserve", "commit"]


def parquet(data: pd.DataFrame) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        data.to_parquet(file.name)
        return Path(file.name).read_bytes()


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("d.parquet", lambda: b"PAR1" + TEXT.encode() + b"PAR1", "not a Parquet file, or damaged"),
        ("d.parquet", lambda: parquet(frame())[:-50], "not a Parquet file, or damaged"),
        ("d.parquet", lambda: parquet(frame().assign(age=[[TEXT]] * 400)), "column age: 400 rows with a value of"),
        ("d.csv.gz", lambda: as_csv(with_cell("sex", TEXT)), "cannot be unpacked"),
        ("d.csv.gz", lambda: gzip.compress(as_csv(with_cell("sex", TEXT)))[:-30], "cannot be unpacked"),
        ("d.tsv", lambda: as_csv(with_cell("sex", TEXT)), "is there a header line, and is the separator"),
        ("d.xlsx", lambda: b"PK", "unknown kind of file; expected one of .csv"),
    ],
)
def test_other_files(tmp_path: Path, name: str, make: Callable[[], bytes], message: str) -> None:
    (tmp_path / name).write_bytes(make())
    result = call("release", write(tmp_path, data={"path": name}, holdout=0))
    assert_clean(result, 2, str(tmp_path / name), message)
    assert kinds(tmp_path) in CANCELLED
    assert_nothing_left(tmp_path, name)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"path": "nowhere.csv"}, "nowhere.csv: no such file; check the path"),
        ({"path": "folder.csv"}, "folder.csv: is a folder; name one file"),
        ({"sample": "nix"}, "no bundled sample is called 'nix'; there are: adult"),
        ({"path": "people.csv", "sample": "adult"}, "was unexpected"),
        ({"path": "people.csv", "null_values": "?"}, "data.null_values: '?' is not of type 'array'"),
        ({}, "a mapping with path; a mapping with sql and query; a mapping with sample"),
        ({"path": URL}, "data.path is a URL; for a database write 'sql' and 'query'"),
        ({"sql": URL}, "data: 'query' is a required property"),
        ({"sql": [URL], "query": "SELECT 1"}, "data.sql: a list is not of type 'string'"),
        ({"sql": URL, "querry": "SELECT 1"}, "('querry' was unexpected); known are sql, query, null_values"),
        (URL, "data: what is written is none of what may stand here"),
    ],
)
def test_where_the_data_are_not(tmp_path: Path, data: Any, message: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    result = call("release", write(tmp_path, data=data))
    assert_clean(result, 2, message)
    assert kinds(tmp_path) == []
    assert_nothing_left(tmp_path, "folder.csv")


class Opaque:
    """A cell that shows itself wherever it is quoted."""

    def __repr__(self) -> str:
        return TEXT


CELLS: dict[str, Any] = {
    "text": TEXT,
    "list": [TEXT],
    "mapping": {TEXT: 1},
    "bytes": TEXT.encode(),
    "object": Opaque(),
    "half a character": TEXT + "\ud800",
}


@pytest.mark.parametrize("column", [name for name in schema().columns if name != "region"])
@pytest.mark.parametrize("cell", CELLS)
def test_strange_cells_in_a_frame(tmp_path: Path, column: str, cell: str) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    data = with_cell(column, CELLS[cell]).head(10)
    with pytest.raises(DataError, match=f"the data frame.*column {column}") as caught:
        sk.fit(data, schema(), sk.Budget(1.0, 1e-6), dataset="people", name="independent", ledger=ledger)
    assert_private(told(caught.value))
    assert kinds(tmp_path) == ["reserve", "cancel"]


def test_what_is_no_frame(tmp_path: Path) -> None:
    wrong: Any = {"sex": [TEXT]}
    with pytest.raises(DataError, match="the data are a dict; give a pandas DataFrame") as caught:
        sk.fit(wrong, schema(), sk.Budget(1.0, 1e-6), dataset="people", ledger=Ledger(tmp_path / "ledger.sqlite"))
    assert_private(told(caught.value))


# Databases -------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'people.db'}"
    engine = sqlalchemy.create_engine(url)
    with_cell("sex", TEXT).to_sql("people", engine, index=False)
    engine.dispose()
    return url


@pytest.mark.parametrize(
    ("url", "query", "message"),
    [
        (f"mysql://reader:{TEXT}@h/db", "SELECT 1", "driver is not installed; pip install it"),
        (f"nix+foo://reader:{TEXT}@h/db", "SELECT 1", "the URL is not one of SQLAlchemy's"),
        (f"postgresql://reader:{TEXT}@h:port/db", "SELECT 1", "the URL is not one of SQLAlchemy's"),
        (URL, "SELECT 1", "postgresql://127.0.0.1/shop: cannot connect; check host, user and password"),
        ("sqlite:///{tmp}/nowhere.db", "SELECT 1", "no such file; check the path in the URL"),
        ("{database}", f"SELEC '{TEXT}'", "the database refused it; run the query in"),
        ("{database}", "SELECT * FROM nowhere", "the database refused it"),
        ("{database}", "DELETE FROM people", "the database refused it"),
        ("{database}", "SELECT * FROM people; DELETE FROM people", "the database refused it"),
        ("{database}", "SELECT age FROM people", "columns sex, region"),
        ("{database}", "SELECT * FROM people", "column sex: 1 row with a value that is not declared"),
        ("$NO_SUCH_VARIABLE", "SELECT 1", "the environment variable NO_SUCH_VARIABLE, which is not set"),
    ],
)
def test_bad_databases_and_queries(tmp_path: Path, database: str, url: str, query: str, message: str) -> None:
    url = url.replace("{tmp}", str(tmp_path)).replace("{database}", database)
    assert_clean(call("release", write(tmp_path, data={"sql": url, "query": query}, holdout=0)), 2, message)
    assert kinds(tmp_path) in CANCELLED
    assert_nothing_left(tmp_path, "people.db")
    if not url.startswith("$"):
        assert_clean(call("schema", "check", tmp_path / "people.schema.yaml", url, "--query", query), 2, message)
    with sqlite3.connect(tmp_path / "people.db") as connection:
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (400,)


def test_urls_are_shown_without_their_password(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = SqlSource(URL, "SELECT 1")
    assert_private(f"{shown!r} {shown.label}")
    assert_clean(call("schema", "draft", URL, "-o", tmp_path / "d.yaml"), 2, "needs --query")
    source = FileSource(tmp_path / "people.csv")
    frame().to_csv(source.path, index=False)
    file = write(tmp_path).parent / "people.schema.yaml"
    # A server that lets everybody in: the answer names the source, and what drafts are called.
    monkeypatch.setattr(SqlSource, "columns", lambda self: source.columns())
    monkeypatch.setattr(SqlSource, "_batches", lambda self, rows: source._batches(rows))
    for url in (URL, f"postgresql://reader:{TEXT}@host", f"postgresql://host/db?password={TEXT}"):
        for more in ([], ["--json"]):
            assert_clean(call("schema", "check", file, url, "--query", "SELECT 1", *more), 0, "postgresql://")
        assert_clean(call("schema", "draft", url, "--query", "SELECT 1", "-o", tmp_path / "d.yaml"), 0)
        assert_private((tmp_path / "d.yaml").read_text())
        (tmp_path / "d.yaml").unlink()


# The schema file -------------------------------------------------------------------------------


def changed(column: str, **changes: Any) -> str:
    document = schema().to_dict()
    entry = {**document["columns"][column], **changes}
    document["columns"][column] = {key: value for key, value in entry.items() if value is not None}
    return yaml.safe_dump(document, sort_keys=False)


def top(**changes: Any) -> str:
    return yaml.safe_dump({**schema().to_dict(), **changes}, sort_keys=False)


BAD_SCHEMAS: dict[str, tuple[str | bytes, str]] = {
    "bounds reversed": (changed("age", min=99, max=0), "column age: min (99) must be below max (0)"),
    "bounds equal": (changed("age", min=5, max=5), "column age: min (5) must be below max (5)"),
    "dates reversed": (changed("seen", min="2021-01-01"), "column seen: min (2021-01-01T00:00:00) must be below max"),
    "no date": (changed("seen", min="soon"), "column seen: 'soon' is not a date or time in ISO 8601"),
    "infinite bound": (changed("income", max=float("inf")), "column income: min and max must be finite numbers"),
    "bound nan": (changed("income", min=float("nan")), "column income: min and max must be finite numbers"),
    "enormous bound": (changed("income", max=10**400), "a number of 401 digits; at most 300"),
    "enormous integer": (changed("age", max=10**17), "column age: integers beyond 2^52"),
    "text as a bound": (changed("age", min="zero"), "columns.age.min: 'zero' is not of type 'integer'"),
    "another version": (top(version=2), "version is 2; this synthkit reads version 1 (write 'version: 1')"),
    "no version": (top(version=None), "this synthkit reads version 1"),
    "version as text": (top(version="1"), "version is '1'"),
    "a key twice": (top() + "rows: 7\n", "the key 'rows' appears twice (first on line 4); keep one"),
    "not UTF-8": (top(name="pöple").encode("latin-1").replace(b"p\\xF6ple", b"p\xf6ple"), "not UTF-8 (byte "),
    "not YAML": ("columns: [\n", "not valid YAML: line 2"),
    "a list": ("- a\n", "expected a mapping of settings (key: value), got a list"),
    "empty": ("", "got nothing (it is empty)"),
    "endless nesting": ("a: " + "[" * 900, "the nesting is too deep"),
    "unknown kind": (changed("sex", kind="enum"), "columns.sex.kind: 'enum' is not one of ['categorical',"),
    "unknown key": (changed("sex", nulable=True), "('nulable' was unexpected); known are kind, categories, nullable"),
    "unknown for numbers": (changed("age", unknown="other"), "columns.age.unknown: 'other' is not one of"),
    "boolean as category": (changed("sex", categories=[True, "f"]), "true is not of type 'string', 'integer'"),
    "category twice": (changed("sex", categories=["f", "f"]), "categories are listed twice: f"),
    "blank category": (changed("sex", categories=["f", " "]), "one of the categories is empty or blank"),
    "half a character": (
        json.dumps({**schema().to_dict(), "name": "\ud800"}),
        "the schema's name, or a column's: a text holds half a character",
    ),
    "half a character in a category": (
        json.dumps(yaml.safe_load(changed("sex"))).replace('"f"', '"\\ud800"'),
        "column sex: a text holds half a character",
    ),
    "bins of text": (changed("age", bins="few"), "columns.age.bins: 'few' is none of what may stand here"),
    "rows as text": (top(rows="many"), "rows: 'many' is not of type 'integer'"),
    "rows beyond reason": (top(rows=10**30), "rows is above 2^52"),
    "unit of a category": (
        top(unit={"column": "sex", "max_rows": 2}),
        "unit.column 'sex' must be declared as a column of kind identifier",
    ),
    "unit in words": (top(unit="person"), "row; a mapping with column and max_rows"),
    "target nowhere": (top(target="nix"), "target 'nix' is not one of the modelled columns"),
}


@pytest.mark.parametrize("case", BAD_SCHEMAS)
def test_bad_schemas_are_refused(tmp_path: Path, case: str) -> None:
    content, message = BAD_SCHEMAS[case]
    frame().to_csv(tmp_path / "people.csv", index=False)
    file, public = write(tmp_path), tmp_path / "people.schema.yaml"
    public.write_bytes(content.encode() if isinstance(content, str) else content)
    refused(tmp_path, file, 2, str(public), message)
    assert_clean(call("schema", "check", public), 2, str(public), message)


def test_on_and_no_are_categories(tmp_path: Path) -> None:
    text = changed("ill", categories=["NO", "ON"]).replace("NO", "no").replace("ON", "on")
    data = frame().assign(ill=np.where(frame()["ill"] == "yes", "on", "no"))
    data.to_csv(tmp_path / "people.csv", index=False)
    file = write(tmp_path, holdout=0)
    (tmp_path / "people.schema.yaml").write_text(text.replace("'no'", "no").replace("'on'", "on"))
    assert "- on" in (tmp_path / "people.schema.yaml").read_text()
    assert_clean(call("release", file), 0)
    assert set(pd.read_csv(tmp_path / "release" / "data.csv")["ill"]) == {"on", "no"}


def test_enormous_numbers_in_python() -> None:
    for column in ({"kind": "continuous", "min": 0, "max": 10**400}, {"kind": "integer", "min": 0, "max": 10**400}):
        with pytest.raises(SchemaError):
            sk.Schema.from_dict({"version": 1, "name": "x", "rows": 9, "columns": {"a": column}})


# The release file ------------------------------------------------------------------------------


def budget(epsilon: Any, delta: Any = 1e-6) -> dict[str, Any]:
    return {"budget": {"epsilon": epsilon, "delta": delta}}


BAD_JOBS: dict[str, tuple[dict[str, Any], str]] = {
    "epsilon zero": (budget(0), "release.yaml: budget: epsilon is 0.0; it must be a finite number above 0"),
    "epsilon negative": (budget(-1), "epsilon is -1.0; it must be a finite number above 0"),
    "epsilon infinite": (budget(float("inf")), "epsilon is inf; it must be a finite number above 0"),
    "epsilon nan": (budget(float("nan")), "epsilon is nan; it must be a finite number above 0"),
    "epsilon text": (budget("one"), "budget.epsilon: 'one' is not of type 'number'"),
    "epsilon empty": (budget(None), "budget.epsilon: nothing is not of type 'number'"),
    "epsilon true": (budget(True), "budget.epsilon: true is not of type 'number'"),
    "epsilon enormous": (budget(10**400), "a number of 401 digits"),
    "epsilon out of reach": (budget(1e-9), "epsilon 1e-09 cannot be reached"),
    "delta missing": ({"budget": {"epsilon": 1.0}}, "budget: 'delta' is a required property"),
    "delta zero": (budget(1.0, 0), "release.yaml: budget: delta is 0.0; it must lie between 0 and 1"),
    "delta one": (budget(1.0, 1), "delta is 1.0; it must lie between 0 and 1"),
    "delta above 1/rows": (budget(1.0, 0.01), "delta is 0.01, above 1/rows = 0.0025"),
    "delta text": (budget(1.0, "small"), "budget.delta: 'small' is not of type 'number'"),
    "schema nowhere": ({"schema": "nowhere.yaml"}, "nowhere.yaml: no such file; check the path"),
    "schema a folder": ({"schema": "."}, "cannot be read: Is a directory"),
    "no schema": ({"schema": None}, "no schema; name the file that says what is public"),
    "unknown method": (
        {"method": {"name": "gan"}},
        "there is no method 'gan'; there are aim, auto, image_gan, image_moments, image_vae, independent, mst, sdv_baseline, tabular_gan, tabular_vae",
    ),
    "unknown setting": ({"method": {"name": "independent", "epochs": 3}}, "no setting epochs; it has none"),
    "method as text": ({"method": "independent"}, "method: 'independent' is not of type 'object'"),
    "unknown key": ({"outputs": "x"}, "('outputs' was unexpected); known are version, dataset"),
    "no rows": ({"rows": 0}, "rows: 0 is less than the minimum of 1"),
    "rows in words": ({"rows": "all"}, "rows: 'all' is not of type 'integer'"),
    "too many rows": ({"rows": 10**12}, "greater than the maximum of 1000000000"),
    "everything held out": ({"holdout": 1}, "holdout: 1 is greater than or equal to the maximum of 1"),
    "blank dataset": ({"dataset": " "}, "a dataset cannot be named ' '"),
    "output exists": ({"output": "people.csv"}, "people.csv exists; name another output, or move it away"),
    "output's parent missing": ({"output": "no/such"}, "no: no such folder; create it"),
    "output's parent a file": ({"output": "people.csv/r"}, "people.csv: no such folder"),
    "output too long": ({"output": "x" * 240}, "cannot be written: File name too long; name another output"),
    "output without a possible name": ({"output": "a\0b"}, "cannot be written: the name holds a character"),
    "internal in other words": ({"internal": "yes"}, "internal: 'yes' is not one of ['allow', 'deny']"),
}


@pytest.mark.parametrize("case", BAD_JOBS)
def test_bad_release_files_are_refused(tmp_path: Path, case: str) -> None:
    changes, message = BAD_JOBS[case]
    with_cell("sex", TEXT).to_csv(tmp_path / "people.csv", index=False)
    refused(tmp_path, write(tmp_path, **changes), 2, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "release.yaml: expected a mapping of settings (key: value), got nothing (it is empty)"),
        (b"version: 1\nversion: 1\n", "the key 'version' appears twice"),
        (b"version: 3\n", "version is 3; this synthkit reads version 1"),
        (b"dataset: \xff\n", "release.yaml: not UTF-8 (byte 9); save it as UTF-8"),
    ],
)
def test_unreadable_release_files(tmp_path: Path, content: bytes, message: str) -> None:
    file = write(tmp_path)
    file.write_bytes(content)
    for command in ("plan", "release"):
        assert_clean(call(command, file), 2, message)
    assert_clean(call("release", tmp_path), 2, "cannot be read: Is a directory")
    assert_clean(call("release", tmp_path / "nix.yaml"), 2, "nix.yaml: no such file")
    assert_nothing_left(tmp_path)


def test_a_link_to_nowhere_is_not_overwritten(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "people.csv", index=False)
    (tmp_path / "release").symlink_to(tmp_path / "nowhere")
    assert_clean(call("release", write(tmp_path)), 2, "release exists")
    assert kinds(tmp_path) == []


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame().to_csv(tmp_path / "people.csv", index=False)
    file = write(tmp_path)
    ordinary = Path.mkdir

    def refuse(self: Path, *arguments: Any, **more: Any) -> None:
        if ".partial-" in self.name:
            raise PermissionError(13, "Permission denied")
        ordinary(self, *arguments, **more)

    monkeypatch.setattr(Path, "mkdir", refuse)  # permissions do not stop root
    refused(tmp_path, file, 2, "release: cannot be written: Permission denied")


def test_unreviewed_schemas(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "people.csv", index=False)
    file = write(tmp_path, holdout=0)
    (tmp_path / "people.schema.yaml").write_text(top(reviewed=False))
    refused(tmp_path, file, 1, "schema people is not reviewed", "write 'reviewed: true'")
    assert_clean(call("release", file, "--allow-unreviewed"), 0)
    manifest = json.loads((tmp_path / "release" / "manifest.json").read_text())
    assert bundle.UNREVIEWED in manifest["not_covered"] and manifest["schema"]["reviewed"] is False
    assert bundle.UNREVIEWED in (tmp_path / "release" / "report.html").read_text()
    assert_clean(call("verify", tmp_path / "release"), 0)


def test_no_release_without_a_guarantee(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "people.csv", index=False)
    refused(tmp_path, write(tmp_path, method={"name": "sdv_baseline"}), 1, "has no privacy guarantee")


# The ledger ------------------------------------------------------------------------------------


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    frame().to_csv(tmp_path / "people.csv", index=False)
    return write(tmp_path, holdout=0, model=True)


def test_an_exhausted_budget(tmp_path: Path, ready: Path) -> None:
    cap = ("ledger", "cap", "people", "--delta", "1e-6", "--epsilon")
    assert_clean(call(*cap, "0.5"), 0)
    (tmp_path / "people.csv").write_bytes(as_csv(with_cell("sex", TEXT)))  # not opened: it would be refused
    assert_clean(call("release", ready), 1, "dataset 'people'", "above the cap of 0.5", "ask for a smaller epsilon")
    assert kinds(tmp_path) == ["cap"]
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize(
    ("epsilon", "delta", "message"),
    [
        ("-1", "1e-6", "epsilon is -1.0; it must be a finite number, 0 or more"),
        ("nan", "1e-6", "epsilon is nan"),
        ("inf", "1e-6", "epsilon is inf"),
        ("1", "0", "delta is 0.0; it must lie between 0 and 1"),
        ("x", "1e-6", "'x' is not a valid float"),
    ],
)
def test_bad_caps(tmp_path: Path, epsilon: str, delta: str, message: str) -> None:
    assert_clean(call("ledger", "cap", "people", f"--epsilon={epsilon}", f"--delta={delta}"), 2, message)
    assert kinds(tmp_path) == []


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (a)")


def tampered(path: Path) -> None:
    Ledger(path).cap("people", 3, 1e-6)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER entries_no_update")
        connection.execute("UPDATE entries SET payload = '{}'")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: path.write_text("not a database " * 200), "is not an SQLite file; give the ledger a path of its"),
        (lambda path: path.mkdir(), "cannot be the ledger: it (or its folder) is not a file"),
        (foreign, "is a database, but not a ledger of synthkit"),
        (tampered, "was changed or moved; the totals cannot be trusted"),
    ],
    ids=["text", "folder", "other database", "tampered"],
)
def test_what_is_no_ledger(tmp_path: Path, ready: Path, prepare: Callable[[Path], None], message: str) -> None:
    path = tmp_path / "ledger.sqlite"
    prepare(path)
    before = path.read_bytes() if path.is_file() else b""
    for command in (["release", ready], ["ledger", "show"], ["ledger", "verify"]):
        assert_clean(call(*command), 1, str(path), message)
    with pytest.raises(LedgerError):
        run(Job.read(ready), Ledger(path))
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert {entry.name for entry in tmp_path.iterdir()} == {
        "people.csv",
        "people.schema.yaml",
        "release.yaml",
        "ledger.sqlite",
    }


@pytest.mark.parametrize(
    ("location", "message"),
    [
        (":memory:", "a ledger in memory would forget"),
        (f"mysql://reader:{TEXT}@h/db", "a ledger cannot be kept in mysql"),
        (f"://{TEXT}", "the ledger's URL cannot be read"),
        (URL, "postgresql+psycopg://reader:***@127.0.0.1:1/shop: cannot be reached"),
    ],
)
def test_where_no_ledger_can_be(tmp_path: Path, ready: Path, location: str, message: str) -> None:
    if location == URL:
        pytest.importorskip("psycopg")
    assert_clean(call("release", ready, "--ledger", location), 1, message)
    assert_nothing_left(tmp_path)


def test_a_read_only_ledger(tmp_path: Path, ready: Path) -> None:
    Ledger(tmp_path / "ledger.sqlite").cap("people", 3, 1e-6)
    location = f"sqlite:///file:{tmp_path / 'ledger.sqlite'}?mode=ro&uri=true"
    assert_clean(call("release", ready, "--ledger", location), 1, "is read-only for this user", "make the file")
    assert_clean(call("ledger", "show", "--ledger", location), 0, "people")
    assert kinds(tmp_path) == ["cap"]
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_ledger_that_is_not_there_is_no_empty_one(tmp_path: Path, command: str) -> None:
    result = call("ledger", command, "--ledger", tmp_path / "typo.sqlite")
    assert_clean(result, 2, "typo.sqlite: no such ledger; check the path")
    assert not (tmp_path / "typo.sqlite").exists()


def test_a_name_that_the_ledger_never_saw(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.sqlite").cap("people", 3, 1e-6)
    assert_clean(call("ledger", "show", "peple"), 0, "no entry for peple; datasets in it: people")


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger.__init__, "__kwdefaults__", {"timeout": 0.1})


def locked(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def test_a_locked_ledger(tmp_path: Path, ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite", timeout=0.1)
    impatient(monkeypatch)
    connection = locked(tmp_path / "ledger.sqlite")
    assert_clean(call("release", ready), 1, "was locked by another process", "nothing was recorded: try again")
    with pytest.raises(LedgerError, match="locked"):
        run(Job.read(ready), ledger)
    connection.close()
    assert kinds(tmp_path) == []
    assert_nothing_left(tmp_path)


def test_a_ledger_that_is_locked_when_the_fit_is_done(
    tmp_path: Path, ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    held: list[sqlite3.Connection] = []
    keep = run_module._keep

    def keep_and_lock(*arguments: Any) -> Path:
        held.append(locked(tmp_path / "ledger.sqlite"))
        return keep(*arguments)

    monkeypatch.setattr(run_module, "_keep", keep_and_lock)
    result = call("release", ready)
    held[0].close()
    assert_clean(result, 1, "was locked by another process", "is kept in")
    assert kinds(tmp_path) == ["reserve"]
    assert Ledger(tmp_path / "ledger.sqlite").spent("people").epsilon > 0.99
    (kept,) = tmp_path.glob("release.model-*")
    assert_clean(call("sample", kept, "--rows", "3", "-o", tmp_path / "rows.csv"), 0)
    assert not (tmp_path / "release").exists()


def test_a_ledger_that_is_locked_when_bad_rows_are_found(
    tmp_path: Path, ready: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    (tmp_path / "people.csv").write_bytes(as_csv(with_cell("sex", TEXT)))
    held: list[sqlite3.Connection] = []
    ordinary = kinds_module.read

    def lock_and_read(*arguments: Any, **more: Any) -> Any:
        held.append(locked(tmp_path / "ledger.sqlite"))
        return ordinary(*arguments, **more)

    monkeypatch.setattr(kinds_module, "read", lock_and_read)
    result = call("release", ready)
    held[0].close()
    assert_clean(result, 2, "column sex: 1 row", "stays booked", "was locked by another process")
    assert kinds(tmp_path) == ["reserve"]  # counted, though nothing was released: never the other way
    assert_nothing_left(tmp_path)


# Bundles, models, samples ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle that holds its model."""
    folder = tmp_path_factory.mktemp("released")
    frame().to_csv(folder / "people.csv", index=False)
    run(Job.read(write(folder, holdout=0, model=True)), Ledger(folder / "ledger.sqlite"))
    return folder / "release"


FILES = ["data.csv", "data.parquet", "manifest.json", "report.html", "model/model.json", "model/weights.safetensors"]


@pytest.mark.parametrize("name", FILES)
def test_every_damage_is_found(tmp_path: Path, released: Path, name: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(released, folder)
    good = (folder / name).read_bytes()
    rng = np.random.default_rng(0)
    versions = [b"", good[: len(good) // 2]]
    for position in {0, len(good) - 1, *rng.integers(0, len(good), 4).tolist()}:
        versions.append(good[:position] + bytes([good[position] ^ 1 << int(rng.integers(8))]) + good[position + 1 :])
    for bad in versions:
        (folder / name).write_bytes(bad)
        assert_clean(call("verify", folder), 1, "Error: ")
        with pytest.raises(VerificationFailed):
            sk.verify(folder)
        if name.startswith("model/"):
            assert_clean(call("sample", folder, "--rows", "3", "-o", tmp_path / "x.csv"), 2, "Error: ")
            with pytest.raises(InputError):
                sk.load(folder / "model")
    (folder / name).unlink()
    assert_clean(call("verify", folder), 1, name.split("/")[0] if name == "manifest.json" else name)
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rows", "-1"], "-1 is not in the range"),
        (["--rows", "many"], "'many' is not a valid integer"),
        (["--rows", "5", "--seed", "-1"], "-1 is not in the range"),
        (["--rows", "5", "--where", "nix=1"], "--where nix: no such modelled column; there are age, sex"),
        (["--rows", "5", "--where", "sex"], "--where sex: write COLUMN=VALUE"),
        (["--rows", "5", "--where", "sex=zz"], "--where sex=zz: not in the column's domain, which is f, m"),
        (["--rows", "5", "--where", "sex="], "--where sex="),
        (["--rows", "5", "--where", "age=old"], "--where age=old: not in the column's domain, which is 0 to 99"),
        (["--rows", "5", "--where", "age=1000"], "--where age=1000: not in the column's domain, which is 0 to 99"),
        (["--rows", "5", "--where", "seen=2030-01-01"], "which is 2020-01-01 to 2020-12-31"),
        (["--rows", "5", "--where", "sex=f", "--where", "sex=m"], "--where sex is given twice"),
    ],
)
def test_bad_conditions(tmp_path: Path, released: Path, options: list[str], message: str) -> None:
    assert_clean(call("sample", released, *options, "-o", tmp_path / "x.csv"), 2, message)
    assert list(tmp_path.iterdir()) == []


def test_a_condition_that_no_row_meets(tmp_path: Path) -> None:
    """Where columns hang together, rows are drawn and dropped; an impossible condition ends."""
    from synthkit.synthesizers.base import sample_where

    with pytest.raises(JobError, match="is met by fewer than 1 in 200 synthetic rows"):
        sample_where(lambda n: np.zeros((n, 1), dtype=np.int32), 10, {0: 1})


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("no/such/x.csv", "x.csv: cannot be written: No such file or directory; name another place"),
        ("file/x.csv", "x.csv: cannot be written: Not a directory"),
        ("file", "file exists; name another file, or move it away"),
        (".", "exists; name another file, or move it away"),
        ("x.xlsx", "x.xlsx: unknown kind of file; expected one of .csv"),
    ],
)
def test_bad_places_for_a_sample(tmp_path: Path, released: Path, output: str, message: str) -> None:
    (tmp_path / "file").write_text("kept")
    assert_clean(call("sample", released, "--rows", "5", "-o", tmp_path / output), 2, message)
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "kept"
    assert_clean(call("sample", released, "--rows", "5", "-o", tmp_path / "X.PARQUET"), 0)


def test_what_is_no_model_and_no_bundle(tmp_path: Path, released: Path) -> None:
    shutil.copytree(released, tmp_path / "bare", ignore=shutil.ignore_patterns("model"))
    (tmp_path / "file").write_text("")
    for name, message in {
        "bare": "this bundle holds no model; only one released with 'model: true' does",
        "file": "no such folder; name a model folder",
        "nowhere": "no such folder; name a model folder",
        ".": "not a saved model (no model.json)",
    }.items():
        assert_clean(call("sample", tmp_path / name, "--rows", "5", "-o", tmp_path / "x.csv"), 2, message)
    for name, message in {"file": "no such folder", "nowhere": "no such folder", ".": "no manifest.json"}.items():
        assert_clean(call("verify", tmp_path / name), 1, message)
    assert not (tmp_path / "x.csv").exists()


# Other commands --------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["{", "[]", "3", "null", "", "[" * 100_000, '{"METADATA_SPEC_VERSION": "V0"}'])
def test_what_is_no_metadata(tmp_path: Path, content: str) -> None:
    (tmp_path / "m.json").write_text(content)
    assert_clean(call("schema", "from-sdv", tmp_path / "m.json", "-o", tmp_path / "s.yaml"), 2, "SDV")
    assert not (tmp_path / "s.yaml").exists()


def test_drafts_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("a,b\n")
    for data, output, message in (
        ("e.csv", "s.yaml", "e.csv: no rows to learn from"),
        ("nix.csv", "s.yaml", "nix.csv: no such file"),
        (".", "s.yaml", "unknown kind of file"),
        ("e.csv", "e.csv", "e.csv exists; name another file"),
    ):
        assert_clean(call("schema", "draft", tmp_path / data, "-o", tmp_path / output), 2, message)
    (tmp_path / "e.csv").write_text("a,b\n1,2\n2,3\n")
    result = call("schema", "draft", tmp_path / "e.csv", "-o", tmp_path / "no" / "s.yaml")
    assert_clean(result, 2, "s.yaml: cannot be written: No such file or directory")
    assert [path.name for path in tmp_path.iterdir()] == ["e.csv"]


@pytest.mark.parametrize("epsilon", ["0", "-1", "nan", "inf"])
def test_demos_that_cannot_be(tmp_path: Path, epsilon: str) -> None:
    assert_clean(call("demo", "-o", tmp_path / "demo", "--epsilon", epsilon), 2, "must be a finite number above 0")
    (tmp_path / "file").write_text("")
    assert_clean(call("demo", "-o", tmp_path / "file"), 2, "file: cannot be written: File exists")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_json_on_success_and_on_failure(tmp_path: Path, ready: Path) -> None:
    draft = tmp_path / "d.yaml"
    for arguments in (
        ["plan", ready],
        ["release", ready],
        ["verify", tmp_path / "release"],
        ["sample", tmp_path / "release", "--rows", "2", "-o", tmp_path / "x.csv"],
        ["methods"],
        ["schema", "draft", tmp_path / "people.csv", "-o", draft],
        ["schema", "check", draft, tmp_path / "people.csv"],
        ["ledger", "show"],
        ["ledger", "verify"],
        ["ledger", "cap", "people", "--epsilon", "3", "--delta", "1e-6"],
    ):
        result = call(*arguments, "--json")
        assert result.exit_code == 0, result.output
        assert isinstance(json.loads(result.stdout), dict)
        assert result.stderr == ""
    for arguments in (
        ["plan", tmp_path / "nix.yaml"],
        ["release", ready],
        ["sample", tmp_path / "nix", "--rows", "2", "-o", tmp_path / "y.csv"],
        ["ledger", "verify", "--ledger", tmp_path / "people.csv"],
    ):
        result = call(*arguments, "--json")
        assert result.exit_code in (1, 2)
        assert result.stdout == "" and result.stderr.startswith("Error: ")  # as docs/cli.md says
    (tmp_path / "release" / "data.csv").write_text("")
    result = call("verify", tmp_path / "release", "--json")
    assert result.exit_code == 1 and json.loads(result.stdout)["verified"] is False


# Every example of --help -----------------------------------------------------------------------


def examples() -> list[Any]:
    def walk(group: click.Group, path: tuple[str, ...]) -> Iterator[Any]:
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from walk(command, (*path, name))
            else:
                shown = CliRunner().invoke(main, [*path, name, "--help"]).output
                line = shown.split("Example:")[1].strip().splitlines()[0]
                marks = [pytest.mark.slow] if name == "demo" else []
                yield pytest.param(line, id=" ".join((*path, name)), marks=marks)

    return list(walk(main, ()))


@pytest.mark.parametrize("line", examples())
def test_every_example_runs(tmp_path: Path, released: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line)[1:]
    document = schema().to_dict()
    document["columns"]["sex"]["categories"] = ["Female", "Male"]
    data = frame().assign(sex=frame()["sex"].map({"f": "Female", "m": "Male"}))
    data.to_csv(tmp_path / "patients.csv", index=False)
    data.to_csv(tmp_path / "people.csv", index=False)
    membership, signing = words[:2] == ["audit", "release"], words[0] in ("sign", "attest")
    more = {"holdout": 0.3, "internal": "allow"} if membership or words[0] == "shred" else {"holdout": 0}
    write(tmp_path, model=True, **more)
    (tmp_path / "people.schema.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    shutil.copytree(Path(__file__).parent.parent / "policies", tmp_path / "policies")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_DEMO", cli._DEMO.replace("auto", "independent"))
    if (
        words[0] in ("sample", "verify", "explain", "export", "log", "shred", "report", "label")
        or signing
        or membership
    ):
        assert call("release", "release.yaml").exit_code == 0
    if signing or "keys.toml" in words:
        roles = {"dora": "data-protection-officer", "eva": "ethics-board"}
        entries = [new_key(tmp_path / f"{name}.key", name, (role,)) for name, role in roles.items()]
        (tmp_path / "keys.toml").write_text("version = 1\n\n[approvals]\n\n" + "\n".join(entries))
    if signing:
        (tmp_path / "release").rename(tmp_path / "release.held")
    if "patients.schema.yaml" in words and words[words.index("patients.schema.yaml") - 1] != "-o":
        shutil.copy("people.schema.yaml", "patients.schema.yaml")
    if words[:2] == ["audit", "risks"]:
        others = frame(seed=1)
        others.assign(sex=others["sex"].map({"f": "Female", "m": "Male"})).to_csv(tmp_path / "others.csv", index=False)
        assert call("release", "release.yaml").exit_code == 0
        words = [*words, "--attacks", "20"]
    if words[0] == "anonymize":
        house(tmp_path).rename(tmp_path / "anonymize.yaml")
    if words[:2] == ["schema", "from-sdv"]:
        assert call("schema", "to-sdv", "people.schema.yaml", "-o", "metadata.json").exit_code == 0
    if words[0] == "ledger" and words[1] != "cap":
        Ledger(tmp_path / "ledger.sqlite").cap("adult", 3, 1e-6)
    if words[0] == "label":
        shutil.copy("release/data.parquet", "copy.parquet")
    # A release of these people says neither for which purpose it is nor for how long: the report is made, and says so.
    assert_clean(call(*words), 1 if words[0] == "report" else 0, *(["none is named"] if words[0] == "report" else []))


# Interruptions ---------------------------------------------------------------------------------

_SLOW_FIT = """
import pathlib, time
from synthkit.cli import main
from synthkit.synthesizers import independent

ordinary = independent.Independent.fit
def fit(*arguments, **more):
    fitted = ordinary(*arguments, **more)
    pathlib.Path("running").touch()
    time.sleep(60)
    return fitted
independent.Independent.fit = fit
main()
"""


def child(folder: Path, code: str, *arguments: str, **more: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_in_the_middle_of_a_fit(tmp_path: Path, ready: Path, how: signal.Signals) -> None:
    process = child(tmp_path, _SLOW_FIT, "release", "release.yaml")
    patience = time.monotonic() + 60
    while not (tmp_path / "running").exists() and process.poll() is None and time.monotonic() < patience:
        time.sleep(0.02)
    process.send_signal(how)
    output, errors = process.communicate(timeout=60)
    assert output == ""
    if how == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 1
        assert errors.startswith("Interrupted. No half-written file or bundle is left.") and "Traceback" not in errors
    assert kinds(tmp_path) == ["reserve"]
    spent = Ledger(tmp_path / "ledger.sqlite").spent("people")
    assert spent.epsilon > 0.99 and spent.reserved == 1
    assert_nothing_left(tmp_path, "running")
    assert_clean(call("release", ready), 0)  # and the next one composes with it
    assert Ledger(tmp_path / "ledger.sqlite").spent("people").epsilon > spent.epsilon


def test_stopped_while_reading_costs_nothing(tmp_path: Path, ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(kinds_module, "read", stop)
    assert_clean(call("release", ready), 1, "Interrupted.")
    assert kinds(tmp_path) == ["reserve", "cancel"]
    assert_nothing_left(tmp_path)


@pytest.mark.parametrize("where", ["model", "sample", "write"])
def test_stopped_after_the_fit(tmp_path: Path, ready: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was paid for is kept, and the message says where; a model that was cut off is not."""

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    if where == "write":
        monkeypatch.setattr(bundle, "write", stop)
    elif where == "sample":
        monkeypatch.setattr(independent, "finish", stop)
    else:
        monkeypatch.setattr("synthkit.synthesizers.base.write_atomically", stop)
    result = call("release", ready)
    monkeypatch.undo()
    assert_clean(result, 1, "Interrupted.")
    ledger = Ledger(tmp_path / "ledger.sqlite")
    assert ledger.spent("people").epsilon > 0.99
    kept = list(tmp_path.glob("release*model*"))
    assert not (tmp_path / "release").exists() and not list(tmp_path.glob(".*"))
    if where == "model":
        assert kept == []
    else:
        assert f"is kept in {kept[0]}" in result.output
        assert_clean(call("sample", kept[0], "--rows", "3", "-o", tmp_path / "x.csv"), 0)


def test_too_many_rows_for_the_memory(tmp_path: Path, ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def much(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(independent, "finish", much)
    assert_clean(call("release", ready), 2, "not enough memory for 100 synthetic rows", "ask for fewer", "is kept in")
    assert Ledger(tmp_path / "ledger.sqlite").spent("people").epsilon > 0.99


# A full disk -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        folder = tmp_path / "small"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("needs the right to mount")
        mounted.append(folder)
        return folder

    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("needs the right to mount")
    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("size", ["4k", "32k"])  # no room for the model; for the model alone
def test_a_disk_that_fills_keeps_the_model(
    tmp_path: Path, small_disk: Callable[[str], Path], size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    small = small_disk(size)
    frame().to_csv(tmp_path / "people.csv", index=False)
    result = call("release", write(tmp_path, holdout=0, output="small/release"))
    assert_clean(result, 2, "No space left on device", "is kept in")
    assert kinds(tmp_path) == ["reserve", "commit"]
    kept = Path(result.output.split("is kept in ")[1].split(";")[0])
    assert kept.parent == (tmp_path if size == "4k" else small)
    assert [path for path in small.iterdir() if path != kept] == []
    assert_clean(call("sample", kept, "--rows", "3", "-o", tmp_path / "x.csv"), 0)
    result = call("sample", kept, "--rows", "3000", "-o", small / "x.csv")
    assert_clean(result, 2, "x.csv: cannot be written: No space left on device")
    assert [path for path in small.iterdir() if path != kept] == []


def test_a_full_disk_under_the_ledger(tmp_path: Path, small_disk: Callable[[str], Path], ready: Path) -> None:
    small = small_disk("4k")
    result = call("release", ready, "--ledger", small / "ledger.sqlite")
    assert_clean(result, 1, "the disk is full; nothing was recorded: free some space and try again")
    assert_nothing_left(tmp_path, "small")


def test_no_room_for_the_model_anywhere(tmp_path: Path, ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any, folder: Path) -> None:
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(independent.IndependentModel, "save", full)
    assert_clean(call("release", ready), 2, "the fitted model cannot be written (No space left on device)", "is lost")
    assert kinds(tmp_path) == ["reserve"]
    assert_nothing_left(tmp_path)


def test_a_file_that_may_not_grow(tmp_path: Path, released: Path) -> None:
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (2000, 2000))
    arguments = ("sample", str(released), "--rows", "1000", "-o", "x.csv")
    process = child(tmp_path, "from synthkit.cli import main; main()", *arguments, preexec_fn=limit)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and output == "" and "Traceback" not in errors
    assert "x.csv: cannot be written: File too large" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_standard_output_on_a_full_disk(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        process = child(tmp_path, "from synthkit.cli import main; main()", "methods", stdout=full)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.startswith("Error: done, yet standard output cannot be written: No space left on device")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_csv(frame(3), tmp_path / "x.csv")
    assert list(tmp_path.iterdir()) == []


# Terminals -------------------------------------------------------------------------------------


def test_the_progress_bar_is_for_terminals(tmp_path: Path, ready: Path) -> None:
    code = "from synthkit.cli import main; main()"
    leader, follower = pty.openpty()
    process = child(tmp_path, code, "release", "release.yaml", stderr=follower)
    os.close(follower)
    seen = b""
    while True:
        try:
            piece = os.read(leader, 65_536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        seen += piece
    output, _ = process.communicate(timeout=60)
    os.close(leader)
    assert process.returncode == 0
    assert b"100%" in seen and "100 synthetic rows" in output and "%" not in output.splitlines()[0]
    result = call("release", write(tmp_path, holdout=0, output="second"))
    assert result.exit_code == 0 and result.stderr == ""


# Wide tables -----------------------------------------------------------------------------------


def wide(folder: Path, columns: int, method: str) -> Path:
    document = {
        "version": 1,
        "name": "wide",
        "rows": 50,
        "reviewed": True,
        "columns": {f"c{i}": {"kind": "integer", "min": 0, "max": 3} for i in range(columns)},
    }
    pd.DataFrame({f"c{i}": [0, 1, 2, 3] * 5 for i in range(columns)}).to_csv(folder / "people.csv", index=False)
    file = write(folder, holdout=0, method={"name": method})
    (folder / "people.schema.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return file


def test_a_thousand_columns(tmp_path: Path) -> None:
    file = wide(tmp_path, 1000, "independent")
    result = call("schema", "check", tmp_path / "people.schema.yaml", tmp_path / "people.csv")
    assert_clean(result, 0, "1000 columns", "every row of")
    assert_clean(call("release", file), 0, "100 synthetic rows")
    assert pd.read_csv(tmp_path / "release" / "data.csv").shape == (100, 1000)


@pytest.mark.slow
def test_the_price_of_a_gan_on_a_thousand_columns(tmp_path: Path) -> None:
    began = time.monotonic()
    priced = price(Job.read(wide(tmp_path, 1000, "tabular_gan")))
    assert 0.99 < priced.epsilon <= 1 and time.monotonic() - began < 60


def test_too_many_columns(tmp_path: Path) -> None:
    file = wide(tmp_path, MAX_COLUMNS + 1, "independent")
    assert_clean(call("plan", file), 2, f"{MAX_COLUMNS + 1} columns; at most {MAX_COLUMNS}")
