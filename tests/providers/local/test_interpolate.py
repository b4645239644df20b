"""The video between two pictures, against motions of which the truth is known."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from genway.providers.local.interpolate import moments, render
from genway.providers.local.job import RenderFailed, RenderJob
from genway.providers.local.similarity import Similarity
from genway.providers.local.tween import Tween
from providers.local.scenes import frames_of, ignore, moving, photo, photo_path, psnr, save

WIDTH, HEIGHT = 480, 288

MOTIONS = {
    "a pan": (Similarity(1, 40 + 12j), None),
    "a pan over a quarter of the picture": (Similarity(1, 130 + 0j), None),
    "a zoom": (Similarity(1.25, 0), None),
    "a turn": (Similarity(complex(np.cos(0.2), np.sin(0.2)), 0), None),
    "a thing that moves alone": (Similarity(), 50 + 12j),
    "a thing that moves before a moving background": (Similarity(1.08, 24), 46 + 14j),
    "a thing that moves farther than it is wide": (Similarity(1, -16), 92 - 8j),
}


def job(folder: Path, first: str, last: str | None, **more: object) -> RenderJob:
    values = {"width": 320, "height": 192, "seconds": 0.5} | more
    return RenderJob(kind="between", out_dir=str(folder), images=(first,), last_image=last, **values)  # type: ignore[arg-type]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    first, last = moving("coffee.png", 320, 192, motion=Similarity(1.1, 30), parts=(0, 1))
    return save(tmp_path / "first.png", first), save(tmp_path / "last.png", last)


@pytest.mark.parametrize("name", MOTIONS)
def test_the_middle_of_a_known_motion_is_what_really_was_there(name: str) -> None:
    motion, thing = MOTIONS[name]
    first, truth, last = moving("coffee.png", WIDTH, HEIGHT, motion=motion, thing=thing)
    fade = cv2.addWeighted(first, 0.5, last, 0.5, 0)
    middle = Tween(first, last).at(0.5)
    assert psnr(middle, truth) >= 30
    assert psnr(middle, truth) >= psnr(fade, truth) + 5


def test_every_moment_of_a_motion_is_met_and_not_only_the_middle() -> None:
    parts = (0.0, 0.1, 0.3, 0.7, 0.9, 1.0)
    first, *truths, last = moving("astronaut.png", WIDTH, HEIGHT, motion=Similarity(1.15, 30 + 10j), parts=parts)
    tween = Tween(first, last)
    assert all(psnr(tween.at(part), truth) >= 30 for part, truth in zip(parts[1:-1], truths, strict=True))


def test_both_ends_are_exactly_the_pictures() -> None:
    first, last = photo("coffee.png", 320, 192), photo("astronaut.png", 320, 192)
    tween = Tween(first, last)
    assert (tween.at(0) == first).all()
    assert (tween.at(1) == last).all()
    assert psnr(tween.at(0.004), first) > 33
    assert psnr(tween.at(0.996), last) > 33


def test_a_real_stereo_pair_is_sharp_in_between() -> None:
    first, last = (photo(f"motorcycle_{side}.png", WIDTH, HEIGHT) for side in ("left", "right"))
    detail = [
        cv2.Laplacian(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var() for rgb in (first, Tween(first, last).at(0.5))
    ]
    fade = cv2.cvtColor(cv2.addWeighted(first, 0.5, last, 0.5, 0), cv2.COLOR_RGB2GRAY)
    assert detail[1] > 0.6 * detail[0]
    assert detail[1] > 1.25 * cv2.Laplacian(fade, cv2.CV_32F).var()


@pytest.mark.parametrize(
    ("one", "other"), [("coffee.png", "rocket.jpg"), ("chelsea.png", "astronaut.png"), ("page.png", "moon.png")]
)
def test_pictures_that_have_nothing_in_common_dissolve_and_are_not_torn(one: str, other: str) -> None:
    first, last = photo(one, 320, 192), photo(other, 320, 192)
    tween = Tween(first, last)
    for part in (0.25, 0.5, 0.75):
        faded = cv2.addWeighted(first, 1 - part, last, part, 0)
        coarse = [cv2.resize(rgb, (20, 12), interpolation=cv2.INTER_AREA) for rgb in (tween.at(part), faded)]
        assert psnr(*coarse) > 22


def test_equal_pictures_stand_still() -> None:
    rgb = photo("coffee.png", 320, 192)
    assert psnr(Tween(rgb, rgb.copy()).at(0.37), rgb) > 45


def test_plain_colours_go_over_into_each_other() -> None:
    first, last = np.full((96, 160, 3), 40, np.uint8), np.full((96, 160, 3), 200, np.uint8)
    assert abs(float(Tween(first, last).at(0.5).mean()) - 120) < 2


def test_time_starts_and_ends_calmly_and_never_runs_back() -> None:
    steps = np.diff(moments(48))
    assert moments(48)[0] == 0
    assert moments(48)[-1] == 1
    assert (steps > 0).all()
    assert steps[0] < 0.5 * steps.max() > steps[-1]
    assert moments(1) == [0]


def test_the_video_begins_with_the_one_picture_and_ends_with_the_other(tmp_path: Path, pair: tuple[str, str]) -> None:
    said: list[float] = []
    result = render(job(tmp_path, *pair), said.append)
    frames = frames_of(result.video)
    assert len(frames) == 12
    for path, frame in zip((*pair, result.poster, result.last_frame), (frames[0], frames[-1]) * 2, strict=True):
        assert psnr(frame, cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)) > 32
    assert said == sorted(said)
    assert said[-1] == 1
    with av.open(str(result.video)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.pix_fmt, stream.average_rate) == ("yuv420p", 24)
        assert (stream.codec_context.width, stream.codec_context.height) == (320, 192)


def test_towards_the_image_it_runs_the_other_way(tmp_path: Path, pair: tuple[str, str]) -> None:
    frames = frames_of(render(job(tmp_path, *pair, towards_image=True), ignore).video)
    assert psnr(frames[-1], cv2.cvtColor(cv2.imread(pair[0]), cv2.COLOR_BGR2RGB)) > 32


def test_the_same_job_gives_the_same_bytes(tmp_path: Path, pair: tuple[str, str]) -> None:
    videos = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        result = render(job(tmp_path / name, *pair, style="cinematic", seed=5), ignore)
        videos.append(Path(str(result.video)).read_bytes())
    assert videos[0] == videos[1]


@pytest.mark.parametrize("size", [(320, 192), (192, 320), (256, 256)])
def test_pictures_of_other_shapes_fill_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    made = job(tmp_path, photo_path("astronaut.png"), photo_path("coffee.png"), width=size[0], height=size[1], seconds=0.2)
    frames = frames_of(render(made, ignore).video)
    assert {frame.shape for frame in frames} == {(size[1], size[0], 3)}
    assert all(frame[edge].mean() > 2 for frame in frames for edge in (np.s_[:2], np.s_[-2:], np.s_[:, :2], np.s_[:, -2:]))


def test_the_style_cinematic_changes_the_colours(tmp_path: Path, pair: tuple[str, str]) -> None:
    plain = frames_of(render(job(tmp_path, *pair), ignore).video)
    graded = frames_of(render(job(tmp_path, *pair, style="cinematic"), ignore).video)
    assert psnr(graded[0], plain[0]) < 30


def test_without_a_last_picture_it_says_so(tmp_path: Path, pair: tuple[str, str]) -> None:
    with pytest.raises(RenderFailed, match="a first and a last one"):
        render(job(tmp_path, pair[0], None), ignore)


def test_in_a_loop_it_goes_to_the_last_picture_and_back(tmp_path: Path, pair: tuple[str, str]) -> None:
    frames = frames_of(render(job(tmp_path, *pair, seconds=1, loop=True), ignore).video)
    assert len(frames) == 24
    for path, frame in ((pair[0], frames[0]), (pair[1], frames[12])):
        assert psnr(frame, cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)) > 32
    changes = [float(np.abs(one.astype(np.float32) - other).mean()) for one, other in pairwise([*frames, frames[0]])]
    assert changes[-1] <= np.median(changes)
