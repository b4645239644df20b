"""A conversation in messages as one in chat completions."""

from __future__ import annotations

from typing import Any

from genway.errors import InvalidRequest
from genway.relay.translate import arguments, media, tool_ids, tool_names
from genway.relay.translate.messages_bodies import Block, Message, Request, Source
from genway.relay.translate.traits import Traits

# Claude Code's first block of instructions changes with every call, which would spoil the upstream's prompt cache.
BILLING_LINE = "x-anthropic-billing-header:"
FAILED = "Error: "
BLOCK_SEPARATOR = "\n"

# What is sealed by the vendor, or was left behind by tools on its servers, means nothing to another one.
VENDORS_OWN = (
    "server_tool_use",
    "mcp_tool_use",
    "mcp_tool_listing",
    "redacted_thinking",
    "container_upload",
    "browser_state",
    "compaction",
    "fallback",
)
# What the conversation says of its tools goes into the request's `tools`.
TOOL_CHANGES = ("tool_addition", "tool_removal")
ONCE = "next_user_message"

Parts = list[dict[str, Any]]


def messages(asked: Request, instructions_role: str, traits: Traits) -> list[dict[str, Any]]:
    """The conversation with its instructions.

    instructions_role: `system`, or `developer` for models that want that. Raises InvalidRequest.
    """
    if not asked.messages:
        raise InvalidRequest("at least one message", field="messages")
    out: list[dict[str, Any]] = []
    if instructions := _instructions(asked.system, "system"):
        out.append({"role": instructions_role, "content": instructions})
    first, start, summary = _summary(asked.messages)
    if summary:
        out.append({"role": "user", "content": summary})
    last_of_user = max((at for at, message in enumerate(asked.messages) if message.role == "user"), default=-1)
    for at, message in enumerate(asked.messages[first:], first):
        where = f"messages[{at}]"
        if message.content is None and message.role in {"user", "assistant"}:
            raise InvalidRequest("a text or blocks", field=f"{where}.content")
        skipped = start if at == first else 0
        match message.role:
            case "user":
                results, own = _user(message, where, skipped)
                place = _behind_calls(out)
                out[place:place] = results
                out += own
            case "assistant":
                said = _assistant(message, where, skipped, traits.reasoning_content)
                if said and out and out[-1]["role"] == "assistant":
                    said = [_joined(out.pop(), said[0])]
                out += said
            case "system" if message.clear_at == ONCE and at < last_of_user:
                continue
            case "system":
                if instructions := _instructions(message.content, f"{where}.content"):
                    out.append({"role": instructions_role, "content": instructions})
            case other:
                raise InvalidRequest(f"user or assistant, got {other[:60]}", field=f"{where}.role")
    for each in out:
        if "tool_call_id" in each:
            each["tool_call_id"] = tool_ids.within(each["tool_call_id"], traits.longest_id)
        for call in each.get("tool_calls", ()):
            call["id"] = tool_ids.within(call["id"], traits.longest_id)
    return out


def _summary(messages: list[Message]) -> tuple[int, int, str]:
    """The last summary that stands for all before it, with where what is still to be sent begins: message and block."""
    for at in reversed(range(len(messages))):
        blocks = _blocks(messages[at].content)
        for number in reversed(range(len(blocks))):
            block = blocks[number]
            if block.type == "compaction" and isinstance(block.content, str) and block.content:
                return at, number + 1, block.content
    return 0, 0, ""


def _behind_calls(out: list[dict[str, Any]]) -> int:
    """Where results belong: at once behind the calls, before whatever else was said since."""
    return next((at + 1 for at in reversed(range(len(out))) if out[at]["role"] in {"assistant", "tool"}), len(out))


