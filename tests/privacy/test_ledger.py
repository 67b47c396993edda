"""What every ledger must do, whatever it is kept in; and what is particular to an SQLite file.

:class:`LedgerContract` is inherited once per backend (here, and in ``test_ledger_postgres.py``).
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import dp_accounting
import pytest
import sqlalchemy as sa
from dp_accounting import DpEvent, GaussianDpEvent, LaplaceDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthkit.documents import canonical_json
from synthkit.errors import BudgetExceeded, JobError, LedgerError
from synthkit.privacy import accounting, events
from synthkit.privacy import ledger as module
from synthkit.privacy.accounting import epsilon
from synthkit.privacy.budget import Adjacency, Budget, Unit
from synthkit.privacy.ledger import Cap, Ledger
from synthkit.privacy.plan import Charge, Plan
from synthkit.privacy.session import Session

BUDGET = Budget(1.0, 1e-6)
GAUSSIAN = GaussianDpEvent(50.0)
HALF = GaussianDpEvent(100.0)
NOTHING = events.to_json(dp_accounting.NoOpDpEvent())
CHARGE = Charge(GAUSSIAN, "gaussian counts", 1.0, "a paper")


def price(*parts: DpEvent, delta: float = BUDGET.delta, adjacency: Adjacency = BUDGET.adjacency) -> float:
    return epsilon(events.compose(sorted(parts, key=events.key)), delta, adjacency)


def crowd(location: str, work: str, *, count: int = 8) -> list[str]:
    """Run ``work`` in ``count`` processes that start together; what they said, by lines.

    The processes are forked from a fresh interpreter, so that only one has to import the library.
    ``work`` may use ``ledger()``, ``say(text)`` and the names of this module's head.
    """
    script = f"""
import os, random, signal, sys, threading
from dp_accounting import GaussianDpEvent
from synthkit.errors import BudgetExceeded
from synthkit.privacy import ledger as module
from synthkit.privacy.budget import Budget

BUDGET, GAUSSIAN = Budget(1.0, 1e-6), GaussianDpEvent(50.0)
ledger = lambda: module.Ledger(sys.argv[1])
say = lambda text: os.write(1, (text + "\\n").encode())

def work(worker):
{textwrap.indent(work, "    ")}

gate, starter = os.pipe()
children = []
for worker in range({count}):
    child = os.fork()
    if child == 0:
        os.close(starter)
        os.read(gate, 1)  # returns when the parent closes its end
        code = 1
        try:
            work(worker)
            code = 0
        finally:
            sys.stderr.flush()
            sys.excepthook(*sys.exc_info()) if code else None
            os._exit(code)
    children.append(child)
os.close(starter)
for child in children:
    status = os.waitpid(child, 0)[1]
    if status not in (0, signal.SIGKILL):
        sys.exit("a worker failed")
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", script, location],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


