"""The one way to read and write the database.

All writes of a process go through one thread that commits whatever has gathered in one transaction. So a
thousand submits a second cost a few dozen disk flushes, and still every `write` returns only after its own
rows are on disk. One piece of work that raises undoes itself alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, OperationalError

from genway.errors import Unavailable

T = TypeVar("T")
Write = Callable[[Connection], T]
Waiting = asyncio.Future[Any] | Future[Any]
Outcome = tuple[Any, BaseException | None]

log = structlog.get_logger(__name__)

GROUP_LIMIT = 256
BUSY_SECONDS = 30
DEADLOCK_TRIES = 5
BEGIN = "BEGIN IMMEDIATE"


class Database:
    """A SQLite file (WAL, `synchronous=FULL`) or a PostgreSQL database.

    `write` and `read` take a function of a connection. The function must do nothing but database work and must
    be safe to run again: when one of a group raises, the group is run anew with a savepoint for each, and after a
    deadlock piece by piece.
    """

    def __init__(self, url: str, *, group_wait: float = 0.0, readers: int = 4) -> None:
        self.url = url
        self.sqlite = url.startswith("sqlite")
        self._group_wait = group_wait
        self._engine = _engine(url, immediate=True, size=2)
        self._read_engine = _engine(url, immediate=False, size=readers)
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="db-read")
        self._queue: queue.SimpleQueue[tuple[Write[Any], Waiting] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_loop, name="db-write", daemon=True)
        self._closed = False
        self._writer.start()

    @property
    def engine(self) -> Engine:
        """For migrations and tools; everything else uses `write` and `read`."""
        return self._engine

    async def write(self, work: Write[T]) -> T:
        """Run `work` in a transaction and return its answer once that is committed.

        What `work` raises is raised here, and its changes are gone. Raises Unavailable if the database cannot commit.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._enqueue(work, future)
        return await future

    def write_now(self, work: Write[T]) -> T:
        """`write` for code outside an event loop; waits."""
        future: Future[T] = Future()
        self._enqueue(work, future)
        return future.result()

    async def read(self, work: Write[T]) -> T:
        """Run `work` on a connection of its own; all it reads is of one moment, and committed.

        What `work` raises is raised here. Raises Unavailable if the database cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_now, work)

    def read_now(self, work: Write[T]) -> T:
        """`read` for code outside an event loop."""
        try:
            with self._read_engine.connect() as connection:
                return work(connection)
        except Exception as error:
            if not _concerns_all(error):
                raise
            log.error("database.read_failed", error=str(error))
            raise Unavailable("the database cannot be read now") from error

    def close(self) -> None:
        """Finish what is queued and let go of the database."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._writer.join(BUSY_SECONDS)
        self._readers.shutdown()
        self._engine.dispose()
        self._read_engine.dispose()

    def _enqueue(self, work: Write[T], future: Waiting) -> None:
        if self._closed:
            raise Unavailable("the server is stopping")
        self._queue.put((work, future))

    def _write_loop(self) -> None:
        ended = False
        while not ended:
            item = self._queue.get()
            if item is None:
                return
            if self._group_wait:
                time.sleep(self._group_wait)
            group = [item]
            while len(group) < GROUP_LIMIT:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    ended = True
                    break
                group.append(more)
            if waited_for := [item for item in group if not item[1].cancelled()]:
                self._run(waited_for)

    def _run(self, group: list[tuple[Write[Any], Waiting]], tries: int = DEADLOCK_TRIES) -> None:
        outcomes: list[Outcome]
        try:
            outcomes = self._commit([work for work, _ in group])
        except Exception as error:
            if _worth_another_try(error) and tries:
                for item in group:
                    self._run([item], tries - 1)
                return
            log.error("database.commit_failed", error=str(error), works=len(group))
            outcomes = [(None, Unavailable("the database could not commit; nothing was changed")) for _ in group]
        _tell([(future, outcome) for (_, future), outcome in zip(group, outcomes, strict=True)])

    def _commit(self, group: list[Write[Any]]) -> list[Outcome]:
        """Run and commit the group; raises what concerns them all."""
        with self._engine.connect() as connection:
            self._begin(connection)
            try:
                outcomes: list[Outcome] = [(work(connection), None) for work in group]
            except Exception as error:
                _undo(connection)
                if _concerns_all(error):
                    raise
                if len(group) == 1:
                    return [(None, error)]
            else:
                try:
                    _end(connection)
                except BaseException:
                    _undo(connection)
                    raise
                return outcomes
            # Savepoints cost a fifth of the throughput, so a group has them only when one of it raises.
            with connection.begin():
                return [self._apart(connection, work) for work in group]

    def _begin(self, connection: Connection) -> None:
        """Begin a transaction without the builder, whose own begins when a piece of work needs it."""
        if self.sqlite:
            execute(connection, BEGIN)

    @staticmethod
    def _apart(connection: Connection, work: Write[Any]) -> Outcome:
        try:
            with connection.begin_nested():
                return work(connection), None
        except Exception as error:
            if _concerns_all(error):
                raise
            return None, error


