"""The mirror of Runway's web application: `/runway/tasks`. Its clients show the options of a task as they sent them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from genway.access.model import Asked, Caller
from genway.dialects.base import Answer, Asking, Router, submit
from genway.dialects.body import Body
from genway.dialects.genway import as_json
from genway.dialects.rendering import failure, link, moment, provider_header
from genway.dialects.runway import models, official, ratios
from genway.dialects.runway.models import SYSTEM, Video
from genway.dialects.runway.rendering import context, provider, quoted_points
from genway.errors import GenwayError, InvalidRequest
from genway.gateway import Gateway, Quote
from genway.operations import AnyOperation, MediaRef, RestyleRequest, Size, VideoRequest
from genway.tasks.model import File, State, Task

FORMAT = "runway.web"
PREFIXES = ("/runway/tasks", "/runway/uploads")
LONGEST_ECHO = 2048
FRAME_RATE = 24

route = Router()

Prompt = Annotated[str, Meta(max_length=5000)]
Seed = official.Seed

# The application's own names of its models.
TASK_TYPES = {"europa": "gen3", "gen3a": "gen3"}
MODELS = {
    **{name: models.PAGE[name] for name in ("gen3", "gen4")},
    "gen2": Video(models.GEN4, (4, 5, 10), 4),
    **{name: models.IMAGE_TO_VIDEO[name] for name in ("gen3a_turbo", "gen4_turbo")},
}


class Gen2Options(msgspec.Struct, omit_defaults=True):
    """gen2 has its own place for prompt, picture and seed."""

    text_prompt: Prompt = ""
    image_prompt: str = ""
    init_image: str = ""
    seed: Seed | None = None


class Options(msgspec.Struct, omit_defaults=True, rename={"gen2": "gen2Options"}):
    """What is to be made.

    init_image: the picture to begin with, or to end with by image_as_end_frame. video_prompt: a clip to restyle.
    extended_from_task_id: a task whose video is to be carried on; init_video is the address of that video.
    """

    name: Annotated[str, Meta(max_length=500)] = ""
    seconds: int | None = None
    text_prompt: Prompt = ""
    seed: Seed | None = None
    init_image: str = ""
    image_as_end_frame: bool = False
    width: Annotated[int, Meta(ge=1, le=8192)] | None = None
    height: Annotated[int, Meta(ge=1, le=8192)] | None = None
    flip: bool = False
    video_prompt: str = ""
    structure_transformation: Annotated[float, Meta(ge=0, le=1)] = 0.5
    extended_from_task_id: str = ""
    init_video: str = ""
    gen2: Gen2Options = msgspec.field(default_factory=Gen2Options)

    @property
    def prompt(self) -> str:
        return self.text_prompt or self.gen2.text_prompt

    @property
    def picture(self) -> tuple[str, str]:
        """The picture and the field that it stands in."""
        if self.init_image:
            return self.init_image, "options.init_image"
        if self.gen2.init_image:
            return self.gen2.init_image, "options.gen2Options.init_image"
        return self.gen2.image_prompt, "options.gen2Options.image_prompt"


class NewTask(Body, rename="camel"):
    """A task of the web application."""

    task_type: str
    options: Options = msgspec.field(default_factory=Options)


@route.submit("/runway/tasks")
async def create(body: NewTask, gateway: Gateway, asked: Asked) -> Answer:
    """Begin a task."""
    task_type = body.task_type.strip()
    model, takes = models.named(MODELS, TASK_TYPES.get(task_type, task_type), "taskType")
    options = body.options
    size = _size(options, model, takes)
    seconds = models.duration(takes, options.seconds, "options.seconds")
    operation: AnyOperation
    if options.video_prompt:
        operation = RestyleRequest(
            model=SYSTEM + model,
            format=FORMAT,
            extra=body.extra,
            video=await gateway.accept_media(
                asked.caller, options.video_prompt, field="options.video_prompt", kinds=("video",)
            ),
            prompt=options.prompt,
            seconds=seconds,
            size=size,
            strength=options.structure_transformation,
            seed=options.seed,
        )
    else:
        first, last = await _frames(options, gateway, asked.caller)
        if not (options.prompt or first or last):
            raise InvalidRequest("required", field="options.text_prompt or options.init_image")
        operation = VideoRequest(
            model=SYSTEM + model,
            format=FORMAT,
            extra=body.extra,
            prompt=options.prompt,
            first_frame=first,
            last_frame=last,
            seconds=seconds,
            size=size,
            seed=options.gen2.seed if options.seed is None else options.seed,
        )
    told = context(gateway, task_type=task_type, options=_echo(options, body.extra.get("options", {})))
    task = await submit(gateway, asked, operation=operation, dialect=FORMAT, context=told)
    return Answer(render(task), headers=provider_header(task))


@route.get("/runway/tasks/{task_id:str}")
async def retrieve(task_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """Tell how a task is going."""
    task = await gateway.get(asked.caller, task_id)
    return Answer(render(task), headers=provider_header(task))


def _size(options: Options, model: str, takes: Video) -> Size:
    if options.width and options.height:
        size = ratios.fit_pair((options.width, options.height), takes.ratios, model, "options.width")
    else:
        size = ratios.fit("16:9", takes.ratios, model, "options.width")
    return size.flipped() if options.flip and not size.portrait else size


async def _frames(options: Options, gateway: Gateway, caller: Caller) -> tuple[MediaRef | None, MediaRef | None]:
    """The pictures to begin and to end with. A task that is carried on begins with its last picture."""
    value, field = options.picture
    given = await gateway.accept_media(caller, value, field=field, kinds=("image",)) if value else None
    if options.image_as_end_frame and given is None:
        raise InvalidRequest("needs `options.init_image`", field="options.image_as_end_frame")
    if not options.extended_from_task_id:
        if options.init_video:
            raise InvalidRequest("needs `options.extended_from_task_id`", field="options.init_video")
        return (None, given) if options.image_as_end_frame else (given, None)
    before = (await gateway.get(caller, options.extended_from_task_id)).file("last_frame")
    if before is None:
        raise InvalidRequest("that task has no last picture to go on from", field="options.extended_from_task_id")
    if given is not None and not options.image_as_end_frame:
        raise InvalidRequest("conflicts with `options.extended_from_task_id`, which sets the first picture", field=field)
    return MediaRef(media_id=before.media_id), given


def _echo(options: Options, unknown: dict[str, Any]) -> dict[str, Any]:
    """The options as they came, but for files that were sent inline."""
    return _short(_merged(msgspec.to_builtins(options), unknown))


def _merged(known: dict[str, Any], unknown: dict[str, Any]) -> dict[str, Any]:
    nested = {name: _merged(value, unknown.get(name, {})) for name, value in known.items() if isinstance(value, dict)}
    return {**unknown, **known, **nested}


def _short(value: dict[str, Any]) -> dict[str, Any]:
    short: dict[str, Any] = {}
    for name, member in value.items():
        if isinstance(member, dict):
            if inner := _short(member):
                short[name] = inner
        elif not isinstance(member, str) or len(member) <= LONGEST_ECHO or "prompt" in name:
            short[name] = member
    return short


def render(task: Task) -> dict[str, Any]:
    """The task as the web application tells of it, also to who made it in another format."""
    reason = failure(task)
    prompt = getattr(task.operation, "prompt", "")
    options = task.context.get("options") or {"seconds": getattr(task.operation, "seconds", 0), "text_prompt": prompt}
    done = task.state is State.SUCCEEDED
    return {
        "task": {
            "id": task.id,
            "name": options.get("name") or prompt[:80],
            "image": None,
            "createdAt": moment(task.created_at),
            "updatedAt": moment(task.updated_at),
            "taskType": task.context.get("task_type") or task.operation.model.removeprefix(SYSTEM),
            "options": options,
            "status": official.status(task),
            "error": {"errorMessage": reason, "reason": official.failure_code(task)} if reason else None,
            "progressText": reason or None,
            "progressRatio": f"{1 if done else task.progress:g}",
            "estimatedTimeToStartSeconds": None,
            "artifacts": [_artifact(task, file) for file in task.files if file.role in {"video", "image"}],
            "sharedAsset": None,
            "queuePosition": task.queue_position,
            "provider": provider(task),
            "warnings": list(task.warnings),
        }
    }


def _artifact(task: Task, file: File) -> dict[str, Any]:
    made = moment(task.finished_at or task.updated_at)
    return {
        "id": file.media_id,
        "createdAt": made,
        "updatedAt": made,
        "taskId": task.id,
        "filename": f"{file.media_id}.{file.extension}" if file.extension else file.media_id,
        "url": file.url,
        "fileSize": str(file.bytes),
        "isDirectory": False,
        "previewUrls": [url for url in (link(task, "poster"), link(task, "last_frame")) if url],
        "private": True,
        "deleted": False,
        "favorite": False,
        "metadata": {
            "frameRate": FRAME_RATE if task.local else None,
            "duration": file.seconds,
            "dimensions": [file.width, file.height],
            "size": {"width": file.width, "height": file.height},
        },
    }


def render_error(error: GenwayError, asking: Asking) -> Answer:
    """The object whose `error.message` the clients show."""
    told = {"message": str(error), "type": error.type, "code": error.code, "param": error.field}
    return Answer({"error": told, "code": error.code, "request_id": asking.request_id}, error.status)


def render_quote(quote: Quote, asking: Asking) -> Answer:
    """The answer to a dry run: nothing was made and nothing is owed."""
    credits = quoted_points(quote, asking)
    return Answer({"task": None, "dryRun": True, "estimatedCost": {"credits": credits}, "quote": as_json(quote)})
