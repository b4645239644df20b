"""What Kling's request bodies share, and how their values become ours."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from genway.access.model import Asked, Caller
from genway.dialects.base import Answer, submit
from genway.dialects.body import Body, shown
from genway.dialects.kling.envelope import LateAnswer, Moderated, TooManyTasks, WorkFailed, duration, made, ok, task_data
from genway.dialects.numbers import by_number
from genway.dialects.rendering import failure
from genway.errors import InvalidRequest, RateLimited, TaskNotFound
from genway.gateway import Gateway
from genway.operations import AnyOperation, Camera, ElementRequest, KeptRequest, MediaRef, Parent, VoiceRequest
from genway.tasks.model import File, State, Task

FORMAT = "kling"
V1 = "/kling/v1"
PRESET_STRENGTH = 5.0
# What is taken for the length, and so for the price, of a clip or a sound elsewhere: nothing is fetched to find out.
UNTOLD_SECONDS = 10.0
AT_ONCE_SECONDS = 60.0
VOICES = ("voice_id", "element_voice_id")

Prompt = Annotated[str, Meta(max_length=2500)]
Guidance = Annotated[float, Meta(ge=0, le=1)]
Mode = Literal["std", "pro"]
Ratio = Literal["16:9", "9:16", "1:1"]
ExternalId = Annotated[str, Meta(max_length=256)]
Motion = Annotated[float, Meta(ge=-10, le=10)]

AXES = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
PRESETS = {
    "down_back": Camera(vertical=-PRESET_STRENGTH, zoom=-PRESET_STRENGTH),
    "forward_up": Camera(zoom=PRESET_STRENGTH, tilt=PRESET_STRENGTH),
    "right_turn_forward": Camera(pan=PRESET_STRENGTH, zoom=PRESET_STRENGTH),
    "left_turn_forward": Camera(pan=-PRESET_STRENGTH, zoom=PRESET_STRENGTH),
}
RESULT = re.compile(r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:-(\d{1,3}))?")


class Watermark(msgspec.Struct):
    """enabled: ask the vendor for a watermarked copy too."""

    enabled: bool = False


class Shared(Body, kw_only=True):
    """The fields of every task. external_task_id: the caller's own id, once in an account."""

    callback_url: str | None = None
    external_task_id: ExternalId = ""
    watermark_info: Watermark | None = None


class Modelled(Shared, kw_only=True):
    """`model` is the older name of `model_name`."""

    model_name: str = ""
    model: str = ""


class Motions(msgspec.Struct):
    """One motion, −10…10. zoom: of the focal length, so that a negative one comes nearer."""

    horizontal: Motion = 0
    vertical: Motion = 0
    pan: Motion = 0
    tilt: Motion = 0
    roll: Motion = 0
    zoom: Motion = 0


class CameraControl(msgspec.Struct):
    """A preset, or `simple` with one motion of its own."""

    type: Literal["simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward"] | None = None
    config: Motions | None = None

    def camera(self) -> Camera:
        """The motion. Raises InvalidRequest where `simple` has not exactly one."""
        asked = {axis: value for axis in AXES if (value := getattr(self.config, axis, 0))}
        if self.type is None:
            return Camera()
        if self.type != "simple":
            if asked:
                raise InvalidRequest(f"only for simple, and the type is {self.type}", field="camera_control.config")
            return PRESETS[self.type]
        if len(asked) != 1:
            raise InvalidRequest(f"exactly one motion that is not 0, got {len(asked)}", field="camera_control.config")
        if "zoom" in asked:
            asked["zoom"] = -asked["zoom"]
        return Camera(**asked)


class Source(Shared, kw_only=True):
    """A clip: one that was made here, by its id, or one at an address."""

    video_id: str = ""
    video_url: str = ""


async def picture(gateway: Gateway, caller: Caller, value: str, field: str) -> MediaRef | None:
    """An address or base64, or None for an empty text. Raises AddressRefused or MediaRefused."""
    return await gateway.accept_media(caller, value, field=field, kinds=("image",)) if value else None


async def needed_picture(gateway: Gateway, caller: Caller, value: str, field: str) -> MediaRef:
    return await gateway.accept_media(caller, value, field=field, kinds=("image",))


async def result(gateway: Gateway, caller: Caller, value: str, role: str, field: str) -> tuple[Task, int, File]:
    """An earlier result by its id, or by its task's: the task, its place among the results, and the file itself.

    Raises InvalidRequest for an id that is unknown, or has no such result (yet).
    """
    found = RESULT.fullmatch(value.strip())
    try:
        task = await gateway.get(caller, found[1] if found else value)
    except TaskNotFound:
        raise InvalidRequest(f"the id of a {role} that was made here, got {shown(value)}", field=field) from None
    if task.state is not State.SUCCEEDED:
        raise InvalidRequest(f"task {task.id} has no result to go on from: it is {task.state}", field=field)
    results = [(index, file) for index, file in enumerate(made(task)) if file.role == role]
    wanted = int(found[2]) if found and found[2] else None
    chosen = next(((index, file) for index, file in results if wanted in (None, index)), None)
    if chosen is None:
        raise InvalidRequest(f"task {task.id} has no such {role}", field=field)
    return task, *chosen


class Clip(msgspec.Struct, frozen=True):
    """The clip that a request works on. seconds: how long it is. told: for `task_info.parent_video`."""

    parent: Parent | None = None
    video: MediaRef | None = None
    seconds: float = UNTOLD_SECONDS
    told: dict[str, str] = {}


