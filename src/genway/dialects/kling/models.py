"""Kling's models, endpoint by endpoint, and the sizes they make, as data.

Source: Kling's own documentation of its API up to 3.0 Omni. What each model can do at a duration and mode is for a provider
to say; here is what the wire format knows.
"""

from __future__ import annotations

from collections.abc import Sequence

from genway.dialects.body import one_of, shown
from genway.dialects.kling.envelope import UnknownModel
from genway.errors import InvalidRequest
from genway.operations import Size

SYSTEM = "kling/"

TEXT_TO_VIDEO = (
    "kling-v1", "kling-v1-5", "kling-v1-6", "kling-v2-master", "kling-v2-1-master", "kling-v2-5-turbo", "kling-v2-6",
    "kling-v3",
)  # fmt: skip
IMAGE_TO_VIDEO = (*TEXT_TO_VIDEO, "kling-v2-1")
MULTI_IMAGE_TO_VIDEO = ("kling-v1-6",)
MULTI_ELEMENTS = ("kling-v1-6",)
OMNI_VIDEO = ("kling-video-o1", "kling-v3-omni")
MOTION_CONTROL = ("kling-v2-6", "kling-v3")
EFFECTS = ("kling-v1-6", "kling-v1", "kling-v1-5")
IMAGES = ("kling-v1", "kling-v1-5", "kling-v2", "kling-v2-new", "kling-v2-1", "kling-v3")
MULTI_IMAGE = ("kling-v2-1", "kling-v2")
OMNI_IMAGE = ("kling-image-o1",)
TRY_ON = ("kolors-virtual-try-on-v1", "kolors-virtual-try-on-v1-5")

# What has no model of its own to name.
EXPAND, LIP_SYNC, AVATAR = "kling/expand", "kling/lip-sync", "kling/avatar"
VOICE, ELEMENT = "kling/custom-voice", "kling/element"
FACES, SELECTION, RECOGNISE = "kling/identify-face", "kling/init-selection", "kling/image-recognize"
TEXT_TO_AUDIO, VIDEO_TO_AUDIO, SPEECH = "kling/text-to-audio", "kling/video-to-audio", "kling/tts"

ANY_LENGTH = ("kling-v3", *OMNI_VIDEO)
ONLY_720 = ("kling-v1", "kling-v2-master")
ONLY_1080 = ("kling-v2-1-master",)

VIDEO_SIZES = {"16:9": Size(1280, 720), "9:16": Size(720, 1280), "1:1": Size(960, 960)}
IMAGE_SIZES = {
    "16:9": Size(1360, 768),
    "9:16": Size(768, 1360),
    "1:1": Size(1024, 1024),
    "4:3": Size(1152, 864),
    "3:4": Size(864, 1152),
    "3:2": Size(1248, 832),
    "2:3": Size(832, 1248),
    "21:9": Size(1568, 672),
}
SCALES = {"1k": 1, "2k": 2, "4k": 4}


def named(known: Sequence[str], model_name: str, model: str = "", usual: str = "") -> str:
    """The qualified model: Kling's own name, or any other system's as it is. Raises UnknownModel.

    known: the names of the endpoint, of which the first is the usual one unless said otherwise.
    """
    name = model_name or model or usual or known[0]
    name = name.removeprefix(SYSTEM)
    if "/" in name:
        return name
    if name not in known:
        field = "model_name" if model_name else "model"
        raise UnknownModel(f"{one_of(known)}, got {shown(name)}", field=field)
    return SYSTEM + name


def video_size(aspect_ratio: str, model: str, mode: str | None) -> Size:
    """What a model makes of a ratio in a mode: 720 or 1080 lines."""
    size = VIDEO_SIZES[aspect_ratio]
    name = model.removeprefix(SYSTEM)
    full = name in ONLY_1080 or (mode == "pro" and name not in ONLY_720 and model.startswith(SYSTEM))
    return Size(size.width * 3 // 2, size.height * 3 // 2) if full else size


def image_size(aspect_ratio: str, resolution: str = "1k") -> Size:
    size, scale = IMAGE_SIZES[aspect_ratio], SCALES[resolution]
    return Size(size.width * scale, size.height * scale)


def seconds(model: str, asked: int) -> int:
    """The duration, of 5 or 10 s for the older models and 3 to 15 s for the newest. Raises InvalidRequest."""
    if model.removeprefix(SYSTEM) in ANY_LENGTH or not model.startswith(SYSTEM):
        if not 3 <= asked <= 15:
            raise InvalidRequest(f"a whole number from 3 to 15, got {asked}", field="duration")
    elif asked not in (5, 10):
        raise InvalidRequest(f"5 or 10, got {asked}", field="duration")
    return asked
