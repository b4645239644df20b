"""Calls that MiniMax answers with the result itself: a task is made, awaited inside the request, and its files are read."""

from __future__ import annotations

from typing import Any

from litestar import Request

from genway.access.model import Asked
from genway.dialects.base import submit
from genway.dialects.minimax.answers import WorkFailed, WorkUnfinished
from genway.errors import NotFound
from genway.gateway import Gateway
from genway.media.library import Library
from genway.operations import AnyOperation
from genway.tasks.model import File, State, Task


async def made(
    operation: AnyOperation,
    form: str,
    gateway: Gateway,
    asked: Asked,
    *,
    seconds: float,
    context: dict[str, Any] | None = None,
) -> Task:
    """The task once it has succeeded. seconds: how long the call may take. context: what the task is to remember.

    A task that takes longer is cancelled, for a client that was told an error would never come to fetch it. Raises WorkFailed,
    WorkUnfinished, and what a submit raises.
    """
    task = await submit(gateway, asked, operation=operation, dialect=form, context=context)
    if not task.state.ended:
        task = await gateway.wait(asked.caller, task.id, seconds)
    if not task.state.ended:
        task = await gateway.cancel(asked.caller, task.id)
        if task.state is State.CANCELLED:
            raise WorkUnfinished(f"the work was not done within {seconds:g} s and is cancelled; nothing is charged")
    if task.state is not State.SUCCEEDED:
        raise WorkFailed(task)
    return task


async def content(file: File, request: Request[Any, Any, Any]) -> bytes:
    """The bytes of a result."""
    library: Library = request.app.state.library
    stored = await library.get(file.media_id)
    if stored is None:
        raise NotFound("the result is no longer kept")
    return b"".join([chunk async for chunk in await library.open(stored, 0, stored.bytes)])
