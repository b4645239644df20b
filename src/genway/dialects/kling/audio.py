"""Sounds: text-to-audio, video-to-audio, and speech, which is answered within the request."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from genway.access.model import Asked
from genway.dialects.base import Answer, Router
from genway.dialects.kling import models
from genway.dialects.kling.envelope import LateAnswer, ok, task_data
from genway.dialects.kling.fields import FORMAT, V1, Shared, Source, begin, begun, clip, kept
from genway.gateway import Gateway
from genway.operations import SoundRequest, SpeechRequest

SPEECH_SECONDS = 60.0

route = Router()

Words = Annotated[str, Meta(max_length=200)]


class TextToAudio(Shared, kw_only=True):
    """A sound effect. duration: seconds."""

    prompt: Words
    duration: Annotated[float, Meta(ge=3, le=10)]


class VideoToAudio(Source, kw_only=True):
    """Sound and music that fit a clip. asmr_mode: close and detailed sounds."""

    sound_effect_prompt: Words = ""
    bgm_prompt: Words = ""
    asmr_mode: bool = False


class Speech(Shared, kw_only=True):
    """A text spoken by a voice."""

    text: Annotated[str, Meta(max_length=1000)]
    voice_id: str
    voice_language: Literal["zh", "en"] = "zh"
    voice_speed: Annotated[float, Meta(ge=0.8, le=2)] = 1


@route.submit(f"{V1}/audio/text-to-audio")
async def text_to_audio(body: TextToAudio, gateway: Gateway, asked: Asked) -> Answer:
    """Turn text into a sound."""
    operation = SoundRequest(
        model=models.TEXT_TO_AUDIO, format=FORMAT, extra=kept(body), prompt=body.prompt, seconds=round(body.duration, 1)
    )
    return await begun("audio/text-to-audio", operation, body, gateway, asked)


@route.submit(f"{V1}/audio/video-to-audio")
async def video_to_audio(body: VideoToAudio, gateway: Gateway, asked: Asked) -> Answer:
    """Give a clip a sound."""
    chosen = await clip(gateway, asked.caller, body.video_id, body.video_url)
    operation = SoundRequest(
        model=models.VIDEO_TO_AUDIO,
        format=FORMAT,
        extra=kept(body, "asmr_mode"),
        video=chosen.video,
        parent=chosen.parent,
        prompt=body.sound_effect_prompt,
        music_prompt=body.bgm_prompt,
        seconds=chosen.seconds,
    )
    return await begun("audio/video-to-audio", operation, body, gateway, asked, chosen.told)


@route.submit(f"{V1}/audio/tts")
async def speech(body: Speech, gateway: Gateway, asked: Asked) -> Answer:
    """Speak a text. What takes longer than a minute is answered 5002 and can be queried by the task's id."""
    operation = SpeechRequest(
        model=models.SPEECH,
        format=FORMAT,
        extra=kept(body),
        text=body.text,
        voice=body.voice_id,
        language=body.voice_language,
        speed=body.voice_speed,
    )
    task = await begin("audio/tts", operation, body, gateway, asked)
    task = await gateway.wait(asked.caller, task.id, SPEECH_SECONDS)
    if not task.state.ended:
        raise LateAnswer(f"not done within {SPEECH_SECONDS:g} s; ask for it at {V1}/audio/tts/{task.id}", retry_after=5)
    return ok(task_data(task), asked.request_id, task)
