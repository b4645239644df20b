"""The pool: connections to those whom calls are sent on to."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import cache, partial
from typing import Any, cast
from urllib.parse import urlsplit

import httptools

from genway.wire.exchange import Headers

IDLE_SECONDS = 30.0
SWEEP_SECONDS = 1.0
EXACTLY_BELOW = 10.0  # seconds; longer times are up when the next sweep sees it
READ_BUFFER = 256 * 1024
WHOLE_LIMIT = 16 * 1024 * 1024
WRITE_BUFFER = 256 * 1024
LARGEST_HEAD = 128 * 1024


class Unreachable(Exception):
    """No connection came about: nothing was sent."""


class BrokenOff(Exception):
    """The connection ended or the time was up before the answer was whole. began: its head had come."""

    def __init__(self, why: str, *, began: bool = False) -> None:
        super().__init__(why)
        self.began = began


class Stale(Exception):
    """A connection that was kept ready had been closed by the other side: nothing of an answer came."""


Tell = Callable[["Reply | Exception"], None]


class Origin:
    """Where calls go: `https://api.example.com/v1` and what is kept ready for it."""

    __slots__ = ("host", "idle", "path", "port", "tls", "url")

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"an address that begins with http:// or https://, got {url!r}")
        self.url = url
        self.tls = parts.scheme == "https"
        self.host = parts.hostname
        self.port = parts.port or (443 if self.tls else 80)
        self.path = parts.path.rstrip("/")
        self.idle: deque[Upstream] = deque()

    @property
    def authority(self) -> str:
        """What goes into the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


