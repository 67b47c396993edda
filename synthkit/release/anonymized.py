"""A folder of anonymized true records: how it is written, and how anybody checks it from itself alone.

    data.csv, data.parquet   the records, twice
    description.json         what was done, what was counted in the records as they leave
    label.json               the mark for machines: true records, anonymized
    manifest.json            the digests of all these, the policy that let them leave; what signatures are about

It is a release without a guarantee of differential privacy: neither file has an epsilon, and none says synthetic.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from synthkit import __version__
from synthkit.anonymize import free_text
from synthkit.anonymize.free_text import Finder, Redaction
from synthkit.anonymize.models import MODELS, KAnonymity, Model, Risk
from synthkit.anonymize.pseudonyms import Key
from synthkit.anonymize.recipe import Limits, Order, Recipe
from synthkit.anonymize.route import Anonymized, Measured, measured
from synthkit.data.schema import Schema
from synthkit.data.tables import write_csv, write_parquet
from synthkit.documents import canonical_json, completing, validate
from synthkit.errors import DataError, InputError, JobError, VerificationFailed
from synthkit.policy.packs.checks import TRUE_RECORDS
from synthkit.release import verify_alone
from synthkit.release.handling import Handling
from synthkit.release.labels import MARKS
from synthkit.release.verify_alone import MANIFEST, Doubt

ACTION = "anonymize"  # the policy's word
KIND = TRUE_RECORDS  # the mark that every such folder carries
STATEMENT = (
    "These are true records of real people: generalized, suppressed, named anew. They are not synthetic, no noise was "
    "added, and no differential privacy guarantee applies to them. What is stated holds against somebody who knows no more "
    "of a person than the quasi-identifiers."
)
CSV, PARQUET = "data.csv", "data.parquet"
DESCRIPTION, LABEL = "description.json", "label.json"
_FORMAT = 1
_PSEUDONYM = r"[0-9a-f]{32}"
_SLACK = 1e-9


@dataclass(frozen=True)
class Checked:
    """What a folder says, found to be true.

    Attributes:
        description: its description.
        manifest_sha256: what signatures are about.
        measured: what was counted in it.
        policy: which policy let it leave.
        seals: what stands beside the manifest, in words.
    """

    description: Mapping[str, Any]
    manifest_sha256: str
    measured: Measured
    policy: Mapping[str, Any]
    seals: tuple[str, ...] = ()


def is_one(folder: Path) -> bool:
    """Whether a folder says that it holds anonymized true records. It is not checked."""
    try:
        return bool(json.loads((folder / MANIFEST).read_bytes())["kind"] == KIND)
    except (OSError, ValueError, KeyError, TypeError):
        return False


# Writing ---------------------------------------------------------------------------------------


def write(
    folder: Path,
    made: Anonymized,
    recipe: Recipe,
    schema: Schema,
    *,
    dataset: str,
    handling: Handling,
    policy: Mapping[str, Any],
    key: Key | None,
    finder: Finder | None = None,
) -> Checked:
    """Write the folder, for its owner alone; whole, counted and checked, or not at all. Returns what it says.

    Args:
        folder: must not exist.
        made: the records.
        recipe: how they were made.
        schema: of the source.
        dataset: the ledger's name for it.
        handling: how it is to be handled.
        policy: the record of the decision.
        key: of pseudonyms, or None.
        finder: of what free text may not hold, or None.

    Raises:
        JobError: the records do not meet what the recipe asks for as they leave.
        VerificationFailed: what was written does not check (a defect of synthkit).
    """
    marks = [KIND, *handling.labels]
    with completing(folder, mode=0o700) as partial:
        write_parquet(made.frame, partial / PARQUET, metadata={MARKS.encode(): canonical_json(marks).encode()})
        frame = _read(partial)
        write_csv(frame, partial / CSV)
        counted = measured(frame, recipe.quasi, recipe.models, recipe.limits, _orders(recipe), made.population)
        _refuse_unmet(counted, recipe)
        if finder and recipe.redaction and recipe.redaction.listed:  # here alone: the folder does not have the words
            _check_text(frame, recipe.redaction.columns, finder)
        description = _description(made, counted, recipe, schema, dataset, key)
        description["columns"] = [_with_text(told, frame, recipe, finder) for told in description["columns"]]
        description["files"] = {name: verify_alone.digest_of(partial / name) for name in (CSV, PARQUET)}
        _put(partial / DESCRIPTION, description)
        _put(partial / LABEL, {"labels": marks, "kind": KIND, "synthetic": False})
        manifest: dict[str, Any] = {
            "format_version": _FORMAT,
            "kind": KIND,
            "synthkit": __version__,
            "dataset": dataset,
            "created": verify_alone.write_time(datetime.now(UTC)),
            "guarantee": {"statement": STATEMENT},
            "handling": {**handling.to_dict(), "labels": marks},
            "policy": dict(policy),
            "files": {
                name: {"sha256": verify_alone.digest_of(partial / name), "bytes": (partial / name).stat().st_size}
                for name in (CSV, PARQUET, DESCRIPTION, LABEL)
            },
        }
        (partial / MANIFEST).write_text(_sealed(manifest), encoding="utf-8")
        return check(partial)


def _put(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _sealed(manifest: Mapping[str, Any]) -> str:
    """A manifest with a digest of itself, in the form in which manifests are written."""

    def text(document: Mapping[str, Any]) -> str:
        return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"

    return text({**manifest, "manifest_sha256": hashlib.sha256(text(manifest).encode()).hexdigest()})


def _read(folder: Path) -> pd.DataFrame:
    """The records as whoever gets the folder reads them."""
    import pyarrow as pa

    try:
        return pd.read_parquet(folder / PARQUET, dtype_backend="numpy_nullable")
    except pa.ArrowException:
        pass
    raise Doubt(f"{PARQUET} is damaged")


def _orders(recipe: Recipe) -> dict[str, Order]:
    return {name: one.order for name, one in recipe.sensitive.items()}


def _refuse_unmet(counted: Measured, recipe: Recipe) -> None:
    if counted.failing:
        told = ", ".join(
            f"{model.name} of {model.sensitive}" if model.sensitive else model.name for model in counted.failing
        )
        raise JobError(f"the records do not meet {told} as they would leave; nothing was written")
    if counted.over:
        raise JobError(
            f"{'; '.join(counted.over)}, as the records would leave. Raise k (now {recipe.k}), groups of microaggregation, or the limit; nothing was written"
        )


def _description(
    made: Anonymized, counted: Measured, recipe: Recipe, schema: Schema, dataset: str, key: Key | None
) -> dict[str, Any]:
    return {
        "version": 1,
        "kind": KIND,
        "statement": STATEMENT,
        "dataset": dataset,
        "records": {
            "read": made.records,
            "suppressed": made.suppressed,
            "released": len(made.frame),
            "classes": counted.classes,
            "suppression_limit": recipe.suppression,
        },
        "columns": [_column(name, made, recipe, schema, key) for name in schema.columns],
        "models": [
            {"name": model.name, "sensitive": model.sensitive, "asked": asked(model), "attained": figure}
            for model, figure in zip(recipe.models, counted.attained, strict=True)
        ],
        "attackers": _attackers(counted, recipe.limits),
        "loss": {
            "model": recipe.loss,
            "value": made.loss,
            "optimal": made.optimal,
            "nodes": made.nodes,
            "counted": made.counted,
        },
    }


def _with_text(told: dict[str, Any], frame: pd.DataFrame, recipe: Recipe, finder: Finder | None) -> dict[str, Any]:
    """What is told of a column, and of free text how it was searched, and which marks stand in it."""
    if not (recipe.redaction and finder and told["name"] in recipe.redaction.columns):
        return told
    searched = {
        "statement": free_text.STATEMENT,
        **recipe.redaction.to_dict(),
        "looked_for": list(finder.kinds),
        "versions": finder.versions,
        "marks": free_text.counted(frame[told["name"]], finder.kinds),
    }
    return {**told, "role": "redacted", "redaction": searched}


def asked(model: Model) -> dict[str, Any]:
    """A model's settings, its column aside."""
    settings = fields(model)  # type: ignore[arg-type]  # all models are dataclasses
    return {setting.name: getattr(model, setting.name) for setting in settings if setting.name != "sensitive"}


