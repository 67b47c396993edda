"""Public images that methods learn from before they see any private one: drawn by rule, or the user's own.

The user's own folder is public by declaration: nothing is charged for it, and its digest is part of what the
plan says, so that a manifest names the very files. It must hold none of the private images.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from synthkit.data.image_schema import ImageSchema
from synthkit.data.pixels import from_files
from synthkit.errors import JobError
from synthkit.synthesizers.procedural import procedural

_ENDINGS = (".png", ".jpg", ".jpeg")
_MOST = 20_000  # files that are read, in the order of their names
_OWN = 0.5  # share of the images, at most, where there is a folder


def public_images(shape: tuple[int, int, int], count: int, folder: str = "") -> Tensor:
    """Public images of the working ``shape``: float32 (count, C, h, w) in [0, 1].

    Args:
        shape: working channels, height, width.
        count: how many.
        folder: of the user's own, which take the place of up to half of the drawn ones; empty: none.

    Raises:
        JobError: there is no such folder, or no image in it.
        DataError: files that are no images.
    """
    if not folder:
        return _drawn(count, shape)
    channels, height, width = shape
    schema = ImageSchema(name="public", height=height, width=width, channels=channels, classes=("any",), rows=1)
    files = _files(folder)[: int(_OWN * count)]
    own = torch.from_numpy(from_files(files, schema, "resize", folder, 1)).float() / 255
    return torch.cat([_drawn(count - len(own), shape), own])


@lru_cache(maxsize=2)
def _drawn(count: int, shape: tuple[int, int, int]) -> Tensor:
    """Made once: nobody writes into them."""
    return procedural(count, shape)


def declared(folder: str) -> str:
    """What the plan says of a folder: how many public images it has, and the digest of their names and contents."""
    if not folder:
        return ""
    files, total = _files(folder), sha256()
    for file in files:
        inner = sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(folder).as_posix()}\0{inner}\n".encode())
    return f"warm start on {len(files)} images that are declared public, sha256 {total.hexdigest()}"


def _files(folder: str) -> list[Path]:
    place = Path(folder)
    if not place.is_dir():
        raise JobError(f"warm_start: {folder}: no such folder; name a folder of public PNG or JPEG files")
    files = sorted(path for path in place.rglob("*") if path.suffix.lower() in _ENDINGS and path.is_file())
    if not files:
        raise JobError(
            f"warm_start: {folder}: no PNG or JPEG file in it; name a folder of public images, or leave it out"
        )
    return files[:_MOST]


__all__ = ["declared", "public_images"]
