"""Anthropic's messages, and the counting of their tokens."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from hashlib import blake2b
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from genway.errors import InvalidRequest
from genway.providers.local.echo import failures, words
from genway.providers.local.echo.answers import EVENTS, Streamed, Whole, breaking, identifier, joined, named, read, whole
from genway.providers.local.echo.saying import NAME, Asked, Choice, Conversation, Said, Tool, say

TEXTS = ("text", "thinking", "redacted_thinking")


class Block(msgspec.Struct):
    """A content block; of those that are not named here only the type is looked at."""

    type: str
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: Any = None
    tool_use_id: str = ""
    content: Any = None


class Message(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class ToolGiven(msgspec.Struct):
    name: str = ""
    input_schema: dict[str, Any] | None = None


class ToolChoice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class Thinking(msgspec.Struct):
    type: str
    display: str | None = None


class Format(msgspec.Struct):
    schema: dict[str, Any]
    type: Literal["json_schema"] = "json_schema"


class OutputConfig(msgspec.Struct):
    format: Format | None = None


class Request(msgspec.Struct):
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    system: str | list[Block] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    tools: list[ToolGiven] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None


_decoder = msgspec.json.Decoder(Request)


def answer(body: bytes, *, request_id: str, created: int) -> Whole | Streamed:
    """The answer to messages. Raises InvalidRequest. created: unused, the format has no time."""
    request = read(_decoder, body)
    if request.max_tokens is None:
        raise InvalidRequest("Field required", field="max_tokens")
    talk = conversation(request)
    forced = words.forced(talk.text, "messages")
    if forced.fail is not None and forced.fail in failures.ANTHROPIC:
        return failures.anthropic(forced.fail, request_id, forced.delay)
    said = say(_asked(request, talk), forced)
    if forced.fail == "moderation":
        said = Said("", "", [], "stop", 0, 0, said.prompt_tokens)
    hidden = request.thinking is not None and request.thinking.display == "omitted"
    message = _message(said, identifier("msg_", request_id), hidden, refused=forced.fail == "moderation")
    if request.stream:
        events = breaking(_events(message), forced.fail_after, failures.anthropic_event())
        return Streamed(EVENTS, events, forced.delay, forced.pause)
    return whole(message, delay=forced.delay)


def count(body: bytes, *, request_id: str, created: int) -> Whole:
    """How many input tokens messages have. request_id, created: unused, the answer is one number. Raises InvalidRequest."""
    talk = conversation(read(_decoder, body))
    forced = words.forced(talk.text, "messages")
    if forced.fail is not None and forced.fail in failures.ANTHROPIC:
        return failures.anthropic(forced.fail, request_id, forced.delay)
    return whole({"input_tokens": talk.tokens}, delay=forced.delay)


def conversation(request: Request) -> Conversation:
    """What matters of the messages and the system's words."""
    talk = Conversation(tokens=_tokens(request.system or ""))
    for message in request.messages:
        talk.tokens += _tokens(message.content)
        if message.role == "system":
            continue
        talk.turn()
        blocks = [Block("text", message.content)] if isinstance(message.content, str) else message.content
        for block in blocks:
            if block.type == "tool_result":
                talk.result(block.tool_use_id, _words(block.content))
            elif block.type == "tool_use":
                talk.called[block.id] = block.name
        if message.role == "user":
            talk.user(joined(block.text for block in blocks if block.type == "text"))
    return talk


def _words(content: Any) -> str:
    """The text of a result, which is a text or a list of blocks."""
    if isinstance(content, list):
        return joined(str(block.get("text", "")) for block in content if isinstance(block, dict))
    return content if isinstance(content, str) else ""


def _tokens(content: str | list[Block]) -> int:
    if isinstance(content, str):
        return words.count(content)
    tokens = 0
    for block in content:
        if block.type in TEXTS:
            tokens += words.count(block.text or block.thinking)
        elif block.type == "tool_use":
            tokens += 1 + words.count(msgspec.json.encode(block.input).decode())
        elif block.type == "tool_result":
            tokens += words.count(_words(block.content)) + words.NOT_TEXT * _pictures(block.content)
        else:
            tokens += words.NOT_TEXT
    return tokens


