"""Videos from text and pictures: text2video, image2video, multi-image2video, omni-video, effects; longer ones: video-extend."""

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
    CameraControl,
    Guidance,
    Mode,
    Modelled,
    Prompt,
    Ratio,
    Shared,
    begun,
    clip,
    kept,
    needed_picture,
    picture,
)
from genway.errors import InvalidRequest
from genway.gateway import Gateway
from genway.operations import AnyOperation, Camera, EffectRequest, ExtendRequest, RestyleRequest, VideoRequest

TWO_PEOPLE = frozenset({"hug", "kiss", "heart_gesture", "fight"})
KLING_ONLY = ("multi_shot", "shot_type", "multi_prompt", "voice_list", "element_list")
MOST_SECONDS_OF_A_CLIP = 10

route = Router()


class Shot(msgspec.Struct):
    """One shot of several. duration: whole seconds, of which all shots together make the video's."""

    prompt: Annotated[str, Meta(max_length=512)]
    duration: Annotated[int, Meta(ge=1)]
    index: int = 0


class Voice(msgspec.Struct):
    """A voice that the prompt speaks of as `<<<voice_1>>>`."""

    voice_id: str


class Element(msgspec.Struct):
    """Something of the vendor's element library."""

    element_id: int | str


class Point(msgspec.Struct):
    """A place in pixels, from the left and the bottom."""

    x: int
    y: int


class DynamicMask(msgspec.Struct):
    """A part of the picture, and the way that it moves along."""

    mask: str
    trajectories: Annotated[list[Point], Meta(min_length=2, max_length=77)]


class Reference(msgspec.Struct):
    """A picture of a list."""

    image: str


class Video(Modelled, kw_only=True):
    """What all videos from a prompt share. duration: 5 or 10, or 3 to 15 for v3 and omni."""

    prompt: Prompt = ""
    negative_prompt: Prompt = ""
    mode: Mode | None = None
    duration: int = 5
    aspect_ratio: Ratio = "16:9"
    cfg_scale: Guidance | None = None
    sound: Literal["on", "off"] = "off"
    multi_shot: bool = False
    shot_type: Literal["customize", "intelligence"] | None = None
    multi_prompt: Annotated[list[Shot], Meta(max_length=6)] = []
    voice_list: Annotated[list[Voice], Meta(max_length=2)] = []
    element_list: Annotated[list[Element], Meta(max_length=7)] = []

    def words(self) -> str:
        """The prompt, or what stands in its shots. Raises InvalidRequest where the fields about shots do not fit."""
        if not self.multi_shot:
            return self.prompt
        if self.shot_type is None:
            raise InvalidRequest("required with multi_shot", field="shot_type")
        if self.shot_type == "intelligence":
            return self.prompt
        if not self.multi_prompt:
            raise InvalidRequest("required with shot_type customize", field="multi_prompt")
        total = sum(shot.duration for shot in self.multi_prompt)
        if total != self.duration:
            raise InvalidRequest(f"durations that make {self.duration} together, got {total}", field="multi_prompt")
        return " ".join(shot.prompt for shot in self.multi_prompt)

    def request(self, model: str, *keep: str, **more: Any) -> VideoRequest:
        """The operation but for its pictures."""
        if self.voice_list and self.sound != "on":
            raise InvalidRequest("needs `sound` on", field="voice_list")
        return VideoRequest(
            model=model,
            format=FORMAT,
            extra=kept(self, *KLING_ONLY, *keep),
            prompt=self.words(),
            negative_prompt=self.negative_prompt,
            seconds=models.seconds(model, self.duration),
            size=models.video_size(self.aspect_ratio, model, self.mode),
            guidance=self.cfg_scale,
            quality=self.mode or "",
            audio=self.sound == "on",
            **more,
        )


class TextToVideo(Video, kw_only=True):
    """Text into a video."""

    camera_control: CameraControl | None = None


