"""Errors in the format of the route, before an answer has begun and inside a stream."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from genway.errors import (
    BodyTooLarge,
    GenwayError,
    InsufficientBalance,
    InvalidRequest,
    NoChannel,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from genway.providers.relaying import Wire

JSON = b"content-type: application/json\r\n"

# What OpenAI's clients look at, where our own code has another name for it.
OPENAI_CODES: dict[type[GenwayError], str] = {
    Unauthenticated: "invalid_api_key",
    RateLimited: "rate_limit_exceeded",
    NoChannel: "model_not_found",
}
ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class UpstreamFailed(GenwayError):
    """No channel could answer: each was down, broke off or took too long."""

    code = "upstream_failed"
    status = 502


class UpstreamTimeout(GenwayError):
    """No channel answered in time."""

    code = "upstream_timeout"
    status = 504


class ThreadUnsupported(InvalidRequest):
    """A message with `thread` for a model that nobody behind this keeps threads for; Anthropic's SDK goes on without."""

    details: ClassVar = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


class ThreadUnknown(NotFound):
    """A message goes on with a thread that the account has not; Anthropic's SDK begins a new one."""

    details: ClassVar = {"error_code": "thread_not_found"}


class WrongMethod(InvalidRequest):
    """A call is made with POST."""

    status = 405


class Passed(Exception):
    """A vendor's own refusal, which the client sees as it is. body: without the channel's secrets."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(str(status))
        self.status = status
        self.body = body


def status_of(error: GenwayError, wire: Wire) -> int:
    """The HTTP status as this format has it: an unknown model is 404 in both, an empty account 429 at OpenAI."""
    if isinstance(error, NoChannel):
        return 404
    if isinstance(error, InsufficientBalance) and wire == "openai":
        return 429
    if error.status == 422:
        return 400
    return error.status


def body(error: GenwayError, wire: Wire, request_id: str) -> bytes:
    """The error object."""
    if wire == "anthropic":
        status = status_of(error, wire)
        kind = ANTHROPIC_TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
        shown: dict[str, object] = {"type": kind, "message": str(error)}
        if isinstance(error, ThreadUnsupported | ThreadUnknown):
            shown["details"] = error.details
        return msgspec.json.encode({"type": "error", "error": shown, "request_id": request_id})
    kind = error.type
    code: str = OPENAI_CODES.get(type(error), error.code)
    if isinstance(error, InsufficientBalance):
        kind = code = "insufficient_quota"
    elif isinstance(error, Unauthenticated | NotFound | BodyTooLarge | NoChannel):
        kind = "invalid_request_error"
    elif isinstance(error, Unavailable):
        kind = "service_unavailable_error"
    shown_openai = {"message": str(error), "type": kind, "param": error.field, "code": code}
    return msgspec.json.encode({"error": shown_openai})


def headers(error: GenwayError, wire: Wire) -> bytes:
    """Lines that go with an error: when to try again, and whether that is of any use."""
    lines = JSON
    if error.retry_after is not None:
        lines += b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (
            max(1, -(-error.retry_after // 1)),
            max(1, int(error.retry_after * 1000)),
        )
    if isinstance(error, InsufficientBalance) and wire == "openai":
        lines += b"x-should-retry: false\r\n"
    elif isinstance(error, WrongMethod):
        lines += b"allow: POST\r\n"
    return lines


class _Event(msgspec.Struct):
    type: str = ""
    message: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Error(msgspec.Struct):
    message: str | None = None


_event = msgspec.json.Decoder(_Event).decode
_error = msgspec.json.Decoder(_Error | str | None).decode


def told_in(data: bytes) -> str:
    """What an event of an upstream's stream says went wrong; nothing for any event but an error. data: the event's."""
    try:
        event = _event(data)
        if event.type not in {"", "error"}:  # of a response that has failed the format tells, and it has its usage
            return ""
        error = _error(event.error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    message = error.message if isinstance(error, _Error) else error
    if message is None and event.type == "error":
        message = event.message
    return message or ("an error without words" if error is not None or event.type == "error" else "")


def in_stream(message: str, kind: str, request_id: str) -> bytes:
    """The event that tells of a fault in a stream that has begun."""
    if kind == "messages":
        shown = {"type": "error", "error": {"type": "api_error", "message": message}, "request_id": request_id}
        return b"event: error\ndata: " + msgspec.json.encode(shown) + b"\n\n"
    if kind == "responses":
        flat = {"type": "error", "code": "server_error", "message": message, "param": None, "sequence_number": 0}
        return b"event: error\ndata: " + msgspec.json.encode(flat) + b"\n\n"
    nested = {"error": {"message": message, "type": "server_error", "param": None, "code": "upstream_failed"}}
    return b"data: " + msgspec.json.encode(nested) + b"\n\n"
