"""Another gateway in Pika's dialects as upstream: `/pika/pro/generate`, or the mirror of the web application.

Options of the channel:

- `format`: `pro` (the page's own, unless said), or `mirror` (`/pika/generate` and `/pika/feed/{id}`).
- `callback_url` and `inline_bytes`: as for `runway_compat`, whose envelope this one shares.
"""

from __future__ import annotations

from typing import Any

from genway.operations import (
    AnyOperation,
    Camera,
    EffectRequest,
    ExtendRequest,
    MediaRef,
    RestyleRequest,
    Size,
    VideoRequest,
)
from genway.providers._pika_requests import EFFECTS
from genway.providers.base import (
    Failed,
    Finished,
    ResultFile,
    Running,
    Submission,
    Submitted,
    VendorDown,
    VendorRefused,
)
from genway.providers.extra import with_extra
from genway.providers.http import MODERATION, HttpProvider, at
from genway.providers.ratios import nearest_ratio
from genway.providers.runway_compat import RunwayCompat

FORMATS = {"pro": "pika.pro", "mirror": "pika.web"}
PRICED = ("model", "modelVersion", "duration", "resolution")
RATIOS = ("16:9", "9:16", "1:1", "5:2", "4:5", "4:3")
SECONDS = (5, 10)
TURNS = {"pan": ("right", "left"), "tilt": ("up", "down"), "roll": ("cw", "ccw"), "zoom": ("in", "out")}
NAMES = {"roll": "rotate"}
UNMOVED = ("horizontal", "vertical", "background_pan_x", "background_pan_y")
WORDS = {"queued": "queued", "pending": "running", "finished": "succeeded", "error": "failed"}
USUAL_GUIDANCE = 12


class PikaCompat(RunwayCompat):
    """A gateway in one of Pika's dialects: genway itself, or one of its relatives. base_url: without `/pika`."""

    name = "pika_compat"
    feed = "/pika/feed"
    operations = (VideoRequest, EffectRequest, RestyleRequest, ExtendRequest)
    models = {f"pika/{model}": model for model in ("1.0", "1.5", "2.0", "2.1", "2.2")}

    def refusal(self, operation: AnyOperation) -> str | None:
        reason = HttpProvider.refusal(self, operation)
        if reason is None and getattr(operation, "seconds", 5) not in SECONDS:
            return f"pika makes 5 or 10 seconds, got {getattr(operation, 'seconds', 0):g}"
        style = getattr(operation, "style", "")
        if reason is None and style and style not in EFFECTS and self.mirrored:
            return f"the mirror takes effects and no other words for a look; there are {', '.join(EFFECTS)}"
        if reason is None and isinstance(operation, VideoRequest):
            return _video_refusal(operation, mirrored=self.mirrored)
        if reason is None and isinstance(operation, EffectRequest) and len(operation.pictures) != 1:
            return "an effect is done on one picture"
        return reason

    @property
    def mirrored(self) -> bool:
        """Whether the other gateway speaks the web application's mirror. Raises VendorDown for an unknown format."""
        wanted = self.channel.options.get("format", "pro")
        if wanted not in FORMATS:
            raise VendorDown(f"the channel's option format: pro or mirror, got {wanted}")
        return wanted == "mirror"

    async def submit(self, submission: Submission) -> Submitted:
        operation = submission.operation
        if (reason := self.refusal(operation)) is not None:
            raise VendorRefused(reason)
        inline = self.inline_bytes()

        async def address(ref: MediaRef | None) -> str:
            return await submission.files.address(ref, inline_bytes=inline) if ref else ""

        files: dict[str, Any] = {}
        match operation:
            case VideoRequest():
                files = {"image": await address(operation.first_frame), "last_image": await address(operation.last_frame)}
                files["ingredients"] = [await address(ref) for ref in operation.references]
            case EffectRequest():
                files = {"image": await address(operation.pictures[0])}
            case RestyleRequest():
                files = {"video": await address(operation.source)}
            case ExtendRequest():
                files = {"video": await address(operation.parent.result)}
        mirrored = self.mirrored
        body = _body(operation, submission.model, mirrored) | {name: value for name, value in files.items() if value}
        if mirrored and "image" in body:
            body["options"].pop("aspectRatio")
        if operation.format in FORMATS.values():
            body = with_extra(body, operation.extra, keep=PRICED)
        if not mirrored:
            return await self.hand_in("/pika/pro/generate", body)
        answer = await self.call("POST", "/pika/generate", body, submitting=True)
        vendor_id = at(answer, "id") or at(answer, "data", "id")
        if not isinstance(vendor_id, str) or not vendor_id:
            raise self.unclear(f"{self.name} took the request and named no id", submitting=True)
        return Submitted(vendor_id)

    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        if not self.mirrored:
            return await super().check(vendor_id)
        video = at(await self.call("GET", f"/pika/feed/{vendor_id}"), "videos", 0)
        match WORDS.get(str(at(video, "status"))):
            case "queued":
                return Running()
            case "running":
                percent = at(video, "progress")
                return Running(min(percent / 100, 1.0) if isinstance(percent, int | float) else None)
            case "failed":
                words = str(at(video, "error") or "the vendor gave no reason")
                return Failed("moderation" if MODERATION.search(words) else "vendor_error", self.clean(words))
            case "succeeded" if isinstance(url := at(video, "resultUrl"), str) and url:
                poster = at(video, "videoPoster")
                posters = (ResultFile("poster", url=poster),) if isinstance(poster, str) and poster else ()
                return Finished((ResultFile("video", url=url), *posters))
        # An answer without videos says nothing yet.
        if video is None:
            return Running()
        raise self.unclear(f"{self.name} answered a video that makes no sense: {at(video, 'status')!r}", submitting=False)


