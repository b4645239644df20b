from __future__ import annotations

import json
from typing import Any

import pytest

from genway.errors import InvalidRequest
from genway.relay.translate import messages_to_chat
from genway.relay.translate.traits import Traits
from relay.translate.stage import PLAIN, to_chat

HELLO = {"max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
WEATHER = {"name": "weather", "description": "How it is", "input_schema": SCHEMA}
REASONING = "gpt-5.2"


def test_a_plain_question_is_a_plain_question() -> None:
    assert to_chat(HELLO) == {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}


def test_a_count_of_tokens_has_no_limit() -> None:
    assert to_chat({"messages": HELLO["messages"]}).keys() == {"model", "messages"}


def test_thinking_models_have_rules_of_their_own() -> None:
    asked = HELLO | {"system": "Be brief.", "stop_sequences": ["END"], "temperature": 0.3, "top_p": 0.5}
    made = to_chat(asked, REASONING)
    assert made["messages"][0] == {"role": "developer", "content": "Be brief."}
    assert made["max_completion_tokens"] == 100
    assert not {"max_tokens", "stop", "temperature", "top_p"} & made.keys()
    plain = to_chat(asked)
    assert plain["messages"][0]["role"] == "system"
    assert plain.items() >= {"max_tokens": 100, "stop": ["END"], "temperature": 0.3, "top_p": 0.5}.items()


def test_max_tokens_is_within_the_models_ceiling() -> None:
    assert to_chat(HELLO | {"max_tokens": 64_000})["max_tokens"] == 16_384
    assert to_chat(HELLO | {"max_tokens": 64_000}, "llama-4")["max_tokens"] == 64_000


def test_four_stops_are_all_that_fit() -> None:
    assert to_chat(HELLO | {"stop_sequences": list("abcde")})["stop"] == list("abcd")


def test_a_stream_always_asks_for_usage() -> None:
    made = to_chat(HELLO | {"stream": True})
    assert made["stream"] is True
    assert made["stream_options"] == {"include_usage": True}


def test_what_has_no_equivalent_is_left_out() -> None:
    lost = {
        "top_k": 5,
        "cache_control": {"type": "ephemeral"},
        "service_tier": "auto",
        "speed": "fast",
        "container": "c",
        "context_management": {"edits": []},
        "mcp_servers": [],
    }
    hinted = {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}
    assert to_chat(HELLO | lost | {"messages": [hinted]}) == to_chat(HELLO)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"output_config": {"effort": "hard"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        ({"output_format": {"type": "json_schema"}}, "output_format.schema"),
        ({"compaction": {"type": "summarize"}}, "compaction"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        to_chat(HELLO | body)
    assert refused.value.field == field


def test_the_clients_tools_are_sent_and_the_other_servers_are_not() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    made = to_chat(HELLO | {"tools": [WEATHER | {"type": "custom", "strict": True, "cache_control": {}}, search]})
    assert made["tools"] == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "How it is", "parameters": SCHEMA, "strict": True},
        }
    ]
    assert "tools" not in to_chat(HELLO | {"tools": [search], "tool_choice": {"type": "any"}})


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "weather"}, {"type": "function", "function": {"name": "weather"}}),
        ({"type": "tool", "name": "web_search"}, None),
        (None, None),
    ],
)
def test_tool_choice_is_translated(choice: dict[str, str] | None, sent: object) -> None:
    assert to_chat(HELLO | {"tools": [WEATHER], "tool_choice": choice}).get("tool_choice") == sent


def test_one_call_at_a_time_is_asked_for() -> None:
    made = to_chat(HELLO | {"tools": [WEATHER], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}})
    assert made["tool_choice"] == "required"
    assert made["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 31_999}}, "xhigh"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, "high"),
        ({"output_config": {"effort": "max"}}, "xhigh"),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, "none"),
        ({}, None),
    ],
)
def test_thinking_is_an_effort(asked: dict[str, Any], sent: str | None) -> None:
    assert to_chat(HELLO | asked, REASONING).get("reasoning_effort") == sent
    assert "reasoning_effort" not in to_chat(HELLO | asked)


