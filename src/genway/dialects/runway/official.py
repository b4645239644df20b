"""Runway's official API, version 2024-11-06, under `/runwayml/v1`: what the official SDKs speak."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from genway.access.model import Asked, Caller
from genway.dialects.base import Answer, Asking, Router, submit
from genway.dialects.body import Body, one_of, shown
from genway.dialects.genway import as_json
from genway.dialects.rendering import failure, moment, provider_header
from genway.dialects.runway import models, ratios
from genway.dialects.runway.models import SYSTEM, Video
from genway.dialects.runway.rendering import Points, context, points_of, quoted_points
from genway.errors import GenwayError, InvalidRequest
from genway.gateway import Gateway, Quote
from genway.operations import (
    AnyOperation,
    ImageRequest,
    MediaRef,
    PerformanceRequest,
    RestyleRequest,
    Size,
    UpscaleRequest,
    VideoRequest,
)
from genway.tasks.model import State, Task

FORMAT = "runwayml"
PREFIX = "/runwayml"
VERSION_HEADER = "x-runway-version"
LONGEST_PERFORMANCE = 30
MOST_PIXELS = 3840 * 3840
SHORT_SIDE = 720
KEYFRAMES = 5

route = Router()

Seed = Annotated[int, Meta(ge=0, le=4294967295)]
Whole = Annotated[int, Meta(ge=1, le=models.LONGEST)]
Tag = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]{2,15}$")]


class Picture(msgspec.Struct):
    """A picture of the prompt; without a position it is one to take subjects or style from."""

    uri: str
    position: Literal["first", "last"] | None = None


class Reference(msgspec.Struct):
    """A reference picture. tag: the name by which the prompt speaks of it."""

    uri: str
    tag: Tag = ""


class Keyframe(msgspec.Struct):
    """A guiding picture at `seconds` from the start, or `at` a fraction of the clip."""

    uri: str
    seconds: Annotated[float, Meta(ge=0)] | None = None
    at: Annotated[float, Meta(ge=0, le=1)] | None = None


class Actor(msgspec.Struct):
    """The character, or the performance that it is to give."""

    uri: str
    type: Literal["image", "video"] = "image"


Pictures = str | Annotated[list[Picture], Meta(min_length=1, max_length=32)]
References = str | Annotated[list[Reference], Meta(max_length=32)]


class ToVideo(Body, rename="camel"):
    """What text_to_video and image_to_video share."""

    model: str
    prompt_text: str = ""
    negative_prompt: str = ""
    ratio: str = ""
    duration: int | Literal["auto"] | None = None
    seed: Seed | None = None
    audio: bool = False
    references: References = ""


class TextToVideo(ToVideo):
    """Text into a video."""


class ImageToVideo(ToVideo, rename="camel", kw_only=True):
    """A picture, or a first and a last one, into a video."""

    prompt_image: Pictures


class VideoToVideo(Body, rename="camel"):
    """A video into the same video in another look. The source is `videoUri`, for some models `promptVideo`."""

    model: str
    video_uri: str = ""
    prompt_video: str = ""
    prompt_text: str = ""
    ratio: str = ""
    target_aspect_ratio: Literal["16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "21:9"] | None = None
    duration: int | Literal["auto"] | None = None
    seed: Seed | None = None
    references: References = ""
    keyframes: Annotated[list[Keyframe], Meta(max_length=KEYFRAMES)] = []


class TextToImage(Body, rename="camel"):
    """Text, and pictures, into pictures."""

    model: str
    prompt_text: str
    ratio: str = ""
    seed: Seed | None = None
    output_count: Annotated[int, Meta(ge=1, le=10)] = 1
    reference_images: Annotated[list[Reference], Meta(max_length=32)] = []


class VideoUpscale(Body, rename="camel"):
    """A video into a larger or a smoother one."""

    model: str
    video_uri: str


class CharacterPerformance(Body, rename="camel"):
    """The acting in a clip of 3 to 30 s, given to a character."""

    model: str
    character: Actor
    reference: Actor
    ratio: str = ""
    body_control: bool | None = None
    expression_intensity: Annotated[int, Meta(ge=1, le=5)] | None = None
    seed: Seed | None = None


@route.submit(f"{PREFIX}/v1/image_to_video")
async def image_to_video(body: ImageToVideo, gateway: Gateway, asked: Asked) -> Answer:
    """Turn a picture into a video."""
    model, takes = models.named(models.IMAGE_TO_VIDEO, body.model)
    operation = _video(body, model, takes)
    given = [(body.prompt_image, "first", "promptImage")] if isinstance(body.prompt_image, str) else _placed(body.prompt_image)
    _check_positions(given, model, takes)
    frames: dict[str, MediaRef] = {}
    loose: list[MediaRef] = []
    for uri, position, field in given:
        ref = await _image(gateway, asked.caller, uri, field)
        if position:
            frames[position] = ref
        else:
            loose.append(ref)
    references = await _references(gateway, asked.caller, body.references, model, takes)
    operation = msgspec.structs.replace(
        operation, first_frame=frames.get("first"), last_frame=frames.get("last"), references=(*loose, *references)
    )
    return await _submitted(operation, gateway, asked)


@route.submit(f"{PREFIX}/v1/text_to_video")
async def text_to_video(body: TextToVideo, gateway: Gateway, asked: Asked) -> Answer:
    """Turn text into a video."""
    model, takes = models.named(models.TEXT_TO_VIDEO, body.model)
    if not body.prompt_text and not body.references:
        raise InvalidRequest("required", field="promptText")
    operation = _video(body, model, takes)
    references = await _references(gateway, asked.caller, body.references, model, takes)
    return await _submitted(msgspec.structs.replace(operation, references=references), gateway, asked)


@route.submit(f"{PREFIX}/v1/video_to_video")
async def video_to_video(body: VideoToVideo, gateway: Gateway, asked: Asked) -> Answer:
    """Give a video another look."""
    model, takes = models.named(models.VIDEO_TO_VIDEO, body.model)
    source, field = (body.video_uri, "videoUri") if body.video_uri else (body.prompt_video, "promptVideo")
    if not source:
        raise InvalidRequest("required", field="videoUri")
    _check_prompt(body.prompt_text, takes)
    extra = dict(body.extra)
    size = _size(body.ratio or body.target_aspect_ratio or "", model, takes, extra)
    if body.target_aspect_ratio:
        extra["targetAspectRatio"] = body.target_aspect_ratio
    if body.keyframes:
        extra["keyframes"] = _keyframes(body.keyframes, extra.pop("keyframes", []))
    operation = RestyleRequest(
        model=SYSTEM + model,
        format=FORMAT,
        video=await gateway.accept_media(asked.caller, source, field=field, kinds=("video",)),
        prompt=body.prompt_text,
        references=await _references(gateway, asked.caller, body.references, model, takes),
        seconds=models.duration(takes, body.duration, "duration"),
        size=size,
        seed=body.seed,
        extra=extra,
    )
    return await _submitted(operation, gateway, asked)


@route.submit(f"{PREFIX}/v1/text_to_image")
async def text_to_image(body: TextToImage, gateway: Gateway, asked: Asked) -> Answer:
    """Turn text into pictures."""
    model, takes = models.named(models.TEXT_TO_IMAGE, body.model)
    _check_length(body.prompt_text, takes.prompt)
    least, most = takes.references
    if not least <= len(body.reference_images) <= most:
        raise InvalidRequest(f"a list of {least} to {most}, got {len(body.reference_images)}", field="referenceImages")
    tags = [reference.tag for reference in body.reference_images if reference.tag]
    if len(set(tags)) < len(tags):
        raise InvalidRequest("each tag may be given once", field="referenceImages")
    extra = dict(body.extra)
    size = _image_size(body.ratio, takes.ratios, extra)
    references = [
        await _image(gateway, asked.caller, reference.uri, f"referenceImages[{index}].uri")
        for index, reference in enumerate(body.reference_images)
    ]
    operation = ImageRequest(
        model=SYSTEM + model,
        format=FORMAT,
        prompt=body.prompt_text,
        references=tuple(references),
        reference_tags=tuple(reference.tag for reference in body.reference_images) if tags else (),
        size=size,
        count=body.output_count,
        seed=body.seed,
        extra=extra,
    )
    return await _submitted(operation, gateway, asked)


@route.submit(f"{PREFIX}/v1/video_upscale")
async def video_upscale(body: VideoUpscale, gateway: Gateway, asked: Asked) -> Answer:
    """Make a video larger, or smoother."""
    model, factor = models.named(models.VIDEO_UPSCALE, body.model)
    operation = UpscaleRequest(
        model=SYSTEM + model,
        format=FORMAT,
        video=await gateway.accept_media(asked.caller, body.video_uri, field="videoUri", kinds=("video",)),
        factor=factor,
        extra=body.extra,
    )
    return await _submitted(operation, gateway, asked)


@route.submit(f"{PREFIX}/v1/character_performance")
async def character_performance(body: CharacterPerformance, gateway: Gateway, asked: Asked) -> Answer:
    """Transfer a performance to a character."""
    model, takes = models.named(models.CHARACTER_PERFORMANCE, body.model)
    kind = body.character.type
    operation = PerformanceRequest(
        model=SYSTEM + model,
        format=FORMAT,
        size=_size(body.ratio, model, takes, {}),
        performance=await gateway.accept_media(asked.caller, body.reference.uri, field="reference.uri", kinds=("video",)),
        character=await gateway.accept_media(asked.caller, body.character.uri, field="character.uri", kinds=(kind,)),
        character_kind=kind,
        seconds=LONGEST_PERFORMANCE,
        intensity=body.expression_intensity,
        body_control=body.body_control,
        seed=body.seed,
        extra=body.extra,
    )
    return await _submitted(operation, gateway, asked)


@route.get(f"{PREFIX}/v1/tasks/{{task_id:str}}")
async def retrieve(task_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """Tell how a task is going."""
    task = await gateway.get(asked.caller, task_id)
    return Answer(task_body(task, gateway.points), headers=provider_header(task))


@route.delete(f"{PREFIX}/v1/tasks/{{task_id:str}}")
async def delete(task_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """Cancel a task that is under way, or forget one that has ended."""
    await gateway.delete(asked.caller, task_id)
    return Answer(status=204)


def _video(body: ToVideo, model: str, takes: Video) -> VideoRequest:
    """The operation but for its pictures."""
    _check_prompt(body.prompt_text, takes)
    extra = dict(body.extra)
    return VideoRequest(
        model=SYSTEM + model,
        format=FORMAT,
        prompt=body.prompt_text,
        negative_prompt=body.negative_prompt,
        seconds=models.duration(takes, body.duration, "duration"),
        size=_size(body.ratio, model, takes, extra),
        seed=body.seed,
        audio=body.audio,
        extra=extra,
    )


def _placed(pictures: list[Picture]) -> list[tuple[str, str, str]]:
    """Address, position and field of each picture; a single one is the first frame, whatever it says nothing of."""
    alone = "first" if len(pictures) == 1 else ""
    return [(picture.uri, picture.position or alone, f"promptImage[{index}]") for index, picture in enumerate(pictures)]


def _check_positions(given: list[tuple[str, str, str]], model: str, takes: Video) -> None:
    positions = [position for _, position, _ in given]
    for index, (_, position, field) in enumerate(given):
        if position and position in positions[:index]:
            raise InvalidRequest(f"there is a {position} frame already", field=f"{field}.position")
        if position == "last" and not takes.last:
            raise InvalidRequest(f'{model} can do first, got "last"', field=f"{field}.position")
        if position == "last" and not takes.ends and "first" not in positions:
            raise InvalidRequest(f"{model} takes a last frame only beside a first one", field=f"{field}.position")
    if positions.count("") > takes.references:
        raise InvalidRequest(f"{model} takes {takes.references} pictures without a position", field="promptImage")


def _check_prompt(prompt: str, takes: Video) -> None:
    if takes.prompt_needed and not prompt:
        raise InvalidRequest("required", field="promptText")
    _check_length(prompt, takes.prompt)


def _check_length(prompt: str, most: int) -> None:
    length = len(prompt.encode("utf-16-le")) // 2
    if length > most:
        raise InvalidRequest(f"a text of at most {most} UTF-16 units, got {length}", field="promptText")


def _size(ratio: str, model: str, takes: Video, extra: dict[str, Any]) -> Size:
    """The size in pixels. A model's own sizes go by their exact names; SDK 2.0 writes `16:9`, which is served too.

    Words that leave the size to the model (`auto_720p`, `adaptive`) stay in `extra` for a provider of this format.
    """
    ratio = ratio or (takes.ratios or ratios.STANDARD)[0]
    pair = ratios.parse(ratio)
    if pair is not None and ratios.in_words(pair):
        if takes.ratios or ratio in ratios.WORDS:
            return ratios.fit(ratio, takes.ratios, model, "ratio")
        return ratios.size(ratios.by_short_side(pair, SHORT_SIDE), "ratio")
    if takes.ratios and ratio not in takes.ratios:
        raise InvalidRequest(f"{one_of(takes.ratios)}, got {shown(ratio)}", field="ratio")
    if pair is None:
        extra["ratio"] = ratio
        return ratios.size((1280, 720), "ratio")
    return ratios.size(pair, "ratio", pixels=MOST_PIXELS)


def _image_size(ratio: str, allowed: tuple[str, ...], extra: dict[str, Any]) -> Size:
    ratio = ratio or (allowed or ("1024:1024",))[0]
    if allowed and ratio not in allowed:
        raise InvalidRequest(f"{one_of(allowed)}, got {shown(ratio)}", field="ratio")
    pair = ratios.parse(ratio)
    if pair is None:
        extra["ratio"] = ratio
        pair = (1024, 1024)
    return ratios.size(pair, "ratio", sides=ratios.IMAGE_SIDES, pixels=ratios.IMAGE_PIXELS)


def _keyframes(keyframes: list[Keyframe], unknown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The keyframes for a provider of this format, which passes their addresses on to the vendor as they are."""
    made: list[dict[str, Any]] = []
    for index, keyframe in enumerate(keyframes):
        field = f"keyframes[{index}]"
        if (keyframe.seconds is None) == (keyframe.at is None):
            raise InvalidRequest("exactly one of `seconds` and `at`", field=field)
        if not keyframe.uri.startswith(("https://", "data:image/")):
            raise InvalidRequest(f"an https address or a data URI, got {shown(keyframe.uri)}", field=f"{field}.uri")
        place = {"at": keyframe.at} if keyframe.seconds is None else {"seconds": keyframe.seconds}
        made.append({**(unknown[index] if unknown else {}), "uri": keyframe.uri, **place})
    return made


