"""Several pictures in one video: each has its time, moves, and becomes the next."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genway.operations import Camera
from genway.providers.local.job import RenderFailed, RenderJob
from genway.providers.local.sequence import Part, render, timetable
from providers.local.scenes import Pixels, frames_of, ignore, photo, psnr, save

WIDTH, HEIGHT = 320, 192
NAMES = ("coffee.png", "astronaut.png", "chelsea.png")


@pytest.fixture(scope="module")
def truths() -> list[Pixels]:
    return [photo(name, WIDTH, HEIGHT) for name in NAMES]


@pytest.fixture
def pictures(truths: list[Pixels], tmp_path: Path) -> tuple[str, ...]:
    return tuple(save(tmp_path / name, rgb) for name, rgb in zip(NAMES, truths, strict=True))


def shown(pictures: tuple[str, ...], folder: Path, **more: Any) -> list[Pixels]:
    values: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "seconds": 2.0} | more
    return frames_of(render(RenderJob(kind="sequence", out_dir=str(folder), images=pictures, **values), ignore).video)


def steps(frames: list[Pixels]) -> list[float]:
    return [float(np.abs(one.astype(np.float32) - other).mean()) for one, other in pairwise(frames)]


@pytest.mark.parametrize("loop", [False, True])
def test_it_passes_through_every_picture_in_order(
    loop: bool, truths: list[Pixels], pictures: tuple[str, ...], tmp_path: Path
) -> None:
    frames = shown(pictures, tmp_path, loop=loop)
    assert len(frames) == 48
    begin = 0
    for truth, part in zip(truths, timetable(3, 48, loop), strict=True):
        assert psnr(frames[begin], truth) > 30
        assert psnr(frames[begin + part.shot - 1], truth) < 30
        begin += part.shot + part.passage


def test_it_never_jumps_and_never_stands_still_for_long(pictures: tuple[str, ...], tmp_path: Path) -> None:
    changes = np.array(steps(shown(pictures, tmp_path)))
    assert changes.max() < 3 * np.median(changes)
    still = changes < 0.1 * np.median(changes)
    assert not (still[:-2] & still[1:-1] & still[2:]).any()


def test_the_end_of_a_loop_meets_the_start(pictures: tuple[str, ...], tmp_path: Path) -> None:
    frames = shown(pictures, tmp_path, loop=True)
    changes = steps([*frames, frames[0]])
    assert changes[-1] <= np.median(changes)


def test_a_motion_that_was_asked_for_is_that_of_every_shot(pictures: tuple[str, ...], tmp_path: Path) -> None:
    frames = shown(pictures, tmp_path, camera=Camera(roll=8))
    still = shown(pictures, tmp_path, prompt="static shot")
    begin = 0
    for part in timetable(3, 48):
        last = begin + part.shot - 1
        assert psnr(frames[begin], still[begin]) > 30
        assert psnr(frames[last], still[last]) < 25
        begin += part.shot + part.passage


def test_the_style_cinematic_holds_for_the_whole_of_it(pictures: tuple[str, ...], tmp_path: Path) -> None:
    plain, graded = (shown(pictures, tmp_path, seconds=0.5, style=style, seed=4) for style in ("", "cinematic"))
    assert all(psnr(one, other) < 30 for one, other in zip(plain, graded, strict=True))
    assert max(steps(graded)) < 1.5 * max(steps(plain)) + 2


@pytest.mark.parametrize(("pictures", "frames", "loop"), [(2, 120, False), (3, 47, True), (9, 240, False), (10, 6, True)])
def test_the_timetable_adds_up_and_is_fair(pictures: int, frames: int, loop: bool) -> None:
    parts = timetable(pictures, frames, loop)
    assert sum(part.shot + part.passage for part in parts) == frames
    assert max(part.shot for part in parts) - min(part.shot for part in parts) <= 1
    assert loop or parts[-1].passage == 0
    assert min(min(part) for part in parts) >= 0


def test_a_picture_is_longer_to_be_seen_than_on_its_way() -> None:
    assert timetable(2, 28) == [Part(10, 8), Part(10, 0)]


def test_the_same_job_gives_the_same_bytes(pictures: tuple[str, ...], tmp_path: Path) -> None:
    one, two = (
        render(RenderJob(kind="sequence", out_dir=str(tmp_path), images=pictures, width=160, height=96, seconds=0.5), ignore)
        and (tmp_path / "video.mp4").read_bytes()
        for _ in range(2)
    )
    assert one == two


def test_one_picture_is_no_sequence(pictures: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(RenderFailed, match="at least two"):
        shown(pictures[:1], tmp_path)
