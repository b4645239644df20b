"""Many callbacks that wait: how many of them are looked at, how many are under way, and when they are forgotten."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from sqlalchemy import Connection, event, insert, text

from callbacks.conftest import Deliver, Receive
from callbacks.stage import DAY, NEVER, Clock, get, put
from genway.callbacks import outbox
from genway.config import Callbacks
from genway.db import Database
from genway.db.tables import callbacks

NOW = 1_000_000.0
BACKLOG = 3000


def fill(database: Database, host: str, count: int, **changes: Any) -> None:
    """So many callbacks to one host, due since NOW, in the order of their ids."""
    row = {
        "account_id": "account",
        "url": f"https://{host}/hook",
        "host": host,
        "event": "succeeded",
        "state": "waiting",
        "attempts": 0,
        "lose": 0,
        "next_at": NOW,
        "give_up_at": NEVER,
        "created_at": NOW,
    } | changes
    rows = [row | {"id": f"cb_{host}_{number:05}", "task_id": f"{host}_{number}"} for number in range(count)]
    database.write_now(lambda c: c.execute(insert(callbacks), rows).rowcount)


def due(database: Database, **changes: Any) -> list[outbox.Due]:
    values = {"limit": 128, "each_host": 4, **changes}
    return database.read_now(partial(outbox.due, now=NOW, **values))


def test_a_backlog_of_one_host_hides_no_other(database: Database) -> None:
    fill(database, "crowded", BACKLOG)
    fill(database, "quiet", 1, next_at=NOW - 1)
    fill(database, "failing", 50, attempts=3)
    fill(database, "later", 5, next_at=NOW + 1)
    found = due(database)
    assert [(one.host, one.place) for one in found[:3]] == [("quiet", 1), ("crowded", 1), ("failing", 1)]
    assert [one.id for one in found if one.host == "crowded"] == [f"cb_crowded_{number:05}" for number in range(4)]
    assert {one.host for one in due(database, first_tries_only=True)} == {"crowded", "quiet"}
    assert {one.host for one in due(database, busy=["crowded", "failing"])} == {"quiet"}
    assert len(due(database, each_host=50, limit=128)) == 101


@pytest.mark.parametrize("first_tries_only", [False, True])
def test_a_look_into_the_outbox_goes_through_no_whole_table(database: Database, first_tries_only: bool) -> None:
    fill(database, "crowded", BACKLOG)
    for number in range(20):
        fill(database, f"other-{number}", 3)
    database.write_now(lambda c: c.execute(text("ANALYZE callbacks")).rowcount)
    plan = database.read_now(lambda c: _plan(c, first_tries_only))
    # With equal statistics SQLite takes the one that was made last, and the order in which tables get theirs varies.
    indexes = ("ix_callbacks_first", "ix_callbacks_host") if first_tries_only else ("ix_callbacks_host",)
    assert any(index in plan for index in indexes)
    assert "SCAN callbacks" not in plan
    assert "Seq Scan on callbacks" not in plan


def _plan(connection: Connection, first_tries_only: bool) -> str:
    """How the database goes about the statement of `outbox.due`."""
    asked: list[tuple[str, Any]] = []

    def remember(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        asked.append((statement, values))

    event.listen(connection, "before_cursor_execute", remember)
    outbox.due(connection, NOW, limit=128, each_host=4, first_tries_only=first_tries_only, busy=["other-1"])
    event.remove(connection, "before_cursor_execute", remember)
    statement, values = asked[-1]
    explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {statement}", values))


async def test_a_host_has_as_many_under_way_as_the_setting_says(deliver: Deliver, receive: Receive) -> None:
    through = asyncio.Semaphore(0)

    async def answer() -> web.Response:
        await through.acquire()
        return web.Response()

    slow = await receive(lambda number: answer())
    delivery = deliver(settings=Callbacks(at_once=8, per_host=2))
    for _ in range(6):
        delivery.put(slow.url)
    await slow.got(2)
    quick = await receive()
    for _ in range(5):
        delivery.put(quick.url)
    await quick.got(5)
    assert (slow.under_way, len(slow.received)) == (2, 2)
    for _ in range(6):
        through.release()
    await slow.got(6)
    assert slow.most_at_once == 2
    assert quick.most_at_once <= 2


def test_delivered_callbacks_are_forgotten_a_part_at_a_time_and_nothing_else_is(database: Database, clock: Clock) -> None:
    values = {"account_id": "account", "url": "https://one.example/hook", "event": "succeeded", "give_up_seconds": DAY}
    moment = clock.now
    ids = [put(database, task_id=f"task-{number}", now=moment, **values) for number in range(6)]
    for one in ids[:4]:
        database.write_now(partial(outbox.delivered, callback_id=one, now=moment, status=200))
    [dead] = database.write_now(partial(outbox.claim, ids=ids[4:5], owner="me", now=moment, lease_seconds=30))
    database.write_now(partial(outbox.dead, callback_id=dead.id, owner="me", error="410", status=410))

    def forget(before: float) -> int:
        return database.write_now(partial(outbox.forget_delivered, before=before, limit=3))

    assert forget(moment - 1) == 0
    assert [forget(moment + DAY), forget(moment + DAY), forget(moment + DAY)] == [3, 1, 0]
    assert [get(database, one).state for one in ids[4:]] == ["dead", "waiting"]
