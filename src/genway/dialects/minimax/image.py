"""Pictures in MiniMax's format, answered in one call."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from msgspec import Meta

from genway.access.model import Asked
from genway.dialects.base import Answer, Router
from genway.dialects.body import Body
from genway.dialects.minimax import models
from genway.dialects.minimax.answers import ok, places
from genway.dialects.minimax.synchronous import content, made
from genway.errors import InvalidRequest
from genway.gateway import Gateway
from genway.operations import ImageRequest, Size
from genway.tasks.model import Task

IMAGE = "minimax.image"
SECONDS = 180.0
SIZES: Mapping[str, Size] = {
    "1:1": Size(1024, 1024),
    "16:9": Size(1280, 720),
    "4:3": Size(1152, 864),
    "3:2": Size(1248, 832),
    "2:3": Size(832, 1248),
    "3:4": Size(864, 1152),
    "9:16": Size(720, 1280),
    "21:9": Size(1344, 576),
}

route = Router()

Side = Annotated[int, Meta(ge=512, le=2048, multiple_of=8)]


class Person(msgspec.Struct):
    """Somebody who is to be seen in the picture."""

    image_file: str
    type: Literal["character"] = "character"


class ImageGeneration(Body, kw_only=True):
    """Text, and a person's picture, into pictures."""

    model: str
    prompt: Annotated[str, Meta(max_length=1500)]
    aspect_ratio: Literal["1:1", "16:9", "4:3", "3:2", "2:3", "3:4", "9:16", "21:9"] | None = None
    width: Side | None = None
    height: Side | None = None
    response_format: Literal["url", "base64"] = "url"
    n: Annotated[int, Meta(ge=1, le=9)] = 1
    seed: int | None = None
    prompt_optimizer: bool | None = None
    aigc_watermark: bool | None = None
    subject_reference: Annotated[list[Person], Meta(max_length=1)] = []


@route.submit(*places("/v1/image_generation"))
async def image_generation(body: ImageGeneration, gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Make pictures."""
    model = models.named(models.IMAGES, body.model)
    extra = dict(body.extra)
    for name in ("prompt_optimizer", "aigc_watermark"):
        if getattr(body, name) is not None:
            extra[name] = getattr(body, name)
    references = [
        await gateway.accept_media(asked.caller, person.image_file, field="subject_reference[0].image_file", kinds=("image",))
        for person in body.subject_reference
    ]
    operation = ImageRequest(
        model=models.SYSTEM + model,
        format=IMAGE,
        prompt=body.prompt,
        references=tuple(references),
        size=_size(body),
        count=body.n,
        seed=body.seed,
        extra=extra,
    )
    task = await made(operation, IMAGE, gateway, asked, seconds=SECONDS)
    rendered = render(task)
    if body.response_format == "base64":
        pictures = [file for file in task.files if file.role == "image"]
        rendered["data"] = {"image_base64": [b64encode(await content(file, request)).decode() for file in pictures]}
    return ok(rendered, asked, task)


def _size(body: ImageGeneration) -> Size:
    if body.aspect_ratio:
        return SIZES[body.aspect_ratio]
    if (body.width is None) != (body.height is None):
        missing = "width" if body.width is None else "height"
        raise InvalidRequest("required, for width and height are given together", field=missing)
    return Size(body.width, body.height) if body.width and body.height else SIZES["1:1"]


def render(task: Task) -> dict[str, Any]:
    """The pictures as links. failed_count: those that were asked for and did not come out."""
    operation = task.operation
    urls = [file.url for file in task.files if file.role == "image"]
    asked_for = operation.count if isinstance(operation, ImageRequest) else len(urls)
    counts = {"success_count": len(urls), "failed_count": max(asked_for - len(urls), 0)}
    return {"id": task.id, "data": {"image_urls": urls}, "metadata": counts}
