"""Batches of calls that a vendor carries out within a day: OpenAI's, from a file, and Anthropic's, of messages.

Before one is made its calls are read, their models must have a price here, and what they may cost is set aside: the tokens
of their bodies, and of output what each asks for, but not more than `relay.reserve_tokens`. They are charged when the
batch has ended (`endings.py`).
"""

from __future__ import annotations

import contextlib
from typing import Any, TypeVar

import msgspec
import structlog
from sqlalchemy import Connection
from uuid_utils import uuid7

from genway.errors import Conflict, GenwayError, InvalidRequest, NoChannel, NotFound
from genway.relay import forward, kinds, objects, offline, surveys, unmade
from genway.relay.desk import Inquiry, Routes, Told
from genway.relay.errors import Passed
from genway.relay.files import page, with_results_url
from genway.relay.forward import Post, Unheard
from genway.relay.keeper import Keeper, Place, check_shared, take_deposit
from genway.relay.kinds import ROUTES
from genway.relay.mentions import Mention
from genway.relay.objects import About, Kept, Sort
from genway.relay.surveys import Survey
from genway.routing.channels import LOCAL

log = structlog.get_logger(__name__)
routes = Routes()

NOT_IN_BATCHES = frozenset({"speech", "rerank"})


class Create(msgspec.Struct):
    """POST /v1/batches, as far as it matters here."""

    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    metadata: dict[str, str] | None = None


class Request(msgspec.Struct):
    custom_id: str
    params: msgspec.Raw


class CreateMessages(msgspec.Struct):
    """POST /v1/messages/batches."""

    requests: list[Request]


@routes.on("POST", "/batches", counts=True)
async def create(inquiry: Inquiry) -> Told:
    body = await inquiry.body()
    asked = _read(body, Create)
    kind = ROUTES.get(asked.endpoint)
    if kind is None or kind.body != "json" or kind.wire != "openai" or kind.name in NOT_IN_BATCHES:
        raise InvalidRequest(f"not an endpoint that a batch can be for: {asked.endpoint[:100]}", field="endpoint")
    keeper = inquiry.relay.keeper
    file = await keeper.named(inquiry.caller, [Mention("files", asked.input_file_id, "input_file_id")])
    assert file is not None
    if file.channel_id == LOCAL:
        return Told(await offline.run_file(inquiry, file, asked.endpoint, kind.name, asked.metadata))
    place = keeper.place(file)
    inquiry.channel = place.seat.channel.name
    reply = await forward.at(inquiry, place, "GET", "files", f"/{file.id}/content")
    survey = await surveys.of_file(forward.pieces(reply), kind.name, asked.endpoint, keeper.settings.reserve_tokens)
    await _check(inquiry, survey, place)
    return Told(await _make(inquiry, survey, place, "batches", kind.name, body, file.id))


@routes.on("POST", "/messages/batches", wire="anthropic", counts=True)
async def create_messages(inquiry: Inquiry) -> Told:
    body = await inquiry.body()
    requests = _read(body, CreateMessages).requests
    keeper = inquiry.relay.keeper
    survey = await surveys.of_requests((bytes(request.params) for request in requests), keeper.settings.reserve_tokens)
    named = await keeper.named(inquiry.caller, list(survey.names.values())) if survey.names else None
    if keeper.is_local(inquiry.caller):
        pairs = [(request.custom_id, bytes(request.params)) for request in requests]
        return Told(with_results_url(inquiry, await offline.run_messages(inquiry, pairs)))
    place = keeper.place(named) if named is not None else forward.choose(inquiry, "message_batches", survey.likely)
    await _check(inquiry, survey, place)
    if any(place.seat.vendor_model(model) != model for model in survey.likely):
        body = _renamed(body, requests, place)
    answer = await _make(inquiry, survey, place, "message_batches", "messages", body)
    return Told(with_results_url(inquiry, msgspec.json.decode(answer)))


