"""Sends a call to one channel after the other until one answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType

import msgspec
import structlog

from genway.config import Relay
from genway.errors import GenwayError, NoChannel, RateLimited, Unavailable
from genway.relay import heads, kinds, metrics, usage
from genway.relay.errors import UpstreamFailed, UpstreamTimeout
from genway.relay.flow import Flow, Translator
from genway.relay.keeper import Keeper, keeps
from genway.relay.kinds import KINDS
from genway.relay.makings import Gathering
from genway.relay.ongoing import Ongoing
from genway.relay.retries import LONGEST_ERROR, Refusal, judge
from genway.relay.seats import FIRST_PAUSE, Board, Choice, Credential
from genway.relay.translate import chat_to_messages, messages_to_chat, unsigned
from genway.relay.translate import traits as model_traits
from genway.wire.exchange import Headers
from genway.wire.pool import Pool, Unreachable
from genway.wire.upstream import BrokenOff, Reply, Stale

log = structlog.get_logger(__name__)

FORWARDED = heads.FORWARDED | {b"content-type"}
WHOLE = frozenset(
    {"chat", "completions", "responses", "embeddings", "moderations", "rerank", "messages", "count_tokens",
     "image_generations", "image_edits", "image_variations", "transcriptions", "translations"}
)  # fmt: skip
OBJECTS = WHOLE - {"transcriptions", "translations"}  # what is answered with a JSON object, unless it comes as events
SIGNED = frozenset({"messages", "count_tokens"})  # what can hold thinking with a signature
LARGEST_ANSWER = 256 * 1024 * 1024
BLANK = b" \t\r\n\xef\xbb\xbf"
LONGEST_WAIT = 5.0
FIRST_WAIT = 0.2
SLACK = 0.02  # the loop's timers may be a little early by the clock that the channels' pauses are timed by
OF_THE_KEY = frozenset({"busy", "refused", "out of credit", "not allowed"})
LACKING = frozenset({"not there", "not allowed"})


class Answered(msgspec.Struct):
    """What came of it: a whole answer, a stream that has begun, or a refusal for the client."""

    choice: Choice
    status: int = 200
    headers: Headers = []
    body: bytes = b""
    request: bytes = b""
    flow: Flow | None = None
    refusal: Refusal | None = None


class Attempt:
    """One try of a call on one channel. head, body: what is sent; size: of the body, None where nobody knows.

    whole: the answer is awaited to its end. late: by the loop's clock, when it is; until: when the whole call is. outcome: what
    came of it already, where somebody else has sent it.
    """

    __slots__ = ("body", "choice", "credential", "head", "late", "outcome", "request", "seconds", "size", "until", "whole")

    def __init__(self, choice: Choice, credential: Credential, now: float, until: float) -> None:
        self.choice = choice
        self.credential = credential
        self.until = until
        self.seconds = min(choice.seat.channel.timeout, max(until - now, 0.001))
        self.late = now + self.seconds
        self.head = self.request = b""
        self.body: bytes | AsyncIterator[bytes] = b""
        self.size: int | None = None
        self.whole = False
        self.outcome: Reply | Exception | None = None


class Sender:
    """wait: sleeps so many seconds."""

    def __init__(
        self, pool: Pool, board: Board, settings: Relay, *, wait: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._pool = pool
        self._board = board
        self._settings = settings
        self.wait = wait
        self.keeper: Keeper

    async def send(self, ongoing: Ongoing, choices: list[Choice], begun: Attempt | None = None) -> Answered:
        """Try the choices in turn, within the deadline, until an answer begins.

        begun: on the first of them, and something has come of it. Raises what the last attempt came to where none answered:
        RateLimited, Unavailable, UpstreamFailed, UpstreamTimeout, NoChannel.
        """
        loop = asyncio.get_running_loop()
        until = begun.until if begun is not None else loop.time() + self._settings.deadline_seconds
        tried: set[Credential] = set()
        asked, without = choices[0], set[Choice]()
        pause = FIRST_WAIT
        while True:
            shortest = LONGEST_WAIT + 1
            for choice in choices:
                if begun is None and ongoing.attempts and not self._board.usable(choice):  # not any more
                    continue
                while begun is not None or len(ongoing.attempts) < self._settings.attempts:
                    attempt = begun
                    if attempt is None:
                        credential = choice.seat.credential(self._board.now(), tried, ongoing.pinned)
                        if credential is None:
                            break
                        attempt = self.begin(ongoing, choice, credential, loop.time(), until)
                    begun, asked = None, choice
                    trouble = ongoing.fault, ongoing.refusal
                    answered, wait = await self._attempt(ongoing, attempt)
                    if answered is not None:
                        return answered
                    tried.add(attempt.credential)
                    verdict = ongoing.refusal.verdict if ongoing.refusal is not None else "fault"
                    if verdict in {"busy", "fault"}:
                        shortest = min(shortest, pause if wait is None else wait)
                    elif verdict == "not there":
                        without.add(choice)
                    if verdict in LACKING and not _lacks(*trouble):  # who is in trouble may have it
                        ongoing.fault, ongoing.refusal = trouble
                    if ongoing.exchange.gone or (ongoing.form is not None and ongoing.form.spent):
                        return _given_up(ongoing, asked)
                    if verdict not in OF_THE_KEY:
                        break
            left = until - loop.time()
            if len(ongoing.attempts) >= self._settings.attempts or shortest > min(LONGEST_WAIT, left):
                return _given_up(ongoing, asked)
            # All were tried once: a fault may have passed by now, and a short wait that a vendor asked for is kept.
            await self.wait(shortest + SLACK)
            pause *= 2
            tried.clear()
            try:
                choices = self._board.order([choice for choice in choices if choice not in without])
            except (RateLimited, Unavailable):
                raise failure(ongoing) from None

    def begin(self, ongoing: Ongoing, choice: Choice, credential: Credential, now: float, until: float) -> Attempt:
        """Take the channel's seat and make out what is to be sent. now, until: by the loop's clock."""
        self._take_seat(ongoing, choice, credential)
        attempt = Attempt(choice, credential, now, until)
        form = ongoing.form
        if form is None:
            attempt.body = attempt.request = prepare(ongoing, choice)
            attempt.size = len(attempt.request)
        else:
            attempt.body, attempt.size = form.sending(choice.vendor_model)
            attempt.request = ongoing.body
        attempt.head = head_of(ongoing, choice, credential, attempt.size)
        attempt.whole = not ongoing.streamed and ongoing.kind.name in WHOLE and (form is None or form.complete)
        return attempt

    def _take_seat(self, ongoing: Ongoing, choice: Choice, credential: Credential) -> None:
        seat = choice.seat
        ongoing.choice = choice
        ongoing.credential = credential
        ongoing.vendor_model = choice.vendor_model
        ongoing.channel = seat.channel.name
        ongoing.attempts.append(seat.channel.name)
        seat.busy += 1
        if seat.requests is not None:
            seat.requests.take(1, self._board.now())

    async def _attempt(self, ongoing: Ongoing, attempt: Attempt) -> tuple[Answered | None, float | None]:
        """One try: what came of it, or None and how long to wait before another, where the channel said so."""
        choice = attempt.choice
        probe = choice.health.until > 0
        if probe:
            choice.health.probing = True
        ongoing.exchange.on_gone = ongoing.cancel
        try:
            reply = await self._reply(attempt)
            if reply.status < 300:
                answered = await self._accept(ongoing, choice, reply, attempt.request, attempt.late)
                self._board.succeeded(choice)
                return answered, None
            refusal = judge(choice.seat.provider, reply, await whole_body(reply, LONGEST_ERROR, attempt.late))
        except (Unreachable, BrokenOff) as error:
            ongoing.fault, ongoing.refusal, ongoing.flow = error, None, None
            self._leave_seat(ongoing)
            self._board.failed(choice, str(error))
            tell_of_attempt(ongoing, type(error).__name__, str(error))
            return None, None
        finally:
            if probe:
                choice.health.probing = False
            if ongoing.flow is None:
                ongoing.exchange.on_gone = None
        return self._refused(ongoing, choice, attempt.credential, refusal)

    async def _reply(self, attempt: Attempt) -> Reply:
        """The answer's beginning, or all of it. Raises Unreachable or BrokenOff."""
        outcome = attempt.outcome
        if isinstance(outcome, Reply):
            return outcome
        if outcome is not None and not isinstance(outcome, Stale):
            raise outcome
        return await self._pool.send(
            attempt.choice.seat.origin,
            attempt.head,
            attempt.body,
            connect_seconds=self._settings.connect_seconds,
            seconds=attempt.seconds,
            whole=attempt.whole,
            sized=attempt.size is not None,
            fresh=isinstance(outcome, Stale),
        )

    def _refused(
        self, ongoing: Ongoing, choice: Choice, credential: Credential, refusal: Refusal
    ) -> tuple[Answered | None, float | None]:
        """Take note of a channel's refusal; returns what `_attempt` does."""
        ongoing.fault, ongoing.refusal = None, refusal
        if refusal.verdict == "client":
            self._board.succeeded(choice)
            return Answered(choice, refusal.status, refusal=refusal), None
        self._leave_seat(ongoing)
        why = refusal.message or f"it answered {refusal.status}"
        tell_of_attempt(ongoing, refusal.verdict, why)
        match refusal.verdict:
            case "busy" if len(choice.seat.credentials) > 1:
                self._board.key_busy(credential, refusal.retry_after or FIRST_WAIT)
            case "busy":
                refusal.retry_after = FIRST_PAUSE if refusal.retry_after is None else refusal.retry_after
                self._board.busy(choice, refusal.retry_after)
            case "refused" | "out of credit":
                self._board.refused(choice, credential, refusal.verdict, why)
            case "not there" | "not allowed":  # it is well, and has nothing to do with this
                self._board.succeeded(choice)
            case _:
                self._board.failed(choice, why)
        return None, refusal.retry_after

    @staticmethod
    def _leave_seat(ongoing: Ongoing) -> None:
        if ongoing.choice is not None:
            ongoing.choice.seat.busy -= 1
            ongoing.choice = None

    async def _accept(self, ongoing: Ongoing, choice: Choice, reply: Reply, request: bytes, late: float) -> Answered:
        """Take an answer that is going well. Raises BrokenOff where nothing of it went to the client, until `late` at most."""
        content_type = reply.header(b"content-type")
        is_events = content_type.startswith(b"text/event-stream")
        secret = ongoing.credential.secret if ongoing.credential is not None else b""
        if content_type.startswith(b"text/html") and choice.kind in OBJECTS:
            reply.abort()
            raise BrokenOff("the answer is a page of HTML; the channel's address may be wrong")
        if not is_events and (ongoing.kind.name in WHOLE) and (not ongoing.streamed or reply.ended or b"json" in content_type):
            body = await whole_body(reply, LARGEST_ANSWER, late)
            if not may_be_answer(choice.kind, body):
                raise BrokenOff("the answer is no JSON object")
            if secret and secret in body:
                body = body.replace(secret, b"***")
            return Answered(choice, reply.status, reply.headers, body, request)
        flow = self.flow(ongoing, choice, reply, has_events=is_events)
        if not flow.first.done():
            timer = flow.loop.call_at(late, flow.give_up, "nothing of the answer came within its time")
            await flow.first
            timer.cancel()
        if flow.problem is not None and not flow.began and not flow.gone:
            ongoing.exchange.on_gone = ongoing.exchange.on_room = None
            raise BrokenOff(flow.problem)
        return Answered(choice, reply.status, reply.headers, flow=flow, request=request)

    def flow(self, ongoing: Ongoing, choice: Choice, reply: Reply, *, has_events: bool) -> Flow:
        """Let an answer that has begun flow to the client."""
        translator: Translator | None = None
        if choice.kind != ongoing.kind.name:
            translator = translation(choice.kind, ongoing.kind.name).Stream(
                model=ongoing.model,
                include_usage=ongoing.asked.wants_usage,
                created=int(self._board.now()),
                asked=ongoing.body,
            )
        hides = ongoing.streamed and ongoing.kind.name in usage.TELLS_WHEN_ASKED and not ongoing.asked.wants_usage
        ongoing.gathering = Gathering(choice.kind) if ongoing.makes and translator is None else None
        ongoing.flow = Flow(
            ongoing.exchange,
            self.keeper.held_back(ongoing, reply) if has_events and keeps(ongoing) else reply,
            KINDS[choice.kind],
            lambda: ongoing.exchange.start(reply.status, heads.head(ongoing, reply.headers)),
            has_events=has_events,
            hides_usage=hides and translator is None and asks_usage(choice),
            translator=translator,
            client_kind=ongoing.kind.name,
            secret=ongoing.credential.secret if ongoing.credential is not None else b"",
            gather=ongoing.gathering,
        )
        return ongoing.flow


