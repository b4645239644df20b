"""Servers that answer as badly as a test asks for, name look-ups that lie, and files that are not what they seem."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp.abc import AbstractResolver, ResolveResult

DEADLINE = 20.0

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A bare TCP server on `host`. Each request's head is noted; `answer` writes whatever it likes."""

    def __init__(self, answer: Answer, host: str = "127.0.0.1") -> None:
        self.host = host
        self.requests: list[str] = []
        self.gone = asyncio.Event()
        self._answer = answer
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> Server:
        self._server = await asyncio.start_server(self._serve, self.host, port)
        return self

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"

    def url(self, path: str = "/") -> str:
        return f"http://{self.authority}{path}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.requests.append(head)
            await self._answer(head.split(" ", 2)[1], writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.gone.set()


def whole(body: bytes, status: str = "200 OK", **headers: str) -> Answer:
    """An ordinary answer."""

    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        lines = {"Content-Length": str(len(body)), "Connection": "close"} | {k.replace("_", "-"): v for k, v in headers.items()}
        writer.write(_head(status, lines) + body)
        await writer.drain()

    return answer


def redirect(to: str, status: str = "302 Found") -> Answer:
    return whole(b"", status, Location=to)


def endless(begin: bytes) -> Answer:
    """A body, of no announced length, that begins well and goes on until the client hangs up."""

    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(_head("200 OK", {"Connection": "close"}) + begin)
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    return answer


def trickle(begin: bytes) -> Answer:
    """A body that begins well and then never sends another byte, without hanging up."""

    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(_head("200 OK", {"Content-Length": "100000"}) + begin)
        await writer.drain()
        await asyncio.Event().wait()

    return answer


def _head(status: str, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode()


class Names(AbstractResolver):
    """Answers look-ups from a list for each host: the first time with the first entry, and so on; the last one stays."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = {name.replace("__", "."): list(rounds) for name, rounds in answers.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.answers:
            raise OSError(None, "no such name")
        rounds = self.answers[host]
        addresses = rounds.pop(0) if len(rounds) > 1 else rounds[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None: ...


def png(width: int, height: int) -> bytes:
    """A PNG whose header claims this size, over next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")


@contextmanager
def full_disk(at: int) -> Iterator[None]:
    """The operating system refuses to let any file of this process grow beyond `at` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (at, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def left_in(folder: Path) -> list[str]:
    """The files in a folder and the folders in it, by their paths from there; folders that are empty do not count."""
    found = [os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names]
    return sorted(found)
