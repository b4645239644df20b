"""A clip, and more of it: what is added goes on from its last frame, or leads up to its first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain

import msgspec

from genway.providers.local import picture
from genway.providers.local.camera import shot
from genway.providers.local.clip import Clip, at_rate
from genway.providers.local.film import covering, film, subject
from genway.providers.local.interpolate import moments
from genway.providers.local.job import RenderFailed, RenderJob, RenderResult
from genway.providers.local.picture import Pixels
from genway.providers.local.tween import Tween


def render(job: RenderJob, progress: Callable[[float], None]) -> RenderResult:
    """Make the video: the whole clip at its own size, and `seconds` more. The sound is dropped. Raises RenderFailed.

    The camera starts from rest at the clip's last frame, or, `before`, comes to rest at its first. With `last_image` the new
    part leads there (or comes from there); with `loop` it leads from the clip's last frame to its first.
    """
    if job.video is None:
        raise RenderFailed(RenderFailed.INVALID, "there is no video to extend")
    with Clip(job.video, job.max_pixels, job.max_seconds) as clip:
        width, height = (max(2, side // 2 * 2) for side in (clip.width, clip.height))
        job = msgspec.structs.replace(job, width=width, height=height)
        first, last, count = _ends(job, clip)
    progress(0.05)
    added = _added(job, first, last)
    parts = (added, _original(job)) if job.before else (_original(job), added)
    return film(job, chain(*parts), progress, count=count + job.frames)


def _added(job: RenderJob, first: Pixels, last: Pixels) -> Iterator[Pixels]:
    """The new frames. The clip's own, which they go on from or lead up to, is not repeated."""
    count = job.frames
    if job.loop:
        yield from _between(last, first, moments(count + 2)[1:-1])
    elif job.last_image is not None:
        rgb = picture.read(job.last_image, job.max_pixels, 2 * max(job.width, job.height)).rgb
        other = covering(rgb, job.width, job.height, subject(rgb, job.width, job.height))
        times = moments(count + 1)
        yield from _between(other, first, times[:-1]) if job.before else _between(last, other, times[1:])
    else:
        scene = shot(job, first if job.before else last, towards_rest=job.before)
        times = scene.motion.moments(count + 1)
        yield from map(scene.at, times[:-1] if job.before else times[1:])


def _between(first: Pixels, last: Pixels, times: list[float]) -> Iterator[Pixels]:
    tween = Tween(first, last)
    return (tween.at(time) for time in times)


def _original(job: RenderJob) -> Iterator[Pixels]:
    with Clip(job.video or "", job.max_pixels, job.max_seconds) as clip:
        for frame in at_rate(clip.moments(), Fraction(job.fps), job.max_seconds, clip.rate):
            yield clip.covering(frame, job.width, job.height)


def _ends(job: RenderJob, clip: Clip) -> tuple[Pixels, Pixels, int]:
    """The clip's first and last frame as they are shown, and how many there are at the job's rate."""
    frames = at_rate(clip.moments(), Fraction(job.fps), job.max_seconds, clip.rate)
    first = last = next(frames)
    count = 1
    for last in frames:  # noqa: B007 - the last is what is asked for
        count += 1
    return clip.covering(first, job.width, job.height), clip.covering(last, job.width, job.height), count
