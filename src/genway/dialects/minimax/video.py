"""Videos in MiniMax's format: made in the background, asked for by `task_id`, fetched by `file_id`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from msgspec import Meta

from genway.access.model import Asked
from genway.dialects.base import Answer, Format, Router, submit
from genway.dialects.body import Body
from genway.dialects.minimax import camera, models
from genway.dialects.minimax.answers import OK, ok, outcome, places
from genway.dialects.minimax.callback import verified
from genway.dialects.minimax.files import result
from genway.dialects.numbers import number
from genway.errors import InvalidRequest
from genway.gateway import Gateway
from genway.operations import AnyOperation, EffectRequest, MediaRef, VideoRequest
from genway.tasks.model import State, Task

VIDEO = "minimax.video"
TEMPLATE = "minimax.template"
STATUS = {
    State.QUEUED: "Queueing",
    State.SUBMITTING: "Preparing",
    State.RUNNING: "Processing",
    State.STORING: "Processing",
    State.PARKED: "Processing",
    State.SUCCEEDED: "Success",
    State.FAILED: "Fail",
    State.CANCELLED: "Fail",
    State.EXPIRED: "Fail",
}
CALLBACK_STATUS = {"Success": "success", "Fail": "failed"}

route = Router()


class Subject(msgspec.Struct):
    """Somebody who is to be seen in the video; `image` has one picture."""

    image: str | Annotated[list[str], Meta(min_length=1, max_length=1)]
    type: Literal["character"] = "character"


class VideoGeneration(Body, kw_only=True):
    """Text, a first frame, a first and a last frame, or a person's picture, into a video."""

    model: str
    prompt: Annotated[str, Meta(max_length=2000)] = ""
    duration: int | None = None
    resolution: str = ""
    first_frame_image: str = ""
    last_frame_image: str = ""
    subject_reference: Annotated[list[Subject], Meta(max_length=1)] = []
    prompt_optimizer: bool | None = None
    fast_pretreatment: bool | None = None
    aigc_watermark: bool | None = None
    callback_url: str | None = None


class Value(msgspec.Struct):
    """One input of a template."""

    value: str


class TemplateGeneration(Body, kw_only=True):
    """A template with one's own pictures and texts."""

    template_id: str
    media_inputs: Annotated[list[Value], Meta(max_length=16)] = []
    text_inputs: Annotated[list[Value], Meta(max_length=16)] = []
    callback_url: str | None = None


