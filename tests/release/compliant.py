"""A release that meets every requirement of every pack, and forged copies of it that a careless house might have made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from synthkit.data.schema import Boolean, Categorical, Column, Continuous, Identifier, Integer, Schema, Unit
from synthkit.evidence import Evidence
from synthkit.policy.packs.document import NAMES, Pack
from synthkit.policy.packs.dossier import What
from synthkit.privacy import events
from synthkit.privacy.budget import Adjacency, Budget
from synthkit.privacy.ledger import Ledger
from synthkit.privacy.plan import Charge
from synthkit.release import bundle, log, sign, verify_alone
from synthkit.release.handling import Handling
from synthkit.release.job import Job
from synthkit.release.run import resume, run
from synthkit.release.sign import new_key

ROWS = 300
COLUMNS: dict[str, Column] = {
    "person": Identifier(),
    "age": Integer(min=0, max=89, bins=5, unknown="clamp"),
    "region": Categorical(categories=("Ohio", "Utah", "Iowa")),
    "area": Categorical(categories=("432", "841", "000")),
    "income": Continuous(min=0, max=1000, decimals=1, bins=4, unknown="clamp"),
    "smoker": Boolean(),
    "diagnosis": Categorical(categories=("I10", "E11", "J45")),
}
HOLDS = {"person": "other-identifier", "age": "age", "region": "state", "area": "zip3", "income": "quasi",
         "diagnosis": "sensitive"}  # fmt: skip
SCHEMA = Schema("visits", COLUMNS, ROWS, Unit("person", 2), reviewed=True, holds=HOLDS)
POLICY = """\
version: 1
name: house
roles: {steward: keeps the data, data-protection-officer: signs}
purposes: {research: }
datasets: {visits: visits}
rules:
  - name: releases
    allow: steward
    to: [plan, train, release]
    on: visits
    for: research
    when: {epsilon: at most 2, method: private}
    require:
      signatures: [{at_least: 1, of: data-protection-officer}]
