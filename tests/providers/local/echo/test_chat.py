"""Chat completions, as OpenAI's SDK reads them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from genway.errors import InvalidRequest
from genway.providers.local import echo
from genway.providers.local.echo import Streamed
from providers.local.echo.asking import WEATHER, ask, openai_sdk, streamed, told, user

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "get_time"}},
    {"type": "custom", "custom": {"name": "write"}},
]


def completion(**body: Any) -> ChatCompletion:
    return ChatCompletion.model_validate(told("chat", model="m", **body), strict=True)


def chunks(**body: Any) -> list[ChatCompletionChunk]:
    events = streamed("chat", model="m", **body)
    assert [name for name, _ in events] == [None] * len(events)
    assert events[-1][1] == "[DONE]"
    return [ChatCompletionChunk.model_validate(data, strict=True) for _, data in events[:-1]]


def text_of(parts: list[ChatCompletionChunk], index: int = 0) -> str:
    return "".join(
        choice.delta.content or "" for part in parts for choice in part.choices if choice.index == index and choice.delta
    )


def called(**body: Any) -> list[tuple[str, Any]]:
    message = completion(**body).choices[0].message
    assert message.content is None
    return [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]  # type: ignore[union-attr]


def test_the_last_user_message_comes_back_word_by_word_counted() -> None:
    found = completion(messages=[{"role": "system", "content": "Be kind."}, *user("one"), *user("What is\n a  cat? 猫です")])
    assert found.choices[0].message.content == "What is\n a  cat? 猫です"
    assert found.model == "local-echo"
    assert found.choices[0].finish_reason == "stop"
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (2 + 1 + 7, 7, 17)


def test_the_same_request_gives_the_same_bytes() -> None:
    assert ask("chat", messages=user("hello")) == ask("chat", messages=user("hello"))


def test_another_request_id_gives_another_id() -> None:
    one, other = (echo.answer("chat", b'{"messages":[{"role":"user"}]}', request_id=each, created=1) for each in "ab")
    assert one != other


@pytest.mark.parametrize("text", ["hello", "猫は窓", "🙂🙂", "one two  three ", "a", "naïve café\n\nend\n"])
def test_a_stream_in_several_pieces_is_the_whole_text(text: str) -> None:
    parts = chunks(messages=user(text))
    assert text_of(parts) == text
    assert len([part for part in parts if part.choices[0].delta.content]) >= min(2, len(text))
    assert parts[0].choices[0].delta.role == "assistant"
    assert parts[-1].choices[0].finish_reason == "stop"
    assert len({part.id for part in parts}) == 1


def test_usage_ends_a_stream_only_where_it_is_asked_for() -> None:
    assert all(part.usage is None and part.choices for part in chunks(messages=user("a b c")))
    *before, last = chunks(messages=user("a b c"), stream_options={"include_usage": True})
    assert (last.choices, last.usage and last.usage.total_tokens) == ([], 6)
    assert all("usage" in part.model_fields_set and part.usage is None for part in before)


def test_several_choices_say_the_same_and_count_each() -> None:
    found = completion(messages=user("a b"), n=3)
    assert [(choice.index, choice.message.content) for choice in found.choices] == [(0, "a b"), (1, "a b"), (2, "a b")]
    assert found.usage is not None
    assert found.usage.completion_tokens == 6
    assert [text_of(chunks(messages=user("a b"), n=2), index) for index in (0, 1)] == ["a b", "a b"]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_an_answer_ends_at_its_limit(field: str) -> None:
    choice = completion(messages=user("one two three"), **{field: 2}).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("one two", "length")
    assert completion(messages=user("one two three"), **{field: 3}).choices[0].finish_reason == "stop"


@pytest.mark.parametrize(("stop", "said"), [("two", "one "), (["x", "three", "two"], "one "), ("four", "one two three")])
def test_an_answer_ends_before_the_first_stop_sequence(stop: Any, said: str) -> None:
    choice = completion(messages=user("one two three"), stop=stop).choices[0]
    assert (choice.message.content, choice.finish_reason) == (said, "stop")


def test_log_probabilities_are_there_for_every_token_and_spell_the_text() -> None:
    text = "naïve 猫 end"
    found = completion(messages=user(text), logprobs=True, top_logprobs=2).choices[0].logprobs
    assert found is not None
    assert found.content is not None
    assert b"".join(bytes(token.bytes or []) for token in found.content).decode() == text
    assert all(token.top_logprobs[0].token == token.token for token in found.content)
    told_by_chunks = [choice.logprobs for part in chunks(messages=user(text), logprobs=True) for choice in part.choices]
    assert [token.token for each in told_by_chunks if each for token in each.content or []] == [t.token for t in found.content]


def test_json_is_answered_where_json_is_asked_for() -> None:
    def content(text: str, form: Any) -> Any:
        return json.loads(completion(messages=user(text), response_format=form).choices[0].message.content or "")

    assert content("hello", {"type": "json_object"}) == {"text": "hello"}
    assert content('{"a": 1}', {"type": "json_object"}) == {"a": 1}
    wanted = {"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER, "strict": True}}
    assert content("hello", wanted) == {"city": "city", "days": 2}


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ("required", "get_weather"),
        ({"type": "function", "function": {"name": "get_time"}}, "get_time"),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "get_time"}}]},
            },
            "get_time",
        ),
    ],
)
def test_a_forced_choice_calls_the_tool(choice: Any, name: str) -> None:
    arguments = {"city": "city", "days": 2} if name == "get_weather" else {}
    assert called(messages=user("hello"), tools=TOOLS, tool_choice=choice) == [(name, arguments)]


def test_words_call_tools_with_arguments_of_their_own_or_made_up_ones() -> None:
    given = 'Look: genway:tool=get_weather:{"city": "São Paulo, \\"SP\\"", "days": 3} please'
    assert called(messages=user(given), tools=TOOLS) == [("get_weather", {"city": 'São Paulo, "SP"', "days": 3})]
    assert called(messages=user("genway:tool=get_time."), tools=TOOLS) == [("get_time", {})]
    several = [("get_weather", {"city": "city", "days": 2}), ("get_time", {})]
    assert called(messages=user("genway:tools=get_weather,get_time"), tools=TOOLS) == several
    assert called(messages=user("genway:tools=get_weather,get_time"), tools=TOOLS, parallel_tool_calls=False) == several[:1]


def test_a_tool_that_takes_text_gets_the_users() -> None:
    message = completion(messages=user("genway:tool=write now"), tools=TOOLS).choices[0].message
    assert message.tool_calls is not None
    assert message.tool_calls[0].model_dump()["custom"] == {"name": "write", "input": "genway:tool=write now"}


def test_no_tool_is_called_where_none_may_be() -> None:
    text = "genway:tool=get_time"
    assert completion(messages=user(text), tools=TOOLS, tool_choice="none").choices[0].message.content == text
    assert completion(messages=user(text)).choices[0].message.content == text


def test_a_tool_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="get_wether") as caught:
        ask("chat", messages=user("genway:tool=get_wether"), tools=TOOLS)
    assert caught.value.field == "tools"


def conversation(text: str, *results: str) -> list[dict[str, Any]]:
    calls = [
        {"id": f"call_{index}", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
        for index in range(len(results))
    ]
    answers = [{"role": "tool", "tool_call_id": f"call_{index}", "content": result} for index, result in enumerate(results)]
    return [*user(text), {"role": "assistant", "content": None, "tool_calls": calls}, *answers]


def test_a_result_is_repeated_and_its_tool_not_called_again() -> None:
    weather = {"type": "function", "function": {"name": "get_weather"}}
    for choice in ("auto", "required", weather):
        messages = conversation("genway:tool=get_weather", "Rain, 7 degrees", "Sun")
        found = completion(messages=messages, tools=TOOLS, tool_choice=choice)
        assert found.choices[0].message.content == "Rain, 7 degrees\nSun"


def test_after_a_result_another_named_tool_is_called_and_new_words_count() -> None:
    other = {"type": "function", "function": {"name": "get_time"}}
    assert called(messages=conversation("x", "Rain"), tools=TOOLS, tool_choice=other) == [("get_time", {})]
    more = [*conversation("x", "Rain"), {"role": "assistant", "content": "Rain"}, *user("genway:tool=get_time")]
    assert called(messages=more, tools=TOOLS) == [("get_time", {})]
    assert completion(messages=[*more[:-1], *user("thanks")], tools=TOOLS).choices[0].message.content == "thanks"


def test_streamed_calls_put_together_are_the_whole_ones() -> None:
    text = 'genway:tool=get_weather:{"city": "New York", "days": 3} genway:tool=get_time'
    whole = completion(messages=user(text), tools=TOOLS).choices[0].message.tool_calls
    with openai_sdk().chat.completions.stream(
        model="m",
        messages=[{"role": "user", "content": text}],
        tools=TOOLS,  # type: ignore[arg-type]
    ) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    assert [(c.id, c.function.name, c.function.arguments) for c in calls] == [
        (c.id, c.function.name, c.function.arguments)  # type: ignore[union-attr]
        for c in whole or []
    ]
    assert final.choices[0].finish_reason == "tool_calls"


def test_a_streamed_custom_call_is_in_order() -> None:
    events = streamed("chat", messages=user("genway:tool=write it"), tools=TOOLS)
    deltas = [data["choices"][0]["delta"] for _, data in events[:-1]]
    raw = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert "".join(each["custom"]["input"] for each in raw) == "genway:tool=write it"
    assert (raw[0]["custom"]["name"], raw[0]["index"], raw[0]["type"]) == ("write", 0, "custom")


def test_functions_of_old_are_called_the_old_way() -> None:
    functions = [{"name": "get_weather", "parameters": WEATHER}]
    body = {"messages": user("x"), "functions": functions, "function_call": {"name": "get_weather"}}
    choice = completion(**body).choices[0]
    assert choice.finish_reason == "function_call"
    assert choice.message.function_call is not None
    arguments = choice.message.function_call.arguments
    assert json.loads(arguments) == {"city": "city", "days": 2}
    deltas = [part.choices[0].delta.function_call for part in chunks(**body)]
    assert "".join(delta.arguments or "" for delta in deltas if delta) == arguments


@pytest.mark.parametrize(
    "body", [{"enable_thinking": True}, {"thinking": {"type": "enabled"}}, {"text": "genway:reasoning hi"}]
)
def test_a_reasoning_comes_where_it_is_asked_for_and_counts(body: dict[str, Any]) -> None:
    text = body.pop("text", "hi")
    found = completion(messages=user(text), **body)
    assert found.choices[0].message.model_dump()["reasoning_content"] == f"The user said: {text}"
    assert found.usage is not None
    assert found.usage.completion_tokens_details is not None
    assert found.usage.completion_tokens_details.reasoning_tokens == 3 + len(text.split())
    assert found.usage.completion_tokens == 3 + 2 * len(text.split())
    thought = [
        part.choices[0].delta.model_dump().get("reasoning_content") or "" for part in chunks(messages=user(text), **body)
    ]
    assert "".join(thought) == f"The user said: {text}"


def test_a_limit_counts_the_reasoning() -> None:
    choice = completion(messages=user("genway:reasoning"), max_tokens=2).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("", "length")


def test_so_many_words_are_said() -> None:
    content = completion(messages=user("genway:length=500 la 猫")).choices[0].message.content or ""
    assert content.startswith("genway:length=500 la 猫 genway:length=500 la")
    assert len(content.split()) == 500


def test_waits_are_told_and_not_waited() -> None:
    answer = ask("chat", messages=user("genway:delay=2.5 genway:pause=0.05"), stream=True)
    assert isinstance(answer, Streamed)
    assert (answer.delay, answer.pause) == (2.5, 0.05)
    assert ask("chat", messages=user("genway:delay=600")).delay == 600


def test_pictures_and_sounds_count_and_their_words_are_heard() -> None:
    parts = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": "http://x/"}, {"type": "text", "text": "this"}]
    found = completion(messages=[{"role": "user", "content": parts}])
    assert found.choices[0].message.content == "See\nthis"
    assert found.usage is not None
    assert found.usage.prompt_tokens == 2 + 256


def test_a_conversation_without_words_is_answered_too() -> None:
    assert completion(messages=[{"role": "system", "content": "x"}]).choices[0].message.content == "There were no words."


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": user("x"), "n": 0}, "n"),
        ({"messages": user("genway:length=100000"), "n": 3}, "n"),
        ({"messages": user("x" * 100_000), "n": 128}, "n"),
        ({"messages": user("x"), "max_tokens": 0}, "max_tokens"),
        ({"messages": user("x"), "stop": list("abcde")}, "stop"),
        ({"messages": user("x"), "tool_choice": "sometimes"}, "tool_choice"),
        ({"messages": user("x"), "response_format": {"type": "xml"}}, "response_format.type"),
        ({"messages": user("genway:fail=badly")}, "messages"),
        ({"messages": user("genway:delay=601")}, "messages"),
        ({"messages": user("genway:length=1.5")}, "messages"),
        ({"messages": user("genway:nothing=1")}, "messages"),
        ({"messages": user("genway:tool=a:{broken"), "tools": TOOLS}, "messages"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask("chat", **body)
    assert caught.value.field == field


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"messages":"\xff"}', b'{"a":' + b"[" * 100_000])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        echo.answer("chat", body, request_id="r", created=1)


def test_a_plain_answer_takes_less_than_a_tenth_of_a_millisecond() -> None:
    body = json.dumps({"model": "m", "messages": user("Hello there, how are you today?")}).encode()
    taken = []
    for _ in range(200):
        begun = time.perf_counter()
        echo.answer("chat", body, request_id="r", created=1)
        taken.append(time.perf_counter() - begun)
    assert min(taken) < 100e-6
