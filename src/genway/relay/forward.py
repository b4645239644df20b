"""Sends what is asked about a kept thing to the channel that has it, and brings the answer back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
import structlog

from genway.errors import BodyTooLarge, BodyTooSlow, InvalidRequest, NoChannel, RateLimited, Unavailable
from genway.relay.errors import Passed, UpstreamFailed
from genway.relay.heads import forwarded
from genway.relay.keeper import Place
from genway.relay.objects import Kept
from genway.relay.retries import LONGEST_ERROR, judge
from genway.relay.seats import Seat
from genway.wire.exchange import Exchange
from genway.wire.pool import Pool, Unreachable
from genway.wire.upstream import BrokenOff, Reply

if TYPE_CHECKING:
    from genway.relay.desk import Inquiry

log = structlog.get_logger(__name__)

SHOWN = (b"content-type", b"content-disposition", b"openai-processing-ms")
LARGEST_ANSWER = 32 * 1024 * 1024
NOT_TAKEN = frozenset({501, 503, 529})  # with these a vendor says that it has not begun
SILENT_SECONDS = 60.0
WINDOW = 1024 * 1024
BUFFER = 512 * 1024
PATHS: Final[dict[str, str]] = {
    "responses": "responses",
    "conversations": "conversations",
    "files": "files",
    "message_files": "files",
    "batches": "batches",
    "message_batches": "message_batches",
}
"""Sort of thing → the kind of call whose path it is under (`RelayProvider.paths`)."""


class Post(msgspec.Struct):
    """What is sent along. content_type: with the boundary of a form. once: it must not be sent again, whatever happens."""

    body: bytes | AsyncIterator[bytes] = b""
    content_type: bytes = b"application/json"
    once: bool = False


class Unheard(UpstreamFailed):
    """The vendor may have done what it was asked: its answer did not come, or was none."""


def target(seat: Seat, kind: str, rest: str, query: str = "") -> bytes:
    """The target of a request line: `rest` behind the path of this kind of call. Raises Unavailable where there is none."""
    path = seat.path(kind, "")
    if path is None:
        raise Unavailable(f"the channel {seat.channel.name} does not do {kind} any more")
    base, _, given = path.decode().partition("?")
    queries = "&".join(part for part in (given, query) if part)
    return f"{base}{quote(rest)}{'?' + queries if queries else ''}".encode()


async def ask(
    pool: Pool,
    place: Place,
    method: str,
    where: bytes,
    post: Post | None = None,
    *,
    headers: Mapping[bytes, bytes] | None = None,
    connect_seconds: float = 10,
    seconds: float = 0,
) -> Reply:
    """The vendor's answer, begun, where it goes well. seconds: how long that may take; 0: what the channel has.

    Raises Passed with the vendor's own refusal, RateLimited, Unavailable where the channel's key is of no use, and
    UpstreamFailed where the channel is down: Unheard, if it got the request.
    """
    seat = place.seat
    lines = dict(place.credential.head) | dict(headers or {})
    body: bytes | AsyncIterator[bytes] = b""
    if post is not None:
        body = post.body
        lines[b"content-type"] = post.content_type
    framing = b"content-length: %d\r\n" % len(body) if isinstance(body, bytes) else b"transfer-encoding: chunked\r\n"
    if method in {"GET", "DELETE"} and body == b"":
        framing = b""
    head = b"%b %b HTTP/1.1\r\n%b%b\r\n" % (
        method.encode(),
        where,
        b"".join([b"%b: %b\r\n" % pair for pair in lines.items()]),
        framing,
    )
    sized = isinstance(body, bytes)
    if post is not None and post.once and isinstance(body, bytes):  # what comes in pieces gets a fresh connection
        body = _piece(body)
    try:
        reply = await pool.send(
            seat.origin,
            head,
            body,
            connect_seconds=connect_seconds,
            seconds=seconds or seat.channel.timeout or seat.provider.timeout,
            sized=sized,
        )
        if reply.status < 400:
            return reply
        refusal = judge(seat.provider, reply, await reply.body(LONGEST_ERROR))
    except (Unreachable, BrokenOff) as error:
        failed = Unheard if isinstance(error, BrokenOff) else UpstreamFailed
        raise failed(f"the channel that keeps this did not answer: {error}") from None
    match refusal.verdict:
        case "refused" | "out of credit" | "not allowed":
            log.error("channel.key_refused", channel=seat.channel.name, credential=place.credential.name, why=refusal.verdict)
            raise Unavailable("the channel's own key is refused or out of credit; the operator has to see to it")
        case "busy":
            raise RateLimited(refusal.message or "the upstream is busy", retry_after=refusal.retry_after)
        case "fault" if refusal.status >= 500:
            failed = UpstreamFailed if refusal.status in NOT_TAKEN else Unheard
            raise failed(refusal.message or f"the upstream answered {refusal.status}", retry_after=refusal.retry_after)
    raise Passed(refusal.status, refusal.body)


async def _piece(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def at(inquiry: Inquiry, place: Place, method: str, kind: str, rest: str, post: Post | None = None) -> Reply:
    """What the vendor answers to a client's question at a place. Raises as `ask` does."""
    inquiry.channel = place.seat.channel.name
    where = target(place.seat, kind, rest, _query(inquiry.exchange))
    keeper = inquiry.relay.keeper
    seconds = keeper.settings.connect_seconds
    return await ask(
        keeper.pool, place, method, where, post, headers=forwarded(inquiry.exchange.headers), connect_seconds=seconds
    )


