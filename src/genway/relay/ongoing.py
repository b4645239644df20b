"""What is known of one call while it is under way."""

from __future__ import annotations

import asyncio
import time

from genway.billing.tokens import Card, Used
from genway.relay.callers import Holder
from genway.relay.flow import Flow
from genway.relay.forms import Form
from genway.relay.kinds import Call, Kind
from genway.relay.meter import Reservation
from genway.relay.objects import Kept
from genway.relay.retries import Refusal
from genway.relay.seats import Choice, Credential
from genway.wire.exchange import Exchange


class Ongoing:
    """One call. attempts: the channels it was tried on. refusal, fault: how the last attempt went wrong.

    admitted: it counts against its key's limits. pinned: the one key of a channel that has what the body names; credential:
    the one it was sent with. kept: what a vendor keeps of its answer. form: what it came as, where that is no JSON; `body` is
    then what of it matters.
    """

    __slots__ = (
        "admitted",
        "asked",
        "attempts",
        "body",
        "card",
        "channel",
        "choice",
        "cost",
        "credential",
        "estimated",
        "exchange",
        "fault",
        "flow",
        "form",
        "holder",
        "kept",
        "kind",
        "pinned",
        "refusal",
        "request_id",
        "reservation",
        "started",
        "streamed",
        "task",
        "tokens",
        "used",
        "vendor_model",
    )

    def __init__(self, exchange: Exchange, kind: Kind, request_id: str) -> None:
        self.exchange = exchange
        self.kind = kind
        self.request_id = request_id
        self.started = time.perf_counter()
        self.task = asyncio.current_task()
        self.holder: Holder | None = None
        self.asked = Call()
        self.body = b""
        self.form: Form | None = None
        self.streamed = False
        self.admitted = False
        self.tokens = 0
        self.card: Card | None = None
        self.reservation: Reservation | None = None
        self.choice: Choice | None = None
        self.credential: Credential | None = None
        self.pinned: Credential | None = None
        self.kept: Kept | None = None
        self.channel = ""
        self.vendor_model = ""
        self.attempts: list[str] = []
        self.refusal: Refusal | None = None
        self.fault: Exception | None = None
        self.flow: Flow | None = None
        self.used: Used | None = None
        self.cost = 0
        self.estimated = False

    @property
    def model(self) -> str:
        return self.asked.model

    def cancel(self) -> None:
        """The client has gone: whatever the call waits for, it need not any more."""
        if self.task is not None:
            self.task.cancel()

    @property
    def milliseconds(self) -> float:
        return (time.perf_counter() - self.started) * 1000
