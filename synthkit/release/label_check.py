"""Which labels a file carries, and what was lost since it left: by a re-encoding, a conversion, a copy without its sidecar.

Read are the implicit label of GB 45438-2025 (``AIGC``: in Parquet's key-value metadata, in an image's XMP, in a sidecar
``label.json``), the marks of the release (``synthkit.labels``; ``synthetic`` is the machine-readable mark of the AI Act's
article 50(2)), and whether an image carries a C2PA manifest. That a C2PA manifest is there is said, not that it is valid.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthkit.errors import DataError
from synthkit.policy.packs.checks import GB_45438, TRUE_RECORDS, claims_synthetic
from synthkit.policy.packs.dossier import Carried
from synthkit.release import anonymized, bundle, labels, pictures
from synthkit.release.handling import SYNTHETIC
from synthkit.release.verify_alone import MANIFEST

SIDECAR = "label.json"
PROPAGATION = ("ContentPropagator", "PropagateID", "ReservedCode2")  # whoever passes it on fills these in
_PICTURES = (".png", ".jpg", ".jpeg")
_MUTE = (".csv", ".tsv", ".gz", ".npz")  # formats without room for a label
_XMP = re.compile(r'TC260:AIGC\s*(?:=\s*"([^"]*)"|>([^<]*)<)')
_GENERATED = b"trainedAlgorithmicMedia"  # IPTC's word for what a model made, in a C2PA manifest
_MOST_XMP = 1_000_000  # characters


@dataclass(frozen=True)
class Checked:
    """What was found of one file's labels.

    Attributes:
        carried: what it carries.
        problems: what is missing, lost or wrong, in plain words; empty where all is there.
        note: what is to be known, e.g. that its label stands beside it.
    """

    carried: Carried
    problems: tuple[str, ...] = ()
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        carried = self.carried
        return {
            "file": carried.file,
            "can_carry": carried.able,
            "aigc": None if carried.aigc is None else dict(carried.aigc),
            "marks": None if carried.marks is None else list(carried.marks),
            "provenance": list(carried.provenance),
            "problems": list(self.problems),
            "note": self.note,
        }

    def __str__(self) -> str:
        carried, told = self.carried, []
        if carried.aigc is not None:
            made = carried.aigc.get("ContentProducer") or "nobody named"
            told.append(f"AIGC label {carried.aigc.get('Label', '?')}, producer: {made}")
        if carried.marks is not None:
            told.append(f"marks: {', '.join(carried.marks) or 'none'}")
        told += [f"{kind} manifest" for kind in carried.provenance]
        lines = [f"{carried.file}: {'; '.join(told) or 'carries no label'}" + (f" ({self.note})" if self.note else "")]
        return "\n".join([*lines, *(f"  {problem}" for problem in self.problems)])


def check(path: str | Path, *, against: str | Path | None = None) -> tuple[Checked, ...]:
    """The labels of a file, or of every file of a folder.

    Args:
        path: a Parquet file, an image, a sidecar, a CSV or ``.npz`` file, or a folder of them, such as a bundle.
        against: the bundle that it came from: what its label says must still be said. A bundle itself is held against
            its own manifest, other files against a sidecar beside them.

    Raises:
        DataError: no such file, or of a format that is not read here.
        VerificationFailed: ``against`` is no intact bundle.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; name a file with data, or a bundle")
    wanted = None if against is None else _label_of(Path(against))
    folder = path if path.is_dir() else path.parent
    beside = read_labels(folder / SIDECAR) if (folder / SIDECAR).is_file() else None
    if wanted is None and path.is_dir() and (path / MANIFEST).is_file():
        wanted = _label_of(path)
    files = list(_files(path)) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: holds no file that could carry a label (Parquet, PNG, JPEG, CSV, npz, {SIDECAR})")
    checked = [_checked(read_labels(file), wanted, beside) for file in files]
    return tuple(_merged(checked, path)) if path.is_dir() else tuple(checked)


def carried_in(folder: Path) -> tuple[Carried, ...]:
    """What the files of a folder carry, held against nothing; images that carry the same are one entry.

    Raises:
        DataError: as :func:`read_labels`.
    """
    found = [Checked(read_labels(file)) for file in _files(folder)]
    return tuple(entry.carried for entry in _merged(found, folder))


