from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genway.relay.translate.messages_to_chat import Stream
from relay.translate.stage import payloads, read_by_anthropic, told

Event = dict[str, Any]

USAGE = {
    "prompt_tokens": 1050,
    "completion_tokens": 20,
    "total_tokens": 1070,
    "prompt_tokens_details": {"cached_tokens": 900, "cache_write_tokens": 50},
}
FIRST = {"role": "assistant", "content": ""}
COUNTED = {"id": "chatcmpl-01", "choices": [], "usage": USAGE}
DONE = b"[DONE]"


def chunk(delta: Event | None, finish_reason: str | None = None, **more: Any) -> Event:
    return {
        "id": "chatcmpl-01",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        "usage": None,
    } | more


def end(finish_reason: str = "stop") -> list[Event | bytes]:
    return [chunk({}, finish_reason), COUNTED, DONE]


def call(index: int | None, arguments: object = None, identity: str | None = None, name: str | None = None) -> Event:
    found = {"index": index, "id": identity, "function": {"name": name, "arguments": arguments}}
    return chunk({"tool_calls": [{key: value for key, value in found.items() if value is not None}]})


def stream(input_tokens: int = 0) -> Stream:
    return Stream(model="asked", include_usage=True, created=0, input_tokens=input_tokens)


def told_of(*events: Event | bytes, problem: str | None = None) -> bytes:
    return told(stream(), list(events), problem=problem)


def kinds(raw: bytes) -> list[str]:
    return [event["type"] for event in payloads(raw)]


def calls_in(raw: bytes) -> list[tuple[str, str, object]]:
    in_order(raw)
    content = read_by_anthropic(raw).content
    return [(block.id, block.name, block.input) for block in content if block.type == "tool_use"]


def in_order(raw: bytes) -> None:
    """Blocks come one after the other, counted from 0, and every line names its event."""
    index, inside = -1, False
    for event in payloads(raw):
        if event["type"] == "content_block_start":
            assert not inside
            index, inside = index + 1, True
        if event["type"].startswith("content_block"):
            assert inside
            assert event["index"] == index
        if event["type"] == "content_block_stop":
            inside = False
    assert not inside
    assert [line.removeprefix("event: ") for line in raw.decode().split("\n") if line.startswith("event: ")] == kinds(raw)


def test_a_text_arrives_piece_by_piece_and_the_end_waits_for_the_counts() -> None:
    running = stream(input_tokens=12)
    start = payloads(running.feed(b'{"id":"chatcmpl-01","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}'))
    assert start[0]["message"]["usage"]["input_tokens"] == 12
    raw = told_of(chunk(FIRST), chunk({"content": "Hel"}), chunk({"content": 'lo "é"\n'}), *end())
    in_order(raw)
    assert kinds(raw) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    message = read_by_anthropic(raw)
    assert (message.id, message.model, message.stop_reason) == ("msg_01", "asked", "end_turn")
    assert message.content[0].to_dict()["text"] == 'Hello "é"\n'
    assert message.usage.input_tokens == 100
    assert (message.usage.cache_read_input_tokens, message.usage.cache_creation_input_tokens) == (900, 50)
    assert message.usage.output_tokens == 20
    assert b"[DONE]" not in raw


