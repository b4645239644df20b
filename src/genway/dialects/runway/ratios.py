"""Ratios and sizes as Runway's formats write them: `16:9` in words, `1280:720` in pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from genway.dialects.body import one_of, shown
from genway.errors import InvalidRequest
from genway.operations import Size

WORDS = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9")
NAMED = {Fraction(*map(int, word.split(":"))) for word in WORDS}
STANDARD = ("1280:720", "720:1280", "1104:832", "832:1104", "960:960", "1584:672")
ALMOST = 0.07
LARGEST_WORD = 32

# What a video may measure, whatever the model; H.264 with 4:2:0 colour needs even sides.
VIDEO_SIDES = (128, 4096)
VIDEO_PIXELS = 3840 * 2160
IMAGE_SIDES = (128, 12288)
IMAGE_PIXELS = 40_000_000


def parse(text: str) -> tuple[int, int] | None:
    """`16:9`, `1280:720`, `1280x720` as two positive numbers; None for anything else."""
    match = re.fullmatch(r"([1-9]\d{0,4}) ?[:：xX*×] ?([1-9]\d{0,4})", text.strip(), re.ASCII)
    return (int(match[1]), int(match[2])) if match else None


def in_words(pair: tuple[int, int]) -> bool:
    """Whether the pair is a proportion, not a size in pixels."""
    return max(pair) <= LARGEST_WORD


def size(pair: tuple[int, int], field: str, *, sides: tuple[int, int] = VIDEO_SIDES, pixels: int = VIDEO_PIXELS) -> Size:
    """The size in pixels, checked. Raises InvalidRequest naming `field`."""
    width, height = pair
    least, most = sides
    if width % 2 or height % 2 or min(pair) < least or max(pair) > most or width * height > pixels:
        allowed = f"even sides from {least} to {most} and at most {pixels} pixels in all"
        raise InvalidRequest(f"{allowed}, got {width}:{height}", field=field)
    return Size(width, height)


def by_short_side(pair: tuple[int, int], short: int) -> tuple[int, int]:
    """The size of that proportion whose shorter side is `short`, both even."""
    long = round(short * max(pair) / min(pair) / 2) * 2
    return (long, short) if pair[0] > pair[1] else (short, long)


def alike(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two shapes are about the same: 1280:768 counts as 16:9."""
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) <= ALMOST


def name(pair: tuple[int, int]) -> str:
    """The shape's usual name, `16:9`, or the pair itself where it has none."""
    near = (word for word in WORDS if alike(pair, _pair(word)))
    return next(near, f"{pair[0]}:{pair[1]}")


def fit(text: str, allowed: Sequence[str], model: str, field: str) -> Size:
    """The size that `text` asks of a model whose own sizes are `allowed`; empty: any.

    A proportion in words becomes the model's own size of about that shape. A size in pixels is kept as it is where the
    model has that shape. Raises InvalidRequest naming the shapes that the model can do.
    """
    pair = parse(text)
    if pair is None or (in_words(pair) and Fraction(*pair) not in NAMED):
        raise InvalidRequest(f"{one_of(WORDS)}, or a size like 1280:720, got {shown(text)}", field=field)
    return fit_pair(pair, allowed, model, field)


def fit_pair(pair: tuple[int, int], allowed: Sequence[str], model: str, field: str) -> Size:
    """As `fit`, for a pair of numbers."""
    if not allowed and not in_words(pair):
        return size(pair, field)
    sizes = [_pair(choice) for choice in allowed or STANDARD]
    near = min((choice for choice in sizes if alike(pair, choice)), key=lambda choice: _distance(choice, pair), default=None)
    if near is None:
        names = list(dict.fromkeys(name(choice) for choice in sizes))
        can_do = " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
        raise InvalidRequest(f"{model} can do {can_do}, got {pair[0]}:{pair[1]}", field=field)
    return size(near if in_words(pair) else pair, field)


def _distance(one: tuple[int, int], other: tuple[int, int]) -> float:
    return abs(one[0] / one[1] - other[0] / other[1])


def _pair(text: str) -> tuple[int, int]:
    width, _, height = text.partition(":")
    return int(width), int(height)
