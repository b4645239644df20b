"""A conversation in chat completions as one in messages."""

from __future__ import annotations

from typing import Any

from genway.errors import InvalidRequest
from genway.relay.translate import arguments, media, tool_ids
from genway.relay.translate.chat_bodies import Message, Part, ToolCall

BLANK_TURN = "..."
INSTRUCTIONS = ("system", "developer")

Content = list[dict[str, Any]]


def system(messages: list[Message], instruction: str | None = None) -> str | Content | None:
    """All instructions, in order: one text, or blocks where one has a cache hint. Raises InvalidRequest.

    instruction: one more, after them all.
    """
    blocks: Content = []
    for at, message in enumerate(messages):
        if message.role in INSTRUCTIONS:
            blocks += _hinted(_content(message, f"messages[{at}]", texts_only=True), message.cache_control)
    if instruction:
        blocks.append(_text(instruction))
    if any("cache_control" in block for block in blocks):
        return blocks
    return "\n".join(block["text"] for block in blocks) or None


def turns(messages: list[Message], *, prefill: bool) -> list[dict[str, Any]]:
    """The messages without instructions; one role's consecutive ones are one turn, and the first is the user's.

    prefill: whether the last may be the assistant's. Raises InvalidRequest.
    """
    if not messages:
        raise InvalidRequest("at least one message", field="messages")
    merged: list[dict[str, Any]] = []
    old_call = ""
    for at, message in enumerate(messages):
        where = f"messages[{at}]"
        match message.role:
            case "system" | "developer":
                continue
            case "user":
                role, content = "user", _content(message, where)
            case "assistant":
                role, content = "assistant", _assistant(message, where, at)
                old_call = f"call_{at}" if message.function_call else old_call
            case "tool" | "function":
                role, content = "user", [_result(message, where, old_call)]
            case other:
                raise InvalidRequest(f"system, developer, user, assistant or tool, got {other[:60]}", field=f"{where}.role")
        if not _hinted(content, message.cache_control):
            continue
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += content
        else:
            merged.append({"role": role, "content": content})
    _end(merged, prefill, f"messages[{len(messages) - 1}]")
    if not merged or merged[0]["role"] != "user":
        merged.insert(0, {"role": "user", "content": [_text(BLANK_TURN)]})
    for turn in merged:
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    return merged


def _end(merged: list[dict[str, Any]], prefill: bool, where: str) -> None:
    """What the assistant is to continue must not end in white space, and not every model continues it."""
    if not merged or merged[-1]["role"] != "assistant" or merged[-1]["content"][-1]["type"] != "text":
        return
    if not prefill:
        raise InvalidRequest("this model does not continue a message of the assistant: end with the user's", field=where)
    merged[-1]["content"][-1]["text"] = merged[-1]["content"][-1]["text"].rstrip()


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _content(message: Message, where: str, *, texts_only: bool = False) -> Content:
    """A message's content as blocks, without blank texts, which are refused."""
    if isinstance(message.content, list):
        parts = [_part(part, f"{where}.content[{at}]", texts_only) for at, part in enumerate(message.content)]
        return [part for part in parts if part is not None]
    return [_text(message.content)] if message.content and message.content.strip() else []


def _hinted(blocks: Content, hint: dict[str, Any] | None) -> Content:
    """With a message's own cache hint on its last block."""
    if hint and blocks:
        blocks[-1].setdefault("cache_control", hint)
    return blocks


def _part(part: Part, where: str, texts_only: bool) -> dict[str, Any] | None:
    match part.type:
        case "text" | "input_text" | "refusal":
            text = part.refusal if part.type == "refusal" else part.text
            if text is None:
                raise InvalidRequest("a text", field=f"{where}.{'refusal' if part.type == 'refusal' else 'text'}")
            block = _text(text) if text.strip() else None
        case _ if texts_only:
            raise InvalidRequest(f"only text is possible here, got {part.type[:60]}", field=f"{where}.type")
        case "image_url":
            if part.image_url is None:
                raise InvalidRequest("an address or a data URI", field=f"{where}.image_url")
            if isinstance(part.image_url, str):
                block = media.picture(part.image_url, f"{where}.image_url")
            else:
                block = media.picture(part.image_url.url, f"{where}.image_url.url")
        case "file":
            if part.file is None or part.file.file_data is None:
                raise InvalidRequest("a file's data; an id is known to its own vendor only", field=f"{where}.file.file_data")
            block = media.document(part.file.file_data, part.file.filename, f"{where}.file.file_data")
        case "input_audio":
            raise InvalidRequest("this model does not take sound", field=f"{where}.type")
        case other:
            raise InvalidRequest(f"text, image_url or file, got {other[:60]}", field=f"{where}.type")
    if block is not None and part.cache_control:
        block["cache_control"] = part.cache_control
    return block


def _assistant(message: Message, where: str, at: int) -> Content:
    """Thinking, then text, then calls. Thinking without its signature would be refused, and so would other members."""
    blocks: Content = []
    for thought in message.thinking_blocks or ():
        kind, signature, data = thought.get("type"), thought.get("signature"), thought.get("data")
        if kind == "thinking" and signature and "thinking" in thought:
            blocks.append({"type": kind, "thinking": thought["thinking"], "signature": signature})
        elif kind == "redacted_thinking" and data:
            blocks.append({"type": kind, "data": data})
    blocks += _content(message, where)
    if not message.content and message.refusal and message.refusal.strip():
        blocks.append(_text(message.refusal))
    for index, call in enumerate(message.tool_calls or ()):
        blocks.append(_call(call, f"{where}.tool_calls[{index}]"))
    if message.function_call:
        blocks.append(_call(ToolCall(f"call_{at}", function=message.function_call), f"{where}.function_call"))
    return blocks


def _call(call: ToolCall, where: str) -> dict[str, Any]:
    if call.type not in {None, "function"}:
        raise InvalidRequest(f"function, got {call.type}"[:80], field=f"{where}.type")
    if call.function is None or not call.function.name:
        raise InvalidRequest("a function and its name", field=f"{where}.function.name")
    if not call.id:
        raise InvalidRequest("the call's id", field=f"{where}.id")
    given = arguments.to_object(call.function.arguments)
    return {"type": "tool_use", "id": tool_ids.to_messages(call.id), "name": call.function.name, "input": given}


def _result(message: Message, where: str, old_call: str) -> dict[str, Any]:
    """A tool's result. old_call: the id that was given to the last call by the deprecated `function_call`."""
    identity = message.tool_call_id or (old_call if message.role == "function" else "")
    if not identity:
        raise InvalidRequest("the id of the call that this answers", field=f"{where}.tool_call_id")
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": tool_ids.to_messages(identity)}
    if isinstance(message.content, str):
        block["content"] = message.content
    elif message.content:
        block["content"] = _content(message, where)
    return block
