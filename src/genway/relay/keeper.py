"""Whose the things are that vendors keep, and which channel has them: looked up before a call, recorded with its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

import msgspec
import structlog
from sqlalchemy import Connection
from uuid_utils import uuid7

from genway.access.model import Caller
from genway.billing import deposits
from genway.config import Config
from genway.db import Database
from genway.errors import GenwayError, InsufficientBalance, NoChannel, NotFound, Unauthenticated, Unavailable
from genway.media.store import Store
from genway.relay import errors, estimate, mentions, objects
from genway.relay.flow import Flow, Source
from genway.relay.forms import UPLOADS_TAKE_LONGER
from genway.relay.makings import Making
from genway.relay.objects import NAMES, About, Kept, Sort
from genway.relay.ongoing import Ongoing
from genway.relay.seats import Board, Choice, Credential, Seat
from genway.relay.sse import Splitter, data_of, events
from genway.routing.channels import LOCAL
from genway.wire.pool import Pool

log = structlog.get_logger(__name__)

ENDED = frozenset({"completed", "failed", "incomplete", "cancelled"})


class Item(msgspec.Struct):
    id: str | None = None


class Response(msgspec.Struct):
    """What of a response matters here."""

    id: str = ""
    status: str | None = None
    output: list[Item] | None = None

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class Told(msgspec.Struct):
    """An event of a stream of a response, or of a message. response, message: as it came."""

    response: msgspec.Raw = msgspec.Raw(b"{}")
    message: msgspec.Raw = msgspec.Raw(b"{}")


_event = msgspec.json.Decoder(Told)
_response = msgspec.json.Decoder(Response)


class Place(msgspec.Struct, frozen=True):
    """Where a thing is kept: a channel, and the one of its keys that made it."""

    seat: Seat
    credential: Credential


class Keeper:
    """One a process. store: where the contents of files lie that only the built-in provider has."""

    def __init__(
        self, config: Config, database: Database, board: Board, pool: Pool, store: Store, *, clock: Callable[[], float]
    ) -> None:
        self.settings = config.relay
        self._local = config.local.enabled
        self.public_url = config.server.public_url
        self.most_upload = config.server.max_upload_bytes
        self.upload_seconds = config.server.body_seconds * UPLOADS_TAKE_LONGER
        self.scratch = config.data_dir / "work"
        self.database = database
        self.board = board
        self.pool = pool
        self.store = store
        self.clock = clock

    def is_local(self, caller: Caller) -> bool:
        """Whether a caller's things are made by the built-in provider. Raises NoChannel where that is switched off."""
        if caller.mode == "test" and not self._local:
            raise NoChannel("the built-in provider is switched off")
        return caller.mode == "test" or (self._local and not self.board.seats)

    # --- looking up

    async def find(self, caller: Caller, kind: Sort, name: str) -> Kept:
        """Raises NotFound, for what is unknown and for what is somebody else's alike."""
        found = await self.database.read(lambda connection: objects.find(connection, caller.account_id, caller.mode, [name]))
        kept = found.get(name)
        if kept is None or kept.kind != kind:
            raise NotFound(f"there is no {NAMES[kind]} {name[:100]} here", field=None)
        return kept

    async def named(self, caller: Caller, named: Sequence[mentions.Mention]) -> Kept | None:
        """What a body names, all of it the account's own and at one place; returns one of them. Raises NotFound."""
        named = [mention for mention in named if mention.kind not in objects.OPERATORS]
        if not named:
            return None
        ids = {mention.id for mention in named}
        found = await self.database.read(lambda connection: objects.find(connection, caller.account_id, caller.mode, ids))
        first: Kept | None = None
        for mention in named:
            kept = found.get(mention.id)
            if kept is None or kept.kind != mention.kind:
                raise NotFound(f"there is no {NAMES[mention.kind]} {mention.id[:100]} here", field=mention.field)
            first = first or kept
            if (kept.channel_id, kept.credential) != (first.channel_id, first.credential):
                raise NotFound(
                    f"{mention.id[:100]} is kept at another place than {first.id[:100]}; make both there (X-Genway-Channel)",
                    field=mention.field,
                )
        return first

    async def thread(self, ongoing: Ongoing, kept: Kept | None) -> Kept | None:
        """The message that a call goes on from, whose vendor has the thread; `kept`, what else it names, for a new thread.

        Raises ThreadUnknown, also where the vendor that has it is not in use any more: the client begins anew.
        """
        assert ongoing.holder is not None
        name = mentions.previous_message(ongoing.asked.thread)
        if name is None:
            return kept
        try:
            found = await self.find(ongoing.holder.caller, "threads", name)
            self.place(found)
        except (NotFound, Unavailable):
            raise errors.ThreadUnknown("there is no such thread here", field="thread.previous_message_id") from None
        if kept is not None and (kept.channel_id, kept.credential) != (found.channel_id, found.credential):
            raise errors.ThreadUnknown(f"{kept.id[:100]} is kept at another place than the thread", field="thread")
        return found

    def place(self, kept: Kept) -> Place:
        """Raises Unavailable where the channel, or the key that made the thing, is gone."""
        seat = self.board.seat(kept.channel_id)
        credential = next((each for each in seat.credentials if each.name == kept.credential), None) if seat else None
        if seat is None or credential is None:
            raise Unavailable(f"the channel that keeps {kept.id} is not in use here any more; the operator has to see to it")
        return Place(seat, credential)

    # --- recording

    def row(self, caller: Caller, kind: Sort, name: str, place: Place | None, **more: object) -> Kept:
        """A new thing of the caller's. place: None for the built-in provider."""
        return Kept(
            id=name,
            account_id=caller.account_id,
            mode=caller.mode,
            key_id=caller.key_id,
            kind=kind,
            channel_id=place.seat.channel.id if place is not None else LOCAL,
            credential=place.credential.name if place is not None else "",
            created_at=self.clock(),
            **more,  # type: ignore[arg-type]
        )

    async def keep(self, rows: Sequence[Kept]) -> None:
        """Raises Unavailable."""
        await self.database.write(lambda connection: objects.put(connection, rows))

    async def keep_open(self, kept: Kept, rows: Sequence[Kept] = ()) -> None:
        """Record work that goes on at the vendor, with as much of `kept.held` set aside as there is money for."""

        def write(connection: Connection) -> None:
            before = objects.find(connection, kept.account_id, kept.mode, [kept.id]).get(kept.id)
            if before is not None and before.open:
                return  # the vendor gives the same work again, which has its deposit
            try:
                take_deposit(connection, kept, kept.created_at)
            except (InsufficientBalance, Unauthenticated):
                kept.held = 0  # the work has begun; it is charged all the same
            objects.put(connection, [kept, *rows])

        await self.database.write(write)

    async def made(self, ongoing: Ongoing, makings: Collection[Making]) -> None:
        """Record what an answer has made besides itself. Raises Unavailable."""
        choice, credential = ongoing.choice, ongoing.credential
        place = Place(choice.seat, credential) if choice is not None and credential is not None else None
        if makings and ongoing.holder is not None:
            await self.keep([self.row(ongoing.holder.caller, sort, name, place) for sort, name in makings])

    # --- responses

    async def answered(self, ongoing: Ongoing, body: bytes) -> Kept | None:
        """Record a whole response; returns it where the work goes on. Raises Unavailable."""
        try:
            response = _response.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if not response.id:
            return None
        kept = self._response(ongoing, response, body)
        if kept.open:
            await self.keep_open(kept)
            return kept
        await self.keep([kept, *self._items(kept, response)])
        return None

    def held_back(self, ongoing: Ongoing, source: Source) -> Source:
        """A stream of which the client sees nothing before its response is on record."""

        async def keep(data: bytes) -> None:
            try:
                event = _event.decode(data)
                raw = event.message if ongoing.kind.name == "messages" else event.response
                response = _response.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return
            if response.id:
                kept = self._response(ongoing, response, bytes(raw))
                await (self.keep_open(kept) if kept.open else self.keep([kept]))
                ongoing.kept = kept  # not before: what is not on record is charged at once

        return HeldBack(source, keep, ongoing.kind.name, ongoing.request_id)

    async def ended(self, ongoing: Ongoing, flow: Flow) -> bytes:
        """Record what a stream's last event tells; returns the response as it ended, or nothing where it did not."""
        kept = ongoing.kept
        last = next((data for event in events(flow.held) if (data := data_of(event))), b"")
        if kept is None or not last:
            return b""
        try:
            raw = _event.decode(last).response
            response = _response.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return b""
        if not response.ended:
            return b""
        rows = self._items(kept, response)
        if kept.channel_id == LOCAL:
            rows.append(self._response(ongoing, response, bytes(raw)))
        await self.keep(rows)
        return bytes(raw)

    def _response(self, ongoing: Ongoing, response: Response, body: bytes) -> Kept:
        assert ongoing.holder is not None
        choice, credential = ongoing.choice, ongoing.credential
        place = Place(choice.seat, credential) if choice is not None and credential is not None else None
        kind: Sort = "threads" if ongoing.kind.name == "messages" else "responses"
        kept = self.row(ongoing.holder.caller, kind, response.id, place, model=ongoing.model)
        if place is None:
            kept.body = msgspec.json.encode({"request": msgspec.Raw(ongoing.body), "response": msgspec.Raw(body)}).decode()
        elif ongoing.asked.background and not response.ended:
            kept.next_at = kept.created_at + objects.FIRST_WAIT
            kept.held = ongoing.reservation.amount if ongoing.reservation is not None else 0
            about = About(
                call="responses",
                models=(ongoing.model,),
                tokens=estimate.quick_input(ongoing.body),
                request_id=ongoing.request_id,
                reference=f"dep_{uuid7().hex}",
            )
            kept.about = msgspec.json.encode(about).decode()
        return kept

    @staticmethod
    def _items(kept: Kept, response: Response) -> list[Kept]:
        """The items of a response's output, which later input may refer to."""
        return [
            msgspec.structs.replace(kept, id=item.id, kind="items", body="", about="{}", held=0, next_at=None)
            for item in response.output or ()
            if item.id
        ]

    def items_of(self, kept: Kept, body: bytes) -> list[Kept]:
        """The items of a response that has been asked for; none where they are not what the format says."""
        try:
            return self._items(kept, _response.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return []


def keeps(ongoing: Ongoing) -> bool:
    """Whether the answer of a call is one that stays."""
    if ongoing.kind.name == "messages":
        return ongoing.asked.thread is not None
    return ongoing.kind.name == "responses" and ongoing.asked.store is not False


def take_deposit(connection: Connection, kept: Kept, now: float) -> None:
    """Raises InsufficientBalance, BudgetExceeded or Unauthenticated."""
    deposits.take(
        connection,
        account_id=kept.account_id,
        key_id=kept.key_id,
        mode=kept.mode,
        reference=kept.details.reference,
        amount=kept.held,
        now=now,
    )


def beside(kept: Kept, makings: Collection[Making]) -> list[Kept]:
    """What was made at the vendor besides a response or a batch, for the same account."""
    about = msgspec.structs.replace(kept, body="", about="{}", held=0, next_at=None, ended_at=None)
    return [msgspec.structs.replace(about, kind=sort, id=name) for sort, name in makings]


def check_shared(seat: Seat, named: Iterable[mentions.Mention]) -> None:
    """Raises NotFound where a body names a thing of the operator's own that is not shared by a channel."""
    for mention in named:
        if mention.kind in objects.OPERATORS and not seat.shares(mention.id):
            raise NotFound(
                f"there is no {NAMES[mention.kind]} {mention.id[:100]} here; the operator says which there are (`shared`)",
                field=mention.field,
            )


def sharing(choices: list[Choice], named: Collection[mentions.Mention]) -> list[Choice]:
    """Those by channels that share all that a body names of the operator's own. Raises NotFound where there is none."""
    able = []
    problem: NotFound | None = None
    for choice in choices:
        try:
            check_shared(choice.seat, named)
        except NotFound as error:
            problem = problem or error
        else:
            able.append(choice)
    if not able and problem is not None:
        raise problem
    return able


class HeldBack:
    """A source that lets nothing through until what its first event tells is on record."""

    def __init__(self, source: Source, keep: Callable[[bytes], Awaitable[None]], kind: str, request_id: str) -> None:
        self._source = source
        self._keep = keep
        self._kind = kind
        self._request_id = request_id
        self._splitter: Splitter | None = Splitter()
        self._waiting: list[bytes] = []
        self._through = self._over = self._paused = False
        self._problem: str | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether all of it has come."""
        return self._source.ended

    def flow(self, on_data: Callable[[bytes], None], on_end: Callable[[str | None], None]) -> None:
        self._on_data, self._on_end = on_data, on_end
        self._source.flow(self._data, self._ended)

    def pause(self, paused: bool) -> None:
        self._paused = paused
        if self._through:
            self._source.pause(paused)

    def abort(self) -> None:
        self._source.abort()

    def linger(self, seconds: float) -> None:
        self._source.linger(seconds)

    def _data(self, piece: bytes) -> None:
        if self._through:
            self._on_data(piece)
            return
        self._waiting.append(piece)
        if self._splitter is None:
            return
        try:
            ready = self._splitter.feed(piece)
        except ValueError as error:
            self._splitter, self._waiting = None, []
            self._source.abort()
            self._release()
            self._on_end(str(error))
            return
        if ready:
            first = next((data for event in events(ready) if (data := data_of(event))), b"")
            if first:
                self._splitter = None
                self._source.pause(True)
                self._task = asyncio.create_task(self._record(first))

    def _ended(self, problem: str | None) -> None:
        if self._through or self._task is None:
            self._release()
            self._on_end(problem)
        else:
            self._over, self._problem = True, problem

    async def _record(self, first: bytes) -> None:
        try:
            await self._keep(first)
        except Exception as error:
            message = error.message if isinstance(error, GenwayError) else "the answer could not be put on record"
            log.error("response.not_recorded", request_id=self._request_id, why=str(error))
            self._source.abort()
            self._waiting = [errors.in_stream(message, self._kind, self._request_id)]
            self._over, self._problem = True, None
        self._release()
        if self._over:
            self._on_end(self._problem)
        elif not self._paused:
            self._source.pause(False)

    def _release(self) -> None:
        self._through = True
        waiting, self._waiting = b"".join(self._waiting), []
        if waiting:
            self._on_data(waiting)
