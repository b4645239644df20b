"""Music in MiniMax's format, answered in one call."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from litestar.response.base import ASGIResponse
from msgspec import Meta

from genway.access.model import Asked
from genway.dialects.base import Answer, Router
from genway.dialects.body import Body
from genway.dialects.minimax import models
from genway.dialects.minimax.answers import outcome, places
from genway.dialects.minimax.audio import Delivery, deliver
from genway.dialects.minimax.synchronous import made
from genway.errors import InvalidRequest
from genway.gateway import Gateway
from genway.operations import MusicRequest
from genway.tasks.model import State, Task

MUSIC = "minimax.music"
SECONDS = 300.0
WITHOUT_PROMPT = ("music-2.5", "music-2.5+", "music-2.6", "music-2.6-free")
INSTRUMENTAL = ("music-2.5+", "music-2.6", "music-2.6-free")
FEWEST_LYRICS = {"music-1.5": 10, "music-2.0": 10}
LONGEST_LYRICS = {"music-1.5": 600}

route = Router()


class AudioSetting(msgspec.Struct, omit_defaults=True):
    """How the sound is encoded."""

    sample_rate: Literal[16000, 24000, 32000, 44100] = 44100
    bitrate: Literal[32000, 64000, 128000, 256000] = 256000
    format: Literal["mp3", "wav", "pcm"] = "mp3"


class MusicGeneration(Body, kw_only=True):
    """A description and lyrics into a song."""

    model: str
    lyrics: Annotated[str, Meta(max_length=3500)] = ""
    prompt: Annotated[str, Meta(max_length=2000)] = ""
    is_instrumental: bool = False
    lyrics_optimizer: bool = False
    stream: bool = False
    output_format: Literal["hex", "url"] = "hex"
    audio_setting: AudioSetting = msgspec.field(default_factory=AudioSetting)
    aigc_watermark: bool | None = None


@route.submit(*places("/v1/music_generation"))
async def music_generation(
    body: MusicGeneration, gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]
) -> Answer | ASGIResponse:
    """Make a song."""
    model = models.named(models.MUSIC, body.model)
    _check(body, model)
    setting = body.audio_setting
    encoding = {**msgspec.to_builtins(setting), **body.extra.get("audio_setting", {})}
    # Raw samples are taken out of a WAV file here: a stored file has to say what it is.
    encoding.pop("format", None)
    extra = body.extra | ({"audio_setting": encoding} if encoding else {})
    if body.lyrics_optimizer:
        extra["lyrics_optimizer"] = True
    if body.aigc_watermark is not None:
        extra["aigc_watermark"] = body.aigc_watermark
    operation = MusicRequest(
        model=models.SYSTEM + model,
        format=MUSIC,
        prompt=body.prompt,
        lyrics=body.lyrics,
        instrumental=body.is_instrumental,
        encoding="wav" if setting.format == "pcm" else setting.format,
        extra=extra,
    )
    task = await made(operation, MUSIC, gateway, asked, seconds=SECONDS)
    info = {"music_sample_rate": setting.sample_rate, "music_channel": 2, "bitrate": setting.bitrate}
    how = Delivery(
        body.output_format, stream=body.stream, raw=setting.format == "pcm", length="music_duration", size="music_size"
    )
    return await deliver(task, info, how, asked, request)


def _check(body: MusicGeneration, model: str) -> None:
    """Source: platform.minimax.io/docs/api-reference/music-generation."""
    if body.is_instrumental and model not in INSTRUMENTAL:
        raise InvalidRequest(f"{model} makes no instrumental music", field="is_instrumental")
    if not body.lyrics and not body.is_instrumental and not body.lyrics_optimizer:
        raise InvalidRequest("required", field="lyrics")
    least, most = FEWEST_LYRICS.get(model, 1), LONGEST_LYRICS.get(model, 3500)
    if body.lyrics and not least <= len(body.lyrics) <= most:
        raise InvalidRequest(f"a text of {least} to {most} characters, got {len(body.lyrics)}", field="lyrics")
    if not body.prompt and (model not in WITHOUT_PROMPT or (body.is_instrumental and not body.lyrics)):
        raise InvalidRequest("required", field="prompt")
    if body.stream and body.output_format != "hex":
        raise InvalidRequest('hex where stream is true, got "url"', field="output_format")


def render(task: Task) -> dict[str, Any]:
    """A task of this format: what can be told without the sound's bytes."""
    file = task.file("audio")
    done = task.state is State.SUCCEEDED
    return {"data": {"audio": file.url if file else "", "status": 2 if done else 1}, "base_resp": outcome(task)}
