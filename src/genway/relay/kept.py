"""Responses and conversations that the vendor keeps: fetched, cancelled, deleted, counted and compacted."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from genway.billing.tokens import Used
from genway.errors import GenwayError, InvalidRequest, NoChannel, NotFound, RateLimited, Unavailable
from genway.providers.local import echo
from genway.providers.local.echo import answers
from genway.relay import estimate, forward, heads, kinds, mentions, objects, usage
from genway.relay.desk import Inquiry, Routes, Told
from genway.relay.errors import UpstreamFailed
from genway.relay.forward import Post
from genway.relay.keeper import Place, check_shared, sharing
from genway.relay.kinds import KINDS
from genway.relay.mentions import Mention
from genway.relay.objects import Kept
from genway.relay.ongoing import Ongoing
from genway.relay.seats import Choice
from genway.routing.channels import LOCAL

routes = Routes()

LARGEST_PAGE = 100
_ITEM = re.compile(r"[A-Za-z0-9_-]+")


class Stored(msgspec.Struct):
    """A response of the built-in provider's, as it is kept. response: as it ended, or as it began where the client left."""

    request: dict[str, Any]
    response: dict[str, Any]


class Page(msgspec.Struct):
    """A vendor's list of items."""

    data: list[dict[str, Any]] = []


# --- responses


@routes.on("GET", "/responses/{name}")
async def show_response(inquiry: Inquiry, name: str) -> Told | None:
    kept = await _response(inquiry, name)
    if kept.channel_id == LOCAL:
        stored = _stored(kept)
        response, events = echo.response_again(stored.request, stored.response)
        if inquiry.query.get("stream") == "true":
            after = inquiry.number("starting_after", -1, least=-1, most=2**31)
            return Told(b"".join(islice(events, after + 1, None)), content_type=answers.EVENTS)
        return Told(response)
    reply = await forward.about(inquiry, kept, "GET")
    if reply.header(b"content-type").startswith(b"text/event-stream"):
        await forward.pass_through(inquiry, reply)
        return None
    body = await forward.whole(reply)
    if kept.open:
        await inquiry.relay.endings.heard(kept, body)
    return Told(body)


@routes.on("DELETE", "/responses/{name}")
async def delete_response(inquiry: Inquiry, name: str) -> Told:
    kept = await _response(inquiry, name)
    body: Any = {"id": kept.id, "object": "response", "deleted": True}
    if kept.channel_id != LOCAL:
        if kept.open:
            await _stop(inquiry, kept)
        body = await forward.whole(await forward.about(inquiry, kept, "DELETE"))
    await _forget(inquiry, kept)
    return Told(body)


@routes.on("POST", "/responses/{name}/cancel")
async def cancel_response(inquiry: Inquiry, name: str) -> Told:
    kept = await _response(inquiry, name)
    if kept.channel_id == LOCAL:
        stored = _stored(kept)
        if not stored.response["background"]:
            raise InvalidRequest("only a response in the background can be cancelled")
        return Told(echo.response_again(stored.request, stored.response)[0])  # as a vendor tells of one that has ended
    body = await forward.whole(await forward.about(inquiry, kept, "POST", "/cancel", Post()))
    if kept.open:
        await inquiry.relay.endings.heard(kept, body)
    return Told(body)


@routes.on("GET", "/responses/{name}/input_items")
async def list_input_items(inquiry: Inquiry, name: str) -> Told:
    kept = await _response(inquiry, name)
    if kept.channel_id == LOCAL:
        limit = inquiry.number("limit", 20, most=LARGEST_PAGE)
        rows = list(_input_items(_stored(kept)))
        if inquiry.query.get("order", "desc") != "asc":
            rows.reverse()
        names = [row["id"] for row in rows]
        if (after := inquiry.query.get("after", "")) in names:
            rows = rows[names.index(after) + 1 :]
        return Told(listed(rows[:limit], more=len(rows) > limit))
    body = await forward.whole(await forward.about(inquiry, kept, "GET", "/input_items"))
    names = [str(row["id"]) for row in msgspec.json.decode(body, type=Page).data if row.get("id")]
    about = msgspec.structs.replace(kept, kind="items", body="", about="{}", held=0, next_at=None)
    await inquiry.relay.keeper.keep([msgspec.structs.replace(about, id=each) for each in names])
    return Told(body)