class ImageToVideo(Video, kw_only=True):
    """A picture to begin with, one to end with, or both. Only one of image_tail, masks and camera_control may be given."""

    image: str = ""
    image_tail: str = ""
    camera_control: CameraControl | None = None
    static_mask: str = ""
    dynamic_masks: Annotated[list[DynamicMask], Meta(max_length=6)] = []

    def check(self) -> None:
        if not (self.image or self.image_tail):
            raise InvalidRequest("required", field="image or image_tail")
        moved = self.camera_control is not None and self.camera_control.type is not None
        given = {
            "image_tail": bool(self.image_tail),
            "dynamic_masks": bool(self.static_mask or self.dynamic_masks),
            "camera_control": moved,
        }
        both = [name for name, is_given in given.items() if is_given]
        if len(both) > 1:
            raise InvalidRequest(f"cannot be combined with `{both[0]}`", field=both[1])


class MultiImageToVideo(Video, kw_only=True):
    """One to four pictures of what is to be in the video."""

    image_list: Annotated[list[Reference], Meta(min_length=1, max_length=4)]


class OmniPicture(msgspec.Struct):
    """A picture; without a type it is one that the prompt speaks of."""

    image_url: str
    type: Literal["first_frame", "end_frame"] | None = None


class OmniClip(msgspec.Struct):
    """A clip to be changed (`base`), or to take the manner from (`feature`)."""

    video_url: str
    refer_type: Literal["base", "feature"] = "base"
    keep_original_sound: Literal["yes", "no"] = "yes"


class OmniVideo(Video, kw_only=True):
    """Text, pictures, elements and a clip, of which the prompt speaks as `<<<image_1>>>`. mode: `pro` unless given."""

    image_list: Annotated[list[OmniPicture], Meta(max_length=7)] = []
    video_list: Annotated[list[OmniClip], Meta(max_length=1)] = []


class VideoExtend(Shared, kw_only=True):
    """More of a video that was made here. 4 to 5 s are added; model and mode are those of the video."""

    video_id: str
    prompt: Prompt = ""
    negative_prompt: Prompt = ""
    cfg_scale: Guidance | None = None


class EffectInput(Modelled, kw_only=True):
    """The pictures that an effect is for: `image`, or two `images`, the left person first."""

    image: str = ""
    images: Annotated[list[str], Meta(max_length=2)] = []
    duration: Literal[5, 10] = 5
    mode: Mode | None = None


class Effects(Shared, kw_only=True):
    """A preset effect on a picture, or on two people."""

    effect_scene: Annotated[str, Meta(pattern=r"^[a-z0-9_]{1,64}$")]
    input: EffectInput


@route.submit(f"{V1}/videos/text2video")
async def text2video(body: TextToVideo, gateway: Gateway, asked: Asked) -> Answer:
    """Turn text into a video."""
    model = models.named(models.TEXT_TO_VIDEO, body.model_name, body.model)
    camera = body.camera_control.camera() if body.camera_control else Camera()
    operation = body.request(model, camera=camera)
    if not operation.prompt:
        raise InvalidRequest("required", field="prompt")
    return await begun("videos/text2video", operation, body, gateway, asked)


@route.submit(f"{V1}/videos/image2video")
async def image2video(body: ImageToVideo, gateway: Gateway, asked: Asked) -> Answer:
    """Turn a picture into a video."""
    model = models.named(models.IMAGE_TO_VIDEO, body.model_name, body.model)
    body.check()
    camera = body.camera_control.camera() if body.camera_control else Camera()
    operation = body.request(model, "static_mask", "dynamic_masks", camera=camera)
    operation = msgspec.structs.replace(
        operation,
        first_frame=await picture(gateway, asked.caller, body.image, "image"),
        last_frame=await picture(gateway, asked.caller, body.image_tail, "image_tail"),
    )
    return await begun("videos/image2video", operation, body, gateway, asked)


@route.submit(f"{V1}/videos/multi-image2video")
async def multi_image2video(body: MultiImageToVideo, gateway: Gateway, asked: Asked) -> Answer:
    """Turn pictures of several things into a video with all of them."""
    model = models.named(models.MULTI_IMAGE_TO_VIDEO, body.model_name, body.model)
    if not body.prompt:
        raise InvalidRequest("required", field="prompt")
    operation = body.request(model)
    references = [
        await needed_picture(gateway, asked.caller, item.image, f"image_list[{index}].image")
        for index, item in enumerate(body.image_list)
    ]
    operation = msgspec.structs.replace(operation, references=tuple(references))
    return await begun("videos/multi-image2video", operation, body, gateway, asked)


