"""Layers onto frames, in the encoder's own YUV planes: half the work of RGB, and nothing to convert for each frame."""

from __future__ import annotations

import cv2
import numpy as np

from genway.providers.local.layers import Layers
from genway.providers.local.motion import Matrix
from genway.providers.local.picture import Pixels

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
TO_INDEX: Matrix = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]], np.float64)
TO_COLOUR_INDEX: Matrix = np.array([[0.5, 0, -0.5], [0, 0.5, -0.5], [0, 0, 1]], np.float64)
INVISIBLE = 0.004


class Frame:
    """One I420 frame, `yuv`, and its three planes, which share its memory."""

    def __init__(self, width: int, height: int) -> None:
        self.yuv: Pixels = np.empty((height * 3 // 2, width), np.uint8)
        flat = self.yuv.reshape(-1)
        luma, colour = width * height, width * height // 4
        self.luma: Pixels = flat[:luma].reshape(height, width)
        self.blue: Pixels = flat[luma : luma + colour].reshape(height // 2, width // 2)
        self.red: Pixels = flat[luma + colour :].reshape(height // 2, width // 2)


class Background:
    """A picture that fills the frame. rgb: height x width x 3, both sides even."""

    def __init__(self, rgb: Pixels) -> None:
        self._luma, self._blue, self._red = _planes(rgb)

    def draw(self, frame: Frame, to_picture: Matrix) -> None:
        """Fill the frame. to_picture: points of the frame → points of the picture, 3x3."""
        fine, coarse = _index_maps(to_picture)
        _fill(self._luma, fine, frame.luma)
        _fill(self._blue, coarse, frame.blue)
        _fill(self._red, coarse, frame.red)


class Subject:
    """What stands before the background, cut to the part that is not transparent."""

    def __init__(self, layers: Layers) -> None:
        rows = np.flatnonzero(layers.alpha.max(1) > INVISIBLE)
        columns = np.flatnonzero(layers.alpha.max(0) > INVISIBLE)
        height, width = layers.alpha.shape
        self._top, self._bottom = _even(int(rows[0]) - 4, height), _even(int(rows[-1]) + 6, height)
        self._left, self._right = _even(int(columns[0]) - 4, width), _even(int(columns[-1]) + 6, width)
        inside = np.s_[self._top : self._bottom, self._left : self._right]
        luma, blue, red = _planes(np.ascontiguousarray(layers.foreground[inside]))
        self._alpha = np.asarray(layers.alpha[inside] * 255 + 0.5, np.uint8)
        half = (self._alpha.shape[1] // 2, self._alpha.shape[0] // 2)
        self._colour_alpha = np.asarray(cv2.resize(self._alpha, half, interpolation=cv2.INTER_AREA), np.uint8)
        # Multiplied once here, so that warping mixes no colour from beyond the edge into it.
        self._luma = cv2.multiply(luma, self._alpha, scale=1 / 255)
        self._blue = cv2.multiply(blue, self._colour_alpha, scale=1 / 255)
        self._red = cv2.multiply(red, self._colour_alpha, scale=1 / 255)

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
        _over(frame.luma[top:bottom, left:right], fine, self._alpha, self._luma)
        half = np.s_[top // 2 : bottom // 2, left // 2 : right // 2]
        _over(frame.blue[half], coarse, self._colour_alpha, self._blue)
        _over(frame.red[half], coarse, self._colour_alpha, self._red)


def _planes(rgb: Pixels) -> tuple[Pixels, Pixels, Pixels]:
    luma, blue, red = cv2.split(cv2.transform(rgb, TO_YUV))
    half = (rgb.shape[1] // 2, rgb.shape[0] // 2)
    return luma, cv2.resize(blue, half, interpolation=cv2.INTER_AREA), cv2.resize(red, half, interpolation=cv2.INTER_AREA)


def _index_maps(to_picture: Matrix) -> tuple[Matrix, Matrix]:
    """From pixel indices of the frame's luma and colour planes to those of the picture's, 2x3."""
    return (TO_INDEX @ to_picture @ PIXELS)[:2], (TO_COLOUR_INDEX @ to_picture @ COLOUR_PIXELS)[:2]


def _fill(source: Pixels, matrix: Matrix, into: Pixels) -> None:
    cv2.warpAffine(
        source,
        matrix,
        (into.shape[1], into.shape[0]),
        dst=into,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )


def _over(under: Pixels, matrix: Matrix, alpha: Pixels, multiplied: Pixels) -> None:
    size = (under.shape[1], under.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cover = cv2.warpAffine(alpha, matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    colour = cv2.warpAffine(multiplied, matrix, size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    rest = cv2.multiply(under, cv2.bitwise_not(cover), scale=1 / 255)
    under[...] = cv2.add(rest, colour)


def _shift(x: float, y: float) -> Matrix:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], np.float64)


def _even(value: int, limit: int) -> int:
    return min(max(0, value), limit) // 2 * 2
