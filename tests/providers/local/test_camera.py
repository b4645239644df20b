"""A picture into a video: directions, sizes, borders and endings, measured in the frames."""

from __future__ import annotations

import cmath
from itertools import pairwise, product
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from genway.operations import Camera
from genway.providers.local import camera
from genway.providers.local.job import RenderFailed, RenderJob
from genway.providers.local.motion import Motion
from providers.local.scenes import photo, photo_path, psnr
from providers.local.views import HEIGHT, ORANGE, WIDTH, cut_out, decoded, dotted, filmed, place, shift, turn_and_growth


@pytest.fixture
def plain(tmp_path: Path) -> str:
    return dotted(tmp_path / "plain.png")


@pytest.fixture
def subject(tmp_path: Path) -> str:
    return dotted(tmp_path / "subject.png", disc=True)


@pytest.mark.parametrize(
    ("motion", "direction"),
    [
        ({"pan": 5}, -1),
        ({"pan": -5}, 1),
        ({"tilt": 5}, 1j),
        ({"tilt": -5}, -1j),
        ({"horizontal": 5}, -1),
        ({"vertical": -5}, -1j),
        ({"background_pan_x": 5}, 1),
        ({"background_pan_y": 5}, -1j),
    ],
)
def test_what_the_camera_sees_moves_the_other_way(
    motion: dict[str, float], direction: complex, plain: str, tmp_path: Path
) -> None:
    frames = filmed(plain, tmp_path / "out", motion=motion)
    moved = shift(frames[0], frames[-1]) / direction
    assert moved.real > 0.025 * HEIGHT
    assert abs(moved.imag) < 0.6


def test_a_positive_roll_turns_the_picture_clockwise(plain: str, tmp_path: Path) -> None:
    clockwise = filmed(plain, tmp_path / "a", motion={"roll": 5})
    other = filmed(plain, tmp_path / "b", motion={"roll": -5})
    angle, back = (cmath.phase(turn_and_growth(frames[0], frames[-1])) for frames in (clockwise, other))
    assert angle == pytest.approx(np.radians(6), abs=0.01)
    assert back == pytest.approx(-angle, abs=0.01)


def test_zooming_in_enlarges_and_zooming_out_shrinks(plain: str, tmp_path: Path) -> None:
    growth = {}
    for zoom in (-10, -4, 4):
        frames = filmed(plain, tmp_path / f"{zoom}", motion={"zoom": zoom})
        growth[zoom] = abs(turn_and_growth(frames[0], frames[-1]))
    assert growth[-10] < growth[-4] < 0.97
    assert growth[4] > 1.03
    assert growth[4] * growth[-4] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("member", ["pan", "tilt"])
def test_a_larger_number_moves_further_and_the_opposite_sign_as_far_the_other_way(
    member: str, plain: str, tmp_path: Path
) -> None:
    def moved(value: float) -> complex:
        frames = filmed(plain, tmp_path / f"{value}", motion={member: value})
        return shift(frames[0], frames[-1])

    sizes = [abs(moved(value)) for value in (1, 3, 6, 10)]
    assert sizes == sorted(sizes)
    assert sizes[3] > 2 * sizes[1] > 0
    assert moved(-6) == pytest.approx(-moved(6), abs=1)


def test_the_subject_moves_further_than_its_background(subject: str, tmp_path: Path) -> None:
    frames = filmed(subject, tmp_path / "out", motion={"horizontal": 8})
    first, last = place(frames[0], ORANGE), place(frames[-1], ORANGE)
    assert first is not None
    assert last is not None
    behind = shift(frames[0], frames[-1]).real
    assert last[0] - first[0] < behind - 0.02 * WIDTH
    assert behind < 0


def test_the_background_pans_behind_a_subject_that_stays(subject: str, tmp_path: Path) -> None:
    frames = filmed(subject, tmp_path / "out", motion={"background_pan_x": -8, "background_pan_y": 6})
    first, last = place(frames[0], ORANGE), place(frames[-1], ORANGE)
    assert first is not None
    assert last is not None
    assert abs(complex(*last) - complex(*first)) < 1
    behind = shift(frames[0], frames[-1])
    assert behind.real < -0.05 * WIDTH
    assert behind.imag < -0.04 * HEIGHT


def test_no_second_subject_is_left_behind(subject: str, tmp_path: Path) -> None:
    frames = filmed(subject, tmp_path / "out", motion={"background_pan_x": 10})
    areas = [int((np.linalg.norm(frame.astype(np.float32) - ORANGE, axis=2) < 70).sum()) for frame in (frames[0], frames[-1])]
    assert areas[1] == pytest.approx(areas[0], rel=0.03)


