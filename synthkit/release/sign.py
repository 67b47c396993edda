"""Signing: a private key for each person, and what they state about a bundle, bound to its manifest.

A statement is an in-toto Statement, version 1, in RFC 8785's canonical JSON, in a DSSE envelope signed by Ed25519:
one line of ``attestations.intoto.jsonl`` beside the manifest. How it is read, ``verify_alone.py`` says.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthkit.documents import write_atomically
from synthkit.errors import JobError, VerificationFailed
from synthkit.policy.demands import APPROVES
from synthkit.policy.gate import Attestation, nobody
from synthkit.policy.names import trouble
from synthkit.release import anonymized, bundle, verify_alone
from synthkit.release.verify_alone import Doubt, Trust
from synthkit.secret_files import read_secret, write_secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DAYS = 365  # how long a statement holds where nobody says otherwise


@dataclass(frozen=True)
class Signer:
    """A private key, and whose public key it is the other half of."""

    public: bytes
    _private: Ed25519PrivateKey = field(repr=False)

    def envelope(self, kind: str, payload: Mapping[str, Any]) -> str:
        """``payload`` in canonical form, signed: one line of JSON.

        Args:
            kind: the payload's media type; signed, too.
            payload: texts, whole numbers, lists and mappings of them.
        """
        import rfc8785

        body: bytes = rfc8785.dumps(dict(payload))
        signature = self._private.sign(verify_alone.pae(kind, body))
        named = {"keyid": verify_alone.key_id(self.public), "sig": base64.b64encode(signature).decode()}
        return verify_alone.canonical(
            {"payload": base64.b64encode(body).decode(), "payloadType": kind, "signatures": [named]}
        )


def new_key(path: Path, name: str, roles: tuple[str, ...], *, days: int = DAYS) -> str:
    """Make a key pair: the private key into ``path``, readable by its owner alone.

    Args:
        path: must not exist.
        name: whose key it is.
        roles: in which roles it is to sign.
        days: for how long it is to be used.

    Returns:
        its entry for ``keys.toml``.

    Raises:
        JobError: a name that cannot be, or the file exists or cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    for word in (name, *roles):
        if wrong := trouble(word):
            raise JobError(f"{word!r} {wrong}")
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_secret(path, pem)
    expires = datetime.now(UTC) + timedelta(days=days)
    listed = ", ".join(f'"{role}"' for role in roles)
    return (
        f'[keys."{name}"]\npublic = "{verify_alone.public_text(private.public_key().public_bytes_raw())}"\n'
        f"roles = [{listed}]\nexpires = {verify_alone.write_time(expires)}\n"
    )


def read_key(path: Path) -> Signer:
    """Read a private key.

    Raises:
        JobError: others may read it, or it is no Ed25519 key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = read_secret(path)
    try:
        private = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise JobError(f"{path}: is no Ed25519 private key in PEM form; 'synthkit keys new' makes one")
    return Signer(private.public_key().public_bytes_raw(), private)


def trusted(path: Path) -> Trust:
    """The keys of ``keys.toml``.

    Raises:
        JobError: it cannot be used; says why.
    """
    try:
        return verify_alone.read_trust(path)
    except verify_alone.BadTrust as problem:
        raise JobError(str(problem)) from None


def attest(
    folder: Path, signer: Signer, role: str, statement: str = APPROVES, *, days: int = DAYS, now: datetime | None = None
) -> str:
    """State something about a bundle, held or handed out; it is verified first.

    Args:
        folder: the bundle.
        signer: who states it.
        role: in which role.
        statement: ``approves``, or the name of a statement that a policy asks for.
        days: for how long it holds.
        now: the time; default: the clock's.

    Returns:
        SHA-256 of the manifest that was signed.

    Raises:
        JobError: a role or a statement that cannot be.
        VerificationFailed: the bundle, or what others stated about it, is not intact.
    """
    for word in (role, statement):
        if wrong := trouble(word):
            raise JobError(f"{word!r} {wrong}")
    if days < 1:
        raise JobError(f"a statement for {days} days holds never; write 1 or more")
    (anonymized.check if anonymized.is_one(folder) else bundle.verify)(folder)
    made = now or datetime.now(UTC)
    digest = verify_alone.manifest_digest(folder)
    line = signer.envelope(
        verify_alone.STATEMENT_TYPE,
        {
            "_type": verify_alone.STATEMENT,
            "subject": [{"name": verify_alone.MANIFEST, "digest": {"sha256": digest}}],
            "predicateType": verify_alone.PREDICATE,
            "predicate": {
                "key": verify_alone.public_text(signer.public),
                "role": role,
                "statement": statement,
                "made": verify_alone.write_time(made),
                "expires": verify_alone.write_time(made + timedelta(days=days)),
            },
        },
    )
    lines = _lines(folder)
    write_atomically(folder / verify_alone.ATTESTATIONS, "".join(f"{line}\n" for line in [*lines, line]))
    return digest


def attestations(folder: Path, trust: Trust) -> Iterator[Attestation]:
    """What people state about a bundle, for the gate; whether it is true, :func:`believes` says.

    Raises:
        VerificationFailed: a line cannot be read.
    """
    for number, line in enumerate(_lines(folder), start=1):
        try:
            stated = verify_alone.read_statement(line)
        except Doubt as problem:
            raise VerificationFailed(f"{folder}: {verify_alone.ATTESTATIONS}, line {number}: {problem}") from None
        key = trust.keys.get(stated.public)
        yield Attestation(
            who="" if key is None else key.name,
            role=stated.role,
            statement=stated.statement,
            bundle=stated.bundle,
            expires=stated.expires,
            signature=line.encode(),
        )


def for_the_gate(folder: Path, trust: str | Path | None) -> tuple[list[Attestation], Callable[[Attestation], bool]]:
    """What people state about a bundle, and who is believed; without a file of trusted keys, nothing and nobody.

    Raises:
        JobError: the file of keys cannot be used.
        VerificationFailed: a line cannot be read.
    """
    if trust is None:
        return [], nobody
    keys = trusted(Path(trust))
    return list(attestations(folder, keys)), believes(keys)


def believes(trust: Trust, *, now: datetime | None = None) -> Callable[[Attestation], bool]:
    """Whether an attestation is signed by this person's key, in a role that the key has."""
    moment = now or datetime.now(UTC)

    def good(attestation: Attestation) -> bool:
        stated = verify_alone.read_statement(attestation.signature.decode())
        same = (stated.role, stated.statement, stated.bundle, stated.expires) == (
            attestation.role,
            attestation.statement,
            attestation.bundle,
            attestation.expires,
        )
        if not same or verify_alone.why_not(stated, attestation.bundle, trust, moment) is not None:
            return False
        return trust.keys[stated.public].name == attestation.who

    return good


def _lines(folder: Path) -> list[str]:
    try:
        return verify_alone.statement_lines(folder)
    except Doubt as problem:
        raise VerificationFailed(f"{folder}: {problem}") from None


__all__ = [
    "DAYS",
    "Signer",
    "attest",
    "attestations",
    "believes",
    "for_the_gate",
    "new_key",
    "read_key",
    "trusted",
]