class LedgerContract:
    """One suite for all backends. A subclass gives ``location`` and the SQL to disarm the triggers."""

    disarm: tuple[str, ...]

    @pytest.fixture
    def ledger(self, location: str) -> Ledger:
        return Ledger(location)

    def edit(self, ledger: Ledger, *statements: str) -> None:
        """What somebody with write access to the database could do."""
        self.execute(ledger, *self.disarm, *statements)

    def execute(self, ledger: Ledger, *statements: str) -> None:
        with ledger._engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    # Spending

    def test_nothing_was_spent_on_a_dataset_never_seen(self, ledger: Ledger) -> None:
        spent = ledger.spent("census")
        assert (spent.epsilon, spent.delta, spent.releases, spent.reserved, spent.cap) == (0.0, 0.0, 0, 0, None)
        assert spent.adjacency is None and spent.unit is None
        assert ledger.datasets() == [] and ledger.entries() == [] and ledger.verify() == 0
        with pytest.raises(FrozenInstanceError):
            spent.epsilon = 1.0  # type: ignore[misc]

    def test_total_is_recomposed_not_added(self, ledger: Ledger) -> None:
        for _ in range(10):
            ledger.commit(ledger.reserve("census", GAUSSIAN, BUDGET), GAUSSIAN)
        spent = ledger.spent("census")
        assert spent.epsilon == epsilon(events.compose([GAUSSIAN] * 10), BUDGET.delta, BUDGET.adjacency)
        assert spent.epsilon < 0.5 * 10 * price(GAUSSIAN)
        assert (spent.releases, spent.reserved, spent.delta) == (10, 0, BUDGET.delta)
        assert (spent.adjacency, spent.unit) == (BUDGET.adjacency, BUDGET.unit)

    def test_equal_parts_of_different_releases_are_priced_together(self, ledger: Ledger) -> None:
        laplace = LaplaceDpEvent(4.0)
        ledger.reserve("census", events.compose([GAUSSIAN, laplace]), BUDGET)
        ledger.reserve("census", events.compose([laplace, SelfComposedDpEvent(GAUSSIAN, 3)]), BUDGET)
        assert ledger.spent("census").epsilon == price(*[GAUSSIAN] * 4, *[laplace] * 2)

    def test_datasets_are_apart(self, ledger: Ledger) -> None:
        ledger.reserve("census", GAUSSIAN, BUDGET)
        ledger.reserve("a survey", HALF, Budget(1.0, 1e-6, Adjacency.REPLACE_ONE, Unit("person", 3)))
        assert ledger.datasets() == ["a survey", "census"]
        assert ledger.spent("census").epsilon == price(GAUSSIAN)
        assert ledger.spent("a survey").epsilon == price(HALF, adjacency=Adjacency.REPLACE_ONE)
        assert ledger.spent("a survey").unit == Unit("person", 3)
        assert [entry.dataset for entry in ledger.entries("census")] == ["census"]

    def test_everything_is_there_for_the_next_process(self, ledger: Ledger, location: str) -> None:
        name = ledger.reserve("census", GAUSSIAN, BUDGET, purpose="a first look")
        ledger.commit(name, HALF)
        ledger.cap("census", 2.0, 1e-5)
        again = Ledger(location)
        assert again.spent("census") == ledger.spent("census")
        reserve, commit, cap = again.entries()
        assert (reserve.sequence, reserve.id, reserve.kind) == (1, name, "reserve")
        assert reserve.payload == {
            "event": events.to_json(GAUSSIAN),
            "budget": BUDGET.to_dict(),
            "purpose": "a first look",
        }
        assert commit.payload == {"reservation": name, "event": events.to_json(HALF)}
        assert cap.payload == {"epsilon": 2.0, "delta": 1e-5}
        assert commit.previous == reserve.hash and cap.previous == commit.hash
        assert reserve.at.endswith("+00:00")

    def test_delta_is_the_largest_of_the_budgets_until_there_is_a_cap(self, ledger: Ledger) -> None:
        ledger.reserve("census", GAUSSIAN, Budget(1.0, 1e-7))
        ledger.reserve("census", GAUSSIAN, Budget(1.0, 1e-5))
        assert ledger.spent("census").delta == 1e-5
        assert ledger.spent("census").epsilon == price(GAUSSIAN, GAUSSIAN, delta=1e-5)
        ledger.cap("census", 5.0, 1e-8)
        assert ledger.spent("census").delta == 1e-8
        assert ledger.spent("census").epsilon == price(GAUSSIAN, GAUSSIAN, delta=1e-8)

    def test_a_release_without_guarantee_costs_infinity_for_ever(self, ledger: Ledger) -> None:
        event = dp_accounting.NonPrivateDpEvent()
        ledger.commit(ledger.reserve("census", event, BUDGET), event)
        assert ledger.spent("census").epsilon == float("inf")
        ledger.cap("census", 100.0, 1e-6)
        with pytest.raises(BudgetExceeded, match="inf"):
            ledger.reserve("census", HALF, BUDGET)

    # Reserve, commit, cancel

    def test_an_uncommitted_reservation_counts_in_full(self, ledger: Ledger) -> None:
        ledger.reserve("census", GAUSSIAN, BUDGET)
        spent = ledger.spent("census")
        assert (spent.epsilon, spent.releases, spent.reserved) == (price(GAUSSIAN), 0, 1)

    def test_commit_of_less_frees_the_difference(self, ledger: Ledger) -> None:
        ledger.cap("census", 1.01 * price(GAUSSIAN, GAUSSIAN), BUDGET.delta)
        name = ledger.reserve("census", events.repeat(GAUSSIAN, 2), BUDGET)
        with pytest.raises(BudgetExceeded):
            ledger.reserve("census", GAUSSIAN, BUDGET)
        ledger.commit(name, GAUSSIAN)
        assert ledger.spent("census").epsilon == price(GAUSSIAN)
        ledger.reserve("census", GAUSSIAN, BUDGET)

    def test_commit_of_nothing_costs_nothing(self, ledger: Ledger) -> None:
        ledger.commit(ledger.reserve("census", GAUSSIAN, BUDGET), events.compose([]))
        assert (ledger.spent("census").epsilon, ledger.spent("census").releases) == (0.0, 1)

    def test_commit_of_a_cheaper_event_of_another_kind(self, ledger: Ledger) -> None:
        name = ledger.reserve("census", GAUSSIAN, BUDGET)
        ledger.commit(name, HALF)
        assert ledger.spent("census").epsilon == price(HALF)

    @pytest.mark.parametrize(
        "more",
        [GaussianDpEvent(49.0), SelfComposedDpEvent(GAUSSIAN, 2), dp_accounting.NonPrivateDpEvent()],
        ids=["less noise", "once more", "no noise"],
    )
    def test_commit_of_more_is_refused_and_the_reservation_stays(self, ledger: Ledger, more: DpEvent) -> None:
        name = ledger.reserve("census", GAUSSIAN, BUDGET)
        with pytest.raises(BudgetExceeded, match=f"(?s)costs more.*{name}"):
            ledger.commit(name, more)
        spent = ledger.spent("census")
        assert (spent.epsilon, spent.reserved) == (price(GAUSSIAN), 1)
        assert ledger.verify() == 1

    def test_commit_that_costs_less_at_its_delta_and_more_at_the_cap_s_is_refused(self, ledger: Ledger) -> None:
        # Pure noise has the same epsilon at every delta; Gaussian noise has more at smaller ones.
        pure, gaussian = LaplaceDpEvent(1.0), GaussianDpEvent(3.0)
        large, small = 1e-2, 1e-12
        assert price(gaussian, delta=large) < price(pure, delta=large)
        assert price(gaussian, delta=small) > price(pure, delta=small)
        ledger.cap("census", 1.1 * price(pure, delta=small), small)
        name = ledger.reserve("census", pure, Budget(1.0, large))
        with pytest.raises(BudgetExceeded):
            ledger.commit(name, gaussian)

    def test_commit_of_a_session(self, ledger: Ledger) -> None:
        plan = Plan(Budget(2.0, 1e-6), events.compose([GAUSSIAN, LaplaceDpEvent(4.0), GAUSSIAN]))
        name = ledger.reserve("census", plan.event, plan.budget)
        session = Session(plan)
        session.charge(Charge(LaplaceDpEvent(4.0), "laplace", 1.0, "a paper"))
        session.charge(CHARGE)
        ledger.commit(name, session.event)
        assert ledger.spent("census").epsilon == price(GAUSSIAN, LaplaceDpEvent(4.0))

    def test_cancel_gives_back(self, ledger: Ledger) -> None:
        name = ledger.reserve("census", GAUSSIAN, BUDGET)
        ledger.cancel(name, "the file was missing", trace=())
        spent = ledger.spent("census")
        assert (spent.epsilon, spent.releases, spent.reserved) == (0.0, 0, 0)
        assert ledger.entries()[-1].payload == {"reservation": name, "reason": "the file was missing"}

    def test_cancel_with_a_trace_is_refused(self, ledger: Ledger) -> None:
        name = ledger.reserve("census", GAUSSIAN, BUDGET)
        with pytest.raises(LedgerError, match="gaussian counts; commit"):
            ledger.cancel(name, "changed my mind", trace=[CHARGE])
        with pytest.raises(TypeError, match="trace"):
            ledger.cancel(name, "changed my mind")  # type: ignore[call-arg]
        assert ledger.spent("census").reserved == 1

    def test_a_reservation_ends_once(self, ledger: Ledger) -> None:
        committed, cancelled = (ledger.reserve("census", GAUSSIAN, BUDGET) for _ in range(2))
        ledger.commit(committed, GAUSSIAN)
        ledger.cancel(cancelled, "not needed", trace=())
        for name, done in ((committed, "committed"), (cancelled, "cancelled")):
            with pytest.raises(LedgerError, match=f"was {done} before"):
                ledger.commit(name, GAUSSIAN)
            with pytest.raises(LedgerError, match=f"was {done} before"):
                ledger.cancel(name, "again", trace=())
        for unknown in ("nonsense", ledger.entries()[2].id):  # the commit has an id, but is no reservation
            with pytest.raises(LedgerError, match="no reservation"):
                ledger.commit(unknown, GAUSSIAN)
        assert ledger.verify() == 4

    # Caps

    def test_the_cap_refuses_the_third_release_before_anything(self, ledger: Ledger) -> None:
        ledger.cap("census", (price(GAUSSIAN, GAUSSIAN) + price(*[GAUSSIAN] * 3)) / 2, BUDGET.delta)
        for _ in range(2):
            ledger.commit(ledger.reserve("census", GAUSSIAN, BUDGET), GAUSSIAN)
        before = ledger.spent("census")
        with pytest.raises(BudgetExceeded, match=r"census.*above the cap.*smaller epsilon"):
            ledger.reserve("census", GAUSSIAN, BUDGET)
        assert ledger.spent("census") == before and ledger.verify() == 5
        ledger.reserve("another", GAUSSIAN, BUDGET)

    def test_a_plan_that_fills_the_cap_exactly_is_allowed(self, ledger: Ledger) -> None:
        ledger.cap("census", price(GAUSSIAN), BUDGET.delta)
        ledger.reserve("census", GAUSSIAN, BUDGET)

    def test_the_cap_may_be_lowered_and_raised(self, ledger: Ledger) -> None:
        ledger.reserve("census", GAUSSIAN, BUDGET)
        ledger.cap("census", 0.0, BUDGET.delta)  # below what is spent
        assert ledger.spent("census").cap == Cap(0.0, BUDGET.delta)
        with pytest.raises(BudgetExceeded):
            ledger.reserve("census", GaussianDpEvent(1e4), BUDGET)
        ledger.cap("census", 10.0, BUDGET.delta)
        ledger.reserve("census", GAUSSIAN, BUDGET)
        assert [entry.kind for entry in ledger.entries()] == ["reserve", "cap", "cap", "reserve"]

    @pytest.mark.parametrize(
        ("epsilon", "delta"),
        [(-1.0, 1e-6), (float("inf"), 1e-6), (float("nan"), 1e-6), (1.0, 0.0), (1.0, 1.0), (1.0, float("nan"))],
    )
    def test_a_cap_that_means_nothing(self, ledger: Ledger, epsilon: float, delta: float) -> None:
        with pytest.raises(JobError, match="the cap's"):
            ledger.cap("census", epsilon, delta)
        assert ledger.verify() == 0

    # What cannot be composed or recorded

    @pytest.mark.parametrize(
        ("other", "named"),
        [
            (Budget(1.0, 1e-6, Adjacency.REPLACE_ONE), "adjacency is replace-one, but .* add-or-remove"),
            (Budget(1.0, 1e-6, unit=Unit("person", 5)), r"unit is person \(at most 5 rows\), but .* row"),
        ],
        ids=["adjacency", "unit"],
    )
    def test_other_neighbours_are_refused(self, ledger: Ledger, other: Budget, named: str) -> None:
        ledger.cap("census", 5.0, 1e-6)
        name = ledger.reserve("census", GAUSSIAN, BUDGET)
        with pytest.raises(JobError, match=named):
            ledger.reserve("census", GAUSSIAN, other)
        assert ledger.verify() == 2
        ledger.cancel(name, "it was declared wrongly", trace=())
        ledger.reserve("census", GAUSSIAN, other)  # nothing was released under the wrong declaration

    @pytest.mark.parametrize(
        "event",
        [
            PoissonSampledDpEvent(0.01, dp_accounting.LaplaceDpEvent(1.0)),
            PoissonSampledDpEvent(0.01, dp_accounting.dp_event.ZCDpEvent(0.01)),
        ],
        ids=["no PLD", "no RDP"],
    )
    def test_an_event_without_price_is_refused(self, ledger: Ledger, event: DpEvent) -> None:
        ledger.reserve("census", GAUSSIAN, BUDGET)
        before = ledger.spent("census")
        with pytest.raises(JobError, match="has no price"):
            ledger.reserve("census", event, BUDGET)
        assert ledger.spent("census") == before

    @pytest.mark.parametrize(
        "event",
        [GaussianDpEvent(-1.0), GaussianDpEvent(float("nan")), dp_accounting.UnsupportedDpEvent()],
        ids=["negative", "nan", "unsupported"],
    )
    def test_an_event_that_could_not_be_read_back_is_not_written(self, ledger: Ledger, event: DpEvent) -> None:
        with pytest.raises(JobError, match="cannot be recorded"):
            ledger.reserve("census", event, BUDGET)
        name = ledger.reserve("census", GAUSSIAN, BUDGET)
        with pytest.raises(JobError, match="cannot be recorded"):
            ledger.commit(name, event)
        assert ledger.verify() == 1

    @pytest.mark.parametrize("name", ["", " ", " census", "census\n", "cen\x00sus", "\ud800"])
    def test_a_name_that_could_be_mistaken(self, ledger: Ledger, name: str) -> None:
        with pytest.raises(JobError, match="cannot be named"):
            ledger.reserve(name, GAUSSIAN, BUDGET)
        with pytest.raises(JobError, match="cannot be named"):
            ledger.cap(name, 1.0, 1e-6)

    def test_any_text_is_a_purpose(self, ledger: Ledger) -> None:
        purpose = "Forschung: \x00\n\ud800 \U0001f600 '; DROP TABLE entries; --"
        ledger.reserve("données d'été", GAUSSIAN, BUDGET, purpose=purpose)
        assert ledger.entries("données d'été")[0].payload["purpose"] == purpose
        assert ledger.verify() == 1

    # The chain

    @pytest.fixture
    def filled(self, ledger: Ledger) -> Ledger:
        """Five entries: cap, reserve, commit, reserve, reserve."""
        ledger.cap("census", 5.0, 1e-6)
        ledger.commit(ledger.reserve("census", GAUSSIAN, BUDGET), GAUSSIAN)
        ledger.reserve("survey", GAUSSIAN, BUDGET)
        ledger.reserve("census", HALF, BUDGET)
        assert ledger.verify() == 5
        return ledger

    @pytest.mark.parametrize(
        ("statements", "named"),
        [
            (["UPDATE entries SET dataset = 'toys' WHERE sequence = 4"], "entry 4 .* was changed"),
            (["UPDATE entries SET payload = '{}' WHERE sequence = 2"], "entry 2 .* was changed"),
            (["UPDATE entries SET payload = 'nonsense' WHERE sequence = 2"], "entry 2 .* was changed"),
            (["UPDATE entries SET at = '2001-01-01T00:00:00+00:00' WHERE sequence = 1"], "entry 1 .* was changed"),
            (["UPDATE entries SET hash = previous WHERE sequence = 3"], "entry 3 .* was changed"),
            (["DELETE FROM entries WHERE sequence = 3"], "entry 3 is missing"),
            (["DELETE FROM entries WHERE sequence = 1"], "entry 1 is missing"),
            (
                ["DELETE FROM entries WHERE sequence = 3", "UPDATE entries SET sequence = 3 WHERE sequence = 4"],
                "entry 3 .* was changed or moved",
            ),
            (
                [
                    "UPDATE entries SET sequence = -1 WHERE sequence = 2",
                    "UPDATE entries SET sequence = 2 WHERE sequence = 4",
                    "UPDATE entries SET sequence = 4 WHERE sequence = -1",
                ],
                "entry 2 .* was changed or moved",
            ),
            (["DELETE FROM entries WHERE sequence >= 4"], "entry 4 is missing, and all up to 5: the tail"),
            (["DELETE FROM entries"], "entry 1 is missing, and all up to 5: the tail"),
            (["DELETE FROM meta"], "record of the last entry is missing"),
            (["INSERT INTO meta SELECT 7, sequence, hash FROM meta"], "record of the last entry is .* doubled"),
            (["UPDATE meta SET sequence = 4"], "entry 5 was not appended by synthkit"),
            (["UPDATE meta SET hash = 'x'"], "entry 5 is not the one that was appended last"),
        ],
        ids=lambda value: value[0][:60] if isinstance(value, list) else "",
    )
    def test_tampering_is_found_and_named(self, filled: Ledger, statements: list[str], named: str) -> None:
        self.edit(filled, *statements)
        with pytest.raises(LedgerError, match=named):
            filled.verify()
        with pytest.raises(LedgerError, match=named):  # and nothing more is spent on the strength of it
            filled.reserve("census", GAUSSIAN, BUDGET)
        with pytest.raises(LedgerError, match=named):
            filled.spent("census")

    def test_a_changed_entry_with_a_new_hash_breaks_the_next_link(self, filled: Ledger) -> None:
        with filled.transaction() as connection:
            row = filled._rows(connection)[1]
        digest = module._hash({**row, "dataset": "toys"})
        self.edit(filled, f"UPDATE entries SET dataset = 'toys', hash = '{digest}' WHERE sequence = 2")
        with pytest.raises(LedgerError, match=r"entry 3 .* was changed or moved"):
            filled.verify()

    def test_a_damaged_ledger_can_still_be_shown(self, filled: Ledger) -> None:
        self.edit(filled, "DELETE FROM entries WHERE sequence = 2")
        assert [entry.sequence for entry in filled.entries()] == [1, 3, 4, 5]
        self.execute(filled, "UPDATE entries SET payload = 'nonsense' WHERE sequence = 4")
        with pytest.raises(LedgerError, match="entry 4 of the ledger cannot be read"):
            filled.entries()

    @pytest.mark.parametrize(
        "statement",
        ["UPDATE entries SET dataset = 'toys'", "DELETE FROM entries", "DELETE FROM entries WHERE sequence = 5"],
    )
    def test_triggers_refuse(self, filled: Ledger, statement: str) -> None:
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            self.execute(filled, statement)
        assert filled.verify() == 5

    @pytest.mark.parametrize(
        ("kind", "payload"),
        [
            ("commit", {"reservation": "nobody", "event": NOTHING}),
            ("refund", {}),
            ("reserve", {"event": {"kind": "from the future"}, "budget": BUDGET.to_dict(), "purpose": ""}),
            ("reserve", {"event": NOTHING, "budget": {"epsilon": 1.0}, "purpose": ""}),
        ],
        ids=["no such reservation", "unknown kind", "unknown event", "half a budget"],
    )
    def test_an_entry_that_makes_no_sense_stops_everything(self, ledger: Ledger, kind: str, payload: object) -> None:
        ledger._append(kind, lambda entries: ("census", payload))  # type: ignore[arg-type, return-value]
        with pytest.raises(LedgerError, match="entry 1 of the ledger cannot be read"):
            ledger.spent("census")
        with pytest.raises(LedgerError, match="entry 1 of the ledger cannot be read"):
            ledger.reserve("census", GAUSSIAN, BUDGET)

    # Opening

    def test_another_version_is_refused(self, filled: Ledger, location: str) -> None:
        self.edit(filled, "UPDATE meta SET version = 2")
        with pytest.raises(LedgerError, match="has version 2, this release of synthkit reads version 1"):
            Ledger(location)

    def test_half_a_ledger_is_refused(self, filled: Ledger, location: str) -> None:
        self.edit(filled, "DROP TABLE meta")
        with pytest.raises(LedgerError, match="not a ledger of synthkit"):
            Ledger(location)

    def test_another_program_s_meta_is_refused(self, filled: Ledger, location: str) -> None:
        self.edit(filled, "DROP TABLE meta", "CREATE TABLE meta (colour TEXT)")
        with pytest.raises(LedgerError, match="not a ledger of synthkit"):
            Ledger(location)

    def test_many_create_it_at_once(self, location: str) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: Ledger(location).reserve("census", GAUSSIAN, BUDGET), range(8)))
        assert Ledger(location).verify() == 8

    # Processes and crashes

    def test_eight_processes_never_exceed_the_cap(self, ledger: Ledger, location: str) -> None:
        cap = 1.001 * price(*[GAUSSIAN] * 20)
        ledger.cap("census", cap, BUDGET.delta)
        said = crowd(
            location,
            """
book = ledger()
for _ in range(5):
    try:
        name = book.reserve("census", GAUSSIAN, BUDGET)
    except BudgetExceeded:
        say("refused")
        continue
    say("reserved " + name)
    book.commit(name, GAUSSIAN)
""",
        )
        assert len(said) == 40
        assert len({line for line in said if line.startswith("reserved")}) == 20
        spent = ledger.spent("census")
        assert (spent.releases, spent.reserved) == (20, 0)
        assert spent.epsilon == price(*[GAUSSIAN] * 20) <= cap
        assert ledger.verify() == 41

    def test_killed_between_reserve_and_commit(self, ledger: Ledger, location: str) -> None:
        said = crowd(
            location,
            """
say(ledger().reserve("census", GAUSSIAN, BUDGET))
os.kill(os.getpid(), signal.SIGKILL)
""",
            count=1,
        )
        spent = ledger.spent("census")
        assert (spent.epsilon, spent.reserved) == (price(GAUSSIAN), 1)
        assert [entry.id for entry in ledger.entries()] == said
        ledger.commit(ledger.reserve("census", HALF, BUDGET), HALF)
        assert ledger.verify() == 3

    def test_killed_inside_thetransaction(self, ledger: Ledger, location: str) -> None:
        said = crowd(
            location,
            """
def die(connection, cursor, statement, *_):
    if statement.startswith("UPDATE meta"):  # the row is written, the head is not
        say("dying")
        os.kill(os.getpid(), signal.SIGKILL)

book = ledger()
module.sa.event.listen(book._engine, "before_cursor_execute", die)
book.reserve("census", GAUSSIAN, BUDGET)
""",
            count=1,
        )
        assert said == ["dying"]
        assert ledger.verify() == 0
        ledger.reserve("census", GAUSSIAN, BUDGET)
        assert ledger.verify() == 1

    def test_killed_at_any_moment(self, ledger: Ledger, location: str) -> None:
        said = crowd(
            location,
            """
threading.Timer(0.1 + 0.4 * random.random(), os.kill, (os.getpid(), signal.SIGKILL)).start()
book = ledger()
while True:
    say(book.reserve("census", GAUSSIAN, BUDGET))
""",
        )
        names = [entry.id for entry in ledger.entries()]
        assert set(said) <= set(names), "a promise was forgotten"
        assert len(names) <= len(said) + 8, "a process can have had one more that it did not live to tell"
        assert ledger.verify() == len(names)
        assert ledger.spent("census").epsilon == price(*[GAUSSIAN] * len(names))
        ledger.reserve("census", GAUSSIAN, BUDGET)


