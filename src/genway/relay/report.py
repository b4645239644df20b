"""What is told of calls that are over: a line in the access log each, and what is counted."""

from __future__ import annotations

import asyncio
import time

from genway import logs
from genway.relay import metrics
from genway.relay.ongoing import Ongoing

GATHER_SECONDS = 0.03
CLIENT_GONE = 499


class CallLine(logs.Line):
    """A call in the access log."""

    request_id: str
    path: str
    status: int
    ms: float
    model: str
    channel: str
    attempts: int
    input: int
    output: int
    cost: int
    key_id: str
    client_gone: bool
    event: str = "call"


class Report:
    """One a process. Calls are gathered for a moment: telling of many in a row takes a third of the time."""

    def __init__(self) -> None:
        self._over: list[tuple[Ongoing, float, float]] = []

    def add(self, ongoing: Ongoing) -> None:
        if not self._over and not logs.at_once():
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self.flush)
        self._over.append((ongoing, time.time(), ongoing.milliseconds))
        if logs.at_once():
            self.flush()

    def flush(self) -> None:
        """Tell of all that was gathered."""
        over, self._over = self._over, []
        for ongoing, at, milliseconds in over:
            exchange, used, channel, holder = ongoing.exchange, ongoing.used, ongoing.channel, ongoing.holder
            status = exchange.status or CLIENT_GONE
            read = produced = 0
            if used is not None:
                read, produced = used.read, used.produced
                metrics.used(channel, read, produced, ongoing.cost)
            metrics.called(ongoing.kind.name, channel, status, milliseconds / 1000)
            logs.access(
                CallLine(
                    ongoing.request_id,
                    exchange.path,
                    status,
                    round(milliseconds, 2),
                    ongoing.model,
                    channel,
                    len(ongoing.attempts),
                    read,
                    produced,
                    ongoing.cost,
                    holder.caller.key_id if holder is not None else "",
                    exchange.gone,
                ),
                at,
            )
        metrics.flush()
