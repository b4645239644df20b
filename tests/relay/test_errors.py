"""What a client is told when something is wrong, in the words of its format; and what it is never told."""

from __future__ import annotations

import gzip
import socket
from typing import Any

import aiohttp
import msgspec
import pytest

from genway.access import store as access
from genway.errors import BodyTooLarge, InsufficientBalance, InvalidRequest, NoChannel, RateLimited, Unauthenticated
from genway.relay import errors
from relay.house import CHAT, MESSAGES, SECRET, House, Told
from standins.raw_vendor import RawVendor, hang_up, pieces, whole

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROUTES = pytest.mark.parametrize("path", [CHAT, MESSAGES])
RESPONSES = "/v1/responses"


def body(**more: Any) -> dict[str, Any]:
    return {"model": "gpt-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **more}


def check(told: Told, path: str, status: int | tuple[int, int], openai: tuple[str, str], anthropic: str, words: str) -> None:
    """status: of OpenAI's and Anthropic's format where they differ. openai: type and code. words: stand in the message."""
    here = status if isinstance(status, int) else status[path == MESSAGES]
    assert told.status == here, told.body
    assert told.headers["content-type"] == "application/json"
    assert told.headers["x-request-id"]
    error = told.json["error"]
    assert words in error["message"]
    if path == MESSAGES:
        assert (told.json["type"], error["type"]) == ("error", anthropic)
        assert told.json["request_id"] == told.headers["request-id"] == told.headers["x-request-id"]
    else:
        assert (error["type"], error["code"]) == openai
        assert set(error) == {"message", "type", "param", "code"}


@ROUTES
async def test_no_key_a_wrong_one_a_revoked_one_and_one_that_is_too_old(house: House, vendor: RawVendor, path: str) -> None:
    await house.channel("only", vendor.url)
    revoked = f"gw_live_revoked_{path}"
    key_id = house.key(revoked)
    expired = f"gw_live_expired_{path}"
    house.key(expired, expires_at=house.now + 5)
    assert (await house.post(path, body(), revoked)).status == 200
    assert (await house.post(path, body(), expired)).status == 200
    house.write(lambda connection: access.revoke_key(connection, key_id, house.now))
    house.now += 6
    house.forget_callers()
    for key in ("", "gw_live_of_nobody", revoked, expired):
        told = await house.post(path, body(), key)
        check(told, path, 401, ("invalid_request_error", "invalid_api_key"), "authentication_error", "key")
        assert key not in told.body.decode() or not key
    assert len(vendor.requests) == 2


@pytest.mark.parametrize("header", ["x-api-key", "api-key", "authorization"])
async def test_a_key_is_found_in_the_header_of_any_format(house: House, vendor: RawVendor, header: str) -> None:
    await house.channel("only", vendor.url)
    headers = {header: SECRET if header != "authorization" else f"bearer {SECRET}"}
    async with house.http.post(f"{house.url}{CHAT}", json=body(), headers=headers) as answer:
        assert answer.status == 200


@ROUTES
async def test_an_unknown_model(house: House, vendor: RawVendor, path: str) -> None:
    await house.channel("only", vendor.url, models={"a": "a"})
    told = await house.post(path, body(model="b"))
    check(told, path, 404, ("invalid_request_error", "model_not_found"), "not_found_error", "no channel here has the model b")


@ROUTES
async def test_an_empty_wallet_and_a_spent_budget(house: House, vendor: RawVendor, path: str) -> None:
    await house.channel("only", vendor.url)
    house.purse(f"gw_live_empty_{path}", 0)
    house.key(f"gw_live_budget_{path}", budget=10)
    quota = ("insufficient_quota", "insufficient_quota")
    told = await house.post(path, body(), f"gw_live_empty_{path}")
    check(told, path, (429, 402), quota, "billing_error", "balance")
    assert told.headers.get("x-should-retry") == ("false" if path == CHAT else None)
    assert (await house.post(path, body(), f"gw_live_budget_{path}")).status == 200
    told = await house.post(path, body(), f"gw_live_budget_{path}")
    check(told, path, (429, 402), quota, "billing_error", "budget")
    assert len(vendor.requests) == 1


@ROUTES
@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"", "the body is empty"),
        (b"   ", "the body is empty"),
        (b'{"model": ', "not valid JSON"),
        (b"[1]", "a JSON object"),
        (b'"gpt-5"', "a JSON object"),
        (b'{"model": "gpt-5", "stream": "yes"}', "stream: "),
        (b'{"model": "gpt-5", "max_tokens": "many"}', "max_tokens: "),
        (b'{"model": 5}', "model: "),
        (b'{"messages": []}', "model: required"),
        (b'{"model": "\xff\xfe"}', "not valid JSON"),
        (b'{"model": "gpt-5", "n": 1%b}' % (b"0" * 30), "n: "),
    ],
)
async def test_a_body_that_is_wrong(house: House, vendor: RawVendor, path: str, sent: bytes, words: str) -> None:
    await house.channel("only", vendor.url)
    told = await house.post(path, sent)
    kind = ("invalid_request_error", "invalid_request")
    check(told, path, 400, kind, "invalid_request_error", words)
    if path == CHAT and words.endswith((": ", "required")):
        assert told.json["error"]["param"] == words.partition(":")[0]
    assert vendor.requests == []


