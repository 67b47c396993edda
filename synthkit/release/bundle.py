"""A bundle: a folder that may leave the house, and that says of itself what it is.

    data.parquet   data.csv     the synthetic table, twice
    manifest.json               what it is, what it cost, what it does not cover, digests of the rest
    report.html                 the same for people, with pictures
    explanation.html   .json    why the models behind it decide as they do, if it is part of the release
    label.json, croissant.json, datasheet.md    the same as labelling rules, catalogues and colleagues want it
    model/                      what fitting released, if it is part of the release

Of two linked tables each has its files, named after its schema, and the schema itself beside them:
``patients.parquet``, ``patients.csv``, ``patients.schema.yaml``. Of images see ``pictures.py``.

The manifest holds nothing that was not released: no digest of the private data, no private number
of rows, no internal figure. Its privacy claim is not copied from anywhere: :func:`write` and
:func:`verify` both recompute epsilon from the list of reads.

:func:`verify` finds any accidental change to any byte. It is no defence against a forger, who can
recompute every digest here; for that, a bundle is signed (:mod:`~synthkit.release.sign`).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import secrets
import shutil
import stat
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import yaml

import synthkit
from synthkit.data import encoding
from synthkit.data.image_schema import ImageSchema
from synthkit.data.images import Images
from synthkit.data.linked import LinkedSchema
from synthkit.data.schema import Categorical, Datetime, Identifier, Numeric, Schema
from synthkit.documents import canonical_json, umask, validate
from synthkit.errors import (
    BudgetExceeded,
    DataError,
    InputError,
    JobError,
    SchemaError,
    UnreviewedSchema,
    VerificationFailed,
)
from synthkit.evidence import Evidence
from synthkit.privacy import accounting, events
from synthkit.privacy.budget import Adjacency, Budget, Unit
from synthkit.privacy.plan import Charge
from synthkit.release import explaining, labels, pictures, report
from synthkit.release.charts import MarginalFigure
from synthkit.release.companions import COMPANIONS, companions
from synthkit.release.credentials import Credentials
from synthkit.release.handling import SYNTHETIC, Handling
from synthkit.release.pictures import Pictures
from synthkit.release.verify_alone import MANIFEST, SEALS

if TYPE_CHECKING:
    import pandas as pd
    from dp_accounting import DpEvent
    from numpy.typing import NDArray

VERSION = 1
NON_PRIVATE = "NON-PRIVATE"
UNREVIEWED = (
    "The schema was drafted from the data and nobody has vouched for it: categories, bounds and the number of rows "
    "in it may tell something about the private data that the guarantee does not cover."
)
_PACKAGES = ("torch", "opacus", "dp-accounting", "numpy", "pandas", "scikit-learn")
_ROUNDING = 1e-9  # of a float comparison on the machine that computed both sides
_OTHER_MACHINE = 1e-6  # relative; another machine's libraries round differently
_LINKED = ("parent", "child")  # what two tables are to each other, in the manifest
_STEP = re.compile(r"\b(steps?|rounds?|iterations?|epochs?) (\d+)")


@dataclass(frozen=True)
class Part:
    """One part of the private data, and everything that was released from it.

    Attributes:
        name: e.g. ``"training"`` or ``"holdout"``.
        weight: probability with which a unit is assigned to this part.
        charges: the session's trace.
    """

    name: str
    weight: float
    charges: tuple[Charge, ...]


@dataclass(frozen=True)
class Facts:
    """Everything that a manifest says and that is known before files are written.

    Attributes:
        dataset: the steward's name for the private data.
        schema: the public domain of the private table, of two linked ones, or of images.
        budget: what was asked.
        parts: the parts that the units were assigned to, each by a coin of its own.
        method: the method's registered name.
        settings: the method's settings; plain values.
        rows: synthetic rows; of linked tables, parents; or images. Choose them from public knowledge: the private
            number is not public.
        evidence: figures, free or charged.
        randomness: the noise source's description.
        seeded: True where somebody knows the key of the noise; nothing is private then.
        not_covered: sentences about what the guarantee leaves out.
        unreviewed_allowed: somebody allowed a release under a schema that nobody vouched for.
        child_rows: synthetic children as they were drawn; None where there is one table.
        note: what the method's plan says in words.
        handling: how the release is to be handled.
        policy: what is to be said of the policy's first decision; None where none was asked.
        credentials: of images: what signs each PNG file; None: nothing does.
    """

    dataset: str
    schema: Schema | LinkedSchema | ImageSchema
    budget: Budget
    parts: tuple[Part, ...]
    method: str
    settings: Mapping[str, Any]
    rows: int
    evidence: tuple[Evidence, ...]
    randomness: str
    seeded: bool
    not_covered: tuple[str, ...]
    unreviewed_allowed: bool
    child_rows: int | None = None
    note: str = ""
    handling: Handling = Handling()
    policy: Mapping[str, Any] | None = None
    credentials: Credentials | None = None


@dataclass(frozen=True)
class Sheet:
    """One table of a bundle.

    Attributes:
        name: of its files, without ending.
        schema: its public domain.
        rows: synthetic rows.
        key: of linked tables, the column that ties them; always released. None where there is one table.
        parents: of a child table, how many parents there are: their keys are 1 to so many.
    """

    name: str
    schema: Schema
    rows: int
    key: str | None = None
    parents: int | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The synthetic table's: all but the identifiers that are dropped."""
        return tuple(
            name
            for name, column in self.schema.columns.items()
            if name == self.key or not (isinstance(column, Identifier) and column.release == "drop")
        )

    def to_dict(self) -> dict[str, Any]:
        """What the manifest says of it."""
        return {"schema": self.schema.to_dict(), "rows": self.rows, "columns": list(self.columns)}


