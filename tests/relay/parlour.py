"""Realtime sessions at a house, and the vendors they may be sent on to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from relay.house import DEADLINE, SECRET, House

MODEL = "gpt-realtime"
Talk = Callable[["Vendor", ServerConnection], Awaitable[None]]


@contextlib.asynccontextmanager
async def session(
    house: House,
    query: str = f"model={MODEL}",
    *,
    key: str = SECRET,
    path: str = "/v1/realtime",
    protocols: tuple[str, ...] = (),
    **more: Any,
) -> AsyncIterator[ClientConnection]:
    """A session of a client's. key: for the header, empty for none."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    address = f"{house.url.replace('http', 'ws', 1)}{path}?{query}"
    offered = [Subprotocol(name) for name in protocols] or None
    async with (
        asyncio.timeout(DEADLINE),
        connect(
            address, additional_headers=headers | more.pop("headers", {}), subprotocols=offered, max_size=None, **more
        ) as client,
    ):
        yield client


class Vendor:
    """Takes sessions and does with each what `talk` says. seen: the requests for an upgrade; frames: the messages that came.

    refusals: what the next requests are answered with instead, a status and a body.
    """

    def __init__(self, talk: Talk, *refusals: tuple[int, Any], **options: Any) -> None:
        self.url = ""
        self.seen: list[Request] = []
        self.messages: list[str | bytes] = []
        self.closed: list[tuple[int | None, str | None]] = []
        self._talk = talk
        self._refusals = list(refusals)
        self._options = options
        self._server: WebSocketServer

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._met, "127.0.0.1", 0, process_request=self._judge, compression=None, max_size=None, **self._options
        )
        self.url = f"http://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        self.seen.append(request)
        if not self._refusals:
            return None
        status, body = self._refusals.pop(0)
        encoded = msgspec.json.encode(body)
        headers = Headers({"content-type": "application/json", "content-length": str(len(encoded)), "connection": "close"})
        return Response(status, "Refused", headers, encoded)

    async def _met(self, connection: ServerConnection) -> None:
        try:
            await self._talk(self, connection)
        finally:
            await connection.wait_closed()
            self.closed.append((connection.close_code, connection.close_reason))


def event(name: str, **members: Any) -> str:
    return msgspec.json.encode({"type": name, "event_id": "event_1", **members}).decode()


CREATED = event("session.created", session={"type": "realtime", "model": MODEL})
USAGE = {
    "total_tokens": 15, "input_tokens": 10, "output_tokens": 5,
    "input_token_details": {"text_tokens": 4, "audio_tokens": 6, "cached_tokens": 0},
    "output_token_details": {"text_tokens": 2, "audio_tokens": 3},
}  # fmt: skip
DONE = event("response.done", response={"id": "resp_1", "status": "completed", "usage": USAGE})


async def answering(vendor: Vendor, connection: ServerConnection) -> None:
    """Greets, and answers every `response.create`; repeats what else comes."""
    await connection.send(CREATED)
    async for message in connection:
        vendor.messages.append(message)
        if isinstance(message, str) and "response.create" in message:
            await connection.send(event("response.created", response={"id": "resp_1", "status": "in_progress"}))
            await connection.send(event("response.output_text.delta", response_id="resp_1", delta="Hello"))
            await connection.send(DONE)
        else:
            await connection.send(message)


def error(code: str | None, kind: str = "invalid_request_error", message: str = "No.") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


async def said(client: ClientConnection, name: str) -> dict[str, Any]:
    """The next event of this name."""
    while True:
        told: dict[str, Any] = msgspec.json.decode(await client.recv())
        if told["type"] == name:
            return told
