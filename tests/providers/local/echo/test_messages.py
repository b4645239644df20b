"""Messages, as Anthropic's SDK reads them."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from genway.errors import InvalidRequest
from providers.local.echo.asking import WEATHER, anthropic_sdk, ask, streamed, told, user

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
TOOLS: list[Any] = [
    {"name": "get_weather", "input_schema": WEATHER},
    {"name": "get_time", "input_schema": {"type": "object"}},
    {"type": "web_search_20260318", "name": "web_search"},
]


def message(**body: Any) -> Message:
    return Message.model_validate(told("messages", **{"model": "m", "max_tokens": 100, **body}))


def texts(found: Message) -> list[str]:
    return [block.text for block in found.content if block.type == "text"]


def test_the_last_user_message_comes_back() -> None:
    found = message(
        messages=[*user("first"), {"role": "assistant", "content": "ok"}, *user("What is a cat?")], system="Be kind."
    )
    assert texts(found) == ["What is a cat?"]
    assert (found.model, found.stop_reason, found.stop_sequence) == ("local-echo", "end_turn", None)
    assert (found.usage.input_tokens, found.usage.output_tokens) == (2 + 1 + 1 + 4, 4)


@pytest.mark.parametrize(
    "body",
    [
        {"messages": user("hello there")},
        {"messages": user("猫🙂")},
        {"messages": user("hello"), "thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"messages": user("hello"), "thinking": {"type": "adaptive", "display": "omitted"}},
        {"messages": user("genway:reasoning genway:tools=get_weather,get_time"), "tools": TOOLS},
        {"messages": user("one two three"), "max_tokens": 2},
        {"messages": user("one two three"), "stop_sequences": ["two"]},
        {"messages": user("genway:fail=moderation")},
    ],
)
def test_the_official_accumulation_of_the_stream_is_the_whole_answer(body: dict[str, Any]) -> None:
    for name, data in streamed("messages", **{"model": "m", "max_tokens": 100, **body}):
        assert name == data["type"]
        if name != "ping":
            EVENT.validate_python(data)
    with anthropic_sdk().messages.stream(**{"model": "m", "max_tokens": 100, **body}) as stream:
        final = stream.get_final_message()
    unparsed = final.model_dump(exclude={"content": {"__all__": {"parsed_output"}}, "parsed_output": True})
    whole = message(**body).model_dump()
    for part in ("id", "model", "role", "stop_reason", "stop_sequence", "stop_details", "usage"):
        assert unparsed[part] == whole[part], part
    assert unparsed["content"] == whole["content"]


def test_thinking_comes_signed_before_the_text() -> None:
    found = message(messages=user("why"), thinking={"type": "adaptive"})
    thinking, text = found.content
    assert thinking.type == "thinking"
    assert thinking.thinking == "The user said: why"
    assert thinking.signature
    assert text.type == "text"
    assert found.usage.output_tokens == 4 + 1


@pytest.mark.parametrize(
    ("choice", "calls"),
    [
        ({"type": "any"}, [("get_weather", {"city": "city", "days": 2})]),
        ({"type": "tool", "name": "get_time"}, [("get_time", {})]),
        ({"type": "none"}, []),
        ({"type": "auto"}, []),
    ],
)
def test_the_choice_says_whether_a_tool_is_called(choice: Any, calls: list[Any]) -> None:
    found = message(messages=user("hello"), tools=TOOLS, tool_choice=choice)
    assert [(block.name, block.input) for block in found.content if block.type == "tool_use"] == calls
    assert found.stop_reason == ("tool_use" if calls else "end_turn")


def test_side_by_side_calls_can_be_forbidden() -> None:
    body = {"messages": user("genway:tools=get_weather,get_time"), "tools": TOOLS}
    assert len(message(**body).content) == 2
    assert len(message(**body, tool_choice={"type": "auto", "disable_parallel_tool_use": True}).content) == 1


def results(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        *user("genway:tool=get_weather"),
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "Rain"}, *blocks]},
    ]


def test_a_result_is_repeated_and_words_after_it_can_call_again() -> None:
    reminder = {"type": "text", "text": "Be careful."}
    assert texts(message(messages=results(), tools=TOOLS)) == ["Rain"]
    assert texts(message(messages=results(reminder), tools=TOOLS, tool_choice={"type": "any"})) == ["Rain"]
    again = message(messages=results({"type": "text", "text": "genway:tool=get_time"}), tools=TOOLS)
    assert [block.type for block in again.content] == ["tool_use"]


def test_json_satisfies_the_schema() -> None:
    found = message(messages=user("x"), output_config={"format": {"type": "json_schema", "schema": WEATHER}})
    assert json.loads(texts(found)[0]) == {"city": "city", "days": 2}


def test_nothing_is_said_where_no_token_is_allowed() -> None:
    found = message(messages=user("hello"), max_tokens=0)
    assert (found.content, found.stop_reason, found.usage.output_tokens) == ([], "max_tokens", 0)


def test_counting_counts_what_an_answer_charges() -> None:
    body: dict[str, Any] = {
        "model": "m",
        "messages": results({"type": "image", "source": {}}),
        "system": [{"type": "text", "text": "a b"}],
    }
    counted = anthropic_sdk().messages.count_tokens(**body)
    assert counted.input_tokens == message(**body).usage.input_tokens == 2 + 1 + (1 + 1) + 1 + 256


def test_a_refusal_is_an_answer() -> None:
    found = message(messages=user("genway:fail=moderation"))
    assert (found.content, found.stop_reason) == ([], "refusal")
    assert found.stop_details is not None


def test_a_broken_stream_raises_in_the_sdk() -> None:
    broken = user("genway:fail_after=5 one two three")
    with (
        pytest.raises(anthropic.APIStatusError, match="Overloaded") as caught,
        anthropic_sdk().messages.stream(
            model="m",
            max_tokens=100,
            messages=broken,  # type: ignore[arg-type]
        ) as stream,
    ):
        stream.until_done()
    assert caught.value.body is not None
    assert len(streamed("messages", model="m", max_tokens=100, messages=broken)) == 6


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": user("x")}, "max_tokens"),
        ({"max_tokens": 5}, "messages"),
        ({"max_tokens": 5, "messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"max_tokens": 5, "messages": user("x"), "tool_choice": {"type": "must"}}, "tool_choice.type"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask("messages", **body)
    assert caught.value.field == field
