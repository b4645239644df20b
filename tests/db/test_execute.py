"""Statements in the driver's own words: what they do and raise is what the builder's would."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Float, Integer, MetaData, Table, Text, event, func, insert, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError, ProgrammingError

from genway.db import Database, execute
from genway.errors import Unavailable

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("word", Text, nullable=False),
    Column("share", Float),
)
ADD = {
    True: "INSERT INTO things (n, word, share) VALUES (?, ?, ?)",
    False: "INSERT INTO things (n, word, share) VALUES (%s, %s, %s)",
}


@pytest.fixture
def opened(database: Database) -> Database:
    metadata.create_all(database.engine)
    return database


def built(connection: Connection, *values: Any) -> None:
    connection.execute(insert(things), dict(zip(("n", "word", "share"), values, strict=True)))


def driven(connection: Connection, *values: Any) -> int:
    return execute(connection, ADD[connection.dialect.name == "sqlite"], values)


def stored(connection: Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(select(things).order_by(things.c.n))]


async def test_it_runs_in_the_transaction_and_tells_how_many_rows_it_changed(opened: Database) -> None:
    def work(connection: Connection) -> list[int]:
        added = driven(connection, 1, "one", 0.5)
        built(connection, 2, "two", None)
        driven(connection, 3, "drei; --é", 1e300)
        changed = execute(connection, "UPDATE things SET word = word || '!'")
        return [added, changed, execute(connection, "DELETE FROM things WHERE n > 5")]

    assert await opened.write(work) == [1, 3, 0]
    assert await opened.read(stored) == [(1, "one!", 0.5), (2, "two!", None), (3, "drei; --é!", 1e300)]


WRONG = {
    "twice": (1, "again", None),
    "nothing": (2, None, None),
    "a number too large": (2**70, "x", None),
    "what no column takes": (2, object(), None),
    "a zero": (2, "a\0b", None),
    "half a character": (2, "\ud800", None),
    "too few": (2, "x"),
}


@pytest.mark.parametrize("values", WRONG.values(), ids=list(WRONG))
async def test_it_raises_what_the_builder_does(opened: Database, values: tuple[Any, ...]) -> None:
    def by_builder(connection: Connection) -> None:
        connection.exec_driver_sql(ADD[connection.dialect.name == "sqlite"], values)

    await opened.write(lambda connection: driven(connection, 1, "one", None))
    outcomes: list[BaseException | None] = []
    for work in (by_builder, lambda connection: driven(connection, *values)):
        try:
            await opened.write(work)
        except Exception as error:
            outcomes.append(error)
        else:  # SQLite takes a zero
            outcomes.append(None)
            await opened.write(lambda connection: execute(connection, "DELETE FROM things WHERE n > 1"))
    expected, raised = outcomes
    assert type(raised) is type(expected)
    if isinstance(expected, DBAPIError):
        assert isinstance(raised, DBAPIError)
        assert type(raised.orig) is type(expected.orig)
        assert str(raised) == str(expected)
    assert await opened.read(stored) == [(1, "one", None)]
    assert await opened.write(lambda connection: driven(connection, 7, "still of use", None)) == 1


async def test_faults_have_the_same_names_on_both_databases(opened: Database) -> None:
    await opened.write(lambda connection: driven(connection, 1, "one", None))
    with pytest.raises(IntegrityError):
        await opened.write(lambda connection: driven(connection, 1, "one", None))
    missing = Unavailable if opened.sqlite else ProgrammingError  # an OperationalError there, which concerns all
    with pytest.raises(missing):
        await opened.write(lambda connection: execute(connection, "DELETE FROM no_such_table"))
    if not opened.sqlite:
        with pytest.raises(DataError):
            await opened.write(lambda connection: driven(connection, 2, "a\0b", None))


async def test_one_that_raises_undoes_itself_and_not_its_neighbours(opened: Database) -> None:
    gate = threading.Event()
    blocked = asyncio.ensure_future(opened.write(lambda _: gate.wait(10)))
    await asyncio.sleep(0)

    def half(connection: Connection) -> None:
        driven(connection, 100, "half", None)
        driven(connection, 100, "half", None)

    works = [asyncio.ensure_future(opened.write(lambda connection, n=n: driven(connection, n, "x", None))) for n in range(5)]
    failing = asyncio.ensure_future(opened.write(half))
    await asyncio.sleep(0)
    gate.set()
    await blocked
    assert await asyncio.gather(*works) == [1] * 5
    with pytest.raises(IntegrityError):
        await failing
    assert [row[0] for row in await opened.read(stored)] == [0, 1, 2, 3, 4]


async def test_what_alone_was_driven_is_undone_where_it_cannot_be_committed(
    opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OperationalError("COMMIT", (), Exception("no space left on device"))

    with monkeypatch.context() as patch:
        patch.setattr("genway.db.connection._end", full)
        with pytest.raises(Unavailable, match="nothing was changed"):
            await opened.write(lambda connection: driven(connection, 1, "x", None))
    assert await opened.read(stored) == []
    assert await opened.write(lambda connection: driven(connection, 1, "x", None)) == 1
    assert len(await opened.read(stored)) == 1


async def test_a_connection_that_was_cut_off_is_replaced(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    metadata.create_all(database.engine)
    try:

        def suicide(connection: Connection) -> None:
            driven(connection, 1, "x", None)
            execute(connection, "SELECT pg_terminate_backend(pg_backend_pid())")

        with pytest.raises(Unavailable):
            await database.write(suicide)
        assert await database.write(lambda connection: driven(connection, 2, "x", None)) == 1
        assert [row[0] for row in await database.read(stored)] == [2]
    finally:
        database.close()


# --- those who wait


async def test_a_cancelled_write_that_has_not_begun_is_not_done(opened: Database) -> None:
    gate = threading.Event()
    begun = threading.Event()

    def block(_: Connection) -> None:
        begun.set()
        gate.wait(10)

    blocked = asyncio.ensure_future(opened.write(block))
    await asyncio.to_thread(begun.wait, 10)
    cancelled = asyncio.ensure_future(opened.write(lambda connection: driven(connection, 1, "x", None)))
    kept = asyncio.ensure_future(opened.write(lambda connection: driven(connection, 2, "x", None)))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    gate.set()
    await asyncio.gather(blocked, kept)
    assert cancelled.cancelled()
    assert [row[0] for row in await opened.read(stored)] == [2]


async def test_loops_and_threads_share_commits_and_each_is_told_of_its_own(opened: Database) -> None:
    commits = 0

    @event.listens_for(opened.engine, "commit")
    def counted(_: Connection) -> None:
        nonlocal commits
        commits += 1

    gate = threading.Event()
    blocked = asyncio.ensure_future(opened.write(lambda _: gate.wait(10)))
    await asyncio.sleep(0)
    queued = threading.Barrier(5)
    found: dict[int, Any] = {}

    def add(number: int) -> Callable[[Connection], int]:
        def work(connection: Connection) -> int:
            built(connection, number, "x", None)
            return number

        return work

    def in_a_loop(start: int) -> None:
        async def both() -> list[Any]:
            here = asyncio.get_running_loop()
            tasks = [asyncio.ensure_future(opened.write(add(start + each))) for each in range(3)]
            failing = asyncio.ensure_future(opened.write(add(start)))
            await asyncio.sleep(0)
            await here.run_in_executor(None, queued.wait, 10)
            answers = await asyncio.gather(*tasks)
            with pytest.raises(IntegrityError):
                await failing
            return answers

        found[start] = asyncio.run(both())

    def without(start: int) -> None:
        queued.wait(10)
        found[start] = [opened.write_now(add(start))]

    threads = [threading.Thread(target=in_a_loop, args=(start,)) for start in (100, 200, 300)]
    threads.append(threading.Thread(target=without, args=(400,)))
    for thread in threads:
        thread.start()
    await asyncio.to_thread(queued.wait, 10)
    gate.set()
    await blocked
    for thread in threads:
        await asyncio.to_thread(thread.join, 10)
    assert found == {100: [100, 101, 102], 200: [200, 201, 202], 300: [300, 301, 302], 400: [400]}
    assert await opened.read(lambda connection: connection.execute(select(func.count()).select_from(things)).scalar_one()) == 10
    assert commits <= 4


async def test_a_loop_that_was_closed_keeps_nobody_else_from_being_told(opened: Database) -> None:
    gate = threading.Event()
    begun = threading.Event()

    def block(_: Connection) -> None:
        begun.set()
        gate.wait(10)

    gone = asyncio.new_event_loop()

    def ask_and_go() -> None:
        task = gone.create_task(opened.write(block))
        gone.call_later(0.01, gone.stop)
        gone.run_forever()
        begun.wait(10)
        task.cancel()
        gone.run_until_complete(asyncio.gather(task, return_exceptions=True))
        gone.close()

    await asyncio.to_thread(ask_and_go)
    waiting = asyncio.ensure_future(opened.write(lambda connection: driven(connection, 1, "x", None)))
    await asyncio.sleep(0)
    gate.set()
    async with asyncio.timeout(10):
        assert await waiting == 1
