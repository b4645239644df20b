from __future__ import annotations

import asyncio
import threading

import pytest

from genway.db import Database
from genway.db.connection import ping


async def test_a_caller_that_goes_away_while_its_work_is_done_leaves_the_writer_alive(database: Database) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(_: object) -> None:
        begun.set()
        go_on.wait(10)

    writing = asyncio.create_task(database.write(slow))
    await asyncio.to_thread(begun.wait, 10)
    queued = asyncio.create_task(database.write(ping))
    await asyncio.sleep(0)
    for task in (writing, queued):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    go_on.set()
    async with asyncio.timeout(10):
        assert await database.write(lambda connection: 42) == 42
