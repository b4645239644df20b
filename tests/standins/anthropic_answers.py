"""How Anthropic answers messages: whole and as a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET

from standins import obedience
from standins.anthropic_bodies import (
    Adaptive,
    AnyTool,
    Counted,
    Create,
    Document,
    Enabled,
    Image,
    NamedTool,
    NoTool,
    Text,
    Tool,
    ToolResult,
    merged,
    shown,
    signature,
    system_of,
    tools_of,
)
from standins.obedience import Said, Told
from standins.relay_vendor import Answer, Events, Reply, Script

SAYING = (Text, Image, Document)
STOPPED = {"end": "end_turn", "stop": "stop_sequence", "length": "max_tokens", "tools": "tool_use"}


def answered(body: Any) -> Answer:
    return Answer(msgspec.json.encode(body))


def named(event: dict[str, Any]) -> bytes:
    """One event of a stream."""
    return f"event: {event['type']}\ndata: ".encode() + msgspec.json.encode(event) + b"\n\n"


def result_text(result: ToolResult) -> str:
    """The text of a tool's result, with what it shows."""
    if isinstance(result.content, str):
        said = result.content
    else:
        parts = [] if result.content is UNSET else result.content
        said = " ".join(part.text if isinstance(part, Text) else shown(part) for part in parts if isinstance(part, SAYING))
    return f"failed with {said}" if result.is_error is True else said


def told(body: Create) -> Told:
    """What a conversation tells the model to do."""
    role, blocks = merged(body.messages)[-1]
    said = "\n".join(block.text for block in blocks if isinstance(block, Text)) if role == "user" else ""
    choice = body.tool_choice
    forced = choice.name if isinstance(choice, NamedTool) else "any" if isinstance(choice, AnyTool) else None
    return Told(
        said=said,
        shown=[shown(block) for block in blocks if isinstance(block, Image | Document)],
        results=[result_text(block) for block in blocks if isinstance(block, ToolResult)],
        tools=[] if isinstance(choice, NoTool) else [tool.name for tool in tools_of(body) if isinstance(tool, Tool)],
        forced=forced,
        parallel=not getattr(choice, "disable_parallel_tool_use", False),
        json=body.output_config is not UNSET and body.output_config.format is not None,
        thinks=isinstance(body.thinking, Adaptive | Enabled),
        stop=[] if body.stop_sequences is UNSET else body.stop_sequences,
        limit=body.max_tokens,
    )


def input_tokens(body: Counted) -> int:
    """Words of system and messages, four a message, eighty-five a picture or document, ten a tool."""
    blocks = [*system_of(body), *(block for _, turn in merged(body.messages) for block in turn)]
    words = sum(obedience.tokens(block.text) for block in blocks if isinstance(block, Text))
    words += sum(obedience.tokens(result_text(block)) for block in blocks if isinstance(block, ToolResult))
    pictures = sum(1 for block in blocks if isinstance(block, Image | Document))
    return words + 4 * len(body.messages) + 85 * pictures + 10 * len(tools_of(body))


def usage_of(body: Create, said: Said, written: dict[str, str], known: bool) -> dict[str, Any]:
    """The input's count leaves out what was read from or written to the cache.

    written: digests of the prefixes that go into the cache now, with how long they stay; known: a marked prefix was there.
    """
    total = input_tokens(body)
    cached = total // 2 if written or known else 0
    writes = cached if written and not known else 0
    kept = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
    kept["ephemeral_1h_input_tokens" if "1h" in written.values() else "ephemeral_5m_input_tokens"] = writes
    thinking = obedience.tokens(said.thinking)
    called = sum(len(json.dumps(arguments)) // 4 + 1 for _, arguments in said.calls)
    return {
        "input_tokens": total - cached,
        "cache_creation_input_tokens": writes,
        "cache_read_input_tokens": cached if known else 0,
        "cache_creation": kept,
        "output_tokens": thinking + obedience.tokens(said.text) + called,
        "output_tokens_details": {"thinking_tokens": thinking},
        "service_tier": "standard",
    }


def content_of(said: Said, number: int) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if said.thinking:
        content.append({"type": "thinking", "thinking": said.thinking, "signature": signature(said.thinking)})
    if said.text:
        content.append({"type": "text", "text": said.text})
    for place, (name, arguments) in enumerate(said.calls):
        content.append({"type": "tool_use", "id": f"toolu_{number}_{place}", "name": name, "input": arguments})
    return content


def messages(body: Create, script: Script, said: Said, usage: dict[str, Any], number: int) -> Reply:
    """The answer to a body; number: makes ids differ."""
    message = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": body.model,
        "content": content_of(said, number),
        "stop_reason": script.finish or STOPPED[said.stopped],
        "stop_sequence": said.sequence,
        "stop_details": None,
        "usage": script.usage or usage,
    }
    return Events([named(event) for event in _events(message)]) if body.stream is True else answered(message)


def _events(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    usage = message["usage"]
    begun = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        place = {"index": index}
        start: dict[str, Any]
        if block["type"] == "text":
            start = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": piece} for piece in obedience.pieces(block["text"])]
        elif block["type"] == "thinking":
            start = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in obedience.pieces(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        else:
            start = block | {"input": {}}
            # Without arguments there is but the empty first fragment.
            text = json.dumps(block["input"], ensure_ascii=False) if block["input"] else ""
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", *obedience.fragments(text))]
        yield {"type": "content_block_start", **place, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", **place, "delta": delta}
        yield {"type": "content_block_stop", **place}
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"], "stop_details": None}
    counts = {name: usage[name] for name in usage if name.endswith("_tokens") or name == "output_tokens_details"}
    yield {"type": "message_delta", "delta": ended, "usage": counts}
    yield {"type": "message_stop"}
