"""What empties the outbox: claim, send, record, and again.

A callback is claimed (committed), sent, and then recorded. A crash in between sends it again under the same
`webhook-id`, so nothing is lost and a receiver can drop the double. Slots are shared out so that no receiver can
keep another waiting: the host with the fewest tries under way goes first, a host has at most a few at once, and
callbacks that failed before get at most half of the slots.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version
from typing import Literal

import aiohttp
import msgspec
import prometheus_client
import structlog
from sqlalchemy import Connection

from genway.callbacks import outbox, retries, signatures
from genway.callbacks.outbox import Callback, Due
from genway.config import Callbacks
from genway.db import Database, checkpoints
from genway.db.checkpoints import Checkpoint
from genway.errors import GenwayError
from genway.media.address import AddressPolicy, check_text

POLL_SECONDS = 2.0
ANSWER_BYTES = 2048
ANSWER_SECONDS = 2.0
ERROR_LENGTH = 500
TIMEOUTS_IN_A_TRY = 3  # for the body, the secret, and the answer
SPARE_SECONDS = 5.0
USER_AGENT = f"genway/{version('genway')}"

LEVELS = {"delivered": logging.INFO, "failed": logging.WARNING, "lost": logging.WARNING, "dead": logging.ERROR}

log = structlog.get_logger(__name__)

OUTCOMES = prometheus_client.Counter(
    "genway_callbacks", "Tries to deliver a callback, by outcome: delivered, failed, dead or lost.", ["outcome"]
)
SECONDS = prometheus_client.Histogram(
    "genway_callback_seconds",
    "How long one try to deliver a callback took.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


class Rendered(msgspec.Struct, frozen=True):
    """The body of a callback, UTF-8: what the dialect's own query for the task would answer."""

    body: bytes
    content_type: str = "application/json"


class Outcome(msgspec.Struct, frozen=True):
    """What came of one try. asked: seconds the receiver wants to be left alone for."""

    kind: Literal["delivered", "failed", "dead", "lost"]
    error: str = ""
    status: int | None = None
    asked: float | None = None


