"""The compliance report: what laws and guidelines ask of a release, line by line, with the evidence that it has.

The bundle is verified first, and its price recomputed: evidence that is not intact is none. What a rule may look at is
gathered into a dossier (released values, the manifest, free and charged figures, labels, statements that people signed), and
:mod:`synthkit.policy.packs` weighs it. Nothing here opens private data, or a folder of exact figures.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from synthkit import __version__
from synthkit.documents import completing, validate
from synthkit.errors import InputError, JobError, VerificationFailed
from synthkit.policy.gate import State
from synthkit.policy.packs.audit import STATES, Audit, audit
from synthkit.policy.packs.document import NAMES, Pack
from synthkit.policy.packs.dossier import Column, Dossier, What
from synthkit.release import anonymized, bundle, label_check, records, sign, verify_alone
from synthkit.release.hand_out import figures
from synthkit.release.report import columns_of, environment, tables_of

VERSION = 1
DATA = "compliance.json"
INDEX = "index.html"


@dataclass(frozen=True)
class Intact:
    """One thing that holds of the bundle itself, whatever a pack asks."""

    what: str
    state: State
    found: str


@dataclass(frozen=True)
class Report:
    """How a release stands to packs.

    Attributes:
        folder: the release.
        dossier: what was looked at.
        intact: what holds of the release itself.
        audits: a pack each.
    """

    folder: Path
    dossier: Dossier
    intact: tuple[Intact, ...]
    audits: tuple[Audit, ...]

    @property
    def failed(self) -> bool:
        """Whether anything is not as it must be."""
        return any(entry.state == "fail" for entry in self.intact) or any(entry.failed for entry in self.audits)

    @property
    def complete(self) -> bool:
        """Whether everything was evaluated."""
        return not any(entry.state == "not evaluated" for entry in self.intact) and all(
            entry.complete for entry in self.audits
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; they follow ``release/compliance.v1.json``."""
        facts = self.dossier.facts
        document = {
            "synthkit_compliance": VERSION,
            "created": self.dossier.now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "synthkit": __version__,
            "release": {
                "what": self.dossier.what,
                "dataset": facts["dataset"],
                "created": facts["created"],
                "manifest_sha256": self.dossier.bundle,
                "statement": facts["guarantee"]["statement"],
                "epsilon": facts["guarantee"].get("epsilon"),
                "delta": facts["guarantee"].get("delta"),
            },
            "failed": self.failed,
            "complete": self.complete,
            "integrity": [{"what": e.what, "state": e.state, "found": e.found} for e in self.intact],
            "packs": [entry.to_dict() for entry in self.audits],
        }
        validate(document, "release/compliance.v1.json", source=DATA, error=InputError)
        return document


def report(
    folder: str | Path,
    packs: Sequence[str | Path] = NAMES,
    *,
    trust: str | Path | None = None,
    now: datetime | None = None,
) -> Report:
    """Hold a release against packs.

    Args:
        folder: the bundle, held or handed out.
        packs: names of packaged packs, or files that end in ``.yaml``.
        trust: the file of keys whose signatures count (``keys.toml``). Without it no statement counts.
        now: the time at which statements must hold; default: the clock's.

    Raises:
        PolicyError: a pack that is not there, or cannot be used.
        JobError: the keys cannot be read, or the folder is no release.
        VerificationFailed: the release is not intact; nothing is reported of one that is not.
    """
    folder, now = Path(folder), now or datetime.now(UTC)
    read = [_pack(name) for name in dict.fromkeys(packs)]
    for pack in read:
        if [other.name for other in read].count(pack.name) > 1:
            raise JobError(f"two packs are called {pack.name!r}; give the house's own another name ('pack')")
    keys = None if trust is None else sign.trusted(Path(trust))
    gather = _of_records if anonymized.is_one(folder) else _of_bundle
    dossier, intact = gather(folder, keys, now)
    return Report(folder, dossier, intact, tuple(audit(pack, dossier) for pack in read))


def write(made: Report, output: Path) -> None:
    """Write the report into a new folder: a page for each pack, one of all, and the same for machines.

    Raises:
        JobError: the folder exists, lies in the bundle, or its parent is not there.
    """
    if output.exists() or output.is_symlink():
        raise JobError(f"{output} exists; name another folder, or move it away (a report is never overwritten)")
    if not output.parent.is_dir():
        raise JobError(f"{output.parent}: no such folder; create it first")
    if made.folder.resolve() in output.resolve().parents:
        raise JobError(
            f"{output} lies in the bundle, which holds what its manifest lists and nothing else; name another"
        )
    document = made.to_dict()
    with completing(output) as partial:
        (partial / DATA).write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (partial / INDEX).write_text(_page("compliance_index.html.j2", document), encoding="utf-8")
        for pack in document["packs"]:
            text = _page("compliance.html.j2", document, p=pack)
            (partial / f"{pack['pack']}.html").write_text(text, encoding="utf-8")


def _page(template: str, document: Mapping[str, Any], **more: Any) -> str:
    page: str = environment().get_template(template).render(d=document, states=STATES, data=DATA, **more)
    return page


def _pack(name: str | Path) -> Pack:
    return Pack.read(name) if str(name).endswith((".yaml", ".yml")) else Pack.packaged(str(name))


# A bundle --------------------------------------------------------------------------------------


