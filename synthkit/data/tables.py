"""Rows from files, databases and frames, batch by batch, into a locked box; and frames into files.

    Source  --columns-->  names alone, before anything is reserved
    Source  --read-->     Private[Table]

A source is where rows come from: :class:`FileSource`, :class:`SqlSource`, :class:`SampleSource` or
:class:`FrameSource`. Rows are encoded a batch at a time, so that the peak of memory is near the
encoded table's, not the text's.

Readers (pyarrow, pandas, database drivers) quote the cells that they stumble over, and drivers quote
passwords. None of their messages goes on: our errors are raised outside the handler, so that not
even ``__context__`` keeps them.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, cast

import numpy as np
import pandas as pd

from synthkit.data import rules, samples, vault
from synthkit.data.encoding import Table, check_columns, concatenate, from_frame, is_large, spool
from synthkit.data.private import Private
from synthkit.data.schema import Schema
from synthkit.documents import replacing
from synthkit.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

BATCH_ROWS = 100_000
_BLOCK = 8 << 20  # bytes of text that the CSV parser takes at a time; no row may be longer
_SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
_KINDS = (*_SEPARATORS, ".parquet")


class Source(ABC):
    """Where rows come from.

    Attributes:
        null_values: texts that mean "no value" besides the empty one, e.g. ``("?",)``; spaces
            around them do not matter.
    """

    null_values: tuple[str, ...]

    @property
    @abstractmethod
    def label(self) -> str:
        """The source's name for messages; never holds a password."""

    @abstractmethod
    def columns(self) -> list[str]:
        """Column names, without reading rows. Raises DataError where the source cannot be opened."""

    @abstractmethod
    def _batches(self, rows: int) -> Iterator[pd.DataFrame]: ...

    def batches(self, rows: int = BATCH_ROWS) -> Iterator[pd.DataFrame]:
        """Frames of at most ``rows`` rows, empty text and ``null_values`` turned into null."""
        tokens = ["", *(token.strip() for token in self.null_values)]
        for frame in self._batches(rows):
            yield _without(frame, tokens)


@dataclass(frozen=True)
class FileSource(Source):
    """A .csv, .csv.gz, .tsv, .tsv.gz or .parquet file, or one of them encrypted (.age); text is UTF-8 with a header."""

    path: Path
    null_values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        _kind(self.path)

    @property
    def label(self) -> str:
        return str(self.path)

    def columns(self) -> list[str]:
        if _kind(self.path) == ".parquet":
            with opened_parquet(self.path) as file:
                return [name for name in file.schema_arrow.names if not _is_index(name)]
        return _header(self.path)[0]

    def _batches(self, rows: int) -> Iterator[pd.DataFrame]:
        return _parquet_batches(self.path, rows) if _kind(self.path) == ".parquet" else _csv_batches(self.path, rows)


@dataclass(frozen=True)
class SqlSource(Source):
    """The rows of a query, through SQLAlchemy, streamed by the server where the driver can.

    Attributes:
        url: an SQLAlchemy URL, e.g. ``postgresql+psycopg://reader@host/shop``; it may hold a
            password, so it is in no repr and in no message.
        query: one SELECT. What it selects is the dataset: keep it the same between releases.
    """

    url: str = field(repr=False)
    query: str
    null_values: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import SQLAlchemyError

        try:
            url = make_url(self.url)
        except (SQLAlchemyError, ValueError):
            return "the query"
        return f"the query on {url.drivername}://{url.host or ''}/{url.database or ''}"

    def columns(self) -> list[str]:
        # The query as a table of which no row is asked for: every database knows this form.
        no_rows = f"SELECT * FROM (\n{_statement(self)}\n) no_rows WHERE 1 = 0"  # noqa: S608  (the steward's own query)
        for frame in _query(self, no_rows, 1):
            return list(frame.columns)
        return []

    def _batches(self, rows: int) -> Iterator[pd.DataFrame]:
        return _query(self, _statement(self), rows)