def may_be_answer(kind: str, body: bytes) -> bool:
    """Whether a whole answer looks like one of this kind. Some servers say 200 to whatever they do not know, with a page or
    with nothing."""
    return kind not in OBJECTS or body.lstrip(BLANK)[:1] == b"{"


def translation(upstream: str, client: str) -> ModuleType:
    """The module that turns one kind of call into another."""
    return {("messages", "chat"): chat_to_messages, ("chat", "messages"): messages_to_chat}[upstream, client]


def prepare(ongoing: Ongoing, choice: Choice) -> bytes:
    """The upstream's body: the client's own bytes where nothing of it must change."""
    body = ongoing.body
    if choice.kind != ongoing.kind.name:
        traits = model_traits.of(choice.vendor_model, choice.seat.channel.options)
        module = translation(choice.kind, ongoing.kind.name)
        version = choice.seat.overrides.get(b"anthropic-version", b"").decode("latin-1")
        translated: bytes = module.request(body, model=choice.vendor_model, traits=traits, anthropic_version=version)
        return translated
    if choice.vendor_model != ongoing.model:
        body = kinds.rewrite(body, {"model": choice.vendor_model})
    if ongoing.streamed and asks_usage(choice):
        body = usage.ask_usage(choice.kind, body) if choice.kind in usage.TELLS_WHEN_ASKED else body
    if choice.kind in SIGNED and model_traits.of(choice.vendor_model, choice.seat.channel.options).signed_thinking:
        body = unsigned.without(body) if unsigned.possible(body) else body
    return body


