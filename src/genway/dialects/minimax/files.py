"""Files by their ids, which are numbers as in the original: results, by the task they came out of, and what was sent."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request

from genway.access.model import Asked, Caller
from genway.dialects.base import Answer, Router, is_form
from genway.dialects.body import Body, one_of, shown
from genway.dialects.form import discard, take
from genway.dialects.minimax.answers import TRACE_HEADER, ok, places
from genway.dialects.numbers import as_number, by_number, made_at, number, numbered
from genway.errors import Conflict, InvalidRequest, NotFound
from genway.gateway import Gateway
from genway.media.library import Library
from genway.media.records import StoredMedia
from genway.operations import SpeechRequest
from genway.tasks.model import File, State, Task

ROLE = "upload"
TEXT = "text"
# What each purpose takes. Source: the purposes that the vendor's MCP server names.
PURPOSES = {
    "voice_clone": "audio",
    "prompt_audio": "audio",
    "t2a_async_input": TEXT,
    "video_understanding": "video",
    "video_generation_input": "image",
}
MOST_LISTED, FEW = 1000, 50

route = Router()


class Deletion(Body, kw_only=True):
    """A file, by its number."""

    file_id: int | str
    purpose: str = ""


async def named(gateway: Gateway, caller: Caller, text: str, field: str) -> Task:
    """The caller's task of that number. Raises InvalidRequest, NotFound."""
    if not text:
        raise InvalidRequest("required", field=field)
    task = await by_number(gateway, caller, text)
    if task is None:
        raise NotFound(f"there is no such {field.removesuffix('_id')}", field=field)
    return task


def result(task: Task) -> File | None:
    """What came out of a task."""
    return next((file for file in task.files if file.role in {"video", "audio", "image"}), None)


@route.post(*places("/v1/files/upload"))
async def upload(asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Take a file that later requests refer to by its number."""
    if not is_form(request):
        raise InvalidRequest("a form with `purpose` and `file`: multipart/form-data", field="Content-Type")
    library = _library(request)
    account_id = asked.caller.account_id
    kinds = {"file": ("audio", "image", "video")}
    came = await take(request, library, account_id, kinds, role=f"{ROLE}.", texts=("file",))
    purpose, text = str(came.fields.get("purpose", "")).strip(), came.fields.get("file")
    try:
        wanted = PURPOSES.get(purpose)
        if wanted is None:
            raise InvalidRequest(f"{one_of(list(PURPOSES))}, got {shown(purpose)}", field="purpose")
        if isinstance(text, str) and wanted == TEXT:
            stored = await library.add_text(account_id, f"{ROLE}.{purpose}", text)
        elif "file" in came.files:
            stored = await library.owned(account_id, came.files["file"].media_id or "")
            if stored.content_type.partition("/")[0] != wanted:
                raise InvalidRequest(f"{wanted} for {purpose}, got {stored.content_type}", field="file")
            await library.label(stored.id, f"{ROLE}.{purpose}")
            stored = msgspec.structs.replace(stored, role=f"{ROLE}.{purpose}")
        else:
            raise InvalidRequest("required, a text file's name ending in .txt" if wanted == TEXT else "required", field="file")
    except BaseException:
        await discard(came, library)
        raise
    return ok({"file": _told(stored)}, asked)


@route.get(*places("/v1/files/list"))
async def listing(asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Tell of the files that were sent; `purpose` names those that are wanted."""
    purpose = request.query_params.get("purpose", "").strip()
    role = f"{ROLE}.{purpose}" if purpose else f"{ROLE}."
    found = await _library(request).uploaded(asked.caller.account_id, role, MOST_LISTED)
    return ok({"files": [_told(stored) for stored in found if purpose in {"", _purpose(stored)}]}, asked)


@route.post(*places("/v1/files/delete"))
async def delete(body: Deletion, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Delete a file that was sent."""
    library = _library(request)
    stored = await uploaded(library, asked.caller, str(body.file_id), "file_id")
    await library.remove(stored.id)
    return ok({"file_id": body.file_id}, asked)


@route.get(*places("/v1/files/retrieve"))
async def retrieve(gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Tell of a result, or of what was sent, and give a fresh link to it."""
    found = await _found(gateway, asked, request)
    if isinstance(found, StoredMedia):
        address = _library(request).url(asked.base_url, found)
        return ok({"file": {**_told(found), "download_url": address, "backup_download_url": address}}, asked)
    task, file = found
    name = "output_aigc" if task.operation.extra.get("aigc_watermark") is True else "output"
    content = {
        "file_id": number(task),
        "bytes": file.bytes,
        "created_at": int(task.finished_at or task.updated_at),
        "filename": f"{name}.{file.extension or 'bin'}",
        "purpose": "t2a_async" if isinstance(task.operation, SpeechRequest) else "video_generation",
        "download_url": file.url,
        "backup_download_url": file.url,
    }
    return ok({"file": content}, asked, task)


@route.get(*places("/v1/files/retrieve_content"))
async def retrieve_content(gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Lead to the bytes of a result, or of what was sent."""
    found = await _found(gateway, asked, request)
    address = _library(request).url(asked.base_url, found) if isinstance(found, StoredMedia) else found[1].url
    return Answer(status=302, headers={"Location": address, TRACE_HEADER: asked.request_id})


async def _found(gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> StoredMedia | tuple[Task, File]:
    """What a file id stands for. Raises InvalidRequest, NotFound, Conflict."""
    name = request.query_params.get("file_id", "").strip()
    try:
        task = await named(gateway, asked.caller, name, "file_id")
    except NotFound:
        return await uploaded(_library(request), asked.caller, name, "file_id")
    file = result(task)
    if file is None or task.state is not State.SUCCEEDED:
        raise Conflict(f"there is no file yet: the task is {task.state}", field="file_id")
    return task, file


async def uploaded(library: Library, caller: Caller, name: str, field: str) -> StoredMedia:
    """The caller's file of that number, among those that were sent. Raises NotFound."""
    wanted = as_number(name)
    # A number holds its millisecond, so the file is nearly always the first.
    since = made_at(wanted) - 0.002 if wanted is not None else 0
    found = await library.uploaded(caller.account_id, f"{ROLE}.", FEW, since=since) if wanted is not None else []
    stored = next((stored for stored in found if numbered(stored.id, stored.created_at) == wanted), None)
    if stored is None:
        raise NotFound("there is no such file", field=field)
    return stored


async def text_of(library: Library, stored: StoredMedia) -> str:
    """What a text file says."""
    chunks = [chunk async for chunk in await library.open(stored, 0, stored.bytes)]
    return b"".join(chunks).decode()


def _library(request: Request[Any, Any, Any]) -> Library:
    library: Library = request.app.state.library
    return library


def _purpose(stored: StoredMedia) -> str:
    return stored.role.removeprefix(f"{ROLE}.")


def _told(stored: StoredMedia) -> dict[str, Any]:
    name = numbered(stored.id, stored.created_at)
    return {
        "file_id": name,
        "bytes": stored.bytes,
        "created_at": int(stored.created_at),
        "filename": f"{name}.{stored.extension}",
        "purpose": _purpose(stored),
    }
