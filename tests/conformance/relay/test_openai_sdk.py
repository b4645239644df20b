"""OpenAI's own SDK for Python, unmodified: chat completions with everything that programs do with them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI, pydantic_function_tool
from pydantic import BaseModel

from conformance.relay.stage import PDF, PDF_SEEN, PICTURE, PICTURE_SEEN, SAME, TWO_CITIES, WEATHER, Target

TOOL: Any = {"type": "function", "function": {"name": "get_weather", "description": "Now.", "parameters": WEATHER}}
CLOCK: Any = {"type": "function", "function": {"name": "get_time"}}


class Person(BaseModel):
    name: str
    age: int


class GetWeather(BaseModel):
    """Look out of the window."""

    city: str


@pytest.fixture
def client(openai_target: Target) -> Iterator[OpenAI]:
    with OpenAI(api_key=openai_target.key, base_url=f"{openai_target.url}/v1", max_retries=0) as made:
        yield made


def user(*content: Any) -> Any:
    return {"role": "user", "content": content[0] if len(content) == 1 else list(content)}


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def test_a_question_is_answered(client: OpenAI, openai_target: Target) -> None:
    answer = client.chat.completions.create(model=openai_target.model, messages=[user("Grüß dich 🌍")])
    [choice] = answer.choices
    assert (answer.object, answer.model, choice.finish_reason) == ("chat.completion", openai_target.model, "stop")
    assert (choice.message.role, choice.message.content) == ("assistant", "You said: Grüß dich 🌍")
    assert choice.message.tool_calls is None
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5
    assert answer.usage.prompt_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 5
    assert answer._request_id


def test_an_answer_is_streamed_with_its_usage_when_that_is_asked_for(client: OpenAI, openai_target: Target) -> None:
    chunks = list(
        client.chat.completions.create(
            model=openai_target.model, messages=[user("one two 三 🌍")], stream=True, stream_options={"include_usage": True}
        )
    )
    said = [chunk.choices[0] for chunk in chunks if chunk.choices]
    pieces = [choice.delta.content for choice in said if choice.delta.content]
    assert "".join(pieces) == "You said: one two 三 🌍"
    assert len(pieces) > 3
    assert [choice.finish_reason for choice in said if choice.finish_reason] == ["stop"]
    assert said[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1
    assert [bool(chunk.choices) for chunk in chunks].count(False) == 1
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 6
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_stream_has_no_usage_unless_that_is_asked_for(client: OpenAI, openai_target: Target) -> None:
    chunks = list(client.chat.completions.create(model=openai_target.model, messages=[user("one two")], stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


async def test_the_asynchronous_client_streams(openai_target: Target) -> None:
    async with AsyncOpenAI(api_key=openai_target.key, base_url=f"{openai_target.url}/v1", max_retries=0) as client:
        stream = await client.chat.completions.create(model=openai_target.model, messages=[user("one two")], stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces) == "You said: one two"


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_are_called_side_by_side_and_their_results_taken(client: OpenAI, openai_target: Target, streamed: bool) -> None:
    asked: Any = {"model": openai_target.model, "tools": [TOOL, CLOCK]}
    messages: list[Any] = [{"role": "system", "content": "Be brief."}, user(TWO_CITIES)]
    if streamed:
        with client.chat.completions.stream(messages=messages, **asked) as stream:
            choice: Any = stream.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(messages=messages, **asked).choices[0]
    calls = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": "Oslo"}, {"city": "Zürich"}]
    assert {call.function.name for call in calls} == {"get_weather"}
    assert len({call.id for call in calls}) == 2
    back = [call.model_dump(include={"id": True, "type": True, "function": {"name", "arguments"}}) for call in calls]
    called: Any = {"role": "assistant", "content": None, "tool_calls": back}
    results = [{"role": "tool", "tool_call_id": call.id, "content": f"rain {number}"} for number, call in enumerate(calls)]
    end = client.chat.completions.create(messages=[*messages, called, *reversed(results)], **asked).choices[0]
    assert (end.finish_reason, end.message.content) == ("stop", "The tools answered: rain 1; rain 0")


def test_a_tool_without_arguments_is_called_with_an_empty_object(client: OpenAI, openai_target: Target) -> None:
    asked: Any = {"model": openai_target.model, "tools": [CLOCK], "tool_choice": "required"}
    with client.chat.completions.stream(messages=[user("now")], **asked) as stream:
        streamed = stream.get_final_completion().choices[0].message
    whole = client.chat.completions.create(messages=[user("now")], **asked).choices[0].message
    for message in (streamed, whole):
        assert message.tool_calls is not None
        [call] = message.tool_calls
        assert call.type == "function"
        assert (call.function.name, call.function.arguments) == ("get_time", "{}")


@pytest.mark.parametrize(
    ("choice", "called"),
    [("none", []), ("auto", ["get_weather"]), ("required", ["get_weather"]), ("named", ["get_time"])],
)
def test_every_choice_of_tools_is_kept_to(client: OpenAI, openai_target: Target, choice: Any, called: list[str]) -> None:
    if choice == "named":
        choice = {"type": "function", "function": {"name": "get_time"}}
    answer = client.chat.completions.create(
        model=openai_target.model, messages=[user('get_weather({"city": "Oslo"})')], tools=[TOOL, CLOCK], tool_choice=choice
    )
    calls: Any = answer.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls] == called


def test_one_call_at_a_time_where_that_is_wanted(client: OpenAI, openai_target: Target) -> None:
    answer = client.chat.completions.create(
        model=openai_target.model, messages=[user(TWO_CITIES)], tools=[TOOL], parallel_tool_calls=False
    )
    assert len(answer.choices[0].message.tool_calls or []) == 1


def test_structured_output_is_parsed(client: OpenAI, openai_target: Target) -> None:
    messages = [user('Say {"name": "Ada", "age": 36}')]
    parsed = client.chat.completions.parse(model=openai_target.model, messages=messages, response_format=Person)
    assert parsed.choices[0].message.parsed == Person(name="Ada", age=36)
    with client.chat.completions.stream(model=openai_target.model, messages=messages, response_format=Person) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == Person(name="Ada", age=36)


def test_strict_tools_have_their_arguments_parsed(client: OpenAI, openai_target: Target) -> None:
    parsed = client.chat.completions.parse(
        model=openai_target.model, messages=[user('GetWeather({"city": "Oslo"})')], tools=[pydantic_function_tool(GetWeather)]
    )
    [call] = parsed.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == GetWeather(city="Oslo")


def test_pictures_and_documents_are_seen(client: OpenAI, openai_target: Target) -> None:
    pdf = f"data:application/pdf;base64,{base64.b64encode(PDF).decode()}"
    answer = client.chat.completions.create(
        model=openai_target.model,
        messages=[
            user(
                text("look"),
                {"type": "image_url", "image_url": {"url": PICTURE}},
                {"type": "image_url", "image_url": {"url": "https://pictures.example/cat.png", "detail": "low"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}},
            )
        ],
    )
    assert answer.choices[0].message.content == (
        f"You said: look You showed: {PICTURE_SEEN}. You showed: https://pictures.example/cat.png. You showed: {PDF_SEEN}."
    )


def test_a_conversation_with_instructions_reaches_the_model_whole(client: OpenAI, openai_target: Target) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "First rule."},
        {"role": "developer", "content": [text("Second rule.")]},
        user("one"),
        {"role": "assistant", "content": "first answer"},
        {"role": "system", "content": "Third rule."},
        user(text("two"), text("three")),
    ]
    answer = client.chat.completions.create(model=openai_target.model, messages=messages)
    assert answer.choices[0].message.content == "You said: two\nthree"
    [seen] = openai_target.vendor.work
    for said in ("First rule.", "Second rule.", "Third rule.", "first answer"):
        assert said in seen.raw.decode()


def test_limits_and_stops_end_an_answer(client: OpenAI, openai_target: Target) -> None:
    ask = client.chat.completions.create
    [short] = ask(model=openai_target.model, messages=[user("one two three")], max_completion_tokens=3).choices
    assert (short.message.content, short.finish_reason) == ("You said: one ", "length")
    [old] = ask(model=openai_target.model, messages=[user("one two three")], max_tokens=3, temperature=0.5).choices
    assert (old.message.content, old.finish_reason) == ("You said: one ", "length")
    [stopped] = ask(model=openai_target.model, messages=[user("one two three")], stop=["two"]).choices
    assert (stopped.message.content, stopped.finish_reason) == ("You said: one ", "stop")


def test_fields_that_the_other_format_does_not_have_do_no_harm(client: OpenAI, openai_target: Target) -> None:
    answer = client.chat.completions.create(
        model=openai_target.model,
        messages=[user("one")],
        temperature=1.8,
        top_p=0.9,
        seed=7,
        presence_penalty=0.5,
        frequency_penalty=0.5,
        logit_bias={"50256": -100},
        user="somebody",
    )
    assert answer.choices[0].message.content == "You said: one"


def test_a_model_thinks_with_tools_in_between(client: OpenAI, openai_target: Target) -> None:
    asked: Any = {"model": openai_target.thinker, "tools": [TOOL], "reasoning_effort": "low", "max_completion_tokens": 4000}
    message = client.chat.completions.create(messages=[user('get_weather({"city": "Oslo"})')], **asked).choices[0].message
    [call] = message.tool_calls or []
    # As programs do that know nothing of thoughts: only what this format has goes back.
    back: Any = {"id": call.id, "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
    end = client.chat.completions.create(
        messages=[
            user('get_weather({"city": "Oslo"})'),
            {"role": "assistant", "content": None, "tool_calls": [back]},
            {"role": "tool", "tool_call_id": call.id, "content": "rain"},
        ],
        **asked,
    )
    assert end.choices[0].message.content == "The tools answered: rain"
    assert end.usage is not None
    assert end.usage.completion_tokens_details is not None
    assert (end.usage.completion_tokens_details.reasoning_tokens or 0) > 0


@pytest.mark.parametrize("openai_target", SAME, indirect=True)
def test_several_answers_with_their_probabilities(client: OpenAI, openai_target: Target) -> None:
    answer = client.chat.completions.create(
        model=openai_target.model, messages=[user("one")], n=2, logprobs=True, top_logprobs=2
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert len(choice.logprobs.content[0].top_logprobs) == 2


def test_raw_answers_have_the_request_id_in_a_header(client: OpenAI, openai_target: Target) -> None:
    raw = client.chat.completions.with_raw_response.create(model=openai_target.model, messages=[user("one")])
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.headers["x-request-id"]
    assert raw.parse().choices[0].message.content == "You said: one"
    with client.chat.completions.with_streaming_response.create(
        model=openai_target.model, messages=[user("one")], stream=True
    ) as streamed:
        assert streamed.headers["content-type"].startswith("text/event-stream")
        assert list(streamed.iter_lines())[-2:] == ["data: [DONE]", ""]


@pytest.mark.parametrize("openai_target", ["genway"], indirect=True)
def test_one_format_travels_byte_for_byte(client: OpenAI, openai_target: Target) -> None:
    raw = client.chat.completions.with_raw_response.create(model=openai_target.model, messages=[user("ä 🌍")], seed=7)
    sent = raw.http_request.content
    [seen] = openai_target.vendor.work
    assert seen.raw == sent
    assert seen.answered == raw.content
    assert openai_target.key not in str(seen.headers)


def test_a_stream_that_the_client_leaves_is_left_at_the_vendor_too(client: OpenAI, openai_target: Target) -> None:
    vendor = openai_target.vendor
    vendor.next(hold_after=4)
    stream = client.chat.completions.create(model=openai_target.model, messages=[user("one two three four")], stream=True)
    assert next(iter(stream)).choices
    vendor.wait_until(lambda: vendor.work[0].events == 4)
    stream.close()
    vendor.wait_until(lambda: vendor.work[0].disconnected)
    assert vendor.work[0].events == 4