def test_thinking_cannot_be_switched_off_where_no_word_says_so() -> None:
    assert "reasoning_effort" not in to_chat(HELLO | {"thinking": {"type": "disabled"}}, "o3")


def test_a_schema_is_strict_where_it_can_be() -> None:
    def sent(schema: dict[str, Any]) -> dict[str, Any]:
        made = to_chat(HELLO | {"output_config": {"format": {"type": "json_schema", "schema": schema}}})
        found: dict[str, Any] = made["response_format"]
        return found

    assert sent(SCHEMA) == {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    optional = SCHEMA | {"required": []}
    assert sent(optional)["json_schema"]["strict"] is False
    assert sent({"type": "array", "items": {"anyOf": [SCHEMA, optional]}})["json_schema"]["strict"] is False


def test_a_schema_is_found_where_older_clients_put_it() -> None:
    made = to_chat(HELLO | {"output_config": {"effort": "low"}, "output_format": {"type": "json_schema", "schema": SCHEMA}})
    assert made["response_format"]["json_schema"]["schema"] == SCHEMA


def test_a_users_name_is_as_short_as_the_vendor_wants_it() -> None:
    assert to_chat(HELLO | {"metadata": {"user_id": "u1"}})["user"] == "u1"
    long = to_chat(HELLO | {"metadata": {"user_id": "u" * 129}})["user"]
    assert len(long) == 64
    assert long == to_chat(HELLO | {"metadata": {"user_id": "u" * 129}})["user"]


def test_the_models_own_name_is_sent() -> None:
    raw = messages_to_chat.request(json.dumps(HELLO | {"model": "mine"}).encode(), model="theirs", traits=PLAIN)
    assert json.loads(raw)["model"] == "theirs"


def test_reasoning_is_sent_back_where_the_model_wants_it() -> None:
    talk = {
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "yes"}],
            },
            {"role": "user", "content": "why?"},
        ]
    }
    wanted = to_chat(talk, given=Traits(reasoning_content=True))["messages"][1]
    assert wanted == {"role": "assistant", "content": "yes", "reasoning_content": "hm"}
    assert to_chat(talk)["messages"][1] == {"role": "assistant", "content": "yes"}


@pytest.mark.parametrize("model", ["gpt-5.4", "openai/gpt-5.6-terra", "gpt-6-sol", "gpt-6.1-terra"])
@pytest.mark.parametrize("asked", [{}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}])
def test_a_model_that_takes_no_tools_while_it_thinks_does_not_think(model: str, asked: dict[str, Any]) -> None:
    assert to_chat(HELLO | asked | {"tools": [WEATHER]}, model)["reasoning_effort"] == "none"
    assert to_chat(HELLO | asked, model).get("reasoning_effort") == asked.get("output_config", {}).get("effort")


@pytest.mark.parametrize("model", ["gpt-5", "gpt-5.1", "o3", "gpt-5.3-chat-latest", "gpt-4o"])
def test_other_models_think_with_tools(model: str) -> None:
    asked = HELLO | {"tools": [WEATHER], "output_config": {"effort": "low"}}
    assert to_chat(asked, model).get("reasoning_effort") == ("low" if model in {"gpt-5", "gpt-5.1", "o3"} else None)


def test_a_strict_tool_is_strict_where_the_other_vendor_takes_it_so() -> None:
    optional = WEATHER | {"strict": True, "input_schema": SCHEMA | {"required": []}}
    made = to_chat(HELLO | {"tools": [WEATHER | {"strict": True}, optional, WEATHER]})["tools"]
    assert [tool["function"].get("strict") for tool in made] == [True, False, None]


def test_a_server_that_refuses_to_be_asked_for_usage_is_not_asked() -> None:
    made = to_chat(HELLO | {"stream": True}, given=Traits(stream_usage=False))
    assert made["stream"] is True
    assert "stream_options" not in made


def test_half_a_character_in_a_conversation_is_replaced() -> None:
    assert to_chat(HELLO | {"messages": [{"role": "user", "content": "a\ud83d"}]})["messages"][0]["content"] == "a\ufffd"