@routes.on("GET", "/batches")
async def list_batches(inquiry: Inquiry) -> Told:
    return Told(await page(inquiry, "batches"))


@routes.on("GET", "/messages/batches", wire="anthropic")
async def list_message_batches(inquiry: Inquiry) -> Told:
    return Told(await page(inquiry, "message_batches"))


@routes.on("GET", "/batches/{name}")
async def show(inquiry: Inquiry, name: str) -> Told:
    return Told(await _told(inquiry, await _batch(inquiry, "batches", name)))


@routes.on("GET", "/messages/batches/{name}", wire="anthropic")
async def show_messages(inquiry: Inquiry, name: str) -> Told:
    body = await _told(inquiry, await _batch(inquiry, "message_batches", name))
    return Told(with_results_url(inquiry, msgspec.json.decode(body)))


@routes.on("POST", "/batches/{name}/cancel")
async def cancel(inquiry: Inquiry, name: str) -> Told:
    return Told(await _cancel(inquiry, await _batch(inquiry, "batches", name)))


@routes.on("POST", "/messages/batches/{name}/cancel", wire="anthropic")
async def cancel_messages(inquiry: Inquiry, name: str) -> Told:
    body = await _cancel(inquiry, await _batch(inquiry, "message_batches", name))
    return Told(with_results_url(inquiry, msgspec.json.decode(body)))


@routes.on("DELETE", "/messages/batches/{name}", wire="anthropic")
async def delete(inquiry: Inquiry, name: str) -> Told:
    kept = await _batch(inquiry, "message_batches", name)
    keeper = inquiry.relay.keeper
    body: Any = {"id": name, "type": "message_batch_deleted"}
    if kept.channel_id != LOCAL:
        if kept.open:
            await inquiry.relay.endings.ask(kept)
        if kept.open:
            raise InvalidRequest("a batch that has not ended cannot be deleted; cancel it first")
        body = await forward.whole(await forward.about(inquiry, kept, "DELETE"))
    now = keeper.clock()
    await keeper.database.write(lambda connection: objects.delete(connection, kept, now))
    if kept.channel_id == LOCAL:
        await keeper.store.delete(offline.content_key(kept))
    return Told(body)


@routes.on("GET", "/messages/batches/{name}/results", wire="anthropic")
async def results(inquiry: Inquiry, name: str) -> None:
    kept = await _batch(inquiry, "message_batches", name)
    if kept.channel_id == LOCAL:
        await offline.give(inquiry, kept, "application/x-jsonl")
    else:
        await forward.pass_through(inquiry, await forward.about(inquiry, kept, "GET", "/results"))


# --- what they have in common


async def _batch(inquiry: Inquiry, kind: Sort, name: str) -> Kept:
    return await inquiry.relay.keeper.find(inquiry.caller, kind, name)


async def _check(inquiry: Inquiry, survey: Survey, place: Place) -> None:
    """Raises NoChannel for a model that the channel has not, NotFound for things that are not the account's own."""
    for model in survey.likely:
        if not place.seat.rank(model):
            raise NoChannel(
                f"the channel {place.seat.channel.name} does not have the model {model}; X-Genway-Channel names another",
                field="model",
            )
    if survey.names:
        named = list(survey.names.values())
        check_shared(place.seat, named)
        kept = await inquiry.relay.keeper.named(inquiry.caller, named)
        if kept is not None and (kept.channel_id, kept.credential) != (place.seat.channel.id, place.credential.name):
            raise NotFound(f"{kept.id} is kept at another place than the batch", field=named[0].field)


