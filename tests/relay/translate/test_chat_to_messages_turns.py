from __future__ import annotations

from typing import Any

import pytest

from genway.errors import InvalidRequest
from relay.translate.stage import PDF, PNG, to_messages

HI = {"role": "user", "content": "hi"}
EPHEMERAL = {"type": "ephemeral"}


def turns(*messages: dict[str, Any], model: str = "claude-sonnet-4-5") -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = to_messages({"messages": list(messages)}, model)["messages"]
    return made


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def call(identity: str, arguments: str = "{}", name: str = "weather") -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(identity: str, content: object = "sun") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identity, "content": content}


def test_instructions_are_gathered_from_everywhere_in_order() -> None:
    made = to_messages(
        {
            "messages": [
                {"role": "system", "content": "One."},
                HI,
                {"role": "developer", "content": [text("Two."), text("Three.")]},
                {"role": "assistant", "content": "hello"},
                {"role": "system", "content": "Four."},
                HI,
            ]
        }
    )
    assert made["system"] == "One.\nTwo.\nThree.\nFour."
    assert [turn["role"] for turn in made["messages"]] == ["user", "assistant", "user"]


def test_instructions_with_a_cache_hint_stay_blocks() -> None:
    made = to_messages(
        {
            "messages": [
                {"role": "system", "content": [text("Long.") | {"cache_control": EPHEMERAL}]},
                {"role": "system", "content": "Short.", "cache_control": EPHEMERAL},
                HI,
            ]
        }
    )
    assert made["system"] == [text("Long.") | {"cache_control": EPHEMERAL}, text("Short.") | {"cache_control": EPHEMERAL}]


def test_blank_texts_are_not_sent() -> None:
    assert turns(
        {"role": "user", "content": [text(""), text(" \n"), text("hi")]}, {"role": "assistant", "content": ""}, HI
    ) == [{"role": "user", "content": [text("hi"), text("hi")]}]


@pytest.mark.parametrize("only", [{"role": "system", "content": "Be brief."}, {"role": "user", "content": ""}])
def test_a_conversation_without_a_word_gets_a_turn(only: dict[str, Any]) -> None:
    assert turns(only) == [{"role": "user", "content": [text("...")]}]


def test_the_first_turn_is_the_users() -> None:
    assert turns({"role": "assistant", "content": "Welcome."}, HI)[0] == {"role": "user", "content": [text("...")]}


