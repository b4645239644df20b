"""A clip, larger: resampled, with its noise calmed and its edges sharpened. Nothing is made up."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import msgspec
import numpy as np

from genway.providers.local.clip import Clip, at_rate
from genway.providers.local.encode import PRESET
from genway.providers.local.film import film
from genway.providers.local.job import RenderFailed, RenderJob, RenderResult
from genway.providers.local.picture import Pixels

LONGEST_SIDE = 4096
NOISE = 9
SHARPENING = 0.9
# The encoder looks dozens of frames ahead; of very large ones it could not keep so many within the renderer's memory.
LARGE = 4_300_000
SIMPLE_PRESET = "ultrafast"


def render(job: RenderJob, progress: Callable[[float], None]) -> RenderResult:
    """Make the video: `factor` times the source's sides, at most 4096 pixels, with its length and frame rate. No sound.

    Frames of a source without a steady rate are put on its average one. Raises RenderFailed.
    """
    if job.video is None:
        raise RenderFailed(RenderFailed.INVALID, "there is no video to enlarge")
    with Clip(job.video, job.max_pixels, job.max_seconds) as clip:
        width, height = size(clip.width, clip.height, job.factor)
        larger = msgspec.structs.replace(job, width=width, height=height)
        seconds = clip.seconds or job.max_seconds
        frames = (
            enlarged(clip.upright(frame, clip.width, clip.height), width, height)
            for frame in at_rate(clip.moments(), clip.rate, job.max_seconds, clip.rate)
        )
        count = max(1, round(seconds * clip.rate))
        preset = SIMPLE_PRESET if width * height > LARGE else PRESET
        return film(larger, frames, progress, count=count, fps=clip.rate, preset=preset)


def size(width: int, height: int, factor: float) -> tuple[int, int]:
    """The sides of the result: `factor` times as long, less where the limit asks for it, even."""
    factor = min(factor, LONGEST_SIDE / max(width, height))
    across, down = (max(2, 2 * round(side * factor / 2)) for side in (width, height))
    return across, down


def enlarged(rgb: Pixels, width: int, height: int) -> Pixels:
    """One frame, height x width x 3. The brightness is sharpened, but never past the darkest and brightest pixel nearby."""
    luma, *colour = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb))
    calm = cv2.bilateralFilter(luma, 5, NOISE, 1.5)
    large = cv2.resize(calm, (width, height), interpolation=cv2.INTER_LANCZOS4)
    radius = max(0.6, 0.55 * width / rgb.shape[1])
    sharp = cv2.addWeighted(large, 1 + SHARPENING, cv2.GaussianBlur(large, (0, 0), radius), -SHARPENING, 0)
    around = np.ones((3, 3), np.uint8)
    low, high = (cv2.resize(extreme(calm, around), (width, height)) for extreme in (cv2.erode, cv2.dilate))
    bounded = cv2.min(cv2.max(sharp, low), high)
    colours = (cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC) for part in colour)
    return np.asarray(cv2.cvtColor(cv2.merge([bounded, *colours]), cv2.COLOR_YCrCb2RGB))