@dataclass(frozen=True)
class Verification:
    """What a bundle that withstood every check says of itself.

    Attributes:
        private: False for a bundle that is honestly marked as without a guarantee.
        epsilon: recomputed from the list of reads; infinity where ``private`` is False.
        tables: one, or the parents and the children; or the images.
        files: every file, the manifest included.
        bytes: their total size.
        policy: what the manifest says of the decision that was made before data opened, or None.
        seals: what was found of signatures and log, in words; empty where they were not looked at.
    """

    folder: Path
    dataset: str
    created: str
    method: str
    private: bool
    epsilon: float
    delta: float
    adjacency: str
    unit: str
    tables: tuple[Sheet | Pictures, ...]
    files: tuple[str, ...]
    bytes: int
    manifest_sha256: str
    policy: Mapping[str, Any] | None = None
    seals: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Synthetic rows; of linked tables, parents."""
        return self.tables[0].rows

    @property
    def what(self) -> str:
        """What the rows are called."""
        return "images" if isinstance(self.tables[0], Pictures) else "rows"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns; of linked tables, the parents'."""
        return self.tables[0].columns


def write(
    folder: Path,
    facts: Facts,
    *frames: pd.DataFrame | Images,
    figures: Sequence[MarginalFigure],
    model: Path | Callable[[Path], None] | None = None,
    beside: Mapping[str, bytes] | None = None,
    mode: int | None = None,
) -> dict[str, Any]:
    """Write a bundle: complete and verified, or not at all.

    Everything is made in a hidden folder beside ``folder``, verified as a receiver would, and
    moved into place by one rename. On any failure the hidden folder is removed; a power cut may
    leave it behind, never a half of ``folder``.

    Args:
        folder: where to; must not exist yet.
        facts: what the manifest says.
        frames: the synthetic table, or the parents and the children; values within the schema's domain,
            columns in its order. Or the synthetic images.
        figures: released noisy marginals beside synthetic ones, for the report.
        model: a folder to copy, or a function that writes into the folder it is given.
        beside: the two files of an explanation, by name; or none.
        mode: of the folder; default: what new folders get. Until it has its name, it is its owner's alone.

    Returns:
        The manifest, as written.

    Raises:
        JobError: ``folder`` exists, or the facts contradict each other.
        ValueError: internal evidence, or values that have no place in JSON.
        BudgetExceeded: the reads cost more than the budget.
        UnreviewedSchema: an unreviewed schema that nobody allowed.
        DataError: values outside the domain.
    """
    folder = Path(folder)
    if os.path.lexists(folder):
        raise JobError(f"{folder}: already exists; choose a new folder (a bundle is never overwritten)")
    if not folder.parent.is_dir():
        raise JobError(f"{folder.parent}: no such folder; create it first")
    manifest = manifest_of(facts)
    sheets = _sheets(facts.schema, facts.rows, facts.child_rows)
    stamp = facts.credentials.stamp if facts.credentials else list
    marks = labels.metadata(manifest)
    writers = [_writer(frame, sheet, marks, stamp) for frame, sheet in zip(frames, sheets, strict=True)]
    known = {
        name for sheet in sheets for name in (sheet.columns if isinstance(sheet, Pictures) else sheet.schema.modelled)
    }
    if isinstance(facts.schema, LinkedSchema):
        known |= set(facts.schema.counted.modelled)
    if unknown := sorted({figure.column for figure in figures} - known):
        raise ValueError(f"figures of columns that the schema does not model: {', '.join(unknown)}")

    partial = folder.parent / f".{folder.name}.partial-{secrets.token_hex(8)}"
    try:
        partial.mkdir(0o700)
        for write_files in writers:
            write_files(partial)
        if model is not None:
            _write_model(partial / "model", model)
        for name, content in (beside or {}).items():
            (partial / name).write_bytes(content)
        names = _walk(partial)
        manifest["files"] = {name: _describe(partial / name) for name in sorted(names)}
        for name, content in companions(manifest).items():
            (partial / name).write_bytes(content)
            manifest["files"][name] = _describe(partial / name)
        (partial / "report.html").write_bytes(report.render(manifest, figures, _strips(frames, facts.schema)).encode())
        manifest["files"]["report.html"] = _describe(partial / "report.html")
        manifest["manifest_sha256"] = _digest(manifest)
        (partial / MANIFEST).write_bytes(_serialise(manifest))
        verify(partial)
        _flush(partial)
        partial.chmod(0o777 & ~umask() if mode is None else mode)
        try:
            os.rename(partial, folder)
        except OSError as problem:
            raise JobError(f"{folder}: cannot be put in place: {problem.strerror}") from None
        _flush_entry(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # gone already where the rename happened
    return manifest


def verify(folder: Path, *, beside: Collection[str] = SEALS) -> Verification:
    """Check everything that a bundle says of itself, and recompute its price.

    Checked are: the layout (no file missing, none added, no links); every size and digest; the
    manifest's form, byte for byte; epsilon of every part and in total, recomputed from the list
    of reads, against what is stated and what was asked; the data against the schema, and the two
    data files against each other; that every child has a parent, and no parent too many; the report's
    embedded facts; that a fixed seed and an unreviewed schema are owned up to.

    Not checked, because the bundle alone cannot prove it: that the list of reads is complete, and
    that whoever wrote the manifest is who you think. Signatures and the gate's result, which stand beside
    the manifest, are checked by :func:`synthkit.release.seals.verify`.

    Args:
        folder: the bundle.
        beside: names of files in ``folder`` that the caller checks itself, such as signatures.

    Raises:
        VerificationFailed: on any doubt; the message says which.
    """
    folder = Path(folder)
    try:
        found = _walk(folder, ignored=beside)
        if MANIFEST not in found:
            _doubt(folder, f"no {MANIFEST}; this is not a bundle, or not all of it")
        manifest, size = _read_manifest(folder)
        contents = _check_files(folder, manifest, found)
        schema, sheets = _check_schema(folder, manifest)
        epsilon = _check_price(folder, manifest, schema)
        for sheet in sheets:
            if isinstance(sheet, Pictures):
                _check_pictures(folder, manifest, sheet, contents)
            else:
                _check_data(folder, sheet, contents)
        _check_report(folder, manifest, contents["report.html"])
        if explaining.DATA in contents and (problem := explaining.check_public(contents[explaining.DATA])):
            _doubt(folder, problem)
        _check_companions(folder, manifest, sheets, contents)
    except OSError as problem:
        _doubt(folder, f"cannot be read: {problem.strerror or problem}")
    guarantee = manifest["guarantee"]
    return Verification(
        folder=folder,
        dataset=manifest["dataset"],
        created=manifest["created"],
        method=manifest["method"]["name"],
        private=guarantee["private"],
        epsilon=epsilon,
        delta=guarantee["delta"],
        adjacency=guarantee["adjacency"],
        unit=guarantee["unit"],
        tables=tuple(sheets),
        files=(MANIFEST, *manifest["files"]),
        bytes=size + sum(entry["bytes"] for entry in manifest["files"].values()),
        manifest_sha256=manifest["manifest_sha256"],
        policy=manifest.get("policy"),
    )


# The manifest ----------------------------------------------------------------------------------


def manifest_of(facts: Facts) -> dict[str, Any]:
    """The manifest without its ``files`` and its digest."""
    _check_facts(facts)
    not_covered = list(dict.fromkeys(facts.not_covered))
    if not facts.schema.reviewed and UNREVIEWED not in not_covered:
        not_covered.insert(0, UNREVIEWED)
    budget, delta, adjacency = facts.budget, facts.budget.delta, facts.budget.adjacency
    parts: list[dict[str, Any]] = []
    for part in facts.parts:
        charges = _grouped(part.charges)
        spent = accounting.epsilon(_event(charges), delta, adjacency)
        parts.append({"name": part.name, "weight": part.weight, "epsilon": _finite(spent), "charges": charges})
    spent, accountant = _total(parts, budget)
    if spent > budget.epsilon * (1 + _ROUNDING) and math.isfinite(spent):
        raise BudgetExceeded(
            f"the reads cost epsilon {spent:.6g}, above the budget of {budget.epsilon:g}: this must not be released"
        )
    total = math.inf if facts.seeded else spent
    sheets = [sheet.to_dict() for sheet in _sheets(facts.schema, facts.rows, facts.child_rows)]
    manifest = {
        "synthkit_manifest": VERSION,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "dataset": facts.dataset,
        **(sheets[0] if len(sheets) == 1 else {"tables": dict(zip(_LINKED, sheets, strict=True))}),
        "budget": budget.to_dict(),
        "guarantee": {
            "private": math.isfinite(total),
            "epsilon": _finite(total),
            "delta": delta,
            "adjacency": adjacency.value,
            "unit": str(budget.unit),
            "accountant": accountant,
            "statement": _statement(
                total, budget, facts.seeded, "image" if isinstance(facts.schema, ImageSchema) else "row"
            ),
        },
        "parts": parts,
        "method": {"name": facts.method, "settings": facts.settings} | ({"note": facts.note} if facts.note else {}),
        "evidence": [_evidence(figure) for figure in facts.evidence],
        "randomness": {"description": facts.randomness, "seeded": facts.seeded},
        "versions": _versions(),
        "code": {"sha256": _code_digest()},
        "not_covered": not_covered,
        "handling": facts.handling.to_dict(),
        **({} if facts.policy is None else {"policy": facts.policy}),
        **({} if facts.credentials is None else {"credentials": facts.credentials.to_dict()}),
    }
    plain: dict[str, Any] = _plain(manifest, "manifest")
    return plain


def _check_facts(facts: Facts) -> None:
    """Refuse facts that contradict each other, before anything is written."""
    if internal := [figure.name for figure in facts.evidence if figure.payment not in ("free", "charged")]:
        raise ValueError(
            f"internal evidence has no place in a bundle: {', '.join(internal)}; keep it in the internal folder"
        )
    if not facts.schema.reviewed and not facts.unreviewed_allowed:
        raise UnreviewedSchema(
            f"schema {facts.schema.name} was drafted from data and nobody has vouched for it; read it, correct it, "
            "set 'reviewed: true', or allow it in the job"
        )
    if facts.credentials is not None and not isinstance(facts.schema, ImageSchema):
        raise JobError("content credentials are for images; a table carries its label in other ways")
    if facts.budget.unit != facts.schema.unit:
        raise JobError(
            f"the budget protects one {facts.budget.unit}, the schema declares one {facts.schema.unit}; "
            "they must be the same"
        )
    if not facts.parts:
        raise JobError("no parts: a bundle lists everything that was read, part by part")
    if twice := {part.name for part in facts.parts if [p.name for p in facts.parts].count(part.name) > 1}:
        raise JobError(f"parts are listed twice: {', '.join(sorted(twice))}")
    _check_weights([part.weight for part in facts.parts])
    if NON_PRIVATE in facts.randomness and not facts.seeded:
        raise JobError(f"the randomness is described as {facts.randomness!r}, and yet said not to be seeded")


def _check_weights(weights: Sequence[float]) -> None:
    """Parts must be disjoint: a unit goes to one of them, so their probabilities sum to 1.

    A single part may have any weight: it is priced as if every unit were in it.
    """
    if not all(0 < weight <= 1 for weight in weights):
        raise JobError("a part's weight must lie above 0 and be at most 1")
    if len(weights) > 1 and abs(math.fsum(weights) - 1) > _ROUNDING:
        raise JobError(f"the parts' weights sum to {math.fsum(weights):g}; they must sum to 1")


def _statement(epsilon: float, budget: Budget, seeded: bool, row: str) -> str:
    if seeded:
        return (
            f"{NON_PRIVATE}: the noise came from a fixed seed, and whoever knows the seed can take it away again. "
            "No guarantee holds, whatever the price list says. For tests only."
        )
    if not math.isfinite(epsilon):
        return (
            f"{NON_PRIVATE}: something was released from the private data without enough noise for any finite "
            "epsilon. No guarantee holds."
        )
    unit = f"one {row}" if budget.unit.column is None else f"one {budget.unit}"
    change = {
        Adjacency.ADD_OR_REMOVE: f"were the data of {unit} added or taken away",
        Adjacency.REPLACE_ONE: f"were the data of {unit} replaced by any other",
    }[budget.adjacency]
    shown = math.ceil(epsilon * 1e4 - 1e-7) / 1e4
    return (
        f"({shown:g}, {budget.delta:g})-differentially private: {change}, no outcome of everything released here would "
        f"become more than e^{shown:g} times as likely as it was, plus {budget.delta:g}."
    )


def _grouped(charges: Sequence[Charge]) -> list[dict[str, Any]]:
    """The trace as JSON; a run of equal charges, or of one that counts its steps, is one entry."""
    groups: list[dict[str, Any]] = []
    last: tuple[str, int | None] = ("", None)
    first = 0
    for charge in charges:
        entry = {**charge.to_dict(), "norm_bound": _finite(charge.norm_bound)}
        step = _STEP.search(charge.what)
        number = int(step[2]) if step else None
        pattern = canonical_json({**entry, "what": _STEP.sub(r"\1 #", charge.what, count=1)})
        follows = number == last[1] if number is None or last[1] is None else number == last[1] + 1
        if groups and pattern == last[0] and follows:
            groups[-1]["count"] += 1
            if step is not None:
                words = f"{step[1].removesuffix('s')}s {first} to {number}"
                groups[-1]["what"] = charge.what[: step.start()] + words + charge.what[step.end() :]
        else:
            groups.append({"count": 1, **entry})
            first = number or 0
        last = (pattern, number)
    return groups


def _event(charges: Sequence[Mapping[str, Any]]) -> DpEvent:
    """What a list of reads composes to. Both sides, writer and verifier, price this very object."""
    return events.compose([events.repeat(events.from_json(charge["event"]), charge["count"]) for charge in charges])


def _total(parts: Sequence[Mapping[str, Any]], budget: Budget) -> tuple[float, str]:
    """Epsilon of all parts together, and the accountant that priced it."""
    each = tuple(_event(part["charges"]) for part in parts)
    weights = tuple(float(part["weight"]) for part in parts)
    event = each[0] if len(each) == 1 else events.ParallelDpEvent(weights, each)
    epsilon = accounting.epsilon(event, budget.delta, budget.adjacency)
    return epsilon, accounting.accountant(event, budget.delta, budget.adjacency)


def _evidence(figure: Evidence) -> dict[str, Any]:
    interval = None if figure.interval is None else [_finite(float(end)) for end in figure.interval]
    return {**figure.to_dict(), "value": _finite(float(figure.value)), "interval": interval}


def _finite(value: float) -> float | None:
    """``value``, or None for what JSON has no number for."""
    return float(value) if math.isfinite(value) else None


def _plain(value: Any, where: str) -> Any:
    """``value`` as JSON would give it back, or an error that says where it cannot be."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, str):
        return str(value.value) if isinstance(value, Enum) else value
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return float(value) if isinstance(value, float) else value
    raise ValueError(f"{where}: a {type(value).__name__} has no place in a manifest; use plain finite values")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "synthkit": "not installed as a package"}
    for name in ("synthkit", *_PACKAGES):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _code_digest() -> str:
    """SHA-256 over the package's Python files: names and contents, in order."""
    root = Path(str(synthkit.__file__)).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix()):
        inner = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(root).as_posix()}\0{inner}\n".encode())
    return total.hexdigest()


