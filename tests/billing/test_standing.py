from __future__ import annotations

import pytest

from genway.access import store as access
from genway.billing import leases, ledger, standing
from genway.billing.leases import CallRow
from genway.billing.standing import Purse, Spending
from genway.db import Database
from genway.vault import Vault

TOPUP = 10_000_000


@pytest.fixture
def key(database: Database, vault: Vault, account: str) -> str:
    """A key of an account with ten units."""
    database.write_now(lambda connection: ledger.top_up(connection, account, "live", TOPUP, "", 1.0))
    made, _ = database.write_now(lambda connection: access.create_key(connection, vault, account, name="k", now=1.0))
    return made.id


def lease(database: Database, account: str, key: str, amount: int = 1_000_000) -> str:
    return database.write_now(
        lambda connection: leases.open_lease(
            connection,
            owner="p",
            account_id=account,
            key_id=key,
            mode="live",
            need=amount,
            want=amount,
            now=2.0,
            seconds=60,
        )
    ).id


def call(account: str, key: str, lease_id: str | None, cost: int) -> CallRow:
    return CallRow(
        f"cll_{lease_id}_{cost}", 3.0, account, key, "live", "chat", "m", "m", "chn", lease_id,
        200, "done", 1, 5, 1, 1, "{}", False, cost, "req",
    )  # fmt: skip


def of(database: Database, account: str, key: str) -> tuple[Purse, Spending]:
    return (
        database.read_now(lambda connection: standing.of_account(connection, account, "live")),
        database.read_now(lambda connection: standing.of_key(connection, key)),
    )


def test_a_lease_that_nothing_was_spent_of_changes_nothing(database: Database, account: str, key: str) -> None:
    before = of(database, account, key)
    lease(database, account, key)
    assert of(database, account, key) == before == (Purse(TOPUP, 0), Spending())


def test_what_is_spent_of_a_lease_is_the_same_before_and_after_it_is_closed(database: Database, account: str, key: str) -> None:
    first, second = lease(database, account, key), lease(database, account, key)
    rows = [call(account, key, first, 70), call(account, key, second, 30), call(account, key, None, 5)]
    database.write_now(lambda connection: leases.record(connection, rows, 3.0))
    known = (Purse(TOPUP - 105, 0), Spending(105))
    assert of(database, account, key) == known
    for one in (first, second):
        database.write_now(lambda connection, one=one: leases.close(connection, one, 4.0))  # type: ignore[misc]
        assert of(database, account, key) == known
    assert database.read_now(ledger.audit) == []


def test_what_is_spent_beyond_a_lease_counts_at_once(database: Database, account: str, key: str) -> None:
    one = lease(database, account, key, 100)
    database.write_now(lambda connection: leases.record(connection, [call(account, key, one, 250)], 3.0))
    assert of(database, account, key) == (Purse(TOPUP - 250, 0), Spending(250))
    database.write_now(lambda connection: leases.close(connection, one, 4.0))
    assert of(database, account, key) == (Purse(TOPUP - 250, 0), Spending(250))


def test_what_is_held_for_a_task_stays_held(database: Database, account: str, key: str) -> None:
    lease(database, account, key)
    database.write_now(lambda connection: ledger.hold(connection, account, "live", "task_1", 400, 2.0))
    assert of(database, account, key)[0] == Purse(TOPUP - 400, 400)


def test_keys_are_told_apart_and_by_account(database: Database, vault: Vault, account: str, key: str) -> None:
    one = lease(database, account, key)
    database.write_now(lambda connection: leases.record(connection, [call(account, key, one, 9)], 3.0))
    other, _ = database.write_now(lambda connection: access.create_key(connection, vault, account, name="o", now=1.0))
    assert database.read_now(standing.of_keys) == {key: Spending(9), other.id: Spending()}
    assert database.read_now(lambda connection: standing.of_keys(connection, "acc_none")) == {}
    assert database.read_now(lambda connection: standing.of_key(connection, "key_none")) == Spending()