@routes.on("POST", "/responses/input_tokens", counts=True)
async def count_input(inquiry: Inquiry) -> Told:
    body = await inquiry.body()
    asked = kinds.read(body)
    kept, named = await _named(inquiry, body, asked.previous_response_id)
    if inquiry.relay.keeper.is_local(inquiry.caller):
        return Told({"object": "response.input_tokens", "input_tokens": estimate.asked("responses", body).read})
    _, answer = await _ask_any(inquiry, body, asked.model, "/input_tokens", _choices(inquiry, kept, asked.model, named))
    return Told(answer)


@routes.on("POST", "/responses/compact")
async def compact(inquiry: Inquiry) -> None:
    relay = inquiry.relay
    ongoing = Ongoing(inquiry.exchange, KINDS["responses"], inquiry.request_id)
    ongoing.holder = inquiry.holder
    try:
        ongoing.body = await inquiry.body()
        ongoing.asked = kinds.read(ongoing.body)
        if not ongoing.model:
            raise InvalidRequest("required: the name of a model", field="model")
        await relay.admit(ongoing)
        kept, named = await _named(inquiry, ongoing.body, ongoing.asked.previous_response_id)
        if relay.keeper.is_local(inquiry.caller):
            await relay.reserve(ongoing, relay.cards.local("responses", ongoing.model, inquiry.caller.mode))
            ongoing.channel, ongoing.vendor_model = LOCAL, "local-responses"
            body = _compacted(ongoing.body, inquiry.request_id, int(relay.keeper.clock()))
        else:
            choices = _choices(inquiry, kept, ongoing.model, named)
            await relay.reserve(ongoing, relay.cards.of("responses", choices[0][0], ongoing.model))
            choice, body = await _ask_any(inquiry, ongoing.body, ongoing.model, "/compact", choices)
            choice.seat.busy += 1  # which `conclude` takes back
            ongoing.choice, ongoing.channel, ongoing.vendor_model = choice, inquiry.channel, choice.vendor_model
        ongoing.attempts.append(ongoing.channel)
        used = usage.from_answer("responses", body) or estimate.whole("responses", ongoing.body, body, ongoing.vendor_model)
        await relay.settle(ongoing, used, "done")
        inquiry.exchange.whole(200, heads.head(ongoing, [(b"content-type", b"application/json")]), body)
    finally:
        relay.conclude(ongoing)


async def _response(inquiry: Inquiry, name: str) -> Kept:
    return await inquiry.relay.keeper.find(inquiry.caller, "responses", name)


async def _stop(inquiry: Inquiry, kept: Kept) -> None:
    """See that a response that goes on ends and is charged before nobody can ask about it any more. Raises Passed."""
    endings = inquiry.relay.endings
    await endings.heard(kept, await endings.fetch(kept, inquiry.relay.keeper.place(kept)))
    if kept.open:
        await endings.heard(kept, await forward.whole(await forward.about(inquiry, kept, "POST", "/cancel", Post())))
    if kept.open:
        raise Unavailable("the response has not ended yet; try again", retry_after=1)


async def _forget(inquiry: Inquiry, kept: Kept) -> None:
    now = inquiry.relay.keeper.clock()
    await inquiry.relay.keeper.database.write(lambda connection: objects.delete(connection, kept, now))


async def _named(inquiry: Inquiry, body: bytes, previous_response_id: str | None = None) -> tuple[Kept | None, list[Mention]]:
    """One of the kept things that a body names, and all that it names. Raises NotFound."""
    named: list[Mention] = mentions.of("responses", body, previous_response_id)
    return (await inquiry.relay.keeper.named(inquiry.caller, named) if named else None), named


def _choices(inquiry: Inquiry, kept: Kept | None, model: str, named: list[Mention]) -> list[tuple[Choice, Place]]:
    """The ways a body can go beside the hot path, best first. Raises NotFound, NoChannel, RateLimited or Unavailable."""
    board, keeper = inquiry.relay.board, inquiry.relay.keeper
    if not model:
        raise InvalidRequest("required: the name of a model", field="model")
    if kept is not None:
        place = keeper.place(kept)
        return [(choice, place) for choice in sharing(board.choices_at(place.seat, "responses", model), named)]
    found = []
    for choice in board.order(sharing(board.choices("responses", model), named)):
        credential = choice.seat.credential(board.now(), set())
        if credential is not None and choice.kind == "responses":
            found.append((choice, Place(choice.seat, credential)))
    if not found:
        raise NoChannel(f"no channel here has the model {model} for responses", field="model")
    return found


