from __future__ import annotations

import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError

from genway.access import store as access
from genway.billing import ledger
from genway.db import Database
from genway.db.tables import accounts, balances, entries, metadata, transfers
from genway.errors import Conflict, InsufficientBalance, InvalidRequest
from genway.vault import Vault


def balance(database: Database, account: str, mode: str = "live") -> tuple[int, int]:
    return database.read_now(lambda connection: ledger.balance(connection, account, mode))


def audit(database: Database) -> list[str]:
    return database.read_now(ledger.audit)


def top_up(database: Database, account: str, amount: int, mode: str = "live") -> None:
    database.write_now(lambda connection: ledger.top_up(connection, account, mode, amount, "", 1.0))


def hold(database: Database, account: str, task: str, amount: int, mode: str = "live") -> None:
    database.write_now(lambda connection: ledger.hold(connection, account, mode, task, amount, 1.0))


def test_money_goes_from_available_to_held_to_revenue(database: Database, account: str) -> None:
    top_up(database, account, 100)
    hold(database, account, "t1", 30)
    assert balance(database, account) == (70, 30)
    database.write_now(lambda connection: ledger.settle(connection, "t1", 30, 2.0))
    assert balance(database, account) == (70, 0)
    revenue = database.read_now(
        lambda connection: connection.execute(select(balances.c.amount).where(balances.c.book == "live:revenue")).scalar_one()
    )
    assert revenue == 30
    assert audit(database) == []


def test_a_book_never_has_more_than_the_database_can_count(database: Database, account: str) -> None:
    top_up(database, account, 2**61)
    top_up(database, account, 2**61)
    for amount in (1, 2**61):
        with pytest.raises(InvalidRequest, match="to all accounts together"):
            top_up(database, account, amount)
    top_up(database, account, -5)
    top_up(database, account, 5)
    assert balance(database, account) == (2**62, 0)
    assert audit(database) == []


def test_what_was_held_and_not_used_comes_back(database: Database, account: str) -> None:
    top_up(database, account, 100)
    hold(database, account, "t1", 30)
    database.write_now(lambda connection: ledger.settle(connection, "t1", 12, 2.0))
    assert balance(database, account) == (88, 0)
    assert audit(database) == []


def test_a_released_hold_comes_back_in_full(database: Database, account: str) -> None:
    top_up(database, account, 100)
    hold(database, account, "t1", 30)
    assert database.write_now(lambda connection: ledger.release(connection, "t1", 2.0)) == 30
    assert balance(database, account) == (100, 0)
    assert audit(database) == []


@pytest.mark.parametrize("first", ["settle", "release"])
@pytest.mark.parametrize("second", ["settle", "release"])
def test_a_hold_is_closed_once_whatever_is_tried(database: Database, account: str, first: str, second: str) -> None:
    def close(kind: str, connection: Connection) -> None:
        if kind == "settle":
            ledger.settle(connection, "t1", 30, 2.0)
        else:
            ledger.release(connection, "t1", 2.0)

    top_up(database, account, 100)
    hold(database, account, "t1", 30)
    database.write_now(lambda connection: close(first, connection))
    before = balance(database, account)
    with pytest.raises(IntegrityError):
        database.write_now(lambda connection: close(second, connection))
    assert balance(database, account) == before
    assert audit(database) == []


def test_a_task_is_held_for_once(database: Database, account: str) -> None:
    top_up(database, account, 100)
    hold(database, account, "t1", 30)
    with pytest.raises(IntegrityError):
        hold(database, account, "t1", 30)
    assert balance(database, account) == (70, 30)


def test_more_than_the_balance_is_refused_and_says_what_there_is(database: Database, account: str) -> None:
    top_up(database, account, 1_000_000)
    with pytest.raises(InsufficientBalance, match=r"costs 1\.000001 USD and the balance is 1\.00 USD"):
        hold(database, account, "t1", 1_000_001)
    assert balance(database, account) == (1_000_000, 0)
    assert audit(database) == []


def test_credit_lets_the_balance_go_below_zero_and_no_further(database: Database, account: str) -> None:
    database.write_now(lambda c: c.execute(update(accounts).where(accounts.c.id == account).values(credit_limit=50)).rowcount)
    hold(database, account, "t1", 50)
    with pytest.raises(InsufficientBalance):
        hold(database, account, "t2", 1)
    assert balance(database, account) == (-50, 50)


def test_no_more_is_charged_than_was_held(database: Database, account: str) -> None:
    top_up(database, account, 100)
    hold(database, account, "t1", 30)
    for amount in (31, -1):
        with pytest.raises(Conflict):
            database.write_now(lambda connection, amount=amount: ledger.settle(connection, "t1", amount, 2.0))
    with pytest.raises(Conflict):
        database.write_now(lambda connection: ledger.settle(connection, "unknown", 1, 2.0))
    assert balance(database, account) == (70, 30)


def test_test_money_has_no_end_and_never_touches_live_money(database: Database, account: str) -> None:
    top_up(database, account, 100)
    hold(database, account, "t1", 10**12, "test")
    database.write_now(lambda connection: ledger.settle(connection, "t1", 10**12, 2.0))
    assert balance(database, account) == (100, 0)
    assert balance(database, account, "test") == (-(10**12), 0)
    assert audit(database) == []