async def about(inquiry: Inquiry, kept: Kept, method: str, rest: str = "", post: Post | None = None) -> Reply:
    """What the vendor answers about a kept thing. Raises as `ask` does, and Unavailable where its channel is gone."""
    place = inquiry.relay.keeper.place(kept)
    return await at(inquiry, place, method, PATHS[kept.kind], f"/{kept.id}{rest}", post)


def choose(inquiry: Inquiry, kind: str, models: Collection[str] = ()) -> Place:
    """Where a new thing is made: at the channel that the header `X-Genway-Channel` names, else at the best one that has the
    models and is well. Raises InvalidRequest, NoChannel or Unavailable."""
    board = inquiry.relay.board
    named = inquiry.exchange.header(b"x-genway-channel").decode("latin-1")
    able = [seat for seat in board.seats if seat.provider.wire == inquiry.wire and seat.path(kind, "") is not None]
    if named:
        able = [seat for seat in able if named == seat.channel.name]
        if not able:
            raise InvalidRequest(f"there is no channel {named[:100]} that does {kind}", field="X-Genway-Channel")
    fitting = [seat for seat in able if all(seat.rank(model) for model in models)]
    if not fitting:
        what = f"the models {', '.join(sorted(models))[:300]} for {kind}" if models else kind
        raise NoChannel(f"no channel here does {what}", field="model" if models else None)
    chances = [
        (sum(seat.rank(model) for model in models), seat.channel.priority, random.random() ** (1 / max(seat.channel.weight, 1)))  # noqa: S311
        for seat in fitting
    ]
    for _, number in sorted(((chance, number) for number, chance in enumerate(chances)), reverse=True):
        credential = fitting[number].credential(board.now(), set())
        if credential is not None:
            return Place(fitting[number], credential)
    raise Unavailable("the channels' own keys are refused or out of credit; the operator has to see to it")


def id_of(body: bytes) -> str:
    """The id in an answer; nothing where there is none."""
    try:
        return msgspec.json.decode(body, type=_Named).id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


class _Named(msgspec.Struct):
    id: str = ""


def _query(exchange: Exchange) -> str:
    """The client's query without what is for us."""
    text = exchange.query.decode("latin-1")
    if "model=" not in text:
        return text
    return urlencode([pair for pair in parse_qsl(text, keep_blank_values=True) if pair[0] != "model"])