async def _image(gateway: Gateway, caller: Caller, uri: str, field: str) -> MediaRef:
    return await gateway.accept_media(caller, uri, field=field, kinds=("image",))


async def _references(
    gateway: Gateway, caller: Caller, references: str | list[Reference], model: str, takes: Video
) -> tuple[MediaRef, ...]:
    given = [("references", references)] if isinstance(references, str) and references else []
    if isinstance(references, list):
        given = [(f"references[{index}].uri", reference.uri) for index, reference in enumerate(references)]
    if len(given) > takes.references:
        raise InvalidRequest(f"{model} takes at most {takes.references}, got {len(given)}", field="references")
    return tuple([await _image(gateway, caller, uri, field) for field, uri in given])


async def _submitted(operation: AnyOperation, gateway: Gateway, asked: Asked) -> Answer:
    task = await submit(gateway, asked, operation=operation, dialect=FORMAT, context=context(gateway))
    return Answer({"id": task.id, "estimatedCost": {"credits": gateway.points(task.held)}}, headers=provider_header(task))


STATUS = {
    State.QUEUED: "PENDING",
    State.SUBMITTING: "PENDING",
    State.RUNNING: "RUNNING",
    State.STORING: "RUNNING",
    State.PARKED: "RUNNING",
    State.SUCCEEDED: "SUCCEEDED",
    State.FAILED: "FAILED",
    State.EXPIRED: "FAILED",
    State.CANCELLED: "CANCELLED",
}


