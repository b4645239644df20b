"""Sees every task through: picks it up, hands it to a vendor once, asks how it goes, stores what came out.

The task's row is the truth. What runs here may die at any instant; whoever starts next reads the row and goes on:

| found in state | what is known | what is done |
|---|---|---|
| queued | nothing was sent | choose a channel and submit |
| submitting | the vendor may or may not have the work | a repeatable provider: again; any other: parked |
| running | the vendor has it, under this id | ask |
| storing | the vendor is done | fetch what is not stored yet |
| parked | as submitting | look it up, and after a stated time give it back |
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec
import structlog
from sqlalchemy import Connection

from genway.config import Tasks
from genway.db import Database
from genway.errors import AddressRefused, GenwayError, MediaRefused, Unavailable
from genway.media.fetch import FetchFailed
from genway.media.library import Library, TaskFiles
from genway.providers.base import (
    Failed,
    Finished,
    OutcomeUnknown,
    Poll,
    ProviderError,
    ResultFile,
    Running,
    Submission,
    Submitted,
    VendorBusy,
    VendorLost,
    VendorModerated,
    VendorRefused,
)
from genway.routing.choose import Router, Seat
from genway.tasks.forced import forced
from genway.tasks.metrics import ENDED, OPEN, SECONDS, VENDOR_CALLS
from genway.tasks.model import File, State, Task
from genway.tasks.slots import Slots
from genway.tasks.store import TaskStore

log = structlog.get_logger(__name__)

Checkpoint = Callable[[str, str], None]

SCAN_SECONDS = 1.0
CLAIM_LIMIT = 200
LOOK_SECONDS = 15.0
PROGRESS_STEP = 0.05
STORE_WAIT = Poll(first=1, factor=2, longest=60)
UNDER_WAY = (State.SUBMITTING, State.RUNNING, State.STORING, State.PARKED)

_encode = msgspec.json.Encoder().encode
_vendor_files = msgspec.json.Decoder(tuple[ResultFile, ...])


class Interrupted(Exception):
    """The task is not ours to go on with: somebody ended it, or took it over."""


class Runner:
    """Looks after the tasks of one process.

    owner: this process's name in leases. checkpoint: told the name of every step and the task's id; crash tests end
    the process there.
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
        checkpoint: Checkpoint = lambda name, task_id: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._store = store
        self._router = router
        self._library = library
        self._settings = settings
        self._owner = owner
        self._clock = clock
        self._changed = changed
        self._checkpoint = checkpoint
        self._sleep = sleep
        self._slots = Slots()
        self._driving: dict[str, asyncio.Task[None]] = {}
        self._attention: dict[str, asyncio.Event] = {}
        self._letting_go: dict[str, float] = {}
        self._waiting_for: dict[str, str] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._released = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """There may be new work."""
        self._wake.set()

    def attend(self, task_id: str) -> None:
        """A task was changed from outside (cancelled): look at it now."""
        if task_id in self._attention:
            self._attention[task_id].set()

    async def run(self) -> None:
        """Pick tasks up until `stop`."""
        renewal = asyncio.create_task(self._renew())
        self._idle.clear()
        try:
            while not self._stopping:
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
        self._stopping = True
        self._wake.set()
        self._slots.dismiss()
        # What is being picked up at this moment would otherwise be nobody's until its lease ends.
        await self._idle.wait()
        for task_id in list(self._driving):
            self.attend(task_id)
        if self._driving:
            await asyncio.wait(self._driving.values(), timeout=drain)
        for driver in self._driving.values():
            driver.cancel()
        await asyncio.gather(*self._driving.values(), return_exceptions=True)
        now = self._clock()
        with contextlib.suppress(Unavailable):
            await self._database.write(lambda connection: self._store.free(connection, self._owner, now))
        self._released.set()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_seconds / 3)
            until = self._clock() + self._settings.lease_seconds
            try:
                await self._database.write(partial(self._store.renew, owner=self._owner, until=until))
                counts = await self._database.read(self._store.open_states)
            except GenwayError as error:
                log.error("tasks.renew_failed", why=str(error))
                continue
            for state in (State.QUEUED, *UNDER_WAY):
                OPEN.labels(state).set(counts.get(state, 0))

    async def _pick_up(self) -> bool:
        """Give back what was put off and take what is due; whether there may be more."""
        now, room = self._clock(), max(min(self._settings.at_once - len(self._driving), CLAIM_LIMIT), 0)
        letting_go, waiting_for = dict(self._letting_go), dict(self._waiting_for)
        crowded = self._slots.crowded_channels()

        def write(connection: Connection) -> list[Task]:
            if letting_go:
                self._store.let_go(connection, self._owner, letting_go)
            if waiting_for:
                self._store.wait_for(connection, self._owner, waiting_for)
            lease = self._settings.lease_seconds
            return self._store.claim(connection, self._owner, now, lease, room, crowded=crowded) if room else []

        claimed = await self._database.write(write)
        for task_id in letting_go:
            del self._letting_go[task_id]
        for task_id in waiting_for:
            del self._waiting_for[task_id]
        for task in claimed:
            if task.id not in self._driving and not self._stopping:
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
            self._letting_go[task.id] = self._clock()
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        except Exception:
            log.exception("task.driver_failed", task_id=task.id)
            wait = 10.0
        finally:
            self._driving.pop(task.id, None)
            self._attention.pop(task.id, None)
            if drive.waits_for:
                self._waiting_for[task.id] = drive.waits_for
            elif wait:
                self._letting_go[task.id] = self._clock() + wait
            else:
                self._library.release(task.id)
            self._wake.set()

    async def _until(self, event: asyncio.Event, seconds: float) -> None:
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        called = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({sleeping, called}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            called.cancel()

    async def _pause(self, task_id: str, seconds: float) -> bool:
        """Wait, unless somebody wants the task's attention; returns whether somebody does."""
        event = self._attention[task_id]
        await self._until(event, seconds)
        if self._stopping:
            raise asyncio.CancelledError
        wanted = event.is_set()
        event.clear()
        return wanted


class Drive:
    """One task on its way through the states, in one process."""

    def __init__(self, runner: Runner, task: Task) -> None:
        self.runner = runner
        self.task = task
        self.channel_id = ""
        self.waits_for = ""
        self.fresh = False
        self.finished: Finished | None = None

    async def to_the_end(self) -> float:
        """Returns 0 when the task has ended, else after how many seconds somebody should look at it again."""
        steps = {
            State.QUEUED: self._queued,
            State.SUBMITTING: self._submitting,
            State.RUNNING: self._running,
            State.STORING: self._storing,
            State.PARKED: self._parked,
        }
        try:
            while not self.task.state.ended:
                wait = await steps[self.task.state]()
                if wait:
                    return wait
            return 0.0
        finally:
            self._leave()

    async def _queued(self) -> float:
        task, now = self.task, self.runner._clock()
        if now >= task.deadline_at:
            return await self._end(State.EXPIRED, "expired", "no channel took this in time")
        if self._forced().get("fail") == "expire":
            return await self._end(State.EXPIRED, "expired", "forced by genway:fail=expire")
        if task.attempt >= self.runner._settings.submit_attempts:
            return await self._end(
                State.FAILED, task.error_code or "vendor_down", task.error_message or "no channel could take this"
            )
        seats = await self.runner._router.candidates(task.operation, local=task.local, tried=task.tried, seed=task.id)
        if not seats:
            return self.runner._router.soonest()
        slots = self.runner._slots
        seat = next((s for s in seats if slots.free(s.channel.id, s.channel.concurrency)), seats[0])
        if slots.crowded(seat.channel.id):
            self.waits_for = seat.channel.id
            return 1.0
        try:
            await asyncio.wait_for(slots.take(seat.channel.id, seat.channel.concurrency), task.deadline_at - now)
        except TimeoutError:
            return 0.0
        self.channel_id = seat.channel.id
        if self.runner._stopping:
            raise asyncio.CancelledError
        if not await self._begin(seat):
            self._leave()
            return 1.0
        self.fresh = True
        return 0.0

    async def _begin(self, seat: Seat) -> bool:
        """Commit the intent to submit. False where other processes have filled the channel."""
        runner, task, now = self.runner, self.task, self.runner._clock()

        def write(connection: Connection) -> Task | None:
            if seat.channel.concurrency and runner._store.at_work(connection, seat.channel.id) >= seat.channel.concurrency:
                return None
            moved = runner._store.move(
                connection,
                task.id,
                State.QUEUED,
                State.SUBMITTING,
                now,
                f"to channel {seat.channel.name}",
                channel_id=seat.channel.id,
                provider=seat.provider.name,
                vendor_id=None,
                attempt=task.attempt + 1,
                started_at=task.started_at or now,
            )
            runner._checkpoint("submitting.before_commit", task.id)
            if moved is None:
                raise Interrupted
            return moved

        moved = await runner._database.write(write)
        if moved is None:
            return False
        runner._checkpoint("submitting.committed", task.id)
        self._set(moved)
        return True

    async def _submitting(self) -> float:
        task, runner = self.task, self.runner
        seat = await self._seat()
        if not self.fresh:
            if seat is None:
                return await self._park("the channel is gone and the outcome of its submit is unknown")
            if seat.provider.repeatable:
                await self._move(State.QUEUED, "started again after an interruption", attempt=task.attempt - 1)
                return 0.0
            return await self._park("interrupted while submitting: the vendor may have the work")
        self.fresh = False
        assert seat is not None
        submission = Submission(
            task_id=task.id,
            reference=f"{task.id}-{task.attempt}",
            operation=task.operation,
            model=seat.vendor_model(task.operation.model),
            files=TaskFiles(task.account_id, task.id, runner._library, task.base_url),
            options=self._forced(),
        )
        runner._checkpoint("vendor.calling", task.id)
        try:
            answer = await seat.provider.submit(submission)
        except FetchFailed as error:
            return await self._end(State.FAILED, "media_unreachable", str(error))
        except (MediaRefused, AddressRefused) as error:
            return await self._end(State.FAILED, error.code, str(error))
        except OutcomeUnknown as error:
            VENDOR_CALLS.labels(seat.provider.name, "submit", error.code).inc()
            return await self._park(error.message)
        except ProviderError as error:
            VENDOR_CALLS.labels(seat.provider.name, "submit", error.code).inc()
            return await self._refused(seat, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if seat.provider.repeatable:
                log.exception("provider.failed", provider=seat.provider.name)
                return await self._end(State.FAILED, "internal_error", f"the renderer failed: {type(error).__name__}")
            log.exception("provider.failed", provider=seat.provider.name)
            return await self._park(f"the provider's code failed while submitting: {type(error).__name__}")
        runner._checkpoint("vendor.answered", task.id)
        VENDOR_CALLS.labels(seat.provider.name, "submit", "ok").inc()
        runner._router.recovered(seat)
        try:
            if isinstance(answer, Submitted):
                await self._move(State.RUNNING, f"the vendor calls it {answer.vendor_id}", vendor_id=answer.vendor_id)
            else:
                await self._finished(answer)
        except Interrupted:
            if isinstance(answer, Submitted):
                await self._stop_vendor(seat, answer.vendor_id)
            raise
        return 0.0

    async def _refused(self, seat: Seat, error: ProviderError) -> float:
        """The vendor certainly did not start the work."""
        if isinstance(error, VendorRefused | VendorModerated):
            return await self._end(State.FAILED, error.code, error.message)
        self.runner._router.trouble(seat, error)
        tried = [*self.task.tried, seat.channel.id]
        # A busy vendor is waited for; everything else uses up one of the task's tries.
        attempt = self.task.attempt - 1 if isinstance(error, VendorBusy) else self.task.attempt
        await self._move(
            State.QUEUED,
            f"{seat.channel.name}: {error.code}: {error.message}",
            attempt=attempt,
            tried=_encode(tried[-8:]).decode(),
            error_code=error.code,
            error_message=error.message,
        )
        self._leave()
        return min(max(error.retry_after or 0.5 * 2 ** len(tried[-6:]), 0.1), 60)

    async def _running(self) -> float:
        runner, task = self.runner, self.task
        seat = await self._seat()
        if seat is None or task.vendor_id is None:
            log.error("task.channel_gone", channel=task.channel_id)
            return await self._wait_or_expire(30.0)
        if not self.channel_id:
            self.channel_id = seat.channel.id
            runner._slots.occupy(seat.channel.id)
        wait, lost_since, told = seat.provider.poll.first, None, task.progress
        look_at = runner._clock() + LOOK_SECONDS
        while True:
            outcome = "ok"
            try:
                report = await seat.provider.check(task.vendor_id)
                lost_since = None
                if isinstance(report, Finished):
                    await self._finished(report)
                    self._leave()
                    return 0.0
                if isinstance(report, Failed):
                    return await self._end(State.FAILED, report.code, report.message)
                if report.progress is not None and report.progress - told >= PROGRESS_STEP:
                    told = report.progress
                    await self._tell_progress(report)
                runner._checkpoint("running.checked", task.id)
            except VendorLost as error:
                outcome = error.code
                if seat.provider.repeatable:
                    await self._move(State.QUEUED, "started again after an interruption", attempt=task.attempt - 1)
                    self._leave()
                    return 0.0
                lost_since = lost_since or runner._clock()
                if runner._clock() - lost_since > runner._settings.parked_seconds:
                    return await self._end(State.FAILED, error.code, f"the vendor no longer knows this work: {error.message}")
            except ProviderError as error:
                outcome = error.code
                wait = max(wait, min(error.retry_after or 0, 60))
            VENDOR_CALLS.labels(seat.provider.name, "check", outcome).inc()
            # After the question, not before it: what was done while nobody could ask is not thrown away.
            if runner._clock() >= self.task.deadline_at:
                await self._stop_vendor(seat, task.vendor_id)
                return await self._end(State.EXPIRED, "expired", "not finished before the task's deadline")
            wanted = await runner._pause(task.id, wait)
            if wanted or runner._clock() >= look_at:
                await self._still_ours(seat)
                look_at = runner._clock() + LOOK_SECONDS
            wait = min(wait * seat.provider.poll.factor, max(seat.provider.poll.longest, wait if outcome != "ok" else 0))

    async def _tell_progress(self, report: Running) -> None:
        now, progress = self.runner._clock(), report.progress or 0.0
        await self.runner._database.write(
            lambda connection: self.runner._store.progress(connection, self.task.id, progress, now)
        )
        self._set(msgspec.structs.replace(self.task, progress=progress))

    async def _still_ours(self, seat: Seat) -> None:
        """Notice that somebody has ended the task meanwhile, and stop the vendor's work then."""
        current = await self.runner._database.read(lambda connection: self.runner._store.get(connection, self.task.id))
        if current is None or current.state != self.task.state:
            if self.task.vendor_id is not None and (current is None or current.state.ended):
                await self._stop_vendor(seat, self.task.vendor_id)
            raise Interrupted

    async def _finished(self, report: Finished) -> None:
        self.finished = report
        details = self.task.details | report.details
        await self._move(
            State.STORING,
            "the vendor is done",
            vendor_files=_encode(report.files).decode(),
            details=_encode(details).decode(),
            progress=1.0,
        )

    async def _storing(self) -> float:
        task, runner = self.task, self.runner
        wait = STORE_WAIT.first
        while True:
            try:
                files = await self._store_files(_vendor_files.decode(task.vendor_files or "[]"))
            except FetchFailed as error:
                seat = await self._seat()
                if seat is not None and seat.provider.repeatable:
                    return await self._end(State.FAILED, "result_lost", str(error))
                if runner._clock() + wait >= task.deadline_at:
                    return await self._end(State.FAILED, "result_lost", f"the vendor's result could not be fetched: {error}")
                log.warning("task.store_again", why=str(error), seconds=wait)
                await self._renew_links(seat)
            except (MediaRefused, AddressRefused) as error:
                return await self._end(State.FAILED, "result_unusable", f"the vendor's result cannot be used: {error}")
            except Unavailable as error:
                log.error("task.store_unavailable", why=str(error), seconds=wait)
            except FileNotFoundError:
                return await self._repeat_lost_rendering()
            else:
                return await self._end(State.SUCCEEDED, None, None, results=_encode(files).decode(), progress=1.0)
            await runner._pause(task.id, wait)
            wait = min(wait * STORE_WAIT.factor, STORE_WAIT.longest)

    async def _repeat_lost_rendering(self) -> float:
        return await self._end(State.FAILED, "result_lost", "the rendered file is gone")

    async def _renew_links(self, seat: Seat | None) -> None:
        """A vendor's links expire; asking again gives fresh ones."""
        if seat is None or self.task.vendor_id is None:
            return
        try:
            report = await seat.provider.check(self.task.vendor_id)
        except ProviderError:
            return
        if isinstance(report, Finished):
            self._set(msgspec.structs.replace(self.task, vendor_files=_encode(report.files).decode()))

    async def _store_files(self, vendor_files: tuple[ResultFile, ...]) -> list[File]:
        seat = await self._seat()
        stored: list[File] = []
        for number, file in enumerate(vendor_files):
            kept = await self.runner._library.take_result(
                account_id=self.task.account_id,
                task_id=self.task.id,
                media_id=f"med_{self.task.id.replace('-', '')}{number:02d}",
                role=file.role,
                url=file.url,
                path=Path(file.path) if file.path else None,
                trusted=seat.channel.base_url or seat.provider.base_url if seat else "",
            )
            stored.append(
                File(
                    role=file.role,
                    media_id=kept.id,
                    content_type=kept.content_type,
                    bytes=kept.bytes,
                    sha256=kept.sha256,
                    extension=kept.extension,
                    width=kept.width,
                    height=kept.height,
                    seconds=kept.seconds,
                )
            )
            self.runner._checkpoint("storing.stored", self.task.id)
        return stored

    async def _parked(self) -> float:
        task, runner = self.task, self.runner
        seat = await self._seat()
        since = task.updated_at
        wait = 2.0
        while True:
            now = runner._clock()
            if seat is not None:
                try:
                    found = await seat.provider.find(f"{task.id}-{task.attempt}")
                    if found is not None:
                        await self._move(State.RUNNING, f"found at the vendor as {found.vendor_id}", vendor_id=found.vendor_id)
                        return 0.0
                except ProviderError as error:
                    log.warning("task.look_up_failed", why=error.code)
            left = min(since + runner._settings.parked_seconds, task.deadline_at) - now
            if left <= 0:
                log.error("task.outcome_unknown", channel=task.channel_id, attempt=task.attempt)
                return await self._end(
                    State.FAILED,
                    "outcome_unknown",
                    "it could not be found out whether the vendor took this work; nothing was charged",
                )
            await runner._pause(task.id, min(wait, left))
            current = await runner._database.read(lambda connection: runner._store.get(connection, task.id))
            if current is None or current.state != State.PARKED:
                raise Interrupted
            wait = min(wait * 2, 60)

    async def _wait_or_expire(self, seconds: float) -> float:
        if self.runner._clock() >= self.task.deadline_at:
            return await self._end(State.EXPIRED, "expired", "not finished before the task's deadline")
        return seconds

    async def _park(self, reason: str) -> float:
        log.warning("task.parked", why=reason)
        await self._move(State.PARKED, reason)
        self._leave()
        return 0.0

    async def _move(self, after: State, reason: str, **changes: object) -> None:
        runner, task, now = self.runner, self.task, self.runner._clock()

        def write(connection: Connection) -> Task:
            moved = runner._store.move(connection, task.id, task.state, after, now, reason, **changes)
            runner._checkpoint(f"{after}.before_commit", task.id)
            if moved is None:
                raise Interrupted
            return moved

        moved = await runner._database.write(write)
        runner._checkpoint(f"{after}.committed", task.id)
        self._set(moved)

    async def _end(self, after: State, code: str | None, message: str | None, **changes: object) -> float:
        runner, task, now = self.runner, self.task, self.runner._clock()

        def write(connection: Connection) -> Task:
            ended = runner._store.end(
                connection,
                task.id,
                (task.state,),
                after,
                now,
                message or "",
                error_code=code,
                error_message=message,
                **changes,
            )
            runner._checkpoint("ending.before_commit", task.id)
            if ended is None:
                raise Interrupted
            return ended

        ended = await runner._database.write(write)
        runner._checkpoint("ending.committed", task.id)
        self._set(ended)
        ENDED.labels(ended.provider or "none", ended.operation.kind, str(after)).inc()
        SECONDS.labels(ended.provider or "none", ended.operation.kind).observe(now - ended.created_at)
        log.info("task.ended", state=str(after), code=code, seconds=round(now - ended.created_at, 3))
        return 0.0

    async def _stop_vendor(self, seat: Seat, vendor_id: str) -> None:
        try:
            await seat.provider.cancel(vendor_id)
        except ProviderError as error:
            log.warning("task.cancel_failed", why=error.code)

    async def _seat(self) -> Seat | None:
        return await self.runner._router.seat(self.task.channel_id) if self.task.channel_id else None

    def _forced(self) -> dict[str, str]:
        return forced(self.task.operation) if self.task.mode == "test" else {}

    def _set(self, task: Task) -> None:
        self.task = task
        self.runner._changed(task)

    def _leave(self) -> None:
        if self.channel_id:
            self.runner._slots.give_back(self.channel_id)
            self.channel_id = ""