async def whole(reply: Reply) -> bytes:
    """An answer's body. Raises Unheard."""
    try:
        return await reply.body(LARGEST_ANSWER)
    except BrokenOff as error:
        raise Unheard(f"the upstream's answer broke off: {error}") from None


async def pass_through(inquiry: Inquiry, reply: Reply) -> None:
    """Give the client an answer as it comes, no faster than it is taken; for one that breaks off the connection is cut."""
    exchange = inquiry.exchange
    length = reply.header(b"content-length")
    head = b"".join([b"%b: %b\r\n" % (name, value) for name, value in reply.headers if name in SHOWN])
    exchange.start(reply.status, head + inquiry.common(), int(length) if length.isdigit() else None)
    if exchange.method == "HEAD":
        reply.abort()
        exchange.finish()
        return
    ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    def end(problem: str | None) -> None:
        if not ended.done():
            ended.set_result(problem)

    def left() -> None:
        reply.abort()
        end("the client has gone")

    exchange.on_gone = left
    exchange.on_room = lambda room: reply.pause(not room)
    reply.flow(exchange.write, end)
    if exchange.gone:
        left()
    problem = await ended
    exchange.on_gone = exchange.on_room = None
    if problem is None:
        exchange.finish()
    else:
        exchange.abort()


async def upload(exchange: Exchange, most: int, seconds: float) -> bytes | AsyncIterator[bytes]:
    """The client's body: whole where it is small, else piece by piece, never more than `most` bytes, within so many seconds.

    Raises BodyTooLarge or BodyTooSlow, also from the pieces, or ClientGone.
    """
    announced = exchange.header(b"content-length")
    if announced.isdigit() and int(announced) > most:
        raise BodyTooLarge(f"a file may have at most {most} bytes and this has {int(announced)}")
    body = _limited(exchange, most, seconds)
    first = bytearray()
    async for part in body:
        first += part
        if len(first) > WINDOW:
            return _after(bytes(first), body)
    return bytes(first)


async def _limited(exchange: Exchange, most: int, seconds: float) -> AsyncIterator[bytes]:
    until = asyncio.get_running_loop().time() + seconds
    size = 0
    while True:
        try:
            async with asyncio.timeout_at(until):
                part = await exchange.read()
        except TimeoutError:
            raise BodyTooSlow(f"the body must arrive within {seconds:g} seconds") from None
        if not part:
            return
        size += len(part)
        if size > most:
            raise BodyTooLarge(f"a file may have at most {most} bytes")
        yield part


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for part in rest:
        yield part


async def pieces(reply: Reply) -> AsyncIterator[bytes]:
    """An answer's body as it comes, no faster than it is taken. Raises UpstreamFailed where it breaks off or falls silent."""
    waiting: list[bytes] = []
    size = 0
    problem: str | None = None
    ended = False
    arrived = asyncio.Event()

    def data(piece: bytes) -> None:
        nonlocal size
        waiting.append(piece)
        size += len(piece)
        if size > BUFFER:
            reply.pause(True)
        arrived.set()

    def end(why: str | None) -> None:
        nonlocal problem, ended
        problem, ended = why, True
        arrived.set()

    reply.flow(data, end)
    try:
        while True:
            try:
                async with asyncio.timeout(SILENT_SECONDS):
                    await arrived.wait()
            except TimeoutError:
                problem = f"nothing came for {SILENT_SECONDS:g} seconds"
                break
            arrived.clear()
            taken, waiting[:] = b"".join(waiting), []
            size = 0
            if taken:
                yield taken
            if ended and not waiting:
                break
            reply.pause(False)
            if waiting:
                arrived.set()
    finally:
        reply.abort()
    if problem is not None:
        raise UpstreamFailed(f"the upstream's answer broke off: {problem}")
