"""The callbacks that are to be sent, as rows that live in the same transaction as the task they tell of.

Everything here is a function of a connection. A row is `waiting` until the receiver has taken it (`delivered`) or
nobody will try any more (`dead`). Whoever tries a row holds a lease on it; a lease that ran out belonged to a
process that is gone, and the row is free again.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Literal

import msgspec
import uuid_utils
from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Integer,
    Row,
    Select,
    Update,
    bindparam,
    delete,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from genway.db.tables import FIRST_TRY, WAITING, callbacks
from genway.media.address import origin

State = Literal["waiting", "delivered", "dead"]

_INSERT = {
    "sqlite": sqlite.insert(callbacks).on_conflict_do_nothing(index_elements=["task_id", "event"]),
    "postgresql": postgresql.insert(callbacks).on_conflict_do_nothing(index_elements=["task_id", "event"]),
}


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """One callback, column by column. Times are Unix seconds.

    `id` is the message's `webhook-id`. `lose` is how many more tries are lost on purpose.
    """

    id: str
    task_id: str
    account_id: str
    url: str
    host: str
    event: str
    state: State
    attempts: int
    lose: int
    next_at: float
    give_up_at: float
    last_status: int | None
    last_error: str | None
    owner: str | None
    lease_until: float | None
    created_at: float
    delivered_at: float | None


class Due(msgspec.Struct, frozen=True):
    """A callback that may be tried now. `place` counts its host's due callbacks from 1, oldest first."""

    id: str
    host: str
    attempts: int
    place: int


def enqueue(
    connection: Connection,
    *,
    task_id: str,
    account_id: str,
    url: str,
    event: str,
    now: float,
    give_up_seconds: float,
    lose: int = 0,
) -> str:
    """Have the task's `event` told to `url`, and return the callback's id.

    To be called in the transaction that changes the task. A task tells each event once: the second call changes nothing
    and returns the first one's id. lose: how many tries to lose on purpose, for test keys.
    """
    callback_id = f"cb_{uuid_utils.uuid7().hex}"
    values = {
        "id": callback_id,
        "task_id": task_id,
        "account_id": account_id,
        "url": url,
        "host": _host(url),
        "event": event,
        "state": "waiting",
        "attempts": 0,
        "lose": lose,
        "next_at": now,
        "give_up_at": now + give_up_seconds,
        "created_at": now,
    }
    if connection.execute(_INSERT[connection.dialect.name], values).rowcount == 1:
        return callback_id
    known = select(callbacks.c.id).where(callbacks.c.task_id == task_id, callbacks.c.event == event)
    return str(connection.execute(known).scalar_one())


def due(
    connection: Connection,
    now: float,
    *,
    limit: int,
    each_host: int,
    first_tries_only: bool = False,
    busy: Collection[str] = (),
) -> list[Due]:
    """What may be tried now: the first of every host, then the second of every host, and so on, oldest first.

    each_host: how many of one host at most. first_tries_only: leave out what failed before. busy: hosts to leave out.
    It looks at so many rows of each host and no more, however many wait.
    """
    statement = _due(connection.dialect.name == "sqlite", first_tries_only)
    values = {"now": now, "limit": limit, "each_host": each_host, "busy": list(busy)}
    return [Due(*row) for row in connection.execute(statement, values)]


def next_due(connection: Connection, now: float) -> float | None:
    """When the next callback that is not due yet becomes so."""
    statement = select(func.min(callbacks.c.next_at)).where(WAITING, callbacks.c.next_at > now)
    return connection.execute(statement).scalar()


