from __future__ import annotations

import json
from typing import Any

import pytest

from genway.errors import InvalidRequest
from genway.relay.translate import chat_to_messages, traits
from relay.translate.stage import to_messages

HELLO = {"messages": [{"role": "user", "content": "hi"}]}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "How it is", "parameters": SCHEMA}}
NEW, OLD, OLDEST = "claude-opus-4-8", "claude-sonnet-4-5", "claude-3-haiku-20240307"


def refused(body: dict[str, Any], model: str = OLD) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as problem:
        to_messages(HELLO | body, model)
    return problem.value


def test_a_plain_question_is_a_plain_question() -> None:
    assert to_messages(HELLO, OLDEST) == {
        "model": OLDEST,
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
    }


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({}, 4096),
        ({"max_tokens": 10}, 10),
        ({"max_tokens": 10, "max_completion_tokens": 20}, 20),
        ({"max_tokens": 9000}, 4096),
    ],
)
def test_max_tokens_is_always_said_and_within_the_models_ceiling(given: dict[str, int], taken: int) -> None:
    assert to_messages(HELLO | given, OLDEST)["max_tokens"] == taken


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"n": 2}, "n"),
        ({"logprobs": True, "top_logprobs": 2}, "logprobs"),
        ({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}, "modalities"),
        ({"moderation": {"model": "omni-moderation-latest"}}, "moderation"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"reasoning_effort": "hard"}, "reasoning_effort"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"tools": [WEATHER, {"type": "custom", "custom": {"name": "x"}}]}, "tools[1].type"),
        ({"tools": [{"type": "function", "name": "flat"}]}, "tools[0].function"),
        ({"tools": [WEATHER], "tool_choice": "maybe"}, "tool_choice"),
        ({"tools": [WEATHER], "tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "tool_choice.function"),
        ({"web_search_options": {"search_context_size": "huge"}}, "web_search_options.search_context_size"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"stop": 5}, "stop"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(body: dict[str, Any], field: str) -> None:
    assert refused(body).field == field


def test_what_has_no_equivalent_is_left_out() -> None:
    lost = {
        "logprobs": False,
        "logit_bias": {"1": 2},
        "seed": 3,
        "presence_penalty": 1,
        "frequency_penalty": 1,
        "prediction": {"type": "content", "content": "x"},
        "modalities": ["text"],
        "store": True,
        "metadata": {"a": "b"},
        "service_tier": "flex",
        "stream_options": {"include_usage": True},
        "response_format": {"type": "text"},
        "n": 1,
    }
    assert to_messages(HELLO | lost) == to_messages(HELLO)


@pytest.mark.parametrize(("asked", "sent"), [(0.5, 0.5), (1, 1), (1.7, 1)])
def test_temperature_is_capped(asked: float, sent: float) -> None:
    assert to_messages(HELLO | {"temperature": asked}, OLDEST)["temperature"] == sent


def test_of_temperature_and_top_p_only_one_goes_where_only_one_is_taken() -> None:
    both = HELLO | {"temperature": 0.2, "top_p": 0.9, "top_k": 5}
    assert to_messages(both, OLDEST).items() >= {"temperature": 0.2, "top_p": 0.9, "top_k": 5}.items()
    assert "top_p" not in to_messages(both, OLD)
    assert to_messages(HELLO | {"top_p": 0.9}, OLD)["top_p"] == 0.9


@pytest.mark.parametrize(("model", "version"), [(NEW, "2023-06-01"), (OLD, "2026-10-21"), (OLD, "2027-01-01")])
def test_sampling_is_left_out_where_the_model_or_the_version_refuses_it(model: str, version: str) -> None:
    made = to_messages(HELLO | {"temperature": 1, "top_p": 1, "top_k": 5}, model, version=version)
    assert not {"temperature", "top_p", "top_k"} & made.keys()


@pytest.mark.parametrize(
    ("asked", "sent"), [("END", ["END"]), (["a", " ", "b", "\n"], ["a", "b"]), ("  ", None), ([], None), (None, None)]
)
def test_stops_of_white_space_are_dropped(asked: object, sent: list[str] | None) -> None:
    assert to_messages(HELLO | {"stop": asked}).get("stop_sequences") == sent


def test_streaming_the_user_and_the_tier_are_passed_on() -> None:
    made = to_messages(HELLO | {"stream": True, "user": "u1", "service_tier": "auto", "cache_control": {"type": "ephemeral"}})
    assert made["stream"] is True
    assert made["metadata"] == {"user_id": "u1"}
    assert made["service_tier"] == "auto"
    assert made["cache_control"] == {"type": "ephemeral"}
    assert to_messages(HELLO | {"user": "u1", "safety_identifier": "s1"})["metadata"] == {"user_id": "s1"}


def test_a_tool_keeps_its_schema_its_strictness_and_its_cache_hint() -> None:
    hinted = WEATHER | {"cache_control": {"type": "ephemeral"}}
    hinted = hinted | {"function": hinted["function"] | {"strict": True}}  # type: ignore[operator]
    tool = {"name": "weather", "description": "How it is", "input_schema": SCHEMA}
    full = tool | {"strict": True, "cache_control": {"type": "ephemeral"}}
    assert to_messages(HELLO | {"tools": [hinted]})["tools"] == [full]
    assert "strict" not in to_messages(HELLO | {"tools": [hinted]}, OLDEST)["tools"][0]


@pytest.mark.parametrize("parameters", [None, {}, {"properties": {}}, {"type": "string"}])
def test_a_tools_schema_is_always_of_an_object(parameters: dict[str, object] | None) -> None:
    made = to_messages(HELLO | {"tools": [{"type": "function", "function": {"name": "now", "parameters": parameters}}]})
    assert made["tools"][0]["input_schema"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "required"}, {"type": "any"}),
        ({"type": "function", "function": {"name": "weather"}}, {"type": "tool", "name": "weather"}),
        (None, None),
    ],
)
def test_tool_choice_is_translated(choice: object, sent: dict[str, str] | None) -> None:
    assert to_messages(HELLO | {"tools": [WEATHER], "tool_choice": choice}).get("tool_choice") == sent


