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
from genway.relay import errors, usage
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
    """Where an answer flows from: `wire.upstream.Reply`, or the built-in answers."""

    def flow(self, on_data: Callable[[bytes], None], on_end: Callable[[str | None], None]) -> None: ...

    def pause(self, paused: bool) -> None: ...

    @property
    def ended(self) -> bool: ...

    def abort(self) -> None: ...

    def linger(self, seconds: float) -> None:
        """Nobody listens any more; if it does not end by itself within so many seconds, break it off."""


class Flow:
    """kind: what the upstream answers. begin: called once before the first byte goes out, to start the answer.

    hides_usage: the client did not ask for the usage that we asked the upstream for.
    secret: of the channel, struck out of every event. gather: is shown all events, to look for something in them.
    began: anything has gone to the client; by late_at of the loop's clock it must have, if that is not 0. over: the last event
    has come, the upstream has ended or the client has gone; then `finish` sends what was held back, which is the last event.
    used: what the vendor said; produced: the events kept for an estimate where it says nothing, and how many bytes there
    were in all. problem: why the stream broke off. error: what the upstream itself said went wrong, in an event that went on.
    """

    # Class members, and no slots: see `wire.exchange.Exchange`; what is read for each event is faster in the instance.
    used: Used | None = None
    problem: str | None = None
    error = ""
    gone = False
    held = b""
    late_at = 0.0
    _first: asyncio.Future[None] | None = None
    _done: asyncio.Future[None] | None = None
    _when_over: Callable[[], None] | None = None

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
        gather: Callable[[bytes], None] | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.client_kind = client_kind or kind.name
        self.kept: list[bytes] = []
        self.kept_bytes = 0
        self.total_bytes = 0
        self.began = False
        self.over = False
        self.last_at = self.sent_at = self.loop.time()
        self._exchange = exchange
        self._reply = reply
        self._kind = kind
        self._marks = (b'"usage"', b'"error"', *kind.ends_with)
        self._begin = begin
        self._hides_usage = hides_usage
        self._translator = translator
        self._secret = secret
        self._gather = gather
        self._splitter = Splitter() if has_events else None
        exchange.on_gone = self._left
        exchange.on_room = self._room
        reply.flow(self._data, self._ended)
        if exchange.crowded:  # with the answer before this one
            reply.pause(True)

    @property
    def first(self) -> asyncio.Future[None]:
        """Resolved when the first byte has gone out or never will."""
        if self._first is None:
            self._first = self._future(self.began or self.over)
        return self._first

    @property
    def done(self) -> asyncio.Future[None]:
        """Resolved when it is `over`."""
        if self._done is None:
            self._done = self._future(self.over)
        return self._done

    def when_over(self, tell: Callable[[], None]) -> None:
        """`done` for one who does not wait; perhaps called at once. It must not raise."""
        if self.over:
            tell()
        else:
            self._when_over = tell

    def _future(self, resolved: bool) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self.loop.create_future()
        if resolved:
            future.set_result(None)
        return future

    @property
    def failed(self) -> bool:
        """Whether it broke off, or the upstream said that something went wrong."""
        return self.problem is not None or bool(self.error)

    @property
    def has_events(self) -> bool:
        """Whether the answer is a stream of events, and not of bytes."""
        return self._splitter is not None

    def fail(self, event: bytes) -> None:
        """End with this event in place of what was held back: without it nobody takes the stream for whole."""
        if not self.has_events:
            self._exchange.abort()
            return
        self.held = b""
        self.finish(event)

    def finish(self, last: bytes = b"") -> None:
        """Send what was held back, and the end."""
        self._exchange.on_gone = self._exchange.on_room = None
        if not self.began:
            self._start()
        self._exchange.finish(self.held + last)
        if not self._reply.ended:
            # What comes after the last event ends the upstream's answer, and its connection can serve again.
            self._reply.pause(False)
            self._reply.linger(LINGER_SECONDS)

    def give_up(self, problem: str) -> None:
        """The upstream has been silent for too long."""
        self._reply.abort()
        self._ended(problem)

    def keep_alive(self, sign: bytes) -> None:
        """A sign of life in a pause; never inside an event."""
        if self.began and not self.over and self._splitter is not None:
            self.sent_at = self.loop.time()
            self._exchange.write(sign)

    # --- told by the upstream

    def _data(self, piece: bytes) -> None:
        if self.over:
            return
        self.last_at = self.loop.time()
        splitter = self._splitter
        if splitter is None:
            self.total_bytes += len(piece)
            self._send(piece)
            return
        ready = piece
        if splitter.holds or piece[-2:] != b"\n\n":
            try:
                ready = splitter.feed(piece)
            except ValueError as error:
                self.give_up(str(error))
                return
            if not ready:
                return
        self._events(ready)

    def _events(self, ready: bytes) -> None:
        if self._secret and self._secret in ready:
            ready = ready.replace(self._secret, b"***")
        size = len(ready)
        self.total_bytes += size
        if self.kept_bytes < KEPT_BYTES:
            self.kept.append(ready)
            self.kept_bytes += size
        if self._gather is not None:
            self._gather(ready)
        if self._translator is None:
            for mark in self._marks:
                if mark in ready:
                    break
            else:
                if not self.began:
                    self._start()
                self.sent_at = self.last_at
                self._exchange.write(ready)
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
            if b'"error"' in data:
                self.error = errors.told_in(data) or self.error
            if not data and self._translator is not None:
                continue  # a comment
            if self._is_last(data):
                ends = True
                self.held += self._translator.feed(data) if self._translator is not None else event
            elif ends:
                self.held += event if self._translator is None else b""
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

    def _send(self, data: bytes) -> None:
        if not data:
            return
        if not self.began:
            self._start()
        self.sent_at = self.last_at
        self._exchange.write(data)

    def _start(self) -> None:
        self.began = True
        self._begin()
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    def _ended(self, problem: str | None) -> None:
        if not self.over and problem is None and self._splitter is not None:
            if rest := self._splitter.take_rest():  # SDKs lose an event that no empty line ends
                self._events(rest + b"\n\n" if self._translator is not None else rest)
            elif not self.total_bytes:
                problem = "the answer ended without a single event"
        self._close(problem)

    def _close(self, problem: str | None) -> None:
        if self.over:
            return
        self.problem = problem
        if self._translator is not None and (self.began or problem is None):
            self.held += self._translator.end(problem)
        self._settle()

    def _settle(self) -> None:
        self.over = True
        for waiter in (self._first, self._done):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        tell, self._when_over = self._when_over, None
        if tell is not None:
            tell()

    # --- told by the client's side

    def _left(self) -> None:
        self.gone = True
        self._reply.abort()
        self._settle()

    def _room(self, room: bool) -> None:
        self._reply.pause(not room)
