"""Two pictures into the video that leads from one to the other."""

from __future__ import annotations

from collections.abc import Callable

from genway.providers.local import grade, picture
from genway.providers.local.film import covering, film, lens_for, subject
from genway.providers.local.job import RenderFailed, RenderJob, RenderResult
from genway.providers.local.motion import Box, there_and_back
from genway.providers.local.picture import Pixels
from genway.providers.local.tween import Tween

# How much of the way is left to a calm start and end; the rest runs at an even speed.
EASED = 0.75


def render(job: RenderJob, progress: Callable[[float], None]) -> RenderResult:
    """Make the video: exactly `images[0]` at first and `last_image` at last, both fitted alike. Raises RenderFailed.

    `towards_image` runs it the other way round; `loop` goes to the last picture in the first half and back in the second.
    """
    if not job.images or job.last_image is None:
        raise RenderFailed(RenderFailed.INVALID, "a video between two pictures needs a first and a last one")
    first, last = _fitted(job)
    if job.towards_image:
        first, last = last, first
    progress(0.03)
    tween = Tween(first, last)
    progress(0.1)
    times = there_and_back(job.frames) if job.loop else moments(job.frames)
    return film(job, (tween.at(moment) for moment in times), progress, lens=lens_for(job))


def moments(frames: int) -> list[float]:
    """When each frame is, 0…1: 0 first and 1 last, slower at both ends."""
    even = [index / max(1, frames - 1) for index in range(frames)]
    return [part + EASED * (part * part * (3 - 2 * part) - part) for part in even]


def _fitted(job: RenderJob) -> tuple[Pixels, Pixels]:
    """Both pictures in the size of the video. Of one shape, they are cut alike, so that what is common stays in place."""
    longest = 2 * max(job.width, job.height)
    pictures = [picture.read(path, job.max_pixels, longest).rgb for path in (job.images[0], job.last_image or "")]
    shapes = [rgb.shape[1] / rgb.shape[0] for rgb in pictures]
    about = [subject(rgb, job.width, job.height) for rgb in pictures]
    if abs(shapes[0] - shapes[1]) < 0.01 and about[0] is not None:
        scale = pictures[1].shape[1] / pictures[0].shape[1]
        about[1] = Box(*(side * scale for side in (about[0].left, about[0].top, about[0].right, about[0].bottom)))
    fitted = [covering(rgb, job.width, job.height, box) for rgb, box in zip(pictures, about, strict=True)]
    if grade.wanted(job.style):
        fitted = [grade.graded(rgb) for rgb in fitted]
    return fitted[0], fitted[1]
