"""Verify a bundle with nothing but Python 3.11 and the package ``cryptography``: one file, to be carried along.

    python verify_alone.py release/ --trust keys.toml

It checks every file against the manifest, every signature against the keys that you trust, and that the bundle
stands in the house's log (RFC 6962). It opens no network connection, and writes nothing. It does not look into the
tables, and does not recompute epsilon: ``synthkit verify`` does both. Exit code 0: verified; 1: in doubt; 2: bad input.

synthkit itself uses the functions here, so there is one reading of each format:

- a signature is a DSSE envelope (https://github.com/secure-systems-lab/dsse) around an in-toto Statement, version 1;
- its payload names the public key, so that damage is found without any trust, and whose key it is with trust alone;
- the log's tree is that of RFC 6962, proofs are verified as RFC 9162 says (sections 2.1.3.2 and 2.1.4.2).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import stat
import sys
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
GATE = "gate.json"
ATTESTATIONS = "attestations.intoto.jsonl"
PROOF = "log.json"
SEALS = (GATE, ATTESTATIONS, PROOF)  # beside what the manifest lists

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:synthkit:attestation:1"
STATEMENT_TYPE = "application/vnd.in-toto+json"
HEAD_TYPE = "application/vnd.synthkit.log-head+json"
APPROVES = "approves"
LOG = "log"  # the role of the key that signs the log's heads


class Doubt(Exception):
    """Something is not what it says it is."""


class BadTrust(Exception):
    """The file of trusted keys cannot be used."""


# Keys ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """A public key that is trusted.

    Attributes:
        name: whose it is.
        public: 32 bytes, Ed25519.
        roles: in which roles its signatures count.
        expires: they count no more from then on.
    """

    name: str
    public: bytes
    roles: tuple[str, ...]
    expires: datetime


@dataclass(frozen=True)
class Trust:
    """Whose signatures count.

    Attributes:
        keys: by their public bytes.
        approvals: by role, how many different people must approve of a bundle.
    """

    keys: Mapping[bytes, Key]
    approvals: Mapping[str, int]


def read_trust(path: Path) -> Trust:
    """Read a file of public keys (``keys.toml``).

    Raises:
        BadTrust: says what is wrong, and where.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BadTrust(f"{path}: no such file; name the file of the keys that you trust") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise BadTrust(f"{path}: cannot be read as TOML: {problem}") from None
    if document.get("version") != 1 or (unknown := set(document) - {"version", "approvals", "keys"}):
        told = f"unknown {', '.join(sorted(unknown))}" if document.get("version") == 1 else "write 'version = 1'"
        raise BadTrust(f"{path}: {told}; a file of keys has 'version', 'approvals' and 'keys'")
    keys: dict[bytes, Key] = {}
    for name, written in document.get("keys", {}).items():
        key = _key(name, written, f"{path}: keys.{name}")
        if key.public in keys:
            raise BadTrust(f"{path}: {name} and {keys[key.public].name} have the same key; one person counts once")
        keys[key.public] = key
    if not keys:
        raise BadTrust(f"{path}: holds no key; add what 'synthkit keys new' printed")
    approvals = document.get("approvals", {})
    for role, least in approvals.items():
        holders = sum(role in key.roles for key in keys.values())
        if type(least) is not int or least < 1:
            raise BadTrust(f"{path}: approvals.{role} is {least!r}; it must be a whole number of 1 or more")
        if holders < least:
            raise BadTrust(f"{path}: approvals.{role} asks for {least}, and {holders} keys have that role")
    return Trust(keys, approvals)


def _key(name: str, written: Any, where: str) -> Key:
    if not isinstance(written, dict) or set(written) != {"public", "roles", "expires"}:
        raise BadTrust(f"{where}: write 'public', 'roles' and 'expires', and nothing else")
    try:
        public = public_bytes(written["public"])
    except Doubt as problem:
        raise BadTrust(f"{where}.public: {problem}") from None
    roles, expires = written["roles"], written["expires"]
    if not (isinstance(roles, list) and roles and all(isinstance(role, str) and role for role in roles)):
        raise BadTrust(f'{where}.roles: must be a list of roles, such as ["steward"]')
    if not isinstance(expires, datetime) or expires.tzinfo is None:
        raise BadTrust(f"{where}.expires: must be a time with its zone, such as 2027-12-31T00:00:00Z")
    return Key(name, public, tuple(roles), expires)


def public_text(public: bytes) -> str:
    """A public key as it is written: ``ed25519:`` and base64."""
    return "ed25519:" + base64.b64encode(public).decode()


def public_bytes(text: Any) -> bytes:
    """The key that :func:`public_text` wrote."""
    kind, _, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
    public = _unbase64(rest, "a public key")
    if kind != "ed25519" or len(public) != 32:
        raise Doubt("is no public key; it must be 'ed25519:' and 44 characters of base64")
    return public


