"""Runway's official API as upstream: `api.dev.runwayml.com`, version 2024-11-06.

What the models take is data in `_runwayml_models`. What the API has no field for:

- A camera motion is said in words after the prompt, which is how Runway's own prompting guide asks for one.
- A style is put into words too, except from the page's dialect, where it is known to gen2 alone.
- `strength` of a restyling and a `seed` that a model does not take are left out: they are hints.
- A negative prompt, sound, a last frame or references that a model does not take are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any, cast
from urllib.parse import quote, urlsplit

from genway.operations import (
    AnyOperation,
    ImageRequest,
    MediaRef,
    PerformanceRequest,
    RestyleRequest,
    Size,
    UpscaleRequest,
    VideoRequest,
)
from genway.providers import camera
from genway.providers._runwayml_models import BY_WORK, NAMES, ROUTES, UNTOLD, Route, Takes
from genway.providers.base import (
    Failed,
    Files,
    Finished,
    Poll,
    ResultFile,
    Role,
    Running,
    Submission,
    Submitted,
    VendorLost,
)
from genway.providers.extra import with_extra
from genway.providers.http import MODERATION, at
from genway.providers.planned import PlannedProvider, Unfit
from genway.providers.ratios import nearest_ratio

FORMAT = "runwayml"
VERSION = "2024-11-06"

# A data URI may have 5 MB, of which a third is base64.
INLINE_BYTES = 3_700_000

# Fields that decide the price come from the operation alone, whatever a client's unknown fields say.
PRICED = ("model", "duration", "outputCount")

WORK: Mapping[Route, str] = {
    "image_to_video": "make a video from a picture",
    "text_to_video": "make a video from text alone",
    "video_to_video": "restyle a video",
    "text_to_image": "make pictures",
    "video_upscale": "upscale a video",
    "character_performance": "transfer a performance",
}
UPSCALE_FACTORS = {"upscale_v1": 4.0}


Doable = VideoRequest | RestyleRequest | PerformanceRequest | UpscaleRequest | ImageRequest


class Runwayml(PlannedProvider):
    """Runway, official format. Source of every fact: docs.dev.runwayml.com and the types of its SDK."""

    name = "runwayml"
    base_url = "https://api.dev.runwayml.com"
    operations = (VideoRequest, RestyleRequest, PerformanceRequest, UpscaleRequest, ImageRequest)
    models: Mapping[str, str] = {
        **{f"runway/{name}": name for name in NAMES},
        "runway/gen3": "gen3a_turbo",
        "runway/gen4": "gen4_turbo",
        "runway/act_one": "act_two",
    }
    # The API asks that one task is not polled more often than every 5 s.
    poll = Poll(first=5.0, factor=1.2, longest=10.0)
    # "Shedding load": documented as refused and to be tried again.
    sheds = frozenset({502, 503})

    def headers(self) -> dict[str, str]:
        return {**super().headers(), "X-Runway-Version": VERSION}

    async def submit(self, submission: Submission) -> Submitted:
        """The vendor's id carries what comes out, `video:17f2…`, as an answer to a poll does not say."""
        operation = submission.operation
        route, body = self.planned(submission)
        body |= await _media(operation, route, body["model"], submission.files)
        if operation.format == FORMAT:
            body = with_extra(body, operation.extra, keep=PRICED)
        answer = await self.call("POST", f"/v1/{route}", body, submitting=True)
        vendor_id = at(answer, "id")
        if not isinstance(vendor_id, str) or not vendor_id:
            raise self.unclear("runwayml took the request and named no task", submitting=True)
        return Submitted(f"{'image' if route == 'text_to_image' else 'video'}:{vendor_id}")

    async def check(self, vendor_id: str) -> Running | Finished | Failed:
        role, task = _parts(vendor_id)
        answer = await self.call("GET", f"/v1/tasks/{quote(task, safe='')}")
        match at(answer, "status"):
            case "PENDING" | "THROTTLED":
                return Running()
            case "RUNNING":
                progress = at(answer, "progress")
                return Running(min(max(float(progress), 0.0), 1.0) if isinstance(progress, int | float) else None)
            case "SUCCEEDED":
                output = at(answer, "output")
                if not isinstance(output, list) or not output or not all(isinstance(url, str) for url in output):
                    raise self.unclear("runwayml says SUCCEEDED without an output", submitting=False)
                return Finished(tuple(ResultFile(_role(url, role), url=url) for url in output))
            case "FAILED":
                code = str(at(answer, "failureCode") or "")
                message = self.clean(str(at(answer, "failure") or code or "the vendor gave no reason"))
                moderated = code.startswith("SAFETY") or (not code and MODERATION.search(message))
                return Failed("moderation" if moderated else "vendor_error", message)
            case "CANCELLED":
                return Failed("vendor_error", "cancelled at the vendor")
            case status:
                raise self.unclear(f"runwayml answered a status that is not known: {status!r}", submitting=False)

    async def cancel(self, vendor_id: str) -> None:
        try:
            await self.call("DELETE", f"/v1/tasks/{quote(_parts(vendor_id)[1], safe='')}")
        except VendorLost:
            return

    async def test(self) -> str:
        answer = await self.call("GET", "/v1/organization")
        balance = at(answer, "creditBalance")
        if not isinstance(balance, int | float):
            raise self.unclear("runwayml answered without a credit balance", submitting=False)
        return f"the key is good; {balance:g} credits left"

    def plan(self, operation: AnyOperation, model: str) -> tuple[Route, dict[str, Any]]:
        """The route and everything of its body but the files. Raises Unfit."""
        if not isinstance(operation, Doable):
            raise Unfit(f"runwayml does not do {operation.kind}")
        route = _route(operation)
        usual = type(self).models.get(operation.model, model)
        if model == usual:
            model = usual = BY_WORK.get((route, operation.model), model)
        known = next((name for name in (model, usual) if name in NAMES), None)
        # A model that we have never heard of is taken to be like the one that the channel has it replace.
        takes = ROUTES[route].get(known) if known else UNTOLD
        if takes is None:
            raise Unfit(f"{model} does not {WORK[route]}")
        missing = [name for name in takes.needed if name not in operation.extra]
        if missing:
            raise Unfit(f"{model} needs {missing[0]}")
        return route, {"model": model, **_fields(operation, model, takes)}