async def _make(inquiry: Inquiry, survey: Survey, place: Place, kind: Sort, call: str, body: bytes, file: str = "") -> bytes:
    """Set the likely cost aside, have the vendor make the batch, and record whose it is.

    file: what it is made of, by which it is found again where the vendor's answer is lost. Raises InsufficientBalance or
    BudgetExceeded; the vendor has not been asked then.
    """
    keeper, caller = inquiry.relay.keeper, inquiry.caller
    held = 0
    for model, used in survey.likely.items():
        card = inquiry.relay.cards.batch(call, place.seat, model)
        if card is None:
            raise NoChannel(f"{model} has no price for {call}; set one with `genway price set`", field="model")
        held += card.cost(used)
    about = About(
        call=call,
        models=tuple(survey.likely),
        tokens=survey.tokens,
        file=file,
        request_id=inquiry.request_id,
        reference=f"dep_{uuid7().hex}",
    )
    now = keeper.clock()
    more = {"held": held, "about": msgspec.json.encode(about).decode(), "model": ",".join(survey.likely)[:200]}
    begun = keeper.row(caller, "unmade", about.reference, place, **more)
    begun.next_at = unmade.first_turn(begun)

    def begin(connection: Connection) -> None:
        take_deposit(connection, begun, now)
        objects.put(connection, [begun])

    await keeper.database.write(begin)
    try:
        answer = await forward.whole(await forward.at(inquiry, place, "POST", kind, "", Post(body, once=True)))
        name = forward.id_of(answer)
        if not name:
            raise Unheard("the upstream's answer is not what its format says")
    except Unheard as lost:
        return await _found(keeper, begun, lost)
    except (GenwayError, Passed):
        await keeper.database.write(lambda connection: objects.give_up(connection, begun, now))
        raise
    kept = keeper.row(caller, kind, name, place, body=answer.decode(), next_at=keeper.clock() + objects.FIRST_WAIT, **more)
    await keeper.database.write(lambda connection: objects.replace(connection, begun, kept))
    return answer


async def _found(keeper: Keeper, begun: Kept, lost: Unheard) -> bytes:
    """The batch whose answer was lost, where the vendor lists it already. Raises `lost` where it does not."""
    now = keeper.clock()
    if not begun.details.file:
        log.error("batch.outcome_unknown", reference=begun.id, channel=begun.channel_id, account=begun.account_id)
        await keeper.database.write(lambda connection: objects.give_up(connection, begun, now))
        raise lost
    until = now + unmade.DOUBT_SECONDS
    await keeper.database.write(lambda connection: objects.doubt(connection, begun, now, until))
    with contextlib.suppress(GenwayError):
        if (body := await unmade.look(keeper, begun)) is not None:
            return body
    raise Unheard(f"{lost.message}; if the batch was made all the same, it will be listed here")


async def _told(inquiry: Inquiry, kept: Kept) -> bytes:
    """What the vendor says of a batch now. That it has ended is noticed, and soon charged."""
    if kept.channel_id == LOCAL:
        return kept.body.encode()
    return await _noticed(inquiry, kept, await forward.whole(await forward.about(inquiry, kept, "GET")))


async def _cancel(inquiry: Inquiry, kept: Kept) -> bytes:
    if kept.channel_id == LOCAL:
        raise Conflict("the batch has ended already")
    return await _noticed(inquiry, kept, await forward.whole(await forward.about(inquiry, kept, "POST", "/cancel", Post())))


async def _noticed(inquiry: Inquiry, kept: Kept, body: bytes) -> bytes:
    await inquiry.relay.endings.noticed(kept, body)
    return body


T = TypeVar("T")


def _read(body: bytes, kind: type[T]) -> T:
    """Raises InvalidRequest."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        what, _, where = str(error).partition(" - at `$")
        raise InvalidRequest(what[:1].lower() + what[1:], field=where.strip("`.") or None) from None


def _renamed(body: bytes, requests: list[Request], place: Place) -> bytes:
    """The same requests with the vendor's names of their models."""
    changed = []
    for request in requests:
        model = kinds.read(bytes(request.params)).model
        params = kinds.rewrite(bytes(request.params), {"model": place.seat.vendor_model(model)})
        changed.append({"custom_id": request.custom_id, "params": msgspec.Raw(params)})
    return kinds.rewrite(body, {"requests": changed})
