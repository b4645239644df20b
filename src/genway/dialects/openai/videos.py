"""`/v1/videos`: OpenAI's video format as the one door to every video system.

Source: `vendors/openai.md`, section 12, and the types of the official SDK 3.54. `model` names any video model of any
channel, qualified by its system (`kling/kling-v2-master`, `local/animate`); a bare name is OpenAI's own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from litestar.response.base import ASGIResponse
from msgspec import Meta

from genway.access.model import Asked, Caller
from genway.dialects import form
from genway.dialects.base import Answer, Asking, Router, is_form, submit
from genway.dialects.body import Body, one_of, read, shown
from genway.dialects.genway import as_json
from genway.dialects.openai import sizes
from genway.dialects.rendering import provider_header
from genway.errors import Conflict, GenwayError, InvalidRequest, NotFound, TaskNotFound, Unauthenticated
from genway.gateway import Gateway, Quote
from genway.media.library import Library
from genway.media.routes import send_file
from genway.operations import Camera, MediaRef, Parent, RestyleRequest, Size, VideoRequest
from genway.tasks.model import State, Task

FORMAT = "openai.videos"
PREFIX = "/v1/videos"
SYSTEM = "openai/"
KINDS = ("video", "extend", "effect", "lip_sync", "avatar", "restyle", "performance", "upscale")
SORA_SECONDS = (4, 8, 12)
USUAL_SECONDS = 5
LINK_SECONDS = 3600
POLL_HEADER = "openai-poll-after-ms"
VARIANTS = {"video": "video", "thumbnail": "poster"}

STATUS = {
    State.QUEUED: "queued",
    State.SUBMITTING: "in_progress",
    State.RUNNING: "in_progress",
    State.STORING: "in_progress",
    State.PARKED: "in_progress",
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
    State.EXPIRED: "failed",
}

route = Router()

Prompt = Annotated[str, Meta(max_length=32_000)]
Motion = Annotated[float, Meta(ge=-10, le=10)]


class Reference(msgspec.Struct):
    """A picture by its address or data URI, or by the id of one of our files."""

    image_url: str = ""
    file_id: str = ""

    def value(self) -> str:
        if bool(self.image_url) == bool(self.file_id):
            raise InvalidRequest("either `image_url` or `file_id`", field="input_reference")
        return self.image_url or self.file_id


class Moves(msgspec.Struct):
    """The members of `operations.Camera`."""

    horizontal: Motion = 0
    vertical: Motion = 0
    zoom: Motion = 0
    roll: Motion = 0
    pan: Motion = 0
    tilt: Motion = 0
    background_pan_x: Motion = 0
    background_pan_y: Motion = 0


class NewVideo(Body):
    """What OpenAI's format has, and from `callback_url` on what other systems' models can do besides."""

    prompt: Prompt
    model: Annotated[str, Meta(max_length=200)] = "sora-2"
    seconds: Annotated[float, Meta(gt=0, le=60)] | None = None
    size: str = ""
    input_reference: str | Reference = ""
    callback_url: str | None = None
    negative_prompt: Prompt = ""
    last_frame: str = ""
    references: Annotated[list[str], Meta(max_length=10)] = []
    sequence: Annotated[list[str], Meta(max_length=10)] = []
    seed: Annotated[int, Meta(ge=0, le=4294967295)] | None = None
    style: Annotated[str, Meta(max_length=100)] = ""
    quality: Annotated[str, Meta(max_length=20)] = ""
    guidance: Annotated[float, Meta(ge=0, le=1)] | None = None
    loop: bool = False
    audio: bool = False
    camera: Moves = msgspec.field(default_factory=Moves)


class Remix(Body):
    """What is to change."""

    prompt: Prompt
    callback_url: str | None = None


class Page(Body):
    """Which part of the list. after: the id of the last video of the part before."""

    after: str = ""
    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"


@route.submit(PREFIX)
async def create(body: bytes, request: Request[Any, Any, Any], gateway: Gateway, asked: Asked) -> Answer:
    """Begin a video: from JSON, or from a form whose part `input_reference` may be a file."""
    if not is_form(request) or body:
        return await _create(read(NewVideo, body), None, gateway, asked)
    library: Library = request.app.state.library
    came = await form.take(request, library, asked.caller.account_id, {"input_reference": ("image",)})
    if asked.idempotency_key:
        asked = msgspec.structs.replace(asked, fingerprint=f"{PREFIX} {came.fingerprint}")
    try:
        wanted = read(NewVideo, msgspec.json.encode(came.fields))
        picture = came.files.get("input_reference")
        if picture and wanted.input_reference:
            raise InvalidRequest("is given in two ways", field="input_reference")
        return await _create(wanted, picture, gateway, asked)
    except GenwayError:
        await form.discard(came, library)
        raise


async def _create(body: NewVideo, picture: MediaRef | None, gateway: Gateway, asked: Asked) -> Answer:
    model = body.model if "/" in body.model else SYSTEM + body.model
    given = body.input_reference
    value = given.value() if isinstance(given, Reference) else given

    async def image(value: str, field: str) -> MediaRef | None:
        return await gateway.accept_media(asked.caller, value, field=field, kinds=("image",)) if value else None

    async def images(values: list[str], field: str) -> tuple[MediaRef, ...]:
        kinds = ("image",)
        return tuple(
            [
                await gateway.accept_media(asked.caller, value, field=f"{field}[{index}]", kinds=kinds)
                for index, value in enumerate(values)
            ]
        )

    operation = VideoRequest(
        model=model,
        format=FORMAT,
        extra=body.extra,
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        seconds=_seconds(model, body.seconds),
        size=sizes.chosen(model, body.size),
        camera=Camera(**msgspec.structs.asdict(body.camera)),
        style=body.style,
        seed=body.seed,
        audio=body.audio,
        loop=body.loop,
        guidance=body.guidance,
        quality=body.quality,
        first_frame=picture or await image(value, "input_reference"),
        last_frame=await image(body.last_frame, "last_frame"),
        references=await images(body.references, "references"),
        sequence=await images(body.sequence, "sequence"),
    )
    told = {"model": body.model}
    task = await submit(gateway, asked, operation=operation, dialect=FORMAT, context=told, callback_url=body.callback_url)
    return _answer(task)


@route.submit(f"{PREFIX}/{{video_id:str}}/remix")
async def remix(video_id: str, body: Remix, gateway: Gateway, asked: Asked) -> Answer:
    """Make a finished video again in another look; by the channel that holds it."""
    before = await _video(gateway, asked.caller, video_id)
    made = before.file("video")
    size = getattr(before.operation, "size", None)
    if size is None and made and made.width and made.height:
        size = Size(made.width // 2 * 2, made.height // 2 * 2)
    operation = RestyleRequest(
        model=before.operation.model,
        format=FORMAT,
        extra=body.extra,
        parent=Parent(task_id=before.id),
        prompt=body.prompt,
        seconds=getattr(before.operation, "seconds", USUAL_SECONDS),
        size=size or sizes.USUAL,
    )
    told = {"model": shown_model(before)}
    task = await submit(gateway, asked, operation=operation, dialect=FORMAT, context=told, callback_url=body.callback_url)
    return _answer(task)


@route.get(PREFIX)
async def videos(request: Request[Any, Any, Any], gateway: Gateway, asked: Asked) -> Answer:
    """The account's videos, in whatever format they were asked for."""
    page = read(Page, msgspec.json.encode(dict(request.query_params)))
    found = await gateway.list(
        asked.caller, kinds=KINDS, past=page.after, limit=page.limit + 1, oldest_first=page.order == "asc"
    )
    data = [render(task) for task in found[: page.limit]]
    content = {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(found) > page.limit,
    }
    return Answer(content)


