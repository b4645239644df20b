"""OpenAI's pictures and sound: generations, edits and variations, speech, transcriptions and translations."""

from __future__ import annotations

import base64
import io
import re
import struct
import wave
import zlib
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from standins import obedience
from standins.openai_answers import CREATED, answered
from standins.openai_bodies import check_model, invalid, picture, take, wrong_body
from standins.openai_responses import named
from standins.relay_vendor import Answer, Call, Events, Form, Refused, Reply, Upload
from standins.strict_bodies import Strict, Wrong, read

Size = Annotated[str, Meta(pattern=r"^(auto|\d+x\d+)$")]
SOUND = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
RATE = 24_000


class Drawing(Strict):
    """What generations and edits have in common."""

    prompt: Annotated[str, Meta(min_length=1, max_length=32_000)]
    model: str = "gpt-image-2"
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    size: Size | None = None
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max"] | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    output_format: Literal["png", "jpeg", "webp", "gif", "svg"] | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    moderation: Literal["auto", "low"] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3)] | None = None
    safety_identifier: str | None = None
    user: str | None = None


class Generation(Drawing):
    """POST /v1/images/generations."""

    complexity: Literal["low", "medium", "high"] | None = None
    frame_count: Annotated[int, Meta(ge=2, le=16)] | None = None
    frame_duration_ms: int | None = None
    response_format: Literal["url", "b64_json"] | None = None
    style: Literal["vivid", "natural"] | None = None


class Edit(Drawing):
    """POST /v1/images/edits, apart from the files."""

    input_fidelity: Literal["high", "low"] | None = None
    images: list[dict[str, str]] | None = None


class Variation(Strict):
    """POST /v1/images/variations, apart from the file."""

    model: str = "dall-e-2"
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    size: Literal["256x256", "512x512", "1024x1024"] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    user: str | None = None


class Speech(Strict):
    """POST /v1/audio/speech."""

    model: str
    input: Annotated[str, Meta(min_length=1, max_length=4096)]
    voice: str | dict[str, str]
    instructions: str | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: Annotated[float, Meta(ge=0.25, le=4)] = 1
    stream_format: Literal["audio", "sse"] = "audio"


class Transcription(Strict):
    """POST /v1/audio/transcriptions and translations, apart from the file."""

    model: str
    language: str | None = None
    languages: list[str] = []
    keywords: list[str] = []
    prompt: str | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    timestamp_granularities: list[Literal["word", "segment"]] = []
    include: list[str] = []
    chunking_strategy: Any = None
    stream: bool | None = None


