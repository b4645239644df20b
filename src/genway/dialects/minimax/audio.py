"""How a sound is handed over in MiniMax's format: as hex, as a link, or as events of a stream."""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from litestar import Request
from litestar.response.base import ASGIResponse

from genway.access.model import Asked
from genway.dialects.base import Answer
from genway.dialects.minimax.answers import OK, ok
from genway.dialects.minimax.synchronous import content
from genway.errors import GenwayError
from genway.tasks.model import Task

EVENT_BYTES = 64 * 1024
PARTIAL, COMPLETE = 1, 2


class Delivery(msgspec.Struct, frozen=True):
    """How the sound is wanted.

    stream: as server-sent events of parts; whole_at_end: the last event repeats the whole. raw: the bare samples of a WAV file.
    length, size: what `extra_info` calls the length in ms and the bytes.
    """

    output_format: Literal["hex", "url"]
    stream: bool = False
    whole_at_end: bool = True
    raw: bool = False
    length: str = "audio_length"
    size: str = "audio_size"


async def deliver(
    task: Task, info: Mapping[str, Any], how: Delivery, asked: Asked, request: Request[Any, Any, Any]
) -> Answer | ASGIResponse:
    """The answer with the task's sound; `info` becomes its `extra_info` together with length and size."""
    file = task.file("audio")
    if file is None:
        raise GenwayError("the work is done and no sound came of it")
    told = {how.length: round((file.seconds or 0) * 1000), how.size: file.bytes, **info}
    if how.output_format == "url":
        return ok(_body(file.url, COMPLETE, asked, told), asked, task)
    sound = await content(file, request)
    if how.raw:
        sound = _samples(sound)
        told[how.size] = len(sound)
    if not how.stream:
        return ok(_body(sound.hex(), COMPLETE, asked, told), asked, task)
    parts = [sound[at : at + EVENT_BYTES].hex() for at in range(0, len(sound), EVENT_BYTES)]
    bodies = [_body(part, PARTIAL, asked) for part in parts]
    bodies.append(_body(sound.hex() if how.whole_at_end else "", COMPLETE, asked, told))
    events = b"".join(b"data: " + msgspec.json.encode({**body, "base_resp": OK}) + b"\n\n" for body in bodies)
    headers = {**ok({}, asked, task).headers, "Cache-Control": "no-cache"}
    return ASGIResponse(body=events, headers=headers, media_type="text/event-stream")


def _body(audio: str, status: int, asked: Asked, info: Mapping[str, Any] | None = None) -> dict[str, Any]:
    body = {"data": {"audio": audio, "status": status}, "trace_id": asked.request_id}
    return body | ({"extra_info": dict(info)} if info else {})


def _samples(sound: bytes) -> bytes:
    """The bare samples of a WAV file; of anything else, the file."""
    try:
        with wave.open(io.BytesIO(sound)) as file:
            return bytes(file.readframes(file.getnframes()))
    except (wave.Error, EOFError):
        return sound
