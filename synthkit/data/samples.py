"""Real datasets that come with synthkit, so that examples and benchmarks can be repeated by everyone.

They are public. Each has a reviewed schema and a SOURCE.md that says where it comes from and under
which licence it may be used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from synthkit.data.schema import Schema
from synthkit.errors import InputError

_FOLDERS: Mapping[str, Path] = {"adult": Path(__file__).parent / "adult"}


def names() -> list[str]:
    """The bundled samples, in alphabetical order."""
    return sorted(_FOLDERS)


def path(name: str) -> Path:
    """The sample's rows, a Parquet file.

    Raises:
        InputError: there is no such sample; lists those that there are.
    """
    return _folder(name) / f"{name}.parquet"


def schema(name: str) -> Schema:
    """The sample's reviewed schema."""
    return Schema.read(_folder(name) / f"{name}.schema.yaml")


def _folder(name: str) -> Path:
    if name not in _FOLDERS:
        raise InputError(f"no bundled sample is called {name!r}; there are: {', '.join(names())}")
    return _FOLDERS[name]


__all__ = ["names", "path", "schema"]
