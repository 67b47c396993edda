"""A bundle as machines that look for datasets read it: Croissant 1.0 with its RAI vocabulary, in JSON-LD.

Formats: https://docs.mlcommons.org/croissant/docs/croissant-spec.html and croissant-rai-spec.html (both 1.0). Neither has
a word for differential privacy: the guarantee stands in plain words where RAI asks about personal data, and as
numbers under a vocabulary of our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synthkit.release.report import columns_of, tables_of

_OURS = "urn:synthkit:release:1:"
_TYPES = {
    "integer": "sc:Integer",
    "continuous": "sc:Float",
    "boolean": "sc:Boolean",
    "image": "sc:ImageObject",
    "identifier": "sc:Integer",
}
_CROISSANT = [
    "citeAs", "column", "conformsTo", "extract", "field", "fileObject", "fileProperty", "fileSet", "format", "includes",
    "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
    "replace", "separator", "source", "subField", "transform",
]  # fmt: skip
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{name: f"cr:{name}" for name in _CROISSANT},
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "synthkit": _OURS,
}


def croissant(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a bundle, from its manifest alone; plain JSON values."""
    tables, guarantee = tables_of(manifest), manifest["guarantee"]
    handling = manifest["handling"]
    stems = list(tables) if len(tables) > 1 else ["data" if "columns" in manifest["schema"] else "images"]
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": f"{manifest['dataset']}-synthetic",
        "description": f"Synthetic data, made with {manifest['method']['name']}. {guarantee['statement']}",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "datePublished": manifest["created"][:10],
        "dateCreated": manifest["created"],
        "version": "1.0.0",
        "url": f"urn:synthkit:release:{manifest['dataset']}:{manifest['created']}".replace(" ", "-"),
        "keywords": handling["labels"],
        "distribution": [_file(name, entry) for name, entry in manifest["files"].items() if name.endswith(_ENCODINGS)],
        "recordSet": [_records(stem, table) for stem, table in zip(stems, tables.values(), strict=True)],
        "rai:dataCollection": "Drawn from a model; no row belongs to a person.",
        "rai:dataCollectionType": "Synthetic",
        "rai:dataSocialImpact": "Errors of the original data remain, and rare groups are blurred by the noise.",
        "rai:dataLimitations": manifest["not_covered"],
        "rai:personalSensitiveInformation": guarantee["statement"],
        "rai:dataUseCases": manifest["policy"]["for"] if "policy" in manifest else "not stated",
        "synthkit:guarantee": {f"synthkit:{name}": value for name, value in guarantee.items() if value is not None},
    }
    if "producer" in handling:
        document["creator"] = {"@type": "sc:Organization", "name": handling["producer"]}
    return document


_FORMATS = {".csv": "text/csv", ".parquet": "application/x-parquet"}
_ENCODINGS = tuple(_FORMATS)


def _file(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{entry['bytes']} B",
        "encodingFormat": _FORMATS[name[name.rindex(".") :]],
        "sha256": entry["sha256"],
    }


def _records(stem: str, table: Mapping[str, Any]) -> dict[str, Any]:
    file = f"{stem}.csv" if "columns" in table["schema"] else f"{stem}.parquet"
    return {
        "@type": "cr:RecordSet",
        "@id": stem,
        "name": stem,
        "description": f"{table['rows']} synthetic rows",
        "field": [_field(stem, file, name, column["kind"]) for name, column in columns_of(table).items()],
    }


def _field(stem: str, file: str, name: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{stem}/{name}",
        "name": f"{stem}/{name}",
        "dataType": _TYPES.get(kind, "sc:Date" if kind == "datetime" else "sc:Text"),
        "source": {"fileObject": {"@id": file}, "extract": {"column": name}},
    }


__all__ = ["croissant"]
