from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion

from genway.relay.translate import chat_to_messages, json_tool

USAGE = {
    "input_tokens": 100,
    "cache_read_input_tokens": 900,
    "cache_creation_input_tokens": 50,
    "output_tokens": 20,
    "output_tokens_details": {"thinking_tokens": 7},
}


def answered(content: list[dict[str, Any]], stop_reason: str | None = "end_turn", **more: Any) -> dict[str, Any]:
    """The answer in chat completions, which fits OpenAI's types."""
    given = {"id": "msg_01", "type": "message", "role": "assistant", "model": "claude", "content": content}
    body = json.dumps(given | {"stop_reason": stop_reason, "usage": USAGE} | more).encode()
    made: dict[str, Any] = json.loads(chat_to_messages.answer(body, model="asked", created=1760000000))
    ChatCompletion.model_validate(made)
    return made


def message(content: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = answered(content, **more)["choices"][0]["message"]
    return found


def test_a_text_is_a_text() -> None:
    assert answered([{"type": "text", "text": "Hello "}, {"type": "text", "text": "you"}]) == {
        "id": "chatcmpl-01",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "asked",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello you", "refusal": None, "annotations": []},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": 1050,
            "completion_tokens": 20,
            "total_tokens": 1070,
            "prompt_tokens_details": {"cached_tokens": 900, "cache_write_tokens": 50},
            "completion_tokens_details": {"reasoning_tokens": 7},
        },
    }


def test_text_and_every_call_are_kept() -> None:
    made = answered(
        [
            {"type": "text", "text": "Looking."},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Oslo"}},
            {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
        ],
        "tool_use",
    )
    choice = made["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "Looking."
    assert choice["message"]["tool_calls"] == [
        {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}},
        {"id": "toolu_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ]


def test_without_text_the_content_is_null() -> None:
    assert message([{"type": "tool_use", "id": "t", "name": "now", "input": {}}])["content"] is None
    assert message([])["content"] is None


def test_thinking_is_told_and_comes_with_its_signature() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "sig"}
    sealed = {"type": "redacted_thinking", "data": "xyz"}
    made = message([thought, sealed, {"type": "text", "text": "yes"}])
    assert made["reasoning_content"] == "hm"
    assert made["thinking_blocks"] == [thought, sealed]


def test_citations_of_the_web_are_annotations_of_their_text() -> None:
    cited = {"type": "web_search_result_location", "url": "https://a.example", "title": "A", "encrypted_index": "x"}
    other = {"type": "char_location", "cited_text": "x", "document_index": 0}
    made = message(
        [
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
            {"type": "text", "text": "Well, "},
            {"type": "text", "text": "sun.", "citations": [cited, other]},
        ]
    )
    assert made["content"] == "Well, sun."
    assert made["annotations"] == [
        {"type": "url_citation", "url_citation": {"start_index": 6, "end_index": 10, "title": "A", "url": "https://a.example"}}
    ]
    assert "tool_calls" not in made


@pytest.mark.parametrize(("stop_reason", "finish"), [("max_tokens", "length"), ("refusal", "content_filter"), (None, "stop")])
def test_the_reason_is_told(stop_reason: str | None, finish: str) -> None:
    assert answered([], stop_reason)["choices"][0]["finish_reason"] == finish


def test_a_refusals_explanation_is_the_refusal() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "That would harm."}
    assert message([], stop_reason="refusal", stop_details=details)["refusal"] == "That would harm."


def test_an_answer_given_by_the_tool_for_json_is_a_text() -> None:
    made = answered([{"type": "tool_use", "id": "t", "name": json_tool.NAME, "input": {"city": "Oslo"}}], "tool_use")
    assert made["choices"][0]["message"]["content"] == '{"city":"Oslo"}'
    assert made["choices"][0]["finish_reason"] == "stop"


def test_a_rewritten_id_is_turned_back() -> None:
    used = {"type": "tool_use", "id": "wrapped_ZnVuY3Rpb25zLndlYXRoZXI6MA", "name": "weather", "input": {}}
    assert message([used])["tool_calls"][0]["id"] == "functions.weather:0"


def test_what_is_no_message_is_an_error_of_decoding() -> None:
    with pytest.raises(msgspec.DecodeError):
        chat_to_messages.answer(b"<html>", model="m")


def test_an_answer_without_usage_or_id_is_whole() -> None:
    made = json.loads(chat_to_messages.answer(b'{"content":[]}', model="m"))
    ChatCompletion.model_validate(made)
    assert made["usage"]["total_tokens"] == 0
    assert made["created"] > 1_700_000_000


def test_an_error_that_calls_itself_an_answer_is_none() -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Too much"}}'
    with pytest.raises(msgspec.DecodeError, match="Too much"):
        chat_to_messages.answer(body, model="m")


def test_counts_written_as_text_are_counts() -> None:
    made = json.loads(chat_to_messages.answer(b'{"content":[],"usage":{"input_tokens":"3","output_tokens":4.0}}', model="m"))
    assert (made["usage"]["prompt_tokens"], made["usage"]["completion_tokens"]) == (3, 4)