def claim(connection: Connection, ids: Collection[str], *, owner: str, now: float, lease_seconds: float) -> list[Callback]:
    """Take a lease on those of `ids` that are still free and due, and return them. Of two who ask at once one gets each."""
    free = (
        select(callbacks.c.id)
        .where(callbacks.c.id.in_(list(ids)), WAITING, _unleased(now), callbacks.c.next_at <= now)
        .with_for_update(skip_locked=True)  # PostgreSQL: neither wait for the other process nor deadlock with it
    )
    statement = (
        update(callbacks)
        .where(callbacks.c.id.in_(free))
        .values(owner=owner, lease_until=now + lease_seconds)
        .returning(*callbacks.c)
    )
    return [_callback(row) for row in connection.execute(statement)]


def delivered(connection: Connection, callback_id: str, *, now: float, status: int) -> bool:
    """The receiver has it. Holds whoever has the lease by now: what was delivered was delivered."""
    statement = (
        update(callbacks)
        .where(callbacks.c.id == callback_id, callbacks.c.state == "waiting")
        .values(
            state="delivered",
            delivered_at=now,
            attempts=callbacks.c.attempts + 1,
            last_status=status,
            last_error=None,
            owner=None,
            lease_until=None,
        )
    )
    return connection.execute(statement).rowcount == 1


def failed(
    connection: Connection,
    callback_id: str,
    *,
    owner: str,
    error: str,
    status: int | None,
    next_at: float,
    lost: bool = False,
) -> bool:
    """The try went wrong and the next is at `next_at`. False if the lease is no longer ours, and nothing changed.

    lost: the try was one of those that were to be lost on purpose.
    """
    values = {"next_at": next_at, "lose": callbacks.c.lose - int(lost)}
    return connection.execute(_after_try(callback_id, owner, error, status).values(values)).rowcount == 1


def dead(connection: Connection, callback_id: str, *, owner: str, error: str, status: int | None) -> bool:
    """The try went wrong and was the last. False if the lease is no longer ours, and nothing changed."""
    return connection.execute(_after_try(callback_id, owner, error, status).values(state="dead")).rowcount == 1


def release_owner(connection: Connection, owner: str) -> int:
    """Free what a process had claimed that stops or is known to be dead; returns how many."""
    statement = (
        update(callbacks).where(callbacks.c.owner == owner, callbacks.c.state == "waiting").values(owner=None, lease_until=None)
    )
    return connection.execute(statement).rowcount


def release_all(connection: Connection) -> int:
    """Free what any process had claimed, when it is known that none is left; returns how many."""
    statement = update(callbacks).where(callbacks.c.owner.is_not(None), callbacks.c.state == "waiting")
    return connection.execute(statement.values(owner=None, lease_until=None)).rowcount


def replay(
    connection: Connection,
    *,
    now: float,
    give_up_seconds: float,
    callback_id: str | None = None,
    task_id: str | None = None,
) -> list[str]:
    """Send again, from the first try on, and return the ids that will be.

    With an id or a task's id: whatever is known under it, delivered or not, except what is being tried at this moment.
    With neither: all dead letters.
    """
    which = [or_(callbacks.c.lease_until.is_(None), callbacks.c.lease_until <= now)]
    if callback_id is not None:
        which.append(callbacks.c.id == callback_id)
    if task_id is not None:
        which.append(callbacks.c.task_id == task_id)
    if callback_id is None and task_id is None:
        which.append(callbacks.c.state == "dead")
    statement = (
        update(callbacks)
        .where(*which)
        .values(
            state="waiting",
            attempts=0,
            next_at=now,
            give_up_at=now + give_up_seconds,
            delivered_at=None,
            owner=None,
            lease_until=None,
        )
        .returning(callbacks.c.id)
    )
    return sorted(connection.execute(statement).scalars())


def listing(
    connection: Connection,
    *,
    account_id: str | None = None,
    task_id: str | None = None,
    state: State | None = None,
    limit: int = 100,
    before: str | None = None,
) -> list[Callback]:
    """The newest first. before: the last id of the page before."""
    statement = select(callbacks).order_by(callbacks.c.id.desc()).limit(limit)
    if account_id is not None:
        statement = statement.where(callbacks.c.account_id == account_id)
    if task_id is not None:
        statement = statement.where(callbacks.c.task_id == task_id)
    if state is not None:
        statement = statement.where(callbacks.c.state == state)
    if before is not None:
        statement = statement.where(callbacks.c.id < before)
    return [_callback(row) for row in connection.execute(statement)]


