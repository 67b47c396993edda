"""An anonymization file, read and checked: which true records leave, and what becomes of each column before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthkit.anonymize.recipe import Recipe
from synthkit.data import samples
from synthkit.data.schema import Schema
from synthkit.data.tables import Source
from synthkit.documents import read_yaml, validate
from synthkit.errors import DataError, JobError
from synthkit.release.handling import Handling
from synthkit.release.job import asker_of, source_of
from synthkit.release.permission import Asker

VERSION = 1


@dataclass(frozen=True)
class AnonymizeJob:
    """What is to be done with which table.

    Attributes:
        dataset: the ledger's name for it.
        source: where the records are.
        schema: what is public about them.
        recipe: what becomes of each column.
        output: the folder.
        asker: who asks, under which policy.
        handling: how the folder says that it is to be handled.
        trust: the file of keys whose signatures count, or None.
    """

    dataset: str
    source: Source
    schema: Schema
    recipe: Recipe
    output: Path
    asker: Asker = Asker()
    handling: Handling = Handling()
    trust: Path | None = None

    @classmethod
    def read(cls, path: str | Path) -> AnonymizeJob:
        """Read an anonymization file (YAML). Relative paths start at the file's folder. No data are opened.

        Raises:
            JobError: unreadable, of another version, or contradictory; says where.
            SchemaError, PolicyError: a file that it names is.
            DataError: a hierarchy misses values that the schema declares.
        """
        path = Path(path)
        document = read_yaml(path, error=JobError)
        if document.get("version") != VERSION:
            raise JobError(
                f"{path}: version is {document.get('version')!r}; this synthkit reads version {VERSION} (write 'version: 1')"
            )
        if "budget" in document or "epsilon" in document:
            raise JobError(
                f"{path}: anonymized records have no epsilon, and no budget bounds what they tell; leave it out, or write a "
                "release file for synthetic data ('synthkit release')"
            )
        validate(document, "release/anonymize.v1.json", source=str(path), error=JobError)
        folder = path.resolve().parent
        schema = _schema(document, folder, path)
        try:
            recipe = Recipe.from_dict(document, schema, folder)
        except (JobError, DataError) as problem:
            raise type(problem)(f"{path}: {problem}") from None
        output = folder / document["output"]
        if recipe.pseudonyms and recipe.pseudonyms.keys.resolve().is_relative_to(output.resolve()):
            raise JobError(f"{path}: pseudonyms.keys is below the output; keys never leave: name another folder")
        return cls(
            dataset=document["dataset"],
            source=source_of(document["data"], folder),
            schema=schema,
            recipe=recipe,
            output=output,
            asker=asker_of(document, folder),
            handling=_handling(document, path),
            trust=folder / document["trust"] if "trust" in document else None,
        )


def _schema(document: Mapping[str, Any], folder: Path, path: Path) -> Schema:
    if "schema" in document:
        return Schema.read(folder / document["schema"])
    if "sample" in document["data"]:
        return samples.schema(document["data"]["sample"])
    raise JobError(
        f"{path}: no schema; name the file that says what is public about the data ('synthkit schema draft')"
    )


def _handling(document: Mapping[str, Any], path: Path) -> Handling:
    written = document.get("handling", {})
    if wrong := [label for label in written.get("labels", ()) if "synthetic" in label.casefold()]:
        raise JobError(f"{path}: handling.labels: {wrong[0]!r} is not true of real records; take it out")
    return Handling.from_dict(written)


__all__ = ["AnonymizeJob"]
