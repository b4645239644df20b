"""How many tasks a channel has under way in this process, and who waits for a place."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque

CROWD = 16


class Slots:
    """First come, first served places for each channel; a limit of 0 is without end."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = defaultdict(int)
        self._waiting: dict[str, deque[asyncio.Future[None]]] = defaultdict(deque)

    def crowded(self, channel_id: str) -> bool:
        """Whether so many already wait that more should do so in the database."""
        return len(self._waiting[channel_id]) >= CROWD

    def crowded_channels(self) -> list[str]:
        return [channel_id for channel_id in self._waiting if self.crowded(channel_id)]

    def free(self, channel_id: str, limit: int) -> bool:
        return limit == 0 or (self._taken[channel_id] < limit and not self._waiting[channel_id])

    async def take(self, channel_id: str, limit: int) -> None:
        """Take a place, waiting for one if need be."""
        if self.free(channel_id, limit):
            self._taken[channel_id] += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[channel_id].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(channel_id)
            elif turn in self._waiting[channel_id]:
                self._waiting[channel_id].remove(turn)
            raise

    def occupy(self, channel_id: str) -> None:
        """Take a place even where none is free: for a task that is at the vendor already."""
        self._taken[channel_id] += 1

    def dismiss(self) -> None:
        """Send everybody away who waits; they see a CancelledError."""
        for waiting in self._waiting.values():
            for turn in waiting:
                turn.cancel()

    def give_back(self, channel_id: str) -> None:
        """Leave a place, to whoever has waited longest."""
        waiting = self._waiting[channel_id]
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken[channel_id] -= 1
