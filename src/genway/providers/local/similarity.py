"""Shift, turn and zoom of a whole picture, as one motion that can be run for any part of its way."""

from __future__ import annotations

import cmath
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from genway.providers.local.picture import Pixels

ENOUGH_MATCHES = 10
RATIO = 0.75
LARGEST_ZOOM = 3.0
# From these distances on, in pixels and in shades of grey, something else is going on than the motion of the whole.
APART = 2.0
UNLIKE = 14


class Similarity(NamedTuple):
    """z → a·z + b over points x + iy. |a| is the zoom, its angle the turn, b the shift at the origin, in pixels."""

    a: complex = 1 + 0j
    b: complex = 0j

    def power(self, part: float) -> Similarity:
        """The same motion, run at constant speed for `part` of its way; negative runs it backwards.

        A turn runs along its arc and a zoom in equal ratios, which straight lines from pixel to pixel would not do.
        """
        a = cmath.exp(part * cmath.log(self.a))
        if abs(self.a - 1) < 1e-9:
            return Similarity(a, self.b * part)
        return Similarity(a, self.b * (a - 1) / (self.a - 1))

    def after(self, first: Similarity) -> Similarity:
        """`first`, then this."""
        return Similarity(self.a * first.a, self.a * first.b + self.b)

    def inverse(self) -> Similarity:
        return Similarity(1 / self.a, -self.b / self.a)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """2 x 3, as OpenCV takes it."""
        return np.array([[self.a.real, -self.a.imag, self.b.real], [self.a.imag, self.a.real, self.b.imag]])

    def corners(self, width: int, height: int) -> NDArray[np.float64]:
        """Where the corners of a picture of this size come to lie: 4 x 2."""
        points = (complex(x, y) for x in (0, width - 1) for y in (0, height - 1))
        return np.array([(z.real, z.imag) for z in (self.a * p + self.b for p in points)])


def motions(first: Pixels, last: Pixels, most: int = 4) -> list[Similarity]:
    """What carries the first grey picture onto the last, of one size: the motion of the whole, then of things that move apart.

    The whole does not move where nothing better can be told.
    """
    candidates = [*_agreed(_matches(first, last), 2), *_from_correlation(first, last)]
    whole = next((one for one in candidates if _carries(one, first, last)), Similarity())
    unexplained = _unexplained(first, last, whole), _unexplained(last, first, whole.inverse())
    apart = _agreed(_matches(first, last, unexplained), most)
    height, width = first.shape
    home = whole.corners(width, height)
    return [whole, *(one for one in apart if np.abs(one.corners(width, height) - home).max() > APART)][:most]


def _carries(motion: Similarity, first: Pixels, last: Pixels) -> bool:
    return _difference(first, last, motion) < 0.9 * _difference(first, last, Similarity())


def _unexplained(first: Pixels, last: Pixels, motion: Similarity) -> Pixels:
    """Where the first picture shows what the last does not show at the place to which the motion carries it: 0 or 255."""
    height, width = first.shape
    back = cv2.warpAffine(
        last, motion.matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    unlike = cv2.absdiff(cv2.GaussianBlur(first, (0, 0), 1.5), cv2.GaussianBlur(back, (0, 0), 1.5))
    return np.asarray(cv2.dilate(cv2.compare(unlike, UNLIKE, cv2.CMP_GT), np.ones((15, 15), np.uint8)))


def _matches(first: Pixels, last: Pixels, where: tuple[Pixels, Pixels] | None = None) -> NDArray[np.float32]:
    """Points of the first picture and the points of the last that look like them: n x 2 x 2."""
    detector = cv2.SIFT.create(nfeatures=2000, contrastThreshold=0.02 if where is None else 0.012)
    masks = (None, None) if where is None else where
    points_0, words_0 = detector.detectAndCompute(first, masks[0])
    points_1, words_1 = detector.detectAndCompute(last, masks[1])
    if words_0 is None or words_1 is None or min(len(points_0), len(points_1)) < ENOUGH_MATCHES:
        return np.empty((0, 2, 2), np.float32)
    pairs = [
        (points_0[best.queryIdx].pt, points_1[best.trainIdx].pt)
        for best, second in cv2.BFMatcher().knnMatch(words_0, words_1, k=2)
        if best.distance < RATIO * second.distance
    ]
    return np.array(pairs, np.float32).reshape(-1, 2, 2)


def _agreed(pairs: NDArray[np.float32], most: int) -> list[Similarity]:
    """One motion after the other, each of the points that none before it explains."""
    found: list[Similarity] = []
    cv2.setRNGSeed(0)
    while len(found) < most and len(pairs) >= ENOUGH_MATCHES:
        start, end = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
        matrix, inliers = cv2.estimateAffinePartial2D(
            start, end, method=cv2.RANSAC, ransacReprojThreshold=2.0, maxIters=3000, confidence=0.999
        )
        if matrix is None or inliers.sum() < ENOUGH_MATCHES:
            break
        motion = Similarity(complex(matrix[0, 0], matrix[1, 0]), complex(matrix[0, 2], matrix[1, 2]))
        if 1 / LARGEST_ZOOM < abs(motion.a) < LARGEST_ZOOM:
            found.append(motion)
        off = np.linalg.norm(cv2.transform(start[:, None], motion.matrix)[:, 0] - end, axis=1)
        pairs = pairs[off > 4.0]
    return found


def _from_correlation(first: Pixels, last: Pixels) -> list[Similarity]:
    """For soft pictures without corners: a shift only."""
    window = cv2.createHanningWindow((first.shape[1], first.shape[0]), cv2.CV_32F)
    (x, y), response = cv2.phaseCorrelate(first.astype(np.float32), last.astype(np.float32), window)
    return [Similarity(1 + 0j, complex(x, y))] if response > 0.3 else []


def _difference(first: Pixels, last: Pixels, motion: Similarity) -> float:
    """How much the pictures differ where they overlap after the motion: 0…255, or more where they hardly overlap."""
    height, width = first.shape
    moved = cv2.warpAffine(cv2.GaussianBlur(first, (0, 0), 2), motion.matrix, (width, height))
    there = cv2.erode(cv2.warpAffine(np.full_like(first, 255), motion.matrix, (width, height)), np.ones((9, 9), np.uint8)) > 250
    if there.mean() < 0.15:
        return 1e3
    return float(cv2.absdiff(moved, cv2.GaussianBlur(last, (0, 0), 2))[there].mean())
