"""Asking for the built-in answers: directly, and through the vendors' own SDKs."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2 as httpx
import openai

from genway.providers.local import echo
from genway.providers.local.echo import Streamed, Whole

CREATED = 1_760_000_000
KINDS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
    "/v1/messages/count_tokens": "count_tokens",
    "/v1/embeddings": "embeddings",
    "/v1/moderations": "moderations",
    "/v1/images/generations": "image_generations",
    "/v1/audio/speech": "speech",
}
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


def ask(kind: str, request_id: str = "req-1", **body: Any) -> Whole | Streamed:
    return echo.answer(kind, json.dumps(body).encode(), request_id=request_id, created=CREATED)


def told(kind: str, **body: Any) -> Any:
    """The JSON of an answer that went well."""
    answer = ask(kind, **body)
    assert isinstance(answer, Whole)
    assert (answer.status, answer.content_type) == (200, "application/json")
    return json.loads(answer.body)


def streamed(kind: str, **body: Any) -> list[tuple[str | None, Any]]:
    """The events of a stream: name and data; the end mark of a chat is the text `[DONE]`."""
    answer = ask(kind, **body, stream=True)
    assert isinstance(answer, Streamed)
    return [event(raw) for raw in answer.events]


def event(raw: bytes) -> tuple[str | None, Any]:
    assert raw.endswith(b"\n\n")
    lines = raw.decode().removesuffix("\n\n").split("\n")
    name = lines.pop(0).removeprefix("event: ") if lines[0].startswith("event: ") else None
    (line,) = lines
    assert line.startswith("data: ")
    text = line.removeprefix("data: ")
    return name, text if text == "[DONE]" else json.loads(text)


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def _answered(request: httpx.Request) -> httpx.Response:
    kind = KINDS[request.url.path]
    answer = echo.answer(kind, request.content, request_id="req-1", created=CREATED)
    if isinstance(answer, Whole):
        return httpx.Response(
            answer.status, headers={"content-type": answer.content_type} | answer.headers, content=answer.body
        )
    return httpx.Response(200, headers={"content-type": answer.content_type}, content=b"".join(answer.events))


def openai_sdk() -> openai.OpenAI:
    """OpenAI's client, whose calls are answered here."""
    http = openai.DefaultHttpxClient(transport=httpx.MockTransport(_answered))
    return openai.OpenAI(api_key="test", base_url="http://127.0.0.1/v1", http_client=http, max_retries=0)


def anthropic_sdk() -> anthropic.Anthropic:
    """Anthropic's client, whose calls are answered here."""
    http = anthropic.DefaultHttpxClient(transport=httpx.MockTransport(_answered))
    return anthropic.Anthropic(api_key="test", base_url="http://127.0.0.1", http_client=http, max_retries=0)
