from __future__ import annotations

from typing import Any

import openai
import pytest

from genway.relay.translate import json_tool
from genway.relay.translate.chat_to_messages import Stream
from relay.translate.stage import chunks_read_by_openai, payloads, read_by_openai, told

Event = dict[str, Any]

USAGE = {"input_tokens": 100, "cache_read_input_tokens": 900, "cache_creation_input_tokens": 50, "output_tokens": 1}
START = {"type": "message_start", "message": {"id": "msg_01", "content": [], "usage": USAGE}}
STOP = {"type": "message_stop"}
TEXT = {"type": "text", "text": ""}
THINKING = {"type": "thinking", "thinking": "", "signature": ""}
PING = {"type": "ping"}


def block(index: int, content: Event, *deltas: Event) -> list[Event]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def words(*texts: str) -> list[Event]:
    return [{"type": "text_delta", "text": text} for text in texts]


def fragments(*texts: str) -> list[Event]:
    return [{"type": "input_json_delta", "partial_json": text} for text in texts]


def thoughts(*texts: str) -> list[Event]:
    return [{"type": "thinking_delta", "thinking": text} for text in texts]


def tool(name: str, identity: str = "toolu_1") -> Event:
    return {"type": "tool_use", "id": identity, "name": name, "input": {}}


def finish(reason: str, **usage: Any) -> Event:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None},
        "usage": {"output_tokens": 20} | usage,
    }


def stream(*, include_usage: bool = True) -> Stream:
    return Stream(model="asked", include_usage=include_usage, created=1760000000)


def calls_in(raw: bytes) -> list[tuple[str, str, str]]:
    calls = read_by_openai(raw).choices[0].message.tool_calls or []
    return [(call.id, call.function.name, call.function.arguments) for call in calls if call.type == "function"]


