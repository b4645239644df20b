"""Pictures: a storyboard still from words alone, else a composition of the pictures that were given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from genway.providers.local import grade, looks, picture
from genway.providers.local.backdrop import mood_for
from genway.providers.local.film import covering, subject
from genway.providers.local.job import RenderJob, RenderResult
from genway.providers.local.motion import Box
from genway.providers.local.picture import Pixels
from genway.providers.local.storyboard import Card

GAP = 0.012
LOOK_SHARE = 0.9
CLOSER = 1.16


def render(job: RenderJob, progress: Callable[[float], None]) -> RenderResult:
    """Write `image-0.png` … , `count` of them. Raises RenderFailed.

    Without pictures: the prompt on a card that says it is a storyboard, each in other colours. With one: that picture in
    the asked size and in the look the prompt names, each a step closer. With several: all of them on a board.
    """
    pictures = [picture.read(path, job.max_pixels, 2 * max(job.width, job.height)).rgb for path in job.images]
    progress(0.1)
    written = []
    for index in range(job.count):
        rgb = _composed(job, pictures, index)
        written.append(picture.save(Path(job.out_dir) / f"image-{index}.png", rgb))
        progress(0.1 + 0.9 * (index + 1) / job.count)
    return RenderResult(images=tuple(written))


def _composed(job: RenderJob, pictures: list[Pixels], index: int) -> Pixels:
    if not pictures:
        return _finished(job, Card(job, seconds=0, seed=job.seed + index).at(0), graded=False)
    rgb = _alone(pictures[0], job, index) if len(pictures) == 1 else _board(pictures, job, index)
    if (look := looks.named(job.prompt)) is not None and look is not looks.cinematic:
        styled = look(looks.Scene(rgb, LOOK_SHARE, job.prompt, job.seed + index))(rgb)
        rgb = cv2.addWeighted(styled, LOOK_SHARE, rgb, 1 - LOOK_SHARE, 0)
    return _finished(job, rgb, graded=True)


def _alone(rgb: Pixels, job: RenderJob, index: int) -> Pixels:
    """The picture in the asked size; further ones of a series come closer to what it is about."""
    about = subject(rgb, job.width, job.height)
    if index:
        height, width = rgb.shape[:2]
        share = CLOSER**-index
        box = about or Box(0.0, 0.0, width, height)
        x, y = (box.left + box.right) / 2, box.top + 0.45 * box.height
        left = round(min(max(0.0, x - share * width / 2), width * (1 - share)))
        top = round(min(max(0.0, y - share * height / 2), height * (1 - share), max(0.0, box.top - 0.04 * height)))
        rgb = np.ascontiguousarray(rgb[top : top + max(2, round(share * height)), left : left + max(2, round(share * width))])
        about = None
    return covering(rgb, job.width, job.height, about)


def _board(pictures: list[Pixels], job: RenderJob, index: int) -> Pixels:
    """All pictures in rows with a thin gap, each cut as little as the common rectangle allows."""
    turned = pictures[index % len(pictures) :] + pictures[: index % len(pictures)]
    gap = max(2, round(GAP * min(job.width, job.height)))
    board = np.empty((job.height, job.width, 3), np.uint8)
    board[:] = mood_for(job.prompt, job.seed).ground
    inner_width, inner_height = job.width - gap, job.height - gap
    rows = _rows([rgb.shape[1] / rgb.shape[0] for rgb in turned], inner_width / inner_height)
    heights = np.array([1 / sum(aspects) for aspects in rows])
    bottoms = np.rint(np.cumsum(heights / heights.sum()) * inner_height).astype(int)
    remaining = iter(turned)
    for aspects, top, bottom in zip(rows, (0, *bottoms[:-1]), bottoms, strict=True):
        rights = np.rint(np.cumsum(aspects) / sum(aspects) * inner_width).astype(int)
        for left, right in zip((0, *rights[:-1]), rights, strict=True):
            width, height = max(2, right - left - gap), max(2, bottom - top - gap)
            cell = board[top + gap : top + gap + height, left + gap : left + gap + width]
            rgb = next(remaining)
            cell[:] = covering(rgb, width, height, subject(rgb, width, height))[: cell.shape[0], : cell.shape[1]]
    return board


def _rows(aspects: list[float], ratio: float) -> list[list[float]]:
    """The pictures' proportions in as many rows as come nearest to the board's own."""
    tried = [
        [list(part) for part in np.array_split(np.array(aspects), rows) if len(part)] for rows in range(1, len(aspects) + 1)
    ]
    return min(tried, key=lambda rows: abs(np.log(sum(1 / sum(row) for row in rows) * ratio)))


def _finished(job: RenderJob, rgb: Pixels, graded: bool) -> Pixels:
    """The look `cinematic`, where the style asks for it."""
    if not grade.wanted(job.style):
        return rgb
    luma, *colour = cv2.split(cv2.cvtColor(grade.graded(rgb) if graded else rgb, cv2.COLOR_RGB2YCrCb))
    limited = cv2.convertScaleAbs(luma, alpha=219 / 255, beta=16)
    grade.Lens(job.width, job.height, job.seed).apply(limited, 0)
    luma = np.clip((limited.astype(np.float32) - 16) * (255 / 219) + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.merge([luma, *colour]), cv2.COLOR_YCrCb2RGB))
