"""Answers what is asked beside the calls: which models there are, what is left, what a vendor keeps for an account.

A handler is a function of an `Inquiry` that returns a `Told`; its module has a list `routes`, filled by the decorator
`route`. Paths are those after `/v1`, with names in braces for their parts; the last may take the rest (`{id+}`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import structlog

from genway import logs
from genway.errors import GenwayError, InvalidRequest, NotFound
from genway.providers.relaying import Wire
from genway.relay import errors, metrics
from genway.relay.callers import Holder, limit_headers
from genway.relay.errors import Passed
from genway.relay.heads import CORS
from genway.relay.kinds import under_v1
from genway.relay.relay import Relay, request_id
from genway.wire.exchange import ClientGone, Exchange

log = structlog.get_logger(__name__)

LARGEST_INQUIRY = 8 * 1024 * 1024


class Told(msgspec.Struct):
    """An answer. body: JSON of whatever it is, unless it is bytes already. None: the handler has answered itself."""

    body: Any
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}


class Inquiry:
    """One request. wire: the format of whoever asks. holder: whose key it is."""

    def __init__(self, relay: Relay, exchange: Exchange, holder: Holder, wire: Wire, number: str) -> None:
        self.relay = relay
        self.exchange = exchange
        self.holder = holder
        self.caller = holder.caller
        self.wire = wire
        self.request_id = number
        self.query = dict(parse_qsl(exchange.query.decode("latin-1"), keep_blank_values=True))
        self.channel = ""

    async def body(self) -> bytes:
        """The whole body. Raises as `Relay.read` does."""
        return await self.relay.read(self.exchange)

    def common(self) -> bytes:
        """The lines of every answer to it."""
        lines = b"x-genway-channel: %b\r\n" % self.channel.encode("latin-1", "replace") if self.channel else b""
        return lines + _common(self.request_id, self.wire) + limit_headers(self.holder, self.wire)

    def number(self, name: str, default: int, *, most: int, least: int = 1) -> int:
        """A whole number of the query. Raises InvalidRequest."""
        text = self.query.get(name, "")
        if not text:
            return default
        number = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None
        if number is None or not least <= number <= most:
            raise InvalidRequest(f"a whole number from {least} to {most}, got {text[:20]}", field=name)
        return number


Answerer = Callable[..., Awaitable[Told | None]]


class Route(msgspec.Struct, frozen=True):
    """first: the first part of the path.

    wire: the format errors are in, unless the client's headers say another.

    counts: whether it counts against the limit. refusal: how errors look where they are in neither format.
    """

    method: str
    first: str
    pattern: re.Pattern[str]
    answer: Answerer
    wire: Wire | None
    counts: bool
    refusal: Callable[[GenwayError], Told] | None


class Routes(list[Route]):
    """The routes of one module."""

    def on(
        self,
        method: str,
        *paths: str,
        wire: Wire | None = None,
        counts: bool = False,
        but: Sequence[str] = (),
        refusal: Callable[[GenwayError], Told] | None = None,
    ) -> Callable[[Answerer], Answerer]:
        """but: what the last part of the path must not be, since somebody else answers there."""
        others = f"(?!.*/(?:{'|'.join(map(re.escape, but))})$)" if but else ""

        def register(answer: Answerer) -> Answerer:
            for path in paths:
                parts = re.sub(r"\\\{(\w+)\\\+\\\}", r"(?P<\1>.+)", re.escape(path).replace(r"\+", r"\+"))
                parts = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", parts)
                first = path.lstrip("/").partition("/")[0]
                self.append(Route(method, first, re.compile(f"{others}{parts}$"), answer, wire, counts, refusal))
            return answer

        return register


class InquiryLine(logs.Line):
    """An inquiry in the access log."""

    request_id: str
    method: str
    path: str
    status: int
    ms: float
    channel: str
    event: str = "request"


class Desk:
    """Knows the routes of all the modules it is given."""

    def __init__(self, relay: Relay, *modules: Routes) -> None:
        self._relay = relay
        self._routes = [route for routes in modules for route in routes]
        self._first = {route.first for route in self._routes}

    def find(self, exchange: Exchange) -> tuple[Route, dict[str, str]] | None:
        """The route of a request. Raises nothing; a path that is not known here is for somebody else."""
        path = under_v1(exchange.path)
        method = "GET" if exchange.method == "HEAD" else exchange.method
        if path.lstrip("/").partition("/")[0] not in self._first:
            return None
        for route in self._routes:
            found = route.pattern.match(path)
            if found is not None and route.method == method:
                return route, found.groupdict()
        return None

    async def handle(self, exchange: Exchange, route: Route, parts: Mapping[str, str]) -> None:
        """Answer one inquiry, whatever happens."""
        started = time.perf_counter()
        number = request_id(exchange.header(b"x-request-id"))
        wire: Wire = route.wire or ("anthropic" if exchange.header(b"anthropic-version") else "openai")
        inquiry: Inquiry | None = None
        try:
            holder = await self._relay.callers.holder(exchange)
            inquiry = Inquiry(self._relay, exchange, holder, wire, number)
            if route.counts:
                await self._relay.callers.count(holder, 0, False)
            told = await route.answer(inquiry, **parts)
            if told is not None:
                self._tell(inquiry, told)
        except Passed as said:
            assert inquiry is not None
            self._tell(inquiry, Told(said.body, said.status))
        except GenwayError as error:
            if route.refusal is not None:
                told = route.refusal(error)
                head = b"content-type: %b\r\n%b" % (told.content_type.encode(), _common(number, wire))
                exchange.whole(told.status, head, msgspec.json.encode(told.body))
            else:
                self._refuse(exchange, error, wire, number)
        except ClientGone:
            pass
        except Exception:
            log.exception("relay.failed", path=exchange.path, request_id=number)
            self._refuse(exchange, GenwayError("something went wrong here; it is recorded under the request id"), wire, number)
        finally:
            channel = inquiry.channel if inquiry is not None else ""
            self._note(exchange, number, channel, time.perf_counter() - started)

    @staticmethod
    def _tell(inquiry: Inquiry, told: Told) -> None:
        body = told.body if isinstance(told.body, bytes) else msgspec.json.encode(told.body)
        lines = [f"content-type: {told.content_type}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in told.headers.items()]
        inquiry.exchange.whole(told.status, "".join(lines).encode("latin-1", "replace") + inquiry.common(), body)

    @staticmethod
    def _refuse(exchange: Exchange, error: GenwayError, wire: Wire, number: str) -> None:
        if exchange.started:
            exchange.abort()
            return
        status = 404 if isinstance(error, NotFound) else errors.status_of(error, wire)
        exchange.whole(status, errors.headers(error, wire) + _common(number, wire), errors.body(error, wire, number))

    @staticmethod
    def _note(exchange: Exchange, number: str, channel: str, seconds: float) -> None:
        metrics.called("inquiry", channel, exchange.status, seconds)
        logs.access(InquiryLine(number, exchange.method, exchange.path, exchange.status, round(seconds * 1000, 2), channel))


def _common(number: str, wire: Wire) -> bytes:
    lines = b"x-request-id: %b\r\n%b" % (number.encode(), CORS)
    return lines + b"request-id: %b\r\n" % number.encode() if wire == "anthropic" else lines
