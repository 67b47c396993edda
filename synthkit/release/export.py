"""Export: a copy of a bundle leaves the house for somebody, by a decision that is made now.

A release was decided when it was made. Since then its policy may have changed, signatures may have expired, its time
may be over, and more may have been spent on its dataset. So what is copied is verified, the policy of today is asked
as for a first time (action ``export``), and the gate decides again, about this recipient. The log says to whom it went.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from synthkit.data import vault
from synthkit.documents import umask, write_atomically
from synthkit.errors import JobError, Refused, VerificationFailed
from synthkit.policy.decide import Decision, decide
from synthkit.policy.gate import Gate, Parcel, gate
from synthkit.policy.names import trouble
from synthkit.policy.request import Request
from synthkit.privacy.ledger import Ledger, Spent
from synthkit.release import log, permission, seals, sign
from synthkit.release.anonymized import is_one
from synthkit.release.hand_out import figures
from synthkit.release.handling import Handling
from synthkit.release.permission import Asker
from synthkit.release.verify_alone import MANIFEST, manifest_digest, read_time, write_time
from synthkit.synthesizers.locked import lock_folder

RECEIPT = ".export.json"


@dataclass(frozen=True)
class Exported:
    """A copy that left.

    Attributes:
        path: the folder, or the encrypted file.
        receipt: the gate's result, for the house; the log holds its digest.
        gate: what was decided.
        place: where the export stands in the log, in words.
    """

    path: Path
    receipt: Path
    gate: Gate
    place: str


def export(
    bundle: str | Path,
    *,
    to: str,
    destination: str | Path,
    ledger: Ledger,
    asker: Asker = Asker(),
    trust: str | Path | None = None,
    readers: Sequence[str] = (),
    now: datetime | None = None,
) -> Exported:
    """Hand a copy of a bundle to somebody, if it may still leave.

    Args:
        bundle: a bundle that was handed out by a release; a model leaves inside of it, or not at all.
        to: the recipient, as the policy and the release name them.
        destination: the folder to write; with ``readers`` the file, to which ``.age`` is added where it is missing.
        ledger: where the dataset's cost is booked, and whose log the bundle stands in.
        asker: who asks, under the policy as it is today; a bundle that was released under a policy needs it again.
        trust: the file of keys whose signatures count.
        readers: public keys (``age1...``) to which the copy is encrypted; none: it is a folder.
        now: the time; default: the clock's.

    Raises:
        JobError: no bundle, a destination that exists or cannot be written, or another policy than the release's.
        PolicyDenied: the policy or the gate says no.
        Refused: it is for others, or its retention is over.
        VerificationFailed: the bundle is not what it was, or does not stand in this ledger's log.
        LedgerError: the clock stands before the log's head.
    """
    source, target, now = Path(bundle), Path(destination), now or datetime.now(UTC)
    if readers:
        target = target if target.suffix == vault.SUFFIX else target.with_name(target.name + vault.SUFFIX)
        vault.encrypt(b"", tuple(readers))  # what cannot be used is found out now
    receipt = target.with_name(target.name + RECEIPT)
    for path in (target, receipt):
        if os.path.lexists(path):
            raise JobError(f"{path} exists; name another destination, or move it away")
    if not target.parent.is_dir():
        raise JobError(f"{target.parent}: no such folder; create it, the copy is written into it")
    if wrong := trouble(to, symbols=None):
        raise JobError(f"recipient {to!r} {wrong}")
    manifest = _manifest(source)
    _check_asker(source, manifest, asker)
    spent = ledger.spent(manifest["dataset"])
    asked = _request(manifest, asker, spent)
    first = decide(asker.applied, asked).enforce()
    _check_handling(source, manifest, to, now)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        _copy(source, partial)
        if _manifest(partial) != manifest:
            raise VerificationFailed(f"{source}: was changed while it was copied")
        try:
            seals.verify(partial, trust=trust, now=now)
            log.prove(ledger, partial)  # it stands in this house's log
        except VerificationFailed as problem:
            raise VerificationFailed(str(problem).replace(str(partial), str(source))) from None
        decided = _gate(partial, manifest, asker, first, spent, to, trust, now)
        decided.enforce()
        document = {"bundle": manifest_digest(partial), "to": to, "at": write_time(now), **decided.to_dict()}
        write_atomically(receipt, json.dumps(document, indent=2) + "\n")
        place = log.record(ledger, partial, receipt, dataset=manifest["dataset"], to=to, now=now)
        log.prove(ledger, partial)  # under the head of now
        _put(partial, target, tuple(readers))
    except BaseException:
        receipt.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # gone already where it was renamed
    return Exported(target, receipt, decided, place)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
        if is_one(folder):
            raise JobError(
                f"{folder}: holds true records, and export is for synthetic ones; whom they may reach is decided by "
                "'synthkit anonymize'"
            )
        manifest["dataset"], manifest["handling"], manifest["created"], manifest["manifest_sha256"]
    except (FileNotFoundError, NotADirectoryError):
        raise JobError(
            f"{folder}: is no bundle; what leaves is a bundle that a release made, not a model by itself"
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise VerificationFailed(f"{folder}: {MANIFEST} is damaged") from None
    if "policy" not in manifest:
        raise JobError(f"{folder}: its manifest tells of no policy; it was not made by a release")
    return manifest


def _check_asker(folder: Path, manifest: Mapping[str, Any], asker: Asker) -> None:
    """A release under a policy leaves under that policy, as it is today, and not under the packaged one."""
    ruled = manifest["policy"]
    if ruled["packaged"]:
        return
    named = None if asker.policy is None else asker.policy.name
    if named != ruled["name"]:
        told = "none is named" if named is None else f"{named!r} is named"
        raise JobError(f"{folder}: was released under policy {ruled['name']!r}, and {told}; name it, as it is today")


def _request(manifest: Mapping[str, Any], asker: Asker, spent: Spent) -> Request:
    """The release's request as one for this asker to export, at what it cost and what the dataset cost to this day."""
    epsilon = manifest["guarantee"]["epsilon"]
    known = {name: value for name, value in manifest["policy"]["request"].items() if name != "spent"}
    return Request(
        **{
            **known,
            "role": asker.role,
            "purpose": asker.purpose,
            "action": "export",
            "epsilon": math.inf if epsilon is None else epsilon,
            "total": spent.epsilon,
        }
    )