def _serialise(manifest: Mapping[str, Any]) -> bytes:
    """The one form of a manifest: for people to read, for machines to compare. Order is kept,
    because the schema's columns have one."""
    return (json.dumps(manifest, indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")


def _digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 over every field but the digest itself, in the manifest's own order."""
    rest = {name: value for name, value in manifest.items() if name != "manifest_sha256"}
    return hashlib.sha256(_serialise(rest)).hexdigest()


# The tables ------------------------------------------------------------------------------------


def _sheets(
    schema: Schema | LinkedSchema | ImageSchema, rows: int, child_rows: int | None
) -> Sequence[Sheet | Pictures]:
    """The tables of a bundle, in order; or the images."""
    if isinstance(schema, ImageSchema):
        return [Pictures(schema, rows)]
    if isinstance(schema, Schema):
        return [Sheet("data", schema, rows)]
    parent, child, key = schema.parent, schema.child, schema.key
    return [Sheet(parent.name, parent, rows, key), Sheet(child.name, child, child_rows or 0, key, parents=rows)]


def _writer(
    frame: pd.DataFrame | Images,
    sheet: Sheet | Pictures,
    marks: Mapping[bytes, bytes],
    stamp: Callable[[list[bytes]], list[bytes]],
) -> Callable[[Path], None]:
    """What writes a table's files into a folder, or the images'. Values are checked before that."""
    if isinstance(sheet, Pictures):
        assert isinstance(frame, Images), "a schema of images goes with images"
        return lambda folder: pictures.write(folder, frame, sheet, marks, stamp)
    assert not isinstance(frame, Images), "images go with a schema of images"
    table = _arrow(_canonical(frame, sheet), sheet.schema)
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **marks})

    def write_files(folder: Path) -> None:
        pa.parquet.write_table(table, folder / f"{sheet.name}.parquet")
        pa.csv.write_csv(table, folder / f"{sheet.name}.csv")
        if sheet.key is not None:
            (folder / f"{sheet.name}.schema.yaml").write_bytes(_yaml(sheet.schema))

    return write_files


