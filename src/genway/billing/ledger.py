"""The double-entry ledger: the only place where money moves.

Every transfer has entries that sum to zero over its books; entries are never changed or removed. A task's hold is
closed by one settle or one release, which the database itself enforces. All functions work inside the caller's
transaction. Amounts are whole millionths of the account's currency; live and test money have separate books.

| transfer | from | to |
|---|---|---|
| topup | outside | available |
| hold | available | held |
| settle | held | revenue, and what was not used back to available |
| release | held | available |
| charge | available | revenue |

A hold may be a task's or a lease's. A charge is for what was used beyond any hold; it may take a balance below zero.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from sqlalchemy import Connection, bindparam, case, func, insert, or_, select, text, update

from genway.billing import money
from genway.db.tables import accounts, balances, entries, transfers
from genway.errors import Conflict, InsufficientBalance, InvalidRequest

Kind = Literal["topup", "hold", "settle", "release", "charge"]
PHASE = {"topup": "topup", "hold": "open", "settle": "close", "release": "close", "charge": "charge"}


class Transfer(msgspec.Struct, frozen=True):
    """One movement of money, for a person to read."""

    id: int
    account_id: str
    mode: str
    kind: str
    task_id: str | None
    amount: int
    memo: str
    created_at: float


class NewTransfer(msgspec.Struct, frozen=True):
    """A movement that is about to be recorded."""

    kind: Kind
    account_id: str
    mode: str
    task_id: str | None
    amount: int
    memo: str
    created_at: float


def book(mode: str, account_id: str, name: Literal["available", "held"]) -> str:
    """The name of an account's book."""
    return f"{mode}:{account_id}:{name}"


_insert_transfer = insert(transfers).returning(transfers.c.id)
_insert_entry = insert(entries)
_add = update(balances).where(balances.c.book == bindparam("b")).values(amount=balances.c.amount + bindparam("a"))
_credit = select(accounts.c.credit_limit).where(accounts.c.id == bindparam("i")).scalar_subquery()
_take = (
    update(balances)
    .where(balances.c.book == bindparam("b"), or_(_credit.is_(None), balances.c.amount + _credit >= bindparam("a")))
    .values(amount=balances.c.amount - bindparam("a"))
)
_balance = select(balances.c.amount).where(balances.c.book == bindparam("b"))
_locked_balance = _balance.with_for_update()
_limit = select(accounts.c.credit_limit).where(accounts.c.id == bindparam("i"))
_currency = select(accounts.c.currency).where(accounts.c.id == bindparam("i"))
_hold_of = select(transfers.c.account_id, transfers.c.mode, transfers.c.amount).where(
    transfers.c.task_id == bindparam("t"), transfers.c.kind == "hold"
)


def open_books(connection: Connection, account_id: str, mode: str) -> None:
    """Make an account's books, empty. To be called once for each mode when the account is made."""
    for name in (book(mode, account_id, "available"), book(mode, account_id, "held")):
        connection.execute(insert(balances), {"book": name, "amount": 0})
    for name in (f"{mode}:outside", f"{mode}:revenue"):
        if connection.execute(_balance, {"b": name}).first() is None:
            connection.execute(insert(balances), {"book": name, "amount": 0})


def top_up(connection: Connection, account_id: str, mode: str, amount: int, memo: str, now: float) -> None:
    """Add to an account's balance; a negative amount corrects an earlier one.

    Raises InvalidRequest for 0, and where all that accounts were given is more than a database can count.
    """
    if amount == 0:
        raise InvalidRequest("an amount other than 0", field="amount")
    given = -connection.execute(_locked_balance, {"b": f"{mode}:outside"}).scalar_one()
    if abs(given + amount) > money.LARGEST:
        raise InvalidRequest(f"at most {money.show(money.LARGEST)} can be given to all accounts together", field="amount")
    _transfer(
        connection,
        NewTransfer("topup", account_id, mode, None, amount, memo, now),
        {f"{mode}:outside": -amount, book(mode, account_id, "available"): amount},
    )


def hold(connection: Connection, account_id: str, mode: str, task_id: str, amount: int, now: float, memo: str = "") -> None:
    """Set `amount` ≥ 0 aside for a task. Raises InsufficientBalance; nothing is moved then.

    A test account's money is simulated and has no end.
    """
    if amount == 0:
        return
    available = book(mode, account_id, "available")
    if mode == "test":
        _move(connection, available, -amount)
    elif connection.execute(_take, {"b": available, "a": amount, "i": account_id}).rowcount == 0:
        currency = connection.execute(_currency, {"i": account_id}).scalar_one()
        has = connection.execute(_balance, {"b": available}).scalar_one()
        raise InsufficientBalance(
            f"this costs {money.show(amount, currency)} and the balance is {money.show(has, currency)}; top the account up"
        )
    _move(connection, book(mode, account_id, "held"), amount)
    _record(
        connection,
        NewTransfer("hold", account_id, mode, task_id, amount, memo, now),
        {available: -amount, book(mode, account_id, "held"): amount},
    )


def settle(connection: Connection, task_id: str, amount: int, now: float, memo: str = "") -> None:
    """Charge `amount` of what is held for a task and give the rest back. Raises Conflict if amount is not 0…held."""
    held = connection.execute(_hold_of, {"t": task_id}).one_or_none()
    if held is None:
        if amount:
            raise Conflict(f"nothing is held for task {task_id}")
        return
    if not 0 <= amount <= held.amount:
        raise Conflict(f"of {held.amount} held for task {task_id}, {amount} cannot be charged")
    _transfer(
        connection,
        NewTransfer("settle", held.account_id, held.mode, task_id, amount, memo, now),
        {
            book(held.mode, held.account_id, "held"): -held.amount,
            f"{held.mode}:revenue": amount,
            book(held.mode, held.account_id, "available"): held.amount - amount,
        },
    )