class Reply:
    """An answer that has begun. `take` gets pieces of the body as they come; until it is set they wait.

    on_end is called once: with None after the last piece, or with why the answer broke off.
    """

    on_data: Callable[[bytes], None] | None = None
    on_end: Callable[[str | None], None] | None = None
    _size = 0
    _ended = False
    _problem: str | None = None
    _waiter: asyncio.Future[None] | None = None

    def __init__(self, connection: Upstream, status: int, headers: Headers, most: int = READ_BUFFER) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection
        self._parts: list[bytes] = []
        self._most = most

    def header(self, name: bytes) -> bytes:
        """The first header of this name (lower case), or nothing."""
        for key, value in self.headers:
            if key == name:
                return value
        return b""

    @property
    def ended(self) -> bool:
        """Whether all of the answer is here."""
        return self._ended

    @property
    def size(self) -> int:
        """How many bytes wait to be taken."""
        return self._size

    @property
    def here(self) -> bytes:
        """What is here of the body; it stays."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    async def body(self, most: int) -> bytes:
        """The whole body. Raises BrokenOff, also for one of more than `most` bytes."""
        while not self._ended:
            if self._size > most:
                self.abort()
                raise BrokenOff(f"the answer has more than {most} bytes", began=True)
            self._connection.resume()
            self._waiter = self._connection.loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                self.abort()
                raise
        if self._problem is not None:
            raise BrokenOff(self._problem, began=True)
        return self.here

    def flow(self, on_data: Callable[[bytes], None], on_end: Callable[[str | None], None]) -> None:
        """From now on call these; with what is here already at once."""
        self.on_data, self.on_end = on_data, on_end
        parts, self._parts = self._parts, []
        self._size = 0
        if not self._ended:
            self._connection.resume()
        for part in parts:
            on_data(part)
        if self._ended:
            on_end(self._problem)

    def pause(self, paused: bool) -> None:
        """Hold the other side back, or let it go on."""
        if self._ended:  # the connection may be at work for somebody else by now
            return
        if paused:
            self._connection.pause()
        else:
            self._connection.resume()

    def abort(self) -> None:
        """Break off: the other side learns at once that nobody listens any more."""
        if not self._ended:
            self._connection.abort()

    def linger(self, seconds: float) -> None:
        """Nobody listens any more; if it does not end by itself within about so many seconds, break it off."""
        if not self._ended:
            self._connection.late_at = time.monotonic() + seconds

    def arrived(self, data: bytes) -> None:
        """A piece that nobody takes yet."""
        self._parts.append(data)
        self._size += len(data)
        if self._waiter is not None:
            if self._size > READ_BUFFER and not self._waiter.done():
                self._waiter.set_result(None)
        elif self._size > self._most:
            self._connection.pause()

    def over(self, problem: str | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._problem = problem
        if self.on_end is not None:
            self.on_end(problem)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Pool:
    """Connections that are ready, by origin. One pool a process."""

    def __init__(self, *, idle_seconds: float = IDLE_SECONDS, context: ssl.SSLContext | None = None) -> None:
        self.idle_seconds = idle_seconds
        self._context = context
        self._origins: dict[str, Origin] = {}
        self._all: set[Upstream] = set()
        self._sweeper: asyncio.Task[None] | None = None

    def origin(self, url: str) -> Origin:
        """The origin of a base address, always the same one. Raises ValueError."""
        known = self._origins.get(url)
        if known is None:
            known = self._origins[url] = Origin(url)
        return known

    async def send(
        self,
        origin: Origin,
        head: bytes,
        body: bytes | AsyncIterator[bytes] = b"",
        *,
        connect_seconds: float = 10.0,
        seconds: float = 600.0,
        whole: bool = False,
        sized: bool = False,
        fresh: bool = False,
    ) -> Reply:
        """Send a request and wait for the answer's head, or with `whole` for all of it unless it is very large (`ended` tells).

        head: request line and headers, with framing and the empty line at the end. A body that is an iterator goes in chunks,
        or as it is where it is `sized`: the head says how long it is. It is not read on once the answer is there.
        fresh: over a new connection, since one that was ready turned out to be stale already.
        Raises Unreachable when nothing was sent, BrokenOff when the answer did not come in `seconds` or was cut off, and what
        the iterator raises.
        """
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep(), name="upstreams")
        # An iterator can be sent once only, so it gets a fresh connection.
        ready = self.ready(origin) if isinstance(body, bytes) and not fresh else None
        if ready is not None:
            with contextlib.suppress(Stale):  # once: a request that makes the other side hang up is not given to all in turn
                return await ready.request(head, body, seconds, whole)
        connection = await self._connect(origin, connect_seconds)
        try:
            return await connection.request(head, body, seconds, whole, sized)
        except Stale:
            raise BrokenOff("the connection was closed before an answer came") from None

    def ready(self, origin: Origin) -> Upstream | None:
        """A connection that is kept ready, which is the caller's from now on; None where there is none."""
        while origin.idle:
            connection = origin.idle.pop()
            if connection.usable:
                return connection
        return None

    async def open(self, origin: Origin, protocol: Callable[[], asyncio.Protocol], seconds: float) -> asyncio.Transport:
        """A connection for something else than requests. Raises Unreachable."""
        loop = asyncio.get_running_loop()
        tls = self._tls() if origin.tls else None
        try:
            async with asyncio.timeout(seconds):
                transport, _ = await loop.create_connection(
                    protocol, origin.host, origin.port, ssl=tls, server_hostname=origin.host if tls else None
                )
        except TimeoutError:
            raise Unreachable(f"{origin.host} did not take the connection within {seconds:g} seconds") from None
        except (OSError, ssl.SSLError) as error:
            raise Unreachable(f"{origin.host} cannot be reached: {error.strerror or error}") from error
        return transport

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._all):
            connection.abort()

    def remember(self, connection: Upstream) -> None:
        self._all.add(connection)

    def forget(self, connection: Upstream) -> None:
        self._all.discard(connection)

    async def _connect(self, origin: Origin, seconds: float) -> Upstream:
        loop = asyncio.get_running_loop()
        connection = Upstream(self, origin, loop)
        await self.open(origin, lambda: connection, seconds)
        return connection

    def _tls(self) -> ssl.SSLContext:
        return self._context or _default_tls()

    def sweep(self) -> None:
        """Close what has rested for too long, and what has not answered in time."""
        now = time.monotonic()
        for connection in [each for each in self._all if 0 < each.late_at <= now]:
            connection.late()
        before = now - self.idle_seconds
        for origin in self._origins.values():
            while origin.idle and (origin.idle[0].idle_since < before or not origin.idle[0].usable):
                origin.idle.popleft().abort()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()


