"""Looking into a picture or a clip: image-recognize, identify-face, and the marking of what multi-elements is to change.

A session belongs to the task that began it, and goes by that task's id.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from genway.access.model import Asked, Caller
from genway.dialects.base import Answer, Router
from genway.dialects.body import Body, shown
from genway.dialects.kling import models
from genway.dialects.kling.envelope import ok, task_units
from genway.dialects.kling.fields import (
    FORMAT,
    UNTOLD_SECONDS,
    V1,
    Clip,
    Mode,
    Modelled,
    Prompt,
    Shared,
    Source,
    begun,
    clip,
    done,
    kept,
    needed_picture,
)
from genway.dialects.kling.videos import Reference
from genway.dialects.rendering import local_header
from genway.errors import InvalidRequest, TaskNotFound
from genway.gateway import Gateway
from genway.operations import (
    ClipOperation,
    DirectCall,
    FacesRequest,
    KeptRequest,
    Parent,
    RecogniseRequest,
    RestyleRequest,
    SelectionRequest,
)
from genway.tasks.model import State, Task

CALL = "kling/selection"
ELEMENTS = f"{V1}/videos/multi-elements"
PICTURES_TO = {"addition": (1, 2), "swap": (1, 1), "removal": (0, 0)}
MOST_POINTS = 10

route = Router()

Part = Annotated[float, Meta(ge=0, le=1)]


class Picture(Shared, kw_only=True):
    """A picture to look into."""

    image: str


class Point(msgspec.Struct):
    """A place in a frame, as parts of its width and height, from the top left."""

    x: Part
    y: Part


class Session(Body, kw_only=True):
    """session_id: of init-selection."""

    session_id: str


class Marks(Session, kw_only=True):
    """Places in one frame of the clip."""

    frame_index: Annotated[int, Meta(ge=0)]
    points: Annotated[list[Point], Meta(min_length=1, max_length=MOST_POINTS)]


class MultiElements(Modelled, kw_only=True):
    """Something put into a clip, exchanged or taken out. session_id: of init-selection."""

    session_id: str
    edit_mode: Literal["addition", "swap", "removal"]
    image_list: Annotated[list[Reference], Meta(max_length=2)] = []
    prompt: Prompt
    negative_prompt: Prompt = ""
    mode: Mode | None = None
    duration: Literal[5, 10] = 5


@route.submit(f"{V1}/videos/image-recognize")
async def image_recognize(body: Picture, gateway: Gateway, asked: Asked) -> Answer:
    """Tell what is in a picture, with a mask of each."""
    operation = RecogniseRequest(
        model=models.RECOGNISE,
        format=FORMAT,
        extra=kept(body),
        picture=await needed_picture(gateway, asked.caller, body.image, "image"),
    )
    task = await done("videos/image-recognize", operation, body, gateway, asked)
    images = _filed(task, "seen", "url")
    return ok({"final_unit_deduction": task_units(task), "task_result": {"images": images}}, asked.request_id, task)


@route.submit(f"{V1}/videos/identify-face")
async def identify_face(body: Source, gateway: Gateway, asked: Asked) -> Answer:
    """Find the faces in a clip, one of which is then chosen for a lip sync."""
    chosen = await clip(gateway, asked.caller, body.video_id, body.video_url)
    operation = FacesRequest(
        model=models.FACES,
        format=FORMAT,
        extra=kept(body),
        video=chosen.video,
        parent=chosen.parent,
        seconds=chosen.seconds,
    )
    task = await done("videos/identify-face", operation, body, gateway, asked, chosen.told)
    faces = _filed(task, "faces", "face_image")
    told = {"session_id": task.id, "final_unit_deduction": task_units(task), "face_data": faces}
    return ok(told, asked.request_id, task)


@route.submit(f"{ELEMENTS}/init-selection")
async def init_selection(body: Source, gateway: Gateway, asked: Asked) -> Answer:
    """Open a clip for marking what is to be changed in it."""
    chosen = await clip(gateway, asked.caller, body.video_id, body.video_url)
    operation = SelectionRequest(
        model=models.SELECTION,
        format=FORMAT,
        extra=kept(body),
        video=chosen.video,
        parent=chosen.parent,
        seconds=chosen.seconds,
    )
    task = await done("videos/multi-elements/init-selection", operation, body, gateway, asked, chosen.told)
    normal = task.file("video")
    told = {
        "status": 0,
        "session_id": task.id,
        "final_unit_deduction": task_units(task),
        **msgspec.json.decode(task.details.get("clip", "{}")),
        "normalized_video": normal.url if normal else chosen.told["url"],
    }
    return ok(told, asked.request_id, task)


@route.post(f"{ELEMENTS}/add-selection")
async def add_selection(body: Marks, gateway: Gateway, asked: Asked) -> Answer:
    """Mark something in a frame."""
    return await _step("add", body, gateway, asked)


@route.post(f"{ELEMENTS}/delete-selection")
async def delete_selection(body: Marks, gateway: Gateway, asked: Asked) -> Answer:
    """Take marks back."""
    return await _step("delete", body, gateway, asked)


@route.post(f"{ELEMENTS}/clear-selection")
async def clear_selection(body: Session, gateway: Gateway, asked: Asked) -> Answer:
    """Take all marks back."""
    return await _step("clear", body, gateway, asked)


@route.post(f"{ELEMENTS}/preview-selection")
async def preview_selection(body: Session, gateway: Gateway, asked: Asked) -> Answer:
    """Show what is marked, through the whole clip. The links are the vendor's own and end when it says."""
    return await _step("preview", body, gateway, asked)


