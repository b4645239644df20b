"""A client that speaks chat completions in front of an upstream that speaks messages.

`request` and `error` are pure functions of bytes, as is `answer`; `Stream` takes events one by one. What neither format
knows of the other is left out where the answer stays what was asked for, and refused where it would not be.
"""

from __future__ import annotations

from typing import Any

import msgspec

from genway.errors import InvalidRequest
from genway.relay.translate import efforts, json_tool, schemas
from genway.relay.translate.chat_bodies import Definition, NamedTool, Request, ToolChoice, request_decoder
from genway.relay.translate.chat_to_messages_answer import answer
from genway.relay.translate.chat_to_messages_stream import Stream
from genway.relay.translate.chat_to_messages_turns import system, turns
from genway.relay.translate.failures import to_chat as error
from genway.relay.translate.reading import one_of, read
from genway.relay.translate.traits import Traits

__all__ = ["Stream", "answer", "error", "request"]

# The version since which the vendor refuses temperature, top_p and top_k (anthropic.md 1).
NO_SAMPLING_SINCE = "2026-10-21"
SEARCHES = {"low": 1, "medium": 5, "high": 10}
WORDS = ("none", "auto", "required")
JSON_ONLY = "Answer with one valid JSON object and nothing else."


def request(body: bytes, *, model: str, traits: Traits, anthropic_version: str = "") -> bytes:
    """The upstream's body for the client's.

    model: the vendor's own name. anthropic_version: what the upstream is sent in the header of that name.
    Raises InvalidRequest naming the field in the client's body.
    """
    asked = read(request_decoder, body)
    _serve(asked)
    tools, choice = _tools(asked, traits)
    out: dict[str, Any] = {"model": model, "max_tokens": _max_tokens(asked, traits)}
    instruction = _structure(asked, traits, out, tools)
    if tools and tools[-1]["name"] == json_tool.NAME:
        alone = len(tools) == 1 or choice == {"type": "none"}
        choice = {"type": "tool", "name": json_tool.NAME} if alone else {"type": "any"}
    if instructions := system(asked.messages, instruction):
        out["system"] = instructions
    out["messages"] = turns(asked.messages, prefill=traits.prefill)
    if tools:
        out["tools"] = tools
        if asked.parallel_tool_calls is False and (choice or {}).get("type") != "none":
            choice = (choice or {"type": "auto"}) | {"disable_parallel_tool_use": True}
        if choice:
            out["tool_choice"] = choice
    _think(asked, traits, out)
    _sample(asked, traits, anthropic_version, out)
    if stops := _stops(asked.stop):
        out["stop_sequences"] = stops
    if asked.stream:
        out["stream"] = True
    if identity := asked.safety_identifier or asked.user:
        out["metadata"] = {"user_id": identity}
    if asked.service_tier == "auto":
        out["service_tier"] = "auto"
    if asked.cache_control:
        out["cache_control"] = asked.cache_control
    return msgspec.json.encode(out)


def _serve(asked: Request) -> None:
    """Raises InvalidRequest for what the answer would lack."""
    if asked.n is not None and asked.n != 1:
        raise InvalidRequest(f"1 in front of this model, got {asked.n}", field="n")
    if asked.logprobs:
        raise InvalidRequest("false in front of this model, which does not tell them", field="logprobs")
    if "audio" in (asked.modalities or ()):
        raise InvalidRequest("text alone in front of this model", field="modalities")
    if asked.moderation is not None:
        raise InvalidRequest("this model's vendor does not moderate by another's model", field="moderation")


def _max_tokens(asked: Request, traits: Traits) -> int:
    field = "max_tokens" if asked.max_completion_tokens is None else "max_completion_tokens"
    tokens: int | None = getattr(asked, field)
    if tokens is None:
        tokens = traits.max_tokens
    if tokens < 1:
        raise InvalidRequest(f"1 or more, got {tokens}", field=field)
    return traits.within_ceiling(tokens)


def _stops(stop: str | list[str] | None) -> list[str]:
    """Sequences of white space alone are refused."""
    return [text for text in ([stop] if isinstance(stop, str) else stop or ()) if text.strip()]


def _sample(asked: Request, traits: Traits, version: str, out: dict[str, Any]) -> None:
    """Temperature is 0–2 here and 0–1 there. A model that thinks takes none of these, others not always two at once."""
    for name, most in (("temperature", 2), ("top_p", 1)):
        value = getattr(asked, name)
        if value is not None and not 0 <= value <= most:
            raise InvalidRequest(f"0 to {most}, got {value:g}", field=name)
    thinks = out.get("thinking", {}).get("type", "disabled") != "disabled"
    if thinks or not traits.sampling or version >= NO_SAMPLING_SINCE:
        return
    if asked.temperature is not None:
        out["temperature"] = min(asked.temperature, 1)
    if asked.top_p is not None and (asked.temperature is None or traits.temperature_and_top_p):
        out["top_p"] = asked.top_p
    if asked.top_k is not None:
        out["top_k"] = asked.top_k