def asks_usage(choice: Choice) -> bool:
    """Whether a channel is asked for the usage of streams that would not tell it otherwise."""
    return choice.seat.channel.options.get("stream_usage") != "no"


async def whole_body(reply: Reply, most: int, late: float) -> bytes:
    """All of a body. Raises BrokenOff, also where it is not whole at `late` by the loop's clock."""
    if reply.ended:
        return await reply.body(most)
    try:
        async with asyncio.timeout_at(late):
            return await reply.body(most)
    except BaseException as error:
        reply.abort()
        if isinstance(error, TimeoutError):
            raise BrokenOff("the answer was not whole within its time", began=True) from None
        raise


def head_of(ongoing: Ongoing, choice: Choice, credential: Credential, size: int | None) -> bytes:
    """Request line and headers for the upstream: what signs the call, and the few lines of the client's that it should see.

    size: of the body; None where nobody knows, and it goes in chunks.
    """
    if choice.kind == ongoing.kind.name:
        sent = heads.forwarded(ongoing.exchange.headers, FORWARDED)
        for name in choice.seat.overrides:
            sent.pop(name, None)
    else:
        sent = {b"content-type": b"application/json"}
    if len(sent) == 1 and size is not None and (content_type := sent.get(b"content-type")) is not None:
        return b"%b%d\r\n\r\n" % (credential.usual_head(choice.target, content_type), size)
    lines = b"".join([b"%b: %b\r\n" % pair for pair in (credential.head | sent).items()])
    framing = b"transfer-encoding: chunked" if size is None else b"content-length: %d" % size
    return b"POST %b HTTP/1.1\r\n%b%b\r\n\r\n" % (choice.target, lines, framing)


