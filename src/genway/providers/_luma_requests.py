"""What is sent to Luma's official API for each operation.

What the API has no field for:

- A camera motion becomes concepts, which have no size; a background that moves by itself is asked for in words.
- A style is put into words. A `seed` is left out: it is a hint.
- A negative prompt, references of a video, sound at once and several videos are refused.

A resolution that is not one of Luma's becomes the nearest, a size the nearest ratio that lies the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from genway.operations import (
    AnyOperation,
    Camera,
    ExtendRequest,
    ImageRequest,
    MediaRef,
    RestyleRequest,
    Size,
    SoundRequest,
    UpscaleRequest,
    VideoRequest,
)
from genway.providers import camera
from genway.providers._luma_models import (
    LONGEST_PROMPT,
    MOST_REFERENCES,
    RATIOS,
    RESOLUTIONS,
    SHORTEST_PROMPT,
    STRENGTHS,
    Takes,
    concepts,
)
from genway.providers.base import Files
from genway.providers.planned import Unfit
from genway.providers.ratios import nearest_ratio

FORMAT = "luma.official"
# Of a request in this format; they say what each picture of an operation is for.
ROLES = "roles"
USUAL_SHORT_SIDE = 720


def request(operation: AnyOperation, model: str, takes: Takes | None) -> tuple[str, dict[str, Any]]:
    """Where it goes under `/generations`, and everything of its body but the files.

    takes: None for a model of which nothing is known. Raises Unfit.
    """
    makes = "image" if isinstance(operation, ImageRequest) else "video"
    if takes is not None and takes.makes != makes:
        raise Unfit(f"{model} makes no {makes}")
    match operation:
        case ImageRequest():
            return _image(operation, model)
        case VideoRequest() | ExtendRequest():
            return "/video", _video(operation, model, takes or Takes("video"))
        case RestyleRequest():
            if takes is not None and not takes.sized:
                raise Unfit(f"{model} changes no videos")
            return _restyle(operation, model)
        case UpscaleRequest() | SoundRequest():
            return _afterwards(operation)
    raise Unfit(f"luma does not do {operation.kind}")


def _video(operation: VideoRequest | ExtendRequest, model: str, takes: Takes) -> dict[str, Any]:
    if operation.negative_prompt:
        raise Unfit("luma takes no negative prompt for a video")
    if operation.guidance is not None:
        raise Unfit("luma cannot be told how closely to keep to the prompt")
    if operation.loop and (operation.last_frame or (isinstance(operation, ExtendRequest) and operation.before)):
        raise Unfit("luma makes no loop that has a last frame, or goes before another video")
    if isinstance(operation, VideoRequest):
        _check_new(operation)
    elif not operation.parent.vendor_id:
        raise Unfit("luma extends its own generations only")
    if takes.seconds and operation.seconds not in takes.seconds:
        raise Unfit(f"{model} makes {' or '.join(map(str, takes.seconds))} seconds, got {operation.seconds:g}")
    told = operation.format == FORMAT and "concepts" in operation.extra
    keys = concepts(operation.camera) if takes.concepts and not told else ()
    words = _words(operation, takes, told)
    body: dict[str, Any] = {"model": model, "prompt": words, "aspect_ratio": _ratio(operation.size), "loop": operation.loop}
    if not words:
        del body["prompt"]
    if takes.sized:
        body |= {
            "duration": f"{operation.seconds:g}s",
            "resolution": _resolution(min(operation.size.width, operation.size.height)),
        }
    return body | ({"concepts": [{"key": key} for key in keys]} if keys else {})


def _check_new(operation: VideoRequest) -> None:
    if operation.references or operation.sequence:
        raise Unfit("luma takes a first and a last picture for a video and no others")
    if operation.audio:
        raise Unfit("luma gives sound to a finished video only")
    if operation.quality:
        raise Unfit(f"luma has no quality {operation.quality}")
    if operation.count != 1:
        raise Unfit(f"luma makes one video at once, got {operation.count}")
    if not (operation.prompt or operation.first_frame or operation.last_frame):
        raise Unfit("luma needs a prompt where there is no picture")


def _words(operation: VideoRequest | ExtendRequest, takes: Takes, told: bool) -> str:
    """The prompt, with what there is no other way to ask for."""
    motion = operation.camera
    if takes.concepts:
        motion = Camera(background_pan_x=motion.background_pan_x, background_pan_y=motion.background_pan_y)
    parts = [operation.prompt.strip(), camera.in_words(motion)]
    style = getattr(operation, "style", "")
    if style and not told:
        parts.append(f"Style: {style}.")
    return _prompt(" ".join(part for part in parts if part))


def _prompt(text: str) -> str:
    if text and not SHORTEST_PROMPT <= len(text) <= LONGEST_PROMPT:
        raise Unfit(f"luma takes a prompt of {SHORTEST_PROMPT} to {LONGEST_PROMPT} characters, got {len(text)}")
    return text


def _ratio(size: Size) -> str:
    ratio = nearest_ratio(size, RATIOS)
    if ratio is None:
        raise Unfit(f"luma has no ratio that lies like {size}")
    return ratio


def _resolution(short: float) -> str:
    return min(RESOLUTIONS, key=lambda name: abs(RESOLUTIONS[name] - short))


def _asked_for(operation: AnyOperation, work: str) -> bool:
    """Whether a request in this format asks for a work that other formats have no word for."""
    return operation.format == FORMAT and operation.extra.get("generation_type") == work


def _image(operation: ImageRequest, model: str) -> tuple[str, dict[str, Any]]:
    if operation.negative_prompt:
        raise Unfit("luma takes no negative prompt for a picture")
    if operation.count != 1:
        raise Unfit(f"luma makes one picture at once, got {operation.count}")
    style = f"Style: {operation.style}." if operation.style else ""
    words = _prompt(" ".join(part for part in (operation.prompt.strip(), style) if part))
    body: dict[str, Any] = {"model": model, "aspect_ratio": _ratio(operation.size)} | ({"prompt": words} if words else {})
    if _asked_for(operation, "reframe_image"):
        return "/image/reframe", body | {"generation_type": "reframe_image"}
    if not words and not operation.references:
        raise Unfit("luma needs a prompt where there is no picture")
    if sum(role["role"] == "image_ref" for role in _roles(operation)) > MOST_REFERENCES:
        raise Unfit(f"luma takes {MOST_REFERENCES} reference pictures, got {len(operation.references)}")
    return "/image", body


def _restyle(operation: RestyleRequest, model: str) -> tuple[str, dict[str, Any]]:
    if operation.negative_prompt:
        raise Unfit("luma takes no negative prompt for a video")
    if operation.references and operation.format != FORMAT:
        raise Unfit("luma takes a changed first picture of the video and no references")
    style = f"Style: {operation.style}." if operation.style else ""
    words = _prompt(" ".join(part for part in (operation.prompt.strip(), style) if part))
    body: dict[str, Any] = {"model": model} | ({"prompt": words} if words else {})
    if _asked_for(operation, "reframe_video"):
        return "/video/reframe", body | {"aspect_ratio": _ratio(operation.size), "generation_type": "reframe_video"}
    mode = min(STRENGTHS, key=lambda name: abs(STRENGTHS[name] - operation.strength))
    return "/video/modify", body | {"mode": mode, "generation_type": "modify_video"}


def _afterwards(operation: UpscaleRequest | SoundRequest) -> tuple[str, dict[str, Any]]:
    """Work on an earlier generation of Luma's."""
    if operation.parent is None or not operation.parent.vendor_id:
        raise Unfit(f"luma does {operation.kind} to its own generations only")
    path = f"/{quote(operation.parent.vendor_id, safe='')}"
    if isinstance(operation, UpscaleRequest):
        named = operation.extra.get("resolution") if _asked_for(operation, "upscale_video") else None
        resolution = named or _resolution(USUAL_SHORT_SIDE * operation.factor)
        return f"{path}/upscale", {"resolution": resolution, "generation_type": "upscale_video"}
    if operation.music_prompt:
        raise Unfit("luma cannot be asked for music")
    words = {"prompt": operation.prompt, "negative_prompt": operation.negative_prompt}
    return f"{path}/audio", {name: text for name, text in words.items() if text} | {"generation_type": "add_audio"}


