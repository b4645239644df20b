from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from genway.wire.pool import Pool
from genway.wire.server import Server
from wire.stage import Client, Connect, Serve, Upstream, UpstreamStarted


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The transports of the two loops differ in what they allow after a close: everything here runs on both."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts servers with a handler, which stop after the test."""
    started: list[Server] = []

    async def start(handle: Callable[..., object], *, host: str = "127.0.0.1", **settings: float) -> tuple[Server, int]:
        server = Server(handle, **settings)  # type: ignore[arg-type]
        started.append(server)
        return server, await server.listen(host, 0)

    yield start
    for server in started:
        await server.close(0)


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens connections, which are closed after the test."""
    opened: list[Client] = []

    async def open_one(port: int, host: str = "127.0.0.1", **options: int) -> Client:
        opened.append(await Client.open(host, port, **options))
        return opened[-1]

    yield open_one
    for client in opened:
        client.abort()


@pytest.fixture
async def upstream() -> AsyncIterator[UpstreamStarted]:
    """Starts servers that do with each connection what they are told, byte for byte."""
    started: list[Upstream] = []

    async def start(*acts: Callable[..., object], **options: object) -> Upstream:
        started.append(Upstream(acts))  # type: ignore[arg-type]
        return await started[-1].start(**options)

    yield start
    for server in started:
        await server.close()


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool()
    yield made
    await made.close()
