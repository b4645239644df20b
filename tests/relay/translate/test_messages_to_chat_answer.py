from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from anthropic.types import Message

from genway.relay.translate import messages_to_chat

USAGE = {
    "prompt_tokens": 1050,
    "completion_tokens": 20,
    "total_tokens": 1070,
    "prompt_tokens_details": {"cached_tokens": 900, "cache_write_tokens": 50},
    "completion_tokens_details": {"reasoning_tokens": 7},
}


def answered(message: dict[str, Any], finish_reason: str | None = "stop") -> dict[str, Any]:
    """The answer in messages, which fits Anthropic's types."""
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": finish_reason}
    body = json.dumps({"id": "chatcmpl-01", "model": "gpt", "choices": [choice], "usage": USAGE}).encode()
    made: dict[str, Any] = json.loads(messages_to_chat.answer(body, model="asked"))
    Message.model_validate(made)
    return made


def call(arguments: object, identity: str | None = "call_1") -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": "weather", "arguments": arguments}}


def test_a_text_is_a_text() -> None:
    assert answered({"content": "Hello you"}) == {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "asked",
        "content": [{"type": "text", "text": "Hello you", "citations": None}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": 100,
            "cache_creation_input_tokens": 50,
            "cache_read_input_tokens": 900,
            "output_tokens": 20,
            "output_tokens_details": {"thinking_tokens": 7},
        },
    }


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking_text_and_calls_stand_in_that_order(name: str) -> None:
    calls = [call('{"city": "Oslo"}'), call("", "functions.now:1")]
    made = answered({name: "hm", "content": "Looking.", "tool_calls": calls}, "tool_calls")
    assert [block["type"] for block in made["content"]] == ["thinking", "text", "tool_use", "tool_use"]
    assert made["content"][2] == {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Oslo"}}
    assert made["content"][3]["input"] == {}
    assert made["content"][3]["id"].startswith("wrapped_")
    assert made["stop_reason"] == "tool_use"


def test_a_call_is_the_reason_even_if_the_upstream_says_stop() -> None:
    assert answered({"content": None, "tool_calls": [call("{}")]}, "stop")["stop_reason"] == "tool_use"


def test_arguments_that_are_no_object_are_wrapped_and_objects_are_taken() -> None:
    made = answered({"tool_calls": [call('{"city'), call({"city": "Oslo"})]})
    assert [block["input"] for block in made["content"]] == [{"arguments": '{"city'}, {"city": "Oslo"}]


def test_a_missing_id_is_invented() -> None:
    assert answered({"tool_calls": [call("{}", None)]})["content"][0]["id"].startswith("toolu_")


def test_the_deprecated_function_call_is_a_call() -> None:
    made = answered({"content": None, "function_call": {"name": "weather", "arguments": "{}"}}, "function_call")
    assert made["content"][0]["name"] == "weather"
    assert made["stop_reason"] == "tool_use"


def test_a_refusal_is_said_and_is_the_reason() -> None:
    made = answered({"content": None, "refusal": "No."})
    assert made["content"][0]["text"] == "No."
    assert made["stop_reason"] == "refusal"
    assert made["stop_details"] == {"type": "refusal", "category": None, "explanation": "No."}


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason"), [("length", "max_tokens"), ("content_filter", "refusal"), (None, "end_turn")]
)
def test_the_reason_is_told(finish_reason: str | None, stop_reason: str) -> None:
    assert answered({"content": ""}, finish_reason)["stop_reason"] == stop_reason


def test_an_empty_content_is_no_block() -> None:
    assert answered({"content": ""})["content"] == []


def test_a_content_in_parts_is_one_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "thinking"}, {"type": "text", "text": "b"}]
    assert answered({"content": parts})["content"][0]["text"] == "ab"


def test_thinking_within_the_content_is_thinking() -> None:
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]}
    made = answered({"content": [thought, {"type": "text", "text": "Sun."}]})["content"]
    assert [(block["type"], block.get("thinking") or block.get("text")) for block in made] == [
        ("thinking", "hm"),
        ("text", "Sun."),
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error":{"message":"Provider returned error","code":502}}', "Provider returned error"),
        (b'{"error":"overloaded","choices":[]}', "overloaded"),
        (b'{"choices":null}', "nothing in it"),
    ],
)
def test_an_error_that_calls_itself_an_answer_is_none(body: bytes, words: str) -> None:
    with pytest.raises(msgspec.DecodeError, match=words):
        messages_to_chat.answer(body, model="m")


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"finish_reason": "insufficient_system_resource"}, "before it was whole: insufficient_system_resource"),
        ({"finish_reason": "error", "error": {"code": 502, "message": "The provider is gone"}}, "The provider is gone"),
    ],
)
def test_an_answer_that_is_not_whole_by_its_own_word_is_none(choice: dict[str, Any], words: str) -> None:
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Half an ans"}} | choice]}
    with pytest.raises(msgspec.DecodeError, match=words):
        messages_to_chat.answer(json.dumps(body).encode(), model="m")


def test_what_is_no_completion_is_an_error_of_decoding() -> None:
    with pytest.raises(msgspec.DecodeError):
        messages_to_chat.answer(b"<html>", model="m")


def test_half_a_character_is_replaced() -> None:
    assert answered({"content": "a\ud83d"})["content"][0]["text"] == "a\ufffd"
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":"\\ud83d"}'}}
    assert answered({"tool_calls": [call]}, "tool_calls")["content"][0]["input"] == {"a": "\ufffd"}