def _strips(
    frames: Sequence[pd.DataFrame | Images], schema: Schema | LinkedSchema | ImageSchema
) -> list[tuple[str, bytes]]:
    """Of images, the report's contact sheet."""
    if not isinstance(schema, ImageSchema):
        return []
    return [
        strip for images in frames if isinstance(images, Images) for strip in pictures.contact_sheet(images, schema)
    ]


def _yaml(schema: Schema) -> bytes:
    """A schema file: for people to read. Verification compares bytes, and parses nothing that it does not trust."""
    text: str = yaml.safe_dump(schema.to_dict(), sort_keys=False, allow_unicode=True)
    return text.encode()


def _strict(schema: Schema) -> Schema:
    """The domain of the synthetic table. Nothing is clamped, mapped or repaired: what lies outside is wrong."""
    columns = {
        name: replace(column, unknown="error") if isinstance(column, (Categorical, Numeric)) else column
        for name, column in schema.modelled.items()
    }
    constraints = tuple(replace(constraint, repair=False) for constraint in schema.constraints)
    return Schema(
        name=schema.name,
        columns=columns,
        rows=schema.rows,
        unit=Unit(),
        target=schema.target,
        constraints=constraints,
    )


def _canonical(frame: pd.DataFrame, sheet: Sheet) -> pd.DataFrame:
    """The synthetic table in the one form that is released.

    Raises:
        DataError: other columns, another number of rows, values outside the domain, an identifier that
            is not a fresh running number, or a child without a parent.
    """
    if len(frame) != sheet.rows or (sheet.rows < 1 and sheet.parents is None):
        raise DataError(
            f"synthetic table: {len(frame)} rows, and {sheet.rows} were announced; they must be equal, above 0"
        )
    return _checked(frame, sheet, source="synthetic table")


