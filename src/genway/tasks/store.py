"""Tasks in the database: every change of state is a compare-and-set, recorded with time and reason.

The end of a task, its money, its key's counters and its callback are one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, and_, bindparam, delete, func, insert, not_, or_, select, tuple_, update

from genway.access import store as access
from genway.billing import ledger
from genway.callbacks import outbox
from genway.config import Callbacks
from genway.db.tables import idempotency, task_events, tasks
from genway.operations import from_json
from genway.tasks.forced import forced
from genway.tasks.model import ENDED, FOLLOWS, File, State, Task

Tells = Callable[[str, State], bool]

STOPPED = (State.CANCELLED, State.EXPIRED)

_insert_task = insert(tasks)
_insert_event = insert(task_events)
_by_id = select(tasks).where(tasks.c.id == bindparam("i"))
_let_go = (
    update(tasks)
    .where(tasks.c.id == bindparam("i"), tasks.c.owner == bindparam("o"))
    .values(owner=None, lease_until=None, next_at=bindparam("at"))
)
_wait_for = (
    update(tasks)
    .where(tasks.c.id == bindparam("i"), tasks.c.owner == bindparam("o"), tasks.c.state == State.QUEUED)
    .values(owner=None, lease_until=None, channel_id=bindparam("c"))
)
_files = msgspec.json.Decoder(tuple[File, ...])


class TaskStore:
    """All functions work inside the caller's transaction.

    tells: whether a wire format wants a callback for a state; handed down by those who know the formats.
    """

    def __init__(self, callbacks: Callbacks, tells: Tells) -> None:
        self._callbacks = callbacks
        self._tells = tells

    def insert(self, connection: Connection, values: dict[str, Any]) -> None:
        """A new task, queued."""
        connection.execute(_insert_task, values)
        self._record(connection, values["id"], None, State.QUEUED, values["created_at"], "accepted")

    def get(self, connection: Connection, task_id: str, *, account_id: str | None = None, deleted: bool = False) -> Task | None:
        """A task that was not `deleted`, unless such are asked for; with `account_id` only that account's."""
        row = connection.execute(_by_id, {"i": task_id}).one_or_none()
        if (
            row is None
            or (row.deleted_at is not None and not deleted)
            or (account_id is not None and row.account_id != account_id)
        ):
            return None
        return to_task(row)

    def listing(
        self,
        connection: Connection,
        *,
        account_id: str | None = None,
        states: Collection[State] = (),
        before: float | None = None,
        limit: int = 50,
        offset: int = 0,
        mode: str = "",
        dialect: str = "",
        context: Mapping[str, str] = {},
        kinds: Collection[str] = (),
        past: Task | None = None,
        oldest_first: bool = False,
    ) -> list[Task]:
        """Newest first. context: what the tasks' own context has to say under these names. past: what the list goes on from."""
        place = (tasks.c.created_at, tasks.c.id)
        order = place if oldest_first else (column.desc() for column in place)
        query = select(tasks).where(tasks.c.deleted_at.is_(None)).order_by(*order).limit(limit).offset(offset)
        if past is not None:
            here, there = tuple_(*place), (past.created_at, past.id)
            query = query.where(here > there if oldest_first else here < there)
        if kinds:
            query = query.where(tasks.c.operation.in_(kinds))
        if mode:
            query = query.where(tasks.c.mode == mode)
        if dialect:
            query = query.where(tasks.c.dialect == dialect)
        for name, value in context.items():
            # A quote inside a value is escaped in JSON, so this can only be a member and its whole value. LIKE would not
            # do: it overlooks capitals in SQLite.
            member = msgspec.json.encode({name: value})[1:-1].decode()
            query = query.where(func.replace(tasks.c.context, member, "") != tasks.c.context)
        if account_id is not None:
            query = query.where(tasks.c.account_id == account_id)
        if states:
            query = query.where(tasks.c.state.in_(states))
        if before is not None:
            query = query.where(tasks.c.created_at < before)
        return [to_task(row) for row in connection.execute(query)]

    def events(self, connection: Connection, task_id: str) -> list[dict[str, Any]]:
        """What happened to a task, oldest first: at, before, after, reason."""
        query = select(task_events).where(task_events.c.task_id == task_id).order_by(task_events.c.id)
        return [
            {"at": row.at, "before": row.before, "after": row.after, "reason": row.reason} for row in connection.execute(query)
        ]

    def queue_position(self, connection: Connection, task: Task) -> int:
        """How many queued tasks for the same kind of provider are not behind this one, itself included."""
        earlier = and_(
            tasks.c.finished_at.is_(None),
            tasks.c.state == State.QUEUED,
            tasks.c.local == task.local,
            tuple_(tasks.c.created_at, tasks.c.id) < (task.created_at, task.id),
        )
        return int(connection.execute(select(func.count()).where(earlier)).scalar_one()) + 1

    def move(
        self,
        connection: Connection,
        task_id: str,
        before: State,
        after: State,
        now: float,
        reason: str = "",
        **changes: Any,
    ) -> Task | None:
        """Move a task that is in state `before`; None when it is not (any more), and then nothing is changed."""
        assert after in FOLLOWS[before], f"{before} is never followed by {after}"
        assert after not in ENDED, "a task ends with end()"
        row = connection.execute(
            update(tasks)
            .where(tasks.c.id == task_id, tasks.c.state == before)
            .values(state=after, updated_at=now, **changes)
            .returning(*tasks.c)
        ).one_or_none()
        if row is None:
            return None
        self._record(connection, task_id, before, after, now, reason)
        self._announce(connection, row, after, now)
        return to_task(row)

    def end(
        self,
        connection: Connection,
        task_id: str,
        before: Collection[State],
        after: State,
        now: float,
        reason: str = "",
        **changes: Any,
    ) -> Task | None:
        """End a task that is in one of the states `before`: settle or give back, and enqueue its callback.

        What a vendor still works on and nobody wants any more is noted as to be stopped.
        None when it is in none of them, and then nothing is changed.
        """
        assert after in ENDED
        found = connection.execute(
            select(tasks.c.state, tasks.c.held, tasks.c.vendor_id, tasks.c.local).where(tasks.c.id == task_id).with_for_update()
        ).one_or_none()
        if found is None or found.state not in before:
            return None
        charged = found.held if after == State.SUCCEEDED else 0
        if found.state == State.RUNNING and found.vendor_id and after in STOPPED and not found.local:
            changes["stop_at"] = now
        row = connection.execute(
            update(tasks)
            .where(tasks.c.id == task_id, tasks.c.state == found.state)
            .values(state=after, updated_at=now, finished_at=now, charged=charged, owner=None, lease_until=None, **changes)
            .returning(*tasks.c)
        ).one_or_none()
        if row is None:
            return None
        if after == State.SUCCEEDED:
            ledger.settle(connection, task_id, charged, now, f"{row.model} {row.operation}")
        else:
            ledger.release(connection, task_id, now, f"{after}: {row.error_code or reason}")
        access.leave(connection, row.key_id, row.held, charged)
        self._record(connection, task_id, found.state, after, now, reason)
        self._announce(connection, row, after, now)
        return to_task(row)

    def note(self, connection: Connection, task_id: str, now: float, reason: str) -> None:
        """Record something that changes no state."""
        state = connection.execute(select(tasks.c.state).where(tasks.c.id == task_id)).scalar_one()
        self._record(connection, task_id, state, state, now, reason)

    def progress(self, connection: Connection, task_id: str, progress: float, now: float) -> None:
        """progress: 0…1; it never goes backwards."""
        connection.execute(
            update(tasks)
            .where(tasks.c.id == task_id, tasks.c.state == State.RUNNING, tasks.c.progress < progress)
            .values(progress=progress, updated_at=now)
        )

    def claim(
        self, connection: Connection, owner: str, now: float, lease: float, limit: int, *, crowded: Collection[str] = ()
    ) -> list[Task]:
        """Take over tasks that are due and nobody's, oldest first, but not those that queue for a `crowded` channel."""
        free = or_(tasks.c.owner.is_(None), tasks.c.lease_until < now)
        due = (
            select(tasks.c.id)
            .where(tasks.c.finished_at.is_(None), tasks.c.next_at <= now, free)
            .order_by(tasks.c.next_at, tasks.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        if crowded:
            waits = func.coalesce(tasks.c.channel_id, "").in_(crowded)
            due = due.where(or_(tasks.c.state != State.QUEUED, not_(waits)))
        rows = connection.execute(
            update(tasks).where(tasks.c.id.in_(due)).values(owner=owner, lease_until=now + lease).returning(*tasks.c)
        )
        return sorted((to_task(row) for row in rows), key=lambda task: (task.created_at, task.id))

    def let_go(self, connection: Connection, owner: str, tasks_next_at: Mapping[str, float]) -> None:
        """Nobody works on these tasks until the time given for each."""
        connection.execute(_let_go, [{"i": task, "o": owner, "at": at} for task, at in tasks_next_at.items()])

    def wait_for(self, connection: Connection, owner: str, channels: Mapping[str, str]) -> None:
        """These queued tasks (task → channel) wait in the database until the channel is less crowded."""
        connection.execute(_wait_for, [{"i": task, "o": owner, "c": channel} for task, channel in channels.items()])

    def renew(self, connection: Connection, owner: str, until: float) -> None:
        """A sign of life for all tasks of a process."""
        connection.execute(update(tasks).where(tasks.c.owner == owner, tasks.c.finished_at.is_(None)).values(lease_until=until))

    def free(self, connection: Connection, owner: str | None, now: float) -> int:
        """Let go of all tasks of a process, or (owner None) of all processes; returns how many there were.

        With all processes gone, nobody is about to tell a vendor to stop either.
        """
        query = update(tasks).where(tasks.c.finished_at.is_(None), tasks.c.owner.is_not(None))
        if owner is not None:
            query = query.where(tasks.c.owner == owner)
        if owner is None:
            connection.execute(update(tasks).where(tasks.c.stop_at.is_not(None)).values(stop_at=now))
        return connection.execute(query.values(owner=None, lease_until=None, next_at=now)).rowcount

    def claim_stops(self, connection: Connection, now: float, lease: float, limit: int) -> list[Task]:
        """Ended tasks whose vendors are to be told to stop; for `lease` seconds nobody else gets them."""
        due = (
            select(tasks.c.id)
            .where(tasks.c.stop_at.is_not(None), tasks.c.stop_at <= now)
            .order_by(tasks.c.stop_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        rows = connection.execute(update(tasks).where(tasks.c.id.in_(due)).values(stop_at=now + lease).returning(*tasks.c))
        return [to_task(row) for row in rows]

    def stop_at(self, connection: Connection, task_ids: Collection[str], at: float) -> None:
        """The vendors of these tasks, as far as they are still to be told to stop, are told at that time."""
        left = and_(tasks.c.id.in_(list(task_ids)), tasks.c.stop_at.is_not(None))
        connection.execute(update(tasks).where(left).values(stop_at=at))

    def stop_late(self, connection: Connection, task_id: str, vendor_id: str, now: float) -> bool:
        """The vendor took a task that had ended meanwhile; False where it has not ended, and nothing is changed."""
        ended = and_(tasks.c.id == task_id, tasks.c.finished_at.is_not(None), tasks.c.state != State.SUCCEEDED)
        late = update(tasks).where(ended, tasks.c.vendor_id.is_(None)).values(vendor_id=vendor_id, stop_at=now)
        return connection.execute(late).rowcount == 1

    def stop_told(self, connection: Connection, task_id: str, now: float, reason: str, *, again_at: float | None) -> None:
        """The vendor of an ended task was told to stop, and is told again at that time if at all."""
        due = update(tasks).where(tasks.c.id == task_id, tasks.c.stop_at.is_not(None))
        if connection.execute(due.values(stop_at=again_at)).rowcount:
            self.note(connection, task_id, now, reason)

    def at_work(self, connection: Connection, channel_id: str) -> int:
        """How many tasks a channel has."""
        busy = and_(
            tasks.c.finished_at.is_(None),
            tasks.c.channel_id == channel_id,
            tasks.c.state.in_((State.SUBMITTING, State.RUNNING, State.PARKED)),
        )
        return int(connection.execute(select(func.count()).where(busy)).scalar_one())

    def open_states(self, connection: Connection) -> dict[str, int]:
        """How many tasks are in each state that is not an end."""
        query = select(tasks.c.state, func.count()).where(tasks.c.finished_at.is_(None)).group_by(tasks.c.state)
        return dict(connection.execute(query).all())

    def forget(self, connection: Connection, before: float) -> int:
        """Delete tasks that ended before, and their callbacks; what was paid stays in the ledger."""
        old = select(tasks.c.id).where(tasks.c.finished_at < before)
        connection.execute(delete(task_events).where(task_events.c.task_id.in_(old)))
        outbox.forget_of(connection, old)
        return connection.execute(delete(tasks).where(tasks.c.finished_at < before)).rowcount

    def forget_idempotency(self, connection: Connection, before: float) -> int:
        return connection.execute(delete(idempotency).where(idempotency.c.created_at < before)).rowcount

    def _announce(self, connection: Connection, row: Row[tuple[Any, ...]], state: State, now: float) -> None:
        if not row.callback_url or not self._tells(row.dialect, state):
            return
        lose = 0
        if row.mode == "test":
            lose = int(float(forced(from_json(row.request)).get("lose-callback", 0)))
        outbox.enqueue(
            connection,
            task_id=row.id,
            account_id=row.account_id,
            url=row.callback_url,
            event=str(state),
            now=now,
            give_up_seconds=self._callbacks.give_up_seconds,
            lose=lose,
        )

    @staticmethod
    def _record(connection: Connection, task_id: str, before: State | None, after: State, now: float, reason: str) -> None:
        connection.execute(_insert_event, {"task_id": task_id, "at": now, "before": before, "after": after, "reason": reason})


def to_task(row: Row[tuple[Any, ...]]) -> Task:
    """A row of the table as the rest of the house sees it."""
    return Task(
        id=row.id,
        account_id=row.account_id,
        key_id=row.key_id,
        mode=row.mode,
        dialect=row.dialect,
        operation=from_json(row.request),
        context=msgspec.json.decode(row.context),
        base_url=row.base_url,
        request_id=row.request_id,
        callback_url=row.callback_url,
        state=State(row.state),
        progress=row.progress,
        local=bool(row.local),
        provider=row.provider,
        channel_id=row.channel_id,
        vendor_id=row.vendor_id,
        attempt=row.attempt,
        tried=tuple(msgspec.json.decode(row.tried)),
        vendor_files=row.vendor_files,
        files=_files.decode(row.results) if row.results else (),
        details=msgspec.json.decode(row.details),
        warnings=tuple(msgspec.json.decode(row.warnings)),
        quote=msgspec.json.decode(row.quote),
        held=row.held,
        charged=row.charged,
        error_code=row.error_code,
        error_message=row.error_message,
        deadline_at=row.deadline_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
