"""Rows come in from files and databases, batch by batch, and no error quotes them."""

from __future__ import annotations

import gzip
import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthkit.data import samples
from synthkit.data.encoding import Table, from_frame
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Categorical, Datetime, Identifier, Integer, Schema, Unit
from synthkit.data.tables import (
    FileSource,
    FrameSource,
    SampleSource,
    Source,
    SqlSource,
    check,
    public_columns,
    read,
    write_csv,
    write_parquet,
)
from synthkit.errors import DataError

SCHEMA = Schema(
    name="q",
    columns={"a": Integer(min=0, max=9), "b": Categorical(categories=("x", "y"), nullable=True)},
    rows=5,
)


def opened(source: Source, schema: Schema = SCHEMA, batch_rows: int = 2) -> Table:
    return reveal(read(source, schema, dataset="d", batch_rows=batch_rows))


def rows(table: Table) -> list[tuple[float, int]]:
    return list(zip(table.columns["a"].tolist(), table.columns["b"].tolist(), strict=True))


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., FileSource]:
    def write(content: bytes, name: str = "t.csv", **options: tuple[str, ...]) -> FileSource:
        (tmp_path / name).write_bytes(content)
        return FileSource(tmp_path / name, **options)

    return write


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Callable[..., str]]:
    connection = sqlite3.connect(tmp_path / "shop.db")

    def fill(*values: tuple[object, object]) -> str:
        connection.execute("create table t (a, b)")
        connection.executemany("insert into t values (?, ?)", values)
        connection.commit()
        return f"sqlite:///{tmp_path / 'shop.db'}"

    yield fill
    connection.close()


# --- what is read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b\n1,x\n2,\n3,y\n", [(1, 0), (2, 2), (3, 1)]),
        (b"b,a\nx,1\n", [(1, 0)]),
        (b"\xef\xbb\xbfa,b\n1,x\n", [(1, 0)]),
        (b"a,b\r\n1,x\r\n", [(1, 0)]),
        (b"\n\na,b\n\n1,x\n\n\n2,y", [(1, 0), (2, 1)]),
        (b'"a","b"\n"1","x"\n"2",""\n', [(1, 0), (2, 2)]),
        (b"a,b\n", []),
        (b"a,b", []),
        (b"a,b\n \n\n", []),
    ],
)
def test_csv(content: bytes, expected: list[tuple[float, int]], file: Callable[..., FileSource]) -> None:
    assert rows(opened(file(content))) == expected


def test_other_extensions(file: Callable[..., FileSource]) -> None:
    assert rows(opened(file(b"a\tb\n1\tx\n", "t.tsv"))) == [(1, 0)]
    assert rows(opened(file(gzip.compress(b"a,b\n1,x\n"), "T.CSV.GZ"))) == [(1, 0)]
    with pytest.raises(DataError, match=r"unknown kind of file; expected one of \.csv"):
        FileSource(Path("t.xlsx"))


def test_null_values(file: Callable[..., FileSource]) -> None:
    expected = [(1.0, 2), (2.0, 2), (3.0, 0)]
    assert rows(opened(file(b"a,b\n1,?\n2, ?\n3,x\n", null_values=("?",)))) == expected
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["?", "", "x"]})
    assert rows(opened(FrameSource(frame, null_values=("?",)))) == expected
    assert rows(opened(FrameSource(frame.astype({"b": "category"}), null_values=("?",)))) == expected
    assert rows(opened(FrameSource(frame.astype(object), null_values=("?",)))) == expected


def test_words_for_null_stay_words(file: Callable[..., FileSource]) -> None:
    schema = Schema(name="s", columns={"b": Categorical(categories=("NA", "null", "None"))}, rows=1)
    assert opened(file(b"b\nNA\nnull\nNone\n"), schema).columns["b"].tolist() == [0, 1, 2]


