"""What a key may do in a minute and at once, and the headers that tell its holder the truth about it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import aiohttp
import pytest
from limits.aio.storage import MemoryStorage

from relay.house import CHAT, MESSAGES, SECRET, House, chat_answer, chat_events, opened, until
from standins.raw_vendor import EVENTS, RawVendor, Taken, chunk, head_of, pieces, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")
BOTH_WAYS = True

WELL = whole(chat_answer())


def numbers(headers: dict[str, str], what: str) -> tuple[int, int]:
    """Limit and remaining."""
    return int(headers[f"x-ratelimit-limit-{what}"]), int(headers[f"x-ratelimit-remaining-{what}"])


async def test_requests_of_a_minute_are_counted_down_and_then_refused(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    house.key("gw_live_three_a_minute", requests_per_minute=3)
    for left in (2, 1, 0):
        told = await house.chat(key="gw_live_three_a_minute")
        assert (told.status, numbers(told.headers, "requests")) == (200, (3, left))
        assert float(told.headers["x-ratelimit-reset-requests"].removesuffix("s")) == pytest.approx(20 * (3 - left), abs=2)
    refused = await house.chat(key="gw_live_three_a_minute")
    assert (refused.status, refused.json["error"]["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert numbers(refused.headers, "requests") == (3, 0)
    assert len(vendor.requests) == 3
    assert "x-ratelimit-limit-requests" not in (await house.chat()).headers, "a key without limits is told of none"


@pytest.mark.never_straight("it has a house of its own")
async def test_where_several_processes_count_the_limit_is_told_and_not_what_is_left(tmp_path: Path, vendor: RawVendor) -> None:
    async with opened(tmp_path, server={"workers": 2}) as house:
        await house.channel("only", vendor.url)
        house.key("gw_live_one_of_two", requests_per_minute=3, tokens_per_minute=5000)
        told = await house.chat(key="gw_live_one_of_two")
        limits = {name: value for name, value in told.headers.items() if "ratelimit" in name}
        assert limits == {"x-ratelimit-limit-requests": "3", "x-ratelimit-limit-tokens": "5000"}
        told = await house.messages("gpt-5", key="gw_live_one_of_two")
        limits = {name: value for name, value in told.headers.items() if "ratelimit" in name}
        assert limits == {"anthropic-ratelimit-requests-limit": "3", "anthropic-ratelimit-tokens-limit": "5000"}


@pytest.mark.never_straight("translated")
async def test_anthropics_clients_are_told_in_their_own_headers(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    house.key("gw_live_messages_limited", requests_per_minute=2, tokens_per_minute=5000)
    told = await house.messages("gpt-5", key="gw_live_messages_limited")
    assert told.status == 200
    assert told.headers["anthropic-ratelimit-requests-limit"] == "2"
    assert told.headers["anthropic-ratelimit-requests-remaining"] == "1"
    assert told.headers["anthropic-ratelimit-tokens-limit"] == "5000"
    assert int(told.headers["anthropic-ratelimit-tokens-remaining"]) in range(4985, 5001)
    reset = datetime.fromisoformat(told.headers["anthropic-ratelimit-requests-reset"])
    assert 28 < (reset - datetime.now(UTC)).total_seconds() < 32
    await house.messages("gpt-5", key="gw_live_messages_limited")
    refused = await house.messages("gpt-5", key="gw_live_messages_limited")
    assert (refused.status, refused.json["error"]["type"]) == (429, "rate_limit_error")
    assert int(refused.headers["retry-after"]) >= 1


async def test_tokens_are_set_aside_and_put_right_by_what_was_used(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    house.key("gw_live_tokens_a_minute", tokens_per_minute=2000)
    vendor.answer = pieces(chat_events("Hi"))
    streamed = await house.chat(key="gw_live_tokens_a_minute", stream=True, max_tokens=900)
    most, left = numbers(streamed.headers, "tokens")
    assert most == 2000
    assert 1050 < left < 1300, "at the beginning of a stream all that it may use is gone"
    vendor.answer = WELL
    told = await house.chat(key="gw_live_tokens_a_minute", max_tokens=900)
    assert numbers(told.headers, "tokens")[1] in range(1970, 1986), "15 tokens each, and what has come back since"


async def test_more_tokens_than_are_left_are_refused_and_cost_no_request(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    house.key("gw_live_few_tokens", tokens_per_minute=1500, requests_per_minute=10)
    vendor.answer = whole(chat_answer(prompt_tokens=1000, completion_tokens=400))
    await house.chat(key="gw_live_few_tokens", max_tokens=500)
    refused = await house.chat(key="gw_live_few_tokens", max_tokens=500)
    assert refused.status == 429
    assert "1500 tokens a minute" in refused.json["error"]["message"]
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert numbers(refused.headers, "requests") == (10, 9)
    assert len(vendor.requests) == 1


async def test_a_call_that_comes_to_nothing_gives_its_tokens_back(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    house.key("gw_live_gives_back", tokens_per_minute=3000)
    vendor.answer = whole(b'{"error": {"message": "wrong"}}', 400)
    for _ in range(6):
        assert (await house.chat(key="gw_live_gives_back", max_tokens=1000)).status == 400
    house.purse("gw_live_poor_and_limited", 0, tokens_per_minute=3000)
    for _ in range(6):
        refused = await house.chat(key="gw_live_poor_and_limited", max_tokens=1000)
        assert refused.json["error"]["code"] == "insufficient_quota", "and not a rate limit"
    vendor.answer = WELL
    assert numbers((await house.chat(key="gw_live_gives_back")).headers, "tokens")[1] in range(2985, 3001)


async def held_stream(_: Taken, writer: asyncio.StreamWriter) -> None:
    writer.write(head_of(200, EVENTS, {}) + chunk(chat_events("Hi")[0]))
    await asyncio.Event().wait()


async def test_streams_at_once(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    key_id = house.key("gw_live_two_streams", concurrent_streams=2, requests_per_minute=4)
    vendor.answer = held_stream
    headers = {"authorization": "Bearer gw_live_two_streams"}
    body = {"model": "gpt-5", "messages": [], "stream": True}
    async with aiohttp.ClientSession() as client:
        streams = [await client.post(f"{house.url}{CHAT}", json=body, headers=headers) for _ in range(2)]
        refused = await house.chat(key="gw_live_two_streams", stream=True)
        assert (refused.status, "2 streams at once" in refused.json["error"]["message"]) == (429, True)
        vendor.answer = WELL
        assert (await house.chat(key="gw_live_two_streams")).status == 200, "what is no stream is not counted as one"
        streams[0].close()
        await until(lambda: house.relay.callers._by_key[key_id].streams == 1)
        vendor.answer = pieces(chat_events("Hi"))
        assert (await house.chat(key="gw_live_two_streams", stream=True)).status == 200


@pytest.mark.never_straight("a refusal takes words")
async def test_a_refused_stream_frees_no_place_for_another(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    house.key("gw_live_one_stream", concurrent_streams=1, requests_per_minute=1)
    vendor.answer = held_stream
    headers = {"authorization": "Bearer gw_live_one_stream"}
    async with aiohttp.ClientSession() as client:
        await client.post(f"{house.url}{CHAT}", json={"model": "gpt-5", "messages": [], "stream": True}, headers=headers)
        for _ in range(3):
            refused = await house.chat(key="gw_live_one_stream", stream=True)
            assert "streams at once" in refused.json["error"]["message"]
            assert "requests a minute" in (await house.chat(key="gw_live_one_stream")).json["error"]["message"]


async def test_what_is_submitted_and_what_is_relayed_share_one_count(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    house.key("gw_live_shared_count", requests_per_minute=4)
    headers = {"Authorization": "Bearer gw_live_shared_count"}
    for _ in range(2):
        async with house.http.get(f"{house.url}/v1/videos/task_of_nobody", headers=headers) as answer:
            assert answer.status == 404
    told = await house.chat(key="gw_live_shared_count")
    assert numbers(told.headers, "requests") == (4, 1)
    await house.chat(key="gw_live_shared_count")
    async with house.http.get(f"{house.url}/v1/videos/task_of_nobody", headers=headers) as answer:
        assert answer.status == 429


class Elsewhere(MemoryStorage):
    """Counts outside the process, as far as the gateway can tell."""

    STORAGE_SCHEME: ClassVar[list[str]] = ["async+elsewhere"]  # type: ignore[misc]


async def test_a_count_that_is_kept_elsewhere_is_asked_for_every_call(tmp_path: Path, vendor: RawVendor) -> None:
    async with opened(tmp_path, limits={"store": "async+elsewhere://"}) as house:
        await house.channel("only", vendor.url)
        house.key("gw_live_counted_elsewhere", requests_per_minute=2)
        statuses = [(await house.chat(key="gw_live_counted_elsewhere")).status for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert (await house.chat()).status == 200


@pytest.mark.parametrize(("path", "kind"), [(CHAT, "invalid_request_error"), (MESSAGES, "request_too_large")])
async def test_the_largest_body_is_told_of_in_the_format(tmp_path: Path, vendor: RawVendor, path: str, kind: str) -> None:
    async with opened(tmp_path, server={"max_body_bytes": 2000}) as house:
        await house.channel("only", vendor.url)
        body = b'{"model": "gpt-5", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}], "x": "%b"}'
        assert (await house.post(path, body % b"")).status == 200

        async def slowly(size: int):  # type: ignore[no-untyped-def]
            yield body[:20]
            yield body[20:] % (b"y" * size)

        for data in (body % (b"y" * 2000), body % (b"y" * 900_000), slowly(2000)):
            headers = {"authorization": f"Bearer {SECRET}", "content-type": "application/json"}
            async with house.http.post(f"{house.url}{path}", data=data, headers=headers) as answer:
                told = await answer.json()
                assert (answer.status, told["error"]["type"]) == (413, kind)
                assert "2000 bytes" in told["error"]["message"]
        assert len(vendor.requests) == 1
