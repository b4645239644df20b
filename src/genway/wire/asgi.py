"""Runs an ASGI application behind the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from genway.wire.exchange import ClientGone, Exchange, lines

Message = dict[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]


async def serve(application: Application, exchange: Exchange, **state: object) -> None:
    """One exchange through the application. state: what its requests' `state` begins with."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": exchange.method,
        "scheme": "http",
        "path": exchange.path,
        "raw_path": exchange.target.partition(b"?")[0],
        "query_string": exchange.query,
        "root_path": "",
        "headers": exchange.headers,
        "client": exchange.client,
        "server": exchange.server,
        "state": dict(state),
        "extensions": {},
    }
    ended = False
    status = 0
    headers: list[tuple[bytes, bytes]] = []

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
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message["headers"])
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if exchange.started:
            if more:
                exchange.write(body)
            else:
                exchange.finish(body)
        else:
            _begin(exchange, status, headers, body, more)
        if exchange.crowded and not exchange.gone:
            try:
                await exchange.drain()
            except ClientGone:
                return

    await application(scope, receive, send)
    if not exchange.finished and not exchange.gone:
        exchange.abort()


def _begin(exchange: Exchange, status: int, headers: list[tuple[bytes, bytes]], body: bytes, more: bool) -> None:
    announced = next((value for name, value in headers if name.lower() == b"content-length"), b"")
    kept = [
        pair for pair in headers if pair[0].lower() not in {b"content-length", b"transfer-encoding", b"connection", b"date"}
    ]
    if exchange.method == "HEAD" or more:
        exchange.start(status, lines(kept), int(announced) if announced.isdigit() else None)
        if more:
            exchange.write(body)
        else:
            exchange.finish()
    else:
        exchange.whole(status, lines(kept), body)
