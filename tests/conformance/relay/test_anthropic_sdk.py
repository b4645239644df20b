"""Anthropic's own SDK for Python, unmodified: messages with everything that programs do with them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from pydantic import BaseModel

from conformance.relay.stage import PDF, PDF_SEEN, PICTURE, PICTURE_SEEN, SAME, TWO_CITIES, WEATHER, Target

TOOL: Any = {"name": "get_weather", "description": "Now.", "input_schema": WEATHER}
CLOCK: Any = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
OSLO = 'get_weather({"city": "Oslo"})'


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture
def client(anthropic_target: Target) -> Iterator[Anthropic]:
    with Anthropic(api_key=anthropic_target.key, base_url=anthropic_target.url, max_retries=0) as made:
        yield made


def user(*content: Any) -> Any:
    return {"role": "user", "content": content[0] if len(content) == 1 else list(content)}


def text(said: str) -> dict[str, str]:
    return {"type": "text", "text": said}


def test_a_question_is_answered(client: Anthropic, anthropic_target: Target) -> None:
    answer: Any = client.messages.create(model=anthropic_target.model, max_tokens=100, messages=[user("Grüß dich 🌍")])
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", anthropic_target.model)
    assert [block.text for block in answer.content] == ["You said: Grüß dich 🌍"]
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    assert answer.usage.output_tokens == 5
    assert answer.usage.input_tokens > 0
    assert answer._request_id


def test_an_answer_is_streamed(client: Anthropic, anthropic_target: Target) -> None:
    asked: Any = {"model": anthropic_target.model, "max_tokens": 100, "messages": [user("one two 三 🌍")]}
    with client.messages.stream(**asked) as stream:
        pieces = list(stream.text_stream)
        final: Any = stream.get_final_message()
    assert "".join(pieces) == final.content[0].text == "You said: one two 三 🌍"
    assert len(pieces) > 3
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 6)
    assert final.usage.input_tokens > 0
    kinds = [event.type for event in client.messages.create(**asked, stream=True)]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert [kinds.count(kind) for kind in ("message_start", "content_block_start", "content_block_stop")] == [1, 1, 1]


async def test_the_asynchronous_client_streams(anthropic_target: Target) -> None:
    async with (
        AsyncAnthropic(auth_token=anthropic_target.key, base_url=anthropic_target.url, max_retries=0) as client,
        client.messages.stream(model=anthropic_target.model, max_tokens=100, messages=[user("one two")]) as stream,
    ):
        assert "".join([piece async for piece in stream.text_stream]) == "You said: one two"


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_are_called_side_by_side_and_their_results_taken(
    client: Anthropic, anthropic_target: Target, streamed: bool
) -> None:
    asked: Any = {"model": anthropic_target.model, "max_tokens": 200, "tools": [TOOL, CLOCK], "system": "Be brief."}
    if streamed:
        with client.messages.stream(messages=[user(TWO_CITIES)], **asked) as stream:
            answer: Any = stream.get_final_message()
    else:
        answer = client.messages.create(messages=[user(TWO_CITIES)], **asked)
    assert answer.stop_reason == "tool_use"
    assert [(block.type, block.name, block.input) for block in answer.content] == [
        ("tool_use", "get_weather", {"city": "Oslo"}),
        ("tool_use", "get_weather", {"city": "Zürich"}),
    ]
    first, second = answer.content
    assert first.id != second.id
    end: Any = client.messages.create(
        messages=[
            user(TWO_CITIES),
            {"role": "assistant", "content": answer.content},
            user(
                {"type": "tool_result", "tool_use_id": second.id, "content": [text("snow")]},
                {"type": "tool_result", "tool_use_id": first.id, "content": "rain"},
                text("Which is colder?"),
            ),
        ],
        **asked,
    )
    assert end.stop_reason == "end_turn"
    if anthropic_target.wire == "anthropic":
        assert end.content[0].text == "The tools answered: snow; rain"
    else:
        assert end.content[0].text == "You said: Which is colder?"


def test_a_failed_tool_is_told_of(client: Anthropic, anthropic_target: Target) -> None:
    call: Any = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Oslo"}}
    answer: Any = client.messages.create(
        model=anthropic_target.model,
        max_tokens=200,
        tools=[TOOL],
        messages=[
            user(OSLO),
            {"role": "assistant", "content": [call]},
            user([{"type": "tool_result", "tool_use_id": "toolu_1", "content": "no window", "is_error": True}]),
        ],
    )
    said = answer.content[0].text
    assert said.startswith("The tools answered: ")
    assert "no window" in said
    assert said != "The tools answered: no window"


def test_a_tool_without_arguments_is_called_with_an_empty_object(client: Anthropic, anthropic_target: Target) -> None:
    asked: Any = {"model": anthropic_target.model, "max_tokens": 200, "tools": [CLOCK], "tool_choice": {"type": "any"}}
    with client.messages.stream(messages=[user("now")], **asked) as stream:
        streamed: Any = stream.get_final_message()
    whole: Any = client.messages.create(messages=[user("now")], **asked)
    assert [(block.name, block.input) for block in streamed.content] == [("get_time", {})]
    assert [(block.name, block.input) for block in whole.content] == [("get_time", {})]


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ({"type": "none"}, []),
        ({"type": "auto"}, ["get_weather"]),
        ({"type": "any"}, ["get_weather"]),
        ({"type": "tool", "name": "get_time"}, ["get_time"]),
        ({"type": "auto", "disable_parallel_tool_use": True}, ["get_weather"]),
    ],
)
def test_every_choice_of_tools_is_kept_to(client: Anthropic, anthropic_target: Target, choice: Any, called: list[str]) -> None:
    said = TWO_CITIES if "disable_parallel_tool_use" in choice else OSLO
    answer = client.messages.create(
        model=anthropic_target.model, max_tokens=200, messages=[user(said)], tools=[TOOL, CLOCK], tool_choice=choice
    )
    assert [block.name for block in answer.content if block.type == "tool_use"] == called


@pytest.mark.parametrize("threaded", [True, False])
def test_the_tool_runner_runs_tools_until_there_is_an_answer(
    client: Anthropic, anthropic_target: Target, threaded: bool
) -> None:
    asked: list[str] = []

    @beta_tool
    def get_weather(city: str) -> str:
        """The weather now.

        Args:
            city: where
        """
        asked.append(city)
        return f"rain in {city}"

    runner = client.beta.messages.tool_runner(
        model=anthropic_target.model,
        max_tokens=200,
        tools=[get_weather],
        messages=[user(TWO_CITIES)],
        thread=anthropic.omit if threaded else False,
    )
    last: Any = runner.until_done()
    assert asked == ["Oslo", "Zürich"]
    assert last.content[0].text == "The tools answered: rain in Oslo; rain in Zürich"


def test_structured_output_is_parsed(client: Anthropic, anthropic_target: Target) -> None:
    asked: Any = {"model": anthropic_target.model, "max_tokens": 100, "messages": [user('Say {"name": "Ada", "age": 36}')]}
    assert client.messages.parse(**asked, output_format=Person).parsed_output == Person(name="Ada", age=36)
    with client.messages.stream(**asked, output_format=Person) as stream:
        assert stream.get_final_message().parsed_output == Person(name="Ada", age=36)


def test_pictures_and_documents_are_seen(client: Anthropic, anthropic_target: Target) -> None:
    picture = {"type": "base64", "media_type": "image/png", "data": PICTURE.partition(",")[2]}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(PDF).decode()}
    answer: Any = client.messages.create(
        model=anthropic_target.model,
        max_tokens=100,
        messages=[
            user(
                {"type": "image", "source": picture},
                {"type": "image", "source": {"type": "url", "url": "https://pictures.example/cat.png"}},
                {"type": "document", "source": pdf, "title": "A page"},
                text("look"),
            )
        ],
    )
    assert answer.content[0].text == (
        f"You said: look You showed: {PICTURE_SEEN}. You showed: https://pictures.example/cat.png. You showed: {PDF_SEEN}."
    )


def test_a_conversation_with_instructions_reaches_the_model_whole(client: Anthropic, anthropic_target: Target) -> None:
    rules: Any = [text("First rule."), {**text("Second rule."), "cache_control": {"type": "ephemeral"}}]
    answer: Any = client.messages.create(
        model=anthropic_target.model,
        max_tokens=100,
        system=rules,
        messages=[user("one"), {"role": "assistant", "content": "first answer"}, user(text("two"), text("three"))],
        metadata={"user_id": "somebody"},
    )
    assert answer.content[0].text == "You said: two\nthree"
    [seen] = anthropic_target.vendor.work
    for said in ("First rule.", "Second rule.", "first answer"):
        assert said in seen.raw.decode()


def test_limits_and_stops_end_an_answer(client: Anthropic, anthropic_target: Target) -> None:
    ask = client.messages.create
    short: Any = ask(model=anthropic_target.model, max_tokens=3, messages=[user("one two three")])
    assert (short.content[0].text, short.stop_reason) == ("You said: one ", "max_tokens")
    stopped: Any = ask(model=anthropic_target.model, max_tokens=99, messages=[user("one two three")], stop_sequences=["two"])
    assert stopped.content[0].text == "You said: one "
    if anthropic_target.wire == "anthropic":
        assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "two")
    else:
        assert stopped.stop_reason == "end_turn"


def test_a_model_thinks_with_tools_in_between(client: Anthropic, anthropic_target: Target) -> None:
    asked: Any = {"model": anthropic_target.thinker, "max_tokens": 4000, "tools": [TOOL]}
    asked |= {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
    with client.messages.stream(messages=[user(OSLO)], **asked) as stream:
        answer: Any = stream.get_final_message()
    if anthropic_target.wire == "anthropic":
        assert [block.type for block in answer.content] == ["thinking", "tool_use"]
        assert answer.content[0].thinking == f"I was told: {OSLO}"
    call = answer.content[-1]
    # Thoughts go back with their signatures; a vendor refuses one that was changed.
    end: Any = client.messages.create(
        messages=[
            user(OSLO),
            {"role": "assistant", "content": answer.content},
            user([{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]),
        ],
        **asked,
    )
    assert end.content[-1].text == "The tools answered: rain"
    assert end.usage.output_tokens > 0


@pytest.mark.parametrize("anthropic_target", SAME, indirect=True)
def test_the_cache_is_written_once_and_read_again(client: Anthropic, anthropic_target: Target) -> None:
    asked: Any = {"model": anthropic_target.model, "max_tokens": 100, "messages": [user("one")]}
    asked["system"] = [
        {"type": "text", "text": f"rules for {anthropic_target.way}", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ]
    first = client.messages.create(**asked).usage
    assert first.cache_creation is not None
    assert (first.cache_creation_input_tokens or 0) > 0
    assert first.cache_creation.ephemeral_1h_input_tokens == first.cache_creation_input_tokens
    with client.messages.stream(**asked) as stream:
        second = stream.get_final_message().usage
    assert (second.cache_read_input_tokens, second.cache_creation_input_tokens) == (first.cache_creation_input_tokens, 0)


def test_tokens_are_counted(client: Anthropic, anthropic_target: Target) -> None:
    count = client.messages.count_tokens
    few = count(model=anthropic_target.model, messages=[user("one two three")]).input_tokens
    many = count(
        model=anthropic_target.model, messages=[user("one two three " * 50)], system="Be brief.", tools=[TOOL]
    ).input_tokens
    assert 0 < few < many


def test_raw_answers_have_the_request_id_in_a_header(client: Anthropic, anthropic_target: Target) -> None:
    asked: Any = {"model": anthropic_target.model, "max_tokens": 100, "messages": [user("one")]}
    raw = client.messages.with_raw_response.create(**asked)
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.headers["request-id"]
    assert raw.parse().content[0].text == "You said: one"
    with client.messages.with_streaming_response.create(**asked, stream=True) as streamed:
        assert streamed.headers["content-type"].startswith("text/event-stream")
        assert "event: message_stop" in list(streamed.iter_lines())


@pytest.mark.parametrize("anthropic_target", ["genway"], indirect=True)
def test_one_format_travels_byte_for_byte(client: Anthropic, anthropic_target: Target) -> None:
    asked: Any = {"model": anthropic_target.model, "max_tokens": 100, "messages": [user("ä 🌍")]}
    raw = client.messages.with_raw_response.create(**asked, extra_headers={"anthropic-beta": "interleaved-thinking-2025-05-14"})
    [seen] = anthropic_target.vendor.work
    assert seen.raw == raw.http_request.content
    assert seen.answered == raw.http_response.content
    assert seen.headers["anthropic-version"] == raw.http_request.headers["anthropic-version"]
    assert seen.headers["anthropic-beta"] == "interleaved-thinking-2025-05-14"
    assert anthropic_target.key not in str(seen.headers)


def test_a_stream_that_the_client_leaves_is_left_at_the_vendor_too(client: Anthropic, anthropic_target: Target) -> None:
    vendor = anthropic_target.vendor
    vendor.next(hold_after=5)
    stream = client.messages.create(
        model=anthropic_target.model, max_tokens=100, messages=[user("one two three four")], stream=True
    )
    assert next(iter(stream)).type == "message_start"
    vendor.wait_until(lambda: vendor.work[0].events == 5)
    stream.close()
    vendor.wait_until(lambda: vendor.work[0].disconnected)
    assert vendor.work[0].events == 5
