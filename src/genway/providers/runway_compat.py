"""Another gateway in the page's dialect as upstream: `/runway/pro/*` and `/runway/feed`.

The dialect has no seed, so a seed is left out as a hint; what it cannot say and would change the result is
refused. Options of the channel:

- `callback_url`: sent with every submit, for gateways that refuse one without it. Nothing has to listen there.
- `inline_bytes`: our own files up to this size are sent as data URIs, for gateways that take them; else they
  are sent as links on our public address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

from genway.operations import AnyOperation, Camera, MediaRef, Operation, PerformanceRequest, RestyleRequest, VideoRequest
from genway.providers.base import (
    Failed,
    Finished,
    ProviderError,
    ResultFile,
    Role,
    Running,
    Submission,
    Submitted,
    VendorDown,
    VendorLost,
    VendorRefused,
)
from genway.providers.extra import with_extra
from genway.providers.http import CREDIT, MODERATION, Answer, HttpProvider, at
from genway.providers.ratios import nearest_ratio

FORMAT = "runway.pro"
# The price is made from these, so a client's unknown fields do not replace them.
PRICED = ("model", "options.seconds")
SECONDS = (5, 10)
ALL_RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9")
# The page's caution: gen3 makes these two only.
GEN3_RATIOS = ("16:9", "9:16")

VIDEO_MODELS = {"runway/gen2": "gen2", "runway/gen3": "gen3", "runway/gen4": "gen4", "runway/gen4_turbo": "gen4_turbo"}
NO_RESTYLE = ("gen2", "gen4_turbo")
ACT_ONE = "act_one"

MOTION_VECTOR = {
    "x": "horizontal",
    "y": "vertical",
    "z": "zoom",
    "r": "roll",
    "bg_x_pan": "background_pan_x",
    "bg_y_pan": "background_pan_y",
}

UNKNOWN_TASK = re.compile(r"task\w* ?(id )?(is |does |do )?not[_ ](exist|found)|no such task|任务不存在", re.IGNORECASE)
# Codes by which a gateway of this family says that it has handed nothing on, with whatever status.
NOT_STARTED = frozenset({"callback_url_empty", "invalid_request", "no_channel", "unavailable", "model_not_found"})
SUCCESS = frozenset({"200", "0", "success"})

STATES: Mapping[str, str] = {
    **dict.fromkeys(("0", "NOT_START", "SUBMITTED", "QUEUED", "PENDING", "THROTTLED"), "queued"),
    **dict.fromkeys(("1", "IN_PROGRESS", "RUNNING", "PROCESSING"), "running"),
    **dict.fromkeys(("2", "FAILURE", "FAILED"), "failed"),
    **dict.fromkeys(("3", "SUCCESS", "SUCCEEDED"), "succeeded"),
}


class RunwayCompat(HttpProvider):
    """A gateway in the page's dialect: genway itself, or one of its relatives. base_url: without `/runway`."""

    name = "runway_compat"
    feed: ClassVar[str] = "/runway/feed"
    operations: ClassVar[tuple[type[Operation], ...]] = (VideoRequest, RestyleRequest, PerformanceRequest)
    models: Mapping[str, str] = {**VIDEO_MODELS, "runway/act_one": ACT_ONE}

    def refusal(self, operation: AnyOperation) -> str | None:
        reason = super().refusal(operation)
        if reason is not None:
            return reason
        model = self.models[operation.model]
        match operation:
            case PerformanceRequest():
                return _act_one_refusal(operation, model)
            case VideoRequest() | RestyleRequest() if model == ACT_ONE:
                return "act_one transfers performances and does nothing else"
            case VideoRequest():
                return _video_refusal(operation, model)
            case RestyleRequest():
                return _restyle_refusal(operation, model)
        return None

    async def submit(self, submission: Submission) -> Submitted:
        operation = submission.operation
        if (reason := self.refusal(operation)) is not None:
            raise VendorRefused(reason)
        inline = self.inline_bytes()

        async def address(ref: MediaRef) -> str:
            return await submission.files.address(ref, inline_bytes=inline)

        match operation:
            case VideoRequest():
                path, body = "generate", _video(operation, submission.model)
                first, last = operation.first_frame, operation.last_frame
                if first and last:
                    # Gateways differ in where they look for the last picture.
                    body["last_image"] = body["options"]["last_image"] = await address(last)
                if picture := first or last:
                    body["image"] = await address(picture)
            case RestyleRequest():
                path, body = "video2video", _restyle(operation, submission.model)
                body["video"] = await address(operation.source)
            case PerformanceRequest():
                path, body = "act_one", _act_one(operation)
                body["video"], body["image"] = await address(operation.performance), await address(operation.character)
            case _:
                raise VendorRefused(f"{self.name} does not do {operation.kind}")
        if operation.format == FORMAT:
            body = with_extra(body, operation.extra, keep=PRICED)
        return await self.hand_in(f"/runway/pro/{path}", body)

    async def hand_in(self, path: str, body: dict[str, Any]) -> Submitted:
        """Start what the body asks for. Raises ProviderError."""
        if callback := self.channel.options.get("callback_url"):
            body["callback_url"] = callback
        answer = self._opened(await self.call("POST", path, body, submitting=True), submitting=True)
        # A row of new-api may hold the bare id.
        vendor_id = answer if isinstance(answer, str) else at(answer, "task_id")
        if not isinstance(vendor_id, str) or not vendor_id:
            raise self.unclear(f"{self.name} took the request and named no task", submitting=True)
        return Submitted(vendor_id)

    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        row = self._opened(await self.call("POST", self.feed, {"task_id": vendor_id}), submitting=False)
        state = STATES.get(str(at(row, "status")).upper()) or STATES.get(str(at(row, "state")).upper())
        match state:
            case "queued":
                return Running()
            case "running":
                return Running(_progress(at(row, "progress")))
            case "failed":
                words = str(at(row, "msg") or at(row, "fail_reason") or "the vendor gave no reason")
                code = "moderation" if MODERATION.search(words) else "vendor_error"
                return Failed(code, self.clean(words))
            case "succeeded":
                return self._finished(row)
        raise self.unclear(f"{self.name} answered a status that is not known: {at(row, 'status')!r}", submitting=False)

    async def test(self) -> str:
        """The dialect has no free call, but a question for a task that cannot exist is answered only to a good key."""
        with suppress(VendorLost, VendorRefused):
            await self.check("genway-channel-test")
        return "the key is good; this dialect does not tell a balance"

    def verdict(self, answer: Answer, submitting: bool) -> type[ProviderError]:
        if not submitting and UNKNOWN_TASK.search(f"{answer.code} {answer.message}"):
            return VendorLost
        if answer.status == 404:
            # Every other 404 means that there is no such gateway at the address.
            return VendorDown
        if answer.status >= 500 and answer.code in NOT_STARTED:
            return VendorDown
        return super().verdict(answer, submitting)

    def inline_bytes(self) -> int:
        option = self.channel.options.get("inline_bytes", "0")
        if not option.isdecimal():
            raise VendorDown(f"the channel's option inline_bytes: a number of bytes, got {option}")
        return int(option)

    def _opened(self, answer: Any, submitting: bool) -> Any:
        """What is in the envelope. Raises the error that the envelope tells of under HTTP 200."""
        code = at(answer, "code")
        if code is None:
            if at(answer, "error") is None and at(answer, "task_id") is not None:
                return answer
            raise self.unclear(f"{self.name} answered without a code", submitting)
        if str(code) in SUCCESS:
            return at(answer, "data")
        message = str(at(answer, "msg") or at(answer, "message") or code)
        status = int(code) if str(code).isdecimal() and 400 <= int(code) < 600 else self._status_of(str(code), message)
        raise self.error(Answer(status, code=self.clean(str(code)), message=self.clean(message)), submitting)

    @staticmethod
    def _status_of(code: str, message: str) -> int:
        refused = code in NOT_STARTED or CREDIT.search(message) or MODERATION.search(message)
        return 400 if refused else 500

    def _finished(self, row: Any) -> Finished:
        feed = at(row, "data") if isinstance(at(row, "data"), Mapping) else row
        # new-api keeps the address of a success in the field for the reason of a failure.
        video = next(
            (
                url
                for url in (at(feed, "video_url"), at(feed, "output", 0), at(feed, "data", "video_url"), at(row, "fail_reason"))
                if isinstance(url, str) and url.startswith(("http://", "https://"))
            ),
            None,
        )
        if video is None:
            raise self.unclear(f"{self.name} says that it succeeded and gives no video", submitting=False)
        files = [ResultFile("video", url=video)]
        roles: tuple[Role, ...] = ("poster", "last_frame")
        files += [ResultFile(role, url=url) for role in roles if isinstance(url := at(feed, role), str) and url]
        prompt = at(feed, "prompt_en")
        return Finished(tuple(files), {"prompt_en": self.clean(prompt)} if isinstance(prompt, str) and prompt else {})