def test_the_end_is_told_with_the_upstreams_own_end_and_not_before() -> None:
    running = stream()
    assert running.feed(b'{"choices":[{"index":0,"delta":{"content":"x"}}]}')
    assert kinds(running.feed(b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')) == ["content_block_stop"]
    assert running.feed(b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}') == b""
    last = running.feed(DONE)
    assert kinds(last) == ["message_delta", "message_stop"]
    assert payloads(last)[0]["usage"]["output_tokens"] == 4
    assert running.feed(DONE) == running.end() == b""


def test_thinking_text_and_a_call_are_three_blocks() -> None:
    raw = told_of(
        chunk(FIRST),
        chunk({"reasoning_content": "h"}),
        chunk({"reasoning": "m", "content": ""}),
        chunk({"content": "Looking.", "reasoning_content": ""}),
        call(0, "", "call_1", "weather"),
        call(0, '{"city":'),
        call(0, '"Oslo"}'),
        *end("tool_calls"),
    )
    in_order(raw)
    message = read_by_anthropic(raw)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    assert message.content[0].to_dict()["thinking"] == "hm"
    assert message.content[2].to_dict()["input"] == {"city": "Oslo"}
    assert message.stop_reason == "tool_use"


def test_empty_texts_make_no_blocks() -> None:
    raw = told_of(chunk(FIRST), chunk({"content": ""}), chunk({"content": None}), call(0, "{}", "a", "now"), *end("tool_calls"))
    assert [block.type for block in read_by_anthropic(raw).content] == ["tool_use"]


def test_parallel_calls_follow_each_other() -> None:
    raw = told_of(
        chunk(FIRST),
        call(0, "", "call_1", "weather"),
        call(0, '{"city":"Oslo"}'),
        call(1, "", "call_2", "weather"),
        call(1, '{"city":"Bergen"}'),
        *end("tool_calls"),
    )
    assert calls_in(raw) == [("call_1", "weather", {"city": "Oslo"}), ("call_2", "weather", {"city": "Bergen"})]


def test_a_second_call_is_written_as_it_comes() -> None:
    running = stream()
    for event in (call(0, '{"a":1}', "call_1", "one"), call(1, "", "call_2", "two")):
        running.feed(json.dumps(event).encode())
    assert payloads(running.feed(json.dumps(call(1, "{")).encode())) == [
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{"}}
    ]


def test_mixed_calls_are_put_in_order() -> None:
    raw = told_of(
        chunk(FIRST),
        call(0, "", "call_1", "weather"),
        call(1, "", "call_2", "now"),
        call(0, '{"city":'),
        call(1, '{"zone":'),
        call(0, '"Oslo"}'),
        call(1, '"UTC"}'),
        *end("tool_calls"),
    )
    assert calls_in(raw) == [("call_1", "weather", {"city": "Oslo"}), ("call_2", "now", {"zone": "UTC"})]


def test_a_name_may_come_late_and_an_id_again_and_again() -> None:
    raw = told_of(
        chunk(FIRST),
        call(0, '{"ci', "call_1"),
        call(0, 'ty":', "call_1", "weather"),
        call(0, '"Oslo"}', "call_1", "weather"),
        *end("tool_calls"),
    )
    assert calls_in(raw) == [("call_1", "weather", {"city": "Oslo"})]


def test_calls_that_share_an_index_are_told_apart_by_their_ids() -> None:
    raw = told_of(call(0, '{"a":1}', "call_1", "one"), call(0, '{"a":2}', "call_2", "one"), *end("tool_calls"))
    assert calls_in(raw) == [("call_1", "one", {"a": 1}), ("call_2", "one", {"a": 2})]


def test_calls_without_index_and_id_are_told_apart_by_being_whole() -> None:
    raw = told_of(call(None, '{"a":1}', None, "one"), call(None, '{"a":2}', None, "one"), *end("stop"))
    assert [(name, given) for _, name, given in calls_in(raw)] == [("one", {"a": 1}), ("one", {"a": 2})]
    assert len({identity for identity, _, _ in calls_in(raw)}) == 2
    assert read_by_anthropic(raw).stop_reason == "tool_use"


def test_calls_without_index_and_id_are_told_apart_by_their_names() -> None:
    raw = told_of(call(None, "", name="weather"), call(None, "", name="time"), *end("tool_calls"))
    assert [(name, given) for _, name, given in calls_in(raw)] == [("weather", {}), ("time", {})]


def test_a_call_that_comes_whole_with_its_end_is_whole() -> None:
    event = call(0, {"city": "Oslo"}, "functions.weather:0", "weather")
    event["choices"][0]["finish_reason"] = "tool_calls"
    assert calls_in(told_of(event, DONE)) == [("wrapped_ZnVuY3Rpb25zLndlYXRoZXI6MA", "weather", {"city": "Oslo"})]


@pytest.mark.parametrize("nothing", ["", " ", "null", {}])
def test_a_call_with_nothing_for_arguments_has_none(nothing: object) -> None:
    raw = told_of(call(0, nothing, "a", "weather"), call(1, nothing, "b", "weather"), *end("tool_calls"))
    assert calls_in(raw) == [("a", "weather", {}), ("b", "weather", {})]


def test_a_call_without_arguments_has_none() -> None:
    assert calls_in(told_of(call(0, "", "call_1", "now"), *end("tool_calls"))) == [("call_1", "now", {})]


def test_a_call_that_never_gets_a_name_is_not_made() -> None:
    raw = told_of(call(0, "{}", "call_1"), chunk({"content": "x"}), *end("tool_calls"))
    message = read_by_anthropic(raw)
    assert [block.type for block in message.content] == ["text"]
    assert message.stop_reason == "end_turn"


def test_text_between_calls_keeps_its_place() -> None:
    raw = told_of(call(0, "{}", "a", "one"), chunk({"content": "and"}), call(1, "{}", "b", "two"), *end("tool_calls"))
    in_order(raw)
    assert [block.type for block in read_by_anthropic(raw).content] == ["tool_use", "text", "tool_use"]


def test_the_deprecated_function_call_is_a_call() -> None:
    first = chunk({"function_call": {"name": "weather", "arguments": ""}})
    raw = told_of(first, chunk({"function_call": {"arguments": '{"city":"Oslo"}'}}), *end("function_call"))
    [(_, name, given)] = calls_in(raw)
    assert (name, given) == ("weather", {"city": "Oslo"})


def test_a_refusal_is_said_and_is_the_reason() -> None:
    message = read_by_anthropic(told_of(chunk({"refusal": "N"}), chunk({"refusal": "o."}), *end()))
    assert message.content[0].to_dict()["text"] == "No."
    assert message.stop_reason == "refusal"
    assert message.stop_details is not None
    assert message.stop_details.explanation == "No."


@pytest.mark.parametrize(("finish_reason", "stop_reason"), [("length", "max_tokens"), ("content_filter", "refusal")])
def test_the_reason_is_told(finish_reason: str, stop_reason: str) -> None:
    assert read_by_anthropic(told_of(chunk({"content": "x"}), *end(finish_reason))).stop_reason == stop_reason


def test_counts_in_every_chunk_are_those_of_the_last() -> None:
    events = [chunk({"content": "x"}, usage={"prompt_tokens": 9, "completion_tokens": count}) for count in (1, 2)]
    raw = told_of(*events, chunk({}, "stop", usage={"prompt_tokens": 9, "completion_tokens": 3}), DONE)
    assert read_by_anthropic(raw).usage.output_tokens == 3
    assert kinds(raw).count("message_delta") == 1


def test_a_missing_done_ends_the_stream_all_the_same() -> None:
    raw = told_of(chunk({"content": "x"}), chunk({}, "stop"))
    assert kinds(raw)[-2:] == ["message_delta", "message_stop"]
    assert read_by_anthropic(raw).usage.output_tokens == 0


def test_an_empty_finish_reason_is_none() -> None:
    raw = told_of(chunk({"content": "x"}, ""), chunk({"content": "y"}, ""), *end())
    assert read_by_anthropic(raw).content[0].to_dict()["text"] == "xy"


def test_a_stream_without_a_reason_is_ended_and_its_unfinished_call_is_not_to_be_made() -> None:
    assert read_by_anthropic(told_of(chunk({"content": "x"}))).stop_reason == "end_turn"
    assert read_by_anthropic(told_of(call(0, '{"ci', "a", "weather"))).stop_reason == "max_tokens"
    assert read_by_anthropic(told_of(call(0, "{}", "a", "weather"))).stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "Too much", "type": "server_error", "code": "server_is_overloaded"}, "overloaded_error"),
        ({"message": "Too much", "type": "rate_limit_error", "code": None}, "rate_limit_error"),
        ({"message": "Too much", "code": 500}, "api_error"),
        ("Too much", "api_error"),
    ],
)
def test_an_error_within_the_stream_is_raised_by_the_clients_library(error: object, kind: str) -> None:
    raw = told_of(chunk({"content": "Hel"}), {"error": error}, *end())
    with pytest.raises(anthropic.APIStatusError) as raised:
        read_by_anthropic(raw)
    assert payloads(raw)[-1] == {"type": "error", "error": {"type": kind, "message": "Too much"}}
    assert "Too much" in str(raised.value)


