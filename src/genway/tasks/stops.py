"""Tells vendors to stop what was cancelled or has expired.

That somebody is to be told is in the task's row, written in the transaction that ends the task: it outlives any process. A
vendor is told at least once; after an answer that says nothing it is told again, for an hour.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from genway.errors import Unavailable
from genway.providers.base import Provider, ProviderError, VendorLost, VendorRefused
from genway.tasks.metrics import VENDOR_CALLS
from genway.tasks.model import Task

if TYPE_CHECKING:
    from genway.tasks.runner import Runner

log = structlog.get_logger(__name__)

LEASE_SECONDS = 120.0
GIVE_UP_SECONDS = 3600.0
FIRST_WAIT, LONGEST_WAIT = 5.0, 300.0
AT_ONCE = 32


class Stops:
    """The telling that one process has under way."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._under_way: dict[str, asyncio.Task[None]] = {}

    @property
    def room(self) -> int:
        """How many more may be claimed."""
        return AT_ONCE - len(self._under_way)

    def begin(self, task: Task) -> None:
        """Tell the vendor of a task that was claimed for this."""
        job = asyncio.create_task(self._tell(task), name=f"stop {task.id}")
        self._under_way[task.id] = job
        job.add_done_callback(lambda _: self._ended(task.id))

    async def close(self, within: float) -> list[str]:
        """Let what is under way end within so many seconds; the tasks that are left to others."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=within)
        left = dict(self._under_way)
        for job in left.values():
            job.cancel()
        await asyncio.gather(*left.values(), return_exceptions=True)
        return list(left)

    def _ended(self, task_id: str) -> None:
        del self._under_way[task_id]
        self._runner.wake()

    async def _tell(self, task: Task) -> None:
        try:
            with structlog.contextvars.bound_contextvars(task_id=task.id, request_id=task.request_id):
                await self._record(task, await self._call(task))
        except Unavailable as error:
            log.error("task.stop_unrecorded", task_id=task.id, why=str(error))

    async def _call(self, task: Task) -> str:
        """What came of it; nothing where the vendor is to be told again."""
        runner = self._runner
        seat = await runner.router.seat(task.channel_id) if task.channel_id else None
        if seat is None or task.vendor_id is None:
            return "the vendor was not told to stop: the channel is gone"
        if type(seat.provider).cancel is Provider.cancel:
            return "this vendor cannot be told to stop"
        await runner.reach("stopping.calling", task.id)
        outcome, said = "ok", "the vendor was told to stop"
        try:
            await seat.provider.cancel(task.vendor_id)
        except (VendorLost, VendorRefused) as error:
            outcome, said = error.code, f"the vendor has nothing to stop: {error.message}"
        except ProviderError as error:
            outcome, said = error.code, ""
            log.warning("task.stop_failed", why=error.code)
        except Exception:
            outcome, said = "internal_error", ""
            log.exception("provider.failed", provider=seat.provider.name)
        VENDOR_CALLS.labels(seat.provider.name, "cancel", outcome).inc()
        await runner.reach("stopping.told", task.id)
        return said

    async def _record(self, task: Task, said: str) -> None:
        runner, now = self._runner, self._runner.clock()
        age = now - (task.finished_at or now)
        if not said and age > GIVE_UP_SECONDS:
            log.error("task.stop_given_up", channel=task.channel_id, vendor_id=task.vendor_id)
            said = "the vendor could not be told to stop"
        if said:
            await runner.database.write(lambda connection: runner.store.stopped(connection, task.id, now, said))
        else:
            at = now + min(max(FIRST_WAIT, age), LONGEST_WAIT)
            await runner.database.write(lambda connection: runner.store.stop_at(connection, [task.id], at))
        await runner.reach("stopping.recorded", task.id)