def _checked(frame: pd.DataFrame, sheet: Sheet, *, source: str) -> pd.DataFrame:
    schema, names = sheet.schema, list(sheet.columns)
    if list(frame.columns) != names:
        raise DataError(f"{source}: columns are {list(frame.columns)}; expected, in this order, {names}")
    strict = _strict(schema)
    table = encoding.from_frame(frame[list(schema.modelled)], strict, source=source)
    values = encoding.to_frame(table, strict)
    for name in names:
        if name == sheet.key and sheet.parents is not None:
            values[name] = _owners(frame[name], sheet, source)
        elif name not in values:  # an identifier: 1 to n, with nothing of the real ones
            values[name] = np.arange(1, len(frame) + 1)
            if list(frame[name]) != list(values[name]):
                raise DataError(f"{source}: column {name} is an identifier and must be the running number 1 to n")
    return values[names]


def _owners(keys: pd.Series[Any], sheet: Sheet, source: str) -> NDArray[np.int64]:
    """The children's keys: each a parent's, in order, none more often than a parent may have children."""
    owners = np.asarray(keys)
    if not np.issubdtype(owners.dtype, np.integer) and len(owners):
        raise DataError(f"{source}: column {sheet.key} must hold keys of parents, which are whole numbers")
    owners = owners.astype(np.int64)
    if ((owners < 1) | (owners > (sheet.parents or 0))).any() or (np.diff(owners) < 0).any():
        raise DataError(f"{source}: column {sheet.key} must hold keys of parents, in their order")
    if len(owners) and np.bincount(owners).max() > sheet.schema.unit.max_rows:
        raise DataError(f"{source}: a parent has more than {sheet.schema.unit.max_rows} children")
    return owners


