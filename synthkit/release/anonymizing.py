"""The other way of the data, for true records: ask, read, anonymize, hold, ask again, hand out.

There is no price: no mechanism runs, no session charges, and the ledger books nothing, for no epsilon would be true. What
leaves is decided by the policy's action ``anonymize`` alone, before the data are opened and before the folder is handed out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from synthkit.anonymize import pseudonyms
from synthkit.anonymize.free_text import Finder
from synthkit.anonymize.lattice import MAX_NODES
from synthkit.anonymize.models import Risk
from synthkit.anonymize.pseudonyms import Key
from synthkit.anonymize.recipe import Recipe
from synthkit.anonymize.route import anonymize
from synthkit.data import rules
from synthkit.data.encoding import check_columns, from_frame, to_frame
from synthkit.data.schema import Identifier, Schema
from synthkit.data.tables import FileSource, Source
from synthkit.errors import DataError, JobError, PolicyDenied
from synthkit.evidence import Evidence
from synthkit.policy.decide import Decision
from synthkit.policy.gate import Gate, Parcel, gate
from synthkit.privacy.ledger import Ledger
from synthkit.release import anonymized, permission, sign
from synthkit.release.anonymize_job import AnonymizeJob
from synthkit.release.anonymized import ACTION, Checked, asked
from synthkit.release.hand_out import held_for, leave
from synthkit.release.handling import Handling
from synthkit.release.verify_alone import MANIFEST


@dataclass(frozen=True)
class Plan:
    """What would be done, from public facts alone.

    Attributes:
        decision: the policy's first answer.
        roles: by column, what becomes of it, in words.
        models: what each class must meet, in words.
        nodes: how many combinations of levels there are.
        exact: False where a beam would search.
        key: which key would name, in words; None without pseudonyms.
        looked_for: kinds that would be looked for in free text.
    """

    decision: Decision
    roles: Mapping[str, str]
    models: tuple[str, ...]
    nodes: int
    exact: bool
    key: str | None
    looked_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class Handed:
    """A folder that was written.

    Attributes:
        folder: where it is.
        checked: what it says, counted again.
        gate: the policy's second decision.
        held: True where the gate waits for people.
    """

    folder: Path
    checked: Checked
    gate: Gate
    held: bool


def plan(job: AnonymizeJob, *, rotate: bool = False) -> Plan:
    """What :func:`run` would do. No data are opened, no key is drawn, nothing is written.

    Raises:
        PolicyDenied: the policy does not allow it.
        JobError: the output is taken, a key cannot be used, or what redacts free text is not installed.
    """
    decision = job.asker.may(ACTION, job.dataset)
    _refuse_taken(job)
    recipe = job.recipe
    finder = _finder(recipe)
    return Plan(
        decision=decision,
        roles={name: _role(name, recipe) for name in job.schema.columns},
        models=tuple(
            f"{model.name}{f' of {model.sensitive}' if model.sensitive else ''}: "
            + ", ".join(f"{key} {value}" for key, value in asked(model).items())
            for model in recipe.models
        ),
        nodes=recipe.nodes,
        exact=recipe.nodes <= MAX_NODES,
        key=None if recipe.pseudonyms is None else _which_key(recipe, rotate=rotate),
        looked_for=() if finder is None else finder.kinds,
    )


def run(job: AnonymizeJob, ledger: Ledger, *, rotate: bool = False) -> Handed:
    """Anonymize, write the folder, and hand it out where the policy lets it.

    Args:
        job: what to do.
        ledger: whose log tells what was handed out. Nothing is booked in it.
        rotate: draw a new key for the pseudonyms first.

    Returns:
        the folder; still ``held`` where nothing is missing but what people state.

    Raises:
        PolicyDenied: the policy refuses, before the data are opened or before anything leaves.
        JobError, DataError: what the file asks for cannot be had of these data; says what could.
    """
    decision = job.asker.may(ACTION, job.dataset)
    _refuse_taken(job)
    recipe = job.recipe
    finder = _finder(recipe)
    job.source.columns()  # a source that cannot be opened draws no key
    key = _key(recipe, rotate=rotate)
    frame = records(job.source, job.schema)
    population = None if recipe.limits.population is None else _everybody(recipe, job.schema)
    made = anonymize(frame, recipe, job.schema, key=key, finder=finder, population=population)
    checked = anonymized.write(
        held_for(job.output),
        made,
        recipe,
        job.schema,
        dataset=job.dataset,
        handling=job.handling,
        policy=permission.record(decision, job.asker),
        key=key,
        finder=finder,
    )
    return _hand_out(job, ledger, checked)


def resume(job: AnonymizeJob, ledger: Ledger) -> Handed:
    """Ask the gate about the folder that is held for ``job``, and hand it out where it opens. Opens no data.

    Raises:
        JobError: none is held, or its place is taken.
        VerificationFailed: what is held is not what was written.
        PolicyDenied: the gate is shut. The folder stays where it is held.
    """
    held = held_for(job.output)
    if not (held / MANIFEST).is_file():
        raise JobError(f"{held}: no folder is held there; 'synthkit anonymize' without --resume makes one")
    if os.path.lexists(job.output):
        raise JobError(f"{job.output} exists; move it away (nothing is overwritten)")
    return _hand_out(job, ledger, anonymized.check(held))


def _hand_out(job: AnonymizeJob, ledger: Ledger, checked: Checked) -> Handed:
    held = held_for(job.output)
    decided = _ask(job, held, checked)
    if not decided.allowed and not decided.waits_for_people:
        raise PolicyDenied(f"{decided}\nNothing left. The folder is kept in {held}")
    if not decided.allowed:
        return Handed(held, checked, decided, held=True)
    leave(held, job.output, decided, ledger, dataset=job.dataset)
    return Handed(job.output, checked, decided, held=False)


def records(source: Source, schema: Schema) -> pd.DataFrame:
    """All rows of ``source`` as the schema knows them; identifiers as they stand there.

    Constraints are not applied: a repaired row is no true record.

    Raises:
        DataError: the source cannot be read, or rows do not fit the schema; or persons have several rows each.
    """
    check_columns(source.columns(), schema, source=source.label)
    frame = pd.concat(list(source.batches()), ignore_index=True)
    return _canonical(rules.applied(frame, schema, source=source.label), schema, source.label)


def _canonical(frame: pd.DataFrame, schema: Schema, label: str) -> pd.DataFrame:
    plain = replace(schema, constraints=(), rules=())
    known = to_frame(from_frame(frame, plain, source=label), plain)
    columns = {
        name: frame[name] if isinstance(column, Identifier) else known[name] for name, column in schema.columns.items()
    }
    if schema.unit.column is not None:
        rows = int(frame[schema.unit.column].astype(str).duplicated(keep=False).sum())
        if rows:
            raise DataError(
                f"{label}: column {schema.unit.column}: {rows} rows are of persons who have several. k counts rows, and "
                "somebody with five of them would hide among himself; make one row of each person first"
            )
    return pd.DataFrame(columns)


def evidence(checked: Checked) -> Iterator[Evidence]:
    """The figures of a folder that a policy may ask about: those that anybody can count in it."""
    how = "counted in the records as they leave"
    for entry in checked.description["models"]:
        short = _SHORT[entry["name"]]
        on = "" if entry["sensitive"] is None else f".{entry['sensitive']}"
        yield Evidence(f"anonymity.{short}{on}", float(entry["attained"]), None, how, "free")
    texts = sum(column["role"] == "redacted" for column in checked.description["columns"])
    yield Evidence("anonymity.free_text", float(texts), None, "columns of free text that leave, redacted", "free")
    for attacker, risk in checked.measured.risks.items():
        if attacker != "prosecutor" and "population" in checked.description["attackers"]:
            continue  # these rest on a table that nobody else has
        figures = {"_highest": risk.highest, "_average": risk.average} if isinstance(risk, Risk) else {"": risk}
        for figure, value in figures.items():
            yield Evidence(f"risk.{attacker}{figure}", value, None, how, "free")


_SHORT = {
    "k-anonymity": "k",
    "(alpha, k)-anonymity": "alpha",
    "distinct l-diversity": "distinct_l",
    "entropy l-diversity": "entropy_l",
    "recursive (c, l)-diversity": "recursive_l",
    "t-closeness": "t_closeness",
    "delta-disclosure privacy": "delta_disclosure",
}


# Steps -----------------------------------------------------------------------------------------


def _refuse_taken(job: AnonymizeJob) -> None:
    for place in (job.output, held_for(job.output)):
        if os.path.lexists(place):
            raise JobError(f"{place} exists; move it away, or name another output (nothing is overwritten)")
    if not job.output.parent.is_dir():
        raise JobError(f"{job.output.parent}: no such folder; create it first")


def _finder(recipe: Recipe) -> Finder | None:
    return None if recipe.redaction is None else Finder(recipe.redaction, recipe.redaction.words())


def _key(recipe: Recipe, *, rotate: bool) -> Key | None:
    wanted = recipe.pseudonyms
    if wanted is None:
        if rotate:
            raise JobError("there is no key to rotate: the file asks for no pseudonyms")
        return None
    words = (wanted.keys, wanted.purpose, wanted.recipient)
    if wanted.version is not None:
        if rotate:
            raise JobError(
                f"pseudonyms.version names key {wanted.version}, and a new one is to be drawn; take one of them out"
            )
        return pseudonyms.earlier(*words, wanted.version)
    return pseudonyms.rotate(*words) if rotate else pseudonyms.current(*words)


def _which_key(recipe: Recipe, *, rotate: bool) -> str:
    wanted = recipe.pseudonyms
    assert wanted is not None
    found = pseudonyms.versions(wanted.keys, wanted.purpose, wanted.recipient)
    whose = f"of {wanted.purpose} for {wanted.recipient}"
    if wanted.version is None and (rotate or not found):
        return f"key {max(found, default=0) + 1} {whose}, which would be drawn"
    version = wanted.version or found[-1]
    pseudonyms.earlier(wanted.keys, wanted.purpose, wanted.recipient, version)  # whether it can be used
    return f"key {version} {whose}"


def _everybody(recipe: Recipe, schema: Schema) -> pd.DataFrame:
    """The quasi-identifiers of the population."""
    assert recipe.limits.population is not None
    source = FileSource(recipe.limits.population)
    names = list(recipe.generalizations)
    if missing := [name for name in names if name not in source.columns()]:
        raise DataError(
            f"{source.label}: column {', '.join(missing)} is not there; a population has all quasi-identifiers"
        )
    parts = [part[names] for part in source.batches()]
    known = {name: schema.columns[name] for name in names}
    frame = pd.concat(parts, ignore_index=True)
    if all(isinstance(column, Identifier) for column in known.values()):
        return frame
    return _canonical(frame, Schema(schema.name, known, schema.rows), source.label)


def _ask(job: AnonymizeJob, held: Path, checked: Checked) -> Gate:
    """The policy's second decision."""
    manifest = json.loads((held / MANIFEST).read_bytes())
    handling = Handling.from_dict(manifest["handling"])
    parcel = Parcel(
        bundle=checked.manifest_sha256,
        recipients=handling.recipients,
        labels=handling.labels,
        retention=handling.retention_days,
    )
    stated, verify = sign.for_the_gate(held, job.trust)
    first = permission.recorded(checked.policy)
    request = job.asker.request(ACTION, job.dataset)
    return gate(job.asker.applied.reread(), first, request, parcel, [*evidence(checked)], stated, verify=verify)


def _role(name: str, recipe: Recipe) -> str:
    coded = ""
    if name in recipe.coding:
        ends = dict(zip(("bottom", "top"), recipe.coding[name], strict=True))
        coded = f", coded ({', '.join(f'{end} {value:g}' for end, value in ends.items() if value is not None)})"
    if (one := recipe.generalizations.get(name)) is not None:
        low, high = recipe.between(name)
        held = "" if (low, high) == (0, one.height) else f" of 0 to {one.height}"
        return f"quasi-identifier, by {one.kind}, levels {low} to {high}{held}{coded}"
    if name in recipe.sensitive:
        return f"sensitive, kept{coded}"
    if recipe.pseudonyms and name in recipe.pseudonyms.columns:
        return "identifier, named anew"
    if name in recipe.microaggregated:
        return f"microaggregated, groups of {recipe.groups}{coded}"
    if recipe.redaction and name in recipe.redaction.columns:
        return "free text, redacted; otherwise kept as it is, unprotected"
    return "dropped" if name in recipe.dropped else f"kept as it is, unprotected{coded}"


__all__ = ["ACTION", "Handed", "Plan", "evidence", "plan", "records", "resume", "run"]