@pytest.mark.parametrize("reason", ["error", "insufficient_system_resource", "network_error", "abort"])
def test_a_stream_that_is_not_whole_by_its_own_word_is_no_answer(reason: str) -> None:
    raw = told_of(chunk({"content": "Half an ans"}), *end(reason))
    assert payloads(raw)[-1]["type"] == "error"
    assert reason in payloads(raw)[-1]["error"]["message"]
    with pytest.raises(anthropic.APIStatusError, match=reason):
        read_by_anthropic(raw)


def test_what_ended_an_answer_too_early_is_told_in_its_own_words() -> None:
    ended = chunk({"content": ""}, "error")
    ended["choices"][0]["error"] = {"code": 429, "message": "Slow down", "type": "rate_limit_exceeded"}
    assert payloads(told_of(chunk({"content": "Half"}), ended))[-1]["error"] == {
        "type": "rate_limit_error",
        "message": "Slow down",
    }


def test_an_error_before_the_first_word_is_all_that_is_sent() -> None:
    assert kinds(told_of({"error": {"message": "x"}})) == ["error"]


def test_a_stream_that_breaks_off_says_so() -> None:
    with pytest.raises(anthropic.APIStatusError, match="connection lost"):
        read_by_anthropic(told_of(chunk({"content": "Hel"}), problem="connection lost"))


