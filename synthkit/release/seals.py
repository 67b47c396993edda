"""Verification of a whole release: the bundle, and what stands beside its manifest: gate, signatures, place in the log."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from synthkit.errors import VerificationFailed
from synthkit.policy.document import Policy
from synthkit.release import anonymized, bundle, credentials, pictures, sign, verify_alone


def verify(
    folder: str | Path,
    *,
    trust: str | Path | None = None,
    policy: str | Path | None = None,
    now: datetime | None = None,
) -> bundle.Verification | anonymized.Checked:
    """Check a release: what :func:`bundle.verify` checks, every signature, the gate's result, and the log's proof.

    Of anonymized true records, what :func:`anonymized.check` checks, and the same beside.

    Args:
        folder: the bundle.
        trust: the file of keys whose signatures count (``keys.toml``), and how many must approve. Without it
            signatures are checked for damage, and nobody knows whose they are.
        policy: the policy file that must have decided.
        now: the time at which signatures must hold; default: the clock's.

    Raises:
        VerificationFailed: on any doubt; the message says which.
        JobError, PolicyError: the keys or the policy cannot be read.
    """
    folder, keys = Path(folder), None if trust is None else sign.trusted(Path(trust))
    expected = None if policy is None else Policy.read(policy).digest
    checked = anonymized.check(folder) if anonymized.is_one(folder) else bundle.verify(folder)
    try:
        found = verify_alone.check_seals(folder, keys, now or datetime.now(UTC))
        found += _credentials(folder, checked)
    except verify_alone.Doubt as problem:
        raise VerificationFailed(f"{folder}: {problem}") from None
    except OSError as problem:
        raise VerificationFailed(f"{folder}: cannot be read: {problem.strerror}") from None
    if expected is not None and (checked.policy or {}).get("sha256") != expected:
        stated = f"sha256 {checked.policy['sha256'][:12]}" if checked.policy else "none"
        raise VerificationFailed(f"{folder}: another policy decided ({stated}, not {expected[:12]} of {policy})")
    return replace(checked, seals=tuple(found))


def _credentials(folder: Path, checked: bundle.Verification | anonymized.Checked) -> list[str]:
    """What is found of the content credentials of images; nothing where the manifest tells of none."""
    stated = json.loads((folder / verify_alone.MANIFEST).read_bytes()).get("credentials")
    if stated is None or isinstance(checked, anonymized.Checked):
        return []
    names = [name for name in checked.files if name.startswith(f"{pictures.FOLDER}/")]
    try:
        return [credentials.examine({name: (folder / name).read_bytes() for name in names}, stated)]
    except ValueError as problem:
        raise VerificationFailed(f"{folder}: {problem}") from None


__all__ = ["verify"]
