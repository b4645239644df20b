"""Leads a call through: who asks, what it may cost, where it goes, what it used."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from uuid_utils import uuid7

from genway.billing import prices
from genway.billing.leases import CallRow, Outcome
from genway.billing.tokens import Card, Used
from genway.config import Config
from genway.db import Database
from genway.errors import BodyTooLarge, BodyTooSlow, GenwayError, InvalidRequest, NoChannel, Unavailable
from genway.providers.local import echo
from genway.relay import errors, estimate, heads, kinds, makings, mentions, metrics, report, usage
from genway.relay.builtin import BuiltinReply
from genway.relay.callers import Callers
from genway.relay.cards import FREE, UNPAID, Cards, set_aside
from genway.relay.endings import Endings
from genway.relay.flow import Flow
from genway.relay.forms import Forms
from genway.relay.keeper import Keeper, keeps, sharing
from genway.relay.kinds import Kind
from genway.relay.meter import Meter
from genway.relay.objects import Kept
from genway.relay.ongoing import Ongoing
from genway.relay.seats import Board, Choice
from genway.relay.sending import Answered, Attempt, Sender, translation
from genway.relay.sse import data_of, events
from genway.routing.channels import LOCAL
from genway.wire.exchange import ClientGone, Exchange
from genway.wire.upstream import Reply

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 1.0
LOCAL_MODELS = (f"{LOCAL}/", f"{LOCAL}-")
WATCH_SECONDS = 1.0
LARGE_BODY = 64 * 1024  # the built-in answer to which would hold others up
NO_MODEL_NEEDED = {
    "moderations": "omni-moderation-latest",
    "image_generations": "gpt-image-1.5",
    "image_edits": "gpt-image-1.5",
    "image_variations": "dall-e-2",
}
SIGNS = {"messages": b'event: ping\ndata: {"type": "ping"}\n\n'}
SIGN = b": keep-alive\n\n"


class Relay:
    """One a process. `start` before the first call, `stop` after the last."""

    def __init__(
        self,
        config: Config,
        database: Database,
        callers: Callers,
        board: Board,
        sender: Sender,
        meter: Meter,
        *,
        clock: Callable[[], float],
    ) -> None:
        self.keeper: Keeper
        self.endings: Endings
        self.settings = config.relay
        self.callers = callers
        self.board = board
        self.meter = meter
        self._database = database
        self._sender = sender
        self._clock = clock
        self.most_body = config.server.max_body_bytes
        self._body_seconds = config.server.body_seconds
        self._forms = Forms(config)
        self._local = config.local.enabled
        self.cards = Cards(board)
        self.flows: set[Flow] = set()
        self._jobs: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._refresh()
        self.meter.start()
        self._jobs = [
            asyncio.create_task(self._keep_fresh(), name="relay channels"),
            asyncio.create_task(self._watch(), name="relay streams"),
        ]

    async def stop(self) -> None:
        for job in self._jobs:
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await self.meter.stop()

    # --- a call

    async def handle(self, exchange: Exchange, kind: Kind) -> None:
        """Answer one call, whatever happens."""
        ongoing = Ongoing(exchange, kind, request_id(exchange.header(b"x-request-id")))
        await self.see_through(ongoing, self._lead(ongoing))

    async def see_through(self, ongoing: Ongoing, leading: Awaitable[None]) -> None:
        """Wait for what leads a call; whatever happens, the call is answered and concluded."""
        exchange = ongoing.exchange
        try:
            await leading
        except GenwayError as error:
            self.refuse(ongoing, error)
        except ClientGone:
            pass
        except asyncio.CancelledError:
            if not exchange.gone:
                raise
            await self.charge_for_nothing(ongoing)
        except Exception:
            log.exception("relay.failed", path=exchange.path, request_id=ongoing.request_id)
            self.refuse(ongoing, GenwayError("something went wrong here; it is recorded under the request id"))
        finally:
            self.conclude(ongoing)

    async def charge_for_nothing(self, ongoing: Ongoing) -> None:
        """The client went away while a whole answer was awaited: the upstream has read the request at least."""
        if ongoing.reservation is None or ongoing.choice is None or (ongoing.form is not None and not ongoing.form.sent):
            return
        with contextlib.suppress(Unavailable):
            used = estimate.whole(ongoing.choice.kind, ongoing.body, b"", ongoing.vendor_model)
            await self.settle(ongoing, used if ongoing.form is None else ongoing.form.at_least(used), "client_gone")

    async def _lead(self, ongoing: Ongoing) -> None:
        exchange, kind = ongoing.exchange, ongoing.kind
        if exchange.method != "POST":
            raise errors.WrongMethod(f"{exchange.path} is for POST{kind.instead and '; '}{kind.instead}")
        ongoing.holder = await self.callers.holder(exchange)
        if kind.body == "form" and not (kind.name == "image_edits" and b"json" in exchange.header(b"content-type")):
            form = ongoing.form = await self._forms.take(exchange, kind.name, dropped=ongoing.holder.caller.mode == "test")
            body, asked = form.as_json(), form.asked()
        else:
            body = await self.read(exchange)
            asked = kinds.read(body)
        ongoing.body, ongoing.asked = body, asked
        if not asked.model:
            asked.model = NO_MODEL_NEEDED.get(kind.name, "")
            if not asked.model:
                raise InvalidRequest("required: the name of a model; GET /v1/models lists them", field="model")
            if ongoing.form is None:  # the vendor must not take another than the one that is charged for
                body = ongoing.body = kinds.rewrite(body, {"model": asked.model})
        if kind.name == "messages" and asked.max_tokens is None:
            raise InvalidRequest("Field required", field="max_tokens")
        ongoing.streamed = kind.streams and asked.streamed
        await self.admit(ongoing)
        named = mentions.of(kind.name, body, asked.previous_response_id)
        kept = await self.keeper.named(ongoing.holder.caller, named) if named else None
        ongoing.makes = makings.possible(kind.name, asked)
        threaded = asked.thread is not None and kind.name == "messages"
        if self.is_local(ongoing):
            if threaded:
                raise errors.ThreadUnsupported("the built-in provider keeps no threads", field="thread")
            await self._answer_locally(ongoing)
            return
        if threaded:
            kept = await self.keeper.thread(ongoing, kept)
        if kind.name == "count_tokens" and not self._counts(asked.model):
            ongoing.exchange.whole(200, errors.JSON + heads.common(ongoing), self._count(ongoing))
            return
        if kept is not None:
            place = self.keeper.place(kept)
            ongoing.pinned = place.credential
            choices = self.board.choices_at(place.seat, kind.name, asked.model)
        else:
            choices = self.board.choices(kind.name, asked.model)
        if threaded:
            choices = [choice for choice in choices if choice.kind == "messages"]
            if not choices:
                raise errors.ThreadUnsupported(f"no channel keeps threads of {asked.model}", field="thread")
        if named:
            choices = sharing(choices, named)
        await self.reserve(ongoing, self.cards.of(kind.name, choices[0], asked.model))
        await self.pursue(ongoing, self.board.order(choices, asked.sticky))

    async def pursue(self, ongoing: Ongoing, choices: list[Choice], begun: Attempt | None = None) -> None:
        """Send a call that is admitted and paid for, until it is answered. begun: it was sent to the first already."""
        if begun is not None and ongoing.exchange.gone:  # just now, when nobody listened
            if isinstance(begun.outcome, Reply):
                begun.outcome.abort()
                if begun.outcome.status < 300:
                    await self.charge_for_nothing(ongoing)
            return
        answered = await self._sender.send(ongoing, choices, begun)
        if answered.refusal is not None:
            self.pass_on(ongoing, answered)
        elif answered.flow is not None:
            await self.stream(ongoing, answered.flow)
        else:
            await self._whole(ongoing, answered)

    def _counts(self, model: str) -> bool:
        """Whether a channel counts a model's tokens itself. Raises NoChannel where none has the model."""
        try:
            self.board.choices("count_tokens", model)
        except NoChannel:
            self.board.choices("messages", model)
            return False
        return True

    @staticmethod
    def _count(ongoing: Ongoing) -> bytes:
        try:
            return msgspec.json.encode({"input_tokens": estimate.count_tokens(ongoing.body)})
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(f"the body is not valid JSON, or too deep: {error}") from None

    async def admit(self, ongoing: Ongoing) -> None:
        """Count the call against the key's limits. Raises RateLimited."""
        assert ongoing.holder is not None
        ongoing.tokens = estimate.quick_input(ongoing.body) + self._likely_output(ongoing)
        await self.callers.count(ongoing.holder, ongoing.tokens, ongoing.streamed)
        ongoing.admitted = True
        if ongoing.streamed:
            self.open_stream(ongoing)

    @staticmethod
    def open_stream(ongoing: Ongoing) -> None:
        """Count one more stream, until the call is concluded."""
        assert ongoing.holder is not None
        ongoing.streamed = True
        ongoing.holder.streams += 1
        metrics.STREAMS.inc()

    def _likely_output(self, ongoing: Ongoing) -> int:
        return min(ongoing.asked.most_output or self.settings.reserve_tokens, self.settings.reserve_tokens)

    def is_local(self, ongoing: Ongoing) -> bool:
        """A test key's work is done here, and a live key's as long as no channel relays anything at all."""
        assert ongoing.holder is not None
        if ongoing.holder.caller.mode == "test" or ongoing.model.startswith(LOCAL_MODELS):
            if not self._local:
                raise NoChannel("the built-in provider is switched off", field="model")
            return True
        return self._local and not self.board.seats

    async def reserve(self, ongoing: Ongoing, card: Card) -> None:
        """Set the call's likely cost aside. Raises InsufficientBalance, BudgetExceeded or Unavailable."""
        assert ongoing.holder is not None
        ongoing.card = card
        caller, likely = ongoing.holder.caller, self.likely_cost(ongoing, card)
        ongoing.reservation = self.meter.reserve(caller, likely) or await self.meter.fetch(caller, likely)

    def likely_cost(self, ongoing: Ongoing, card: Card) -> int:
        """What is set aside for a call, in millionths."""
        output = self._likely_output(ongoing)
        read, images = max(ongoing.tokens - output, 0), max(ongoing.asked.n or 1, 1)
        if ongoing.form is None and ongoing.kind.name != "speech":
            return set_aside(card, read, output, images)
        expected = Used(input=read, output=output, images=images)
        if ongoing.form is not None:
            expected.seconds = ongoing.form.seconds
        else:
            expected.characters = len(ongoing.body)
        return card.cost(expected) or int(card != FREE)

    async def read(self, exchange: Exchange) -> bytes:
        """The whole body. Raises BodyTooLarge, BodyTooSlow, ClientGone, and InvalidRequest for one that is compressed."""
        kinds.refuse_compressed(exchange.header(b"content-encoding"))
        announced = exchange.header(b"content-length")
        if announced.isdigit() and int(announced) > self.most_body:
            raise BodyTooLarge(f"the body may have at most {self.most_body} bytes and has {int(announced)}")
        parts = []
        size = 0
        try:
            async with asyncio.timeout(self._body_seconds):
                while part := await exchange.read():
                    size += len(part)
                    if size > self.most_body:
                        raise BodyTooLarge(f"the body may have at most {self.most_body} bytes")
                    parts.append(part)
        except TimeoutError:
            raise BodyTooSlow(f"the body must arrive within {self._body_seconds:g} seconds") from None
        return b"".join(parts)

    # --- answers

    async def _whole(self, ongoing: Ongoing, answered: Answered) -> None:
        choice = answered.choice
        recorded: asyncio.Task[Kept | None] | None = None
        if choice.kind == ongoing.kind.name and keeps(ongoing):
            recorded = asyncio.create_task(self.keeper.answered(ongoing, answered.body))
            if ongoing.asked.background and await recorded is not None:  # it is charged when it has ended
                ongoing.exchange.whole(answered.status, heads.head(ongoing, answered.headers), answered.body)
                return
        used = Used(calls=0) if choice.kind in UNPAID else usage.from_answer(choice.kind, answered.body)
        if used is None:
            used = estimate.whole(choice.kind, answered.request, answered.body, choice.vendor_model)
        body = answered.body
        if choice.kind != ongoing.kind.name:
            try:
                body = translation(choice.kind, ongoing.kind.name).answer(body, model=ongoing.model, asked=ongoing.body)
            except msgspec.DecodeError as error:
                raise errors.UpstreamFailed(f"the upstream's answer is not what its format says: {error}") from None
        await self.settle(ongoing, used, "done")
        if recorded is not None:
            await recorded
        if ongoing.makes and choice.kind == ongoing.kind.name:
            await self.keeper.made(ongoing, makings.of(choice.kind, answered.body))
        if ongoing.exchange.gone:
            return
        ongoing.exchange.whole(answered.status, heads.head(ongoing, answered.headers), body)

    async def stream(self, ongoing: Ongoing, flow: Flow) -> None:
        """See a stream to its end, which the client sees once it is accounted for."""
        ongoing.flow = flow
        self.flows.add(flow)
        if flow.has_events and not ongoing.streamed:  # nobody saw that it was asked for
            self.open_stream(ongoing)
        try:
            await flow.done
        finally:
            self.flows.discard(flow)
        kind = ongoing.choice.kind if ongoing.choice is not None else ongoing.kind.name
        ended = b""
        if ongoing.gathering is not None:
            with contextlib.suppress(Unavailable):
                await self.keeper.made(ongoing, ongoing.gathering.found)
        if ongoing.kept is not None:
            with contextlib.suppress(Unavailable):
                ended = await self.keeper.ended(ongoing, flow)
            if ongoing.kept.open:  # it goes on at the vendor, whoever listens
                await self.endings.heard(ongoing.kept, ended)
                if not flow.gone:
                    flow.finish()
                return
        used = flow.used
        if used is None or flow.gone or flow.failed:
            used = self._estimate(ongoing, flow, kind)
            used = used if ongoing.form is None else ongoing.form.at_least(used)
        outcome: Outcome = "client_gone" if flow.gone else "broken_off" if flow.failed else "done"
        if ongoing.choice is not None and outcome == "done":
            self.board.completed(ongoing.choice)
        elif ongoing.choice is not None and outcome == "broken_off":
            self.board.broke(ongoing.choice, flow.problem or flow.error)
        try:
            await self.settle(ongoing, used, outcome)
        except Unavailable as error:
            flow.fail(errors.in_stream(error.message, ongoing.kind.name, ongoing.request_id))
            return
        if flow.gone:
            return
        last = b""
        if flow.problem is not None:
            if ongoing.choice is not None and ongoing.choice.kind == ongoing.kind.name:
                last = errors.in_stream(f"the upstream's answer broke off: {flow.problem}", kind, ongoing.request_id)
            if not flow.has_events:
                ongoing.exchange.abort()
                return
        flow.finish(last)

    @staticmethod
    def _estimate(ongoing: Ongoing, flow: Flow, kind: str) -> Used:
        """Where the vendor told no usage, or not all of it: what is known of the stream, counted here and marked so."""
        if not flow.has_events:
            used = flow.used or estimate.whole(kind, ongoing.body, b"", ongoing.vendor_model)
            cut = kind == "speech" and (flow.gone or flow.failed)
            return estimate.cut_off(used, flow.total_bytes) if cut else used
        seen = [data_of(event) for piece in flow.kept for event in events(piece)]
        used = estimate.streamed(kind, ongoing.body, [data for data in seen if data], flow.used, ongoing.vendor_model)
        if flow.total_bytes > flow.kept_bytes and flow.used is None:
            used = msgspec.structs.replace(used, output=used.output * flow.total_bytes // max(flow.kept_bytes, 1))
        return used

    def pass_on(self, ongoing: Ongoing, answered: Answered) -> None:
        """An upstream's refusal, in the client's format, in its own words."""
        refusal = answered.refusal
        assert refusal is not None
        status, body = refusal.status, refusal.body
        if answered.choice.kind != ongoing.kind.name:
            status, body = translation(answered.choice.kind, ongoing.kind.name).error(
                status, body, request_id=ongoing.request_id
            )
        elif not body.lstrip().startswith(b"{"):
            words = body[:300].decode("utf-8", "replace").strip()
            said = errors.UpstreamFailed(f"the upstream answered {status}" + (f": {words}" if words else ""))
            said.status = status  # type: ignore[misc]
            body = errors.body(said, ongoing.kind.wire, ongoing.request_id)
        lines = errors.JSON
        if refusal.retry_after is not None:
            lines += b"retry-after: %d\r\n" % max(1, -(-refusal.retry_after // 1))
        ongoing.exchange.whole(status, lines + heads.common(ongoing), body)

    async def _answer_locally(self, ongoing: Ongoing) -> None:
        ongoing.channel = LOCAL
        ongoing.attempts.append(LOCAL)
        kind, created = ongoing.kind.name, int(self._clock())
        if (form := ongoing.form) is not None:
            await form.drop()
            made = await asyncio.to_thread(echo.answer_form, kind, form.fields, form.files, created=created)
        elif kind in echo.SLOW or ongoing.makes or len(ongoing.body) > LARGE_BODY:  # it makes a chat that is audio
            made = await asyncio.to_thread(echo.answer, kind, ongoing.body, request_id=ongoing.request_id, created=created)
        else:
            made = echo.answer(kind, ongoing.body, request_id=ongoing.request_id, created=created)
        await self.answer_made(ongoing, made)

    async def answer_made(self, ongoing: Ongoing, made: echo.Whole | echo.Streamed) -> None:
        """Send a built-in answer, metered like any other."""
        ongoing.vendor_model = f"local-{ongoing.kind.name}"
        assert ongoing.holder is not None
        await self.reserve(ongoing, self.cards.local(ongoing.kind.name, ongoing.model, ongoing.holder.caller.mode))
        if made.delay:
            await asyncio.sleep(made.delay)
        reply = BuiltinReply(made)
        if isinstance(made, echo.Whole):
            if made.status < 400:
                used = Used(calls=0) if ongoing.kind.name in UNPAID else usage.from_answer(ongoing.kind.name, made.body)
                await self.settle(ongoing, used or estimate.whole(ongoing.kind.name, ongoing.body, made.body), "done")
                if keeps(ongoing):
                    await self.keeper.answered(ongoing, made.body)
                if ongoing.makes:
                    await self.keeper.made(ongoing, makings.of(ongoing.kind.name, made.body))
            ongoing.exchange.whole(made.status, heads.head(ongoing, reply.headers), made.body)
            return
        ongoing.gathering = makings.Gathering(ongoing.kind.name) if ongoing.makes else None
        flow = Flow(
            ongoing.exchange,
            self.keeper.held_back(ongoing, reply) if keeps(ongoing) else reply,
            ongoing.kind,
            lambda: ongoing.exchange.start(200, heads.head(ongoing, reply.headers)),
            has_events=True,
            hides_usage=ongoing.kind.name in usage.TELLS_WHEN_ASKED and not ongoing.asked.wants_usage,
            gather=ongoing.gathering,
        )
        await self.stream(ongoing, flow)

    # --- accounting

    async def settle(self, ongoing: Ongoing, used: Used, outcome: Outcome) -> None:
        """Charge what was used; returns once that is on record. Raises Unavailable."""
        committed = self.meter.record(self.charge(ongoing, used, outcome))
        if committed is not None:
            await committed

    def charge(self, ongoing: Ongoing, used: Used, outcome: Outcome) -> CallRow:
        """Take what was used from the key's money and limits; returns what is to be put on record."""
        holder, reservation, card, choice = ongoing.holder, ongoing.reservation, ongoing.card, ongoing.choice
        assert holder is not None
        assert reservation is not None
        assert card is not None
        cost = card.cost(used)
        lease = self.meter.spend(reservation, cost)
        ongoing.reservation = None
        ongoing.used, ongoing.cost = used, cost
        read, produced = used.read, used.produced
        if holder.tokens is not None:
            holder.tokens.correct(ongoing.tokens - read - produced)
        if choice is not None and choice.seat.tokens is not None:
            choice.seat.tokens.correct(-(read + produced))
        caller = holder.caller
        return CallRow(
            f"cll_{uuid7().hex}",
            self._clock(),
            caller.account_id,
            caller.key_id,
            caller.mode,
            ongoing.kind.name,
            ongoing.model,
            ongoing.vendor_model,
            choice.seat.channel.id if choice is not None else LOCAL,
            lease,
            200,
            outcome,
            len(ongoing.attempts),
            int(ongoing.milliseconds),
            read,
            produced,
            msgspec.json.encode(used).decode(),
            used.estimated,
            cost,
            ongoing.request_id,
        )

    def conclude(self, ongoing: Ongoing) -> None:
        """Let go of what the call held, and tell of it."""
        if ongoing.form is not None:
            ongoing.form.close()
        if ongoing.reservation is not None:
            self.meter.release(ongoing.reservation)
            ongoing.reservation = None
        if ongoing.choice is not None:
            ongoing.choice.seat.busy -= 1
        holder = ongoing.holder
        if ongoing.admitted and holder is not None:
            if ongoing.used is None and holder.tokens is not None:
                holder.tokens.correct(ongoing.tokens)
            if ongoing.streamed:
                holder.streams -= 1
                metrics.STREAMS.dec()
        report.tell(ongoing)
        ongoing.flow = None  # it knows the call as well

    def refuse(self, ongoing: Ongoing, error: GenwayError) -> None:
        """Answer with an error, in the format of the route, or inside the stream that has begun."""
        exchange, wire = ongoing.exchange, ongoing.kind.wire
        if exchange.started:
            if not exchange.finished:
                exchange.finish(errors.in_stream(error.message, ongoing.kind.name, ongoing.request_id))
            return
        body = errors.body(error, wire, ongoing.request_id)
        exchange.whole(errors.status_of(error, wire), errors.headers(error, wire) + heads.common(ongoing), body)

    # --- in the background

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self._refresh()
            except Exception as error:
                log.error("relay.not_refreshed", why=str(error))

    async def _refresh(self) -> None:
        await self.board.refresh()
        self.cards.refresh(await self._database.read(prices.current))

    async def _watch(self) -> None:
        """Give up streams that are silent for too long, and give others a sign of life."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            metrics.flush()
            now = loop.time()
            for flow in list(self.flows):
                if flow.late_at and not flow.began and now > flow.late_at:
                    flow.give_up("nothing of the answer came within its time")
                elif now - flow.last_at > self.settings.idle_seconds:
                    flow.give_up(f"nothing came for {self.settings.idle_seconds:g} seconds")
                elif self.settings.keep_alive_seconds and now - flow.sent_at > self.settings.keep_alive_seconds:
                    flow.keep_alive(SIGNS.get(flow.client_kind, SIGN))


def request_id(given: bytes) -> str:
    """The client's own id of its request where it is fit, else a new one. given: its header `x-request-id`."""
    if 0 < len(given) <= 128 and given.isascii() and (text := given.decode()).isprintable():
        return text
    return f"req_{uuid7().hex}"
