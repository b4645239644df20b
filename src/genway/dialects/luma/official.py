"""Luma's official API, `/dream-machine/v1`, as its SDKs speak it: videos, and the generations that all routes make."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from msgspec import Meta

from genway.access.model import Asked, Caller
from genway.billing.money import MICRO
from genway.dialects.base import LONGEST_WAIT, Answer, Asking, Router, submit
from genway.dialects.body import Body, read
from genway.dialects.luma import concepts, models
from genway.dialects.luma.models import AspectRatio, Resolution
from genway.dialects.luma.rendering import echo
from genway.dialects.rendering import failure, link, moment, provider_header
from genway.errors import GenwayError, InvalidRequest
from genway.gateway import Gateway
from genway.operations import AnyOperation, ExtendRequest, ImageRequest, MediaRef, Parent, VideoRequest
from genway.tasks.model import State, Task

FORMAT = "luma.official"
PREFIXES = ("/dream-machine/v1", "/luma/dream-machine/v1")
AI_SDK = "ai-sdk/"
LEAST_PROMPT, MOST_PROMPT = 3, 5000
# The balance is a number and there is no word for "without limit".
UNLIMITED = 2**31 - 1

route = Router()

STATES = {
    State.QUEUED: "queued",
    State.SUBMITTING: "queued",
    State.RUNNING: "dreaming",
    State.STORING: "dreaming",
    State.PARKED: "dreaming",
    State.SUCCEEDED: "completed",
}

# Where a video cannot be a loop: what its first and its second key frame are, and Luma's word for that.
LOOPLESS = {
    ("", "image"): "end frame",
    ("image", "image"): "keyframes",
    ("", "generation"): "extend reverse",
    ("generation", "image"): "interpolate video to image",
    ("image", "generation"): "interpolate image to video",
    ("generation", "generation"): "interpolate between two videos",
}


class Keyframe(msgspec.Struct, omit_defaults=True):
    """A picture at `url`, or an earlier generation."""

    type: Literal["image", "generation"]
    url: str = ""
    id: str = ""


class Keyframes(msgspec.Struct, omit_defaults=True):
    """frame0: what the video begins with, or is added to. frame1: what it ends with, or is put before."""

    frame0: Keyframe | None = None
    frame1: Keyframe | None = None


class Concept(msgspec.Struct):
    """A way to move or to place the camera."""

    key: str


class Answered(Body):
    """What every request may ask for. callback_url: is told of each change."""

    callback_url: str = ""


class NewVideo(Answered):
    """A new video, or more of an earlier one. As gateways proxy it there is no model."""

    model: str = ""
    prompt: str = ""
    aspect_ratio: AspectRatio = "16:9"
    loop: bool = False
    keyframes: Keyframes | None = None
    resolution: Resolution = "720p"
    duration: str | int | None = None
    concepts: Annotated[list[Concept], Meta(max_length=16)] = []


class Page(msgspec.Struct):
    """A part of a list."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 100
    offset: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


def at(path: str) -> tuple[str, ...]:
    """Where a path of the official API is served."""
    return tuple(prefix + path for prefix in PREFIXES)


@route.submit(*at("/generations/video"), *at("/generations"))
async def create_video(body: NewVideo, gateway: Gateway, asked: Asked) -> Answer:
    """Begin a video."""
    model = models.video(body.model)
    frames = body.keyframes
    check_prompt(body.prompt, needed=frames is None)
    if frames and not (frames.frame0 or frames.frame1):
        raise InvalidRequest("No keyframes provided")
    keys = [concept.key for concept in body.concepts]
    concepts.check(keys)
    extra = {**body.extra, "generation_type": "video"}
    if keys:
        extra["concepts"] = [{"key": key} for key in keys]
    video = VideoRequest(
        model=models.SYSTEM + model,
        format=FORMAT,
        extra=extra,
        prompt=body.prompt,
        seconds=models.seconds(model, body.duration),
        size=models.size(body.aspect_ratio, models.SHORT_SIDES[body.resolution]),
        camera=concepts.camera(keys),
        style=concepts.shots(keys),
        loop=body.loop,
    )
    operation = await _framed(video, frames, gateway, asked.caller) if frames else video
    return await begun(operation, body, gateway, asked, told={"generation_type": "video", "model": model})


