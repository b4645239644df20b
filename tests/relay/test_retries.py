"""What happens where a channel does not answer, or says no: another one, another key, a wait, or the client is told."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from relay.house import (
    DONE,
    MESSAGES,
    House,
    Way,
    chat_answer,
    chat_events,
    data,
    message_answer,
    message_events,
    opened,
    until,
)
from standins.raw_vendor import EVENTS, Answer, RawVendor, Taken, chunk, hang_up, head_of, in_turn, nothing, pieces, whole

WELL = whole(chat_answer())
BUSY = {"error": {"message": "Too many requests", "type": "requests", "code": "rate_limit_exceeded"}}


pytestmark = pytest.mark.asyncio(loop_scope="session")
BOTH_WAYS = True


@pytest.fixture
def bad(vendor: RawVendor) -> RawVendor:
    return vendor


@pytest.fixture
def good(another: RawVendor) -> RawVendor:
    return another


@pytest_asyncio.fixture(loop_scope="session")
async def pair(house: House, bad: RawVendor, good: RawVendor) -> House:
    """`bad` is asked first, and `good` after it."""
    await house.channel("bad", bad.url, priority=1)
    await house.channel("good", good.url)
    return house


def refusing(status: int, message: str = "no", code: str = "", **headers: str) -> Answer:
    return whole(msgspec.json.encode({"error": {"message": message, "type": "t", "code": code or None}}), status, **headers)


@pytest.mark.parametrize("status", [302, 408, 429, 500, 502, 503, 504, 529])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_fault_is_tried_again_on_another_channel(
    pair: House, bad: RawVendor, good: RawVendor, status: int, streamed: bool
) -> None:
    bad.answer = refusing(status)
    good.answer = pieces(chat_events("Hi")) if streamed else WELL
    told = await pair.chat(stream=streamed)
    assert (told.status, told.channel, told.headers["x-genway-attempts"]) == (200, "good", "2")
    assert bad.requests[0].body == good.requests[0].body
    assert pair.waited == [], "there was another channel to ask"
    (row,) = pair.recorded()
    assert (row.attempts, row.outcome) == (2, "done")


@pytest.mark.parametrize("status", [400, 409, 413, 422])
async def test_a_refusal_of_the_request_is_for_the_client(pair: House, bad: RawVendor, good: RawVendor, status: int) -> None:
    body = b'{"error": {"message":"it is you", "param": "x", "more": [1.0]}}'
    bad.answer = whole(body, status)
    told = await pair.chat()
    assert (told.status, told.body, told.channel) == (status, body, "bad")
    assert good.requests == []
    assert pair.recorded() == [], "a refusal costs nothing"


@pytest.mark.parametrize(("said", "told"), [(b" \r\n", ""), (b"who are you?", ": who are you?")])
async def test_a_refusal_in_no_format_is_told_in_the_clients(pair: House, bad: RawVendor, said: bytes, told: str) -> None:
    bad.answer = whole(said, 422)
    answer = await pair.chat()
    assert (answer.status, msgspec.json.decode(answer.body)["error"]["message"]) == (422, f"the upstream answered 422{told}")


UNKNOWN = {"error": {"message": "The model `gpt-5` does not exist", "type": "t", "param": None, "code": "model_not_found"}}
NGINX = b"<html><head><title>404 Not Found</title></head></html>"


@pytest.mark.parametrize("body", [msgspec.json.encode(UNKNOWN), NGINX])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_model_or_a_path_that_a_channel_does_not_have_is_looked_for_in_the_next(
    pair: House, bad: RawVendor, good: RawVendor, body: bytes, streamed: bool
) -> None:
    bad.answer = whole(body, 404)
    good.answer = pieces(chat_events("Hi")) if streamed else WELL
    for _ in range(4):
        told = await pair.chat(stream=streamed)
        assert (told.status, told.channel, told.headers["x-genway-attempts"]) == (200, "good", "2")
    assert len(bad.requests) == 4, "it is well, and asked first as before"


async def test_what_no_channel_has_is_told_in_the_vendors_words(pair: House, bad: RawVendor, good: RawVendor) -> None:
    bad.answer = whole(NGINX, 404, "text/html")
    good.answer = whole(msgspec.json.encode(UNKNOWN), 404)
    for _ in range(4):
        told = await pair.chat()
        assert (told.status, told.channel, told.headers["x-genway-attempts"], told.json) == (404, "good", "2", UNKNOWN)
    assert (pair.waited, pair.recorded()) == ([], [])


async def test_who_is_in_trouble_may_have_what_the_others_have_not(pair: House, bad: RawVendor, good: RawVendor) -> None:
    await pair.channel("last", bad.url, priority=-1)
    bad.answer = whole(msgspec.json.encode(UNKNOWN), 404)
    good.answer = in_turn(refusing(500, "Down."), WELL)
    told = await pair.chat()
    assert (told.status, told.channel, told.headers["x-genway-attempts"]) == (200, "good", "4")
    assert len(bad.requests) == 2, "who has it not is not asked again"
    good.answer = refusing(500, "Down.")
    told = await pair.chat()
    assert (told.status, told.json["error"]["message"]) == (500, "Down.")


KEPT_FROM = [
    (403, "Project `proj_1` does not have access to model `gpt-5`", "model_not_found"),
    (401, "You have insufficient permissions for this operation. Missing scopes: model.request.", ""),
]


@pytest.mark.parametrize(("status", "message", "code"), KEPT_FROM)
async def test_a_key_that_is_kept_from_a_model_is_good_for_the_others(
    house: House, good: RawVendor, status: int, message: str, code: str
) -> None:
    await house.channel("keys", good.url, secret="sk-narrow-secret,sk-broad-secret")

    async def answer(taken: Taken, writer: asyncio.StreamWriter) -> None:
        kept_from = "sk-narrow" in taken.headers["authorization"] and b'"gpt-5"' in taken.body
        await (refusing(status, message, code) if kept_from else WELL)(taken, writer)

    good.answer = answer
    assert [(await house.chat()).status for _ in range(4)] == [200] * 4
    assert {(await house.chat("gpt-4o")).headers["x-genway-attempts"] for _ in range(2)} == {"1"}
    used = [taken.headers["authorization"] for taken in good.requests if b"gpt-4o" in taken.body]
    assert sorted(used) == ["Bearer sk-broad-secret", "Bearer sk-narrow-secret"]


@pytest.mark.parametrize(("status", "message", "code"), KEPT_FROM)
async def test_a_model_that_all_keys_are_kept_from_is_not_there_for_the_client(
    house: House, bad: RawVendor, status: int, message: str, code: str
) -> None:
    await house.channel("only", bad.url)
    bad.answer = refusing(status, message, code)
    told = await house.chat()
    assert (told.status, told.json["error"]["code"]) == (404, "model_not_found")
    assert "gpt-5 for chat" in told.json["error"]["message"]
    assert message.encode() not in told.body
    bad.answer = WELL
    assert (await house.chat()).status == 200


async def test_each_attempt_that_comes_to_nothing_is_told_in_the_log_with_the_calls_id(
    pair: House, bad: RawVendor, capfd: pytest.CaptureFixture[str]
) -> None:
    bad.answer = refusing(503, "Too warm: sk-channel")
    told = await pair.chat()
    written = capfd.readouterr().out
    (line,) = [line for line in written.splitlines() if "call.attempt_failed" in line]
    for part in (told.headers["x-request-id"], "channel=bad", "attempt=1", "verdict=fault", "Too warm: ***"):
        assert part in line
    assert "sk-channel" not in written


@pytest.mark.never_straight("the first channel cannot have a connection ready")
async def test_a_channel_that_hangs_up_or_is_not_there_is_passed_over(house: House, bad: RawVendor, good: RawVendor) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
        await house.channel("nowhere", nowhere, priority=2)
        await house.channel("rude", bad.url, priority=1)
        await house.channel("good", good.url)
        bad.answer = hang_up
        told = await house.chat()
    assert (told.status, told.channel, told.headers["x-genway-attempts"]) == (200, "good", "3")


async def half_a_head(_: Taken, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-le")
    await writer.drain()
    writer.transport.abort()


async def half_a_body(_: Taken, writer: asyncio.StreamWriter) -> None:
    writer.write(head_of(200, "application/json", {}, 1000) + b'{"id":')
    await writer.drain()
    writer.transport.abort()


async def not_http(_: Taken, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")


@pytest.mark.parametrize("answer", [half_a_head, half_a_body, not_http])
async def test_an_answer_that_is_cut_off_or_none_at_all_is_tried_elsewhere(pair: House, bad: RawVendor, answer: Answer) -> None:
    bad.answer = answer
    assert (await pair.chat()).channel == "good"


async def head_alone(_: Taken, writer: asyncio.StreamWriter) -> None:
    writer.write(head_of(200, EVENTS, {}))
    await asyncio.Event().wait()


async def half_an_event(_: Taken, writer: asyncio.StreamWriter) -> None:
    writer.write(head_of(200, EVENTS, {}) + chunk(b'data: {"choi'))
    await asyncio.Event().wait()


async def half_a_refusal(_: Taken, writer: asyncio.StreamWriter) -> None:
    writer.write(head_of(500, "application/json", {}, 100) + b'{"error":')
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("answer", "streamed"),
    [(nothing, False), (nothing, True), (head_alone, True), (half_an_event, True), (half_a_refusal, False)],
)
async def test_silence_before_the_first_byte_is_tried_elsewhere(
    house: House, bad: RawVendor, good: RawVendor, answer: Answer, streamed: bool
) -> None:
    await house.channel("bad", bad.url, priority=1, timeout=0.2)
    await house.channel("good", good.url)
    bad.answer = answer
    good.answer = pieces(chat_events("Hi")) if streamed else WELL
    told = await house.chat(stream=streamed)
    assert (told.status, told.channel, told.headers["x-genway-attempts"]) == (200, "good", "2")
    await until(lambda: bad.open == 0)


@pytest.mark.parametrize("answer", [nothing, head_alone])
async def test_nothing_is_tried_after_the_deadline(tmp_path: Path, way: Way, bad: RawVendor, answer: Answer) -> None:
    async with opened(tmp_path, way, relay={"deadline_seconds": 0.2}) as house:
        await house.channel("slow", bad.url)
        bad.answer = answer
        told = await house.chat(stream=True)
        assert (told.status, told.json["error"]["code"]) == (504, "upstream_timeout")
        assert len(bad.requests) == 1


async def test_a_stream_that_breaks_off_before_its_first_event_is_tried_elsewhere(
    pair: House, bad: RawVendor, good: RawVendor
) -> None:
    bad.answer = pieces([b"data: {"], end=False)
    good.answer = pieces(chat_events("Hi"))
    told = await pair.chat(stream=True)
    assert (told.channel, told.body.endswith(DONE)) == ("good", True)


async def test_what_has_begun_is_never_tried_again(pair: House, bad: RawVendor, good: RawVendor) -> None:
    bad.answer = pieces(chat_events("Hi")[:2], end=False)
    told = await pair.chat(stream=True)
    assert told.channel == "bad"
    assert b"upstream_failed" in told.body
    assert good.requests == []


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({"retry_after": "1"}, 1),
        ({"retry_after": "0.5"}, 0.5),
        ({"retry_after_ms": "300"}, 0.3),
        ({"retry_after": "1", "retry_after_ms": "300"}, 0.3),
        ({"retry_after": "2", "retry_after_ms": "soon"}, 2),
        ({"retry_after_ms": "nan"}, 5),
        ({}, 5),
    ],
)
async def test_a_short_wait_that_a_vendor_asks_for_is_kept(
    house: House, bad: RawVendor, said: dict[str, str], seconds: float
) -> None:
    await house.channel("only", bad.url)
    bad.answer = in_turn(whole(msgspec.json.encode(BUSY), 429, **said), WELL)
    told = await house.chat()
    assert (told.status, told.headers["x-genway-attempts"]) == (200, "2")
    assert house.waited == [pytest.approx(seconds, abs=0.05)]


async def test_a_client_is_told_when_to_try_again_also_where_the_vendor_does_not_say(house: House, bad: RawVendor) -> None:
    await house.channel("only", bad.url)
    bad.answer = refusing(429, "Too many requests")
    told = await house.chat()
    assert (told.status, told.headers["retry-after"], told.headers["x-genway-attempts"]) == (429, "5", "4")


async def test_a_long_wait_is_passed_on_with_the_vendors_own_words(house: House, bad: RawVendor) -> None:
    await house.channel("only", bad.url)
    bad.answer = whole(msgspec.json.encode(BUSY), 429, retry_after="40")
    told = await house.chat()
    assert (told.status, told.headers["retry-after"], told.json["error"]["code"]) == (429, "40", "rate_limit_exceeded")
    assert told.json["error"]["message"] == "Too many requests"
    house.now += 10
    again = await house.chat()
    assert (again.status, again.headers["retry-after"]) == (429, "30"), "known already, so nobody is asked"
    assert len(bad.requests) == 1
    house.now += 31
    bad.answer = WELL
    assert (await house.chat()).status == 200


async def test_the_shortest_wait_of_several_channels_counts(pair: House, bad: RawVendor, good: RawVendor) -> None:
    bad.answer = in_turn(whole(msgspec.json.encode(BUSY), 429, retry_after="2"), WELL)
    good.answer = whole(msgspec.json.encode(BUSY), 429, retry_after="60")
    told = await pair.chat()
    assert (told.status, told.channel, told.headers["x-genway-attempts"]) == (200, "bad", "3")
    assert pair.waited == [pytest.approx(2, abs=0.05)]


async def test_a_call_is_tried_no_more_often_than_set(house: House, bad: RawVendor) -> None:
    for name in "abc":
        await house.channel(name, bad.url)
    bad.answer = refusing(500, "The server had an error")
    told = await house.chat()
    assert (told.status, told.json["error"]["message"]) == (500, "The server had an error")
    assert len(bad.requests) == int(told.headers["x-genway-attempts"]) == house.config.relay.attempts == 4
    assert len(house.waited) == 1


async def test_a_channel_with_many_keys_does_not_use_up_all_tries_when_it_is_down(pair: House, bad: RawVendor) -> None:
    await pair.channel("keys", bad.url, priority=3, secret="sk-1,sk-2,sk-3,sk-4,sk-5")
    bad.answer = refusing(500)
    told = await pair.chat()
    assert (told.channel, told.headers["x-genway-attempts"]) == ("good", "3")


async def test_keys_of_a_channel_take_turns(house: House, good: RawVendor) -> None:
    await house.channel("keys", good.url, secret="sk-1, sk-2\nsk-3")
    for _ in range(6):
        await house.chat()
    used = [taken.headers["authorization"] for taken in good.requests]
    assert sorted(used[:3]) == sorted(used[3:]) == ["Bearer sk-1", "Bearer sk-2", "Bearer sk-3"]


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (401, "Incorrect API key provided", "invalid_api_key"),
        (402, "Payment required", ""),
        (403, "This key may not do that", ""),
        (429, "You exceeded your current quota", "insufficient_quota"),
        (429, "Your account is not active, please check your billing details on our website.", "billing_not_active"),
        (429, "You have used up your credits", "credit_balance_exhausted"),
        (400, "rejected", "insufficient_quota"),
        (400, "Billing hard limit has been reached", "billing_hard_limit_reached"),
    ],
)
async def test_a_key_that_is_refused_is_set_aside_and_never_held_against_the_client(
    house: House, good: RawVendor, capfd: pytest.CaptureFixture[str], status: int, message: str, code: str
) -> None:
    await house.channel("keys", good.url, secret="sk-dead-secret,sk-alive-secret")

    async def answer(taken: Taken, writer: asyncio.StreamWriter) -> None:
        dead = "sk-dead-secret" in taken.headers["authorization"]
        await (refusing(status, f"{message}: sk-dead-secret", code) if dead else WELL)(taken, writer)

    good.answer = answer
    assert [(await house.chat()).status for _ in range(4)] == [200] * 4
    assert sum("dead" in taken.headers["authorization"] for taken in good.requests) == 1
    house.now += 601
    await house.chat()
    await house.chat()
    assert sum("dead" in taken.headers["authorization"] for taken in good.requests) == 2, "it is tried again later"
    written = capfd.readouterr()
    assert "channel.key_set_aside" in written.out + written.err
    assert "sk-dead-secret" not in written.out + written.err


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "invalid_api_key"), (402, ""), (403, ""), (429, "insufficient_quota"), (400, "insufficient_quota")],
)
async def test_where_all_keys_are_refused_the_client_learns_that_it_is_the_operators_affair(
    house: House, bad: RawVendor, status: int, code: str
) -> None:
    await house.channel("only", bad.url)
    bad.answer = refusing(status, "Your account sk-channel is not active", code)
    for told in (await house.chat(), await house.chat()):
        assert told.status == 503
        assert told.json["error"]["type"] == "service_unavailable_error"
        assert told.json["error"]["code"] not in {"insufficient_quota", "invalid_api_key"}
        assert "operator" in told.json["error"]["message"]
        assert b"not active" not in told.body
    assert len(bad.requests) == 1, "a key that is aside is not tried"


async def test_a_refusal_that_repeats_the_clients_words_says_nothing_of_the_channels_account(
    house: House, bad: RawVendor
) -> None:
    await house.channel("only", bad.url)
    bad.answer = refusing(400, "Invalid value: 'insufficient_quota, out of credit'", "invalid_value")
    assert (await house.chat()).status == 400
    bad.answer = WELL
    assert (await house.chat()).status == 200


@pytest.mark.parametrize(
    "message",
    [
        "Your credit balance is too low to access the Anthropic API.",
        "You have reached your specified API usage limits. You will regain access on 2027-01-01 at 00:00 UTC.",
        "This organization has been disabled.",
    ],
)
async def test_what_anthropic_says_of_the_account_is_seen_under_the_status_of_a_wrong_request(
    house: House, bad: RawVendor, message: str
) -> None:
    await house.channel("empty", bad.url, "anthropic", priority=1)
    poor = {"type": "invalid_request_error", "message": message}
    bad.answer = whole(msgspec.json.encode({"type": "error", "error": poor}), 400)
    told = await house.messages()
    assert (told.status, told.json["error"]["type"]) == (503, "overloaded_error")


async def test_a_busy_key_rests_while_the_others_work(house: House, good: RawVendor) -> None:
    await house.channel("keys", good.url, secret="sk-tired,sk-fresh")

    async def answer(taken: Taken, writer: asyncio.StreamWriter) -> None:
        tired = "tired" in taken.headers["authorization"]
        await (whole(msgspec.json.encode(BUSY), 429, retry_after="30") if tired else WELL)(taken, writer)

    good.answer = answer
    assert [(await house.chat()).status for _ in range(5)] == [200] * 5
    assert sum("tired" in taken.headers["authorization"] for taken in good.requests) == 1


async def test_while_all_keys_of_a_channel_are_busy_clients_are_told_to_wait(house: House, bad: RawVendor) -> None:
    await house.channel("keys", bad.url, secret="sk-tired-1,sk-tired-2")
    bad.answer = whole(msgspec.json.encode(BUSY), 429, retry_after="30")
    assert (await house.chat()).status == 429
    told = await house.chat()
    assert (told.status, told.headers["retry-after"], told.json["error"]["code"]) == (429, "30", "rate_limit_exceeded")
    assert "operator" not in told.json["error"]["message"]
    assert len(bad.requests) == 2


async def test_a_channel_whose_requests_a_minute_are_used_up_says_when_there_are_more(house: House, good: RawVendor) -> None:
    await house.channel("small", good.url, options={"requests_per_minute": "2"})
    assert [(await house.chat()).status for _ in range(2)] == [200, 200]
    told = await house.chat()
    assert (told.status, told.headers["retry-after"]) == (429, "30")
    house.now += 30
    assert (await house.chat()).status == 200


# --- an answer of another form than was asked for


async def test_events_for_a_call_without_stream_are_passed_on_and_accounted_for(house: House, good: RawVendor) -> None:
    await house.channel("eager", good.url)
    good.answer = pieces(chat_events("Hi"))
    told = await house.chat()
    assert (told.status, told.headers["content-type"], told.body) == (200, EVENTS, b"".join(chat_events("Hi")))
    (row,) = house.recorded()
    assert (row.input_tokens, row.output_tokens, row.cost, row.estimated) == (10, 5, 7, False)


async def test_a_whole_answer_to_a_call_with_stream_is_passed_on_and_accounted_for(house: House, good: RawVendor) -> None:
    await house.channel("lazy", good.url)
    told = await house.chat(stream=True)
    assert (told.status, told.headers["content-type"], told.body) == (200, "application/json", chat_answer())
    (row,) = house.recorded()
    assert (row.input_tokens, row.output_tokens, row.cost) == (10, 5, 7)


@pytest.mark.never_straight("translated")
async def test_the_wrong_form_is_translated_as_well(house: House, good: RawVendor) -> None:
    await house.channel("across", good.url, "anthropic", models={"claude-x": "claude-x"})
    good.answer = pieces(message_events("Hi"))
    told = await house.chat("claude-x")
    assert told.headers["content-type"] == EVENTS
    assert told.body.endswith(DONE)
    good.answer = whole(message_answer("Hi"))
    told = await house.chat("claude-x", stream=True)
    assert told.json["choices"][0]["message"]["content"] == "Hi"


@pytest.mark.never_straight("translated")
async def test_an_answer_that_cannot_be_translated_is_an_error_in_the_clients_format(house: House, good: RawVendor) -> None:
    await house.channel("across", good.url, "openai", models={"claude-x": "claude-x"})
    good.answer = whole(b"<html>", content_type="text/html")
    told = await house.post(MESSAGES, {"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]})
    assert (told.status, told.json["type"], told.json["error"]["type"]) == (502, "error", "api_error")


@pytest.mark.never_straight("translated")
async def test_a_refusal_across_formats_is_told_in_the_clients_words(house: House, good: RawVendor) -> None:
    await house.channel("across", good.url, "anthropic", models={"m": "m"})
    said: Any = {"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens: too large"}}
    good.answer = whole(msgspec.json.encode(said), 400)
    told = await house.chat("m")
    assert (told.status, told.json["error"]["message"]) == (400, "max_tokens: too large")
    good.answer = pieces([data(said, "error")])
    streamed = await house.chat("m", stream=True)
    assert b"max_tokens: too large" in streamed.body