@cache
def png(width: int = 8, height: int = 8, shade: int = 120) -> bytes:
    """A real PNG of one grey."""
    rows = b"".join(b"\0" + bytes([shade]) * width for _ in range(height))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    framed = [struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


@cache
def wav(seconds: float = 1.0) -> bytes:
    """A real WAV of silence: 24 kHz, 16 bit, one channel."""
    into = io.BytesIO()
    with wave.open(into, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(2 * int(RATE * seconds)))
    return into.getvalue()


def generations(call: Call) -> Reply:
    body: Generation = take(call.body, Generation)
    if body.response_format is not None and body.model.startswith("gpt-image"):
        raise Refused(400, "Unknown parameter: 'response_format'.", code="unknown_parameter", param="response_format")
    return _drawn(body, "image_generation", call, 0)


def edits(call: Call) -> Reply:
    """A form with `image`, or several `image[]`; or JSON with `images`."""
    if isinstance(call.body, Form):
        body: Edit = _form(call.body, Edit)
        files = call.body.files.get("image", []) + call.body.files.get("image[]", [])
        if set(call.body.files) - {"image", "image[]", "mask", "markup"}:
            raise invalid("image", f"Unknown files: {sorted(call.body.files)}.")
        if len(call.body.files.get("image", [])) > 1:
            raise invalid("image", "Duplicate parameter: 'image'. You can provide multiple values as 'image[]'.")
        for file in files + call.body.files.get("mask", []):
            _check_picture(file)
        count = len(files)
    else:
        body = take(call.body, Edit)
        count = sum(1 for each in body.images or () if each.get("file_id") or picture(each.get("image_url", ""), "images"))
    if not 1 <= count <= 16:
        raise invalid("image", f"Expected 1 to 16 images, got {count}.")
    return _drawn(body, "image_edit", call, count)


def variations(call: Call) -> Reply:
    if not isinstance(call.body, Form) or "image" not in call.body.files:
        raise Refused(400, "Missing required parameter: 'image'.", code="missing_required_parameter", param="image")
    body: Variation = _form(call.body, Variation)
    _check_picture(call.body.files["image"][0])
    content = base64.b64encode(png()).decode()
    found = {"b64_json": content} if body.response_format == "b64_json" else {"url": "https://images.example/variation.png"}
    return answered({"created": CREATED, "data": [found] * (body.n or 1)})


def _drawn(body: Drawing, kind: str, call: Call, pictures: int) -> Reply:
    size = body.size if body.size not in (None, "auto") else "1024x1024"
    width, height = (int(part) for part in str(size).split("x"))
    if width % 16 or height % 16:
        raise invalid("size", f"Invalid size '{size}'. Width and height must be divisible by 16.")
    words, shown = obedience.tokens(body.prompt), 64 * pictures
    usage = call.script.usage or {
        "input_tokens": words + shown,
        "input_tokens_details": {"image_tokens": shown, "text_tokens": words},
        "output_tokens": 272 * (body.n or 1),
        "total_tokens": words + shown + 272 * (body.n or 1),
    }
    about: dict[str, str] = {"background": body.background or "opaque", "output_format": body.output_format or "png"}
    about |= {"quality": body.quality or "high", "size": str(size)}
    images = [base64.b64encode(png(width // 16, height // 16, 100 + number)).decode() for number in range(body.n or 1)]
    if not body.stream:
        return answered({"created": CREATED, "data": [{"b64_json": each} for each in images], **about, "usage": usage})
    events = [
        named(name, {"type": name, "b64_json": images[0], "partial_image_index": number, "created_at": CREATED, **about})
        for number in range(body.partial_images or 0)
        for name in [f"{kind}.partial_image"]
    ]
    whole = {"type": f"{kind}.completed", "b64_json": images[0], "created_at": CREATED, **about, "usage": usage}
    return Events([*events, named(f"{kind}.completed", whole)])


def speech(call: Call) -> Reply:
    body: Speech = take(call.body, Speech)
    content = wav(0.1) if body.response_format == "wav" else f"{body.response_format} of {body.input}".encode()
    if body.stream_format == "audio":
        return Answer(content, content_type=SOUND[body.response_format])
    words = obedience.tokens(body.input)
    usage = {"input_tokens": words, "output_tokens": 10 * words, "total_tokens": 11 * words}
    halves = (content[: len(content) // 2], content[len(content) // 2 :])
    deltas: list[dict[str, Any]] = [{"type": "speech.audio.delta", "audio": base64.b64encode(half).decode()} for half in halves]
    events = [*deltas, {"type": "speech.audio.done", "usage": call.script.usage or usage}]
    return Events([named(event["type"], event) for event in events])


def transcriptions(call: Call) -> Reply:
    return _heard(call, "transcribe")


def translations(call: Call) -> Reply:
    return _heard(call, "translate")


def _heard(call: Call, task: str) -> Reply:
    if not isinstance(call.body, Form) or list(call.body.files) != ["file"]:
        raise Refused(400, "Missing required parameter: 'file'.", code="missing_required_parameter", param="file")
    body: Transcription = _form(call.body, Transcription)
    file = call.body.files["file"][0]
    if not re.search(r"\.(flac|mp3|mp4|mpeg|mpga|m4a|ogg|wav|webm)$", file.filename):
        raise invalid("file", f"Unrecognized file format: {file.filename}.")
    if body.response_format != "json" and body.model != "whisper-1" and body.response_format != "text":
        raise invalid(
            "response_format", f"response_format '{body.response_format}' is not compatible with model '{body.model}'."
        )
    text = call.script.text or f"You said something of {len(file.content)} bytes."
    seconds = max(len(file.content) // (2 * RATE), 1)
    if body.stream and body.model != "whisper-1":
        return Events([named(event["type"], event) for event in _heard_events(text, call)])
    if body.response_format == "text":
        return Answer(f"{text}\n".encode(), content_type="text/plain")
    if body.response_format == "srt":
        return Answer(f"1\n00:00:00,000 --> 00:00:0{seconds},000\n{text}\n\n".encode(), content_type="text/plain")
    if body.response_format == "vtt":
        return Answer(f"WEBVTT\n\n00:00.000 --> 00:0{seconds}.000\n{text}\n".encode(), content_type="text/vtt")
    duration = {"type": "duration", "seconds": seconds}
    if body.response_format == "json":
        usage = duration if body.model == "whisper-1" else _heard_usage(text)
        return answered({"text": text, "usage": call.script.usage or usage})
    segment = {"id": 0, "seek": 0, "start": 0.0, "end": float(seconds), "text": text, "tokens": [1, 2], "temperature": 0.0}
    segment |= {"avg_logprob": -0.3, "compression_ratio": 1.0, "no_speech_prob": 0.01}
    answer: dict[str, Any] = {"task": task, "language": "english", "duration": float(seconds), "text": text}
    answer |= {"segments": [segment], "usage": call.script.usage or duration}
    if "word" in body.timestamp_granularities:
        answer["words"] = [{"word": word, "start": 0.0, "end": 0.5} for word in text.split()]
    return answered(answer)


def _heard_events(text: str, call: Call) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"type": "transcript.text.delta", "delta": piece} for piece in obedience.pieces(text)]
    return [*deltas, {"type": "transcript.text.done", "text": text, "usage": call.script.usage or _heard_usage(text)}]


def _heard_usage(text: str) -> dict[str, Any]:
    words = obedience.tokens(text)
    details = {"text_tokens": 0, "audio_tokens": 25}
    return {
        "type": "tokens",
        "input_tokens": 25,
        "input_token_details": details,
        "output_tokens": words,
        "total_tokens": 25 + words,
    }


def _form(form: Form, shape: Any) -> Any:
    """The fields of a form as `shape`. Raises Refused."""
    lists = {field.name for field in msgspec.structs.fields(shape) if str(field.type).startswith("list")}
    values: dict[str, Any] = {}
    for name, found in form.fields.items():
        bare = name.removesuffix("[]")
        if bare not in lists and (len(found) > 1 or bare != name):
            raise invalid(name, f"Duplicate parameter: '{name}'.")
        values[bare] = found if bare in lists else found[0]
    try:
        # The values of a form are texts, whatever they stand for.
        body = msgspec.convert(values, shape, strict=False)
    except msgspec.ValidationError:
        try:
            body = read(values, shape)
        except Wrong as wrong:
            raise wrong_body(wrong) from wrong
    check_model(body.model)
    return body


def _check_picture(file: Upload) -> None:
    kinds = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8", "image/webp": b"RIFF"}
    if file.content_type not in kinds or not file.content.startswith(kinds[file.content_type]):
        message = f"Invalid file '{file.filename}': unsupported mimetype ('{file.content_type}')."
        raise Refused(400, message, code="unsupported_file_mimetype", param="image")