def _route(operation: Doable) -> Route:
    match operation:
        case VideoRequest():
            return "image_to_video" if operation.first_frame or operation.last_frame else "text_to_video"
        case RestyleRequest():
            return "video_to_video"
        case ImageRequest():
            return "text_to_image"
        case UpscaleRequest():
            return "video_upscale"
        case PerformanceRequest():
            return "character_performance"


def _fields(operation: Doable, model: str, takes: Takes) -> dict[str, Any]:
    if isinstance(operation, UpscaleRequest):
        factor = UPSCALE_FACTORS.get(model, operation.factor)
        if operation.factor != factor:
            raise Unfit(f"{model} makes each side {factor:g} times as long, got {operation.factor:g}")
        return {}
    fields: dict[str, Any] = {**_ratio(operation.size, model, takes), **_optional(operation, takes)}
    if isinstance(operation, PerformanceRequest):
        return fields | _performance(operation, model)
    fields |= _prompt(operation, model, takes)
    _check_references(len(operation.references), model, takes)
    if isinstance(operation, ImageRequest):
        return fields | _count(operation.count, model, takes)
    if isinstance(operation, VideoRequest):
        _check_frames(operation, model, takes)
        if operation.audio and "audio" not in takes.fields:
            raise Unfit(f"{model} cannot be asked for sound")
    return fields | _duration(operation.seconds, model, takes)


def _ratio(size: Size, model: str, takes: Takes) -> dict[str, str]:
    if takes.ratios is None:
        return {"ratio": f"{size.width}:{size.height}"}
    if not takes.ratios:
        return {}
    ratio = nearest_ratio(size, takes.ratios)
    if ratio is None:
        raise Unfit(f"{model} has no ratio that lies like {size}; it has {', '.join(takes.ratios)}")
    return {"ratio": ratio}


def _optional(operation: Doable, takes: Takes) -> dict[str, Any]:
    values = {
        "seed": getattr(operation, "seed", None),
        "audio": getattr(operation, "audio", None),
        "negativePrompt": getattr(operation, "negative_prompt", "") or None,
    }
    return {name: value for name, value in values.items() if value is not None and name in takes.fields}


def _prompt(operation: VideoRequest | RestyleRequest | ImageRequest, model: str, takes: Takes) -> dict[str, str]:
    if getattr(operation, "negative_prompt", "") and "negativePrompt" not in takes.fields:
        raise Unfit(f"{model} takes no negative prompt")
    parts = [operation.prompt.strip()]
    if isinstance(operation, VideoRequest):
        parts.append(camera.in_words(operation.camera))
    if operation.style and operation.format != "runway.pro":
        parts.append(f"Style: {operation.style}.")
    text = " ".join(part for part in parts if part)
    if not text:
        if takes.prompt_needed:
            raise Unfit(f"{model} needs a prompt")
        return {}
    length = len(text.encode("utf-16-le")) // 2
    if length > takes.prompt:
        what = "the prompt" if text == parts[0] else "the prompt with camera motion and style in words"
        raise Unfit(f"{what} has {length} characters; {model} takes {takes.prompt}")
    return {"promptText": text}


