"""One picture into a video: the camera moves, the subject in front of its background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from genway.providers.local import fit, grade, layers, mask, moves, picture
from genway.providers.local.compose import Background, Frame, Subject
from genway.providers.local.encode import VideoWriter, rgb_from_yuv
from genway.providers.local.job import RenderFailed, RenderJob, RenderResult
from genway.providers.local.motion import Box, Matrix, Motion, there_and_back
from genway.providers.local.picture import Pixels, Weights

# From this loss by cropping on it is worth knowing where the subject is, even if the motion needs no layers.
CROP_WORTH_A_LOOK = 0.15
# The raster is a little finer than the video, so that how sharp a frame is does not depend on where its pixels fall. What only
# shifts is filtered better than by a warp, and needs none of that.
FINER = 1.2
DENSITY_LIMIT = 1.7
PROGRESS_EVERY = 4
# An alpha channel cuts out a subject if it leaves at least this share of the picture empty, and as much filled.
CUT_OUT = 0.05
# An outline less sure than this is not cut along; the less sure it is, the less the layers are moved apart.
LEAST_TRUST = 0.88
# Enlarged from less than this, a picture has no outlines to cut along.
SMALLEST_TO_CUT = 128
HEAD_ROOM = 0.03
TOUCHING = 0.012


def render(job: RenderJob, progress: Callable[[float], None]) -> RenderResult:
    """Make the video, its first frame as a poster and its last frame. `loop` makes the camera return. Raises RenderFailed."""
    if not job.images:
        raise RenderFailed(RenderFailed.INVALID, "a camera move needs a picture")
    source = picture.read(job.images[0], job.max_pixels, longest=3 * max(job.width, job.height))
    progress(0.02)
    motion = Motion(moves.chosen(job.camera, job.prompt, job.seed), job.width, job.height, towards_rest=job.towards_image)
    scene = Scene(job, source, motion)
    progress(0.15)
    return _film(job, scene, progress)


def shot(job: RenderJob, rgb: Pixels, number: int = 0, *, towards_rest: bool = False) -> Scene:
    """The job's camera move, beginning (or ending) with exactly a frame: height x width x 3, of the job's size.

    number: of several, which then move differently where nobody said how.
    """
    camera = moves.onward(job.camera, job.prompt, job.seed + number, towards_rest)
    motion = Motion(camera, job.width, job.height, towards_rest=towards_rest)
    return Scene(msgspec.structs.replace(job, style=""), picture.Picture(rgb, None), motion, untouched=True)


class Scene:
    """What is before the camera: the background, perhaps a subject, and where they are at each moment.

    untouched: the picture has the frame's size, and at rest exactly it is seen.
    """

    def __init__(self, job: RenderJob, source: picture.Picture, motion: Motion, *, untouched: bool = False) -> None:
        rgb = grade.graded(source.rgb) if grade.wanted(job.style) else source.rgb
        shape, frame = (rgb.shape[1], rgb.shape[0]), (job.width, job.height)
        found: Weights | None = None
        exact = False
        if motion.parallax or fit.lost(shape, frame) > CROP_WORTH_A_LOOK:
            found, exact = _subject(source)
        box = None if found is None else _extent(found, shape)
        trust = 0.0 if found is None else 1.0 if exact else mask.trust(found)
        layered = motion.parallax and trust >= LEAST_TRUST and min(shape) >= SMALLEST_TO_CUT
        self.motion = motion = replace(motion, layered=layered, depth=trust**2 if layered else 1.0)
        placement = fit.UNTOUCHED if untouched else fit.place(shape, frame, motion.reach(), box)
        if box is not None:
            self.motion = motion = motion.about(*_points(motion, placement.to_frame(box), shape, placement))
            placement = fit.UNTOUCHED if untouched else fit.place(shape, frame, _kept_inside(motion, box, shape), box)
        if untouched:
            self.motion = motion = motion.kept_inside()
        reach = motion.reach().joined(motion.reach(foreground=True)) if motion.layered else motion.reach()
        smallest, largest = motion.growth()
        density = 1.0 if motion.glides else min(DENSITY_LIMIT, max(FINER * smallest, largest))
        if untouched and not motion.glides:
            density = DENSITY_LIMIT  # beside the very frame it goes on from, the least loss of sharpness would be seen
        sharp = 0.08 * max(frame)
        raster = fit.cut(rgb, found if motion.layered else None, placement, reach, density=density, sharp=sharp)
        self._to_raster = raster.to_raster
        self._subject: Subject | None = None
        if raster.alpha is not None and float(raster.alpha.max()) > 0.5:
            parts = layers.separate(raster.inner, raster.alpha, exact)
            self._subject = Subject(*raster.continued(parts.foreground, parts.alpha))
            self._background = Background(raster.surrounded(parts.background))
        else:
            self._background = Background(raster.rgb)

    def draw(self, frame: Frame, moment: float) -> None:
        """Fill the frame with what the camera sees at a moment."""
        self._background.draw(frame, self._seen(self.motion.background(moment)))
        if self._subject is not None:
            self._subject.draw(frame, self._seen(self.motion.foreground(moment)))

    def at(self, moment: float) -> Pixels:
        """What the camera sees at a moment: height x width x 3."""
        frame = Frame(self.motion.width, self.motion.height)
        self.draw(frame, moment)
        return rgb_from_yuv(frame.yuv)

    def _seen(self, moved: Matrix) -> Matrix:
        return self._to_raster @ np.linalg.inv(moved)


def _film(job: RenderJob, scene: Scene, progress: Callable[[float], None]) -> RenderResult:
    folder = Path(job.out_dir)
    video, poster, last = folder / "video.mp4", folder / "poster.png", folder / "last_frame.png"
    moments = there_and_back(job.frames) if job.loop else scene.motion.moments(job.frames)
    lens = grade.Lens(job.width, job.height, job.seed) if grade.wanted(job.style) else None
    with VideoWriter(video, job.width, job.height, fps=job.fps) as writer:
        for index, moment in enumerate(moments):
            frame = Frame(job.width, job.height)
            scene.draw(frame, moment)
            if lens is not None:
                lens.apply(frame.luma, index)
            writer.write_frame(frame.video)
            if index == 0:
                picture.save(poster, rgb_from_yuv(frame.yuv))
            if index % PROGRESS_EVERY == 0:
                progress(0.15 + 0.83 * index / len(moments))
    picture.save(last, rgb_from_yuv(frame.yuv))
    progress(1.0)
    return RenderResult(video=str(video), poster=str(poster), last_frame=str(last))


def _subject(source: picture.Picture) -> tuple[Weights | None, bool]:
    """The mask of the subject, and whether it is the picture's own alpha channel and no guess."""
    if source.alpha is not None:
        filled = float((source.alpha > 127).mean())
        if CUT_OUT <= filled <= 1 - CUT_OUT:
            return source.alpha.astype(np.float32) / 255, True
    return mask.subject(source.rgb), False


