"""What is public about labelled images: their size, the classes, about how many there are.

An :class:`ImageSchema` is to images what a :class:`~synthkit.data.schema.Schema` is to a table: declared
by the steward, never learnt. A row is one image with its label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthkit.data.schema import HALF, Category, Unit, check_labels, check_rows, encodes
from synthkit.documents import read_yaml, validate
from synthkit.errors import SchemaError
from synthkit.meanings import HOLDS

VERSION = 1
SMALLEST, LARGEST = 4, 512  # pixels, of height and width
MOST_VALUES = 2**18  # height x width x channels: 512 x 512 in grey, 256 x 256 in colour


@dataclass(frozen=True, kw_only=True)
class ImageSchema:
    """Everything about labelled images that is public by declaration.

    Attributes:
        name: a name for people.
        height, width: pixels, 4 to 512 each.
        channels: 1 (grey) or 3 (red, green, blue).
        classes: the labels that may occur; a label's code is its place here.
        rows: about how many images, as publicly known. Sets sampling rates; a wrong figure costs
            quality, never privacy.
        unit: the unit of privacy: an image, or all images of a patient whom ``unit.column`` names.
        reviewed: somebody vouches that nothing here was read off the private images.
        description: what the images show, for people; or None.
        holds: what they hold (``meanings.py``), for compliance reports; or None: it is not said.

    Raises:
        SchemaError: a size or a list of classes that cannot be.
    """

    name: str
    height: int
    width: int
    channels: int
    classes: tuple[Category, ...]
    rows: int
    unit: Unit = Unit()  # noqa: RUF009  (frozen)
    reviewed: bool = False
    description: str | None = None
    holds: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        here = f"schema {self.name}"
        for side, pixels in (("height", self.height), ("width", self.width)):
            if not SMALLEST <= pixels <= LARGEST:
                raise SchemaError(f"{here}: {side} is {pixels}; it must be {SMALLEST} to {LARGEST} pixels")
        if self.channels not in (1, 3):
            raise SchemaError(f"{here}: channels is {self.channels}; it must be 1 (grey) or 3 (red, green, blue)")
        if self.values > MOST_VALUES:
            raise SchemaError(
                f"{here}: {self.size} is {self.values} values an image; at most {MOST_VALUES} "
                "(512 x 512 in grey, 256 x 256 in colour)"
            )
        try:
            check_labels(self.classes, "classes")
        except SchemaError as problem:
            raise SchemaError(f"{here}: {problem}") from None
        if not all(encodes(text) for text in (self.name, self.description or "", self.unit.column or "")):
            raise SchemaError(f"the schema's name, description or unit.column: {HALF}")
        check_rows(self.rows, here)
        if self.holds is not None and self.holds not in HOLDS:
            raise SchemaError(f"{here}: holds {self.holds!r} is not known; known are {', '.join(HOLDS)}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width): the shape of one image's pixels."""
        return self.channels, self.height, self.width

    @property
    def values(self) -> int:
        """Numbers in one image: channels x height x width."""
        return self.channels * self.height * self.width

    @property
    def size(self) -> str:
        """The size for people: ``28 x 28 grey`` (height x width)."""
        return f"{self.height} x {self.width} {'grey' if self.channels == 1 else 'colour'}"

    @property
    def units(self) -> int:
        """About how many units of privacy there are: at most one an image."""
        return self.rows if self.unit.column is None else max(1, self.rows // self.unit.max_rows)

    def with_rows(self, rows: int) -> ImageSchema:
        """The same schema for about so many images (e.g. after a split)."""
        return replace(self, rows=max(1, rows))

    def __str__(self) -> str:
        classes = f"{len(self.classes)} class{'es' if len(self.classes) > 1 else ''}"
        return f"{self.name}: about {self.rows} images, {self.size}, {classes}, unit {self.unit}"

    @classmethod
    def read(cls, path: str | Path) -> ImageSchema:
        """Read a schema file (YAML).

        Raises:
            SchemaError: unreadable, of another version, or contradictory; says where.
        """
        return cls.from_dict(read_yaml(Path(path), error=SchemaError), source=str(path))

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str = "schema") -> ImageSchema:
        """Build a schema from plain values, as they stand in a schema file.

        Raises:
            SchemaError: of another version, or contradictory; names ``source``.
        """
        if document.get("version") != VERSION:
            raise SchemaError(
                f"{source}: version is {document.get('version')!r}; this synthkit reads version {VERSION} "
                "(write 'version: 1')"
            )
        if "columns" in document:
            raise SchemaError(
                f"{source}: has columns, so it is a table's schema; images have height, width and classes"
            )
        validate(document, "data/image_schema.v1.json", source=source, error=SchemaError)
        settings = {key: value for key, value in document.items() if key not in ("version", "unit")}
        unit = document.get("unit", "row")
        try:
            return cls(**settings, unit=Unit() if unit == "row" else Unit(**unit))
        except SchemaError as problem:
            raise SchemaError(f"{source}: {problem}") from None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in a schema file; the inverse of :meth:`from_dict`."""
        document: dict[str, Any] = {"version": VERSION, "name": self.name}
        if self.description is not None:
            document["description"] = self.description
        return document | {
            "reviewed": self.reviewed,
            "rows": self.rows,
            "unit": "row" if self.unit.column is None else {"column": self.unit.column, "max_rows": self.unit.max_rows},
            "height": self.height,
            "width": self.width,
            "channels": self.channels,
            "classes": list(self.classes),
            **({} if self.holds is None else {"holds": self.holds}),
        }


__all__ = ["LARGEST", "MOST_VALUES", "SMALLEST", "ImageSchema"]
