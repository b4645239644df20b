"""The steps of a task, by name: where a test ends the process to see what is left.

In production nobody listens. A listener is told a step and the task's id; where it returns something to wait for, the task
waits there, so that a test can have several tasks at one step. Steps inside a transaction are told from the writer's
thread, and nobody waits there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy import Connection

from genway.db.connection import Database

T = TypeVar("T")
Checkpoint = Callable[[str, str], Awaitable[None] | None]


def _written(step: str) -> tuple[str, str, str]:
    return f"{step}.ready", f"{step}.before_commit", f"{step}.committed"


POINTS = (
    *_written("accepting"),
    *_written("submitting"),
    "vendor.calling",
    "vendor.answered",
    *_written("running"),
    "running.checked",
    *_written("queued"),
    *_written("parked"),
    *_written("storing"),
    "storing.stored",
    *_written("ending"),
    "stopping.calling",
    "stopping.told",
    "stopping.recorded",
    "callback.sending",
    "callback.sent",
    "callback.recorded",
)

RELAY_POINTS = (*_written("leasing"), *_written("recording"), *_written("returning"))
"""The steps of what relayed calls cost; they are told with a key's, a call's or a lease's id."""


def silent(point: str, task_id: str) -> None:
    """What listens in production."""


async def reach(checkpoint: Checkpoint, point: str, task_id: str) -> None:
    """A task has come to a step."""
    held = checkpoint(point, task_id)
    if held is not None:
        await held


async def commit(
    database: Database, checkpoint: Checkpoint, step: str, task_id: str, work: Callable[[Connection], T | None]
) -> T | None:
    """`database.write`, telling `ready` before it, `before_commit` inside the transaction and `committed` after it.

    work: may return None for having changed nothing, and then only `ready` is told.
    """

    def write(connection: Connection) -> T | None:
        answer = work(connection)
        if answer is not None:
            checkpoint(f"{step}.before_commit", task_id)
        return answer

    await reach(checkpoint, f"{step}.ready", task_id)
    answer = await database.write(write)
    if answer is not None:
        await reach(checkpoint, f"{step}.committed", task_id)
    return answer
