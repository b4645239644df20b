"""The bodies of MiniMax's second format, `/v2/…`, which its H3 models take.

Source: `@ai-sdk/minimax` 3.0.45. These models always make sound, so it need not be asked for; their shape follows a first
frame. Whether they understand camera commands in brackets is not documented: a motion is said in words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from genway.operations import MediaRef, ReferenceRequest, VideoRequest
from genway.providers import camera
from genway.providers.base import Failed, Files, Finished, ResultFile, Running
from genway.providers.http import at
from genway.providers.planned import Unfit
from genway.providers.ratios import nearest_ratio

PATH, QUERY = "/v2/video_generation", "/v2/query/video_generation"
FORMAT = "minimax.video_v2"
KIND = "v2"
LONGEST_PROMPT = 7000
MOST_PICTURES, MOST_CLIPS, MOST_SOUNDS = 9, 3, 3
INLINE_BYTES = 10_000_000
RATIOS = ("21:9", "16:9", "4:3", "1:1", "3:4", "9:16")
LONGEST_SECONDS = 15
# Fields that decide the price, or are made here, come from the operation alone.
FIXED = ("model", "content", "duration", "resolution")
SIDES = {"480P": 480, "768P": 768, "2K": 1440}
# The code of the vendor's table at the end of an error's words: `invalid params (2013)`.
CODE = re.compile(r"\((\d{4,5})\)\s*$", re.ASCII)


class Takes(msgspec.Struct, frozen=True):
    """What a model makes: its resolutions, and the fewest seconds."""

    resolutions: tuple[str, ...]
    least: int


MODELS: Mapping[str, Takes] = {"MiniMax-H3": Takes(("768P", "2K"), 4), "MiniMax-H3-Max": Takes(("480P", "768P"), 5)}


def body(operation: VideoRequest | ReferenceRequest, model: str) -> dict[str, Any]:
    """Everything but the list of what the video is made from. Raises Unfit."""
    takes = MODELS[model]
    frames = getattr(operation, "first_frame", None) or getattr(operation, "last_frame", None)
    _check(operation, model)
    if operation.seconds != int(operation.seconds) or not takes.least <= operation.seconds <= LONGEST_SECONDS:
        raise Unfit(f"{model} makes {takes.least} to {LONGEST_SECONDS} whole seconds, got {operation.seconds:g}")
    short = min(operation.size.width, operation.size.height)
    resolution = min(takes.resolutions, key=lambda name: abs(SIDES[name] - short))
    made = {"model": model, "resolution": resolution, "duration": int(operation.seconds)}
    return made | ({} if frames else {"ratio": nearest_ratio(operation.size, RATIOS)})


def _check(operation: VideoRequest | ReferenceRequest, model: str) -> None:
    """Raises Unfit."""
    pictures = len(operation.references)
    if isinstance(operation, ReferenceRequest):
        if len(operation.clips) > MOST_CLIPS or len(operation.sounds) > MOST_SOUNDS:
            raise Unfit(f"{model} takes {MOST_CLIPS} clips and {MOST_SOUNDS} sounds to go by")
        if not operation.clips and not pictures:
            raise Unfit(f"{model} takes a sound only beside a picture or a clip")
    else:
        for name, what in (("loop", "a loop"), ("sequence", "a sequence of pictures")):
            if getattr(operation, name):
                raise Unfit(f"{model} cannot be asked for {what}")
        if operation.negative_prompt:
            raise Unfit(f"{model} takes no negative prompt")
        if operation.guidance is not None:
            raise Unfit(f"{model} takes no number for guidance")
        if operation.count != 1:
            raise Unfit(f"{model} makes one video at once, not {operation.count}")
        if operation.last_frame and not operation.first_frame:
            raise Unfit(f"{model} takes a picture to end with only beside one to begin with")
        if operation.first_frame and pictures:
            raise Unfit(f"{model} takes frames or pictures of subjects, not both")
        if not _prompt(operation) and not operation.first_frame and not pictures:
            raise Unfit(f"{model} needs a prompt")
    if pictures > MOST_PICTURES:
        raise Unfit(f"{model} takes {MOST_PICTURES} pictures of subjects, got {pictures}")
    if len(prompt := _prompt(operation)) > LONGEST_PROMPT:
        raise Unfit(f"the prompt with camera motion and style has {len(prompt)} characters; {model} takes {LONGEST_PROMPT}")


def _prompt(operation: VideoRequest | ReferenceRequest) -> str:
    parts = [operation.prompt.strip()]
    if isinstance(operation, VideoRequest):
        parts += [camera.in_words(operation.camera), f"Style: {operation.style}." if operation.style else ""]
    return " ".join(part for part in parts if part)


async def content(operation: VideoRequest | ReferenceRequest, files: Files) -> list[dict[str, Any]]:
    """What the video is made from. Raises MediaRefused, AddressRefused."""

    async def part(kind: str, role: str, ref: MediaRef) -> dict[str, Any]:
        return {"type": kind, kind: {"url": await files.address(ref, inline_bytes=INLINE_BYTES)}, "role": role}

    parts: list[dict[str, Any]] = [{"type": "text", "text": _prompt(operation)}]
    if isinstance(operation, VideoRequest):
        frames = {"first_frame": operation.first_frame, "last_frame": operation.last_frame}
        parts += [await part("image_url", role, ref) for role, ref in frames.items() if ref]
    parts += [await part("image_url", "reference_image", ref) for ref in operation.references]
    if isinstance(operation, ReferenceRequest):
        parts += [await part("video_url", "reference_video", ref) for ref in operation.clips]
        parts += [await part("audio_url", "reference_audio", ref) for ref in operation.sounds]
    return parts


def report(task: Any, clean: Any) -> Running | Finished | Failed | None:
    """What a task of the vendor's says; None where that makes no sense. clean: makes its words fit to be shown."""
    match str(at(task, "status")).lower():
        case "queued" | "running":
            return Running()
        case "succeeded":
            url = at(task, "content", "url")
            return Finished((ResultFile("video", url=url),)) if isinstance(url, str) and url else None
        case "failed" | "cancelled" | "expired" as ended:
            code = str(at(task, "error", "code") or "")
            words = str(at(task, "error", "message") or f"the vendor says that it {ended}")
            known = {"1026": "moderation", "1027": "moderation", "2013": "invalid_request"}
            return Failed(known.get(code, "vendor_error"), clean(words))
    return None


def code_of(words: str) -> int | None:
    """The code at the end of an error's words."""
    found = CODE.search(words)
    return int(found[1]) if found else None