def test_parquet_types(tmp_path: Path) -> None:
    schema = Schema(
        name="s",
        columns={
            "who": Identifier(),
            "n": Integer(min=0, max=2**52, nullable=True),
            "code": Categorical(categories=(2**60 + 1, 2), nullable=True),
            "day": Datetime(min="2020-01-01", max="2030-01-01"),
        },
        rows=1,
        unit=Unit("who", 1),
    )
    table = pa.table(
        {
            "who": pa.array([2**62 + 1, 2**62 + 2, 2**62 + 1]),
            "n": pa.array([2**52 - 1, None, 0]),
            "code": pa.array([2**60 + 1, None, 2]),
            "day": pa.array([18262, 18263, 18264], pa.date32()),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    read_back = opened(FileSource(tmp_path / "t.parquet"), schema)
    np.testing.assert_array_equal(read_back.columns["n"], [2**52 - 1, np.nan, 0])
    assert read_back.columns["code"].tolist() == [0, 2, 1]
    assert read_back.columns["day"].tolist() == [18262, 18263, 18264]
    assert read_back.units is not None
    assert read_back.units[0] == read_back.units[2] != read_back.units[1]


def test_parquet_of_pandas_loses_its_index(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "y"]}, index=[5, 6, 9])
    frame.to_parquet(tmp_path / "t.parquet")
    assert public_columns(FileSource(tmp_path / "t.parquet")) == ["a", "b"]
    assert rows(opened(FileSource(tmp_path / "t.parquet"))) == [(1, 0), (2, 2), (3, 1)]
    frame[:0].to_parquet(tmp_path / "t.parquet")
    assert opened(FileSource(tmp_path / "t.parquet")).rows == 0


def test_sql(database: Callable[..., str]) -> None:
    url = database((1, "x"), (2, None), (3, "y"), (4, ""), (5, "?"))
    source = SqlSource(url, "select * from t order by a;", null_values=("?",))
    assert public_columns(source) == ["a", "b"]
    assert rows(opened(source)) == [(1, 0), (2, 2), (3, 1), (4, 2), (5, 2)]
    assert opened(SqlSource(url, "select * from t where a > 9")).rows == 0
    assert rows(opened(SqlSource(url, "with q as (select * from t) select a, 'x' b from q limit 1 -- one"))) == [(1, 0)]


def test_sql_keeps_percent_and_colon(database: Callable[..., str]) -> None:
    schema = Schema(name="s", columns={"b": Categorical(categories=("5 %s :x",))}, rows=1)
    assert opened(SqlSource(database(), "select '5 %s :x' as b"), schema).rows == 1


def test_samples_and_frames() -> None:
    whole = from_frame(pd.read_parquet(samples.path("adult")), samples.schema("adult"))
    private = read(SampleSource("adult"), samples.schema("adult"), dataset="adult", batch_rows=9_999)
    assert isinstance(private, Private)
    assert private.dataset == "adult"
    for name, values in reveal(private).columns.items():
        np.testing.assert_array_equal(values, whole.columns[name])
    frame = pd.DataFrame({"b": ["x", "y", None], "a": [1, 2, 3]}, index=[7, 7, 7])
    assert rows(opened(FrameSource(frame))) == [(1, 0), (2, 1), (3, 2)]
    assert opened(FrameSource(frame[:0])).rows == 0


def test_batches_are_bounded(file: Callable[..., FileSource]) -> None:
    source = file(b"a,b\n" + b"1,x\n" * 1001)
    assert [len(frame) for frame in source.batches(500)] == [500, 500, 1]
    assert [len(frame) for frame in FrameSource(pd.DataFrame({"a": range(5)})).batches(2)] == [2, 2, 1]


def test_memory_is_the_encoded_tables_not_the_texts(tmp_path: Path) -> None:
    long = "x" * 400
    schema = Schema(name="s", columns={"a": Categorical(categories=(long,)), "b": Integer(min=0, max=9)}, rows=1)
    n = 50_000
    (tmp_path / "t.csv").write_text("a,b\n" + f"{long},1\n" * n)  # 20 MB of text, 0.6 MB encoded
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    assert opened(FileSource(tmp_path / "t.csv"), schema, batch_rows=5_000).rows == n
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
    assert pa.total_allocated_bytes() - before < 1_000_000


# --- names before rows -------------------------------------------------------------------------


def test_columns_are_checked_before_rows(file: Callable[..., FileSource], planted: str) -> None:
    source = file(f"a,c\n{planted},{planted},{planted}\n".encode())
    assert public_columns(source) == ["a", "c"]
    with pytest.raises(DataError, match="column b is declared in schema q"):
        check(source, SCHEMA)
    with pytest.raises(DataError, match="column b is declared in schema q"):
        read(source, SCHEMA, dataset="d")
    check(file(b"a,b\n"), SCHEMA)
    check(file(b"what,ever\n"))


