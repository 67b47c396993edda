"""Images come in from arrays and files, batch by batch; what does not fit is refused, and never shown."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes
from PIL import Image, ImageOps

from synthkit.data import samples
from synthkit.data.image_files import (
    FolderSource,
    IdxSource,
    NpzSource,
    ParquetSource,
    SampleImages,
    images_at,
    write_folder,
    write_npz,
)
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import ArraySource, Images, ImageSource, check_images, read_images
from synthkit.data.private import Private, reveal
from synthkit.data.schema import Unit
from synthkit.errors import DataError

H, W = 6, 8
GREY = ImageSchema(name="scans", height=H, width=W, channels=1, classes=("a", "b"), rows=9)
COLOUR = replace(GREY, channels=3)
OWNED = replace(GREY, unit=Unit("patient", 2))

Refusal = Callable[..., str]


def pixels(n: int = 3, *, channels: int = 1, height: int = H, width: int = W, seed: int = 0) -> np.ndarray:
    """(n, height, width), or (n, height, width, 3)."""
    values = np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), dtype=np.uint8)
    return values[..., 0] if channels == 1 else values


def opened(source: ImageSource, schema: ImageSchema = GREY, batch_images: int = 2) -> Images:
    box = read_images(source, schema, dataset="d", batch_images=batch_images)
    assert isinstance(box, Private)
    return reveal(box)


def saved(image: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file."""
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def raw_png(width: int, height: int, depth: int, colour: int, content: bytes) -> bytes:
    """A PNG with any header, e.g. of a size that its content is not."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def rotated(image: np.ndarray, orientation: int, kind: str = "PNG", **options: Any) -> bytes:
    """A file that asks to be turned before it is shown."""
    exif = Image.Exif()
    exif[274] = orientation
    return saved(image, kind, exif=exif, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., FolderSource]:
    """Write files, by their path in the folder."""

    def write(files: dict[str, bytes | str], **options: Any) -> FolderSource:
        for name, content in files.items():
            path = tmp_path / "scans" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return FolderSource(tmp_path / "scans", **options)

    return write


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., NpzSource]:
    def write(arrays: dict[str, Any], **options: Any) -> NpzSource:
        np.savez_compressed(tmp_path / "scans.npz", **arrays)
        return NpzSource(tmp_path / "scans.npz", **options)

    return write


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., ParquetSource]:
    def write(columns: dict[str, Any], **options: Any) -> ParquetSource:
        pq.write_table(pa.table(columns), tmp_path / "scans.parquet")
        return ParquetSource(tmp_path / "scans.parquet", **options)

    return write


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


# --- arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [GREY, COLOUR])
def test_arrays_of_every_layout_are_read_alike(schema: ImageSchema) -> None:
    images = pixels(5, channels=schema.channels)
    standing = images[:, None] if schema.channels == 1 else np.moveaxis(images, -1, 1)
    for layout in (images, standing, np.asfortranarray(images), np.moveaxis(standing, 1, -1)):
        found = opened(ArraySource(layout, ["a", "b", "b", "a", "b"]), schema)
        assert found.pixels.dtype == np.uint8
        assert found.labels.dtype == np.int32
        np.testing.assert_array_equal(found.pixels, standing)
        assert found.labels.tolist() == [0, 1, 1, 0, 1]
        assert found.units is None
        assert found.rows == 5


@pytest.mark.parametrize(
    ("classes", "labels", "expected"),
    [
        (("a", "b"), ["b", "a"], [1, 0]),
        (("a", "b"), ["b ", " a"], [1, 0]),
        (("a", "b"), [1, 0], [1, 0]),  # names only: a number is the place
        (("a", "b"), [1.0, 0.0], [1, 0]),
        (("a", "b"), np.array([[1], [0]]), [1, 0]),  # as MedMNIST has them
        ((7, 3), [3, 7], [1, 0]),  # numbers: they are the classes
        ((7, 3), ["3", "7"], [1, 0]),
        (("7", 3), [3.0, 7.0], [1, 0]),
        (("1", "0"), [1, 0], [0, 1]),
        (("true", "False"), [False, False], [1, 1]),
        (("a", "b"), np.array([b"b", b"a"]), [1, 0]),
    ],
)
def test_labels_are_classes_or_their_places(classes: tuple[Any, ...], labels: Any, expected: list[int]) -> None:
    schema = replace(GREY, classes=classes)
    assert opened(ArraySource(pixels(2), labels), schema).labels.tolist() == expected


@pytest.mark.parametrize(
    ("classes", "labels", "message"),
    [
        (("a", "b"), ["a", "ZZTOP-91733"], "in images 1 to 2: 1 image with a label that is not declared"),
        (("a", "b"), [2, 2], "2 images with a label that is not declared; add the class to schema scans, or correct"),
        (("a", "b"), [-1, 0], "1 image with a label"),
        (("a", "b"), [True, False], "2 images with a label"),
        (("a", 1), [0, 0], "2 images with a label"),
        (("a", "b"), [0.5, 0], "1 image with a label"),
        (("a", "b"), ["a", None], "1 image without a label"),
        (("a", "b"), [float("nan"), 0], "1 image without a label"),
        (("a", "b"), ["", "a"], "1 image without a label"),
        (("a", "b"), [0], "labels: 1 for 2 images; there must be one for each"),
        (("a", "b"), [0, 1, 1], "labels: 3 for 2 images"),
        (("a", "b"), np.eye(2), "labels: 2 dimensions; expected one value an image (no one-hot codes)"),
        (("a", "b"), 1, "labels: 0 dimensions"),
        (("a", "b"), [[0], [1, 1]], "labels: pieces of several sizes"),
    ],
)
def test_bad_labels(classes: tuple[Any, ...], labels: Any, message: str, refusal: Refusal) -> None:
    source = ArraySource(pixels(2), labels)
    assert message in refusal(lambda: opened(source, replace(GREY, classes=classes)), DataError)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (pixels(3)[0], "one image, or images as flat rows; expected (images, height, width[, channels])"),
        (np.zeros((3, H * W), np.uint8), "one image, or images as flat rows"),
        (np.zeros((3, 1, 1, H, W), np.uint8), "5 dimensions; expected"),
        (np.zeros((3, 0, W), np.uint8), "expected (images, height, width[, channels])"),
        (np.zeros((3, H, W, 4), np.uint8), "4 channels, so with transparency"),
        (np.zeros((3, 2, H, W), np.uint8), "2 channels, so with transparency"),
        (np.zeros((3, H, W, 5), np.uint8), "must be the channels, 1 or 3"),
        (np.zeros((3, 1, H, 1), np.uint8), "must be the channels, 1 or 3"),
        (np.zeros((3, W, H), np.uint8), "8 x 6 grey; schema scans says 6 x 8 grey. Correct one of them, or read them"),
        (np.zeros((3, H, W, 3), np.uint8), "6 x 8 colour; schema scans says 6 x 8 grey"),
        (np.zeros((3, H, W), np.uint16), "uint16 values; expected uint8 (0 to 255): scale and convert"),
        (np.zeros((3, H, W), np.int64), "int64 values; expected uint8"),
        (np.zeros((3, H, W), bool), "bool values; expected uint8"),
        (np.zeros((3, H, W), complex), "complex128 values; expected uint8"),
        (np.zeros((3, H, W), object), "object values; expected uint8"),
        (
            np.zeros((3, H, W)),
            "float64 values; expected uint8 (0 to 255). Convert them, or, where they are from 0 to 1",
        ),
        ([pixels(1)[0], pixels(1, height=5)[0], pixels(1)[0]], "pieces of several sizes"),
        (pixels(0), "fewer than two images; is this the right place?"),
        (pixels(1), "fewer than two images"),
    ],
)
def test_bad_arrays(images: Any, message: str, refusal: Refusal) -> None:
    source = ArraySource(images, [0] * len(images))
    for call in (lambda: opened(source), lambda: check_images(source, GREY)):
        found = refusal(call, DataError)
        assert found.startswith("the arrays: ")
        assert message in found


def test_floats_are_read_where_a_conversion_is_declared(refusal: Refusal) -> None:
    images = pixels(3)
    for kind in (np.float32, np.float64):
        source = ArraySource((images / 255).astype(kind), [0, 0, 0], convert="resize")
        np.testing.assert_array_equal(opened(source).pixels[:, 0], images)
    for bad in (1.001, -0.001, np.nan, np.inf):
        scaled = images / 255
        scaled[2, 0, 0] = scaled[1, 3, 3] = bad
        source = ArraySource(scaled, [0, 0, 0], convert="resize")
        message = refusal(lambda source=source: opened(source, batch_images=9), DataError)
        assert message.startswith("the arrays, in images 1 to 3: 2 images with values that are not from 0 to 1")
        assert "(the first is number 2)" in message


def test_an_unknown_conversion_is_refused(refusal: Refusal) -> None:
    source = ArraySource(pixels(), [0, 0, 0], convert="crop")  # type: ignore[arg-type]
    assert "there is no conversion 'crop'; use none or resize" in refusal(lambda: opened(source), DataError)


def test_a_class_without_images_is_legal_and_not_spoken_of() -> None:
    assert opened(ArraySource(pixels(2), ["a", "a"])).labels.tolist() == [0, 0]


def test_what_does_not_fit_into_memory_is_said(refusal: Refusal) -> None:
    many = np.broadcast_to(np.uint8(0), (1 << 40, H, W))
    labels = np.broadcast_to(np.uint8(0), (1 << 40,))

    class Endless(ArraySource):
        def open(self, schema: ImageSchema, size: int = 2) -> Any:
            return replace(ArraySource(pixels(2), [0, 0]).open(schema, size), count=1 << 60)

    assert "GB of pixels, more than there is memory for" in refusal(lambda: opened(Endless(many, labels)), DataError)


@pytest.mark.parametrize("count", [2, 4])
def test_a_source_that_changes_while_it_is_read_is_refused(count: int, refusal: Refusal) -> None:
    class Changing(ArraySource):
        def open(self, schema: ImageSchema, size: int = 2) -> Any:
            return replace(super().open(schema, size), count=count)

    source = Changing(pixels(3), [0, 0, 0])
    assert "changed while it was read" in refusal(lambda: opened(source), DataError)


# --- units -------------------------------------------------------------------------------------


def test_units_become_keys_that_are_equal_where_the_patient_is(
    npz: Callable[..., NpzSource], parquet: Callable[..., ParquetSource], folder: Callable[..., FolderSource]
) -> None:
    images, files = pixels(3), [saved(image) for image in pixels(3)]
    table = "file,label,patient\n1.png,a,7\n2.png,a,8\n3.png,b,7\n"
    for source in (
        ArraySource(images, [0, 0, 1], [7, 8, 7]),
        npz({"images": images, "labels": [0, 0, 1], "units": [7, 8, 7]}),
        npz({"train_images": images, "train_labels": [0, 0, 1], "train_units": [[7], [8], [7]]}),
        npz({"x_test": images, "y_test": [0, 0, 1], "units_test": ["7", "8", "7"]}),
        parquet({"image": files, "label": [0, 0, 1], "patient": [7, 8, 7]}),
        folder({"labels.csv": table, "1.png": files[0], "2.png": files[1], "3.png": files[2]}),
    ):
        found = opened(source, OWNED, batch_images=1)
        assert found.labels.tolist() == [0, 0, 1]
        assert found.units is not None
        assert found.units[0] == found.units[2] != found.units[1]
        assert found.units[0] == opened(ArraySource(images, [0, 0, 1], [7, 8, 7]), OWNED).units[0]  # type: ignore[index]
        assert found.take(np.array([True, False, True])).units.tolist() == [found.units[0]] * 2  # type: ignore[union-attr]


def test_units_are_told_exactly_where_the_schema_asks(
    npz: Callable[..., NpzSource], folder: Callable[..., FolderSource], planted: str, refusal: Refusal
) -> None:
    images = pixels(2)
    by_class = folder({"a/1.png": saved(images[0]), "b/2.png": saved(images[1])})
    for source in (ArraySource(images, [0, 0]), npz({"images": images, "labels": [0, 0]}), by_class):
        message = refusal(lambda source=source: opened(source, OWNED), DataError)
        assert "schema scans says that the unit is a patient, and nothing says whose image each one is" in message
    found = refusal(lambda: opened(ArraySource(images, [0, 0], [1, 2])), DataError)
    assert "has units, but schema scans protects each image by itself" in found
    found = refusal(lambda: opened(ArraySource(images, [0, 0], [1]), OWNED), DataError)
    assert "units: 1 for 2 images" in found
    found = refusal(lambda: opened(ArraySource(images, [0, 0], [planted, None]), OWNED), DataError)
    assert "in images 1 to 2: patient: 1 row without a value; the unit of privacy must be known" in found


# --- .npz --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "split"),
    [
        (("images", "labels"), None),
        (("x", "y"), None),
        (("x_train", "y_train"), None),
        (("train_images", "train_labels"), None),
        (("val_images", "val_labels"), "val"),
        (("x_test", "y_test"), "test"),
    ],
)
def test_npz_by_its_usual_names(keys: tuple[str, str], split: str | None, npz: Callable[..., NpzSource]) -> None:
    images = pixels(5)
    found = opened(npz({keys[0]: images, keys[1]: np.array([1, 0, 1, 0, 1])}, split=split))
    np.testing.assert_array_equal(found.pixels[:, 0], images)
    assert found.labels.tolist() == [1, 0, 1, 0, 1]


def test_npz_chooses_its_split(npz: Callable[..., NpzSource], refusal: Refusal) -> None:
    arrays = {}
    for seed, split in enumerate(("train", "val", "test")):
        arrays |= {f"{split}_images": pixels(2, seed=seed), f"{split}_labels": np.array([[seed % 2], [0]])}
    for seed, split in enumerate(("train", "val", "test")):
        np.testing.assert_array_equal(opened(npz(arrays, split=split)).pixels[:, 0], pixels(2, seed=seed))
    found = refusal(lambda: opened(npz(arrays)), DataError)
    assert "has several sets of images; say which by split: train, val, test" in found
    found = refusal(lambda: opened(npz(arrays, split="all")), DataError)
    assert "there is no split 'all'; there are: train, val, test" in found
    found = refusal(lambda: opened(npz({"x": pixels(), "y": [0, 0, 0]}, split="train")), DataError)
    assert "there is no split 'train'; the file has none: leave it out" in found


def test_npz_of_every_storage(tmp_path: Path) -> None:
    """Plain, packed, in Fortran's order, of a later format version."""
    images = pixels(7)
    path = tmp_path / "scans.npz"
    for array in (images, np.asfortranarray(images)):
        np.savez(path, images=array, labels=np.zeros(7, np.int8))
        np.testing.assert_array_equal(opened(NpzSource(path), batch_images=3).pixels[:, 0], images)
    for version in ((1, 0), (2, 0), (3, 0)):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
            for name, array in (("images", images), ("labels", np.zeros(7, ">i2"))):
                content = io.BytesIO()
                np.lib.format.write_array(content, array, version=version)
                archive.writestr(f"{name}.npy", content.getvalue())
        np.testing.assert_array_equal(opened(NpzSource(path), batch_images=3).pixels[:, 0], images)