def test_at_rest_the_layers_are_the_picture(tmp_path: Path) -> None:
    photo = photo_path("coffee.png")
    layered = filmed(photo, tmp_path / "a", motion={"background_pan_x": 0.001}, width=160)[0]
    whole = filmed(photo, tmp_path / "b", motion={"pan": 0.001}, width=160)[0]
    assert cv2.PSNR(layered, whole) > 36


def test_the_motion_starts_and_stops_softly_and_never_jumps(plain: str, tmp_path: Path) -> None:
    frames = filmed(plain, tmp_path / "out", motion={"pan": 10}, seconds=1)
    steps = [-shift(a, b).real for a, b in pairwise(frames)]
    middle = max(steps)
    assert steps[0] < 0.35 * middle
    assert steps[-1] < 0.35 * middle
    assert all(abs(a - b) < 0.35 * middle for a, b in pairwise(steps))


EVERY_WAY = [
    dict(zip(("horizontal", "vertical", "zoom", "roll", "pan", "background_pan_x"), signs, strict=True))
    for signs in product((-10, 10), (10,), (-10, 10), (-10, 10), (-10, 10), (10,))
]
ONE_WAY = [
    {member: sign}
    for member in ("horizontal", "vertical", "zoom", "roll", "pan", "tilt", "background_pan_x", "background_pan_y")
    for sign in (-10, 10)
]


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), (128, 256)])
def test_no_motion_ever_shows_a_black_edge(size: tuple[int, int], tmp_path: Path) -> None:
    image = cut_out(tmp_path / "figure.png")
    for motion in EVERY_WAY + ONE_WAY:
        frames = filmed(image, tmp_path / "out", motion=motion, width=size[0], height=size[1], seconds=0.25)
        for frame in frames:
            border = np.concatenate([frame[:2].ravel(), frame[-2:].ravel(), frame[:, :2].ravel(), frame[:, -2:].ravel()])
            assert border.min() > 60, motion
            assert frame.min() > 45, motion


@pytest.mark.parametrize(("seconds", "size"), [(0.5, (320, 192)), (1, (192, 320)), (0.25, (130, 126))])
def test_the_video_is_exactly_as_long_and_as_large_as_asked(
    seconds: float, size: tuple[int, int], plain: str, tmp_path: Path
) -> None:
    filmed(plain, tmp_path / "out", motion={"pan": 2}, seconds=seconds, width=size[0], height=size[1])
    with av.open(str(tmp_path / "out" / "video.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (*size, 24)
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert container.duration == seconds * 1_000_000
        assert len(list(container.decode(video=0))) == seconds * 24


def test_poster_and_last_frame_are_those_of_the_video(plain: str, tmp_path: Path) -> None:
    frames = filmed(plain, tmp_path / "out", motion={"pan": 8})
    for name, frame in (("poster", frames[0]), ("last_frame", frames[-1])):
        assert cv2.PSNR(np.asarray(Image.open(tmp_path / "out" / f"{name}.png")), frame) > 34


@pytest.mark.parametrize("motion", [{"pan": 6}, {"roll": 5}])
def test_towards_the_picture_it_ends_at_rest_and_still_goes_the_way_the_camera_says(
    motion: dict[str, float], plain: str, tmp_path: Path
) -> None:
    away = filmed(plain, tmp_path / "away", motion=motion)
    towards = filmed(plain, tmp_path / "towards", motion=motion, towards_image=True)
    assert abs(cmath.phase(turn_and_growth(towards[-1], away[0]))) < 0.01
    if "pan" in motion:
        assert shift(towards[0], towards[-1]).real == pytest.approx(shift(away[0], away[-1]).real, abs=1)
    else:
        assert cmath.phase(turn_and_growth(towards[0], towards[-1])) == pytest.approx(np.radians(6), abs=0.01)


def test_the_same_job_gives_the_same_bytes(tmp_path: Path) -> None:
    videos = []
    for run in range(2):
        filmed(photo_path("coffee.png"), tmp_path / f"{run}", motion={"horizontal": 5}, style="cinematic", seed=9)
        videos.append((tmp_path / f"{run}" / "video.mp4").read_bytes())
    assert videos[0] == videos[1]


def test_cinematic_is_seen_and_keeps_the_picture(tmp_path: Path) -> None:
    photo = photo_path("astronaut.png")
    plain = filmed(photo, tmp_path / "a", motion={"pan": 1})[0].astype(np.float32)
    graded = filmed(photo, tmp_path / "b", motion={"pan": 1}, style="cinematic")[0].astype(np.float32)
    assert 5 < np.abs(plain - graded).mean() < 40
    corner, centre = np.s_[:24, :24], np.s_[84:108, 148:172]
    assert graded[corner].mean() / plain[corner].mean() < graded[centre].mean() / plain[centre].mean()
    assert np.corrcoef(plain.ravel(), graded.ravel())[0, 1] > 0.95
    assert graded[:4].max() > 20  # no bars


def test_words_move_the_camera_where_no_numbers_do(plain: str, tmp_path: Path) -> None:
    left = filmed(plain, tmp_path / "a", prompt="a quiet street, camera pans left")
    still = filmed(plain, tmp_path / "b", prompt="固定镜头，一条安静的街道")
    assert shift(left[0], left[-1]).real > 5
    assert abs(shift(still[0], still[-1])) < 0.1


def test_without_words_the_seed_picks_a_gentle_move(plain: str, tmp_path: Path) -> None:
    ends = [filmed(plain, tmp_path / f"{seed}", seed=seed)[-1] for seed in (0, 1)]
    assert cv2.PSNR(*ends) < 35


def test_a_picture_that_is_missing_or_broken_is_named_as_the_reason(tmp_path: Path) -> None:
    with pytest.raises(RenderFailed) as nothing:
        camera.render(RenderJob(kind="camera", out_dir=str(tmp_path), width=64, height=64), lambda _: None)
    assert nothing.value.code == "invalid_request"
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(RenderFailed) as broken:
        filmed(str(tmp_path / "broken.png"), tmp_path / "out")
    assert broken.value.code == "invalid_request"
    assert "picture" in broken.value.message


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (3, 200), (8000, 100), (90, 3000), (200, 200)], ids=lambda value: str(value)
)
def test_a_picture_of_any_shape_fills_the_frame(width: int, height: int, tmp_path: Path) -> None:
    Image.new("RGB", (width, height), (190, 160, 130)).save(tmp_path / "odd.png")
    frames = filmed(str(tmp_path / "odd.png"), tmp_path / "out", motion={"horizontal": 9, "zoom": -5}, seconds=0.25)
    for frame in frames:
        assert np.abs(frame.astype(int) - (190, 160, 130)).max() < 14


