"""The stand-in for Anthropic itself: what it refuses, so that others may trust what it takes."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from standins.anthropic_bodies import signature
from standins.anthropic_vendor import KEY, AnthropicVendor
from standins.openai_media import png

HEADERS = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
HELLO: dict[str, Any] = {"role": "user", "content": "hello"}
BODY: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 2000, "messages": [HELLO]}
TOOL: dict[str, Any] = {"name": "f", "input_schema": {"type": "object"}}
USE: dict[str, Any] = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
TEXT: dict[str, Any] = {"type": "text", "text": "x"}
MARKED: dict[str, Any] = TEXT | {"cache_control": {"type": "ephemeral"}}
THINKING: dict[str, Any] = {"type": "enabled", "budget_tokens": 1024}
PICTURE = base64.b64encode(png()).decode()


@pytest.fixture
async def vendor() -> AsyncIterator[AnthropicVendor]:
    async with AnthropicVendor() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        yield session


def talk(*contents: Any) -> list[dict[str, Any]]:
    """Messages of user and assistant in turn."""
    roles = ("user", "assistant")
    return [{"role": roles[number % 2], "content": content} for number, content in enumerate(contents)]


def image(**source: Any) -> list[dict[str, Any]]:
    return talk([{"type": "image", "source": source}])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nonsense": 1}, "nonsense: Extra inputs are not permitted"),
        ({"messages": [HELLO | {"name": "me"}]}, "messages.0.name: Extra inputs are not permitted"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 1_000_000}, "maximum output tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "hello"}]}, "first message"),
        ({"messages": talk("")}, "non-empty"),
        ({"messages": talk([TEXT | {"text": "  "}])}, "non-whitespace"),
        ({"messages": talk("x", "x ")}, "trailing whitespace"),
        ({"messages": talk("x", "x"), "model": "claude-sonnet-5-5"}, "prefill"),
        ({"messages": talk("x", [USE], "x")}, "without `tool_result` blocks immediately after: toolu_1"),
        ({"messages": talk("x", [USE, USE | {"id": "toolu_2"}], [RESULT])}, "toolu_2"),
        ({"messages": talk("x", [USE], [TEXT, RESULT])}, "before any other content"),
        ({"messages": talk([RESULT])}, "unexpected `tool_use_id`"),
        ({"messages": talk("x", [USE | {"id": "call.1"}], [RESULT | {"tool_use_id": "call.1"}])}, "id"),
        ({"messages": talk("x", [USE | {"input": "{}"}], [RESULT])}, "input"),
        ({"messages": talk([USE])}, "not permitted in user messages"),
        ({"messages": image(type="base64", media_type="image/png", data=f"data:image/png;base64,{PICTURE}")}, "base64"),
        ({"messages": image(type="base64", media_type="image/jpeg", data=PICTURE)}, "image/jpeg"),
        ({"messages": image(type="base64", media_type="image/bmp", data=PICTURE)}, "image/bmp"),
        ({"messages": image(type="base64", media_type="application/pdf", data="JVBERi0=")}, "application/pdf"),
        ({"messages": image(type="url", url="data:image/png;base64,xx")}, "url"),
        ({"messages": talk([MARKED] * 5)}, "A maximum of 4"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools.0"),
        ({"tools": [{"name": "f"}]}, "tools.0.input_schema: Field required"),
        ({"tools": [{"name": "f", "input_schema": {}}]}, "Input should be 'object'"),
        ({"tools": [TOOL, TOOL]}, "unique"),
        ({"tool_choice": {"type": "auto"}}, "while providing tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "'g' not found"),
        ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice"),
        ({"temperature": 1.5}, "temperature"),
        ({"temperature": 0.5, "top_p": 0.5}, "cannot both be specified"),
        ({"temperature": 0.5, "model": "claude-sonnet-5-5"}, "deprecated for this model"),
        ({"thinking": {"type": "adaptive"}}, "adaptive thinking is not supported"),
        ({"thinking": THINKING, "model": "claude-sonnet-5-5"}, '"thinking.type.enabled" is not supported'),
        ({"thinking": THINKING, "max_tokens": 1024}, "greater than `thinking.budget_tokens`"),
        ({"thinking": THINKING, "temperature": 0.5}, "only be set to 1"),
        ({"thinking": THINKING, "tools": [TOOL], "tool_choice": {"type": "any"}}, "forces tool use"),
        ({"thinking": THINKING, "tools": [TOOL], "messages": talk("x", [USE], [RESULT])}, "must start with a thinking block"),
        ({"messages": talk("x", [{"type": "thinking", "thinking": "x", "signature": "s"}, TEXT], "x")}, "Invalid `signature`"),
        ({"stop": ["x"]}, "stop: Extra inputs"),
        ({"stream_options": {"include_usage": True}}, "stream_options: Extra inputs"),
        ({"metadata": {"user_id": "x", "other": "y"}}, "metadata.other"),
    ],
)
async def test_messages_are_strict(
    changes: dict[str, Any], said: str, vendor: AnthropicVendor, http: aiohttp.ClientSession
) -> None:
    async with http.post(f"{vendor.url}/v1/messages", json=BODY | changes) as response:
        answer = await response.json()
    assert (response.status, answer["type"], answer["error"]["type"]) == (400, "error", "invalid_request_error")
    assert said in answer["error"]["message"]


async def test_max_tokens_must_be_there(vendor: AnthropicVendor, http: aiohttp.ClientSession) -> None:
    body = {"model": "claude-haiku-4-5", "messages": [HELLO]}
    async with http.post(f"{vendor.url}/v1/messages", json=body) as response:
        assert (await response.json())["error"]["message"] == "max_tokens: Field required"
    async with http.post(f"{vendor.url}/v1/messages/count_tokens", json=body) as response:
        assert await response.json() == {"input_tokens": 5}


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k"])
async def test_the_newest_version_takes_no_sampling(name: str, vendor: AnthropicVendor, http: aiohttp.ClientSession) -> None:
    headers = {"anthropic-version": "2026-10-21"}
    async with http.post(f"{vendor.url}/v1/messages", json=BODY | {name: 1}, headers=headers) as response:
        assert (await response.json())["error"]["message"] == f"{name}: Extra inputs are not permitted"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-api-key": "sk-wrong"}, 401),
        ({"x-api-key": "sk-wrong", "Authorization": f"Bearer {KEY}"}, 401),
        ({"Authorization": f"Bearer {KEY}"}, 400),
        ({"x-api-key": KEY, "anthropic-version": "2020-01-01"}, 400),
        ({"x-api-key": KEY, "anthropic-version": "2023-06-01", "anthropic-beta": "nonsense-2020"}, 400),
        ({"Authorization": f"Bearer {KEY}", "anthropic-version": "2023-06-01"}, 200),
    ],
)
async def test_key_version_and_betas_are_looked_at(headers: dict[str, str], status: int, vendor: AnthropicVendor) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{vendor.url}/v1/messages", json=BODY, headers=headers) as response,
    ):
        assert response.status == status
        assert response.headers["request-id"]


async def test_thoughts_with_their_own_signature_are_taken_back(vendor: AnthropicVendor, http: aiohttp.ClientSession) -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": signature("hm")}
    body = BODY | {"thinking": THINKING, "tools": [TOOL], "messages": talk("x", [thought, USE], [RESULT])}
    async with http.post(f"{vendor.url}/v1/messages", json=body) as response:
        answer = await response.json()
    assert [block["type"] for block in answer["content"]] == ["thinking", "text"]
    assert answer["content"][1]["text"] == "The tools answered: x"


async def test_turns_of_one_role_are_one(vendor: AnthropicVendor, http: aiohttp.ClientSession) -> None:
    messages = [HELLO, {"role": "user", "content": "again"}]
    async with http.post(f"{vendor.url}/v1/messages", json=BODY | {"messages": messages}) as response:
        assert (await response.json())["content"][0]["text"] == "You said: hello\nagain"


async def test_a_stream_can_fail_in_its_middle(vendor: AnthropicVendor, http: aiohttp.ClientSession) -> None:
    vendor.next(error_after=3)
    async with http.post(f"{vendor.url}/v1/messages", json=BODY | {"stream": True}) as response:
        events = (await response.text()).strip().split("\n\n")
    assert [event.partition("\n")[0] for event in events] == [
        "event: message_start",
        "event: ping",
        "event: content_block_start",
        "event: error",
    ]


async def test_a_thread_that_is_not_known_is_told_of_to_programs(vendor: AnthropicVendor, http: aiohttp.ClientSession) -> None:
    body = BODY | {"thread": {"type": "continue", "previous_message_id": "msg_9"}}
    async with http.post(f"{vendor.url}/v1/messages", json=body) as response:
        assert response.status == 400, "without the beta there is no such field"
    headers = {"anthropic-beta": "message-threads-2026-08-12"}
    async with http.post(f"{vendor.url}/v1/messages", json=body, headers=headers) as response:
        assert (response.status, (await response.json())["error"]["details"]) == (404, {"error_code": "thread_not_found"})
