"""A whole answer in messages as one in chat completions."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from genway.relay.translate import arguments, failures, json_tool, reading, stop_reasons, tool_ids, usage
from genway.relay.translate.messages_bodies import Answer, Citation, Produced, answer_decoder


def answer(body: bytes, *, model: str, asked: bytes = b"", created: int | None = None) -> bytes:
    """The client's answer for the upstream's.

    model: the name that the client asked by. created: seconds since 1970, now where left out. asked: the client's
    request, of which nothing is needed here. Raises msgspec.DecodeError where `body` is no answer in this format.
    """
    del asked
    given = reading.decode(answer_decoder, body)
    if given.content is None:
        raise failures.no_answer(given.error)
    message, called = _message(given)
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": stop_reasons.to_chat(given.stop_reason, called=called),
        "logprobs": None,
    }
    return msgspec.json.encode(
        {
            "id": identity(given.id),
            "object": "chat.completion",
            "created": int(time.time()) if created is None else created,
            "model": model,
            "choices": [choice],
            "usage": usage.to_chat(usage.of_messages(given.usage) or usage.MessagesUsage()),
        }
    )


def identity(message_id: str | None) -> str:
    """The completion's id for a message's."""
    return f"chatcmpl-{(message_id or '').removeprefix('msg_') or tool_ids.invented().removeprefix('toolu_')}"


def thinking_block(block: Produced) -> dict[str, Any]:
    """Thinking with its signature, as the client has to send it back: an extra member of a message."""
    if block.type == "redacted_thinking":
        return {"type": "redacted_thinking", "data": block.data or ""}
    return {"type": "thinking", "thinking": block.thinking or "", "signature": block.signature or ""}


def web_citations(citations: list[Citation], start: int, end: int) -> list[dict[str, Any]]:
    """Citations of the web for the text from `start` to `end`; others have no equivalent."""
    return [
        {
            "type": "url_citation",
            "url_citation": {"start_index": start, "end_index": end, "title": each.title or "", "url": each.url},
        }
        for each in citations
        if each.url
    ]


def _message(given: Answer) -> tuple[dict[str, Any], bool]:
    """The message, and whether it calls a tool."""
    text = ""
    reasoning: list[str] = []
    thoughts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    cited: list[dict[str, Any]] = []
    for block in given.content or ():
        match block.type:
            case "text":
                start, text = len(text), text + (block.text or "")
                cited += web_citations(block.citations or [], start, len(text))
            case "thinking" | "redacted_thinking":
                reasoning.append(block.thinking or "")
                thoughts.append(thinking_block(block))
            case "tool_use" if block.name == json_tool.NAME:
                text += arguments.to_text(block.input)
            case "tool_use":
                function = {"name": block.name or "", "arguments": arguments.to_text(block.input)}
                calls.append({"id": tool_ids.to_chat(block.id or ""), "type": "function", "function": function})
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text or None,
        "refusal": given.stop_details.explanation if given.stop_details else None,
        "annotations": cited,
    }
    if thoughts:
        message |= {"reasoning_content": "".join(reasoning), "thinking_blocks": thoughts}
    if calls:
        message["tool_calls"] = calls
    return message, bool(calls)
