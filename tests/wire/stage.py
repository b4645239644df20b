"""Both ends of a wire as plain sockets, so that every byte is the test's own."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import msgspec

from genway.wire.exchange import Exchange
from genway.wire.pool import Pool
from genway.wire.server import Server
from genway.wire.upstream import Reply

DEADLINE = 10.0
GET = b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n"
MEBIBYTE = 1024 * 1024
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
Serve = Callable[..., Awaitable[tuple[Server, int]]]
Connect = Callable[..., Awaitable["Client"]]
UpstreamStarted = Callable[..., Awaitable["Upstream"]]


class Answer(msgspec.Struct):
    """headers: by name in lower case; of several of one name the last. chunks: as they were framed."""

    status: int
    headers: dict[str, str]
    body: bytes
    head: bytes = b""


class Client:
    """A client of whom nothing is expected: it sends bytes, and reads answers or bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, host: str, port: int, *, receive_buffer: int = 0) -> Self:
        """receive_buffer: how many bytes its side of the network takes before anybody reads; 0 leaves that to the system."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        plug = socket.socket(family, socket.SOCK_STREAM)
        plug.setblocking(False)
        if receive_buffer:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(plug, (host, port))
        return cls(*await asyncio.open_connection(sock=plug, limit=receive_buffer or 2**20))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(DEADLINE):
            await self.writer.drain()

    async def ask(self, data: bytes) -> Answer:
        """Send bytes and read one answer."""
        await self.send(data)
        return await self.answer()

    async def answer(self, method: str = "GET") -> Answer:
        """The next answer, whichever way it is framed. Raises IncompleteReadError where there is none."""
        async with asyncio.timeout(DEADLINE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status_line, *lines = head[:-4].decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            status = int(status_line.split(" ")[1])
            if status < 200 or status in {204, 304} or method == "HEAD":
                body = b""
            elif "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                body = await self._chunks()
            else:
                body = await self.reader.read()
            return Answer(status, headers, body, head)

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        assert await self.reader.readexactly(2) == b"\r\n"
        return body

    async def rest(self) -> bytes:
        """Everything until the other side closes. Raises ConnectionResetError where it breaks off."""
        async with asyncio.timeout(DEADLINE):
            return await self.reader.read()

    async def closed(self) -> bool:
        """Whether the other side has closed, or broken off, and sent nothing more."""
        try:
            return await self.rest() == b""
        except ConnectionResetError:
            return True

    def abort(self) -> None:
        self.writer.transport.abort()


def sweep(server: Server, after: float) -> None:
    """As if so many seconds had passed."""
    for connection in list(server.connections):
        connection.sweep(time.monotonic() + after)


async def until(found: Callable[[], object]) -> None:
    """Return when `found`, which callbacks of the event loop bring about."""
    async with asyncio.timeout(DEADLINE):
        while not found():
            await asyncio.sleep(0.001)


async def tell(exchange: Exchange) -> None:
    """Answer with what was asked: `METHOD path?query body`."""
    body = b""
    while part := await exchange.read():
        body += part
    said = b"%b %b?%b %b" % (exchange.method.encode(), exchange.path.encode(), exchange.query, body)
    exchange.whole(200, b"content-type: text/plain\r\n", said)


class Link:
    """One connection to an `Upstream`, from its side. number: the how-manyth it is."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """The next request's head. Raises IncompleteReadError when there is none."""
        async with asyncio.timeout(DEADLINE):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def take(self, size: int) -> bytes:
        async with asyncio.timeout(DEADLINE):
            return await self.reader.readexactly(size)

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(DEADLINE):
            await self.writer.drain()

    async def gone(self) -> None:
        """Return when the other side has closed."""
        try:
            async with asyncio.timeout(DEADLINE):
                await self.reader.read()
        except ConnectionResetError:
            pass

    def reset(self) -> None:
        self.writer.transport.abort()


Act = Callable[[Link], Awaitable[Any]]


class Upstream:
    """A server that does with its first connection the first act, and so on; with those beyond, the last."""

    def __init__(self, acts: tuple[Act, ...]) -> None:
        self.url = ""
        self.links: list[Link] = []
        self._acts = acts
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, **options: Any) -> Self:
        self._server = await asyncio.start_server(self._met, "127.0.0.1", 0, **options)
        scheme = "https" if "ssl" in options else "http"
        host = "localhost" if "ssl" in options else "127.0.0.1"
        self.url = f"{scheme}://{host}:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _met(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(len(self.links), reader, writer)
        self.links.append(link)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._acts[min(link.number, len(self._acts) - 1)](link)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side has gone, which is its right
        finally:
            writer.close()


HEAD = b"POST /v1/x HTTP/1.1\r\nhost: upstream\r\ncontent-length: %d\r\n\r\n"


def request(body: bytes = b"") -> bytes:
    return HEAD % len(body)


def reply(body: bytes = b"ok", *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole answer that says how long it is."""
    said = b"".join(line + b"\r\n" for line in lines)
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, said, len(body), body)


def answering(*answers: bytes) -> Act:
    """One answer after the other, each to one request without a body, and then it waits until the other side leaves."""

    async def act(link: Link) -> None:
        for said in answers:
            await link.head()
            await link.say(said)
        await link.gone()

    return act


async def ask(pool: Pool, url: str, body: bytes | AsyncIterator[bytes] = b"", **options: object) -> Reply:
    origin = pool.origin(url)
    head = request(body) if isinstance(body, bytes) else b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"
    return await pool.send(origin, head, body, **options)  # type: ignore[arg-type]


async def said(pool: Pool, url: str, body: bytes = b"", *, whole: bool = True) -> bytes:
    answer = await ask(pool, url, body, whole=whole)
    return await answer.body(64 * MEBIBYTE)
