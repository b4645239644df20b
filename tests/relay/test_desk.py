"""Questions beside the calls: how they may be asked."""

from __future__ import annotations

import pytest

from relay.house import SECRET, House
from standins.raw_vendor import RawVendor

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-5", "/v1/files", "/v1/files/file-of-nobody", "/healthz"])
async def test_whoever_asks_for_the_head_alone_gets_that_of_the_answer(house: House, vendor: RawVendor, path: str) -> None:
    await house.channel("only", vendor.url)
    headers = {"authorization": f"Bearer {SECRET}"}
    async with house.http.get(f"{house.url}{path}", headers=headers) as answer:
        status, size = answer.status, len(await answer.read())
    async with house.http.head(f"{house.url}{path}", headers=headers) as answer:
        assert (answer.status, int(answer.headers["content-length"])) == (status, size)
        assert await answer.read() == b""