"""
PEOPLE = {
    "dora": ("data-protection-officer", "privacy-officer", "methodologist"),
    "emil": ("statistical-expert",),
    "carl": ("compliance-officer", "personal-information-officer"),
    "ada": ("disclosure-review-board",),
    "ben": ("disclosure-review-board",),
    "house": ("log",),
}
UNKNOWN = {"re-identification-study"}  # what a machine does not know, even of a release that meets everything
HANDLING = {"producer": "Clinic of Xanten", "retention_days": 365, "recipients": ["registry"]}


def frame() -> pd.DataFrame:
    """Made-up visits."""
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "person": rng.integers(0, 200, ROWS),
            "age": rng.integers(0, 90, ROWS),
            "region": rng.choice(["Ohio", "Utah", "Iowa"], ROWS),
            "area": rng.choice(["432", "841", "000"], ROWS),
            "income": np.round(rng.gamma(2, 100, ROWS).clip(0, 1000), 1),
            "smoker": rng.random(ROWS) < 0.3,
            "diagnosis": rng.choice(["I10", "E11", "J45"], ROWS),
        }
    )


def keys(folder: Path) -> Path:
    """A key for everybody, and the file of those that are trusted."""
    entries = [new_key(folder / f"{name}.key", name, roles) for name, roles in PEOPLE.items()]
    trust = folder / "keys.toml"
    trust.write_text("version = 1\n\n[approvals]\ndata-protection-officer = 1\n\n" + "\n".join(entries))
    return trust


def statements(what: What = "table") -> list[tuple[str, str, str]]:
    """Who must state what so that no requirement is left open, by person, role and statement."""
    beyond = UNKNOWN if what == "table" else {*UNKNOWN, "other-identifiers"}  # pseudonyms, of true records
    needed: dict[tuple[str, str, str], None] = {}
    for name in NAMES:
        for rule in Pack.packaged(name).rules:
            if rule.human is None or what not in rule.applies:
                continue
            if rule.human.when == "unknown" and rule.name not in beyond:
                continue  # a machine knows
            role = rule.human.roles[0]
            people = [who for who, roles in PEOPLE.items() if role in roles]
            needed |= dict.fromkeys((who, role, rule.human.states) for who in people[: rule.human.at_least])
    return list(needed)


def state(
    folder: Path,
    place: Path,
    only: Callable[[str], bool] = lambda statement: True,
    what: What = "table",
    **options: Any,
) -> None:
    """Let everybody state what is asked of them, about a release."""
    for who, role, statement in statements(what):
        if only(statement):
            sign.attest(folder, sign.read_key(place / f"{who}.key"), role, statement, **options)


def clean(place: Path) -> Path:
    """The release, handed out and logged; the keys lie beside it."""
    keys(place)
    (place / "house.yaml").write_text(POLICY)
    frame().to_csv(place / "visits.csv", index=False)
    (place / "schema.yaml").write_text(yaml.safe_dump(SCHEMA.to_dict(), sort_keys=False))
    file = place / "release.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "version": 1,
                "dataset": "visits",
                "data": {"path": "visits.csv"},
                "schema": "schema.yaml",
                "budget": {"epsilon": 1.0, "delta": 1e-6},
                "method": {"name": "independent"},
                "rows": 200,
                "holdout": 0.2,
                "policy": "house.yaml",
                "as": "steward",
                "for": "research",
                "trust": "keys.toml",
                "handling": HANDLING,
                "output": "release",
            }
        )
    )
    job, ledger = Job.read(file), Ledger(place / "ledger.sqlite")
    held = run(job, ledger)
    state(held.folder, place)
    resume(job, ledger)
    return place / "release"


# Forging ---------------------------------------------------------------------------------------


def facts_of(manifest: Mapping[str, Any]) -> bundle.Facts:
    """What a bundle was written from."""
    asked = manifest["budget"]
    return bundle.Facts(
        dataset=manifest["dataset"],
        schema=Schema.from_dict(manifest["schema"]),
        budget=Budget(asked["epsilon"], asked["delta"], Adjacency(asked["adjacency"]), Unit(**asked["unit"])),
        parts=tuple(
            bundle.Part(
                part["name"],
                part["weight"],
                tuple(_charge(entry) for entry in part["charges"] for _ in range(entry["count"])),
            )
            for part in manifest["parts"]
        ),
        method=manifest["method"]["name"],
        settings=manifest["method"]["settings"],
        rows=manifest["rows"],
        evidence=tuple(
            Evidence(
                e["name"], e["value"], None if e["interval"] is None else tuple(e["interval"]), e["how"], e["payment"]
            )
            for e in manifest["evidence"]
        ),
        randomness=manifest["randomness"]["description"],
        seeded=manifest["randomness"]["seeded"],
        not_covered=tuple(manifest["not_covered"]),
        unreviewed_allowed=True,
        handling=Handling.from_dict(manifest["handling"]),
        policy=manifest.get("policy"),
    )


def _charge(entry: Mapping[str, Any]) -> Charge:
    rest = {name: value for name, value in entry.items() if name not in ("count", "event")}
    return Charge(event=events.from_json(entry["event"]), **rest)


def rewritten(
    original: Path, folder: Path, change: Callable[[bundle.Facts], bundle.Facts] = lambda facts: facts, **columns: Any
) -> Path:
    """A bundle as synthkit would have written it, of other facts, with other columns in its table.

    Args:
        columns: by name, the column of the schema, what it holds (or None) and its values.
    """
    facts = facts_of(json.loads((original / "manifest.json").read_bytes()))
    table = pd.read_parquet(original / "data.parquet")
    schema = facts.schema
    assert isinstance(schema, Schema)
    holds = dict(schema.holds)
    for name, (column, held, values) in columns.items():
        schema = replace(schema, columns={**schema.columns, name: column})
        table[name] = (list(values) * len(table))[: len(table)]
        holds.pop(name, None)
        if held is not None:
            holds[name] = held
    bundle.write(folder, change(replace(facts, schema=replace(schema, holds=holds))), table, figures=())
    return folder


def sealed(folder: Path, place: Path, **options: Any) -> Path:
    """Let everybody state what they must about a bundle that was rewritten; hand it out with a gate and an entry in the log."""
    state(folder, place, **options)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    if "policy" in manifest:
        digest = verify_alone.manifest_digest(folder)
        gate = {"allowed": True, "bundle": digest, "decision": {"policy": {"sha256": manifest["policy"]["sha256"]}}}
        (folder / verify_alone.GATE).write_text(json.dumps(gate))
        log.enter(Ledger(place / "ledger.sqlite"), folder, dataset="visits")
    return folder


def copied(original: Path, folder: Path) -> Path:
    """A copy."""
    return shutil.copytree(original, folder)


def late() -> datetime:
    """After every statement has expired."""
    return datetime.now(UTC) + timedelta(days=400)
