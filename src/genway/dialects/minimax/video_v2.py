"""Videos in MiniMax's second format, `/v2/…`: one list of text, pictures, clips and sounds, and true HTTP statuses.

Source: the vendor's own SDK for it (`@ai-sdk/minimax` 3.0.45) and what its documentation says of the H3 models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from msgspec import Meta

from genway.access.model import Asked, Caller
from genway.dialects.base import Answer, Router, submit
from genway.dialects.body import Body, one_of, read, shown
from genway.dialects.minimax import models
from genway.dialects.minimax.answers import TRACE_HEADER, outcome, places
from genway.dialects.minimax.callback import verified
from genway.dialects.minimax.files import result, uploaded
from genway.dialects.minimax.video import Updates
from genway.dialects.rendering import provider_header
from genway.errors import Conflict, InvalidRequest
from genway.gateway import Gateway
from genway.operations import AnyOperation, MediaRef, ReferenceRequest, VideoRequest
from genway.tasks.model import State, Task

VIDEO = "minimax.video_v2"
LONGEST_PROMPT = 7000
MOST_PICTURES, MOST_CLIPS, MOST_SOUNDS = 9, 3, 3
# What a clip counts as for the price while nobody knows its length: the longest that the models make.
UNTOLD_SECONDS = 15.0
ADAPTIVE = "adaptive"
KEPT = "mm_file://"
STATUS = {
    State.QUEUED: "queued",
    State.SUBMITTING: "queued",
    State.RUNNING: "running",
    State.STORING: "running",
    State.PARKED: "running",
    State.SUCCEEDED: "succeeded",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
    State.EXPIRED: "expired",
}
FRAMES = ("first_frame", "last_frame")
# The roles of each kind of file; the first is meant where none is named.
ROLES: Mapping[str, tuple[str, ...]] = {
    "image_url": (*FRAMES, "reference_image"),
    "video_url": ("reference_video",),
    "audio_url": ("reference_audio",),
}
KINDS = {"image_url": "image", "video_url": "video", "audio_url": "audio"}

route = Router()


class Link(msgspec.Struct):
    """Where a file is: an address, a data URI, a media id of genway, or `mm_file://` and the number of a file that was sent."""

    url: str


class Part(msgspec.Struct):
    """A piece of what the video is made from."""

    type: Literal["text", "image_url", "video_url", "audio_url"]
    text: str = ""
    image_url: Link | None = None
    video_url: Link | None = None
    audio_url: Link | None = None
    role: str = ""


class VideoGenerationV2(Body, kw_only=True):
    """Text, a first and a last frame, or pictures, clips and sounds to go by, into a video."""

    model: str
    content: Annotated[list[Part], Meta(min_length=1, max_length=32)]
    resolution: str = ""
    duration: int | None = None
    ratio: str = ""
    aigc_watermark: bool | None = None
    callback_url: str | None = None


class Page(msgspec.Struct, kw_only=True):
    """A part of a list."""

    page_num: Annotated[int, Meta(ge=1, le=10_000)] = 1
    page_size: Annotated[int, Meta(ge=1, le=100)] = 20
    status: str = msgspec.field(name="filter.status", default="")


class Given(msgspec.Struct):
    """The files of a request, by their roles. seconds: how long the clips are together."""

    prompt: str
    files: dict[str, list[MediaRef]]
    seconds: float = 0

    def all(self, role: str) -> tuple[MediaRef, ...]:
        return tuple(self.files.get(role, ()))

    def one(self, role: str) -> MediaRef | None:
        return next(iter(self.all(role)), None)


@route.submit(*places("/v2/video_generation"))
async def video_generation(body: VideoGenerationV2, gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Begin a video."""
    model = models.named(models.VIDEOS_V2, body.model)
    _check(body.content)
    resolution, seconds = models.length_v2(model, body.resolution, body.duration)
    ratio = _ratio(body)
    given = await _given(body.content, gateway, asked.caller, request)
    common: dict[str, Any] = {
        "model": models.SYSTEM + model,
        "format": VIDEO,
        "prompt": given.prompt,
        "references": given.all("reference_image"),
        "seconds": seconds,
        "size": models.SIZES_V2[resolution]["16:9" if ratio == ADAPTIVE else ratio],
        "extra": _extra(body, ratio),
    }
    operation: AnyOperation
    if clips := given.all("reference_video") + given.all("reference_audio"):
        sounds = len(given.all("reference_audio"))
        operation = ReferenceRequest(
            **common, clips=clips[: len(clips) - sounds], sounds=clips[len(clips) - sounds :], clip_seconds=given.seconds
        )
    else:
        operation = VideoRequest(**common, first_frame=given.one("first_frame"), last_frame=given.one("last_frame"))
    callback_url, warning = await verified(body.callback_url, asked, request)
    told = {"resolution": resolution, "ratio": ratio}
    task = await submit(gateway, asked, operation=operation, dialect=VIDEO, callback_url=callback_url, context=told)
    warnings = [*task.warnings, *([warning] if warning else [])]
    return _ok({"task_id": task.id} | ({"warnings": warnings} if warnings else {}), asked, task)


