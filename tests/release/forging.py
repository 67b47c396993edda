"""What a careful forger makes fit again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet

from synthkit.release import bundle, labels
from synthkit.release.companions import companions


def refresh(folder: Path, manifest: dict[str, Any]) -> None:
    """Make labels and companion files anew for a manifest that was changed, where one can be read at all."""
    try:
        marks = labels.metadata(manifest)
        for name in manifest["files"]:
            if name.endswith(".parquet"):
                _relabel(folder / name, marks)
                manifest["files"][name] = bundle._describe(folder / name)
        made = companions(manifest)
    except (KeyError, TypeError, ValueError, AttributeError, OSError):
        return
    for name, content in made.items():
        (folder / name).write_bytes(content)
        manifest["files"][name] = bundle._describe(folder / name)


def _relabel(path: Path, marks: dict[bytes, bytes]) -> None:
    table = pyarrow.parquet.read_table(path)
    carried = table.schema.metadata or {}
    if any(carried.get(key) != mark for key, mark in marks.items()):
        pyarrow.parquet.write_table(table.replace_schema_metadata({**carried, **marks}), path)
