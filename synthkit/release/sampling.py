"""Opening a fitted model to draw from it, where the policy lets one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from synthkit.errors import JobError
from synthkit.release.permission import Asker
from synthkit.release.verify_alone import MANIFEST
from synthkit.synthesizers.base import load


def open_model(folder: Path, asker: Asker, *, dataset: str | None = None) -> Any:
    """The model in ``folder``: a model folder, or a bundle that has one.

    Args:
        folder: where it is.
        asker: who wants to draw from it.
        dataset: the ledger's name for the data behind it; None: as the bundle says.

    Raises:
        JobError: there is no model, or nothing says from which data it is and a policy asks.
        PolicyDenied: the policy does not allow it.
    """
    stated = _stated(folder)
    if dataset is not None and stated is not None and dataset != stated:
        raise JobError(f"{folder}: is about dataset {stated!r}, not {dataset!r}; leave --on out")
    if (name := stated or dataset) is None and asker.policy is not None:
        raise JobError(f"{folder}: a model folder does not say from which data it is; name the dataset with --on")
    asker.may("sample", name or "model")  # the packaged policy is about any dataset
    inside = folder if (folder / "model.json").exists() or not (folder / "model").is_dir() else folder / "model"
    if not inside.is_dir():
        raise JobError(f"{inside}: no such folder; name a model folder, or a bundle that was made with 'model: true'")
    if (inside / MANIFEST).exists():
        raise JobError(f"{inside}: this bundle holds no model; only one released with 'model: true' does")
    return load(inside)


def _stated(folder: Path) -> str | None:
    """The dataset that a bundle says it is about."""
    for manifest in (folder / MANIFEST, folder.parent / MANIFEST):
        if manifest.is_file():
            try:
                return str(json.loads(manifest.read_bytes())["dataset"])
            except (ValueError, KeyError, TypeError, OSError):
                raise JobError(f"{manifest}: is damaged; 'synthkit verify {manifest.parent}' says how") from None
    return None


__all__ = ["open_model"]
