"""The server: connections of clients, and the requests on them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote_to_bytes

import httptools
import structlog

from genway.wire.exchange import BODY_BUFFER, STATUS_LINES, Exchange, Headers, lines
from genway.wire.inbox import Inbox

log = structlog.get_logger(__name__)

Handler = Callable[[Exchange], Awaitable[None]]
Taker = Callable[[Exchange], bool]

LARGEST_HEAD = 64 * 1024
MOST_HEADERS = 200
IDLE_SECONDS = 75.0
LINGER_SECONDS = 5.0
LAST_SECONDS = 1.0
STALL_SECONDS = 120.0
SWEEP_SECONDS = 1.0
MOST_PIPELINED = 16
FLOOD = 1024  # requests that came in one piece, and no more are taken
WRITE_BUFFER = 256 * 1024
SHORT_TARGET = 128  # bytes; shorter ones are remembered
TOO_LARGE = b"the request's head is too large"


class Server:
    """Listens, and hands every request to `handle`, in a task of its own.

    take: asked first about a request that is here whole, in the turn of the loop in which it came; where it returns True it has
    taken the request on itself, and no task is made.
    head_seconds: how long a request's head may take to arrive. idle_seconds: how long a connection may rest between
    requests. stall_seconds: how long a client may take nothing of what waits for it.
    """

    def __init__(
        self,
        handle: Handler,
        *,
        take: Taker = lambda exchange: False,
        head_seconds: float = 30.0,
        idle_seconds: float = IDLE_SECONDS,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        self.handle = handle
        self.take = take
        self.head_seconds = head_seconds
        self.idle_seconds = idle_seconds
        self.stall_seconds = stall_seconds
        self.connections: set[Connection] = set()
        self.inbox = Inbox()
        self.tasks: set[asyncio.Task[None]] = set()
        self.stopping = False
        self.common = b""
        self._listening: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._emptied = asyncio.Event()

    async def listen(self, host: str, port: int) -> int:
        """Take connections; several processes may share the port. Returns the port. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._tick()
        shared = hasattr(socket, "SO_REUSEPORT")
        self._listening = await loop.create_server(
            lambda: Connection(self, loop), host, port, backlog=2048, reuse_address=True, reuse_port=shared or None
        )
        self._sweeper = asyncio.create_task(self._sweep(), name="connections")
        return int(self._listening.sockets[0].getsockname()[1])

    async def close(self, within: float) -> None:
        """Take no more, let what is under way finish for so many seconds, then cut it off."""
        self.stopping = True
        self.inbox.empty()
        if self._listening is not None:
            self._listening.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        if self.connections:
            self._emptied.clear()
            try:
                await asyncio.wait_for(self._emptied.wait(), within)
            except TimeoutError:
                if self.connections:
                    log.warning("server.cut_off", connections=len(self.connections))
        for connection in list(self.connections):
            connection.abort()
        if self.tasks:  # those that were cut off have something to put on record yet
            _, stuck = await asyncio.wait(self.tasks, timeout=LAST_SECONDS)
            for task in stuck:
                task.cancel()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._emptied.set()

    def _tick(self) -> None:
        self.common = b"date: %b\r\n" % formatdate(usegmt=True).encode()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self._tick()
            now = time.monotonic()
            for connection in list(self.connections):
                connection.sweep(now)