def _arrow(frame: pd.DataFrame, schema: Schema) -> pa.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    fields = []
    for field in table.schema:
        column = schema.columns[field.name]
        if isinstance(column, Datetime):
            fields.append(field.with_type(pa.date32() if column.resolution == "day" else pa.timestamp("s")))
        else:
            fields.append(field)
    return table.cast(pa.schema(fields))


def _write_model(folder: Path, model: Path | Callable[[Path], None]) -> None:
    if callable(model):
        folder.mkdir()
        model(folder)
    elif Path(model).is_dir():
        shutil.copytree(model, folder, symlinks=True)  # a link stays one, and is refused below
    else:
        raise JobError(f"{model}: no such folder; a model is a folder of files")
    if not any(folder.iterdir()):
        raise JobError("the model's folder is empty; leave the model out, or save it")


# Files -----------------------------------------------------------------------------------------


def _walk(folder: Path, *, ignored: Collection[str] = ()) -> set[str]:
    """Names of all files, relative to ``folder``.

    Raises:
        VerificationFailed: a link, a device, or a folder without files.
    """
    names: set[str] = set()
    if not folder.is_dir():
        _doubt(folder, "no such folder")

    def descend(here: Path, prefix: str) -> None:
        entries = list(os.scandir(here))
        if prefix and not entries:
            _doubt(folder, f"{prefix} is an empty folder; a bundle holds files only")
        for entry in entries:
            name = prefix + entry.name
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                descend(here / entry.name, name + "/")
            elif not stat.S_ISREG(mode):
                _doubt(folder, f"{name} is a link or a device; a bundle holds plain files only")
            elif name not in ignored:
                names.add(name)

    descend(folder, "")
    return names


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        return {"sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "bytes": path.stat().st_size}


def _flush(folder: Path) -> None:
    """Everything in ``folder`` is on the disk before it gets its name."""
    for here, _, names in os.walk(folder):
        for name in names:
            _flush_entry(Path(here) / name)
        _flush_entry(Path(here))


def _flush_entry(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# Verification ----------------------------------------------------------------------------------


def _doubt(folder: Path, what: str) -> NoReturn:
    raise VerificationFailed(f"{folder}: {what}")


def _read_manifest(folder: Path) -> tuple[dict[str, Any], int]:
    raw = (folder / MANIFEST).read_bytes()

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in items}) < len(items):
            raise ValueError("a name appears twice")
        return dict(items)

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    try:
        manifest = json.loads(raw.decode("ascii"), object_pairs_hook=pairs, parse_constant=constant)
        same = isinstance(manifest, dict) and _serialise(manifest) == raw
    except (ValueError, RecursionError) as problem:
        _doubt(folder, f"{MANIFEST} is damaged: {problem}")
    if not same:
        _doubt(folder, f"{MANIFEST} is not in the form in which manifests are written; it was changed")
    if manifest.get("synthkit_manifest") != VERSION:
        _doubt(folder, f"{MANIFEST} is of version {manifest.get('synthkit_manifest')!r}; this synthkit reads {VERSION}")
    try:
        validate(manifest, "release/manifest.v1.json", source=MANIFEST, error=InputError)
    except (InputError, RecursionError) as problem:
        _doubt(folder, str(problem))
    if _digest(manifest) != manifest["manifest_sha256"]:
        _doubt(folder, f"{MANIFEST} is not what it was: its fields do not match its own digest")
    return manifest, len(raw)