# Envelopes -------------------------------------------------------------------------------------


def pae(kind: str, body: bytes) -> bytes:
    """What DSSE signs: the payload with its type, so that one cannot be taken for another."""
    return b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(body), body)


def open_envelope(line: str, kind: str) -> tuple[dict[str, Any], bytes]:
    """The payload of an envelope in canonical form, and the public key that signed it. Trust is another question.

    Raises:
        Doubt: malformed, of another kind, or the signature is not by the key that the payload names.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    envelope = _object(line, "an envelope", {"payload", "payloadType", "signatures"})
    if envelope["payloadType"] != kind:
        raise Doubt(f"an envelope of type {envelope['payloadType']!r}; expected {kind}")
    signatures = envelope["signatures"]
    if not (isinstance(signatures, list) and len(signatures) == 1 and isinstance(signatures[0], dict)):
        raise Doubt("an envelope must have one signature")
    body = _unbase64(envelope["payload"], "a payload")
    try:
        payload = _object(body.decode(), "a payload")
    except UnicodeDecodeError:
        raise Doubt("a payload is not UTF-8") from None
    predicate = payload.get("predicate", payload)
    public = public_bytes(predicate.get("key") if isinstance(predicate, dict) else None)
    if set(signatures[0]) != {"keyid", "sig"} or signatures[0]["keyid"] != key_id(public):
        raise Doubt("a signature does not name the key that its payload names")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(
            _unbase64(signatures[0]["sig"], "a signature"), pae(kind, body)
        )
    except InvalidSignature:
        raise Doubt("a signature is not by the key that it names: what was signed was changed") from None
    return payload, public


def key_id(public: bytes) -> str:
    """What an envelope calls a key: SHA-256 of its bytes."""
    return hashlib.sha256(public).hexdigest()


def canonical(value: Any) -> str:
    """RFC 8785, for the texts, whole numbers, lists and objects that are signed here."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _object(text: str, what: str, names: set[str] | None = None) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Doubt(f"{what} is not JSON") from None
    if not isinstance(value, dict) or (names is not None and set(value) != names) or canonical(value) != text:
        raise Doubt(f"{what} is not in the form in which it is written; it was changed")
    return value


