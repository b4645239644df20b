"""Photos, clips and motions of which the truth is known."""

from __future__ import annotations

from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from genway.providers.local.encode import VideoWriter
from genway.providers.local.similarity import Similarity

Pixels = NDArray[Any]


def photo_path(name: str) -> str:
    """A sample photo of scikit-image: `coffee.png`, `astronaut.png`, `motorcycle_left.png` …"""
    package = find_spec("skimage")
    assert package is not None
    assert package.submodule_search_locations
    return str(Path(package.submodule_search_locations[0]) / "data" / name)


def photo(name: str, width: int, height: int) -> Pixels:
    """The middle of a photo, filling width x height."""
    rgb = cv2.cvtColor(cv2.imread(photo_path(name)), cv2.COLOR_BGR2RGB)
    scale = max(width / rgb.shape[1], height / rgb.shape[0])
    large = (max(width, round(rgb.shape[1] * scale)), max(height, round(rgb.shape[0] * scale)))
    grown = cv2.resize(rgb, large, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (grown.shape[1] - width) // 2, (grown.shape[0] - height) // 2
    return np.ascontiguousarray(grown[top : top + height, left : left + width])


def moving(
    name: str,
    width: int,
    height: int,
    *,
    motion: Similarity,
    parts: tuple[float, ...] = (0, 0.5, 1),
    thing: complex | None = None,
) -> list[Pixels]:
    """What a camera sees that moves evenly over a photo, at parts of its way; the motion is about the frame's centre.

    thing: how far a patch of another photo moves on its own meanwhile, in pixels.
    """
    large = photo(name, round(width * 1.7), round(height * 1.7))
    centre = complex(width / 2, height / 2)
    about = Similarity(motion.a, centre - motion.a * centre + motion.b)
    home = Similarity(1, complex((width - large.shape[1]) / 2, (height - large.shape[0]) / 2))
    patch = cv2.resize(photo("chelsea.png", 450, 300), (round(width / 6.4), round(height / 5.1)), interpolation=cv2.INTER_AREA)
    frames = []
    for part in parts:
        matrix = about.power(part - 0.5).after(home).matrix
        frame = cv2.warpAffine(large, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        if thing is not None:
            place = complex(width * 0.3, height * 0.4) + thing * part
            shift = np.array([[1, 0, place.real], [0, 1, place.imag]])
            there = cv2.warpAffine(np.ones(patch.shape[:2], np.float32), shift, (width, height))[..., None]
            moved = cv2.warpAffine(patch, shift, (width, height), flags=cv2.INTER_CUBIC)
            frame = (moved * there + frame * (1 - there)).astype(np.uint8)
        frames.append(frame)
    return frames


def psnr(picture: Pixels, truth: Pixels) -> float:
    """How near a picture is to the truth, in decibels."""
    return float(10 * np.log10(255**2 / max(1e-9, np.mean((picture.astype(np.float64) - truth) ** 2))))


def clip(path: Path, frames: list[Pixels], fps: int | Fraction = 24) -> str:
    """Write frames as an MP4 of good quality."""
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width, height, fps=fps, crf=8) as writer:
        for frame in frames:
            writer.write(frame)
    return str(path)


def frames_of(path: str | None) -> list[Pixels]:
    """All frames of a video as a player shows them."""
    assert path is not None
    with av.open(path) as container:
        frames = list(container.decode(video=0))
    return [frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray() for frame in frames]


def save(path: Path, rgb: Pixels) -> str:
    cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return str(path)


def ignore(progress: float) -> None:
    """For renderings whose progress does not matter."""
