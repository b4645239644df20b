"""Accounts and keys. All functions work inside the caller's transaction."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Literal

import msgspec
from sqlalchemy import Connection, Row, bindparam, case, insert, or_, select, update
from uuid_utils import uuid7

from genway.access.model import Caller
from genway.billing import ledger, money
from genway.callbacks.signatures import new_secret
from genway.db.tables import accounts, keys
from genway.errors import BudgetExceeded, Conflict, NotFound, RateLimited, Unauthenticated
from genway.vault import Vault

SHORTEST_KEY = 8


class Account(msgspec.Struct, frozen=True):
    """Who pays. Amounts are millionths of `currency`; credit_limit None: without limit."""

    id: str
    name: str
    currency: str
    credit_limit: int | None
    created_at: float
    disabled_at: float | None
    available: int = 0
    held: int = 0


class Key(msgspec.Struct, frozen=True):
    """What a program holds, without its secret."""

    id: str
    account_id: str
    name: str
    hint: str
    mode: str
    admin: bool
    budget: int | None
    held: int
    spent: int
    active_tasks: int
    requests_per_minute: int | None
    concurrent_tasks: int | None
    tokens_per_minute: int | None
    concurrent_streams: int | None
    created_at: float
    expires_at: float | None
    revoked_at: float | None


def create_account(
    connection: Connection, vault: Vault, name: str, *, currency: str, credit_limit: int | None, now: float
) -> Account:
    """Raises Conflict where the name is taken."""
    if connection.execute(select(accounts.c.id).where(accounts.c.name == name)).first():
        raise Conflict(f"there is an account named {name} already")
    account_id = f"acc_{uuid7().hex}"
    connection.execute(
        insert(accounts),
        {
            "id": account_id,
            "name": name,
            "currency": currency,
            "credit_limit": credit_limit,
            "callback_secret": vault.encrypt(new_secret()),
            "created_at": now,
        },
    )
    for mode in ("live", "test"):
        ledger.open_books(connection, account_id, mode)
    return get_account(connection, account_id)


def get_account(connection: Connection, id_or_name: str) -> Account:
    """Raises NotFound."""
    row = connection.execute(
        select(accounts).where(or_(accounts.c.id == id_or_name, accounts.c.name == id_or_name))
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no account {id_or_name}; `genway account show` lists them")
    return _account(connection, row)


def list_accounts(connection: Connection) -> list[Account]:
    return [_account(connection, row) for row in connection.execute(select(accounts).order_by(accounts.c.created_at))]


def callback_secret(connection: Connection, vault: Vault, account_id: str) -> str:
    """What the account's callbacks are signed with."""
    return vault.decrypt(connection.execute(select(accounts.c.callback_secret).where(accounts.c.id == account_id)).scalar_one())


def create_key(
    connection: Connection,
    vault: Vault,
    account_id: str,
    *,
    name: str,
    mode: Literal["live", "test"] = "live",
    admin: bool = False,
    budget: int | None = None,
    requests_per_minute: int | None = None,
    concurrent_tasks: int | None = None,
    tokens_per_minute: int | None = None,
    concurrent_streams: int | None = None,
    expires_at: float | None = None,
    secret: str = "",
    now: float,
) -> tuple[Key, str]:
    """A new key and its secret, which is shown this once and never stored. Raises Conflict, NotFound."""
    account = get_account(connection, account_id)
    secret = secret or f"gw_{mode}_{secrets.token_urlsafe(32)}"
    if len(secret) < SHORTEST_KEY:
        raise Conflict(f"a key has at least {SHORTEST_KEY} characters")
    if connection.execute(select(keys.c.id).where(keys.c.hash == vault.hash(secret))).first():
        raise Conflict("this key exists already")
    key_id = f"key_{uuid7().hex}"
    connection.execute(
        insert(keys),
        {
            "id": key_id,
            "account_id": account.id,
            "name": name,
            "hash": vault.hash(secret),
            "hint": secret[-4:],
            "mode": mode,
            "admin": admin,
            "budget": budget,
            "requests_per_minute": requests_per_minute,
            "concurrent_tasks": concurrent_tasks,
            "tokens_per_minute": tokens_per_minute,
            "concurrent_streams": concurrent_streams,
            "created_at": now,
            "expires_at": expires_at,
        },
    )
    return get_key(connection, key_id), secret


def get_key(connection: Connection, id_or_name: str) -> Key:
    """Raises NotFound, and Conflict where several keys share the name."""
    rows = connection.execute(select(keys).where(or_(keys.c.id == id_or_name, keys.c.name == id_or_name))).all()
    if not rows:
        raise NotFound(f"there is no key {id_or_name}; `genway key list` lists them")
    if len(rows) > 1:
        raise Conflict(f"{len(rows)} keys are named {id_or_name}; use the id")
    return msgspec.convert(rows[0], Key, from_attributes=True)