def _engine(url: str, *, immediate: bool, size: int) -> Engine:
    if not url.startswith("sqlite"):
        level: Any = {} if immediate else {"isolation_level": "REPEATABLE READ"}
        return create_engine(url, pool_size=size, max_overflow=2, pool_pre_ping=True, **level)
    engine = create_engine(
        url,
        pool_size=size,
        max_overflow=4,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA cache_size=-16000")
        connection.execute("PRAGMA temp_store=MEMORY")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction:
            execute(connection, BEGIN if immediate else "BEGIN")

    return engine


def execute(connection: Connection, statement: str, values: Sequence[Any] = ()) -> int:
    """Run a statement in the driver's own words, past all that the builder does for one; returns how many rows it changed.

    For what runs so often that the builder would take most of its time. Raises what the builder would.
    """
    driver: Any = connection.connection.driver_connection
    return _drive(connection, statement, lambda: int(driver.execute(statement, values).rowcount), values)


def _end(connection: Connection) -> None:
    """Commit, whoever began."""
    if connection.in_transaction():
        connection.commit()
    else:
        driver: Any = connection.connection.driver_connection
        _drive(connection, "COMMIT", driver.commit)


def _undo(connection: Connection) -> None:
    if connection.in_transaction():
        connection.rollback()
    elif not connection.invalidated:
        driver: Any = connection.connection.driver_connection
        _drive(connection, "ROLLBACK", driver.rollback)


def _drive(connection: Connection, statement: str, act: Callable[[], T], values: Sequence[Any] = ()) -> T:
    """What the driver does. Raises what the builder would."""
    kind = connection.dialect.loaded_dbapi.Error
    try:
        return act()
    except kind as error:
        raise DBAPIError.instance(statement, values, error, kind, dialect=connection.dialect) from error


def _tell(outcomes: list[tuple[Waiting, Outcome]]) -> None:
    """Tell those who wait; each event loop is woken once for all that wait there."""
    by_loop: dict[asyncio.AbstractEventLoop | None, list[tuple[Waiting, Outcome]]] = {}
    for waiting in outcomes:
        future = waiting[0]
        by_loop.setdefault(future.get_loop() if isinstance(future, asyncio.Future) else None, []).append(waiting)
    for loop, told in by_loop.items():
        if loop is None:
            _resolve(told)
        else:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_resolve, told)


def _resolve(outcomes: list[tuple[Waiting, Outcome]]) -> None:
    for future, (answer, problem) in outcomes:
        if future.done():  # whoever waited has gone
            continue
        if problem is not None:
            future.set_exception(problem)
        else:
            future.set_result(answer)


def _worth_another_try(error: BaseException) -> bool:
    """Whether PostgreSQL chose us as the victim of a deadlock or a serialization conflict."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return isinstance(error, OperationalError) and state in {"40P01", "40001"}


def _concerns_all(error: Exception) -> bool:
    """Whether the connection, the disk or a deadlock is at fault, and not the one piece of work."""
    return isinstance(error, DBAPIError) and (error.connection_invalidated or isinstance(error, OperationalError))


def ping(connection: Connection) -> None:
    """The cheapest statement there is."""
    connection.execute(text("SELECT 1"))
