"""What Luma's two formats say of a task in the same way."""

from __future__ import annotations

from typing import Any

import msgspec

from genway.dialects.base import Answer, Asking, Format
from genway.dialects.body import Body
from genway.dialects.genway import as_json
from genway.gateway import Quote
from genway.tasks.model import State

LONGEST_ECHO = 2048


class Told(Format, frozen=True):
    """Tells when Luma does: once a generation is dreaming, and when it has ended. Queueing and storing are no news."""

    def tells(self, state: State) -> bool:
        return state.ended or state is State.RUNNING


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
