"""Leases: slices of an account's money that one process may spend without a write before each call.

A lease is a hold in the ledger, within the key's budget. What is spent of it is counted in its row, in the same
transaction as the calls that spent it, so whoever closes it (its process, or after a crash another one) charges
just what the calls on record cost and gives the rest back. All functions work inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from functools import cache
from itertools import chain
from typing import Literal

import msgspec
import structlog
from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import OperationalError
from uuid_utils import uuid7

from genway.billing import ledger, money
from genway.db import execute
from genway.db.tables import calls, keys, leases
from genway.errors import BudgetExceeded, InsufficientBalance, Unauthenticated

log = structlog.get_logger(__name__)

SHARE = 8  # of what is left, at most an eighth goes into one lease, so that every process gets some
LEASE = "lease"
AT_ONCE = 500  # values in one statement
MOST = 10**15  # a number beyond this is no count of anything


class Lease(msgspec.Struct, frozen=True):
    """amount: millionths."""

    id: str
    amount: int


Outcome = Literal["done", "client_gone", "broken_off"]


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
    outcome: Outcome
    attempts: int
    milliseconds: int
    input_tokens: int
    output_tokens: int
    used: str
    estimated: bool
    cost: int
    request_id: str


_key = select(keys.c.budget, keys.c.held, keys.c.spent).where(keys.c.id == bindparam("i")).with_for_update()
_hold = update(keys).where(keys.c.id == bindparam("i"), keys.c.revoked_at.is_(None)).values(held=keys.c.held + bindparam("a"))
_unhold = (
    update(keys)
    .where(keys.c.id == bindparam("i"))
    .values(held=keys.c.held - bindparam("a"), spent=keys.c.spent + bindparam("c"))
)
_insert_lease = insert(leases)
_close = (
    update(leases)
    .where(leases.c.id == bindparam("i"), leases.c.closed_at.is_(None))
    .values(closed_at=bindparam("n"))
    .returning(leases.c.account_id, leases.c.key_id, leases.c.mode, leases.c.amount, leases.c.spent)
)
# Said to the driver itself: these run for every call, and the builder would take most of their time.
_MARKS = {"sqlite": "?", "postgresql": "%s"}
_COLUMNS = tuple(column.name for column in calls.c)
MOST_ROWS = 64
ROWS_STEP = 8


@cache
def _insert_calls(mark: str, rows: int) -> str:
    """One statement for so many rows: between two the driver would let other threads run, which costs more than a row."""
    row = f"({', '.join(mark for _ in _COLUMNS)})"
    return f"INSERT INTO calls ({', '.join(_COLUMNS)}) VALUES {', '.join([row] * rows)}"  # noqa: S608


@cache
def _spend(mark: str) -> str:
    return f"UPDATE leases SET spent = spent + {mark} WHERE id = {mark} AND closed_at IS NULL"  # noqa: S608


def _insert(connection: Connection, rows: Sequence[CallRow]) -> None:
    """Insert rows, many with one statement, and of few different lengths: 64, 56 … 8, 7 … 1."""
    mark = _MARKS[connection.dialect.name]
    at = 0
    while (left := len(rows) - at) > 0:
        size = left if left < ROWS_STEP else min(left - left % ROWS_STEP, MOST_ROWS)
        values = tuple(chain.from_iterable(map(msgspec.structs.astuple, rows[at : at + size])))
        execute(connection, _insert_calls(mark, size), values)
        at += size


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
    besides: int = 0,
    instead_of: str = "",
) -> Lease:
    """Take between `need` and `want` millionths for a key, for so many seconds.

    instead_of: a lease of the same key that is closed in the same moment, so that what is left of it counts. besides: what
    is taken as well, for calls under way. Raises InsufficientBalance, BudgetExceeded or Unauthenticated (a key that
    was revoked this instant); nothing is changed then.
    """
    if instead_of:
        close(connection, instead_of, now)
    row = connection.execute(_key, {"i": key_id}).one_or_none()
    if row is None:
        raise Unauthenticated("this key is not known here")
    amount = max(want, need)
    if row.budget is not None:
        left = row.budget - row.held - row.spent - besides
        if left < need:
            raise BudgetExceeded(f"this may cost {money.show(need)} and the key's budget has {money.show(max(left, 0))} left")
        amount = min(amount, max(need, left // SHARE))
    free = ledger.spendable(connection, account_id, mode, lock=True)
    if free is not None:
        owed = min(free, 0)
        free -= besides
        if free < need:
            raise InsufficientBalance(
                f"this may cost {money.show(need)} and the balance is {money.show(max(free, owed))}; top the account up"
            )
        amount = min(amount, max(need, free // SHARE))
    amount += besides
    if connection.execute(_hold, {"i": key_id, "a": amount}).rowcount != 1:
        raise Unauthenticated("this key was revoked")
    lease = Lease(f"lse_{uuid7().hex}", amount)
    ledger.hold(connection, account_id, mode, lease.id, amount, now, LEASE)
    connection.execute(
        _insert_lease,
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


def record(connection: Connection, rows: Sequence[CallRow], now: float) -> Set[str]:
    """Put calls on record and count what they cost against their leases; all of them or none.

    What a call has cost whose lease is closed by now is charged to its account at once. Returns those leases.
    """
    _insert(connection, rows)
    spent: dict[str, int] = {}
    direct: list[CallRow] = []
    for row in rows:
        if row.cost:
            if row.lease_id is None:
                direct.append(row)
            else:
                spent[row.lease_id] = spent.get(row.lease_id, 0) + row.cost
    gone: Set[str] = frozenset()
    if spent:
        # In one order, so that two processes never wait for each other.
        spend = _spend(_MARKS[connection.dialect.name])
        if sum([execute(connection, spend, (spent[lease_id], lease_id)) for lease_id in sorted(spent)]) != len(spent):
            gone = spent.keys() - still_open(connection, spent)
            direct += [row for row in rows if row.cost and row.lease_id in gone]
    if direct:
        _charge(connection, direct, now)
    return gone


def record_missing(connection: Connection, rows: Sequence[CallRow], now: float) -> Set[str]:
    """`record` for calls of which some may be on record already."""
    by_id = {row.id: row for row in rows}
    ids = list(by_id)
    for start in range(0, len(ids), AT_ONCE):
        for known in connection.execute(select(calls.c.id).where(calls.c.id.in_(ids[start : start + AT_ONCE]))).scalars():
            del by_id[known]
    return record(connection, list(by_id.values()), now) if by_id else frozenset()


def record_apart(connection: Connection, rows: Sequence[CallRow], now: float) -> Set[str]:
    """`record_missing` one by one, for a group that the database refuses: what it cannot store of a call is cut off."""
    gone: set[str] = set()
    for row in rows:
        try:
            with connection.begin_nested():
                gone |= record_missing(connection, [fitted(row)], now)
        except OperationalError:
            raise
        except Exception:
            log.exception("call.not_recorded", call=msgspec.to_builtins(row))
    return gone


def fitted(row: CallRow) -> CallRow:
    """The same call without what a database cannot store: the character 0, half a surrogate pair, numbers without end."""
    values = msgspec.structs.asdict(row)
    for name, value in values.items():
        if isinstance(value, str):
            values[name] = value.replace("\0", "").encode("utf-8", "replace").decode()
        elif isinstance(value, int) and not isinstance(value, bool):
            values[name] = min(value, MOST)
    values["milliseconds"] = min(values["milliseconds"], 2**31 - 1)
    return CallRow(**values)


def still_open(connection: Connection, lease_ids: Iterable[str]) -> Set[str]:
    """Those of them that are not closed."""
    ids = list(lease_ids)
    found: set[str] = set()
    for start in range(0, len(ids), AT_ONCE):
        part = leases.c.id.in_(ids[start : start + AT_ONCE])
        found.update(connection.execute(select(leases.c.id).where(part, leases.c.closed_at.is_(None))).scalars())
    return found


def renew(connection: Connection, lease_ids: Sequence[str], until: float) -> Set[str]:
    """Their process lives: they hold on. Returns those that were closed before."""
    for start in range(0, len(lease_ids), AT_ONCE):
        part = leases.c.id.in_(sorted(lease_ids)[start : start + AT_ONCE])
        connection.execute(update(leases).where(part, leases.c.closed_at.is_(None)).values(until=until))
    return set(lease_ids) - still_open(connection, lease_ids)


def close(connection: Connection, lease_id: str, now: float) -> bool:
    """Charge what was spent of a lease and give the rest back; once, however often it is called; whether it was open."""
    row = connection.execute(_close, {"i": lease_id, "n": now}).one_or_none()
    if row is None:
        return False
    connection.execute(_unhold, {"i": row.key_id, "a": row.amount, "c": row.spent})
    covered = min(row.spent, row.amount)
    if covered:
        ledger.settle(connection, lease_id, covered, now, LEASE)
    else:
        ledger.release(connection, lease_id, now, LEASE)
    if row.spent > covered:
        ledger.charge(connection, row.account_id, row.mode, f"{lease_id}:more", row.spent - covered, now, LEASE)
    return True


def close_all(connection: Connection, now: float, *, owner: str | None = None, expired: bool = False) -> int:
    """Close the leases of one owner, of everybody, or those that ran out; returns how many."""
    query = select(leases.c.id).where(leases.c.closed_at.is_(None)).order_by(leases.c.id)
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


def _charge(connection: Connection, rows: Sequence[CallRow], now: float) -> None:
    """One charge for all calls of a key, under the first one's id."""
    by_key: dict[tuple[str, str, str], list[CallRow]] = {}
    for row in rows:
        by_key.setdefault((row.key_id, row.account_id, row.mode), []).append(row)
    for (key_id, account_id, mode), group in sorted(by_key.items()):
        cost = sum(row.cost for row in group)
        memo = group[0].kind if len(group) == 1 else f"{len(group)} calls"
        connection.execute(_unhold, {"i": key_id, "a": 0, "c": cost})
        ledger.charge(connection, account_id, mode, group[0].id, cost, now, memo)
