"""The pool: connections to those whom calls are sent on to."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import cache
from urllib.parse import urlsplit

from genway.wire.inbox import Inbox
from genway.wire.upstream import BrokenOff, Reply, Stale, Upstream

IDLE_SECONDS = 30.0
SWEEP_SECONDS = 1.0


class Unreachable(Exception):
    """No connection came about: nothing was sent."""


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


class Pool:
    """Connections that are ready, by origin. One pool a process."""

    def __init__(self, *, idle_seconds: float = IDLE_SECONDS, context: ssl.SSLContext | None = None) -> None:
        self.idle_seconds = idle_seconds
        self.inbox = Inbox()
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
        self.inbox.empty()  # bytes that nobody asked for must not pass for an answer
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


@cache
def _default_tls() -> ssl.SSLContext:
    return ssl.create_default_context()
