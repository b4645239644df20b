"""Files that clients hand in for batches and prompts: OpenAI's and Anthropic's, on one path. The client's headers decide."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from genway.errors import Conflict, GenwayError, InvalidRequest
from genway.relay import forward, objects, offline
from genway.relay.desk import Inquiry, Routes, Told
from genway.relay.errors import Passed, UpstreamFailed
from genway.relay.forward import Post
from genway.relay.objects import About, Kept, Sort
from genway.routing.channels import LOCAL

routes = Routes()

# MiniMax's paths for its own files.
OTHERS = ("upload", "list", "delete", "retrieve", "retrieve_content")
CURSOR = "page_"
MOST_NAMED = 100
LARGEST_PAGE = {"files": 10_000, "batches": 100, "message_files": 1000, "message_batches": 1000}
USUAL_PAGE = {"files": 10_000, "batches": 20, "message_files": 20, "message_batches": 20}


class Made(msgspec.Struct):
    """What of a vendor's answer is remembered."""

    id: str = ""
    purpose: str = ""


@routes.on("POST", "/files", counts=True)
async def upload(inquiry: Inquiry) -> Told:
    keeper, kind = inquiry.relay.keeper, sort(inquiry)
    if keeper.is_local(inquiry.caller):
        return Told(await offline.take_file(inquiry, kind))
    model = inquiry.query.get("model", "")
    place = forward.choose(inquiry, "files", [model] if model else [])
    form = inquiry.exchange.header(b"content-type")
    if not form.lower().startswith(b"multipart/form-data"):
        raise InvalidRequest("multipart/form-data with a part `file`", field="Content-Type")
    post = Post(await forward.upload(inquiry.exchange, keeper.most_upload, keeper.upload_seconds), form)
    body = await forward.whole(await forward.at(inquiry, place, "POST", "files", "", post))
    try:
        made = msgspec.json.decode(body, type=Made)
    except (msgspec.DecodeError, UnicodeDecodeError):
        made = Made()
    if not made.id:
        raise UpstreamFailed("the upstream's answer is not what its format says")
    about = msgspec.json.encode(About(purpose=made.purpose)).decode()
    await keeper.keep([keeper.row(inquiry.caller, kind, made.id, place, body=body.decode(), about=about)])
    return Told(body)


@routes.on("GET", "/files")
async def list_files(inquiry: Inquiry) -> Told:
    kind = sort(inquiry)
    pairs = parse_qsl(inquiry.exchange.query.decode("latin-1"))
    wanted = [value for name, value in pairs if name in {"ids", "ids[]"}] if kind == "message_files" else []
    if wanted:
        return Told(await _these(inquiry, wanted[:MOST_NAMED]))
    return Told(await page(inquiry, kind, purpose=inquiry.query.get("purpose", "")))


@routes.on("GET", "/files/{name}", but=OTHERS)
async def show(inquiry: Inquiry, name: str) -> Told:
    kept = await _file(inquiry, name)
    if kept.channel_id == LOCAL:
        return Told(kept.body.encode())
    body = await forward.whole(await forward.about(inquiry, kept, "GET"))
    if not kept.body:
        await inquiry.relay.keeper.database.write(lambda connection: objects.tell(connection, kept, body.decode()))
    return Told(body)


@routes.on("DELETE", "/files/{name}")
async def delete(inquiry: Inquiry, name: str) -> Told:
    kept = await _file(inquiry, name)
    keeper = inquiry.relay.keeper
    if kept.details.batch:
        await _charged(inquiry, kept.details.batch)
    body: Any = {"id": name, "object": "file", "deleted": True}
    if kept.kind == "message_files":
        body = {"id": name, "type": "file_deleted"}
    if kept.channel_id != LOCAL:
        body = await forward.whole(await forward.about(inquiry, kept, "DELETE"))
    now = keeper.clock()
    await keeper.database.write(lambda connection: objects.delete(connection, kept, now))
    if kept.channel_id == LOCAL:
        await keeper.store.delete(offline.content_key(kept))
    return Told(body)


@routes.on("GET", "/files/{name}/content")
async def content(inquiry: Inquiry, name: str) -> None:
    kept = await _file(inquiry, name)
    if kept.channel_id == LOCAL:
        if kept.kind == "message_files":
            raise InvalidRequest(f"File {name} is not downloadable.")
        await offline.give(inquiry, kept, "application/octet-stream")
    else:
        await forward.pass_through(inquiry, await forward.about(inquiry, kept, "GET", "/content"))


