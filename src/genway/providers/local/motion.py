"""The way of the camera: where each layer of the picture is at every moment.

Everything is measured in pixels of the video, in the frame in which the picture has not moved yet: the *rest frame*.
A moment is a number from 0, at rest, to 1, the end of the motion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import cos, pi, radians

import msgspec
import numpy as np
from numpy.typing import NDArray

from genway.operations import CAMERA_LIMIT, Camera

# What the largest number means: travel as a share of the frame's side, growth as a factor, roll in degrees.
TRAVEL_X, TRAVEL_Y = 0.07, 0.07
PARALLAX_X, PARALLAX_Y = 0.055, 0.05
TURN_X, TURN_Y = 0.13, 0.13
BACKGROUND_X, BACKGROUND_Y = 0.10, 0.10
GROWTH, GROWTH_PARALLAX = 1.26, 1.07
ROLL = 12.0
SAMPLES = 9
# How much further a camera goes in at most to keep what it sees inside the picture, and how finely that is measured.
LARGEST_INWARD, INWARD_STEPS = 1.4, 12

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """A rectangle: left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    def joined(self, other: Box) -> Box:
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


@dataclass(frozen=True)
class Motion:
    """A camera motion in a frame of width x height.

    layered: whether there is a subject that moves differently from the background. depth: 0…1, how far before it the
    subject stands. focus: the point that zooming keeps
    in place. anchor: the point of the subject that stays on its ground when it grows. towards_rest: the motion ends at
    rest; it still goes the way the camera says. inward: a further zoom in along the way.
    """

    camera: Camera
    width: int
    height: int
    layered: bool = False
    depth: float = 1.0
    focus: tuple[float, float] | None = None
    anchor: tuple[float, float] | None = None
    towards_rest: bool = False
    inward: float = 1.0

    @property
    def parallax(self) -> bool:
        """Whether subject and background would move differently."""
        camera = self.camera
        return any((camera.horizontal, camera.vertical, camera.zoom, camera.background_pan_x, camera.background_pan_y))

    @property
    def glides(self) -> bool:
        """Whether everything only shifts: nothing grows and nothing turns."""
        return not self.camera.zoom and not self.camera.roll and self.inward == 1

    def about(self, focus: tuple[float, float], anchor: tuple[float, float]) -> Motion:
        """The same motion around other points."""
        return replace(self, focus=focus, anchor=anchor)

    def kept_inside(self) -> Motion:
        """The same motion, going as much further in as it takes to see nothing beyond the rest frame, within reason.

        A zoom out that was asked for stays one: only for the rest of the motion is room made.
        """
        outward = self.camera.zoom > 0 if self.towards_rest else self.camera.zoom < 0
        measured = replace(self, camera=msgspec.structs.replace(self.camera, zoom=0.0)) if outward else self
        low, high = 1.0, LARGEST_INWARD
        if measured.stays_inside():
            return self
        for _ in range(INWARD_STEPS):
            middle = (low + high) / 2
            low, high = (low, middle) if replace(measured, inward=middle).stays_inside() else (middle, high)
        return replace(self, inward=high)

    def stays_inside(self) -> bool:
        """Whether nothing beyond the rest frame is seen, to half a pixel."""
        reach = self.reach()
        beyond = max(-reach.left, -reach.top, reach.right - self.width, reach.bottom - self.height)
        return beyond <= 0.5

    def moments(self, frames: int) -> list[float]:
        """The moment of each frame: eased at both ends."""
        eased = [0.5 - 0.5 * cos(pi * index / max(1, frames - 1)) for index in range(frames)]
        return eased[::-1] if self.towards_rest else eased

    def background(self, moment: float) -> Matrix:
        """From rest frame to frame at the moment, 3x3."""
        return self._placed(moment, *self._background_shift(), 1.0)

    def foreground(self, moment: float) -> Matrix:
        """The same for the subject."""
        x, y = self._background_shift()
        more_x, more_y = self._subject_shift()
        return self._placed(moment, x + more_x, y + more_y, relative=GROWTH_PARALLAX ** self._share(self.camera.zoom))

    def reach(self, foreground: bool = False) -> Box:
        """What of the rest frame's plane is seen at any moment."""
        corners = np.array([[0, self.width, 0, self.width], [0, 0, self.height, self.height], [1, 1, 1, 1]], np.float64)
        matrix = self.foreground if foreground else self.background
        seen = np.concatenate([np.linalg.inv(matrix(step / (SAMPLES - 1))) @ corners for step in range(SAMPLES)], axis=1)
        return Box(float(seen[0].min()), float(seen[1].min()), float(seen[0].max()), float(seen[1].max()))

    def growth(self) -> tuple[float, float]:
        """The smallest and the largest enlargement of the background along the way."""
        end = self.inward * GROWTH ** self._share(self.camera.zoom)
        return min(1.0, end), max(1.0, end)

    def nearer(self) -> float:
        """How much more the subject grows than the background in all."""
        return float(GROWTH_PARALLAX ** (self.depth * self._share(self.camera.zoom)))

    def _share(self, value: float) -> float:
        return (-value if self.towards_rest else value) / CAMERA_LIMIT

    def _background_shift(self) -> tuple[float, float]:
        """How far the background's content moves in all: against the camera sideways, and down when the camera goes up."""
        camera, share = self.camera, self._share
        alone = 0.0 if self.layered else 0.5
        return (
            self.width
            * (
                BACKGROUND_X * share(camera.background_pan_x)
                - (TRAVEL_X + alone * PARALLAX_X) * share(camera.horizontal)
                - TURN_X * share(camera.pan)
            ),
            self.height
            * (
                -BACKGROUND_Y * share(camera.background_pan_y)
                + (TRAVEL_Y + alone * PARALLAX_Y) * share(camera.vertical)
                + TURN_Y * share(camera.tilt)
            ),
        )

    def _subject_shift(self) -> tuple[float, float]:
        """How much further the subject's content moves: it is nearer, and no part of a motion of the background alone."""
        camera, share = self.camera, self._share
        return (
            self.width * (-PARALLAX_X * self.depth * share(camera.horizontal) - BACKGROUND_X * share(camera.background_pan_x)),
            self.height * (PARALLAX_Y * self.depth * share(camera.vertical) + BACKGROUND_Y * share(camera.background_pan_y)),
        )

    def _placed(self, moment: float, x: float, y: float, relative: float) -> Matrix:
        middle = (self.width / 2, self.height / 2)
        focus = self.focus or middle
        growth = GROWTH ** (self._share(self.camera.zoom) * moment) * (1 + (self.inward - 1) * moment)
        turned = _turn(radians(ROLL * self._share(self.camera.roll) * moment), middle)
        return turned @ _shift(x * moment, y * moment) @ _grow(growth, focus) @ _grow(relative**moment, self.anchor or focus)


def there_and_back(frames: int) -> list[float]:
    """The moment of each frame of a motion that returns: from 0 to 1 and back, calm at both, one more frame would be at 0."""
    return [0.5 - 0.5 * cos(2 * pi * index / frames) for index in range(frames)]


def _shift(x: float, y: float) -> Matrix:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def _grow(factor: float, about: tuple[float, float]) -> Matrix:
    x, y = about
    return np.array([[factor, 0, x * (1 - factor)], [0, factor, y * (1 - factor)], [0, 0, 1]], np.float64)


def _turn(angle: float, about: tuple[float, float]) -> Matrix:
    """Clockwise as seen, y pointing down."""
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]], np.float64)
    return _shift(*about) @ rotation @ _shift(-about[0], -about[1])