def _pictures(content: Any) -> int:
    return sum(isinstance(each, dict) and each.get("type") != "text" for each in content) if isinstance(content, list) else 0


def _asked(request: Request, talk: Conversation) -> Asked:
    chosen = request.tool_choice
    wanted = request.output_config.format if request.output_config else None
    return Asked(
        talk,
        "messages",
        tools=[Tool(tool.name, tool.input_schema) for tool in request.tools or () if tool.input_schema is not None],
        choice=_choice(chosen),
        parallel=chosen is None or not chosen.disable_parallel_tool_use,
        form=wanted.schema if wanted else None,
        form_field="output_config.format.schema",
        most=request.max_tokens,
        stop=request.stop_sequences or (),
        reasoning=request.thinking is not None and request.thinking.type in ("enabled", "adaptive"),
    )


def _choice(chosen: ToolChoice | None) -> Choice:
    match chosen:
        case ToolChoice(type="any"):
            return Choice("must")
        case ToolChoice(type="tool"):
            return Choice("must", (chosen.name,))
        case ToolChoice(type="none"):
            return Choice("never")
    return Choice()


def _message(said: Said, id_: str, hidden: bool, *, refused: bool) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if said.reasoning:
        seal = b64encode(blake2b(said.reasoning.encode("utf-8", "replace")).digest()).decode()
        content.append({"type": "thinking", "thinking": "" if hidden else said.reasoning, "signature": seal})
    if said.text:
        content.append({"type": "text", "text": said.text, "citations": None})
    for number, call in enumerate(said.calls):
        arguments = msgspec.json.decode(call.arguments)
        content.append({"type": "tool_use", "id": identifier("toolu_", id_, number), "name": call.name, "input": arguments})
    reasons = {"stop": "end_turn", "length": "max_tokens", "calls": "tool_use"}
    reason = "refusal" if refused else "stop_sequence" if said.stopped_by is not None else reasons[said.ending]
    details = {"type": "refusal", "category": None, "explanation": "forced by genway:fail=moderation"} if refused else None
    return {
        "id": id_,
        "type": "message",
        "role": "assistant",
        "model": NAME,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": said.stopped_by,
        "stop_details": details,
        "usage": {
            "input_tokens": said.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": said.tokens,
            "output_tokens_details": {"thinking_tokens": said.reasoning_tokens},
            "service_tier": "standard",
        },
    }


def _events(message: dict[str, Any]) -> Iterator[bytes]:
    begun: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    usage = {**message["usage"], "output_tokens": 0, "output_tokens_details": {"thinking_tokens": 0}}
    yield named({"type": "message_start", "message": {**message, **begun, "usage": usage}})
    yield named({"type": "ping"})
    for index, block in enumerate(message["content"]):
        empty, deltas = _block_deltas(block)
        yield named({"type": "content_block_start", "index": index, "content_block": empty})
        for delta in deltas:
            yield named({"type": "content_block_delta", "index": index, "delta": delta})
        yield named({"type": "content_block_stop", "index": index})
    ending = {member: message[member] for member in ("stop_reason", "stop_sequence", "stop_details")}
    counted = {
        member: message["usage"][member]
        for member in (
            "input_tokens",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
            "output_tokens",
            "output_tokens_details",
        )
    }
    yield named({"type": "message_delta", "delta": ending, "usage": counted})
    yield named({"type": "message_stop"})


def _block_deltas(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A block as it starts, and what fills it."""
    match block["type"]:
        case "thinking":
            thought = [{"type": "thinking_delta", "thinking": part} for part in words.chunks(block["thinking"])]
            sealed = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [*thought, sealed]
        case "tool_use":
            # The first fragment is empty, as the vendor's is; the fragments are no JSON by themselves.
            parts = ["", *words.chunks(msgspec.json.encode(block["input"]).decode())]
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part} for part in parts]
    return {**block, "text": ""}, [{"type": "text_delta", "text": part} for part in words.chunks(block["text"])]
