"""Sound in a chat: what is said as tones, with its transcript."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from genway.errors import InvalidRequest
from genway.providers.local.echo import speech, tones, words
from genway.providers.local.echo.answers import identifier

STREAMED = "pcm16"
KEPT_SECONDS = 3600


class Wanted(msgspec.Struct):
    """How a chat is to sound."""

    voice: str | speech.Voice
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]


class Spoken(msgspec.Struct, frozen=True):
    """A text as sound, in the format that was asked for. tokens: what the sound counts; expires_at: Unix seconds."""

    text: str
    sound: bytes
    tokens: int
    expires_at: int

    def whole(self, *about: object) -> dict[str, Any]:
        """A message's `audio`. about: what its id follows from."""
        sound = {"data": b64encode(self.sound).decode(), "transcript": self.text}
        return {"id": identifier("audio_", *about), "expires_at": self.expires_at, **sound}

    def deltas(self, *about: object) -> Iterator[dict[str, Any]]:
        """The same piece by piece."""
        yield {"id": identifier("audio_", *about), "transcript": ""}
        for piece in words.chunks(self.text):
            yield {"transcript": piece}
        for start in range(0, len(self.sound), speech.CHUNK):
            yield {"data": b64encode(self.sound[start : start + speech.CHUNK]).decode()}
        yield {"expires_at": self.expires_at}


def spoken(wanted: Wanted | None, text: str, *, streamed: bool, created: int) -> Spoken:
    """Raises InvalidRequest where it is not said how, or where a stream is to have another format than its own."""
    if wanted is None:
        raise InvalidRequest("required: a voice and a format", field="audio")
    if streamed and wanted.format != STREAMED:
        raise InvalidRequest(f"{STREAMED} in a stream, got {wanted.format}", field="audio.format")
    voice = wanted.voice if isinstance(wanted.voice, str) else wanted.voice.id
    samples = tones.melody(text, voice, 1.0)
    sound = speech.as_file(samples, "pcm" if wanted.format == STREAMED else wanted.format)
    return Spoken(text, sound, speech.audio_tokens(tones.seconds(samples)), created + KEPT_SECONDS)
