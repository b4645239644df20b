"""What Luma's two formats say of a task in the same way."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec

from genway.dialects.base import Answer, Asking, Format
from genway.dialects.body import Body
from genway.dialects.genway import as_json
from genway.gateway import Quote
from genway.tasks.model import State, Task

PROVIDER_HEADER = "X-Genway-Provider"
LONGEST_ECHO = 2048

ENDINGS = {State.FAILED: "failed", State.CANCELLED: "was cancelled", State.EXPIRED: "ran out of time"}


class Told(Format, frozen=True):
    """Tells when Luma does: once a generation is dreaming, and when it has ended. Queueing and storing are no news."""

    def tells(self, state: State) -> bool:
        return state.ended or state is State.RUNNING


def provider_header(task: Task) -> dict[str, str]:
    """Says so where the built-in provider does the work, which never poses as a vendor's model."""
    return {PROVIDER_HEADER: "local"} if task.local else {}


def moment(seconds: float) -> str:
    """Unix seconds as `2024-07-22T12:47:28.553735Z`."""
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def failure(task: Task) -> str | None:
    """Why there is no result, in words for a person."""
    if not task.state.ended or task.state is State.SUCCEEDED:
        return None
    return task.error_message or f"the task {ENDINGS[task.state]}"


def link(task: Task, role: str) -> str | None:
    """The signed link to the first result of that role."""
    file = task.file(role)
    return file.url if file else None


def echo(body: Body, told: dict[str, str]) -> dict[str, Any]:
    """A request as it came, but for files that were sent inline and what `told` says better."""
    known = {name: value for name, value in msgspec.to_builtins(body).items() if name != "extra"}
    return {**_short(known), **told}


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _short(member) for name, member in value.items() if member != "" and not _inline(name, member)}
    if isinstance(value, list):
        return [_short(member) for member in value if not _inline("", member)]
    return value


def _inline(name: str, value: Any) -> bool:
    return isinstance(value, str) and len(value) > LONGEST_ECHO and "prompt" not in name


def render_quote(quote: Quote, asking: Asking) -> Answer:
    """The answer to a dry run: nothing was made and nothing is owed."""
    return Answer({"id": None, "state": None, "dry_run": True, "quote": as_json(quote)})