def _video_refusal(operation: VideoRequest, *, mirrored: bool) -> str | None:
    camera = operation.camera
    if any(getattr(camera, name) for name in UNMOVED):
        return "this dialect turns and zooms the camera, and moves neither it nor the background"
    if operation.references and not mirrored:
        return "this dialect takes no pictures of subjects; the mirror does"
    if operation.last_frame and mirrored:
        return "the mirror takes no last frame"
    if operation.sequence or operation.loop or operation.count > 1:
        return "this dialect makes one video, from a first to a last frame at most, and no loop"
    if nearest_ratio(operation.size, RATIOS) is None:
        return f"this dialect has no ratio that lies like {operation.size}; it has {', '.join(RATIOS)}"
    return None


def _body(operation: AnyOperation, model: str, mirrored: bool) -> dict[str, Any]:
    size: Size = getattr(operation, "size", Size(1280, 720))
    guidance = getattr(operation, "guidance", None)
    parameters: dict[str, Any] = {
        "guidanceScale": USUAL_GUIDANCE if guidance is None else 5 + 20 * guidance,
        "motion": _motion(getattr(operation, "camera", Camera())),
        "negativePrompt": getattr(operation, "negative_prompt", ""),
    }
    if (seed := getattr(operation, "seed", None)) is not None:
        parameters["seed"] = seed
    options: dict[str, Any] = {"frameRate": 24, "camera": _camera(getattr(operation, "camera", Camera()))}
    options |= {"parameters": parameters, "extend": isinstance(operation, ExtendRequest)}
    prompt: str = getattr(operation, "prompt", "")
    style = operation.effect if isinstance(operation, EffectRequest) else getattr(operation, "style", "")
    body: dict[str, Any] = {
        "duration": int(getattr(operation, "seconds", 5)),
        "resolution": "1080p" if min(size.width, size.height) >= 1080 else "720p",
        "sfx": getattr(operation, "audio", False),
        "options": options,
    }
    if mirrored:
        options["aspectRatio"] = size.width / size.height
        return {"promptText": prompt, "model": model, "pikaffect": style, **body}
    named = {"style": style} if style else {}
    return {"prompt": prompt, "model": _number(model), "ratio": nearest_ratio(size, RATIOS), **named, **body}


def _number(model: str) -> float | str:
    """The page's own dialect has numbers as models; a channel may have words."""
    try:
        return float(model)
    except ValueError:
        return model


def _camera(camera: Camera) -> dict[str, str]:
    return {NAMES.get(name, name): ways[value < 0] for name, ways in TURNS.items() if (value := getattr(camera, name))}


def _motion(camera: Camera) -> int:
    """0…4, how strong the strongest move is: 2, 4 … 10; without any, the usual 1."""
    strongest = max(abs(getattr(camera, name)) for name in TURNS)
    return min(max(round(strongest / 2) - 1, 0), 4) if strongest else 1
