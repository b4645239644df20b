"""Sound: each word of a text is a tone, always the same for the same word."""

from __future__ import annotations

import io
import math
import wave
from array import array
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from genway.providers.local.echo import words

RATE = 24_000
TONE_SECONDS, REST_SECONDS = 0.12, 0.03
EDGE_SECONDS = 0.008
LONGEST_SECONDS = 120.0
LOUDNESS = 0.3
SCALE = (0, 2, 4, 7, 9, 12, 14, 16)
"""Semitones of the eight tones over the voice's own."""
VOICES = (196.0, 220.0, 246.9, 261.6, 293.7, 329.6, 349.2, 392.0)
"""Lowest tones of voices, in hertz."""
CODECS = {"mp3": ("mp3", "libmp3lame"), "opus": ("ogg", "libopus"), "aac": ("adts", "aac"), "flac": ("flac", "flac")}
FRAME = 4096


def melody(text: str, voice: str, speed: float) -> bytes:
    """The text as sound: 16-bit samples, one channel, little-endian, 24,000 a second. speed: 0.25…4, 1 is 0.15 s a word.

    Two minutes at most: a longer text goes faster.
    """
    spoken = words.pieces(text)
    speed = max(speed, len(spoken) * (TONE_SECONDS + REST_SECONDS) / LONGEST_SECONDS)
    lowest = _chosen(voice, len(VOICES))
    return b"".join(_tone(_chosen(word, len(SCALE)), lowest, speed) for word in spoken)


def seconds(samples: bytes) -> float:
    """How long samples as `melody` makes them last."""
    return len(samples) / 2 / RATE


def as_wav(samples: bytes) -> bytes:
    """The samples as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(samples)
    return file.getvalue()


def encoded(samples: bytes, format_: str) -> bytes:
    """The samples as a file of one of the formats in CODECS. Takes up to a second for two minutes: not for an event loop."""
    import av  # noqa: PLC0415 - whoever needs no compressed sound does not load what makes it
    import numpy as np  # noqa: PLC0415

    container_name, codec = CODECS[format_]
    file = io.BytesIO()
    container: Any
    with av.open(file, "w", format=container_name, options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.layout = "mono"
        if codec != "flac":
            stream.bit_rate = 48_000
        sound = np.frombuffer(samples, "<i2").reshape(1, -1)
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=RATE, frame_size=stream.frame_size or FRAME)
        for start in range(0, sound.shape[1], FRAME):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound[:, start : start + FRAME]), format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    return file.getvalue()


def _chosen(text: str, many: int) -> int:
    return blake2b(text.strip().casefold().encode("utf-8", "replace"), digest_size=2).digest()[0] % many


@lru_cache(256)
def _tone(number: int, voice: int, speed: float) -> bytes:
    """A tone with soft edges, and the rest after it."""
    hertz = VOICES[voice] * 2 ** (SCALE[number] / 12)
    length, rest = round(RATE * TONE_SECONDS / speed), round(RATE * REST_SECONDS / speed)
    edge = min(RATE * EDGE_SECONDS, length / 2)
    turn = 2 * math.pi * hertz / RATE
    samples = [
        round(32767 * LOUDNESS * math.sin(turn * index) * min(1.0, index / edge, (length - index) / edge))
        for index in range(length)
    ]
    sound = array("h", samples)
    if sound.itemsize == 2 and array("h", [1]).tobytes() != b"\x01\x00":
        sound.byteswap()
    return sound.tobytes() + b"\0\0" * rest
