"""The layer around the web framework: request ids, body limits, cross-origin rules, the access log and request metrics.

Calls that are relayed do not come this way: they go from the server to the relay, which does the same for itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, HTTPScope, Message, Receive, Scope, Send
from prometheus_client import Counter, Histogram
from uuid_utils import uuid7

from genway.config import Server
from genway.errors import BodyTooLarge, BodyTooSlow

if TYPE_CHECKING:
    from genway.dialects.base import Dialect

log = structlog.get_logger("genway.access")

REQUESTS = Counter("genway_requests_total", "Requests answered", ["dialect", "method", "status"])
SECONDS = Histogram(
    "genway_request_seconds",
    "From a request's head to its answer's end",
    ["dialect"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
QUIET = ("/healthz", "/readyz", "/metrics")
LONGEST_REQUEST_ID = 128
UPLOAD_TYPES = (b"multipart/", b"application/octet-stream", b"video/", b"image/", b"audio/")
CORS = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"*"),
)


class Edge:
    """Wraps the inner application."""

    def __init__(self, inner: ASGIApp, settings: Server, dialects: Iterable[Dialect]) -> None:
        self._inner = inner
        self._settings = settings
        self._prefixes = sorted(
            ((prefix, dialect) for dialect in dialects for prefix in dialect.prefixes),
            key=lambda pair: len(pair[0]),
            reverse=True,
        )

    def dialect(self, path: str) -> Dialect:
        """Whose path this is; genway's own dialect has the empty prefix."""
        return next(dialect for prefix, dialect in self._prefixes if path.startswith(prefix))

    @staticmethod
    def request_id(scope: Scope) -> str:
        return str(scope.get("state", {}).get("request_id", ""))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._inner(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        request_id = _request_id(headers.get(b"x-request-id", b""))
        scope.setdefault("state", {})["request_id"] = request_id
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _preflight(headers, request_id, send)
            return
        status = 500
        extra = ((b"x-request-id", request_id.encode()), *CORS)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._inner(scope, self._limited(scope, headers, receive), sending)
            finally:
                self._account(scope, status, time.perf_counter() - started)

    def _account(self, scope: HTTPScope, status: int, seconds: float) -> None:
        path = scope["path"]
        name = self.dialect(path).name
        method = scope["method"] if scope["method"] in METHODS else "other"
        REQUESTS.labels(name, method, status).inc()
        SECONDS.labels(name).observe(seconds)
        if path not in QUIET:
            client = scope.get("client")
            log.info(
                "request",
                method=scope["method"],
                path=path,
                status=status,
                ms=round(seconds * 1000, 2),
                client=client[0] if client else "",
            )

    def _limited(self, scope: HTTPScope, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        """Count the body while it comes, and end it when it is too large or takes too long."""
        upload = headers.get(b"content-type", b"").startswith(UPLOAD_TYPES)
        most = self._settings.max_upload_bytes if upload else self._settings.max_body_bytes
        announced = headers.get(b"content-length", b"")
        seconds = self._settings.body_seconds * (10 if upload else 1)
        deadline = 0.0
        count = 0
        ended = False

        async def limited() -> Any:
            nonlocal count, deadline, ended
            if ended:
                return await receive()
            if announced.isdigit() and int(announced) > most:
                ended = True
                raise BodyTooLarge(f"the body may have at most {most} bytes and has {int(announced)}")
            now = asyncio.get_running_loop().time()
            deadline = deadline or now + seconds
            try:
                message = await asyncio.wait_for(receive(), max(deadline - now, 0))
            except TimeoutError:
                ended = True
                raise BodyTooSlow(f"the body must arrive within {seconds:g} seconds") from None
            if message["type"] == "http.request":
                count += len(message["body"])
                ended = not message["more_body"]
                if count > most:
                    ended = True
                    raise BodyTooLarge(f"the body may have at most {most} bytes")
            return message

        return limited


def _request_id(given: bytes) -> str:
    text = given.decode("latin-1")
    if 0 < len(text) <= LONGEST_REQUEST_ID and text.isascii() and text.isprintable():
        return text
    return f"req_{uuid7().hex}"


async def _preflight(headers: dict[bytes, bytes], request_id: str, send: Send) -> None:
    start: HTTPResponseStartEvent = {
        "type": "http.response.start",
        "status": 204,
        "headers": [
            *CORS,
            (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            (b"access-control-allow-headers", headers.get(b"access-control-request-headers", b"*")),
            (b"access-control-max-age", b"86400"),
            (b"x-request-id", request_id.encode()),
        ],
    }
    await send(start)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