class Upstream(asyncio.Protocol):
    """One connection to an origin: one request after the other.

    late_at: by the clock that never goes back, when the answer that is awaited is too late; 0 where none is.
    """

    __slots__ = (
        "_began",
        "_bulky",
        "_finished",
        "_head_size",
        "_headers",
        "_keep_alive",
        "_origin",
        "_parser",
        "_paused",
        "_pool",
        "_quiet",
        "_reply",
        "_room",
        "_seconds",
        "_sending",
        "_sent",
        "_tell",
        "_timer",
        "_transport",
        "_whole",
        "idle_since",
        "late_at",
        "loop",
        "usable",
    )

    def __init__(self, pool: Pool, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.usable = True
        self.idle_since = 0.0
        self.late_at = 0.0
        self._pool = pool
        self._origin = origin
        self._transport: asyncio.Transport = cast(Any, None)
        self._parser = httptools.HttpResponseParser(self)
        self._tell: Tell | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._seconds = 0.0
        self._reply: Reply | None = None
        self._finished: Reply | None = None
        self._keep_alive = False
        self._whole = False
        self._began = False
        self._bulky = False
        self._sent = True
        self._sending: asyncio.Task[None] | None = None
        self._quiet = 0  # bytes since anything was made of them
        self._headers: Headers = []
        self._head_size = 0
        self._paused = False
        self._room: asyncio.Future[None] | None = None

    def ask(self, head: bytes, body: bytes, seconds: float, whole: bool, tell: Tell) -> None:
        """Send a request. tell: called once, with the answer as `Pool.send` returns it, or with the BrokenOff or Stale."""
        self._await_answer(seconds, whole, tell)
        self._bulky = len(body) > WRITE_BUFFER
        self._transport.write(head + body)

    def drop(self) -> None:
        """Break off; nobody is told."""
        self._tell = None
        self.abort()

    async def request(
        self, head: bytes, body: bytes | AsyncIterator[bytes], seconds: float, whole: bool, sized: bool = False
    ) -> Reply:
        """`ask`, and wait."""
        future: asyncio.Future[Reply] = self.loop.create_future()
        tell = partial(_resolve, future)
        if isinstance(body, bytes):
            self.ask(head, body, seconds, whole, tell)
        else:
            self._await_answer(seconds, whole, tell)
            self._sent = False
            self._sending = self.loop.create_task(self._send(head, body, sized))
        try:
            return await future
        except asyncio.CancelledError:
            # By now the connection may be at work for somebody else, who must not be cut off.
            if self._tell is tell:
                self.drop()
            elif future.done() and not future.cancelled() and future.exception() is None:
                future.result().abort()
            raise

    def _await_answer(self, seconds: float, whole: bool, tell: Tell) -> None:
        self._tell = tell
        self._whole = whole
        self._began = False
        self._seconds = seconds
        if seconds < EXACTLY_BELOW:
            self._timer = self.loop.call_later(seconds, self.late)
        else:
            self.late_at = time.monotonic() + seconds

    async def _send(self, head: bytes, body: AsyncIterator[bytes], sized: bool) -> None:
        """Send a body piece by piece, no faster than it is taken."""
        self._transport.write(head)
        try:
            async for part in body:
                if part and self.usable:
                    self._transport.write(part if sized else b"%x\r\n%b\r\n" % (len(part), part))
                if self._room is not None:
                    await self._room
                if not self.usable:
                    return
        except Exception as error:
            self._answer(error)
            self.abort()
            return
        if self.usable:
            if not sized:
                self._transport.write(b"0\r\n\r\n")
            self._sent = True

    def pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        self.usable = False
        self._stop_sending()
        self._transport.abort()

    def _stop_sending(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None and sending is not asyncio.current_task(self.loop):
            sending.cancel()

    def late(self) -> None:
        """The time is up."""
        self._answer(BrokenOff(f"no answer within {self._seconds:g} seconds", began=self._began))
        self.abort()

    def _answer(self, outcome: Reply | Exception) -> None:
        """Tell whoever awaits it, if anybody does yet."""
        self.late_at = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(outcome)

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._pool.remember(self)

    def connection_lost(self, problem: Exception | None) -> None:
        self.usable = False
        self._pool.forget(self)
        self._stop_sending()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        reply = self._reply
        if reply is not None:
            self._reply = None
            # An answer without a length ends with the connection.
            ended = problem is None and self._ends_with_connection(reply)
            reply.over(None if ended else "the connection broke off")
            if ended:
                self._answer(reply)
            else:
                self._answer(BrokenOff("the connection broke off", began=True))
        else:
            self._answer(BrokenOff("the connection broke off", began=True) if self._began else Stale())

    @staticmethod
    def _ends_with_connection(reply: Reply) -> bool:
        return not any(name in {b"content-length", b"transfer-encoding"} for name, _ in reply.headers)

    def eof_received(self) -> bool:
        self.usable = False
        return False

    def pause_writing(self) -> None:
        self._room = self.loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._tell is None and self._reply is None:
            self.abort()  # nobody asked
            return
        self._began = True
        self._quiet += len(data)
        wrong = ""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            wrong = "the answer is not HTTP/1.1"
        else:
            if self._quiet > LARGEST_HEAD:
                wrong = "the answer's head is too large"
        finished = self._finished
        if finished is not None:
            self._finished = None
            self._end(finished, keep=not wrong)
        elif wrong:
            self._broken(wrong)

    def _broken(self, why: str) -> None:
        self._answer(BrokenOff(why, began=True))
        if self._reply is not None:
            reply, self._reply = self._reply, None
            reply.over(why)
        self.abort()

    # --- httptools

    def on_message_begin(self) -> None:
        if self._tell is None or self._finished is not None:
            raise ValueError("an answer that nobody asked for")
        self._headers = []
        self._head_size = 0
        self._quiet = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > LARGEST_HEAD:
            raise ValueError("the answer's head is too large")
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self._quiet = 0
        if status < 200:  # 100 Continue, 103 Early Hints
            return
        reply = self._reply = Reply(self, status, self._headers, WHOLE_LIMIT if self._whole else READ_BUFFER)
        self._headers = []  # what comes after the body in a trailer is no header of the answer
        if not self._whole:
            self._answer(reply)

    def on_body(self, body: bytes) -> None:
        reply = self._reply
        self._quiet = 0
        if reply is None:
            return
        if reply.on_data is not None:
            reply.on_data(body)
            return
        reply.arrived(body)
        if self._whole and reply.size > WHOLE_LIMIT:
            self._answer(reply)

    def on_message_complete(self) -> None:
        if self._reply is not None:
            self._finished, self._reply = self._reply, None
            self._keep_alive = self._parser.should_keep_alive()

    def _end(self, reply: Reply, keep: bool) -> None:
        """An answer is whole: the connection can serve again, or not, and then whoever waits is told."""
        self.late_at = 0.0
        if self._paused:
            self.resume()
        unsent = not self._sent or (self._bulky and self._transport.get_write_buffer_size())
        if keep and self.usable and not unsent and self._keep_alive:
            self._sending = None
            self.idle_since = time.monotonic()
            self._origin.idle.append(self)
        else:
            self.usable = False
            self._stop_sending()
            if unsent or not keep:
                self._transport.abort()
            else:
                self._transport.close()
        tell = self._whole and self._tell is not None
        reply.over(None)
        if tell:
            self._answer(reply)


def _resolve(future: asyncio.Future[Reply], outcome: Reply | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


@cache
def _default_tls() -> ssl.SSLContext:
    return ssl.create_default_context()
