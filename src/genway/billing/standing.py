"""What accounts and keys have and have spent, to the millionth, while leases are open.

A lease is money that is held for calls which may never be made (`billing/leases.py`), and what is spent of it is charged only
when it is closed. Here it is taken apart: what is spent counts as spent, the rest as not held at all. All functions work inside
the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, ScalarSelect, func, select

from genway.billing import ledger
from genway.db.tables import balances, keys, leases


class Purse(msgspec.Struct, frozen=True):
    """What an account has in live or in test money, in millionths. held: set aside for tasks and batches under way."""

    available: int
    held: int


class Spending(msgspec.Struct, frozen=True):
    """What a key has spent, and what is held for its tasks and batches, in millionths."""

    spent: int = 0
    held: int = 0


NAMES: Final = ("available", "held")

_open = leases.c.closed_at.is_(None)
_sums = (
    func.coalesce(func.sum(leases.c.amount), 0).label("amount"),
    func.coalesce(func.sum(leases.c.spent), 0).label("spent"),
)


def of_account(connection: Connection, account_id: str, mode: str) -> Purse:
    """What an account has."""
    leased = select(*_sums).where(_open, leases.c.account_id == account_id, leases.c.mode == mode).subquery()
    # One statement, so that a lease which is opened or closed meanwhile is in all of it or in none.
    available, held = (_balance(ledger.book(mode, account_id, name)) for name in NAMES)
    row = connection.execute(select(available.label("available"), held.label("held"), leased.c.amount, leased.c.spent)).one()
    return Purse((row.available or 0) + int(row.amount) - int(row.spent), (row.held or 0) - int(row.amount))


def _balance(book: str) -> ScalarSelect[int]:
    return select(balances.c.amount).where(balances.c.book == book).scalar_subquery()


def of_key(connection: Connection, key_id: str) -> Spending:
    """What a key has spent; nothing for one that is not known."""
    return _of(connection, keys.c.id == key_id).get(key_id, Spending())


def of_keys(connection: Connection, account_id: str | None = None) -> Mapping[str, Spending]:
    """What every key, or every key of an account, has spent, by id."""
    return _of(connection, *([keys.c.account_id == account_id] if account_id else []))


def _of(connection: Connection, *where: ColumnElement[bool]) -> dict[str, Spending]:
    leased = select(leases.c.key_id, *_sums).where(_open).group_by(leases.c.key_id).subquery()
    query = (
        select(keys.c.id, keys.c.spent, keys.c.held, leased.c.amount, leased.c.spent.label("used"))
        .outerjoin(leased, leased.c.key_id == keys.c.id)
        .where(*where)
    )
    return {
        row.id: Spending(row.spent + int(row.used or 0), row.held - int(row.amount or 0)) for row in connection.execute(query)
    }
