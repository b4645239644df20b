"""The server: connections of clients, and the requests on them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, cast
from urllib.parse import unquote_to_bytes

import httptools
import structlog

from genway.wire.exchange import Exchange, Headers

log = structlog.get_logger(__name__)

Handler = Callable[[Exchange], Awaitable[None]]

LARGEST_HEAD = 64 * 1024
MOST_HEADERS = 200
IDLE_SECONDS = 75.0
LINGER_SECONDS = 5.0
SWEEP_SECONDS = 1.0
MOST_PIPELINED = 16
WRITE_BUFFER = 256 * 1024


class Server:
    """Listens, and hands every request to `handle`.

    head_seconds: how long a request's head may take to arrive. idle_seconds: how long a connection may rest between
    requests.
    """

    def __init__(self, handle: Handler, *, head_seconds: float = 30.0, idle_seconds: float = IDLE_SECONDS) -> None:
        self.handle = handle
        self.head_seconds = head_seconds
        self.idle_seconds = idle_seconds
        self.connections: set[Connection] = set()
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
        if self._listening is not None:
            self._listening.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        if self.connections:
            self._emptied.clear()
            try:
                await asyncio.wait_for(self._emptied.wait(), within)
            except TimeoutError:
                log.warning("server.cut_off", connections=len(self.connections))
        for connection in list(self.connections):
            connection.abort()
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
        "_after_upgrade",
        "_current",
        "_deadline",
        "_detached",
        "_expects",
        "_head_size",
        "_headers",
        "_incoming",
        "_lingering",
        "_parser",
        "_reading",
        "_target",
        "_tasks",
        "_transport",
        "_waiting",
        "crowded",
        "http10",
        "local",
        "loop",
        "peer",
        "server",
    )

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.loop = loop
        self.crowded = False
        self.http10 = False
        self.peer: tuple[str, int] | None = None
        self.local: tuple[str, int] | None = None
        self._transport: asyncio.Transport = cast(Any, None)
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: Headers = []
        self._head_size = 0
        self._expects = False
        self._incoming: Exchange | None = None
        self._current: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._reading = True
        self._deadline = 0.0
        self._detached = False
        self._lingering = False
        self._after_upgrade = b""
        self._tasks: set[asyncio.Task[None]] = set()

    # --- what handlers and exchanges use

    @property
    def common(self) -> bytes:
        return self.server.common

    @property
    def stopping(self) -> bool:
        return self.server.stopping

    def send(self, data: bytes) -> None:
        self._transport.write(data)

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

    def close_if_idle(self) -> None:
        if self._current is None and not self._detached:
            self._transport.close()

    def hand_over(self) -> tuple[asyncio.Transport, bytes]:
        self._detached = True
        if self._current is not None:
            self._current.finished = True
        return self._transport, self._after_upgrade

    def answered(self, exchange: Exchange) -> None:
        """The exchange is over; on with the next one."""
        if exchange is not self._current or self._detached:
            return
        self._current = None
        if not exchange.complete and not self._transport.is_closing():
            # Closing now would reset the connection before the client has read the answer: take in what it still sends.
            self._lingering = True
            self._deadline = time.monotonic() + LINGER_SECONDS
            self.resume_reading()
            return
        if not exchange.keep_alive or self.server.stopping:
            self._transport.close()
            return
        if self._waiting:
            self._begin(self._waiting.popleft())
        else:
            self._deadline = time.monotonic() + self.server.idle_seconds
        self.resume_reading()

    def sweep(self, now: float) -> None:
        """Close what rests for too long, or does not come to the end of a head."""
        if self._current is None and not self._detached and now > self._deadline:
            if self._head_size:
                self._refuse(408, b"the request's head did not arrive in time")
            else:
                self._transport.close()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self.peer = _address(transport.get_extra_info("peername"))
        self.local = _address(transport.get_extra_info("sockname"))
        self._deadline = time.monotonic() + self.server.head_seconds
        self.server.connections.add(self)

    def connection_lost(self, problem: Exception | None) -> None:
        self.server.forget(self)
        for exchange in (self._current, *self._waiting):
            if exchange is not None:
                exchange.lost()
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._after_upgrade = data[upgrade.args[0] :]
            if self._incoming is not None:
                self._incoming.ended()
        except httptools.HttpParserError as error:
            self._broken(error)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self.crowded = True
        if self._current is not None:
            self._current.roomy(False)

    def resume_writing(self) -> None:
        self.crowded = False
        if self._current is not None:
            self._current.roomy(True)

    # --- httptools

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers = []
        self._head_size = 1
        self._expects = False
        if self._current is None:
            self._deadline = time.monotonic() + self.server.head_seconds

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects = True
        self._headers.append((name, value))
        self._grow(len(name) + len(value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        path, _, query = self._target.partition(b"?")
        if not path.startswith(b"/"):  # an absolute address, as to a proxy
            path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
        if b"%" in path:
            path = unquote_to_bytes(path)
        method = parser.get_method().decode("ascii")
        exchange = Exchange(self, method, self._target, path.decode("utf-8", "replace"), query, self._headers)
        self.http10 = parser.get_http_version() != "1.1"
        exchange.keep_alive = parser.should_keep_alive()
        exchange.upgrade = parser.should_upgrade()
        if self._expects and not self.http10:
            exchange.expects_continue()
        self._head_size = 0
        self._incoming = exchange
        if self._current is None:
            self._begin(exchange)
        else:
            self._waiting.append(exchange)
            if len(self._waiting) >= MOST_PIPELINED:
                self.pause_reading()

    def on_body(self, body: bytes) -> None:
        if self._incoming is not None:
            self._incoming.arrived(body)

    def on_message_complete(self) -> None:
        if self._lingering:
            self._transport.close()
        if self._incoming is not None:
            self._incoming.ended()

    # --- inside

    def _begin(self, exchange: Exchange) -> None:
        self._current = exchange
        task = self.loop.create_task(self._run(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self.server.handle(exchange)
        except Exception:
            if not exchange.gone:
                log.exception("request.failed", path=exchange.path)
            if exchange.started:
                exchange.abort()
            else:
                exchange.keep_alive = False
                exchange.whole(500, b"content-type: text/plain\r\n", b"something went wrong here")

    def _grow(self, more: int) -> None:
        self._head_size += more
        if self._head_size > LARGEST_HEAD or len(self._headers) > MOST_HEADERS:
            raise _HeadTooLarge

    def _broken(self, error: Exception) -> None:
        if isinstance(error.__context__, _HeadTooLarge):
            self._refuse(431, b"the request's head is too large")
        else:
            self._refuse(400, b"this is not HTTP/1.1")

    def _refuse(self, status: int, why: bytes) -> None:
        """Answer what cannot be read, and close; an answer under way is cut off, as its end could not be told."""
        if self._current is None:
            self.send(
                b"HTTP/1.1 %d %b\r\n%bcontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
                % (status, b"Bad Request", self.common, len(why), why)
            )
            self._transport.close()
        else:
            self._transport.abort()


class _HeadTooLarge(Exception):
    pass


def _address(name: Any) -> tuple[str, int] | None:
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