def test_npz_with_objects_is_never_unpickled(npz: Callable[..., NpzSource], tmp_path: Path, refusal: Refusal) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    objects = np.array([Trap(), Trap()], dtype=object)
    for arrays, name in (({"x": objects, "y": [0, 0]}, "x"), ({"x": pixels(2), "y": objects}, "y")):
        message = refusal(lambda arrays=arrays: opened(npz(arrays)), DataError)
        assert f"{name}: holds Python objects (a pickle, which could run anything)" in message
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": [1]}, "no images found; expected the arrays images and labels"),
        ({"x_train": pixels()}, "has x_train, but no y_train; every image needs its label"),
        ({"images": pixels(), "labels": [0, 0]}, "images: labels: 2 for 3 images"),
        ({"images": pixels()[0], "labels": [0]}, "images: one image, or images as flat rows"),
        ({"images": pixels(1), "labels": [0]}, "fewer than two images"),
        ({"images": pixels(0), "labels": []}, "fewer than two images"),
        ({"images": pixels(), "labels": np.zeros((3, 14))}, "labels: 2 dimensions; expected one value an image"),
        ({"images": pixels(), "labels": 0}, "labels: 0 dimensions"),
        ({"images": pixels().astype(np.uint16), "labels": [0, 0, 0]}, "images: uint16 values; expected uint8"),
        ({"images": pixels() / 255, "labels": [0, 0, 0]}, "read them with the conversion 'resize'"),
    ],
)
def test_bad_npz(arrays: dict[str, Any], message: str, npz: Callable[..., NpzSource], refusal: Refusal) -> None:
    source = npz(arrays)
    found = refusal(lambda: opened(source), DataError)
    assert found.startswith(str(source.path))
    assert message in found


