"""What an upstream says went wrong, in the middle of a stream that had begun well."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from genway.billing.prices import Price, set_price
from genway.relay.errors import told_in
from relay.house import CHAT, DONE, MESSAGES, House, chat_events, data, message_events
from standins.raw_vendor import RawVendor, pieces

pytestmark = pytest.mark.asyncio(loop_scope="session")

RESPONSES = "/v1/responses"
MODEL = "talker"
CHAT_ERROR = data({"error": {"message": "Overloaded", "type": "server_error", "code": None, "param": None}})
MESSAGE_ERROR = data({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error")
RESPONSE_ERROR = data(
    {"type": "error", "code": "server_error", "message": "Overloaded", "param": None, "sequence_number": 2}, "error"
)
WAYS = pytest.mark.parametrize(("across", "way"), [(False, "long"), (False, "straight"), (True, "long")], indirect=["way"])
BOTH = pytest.mark.parametrize("way", ["long", "straight"], indirect=True)
WORDS = 'A sentence with the word "error" in it, and even {"error":{"message":"no"}}.'


def response(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "model": MODEL, "status": status, "output": [], "error": None, **more}


def response_events(*last: bytes) -> list[bytes]:
    delta: dict[str, Any] = {
        "type": "response.output_text.delta",
        "item_id": "i",
        "output_index": 0,
        "content_index": 0,
        "delta": "Hello you",
    }
    created = {"type": "response.created", "response": response("in_progress")}
    return [data(created, "response.created"), data(delta, delta["type"]), *last]


async def ask(house: House, path: str) -> Any:
    said = {"input": "Hi", "store": False} if path == RESPONSES else {"messages": [{"role": "user", "content": "Hi"}]}
    return await house.post(path, {"model": MODEL, "max_tokens": 50, "stream": True, **said})


async def dearer(house: House) -> None:
    """A price by the token instead of one for the call, so that what was produced shows."""
    house.write(lambda connection: set_price(connection, Price(MODEL, "output_mtok", 1_000_000), house.now))
    await house.relay._refresh()


@WAYS
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_an_error_event_is_a_break_and_what_came_before_it_is_charged(
    house: House, vendor: RawVendor, path: str, across: bool, way: str
) -> None:
    await dearer(house)
    there = (path == MESSAGES) != across
    seat = await house.channel("it", vendor.url, "anthropic" if there else "openai", models={MODEL: MODEL})
    said, error = (message_events, MESSAGE_ERROR) if there else (chat_events, CHAT_ERROR)
    vendor.answer = pieces([*said("Hello you")[:3], error])
    told = await ask(house, path)
    assert b"Hello you" in told.body
    assert told.body.count(b"Overloaded") == 1
    assert b"[DONE]" not in told.body
    assert b"message_stop" not in told.body
    (row,) = house.recorded()
    assert (row.outcome, row.estimated) == ("broken_off", True)
    assert row.output_tokens > 0
    assert row.cost == row.input_tokens + row.output_tokens
    (health,) = seat.healths.values()
    assert health.breaks == 1


@BOTH
async def test_an_error_event_of_a_response_is_a_break(house: House, vendor: RawVendor, way: str) -> None:
    await dearer(house)
    seat = await house.channel("it", vendor.url, models={MODEL: MODEL})
    vendor.answer = pieces(response_events(RESPONSE_ERROR))
    told = await ask(house, RESPONSES)
    assert told.body.endswith(RESPONSE_ERROR)
    (row,) = house.recorded()
    assert (row.outcome, row.estimated, row.output_tokens > 0) == ("broken_off", True, True)
    (health,) = seat.healths.values()
    assert health.breaks == 1


@BOTH
async def test_a_response_that_failed_has_come_to_its_end_and_costs_what_it_says(
    house: House, vendor: RawVendor, way: str
) -> None:
    seat = await house.channel("it", vendor.url, models={MODEL: MODEL})
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    failed = response("failed", error={"code": "server_error", "message": "Overloaded"}, usage=usage)
    vendor.answer = pieces(response_events(data({"type": "response.failed", "response": failed}, "response.failed")))
    told = await ask(house, RESPONSES)
    assert b"response.failed" in told.body
    (row,) = house.recorded()
    assert (row.outcome, row.estimated, row.input_tokens, row.output_tokens) == ("done", False, 10, 5)
    assert [health.breaks for health in seat.healths.values()] in ([], [0])


@WAYS
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_neither_an_error_of_null_nor_the_word_in_a_text_is_an_error(
    house: House, vendor: RawVendor, path: str, across: bool, way: str
) -> None:
    there = (path == MESSAGES) != across
    seat = await house.channel("it", vendor.url, "anthropic" if there else "openai", models={MODEL: MODEL})
    events = [event for event in (message_events if there else chat_events)(WORDS) if event != DONE]
    spoken = [event.replace(b"data: {", b'data: {"error":null,') for event in events]
    vendor.answer = pieces([*spoken, *([] if there else [DONE])])
    assert (await ask(house, path)).status == 200
    (row,) = house.recorded()
    assert (row.outcome, row.estimated, row.input_tokens, row.output_tokens) == ("done", False, 10, 5)
    assert [health.breaks for health in seat.healths.values()] in ([], [0])


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"error": {"message": "Overloaded", "type": "server_error"}}, "Overloaded"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "Overloaded"),
        ({"type": "error", "code": "server_error", "message": "Overloaded", "param": None}, "Overloaded"),
        ({"error": "Overloaded"}, "Overloaded"),
        ({"id": "chatcmpl-1", "choices": [], "error": {"message": "Overloaded", "code": 502}}, "Overloaded"),
        ({"error": {"code": 502}}, "an error without words"),
        ({"error": {"message": None}}, "an error without words"),
        ({"error": ""}, "an error without words"),
        ({"type": "error"}, "an error without words"),
        ({"error": None, "choices": []}, ""),
        ({"choices": [{"delta": {"content": WORDS}}]}, ""),
        ({"type": "content_block_delta", "delta": {"type": "text_delta", "text": '"error"'}}, ""),
        ({"type": "response.failed", "response": {"error": {"message": "Overloaded"}}, "error": {"message": "x"}}, ""),
        ({"type": "response.created", "response": {"error": None}}, ""),
        ({"message": "error"}, ""),
        ([], ""),
        ("error", ""),
    ],
)
async def test_what_an_event_says_went_wrong(event: Any, told: str) -> None:
    assert told_in(msgspec.json.encode(event)) == told


@pytest.mark.parametrize("raw", [b"", b"[DONE]", b'{"error":', b'{"error":"\xff"}', b'{"type":7,"error":{"message":"x"}}'])
async def test_what_cannot_be_read_says_nothing(raw: bytes) -> None:
    assert told_in(raw) == ""
