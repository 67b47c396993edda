"""The folder beside a bundle: exact values of real rows, for the steward's eyes alone.

It exists only where the job says ``internal: allow``. Beside the exact figures it keeps the codes of
both parts, so that a release can be attacked later with the knowledge of who was in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from synthkit.audit.membership import Attack, attacks
from synthkit.data import vault
from synthkit.data.encoding import discretize, from_frame
from synthkit.data.schema import Schema
from synthkit.errors import InputError
from synthkit.policy.decide import decide
from synthkit.policy.request import Request
from synthkit.privacy.budget import Adjacency, Budget, Unit
from synthkit.release import bundle
from synthkit.release.permission import Asker
from synthkit.release.verify_alone import MANIFEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTS = "parts.parquet"
_WARNING = "INTERNAL. Exact figures of real rows; they carry no guarantee and must not be shared."


def keep_parts(folder: Path, training: NDArray[np.int32], holdout: NDArray[np.int32], schema: Schema) -> None:
    """Write the codes of both parts into the internal folder."""
    names = list(schema.modelled)
    rows = pd.DataFrame(np.concatenate([training, holdout]), columns=names)
    rows.insert(0, "__holdout__", np.arange(len(rows)) >= len(training))
    vault.put(folder / PARTS, rows.to_parquet(index=False))


def membership(released: Path, asker: Asker = Asker()) -> list[Attack]:
    """Attack a bundle with the knowledge of its internal folder; the figures are written there, too.

    Args:
        released: the bundle.
        asker: who asks for it, under which policy.

    Raises:
        PolicyDenied: the asker may not see exact figures.
        VerificationFailed: the bundle does not verify.
        InputError: there is no internal folder beside it, or it has no holdout.
    """
    verified = bundle.verify(released)
    manifest = json.loads((released / MANIFEST).read_text("utf-8"))
    _ask(manifest, asker)
    if len(verified.tables) > 1:
        raise InputError(f"{released}: of linked tables; membership is attacked in releases of one table alone")
    beside = released.absolute().with_name(f"{released.absolute().name}.internal")
    if (parts := vault.get(beside / PARTS)) is None:
        raise InputError(
            f"{beside / PARTS}: no such file; it is written where the release file says 'internal: allow' and holds a holdout"
        )
    schema = Schema.from_dict(manifest["schema"], source=str(released))
    modelled = Schema(name=schema.name, columns=schema.modelled, rows=schema.rows)
    frame = pd.read_parquet(released / "data.parquet")[list(schema.modelled)]
    synthetic = discretize(from_frame(frame, modelled, source=str(released)), modelled)
    rows = pd.read_parquet(BytesIO(parts))
    codes, held = rows[list(schema.modelled)].to_numpy(dtype=np.int32), rows["__holdout__"].to_numpy(dtype=bool)
    found = attacks(codes[~held], codes[held], synthetic)
    if not found:
        raise InputError(f"{beside / PARTS}: too few rows on one side; a holdout is needed to tell members from")
    document = {"warning": _WARNING, "bundle": verified.manifest_sha256, "attacks": [vars(one) for one in found]}
    vault.put(beside / "membership.json", (json.dumps(document, indent=1) + "\n").encode())
    return found


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


__all__ = ["PARTS", "keep_parts", "membership"]