def test_damaged_npz(npz: Callable[..., NpzSource], tmp_path: Path, refusal: Refusal) -> None:
    source = npz({"images": pixels(40), "labels": np.zeros(40, np.uint8)})
    good = source.path.read_bytes()
    for content in (b"", b"PK", b"no zip " * 99, good[:-30], good[: len(good) // 2]):
        source.path.write_bytes(content)
        assert "not an .npz file, or damaged" in refusal(lambda: opened(source), DataError)
    seen = set()
    for place in range(0, len(good), 23):  # wherever a byte turns, it is noticed, or it did not matter
        source.path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        try:
            found = opened(source)
        except DataError as error:
            seen.add(str(error).removeprefix(f"{source.path}: ").split(":")[0])
            continue
        np.testing.assert_array_equal(found.pixels[:, 0], pixels(40))
    assert "images" in seen
    assert "no such file" in refusal(lambda: opened(NpzSource(tmp_path / "none.npz")), DataError)


@pytest.mark.parametrize("shape", ["(10**9, 6, 8)", "(2, 6, 8)"])
def test_npz_that_promises_other_than_it_has(shape: str, tmp_path: Path, refusal: Refusal) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {eval(shape)}, }}".encode()
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pixels(3).tobytes()
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("images.npy", array)
        archive.writestr("labels.npy", array)
    assert "images: damaged" in refusal(lambda: opened(NpzSource(tmp_path / "t.npz")), DataError)