class Deliverer:
    """Delivers what is in the outbox, with others on the same database if there are any.

    session: from `guarded_session`; it decides which addresses are connected to. render: the body for (task id, event),
    or None if the task is gone. secret_of: the signing secret of an account, by its id. owner: this process, under a
    name that no other has or had. clock and sleep: Unix time, and waiting for it to pass. jitter: 0…1 at random.
    checkpoint: is told `callback.sending`, `callback.sent` and `callback.recorded` with the task's id as a try goes
    through them. poll_seconds: how often to look for what other processes put into the outbox.
    """

    def __init__(
        self,
        database: Database,
        session: aiohttp.ClientSession,
        policy: AddressPolicy,
        settings: Callbacks,
        *,
        render: Callable[[str, str], Awaitable[Rendered | None]],
        secret_of: Callable[[str], Awaitable[str]],
        owner: str,
        clock: Callable[[], float] = time.time,
        lease_seconds: float = 30.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        checkpoint: Checkpoint = checkpoints.silent,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._database = database
        self._session = session
        self._policy = policy
        self._settings = settings
        self._render = render
        self._secret_of = secret_of
        self._owner = owner
        self._clock = clock
        # A lease that could end during a try would let another process send the same at the same time.
        self._lease_seconds = max(lease_seconds, TIMEOUTS_IN_A_TRY * settings.timeout_seconds + SPARE_SECONDS)
        self._sleep = sleep
        self._jitter = jitter
        self._checkpoint = checkpoint
        self._poll_seconds = poll_seconds
        self._tries: set[asyncio.Task[None]] = set()
        self._hosts: Counter[str] = Counter()
        self._retries = 0
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False

    def wake(self) -> None:
        """Look into the outbox now: something was put into it and committed. For the event loop's thread."""
        self._wake.set()

    async def run(self) -> None:
        """Deliver until `stop`."""
        self._idle.clear()
        try:
            while not self._stopping:
                self._wake.clear()
                try:
                    wait = await self._start_due()
                except Exception:
                    log.exception("callback.outbox_unreadable")
                    wait = self._poll_seconds
                if wait > 0:
                    await self._rest(wait)
        finally:
            self._idle.set()

    async def stop(self, within: float = 10.0) -> None:
        """Start nothing more, let what is under way end within so many seconds, and give back what is left."""
        self._stopping = True
        self._wake.set()
        await self._idle.wait()
        if self._tries:
            _, late = await asyncio.wait(self._tries, timeout=within)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        released = await self._database.write(partial(outbox.release_owner, owner=self._owner))
        log.info("callback.stopped", released=released)

    async def _start_due(self) -> float:
        """Begin as many tries as there are slots for; returns the seconds until there may be more to do."""
        free = self._settings.at_once - len(self._tries)
        if free <= 0:
            return self._poll_seconds
        now = self._clock()
        candidates = await self._database.read(
            partial(
                outbox.due,
                now=now,
                limit=self._settings.per_host * self._settings.at_once,
                each_host=self._settings.per_host,
                first_tries_only=self._retries >= self._retry_limit,
                # What waits for them is not looked through in vain after each try of theirs.
                busy=[host for host, tries in self._hosts.items() if tries >= self._settings.per_host],
            )
        )
        if self._stopping:  # meanwhile
            return 0.0
        chosen = self._choose(candidates, free)
        if not chosen:
            upcoming = await self._database.read(partial(outbox.next_due, now=now))
            return self._poll_seconds if upcoming is None else min(self._poll_seconds, max(0.0, upcoming - self._clock()))
        claim = partial(outbox.claim, ids=chosen, owner=self._owner, now=self._clock(), lease_seconds=self._lease_seconds)
        for callback in await self._database.write(claim):
            self._start(callback)
        return 0.0

    @property
    def _retry_limit(self) -> int:
        return max(1, self._settings.at_once // 2)

    def _choose(self, candidates: list[Due], free: int) -> list[str]:
        hosts = self._hosts.copy()
        retrying = self._retries
        chosen: list[str] = []
        for candidate in sorted(candidates, key=lambda one: self._hosts[one.host] + one.place):
            is_retry = candidate.attempts > 0
            if hosts[candidate.host] >= self._settings.per_host or (is_retry and retrying >= self._retry_limit):
                continue
            hosts[candidate.host] += 1
            retrying += is_retry
            chosen.append(candidate.id)
            if len(chosen) == free:
                break
        return chosen

    def _start(self, callback: Callback) -> None:
        is_retry = callback.attempts > 0
        self._hosts[callback.host] += 1
        self._retries += is_retry

        def ended(task: asyncio.Task[None]) -> None:
            self._tries.discard(task)
            self._retries -= is_retry
            self._hosts[callback.host] -= 1
            if not self._hosts[callback.host]:
                del self._hosts[callback.host]
            self._wake.set()

        task = asyncio.create_task(self._try(callback), name=f"callback {callback.id}")
        self._tries.add(task)
        task.add_done_callback(ended)

    async def _rest(self, seconds: float) -> None:
        waits = (asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(self._wake.wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _try(self, callback: Callback) -> None:
        started = time.perf_counter()
        try:
            outcome = Outcome("lost", "lost on purpose") if callback.lose > 0 else await self._send(callback)
            outcome = await self._record(callback, outcome)
            self._tell(callback, outcome, time.perf_counter() - started)
            await checkpoints.reach(self._checkpoint, "callback.recorded", callback.task_id)
        except Exception:
            # The lease is left to run out: what is not recorded is sent again.
            log.exception("callback.broken_off", task_id=callback.task_id, callback_id=callback.id)

    async def _send(self, callback: Callback) -> Outcome:
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                rendered = await self._render(callback.task_id, callback.event)
        except Exception:
            log.exception("callback.not_rendered", task_id=callback.task_id, callback_id=callback.id)
            return Outcome("failed", "the body could not be made; the server's log has the reason")
        if rendered is None:
            return Outcome("dead", "there is no such task any more")
        try:
            headers = await self._headers(callback, rendered)
        except Exception as error:
            # No traceback: some formats show the variables with it, and one of them is the secret.
            log.error("callback.not_signed", task_id=callback.task_id, callback_id=callback.id, error=type(error).__name__)
            return Outcome("failed", "the body could not be signed; the server's log has the reason")
        await checkpoints.reach(self._checkpoint, "callback.sending", callback.task_id)
        outcome = await self._post(callback.url, headers, rendered.body)
        await checkpoints.reach(self._checkpoint, "callback.sent", callback.task_id)
        return outcome

    async def _headers(self, callback: Callback, rendered: Rendered) -> dict[str, str]:
        async with asyncio.timeout(self._settings.timeout_seconds):
            secret = await self._secret_of(callback.account_id)
        signature = signatures.sign(secret, callback.id, self._clock(), rendered.body)
        return {"content-type": rendered.content_type, "user-agent": USER_AGENT, **signature}

    async def _post(self, url: str, headers: dict[str, str], body: bytes) -> Outcome:
        limit = aiohttp.ClientTimeout(total=self._settings.timeout_seconds)
        try:
            check_text(url, self._policy, field="callback_url")
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False, timeout=limit) as response:
                return await self._judge(response)
        except TimeoutError:
            return Outcome("failed", f"no answer within {self._settings.timeout_seconds:g} s")
        except (aiohttp.ClientError, GenwayError, OSError, ValueError) as error:
            return Outcome("failed", (str(error) or type(error).__name__)[:ERROR_LENGTH])

    async def _judge(self, response: aiohttp.ClientResponse) -> Outcome:
        status = response.status
        if 200 <= status < 300:
            return Outcome("delivered", status=status)
        if 300 <= status < 400:
            return Outcome("failed", f"{status}: redirects are not followed; the callback's address must answer itself", status)
        said = f"{status} {response.reason or ''}: {await _words(response)}".rstrip(": ")
        if status == 410:
            return Outcome("dead", said, status)
        asked = retries.asked_for(response.headers.get("retry-after"), self._clock()) if status in {429, 503} else None
        return Outcome("failed", said, status, asked)

    async def _record(self, callback: Callback, outcome: Outcome) -> Outcome:
        """Commit what came of a try; returns it as it stands, for a failure may have been the last allowed."""
        now = self._clock()
        if outcome.kind == "delivered":
            work = partial(outbox.delivered, callback_id=callback.id, now=now, status=outcome.status or 200)
            await self._database.write(work)
            return outcome
        if now >= callback.give_up_at:
            outcome = msgspec.structs.replace(outcome, kind="dead")
        wait = retries.wait_after(callback.attempts + 1, self._settings, jitter=self._jitter(), asked=outcome.asked)
        # The last try is made when the time is up, however long the wait would have been.
        next_at = max(now, min(now + wait, callback.give_up_at))

        def write(connection: Connection) -> None:
            told = {"owner": self._owner, "error": outcome.error}
            if outcome.kind == "dead":
                outbox.dead(connection, callback.id, **told, status=outcome.status)
            else:
                lost = outcome.kind == "lost"
                outbox.failed(connection, callback.id, **told, status=outcome.status, next_at=next_at, lost=lost)

        await self._database.write(write)
        return outcome

    def _tell(self, callback: Callback, outcome: Outcome, seconds: float) -> None:
        OUTCOMES.labels(outcome.kind).inc()
        SECONDS.observe(seconds)
        log.log(
            LEVELS[outcome.kind],
            f"callback.{outcome.kind}",
            task_id=callback.task_id,
            callback_id=callback.id,
            host=callback.host,
            attempts=callback.attempts + 1,
            status=outcome.status,
            error=outcome.error or None,
            seconds=round(seconds, 3),
        )


async def _words(response: aiohttp.ClientResponse) -> str:
    """The beginning of what the receiver says, on one line, for whoever looks for the fault."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            text = (await response.content.read(ANSWER_BYTES)).decode("utf-8", "replace")
    except (TimeoutError, aiohttp.ClientError):
        return ""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:200]