def test_a_stream_that_breaks_off_when_all_was_said_is_whole() -> None:
    raw = told_of(chunk({"content": "x"}), chunk({}, "stop"), problem="connection lost")
    assert read_by_anthropic(raw).stop_reason == "end_turn"


@pytest.mark.parametrize("events", [[], [DONE], [chunk(FIRST)], [{"object": "error", "message": "no"}, DONE]])
def test_an_upstream_that_says_nothing_has_failed(events: list[Event | bytes]) -> None:
    with pytest.raises(anthropic.APIStatusError, match="without an answer"):
        read_by_anthropic(told_of(*events))


def test_a_chunk_that_cannot_be_read_ends_the_stream() -> None:
    with pytest.raises(anthropic.APIStatusError, match="cannot be read"):
        read_by_anthropic(told_of(chunk({"content": "x"}), b"{", *end()))


def test_other_choices_are_not_the_clients() -> None:
    other = {"id": "x", "choices": [{"index": 1, "delta": {"content": "no"}, "finish_reason": "stop"}]}
    assert read_by_anthropic(told_of(chunk({"content": "yes"}), other, *end())).content[0].to_dict()["text"] == "yes"


def test_a_chunk_before_the_first_choice_starts_the_message() -> None:
    filtered = {"id": "", "choices": [], "prompt_filter_results": []}
    assert kinds(told_of(filtered, chunk({"content": "x"}), *end())).count("message_start") == 1


@pytest.mark.parametrize(
    ("counts", "output"),
    [
        ({"prompt_tokens": "3", "completion_tokens": "4"}, 4),
        ({"prompt_tokens": 3.0, "completion_tokens": 4.0, "prompt_tokens_details": None}, 4),
        ({"completion_tokens": "many"}, 0),
        ("none", 0),
    ],
)
def test_counts_written_otherwise_do_not_cost_the_answer(counts: object, output: int) -> None:
    message = read_by_anthropic(told_of(chunk({"content": "x"}), chunk({}, "stop"), COUNTED | {"usage": counts}, DONE))
    assert message.content[0].to_dict()["text"] == "x"
    assert message.usage.output_tokens == output


def test_half_a_character_is_replaced_and_the_stream_goes_on() -> None:
    raw = told_of(chunk({"content": "a\ud83d"}), chunk({"content": "\ude00b"}), chunk({"content": "\U0001f600"}), *end())
    assert read_by_anthropic(raw).content[0].to_dict()["text"] == "a\ufffd\ufffdb\U0001f600"


def test_counts_in_the_last_choice_are_the_streams() -> None:
    last = chunk({}, "stop")
    last["choices"][0]["usage"] = USAGE
    assert read_by_anthropic(told_of(chunk({"content": "x"}), last, DONE)).usage.cache_read_input_tokens == 900


def test_the_word_null_is_a_word() -> None:
    assert read_by_anthropic(told_of(chunk({"content": "null"}), *end())).content[0].to_dict()["text"] == "null"


ARGUMENTS = st.dictionaries(st.text(max_size=3), st.integers(0, 9) | st.text(max_size=4), max_size=3)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)


@settings(max_examples=80, deadline=None)
@given(st.lists(ARGUMENTS, max_size=3), st.lists(WORDS, max_size=3), st.data())
def test_nothing_is_lost_or_mixed_up_however_an_upstream_mixes_what_it_writes(
    given_arguments: list[dict[str, Any]], texts: list[str], data: st.DataObject
) -> None:
    lanes = [[chunk({"content": text}) for text in texts]]
    for index, value in enumerate(given_arguments):
        written = json.dumps(value)
        cut = data.draw(st.integers(0, len(written)))
        pieces = [written[:cut], written[cut:]]
        lanes.append([call(index, pieces[0], f"call_{index}", "weather"), call(index, pieces[1])])
    mixed = []
    while lanes := [lane for lane in lanes if lane]:
        mixed.append(data.draw(st.sampled_from(lanes)).pop(0))
    raw = told_of(chunk(FIRST), *mixed, *end("tool_calls" if given_arguments else "stop"))
    in_order(raw)
    message = read_by_anthropic(raw)
    assert "".join(block.text for block in message.content if block.type == "text") == "".join(texts)
    assert sorted(calls_in(raw)) == [(f"call_{index}", "weather", value) for index, value in enumerate(given_arguments)]
    assert message.stop_reason == ("tool_use" if given_arguments else "end_turn")
