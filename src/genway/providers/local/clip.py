"""A clip as a client sent it, frame by frame: opened as one of a few formats, never more than a frame in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from genway.providers.local.job import RenderFailed
from genway.providers.local.picture import Pixels

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,ogg,mpegts,flv"
LARGEST_FRAME = 4096 * 2560
LARGEST_SIDE = 8192
MOST_FRAMES_PER_SECOND = 240
USUAL_RATE = Fraction(24)
HIGH_DEFINITION = 700
_UNSPECIFIED = 2


class Moment(NamedTuple):
    """A frame and when it is shown, in seconds from the clip's beginning."""

    second: float
    frame: VideoFrame


class Clip:
    """A readable clip. Raises RenderFailed naming what is wrong with the file, when opened or while frames are read.

    width, height: pixels as shown, turned upright, with square pixels. rate: frames a second. seconds: as announced, or None.
    """

    def __init__(self, path: str | Path, max_pixels: int, max_seconds: float) -> None:
        self._max_seconds = max_seconds
        self._file: BinaryIO = Path(path).open("rb")  # noqa: SIM115 - closed with the clip
        try:
            self._open(min(max_pixels, LARGEST_FRAME))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._container.close()
        self._file.close()

    def moments(self) -> Iterator[Moment]:
        """The frames in order. Fails at a frame beyond the longest clip taken, and at more frames than a clip can need."""
        start: float | None = None
        last = -1.0
        try:
            for count, frame in enumerate(self._container.decode(self._stream)):
                if start is None:
                    start = frame.time or 0.0
                second = count / float(self.rate) if frame.time is None else frame.time - start
                if second <= last:
                    continue
                if second > self._max_seconds:
                    raise _refused(f"the video is longer than {self._max_seconds:g} seconds")
                if count > (second + 2) * MOST_FRAMES_PER_SECOND:
                    raise _refused(f"the video has more than {MOST_FRAMES_PER_SECOND} frames a second")
                if (frame.width, frame.height) != self._coded:
                    raise _refused("the video changes its size on the way")
                last = second
                yield Moment(second, frame)
        except (av.FFmpegError, ValueError, EOFError) as error:
            raise _refused("the video is broken") from error
        if start is None:
            raise _refused("the video has no frames that can be read")

    def upright(self, frame: VideoFrame, width: int, height: int) -> Pixels:
        """The frame as shown, at a size: height x width x 3."""
        across, down = (height, width) if self._turns % 2 else (width, height)
        space = frame.colorspace
        if space == _UNSPECIFIED:
            space = Colorspace.ITU709 if frame.height >= HIGH_DEFINITION else Colorspace.ITU601
        reduced = across * down < frame.width * frame.height
        rgb = frame.reformat(
            width=across,
            height=down,
            format="rgb24",
            src_colorspace=space,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.AREA if reduced else Interpolation.LANCZOS,
        ).to_ndarray()
        return np.ascontiguousarray(np.rot90(rgb, self._turns))

    def covering(self, frame: VideoFrame, width: int, height: int) -> Pixels:
        """The middle of the frame, filling width x height."""
        scale = max(width / self.width, height / self.height)
        across, down = max(width, round(self.width * scale)), max(height, round(self.height * scale))
        whole = self.upright(frame, across, down)
        left, top = (across - width) // 2, (down - height) // 2
        return np.ascontiguousarray(whole[top : top + height, left : left + width])

    def _open(self, max_pixels: int) -> None:
        options = {
            "format_whitelist": FORMATS,
            "protocol_whitelist": "none",
            "max_pixels": str(max_pixels),
            "probesize": "2000000",
        }
        try:
            self._container: Any = av.open(self._file, "r", options=options, io_open=_open_nothing)
        except (av.FFmpegError, ValueError, OSError) as error:
            raise _refused("the file is not a video, or broken") from error
        pictures = [
            stream for stream in self._container.streams.video if not stream.disposition & stream.disposition.attached_pic
        ]
        if not pictures or pictures[0].codec_context is None:
            self._container.close()
            raise _refused("the file has no picture that can be read")
        self._stream = pictures[0]
        self._stream.codec_context.thread_count = 1
        self._measure(max_pixels)

    def _measure(self, max_pixels: int) -> None:
        stream, context = self._stream, self._stream.codec_context
        self._coded = (context.width, context.height)
        if not 2 <= min(self._coded) <= max(self._coded) <= LARGEST_SIDE or context.width * context.height > max_pixels:
            raise _refused(f"the video has {context.width}x{context.height} pixels; at most {max_pixels} are taken")
        duration = stream.duration * stream.time_base if stream.duration and stream.time_base else None
        if duration is None and self._container.duration:
            duration = Fraction(self._container.duration, 1_000_000)
        self.seconds = None if duration is None else float(duration)
        if self.seconds is not None and self.seconds > self._max_seconds + 1:
            raise _refused(f"the video has {self.seconds:.1f} seconds; at most {self._max_seconds:g} are taken")
        rate = stream.average_rate or stream.guessed_rate
        self.rate = Fraction(rate) if rate and 0 < rate <= MOST_FRAMES_PER_SECOND else USUAL_RATE
        self._turns = self._rotation() // 90 % 4
        aspect = stream.sample_aspect_ratio
        stretch = float(aspect) if aspect and 0.2 < aspect < 5 else 1.0
        width, height = max(2, round(context.width * stretch)), context.height
        self.width, self.height = (height, width) if self._turns % 2 else (width, height)

    def _rotation(self) -> int:
        """By how many degrees counter-clockwise the file asks to be turned; that is said by its first frame."""
        try:
            rotation = next((frame.rotation for frame in self._container.decode(self._stream)), 0)
            self._container.seek(0)
        except (av.FFmpegError, ValueError, EOFError) as error:
            raise _refused("the video is broken") from error
        return round(rotation / 90) * 90


def at_rate(moments: Iterable[Moment], fps: Fraction, seconds: float, rate: Fraction) -> Iterator[VideoFrame]:
    """The frames that are shown at every 1/fps of a second, for at most so many seconds; the last lasts as long as others.

    rate: of the clip itself.
    """
    most = max(1, round(seconds * fps))
    index, shown, began = 0, None, 0.0
    # Containers round their times, some to a thousandth of a second.
    slack = float(0.25 / max(rate, fps))
    for second, frame in moments:
        while shown is not None and index < most and float(index / fps) < second - slack:
            yield shown
            index += 1
        if index >= most:
            return
        shown, began = frame, second
    while shown is not None and index < most and float(index / fps) < began + float(1 / rate) - slack:
        yield shown
        index += 1


def colour_statistics(rgb: Pixels) -> tuple[Pixels, Pixels]:
    """Mean and deviation of the three channels of CIELAB."""
    small = cv2.resize(rgb, (160, 160), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    return lab.mean(0), lab.std(0)


def _open_nothing(url: str, flags: int, options: object) -> Any:
    raise PermissionError("a clip may not refer to other files")


def _refused(message: str) -> RenderFailed:
    return RenderFailed(RenderFailed.INVALID, message)
