"""Responses, as OpenAI's SDK reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from genway.errors import InvalidRequest
from genway.providers.local import echo
from providers.local.echo.asking import WEATHER, ask, event, openai_sdk, streamed, told

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
TOOLS = [
    {"type": "function", "name": "get_weather", "parameters": WEATHER},
    {"type": "function", "name": "get_time"},
    {"type": "custom", "name": "write"},
    {"type": "web_search"},
]


def response(**body: Any) -> Response:
    return Response.model_validate(told("responses", model="m", **body))


def events(**body: Any) -> list[Any]:
    """Every event, checked against its official type, named rightly and numbered."""
    found = streamed("responses", model="m", **body)
    assert [name for name, _ in found] == [data["type"] for _, data in found]
    assert [data["sequence_number"] for _, data in found] == list(range(len(found)))
    return [EVENT.validate_python(data) for _, data in found]


def test_the_input_comes_back() -> None:
    found = response(input="What is a cat?", instructions="Be kind.", metadata={"a": "b"}, previous_response_id="resp_0")
    assert found.output_text == "What is a cat?"
    assert (found.model, found.status, found.instructions, found.metadata) == (
        "local-echo",
        "completed",
        "Be kind.",
        {"a": "b"},
    )
    assert found.previous_response_id == "resp_0"
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.total_tokens) == (6, 4, 10)


def test_the_last_user_item_is_the_one_that_comes_back() -> None:
    items = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "first"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "first"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"role": "user", "content": [{"type": "input_text", "text": "second"}, {"type": "input_image", "image_url": "x"}]},
    ]
    found = response(input=items)
    assert found.output_text == "second"
    assert found.usage is not None
    assert found.usage.input_tokens == 2 + 1 + 1 + 1 + 256


def test_the_events_of_a_text_are_in_their_order() -> None:
    names = [event.type for event in events(input="one 二 three")]
    assert names == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_the_events_of_a_call_and_of_a_reasoning_are_in_their_order() -> None:
    found = events(input="genway:tool=get_weather", tools=TOOLS, reasoning={"summary": "auto"})
    names = list(dict.fromkeys(event.type for event in found))
    assert names == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.completed",
    ]
    assert [event.output_index for event in found if event.type == "response.output_item.done"] == [0, 1]


@pytest.mark.parametrize(
    "body",
    [
        {"input": "hello there"},
        {"input": "猫"},
        {"input": "genway:tools=get_weather,get_time,write", "tools": TOOLS},
        {"input": "genway:reasoning why", "include": ["reasoning.encrypted_content"]},
        {"input": "one two three", "max_output_tokens": 2},
        {"input": "x", "text": {"format": {"type": "json_schema", "name": "w", "schema": WEATHER, "strict": True}}},
        {"input": "hello there", "include": ["message.output_text.logprobs"]},
    ],
)
def test_the_stream_ends_with_the_whole_answer(body: dict[str, Any]) -> None:
    last = events(**body)[-1]
    assert last.response.model_dump() == response(**body).model_dump()


def test_the_deltas_are_the_items() -> None:
    found = events(input='genway:reasoning genway:tool=get_weather:{"city": "New York", "days": 9}', tools=TOOLS)
    (call,) = [
        event.item for event in found if event.type == "response.output_item.done" and event.item.type == "function_call"
    ]
    pieces = [event.delta for event in found if event.type == "response.function_call_arguments.delta"]
    assert len(pieces) > 1
    assert json.loads("".join(pieces)) == json.loads(call.arguments) == {"city": "New York", "days": 9}


def test_the_official_stream_helper_puts_the_answer_together() -> None:
    with openai_sdk().responses.stream(model="m", input="hello 你好 there") as stream:
        seen = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == "hello 你好 there"
    assert seen[-1] == "response.completed"


def test_a_cut_answer_is_incomplete() -> None:
    found = response(input="one two three", max_output_tokens=2)
    assert (found.status, found.output_text) == ("incomplete", "one two")
    assert found.incomplete_details is not None
    assert found.incomplete_details.reason == "max_output_tokens"
    assert events(input="one two three", max_output_tokens=2)[-1].type == "response.incomplete"


def test_json_satisfies_the_schema() -> None:
    form = {"type": "json_schema", "name": "w", "schema": WEATHER}
    assert json.loads(response(input="x", text={"format": form}).output_text) == {"city": "city", "days": 2}
    assert json.loads(response(input="x", text={"format": {"type": "json_object"}}).output_text) == {"text": "x"}


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ("required", "get_weather"),
        ({"type": "function", "name": "get_time"}, "get_time"),
        ({"type": "custom", "name": "write"}, "write"),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_time"}]}, "get_time"),
    ],
)
def test_a_forced_choice_calls_the_tool(choice: Any, name: str) -> None:
    (call,) = response(input="x", tools=TOOLS, tool_choice=choice).output
    assert call.name == name  # type: ignore[union-attr]


def test_a_hosted_tool_is_not_played() -> None:
    assert response(input="x", tools=TOOLS, tool_choice={"type": "code_interpreter"}).output_text == "x"


def test_a_result_is_repeated() -> None:
    items = [
        {"role": "user", "content": "genway:tool=get_weather"},
        {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "Rain"}]},
    ]
    assert response(input=items, tools=TOOLS, tool_choice={"type": "function", "name": "get_weather"}).output_text == "Rain"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"input": 7}, "input"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "tool_choice": "maybe"}, "tool_choice"),
        ({"input": "x", "text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"input": "x", "metadata": {"a": 1}}, "metadata[...]"),
        ({"input": "x", "text": {"format": {"type": "json_schema", "schema": {"$ref": "http://x/"}}}}, "text.format.schema"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask("responses", **body)
    assert caught.value.field == field


@pytest.mark.parametrize("more", [{}, {"tools": TOOLS, "tool_choice": "required"}, {"max_output_tokens": 2}])
def test_what_was_begun_is_told_again_as_it_ends_with_the_same_events(more: dict[str, Any]) -> None:
    asked = {"model": "m", "input": "genway:reasoning one two three", "background": True, "metadata": {"a": "b"}, **more}
    first = streamed("responses", **asked)
    ended, events_again = echo.response_again(asked, first[0][1]["response"])
    assert [event(raw) for raw in events_again] == first
    assert ended == first[-1][1]["response"]
    assert ended["background"] is True
    assert echo.response_again(asked, ended)[0] == ended


def test_a_stream_that_was_made_to_break_is_whole_when_it_is_told_again() -> None:
    asked = {"model": "m", "input": "genway:fail_after=3 one two"}
    begun = streamed("responses", **asked)
    assert begun[-1][1]["type"] == "error"
    told_again = [event(raw)[0] for raw in echo.response_again(asked, begun[0][1]["response"])[1]]
    assert told_again[-1] == "response.completed"
