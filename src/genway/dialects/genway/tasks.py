"""`/v1/tasks`: every task of the account, in whatever format it was asked for, and what happens to it as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from litestar.response.base import ASGIResponse
from litestar.response.streaming import ASGIStreamingResponse
from msgspec import Meta

from genway.access.model import Asked, Caller
from genway.billing import money
from genway.dialects.base import Answer, Router
from genway.dialects.body import Body, one_of, read, shown
from genway.errors import InvalidRequest, TaskNotFound
from genway.gateway import Gateway
from genway.tasks.model import File, State, Task

KEEP_ALIVE_SECONDS = 15.0
RETRY_MILLISECONDS = 2000
KEEP_ALIVE = b": still there\n\n"
# A proxy that gathers the answer before passing it on would make a stream of it useless.
STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

route = Router()


class Listing(Body):
    """Which tasks. state, operation: one or several with commas between. after: the id of the last task of the part before."""

    state: str = ""
    operation: str = ""
    format: str = ""
    after: str = ""
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"

    def states(self) -> tuple[State, ...]:
        words = _words(self.state)
        for word in words:
            if word not in set(State):
                raise InvalidRequest(f"{one_of([str(state) for state in State])}, got {shown(word)}", field="state")
        return tuple(State(word) for word in words)


@route.get("/v1/tasks")
async def tasks(request: Request[Any, Any, Any], gateway: Gateway, asked: Asked) -> Answer:
    """The account's tasks, newest first unless `order` says otherwise."""
    wanted = read(Listing, msgspec.json.encode(dict(request.query_params)))
    found = await gateway.list(
        asked.caller,
        states=wanted.states(),
        kinds=_words(wanted.operation),
        dialect=wanted.format,
        past=wanted.after,
        limit=wanted.limit + 1,
        oldest_first=wanted.order == "asc",
    )
    data = [as_json(task) for task in found[: wanted.limit]]
    content = {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(found) > wanted.limit,
    }
    return Answer(content)


@route.get("/v1/tasks/{task_id:str}")
async def retrieve(task_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """Tell of a task; with `Prefer: wait=30` once it has ended, or after so many seconds."""
    task = await gateway.get(asked.caller, task_id)
    if asked.wait and not task.state.ended:
        task = await gateway.wait(asked.caller, task.id, asked.wait)
    return Answer(as_json(task))


@route.post("/v1/tasks/{task_id:str}/cancel")
async def cancel(task_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """End a task and give its money back; one that has ended is answered as it is."""
    return Answer(as_json(await gateway.cancel(asked.caller, task_id)))


@route.get("/v1/tasks/{task_id:str}/events")
async def events(task_id: str, request: Request[Any, Any, Any], gateway: Gateway, asked: Asked) -> ASGIResponse:
    """Server-sent events of each change until the end. `Last-Event-ID` goes on where a broken stream ended."""
    last = request.headers.get("last-event-id", "").strip()
    told = int(last) if last.isascii() and last.isdigit() and len(last) < 10 else 0
    await gateway.get(asked.caller, task_id)
    return ASGIStreamingResponse(
        iterator=stream(gateway, asked.caller, task_id, told), headers=STREAM_HEADERS, media_type="text/event-stream"
    )


async def stream(gateway: Gateway, caller: Caller, task_id: str, told: int = 0) -> AsyncIterator[bytes]:
    """`state` for each state a task has come to, `progress` while it runs, and `end` with the whole task.

    told: the number of the last state that the client knows of, counted from 1. A task that is deleted ends with `deleted`.
    """
    yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
    progress = 0.0
    try:
        while True:
            task, history = await gateway.history(caller, task_id)
            for number, event in enumerate(history[told:], told + 1):
                if event.before != event.after:
                    yield _event("state", {"task_id": task_id, "state": event.after, "at": event.at}, number)
            told = max(told, len(history))
            if task.state.ended:
                yield _event("end", as_json(task))
                return
            if task.progress > progress:
                progress = task.progress
                yield _event("progress", {"task_id": task_id, "progress": progress})
            now = await gateway.change(caller, task, KEEP_ALIVE_SECONDS)
            if (now.state, now.progress) == (task.state, task.progress):
                yield KEEP_ALIVE
    except TaskNotFound:
        yield _event("deleted", {"task_id": task_id})


def _event(name: str, data: dict[str, Any], number: int | None = None) -> bytes:
    head = f"event: {name}\n" if number is None else f"id: {number}\nevent: {name}\n"
    return head.encode() + b"data: " + msgspec.json.encode(data) + b"\n\n"


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def as_json(task: Task) -> dict[str, Any]:
    """A task in no vendor's words. Times are Unix seconds, amounts decimal strings in the account's currency."""
    parent = task.operation.continues
    failed = task.state.ended and task.state is not State.SUCCEEDED
    return {
        "object": "task",
        "id": task.id,
        "state": task.state,
        "operation": task.operation.kind,
        "model": task.operation.model,
        "format": task.dialect,
        "mode": task.mode,
        "prompt": getattr(task.operation, "prompt", "") or None,
        "parent_id": parent.task_id if parent else None,
        "provider": "local" if task.local else task.provider,
        "progress": 1.0 if task.state is State.SUCCEEDED else round(task.progress, 4),
        "queue_position": task.queue_position,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "updated_at": task.updated_at,
        "finished_at": task.finished_at,
        "expires_at": task.deadline_at if not task.state.ended else None,
        "cost": {
            "currency": task.quote.get("currency"),
            "held": money.show(task.held if not task.state.ended else 0),
            "charged": money.show(task.charged),
        },
        "error": {"code": task.error_code or str(task.state), "message": task.error_message} if failed else None,
        "files": [_file(file) for file in task.files],
        "details": task.details,
        "warnings": list(task.warnings),
    }


def _file(file: File) -> dict[str, Any]:
    return {
        "object": "file",
        "id": file.media_id,
        "role": file.role,
        "url": file.url,
        "content_type": file.content_type,
        "bytes": file.bytes,
        "sha256": file.sha256,
        "width": file.width,
        "height": file.height,
        "seconds": file.seconds,
    }
