"""A thread of Anthropic's goes on at the channel that holds it, for the account that began it; who keeps none says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from genway.routing.channels import Channel, add_channel, get_channel, remove_channel
from genway.vault import open_vault
from relay.kept_stage import ANN, BOB, CLAUDE, MODEL, TEST, Answer, Gateway, gateway
from standins.anthropic_vendor import KEY, THREADS, AnthropicVendor

CREATE = {"type": "create"}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with gateway(tmp_path) as made:
        yield made


async def say(place: Gateway, text: str, thread: Any, key: str = ANN, **more: Any) -> Answer:
    body = {"model": CLAUDE, "max_tokens": 100, "messages": [{"role": "user", "content": text}], "thread": thread} | more
    return await place.ask("POST", "/v1/messages", body, key, anthropic_beta=THREADS, anthropic_version="2023-06-01")


def onward(name: str) -> dict[str, str]:
    return {"type": "continue", "previous_message_id": name}


def details(answer: Answer) -> Any:
    assert answer.json["type"] == "error"
    return answer.json["error"].get("details")


async def with_a_better_channel(place: Gateway, vendor: AnthropicVendor) -> None:
    """From now on another vendor of the same models is asked first."""
    channel = Channel(id="", name="better", provider="anthropic", base_url=f"{vendor.url}/v1", priority=9)
    vault = open_vault(place.config)
    place.database.write_now(lambda connection: add_channel(connection, vault, channel, KEY, place.now))
    await place.application.relay.board.refresh()


async def test_a_thread_goes_on_where_it_was_begun_although_another_channel_is_preferred_by_now(place: Gateway) -> None:
    begun = await say(place, "one", CREATE)
    assert begun.headers["x-genway-channel"] == "claude"
    async with AnthropicVendor() as vendor:
        await with_a_better_channel(place, vendor)
        second = await say(place, "two", onward(begun.json["id"]))
        third = await say(place, "three", onward(second.json["id"]))
        fresh = await say(place, "four", CREATE)
    assert [answer.headers["x-genway-channel"] for answer in (second, third, fresh)] == ["claude", "claude", "better"]
    assert third.json["usage"]["input_tokens"] > fresh.json["usage"]["input_tokens"], "it was read whole"


async def test_a_streamed_message_is_on_record_before_its_first_event_is_seen(place: Gateway) -> None:
    streamed = await say(place, "one", CREATE, stream=True)
    [row] = place.objects("threads")
    first = next(line for line in streamed.body.split(b"\n") if line.startswith(b"data: "))
    assert msgspec.json.decode(first.removeprefix(b"data: "))["message"]["id"] == row.id
    assert (await say(place, "two", onward(row.id))).status == 200


async def test_a_foreign_thread_and_an_unknown_one_are_not_there_and_the_vendor_is_not_asked(place: Gateway) -> None:
    begun = await say(place, "one", CREATE)
    for answer in (
        await say(place, "two", onward(begun.json["id"]), BOB),
        await say(place, "two", onward("msg_nobody")),
    ):
        assert (answer.status, answer.json["error"]["type"]) == (404, "not_found_error")
        assert details(answer) == {"error_code": "thread_not_found"}
    assert len(place.anthropic.requests) == 1


@pytest.mark.parametrize(("key", "model"), [(ANN, MODEL), (TEST, CLAUDE)])
async def test_who_keeps_no_threads_says_so_and_nothing_is_charged(place: Gateway, key: str, model: str) -> None:
    answer = await say(place, "one", CREATE, key, model=model)
    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")
    assert details(answer) == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert (place.calls(), place.openai.requests) == ([], [])


async def test_a_message_without_a_thread_is_not_recorded(place: Gateway) -> None:
    body = {"model": CLAUDE, "max_tokens": 100, "messages": [{"role": "user", "content": "one"}]}
    assert (await place.ask("POST", "/v1/messages", body, anthropic_version="2023-06-01")).status == 200
    assert place.objects() == []


async def test_a_thread_whose_channel_is_gone_is_begun_anew(place: Gateway) -> None:
    begun = await say(place, "one", CREATE)
    place.database.write_now(lambda connection: remove_channel(connection, get_channel(connection, "claude").id))
    async with AnthropicVendor() as vendor:
        await with_a_better_channel(place, vendor)
        assert details(await say(place, "two", onward(begun.json["id"]))) == {"error_code": "thread_not_found"}


async def test_a_member_of_that_name_in_another_format_is_nothing_to_us(place: Gateway) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "one"}], "thread": "mine"}
    answer = await place.ask("POST", "/v1/chat/completions", body)
    assert place.openai.requests[0].raw == msgspec.json.encode(body)
    assert "thread_" not in answer.body.decode()
