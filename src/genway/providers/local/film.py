"""Frames, one after the other, into the three files of a video result."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from genway.providers.local import fit, grade, mask, picture
from genway.providers.local.encode import PRESET, VideoWriter, rgb_from_yuv, yuv_from_rgb
from genway.providers.local.job import RenderFailed, RenderJob, RenderResult
from genway.providers.local.motion import Box
from genway.providers.local.picture import Pixels

PROGRESS_EVERY = 4
# From this loss by cropping on it is worth knowing where the subject is.
CROP_WORTH_A_LOOK = 0.15


def film(
    job: RenderJob,
    frames: Iterable[Pixels],
    progress: Callable[[float], None],
    *,
    count: int | None = None,
    fps: Fraction | None = None,
    lens: grade.Lens | None = None,
    preset: str = PRESET,
) -> RenderResult:
    """Write `video.mp4`, `poster.png` (the first frame) and `last_frame.png` into the job's folder.

    frames: height x width x 3, of the job's size. count: how many are expected, for the progress, which is told as 0.1…1.
    fps: where it is not the job's. preset: of the encoder. Raises RenderFailed when no frame comes.
    """
    folder = Path(job.out_dir)
    video, poster, last = folder / "video.mp4", folder / "poster.png", folder / "last_frame.png"
    expected = count or job.frames
    yuv = None
    with VideoWriter(video, job.width, job.height, fps=fps or job.fps, preset=preset) as writer:
        for index, rgb in enumerate(frames):
            yuv = yuv_from_rgb(rgb)
            if lens is not None:
                lens.apply(yuv[: job.height], index)
            writer.write_yuv(yuv)
            if index == 0:
                picture.save(poster, rgb_from_yuv(yuv))
            if index % PROGRESS_EVERY == 0:
                progress(min(0.99, 0.1 + 0.89 * index / expected))
        if yuv is None:
            raise RenderFailed(RenderFailed.INVALID, "the video has no frames")
    picture.save(last, rgb_from_yuv(yuv))
    progress(1.0)
    return RenderResult(video=str(video), poster=str(poster), last_frame=str(last))


def lens_for(job: RenderJob) -> grade.Lens | None:
    """Vignette and grain, where the job's style asks for them."""
    return grade.Lens(job.width, job.height, job.seed) if grade.wanted(job.style) else None


def subject(rgb: Pixels, width: int, height: int) -> Box | None:
    """Where the subject of a picture is, in its pixels, if so much is cut off to fill the frame that it matters."""
    shape = rgb.shape[1], rgb.shape[0]
    weights = mask.subject(rgb) if fit.lost(shape, (width, height)) > CROP_WORTH_A_LOOK else None
    if weights is None or not (weights > 0.5).any():
        return None
    rows, columns = np.flatnonzero((weights > 0.5).any(1)), np.flatnonzero((weights > 0.5).any(0))
    across, down = shape[0] / weights.shape[1], shape[1] / weights.shape[0]
    return Box(columns[0] * across, rows[0] * down, (columns[-1] + 1) * across, (rows[-1] + 1) * down)


def covering(rgb: Pixels, width: int, height: int, about: Box | None = None) -> Pixels:
    """A picture made to fill a frame, with what it is about (a box in its pixels) in view.

    A picture of a shape far from the frame's gets made-up surroundings.
    """
    if rgb.shape[:2] == (height, width):
        return rgb
    frame = Box(0, 0, width, height)
    raster = fit.cut(
        rgb, None, fit.place((rgb.shape[1], rgb.shape[0]), (width, height), frame, about), frame, density=1.0, sharp=0.0
    )
    matrix = raster.to_raster[:2].copy()
    matrix[:, 2] += matrix[:, :2].sum(1) / 2 - 0.5  # from points to pixel indices, whose centres lie at .5
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(raster.rgb, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE))
