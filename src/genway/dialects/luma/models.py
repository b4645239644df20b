"""What Luma's models take, as data: ratios, resolutions and durations, and the sizes that follow from them.

Source: `vendors/luma.md`, section 3 (A1, C1, C7, C10), which cites the types of the official SDK 1.21 and Luma's OpenAPI file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from genway.dialects.body import one_of, shown
from genway.errors import InvalidRequest
from genway.operations import AnyOperation, Size

SYSTEM = "luma/"

AspectRatio = Literal["1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21"]
Resolution = Literal["540p", "720p", "1080p", "4k"]
Mode = Literal[
    "adhere_1", "adhere_2", "adhere_3", "flex_1", "flex_2", "flex_3", "reimagine_1", "reimagine_2", "reimagine_3"
]  # fmt: skip

SHORT_SIDES: Mapping[Resolution, int] = {"540p": 540, "720p": 720, "1080p": 1080, "4k": 2160}
IMAGE_SHORT_SIDE = 1080

# The seconds each model can make.
VIDEO: Mapping[str, tuple[int, ...]] = {"ray-2": (5, 9), "ray-flash-2": (5, 9), "ray-1-6": (5,)}
IMAGE = ("photon-1", "photon-flash-1")
USUAL_VIDEO = "ray-2"
# The names that other gateways of the own format give to Luma's models.
ALIASES = {"ray-v1": "ray-1-6", "ray-v2": "ray-2"}

# How freely a video is changed: 0.1 keeps its structure, 0.9 takes hardly more than its motion.
STRENGTHS: Mapping[Mode, float] = {
    "adhere_1": 0.1,
    "adhere_2": 0.2,
    "adhere_3": 0.3,
    "flex_1": 0.4,
    "flex_2": 0.5,
    "flex_3": 0.6,
    "reimagine_1": 0.7,
    "reimagine_2": 0.8,
    "reimagine_3": 0.9,
}


def video(name: str, field: str = "model") -> str:
    """The video model's name without `luma/`; ray-2 where none is given. Raises InvalidRequest naming those there are."""
    return _named(name or USUAL_VIDEO, tuple(VIDEO), field)


def image(name: str, field: str = "model") -> str:
    """The image model's name without `luma/`. Raises InvalidRequest naming those there are."""
    return _named(name, IMAGE, field)


def _named(name: str, known: tuple[str, ...], field: str) -> str:
    bare = name.strip().removeprefix(SYSTEM)
    bare = ALIASES.get(bare, bare)
    if bare not in known:
        raise InvalidRequest(f"{one_of(known)}, got {shown(name)}", field=field)
    return bare


def seconds(model: str, given: str | int | None, field: str = "duration") -> int:
    """The duration, written `5s`, `5` or 5; 5 where none is given. Raises InvalidRequest naming those the model can do."""
    if given is None:
        return 5
    match = re.fullmatch(r"(\d{1,4}) ?s?", str(given).strip())
    if match is None or int(match[1]) not in VIDEO[model]:
        raise InvalidRequest(f"{one_of([f'{each}s' for each in VIDEO[model]])}, got {shown(given)}", field=field)
    return int(match[1])


def size(ratio: AspectRatio, short: int) -> Size:
    """The size of that ratio whose shorter side is `short`, both sides even."""
    width, height = (int(side) for side in ratio.split(":"))
    long = round(short * max(width, height) / min(width, height) / 2) * 2
    return Size(long, short) if width > height else Size(short, long)


def name_of(operation: AnyOperation) -> str:
    """The model as a client of Luma names it."""
    return operation.model.removeprefix(SYSTEM)
