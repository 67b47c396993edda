"""The ledger's contract on PostgreSQL, on a server that lives as long as this module's tests."""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

pytest.importorskip("psycopg", reason="the PostgreSQL ledger needs psycopg: pip install 'psycopg[binary]'")

from synthkit.errors import LedgerError
from synthkit.privacy.ledger import _POSTGRES_LOCK, Ledger
from synthkit.release import log
from tests.privacy.test_ledger import BUDGET, GAUSSIAN, LedgerContract, clear_error, crowd

pytestmark = pytest.mark.slow


def _binaries() -> Path | None:
    """The folder of initdb and pg_ctl: Debian keeps them off the PATH, one folder per version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


def _server_user() -> str:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return getpass.getuser()
    return next(name for name in ("postgres", "nobody") if any(user.pw_name == name for user in pwd.getpwall()))


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """The folder of the server's socket; it listens nowhere else."""
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's server is not installed: no initdb in /usr/lib/postgresql/*/bin or on the PATH")
    user = _server_user()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path must be short
    data = folder / "data"

    def run(program: str, *arguments: str) -> None:
        with (folder / "output").open("a+") as output:  # not a pipe: the server would keep it open
            as_user = (
                {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
            )
            done = subprocess.run(
                [binaries / program, *arguments], cwd=folder, stdout=output, stderr=output, check=False, **as_user
            )
            output.seek(0)
            assert done.returncode == 0, output.read()

    try:
        if os.geteuid() == 0:
            shutil.chown(folder, user)
        run("initdb", "-D", str(data), "-U", "owner", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
        options = f"-k {folder} -c listen_addresses= -c fsync=off -c max_connections=50"
        run("pg_ctl", "-D", str(data), "-l", str(folder / "log"), "-w", "-o", options, "start")
        try:
            yield folder
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


class TestPostgres(LedgerContract):
    disarm = ("DROP TRIGGER entries_append_only ON entries",)
    count = 0

    @pytest.fixture
    def location(self, server: Path) -> str:
        """A database of its own for each test."""
        TestPostgres.count += 1
        name = f"ledger{TestPostgres.count}"
        self.administer(server, f"CREATE DATABASE {name}")
        return f"postgresql://owner@/{name}?host={server}"

    def administer(self, server: Path, *statements: str) -> None:
        engine = sa.create_engine(f"postgresql+psycopg://owner@/postgres?host={server}", isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()

    # The log of releases, beside it

    @pytest.mark.parametrize("statement", ["UPDATE log SET leaf = ''", "DELETE FROM log_heads", "TRUNCATE log"])
    def test_the_log_only_grows(self, location: str, tmp_path: Path, statement: str) -> None:
        ledger = Ledger(location)
        for number in range(2):
            (tmp_path / "manifest.json").write_text(f'"{number}"')
            (tmp_path / "gate.json").write_text("{}")
            log.enter(ledger, tmp_path, dataset="people")
        log.enter(ledger, tmp_path, dataset="people")  # a hand-out that is repeated
        with pytest.raises(LedgerError, match="append-only"), ledger.transaction(write=True) as connection:
            connection.exec_driver_sql(statement)
        assert log.verify(ledger) == 2

    # Where it is

    def test_password_is_not_shown(self, location: str) -> None:
        ledger = Ledger(location.replace("owner@", "owner:secret@"))
        assert "secret" not in ledger.location and "secret" not in repr(ledger)

    def test_the_short_spelling(self, location: str) -> None:
        assert Ledger(location.replace("postgresql://", "postgres://")).verify() == 0

    def test_beside_others_tables(self, location: str) -> None:
        engine = sa.create_engine(location)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE films (title text)")
            connection.exec_driver_sql("CREATE SCHEMA second")
        engine.dispose()
        Ledger(location).reserve("census", GAUSSIAN, BUDGET)
        second = location + "&options=-csearch_path%3Dsecond"
        assert Ledger(second).verify() == 0
        Ledger(second).reserve("census", GAUSSIAN, BUDGET)
        assert Ledger(location).verify() == Ledger(second).verify() == 1

    def test_without_psycopg(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "psycopg", None)
        with clear_error(r"needs the package psycopg; pip install 'psycopg\[binary\]'", allowed="psycopg"):
            Ledger("postgresql://owner@localhost/ledger")

    # What stands in the way

    def test_unreachable(self, tmp_path: Path) -> None:
        with clear_error("cannot be reached .*check that the server runs") as caught:
            Ledger(f"postgresql://owner:secret@/ledger?host={tmp_path}", timeout=2)
        assert "secret" not in str(caught.value)
        with clear_error("cannot be reached"):
            Ledger("postgresql://owner@127.0.0.1:1/ledger", timeout=2)

    def test_no_such_database_or_user(self, server: Path) -> None:
        with clear_error('cannot be reached .*"nowhere" does not exist'):
            Ledger(f"postgresql://owner@/nowhere?host={server}")
        with clear_error('cannot be reached .*"nobody" does not exist'):
            Ledger(f"postgresql://nobody@/postgres?host={server}")

    @pytest.mark.parametrize("lock", ["SELECT pg_advisory_xact_lock({})", "LOCK TABLE entries"])
    def test_locked_for_too_long(self, location: str, lock: str) -> None:
        ledger, engine = Ledger(location, timeout=0.2), sa.create_engine(location)
        with engine.begin() as connection:
            connection.exec_driver_sql(lock.format(_POSTGRES_LOCK))
            with clear_error("locked by another process for more than 0.2 seconds.*try again"):
                ledger.reserve("census", GAUSSIAN, BUDGET)
        engine.dispose()
        ledger.reserve("census", GAUSSIAN, BUDGET)

    def test_read_only(self, ledger: Ledger, location: str) -> None:
        ledger.reserve("census", GAUSSIAN, BUDGET)
        read_only = Ledger(location + "&options=-cdefault_transaction_read_only%3Don")
        assert read_only.spent("census").reserved == 1
        with clear_error("read-only for this user.*make the database writable"):
            read_only.reserve("census", GAUSSIAN, BUDGET)

    def test_not_allowed(self, server: Path, ledger: Ledger, location: str) -> None:
        self.administer(server, "DROP ROLE IF EXISTS auditor", "CREATE ROLE auditor LOGIN")
        auditor = location.replace("owner@", "auditor@")
        with clear_error("permission denied"):
            Ledger(auditor)
        with ledger._engine.begin() as connection:
            connection.exec_driver_sql("GRANT SELECT ON entries, meta TO auditor")
        assert Ledger(auditor).verify() == 0
        with clear_error("read-only for this user.*permission denied"):
            Ledger(auditor).reserve("census", GAUSSIAN, BUDGET)
        with ledger._engine.begin() as connection:
            connection.exec_driver_sql("REVOKE ALL ON entries, meta FROM auditor")

    @pytest.mark.parametrize(
        ("state", "named"),
        [
            ("53100", "the disk is full"),
            ("XX001", "is damaged"),
            ("57P01", "cannot be reached"),
            ("22000", "cannot be"),
        ],
    )
    def test_troubles_of_the_server(self, ledger: Ledger, state: str, named: str) -> None:
        with ledger._engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION 'trouble' USING ERRCODE = '{state}'; END $$"
            )
            connection.exec_driver_sql(
                "CREATE TRIGGER trouble BEFORE INSERT ON entries FOR EACH ROW EXECUTE FUNCTION trouble()"
            )
        with clear_error(named):
            ledger.reserve("census", GAUSSIAN, BUDGET)
        assert ledger.verify() == 0

    def test_the_server_goes_away_in_the_middle(self, server: Path, ledger: Ledger) -> None:
        with clear_error("cannot be reached"), ledger.transaction(write=True) as connection:
            process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            self.administer(server, f"SELECT pg_terminate_backend({process})")
            connection.exec_driver_sql("SELECT 1")
        assert ledger.verify() == 0

    def test_truncate_is_refused(self, filled: Ledger) -> None:
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            self.execute(filled, "TRUNCATE entries")
        assert filled.verify() == 5

    # What an administrator may have set otherwise

    def test_strict_and_durable_whatever_the_defaults(self, server: Path, location: str) -> None:
        database = location.split("/")[3].split("?")[0]
        self.administer(
            server,
            f"ALTER DATABASE {database} SET default_transaction_isolation = 'serializable'",
            f"ALTER DATABASE {database} SET synchronous_commit = off",
        )
        ledger = Ledger(location)
        with ledger.transaction(write=True) as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
            assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
        crowd(location, "for _ in range(4): ledger().reserve('census', GAUSSIAN, BUDGET)")
        assert ledger.verify() == 32