def _duration(seconds: float, model: str, takes: Takes) -> dict[str, int]:
    if takes.seconds == ():
        return {}
    if takes.seconds is None:
        if seconds != int(seconds):
            raise Unfit(f"{model} makes whole seconds, got {seconds:g}")
    elif seconds not in takes.seconds:
        raise Unfit(f"{model} makes {_listed(takes.seconds)} seconds, got {seconds:g}")
    return {"duration": int(seconds)}


def _check_frames(operation: VideoRequest, model: str, takes: Takes) -> None:
    if operation.last_frame and takes.frames == "first":
        raise Unfit(f"{model} takes a picture to begin with and none to end with")
    if operation.last_frame and not operation.first_frame and takes.frames != "any":
        raise Unfit(f"{model} takes a picture to end with only beside one to begin with")


def _check_references(number: int, model: str, takes: Takes) -> None:
    least, most = takes.references
    if number > most:
        raise Unfit(f"{model} takes {most or 'no'} reference pictures, got {number}")
    if number < least:
        raise Unfit(f"{model} needs at least {least} reference picture, got {number}")


def _count(count: int, model: str, takes: Takes) -> dict[str, int]:
    allowed = takes.counts
    if allowed is not None and count not in (allowed or (1,)):
        raise Unfit(f"{model} makes {_listed(allowed or (1,))} at once, not {count} pictures")
    return {} if allowed == () else {"outputCount": count}


def _listed(numbers: tuple[int, ...]) -> str:
    """`5 or 10`, `2 to 10`, `4, 6 or 8`."""
    if len(numbers) > 2 and numbers == tuple(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    *most, last = (str(number) for number in numbers)
    return f"{', '.join(most)} or {last}" if most else last


def _performance(operation: PerformanceRequest, model: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if operation.body_control is not None:
        fields["bodyControl"] = operation.body_control
    if operation.intensity is not None:
        if operation.intensity not in (1, 2, 3, 4, 5):
            raise Unfit(f"{model} takes an intensity of 1, 2, 3, 4 or 5, got {operation.intensity:g}")
        fields["expressionIntensity"] = int(operation.intensity)
    return fields


async def _media(operation: AnyOperation, route: Route, model: str, files: Files) -> dict[str, Any]:
    async def uri(ref: MediaRef) -> str:
        return await files.address(ref, inline_bytes=INLINE_BYTES, https_only=True)

    match operation:
        case VideoRequest(first_frame=first, last_frame=None) if first:
            media: dict[str, Any] = {"promptImage": await uri(first)}
        case VideoRequest(first_frame=first, last_frame=last) if last:
            frames = [("first", first), ("last", last)]
            media = {"promptImage": [{"uri": await uri(ref), "position": position} for position, ref in frames if ref]}
        case RestyleRequest():
            takes = ROUTES[route].get(model)
            media = {takes.video if takes else "videoUri": await uri(operation.source)}
        case UpscaleRequest():
            media = {"videoUri": await uri(operation.source)}
        case PerformanceRequest():
            return {
                "character": {"type": operation.character_kind, "uri": await uri(operation.character)},
                "reference": {"type": "video", "uri": await uri(operation.performance)},
            }
        case ImageRequest(references=references) if references:
            tagged = zip_longest(references, operation.reference_tags[: len(references)], fillvalue="")
            pictures = [(await uri(cast(MediaRef, ref)), tag) for ref, tag in tagged]
            return {"referenceImages": [{"uri": address} | ({"tag": tag} if tag else {}) for address, tag in pictures]}
        case _:
            media = {}
    references = getattr(operation, "references", ())
    if references:
        # Only gen4_aleph's references name their type.
        kind = {"type": "image"} if model == "gen4_aleph" else {}
        media["references"] = [kind | {"uri": await uri(ref)} for ref in references]
    return media


def _parts(vendor_id: str) -> tuple[Role, str]:
    role, _, task = vendor_id.rpartition(":")
    return ("image" if role == "image" else "video"), task


def _role(url: str, role: Role) -> Role:
    return "audio" if urlsplit(url).path.endswith((".wav", ".mp3")) else role
