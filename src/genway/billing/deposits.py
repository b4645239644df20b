"""Money set aside for work that a vendor takes hours for: a batch, a response in the background.

A deposit is a hold in the ledger, within the key's budget, of a likely cost. It is given back whole when the work has ended,
in the transaction that puts on record what the work did cost. All functions work inside the caller's transaction.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select, update

from genway.billing import ledger, money
from genway.db.tables import keys
from genway.errors import BudgetExceeded, Unauthenticated

DEPOSIT = "deposit"

_key = (
    select(keys.c.budget, keys.c.held, keys.c.spent)
    .where(keys.c.id == bindparam("i"), keys.c.revoked_at.is_(None))
    .with_for_update()
)
_locked = select(keys.c.id).where(keys.c.id == bindparam("i")).with_for_update()
_move = update(keys).where(keys.c.id == bindparam("i")).values(held=keys.c.held + bindparam("a"))


def take(connection: Connection, *, account_id: str, key_id: str, mode: str, reference: str, amount: int, now: float) -> None:
    """Set `amount` ≥ 0 millionths aside under `reference`, which is used once.

    Raises InsufficientBalance, BudgetExceeded or Unauthenticated (a key that was revoked this instant); nothing is taken then.
    """
    row = connection.execute(_key, {"i": key_id}).one_or_none()
    if row is None:
        raise Unauthenticated("this key was revoked")
    if row.budget is not None and row.budget - row.held - row.spent < amount:
        left = money.show(max(row.budget - row.held - row.spent, 0))
        raise BudgetExceeded(f"this may cost {money.show(amount)} and the key's budget has {left} left")
    if amount:
        ledger.hold(connection, account_id, mode, reference, amount, now, DEPOSIT)
        connection.execute(_move, {"i": key_id, "a": amount})


def give_back(connection: Connection, *, key_id: str, reference: str, now: float) -> None:
    """Give a deposit back, whole; one that was never taken is fine."""
    connection.execute(_locked, {"i": key_id})  # the key before the books, as everybody has it, so that nobody waits in a ring
    amount = ledger.release(connection, reference, now, DEPOSIT)
    if amount:
        connection.execute(_move, {"i": key_id, "a": -amount})
