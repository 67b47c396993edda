"""The folder beside a bundle: exact values of real rows, for the steward's eyes alone.

It exists only where the job says ``internal: allow``. Beside the exact figures it keeps the modelled columns of
both parts, so that a release can be attacked later with the knowledge of who was in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synthkit.audit.membership import Attack, attacks
from synthkit.data import vault
from synthkit.data.encoding import Table, discretize, from_frame
from synthkit.data.schema import Schema
from synthkit.errors import InputError
from synthkit.policy.decide import decide
from synthkit.policy.request import Request
from synthkit.privacy.budget import Adjacency, Budget, Unit
from synthkit.release import bundle
from synthkit.release.permission import Asker
from synthkit.release.verify_alone import MANIFEST

PARTS = "parts.parquet"
_HELD = "__holdout__"
_WARNING = "INTERNAL. Exact figures of real rows; they carry no guarantee and must not be shared."


@dataclass(frozen=True)
class Kept:
    """A bundle of one table beside the rows that its internal folder kept.

    Attributes:
        folder: the internal one.
        manifest: the bundle's.
        digest: of the manifest.
        schema: the modelled columns.
        training, held: real rows that the synthetic table was made of, and rows that it was not.
        synthetic: the table that was released.
    """

    folder: Path
    manifest: Mapping[str, Any]
    digest: str
    schema: Schema
    training: Table
    held: Table
    synthetic: Table


def keep_parts(folder: Path, training: Table, holdout: Table | None, schema: Schema) -> None:
    """Write the modelled columns of both parts into the internal folder, on the inner line."""
    parts = [part.part(slice(0, part.rows)) for part in (training, holdout) if part is not None]
    rows = pd.DataFrame({name: np.concatenate([part.columns[name] for part in parts]) for name in schema.modelled})
    rows.insert(0, _HELD, np.arange(len(rows)) >= training.rows)
    vault.put(folder / PARTS, rows.to_parquet(index=False))


def kept(released: Path, asker: Asker = Asker()) -> Kept:
    """A bundle, and the rows of both its parts, for somebody who may see exact figures.

    Args:
        released: the bundle.
        asker: who asks for it, under which policy.

    Raises:
        PolicyDenied: the asker may not see exact figures.
        VerificationFailed: the bundle does not verify.
        InputError: it is not of one table, there is no internal folder beside it, or it has no holdout.
    """
    verified = bundle.verify(released)
    manifest = json.loads((released / MANIFEST).read_text("utf-8"))
    if "columns" not in manifest.get("schema", {}):
        what = "linked tables" if "tables" in manifest else "images"
        raise InputError(f"{released}: of {what}; people are attacked in releases of one table alone")
    _ask(manifest, asker)
    beside = released.absolute().with_name(f"{released.absolute().name}.internal")
    if (parts := vault.get(beside / PARTS)) is None:
        raise InputError(
            f"{beside / PARTS}: no such file; it is written where the release file says 'internal: allow' and holds a holdout "
            "('synthkit audit risks' takes such rows from elsewhere by --original, --control, --schema and --on)"
        )
    schema = Schema.from_dict(manifest["schema"], source=str(released))
    modelled = Schema(name=schema.name, columns=schema.modelled, rows=schema.rows, target=schema.target)
    rows = pd.read_parquet(BytesIO(parts))
    if _HELD not in rows or not set(modelled.columns) <= set(rows):
        raise InputError(
            f"{beside / PARTS}: holds other columns than the bundle; it is of another release, or an older one"
        )
    held = rows[_HELD].to_numpy(dtype=bool)
    if not held.any() or held.all():
        raise InputError(f"{beside / PARTS}: too few rows on one side; a holdout is needed to tell members from")
    columns = {name: rows[name].to_numpy() for name in modelled.columns}
    both = Table(columns, None, len(rows))
    frame = pd.read_parquet(released / "data.parquet")[list(modelled.columns)]
    synthetic = from_frame(frame, modelled, source=str(released))
    return Kept(beside, manifest, verified.manifest_sha256, modelled, both.take(~held), both.take(held), synthetic)


def membership(released: Path, asker: Asker = Asker()) -> list[Attack]:
    """Attack a bundle with the knowledge of its internal folder; the figures are written there, too.

    Raises:
        PolicyDenied, VerificationFailed, InputError: as :func:`kept`; or too few rows.
    """
    rows = kept(released, asker)
    found = attacks(*(discretize(table, rows.schema) for table in (rows.training, rows.held, rows.synthetic)))
    if not found:
        raise InputError(f"{rows.folder / PARTS}: too few rows on one side; a holdout is needed to tell members from")
    write_figures(rows, "membership.json", [vars(one) for one in found])
    return found


def write_figures(rows: Kept, name: str, figures: Sequence[Mapping[str, Any]]) -> Path:
    """Write exact figures into the internal folder; returns where they are."""
    document = {"warning": _WARNING, "bundle": rows.digest, "attacks": list(figures)}
    return vault.put(rows.folder / name, (json.dumps(document, indent=1) + "\n").encode())


def _ask(manifest: Mapping[str, Any], asker: Asker) -> None:
    """Whether exact figures of the data behind a bundle may be looked at, at the price that it had."""
    asked, tables = manifest["budget"], manifest.get("tables", {"parent": manifest})
    schema = Schema.from_dict(tables["parent"]["schema"], source="schema")
    request = Request.under(
        Budget(asked["epsilon"], asked["delta"], Adjacency(asked["adjacency"]), Unit(**asked["unit"])),
        role=asker.role,
        action="assess-internal",
        dataset=manifest["dataset"],
        purpose=asker.purpose,
        private=manifest["guarantee"]["private"],
        rows=schema.rows,
        schema="reviewed" if schema.reviewed else "allowed",
    )
    decide(asker.applied, request).enforce()


__all__ = ["PARTS", "Kept", "keep_parts", "kept", "membership", "write_figures"]
