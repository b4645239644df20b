"""An ASGI application behind the server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from genway.wire import asgi
from genway.wire.asgi import Application
from genway.wire.exchange import Exchange
from wire.stage import Client, Connect, Serve, until

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


async def ask(serve: Serve, connect: Connect, application: Application, request: bytes, **state: object) -> Client:
    async def handle(exchange: Exchange) -> None:
        await asgi.serve(application, exchange, **state)

    _, port = await serve(handle)
    client = await connect(port)
    await client.send(request)
    return client


def answering(*pieces: bytes, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Application:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for number, piece in enumerate(pieces, 1):
            await send({"type": "http.response.body", "body": piece, "more_body": number < len(pieces)})

    return application


@pytest.mark.parametrize(
    ("request_line", "version", "path", "raw_path"),
    [
        (b"GET /a%20b?x=1&y=%20 HTTP/1.1", "1.1", "/a b", b"/a%20b"),
        (b"GET http://other.example/a%20b?x=1&y=%20 HTTP/1.0", "1.0", "/a b", b"/a%20b"),
    ],
)
async def test_the_scope_says_what_was_asked(
    serve: Serve, connect: Connect, request_line: bytes, version: str, path: str, raw_path: bytes
) -> None:
    seen: dict[str, Any] = {}

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)
        await answering(b"")(scope, receive, send)

    client = await ask(serve, connect, application, request_line + b"\r\nHost: a\r\nX-One: 1\r\n\r\n", of="the request")
    await client.answer()
    assert seen["type"] == "http"
    assert seen["http_version"] == version
    assert (seen["method"], seen["path"], seen["raw_path"], seen["query_string"]) == ("GET", path, raw_path, b"x=1&y=%20")
    assert [(name, value.strip()) for name, value in seen["headers"]] == [(b"host", b"a"), (b"x-one", b"1")]
    assert seen["client"] == client.writer.get_extra_info("sockname")
    assert seen["server"] == client.writer.get_extra_info("peername")
    assert seen["state"] == {"of": "the request"}


async def test_the_body_is_received_and_then_the_end_of_the_exchange(serve: Serve, connect: Connect) -> None:
    received: list[dict[str, Any]] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message["more_body"]:
                break
        waiting = asyncio.create_task(receive())
        await asyncio.sleep(0)
        assert not waiting.done()
        await answering(body)(scope, receive, send)
        received.append(await waiting)

    client = await ask(serve, connect, application, b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 600000\r\n\r\n")
    await client.send(b"a" * 300_000)
    await client.send(b"b" * 300_000)
    assert (await client.answer()).body == b"a" * 300_000 + b"b" * 300_000
    await until(lambda: received)
    assert received == [{"type": "http.disconnect"}]


@pytest.mark.parametrize(
    "request_head", [b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\na"]
)
async def test_a_client_that_leaves_is_a_disconnect(serve: Serve, connect: Connect, request_head: bytes) -> None:
    messages: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while not messages or messages[-1] != "http.disconnect":
            messages.append((await receive())["type"])
        await answering(b"to", b"nobody")(scope, receive, send)
        messages.append("done")

    client = await ask(serve, connect, application, request_head)
    await until(lambda: messages)
    client.abort()
    await until(lambda: messages[-1] == "done")
    assert messages == ["http.request", "http.disconnect", "done"]


async def test_a_whole_answer_says_how_long_it_is(serve: Serve, connect: Connect) -> None:
    headers = (
        (b"Content-Length", b"4"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Connection", b"upgrade"),
        (b"X-One", b"1\r\n2"),
    )
    client = await ask(serve, connect, answering(b"body", headers=headers), GET)
    answer = await client.answer()
    assert answer.body == b"body"
    assert answer.head.lower().count(b"content-length") == 1
    assert not {"transfer-encoding", "connection"} & set(answer.headers)
    assert answer.headers["x-one"] == "1  2"


@pytest.mark.parametrize("announced", [(), ((b"content-length", b"9"),)])
async def test_an_answer_may_come_in_pieces(serve: Serve, connect: Connect, announced: tuple[tuple[bytes, bytes], ...]) -> None:
    client = await ask(serve, connect, answering(b"one", b"two", b"six", b"", headers=announced), GET + GET)
    for _ in range(2):
        answer = await client.answer()
        assert answer.body == b"onetwosix"
        assert answer.headers.get("transfer-encoding") == (None if announced else "chunked")


@pytest.mark.parametrize("pieces", [(b"one", b"two"), (b"one", b"two and more", b"")])
async def test_an_answer_that_is_not_as_long_as_it_said_is_broken_off(
    serve: Serve, connect: Connect, pieces: tuple[bytes, ...]
) -> None:
    client = await ask(serve, connect, answering(*pieces, headers=((b"content-length", b"9"),)), GET + GET)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await client.answer()


async def test_head_is_told_the_length(serve: Serve, connect: Connect) -> None:
    client = await ask(
        serve, connect, answering(b"body", headers=((b"content-length", b"4"),)), b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n" + GET
    )
    assert (await client.answer("HEAD")).headers["content-length"] == "4"
    assert (await client.answer()).body == b"body"


async def test_an_application_that_says_nothing_is_broken_off(serve: Serve, connect: Connect) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    client = await ask(serve, connect, application, GET)
    assert await client.closed()


async def test_a_file_waits_for_a_client_that_does_not_read(serve: Serve, connect: Connect) -> None:
    sent = 0

    async def application(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": ()})
        for _ in range(192):
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            sent += 65536
        await send({"type": "http.response.body"})

    async def handle(exchange: Exchange) -> None:
        await asgi.serve(application, exchange)

    server, port = await serve(handle)
    client = await connect(port, receive_buffer=65536)
    await client.send(GET)
    await until(lambda: any(connection.crowded for connection in server.connections))
    await asyncio.sleep(0.01)
    assert sent < 192 * 65536
    assert len((await client.answer()).body) == 192 * 65536
