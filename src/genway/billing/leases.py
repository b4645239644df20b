"""Leases: slices of an account's money that one process may spend without a write before each call.

A lease is a hold in the ledger, within the key's budget. What is spent of it is counted in its row, in the same
transaction as the calls that spent it, so whoever closes it (its process, or after a crash another one) charges
just what the calls on record cost and gives the rest back. All functions work inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from sqlalchemy import Connection, bindparam, insert, select, update
from uuid_utils import uuid7

from genway.billing import ledger, money
from genway.db.tables import calls, keys, leases
from genway.errors import BudgetExceeded, InsufficientBalance, Unauthenticated

SHARE = 8  # of what is left, at most an eighth goes into one lease, so that every process gets some
LEASE = "lease"


class Lease(msgspec.Struct, frozen=True):
    """amount: millionths."""

    id: str
    amount: int


class CallRow(msgspec.Struct, array_like=True):
    """One call as it is recorded; the members are the columns of the table `calls` in their order."""

    id: str
    created_at: float
    account_id: str
    key_id: str
    mode: str
    kind: str
    model: str
    vendor_model: str
    channel_id: str
    lease_id: str | None
    status: int
    outcome: Literal["done", "client_gone", "broken_off"]
    attempts: int
    milliseconds: int
    input_tokens: int
    output_tokens: int
    used: str
    estimated: bool
    cost: int
    request_id: str


_hold = update(keys).where(keys.c.id == bindparam("i"), keys.c.revoked_at.is_(None)).values(held=keys.c.held + bindparam("a"))
_unhold = (
    update(keys)
    .where(keys.c.id == bindparam("i"))
    .values(held=keys.c.held - bindparam("a"), spent=keys.c.spent + bindparam("c"))
)
_spend = (
    update(leases)
    .where(leases.c.id == bindparam("i"), leases.c.closed_at.is_(None))
    .values(spent=leases.c.spent + bindparam("c"))
)
_insert_call = insert(calls)
_INSERT_CALL = f"INSERT INTO calls VALUES ({', '.join('?' for _ in calls.c)})"  # noqa: S608


def open_lease(
    connection: Connection,
    *,
    owner: str,
    account_id: str,
    key_id: str,
    mode: str,
    need: int,
    want: int,
    now: float,
    seconds: float,
) -> Lease:
    """Take between `need` and `want` millionths for a key, for so many seconds.

    Raises InsufficientBalance, BudgetExceeded or Unauthenticated (a key that was revoked this instant); nothing is taken then.
    """
    row = connection.execute(select(keys.c.budget, keys.c.held, keys.c.spent).where(keys.c.id == key_id)).one_or_none()
    if row is None:
        raise Unauthenticated("this key is not known here")
    amount = want
    if row.budget is not None:
        left = row.budget - row.held - row.spent
        if left < need:
            raise BudgetExceeded(f"this may cost {money.show(need)} and the key's budget has {money.show(max(left, 0))} left")
        amount = min(amount, max(need, left // SHARE))
    free = ledger.spendable(connection, account_id, mode)
    if free is not None:
        if free < need:
            raise InsufficientBalance(
                f"this may cost {money.show(need)} and the balance is {money.show(free)}; top the account up"
            )
        amount = min(amount, max(need, free // SHARE))
    if connection.execute(_hold, {"i": key_id, "a": amount}).rowcount != 1:
        raise Unauthenticated("this key was revoked")
    lease = Lease(f"lse_{uuid7().hex}", amount)
    ledger.hold(connection, account_id, mode, lease.id, amount, now, LEASE)
    connection.execute(
        insert(leases),
        {
            "id": lease.id,
            "owner": owner,
            "account_id": account_id,
            "key_id": key_id,
            "mode": mode,
            "amount": amount,
            "spent": 0,
            "until": now + seconds,
            "opened_at": now,
        },
    )
    return lease


def record(connection: Connection, rows: Sequence[CallRow], now: float) -> None:
    """Put calls on record and count what they cost against their leases; all of them or none."""
    if connection.dialect.name == "sqlite":  # a third of the time, and this runs for every call
        connection.exec_driver_sql(_INSERT_CALL, [msgspec.structs.astuple(row) for row in rows])
    else:
        connection.execute(_insert_call, [msgspec.structs.asdict(row) for row in rows])
    spent: dict[str, int] = {}
    for row in rows:
        if row.cost and row.lease_id:
            spent[row.lease_id] = spent.get(row.lease_id, 0) + row.cost
    gone = {lease_id for lease_id, cost in spent.items() if not connection.execute(_spend, {"i": lease_id, "c": cost}).rowcount}
    for row in rows:
        if row.cost and (row.lease_id is None or row.lease_id in gone):
            _charge(connection, row, now)


def record_missing(connection: Connection, rows: Iterable[CallRow], now: float) -> int:
    """`record` for calls of which some are on record already; returns how many were not."""
    by_id = {row.id: row for row in rows}
    known: set[str] = set()
    ids = list(by_id)
    for start in range(0, len(ids), 500):
        known.update(connection.execute(select(calls.c.id).where(calls.c.id.in_(ids[start : start + 500]))).scalars())
    missing = [row for call_id, row in by_id.items() if call_id not in known]
    if missing:
        record(connection, missing, now)
    return len(missing)


def renew(connection: Connection, owner: str, until: float) -> None:
    """The process lives: its leases hold on."""
    connection.execute(update(leases).where(leases.c.owner == owner, leases.c.closed_at.is_(None)).values(until=until))


def close(connection: Connection, lease_id: str, now: float) -> None:
    """Charge what was spent of a lease and give the rest back; once, however often it is called."""
    row = connection.execute(select(leases).where(leases.c.id == lease_id, leases.c.closed_at.is_(None))).one_or_none()
    if row is None:
        return
    connection.execute(update(leases).where(leases.c.id == lease_id).values(closed_at=now))
    covered = min(row.spent, row.amount)
    if covered:
        ledger.settle(connection, lease_id, covered, now, LEASE)
    else:
        ledger.release(connection, lease_id, now, LEASE)
    if row.spent > covered:
        ledger.charge(connection, row.account_id, row.mode, f"{lease_id}:more", row.spent - covered, now, LEASE)
    connection.execute(_unhold, {"i": row.key_id, "a": row.amount, "c": row.spent})


def close_all(connection: Connection, now: float, *, owner: str | None = None, expired: bool = False) -> int:
    """Close the leases of one owner, of everybody, or those that ran out; returns how many."""
    query = select(leases.c.id).where(leases.c.closed_at.is_(None))
    if owner is not None:
        query = query.where(leases.c.owner == owner)
    if expired:
        query = query.where(leases.c.until < now)
    found = list(connection.execute(query).scalars())
    for lease_id in found:
        close(connection, lease_id, now)
    return len(found)


def spent_of_key(connection: Connection, key_id: str) -> int:
    """What a key's open leases have spent so far, which its own count does not hold yet."""
    rows = connection.execute(select(leases.c.spent).where(leases.c.key_id == key_id, leases.c.closed_at.is_(None)))
    return sum(rows.scalars())


def _charge(connection: Connection, row: CallRow, now: float) -> None:
    ledger.charge(connection, row.account_id, row.mode, row.id, row.cost, now, row.kind)
    connection.execute(_unhold, {"i": row.key_id, "a": 0, "c": row.cost})

