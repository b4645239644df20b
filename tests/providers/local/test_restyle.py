"""Real clips in other looks, and clips that are none."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from genway.providers.local import looks
from genway.providers.local.job import RenderFailed, RenderJob
from genway.providers.local.looks import Look, Scene
from genway.providers.local.restyle import Steady, render
from genway.providers.local.similarity import Similarity
from providers.local.scenes import Pixels, clip, frames_of, ignore, moving, photo, photo_path, psnr

WIDTH, HEIGHT = 240, 144
NAMES = ["anime", "comic", "watercolour", "ink", "oil", "sketch", "pixel", "noir", "cinematic", "vintage", "neon", "palette"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A second of a pan over a photo, 24 frames."""
    parts = tuple(index / 23 for index in range(24))
    frames = moving("coffee.png", WIDTH, HEIGHT, motion=Similarity(1.1, 20), parts=parts)
    return clip(tmp_path_factory.mktemp("source") / "source.mp4", frames)


def job(folder: Path, video: str | None, **more: object) -> RenderJob:
    values = {"width": WIDTH, "height": HEIGHT, "seconds": 0.5, "prompt": "oil painting", "seed": 3} | more
    return RenderJob(kind="restyle", out_dir=str(folder), video=video, **values)  # type: ignore[arg-type]


def look(name: str, first: Pixels, strength: float = 1.0) -> Look:
    made: Look = getattr(looks, name)(Scene(first, strength, "", 3))
    return made


def far(rgb: Pixels, other: Pixels) -> float:
    return float(np.abs(rgb.astype(int) - other).mean())


@pytest.mark.parametrize(
    "prompt", ["anime", "水彩", "oil painting", "铅笔素描", "black and white", "赛博朋克", "the sea at night"]
)
def test_more_strength_leaves_the_source_farther_behind(tmp_path: Path, source: str, prompt: str) -> None:
    original = frames_of(source)[5]
    away = [
        far(frames_of(render(job(tmp_path, source, prompt=prompt, strength=strength, seconds=0.3), ignore).video)[5], original)
        for strength in (0, 0.25, 0.6, 1)
    ]
    assert away[0] < 3  # what encoding alone does to it
    assert away == sorted(away)
    assert away[-1] > 3 * away[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_look_does_not_flicker_where_the_source_only_has_noise(name: str) -> None:
    still = photo("coffee.png", WIDTH, HEIGHT)
    chance = np.random.default_rng(1)
    noisy = [np.clip(still + chance.normal(0, 3, still.shape), 0, 255).astype(np.uint8) for _ in range(8)]
    made, steady = look(name, noisy[0]), Steady(noisy[0])
    shown = [made(steady(rgb)) for rgb in noisy][3:]
    assert flicker(shown) < 1.25 * flicker(noisy)


def flicker(frames: list[Pixels]) -> float:
    """How much one frame differs from the next."""
    return float(np.mean([far(one, following) for one, following in pairwise(frames)]))


@pytest.mark.parametrize("name", NAMES)
def test_a_look_keeps_what_the_picture_shows_and_gives_the_same_each_time(name: str) -> None:
    rgb = photo("astronaut.png", WIDTH, HEIGHT)
    once, again = (look(name, rgb)(rgb) for _ in range(2))
    assert (once == again).all()
    assert once.shape == rgb.shape
    assert once.dtype == np.uint8
    assert far(once, rgb) > 4
    assert np.corrcoef(once.mean(2)[::6, ::6].ravel(), rgb.mean(2)[::6, ::6].ravel())[0, 1] > 0.6


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("make it an anime", "anime"),
        ("变成卡通风格", "anime"),
        ("a WATERCOLOR dream", "watercolour"),
        ("水彩画", "watercolour"),
        ("oil painting of a cup", "oil"),
        ("油画质感", "oil"),
        ("pencil sketch", "sketch"),
        ("素描", "sketch"),
        ("8-bit game", "pixel"),
        ("像素风", "pixel"),
        ("film noir", "noir"),
        ("黑白电影", "noir"),
        ("cinematic light", "cinematic"),
        ("电影感", "cinematic"),
        ("vintage 1970s", "vintage"),
        ("复古", "vintage"),
        ("cyberpunk city", "neon"),
        ("霓虹", "neon"),
        ("水墨山水", "ink"),
        ("comic book", "comic"),
    ],
)
def test_words_in_both_languages_choose_the_look(prompt: str, name: str) -> None:
    assert looks.named(prompt) is getattr(looks, name)


def test_words_without_a_look_choose_colours_by_mood_and_seed() -> None:
    rgb = photo("coffee.png", WIDTH, HEIGHT)
    assert looks.named("a cup of coffee") is None
    by_seed = [looks.palette(Scene(rgb, 1.0, "a cup", seed))(rgb) for seed in (0, 1)]
    by_mood = [looks.palette(Scene(rgb, 1.0, "在海边", seed))(rgb) for seed in (0, 1)]
    assert far(*by_seed) > 5
    assert far(*by_mood) == 0


def test_no_more_than_the_asked_seconds_are_taken_and_no_more_than_there_are(tmp_path: Path, source: str) -> None:
    assert len(frames_of(render(job(tmp_path, source, seconds=0.5), ignore).video)) == 12
    assert len(frames_of(render(job(tmp_path, source, seconds=8), ignore).video)) == 24