@route.get(*places("/v2/query/video_generation/{task_id:str}"))
async def query(task_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """Tell how a video is going, with the link to it."""
    task = await gateway.get(asked.caller, task_id)
    return _ok(render(task), asked, task)


@route.get(*places("/v2/query/video_generation"))
async def listing(gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """The videos that were asked for in this format, newest first."""
    page = read(Page, msgspec.json.encode(dict(request.query_params)))
    states = [state for state, word in STATUS.items() if word == page.status]
    if page.status and not states:
        known = one_of(list(dict.fromkeys(STATUS.values())))
        raise InvalidRequest(f"{known}, got {shown(page.status)}", field="filter.status")
    found = await gateway.list(
        asked.caller, dialect=VIDEO, states=states, limit=page.page_size + 1, offset=(page.page_num - 1) * page.page_size
    )
    tasks = [render(task)["task"] for task in found[: page.page_size]]
    more = {"page_num": page.page_num, "page_size": page.page_size, "has_more": len(found) > page.page_size}
    return _ok({"tasks": tasks, **more}, asked)


@route.delete(*places("/v2/video_generation/{task_id:str}"))
async def delete(task_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """Cancel a video that waits, forget one that has ended; one that is being made can be neither here."""
    task = await gateway.get(asked.caller, task_id)
    if task.state is State.QUEUED:
        await gateway.cancel(asked.caller, task_id)
    elif task.state.ended:
        await gateway.delete(asked.caller, task_id)
    else:
        raise Conflict(f"it is being made; POST /v1/tasks/{task_id}/cancel cancels it all the same", field="task_id")
    return _ok({"task_id": task_id}, asked)


def render(task: Task) -> dict[str, Any]:
    """The answer to a query; a callback has the same."""
    done = task.state is State.SUCCEEDED
    file = result(task) if done else None
    operation = task.operation
    seconds = getattr(operation, "seconds", 0)
    told: dict[str, Any] = {
        "id": task.id,
        "model": operation.model.removeprefix(models.SYSTEM),
        "status": STATUS[task.state],
        "resolution": task.context.get("resolution", ""),
        "duration": seconds,
        "ratio": task.context.get("ratio", ""),
        "created_at": int(task.created_at),
        "updated_at": int(task.updated_at),
    }
    if file:
        taken = getattr(operation, "clip_seconds", 0)
        usage = {"total_seconds": seconds + taken, "input_seconds": taken, "output_seconds": seconds}
        told |= {"content": {"url": file.url}, "usage": usage}
    elif task.state.ended:
        why = outcome(task)
        told["error"] = {"code": str(why["status_code"]), "message": why["status_msg"]}
    return {"task": told}


formats = {VIDEO: Updates(render)}


def _ok(content: Mapping[str, Any], asked: Asked, task: Task | None = None) -> Answer:
    return Answer(content, headers={TRACE_HEADER: asked.request_id} | provider_header(task))


def _link(part: Part) -> str:
    found: Link | None = getattr(part, part.type)
    return found.url if found else ""


def _role(part: Part) -> str:
    return part.role or ROLES[part.type][0]


def _check(content: list[Part]) -> None:
    """Raises InvalidRequest for what cannot go together."""
    for index, part in enumerate(content):
        where = f"content[{index}]"
        if part.type == "text":
            continue
        if not _link(part):
            raise InvalidRequest("required", field=f"{where}.{part.type}.url")
        if _role(part) not in ROLES[part.type]:
            raise InvalidRequest(f"{one_of(ROLES[part.type])}, got {shown(part.role)}", field=f"{where}.role")
    roles = [_role(part) for part in content if part.type != "text"]
    for role, most in (
        *((frame, 1) for frame in FRAMES),
        *(("reference_image", MOST_PICTURES), ("reference_video", MOST_CLIPS), ("reference_audio", MOST_SOUNDS)),
    ):
        if roles.count(role) > most:
            raise InvalidRequest(f"at most {most} with the role {role}, got {roles.count(role)}", field="content")
    if any(role in FRAMES for role in roles) and any(role not in FRAMES for role in roles):
        raise InvalidRequest("frames to begin and end with, or files to go by, not both", field="content")
    if "last_frame" in roles and "first_frame" not in roles:
        raise InvalidRequest("a last_frame needs a first_frame", field="content")
    if set(roles) == {"reference_audio"}:
        raise InvalidRequest("a reference_audio needs a reference_image or a reference_video beside it", field="content")
    if len(text := _prompt(content)) > LONGEST_PROMPT:
        raise InvalidRequest(f"at most {LONGEST_PROMPT} characters of text, got {len(text)}", field="content")
    if not text.strip() and not roles:
        raise InvalidRequest("a text, or a file with a role", field="content")


def _prompt(content: list[Part]) -> str:
    return "\n".join(part.text for part in content if part.type == "text")


def _ratio(body: VideoGenerationV2) -> str:
    """What is told of the shape: that of the first frame, of what there is to go by, or the one that was asked for."""
    ratio, roles = body.ratio.strip().lower(), {_role(part) for part in body.content if part.type != "text"}
    if ratio not in {"", ADAPTIVE, *models.RATIOS_V2}:
        raise InvalidRequest(f"{one_of([ADAPTIVE, *models.RATIOS_V2])}, got {shown(body.ratio)}", field="ratio")
    if roles & set(FRAMES):
        return ADAPTIVE
    if not roles and ratio == ADAPTIVE:
        raise InvalidRequest(f"{one_of(models.RATIOS_V2)} where there is nothing but text", field="ratio")
    return ratio or (ADAPTIVE if roles else "16:9")


def _extra(body: VideoGenerationV2, ratio: str) -> dict[str, Any]:
    known = {"aigc_watermark": body.aigc_watermark} if body.aigc_watermark is not None else {}
    return {**body.extra, **known} | ({"ratio": ADAPTIVE} if ratio == ADAPTIVE else {})


async def _given(content: list[Part], gateway: Gateway, caller: Caller, request: Request[Any, Any, Any]) -> Given:
    """The files of a request, accepted. Raises AddressRefused, MediaRefused, NotFound."""
    given = Given(_prompt(content), {})
    library = request.app.state.library
    for index, part in enumerate(content):
        if part.type == "text":
            continue
        field = f"content[{index}].{part.type}.url"
        if _link(part).startswith(KEPT):
            ref = MediaRef(media_id=(await uploaded(library, caller, _link(part).removeprefix(KEPT), field)).id)
        else:
            ref = await gateway.accept_media(caller, _link(part), field=field, kinds=(KINDS[part.type],))
        given.files.setdefault(_role(part), []).append(ref)
        if part.type == "video_url":
            stored = await library.owned(caller.account_id, ref.media_id) if ref.media_id else None
            given.seconds += (stored.seconds if stored else None) or UNTOLD_SECONDS
    return given
