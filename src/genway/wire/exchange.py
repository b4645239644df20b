"""One request and its answer, on one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genway.wire.server import Connection

Headers = list[tuple[bytes, bytes]]

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus if status.value >= 200
}
BODY_BUFFER = 256 * 1024
NO_BODY = frozenset({204, 304})
COMPRESSIONS = frozenset({b"gzip", b"x-gzip", b"deflate", b"br", b"zstd", b"compress"})


class ClientGone(Exception):
    """The client closed the connection before the exchange was over."""


class Exchange:
    """What a handler gets.

    headers: names in lower case, in the order sent. `read` gives the body piece by piece, and the client is held back
    while nobody reads. The answer is either `whole`, or `start`, any number of `write` and `finish`.
    gone: the client has closed the connection; `on_gone` is called when that happens during the exchange.
    """

    # Class members, and no slots: a member that never changes costs nothing then, and there is one of these for every request.
    keep_alive = True
    http10 = False
    upgrade = False
    started = False
    finished = False
    gone = False
    status = 0
    _open = False  # it has started, and takes pieces of a body
    task: asyncio.Task[None] | None = None
    on_gone: Callable[[], None] | None = None
    on_room: Callable[[bool], None] | None = None
    _size = 0
    _ended = False
    _expects = False
    _chunked = False
    _waiter: asyncio.Future[None] | None = None
    _room: asyncio.Future[None] | None = None
    _over: asyncio.Future[None] | None = None

    def __init__(
        self, connection: Connection, method: str, target: bytes, raw_path: bytes, path: str, query: bytes, headers: Headers
    ) -> None:
        self._connection = connection
        self.method = method
        self.target = target
        self.raw_path = raw_path
        self.path = path
        self.query = query
        self.headers = headers
        self._parts: list[bytes] = []

    # --- the request

    def header(self, name: bytes) -> bytes:
        """The first header of this name (lower case), or nothing."""
        for key, value in self.headers:
            if key == name:
                return value
        return b""

    @property
    def client(self) -> tuple[str, int] | None:
        """The address and port the request came from."""
        return self._connection.peer

    @property
    def server(self) -> tuple[str, int] | None:
        """The address and port it came to."""
        return self._connection.local

    async def read(self) -> bytes:
        """The next piece of the body; nothing at its end. Raises ClientGone."""
        while not self._parts:
            if self._ended:
                return b""
            if self.gone:
                raise ClientGone
            self._continue()
            self._waiter = self._connection.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        if self._size > BODY_BUFFER:
            self._connection.resume_reading()
        self._size = 0
        return data

    @property
    def complete(self) -> bool:
        """Whether all of the body is here."""
        return self._ended

    @property
    def here(self) -> bytes:
        """What is here of the body; it stays."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def take(self) -> bytes:
        """What is here of the body, without waiting."""
        data = self.here
        self._parts.clear()
        if self._size > BODY_BUFFER:  # a client that is not read from is not seen to leave
            self._connection.resume_reading()
        self._size = 0
        return data

    def _continue(self) -> None:
        if self._expects:
            self._expects = False
            if not self.started:
                self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    # --- the answer

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        """Answer at once. headers: lines that end with CRLF, without content-length."""
        if self.gone or self.started:
            return
        self._begin(status)
        if status in NO_BODY:
            length, body = b"", b""
        else:
            length = b"content-length: %d\r\n" % len(body)
            if self.method == "HEAD":
                body = b""
        connection = self._connection
        connection.send(
            b"".join((_status_line(status), connection.server.common, headers, length, self._closing(), b"\r\n", body))
        )
        self._finish()

    def start(self, status: int, headers: bytes, length: int | None = None) -> None:
        """Begin an answer of `length` bytes, or of an unknown length, which goes in chunks."""
        if self.gone or self.started:
            return
        self._begin(status)
        self._open = self.method != "HEAD" and status not in NO_BODY
        if status in NO_BODY:
            framing = b""
        elif length is not None:
            framing = b"content-length: %d\r\n" % length
        elif self.http10:
            framing = b""
            self.keep_alive = False
        else:
            framing = b"transfer-encoding: chunked\r\n"
            self._chunked = self.method != "HEAD"
        self._connection.send(
            b"".join((_status_line(status), self._connection.server.common, headers, framing, self._closing(), b"\r\n"))
        )

    def write(self, data: bytes) -> None:
        """Send a piece of the answer. Nothing happens where the client is gone."""
        if not data or not self._open:
            return
        self._connection.send(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def finish(self, last: bytes = b"") -> None:
        """End the answer, with a last piece. One that never began is broken off."""
        if self.gone or self.finished:
            return
        if not self.started:
            self.abort()
            return
        if self._chunked:
            self._connection.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last) if last else b"0\r\n\r\n")
        elif last:
            self.write(last)
        self._finish()

    def abort(self) -> None:
        """Break the connection off, so that the client notices that the answer is not whole."""
        if not self.finished:
            self.finished = True
            self._open = False
            self._connection.abort()

    @property
    def crowded(self) -> bool:
        """Whether more is waiting to be sent than the client takes."""
        return self._connection.crowded

    async def drain(self) -> None:
        """Wait until the client has taken enough. Raises ClientGone."""
        while self._connection.crowded and not self.gone:
            self._room = self._connection.loop.create_future()
            try:
                await self._room
            finally:
                self._room = None
        if self.gone:
            raise ClientGone

    async def over(self) -> None:
        """Wait until the client is gone or the answer is sent."""
        if not self.gone and not self.finished:
            self._over = self._over or self._connection.loop.create_future()
            await asyncio.shield(self._over)

    def work(self, working: Awaitable[None]) -> None:
        """Make a task of what works at this from now on; `task` is that."""
        self._connection.work(self, working)

    def hijack(self) -> tuple[asyncio.Transport, bytes]:
        """Take the connection over after an upgrade: its transport, and what has come after the request."""
        return self._connection.hand_over()

    @property
    def stopping(self) -> bool:
        """Whether the server stops: what has no end of its own should come to one."""
        return self._connection.stopping

    def _closing(self) -> bytes:
        if not self.keep_alive or self._connection.server.stopping:
            return b"connection: close\r\n"
        return b"connection: keep-alive\r\n" if self.http10 else b""

    def _begin(self, status: int) -> None:
        self.started = True
        self.status = status
        if not self._ended:  # what is left of the body cannot be told from a next request
            self.keep_alive = False

    def _finish(self) -> None:
        self.finished = True
        self._open = False
        _wake(self._over)
        self._connection.answered(self)

    # --- told by the connection

    def arrived(self, data: bytes) -> None:
        if self.finished:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > BODY_BUFFER:
            self._connection.pause_reading()
        _wake(self._waiter)

    def ended(self) -> None:
        self._ended = True
        _wake(self._waiter)

    def expects_continue(self) -> None:
        self._expects = True

    def roomy(self, room: bool) -> None:
        if self.on_room is not None:
            self.on_room(room)
        if room:
            _wake(self._room)

    def lost(self) -> None:
        if self.gone:
            return
        self.gone = True
        self._open = False
        for waiter in (self._waiter, self._room, self._over):
            _wake(waiter)
        if self.on_gone is not None and not self.finished:
            self.on_gone()


def compressed(coding: bytes) -> bool:
    """Whether a body of this Content-Encoding is compressed; some say `utf-8` there, or `none`."""
    return any(each.strip().lower() in COMPRESSIONS for each in coding.split(b","))


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they go over the wire; a line break inside one is taken out."""
    return b"".join([b"%b: %b\r\n" % (name, value.replace(b"\r", b" ").replace(b"\n", b" ")) for name, value in headers])


def _status_line(status: int) -> bytes:
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d Unknown\r\n" % status
