"""What the two Runway formats take, written from their documentation and independently of the providers.

The official API is strict: an unknown field is refused. The page's dialect overlooks unknown fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Text = Annotated[str, Meta(min_length=1, max_length=1000)]
Gen4Ratio = Literal["1280:720", "720:1280", "1104:832", "832:1104", "960:960", "1584:672"]
VeoRatio = Literal["1280:720", "720:1280", "1080:1920", "1920:1080"]
AlephRatio = Literal["1280:720", "720:1280", "1104:832", "960:960", "832:1104", "1584:672", "848:480", "640:480"]
ImageRatio = Literal[
    "1024:1024", "1080:1080", "1168:880", "1360:768", "1440:1080", "1080:1440", "1808:768", "1920:1080",
    "1080:1920", "2112:912", "1280:720", "720:1280", "720:720", "960:720", "720:960", "1680:720",
]  # fmt: skip
INLINE_LIMIT = 5_000_000
URL_LIMIT = 2048


class Refused(Exception):
    """The body is not what the format allows; the message is what the vendor says."""


class Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    pass


class Moderation(Strict, kw_only=True):
    public_figure_threshold: Literal["auto", "low"]


class Created(Strict, kw_only=True):
    model: str
    seed: Annotated[int, Meta(ge=0, le=4294967295)] | UnsetType = UNSET
    content_moderation: Moderation | UnsetType = UNSET


class First(Strict, kw_only=True):
    uri: str
    position: Literal["first"]


class Positioned(Strict, kw_only=True):
    uri: str
    position: Literal["first", "last"]


class Gen3aTurbo(Created, kw_only=True):
    prompt_image: str | list[Positioned]
    prompt_text: Text
    ratio: Literal["1280:768", "768:1280"] | UnsetType = UNSET
    duration: Literal[5, 10] | UnsetType = UNSET
    watermark: bool | UnsetType = UNSET


class Gen4Turbo(Created, kw_only=True):
    prompt_image: str | list[First]
    ratio: Gen4Ratio
    duration: Annotated[int, Meta(ge=2, le=10)] | UnsetType = UNSET
    prompt_text: Text | UnsetType = UNSET
    watermark: bool | UnsetType = UNSET


class Gen45(Created, kw_only=True):
    prompt_image: str | list[First]
    prompt_text: Text
    ratio: Gen4Ratio
    duration: Annotated[int, Meta(ge=2, le=10)]
    output_format: str | UnsetType = UNSET
    prores_profile: str | UnsetType = UNSET


class Gen45Text(Created, kw_only=True):
    prompt_text: Text
    ratio: Literal["1280:720", "720:1280"]
    duration: Annotated[int, Meta(ge=2, le=10)]
    output_format: str | UnsetType = UNSET


class Veo(Created, kw_only=True):
    ratio: VeoRatio
    duration: Literal[4, 6, 8] | UnsetType = UNSET
    audio: bool | UnsetType = UNSET
    negative_prompt: str | UnsetType = UNSET


class VeoImage(Veo, kw_only=True):
    prompt_image: str | list[Positioned]
    prompt_text: Text | UnsetType = UNSET


class VeoText(Veo, kw_only=True):
    prompt_text: Text


class Picture(Strict, kw_only=True):
    type: Literal["image"]
    uri: str


class Clip(Strict, kw_only=True):
    type: Literal["video"]
    uri: str


class Gen4Aleph(Created, kw_only=True):
    video_uri: str
    prompt_text: Text
    ratio: AlephRatio | UnsetType = UNSET
    references: Annotated[list[Picture], Meta(max_length=1)] | UnsetType = UNSET


class Aleph2(Created, kw_only=True):
    video_uri: str
    prompt_text: Text | UnsetType = UNSET
    keyframes: Annotated[list[Any], Meta(max_length=5)] | UnsetType = UNSET
    target_aspect_ratio: Literal["16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "21:9"] | UnsetType = UNSET
    output_format: str | UnsetType = UNSET


class Tagged(Strict, kw_only=True):
    uri: str
    tag: Annotated[str, Meta(min_length=3, max_length=16)] | UnsetType = UNSET


class Gen4Image(Created, kw_only=True):
    prompt_text: Text
    ratio: ImageRatio
    reference_images: Annotated[list[Tagged], Meta(max_length=3)] | UnsetType = UNSET


class Gen4ImageTurbo(Created, kw_only=True):
    prompt_text: Text
    ratio: ImageRatio
    reference_images: Annotated[list[Tagged], Meta(min_length=1, max_length=3)]


class Upscale(Strict, kw_only=True):
    model: str
    video_uri: str


class FrameRate(Upscale, kw_only=True):
    target_framerate: Literal["24", "25", "30", "48", "50", "60", "120", "23_98", "29_97", "59_94"]


class ActTwo(Created, kw_only=True):
    character: dict[str, str]
    reference: Clip
    ratio: Gen4Ratio | UnsetType = UNSET
    body_control: bool | UnsetType = UNSET
    expression_intensity: Annotated[int, Meta(ge=1, le=5)] | UnsetType = UNSET


class Other(msgspec.Struct, rename="camel"):
    """A model whose particulars are not looked at."""

    model: str
    prompt_text: str | UnsetType = UNSET


OFFICIAL: dict[tuple[str, str], type[msgspec.Struct]] = {
    ("image_to_video", "gen3a_turbo"): Gen3aTurbo,
    ("image_to_video", "gen4_turbo"): Gen4Turbo,
    ("image_to_video", "gen4.5"): Gen45,
    ("text_to_video", "gen4.5"): Gen45Text,
    ("image_to_video", "veo3.1"): VeoImage,
    ("image_to_video", "veo3.1_fast"): VeoImage,
    ("text_to_video", "veo3.1"): VeoText,
    ("text_to_video", "veo3.1_fast"): VeoText,
    ("video_to_video", "gen4_aleph"): Gen4Aleph,
    ("video_to_video", "aleph2"): Aleph2,
    ("text_to_image", "gen4_image"): Gen4Image,
    ("text_to_image", "gen4_image_turbo"): Gen4ImageTurbo,
    ("video_upscale", "upscale_v1"): Upscale,
    ("video_upscale", "enhance_frame_rate"): FrameRate,
    ("character_performance", "act_two"): ActTwo,
}
# Models that exist, at a route of their own only.
ELSEWHERE = {"gen3a_turbo", "gen4_turbo", "gen4_aleph", "aleph2", "gen4_image", "gen4_image_turbo", "upscale_v1", "act_two"}


def check_official(route: str, body: Any) -> None:
    """Raise Refused unless the official API would take the body."""
    model = body.get("model") if isinstance(body, dict) else None
    shape = OFFICIAL.get((route, str(model)))
    if shape is None and model in ELSEWHERE:
        raise Refused(f"model: {model} is not a model of {route}")
    _convert(body, shape or Other)
    for path, uri in _uris(body):
        _check_uri(path, uri)


def _uris(body: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(body, dict):
        return [found for name, value in body.items() for found in _uris(value, f"{path}.{name}" if path else name)]
    if isinstance(body, list):
        return [found for number, value in enumerate(body) for found in _uris(value, f"{path}[{number}]")]
    last = path.rsplit(".", 1)[-1]
    return [(path, body)] if isinstance(body, str) and last in {"uri", "videoUri", "promptImage", "promptVideo"} else []


def _check_uri(path: str, uri: str) -> None:
    if uri.startswith("data:"):
        if len(uri) > INLINE_LIMIT:
            raise Refused(f"{path}: data URI too large")
        if not uri.startswith(("data:image/", "data:video/")):
            raise Refused(f"{path}: unsupported asset type")
    elif not uri.startswith(("https://", "runway://")):
        raise Refused(f"{path}: only HTTPS URLs are supported")
    elif len(uri) > URL_LIMIT:
        raise Refused(f"{path}: URL too long")


Motion = Annotated[float, Meta(ge=-10, le=10)]


class MotionVector(msgspec.Struct):
    x: Motion
    y: Motion
    z: Motion
    r: Motion
    bg_x_pan: Motion
    bg_y_pan: Motion


class Options(msgspec.Struct):
    seconds: Literal[5, 10] = 10
    motion_vector: MotionVector | None = None
    image_as_end_frame: bool = False
    flip: bool = False
    last_image: str = ""


class Generate(msgspec.Struct):
    prompt: str = ""
    model: Literal["gen2", "gen3", "gen4", "gen4_turbo"] = "gen3"
    ratio: Literal["16:9", "9:16", "1:1", "4:3", "3:4", "21:9"] = "16:9"
    style: str = "cinematic"
    image: str = ""
    last_image: str = ""
    callback_url: str = ""
    options: Options = msgspec.field(default_factory=Options)


class RestyleOptions(msgspec.Struct):
    structure_transformation: Annotated[float, Meta(ge=0, le=1)] = 0.5
    flip: bool = False
    seconds: Literal[5, 10] = 5


class VideoToVideo(msgspec.Struct):
    video: Annotated[str, Meta(min_length=1)]
    prompt: str
    model: Literal["gen3", "gen4"]
    callback_url: str = ""
    options: RestyleOptions = msgspec.field(default_factory=RestyleOptions)


class ActOneOptions(msgspec.Struct):
    motion_multiplier: int = 1
    flip: bool = False


class ActOne(msgspec.Struct):
    video: Annotated[str, Meta(min_length=1)]
    image: Annotated[str, Meta(min_length=1)]
    callback_url: str = ""
    options: ActOneOptions = msgspec.field(default_factory=ActOneOptions)


PAGE: dict[str, type[msgspec.Struct]] = {"generate": Generate, "video2video": VideoToVideo, "act_one": ActOne}


def check_page(route: str, body: Any) -> None:
    """Raise Refused unless the page's dialect would take the body."""
    made = _convert(body, PAGE[route])
    if isinstance(made, Generate):
        if made.model == "gen3" and made.ratio not in ("16:9", "9:16"):
            raise Refused("ratio: gen3 supports 16:9 and 9:16 only")
        if not made.prompt and not made.image:
            raise Refused("prompt: required")


def _convert(body: Any, shape: type[msgspec.Struct]) -> msgspec.Struct:
    try:
        return msgspec.convert(body, shape)
    except msgspec.ValidationError as error:
        raise Refused(str(error)) from None