def test_a_text_arrives_piece_by_piece() -> None:
    raw = told(stream(), [START, PING, *block(0, TEXT, *words("Hel", "lo", ' "é"\n')), finish("end_turn"), STOP])
    assert raw.endswith(b"data: [DONE]\n\n")
    first, *pieces, last, counted = payloads(raw)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [piece["choices"][0]["delta"] for piece in pieces] == [{"content": "Hel"}, {"content": "lo"}, {"content": ' "é"\n'}]
    assert last["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert counted["choices"] == []
    whole = read_by_openai(raw)
    assert whole.choices[0].message.content == 'Hello "é"\n'
    assert (whole.id, whole.model, whole.created) == ("chatcmpl-01", "asked", 1760000000)


def test_usage_leaves_only_where_it_was_asked_for() -> None:
    events = [START, *block(0, TEXT, *words("x")), finish("end_turn"), STOP]
    asked, unasked = told(stream(), events), told(stream(include_usage=False), events)
    usage = chunks_read_by_openai(asked)[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (1050, 20, 1070)
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 900
    assert all(chunk["usage"] is None for chunk in payloads(asked)[:-1])
    assert not any("usage" in chunk for chunk in payloads(unasked))
    assert all(chunk["choices"] for chunk in payloads(unasked))


def test_counts_at_the_end_replace_those_at_the_start() -> None:
    raw = told(stream(), [START, finish("end_turn", input_tokens=10, cache_read_input_tokens=0), STOP])
    assert payloads(raw)[-1]["usage"]["prompt_tokens"] == 60


def test_calls_are_numbered_among_themselves() -> None:
    raw = told(
        stream(),
        [
            START,
            *block(0, THINKING, *thoughts("hm"), {"type": "signature_delta", "signature": "sig"}),
            *block(1, TEXT, *words("Looking.")),
            *block(2, tool("weather", "toolu_1"), *fragments("", '{"city":', '"Oslo"}')),
            *block(3, tool("now", "toolu_2")),
            finish("tool_use"),
            STOP,
        ],
    )
    [choice] = read_by_openai(raw).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Looking."
    assert calls_in(raw) == [("toolu_1", "weather", '{"city":"Oslo"}'), ("toolu_2", "now", "{}")]
    deltas = [chunk["choices"][0]["delta"] for chunk in payloads(raw)[:-1]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [call["index"] for call in calls] == [0, 0, 0, 1, 1]
    assert [call.get("id") for call in calls] == ["toolu_1", None, None, "toolu_2", None]


def test_thinking_is_told_as_it_comes_and_signed_at_its_end() -> None:
    sealed = {"type": "redacted_thinking", "data": "xyz"}
    signature = {"type": "signature_delta", "signature": "sig"}
    events = [START, *block(0, THINKING, *thoughts("h", "m"), signature), *block(1, sealed), *block(2, TEXT, *words("y"))]
    deltas = [chunk["choices"][0]["delta"] for chunk in payloads(told(stream(), [*events, finish("end_turn"), STOP]))[:-1]]
    assert deltas[1:] == [
        {"reasoning_content": "h"},
        {"reasoning_content": "m"},
        {"thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "hm", "signature": "sig"}]},
        {"thinking_blocks": [{"index": 1} | sealed]},
        {"content": "y"},
        {},
    ]


def test_input_that_comes_whole_is_sent_whole() -> None:
    events = [START, *block(0, tool("weather") | {"input": {"city": "Oslo"}}), finish("tool_use"), STOP]
    assert calls_in(told(stream(), events)) == [("toolu_1", "weather", '{"city":"Oslo"}')]


def test_the_servers_own_tools_are_not_the_clients_calls_and_their_citations_are_told() -> None:
    cited = {"type": "web_search_result_location", "url": "https://a.example", "title": "A"}
    searched = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    events = [
        START,
        *block(0, searched, *fragments('{"query":"x"}')),
        *block(1, {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}),
        *block(2, TEXT, *words("Well, ")),
        *block(3, TEXT, {"type": "citations_delta", "citation": cited}, *words("sun", ".")),
        finish("end_turn"),
        STOP,
    ]
    raw = told(stream(), events)
    message = read_by_openai(raw).choices[0].message
    assert message.content == "Well, sun."
    assert message.tool_calls is None
    [told_of] = [delta for chunk in payloads(raw)[:-1] if (delta := chunk["choices"][0]["delta"]).get("annotations")]
    assert told_of["annotations"][0]["url_citation"] == {
        "start_index": 6,
        "end_index": 10,
        "title": "A",
        "url": "https://a.example",
    }


def test_an_answer_given_by_the_tool_for_json_is_a_text() -> None:
    events = [START, *block(0, tool(json_tool.NAME), *fragments('{"a":', "1}")), finish("tool_use"), STOP]
    [choice] = read_by_openai(told(stream(), events)).choices
    assert (choice.message.content, choice.finish_reason, choice.message.tool_calls) == ('{"a":1}', "stop", None)


@pytest.mark.parametrize(("reason", "finish_reason"), [("max_tokens", "length"), ("refusal", "content_filter")])
def test_the_reason_is_told(reason: str, finish_reason: str) -> None:
    assert read_by_openai(told(stream(), [START, finish(reason), STOP])).choices[0].finish_reason == finish_reason


def test_a_refusals_explanation_is_the_refusal() -> None:
    event = finish("refusal")
    event["delta"]["stop_details"] = {"type": "refusal", "category": None, "explanation": "No."}
    assert read_by_openai(told(stream(), [START, event, STOP])).choices[0].message.refusal == "No."


@pytest.mark.parametrize(
    ("kind", "code"), [("overloaded_error", "server_is_overloaded"), ("rate_limit_error", "rate_limit_exceeded"), ("new", None)]
)
def test_an_error_within_the_stream_is_raised_by_the_clients_library(kind: str, code: str | None) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "Too much"}}
    raw = told(stream(), [START, *block(0, TEXT, *words("Hel")), error, finish("end_turn"), STOP])
    with pytest.raises(openai.APIError) as raised:
        chunks_read_by_openai(raw)
    assert raised.value.message == "Too much"
    assert raised.value.code == code
    assert b"[DONE]" not in raw


def test_a_stream_that_breaks_off_says_so() -> None:
    with pytest.raises(openai.APIError, match="connection lost"):
        chunks_read_by_openai(told(stream(), [START, *block(0, TEXT, *words("Hel"))], problem="connection lost"))


def test_a_stream_that_breaks_off_when_all_was_said_is_whole() -> None:
    raw = told(stream(), [START, *block(0, TEXT, *words("x")), finish("end_turn")], problem="connection lost")
    assert read_by_openai(raw).choices[0].finish_reason == "stop"
    assert raw.endswith(b"data: [DONE]\n\n")


def test_a_stream_without_an_end_is_ended() -> None:
    assert read_by_openai(told(stream(), [START, *block(0, TEXT, *words("x"))])).choices[0].finish_reason == "stop"


def test_a_call_that_was_cut_off_is_not_to_be_made() -> None:
    opened = block(0, tool("weather"), *fragments('{"city'))[:-1]
    chunks = payloads(told(stream(), [START, *opened]))
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"


def test_an_upstream_that_says_nothing_has_failed() -> None:
    with pytest.raises(openai.APIError, match="without an answer"):
        chunks_read_by_openai(told(stream(), []))


def test_an_event_that_cannot_be_read_ends_the_stream() -> None:
    with pytest.raises(openai.APIError, match="cannot be read"):
        chunks_read_by_openai(told(stream(), [START, b"{", *block(0, TEXT, *words("x"))]))


def test_nothing_follows_the_end() -> None:
    running = stream()
    told(running, [START, finish("end_turn"), STOP])
    assert running.feed(b'{"type":"message_stop"}') == b""
    assert running.end("late") == b""


def test_events_of_tomorrow_are_skipped() -> None:
    future = {"type": "content_block_delta", "index": 0, "delta": {"type": "smell_delta", "smell": "x"}}
    events: list[Event] = [
        START,
        {"type": "weather"},
        block(0, TEXT)[0],
        future,
        *block(0, TEXT, *words("x"))[1:],
        finish("end_turn"),
        STOP,
    ]
    assert read_by_openai(told(stream(), events)).choices[0].message.content == "x"


def test_a_ping_keeps_the_client_waiting() -> None:
    assert stream().feed(b'{"type":"ping"}') == b": ping\n\n"


def test_message_start_twice_starts_once() -> None:
    raw = told(stream(), [START, START, finish("end_turn"), STOP])
    assert raw.count(b'"role"') == 1


def test_openais_library_puts_thinking_and_citations_of_several_blocks_together() -> None:
    def cited(url: str) -> Event:
        return {"type": "citations_delta", "citation": {"type": "web_search_result_location", "url": url, "title": "A"}}

    signatures = [{"type": "signature_delta", "signature": name} for name in ("one", "two")]
    events = [
        START,
        *block(0, THINKING, *thoughts("a"), signatures[0]),
        *block(1, TEXT, *words("x"), cited("https://a.example"), cited("https://b.example")),
        *block(2, THINKING, *thoughts("b"), signatures[1]),
        *block(3, TEXT, *words("y"), cited("https://c.example")),
        finish("end_turn"),
        STOP,
    ]
    message = read_by_openai(told(stream(), events)).choices[0].message.to_dict()
    assert message["content"] == "xy"
    assert message["reasoning_content"] == "ab"
    thinking: Any = message["thinking_blocks"]
    assert [(each["thinking"], each["signature"]) for each in thinking] == [("a", "one"), ("b", "two")]
    annotations: Any = message["annotations"]
    assert [each["url_citation"]["url"][8] for each in annotations] == ["a", "b", "c"]
    assert [each["url_citation"]["start_index"] for each in annotations] == [0, 0, 1]


def test_blocks_side_by_side_are_told_apart_by_their_indices() -> None:
    first, second = (
        block(0, tool("weather", "toolu_1"), *fragments('{"city":', '"Oslo"}')),
        block(1, tool("now", "toolu_2"), *fragments('{"zone":', '"CET"}')),
    )
    mixed = [event for pair in zip(first, second, strict=True) for event in pair]
    assert calls_in(told(stream(), [START, *mixed, finish("tool_use"), STOP])) == [
        ("toolu_1", "weather", '{"city":"Oslo"}'),
        ("toolu_2", "now", '{"zone":"CET"}'),
    ]


def test_a_block_that_nobody_ended_is_ended_with_the_message() -> None:
    events = [START, *block(0, tool("now"))[:-1], finish("tool_use"), STOP]
    assert calls_in(told(stream(), events)) == [("toolu_1", "now", "{}")]


def test_text_of_a_block_that_nobody_began_is_told() -> None:
    events = [*block(0, TEXT, *words("x"))[1:], finish("end_turn"), STOP]
    assert read_by_openai(told(stream(), events)).choices[0].message.content == "x"


def test_half_a_character_is_replaced_and_the_stream_goes_on() -> None:
    events = [START, *block(0, TEXT, *words("a\ud83d", "\ude00b")), finish("end_turn"), STOP]
    assert read_by_openai(told(stream(), events)).choices[0].message.content == "a\ufffd\ufffdb"


@pytest.mark.parametrize("counts", [{"output_tokens": "20", "input_tokens": 100.0}, "none", {"output_tokens": "many"}])
def test_counts_written_otherwise_do_not_cost_the_answer(counts: object) -> None:
    last = finish("end_turn") | {"usage": counts}
    assert read_by_openai(told(stream(), [START, *block(0, TEXT, *words("x")), last, STOP])).choices[0].message.content == "x"
