"""What is known of one call while it is under way."""

from __future__ import annotations

import time

from genway.billing.tokens import Card, Used
from genway.relay.callers import Holder
from genway.relay.flow import Flow
from genway.relay.forms import Form
from genway.relay.kinds import Call, Kind
from genway.relay.makings import Gathering
from genway.relay.meter import Reservation
from genway.relay.objects import Kept
from genway.relay.retries import Refusal
from genway.relay.seats import Choice, Credential
from genway.wire.exchange import Exchange


class Ongoing:
    """One call. attempts: the channels it was tried on. refusal, fault: how the last attempt went wrong.

    admitted: it counts against its key's limits. pinned: the one key of a channel that has what the body names; credential:
    the one it was sent with. kept: what a vendor keeps of its answer. makes: the answer may make things besides itself;
    gathering: those that its stream tells of. form: what it came as, where that is no JSON; `body` is
    then what of it matters.
    """

    form: Form | None = None
    holder: Holder | None = None
    card: Card | None = None
    reservation: Reservation | None = None
    choice: Choice | None = None
    credential: Credential | None = None
    pinned: Credential | None = None
    kept: Kept | None = None
    refusal: Refusal | None = None
    fault: Exception | None = None
    flow: Flow | None = None
    used: Used | None = None
    asked = Call()
    body = b""
    channel = ""
    vendor_model = ""
    streamed = False
    admitted = False
    estimated = False
    makes = False
    gathering: Gathering | None = None
    tokens = 0
    cost = 0

    def __init__(self, exchange: Exchange, kind: Kind, request_id: str) -> None:
        self.exchange = exchange
        self.kind = kind
        self.request_id = request_id
        self.started = time.perf_counter()
        self.attempts: list[str] = []

    @property
    def model(self) -> str:
        return self.asked.model

    def cancel(self) -> None:
        """The client has gone: whatever the call waits for, it need not any more."""
        if self.exchange.task is not None:
            self.exchange.task.cancel()

    @property
    def milliseconds(self) -> float:
        return (time.perf_counter() - self.started) * 1000
