"""Several pictures into one moving sequence: each has its shot, and between two of them one becomes the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from genway.providers.local import grade, picture
from genway.providers.local.camera import shot
from genway.providers.local.film import covering, film, lens_for, subject
from genway.providers.local.interpolate import moments
from genway.providers.local.job import RenderFailed, RenderJob, RenderResult
from genway.providers.local.picture import Pixels
from genway.providers.local.tween import Tween

# How long it takes to get to the next picture, as a share of how long a picture has for itself.
PASSAGE = 0.8


class Part(NamedTuple):
    """So many frames of one picture's shot, then so many on the way to the next."""

    shot: int
    passage: int


def render(job: RenderJob, progress: Callable[[float], None]) -> RenderResult:
    """Make the video: every shot begins with exactly its picture, fitted to the frame. Raises RenderFailed.

    `loop` leads from the last picture back to the first. Of more pictures than frames some have none.
    """
    if len(job.images) < 2:
        raise RenderFailed(RenderFailed.INVALID, "a sequence needs at least two pictures")
    pictures = [_fitted(job, path) for path in job.images]
    progress(0.1)
    return film(job, _frames(job, pictures), progress, lens=lens_for(job))


def timetable(pictures: int, frames: int, loop: bool = False) -> list[Part]:
    """How the frames are shared among the pictures; the last has a passage only in a loop."""
    lengths = [length for number in range(pictures) for length in (1.0, PASSAGE if loop or number + 1 < pictures else 0.0)]
    ends = [round(frames * sum(lengths[: index + 1]) / sum(lengths)) for index in range(len(lengths))]
    counts = [end - begin for begin, end in zip((0, *ends[:-1]), ends, strict=True)]
    return [Part(*pair) for pair in zip(counts[::2], counts[1::2], strict=True)]


def _frames(job: RenderJob, pictures: list[Pixels]) -> Iterator[Pixels]:
    for number, part in enumerate(timetable(len(pictures), job.frames, job.loop)):
        if not part.shot and not part.passage:
            continue
        scene = shot(job, pictures[number], number)
        yield from (scene.at(moment) for moment in scene.motion.moments(part.shot))
        if part.passage:
            tween = Tween(scene.at(1), pictures[(number + 1) % len(pictures)])
            yield from (tween.at(moment) for moment in moments(part.passage + 2)[1:-1])


def _fitted(job: RenderJob, path: str) -> Pixels:
    rgb = picture.read(path, job.max_pixels, 2 * max(job.width, job.height)).rgb
    fitted = covering(rgb, job.width, job.height, subject(rgb, job.width, job.height))
    return grade.graded(fitted) if grade.wanted(job.style) else fitted
