"""The last step of a release: from the folder where it is held to where others may take it, if the gate opens.

A bundle is written into ``NAME.held``, readable by its owner alone. Signatures are about its bytes, so they can
only be given now. What the gate says is written beside the manifest (``gate.json``), and one rename hands out.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_accounting import DpEvent

from synthkit.documents import umask, write_atomically
from synthkit.errors import JobError, PolicyDenied
from synthkit.evidence import Evidence
from synthkit.policy.gate import Gate, Parcel, gate
from synthkit.privacy.ledger import Ledger
from synthkit.release import log, permission, sign
from synthkit.release.handling import Handling
from synthkit.release.job import Job
from synthkit.release.verify_alone import GATE, MANIFEST, manifest_digest


@dataclass(frozen=True)
class Release:
    """A bundle that was written.

    Attributes:
        folder: where it is.
        manifest: its manifest.
        epsilon: what was spent.
        evidence: its figures.
        internal: folder of exact figures beside it, or None.
        gate: the policy's second decision.
        held: True where the gate waits for people: the bundle is not handed out yet.
    """

    folder: Path
    manifest: Mapping[str, Any]
    epsilon: float
    evidence: tuple[Evidence, ...]
    internal: Path | None
    gate: Gate
    held: bool = False


def held_for(output: Path) -> Path:
    """Where a bundle is held until the gate opens."""
    return output.with_name(f"{output.name}.held")


def hand_out(job: Job, event: DpEvent, ledger: Ledger, *, internal: Path | None = None) -> Release:
    """Ask the gate about the bundle that is held for ``job``, and move it to its place where it opens.

    Args:
        job: as it was released; its policy is read again. The bundle was verified.
        event: everything that was priced.
        ledger: where it was booked.
        internal: the folder of exact figures, for the caller.

    Returns:
        the release; still ``held`` where nothing is missing but what people state.

    Raises:
        JobError: no bundle is held, or its place is taken.
        PolicyDenied: the gate is shut. The bundle stays where it is held.
    """
    held = held_for(job.output)
    if not (held / MANIFEST).is_file():
        raise JobError(f"{held}: no bundle is held there; 'synthkit release' without --resume makes one")
    if os.path.lexists(job.output):
        raise JobError(f"{job.output} exists; move it away (a release is never overwritten)")
    manifest = json.loads((held / MANIFEST).read_bytes())
    if "policy" not in manifest:
        raise JobError(f"{held}: its manifest tells of no policy; it was not made by a release")
    decided = _ask(job, event, ledger, held, manifest)
    evidence = tuple(figures(manifest))
    if not decided.allowed and not decided.waits_for_people:
        raise PolicyDenied(f"{decided}\nNothing left. The bundle is kept in {held}, and what it cost stays spent")
    folder = held
    if decided.allowed:
        leave(held, job.output, decided, ledger, dataset=job.dataset)
        folder = job.output
    epsilon = manifest["guarantee"]["epsilon"]
    spent = math.inf if epsilon is None else epsilon
    return Release(folder, manifest, spent, evidence, internal, decided, held=not decided.allowed)


def leave(held: Path, output: Path, opened: Gate, ledger: Ledger, *, dataset: str) -> None:
    """Take what is held to its place, after a gate that has opened: its result beside the manifest, and into the log."""
    document = {"bundle": manifest_digest(held), **opened.to_dict()}
    write_atomically(held / GATE, json.dumps(document, indent=2) + "\n")
    log.enter(ledger, held, dataset=dataset)
    try:
        held.rename(output)
    except OSError as problem:
        raise JobError(
            f"{output}: cannot be put in place: {problem.strerror}. It is kept in {held}; make room, then use --resume"
        ) from None
    output.chmod(0o777 & ~umask())


def _ask(job: Job, event: DpEvent, ledger: Ledger, held: Path, manifest: Mapping[str, Any]) -> Gate:
    """The policy's second decision, at the total that now stands."""
    spent = ledger.spent(job.dataset)
    handling = Handling.from_dict(manifest["handling"])
    parcel = Parcel(
        bundle=manifest_digest(held),
        attempts=max(1, permission.attempts(job.asker, spent)),
        recipients=handling.recipients,
        labels=handling.marks,
        retention=handling.retention_days,
    )
    asked = permission.request(job, event, "release", total=spent.epsilon, unreviewed=True)
    stated, verify = sign.for_the_gate(held, job.trust)
    first = permission.recorded(manifest["policy"])
    return gate(job.asker.applied.reread(), first, asked, parcel, figures(manifest), stated, verify=verify)


def figures(manifest: Mapping[str, Any]) -> list[Evidence]:
    """The figures of a manifest, as they were before JSON, which has no number for what cannot be computed."""
    return [
        Evidence(
            name=entry["name"],
            value=math.nan if entry["value"] is None else entry["value"],
            interval=_ends(entry["interval"]),
            how=entry["how"],
            payment=entry["payment"],
        )
        for entry in manifest["evidence"]
    ]


def _ends(interval: Sequence[float | None] | None) -> tuple[float, float] | None:
    """An interval's ends; what has no number is unbounded on that side."""
    if interval is None:
        return None
    low, high = interval
    return (-math.inf if low is None else low, math.inf if high is None else high)


__all__ = ["Release", "figures", "hand_out", "held_for", "leave"]
