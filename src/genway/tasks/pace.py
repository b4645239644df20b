"""How often the vendor of a channel is asked how its work goes, all tasks of the channel together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

FIRST_HOLD = 1.0
LONGEST_HOLD = 60.0
SLOWEST = 1 / 16
REGAIN = 1 / 16


class Line:
    """Those who wait to ask one vendor.

    next_at: when the next may. slow: 1, or less where the vendor has said that it is busy: the part of the limit that is used.
    """

    def __init__(self) -> None:
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.limit = 0.0
        self.next_at = float("-inf")
        self.slow = 1.0
        self.busy_times = 0
        self.held_until = float("-inf")
        self.server: asyncio.Task[None] | None = None

    @property
    def gap(self) -> float:
        """Seconds between two questions."""
        return 1 / (self.limit * self.slow) if self.limit else 0.0


class Paces:
    """Gives out turns to ask, for each channel evenly spaced and first come, first served.

    A task that was answered goes to the end of the line when it wants to ask again, so N tasks under a limit of L a second are
    each asked about every N/L seconds, and none more often than another. Whoever is known to have changed goes first.
    A vendor that says it is busy is left alone for as long as it says, or for a time that doubles, and then asked at half
    the pace, which good answers bring back.

    share: the part of each limit that is this process's own.
    """

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]], share: float = 1.0) -> None:
        self._clock = clock
        self._sleep = sleep
        self._share = share
        self._lines: dict[str, Line] = {}

    def turn(self, channel_id: str, limit: float, *, first: bool = False) -> asyncio.Future[None]:
        """Done when the vendor may be asked, once; cancel it to leave the line. limit: questions a second; 0: without."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._lines.setdefault(channel_id, Line())
        line.limit = limit * self._share
        if not line.waiting and line.next_at <= self._clock():
            self._give(line, turn)
            return turn
        if first:
            line.waiting.appendleft(turn)
        else:
            line.waiting.append(turn)
        if line.server is None or line.server.done():
            line.server = asyncio.create_task(self._serve(line), name=f"pace {channel_id}")
        return turn

    def answered(self, channel_id: str) -> None:
        """The vendor gave an answer and did not complain."""
        line = self._lines.get(channel_id)
        if line is not None and self._clock() >= line.held_until:
            line.busy_times = 0
            line.slow = min(1.0, line.slow + REGAIN)

    def busy(self, channel_id: str, retry_after: float | None = None) -> None:
        """The vendor said that it is asked too often. retry_after: for how many seconds it wants to be left alone."""
        line, now = self._lines.setdefault(channel_id, Line()), self._clock()
        # Those who had asked before the first complaint complain of the same.
        if now >= line.held_until:
            line.busy_times += 1
            line.slow = max(line.slow / 2, SLOWEST)
        hold = min(retry_after or FIRST_HOLD * 2.0 ** min(line.busy_times - 1, 16), LONGEST_HOLD)
        line.held_until = max(line.held_until, now + hold)
        line.next_at = max(line.next_at, line.held_until)

    async def close(self) -> None:
        """Nobody asks any more."""
        servers = [line.server for line in self._lines.values() if line.server is not None]
        for server in servers:
            server.cancel()
        await asyncio.gather(*servers, return_exceptions=True)

    def _give(self, line: Line, turn: asyncio.Future[None]) -> None:
        line.next_at = self._clock() + line.gap
        turn.set_result(None)

    async def _serve(self, line: Line) -> None:
        while line.waiting:
            wait = line.next_at - self._clock()
            if wait > 0:
                await self._sleep(wait)
                continue
            turn = line.waiting.popleft()
            if not turn.done():
                self._give(line, turn)