def read_labels(path: Path) -> Carried:
    """What a file carries.

    Raises:
        DataError: it cannot be read, its label is damaged, or its format is not read here.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return _of_parquet(path)
        if suffix in _PICTURES:
            return _of_picture(path)
        if suffix == ".json":
            return _of_sidecar(path)
    except OSError as problem:
        raise DataError(f"{path}: cannot be read: {problem.strerror or problem}") from None
    if suffix in _MUTE:
        return Carried(path.name, able=False)
    raise DataError(
        f"{path}: labels are read in Parquet, PNG and JPEG files and in {SIDECAR}, not in {suffix or 'this'}"
    )


# Reading ---------------------------------------------------------------------------------------


def _of_parquet(path: Path) -> Carried:
    import pyarrow as pa
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_metadata(path).metadata or {}
    except pa.ArrowException as problem:
        raise DataError(f"{path}: is no intact Parquet file: {problem}") from None
    aigc, marks = metadata.get(labels.AIGC.encode()), metadata.get(labels.MARKS.encode())
    return Carried(
        path.name,
        able=True,
        aigc=None if aigc is None else _fields(_json(aigc, path, labels.AIGC), path),
        marks=None if marks is None else _marks(_json(marks, path, labels.MARKS), path),
    )


def _of_sidecar(path: Path) -> Carried:
    document = _json(path.read_bytes(), path, "the sidecar")
    if isinstance(document, dict) and document.get("kind") == TRUE_RECORDS:
        said = _marks(document.get("labels"), path)
        wrong = () if document.get("synthetic") is False else (SYNTHETIC,)
        fields = _fields(document[labels.AIGC], path) if labels.AIGC in document else None
        return Carried(path.name, able=True, aigc=fields, marks=(*said, *wrong))
    if not isinstance(document, dict) or labels.AIGC not in document:
        raise DataError(f"{path}: is no label: a JSON object with {labels.AIGC!r} and 'labels' was expected")
    marks = _marks(document["labels"], path) if "labels" in document else None
    return Carried(path.name, able=True, aigc=_fields(document[labels.AIGC], path), marks=marks)


def _of_picture(path: Path) -> Carried:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=["PNG", "JPEG"]) as picture:
            picture.load()  # a PNG file's text may stand behind its pixels
            info = dict(picture.info)
    except (UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise DataError(f"{path}: is no intact PNG or JPEG file") from None
    written = info.get("XML:com.adobe.xmp") or info.get("xmp") or ""
    text = written.decode("utf-8", "replace") if isinstance(written, bytes) else str(written)
    found = _XMP.search(text[:_MOST_XMP])
    aigc = None
    if found is not None:
        aigc = _fields(_json(html.unescape(found[1] or found[2] or "").encode(), path, labels.AIGC), path)
    box = _c2pa(path.read_bytes())
    marks = (SYNTHETIC,) if (aigc or {}).get("Label") == "1" or _GENERATED in box else None
    return Carried(path.name, able=True, aigc=aigc, marks=marks, provenance=("C2PA",) if box else ())


def _c2pa(content: bytes) -> bytes:
    """The C2PA manifest store of a PNG (chunk ``caBX``) or JPEG file (JUMBF in APP11); empty where there is none."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        position = 8
        while position + 12 <= len(content):
            size = int.from_bytes(content[position : position + 4], "big")
            if content[position + 4 : position + 8] == b"caBX":
                return content[position + 8 : position + 8 + size]
            position += 12 + size
        return b""
    found, position = b"", 2
    while position + 4 <= len(content) and content[position] == 0xFF and content[position + 1] not in (0xD9, 0xDA):
        size = int.from_bytes(content[position + 2 : position + 4], "big")
        segment = content[position + 4 : position + 2 + size]
        if content[position + 1] == 0xEB and b"jumb" in segment[:64]:
            found += segment
        position += 2 + max(size, 2)
    return found


def _json(raw: bytes, path: Path, what: str) -> Any:
    try:
        return json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise DataError(f"{path}: {what} is damaged: it is not JSON") from None


def _fields(value: Any, path: Path) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise DataError(f"{path}: {labels.AIGC} is damaged: its fields must be texts")
    return {str(name): text for name, text in value.items()}


def _marks(value: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(mark, str) for mark in value):
        raise DataError(f"{path}: the marks are damaged: a list of texts was expected")
    return tuple(value)


# Comparing -------------------------------------------------------------------------------------


