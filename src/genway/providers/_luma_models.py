"""What Luma's models take, and its camera concepts, as data.

Source: the official SDK 1.21 and Luma's OpenAPI file, as told in `vendors/luma.md`, section 3 (C1, C5, C7, C10).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from genway.operations import Camera

RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "21:9", "9:21")
RESOLUTIONS: Mapping[str, int] = {"540p": 540, "720p": 720, "1080p": 1080, "4k": 2160}
STRENGTHS: Mapping[str, float] = {
    **{f"adhere_{step}": step / 10 for step in (1, 2, 3)},
    **{f"flex_{step}": (step + 3) / 10 for step in (1, 2, 3)},
    **{f"reimagine_{step}": (step + 6) / 10 for step in (1, 2, 3)},
}
LONGEST_PROMPT = 5000
SHORTEST_PROMPT = 3
MOST_REFERENCES = 4


class Takes(msgspec.Struct, frozen=True):
    """What one model takes. seconds: its durations, empty for pictures. sized: whether it has durations and resolutions to
    choose from. concepts: whether it knows camera concepts; else the motion is said in words.
    """

    makes: Literal["video", "image"]
    seconds: tuple[int, ...] = ()
    sized: bool = True
    concepts: bool = True


RAY = Takes("video", (5, 9))
MODELS: Mapping[str, Takes] = {
    "ray-2": RAY,
    "ray-flash-2": RAY,
    "ray-1-6": Takes("video", (5,), sized=False, concepts=False),
    "photon-1": Takes("image"),
    "photon-flash-1": Takes("image"),
}

# Two motions at once that have a concept of their own; signs of the two members, then the key.
COMPOUND: tuple[tuple[str, int, str, int, str], ...] = (
    ("horizontal", -1, "pan", 1, "orbit_left"),
    ("horizontal", 1, "pan", -1, "orbit_right"),
    ("vertical", 1, "tilt", -1, "crane_up"),
    ("vertical", -1, "tilt", 1, "crane_down"),
)
# The concept for more, and for less than nothing, of each member of a camera motion.
SINGLE: Mapping[str, tuple[str, str]] = {
    "horizontal": ("truck_right", "truck_left"),
    "vertical": ("pedestal_up", "pedestal_down"),
    "zoom": ("push_in", "pull_out"),
    "pan": ("pan_right", "pan_left"),
    "tilt": ("tilt_up", "tilt_down"),
    # A camera that rolls to its left sees the picture turn clockwise.
    "roll": ("roll_left", "roll_right"),
}


def concepts(camera: Camera) -> tuple[str, ...]:
    """The concepts for a motion. They have no size, and there is none for a background that moves by itself."""
    left = {name: getattr(camera, name) for name in SINGLE}
    keys = []
    for first, one, second, other, key in COMPOUND:
        if left[first] * one > 0 and left[second] * other > 0:
            keys.append(key)
            left[first] = left[second] = 0
    return (*keys, *(ways[0] if left[name] > 0 else ways[1] for name, ways in SINGLE.items() if left[name]))
