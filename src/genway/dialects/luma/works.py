"""The official API's other works: pictures, new frames for pictures and videos, changed, larger and sounding videos."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from genway.access.model import Asked, Caller
from genway.dialects.base import Answer, Router
from genway.dialects.body import one_of
from genway.dialects.luma import models
from genway.dialects.luma.models import AspectRatio, Mode, Resolution
from genway.dialects.luma.official import FORMAT, Answered, at, begun, check_prompt
from genway.errors import InvalidRequest
from genway.gateway import Gateway
from genway.operations import ImageRequest, MediaRef, Parent, RestyleRequest, Size, SoundRequest, UpscaleRequest
from genway.tasks.model import Task

LONGEST_SOURCE = 10
USUAL_SECONDS = 5
USUAL_SIZE = Size(1280, 720)

route = Router()

Weight = Annotated[float, Meta(ge=0, le=1)]


class Reference(msgspec.Struct, omit_defaults=True):
    """A picture to take something from."""

    url: str
    weight: Weight | None = None


class Identity(msgspec.Struct):
    """Pictures of one and the same character."""

    images: Annotated[list[str], Meta(max_length=4)] = []


class Identities(msgspec.Struct, omit_defaults=True):
    """The characters of a picture."""

    identity0: Identity | None = None
    identity1: Identity | None = None
    identity2: Identity | None = None
    identity3: Identity | None = None


class Media(msgspec.Struct):
    """Where a file is."""

    url: str


References = Annotated[list[Reference], Meta(max_length=4)]


class NewImage(Answered, kw_only=True):
    """Pictures and text into a picture. The names without `_ref` are those of Vercel's SDK."""

    model: str
    prompt: str = ""
    aspect_ratio: AspectRatio = "16:9"
    image_ref: References = []
    style_ref: References = []
    character_ref: Identities | None = None
    modify_image_ref: Reference | None = None
    image: References = []
    style: References = []
    character: Identities | None = None
    modify_image: Reference | None = None
    sync: bool = False
    sync_timeout: Annotated[float, Meta(ge=0)] = 60

    def pictures(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Each picture's address and field, and what it is for."""
        found = []
        for role, name, references in (
            ("image_ref", "image_ref" if self.image_ref else "image", self.image_ref or self.image),
            ("style_ref", "style_ref" if self.style_ref else "style", self.style_ref or self.style),
        ):
            for index, reference in enumerate(references):
                found.append((reference.url, f"{name}[{index}].url", _role(role, reference)))
        characters = self.character_ref or self.character
        for identity, given in (msgspec.structs.asdict(characters) if characters else {}).items():
            for index, address in enumerate(given.images if given else ()):
                field = f"character_ref.{identity}.images[{index}]"
                found.append((address, field, {"role": "character_ref", "identity": identity}))
        if modified := self.modify_image_ref or self.modify_image:
            found.append((modified.url, "modify_image_ref.url", _role("modify_image_ref", modified)))
        return found


class ReframeImage(Answered, kw_only=True):
    """A picture into the same one of another shape, with what is missing painted."""

    model: str
    media: Media
    aspect_ratio: AspectRatio
    prompt: str = ""


class ReframeVideo(ReframeImage, kw_only=True):
    """A video into the same one of another shape. first_frame: how it is to look."""

    first_frame: Media | None = None


class Modify(Answered, kw_only=True):
    """A video into another one of the same motion."""

    model: str
    media: Media
    mode: Mode
    prompt: str = ""
    first_frame: Media | None = None


class Upscale(Answered):
    """A generation into a larger one; the next larger where no resolution is given."""

    resolution: Resolution | None = None


class Audio(Answered):
    """A sound for a generation."""

    prompt: str = ""
    negative_prompt: str = ""


@route.submit(*at("/generations/image"))
async def create_image(body: NewImage, gateway: Gateway, asked: Asked) -> Answer:
    """Begin a picture; with `sync` the answer waits for it."""
    model = models.image(body.model)
    pictures = body.pictures()
    check_prompt(body.prompt, needed=not pictures)
    operation = ImageRequest(
        model=models.SYSTEM + model,
        format=FORMAT,
        extra={**body.extra, "generation_type": "image", "roles": [role for _, _, role in pictures]},
        prompt=body.prompt,
        references=tuple([await _image(gateway, asked.caller, address, field) for address, field, _ in pictures]),
        size=models.size(body.aspect_ratio, models.IMAGE_SHORT_SIDE),
    )
    wait = body.sync_timeout if body.sync else 0
    return await begun(operation, body, gateway, asked, wait=wait, told={"generation_type": "image", "model": model})


@route.submit(*at("/generations/image/reframe"))
async def reframe_image(body: ReframeImage, gateway: Gateway, asked: Asked) -> Answer:
    """Begin a picture of another shape."""
    model = models.image(body.model)
    check_prompt(body.prompt)
    operation = ImageRequest(
        model=models.SYSTEM + model,
        format=FORMAT,
        extra={**body.extra, "generation_type": "reframe_image"},
        prompt=body.prompt,
        references=(await _image(gateway, asked.caller, body.media.url, "media.url"),),
        size=models.size(body.aspect_ratio, models.IMAGE_SHORT_SIDE),
    )
    return await begun(operation, body, gateway, asked, told={"generation_type": "reframe_image", "model": model})


@route.submit(*at("/generations/video/reframe"))
async def reframe_video(body: ReframeVideo, gateway: Gateway, asked: Asked) -> Answer:
    """Begin a video of another shape."""
    size = models.size(body.aspect_ratio, models.SHORT_SIDES["720p"])
    return await _restyled(body, "reframe_video", size, 0, gateway, asked)


@route.submit(*at("/generations/video/modify"))
async def modify_video(body: Modify, gateway: Gateway, asked: Asked) -> Answer:
    """Begin a changed video."""
    return await _restyled(body, "modify_video", USUAL_SIZE, models.STRENGTHS[body.mode], gateway, asked)


@route.submit(*at("/generations/{generation_id:str}/upscale"))
async def upscale(generation_id: str, body: Upscale, gateway: Gateway, asked: Asked) -> Answer:
    """Begin a larger video."""
    before = await gateway.get(asked.caller, generation_id)
    now = _short_side(before)
    larger = [name for name, short in models.SHORT_SIDES.items() if short > now]
    resolution = body.resolution or next(iter(larger), None)
    if resolution not in larger:
        allowed = f"{one_of(larger)}, which" if larger else "nothing"
        raise InvalidRequest(f"{allowed} is larger than the generation's {now}p", field="resolution")
    operation = UpscaleRequest(
        model=before.operation.model,
        format=FORMAT,
        extra={**body.extra, "generation_type": "upscale_video", "resolution": resolution},
        parent=Parent(generation_id),
        factor=models.SHORT_SIDES[resolution] / now,
        seconds=_seconds(before),
    )
    told = {"generation_type": "upscale_video", "resolution": resolution}
    return await begun(operation, body, gateway, asked, status=200, told=told)


@route.submit(*at("/generations/{generation_id:str}/audio"))
async def add_audio(generation_id: str, body: Audio, gateway: Gateway, asked: Asked) -> Answer:
    """Begin the same video with sound."""
    before = await gateway.get(asked.caller, generation_id)
    operation = SoundRequest(
        model=before.operation.model,
        format=FORMAT,
        extra={**body.extra, "generation_type": "add_audio"},
        parent=Parent(generation_id),
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        seconds=_seconds(before),
    )
    return await begun(operation, body, gateway, asked, status=200, told={"generation_type": "add_audio"})


async def _restyled(
    body: ReframeVideo | Modify, work: str, size: Size, strength: float, gateway: Gateway, asked: Asked
) -> Answer:
    model = models.video(body.model)
    check_prompt(body.prompt)
    first = body.first_frame
    references = [await _image(gateway, asked.caller, first.url, "first_frame.url")] if first else []
    source = await gateway.accept_media(asked.caller, body.media.url, field="media.url", kinds=("video",))
    operation = RestyleRequest(
        model=models.SYSTEM + model,
        format=FORMAT,
        extra={**body.extra, "generation_type": work},
        video=source,
        prompt=body.prompt,
        references=tuple(references),
        seconds=LONGEST_SOURCE,
        size=size,
        strength=strength,
    )
    return await begun(operation, body, gateway, asked, told={"generation_type": work, "model": model})


def _role(role: str, reference: Reference) -> dict[str, Any]:
    return {"role": role} | ({} if reference.weight is None else {"weight": reference.weight})


async def _image(gateway: Gateway, caller: Caller, address: str, field: str) -> MediaRef:
    return await gateway.accept_media(caller, address, field=field, kinds=("image",))


def _short_side(task: Task) -> int:
    """The shorter side of what came out of a task, or was asked for."""
    file = task.file("video")
    if file and file.width and file.height:
        return min(file.width, file.height)
    size: Size = getattr(task.operation, "size", USUAL_SIZE)
    return min(size.width, size.height)


def _seconds(task: Task) -> float:
    """How long the video of a task is, or was to be: for the price."""
    file = task.file("video")
    if file and file.seconds:
        return file.seconds
    asked: float = getattr(task.operation, "seconds", USUAL_SECONDS)
    return asked
