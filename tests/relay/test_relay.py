"""What a call is led by: what is set aside for it, what the upstream is sent, and what counts as an open stream."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from genway.billing.prices import Price, set_price
from relay.forms_stage import CONTENT_TYPE, LISTENING, MEBIBYTE, form
from relay.house import MESSAGES, House, chat_events, data, message_answer, until
from standins.raw_vendor import EVENTS, RawVendor, Taken, chunk, hang_up, head_of, pieces, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "gw_live_with_one_stream"


async def test_a_refused_call_names_no_channel_and_one_that_was_tried_does(house: House, vendor: RawVendor) -> None:
    assert "x-genway-channel" not in (await house.chat("gpt-5", key="gw_live_of_nobody")).headers
    await house.channel("only", vendor.url, models={"a": "a"})
    refused = await house.chat("b")
    assert (refused.status, "x-genway-channel" in refused.headers) == (404, False)
    vendor.answer = hang_up
    failed = await house.chat("a")
    assert (failed.status, failed.channel) == (502, "only")


@pytest.mark.parametrize(("options", "kept"), [({}, True), ({"header.anthropic-version": "2099-01-01"}, False)])
async def test_a_channels_own_version_decides_what_a_translated_request_may_hold(
    house: House, vendor: RawVendor, options: dict[str, str], kept: bool
) -> None:
    """The newest versions take no sampling parameters."""
    await house.channel("claude", vendor.url, "anthropic", models={"m": "claude-sonnet-4-5"}, options=options)
    vendor.answer = whole(message_answer())
    assert (await house.chat("m", temperature=0.5)).status == 200
    (taken,) = vendor.requests
    sent = msgspec.json.decode(taken.body)
    assert ("temperature" in sent) == kept
    assert taken.headers["anthropic-version"] == options.get("header.anthropic-version", "2023-06-01")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_whose_name_is_too_long_upstream_is_called_by_it_all_the_same(
    house: House, vendor: RawVendor, streamed: bool
) -> None:
    await house.channel("gpt", vendor.url, models={"m": "gpt-5.5"})
    name = "mcp__plugin_yt-content-strategist_youtube-analytics__get_video_enhanced_transcript"

    async def call_it(taken: Taken, writer: asyncio.StreamWriter) -> None:
        function = {"name": msgspec.json.decode(taken.body)["tools"][0]["function"]["name"], "arguments": "{}"}
        said = {"role": "assistant", "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}
        choice = {"index": 0, "delta" if streamed else "message": said, "finish_reason": "tool_calls"}
        body = {"id": "chatcmpl-1", "choices": [choice]}
        answer = pieces([data(body), b"data: [DONE]\n\n"]) if streamed else whole(msgspec.json.encode(body))
        await answer(taken, writer)

    vendor.answer = call_it
    tools = [{"name": name, "input_schema": {"type": "object"}}]
    talk = [{"role": "user", "content": "hi"}]
    told = await house.post(MESSAGES, {"model": "m", "max_tokens": 9, "messages": talk, "tools": tools, "stream": streamed})
    assert told.status == 200
    assert f'"name":"{name}"'.encode() in told.body


@pytest.mark.parametrize("n", [-1, -1_000_000, 0])
async def test_a_number_of_answers_below_one_sets_no_less_aside(house: House, vendor: RawVendor, n: int) -> None:
    """Else a call with a price would be let through by an account that has nothing, or give it room to spend."""
    house.write(lambda connection: set_price(connection, Price("painter", "image", 40_000), house.now))
    await house.relay._refresh()
    await house.channel("it", vendor.url, models={"painter": "painter"})
    key = f"gw_live_of_a_poor_painter{n}"
    house.purse(key, 30_000)
    told = await house.post("/v1/images/generations", {"model": "painter", "prompt": "A cat", "n": n}, key)
    assert (told.status, told.json["error"]["code"]) == (429, "insufficient_quota")
    assert vendor.requests == []


def held_events(first: list[bytes], last: bytes, go_on: asyncio.Event) -> Any:
    async def answer(_: Taken, writer: asyncio.StreamWriter) -> None:
        writer.write(head_of(200, EVENTS, {}) + b"".join(map(chunk, first)))
        await go_on.wait()
        writer.write(chunk(last) + b"0\r\n\r\n")

    return answer


async def streams_once_more(house: House, vendor: RawVendor) -> None:
    """The key may open its one stream again."""
    vendor.answer = pieces(chat_events("Hi"))
    assert (await house.chat("a", key=KEY, stream=True)).status == 200


async def test_events_that_were_asked_for_behind_a_large_file_are_an_open_stream_until_their_end(
    house: House, vendor: RawVendor
) -> None:
    await house.channel("it", vendor.url, models={"a": "a"})
    house.key(KEY, concurrent_streams=1)
    go_on = asyncio.Event()
    done = data({"type": "transcript.text.done", "text": "Hello"})
    vendor.answer = held_events([data({"type": "transcript.text.delta", "delta": "Hello"})], done, go_on)
    body = form(("model", "a"), ("file", ("a.wav", bytes(2 * MEBIBYTE))), ("stream", "true"))
    sent = {"authorization": f"Bearer {KEY}", "content-type": CONTENT_TYPE}
    async with house.http.post(f"{house.url}{LISTENING}", data=body, headers=sent) as answer:
        assert answer.status == 200
        assert b"delta" in await answer.content.readuntil(b"\n\n")
        assert (await house.chat("a", key=KEY, stream=True)).status == 429
        go_on.set()
        assert done in await answer.read()
    await until(lambda: not house.relay.flows)
    await streams_once_more(house, vendor)