def _column(name: str, made: Anonymized, recipe: Recipe, schema: Schema, key: Key | None) -> dict[str, Any]:
    told: dict[str, Any] = {"name": name}
    if name in schema.holds:
        told["holds"] = schema.holds[name]
    if (one := recipe.generalizations.get(name)) is not None:
        told |= {"role": "quasi-identifier", "level": made.levels[name], "height": one.height}
        told["hierarchy"] = {one.kind: one.settings}
        if name in recipe.levels:
            told["levels"] = dict(zip(("from", "to"), recipe.levels[name], strict=True))
    elif name in recipe.sensitive:
        told["role"] = "sensitive"
        if (order := recipe.sensitive[name].order) is not None:
            told["order"] = list(order)
    elif recipe.pseudonyms and key and name in recipe.pseudonyms.columns:
        told["role"] = "pseudonym"
        told["key"] = {
            "method": "HMAC-SHA-256",
            "purpose": key.purpose,
            "recipient": key.recipient,
            "version": key.version,
            "fingerprint": key.fingerprint,
        }
    elif name in recipe.microaggregated:
        told |= {"role": "microaggregated", "groups": recipe.groups}
    else:
        told["role"] = "dropped" if name in recipe.dropped else "kept"
    if name in recipe.coding:
        told["coding"] = dict(zip(("bottom", "top"), recipe.coding[name], strict=True))
    return told


