from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from genway.db import Database
from stage import Clock, Scripted, Stage


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def stage(database: Database, tmp_path: Path, clock: Clock) -> AsyncIterator[Stage]:
    """A server with a scripted vendor on one channel, `vendor`, and a scripted renderer."""
    Scripted.scripts, Scripted.seen, Scripted.cancelled = {"local": {}}, {}, []
    stage = Stage(database, tmp_path, clock, {}, local=True)
    await stage.build()
    stage.channel("vendor")
    yield stage
    await stage.close()
