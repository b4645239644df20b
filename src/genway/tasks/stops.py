"""Tells vendors to stop what was cancelled or has expired.

That somebody is to be told is in the task's row, written in the transaction that ends the task: it outlives any process. A
vendor that answers is told exactly once, but for a process that ends between the answer and its record. After an answer
that says nothing, which is noted, it is told again, for an hour.
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

# Nobody else tells a vendor for so long; a call ends before, so that it is never told by two at once.
LEASE_SECONDS = 120.0
CALL_SECONDS = 90.0
GIVE_UP_SECONDS = 3600.0
FIRST_WAIT, LONGEST_WAIT = 5.0, 300.0
AT_ONCE = 32
UNTOLD = "the vendor may not have heard that it is to stop: "


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
        """Tell the vendor of a task that was claimed for this, unless that is under way."""
        if task.id in self._under_way:
            return
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
                await self._record(task, *await self._call(task))
        except Unavailable as error:
            log.error("task.stop_unrecorded", task_id=task.id, why=str(error))

    async def _call(self, task: Task) -> tuple[bool, str]:
        """Whether nothing is left to be told, and what came of it."""
        runner = self._runner
        seat = await runner.router.seat(task.channel_id) if task.channel_id else None
        if seat is None or task.vendor_id is None:
            return True, "the vendor was not told to stop: the channel is gone"
        if type(seat.provider).cancel is Provider.cancel:
            return True, "this vendor cannot be told to stop"
        await runner.reach("stopping.calling", task.id)
        outcome, done, said = "ok", True, "the vendor was told to stop"
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await seat.provider.cancel(task.vendor_id)
        except (VendorLost, VendorRefused) as error:
            outcome, said = error.code, f"the vendor has nothing to stop: {error.message}"
        except ProviderError as error:
            outcome, done, said = error.code, False, f"{UNTOLD}{error.message}"
            log.warning("task.stop_failed", why=error.code)
        except TimeoutError:
            outcome, done, said = "vendor_down", False, f"{UNTOLD}no answer in {CALL_SECONDS:g} s"
            log.warning("task.stop_failed", why=outcome)
        except Exception as error:
            outcome, done, said = "internal_error", False, f"{UNTOLD}{type(error).__name__} in the provider's code"
            log.exception("provider.failed", provider=seat.provider.name)
        VENDOR_CALLS.labels(seat.provider.name, "cancel", outcome).inc()
        await runner.reach("stopping.told", task.id)
        return done, said

    async def _record(self, task: Task, done: bool, said: str) -> None:
        runner, now = self._runner, self._runner.clock()
        age = now - (task.finished_at or now)
        if not done and age > GIVE_UP_SECONDS:
            log.error("task.stop_given_up", channel=task.channel_id, vendor_id=task.vendor_id)
            done, said = True, "the vendor could not be told to stop"
        at = None if done else now + min(max(FIRST_WAIT, age), LONGEST_WAIT)
        await runner.database.write(lambda connection: runner.store.stop_told(connection, task.id, now, said, again_at=at))
        await runner.reach("stopping.recorded", task.id)