@dataclass(frozen=True)
class SampleSource(Source):
    """A dataset that comes with synthkit; see :mod:`synthkit.data.samples`."""

    name: str
    null_values: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"sample {self.name}"

    def columns(self) -> list[str]:
        return FileSource(samples.path(self.name)).columns()

    def _batches(self, rows: int) -> Iterator[pd.DataFrame]:
        return FileSource(samples.path(self.name))._batches(rows)


@dataclass(frozen=True, eq=False)
class FrameSource(Source):
    """A DataFrame that is in memory already."""

    frame: pd.DataFrame = field(repr=False)
    null_values: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given: object = self.frame
        if not isinstance(given, pd.DataFrame):
            raise DataError(f"the data are a {type(given).__name__}; give a pandas DataFrame, or a source of rows")

    @property
    def label(self) -> str:
        return "the data frame"

    def columns(self) -> list[str]:
        return [str(name) for name in self.frame.columns]

    def _batches(self, rows: int) -> Iterator[pd.DataFrame]:
        for start in range(0, max(1, len(self.frame)), rows):
            part = self.frame.iloc[start : start + rows]
            yield part.set_axis(self.columns(), axis="columns")


def read(source: Source, schema: Schema, *, dataset: str, batch_rows: int = BATCH_ROWS) -> Private[Table]:
    """Read, check and encode all rows of ``source``, and lock them away.

    Tables that the schema says are large go to a temporary file, encrypted under a key that only this process has.

    A table without rows is legal: whether there are rows is itself private.

    Args:
        source: where the rows are.
        schema: the public domain; the columns are checked against it before any row is read.
        dataset: the steward's name for the dataset, as the ledger knows it.
        batch_rows: at most so many rows are in memory as text at a time.

    Raises:
        DataError: the source cannot be opened or parsed, or rows do not fit the schema. Names the
            source, the column and how many rows of which batch; never a value.
    """
    check_columns(source.columns(), schema, source=source.label)
    together = spool if is_large(schema) else concatenate
    return Private(together(_encoded(source, schema, batch_rows), schema), dataset=dataset, schema=schema)


def public_columns(source: Source) -> list[str]:
    """The names of the source's columns, as they stand there (repeats included). No row is read."""
    return source.columns()


def check(source: Source, schema: Schema | None = None) -> None:
    """Refuse a source that cannot be opened, or whose columns are not the schema's. No row is read.

    Raises:
        DataError: says what is wrong with the source, and what to do.
    """
    names = source.columns()
    if schema is not None:
        check_columns(names, schema, source=source.label)


