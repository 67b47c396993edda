"""The house's log: one entry for each bundle that was handed out, and for each copy that left (it says to whom).

None can be taken back unnoticed.

Entries are the leaves of a tree (RFC 6962). Its root after each entry, the head, is kept beside, signed where there
is a key (``SYNTHKIT_LOG_KEY``). Whoever holds an old head can be shown that nothing before it changed, and
whoever holds a bundle that it is in. It lives in the ledger's database, in two tables of its own.

A house that rewrites entries and all heads can fool those who kept none. Keep heads elsewhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from synthkit.documents import read_text, write_atomically
from synthkit.errors import JobError, LedgerError, VerificationFailed
from synthkit.privacy import append_only
from synthkit.privacy.ledger import Ledger
from synthkit.release import verify_alone
from synthkit.release.sign import Signer, read_key
from synthkit.release.verify_alone import HEAD_TYPE, LOG, Doubt, Trust, leaf_hash, node_hash

KEY = "SYNTHKIT_LOG_KEY"  # names the file of the key that signs heads

_tables = sa.MetaData()
_log = sa.Table(
    "log",
    _tables,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("leaf", sa.Text, nullable=False),
)
_heads = sa.Table(
    "log_heads",
    _tables,
    sa.Column("size", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("root", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("envelope", sa.Text),
)


def enter(ledger: Ledger, folder: Path, *, dataset: str, now: datetime | None = None) -> None:
    """Enter a bundle whose gate has opened, and write the proof beside its manifest (``log.json``).

    A bundle that stands in the log with this very gate is not entered again: its hand-out was cut short.

    Args:
        ledger: whose database holds the log.
        folder: the bundle, with its ``gate.json``.
        dataset: what it was made of.
        now: the time; default: the clock's.

    Raises:
        LedgerError: the log is damaged, or the clock stands before its head.
    """
    at, signer = verify_alone.write_time(now or datetime.now(UTC)), _house_key()
    entry = {
        "at": at,
        "bundle": verify_alone.manifest_digest(folder),
        "dataset": dataset,
        "gate": verify_alone.digest_of(folder / verify_alone.GATE),
    }
    with ledger.transaction(write=True) as connection:
        leaves, heads = _opened(connection, ledger, at)
        place = _place(leaves, entry["bundle"], entry["gate"])
        if place is not None:
            last = heads[-1]
            envelope = _signed(_plain(last), signer) if signer else last["envelope"]
            _write_proof(folder, leaves, place, _plain(last), envelope)
            return
        head, envelope = _append(connection, leaves, entry, signer)
    _write_proof(folder, leaves, len(leaves) - 1, head, envelope)


def record(ledger: Ledger, folder: Path, receipt: Path, *, dataset: str, to: str, now: datetime) -> str:
    """Enter that a copy of a bundle left.

    Args:
        ledger: whose database holds the log.
        folder: the bundle.
        receipt: what the gate said of this copy; its digest is logged.
        dataset: what it was made of.
        to: who gets it.
        now: the time.

    Returns:
        where it stands, in words.

    Raises:
        LedgerError: the log is damaged, or the clock stands before its head.
    """
    entry = {
        "at": verify_alone.write_time(now),
        "bundle": verify_alone.manifest_digest(folder),
        "dataset": dataset,
        "gate": verify_alone.digest_of(receipt),
        "to": to,
    }
    with ledger.transaction(write=True) as connection:
        leaves, _ = _opened(connection, ledger, entry["at"])
        _append(connection, leaves, entry, _house_key())
    return f"entry {len(leaves)}"


def _opened(connection: sa.Connection, ledger: Ledger, at: str) -> tuple[list[str], list[Mapping[str, Any]]]:
    """Entries and heads of a log that may be written at the time ``at``; it is made where there is none."""
    _tables.create_all(connection)
    append_only.arm(connection, _log.name, "position")
    append_only.arm(connection, _heads.name, "size")
    leaves, heads = _read(connection, ledger)
    if heads and at < heads[-1]["at"]:
        raise LedgerError(
            f"{ledger.location}: the clock says {at}, before the log's head ({heads[-1]['at']}); set the clock right"
        )
    return leaves, heads


def _append(
    connection: sa.Connection, leaves: list[str], entry: Mapping[str, str], signer: Signer | None
) -> tuple[dict[str, Any], str | None]:
    """One more entry, and the head over all; ``leaves`` grows."""
    leaves.append(verify_alone.canonical(entry))
    root = _root([leaf_hash(leaf.encode()) for leaf in leaves]).hex()
    head = {"at": entry["at"], "root": root, "size": len(leaves)}
    envelope = _signed(head, signer)
    connection.execute(_log.insert().values(position=len(leaves) - 1, leaf=leaves[-1]))
    connection.execute(_heads.insert().values(**head, envelope=envelope))
    return head, envelope


def prove(ledger: Ledger, folder: Path) -> str:
    """Write a fresh proof that a bundle stands in the log, under the log's head of today.

    Returns:
        where it stands, in words.

    Raises:
        VerificationFailed: it is not in the log.
        LedgerError: the log is damaged.
    """
    leaves, heads = read(ledger)
    position = None
    if (folder / verify_alone.GATE).is_file():
        gate = verify_alone.digest_of(folder / verify_alone.GATE)
        position = _place(leaves, verify_alone.manifest_digest(folder), gate)
    if position is None:
        raise VerificationFailed(f"{folder}: is not in the log of {ledger.location}; it was not handed out from here")
    last, signer = heads[-1], _house_key()
    head = _plain(last)
    _write_proof(folder, leaves, position, head, _signed(head, signer) if signer else last["envelope"])
    return f"entry {position + 1} of {len(leaves)}"


def verify(ledger: Ledger, *, trust: Trust | None = None, head: Mapping[str, Any] | None = None) -> int:
    """Check every entry against every head, and the log against a head that was kept elsewhere.

    Args:
        ledger: whose database holds it.
        trust: whose signatures on heads count; None: signatures are checked, not whose they are.
        head: with ``size`` and ``root``, as a bundle's ``log.json`` has it.

    Returns:
        the number of entries.

    Raises:
        LedgerError: says which entry or head is not what it was.
    """
    leaves, heads = read(ledger)
    for kept in heads:
        if kept["envelope"] is not None:
            _check_signature(kept, trust, ledger)
    if head is not None:
        size, root = head["size"], bytes.fromhex(head["root"])
        hashes = [leaf_hash(leaf.encode()) for leaf in leaves]
        path = list(_consistency(size, hashes)) if 0 < size < len(hashes) else []
        if not verify_alone.consistent(size, len(hashes), root, _root(hashes), path):
            raise _broken(ledger, f"the head of {size} entries that was kept elsewhere is not a beginning of this log")
    return len(leaves)


def consistency(ledger: Ledger, size: int) -> dict[str, Any]:
    """The proof that the log of ``size`` entries is the beginning of today's.

    Returns:
        ``first``, ``second`` (sizes), their ``roots`` and the ``path``, in hexadecimal.

    Raises:
        JobError: it never had that size.
    """
    leaves, _ = read(ledger)
    if not 0 < size <= len(leaves):
        raise JobError(f"the log has {len(leaves)} entries; name a size of 1 to {len(leaves)}")
    hashes = [leaf_hash(leaf.encode()) for leaf in leaves]
    path = [step.hex() for step in _consistency(size, hashes)] if size < len(hashes) else []
    roots = [_root(hashes[:size]).hex(), _root(hashes).hex()]
    return {"first": size, "second": len(hashes), "roots": roots, "path": path}


def read_head(path: Path) -> Mapping[str, Any]:
    """The head in a proof (``log.json``) that was kept elsewhere.

    Raises:
        JobError: it holds none.
    """
    try:
        head = json.loads(read_text(path))["head"]
        if type(head["size"]) is not int or head["size"] < 1 or len(bytes.fromhex(head["root"])) != 32:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise JobError(f"{path}: holds no head of a log; name a 'log.json' of a bundle") from None
    return {"size": head["size"], "root": head["root"]}


def read(ledger: Ledger) -> tuple[list[str], list[Mapping[str, Any]]]:
    """Entries and heads, once each head was found to be the root of what is before it.

    Raises:
        LedgerError: they do not fit together.
    """
    with ledger.transaction() as connection:
        if not sa.inspect(connection).has_table(_log.name):
            return [], []
        return _read(connection, ledger)


def _read(connection: sa.Connection, ledger: Ledger) -> tuple[list[str], list[Mapping[str, Any]]]:
    rows = connection.execute(_log.select().order_by(_log.c.position)).mappings().all()
    heads: list[Mapping[str, Any]] = [
        dict(row) for row in connection.execute(_heads.select().order_by(_heads.c.size)).mappings()
    ]
    leaves = [row["leaf"] for row in rows]
    if [row["position"] for row in rows] != list(range(len(rows))) or len(heads) != len(rows):
        raise _broken(ledger, "an entry or a head is missing")
    at = ""
    for number, (head, root) in enumerate(zip(heads, _roots(leaves), strict=True), start=1):
        if head["size"] != number or head["root"] != root.hex():
            raise _broken(ledger, f"entry {number} was changed, moved or removed: it is not what its head was made of")
        if head["at"] < at:
            raise _broken(ledger, f"head {number} is older than the one before it")
        at = head["at"]
    return leaves, heads


def _place(leaves: Sequence[str], bundle: str, gate: str) -> int | None:
    """Where a bundle with its gate was entered; None where it was not."""
    for position, leaf in enumerate(leaves):
        entry = json.loads(leaf)
        if (entry["bundle"], entry["gate"]) == (bundle, gate) and "to" not in entry:
            return position
    return None


def _plain(head: Mapping[str, Any]) -> dict[str, Any]:
    """A head without its signature."""
    return {name: head[name] for name in ("at", "root", "size")}


def _check_signature(head: Mapping[str, Any], trust: Trust | None, ledger: Ledger) -> None:
    try:
        payload, public = verify_alone.open_envelope(head["envelope"], HEAD_TYPE)
    except Doubt as problem:
        raise _broken(ledger, f"head {head['size']}: {problem}") from None
    stated = {name: head[name] for name in ("at", "root", "size")} | {"key": verify_alone.public_text(public)}
    if payload != stated:
        raise _broken(ledger, f"head {head['size']}: another head was signed")
    key = trust.keys.get(public) if trust else None
    if trust and (key is None or LOG not in key.roles):
        raise _broken(ledger, f"head {head['size']} is signed by a key that is not trusted to")


def _broken(ledger: Ledger, what: str) -> LedgerError:
    return LedgerError(f"{ledger.location}: the log: {what}. Keep it as evidence, and restore a backup")


def _signed(head: Mapping[str, Any], signer: Signer | None) -> str | None:
    if signer is None:
        return None
    return signer.envelope(HEAD_TYPE, {**head, "key": verify_alone.public_text(signer.public)})


def _house_key() -> Signer | None:
    return read_key(Path(os.environ[KEY])) if os.environ.get(KEY) else None


def _write_proof(
    folder: Path, leaves: Sequence[str], index: int, head: Mapping[str, Any], envelope: str | None
) -> None:
    hashes = [leaf_hash(leaf.encode()) for leaf in leaves]
    document = {
        "entry": json.loads(leaves[index]),
        "index": index,
        "head": dict(head),
        "path": [step.hex() for step in _inclusion(index, hashes)],
        **({} if envelope is None else {"envelope": envelope}),
    }
    write_atomically(folder / verify_alone.PROOF, verify_alone.proof_text(document))


# The tree (RFC 6962, section 2.1) ----------------------------------------------------------------


def _roots(leaves: Sequence[str]) -> Iterator[bytes]:
    """The root after each entry."""
    whole: list[tuple[int, bytes]] = []  # complete subtrees, from large to small
    for leaf in leaves:
        size, found = 1, leaf_hash(leaf.encode())
        while whole and whole[-1][0] == size:
            size, found = 2 * size, node_hash(whole.pop()[1], found)
        whole.append((size, found))
        root = whole[-1][1]
        for _, left in reversed(whole[:-1]):
            root = node_hash(left, root)
        yield root


def _root(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    half = _half(len(hashes))
    return node_hash(_root(hashes[:half]), _root(hashes[half:]))


def _half(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1


def _inclusion(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    """Section 2.1.1: the audit path of an entry."""
    if len(hashes) == 1:
        return []
    half = _half(len(hashes))
    if index < half:
        return [*_inclusion(index, hashes[:half]), _root(hashes[half:])]
    return [*_inclusion(index - half, hashes[half:]), _root(hashes[:half])]


def _consistency(size: int, hashes: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """Section 2.1.2: the proof that ``size`` entries are the beginning of all."""
    if size == len(hashes):
        return [] if whole else [_root(hashes)]
    half = _half(len(hashes))
    if size <= half:
        return [*_consistency(size, hashes[:half], whole=whole), _root(hashes[half:])]
    return [*_consistency(size - half, hashes[half:], whole=False), _root(hashes[:half])]


__all__ = ["KEY", "consistency", "enter", "prove", "read", "read_head", "record", "verify"]
