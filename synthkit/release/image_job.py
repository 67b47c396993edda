"""What a release file says of images: their schema, told from a table's, and where they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from synthkit.data.image_files import ParquetSource, SampleImages, images_at
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import ImageSource
from synthkit.data.schema import Schema
from synthkit.documents import read_yaml
from synthkit.errors import JobError, SchemaError

_COLUMNS = ("image_column", "label_column")


def read_schema(path: Path) -> Schema | ImageSchema:
    """The schema in a file: of images where it has classes, or a height, and no columns; else of a table.

    Raises:
        SchemaError: unreadable, of another version, or contradictory; says where.
    """
    document = read_yaml(path, error=SchemaError)
    images = "columns" not in document and bool({"classes", "height", "width", "channels"} & set(document))
    return ImageSchema.read(path) if images else Schema.read(path)


def image_source(data: Mapping[str, Any], folder: Path) -> ImageSource:
    """The source that ``data`` of a release file names.

    Args:
        data: as the release file has it, validated.
        folder: where relative paths start.

    Raises:
        JobError: what is there for tables alone.
        DataError: a kind of file that holds no images.
    """
    if "sql" in data:
        raise JobError("data.sql is for tables, and the schema declares images; name a file or a folder by data.path")
    if "null_values" in data:
        raise JobError("data.null_values is for tables, and the schema declares images; leave it out")
    convert = data.get("convert", "none")
    if "sample" in data:
        return SampleImages(data["sample"], convert)
    if "://" in data["path"]:  # not shown: it may hold a password
        raise JobError("data.path is a URL; copy the images to this machine, and write the path of the file or folder")
    source = images_at(folder / data["path"], split=data.get("split"), convert=convert)
    columns = {name: data[name] for name in _COLUMNS if name in data}
    if not columns:
        return source
    if not isinstance(source, ParquetSource):
        raise JobError(f"data.{next(iter(columns))} is for Parquet files, and {data['path']} is none; leave it out")
    return ParquetSource(source.path, **columns, convert=convert)


def with_folder(settings: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """A method's settings with its folder of public images (``warm_start``) changed, where it has one.

    Args:
        settings: of a method; of ``image_gan`` the folder is among those of its warm start.
        change: the folder as it stands to what it becomes.
    """
    found = dict(settings)
    if isinstance(found.get("warm_start"), str) and found["warm_start"]:
        found["warm_start"] = change(found["warm_start"])
    if isinstance(found.get("moments"), Mapping):
        found["moments"] = with_folder(found["moments"], change)
    return found


__all__ = ["image_source", "read_schema", "with_folder"]
