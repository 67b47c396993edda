"""A job: the steward's release file, read and checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthkit.data import samples
from synthkit.data.schema import Schema
from synthkit.data.tables import FileSource, SampleSource, Source, SqlSource
from synthkit.documents import read_yaml, validate
from synthkit.errors import JobError
from synthkit.privacy.budget import Adjacency, Budget

VERSION = 1


@dataclass(frozen=True)
class Job:
    """What to release, from which data, at which price.

    Attributes:
        dataset: the ledger's name for the private dataset.
        source: where the rows are.
        schema: what is public about them.
        budget: what the release may cost.
        method: a registered method's name.
        settings: its settings.
        rows: how many synthetic rows.
        output: the bundle's folder.
        holdout: probability with which a unit is kept for the quality report; 0: no report.
        internal: exact figures on real rows are wanted, beside the bundle.
        model: the fitted model is part of the bundle.
    """

    dataset: str
    source: Source
    schema: Schema
    budget: Budget
    method: str
    rows: int
    output: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    holdout: float = 0.2
    internal: bool = False
    model: bool = False

    @classmethod
    def read(cls, path: str | Path) -> Job:
        """Read a release file (YAML). Relative paths start at the file's folder.

        Raises:
            JobError: unreadable, of another version, or contradictory; says where.
            SchemaError: the schema file that it names is.
        """
        path = Path(path)
        document = read_yaml(path, error=JobError)
        if document.get("version") != VERSION:
            raise JobError(
                f"{path}: version is {document.get('version')!r}; this synthkit reads version {VERSION} (write 'version: 1')"
            )
        validate(document, "release/job.v1.json", source=str(path), error=JobError)
        folder, data = path.resolve().parent, document["data"]
        schema = _schema(document, folder, path)
        method = dict(document["method"])
        return cls(
            dataset=document["dataset"],
            source=_source(data, folder),
            schema=schema,
            budget=_budget(document["budget"], schema, path),
            method=method.pop("name"),
            settings=method,
            rows=document["rows"],
            output=folder / document["output"],
            holdout=float(document.get("holdout", 0.2)),
            internal=document.get("internal") == "allow",
            model=document.get("model", False),
        )


def _schema(document: Mapping[str, Any], folder: Path, path: Path) -> Schema:
    if "schema" in document:
        return Schema.read(folder / document["schema"])
    if "sample" in document["data"]:
        return samples.schema(document["data"]["sample"])
    raise JobError(
        f"{path}: no schema; name the file that says what is public about the data ('synthkit schema draft')"
    )


def _budget(budget: Mapping[str, Any], schema: Schema, path: Path) -> Budget:
    adjacency = budget.get("adjacency", Adjacency.ADD_OR_REMOVE)
    try:
        return Budget(float(budget["epsilon"]), float(budget["delta"]), adjacency, schema.unit)
    except JobError as problem:
        raise JobError(f"{path}: budget: {problem}") from None


def _source(data: Mapping[str, Any], folder: Path) -> Source:
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


__all__ = ["Job"]
