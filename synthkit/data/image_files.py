"""Labelled images in files: .npz, IDX, folders, Parquet, the bundled sample; and images into files.

Names of private image files may be private themselves (``mueller_1970.png``). So an error names the
archive or the folder, counts images, and numbers them in the order in which they are read.
"""

from __future__ import annotations

import lzma
import math
import os
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from synthkit.data import samples
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import BATCH_IMAGES, Batch, Images, ImageSource, Opened, check_owners, opened_array
from synthkit.data.pixels import Conversion, check_array
from synthkit.data.tables import FileSource, opened, opened_parquet
from synthkit.documents import completing, replacing
from synthkit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXTENSIONS = (".png", ".jpg", ".jpeg")
_SPLITS = ("train", "val", "test")
_LABELS = "labels.csv"
_IDX_BYTES = 8  # the type "unsigned byte", in an IDX header
_BROKEN = (OSError, EOFError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def images_at(path: str | Path, *, split: str | None = None, convert: Conversion = "none") -> ImageSource:
    """The source that reads what lies at ``path``, told by its kind.

    Args:
        path: a folder, or an .npz, .parquet or IDX file (``...images-idx3-ubyte``, plain or .gz).
        split: train, val or test, where an .npz file has several.
        convert: as for :class:`~synthkit.data.images.ImageSource`.

    Raises:
        DataError: another kind of file, or one that has no splits.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith(".npz"):
        return NpzSource(path, split, convert)
    if split is not None:
        raise DataError(f"{path}: only .npz files have splits; name the folder or the file of the split itself")
    if name.endswith(".parquet"):
        return ParquetSource(path, convert=convert)
    if name.removesuffix(".gz").endswith("ubyte"):
        return IdxSource(path, convert=convert)
    if path.is_dir() or not path.suffix:
        return FolderSource(path, convert)
    raise DataError(f"{path}: unknown kind of file; expected a folder, .npz, .parquet, or IDX (images-idx3-ubyte)")


# --- .npz --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NpzSource(ImageSource):
    """Arrays in an .npz file: ``images``, ``labels``; or ``x``, ``y``; or such by split, as MedMNIST and Keras have.

    By split, they are ``train_images``, ``train_labels`` or ``x_train``, ``y_train`` (train, val, test). The
    array ``units`` (``train_units``, ``units_train``) says whose image each one is, where the schema asks.
    Pickled objects are never opened.

    Attributes:
        split: which one, where there are several.
    """

    path: Path
    split: str | None = None
    convert: Conversion = "none"

    @property
    def label(self) -> str:
        return str(self.path)

    def open(self, schema: ImageSchema, size: int = BATCH_IMAGES) -> Opened:
        names = _chosen(_names(self.path), self.split, self.label)
        header = _header(self.path, names[0])
        where = f"{self.path}: {names[0]}"
        check_array(header.shape, header.dtype, schema, self.convert, where)
        labels, units = (_whole(self.path, name) if name else None for name in names[1:])
        assert labels is not None
        return opened_array(header.shape[0], _pieces(self.path, names[0], size), labels, units, schema, where)


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.generic]

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _chosen(names: Collection[str], split: str | None, where: str) -> tuple[str, str, str | None]:
    """The arrays with images, labels, units (None: there is none)."""
    sets = {"": ("images", "labels", "units")} if "images" in names else {}
    if "x" in names:
        sets.setdefault("", ("x", "y", "units"))
    for one in _SPLITS:
        for triple in ((f"{one}_images", f"{one}_labels", f"{one}_units"), (f"x_{one}", f"y_{one}", f"units_{one}")):
            if triple[0] in names:
                sets.setdefault(one, triple)
    known = [one for one in _SPLITS if one in sets]
    if not sets:
        raise DataError(
            f"{where}: no images found; expected the arrays images and labels, x and y, "
            "train_images and train_labels, or x_train and y_train"
        )
    if split is None and len(sets) > 1:
        raise DataError(f"{where}: has several sets of images; say which by split: {', '.join(known)}")
    if split is not None and split not in known:
        raise DataError(f"{where}: there is no split {split!r}; {_listed(known)}")
    images, labels, units = sets[split] if split else next(iter(sets.values()))
    if labels not in names:
        raise DataError(f"{where}: has {images}, but no {labels}; every image needs its label")
    return images, labels, units if units in names else None


def _listed(known: Sequence[str]) -> str:
    return f"there are: {', '.join(known)}" if known else "the file has none: leave it out"


def _names(path: Path) -> set[str]:
    names: set[str] | None = None
    with opened(path) as stream, suppress(*_BROKEN), zipfile.ZipFile(stream) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
    if names is None:
        raise DataError(f"{path}: not an .npz file, or damaged")
    return names


@contextmanager
def _member(path: Path, name: str) -> Iterator[tuple[IO[bytes], _Header]]:
    """The bytes of an array, and what its header says."""
    with opened(path) as stream, zipfile.ZipFile(stream) as archive, archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        header = _Header(*read(member))
        if not header.dtype.hasobject and member.tell() + header.bytes != archive.getinfo(f"{name}.npy").file_size:
            raise ValueError  # it promises more than there is, or less
        yield member, header


def _header(path: Path, name: str) -> _Header:
    header: _Header | None = None
    with suppress(*_BROKEN), _member(path, name) as (_, found):
        header = found
    if header is None:
        raise DataError(f"{path}: {name}: damaged")
    if header.dtype.hasobject:
        raise DataError(
            f"{path}: {name}: holds Python objects (a pickle, which could run anything); save it as an array of one type"
        )
    return header


def _pieces(path: Path, name: str, size: int) -> Iterator[NDArray[np.generic]]:
    """The array's rows, at most ``size`` at a time. Reading to the end compares its checksum."""
    damaged = False
    try:
        with _member(path, name) as (member, header):
            rows, *rest = header.shape
            if header.fortran:  # a row's values are spread over the file
                whole = np.frombuffer(member.read(header.bytes), header.dtype).reshape(header.shape, order="F")
                yield from (whole[start : start + size] for start in range(0, rows, size))
            else:
                for start in range(0, rows, size):
                    shape = (min(size, rows - start), *rest)
                    content = member.read(math.prod(shape) * header.dtype.itemsize)
                    yield np.frombuffer(content, header.dtype).reshape(shape)
            damaged = bool(member.read(1))
    except _BROKEN:
        damaged = True
    if damaged:
        raise DataError(f"{path}: {name}: damaged")


def _whole(path: Path, name: str) -> NDArray[np.generic]:
    header = _header(path, name)
    pieces = list(_pieces(path, name, max(1, *header.shape[:1]))) if header.shape else []
    return np.concatenate(pieces) if pieces else np.empty(header.shape, header.dtype)


# --- IDX ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class IdxSource(ImageSource):
    """Images as MNIST and Fashion-MNIST are published: ``...images-idx3-ubyte``, plain or .gz.

    Attributes:
        labels: the file of labels; None: beside it, ``...labels-idx1-ubyte``.
    """

    path: Path
    labels: Path | None = None
    convert: Conversion = "none"

    @property
    def label(self) -> str:
        return str(self.path)

    def open(self, schema: ImageSchema, size: int = BATCH_IMAGES) -> Opened:
        beside = self.path.name.replace("images", "labels").replace("idx3", "idx1")
        labels = self.labels or self.path.with_name(beside)
        if labels == self.path:
            raise DataError(f"{self.path}: give the file of images (...images-idx3-ubyte); labels are found beside it")
        shape = _idx_shape(self.path, 3)
        check_array(shape, np.dtype(np.uint8), schema, self.convert, self.label)
        names = np.concatenate(list(_idx_pieces(labels, _idx_shape(labels, 1), 1 << 20)) or [np.empty(0, np.uint8)])
        return opened_array(shape[0], _idx_pieces(self.path, shape, size), names, None, schema, self.label)


def _idx_shape(path: Path, dimensions: int) -> tuple[int, ...]:
    content = b""
    with opened(path) as stream, suppress(*_BROKEN):
        content = stream.read(4 + 4 * dimensions)
    if len(content) < 4 + 4 * dimensions or content[:4] != bytes([0, 0, _IDX_BYTES, dimensions]):
        raise DataError(
            f"{path}: not an IDX file of bytes in {dimensions} dimension{'s'[: dimensions - 1]}, or damaged"
        )
    return struct.unpack(f">{dimensions}I", content[4:])


def _idx_pieces(path: Path, shape: tuple[int, ...], size: int) -> Iterator[NDArray[np.generic]]:
    rows, *rest = shape
    damaged = False
    with opened(path) as stream:
        try:
            stream.read(4 + 4 * len(shape))
            for start in range(0, rows, size):
                part = (min(size, rows - start), *rest)
                yield np.frombuffer(stream.read(math.prod(part)), np.uint8).reshape(part)
            damaged = bool(stream.read(1))
        except _BROKEN:
            damaged = True
    if damaged:
        raise DataError(f"{path}: damaged: shorter or longer than its header says")


# --- folders -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class FolderSource(ImageSource):
    """PNG and JPEG files: one folder a class; or anywhere in the folder, listed in its ``labels.csv``.

    ``labels.csv`` has the columns ``file`` (the path within the folder), ``label`` and, where the schema
    names a unit, the unit's. Images are numbered in the order of their paths, or of the rows.
    """

    path: Path
    convert: Conversion = "none"

    @property
    def label(self) -> str:
        return str(self.path)

    def open(self, schema: ImageSchema, size: int = BATCH_IMAGES) -> Opened:
        listing: _Listing | None = None
        problem = "no such folder"
        try:
            if self.path.is_dir():
                listing = (_in_table if (self.path / _LABELS).is_file() else _by_class)(self.path, schema)
            elif self.path.exists():
                problem = "is a file; name the folder of the images"
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
        if listing is None:
            raise DataError(f"{self.path}: {problem}")
        files, labels, units = listing

        def batches() -> Iterator[Batch]:
            for start in range(0, len(files), size):
                part = slice(start, start + size)
                yield Batch(files[part], labels[part], None if units is None else units[part])

        return Opened(len(files), batches())


_Listing = tuple[list[Path], list[object], list[object] | None]


def _by_class(folder: Path, schema: ImageSchema) -> _Listing:
    check_owners(False, schema, str(folder))
    classes = {str(label): label for label in schema.classes}
    entries = sorted(folder.iterdir())
    inside = [entry for entry in entries if entry.is_dir()]
    others = [entry for entry in entries if not entry.is_dir()]
    if unknown := sum(entry.name not in classes for entry in inside):
        raise DataError(
            f"{folder}: {unknown} folder{'s' * (unknown > 1)} whose name is no declared class (a split? then name "
            f"its folder); add the class to schema {schema.name}, or move it away"
        )
    files: list[Path] = []
    labels: list[object] = []
    for entry in inside:
        for file in sorted(entry.iterdir()):
            if file.is_file() and file.suffix.lower() in _EXTENSIONS:
                files.append(file)
                labels.append(entry.name)
            else:
                others.append(file)
    _refuse_others(folder, others)
    return files, labels, None


def _in_table(folder: Path, schema: ImageSchema) -> _Listing:
    table, unit = folder / _LABELS, schema.unit.column
    wanted = ["file", "label", *([unit] if unit else [])]
    source = FileSource(table)
    if sorted(source.columns()) != sorted(wanted):
        raise DataError(f"{table}: the header must be {','.join(wanted)} (schema {schema.name}, unit {schema.unit})")
    names: list[Any] = []
    labels: list[object] = []
    units: list[object] = []
    for frame in source.batches():
        names += frame["file"].tolist()
        labels += frame["label"].tolist()
        units += frame[unit].tolist() if unit else []
    paths = [PurePosixPath(name) if isinstance(name, str) else None for name in names]
    there = [Path(root) / name for root, _, inside in os.walk(folder) for name in inside]
    there.remove(table)
    _refuse_others(folder, [file for file in there if file.suffix.lower() not in _EXTENSIONS])
    found = {PurePosixPath(file.relative_to(folder)) for file in there}
    repeated = sum(times - 1 for path, times in Counter(paths).items() if path is not None)
    for count, what in (
        (sum(path is None for path in paths), "without a file"),
        (sum(path is not None and path not in found for path in paths), "whose file is not in the folder"),
        (repeated, "whose file was listed before"),
    ):
        if count:
            raise DataError(f"{table}: {count} row{'s' * (count > 1)} {what}; correct or remove them")
    if count := len(found) - len(paths):
        raise DataError(f"{folder}: {count} image{'s' * (count > 1)} not listed in {_LABELS}; list or remove them")
    return [folder / path for path in paths if path is not None], labels, units if unit else None


def _refuse_others(folder: Path, others: Sequence[Path]) -> None:
    if not others:
        return
    suffix = others[0].suffix
    told = f" (one has the extension {suffix})" if re.fullmatch(r"\.[A-Za-z0-9]{1,5}", suffix) else ""
    count = f"{len(others)} entr{'ies' if len(others) > 1 else 'y'}"
    raise DataError(
        f"{folder}: {count} that should not be there{told}; expected {', '.join(_EXTENSIONS)} in one folder a class, "
        f"or listed in {_LABELS}. Move the others away"
    )


# --- Parquet -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ParquetSource(ImageSource):
    """A Parquet file with a column of encoded images and one of labels. Others are not read.

    Attributes:
        image_column: bytes of PNG or JPEG files, or structs with a field ``bytes`` (as Hugging Face writes).
        label_column: texts or whole numbers.
    """

    path: Path
    image_column: str = "image"
    label_column: str = "label"
    convert: Conversion = "none"

    @property
    def label(self) -> str:
        return str(self.path)

    def open(self, schema: ImageSchema, size: int = BATCH_IMAGES) -> Opened:
        unit = schema.unit.column
        columns = [self.image_column, self.label_column, *([unit] if unit else [])]
        with opened_parquet(self.path) as file:
            count, types = file.metadata.num_rows, {field.name: field.type for field in file.schema_arrow}
        for name in columns:
            if name not in types:
                raise DataError(f"{self.path}: column {name} is not there; say which columns hold images and labels")
        if not _holds_images(types[self.image_column]):
            raise DataError(f"{self.path}: column {self.image_column} holds no bytes of image files")
        if any(_nested(types[name]) for name in columns[1:]):
            raise DataError(f"{self.path}: labels and units must be texts or whole numbers, one an image")
        return Opened(count, self._batches(columns, size))

    def _batches(self, columns: Sequence[str], size: int) -> Iterator[Batch]:
        import pyarrow as pa

        with opened_parquet(self.path) as file:
            damaged = False
            try:
                for block in file.iter_batches(batch_size=size, columns=columns):
                    images, labels, *units = (block.column(name).to_pylist() for name in columns)
                    files = [image["bytes"] if isinstance(image, dict) else image for image in images]
                    yield Batch(files, labels, units[0] if units else None)
            except (pa.ArrowException, OSError, ValueError):
                damaged = True
            if damaged:
                raise DataError(f"{self.path}: damaged, or of a Parquet feature that cannot be read")


def _holds_images(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_images(kind.field(place).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _nested(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_nested(kind) or pa.types.is_temporal(kind))


# --- the bundled sample ------------------------------------------------------------------------


@dataclass(frozen=True)
class SampleImages(ImageSource):
    """Images that come with synthkit; see :mod:`synthkit.data.samples`."""

    name: str
    convert: Conversion = "none"

    @property
    def label(self) -> str:
        return f"sample {self.name}"

    def open(self, schema: ImageSchema, size: int = BATCH_IMAGES) -> Opened:
        return NpzSource(samples.image_path(self.name), convert=self.convert).open(schema, size)


# --- writing -----------------------------------------------------------------------------------


def write_npz(images: Images, schema: ImageSchema, path: str | Path) -> None:
    """Write ``images`` (n, h, w) or (n, h, w, 3) and ``labels`` (n,), the classes themselves; the same bytes each time.

    Raises:
        DataError: the file is not called .npz.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise DataError(f"{path}: write_npz writes .npz")
    pixels = images.pixels[:, 0] if schema.channels == 1 else np.moveaxis(images.pixels, 1, -1)
    whole = all(isinstance(label, int) for label in schema.classes)
    classes = np.array(schema.classes if whole else [str(label) for label in schema.classes])
    with replacing(path) as stream:
        np.savez_compressed(stream, images=np.ascontiguousarray(pixels), labels=classes[images.labels])


def write_folder(images: Images, schema: ImageSchema, folder: str | Path) -> None:
    """Write ``folder/<class>/<number>.png``, with a folder for every class; the whole folder at once, or nothing.

    Raises:
        DataError: ``folder`` exists, or a class cannot be the name of a folder.
    """
    from PIL import Image

    folder = Path(folder)
    if folder.exists():
        raise DataError(f"{folder}: exists already; name another folder")
    if bad := [label for label in schema.classes if not _names_a_folder(str(label))]:
        raise DataError(f"{folder}: the class {bad[0]!r} cannot be the name of a folder; write .npz instead")
    digits = len(str(images.rows))
    with completing(folder) as partial:
        for label in schema.classes:
            (partial / str(label)).mkdir()
        for number, (pixels, code) in enumerate(zip(images.pixels, images.labels.tolist(), strict=True), start=1):
            picture = pixels[0] if schema.channels == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
            Image.fromarray(picture).save(partial / str(schema.classes[code]) / f"{number:0{digits}}.png")


def _names_a_folder(text: str) -> bool:
    # On every system: the folder may be carried from one to another.
    return not re.search(r'[<>:"/\\|?*\x00-\x1f]', text) and text == text.strip(" .") and len(text.encode()) <= 255


__all__ = [
    "FolderSource",
    "IdxSource",
    "NpzSource",
    "ParquetSource",
    "SampleImages",
    "images_at",
    "write_folder",
    "write_npz",
]
