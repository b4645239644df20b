"""A picture of any shape into a frame of another: which part is shown, and what stands where the picture ends."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from genway.providers.local.motion import Box
from genway.providers.local.picture import Pixels, Weights, resized

# How much of the picture's longer way must stay visible if the subject fills it, and how far it may shrink for that.
SHOWN = 0.6
LEAST_COVER = 0.62
# How far the picture is enlarged to keep a motion inside it, before the outside is made up.
LARGEST_ZOOM = 1.4
HEADROOM = 0.06
MARGIN = 0.04
UPPER = 0.3
NARROW = 0.06


class Placement(NamedTuple):
    """Where the rest frame lies in the picture: (left, top) of the picture is its corner, `scale` frame pixels a pixel."""

    scale: float
    left: float
    top: float

    def to_frame(self, box: Box) -> Box:
        """A box of the picture, in the rest frame."""
        return Box(
            (box.left - self.left) * self.scale,
            (box.top - self.top) * self.scale,
            (box.right - self.left) * self.scale,
            (box.bottom - self.top) * self.scale,
        )

    def to_picture(self, box: Box) -> Box:
        """A box of the rest frame, in the picture."""
        return Box(
            self.left + box.left / self.scale,
            self.top + box.top / self.scale,
            self.left + box.right / self.scale,
            self.top + box.bottom / self.scale,
        )


# A picture of the frame's own size, shown as it is.
UNTOUCHED = Placement(1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Raster:
    """The part of the picture that will be seen, at working size.

    inner: height x width x 3. alpha: height x width, or None. pads: how much is to be made up above, below, left and right.
    to_raster: rest frame → raster with its surroundings, 3x3, in points; a pixel's centre lies at .5.
    sharp: pixels beside the picture that still belong to the subject where it touches the border.
    """

    inner: Pixels
    alpha: Weights | None
    pads: tuple[int, int, int, int]
    to_raster: NDArray[np.float64]
    sharp: float

    @property
    def rgb(self) -> Pixels:
        """The picture with its surroundings."""
        return self.surrounded(self.inner)

    def surrounded(self, inner: Pixels) -> Pixels:
        """A picture of the inner part's size with its surroundings made up; both sides are even."""
        return _even(_surrounded(inner, self.pads) if any(self.pads) else inner)

    def continued(self, inner: Pixels, alpha: Weights) -> tuple[Pixels, Weights]:
        """The subject, where it touches the border, going on beyond it for a little."""
        if not any(self.pads):
            return _even(inner), _even(alpha)
        alpha = cv2.copyMakeBorder(alpha, *self.pads, cv2.BORDER_REPLICATE)
        fade = max(8.0, 0.06 * max(inner.shape[:2]))
        alpha *= np.clip(1 - (_distance(alpha.shape, self.pads) - self.sharp) / fade, 0, 1)
        return _even(cv2.copyMakeBorder(inner, *self.pads, cv2.BORDER_REFLECT)), _even(alpha)


def lost(picture: tuple[int, int], frame: tuple[int, int]) -> float:
    """How much of a picture (width, height) is outside when it covers a frame (width, height), 0…1."""
    ratio = (picture[0] / picture[1]) / (frame[0] / frame[1])
    return 1 - min(ratio, 1 / ratio)


def place(picture: tuple[int, int], frame: tuple[int, int], reach: Box, subject: Box | None) -> Placement:
    """Lay the frame into the picture so that the whole motion stays inside it and the subject's head in the frame.

    picture, frame: width, height. reach: what the motion sees of the rest frame's plane. subject: in picture pixels.
    Where the picture's shape is far from the frame's and the subject fills it, the picture is not made to cover.
    """
    sides = (picture[0] / frame[0], picture[1] / frame[1])
    cropped = 0 if sides[0] > sides[1] else 1
    cover = 1 / min(sides)
    shown = 1 - lost(picture, frame)
    wanted = SHOWN
    if subject is not None:
        extent = (subject.width, subject.height)[cropped] / picture[cropped]
        wanted = min(SHOWN, extent * (1 + 2 * MARGIN))
    elif shown < 0.25:
        wanted = SHOWN / 2
    extended = min(1.0, max(LEAST_COVER, shown / wanted))
    scale = cover * extended
    needed = [reach.width / (picture[0] * scale), reach.height / (picture[1] * scale)]
    if extended < 1:
        needed[1 - cropped] = 1.0
    scale *= min(LARGEST_ZOOM, max(1.0, *needed))
    spans = ((0.0, 0.0), (0.0, 0.0)) if subject is None else ((subject.left, subject.right), (subject.top, subject.bottom))
    bounds = ((reach.left, reach.right), (reach.top, reach.bottom))
    left, top = (
        _along(picture[axis], frame[axis] / scale, (bounds[axis][0] / scale, bounds[axis][1] / scale), spans[axis], axis == 1)
        for axis in (0, 1)
    )
    return Placement(scale, left, top)


def _along(length: float, window: float, reach: tuple[float, float], subject: tuple[float, float], vertical: bool) -> float:
    """Where the window begins on one axis: near the middle, showing the subject, inside the picture; the last wins."""
    # Where nothing is known of a subject, what matters is more often in the upper part.
    start = (length - window) * (UPPER if vertical else 0.5)
    low, high = subject
    if high > low:
        margin = MARGIN * window
        if high - low + 2 * margin <= window:
            start = min(max(start, high + margin - window), low - margin)
        else:
            start = low - HEADROOM * window if vertical else (low + high - window) / 2
    first, last = -reach[0], length - reach[1]
    return (first + last) / 2 if first > last else min(max(start, first), last)


