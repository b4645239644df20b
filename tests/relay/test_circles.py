"""What is over leaves nothing behind that only the collector of garbage would find: under load it would pile up."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from relay.house import CHAT, SECRET, House, chat_answer, chat_events, until
from standins.raw_vendor import RawVendor, pieces, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")

TIMES = 10


async def circles(act: Callable[[], Awaitable[Any]], settled: Callable[[], bool]) -> set[str]:
    """The sorts of our own things that are left in circles when this has been done some times."""
    await act()
    gc.collect()
    gc.disable()
    try:
        for _ in range(TIMES):
            await act()
        await until(settled)
        await asyncio.sleep(0)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return {type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith("genway.")}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("translated", [False, True])
async def test_calls_leave_no_circles(house: House, vendor: RawVendor, streamed: bool, translated: bool) -> None:
    seat = await house.channel("it", vendor.url)
    vendor.answer = pieces(chat_events("Hi")) if streamed else whole(chat_answer())
    ask = house.messages if translated else house.chat

    async def call() -> None:
        assert (await ask("gpt-5", stream=streamed)).status == 200

    assert await circles(call, lambda: seat.busy == 0) == set()


async def test_connections_leave_no_circles(house: House, vendor: RawVendor) -> None:
    await house.channel("it", vendor.url)
    vendor.answer = whole(chat_answer())

    async def call() -> None:
        body = {"model": "gpt-5", "messages": []}
        headers = {"authorization": f"Bearer {SECRET}"}
        async with aiohttp.ClientSession() as client, client.post(house.url + CHAT, json=body, headers=headers) as answer:
            assert answer.status == 200
        for origin in house.app._pool._origins.values():
            while origin.idle:
                origin.idle.pop().abort()

    await house.http.close()
    assert await circles(call, lambda: not house.server.connections and not house.app._pool._all) == set()
    house.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
