from __future__ import annotations

import json
from typing import Any

import pytest

from genway.relay.translate import chat_to_messages, messages_to_chat


def in_chat(status: int, body: bytes) -> tuple[int, dict[str, Any]]:
    status, raw = chat_to_messages.error(status, body, request_id="req_1")
    made = json.loads(raw)
    assert made.keys() == {"error"}
    assert made["error"].keys() == {"message", "type", "param", "code"}
    return status, made["error"]


def in_messages(status: int, body: bytes) -> tuple[int, dict[str, Any]]:
    status, raw = messages_to_chat.error(status, body, request_id="req_1")
    made = json.loads(raw)
    assert (made["type"], made["request_id"]) == ("error", "req_1")
    return status, made["error"]


def anthropics(kind: str, message: str = "Why", **more: Any) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message, **more}, "request_id": "req_0"}).encode()


def openais(message: str = "Why", kind: str | None = None, code: object = None, param: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


@pytest.mark.parametrize(
    ("status", "kind", "sent", "chat_type", "code"),
    [
        (400, "invalid_request_error", 400, "invalid_request_error", None),
        (401, "authentication_error", 401, "invalid_request_error", "invalid_api_key"),
        (402, "billing_error", 402, "insufficient_quota", "insufficient_quota"),
        (403, "permission_error", 403, "permission_error", None),
        (404, "not_found_error", 404, "invalid_request_error", "model_not_found"),
        (409, "conflict_error", 409, "invalid_request_error", None),
        (413, "request_too_large", 413, "invalid_request_error", None),
        (422, "invalid_request_error", 422, "invalid_request_error", None),
        (429, "rate_limit_error", 429, "rate_limit_error", "rate_limit_exceeded"),
        (500, "api_error", 500, "server_error", None),
        (502, "api_error", 502, "server_error", None),
        (503, "api_error", 503, "service_unavailable_error", "server_is_overloaded"),
        (504, "timeout_error", 504, "server_error", None),
        (529, "overloaded_error", 503, "service_unavailable_error", "server_is_overloaded"),
    ],
)
def test_an_error_of_messages_in_chat(status: int, kind: str, sent: int, chat_type: str, code: str | None) -> None:
    assert in_chat(status, anthropics(kind)) == (sent, {"message": "Why", "type": chat_type, "param": None, "code": code})


@pytest.mark.parametrize(
    ("status", "body", "sent", "kind"),
    [
        (400, openais(kind="invalid_request_error", code="unsupported_parameter"), 400, "invalid_request_error"),
        (401, openais(code="invalid_api_key"), 401, "authentication_error"),
        (403, openais(), 403, "permission_error"),
        (404, openais(code="model_not_found"), 404, "not_found_error"),
        (409, openais(), 409, "conflict_error"),
        (413, openais(), 413, "request_too_large"),
        (422, openais(), 422, "invalid_request_error"),
        (429, openais(code="rate_limit_exceeded"), 429, "rate_limit_error"),
        (429, openais(code="insufficient_quota"), 402, "billing_error"),
        (429, openais(kind="insufficient_quota"), 402, "billing_error"),
        (500, openais(kind="server_error"), 500, "api_error"),
        (502, openais(), 502, "api_error"),
        (503, openais(), 503, "api_error"),
        (503, openais(kind="service_unavailable_error", code="server_is_overloaded"), 529, "overloaded_error"),
        (504, openais(), 504, "timeout_error"),
    ],
)
def test_an_error_of_chat_in_messages(status: int, body: bytes, sent: int, kind: str) -> None:
    assert in_messages(status, body) == (sent, {"type": kind, "message": "Why"})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"Why"}}', "Why"),
        (b'{"error":"Why"}', "Why"),
        (b'{"error":"Bad Request","message":"Why"}', "Why"),
        (b'{"message":"Why","code":3}', "Why"),
        (b'{"detail":"Why"}', "Why"),
        (b'{"detail":[{"loc":["body"],"msg":"Why"}]}', '[{"loc":["body"],"msg":"Why"}]'),
        (b'[{"error":{"message":"Why","status":"X"}}]', "Why"),
        (b'"Why"', "Why"),
        (b"Why\nnot\n", "Why not"),
        (b"<html><head><title>413 Too &amp; Large</title></head><body>x</body></html>", "413 Too & Large"),
        (b"<html>x</html>", "the upstream answered 502 Bad Gateway"),
        (b"", "the upstream answered 502 Bad Gateway"),
        (b"null", "the upstream answered 502 Bad Gateway"),
        (b"{}", "the upstream answered 502 Bad Gateway"),
        (b'"\xff', '"\N{REPLACEMENT CHARACTER}'),
    ],
)
def test_the_upstreams_own_words_are_kept_whatever_their_shape(body: bytes, message: str) -> None:
    assert in_chat(502, body)[1]["message"] == message
    assert in_messages(502, body)[1]["message"] == message


def test_a_page_of_text_is_cut() -> None:
    assert len(in_chat(502, b"x" * 5000)[1]["message"]) == 1000


def test_a_status_that_nobody_knows_has_no_phrase() -> None:
    assert in_chat(599, b"")[1]["message"] == "the upstream answered 599"


def test_a_code_and_a_field_that_the_upstream_names_are_kept_in_chat() -> None:
    _, error = in_chat(400, openais(code="invalid_value", param="messages"))
    assert (error["code"], error["param"]) == ("invalid_value", "messages")
    assert in_chat(400, openais(code=400))[1]["code"] is None


def test_a_conversation_too_long_is_called_what_each_sides_programs_look_for() -> None:
    _, error = in_chat(400, anthropics("invalid_request_error", "prompt is too long: 300000 tokens > 200000 maximum"))
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    words = "This model's maximum context length is 128000 tokens."
    _, error = in_messages(400, openais(words, code="context_length_exceeded"))
    assert error["message"] == f"prompt is too long: {words}"


@pytest.mark.parametrize(
    "words",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
        "the request exceeds the available context size, try increasing it",
    ],
)
def test_a_conversation_too_long_is_known_by_words_where_no_code_says_so(words: str) -> None:
    assert in_messages(400, openais(words))[1]["message"] == f"prompt is too long: {words}"
    assert in_messages(500, openais(words))[1]["message"] == words
    limit = "input length and `max_tokens` exceed context limit: 190000 + 21333 > 200000"
    assert in_chat(400, anthropics("invalid_request_error", limit))[1]["code"] == "context_length_exceeded"
    assert in_chat(429, anthropics("rate_limit_error", limit))[1]["code"] == "rate_limit_exceeded"


def test_a_spending_limit_is_a_quota() -> None:
    body = anthropics("rate_limit_error", details={"error_code": "enforced_spend_limit_reached"})
    assert in_chat(429, body)[1]["code"] == "insufficient_quota"