def _video_refusal(operation: VideoRequest, model: str) -> str | None:
    ratios = _ratios(operation)
    if nearest_ratio(operation.size, ratios) is None:
        return f"{model} has no ratio that lies like {operation.size}; it has {', '.join(ratios)}"
    if operation.seconds not in SECONDS:
        return f"{model} makes 5 or 10 seconds, got {operation.seconds:g}"
    if operation.negative_prompt:
        return "this dialect takes no negative prompt"
    if operation.references:
        return "this dialect takes no reference pictures beside the first and the last frame"
    if operation.audio:
        return "this dialect cannot be asked for sound"
    return _camera_refusal(operation.camera)


def _ratios(operation: VideoRequest) -> tuple[str, ...]:
    return GEN3_RATIOS if operation.model == "runway/gen3" else ALL_RATIOS


def _camera_refusal(camera: Camera) -> str | None:
    """A motion vector has no pan and tilt: they take the place of a move sideways or upwards that is not asked for."""
    for turn, move in (("pan", "horizontal"), ("tilt", "vertical")):
        if getattr(camera, turn) and getattr(camera, move):
            return f"this dialect has one number for camera {turn} and {move} motion, and both are asked for"
    return None


def _restyle_refusal(operation: RestyleRequest, model: str) -> str | None:
    if model in NO_RESTYLE:
        return f"{model} does not restyle a video; gen3 and gen4 do"
    if operation.seconds not in SECONDS:
        return f"{model} takes 5 or 10 seconds of a video, got {operation.seconds:g}"
    if operation.references:
        return "this dialect takes no reference pictures for a video"
    return None