def _attackers(counted: Measured, limits: Limits) -> dict[str, Any]:
    told: dict[str, Any] = {"threshold": limits.threshold}
    for attacker in ("prosecutor", "journalist"):
        risk = counted.risks[attacker]
        assert isinstance(risk, Risk)
        told[attacker] = {
            **vars(risk),
            "limits": {figure: getattr(limits, f"{attacker}_{figure}") for figure in ("highest", "average")},
        }
    told["marketer"] = {"success": counted.risks["marketer"], "limit": limits.marketer}
    if limits.population:
        told["population"] = limits.population.name
    return told


# Checking --------------------------------------------------------------------------------------


def check(folder: Path) -> Checked:
    """Check everything that a folder says of itself, from itself alone.

    Checked are: every digest, and that no other file is there; that the two data files hold the same; that every class of
    records, counted in the data, meets every model that is stated, at the figure that is stated, and keeps the limits of
    risk; that names are pseudonyms; that nothing of what is stated to be looked for is found in redacted text, which needs
    presidio; the labels. Not checked, because the records alone cannot prove it: that the columns
    that are stated as quasi-identifiers are all that somebody may know, how many records were left out, what was
    counted in a population, and that listed words are not in the text.

    Args:
        folder: the folder.

    Raises:
        VerificationFailed: on any doubt; the message says which.
    """
    try:
        manifest = verify_alone.check_files(folder)
        if (manifest.get("kind"), manifest.get("format_version")) != (KIND, _FORMAT):
            raise Doubt(f"{MANIFEST} does not say that these are {KIND}, of format {_FORMAT}")
        if set(manifest["files"]) != {CSV, PARQUET, DESCRIPTION, LABEL}:
            raise Doubt(f"the files are not {CSV}, {PARQUET}, {DESCRIPTION} and {LABEL}")
        _check_manifest(folder, manifest)
        description = _described(folder, manifest)
        frame = _read(folder)
        _check_table(folder, frame, description)
        _check_labels(folder, manifest)
        _check_redaction(frame, description)
        counted = _recount(frame, description)
        policy = manifest["policy"]
    except Doubt as problem:
        _doubt(folder, str(problem))
    except InputError as problem:
        _doubt(folder, f"cannot be counted: {problem}")
    except (KeyError, TypeError, ValueError, AttributeError):
        _doubt(folder, "its manifest or description is damaged")
    except OSError as problem:
        _doubt(folder, f"cannot be read: {problem.strerror or problem}")
    return Checked(description, verify_alone.manifest_digest(folder), counted, policy)


def _doubt(folder: Path, problem: str) -> NoReturn:
    raise VerificationFailed(f"{folder}: {problem}") from None


