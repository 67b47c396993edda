"""Columns that lie encrypted in a nameless temporary file, so that memory does not grow with rows.

Each chunk of each column is sealed with AES-256-GCM (NIST SP 800-38D) under a key that exists in this process alone and
is forgotten with it: what may be left on the disk is noise. The file has no name, and goes when nobody holds it.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from synthkit.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(repr=False)
class _Sealed:
    """Sealed blobs in a file.

    Attributes:
        places: offset and length of every blob, by its number.
    """

    places: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seal = AESGCM(AESGCM.generate_key(bit_length=256))
        try:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - lives as long as the columns
            weakref.finalize(self, self._file.close)
        except OSError as problem:
            raise _no_room(problem) from None

    def put(self, content: bytes) -> int:
        """Seal ``content``; its number is returned, which is its nonce, too: no number comes twice under a key."""
        number, end = len(self.places), sum(self.places[-1]) if self.places else 0
        sealed = self._seal.encrypt(number.to_bytes(12, "big"), content, None)
        try:
            written = os.pwrite(self._file.fileno(), sealed, end)
            while written < len(sealed):
                written += os.pwrite(self._file.fileno(), sealed[written:], end + written)
        except OSError as problem:
            raise _no_room(problem) from None
        self.places.append((end, len(sealed)))
        return number

    def get(self, number: int) -> bytes:
        """Open blob ``number``; one that was changed on the disk is not opened."""
        start, length = self.places[number]
        sealed = b""
        while len(sealed) < length and (
            more := os.pread(self._file.fileno(), length - len(sealed), start + len(sealed))
        ):
            sealed += more
        return self._seal.decrypt(number.to_bytes(12, "big"), sealed, None)


@dataclass(frozen=True, repr=False)
class _Chunk:
    blobs: Mapping[str, int]  # by column
    rows: int
    kept: NDArray[np.int32] | None = None  # positions of the rows that are still there; None: all

    @property
    def left(self) -> int:
        return self.rows if self.kept is None else len(self.kept)


class Spooled(Mapping[str, "NDArray[np.generic]"]):
    """Columns by name, as a table has them. Asking for one reads all of it; :meth:`taken` reads what is needed."""

    def __init__(self, sealed: _Sealed, dtypes: Mapping[str, np.dtype[Any]], chunks: list[_Chunk]) -> None:
        self._sealed, self._dtypes, self._chunks = sealed, dtypes, chunks
        self._starts = np.concatenate([[0], np.cumsum([chunk.left for chunk in chunks], dtype=np.int64)])

    @classmethod
    def of(cls, parts: Iterable[Mapping[str, NDArray[np.generic]]], dtypes: Mapping[str, np.dtype[Any]]) -> Spooled:
        """Put parts away as they come.

        Args:
            parts: columns (b,) of the same rows.
            dtypes: of every column.

        Raises:
            DataError: there is no room for the file.
        """
        sealed, chunks = _Sealed(), []
        for part in parts:
            rows = len(next(iter(part.values())))
            blobs = {name: sealed.put(part[name].astype(dtype).tobytes()) for name, dtype in dtypes.items()}
            chunks.append(_Chunk(blobs, rows))
        return cls(sealed, dtypes, chunks)

    @property
    def rows(self) -> int:
        """n."""
        return int(self._starts[-1])

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        empty = np.zeros(0, dtype=self._dtypes[name])
        return np.concatenate([empty, *(self._load(chunk, name) for chunk in self._chunks)])

    def __iter__(self) -> Iterator[str]:
        return iter(self._dtypes)

    def __len__(self) -> int:
        return len(self._dtypes)

    def taken(self, rows: slice | NDArray[np.integer] | NDArray[np.bool_]) -> Mapping[str, NDArray[np.generic]]:
        """Some of the rows: of a slice or at positions in memory, of a mask (n,) where they are."""
        if isinstance(rows, slice):
            return self._between(*rows.indices(self.rows))
        if rows.dtype != np.bool_:
            return {name: self[name][rows] for name in self}
        chunks = []
        for chunk, start in zip(self._chunks, self._starts, strict=False):
            kept = np.flatnonzero(rows[start : start + chunk.left]).astype(np.int32)
            if chunk.kept is not None:
                kept = chunk.kept[kept]
            chunks.append(_Chunk(chunk.blobs, chunk.rows, kept))
        return Spooled(self._sealed, self._dtypes, chunks)

    def _between(self, start: int, stop: int, step: int) -> dict[str, NDArray[np.generic]]:
        if step != 1:
            raise ValueError(f"rows of a table are read one after the other, not in steps of {step}")
        near = [k for k in range(len(self._chunks)) if self._starts[k] < stop and self._starts[k + 1] > start]
        found = {}
        for name, dtype in self._dtypes.items():
            pieces = [np.zeros(0, dtype=dtype)]
            for k in near:
                first = int(self._starts[k])
                pieces.append(self._load(self._chunks[k], name)[max(0, start - first) : stop - first])
            found[name] = np.concatenate(pieces)
        return found

    def _load(self, chunk: _Chunk, name: str) -> NDArray[np.generic]:
        values = np.frombuffer(self._sealed.get(chunk.blobs[name]), dtype=self._dtypes[name])
        return values if chunk.kept is None else values[chunk.kept]


def _no_room(problem: OSError) -> DataError:
    where = f"the temporary file of encrypted rows in {tempfile.gettempdir()}"
    return DataError(f"{where}: {problem.strerror or problem}; set TMPDIR to a folder with room")


__all__ = ["Spooled"]
