"""The built-in answers as if an upstream gave them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from websockets.frames import Frame

from genway.providers.local.echo import Streamed, Whole
from genway.wire.exchange import Headers
from genway.wire.websocket import Closed, text

if TYPE_CHECKING:
    from genway.providers.local.echo.realtime import Conversation, Steps

BURST = 64  # events without a pause, before others get their turn


class BuiltinReply:
    """What `wire.upstream.Reply` is to a channel's answer: a status, headers, and a body that flows."""

    def __init__(self, made: Whole | Streamed) -> None:
        self.status = made.status if isinstance(made, Whole) else 200
        self.headers: Headers = [(b"content-type", made.content_type.encode())]
        if isinstance(made, Whole):
            self.headers += [(name.lower().encode(), value.encode()) for name, value in made.headers.items()]
        self._made = made
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None

    def header(self, name: bytes) -> bytes:
        return next((value for key, value in self.headers if key == name), b"")

    def flow(self, on_data: Callable[[bytes], None], on_end: Callable[[str | None], None]) -> None:
        self._task = asyncio.create_task(self._run(on_data, on_end))

    def pause(self, paused: bool) -> None:
        if paused:
            self._room.clear()
        else:
            self._room.set()

    @property
    def ended(self) -> bool:
        return self._task is not None and self._task.done()

    def abort(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def linger(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self.abort)

    async def _run(self, on_data: Callable[[bytes], None], on_end: Callable[[str | None], None]) -> None:
        assert isinstance(self._made, Streamed)
        for number, event in enumerate(self._made.events):
            if number and (self._made.pause or number % BURST == 0):
                await asyncio.sleep(self._made.pause)
            await self._room.wait()
            on_data(event)
        on_end(None)


class BuiltinConversation:
    """What `wire.websocket.Socket` is to a vendor's realtime session: frames, both ways."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._pending: deque[Steps] = deque([conversation.opening()])
        self._changed = asyncio.Event()
        self._passed = 0
        self._heard = bytearray()
        self._end: Closed | None = None

    async def receive(self) -> Frame:
        """Raises Closed."""
        while self._end is None:
            for steps in self._pending:
                step = next(steps, None)
                if step is None:
                    self._pending.remove(steps)
                    self._changed.set()
                    break
                wait, event = step
                self._passed += 1
                if wait or self._passed % BURST == 0:
                    await self._rest(wait)
                return text(event)
            else:
                self._changed.clear()
                await self._changed.wait()
        raise self._end

    async def send(self, frame: Frame) -> None:
        """Raises Closed."""
        while len(self._pending) > BURST and self._end is None:
            self._changed.clear()
            await self._changed.wait()
        if self._end is not None:
            raise self._end
        self._heard += frame.data
        if frame.fin:
            heard, self._heard = bytes(self._heard), bytearray()
            self._pending.append(self._conversation.hear(heard))
            self._changed.set()

    def close(self, code: int, reason: str = "") -> None:
        self._end = self._end or Closed(self, code, reason)
        self._changed.set()

    async def _rest(self, seconds: float) -> None:
        """Wait, but not once it is over."""
        until = asyncio.get_running_loop().time() + seconds
        await asyncio.sleep(0)
        while self._end is None:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                return
