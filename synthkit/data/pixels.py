"""Images as they come to pixels as the schema says: by one image and the schema alone.

    array (n, h, w), (n, h, w, c), (n, c, h, w)   --from_array-->   uint8 (n, channels, height, width)
    PNG and JPEG files, or their bytes            --from_files-->   uint8 (n, channels, height, width)

Without a declared conversion an image fits, or it is a problem. What cannot be converted without a
decision (16 bits, transparency, several frames) is a problem in any case. Problems are counted, by
kind; the first one's number is told, and nothing of what it shows.

Decoders quote what they stumble over. None of their messages goes on.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

import numpy as np

from synthkit.data.image_schema import ImageSchema
from synthkit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

Conversion = Literal["none", "resize"]
Encoded = Path | bytes | None  # a PNG or JPEG file, its bytes, or nothing where there should be some

MOST_PIXELS = 50_000_000  # of an image that is resized: 7000 x 7000
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_CONVERT = "or read them with the conversion 'resize'"

# What may be wrong with an image, after "3 images", and what to do about it.
_PROBLEMS: Mapping[str, tuple[str, str]] = {
    "absent": ("without content", "add it, or leave them out"),
    "closed": ("that cannot be opened", "check that the files exist and may be read"),
    "damaged": ("that cannot be decoded: damaged, or neither PNG nor JPEG", "replace them, or save them as PNG"),
    "frames": ("of several frames (an animation, or a photo with parts)", "save the frame that counts by itself"),
    "deep": ("with 16 bits a value", "scale them to 8 bits; which range of values counts is yours to say"),
    "alpha": ("with transparency", "save them without; what lies behind is yours to say"),
    "inks": ("in another colour space than grey and RGB (CMYK?)", "save them in grey or RGB"),
    "palette": ("with a palette", f"save them in grey or RGB, {_CONVERT}"),
    "channels": ("not {colour}", f"convert them, {_CONVERT}"),
    "size": ("not of the declared size, {size}", f"resize them, {_CONVERT}"),
    "large": ("of more than {most} pixels", "make them smaller first"),
    "range": ("with values that are not from 0 to 1", "scale them, or save them as uint8 (0 to 255)"),
}


def check_array(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], schema: ImageSchema, conversion: Conversion, where: str
) -> None:
    """Refuse an array of images by its shape and type, before any value is read.

    Raises:
        DataError: not a stack of images, not of the declared size, or of a type that is not read.
    """
    if len(shape) == 2:
        raise DataError(f"{where}: one image, or images as flat rows; expected (images, height, width[, channels])")
    if len(shape) not in (3, 4) or 0 in shape[1:]:
        raise DataError(f"{where}: {len(shape)} dimensions; expected (images, height, width[, channels])")
    height, width, channels = _layout(shape)
    if channels in (2, 4):
        raise DataError(f"{where}: {channels} channels, so with transparency; save them in grey or RGB")
    if channels not in (1, 3):
        raise DataError(f"{where}: either the last dimension or the second must be the channels, 1 or 3; reorder them")
    if dtype.kind == "f" and conversion == "none":
        raise DataError(
            f"{where}: {dtype} values; expected uint8 (0 to 255). Convert them, or, where they are from 0 to 1, "
            "read them with the conversion 'resize'"
        )
    if dtype != np.uint8 and dtype.kind != "f":
        raise DataError(f"{where}: {dtype} values; expected uint8 (0 to 255): scale and convert them first")
    if conversion == "none" and (channels, height, width) != schema.shape:
        raise DataError(
            f"{where}: {height} x {width} {'grey' if channels == 1 else 'colour'}; schema {schema.name} says "
            f"{schema.size}. Correct one of them, {_CONVERT}"
        )


def from_array(images: NDArray[np.generic], schema: ImageSchema, where: str, first: int) -> NDArray[np.uint8]:
    """Pixels of a stack of images that :func:`check_array` let pass.

    Args:
        images: (n, h, w), (n, h, w, c) or (n, c, h, w).
        schema: what they become.
        where: the images, for messages.
        first: the number of the first one, for messages.

    Raises:
        DataError: floats that are not from 0 to 1; how many images.
    """
    height, width, channels = _layout(images.shape)
    images = images.reshape(len(images), *images.shape[1:], *(1,) * (4 - images.ndim))
    if images.shape[1:] != (channels, height, width):  # channels last
        images = np.moveaxis(images, -1, 1)
    if images.dtype.kind == "f":
        scaled = images.astype(np.float64)
        inside = ((scaled >= 0) & (scaled <= 1)).reshape(len(images), -1).all(axis=1)  # NaN is not
        _refuse({"range": np.flatnonzero(~inside).tolist()}, schema, where, first)
        images = np.rint(scaled * 255)
    pixels = images.astype(np.uint8, copy=False)
    if (channels, height, width) == schema.shape:
        return pixels
    from PIL import Image

    standing = np.ascontiguousarray(pixels[:, 0] if channels == 1 else np.moveaxis(pixels, 1, -1))
    resized = [_converted(Image.fromarray(image), schema) for image in standing]
    return np.array(resized, dtype=np.uint8).reshape(-1, *schema.shape)


def from_files(
    files: Sequence[Encoded], schema: ImageSchema, conversion: Conversion, where: str, first: int
) -> NDArray[np.uint8]:
    """Pixels of PNG and JPEG files. Rotation that EXIF asks for is done; colour profiles are ignored.

    Raises:
        DataError: files that cannot be decoded, or do not fit; how many, of which kind.
    """
    pixels = np.zeros((len(files), *schema.shape), dtype=np.uint8)
    problems: dict[str, list[int]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's say what it found
        for i, file in enumerate(files):
            image = _decoded(file, schema, conversion)
            if isinstance(image, str):
                problems.setdefault(image, []).append(i)
            else:
                pixels[i] = image
    _refuse(problems, schema, where, first)
    return pixels


def _layout(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(height, width, channels) of an array's images; channels is 0 where it cannot be told which dimension they are."""
    if len(shape) == 3:
        return shape[1], shape[2], 1
    _, second, third, last = shape
    for known in ((1, 3), (2, 4)):
        if (last in known) != (second in known):
            return (second, third, last) if last in known else (third, last, second)
    return second, third, 0


