"""What is known of the work after every way in which a call to a vendor can end, on real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from genway.operations import AnyOperation
from genway.providers import http as vendor_http
from genway.providers.base import (
    ChannelSettings,
    Failed,
    Finished,
    OutcomeUnknown,
    ProviderError,
    Running,
    Submission,
    Submitted,
    VendorBusy,
    VendorDown,
    VendorKeyRefused,
    VendorLost,
    VendorModerated,
    VendorOutOfCredit,
    VendorRefused,
)
from genway.providers.http import LONGEST_MESSAGE, Answer, HttpProvider, at, error_words, retry_after_seconds

SECRET = "key_0123456789"


class Plain(HttpProvider):
    """A provider without anything of its own."""

    name = "plain"
    sheds = frozenset({503})

    def refusal(self, operation: AnyOperation) -> str | None:
        return None

    async def submit(self, submission: Submission) -> Submitted:
        raise NotImplementedError

    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        raise NotImplementedError


Serve = Callable[[bytes], Awaitable[Plain]]


@pytest.fixture
async def serve(http: aiohttp.ClientSession) -> AsyncIterator[Serve]:
    """A provider whose vendor reads one request, writes these bytes and closes: `await serve(b"HTTP/1.1 200 OK…")`."""
    servers: list[asyncio.Server] = []

    async def start(answer: bytes) -> Plain:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        servers.append(server)
        host, port = server.sockets[0].getsockname()[:2]
        return Plain(ChannelSettings("plain", f"http://{host}:{port}/", SECRET, timeout=5), http)

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


def response(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def test_a_good_answer_is_its_json(serve: Serve) -> None:
    assert await (await serve(response(200, b'{"id": "x"}'))).call("POST", "/work", {}, submitting=True) == {"id": "x"}
    assert await (await serve(response(204, b""))).call("DELETE", "/work/x") is None


UNREADABLE = {
    "nothing at all": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nConte",
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "half a body": b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id": "',
    "not JSON": response(200, b"<html>welcome</html>"),
    "not text": response(200, b"\xff\xfe\x00"),
    "a broken encoding": response(200, b"\x00\x01", "Content-Encoding: gzip"),
}


@pytest.mark.parametrize("case", UNREADABLE)
async def test_an_answer_that_cannot_be_read_leaves_a_submits_outcome_unknown(case: str, serve: Serve) -> None:
    provider = await serve(UNREADABLE[case])
    with pytest.raises(OutcomeUnknown):
        await provider.call("POST", "/work", {}, submitting=True)
    with pytest.raises(VendorDown):
        await provider.call("POST", "/work", {})


async def test_an_endless_answer_is_given_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor_http, "LONGEST_ANSWER", 1000)
    provider = await serve(response(200, b'"' + b"x" * 5000 + b'"'))
    with pytest.raises(OutcomeUnknown, match="more than 1000 bytes"):
        await provider.call("POST", "/work", {}, submitting=True)


async def test_an_error_counts_by_its_status_when_its_body_breaks_off(serve: Serve) -> None:
    provider = await serve(b'HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\n{"err')
    with pytest.raises(VendorRefused):
        await provider.call("POST", "/work", {}, submitting=True)


async def test_a_key_does_not_follow_a_redirect(serve: Serve) -> None:
    elsewhere = await serve(response(200, b'{"id": "x"}'))
    provider = await serve(response(307, b"", f"Location: {elsewhere.address}/work"))
    with pytest.raises(VendorDown):
        await provider.call("POST", "/work", {}, submitting=True)


async def test_an_error_page_is_not_quoted(serve: Serve) -> None:
    provider = await serve(response(502, b"<html><body>Bad gateway</body></html>"))
    with pytest.raises(OutcomeUnknown, match=r"^plain answered 502$"):
        await provider.call("POST", "/work", {}, submitting=True)


@pytest.mark.parametrize(
    ("status", "words", "submit", "poll"),
    [
        (400, "model: unknown", VendorRefused, VendorRefused),
        (400, "contentModeration: unexpected field", VendorRefused, VendorRefused),
        (400, "SAFETY.INPUT.TEXT", VendorModerated, VendorModerated),
        (422, "your prompt was flagged", VendorModerated, VendorModerated),
        (400, "You do not have enough credits", VendorOutOfCredit, VendorOutOfCredit),
        (403, "insufficient_user_quota", VendorOutOfCredit, VendorOutOfCredit),
        (401, "", VendorKeyRefused, VendorKeyRefused),
        (402, "", VendorOutOfCredit, VendorOutOfCredit),
        (403, "", VendorKeyRefused, VendorKeyRefused),
        (403, "内容违规", VendorModerated, VendorModerated),
        (404, "", VendorDown, VendorLost),
        (405, "", VendorDown, VendorDown),
        (408, "", OutcomeUnknown, VendorDown),
        (413, "", VendorRefused, VendorRefused),
        (429, "daily quota", VendorBusy, VendorBusy),
        (429, "insufficient_quota", VendorOutOfCredit, VendorOutOfCredit),
        (303, "", OutcomeUnknown, VendorDown),
        (500, "", OutcomeUnknown, VendorDown),
        (502, "", OutcomeUnknown, VendorDown),
        (503, "", VendorDown, VendorDown),
        (504, "", OutcomeUnknown, VendorDown),
    ],
)
def test_a_status_with_its_words_says_what_is_known_of_the_work(
    status: int, words: str, submit: type[ProviderError], poll: type[ProviderError], http: aiohttp.ClientSession
) -> None:
    provider = Plain(ChannelSettings("plain"), http)
    answer = Answer(status, message=words)
    assert (provider.verdict(answer, True), provider.verdict(answer, False)) == (submit, poll)


def test_a_secret_at_the_cut_of_a_long_message_is_not_shown_in_part(http: aiohttp.ClientSession) -> None:
    provider = Plain(ChannelSettings("plain", secret=SECRET), http)
    shown = provider.clean("x" * (LONGEST_MESSAGE - 10) + SECRET + "y" * 50)
    assert len(shown) <= LONGEST_MESSAGE
    assert SECRET[:3] not in shown
    assert provider.clean("two\n\tlines") == "two lines"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": "bad ratio"}, ("", "bad ratio")),
        ({"error": {"message": "m", "type": "t", "code": "c"}}, ("c", "m")),
        ({"error": {"message": "m", "type": "t", "code": None}}, ("t", "m")),
        ({"code": 1001, "msg": "余额不足"}, ("1001", "余额不足")),
        ({"detail": "no"}, ("", "no")),
        ({"message": ""}, ("", "")),
        (["x"], ("", "")),
        (None, ("", "")),
    ],
)
def test_the_words_of_an_error_are_found_in_every_shape_in_use(body: Any, words: tuple[str, str]) -> None:
    assert error_words(body) == words


def test_a_retry_after_is_a_number_or_a_date() -> None:
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after_seconds("30") == 30
    assert retry_after_seconds("Thu, 01 Jan 2026 12:01:30 GMT", now) == 90
    assert retry_after_seconds("Thu, 01 Jan 2026 11:00:00 GMT", now) == 0
    assert retry_after_seconds("999999") == 3600
    assert [retry_after_seconds(odd) for odd in (None, "", "soon", "nan")] == [None] * 4


def test_a_path_that_is_not_there_is_none() -> None:
    body = {"data": [{"id": "x"}]}
    assert at(body, "data", 0, "id") == "x"
    assert [at(body, "data", 1), at(body, "data", "id"), at(None, "data"), at(body, 0)] == [None] * 4