def release(connection: Connection, task_id: str, now: float, memo: str = "") -> int:
    """Give back all that is held for a task; returns how much that was."""
    held = connection.execute(_hold_of, {"t": task_id}).one_or_none()
    if held is None:
        return 0
    _transfer(
        connection,
        NewTransfer("release", held.account_id, held.mode, task_id, held.amount, memo, now),
        {
            book(held.mode, held.account_id, "held"): -held.amount,
            book(held.mode, held.account_id, "available"): held.amount,
        },
    )
    return int(held.amount)


def charge(connection: Connection, account_id: str, mode: str, reference: str, amount: int, now: float, memo: str = "") -> None:
    """Take `amount` > 0 for what was used already, whatever the balance; once for each reference."""
    _transfer(
        connection,
        NewTransfer("charge", account_id, mode, reference, amount, memo, now),
        {book(mode, account_id, "available"): -amount, f"{mode}:revenue": amount},
    )


def spendable(connection: Connection, account_id: str, mode: str, *, lock: bool = False) -> int | None:
    """What could be held now, the credit limit included; None: without limit, as test money is.

    lock: nobody else moves it until the transaction ends.
    """
    if mode == "test":
        return None
    limit = connection.execute(_limit, {"i": account_id}).scalar_one()
    if limit is None:
        return None
    available = connection.execute(_locked_balance if lock else _balance, {"b": book(mode, account_id, "available")})
    return int(available.scalar_one() + limit)


def balance(connection: Connection, account_id: str, mode: str) -> tuple[int, int]:
    """What an account has: available, held."""
    rows = {
        name: connection.execute(_balance, {"b": book(mode, account_id, name)}).scalar_one_or_none() or 0
        for name in ("available", "held")
    }
    return rows["available"], rows["held"]


def of_task(connection: Connection, task_id: str) -> list[Transfer]:
    """The movements of one task, oldest first."""
    rows = connection.execute(select(transfers).where(transfers.c.task_id == task_id).order_by(transfers.c.id))
    return [_show(row) for row in rows]


def of_account(connection: Connection, account_id: str, limit: int = 50) -> list[Transfer]:
    """The movements of one account, newest first."""
    query = select(transfers).where(transfers.c.account_id == account_id).order_by(transfers.c.id.desc()).limit(limit)
    return [_show(row) for row in connection.execute(query)]


def audit(connection: Connection) -> list[str]:
    """Check the whole ledger; every sentence returned is a fault. An exact ledger returns none."""
    faults = []
    total = connection.execute(select(func.coalesce(func.sum(entries.c.amount), 0))).scalar_one()
    if total:
        faults.append(f"all entries sum to {total}, not 0")
    unbalanced = connection.execute(
        select(entries.c.transfer_id).group_by(entries.c.transfer_id).having(func.sum(entries.c.amount) != 0)
    ).scalars()
    faults += [f"transfer {number} does not sum to 0" for number in unbalanced]
    query = select(entries.c.book, func.sum(entries.c.amount)).group_by(entries.c.book)
    sums: dict[str, int] = dict(connection.execute(query).all())
    for name, amount in connection.execute(select(balances.c.book, balances.c.amount)):
        if sums.pop(name, 0) != amount:
            faults.append(f"book {name} says {amount} but its entries do not")
    faults += [f"book {name} has entries and no balance" for name in sums]
    opened = func.sum(case((transfers.c.phase == "open", 1), else_=0))
    closed = func.sum(case((transfers.c.phase == "close", 1), else_=0))
    odd = connection.execute(
        select(transfers.c.task_id)
        .where(transfers.c.task_id.is_not(None))
        .group_by(transfers.c.task_id)
        .having(closed > opened)
    ).scalars()
    faults += [f"task {task_id} was closed without a hold" for task_id in odd]
    left = connection.execute(
        text(
            "SELECT t.id FROM tasks t JOIN transfers h ON h.task_id = t.id AND h.phase = 'open' "
            "LEFT JOIN transfers c ON c.task_id = t.id AND c.phase = 'close' "
            "WHERE t.finished_at IS NOT NULL AND c.id IS NULL"
        )
    ).scalars()
    faults += [f"task {task_id} has ended and its hold is open" for task_id in left]
    lent = connection.execute(
        text(
            "SELECT l.id FROM leases l JOIN transfers h ON h.task_id = l.id AND h.phase = 'open' "
            "LEFT JOIN transfers c ON c.task_id = l.id AND c.phase = 'close' "
            "WHERE (l.closed_at IS NULL) <> (c.id IS NULL)"
        )
    ).scalars()
    faults += [f"lease {lease_id} and its hold are not closed together" for lease_id in lent]
    return faults


def _move(connection: Connection, name: str, change: int) -> None:
    if connection.execute(_add, {"b": name, "a": change}).rowcount != 1:
        raise Conflict(f"there is no book {name}")


def _transfer(connection: Connection, transfer: NewTransfer, moves: dict[str, int]) -> None:
    for name, change in moves.items():
        if change:
            _move(connection, name, change)
    _record(connection, transfer, moves)


def _record(connection: Connection, transfer: NewTransfer, moves: dict[str, int]) -> None:
    values = msgspec.structs.asdict(transfer) | {"phase": PHASE[transfer.kind]}
    number = connection.execute(_insert_transfer, values).scalar_one()
    connection.execute(
        _insert_entry,
        [{"transfer_id": number, "book": name, "amount": change} for name, change in moves.items() if change],
    )


def _show(row: object) -> Transfer:
    return msgspec.convert(row, Transfer, from_attributes=True)
