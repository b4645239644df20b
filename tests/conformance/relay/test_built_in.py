"""A test key: the stock SDKs get the built-in answers, whatever channels there are, and nothing reaches a vendor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI
from pydantic import BaseModel

from conformance.relay.stage import WEATHER, Vendors
from running import Running

TOOL: Any = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}


class Person(BaseModel):
    name: str
    age: int


def assert_nothing_reached(vendors: Vendors) -> None:
    assert [*vendors.openai.work, *vendors.anthropic.work] == []


@pytest.fixture
def chat(relay_server: Running, vendors: Vendors) -> Iterator[OpenAI]:
    with OpenAI(api_key=relay_server.test_key, base_url=f"{relay_server.url}/v1", max_retries=0) as made:
        yield made
    assert_nothing_reached(vendors)


@pytest.fixture
def messages(relay_server: Running, vendors: Vendors) -> Iterator[Anthropic]:
    with Anthropic(api_key=relay_server.test_key, base_url=relay_server.url, max_retries=0) as made:
        yield made
    assert_nothing_reached(vendors)


def user(said: str) -> Any:
    return {"role": "user", "content": said}


def test_openais_sdk_gets_an_echo_that_poses_as_no_model(chat: OpenAI) -> None:
    answer = chat.chat.completions.create(model="gpt-4.1", messages=[user("Grüß dich 🌍")])
    assert (answer.model, answer.choices[0].finish_reason) == ("local-echo", "stop")
    assert "Grüß dich 🌍" in (answer.choices[0].message.content or "")
    stream = chat.chat.completions.create(
        model="gpt-4.1", messages=[user("Grüß dich 🌍")], stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert (
        "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == answer.choices[0].message.content
    )
    assert chunks[-1].usage == answer.usage


def test_openais_sdk_gets_tools_called_and_structures_filled(chat: OpenAI) -> None:
    asked: Any = {"model": "gpt-4.1", "tools": [TOOL]}
    said = user('genway:tool=get_weather:{"city":"Oslo"}')
    [call] = chat.chat.completions.create(messages=[said], **asked).choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "Oslo"}
    called: Any = {"role": "assistant", "tool_calls": [call.model_dump()]}
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
    end = chat.chat.completions.create(messages=[said, called, result], **asked).choices[0].message
    assert "rain" in (end.content or "")
    parsed = chat.chat.completions.parse(model="gpt-4.1", messages=[user("somebody")], response_format=Person)
    assert isinstance(parsed.choices[0].message.parsed, Person)
    assert isinstance(chat.responses.parse(model="gpt-4.1", input="somebody", text_format=Person).output_parsed, Person)


def test_openais_sdk_gets_the_other_kinds(chat: OpenAI) -> None:
    with chat.responses.stream(model="gpt-4.1", input="one two") as stream:
        assert "one two" in stream.get_final_response().output_text
    rows = chat.embeddings.create(model="text-embedding-3-small", input=["one", "one", "two"]).data
    assert rows[0].embedding == rows[1].embedding != rows[2].embedding
    assert len(chat.moderations.create(input="peace").results) == 1
    drawn = chat.images.generate(model="gpt-image-2", prompt="a cat", size="256x256").data
    assert drawn is not None
    assert drawn[0].b64_json or drawn[0].url
    spoken = chat.audio.speech.create(model="gpt-4o-mini-tts", input="one", voice="alloy", response_format="wav")
    assert spoken.content.startswith(b"RIFF")
    assert "note.wav" in chat.audio.transcriptions.create(model="whisper-1", file=("note.wav", spoken.content)).text


def test_openais_sdk_gets_a_chat_that_sounds_and_goes_on_from_its_sound(chat: OpenAI) -> None:
    asked: Any = {"model": "gpt-audio", "modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"}}
    whole = chat.chat.completions.create(messages=[user("one two")], **asked).choices[0].message.audio
    assert whole is not None
    assert (whole.transcript, bool(whole.data)) == ("one two", True)
    stream = chat.chat.completions.create(messages=[user("one two")], stream=True, **asked)
    pieces: list[Any] = [chunk.choices[0].delta.model_dump(exclude_none=True).get("audio", {}) for chunk in stream]
    assert "".join(piece.get("data", "") for piece in pieces)
    for name in (whole.id, *(piece["id"] for piece in pieces if "id" in piece)):
        earlier: Any = {"role": "assistant", "audio": {"id": name}}
        later = chat.chat.completions.create(messages=[user("one two"), earlier, user("three")], **asked)
        assert later.choices[0].message.audio is not None
        assert later.choices[0].message.audio.transcript == "three"
    stranger: Any = {"role": "assistant", "audio": {"id": "audio_of_nobody"}}
    with pytest.raises(openai.NotFoundError):
        chat.chat.completions.create(messages=[user("one two"), stranger, user("three")], **asked)


@pytest.mark.parametrize(
    ("word", "raised"),
    [
        ("moderation", openai.BadRequestError),
        ("context_length", openai.BadRequestError),
        ("rate_limit", openai.RateLimitError),
        ("insufficient_quota", openai.RateLimitError),
        ("overloaded", openai.InternalServerError),
        ("server_error", openai.InternalServerError),
    ],
)
def test_openais_sdk_gets_the_errors_that_the_words_force(chat: OpenAI, word: str, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        chat.chat.completions.create(model="gpt-4.1", messages=[user(f"genway:fail={word}")])


def test_anthropics_sdk_gets_an_echo_that_poses_as_no_model(messages: Anthropic) -> None:
    asked: Any = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [user("Grüß dich 🌍")]}
    answer: Any = messages.messages.create(**asked)
    assert (answer.model, answer.stop_reason) == ("local-echo", "end_turn")
    assert "Grüß dich 🌍" in answer.content[0].text
    with messages.messages.stream(**asked) as stream:
        assert "".join(stream.text_stream) == answer.content[0].text
    assert messages.messages.count_tokens(model="claude-sonnet-5-5", messages=[user("one two")]).input_tokens > 0
    parsed = messages.messages.parse(model="claude-sonnet-5-5", max_tokens=100, messages=[user("x")], output_format=Person)
    assert isinstance(parsed.parsed_output, Person)


def test_anthropics_sdk_gets_tools_called(messages: Anthropic) -> None:
    asked: Any = {"model": "claude-sonnet-5-5", "max_tokens": 100, "tools": [{"name": "get_weather", "input_schema": WEATHER}]}
    answer: Any = messages.messages.create(messages=[user("x")], tool_choice={"type": "any"}, **asked)
    [call] = [block for block in answer.content if block.type == "tool_use"]
    assert isinstance(call.input["city"], str)
    result: Any = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]}
    end: Any = messages.messages.create(messages=[user("x"), {"role": "assistant", "content": answer.content}, result], **asked)
    assert "rain" in end.content[0].text


@pytest.mark.parametrize(
    ("word", "raised"),
    [
        ("context_length", anthropic.BadRequestError),
        ("rate_limit", anthropic.RateLimitError),
        ("overloaded", anthropic.OverloadedError),
        ("server_error", anthropic.InternalServerError),
    ],
)
def test_anthropics_sdk_gets_the_errors_that_the_words_force(messages: Anthropic, word: str, raised: type[Exception]) -> None:
    with pytest.raises(raised):
        messages.messages.create(model="claude-sonnet-5-5", max_tokens=100, messages=[user(f"genway:fail={word}")])


def test_a_stream_that_is_told_to_break_raises(chat: OpenAI) -> None:
    stream = chat.chat.completions.create(
        model="gpt-4.1", messages=[user("genway:fail_after=3 one two three four five six seven")], stream=True
    )
    with pytest.raises(openai.APIError):
        list(stream)
