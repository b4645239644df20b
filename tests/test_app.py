"""A server that goes on although a part of it fails for a while."""

from __future__ import annotations

from pathlib import Path

import pytest

from genway import app
from genway.db import Database
from relay.house import opened, until


async def test_while_the_database_cannot_be_read_calls_are_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Database(f"sqlite:///{tmp_path}/nowhere/x.sqlite3", readers=1)
    async with opened(tmp_path) as house:
        assert (await house.chat("local/chat")).status == 200
        house.forget_callers()
        with monkeypatch.context() as outage:
            outage.setattr(house.app.database, "_read_engine", away._read_engine)
            told = await house.chat("local/chat")
        assert told.status == 503
        assert told.json["error"]["message"] == "the database cannot be read now"
        assert (await house.chat("local/chat")).status == 200
    away.close()


async def test_housekeeping_goes_on_after_it_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "HOUSEKEEPING_SECONDS", 0.001)
    tries = []

    async def expire(now: float | None = None) -> int:
        tries.append(now)
        raise RuntimeError("the object store is not to be understood")

    async with opened(tmp_path) as house:
        monkeypatch.setattr(house.app.library, "expire", expire)
        await until(lambda: len(tries) > 2)
