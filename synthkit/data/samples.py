"""Real datasets that come with synthkit, so that examples and benchmarks can be repeated by everyone.

They are public: tables, and labelled images. Each has a reviewed schema and a SOURCE.md that says where
it comes from and under which licence it may be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from synthkit.data.image_schema import ImageSchema
from synthkit.data.schema import Schema
from synthkit.errors import InputError

_HERE = Path(__file__).parent
_TABLES, _IMAGES = ("adult",), ("mnist",)


def names() -> list[str]:
    """The bundled tables, in alphabetical order."""
    return sorted(_TABLES)


def image_names() -> list[str]:
    """The bundled sets of images, in alphabetical order."""
    return sorted(_IMAGES)


def path(name: str) -> Path:
    """The table's rows, a Parquet file.

    Raises:
        InputError: there is no such table; lists those that there are.
    """
    return _folder(name, _TABLES) / f"{name}.parquet"


def image_path(name: str) -> Path:
    """The images, an .npz file.

    Raises:
        InputError: there are no such images; lists those that there are.
    """
    return _folder(name, _IMAGES) / f"{name}.npz"


def schema(name: str) -> Schema:
    """The table's reviewed schema."""
    return Schema.read(_folder(name, _TABLES) / f"{name}.schema.yaml")


def image_schema(name: str) -> ImageSchema:
    """The images' reviewed schema."""
    return ImageSchema.read(_folder(name, _IMAGES) / f"{name}.schema.yaml")


def _folder(name: str, known: Sequence[str]) -> Path:
    if name in known:
        return _HERE / name
    if name in _TABLES or name in _IMAGES:
        raise InputError(f"the bundled sample {name} is {'a table' if name in _TABLES else 'of images'}")
    raise InputError(f"no bundled sample is called {name!r}; there are: {', '.join(sorted(known))}")


__all__ = ["image_names", "image_path", "image_schema", "names", "path", "schema"]
