"""Frames into an MP4."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from genway.providers.local.encode import VideoWriter, rgb_from_yuv, yuv_from_rgb
from providers.local.views import Pixels, decoded

COLOURS = ((230, 40, 30), (40, 190, 70), (30, 60, 220), (240, 240, 240), (20, 20, 20), (128, 128, 128))


def flat(colour: tuple[int, int, int]) -> Pixels:
    return np.full((48, 64, 3), colour, np.uint8)


def test_every_frame_comes_back_in_its_colours(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 64, 48) as writer:
        for colour in COLOURS:
            writer.write(flat(colour))
    frames = decoded(str(tmp_path / "a.mp4"))
    assert len(frames) == writer.frames == len(COLOURS)
    for frame, colour in zip(frames, COLOURS, strict=True):
        # This decoder takes BT.601 where it is not told; the file tells, so compare through our own inverse.
        assert np.abs(frame.astype(int).mean((0, 1)) - colour).max() < 30
        assert np.abs(rgb_from_yuv(yuv_from_rgb(flat(colour))).astype(int) - colour).max() <= 3


def test_the_file_says_what_players_need(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 64, 48, fps=24) as writer:
        for _ in range(36):
            writer.write(flat(COLOURS[0]))
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 24)
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)
        assert container.duration == 1_500_000
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_three_ways_of_writing_a_frame_are_the_same(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    yuv = yuv_from_rgb(rgb)
    for name in ("rgb", "yuv", "frame"):
        with VideoWriter(tmp_path / name, 64, 48) as writer:
            if name == "rgb":
                writer.write(rgb)
            elif name == "yuv":
                writer.write_yuv(yuv)
            else:
                writer.write_frame(VideoFrame.from_ndarray(yuv, format="yuv420p"))
    assert (tmp_path / "rgb").read_bytes() == (tmp_path / "yuv").read_bytes() == (tmp_path / "frame").read_bytes()


@pytest.mark.parametrize(("width", "height"), [(63, 48), (64, 47), (0, 48)])
def test_odd_sides_are_refused(width: int, height: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even sides"):
        VideoWriter(tmp_path / "a.mp4", width, height)
    assert not list(tmp_path.iterdir())


def test_a_frame_of_another_size_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="64x48"), VideoWriter(tmp_path / "a.mp4", 64, 48) as writer:
        writer.write(np.zeros((48, 62, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_an_error_while_encoding_reaches_the_caller_and_leaves_no_file(tmp_path: Path) -> None:
    full = tmp_path / "full.mp4"
    full.symlink_to("/dev/full")
    noise = np.random.default_rng(0)
    with pytest.raises(OSError, match="No space left"), VideoWriter(full, 64, 48) as writer:  # noqa: PT012
        for _ in range(60):
            writer.write(noise.integers(0, 256, (48, 64, 3), np.uint8))
    assert not list(tmp_path.iterdir())
