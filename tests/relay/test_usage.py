from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genway.billing.tokens import Used
from genway.relay import usage

CHAT = {
    "prompt_tokens": 1050,
    "completion_tokens": 20,
    "total_tokens": 1070,
    "prompt_tokens_details": {"cached_tokens": 900, "cache_write_tokens": 50, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 12, "audio_tokens": 0, "accepted_prediction_tokens": 3},
}
MESSAGES = {
    "input_tokens": 100,
    "cache_read_input_tokens": 900,
    "cache_creation_input_tokens": 50,
    "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
    "output_tokens": 20,
    "output_tokens_details": {"thinking_tokens": 12},
}
IMAGE = {
    "input_tokens": 60,
    "input_tokens_details": {"image_tokens": 40, "text_tokens": 20},
    "output_tokens": 1056,
    "total_tokens": 1116,
}
REALTIME = {
    "total_tokens": 300,
    "input_tokens": 200,
    "output_tokens": 100,
    "input_token_details": {
        "text_tokens": 80,
        "audio_tokens": 120,
        "cached_tokens": 90,
        "cached_tokens_details": {"text_tokens": 30, "audio_tokens": 60},
    },
    "output_token_details": {"text_tokens": 25, "audio_tokens": 75},
}

NEVER = [2**32 - 1, 2**63, 2**64 - 1, 10**40]  # -1 as some servers write it, and worse

counts = st.one_of(st.none(), st.integers(-5, 10**6))


def answer(kind: str, **members: Any) -> Used | None:
    return usage.from_answer(kind, json.dumps({"id": "x", "model": "m"} | members).encode())


def stream(kind: str, *events: dict[str, Any]) -> Used | None:
    used = None
    for event in events:
        used = usage.from_event(kind, json.dumps(event).encode(), used)
    return used


