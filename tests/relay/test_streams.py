"""Streams through a gateway, over real sockets on both sides."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genway.relay import relay as relays
from relay.house import (
    CHAT,
    DONE,
    MESSAGES,
    SECRET,
    House,
    Way,
    chat_events,
    data,
    message_events,
    opened,
    until,
)
from standins.raw_vendor import EVENTS, Answer, RawVendor, Taken, chunk, head_of, pieces

pytestmark = pytest.mark.asyncio(loop_scope="session")
BOTH_WAYS = True

FEW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXTS = st.lists(
    st.sampled_from(["a", "é", "日本", "😀", "\u2028", "data: x", "[DONE]", "\\n", '"usage"', "\x00", "\r\n\r\n", "\u0085"]),
    max_size=5,
)
RESPONSES = "/v1/responses"
TRANSLATED = pytest.mark.never_straight("translated")
BODY = {"max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}], "input": "Hi", "stream": True}


def response_events(*texts: str) -> list[bytes]:
    """The events of a stream of responses."""
    whole = {"id": "resp_1", "object": "response", "status": "completed", "store": False, "output": [],
             "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}}  # fmt: skip
    told: list[dict[str, Any]] = [
        {"type": "response.created", "response": whole | {"status": "in_progress", "usage": None}},
        *({"type": "response.output_text.delta", "delta": text} for text in texts),
        {"type": "response.completed", "response": whole},
    ]
    return [data(event, event["type"]) for event in told]


def completion_events(*texts: str) -> list[bytes]:
    return [event.replace(b'"delta":{', b'"text":{').replace(b"chat.completion.chunk", b"text_completion")
            for event in chat_events(*texts)]  # fmt: skip


def image_events(*texts: str) -> list[bytes]:
    told: list[dict[str, Any]] = [{"type": "image_generation.partial_image", "b64_json": text} for text in texts]
    used = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    return [data(event) for event in [*told, {"type": "image_generation.completed", "b64_json": "é", "usage": used}]]


KINDS = {
    CHAT: chat_events,
    "/v1/completions": completion_events,
    RESPONSES: response_events,
    MESSAGES: message_events,
    "/v1/images/generations": image_events,
}


def asked(path: str) -> dict[str, Any]:
    """A request of which all that the vendor tells is for the client."""
    return BODY | {"model": "m", "store": False, "stream_options": {"include_usage": True} if path != MESSAGES else None}


@pytest.fixture
def cut(vendor: RawVendor) -> Any:
    """Lets the vendor answer with a stream, cut into pieces."""

    def set_up(stream: bytes, cuts: Sequence[int]) -> None:
        edges = sorted({0, len(stream), *(each for each in cuts if each < len(stream))})
        vendor.answer = pieces([stream[start:end] for start, end in itertools.pairwise(edges)])

    return set_up


CUTS = st.one_of(st.just(range(100_000)), st.lists(st.integers(0, 3000), max_size=30))


@pytest.mark.parametrize("path", KINDS)
@FEW
@given(
    texts=TEXTS,
    cuts=CUTS,
    noise=st.sampled_from([b"", b": note\n\n", b'event: odd\ndata: {"new": 1.0}\n\n', b"id: 7\n\n", b"\n"]),
)
async def test_a_stream_passes_as_it_is_however_it_is_cut(
    house: House, vendor: RawVendor, cut: Any, path: str, texts: list[str], cuts: Sequence[int], noise: bytes
) -> None:
    if not house.board.seats:
        await house.channel("same", vendor.url, "anthropic" if path == MESSAGES else "openai", models={"m": "m"})
    stream = noise.join(KINDS[path](*texts))
    cut(stream, cuts)
    told = await house.post(path, asked(path))
    assert (told.status, told.body) == (200, stream)
    assert told.headers["content-type"] == EVENTS


@pytest.mark.parametrize("end", [b"\r\n", b"\r", b"\n"])
@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
async def test_line_ends_and_missing_spaces_are_kept(house: House, vendor: RawVendor, cut: Any, path: str, end: bytes) -> None:
    await house.channel("same", vendor.url, "anthropic" if path == MESSAGES else "openai", models={"m": "m"})
    stream = b"".join(KINDS[path]("é", "b")).replace(b"data: ", b"data:").replace(b"\n", end)
    for cuts in ((), range(len(stream))):
        cut(stream, cuts)
        assert (await house.post(path, asked(path))).body == stream
    assert all((row.input_tokens, row.output_tokens, row.estimated) == (10, 5, False) for row in house.recorded())


def said_in(path: str, body: bytes) -> str:
    """What the model said, read from a stream of a format."""
    events = [msgspec.json.decode(part.partition(b"data: ")[2]) for part in body.split(b"\n\n") if b"data: {" in part]
    if path == MESSAGES:
        return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


@TRANSLATED
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@FEW
@given(texts=TEXTS, cuts=CUTS)
async def test_a_translated_stream_says_the_same_however_it_is_cut(
    house: House, vendor: RawVendor, cut: Any, path: str, texts: list[str], cuts: Sequence[int]
) -> None:
    if not house.board.seats:
        await house.channel("across", vendor.url, "openai" if path == MESSAGES else "anthropic", models={"m": "m"})
    cut(b"".join((chat_events if path == MESSAGES else message_events)(*texts)), cuts)
    told = await house.post(path, BODY | {"model": "m"})
    assert told.status == 200
    assert said_in(path, told.body) == "".join(texts)
    assert told.body.endswith(DONE if path == CHAT else b'"message_stop"}\n\n')


async def test_usage_is_hidden_from_those_who_did_not_ask_and_only_from_them(house: House, vendor: RawVendor) -> None:
    await house.channel("same", vendor.url)
    vendor.answer = pieces(chat_events("Hi"))
    told = await house.chat(stream=True)
    assert told.body == b"".join(event for event in chat_events("Hi") if b'"usage"' not in event)
    told = await house.chat(stream=True, stream_options={"include_usage": True})
    assert told.body == b"".join(chat_events("Hi"))
    assert [(row.input_tokens, row.output_tokens, row.estimated) for row in house.recorded()] == [(10, 5, False)] * 2


# --- the end of a stream


@contextlib.asynccontextmanager
async def client_of(house: House, path: str, **more: Any) -> AsyncIterator[Any]:
    headers = {"authorization": f"Bearer {SECRET}"}
    await house.warm()
    async with house.http.post(f"{house.url}{path}", json=asked(path) | more, headers=headers) as answer:
        yield answer


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
async def test_the_last_event_comes_when_the_call_is_on_record(house: House, vendor: RawVendor, path: str) -> None:
    await house.channel("same", vendor.url, "anthropic" if path == MESSAGES else "openai", models={"m": "m"})
    events = KINDS[path]("Hi")
    vendor.answer = pieces(events)
    await house.post(path, asked(path))
    before = len(house.recorded())
    gate = threading.Event()
    writing = asyncio.ensure_future(house.app.database.write(lambda _: gate.wait(10)))
    async with client_of(house, path) as answer:
        early = await answer.content.readexactly(len(b"".join(events[:-1])))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer.content.readany(), 0.1)
        assert len(house.recorded()) == before
        gate.set()
        assert early + await answer.content.read() == b"".join(events)
    assert len(house.recorded()) == before + 1
    await writing


@TRANSLATED
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_the_end_of_a_translated_stream_comes_when_the_call_is_on_record(
    house: House, vendor: RawVendor, path: str
) -> None:
    await house.channel("across", vendor.url, "openai" if path == MESSAGES else "anthropic", models={"m": "m"})
    vendor.answer = pieces((chat_events if path == MESSAGES else message_events)("Hi"))
    gate = threading.Event()
    writing = asyncio.ensure_future(house.app.database.write(lambda _: gate.wait(10)))
    async with client_of(house, path) as answer:
        early = bytearray()

        async def read_on() -> None:
            while piece := await answer.content.readany():
                early.extend(piece)

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(read_on(), 0.3)
        assert b"Hi" in early
        assert DONE not in early
        assert b"message_stop" not in early
        gate.set()
        assert (DONE if path == CHAT else b"message_stop") in await answer.content.read()
    await writing


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", RESPONSES, MESSAGES])
async def test_a_stream_that_breaks_off_ends_with_an_error_of_its_format(house: House, vendor: RawVendor, path: str) -> None:
    await house.channel("same", vendor.url, "anthropic" if path == MESSAGES else "openai", models={"m": "m"})
    events = KINDS[path]("Hi", "there")[:2]
    vendor.answer = pieces([*events, b'data: {"half'], end=False)
    told = await house.post(path, asked(path))
    begun, error = told.body[: len(b"".join(events))], told.body[len(b"".join(events)) :]
    assert begun == b"".join(events)
    shown = msgspec.json.decode(error.partition(b"data: ")[2])
    assert shown.get("type", "error") == "error"
    assert "broke off" in (shown["message"] if path == RESPONSES else shown["error"]["message"])
    (row,) = house.recorded()
    assert (row.outcome, row.input_tokens > 0) == ("broken_off", True)


async def read_all(stream: Any) -> list[Any]:
    return [event async for event in stream]


def clients(house: House) -> tuple[openai.AsyncOpenAI, anthropic.AsyncAnthropic]:
    return (
        openai.AsyncOpenAI(api_key=SECRET, base_url=f"{house.url}/v1", max_retries=0),
        anthropic.AsyncAnthropic(api_key=SECRET, base_url=house.url, max_retries=0),
    )


async def ask(client: Any, path: str) -> list[Any]:
    """All events of a stream, by the vendor's own SDK."""
    messages: Any = BODY["messages"]
    if path == CHAT:
        return await read_all(await client.chat.completions.create(model="m", messages=messages, stream=True))
    if path == RESPONSES:
        return await read_all(await client.responses.create(model="m", input="Hi", store=False, stream=True))
    return await read_all(await client.messages.create(model="m", max_tokens=5, messages=messages, stream=True))


