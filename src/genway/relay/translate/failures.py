"""An upstream's errors in the words of both formats: status, type and code are a table, the message stays its own."""

from __future__ import annotations

import html
import re
from http import HTTPStatus
from typing import Any

import msgspec

LONGEST = 1000


class Failure(msgspec.Struct, frozen=True):
    """One row: what a status is called in messages, and type and code in chat completions."""

    status: int
    messages_type: str
    chat_type: str
    chat_code: str | None


FAILURES = (
    Failure(400, "invalid_request_error", "invalid_request_error", None),
    Failure(401, "authentication_error", "invalid_request_error", "invalid_api_key"),
    Failure(402, "billing_error", "insufficient_quota", "insufficient_quota"),
    Failure(403, "permission_error", "permission_error", None),
    Failure(404, "not_found_error", "invalid_request_error", "model_not_found"),
    Failure(409, "conflict_error", "invalid_request_error", None),
    Failure(413, "request_too_large", "invalid_request_error", None),
    Failure(429, "rate_limit_error", "rate_limit_error", "rate_limit_exceeded"),
    Failure(500, "api_error", "server_error", None),
    Failure(503, "api_error", "service_unavailable_error", "server_is_overloaded"),
    Failure(504, "timeout_error", "server_error", None),
    Failure(529, "overloaded_error", "service_unavailable_error", "server_is_overloaded"),
)
BY_STATUS = {each.status: each for each in FAILURES}
BY_MESSAGES_TYPE = {each.messages_type: each for each in reversed(FAILURES)}

# Chat completions tells these by words only, some of them under a status that is more often something else.
BY_CHAT_WORD = {
    "insufficient_quota": BY_STATUS[402],
    "credit_balance_exhausted": BY_STATUS[402],
    "invalid_api_key": BY_STATUS[401],
    "permission_error": BY_STATUS[403],
    "model_not_found": BY_STATUS[404],
    "rate_limit_error": BY_STATUS[429],
    "rate_limit_exceeded": BY_STATUS[429],
    "service_unavailable_error": BY_STATUS[529],
    "server_is_overloaded": BY_STATUS[529],
    "invalid_request_error": BY_STATUS[400],
}

# Programs look for these to shorten their conversation. Not every upstream gives the code, but most say the words.
TOO_LONG_IN_MESSAGES = "prompt is too long"
TOO_LONG_IN_CHAT = "context_length_exceeded"
_TOO_LONG_TO_CHAT = re.compile(r"prompt is too long|exceeds? (the )?context limit", re.IGNORECASE)
_TOO_LONG_TO_MESSAGES = re.compile(r"maximum context length|exceeds? the (model's |available )?context", re.IGNORECASE)


class Said(msgspec.Struct):
    """What an upstream said, in whatever shape. type and code are empty where it did not say."""

    message: str = ""
    type: str = ""
    code: str = ""
    param: str | None = None


def to_chat(status: int, body: bytes, *, request_id: str) -> tuple[int, bytes]:
    """Status and body of an error in chat completions. request_id has no place in it: it is in the headers."""
    del request_id
    said = _said(body)
    status = 503 if status == 529 else status
    return status, msgspec.json.encode({"error": _chat_error(status, said)})


def to_messages(status: int, body: bytes, *, request_id: str) -> tuple[int, bytes]:
    """Status and body of an error in messages."""
    said = _said(body)
    if status == 429 and BY_CHAT_WORD.get(said.code or said.type) is BY_STATUS[402]:
        status = 402
    if said.code == "server_is_overloaded":
        status = 529
    error = _messages_error(_row(status).messages_type, status, said)
    return status, msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})


def no_answer(error: msgspec.Raw, reason: str = "") -> msgspec.ValidationError:
    """For an answer with status 200 that is none: some upstreams give an error so. reason: why it ended, as far as it came."""
    said = _said(b'{"error":' + bytes(error or b"null") + b"}").message
    return msgspec.ValidationError(said or (unfinished(reason) if reason else "there is nothing in it"))


def unfinished(reason: str) -> str:
    """For an answer that ended for a `reason` which says that it is not whole."""
    return f"the upstream ended its answer before it was whole: {reason}"


