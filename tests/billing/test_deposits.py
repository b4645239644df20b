from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from sqlalchemy import select, text, update

from genway.access import store as access
from genway.billing import deposits, ledger
from genway.db import Database
from genway.db.tables import keys, metadata
from genway.errors import BudgetExceeded, InsufficientBalance, Unauthenticated
from stage import VAULT


class Purse:
    """An account with 100 millionths and a key with a budget of 80."""

    def __init__(self, database: Database) -> None:
        self.database = database

        def write(connection: Any) -> tuple[str, str]:
            account = access.create_account(connection, VAULT, "acme", currency="USD", credit_limit=0, now=1)
            ledger.top_up(connection, account.id, "live", 100, "", 1)
            key, _ = access.create_key(connection, VAULT, account.id, name="k", now=1, budget=80)
            return account.id, key.id

        self.account_id, self.key_id = database.write_now(write)

    def take(self, amount: int, reference: str = "dep_1") -> None:
        what = {"account_id": self.account_id, "key_id": self.key_id, "mode": "live", "reference": reference}
        self.database.write_now(lambda connection: deposits.take(connection, **what, amount=amount, now=2))

    def give_back(self, reference: str = "dep_1") -> None:
        self.database.write_now(
            lambda connection: deposits.give_back(connection, key_id=self.key_id, reference=reference, now=3)
        )

    @property
    def state(self) -> tuple[int, int, int]:
        """Available and held of the account, held of the key's budget."""
        assert self.database.read_now(ledger.audit) == []
        held = self.database.read_now(lambda connection: connection.execute(select(keys.c.held)).scalar_one())
        return *self.database.read_now(lambda connection: ledger.balance(connection, self.account_id, "live")), held


def test_a_deposit_is_held_and_given_back_whole(database: Database) -> None:
    purse = Purse(database)
    purse.take(30)
    assert purse.state == (70, 30, 30)
    purse.give_back()
    assert purse.state == (100, 0, 0)


def test_a_deposit_beyond_the_budget_or_the_balance_takes_nothing(database: Database) -> None:
    purse = Purse(database)
    with pytest.raises(BudgetExceeded):
        purse.take(81)
    database.write_now(lambda connection: connection.execute(update(keys).values(budget=None)).rowcount)
    with pytest.raises(InsufficientBalance):
        purse.take(101)
    assert purse.state == (100, 0, 0)


def test_a_revoked_key_makes_no_deposit(database: Database) -> None:
    purse = Purse(database)
    database.write_now(lambda connection: connection.execute(update(keys).values(revoked_at=1.0)).rowcount)
    with pytest.raises(Unauthenticated):
        purse.take(1)


def test_what_was_never_taken_is_given_back_as_nothing(database: Database) -> None:
    purse = Purse(database)
    purse.take(0)
    purse.give_back()
    purse.give_back("dep_never")
    assert purse.state == (100, 0, 0)


def test_who_gives_back_and_who_takes_never_wait_for_each_other_in_a_ring(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    metadata.create_all(database.engine)
    purse = Purse(database)
    purse.take(30)
    waits = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")
    with database.engine.connect() as taking, taking.begin():
        taking.execute(select(keys.c.id).where(keys.c.id == purse.key_id).with_for_update())
        giving = threading.Thread(target=purse.give_back)
        giving.start()
        until = time.monotonic() + 10
        while not database.read_now(lambda connection: connection.execute(waits).scalar_one()):
            assert time.monotonic() < until
        ledger.hold(taking, purse.account_id, "live", "dep_2", 10, 2.0)
    giving.join(10)
    assert not giving.is_alive()
    assert purse.state == (90, 10, 0)
    database.close()