@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/v1/audio/transcriptions", "/v1/conversations"])
async def test_a_compressed_body_is_refused_in_words(house: House, vendor: RawVendor, path: str) -> None:
    await house.channel("only", vendor.url)
    told = await house.post(path, gzip.compress(msgspec.json.encode(body())), content_encoding="gzip")
    assert told.status == 400
    assert "compressed (gzip)" in told.json["error"]["message"]
    assert vendor.requests == []
    assert house.recorded() == []


async def test_a_body_that_says_it_is_as_it_is_goes_through(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url)
    assert (await house.post(CHAT, body(), content_encoding="identity")).status == 200


@pytest.mark.parametrize("value", [b'"\xff"', b"1e999"])
async def test_tokens_of_what_cannot_be_read_are_not_counted(house: House, vendor: RawVendor, value: bytes) -> None:
    await house.channel("only", vendor.url)
    told = await house.post("/v1/messages/count_tokens", b'{"model": "gpt-5", "messages": [], "metadata": %b}' % value)
    assert (told.status, told.json["error"]["type"]) == (400, "invalid_request_error")
    assert "not valid JSON" in told.json["error"]["message"]


@ROUTES
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_the_wrong_method(house: House, path: str, method: str) -> None:
    async with house.http.request(method, f"{house.url}{path}") as answer:
        told = Told(answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.read())
    check(told, path, 405, ("invalid_request_error", "invalid_request"), "invalid_request_error", "POST")
    assert told.headers["allow"] == "POST"


