"""What Pika's models take at fal.ai, its official host, and how an operation is said to them.

Source: `vendors/pika.md`, section 3, D.
"""

from __future__ import annotations

from typing import Any

from genway.operations import EffectRequest, MediaRef, Operation, Size, VideoRequest
from genway.providers.camera import in_words
from genway.providers.ratios import nearest_ratio

MODELS = {"pika/2.2": "v2.2", "pika/1.5": "v1.5"}
MAKES: dict[str, type[Operation]] = {"pika/2.2": VideoRequest, "pika/1.5": EffectRequest}

RATIOS = ("16:9", "9:16", "1:1", "4:5", "5:4", "3:2", "2:3")
SECONDS = (5, 10)
# Of pictures that a video goes through: how many, and how long it may be in all.
MOST_FRAMES = 5
MOST_SECONDS = 25
MOST_INGREDIENTS = 5
FULL_HD = 1080

EFFECTS = (
    *("Cake-ify", "Crumble", "Crush", "Decapitate", "Deflate", "Dissolve", "Explode", "Eye-pop"),
    *("Inflate", "Levitate", "Melt", "Peel", "Poke", "Squish", "Ta-da", "Tear"),
)


def effect_refusal(operation: EffectRequest) -> str | None:
    """Why the effect cannot be done, or None."""
    if operation.effect not in EFFECTS:
        return f"pika has no effect {operation.effect}; it has {', '.join(EFFECTS)}"
    if len(operation.pictures) != 1:
        return f"a pikaffect is done on one picture, got {len(operation.pictures)}"
    return None


def video_refusal(operation: VideoRequest) -> str | None:
    """Why the video cannot be made, or None."""
    given = pictures(operation)
    framed = is_framed(operation)
    if operation.references and (framed or operation.first_frame):
        return "pika takes pictures of subjects or pictures to go through, not both"
    if operation.last_frame and not operation.first_frame:
        return "pika takes a last frame only with a first one"
    if len(operation.references) > MOST_INGREDIENTS or (framed and not 2 <= len(given) <= MOST_FRAMES):
        return f"pika takes at most {MOST_FRAMES} pictures"
    if framed and (operation.seconds > MOST_SECONDS or operation.seconds < len(given) - 1):
        return f"pika makes from 1 second for each step between pictures to {MOST_SECONDS} in all, got {operation.seconds:g}"
    if not framed and operation.seconds not in SECONDS:
        return f"pika makes 5 or 10 seconds, got {operation.seconds:g}"
    if not given and nearest_ratio(operation.size, RATIOS) is None:
        return f"pika has no ratio that lies like {operation.size}"
    for name in ("audio", "loop", "style", "guidance"):
        if getattr(operation, name) or (name == "guidance" and operation.guidance is not None):
            return f"pika cannot be asked for {name} at fal.ai"
    return "pika makes one video at a time" if operation.count > 1 else None


def is_framed(operation: VideoRequest) -> bool:
    """Whether the video goes through pictures."""
    return bool(operation.sequence or operation.last_frame)


def pictures(operation: VideoRequest) -> tuple[MediaRef, ...]:
    """The pictures in the order they are sent in."""
    ends = (operation.first_frame, *operation.sequence, operation.last_frame)
    return tuple(ref for ref in ends if ref) or operation.references


def video(operation: VideoRequest) -> tuple[str, dict[str, Any]]:
    """The model's route, and the body without its pictures."""
    body = _said(operation.prompt, operation.negative_prompt, operation.seed, in_words(operation.camera))
    body["resolution"] = _resolution(operation.size)
    if is_framed(operation):
        return "pikaframes", body
    body["duration"] = int(operation.seconds)
    if operation.first_frame:
        return "image-to-video", body
    if operation.references:
        return "pikascenes", body
    return "text-to-video", body | {"aspect_ratio": nearest_ratio(operation.size, RATIOS)}


def effect(operation: EffectRequest) -> dict[str, Any]:
    """The body without its picture."""
    said = {"prompt": operation.prompt} if operation.prompt else {}
    return {"pikaffect": operation.effect, **said}


def _said(prompt: str, negative: str, seed: int | None, camera: str) -> dict[str, Any]:
    body: dict[str, Any] = {"prompt": f"{prompt} {camera}".strip()}
    if negative:
        body["negative_prompt"] = negative
    return body if seed is None else body | {"seed": seed}


def _resolution(size: Size) -> str:
    return "1080p" if min(size.width, size.height) >= FULL_HD else "720p"
