"""What each model of Kling's API takes, as data.

Source: the capability matrix of Kling's own documentation, for the API up to 3.0 Omni.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from genway.operations import Camera

MODES = ("std", "pro")
FIVE_OR_TEN = (5, 10)
ANY_SECONDS = tuple(range(3, 16))


class Takes(msgspec.Struct, frozen=True):
    """What a video model takes.

    text, image: whether it begins with text alone, with a picture. modes: empty where there is no such field.
    tail: the modes in which a picture to end with may be given; tail_alone: also without one to begin with.
    camera: which of the two may have a camera control. guidance: whether `cfg_scale` has an effect.
    sound: the modes that make sound. extends: whether its videos can be made longer.
    """

    text: bool = True
    image: bool = True
    seconds: tuple[int, ...] = FIVE_OR_TEN
    modes: tuple[str, ...] = MODES
    tail: tuple[str, ...] = ()
    tail_alone: bool = False
    tail_seconds: tuple[int, ...] = FIVE_OR_TEN
    camera: Literal["", "text", "image"] = ""
    guidance: bool = True
    sound: tuple[str, ...] = ()
    extends: bool = False


PRO = ("pro",)
# A model that is not known here is taken at its word.
UNTOLD = Takes(seconds=ANY_SECONDS, tail=MODES, tail_alone=True, tail_seconds=ANY_SECONDS, sound=MODES)

VIDEO = {
    "kling-v1": Takes(tail=MODES, tail_seconds=(5,), camera="text", extends=True),
    "kling-v1-5": Takes(text=False, tail=PRO, tail_alone=True, camera="image", extends=True),
    "kling-v1-6": Takes(tail=PRO, tail_alone=True, extends=True),
    "kling-v2-master": Takes(modes=(), guidance=False),
    "kling-v2-1": Takes(text=False, tail=PRO, guidance=False),
    "kling-v2-1-master": Takes(modes=(), guidance=False),
    "kling-v2-5-turbo": Takes(tail=PRO, guidance=False),
    "kling-v2-6": Takes(tail=PRO, guidance=False, sound=PRO),
    "kling-v3": Takes(seconds=ANY_SECONDS, tail=MODES, tail_seconds=ANY_SECONDS, sound=MODES),
}
OMNI_VIDEO = ("kling-video-o1", "kling-v3-omni")
MULTI_IMAGE_TO_VIDEO = ("kling-v1-6",)
MOTION_CONTROL = ("kling-v2-6", "kling-v3")
EFFECTS = ("kling-v1", "kling-v1-5", "kling-v1-6")
IMAGES = ("kling-v1", "kling-v1-5", "kling-v2", "kling-v2-new", "kling-v2-1", "kling-v3")
MULTI_IMAGE = ("kling-v2", "kling-v2-1")
OMNI_IMAGE = ("kling-image-o1",)
TRY_ON = ("kolors-virtual-try-on-v1", "kolors-virtual-try-on-v1-5")
NAMELESS = (
    *("expand", "lip-sync", "avatar", "text-to-audio", "video-to-audio", "tts"),
    *("custom-voice", "element", "identify-face", "init-selection", "image-recognize"),
)

NAMES = tuple(dict.fromkeys((*VIDEO, *OMNI_VIDEO, *IMAGES, *OMNI_IMAGE, *TRY_ON, *NAMELESS)))
PATHS = (
    *(f"videos/{name}" for name in ("text2video", "image2video", "multi-image2video", "omni-video", "video-extend", "effects")),
    *(f"videos/{name}" for name in ("lip-sync", "advanced-lip-sync", "avatar/image2video", "motion-control", "multi-elements")),
    *(
        f"images/{name}"
        for name in ("generations", "multi-image2image", "omni-image", "editing/expand", "kolors-virtual-try-on")
    ),
    *(f"audio/{name}" for name in ("text-to-audio", "video-to-audio")),
    *(f"general/{name}" for name in ("custom-voices", "advanced-custom-elements")),
)
# What is answered with the result itself, and knows neither an id of ours nor a callback.
AT_ONCE = ("videos/identify-face", "videos/multi-elements/init-selection", "videos/image-recognize")

VIDEO_RATIOS = ("16:9", "9:16", "1:1")
IMAGE_RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9")
PROMPT = 2500

# The presets as motions. The gateway's own dialect reads them in the same way.
PRESETS = {
    "down_back": Camera(vertical=-5, zoom=-5),
    "forward_up": Camera(zoom=5, tilt=5),
    "right_turn_forward": Camera(pan=5, zoom=5),
    "left_turn_forward": Camera(pan=-5, zoom=5),
}
AXES = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
