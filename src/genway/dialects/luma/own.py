"""The own format of gateways, made after Luma's web application of 2024: `/luma/generations`."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from msgspec import Meta

from genway.access.model import Asked, Caller
from genway.dialects.base import Answer, Asking, Router, submit
from genway.dialects.body import Body
from genway.dialects.luma import models
from genway.dialects.luma.models import AspectRatio, Resolution
from genway.dialects.rendering import failure, link, moment, provider_header
from genway.errors import Conflict, GenwayError, InvalidRequest, TaskNotFound
from genway.gateway import Gateway
from genway.operations import AnyOperation, ExtendRequest, MediaRef, Parent, Size, VideoRequest
from genway.tasks.model import State, Task

FORMAT = "luma"
# Where gateways of this family serve it, their paid ways included.
PREFIXES = ("/luma", "/luma/v1", "/luma/V1", "/vip/luma", "/pro/luma")
MOST_IDS = 200
USUAL_SIZE = Size(1280, 720)

route = Router()

Prompt = Annotated[str, Meta(max_length=5000)]

STATES = {
    State.QUEUED: "pending",
    State.SUBMITTING: "pending",
    State.RUNNING: "processing",
    State.STORING: "processing",
    State.PARKED: "processing",
    State.SUCCEEDED: "completed",
}
ROW_STATUS = {"pending": "QUEUED", "processing": "IN_PROGRESS", "completed": "SUCCESS", "failed": "FAILURE"}
ACTIONS = {"extend": "LUMA_EXTEND", "image": "LUMA_IMAGE"}


class Described(Body):
    """What a new video and a longer one share. callback_url: another name of notify_hook."""

    user_prompt: Prompt = ""
    expand_prompt: bool | None = None
    loop: bool = False
    image_url: str = ""
    image_end_url: str = ""
    notify_hook: str = ""
    callback_url: str = ""

    @property
    def callback(self) -> str | None:
        return self.notify_hook or self.callback_url or None

    def unknown(self) -> dict[str, Any]:
        """The fields that only a provider of this format has a use for."""
        return self.extra if self.expand_prompt is None else {**self.extra, "expand_prompt": self.expand_prompt}


class Create(Described):
    """A new video. model_name: what other gateways call `model`."""

    aspect_ratio: AspectRatio = "16:9"
    model: str = ""
    model_name: str = ""
    resolution: Resolution = "720p"
    duration: str | int | None = None


class Extend(Described):
    """A longer video."""


class Ids(Body):
    """Which tasks are asked for."""

    ids: Annotated[list[str], Meta(max_length=MOST_IDS)]


def _at(path: str) -> tuple[str, ...]:
    return tuple(prefix + path for prefix in PREFIXES)


@route.submit(*_at("/generations"))
async def create(body: Create, gateway: Gateway, asked: Asked) -> Answer:
    """Begin a video."""
    model = models.video(body.model_name or body.model, "model_name" if body.model_name else "model")
    if not (body.user_prompt or body.image_url or body.image_end_url):
        raise InvalidRequest("required", field="user_prompt")
    operation = VideoRequest(
        model=models.SYSTEM + model,
        format=FORMAT,
        extra=body.unknown(),
        prompt=body.user_prompt,
        first_frame=await _picture(gateway, asked.caller, body.image_url, "image_url"),
        last_frame=await _picture(gateway, asked.caller, body.image_end_url, "image_end_url"),
        seconds=models.seconds(model, body.duration),
        size=models.size(body.aspect_ratio, models.SHORT_SIDES[body.resolution]),
        loop=_looped(body),
    )
    return await _begun(operation, body, gateway, asked)


@route.submit(*_at("/generations/{task_id:str}/extend"))
async def extend(task_id: str, body: Extend, gateway: Gateway, asked: Asked) -> Answer:
    """Carry a video on."""
    if body.image_url:
        raise InvalidRequest("conflicts with the video that is carried on, which sets the first picture", field="image_url")
    before = (await gateway.get(asked.caller, task_id)).operation
    operation = ExtendRequest(
        model=before.model,
        format=FORMAT,
        extra=body.unknown(),
        parent=Parent(task_id),
        prompt=body.user_prompt,
        last_frame=await _picture(gateway, asked.caller, body.image_end_url, "image_end_url"),
        size=getattr(before, "size", USUAL_SIZE),
        loop=_looped(body),
    )
    return await _begun(operation, body, gateway, asked)


@route.get(*_at("/generations/{task_id:str}"))
async def retrieve(task_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """Tell how a task is going."""
    task = await gateway.get(asked.caller, task_id)
    return Answer(render(task), headers=provider_header(task))


@route.get(*_at("/generations/{task_id:str}/download_video_url"))
async def download(task_id: str, gateway: Gateway, asked: Asked) -> Answer:
    """The address of the video without a watermark; there never is one here."""
    task = await gateway.get(asked.caller, task_id)
    address = link(task, "video") or None
    if address is None:
        raise Conflict(f"task {task_id} has no video: it is {state(task)}")
    return Answer({"url": address})


@route.post(*_at("/tasks"))
async def several(body: Ids, gateway: Gateway, asked: Asked) -> Answer:
    """Tell of many tasks; those that are unknown are left out."""
    rows = []
    for task_id in dict.fromkeys(body.ids):
        try:
            rows.append(row(await gateway.get(asked.caller, task_id)))
        except TaskNotFound:
            continue
    return Answer({"code": "success", "message": "", "data": rows})


def _looped(body: Described) -> bool:
    if body.loop and body.image_end_url:
        raise InvalidRequest("Loop is not supported for end frame", field="loop")
    return body.loop


async def _picture(gateway: Gateway, caller: Caller, value: str, field: str) -> MediaRef | None:
    return await gateway.accept_media(caller, value, field=field, kinds=("image",)) if value else None


async def _begun(operation: AnyOperation, body: Described, gateway: Gateway, asked: Asked) -> Answer:
    task = await submit(gateway, asked, operation=operation, dialect=FORMAT, callback_url=body.callback)
    return Answer({**render(task), "server_id": ""}, 201, provider_header(task))


def state(task: Task) -> str:
    """The format's word for a task's state."""
    return STATES.get(task.state, "failed")


def render(task: Task) -> dict[str, Any]:
    """The task as a query answers it. `download_url` is always there with a video: clients wait for it."""
    video = _file(task, "video")
    if video is not None:
        video = {**video, "download_url": video["url"], "thumbnail": link(task, "poster") or None}
    found = {
        "id": task.id,
        "state": state(task),
        "prompt": getattr(task.operation, "prompt", ""),
        "liked": None,
        "video": video,
        "thumbnail": _file(task, "poster"),
        "video_raw": _file(task, "video"),
        "last_frame": _file(task, "last_frame"),
        "created_at": moment(task.created_at, "microseconds"),
        "queue_state": None,
        "estimate_wait_seconds": None,
    }
    if reason := failure(task):
        found["failure_reason"] = reason
    return found | ({"warnings": list(task.warnings)} if task.warnings else {})


def _file(task: Task, role: str) -> dict[str, Any] | None:
    file = task.file(role)
    return {"url": file.url, "width": file.width, "height": file.height} if file else None


def row(task: Task) -> dict[str, Any]:
    """The task as a line of the table of tasks that gateways of this family keep."""
    word = state(task)
    done = word == "completed"
    return {
        # Their rows have numbers; a program that reads them with 53 bits gets this one whole.
        "id": uuid.UUID(task.id).int % 2**53,
        "created_at": moment(task.created_at, "microseconds"),
        "updated_at": moment(task.updated_at, "microseconds"),
        "task_id": task.id,
        "platform": "luma",
        "action": ACTIONS.get(task.operation.kind, "LUMA_VIDEO"),
        "status": ROW_STATUS[word],
        "progress": f"{100 if done else round(task.progress * 100)}%",
        "fail_reason": failure(task),
        "submit_time": int(task.created_at),
        "start_time": int(task.started_at or 0),
        "finish_time": int(task.finished_at or 0),
        "data": render(task),
    }


def render_error(error: GenwayError, asking: Asking) -> Answer:
    """The object whose `error.message` the clients show."""
    told = {"message": str(error), "type": error.type, "code": error.code, "param": error.field}
    return Answer({"error": told, "request_id": asking.request_id}, error.status)