def _check_files(folder: Path, manifest: Mapping[str, Any], found: set[str]) -> dict[str, bytes]:
    """Compare names, sizes and digests; give back the contents that are looked into, read once."""
    listed = set(manifest["files"])
    if missing := sorted(listed - found):
        _doubt(folder, f"missing: {', '.join(missing[:5])}")
    if extra := sorted(found - listed - {MANIFEST}):
        _doubt(folder, f"not in the manifest: {', '.join(extra[:5])}")
    contents: dict[str, bytes] = {}
    for name, entry in manifest["files"].items():
        if name.startswith("model/"):
            described = _describe(folder / name)
        else:
            contents[name] = (folder / name).read_bytes()
            digest = hashlib.sha256(contents[name]).hexdigest()
            described = {"sha256": digest, "bytes": len(contents[name])}
        if described != entry:
            what = "size" if described["bytes"] != entry["bytes"] else "digest"
            _doubt(folder, f"{name} was changed: its {what} is not the manifest's")
    return contents


def _check_schema(
    folder: Path, manifest: Mapping[str, Any]
) -> tuple[Schema | LinkedSchema | ImageSchema, Sequence[Sheet | Pictures]]:
    """The schema, and every table as it must be; their files are there, and no others."""
    stated = [manifest["tables"][role] for role in _LINKED] if "tables" in manifest else [manifest]
    schema: Schema | LinkedSchema | ImageSchema
    try:
        if "tables" not in manifest and "columns" not in manifest["schema"]:
            schema = ImageSchema.from_dict(manifest["schema"], source="schema")
        else:
            schemas = [Schema.from_dict(table["schema"], source="schema") for table in stated]
            schema = schemas[0] if len(schemas) == 1 else LinkedSchema(*schemas)
    except (SchemaError, TypeError, ValueError) as problem:
        _doubt(folder, f"the schema contradicts itself: {problem}")
    sheets = _sheets(schema, stated[0]["rows"], stated[-1]["rows"])
    if any(table["columns"] != list(sheet.columns) for table, sheet in zip(stated, sheets, strict=True)):
        _doubt(folder, "columns is not what the schema releases")
    if SYNTHETIC not in manifest["handling"]["labels"]:
        _doubt(folder, f"it does not carry the label {SYNTHETIC!r}")
    if not schema.reviewed and UNREVIEWED not in manifest["not_covered"]:
        _doubt(folder, "the schema is unreviewed, and not_covered does not say so")
    files = {file for sheet in sheets for file in _files(sheet)} | {"report.html", *COMPANIONS}
    if explaining.DATA in manifest["files"]:
        files |= {explaining.DATA, explaining.PAGE}
    folders = ("model/", f"{pictures.FOLDER}/") if isinstance(schema, ImageSchema) else ("model/",)  # images: see below
    if wrong := sorted(files ^ {name for name in manifest["files"] if not name.startswith(folders)}):
        _doubt(folder, f"the files are not those of its tables: {', '.join(wrong[:5])}")
    return schema, sheets


def _files(sheet: Sheet | Pictures) -> list[str]:
    if isinstance(sheet, Pictures):
        return pictures.files(sheet)
    endings = ["parquet", "csv"] + (["schema.yaml"] if sheet.key is not None else [])
    return [f"{sheet.name}.{ending}" for ending in endings]


def _check_price(folder: Path, manifest: Mapping[str, Any], schema: Schema | LinkedSchema | ImageSchema) -> float:
    """Recompute what every part cost, and all together. Returns the total."""
    guarantee, asked, seeded = manifest["guarantee"], manifest["budget"], manifest["randomness"]["seeded"]
    try:
        budget = Budget(asked["epsilon"], asked["delta"], Adjacency(asked["adjacency"]), Unit(**asked["unit"]))
        _check_weights([part["weight"] for part in manifest["parts"]])
        for part in manifest["parts"]:
            spent = accounting.epsilon(_event(part["charges"]), budget.delta, budget.adjacency)
            if not _agree(spent, part["epsilon"]):
                _doubt(folder, f"part {part['name']}: its reads cost epsilon {spent:.7g}, it states {part['epsilon']}")
        total, accountant = _total(manifest["parts"], budget)
    except (InputError, ValueError, ArithmeticError, RecursionError) as problem:
        _doubt(folder, f"the price cannot be recomputed: {problem}")
    if len({part["name"] for part in manifest["parts"]}) < len(manifest["parts"]):
        _doubt(folder, "two parts have the same name")
    if math.isfinite(total) and total > budget.epsilon * (1 + _OTHER_MACHINE):
        _doubt(folder, f"its reads cost epsilon {total:.7g}, above the budget of {budget.epsilon:g}")
    if NON_PRIVATE in manifest["randomness"]["description"] and not seeded:
        _doubt(folder, "the randomness is described as non-private, and yet said not to be seeded")
    total = math.inf if seeded else total
    if guarantee["private"] != math.isfinite(total):
        _doubt(
            folder, f"it says private: {str(guarantee['private']).lower()}, and its reads and randomness say otherwise"
        )
    if not _agree(total, guarantee["epsilon"]):
        _doubt(folder, f"its reads cost epsilon {total:.7g}, it states {guarantee['epsilon']}")
    stated = {field: guarantee[field] for field in ("delta", "adjacency", "unit", "accountant")}
    expected = {
        "delta": budget.delta,
        "adjacency": budget.adjacency.value,
        "unit": str(budget.unit),
        "accountant": accountant,
    }
    if wrong := [field for field in expected if stated[field] != expected[field]]:
        _doubt(folder, f"the guarantee's {', '.join(wrong)} is not what was asked or what ran")
    if budget.unit != schema.unit:
        _doubt(folder, "the budget's unit of privacy is not the schema's")
    return total