def test_memory_is_the_images_once(npz: Callable[..., NpzSource]) -> None:
    schema = replace(GREY, height=64, width=64)
    source = npz({"images": np.zeros((5_000, 64, 64), np.uint8), "labels": np.zeros(5_000, np.uint8)})  # 20 MB
    tracemalloc.start()
    assert opened(source, schema, batch_images=100).rows == 5_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.25 * 5_000 * 64 * 64


# --- IDX ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx(ending: str, tmp_path: Path) -> None:
    pack = gzip.compress if ending else bytes
    images, labels = pixels(5), np.array([0, 1, 1, 0, 1], np.uint8)
    path = tmp_path / f"train-images-idx3-ubyte{ending}"
    path.write_bytes(pack(idx(images)))
    (tmp_path / f"train-labels-idx1-ubyte{ending}").write_bytes(pack(idx(labels)))
    (tmp_path / "other").write_bytes(idx(1 - labels))
    for source in (IdxSource(path), images_at(path)):
        found = opened(source)
        np.testing.assert_array_equal(found.pixels[:, 0], images)
        assert found.labels.tolist() == labels.tolist()
    assert opened(IdxSource(path, tmp_path / "other")).labels.tolist() == (1 - labels).tolist()


def test_bad_idx(tmp_path: Path, refusal: Refusal) -> None:
    path, beside = tmp_path / "t10k-images-idx3-ubyte", tmp_path / "t10k-labels-idx1-ubyte"
    images, labels = idx(pixels(3)), idx(np.array([0, 1, 1], np.uint8))
    path.write_bytes(images)
    assert "t10k-labels-idx1-ubyte: no such file" in refusal(lambda: opened(IdxSource(path)), DataError)
    for content, table, message in (
        (b"", labels, "images-idx3-ubyte: not an IDX file of bytes in 3 dimensions, or damaged"),
        (labels, labels, "images-idx3-ubyte: not an IDX file of bytes in 3 dimensions"),
        (b"\x00\x00\x0d" + images[3:], labels, "not an IDX file of bytes"),
        (images, images, "labels-idx1-ubyte: not an IDX file of bytes in 1 dimension,"),
        (images[:-1], labels, "damaged: shorter or longer than its header says"),
        (images + b"\x00", labels, "damaged: shorter or longer"),
        (images, labels[:-1], "labels-idx1-ubyte: damaged: shorter or longer"),
        (images, idx(np.array([0, 1], np.uint8)), "labels: 2 for 3 images"),
        (images, idx(np.array([0, 1, 2], np.uint8)), "in images 3 to 3: 1 image with a label that is not declared"),
        (idx(pixels(1)), idx(np.zeros(1, np.uint8)), "fewer than two images"),
        (idx(pixels(0)), idx(np.zeros(0, np.uint8)), "fewer than two images"),
        (idx(pixels(3, height=5)), labels, "5 x 8 grey; schema scans says 6 x 8 grey"),
    ):
        path.write_bytes(content)
        beside.write_bytes(table)
        assert message in refusal(lambda: opened(IdxSource(path)), DataError)
    path.with_suffix(".gz").write_bytes(gzip.compress(images)[:-9])
    beside.with_suffix(".gz").write_bytes(gzip.compress(labels))
    assert "damaged" in refusal(lambda: opened(IdxSource(path.with_suffix(".gz"))), DataError)
    assert "give the file of images" in refusal(lambda: opened(IdxSource(beside)), DataError)
    path.write_bytes(images)
    beside.write_bytes(labels)
    assert "says that the unit is a patient" in refusal(lambda: opened(IdxSource(path), OWNED), DataError)


# --- folders -----------------------------------------------------------------------------------


def test_a_folder_of_classes(folder: Callable[..., FolderSource]) -> None:
    images = pixels(4)
    files = {"a/2.png": 0, "a/1.PNG": 1, "b/x.png": 2, "b/y.png": 3}
    found = opened(folder({name: saved(images[i]) for name, i in files.items()}))
    np.testing.assert_array_equal(found.pixels[:, 0], images[[1, 0, 2, 3]])  # in the order of the paths
    assert found.labels.tolist() == [0, 0, 1, 1]


def test_folders_of_numbers_are_classes_not_places(folder: Callable[..., FolderSource], refusal: Refusal) -> None:
    source = folder({"1/1.png": saved(pixels()[0]), "0/2.png": saved(pixels()[1])})
    assert opened(source, replace(GREY, classes=(1, 0))).labels.tolist() == [1, 0]
    assert "2 folders whose name is no declared class" in refusal(lambda: opened(source), DataError)


def test_a_folder_with_a_table(folder: Callable[..., FolderSource]) -> None:
    images = pixels(3)
    table = "label,file\nb,deep/er/2.png\na,1.png\nb,./3.jpeg\n"
    files = {"deep/er/2.png": saved(images[1]), "1.png": saved(images[0]), "3.jpeg": saved(images[2], "JPEG")}
    found = opened(folder({"labels.csv": table, **files}))
    np.testing.assert_array_equal(found.pixels[:2, 0], images[[1, 0]])
    assert found.labels.tolist() == [1, 0, 1]


