"""The forced failures as the vendors answer them: status, words and headers, and the event that breaks a stream."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from genway.providers.local.echo.answers import JSON, Whole, data, named

RETRY = {"retry-after": "1"}


class OpenAI(NamedTuple):
    """A failure in OpenAI's formats."""

    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None
    headers: dict[str, str] = {}

    @property
    def error(self) -> dict[str, Any]:
        return {"message": self.message, "type": self.type, "param": self.param, "code": self.code}


class Anthropic(NamedTuple):
    """A failure in Anthropic's formats."""

    status: int
    type: str
    message: str
    headers: dict[str, str] = {}


OPENAI = {
    "moderation": OpenAI(
        400, "invalid_request_error", "content_policy_violation", "Your request was refused by the content policy (forced)."
    ),
    "rate_limit": OpenAI(429, "requests", "rate_limit_exceeded", "Rate limit reached for requests (forced).", headers=RETRY),
    "overloaded": OpenAI(
        503, "service_unavailable_error", "server_is_overloaded", "The server is overloaded (forced).", headers=RETRY
    ),
    "server_error": OpenAI(500, "server_error", None, "The server had an error while processing your request (forced)."),
    "context_length": OpenAI(
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 128001 tokens (forced).",
        "messages",
    ),
    "insufficient_quota": OpenAI(
        429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota (forced).", headers={}
    ),
    "timeout": OpenAI(504, "server_error", "timeout", "The request timed out (forced)."),
}
ANTHROPIC = {
    "rate_limit": Anthropic(429, "rate_limit_error", "This request would exceed your rate limit (forced).", RETRY),
    "overloaded": Anthropic(529, "overloaded_error", "Overloaded (forced)"),
    "server_error": Anthropic(500, "api_error", "Internal server error (forced)"),
    "context_length": Anthropic(400, "invalid_request_error", "prompt is too long: 200001 tokens > 200000 maximum (forced)"),
    "insufficient_quota": Anthropic(402, "billing_error", "Your credit balance is too low (forced)."),
    "timeout": Anthropic(504, "timeout_error", "The request timed out (forced)."),
}
"""Without `moderation`, which Anthropic answers with a message whose stop reason is `refusal`."""

PARAMETERS = {"chat": "messages", "responses": "input", "completions": "prompt", "embeddings": "input"}
"""What OpenAI blames for a context that is too long."""


def openai(name: str, kind: str, delay: float) -> Whole:
    """A failure that is forced on a call of this kind, in OpenAI's shape."""
    failure = OPENAI[name]
    if name == "moderation" and kind.startswith("image"):
        failure = failure._replace(code="moderation_blocked")
    if name == "context_length":
        failure = failure._replace(param=PARAMETERS.get(kind))
    return Whole(failure.status, JSON, msgspec.json.encode({"error": failure.error}), dict(failure.headers), delay)


def anthropic(name: str, request_id: str, delay: float) -> Whole:
    """A failure in Anthropic's shape; `name` is a key of ANTHROPIC."""
    failure = ANTHROPIC[name]
    error = {"type": failure.type, "message": failure.message}
    body = msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})
    return Whole(failure.status, JSON, body, dict(failure.headers), delay)


def openai_event() -> bytes:
    """What breaks a stream of chat or of legacy completions."""
    return data({"error": OPENAI["server_error"].error})


def typed_event() -> bytes:
    """What breaks a stream of pictures or of sound."""
    return named({"type": "error", "error": OPENAI["server_error"].error})


def responses_event(sequence_number: int) -> bytes:
    """What breaks a stream of Responses, whose error is flat."""
    failure = OPENAI["server_error"]
    members = {"code": "server_error", "message": failure.message, "param": failure.param}
    return named({"type": "error", "sequence_number": sequence_number, **members})


def anthropic_event() -> bytes:
    """What breaks a stream of messages."""
    failure = ANTHROPIC["overloaded"]
    return named({"type": "error", "error": {"type": failure.type, "message": failure.message}})
