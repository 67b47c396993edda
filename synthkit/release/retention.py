"""The end of what is kept: bundles whose time is over, internal figures, sources that were encrypted."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from synthkit.data.vault import SUFFIX
from synthkit.errors import JobError, Refused
from synthkit.release.verify_alone import MANIFEST, read_time
from synthkit.secret_files import shred


def destroy(paths: Sequence[Path], *, early: bool = False, now: datetime | None = None) -> int:
    """Overwrite and remove files and folders; nothing is touched unless all may go.

    Args:
        paths: files and folders; a bundle's folder only once its retention is over.
        early: bundles go before that, too.
        now: the time; default: the clock's.

    Returns:
        how many files were destroyed.

    Raises:
        JobError: one is not there, is a link, or cannot be destroyed.
        Refused: a bundle is still to be kept.
    """
    for path in paths:
        if path.is_symlink() or not path.exists():
            raise JobError(f"{path}: is a link, or not there; name files and folders themselves")
        if path.is_dir() and not early:
            _check_over(path, now or datetime.now(UTC))
    files = [file for path in paths for file in _files(path)]
    for file in files:
        shred(file)
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
    return len(files)


def beside(paths: Sequence[Path]) -> list[Path]:
    """What a release left beside its bundle, and what is still there when the bundle at one of ``paths`` is gone."""
    names = (".internal", ".model", f".model{SUFFIX}", ".held", ".audit", ".explanation")
    found = [path.with_name(path.name + name) for path in paths for name in names]
    return [path for path in found if os.path.lexists(path)]


def _check_over(folder: Path, now: datetime) -> None:
    if not (folder / MANIFEST).is_file():
        return
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        created, days = read_time(manifest["created"]), manifest["handling"].get("retention_days")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise JobError(f"{folder}: its manifest is damaged; --early destroys it all the same") from None
    if days is None or now < created + timedelta(days=days):
        until = "without end" if days is None else f"until {created + timedelta(days=days):%Y-%m-%d}"
        raise Refused(f"{folder}: is a bundle that is kept {until}; --early destroys it all the same")


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for here, _, names in os.walk(path):
            yield from (Path(here) / name for name in names if not (Path(here) / name).is_symlink())
    else:
        yield path


__all__ = ["beside", "destroy"]
