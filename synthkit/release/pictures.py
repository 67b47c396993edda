"""Images in a bundle: written in three forms, and checked that they are the same.

images.parquet          a column ``image`` with the bytes of PNG files, a column ``label``
images.npz              arrays ``images`` and ``labels``
images/<class>/<n>.png  the same PNG files, where there are at most 10,000: a manifest lists each file. With credentials
                        (``credentials.py``) they have one chunk more, and every other byte is the same
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from synthkit.data.image_files import write_npz
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.errors import DataError
from synthkit.release.credentials import plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER, NAME = "images", "images"
MOST_FILES = 10_000
SHEET_COLUMNS, _SHEET_CLASSES = 12, 20  # of the contact sheet
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Pictures:
    """The images of a bundle.

    Attributes:
        schema: what is public about them.
        rows: how many.
    """

    schema: ImageSchema
    rows: int
    name: str = NAME
    key: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the Parquet file."""
        return ("image", "label")

    def to_dict(self) -> dict[str, Any]:
        """What the manifest says of them."""
        return {"schema": self.schema.to_dict(), "rows": self.rows, "columns": list(self.columns)}

    def folder_of(self, code: int) -> str:
        """The folder of a class: its label, where all labels can be names of folders; else its place."""
        labels = [str(label) for label in self.schema.classes]
        named = all(_FILE_NAME.fullmatch(label) and not label.endswith(".") for label in labels)
        distinct = len({label.lower() for label in labels}) == len(labels)
        return labels[code] if named and distinct else str(code)

    def file_of(self, number: int, code: int) -> str:
        """The file of an image, counted from 0."""
        return f"{FOLDER}/{self.folder_of(code)}/{number + 1:0{len(str(self.rows))}}.png"


def write(
    folder: Path,
    images: Images,
    pictures: Pictures,
    marks: Mapping[bytes, bytes],
    stamp: Callable[[list[bytes]], list[bytes]] = list,
) -> None:
    """Write ``images`` into ``folder`` in all their forms, with ``marks`` in the Parquet file's metadata.

    Args:
        folder, images, pictures, marks: as said.
        stamp: what puts credentials into the PNG files of the folder.

    Raises:
        DataError: another number of images, another shape, or labels that are no classes.
    """
    schema, codes = pictures.schema, images.labels.tolist()
    if images.rows != pictures.rows or images.rows < 1 or len(images.pixels) != images.rows:
        raise DataError(f"synthetic images: {images.rows}, and {pictures.rows} were announced; they must be equal")
    if images.pixels.shape[1:] != schema.shape or images.pixels.dtype != np.uint8:
        raise DataError(f"synthetic images: not {schema.size} as schema {schema.name} declares")
    if not all(0 <= code < len(schema.classes) for code in codes):
        raise DataError(f"synthetic images: labels that are no classes of schema {schema.name}")
    encoded = [_encoded(image) for image in images.pixels]
    labels = [str(schema.classes[code]) for code in codes]
    table = pa.table({"image": pa.array(encoded, pa.binary()), "label": pa.array(labels, pa.string())}, metadata=marks)
    pa.parquet.write_table(table, folder / f"{NAME}.parquet")
    write_npz(images, schema, folder / f"{NAME}.npz")
    if images.rows <= MOST_FILES:
        for code in set(codes):
            (folder / FOLDER / pictures.folder_of(code)).mkdir(parents=True)
        for number, (content, code) in enumerate(zip(stamp(encoded), codes, strict=True)):
            (folder / pictures.file_of(number, code)).write_bytes(content)


def files(pictures: Pictures) -> list[str]:
    """Names of the files that there are beside the folder."""
    return [f"{NAME}.parquet", f"{NAME}.npz"]