@pytest.mark.parametrize("fps", [12, 30, Fraction(30000, 1001), 60])
def test_a_clip_of_any_rate_keeps_its_speed(tmp_path: Path, fps: Fraction) -> None:
    """The grey of each frame tells its time."""
    frames = [np.full((64, 96, 3), 20 + round(200 * index / fps), np.uint8) for index in range(int(fps))]
    video = clip(tmp_path / "source.mp4", frames, fps)
    shown = frames_of(render(job(tmp_path, video, seconds=1, strength=0, width=96, height=64), ignore).video)
    assert abs(len(shown) - 24) <= 1
    told = [(float(frame.mean()) - 20) / 200 for frame in shown]
    assert max(abs(time - index / 24) for index, time in enumerate(told)) < 1 / float(fps) + 0.02


def test_the_middle_of_a_clip_of_another_shape_is_shown(tmp_path: Path, source: str) -> None:
    frames = frames_of(render(job(tmp_path, source, width=144, height=240, strength=0), ignore).video)
    assert frames[0].shape == (240, 144, 3)
    assert all(frame[edge].mean() > 5 for frame in frames for edge in (np.s_[:2], np.s_[-2:], np.s_[:, :2], np.s_[:, -2:]))


def test_colours_come_through(tmp_path: Path) -> None:
    red = np.full((HEIGHT, WIDTH, 3), (200, 40, 60), np.uint8)
    shown = frames_of(render(job(tmp_path, clip(tmp_path / "red.mp4", [red] * 4), strength=0, seconds=0.1), ignore).video)
    assert np.abs(shown[0].reshape(-1, 3).mean(0) - (200, 40, 60)).max() < 5


def test_a_reference_picture_lends_its_colours(tmp_path: Path, source: str) -> None:
    plain, cold = (
        frames_of(render(job(tmp_path, source, prompt="cinematic", strength=1, images=images, seconds=0.2), ignore).video)[0]
        for images in ((), (photo_path("rocket.jpg"),))
    )
    assert cold[..., 2].mean() - cold[..., 0].mean() > plain[..., 2].mean() - plain[..., 0].mean() + 20


def test_the_same_job_gives_the_same_bytes_and_progress_only_grows(tmp_path: Path, source: str) -> None:
    videos, said = [], list[float]()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        said.clear()
        result = render(job(tmp_path / name, source, strength=0.7), said.append)
        videos.append(Path(str(result.video)).read_bytes())
    assert videos[0] == videos[1]
    assert said == sorted(said)
    assert said[-1] == 1
    assert psnr(frames_of(result.video)[0], frames_of(result.video)[-1]) < 40


def test_a_clip_that_lies_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    upright = photo("astronaut.png", 144, 240)
    lying = np.ascontiguousarray(np.rot90(upright))
    plain = clip(tmp_path / "plain.mp4", [lying] * 6)
    turned = turned_copy(Path(plain), tmp_path / "turned.mp4")
    shown = frames_of(render(job(tmp_path, turned, width=144, height=240, strength=0, seconds=0.2), ignore).video)
    assert psnr(shown[0], upright) > 28


def turned_copy(source: Path, target: Path) -> str:
    """The same file with a display matrix that asks for a quarter turn clockwise."""
    data = bytearray(source.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    one = 1 << 16
    matrix = (0, one, 0, -one, 0, 0, 240 * one, 0, 1 << 30)
    data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    target.write_bytes(data)
    return str(target)


def broken_files(folder: Path, source: Path) -> dict[str, Path]:
    data = source.read_bytes()
    playlist = f"#EXTM3U\n#EXTINF:1,\n{source}\n#EXT-X-ENDLIST\n"
    contents = {
        "empty": b"",
        "text": b"this is no video",
        "picture": Path(photo_path("coffee.png")).read_bytes(),
        "header": data[:600],
        "playlist": playlist.encode(),
        "script": f"ffconcat version 1.0\nfile {source}\n".encode(),
        "noise": bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8)),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


@pytest.mark.parametrize("name", ["empty", "text", "picture", "header", "playlist", "script", "noise"])
def test_what_is_no_video_is_refused(tmp_path: Path, source: str, name: str) -> None:
    path = broken_files(tmp_path, Path(source))[name]
    with pytest.raises(RenderFailed, match=r"not a video|broken|no picture") as failure:
        render(job(tmp_path, str(path)), ignore)
    assert failure.value.code == "invalid_request"
    assert not (tmp_path / "video.mp4").exists()


def test_a_clip_cut_off_in_the_middle_is_refused(tmp_path: Path, source: str) -> None:
    data = Path(source).read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(RenderFailed, match="broken") as failure:
        render(job(tmp_path, str(tmp_path / "half.mp4"), seconds=1), ignore)
    assert failure.value.code == "invalid_request"


def test_a_clip_that_is_too_long_or_too_large_is_refused(tmp_path: Path, source: str) -> None:
    long = clip(tmp_path / "long.mp4", [np.zeros((32, 32, 3), np.uint8)] * 8, Fraction(1))
    with pytest.raises(RenderFailed, match="at most 3 are taken"):
        render(job(tmp_path, long, max_seconds=3), ignore)
    with pytest.raises(RenderFailed, match="at most 1000 are taken"):
        render(job(tmp_path, source, max_pixels=1000), ignore)


def test_a_clip_of_thousands_of_frames_in_no_time_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(1000))
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for _ in range(1500):
            container.mux(stream.encode(VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(RenderFailed, match="frames a second"):
        render(job(tmp_path, str(path), seconds=5, width=32, height=32), ignore)


def test_without_a_video_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(RenderFailed, match="no video"):
        render(job(tmp_path, None), ignore)
