"""Picks tasks up, and keeps them until they have ended or this process has."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection

from genway.config import Tasks
from genway.db import Database, checkpoints
from genway.db.checkpoints import Checkpoint
from genway.errors import GenwayError, Unavailable
from genway.media.library import Library
from genway.routing.choose import Router, Seat
from genway.tasks.drive import Drive, Interrupted
from genway.tasks.metrics import OPEN
from genway.tasks.model import UNDER_WAY, State, Task
from genway.tasks.pace import Paces
from genway.tasks.slots import Slots
from genway.tasks.stops import LEASE_SECONDS, Stops
from genway.tasks.store import TaskStore

T = TypeVar("T")

log = structlog.get_logger(__name__)

SCAN_SECONDS = 1.0
CLAIM_LIMIT = 200


class Runner:
    """Looks after the tasks of one process.

    owner: this process's name in leases. checkpoint: told the name of every step and the task's id; crash tests end
    the process there. vendor_callback: the address to give to vendors for an attempt, or nothing. processes: how many
    share each channel's limits, this one included.
    """

    def __init__(
        self,
        database: Database,
        store: TaskStore,
        router: Router,
        library: Library,
        settings: Tasks,
        *,
        owner: str,
        clock: Callable[[], float],
        changed: Callable[[Task], None] = lambda task: None,
        checkpoint: Checkpoint = checkpoints.silent,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        processes: int = 1,
        vendor_callback: Callable[[str], str] = lambda reference: "",
    ) -> None:
        self.database = database
        self.store = store
        self.router = router
        self.library = library
        self.settings = settings
        self._owner = owner
        self.clock = clock
        self.changed = changed
        self.checkpoint = checkpoint
        self._sleep = sleep
        self.slots = Slots()
        self.paces = Paces(clock, sleep, 1 / max(processes, 1))
        self.stops = Stops(self)
        self.vendor_callback = vendor_callback
        self.told: dict[str, Any] = {}
        self._driving: dict[str, asyncio.Task[None]] = {}
        self._attention: dict[str, asyncio.Event] = {}
        self._letting_go: dict[str, float] = {}
        self._waiting_for: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._released = asyncio.Event()
        self.stopping = False

    async def reach(self, point: str, task_id: str) -> None:
        """A task has come to a step."""
        await checkpoints.reach(self.checkpoint, point, task_id)

    async def commit(self, step: str, task_id: str, work: Callable[[Connection], T | None]) -> T | None:
        """Write a step of a task; None where that changed nothing."""
        return await checkpoints.commit(self.database, self.checkpoint, step, task_id, work)

    def wake(self) -> None:
        """There may be new work, or a vendor to be told to stop."""
        self._wake.set()

    def attend(self, task_id: str) -> None:
        """A task was changed from outside (cancelled): look at it now."""
        self.wake()
        if task_id in self._attention:
            self._attention[task_id].set()

    def vendor_called(self, task_id: str, body: Any) -> None:
        """A vendor says that something has changed: ask now. body: kept for an attempt whose answer was lost."""
        if task_id in self._attention:
            if body is not None:
                self.told[task_id] = body
            self.attend(task_id)

    async def run(self) -> None:
        """Pick tasks up until `stop`."""
        renewal = asyncio.create_task(self._renew())
        self._idle.clear()
        try:
            while not self.stopping:
                self._wake.clear()
                try:
                    more = await self._pick_up()
                except (GenwayError, OSError) as error:
                    log.error("tasks.pick_up_failed", why=str(error))
                    more = False
                if not more:
                    await self._until(self._wake, SCAN_SECONDS)
            self._idle.set()
            await self._released.wait()
        finally:
            self._idle.set()
            renewal.cancel()

    async def stop(self, drain: float) -> None:
        """Take nothing new; give what is at a vendor's door `drain` seconds, then let go of everything.

        What is let go of goes on in the next process: polls and stores at once, an interrupted submit as after a crash.
        """
        self.stopping = True
        self._wake.set()
        self.slots.dismiss()
        # What is being picked up at this moment would otherwise be nobody's until its lease ends.
        await self._idle.wait()
        for task_id in list(self._driving):
            self.attend(task_id)
        if self._driving:
            await asyncio.wait(self._driving.values(), timeout=drain)
        for driver in self._driving.values():
            driver.cancel()
        await asyncio.gather(*self._driving.values(), return_exceptions=True)
        untold = await self.stops.close(drain)
        await self.paces.close()
        now = self.clock()

        def write(connection: Connection) -> None:
            self.store.free(connection, self._owner, now)
            self.store.stop_at(connection, untold, now)

        with contextlib.suppress(Unavailable):
            await self.database.write(write)
        self._released.set()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self.settings.lease_seconds / 3)
            until = self.clock() + self.settings.lease_seconds
            try:
                await self.database.write(partial(self.store.renew, owner=self._owner, until=until))
                counts = await self.database.read(self.store.open_states)
            except GenwayError as error:
                log.error("tasks.renew_failed", why=str(error))
                continue
            for state in (State.QUEUED, *UNDER_WAY):
                OPEN.labels(state).set(counts.get(state, 0))

    async def _pick_up(self) -> bool:
        """Give back what was put off and take what is due; whether there may be more."""
        now, room = self.clock(), max(min(self.settings.at_once - len(self._driving), CLAIM_LIMIT), 0)
        letting_go, waiting_for = dict(self._letting_go), dict(self._waiting_for)
        crowded, stops = self.slots.crowded_channels(), self.stops.room

        def write(connection: Connection) -> tuple[list[Task], list[Task]]:
            if letting_go:
                self.store.let_go(connection, self._owner, letting_go)
            if waiting_for:
                self.store.wait_for(connection, self._owner, waiting_for)
            lease = self.settings.lease_seconds
            claimed = self.store.claim(connection, self._owner, now, lease, room, crowded=crowded) if room else []
            return claimed, self.store.claim_stops(connection, now, LEASE_SECONDS, stops) if stops else []

        claimed, unwanted = await self.database.write(write)
        for task in unwanted:
            self.stops.begin(task)
        for task_id in letting_go:
            del self._letting_go[task_id]
        for task_id in waiting_for:
            del self._waiting_for[task_id]
        for task in claimed:
            if task.id not in self._driving and not self.stopping:
                driver = asyncio.create_task(self._drive(task), name=f"task {task.id}")
                self._driving[task.id] = driver
                self._attention[task.id] = asyncio.Event()
        return 0 < room == len(claimed)

    async def _drive(self, task: Task) -> None:
        drive, wait = Drive(self, task), 0.0
        try:
            with structlog.contextvars.bound_contextvars(task_id=task.id, request_id=task.request_id):
                wait = await drive.to_the_end()
        except Interrupted:
            # Ended, or another process's by now; a task that is still ours is looked at afresh.
            self._letting_go[task.id] = self.clock()
        except asyncio.CancelledError:
            if not self.stopping:
                raise
        except Exception:
            log.exception("task.driver_failed", task_id=task.id)
            wait = 10.0
        finally:
            self._driving.pop(task.id, None)
            self._attention.pop(task.id, None)
            self.told.pop(task.id, None)
            if drive.waits_for:
                self._waiting_for[task.id] = drive.waits_for
            elif wait:
                self._letting_go[task.id] = self.clock() + wait
            else:
                self.library.release(task.id)
            self._wake.set()

    async def _until(self, event: asyncio.Event, seconds: float) -> None:
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        called = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({sleeping, called}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            called.cancel()

    async def turn(self, task_id: str, seat: Seat, *, first: bool = False) -> bool:
        """Wait until the channel's vendor may be asked; False where somebody wants the task's attention before that.

        first: ahead of the others, for a task that is known to have changed.
        """
        turn = self.paces.turn(seat.channel.id, seat.polls_per_second, first=first)
        event = self._attention[task_id]
        if not turn.done():
            called = asyncio.ensure_future(event.wait())
            either: set[asyncio.Future[Any]] = {turn, called}
            try:
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            finally:
                called.cancel()
                turn.cancel()
        if self.stopping:
            raise asyncio.CancelledError
        if turn.cancelled():
            event.clear()
            return False
        return True

    async def pause(self, task_id: str, seconds: float) -> bool:
        """Wait, unless somebody wants the task's attention; returns whether somebody does."""
        event = self._attention[task_id]
        await self._until(event, seconds)
        if self.stopping:
            raise asyncio.CancelledError
        wanted = event.is_set()
        event.clear()
        return wanted
