"""One gateway for all tests here that ask for it, with nothing in it of the test before."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from relay.house import House, Way, chat_answer, opened
from standins.raw_vendor import RawVendor, whole


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def standing_house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with opened(tmp_path_factory.mktemp("house")) as house:
        yield house


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "never_straight(why): no call of this story goes straight")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of a module that has `BOTH_WAYS = True` see their calls led the long way, and again straight."""
    if getattr(metafunc.module, "BOTH_WAYS", False) and "way" in metafunc.fixturenames:
        never = any(metafunc.definition.iter_markers("never_straight"))
        metafunc.parametrize("way", ["long"] if never else ["long", "straight"], indirect=True)


@pytest.fixture
def way(request: pytest.FixtureRequest) -> Way:
    """How the house leads calls."""
    found: Way = getattr(request, "param", "as it comes")
    return found


@pytest_asyncio.fixture(loop_scope="session")
async def house(standing_house: House, way: Way, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    """The house without channels. Tests that ask for it run in the session's event loop."""
    standing_house.way = way
    await standing_house.clear()
    yield standing_house
    check_way(standing_house, request)


def check_way(house: House, request: pytest.FixtureRequest) -> None:
    """A story that is seen both ways must have gone straight with one call at least where it was to."""
    asked = getattr(request.module, "BOTH_WAYS", False) and not any(request.node.iter_markers("never_straight"))
    assert house.straight or house.way != "straight" or not asked, "no call went straight"


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
