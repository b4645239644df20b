"""Sound in a chat, as OpenAI's SDK reads it."""

from __future__ import annotations

import base64
import io
import wave
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from genway.errors import InvalidRequest
from providers.local.echo.asking import CREATED, WEATHER, ask, streamed, told

SAID = [{"role": "user", "content": "one two three"}]
WAV = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}
PCM = {"modalities": ["text", "audio"], "audio": {"voice": {"id": "voice_1"}, "format": "pcm16"}}


def chat(**body: Any) -> ChatCompletion:
    return ChatCompletion.model_validate(told("chat", model="m", messages=SAID, **body))


def test_what_is_said_sounds_and_has_a_transcript() -> None:
    answer = chat(**WAV, n=2)
    first, second = (choice.message for choice in answer.choices)
    assert first.content is None
    assert first.audio is not None
    assert second.audio is not None
    assert (first.audio.transcript, first.audio.expires_at) == ("one two three", CREATED + 3600)
    assert first.audio.id != second.audio.id
    with wave.open(io.BytesIO(base64.b64decode(first.audio.data))) as sound:
        assert sound.getnframes() / sound.getframerate() == pytest.approx(0.45)
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert (answer.usage.completion_tokens_details.audio_tokens, answer.usage.completion_tokens) == (8, 14)


@pytest.mark.parametrize(("format_", "begins"), [("mp3", b"ID3"), ("flac", b"fLaC"), ("opus", b"OggS"), ("aac", b"\xff")])
def test_it_sounds_in_every_format(format_: str, begins: bytes) -> None:
    audio = chat(modalities=["text", "audio"], audio={"voice": "alloy", "format": format_}).choices[0].message.audio
    assert audio is not None
    assert base64.b64decode(audio.data).startswith(begins)


def test_the_pieces_of_a_stream_are_the_whole() -> None:
    whole = chat(**PCM).choices[0].message.audio
    assert whole is not None
    deltas = [data["choices"][0]["delta"] for _, data in streamed("chat", model="m", messages=SAID, **PCM) if data != "[DONE]"]
    pieces = [delta["audio"] for delta in deltas if "audio" in delta]
    assert pieces[0]["id"] == whole.id
    assert "".join(piece.get("transcript", "") for piece in pieces) == whole.transcript
    sound = b"".join(base64.b64decode(piece["data"]) for piece in pieces if "data" in piece)
    assert sound == base64.b64decode(whole.data)
    assert pieces[-1] == {"expires_at": whole.expires_at}
    assert not any(delta.get("content") for delta in deltas)


def test_who_wants_text_or_calls_a_tool_makes_no_sound() -> None:
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
    called = chat(**WAV, tools=tools, tool_choice="required").choices[0].message
    assert (called.audio, len(called.tool_calls or [])) == (None, 1)
    silent = chat(modalities=["text"]).choices[0].message
    assert (silent.audio, silent.content) == (None, "one two three")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"modalities": ["audio"]}, "audio"),
        ({**WAV, "stream": True}, "audio.format"),
        ({"modalities": ["audio"], "audio": {"voice": "alloy", "format": "pcm"}}, "audio.format"),
    ],
)
def test_what_is_wrong_is_said_and_where(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ask("chat", model="m", messages=SAID, **body)
    assert refused.value.field == field