def _check_handling(folder: Path, manifest: Mapping[str, Any], to: str, now: datetime) -> None:
    """What the release itself says of recipients and of its time."""
    handling = Handling.from_dict(manifest["handling"])
    if handling.recipients is not None and to not in handling.recipients:
        raise Refused(f"{folder}: is for {', '.join(handling.recipients)}, as it says itself, and not for {to}")
    if handling.retention_days is not None:
        end = read_time(manifest["created"]) + timedelta(days=handling.retention_days)
        if now >= end:
            raise Refused(
                f"{folder}: was to be kept until {end:%Y-%m-%d}; its time is over, and 'synthkit shred' ends it"
            )


def _copy(source: Path, partial: Path) -> None:
    try:
        shutil.copytree(source, partial, dirs_exist_ok=True, symlinks=True)
        partial.chmod(0o700)
    except (OSError, shutil.Error) as problem:
        raise JobError(f"{source}: cannot be copied: {problem}") from None


def _gate(
    folder: Path,
    manifest: Mapping[str, Any],
    asker: Asker,
    first: Decision,
    spent: Spent,
    to: str,
    trust: str | Path | None,
    now: datetime,
) -> Gate:
    """The second decision, about the bundle in ``folder`` and this recipient."""
    handling = Handling.from_dict(manifest["handling"])
    parcel = Parcel(
        bundle=manifest_digest(folder),
        attempts=max(1, permission.attempts(asker, spent)),
        recipients=(to,),
        labels=handling.marks,
        retention=handling.retention_days,
    )
    stated, verify = sign.for_the_gate(folder, trust)
    policy = asker.applied.reread()
    return gate(policy, first, first.request, parcel, figures(manifest), stated, verify=verify, now=now)


def _put(partial: Path, target: Path, readers: tuple[str, ...]) -> None:
    """The copy to its place: as a folder, or as one encrypted file."""
    try:
        if readers:
            lock_folder(partial, target, readers)
        else:
            partial.rename(target)
            target.chmod(0o777 & ~umask())
    except OSError as problem:
        raise JobError(f"{target}: cannot be put in place: {problem.strerror}") from None


__all__ = ["RECEIPT", "Exported", "export"]