async def _ask_any(
    inquiry: Inquiry, body: bytes, model: str, rest: str, choices: list[tuple[Choice, Place]]
) -> tuple[Choice, bytes]:
    problem: GenwayError = UpstreamFailed("no channel could be tried")
    for choice, place in choices:
        inquiry.channel = choice.seat.channel.name
        sent = kinds.rewrite(body, {"model": choice.vendor_model}) if choice.vendor_model != model else body
        try:
            return choice, await forward.whole(await forward.at(inquiry, place, "POST", "responses", rest, Post(sent)))
        except (RateLimited, Unavailable, UpstreamFailed) as error:
            problem = error
    raise problem


# --- conversations


@routes.on("POST", "/conversations", counts=True)
async def create_conversation(inquiry: Inquiry) -> Told:
    keeper = inquiry.relay.keeper
    if keeper.is_local(inquiry.caller):
        raise NoChannel("the built-in provider keeps no conversations; go on with previous_response_id")
    body = await inquiry.body()
    kept, named = await _named(inquiry, body) if body.strip() else (None, [])
    place = keeper.place(kept) if kept is not None else forward.choose(inquiry, "conversations")
    check_shared(place.seat, named)
    answer = await forward.whole(await forward.at(inquiry, place, "POST", "conversations", "", Post(body or b"{}")))
    if name := forward.id_of(answer):
        await keeper.keep([keeper.row(inquiry.caller, "conversations", name, place)])
    return Told(answer)


@routes.on("GET", "/conversations/{name}")
@routes.on("POST", "/conversations/{name}")
@routes.on("DELETE", "/conversations/{name}")
async def use_conversation(inquiry: Inquiry, name: str) -> Told:
    kept, answer = await _conversation(inquiry, name, "")
    if inquiry.exchange.method == "DELETE":
        await _forget(inquiry, kept)
    return Told(answer)


@routes.on("GET", "/conversations/{name}/items", "/conversations/{name}/items/{item}")
@routes.on("POST", "/conversations/{name}/items")
@routes.on("DELETE", "/conversations/{name}/items/{item}")
async def use_items(inquiry: Inquiry, name: str, item: str = "") -> Told:
    if item and _ITEM.fullmatch(item) is None:  # the vendor's path must not lead anywhere else
        raise NotFound(f"there is no item {item[:100]} here", field=None)
    _, answer = await _conversation(inquiry, name, f"/items/{item}" if item else "/items")
    return Told(answer)


async def _conversation(inquiry: Inquiry, name: str, rest: str) -> tuple[Kept, bytes]:
    """What the vendor answers about a conversation of the account's. Raises NotFound."""
    method = inquiry.exchange.method
    kept = await inquiry.relay.keeper.find(inquiry.caller, "conversations", name)
    post = None
    if method == "POST":
        body = await inquiry.body() or b"{}"
        _, named = await _named(inquiry, body)
        check_shared(inquiry.relay.keeper.place(kept).seat, named)
        post = Post(body)
    return kept, await forward.whole(await forward.about(inquiry, kept, method, rest, post))


# --- what only the built-in provider has


def listed(rows: list[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """A page as OpenAI has it."""
    ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {"first_id": None, "last_id": None}
    return {"object": "list", "data": rows, "has_more": more, **ends}


def _stored(kept: Kept) -> Stored:
    return msgspec.json.decode(kept.body, type=Stored)


def _input_items(stored: Stored) -> Iterator[dict[str, Any]]:
    given = stored.request.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    for number, item in enumerate(items):
        content = item.get("content")
        shown = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
        kind = {"type": "message", "status": "completed"} if "role" in item else {}
        yield {
            "id": answers.identifier("msg_", stored.response["id"], number),
            **kind,
            **item,
            **({"content": shown} if shown is not None else {}),
        }


def _compacted(body: bytes, request_id: str, created: int) -> bytes:
    """The user's messages, and an item that stands for the rest, which nobody reads."""
    tokens = estimate.asked("responses", body).read
    given = msgspec.json.decode(body).get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    name = answers.identifier("resp_", request_id)
    said = list(_input_items(Stored({"input": [item for item in items if item.get("role") == "user"]}, {"id": name})))
    note = {"id": answers.identifier("cmp_", request_id), "type": "compaction"}
    note["encrypted_content"] = base64.b64encode(b"made by the built-in provider").decode()
    used = Used(input=tokens, output=1)
    return msgspec.json.encode(
        {
            "id": name,
            "object": "response.compaction",
            "created_at": created,
            "output": [*said, note],
            "usage": {
                "input_tokens": used.read,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": used.produced,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": used.read + used.produced,
            },
        }
    )