def _of_bundle(folder: Path, keys: verify_alone.Trust | None, now: datetime) -> tuple[Dossier, tuple[Intact, ...]]:
    """What there is of a bundle of synthetic tables or images, and whether it is intact."""
    checked = bundle.verify(folder)
    manifest = json.loads((folder / verify_alone.MANIFEST).read_bytes())
    if manifest["manifest_sha256"] != checked.manifest_sha256:
        raise VerificationFailed(f"{folder}: changed while it was read")
    what: What = "images" if "tables" not in manifest and "columns" not in manifest["schema"] else "table"
    dossier = Dossier(
        what=what,
        bundle=verify_alone.manifest_digest(folder),
        facts=manifest,
        epsilon=checked.epsilon,
        figures=tuple(figures(manifest)),
        columns=tuple(_columns(folder, manifest)),
        labels=label_check.carried_in(folder),
        statements=tuple(sign.attestations(folder, keys or verify_alone.Trust({}, {}))),
        believed=None if keys is None else sign.believes(keys, now=now),
        now=now,
    )
    intact = (
        Intact("files, data, labels and report are what the manifest says", "pass", f"{len(checked.files)} files"),
        Intact("the price was recomputed from the list of reads", "pass", _price(checked)),
        _sealed(folder, keys, now),
    )
    return dossier, intact


def _columns(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Column]:
    """Every released column with its distinct values."""
    sampled = any(name.startswith("model/") for name in manifest["files"])
    for name, table in tables_of(manifest).items():
        images = "columns" not in table["schema"]
        file = f"{name}.parquet" if "tables" in manifest else "images.parquet" if images else "data.parquet"
        content = (folder / file).read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest["files"][file]["sha256"]:
            raise VerificationFailed(f"{folder}: {file} changed while it was read")
        released = pa.parquet.ParquetFile(BytesIO(content))
        said = table["schema"].get("holds")
        holds = {"image": said, "label": said and "other"} if images else said or {}
        for column, declared in columns_of(table).items():
            kind, texts, largest, ceiling = declared["kind"], frozenset[str](), None, None
            if kind in ("categorical", "integer"):
                distinct = released.read([column]).column(column).unique().to_pylist()
                texts = frozenset(str(value) for value in distinct if value is not None)
            if kind in ("integer", "continuous"):
                top = pa.compute.max(released.read([column]).column(column)).as_py()
                ceiling = float(declared["max"])
                largest = ceiling if sampled else None if top is None else float(top)
            yield Column(
                table=name,
                name=column,
                kind=kind,
                holds=holds.get(column),
                values=texts,
                declared=frozenset(str(category) for category in declared.get("categories", ())),
                largest=largest,
                ceiling=ceiling,
                rows=table["rows"],
            )


def _sealed(folder: Path, keys: verify_alone.Trust | None, now: datetime) -> Intact:
    """Whether gate, signatures and log are what they must be."""
    what = "gate, signatures and place in the log"
    if not (folder / verify_alone.GATE).exists() and not (folder / verify_alone.PROOF).exists():
        return Intact(what, "not evaluated", "neither gate nor log is there: the bundle was not handed out")
    try:
        found = verify_alone.check_seals(folder, keys, now)
    except verify_alone.Doubt as problem:
        return Intact(what, "fail", str(problem))
    if keys is None:
        return Intact(what, "not evaluated", "intact, and there are no keys to hold signatures against (--trust)")
    ignored = [line for line in found if "NOT counted" in line]
    stated = len(verify_alone.statement_lines(folder))
    return Intact(what, "pass", "; ".join([f"{stated} statements, all intact", *ignored, found[-1]]))


def _price(checked: bundle.Verification) -> str:
    if not checked.private:
        return "no finite epsilon"
    spent = math.ceil(checked.epsilon * 1e4 - 1e-7) / 1e4  # rounded up: never below what holds
    return f"epsilon {spent:g} at delta {checked.delta:g}, {checked.adjacency}, unit: one {checked.unit}"


# True records ----------------------------------------------------------------------------------


def _of_records(folder: Path, keys: verify_alone.Trust | None, now: datetime) -> tuple[Dossier, tuple[Intact, ...]]:
    """What there is of a folder of anonymized true records, and whether it is intact."""
    checked = anonymized.check(folder)
    manifest = json.loads((folder / verify_alone.MANIFEST).read_bytes())
    if verify_alone.manifest_digest(folder) != checked.manifest_sha256:
        raise VerificationFailed(f"{folder}: changed while it was read")
    dossier = Dossier(
        what="records",
        bundle=checked.manifest_sha256,
        facts={**manifest, "description": checked.description},
        epsilon=None,
        figures=tuple(records.figures(folder, checked, manifest)),
        columns=tuple(records.columns(folder, checked.description, manifest)),
        labels=label_check.carried_in(folder),
        statements=tuple(sign.attestations(folder, keys or verify_alone.Trust({}, {}))),
        believed=None if keys is None else sign.believes(keys, now=now),
        now=now,
    )
    counted = f"{checked.measured.classes} classes of {len(checked.description['models'])} models"
    intact = (
        Intact(
            "files, data, labels and description are what the manifest says", "pass", f"{len(manifest['files'])} files"
        ),
        Intact("models, figures and limits were counted again in the records", "pass", counted),
        _sealed(folder, keys, now),
    )
    return dossier, intact


__all__ = ["DATA", "INDEX", "Intact", "Report", "report", "write"]