async def _charged(inquiry: Inquiry, batch: str) -> None:
    """See that a batch is charged by its results before they are deleted. Raises Conflict where it has not ended."""
    keeper, caller = inquiry.relay.keeper, inquiry.caller
    found = await keeper.database.read(lambda connection: objects.find(connection, caller.account_id, caller.mode, [batch]))
    kept = found.get(batch)
    if kept is not None and kept.open:
        await inquiry.relay.endings.ask(kept)
        if kept.open:
            raise Conflict(f"the batch {batch} has not ended yet; its results cannot be deleted")


def sort(inquiry: Inquiry) -> Sort:
    """Whose files the client means."""
    return "message_files" if inquiry.wire == "anthropic" else "files"


async def page(inquiry: Inquiry, kind: Sort, *, purpose: str = "") -> dict[str, Any]:
    """A page of the account's own things in the format of the client, as their vendors last told of them."""
    keeper, query, caller = inquiry.relay.keeper, inquiry.query, inquiry.caller
    limit = inquiry.number("limit", USUAL_PAGE[kind], most=LARGEST_PAGE[kind])
    anthropic = inquiry.wire == "anthropic"
    before = query.get("before_id", "") if anthropic else ""
    after = before or query.get("after_id" if anthropic else "after", "") or query.get("page", "").removeprefix(CURSOR)
    ascending = bool(before) or (not anthropic and query.get("order", "desc") == "asc")
    found, more = await keeper.database.read(
        lambda connection: objects.page(
            connection,
            caller.account_id,
            caller.mode,
            kind,
            limit=limit,
            after=after,
            ascending=ascending,
            purpose=purpose,
        )
    )
    rows = [await _shown(inquiry, kept) for kept in (reversed(found) if before else found)]
    ends = {"first_id": rows[0]["id"], "last_id": rows[-1]["id"]} if rows else {"first_id": None, "last_id": None}
    told = {"data": rows, "has_more": more, **ends}
    if kind == "message_files":  # its SDK goes on by a cursor, older ones by the last id
        told["next_page"] = f"{CURSOR}{rows[-1]['id']}" if more else None
    return told if anthropic else {"object": "list", **told}


async def _these(inquiry: Inquiry, names: list[str]) -> dict[str, Any]:
    """Those of the named files that are the account's own, on one page."""
    caller = inquiry.caller
    found = await inquiry.relay.keeper.database.read(
        lambda connection: objects.find(connection, caller.account_id, caller.mode, names)
    )
    rows = [await _shown(inquiry, kept) for kept in found.values() if kept.kind == "message_files"]
    return {"data": rows, "has_more": False, "next_page": None}


async def _shown(inquiry: Inquiry, kept: Kept) -> dict[str, Any]:
    body = kept.body.encode()
    if not body:  # a batch's results, which nobody has asked about yet
        try:
            body = await forward.whole(await forward.about(inquiry, kept, "GET"))
        except (GenwayError, Passed):  # one file must not hide all the others
            return _outline(kept)
        await inquiry.relay.keeper.database.write(lambda connection: objects.tell(connection, kept, body.decode()))
    told: dict[str, Any] = msgspec.json.decode(body)
    return told if kept.kind != "message_batches" else with_results_url(inquiry, told)


def _outline(kept: Kept) -> dict[str, Any]:
    """What is known here of a file that its vendor does not tell about."""
    about = {"id": kept.id, "object": "file", "created_at": int(kept.created_at), "purpose": kept.details.purpose}
    return {**about, "bytes": 0, "filename": kept.id, "status": "error"}


def with_results_url(inquiry: Inquiry, batch: dict[str, Any]) -> dict[str, Any]:
    """A message batch whose results are fetched here."""
    if batch.get("results_url"):
        host = inquiry.exchange.header(b"host").decode("latin-1")
        base = (inquiry.relay.keeper.public_url or f"http://{host}").rstrip("/")
        batch["results_url"] = f"{base}/v1/messages/batches/{batch['id']}/results"
    return batch


async def _file(inquiry: Inquiry, name: str) -> Kept:
    return await inquiry.relay.keeper.find(inquiry.caller, sort(inquiry), name)
