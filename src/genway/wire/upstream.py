"""A connection to those whom calls are sent on to, and the answers that come by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import httptools

from genway.wire.exchange import Headers, compressed

if TYPE_CHECKING:
    from genway.wire.pool import Origin, Pool

EXACTLY_BELOW = 10.0  # seconds; longer times are up when the next sweep sees it
READ_BUFFER = 256 * 1024
WHOLE_LIMIT = 16 * 1024 * 1024
WRITE_BUFFER = 256 * 1024
LARGEST_HEAD = 128 * 1024


class BrokenOff(Exception):
    """The connection ended or the time was up before the answer was whole. began: its head had come."""

    def __init__(self, why: str, *, began: bool = False) -> None:
        super().__init__(why)
        self.began = began


class Stale(Exception):
    """A connection that was kept ready had been closed by the other side: nothing of an answer came."""


Tell = Callable[["Reply | Exception"], None]


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
        parts, self._parts = self._parts, []
        self._size = 0
        if not self._ended:
            self.on_data, self.on_end = on_data, on_end
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
        on_end = self.on_end
        self.on_data = self.on_end = None
        if on_end is not None:
            on_end(problem)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


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
        self._pool.inbox.empty()
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
        self._parser = cast(Any, None)  # it knows us as well, and nothing that runs in a circle goes before it is looked for

    @staticmethod
    def _ends_with_connection(reply: Reply) -> bool:
        return not any(name in {b"content-length", b"transfer-encoding"} for name, _ in reply.headers)

    def eof_received(self) -> bool:
        self._pool.inbox.empty()
        self.usable = False
        return False

    def pause_writing(self) -> None:
        self._room = self.loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._pool.inbox.put(self, data)

    def take_in(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._tell is None and self._reply is None:
            self.abort()  # nobody asked
            return
        self._began = True
        self._quiet += len(data)
        wrong = ""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            told = error.__context__
            wrong = str(told) if isinstance(told, _Wrong) else f"the answer is not HTTP/1.1: {error}"
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
            raise _Wrong("an answer that nobody asked for")
        self._headers = []
        self._head_size = 0
        self._quiet = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > LARGEST_HEAD:
            raise _Wrong("the answer's head is too large")
        name = name.lower()
        if name == b"content-encoding" and compressed(value):
            raise _Wrong(f"the answer is compressed ({value.decode('latin-1')}), which nobody asked for")
        self._headers.append((name, value))

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


class _Wrong(Exception):
    """What an upstream does that no parser minds."""


def _resolve(future: asyncio.Future[Reply], outcome: Reply | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
