"""Layers onto frames, in the encoder's own YUV planes: half the work of RGB, and nothing to convert for each frame."""

from __future__ import annotations

from math import pi, sin

import cv2
import numpy as np
from av.video.frame import VideoFrame

from genway.providers.local.motion import Matrix
from genway.providers.local.picture import Pixels, Weights

# BT.709, limited range, from full-range R'G'B'.
TO_YUV = np.array(
    [
        [0.18258588, 0.61423059, 0.06200706, 16.0],
        [-0.10064373, -0.33857195, 0.43921569, 128.0],
        [0.43921569, -0.39894216, -0.04027352, 128.0],
    ],
    np.float64,
)
PIXELS: Matrix = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]], np.float64)
# In 4:2:0 as H.264 has it a colour sample lies level with its left luma sample and between the two rows.
COLOUR_PIXELS: Matrix = np.array([[2, 0, 0.5], [0, 2, 1.0], [0, 0, 1]], np.float64)
# Planes are kept with a margin, so that a filter near the border needs no case of its own.
MARGIN = 12
TO_INDEX: Matrix = np.array([[1, 0, MARGIN - 0.5], [0, 1, MARGIN - 0.5], [0, 0, 1]], np.float64)
TO_COLOUR_INDEX: Matrix = np.array([[0.5, 0, MARGIN - 0.5], [0, 0.5, MARGIN - 0.5], [0, 0, 1]], np.float64)
# A map this close to a shift is one; over a whole frame it is off by less than half a pixel, the same in every frame.
ALMOST = 1.5e-3
TAPS = 6
INVISIBLE = 0.004


class Frame:
    """One video frame, `video`, and its three planes, which share its memory."""

    def __init__(self, width: int, height: int) -> None:
        self.video = VideoFrame(width, height, "yuv420p")
        self.luma, self.blue, self.red = (
            np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
            for plane in self.video.planes
        )

    @property
    def yuv(self) -> Pixels:
        """A copy as I420, the planes one below the other."""
        return self.video.to_ndarray()


class Background:
    """A picture that fills the frame. rgb: height x width x 3, both sides even."""

    def __init__(self, rgb: Pixels) -> None:
        self._luma, self._blue, self._red = (_with_margin(plane, cv2.BORDER_REFLECT_101) for plane in _planes(rgb))

    def draw(self, frame: Frame, to_picture: Matrix) -> None:
        """Fill the frame. to_picture: points of the frame → points of the picture, 3x3."""
        fine, coarse = _index_maps(to_picture)
        for plane, matrix, into in (
            (self._luma, fine, frame.luma),
            (self._blue, coarse, frame.blue),
            (self._red, coarse, frame.red),
        ):
            into[...] = _sampled(plane, matrix, into.shape)