class TestSqlite(LedgerContract):
    disarm = tuple(f"DROP TRIGGER entries_no_{verb}" for verb in ("update", "delete", "replace"))

    @pytest.fixture
    def location(self, tmp_path: Path) -> str:
        return str(tmp_path / "ledger.sqlite")

    # Where it is

    def test_only_its_owner_may_read_it(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            Ledger(tmp_path / "new" / "ledger.sqlite").reserve("census", GAUSSIAN, BUDGET)
        finally:
            os.umask(before)
        assert (tmp_path / "new" / "ledger.sqlite").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700

    def test_permissions_of_an_existing_file_are_the_owner_s_choice(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.sqlite"
        Ledger(path)
        path.chmod(0o660)
        Ledger(path)
        assert path.stat().st_mode & 0o777 == 0o660

    def test_a_path_and_a_url_are_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "a ledger?.sqlite"
        Ledger(path).reserve("census", GAUSSIAN, BUDGET)
        assert Ledger(str(path)).verify() == 1
        assert Ledger(f"sqlite:///{tmp_path}/a ledger%3F.sqlite").verify() == 1
        assert "ledger" in repr(Ledger(path))

    def test_default_place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("SYNTHKIT_LEDGER", raising=False)
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
        Ledger()
        assert (tmp_path / ".local/share/synthkit/ledger.sqlite").is_file()
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        Ledger()
        assert (tmp_path / "data/synthkit/ledger.sqlite").is_file()
        monkeypatch.setenv("SYNTHKIT_LEDGER", str(tmp_path / "mine.sqlite"))
        Ledger()
        assert (tmp_path / "mine.sqlite").is_file()
        monkeypatch.setenv("SYNTHKIT_LEDGER", "~/home.sqlite")
        Ledger()
        assert (tmp_path / "home.sqlite").is_file()

    def test_a_relative_path_stays_where_it_was(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        ledger = Ledger("ledger.sqlite")
        monkeypatch.chdir("/")
        ledger.reserve("census", GAUSSIAN, BUDGET)
        assert Ledger(tmp_path / "ledger.sqlite").verify() == 1

    # What stands in the way

    @pytest.mark.parametrize(
        ("location", "named"),
        [
            ("sqlite://", "in memory would forget"),
            ("sqlite:///:memory:", "in memory would forget"),
            ("sqlite:///file:x?mode=memory&uri=true", "mode must be ro or rw"),
            ("mysql://user@host/database", "cannot be kept in mysql"),
            ("://", "the ledger's URL cannot be read"),
        ],
    )
    def test_no_place_for_a_ledger(self, location: str, named: str) -> None:
        with pytest.raises(LedgerError, match=named):
            Ledger(location)

    def test_read_only(self, location: str) -> None:
        Ledger(location).reserve("census", GAUSSIAN, BUDGET)
        ledger = Ledger(f"sqlite:///file:{location}?mode=ro&uri=true")
        assert ledger.verify() == 1 and ledger.spent("census").reserved == 1  # an auditor may look
        with clear_error("read-only for this user.*file and its folder writable"):
            ledger.reserve("census", GAUSSIAN, BUDGET)

    def test_read_only_file_and_folder(self) -> None:
        with tempfile.TemporaryDirectory() as folder:  # not tmp_path: its parents are closed to other users
            path = Path(folder) / "ledger.sqlite"
            Ledger(path)
            os.chmod(folder, 0o555)
            path.chmod(0o444)
            with nobody():
                ledger = Ledger(path)
                with clear_error("read-only for this user"):
                    ledger.reserve("census", GAUSSIAN, BUDGET)
                with clear_error("cannot be created.*make its folder writable"):
                    Ledger(Path(folder) / "new.sqlite")
                with clear_error("cannot be created.*make its folder writable"):
                    Ledger(Path(folder) / "new" / "ledger.sqlite")
            path.chmod(0o666)
            with nobody(), clear_error("folder (readable and )?writable"):
                ledger.reserve("census", GAUSSIAN, BUDGET)
            path.chmod(0o000)
            with nobody(), clear_error("cannot be opened"):
                Ledger(path)
            os.chmod(folder, 0o755)
            assert Ledger(path).verify() == 0

    def test_a_folder_is_no_ledger(self, tmp_path: Path) -> None:
        with clear_error("is not a file"):
            Ledger(tmp_path)
        (tmp_path / "file").touch()
        with clear_error("is not a file"):
            Ledger(tmp_path / "file" / "ledger.sqlite")

    def test_a_file_that_is_none(self, location: str) -> None:
        Path(location).write_text("age,income\n" * 1000)
        with clear_error("is not an SQLite file; give the ledger a path of its own"):
            Ledger(location)

    def test_another_program_s_database(self, location: str) -> None:
        with closing(sqlite3.connect(location)) as connection:
            connection.execute("CREATE TABLE films (title TEXT)")
        with clear_error("not a ledger of synthkit"):
            Ledger(location)

    def test_damaged_pages(self, location: str) -> None:
        ledger = Ledger(location)
        for _ in range(12):
            ledger.reserve("census", GAUSSIAN, BUDGET)
        content = bytearray(Path(location).read_bytes())
        content[4096:] = b"\xff" * (len(content) - 4096)
        Path(location).write_bytes(content)
        with clear_error(r"is damaged \(.*malformed.*restore a backup"):
            ledger.verify()

    def test_a_truncated_file(self, location: str) -> None:
        ledger = Ledger(location)
        ledger.reserve("census", GAUSSIAN, BUDGET)
        os.truncate(location, 5000)
        with clear_error("is damaged|cannot be used"):
            ledger.reserve("census", GAUSSIAN, BUDGET)

    def test_a_file_that_vanished_is_not_replaced_by_an_empty_one(self, location: str) -> None:
        ledger = Ledger(location)
        ledger.reserve("census", GAUSSIAN, BUDGET)
        os.remove(location)
        with clear_error("cannot be"):
            ledger.reserve("census", GAUSSIAN, BUDGET)
        assert not Path(location).exists()

    def test_locked_for_too_long(self, location: str) -> None:
        ledger = Ledger(location, timeout=0.2)
        with closing(sqlite3.connect(location, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert ledger.spent("census").epsilon == 0.0  # readers are let in
            with clear_error("locked by another process for more than 0.2 seconds.*try again"):
                ledger.reserve("census", GAUSSIAN, BUDGET)
            other.execute("ROLLBACK")
            other.execute("BEGIN EXCLUSIVE")
            with clear_error("locked by another process"):
                ledger.spent("census")
            with clear_error("locked by another process"):
                Ledger(location, timeout=0.2)
        ledger.reserve("census", GAUSSIAN, BUDGET)

    def test_disk_full(self, location: str) -> None:
        ledger = Ledger(location)
        ledger.reserve("census", GAUSSIAN, BUDGET)

        def shrink(connection: sqlite3.Connection, _: object) -> None:
            connection.execute("PRAGMA max_page_count = 1")  # SQLite takes the present size instead

        sa.event.listen(ledger._engine, "connect", shrink)
        with clear_error("the disk is full; nothing was recorded"):
            ledger.reserve("census", GAUSSIAN, BUDGET, purpose="x" * 20_000)
        sa.event.remove(ledger._engine, "connect", shrink)
        assert ledger.verify() == 1
        ledger.reserve("census", GAUSSIAN, BUDGET, purpose="x" * 20_000)

    def test_text_that_is_none(self, filled: Ledger) -> None:
        self.edit(filled, "UPDATE entries SET payload = x'00ff' WHERE sequence = 4")
        with clear_error("entry 4 .* was changed"):
            filled.verify()
        self.execute(filled, "UPDATE entries SET payload = CAST(x'00ff' AS TEXT) WHERE sequence = 4")
        with clear_error("cannot be used"):
            filled.verify()

    def test_a_head_that_is_no_number(self, filled: Ledger) -> None:
        self.execute(filled, "UPDATE meta SET sequence = 'five'")
        with clear_error("record of the last entry is missing, doubled or changed"):
            filled.verify()

    def test_pricing_keeps_nobody_waiting(self, location: str, monkeypatch: pytest.MonkeyPatch) -> None:
        ledger, other = Ledger(location), Ledger(location, timeout=0.2)
        slow = accounting.epsilon

        def meanwhile(*arguments: Any) -> float:
            monkeypatch.setattr(accounting, "epsilon", slow)
            other.reserve("survey", HALF, BUDGET)
            return slow(*arguments)

        monkeypatch.setattr(accounting, "epsilon", meanwhile)
        ledger.reserve("census", GAUSSIAN, BUDGET)
        assert [entry.dataset for entry in ledger.entries()] == ["survey", "census"]

    @pytest.mark.parametrize("sequence", [2, 5])
    def test_triggers_refuse_replacement(self, filled: Ledger, sequence: int) -> None:
        with pytest.raises(sa.exc.DBAPIError, match="append-only"):
            self.execute(filled, f"INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE sequence = {sequence}")
        assert filled.verify() == 5

    def test_it_is_durable(self, ledger: Ledger) -> None:
        with ledger.transaction(write=True) as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 3
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"

    # The hash, computed by another hand

    def test_the_hash_is_as_documented(self, ledger: Ledger, location: str) -> None:
        ledger.reserve("census", GAUSSIAN, BUDGET, purpose="é")
        with closing(sqlite3.connect(location)) as connection:
            connection.row_factory = sqlite3.Row
            row = dict(connection.execute("SELECT * FROM entries").fetchone())
            head = connection.execute("SELECT sequence, hash FROM meta").fetchone()
        claimed = row.pop("hash")
        text = json.dumps(row, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest() == claimed == head["hash"]
        assert row["payload"] == canonical_json(json.loads(row["payload"]))

    # Any history

    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.lists(
            st.tuples(st.sampled_from(["keep", "commit", "less", "cancel"]), st.sampled_from([20.0, 50.0, 90.0])),
            max_size=6,
        )
    )
    def test_any_history_adds_up_to_its_composition(self, history: list[tuple[str, float]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            ledger, live = Ledger(Path(folder) / "ledger.sqlite"), []
            for end, scale in history:
                name = ledger.reserve("census", events.repeat(GaussianDpEvent(scale), 2), BUDGET)
                if end == "commit":
                    ledger.commit(name, events.repeat(GaussianDpEvent(scale), 2))
                elif end == "less":
                    ledger.commit(name, GaussianDpEvent(scale))
                elif end == "cancel":
                    ledger.cancel(name, "no need", trace=())
                live += [GaussianDpEvent(scale)] * {"keep": 2, "commit": 2, "less": 1, "cancel": 0}[end]
            spent = ledger.spent("census")
            assert spent.epsilon == (price(*live) if live else 0.0)
            assert spent.releases == sum(end in ("commit", "less") for end, _ in history)
            assert spent.reserved == sum(end == "keep" for end, _ in history)
            assert ledger.verify() == sum(1 if end == "keep" else 2 for end, _ in history)


@contextmanager
def clear_error(named: str, *, allowed: str = "") -> Iterator[pytest.ExceptionInfo[LedgerError]]:
    """A LedgerError that says ``named``, with nothing of SQLAlchemy or SQL in sight."""
    with pytest.raises(LedgerError, match=f"(?s){named}") as caught:
        yield caught
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    message = str(caught.value).replace("postgresql+psycopg://", "")
    for noise in {"sqlalche.me", "sqlalchemy", "sqlite3.", "psycopg", "SELECT", "INSERT"} - {allowed}:
        assert noise not in message


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user for whom permissions count: root writes to anything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_exported_names() -> None:
    assert module.__all__ == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