def write_csv(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a frame as UTF-8 text, the same bytes for the same frame. Moments are in ISO 8601.

    Args:
        frame: any frame; its index is left out.
        path: .csv or .tsv, or either with .gz (compressed without name and time).
    """
    path = Path(path)
    separator = _SEPARATORS.get(_kind(path))
    if separator is None:
        raise DataError(f"{path}: write_csv writes {', '.join(_SEPARATORS)}")
    with replacing(path) as stream:
        packed = gzip.GzipFile("", "wb", fileobj=stream, mtime=0) if path.suffix.lower() == ".gz" else None
        _with_iso_moments(frame).to_csv(
            packed or stream,
            index=False,
            sep=separator,
            lineterminator="\n",
            encoding="utf-8",
            mode="wb",
            # A carriage return ends a row for many readers, yet is not quoted unless all text is.
            quoting=csv.QUOTE_NONNUMERIC if _has_return(frame) else csv.QUOTE_MINIMAL,
        )
        if packed:
            packed.close()


def write_parquet(frame: pd.DataFrame, path: str | Path, *, metadata: Mapping[bytes, bytes] | None = None) -> None:
    """Write a frame as Parquet, the same bytes for the same frame and the same pyarrow.

    The file carries no pandas metadata: types are Arrow's, the index is left out.

    Args:
        frame: any frame.
        path: .parquet.
        metadata: key-value pairs that the file carries.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if _kind(path) != ".parquet":
        raise DataError(f"{path}: write_parquet writes .parquet")
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(metadata)
    with replacing(path) as stream:
        pq.write_table(table, stream, compression="zstd")


def _encoded(source: Source, schema: Schema, batch_rows: int) -> Iterator[Table]:
    start = 1
    for frame in source.batches(batch_rows):
        rows = f"{source.label}, in rows {start} to {start + len(frame) - 1}"
        label = rows if len(frame) else source.label
        yield from_frame(rules.applied(frame, schema, source=label), schema, source=label)
        start += len(frame)


def _with_iso_moments(frame: pd.DataFrame) -> pd.DataFrame:
    """Moments as ISO 8601 text: dates where all are midnight (pandas leaves the year 999 three digits)."""
    columns: dict[int, pd.Series] = {}
    for k in range(frame.shape[1]):
        if frame.dtypes.iloc[k].kind == "M" and not isinstance(frame.dtypes.iloc[k], pd.DatetimeTZDtype):
            moments: NDArray[np.datetime64] = frame.iloc[:, k].to_numpy().astype("datetime64[us]")
            known = moments[~np.isnat(moments)].astype(np.int64)
            unit: Literal["D", "s", "us"] = (
                "D" if not (known % 86_400_000_000).any() else "s" if not (known % 1_000_000).any() else "us"
            )
            text = np.datetime_as_string(moments, unit=unit).astype(object)
            text[np.isnat(moments)] = None
            columns[k] = pd.Series(text, index=frame.index)
    if not columns:
        return frame
    parts = [columns.get(k, frame.iloc[:, k]) for k in range(frame.shape[1])]
    return pd.concat(parts, axis="columns").set_axis(frame.columns, axis="columns")


def _has_return(frame: pd.DataFrame) -> bool:
    if any("\r" in str(name) for name in frame.columns):
        return True
    texts = frame.select_dtypes(exclude=["number", "bool", "datetime"])
    return any("\r" in str(value) for name in texts for value in texts[name].unique())


def _without(frame: pd.DataFrame, tokens: list[str]) -> pd.DataFrame:
    # Position by position: a frame with repeated names is refused later, with a better message.
    columns = []
    for k in range(frame.shape[1]):
        values = frame.iloc[:, k]
        if isinstance(values.dtype, pd.CategoricalDtype):
            labels = values.cat.categories
            out = [label for label in labels if isinstance(label, str) and label.strip() in tokens]
            columns.append(values.cat.remove_categories(out) if out else values)
        elif isinstance(values.dtype, pd.StringDtype):
            columns.append(values.mask(values.str.strip().isin(tokens)))
        elif values.dtype == object:
            gone = [isinstance(value, str) and value.strip() in tokens for value in values]
            columns.append(values.mask(np.array(gone, dtype=bool)))
        else:
            columns.append(values)
    return pd.concat(columns, axis="columns") if columns else frame


def _kind(path: Path) -> str:
    name = path.name.lower().removesuffix(vault.SUFFIX)
    for kind in _KINDS:
        if name.endswith(kind):
            return kind
    raise DataError(f"{path}: unknown kind of file; expected one of {', '.join(_KINDS)}")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, decrypted in memory and unpacked; what the system refuses becomes a DataError."""
    problem = None
    try:
        stream: IO[bytes] = path.open("rb")
    except FileNotFoundError:
        problem = "no such file; check the path"
    except IsADirectoryError:
        problem = "is a folder; name one file"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    if problem:
        raise DataError(f"{path}: {problem}")
    with stream:
        if _encrypted(path):
            stream, path = BytesIO(vault.decrypt(stream.read(), source=path)), path.with_suffix("")
        yield cast("IO[bytes]", gzip.GzipFile(fileobj=stream)) if path.suffix.lower() == ".gz" else stream


def _encrypted(path: Path) -> bool:
    return path.suffix.lower() == vault.SUFFIX


def _header(path: Path) -> tuple[list[str], bool]:
    """The names in a text file's first line, and whether anything follows it."""
    names: list[str] | None = None
    more = False
    problem = None
    with opened(path) as stream:
        lines = _TextLines(stream)
        try:
            for names in csv.reader(lines, delimiter=_SEPARATORS[_kind(path)]):
                if names:
                    break
            more = any(line.strip() for line in lines)
        except UnicodeDecodeError:
            problem = f"not UTF-8 (byte {lines.offset}); save it as UTF-8"
        except csv.Error:
            problem = "the header line is not CSV; check its quotation marks"
        except (OSError, EOFError, zlib.error):
            problem = "cannot be unpacked; it is damaged, or not gzip"
    if problem is None and not names:
        problem = "is empty; expected a header line with the names of the columns"
    if problem is None and names and "" in (bare := [name.strip() for name in names]):
        problem = f"column {bare.index('') + 1} has no name; name it, or remove it (an index that pandas wrote?)"
    if problem:
        raise DataError(f"{path}: {problem}")
    return names or [], more


class _TextLines:
    """Lines of UTF-8 text; ``offset`` is the byte where decoding stopped."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.offset = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._stream:
            first = self.offset == 0
            try:
                text = line.decode()
            except UnicodeDecodeError as problem:
                self.offset += problem.start
                raise
            self.offset += len(line)
            yield text.removeprefix("\ufeff") if first else text


def _csv_batches(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names, more = _header(path)
    if len(set(names)) < len(names):
        raise DataError(f"{path}: column names are repeated; rename them")
    if not more:
        yield pd.DataFrame({name: pd.Series([], dtype="str") for name in names})
        return
    ragged: list[Any] = []

    def note(row: Any) -> str:
        ragged.append(row)
        return "error"

    failed = open_quote = False
    try:
        with _text(path) as stream:
            reader = arrow_csv.open_csv(
                stream,
                read_options=arrow_csv.ReadOptions(use_threads=False, block_size=_BLOCK),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=_SEPARATORS[_kind(path)], newlines_in_values=True, invalid_row_handler=note
                ),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()),
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=True,
                ),
            )
            end: str | None = None
            for block in reader:
                for start in range(0, block.num_rows, rows):
                    yield _frame(block.slice(start, rows))
                if block.num_rows:
                    end = block.column(block.num_columns - 1)[block.num_rows - 1].as_py()
            # The parser takes an open quotation mark to run to the end, swallowing rows.
            open_quote = end is not None and "\n" in end and not _ends_quoted(path)
    except (pa.ArrowException, OSError, ValueError):
        failed = True
    if failed:
        raise DataError(f"{path}: {_csv_problem(path, ragged)}")
    if open_quote:
        raise DataError(f"{path}: a quotation mark is opened and never closed; close it, or double it if it is text")


@contextmanager
def _text(path: Path) -> Iterator[Any]:
    """The file as pyarrow reads text: unpacked by itself where it lies on the disk in the open."""
    import pyarrow as pa

    if _encrypted(path):
        with opened(path) as stream:
            yield stream
    else:
        with pa.input_stream(str(path), compression="gzip" if path.suffix.lower() == ".gz" else None) as stream:
            yield stream


def _ends_quoted(path: Path) -> bool:
    last = b""
    with opened(path) as stream:
        for line in stream:
            last = line.strip() or last
    return last.endswith(b'"')


def _csv_problem(path: Path, ragged: list[Any]) -> str:
    if ragged:
        row = ragged[0]
        return (
            f"row {row.number} (the header is row 1) has another number of fields "
            f"({row.actual_columns}) than the header ({row.expected_columns}); check separators and quotation marks"
        )
    with opened(path) as stream:
        lines = _TextLines(stream)
        try:
            for _ in lines:
                pass
        except UnicodeDecodeError:
            return f"not UTF-8 (byte {lines.offset}); save it as UTF-8"
        except (OSError, EOFError, zlib.error):
            return "cannot be unpacked; it is damaged, or not gzip"
    return f"cannot be parsed; a row may be longer than {_BLOCK >> 20} MB (a quotation mark that is never closed?)"


@contextmanager
def opened_parquet(path: Path) -> Iterator[Any]:
    """The file as pyarrow's ParquetFile; what pyarrow refuses becomes a DataError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with opened(path) as stream:
        failed = False
        try:
            file = pq.ParquetFile(stream)
        except (pa.ArrowException, OSError, ValueError):
            failed = True
        if failed:
            raise DataError(f"{path}: not a Parquet file, or damaged")
        yield file


def _parquet_batches(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    import pyarrow as pa

    with opened_parquet(path) as file:
        names = [name for name in file.schema_arrow.names if not _is_index(name)]
        if not file.metadata.num_rows:
            yield pd.DataFrame({name: [] for name in names})
            return
        failed = False
        try:
            for block in file.iter_batches(batch_size=rows, columns=names):
                yield _frame(block)
        except (pa.ArrowException, OSError, ValueError):
            failed = True
        if failed:
            raise DataError(f"{path}: damaged, or of a Parquet feature that cannot be read")


def _is_index(name: str) -> bool:
    return name.startswith("__index_level_")  # row numbers, by which pandas remembers its index


def _frame(block: pa.RecordBatch) -> pd.DataFrame:
    import pyarrow as pa

    # Integers with nulls stay integers: as floats, those beyond 2^53 would change.
    integers: dict[Any, Any] = {
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.uint8(): pd.UInt8Dtype(),
        pa.uint16(): pd.UInt16Dtype(),
        pa.uint32(): pd.UInt32Dtype(),
        pa.uint64(): pd.UInt64Dtype(),
    }
    bare = block.replace_schema_metadata(None)  # or pandas would bring its index back
    return cast("pd.DataFrame", bare.to_pandas(types_mapper=integers.get, date_as_object=False))


def _statement(source: SqlSource) -> str:
    return source.query.strip().rstrip(";")


def _query(source: SqlSource, statement: str, rows: int) -> Iterator[pd.DataFrame]:
    """The rows of a statement; where there are none, one frame with the columns alone."""
    # Not a context manager: an error raised in one keeps the driver's as its context.
    engine = _engine(source)
    problem = "cannot connect; check host, user and password"
    failed = False
    try:
        with engine.connect() as connection:
            problem = "the database refused it; run the query in the database's own client to see why"
            streamed = connection.execution_options(stream_results=True, max_row_buffer=rows, no_parameters=True)
            result = streamed.exec_driver_sql(statement)
            names = [str(name) for name in result.keys()]  # noqa: SIM118  (a Result, not a dict)
            some = False
            for part in result.partitions(rows):
                some = True
                yield pd.DataFrame([tuple(row) for row in part], columns=names)
            if not some:
                yield pd.DataFrame([], columns=names)
    except Exception:  # a driver raises what it likes, and quotes cells and passwords
        failed = True
    finally:
        engine.dispose()
    if failed:
        raise DataError(f"{source.label}: {problem}")


def _engine(source: SqlSource) -> Any:
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    try:
        url = sqlalchemy.engine.make_url(source.url)
        if url.get_backend_name() == "sqlite" and _absent(url.database):
            problem = "no such file; check the path in the URL"  # connecting would make an empty database
        else:
            return sqlalchemy.create_engine(url, hide_parameters=True)
    except ImportError:
        problem = "the database's driver is not installed; pip install it, or name another in the URL"
    except (SQLAlchemyError, ValueError):
        problem = "the URL is not one of SQLAlchemy's (dialect+driver://user@host/database), or its driver is unknown"
    raise DataError(f"{source.label}: {problem}")


def _absent(database: str | None) -> bool:
    if not database or database == ":memory:" or database.startswith("file:"):
        return False
    return not Path(database).exists()


__all__ = [
    "BATCH_ROWS",
    "FileSource",
    "FrameSource",
    "SampleSource",
    "Source",
    "SqlSource",
    "check",
    "opened",
    "opened_parquet",
    "public_columns",
    "read",
    "write_csv",
    "write_parquet",
]
