"""The messages format as typed structs: only what is translated is declared."""

from __future__ import annotations

from typing import Any

import msgspec


class Block(msgspec.Struct):
    """One block of a request's content, of any type. `source` is a text in a `search_result` only."""

    type: str
    text: str | None = None
    source: Source | str | None = None
    title: str | None = None
    context: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    tool_use_id: str | None = None
    content: str | list[Block] | dict[str, Any] | None = None
    is_error: bool | None = None
    thinking: str | None = None
    tool_name: str | None = None
    tool: ToolChange | None = None


class ToolChange(msgspec.Struct):
    """The tool that a block adds to a conversation, or takes out of it: by its name, or whole as its `definition`."""

    name: str | None = None
    server_name: str | None = None
    definition: Tool | None = None


class Source(msgspec.Struct):
    """Where a picture or a document is. `content` belongs to type `content`."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: str | list[Block] | None = None


class Message(msgspec.Struct):
    """clear_at: `next_user_message` for instructions that are not to be seen any more once the user has spoken again."""

    role: str
    content: str | list[Block] | None = None
    clear_at: str | None = None


class Tool(msgspec.Struct):
    name: str | None = None
    type: str | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(msgspec.Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    type: str
    budget_tokens: int | None = None


class Format(msgspec.Struct):
    type: str
    schema: dict[str, Any] | None = None


class OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: Format | None = None


class Metadata(msgspec.Struct):
    user_id: str | None = None


class Request(msgspec.Struct):
    """output_format: where older clients put what is in `output_config` today."""

    messages: list[Message]
    system: str | list[Block] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    compaction: dict[str, Any] | None = None
    inference_geo: str | None = None
    metadata: Metadata | None = None


class Citation(msgspec.Struct):
    """A citation of any type; only those of the web have a `url`."""

    url: str | None = None
    title: str | None = None


class Produced(msgspec.Struct):
    """One block of an answer's content, or what a stream's event adds to one."""

    type: str
    text: str | None = None
    citations: list[Citation] | None = None
    citation: Citation | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class StopDetails(msgspec.Struct):
    explanation: str | None = None


class Answer(msgspec.Struct):
    id: str | None = None
    content: list[Produced] | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class Delta(msgspec.Struct):
    """What an event adds: to a block, or to the message."""

    type: str | None = None
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    citation: Citation | None = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class Event(msgspec.Struct):
    """One event of a stream, of any type."""

    type: str
    index: int | None = None
    message: Answer | None = None
    content_block: Produced | None = None
    delta: Delta | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


request_decoder = msgspec.json.Decoder(Request)
answer_decoder = msgspec.json.Decoder(Answer)
event_decoder = msgspec.json.Decoder(Event)