def test_a_tall_portrait_keeps_its_head_in_a_wide_frame(tmp_path: Path) -> None:
    """The head's hair is at the top of the photo, and still in view after cropping and zooming in."""
    Image.open(photo_path("astronaut.png")).convert("RGB").crop((100, 0, 360, 512)).save(tmp_path / "tall.png")
    for motion in ({"zoom": 6}, {"horizontal": 5}):
        frames = filmed(str(tmp_path / "tall.png"), tmp_path / "out", motion=motion)
        for frame in (frames[0], frames[-1]):
            # The bright wall above the hair is what the frame begins with.
            assert frame[:3, WIDTH // 2 - 40 : WIDTH // 2 + 40].mean() > 150


def test_progress_rises_to_the_end(plain: str, tmp_path: Path) -> None:
    told: list[float] = []
    job = RenderJob(
        kind="camera", out_dir=str(tmp_path), width=128, height=96, seconds=1, images=(plain,), camera=Camera(pan=3)
    )
    result = camera.render(job, told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    assert result.video is not None
    assert len(decoded(result.video)) == 24


@pytest.mark.parametrize("towards", [False, True])
@pytest.mark.parametrize("motion", [{"pan": 6}, {"zoom": 8}], ids=str)
def test_in_a_loop_the_camera_returns(motion: dict[str, float], towards: bool, plain: str, tmp_path: Path) -> None:
    frames = filmed(plain, tmp_path / "out", motion=motion, loop=True, seconds=1, towards_image=towards)
    changes = [float(np.abs(one.astype(np.float32) - other).mean()) for one, other in pairwise([*frames, frames[0]])]
    assert changes[-1] <= np.median(changes)
    assert psnr(frames[-1], frames[0]) > 28 > psnr(frames[12], frames[0])


@pytest.mark.parametrize("towards", [False, True])
@pytest.mark.parametrize("motion", [Camera(), Camera(roll=6), Camera(zoom=-9), Camera(vertical=9, pan=-5)], ids=str)
def test_a_shot_begins_or_ends_with_exactly_its_frame(motion: Camera, towards: bool) -> None:
    rgb = photo("coffee.png", WIDTH, HEIGHT)
    job = RenderJob(kind="extend", out_dir=".", width=WIDTH, height=HEIGHT, camera=motion)
    scene = camera.shot(job, rgb, towards_rest=towards)
    assert psnr(scene.at(0), rgb) > 34 > psnr(scene.at(1), rgb)


def test_a_shot_sees_nothing_beyond_its_frame_unless_it_is_to_zoom_out() -> None:
    for towards in (False, True):
        for motion in (Camera(pan=10), Camera(tilt=-10, horizontal=10), Camera(roll=10)):
            assert Motion(motion, WIDTH, HEIGHT, towards_rest=towards).kept_inside().stays_inside()
        out = Motion(Camera(zoom=8 if towards else -8), WIDTH, HEIGHT, towards_rest=towards).kept_inside()
        assert out.inward == 1
        assert not out.stays_inside()