@route.get(*at("/generations"))
async def listed(gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """The generations that were asked for in this format, newest first."""
    page = read(Page, msgspec.json.encode(dict(request.query_params)))
    found = await gateway.list(asked.caller, limit=page.limit + 1, offset=page.offset, dialect=FORMAT)
    generations = [render(task) for task in found[: page.limit]]
    more = {"limit": page.limit, "offset": page.offset, "has_more": len(found) > page.limit}
    return Answer({"generations": generations, "count": len(generations), **more})


@route.get(*at("/generations/{generation_id:str}"))
async def retrieve(generation_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """Tell how a generation is going."""
    task = await gateway.get(asked.caller, generation_id)
    return Answer(render(task), headers=provider_header(task))


@route.delete(*at("/generations/{generation_id:str}"))
async def delete(generation_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """Cancel a generation that is under way, or forget one that has ended."""
    await gateway.delete(asked.caller, generation_id)
    return Answer(status=204)


@route.get(*at("/generations/concepts/list"))
async def concept_list(asked: Asked) -> Answer:
    """The camera concepts that a request may name."""
    return Answer(list(concepts.KEYS))


@route.get(*at("/generations/camera_motion/list"))
async def camera_motion_list(asked: Asked) -> Answer:
    """The phrases that a prompt may ask for a camera motion with."""
    return Answer(list(concepts.PHRASES))


@route.get(*at("/credits"))
async def credits(gateway: Gateway, asked: Asked) -> Answer:
    """What is left to spend, in hundredths of the account's currency."""
    view = await gateway.account(asked.caller)
    left = [view.budget_left] if view.budget_left is not None else []
    left += [] if view.unlimited else [view.available]
    return Answer({"credit_balance": min(left) * 100 / MICRO if left else float(UNLIMITED)})


@route.get(*at("/ping"))
async def ping(asked: Asked) -> Answer:
    """Say that the key is good."""
    return Answer({"message": "pong"})


def check_prompt(prompt: str, *, needed: bool = False) -> None:
    """Raises InvalidRequest in Luma's words."""
    if needed and not prompt:
        raise InvalidRequest("Prompt is required")
    if prompt and len(prompt) < LEAST_PROMPT:
        raise InvalidRequest(f"Prompt is too short, minimum length is {LEAST_PROMPT} characters")
    if len(prompt) > MOST_PROMPT:
        raise InvalidRequest(f"Prompt is too long, maximum length is {MOST_PROMPT} characters")


async def _framed(video: VideoRequest, frames: Keyframes, gateway: Gateway, caller: Caller) -> AnyOperation:
    """The video between its key frames. With a generation among them it is more of that one."""
    first, last = frames.frame0, frames.frame1
    if video.loop and last:
        raise InvalidRequest(f"Loop is not supported for {LOOPLESS[first.type if first else '', last.type]}")
    begin = await _picture(first, "keyframes.frame0", gateway, caller)
    end = await _picture(last, "keyframes.frame1", gateway, caller)
    earlier, before = (first, False) if first and first.type == "generation" else (last, True)
    if earlier is None or earlier.type == "image":
        return msgspec.structs.replace(video, first_frame=begin, last_frame=end)
    if before is False and last and last.type == "generation":
        end = await _first_picture(last, gateway, caller)
    shared = ("model", "format", "extra", "prompt", "seconds", "size", "camera", "loop")
    return ExtendRequest(
        parent=Parent(earlier.id),
        before=before,
        first_frame=begin,
        last_frame=end,
        **{name: getattr(video, name) for name in shared},
    )


async def _picture(frame: Keyframe | None, field: str, gateway: Gateway, caller: Caller) -> MediaRef | None:
    if frame is None:
        return None
    name, value = ("url", frame.url) if frame.type == "image" else ("id", frame.id)
    if not value:
        raise InvalidRequest("required", field=f"{field}.{name}")
    if frame.type == "generation":
        return None
    return await gateway.accept_media(caller, value, field=f"{field}.url", kinds=("image",))


async def _first_picture(frame: Keyframe, gateway: Gateway, caller: Caller) -> MediaRef:
    """What an earlier generation begins with, as a picture to arrive at."""
    poster = (await gateway.get(caller, frame.id)).file("poster")
    if poster is None:
        raise InvalidRequest("that generation has no first picture to arrive at", field="keyframes.frame1.id")
    return MediaRef(media_id=poster.media_id)


async def begun(
    operation: AnyOperation,
    body: Answered,
    gateway: Gateway,
    asked: Asked,
    *,
    told: dict[str, str],
    status: int = 201,
    wait: float = 0,
) -> Answer:
    """Begin a generation and answer it.

    told: what its `request` shows besides the body. wait: for how many seconds the answer waits for its end.
    """
    task = await submit(
        gateway,
        asked,
        operation=operation,
        dialect=FORMAT,
        context={"request": echo(body, told)},
        callback_url=body.callback_url or None,
    )
    if wait and not task.state.ended:
        task = await gateway.wait(asked.caller, task.id, min(wait, LONGEST_WAIT))
    return Answer(render(task), status, provider_header(task))


def kind(task: Task) -> str:
    """`image` or `video`."""
    return "image" if isinstance(task.operation, ImageRequest) else "video"


def render(task: Task) -> dict[str, Any]:
    """The generation, also of a task that was asked for in another format."""
    made, name = kind(task), models.name_of(task.operation)
    request = {"generation_type": made, "model": name, "prompt": getattr(task.operation, "prompt", "")}
    picture = "image" if made == "image" else "poster"
    assets = {"video": link(task, "video") or None, "image": link(task, picture) or None}
    if sound := link(task, "audio"):
        assets["audio"] = sound
    generation = {
        "id": task.id,
        "generation_type": made,
        "state": STATES.get(task.state, "failed"),
        "failure_reason": failure(task) or None,
        "created_at": moment(task.created_at, "microseconds"),
        "assets": {**assets, "progress_video": None} if task.state is State.SUCCEEDED else None,
        "model": name,
        # What older answers had in place of the model.
        "version": None,
        "request": task.context.get("request") or request,
    }
    return generation | ({"warnings": list(task.warnings)} if task.warnings else {})


def render_error(error: GenwayError, asking: Asking) -> Answer:
    """`detail` is a text, as Luma documents it. Vercel's SDK can read it only as a list of what a validator found."""
    detail: Any = str(error)
    if AI_SDK in (asking.header("user-agent") or ""):
        detail = [{"type": error.code, "loc": ["body", *(error.field or "").split(".")], "msg": detail, "input": ""}]
    return Answer({"detail": detail, "code": error.code, "request_id": asking.request_id}, error.status)