def _decoded(file: Encoded, schema: ImageSchema, conversion: Conversion) -> NDArray[np.uint8] | str:
    """(channels, height, width), or the kind of problem."""
    if file is None:
        return "absent"
    try:
        stream: IO[bytes] = io.BytesIO(file) if isinstance(file, bytes) else file.open("rb")
    except OSError:
        return "closed"
    from PIL.Image import DecompressionBombError

    with stream:
        try:
            return _read(stream, schema, conversion)
        except DecompressionBombError:
            return "large"
        except Exception:  # a decoder raises what it likes
            return "damaged"


def _read(stream: IO[bytes], schema: ImageSchema, conversion: Conversion) -> NDArray[np.uint8] | str:
    from PIL import Image, ImageOps

    head = stream.read(25)
    stream.seek(0)
    if not head.startswith((_PNG, _JPEG)):
        return "damaged" if head else "absent"
    if head.startswith(_PNG) and head[24] == 16:  # the header's bit depth; Pillow would cut colours to 8
        return "deep"
    with Image.open(stream, formats=("PNG", "JPEG")) as image:  # the header alone
        if getattr(image, "n_frames", 1) > 1:
            return "frames"
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            return "alpha"
        if image.mode not in ("1", "L", "RGB", "P"):
            return "inks"
        if conversion == "none":
            if image.mode == "P":
                return "palette"
            if (image.mode == "RGB") != (schema.channels == 3):
                return "channels"
            if sorted(image.size) != sorted((schema.width, schema.height)):
                return "size"
        elif image.width * image.height > MOST_PIXELS:
            return "large"
        upright = ImageOps.exif_transpose(image)
        if conversion == "none" and upright.size != (schema.width, schema.height):
            return "size"
        return _converted(upright, schema)


def _converted(image: Image, schema: ImageSchema) -> NDArray[np.uint8]:
    """(channels, height, width): in the declared colours first, then resized, bilinear with antialiasing."""
    from PIL.Image import Resampling

    image = image.convert("L" if schema.channels == 1 else "RGB")
    if image.size != (schema.width, schema.height):
        image = image.resize((schema.width, schema.height), Resampling.BILINEAR)
    pixels: NDArray[np.uint8] = np.asarray(image)
    return pixels[None] if schema.channels == 1 else np.moveaxis(pixels, -1, 0)


def _refuse(problems: Mapping[str, Sequence[int]], schema: ImageSchema, where: str, first: int) -> None:
    found = "; ".join(_told(kind, problems[kind], schema, first) for kind in _PROBLEMS if problems.get(kind))
    if found:
        raise DataError(f"{where}: {found}")


def _told(kind: str, places: Sequence[int], schema: ImageSchema, first: int) -> str:
    what, remedy = _PROBLEMS[kind]
    colour = "in grey" if schema.channels == 1 else "in colour"
    what = what.format(size=schema.size, colour=colour, most=MOST_PIXELS)
    count = f"{len(places)} image{'s' if len(places) > 1 else ''}"
    return f"{count} {what} (the first is number {first + places[0]}): {remedy}"


__all__ = ["MOST_PIXELS", "Conversion", "Encoded", "check_array", "from_array", "from_files"]
