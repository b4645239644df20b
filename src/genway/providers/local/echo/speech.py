"""Speech: a tone for each word, in the format that is asked for."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from genway.providers.local.echo import failures, tones, words
from genway.providers.local.echo.answers import EVENTS, Streamed, Whole, breaking, named, read

NAME = "local-speech"
TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
CHUNK = 16_384
"""Bytes of sound in one event."""


class Voice(msgspec.Struct):
    id: str


class Request(msgspec.Struct):
    input: Annotated[str, Meta(min_length=1, max_length=4096)]
    voice: str | Voice
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] | None = None
    speed: Annotated[float, Meta(ge=0.25, le=4)] | None = None
    stream_format: Literal["audio", "sse"] | None = None


_decoder = msgspec.json.Decoder(Request)


def answer(body: bytes, *, request_id: str, created: int) -> Whole | Streamed:
    """The sound of a text. request_id, created: unused, sound has neither. Raises InvalidRequest."""
    request = read(_decoder, body)
    forced = words.forced(request.input, "input")
    if forced.fail is not None:
        return failures.openai(forced.fail, "speech", forced.delay)
    voice = request.voice if isinstance(request.voice, str) else request.voice.id
    samples = tones.melody(request.input, voice, request.speed or 1.0)
    format_ = request.response_format or "mp3"
    sound = as_file(samples, format_)
    if request.stream_format == "sse":
        events = breaking(_events(sound, words.count(request.input), samples), forced.fail_after, failures.typed_event())
        return Streamed(EVENTS, events, forced.delay, forced.pause)
    return Whole(200, TYPES[format_], sound, {}, forced.delay)


def as_file(samples: bytes, format_: str) -> bytes:
    """The samples as a file of one of the formats in TYPES."""
    if format_ == "pcm":
        return samples
    return tones.as_wav(samples) if format_ == "wav" else tones.encoded(samples, format_)


def _events(sound: bytes, tokens: int, samples: bytes) -> Iterator[bytes]:
    for start in range(0, len(sound), CHUNK):
        yield named({"type": "speech.audio.delta", "audio": b64encode(sound[start : start + CHUNK]).decode()})
    spoken = audio_tokens(tones.seconds(samples))
    usage = {"input_tokens": tokens, "output_tokens": spoken, "total_tokens": tokens + spoken}
    yield named({"type": "speech.audio.done", "usage": usage})


def audio_tokens(seconds: float) -> int:
    """What sound of so many seconds counts: 10 a second."""
    return round(10 * seconds)