def cut(
    rgb: Pixels,
    alpha: Weights | None,
    placement: Placement,
    reach: Box,
    *,
    density: float,
    sharp: float = 0.0,
) -> Raster:
    """Take what the motion sees, `density` raster pixels a frame pixel; what lies outside the picture is made up.

    alpha: at the picture's size or any other. sharp: frame pixels beside the picture that still belong to the subject
    where it touches the border.
    """
    height, width = rgb.shape[:2]
    seen = placement.to_picture(reach)
    x0, x1 = _inside(seen.left, seen.right, width)
    y0, y1 = _inside(seen.top, seen.bottom, height)
    factor = placement.scale * density
    inner_width, inner_height = max(2, round((x1 - x0) * factor)), max(2, round((y1 - y0) * factor))
    factor_x, factor_y = inner_width / (x1 - x0), inner_height / (y1 - y0)
    left, right = _outside(x0 - seen.left, factor_x), _outside(seen.right - x1, factor_x)
    top, bottom = _outside(y0 - seen.top, factor_y), _outside(seen.bottom - y1, factor_y)
    inner = resized(rgb[y0:y1, x0:x1], inner_width, inner_height)
    to_raster = np.array(
        [
            [factor_x / placement.scale, 0, (placement.left - x0) * factor_x + left],
            [0, factor_y / placement.scale, (placement.top - y0) * factor_y + top],
            [0, 0, 1],
        ],
        np.float64,
    )
    # The rest frame begins on a whole pixel of luma and colour: it needs no resampling, and a pan only one way.
    to_raster[:2, 2] = np.round(to_raster[:2, 2] / 2) * 2
    mask = None
    if alpha is not None:
        scale_x, scale_y = alpha.shape[1] / width, alpha.shape[0] / height
        onto = np.array(
            [[factor_x / scale_x, 0, -x0 * factor_x], [0, factor_y / scale_y, -y0 * factor_y], [0, 0, 1]], np.float64
        )
        mask = cv2.warpAffine(
            alpha,
            _centred(onto)[:2],
            (inner_width, inner_height),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return Raster(inner, mask, (top, bottom, left, right), to_raster, sharp * density)


def _even(array: Pixels) -> Pixels:
    """Without the last row or column if there is an odd number: colour is kept at half the resolution."""
    return np.ascontiguousarray(array[: array.shape[0] // 2 * 2, : array.shape[1] // 2 * 2])


def _inside(low: float, high: float, length: int) -> tuple[int, int]:
    first = min(max(0, floor(low) - 2), length - 1)
    return first, max(first + 1, min(length, ceil(high) + 2))


def _outside(length: float, factor: float) -> int:
    # Half a pixel is nothing to make up a surrounding for; it is also what rounding leaves.
    # Even, so that a picture that begins at the rest frame's corner stays there, to the fraction of a pixel.
    return 2 * ceil(length * factor / 2) + 2 if length * factor > 0.5 else 0


def _centred(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """From a map between points to one between pixel indices, whose centres lie at .5."""
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]], np.float64)
    back = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]], np.float64)
    return back @ matrix @ half


def _distance(shape: tuple[int, ...], pads: tuple[int, int, int, int]) -> Weights:
    """How far each pixel lies outside the picture, 0 inside."""
    top, bottom, left, right = pads
    height, width = shape[:2]
    y, x = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    outside_y = np.maximum(np.maximum(top - y, y - (height - bottom - 1)), 0)
    outside_x = np.maximum(np.maximum(left - x, x - (width - right - 1)), 0)
    return np.hypot(outside_y[:, None], outside_x[None, :])


def _surrounded(rgb: Pixels, pads: tuple[int, int, int, int]) -> Pixels:
    """Continue the picture: mirrored at its border, going over into its own colours far out of focus."""
    mirrored = cv2.copyMakeBorder(rgb, *pads, cv2.BORDER_REFLECT)
    height, width = mirrored.shape[:2]
    # A small copy is blurred: the result is the same and takes a hundredth of the time.
    factor = min(1.0, 160 / max(height, width))
    small = cv2.resize(mirrored, (max(8, round(width * factor)), max(8, round(height * factor))), interpolation=cv2.INTER_AREA)
    soft = resized(cv2.GaussianBlur(small, (0, 0), 2.6), width, height)
    softer = resized(cv2.GaussianBlur(small, (0, 0), 11.0), width, height)
    away = _distance((height, width), pads) / max(rgb.shape[:2])
    # A narrow strip stays as sharp as the picture and is taken for it; a wide one would be seen to repeat it.
    sharp = 0.03 if max(pads) < NARROW * max(rgb.shape[:2]) else 0.0
    near = _smooth((away - sharp) / 0.035)[..., None]
    far = _smooth((away - sharp - 0.01) / 0.12)[..., None]
    mixed = mirrored * (1 - near) + soft * near
    mixed = mixed * (1 - far) + softer * far
    return np.asarray(mixed + 0.5, np.uint8)


def _smooth(value: Weights) -> Weights:
    clipped = np.clip(value, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped), np.float32)
