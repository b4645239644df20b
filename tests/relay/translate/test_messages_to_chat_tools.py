from __future__ import annotations

import json
from typing import Any

import pytest

from genway.errors import InvalidRequest
from genway.relay.translate import messages_to_chat, tool_names
from relay.translate.stage import read_by_anthropic, to_chat, told

MCP = "mcp__plugin_yt-content-strategist_youtube-analytics__get_video_enhanced_transcript"
SHORT = tool_names.to_chat(MCP)
HI = {"role": "user", "content": "hi"}


def tool(name: str = "weather", schema: object = None, **more: object) -> dict[str, Any]:
    return {"name": name, "input_schema": schema or {"type": "object", "properties": {}}} | more


def asked(*tools: dict[str, Any], messages: tuple[dict[str, Any], ...] = (HI,), **more: Any) -> dict[str, Any]:
    return {"max_tokens": 9, "messages": list(messages), "tools": list(tools)} | more


def names_sent(*tools: dict[str, Any], messages: tuple[dict[str, Any], ...] = (HI,)) -> list[str]:
    return [each["function"]["name"] for each in to_chat(asked(*tools, messages=messages)).get("tools", ())]


def says(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "system", "content": list(blocks)}


def test_a_name_that_is_too_long_is_shortened_wherever_it_stands() -> None:
    call = {"type": "tool_use", "id": "a", "name": MCP, "input": {}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "tool_reference", "tool_name": MCP}]}
    talk = (HI, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]})
    made = to_chat(asked(tool(MCP), messages=talk, tool_choice={"type": "tool", "name": MCP}))
    assert made["tools"][0]["function"]["name"] == SHORT
    assert made["tool_choice"]["function"]["name"] == SHORT
    assert made["messages"][1]["tool_calls"][0]["function"]["name"] == SHORT
    assert made["messages"][2]["content"] == SHORT


def test_a_call_by_the_short_name_is_one_by_the_full_name() -> None:
    request = json.dumps(asked(tool(), tool(MCP))).encode()
    function = {"id": "a", "type": "function", "function": {"name": SHORT, "arguments": "{}"}}

    whole = {"choices": [{"index": 0, "message": {"tool_calls": [function]}, "finish_reason": "tool_calls"}]}
    message = json.loads(messages_to_chat.answer(json.dumps(whole).encode(), model="m", asked=request))
    assert message["content"][0]["name"] == MCP

    chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [function | {"index": 0}]}, "finish_reason": "tool_calls"}]}
    stream = messages_to_chat.Stream(model="m", include_usage=True, created=0, asked=request)
    (block,) = read_by_anthropic(told(stream, [chunk])).content
    assert block.type == "tool_use"
    assert block.name == MCP


def test_a_call_of_a_tool_that_was_defined_within_the_conversation_has_its_full_name() -> None:
    added = says({"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool(MCP)}})
    request = json.dumps(asked(messages=(HI, added))).encode()
    function = {"id": "a", "type": "function", "function": {"name": SHORT, "arguments": "{}"}}
    whole = {"choices": [{"index": 0, "message": {"tool_calls": [function]}, "finish_reason": "tool_calls"}]}
    message = json.loads(messages_to_chat.answer(json.dumps(whole).encode(), model="m", asked=request))
    assert message["content"][0]["name"] == MCP


@pytest.mark.parametrize("schema", [None, {"type": "object"}, {"type": "object", "properties": None}, {"description": "x"}])
def test_a_tool_without_arguments_says_so(schema: object) -> None:
    sent = to_chat(asked({"name": "ping", "input_schema": schema}))["tools"][0]["function"]["parameters"]
    assert sent.items() >= {"type": "object", "properties": {}}.items()


def test_a_tool_that_the_conversation_takes_away_is_not_sent_until_it_is_given_back() -> None:
    removed = says({"type": "tool_removal", "tool": {"type": "tool_reference", "name": "search"}})
    added = says({"type": "tool_addition", "tool": {"type": "tool_reference", "name": "search"}})
    both = tool("weather"), tool("search")
    assert names_sent(*both, messages=(HI, removed)) == ["weather"]
    assert names_sent(*both, messages=(HI, removed, HI, added)) == ["weather", "search"]
    assert names_sent(*both, messages=(HI, added)) == ["weather", "search"]


def test_a_tool_that_the_conversation_defines_is_sent() -> None:
    added = says(
        {"type": "text", "text": "You can look at the sky now."},
        {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool("sky")}},
    )
    made = to_chat(asked(tool(), messages=(HI, added, HI)))
    assert [each["function"]["name"] for each in made["tools"]] == ["weather", "sky"]
    assert made["messages"][1] == {"role": "system", "content": "You can look at the sky now."}


def test_what_is_said_of_other_servers_tools_changes_nothing() -> None:
    removed = says({"type": "tool_removal", "tool": {"type": "mcp_tool_reference", "server_name": "s", "name": "weather"}})
    added = says({"type": "tool_addition", "tool": {"type": "mcp_toolset_reference", "server_name": "s"}})
    assert names_sent(tool(), messages=(HI, removed, added)) == ["weather"]


def test_a_definition_without_a_name_is_refused_where_it_stands() -> None:
    added = says({"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"input_schema": {}}}})
    with pytest.raises(InvalidRequest) as refused:
        to_chat(asked(messages=(HI, added)))
    assert refused.value.field == "messages[1].content[0].tool.definition.name"