def event_to_chat(error: bytes) -> bytes:
    """The SSE event for an error that came within a stream of messages; the client's library raises it."""
    said = _said(b'{"error":' + (error or b"null") + b"}")
    row = BY_MESSAGES_TYPE.get(said.type, BY_STATUS[500])
    return chat_event(_chat_error(503 if row.status == 529 else row.status, said))


def event_to_messages(error: bytes) -> bytes:
    """The SSE event for an error that came within a stream of chat completions."""
    said = _said(b'{"error":' + error + b"}")
    row = BY_CHAT_WORD.get(said.code) or BY_CHAT_WORD.get(said.type) or BY_STATUS[500]
    return messages_event(_messages_error(row.messages_type, row.status, said))


def broken_off_in_chat(problem: str) -> bytes:
    """The SSE event for a stream that broke off."""
    return chat_event(_chat_error(500, Said(problem)))


def broken_off_in_messages(problem: str) -> bytes:
    """The SSE event for a stream that broke off."""
    return messages_event(_messages_error("api_error", 500, Said(problem)))


def chat_event(error: dict[str, Any]) -> bytes:
    return b'data: {"error":' + msgspec.json.encode(error) + b"}\n\n"


def messages_event(error: dict[str, Any]) -> bytes:
    return b'event: error\ndata: {"type":"error","error":' + msgspec.json.encode(error) + b"}\n\n"


def _row(status: int) -> Failure:
    if status in BY_STATUS:
        return BY_STATUS[status]
    return BY_STATUS[400 if 400 <= status < 500 else 500]


def _chat_error(status: int, said: Said) -> dict[str, Any]:
    row = _row(status)
    kind, code, param = row.chat_type, said.code or row.chat_code, said.param
    if row.status in {400, 413} and _TOO_LONG_TO_CHAT.search(said.message):
        code, param = TOO_LONG_IN_CHAT, "messages"
    if code == "enforced_spend_limit_reached":
        kind = code = "insufficient_quota"
    return {"message": said.message or _phrase(status), "type": kind, "param": param, "code": code}


def _messages_error(kind: str, status: int, said: Said) -> dict[str, Any]:
    message = said.message or _phrase(status)
    too_long = said.code == TOO_LONG_IN_CHAT or (_row(status).status == 400 and _TOO_LONG_TO_MESSAGES.search(message))
    if too_long and TOO_LONG_IN_MESSAGES not in message:
        message = f"{TOO_LONG_IN_MESSAGES}: {message}"
    return {"type": kind, "message": message}


def _phrase(status: int) -> str:
    known = {each.value for each in HTTPStatus}
    return f"the upstream answered {status} {HTTPStatus(status).phrase if status in known else ''}".rstrip()


def _said(body: bytes) -> Said:
    """Read `{"error": {…}}`, `{"error": "…"}`, `{"message": …}`, `{"detail": …}`, a text or a web page."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Said(_plain(body.decode("utf-8", "replace")))
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str):
        return Said(value[:LONGEST])
    if not isinstance(value, dict):
        return Said()
    inner = value.get("error")
    if isinstance(inner, str):
        return Said(_message(value) or inner)
    error = inner if isinstance(inner, dict) else value
    details = error.get("details")
    code = error.get("code") or (details.get("error_code") if isinstance(details, dict) else None)
    return Said(
        _message(error),
        _word(error.get("type")),
        _word(code),
        error["param"] if isinstance(error.get("param"), str) else None,
    )


def _message(error: dict[str, Any]) -> str:
    for name in ("message", "detail", "msg"):
        if found := error.get(name):
            return found if isinstance(found, str) else msgspec.json.encode(found).decode()[:LONGEST]
    return ""


def _word(value: Any) -> str:
    """A type or code; some upstreams repeat the status there."""
    return value if isinstance(value, str) and not value.isdigit() else ""


def _plain(text: str) -> str:
    """The text, or of a web page its title."""
    if "<html" in text.lower():
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
        text = html.unescape(title[1]) if title else ""
    return " ".join(text.split())[:LONGEST]