async def clip(gateway: Gateway, caller: Caller, video_id: str, video_url: str, prefix: str = "") -> Clip:
    """The clip that is named by its id or its address, one of the two. Raises InvalidRequest and what media may raise."""
    if bool(video_id) == bool(video_url):
        raise InvalidRequest("exactly one of `video_id` and `video_url`", field=f"{prefix}video_id")
    if video_url:
        video = await gateway.accept_media(caller, video_url, field=f"{prefix}video_url", kinds=("video",))
        return Clip(video=video, told={"id": "", "url": video.url or "", "duration": ""})
    task, index, file = await result(gateway, caller, video_id, "video", f"{prefix}video_id")
    told = {"id": video_id, "url": file.url, "duration": duration(file)}
    return Clip(Parent(task.id, index), seconds=file.seconds or UNTOLD_SECONDS, told=told)


async def sound(gateway: Gateway, caller: Caller, audio_id: str, sound_file: str, prefix: str = "") -> tuple[MediaRef, float]:
    """A sound by the id of an earlier one, or as an address or base64: exactly one of the two; and how long it is."""
    if bool(audio_id) == bool(sound_file):
        raise InvalidRequest("exactly one of `audio_id` and `sound_file`", field=f"{prefix}audio_id")
    if sound_file:
        return await gateway.accept_media(caller, sound_file, field=f"{prefix}sound_file", kinds=("audio",)), UNTOLD_SECONDS
    _, _, file = await result(gateway, caller, audio_id, "audio", f"{prefix}audio_id")
    return MediaRef(media_id=file.media_id), file.seconds or UNTOLD_SECONDS


def kept(body: Body, *names: str) -> dict[str, Any]:
    """The fields that only Kling knows, for a provider of this format."""
    own = {name: msgspec.to_builtins(value) for name in names if (value := getattr(body, name))}
    if getattr(body, "watermark_info", None):
        own["watermark_info"] = msgspec.to_builtins(body.watermark_info)  # type: ignore[attr-defined]
    return {**body.extra, **own}


async def begin(
    endpoint: str,
    operation: AnyOperation,
    body: Shared,
    gateway: Gateway,
    asked: Asked,
    parent_video: dict[str, str] | None = None,
) -> Task:
    """Submit what an endpoint asks for. Raises InvalidRequest where `external_task_id` is taken, and what submits raise."""
    # A callback is written where there is no gateway at hand.
    told: dict[str, Any] = {"points_per_unit": gateway.points_per_unit}
    if body.external_task_id:
        told["external_task_id"] = body.external_task_id
        # The same request again, by its Idempotency-Key, is answered with the same task.
        if not asked.idempotency_key and await by_external_id(gateway, asked.caller, body.external_task_id):
            raise InvalidRequest("was used for an earlier task of this account", field="external_task_id")
    if parent_video:
        told["parent_video"] = parent_video
    if body.watermark_info:
        told["watermark"] = body.watermark_info.enabled
    if uses := await named_here(gateway, asked.caller, body):
        operation = msgspec.structs.replace(operation, uses=operation.uses + uses)
    try:
        return await submit(
            gateway,
            asked,
            operation=operation,
            dialect=f"{FORMAT}.{endpoint}",
            context=told,
            callback_url=body.callback_url,
        )
    except RateLimited as error:
        raise TooManyTasks(error.message, retry_after=error.retry_after) from None


async def begun(
    endpoint: str,
    operation: AnyOperation,
    body: Shared,
    gateway: Gateway,
    asked: Asked,
    parent_video: dict[str, str] | None = None,
) -> Answer:
    """The answer to a task that was begun; see `begin`."""
    task = await begin(endpoint, operation, body, gateway, asked, parent_video)
    return ok(task_data(task), asked.request_id, task)


async def done(
    endpoint: str,
    operation: AnyOperation,
    body: Shared,
    gateway: Gateway,
    asked: Asked,
    parent_video: dict[str, str] | None = None,
) -> Task:
    """The task of what is answered within the request. Raises LateAnswer, what a failure stands for, what `begin` raises."""
    task = await begin(endpoint, operation, body, gateway, asked, parent_video)
    if not task.state.ended:
        task = await gateway.wait(asked.caller, task.id, AT_ONCE_SECONDS)
    if not task.state.ended:
        task = await gateway.cancel(asked.caller, task.id)
    if task.state is State.SUCCEEDED:
        return task
    if task.state is State.CANCELLED:
        raise LateAnswer(f"not done within {AT_ONCE_SECONDS:g} s; it is cancelled and nothing is charged", retry_after=5)
    if task.error_code == "moderation":
        raise Moderated(failure(task))
    if task.error_code in {"invalid_request", "media_refused", "address_refused", "media_unreachable"}:
        raise InvalidRequest(failure(task))
    raise WorkFailed(failure(task))


async def named_here(gateway: Gateway, caller: Caller, body: Shared) -> tuple[Parent, ...]:
    """The voices and elements of the account that a body names. Whatever else it names is for the vendor to know."""
    names: dict[str, type[KeptRequest]] = {}
    for holder in (body, getattr(body, "input", None)):
        names |= {str(getattr(holder, field)): VoiceRequest for field in VOICES if getattr(holder, field, "")}
    names |= {item.voice_id: VoiceRequest for item in getattr(body, "voice_list", [])}
    names |= {str(item.element_id): ElementRequest for item in getattr(body, "element_list", [])}
    found = []
    for name, kind in names.items():
        task = await by_number(gateway, caller, name)
        if task is not None and isinstance(task.operation, kind):
            found.append(Parent(task.id, name=name))
    return tuple(found)


async def by_external_id(gateway: Gateway, caller: Caller, external_id: str) -> Task | None:
    found = await gateway.list(caller, context={"external_task_id": external_id}, limit=1)
    return found[0] if found else None
