"""Pictures made for measuring a camera by, and what can be measured in the video."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genway.operations import Camera
from genway.providers.local import camera
from genway.providers.local.job import RenderJob

Pixels = NDArray[Any]
WIDTH, HEIGHT = 320, 192
DOTS = {"red": (225, 30, 30), "green": (20, 170, 40), "blue": (30, 50, 220), "violet": (190, 40, 200)}
PLACES = {"red": (0.2, 0.22), "green": (0.8, 0.22), "blue": (0.2, 0.78), "violet": (0.8, 0.78)}
ORANGE = (240, 150, 20)


def dotted(path: Path, *, disc: bool = False, width: int = 640, height: int = 384) -> str:
    """A grey, slightly rough picture with four dots near its corners; with a large orange disc, which is a subject."""
    rough = np.random.default_rng(5).normal(175, 6, (height, width, 1)).repeat(3, 2)
    rgb = cv2.GaussianBlur(rough, (0, 0), 1.2).clip(0, 255).astype(np.uint8)
    for name, (x, y) in PLACES.items():
        cv2.circle(rgb, (round(x * width), round(y * height)), height // 24, DOTS[name], -1, cv2.LINE_AA)
    if disc:
        centre = (width // 2, height // 2)
        cv2.circle(rgb, centre, height // 5, ORANGE, -1, cv2.LINE_AA)
        cv2.circle(rgb, (centre[0] - 12, centre[1] - 14), height // 14, (250, 215, 120), -1, cv2.LINE_AA)
    Image.fromarray(rgb).save(path)
    return str(path)


def cut_out(path: Path, width: int = 400, height: int = 240) -> str:
    """A mid-grey figure on transparency, touching the lower border. Its backdrop will be bright."""
    alpha = np.zeros((height, width), np.uint8)
    cv2.ellipse(alpha, (width // 2, height), (width // 5, round(height * 0.75)), 0, 0, 360, 255, -1, cv2.LINE_AA)
    rgb = np.random.default_rng(6).normal(125, 8, (height, width, 1)).clip(100, 150).astype(np.uint8).repeat(3, 2)
    Image.fromarray(np.dstack([rgb, alpha])).save(path)
    return str(path)


def filmed(image: str, folder: Path, **more: Any) -> list[Pixels]:
    """The frames of a camera move over a picture, RGB."""
    motion = Camera(**more.pop("motion", {}))
    values: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "seconds": 0.5} | more
    folder.mkdir(exist_ok=True)
    result = camera.render(
        RenderJob(kind="camera", out_dir=str(folder), images=(image,), camera=motion, **values), lambda _: None
    )
    assert result.video is not None
    return decoded(result.video)


def decoded(video: str) -> list[Pixels]:
    with av.open(video) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def place(frame: Pixels, colour: tuple[int, int, int]) -> tuple[float, float] | None:
    """Where a colour is, x and y in pixels; None if it is not in view."""
    near = np.linalg.norm(frame.astype(np.float32) - colour, axis=2) < 70
    if near.sum() < 12:
        return None
    y, x = np.nonzero(near)
    return float(x.mean()), float(y.mean())


def dots(frame: Pixels) -> dict[str, complex]:
    """Where the dots are that are in view."""
    found = {name: place(frame, colour) for name, colour in DOTS.items()}
    return {name: complex(*where) for name, where in found.items() if where is not None}


def shift(before: Pixels, after: Pixels) -> complex:
    """How far the dots moved: right is positive, down is positive imaginary."""
    first, last = dots(before), dots(after)
    both = first.keys() & last.keys()
    assert both
    return sum(last[name] - first[name] for name in both) / len(both)


def turn_and_growth(before: Pixels, after: Pixels) -> complex:
    """The dots' common rotation (the angle, clockwise as seen) and growth (the length) as one number."""
    first, last = dots(before), dots(after)
    pairs = list(combinations(sorted(first.keys() & last.keys()), 2))
    assert pairs
    return sum((last[b] - last[a]) / (first[b] - first[a]) for a, b in pairs) / len(pairs)
