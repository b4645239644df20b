"""Asks one channel after the other for a realtime session until one has begun."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

import msgspec
from websockets.frames import Frame, Opcode

from genway.config import Relay
from genway.relay.ongoing import Ongoing
from genway.relay.retries import Refusal, judge
from genway.relay.seats import Board, Choice, Credential
from genway.relay.sending import Answered, Attempt, Sender, tell_of_attempt
from genway.wire.exchange import Headers
from genway.wire.pool import Pool, Unreachable
from genway.wire.upstream import BrokenOff
from genway.wire.websocket import Closed, Socket, connect, head

HANDSHAKE_SECONDS = 30.0
FIRST_SECONDS = 3.0
OURS = frozenset({"model", "deployment", "api-version", "api-key"})
"""Of the address's query, what is for us; the rest travels on."""
BETA = ("openai-beta", "realtime=v1")
STATUSES = {
    "model_not_found": 404,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "insufficient_quota": 429,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "server_error": 500,
    "service_unavailable_error": 503,
}
"""What an error that is told as an event would have been as an answer, by its code or its type."""


class Told(msgspec.Struct):
    """An error as an event has it."""

    type: str = ""
    code: str | None = None


class First(msgspec.Struct):
    """An upstream's first event. error: as it came."""

    type: str = ""
    error: msgspec.Raw = msgspec.Raw(b"{}")


class Dialled(Answered, kw_only=True):
    """A session that has begun. said: what came of it already."""

    socket: Socket
    said: list[Frame]


class Declined(msgspec.Struct):
    """An upgrade that was refused, by its answer or by the first event after it."""

    status: int
    body: bytes
    headers: Headers = []

    def header(self, name: bytes) -> bytes:
        return next((value for key, value in self.headers if key == name), b"")


class Dialer(Sender):
    """For one session. query: the client's; most: bytes of the largest message. legacy: the client speaks the older form."""

    def __init__(
        self,
        pool: Pool,
        board: Board,
        settings: Relay,
        query: Mapping[str, str],
        *,
        most: int,
        legacy: bool,
        transcribes: bool,
    ) -> None:
        super().__init__(pool, board, settings)
        self._query = {name: value for name, value in query.items() if name not in OURS}
        if transcribes:
            self._query["intent"] = "transcription"
        self._most = most
        self._legacy = legacy
        self._transcribes = transcribes

    def begin(self, ongoing: Ongoing, choice: Choice, credential: Credential, now: float, until: float) -> Attempt:
        self._take_seat(ongoing, choice, credential)
        return Attempt(choice, credential, now, until)

    async def _attempt(self, ongoing: Ongoing, attempt: Attempt) -> tuple[Answered | None, float | None]:
        choice, credential = attempt.choice, attempt.credential
        probe = choice.health.until > 0
        if probe:
            choice.health.probing = True
        ongoing.exchange.on_gone = ongoing.cancel
        try:
            came = await self._dial(choice, credential, attempt.until)
        except (Unreachable, BrokenOff) as error:
            ongoing.fault, ongoing.refusal = error, None
            self._leave_seat(ongoing)
            self._board.failed(choice, str(error))
            tell_of_attempt(ongoing, type(error).__name__, str(error))
            return None, None
        finally:
            if probe:
                choice.health.probing = False
            ongoing.exchange.on_gone = None
        if isinstance(came, Refusal):
            return self._refused(ongoing, choice, credential, came)
        self._board.succeeded(choice)
        return came, None

    async def _dial(self, choice: Choice, credential: Credential, until: float) -> Dialled | Refusal:
        seat = choice.seat
        late = min(until, asyncio.get_running_loop().time() + min(HANDSHAKE_SECONDS, seat.channel.timeout or HANDSHAKE_SECONDS))
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in credential.head.items()}
        if self._legacy:
            headers.setdefault(*BETA)
        socket, response = await connect(
            self._pool,
            seat.origin,
            self._target(choice),
            headers.items(),
            most=self._most,
            keep_alive_seconds=self._settings.keep_alive_seconds,
            connect_seconds=self._settings.connect_seconds,
            until=late,
        )
        if response.status_code != 101:
            status = response.status_code if response.status_code >= 400 else 502
            declined = Declined(status, bytes(response.body or b""), head(response))
            return judge(seat.provider, declined, declined.body)
        try:
            said = await _first(socket)
        except BaseException:
            socket.abort()
            raise
        if isinstance(said, Declined):
            socket.abort()
            return judge(seat.provider, said, said.body)
        return Dialled(choice, socket=socket, said=said)

    def _target(self, choice: Choice) -> str:
        """Path and query: what the channel's says, the client's own, and the model, where the path does not name it."""
        path, _, fixed = choice.target.decode().partition("?")
        query = self._query | dict(parse_qsl(fixed, keep_blank_values=True))
        if "deployment" not in query and not self._transcribes:
            query["model"] = choice.vendor_model
        return f"{path}?{urlencode(query)}"


async def _first(socket: Socket) -> list[Frame] | Declined:
    """What is said first. Vendors greet at once; one that waits for the client is not waited for. Raises BrokenOff.

    Some vendors take the upgrade and then say in an event that they refuse, and close.
    """
    try:
        async with asyncio.timeout(FIRST_SECONDS):
            frame = await socket.receive()
    except TimeoutError:
        return []
    except Closed as closed:
        raise BrokenOff(f"the session was closed before it began: {closed}", began=True) from None
    if frame.opcode is not Opcode.TEXT or not frame.fin:
        return [frame]
    try:
        event = msgspec.json.decode(frame.data, type=First)
        if event.type != "error":
            return [frame]
        error = msgspec.json.decode(event.error, type=Told)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [frame]
    status = STATUSES.get(error.code or "") or STATUSES.get(error.type) or 400
    return Declined(status, b'{"error":%b}' % bytes(event.error))