def _agree(computed: float, stated: float | None) -> bool:
    if stated is None:
        return computed == math.inf
    return math.isclose(computed, stated, rel_tol=_OTHER_MACHINE, abs_tol=1e-12)


def _check_data(folder: Path, sheet: Sheet, contents: Mapping[str, bytes]) -> None:
    """The table's shape, every value against the schema, and its files against each other."""
    rows, names = sheet.rows, list(sheet.columns)
    try:
        parquet = pa.parquet.ParquetFile(BytesIO(contents[f"{sheet.name}.parquet"]))
        if parquet.metadata.num_rows != rows or parquet.schema_arrow.names != names:
            _doubt(folder, f"{sheet.name}.parquet does not have the stated rows and columns")
        table = parquet.read()
        other = pa.csv.read_csv(
            BytesIO(contents[f"{sheet.name}.csv"]),
            read_options=pa.csv.ReadOptions(use_threads=False),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types={field.name: field.type for field in table.schema},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        if other.num_rows != rows or other.column_names != names:
            _doubt(folder, f"{sheet.name}.csv does not have the stated rows and columns")
        if not other.equals(table):
            _doubt(folder, f"{sheet.name}.csv and {sheet.name}.parquet hold different values")
        # Back through the schema and out again: only values of the domain survive unchanged.
        frame = table.to_pandas(ignore_metadata=True)
        checked = _arrow(_checked(frame, sheet, source=f"{sheet.name}.parquet"), sheet.schema)
        if not checked.cast(table.schema).equals(table):
            _doubt(folder, f"{sheet.name}.parquet holds values that the schema's columns cannot take")
        if sheet.key is not None:
            beside = contents[f"{sheet.name}.schema.yaml"]
            if beside != _yaml(sheet.schema):
                _doubt(folder, f"{sheet.name}.schema.yaml is not the manifest's schema")
    except (DataError, pa.ArrowException, ValueError, TypeError) as problem:
        _doubt(folder, f"the data files do not hold what the schema declares: {problem}")


def _check_pictures(folder: Path, manifest: Mapping[str, Any], sheet: Pictures, contents: Mapping[str, bytes]) -> None:
    """Every image against the schema, and its files against each other."""
    try:
        pictures.check(sheet, contents, stamped="credentials" in manifest)
    except (
        DataError,
        pa.ArrowException,
        OSError,
        EOFError,
        KeyError,
        ValueError,
        TypeError,
        zipfile.BadZipFile,
    ) as problem:
        _doubt(folder, f"the images are not what the schema declares: {problem}")


def _check_report(folder: Path, manifest: Mapping[str, Any], page: bytes) -> None:
    opening = f'<script type="application/json" id="{report.EMBEDDED}">'.encode()
    pieces = page.split(opening)
    if len(pieces) != 2:
        _doubt(folder, "report.html does not say which manifest it belongs to")
    try:
        stated = json.loads(pieces[1].partition(b"</script>")[0])
    except (ValueError, RecursionError):
        stated = None
    if stated != report.embedded(manifest):
        _doubt(folder, "report.html was made for another manifest")


def _check_companions(
    folder: Path,
    manifest: Mapping[str, Any],
    sheets: Sequence[Sheet | Pictures],
    contents: Mapping[str, bytes],
) -> None:
    """What says again what the manifest says, says the same; and the tables carry their labels."""
    for name, content in companions(manifest).items():
        if contents[name] != content:
            _doubt(folder, f"{name} does not say what the manifest says")
    for sheet in sheets:
        carried = pa.parquet.read_metadata(BytesIO(contents[f"{sheet.name}.parquet"])).metadata or {}
        if wrong := [key.decode() for key, mark in labels.metadata(manifest).items() if carried.get(key) != mark]:
            _doubt(folder, f"{sheet.name}.parquet does not carry the manifest's label ({', '.join(wrong)})")


__all__ = ["Facts", "Part", "Verification", "manifest_of", "verify", "write"]
