"""The folder beside a bundle: exact values of real rows, for the steward's eyes alone.

It exists only where the job says ``internal: allow``. Beside the exact figures it keeps the modelled columns of
both parts (of linked tables, their codes; of images, some of them), so that a release can be attacked later with the knowledge of who was in.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from synthkit.data.encoding import Table, discretize, from_frame
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


@dataclass(frozen=True)
class Kept:
    """A bundle of one table beside the rows that its internal folder kept.

    Attributes:
        folder: the internal one.
        digest: of the bundle's manifest.
        schema: the modelled columns.
        training, held: real rows that the synthetic table was made of, and rows that it was not.
        synthetic: the table that was released.
    """

    folder: Path
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


def keep_families(folder: Path, training: Families, holdout: Families, schema: LinkedSchema) -> None:
    """Write the codes of both parts of two linked tables, and whose each child is: a row of parents, counted from 0."""
    parents = pd.DataFrame(np.concatenate([training.parents, holdout.parents]), columns=list(schema.counted.modelled))
    parents.insert(0, _HELD, np.arange(len(parents)) >= len(training))
    vault.put(folder / PARTS, parents.to_parquet(index=False))
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


def kept(released: Path, asker: Asker = Asker()) -> Kept:
    """A bundle of one table, and the rows of both its parts, for somebody who may see exact figures.

    Args:
        released: the bundle.
        asker: who asks for it, under which policy.

    Raises:
        PolicyDenied: the asker may not see exact figures.
        VerificationFailed: the bundle does not verify.
        InputError: it is not of one table, there is no internal folder beside it, or it has no holdout.
    """
    digest, schema = _allowed(released, asker)
    if not isinstance(schema, Schema):
        raise InputError(
            f"{released}: is not of one table; the three risks are attacked in releases of one table alone"
        )
    return _of_one(released, _beside(released), schema, digest)


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
    digest, schema = _allowed(released, asker)
    beside = _beside(released)
    if isinstance(schema, ImageSchema):
        kept, found = IMAGES, _of_images(released, beside, schema)
    elif isinstance(schema, LinkedSchema):
        kept, found = PARTS, _of_families(released, beside, schema)
    else:
        kept, found = PARTS, _of_rows(_of_one(released, beside, schema, digest))
    if not found:
        raise InputError(f"{beside / kept}: too few rows on one side; a holdout is needed to tell members from")
    write_figures(beside, digest, "membership.json", [vars(one) for one in found])
    return found


def write_figures(folder: Path, digest: str, name: str, figures: Sequence[Mapping[str, Any]]) -> Path:
    """Write exact figures about the bundle of a digest into its internal folder; returns where they are."""
    document = {"warning": _WARNING, "bundle": digest, "attacks": list(figures)}
    return vault.put(folder / name, (json.dumps(document, indent=1) + "\n").encode())


def _allowed(released: Path, asker: Asker) -> tuple[str, Schema | LinkedSchema | ImageSchema]:
    """The digest and the schema of a bundle that verifies, for somebody who may see exact figures."""
    verified = bundle.verify(released)
    manifest = json.loads((released / MANIFEST).read_text("utf-8"))
    schema = _schema(manifest)
    _ask(manifest, schema, asker)
    return verified.manifest_sha256, schema


def _beside(released: Path) -> Path:
    return released.absolute().with_name(f"{released.absolute().name}.internal")


def _of_one(released: Path, beside: Path, schema: Schema, digest: str) -> Kept:
    modelled = Schema(name=schema.name, columns=schema.modelled, rows=schema.rows, target=schema.target)
    rows = pd.read_parquet(BytesIO(_kept(beside / PARTS)))
    if _HELD not in rows or not set(modelled.columns) <= set(rows):
        raise InputError(
            f"{beside / PARTS}: holds other columns than the bundle; it is of another release, or an older one"
        )
    held = rows[_HELD].to_numpy(dtype=bool)
    if not held.any() or held.all():
        raise InputError(f"{beside / PARTS}: too few rows on one side; a holdout is needed to tell members from")
    both = Table({name: rows[name].to_numpy() for name in modelled.columns}, None, len(rows))
    frame = pd.read_parquet(released / "data.parquet")[list(modelled.columns)]
    synthetic = from_frame(frame, modelled, source=str(released))
    return Kept(beside, digest, modelled, both.take(~held), both.take(held), synthetic)


def _of_rows(rows: Kept) -> list[Attack]:
    return attacks(*(discretize(table, rows.schema) for table in (rows.training, rows.held, rows.synthetic)))


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


def _rows(beside: Path, names: list[str]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Codes that were kept, and which are of the holdout."""
    rows = pd.read_parquet(BytesIO(_kept(beside / PARTS)))
    return rows[names].to_numpy(dtype=np.int32), rows[_HELD].to_numpy(dtype=bool)


def _kept(path: Path) -> bytes:
    """What an attack needs of the internal folder.

    Raises:
        InputError: it is not there.
    """
    if (content := vault.get(path)) is None:
        raise InputError(
            f"{path}: no such file; it is written where the release file says 'internal: allow' and holds a holdout "
            "('synthkit audit risks' takes rows of one table from elsewhere by --original, --control, --schema and --on)"
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


__all__ = [
    "CHILDREN",
    "IMAGES",
    "PARTS",
    "Kept",
    "families",
    "keep_families",
    "keep_images",
    "keep_parts",
    "kept",
    "membership",
    "write_figures",
]
