"""The straight way of a call: one that needs nothing but to be sent on is led in the event loop's callbacks, without a task.

Most calls are such: the key is known, there is money at hand, a connection is ready, and the answer comes whole and goes
well. What needs more goes the long way (`relay.py`), from its beginning or from where it stopped being simple: nothing
here waits, looks into the database or tries again.
"""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec
import structlog

from genway.config import Config
from genway.errors import GenwayError, Unavailable
from genway.relay import errors, estimate, heads, kinds, makings, mentions, usage
from genway.relay.cards import set_aside
from genway.relay.flow import Flow
from genway.relay.kinds import Kind
from genway.relay.ongoing import Ongoing
from genway.relay.relay import LOCAL_MODELS, Relay, request_id
from genway.relay.seats import Choice, Credential
from genway.relay.sending import Attempt, Sender, may_be_answer
from genway.wire.exchange import Exchange
from genway.wire.pool import Pool
from genway.wire.upstream import BrokenOff, Reply, Upstream

log = structlog.get_logger(__name__)

SIMPLE = frozenset(
    {"chat", "completions", "responses", "embeddings", "moderations", "rerank", "image_generations", "messages"}
)  # fmt: skip
UNTRIED: set[Credential] = set()


class Straight:
    """One a process, beside the relay whose calls it leads."""

    def __init__(self, config: Config, relay: Relay, sender: Sender, pool: Pool) -> None:
        self._relay = relay
        self._sender = sender
        self._pool = pool
        self._meter = relay.meter
        self._board = relay.board
        self._callers = relay.callers
        self._deadline = config.relay.deadline_seconds
        self._reserve_tokens = config.relay.reserve_tokens
        self._loop = asyncio.get_running_loop()

    def take(self, exchange: Exchange, kind: Kind) -> bool:
        """Lead a request that is here whole; False, with nothing done, where it has to go the long way."""
        if kind.name not in SIMPLE or exchange.method != "POST":
            return False
        holder = self._callers.remembered(exchange)
        if holder is None or holder.caller.mode == "test" or self._callers.shared:
            return False
        body = exchange.here
        try:
            asked = kinds.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        if len(body) > self._relay.most_body or not _is_simple(kind, asked, body):
            return False
        try:
            choices = self._board.order(self._board.choices(kind.name, asked.model), asked.sticky)
            card = self._relay.cards.of(kind.name, choices[0], asked.model)
        except GenwayError:
            return False
        choice = choices[0]
        if choice.kind != kind.name or choice.health.until or not choice.seat.origin.idle:
            return False
        ongoing = Ongoing(exchange, kind, request_id(exchange.header(b"x-request-id")))
        ongoing.holder, ongoing.body, ongoing.asked, ongoing.card = holder, body, asked, card
        ongoing.streamed = kind.streams and asked.streamed
        most = self._reserve_tokens
        output = min(asked.most_output or most, most)
        read = estimate.quick_input(body)
        ongoing.tokens = read + output
        try:
            self._callers.count_here(holder, ongoing.tokens, ongoing.streamed)
        except GenwayError:
            return False
        reservation = self._meter.reserve(holder.caller, set_aside(card, read, output, max(asked.n or 1, 1)))
        credential = choice.seat.credential(self._board.now(), UNTRIED) if reservation is not None else None
        connection = self._pool.ready(choice.seat.origin) if credential is not None else None
        if reservation is None or credential is None or connection is None:
            self._callers.uncount(holder, ongoing.tokens)
            if reservation is not None:
                self._meter.release(reservation)
            return False
        exchange.take()
        ongoing.reservation = reservation
        ongoing.admitted = True
        if ongoing.streamed:
            self._relay.open_stream(ongoing)
        try:
            self._send(ongoing, choices, credential, connection)
        except Exception:
            connection.drop()
            self._failed(ongoing)
        return True

    def _send(self, ongoing: Ongoing, choices: list[Choice], credential: Credential, connection: Upstream) -> None:
        now = self._loop.time()
        attempt = self._sender.begin(ongoing, choices[0], credential, now, now + self._deadline)
        ongoing.exchange.on_gone = partial(self._left, ongoing, connection)
        told = partial(self._answered, ongoing, choices, attempt)
        connection.ask(attempt.head, attempt.request, attempt.seconds, attempt.whole, told)

    def _left(self, ongoing: Ongoing, connection: Upstream) -> None:
        """The client has gone while the answer was awaited."""
        connection.drop()
        relay = self._relay
        ongoing.exchange.work(relay.see_through(ongoing, relay.charge_for_nothing(ongoing)))

    def _answered(self, ongoing: Ongoing, choices: list[Choice], attempt: Attempt, outcome: Reply | Exception) -> None:
        ongoing.exchange.on_gone = None
        try:
            if not isinstance(outcome, Reply) or outcome.status >= 300:
                self._hand_over(ongoing, choices, attempt, outcome)
            elif outcome.header(b"content-type").startswith(b"text/event-stream"):
                self._stream(ongoing, choices, attempt, outcome)
            elif outcome.ended:
                self._account(ongoing, choices, attempt, outcome)
            else:
                self._hand_over(ongoing, choices, attempt, outcome)
        except Exception:
            self._failed(ongoing)

    def _hand_over(self, ongoing: Ongoing, choices: list[Choice], attempt: Attempt, outcome: Reply | Exception) -> None:
        """On with it the long way."""
        attempt.outcome = outcome
        ongoing.exchange.work(self._relay.see_through(ongoing, self._relay.pursue(ongoing, choices, attempt)))

    def _account(self, ongoing: Ongoing, choices: list[Choice], attempt: Attempt, reply: Reply) -> None:
        """Charge a whole answer; it goes out when that is on record."""
        body, kind, secret = reply.here, ongoing.kind.name, attempt.credential.secret
        if not may_be_answer(kind, body):
            self._hand_over(ongoing, choices, attempt, reply)
            return
        if secret and secret in body:
            body = body.replace(secret, b"***")
        self._board.succeeded(attempt.choice)
        used = usage.from_answer(kind, body)
        if used is None:
            used = estimate.whole(kind, attempt.request, body, attempt.choice.vendor_model)
        row = self._relay.charge(ongoing, used, "done")
        self._meter.record_and_tell(row, partial(self._recorded, ongoing, reply, body))

    def _recorded(self, ongoing: Ongoing, reply: Reply, body: bytes, problem: Unavailable | None) -> None:
        try:
            if problem is not None:
                self._relay.refuse(ongoing, problem)
            else:
                ongoing.exchange.whole(reply.status, heads.head(ongoing, reply.headers), body)
        except Exception:
            self._failed(ongoing)
        else:
            self._relay.conclude(ongoing)

    def _stream(self, ongoing: Ongoing, choices: list[Choice], attempt: Attempt, reply: Reply) -> None:
        flow = self._sender.flow(ongoing, attempt.choice, reply, has_events=True)
        flow.late_at = attempt.late
        if flow.began and not ongoing.streamed:  # one that has not begun may go on elsewhere, where it is none
            self._relay.open_stream(ongoing)
        self._relay.flows.add(flow)
        flow.when_over(partial(self._streamed, ongoing, choices, attempt, flow))

    def _streamed(self, ongoing: Ongoing, choices: list[Choice], attempt: Attempt, flow: Flow) -> None:
        """A stream has come to its end, good or bad; the client sees the end when it is on record."""
        relay = self._relay
        relay.flows.discard(flow)
        try:
            if flow.problem is not None and not flow.began and not flow.gone:
                ongoing.flow = ongoing.exchange.on_gone = ongoing.exchange.on_room = None
                self._hand_over(ongoing, choices, attempt, BrokenOff(flow.problem))
                return
            self._board.succeeded(attempt.choice)
            if flow.used is None or flow.gone or flow.failed:
                ongoing.exchange.work(relay.see_through(ongoing, relay.stream(ongoing, flow)))
                return
            self._board.completed(attempt.choice)
            row = relay.charge(ongoing, flow.used, "done")
            self._meter.record_and_tell(row, partial(self._stream_recorded, ongoing, flow))
        except Exception:
            self._failed(ongoing)

    def _stream_recorded(self, ongoing: Ongoing, flow: Flow, problem: Unavailable | None) -> None:
        try:
            if problem is not None:
                flow.fail(errors.in_stream(problem.message, ongoing.kind.name, ongoing.request_id))
            elif not flow.gone:
                flow.finish()
        except Exception:
            self._failed(ongoing)
        else:
            self._relay.conclude(ongoing)

    def _failed(self, ongoing: Ongoing) -> None:
        """Something of ours went wrong; called where the exception is."""
        exchange = ongoing.exchange
        log.exception("relay.failed", path=exchange.path, request_id=ongoing.request_id)
        exchange.on_gone = exchange.on_room = None
        try:
            self._relay.refuse(ongoing, GenwayError("something went wrong here; it is recorded under the request id"))
        except Exception:
            exchange.abort()
        self._relay.conclude(ongoing)


def _is_simple(kind: Kind, asked: kinds.Call, body: bytes) -> bool:
    """Whether a body names a model and nothing that must be looked up, is kept or made at the vendor, or is answered here."""
    model = asked.model
    if not model or asked.thread is not None or asked.background or model.startswith(LOCAL_MODELS):
        return False
    if kind.name == "messages":
        if asked.max_tokens is None:
            return False
    elif kind.name == "responses" and asked.store is not False:
        return False
    return not (
        kinds.may_name_two(body)
        or makings.possible(kind.name, asked)
        or mentions.possible(kind.name, body, asked.previous_response_id)
    )