def forget_of(connection: Connection, task_ids: Select[str]) -> int:
    """Delete all callbacks of these tasks, which are deleted themselves; returns how many."""
    return connection.execute(delete(callbacks).where(callbacks.c.task_id.in_(task_ids))).rowcount


def forget_delivered(connection: Connection, before: float, limit: int) -> int:
    """Delete what was enqueued before and is delivered, the oldest first; returns how many.

    An id begins with the time it was made at, so those that are old enough are found without an index of their own.
    """
    newest = f"cb_{int(before * 1000):012x}"
    old = (
        select(callbacks.c.id)
        .where(callbacks.c.id < newest, callbacks.c.state == "delivered", callbacks.c.created_at < before)
        .order_by(callbacks.c.id)
        .limit(limit)
    )
    return connection.execute(delete(callbacks).where(callbacks.c.id.in_(old))).rowcount


@cache
def _due(sqlite: bool, first_tries_only: bool) -> Select[str, str, int, int]:
    """The statement of `due`, which takes longer to put together than to run."""
    now = bindparam("now", type_=Double)
    which = FIRST_TRY if first_tries_only else WAITING
    first = select(func.min(callbacks.c.host).label("host")).where(which)
    hosts = first.cte("hosts", recursive=True)
    after = select(func.min(callbacks.c.host)).where(which, callbacks.c.host > hosts.c.host).scalar_subquery()
    hosts = hosts.union_all(select(after).where(hosts.c.host.is_not(None)))
    top = (
        select(callbacks.c.id, callbacks.c.host, callbacks.c.attempts, callbacks.c.next_at)
        .where(callbacks.c.host == hosts.c.host, which, _unleased(now), callbacks.c.next_at <= now)
        .order_by(callbacks.c.next_at, callbacks.c.id)
        .limit(bindparam("each_host", type_=Integer))
        .correlate(hosts)
    )
    rows: Select[str, str, int, float]
    if sqlite:
        # SQLite has no LATERAL, and looks up by id here; PostgreSQL would go through the whole table for that.
        one = callbacks.alias()
        chosen = one.c.id.in_(top.with_only_columns(callbacks.c.id))
        rows = select(one.c.id, one.c.host, one.c.attempts, one.c.next_at).select_from(hosts.join(one, chosen))
    else:
        each = top.lateral()
        rows = select(each.c.id, each.c.host, each.c.attempts, each.c.next_at).select_from(hosts.join(each, true()))
    found = rows.where(hosts.c.host.not_in(bindparam("busy", expanding=True))).subquery()
    place = func.row_number().over(partition_by=found.c.host, order_by=(found.c.next_at, found.c.id)).label("place")
    columns = (found.c.id, found.c.host, found.c.attempts, place)
    return select(*columns).order_by(place, found.c.next_at, found.c.id).limit(bindparam("limit", type_=Integer))


def _unleased(now: float | ColumnElement[float]) -> ColumnElement[bool]:
    return or_(callbacks.c.lease_until.is_(None), callbacks.c.lease_until <= now)


def _after_try(callback_id: str, owner: str, error: str, status: int | None) -> Update:
    return (
        update(callbacks)
        .where(callbacks.c.id == callback_id, callbacks.c.owner == owner, callbacks.c.state == "waiting")
        .values(attempts=callbacks.c.attempts + 1, last_error=error, last_status=status, owner=None, lease_until=None)
    )


def _host(url: str) -> str:
    # Whatever the address is, the task must be able to end: one that cannot be read fails when it is tried.
    try:
        return origin(url).partition("://")[2]
    except ValueError:
        return url


def _callback(row: Row[tuple[object, ...]]) -> Callback:
    return Callback(**row._mapping)