def _check_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Sizes, the time, and that the policy decided about these records, and about letting them leave as such."""
    for name, entry in manifest["files"].items():
        if entry["bytes"] != (folder / name).stat().st_size:
            raise Doubt(f"{name} is not of the size that {MANIFEST} states")
    verify_alone.read_time(manifest["created"])
    request = manifest["policy"]["request"]
    if (request["action"], request["dataset"]) != (ACTION, manifest["dataset"]):
        raise Doubt(f"the policy decided about something else than to {ACTION} {manifest['dataset']}")
    if (request["role"], request["purpose"]) != (manifest["policy"]["as"], manifest["policy"]["for"]):
        raise Doubt(f"{MANIFEST} states another role or purpose than the policy was asked about")


def _described(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    description: dict[str, Any] = json.loads((folder / DESCRIPTION).read_bytes())
    validate(description, "release/description.v1.json", source=DESCRIPTION, error=DataError)
    if (description["statement"], manifest["guarantee"]) != (STATEMENT, {"statement": STATEMENT}):
        raise Doubt("it does not state that these are true records, without a guarantee of differential privacy")
    if description["dataset"] != manifest["dataset"]:
        raise Doubt(f"{DESCRIPTION} is about another dataset")
    if description["files"] != {name: manifest["files"][name]["sha256"] for name in (CSV, PARQUET)}:
        raise Doubt(f"{DESCRIPTION} is about other data")
    return description


def _check_table(folder: Path, frame: pd.DataFrame, description: Mapping[str, Any]) -> None:
    columns = {column["name"]: column for column in description["columns"]}
    if len(columns) < len(description["columns"]):
        raise Doubt(f"{DESCRIPTION} names a column twice")
    if list(frame.columns) != [name for name, column in columns.items() if column["role"] != "dropped"]:
        raise Doubt(f"the columns of {PARQUET} are not those that {DESCRIPTION} names")
    records = description["records"]
    if len(frame) != records["released"] or records["read"] - records["suppressed"] != records["released"]:
        raise Doubt(f"{PARQUET} holds {len(frame)} records, and {DESCRIPTION} counts otherwise")
    if records["suppressed"] > records["suppression_limit"] * records["read"] + _SLACK:
        raise Doubt("more records were left out than the limit allows")
    for name, column in columns.items():
        held = column.get("levels", {"from": 0, "to": column.get("height", 0)})
        if not held["from"] <= column.get("level", 0) <= held["to"] <= column.get("height", 0):
            raise Doubt(f"column {name!r} is said to be at a level that it may not have")
        if column["role"] == "pseudonym":
            named = frame[name].dropna().astype(str)
            if not named.str.fullmatch(_PSEUDONYM).all():
                raise Doubt(f"column {name!r} holds something else than pseudonyms")
        if "coding" in column and name in frame and pd.api.types.is_numeric_dtype(frame[name]):
            bottom, top = column["coding"]["bottom"], column["coding"]["top"]
            known = frame[name].dropna()
            if (bottom is not None and (known < bottom).any()) or (top is not None and (known > top).any()):
                raise Doubt(f"column {name!r} holds values beyond its coding")
    with tempfile.TemporaryDirectory() as scratch:
        write_csv(frame, Path(scratch) / CSV)
        if (Path(scratch) / CSV).read_bytes() != (folder / CSV).read_bytes():
            raise Doubt(f"{CSV} does not hold what {PARQUET} holds")


def _check_redaction(frame: pd.DataFrame, description: Mapping[str, Any]) -> None:
    """Search redacted text again, as the description says that it was searched."""
    for column in description["columns"]:
        if (column["role"] == "redacted") != ("redaction" in column):
            raise Doubt(f"{DESCRIPTION} does not say how column {column['name']!r} was searched")
        if column["role"] != "redacted":
            continue
        told = column["redaction"]
        if told["statement"] != free_text.STATEMENT:
            raise Doubt("it does not state that redacted text comes without a guarantee")
        settings = {
            key: told[key] for key in ("countries", "phones", "dates", "language", "patterns", "certainty", "replace")
        }
        settings |= {} if told["model"] is None else {"model": told["model"]}
        finder = Finder(Redaction.from_dict({"columns": [column["name"]], **settings}, Path()))
        unlisted = [kind for kind in told["looked_for"] if kind != free_text.LISTED]
        if (free_text.LISTED in told["looked_for"]) != told["listed"] or set(unlisted) - set(finder.kinds):
            raise Doubt(f"column {column['name']!r}: {DESCRIPTION} states that more was looked for than can be checked")
        try:
            _check_text(frame, (column["name"],), finder)
        except JobError as problem:
            others = {
                name: version for name, version in told["versions"].items() if finder.versions.get(name) != version
            }
            with_ = f" (searched with other versions than when it was written: {', '.join(others)})" if others else ""
            raise Doubt(f"{problem}{with_}") from None
        if free_text.counted(frame[column["name"]], told["looked_for"]) != told["marks"]:
            raise Doubt(f"column {column['name']!r} holds other marks than {DESCRIPTION} counts")


def _check_text(frame: pd.DataFrame, columns: Sequence[str], finder: Finder) -> None:
    for name in columns:
        if rows := free_text.unredacted(frame[name], finder):
            raise JobError(f"column {name!r}: something that was looked for is found in {rows} redacted texts")


def _check_labels(folder: Path, manifest: Mapping[str, Any]) -> None:
    import pyarrow.parquet as pq

    marks = manifest["handling"]["labels"]
    carried = pq.read_metadata(folder / PARQUET).metadata or {}
    label = json.loads((folder / LABEL).read_bytes())
    if marks[:1] != [KIND] or any("synthetic" in mark.casefold() for mark in marks):
        raise Doubt(f"{MANIFEST} does not label them as {KIND}")
    if carried.get(MARKS.encode()) != canonical_json(marks).encode() or label != {
        "labels": marks,
        "kind": KIND,
        "synthetic": False,
    }:
        raise Doubt(f"{PARQUET} or {LABEL} does not carry the label of {MANIFEST}")


def _recount(frame: pd.DataFrame, description: Mapping[str, Any]) -> Measured:
    """Count again, and hold it against every figure that is stated."""
    columns = description["columns"]
    quasi = tuple(column["name"] for column in columns if column["role"] in ("quasi-identifier", "microaggregated"))
    orders = {column["name"]: tuple(column["order"]) for column in columns if "order" in column}
    models = tuple(_model(entry) for entry in description["models"])
    least = max((column.get("groups", 1) for column in columns), default=1)
    protected = {column["name"] for column in columns if column["role"] == "sensitive"}
    if not quasi or not any(isinstance(model, KAnonymity) for model in models):
        raise Doubt("no quasi-identifier, or no k, is stated")
    if protected != {model.sensitive for model in models if model.sensitive is not None}:
        raise Doubt("the models are about other columns than those that are stated as sensitive")
    attackers = description["attackers"]
    limits = _stated_limits(attackers)
    counted = measured(frame, quasi, models, limits, orders)
    if counted.failing:
        raise Doubt(f"a class of records does not meet {counted.failing[0].name}, counted in the data")
    size = KAnonymity(k=least)
    if not measured(frame, quasi, (size,), Limits()).failing == ():
        raise Doubt("a microaggregated value is of fewer records than is stated")
    for entry, attained in zip(description["models"], counted.attained, strict=True):
        _same(f"{entry['name']}, as attained", entry["attained"], attained)
    if counted.classes != description["records"]["classes"]:
        raise Doubt(
            f"{DESCRIPTION} counts {description['records']['classes']} classes; the data hold {counted.classes}"
        )
    known = ("prosecutor",) if "population" in attackers else ("prosecutor", "journalist")
    for attacker in known:
        for figure in ("highest", "average", "above"):
            _same(f"{attacker}'s {figure} risk", attackers[attacker][figure], getattr(counted.risks[attacker], figure))
    if "population" not in attackers:
        _same("marketer's success", attackers["marketer"]["success"], counted.risks["marketer"])
    over = [told for told in counted.over if "population" not in attackers or told.startswith("prosecutor")]
    if over:
        raise Doubt(f"{over[0]}, counted in the data")
    return counted


def _model(entry: Mapping[str, Any]) -> Model:
    if entry["name"] not in MODELS:
        raise Doubt(f"the model {entry['name']!r} is not known to this version")
    on = {} if entry["sensitive"] is None else {"sensitive": entry["sensitive"]}
    return MODELS[entry["name"]](**entry["asked"], **on)


def _stated_limits(attackers: Mapping[str, Any]) -> Limits:
    return Limits(
        threshold=attackers["threshold"],
        **{
            f"{attacker}_{figure}": attackers[attacker]["limits"][figure]
            for attacker in ("prosecutor", "journalist")
            for figure in ("highest", "average")
        },
        marketer=attackers["marketer"]["limit"],
    )


def _same(what: str, stated: float, found: Any) -> None:
    if not abs(stated - found) <= _SLACK * max(1.0, abs(found)):
        raise Doubt(f"{what}: stated is {stated:.6g}, counted in the data {found:.6g}")


__all__ = [
    "ACTION",
    "CSV",
    "DESCRIPTION",
    "KIND",
    "LABEL",
    "PARQUET",
    "STATEMENT",
    "Checked",
    "asked",
    "check",
    "is_one",
    "write",
]
