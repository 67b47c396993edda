"""The folder beside a bundle: exact values of real rows, for the steward's eyes alone.

It exists only where the job says ``internal: allow``. Beside the exact figures it keeps the codes of
both parts, so that a release can be attacked later with the knowledge of who was in.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthkit.audit.membership import Attack, attacks
from synthkit.data.encoding import discretize, from_frame
from synthkit.data.schema import Schema
from synthkit.data.tables import write_parquet
from synthkit.documents import write_atomically
from synthkit.errors import InputError
from synthkit.release import bundle

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTS = "parts.parquet"
_WARNING = "INTERNAL. Exact figures of real rows; they carry no guarantee and must not be shared."


def keep_parts(folder: Path, training: NDArray[np.int32], holdout: NDArray[np.int32], schema: Schema) -> None:
    """Write the codes of both parts into the internal folder."""
    names = list(schema.modelled)
    rows = pd.DataFrame(np.concatenate([training, holdout]), columns=names)
    rows.insert(0, "__holdout__", np.arange(len(rows)) >= len(training))
    write_parquet(rows, folder / PARTS)
    (folder / PARTS).chmod(0o600)


def membership(released: Path) -> list[Attack]:
    """Attack a bundle with the knowledge of its internal folder; the figures are written there, too.

    Args:
        released: the bundle.

    Raises:
        VerificationFailed: the bundle does not verify.
        InputError: there is no internal folder beside it, or it has no holdout.
    """
    verified = bundle.verify(released)
    if len(verified.tables) > 1:
        raise InputError(f"{released}: of linked tables; membership is attacked in releases of one table alone")
    beside = released.absolute().with_name(f"{released.absolute().name}.internal")
    if not (beside / PARTS).is_file():
        raise InputError(
            f"{beside / PARTS}: no such file; it is written where the release file says 'internal: allow' and holds a holdout"
        )
    manifest = json.loads((released / bundle.MANIFEST).read_text("utf-8"))
    schema = Schema.from_dict(manifest["schema"], source=str(released))
    modelled = Schema(name=schema.name, columns=schema.modelled, rows=schema.rows)
    frame = pd.read_parquet(released / "data.parquet")[list(schema.modelled)]
    synthetic = discretize(from_frame(frame, modelled, source=str(released)), modelled)
    rows = pd.read_parquet(beside / PARTS)
    codes, held = rows[list(schema.modelled)].to_numpy(dtype=np.int32), rows["__holdout__"].to_numpy(dtype=bool)
    found = attacks(codes[~held], codes[held], synthetic)
    if not found:
        raise InputError(f"{beside / PARTS}: too few rows on one side; a holdout is needed to tell members from")
    document = {"warning": _WARNING, "bundle": verified.manifest_sha256, "attacks": [vars(one) for one in found]}
    write_atomically(beside / "membership.json", json.dumps(document, indent=1) + "\n")
    return found


__all__ = ["PARTS", "keep_parts", "membership"]
