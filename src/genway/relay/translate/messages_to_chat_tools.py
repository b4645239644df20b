"""Tools in messages as those of chat completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from genway.errors import InvalidRequest
from genway.relay.translate import schemas, tool_names
from genway.relay.translate.messages_bodies import Request, Tool, ToolChange, ToolChoice, request_decoder
from genway.relay.translate.reading import decode, one_of

Named = tuple[str, dict[str, Any]]


def tools(asked: Request) -> list[Named]:
    """The client's own tools with their full names: the request's, and what the conversation adds to them or takes away.

    Those that the other vendor's servers run, or whose schemas only it knows, are left out. Raises InvalidRequest.
    """
    offered = [each for at, tool in enumerate(asked.tools or ()) for each in _own(tool, f"tools[{at}]")]
    known = dict(offered)
    for kind, change, where in _changes(asked):
        name = change.name if change.server_name is None else None
        if change.definition is not None:
            name = change.definition.name
            known |= _own(change.definition, f"{where}.definition")
        if kind == "tool_removal":
            offered = [each for each in offered if each[0] != name]
        elif name in known and name not in dict(offered):
            offered.append((name, known[name]))
    return offered


def names(body: bytes) -> list[str]:
    """The full names of all tools that a request speaks of; none where it cannot be read."""
    try:
        asked = decode(request_decoder, body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    added = [change.definition for _, change, _ in _changes(asked) if change.definition is not None]
    return [tool.name for tool in [*(asked.tools or ()), *added] if tool.name]


def choice(given: ToolChoice | None, offered: Sequence[Named]) -> dict[str, Any]:
    """The members of the body that say which of the `offered` tools to call. Raises InvalidRequest."""
    if given is None:
        return {}
    out: dict[str, Any] = {}
    match one_of(given.type, ("auto", "any", "tool", "none"), "tool_choice.type"):
        case "any":
            out["tool_choice"] = "required"
        case "tool" if not given.name:
            raise InvalidRequest("the tool's name", field="tool_choice.name")
        case "tool" if given.name in dict(offered):
            out["tool_choice"] = {"type": "function", "function": {"name": tool_names.to_chat(given.name)}}
        case "auto" | "none":
            out["tool_choice"] = given.type
    if given.disable_parallel_tool_use:
        out["parallel_tool_calls"] = False
    return out


def _changes(asked: Request) -> list[tuple[str, ToolChange, str]]:
    """What the conversation says of tools: whether one is added or removed, which, and where that stands."""
    return [
        (block.type, block.tool, f"messages[{at}].content[{number}].tool")
        for at, message in enumerate(asked.messages)
        if isinstance(message.content, list)
        for number, block in enumerate(message.content)
        if block.tool is not None and block.type in {"tool_addition", "tool_removal"}
    ]


def _own(tool: Tool, where: str) -> list[Named]:
    """The tool, where it is the client's own."""
    if tool.type not in {None, "custom"}:
        return []
    if not tool.name:
        raise InvalidRequest("the tool's name", field=f"{where}.name")
    schema = schemas.for_chat(tool.input_schema or {})
    function: dict[str, Any] = {"name": tool_names.to_chat(tool.name), "parameters": schema}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict and schemas.can_be_strict(schema)
    return [(tool.name, {"type": "function", "function": function})]
