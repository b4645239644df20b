from __future__ import annotations

import asyncio
import threading

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, Table, event, func, insert, select
from sqlalchemy.exc import IntegrityError

from genway.db import Database
from genway.errors import Unavailable

metadata = MetaData()
numbers = Table("numbers", metadata, Column("n", Integer, primary_key=True, autoincrement=False))


@pytest.fixture
def opened(database: Database) -> Database:
    metadata.create_all(database.engine)
    return database


def add(connection: Connection, number: int) -> int:
    connection.execute(insert(numbers), {"n": number})
    return number


def count(connection: Connection) -> int:
    return int(connection.execute(select(func.count()).select_from(numbers)).scalar_one())


async def test_a_write_answers_once_its_rows_can_be_read_by_others(opened: Database) -> None:
    assert await opened.write(lambda connection: add(connection, 1)) == 1
    assert await opened.read(count) == 1


async def test_what_a_reader_sees_does_not_change_while_it_reads(opened: Database) -> None:
    await opened.write(lambda connection: add(connection, 1))

    def read_twice(connection: Connection) -> tuple[int, int]:
        before = count(connection)
        opened.write_now(lambda other: add(other, 2))
        return before, count(connection)

    assert await opened.read(read_twice) == (1, 1)
    assert await opened.read(count) == 2


async def test_a_work_that_raises_undoes_itself_and_not_its_neighbours(opened: Database) -> None:
    gate = threading.Event()
    blocked = opened.write(lambda connection: gate.wait())
    blocked_task = asyncio.ensure_future(blocked)
    await asyncio.sleep(0)

    def fail(connection: Connection) -> None:
        add(connection, 100)
        raise RuntimeError("no")

    works = [asyncio.ensure_future(opened.write(lambda connection, n=n: add(connection, n))) for n in range(10)]
    failing = asyncio.ensure_future(opened.write(fail))
    doubled = asyncio.ensure_future(opened.write(lambda connection: add(connection, 3)))
    await asyncio.sleep(0)
    gate.set()
    await blocked_task
    assert await asyncio.gather(*works) == list(range(10))
    with pytest.raises(RuntimeError, match="no"):
        await failing
    with pytest.raises(IntegrityError):
        await doubled
    assert await opened.read(count) == 10


async def test_works_that_wait_together_are_committed_together(opened: Database) -> None:
    commits = 0

    @event.listens_for(opened.engine, "commit")
    def counted(_: Connection) -> None:
        nonlocal commits
        commits += 1

    gate = threading.Event()
    first = asyncio.ensure_future(opened.write(lambda connection: gate.wait()))
    works = [asyncio.ensure_future(opened.write(lambda connection, n=n: add(connection, n))) for n in range(200)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *works)
    assert await opened.read(count) == 200
    assert commits <= 4


async def test_a_database_that_cannot_commit_changes_nothing_and_says_so(opened: Database) -> None:
    @event.listens_for(opened.engine, "commit")
    def full(_: Connection) -> None:
        raise OSError("no space left on device")

    with pytest.raises(Unavailable, match="nothing was changed"):
        await opened.write(lambda connection: add(connection, 1))
    event.remove(opened.engine, "commit", full)
    assert await opened.read(count) == 0
    assert await opened.write(lambda connection: add(connection, 2)) == 2


@pytest.mark.parametrize("url", ["sqlite:////nowhere/x.sqlite3", "postgresql+psycopg://nobody@127.0.0.1:1/nothing"])
async def test_a_database_that_cannot_be_reached_is_unavailable_to_readers_too(url: str) -> None:
    away = Database(url, readers=1)
    with pytest.raises(Unavailable, match="cannot be read"):
        await away.read(count)
    away.close()


async def test_what_is_wrong_with_a_reading_itself_is_told_as_it_is(opened: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        await opened.read(lambda connection: 1 // count(connection))


async def test_a_closed_database_takes_nothing_more(opened: Database) -> None:
    opened.close()
    with pytest.raises(Unavailable):
        await opened.write(count)


async def test_sqlite_flushes_every_commit_to_the_disk(tmp_path: object) -> None:
    database = Database(f"sqlite:///{tmp_path}/x.sqlite3")
    assert database.write_now(lambda c: c.exec_driver_sql("PRAGMA synchronous").scalar_one()) == 2
    assert database.write_now(lambda c: c.exec_driver_sql("PRAGMA journal_mode").scalar_one()) == "wal"
    database.close()
