"""More of a clip: nothing of it is lost, and nobody sees where the new part begins."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from genway.operations import Camera
from genway.providers.local.extend import render
from genway.providers.local.job import RenderFailed, RenderJob
from genway.providers.local.similarity import Similarity
from providers.local.scenes import Pixels, clip, frames_of, ignore, moving, photo, psnr, save

WIDTH, HEIGHT = 320, 192
OLD = NEW = 12


@pytest.fixture(scope="module")
def seen() -> list[Pixels]:
    """What a camera sees that comes to rest."""
    parts = tuple(0.5 - 0.5 * float(np.cos(np.pi * index / (OLD - 1))) for index in range(OLD))
    return moving("coffee.png", WIDTH, HEIGHT, motion=Similarity(1.05, 30), parts=parts)


@pytest.fixture
def source(seen: list[Pixels], tmp_path: Path) -> str:
    return clip(tmp_path / "source.mp4", seen)


def extended(source: str | None, folder: Path, **more: Any) -> list[Pixels]:
    values: dict[str, Any] = {"width": 0, "height": 0, "seconds": 0.5} | more
    return frames_of(render(RenderJob(kind="extend", out_dir=str(folder), video=source, **values), ignore).video)


def steps(frames: list[Pixels]) -> list[float]:
    """How much changes from each frame to the next, in shades."""
    return [float(np.abs(one.astype(np.float32) - other).mean()) for one, other in pairwise(frames)]


def has_no_jump(frames: list[Pixels], seam: int) -> bool:
    """Whether the step to frame number `seam` is no larger than steps are in this video."""
    changes = steps(frames)
    return changes[seam - 1] <= 1.2 * float(np.median(changes))


@pytest.mark.parametrize(
    ("motion", "before"),
    [
        (Camera(), False),
        (Camera(), True),
        (Camera(pan=8), False),
        (Camera(roll=8), True),
        (Camera(zoom=-8), False),
        (Camera(horizontal=-6, zoom=6), True),
    ],
)
def test_the_camera_goes_on_without_a_jump(motion: Camera, before: bool, source: str, tmp_path: Path) -> None:
    frames = extended(source, tmp_path, camera=motion, before=before)
    assert len(frames) == OLD + NEW
    assert has_no_jump(frames, NEW if before else OLD)
    added = frames[:NEW] if before else frames[OLD:]
    assert psnr(added[0], added[-1]) < 30


@pytest.mark.parametrize("before", [False, True])
def test_the_whole_clip_is_in_the_result(before: bool, seen: list[Pixels], source: str, tmp_path: Path) -> None:
    frames = extended(source, tmp_path, before=before)
    kept = frames[NEW:] if before else frames[:OLD]
    assert all(psnr(frame, truth) > 30 for frame, truth in zip(kept, seen, strict=True))


@pytest.mark.parametrize("before", [False, True])
def test_it_leads_to_a_given_picture_or_comes_from_it(before: bool, source: str, tmp_path: Path) -> None:
    goal = photo("astronaut.png", WIDTH, HEIGHT)
    frames = extended(source, tmp_path, last_image=save(tmp_path / "goal.png", goal), before=before)
    arrived, seam = (frames[0], NEW) if before else (frames[-1], OLD)
    assert psnr(arrived, goal) > 30
    assert has_no_jump(frames, seam)


@pytest.mark.parametrize("before", [False, True])
def test_a_loop_leads_from_the_end_of_the_clip_back_to_its_beginning(before: bool, source: str, tmp_path: Path) -> None:
    frames = extended(source, tmp_path, loop=True, before=before)
    assert len(frames) == OLD + NEW
    assert has_no_jump(frames, NEW if before else OLD)
    assert has_no_jump([*frames, frames[0]], len(frames))


def test_a_clip_of_odd_size_and_another_rate_becomes_a_usual_video(tmp_path: Path) -> None:
    frames = moving("coffee.png", 202, 118, motion=Similarity(1, 20), parts=tuple(index / 14 for index in range(15)))
    longer = extended(clip(tmp_path / "other.mp4", frames, fps=30), tmp_path, seconds=0.25)
    assert len(longer) == 12 + 6
    assert {frame.shape for frame in longer} == {(118, 202, 3)}


def test_poster_and_last_frame_are_those_of_the_longer_video(source: str, tmp_path: Path) -> None:
    job = RenderJob(kind="extend", out_dir=str(tmp_path), width=0, height=0, seconds=0.25, video=source, before=True)
    said: list[float] = []
    result = render(job, said.append)
    frames = frames_of(result.video)
    for path, frame in ((result.poster, frames[0]), (result.last_frame, frames[-1])):
        assert psnr(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), frame) > 32
    assert said == sorted(said)
    assert said[-1] == 1


def test_the_same_job_gives_the_same_bytes(source: str, tmp_path: Path) -> None:
    videos = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        job = RenderJob(kind="extend", out_dir=str(tmp_path / name), width=0, height=0, seconds=0.25, video=source, seed=3)
        videos.append(Path(str(render(job, ignore).video)).read_bytes())
    assert videos[0] == videos[1]


def test_without_a_clip_or_with_a_broken_one_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(RenderFailed, match="no video to extend"):
        extended(None, tmp_path)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with pytest.raises(RenderFailed, match="not a video"):
        extended(str(broken), tmp_path)