@route.submit(f"{V1}/videos/omni-video")
async def omni_video(body: OmniVideo, gateway: Gateway, asked: Asked) -> Answer:
    """Turn whatever the prompt speaks of into a video, or change a clip by it."""
    model = models.named(models.OMNI_VIDEO, body.model_name, body.model)
    body.mode = body.mode or "pro"
    most = 4 if body.video_list else 7
    if len(body.image_list) + len(body.element_list) > most:
        raise InvalidRequest(f"at most {most} pictures and elements in all", field="image_list")
    made: VideoRequest = body.request(model)
    if not (made.prompt or body.image_list or body.video_list):
        raise InvalidRequest("required", field="prompt")
    pictures = {
        index: await needed_picture(gateway, asked.caller, item.image_url, f"image_list[{index}].image_url")
        for index, item in enumerate(body.image_list)
    }
    frames = {item.type: pictures[index] for index, item in enumerate(body.image_list) if item.type}
    loose = tuple(pictures[index] for index, item in enumerate(body.image_list) if not item.type)
    operation: AnyOperation
    if body.video_list:
        operation = await _changed(body, made, gateway, asked)
        operation = msgspec.structs.replace(operation, references=tuple(pictures.values()))
    else:
        operation = msgspec.structs.replace(
            made, first_frame=frames.get("first_frame"), last_frame=frames.get("end_frame"), references=loose
        )
    return await begun("videos/omni-video", operation, body, gateway, asked)


async def _changed(body: OmniVideo, made: VideoRequest, gateway: Gateway, asked: Asked) -> RestyleRequest:
    chosen = body.video_list[0]
    field = "video_list[0].video_url"
    reference = {"refer_type": chosen.refer_type, "keep_original_sound": chosen.keep_original_sound}
    return RestyleRequest(
        model=made.model,
        format=FORMAT,
        extra={**made.extra, "video_list": [reference], "mode": made.quality},
        video=await gateway.accept_media(asked.caller, chosen.video_url, field=field, kinds=("video",)),
        prompt=made.prompt,
        negative_prompt=made.negative_prompt,
        seconds=MOST_SECONDS_OF_A_CLIP,
        size=made.size,
    )


@route.submit(f"{V1}/videos/video-extend")
async def video_extend(body: VideoExtend, gateway: Gateway, asked: Asked) -> Answer:
    """Make a video longer."""
    chosen = await clip(gateway, asked.caller, body.video_id, "")
    assert chosen.parent is not None, "an id names an earlier task"
    earlier = (await gateway.get(asked.caller, chosen.parent.task_id)).operation
    operation = ExtendRequest(
        model=earlier.model,
        format=FORMAT,
        extra=kept(body),
        parent=chosen.parent,
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        size=getattr(earlier, "size", models.VIDEO_SIZES["16:9"]),
        guidance=body.cfg_scale,
    )
    return await begun("videos/video-extend", operation, body, gateway, asked, chosen.told)


@route.submit(f"{V1}/videos/effects")
async def effects(body: Effects, gateway: Gateway, asked: Asked) -> Answer:
    """Play a preset effect on a picture, or on two people."""
    given = body.input
    model = models.named(models.EFFECTS, given.model_name, given.model)
    if body.effect_scene in TWO_PEOPLE or given.images:
        if len(given.images) != 2:
            raise InvalidRequest(f"a list of 2, the left person first, got {len(given.images)}", field="input.images")
        pictures = {f"input.images[{index}]": value for index, value in enumerate(given.images)}
    elif given.image:
        pictures = {"input.image": given.image}
    else:
        raise InvalidRequest("required", field="input.image")
    operation = EffectRequest(
        model=model,
        format=FORMAT,
        extra={**kept(body), "input": kept(given, "mode", "model_name")},
        effect=body.effect_scene,
        pictures=tuple([await needed_picture(gateway, asked.caller, value, field) for field, value in pictures.items()]),
        seconds=given.duration,
    )
    return await begun("videos/effects", operation, body, gateway, asked)
