"""What Pika's two formats ask for in the same way: options, and how they become an operation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from msgspec import Meta

from genway.access.model import Asked
from genway.dialects.pika import models
from genway.errors import InvalidRequest
from genway.gateway import Gateway
from genway.media.library import Library
from genway.operations import (
    AnyOperation,
    EffectRequest,
    ExtendRequest,
    MediaRef,
    Parent,
    RestyleRequest,
    Size,
    VideoRequest,
)

Prompt = Annotated[str, Meta(max_length=5000)]


class Moves(msgspec.Struct):
    """The camera, in words."""

    pan: Literal["left", "right"] | None = None
    tilt: Literal["up", "down"] | None = None
    rotate: Literal["cw", "ccw"] | None = None
    zoom: Literal["in", "out"] | None = None


class Parameters(msgspec.Struct, rename="camel"):
    """motion: how much moves."""

    guidance_scale: Annotated[float, Meta(ge=5, le=25)] = 12
    motion: Annotated[int, Meta(ge=0, le=4)] = 1
    negative_prompt: Prompt = ""
    seed: Annotated[int, Meta(ge=0, le=4294967295)] | None = None


class Options(msgspec.Struct, rename="camel"):
    """aspect_ratio: width over height. extend: `video` is to be gone on from."""

    aspect_ratio: Annotated[float, Meta(gt=0)] | None = None
    frame_rate: Annotated[int, Meta(ge=1, le=24)] | None = None
    camera: Moves = msgspec.field(default_factory=Moves)
    parameters: Parameters = msgspec.field(default_factory=Parameters)
    extend: bool = False


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A request of either format. style: an effect's name, or words for a look. prompt_field: the prompt's name there."""

    format: str
    extra: dict[str, Any]
    model: str
    prompt: str
    style: str
    size: Size
    seconds: int
    audio: bool
    image: str
    last_image: str
    video: str
    references: tuple[str, ...]
    options: Options
    prompt_field: str


async def operation(wish: Wish, gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> AnyOperation:
    """What is asked for. Raises InvalidRequest and what accepting files raises."""
    options, parameters, moves = wish.options, wish.options.parameters, wish.options.camera
    effect = models.effect(wish.style)
    if not (wish.prompt or wish.image or wish.video or wish.references):
        raise InvalidRequest("required", field=wish.prompt_field)
    if wish.image and wish.video:
        raise InvalidRequest("conflicts with `image`; give one of them", field="video")

    async def accept(value: str, field: str, kind: str = "image") -> MediaRef | None:
        return await gateway.accept_media(asked.caller, value, field=field, kinds=(kind,)) if value else None

    common: dict[str, Any] = {"model": wish.model, "format": wish.format, "extra": _with_rest(wish), "prompt": wish.prompt}
    detailed: dict[str, Any] = {
        "negative_prompt": parameters.negative_prompt,
        "seed": parameters.seed,
        "size": wish.size,
        "seconds": wish.seconds,
    }
    if wish.video:
        clip = await accept(wish.video, "video", "video")
        assert clip is not None
        if options.extend:
            return ExtendRequest(**common, **detailed, parent=await _parent(clip, asked, request))
        return RestyleRequest(**common, **detailed, video=clip, style=wish.style)
    if options.extend:
        raise InvalidRequest("needs `video`", field="options.extend")
    first = await accept(wish.image, "image")
    if effect and first:
        return EffectRequest(**common, effect=effect, pictures=(first,), seconds=wish.seconds, size=wish.size)
    camera = models.camera(moves.pan or "", moves.tilt or "", moves.rotate or "", moves.zoom or "", parameters.motion)
    references = [await accept(value, f"ingredients[{index}]") for index, value in enumerate(wish.references)]
    return VideoRequest(
        **common,
        **detailed,
        first_frame=first,
        last_frame=await accept(wish.last_image, "last_image"),
        references=tuple(ref for ref in references if ref),
        camera=camera,
        style=effect or wish.style,
        audio=wish.audio,
        guidance=models.guidance(parameters.guidance_scale),
    )


def _with_rest(wish: Wish) -> dict[str, Any]:
    """The unknown fields, and the known ones that no other system has a word for."""
    options = wish.options
    inner: dict[str, Any] = dict(wish.extra.get("options", {}))
    if options.frame_rate is not None:
        inner["frameRate"] = options.frame_rate
    if options.parameters.motion != Parameters().motion:
        inner["parameters"] = {**inner.get("parameters", {}), "motion": options.parameters.motion}
    return {**wish.extra, "options": inner} if inner else wish.extra


async def _parent(clip: MediaRef, asked: Asked, request: Request[Any, Any, Any]) -> Parent:
    """The task whose result the clip is: a vendor goes on only from its own work."""
    library: Library = request.app.state.library
    stored = await library.owned(asked.caller.account_id, clip.media_id) if clip.media_id else None
    if stored is None or stored.task_id is None:
        raise InvalidRequest("with `options.extend`, the link to a video that was made here", field="video")
    return Parent(task_id=stored.task_id)
