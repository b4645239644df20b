"""The pictures that lie between two pictures.

The common motion of the whole picture is found first and run along its own path; what moves besides it is found by
dense optical flow in both directions. A moment in between shows each thing where it is by then, from whichever of the two
pictures it can be seen in. Where the two directions contradict each other the flow is not trusted, and one picture
dissolves into the other.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from genway.providers.local.picture import Pixels, Weights, resized
from genway.providers.local.similarity import Similarity, motions

WORKING_SIDE = 640
LARGEST_CANVAS = 1.6
TRUSTED_SHARE = (0.12, 0.35)
BREATH = 0.07


class Canvas(NamedTuple):
    """The plane halfway between both pictures: its size, and where the halfway frame's origin lies on it."""

    width: int
    height: int
    x: int
    y: int

    def shift(self) -> Similarity:
        return Similarity(1 + 0j, complex(self.x, self.y))


class Tween:
    """Two pictures of one size, height x width x 3, and everything in between."""

    def __init__(self, first: Pixels, last: Pixels) -> None:
        if first.shape != last.shape:
            raise ValueError(f"two pictures of one size were expected, got {first.shape} and {last.shape}")
        self._pictures = first, last
        self.height, self.width = first.shape[:2]
        factor = min(1.0, WORKING_SIDE / max(self.width, self.height))
        self._work = max(16, round(self.width * factor)), max(16, round(self.height * factor))
        small = resized(first, *self._work), resized(last, *self._work)
        self._motion, *others = motions(_grey(small[0]), _grey(small[1]))
        self._canvas = _canvas(self._motion, *self._work)
        self._prepare(small, others)

    def at(self, time: float) -> Pixels:
        """The picture at a moment, 0…1; exactly the first at 0 and exactly the last at 1."""
        if time <= 0 or time >= 1:
            return self._pictures[time >= 1].copy()
        to_canvas = self._to_canvas(0.5 - time)
        state = cv2.warpAffine(self._moved(time), to_canvas.matrix, self._work, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        moved, trust = state[..., :2], state[..., 2]
        grid = _grid(*self._work)
        halfway = _mapped(to_canvas, grid)
        parts = (-time, 1 - time)
        hidden, inside = zip(
            *(self._seen(which, halfway + part * moved, moved) for which, part in enumerate(parts)), strict=True
        )
        explained = np.maximum(np.abs(hidden[0] - hidden[1]), np.abs(inside[0] - inside[1]))
        trust = np.maximum(trust, explained * self._trust)
        moved = moved * trust[..., None]
        pictures = []
        for which, part in enumerate(parts):
            place = _mapped(self._to_canvas(0.5 - which).inverse(), halfway + part * moved)
            pictures.append(self._sampled(which, self._breathed(which, time, place) - grid))
        seen = [
            share * (1 - gone) * there**4 + 1e-3 for share, gone, there in zip((1 - time, time), hidden, inside, strict=True)
        ]
        last = cv2.GaussianBlur(seen[1] / (seen[0] + seen[1]) * trust + time * (1 - trust), (0, 0), 0.8)
        last = cv2.resize(last, (self.width, self.height))
        return np.asarray(cv2.blendLinear(pictures[0], pictures[1], 1 - last, last))

    def _prepare(self, pictures: tuple[Pixels, Pixels], others: list[Similarity]) -> None:
        """Both flows on the canvas, how far each is to be trusted, and what of each picture lies on the canvas at all."""
        size = self._canvas.width, self._canvas.height
        views, inside = [], []
        for picture, part in zip(pictures, (0.5, -0.5), strict=True):
            matrix = self._to_canvas(part).matrix
            views.append(_grey(cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)))
            inside.append(cv2.warpAffine(np.ones(picture.shape[:2], np.float32), matrix, size))
        across = self._to_canvas(-0.5), self._to_canvas(0.5).inverse()
        apart = [across[0].after(other).after(across[1]) for other in others]
        # Around a small thing the flow is drawn along by what is around it; the bare motion is not.
        candidates = [(Similarity(), True), *((motion, refined) for motion in apart for refined in (True, False))]
        best: list[tuple[Weights, Weights, Weights]] = []
        for motion, refined in candidates:
            there, back = (views[0], views[1], motion), (views[1], views[0], motion.inverse())
            flows = (_flow(*there), _flow(*back)) if refined else (_bare(*there), _bare(*back))
            for which in (0, 1):
                sure = _consistency(flows, inside, views, which)
                score = cv2.blur(sure, (7, 7))
                if len(best) < 2:
                    best.append((flows[which], sure, score + 0.1))
                    continue
                better = score > best[which][2]
                best[which] = (
                    np.where(better[..., None], flows[which], best[which][0]),
                    np.where(better, sure, best[which][1]),
                    np.where(better, score, best[which][2]),
                )
        self._sure = [sure for _, sure, _ in best]
        self._flows = [_filled(flow, sure) for flow, sure, _ in best]
        overlap = np.minimum(*inside) > 0.99
        share = float(np.mean([sure[overlap].mean() if overlap.any() else 0.0 for sure in self._sure]))
        self._trust = float(_step(np.array(share), *TRUSTED_SHARE))
        self._own = [np.dstack([flow, sure, there]) for flow, sure, there in zip(self._flows, self._sure, inside, strict=True)]
        self._candidates()

    def _to_canvas(self, part: float) -> Similarity:
        """From a picture that has `part` of the common motion before it to the canvas, which has half of it."""
        return self._canvas.shift().after(self._motion.power(part))

    def _candidates(self) -> None:
        """Where each pixel of each picture is and where it goes. The surest come last and so on top, of these the fastest."""
        grid = _grid(self._canvas.width, self._canvas.height).reshape(-1, 2)
        step = np.concatenate([self._flows[0].reshape(-1, 2), -self._flows[1].reshape(-1, 2)])
        sure = np.concatenate([confidence.ravel() for confidence in self._sure])
        rank = _step(sure, 0.1, 0.5) * (1 + np.sqrt((step**2).sum(1)) / 64)
        order = np.argsort(rank, kind="stable")
        is_last = order >= grid.shape[0]
        # What both are sure of is in both lists; once is enough.
        order = order[(sure[order] > 0.05) & ~(is_last & (sure[order] > 0.6))]
        self._from = np.concatenate([grid, grid])[order]
        self._step = step[order]
        self._is_last = (order >= grid.shape[0]).astype(np.float32)[:, None]
        self._sureness = sure[order]

    def _moved(self, time: float) -> Weights:
        """On the canvas at a moment: by how much what is there moves between the pictures (x, y), and how far to trust it."""
        height, width = self._canvas.height, self._canvas.width
        place = np.rint(self._from + (time - self._is_last) * self._step).astype(np.int32)
        x, y = place.T
        here = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        index = y[here] * width + x[here]
        moved = np.zeros((height * width, 2), np.float32)
        sure = np.zeros(height * width, np.float32)
        moved[index] = self._step[here]
        sure[index] = self._sureness[here]
        placed = sure.reshape(height, width)
        filled = _filled(moved.reshape(height, width, 2), placed)
        trust = _step(cv2.blur(cv2.dilate(placed, np.ones((5, 5), np.uint8)), (31, 31)), 0.25, 0.6) * self._trust
        return np.asarray(cv2.merge([*(cv2.medianBlur(axis, 5) for axis in cv2.split(filled)), trust]))

    def _seen(self, which: int, place: Weights, moved: Weights) -> tuple[Weights, Weights]:
        """At places of one picture: how surely what is there moves otherwise than assumed, and whether it is inside at all."""
        x, y, sure, inside = cv2.split(cv2.remap(self._own[which], place, None, cv2.INTER_LINEAR))
        sign = np.float32(1 - 2 * which)
        off = (x - sign * moved[..., 0]) ** 2 + (y - sign * moved[..., 1]) ** 2
        return cv2.dilate(sure * (1 - np.exp(off / -2)), np.ones((5, 5), np.uint8)), inside

    def _breathed(self, which: int, time: float, place: Weights) -> Weights:
        """While one picture dissolves into another without a common motion, both drift slowly closer."""
        far = BREATH * (1 - self._trust) * (time if which == 0 else time - 1)
        centre = np.array([(self._work[0] - 1) / 2, (self._work[1] - 1) / 2], np.float32)
        return np.asarray(centre + (place - centre) * np.float32(1 / (1 + far))) if far else place

    def _sampled(self, which: int, offset: Weights) -> Pixels:
        scale = np.array([self.width / self._work[0], self.height / self._work[1]], np.float32)
        offset = cv2.resize(offset, (self.width, self.height), interpolation=cv2.INTER_LINEAR) * scale
        place = _grid(self.width, self.height) + offset
        return np.asarray(cv2.remap(self._pictures[which], place, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101))


