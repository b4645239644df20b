"""A clip made larger, against the large clip it was made from."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from genway.providers.local.job import RenderFailed, RenderJob
from genway.providers.local.similarity import Similarity
from genway.providers.local.upscale import enlarged, render, size
from providers.local.scenes import clip, frames_of, ignore, moving, photo, psnr


def job(folder: Path, video: str | None, **more: object) -> RenderJob:
    values = {"width": 0, "height": 0, "factor": 2.0} | more
    return RenderJob(kind="upscale", out_dir=str(folder), video=video, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("fps", [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(60)])
def test_length_and_frame_rate_stay_as_they_were(tmp_path: Path, fps: Fraction) -> None:
    parts = tuple(index / 16 for index in range(17))
    source = clip(tmp_path / "source.mp4", moving("coffee.png", 96, 64, motion=Similarity(1, 20), parts=parts), fps)
    result = render(job(tmp_path, source, factor=2.5), ignore)
    with av.open(source) as before, av.open(str(result.video)) as after:
        assert after.streams.video[0].average_rate == before.streams.video[0].average_rate == fps
        assert after.streams.video[0].frames == before.streams.video[0].frames == 17
        assert after.duration == before.duration
    assert frames_of(result.video)[0].shape == (160, 240, 3)


def test_times_rounded_by_the_container_do_not_lose_a_frame(tmp_path: Path) -> None:
    """Matroska keeps milliseconds: 24 frames a second are not even in them."""
    frames = [np.full((64, 96, 3), 10 + 5 * index, np.uint8) for index in range(40)]
    source = clip(tmp_path / "source.mp4", frames)
    with av.open(source) as before, av.open(str(tmp_path / "source.mkv"), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        for packet in before.demux(video=0):
            if packet.size:
                packet.stream = stream
                after.mux(packet)
    shown = frames_of(render(job(tmp_path, str(tmp_path / "source.mkv")), ignore).video)
    assert len(shown) == 40
    assert max(abs(frame.mean() - 10 - 5 * index) for index, frame in enumerate(shown)) < 4


def test_it_is_nearer_to_the_large_original_than_plain_interpolation(tmp_path: Path) -> None:
    truth = photo("astronaut.png", 480, 320)
    small = cv2.resize(truth, (240, 160), interpolation=cv2.INTER_AREA)
    assert psnr(enlarged(small, 480, 320), truth) > psnr(cv2.resize(small, (480, 320), interpolation=cv2.INTER_CUBIC), truth)


def test_edges_get_no_halo(tmp_path: Path) -> None:
    step = np.full((64, 64, 3), 60, np.uint8)
    step[:, 32:] = 190
    large = enlarged(step, 256, 256)
    assert large.min() >= 58
    assert large.max() <= 192


def test_reduced_again_it_is_the_source(tmp_path: Path) -> None:
    frame = photo("coffee.png", 160, 96)
    source = clip(tmp_path / "source.mp4", [frame] * 3)
    shown = frames_of(render(job(tmp_path, source, factor=4), ignore).video)[0]
    assert psnr(cv2.resize(shown, (160, 96), interpolation=cv2.INTER_AREA), frame) > 32


@pytest.mark.parametrize(
    ("source", "factor", "result"),
    [((640, 360), 2, (1280, 720)), ((1280, 768), 4, (4096, 2458)), ((768, 1280), 4, (2458, 4096)), ((101, 57), 1.5, (152, 86))],
)
def test_the_sides_are_even_and_at_most_4096(source: tuple[int, int], factor: float, result: tuple[int, int]) -> None:
    assert size(*source, factor) == result


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.mp4").write_text("no video")
    with pytest.raises(RenderFailed) as failure:
        render(job(tmp_path, str(tmp_path / "words.mp4")), ignore)
    assert failure.value.code == "invalid_request"
    with pytest.raises(RenderFailed, match="no video"):
        render(job(tmp_path, None), ignore)
