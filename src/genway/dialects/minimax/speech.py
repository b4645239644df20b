"""Speech in MiniMax's format: short texts in one call, long ones as a task."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from litestar.response.base import ASGIResponse
from msgspec import Meta

from genway.access.model import Asked
from genway.dialects.base import Answer, Router, submit
from genway.dialects.body import Body
from genway.dialects.minimax import models
from genway.dialects.minimax.answers import ok, outcome, places
from genway.dialects.minimax.audio import Delivery, deliver
from genway.dialects.minimax.files import named, text_of, uploaded
from genway.dialects.minimax.synchronous import made
from genway.dialects.minimax.voices import voice_named
from genway.dialects.numbers import number
from genway.errors import InvalidRequest
from genway.gateway import Gateway
from genway.media.library import Library
from genway.operations import SpeechRequest
from genway.tasks.model import State, Task

SPEECH = "minimax.speech"
LONG_SPEECH = "minimax.speech_async"
SECONDS = 180.0
LONGEST_TEXT = 9999
LONGEST_ASYNC_TEXT = 1_000_000

route = Router()

Rate = Literal[8000, 16000, 22050, 24000, 32000, 44100]
Bitrate = Literal[32000, 64000, 128000, 256000]


class VoiceSetting(msgspec.Struct):
    """Who speaks, and how."""

    voice_id: str = ""
    speed: Annotated[float, Meta(ge=0.5, le=2)] = 1
    vol: Annotated[float, Meta(gt=0, le=10)] = 1
    pitch: Annotated[int, Meta(ge=-12, le=12)] = 0
    emotion: str = ""


class AudioSetting(msgspec.Struct, omit_defaults=True):
    """How the sound is encoded."""

    sample_rate: Rate = 32000
    bitrate: Bitrate = 128000
    format: Literal["mp3", "pcm", "flac", "wav"] = "mp3"
    channel: Literal[1, 2] = 1


class AsyncAudioSetting(msgspec.Struct, omit_defaults=True):
    """The same under the other name that the long form has for the rate. Raw samples are not kept."""

    audio_sample_rate: Rate = 32000
    bitrate: Bitrate = 128000
    format: Literal["mp3", "flac", "wav"] = "mp3"
    channel: Literal[1, 2] = 1


class StreamOptions(msgspec.Struct):
    """exclude_aggregated_audio: the last event of a stream repeats the whole sound unless this is true."""

    exclude_aggregated_audio: bool = False


class Speak(Body, kw_only=True):
    """What both forms share."""

    model: str
    voice_setting: VoiceSetting = msgspec.field(default_factory=VoiceSetting)
    language_boost: str = ""


class Speech(Speak, kw_only=True):
    """A text of less than 10,000 characters, spoken."""

    text: Annotated[str, Meta(max_length=LONGEST_TEXT)]
    audio_setting: AudioSetting = msgspec.field(default_factory=AudioSetting)
    stream: bool = False
    stream_options: StreamOptions = msgspec.field(default_factory=StreamOptions)
    subtitle_enable: bool = False
    output_format: Literal["hex", "url"] = "hex"


class LongSpeech(Speak, kw_only=True):
    """A long text, spoken; or what stands in a text file that was sent before."""

    text: Annotated[str, Meta(max_length=LONGEST_ASYNC_TEXT)] = ""
    text_file_id: int | str | None = None
    audio_setting: AsyncAudioSetting = msgspec.field(default_factory=AsyncAudioSetting)


@route.submit(*places("/v1/t2a_v2"))
async def t2a(body: Speech, gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer | ASGIResponse:
    """Speak a text."""
    setting = body.audio_setting
    operation = await _operation(gateway, asked, body, SPEECH, body.text, setting)
    if body.subtitle_enable:
        raise InvalidRequest("false, for no subtitles are made here", field="subtitle_enable")
    if body.stream and body.output_format != "hex":
        raise InvalidRequest('hex where stream is true, got "url"', field="output_format")
    task = await made(operation, SPEECH, gateway, asked, seconds=SECONDS)
    info = {
        "audio_sample_rate": setting.sample_rate,
        "bitrate": setting.bitrate,
        "word_count": len(body.text.split()),
        "invisible_character_ratio": 0,
        "usage_characters": len(body.text),
        "audio_format": setting.format,
        "audio_channel": setting.channel,
    }
    how = Delivery(
        body.output_format,
        stream=body.stream,
        whole_at_end=not body.stream_options.exclude_aggregated_audio,
        raw=setting.format == "pcm",
        length="audio_length",
        size="audio_size",
    )
    return await deliver(task, info, how, asked, request)


@route.submit(*places("/v1/t2a_async_v2"))
async def t2a_async(body: LongSpeech, gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Begin to speak a long text."""
    text = await _text(body, asked, request)
    operation = await _operation(gateway, asked, body, LONG_SPEECH, text, body.audio_setting)
    task = await submit(gateway, asked, operation=operation, dialect=LONG_SPEECH)
    name = number(task)
    told = {"task_id": name, "task_token": task.id, "file_id": name, "usage_characters": len(text)}
    return ok(told, asked, task)


