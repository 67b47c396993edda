"""Labelled images from a source, batch by batch, into a locked box.

    ImageSource  --check_images-->  nothing, or what is wrong: before anything is reserved
    ImageSource  --read_images-->   Private[Images, ImageSchema]

A source is where images come from: :class:`ArraySource`, or one of ``image_files.py``. The box is
filled a batch at a time, so that the peak of memory is near the images', not twice that.

Errors are raised outside handlers: not even ``__context__`` keeps what a decoder quoted.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthkit.data.encoding import unit_keys
from synthkit.data.image_schema import ImageSchema
from synthkit.data.pixels import Conversion, Encoded, check_array, from_array, from_files
from synthkit.data.private import Private
from synthkit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

BATCH_IMAGES = 256


@dataclass(frozen=True, repr=False)
class Images:
    """Checked images with their labels.

    Attributes:
        pixels: uint8 (n, channels, height, width).
        labels: int32 (n,), each a class's place in the schema.
        units: uint64 (n,), one key per unit of privacy; None where every image is its own unit.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]
    units: NDArray[np.uint64] | None = None

    @property
    def rows(self) -> int:
        """n."""
        return len(self.labels)

    def part(self, rows: slice) -> Images:
        """The images of a slice; shares memory with these."""
        return Images(self.pixels[rows], self.labels[rows], None if self.units is None else self.units[rows])

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Images:
        """The images at ``index`` (positions or a mask), in that order."""
        units = None if self.units is None else self.units[index]
        return Images(self.pixels[index], self.labels[index], units)


@dataclass(frozen=True, repr=False)
class Batch:
    """Some images as they came.

    Attributes:
        images: an array that ``check_array`` let pass, or encoded files.
        labels: one an image, of whatever type.
        units: one an image, of whatever type; None where nobody asked.
    """

    images: NDArray[np.generic] | Sequence[Encoded]
    labels: Sequence[object]
    units: Sequence[object] | None


@dataclass(frozen=True, repr=False)
class Opened:
    """A source that was opened and checked as far as it can be without reading an image.

    Attributes:
        count: how many images there are. Private, but for its being at least two.
        batches: all of them, in order.
    """

    count: int
    batches: Iterator[Batch]


class ImageSource(ABC):
    """Where labelled images come from.

    Attributes:
        convert: ``none``: an image that does not fit the schema is an error. ``resize``: images are
            brought to the declared size (bilinear; proportions are not kept) and to grey or colour,
            palettes are resolved, and floats from 0 to 1 become 0 to 255. Public, like the schema.
    """

    convert: Conversion

    @property
    @abstractmethod
    def label(self) -> str:
        """The source's name for messages."""

    @abstractmethod
    def open(self, schema: ImageSchema, size: int = BATCH_IMAGES) -> Opened:
        """Open and check, without reading an image.

        Args:
            schema: by which shapes, types and columns are checked.
            size: at most so many images a batch.

        Raises:
            DataError: says what is wrong with the source, and what to do.
        """


def check_images(source: ImageSource, schema: ImageSchema) -> None:
    """Refuse a source that cannot be opened, or does not fit as a whole. No image is read.

    Raises:
        DataError: says what is wrong with the source, and what to do.
    """
    _opened(source, schema, BATCH_IMAGES)


def read_images(
    source: ImageSource, schema: ImageSchema, *, dataset: str, batch_images: int = BATCH_IMAGES
) -> Private[Images, ImageSchema]:
    """Read, check and lock away all images of ``source``.

    Whether a declared class has images is private: nothing is said about it.

    Args:
        source: where the images are.
        schema: what is public about them; the source is checked against it before any image is read.
        dataset: the steward's name for the dataset, as the ledger knows it.
        batch_images: at most so many images are decoded at a time.

    Raises:
        DataError: the source cannot be opened, or images, labels or units do not fit the schema. Names
            the source, what is wrong, how many images it concerns, and the number of the first.
    """
    opened = _opened(source, schema, batch_images)
    count, done = opened.count, 0
    images = _room(count, schema, source.label)
    for batch in opened.batches:
        start, done = done, done + len(batch.labels)
        if done > count:
            break
        part = slice(start, done)
        where = f"{source.label}, in images {start + 1} to {done}"
        if isinstance(batch.images, np.ndarray):
            images.pixels[part] = from_array(batch.images, schema, where, start + 1)
        else:
            images.pixels[part] = from_files(batch.images, schema, source.convert, where, start + 1)
        images.labels[part] = _codes(batch.labels, schema, where)
        if images.units is not None:
            keys = pd.Series(list(batch.units or ()), dtype=object)
            images.units[part] = unit_keys(keys, f"{where}: {schema.unit.column}")
    if done != count:
        raise DataError(f"{source.label}: changed while it was read; read it again when nobody writes to it")
    return Private(images, dataset=dataset, schema=schema)