def _extent(found: Weights, shape: tuple[int, int]) -> Box | None:
    """Where the subject is, in pixels of a picture of shape (width, height)."""
    rows, columns = np.flatnonzero((found > 0.5).any(1)), np.flatnonzero((found > 0.5).any(0))
    if not len(rows):
        return None
    across, down = shape[0] / found.shape[1], shape[1] / found.shape[0]
    return Box(columns[0] * across, rows[0] * down, (columns[-1] + 1) * across, (rows[-1] + 1) * down)


def _kept_inside(motion: Motion, box: Box, shape: tuple[int, int]) -> Box:
    """What of the rest frame's plane must be picture: where the subject touches the border, all that it uncovers too."""
    reach = motion.reach()
    if not motion.layered:
        return reach
    further = reach.joined(motion.reach(foreground=True))
    near = TOUCHING * max(shape)
    return Box(
        further.left if box.left < near else reach.left,
        further.top if box.top < near else reach.top,
        further.right if box.right > shape[0] - near else reach.right,
        further.bottom if box.bottom > shape[1] - near else reach.bottom,
    )


def _points(
    motion: Motion, box: Box, shape: tuple[int, int], placement: fit.Placement
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where to zoom to, and where the subject stands: its lowest point, so that growing does not make it float."""
    x, y = (box.left + box.right) / 2, box.top + 0.4 * box.height
    width, height = motion.width, motion.height
    ground = min(box.bottom, (shape[1] - placement.top) * placement.scale)
    growth = motion.growth()[1]
    if growth <= 1:
        return (width / 2, height / 2), (x, ground)
    # The highest point to zoom to at which the subject's head, growing with it, is still inside the frame at the end.
    head = ground - (ground - box.top) * motion.nearer()
    highest = (growth * head - HEAD_ROOM * height) / (growth - 1)
    return (
        (min(max(x, 0.3 * width), 0.7 * width), max(0.0, min(max(y, 0.3 * height), 0.7 * height, highest))),
        (x, ground),
    )
