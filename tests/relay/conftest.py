"""One gateway for all tests here that ask for it, with nothing in it of the test before."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from relay.house import House, chat_answer, opened
from standins.raw_vendor import RawVendor, whole


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def standing_house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with opened(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="session")
async def house(standing_house: House) -> House:
    """The house without channels. Tests that ask for it run in the session's event loop."""
    await standing_house.clear()
    return standing_house


@pytest_asyncio.fixture(loop_scope="session")
async def vendor() -> AsyncIterator[RawVendor]:
    """A vendor that answers chats."""
    async with RawVendor(whole(chat_answer())) as vendor:
        yield vendor


@pytest_asyncio.fixture(loop_scope="session")
async def another() -> AsyncIterator[RawVendor]:
    """And a second one."""
    async with RawVendor(whole(chat_answer())) as vendor:
        yield vendor