def _roles(operation: ImageRequest) -> list[dict[str, Any]]:
    """What each reference picture is for; a guide to the whole picture where nothing else was said."""
    roles = operation.extra.get(ROLES, []) if operation.format == FORMAT else []
    return roles if len(roles) == len(operation.references) else [{"role": "image_ref"}] * len(operation.references)


async def media(operation: AnyOperation, files: Files) -> dict[str, Any]:
    """The fields for the operation's files."""

    async def url(ref: MediaRef) -> dict[str, str]:
        return {"url": await files.address(ref, inline_bytes=0)}

    match operation:
        case VideoRequest() | ExtendRequest():
            frames: dict[str, Any] = {}
            for name, ref in (("frame0", operation.first_frame), ("frame1", operation.last_frame)):
                if ref is not None:
                    frames[name] = {"type": "image", **await url(ref)}
            if isinstance(operation, ExtendRequest):
                frames["frame1" if operation.before else "frame0"] = {"type": "generation", "id": operation.parent.vendor_id}
            return {"keyframes": frames} if frames else {}
        case RestyleRequest():
            fields: dict[str, Any] = {"media": await url(operation.source)}
            return fields | ({"first_frame": await url(operation.references[0])} if operation.references else {})
        case ImageRequest() if _asked_for(operation, "reframe_image"):
            return {"media": await url(operation.references[0])}
        case ImageRequest():
            return _by_role([(role, await url(ref)) for role, ref in zip(_roles(operation), operation.references, strict=True)])
    return {}


def _by_role(pictures: list[tuple[Mapping[str, Any], dict[str, str]]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for role, address in pictures:
        picture = address | ({"weight": role["weight"]} if "weight" in role else {})
        match role["role"]:
            case "modify_image_ref":
                fields["modify_image_ref"] = picture
            case "character_ref":
                characters = fields.setdefault("character_ref", {})
                characters.setdefault(role["identity"], {"images": []})["images"].append(address["url"])
            case kind:
                fields.setdefault(kind, []).append(picture)
    return fields
