"""Runs an ASGI application behind the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from genway.wire.exchange import ClientGone, Exchange, Headers, lines

Message = dict[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]


async def serve(application: Application, exchange: Exchange, **state: object) -> None:
    """One exchange through the application. state: what its requests' `state` begins with."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.0" if exchange.http10 else "1.1",
        "method": exchange.method,
        "scheme": "http",
        "path": exchange.path,
        "raw_path": exchange.raw_path,
        "query_string": exchange.query,
        "root_path": "",
        "headers": exchange.headers,
        "client": exchange.client,
        "server": exchange.server,
        "state": dict(state),
        "extensions": {},
    }
    ended = False
    announced: int | None = None
    sent = 0
    status = 0
    headers: Headers = []

    async def receive() -> Message:
        nonlocal ended
        if ended:
            await exchange.over()
            return {"type": "http.disconnect"}
        try:
            body = await exchange.read()
        except ClientGone:
            return {"type": "http.disconnect"}
        ended = exchange.complete
        return {"type": "http.request", "body": body, "more_body": not ended}

    async def send(message: Message) -> None:
        nonlocal status, headers, announced, sent
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message["headers"])
            announced = _announced(headers)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        sent += len(body)
        if exchange.started:
            if announced is not None and (sent > announced or (sent < announced and not more)) and exchange.method != "HEAD":
                exchange.abort()  # what is not as long as it was said to be would be taken for a part of the next answer
                return
            if more:
                exchange.write(body)
            else:
                exchange.finish(body)
        else:
            _begin(exchange, status, headers, announced, body, more)
        if exchange.crowded and not exchange.gone:
            try:
                await exchange.drain()
            except ClientGone:
                return

    await application(scope, receive, send)
    if not exchange.finished and not exchange.gone:
        exchange.abort()


def _announced(headers: Headers) -> int | None:
    said = next((value for name, value in headers if name.lower() == b"content-length"), b"")
    return int(said) if said.isdigit() else None


def _begin(exchange: Exchange, status: int, headers: Headers, announced: int | None, body: bytes, more: bool) -> None:
    kept = [
        pair for pair in headers if pair[0].lower() not in {b"content-length", b"transfer-encoding", b"connection", b"date"}
    ]
    if exchange.method == "HEAD" or more:
        exchange.start(status, lines(kept), announced)
        if more:
            exchange.write(body)
        else:
            exchange.finish()
    else:
        exchange.whole(status, lines(kept), body)
