from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genway.billing.tokens import Used
from genway.relay import estimate
from genway.relay.estimate import DOCUMENT_TOKENS, IMAGE_TOKENS, MESSAGE_TOKENS, PICTURE_TOKENS
from genway.relay.tokenizer import count

PICTURE = base64.b64encode(bytes(range(256)) * 40).decode()
TEXT = "The quick brown fox jumps over the lazy dog. "


def body(**members: Any) -> bytes:
    return json.dumps({"model": "gpt-5.5"} | members).encode()


def read(kind: str, **members: Any) -> Used:
    used = estimate.asked(kind, body(**members))
    assert used.estimated
    return used


def events(*given: dict[str, Any]) -> list[bytes]:
    return [*(json.dumps(event).encode() for event in given), b"[DONE]", b"", b"5"]


def chat(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


@pytest.mark.parametrize(
    ("kind", "request_"),
    [
        ("chat", {"messages": [{"role": "user", "content": TEXT}]}),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "text", "text": TEXT}]}]}),
        ("responses", {"input": [{"role": "user", "content": [{"type": "input_text", "text": TEXT}]}]}),
        (
            "messages",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": TEXT, "cache_control": {"type": "ephemeral"}}]}
                ]
            },
        ),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": TEXT}]}]},
        ),
    ],
)
def test_the_text_of_a_message_is_counted_and_so_is_the_message(kind: str, request_: dict[str, Any]) -> None:
    assert read(kind, **request_).input == count(TEXT) + 2 * MESSAGE_TOKENS


@pytest.mark.parametrize(
    ("kind", "request_", "expected"),
    [
        ("responses", {"input": TEXT}, count(TEXT)),
        ("completions", {"prompt": [TEXT, TEXT], "suffix": TEXT}, count(f"{TEXT}\n{TEXT}\n{TEXT}")),
        ("completions", {"prompt": [[1, 2, 3], [4, 5]]}, 5),
        ("embeddings", {"input": [1, 2, 3]}, 3),
        ("embeddings", {"input": [TEXT]}, count(TEXT)),
        ("rerank", {"query": TEXT, "documents": [{"text": TEXT}, TEXT]}, count(f"{TEXT}\n{TEXT}\n{TEXT}")),
        ("chat", {"messages": []}, MESSAGE_TOKENS),
    ],
)
def test_other_requests_are_counted_too(kind: str, request_: dict[str, Any], expected: int) -> None:
    assert read(kind, **request_).input == expected


def test_tools_and_their_use_are_counted() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "description": TEXT}}}
    asking = [{"role": "user", "content": "hi"}]
    plain = read("chat", messages=asking).input
    tool = {"type": "function", "function": {"name": "weather", "description": TEXT, "parameters": schema}}
    assert read("chat", messages=asking, tools=[tool]).input > plain + 2 * count(TEXT)
    own = {"name": "weather", "description": TEXT, "input_schema": schema}
    assert read("messages", messages=asking, tools=[own]).input > plain + 2 * count(TEXT)
    used = [
        *asking,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "weather", "input": {"city": TEXT}}]},
    ]
    assert read("messages", messages=used).input > plain + count(TEXT)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}},
        f"data:image/png;base64,{PICTURE}",
    ],
)
def test_a_picture_has_a_flat_figure(part: Any) -> None:
    used = read("chat", messages=[{"role": "user", "content": [part]}])
    assert (used.image_input, used.input) == (IMAGE_TOKENS, 2 * MESSAGE_TOKENS)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PICTURE}"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PICTURE}},
    ],
)
def test_a_document_has_a_flat_figure(part: Any) -> None:
    assert read("chat", messages=[{"content": [part]}]).input == DOCUMENT_TOKENS + 2 * MESSAGE_TOKENS


def test_a_document_of_text_is_counted_as_text() -> None:
    part = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": TEXT}}
    assert read("messages", messages=[{"content": [part]}]).input == count(TEXT) + 2 * MESSAGE_TOKENS


