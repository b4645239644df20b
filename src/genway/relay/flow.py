"""One streamed answer on its way from a channel to a client.

Everything here happens in the event loop's callbacks: a piece that arrives is looked at and written on at once. The
events travel as they came; what is looked for are usage and the end. The last event is held back until the call
is on record, so that the end of a stream means that it is accounted for.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Protocol

import msgspec

from genway.billing.tokens import Used
from genway.relay import usage
from genway.relay.kinds import Kind
from genway.relay.sse import Splitter, data_of, events
from genway.wire.exchange import Exchange

KEPT_BYTES = 512 * 1024
LINGER_SECONDS = 5.0
NO_USAGE = re.compile(rb',\s*"usage":\s*null')


class _Typed(msgspec.Struct):
    type: str = ""


_typed = msgspec.json.Decoder(_Typed)


class Translator(Protocol):
    """Turns events of one format into those of another (`translate/`)."""

    def feed(self, data: bytes) -> bytes: ...

    def end(self, problem: str | None = None) -> bytes: ...


class Source(Protocol):
    """Where an answer flows from: `wire.pool.Reply`, or the built-in answers."""

    def flow(self, on_data: Callable[[bytes], None], on_end: Callable[[str | None], None]) -> None: ...

    def pause(self, paused: bool) -> None: ...

    @property
    def ended(self) -> bool: ...

    def abort(self) -> None: ...


class Flow:
    """kind: what the upstream answers. begin: called once before the first byte goes out, to start the answer.

    hides_usage: the client did not ask for the usage that we asked the upstream for. `first` is resolved when the first byte
    has gone out or never will; `done` when the last event has come, the upstream has ended or the client has gone; `finish`
    sends what was held back.
    secret: of the channel, struck out of every event.
    used: what the vendor said; produced: the events kept for an estimate where it says nothing, and how many bytes there
    were in all. problem: why the stream broke off.
    """

    __slots__ = (
        "_began",
        "_begin",
        "_exchange",
        "_held",
        "_hides_usage",
        "_kind",
        "_reply",
        "_secret",
        "_splitter",
        "_translator",
        "client_kind",
        "done",
        "first",
        "first_at",
        "gone",
        "kept",
        "kept_bytes",
        "last_at",
        "loop",
        "problem",
        "sent_at",
        "total_bytes",
        "used",
    )

    def __init__(
        self,
        exchange: Exchange,
        reply: Source,
        kind: Kind,
        begin: Callable[[], None],
        *,
        has_events: bool,
        hides_usage: bool = False,
        translator: Translator | None = None,
        client_kind: str = "",
        secret: bytes = b"",
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.first: asyncio.Future[None] = self.loop.create_future()
        self.done: asyncio.Future[None] = self.loop.create_future()
        self.client_kind = client_kind or kind.name
        self.used: Used | None = None
        self.kept: list[bytes] = []
        self.kept_bytes = 0
        self.total_bytes = 0
        self.problem: str | None = None
        self.gone = False
        self.first_at = 0.0
        self.last_at = self.sent_at = self.loop.time()
        self._exchange = exchange
        self._reply = reply
        self._kind = kind
        self._begin = begin
        self._began = False
        self._held = b""
        self._hides_usage = hides_usage
        self._translator = translator
        self._secret = secret
        self._splitter = Splitter() if has_events else None
        exchange.on_gone = self._left
        exchange.on_room = self._room
        reply.flow(self._data, self._ended)
        if exchange.crowded:  # with the answer before this one
            reply.pause(True)

    @property
    def began(self) -> bool:
        """Whether anything has gone to the client."""
        return self._began

    @property
    def has_events(self) -> bool:
        """Whether the answer is a stream of events, and not of bytes."""
        return self._splitter is not None

    @property
    def held(self) -> bytes:
        """What is held back: the last event, once it has come."""
        return self._held

    @property
    def over(self) -> bool:
        return self.done.done()

    def fail(self, event: bytes) -> None:
        """End with this event in place of what was held back: without it nobody takes the stream for whole."""
        if not self.has_events:
            self._exchange.abort()
            return
        self._held = b""
        self.finish(event)

    def finish(self, last: bytes = b"") -> None:
        """Send what was held back, and the end."""
        self._exchange.on_gone = self._exchange.on_room = None
        if not self._began:
            self._start()
        self._exchange.finish(self._held + last)
        if not self._reply.ended:
            # What comes after the last event ends the upstream's answer, and its connection can serve again.
            self._reply.pause(False)
            self.loop.call_later(LINGER_SECONDS, self._reply.abort)

    def give_up(self, problem: str) -> None:
        """The upstream has been silent for too long."""
        self._reply.abort()
        self._ended(problem)

    def keep_alive(self, sign: bytes) -> None:
        """A sign of life in a pause; never inside an event."""
        if self._began and not self.over and self._splitter is not None:
            self.sent_at = self.loop.time()
            self._exchange.write(sign)

    # --- told by the upstream

    def _data(self, piece: bytes) -> None:
        if self.done.done():
            return
        self.last_at = self.loop.time()
        if self._splitter is None:
            self.total_bytes += len(piece)
            self._send(piece)
            return
        try:
            ready = self._splitter.feed(piece)
        except ValueError as error:
            self.give_up(str(error))
            return
        if ready:
            self._events(ready)

    def _events(self, ready: bytes) -> None:
        if self._secret and self._secret in ready:
            ready = ready.replace(self._secret, b"***")
        self._keep(ready)
        if self._translator is None:
            if b'"usage"' not in ready and not any(mark in ready for mark in self._kind.ends_with):
                self._send(ready)
                return
            if self._hides_usage:
                ready = NO_USAGE.sub(b"", ready)
        out = []
        ends = False
        for event in events(ready):
            data = data_of(event)
            if b'"usage"' in data:
                self.used = usage.from_event(self._kind.name, data, self.used)
                if self._hides_usage and usage.only_usage(data):
                    continue
            if not data and self._translator is not None:
                continue  # a comment
            if self._is_last(data):
                ends = True
                self._held += self._translator.feed(data) if self._translator is not None else event
            elif ends:
                self._held += event if self._translator is None else b""
            elif self._translator is not None:
                out.append(self._translator.feed(data))
            else:
                out.append(event)
        if out:
            self._send(b"".join(out))
        if ends:
            self._settle()

    def _is_last(self, data: bytes) -> bool:
        marks = self._kind.ends_with
        if not any(mark in data for mark in marks):
            return False
        # A mark in the text of an event is no end: it stands alone, or is the event's type.
        if data in marks:
            return True
        try:
            return b'"%b"' % _typed.decode(data).type.encode() in marks
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False

    def _keep(self, ready: bytes) -> None:
        self.total_bytes += len(ready)
        if self.kept_bytes < KEPT_BYTES:
            self.kept.append(ready)
            self.kept_bytes += len(ready)

    def _send(self, data: bytes) -> None:
        if not data:
            return
        if not self._began:
            self._start()
        self.sent_at = self.last_at
        self._exchange.write(data)

    def _start(self) -> None:
        self._began = True
        self.first_at = self.loop.time()
        self._begin()
        if not self.first.done():
            self.first.set_result(None)

    def _ended(self, problem: str | None) -> None:
        if self.done.done():
            return
        if problem is None and self._splitter is not None and (rest := self._splitter.take_rest()):
            # SDKs lose an event that no empty line ends.
            self._events(rest + b"\n\n" if self._translator is not None else rest)
            if self.done.done():
                return
        self.problem = problem
        if self._translator is not None and (self._began or problem is None):
            self._held += self._translator.end(problem)
        self._settle()

    def _settle(self) -> None:
        for waiter in (self.first, self.done):
            if not waiter.done():
                waiter.set_result(None)

    # --- told by the client's side

    def _left(self) -> None:
        self.gone = True
        self._reply.abort()
        self._settle()

    def _room(self, room: bool) -> None:
        self._reply.pause(not room)