def _tools(asked: Request, traits: Traits) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The tools and the choice among them."""
    tools: list[dict[str, Any]] = []
    for at, tool in enumerate(asked.tools or ()):
        if tool.type != "function":
            raise InvalidRequest(f"function, got {tool.type[:60]}", field=f"tools[{at}].type")
        if tool.function is None:
            raise InvalidRequest("a function and its name", field=f"tools[{at}].function")
        tools.append(_tool(tool.function, tool.cache_control, traits))
    tools += [_tool(function, None, traits) for function in asked.functions or ()]
    choice = asked.tool_choice
    if choice is None and asked.function_call is not None:
        old = asked.function_call
        choice = old if isinstance(old, str) else ToolChoice(function=old)
    if isinstance(choice, ToolChoice) and choice.allowed_tools is not None:
        allowed = _names(choice.allowed_tools.tools)
        tools = [tool for tool in tools if tool["name"] in allowed]
        choice = choice.allowed_tools.mode
    if asked.web_search_options is not None:
        tools.append(_web_search(asked))
    if choice is None or not tools:
        return tools, None
    if isinstance(choice, ToolChoice) and choice.type in WORDS:  # a habit of some clients
        choice = choice.type
    if isinstance(choice, str):
        word = one_of(choice, WORDS, "tool_choice")
        return tools, {"type": "any" if word == "required" else word}
    if choice.function is None:
        raise InvalidRequest("the name of a function", field="tool_choice.function")
    return tools, {"type": "tool", "name": choice.function.name}


def _names(tools: list[NamedTool]) -> set[str]:
    return {tool.function.name for tool in tools if tool.function is not None}


def _tool(function: Definition, cache_control: dict[str, Any] | None, traits: Traits) -> dict[str, Any]:
    schema = function.parameters or {}
    if schema.get("type") != "object":
        schema = {"type": "object", "properties": {}} | schema | {"type": "object"}
    strict = schemas.for_messages(schema) if function.strict and traits.structured else None
    tool: dict[str, Any] = {"name": function.name, "input_schema": strict or schema}
    if function.description:
        tool["description"] = function.description
    if strict:
        tool["strict"] = True
    if hint := cache_control or function.cache_control:
        tool["cache_control"] = hint
    return tool


def _web_search(asked: Request) -> dict[str, Any]:
    options = asked.web_search_options
    size = (options.search_context_size if options else None) or "medium"
    one_of(size, tuple(SEARCHES), "web_search_options.search_context_size")
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": SEARCHES[size]}
    if options and options.user_location and options.user_location.approximate:
        tool["user_location"] = {"type": "approximate"} | options.user_location.approximate
    return tool


def _structure(asked: Request, traits: Traits, out: dict[str, Any], tools: list[dict[str, Any]]) -> str | None:
    """Ask for JSON as the model can: by `output_config`, by a tool, or by the instruction that is returned."""
    wanted = asked.response_format
    if wanted is None:
        return None
    match one_of(wanted.type, ("text", "json_object", "json_schema"), "response_format.type"):
        case "json_object":
            return JSON_ONLY
        case "json_schema":
            schema = wanted.json_schema.schema if wanted.json_schema else None
            if schema is None:
                raise InvalidRequest("a JSON Schema", field="response_format.json_schema.schema")
            if traits.structured and (closed := schemas.for_messages(schema)):
                out["output_config"] = {"format": {"type": "json_schema", "schema": closed}}
            else:
                tools.append(json_tool.definition(schema))
    return None


def _think(asked: Request, traits: Traits, out: dict[str, Any]) -> None:
    """Ask for as much thinking as the client does, in the way that the model takes."""
    effort = asked.reasoning_effort or None
    if effort is not None:
        one_of(effort, efforts.EFFORTS, "reasoning_effort")
    given = asked.thinking or {}
    way, budget = given.get("type"), given.get("budget_tokens")
    if way == "enabled" and not isinstance(budget, int):
        raise InvalidRequest("a number of tokens", field="thinking.budget_tokens")
    if not traits.thinking or (way is None and effort is None):
        return
    if way == "disabled" or (way is None and effort == "none"):
        if traits.thinking_off:
            out["thinking"] = {"type": "disabled"}
        else:
            _set_effort("none", traits, out)
        return
    if way not in {None, "enabled", "adaptive"}:
        out["thinking"] = given
        return
    shown = {"display": given["display"]} if "display" in given else {}
    forced = out.get("tool_choice", {}).get("type") in {"any", "tool"}
    if "adaptive" in traits.thinking and not (way == "enabled" and "budget" in traits.thinking):
        _set_effort(effort or (efforts.of_budget(budget) if isinstance(budget, int) else None), traits, out)
        if not forced:
            out["thinking"] = {"type": "adaptive"} | shown
    elif not forced and not _unsigned(out["messages"]):
        tokens = budget if isinstance(budget, int) else efforts.BUDGETS.get(effort or "medium", efforts.LEAST_BUDGET)
        out["thinking"] = {"type": "enabled", "budget_tokens": _room(tokens, traits, out)} | shown


def _set_effort(effort: str | None, traits: Traits, out: dict[str, Any]) -> None:
    if effort is not None and (accepted := efforts.nearest(effort, traits.efforts)) is not None:
        out.setdefault("output_config", {})["effort"] = accepted


def _room(budget: int, traits: Traits, out: dict[str, Any]) -> int:
    """Make `max_tokens` larger than the budget, which counts towards it; the budget that then fits."""
    budget = max(budget, efforts.LEAST_BUDGET)
    if out["max_tokens"] <= budget:
        out["max_tokens"] = traits.within_ceiling(out["max_tokens"] + budget)
    most: int = out["max_tokens"] - 1
    return min(budget, most)


def _unsigned(messages: list[dict[str, Any]]) -> bool:
    """Whether this goes on with words of the assistant's, or with its calls, whose thinking did not come back.

    Thinking by budget is refused then.
    """
    if messages[-1]["role"] == "assistant":
        return messages[-1]["content"][0]["type"] not in {"thinking", "redacted_thinking"}
    if len(messages) < 2 or messages[-1]["content"][0]["type"] != "tool_result":
        return False
    return messages[-2]["content"][0]["type"] not in {"thinking", "redacted_thinking"}