def list_keys(connection: Connection, account_id: str | None = None) -> list[Key]:
    query = select(keys).order_by(keys.c.created_at)
    if account_id:
        query = query.where(keys.c.account_id == account_id)
    return [msgspec.convert(row, Key, from_attributes=True) for row in connection.execute(query)]


def change_key(connection: Connection, key_id: str, changes: Mapping[str, str | float | None]) -> Key:
    """Give a key another name, limits or end. changes: by the names that `Key` has; None is without. Raises NotFound."""
    connection.execute(update(keys).where(keys.c.id == key_id).values(changes))
    return get_key(connection, key_id)


def revoke_key(connection: Connection, key_id: str, now: float) -> None:
    """From now on the key is refused; what runs under it goes on."""
    connection.execute(update(keys).where(keys.c.id == key_id, keys.c.revoked_at.is_(None)).values(revoked_at=now))


_by_hash = (
    select(keys, accounts.c.disabled_at.label("account_disabled_at"))
    .join(accounts, accounts.c.id == keys.c.account_id)
    .where(keys.c.hash == bindparam("h"))
)


def authenticate(connection: Connection, hashed: str, now: float) -> Caller:
    """Who holds the key with this hash. Raises Unauthenticated."""
    row = connection.execute(_by_hash, {"h": hashed}).one_or_none()
    if row is None:
        raise Unauthenticated("this key is not known here")
    _refuse_dead(row, now)
    if row.account_disabled_at is not None:
        raise Unauthenticated("this key's account is disabled")
    return Caller(
        account_id=row.account_id,
        key_id=row.id,
        name=row.name,
        mode=row.mode,
        admin=row.admin,
        budget=row.budget,
        requests_per_minute=row.requests_per_minute,
        concurrent_tasks=row.concurrent_tasks,
        tokens_per_minute=row.tokens_per_minute,
        concurrent_streams=row.concurrent_streams,
    )


_admit = (
    update(keys)
    .where(
        keys.c.id == bindparam("i"),
        keys.c.revoked_at.is_(None),
        or_(keys.c.expires_at.is_(None), keys.c.expires_at > bindparam("now")),
        or_(keys.c.budget.is_(None), keys.c.budget >= keys.c.held + keys.c.spent + bindparam("a")),
        or_(bindparam("most") == 0, keys.c.active_tasks < bindparam("most")),
    )
    .values(held=keys.c.held + bindparam("a"), active_tasks=keys.c.active_tasks + 1)
)
_leave = (
    update(keys)
    .where(keys.c.id == bindparam("i"))
    .values(
        held=keys.c.held - bindparam("h"),
        spent=keys.c.spent + bindparam("c"),
        active_tasks=case((keys.c.active_tasks > 0, keys.c.active_tasks - 1), else_=0),
    )
)


def admit(connection: Connection, caller: Caller, amount: int, most_tasks: int, now: float) -> None:
    """Count one more task of `amount` millionths for the key. Raises Unauthenticated, BudgetExceeded or RateLimited."""
    values = {"i": caller.key_id, "now": now, "a": amount, "most": most_tasks}
    if connection.execute(_admit, values).rowcount:
        return
    row = connection.execute(select(keys).where(keys.c.id == caller.key_id)).one_or_none()
    if row is None:
        raise Unauthenticated("this key is not known here")
    _refuse_dead(row, now)
    if row.budget is not None and row.budget < row.held + row.spent + amount:
        left = row.budget - row.held - row.spent
        raise BudgetExceeded(f"this costs {money.show(amount)} and the key's budget has {money.show(left)} left")
    raise RateLimited(f"this key may have {most_tasks} tasks at once and has them; wait for one to end", retry_after=5)


def leave(connection: Connection, key_id: str, held: int, charged: int) -> None:
    """A task of the key has ended: of what it held, `charged` was spent."""
    connection.execute(_leave, {"i": key_id, "h": held, "c": charged})


def _refuse_dead(row: Row[tuple[object, ...]], now: float) -> None:
    if row.revoked_at is not None:
        raise Unauthenticated("this key was revoked")
    if row.expires_at is not None and row.expires_at <= now:
        raise Unauthenticated("this key has expired")


def _account(connection: Connection, row: Row[tuple[object, ...]]) -> Account:
    available, held = ledger.balance(connection, row.id, "live")
    return Account(row.id, row.name, row.currency, row.credit_limit, row.created_at, row.disabled_at, available, held)