def _act_one_refusal(operation: PerformanceRequest, model: str) -> str | None:
    if model in VIDEO_MODELS.values():
        return f"{model} does not transfer a performance; act_one does"
    if operation.character_kind != "image":
        return "act_one takes a picture of the character, not a video"
    if operation.body_control is not None:
        return "act_one has no body control"
    if operation.intensity is not None and operation.intensity != int(operation.intensity):
        return f"act_one takes a whole number as intensity, got {operation.intensity:g}"
    return None


def _video(operation: VideoRequest, model: str) -> dict[str, Any]:
    camera = operation.camera
    motion = {member: getattr(camera, name) for member, name in MOTION_VECTOR.items()}
    motion["x"], motion["y"] = camera.horizontal or camera.pan, camera.vertical or camera.tilt
    body: dict[str, Any] = {
        "model": model,
        "prompt": operation.prompt,
        "ratio": nearest_ratio(operation.size, _ratios(operation)),
        "options": {
            "seconds": int(operation.seconds),
            "motion_vector": motion,
            "image_as_end_frame": bool(operation.last_frame and not operation.first_frame),
        },
    }
    return body | ({"style": operation.style} if operation.style else {})


def _restyle(operation: RestyleRequest, model: str) -> dict[str, Any]:
    options = {
        "structure_transformation": operation.strength,
        "flip": operation.size.portrait,
        "seconds": int(operation.seconds),
    }
    body: dict[str, Any] = {"model": model, "prompt": operation.prompt, "options": options}
    return body | ({"style": operation.style} if operation.style else {})


def _act_one(operation: PerformanceRequest) -> dict[str, Any]:
    options: dict[str, Any] = {"flip": operation.size.portrait}
    if operation.intensity is not None:
        options["motion_multiplier"] = int(operation.intensity)
    return {"options": options}


def _progress(words: Any) -> float | None:
    """`45%`, 45 or 0.45 as 0…1."""
    try:
        number = float(str(words).removesuffix("%"))
    except ValueError:
        return None
    return min(max(number / 100 if number > 1 or str(words).endswith("%") else number, 0.0), 1.0)