class Subject:
    """What stands before the background, cut to the part that is not transparent.

    rgb: height x width x 3, as large as the background. alpha: height x width, 0…1, not all 0.
    """

    def __init__(self, rgb: Pixels, alpha: Weights) -> None:
        rows, columns = np.flatnonzero(alpha.max(1) > INVISIBLE), np.flatnonzero(alpha.max(0) > INVISIBLE)
        height, width = alpha.shape
        self._top, self._bottom = _even(int(rows[0]) - 4, height), _even(int(rows[-1]) + 6, height)
        self._left, self._right = _even(int(columns[0]) - 4, width), _even(int(columns[-1]) + 6, width)
        inside = np.s_[self._top : self._bottom, self._left : self._right]
        luma, blue, red = _planes(np.ascontiguousarray(rgb[inside]))
        cover: Pixels = np.asarray(alpha[inside] * 255 + 0.5, np.uint8)
        half = (cover.shape[1] // 2, cover.shape[0] // 2)
        colour_cover = cv2.resize(cover, half, interpolation=cv2.INTER_AREA)
        # Multiplied once here, so that warping mixes no colour from beyond the edge into it.
        self._alpha, self._colour_alpha, self._luma, self._blue, self._red = (
            _with_margin(plane, cv2.BORDER_CONSTANT)
            for plane in (
                cover,
                colour_cover,
                cv2.multiply(luma, cover, scale=1 / 255),
                cv2.multiply(blue, colour_cover, scale=1 / 255),
                cv2.multiply(red, colour_cover, scale=1 / 255),
            )
        )

    def draw(self, frame: Frame, to_picture: Matrix) -> None:
        """Put it over what the frame holds. to_picture: points of the frame → points of the whole picture, 3x3."""
        corners = np.array(
            [
                [self._left, self._right, self._left, self._right],
                [self._top, self._top, self._bottom, self._bottom],
                [1, 1, 1, 1],
            ]
        )
        seen = np.linalg.inv(to_picture) @ corners
        height, width = frame.luma.shape
        left, right = _even(int(seen[0].min()) - 2, width), _even(int(seen[0].max()) + 4, width)
        top, bottom = _even(int(seen[1].min()) - 2, height), _even(int(seen[1].max()) + 4, height)
        if right <= left or bottom <= top:
            return
        moved = _shift(-self._left, -self._top) @ to_picture @ _shift(left, top)
        fine, coarse = _index_maps(moved)
        whole = frame.luma[top:bottom, left:right]
        _over(whole, _sampled(self._alpha, fine, whole.shape), _sampled(self._luma, fine, whole.shape))
        half = np.s_[top // 2 : bottom // 2, left // 2 : right // 2]
        cover = _sampled(self._colour_alpha, coarse, frame.blue[half].shape)
        _over(frame.blue[half], cover, _sampled(self._blue, coarse, cover.shape))
        _over(frame.red[half], cover, _sampled(self._red, coarse, cover.shape))


def _planes(rgb: Pixels) -> tuple[Pixels, Pixels, Pixels]:
    luma, blue, red = cv2.split(cv2.transform(rgb, TO_YUV))
    half = (rgb.shape[1] // 2, rgb.shape[0] // 2)
    return luma, cv2.resize(blue, half, interpolation=cv2.INTER_AREA), cv2.resize(red, half, interpolation=cv2.INTER_AREA)


def _index_maps(to_picture: Matrix) -> tuple[Matrix, Matrix]:
    """From pixel indices of the frame's luma and colour planes to those of the picture's, 2x3."""
    return (TO_INDEX @ to_picture @ PIXELS)[:2], (TO_COLOUR_INDEX @ to_picture @ COLOUR_PIXELS)[:2]


def _with_margin(plane: Pixels, border: int) -> Pixels:
    return np.asarray(cv2.copyMakeBorder(plane, MARGIN, MARGIN, MARGIN, MARGIN, border), np.uint8)


def _over(under: Pixels, cover: Pixels, multiplied: Pixels) -> None:
    under[...] = cv2.add(cv2.multiply(under, cv2.bitwise_not(cover), scale=1 / 255), multiplied)


def _sampled(source: Pixels, matrix: Matrix, shape: tuple[int, ...]) -> Pixels:
    """The source seen through a map of pixel indices, 2x3, as an array of the shape."""
    height, width = shape
    if max(abs(matrix[0, 0] - 1), abs(matrix[1, 1] - 1), abs(matrix[0, 1]), abs(matrix[1, 0])) < ALMOST:
        shifted = _shifted(source, float(matrix[0, 2]), float(matrix[1, 2]), (height, width))
        if shifted is not None:
            return shifted
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(source, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, np.uint8)


def _shifted(source: Pixels, x: float, y: float, shape: tuple[int, int]) -> Pixels | None:
    """A window of the source at a fractional position, sharper than a warp and cheaper; None if it leaves the source."""
    height, width = shape
    left, top = int(np.floor(x + 1e-3)), int(np.floor(y + 1e-3))
    before, after = TAPS // 2 - 1, TAPS // 2
    window = source[max(0, top - before) : top + height + after, max(0, left - before) : left + width + after]
    if window.shape != (height + TAPS - 1, width + TAPS - 1):
        return None
    across, down = _lanczos(x - left), _lanczos(y - top)
    if across is None:
        window = window[:, before : before + width]
    else:
        window = cv2.filter2D(window, cv2.CV_8U, across[None], anchor=(before, 0))[:, before : before + width]
    if down is None:
        return window[before : before + height]
    return np.asarray(cv2.filter2D(window, cv2.CV_8U, down[:, None], anchor=(0, before)), np.uint8)[before : before + height]


def _lanczos(fraction: float) -> Weights | None:
    """The weights of the TAPS pixels around a position between two; None where it is on one."""
    if not 1e-3 < fraction < 1 - 1e-3:
        return None
    reach = TAPS // 2
    distances = [pi * (index - reach + 1 - fraction) for index in range(TAPS)]
    weights = np.array([sin(d) * sin(d / reach) / (d * d) for d in distances])
    return np.asarray(weights / weights.sum(), np.float32)


def _shift(x: float, y: float) -> Matrix:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def _even(value: int, limit: int) -> int:
    return min(max(0, value), limit) // 2 * 2