def test_jpeg(folder: Callable[..., FolderSource]) -> None:
    smooth = np.linspace(0, 255, H * W).reshape(H, W).astype(np.uint8)
    grey = opened(folder({"a/1.jpg": saved(smooth, "JPEG", quality=95), "a/2.JPEG": saved(smooth, "JPEG", quality=95)}))
    assert np.abs(grey.pixels.astype(int) - smooth).max() < 12


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a/1.png": 0, "ZZTOP-91733/2.png": 0}, "1 folder whose name is no declared class (a split?"),
        ({"a/1.png": 0, "a/ZZTOP-91733.dcm": 0}, "1 entry that should not be there (one has the extension .dcm)"),
        ({"a/1.png": 0, "ZZTOP-91733.png": 0}, "1 entry that should not be there (one has the extension .png)"),
        ({"a/1.png": 0, "a/x/2.png": 0, "b/README": 0}, "2 entries that should not be there; expected .png, .jpg"),
        ({"a/1.png": 0, "a/x.ZZTOP-91733": 0}, "1 entry that should not be there; expected .png"),
        ({"a/1.png": 0, "a/2.gif": 0}, "(one has the extension .gif)"),
        ({"a/1.png": 0}, "fewer than two images; is this the right place?"),
        ({"labels.csv": "file,label\n", "1.png": 0}, "1 image not listed in labels.csv; list or remove them"),
        ({"labels.csv": "file,label\n"}, "fewer than two images"),
        ({"labels.csv": "file,label\n1.png,a\n", "1.png": 0, "x/2.png": 0, "3.png": 0}, "2 images not listed"),
        ({"labels.csv": "file,label\n1.png,a\n", "1.png": 0, "x.txt": 0}, "(one has the extension .txt)"),
        ({"labels.csv": "file,label\n1.png,a\n,b\n", "1.png": 0}, "labels.csv: 1 row without a file"),
        ({"labels.csv": "file,label\n1.png,a\n1.png,b\n", "1.png": 0}, "1 row whose file was listed before"),
        ({"labels.csv": "file,label\n1.png,a\n./1.png,b\n", "1.png": 0}, "1 row whose file was listed before"),
        ({"labels.csv": "file,label\nZZTOP-91733.png,a\n", "1.png": 0}, "1 row whose file is not in the folder"),
        ({"labels.csv": "file,label\n../1.png,a\n", "1.png": 0}, "1 row whose file is not in the folder"),
        ({"labels.csv": "file,label\n/etc/passwd,a\n/dev/null,a\n"}, "2 rows whose file is not in the folder"),
        ({"labels.csv": "file,name\n1.png,a\n", "1.png": 0}, "the header must be file,label (schema scans, unit row)"),
        ({"labels.csv": "file,label,patient\n1.png,a,7\n", "1.png": 0}, "the header must be file,label (schema"),
        ({"labels.csv": "file,label\n1.png,a,b\n", "1.png": 0}, "row 2 (the header is row 1) has another number"),
        (
            {"labels.csv": "file,label\n1.png,a\n2.png,ZZTOP-91733\n", "1.png": 0, "2.png": 0},
            "in images 1 to 2: 1 image with a label that is not declared",
        ),
        ({"labels.csv": "file,label\n1.png,a\n2.png,\n", "1.png": 0, "2.png": 0}, "1 image without a label"),
    ],
)
def test_bad_folders(
    files: dict[str, Any], message: str, folder: Callable[..., FolderSource], refusal: Refusal
) -> None:
    source = folder({name: content or saved(pixels()[0]) for name, content in files.items()})
    found = refusal(lambda: opened(source), DataError)
    assert found.startswith(str(source.path))
    assert message in found


def test_places_that_are_no_folders(tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "one.png").write_bytes(saved(pixels()[0]))
    (tmp_path / "empty").mkdir()
    assert "no such folder" in refusal(lambda: opened(FolderSource(tmp_path / "none")), DataError)
    found = refusal(lambda: opened(FolderSource(tmp_path / "one.png")), DataError)
    assert "one.png: is a file; name the folder of the images" in found
    assert "fewer than two images" in refusal(lambda: opened(FolderSource(tmp_path / "empty")), DataError)


def test_a_folder_that_may_not_be_read(
    folder: Callable[..., FolderSource], monkeypatch: pytest.MonkeyPatch, refusal: Refusal
) -> None:
    source = folder({"a/1.png": saved(pixels()[0]), "a/2.png": saved(pixels()[1])})

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "ZZTOP-91733")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", denied)
        assert "2 images that cannot be opened (the first is number 1)" in refusal(lambda: opened(source), DataError)
    monkeypatch.setattr(Path, "iterdir", denied)
    assert "cannot be read: Permission denied" in refusal(lambda: opened(source), DataError)


# --- what a file may be ------------------------------------------------------------------------

FINE = pixels(1)[0]
FINE_COLOUR = pixels(1, channels=3)[0]


def bad_files(planted: str = "ZZTOP-91733") -> dict[str, tuple[bytes, str]]:
    """By name: a file that is refused under the grey schema whatever is converted, and what is said of it."""
    good = saved(FINE)
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - FINE)]}
    damaged = "that cannot be decoded: damaged, or neither PNG nor JPEG"
    return {
        "empty": (b"", "without content"),
        "text": (planted.encode(), damaged),
        "cut": (good[:-40], damaged),
        "spoilt": (good[:-30] + bytes(5) + good[-25:], damaged),
        "cut JPEG": (saved(FINE, "JPEG")[:-20], damaged),
        "header alone": (good[:33], damaged),
        "signature alone": (good[:8], damaged),
        "wrong length": (raw_png(W, H, 8, 0, b"\x00" * 5), damaged),
        "no such depth": (raw_png(W, H, 3, 0, b"\x00" * 100), damaged),
        "bitmap": (saved(FINE, "BMP"), damaged),
        "animated GIF": (saved(FINE, "GIF", **frames), damaged),
        "TIFF of pages": (saved(FINE, "TIFF", **frames), damaged),
        "animated PNG": (saved(FINE, **frames), "of several frames (an animation, or a photo with parts)"),
        "photo with parts": (saved(FINE, "MPO", **frames), "of several frames"),
        "16 bits": (saved(FINE.astype(np.uint16) * 257), "with 16 bits a value"),
        "16 bits in colour": (raw_png(W, H, 16, 2, (b"\x00" + bytes(W * 6)) * H), "with 16 bits a value"),
        "16 bits with alpha": (raw_png(W, H, 16, 4, (b"\x00" + bytes(W * 4)) * H), "with 16 bits a value"),
        "grey with alpha": (saved(Image.fromarray(FINE).convert("LA")), "with transparency"),
        "colour with alpha": (saved(Image.fromarray(FINE_COLOUR).convert("RGBA")), "with transparency"),
        "grey with a clear value": (saved(FINE, transparency=7), "with transparency"),
        "palette with a clear value": (saved(Image.fromarray(FINE).convert("P"), transparency=7), "with transparency"),
        "CMYK": (saved(Image.fromarray(FINE_COLOUR).convert("CMYK"), "JPEG"), "in another colour space than grey"),
        "bomb": (raw_png(60_000, 60_000, 8, 0, b"\x00" * 99), "of more than 50000000 pixels"),
        "small bomb": (raw_png(9_000, 9_000, 8, 0, b"\x00" * 99), "of more than 50000000 pixels"),
    }