def _label_of(folder: Path) -> Carried:
    """What the files of a release must carry, by its manifest: true records no label of generated content."""
    records = anonymized.is_one(folder)
    _ = anonymized.check(folder) if records else bundle.verify(folder)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    if records:
        return Carried(folder.name, True, None, tuple(manifest["handling"]["labels"]))
    return Carried(folder.name, True, labels.aigc(manifest), tuple(manifest["handling"]["labels"]))


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder, and of the folder of images in it, that have to do with labels."""
    for file in sorted(folder.iterdir()):
        if file.is_file() and (file.suffix.lower() in (*_PICTURES, *_MUTE, ".parquet") or file.name == SIDECAR):
            yield file
    if (folder / pictures.FOLDER).is_dir():
        yield from sorted(
            file
            for file in (folder / pictures.FOLDER).rglob("*")
            if file.suffix.lower() in _PICTURES and file.is_file()
        )


def _checked(carried: Carried, wanted: Carried | None, beside: Carried | None) -> Checked:
    expected = wanted or (beside if carried.file != SIDECAR else None)
    if not carried.able:
        if beside is None:
            return Checked(carried, (f"its format cannot carry a label, and no {SIDECAR} stands beside it",))
        return Checked(carried, tuple(_losses(beside, expected)), f"its format cannot carry a label; {SIDECAR} does")
    return Checked(carried, tuple(_losses(carried, expected)))


def _losses(carried: Carried, expected: Carried | None) -> Iterator[str]:
    """What a file does not say, or says otherwise."""
    lost = "lost" if expected is not None else "missing"
    if TRUE_RECORDS in ((expected or carried).marks or ()):
        yield from _losses_of_records(carried, expected, lost)
        return
    if carried.aigc is None:
        yield f"{lost}: the {labels.AIGC} label (GB 45438), with all its fields"
    else:
        if absent := [name for name in GB_45438 if name not in carried.aigc]:
            yield f"{lost}: fields of the {labels.AIGC} label: {', '.join(absent)}"
        if strange := sorted(set(carried.aigc) - set(GB_45438)):
            yield f"unknown fields in the {labels.AIGC} label: {', '.join(strange)}"
        if carried.aigc.get("Label", "1") not in ("1", "2", "3"):
            yield f"Label of {labels.AIGC} is neither 1 (generated), 2 (possibly) nor 3 (suspected)"
        for name, text in (expected.aigc or {}).items() if expected is not None else ():
            passed_on = name in PROPAGATION and not text
            if name in carried.aigc and carried.aigc[name] != text and not passed_on:
                yield f"changed: {name} of the {labels.AIGC} label is not the release's"
    if carried.marks is None:
        yield f"{lost}: the marks ({labels.MARKS}), the AI Act's machine-readable one ({SYNTHETIC!r}) among them"
        return
    due = expected.marks or () if expected is not None else ()
    if absent := [mark for mark in dict.fromkeys((*due, SYNTHETIC)) if mark not in carried.marks]:
        yield f"{lost}: the mark{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))}"


def _losses_of_records(carried: Carried, expected: Carried | None, lost: str) -> Iterator[str]:
    """The same of anonymized true records, which nobody may take for synthetic ones."""
    due = (expected.marks or ()) if expected is not None else (TRUE_RECORDS,)
    if carried.marks is None:
        yield f"{lost}: the marks ({labels.MARKS}), {TRUE_RECORDS!r} among them"
    elif absent := [mark for mark in due if mark not in carried.marks]:
        yield f"{lost}: the mark{'s' if len(absent) > 1 else ''} {', '.join(map(repr, absent))}"
    if claims_synthetic(carried) or carried.aigc is not None:
        yield "wrong: it says that the data are synthetic or generated; they are true records of real people"


def _merged(checked: Sequence[Checked], folder: Path) -> Iterator[Checked]:
    """One line for all images of a folder that carry the same."""
    groups: dict[tuple[Any, ...], list[Checked]] = {}
    for entry in checked:
        if Path(entry.carried.file).suffix.lower() in _PICTURES:
            aigc: Mapping[str, str] | None = entry.carried.aigc
            key = (None if aigc is None else tuple(sorted(aigc.items())), entry.carried.marks, entry.carried.provenance)
            groups.setdefault((*key, entry.problems), []).append(entry)
        else:
            yield entry
    inside = pictures.FOLDER if (folder / pictures.FOLDER).is_dir() else folder.name
    for alike in groups.values():
        if len(alike) == 1:
            yield alike[0]
            continue
        ending = Path(alike[0].carried.file).suffix.lower()
        yield replace(
            alike[0], carried=replace(alike[0].carried, file=f"{inside}/*{ending}"), note=f"{len(alike)} images"
        )


__all__ = ["SIDECAR", "Checked", "carried_in", "check", "read_labels"]
