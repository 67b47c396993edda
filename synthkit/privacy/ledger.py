"""The ledger: all that was ever spent on each dataset, over releases, processes and crashes.

A release is *reserved* before data open and *committed* after the fit; what was never committed
counts as spent in full, for ever: the process may have died after it had released something. The
ledger stores events, not epsilons, and recomposes them: a total is computed, never added up.

There is one table, ``entries``, to which rows are only appended; everything else is derived from
it. Check and append happen in one transaction that excludes every other writer. The rows form a
chain::

    hash = SHA-256(canonical JSON of sequence, id, dataset, kind, at, payload (as text), previous hash)

and a record of the head (last sequence number and hash) shows a tail that was cut off. Every verb
checks the whole chain before it trusts it, except :meth:`Ledger.entries`, which shows a damaged
ledger too. The chain has no key: it finds damage and clumsy edits, not an editor who recomputes
all of it, nor an old copy put back. To find those, keep the hash of a late entry elsewhere.

A payload holds what was declared (event, budget, purpose, reason), never a private value.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from dp_accounting import DpEvent
from sqlalchemy.pool import NullPool

from synthkit.documents import canonical_json
from synthkit.errors import BudgetExceeded, JobError, LedgerError, SynthkitError
from synthkit.privacy import accounting, append_only, events
from synthkit.privacy.budget import Adjacency, Budget, Unit
from synthkit.privacy.plan import Charge

Kind = Literal["reserve", "commit", "cancel", "cap"]

_VERSION = 1
_GENESIS = "0" * 64  # the hash before the first entry
_TOLERANCE = 1 + 1e-9  # rounding of a float comparison, not a gift
_POSTGRES_LOCK = int.from_bytes(b"synthled")  # PostgreSQL's advisory locks are known by a number

_tables = sa.MetaData()
_entries = sa.Table(
    "entries",
    _tables,
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", sa.Text, nullable=False),
    sa.Column("dataset", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("previous", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)
_meta = sa.Table(  # one row
    "meta",
    _tables,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)


@dataclass(frozen=True)
class Cap:
    """What may be spent on a dataset in its lifetime, in the adjacency and unit of its releases."""

    epsilon: float
    delta: float


@dataclass(frozen=True)
class Entry:
    """One row of the ledger.

    Attributes:
        sequence: 1, 2, 3, ... without gaps.
        id: a random name; a reservation is known by it.
        dataset: the steward's name for the dataset.
        kind: ``reserve`` (event, budget, purpose, perhaps use), ``commit`` (reservation, event), ``cancel``
            (reservation, reason) or ``cap`` (epsilon, delta).
        at: when, UTC, ISO 8601.
        payload: plain JSON values, by kind as above.
        previous, hash: the links of the chain.
    """

    sequence: int
    id: str
    dataset: str
    kind: Kind
    at: str
    payload: Mapping[str, Any]
    previous: str
    hash: str


@dataclass(frozen=True)
class Spent:
    """What all releases of a dataset cost together.

    Attributes:
        dataset: the steward's name for it.
        epsilon: of the composition of everything committed or still reserved; infinite after a
            release without a guarantee.
        delta: at which epsilon holds: the cap's, else the largest of the releases' budgets; 0 where
            there is neither.
        adjacency, unit: what epsilon is about; None where nothing was spent.
        releases: how many were committed.
        reserved: how many were reserved and neither committed nor cancelled. They count in full.
        cap: the lifetime cap, or None.
        uses: for what each of them was made, in the policy's words; empty where nobody said it.
    """

    dataset: str
    epsilon: float
    delta: float
    adjacency: Adjacency | None
    unit: Unit | None
    releases: int
    reserved: int
    cap: Cap | None
    uses: tuple[str, ...] = ()


class Ledger:
    """Persistent spending per dataset, in an SQLite file or a PostgreSQL database.

    Safe under concurrent processes and threads, and after a crash at any point. Each call opens a
    connection of its own, so a ledger may be used on both sides of a fork.

    Attributes:
        location: the URL, without its password.
    """

    def __init__(self, location: str | Path | None = None, *, timeout: float = 30.0) -> None:
        """Open the ledger; create it where there is none (readable by its owner alone).

        Args:
            location: path of an SQLite file, or a URL (``postgresql://user@host/database``). None:
                ``$SYNTHKIT_LEDGER``, else ``synthkit/ledger.sqlite`` in the user's data folder.
            timeout: seconds to wait for other processes before giving up.

        Raises:
            LedgerError: it cannot be opened, or is not a ledger that this release reads.
        """
        url = _url(location if location is not None else _default_location())
        self.location = url.render_as_string(hide_password=True)
        self._timeout = timeout
        self._engine = self._connect(url)
        with self.transaction() as connection:
            exists = self._recognise(connection)
        if not exists:
            self._create()

    def __repr__(self) -> str:
        return f"Ledger({self.location!r})"

    # The verbs

    def reserve(self, dataset: str, event: DpEvent, budget: Budget, *, purpose: str = "", use: str = "") -> str:
        """Set aside the price of a release, before any data open.

        Args:
            dataset: the steward's name for the dataset.
            event: everything that the release will run, as planned.
            budget: what was asked; its adjacency and unit say what the event is about.
            purpose: for people.
            use: for what, as a policy names it; see :attr:`Spent.uses`.

        Returns:
            the reservation's id, for :meth:`commit` or :meth:`cancel`.

        Raises:
            BudgetExceeded: the dataset's total with this event would exceed its cap.
            JobError: adjacency or unit differ from those of the dataset's earlier releases, or the
                event (or its composition with what was spent) has no price.
            LedgerError: the ledger cannot be used. Nothing was recorded.
        """
        _check_name(dataset)
        event = _stored_form(event)
        payload = {"event": events.to_json(event), "budget": budget.to_dict(), "purpose": purpose}
        if use:
            payload["use"] = use

        def decide(entries: Sequence[Entry]) -> tuple[str, dict[str, Any]]:
            account = _account(dataset, entries)
            account.check_comparable(budget)
            after = account.with_release("", _Release(budget, event))
            total = after.epsilon()  # without a cap too: what has no price is refused now, not when somebody asks
            if account.cap and total > account.cap.epsilon * _TOLERANCE:
                raise BudgetExceeded(
                    f"dataset {dataset!r}: this release would bring the total to epsilon {total:.4g} at delta "
                    f"{account.cap.delta:g}, above the cap of {account.cap.epsilon:g} ({account.epsilon():.4g} is spent "
                    "or reserved); ask for a smaller epsilon, or have the steward raise the cap"
                )
            return dataset, payload

        return self._append("reserve", decide).id

    def commit(self, reservation: str, event: DpEvent) -> None:
        """Replace a reservation by what really ran.

        Args:
            reservation: what :meth:`reserve` returned.
            event: the composition of all charges (``Session.event``).

        Raises:
            BudgetExceeded: the event costs more than was reserved. The reservation stays.
            JobError: the event has no price. The reservation stays.
            LedgerError: no such open reservation, or the ledger cannot be used.
        """
        event = _stored_form(event)
        payload = {"reservation": reservation, "event": events.to_json(event)}

        def decide(entries: Sequence[Entry]) -> tuple[str, dict[str, Any]]:
            account, reserved = _open_reservation(reservation, entries)
            if not events.parts(event) <= events.parts(reserved.event):  # a part of what was reserved costs no more
                alone, after = replace(reserved, event=event), account.with_commit(reservation, event)
                # At the release's delta and at the account's: a curve may be lower here and higher there.
                for less, more in ((reserved.epsilon(), alone.epsilon()), (account.epsilon(), after.epsilon())):
                    if more > less * _TOLERANCE:
                        raise BudgetExceeded(
                            f"dataset {account.dataset!r}: what ran costs more than was reserved (epsilon {more:.4g} "
                            f"instead of {less:.4g}); the reservation {reservation} stays as it is: do not publish this "
                            "release, and report a defect of its method"
                        )
            return account.dataset, payload

        self._append("commit", decide)

    def cancel(self, reservation: str, reason: str, *, trace: Sequence[Charge]) -> None:
        """Give a reservation back: allowed only where no mechanism ran.

        Args:
            reservation: what :meth:`reserve` returned.
            reason: for people, in public words.
            trace: ``Session.trace``, or ``()`` where no session was opened. It has no default, so
                that nobody cancels without looking.

        Raises:
            LedgerError: something was charged (commit that instead), no such open reservation, or
                the ledger cannot be used. The reservation stays.
        """
        if trace:
            raise LedgerError(
                f"reservation {reservation} cannot be cancelled: {len(trace)} charges were made, the first by "
                f"{trace[0].mechanism}; commit what ran (Session.event) instead"
            )
        payload = {"reservation": reservation, "reason": reason}
        self._append("cancel", lambda entries: (_open_reservation(reservation, entries)[0].dataset, payload))

    def cap(self, dataset: str, epsilon: float, delta: float) -> None:
        """Set the dataset's lifetime cap; each change is an entry.

        A cap below what is spent is legal: nothing more is allowed then.

        Raises:
            JobError: epsilon is negative or not finite, or delta does not lie between 0 and 1.
            LedgerError: the ledger cannot be used.
        """
        _check_name(dataset)
        if not (math.isfinite(epsilon) and epsilon >= 0):
            raise JobError(f"the cap's epsilon is {epsilon}; it must be a finite number, 0 or more")
        if not (math.isfinite(delta) and 0 < delta < 1):
            raise JobError(f"the cap's delta is {delta}; it must lie between 0 and 1, well below 1 / number of people")
        payload = {"epsilon": float(epsilon), "delta": float(delta)}
        self._append("cap", lambda entries: (dataset, payload))

    def spent(self, dataset: str) -> Spent:
        """What all releases of ``dataset`` cost together; zero for a name never seen.

        Raises:
            LedgerError: the ledger cannot be used, or does not verify.
        """
        with self.transaction() as connection:
            account = _account(dataset, self._chain(connection))
        committed = sum(release.committed for release in account.live.values())
        return Spent(
            dataset=dataset,
            epsilon=account.epsilon(),
            delta=account.delta,
            adjacency=account.budget.adjacency if account.budget else None,
            unit=account.budget.unit if account.budget else None,
            releases=committed,
            reserved=len(account.live) - committed,
            cap=account.cap,
            uses=tuple(release.use for release in account.live.values()),
        )

    def forecast(self, dataset: str, event: DpEvent, budget: Budget) -> float:
        """Epsilon of ``dataset``'s releases with one more, composed as :meth:`reserve` would. Records nothing.

        Raises:
            JobError, LedgerError: as :meth:`reserve`.
        """
        _check_name(dataset)
        with self.transaction() as connection:
            account = _account(dataset, self._chain(connection))
        account.check_comparable(budget)
        return account.with_release("", _Release(budget, _stored_form(event))).epsilon()

    def datasets(self) -> list[str]:
        """The names of all datasets with an entry, sorted."""
        with self.transaction() as connection:
            return sorted({entry.dataset for entry in self._chain(connection)})

    def entries(self, dataset: str | None = None) -> list[Entry]:
        """All entries (of ``dataset``), in order. The chain is not checked: see :meth:`verify`."""
        with self.transaction() as connection:
            rows = self._rows(connection)
        return [_entry(row) for row in rows if dataset is None or row["dataset"] == dataset]

    def verify(self) -> int:
        """Check every link of the chain, and its head.

        Returns:
            the number of entries.

        Raises:
            LedgerError: names the first entry that was changed, moved or removed.
        """
        with self.transaction() as connection:
            return len(self._chain(connection))

    # Reading and appending

    def _append(self, kind: Kind, decide: Callable[[Sequence[Entry]], tuple[str, Mapping[str, Any]]]) -> Entry:
        """Append what ``decide`` returns (dataset and payload) for the entries so far.

        It is asked twice. The first answer counts only where it is a refusal; it leaves the slow
        part, pricing, in the accountant's cache, so that others are not kept waiting under the lock.
        """
        with self.transaction() as connection:
            entries = self._chain(connection)
        decide(entries)
        with self.transaction(write=True) as connection:
            entries = self._chain(connection)
            dataset, payload = decide(entries)
            row = {
                "sequence": len(entries) + 1,
                "id": uuid.uuid4().hex,
                "dataset": dataset,
                "kind": kind,
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "payload": canonical_json(payload),
                "previous": entries[-1].hash if entries else _GENESIS,
            }
            row["hash"] = _hash(row)
            connection.execute(_entries.insert().values(row))
            connection.execute(_meta.update().values(sequence=row["sequence"], hash=row["hash"]))
        return _entry(row)

    def _rows(self, connection: sa.Connection) -> list[dict[str, Any]]:
        return [dict(row) for row in connection.execute(_entries.select().order_by(_entries.c.sequence)).mappings()]

    def _chain(self, connection: sa.Connection) -> list[Entry]:
        """All entries, once every link and the head were checked."""
        rows = self._rows(connection)
        heads = connection.execute(_meta.select()).mappings().all()
        previous = _GENESIS
        for expected, row in enumerate(rows, start=1):
            if row["sequence"] != expected:
                raise self._broken(f"entry {expected} is missing (entry {row['sequence']} stands in its place)")
            if not _intact(row, previous):
                raise self._broken(f"entry {expected} ({row['id']}, dataset {row['dataset']!r}) was changed or moved")
            previous = row["hash"]
        if len(heads) != 1 or not isinstance(heads[0]["sequence"], int):
            raise self._broken("the record of the last entry is missing, doubled or changed")
        last = heads[0]["sequence"]
        if last > len(rows):
            raise self._broken(f"entry {len(rows) + 1} is missing, and all up to {last}: the tail was cut off")
        if last < len(rows):
            raise self._broken(f"entry {last + 1} was not appended by synthkit")
        if heads[0]["hash"] != previous:
            raise self._broken(f"entry {last} is not the one that was appended last")
        return [_entry(row) for row in rows]

    def _broken(self, what: str) -> LedgerError:
        return LedgerError(
            f"{self.location}: {what}; the totals cannot be trusted. Keep this ledger as evidence and restore a backup; "
            "releases made since the backup must be reserved again by hand"
        )

    @contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[sa.Connection]:
        """One snapshot to read from or, with ``write``, the one transaction that may append.

        Others may keep tables of their own beside the ledger's, under the same lock.
        """
        postgres = self._engine.dialect.name == "postgresql"
        try:
            with self._engine.connect() as connection:
                if postgres:  # under the lock each statement must see what the last holder committed
                    connection.execution_options(isolation_level="READ COMMITTED" if write else "REPEATABLE READ")
                else:
                    connection.execution_options(begin="BEGIN IMMEDIATE" if write else "BEGIN")
                with connection.begin():
                    if postgres:
                        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {max(1, round(1000 * self._timeout))}")
                    if postgres and write:
                        connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
                        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRES_LOCK})")
                    yield connection
        except sa.exc.SQLAlchemyError as problem:
            raise LedgerError(f"{self.location}: {_explain(problem, self._timeout)}") from None

    # Opening and creating

    def _connect(self, url: sa.URL) -> sa.Engine:
        postgres = url.get_backend_name() == "postgresql"
        if postgres:
            arguments: dict[str, Any] = {"connect_timeout": max(2, math.ceil(self._timeout))}
        else:
            arguments = {"timeout": self._timeout, "isolation_level": None}  # None: BEGIN is ours alone to say
            if "uri" not in url.query:  # as a file: URI, so that SQLite never puts an empty file where one vanished
                url = url.set(database=Path(str(url.database)).as_uri())
                url = url.update_query_dict({"mode": "rw", "uri": "true"})
        try:
            engine = sa.create_engine(url, poolclass=NullPool, connect_args=arguments)
        except ModuleNotFoundError as problem:
            raise LedgerError(
                f"{self.location}: needs the package {problem.name}; pip install 'psycopg[binary]'"
            ) from None
        if not postgres:
            sa.event.listen(engine, "connect", _sqlite_durable)
            sa.event.listen(engine, "begin", _sqlite_begin)
        return engine

    def _recognise(self, connection: sa.Connection) -> bool:
        """Whether the database holds a ledger. Raises where it holds something else."""
        inspector = sa.inspect(connection)
        names, ours = set(inspector.get_table_names()), set(_tables.tables)
        if not names or (connection.dialect.name == "postgresql" and not names & ours):
            return False  # a PostgreSQL database may hold others' tables beside the ledger's
        version = None
        if ours <= names and "version" in {column["name"] for column in inspector.get_columns("meta")}:
            version = connection.execute(sa.select(_meta.c.version)).scalar()
        if version is None:
            raise LedgerError(
                f"{self.location}: is a database, but not a ledger of synthkit (or a damaged one); give the ledger a "
                "file, database or schema of its own"
            )
        if version != _VERSION:
            raise LedgerError(
                f"{self.location}: has version {version}, this release of synthkit reads version {_VERSION}; "
                "use the release of synthkit that wrote it"
            )
        return True

    def _create(self) -> None:
        with self.transaction(write=True) as connection:
            if self._recognise(connection):
                return  # another process was faster
            _tables.create_all(connection, checkfirst=False)
            append_only.arm(connection, _entries.name, "sequence")
            connection.execute(_meta.insert().values(version=_VERSION, sequence=0, hash=_GENESIS))


# The state, derived from entries


@dataclass(frozen=True)
class _Release:
    budget: Budget
    event: DpEvent
    committed: bool = False
    use: str = ""

    def epsilon(self) -> float:
        return _price(events.parts(self.event), self.budget.delta, self.budget.adjacency)


@dataclass(frozen=True)
class _Account:
    """One dataset: its cap, and its releases (committed or reserved, not cancelled) by id."""

    dataset: str
    cap: Cap | None = None
    live: Mapping[str, _Release] = field(default_factory=dict)

    def with_release(self, reservation: str, release: _Release) -> _Account:
        return replace(self, live={**self.live, reservation: release})

    def with_commit(self, reservation: str, event: DpEvent) -> _Account:
        return self.with_release(reservation, replace(self.live[reservation], event=event, committed=True))

    def without(self, reservation: str) -> _Account:
        return replace(self, live={name: release for name, release in self.live.items() if name != reservation})

    @property
    def budget(self) -> Budget | None:
        """The budget of the first release: all agree in adjacency and unit."""
        return next((release.budget for release in self.live.values()), None)

    @property
    def delta(self) -> float:
        if self.cap:
            return self.cap.delta
        return max((release.budget.delta for release in self.live.values()), default=0.0)

    def epsilon(self) -> float:
        """Epsilon of all releases composed, at :attr:`delta`."""
        if self.budget is None:
            return 0.0
        parts = Counter[str]()
        for release in self.live.values():
            parts.update(events.parts(release.event))
        return _price(parts, self.delta, self.budget.adjacency)

    def check_comparable(self, budget: Budget) -> None:
        """Refuse a budget about other neighbours: a total over both would mean nothing."""
        for name in ("adjacency", "unit"):
            asked, before = getattr(budget, name), getattr(self.budget or budget, name)
            if asked != before:
                raise JobError(
                    f"dataset {self.dataset!r}: {name} is {asked!s}, but earlier releases had {before!s}; their costs "
                    f"cannot be composed: use {before!s}"
                )


def _account(dataset: str, entries: Sequence[Entry]) -> _Account:
    account = _Account(dataset)
    for entry in entries:
        if entry.dataset != dataset:
            continue
        payload = entry.payload
        try:
            match entry.kind:
                case "reserve":
                    unit = Unit(**payload["budget"]["unit"])
                    budget = Budget(**{**payload["budget"], "unit": unit})
                    release = _Release(budget, events.from_json(payload["event"]), use=payload.get("use", ""))
                    account = account.with_release(entry.id, release)
                case "commit":
                    account = account.with_commit(payload["reservation"], events.from_json(payload["event"]))
                case "cancel":
                    account = account.without(payload["reservation"])
                case "cap":
                    account = replace(account, cap=Cap(payload["epsilon"], payload["delta"]))
                case _:
                    raise ValueError
        except (KeyError, TypeError, ValueError, SynthkitError):
            raise _unreadable(entry.sequence) from None
    return account


def _open_reservation(reservation: str, entries: Sequence[Entry]) -> tuple[_Account, _Release]:
    dataset = next((entry.dataset for entry in entries if entry.id == reservation and entry.kind == "reserve"), None)
    if dataset is None:
        raise LedgerError(f"the ledger has no reservation {reservation!r}; use the id that reserve() returned")
    account = _account(dataset, entries)
    release = account.live.get(reservation)
    if release is None or release.committed:
        done = "cancelled" if release is None else "committed"
        raise LedgerError(f"reservation {reservation} was {done} before; reserve again for another release")
    return account, release


def _price(parts: Counter[str], delta: float, adjacency: Adjacency) -> float:
    """Epsilon of all ``parts`` composed; their order is fixed, so that equal sums have equal prices."""
    composition = [events.repeat(events.from_json(json.loads(key)), count) for key, count in sorted(parts.items())]
    try:
        return accounting.epsilon(events.compose(composition), delta, adjacency)
    except ValueError as problem:
        raise JobError(f"the composition of this release with what was spent has no price: {problem}") from None


def _stored_form(event: DpEvent) -> DpEvent:
    """``event`` as it will be read back; refuses before anything is written what could not be."""
    try:
        stored = events.from_json(json.loads(canonical_json(events.to_json(event))))
    except (TypeError, ValueError) as problem:
        raise JobError(f"{type(event).__name__} cannot be recorded: {problem}") from None
    return stored


def _check_name(dataset: str) -> None:
    if not (isinstance(dataset, str) and dataset and dataset == dataset.strip() and dataset.isprintable()):
        raise JobError(f"a dataset cannot be named {dataset!r}; use printable characters, and no space at the ends")


# Rows


def _hash(row: Mapping[str, Any]) -> str:
    content = {name: row[name] for name in ("sequence", "id", "dataset", "kind", "at", "payload", "previous")}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def _intact(row: Mapping[str, Any], previous: str) -> bool:
    try:
        return bool(row["previous"] == previous and row["hash"] == _hash(row))
    except TypeError:  # SQLite takes bytes into a text column; the ledger never writes any
        return False


def _entry(row: Mapping[str, Any]) -> Entry:
    try:
        return Entry(**{**row, "payload": json.loads(row["payload"])})
    except (TypeError, ValueError):
        raise _unreadable(row["sequence"]) from None


def _unreadable(sequence: int) -> LedgerError:
    return LedgerError(
        f"entry {sequence} of the ledger cannot be read: it was damaged, or written by a later release of synthkit"
    )


# Places and their troubles


def _default_location() -> str | Path:
    if named := os.environ.get("SYNTHKIT_LEDGER"):
        return named
    folder = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not folder.is_absolute():  # the XDG specification: a relative path is invalid and ignored
        folder = Path.home() / ".local" / "share"
    return folder / "synthkit" / "ledger.sqlite"


def _url(location: str | Path) -> sa.URL:
    """The location as a URL; an SQLite file exists afterwards, readable by its owner alone."""
    if "://" not in str(location):
        return _sqlite_url(sa.URL.create("sqlite", database=str(location)))
    try:
        url = sa.make_url(str(location))
    except (sa.exc.ArgumentError, ValueError):
        raise LedgerError("the ledger's URL cannot be read; write postgresql://user@host:5432/database") from None
    match url.get_backend_name():
        case "sqlite":
            return _sqlite_url(url)
        case "postgresql" | "postgres":
            return url.set(drivername="postgresql+psycopg")
        case other:
            raise LedgerError(f"a ledger cannot be kept in {other}; use an SQLite file or a postgresql:// URL")


def _sqlite_url(url: sa.URL) -> sa.URL:
    name = url.database or ":memory:"
    if url.query.get("uri") == "true" and name.startswith("file:"):
        if url.query.get("mode", "rw") not in ("ro", "rw"):  # SQLite would create it with the umask's permissions
            raise LedgerError(f"{name}: mode must be ro or rw; to create a ledger, give its path alone")
        return url.update_query_dict({"mode": url.query.get("mode", "rw")})
    if name == ":memory:":
        raise LedgerError("a ledger in memory would forget what was spent; give the path of a file")
    path = Path(name).expanduser().absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not path.is_file():
            raise LedgerError(f"{path}: cannot be the ledger: it (or its folder) is not a file (or folder)") from None
    except OSError as problem:
        raise LedgerError(
            f"{path}: the ledger cannot be created: {problem.strerror}; make its folder writable for this user, or name "
            "another place in SYNTHKIT_LEDGER"
        ) from None
    return url.set(database=str(path))


def _sqlite_durable(connection: Any, _: Any) -> None:
    # FULL, and the folder synced too when the rollback journal is deleted: what was committed
    # survives a power failure.
    connection.execute("PRAGMA synchronous = EXTRA")


def _sqlite_begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


_REACH = (
    "check that the server runs and that the URL is right; if it left in mid-call, look at the entries before a retry"
)
_WRITABLE = "is read-only for this user; the ledger must record a price before it is spent: make {} writable"
_LOCKED = (
    "was locked by another process for more than {:g} seconds; nothing was recorded: try again when that one is done"
)
_FULL = "the disk is full; nothing was recorded: free some space and try again"
_DAMAGED = "is damaged ({}); keep it as evidence and restore a backup: a fresh ledger would forget what was spent"


def _explain(problem: sa.exc.SQLAlchemyError, timeout: float) -> str:
    """What went wrong and what to do, from the database's own error code."""
    cause = getattr(problem, "orig", None) or problem
    told = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    code: int | None = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        match code & 0xFF:  # the primary code; see https://www.sqlite.org/rescode.html
            case 5 | 6:
                return _LOCKED.format(timeout)
            case 3 | 8 | 23:
                return _WRITABLE.format("the file and its folder")
            case 13:
                return _FULL
            case 14:
                return "cannot be opened; nothing was recorded: make the file and its folder readable and writable"
            case 11:
                return _DAMAGED.format(told)
            case 26:
                return "is not an SQLite file; give the ledger a path of its own"
    elif hasattr(cause, "sqlstate"):
        match cause.sqlstate:  # see https://www.postgresql.org/docs/current/errcodes-appendix.html
            case "55P03":
                return _LOCKED.format(timeout)
            case "25006":
                return _WRITABLE.format("the database")
            case "42501":
                return _WRITABLE.format("the schema") + f" ({told})"
            case "53100":
                return _FULL
            case "XX001" | "XX002":
                return _DAMAGED.format(told)
            case None:
                return f"cannot be reached ({told}); {_REACH}"
            case state if state.startswith(("08", "28", "3D", "57P")):
                return f"cannot be reached ({told}); {_REACH}"
    return f"cannot be used ({told}); mend this, and look at the entries before a retry"


__all__ = ["Cap", "Entry", "Kind", "Ledger", "Spent"]
