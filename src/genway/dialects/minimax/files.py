"""Results by their file ids: numbers, as in the original, made from the task that the file came out of."""

from __future__ import annotations

import hashlib
from typing import Any

from litestar import Request

from genway.access.model import Asked, Caller
from genway.dialects.base import Answer, Router
from genway.dialects.minimax.answers import TRACE_HEADER, ok, places
from genway.errors import Conflict, InvalidRequest, NotFound
from genway.gateway import Gateway
from genway.operations import SpeechRequest
from genway.tasks.model import File, State, Task

EPOCH_MS = 1_735_689_600_000  # 2025-01-01, so that 40 bits last until 2059
HASH_BITS = 23
FEW, MOST_AT_ONCE = 4, 200

route = Router()


def number(task: Task) -> int:
    """The number of a task and of its result: positive, 63 bits, of the time in ms when the task came and a hash of its id."""
    digest = hashlib.sha256(task.id.encode()).digest()
    elapsed = max(int(task.created_at * 1000) - EPOCH_MS, 0)
    return elapsed << HASH_BITS | int.from_bytes(digest[:4]) >> (32 - HASH_BITS)


async def numbered(gateway: Gateway, caller: Caller, text: str, field: str) -> Task:
    """The caller's task of that number. Raises InvalidRequest, NotFound."""
    if not text:
        raise InvalidRequest("required", field=field)
    if text.isascii() and text.isdigit() and len(text) < 20:
        wanted = int(text)
        after = ((wanted >> HASH_BITS) + EPOCH_MS + 2) / 1000
        # Few tasks come within the same instant, so it is nearly always among the first.
        for limit in (FEW, MOST_AT_ONCE):
            for task in await gateway.list(caller, before=after, limit=limit):
                if number(task) == wanted:
                    return task
    raise NotFound(f"there is no such {field.removesuffix('_id')}", field=field)


def result(task: Task) -> File | None:
    """What came out of a task."""
    return next((file for file in task.files if file.role in {"video", "audio", "image"}), None)


@route.get(*places("/v1/files/retrieve"))
async def retrieve(gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Tell of a result and give a fresh link to it."""
    task, file = await _file(gateway, asked, request)
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
    """Lead to the bytes of a result."""
    _, file = await _file(gateway, asked, request)
    return Answer(status=302, headers={"Location": file.url, TRACE_HEADER: asked.request_id})


async def _file(gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> tuple[Task, File]:
    task = await numbered(gateway, asked.caller, request.query_params.get("file_id", "").strip(), "file_id")
    file = result(task)
    if file is None or task.state is not State.SUCCEEDED:
        raise Conflict(f"there is no file yet: the task is {task.state}", field="file_id")
    return task, file
