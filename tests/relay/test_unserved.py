"""What the SDKs can ask for and is not relayed is refused in the client's own format, with what to do instead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from genway.relay.unserved import PLACES
from relay.kept_stage import BOB, TEST, Gateway, gateway


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as made:
        yield made


@pytest.mark.parametrize("path", PLACES)
async def test_what_is_not_served_says_what_to_do_instead(place: Gateway, path: str) -> None:
    below = f"/v1/{path.replace('{rest+}', 'one')}"
    for where in {below, f"{below}/two"}:
        for method, key in (("GET", BOB), ("POST", TEST), ("DELETE", BOB)):
            answer = await place.ask(method, where, key=key)
            assert (answer.status, answer.json["error"]["message"]) == (404, PLACES[path])
            assert answer.json["error"]["code"] == "not_found"
    assert place.openai.requests == place.anthropic.requests == []


async def test_it_says_so_in_the_clients_format_and_to_nobody_without_a_key(place: Gateway) -> None:
    told = await place.ask("GET", "/v1/skills", **{"anthropic-version": "2023-06-01"})
    assert (told.json["type"], told.json["error"]["type"]) == ("error", "not_found_error")
    assert (await place.ask("GET", "/v1/uploads", key="gw_live_of_a_stranger")).status == 401


@pytest.mark.parametrize(("path", "words"), [("chat/completions", "stored chats"), ("responses", "not over a WebSocket")])
async def test_another_method_than_post_is_told_what_there_is(place: Gateway, path: str, words: str) -> None:
    answer = await place.ask("GET", f"/v1/{path}")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert words in answer.json["error"]["message"]
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{place.url}/v1/{path}", headers={"Authorization": f"Bearer {BOB}"})
    assert refused.value.status == 405