class Connection(asyncio.Protocol):
    """One connection. Requests that come while one is being answered wait; their answers keep the order."""

    __slots__ = (
        "_again",
        "_aside",
        "_current",
        "_deadline",
        "_deaf",
        "_detached",
        "_expects",
        "_fault",
        "_first",
        "_fresh",
        "_headers",
        "_in_head",
        "_incoming",
        "_left",
        "_lingering",
        "_moved_at",
        "_parser",
        "_piece",
        "_quiet",
        "_reading",
        "_target",
        "_transport",
        "_waiting",
        "crowded",
        "local",
        "loop",
        "peer",
        "send",
        "server",
    )

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.loop = loop
        self.crowded = False
        self.peer: tuple[str, int] | None = None
        self.local: tuple[str, int] | None = None
        self._transport: asyncio.Transport = cast(Any, None)
        self.send: Callable[[bytes], None] = cast(Any, None)
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: Headers = []
        self._in_head = False
        self._expects = False
        self._incoming: Exchange | None = None
        self._fresh: Exchange | None = None  # the current one, as long as nobody works at it
        self._current: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._reading = True
        self._deadline = 0.0
        self._detached = False
        self._lingering = False
        self._deaf = False
        self._again = b""
        self._aside: bytes | None = None
        self._fault: tuple[int, bytes] | None = None
        self._quiet = 0  # bytes since anything was made of them
        self._piece = 0
        self._first = 0  # bytes of the piece in which the head began
        self._left = 0
        self._moved_at = 0.0

    # --- what handlers and exchanges use

    @property
    def stopping(self) -> bool:
        return self.server.stopping

    def pause_reading(self) -> None:
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and len(self._waiting) < MOST_PIPELINED and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def abort(self) -> None:
        self._transport.abort()
        if self._current is not None:
            self._current.lost()  # nothing is written to a transport that is gone

    def close_if_idle(self) -> None:
        if self._current is None and not self._waiting and not self._detached:
            self._close()

    def hand_over(self) -> tuple[asyncio.Transport, bytes]:
        self.server.inbox.empty()
        self._detached = True
        if self._current is not None:
            self._current.finished = True
        self.server.forget(self)
        return self._transport, self._aside or b""

    def answered(self, exchange: Exchange) -> None:
        """The exchange is over; on with the next one."""
        if exchange is not self._current or self._detached:
            return
        self._current = None
        if self._transport.is_closing():
            return
        if not exchange.complete:
            self._linger()
        elif not exchange.keep_alive or self.server.stopping:
            self._close()
        else:
            self._next()

    def sweep(self, now: float) -> None:
        """Close what rests for too long, does not come to the end of a head, or does not take what it asked for."""
        closing = self._transport.is_closing()
        if (self.crowded or closing) and self._stalled(now):
            self._transport.abort()
        elif self._current is None and not self._waiting and not closing and now > self._deadline:
            if self._in_head and not self._lingering:
                self._refuse(408, b"the request's head did not arrive in time")
            else:
                self._close()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.send = self._transport.write
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self.peer = _address(transport.get_extra_info("peername"))
        self.local = _address(transport.get_extra_info("sockname"))
        self._deadline = time.monotonic() + self.server.head_seconds
        self.server.connections.add(self)

    def connection_lost(self, problem: Exception | None) -> None:
        self.server.inbox.empty()
        self.server.forget(self)
        for exchange in (self._current, *self._waiting):
            if exchange is not None:
                exchange.lost()
        self._waiting.clear()
        self._incoming = None
        self._parser = cast(Any, None)  # it knows us as well, and nothing that runs in a circle goes before it is looked for

    def data_received(self, data: bytes) -> None:
        self.server.inbox.put(self, data)

    def take_in(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._aside is not None:
            self._put_aside(data)
            return
        self._piece = len(data)
        self._quiet += self._piece
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self._again:
                again, self._again = self._again, b""
                self._parser = httptools.HttpRequestParser(self)
                self.take_in(again + rest)
            else:
                self._aside = rest
        except httptools.HttpParserError as error:
            self._broken(error)
        else:
            if self._quiet > LARGEST_HEAD:
                self._refuse(431, TOO_LARGE)
        if self._fresh is not None:
            self._hand_on(self._fresh)

    def eof_received(self) -> bool:
        self.server.inbox.empty()
        return False

    def pause_writing(self) -> None:
        self.crowded = True
        self._left, self._moved_at = self._transport.get_write_buffer_size(), time.monotonic()
        if self._current is not None:
            self._current.roomy(False)

    def resume_writing(self) -> None:
        self.crowded = False
        if self._current is not None:
            self._current.roomy(True)
        elif self._waiting:
            self._next()

    # --- httptools

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers = []
        self._in_head = True
        self._quiet = 0
        self._first = self._piece
        self._expects = False
        if self._current is None:
            self._deadline = time.monotonic() + self.server.head_seconds

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._first + self._quiet > LARGEST_HEAD or len(self._headers) > MOST_HEADERS:
            self._measure_head()
        if self._lingering:
            self._incoming = None
            return
        parser = self._parser
        verb = parser.get_method()
        method = "POST" if verb == b"POST" else verb.decode("ascii")
        upgrade = parser.should_upgrade()
        if upgrade and method != "CONNECT" and not (method == "GET" and self._is_websocket()):
            self._again = self._without_upgrade(method)
            return
        target = self._target
        raw_path, path, query = _split_short(target) if len(target) < SHORT_TARGET else _split(target)
        exchange = Exchange(self, method, target, raw_path, path, query, self._headers)
        exchange.http10 = parser.get_http_version() != "1.1"
        exchange.keep_alive = parser.should_keep_alive() and method != "CONNECT"
        exchange.upgrade = upgrade
        if self._expects and not exchange.http10:
            exchange.expects_continue()
        self._headers = []  # what comes after the body in a trailer is no header of the request
        self._in_head = False
        self._quiet = 0
        self._incoming = exchange
        if self._current is None and not self.crowded and not self._waiting:
            self._current = self._fresh = exchange  # it begins when all is taken in that came with it
            return
        self._waiting.append(exchange)
        if len(self._waiting) >= MOST_PIPELINED:
            self.pause_reading()
            if len(self._waiting) > FLOOD:
                raise _Flood

    def on_body(self, body: bytes) -> None:
        self._quiet = 0
        if self._incoming is not None:
            self._incoming.arrived(body)

    def on_message_complete(self) -> None:
        self._in_head = False
        if self._lingering:
            self._close()
        elif self._incoming is not None:
            self._incoming.ended()

    # --- inside

    def _hand_on(self, exchange: Exchange) -> None:
        self._fresh = None
        if not exchange.complete or not self.server.take(exchange):
            self.work(exchange, self.server.handle(exchange))

    def work(self, exchange: Exchange, working: Awaitable[None]) -> None:
        """Make a task of what works at an exchange from now on."""
        task = exchange.task = self.loop.create_task(self._run(exchange, working))
        self.server.tasks.add(task)

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        self.work(exchange, self.server.handle(exchange))

    def _next(self) -> None:
        """On with what has come meanwhile; not as long as the client does not take what it has got already."""
        if self._waiting:
            if not self.crowded:
                self._begin(self._waiting.popleft())
        elif self._fault is not None:
            self._tell_fault()
        else:
            server = self.server
            self._deadline = time.monotonic() + (server.head_seconds if self._in_head else server.idle_seconds)
            if self._aside is not None:  # the upgrade came to nothing
                held, self._aside = self._aside, None
                self.take_in(held)
        self.resume_reading()

    def _is_websocket(self) -> bool:
        """Whether an upgrade is one to a WebSocket. One with a body is not: where the upgrade comes to nothing its body would
        pass for the next request, and who stands in front of us takes that for a part of this one."""
        asks = False
        for name, value in self._headers:
            if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
                return False
            asks = asks or (name == b"upgrade" and value.strip().lower() == b"websocket")
        return asks

    def _without_upgrade(self, method: str) -> bytes:
        """The head as by one who asks for no HTTP/2: what follows such a wish the parser takes for another protocol."""
        kept = lines((name, value) for name, value in self._headers if name != b"upgrade")
        version = self._parser.get_http_version().encode()
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method.encode(), self._target, version, kept)

    def _put_aside(self, data: bytes) -> None:
        """Keep what comes after an upgrade until it is known whom it is for; what comes after a fault is for nobody."""
        if self._deaf:
            return
        self._aside = (self._aside or b"") + data
        if len(self._aside) > BODY_BUFFER:
            self.pause_reading()

    def _linger(self) -> None:
        """Closing now would reset the connection before the client has read the answer: take in what it still sends."""
        self._lingering = True
        self._deadline = time.monotonic() + LINGER_SECONDS
        self._transport.write_eof()
        self.resume_reading()

    def _close(self) -> None:
        self._left, self._moved_at = self._transport.get_write_buffer_size(), time.monotonic()
        self._transport.close()

    def _stalled(self, now: float) -> bool:
        left = self._transport.get_write_buffer_size()
        if left < self._left:
            self._moved_at = now
        self._left = left
        return now - self._moved_at > self.server.stall_seconds

    async def _run(self, exchange: Exchange, working: Awaitable[None]) -> None:
        try:
            await working
        except Exception:
            if not exchange.gone:
                log.exception("request.failed", path=exchange.path)
            if exchange.started:
                exchange.abort()
            else:
                exchange.keep_alive = False
                exchange.whole(500, b"content-type: text/plain\r\n", b"something went wrong here")
        finally:
            self.server.tasks.discard(cast(Any, exchange.task))
            if not exchange.finished and not exchange.gone:
                exchange.abort()

    def _measure_head(self) -> None:
        size = len(self._target) + sum(len(name) + len(value) for name, value in self._headers)
        if size > LARGEST_HEAD or len(self._headers) > MOST_HEADERS:
            raise _HeadTooLarge

    def _broken(self, error: Exception) -> None:
        if isinstance(error.__context__, _HeadTooLarge):
            self._refuse(431, TOO_LARGE)
        elif isinstance(error.__context__, _Flood):
            self._refuse(400, b"too many requests at once")
        else:
            self._refuse(400, f"this is not HTTP/1.1: {error}".encode("latin-1", "replace"))

    def _refuse(self, status: int, why: bytes) -> None:
        """Listen no more; answer what came whole, say what is wrong with the rest, and close."""
        self._deaf, self._aside = True, b""
        self._fault = status, why
        if self._lingering:
            self._close()
            return
        broken = self._incoming
        if broken is not None and not broken.complete:
            if self._fresh is broken:
                self._fresh = self._current = None
            elif self._current is not broken:
                self._waiting.pop()
            elif broken.started:
                self.abort()
                return
            else:
                self._current = None
                broken.lost()
        if self._current is None:
            self._next()

    def _tell_fault(self) -> None:
        status, why = self._fault or (400, b"")
        line = STATUS_LINES[status]
        self.send(
            b"%b%bcontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (line, self.server.common, len(why), why)
        )
        self._linger()


class _HeadTooLarge(Exception):
    pass


class _Flood(Exception):
    pass


def _split(target: bytes) -> tuple[bytes, str, bytes]:
    """A request's target: the path as it came, the path as it is meant, and the query."""
    raw_path, _, query = target.partition(b"?")
    if not raw_path.startswith(b"/"):  # an absolute address, as to a proxy
        raw_path = b"/" + raw_path.partition(b"://")[2].partition(b"/")[2]
    path = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    return raw_path, path.decode("utf-8", "replace"), query


_split_short = lru_cache(maxsize=1024)(_split)


def _address(name: Any) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
