"""What each model takes, as data, and the sizes that MiniMax's words for a resolution stand for.

Source: platform.minimax.io/docs/api-reference/video-generation-t2v, -i2v, -fl2v and -s2v. Of the `*-01` models one of its
tables has 720P alone and another 1080P too: both are taken. `video-01` and `video-01-live2d` are names of 2024 that clients
still send. The H3 models are asked for in the second format alone; what they take is what `@ai-sdk/minimax` 3.0.45 and other
published clients send them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from genway.dialects.body import one_of, shown
from genway.errors import InvalidRequest
from genway.operations import Size

SYSTEM = "minimax/"
SIZES: Mapping[str, Size] = {
    "512P": Size(910, 512),
    "720P": Size(1280, 720),
    "768P": Size(1366, 768),
    "1080P": Size(1920, 1080),
}
USUAL_SECONDS = 6


class Video(msgspec.Struct, frozen=True):
    """What a video model takes.

    seconds: the durations at each resolution, the usual resolution first. text: whether it works from text alone. picture,
    last, subject: whether it takes a first frame, a last frame, a person's picture. pictured: resolutions that need a frame.
    """

    seconds: Mapping[str, tuple[int, ...]]
    text: bool = False
    picture: bool = False
    last: bool = False
    subject: bool = False
    pictured: tuple[str, ...] = ()


HAILUO = {"768P": (6, 10), "1080P": (6,)}
OLDER = {"720P": (6,), "768P": (6,), "1080P": (6,)}

VIDEOS: Mapping[str, Video] = {
    "MiniMax-Hailuo-2.3": Video(HAILUO, text=True, picture=True),
    "MiniMax-Hailuo-2.3-Fast": Video(HAILUO, picture=True),
    "MiniMax-Hailuo-02": Video({**HAILUO, "512P": (6, 10)}, text=True, picture=True, last=True, pictured=("512P",)),
    "T2V-01-Director": Video(OLDER, text=True),
    "T2V-01": Video(OLDER, text=True),
    "I2V-01-Director": Video(OLDER, picture=True),
    "I2V-01-live": Video(OLDER, picture=True),
    "I2V-01": Video(OLDER, picture=True),
    "S2V-01": Video(OLDER, subject=True),
    "video-01": Video(OLDER, text=True, picture=True),
    "video-01-live2d": Video(OLDER, picture=True),
}


class VideoV2(msgspec.Struct, frozen=True):
    """What a model of the second format makes. resolutions: the usual one first. seconds: the fewest and the most."""

    resolutions: tuple[str, ...]
    seconds: tuple[int, int]


VIDEOS_V2: Mapping[str, VideoV2] = {
    "MiniMax-H3": VideoV2(("768P", "2K"), (4, 15)),
    "MiniMax-H3-Max": VideoV2(("768P", "480P"), (5, 15)),
}
USUAL_SECONDS_V2 = 5
RATIOS_V2 = ("21:9", "16:9", "4:3", "1:1", "3:4", "9:16")
_WIDE = {
    "480P": (Size(1120, 480), Size(854, 480), Size(640, 480), Size(480, 480)),
    "768P": (Size(1792, 768), Size(1366, 768), Size(1024, 768), Size(768, 768)),
    "2K": (Size(2560, 1080), Size(2560, 1440), Size(2048, 1536), Size(2048, 2048)),
}
SIZES_V2: Mapping[str, Mapping[str, Size]] = {
    name: dict(zip(RATIOS_V2, (*wide, wide[2].flipped(), wide[1].flipped()), strict=True)) for name, wide in _WIDE.items()
}
IMAGES = ("image-01", "image-01-live")
SPEECH = (
    *("speech-2.8-hd", "speech-2.8-turbo", "speech-2.6-hd", "speech-2.6-turbo"),
    *("speech-02-hd", "speech-02-turbo", "speech-01-hd", "speech-01-turbo"),
)
MUSIC = ("music-1.5", "music-2.0", "music-2.5", "music-2.5+", "music-2.6", "music-2.6-free")
TEMPLATE, LYRICS, CLONE, DESIGN = "template", "lyrics", "voice-clone", "voice-design"


def named(models: Mapping[str, object] | tuple[str, ...], model: str) -> str:
    """The model's name without `minimax/`, as MiniMax writes it. Raises InvalidRequest naming those there are."""
    bare = model.strip().removeprefix(SYSTEM)
    found = next((name for name in models if name.lower() == bare.lower()), None)
    if found is None:
        raise InvalidRequest(f"{one_of(list(models))}, got {shown(model)}", field="model")
    return found


def length(model: str, resolution: str, seconds: int | None, *, pictured: bool) -> tuple[Size, int]:
    """The size and the duration that are asked for, checked. Raises InvalidRequest naming what the model can do.

    pictured: whether there is a first or a last frame.
    """
    takes = VIDEOS[model]
    able = [name for name in takes.seconds if pictured or name not in takes.pictured]
    word = resolution.strip().upper() or able[0]
    if word not in able:
        raise InvalidRequest(f"{model} makes {one_of(able)} here, got {shown(resolution)}", field="resolution")
    chosen = USUAL_SECONDS if seconds is None else seconds
    if chosen not in takes.seconds[word]:
        allowed = one_of(takes.seconds[word])
        raise InvalidRequest(f"{model} makes {allowed} seconds at {word}, got {chosen}", field="duration")
    return SIZES[word], chosen


def length_v2(model: str, resolution: str, seconds: int | None) -> tuple[str, int]:
    """The resolution and the duration that are asked for, checked. Raises InvalidRequest naming what the model can do."""
    takes = VIDEOS_V2[model]
    word = resolution.strip().upper() or takes.resolutions[0]
    if word not in takes.resolutions:
        raise InvalidRequest(f"{model} makes {one_of(takes.resolutions)}, got {shown(resolution)}", field="resolution")
    least, most = takes.seconds
    chosen = USUAL_SECONDS_V2 if seconds is None else seconds
    if not least <= chosen <= most:
        raise InvalidRequest(f"{model} makes {least} to {most} seconds, got {chosen}", field="duration")
    return word, chosen
