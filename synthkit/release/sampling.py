"""Opening a fitted model to draw from it or to explain it, where the policy lets one; and saving one for the house."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from synthkit.data import vault
from synthkit.errors import InputError, JobError
from synthkit.release.permission import Asker
from synthkit.release.verify_alone import MANIFEST
from synthkit.synthesizers import base
from synthkit.synthesizers.linked import LinkedModel
from synthkit.synthesizers.locked import Place, write_locked


class Savable(Protocol):
    """A model of any kind."""

    def save(self, folder: Place) -> None:
        """Write safetensors and JSON into ``folder``, which must not exist."""


def load(folder: str | Path, *, dataset: str | None = None, asker: Asker = Asker()) -> Any:
    """Open a saved model: its folder, a bundle that has one, or an encrypted file, which is opened in memory alone.

    Args:
        folder: where it is.
        dataset: the ledger's name for the data behind it; None: as the bundle says.
        asker: who wants to draw from it; by default the steward, under the packaged policy.

    Raises:
        JobError: there is no model, or nothing says from which data it is and a policy asks; or it is encrypted, and
            there is no identity.
        InputError: not a model, damaged, of another version, or encrypted for somebody else.
        PolicyDenied: the policy does not allow it.
    """
    folder = Path(folder)
    allow(folder, asker, "sample", dataset=dataset)
    return base.load(home_of(folder))


def load_linked(folder: str | Path, *, dataset: str | None = None, asker: Asker = Asker()) -> LinkedModel:
    """Open a saved model of linked tables; arguments and errors as of :func:`load`."""
    model = load(folder, dataset=dataset, asker=asker)
    if not isinstance(model, LinkedModel):
        raise InputError(f"{folder}: a model of one table, or of images; open it with load()")
    return model


def save(model: Savable, path: str | Path, *, to: Sequence[str] = ()) -> Path:
    """Save a model that stays in the house: encrypted to recipients, or as an open folder where there are none.

    Args:
        model: as fitting released it.
        path: the file or folder to write; never over another. Encrypted, its name ends with ``.age``, which is added
            where it does not.
        to: who may read it (``age1...``); none: those of ``SYNTHKIT_RECIPIENTS``.

    Returns:
        where it is.

    Raises:
        JobError: the path exists or cannot be written, or a recipient is no public key.
    """
    path, recipients = Path(path), tuple(to) or vault.recipients()
    if recipients:
        path = path if path.suffix == vault.SUFFIX else path.with_name(path.name + vault.SUFFIX)
        write_locked(path, model.save, recipients)
        return path
    if path.suffix == vault.SUFFIX:
        raise JobError(f"{path}: nobody is named who may read it; name recipients (age1...) with 'to'")
    if os.path.lexists(path):
        raise JobError(f"{path} exists; nothing is overwritten: name another folder")
    model.save(path)
    return path


def kept_at(output: Path) -> Path:
    """Where the model of a release stays in the house: beside its bundle."""
    return output.with_name(f"{output.name}.model{vault.SUFFIX if vault.recipients() else ''}")


def home_of(folder: Path) -> Path:
    """Where the files of a model are: the model's folder, the one in a bundle, or an encrypted file.

    Raises:
        JobError: there is none.
    """
    if folder.suffix == vault.SUFFIX and folder.is_file():
        return folder
    inside = folder if (folder / "model.json").exists() or not (folder / "model").is_dir() else folder / "model"
    if not inside.is_dir():
        raise JobError(
            f"{inside}: no such folder; name a model folder, an encrypted model (.age), or a bundle that was made with "
            "'model: true'"
        )
    if (inside / MANIFEST).exists():
        raise JobError(f"{inside}: this bundle holds no model; only one released with 'model: true' does")
    return inside


def allow(folder: Path, asker: Asker, action: str, *, dataset: str | None = None) -> None:
    """Ask the policy whether ``asker`` may do ``action`` with the model in ``folder``.

    Raises:
        JobError: nothing says from which data it is and a policy asks, or ``dataset`` is not what the bundle says.
        PolicyDenied: the policy does not allow it.
    """
    stated = _stated(folder)
    if dataset is not None and stated is not None and dataset != stated:
        raise JobError(f"{folder}: is about dataset {stated!r}, not {dataset!r}; leave --on out")
    if (name := stated or dataset) is None and asker.policy is not None:
        raise JobError(f"{folder}: a model folder does not say from which data it is; name the dataset with --on")
    asker.may(action, name or "model")  # the packaged policy is about any dataset


def _stated(folder: Path) -> str | None:
    """The dataset that a bundle says it is about."""
    for manifest in (folder / MANIFEST, folder.parent / MANIFEST):
        if manifest.is_file():
            try:
                return str(json.loads(manifest.read_bytes())["dataset"])
            except (ValueError, KeyError, TypeError, OSError):
                raise JobError(f"{manifest}: is damaged; 'synthkit verify {manifest.parent}' says how") from None
    return None


__all__ = ["Savable", "allow", "home_of", "kept_at", "load", "load_linked", "save"]
