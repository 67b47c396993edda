"""A locked box for values that nobody may see.

The box can be handed around, named and described by its public schema. It cannot be iterated,
measured, compared, copied, pickled or printed. :func:`reveal` opens it; only ``synthkit.privacy``
may import that function (a test reads every import in the package and holds it to that).

This prevents accidents, not malice: Python cannot keep a secret from code in the same process.
"""

from __future__ import annotations

from typing import Any, Generic, NoReturn

from typing_extensions import TypeVar

from synthkit.data.image_schema import ImageSchema
from synthkit.data.schema import Schema, lines
from synthkit.errors import PrivateAccess, SchemaError

T = TypeVar("T")
S = TypeVar("S", bound=Schema | ImageSchema, default=Schema)


class Private(Generic[T, S]):
    """Private values with what is public about them: ``Private[Table]``, ``Private[Images, ImageSchema]``.

    Attributes:
        dataset: the steward's name for the dataset, as the ledger knows it; never a content hash.
        schema: what is public by declaration.
        bounded: every unit has at most ``schema.unit.max_rows`` rows here. True where a row is a unit;
            else ``privacy.rows.bound_contributions`` says so, and no mechanism reads before.
    """

    __slots__ = ("__value", "bounded", "dataset", "schema")

    def __init__(self, value: T, *, dataset: str, schema: S, bounded: bool = False) -> None:
        self.__value = value
        self.dataset = dataset
        self.schema = schema
        self.bounded = bounded or schema.unit.column is None

    def under(self, schema: S) -> Private[T, S]:
        """The same locked values under another schema, which may cut and merge them otherwise. Opens nothing.

        Raises:
            SchemaError: ``schema`` has other columns or another unit, and so would read the values wrongly.
        """
        if schema.unit != self.schema.unit or _lines(schema) != _lines(self.schema):
            raise SchemaError(f"schema {schema.name} has not the columns and the unit of {self.schema.name}")
        return Private(self.__value, dataset=self.dataset, schema=schema, bounded=self.bounded)

    def __repr__(self) -> str:
        public = self.schema
        what = f"columns={len(public.columns)}" if isinstance(public, Schema) else f"images={public.size!r}"
        return f"Private(dataset={self.dataset!r}, schema={public.name!r}, {what})"

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise PrivateAccess(
            f"{self!r} cannot be looked into: private values leave through a mechanism in synthkit.privacy only"
        )

    __len__ = __iter__ = __getitem__ = __contains__ = __bool__ = _refuse
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __reduce_ex__ = __getstate__ = __copy__ = __deepcopy__ = _refuse
    __array__ = __dataframe__ = __arrow_c_stream__ = __dir__ = _refuse
    __hash__ = object.__hash__


def _lines(schema: Schema | ImageSchema) -> object:
    # All by which locked values are read.
    return lines(schema) if isinstance(schema, Schema) else (schema.shape, schema.classes)


def reveal(private: Private[T, S]) -> T:
    """Open the box. For ``synthkit.privacy`` alone, after the session was charged."""
    return private._Private__value  # type: ignore[attr-defined,no-any-return]


__all__ = ["Private", "reveal"]