def _unbase64(text: Any, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise Doubt(f"{what} is not base64") from None
    if base64.b64encode(raw).decode() != text:
        raise Doubt(f"{what} is not in the form in which it is written; it was changed")
    return raw


# Statements ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stated:
    """What somebody signed about a bundle.

    Attributes:
        public: the key that signed it.
        role, statement: in which role, what.
        bundle: SHA-256 of the manifest that it is about.
        made, expires: from when to when it holds.
    """

    public: bytes
    role: str
    statement: str
    bundle: str
    made: datetime
    expires: datetime


def read_statement(line: str) -> Stated:
    """One line of ``attestations.intoto.jsonl``.

    Raises:
        Doubt: malformed or damaged.
    """
    payload, public = open_envelope(line, STATEMENT_TYPE)
    try:
        (subject,) = payload["subject"]
        predicate = payload["predicate"]
        if (payload["_type"], payload["predicateType"], subject["name"]) != (STATEMENT, PREDICATE, MANIFEST):
            raise ValueError
        if set(predicate) != {"key", "role", "statement", "made", "expires"} or set(subject["digest"]) != {"sha256"}:
            raise ValueError
        return Stated(
            public,
            str(predicate["role"]),
            str(predicate["statement"]),
            str(subject["digest"]["sha256"]),
            read_time(predicate["made"]),
            read_time(predicate["expires"]),
        )
    except (KeyError, TypeError, ValueError):
        raise Doubt("a statement is not of the kind that is read here") from None


def read_time(text: str) -> datetime:
    """A time as it is signed, in UTC."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def write_time(moment: datetime) -> str:
    """What :func:`read_time` reads."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def statement_lines(folder: Path) -> list[str]:
    """The lines of a bundle's attestations; none where there is no file."""
    path = folder / ATTESTATIONS
    if not path.exists():
        return []
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        raise Doubt(f"{ATTESTATIONS} is not UTF-8") from None
    if not text.endswith("\n"):
        raise Doubt(f"{ATTESTATIONS} does not end where a line ends; it was cut")
    return text[:-1].split("\n")


def why_not(stated: Stated, bundle: str, trust: Trust, now: datetime) -> str | None:
    """Why a statement does not count; None where it does."""
    key = trust.keys.get(stated.public)
    if key is None:
        return f"by a key that is not trusted ({key_id(stated.public)[:12]})"
    if stated.bundle != bundle:
        return f"by {key.name}, about another bundle"
    if stated.role not in key.roles:
        return f"by {key.name}, who may not sign as {stated.role}"
    if key.expires <= now:
        return f"by {key.name}, whose key expired on {key.expires:%Y-%m-%d}"
    if stated.expires <= now:
        return f"by {key.name}, expired on {stated.expires:%Y-%m-%d}"
    if stated.made > now:
        return f"by {key.name}, made in the future ({write_time(stated.made)}); check the clock"
    return None


def check_statements(folder: Path, trust: Trust | None, now: datetime) -> list[str]:
    """Every statement is intact; with trust, enough people approve. Returns what was stated, in words."""
    digest = manifest_digest(folder)
    told, approved = [], dict[str, set[str]]()
    for number, line in enumerate(statement_lines(folder), start=1):
        try:
            stated = read_statement(line)
        except Doubt as problem:
            raise Doubt(f"{ATTESTATIONS}, line {number}: {problem}") from None
        if stated.bundle != digest:
            raise Doubt(f"{ATTESTATIONS}, line {number}: is about another bundle")
        what = f"{stated.role}: {stated.statement}"
        if trust is None:
            told.append(f"{what} (by {key_id(stated.public)[:12]}; no keys to hold it against)")
        elif reason := why_not(stated, digest, trust, now):
            told.append(f"{what}: NOT counted, {reason}")
        else:
            name = trust.keys[stated.public].name
            told.append(f"{what}, by {name}")
            if stated.statement == APPROVES:
                approved.setdefault(stated.role, set()).add(name)
    for role, least in (trust.approvals if trust else {}).items():
        if (found := len(approved.get(role, ()))) < least:
            details = "".join(f"\n  {line}" for line in told)
            raise Doubt(f"approved by {found} of the {least} needed in role {role}{details}")
    return told


# The log ---------------------------------------------------------------------------------------


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 6962, section 2.1."""
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962, section 2.1."""
    return hashlib.sha256(b"\1" + left + right).digest()


def included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether ``path`` proves that ``leaf`` is entry ``index`` of a tree of ``size`` with that root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    inner, last, found = index, size - 1, leaf_hash(leaf)
    for step in path:
        if last == 0:
            return False
        if inner % 2 or inner == last:
            found = node_hash(step, found)
            while inner % 2 == 0 and inner:
                inner, last = inner >> 1, last >> 1
        else:
            found = node_hash(found, step)
        inner, last = inner >> 1, last >> 1
    return last == 0 and found == root


def consistent(first: int, second: int, before: bytes, after: bytes, path: Sequence[bytes]) -> bool:
    """Whether ``path`` proves that a tree of ``first`` entries is the beginning of one of ``second`` (RFC 9162, 2.1.4.2)."""
    if first == second:
        return not path and before == after
    if not 0 < first < second or not path:
        return False
    steps = [before, *path] if first & (first - 1) == 0 else list(path)
    inner, last = first - 1, second - 1
    while inner % 2:
        inner, last = inner >> 1, last >> 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if inner % 2 or inner == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while inner % 2 == 0 and inner:
                inner, last = inner >> 1, last >> 1
        else:
            new = node_hash(new, step)
        inner, last = inner >> 1, last >> 1
    return last == 0 and old == before and new == after


def check_proof(folder: Path, trust: Trust | None, now: datetime) -> str:
    """The bundle, with its gate, stands in the log that ``log.json`` tells of. Returns where, in words."""
    text = _text(folder, PROOF)
    try:
        document = json.loads(text)
        entry, head, path = document["entry"], document["head"], [bytes.fromhex(step) for step in document["path"]]
        index, size, root = document["index"], head["size"], bytes.fromhex(head["root"])
        made = read_time(head["at"])
        if not all(type(number) is int for number in (index, size)) or text != proof_text(document):
            raise ValueError
    except (KeyError, TypeError, ValueError, RecursionError):
        raise Doubt(f"{PROOF} is damaged: it is not in the form in which proofs are written") from None
    if entry.get("bundle") != manifest_digest(folder):
        raise Doubt(f"{PROOF} is about another bundle")
    if entry.get("gate") != digest_of(folder / GATE):
        raise Doubt(f"{GATE} is not the one that was logged")
    if not included(canonical(entry).encode(), index, size, path, root):
        raise Doubt(f"{PROOF} does not prove that the bundle stands in the log")
    place = f"entry {index + 1} of {size} in the log, {head['at']}"
    if "envelope" not in document:
        if trust and any(LOG in key.roles for key in trust.keys.values()):
            raise Doubt(f"{PROOF}: the log's head is not signed, and a key for it is trusted")
        return f"{place} (its head is not signed)"
    payload, public = open_envelope(document["envelope"], HEAD_TYPE)
    if {**head, "key": public_text(public)} != payload:
        raise Doubt(f"{PROOF}: another head was signed")
    if trust is None:
        return f"{place}, signed by {key_id(public)[:12]}; no keys to hold it against"
    key = trust.keys.get(public)
    if key is None or LOG not in key.roles:
        raise Doubt(f"{PROOF}: the log's head is signed by a key that is not trusted to ({key_id(public)[:12]})")
    if key.expires <= made:
        raise Doubt(f"{PROOF}: the log's head was signed after {key.name} expired")
    return f"{place}, signed by {key.name}"


def proof_text(document: Mapping[str, Any]) -> str:
    """A proof as it is written, with a digest of itself that finds accidents."""
    rest = {name: value for name, value in document.items() if name != "sha256"}
    digest = hashlib.sha256(canonical(rest).encode()).hexdigest()
    return json.dumps({**rest, "sha256": digest}, indent=2, sort_keys=True, ensure_ascii=True) + "\n"


# The bundle ------------------------------------------------------------------------------------


def manifest_digest(folder: Path) -> str:
    """SHA-256 of a bundle's manifest file: what signatures are about (``sha256sum`` gives the same)."""
    return digest_of(folder / MANIFEST)


def check_seals(folder: Path, trust: Trust | None, now: datetime) -> list[str]:
    """Gate, statements and log of a bundle whose manifest tells of a policy. Returns what was found, in words."""
    manifest = json.loads(_text(folder, MANIFEST))
    found = check_statements(folder, trust, now)
    if "policy" not in manifest:
        return found
    try:
        gate = json.loads(_text(folder, GATE))
        same = (gate["allowed"], gate["bundle"]) == (True, manifest_digest(folder))
        ruled = gate["decision"]["policy"]["sha256"] == manifest["policy"]["sha256"]
    except (KeyError, TypeError, ValueError, RecursionError):
        same = ruled = False
    if not (same and ruled):
        raise Doubt(f"{GATE} is not about this bundle and its policy, or the gate was shut")
    return [*found, check_proof(folder, trust, now)]


def check_files(folder: Path) -> dict[str, Any]:
    """Every file that the manifest lists is there, unchanged, and no other. Returns the manifest."""
    if not (folder / MANIFEST).is_file():
        raise Doubt(f"no {MANIFEST}; this is not a bundle, or not all of it")
    try:
        manifest: dict[str, Any] = json.loads(_text(folder, MANIFEST))
        listed: dict[str, Any] = manifest["files"]
        rest = {name: value for name, value in manifest.items() if name != "manifest_sha256"}
        text = json.dumps(rest, indent=2, ensure_ascii=True, allow_nan=False) + "\n"
        whole = json.dumps(manifest, indent=2, ensure_ascii=True, allow_nan=False) + "\n"
        same = hashlib.sha256(text.encode()).hexdigest() == manifest["manifest_sha256"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise Doubt(f"{MANIFEST} is damaged") from None
    if not same or whole != _text(folder, MANIFEST):
        raise Doubt(f"{MANIFEST} is not what it was: its fields do not match its own digest")
    found = set(_walk(folder, ""))
    if missing := sorted(set(listed) - found):
        raise Doubt(f"missing: {', '.join(missing[:5])}")
    if extra := sorted(found - set(listed) - {MANIFEST, *SEALS}):
        raise Doubt(f"not in the manifest: {', '.join(extra[:5])}")
    for name, entry in listed.items():
        if digest_of(folder / name) != entry["sha256"]:
            raise Doubt(f"{name} was changed: its digest is not the manifest's")
    return manifest


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    for entry in os.scandir(folder / prefix if prefix else folder):
        mode = entry.stat(follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            yield from _walk(folder, f"{prefix}{entry.name}/")
        elif stat.S_ISREG(mode):
            yield prefix + entry.name
        else:
            raise Doubt(f"{prefix}{entry.name} is a link or a device; a bundle holds plain files only")


def _text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise Doubt(f"{name} is missing: the bundle was not handed out, or it was taken away") from None
    except UnicodeDecodeError:
        raise Doubt(f"{name} is damaged: it is not UTF-8") from None


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        raise Doubt(f"{path.name} is missing: the bundle was not handed out, or it was taken away") from None


def main(arguments: Collection[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Verify a signed bundle. Needs the package 'cryptography' alone.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trust", type=Path, required=True, help="the file of the keys that you trust (keys.toml)")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        trust = read_trust(options.trust)
        manifest = check_files(options.folder)
        found = check_seals(options.folder, trust, datetime.now(UTC))
    except BadTrust as problem:
        print(f"Error: {problem}", file=sys.stderr)  # noqa: T201
        return 2
    except (Doubt, OSError) as problem:
        print(f"Error: {options.folder}: {problem}", file=sys.stderr)  # noqa: T201
        return 1
    stated = manifest["guarantee"]["statement"]
    print("\n".join([f"{options.folder}: files, signatures and log verified.", *found, f"It states: {stated}"]))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
