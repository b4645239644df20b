"""Ids that are numbers, for formats whose clients want such: made from a task, and leading back to it for its account alone."""

from __future__ import annotations

import hashlib

from genway.access.model import Caller
from genway.gateway import Gateway
from genway.tasks.model import Task

EPOCH_MS = 1_735_689_600_000  # 2025-01-01, so that 40 bits last until 2059
HASH_BITS = 23
FEW, MOST_AT_ONCE = 4, 200


def number(task: Task) -> int:
    """The number of a task and of its result: positive, 63 bits, of the time in ms when the task came and a hash of its id."""
    return numbered(task.id, task.created_at)


def numbered(name: str, created_at: float) -> int:
    """The number of anything that has an id and a time (Unix seconds)."""
    digest = hashlib.sha256(name.encode()).digest()
    elapsed = max(int(created_at * 1000) - EPOCH_MS, 0)
    return elapsed << HASH_BITS | int.from_bytes(digest[:4]) >> (32 - HASH_BITS)


def made_at(wanted: int) -> float:
    """When what has this number was made, in Unix seconds, rounded down to a millisecond."""
    return ((wanted >> HASH_BITS) + EPOCH_MS) / 1000


def as_number(text: str) -> int | None:
    """The number that a text holds, if it could be one of ours."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


async def by_number(gateway: Gateway, caller: Caller, text: str) -> Task | None:
    """The caller's task of that number, if there is one."""
    wanted = as_number(text)
    if wanted is not None:
        after = made_at(wanted) + 0.002
        # Few tasks come within the same instant, so it is nearly always among the first.
        for limit in (FEW, MOST_AT_ONCE):
            for task in await gateway.list(caller, before=after, limit=limit):
                if number(task) == wanted:
                    return task
    return None
