"""Forced failures, in each format's own shape and as the SDKs' own errors."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

from genway.providers.local import echo
from genway.providers.local.echo import Whole
from genway.providers.local.echo.words import FAILURES
from providers.local.echo.asking import anthropic_sdk, ask, openai_sdk, streamed, user

OPENAI: dict[str, tuple[int, type[openai.APIStatusError], str | None]] = {
    "moderation": (400, openai.BadRequestError, "content_policy_violation"),
    "rate_limit": (429, openai.RateLimitError, "rate_limit_exceeded"),
    "overloaded": (503, openai.InternalServerError, "server_is_overloaded"),
    "server_error": (500, openai.InternalServerError, None),
    "context_length": (400, openai.BadRequestError, "context_length_exceeded"),
    "insufficient_quota": (429, openai.RateLimitError, "insufficient_quota"),
    "timeout": (504, openai.InternalServerError, "timeout"),
}
ANTHROPIC: dict[str, tuple[int, type[anthropic.APIStatusError], str]] = {
    "rate_limit": (429, anthropic.RateLimitError, "rate_limit_error"),
    "overloaded": (529, anthropic.APIStatusError, "overloaded_error"),
    "server_error": (500, anthropic.InternalServerError, "api_error"),
    "context_length": (400, anthropic.BadRequestError, "invalid_request_error"),
    "insufficient_quota": (402, anthropic.APIStatusError, "billing_error"),
    "timeout": (504, anthropic.APIStatusError, "timeout_error"),
}


def call(kind: str, text: str, stream: bool) -> Any:
    client = openai_sdk()
    match kind:
        case "chat":
            return client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}], stream=stream)
        case "responses":
            return client.responses.create(model="m", input=text, stream=stream)
        case "completions":
            return client.completions.create(model="m", prompt=text, stream=stream)
        case "embeddings":
            return client.embeddings.create(model="m", input=text)
        case "image_generations":
            return client.images.generate(model="m", prompt=text)
    return client.audio.speech.create(model="m", voice="alloy", input=text)


def test_every_failure_has_its_place_here() -> None:
    assert set(OPENAI) == set(FAILURES) == {*ANTHROPIC, "moderation"}


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("kind", ["chat", "responses", "completions", "embeddings", "image_generations", "speech"])
def test_openais_sdk_raises_the_error_that_belongs_to_it(kind: str, name: str) -> None:
    status, error, code = OPENAI[name]
    for stream in (False, True):
        with pytest.raises(error) as caught:
            call(kind, f"hello genway:fail={name}", stream)
        assert caught.value.status_code == status
        assert caught.value.code == ("moderation_blocked" if (kind, name) == ("image_generations", "moderation") else code)
        assert ("retry-after" in caught.value.response.headers) == (name in ("rate_limit", "overloaded"))


@pytest.mark.parametrize("name", ANTHROPIC)
def test_anthropics_sdk_raises_the_error_that_belongs_to_it(name: str) -> None:
    status, error, type_ = ANTHROPIC[name]
    with pytest.raises(error) as caught:
        anthropic_sdk().messages.create(model="m", max_tokens=10, messages=[{"role": "user", "content": f"genway:fail={name}"}])
    assert caught.value.status_code == status
    body = json.loads(caught.value.response.content)
    assert (body["type"], body["error"]["type"], body["request_id"]) == ("error", type_, "req-1")
    with pytest.raises(error):
        anthropic_sdk().messages.count_tokens(model="m", messages=[{"role": "user", "content": f"genway:fail={name}"}])


def test_a_failure_can_be_late() -> None:
    assert ask("chat", messages=user("genway:delay=3 genway:fail=timeout")).delay == 3


def test_the_context_that_is_too_long_is_blamed_where_it_stands() -> None:
    for kind, body, field in (
        ("chat", {"messages": user("genway:fail=context_length")}, "messages"),
        ("responses", {"input": "genway:fail=context_length"}, "input"),
        ("rerank", {"query": "genway:fail=context_length", "documents": ["a"]}, None),
    ):
        answer = ask(kind, **body)
        assert isinstance(answer, Whole)
        error = json.loads(answer.body)["error"]
        assert error["param"] == field
        assert error["message"].startswith("This model's maximum context length is")


def test_words_in_the_prompt_of_a_form_force_failures_too() -> None:
    for kind, part in (("image_edits", "image"), ("transcriptions", "file")):
        answer = echo.answer_form(kind, {"prompt": "genway:fail=rate_limit"}, {part: [("a", 1, b"")]})
        assert isinstance(answer, Whole)
        assert answer.status == 429


@pytest.mark.parametrize("kind", ["chat", "completions"])
def test_a_stream_breaks_after_so_many_events_and_the_sdk_raises(kind: str) -> None:
    stream = call(kind, "one two three four genway:fail_after=3", True)
    assert len([next(stream) for _ in range(3)]) == 3
    with pytest.raises(openai.APIError, match="forced"):
        next(stream)


def test_a_stream_of_responses_breaks_with_its_flat_error() -> None:
    *before, (name, data) = streamed("responses", input="one two genway:fail_after=3")
    assert len(before) == 3
    assert name == "error"
    assert (data["code"], data["sequence_number"], "error" in data) == ("server_error", 3, False)


def test_a_stream_of_pictures_breaks_too_and_one_that_is_shorter_does_not() -> None:
    body = {"size": "16x16", "partial_images": 2}
    assert [name for name, _ in streamed("image_generations", prompt="genway:fail_after=1", **body)][-1] == "error"
    ended = [name for name, _ in streamed("image_generations", prompt="genway:fail_after=99", **body)]
    assert ended[-1] == "image_generation.completed"
    assert streamed("chat", messages=user("genway:fail_after=0"))[0][1]["error"]["type"] == "server_error"