@route.get(f"{PREFIX}/{{video_id:str}}")
async def retrieve(video_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """Tell how a video is going."""
    return _answer(await _video(gateway, asked.caller, video_id))


@route.delete(f"{PREFIX}/{{video_id:str}}")
async def delete(video_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """Cancel a video that is under way, forget one that has ended."""
    task = await _video(gateway, asked.caller, video_id)
    await gateway.delete(asked.caller, task.id)
    return Answer({"id": task.id, "object": "video.deleted", "deleted": True})


async def content(video_id: str, request: Request[Any, Any, Any], gateway: Gateway, asked: Asked) -> ASGIResponse:
    """Answer with the file itself, whole or the part that `Range` asks for."""
    variant = request.query_params.get("variant") or "video"
    if variant not in {*VARIANTS, "spritesheet"}:
        raise InvalidRequest(f"{one_of((*VARIANTS, 'spritesheet'))}, got {shown(variant)}", field="variant")
    task = await _video(gateway, asked.caller, video_id)
    if task.state is not State.SUCCEEDED:
        raise Conflict(f"the video has no content: it is {STATUS[task.state]}")
    file = task.file(VARIANTS.get(variant, variant))
    if file is None:
        raise NotFound(f"this video has no {variant}", field="variant")
    library: Library = request.app.state.library
    stored = await library.owned(asked.caller.account_id, file.media_id)
    return await send_file(library, stored, request, LINK_SECONDS, request.method == "HEAD")


route.get(f"{PREFIX}/{{video_id:str}}/content")(content)
route.on("HEAD", f"{PREFIX}/{{video_id:str}}/content")(content)


async def _video(gateway: Gateway, caller: Caller, video_id: str) -> Task:
    """Raises TaskNotFound also for a task that makes no video."""
    task = await gateway.get(caller, video_id)
    if task.operation.kind not in KINDS:
        raise TaskNotFound(f"there is no video {video_id[:64]}")
    return task


def _seconds(model: str, seconds: float | None) -> float:
    if not model.startswith(f"{SYSTEM}sora"):
        return USUAL_SECONDS if seconds is None else seconds
    if seconds is not None and seconds not in SORA_SECONDS:
        raise InvalidRequest(f"{one_of(SORA_SECONDS)}, got {seconds:g}", field="seconds")
    return seconds or SORA_SECONDS[0]


def _answer(task: Task) -> Answer:
    headers = provider_header(task)
    if not task.state.ended:
        headers[POLL_HEADER] = "500" if task.local else "2000"
    return Answer(render(task), headers=headers)


def shown_model(task: Task) -> str:
    """The model as the client named it; OpenAI's own without `openai/`."""
    return str(task.context.get("model") or task.operation.model.removeprefix(SYSTEM))


def render(task: Task) -> dict[str, Any]:
    """The video object, also of a task that was asked for in another format; the last three members are genway's own."""
    parent = task.operation.continues
    done = task.state is State.SUCCEEDED
    made = task.file("video")
    size = getattr(task.operation, "size", sizes.USUAL)
    return {
        "id": task.id,
        "object": "video",
        "model": shown_model(task),
        "status": STATUS[task.state],
        "progress": 100 if done else min(int(task.progress * 100), 99),
        "created_at": int(task.created_at),
        "completed_at": int(task.finished_at) if done and task.finished_at else None,
        "expires_at": None,
        "seconds": f"{getattr(task.operation, 'seconds', 0):g}",
        "size": f"{made.width}x{made.height}" if made and made.width else str(size),
        "prompt": getattr(task.operation, "prompt", ""),
        "remixed_from_video_id": parent.task_id if parent else None,
        "error": _error(task),
        "url": made.url if made else None,
        "provider": "local" if task.local else task.provider,
        "warnings": list(task.warnings),
    }


def _error(task: Task) -> dict[str, str] | None:
    if STATUS[task.state] != "failed":
        return None
    code = "moderation_blocked" if task.error_code == "moderation" else task.error_code or str(task.state)
    return {"code": code, "message": task.error_message or f"the video was not made: {task.state}"}


def render_error(error: GenwayError, asking: Asking) -> Answer:
    """OpenAI's error object; its request id travels in the header `x-request-id`."""
    kind = "invalid_request_error" if isinstance(error, Unauthenticated) else error.type
    return Answer({"error": {"message": str(error), "type": kind, "param": error.field, "code": error.code}}, error.status)


def render_quote(quote: Quote, asking: Asking) -> Answer:
    """The answer to a dry run."""
    return Answer(as_json(quote))