@pytest.mark.parametrize("across", [False, pytest.param(True, marks=TRANSLATED)])
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_the_sdks_raise_where_a_stream_breaks_off(house: House, vendor: RawVendor, path: str, across: bool) -> None:
    messages_there = (path == MESSAGES) != across
    await house.channel("it", vendor.url, "anthropic" if messages_there else "openai", models={"m": "m"})
    vendor.answer = pieces((message_events if messages_there else chat_events)("Hi", "you")[:3], end=False)
    for client in clients(house):
        async with client:
            if isinstance(client, openai.AsyncOpenAI) == (path == CHAT):
                await house.warm()
                with pytest.raises((openai.APIError, anthropic.APIError)):
                    await ask(client, path)


async def test_an_upstream_that_ends_without_a_last_event_is_at_its_end(house: House, vendor: RawVendor) -> None:
    await house.channel("same", vendor.url, models={"m": "m"})
    vendor.answer = pieces(chat_events("Hi", done=False))
    told = await house.post(CHAT, asked(CHAT))
    assert told.body == b"".join(chat_events("Hi", done=False))
    translated = await house.post(MESSAGES, BODY | {"model": "m"})
    assert translated.body.endswith(b'"message_stop"}\n\n')
    assert [row.outcome for row in house.recorded()] == ["done", "done"]


