"""The stand-in for OpenAI itself: what it refuses, and that what other tests order from it really happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from standins.openai_vendor import KEY, OpenAIVendor

HEADERS = {"Authorization": f"Bearer {KEY}"}
HELLO: dict[str, Any] = {"role": "user", "content": "one two three"}
CHAT: dict[str, Any] = {"model": "gpt-4.1", "messages": [HELLO]}
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CALLED: dict[str, Any] = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}


@pytest.fixture
async def vendor() -> AsyncIterator[OpenAIVendor]:
    async with OpenAIVendor() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        yield session


def strict(**more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}} | more
    return {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"nonsense": 1}, "unknown_parameter", "nonsense"),
        ({"messages": [HELLO | {"nonsense": 1}]}, "unknown_parameter", "messages[0].nonsense"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": [{"role": "tool", "tool_call_id": "call_9", "content": "x"}]}, "invalid_value", "preceding message"),
        ({"messages": [HELLO, CALLED, HELLO]}, "invalid_value", "call_1"),
        ({"messages": [HELLO, {"role": "assistant", "content": None}]}, "invalid_value", "content"),
        ({"messages": [HELLO, {"role": "tool", "content": "x"}]}, "missing_required_parameter", "tool_call_id"),
        ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
        ({"temperature": 2.5}, "invalid_value", "temperature"),
        ({"top_logprobs": 2}, "invalid_value", "logprobs"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "invalid_value", "stop"),
        ({"tool_choice": "auto"}, "invalid_value", "tool_choice"),
        ({"parallel_tool_calls": True}, "invalid_value", "parallel_tool_calls"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "invalid_value", "'g'"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "invalid_value", "name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "input_schema": {}}}]}, "unknown_parameter", "input_schema"),
        ({"response_format": {"type": "json_object"}}, "invalid_value", "json"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "missing_required_parameter", "name"),
        ({"response_format": strict()}, "invalid_value", "additionalProperties"),
        ({"response_format": strict(additionalProperties=False)}, "invalid_value", "required"),
        ({"reasoning_effort": "low"}, "unsupported_parameter", "reasoning_effort"),
        ({"model": "gpt-6-sol", "max_tokens": 9}, "unsupported_parameter", "max_completion_tokens"),
        ({"model": "gpt-6-sol", "temperature": 0.5}, "unsupported_value", "temperature"),
        ({"model": "gpt-6-sol", "stop": "x"}, "unsupported_parameter", "stop"),
        ({"safety_identifier": "x" * 129}, "invalid_value", "safety_identifier"),
        ({"model": "gpt-of-nobody"}, "model_not_found", "gpt-of-nobody"),
    ],
)
async def test_chat_is_strict(
    changes: dict[str, Any], code: str, said: str, vendor: OpenAIVendor, http: aiohttp.ClientSession
) -> None:
    async with http.post(f"{vendor.url}/v1/chat/completions", json=CHAT | changes) as response:
        assert response.status == (404 if code == "model_not_found" else 400)
        error = (await response.json())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert said in error["message"]


@pytest.mark.parametrize(
    "url", ["data:image/png;base64,aGVsbG8=", "data:image/png;base64,%%%", "data:image/bmp;base64,aGk=", "x"]
)
async def test_pictures_must_be_readable(url: str, vendor: OpenAIVendor, http: aiohttp.ClientSession) -> None:
    content = [{"type": "image_url", "image_url": {"url": url}}]
    body = {"model": "gpt-4.1", "messages": [{"role": "user", "content": content}]}
    async with http.post(f"{vendor.url}/v1/chat/completions", json=body) as response:
        assert (await response.json())["error"]["code"] == "invalid_image_url"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("responses", {"model": "gpt-4.1", "input": "x", "messages": []}, "messages"),
        ("responses", {"model": "gpt-4.1", "input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "c"),
        ("responses", {"model": "gpt-4.1", "input": "x", "previous_response_id": "resp_9"}, "resp_9"),
        ("responses", {"model": "gpt-4.1", "input": "x", "tools": [TOOL]}, "function"),
        ("completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "x", "messages": []}, "messages"),
        ("completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "x", "n": 2, "best_of": 1}, "choices"),
        ("embeddings", {"model": "text-embedding-3-small", "input": ""}, "input"),
        ("embeddings", {"model": "text-embedding-3-small", "input": "x", "encoding_format": "hex"}, "encoding_format"),
        ("moderations", {"inputs": "x"}, "inputs"),
        ("images/generations", {"model": "gpt-image-2", "prompt": "x", "response_format": "url"}, "response_format"),
        ("images/generations", {"model": "gpt-image-2", "prompt": "x", "size": "1000x1000"}, "divisible by 16"),
        ("audio/speech", {"model": "gpt-4o-mini-tts", "voice": "alloy"}, "input"),
        ("audio/transcriptions", {"model": "whisper-1"}, "file"),
        ("rerank", {"model": "rerank-1", "query": "x", "documents": []}, "documents"),
        ("batches", {"input_file_id": "x", "endpoint": "/v1/nothing", "completion_window": "24h"}, "endpoint"),
    ],
)
async def test_the_other_calls_are_strict(
    path: str, body: Any, said: str, vendor: OpenAIVendor, http: aiohttp.ClientSession
) -> None:
    async with http.post(f"{vendor.url}/v1/{path}", json=body) as response:
        assert response.status == 400
        assert said in (await response.json())["error"]["message"]


async def test_a_wrong_key_and_an_unknown_path_are_refused(vendor: OpenAIVendor, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{vendor.url}/v1/chat/completions", json=CHAT, headers={"Authorization": "Bearer sk-x"}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (401, "invalid_api_key")
    async with http.post(f"{vendor.url}/v1/v1/chat/completions", json=CHAT) as response:
        assert response.status == 404


async def test_a_request_is_kept_as_it_came(vendor: OpenAIVendor, http: aiohttp.ClientSession) -> None:
    raw = b'{"model": "gpt-4.1",\n "messages": [{"role":"user","content":"\xc3\xa4"}]}'
    headers = {"Content-Type": "application/json", "X-Own": "1"}
    async with http.post(f"{vendor.url}/v1/chat/completions?a=b", data=raw, headers=headers) as response:
        answer = await response.read()
    [seen] = vendor.requests
    assert (seen.method, seen.path, seen.query, seen.raw) == ("POST", "/v1/chat/completions", {"a": "b"}, raw)
    assert (seen.headers["X-Own"], seen.parsed["messages"][0]["content"]) == ("1", "ä")
    assert (seen.status, seen.answered, seen.disconnected) == (200, answer, False)


async def test_an_error_can_be_ordered_for_one_path(vendor: OpenAIVendor, http: aiohttp.ClientSession) -> None:
    vendor.next(status=429, headers={"retry-after": "3"}, path="/v1/chat/completions")
    async with http.post(f"{vendor.url}/v1/embeddings", json={"model": "text-embedding-3-small", "input": "x"}) as response:
        assert response.status == 200
    async with http.post(f"{vendor.url}/v1/chat/completions", json=CHAT) as response:
        assert (response.status, response.headers["retry-after"]) == (429, "3")
        assert (await response.json())["error"]["code"] == "rate_limit_exceeded"
    async with http.post(f"{vendor.url}/v1/chat/completions", json=CHAT) as response:
        assert response.status == 200


@pytest.mark.parametrize("raw", [b"data: {\xf0\x9f\x8c\x8d}\r\n\r\n: ping\n\ndata: [DONE]\n\n", b""])
async def test_a_raw_body_is_written_in_pieces(raw: bytes, vendor: OpenAIVendor, http: aiohttp.ClientSession) -> None:
    vendor.next(raw=raw, chunk=1)
    async with http.post(f"{vendor.url}/v1/chat/completions", json=CHAT) as response:
        assert response.content_type == "text/event-stream"
        pieces = [piece async for piece, _ in response.content.iter_chunks()]
    assert b"".join(pieces) == raw
    assert len([piece for piece in pieces if piece]) == len(raw)


async def test_a_stream_can_be_cut_and_can_fail(vendor: OpenAIVendor, http: aiohttp.ClientSession) -> None:
    body = CHAT | {"stream": True}
    vendor.next(cut_after=2)
    async with http.post(f"{vendor.url}/v1/chat/completions", json=body) as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    assert vendor.requests[0].events == 2
    vendor.next(cut_after=0)
    with pytest.raises(aiohttp.ClientError):
        await http.post(f"{vendor.url}/v1/chat/completions", json=CHAT)
    vendor.next(error_after=2)
    async with http.post(f"{vendor.url}/v1/chat/completions", json=body) as response:
        last = (await response.text()).rstrip().rpartition("\n\n")[2]
    assert last.startswith('data: {"error":')


async def test_a_whole_answer_can_be_cut_in_its_middle(vendor: OpenAIVendor, http: aiohttp.ClientSession) -> None:
    vendor.next(cut_after=1)
    async with http.post(f"{vendor.url}/v1/chat/completions", json=CHAT) as response:
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_a_client_that_leaves_is_noticed(vendor: OpenAIVendor, http: aiohttp.ClientSession) -> None:
    vendor.next(hold_after=2)
    async with http.post(f"{vendor.url}/v1/chat/completions", json=CHAT | {"stream": True}) as response:
        await response.content.readuntil(b"\n\n")
        response.close()
    await asyncio.to_thread(vendor.wait_until, lambda: vendor.requests[0].disconnected)
    assert vendor.requests[0].events == 2


async def test_a_held_stream_goes_on_when_it_is_released(vendor: OpenAIVendor, http: aiohttp.ClientSession) -> None:
    vendor.next(hold_after=2)
    async with http.post(f"{vendor.url}/v1/chat/completions", json=CHAT | {"stream": True}) as response:
        await response.content.readuntil(b"\n\n")
        vendor.release()
        assert (await response.text()).endswith("data: [DONE]\n\n")
    assert not vendor.requests[0].disconnected


async def test_what_the_model_says_can_be_ordered(vendor: OpenAIVendor, http: aiohttp.ClientSession) -> None:
    usage = {"prompt_tokens": 1050, "completion_tokens": 20, "total_tokens": 1070}
    vendor.next(text="hm", calls=(("f", {"a": 1}),), usage=usage, finish="content_filter")
    async with http.post(f"{vendor.url}/v1/chat/completions", json=CHAT | {"tools": [TOOL]}) as response:
        answer = await response.json()
    [choice] = answer["choices"]
    assert (choice["message"]["content"], choice["finish_reason"], answer["usage"]) == ("hm", "content_filter", usage)
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}


async def test_a_prompt_key_that_was_seen_before_is_cached(vendor: OpenAIVendor, http: aiohttp.ClientSession) -> None:
    found = []
    for _ in range(2):
        async with http.post(f"{vendor.url}/v1/chat/completions", json=CHAT | {"prompt_cache_key": "k"}) as response:
            found.append((await response.json())["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert found == [0, 3]
