"""Frames into an MP4 that plays everywhere: H.264, 4:2:0, BT.709, index in front."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path
from queue import Queue
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from numpy.typing import NDArray

PRESET = "veryfast"
CRF = 19
WAITING_FRAMES = 4
AVX_512F = 13  # OpenCV's CV_CPU_AVX_512F, which has no name in Python
# Without accurate rounding every channel comes out about one level too dark.
SCALER = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


class VideoWriter:
    """Writes one video file, exactly as many frames as it is given.

    Encoding runs in a thread of its own, so the next frame is made meanwhile where there is a core for it. The encoder
    itself uses one thread, because its output depends on how many it has. After an error no file is left behind.

    width, height: even. crf: 0…51, lower is better. preset: one of x264's.
    """

    def __init__(
        self, path: Path, width: int, height: int, *, fps: int | Fraction = 24, crf: int = CRF, preset: str = PRESET
    ) -> None:
        if width <= 0 or height <= 0 or width % 2 or height % 2:
            raise ValueError(f"a video needs even sides, got {width}x{height}")
        self.path = path
        self.width = width
        self.height = height
        self.frames = 0
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        stream = self._container.add_stream("libx264", rate=Fraction(fps))
        stream.width = width
        stream.height = height
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = round(fps * 2)
        stream.codec_context.color_range = ColorRange.MPEG
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_primaries = ColorPrimaries.BT709
        stream.codec_context.color_trc = ColorTrc.BT709
        stream.options = {"preset": preset, "crf": str(crf), **_reproducible()}
        self._stream = stream
        self._time_base = 1 / Fraction(fps)
        self._waiting: Queue[VideoFrame | None] = Queue(WAITING_FRAMES)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._encode, name="encode", daemon=True)
        self._thread.start()

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """Add a frame: height x width x 3, sRGB, 0…255."""
        if rgb.shape != (self.height, self.width, 3):
            raise ValueError(f"a frame of {self.width}x{self.height} was expected, got an array of {rgb.shape}")
        self.write_frame(_reformatted(VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"), "yuv420p"))

    def write_yuv(self, yuv: NDArray[np.uint8]) -> None:
        """Add a frame that is already I420 in BT.709, limited range: (height * 3 / 2) x width, planes one below the other."""
        if yuv.shape != (self.height * 3 // 2, self.width):
            raise ValueError(f"an I420 frame of {self.width}x{self.height} was expected, got an array of {yuv.shape}")
        self.write_frame(VideoFrame.from_ndarray(yuv, format="yuv420p"))

    def write_frame(self, frame: VideoFrame) -> None:
        """Add a frame of the video's size and format (yuv420p, BT.709, limited range); it is not to be changed afterwards."""
        if self._error is not None:
            raise self._error
        frame.pts = self.frames
        frame.time_base = self._time_base
        frame.colorspace = Colorspace.ITU709
        frame.color_range = ColorRange.MPEG
        self._waiting.put(frame)
        self.frames += 1

    def close(self) -> None:
        """Finish the file. Raises what the encoder raised."""
        self._waiting.put(None)
        self._thread.join()
        if self._error is None:
            try:
                self._container.close()
            except BaseException as error:
                self._error = error
        if self._error is not None:
            self._discard()
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None:
            self.close()
            return
        self._waiting.put(None)
        self._thread.join()
        self._discard()

    def _encode(self) -> None:
        while (frame := self._waiting.get()) is not None:
            if self._error is None:
                self._pass(frame)
        if self._error is None:
            self._pass(None)

    def _pass(self, frame: VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except BaseException as error:
            self._error = error

    def _discard(self) -> None:
        try:
            self._container.close()
        except (OSError, ValueError):
            pass
        finally:
            self.path.unlink(missing_ok=True)


def _reproducible() -> dict[str, str]:
    """Keep x264 from AVX-512, where its macroblock tree reads past the end of rows that are no multiple of 256 pixels wide.

    The file then depends on what was in that memory before. Where AVX-512 is, AVX2 is too.
    """
    return {"x264-params": "asm=avx2"} if cv2.checkHardwareSupport(AVX_512F) else {}


def yuv_from_rgb(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An even-sided sRGB picture as I420 in BT.709, limited range: (height * 3 / 2) x width."""
    frame = _reformatted(VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"), "yuv420p")
    return frame.to_ndarray().astype(np.uint8, copy=False)


def rgb_from_yuv(yuv: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The inverse of `yuv_from_rgb`: what a player shows of the frame."""
    frame = VideoFrame.from_ndarray(yuv, format="yuv420p")
    frame.colorspace = Colorspace.ITU709
    frame.color_range = ColorRange.MPEG
    shown = frame.reformat(
        format="rgb24",
        src_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=SCALER,
    )
    return shown.to_ndarray().astype(np.uint8, copy=False)


def _reformatted(frame: VideoFrame, pixel_format: str) -> VideoFrame:
    return frame.reformat(
        format=pixel_format,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=SCALER,
    )
