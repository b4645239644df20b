"""What goes wrong at a vendor, as both SDKs tell their programs of it: the class, the message, and another try."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from anthropic.types import Message
from openai import OpenAI

from conformance.relay.stage import FAULTS, SAME, Target

MESSAGES: Any = [{"role": "user", "content": "one two three"}]
OPENAI_CLASSES: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    402: openai.APIStatusError,
    403: openai.PermissionDeniedError,
    413: openai.APIStatusError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
    529: openai.InternalServerError,
}
ANTHROPIC_CLASSES: dict[int, type[anthropic.APIStatusError]] = {
    400: anthropic.BadRequestError,
    401: anthropic.AuthenticationError,
    402: anthropic.APIStatusError,
    403: anthropic.PermissionDeniedError,
    413: anthropic.APIStatusError,
    429: anthropic.RateLimitError,
    500: anthropic.InternalServerError,
    503: anthropic.InternalServerError,
    529: anthropic.InternalServerError,
}
OPERATORS = {401, 402, 403}
"""What a vendor holds against the gateway's account is no fault of the gateway's client."""


def openai_client(target: Target, key: str | None = None, retries: int = 0) -> OpenAI:
    return OpenAI(api_key=key or target.key, base_url=f"{target.url}/v1", max_retries=retries)


def anthropic_client(target: Target, key: str | None = None, retries: int = 0) -> Anthropic:
    return Anthropic(api_key=key or target.key, base_url=target.url, max_retries=retries)


def expected(way: str, status: int) -> int:
    return 500 if way != "direct" and status in OPERATORS else status


@pytest.mark.parametrize("status", FAULTS)
def test_openais_sdk_raises_its_own_class(openai_target: Target, status: int) -> None:
    openai_target.vendor.next(times=10, status=status, headers={"retry-after": "7"})
    with pytest.raises(OPENAI_CLASSES[expected(openai_target.way, status)]) as raised:
        openai_client(openai_target).chat.completions.create(model=openai_target.faulty("openai", status), messages=MESSAGES)
    error = raised.value
    assert error.request_id
    assert set(error.body) >= {"message", "type", "param", "code"}  # type: ignore[call-overload]
    if openai_target.way == "direct" or status in {400, 413}:
        assert (error.status_code, f"told to answer {status}" in error.message) == (status, True)
    if status == 429:
        assert float(error.response.headers["retry-after"]) > 0
    assert "standin" not in str(error.body), "a key of the operator's"


@pytest.mark.parametrize("status", FAULTS)
def test_anthropics_sdk_raises_its_own_class(anthropic_target: Target, status: int) -> None:
    anthropic_target.vendor.next(times=10, status=status, headers={"retry-after": "7"})
    model = anthropic_target.faulty("anthropic", status)
    with pytest.raises(ANTHROPIC_CLASSES[expected(anthropic_target.way, status)]) as raised:
        anthropic_client(anthropic_target).messages.create(model=model, max_tokens=100, messages=MESSAGES)
    error = raised.value
    assert error.request_id
    body: Any = error.body
    assert (body["type"], set(body["error"]) >= {"type", "message"}) == ("error", True)
    if anthropic_target.way == "direct" or status in {400, 413}:
        assert (error.status_code, f"told to answer {status}" in error.message) == (status, True)
    if status == 429:
        assert float(error.response.headers["retry-after"]) > 0
    assert "standin" not in str(error.body), "a key of the operator's"


def test_wrong_requests_are_told_of_in_openais_words(openai_target: Target) -> None:
    client = openai_client(openai_target)
    with pytest.raises(openai.BadRequestError, match="messages") as refused:
        client.chat.completions.create(model=openai_target.model, messages=[])
    assert refused.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError, match="tool"):
        client.chat.completions.create(
            model=openai_target.model,
            messages=[*MESSAGES, {"role": "tool", "tool_call_id": "call_of_nobody", "content": "rain"}],
        )
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-of-nobody", messages=MESSAGES)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as stranger:
        openai_client(openai_target, "sk-wrong").chat.completions.create(model=openai_target.model, messages=MESSAGES)
    assert stranger.value.code == "invalid_api_key"


def test_wrong_requests_are_told_of_in_anthropics_words(anthropic_target: Target) -> None:
    client = anthropic_client(anthropic_target)
    result: Any = {"type": "tool_result", "tool_use_id": "toolu_of_nobody", "content": "rain"}
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        client.messages.create(model=anthropic_target.model, max_tokens=10, messages=[])
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.post("/v1/messages", body={"model": anthropic_target.model, "messages": MESSAGES}, cast_to=Message)
    with pytest.raises(anthropic.BadRequestError, match="tool"):
        client.messages.create(
            model=anthropic_target.model,
            max_tokens=10,
            messages=[{"role": "user", "content": [result]}],
        )
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="claude-of-nobody", max_tokens=10, messages=MESSAGES)
    with pytest.raises(anthropic.AuthenticationError):
        anthropic_client(anthropic_target, "sk-wrong").messages.create(
            model=anthropic_target.model, max_tokens=10, messages=MESSAGES
        )


def test_openais_sdk_tries_again_when_it_is_told_to(openai_target: Target) -> None:
    openai_target.vendor.next(status=429, headers={"retry-after": "1", "retry-after-ms": "20"})
    answer = openai_client(openai_target, retries=4).chat.completions.create(
        model=openai_target.faulty("openai", "retry"), messages=MESSAGES
    )
    assert answer.choices[0].message.content == "You said: one two three"
    assert [seen.status for seen in openai_target.vendor.work] == [429, 200]


def test_anthropics_sdk_tries_again_when_it_is_told_to(anthropic_target: Target) -> None:
    anthropic_target.vendor.next(status=429, headers={"retry-after": "1", "retry-after-ms": "20"})
    answer: Any = anthropic_client(anthropic_target, retries=4).messages.create(
        model=anthropic_target.faulty("anthropic", "retry"), max_tokens=100, messages=MESSAGES
    )
    assert answer.content[0].text == "You said: one two three"
    assert [seen.status for seen in anthropic_target.vendor.work] == [429, 200]


@pytest.mark.parametrize(("fault", "openai_target"), [("error_after", way) for way in ("direct", "genway", "across")]
                         + [("cut_after", "genway"), ("cut_after", "across")], indirect=["openai_target"])  # fmt: skip
def test_a_stream_that_breaks_raises_in_openais_sdk(openai_target: Target, fault: str) -> None:
    openai_target.vendor.next(**{fault: 5})
    model = openai_target.faulty("openai", fault.partition("_")[0])
    stream = openai_client(openai_target).chat.completions.create(model=model, messages=MESSAGES, stream=True)
    said: list[str] = []
    with pytest.raises(openai.APIError) as raised:
        said.extend(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "You said: one two three".startswith("".join(said))
    assert "".join(said)
    assert raised.value.message


@pytest.mark.parametrize(("fault", "anthropic_target"), [("error_after", way) for way in ("direct", "genway", "across")]
                         + [("cut_after", "genway"), ("cut_after", "across")], indirect=["anthropic_target"])  # fmt: skip
def test_a_stream_that_breaks_raises_in_anthropics_sdk(anthropic_target: Target, fault: str) -> None:
    anthropic_target.vendor.next(**{fault: 5})
    model = anthropic_target.faulty("anthropic", fault.partition("_")[0])
    said: list[str] = []
    with (
        anthropic_client(anthropic_target).messages.stream(model=model, max_tokens=100, messages=MESSAGES) as stream,
        pytest.raises(anthropic.APIStatusError) as raised,
    ):
        said.extend(stream.text_stream)
    assert "You said: one two three".startswith("".join(said))
    assert "".join(said)
    assert raised.value.message


@pytest.mark.parametrize("openai_target", SAME, indirect=True)
def test_a_stream_cut_anywhere_in_its_bytes_is_put_together_again(openai_target: Target) -> None:
    client = openai_client(openai_target)
    openai_target.vendor.next(chunk=3)
    stream = client.chat.completions.create(
        model=openai_target.model, messages=[{"role": "user", "content": "äöü 🌍 三"}], stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "You said: äöü 🌍 三"
