from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from genway.config import Media
from genway.db import Database
from genway.media.address import AddressPolicy, guarded_session
from genway.media.fetch import Fetcher, fetching_timeout
from genway.media.library import Library
from genway.media.links import LinkSigner
from genway.media.store import Store
from media.stage import DEADLINE, Answer, Names, Server

Serve = Callable[..., Awaitable[Server]]
MakeFetcher = Callable[..., Fetcher]

SECRET = b"a secret of thirty-two bytes ...."


class Clock:
    """A time that only the test moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts servers, each with its answer, on an address of 127/8."""
    started: list[Server] = []

    async def start(answer: Answer, host: str = "127.0.0.1", port: int = 0) -> Server:
        started.append(Server(answer, host))
        return await started[-1].start(port)

    yield start
    for server in started:
        await server.close()


@pytest.fixture
async def make_fetcher() -> AsyncIterator[MakeFetcher]:
    """Makes fetchers that may call what is listed and nothing else that is private."""
    sessions = []

    def make(*allow: str, names: Names | None = None, limits: Media | None = None, **options: float) -> Fetcher:
        policy = AddressPolicy(allow)
        sessions.append(guarded_session(policy, timeout=fetching_timeout(), resolver=names))
        return Fetcher(sessions[-1], policy, limits or Media(fetch_seconds=DEADLINE), **options)

    yield make
    for session in sessions:
        await session.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store((tmp_path / "store").as_uri())


@pytest.fixture
async def library(database: Database, store: Store, make_fetcher: MakeFetcher, tmp_path: Path, clock: Clock) -> Library:
    """A library on the test's database which may fetch from this machine."""
    limits = Media(allow_private=["127.0.0.1"], fetch_seconds=DEADLINE)
    fetcher = make_fetcher("127.0.0.1", limits=limits)
    return Library(database, store, fetcher, LinkSigner(SECRET), limits, tmp_path / "scratch", clock, link_seconds=3600)
