"""Another gateway in the own format of Luma as upstream: `/luma/generations`.

The format has no camera, style or seed: motion and style are put into words, a seed is left out as a hint. What it cannot
say and would change the result is refused. Options of the channel:

- `prefix`: what stands before `/generations`, for gateways that sell a faster way at `/pro/luma` or `/vip/luma`.
- `inline_bytes`: our own pictures up to this size are sent inside the request, for gateways that take base64; else as links.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from genway.operations import AnyOperation, ExtendRequest, VideoRequest
from genway.providers import camera
from genway.providers._luma_models import LONGEST_PROMPT, MODELS, RATIOS, RESOLUTIONS
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

FORMAT = "luma"
PRICED = ("model_name", "duration", "resolution")
FILES: tuple[Role, ...] = ("poster", "last_frame")
UNKNOWN_TASK = re.compile(r"task\w* ?(id )?(is |does |do )?not[_ ](exist|found)|no (such )?task|任务不存在", re.IGNORECASE)
FIELDS = {"poster": "thumbnail", "last_frame": "last_frame"}


class LumaCompat(HttpProvider):
    """A gateway in the own format: genway itself, or one of its relatives. base_url: without `/luma`."""

    name = "luma_compat"
    operations = (VideoRequest, ExtendRequest)
    models: Mapping[str, str] = {"luma/ray-2": "ray-v2", "luma/ray-1-6": "ray-v1", "luma/ray-flash-2": "ray-flash-2"}

    def refusal(self, operation: AnyOperation) -> str | None:
        return super().refusal(operation) or _refusal(operation)

    async def submit(self, submission: Submission) -> Submitted:
        operation = submission.operation
        if (reason := self.refusal(operation)) is not None or not isinstance(operation, VideoRequest | ExtendRequest):
            raise VendorRefused(reason or f"{self.name} does not do {operation.kind}")
        path, body = "/generations", _body(operation)
        if isinstance(operation, VideoRequest):
            body |= _shape(operation, submission.model)
        else:
            path = f"{self._generation(operation.parent.vendor_id)}/extend"
        pictures = {"image_url": operation.first_frame, "image_end_url": operation.last_frame}
        for name, ref in pictures.items():
            if ref is not None:
                body[name] = await submission.files.address(ref, inline_bytes=self._inline_bytes())
        if operation.format == FORMAT:
            body = with_extra(body, operation.extra, keep=PRICED)
        answer = self._opened(await self.call("POST", self._prefix() + path, body, submitting=True), submitting=True)
        vendor_id = at(answer, "id") or at(answer, 0, "id")
        if not isinstance(vendor_id, str) or not vendor_id:
            raise self.unclear(f"{self.name} took the request and named no task", submitting=True)
        return Submitted(vendor_id)

    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        path = self._prefix() + self._generation(vendor_id)
        task = self._opened(await self.call("GET", path), submitting=False)
        match at(task, "state"):
            case "pending" | "queued" | "processing" | "dreaming":
                return Running()
            case "completed":
                return await self._finished(task, path)
            case "failed":
                words = str(at(task, "failure_reason") or at(task, "fail_reason") or "the vendor gave no reason")
                return Failed("moderation" if MODERATION.search(words) else "vendor_error", self.clean(words))
            case state:
                raise self.unclear(f"{self.name} answered a state that is not known: {state!r}", submitting=False)

    async def test(self) -> str:
        """The format has no free call, but a question for a task that cannot exist is answered only to a good key."""
        with suppress(VendorLost, VendorRefused):
            await self.check("genway-channel-test")
        return "the key is good; this dialect does not tell a balance"

    def verdict(self, answer: Answer, submitting: bool) -> type[ProviderError]:
        if UNKNOWN_TASK.search(f"{answer.code} {answer.message}"):
            # The task that was to be carried on.
            return VendorRefused if submitting else VendorLost
        # Every other 404 means that there is no such gateway at the address.
        return VendorDown if answer.status == 404 else super().verdict(answer, submitting)

    async def _finished(self, task: Any, path: str) -> Finished:
        """The result; the clean file where there is one, as `video.url` may carry a watermark."""
        clean = at(task, "video", "download_url") or at(task, "video_raw", "url")
        if not clean:
            with suppress(ProviderError):
                clean = at(await self.call("GET", f"{path}/download_video_url"), "url")
        video = clean or at(task, "video", "url")
        if not isinstance(video, str) or not video:
            raise self.unclear(f"{self.name} says completed and gives no video", submitting=False)
        files = [ResultFile("video", url=video)]
        pictures = ((role, at(task, FIELDS[role], "url")) for role in FILES)
        files += [ResultFile(role, url=url) for role, url in pictures if isinstance(url, str) and url]
        return Finished(tuple(files))

    def _opened(self, answer: Any, submitting: bool) -> Any:
        """The answer itself. Raises the error that some gateways tell of under HTTP 200."""
        message = at(answer, "error", "message") or at(answer, "message")
        if at(answer, "state") is not None or at(answer, 0, "id") is not None or not isinstance(message, str):
            return answer
        status = 400 if CREDIT.search(message) or MODERATION.search(message) else 500
        raise self.error(
            Answer(status, code=self.clean(str(at(answer, "code") or "")), message=self.clean(message)), submitting
        )

    def _prefix(self) -> str:
        return f"/{self.channel.options.get('prefix', 'luma').strip('/')}"

    @staticmethod
    def _generation(vendor_id: str) -> str:
        return f"/generations/{quote(vendor_id, safe='')}"

    def _inline_bytes(self) -> int:
        option = self.channel.options.get("inline_bytes", "0")
        if not option.isdecimal():
            raise VendorDown(f"the channel's option inline_bytes: a number of bytes, got {option}")
        return int(option)


def _refusal(operation: AnyOperation) -> str | None:
    if not isinstance(operation, VideoRequest | ExtendRequest):
        return None
    if operation.negative_prompt:
        return "this dialect takes no negative prompt"
    if operation.guidance is not None:
        return "this dialect cannot be told how closely to keep to the prompt"
    if operation.loop and operation.last_frame:
        return "this dialect makes no loop that has a last frame"
    if len(_words(operation)) > LONGEST_PROMPT:
        return f"the prompt with camera motion and style in words has more than {LONGEST_PROMPT} characters"
    if isinstance(operation, ExtendRequest):
        return _extend_refusal(operation)
    if operation.references or operation.sequence:
        return "this dialect takes no pictures beside the first and the last frame"
    if operation.audio or operation.quality or operation.count != 1:
        return "this dialect cannot be asked for sound, a quality or several videos"
    if not (operation.prompt or operation.first_frame or operation.last_frame):
        return "this dialect needs a prompt where there is no picture"
    takes = MODELS.get(operation.model.removeprefix("luma/"))
    seconds = takes.seconds if takes else (5, 9)
    if operation.seconds not in seconds:
        return f"{operation.model} makes {' or '.join(map(str, seconds))} seconds, got {operation.seconds:g}"
    return None


def _extend_refusal(operation: ExtendRequest) -> str | None:
    if not operation.parent.vendor_id:
        return "this dialect extends the gateway's own videos only"
    if operation.before or operation.first_frame:
        return "this dialect adds to the end of a video only"
    return None if operation.seconds == 5 else f"this dialect adds 5 seconds, got {operation.seconds:g}"


def _words(operation: VideoRequest | ExtendRequest) -> str:
    style = getattr(operation, "style", "")
    parts = (operation.prompt.strip(), camera.in_words(operation.camera), f"Style: {style}." if style else "")
    return " ".join(part for part in parts if part)


def _body(operation: VideoRequest | ExtendRequest) -> dict[str, Any]:
    return {"user_prompt": _words(operation)} | ({"loop": True} if operation.loop else {})


def _shape(operation: VideoRequest, model: str) -> dict[str, Any]:
    short = min(operation.size.width, operation.size.height)
    return {
        "aspect_ratio": nearest_ratio(operation.size, RATIOS),
        "model_name": model,
        "duration": f"{operation.seconds:g}s",
        "resolution": min(RESOLUTIONS, key=lambda name: abs(RESOLUTIONS[name] - short)),
    }
