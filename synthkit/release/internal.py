"""The folder beside a bundle: exact values of real rows, for the steward's eyes alone.

It exists only where the job says ``internal: allow``. Beside the exact figures it keeps the codes of
both parts (of images, some of them), so that a release can be attacked later with the knowledge of who was in.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from synthkit.audit.families import Families
from synthkit.audit.families import attacks as families_attacks
from synthkit.audit.membership import Attack, attacks
from synthkit.audit.pictures import MOST, some_units
from synthkit.audit.pictures import attacks as images_attacks
from synthkit.data import vault
from synthkit.data.encoding import discretize, from_frame
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.linked import LinkedSchema
from synthkit.data.schema import Schema
from synthkit.errors import InputError
from synthkit.policy.decide import decide
from synthkit.policy.request import Request
from synthkit.privacy.budget import Adjacency, Budget, Unit
from synthkit.release import bundle, pictures
from synthkit.release.permission import Asker
from synthkit.release.verify_alone import MANIFEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTS, CHILDREN, IMAGES = "parts.parquet", "parts.children.parquet", "parts.npz"
_HELD, _PARENT = "__holdout__", "__parent__"
_WARNING = "INTERNAL. Exact figures of real rows; they carry no guarantee and must not be shared."


def keep_parts(folder: Path, training: NDArray[np.int32], holdout: NDArray[np.int32], schema: Schema) -> None:
    """Write the codes of both parts into the internal folder."""
    _put_rows(folder / PARTS, training, holdout, list(schema.modelled))


def keep_families(folder: Path, training: Families, holdout: Families, schema: LinkedSchema) -> None:
    """Write the codes of both parts of two linked tables, and whose each child is: a row of parents, counted from 0."""
    _put_rows(folder / PARTS, training.parents, holdout.parents, list(schema.counted.modelled))
    codes = np.concatenate([training.children, holdout.children])
    rows = pd.DataFrame(codes, columns=list(schema.child.modelled))
    rows.insert(0, _PARENT, np.concatenate([training.owner, holdout.owner + len(training)]))
    vault.put(folder / CHILDREN, rows.to_parquet(index=False))


def keep_images(folder: Path, training: Images, holdout: Images) -> None:
    """Write as many images of both parts as an attack looks at: those of some units, chosen by lot."""
    rng, stream = np.random.default_rng(), io.BytesIO()
    arrays: dict[str, Any] = {}
    for name, most, images in (("training", MOST, training), ("holdout", 3 * MOST, holdout)):
        chosen = some_units(images, most, rng)
        arrays |= {f"{name}_pixels": chosen.pixels, f"{name}_units": chosen.units}
    np.savez_compressed(stream, **arrays)
    vault.put(folder / IMAGES, stream.getvalue())


def families(
    parents: NDArray[np.int32], children: NDArray[np.int32], owner: NDArray[np.int64], schema: LinkedSchema
) -> Families:
    """Parents with the children's own columns, of codes by ``schema.counted`` and ``schema.chained``."""
    names = list(schema.chained.modelled)
    return Families(parents, children[:, [names.index(name) for name in schema.child.modelled]], owner)


def membership(released: Path, asker: Asker = Asker()) -> list[Attack]:
    """Attack a bundle with the knowledge of its internal folder; the figures are written there, too.

    Args:
        released: the bundle: of a table, of two linked ones, or of images.
        asker: who asks for it, under which policy.

    Raises:
        PolicyDenied: the asker may not see exact figures.
        VerificationFailed: the bundle does not verify.
        InputError: there is no internal folder beside it, or it has no holdout.
    """
    verified = bundle.verify(released)
    manifest = json.loads((released / MANIFEST).read_text("utf-8"))
    schema = _schema(manifest)
    _ask(manifest, schema, asker)
    beside = released.absolute().with_name(f"{released.absolute().name}.internal")
    if isinstance(schema, ImageSchema):
        kept, found = IMAGES, _of_images(released, beside, schema)
    elif isinstance(schema, LinkedSchema):
        kept, found = PARTS, _of_families(released, beside, schema)
    else:
        kept, found = PARTS, _of_rows(released, beside, schema)
    if not found:
        raise InputError(f"{beside / kept}: too few rows on one side; a holdout is needed to tell members from")
    document = {"warning": _WARNING, "bundle": verified.manifest_sha256, "attacks": [vars(one) for one in found]}
    vault.put(beside / "membership.json", (json.dumps(document, indent=1) + "\n").encode())
    return found


