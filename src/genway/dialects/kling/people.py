"""Clips with somebody in them: lip-sync, advanced-lip-sync, avatar, motion-control."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from genway.access.model import Asked
from genway.dialects.base import Answer, Router
from genway.dialects.kling import models
from genway.dialects.kling.fields import (
    FORMAT,
    V1,
    Mode,
    Modelled,
    Prompt,
    Shared,
    begun,
    clip,
    kept,
    needed_picture,
    sound,
)
from genway.dialects.kling.sessions import session_clip, session_of
from genway.dialects.kling.videos import Element
from genway.errors import InvalidRequest
from genway.gateway import Gateway
from genway.operations import AvatarRequest, FacesRequest, LipSyncRequest, Parent, PerformanceRequest

LONGEST_MOTION = {"image": 10, "video": 30}

route = Router()

Milliseconds = Annotated[int, Meta(ge=0)]
Volume = Annotated[float, Meta(ge=0, le=2)]


class LipSyncInput(msgspec.Struct, kw_only=True):
    """A clip, and a text with a voice (`text2video`) or a sound (`audio2video`)."""

    mode: Literal["text2video", "audio2video"]
    video_id: str = ""
    video_url: str = ""
    text: Annotated[str, Meta(max_length=120)] = ""
    voice_id: str = ""
    voice_language: Literal["zh", "en"] = "zh"
    voice_speed: Annotated[float, Meta(ge=0.8, le=2)] = 1
    audio_type: Literal["file", "url"] | None = None
    audio_file: str = ""
    audio_url: str = ""


class LipSync(Shared, kw_only=True):
    """Everything sits inside `input`."""

    input: LipSyncInput


class FaceChoice(msgspec.Struct, kw_only=True):
    """A face and its sound: the part of the sound, in ms, and the place in the clip where it goes."""

    face_id: str | int
    audio_id: str = ""
    sound_file: str = ""
    sound_start_time: Milliseconds
    sound_end_time: Milliseconds
    sound_insert_time: Milliseconds
    sound_volume: Volume = 1
    original_audio_volume: Volume = 1


class AdvancedLipSync(Shared, kw_only=True):
    """session_id: of identify-face."""

    session_id: str
    face_choose: Annotated[list[FaceChoice], Meta(min_length=1, max_length=1)]


class Avatar(Shared, kw_only=True):
    """A picture of somebody, who speaks a sound."""

    image: str
    audio_id: str = ""
    sound_file: str = ""
    prompt: Prompt = ""
    mode: Mode | None = None


class MotionControl(Modelled, kw_only=True):
    """The motion of somebody in a clip, for somebody in a picture. mode is needed."""

    image_url: str
    video_url: str
    character_orientation: Literal["image", "video"]
    mode: Mode
    keep_original_sound: Literal["yes", "no"] = "yes"
    prompt: Prompt = ""
    element_list: Annotated[list[Element], Meta(max_length=1)] = []


@route.submit(f"{V1}/videos/lip-sync")
async def lip_sync(body: LipSync, gateway: Gateway, asked: Asked) -> Answer:
    """Move a mouth to a text or a sound."""
    given = body.input
    chosen = await clip(gateway, asked.caller, given.video_id, given.video_url, "input.")
    if given.mode == "text2video":
        for name in ("text", "voice_id"):
            if not getattr(given, name):
                raise InvalidRequest("required for text2video", field=f"input.{name}")
        speech: dict[str, Any] = {
            "text": given.text,
            "voice": given.voice_id,
            "language": given.voice_language,
            "speed": given.voice_speed,
        }
    else:
        field = f"audio_{given.audio_type or ('file' if given.audio_file else 'url')}"
        value = getattr(given, field)
        if not value:
            raise InvalidRequest("required for audio2video", field=f"input.{field}")
        accepted = await gateway.accept_media(asked.caller, value, field=f"input.{field}", kinds=("audio",))
        speech = {"sound": accepted}
    operation = LipSyncRequest(
        model=models.LIP_SYNC,
        format=FORMAT,
        extra=kept(body),
        video=chosen.video,
        parent=chosen.parent,
        seconds=chosen.seconds,
        **speech,
    )
    return await begun("videos/lip-sync", operation, body, gateway, asked, chosen.told)


@route.submit(f"{V1}/videos/advanced-lip-sync")
async def advanced_lip_sync(body: AdvancedLipSync, gateway: Gateway, asked: Asked) -> Answer:
    """Move the mouth of one face to a part of a sound."""
    face, prefix = body.face_choose[0], "face_choose[0]."
    length = face.sound_end_time - face.sound_start_time
    if length < 2000:
        raise InvalidRequest(f"at least 2000 ms after sound_start_time, got {length}", field=f"{prefix}sound_end_time")
    session = await session_of(gateway, asked.caller, body.session_id, FacesRequest)
    chosen = session_clip(session)
    speech, _ = await sound(gateway, asked.caller, face.audio_id, face.sound_file, prefix)
    times = {name: getattr(face, name) for name in face.__struct_fields__ if name not in {"audio_id", "sound_file"}}
    operation = LipSyncRequest(
        model=models.LIP_SYNC,
        format=FORMAT,
        extra={**kept(body), "face_choose": [{**times, "face_id": str(face.face_id)}]},
        uses=(Parent(session.id),),
        video=chosen.video,
        parent=chosen.parent,
        sound=speech,
        seconds=chosen.seconds,
    )
    return await begun("videos/advanced-lip-sync", operation, body, gateway, asked, chosen.told)


@route.submit(f"{V1}/videos/avatar/image2video")
async def avatar(body: Avatar, gateway: Gateway, asked: Asked) -> Answer:
    """Let somebody in a picture speak."""
    speech, seconds = await sound(gateway, asked.caller, body.audio_id, body.sound_file)
    operation = AvatarRequest(
        model=models.AVATAR,
        format=FORMAT,
        extra=kept(body),
        picture=await needed_picture(gateway, asked.caller, body.image, "image"),
        sound=speech,
        prompt=body.prompt,
        quality=body.mode or "",
        seconds=seconds,
    )
    return await begun("videos/avatar/image2video", operation, body, gateway, asked)


@route.submit(f"{V1}/videos/motion-control")
async def motion_control(body: MotionControl, gateway: Gateway, asked: Asked) -> Answer:
    """Give the motion of a clip to somebody in a picture."""
    operation = PerformanceRequest(
        model=models.named(models.MOTION_CONTROL, body.model_name, body.model),
        format=FORMAT,
        extra=kept(body, "character_orientation", "mode", "keep_original_sound", "prompt", "element_list"),
        performance=await gateway.accept_media(asked.caller, body.video_url, field="video_url", kinds=("video",)),
        character=await needed_picture(gateway, asked.caller, body.image_url, "image_url"),
        seconds=LONGEST_MOTION[body.character_orientation],
    )
    return await begun("videos/motion-control", operation, body, gateway, asked)
