"""A realtime session under way: frames both ways as they come, and what each answer used on record before its last frame."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol

import msgspec
import structlog
from uuid_utils import uuid7
from websockets.frames import Frame

from genway.billing.leases import Outcome
from genway.billing.tokens import Used
from genway.errors import GenwayError, Unavailable
from genway.relay import errors, estimate, mentions, usage
from genway.relay.keeper import check_shared
from genway.relay.kinds import Call
from genway.relay.meter import Reservation
from genway.relay.ongoing import Ongoing
from genway.relay.relay import Relay
from genway.wire.websocket import BROKEN_OFF, FAULT, GOING_AWAY, NO_CODE, NORMAL, RESTART, Closed, Socket, sendable, text

log = structlog.get_logger(__name__)

WATCH_SECONDS = 1.0
STOP_SECONDS = 3.0
CHARGE_SECONDS = 60.0
MOST_KEPT = 512 * 1024
POLICY = 1008
TRANSCRIBED = ".input_audio_transcription.completed"
MARKS = (b'.delta"', b'"usage"', b'"response.created"', b'"response.done"', b'"session.')
"""What a message of the upstream's has in it where it may matter for the account. The client's own words, which may have it
too, come back in messages, so what one is its `type` alone says."""


class Upstream(Protocol):
    """The other end: a socket, or the built-in answers. Both raise Closed once it is over."""

    async def receive(self) -> Frame: ...

    async def send(self, frame: Frame) -> None: ...

    def close(self, code: int, reason: str = "") -> None: ...


class Transcription(msgspec.Struct):
    model: str | None = None


class Hearing(msgspec.Struct):
    transcription: Transcription | None = None


class Audio(msgspec.Struct):
    input: Hearing | None = None


class Settings(msgspec.Struct):
    """What matters of a session's settings: the model that writes down what is heard, in the present form or the older one."""

    audio: Audio | None = None
    input_audio_transcription: Transcription | None = None

    @property
    def transcriber(self) -> str:
        heard = self.audio.input.transcription if self.audio is not None and self.audio.input is not None else None
        heard = heard or self.input_audio_transcription
        return (heard.model if heard is not None else None) or ""


class Event(msgspec.Struct):
    """delta: a piece of an answer, as it came."""

    type: str = ""
    session: Settings | None = None
    delta: msgspec.Raw = msgspec.Raw(b'""')


_event = msgspec.json.Decoder(Event).decode


