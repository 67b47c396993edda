"""A job: the steward's release file, read and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthkit.assess.reidentification import Risks
from synthkit.data import samples
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import ImageSource
from synthkit.data.linked import LinkedSchema, LinkedSource
from synthkit.data.schema import Schema
from synthkit.data.tables import FileSource, SampleSource, Source, SqlSource
from synthkit.documents import read_yaml, validate
from synthkit.errors import JobError, SchemaError
from synthkit.policy.request import ANY
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.release.handling import Handling
from synthkit.release.image_job import image_source, read_schema, with_folder
from synthkit.release.permission import STEWARD, Asker

VERSION = 1
LINKED = "linked"  # the method of linked tables; no table by itself has it


@dataclass(frozen=True)
class Job:
    """What to release, from which data, at which price.

    Attributes:
        dataset: the ledger's name for the private dataset; of linked tables, for both together.
        source: where the rows are; of linked tables, two sources; or where images are.
        schema: what is public about them; of linked tables, about both.
        budget: what the release may cost.
        method: a registered method's name, or ``linked``.
        settings: its settings.
        rows: how many synthetic rows; of linked tables, parents; or images.
        output: the bundle's folder.
        holdout: probability with which a unit is kept for the quality report; 0: no report.
        internal: exact figures on real rows are wanted, beside the bundle.
        model: the fitted model is part of the bundle.
        keep_model: the fitted model stays in the house, beside the bundle; encrypted where there are recipients.
        explain: the explanation of the synthetic data is part of the bundle.
        explain_charged: what it asks of held-out rows, as part of the price: of ``charged.PARTS``.
        risks: what is attacked on training rows and held-out ones, as part of the price; or None.
        asker: who asks for it, under which policy.
        handling: what the release says about how it is to be handled.
        trust: the file of keys whose signatures count, or None.
        credentials: of images: the file of the key that signs each PNG file, or None.
    """

    dataset: str
    source: Source | LinkedSource | ImageSource
    schema: Schema | LinkedSchema | ImageSchema
    budget: Budget
    method: str
    rows: int
    output: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    holdout: float = 0.2
    internal: bool = False
    model: bool = False
    keep_model: bool = False
    explain: bool = False
    explain_charged: tuple[str, ...] = ()
    risks: Risks | None = None
    asker: Asker = Asker()
    handling: Handling = Handling()
    trust: Path | None = None
    credentials: Path | None = None

    @classmethod
    def read(cls, path: str | Path) -> Job:
        """Read a release file (YAML). Relative paths start at the file's folder.

        Raises:
            JobError: unreadable, of another version, or contradictory; says where.
            SchemaError: a schema file that it names is.
        """
        path = Path(path)
        document = read_yaml(path, error=JobError)
        if document.get("version") != VERSION:
            raise JobError(
                f"{path}: version is {document.get('version')!r}; this synthkit reads version {VERSION} (write 'version: 1')"
            )
        _refuse_both(document, path)
        validate(document, "release/job.v1.json", source=str(path), error=JobError)
        folder = path.resolve().parent
        method = dict(document.get("method", {"name": LINKED}))
        source: Source | LinkedSource | ImageSource
        schema: Schema | LinkedSchema | ImageSchema
        if "tables" in document:
            _refuse_for_linked(method["name"], path)
            source, schema = _linked(document["tables"], folder, path)
        else:
            _refuse_linked(method["name"], path)
            schema = _schema(document, folder, path)
            at = image_source if isinstance(schema, ImageSchema) else source_of
            source = at(document["data"], folder)
        return cls(
            dataset=document["dataset"],
            source=source,
            schema=schema,
            budget=_budget(document["budget"], schema, path),
            method=method.pop("name"),
            settings=with_folder(method, lambda public: str(folder / public)),
            rows=document["rows"],
            output=folder / document["output"],
            holdout=float(document.get("holdout", 0.2)),
            internal=document.get("internal") == "allow",
            model=document.get("model", False) is True,
            keep_model=document.get("model") == "keep",
            explain=bool(document.get("explain", False)),
            explain_charged=_charged(document.get("explain", False)),
            risks=_risks(document.get("risks", False)),
            asker=asker_of(document, folder),
            handling=Handling.from_dict(document.get("handling", {})),
            trust=folder / document["trust"] if "trust" in document else None,
            credentials=folder / document["credentials"] if "credentials" in document else None,
        )


def _charged(explain: bool | Mapping[str, bool]) -> tuple[str, ...]:
    return () if isinstance(explain, bool) else tuple(name for name, wanted in explain.items() if wanted)


def _risks(written: bool | Mapping[str, Sequence[str]]) -> Risks | None:
    if isinstance(written, bool):
        return Risks() if written else None
    return Risks(tuple(written.get("secrets", ())), tuple(written["knows"]) if "knows" in written else None)


def asker_of(document: Mapping[str, Any], folder: Path) -> Asker:
    """Who asks, as ``policy``, ``as`` and ``for`` of a file say."""
    role, purpose = document.get("as", STEWARD), document.get("for", ANY)
    if "policy" not in document:
        return Asker(None, role, purpose)
    return Asker.under(folder / document["policy"], role=role, purpose=purpose)


def _refuse_both(document: Mapping[str, Any], path: Path) -> None:
    both = [key for key in ("data", "schema") if key in document]
    if "tables" in document and both:
        raise JobError(
            f"{path}: 'tables' is for two linked tables, {' and '.join(map(repr, both))} for one: keep one of the two. "
            "With 'tables', each table has a schema and data of its own, below 'parent' and 'child'"
        )


def _refuse_for_linked(method: str, path: Path) -> None:
    if method != LINKED:
        raise JobError(
            f"{path}: method.name is {method!r}, a method for one table; with 'tables' write 'name: {LINKED}' "
            "(beside it, 'parents' says which method makes the parents), or leave 'method' out"
        )


def _refuse_linked(method: str, path: Path) -> None:
    if method == LINKED:
        raise JobError(
            f"{path}: method.name is {LINKED!r}, the method for two linked tables: name them by 'tables' in place of "
            "'data' and 'schema', or name a method for one table"
        )


def _linked(tables: Mapping[str, Mapping[str, Any]], folder: Path, path: Path) -> tuple[LinkedSource, LinkedSchema]:
    above, below = tables["parent"], tables["child"]
    parent, child = (Schema.read(folder / table["schema"]) for table in (above, below))
    try:
        schema = LinkedSchema(parent, child)
    except SchemaError as problem:
        raise JobError(f"{path}: tables: {problem}") from None
    return LinkedSource(source_of(above["data"], folder), source_of(below["data"], folder)), schema


def _schema(document: Mapping[str, Any], folder: Path, path: Path) -> Schema | ImageSchema:
    if "schema" in document:
        return read_schema(folder / document["schema"])
    if "sample" in document["data"]:
        name = document["data"]["sample"]
        return samples.image_schema(name) if name in samples.image_names() else samples.schema(name)
    raise JobError(
        f"{path}: no schema; name the file that says what is public about the data ('synthkit schema draft')"
    )


def _budget(budget: Mapping[str, Any], schema: Schema | LinkedSchema | ImageSchema, path: Path) -> Budget:
    adjacency = budget.get("adjacency", Adjacency.ADD_OR_REMOVE)
    try:
        return Budget(float(budget["epsilon"]), float(budget["delta"]), adjacency, schema.unit)
    except JobError as problem:
        raise JobError(f"{path}: budget: {problem}") from None


def source_of(data: Mapping[str, Any], folder: Path) -> Source:
    """Where the rows of one table are, as ``data`` of a file says.

    Raises:
        JobError: it is for images, or names what is not there.
    """
    if asked := sorted(set(data) & {"split", "convert", "image_column", "label_column"}):
        raise JobError(f"data.{asked[0]} is for images, and the schema declares a table; leave it out")
    nulls = tuple(data.get("null_values", ()))
    if "path" in data:
        if "://" in data["path"]:  # not shown: it may hold a password
            raise JobError("data.path is a URL; for a database write 'sql' and 'query', else the path of a local file")
        return FileSource(folder / data["path"], nulls)
    if "sample" in data:
        return SampleSource(data["sample"])
    url = data["sql"]
    if url.startswith("$"):
        name = url[1:].strip("{}")
        if name not in os.environ:
            raise JobError(f"data.sql names the environment variable {name}, which is not set")
        url = os.environ[name]
    return SqlSource(url, data["query"], nulls)


__all__ = ["LINKED", "Job", "asker_of", "source_of"]
