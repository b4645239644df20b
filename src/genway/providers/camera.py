"""A camera motion in words, for models that are told of it in the prompt."""

from __future__ import annotations

from genway.operations import Camera

PHRASES = {
    "horizontal": ("moves right", "moves left"),
    "vertical": ("moves up", "moves down"),
    "zoom": ("zooms in", "zooms out"),
    "roll": ("rolls clockwise", "rolls counter-clockwise"),
    "pan": ("pans right", "pans left"),
    "tilt": ("tilts up", "tilts down"),
}
BACKGROUND = {"background_pan_x": ("right", "left"), "background_pan_y": ("up", "down")}


def in_words(camera: Camera) -> str:
    """One English sentence, `The camera slowly zooms in and pans left.`, or nothing for a still camera.

    Up to 3 in size is `slowly`, above 7 `quickly`.
    """
    moves = [f"{_pace(value)}{_way(value, ways)}" for name, ways in PHRASES.items() if (value := getattr(camera, name))]
    drift = [f"{_pace(value)}{_way(value, ways)}" for name, ways in BACKGROUND.items() if (value := getattr(camera, name))]
    clauses = []
    if moves:
        clauses.append(f"the camera {' and '.join(moves)}")
    if drift:
        clauses.append(f"the background drifts {' and '.join(drift)} behind the subject")
    sentence = ", ".join(clauses)
    return f"{sentence[0].upper()}{sentence[1:]}." if sentence else ""


def _pace(value: float) -> str:
    return "slowly " if abs(value) <= 3 else "quickly " if abs(value) > 7 else ""


def _way(value: float, ways: tuple[str, str]) -> str:
    return ways[0] if value > 0 else ways[1]
