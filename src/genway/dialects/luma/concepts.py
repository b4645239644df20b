"""Luma's camera concepts: those that are a motion as numbers, the others in words.

Source of the keys: `vendors/luma.md`, C1, as Luma publishes them. Concepts have no size, so each is of middle size here.
"""

from __future__ import annotations

from collections.abc import Sequence

from genway.dialects.body import one_of, shown
from genway.errors import InvalidRequest
from genway.operations import CAMERA_LIMIT, Camera

MOTIONS: dict[str, Camera] = {
    "truck_left": Camera(horizontal=-5),
    "truck_right": Camera(horizontal=5),
    "pan_left": Camera(pan=-5),
    "pan_right": Camera(pan=5),
    "pedestal_up": Camera(vertical=5),
    "pedestal_down": Camera(vertical=-5),
    "tilt_up": Camera(tilt=5),
    "tilt_down": Camera(tilt=-5),
    # A camera that rolls to its left sees the picture turn clockwise.
    "roll_left": Camera(roll=5),
    "roll_right": Camera(roll=-5),
    "zoom_in": Camera(zoom=5),
    "zoom_out": Camera(zoom=-5),
    "push_in": Camera(zoom=5),
    "pull_out": Camera(zoom=-5),
    # Around the subject, which stays in the middle.
    "orbit_left": Camera(horizontal=-5, pan=5),
    "orbit_right": Camera(horizontal=5, pan=-5),
    "crane_up": Camera(vertical=5, tilt=-5),
    "crane_down": Camera(vertical=-5, tilt=5),
}

SHOTS: dict[str, str] = {
    "dolly_zoom": "dolly zoom",
    "aerial": "aerial shot",
    "aerial_drone": "aerial drone shot",
    "low_angle": "low angle shot",
    "high_angle": "high angle shot",
    "eye_level": "eye level shot",
    "ground_level": "ground level shot",
    "overhead": "overhead shot",
    "over_the_shoulder": "over the shoulder shot",
    "pov": "point of view shot",
    "selfie": "selfie shot",
    "handheld": "handheld camera",
    "static": "static camera",
    "bolt_cam": "bolt cam",
    "elevator_doors": "elevator doors opening",
    "tiny_planet": "tiny planet",
}

KEYS = (*MOTIONS, *SHOTS)

# The older list: phrases to be put into a prompt.
PHRASES = (
    "camera static",
    *(f"camera move {way}" for way in ("left", "right", "up", "down")),
    "camera push in",
    "camera pull out",
    "camera zoom in",
    "camera zoom out",
    "camera pan left",
    "camera pan right",
    "camera orbit left",
    "camera orbit right",
    "camera crane up",
    "camera crane down",
)


def check(keys: Sequence[str]) -> None:
    """Raises InvalidRequest for a key that is no concept."""
    for index, key in enumerate(keys):
        if key not in KEYS:
            raise InvalidRequest(f"{one_of(KEYS)}, got {shown(key)}", field=f"concepts[{index}].key")


def camera(keys: Sequence[str]) -> Camera:
    """The motion that the concepts ask for together; what they ask for twice is not more than the most there is."""
    motions = [MOTIONS[key] for key in keys if key in MOTIONS]
    return Camera(
        **{
            name: max(-CAMERA_LIMIT, min(CAMERA_LIMIT, sum(getattr(motion, name) for motion in motions)))
            for name in Camera.__struct_fields__
        }
    )


def shots(keys: Sequence[str]) -> str:
    """The concepts that are no motion, in words."""
    return ", ".join(SHOTS[key] for key in keys if key in SHOTS)