def test_pictures_and_files_become_blocks() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://a.example/1.png"}, "cache_control": EPHEMERAL},
        {"type": "image_url", "image_url": "https://a.example/2.png"},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"}},
    ]
    [turn] = turns({"role": "user", "content": parts})
    assert turn["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://a.example/1.png"}, "cache_control": EPHEMERAL},
        {"type": "image", "source": {"type": "url", "url": "https://a.example/2.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
            "title": "a.pdf",
        },
    ]


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}, "type"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "file.file_data"),
        ({"type": "image_url"}, "image_url"),
        ({"type": "image_url", "image_url": {"url": "ftp://x"}}, "image_url.url"),
        ({"type": "text"}, "text"),
        ({"type": "smell"}, "type"),
    ],
)
def test_a_part_that_cannot_cross_is_named(part: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        turns(HI, {"role": "user", "content": [text("see"), part]})
    assert refused.value.field == f"messages[1].content[1].{field}"


def test_instructions_are_text() -> None:
    with pytest.raises(InvalidRequest) as refused:
        turns({"role": "system", "content": [{"type": "image_url", "image_url": "https://a.example/1.png"}]}, HI)
    assert refused.value.field == "messages[0].content[0].type"


def test_parallel_results_in_any_order_are_one_turn_before_the_users_words() -> None:
    made = turns(
        HI,
        {"role": "assistant", "content": "Looking.", "tool_calls": [call("a", '{"city": "Oslo"}'), call("b", "")]},
        result("b", "rain"),
        result("a", "sun"),
        {"role": "user", "content": "And?"},
    )
    assert made[1:] == [
        {
            "role": "assistant",
            "content": [
                text("Looking."),
                {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": "Oslo"}},
                {"type": "tool_use", "id": "b", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "b", "content": "rain"},
                {"type": "tool_result", "tool_use_id": "a", "content": "sun"},
                text("And?"),
            ],
        },
    ]


def test_results_stand_before_words_that_came_in_between() -> None:
    made = turns(HI, {"role": "assistant", "tool_calls": [call("a")]}, {"role": "user", "content": "wait"}, result("a"))
    assert [block["type"] for block in made[2]["content"]] == ["tool_result", "text"]


def test_a_result_may_hold_pictures_or_nothing() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://a.example/1.png"}}
    made = turns(
        HI, {"role": "assistant", "tool_calls": [call("a"), call("b")]}, result("a", [text("x"), picture]), result("b", None)
    )
    first, second = made[2]["content"]
    assert [block["type"] for block in first["content"]] == ["text", "image"]
    assert second == {"type": "tool_result", "tool_use_id": "b"}


def test_broken_arguments_do_not_end_a_conversation() -> None:
    made = turns(
        HI, {"role": "assistant", "tool_calls": [call("a", '{"city": "Os'), call("b", "[1]")]}, result("a"), result("b")
    )
    assert [block["input"] for block in made[1]["content"]] == [{"arguments": '{"city": "Os'}, {"arguments": [1]}]


def test_foreign_ids_are_rewritten_alike_in_call_and_result() -> None:
    made = turns(HI, {"role": "assistant", "tool_calls": [call("functions.weather:0")]}, result("functions.weather:0"))
    assert made[1]["content"][0]["id"] == made[2]["content"][0]["tool_use_id"] == "wrapped_ZnVuY3Rpb25zLndlYXRoZXI6MA"


def test_the_deprecated_function_call_gets_an_id() -> None:
    made = turns(
        HI,
        {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
        {"role": "function", "name": "weather", "content": "sun"},
    )
    assert made[1]["content"][0]["id"] == made[2]["content"][0]["tool_use_id"] == "call_1"


def test_only_signed_thinking_is_sent_back_and_stands_first() -> None:
    signed = {"type": "thinking", "thinking": "hm", "signature": "s"}
    sealed = {"type": "redacted_thinking", "data": "x"}
    unsigned = {"type": "thinking", "thinking": "hm", "signature": ""}
    answer = {
        "role": "assistant",
        "content": "yes",
        "reasoning_content": "hm",
        "thinking_blocks": [signed, unsigned, sealed, {"type": "other"}],
    }
    assert turns(HI, answer, HI)[1]["content"] == [signed, sealed, text("yes")]


def test_a_refusal_is_what_was_said() -> None:
    assert turns(HI, {"role": "assistant", "content": None, "refusal": "No."}, HI)[1]["content"] == [text("No.")]
    parts = [{"type": "refusal", "refusal": "No."}]
    assert turns(HI, {"role": "assistant", "content": parts}, HI)[1]["content"] == [text("No.")]


def test_a_prefill_ends_without_white_space_where_it_is_taken() -> None:
    assert turns(HI, {"role": "assistant", "content": "The answer is "})[1]["content"] == [text("The answer is")]


def test_a_prefill_is_refused_where_the_model_does_not_take_one() -> None:
    with pytest.raises(InvalidRequest) as refused:
        turns(HI, {"role": "assistant", "content": "The answer is"}, model="claude-opus-4-8")
    assert refused.value.field == "messages[1]"


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "narrator", "content": "x"}, "messages[1].role"),
        ({"role": "tool", "content": "x"}, "messages[1].tool_call_id"),
        ({"role": "assistant", "tool_calls": [{"id": "a", "type": "function"}]}, "messages[1].tool_calls[0].function.name"),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "x"}}]}, "messages[1].tool_calls[0].id"),
        ({"role": "assistant", "tool_calls": [{"id": "a", "type": "custom"}]}, "messages[1].tool_calls[0].type"),
    ],
)
def test_a_message_that_makes_no_sense_is_named(message: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        turns(HI, message)
    assert refused.value.field == field


def test_a_messages_own_cache_hint_goes_to_its_last_block() -> None:
    [turn] = turns({"role": "user", "content": [text("a"), text("b")], "cache_control": EPHEMERAL})
    assert turn["content"] == [text("a"), text("b") | {"cache_control": EPHEMERAL}]
    made = turns(HI, {"role": "assistant", "tool_calls": [call("a")]}, result("a") | {"cache_control": EPHEMERAL})
    assert made[2]["content"][0]["cache_control"] == EPHEMERAL


def test_thinking_as_it_left_in_a_stream_comes_back_without_its_number() -> None:
    thought = {"index": 0, "type": "thinking", "thinking": "hm", "signature": "sig"}
    sealed = {"index": 1, "type": "redacted_thinking", "data": "xyz"}
    answer = {"role": "assistant", "content": "Yes.", "thinking_blocks": [thought, sealed]}
    body = {"messages": [{"role": "user", "content": "hi"}, answer, {"role": "user", "content": "why?"}]}
    assert to_messages(body)["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Yes."},
    ]