def _grey(picture: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))


def _grid(width: int, height: int) -> Weights:
    """The place of every pixel: height x width x 2, x first."""
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.dstack([x, y])


def _mapped(motion: Similarity, places: Weights) -> Weights:
    return np.asarray(cv2.transform(places, motion.matrix.astype(np.float32)))


def _canvas(motion: Similarity, width: int, height: int) -> Canvas:
    """Room for both pictures halfway between them, within reason."""
    corners = np.concatenate([motion.power(part).corners(width, height) for part in (-0.5, 0.5)])
    room = (LARGEST_CANVAS - 1) / 2
    left, top = (max(0, round(min(room * side, -low))) for side, low in zip((width, height), corners.min(0), strict=True))
    right, bottom = (
        max(0, round(min(room * side, high - side + 1))) for side, high in zip((width, height), corners.max(0), strict=True)
    )
    return Canvas(width + left + right, height + top + bottom, left, top)


def _flow(first: Pixels, last: Pixels, guess: Similarity) -> Weights:
    """Where each pixel of the first picture is in the last, as an offset, if it moves about as guessed: height x width x 2."""
    height, width = first.shape
    nearer = cv2.warpAffine(
        last, guess.matrix, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    grid = _grid(width, height)
    return _mapped(guess, grid + search.calc(first, nearer, None)) - grid


def _bare(first: Pixels, last: Pixels, motion: Similarity) -> Weights:
    """The same where all moves exactly as guessed."""
    grid = _grid(first.shape[1], first.shape[0])
    return np.asarray(_mapped(motion, grid) - grid)


def _consistency(flows: tuple[Weights, Weights], inside: list[Weights], views: list[Pixels], which: int) -> Weights:
    """How far a flow is to be trusted, 0…1: there and back again ends where it began, and it looks alike there."""
    there, back = flows[which], flows[1 - which]
    place = _grid(there.shape[1], there.shape[0]) + there
    off = there + cv2.remap(back, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    other = cv2.remap(views[1 - which], place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    unlike = cv2.blur(cv2.absdiff(views[which], other).astype(np.float32), (3, 3))
    within = inside[which] * cv2.remap(inside[1 - which], place, None, cv2.INTER_LINEAR)
    return np.asarray(np.exp(-(off**2).sum(2) / 0.8**2 - (unlike / 28) ** 2) * within**4)


def _filled(flow: Weights, sure: Weights) -> Weights:
    """Replace what is not sure by what its sure surroundings do, the slower of them first: what gets hidden is behind."""
    x, y = cv2.split(flow)
    weight = sure / (1 + (x * x + y * y) / 4)
    levels = [cv2.merge([x * weight, y * weight, weight])]
    while min(levels[-1].shape[:2]) > 4:
        height, width = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA))
    total = levels.pop()
    while levels:
        finer = levels.pop()
        total = finer + 0.25 * cv2.resize(total, (finer.shape[1], finer.shape[0]), interpolation=cv2.INTER_LINEAR)
    along_x, along_y, weight = cv2.split(total)
    weight += 1e-6
    share = np.minimum(sure * 1.5, 1)
    return np.asarray(cv2.merge([x * share + along_x / weight * (1 - share), y * share + along_y / weight * (1 - share)]))


def _step(value: Weights, low: float, high: float) -> Weights:
    """0 up to `low`, 1 from `high`, smooth in between."""
    part = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(part * part * (3 - 2 * part))