class Messages:
    """Puts messages together from their frames."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def take(self, frame: Frame) -> bytes | None:
        """The whole message that ends with this frame."""
        if frame.data:
            self._parts.append(bytes(frame.data))
        if not frame.fin:
            return None
        whole, self._parts = b"".join(self._parts), []
        return whole


class Session:
    """ongoing: the session as a call, admitted, with its card and its first reservation. first: what the upstream said already.

    transcribes: it only writes down what it hears, and its time costs nothing besides.
    """

    def __init__(
        self,
        relay: Relay,
        ongoing: Ongoing,
        client: Socket,
        upstream: Upstream,
        first: list[Frame],
        *,
        transcribes: bool = False,
    ) -> None:
        self._relay = relay
        self._ongoing = ongoing
        self._client = client
        self._upstream = upstream
        self._first = first
        self._transcribes = transcribes
        self._turn = self._next_turn(ongoing.tokens)
        self._turn.reservation, ongoing.reservation = ongoing.reservation, None
        self._accounting = asyncio.Lock()
        self._over = asyncio.Event()
        self._used: Used | None = None
        self._cost = 0
        self._asked, self._answered = Messages(), Messages()
        self._saying: dict[str, list[str]] = {}
        self._saying_size = 0
        self._reading: Used | None = None
        self._answering = False
        self._transcriber = ""
        self._seconds_from = self._moved_at = time.monotonic()
        self._stopping_at = 0.0

    async def run(self) -> None:
        """See the session to its end; what it came to is then in `ongoing`."""
        try:
            await asyncio.gather(self._to_upstream(), self._to_client(), self._watch())
        finally:
            self._over.set()
            self._client.close(GOING_AWAY)
            self._upstream.close(GOING_AWAY)
            if self._turn.reservation is not None:
                self._relay.meter.release(self._turn.reservation)
                self._turn.reservation = None
            self._ongoing.used, self._ongoing.cost = self._used, self._cost

    # --- both ways

    async def _to_upstream(self) -> None:
        try:
            while True:
                frame = await self._client.receive()
                self._moved_at = time.monotonic()
                self._check_named(frame)
                await self._upstream.send(frame)
        except Closed as closed:
            if closed.end is self._client:  # the upstream's end is seen where its last frames are
                await self._client_left(closed)
        except GenwayError as error:
            await self._refuse(error)
        except Exception as error:
            await self._fail(error)

    async def _to_client(self) -> None:
        try:
            for frame in self._first:
                await self._pass(frame)
            while True:
                await self._pass(await self._upstream.receive())
        except Closed as closed:
            if closed.end is not self._client:
                await self._upstream_left(closed)
        except GenwayError as error:
            await self._refuse(error)
        except Exception as error:
            await self._fail(error)

    async def _pass(self, frame: Frame) -> None:
        self._moved_at = time.monotonic()
        message = self._answered.take(frame)
        again: GenwayError | None = None
        if message is not None:
            again = await self._look(message)
        await self._client.send(frame)
        if again is not None:
            raise again

    def _check_named(self, frame: Frame) -> None:
        """Raises NotFound where a message that ends with this frame names what is not the client's to name."""
        message, choice = self._asked.take(frame), self._ongoing.choice
        if message is not None and choice is not None:
            check_shared(choice.seat, mentions.of("realtime", message))

    async def _look(self, data: bytes) -> GenwayError | None:
        """What a message of the upstream's means for the account. Returns why the session cannot go on after it.

        Raises Unavailable where what was used cannot be put on record.
        """
        if not any(mark in data for mark in MARKS):
            return None
        try:
            event = _event(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        used: Used | None = None
        if event.type.endswith(".delta"):
            self._keep(event)
        elif event.type == "response.created":
            self._answering = True
            self._turn.started = time.perf_counter()
        elif event.type == "response.done":
            used = usage.from_event("realtime", data, None)
            if used is not None:
                self._reading = _read_of(used)
            elif self._saying:
                used = self._estimated()
            self._answering = False
            self._saying, self._saying_size = {}, 0
        elif event.type.endswith(TRANSCRIBED):
            used = usage.from_event("transcriptions", data, None)
            if used is not None:
                return await self._charge(used, transcriber=self._transcriber)
        elif event.session is not None:
            self._transcriber = event.session.transcriber or self._transcriber
        return await self._charge(used) if used is not None else None

    def _keep(self, event: Event) -> None:
        """Keep what an answer says, for an estimate should its end not come; of sound the transcript does."""
        wanted = self._answering and event.type.startswith("response.") and not event.type.endswith("audio.delta")
        if not wanted or self._saying_size >= MOST_KEPT:
            return
        try:
            piece = msgspec.json.decode(event.delta, type=str)
        except msgspec.DecodeError:
            return
        self._saying.setdefault(event.type, []).append(piece)
        self._saying_size += len(piece)

    # --- accounting

    def _next_turn(self, tokens: int = 0) -> Ongoing:
        """What the next answer is accounted as. tokens: that its key's minute was charged with already."""
        session = self._ongoing
        turn = Ongoing(session.exchange, session.kind, session.request_id)
        turn.holder, turn.asked, turn.choice, turn.card = session.holder, session.asked, session.choice, session.card
        turn.channel, turn.vendor_model, turn.attempts = session.channel, session.vendor_model, session.attempts
        turn.tokens = tokens
        return turn

    async def _charge(self, used: Used, *, transcriber: str = "", outcome: Outcome = "done") -> GenwayError | None:
        """Charge what was used and set the next answer's likely cost aside; the error says why that is not to be had.

        Raises Unavailable, where nothing can be put on record.
        """
        async with self._accounting:
            turn, self._turn = self._turn, self._next_turn()
            if turn.reservation is None:
                turn.reservation = Reservation(None, 0)
            if not self._priced_as(turn, transcriber):
                used = self._with_seconds(used)
            # Others may wait for the same group of calls: whoever ends this task must not end that.
            await asyncio.shield(self._relay.settle(turn, used, outcome))
            self._used = used if self._used is None else self._used + used
            self._cost += turn.cost
            if self._over.is_set():
                return None
            assert self._ongoing.card is not None
            try:
                await self._relay.reserve(self._turn, self._ongoing.card)
            except GenwayError as error:
                return error
            return None

    def _priced_as(self, turn: Ongoing, model: str) -> bool:
        """What is written down is the work of the model that does it, whatever the session's is, where that has a price."""
        if turn.choice is None or model in {"", turn.vendor_model, turn.model}:
            return False
        card = self._relay.cards.known("transcriptions", turn.choice.seat, model)
        if card is None:
            return False
        turn.card, turn.asked, turn.vendor_model = card, Call(model=model), model
        return True

    def _with_seconds(self, used: Used) -> Used:
        """The session's own time, where that has a price."""
        card = self._ongoing.card
        if card is None or not card.seconds or self._transcribes:
            return used
        now = time.monotonic()
        lasted, self._seconds_from = now - self._seconds_from, now
        return msgspec.structs.replace(used, seconds=round(lasted, 3))

    def _estimated(self) -> Used:
        """What an answer used that does not say so. It reads again what the one before it has read."""
        events = [msgspec.json.encode({"type": name, "delta": "".join(said)}) for name, said in self._saying.items()]
        return estimate.streamed("realtime", b"", events, self._reading, self._ongoing.vendor_model)

    async def _charge_rest(self, outcome: Outcome) -> None:
        """What was used since the last answer that came whole."""
        card = self._ongoing.card
        timed = card is not None and card.seconds and not self._transcribes
        begun = self._answering and (self._saying or self._reading is not None)
        if not begun and not timed:
            return
        used = self._estimated() if begun else Used(calls=0)
        self._answering, self._saying = False, {}
        try:
            await self._charge(used, outcome=outcome)
        except Unavailable as error:
            log.error("session.rest_not_recorded", request_id=self._ongoing.request_id, why=str(error))

    # --- the end

    async def _client_left(self, closed: Closed) -> None:
        """The client has closed the connection, or is gone: so is the upstream's, at once."""
        if self._over.is_set():
            return
        self._over.set()
        self._ongoing.exchange.gone = closed.code == BROKEN_OFF
        broken = closed.faulty or not sendable(closed.code)
        self._upstream.close(GOING_AWAY if broken else closed.code, "" if broken else closed.reason)
        await self._charge_rest("client_gone" if self._answering or closed.code == BROKEN_OFF else "done")

    async def _upstream_left(self, closed: Closed) -> None:
        """The upstream has closed the connection, in its own words, or it broke off."""
        if self._over.is_set():
            return
        self._over.set()
        choice = self._ongoing.choice
        broken = closed.faulty or closed.code == BROKEN_OFF
        if choice is not None:
            if broken:
                self._relay.board.broke(choice, closed.reason)
            else:
                self._relay.board.completed(choice)
        await self._charge_rest("broken_off" if broken or self._answering else "done")
        if broken:
            await self._tell(errors.UpstreamFailed(f"the upstream's connection broke off: {closed.reason}"))
            self._client.close(FAULT, f"the upstream's connection broke off: {closed.reason}")
        elif closed.code == NO_CODE:
            self._client.close(NORMAL)
        else:
            self._client.close(closed.code if sendable(closed.code) else FAULT, closed.reason)

    async def _refuse(self, error: GenwayError, code: int = POLICY) -> None:
        """Say in an event why the session ends here, and close it at both ends."""
        if self._over.is_set():
            return
        self._over.set()
        self._upstream.close(GOING_AWAY)
        await self._charge_rest("broken_off" if self._answering else "done")
        await self._tell(error)
        self._client.close(FAULT if error.status >= 500 and code == POLICY else code, error.message)

    async def _fail(self, error: Exception) -> None:
        log.error("session.failed", request_id=self._ongoing.request_id, exc_info=error)
        await self._refuse(GenwayError("something went wrong here; it is recorded under the request id"))

    async def _tell(self, error: GenwayError) -> None:
        """The vendor's own event for an error."""
        if not self._client.between_messages:
            return
        shown: dict[str, Any] = msgspec.json.decode(errors.body(error, "openai", self._ongoing.request_id))["error"]
        event = {"type": "error", "event_id": f"event_{uuid7().hex}", "error": {**shown, "event_id": None}}
        try:
            async with asyncio.timeout(WATCH_SECONDS):
                await self._client.send(text(msgspec.json.encode(event)))
        except (Closed, TimeoutError):
            return

    async def _watch(self) -> None:
        """End what is silent for too long, what nobody is there for any more, and all when the server stops."""
        try:
            while not self._over.is_set():
                try:
                    async with asyncio.timeout(WATCH_SECONDS):
                        await self._over.wait()
                except TimeoutError:
                    await self._check(time.monotonic())
        except Exception as error:
            await self._fail(error)

    async def _check(self, now: float) -> None:
        idle = self._relay.settings.idle_seconds
        if self._client.gone:
            await self._client_left(Closed(self._client, BROKEN_OFF, "the client is gone"))
        elif now - self._moved_at > idle:
            self._over.set()
            self._upstream.close(GOING_AWAY)
            await self._charge_rest("broken_off" if self._answering else "done")
            self._client.close(GOING_AWAY, f"nothing was said for {idle:g} seconds")
        elif self._ongoing.exchange.stopping:
            await self._stop(now)
        elif now - self._seconds_from > CHARGE_SECONDS:
            await self._charge_time()

    async def _stop(self, now: float) -> None:
        """The server stops: once no answer is under way, or soon, the client is asked to come again."""
        self._stopping_at = self._stopping_at or now
        if not self._answering or now - self._stopping_at > STOP_SECONDS:
            await self._refuse(Unavailable("the server restarts; connect again"), RESTART)

    async def _charge_time(self) -> None:
        """The time of a session is paid as it goes, where it has a price."""
        card = self._ongoing.card
        if card is None or not card.seconds or self._transcribes:
            self._seconds_from = time.monotonic()
            return
        try:
            again = await self._charge(Used(calls=0))
        except Unavailable as error:
            again = error
        if again is not None:
            await self._refuse(again)


def _read_of(used: Used) -> Used:
    """Of what an answer used what it read, as an estimate of what the next one reads at least."""
    return msgspec.structs.replace(used, output=0, reasoning=0, audio_output=0, image_output=0, estimated=True)
