"""Sees one task through: hands it to a vendor once, asks how it goes, stores what came out.

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
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog
from sqlalchemy import Connection

from genway.errors import AddressRefused, MediaRefused, Unavailable
from genway.media.fetch import FetchFailed
from genway.media.library import TaskFiles
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
from genway.routing.choose import Seat
from genway.tasks.forced import forced
from genway.tasks.metrics import ENDED, SECONDS, VENDOR_CALLS
from genway.tasks.model import File, State, Task

if TYPE_CHECKING:
    from genway.tasks.runner import Runner

log = structlog.get_logger(__name__)

LOOK_SECONDS = 15.0
PROGRESS_STEP = 0.05
STORE_WAIT = Poll(first=1, factor=2, longest=60)

_encode = msgspec.json.Encoder().encode
_vendor_files = msgspec.json.Decoder(tuple[ResultFile, ...])


class Interrupted(Exception):
    """The task is not ours to go on with: somebody ended it, or took it over."""


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
        task, now = self.task, self.runner.clock()
        if now >= task.deadline_at:
            return await self._end(State.EXPIRED, "expired", "no channel took this in time")
        if self._forced().get("fail") == "expire":
            return await self._end(State.EXPIRED, "expired", "forced by genway:fail=expire")
        if task.attempt >= self.runner.settings.submit_attempts:
            return await self._end(
                State.FAILED, task.error_code or "vendor_down", task.error_message or "no channel could take this"
            )
        seats = await self.runner.router.candidates(task.operation, local=task.local, tried=task.tried, seed=task.id)
        if not seats:
            return self.runner.router.soonest()
        slots = self.runner.slots
        seat = next((s for s in seats if slots.free(s.channel.id, s.channel.concurrency)), seats[0])
        if slots.crowded(seat.channel.id):
            self.waits_for = seat.channel.id
            return 1.0
        try:
            await asyncio.wait_for(slots.take(seat.channel.id, seat.channel.concurrency), task.deadline_at - now)
        except TimeoutError:
            return 0.0
        self.channel_id = seat.channel.id
        if self.runner.stopping:
            raise asyncio.CancelledError
        if not await self._begin(seat):
            self._leave()
            return 1.0
        self.fresh = True
        return 0.0

    async def _begin(self, seat: Seat) -> bool:
        """Commit the intent to submit. False where other processes have filled the channel."""
        runner, task, now = self.runner, self.task, self.runner.clock()

        def write(connection: Connection) -> Task | None:
            if seat.channel.concurrency and runner.store.at_work(connection, seat.channel.id) >= seat.channel.concurrency:
                return None
            moved = runner.store.move(
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
            if moved is None:
                raise Interrupted
            return moved

        moved = await runner.commit("submitting", task.id, write)
        if moved is None:
            return False
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
            files=TaskFiles(task.account_id, task.id, runner.library, task.base_url),
            options=self._forced(),
            callback_url=runner.vendor_callback(f"{task.id}-{task.attempt}"),
        )
        await runner.reach("vendor.calling", task.id)
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
        await runner.reach("vendor.answered", task.id)
        VENDOR_CALLS.labels(seat.provider.name, "submit", "ok").inc()
        runner.router.recovered(seat)
        if isinstance(answer, Submitted):
            await self._at_work(seat, f"the vendor calls it {answer.vendor_id}", answer.vendor_id)
        else:
            await self._finished(answer)
        return 0.0

    async def _at_work(self, seat: Seat, reason: str, vendor_id: str) -> None:
        """The vendor has it; where nobody wants it any more, it is to be stopped there."""
        try:
            await self._move(State.RUNNING, reason, vendor_id=vendor_id)
        except Interrupted:
            await self._stop_late(seat, vendor_id)
            raise

    async def _refused(self, seat: Seat, error: ProviderError) -> float:
        """The vendor certainly did not start the work."""
        if isinstance(error, VendorRefused | VendorModerated):
            return await self._end(State.FAILED, error.code, error.message)
        self.runner.router.trouble(seat, error)
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
            runner.slots.occupy(seat.channel.id)
        wait, lost_since, told = seat.provider.poll.first, None, task.progress
        look_at, wanted = runner.clock() + LOOK_SECONDS, False
        while True:
            outcome = "ok"
            await self._turn(seat, first=wanted)
            try:
                report = await seat.provider.check(task.vendor_id)
                runner.paces.answered(seat.channel.id)
                await runner.reach("running.checked", task.id)
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
            except VendorLost as error:
                outcome = error.code
                if seat.provider.repeatable:
                    await self._move(State.QUEUED, "started again after an interruption", attempt=task.attempt - 1)
                    self._leave()
                    return 0.0
                lost_since = lost_since or runner.clock()
                if runner.clock() - lost_since > runner.settings.parked_seconds:
                    return await self._end(State.FAILED, error.code, f"the vendor no longer knows this work: {error.message}")
            except ProviderError as error:
                outcome = error.code
                if isinstance(error, VendorBusy):
                    runner.paces.busy(seat.channel.id, error.retry_after)
                wait = max(wait, min(error.retry_after or 0, 60))
            VENDOR_CALLS.labels(seat.provider.name, "check", outcome).inc()
            # After the question, not before it: what was done while nobody could ask is not thrown away.
            if runner.clock() >= self.task.deadline_at:
                if task.local:
                    await self._stop_vendor(seat, task.vendor_id)
                return await self._end(State.EXPIRED, "expired", "not finished before the task's deadline")
            wanted = await runner.pause(task.id, wait)
            if wanted or runner.clock() >= look_at:
                await self._still_ours(seat)
                look_at = runner.clock() + LOOK_SECONDS
            wait = min(wait * seat.provider.poll.factor, max(seat.provider.poll.longest, wait if outcome != "ok" else 0))

    async def _tell_progress(self, report: Running) -> None:
        now, progress = self.runner.clock(), report.progress or 0.0
        await self.runner.database.write(lambda connection: self.runner.store.progress(connection, self.task.id, progress, now))
        self._set(msgspec.structs.replace(self.task, progress=progress))

    async def _turn(self, seat: Seat, *, first: bool = False) -> None:
        """Wait until the vendor may be asked. Raises Interrupted where the task is ended or taken over meanwhile."""
        while not await self.runner.turn(self.task.id, seat, first=first):
            await self._still_ours(seat)
            first = True

    async def _still_ours(self, seat: Seat) -> None:
        """Notice that somebody has ended the task meanwhile; our own rendering is stopped then, for only we can."""
        current = await self.runner.database.read(lambda connection: self.runner.store.get(connection, self.task.id))
        if current is None or current.state != self.task.state:
            if self.task.local and self.task.vendor_id is not None and (current is None or current.state.ended):
                await self._stop_vendor(seat, self.task.vendor_id)
            raise Interrupted

    async def _stop_late(self, seat: Seat, vendor_id: str) -> None:
        """The vendor took work that nobody wants any more: it was ended, or another process gave it up.

        Where another process knows of this very work, it is that one's to keep or to stop.
        """
        runner, task, now = self.runner, self.task, self.runner.clock()
        noted = not task.local and await runner.database.write(
            lambda connection: runner.store.stop_late(connection, task.id, vendor_id, now)
        )
        if noted:
            runner.wake()
            return
        current = await runner.database.read(lambda connection: runner.store.get(connection, task.id))
        if current is None or current.vendor_id != vendor_id:
            await self._stop_vendor(seat, vendor_id)

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
                if runner.clock() + wait >= task.deadline_at:
                    return await self._end(State.FAILED, "result_lost", f"the vendor's result could not be fetched: {error}")
                log.warning("task.store_again", why=str(error), seconds=wait)
                await self._renew_links(seat)
            except (MediaRefused, AddressRefused) as error:
                return await self._end(State.FAILED, "result_unusable", f"the vendor's result cannot be used: {error}")
            except Unavailable as error:
                log.error("task.store_unavailable", why=str(error), seconds=wait)
            except FileNotFoundError:
                return await self._again_if_free("the file is gone")
            else:
                return await self._end(State.SUCCEEDED, None, None, results=_encode(files).decode(), progress=1.0)
            await runner.pause(task.id, wait)
            wait = min(wait * STORE_WAIT.factor, STORE_WAIT.longest)

    async def _again_if_free(self, why: str) -> float:
        """A result that is gone for good is made again where that costs nothing."""
        seat = await self._seat()
        if seat is not None and seat.provider.repeatable:
            await self._move(State.QUEUED, "started again: the result was gone before it was stored", progress=0.0)
            return 0.0
        return await self._end(State.FAILED, "result_lost", why)

    async def _renew_links(self, seat: Seat | None) -> None:
        """A vendor's links expire; asking again gives fresh ones."""
        if seat is None or self.task.vendor_id is None:
            return
        await self._turn(seat)
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
            kept = await self.runner.library.take_result(
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
            await self.runner.reach("storing.stored", self.task.id)
        return stored

    async def _parked(self) -> float:
        task, runner = self.task, self.runner
        seat = await self._seat()
        since = task.updated_at
        wait = 2.0
        while True:
            now = runner.clock()
            if seat is not None:
                await self._turn(seat)
                try:
                    told = runner.told.pop(task.id, None)
                    found = seat.provider.from_callback(task.operation, told) if told is not None else None
                    found = found or await seat.provider.find(f"{task.id}-{task.attempt}")
                    if found is not None:
                        await self._at_work(seat, f"found at the vendor as {found.vendor_id}", found.vendor_id)
                        return 0.0
                except ProviderError as error:
                    log.warning("task.look_up_failed", why=error.code)
            left = min(since + runner.settings.parked_seconds, task.deadline_at) - now
            if left <= 0:
                log.error("task.outcome_unknown", channel=task.channel_id, attempt=task.attempt)
                return await self._end(
                    State.FAILED,
                    "outcome_unknown",
                    "it could not be found out whether the vendor took this work; nothing was charged",
                )
            await runner.pause(task.id, min(wait, left))
            current = await runner.database.read(lambda connection: runner.store.get(connection, task.id))
            if current is None or current.state != State.PARKED:
                raise Interrupted
            wait = min(wait * 2, 60)

    async def _wait_or_expire(self, seconds: float) -> float:
        if self.runner.clock() >= self.task.deadline_at:
            return await self._end(State.EXPIRED, "expired", "not finished before the task's deadline")
        return seconds

    async def _park(self, reason: str) -> float:
        log.warning("task.parked", why=reason)
        await self._move(State.PARKED, reason)
        self._leave()
        return 0.0

    async def _move(self, after: State, reason: str, **changes: object) -> None:
        runner, task, now = self.runner, self.task, self.runner.clock()

        def write(connection: Connection) -> Task:
            moved = runner.store.move(connection, task.id, task.state, after, now, reason, **changes)
            if moved is None:
                raise Interrupted
            return moved

        moved = await runner.commit(str(after), task.id, write)
        assert moved is not None
        self._set(moved)

    async def _end(self, after: State, code: str | None, message: str | None, **changes: object) -> float:
        runner, task, now = self.runner, self.task, self.runner.clock()

        def write(connection: Connection) -> Task:
            ended = runner.store.end(
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
            if ended is None:
                raise Interrupted
            return ended

        ended = await runner.commit("ending", task.id, write)
        assert ended is not None
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
        return await self.runner.router.seat(self.task.channel_id) if self.task.channel_id else None

    def _forced(self) -> dict[str, str]:
        return forced(self.task.operation) if self.task.mode == "test" else {}

    def _set(self, task: Task) -> None:
        self.task = task
        self.runner.changed(task)

    def _leave(self) -> None:
        if self.channel_id:
            self.runner.slots.give_back(self.channel_id)
            self.channel_id = ""