def test_sound_is_counted_by_its_length() -> None:
    minute = base64.b64encode(bytes(60 * 16_000)).decode()
    part = {"type": "input_audio", "input_audio": {"data": minute, "format": "mp3"}}
    assert read("chat", messages=[{"content": [part]}]).audio_input == 600


def test_a_speech_is_counted_by_its_characters_too() -> None:
    used = read("speech", input="héllo", instructions="softly", voice="alloy")
    assert (used.characters, used.input) == (5, count("softly\nhéllo"))


def test_the_model_decides_about_the_tokenizer() -> None:
    text = "你好，世界" * 20
    older = estimate.asked("embeddings", json.dumps({"model": "text-embedding-3-small", "input": text}).encode())
    assert older.input == count(text, "text-embedding-3-small") > read("embeddings", input=text).input


def test_a_form_and_what_is_no_object_count_nothing() -> None:
    assert estimate.asked("transcriptions", b"--x\r\nContent-Disposition: form-data").read == 0
    assert estimate.asked("embeddings", b"[1,2]").read == 0


def test_a_body_that_is_broken_is_said_to_be() -> None:
    with pytest.raises(msgspec.DecodeError):
        estimate.asked("chat", b'{"messages":')


def test_a_body_that_is_nested_too_deeply_is_guessed_by_its_size() -> None:
    deep = b'{"messages":' + b"[" * 450 + b"]" * 450 + b"}"
    assert estimate.asked("chat", deep).input in {estimate.quick_input(deep), 2 * MESSAGE_TOKENS}


def test_a_request_too_deep_to_be_read_is_charged_by_its_size_all_the_same() -> None:
    deep = b'{"metadata":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert estimate.whole("chat", deep, b"{}").input == estimate.quick_input(deep)


def test_count_tokens_counts_all_that_goes_in() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    request = body(system=[{"type": "text", "text": TEXT}], messages=[{"role": "user", "content": [image]}])
    assert estimate.count_tokens(request) == count(TEXT) + IMAGE_TOKENS + 2 * MESSAGE_TOKENS


@given(st.lists(st.text(), max_size=20))
def test_a_quick_guess_is_seldom_too_low(texts: list[str]) -> None:
    request = body(messages=[{"role": "user", "content": text} for text in texts])
    assert estimate.quick_input(request) >= estimate.asked("chat", request).input / 2


@pytest.mark.parametrize(
    ("text", "least"), [(TEXT * 50, 1), ("你好，世界。" * 200, 1), ('def f(x):\n    return {"a": x ** 2}\n' * 40, 0.8)]
)
def test_a_quick_guess_is_rather_too_high_for_prose_and_somewhat_low_for_dense_code(text: str, least: float) -> None:
    request = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}, ensure_ascii=False).encode()
    exact = estimate.asked("chat", request).input
    assert least * exact <= estimate.quick_input(request) <= 2 * exact


def test_a_quick_guess_does_not_take_a_picture_for_text() -> None:
    parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}, {"type": "text", "text": TEXT}]
    request = body(messages=[{"role": "user", "content": parts}])
    assert IMAGE_TOKENS < estimate.quick_input(request) < IMAGE_TOKENS + 100
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
    two = body(messages=[{"content": [{"type": "image", "source": source}] * 2}])
    assert 2 * IMAGE_TOKENS < estimate.quick_input(two) < 2 * IMAGE_TOKENS + 100


def test_a_quick_guess_does_not_take_text_for_a_picture() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}},
        {"type": "text", "text": "你好，世界" * 500},
    ]
    request = body(messages=[{"role": "user", "content": parts}])
    assert estimate.quick_input(request) > len(request) / 4


