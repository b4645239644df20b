"""What all answers of MiniMax's format have: `base_resp` with a code from its table, and a trace id.

The table of codes: platform.minimax.io/docs/api-reference/errorcode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genway.access.model import Asked
from genway.dialects.base import Answer, Asking
from genway.dialects.genway import as_json
from genway.dialects.rendering import failure, provider_header
from genway.errors import Forbidden, GenwayError, InsufficientBalance, InvalidRequest, RateLimited, Unauthenticated, Unavailable
from genway.gateway import Quote
from genway.tasks.model import State, Task

OK = {"status_code": 0, "status_msg": "success"}
UNKNOWN, TIMED_OUT, RATE, UNAUTHORIZED, BALANCE = 1000, 1001, 1002, 1004, 1008
SENSITIVE_INPUT, SENSITIVE_OUTPUT, DOWNSTREAM, INVALID, BAD_KEY = 1026, 1027, 1033, 2013, 2049

# The official MCP client reads `base_resp` only under HTTP 200, which is what the original answers to everything.
SOURCE_HEADER = "mm-api-source"
TRACE_HEADER = "Trace-Id"
SECOND = "/v2/"

FAILURES: Mapping[str, int] = {"invalid_request": INVALID, "media_refused": INVALID, "address_refused": INVALID}
PROBLEMS: tuple[tuple[type[GenwayError], int], ...] = (
    (InsufficientBalance, BALANCE),
    (RateLimited, RATE),
    (Forbidden, UNAUTHORIZED),
    (InvalidRequest, INVALID),
    (Unavailable, DOWNSTREAM),
)


class WorkFailed(GenwayError):
    """The work behind a synchronous call has failed; nothing is charged for it."""

    code = "work_failed"
    status = 502

    def __init__(self, task: Task) -> None:
        self.base_resp = outcome(task)
        super().__init__(str(self.base_resp["status_msg"]))
        if self.base_resp["status_code"] in {SENSITIVE_INPUT, SENSITIVE_OUTPUT, INVALID}:
            self.status, self.type = 400, "invalid_request_error"  # type: ignore[misc]


class WorkUnfinished(GenwayError):
    """The work behind a synchronous call took longer than the call may; it was cancelled and nothing is charged for it."""

    code = "work_unfinished"
    status = 504


def outcome(task: Task) -> dict[str, Any]:
    """The `base_resp` that tells how a task ended: success unless it ended otherwise."""
    if not task.state.ended or task.state is State.SUCCEEDED:
        return OK
    words = failure(task)
    if task.error_code == "moderation":
        code = SENSITIVE_OUTPUT if task.vendor_id else SENSITIVE_INPUT
    elif task.state is State.EXPIRED:
        code = TIMED_OUT
    else:
        code = FAILURES.get(task.error_code or "", UNKNOWN if task.state is State.CANCELLED else DOWNSTREAM)
    return {"status_code": code, "status_msg": words}


def ok(content: Mapping[str, Any], asked: Asked, task: Task | None = None, *warnings: str) -> Answer:
    """An answer of success; warnings of the task and of its caller's own are told where there are any."""
    told = [*(task.warnings if task else ()), *warnings]
    headers = {TRACE_HEADER: asked.request_id} | provider_header(task)
    return Answer({"base_resp": OK, **content} | ({"warnings": told} if told else {}), headers=headers)


def render_error(error: GenwayError, asking: Asking) -> Answer:
    """`base_resp` as the original has it, and beside it the object `error` that clients of gateways read.

    The HTTP status is the true one, but for the official MCP client. The second format has an object `error` alone, whose words
    end in the code.
    """
    base_resp = _base_resp(error, asking)
    if SECOND in asking.path:
        words = f"{base_resp['status_msg']} ({base_resp['status_code']})"
        second = {"type": error.type, "message": words, "http_code": str(error.status)}
        told = {"type": "error", "error": second, "request_id": asking.request_id}
        return Answer(told, error.status, headers={TRACE_HEADER: asking.request_id})
    content = {
        "base_resp": base_resp,
        "error": {"message": str(error), "type": error.type, "code": error.code, "param": error.field},
        "request_id": asking.request_id,
    }
    status = 200 if asking.header(SOURCE_HEADER) is not None else error.status
    return Answer(content, status, headers={TRACE_HEADER: asking.request_id})


def _base_resp(error: GenwayError, asking: Asking) -> dict[str, Any]:
    if isinstance(error, WorkFailed):
        return error.base_resp
    if isinstance(error, Unauthenticated):
        code = UNAUTHORIZED if asking.header("authorization") is None else BAD_KEY
    elif error.status in {408, 504}:
        code = TIMED_OUT
    else:
        usual = INVALID if error.status < 500 else UNKNOWN
        code = next((code for kind, code in PROBLEMS if isinstance(error, kind)), usual)
    return {"status_code": code, "status_msg": str(error)}


def render_quote(quote: Quote, asking: Asking) -> Answer:
    """The answer to a dry run: nothing was made and nothing is owed."""
    content = {"dry_run": True, "quote": as_json(quote), "base_resp": OK}
    return Answer(content, headers={TRACE_HEADER: asking.request_id})


def places(path: str) -> tuple[str, ...]:
    """Where a call is served: at the original's own path, and under the prefixes that gateways give it."""
    return (path, *(prefix + path for prefix in PREFIXES))


PREFIXES = ("/minimax", "/minimaxi", "/hailuo", "/task/minimax")
