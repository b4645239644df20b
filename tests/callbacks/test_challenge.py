"""A challenge to whoever is behind an address, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, web
from aiohttp.test_utils import TestServer

from callbacks.stage import DEADLINE, LOCAL
from genway.callbacks.challenge import ANSWER_BYTES, echoes
from genway.errors import AddressRefused
from genway.media.address import AddressPolicy, guarded_session


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with guarded_session(LOCAL, timeout=ClientTimeout(total=DEADLINE)) as session:
        yield session


async def asked(session: ClientSession, answer: Callable[[str], web.Response], seconds: float = DEADLINE) -> bool:
    async def receive(request: web.Request) -> web.Response:
        return answer((await request.json())["challenge"])

    application = web.Application()
    application.router.add_post("/", receive)
    async with TestServer(application) as server:
        return await echoes(session, str(server.make_url("/")), seconds=seconds)


async def test_the_same_value_must_come_back(session: ClientSession) -> None:
    assert await asked(session, lambda value: web.json_response({"challenge": value, "more": 1}))


ANSWERS: dict[str, Callable[[str], Any]] = {
    "another value": lambda value: web.json_response({"challenge": value[::-1]}),
    "no value": lambda value: web.json_response({"status": "success"}),
    "a value that is no text": lambda value: web.json_response({"challenge": 7}),
    "no JSON": lambda value: web.Response(text=value),
    "nothing": lambda value: web.Response(),
    "an error": lambda value: web.json_response({"challenge": value}, status=500),
    "a redirect": lambda value: web.json_response({"challenge": value}, status=307, headers={"Location": "/"}),
    "too much": lambda value: web.json_response({"challenge": value, "more": "x" * ANSWER_BYTES}),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_anything_else_is_no_consent(answer: Callable[[str], web.Response], session: ClientSession) -> None:
    assert not await asked(session, answer)


async def test_who_is_late_has_not_answered(session: ClientSession) -> None:
    over = asyncio.Event()

    async def receive(request: web.Request) -> web.Response:
        await asyncio.wait_for(over.wait(), DEADLINE)
        return web.json_response(await request.json())

    application = web.Application()
    application.router.add_post("/", receive)
    async with TestServer(application) as server:
        assert not await echoes(session, str(server.make_url("/")), seconds=0.1)
        over.set()


async def test_who_is_not_there_has_not_answered(session: ClientSession) -> None:
    assert not await echoes(session, "http://127.0.0.1:1/", seconds=DEADLINE)


async def test_a_private_address_is_not_asked() -> None:
    async with guarded_session(AddressPolicy(), timeout=ClientTimeout(total=DEADLINE)) as session:
        with pytest.raises(AddressRefused) as raised:
            await echoes(session, "http://127.0.0.1:1/", seconds=DEADLINE)
    assert raised.value.field == "callback_url"