@pytest.mark.parametrize("convert", ["none", "resize"])
@pytest.mark.parametrize("name", bad_files())
def test_bad_files(
    name: str,
    convert: str,
    folder: Callable[..., FolderSource],
    parquet: Callable[..., ParquetSource],
    refusal: Refusal,
) -> None:
    content, message = bad_files()[name]
    if name == "small bomb" and convert == "none":
        message = "not of the declared size, 6 x 8 grey"
    hidden = {"a/1.png": saved(FINE), "a/ZZTOP-91733.png": content, "b/2.png": saved(FINE)}
    for source in (
        folder(hidden, convert=convert),
        parquet({"image": [saved(FINE), content, saved(FINE)], "label": [0, 0, 1]}, convert=convert),
    ):
        found = refusal(lambda source=source: opened(source, batch_images=9), DataError)
        assert found.startswith(f"{source.path}, in images 1 to 3: 1 image {message}")
        assert "(the first is number 2): " in found


@pytest.mark.parametrize(
    ("content", "schema", "message"),
    [
        (saved(pixels(1, height=5)[0]), GREY, "not of the declared size, 6 x 8 grey (the first is number 2): resize"),
        (saved(FINE.T), GREY, "not of the declared size"),
        (rotated(FINE, 6), GREY, "not of the declared size"),
        (saved(FINE_COLOUR), GREY, "not in grey (the first is number 2): convert them, or read them with the conv"),
        (saved(FINE), COLOUR, "not in colour"),
        (saved(Image.fromarray(FINE).convert("P")), GREY, "with a palette"),
        (saved(Image.fromarray(FINE_COLOUR).convert("P")), COLOUR, "with a palette"),
    ],
)
def test_files_that_fit_after_a_conversion_alone(
    content: bytes, schema: ImageSchema, message: str, parquet: Callable[..., ParquetSource], refusal: Refusal
) -> None:
    fits = saved(FINE if schema is GREY else FINE_COLOUR)
    columns = {"image": [fits, content, content], "label": [0, 0, 1]}
    found = refusal(lambda: opened(parquet(columns), schema, batch_images=9), DataError)
    assert f"in images 1 to 3: 2 images {message}" in found
    assert opened(parquet(columns, convert="resize"), schema).pixels.shape == (3, *schema.shape)


def test_all_kinds_of_problems_are_told_at_once(parquet: Callable[..., ParquetSource], refusal: Refusal) -> None:
    columns = {"image": [b"x", saved(FINE_COLOUR), saved(FINE.T), b"y", None], "label": [0] * 5}
    found = refusal(lambda: opened(parquet(columns), batch_images=9), DataError)
    told = found.partition("in images 1 to 5: ")[2]
    assert [part.partition(" (")[0] for part in told.split("; ") if "image" in part.partition(" (")[0]] == [
        "1 image without content",
        "2 images that cannot be decoded: damaged, or neither PNG nor JPEG",
        "1 image not in grey",
        "1 image not of the declared size, 6 x 8 grey",
    ]


