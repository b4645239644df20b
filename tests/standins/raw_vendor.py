"""A vendor without a will of its own: it takes any request, keeps its bytes, and writes exactly the bytes that a test wants.

`async with RawVendor() as vendor: vendor.answer = whole(b"{}")`. The strict stand-ins are beside this one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Self

import msgspec

JSON = "application/json"
EVENTS = "text/event-stream"


class Taken(msgspec.Struct, frozen=True):
    """A request as it came. target: path and query. headers: names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Taken, asyncio.StreamWriter], Awaitable[None]]


class RawVendor:
    """answer: writes the answer to each request. requests: all that came. open: how many connections there are now."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.url = ""
        self.answer: Answer = answer or whole(b"{}")
        self.requests: list[Taken] = []
        self.open = 0
        self.left = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=64 * 1024 * 1024)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while True:
                taken = await _read(reader)
                self.requests.append(taken)
                answering = asyncio.ensure_future(self.answer(taken, writer))
                gone = asyncio.ensure_future(reader.read(1))
                await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not answering.done():
                    answering.cancel()
                    return
                gone.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await gone
                await answering
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            self.left.set()
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Taken:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Taken(method, target, headers, body)


def head_of(status: int, content_type: str, headers: dict[str, str], length: int | None = None) -> bytes:
    """The lines before a body: of `length` bytes, or in chunks."""
    framing = {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase if status < 512 else 'Other'}"]
    lines += [f"{name}: {value}" for name, value in ({"content-type": content_type} | framing | headers).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def whole(body: bytes, status: int = 200, content_type: str = JSON, **headers: str) -> Answer:
    """Answer with this. Underscores of names stand for hyphens."""
    sent = head_of(status, content_type, {name.replace("_", "-"): value for name, value in headers.items()}, len(body)) + body

    async def answer(_: Taken, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)

    return answer


def pieces(parts: Iterable[bytes], content_type: str = EVENTS, *, end: bool = True) -> Answer:
    """Answer with these pieces, each in a chunk of its own. end: False breaks the connection off after them."""
    sent = head_of(200, content_type, {}) + b"".join(chunk(part) for part in parts if part)

    async def answer(_: Taken, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        if end:
            writer.write(b"0\r\n\r\n")
        else:
            await writer.drain()
            writer.transport.abort()

    return answer


def in_turn(*answers: Answer) -> Answer:
    """The first request gets the first of these, and so on; the last goes on for ever."""
    left = list(answers)

    async def answer(taken: Taken, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(taken, writer)

    return answer


async def nothing(_: Taken, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def hang_up(_: Taken, writer: asyncio.StreamWriter) -> None:
    """Close the connection without a word."""
    writer.transport.abort()