@ROUTES
async def test_a_channel_that_is_down(house: House, vendor: RawVendor, path: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        await house.channel("down", f"http://127.0.0.1:{free.getsockname()[1]}", models={"gpt-5": "gpt-5"})
        told = await house.post(path, body())
    check(told, path, 502, ("server_error", "upstream_failed"), "api_error", "no channel answered")
    told = await house.post(path, body())
    unavailable = ("service_unavailable_error", "unavailable")
    check(told, path, 503, unavailable, "overloaded_error", "no channel can take this now")
    assert int(told.headers["retry-after"]) <= 5
    assert int(told.headers["retry-after-ms"]) <= 5000


@ROUTES
async def test_a_vendors_own_words_are_kept(house: House, vendor: RawVendor, path: str) -> None:
    await house.channel("only", vendor.url, "anthropic" if path == MESSAGES else "openai", models={"gpt-5": "gpt-5"})
    said = b'{"type":"error", "error":{"type":"odd_error","message":"messages.0: \\u00fc is odd","param":null,"code":7}}'
    vendor.answer = whole(said, 422)
    told = await house.post(path, body())
    assert (told.status, told.body) == (422, said)
    vendor.answer = whole(b"<html>\nBad gateway", 400, "text/html")
    told = await house.post(path, body())
    check(told, path, 400, ("server_error", "upstream_failed"), "invalid_request_error", "Bad gateway")


async def test_a_channels_key_reaches_neither_the_client_nor_the_log(
    house: House, vendor: RawVendor, capfd: pytest.CaptureFixture[str]
) -> None:
    keys = ("sk-first-precious", "sk-second-precious")
    echoed = "who is {} or {}?".format(*keys)
    for number, status in enumerate((400, 401, 404, 422, 429, 500, 503)):
        await house.channel(f"c{number}", vendor.url, secret=",".join(keys), models={f"m{number}": "m"})
        for path in (CHAT, MESSAGES):
            for content_type in ("application/json", "text/plain"):
                text = msgspec.json.encode({"error": {"message": echoed, "code": keys[0]}})
                sent = text if content_type == "application/json" else echoed.encode()
                vendor.answer = whole(sent, status, content_type, x_echo=keys[0], retry_after="9")
                told = await house.post(path, body(model=f"m{number}"))
                assert told.status >= 400
                assert not any(key in told.body.decode() or key in str(told.headers) for key in keys)
                if status in {400, 404, 422}:
                    assert b"***" in told.body
    written = capfd.readouterr()
    assert "m6" in written.out + written.err
    assert not any(key in written.out + written.err for key in keys)


async def test_a_key_that_is_echoed_inside_a_stream_is_struck_out(house: House, vendor: RawVendor) -> None:
    await house.channel("only", vendor.url, secret="sk-precious-streamed")
    vendor.answer = pieces([b'data: {"error": {"message": "who is sk-precious-streamed?"}}\n\n'])
    told = await house.post(CHAT, body(stream=True))
    assert b"who is ***?" in told.body


@pytest.mark.parametrize(("path", "event"), [(CHAT, b"data: {"), (MESSAGES, b"event: error\n"), (RESPONSES, b"event: error\n")])
async def test_a_fault_in_a_stream_is_an_event_of_its_format(path: str, event: bytes) -> None:
    kind = {CHAT: "chat", MESSAGES: "messages", RESPONSES: "responses"}[path]
    made = errors.in_stream('it "broke"\noff', kind, "req_1")
    assert made.startswith(event)
    assert made.endswith(b"\n\n")
    assert made.count(b"\n\n") == 1
    told = msgspec.json.decode(made.partition(b"data: ")[2])
    said = told if path == RESPONSES else told["error"]
    assert said["message"] == 'it "broke"\noff'


@pytest.mark.parametrize(
    ("error", "openai", "anthropic"),
    [
        (InvalidRequest("x", field="a.b"), 400, 400),
        (NoChannel("x"), 404, 404),
        (Unauthenticated("x"), 401, 401),
        (InsufficientBalance("x"), 429, 402),
        (RateLimited("x", retry_after=0.2), 429, 429),
        (BodyTooLarge("x"), 413, 413),
        (errors.UpstreamFailed("x"), 502, 502),
        (errors.UpstreamTimeout("x"), 504, 504),
    ],
)
async def test_statuses_of_both_formats(error: Any, openai: int, anthropic: int) -> None:
    assert (errors.status_of(error, "openai"), errors.status_of(error, "anthropic")) == (openai, anthropic)
    assert msgspec.json.decode(errors.body(error, "anthropic", "req_1"))["error"]["type"] == errors.ANTHROPIC_TYPES[anthropic]


async def test_a_wait_is_told_in_whole_seconds_rounded_up_and_in_milliseconds() -> None:
    lines = errors.headers(RateLimited("x", retry_after=1.25), "openai")
    assert b"retry-after: 2\r\nretry-after-ms: 1250\r\n" in lines
    assert b"retry-after: 1\r\nretry-after-ms: 1\r\n" in errors.headers(RateLimited("x", retry_after=0), "openai")


async def test_a_server_that_hangs_up_is_told_of_without_its_address(house: House, vendor: RawVendor) -> None:
    await house.channel("rude", vendor.url)
    vendor.answer = hang_up
    told = await house.post(CHAT, body())
    assert told.status == 502
    assert vendor.url.removeprefix("http://") not in told.body.decode()
    async with aiohttp.ClientSession() as client, client.get(f"{house.url}/nowhere") as answer:
        assert answer.status == 404