@pytest.mark.parametrize(
    ("kind", "said", "expected"),
    [
        ("chat", {"usage": CHAT}, Used(input=100, cached_input=900, cache_write=50, output=8, reasoning=12)),
        ("chat", {"usage": {"prompt_tokens": 9, "completion_tokens": 5}}, Used(input=9, output=5)),
        ("chat", {"usage": {"prompt_tokens": "9", "completion_tokens": 5.0}}, Used(input=9, output=5)),
        ("chat", {"usage": {"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}}, Used(input=5, cached_input=4)),
        ("completions", {"usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}, Used(input=5, output=7)),
        (
            "responses",
            {
                "usage": {
                    "input_tokens": 9,
                    "input_tokens_details": {"cached_tokens": 4},
                    "output_tokens": 3,
                    "output_tokens_details": {"reasoning_tokens": 1},
                }
            },
            Used(input=5, cached_input=4, output=2, reasoning=1),
        ),
        (
            "messages",
            {"usage": MESSAGES},
            Used(input=100, cached_input=900, cache_write=20, cache_write_1h=30, output=8, reasoning=12),
        ),
        ("messages", {"usage": {"input_tokens": 3, "cache_creation_input_tokens": 7}}, Used(input=3, cache_write=7)),
        ("embeddings", {"usage": {"prompt_tokens": 8, "total_tokens": 8}}, Used(input=8)),
        ("rerank", {"results": [], "usage": {"total_tokens": 100}}, Used(input=100)),
        ("rerank", {"results": [], "meta": {"billed_units": {"search_units": 2}}}, Used(calls=2)),
        (
            "image_generations",
            {"data": [{"b64_json": "eA=="}] * 2, "usage": IMAGE},
            Used(input=20, image_input=40, image_output=1056, images=2),
        ),
        ("image_edits", {"data": [{"url": "http://x"}]}, Used(images=1)),
        (
            "image_generations",
            {"usage": IMAGE | {"output_tokens_details": {"image_tokens": 1000, "text_tokens": 56}}},
            Used(input=20, image_input=40, output=56, image_output=1000),
        ),
        (
            "transcriptions",
            {
                "text": "hi",
                "usage": {
                    "type": "tokens",
                    "input_tokens": 14,
                    "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
                    "output_tokens": 45,
                },
            },
            Used(input=4, audio_input=10, output=45),
        ),
        (
            "transcriptions",
            {"usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 4}},
            Used(audio_input=14, output=4),
        ),
        ("transcriptions", {"text": "hi", "usage": {"type": "duration", "seconds": 9}}, Used(seconds=9)),
        ("translations", {"text": "hi", "duration": 8.47, "segments": []}, Used(seconds=8.47)),
        ("transcriptions", {"duration": "8.47", "usage": {"type": "duration", "seconds": 9}}, Used(seconds=9)),
        (
            "batches",
            {"usage": {"input_tokens": 9, "output_tokens": 3}, "request_counts": {"completed": 4}},
            Used(input=9, output=3, calls=4),
        ),
    ],
)
def test_a_whole_answer_is_taken_apart(kind: str, said: dict[str, Any], expected: Used) -> None:
    assert answer(kind, **said) == expected


@pytest.mark.parametrize(
    "kind", ["chat", "responses", "messages", "image_edits", "transcriptions", "rerank", "batches", "message_batches"]
)
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff", b'{"usage": 5}', b'{"usage": null}', b'{"usage": {}}', b'{"usage":{"prompt_tokens":"x"}}'],
)
def test_an_answer_that_says_nothing_to_be_understood_is_none(kind: str, body: bytes) -> None:
    assert usage.from_answer(kind, body) is None


def test_zeros_throughout_are_not_believed() -> None:
    assert answer("chat", usage={"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}) is None
    assert answer("messages", usage={"input_tokens": 0, "output_tokens": 0}) is None


@pytest.mark.parametrize("kind", ["count_tokens", "files"])
def test_what_is_for_nothing_has_no_usage(kind: str) -> None:
    assert answer(kind, usage=CHAT) is None


def test_the_results_of_a_batch_of_messages_are_added_up() -> None:
    lines = [
        {"custom_id": "a", "result": {"type": "succeeded", "message": {"usage": MESSAGES}}},
        {"custom_id": "b", "result": {"type": "errored", "error": {}}},
        {"custom_id": "c", "result": {"type": "succeeded", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}}},
    ]
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    expected = Used(input=105, cached_input=900, cache_write=20, cache_write_1h=30, output=9, reasoning=12, calls=2)
    assert usage.from_answer("message_batches", body) == expected


@given(counts, counts, counts, counts, counts, counts, counts, counts, counts, counts)
def test_the_classes_of_openai_add_up_to_its_totals(
    read: int | None,
    made: int | None,
    cached: int | None,
    write: int | None,
    audio: int | None,
    image: int | None,
    cached_audio: int | None,
    reasoning: int | None,
    spoken: int | None,
    drawn: int | None,
) -> None:
    used = (
        answer(
            "chat",
            usage={
                "prompt_tokens": read,
                "completion_tokens": made,
                "prompt_tokens_details": {
                    "cached_tokens": cached,
                    "cache_write_tokens": write,
                    "audio_tokens": audio,
                    "image_tokens": image,
                    "cached_tokens_details": {"audio_tokens": cached_audio},
                },
                "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": spoken, "image_tokens": drawn},
            },
        )
        or Used()
    )
    assert (used.read, used.produced) == (max(read or 0, 0), max(made or 0, 0))
    assert all(getattr(used, name) >= 0 for name in used.__struct_fields__)


@given(counts, counts, counts, counts, counts, counts)
def test_the_classes_of_anthropic_add_up_to_its_totals(
    read: int | None, cached: int | None, write: int | None, hour: int | None, made: int | None, thought: int | None
) -> None:
    used = (
        answer(
            "messages",
            usage={
                "input_tokens": read,
                "cache_read_input_tokens": cached,
                "cache_creation_input_tokens": write,
                "cache_creation": {"ephemeral_1h_input_tokens": hour, "ephemeral_5m_input_tokens": None},
                "output_tokens": made,
                "output_tokens_details": {"thinking_tokens": thought},
            },
        )
        or Used()
    )
    written = write or hour
    assert used.read == sum(max(count or 0, 0) for count in (read, cached, written))
    assert used.produced == max(made or 0, 0)
    assert all(getattr(used, name) >= 0 for name in used.__struct_fields__)


def test_cached_tokens_that_do_not_fit_beside_the_sound_are_cached_sound() -> None:
    details = {"cached_tokens": 80, "audio_tokens": 70}
    used = answer("chat", usage={"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": details})
    assert used == Used(cached_input=30, cached_audio_input=50, audio_input=20, output=1)


def test_reasoning_beside_the_total_is_not_added_to_it() -> None:
    used = answer(
        "chat", usage={"prompt_tokens": 5, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 200}}
    )
    assert used is not None
    assert used.produced == 10


def test_a_stream_of_chat_tells_its_usage_in_its_last_chunk() -> None:
    text = {"choices": [{"index": 0, "delta": {"content": 'a "usage" of words'}}], "usage": None}
    assert stream("chat", text, text, {"choices": [], "usage": CHAT}) == answer("chat", usage=CHAT)
    assert usage.from_event("chat", b"[DONE]", Used(input=3)) == Used(input=3)


def test_a_stream_of_chat_may_tell_its_usage_in_its_choice() -> None:
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": CHAT}], "usage": None}
    assert stream("chat", {"choices": [{"delta": {"content": "x"}}], "usage": None}, last) == answer("chat", usage=CHAT)
    assert not usage.only_usage(json.dumps(last).encode())


def test_usage_in_every_chunk_is_cumulative_and_the_last_counts() -> None:
    chunks = [{"choices": [{}], "usage": {"prompt_tokens": 9, "completion_tokens": n}} for n in (1, 2, 3)]
    assert stream("chat", *chunks) == Used(input=9, output=3)
    assert stream("chat", *chunks, {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}) == Used(input=9, output=3)


def test_an_event_that_is_not_to_be_understood_changes_nothing() -> None:
    for kind in ("chat", "messages", "responses", "speech", "image_edits", "realtime"):
        for data in (b"", b'{"usage"', b'{"usage": 5, "type": "response.done", "response": 5}'):
            assert usage.from_event(kind, data, Used(input=3)) == Used(input=3)


@pytest.mark.parametrize("end", ["completed", "incomplete", "failed"])
def test_a_stream_of_responses_tells_its_usage_at_its_end(end: str) -> None:
    said = {"input_tokens": 9, "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 2}}
    used = stream(
        "responses",
        {"type": "response.created", "response": {"status": "in_progress", "usage": None}},
        {"type": "response.output_text.delta", "delta": "hi"},
        {"type": f"response.{end}", "response": {"status": end, "usage": said}},
    )
    assert used == Used(input=9, output=1, reasoning=2)


def start(**said: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "msg_1", "usage": said}}


def delta(**said: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": said}


def test_the_counts_of_a_stream_of_messages_are_cumulative() -> None:
    assert stream("messages", start(input_tokens=25, output_tokens=1), delta(output_tokens=5)) == Used(input=25, output=5)
    assert stream("messages", start(input_tokens=25, output_tokens=1), delta(output_tokens=5), delta(output_tokens=9)) == Used(
        input=25, output=9
    )


def test_input_counts_that_come_again_replace_the_first() -> None:
    again = delta(input_tokens=100, cache_read_input_tokens=900, cache_creation_input_tokens=50, output_tokens=20)
    assert stream("messages", start(input_tokens=1050, output_tokens=1), again) == Used(
        input=100, cached_input=900, cache_write=50, output=20
    )
    first = start(**MESSAGES)
    assert stream("messages", first, again) == Used(
        input=100, cached_input=900, cache_write=20, cache_write_1h=30, output=8, reasoning=12
    )


def test_input_counts_that_are_not_repeated_are_kept() -> None:
    for rest in ({}, {"input_tokens": 0, "cache_read_input_tokens": 0}, {"input_tokens": None, "cache_creation": None}):
        used = stream(
            "messages", start(input_tokens=7, cache_read_input_tokens=90, output_tokens=1), delta(output_tokens=5, **rest)
        )
        assert used == Used(input=7, cached_input=90, output=5)


def test_a_stream_of_messages_may_tell_all_at_its_end() -> None:
    assert stream("messages", start(input_tokens=0, output_tokens=0)) is None
    assert stream("messages", start(input_tokens=0, output_tokens=0), delta(**MESSAGES)) == answer("messages", usage=MESSAGES)
    assert stream("messages", {"type": "message_start", "message": {}}, delta(output_tokens=3)) == Used(output=3)


def test_what_it_took_to_shorten_the_conversation_is_counted_too() -> None:
    shortened = {
        "type": "compaction",
        "input_tokens": 5000,
        "cache_read_input_tokens": 7,
        "cache_creation_input_tokens": 40,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 30},
        "output_tokens": 300,
    }
    answered = MESSAGES | {"type": "message", "model": "m"}
    said = MESSAGES | {"iterations": [shortened, answered, shortened, answered | {"type": "advisor_message"}]}
    whole = Used(input=10_100, cached_input=914, cache_write=40, cache_write_1h=90, output=608, reasoning=12)
    assert answer("messages", usage=said) == whole
    assert stream("messages", start(**MESSAGES), delta(**said)) == whole
    assert stream("messages", start(**MESSAGES), delta(**said), delta(**said)) == whole, "each event tells all"
    bare = {"type": "compaction", "input_tokens": 5, "output_tokens": 3}
    kept = stream("messages", start(**MESSAGES), delta(input_tokens=100, output_tokens=20, iterations=[bare]))
    assert kept == Used(input=105, cached_input=900, cache_write=20, cache_write_1h=30, output=11, reasoning=12)
    assert stream("messages", start(**MESSAGES), delta(**MESSAGES, iterations=[answered])) == answer("messages", usage=MESSAGES)


def test_thinking_is_told_apart_in_a_stream_of_messages() -> None:
    thought = delta(output_tokens=20, output_tokens_details={"thinking_tokens": 15})
    assert stream("messages", start(input_tokens=1, output_tokens=1), thought) == Used(input=1, output=5, reasoning=15)
    assert stream("messages", thought, delta(output_tokens=30)) == Used(output=15, reasoning=15)


def test_pictures_of_a_stream_are_counted_and_partial_ones_are_not() -> None:
    partial = {"type": "image_generation.partial_image", "b64_json": "eA==", "usage": None}
    done = {"type": "image_generation.completed", "b64_json": "eA==", "usage": IMAGE}
    assert stream("image_generations", partial, partial) is None
    assert stream("image_generations", partial, done) == Used(input=20, image_input=40, image_output=1056, images=1)
    assert stream("image_edits", done | {"type": "image_edit.completed"}, done) == Used(
        input=40, image_input=80, image_output=2112, images=2
    )


def test_a_stream_of_sound_tells_its_usage_when_it_is_done() -> None:
    said = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
    assert stream(
        "speech", {"type": "speech.audio.delta", "audio": "eA=="}, {"type": "speech.audio.done", "usage": said}
    ) == Used(input=14, audio_output=101)
    assert stream("transcriptions", {"type": "transcript.text.done", "text": "hi", "usage": said}) == Used(
        audio_input=14, output=101
    )
    lasted = {"type": "transcript.text.done", "text": "hi", "usage": {"type": "duration", "seconds": 3.5}}
    assert stream("transcriptions", lasted) == Used(seconds=3.5)


def test_the_answers_of_a_realtime_session_are_added_up() -> None:
    done = {"type": "response.done", "response": {"status": "completed", "usage": REALTIME}}
    one = Used(input=50, cached_input=30, audio_input=60, cached_audio_input=60, output=25, audio_output=75)
    assert stream("realtime", done) == one
    assert stream("realtime", done, {"type": "response.created", "response": {"usage": None}}, done) == one + one
    other = {"type": "conversation.item.input_audio_transcription.completed", "usage": {"type": "tokens", "input_tokens": 5}}
    assert stream("realtime", other) is None


@pytest.mark.parametrize(
    ("kind", "body", "asks"),
    [
        ("chat", {"stream": True}, False),
        ("chat", {"stream_options": None}, False),
        ("chat", {"stream_options": {"include_usage": False}}, False),
        ("chat", {"stream_options": {"include_usage": True}}, True),
        ("completions", {"messages": [{"content": '"include_usage": true'}]}, False),
        ("messages", {}, True),
        ("responses", {}, True),
    ],
)
def test_who_asks_for_usage_is_known(kind: str, body: dict[str, Any], asks: bool) -> None:
    assert usage.asks_usage(kind, json.dumps(body).encode()) is asks


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[],"temperature":1.0,"seed":12345678901234567890}',
        b' \n{ "model" : "m", "stream_options": null, "temperature": 1.0 }',
        b'{"stream_options":{"include_obfuscation":false,"include_usage":false},"metadata":{"b":1e2,"a":"\\u00e9"}}',
        b'{"messages":[{"content":"a \\"stream_options\\" b"}]}',
        b"{}",
    ],
)
def test_usage_is_asked_for_and_the_rest_of_the_request_stays(body: bytes) -> None:
    asked = usage.ask_usage("chat", body)
    assert usage.asks_usage("chat", asked)
    before, after = json.loads(body), json.loads(asked)
    options = after.pop("stream_options")
    assert options == (before.pop("stream_options", None) or {}) | {"include_usage": True}
    assert after == before
    for piece in (b"1.0", b"12345678901234567890", b"1e2", b"\\u00e9"):
        assert (piece in asked) == (piece in body)


def test_a_request_that_asks_itself_or_need_not_is_not_touched() -> None:
    body = b'{ "stream_options": {"include_usage": true} }'
    assert usage.ask_usage("chat", body) is body
    assert usage.ask_usage("messages", b"{ }") == b"{ }"


@pytest.mark.parametrize(
    ("data", "only"),
    [
        (b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5}}', True),
        (b'{"choices": [ ], "usage": {"prompt_tokens": 9}}', True),
        (b'{"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":9}}', False),
        (b'{"choices":[],"usage":null,"prompt_filter_results":[]}', False),
        (b'{"choices":[],"prompt_filter_results":[]}', False),
        (b'{"choices":[],"usage"', False),
        (b"[DONE]", False),
    ],
)
def test_a_chunk_of_nothing_but_usage_is_known(data: bytes, only: bool) -> None:
    assert usage.only_usage(data) is only


@pytest.mark.parametrize("number", NEVER)
def test_a_number_that_no_call_can_have_used_is_not_believed(number: int) -> None:
    assert answer("chat", usage=CHAT | {"completion_tokens": number}) is None
    assert answer("chat", usage=CHAT | {"prompt_tokens_details": {"cached_tokens": number}}) is None
    assert answer("messages", usage=MESSAGES | {"output_tokens": number}) is None
    assert answer("transcriptions", text="", duration=number) is None
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}
    assert stream("messages", start, {"type": "message_delta", "usage": {"output_tokens": number}}) == Used(input=9, output=1)