def check(pictures: Pictures, contents: Mapping[str, bytes], *, stamped: bool = False) -> None:
    """Compare every form with the schema and with the others.

    Args:
        pictures: as the manifest has them.
        contents: of all files of the bundle.
        stamped: the PNG files of the folder carry one credential each; else none does.

    Raises:
        DataError: says what is wrong.
    """
    schema, rows = pictures.schema, pictures.rows
    parquet = pa.parquet.ParquetFile(io.BytesIO(contents[f"{NAME}.parquet"]))
    if parquet.metadata.num_rows != rows or parquet.schema_arrow.names != list(pictures.columns):
        raise DataError(f"{NAME}.parquet does not have the stated images and columns")
    encoded, labels = (parquet.read().column(name).to_pylist() for name in pictures.columns)
    places = {str(label): code for code, label in enumerate(schema.classes)}
    if not set(labels) <= set(places):
        raise DataError(f"{NAME}.parquet holds labels that are no classes")
    codes = [places[label] for label in labels]
    pixels = np.stack([_decoded(content, schema) for content in encoded])
    with np.load(io.BytesIO(contents[f"{NAME}.npz"]), allow_pickle=False) as arrays:
        if sorted(arrays) != ["images", "labels"]:
            raise DataError(f"{NAME}.npz does not hold images and labels")
        same = np.array_equal(_channels_first(arrays["images"], schema), pixels)
        if not (same and arrays["images"].dtype == np.uint8 and arrays["labels"].astype(str).tolist() == labels):
            raise DataError(f"{NAME}.npz and {NAME}.parquet hold different images")
    there = {name for name in contents if name.startswith(f"{FOLDER}/")}
    expected = {pictures.file_of(n, code): encoded[n] for n, code in enumerate(codes)} if rows <= MOST_FILES else {}
    if there != set(expected):
        raise DataError(f"{FOLDER}/ does not hold one file for every image of {NAME}.parquet")
    if different := sum(plain(contents[name]) != (content, stamped) for name, content in expected.items()):
        raise DataError(f"{FOLDER}/ and {NAME}.parquet differ in {different} images")


def pixels(folder: Path, schema: ImageSchema) -> NDArray[np.uint8]:
    """The images (n, C, H, W) of a bundle that was verified."""
    with np.load(folder / f"{NAME}.npz", allow_pickle=False) as arrays:
        return _channels_first(arrays["images"], schema)


def contact_sheet(images: Images, schema: ImageSchema) -> list[tuple[str, bytes]]:
    """Of every class, its label and a PNG strip of its first synthetic images; of many classes, the first."""
    strips = []
    for code, label in enumerate(schema.classes[:_SHEET_CLASSES]):
        shown = images.pixels[images.labels == code][:SHEET_COLUMNS]
        if len(shown):
            strips.append((str(label), _encoded(np.concatenate(list(shown), axis=2))))
    return strips


def _encoded(image: NDArray[np.uint8]) -> bytes:
    """(C, H, W) as a PNG file."""
    from PIL import Image

    stream = io.BytesIO()
    flat = image[0] if len(image) == 1 else np.ascontiguousarray(np.moveaxis(image, 0, -1))
    Image.fromarray(flat).save(stream, "PNG")
    return stream.getvalue()


def _decoded(content: bytes | None, schema: ImageSchema) -> NDArray[np.uint8]:
    from PIL import Image

    problem = f"{NAME}.parquet holds what is no {schema.size} PNG file as synthkit writes it"
    if content is None or not content.startswith(b"\x89PNG"):
        raise DataError(problem)
    with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
        if picture.size != (schema.width, schema.height) or picture.mode != ("L" if schema.channels == 1 else "RGB"):
            raise DataError(problem)
        pixels = np.array(picture, dtype=np.uint8)
    image: NDArray[np.uint8] = _channels_first(pixels[None], schema)[0]
    if _encoded(image) != content:  # text and other chunks have no place in a PNG file of a bundle
        raise DataError(problem)
    return image


def _channels_first(arrays: NDArray[np.uint8], schema: ImageSchema) -> NDArray[np.uint8]:
    first: NDArray[np.uint8] = arrays[:, None] if schema.channels == 1 else np.moveaxis(arrays, -1, 1)
    return first


__all__ = ["FOLDER", "MOST_FILES", "SHEET_COLUMNS", "Pictures", "check", "contact_sheet", "files", "pixels", "write"]
