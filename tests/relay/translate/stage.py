"""The vendors' own types and libraries as judges of what the translation makes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Protocol

import httpx2
from anthropic import Anthropic
from anthropic.types import Message
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from openai import OpenAI
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming
from pydantic import TypeAdapter

from genway.relay.translate import chat_to_messages, messages_to_chat, traits
from genway.relay.translate.traits import Traits

PLAIN = Traits()
PNG = "iVBORw0KGgo="
PDF = "JVBERi0xLjQK"

MESSAGES_BODY: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsNonStreaming)
MESSAGES_STREAM_BODY: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsStreaming)
CHAT_BODY: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsNonStreaming)
CHAT_STREAM_BODY: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsStreaming)


class Translation(Protocol):
    def feed(self, data: bytes) -> bytes: ...

    def end(self, problem: str | None = None) -> bytes: ...


def to_messages(body: dict[str, Any], model: str = "claude-sonnet-4-5", *, version: str = "") -> dict[str, Any]:
    """The request in messages, which fits Anthropic's types."""
    raw = chat_to_messages.request(
        json.dumps({"model": "asked", **body}).encode(), model=model, traits=traits.of(model), anthropic_version=version
    )
    made: dict[str, Any] = json.loads(raw)
    drained((MESSAGES_STREAM_BODY if made.get("stream") else MESSAGES_BODY).validate_python(made))
    return made


def to_chat(body: dict[str, Any], model: str = "gpt-4o", given: Traits | None = None) -> dict[str, Any]:
    """The request in chat completions, which fits OpenAI's types."""
    raw = messages_to_chat.request(
        json.dumps({"model": "asked", **body}).encode(), model=model, traits=given or traits.of(model)
    )
    made: dict[str, Any] = json.loads(raw)
    drained((CHAT_STREAM_BODY if made.get("stream") else CHAT_BODY).validate_python(made))
    return made


def drained(value: Any) -> None:
    """The vendors' types judge lists only while they are read."""
    if isinstance(value, dict):
        drained(list(value.values()))
    elif not isinstance(value, str) and isinstance(value, Iterable):
        for each in value:
            drained(each)


def told(stream: Translation, events: Iterable[dict[str, Any] | bytes], *, problem: str | None = None) -> bytes:
    """Everything that the client is sent for `events`, to the end of its stream."""
    out = [stream.feed(event if isinstance(event, bytes) else json.dumps(event).encode()) for event in events]
    return b"".join(out) + stream.end(problem)


def payloads(raw: bytes) -> list[dict[str, Any]]:
    """The JSON of every event; comments and `[DONE]` left out."""
    return [
        json.loads(line.removeprefix("data: "))
        for line in raw.decode().split("\n")
        if line.startswith("data: ") and line != "data: [DONE]"
    ]


def chunks_read_by_openai(raw: bytes) -> list[ChatCompletionChunk]:
    """What OpenAI's library makes of a stream; each chunk fits its types. Raises what the library raises."""
    client = OpenAI(api_key="k", base_url="http://gateway.test/v1", max_retries=0, http_client=_answering(raw))
    chunks = list(client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True))
    return [ChatCompletionChunk.model_validate(chunk.to_dict()) for chunk in chunks]


def read_by_openai(raw: bytes) -> ChatCompletion:
    """The whole completion that OpenAI's library puts together from a stream."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for chunk in chunks_read_by_openai(raw):
        state.handle_chunk(chunk)
    return ChatCompletion.model_validate(state.current_completion_snapshot.to_dict())


def read_by_anthropic(raw: bytes) -> Message:
    """The whole message that Anthropic's library puts together from a stream. Raises what the library raises."""
    client = Anthropic(api_key="k", base_url="http://gateway.test", max_retries=0, http_client=_answering(raw))
    with client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]) as stream:
        message = stream.get_final_message()
    return Message.model_validate(message.to_dict())


def _answering(raw: bytes) -> httpx2.Client:
    headers = {"content-type": "text/event-stream"}
    return httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, content=raw)))