def _joined(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Two messages of the assistant as the one that they are in the messages format."""
    calls = [*before.get("tool_calls", ()), *after.get("tool_calls", ())]
    out = {"role": "assistant", "content": (before["content"] or "") + (after["content"] or "") or (None if calls else "")}
    if "reasoning_content" in before:
        out["reasoning_content"] = before["reasoning_content"] + after["reasoning_content"]
    if calls:
        out["tool_calls"] = calls
    return out


def _instructions(given: str | list[Block] | None, where: str) -> str:
    return BLOCK_SEPARATOR.join(filter(None, map(_lasting, _texts(_blocks(given), where))))


def _lasting(text: str) -> str:
    return text.partition("\n")[2] if text.startswith(BILLING_LINE) else text


def _blocks(content: str | list[Block] | None) -> list[Block]:
    if isinstance(content, str):
        return [Block("text", text=content)]
    return content or []


def _texts(blocks: list[Block], where: str) -> list[str]:
    for at, block in enumerate(blocks):
        if block.type not in {"text", *TOOL_CHANGES}:
            raise InvalidRequest(f"only text is possible here, got {block.type[:60]}", field=f"{where}[{at}].type")
    return [block.text or "" for block in blocks]


def _user(message: Message, where: str, skipped: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Results, each a message of its own, and the user's own content, with what else than text the results hold."""
    results: list[dict[str, Any]] = []
    parts: Parts = []
    own: Parts = []
    for at, block in enumerate(_blocks(message.content)[skipped:], skipped):
        place = f"{where}.content[{at}]"
        if block.type == "tool_result":
            result, others = _result(block, place)
            results.append(result)
            parts += others
        else:
            own += _parts(block, place)
    return results, [{"role": "user", "content": _simplest(parts + own)}] if parts + own else []


def _simplest(parts: Parts) -> str | Parts:
    """Texts alone are one text: not every upstream reads parts (DeepSeek refuses them)."""
    if all(part["type"] == "text" for part in parts):
        return BLOCK_SEPARATOR.join(part["text"] for part in parts)
    return parts


def _result(block: Block, where: str) -> tuple[dict[str, Any], Parts]:
    """The tool's message, and the parts that such a message cannot hold."""
    if not block.tool_use_id:
        raise InvalidRequest("the id of the call that this answers", field=f"{where}.tool_use_id")
    content = block.content if isinstance(block.content, str | list) else None
    parts = [
        part
        for at, inner in enumerate(_blocks(content))
        for part in _parts(inner, f"{where}.content" if isinstance(content, str) else f"{where}.content[{at}]")
    ]
    text = BLOCK_SEPARATOR.join(part["text"] for part in parts if part["type"] == "text")
    if block.is_error:
        text = FAILED + text
    message = {"role": "tool", "tool_call_id": tool_ids.to_chat(block.tool_use_id), "content": text}
    return message, [part for part in parts if part["type"] != "text"]


def _text(text: str | None) -> Parts:
    return [{"type": "text", "text": text}] if text else []


def _parts(block: Block, where: str) -> Parts:
    source = block.source if isinstance(block.source, Source) else None
    match block.type:
        case "text":
            return _text(block.text)
        case "image":
            return [{"type": "image_url", "image_url": {"url": _address(source, where, "image/png")}}]
        case "document":
            return _document(block, source, where)
        case "search_result":
            named = [block.title or "", block.source if isinstance(block.source, str) else ""]
            found = block.content if isinstance(block.content, list) else []
            return _text(BLOCK_SEPARATOR.join(each for each in [*named, *_texts(found, f"{where}.content")] if each))
        case "tool_reference":
            return _text(tool_names.to_chat(block.tool_name or ""))
        case other if other in VENDORS_OWN or other in TOOL_CHANGES or other.endswith("_tool_result"):
            return []
        case other:
            raise InvalidRequest(
                f"text, image, document, search_result or tool_result, got {other[:60]}", field=f"{where}.type"
            )


def _document(block: Block, source: Source | None, where: str) -> Parts:
    head = [each for each in (block.title, block.context) if each]
    if source is not None and source.type == "text":
        return _text(BLOCK_SEPARATOR.join([*head, source.data or ""]))
    if source is not None and source.type == "content":
        inner = [
            part for at, each in enumerate(_blocks(source.content)) for part in _parts(each, f"{where}.source.content[{at}]")
        ]
        return [*_text(BLOCK_SEPARATOR.join(head)), *inner]
    if source is None or source.type != "base64":
        raise InvalidRequest("base64, text or content in front of this model", field=f"{where}.source.type")
    name = block.title or "document"
    if not name.lower().endswith(".pdf"):  # OpenAI tells what a file is by the end of its name
        name += ".pdf"
    file = {"filename": name, "file_data": _address(source, where, media.PDF)}
    return [*_text(block.context), {"type": "file", "file": file}]


def _address(source: Source | None, where: str, usual: str) -> str:
    """An address or a data URI."""
    if source is not None and source.type == "url" and source.url:
        return source.url
    if source is not None and source.type == "base64" and source.data:
        return media.data_uri(source.media_type or usual, source.data)
    raise InvalidRequest("base64 or url; a file's id is known to its own vendor only", field=f"{where}.source.type")


def _assistant(message: Message, where: str, skipped: int, reasoning_content: bool) -> list[dict[str, Any]]:
    """One message, or none where nothing in it has an equivalent.

    Who wants its reasoning back misses it in any message, but takes an empty one where the client kept none.
    """
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for at, block in enumerate(_blocks(message.content)[skipped:], skipped):
        place = f"{where}.content[{at}]"
        if block.type == "tool_use":
            calls.append(_call(block, place))
        elif block.type == "thinking":
            thoughts.append(block.thinking or "")
        else:
            texts += [part["text"] for part in _parts(block, place) if part["type"] == "text"]
    reasoning = "".join(thoughts) if reasoning_content else ""
    if not (texts or calls or reasoning):
        return []
    out: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or (None if calls else "")}
    if reasoning_content:
        out["reasoning_content"] = reasoning
    if calls:
        out["tool_calls"] = calls
    return [out]


def _call(block: Block, where: str) -> dict[str, Any]:
    if not block.id:
        raise InvalidRequest("the call's id", field=f"{where}.id")
    if not block.name:
        raise InvalidRequest("the tool's name", field=f"{where}.name")
    function = {"name": tool_names.to_chat(block.name), "arguments": arguments.to_text(block.input)}
    return {"id": tool_ids.to_chat(block.id), "type": "function", "function": function}
