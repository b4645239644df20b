"""Speech: real files of sound."""

from __future__ import annotations

import io
import wave
from base64 import b64decode
from typing import Any

import av
import pytest

from genway.errors import InvalidRequest
from genway.providers.local.echo import Streamed, Whole
from genway.providers.local.echo.tones import melody
from providers.local.echo.asking import ask, event, openai_sdk

TEXT = "one two three four five six seven eight"
SECONDS = 8 * 0.15


def spoken(**body: Any) -> Whole:
    answer = ask("speech", **{"input": TEXT, "voice": "alloy", **body})
    assert isinstance(answer, Whole)
    return answer


def decoded_seconds(sound: bytes) -> float:
    container: Any
    with av.open(io.BytesIO(sound)) as container:
        return float(sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)))


@pytest.mark.parametrize(
    ("format_", "type_"),
    [("mp3", "audio/mpeg"), ("opus", "audio/ogg"), ("aac", "audio/aac"), ("flac", "audio/flac"), ("wav", "audio/wav")],
)
def test_each_format_is_a_file_that_plays_as_long_as_the_text(format_: str, type_: str) -> None:
    answer = spoken(response_format=format_)
    assert answer.content_type == type_
    assert decoded_seconds(answer.body) == pytest.approx(SECONDS, abs=0.15)
    assert spoken(response_format=format_).body == answer.body


def test_plain_samples_are_those_of_the_wav_file_and_are_no_silence() -> None:
    samples = spoken(response_format="pcm").body
    with wave.open(io.BytesIO(spoken(response_format="wav").body)) as sound:
        assert (sound.getframerate(), sound.getsampwidth(), sound.getnchannels()) == (24_000, 2, 1)
        assert sound.readframes(1_000_000) == samples
    assert max(samples[1::2]) > 0


def test_speed_shortens_and_words_and_voices_sound_their_own_way() -> None:
    assert len(spoken(response_format="pcm", speed=2).body) == len(spoken(response_format="pcm").body) // 2
    assert melody("cat", "alloy", 1) == melody(" Cat", "alloy", 1)
    assert len({melody(word, "alloy", 1) for word in TEXT.split()}) > 3
    assert len({melody("cat", voice, 1) for voice in ("alloy", "ash", "coral", "echo", "sage")}) > 2


def test_a_long_text_goes_faster() -> None:
    assert len(melody("字" * 4096, "alloy", 0.25)) / 2 / 24_000 == pytest.approx(120, rel=0.02)


def test_the_stream_put_together_is_the_file() -> None:
    answer = ask("speech", input=TEXT, voice={"id": "voice_1"}, response_format="wav", stream_format="sse")
    assert isinstance(answer, Streamed)
    *deltas, (name, done) = [event(raw) for raw in answer.events]
    assert len(deltas) > 2
    assert b"".join(b64decode(data["audio"]) for _, data in deltas) == spoken(response_format="wav", voice="voice_1").body
    assert name == "speech.audio.done"
    assert done["usage"] == {"input_tokens": 8, "output_tokens": 12, "total_tokens": 20}


def test_the_sdk_gets_an_mp3() -> None:
    sound = openai_sdk().audio.speech.create(model="m", voice="alloy", input=TEXT).read()
    assert decoded_seconds(sound) == pytest.approx(SECONDS, abs=0.15)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"voice": "a"}, "input"),
        ({"voice": "a", "input": ""}, "input"),
        ({"voice": "a", "input": "x" * 4097}, "input"),
        ({"input": "x"}, "voice"),
        ({"voice": "a", "input": "x", "speed": 5}, "speed"),
        ({"voice": "a", "input": "x", "response_format": "midi"}, "response_format"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask("speech", **body)
    assert caught.value.field == field
