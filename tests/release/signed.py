"""A house with keys, a policy that asks for signatures, and a release that waits for them."""

from __future__ import annotations

from pathlib import Path

from synthkit.privacy.ledger import Ledger
from synthkit.release.job import Job
from synthkit.release.sign import new_key
from tests.release.test_job import write
from tests.tables import frame

POLICY = """\
version: 1
name: house
roles: {steward: keeps the data, officer: signs, board: signs}
purposes: {research: }
datasets: {people: people}
rules:
  - name: releases
    allow: steward
    to: [plan, train, release]
    on: people
    for: research
    when: {epsilon: at most 1, method: private}
    require:
      signatures: [{at_least: 1, of: officer}, {at_least: 2, of: board}]
      attest: {study-is-registered: board}
"""
PEOPLE = {"dora": ("officer",), "eva": ("board",), "finn": ("board", "officer"), "house": ("log",)}


def house(folder: Path, *, approvals: str = "officer = 1\nboard = 2\n") -> Path:
    """Keys for everybody; returns the file of those that are trusted."""
    entries = [new_key(folder / f"{name}.key", name, roles) for name, roles in PEOPLE.items()]
    trust = folder / "keys.toml"
    trust.write_text("version = 1\n\n[approvals]\n" + approvals + "\n" + "\n".join(entries))
    return trust


def signed_job(folder: Path, name: str = "release") -> Job:
    """A release file under the policy, with the house's keys."""
    frame().to_csv(folder / "people.csv", index=False)
    (folder / "house.yaml").write_text(POLICY)
    under = {"policy": "house.yaml", "as": "steward", "for": "research", "trust": "keys.toml"}
    return Job.read(write(folder, **under, output=name, holdout=0))


def ledger_in(folder: Path) -> Ledger:
    return Ledger(folder / "ledger.sqlite")