@dataclass(frozen=True, eq=False)
class ArraySource(ImageSource):
    """Images that are in memory already.

    Attributes:
        images: uint8 (n, h, w), (n, h, w, c) or (n, c, h, w); floats from 0 to 1 with ``resize``.
        labels: (n,) or (n, 1): classes, or their codes where all classes are names.
        units: (n,), whose image it is, where ``schema.unit`` names a column.
        name: for messages.
    """

    images: ArrayLike = field(repr=False)
    labels: ArrayLike = field(repr=False)
    units: ArrayLike | None = field(default=None, repr=False)
    convert: Conversion = "none"
    name: str = "the arrays"

    @property
    def label(self) -> str:
        return self.name

    def open(self, schema: ImageSchema, size: int = BATCH_IMAGES) -> Opened:
        images = _array(self.images, self.label)
        check_array(images.shape, images.dtype, schema, self.convert, self.label)
        pieces = (images[start : start + size] for start in range(0, len(images), size))
        return opened_array(len(images), pieces, self.labels, self.units, schema, self.label)


def opened_array(
    count: int,
    pieces: Iterator[NDArray[np.generic]],
    labels: ArrayLike,
    units: ArrayLike | None,
    schema: ImageSchema,
    where: str,
) -> Opened:
    """An opened stack of ``count`` images that comes in ``pieces``; labels and units are there as a whole.

    Raises:
        DataError: labels or units of another length or shape; or as :func:`check_owners`.
    """
    names = _values(labels, count, f"{where}: labels")
    check_owners(units is not None, schema, where)
    keys = None if units is None else _values(units, count, f"{where}: units")

    def batches() -> Iterator[Batch]:
        start = 0
        for piece in pieces:
            part = slice(start, start + len(piece))
            yield Batch(piece, names[part], None if keys is None else keys[part])
            start = part.stop

    return Opened(count, batches())


def check_owners(told: bool, schema: ImageSchema, where: str) -> None:
    """Refuse a source that does not tell whose image each one is though the schema asks, or the other way round."""
    column = schema.unit.column
    if column is not None and not told:
        raise DataError(
            f"{where}: schema {schema.name} says that the unit is a {column}, and nothing says whose image each one is; "
            "add it (the array units of an .npz file, a column of labels.csv or Parquet), or declare 'unit: row'"
        )
    if column is None and told:
        raise DataError(
            f"{where}: has units, but schema {schema.name} protects each image by itself; "
            "declare unit: {column: ..., max_rows: ...}, or leave them out"
        )


def _opened(source: ImageSource, schema: ImageSchema, size: int) -> Opened:
    if source.convert not in ("none", "resize"):
        raise DataError(f"{source.label}: there is no conversion {source.convert!r}; use none or resize")
    opened = source.open(schema, size)
    if opened.count < 2:
        raise DataError(f"{source.label}: fewer than two images; is this the right place?")
    return opened


def _values(array: ArrayLike, count: int, where: str) -> list[object]:
    values = _array(array, where)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise DataError(f"{where}: {values.ndim} dimensions; expected one value an image (no one-hot codes)")
    if len(values) != count:
        raise DataError(f"{where}: {len(values)} for {count} images; there must be one for each")
    listed: list[object] = values.tolist()
    return listed


def _array(values: ArrayLike, where: str) -> NDArray[np.generic]:
    try:
        return np.asarray(values)
    except ValueError:
        pass
    raise DataError(f"{where}: pieces of several sizes; an array has one")


def _room(count: int, schema: ImageSchema, where: str) -> Images:
    try:
        return Images(
            np.empty((count, *schema.shape), dtype=np.uint8),
            np.empty(count, dtype=np.int32),
            None if schema.unit.column is None else np.empty(count, dtype=np.uint64),
        )
    except (MemoryError, ValueError):
        pass
    raise DataError(f"{where}: {count * schema.values / 1e9:.0f} GB of pixels, more than there is memory for")


def _codes(labels: Sequence[object], schema: ImageSchema, where: str) -> NDArray[np.int32]:
    """The classes' places, (n,) int32."""
    places = {str(label): code for code, label in enumerate(schema.classes)}
    # Where all classes are names, as in many published files, a number is the place itself.
    named = not any(_whole(label) for label in places)
    codes = np.array([_code(label, places, len(places) if named else 0) for label in labels], dtype=np.int32)
    if absent := int((codes == _ABSENT).sum()):
        raise DataError(f"{where}: {absent} image{'s' * (absent > 1)} without a label; add it, or leave them out")
    if unknown := int((codes == _UNKNOWN).sum()):
        raise DataError(
            f"{where}: {unknown} image{'s' * (unknown > 1)} with a label that is not declared; "
            f"add the class to schema {schema.name}, or correct them"
        )
    return codes


_UNKNOWN, _ABSENT = -1, -2


def _code(label: object, places: dict[str, int], named: int) -> int:
    if label is None or (isinstance(label, float) and math.isnan(label)) or label == "":
        return _ABSENT
    if isinstance(label, float) and label.is_integer():  # integers with nulls arrive as floats
        label = int(label)
    if isinstance(label, bytes):
        label = label.decode(errors="replace")
    text = str(label)
    if text in places:
        return places[text]
    if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < named:
        return label
    return places.get(text.strip(), _UNKNOWN)


def _whole(text: str) -> bool:
    return text.strip().lstrip("+-").isdecimal()


__all__ = [
    "BATCH_IMAGES",
    "ArraySource",
    "Batch",
    "ImageSource",
    "Images",
    "Opened",
    "check_images",
    "check_owners",
    "opened_array",
    "read_images",
]
