"""Transcriptions and translations: nothing is heard, the text tells the file's name and how long it is."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from genway.errors import InvalidRequest
from genway.providers.local.echo import failures, words
from genway.providers.local.echo.answers import EVENTS, Streamed, Whole, breaking, named, whole
from genway.providers.local.echo.speech import audio_tokens
from genway.providers.local.echo.words import Forced

NAME = "local-transcription"
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
DIARIZED = "diarized_json"
PLAIN = {"text": "text/plain; charset=utf-8", "srt": "text/plain; charset=utf-8", "vtt": "text/vtt; charset=utf-8"}
YES = ("true", "1", "True")
WAVE_HEADER = 12

File = tuple[str, int, bytes]


def answer_form(kind: str, fields: Mapping[str, str], files: Mapping[str, list[File]]) -> Whole | Streamed:
    """What is said about the file. `prompt` may hold words that force an outcome. Raises InvalidRequest."""
    sent = files.get("file")
    if not sent:
        raise InvalidRequest("required", field="file")
    wanted = fields.get("response_format") or "json"
    allowed = (*FORMATS, DIARIZED) if kind == "transcriptions" else FORMATS
    if wanted not in allowed:
        raise InvalidRequest(f"{', '.join(allowed)}, got {wanted}", field="response_format")
    forced = words.forced(fields.get("prompt", ""), "prompt")
    if forced.fail is not None:
        return failures.openai(forced.fail, kind, forced.delay)
    name, size, head = sent[0]
    length = seconds(size, head)
    lasting = f", {length:.1f} seconds long" if length else ""
    text = f"This is {name or 'a file'}{lasting}."
    heard = _Heard(kind, text, round(length, 3), fields, wanted)
    if kind == "transcriptions" and fields.get("stream") in YES:
        events = breaking(heard.events(), forced.fail_after, failures.typed_event())
        return Streamed(EVENTS, events, forced.delay, forced.pause)
    return heard.whole(forced)


def seconds(size: int, head: bytes) -> float:
    """How long a file of sound or video lasts. size: of the whole file in bytes, head: its first bytes; 64 KB will do.

    Read from what the file says of itself, or reckoned from how long the head is; 0 where the head is too short for either.
    Raises InvalidRequest where it is neither sound nor video.
    """
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return _wave_seconds(size, head)
    import av  # noqa: PLC0415 - whoever hands in no compressed sound does not load what reads it

    container: Any
    try:
        with av.open(io.BytesIO(head)) as container:
            if not container.streams.audio and not container.streams.video:
                raise InvalidRequest("there is no sound in this file", field="file")
            lasts = _stated(container)
            return lasts if _knows_its_length(container, head) else lasts * max(1.0, size / len(head))
    except av.error.EOFError:
        if size > len(head) > 0:
            return 0.0
        raise InvalidRequest("this file of sound is not whole", field="file") from None
    except (av.error.FFmpegError, ValueError):
        raise InvalidRequest("this is not a file of sound that can be read", field="file") from None


def _wave_seconds(size: int, head: bytes) -> float:
    """By the bytes a second that the `fmt` chunk states and the bytes that the `data` chunk has."""
    rate, at = 0, WAVE_HEADER
    while at + 8 <= len(head):
        name, length = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        if name == b"fmt " and at + 20 <= len(head):
            rate = int.from_bytes(head[at + 16 : at + 20], "little")
        if name == b"data" and rate:
            # A stream that was written without going back has no length here.
            return min(length, max(0, size - at - 8)) / rate
        at += 8 + length + length % 2
    raise InvalidRequest("this WAV file has no sound", field="file")


def _stated(container: Any) -> float:
    if container.duration:
        return float(container.duration) / 1_000_000
    lengths = [float(stream.duration * stream.time_base) for stream in container.streams if stream.duration]
    return max(lengths, default=0.0)


def _knows_its_length(container: Any, head: bytes) -> bool:
    """Whether the length stands in the file's head; else it was reckoned from the bytes that are there."""
    if container.format.name == "mp3":
        return b"Xing" in head or b"Info" in head
    return container.format.name not in ("aac", "ogg")


class _Heard:
    """A transcript in the shapes that are asked for."""

    def __init__(self, kind: str, text: str, length: float, fields: Mapping[str, str], wanted: str) -> None:
        self._text = text
        self._length = length
        self._wanted = wanted
        self._task = "translate" if kind == "translations" else "transcribe"
        self._language = "english" if kind == "translations" else fields.get("language") or "english"
        self._granularities = fields.get("timestamp_granularities[]") or fields.get("timestamp_granularities") or "segment"
        output, audio = words.count(text), audio_tokens(length)
        given = words.count(fields.get("prompt", ""))
        self._tokens = {
            "type": "tokens",
            "input_tokens": given + audio,
            "input_token_details": {"text_tokens": given, "audio_tokens": audio},
            "output_tokens": output,
            "total_tokens": given + audio + output,
        }

    def whole(self, forced: Forced) -> Whole:
        """The transcript in one piece."""
        match self._wanted:
            case "text":
                plain = f"{self._text}\n"
            case "srt":
                plain = f"1\n{_clock(0, ',')} --> {_clock(self._length, ',')}\n{self._text}\n\n"
            case "vtt":
                plain = f"WEBVTT\n\n{_clock(0, '.')} --> {_clock(self._length, '.')}\n{self._text}\n\n"
            case "verbose_json":
                return whole(self._verbose(), delay=forced.delay)
            case "diarized_json":
                return whole(self._diarized(), delay=forced.delay)
            case _:
                return whole({"text": self._text, "usage": self._tokens}, delay=forced.delay)
        return Whole(200, PLAIN[self._wanted], plain.encode("utf-8", "replace"), {}, forced.delay)

    def events(self) -> Iterator[bytes]:
        """The transcript as a stream."""
        for part in words.chunks(self._text):
            yield named({"type": "transcript.text.delta", "delta": part})
        if self._wanted == DIARIZED:
            yield named(self._spoken())
        yield named({"type": "transcript.text.done", "text": self._text, "usage": self._tokens})

    def _verbose(self) -> dict[str, Any]:
        made = {"task": self._task, "language": self._language, "duration": self._length, "text": self._text}
        if "segment" in self._granularities:
            made["segments"] = [
                {
                    "id": 0,
                    "seek": 0,
                    "start": 0.0,
                    "end": self._length,
                    "text": self._text,
                    "tokens": list(range(words.count(self._text))),
                    "temperature": 0.0,
                    "avg_logprob": 0.0,
                    "compression_ratio": 1.0,
                    "no_speech_prob": 0.0,
                }
            ]
        if "word" in self._granularities:
            said = [piece.strip() for piece in words.pieces(self._text)]
            step = self._length / len(said)
            made["words"] = [
                {"word": word, "start": round(index * step, 3), "end": round((index + 1) * step, 3)}
                for index, word in enumerate(said)
            ]
        return {**made, "usage": {"type": "duration", "seconds": self._length}}

    def _diarized(self) -> dict[str, Any]:
        made = {"task": "transcribe", "duration": self._length, "text": self._text}
        return {**made, "segments": [self._spoken()], "usage": self._tokens}

    def _spoken(self) -> dict[str, Any]:
        span = {"start": 0.0, "end": self._length, "text": self._text, "speaker": "A"}
        return {"type": "transcript.text.segment", "id": "seg_0", **span}


def _clock(seconds: float, point: str) -> str:
    whole_seconds, thousandths = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole_seconds, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}{point}{thousandths:03}"