def tell_of_attempt(ongoing: Ongoing, verdict: str, why: str) -> None:
    """An attempt has come to nothing: a count, and a line in the log under the call's id."""
    metrics.RETRIES.labels(ongoing.channel, verdict).inc()
    log.info(
        "call.attempt_failed",
        request_id=ongoing.request_id,
        channel=ongoing.channel,
        model=ongoing.vendor_model,
        attempt=len(ongoing.attempts),
        verdict=verdict,
        why=why,
    )


def _lacks(fault: Exception | None, refusal: Refusal | None) -> bool:
    """Whether nothing worse is known of a call's attempts so far than that what it asks for was not there."""
    return fault is None and (refusal is None or refusal.verdict in LACKING)


def _given_up(ongoing: Ongoing, asked: Choice) -> Answered:
    """What the client is told of a call that nobody answered. asked: who was the last, whose own words it is told that it has
    no such thing. Everything else is raised.
    """
    refusal = ongoing.refusal
    if ongoing.fault is None and refusal is not None and refusal.verdict == "not there":
        return Answered(asked, refusal.status, refusal=refusal)
    raise failure(ongoing)


def failure(ongoing: Ongoing) -> GenwayError:
    """The error for a call that no channel answered."""
    refusal = ongoing.refusal
    if refusal is not None:
        match refusal.verdict:
            case "busy":
                return RateLimited(refusal.message or "the upstream is busy", retry_after=refusal.retry_after)
            case "refused" | "out of credit":
                return Unavailable("the channel's own key is refused or out of credit; the operator has to see to it")
            case "not there" | "not allowed":
                what = f"{ongoing.model} for {ongoing.kind.name}"
                return NoChannel(f"no key of the channels may use {what}; the operator has to see to it", field="model")
            case _:
                error = UpstreamFailed(
                    refusal.message or f"the upstream answered {refusal.status}", retry_after=refusal.retry_after
                )
                error.status = refusal.status if refusal.status >= 500 else 502  # type: ignore[misc]
                return error
    told = str(ongoing.fault or "no channel could be tried")
    if "within" in told:
        return UpstreamTimeout(f"no channel answered in time: {told}")
    return UpstreamFailed(f"no channel answered: {told}")