@route.submit(ELEMENTS)
async def multi_elements(body: MultiElements, gateway: Gateway, asked: Asked) -> Answer:
    """Put something into a clip, exchange it or take it out."""
    least, most = PICTURES_TO[body.edit_mode]
    if not least <= len(body.image_list) <= most:
        wanted = str(most) if least == most else f"{least} or {most}"
        raise InvalidRequest(f"{body.edit_mode} takes {wanted} pictures, got {len(body.image_list)}", field="image_list")
    session = await session_of(gateway, asked.caller, body.session_id, SelectionRequest)
    chosen = session_clip(session)
    references = [
        await needed_picture(gateway, asked.caller, item.image, f"image_list[{index}].image")
        for index, item in enumerate(body.image_list)
    ]
    operation = RestyleRequest(
        model=models.named(models.MULTI_ELEMENTS, body.model_name, body.model),
        format=FORMAT,
        extra=kept(body, "edit_mode", "mode"),
        uses=(Parent(session.id),),
        video=chosen.video,
        parent=chosen.parent,
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        references=tuple(references),
        seconds=body.duration,
    )
    return await begun("videos/multi-elements", operation, body, gateway, asked, chosen.told)


async def session_of(gateway: Gateway, caller: Caller, session_id: str, kind: type[KeptRequest]) -> Task:
    """The caller's task that began a session of a kind. Raises InvalidRequest."""
    try:
        task = await gateway.get(caller, session_id.strip())
    except TaskNotFound:
        task = None
    if task is None or task.state is not State.SUCCEEDED or not isinstance(task.operation, kind):
        raise InvalidRequest(f"the session_id of an earlier answer, got {shown(session_id)}", field="session_id")
    return task


def session_clip(session: Task) -> Clip:
    """The clip that a session is about."""
    operation = session.operation
    assert isinstance(operation, ClipOperation)
    seconds: float = getattr(operation, "seconds", UNTOLD_SECONDS)
    return Clip(operation.parent, operation.video, seconds, dict(session.context.get("parent_video", {})))


async def _step(step: str, body: Session, gateway: Gateway, asked: Asked) -> Answer:
    session = await session_of(gateway, asked.caller, body.session_id, SelectionRequest)
    told: dict[str, Any] = msgspec.to_builtins(body)
    given = {name: value for name, value in told.items() if name not in {"session_id", "extra"}}
    clip_url = session.context.get("parent_video", {}).get("url", "")
    call = DirectCall(
        model=models.SELECTION,
        format=FORMAT,
        uses=(Parent(session.id),),
        call=CALL,
        arguments={"step": step, "body": {**body.extra, **given}, "clip": clip_url},
    )
    answer = await gateway.ask(asked, call)
    data = {"status": 0, **answer.data, "session_id": session.id}
    return ok(data, asked.request_id, headers=local_header(answer.local))


def _filed(task: Task, name: str, field: str) -> list[dict[str, Any]]:
    """Rows that the task's details hold, with links to the files whose places stand in them."""
    rows: list[dict[str, Any]] = msgspec.json.decode(task.details.get(name, "[]"))
    pictures = [file.url for file in task.files if file.role == "image"]
    return [{**row, field: "" if row.get(field) is None else pictures[row[field]]} for row in rows]