def test_repeated_names_are_seen(file: Callable[..., FileSource], database: Callable[..., str]) -> None:
    source = file(b"a,b,a\n1,x,2\n")
    assert public_columns(source) == ["a", "b", "a"]
    with pytest.raises(DataError, match="column a appears more than once"):
        read(source, SCHEMA, dataset="d")
    with pytest.raises(DataError, match="column names are repeated"):
        next(source.batches())
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(DataError, match="column a appears more than once"):
        read(FrameSource(frame), SCHEMA, dataset="d")


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected a header line"),
        (b"\n\n", "is empty; expected a header line"),
        (b"a,b,\n1,x,P\n", "column 3 has no name"),
        (b"a,b\n1,x\nP,x\n", "in rows 1 to 2: column a: 1 row with a value of the wrong type"),
        (b"a,b\n1,x\n2,x\n3,P\n4,P\n", "in rows 3 to 4: column b: 2 rows with a value that is not declared"),
        (b"a,b\n1,x\n2,x,P\n", "row 3 (the header is row 1) has another number of fields (3) than the header (2)"),
        (b"a,b\n1,x\nP\n", "row 3 (the header is row 1) has another number of fields (1) than the header (2)"),
        (b"a,b\nP,\xff\n", "not UTF-8 (byte 16); save it as UTF-8"),
        (b"a,\xff\nP,x\n", "not UTF-8 (byte 2); save it as UTF-8"),
        ("a,b\nP,x\n".encode("utf-16"), "not UTF-8 (byte 0); save it as UTF-8"),
        (b'a,b\n1,x\n2,"P\n3,y\n', "a quotation mark is opened and never closed"),
        (b'a,b\n1,"' + b"P" * (1 << 21) + b"\n", "a row may be longer than 8 MB"),
        (b"a,b\rP,x\r", "the header line is not CSV"),
    ],
)
def test_bad_csv(
    content: bytes, message: str, file: Callable[..., FileSource], planted: str, refusal: Callable[..., str]
) -> None:
    bom = content.startswith(b"\xff\xfe")
    source = file(content if bom else content.replace(b"P", planted.encode()))

    def call() -> object:
        # The schema must not be in the way of the parser: b is text of any kind where it matters.
        schema = Schema(name="q", columns={"a": SCHEMA.columns["a"], "b": Identifier()}, rows=1)
        return opened(source, SCHEMA if "declared" in message or "wrong type" in message else schema)

    found = refusal(call, DataError)
    assert message in found
    assert found.startswith(str(source.path))


def test_a_long_field_that_ends_in_a_new_line_is_no_open_quotation(file: Callable[..., FileSource]) -> None:
    schema = Schema(name="s", columns={"a": SCHEMA.columns["a"], "b": Identifier()}, rows=1)
    assert opened(file(b'a,b\n1,"two\nlines\n"\n\n'), schema).rows == 1


def test_damaged_and_missing_files(
    file: Callable[..., FileSource], tmp_path: Path, refusal: Callable[..., str]
) -> None:
    (tmp_path / "folder.csv").mkdir()
    packed = gzip.compress(b"a,b\n" + b"1,x\n" * 100_000)
    spoilt = bytearray(gzip.compress(b"a,b\n" + bytes(range(97, 123)) * 50, 0))
    spoilt[15:40] = b"\x00" * 25
    good = tmp_path / "good.parquet"
    write_parquet(pd.DataFrame({"a": np.arange(5000) % 9, "b": ["x"] * 5000}), good)
    content = good.read_bytes()
    for source, message in (
        (FileSource(tmp_path / "none.csv"), "no such file"),
        (FileSource(tmp_path / "folder.csv"), "is a folder"),
        (file(b"PK", "t.csv.gz"), "damaged, or not gzip"),
        (file(packed[:-30], "cut.csv.gz"), "damaged, or not gzip"),
        (file(bytes(spoilt), "spoilt.csv.gz"), "damaged, or not gzip"),
        (file(b"", "empty.parquet"), "not a Parquet file, or damaged"),
        (file(b"a,b\n1,x\n", "text.parquet"), "not a Parquet file, or damaged"),
        (file(content[:20] + b"\x00" * 200 + content[220:], "spoilt.parquet"), "damaged, or of a Parquet feature"),
    ):
        assert message in refusal(lambda source=source: opened(source), DataError)


