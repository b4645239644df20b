"""Work that goes on at a vendor after its answer: asked about until it has ended, and then charged, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec
import structlog
from sqlalchemy import Connection
from uuid_utils import uuid7

from genway.billing import leases
from genway.billing.leases import CallRow
from genway.billing.tokens import Card, Used
from genway.errors import InvalidRequest, Unavailable
from genway.relay import forward, makings, objects, surveys, unmade, usage
from genway.relay.errors import Passed
from genway.relay.keeper import ENDED, Keeper, Place, beside, take_deposit
from genway.relay.makings import Making
from genway.relay.objects import About, Kept
from genway.relay.seats import Seat
from genway.relay.surveys import Tally

log = structlog.get_logger(__name__)

EVERY_SECONDS = 1.0
AT_ONCE = 8
ASK_SECONDS = 30.0
GONE_SECONDS = 3600.0
"""So old a thing must be before its vendor is believed that it never was."""

LOST_SECONDS = 7 * 24 * 3600.0
"""So old a thing whose channel is not in use any more is given up: nothing is charged, and its deposit is given back."""

BATCH_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


class State(msgspec.Struct):
    """What matters of an answer about a response or a batch, in either format."""

    id: str = ""
    status: str = ""
    processing_status: str = ""
    output_file_id: str | None = None
    error_file_id: str | None = None
    results_url: str | None = None


_state = msgspec.json.Decoder(State)


class Endings:
    """One a process. price: what a model of a channel costs for a kind of call, alone or in a batch; None: nobody said."""

    def __init__(
        self,
        keeper: Keeper,
        price: Callable[[str, Seat, str], Card | None],
        batch_price: Callable[[str, Seat, str], Card | None],
    ) -> None:
        self._keeper = keeper
        self._price = price
        self._batch_price = batch_price

    async def run(self) -> None:
        """Ask the vendors, for as long as the process lives; one that takes long holds nobody else up."""
        async with asyncio.TaskGroup() as group:
            under_way: set[asyncio.Task[None]] = set()
            while True:
                await asyncio.sleep(EVERY_SECONDS)
                try:
                    for kept in await self._due(AT_ONCE - len(under_way)):
                        job = group.create_task(self._tried(kept))
                        under_way.add(job)
                        job.add_done_callback(under_way.discard)
                except Exception as error:
                    log.error("batches.not_asked", why=str(error))

    async def look(self) -> int:
        """Ask about all whose turn it is; returns how many that were."""
        found = await self._due(AT_ONCE)
        await asyncio.gather(*map(self._tried, found))
        return len(found)

    async def _due(self, most: int) -> list[Kept]:
        now = self._keeper.clock()
        if most <= 0 or not await self._keeper.database.read(lambda connection: objects.any_due(connection, now)):
            return []
        found: list[Kept] = await self._keeper.database.write(lambda connection: objects.due(connection, now, most))
        return found

    async def _tried(self, kept: Kept) -> None:
        """Ask about one thing, whatever happens."""
        try:
            await self.ask(kept)
        except Exception as error:
            log.warning("batch.not_asked", id=kept.id, kind=kept.kind, why=str(error))

    async def ask(self, kept: Kept) -> None:
        """Ask the vendor how one thing fares. Raises GenwayError where it does not say."""
        if kept.kind == "unmade":
            await unmade.look(self._keeper, kept)
            return
        age = self._keeper.clock() - kept.created_at
        try:
            place = self._keeper.place(kept)
        except Unavailable:
            if age < LOST_SECONDS:
                raise
            log.error("batch.lost", id=kept.id, kind=kept.kind, channel=kept.channel_id, account=kept.account_id)
            await self.charge(kept, "", [])
            return
        try:
            body = await self.fetch(kept, place)
        except Passed as refused:
            if refused.status != 404 or age < GONE_SECONDS:
                raise Unavailable(f"the vendor answered {refused.status}") from None
            # The vendor has it no more, and never will say what it cost.
            await self.charge(kept, "", [self._guess(kept)])
            return
        await self.heard(kept, body)

    async def fetch(self, kept: Kept, place: Place) -> bytes:
        """What the vendor answers about a thing. Raises Passed or GenwayError."""
        where = forward.target(place.seat, forward.PATHS[kept.kind], f"/{kept.id}")
        return await forward.whole(await forward.ask(self._keeper.pool, place, "GET", where, seconds=ASK_SECONDS))

    async def heard(self, kept: Kept, body: bytes) -> None:
        """The vendor has told how a thing fares: charge it where it has ended. Nothing told: ask soon. Raises GenwayError."""
        try:
            state = _state.decode(body) if body else State()
        except (msgspec.DecodeError, UnicodeDecodeError):
            state = State()
        now = self._keeper.clock()
        if not state.id:
            await self._keeper.database.write(lambda connection: objects.soon(connection, kept, now))
            return
        await self.told(kept, state, body)
        if not kept.open or not self.has_ended(kept, state):
            return
        if kept.kind == "responses":
            await self._keeper.keep([*self._keeper.items_of(kept, body), *beside(kept, makings.of("responses", body))])
            used = usage.from_answer("responses", body)
            tally = self._guess(kept) if used is None else Tally(kept.details.models[0], "responses", used)
            if state.status == "failed" and used is None:
                tally.used = Used(calls=0)
            await self.charge(kept, "", [tally])
        else:
            await self.charge(kept, body.decode(), await self._used(kept, state, body))

    async def noticed(self, kept: Kept, body: bytes) -> None:
        """A client has been told how a batch fares: where it has ended, it is charged soon. Raises Unavailable."""
        try:
            state = _state.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        await self.told(kept, state, body)
        if kept.open and self.has_ended(kept, state):
            now = self._keeper.clock()
            await self._keeper.database.write(lambda connection: objects.soon(connection, kept, now))

    def has_ended(self, kept: Kept, state: State) -> bool:
        if kept.kind == "message_batches":
            return state.processing_status == "ended"
        return state.status in (ENDED if kept.kind == "responses" else BATCH_ENDED)

    async def told(self, kept: Kept, state: State, body: bytes) -> None:
        """Record what a vendor told of a batch. The files of its results are the account's own from now on."""
        if kept.kind == "responses":
            return
        names = [name for name in (state.output_file_id, state.error_file_id) if name]
        about = msgspec.json.encode(About(purpose="batch_output", batch=kept.id)).decode()
        files = [
            msgspec.structs.replace(
                kept, id=name, kind="files", about=about, body="", held=0, next_at=None, ended_at=None,
                created_at=self._keeper.clock(),
            )
            for name in names
        ]  # fmt: skip

        def write(connection: Connection) -> None:
            known = objects.known(connection, kept.account_id, kept.mode, names)
            objects.put(connection, [file for file in files if file.id not in known])
            objects.tell(connection, kept, body.decode())

        await self._keeper.database.write(write)

    async def _used(self, kept: Kept, state: State, body: bytes) -> list[Tally]:
        """What a batch that has ended used, by model. Raises GenwayError where its results cannot be read now."""
        details = kept.details
        if kept.kind == "message_batches":
            if state.results_url is None:
                return []
            content = await self._content(kept, kept.id, "/results", "message_batches")
        elif state.output_file_id:
            content = await self._content(kept, state.output_file_id, "/content", "files")
        else:
            return []
        if content is None:
            used = usage.from_answer("batches", body)
            return [self._guess(kept)] if used is None else [Tally(details.models[0], details.call, used)]
        return list(content.values())

    async def _content(self, kept: Kept, name: str, rest: str, kind: str) -> Mapping[str, Tally] | None:
        place = self._keeper.place(kept)
        where = forward.target(place.seat, kind, f"/{name}{rest}")
        try:
            reply = await forward.ask(self._keeper.pool, place, "GET", where, seconds=ASK_SECONDS)
            made: set[Making] = set()
            found = await surveys.results(forward.pieces(reply), kept.details, made)
        except (Passed, InvalidRequest):
            return None
        await self._keeper.keep(beside(kept, made))
        return found

    def _guess(self, kept: Kept) -> Tally:
        """Where the vendor never says what was used: what had gone in, at least."""
        details = kept.details
        model = details.models[0] if details.models else kept.model
        return Tally(model, details.call, Used(input=details.tokens, estimated=True))

    async def charge(self, kept: Kept, body: str, tallies: list[Tally]) -> bool:
        """Put on record what it cost and give the deposit back; False where that was done before. Raises Unavailable."""
        counted = [tally for tally in tallies if tally.used.calls or tally.used.read or tally.used.produced]
        rows = [self._row(kept, tally, kept.held // len(counted)) for tally in counted]
        now = self._keeper.clock()

        def write(connection: Connection) -> bool:
            if not objects.end(connection, kept, now, body):
                return False
            if rows:
                leases.record(connection, list(map(leases.fitted, rows)), now)
            return True

        charged: bool = await self._keeper.database.write(write)
        kept.ended_at, kept.next_at = kept.ended_at or now, None
        if charged:
            log.info("batch.charged", id=kept.id, kind=kept.kind, calls=sum(row.cost for row in rows))
        return charged

    async def charge_at_once(
        self, kept: Kept, rows: list[Kept], tallies: list[Tally], card: Callable[[str, str], Card]
    ) -> None:
        """Record work that was done here and now, and charge it. Raises InsufficientBalance or BudgetExceeded."""
        costs = [(tally, card(tally.kind, tally.model).cost(tally.used)) for tally in tallies]
        now = self._keeper.clock()
        calls = [self._call(kept, tally, cost, f"local-{tally.kind}") for tally, cost in costs]
        kept.held = sum(cost for _, cost in costs)

        def write(connection: Connection) -> None:
            take_deposit(connection, kept, now)
            objects.put(connection, [kept, *rows])
            objects.end(connection, kept, now, "")
            if calls:
                leases.record(connection, calls, now)

        await self._keeper.database.write(write)

    def _row(self, kept: Kept, tally: Tally, share: int) -> CallRow:
        """share: of what was set aside, which is charged where nobody says any more what the model costs."""
        seat = self._keeper.board.seat(kept.channel_id)
        price = self._price if kept.kind == "responses" else self._batch_price
        card = price(tally.kind, seat, tally.model) if seat is not None else None
        cost = card.cost(tally.used) if card is not None else share
        return self._call(kept, tally, cost, seat.vendor_model(tally.model) if seat is not None else tally.model)

    def _call(self, kept: Kept, tally: Tally, cost: int, vendor_model: str) -> CallRow:
        now = self._keeper.clock()
        return CallRow(
            id=f"cll_{uuid7().hex}",
            created_at=now,
            account_id=kept.account_id,
            key_id=kept.key_id,
            mode=kept.mode,
            kind=kept.kind,
            model=tally.model,
            vendor_model=vendor_model,
            channel_id=kept.channel_id,
            lease_id=None,
            status=200,
            outcome="done",
            attempts=1,
            milliseconds=int((now - kept.created_at) * 1000),
            input_tokens=tally.used.read,
            output_tokens=tally.used.produced,
            used=msgspec.json.encode(tally.used).decode(),
            estimated=tally.used.estimated,
            cost=cost,
            request_id=kept.details.request_id or kept.id,
        )
