"""The built-in answers as if an upstream gave them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from genway.providers.local.echo import Streamed, Whole
from genway.wire.exchange import Headers

BURST = 64  # events without a pause, before others get their turn


class BuiltinReply:
    """What `wire.pool.Reply` is to a channel's answer: a status, headers, and a body that flows."""

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

    def abort(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self, on_data: Callable[[bytes], None], on_end: Callable[[str | None], None]) -> None:
        assert isinstance(self._made, Streamed)
        for number, event in enumerate(self._made.events):
            if number and (self._made.pause or number % BURST == 0):
                await asyncio.sleep(self._made.pause)
            await self._room.wait()
            on_data(event)
        on_end(None)
