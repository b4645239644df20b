"""A clip into the same clip in another look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

import cv2
import numpy as np

from genway.providers.local import grade, looks, picture
from genway.providers.local.clip import Clip, at_rate, colour_statistics
from genway.providers.local.film import film, lens_for
from genway.providers.local.job import RenderFailed, RenderJob, RenderResult
from genway.providers.local.looks import Look, Scene
from genway.providers.local.picture import Pixels

# How fast a still part of the picture follows its source, and from which change on it counts as moving.
CALM = 0.4
MOVING = 22.0


def render(job: RenderJob, progress: Callable[[float], None]) -> RenderResult:
    """Make the video: at most `seconds` of the source, in the look that the prompt or the reference pictures ask for.

    `strength` 0 shows the source, 1 the look alone. The sound is dropped. Raises RenderFailed for what is no video, is broken,
    too long or too large.
    """
    if job.video is None:
        raise RenderFailed(RenderFailed.INVALID, "there is no video to restyle")
    with Clip(job.video, job.max_pixels, job.max_seconds) as clip:
        progress(0.03)
        seconds = min(job.seconds, clip.seconds or job.seconds)
        count = max(1, round(seconds * job.fps))
        frames = at_rate(clip.moments(), Fraction(job.fps), job.seconds, clip.rate)
        pictures = (clip.covering(frame, job.width, job.height) for frame in frames)
        return film(job, _restyled(job, pictures), progress, count=count, lens=lens_for(job))


def _restyled(job: RenderJob, frames: Iterator[Pixels]) -> Iterator[Pixels]:
    first = next(frames, None)
    if first is None:
        return
    strength = min(1.0, max(0.0, job.strength))
    make = looks.named(f"{job.prompt} {job.style}") or looks.palette
    look = make(Scene(first, strength, job.prompt, job.seed))
    tint = _tint(first, job)
    steady = Steady(first)
    share = 1 - (1 - strength) ** 2
    for rgb in _again(first, frames):
        yield _mixed(rgb, look(tint(steady(rgb))), share)


class Steady:
    """Noise of the source, which a look would turn into flicker, calmed where nothing moves."""

    def __init__(self, first: Pixels) -> None:
        self._state = first

    def __call__(self, rgb: Pixels) -> Pixels:
        """The next frame, height x width x 3."""
        red, green, blue = cv2.split(cv2.absdiff(rgb, self._state))
        moving = cv2.blur(cv2.max(cv2.max(red, green), blue).astype(np.float32), (9, 9)) / MOVING
        share = np.minimum(CALM + moving * moving, 1)
        self._state = cv2.blendLinear(rgb, self._state, share, 1 - share)
        return self._state


def _tint(first: Pixels, job: RenderJob) -> Look:
    """The colours of the reference pictures, by the mean and spread of each channel of CIELAB, measured once."""
    if not job.images:
        return grade.graded if grade.wanted(job.style) else _unchanged
    taken = [colour_statistics(picture.load(path, job.max_pixels)) for path in job.images]
    mean, spread = (np.mean([statistics[part] for statistics in taken], axis=0) for part in (0, 1))
    own_mean, own_spread = colour_statistics(first)
    gain = np.clip(spread / np.maximum(own_spread, 1.0), 0.5, 2.0)
    shift = mean - own_mean * gain
    shift[0] = 0.5 * shift[0] + 0.5 * own_mean[0] * (1 - gain[0])
    matrix = np.hstack([np.diag(gain), shift[:, None]])

    def tint(rgb: Pixels) -> Pixels:
        lab = cv2.transform(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), matrix)
        return np.asarray(np.clip(cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_LAB2RGB) * 255 + 0.5, 0, 255), np.uint8)

    return tint


def _unchanged(rgb: Pixels) -> Pixels:
    return rgb


def _mixed(source: Pixels, styled: Pixels, share: float) -> Pixels:
    return source if share == 0 else cv2.addWeighted(styled, share, source, 1 - share, 0)


def _again(first: Pixels, rest: Iterator[Pixels]) -> Iterator[Pixels]:
    yield first
    yield from rest
