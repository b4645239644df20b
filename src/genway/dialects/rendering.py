"""What all formats say of a task in the same way: who did the work, times, links, and why there is no result."""

from __future__ import annotations

import datetime
from typing import Literal

from genway.tasks.model import State, Task

PROVIDER_HEADER = "X-Genway-Provider"
ENDINGS = {State.FAILED: "failed", State.CANCELLED: "was cancelled", State.EXPIRED: "ran out of time"}


def provider_header(task: Task | None) -> dict[str, str]:
    """Says so where the built-in provider does the work, which never poses as a vendor's model."""
    return local_header(task is not None and task.local)


def local_header(local: bool) -> dict[str, str]:
    """The same for an answer that no task is behind."""
    return {PROVIDER_HEADER: "local"} if local else {}


def moment(seconds: float, precision: Literal["milliseconds", "microseconds"] = "milliseconds") -> str:
    """Unix seconds as `2025-06-27T19:49:32.334Z`."""
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return at.isoformat(timespec=precision).replace("+00:00", "Z")


def failure(task: Task) -> str:
    """Why there is no result, in words for a person; empty where there is one, or may be one yet."""
    return (task.error_message or f"the task {ENDINGS[task.state]}") if task.state in ENDINGS else ""


def link(task: Task, role: str) -> str:
    """The signed link to the first result of that role, or an empty text."""
    file = task.file(role)
    return file.url if file else ""