# --- pauses


class Pausing:
    """A stream with a pause in it, in the middle of an event, until it is told to go on."""

    def __init__(self, events: Sequence[bytes]) -> None:
        self.events = events
        self.go = asyncio.Event()

    async def __call__(self, _: Taken, writer: asyncio.StreamWriter) -> None:
        first, second, *rest = self.events
        writer.write(head_of(200, EVENTS, {}) + chunk(first + second[:7]))
        await self.go.wait()
        writer.write(b"".join(chunk(piece) for piece in (second[7:], *rest)) + b"0\r\n\r\n")


@pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
async def test_pauses_get_signs_of_life_that_no_sdk_chokes_on(
    tmp_path: Path, way: Way, vendor: RawVendor, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(relays, "WATCH_SECONDS", 0.02)
    async with opened(tmp_path, way, relay={"keep_alive_seconds": 0.05}) as house:
        await house.channel("same", vendor.url, "anthropic" if path == MESSAGES else "openai", models={"m": "m"})
        events = KINDS[path]("Hi", "you")
        pausing = vendor.answer = Pausing(events)
        sign = relays.SIGNS.get({MESSAGES: "messages", CHAT: "chat", RESPONSES: "responses"}[path], relays.SIGN)
        async with client_of(house, path) as answer:
            got = b""
            async with asyncio.timeout(10):
                while got.count(sign) < 3:
                    got += await answer.content.readany()
            pausing.go.set()
            got += await answer.content.read()
        assert got.startswith(events[0] + sign)
        assert got.replace(sign, b"") == b"".join(events)
        pausing = vendor.answer = Pausing(events)
        for client in clients(house):
            async with client:
                if isinstance(client, anthropic.AsyncAnthropic) == (path == MESSAGES):
                    await house.warm()
                    asking = asyncio.ensure_future(ask(client, path))
                    await until(lambda: len(vendor.requests) == 2)
                    asyncio.get_running_loop().call_later(0.2, pausing.go.set)
                    assert len(await asking) >= 3


async def test_an_upstream_that_falls_silent_is_given_up(
    tmp_path: Path, way: Way, vendor: RawVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relays, "WATCH_SECONDS", 0.02)
    async with opened(tmp_path, way, relay={"idle_seconds": 0.1, "keep_alive_seconds": 0}) as house:
        await house.channel("same", vendor.url, models={"m": "m"})
        vendor.answer = Pausing(chat_events("Hi"))
        told = await house.post(CHAT, asked(CHAT))
        assert b"nothing came for 0.1 seconds" in told.body
        await until(lambda: vendor.open == 0)


async def endless(_: Taken, writer: asyncio.StreamWriter) -> None:
    writer.write(head_of(200, EVENTS, {}))
    event = chunk(data({"choices": [{"delta": {"content": "x" * 500}}]}))
    while True:
        writer.write(event)
        await writer.drain()
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("answer", [endless, Pausing(chat_events("Hi"))])
@pytest.mark.parametrize("path", [CHAT, pytest.param(MESSAGES, marks=TRANSLATED)])
async def test_the_upstream_is_left_within_a_second_of_the_client(
    house: House, vendor: RawVendor, path: str, answer: Answer
) -> None:
    await house.channel("same", vendor.url, models={"m": "m"})
    vendor.answer = answer
    async with client_of(house, path) as told:
        await told.content.readany()
        assert vendor.open == 1
        told.close()
        await until(lambda: vendor.open == 0, 1)
    await until(lambda: len(house.recorded()) == 1)
    (row,) = house.recorded()
    assert (row.outcome, row.estimated, row.input_tokens > 0, row.cost) == ("client_gone", True, True, 7)
    await until(lambda: not house.board.seats[0].busy)


async def test_a_connection_of_the_vendors_serves_many_streams(house: House, vendor: RawVendor) -> None:
    await house.channel("same", vendor.url, models={"m": "m"})
    vendor.answer = pieces(chat_events("Hi"))
    for _ in range(20):
        assert (await house.post(CHAT, asked(CHAT))).body.endswith(DONE)
        await asyncio.sleep(0)
    assert vendor.open <= 2
