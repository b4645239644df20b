"""Between a client and a vendor of one format nothing is changed that need not be."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from relay.house import CHAT, MESSAGES, House, chat_answer, chat_events, message_answer
from standins.raw_vendor import RawVendor, pieces, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")
BOTH_WAYS = True

FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KINDS = {
    CHAT: "openai",
    "/v1/completions": "openai",
    "/v1/responses": "openai",
    "/v1/embeddings": "openai",
    "/v1/moderations": "openai",
    "/v1/rerank": "openai",
    "/v1/images/generations": "openai",
    "/v1/audio/speech": "openai",
    MESSAGES: "anthropic",
    "/v1/messages/count_tokens": "anthropic",
}
LONG = pytest.mark.never_straight("kept by the vendor, or answered in no JSON, or free")
EVERY_KIND = pytest.mark.parametrize(
    "path", [pytest.param(path, marks=LONG) if path.endswith(("responses", "speech", "tokens")) else path for path in KINDS]
)

SPACE = st.sampled_from(["", "", "", " ", "\n  ", "\t", "\r\n"])
NUMBER = st.sampled_from(
    [
        "0",
        "-0",
        "-0.0",
        "1.0",
        "1e5",
        "1E+2",
        "2.50",
        "12345678901234567890123",
        "0.1000000000000000055511151231257827",
        "1e-400",
    ]
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
ESCAPED = st.sampled_from([r"\u00e9", r"\/", r"\ud83d\ude00", r"\u0000", r"\n", r"\"", r"\\", "é", "日本", "😀", "\u2028"])
STRING = st.one_of(TEXT.map(lambda text: json.dumps(text, ensure_ascii=False)), ESCAPED.map(lambda text: f'"{text}"'))
NAME = st.sampled_from(["x", "é", "X", "x_1", "usage", "choices", "tools", "extra_body", "y\\u0061"])


def spaced(parts: list[str], spaces: list[str], brackets: str) -> str:
    inner = ",".join(f"{spaces[number % len(spaces)]}{part}" for number, part in enumerate(parts))
    return f"{brackets[0]}{inner}{spaces[0]}{brackets[1]}"


def members(values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.tuples(NAME, SPACE, values).map(lambda member: f'"{member[0]}"{member[1]}:{member[2]}'), max_size=5)


SPACES = st.lists(SPACE, min_size=1, max_size=3)
VALUE: st.SearchStrategy[str] = st.recursive(
    st.one_of(NUMBER, STRING, st.sampled_from(["true", "false", "null"])),
    lambda inner: st.one_of(
        st.builds(spaced, st.lists(inner, max_size=4), SPACES, st.just("[]")),
        st.builds(spaced, members(inner), SPACES, st.just("{}")),
    ),
    max_leaves=8,
)


@st.composite
def bodies(draw: st.DrawFn, /, **known: str) -> bytes:
    """The text of a JSON object with `known` members anywhere among others, which may come twice."""
    parts = draw(members(VALUE))
    for name, value in known.items():
        parts.insert(draw(st.integers(0, len(parts))), f'"{name}":{value}')
    return (draw(SPACE) + spaced(parts, draw(SPACES), "{}") + draw(SPACE)).encode()


def raw(body: bytes) -> dict[str, bytes]:
    """Every member with the bytes of its value; of those that come twice the last one, as every reader has it."""
    return {name: bytes(value) for name, value in msgspec.json.decode(body, type=dict[str, msgspec.Raw]).items()}


@EVERY_KIND
@FEW
@given(body=bodies(model='"m"', max_tokens="5"))
async def test_a_request_reaches_the_vendor_as_it_was_sent(house: House, vendor: RawVendor, path: str, body: bytes) -> None:
    if not house.board.seats:
        await house.channel("same", vendor.url, KINDS[path], models={"m": "m"})
        vendor.answer = whole(message_answer() if path == MESSAGES else chat_answer())
    assert (await house.post(path, body)).status == 200
    assert vendor.requests[-1].body == body


@FEW
@given(body=bodies(model='"short"'))
async def test_an_alias_changes_the_model_and_nothing_else(house: House, vendor: RawVendor, body: bytes) -> None:
    if not house.board.seats:
        await house.channel("same", vendor.url, models={"short": "the-long-name"})
    assert (await house.post(CHAT, body)).status == 200
    assert raw(vendor.requests[-1].body) == raw(body) | {"model": b'"the-long-name"'}


@pytest.mark.never_straight("it is refused")
@pytest.mark.parametrize("other", [b'"model"', b'"Model"', b'"mod\\u0065l"'])
async def test_a_model_given_twice_reaches_no_vendor(house: House, vendor: RawVendor, other: bytes) -> None:
    await house.channel("same", vendor.url, models={"short": "the-long-name"})
    told = await house.post(CHAT, b'{%b:"none","x":1,"model":"short"}' % other)
    assert (told.status, msgspec.json.decode(told.body)["error"]["param"]) == (400, "model")
    assert vendor.requests == []
    assert house.recorded() == []


@FEW
@given(body=bodies(model='"m"', stream="true"))
@example(body=b'{"model":"m","stream":true,"stream_options":{"x":1.50,"include_usage":false}}')
@example(body=b'{"model":"m","stream":true,"stream_options":null}')
async def test_asking_for_usage_changes_the_options_of_the_stream_alone(house: House, vendor: RawVendor, body: bytes) -> None:
    if not house.board.seats:
        await house.channel("same", vendor.url, models={"m": "m"})
        vendor.answer = pieces(chat_events("Hi"))
    assert (await house.post(CHAT, body)).status == 200
    sent, got = raw(body), raw(vendor.requests[-1].body)
    options: dict[str, Any] = msgspec.json.decode(sent.pop("stream_options", b"null")) or {}
    assert msgspec.json.decode(got.pop("stream_options")) == options | {"include_usage": True}
    assert got == sent
    if b"stream_options" not in body:
        assert vendor.requests[-1].body.endswith(body.lstrip()[1:].lstrip()), "what stood there stands there still"


async def test_a_client_that_asks_for_usage_itself_changes_nothing(house: House, vendor: RawVendor) -> None:
    await house.channel("same", vendor.url)
    vendor.answer = pieces(chat_events("Hi"))
    body = b'{ "stream_options":{"include_usage" : true}, "stream":true, "model":"gpt-5" }'
    told = await house.post(CHAT, body)
    assert vendor.requests[0].body == body
    assert told.body == b"".join(chat_events("Hi"))


async def test_a_channel_that_must_not_be_asked_for_usage_is_not(house: House, vendor: RawVendor) -> None:
    await house.channel("same", vendor.url, options={"stream_usage": "no"})
    body = b'{"stream":true, "model":"gpt-5","messages":[]}'
    vendor.answer = pieces(chat_events("Hi"))
    told = await house.post(CHAT, body)
    assert vendor.requests[0].body == body
    assert told.body == b"".join(chat_events("Hi")), "usage that comes by itself is the client's"


@EVERY_KIND
@FEW
@given(answer=bodies())
async def test_an_answer_reaches_the_client_as_it_was_sent(house: House, vendor: RawVendor, path: str, answer: bytes) -> None:
    if not house.board.seats:
        await house.channel("same", vendor.url, KINDS[path], models={"m": "m"})
    vendor.answer = whole(answer, content_type="application/json; odd=1")
    told = await house.post(path, b'{"model":"m","input":"x","n":1,"max_tokens":5}')
    assert (told.status, told.body) == (200, answer)
    assert told.headers["content-type"] == "application/json; odd=1"


@pytest.mark.parametrize("size", [1, 70_000, 3_000_000, 20_000_000])
async def test_answers_of_any_size(house: House, vendor: RawVendor, size: int) -> None:
    await house.channel("same", vendor.url)
    answer = chat_answer("é" * (size // 2))
    vendor.answer = whole(answer)
    told = await house.chat()
    assert (told.status, told.body) == (200, answer)


async def test_the_vendors_headers_that_a_client_may_need_are_passed_on_and_no_others(house: House, vendor: RawVendor) -> None:
    await house.channel("same", vendor.url)
    vendor.answer = whole(
        chat_answer(), openai_processing_ms="12", set_cookie="a=b", x_ratelimit_remaining_requests="7", server="x"
    )
    told = await house.chat()
    assert told.headers["openai-processing-ms"] == "12"
    assert not {"set-cookie", "x-ratelimit-remaining-requests", "server"} & set(told.headers)


@pytest.mark.parametrize(("model", "left"), [("claude-opus-5", 1), ("kimi-k3", 2)])
async def test_another_vendors_thinking_does_not_reach_a_claude_that_would_refuse_it(
    house: House, vendor: RawVendor, model: str, left: int
) -> None:
    await house.channel("same", vendor.url, KINDS[MESSAGES], models={"m": model})
    vendor.answer = whole(message_answer())
    said = [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "Sun."}]
    talk = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": said}, {"role": "user", "content": "And?"}]
    assert (await house.post(MESSAGES, {"model": "m", "max_tokens": 5, "messages": talk})).status == 200
    assert len(msgspec.json.decode(vendor.requests[-1].body)["messages"][1]["content"]) == left
