"""Another gateway in MiniMax's format as upstream: genway itself, or one of its relatives.

Options of the channel: `prefix`, under which the gateway has the calls: `/minimax` unless said otherwise, `/` for none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genway.providers.http import at
from genway.providers.minimax import MiniMax

PREFIX = "/minimax"
# One family of gateways puts a task into an envelope with words of its own for the state.
STATUS = {
    "NOT_START": "Queueing",
    "SUBMITTED": "Queueing",
    "QUEUED": "Queueing",
    "IN_PROGRESS": "Processing",
    "SUCCESS": "Success",
    "FAILURE": "Fail",
}


class MiniMaxCompat(MiniMax):
    """A gateway in MiniMax's format. base_url: without the prefix."""

    name = "minimax_compat"
    base_url = ""

    def path(self, path: str) -> str:
        return self.channel.options.get("prefix", PREFIX).rstrip("/") + path

    def opened(self, answer: Any, submitting: bool) -> Any:
        row = at(answer, "data")
        if at(answer, "base_resp") is None and at(answer, "code") == "success" and isinstance(row, Mapping):
            answer = _unwrapped(row)
        return super().opened(answer, submitting)


def _unwrapped(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the official API would answer. The reason of a failure stands where a success has its file."""
    inner = row.get("data")
    answer = {"task_id": row.get("task_id"), "base_resp": {"status_code": 0, "status_msg": "success"}}
    status = STATUS.get(str(row.get("status")).upper())
    answer |= {"status": status} if status else {}
    if status == "Fail":
        answer["error_message"] = row.get("fail_reason")
    return answer | (dict(inner) if isinstance(inner, Mapping) else {})