@route.submit(*places("/v1/video_generation"))
async def video_generation(body: VideoGeneration, gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Begin a video."""
    model = models.named(models.VIDEOS, body.model)
    _check(body, model)
    pictured = bool(body.first_frame_image or body.last_frame_image)
    size, seconds = models.length(model, body.resolution, body.duration, pictured=pictured)
    prompt, motion = camera.read(body.prompt)
    extra = dict(body.extra)
    for name in ("prompt_optimizer", "fast_pretreatment", "aigc_watermark"):
        if getattr(body, name) is not None:
            extra[name] = getattr(body, name)
    if prompt != body.prompt:
        extra["prompt"] = body.prompt

    async def picture(value: str, field: str) -> MediaRef | None:
        return await gateway.accept_media(asked.caller, value, field=field, kinds=("image",)) if value else None

    person = await picture(_address(body), "subject_reference[0].image")
    operation = VideoRequest(
        model=models.SYSTEM + model,
        format=VIDEO,
        prompt=prompt,
        first_frame=await picture(body.first_frame_image, "first_frame_image"),
        last_frame=await picture(body.last_frame_image, "last_frame_image"),
        references=(person,) if person else (),
        seconds=seconds,
        size=size,
        camera=motion,
        extra=extra,
    )
    return await _submitted(operation, VIDEO, body.callback_url, gateway, asked, request)


@route.submit(*places("/v1/video_template_generation"))
async def video_template_generation(
    body: TemplateGeneration, gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]
) -> Answer:
    """Begin a video from a template."""
    pictures = [
        await gateway.accept_media(asked.caller, given.value, field=f"media_inputs[{index}].value", kinds=("image",))
        for index, given in enumerate(body.media_inputs)
    ]
    operation = EffectRequest(
        model=models.SYSTEM + models.TEMPLATE,
        format=TEMPLATE,
        effect=body.template_id,
        pictures=tuple(pictures),
        texts=tuple(given.value for given in body.text_inputs),
        seconds=models.USUAL_SECONDS,
        size=models.SIZES["768P"],
        extra=body.extra,
    )
    return await _submitted(operation, TEMPLATE, body.callback_url, gateway, asked, request)


@route.get(*places("/v1/query/video_generation"))
async def query(gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Tell how a video is going."""
    task = await _asked_for(gateway, asked, request)
    return ok(render(task), asked, task)


@route.get(*places("/v1/query/video_template_generation"))
async def query_template(gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Answer:
    """Tell how a template's video is going, with the link to it."""
    task = await _asked_for(gateway, asked, request)
    return ok(render_template(task), asked, task)


def _check(body: VideoGeneration, model: str) -> None:
    takes = models.VIDEOS[model]
    given = {
        "first_frame_image": (bool(body.first_frame_image), takes.picture),
        "last_frame_image": (bool(body.last_frame_image), takes.last),
        "subject_reference": (bool(body.subject_reference), takes.subject),
    }
    for field, (sent, able) in given.items():
        if sent and not able:
            raise InvalidRequest(f"{model} takes none", field=field)
    if takes.text:
        if not body.prompt and not body.first_frame_image and not body.last_frame_image:
            raise InvalidRequest("required", field="prompt")
    elif takes.picture and not body.first_frame_image:
        raise InvalidRequest(f"{model} needs a picture to begin with", field="first_frame_image")
    elif takes.subject and not body.subject_reference:
        raise InvalidRequest(f"{model} needs a picture of somebody", field="subject_reference")


def _address(body: VideoGeneration) -> str:
    if not body.subject_reference:
        return ""
    image = body.subject_reference[0].image
    return image if isinstance(image, str) else image[0]


async def _submitted(
    operation: AnyOperation,
    form: str,
    callback_url: str | None,
    gateway: Gateway,
    asked: Asked,
    request: Request[Any, Any, Any],
) -> Answer:
    callback_url, *warnings = await verified(callback_url, asked, request)
    task = await submit(gateway, asked, operation=operation, dialect=form, callback_url=callback_url)
    return ok({"task_id": task.id, "base_resp": OK}, asked, task, *(warning for warning in warnings if warning))


async def _asked_for(gateway: Gateway, asked: Asked, request: Request[Any, Any, Any]) -> Task:
    task_id = request.query_params.get("task_id", "").strip()
    if not task_id:
        raise InvalidRequest("required", field="task_id")
    return await gateway.get(asked.caller, task_id)


def render(task: Task) -> dict[str, Any]:
    """The answer to a query: all six fields at all times, as strict clients want them."""
    done = task.state is State.SUCCEEDED
    file = result(task) if done else None
    return {
        "task_id": task.id,
        "status": STATUS[task.state],
        "file_id": str(number(task)) if done else "",
        "video_width": (file.width or 0) if file else 0,
        "video_height": (file.height or 0) if file else 0,
        "base_resp": outcome(task),
    }


def render_template(task: Task) -> dict[str, Any]:
    """The same for a template, whose answer holds the link itself."""
    file = result(task) if task.state is State.SUCCEEDED else None
    return {
        "task_id": task.id,
        "status": STATUS[task.state],
        "video_url": file.url if file else "",
        "base_resp": outcome(task),
    }


def _told(answer: dict[str, Any]) -> dict[str, Any]:
    """A callback says the same as a query, in lower case."""
    return answer | {"status": CALLBACK_STATUS.get(answer["status"], "processing")}


class Updates(Format, frozen=True):
    """Tells when work has begun and when it has ended: the states that MiniMax's callbacks have words for."""

    def tells(self, state: State) -> bool:
        return state is State.RUNNING or state.ended


formats = {
    VIDEO: Updates(lambda task: _told(render(task))),
    TEMPLATE: Updates(lambda task: _told(render_template(task))),
}