def test_what_costs_nothing_moves_nothing(database: Database, account: str) -> None:
    hold(database, account, "t1", 0)
    database.write_now(lambda connection: ledger.settle(connection, "t1", 0, 2.0))
    assert database.read_now(lambda connection: ledger.release(connection, "t1", 2.0)) == 0
    assert database.read_now(lambda connection: ledger.of_task(connection, "t1")) == []


def test_the_audit_finds_money_that_came_from_nowhere(database: Database, account: str) -> None:
    top_up(database, account, 100)
    database.write_now(lambda c: c.execute(update(balances).where(balances.c.amount == 100).values(amount=101)).rowcount)
    assert any("says 101" in fault for fault in audit(database))


def test_the_audit_finds_a_transfer_that_does_not_balance(database: Database, account: str) -> None:
    top_up(database, account, 100)
    database.write_now(lambda c: c.execute(update(entries).where(entries.c.amount == 100).values(amount=99)).rowcount)
    faults = audit(database)
    assert "all entries sum to -1, not 0" in faults
    assert any("does not sum to 0" in fault for fault in faults)


def test_holds_at_the_same_time_never_overdraw(database: Database, account: str) -> None:
    """Forty threads want 10 each of 205."""
    top_up(database, account, 205)
    start = threading.Barrier(8)

    def spend(number: int) -> bool:
        if number < 8:
            start.wait()
        try:
            hold(database, account, f"t{number}", 10)
        except InsufficientBalance:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        accepted = sum(pool.map(spend, range(40)))
    assert accepted == 20
    assert balance(database, account) == (5, 200)
    assert audit(database) == []


def test_two_processes_writers_never_overdraw(database_url: str) -> None:
    """Two writers on one database, as two processes have them, race for the last of the balance."""
    databases = [Database(database_url), Database(database_url)]
    metadata.create_all(databases[0].engine)
    vault = Vault(b"x" * 32)
    account = (
        databases[0].write_now(lambda c: access.create_account(c, vault, "acme", currency="USD", credit_limit=0, now=1.0)).id
    )
    top_up(databases[0], account, 95)

    def spend(number: int) -> bool:
        try:
            hold(databases[number % 2], account, f"t{number}", 10)
        except InsufficientBalance:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend, range(30))) == 9
    assert balance(databases[1], account) == (5, 90)
    assert audit(databases[0]) == []
    for each in databases:
        each.close()


class Books(RuleBasedStateMachine):
    """Random movements, some of them in transactions that die, against a simple model of what each account has."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.database = Database(f"sqlite:///{self.folder.name}/books.sqlite3", readers=1)
        metadata.create_all(self.database.engine)
        self.available: dict[str, int] = {}
        self.open: dict[str, tuple[str, int]] = {}
        self.number = 0

    @initialize(count=st.integers(1, 3))
    def open_accounts(self, count: int) -> None:
        vault = Vault(b"x" * 32)
        for name in range(count):
            account = self.database.write_now(
                lambda c, name=name: access.create_account(c, vault, str(name), currency="USD", credit_limit=0, now=1.0)
            )
            self.available[account.id] = 0

    @rule(data=st.data(), amount=st.integers(1, 1000))
    def add(self, data: st.DataObject, amount: int) -> None:
        account = data.draw(st.sampled_from(sorted(self.available)))
        top_up(self.database, account, amount)
        self.available[account] += amount

    @rule(data=st.data(), amount=st.integers(1, 500), dies=st.booleans())
    def take(self, data: st.DataObject, amount: int, dies: bool) -> None:
        account = data.draw(st.sampled_from(sorted(self.available)))
        self.number += 1
        task = f"t{self.number}"

        def work(connection: Connection) -> None:
            ledger.hold(connection, account, "live", task, amount, 1.0)
            if dies:
                raise RuntimeError("the process dies here")

        if amount > self.available[account]:
            with pytest.raises(InsufficientBalance):
                self.database.write_now(work)
        elif dies:
            with pytest.raises(RuntimeError):
                self.database.write_now(work)
        else:
            self.database.write_now(work)
            self.available[account] -= amount
            self.open[task] = (account, amount)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), share=st.floats(0, 1), gives_back=st.booleans(), dies=st.booleans())
    def close_one(self, data: st.DataObject, share: float, gives_back: bool, dies: bool) -> None:
        task = data.draw(st.sampled_from(sorted(self.open)))
        account, amount = self.open[task]
        charged = 0 if gives_back else int(amount * share)

        def work(connection: Connection) -> None:
            if gives_back:
                ledger.release(connection, task, 2.0)
            else:
                ledger.settle(connection, task, charged, 2.0)
            if dies:
                raise RuntimeError("the process dies here")

        if dies:
            with pytest.raises(RuntimeError):
                self.database.write_now(work)
            return
        self.database.write_now(work)
        self.available[account] += amount - charged
        del self.open[task]

    @invariant()
    def the_books_agree(self) -> None:
        for account, available in self.available.items():
            held = sum(amount for owner, amount in self.open.values() if owner == account)
            assert balance(self.database, account) == (available, held)
        assert audit(self.database) == []

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))


def test_entries_are_only_ever_added(database: Database, account: str) -> None:
    top_up(database, account, 100)
    hold(database, account, "t1", 30)
    before = database.read_now(lambda c: c.execute(select(transfers).order_by(transfers.c.id)).all())
    database.write_now(lambda connection: ledger.settle(connection, "t1", 10, 2.0))
    after = database.read_now(lambda c: c.execute(select(transfers).order_by(transfers.c.id)).all())
    assert after[: len(before)] == before
    assert [row.kind for row in after] == ["topup", "hold", "settle"]
