"""Kling's envelope, its error codes, and how it tells of a task."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from typing import Any

from genway.billing import money
from genway.dialects.base import Answer, Asking, Format
from genway.dialects.genway import as_json
from genway.dialects.kling.auth import TokenRefused
from genway.dialects.numbers import number
from genway.dialects.rendering import failure, link, provider_header
from genway.errors import (
    Forbidden,
    GenwayError,
    InsufficientBalance,
    InvalidRequest,
    NoChannel,
    NotFound,
    RateLimited,
    TaskNotFound,
    Unauthenticated,
    Unavailable,
)
from genway.gateway import Gateway, Quote
from genway.operations import ElementRequest, SoundRequest, VoiceRequest
from genway.tasks.model import File, State, Task

SUCCESS = "SUCCEED"
MADE = frozenset({"video", "image", "audio"})

STATUS = {
    State.QUEUED: "submitted",
    State.SUBMITTING: "submitted",
    State.RUNNING: "processing",
    State.STORING: "processing",
    State.PARKED: "processing",
    State.SUCCEEDED: "succeed",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
    State.EXPIRED: "failed",
}


class UnknownModel(NotFound):
    """There is no such model at this endpoint."""


class TooManyTasks(RateLimited):
    """The key has as many tasks as it may have at once."""


class Moderated(InvalidRequest):
    """The vendor's rules forbid it."""


class WorkFailed(GenwayError):
    """What is answered within the request failed; nothing is charged for it."""

    code = "work_failed"
    status = 500


class LateAnswer(Unavailable):
    """What is answered within the request was not done in time."""


class Changes(Format, frozen=True):
    """Told of at every change of Kling's own status, which has fewer steps than ours."""

    def tells(self, state: State) -> bool:
        return state.ended or state is State.RUNNING


def ok(data: Any, request_id: str, task: Task | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """A good answer. headers: those that the task's own do not tell of."""
    content = {"code": 0, "message": SUCCESS, "request_id": request_id, "data": data}
    return Answer(content, headers=headers or provider_header(task))


def task_data(task: Task) -> dict[str, Any]:
    """A task as queries, lists and callbacks tell of it. `warnings` is ours, and only there where there are any."""
    succeeded = task.state is State.SUCCEEDED
    data: dict[str, Any] = {
        "task_id": task.id,
        "task_status": STATUS[task.state],
        "task_status_msg": failure(task),
        "task_info": _info(task),
        "task_result": _results(task) if succeeded else {},
        "created_at": milliseconds(task.created_at),
        "updated_at": milliseconds(task.updated_at),
    }
    if "watermark" in task.context:
        data["watermark_info"] = {"enabled": task.context["watermark"]}
    if succeeded:
        data["final_unit_deduction"] = task_units(task)
        data["final_balance_deduction"] = {"quota": money.show(task.charged), "list_price": money.show(task.held)}
    if task.warnings:
        data["warnings"] = list(task.warnings)
    return data


def made(task: Task) -> list[File]:
    """The results that can be gone on from, in the order in which the door counts them."""
    return [file for file in task.files if file.role in MADE]


def result_id(task: Task, index: int) -> str:
    """What a result is called: its task's id and its place in `made`."""
    return f"{task.id}-{index}"


def duration(file: File) -> str:
    """Seconds as a text, without zeros that say nothing."""
    return f"{file.seconds or 0:.3f}".rstrip("0").rstrip(".")


def render_error(error: GenwayError, asking: Asking) -> Answer:
    """The envelope without `data`, and the `error` object that clients of gateways read."""
    status, code = _codes(error, asking)
    content = {
        "code": code,
        "message": str(error),
        "request_id": asking.request_id,
        "error": {"message": str(error), "type": error.type, "code": error.code, "param": error.field},
    }
    return Answer(content, status)


def render_quote(quote: Quote, asking: Asking) -> Answer:
    """The answer to a dry run: nothing was made and nothing is owed."""
    gateway: Gateway | None = asking.request.app.state.gateway if asking.request else None
    units = {"final_unit_deduction": str(gateway.points(quote.total))} if gateway else {}
    return ok({"dry_run": True, **units, **as_json(quote)}, asking.request_id)


def _codes(error: GenwayError, asking: Asking) -> tuple[int, int]:
    """HTTP status and service code, by Kling's table."""
    match error:
        case TokenRefused(kling_code=code):
            return 401, code
        case Unauthenticated():
            return 401, 1002 if asking.header("authorization") else 1001
        case InsufficientBalance():
            return 429, 1102
        case Forbidden():
            return 403, 1103
        case UnknownModel() | NoChannel() | TaskNotFound():
            return 404, 1203
        case NotFound():
            return 404, 1202
        case TooManyTasks():
            return 429, 1303
        case RateLimited():
            return 429, 1302
        case LateAnswer():
            return 504, 5002
        case Unavailable():
            return 503, 5001
        case InvalidRequest(status=405):
            return 404, 1202
        case Moderated():
            return 400, 1301
        case _ if error.status < 500:
            return 400, 1201 if error.field else 1200
    return 500, 5000


def task_units(task: Task) -> str:
    """The points charged, rounded up, at the rate of the time when the task was made."""
    return str(ceil(Fraction(task.charged * int(task.context["points_per_unit"]), money.MICRO)))


def _info(task: Task) -> dict[str, Any]:
    return {name: task.context[name] for name in ("parent_video", "external_task_id") if name in task.context}


def _results(task: Task) -> dict[str, Any]:
    numbered = list(enumerate(made(task)))
    videos = [
        {"id": result_id(task, index), "url": file.url, "duration": duration(file)}
        for index, file in numbered
        if file.role == "video"
    ]
    pictures = [file for _, file in numbered if file.role == "image"]
    images = [{"index": number, "url": file.url} for number, file in enumerate(pictures)]
    sounds = [(index, file) for index, file in numbered if file.role == "audio"]
    audios = [_recording(task, sounds)] if sounds and isinstance(task.operation, SoundRequest) else _speeches(task, sounds)
    if isinstance(task.operation, VoiceRequest):
        return {"voices": [_voice(task, task.operation)]}
    if isinstance(task.operation, ElementRequest):
        return {"elements": [_element(task, task.operation)]}
    found: dict[str, Any] = {"videos": videos, "images": images, "audios": audios}
    return {name: items for name, items in found.items() if items}


def _voice(task: Task, operation: VoiceRequest) -> dict[str, Any]:
    name = str(number(task))
    return {"voice_id": name, "voice_name": operation.name, "trial_url": link(task, "audio"), "owned_by": task.account_id}


def _element(task: Task, operation: ElementRequest) -> dict[str, Any]:
    return {
        "element_id": number(task),
        "element_name": operation.name,
        "element_description": operation.description,
        "reference_type": "image_refer" if operation.pictures else "video_refer",
        "tag_list": operation.extra.get("tag_list", []),
        "owned_by": task.account_id,
        "status": "succeed",
    }


def _recording(task: Task, sounds: list[tuple[int, File]]) -> dict[str, Any]:
    """One sound in each of the encodings that there are."""
    name = result_id(task, sounds[0][0])
    recording: dict[str, Any] = {"id": name, "audio_id": name}
    for _, file in sounds:
        recording[f"url_{file.extension}"] = file.url
        recording[f"duration_{file.extension}"] = duration(file)
    return recording


def _speeches(task: Task, sounds: list[tuple[int, File]]) -> list[dict[str, Any]]:
    return [{"id": result_id(task, index), "url": file.url, "duration": duration(file)} for index, file in sounds]


def milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
