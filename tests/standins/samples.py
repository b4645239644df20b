"""Small real files, made once in a process: a clip of one second and a picture."""

from __future__ import annotations

import io
import tempfile
from functools import cache

import av
import numpy as np

WIDTH, HEIGHT, FRAMES = 320, 180, 24


@cache
def clip() -> bytes:
    """One second of H.264 in an MP4, yuv420p, 24 frames, in which a bright bar moves."""
    # The index can only be moved to the front in a file that can be read back.
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        _encode(file.name)
        return file.read()


def _encode(path: str) -> None:
    with av.open(path, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=FRAMES, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(_image(number), format="rgb24")))
        container.mux(stream.encode())


@cache
def picture(number: int = 0) -> bytes:
    """A PNG of one frame of the clip."""
    buffer = io.BytesIO()
    av.VideoFrame.from_ndarray(_image(number), format="rgb24").to_image().save(buffer, "png")
    return buffer.getvalue()


def _image(number: int) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), (40, 60, 90), dtype=np.uint8)
    left = number * (WIDTH - 40) // FRAMES
    image[40:140, left : left + 40] = (240, 200, 80)
    return image
