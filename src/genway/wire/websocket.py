"""WebSockets: on a connection of the server's after an upgrade, and on one of our own to an upstream.

The protocol is the library's, without its input and output; here is what moves the bytes. Frames are handed on one by one as
they come, so a message in fragments need not be whole before it travels on.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Iterable
from typing import Any, cast

from websockets.client import ClientProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from genway.errors import GenwayError, InvalidRequest
from genway.wire.exchange import Exchange, Headers, lines
from genway.wire.pool import Origin, Pool
from genway.wire.upstream import BrokenOff

NORMAL, GOING_AWAY, NO_CODE, BROKEN_OFF, TOO_BIG, FAULT, RESTART = 1000, 1001, 1005, 1006, 1009, 1011, 1012
READ_BUFFER = 256 * 1024
FRAME_COST = 64  # bytes that a frame takes beside its data: many empty ones are not nothing
WRITE_BUFFER = 256 * 1024
CLOSE_SECONDS = 5.0
LONGEST_REASON = 123
PONG = bytes([0x80 | Opcode.PONG])  # how its frame begins
DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
TCP_CLOSED = frozenset({7, 8})  # closed, and closed by the other side
QUIET = logging.getLogger("websockets.genway")  # each session has its line in the access log
QUIET.setLevel(logging.ERROR)
HANDSHAKE = frozenset({b"host", b"connection", b"upgrade", b"sec-websocket-key", b"sec-websocket-version"})


class Closed(Exception):
    """A connection is over. end: which; code, reason: of its closing (1005: it named none, 1006: it was not closed but broke
    off). faulty: whoever is there broke the protocol or a limit, and was told so with this code."""

    def __init__(self, end: object, code: int, reason: str, *, faulty: bool = False) -> None:
        super().__init__(f"{code} {reason}".strip())
        self.end = end
        self.code = code
        self.reason = reason
        self.faulty = faulty


class Socket(asyncio.Protocol):
    """One WebSocket connection. `receive` and `send` frames; pings are answered, and sent in pauses, by themselves.

    While nobody receives, the other side is held back, and `send` waits while the other side does not take what was sent.
    """

    def __init__(self, protocol: ServerProtocol | ClientProtocol, *, keep_alive_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._keep_alive_seconds = keep_alive_seconds
        self._transport: asyncio.Transport = cast(Any, None)
        self._frames: deque[Frame] = deque()
        self._size = 0
        self._paused = False
        self._pong = b""  # what a ping is answered with once there is room
        self._heard_at = self._loop.time()
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._handshake: asyncio.Future[Response] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._end: Closed | None = None
        self.lost = False

    # --- what those who talk use

    async def receive(self) -> Frame:
        """The next frame of a message. Raises Closed, after the last one."""
        while not self._frames:
            if self._end is not None:
                raise self._end
            self._waiter = self._loop.create_future()
            await self._waiter
        frame = self._frames.popleft()
        self._size -= len(frame.data) + FRAME_COST
        if self._paused and self._size < READ_BUFFER // 2:
            self._paused = False
            if not self._transport.is_closing():
                self._heard_at = self._loop.time()
                self._transport.resume_reading()
        return frame

    async def send(self, frame: Frame) -> None:
        """Send a frame as it is, and wait until there is room for more. Raises Closed."""
        protocol = self._protocol
        if self._end is not None:
            raise self._end
        match frame.opcode:
            case Opcode.TEXT:
                protocol.send_text(frame.data, frame.fin)
            case Opcode.BINARY:
                protocol.send_binary(frame.data, frame.fin)
            case _:
                protocol.send_continuation(frame.data, frame.fin)
        self._flush()
        while self._room is not None and self._end is None:
            await asyncio.shield(self._room)
        if self._end is not None:
            raise self._end

    @property
    def gone(self) -> bool:
        """Whether nobody is there any more; where the system tells, also seen while the other side is held back."""
        if self.lost or not self._paused or TCP_INFO is None:
            return self.lost
        plug = self._transport.get_extra_info("socket")
        return plug is not None and plug.getsockopt(socket.IPPROTO_TCP, TCP_INFO, 1)[0] in TCP_CLOSED

    @property
    def between_messages(self) -> bool:
        """Whether what was sent last ended a message, so that one of our own can be sent."""
        return not self._protocol.expect_continuation_frame

    def close(self, code: int, reason: str = "") -> None:
        """Say that it is over, and why; nothing is received any more. The connection ends when the other side agrees."""
        if self.lost:
            return
        if self._protocol.state is State.OPEN:
            if code == NO_CODE:
                self._protocol.send_close()
            else:
                self._protocol.send_close(code, _short(reason))
            self._flush()
        self._finish(code, reason)
        self._frames.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def abort(self) -> None:
        """End the connection at once."""
        if not self.lost:
            self._transport.abort()

    # --- the beginning

    def adopt(self, transport: asyncio.Transport, response: Response, early: bytes) -> None:
        """Go on with a connection of the server's: answer the upgrade. early: what has come after the request."""
        self.connection_made(transport)
        transport.set_protocol(self)
        cast(ServerProtocol, self._protocol).send_response(response)
        self._flush()
        transport.resume_reading()
        self._beat()
        if early:
            self.data_received(early)

    async def greet(self, request: Request) -> Response:
        """Ask for the upgrade; the answer, which may be a refusal with a body. Raises BrokenOff."""
        self._handshake = self._loop.create_future()
        cast(ClientProtocol, self._protocol).send_request(request)
        self._flush()
        response = await self._handshake
        if response.status_code == 101 and self._protocol.handshake_exc is not None:
            raise BrokenOff(f"the upgrade was answered wrongly: {self._protocol.handshake_exc}", began=True)
        if response.status_code == 101:
            self._beat()
        return response

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        self._protocol.receive_data(data)
        self._take()

    def eof_received(self) -> bool:
        self._protocol.receive_eof()
        self._take()
        self._finish(BROKEN_OFF, "the connection broke off")  # even if what was said is never taken
        return False

    def connection_lost(self, problem: Exception | None) -> None:
        self.lost = True
        for timer in self._timers:
            timer.cancel()
        self._protocol.receive_eof()
        self._protocol.data_to_send()
        self._take()
        self._finish(BROKEN_OFF, "the connection broke off")
        if self._handshake is not None and not self._handshake.done():
            self._handshake.set_exception(BrokenOff("the connection was closed before the upgrade", began=False))
        self._give_room()

    def pause_writing(self) -> None:
        if self._room is None:
            self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        pong, self._pong = self._pong, b""
        self._give_room()
        if pong and self._protocol.state is State.OPEN:
            self._transport.write(pong)

    def _give_room(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    # --- inside

    def _take(self) -> None:
        """Act on what the protocol has made of the bytes that came."""
        protocol = self._protocol
        for event in protocol.events_received():
            if isinstance(event, Frame):
                if event.opcode in DATA:
                    if self._end is None:
                        self._frames.append(event)
                        self._size += len(event.data) + FRAME_COST
                elif event.opcode is Opcode.CLOSE and protocol.close_rcvd is not None:
                    self._finish(protocol.close_rcvd.code, protocol.close_rcvd.reason)
            elif isinstance(event, Response) and self._handshake is not None and not self._handshake.done():
                self._handshake.set_result(event)
        if protocol.handshake_exc is not None and self._handshake is not None and not self._handshake.done():
            self._handshake.set_exception(BrokenOff(f"the upgrade failed: {protocol.handshake_exc}", began=True))
        if protocol.parser_exc is not None and isinstance(protocol.close_sent, Close):
            self._finish(protocol.close_sent.code, protocol.close_sent.reason, faulty=True)
        if not self.lost:
            self._flush()
            if self._size > READ_BUFFER and not self._paused and self._end is None:
                self._paused = True
                self._transport.pause_reading()
        if self._frames:
            _wake(self._waiter)

    def _flush(self) -> None:
        """Send what the protocol has to say. Who takes nothing and pings on is answered later, and the last ping alone."""
        for data in self._protocol.data_to_send():
            if data == SEND_EOF:
                self._transport.close()  # once what is written has gone
            elif data[:1] == PONG and self._transport.get_write_buffer_size() > WRITE_BUFFER:
                self._pong = data
            else:
                self._transport.write(data)

    def _finish(self, code: int, reason: str, *, faulty: bool = False) -> None:
        if self._end is None:
            self._end = Closed(self, code, reason, faulty=faulty)
            self._timers.append(self._loop.call_later(CLOSE_SECONDS, self.abort))
            if self.lost:
                self._timers[-1].cancel()
        _wake(self._waiter)
        self._give_room()

    def _beat(self) -> None:
        """Ping in a pause, and give up on whoever does not answer."""
        every = self._keep_alive_seconds
        if not every or self._end is not None:
            return
        silent = self._loop.time() - self._heard_at
        if silent > 3 * every and not self._paused:
            self._finish(BROKEN_OFF, f"nothing came for {silent:.0f} seconds, no answer to pings either")
            self.abort()
            return
        if silent >= every * 0.9 and self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._flush()
        self._timers[:] = [self._loop.call_later(every, self._beat)]


def accept(exchange: Exchange, *, subprotocol: str, most: int, keep_alive_seconds: float) -> tuple[Socket, Response]:
    """The client's end of an upgrade, and the answer to it, which is sent by `Socket.adopt`.

    subprotocol: what is agreed on, empty for none. most: bytes of the largest message taken.
    Raises InvalidRequest, with status 426 where it is no upgrade to a WebSocket.
    """
    protocol = ServerProtocol(
        subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
        select_subprotocol=lambda _, __: Subprotocol(subprotocol) if subprotocol else None,
        max_size=most,
        logger=QUIET,
    )
    # Only what the handshake is about: other headers may be longer than the library takes.
    told = [(name, value) for name, value in exchange.headers if name in HANDSHAKE]
    version = b"HTTP/1.0" if exchange.http10 else b"HTTP/1.1"
    protocol.receive_data(b"%b /realtime %b\r\n%b\r\n" % (exchange.method.encode(), version, lines(told)))
    requests = [event for event in protocol.events_received() if isinstance(event, Request)]
    if not requests:
        raise InvalidRequest("this is no handshake of a WebSocket")
    response = protocol.accept(requests[0])
    if response.status_code != 101:
        raise _refused(response, protocol.handshake_exc)
    return Socket(protocol, keep_alive_seconds=keep_alive_seconds), response


async def connect(
    pool: Pool,
    origin: Origin,
    target: str,
    headers: Iterable[tuple[str, str]],
    *,
    most: int,
    keep_alive_seconds: float,
    connect_seconds: float,
    until: float,
) -> tuple[Socket, Response]:
    """A WebSocket to an upstream, and its answer to the upgrade: 101, or a refusal, whose connection is closed already.

    target: path and query. headers: beside those of the handshake. until: when the answer has to be there, by the loop's clock.
    Raises Unreachable or BrokenOff.
    """
    address = parse_uri(f"{'wss' if origin.tls else 'ws'}://{origin.authority}{target}")
    protocol = ClientProtocol(address, max_size=most, logger=QUIET)
    made = Socket(protocol, keep_alive_seconds=keep_alive_seconds)
    await pool.open(origin, lambda: made, connect_seconds)
    request = protocol.connect()
    for name, value in headers:
        if name in request.headers:
            del request.headers[name]
        request.headers[name] = value
    try:
        async with asyncio.timeout_at(until):
            response = await made.greet(request)
    except TimeoutError:
        made.abort()
        raise BrokenOff("the upgrade was not answered within its time") from None
    except BaseException:
        made.abort()
        raise
    if response.status_code != 101:
        made.abort()
    return made, response


def text(data: bytes) -> Frame:
    """A message in one frame."""
    return Frame(Opcode.TEXT, data)


def sendable(code: int) -> bool:
    """Whether a close frame may have this code."""
    try:
        Close(code, "").check()
    except ProtocolError:
        return False
    return True


def head(response: Response) -> Headers:
    """The headers of an answer, names in lower case."""
    return [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in response.headers.raw_items()]


def _short(reason: str) -> str:
    """As much of a reason as fits into a close frame."""
    return reason.encode()[:LONGEST_REASON].decode(errors="ignore")


def _refused(response: Response, problem: BaseException | None) -> GenwayError:
    upgrade = response.status_code == 426
    what = "connect with a WebSocket: this is not for plain requests" if upgrade else f"no WebSocket came about: {problem}"
    error = InvalidRequest(what)
    error.status = response.status_code  # type: ignore[misc]
    return error


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