def _of_rows(released: Path, beside: Path, schema: Schema) -> list[Attack]:
    codes, held = _rows(beside, list(schema.modelled))
    frame = pd.read_parquet(released / "data.parquet")
    return attacks(codes[~held], codes[held], _codes(frame, schema, released))


def _of_families(released: Path, beside: Path, schema: LinkedSchema) -> list[Attack]:
    codes, held = _rows(beside, list(schema.counted.modelled))
    table = pd.read_parquet(BytesIO(_kept(beside / CHILDREN)))
    children = table[list(schema.child.modelled)].to_numpy(dtype=np.int32)
    known = Families(codes, children, table[_PARENT].to_numpy(dtype=np.int64))
    parents, theirs = (pd.read_parquet(released / f"{part.name}.parquet") for part in (schema.parent, schema.child))
    places = pd.Series(np.arange(len(parents)), index=parents[schema.key])
    owner = places[theirs[schema.key]].to_numpy(dtype=np.int64)  # every child has a parent: the bundle is verified
    order = np.argsort(owner, kind="stable")
    parents[schema.count] = np.bincount(owner, minlength=len(parents))
    synthetic = Families(
        _codes(parents, schema.counted, released), _codes(theirs, schema.child, released)[order], owner[order]
    )
    training, holdout = (known.take(np.flatnonzero(part)) for part in (~held, held))
    return families_attacks(training, holdout, synthetic)


def _of_images(released: Path, beside: Path, schema: ImageSchema) -> list[Attack]:
    from synthkit.assess.likeness import space_of  # torch

    with np.load(BytesIO(_kept(beside / IMAGES)), allow_pickle=False) as arrays:
        training, holdout = (
            Images(pixels, np.zeros(len(pixels), dtype=np.int32), arrays[f"{name}_units"])
            for name, pixels in ((name, arrays[f"{name}_pixels"]) for name in ("training", "holdout"))
        )
    return images_attacks(training, holdout, pictures.pixels(released, schema), space_of(schema.shape).places)


def _codes(frame: pd.DataFrame, schema: Schema, released: Path) -> NDArray[np.int32]:
    """Released rows as codes of the modelled columns."""
    modelled = Schema(name=schema.name, columns=schema.modelled, rows=schema.rows)
    return discretize(from_frame(frame[list(schema.modelled)], modelled, source=str(released)), modelled)


def _put_rows(path: Path, training: NDArray[np.int32], holdout: NDArray[np.int32], names: list[str]) -> None:
    rows = pd.DataFrame(np.concatenate([training, holdout]), columns=names)
    rows.insert(0, _HELD, np.arange(len(rows)) >= len(training))
    vault.put(path, rows.to_parquet(index=False))


def _rows(beside: Path, names: list[str]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """What :func:`_put_rows` wrote: codes, and which are of the holdout."""
    rows = pd.read_parquet(BytesIO(_kept(beside / PARTS)))
    return rows[names].to_numpy(dtype=np.int32), rows[_HELD].to_numpy(dtype=bool)


def _kept(path: Path) -> bytes:
    """What an attack needs of the internal folder.

    Raises:
        InputError: it is not there.
    """
    if (content := vault.get(path)) is None:
        raise InputError(
            f"{path}: no such file; it is written where the release file says 'internal: allow' and holds a holdout"
        )
    return content


def _schema(manifest: Mapping[str, Any]) -> Schema | LinkedSchema | ImageSchema:
    if tables := manifest.get("tables"):
        return LinkedSchema(*(Schema.from_dict(tables[part]["schema"], source=part) for part in ("parent", "child")))
    stated = manifest["schema"]
    return Schema.from_dict(stated) if "columns" in stated else ImageSchema.from_dict(stated)


def _ask(manifest: Mapping[str, Any], schema: Schema | LinkedSchema | ImageSchema, asker: Asker) -> None:
    """Whether exact figures of the data behind a bundle may be looked at, at the price that it had."""
    asked = manifest["budget"]
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


__all__ = ["CHILDREN", "IMAGES", "PARTS", "families", "keep_families", "keep_images", "keep_parts", "membership"]
