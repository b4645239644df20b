"""What the tests of callbacks play with: receivers, a clock moved by hand, a trail of what happened, a running deliverer."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from aiohttp import ClientTimeout, web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer

from genway.callbacks import Deliverer, Rendered, outbox, signatures
from genway.callbacks.outbox import Callback
from genway.config import Callbacks
from genway.db import Database
from genway.media.address import AddressPolicy, guarded_session

DEADLINE = 20.0
NEVER = 1e9
DAY = 86_400.0
SECRET = signatures.new_secret()
LOCAL = AddressPolicy(["127.0.0.0/8"])

numbers = count()

Answer = Callable[[int], int | web.Response | Awaitable[web.Response]]


class Changes:
    """Lets a test wait until something holds, looking again after every change."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def happened(self) -> None:
        self._event.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not holds():
                self._event.clear()
                await self._event.wait()


class Received(NamedTuple):
    """One request as it came."""

    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """A web server on this machine that keeps what it gets and answers as it is told: a status, a response, or a wait for one.

    answer: called with the number of the request, from 1.
    """

    def __init__(self, answer: Answer = lambda number: 200) -> None:
        self.answer = answer
        self.received: list[Received] = []
        self.under_way = 0
        self.most_at_once = 0
        self.changes = Changes()
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._server = TestServer(application)

    async def start(self) -> Receiver:
        await self._server.start_server()
        return self

    async def close(self) -> None:
        await self._server.close()

    @property
    def url(self) -> str:
        return str(self._server.make_url("/hook"))

    @property
    def port(self) -> int:
        return int(self._server.port or 0)

    async def got(self, count: int) -> list[Received]:
        """The requests so far, once there are so many."""
        await self.changes.until(lambda: len(self.received) >= count)
        return self.received

    async def _handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(headers, await request.read()))
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        self.changes.happened()
        try:
            answer = self.answer(len(self.received))
            if isinstance(answer, int):
                return web.Response(status=answer)
            return answer if isinstance(answer, web.Response) else await answer
        finally:
            self.under_way -= 1


class Clock:
    """Unix time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = time.time()
        self._sleeps: list[tuple[float, asyncio.Event]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        event = asyncio.Event()
        self._sleeps.append((self.now + seconds, event))
        await event.wait()

    def move_to(self, moment: float) -> None:
        self.now = max(self.now, moment)
        for due_at, event in self._sleeps:
            if due_at <= self.now:
                event.set()

    def move(self, seconds: float) -> None:
        self.move_to(self.now + seconds)


class Trail:
    """A checkpoint that keeps what it is told. `crash_at`: the point at which it raises, as a process that ends would."""

    def __init__(self, crash_at: str | None = None) -> None:
        self.points: list[tuple[str, str]] = []
        self._crash_at = crash_at
        self._changes = Changes()

    def __call__(self, point: str, task_id: str) -> None:
        self.points.append((point, task_id))
        self._changes.happened()
        if point == self._crash_at:
            raise RuntimeError(f"the process ends at {point}")

    def count(self, point: str) -> int:
        return sum(1 for reached, _ in self.points if reached == point)

    async def reached(self, point: str, count: int = 1) -> None:
        """Wait until the point was reached so many times in all."""
        await self._changes.until(lambda: self.count(point) >= count)


class Names(AbstractResolver):
    """Name look-up by a table that a test may change: name → address."""

    def __init__(self, **addresses: str) -> None:
        self.addresses = {name.replace("_", "."): address for name, address in addresses.items()}

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        if host not in self.addresses:
            raise OSError("the name is not known")
        address = self.addresses[host]
        return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


async def render(task_id: str, event: str) -> Rendered:
    return Rendered(json.dumps({"task": task_id, "event": event, "prompt": "一只猫"}, ensure_ascii=False).encode())


async def secret_of(account_id: str) -> str:
    return SECRET


class Delivery:
    """A deliverer that runs, as a process of its own would, and what is needed to follow it.

    It looks into the outbox when it is woken and when the clock comes to something that is due, never by polling.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        crash_at: str | None = None,
        policy: AddressPolicy = LOCAL,
        resolver: AbstractResolver | None = None,
        settings: Callbacks | None = None,
        **changes: Any,
    ) -> None:
        self.database = database
        self.clock = clock
        self.trail = Trail(crash_at)
        self.owner = f"process-{next(numbers)}"
        self._rests = 0
        self._rested = Changes()
        self._session = guarded_session(policy, timeout=ClientTimeout(total=30), resolver=resolver)
        values: dict[str, Any] = {
            "render": render,
            "secret_of": secret_of,
            "sleep": self._sleep,
            "jitter": lambda: 0.5,
            "poll_seconds": NEVER,
            **changes,
        }
        self.deliverer = Deliverer(
            database,
            self._session,
            policy,
            settings or Callbacks(),
            owner=self.owner,
            clock=clock,
            checkpoint=self.trail,
            **values,
        )
        self._running = asyncio.create_task(self.deliverer.run())

    def put(self, url: str, **changes: Any) -> str:
        """Have a callback of a task of its own sent now; returns its id."""
        values = {"task_id": f"task_{next(numbers)}", "account_id": "account", "event": "succeeded", "give_up_seconds": DAY}
        callback = put(self.database, url=url, now=self.clock.now, **{**values, **changes})
        self.deliverer.wake()
        return callback

    async def recorded(self, times: int = 1) -> None:
        """Wait until so many tries in all were made and recorded."""
        await self.trail.reached("callback.recorded", times)

    async def rested(self) -> None:
        """Wait until it has looked into the outbox and found nothing more to do."""
        await self._rested.until(lambda: self._rests > 0)

    async def _sleep(self, seconds: float) -> None:
        self._rests += 1
        self._rested.happened()
        await self.clock.sleep(seconds)

    async def crash(self) -> None:
        """End as a killed process does: nothing is given back."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def stop(self, within: float = 0.0) -> None:
        if self._session.closed:
            return
        await self.deliverer.stop(within)
        await asyncio.gather(self._running, return_exceptions=True)
        await self._session.close()


def put(database: Database, **values: Any) -> str:
    return database.write_now(partial(outbox.enqueue, **values))


def get(database: Database, callback_id: str) -> Callback:
    """The callback as it stands in the database."""
    return next(one for one in database.read_now(partial(outbox.listing, limit=10_000)) if one.id == callback_id)
