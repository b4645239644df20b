"""The chat completions format as typed structs: only what is translated is declared."""

from __future__ import annotations

from typing import Any

import msgspec


class Image(msgspec.Struct):
    url: str


class File(msgspec.Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class Part(msgspec.Struct):
    """One part of a content. `image_url` as a bare text is a habit of some clients, `thinking` one of Mistral's answers."""

    type: str
    text: str | None = None
    thinking: str | list[Part] | None = None
    refusal: str | None = None
    image_url: Image | str | None = None
    file: File | None = None
    cache_control: dict[str, Any] | None = None


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCall(msgspec.Struct):
    """One call, also as a stream's delta of one."""

    id: str | None = None
    index: int | None = None
    type: str | None = None
    function: Function | None = None


class Message(msgspec.Struct):
    """One message of a request. `thinking_blocks` is an extra in which signed thinking comes back."""

    role: str
    content: str | list[Part] | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    function_call: Function | None = None
    thinking_blocks: list[dict[str, Any]] | None = None
    cache_control: dict[str, Any] | None = None


class Definition(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    cache_control: dict[str, Any] | None = None


class Tool(msgspec.Struct):
    type: str = "function"
    function: Definition | None = None
    cache_control: dict[str, Any] | None = None


class Named(msgspec.Struct):
    name: str


class NamedTool(msgspec.Struct):
    function: Named | None = None


class AllowedTools(msgspec.Struct):
    tools: list[NamedTool]
    mode: str = "auto"


class ToolChoice(msgspec.Struct):
    type: str = "function"
    function: Named | None = None
    allowed_tools: AllowedTools | None = None


class Schema(msgspec.Struct):
    schema: dict[str, Any] | None = None


class ResponseFormat(msgspec.Struct):
    type: str
    json_schema: Schema | None = None


class Location(msgspec.Struct):
    approximate: dict[str, Any] | None = None


class WebSearch(msgspec.Struct):
    search_context_size: str | None = None
    user_location: Location | None = None


class Request(msgspec.Struct):
    messages: list[Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    modalities: list[str] | None = None
    moderation: dict[str, Any] | None = None
    stream: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Definition] | None = None
    function_call: str | Named | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    web_search_options: WebSearch | None = None
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    thinking: dict[str, Any] | None = None
    cache_control: dict[str, Any] | None = None


class Produced(msgspec.Struct):
    """A whole answer's message, or what a stream's chunk adds to it. Reasoning goes by two names, or is in the content."""

    content: str | list[Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None


class Choice(msgspec.Struct):
    """One choice; Moonshot has a stream's usage here, OpenRouter what ended an answer too early."""

    index: int | None = None
    message: Produced | None = None
    delta: Produced | None = None
    finish_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class Answer(msgspec.Struct):
    """A whole answer, or one chunk of a stream."""

    id: str | None = None
    choices: list[Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


def text_of(content: str | list[Part] | None) -> str:
    """The text of a produced content, which some upstreams split into parts."""
    if isinstance(content, list):
        return "".join(part.text or "" for part in content)
    return content or ""


def thought_of(produced: Produced) -> str:
    """What was thought, wherever the upstream puts it."""
    parts = produced.content if isinstance(produced.content, list) else []
    within = "".join(text_of(part.thinking) for part in parts)
    return produced.reasoning_content or produced.reasoning or within


request_decoder = msgspec.json.Decoder(Request)
answer_decoder = msgspec.json.Decoder(Answer)
