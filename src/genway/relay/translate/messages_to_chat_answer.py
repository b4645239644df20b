"""A whole answer in chat completions as one in messages."""

from __future__ import annotations

from typing import Any

import msgspec

from genway.relay.translate import arguments, failures, reading, stop_reasons, tool_ids, usage
from genway.relay.translate.chat_bodies import Function, Produced, ToolCall, answer_decoder, text_of, thought_of
from genway.relay.translate.messages_to_chat_tools import names
from genway.relay.translate.tool_names import Names


def answer(body: bytes, *, model: str, asked: bytes = b"") -> bytes:
    """The client's answer for the upstream's first choice.

    model: the name that the client asked by. asked: the client's request, whose names its tools have. Raises
    msgspec.DecodeError where `body` is no answer in this format, or one that is not whole by its own word.
    """
    given = reading.decode(answer_decoder, body)
    if not given.choices:
        raise failures.no_answer(given.error)
    choice = given.choices[0]
    if choice.finish_reason in stop_reasons.FAILURES:
        raise failures.no_answer(choice.error or given.error, choice.finish_reason)
    message = choice.message or Produced()
    content = _content(message, Names(lambda: names(asked)))
    called = any(block["type"] == "tool_use" for block in content)
    reason = stop_reasons.to_messages(choice.finish_reason, called=called)
    return msgspec.json.encode(
        {
            "id": identity(given.id),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            "stop_reason": "refusal" if message.refusal else reason,
            "stop_sequence": None,
            "stop_details": refusal(message.refusal),
            "usage": usage.to_messages(usage.of_chat(given.usage)),
        }
    )


def identity(completion_id: str | None) -> str:
    """The message's id for a completion's."""
    return f"msg_{(completion_id or '').removeprefix('chatcmpl-') or tool_ids.invented().removeprefix('toolu_')}"


def refusal(text: str | None) -> dict[str, Any] | None:
    """The stop details for the words that the model refused with."""
    return {"type": "refusal", "category": None, "explanation": text} if text else None


def _content(message: Produced, called: Names) -> list[dict[str, Any]]:
    """Thinking, then text, then calls. Another vendor's thinking has no signature."""
    blocks: list[dict[str, Any]] = []
    if thought := thought_of(message):
        blocks.append({"type": "thinking", "thinking": thought, "signature": ""})
    if text := text_of(message.content) or message.refusal:
        blocks.append({"type": "text", "text": text, "citations": None})
    blocks += [_call(call, called) for call in message.tool_calls or ()]
    if message.function_call:
        blocks.append(_call(ToolCall(function=message.function_call), called))
    return blocks


def _call(call: ToolCall, called: Names) -> dict[str, Any]:
    function = call.function or Function()
    return {
        "type": "tool_use",
        "id": tool_ids.to_messages(call.id) if call.id else tool_ids.invented(),
        "name": called.full(function.name or ""),
        "input": arguments.to_object(function.arguments),
    }