def test_unreadable_file(file: Callable[..., FileSource], monkeypatch: pytest.MonkeyPatch) -> None:
    source = file(b"a,b\n")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(DataError, match=r"t\.csv: cannot be read: Permission denied"):
        public_columns(source)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///none/such.db", "no such file"),
        ("postgresql://ann:ZZTOP-91733@127.0.0.1:1/shop", "the query on postgresql"),
        ("mysql+nodriver://ann:ZZTOP-91733@h/shop", "driver is unknown"),
        ("nosuch://ann:ZZTOP-91733@h/shop", "driver is unknown"),
        ("ann:ZZTOP-91733@h", "not one of SQLAlchemy's"),
        ("postgresql://ann:ZZTOP-91733@h:port/shop", "not one of SQLAlchemy's"),
    ],
)
def test_bad_urls_show_no_password(url: str, message: str, refusal: Callable[..., str]) -> None:
    source = SqlSource(url, "select 1 as a")
    assert message in refusal(lambda: public_columns(source), DataError)
    assert "ZZTOP" not in repr(source) + source.label


def test_a_missing_driver_is_named_so(monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]) -> None:
    import sqlalchemy

    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'ZZTOP-91733'")

    monkeypatch.setattr(sqlalchemy, "create_engine", missing)
    source = SqlSource("postgresql+psycopg://h/shop", "select 1")
    assert "driver is not installed" in refusal(lambda: public_columns(source), DataError)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("select a, b from none", "the database refused it"),
        ("select a, cast(x'5a5a544f502d3931373333ff' as text) as b from t", "the database refused it"),
        ("select a, abs(-9223372036854775808) as b from t", "the database refused it"),
        ("select a, 'ZZTOP-91733' as b from t", "in rows 1 to 1: column b: 1 row with a value that is not declared"),
        ("select a, x'5a5a' as b from t", "column b: 1 row"),
        ("select a from t", "column b is declared"),
        ("select a, b, a from t", "in the data, not in schema q"),  # SQLite renames the second one
    ],
)
def test_bad_queries(query: str, message: str, database: Callable[..., str], refusal: Callable[..., str]) -> None:
    source = SqlSource(database((1, "x")), query)
    assert message in refusal(lambda: opened(source), DataError)


def test_no_sqlite_file_is_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        public_columns(SqlSource(f"sqlite:///{tmp_path / 'none.db'}", "select 1"))
    assert not list(tmp_path.iterdir())


# --- writing -----------------------------------------------------------------------------------

FRAME = pd.DataFrame(
    {
        "i": pd.array([1, None], dtype="Int64"),
        "x": [0.1, 1e-300],
        "t": pd.to_datetime(["2020-01-01", None]),
        "s": ["ü,\"\n\r'", None],
        "b": pd.array([True, None], dtype="boolean"),
        "c": pd.Categorical(["x", "y"]),
    },
    index=[3, 9],
)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.tsv", "t.parquet"])
def test_the_same_frame_makes_the_same_bytes(name: str, tmp_path: Path) -> None:
    write = write_parquet if name.endswith("parquet") else write_csv
    (tmp_path / "other").mkdir()
    write(FRAME, tmp_path / name)
    write(FRAME.set_index(pd.Index([0, 1])), str(tmp_path / "other" / name))
    assert (tmp_path / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    assert public_columns(FileSource(tmp_path / name)) == list(FRAME.columns)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["other", name])


def test_plain_text_is_not_quoted(tmp_path: Path) -> None:
    write_csv(pd.DataFrame({"a": [1], "b": ["x"], "c": [None]}), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_bytes() == b"a,b,c\n1,x,\n"


@pytest.mark.parametrize(
    ("moments", "written"),
    [
        (["0999-01-02", None], "0999-01-02\n"),
        (["0999-01-02T03:04:05", "2020-01-01"], "0999-01-02T03:04:05\n2020-01-01T00:00:00\n"),
    ],
)
def test_moments_are_written_in_iso_8601(moments: list[str | None], written: str, tmp_path: Path) -> None:
    column = np.array(moments, dtype="datetime64[s]")
    write_csv(pd.DataFrame({"t": column, "n": range(2)})[["n", "t"]], tmp_path / "t.csv")
    text = (tmp_path / "t.csv").read_text()
    assert [line.split(",")[1] for line in text.splitlines()[1:]] == (written + "\n").split("\n")[:2]


def test_parquet_carries_no_pandas_metadata(tmp_path: Path) -> None:
    write_parquet(FRAME, tmp_path / "t.parquet")
    assert pq.read_schema(tmp_path / "t.parquet").metadata is None


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.csv").write_text("old")

    def fails(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", fails)
    with pytest.raises(OSError, match="disk full"):
        write_csv(FRAME, tmp_path / "t.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
    assert (tmp_path / "t.csv").read_text() == "old"


def test_writers_know_their_extensions(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"write_csv writes \.csv"):
        write_csv(FRAME, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"write_parquet writes \.parquet"):
        write_parquet(FRAME, tmp_path / "t.csv")
