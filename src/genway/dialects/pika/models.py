"""Pika's models, effects and shapes as its clients name them. Source: `vendors/pika.md`, section 3."""

from __future__ import annotations

from genway.dialects.body import one_of, shown
from genway.errors import InvalidRequest
from genway.operations import Camera, Size

SYSTEM = "pika/"
MODELS = ("1.0", "1.5", "2.0", "2.1", "2.2")
USUAL_MODEL = "1.5"
# `2.0-contextualize` is the name under which one family of gateways takes pictures to take subjects from.
ALSO = {"2.0-contextualize": "2.0"}

EFFECTS = (
    *("Cake-ify", "Crumble", "Crush", "Decapitate", "Deflate", "Dissolve", "Explode", "Eye-pop"),
    *("Inflate", "Levitate", "Melt", "Peel", "Poke", "Squish", "Ta-da", "Tear"),
)

SECONDS = (5, 10)
STEEPEST = 2.5
SHORT_SIDES = {"720p": 720, "1080p": 1080}

# The usual guidance is what every client sends without having been asked, so it says nothing.
LEAST_GUIDANCE, USUAL_GUIDANCE, MOST_GUIDANCE = 5, 12, 25


def model(name: str | float) -> str:
    """`1.5`, `"1.5"`, 2 or `pika/2.2` as our qualified name. Raises InvalidRequest."""
    bare = f"{name:.1f}" if isinstance(name, int | float) else name.strip().removeprefix(SYSTEM)
    bare = ALSO.get(bare, f"{bare}.0" if bare.isdecimal() else bare)
    if bare not in MODELS:
        raise InvalidRequest(f"{one_of(MODELS)}, got {shown(name)}", field="model")
    return SYSTEM + bare


def effect(name: str) -> str | None:
    """The effect of this name, whatever its case; None for any other word."""
    return next((known for known in EFFECTS if known.lower() == name.strip().lower()), None)


def size(ratio: float, resolution: str, field: str) -> Size:
    """ratio: width over height, 0.4…2.5. Raises InvalidRequest naming `field`."""
    if not 1 / STEEPEST <= ratio <= STEEPEST:
        raise InvalidRequest(f"from {1 / STEEPEST:g} to {STEEPEST:g} times as wide as high, got {ratio:g}", field=field)
    short = SHORT_SIDES[resolution]
    long = round(short * max(ratio, 1 / ratio) / 2) * 2
    return Size(long, short) if ratio > 1 else Size(short, long)


def camera(pan: str, tilt: str, rotate: str, zoom: str, motion: int) -> Camera:
    """Pika's words for the camera. motion: 0…4, how strong: each move is then 2, 4 … 10."""
    pace = 2 + 2 * motion
    return Camera(
        pan=_signed(pan, "right", pace),
        tilt=_signed(tilt, "up", pace),
        roll=_signed(rotate, "cw", pace),
        zoom=_signed(zoom, "in", pace),
    )


def guidance(scale: float) -> float | None:
    """`guidanceScale` 5…25 as 0…1; None for the usual 12."""
    if scale == USUAL_GUIDANCE:
        return None
    return (scale - LEAST_GUIDANCE) / (MOST_GUIDANCE - LEAST_GUIDANCE)


def _signed(word: str, positive: str, pace: int) -> float:
    return 0 if not word else pace if word == positive else -pace
