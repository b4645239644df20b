"""Pictures: generations, multi-image2image, omni-image, editing/expand and kolors-virtual-try-on."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from genway.access.model import Asked
from genway.dialects.base import Answer, Router
from genway.dialects.kling import models
from genway.dialects.kling.fields import FORMAT, V1, Modelled, Prompt, Shared, begun, kept, needed_picture, picture
from genway.dialects.kling.videos import Element, Reference
from genway.errors import InvalidRequest
from genway.gateway import Gateway
from genway.operations import ImageRequest, MediaRef, TryOnRequest

MOST_NEW_AREA = 3

route = Router()

Count = Annotated[int, Meta(ge=1, le=9)]
Share = Annotated[float, Meta(ge=0, le=1)]
Growth = Annotated[float, Meta(ge=0, le=2)]
Ratio = Literal["16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"]


class Generations(Modelled, kw_only=True):
    """Text, and a picture to go by, into pictures. The fidelities are 0…1: how near to the picture, and to its person."""

    prompt: Prompt
    negative_prompt: Prompt = ""
    image: str = ""
    image_reference: Literal["subject", "face"] | None = None
    image_fidelity: Share | None = None
    human_fidelity: Share | None = None
    resolution: Literal["1k", "2k"] = "1k"
    n: Count = 1
    aspect_ratio: Ratio = "16:9"
    element_list: Annotated[list[Element], Meta(max_length=10)] = []


class Subject(msgspec.Struct):
    """A picture of something that is to be in the new one."""

    subject_image: str


class MultiImage(Modelled, kw_only=True):
    """Up to four things, with a scene and a style, into pictures."""

    subject_image_list: Annotated[list[Subject], Meta(min_length=1, max_length=4)]
    scene_image: str = ""
    style_image: str = ""
    prompt: Prompt = ""
    n: Count = 1
    aspect_ratio: Ratio = "16:9"


class OmniImage(Modelled, kw_only=True):
    """Text that speaks of pictures as `<<<image_1>>>`, into pictures."""

    prompt: Prompt
    image_list: Annotated[list[Reference], Meta(max_length=10)] = []
    element_list: Annotated[list[Element], Meta(max_length=10)] = []
    resolution: Literal["1k", "2k", "4k"] = "1k"
    result_type: Literal["single", "series"] | None = None
    n: Count = 1
    aspect_ratio: Ratio | Literal["auto"] = "16:9"


class Expand(Shared, kw_only=True):
    """A picture that goes on beyond its edges, each by so much of its height or width."""

    image: str
    up_expansion_ratio: Growth
    down_expansion_ratio: Growth
    left_expansion_ratio: Growth
    right_expansion_ratio: Growth
    prompt: Prompt = ""
    n: Count = 1

    def check(self) -> None:
        height = 1 + self.up_expansion_ratio + self.down_expansion_ratio
        width = 1 + self.left_expansion_ratio + self.right_expansion_ratio
        if height * width > MOST_NEW_AREA:
            said = f"at most {MOST_NEW_AREA} times the area in all, got {height * width:g}"
            raise InvalidRequest(said, field="up_expansion_ratio")


class TryOn(Modelled, kw_only=True):
    """A person, and a garment for them."""

    human_image: str
    cloth_image: str


@route.submit(f"{V1}/images/generations")
async def generations(body: Generations, gateway: Gateway, asked: Asked) -> Answer:
    """Turn text into pictures."""
    if body.image_reference and not body.image:
        raise InvalidRequest("required with image_reference", field="image")
    if body.image and body.negative_prompt:
        raise InvalidRequest("cannot be combined with `image`", field="negative_prompt")
    reference = await picture(gateway, asked.caller, body.image, "image")
    operation = ImageRequest(
        model=models.named(models.IMAGES, body.model_name, body.model),
        format=FORMAT,
        extra=kept(body, "image_reference", "image_fidelity", "human_fidelity", "element_list"),
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        references=(reference,) if reference else (),
        size=models.image_size(body.aspect_ratio, body.resolution),
        count=body.n,
    )
    return await begun("images/generations", operation, body, gateway, asked)


@route.submit(f"{V1}/images/multi-image2image")
async def multi_image2image(body: MultiImage, gateway: Gateway, asked: Asked) -> Answer:
    """Put several things into one picture."""
    given = [(item.subject_image, f"subject_image_list[{at}].subject_image") for at, item in enumerate(body.subject_image_list)]
    tags = ["subject"] * len(given)
    for name in ("scene", "style"):
        if value := getattr(body, f"{name}_image"):
            given.append((value, f"{name}_image"))
            tags.append(name)
    operation = ImageRequest(
        model=models.named(models.MULTI_IMAGE, body.model_name, body.model),
        format=FORMAT,
        extra=kept(body),
        prompt=body.prompt,
        references=tuple([await needed_picture(gateway, asked.caller, value, field) for value, field in given]),
        reference_tags=tuple(tags),
        size=models.image_size(body.aspect_ratio),
        count=body.n,
    )
    return await begun("images/multi-image2image", operation, body, gateway, asked)


@route.submit(f"{V1}/images/omni-image")
async def omni_image(body: OmniImage, gateway: Gateway, asked: Asked) -> Answer:
    """Turn text and the pictures it speaks of into pictures."""
    auto = body.aspect_ratio == "auto"
    references: list[MediaRef] = [
        await needed_picture(gateway, asked.caller, item.image, f"image_list[{index}].image")
        for index, item in enumerate(body.image_list)
    ]
    operation = ImageRequest(
        model=models.named(models.OMNI_IMAGE, body.model_name, body.model),
        format=FORMAT,
        extra=kept(body, "element_list", "result_type", *(["aspect_ratio"] if auto else [])),
        prompt=body.prompt,
        references=tuple(references),
        size=models.image_size("16:9" if auto else body.aspect_ratio, body.resolution),
        count=body.n,
    )
    return await begun("images/omni-image", operation, body, gateway, asked)


@route.submit(f"{V1}/images/editing/expand")
async def expand(body: Expand, gateway: Gateway, asked: Asked) -> Answer:
    """Let a picture go on beyond its edges."""
    body.check()
    sides = [f"{side}_expansion_ratio" for side in ("up", "down", "left", "right")]
    operation = ImageRequest(
        model=models.EXPAND,
        format=FORMAT,
        # Kling needs all four, the zeros too.
        extra={**kept(body), **{side: getattr(body, side) for side in sides}},
        prompt=body.prompt,
        references=(await needed_picture(gateway, asked.caller, body.image, "image"),),
        count=body.n,
    )
    return await begun("images/editing/expand", operation, body, gateway, asked)


@route.submit(f"{V1}/images/kolors-virtual-try-on")
async def try_on(body: TryOn, gateway: Gateway, asked: Asked) -> Answer:
    """Dress a person in a garment."""
    operation = TryOnRequest(
        model=models.named(models.TRY_ON, body.model_name, body.model),
        format=FORMAT,
        extra=kept(body),
        person=await needed_picture(gateway, asked.caller, body.human_image, "human_image"),
        garment=await needed_picture(gateway, asked.caller, body.cloth_image, "cloth_image"),
    )
    return await begun("images/kolors-virtual-try-on", operation, body, gateway, asked)