def test_a_choice_without_tools_is_not_sent() -> None:
    assert "tool_choice" not in to_messages(HELLO | {"tool_choice": "auto", "parallel_tool_calls": False})


def test_no_parallel_calls_need_a_choice_to_say_so() -> None:
    one = HELLO | {"tools": [WEATHER], "parallel_tool_calls": False}
    assert to_messages(one)["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert to_messages(one | {"tool_choice": "required"})["tool_choice"]["disable_parallel_tool_use"]
    assert to_messages(one | {"tool_choice": "none"})["tool_choice"] == {"type": "none"}


def test_allowed_tools_are_the_only_ones_sent() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    names = [{"type": "function", "function": {"name": "weather"}}]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": names}}
    made = to_messages(HELLO | {"tools": [WEATHER, other], "tool_choice": choice})
    assert [tool["name"] for tool in made["tools"]] == ["weather"]
    assert made["tool_choice"] == {"type": "any"}


def test_the_deprecated_functions_are_tools() -> None:
    made = to_messages(HELLO | {"functions": [WEATHER["function"]], "function_call": {"name": "weather"}})
    assert made["tools"][0]["name"] == "weather"
    assert made["tool_choice"] == {"type": "tool", "name": "weather"}
    assert to_messages(HELLO | {"functions": [WEATHER["function"]], "function_call": "none"})["tool_choice"] == {"type": "none"}


def test_web_search_is_the_servers_tool() -> None:
    place = {"type": "approximate", "approximate": {"city": "Oslo", "country": "NO"}}
    made = to_messages(HELLO | {"web_search_options": {"search_context_size": "high", "user_location": place}})
    assert made["tools"] == [
        {
            "type": "web_search_20250305",
            "name": "web_search",
            "max_uses": 10,
            "user_location": {"type": "approximate", "city": "Oslo", "country": "NO"},
        }
    ]
    assert to_messages(HELLO | {"web_search_options": {}})["tools"][0]["max_uses"] == 5


def test_a_schema_is_asked_for_in_the_models_own_way() -> None:
    wanted = HELLO | {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
    }
    assert to_messages(wanted)["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    made = to_messages(wanted, OLDEST)
    assert "output_config" not in made
    assert made["tools"][0]["input_schema"] == SCHEMA
    assert made["tool_choice"] == {"type": "tool", "name": made["tools"][0]["name"]}


def test_a_schema_asked_for_by_a_tool_leaves_the_other_tools_callable() -> None:
    wanted = {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}, "tools": [WEATHER]}
    assert to_messages(HELLO | wanted, OLDEST)["tool_choice"] == {"type": "any"}
    assert to_messages(HELLO | wanted | {"tool_choice": "none"}, OLDEST)["tool_choice"]["type"] == "tool"


def test_any_json_is_asked_for_in_words_after_all_other_instructions() -> None:
    made = to_messages(
        {
            "messages": [{"role": "system", "content": "Be brief."}, *HELLO["messages"]],
            "response_format": {"type": "json_object"},
        }
    )
    assert made["system"] == "Be brief.\nAnswer with one valid JSON object and nothing else."


@pytest.mark.parametrize(
    ("effort", "sent"),
    [("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "xhigh"), ("max", "max")],
)
def test_new_models_think_by_effort(effort: str, sent: str) -> None:
    made = to_messages(HELLO | {"reasoning_effort": effort}, NEW)
    assert made["thinking"] == {"type": "adaptive"}
    assert made["output_config"] == {"effort": sent}


def test_an_empty_effort_is_none_at_all() -> None:
    assert to_messages(HELLO | {"reasoning_effort": ""}, NEW) == to_messages(HELLO, NEW)


def test_an_effort_and_a_schema_share_their_place() -> None:
    wanted = {"reasoning_effort": "low", "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}
    assert to_messages(HELLO | wanted, NEW)["output_config"].keys() == {"format", "effort"}


@pytest.mark.parametrize(
    ("effort", "tokens"), [("minimal", 1024), ("low", 1024), ("medium", 8192), ("high", 16384), ("max", 32768)]
)
def test_older_models_think_by_budget_with_room_for_the_answer(effort: str, tokens: int) -> None:
    made = to_messages(HELLO | {"reasoning_effort": effort, "max_tokens": 100, "temperature": 0.2, "top_k": 4}, OLD)
    assert made["thinking"] == {"type": "enabled", "budget_tokens": tokens}
    assert made["max_tokens"] == tokens + 100
    assert not {"temperature", "top_p", "top_k"} & made.keys()


def test_a_budget_stays_below_the_ceiling() -> None:
    made = to_messages(HELLO | {"thinking": {"type": "enabled", "budget_tokens": 90_000}}, OLD)
    assert (made["max_tokens"], made["thinking"]["budget_tokens"]) == (64_000, 63_999)


def test_the_oldest_models_do_not_think() -> None:
    assert to_messages(HELLO | {"reasoning_effort": "high"}, OLDEST) == to_messages(HELLO, OLDEST)


def test_no_effort_switches_thinking_off_where_that_is_possible() -> None:
    assert to_messages(HELLO | {"reasoning_effort": "none"}, NEW)["thinking"] == {"type": "disabled"}
    made = to_messages(HELLO | {"reasoning_effort": "none"}, "claude-mythos-5")
    assert "thinking" not in made
    assert made["output_config"] == {"effort": "low"}


@pytest.mark.parametrize(
    ("model", "given", "sent"),
    [
        (OLD, {"type": "enabled", "budget_tokens": 2000}, {"type": "enabled", "budget_tokens": 2000}),
        (OLD, {"type": "enabled", "budget_tokens": 5}, {"type": "enabled", "budget_tokens": 1024}),
        (OLD, {"type": "adaptive"}, {"type": "enabled", "budget_tokens": 8192}),
        (NEW, {"type": "enabled", "budget_tokens": 20000, "display": "omitted"}, {"type": "adaptive", "display": "omitted"}),
        (NEW, {"type": "between_tools"}, {"type": "between_tools"}),
        (NEW, {"type": "disabled"}, {"type": "disabled"}),
        ("claude-sonnet-4-6", {"type": "enabled", "budget_tokens": 2000}, {"type": "enabled", "budget_tokens": 2000}),
    ],
)
def test_thinking_in_the_other_formats_words_is_made_to_fit_the_model(
    model: str, given: dict[str, Any], sent: dict[str, Any]
) -> None:
    assert to_messages(HELLO | {"thinking": given}, model)["thinking"] == sent


def test_a_forced_call_is_made_without_thinking_first() -> None:
    forced = HELLO | {"tools": [WEATHER], "tool_choice": "required", "reasoning_effort": "high"}
    assert "thinking" not in to_messages(forced, OLD)
    made = to_messages(forced, NEW)
    assert "thinking" not in made
    assert made["output_config"] == {"effort": "high"}


def test_calls_whose_thinking_was_lost_go_on_without_it() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    thought = {"type": "thinking", "thinking": "hm", "signature": "sig"}

    def after(assistant: dict[str, Any], model: str) -> dict[str, Any]:
        asked = {"role": "assistant", "content": None, "tool_calls": [call]} | assistant
        result = {"role": "tool", "tool_call_id": "call_1", "content": "sun"}
        body = {"messages": [*HELLO["messages"], asked, result], "tools": [WEATHER], "reasoning_effort": "low"}
        return to_messages(body, model)

    assert "thinking" not in after({}, OLD)
    assert "thinking" in after({"thinking_blocks": [thought]}, OLD)
    assert "thinking" in after({}, NEW)


def test_a_body_that_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="not valid JSON"):
        chat_to_messages.request(b"{", model="m", traits=traits.of("m"))


def test_the_models_own_name_is_sent() -> None:
    assert (
        json.loads(
            chat_to_messages.request(json.dumps(HELLO | {"model": "mine"}).encode(), model="theirs", traits=traits.of("theirs"))
        )["model"]
        == "theirs"
    )


def test_a_schema_is_sent_as_the_vendor_takes_it_or_else_by_a_tool() -> None:
    def sent(schema: dict[str, Any]) -> dict[str, Any]:
        return to_messages(HELLO | {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}})

    aged = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}}
    made = sent(aged)["output_config"]["format"]["schema"]
    assert made["additionalProperties"] is False
    assert made["properties"]["age"] == {"type": "integer", "description": "{minimum: 0}"}
    any_names = {"type": "object", "additionalProperties": {"type": "integer"}}
    assert "output_config" not in sent(any_names)
    assert sent(any_names)["tools"][0]["input_schema"] == any_names


def test_a_strict_tool_is_strict_where_its_schema_can_be_said_so() -> None:
    def sent(schema: dict[str, Any]) -> dict[str, Any]:
        function = {"name": "f", "strict": True, "parameters": schema}
        made: dict[str, Any] = to_messages(HELLO | {"tools": [{"type": "function", "function": function}]})["tools"][0]
        return made

    limited = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}, "required": ["n"]}
    assert sent(limited)["strict"] is True
    assert sent(limited)["input_schema"]["properties"]["n"] == {"type": "integer", "description": "{maximum: 9}"}
    free = {"type": "object", "properties": {"any": {}}}
    assert sent(free) == {"name": "f", "input_schema": free}


def test_a_message_to_go_on_with_is_gone_on_with_without_thinking() -> None:
    body = {"messages": [*HELLO["messages"], {"role": "assistant", "content": "{"}], "reasoning_effort": "low"}
    made = to_messages(body, OLD)
    assert "thinking" not in made
    assert made["messages"][-1] == {"role": "assistant", "content": [{"type": "text", "text": "{"}]}
