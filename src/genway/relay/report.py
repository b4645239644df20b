"""What is told of a call that is over: a line in the access log, and what is counted."""

from __future__ import annotations

from genway import logs
from genway.relay import metrics
from genway.relay.ongoing import Ongoing

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


def tell(ongoing: Ongoing) -> None:
    """Nothing of the call is kept: hundreds that wait to be told of would be so much memory to go through."""
    exchange, used, channel, holder = ongoing.exchange, ongoing.used, ongoing.channel, ongoing.holder
    milliseconds = ongoing.milliseconds
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
        )
    )