def status(task: Task) -> str:
    """The official word for a task's state; THROTTLED while it waits for its turn."""
    return "THROTTLED" if task.queue_position else STATUS[task.state]


def failure_code(task: Task) -> str:
    """A dotted code: `SAFETY.INPUT.TEXT` where moderation refused, else `INTERNAL.` and our own code."""
    if task.error_code == "moderation":
        return "SAFETY.INPUT.TEXT"
    code = "EXPIRED" if task.state is State.EXPIRED else task.error_code or "FAILED"
    return f"INTERNAL.{code.upper()}"


def output(task: Task) -> list[str]:
    """Links to what was asked for; a poster is no output."""
    role = "image" if isinstance(task.operation, ImageRequest) else "video"
    return [file.url for file in task.files if file.role == role]


def task_body(task: Task, points: Points) -> dict[str, Any]:
    """The task as the official API tells of it."""
    word = status(task)
    body: dict[str, Any] = {"id": task.id, "status": word, "createdAt": moment(task.created_at)}
    if word == "SUCCEEDED":
        body["output"] = output(task)
    elif word == "FAILED":
        body |= {"failure": failure(task), "failureCode": failure_code(task)}
    elif word == "RUNNING":
        body["progress"] = round(task.progress, 4)
    if task.state.ended:
        body["cost"] = {"credits": points(task.charged)}
    else:
        body["estimatedCost"] = {"credits": points(task.held)}
    return body | ({"warnings": list(task.warnings)} if task.warnings else {})


def render(task: Task) -> dict[str, Any]:
    """The task where there is no gateway at hand."""
    return task_body(task, points_of(task))


def render_error(error: GenwayError, asking: Asking) -> Answer:
    """`error` is a text, as the official API has it, for clients that send the API's version, as its SDKs always do.

    Others were written for gateways, which answer an object there, and read `error.message`. The npm SDK shows `message`.
    """
    text = str(error)
    told: Any = {"message": text, "type": error.type, "code": error.code, "param": error.field}
    if asking.header(VERSION_HEADER) is not None:
        told = text
    content = {"error": told, "message": text, "code": error.code, "request_id": asking.request_id}
    return Answer(content, error.status)


def render_quote(quote: Quote, asking: Asking) -> Answer:
    """The answer to a dry run: nothing was made and nothing is owed."""
    return Answer({"dryRun": True, "estimatedCost": {"credits": quoted_points(quote, asking)}, "quote": as_json(quote)})