@route.get(*places("/v1/query/t2a_async_query_v2"))
async def query(gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Tell how a long text is going. The id may be the number, or the token that came beside it."""
    name = request.query_params.get("task_id", "").strip()
    task = await (gateway.get(asked.caller, name) if "-" in name else named(gateway, asked.caller, name, "task_id"))
    return ok(render_long(task), asked, task)


async def _text(body: LongSpeech, asked: Asked, request: Request[Any, Any, Any]) -> str:
    if not body.text and body.text_file_id is None:
        raise InvalidRequest("required", field="text")
    if body.text and body.text_file_id is not None:
        raise InvalidRequest("exactly one of `text` and `text_file_id`", field="text")
    if body.text_file_id is None:
        return body.text
    library: Library = request.app.state.library
    stored = await uploaded(library, asked.caller, str(body.text_file_id), "text_file_id")
    if not stored.content_type.startswith("text/"):
        raise InvalidRequest(f"a text file, got {stored.content_type}", field="text_file_id")
    text = await text_of(library, stored)
    if len(text) > LONGEST_ASYNC_TEXT:
        raise InvalidRequest(f"at most {LONGEST_ASYNC_TEXT} characters, got {len(text)}", field="text_file_id")
    return text


async def _operation(
    gateway: Gateway, asked: Asked, body: Speak, form: str, text: str, setting: AudioSetting | AsyncAudioSetting
) -> SpeechRequest:
    voice = body.voice_setting
    if not voice.voice_id and not body.extra.get("timbre_weights"):
        raise InvalidRequest("required", field="voice_setting.voice_id")
    encoding = {**msgspec.to_builtins(setting), **body.extra.get("audio_setting", {})}
    # Raw samples are taken out of a WAV file here: a stored file has to say what it is.
    encoding.pop("format", None)
    return SpeechRequest(
        model=models.SYSTEM + models.named(models.SPEECH, body.model),
        format=form,
        text=text,
        uses=await voice_named(gateway, asked.caller, voice.voice_id) if voice.voice_id else (),
        voice=voice.voice_id,
        language=body.language_boost,
        emotion=voice.emotion,
        speed=voice.speed,
        volume=voice.vol,
        pitch=voice.pitch,
        encoding="wav" if setting.format == "pcm" else setting.format,
        extra=body.extra | ({"audio_setting": encoding} if encoding else {}),
    )


def render(task: Task) -> dict[str, Any]:
    """A task of a short text: what can be told without the sound's bytes."""
    file = task.file("audio")
    done = task.state is State.SUCCEEDED
    return {"data": {"audio": file.url if file else "", "status": 2 if done else 1}, "base_resp": outcome(task)}


LONG_STATUS = {State.SUCCEEDED: "Success", State.FAILED: "Failed", State.CANCELLED: "Failed", State.EXPIRED: "Expired"}


def render_long(task: Task) -> dict[str, Any]:
    """The answer to a query for a long text; its ids are numbers."""
    name = number(task)
    status = LONG_STATUS.get(task.state, "Processing")
    return {"task_id": name, "status": status, "file_id": name, "base_resp": outcome(task)}