def test_a_bomb_is_not_unpacked(parquet: Callable[..., ParquetSource], refusal: Refusal) -> None:
    side = 6_000  # allowed by Pillow without a word; 36 MB once unpacked
    bomb = raw_png(side, side, 8, 0, (b"\x00" * (side + 1)) * side)
    tracemalloc.start()
    found = refusal(lambda: opened(parquet({"image": [saved(FINE), bomb], "label": [0, 0]})), DataError)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "1 image not of the declared size" in found
    assert peak < 5_000_000


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("convert", ["none", "resize"])
def test_rotation_of_exif_is_done(
    orientation: int, kind: str, convert: str, parquet: Callable[..., ParquetSource]
) -> None:
    """The camera lay on its side; the file says so; the picture comes out upright, and so of the declared size."""
    upright = np.repeat(np.linspace(0, 255, H).astype(np.uint8)[:, None], W, axis=1)
    upright[:, : W // 2] //= 2
    lying = next(
        seen
        for seen in (np.rot90(mirrored, turns) for mirrored in (upright, upright[:, ::-1]) for turns in range(4))
        if np.array_equal(_shown(seen, orientation), upright)
    )
    content = rotated(np.ascontiguousarray(lying), orientation, kind, **({"quality": 100} if kind == "JPEG" else {}))
    found = opened(parquet({"image": [content, content], "label": [0, 1]}, convert=convert))
    assert np.abs(found.pixels[0, 0].astype(int) - upright).max() <= (0 if kind == "PNG" else 16)


def _shown(image: np.ndarray, orientation: int) -> np.ndarray:
    """What a viewer makes of it, from the definition in EXIF: where the stored first row and column are seen."""
    return {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.T,
        6: image[::-1].T,
        7: image[::-1, ::-1].T,
        8: image[:, ::-1].T,
    }[orientation]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_of_few_bits_is_grey(depth: int, parquet: Callable[..., ParquetSource]) -> None:
    row = b"\x00" + bytes([0b11100100] * (W * depth // 8))
    content = raw_png(W, H, depth, 0, row * H)
    assert content[24] == depth
    found = opened(parquet({"image": [content, content], "label": [0, 1]})).pixels[0, 0]
    values = np.unpackbits(np.frombuffer(row[1:], np.uint8)).reshape(W, depth) @ (1 << np.arange(depth)[::-1])
    np.testing.assert_array_equal(found, np.tile(values * 255 // ((1 << depth) - 1), (H, 1)))


def test_conversions_are_pillows(parquet: Callable[..., ParquetSource]) -> None:
    """Colours first, then the size, bilinear; from files and from arrays alike."""
    big, big_colour = pixels(1, height=20, width=30)[0], pixels(1, height=20, width=30, channels=3)[0]
    bilinear = Image.Resampling.BILINEAR
    for array in (big, big_colour):
        for schema in (GREY, COLOUR):
            picture = Image.fromarray(array).convert("L" if schema is GREY else "RGB").resize((W, H), bilinear)
            expected = np.asarray(picture)[None] if schema is GREY else np.moveaxis(np.asarray(picture), -1, 0)
            columns = {"image": [saved(array)] * 2, "label": [0, 1]}
            np.testing.assert_array_equal(opened(parquet(columns, convert="resize"), schema).pixels[1], expected)
            stack = ArraySource(np.stack([array] * 2), [0, 1], convert="resize")
            np.testing.assert_array_equal(opened(stack, schema).pixels[1], expected)


def test_a_conversion_looks_at_one_image_alone() -> None:
    many = pixels(6, height=9, width=9, channels=3)
    whole = opened(ArraySource(many, [0] * 6, convert="resize"), batch_images=6)
    for i in range(5):
        pair = opened(ArraySource(many[i : i + 2], [0, 0], convert="resize"), batch_images=1)
        np.testing.assert_array_equal(pair.pixels, whole.pixels[i : i + 2])


def test_comments_in_files_are_not_shown(
    parquet: Callable[..., ParquetSource], planted: str, refusal: Refusal, recwarn: pytest.WarningsRecorder
) -> None:
    exif = Image.Exif()
    exif[315] = planted
    content = saved(FINE_COLOUR, "JPEG", exif=exif, comment=planted.encode())
    assert planted.encode() in content
    for part in (content, content[:-30], content[:200]):
        refusal(lambda part=part: opened(parquet({"image": [part, part], "label": [0, 1]})), DataError)
    assert not recwarn.list


# --- Parquet -----------------------------------------------------------------------------------


def test_parquet_of_hugging_face(parquet: Callable[..., ParquetSource]) -> None:
    images = pixels(3)
    structs = [{"bytes": saved(image), "path": "x.png"} for image in images]
    for label in (
        pa.array([1, 0, 1]),
        pa.array(["b", "a", "b"]).dictionary_encode(),
        pa.array(["b", "a", "b"], pa.large_string()),
    ):
        source = parquet({"image": structs, "label": label, "more": [1, 2, 3]})
        found = opened(source)
        np.testing.assert_array_equal(found.pixels[:, 0], images)
        assert found.labels.tolist() == [1, 0, 1]
    named = parquet(
        {"scan": pa.array([saved(image) for image in images], pa.large_binary()), "what": ["a"] * 3},
        image_column="scan",
        label_column="what",
    )
    np.testing.assert_array_equal(opened(named).pixels[:, 0], images)


@pytest.mark.parametrize(
    ("columns", "schema", "message"),
    [
        ({"img": [b"x"], "label": [0]}, GREY, "column image is not there; say which columns hold images and labels"),
        ({"image": [b"x"], "lab": [0]}, GREY, "column label is not there"),
        ({"image": [b"x"], "label": [0]}, OWNED, "column patient is not there"),
        ({"image": ["ZZTOP-91733"], "label": [0]}, GREY, "column image holds no bytes of image files"),
        ({"image": [{"path": "ZZTOP-91733"}], "label": [0]}, GREY, "column image holds no bytes of image files"),
        ({"image": [b"x"], "label": [[0]]}, GREY, "labels and units must be texts or whole numbers"),
        ({"image": [saved(FINE)], "label": [0]}, GREY, "fewer than two images"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int8())}, GREY, "fewer than two images"),
        ({"image": [None, saved(FINE)], "label": [0, 0]}, GREY, "1 image without content (the first is number 1)"),
        ({"image": [{"bytes": None, "path": "ZZTOP-91733"}] * 2, "label": [0, 0]}, GREY, "image holds no bytes"),
        ({"image": [saved(FINE)] * 2, "label": [0, None]}, GREY, "1 image without a label"),
        ({"image": [saved(FINE)] * 2, "label": [0, 9]}, GREY, "1 image with a label that is not declared"),
        ({"image": [saved(FINE)] * 2, "label": [0, 0], "patient": [1, None]}, OWNED, "patient: 1 row without a value"),
    ],
)
def test_bad_parquet(
    columns: dict[str, Any],
    schema: ImageSchema,
    message: str,
    parquet: Callable[..., ParquetSource],
    refusal: Refusal,
) -> None:
    source = parquet(columns)
    found = refusal(lambda: opened(source, schema), DataError)
    assert found.startswith(str(source.path))
    assert message in found


def test_damaged_parquet(parquet: Callable[..., ParquetSource], refusal: Refusal) -> None:
    source = parquet({"image": [saved(image) for image in pixels(200)], "label": [0] * 200})
    good = source.path.read_bytes()
    for content in (b"", b"PAR1", good[: len(good) // 2], good[:20] + bytes(400) + good[420:]):
        source.path.write_bytes(content)
        assert "damaged" in refusal(lambda: opened(source), DataError)


# --- by path, and the sample -------------------------------------------------------------------


def test_the_path_says_the_kind(tmp_path: Path, refusal: Refusal) -> None:
    assert images_at(tmp_path / "a.NPZ", split="val") == NpzSource(tmp_path / "a.NPZ", "val")
    assert images_at(str(tmp_path / "a.parquet"), convert="resize").convert == "resize"
    assert images_at(tmp_path) == FolderSource(tmp_path)
    assert images_at(tmp_path / "none") == FolderSource(tmp_path / "none")
    assert images_at(tmp_path / "x-images-idx3-ubyte.gz") == IdxSource(tmp_path / "x-images-idx3-ubyte.gz")
    assert "unknown kind of file; expected a folder" in refusal(lambda: images_at(tmp_path / "a.png"), DataError)
    assert "only .npz files have splits" in refusal(lambda: images_at(tmp_path, split="train"), DataError)


def test_the_sample() -> None:
    schema = samples.image_schema("mnist")
    found = opened(SampleImages("mnist"), schema, batch_images=999)
    assert found.rows == schema.rows == 5_000
    assert np.bincount(found.labels).tolist() == [500] * 10
    again = opened(images_at(samples.image_path("mnist")), schema)
    np.testing.assert_array_equal(found.pixels, again.pixels)


# --- writing -----------------------------------------------------------------------------------


def made(schema: ImageSchema, labels: Sequence[int]) -> Images:
    images = pixels(len(labels), channels=schema.channels, height=schema.height, width=schema.width)
    standing = images[:, None] if schema.channels == 1 else np.moveaxis(images, -1, 1)
    return Images(standing, np.array(labels, dtype=np.int32))


@given(
    classes=st.lists(
        st.one_of(st.integers(-99, 99), st.text("abcäß 9-", min_size=1)), min_size=1, max_size=4, unique_by=str
    ).filter(lambda labels: all(str(label).strip() == str(label) for label in labels)),
    channels=st.sampled_from([1, 3]),
    codes=st.lists(st.integers(0, 3), min_size=2, max_size=9),
    batch=st.integers(1, 10),
)
@settings(deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back(
    classes: list[Any], channels: int, codes: list[int], batch: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("written")
    schema = replace(GREY, classes=tuple(classes), channels=channels)
    images = made(schema, [code % len(classes) for code in codes])
    write_npz(images, schema, place / "t.npz")
    write_folder(images, schema, place / "t")
    found = opened(NpzSource(place / "t.npz"), schema, batch)
    np.testing.assert_array_equal(found.pixels, images.pixels)
    np.testing.assert_array_equal(found.labels, images.labels)
    found = opened(FolderSource(place / "t"), schema, batch)
    numbers = [int(path.stem) - 1 for path in sorted((place / "t").glob("*/*.png"))]
    np.testing.assert_array_equal(found.pixels, images.pixels[numbers])
    np.testing.assert_array_equal(found.labels, images.labels[numbers])


@given(
    images=shapes.arrays(
        np.uint8,
        st.tuples(st.integers(2, 6), st.integers(4, 9), st.integers(5, 9), st.sampled_from([1, 3])),
    ),
    batch=st.integers(1, 7),
    fortran=st.booleans(),
)
@settings(deadline=None, max_examples=40, derandomize=True)
def test_every_source_says_the_same(
    images: np.ndarray, batch: int, fortran: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("sources")
    n, height, width, channels = images.shape
    schema = replace(GREY, height=height, width=width, channels=channels)
    labels = np.arange(n) % 2
    np.savez(place / "t.npz", x=np.asfortranarray(images) if fortran else images, y=labels)
    flat = images[..., 0] if channels == 1 else images
    pq.write_table(pa.table({"image": [saved(image) for image in flat], "label": labels}), place / "t.parquet")
    sources: list[ImageSource] = [
        ArraySource(images, labels),
        images_at(place / "t.npz"),
        images_at(place / "t.parquet"),
    ]
    if channels == 1:
        (place / "t-images-idx3-ubyte").write_bytes(idx(flat))
        (place / "t-labels-idx1-ubyte").write_bytes(idx(labels.astype(np.uint8)))
        sources.append(images_at(place / "t-images-idx3-ubyte"))
    for source in sources:
        found = opened(source, schema, batch)
        np.testing.assert_array_equal(found.pixels, np.moveaxis(images, -1, 1))
        np.testing.assert_array_equal(found.labels, labels)


def test_every_class_has_its_folder_and_other_tools_read_it(tmp_path: Path) -> None:
    schema = replace(COLOUR, classes=("a", "b", "c"))
    images = made(schema, [2, 0, 2] * 4)
    write_folder(images, schema, tmp_path / "t")
    assert sorted(path.relative_to(tmp_path / "t").as_posix() for path in (tmp_path / "t").rglob("*"))[:4] == [
        "a", "a/02.png", "a/05.png", "a/08.png",
    ]  # fmt: skip
    assert list((tmp_path / "t" / "b").iterdir()) == []
    with Image.open(tmp_path / "t/c/12.png") as image:
        np.testing.assert_array_equal(np.moveaxis(np.asarray(image), -1, 0), images.pixels[11])
        assert ImageOps.exif_transpose(image).size == (W, H)
    write_npz(images, schema, tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as arrays:
        assert arrays["images"].shape == (12, H, W, 3)
        assert arrays["labels"].tolist() == ["c", "a", "c"] * 4
    write_npz(made(GREY, [1, 0]), replace(GREY, classes=(5, 6)), tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as arrays:
        assert arrays["images"].shape == (2, H, W)
        assert arrays["labels"].tolist() == [6, 5]


def test_the_same_images_make_the_same_bytes(tmp_path: Path) -> None:
    images = made(GREY, [0, 1, 1])
    for name in ("one", "two"):
        write_npz(images, GREY, tmp_path / f"{name}.npz")
        write_folder(images, GREY, str(tmp_path / name))
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    for path in (tmp_path / "one").rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_no_images_can_be_written(tmp_path: Path) -> None:
    write_folder(made(GREY, []), GREY, tmp_path / "t")
    write_npz(made(GREY, []), GREY, tmp_path / "t.npz")
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["a", "b"]


@pytest.mark.parametrize("name", ["a/b", "..", "x.", "c:", "nul\x00", "a\\b", "x" * 256])
def test_a_class_that_cannot_name_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    schema = replace(GREY, classes=("a", name))
    with pytest.raises(DataError, match=r"cannot be the name of a folder; write \.npz instead"):
        write_folder(made(schema, [0, 1]), schema, tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_writers_are_careful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = made(GREY, [0, 1])
    with pytest.raises(DataError, match=r"write_npz writes \.npz"):
        write_npz(images, GREY, tmp_path / "t.zip")
    (tmp_path / "t").mkdir()
    (tmp_path / "t.npz").write_text("old")
    with pytest.raises(DataError, match="exists already; name another folder"):
        write_folder(images, GREY, tmp_path / "t")

    def fails(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fails)
    monkeypatch.setattr(np, "savez_compressed", fails)
    with pytest.raises(OSError, match="disk full"):
        write_folder(images, GREY, tmp_path / "new")
    with pytest.raises(OSError, match="disk full"):
        write_npz(images, GREY, tmp_path / "t.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t", "t.npz"]
    assert (tmp_path / "t.npz").read_text() == "old"
