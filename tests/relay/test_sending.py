"""What is sent to a channel of a client's headers, and what of a channel's answers is taken for one."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from relay.house import MESSAGES, SECRET, House, chat_answer, chat_events, message_answer
from standins.raw_vendor import EVENTS, Answer, RawVendor, Taken, pieces, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")
BOTH_WAYS = True
PAGE = b"<!doctype html><title>Welcome</title>"
BOM = b"\xef\xbb\xbf"


async def no_content(_: Taken, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 204 No Content\r\ncontent-type: text/event-stream\r\n\r\n")


async def page_without_end(_: Taken, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n1\r\n<\r\n")
    await asyncio.Event().wait()


NO_ANSWERS: dict[str, Answer] = {
    "a page": whole(PAGE, content_type="text/html"),
    "a page of no type": whole(PAGE, content_type="application/json"),
    "a page that does not end": page_without_end,
    "nothing": whole(b""),
    "no content": no_content,
    "compressed": whole(b"\x1f\x8b\x08", content_encoding="gzip"),
    "compressed events": whole(b"\x1f\x8b\x08", content_type=EVENTS, content_encoding="gzip"),
    "a stream without an event": pieces([]),
}


@pytest_asyncio.fixture(loop_scope="session")
async def pair(house: House, vendor: RawVendor, another: RawVendor) -> House:
    """`bad` is asked first, and `good` after it."""
    await house.channel("bad", vendor.url, priority=1)
    await house.channel("good", another.url)
    return house


@pytest.mark.parametrize("shape", NO_ANSWERS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_is_no_answer_is_a_fault_of_the_channel(
    pair: House, vendor: RawVendor, another: RawVendor, shape: str, streamed: bool
) -> None:
    vendor.answer = NO_ANSWERS[shape]
    another.answer = pieces(chat_events("Hi")) if streamed else whole(chat_answer())
    told = await pair.chat(stream=streamed)
    assert (told.status, told.channel) == (200, "good")
    (row,) = pair.recorded()
    assert (row.attempts, row.outcome, row.input_tokens) == (2, "done", 10)


@pytest.mark.parametrize(
    ("shape", "words"), [("a page", "page of HTML"), ("nothing", "no JSON"), ("text", "no JSON"), ("compressed", "gzip")]
)
async def test_where_there_is_no_other_the_client_is_told_and_pays_nothing(
    house: House, vendor: RawVendor, shape: str, words: str
) -> None:
    await house.channel("only", vendor.url)
    vendor.answer = (NO_ANSWERS | {"text": whole(b"OK", content_type="text/plain")})[shape]
    told = await house.chat()
    assert (told.status, told.json["error"]["code"]) == (502, "upstream_failed")
    assert words in told.json["error"]["message"]
    assert house.recorded() == []


@pytest.mark.parametrize("before", [b"\n\n  \r\n", BOM])
async def test_what_stands_blank_before_an_answer_does_no_harm(house: House, vendor: RawVendor, before: bytes) -> None:
    await house.channel("only", vendor.url)
    vendor.answer = whole(before + chat_answer())
    told = await house.chat()
    assert (told.status, told.body) == (200, before + chat_answer())


@pytest.mark.never_straight("a form goes the long way")
async def test_a_transcript_need_not_be_json(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    vendor.answer = whole(b"Hello there", content_type="text/plain")
    form = b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    body = form % (b"model", b"", b"whisper-1") + form % (b"file", b'; filename="a.wav"', b"RIFF") + b"--x--\r\n"
    told = await house.post("/v1/audio/transcriptions", body, content_type="multipart/form-data; boundary=x")
    assert (told.status, told.body) == (200, b"Hello there")


async def test_a_list_in_several_headers_goes_on_whole_and_of_all_else_the_first(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url, "anthropic", models={"claude-x": "claude-x"})
    vendor.answer = whole(message_answer())
    await house.warm()
    headers = [
        ("authorization", f"Bearer {SECRET}"),
        ("content-type", "application/json"),
        ("anthropic-beta", "one"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "two,three"),
        ("content-type", "text/plain"),
    ]
    body = b'{"model": "claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}'
    async with house.http.post(f"{house.url}{MESSAGES}", data=body, headers=headers) as answer:
        assert answer.status == 200
    [request] = vendor.requests
    assert request.headers["anthropic-beta"] == "one,two,three"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert request.headers["content-type"] == "application/json"
