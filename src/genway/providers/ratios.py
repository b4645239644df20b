"""Fitting a size in pixels to the ratios that a vendor offers."""

from __future__ import annotations

from collections.abc import Iterable
from math import log

from genway.operations import Size


def nearest_ratio(size: Size, ratios: Iterable[str]) -> str | None:
    """The ratio (`16:9` or `1280:720`) that comes nearest to a size, or None if none lies the same way.

    A portrait is never answered with a landscape or a square. Among ratios of the same shape the one of the
    nearest area wins. Words that are no ratio (`auto`) are passed over.
    """
    wanted = log(size.width / size.height)

    def distance(ratio: str) -> tuple[float, float]:
        width, height = _sides(ratio)
        return round(abs(log(width / height) - wanted), 2), abs(log(width * height / (size.width * size.height)))

    candidates = [
        ratio for ratio in ratios if ":" in ratio and _direction(*_sides(ratio)) == _direction(size.width, size.height)
    ]
    return min(candidates, key=distance, default=None)


def _sides(ratio: str) -> tuple[int, int]:
    width, height = ratio.split(":")
    return int(width), int(height)


def _direction(width: int, height: int) -> int:
    return (width > height) - (width < height)