@pytest.mark.parametrize(
    ("kind", "stream", "output", "reasoning"),
    [
        ("chat", [chat(role="assistant", content=""), chat(content="Hel"), chat(content="lo world")], "Hello world", ""),
        (
            "chat",
            [chat(reasoning_content="Let me "), chat(reasoning_content="think"), chat(content="Yes")],
            "Yes",
            "Let me think",
        ),
        ("chat", [chat(reasoning="Hm"), chat(refusal="No")], "No", "Hm"),
        (
            "chat",
            [
                chat(
                    tool_calls=[{"index": 0, "id": "c", "type": "function", "function": {"name": "weather", "arguments": ""}}]
                ),
                chat(tool_calls=[{"index": 0, "function": {"arguments": '{"city":'}}]),
                chat(tool_calls=[{"index": 0, "function": {"arguments": ' "Oslo"}'}}]),
            ],
            'weather{"city": "Oslo"}',
            "",
        ),
        (
            "completions",
            [{"choices": [{"index": 0, "text": "Hello"}]}, {"choices": [{"index": 0, "text": " world"}]}],
            "Hello world",
            "",
        ),
        (
            "responses",
            [
                {"type": "response.created", "response": {"instructions": TEXT}},
                {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "Hm"},
                {"type": "response.output_text.delta", "output_index": 1, "delta": "Hello", "obfuscation": "abc"},
                {"type": "response.output_text.delta", "output_index": 1, "delta": " world"},
                {"type": "response.output_text.done", "output_index": 1, "text": "Hello world"},
                {"type": "response.audio.delta", "delta": PICTURE},
            ],
            "Hello world",
            "Hm",
        ),
        (
            "responses",
            [{"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"a":1}'}],
            '{"a":1}',
            "",
        ),
        (
            "messages",
            [
                {"type": "message_start", "message": {"content": []}},
                {
                    "type": "content_block_start",
                    "index": 0,
                    "content_block": {"type": "thinking", "thinking": "", "signature": ""},
                },
                {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": PICTURE}},
                {
                    "type": "content_block_start",
                    "index": 1,
                    "content_block": {"type": "tool_use", "id": "t", "name": "weather", "input": {}},
                },
                {
                    "type": "content_block_delta",
                    "index": 1,
                    "delta": {"type": "input_json_delta", "partial_json": '{"city": "Oslo"}'},
                },
                {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
            ],
            'weather{"city": "Oslo"}',
            "Hm",
        ),
        (
            "transcriptions",
            [{"type": "transcript.text.delta", "delta": "Hello"}, {"type": "transcript.text.done", "text": "Hello"}],
            "Hello",
            "",
        ),
    ],
)
def test_what_a_stream_produced_is_counted_as_one_text(
    kind: str, stream: list[dict[str, Any]], output: str, reasoning: str
) -> None:
    used = estimate.produced(kind, events(*stream))
    assert used == Used(output=count(output), reasoning=count(reasoning), estimated=True)


def test_choices_side_by_side_are_counted_apart() -> None:
    pieces = [
        {"choices": [{"index": n % 2, "delta": {"content": text}}]} for n, text in enumerate(["Hel", "Good", "lo", "bye"])
    ]
    assert estimate.produced("chat", events(*pieces)).output == count("Hello") + count("Goodbye")


def test_pictures_and_sound_of_a_stream_have_flat_figures() -> None:
    pictures = events(
        {"type": "image_generation.partial_image", "b64_json": "x"}, {"type": "image_generation.completed", "b64_json": "x"}
    )
    assert estimate.produced("image_generations", pictures) == Used(images=2, image_output=2 * PICTURE_TOKENS, estimated=True)
    second = base64.b64encode(bytes(16_000)).decode()
    sound = estimate.produced("speech", events({"type": "speech.audio.delta", "audio": second}))
    assert sound.seconds == pytest.approx(1, rel=0.001)
    assert sound.audio_output == 20
    spoken = events({"type": "response.output_audio_transcript.delta", "delta": "x" * 150})
    assert estimate.produced("realtime", spoken).audio_output == 200


@pytest.mark.parametrize(
    ("kind", "answer", "output", "reasoning"),
    [
        ("chat", {"choices": [{"index": 0, "message": {"content": "Hello", "reasoning_content": "Hm"}}]}, "Hello", "Hm"),
        ("chat", {"choices": [{"message": {"content": None, "function_call": {"name": "f", "arguments": "{}"}}}]}, "f{}", ""),
        ("completions", {"choices": [{"index": 0, "text": "Hello"}]}, "Hello", ""),
        (
            "responses",
            {
                "output": [
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]},
                    {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]},
                ]
            },
            "Hello",
            "Hm",
        ),
        ("messages", {"content": [{"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "Hello"}]}, "Hello", "Hm"),
        ("messages", {"content": [{"type": "tool_use", "name": "f", "input": {"a": 1}}]}, 'f{"a":1}', ""),
        ("embeddings", {"data": [{"embedding": [0.1]}]}, "", ""),
    ],
)
def test_what_a_whole_answer_produced_is_counted(kind: str, answer: dict[str, Any], output: str, reasoning: str) -> None:
    used = estimate.answered(kind, json.dumps(answer).encode())
    assert used == Used(output=count(output), reasoning=count(reasoning), estimated=True)


def test_pictures_of_a_whole_answer_are_counted() -> None:
    used = estimate.answered("image_generations", b'{"data":[{"url":"a"},{"url":"b"}]}')
    assert used == Used(images=2, image_output=2 * PICTURE_TOKENS, estimated=True)
    assert estimate.answered("responses", b'{"output":[{"type":"image_generation_call","result":"x"}]}').images == 1


@pytest.mark.parametrize(
    ("body_", "seconds"),
    [
        (b'{"text":"Hello","duration":8.47}', 8.47),
        (b"1\n00:00:00,000 --> 00:00:04,500\nHello\n\n2\n00:00:04,500 --> 01:02:03,250\nworld\n", 3723.25),
        (b"WEBVTT\n\n00:00.000 --> 01:04.500\nHello\n", 64.5),
        (b"x" * 150, 10),
        (b'{"text":"' + b"x" * 30 + b'"}', 2),
    ],
)
def test_how_long_a_recording_was_is_seen_from_its_transcript(body_: bytes, seconds: float) -> None:
    used = estimate.answered("transcriptions", body_)
    assert (used.seconds, used.audio_input) == (seconds, round(seconds * 10))
    assert used.output > 0


def test_a_whole_call_is_what_was_asked_and_what_was_answered() -> None:
    answer = json.dumps({"choices": [{"message": {"content": "Hello"}}]}).encode()
    request = body(messages=[{"role": "user", "content": TEXT}])
    assert estimate.whole("chat", request, answer) == Used(
        input=count(TEXT) + 2 * MESSAGE_TOKENS, output=count("Hello"), estimated=True
    )
    speech = estimate.whole("speech", body(input="x" * 150), b"\xff\xf3sound")
    assert (speech.characters, speech.seconds, speech.audio_output, speech.calls) == (150, 10, 200, 1)
    broken = estimate.whole("chat", b"{broken", b"<html>")
    assert broken == Used(input=estimate.quick_input(b"{broken"), estimated=True)


def test_a_recording_without_a_transcript_is_as_long_as_its_size_says() -> None:
    used = estimate.whole("transcriptions", b"--x\r\n" + bytes(160_000), b"")
    assert used.seconds == pytest.approx(10, rel=0.001)
    assert used.audio_input == 100


def test_a_stream_that_broke_off_is_charged_for_what_was_produced() -> None:
    request = body(messages=[{"role": "user", "content": TEXT}])
    said = events({"type": "content_block_delta", "index": 0, "delta": {"text": TEXT}})
    asked = count(TEXT) + 2 * MESSAGE_TOKENS
    assert estimate.streamed("messages", request, said) == Used(input=asked, output=count(TEXT), estimated=True)
    begun = Used(input=7, cached_input=90, output=1)
    assert estimate.streamed("messages", request, said, begun) == Used(
        input=7, cached_input=90, output=count(TEXT), estimated=True
    )
    told = Used(input=7, output=500, reasoning=10)
    assert estimate.streamed("messages", request, said, told) == told
    only_output = Used(output=500)
    assert estimate.streamed("messages", request, said, only_output) == Used(input=asked, output=500, estimated=True)
