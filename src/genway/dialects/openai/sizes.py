"""Sizes as OpenAI's video format writes them, `1280x720`, and in words for other systems' models, `16:9`."""

from __future__ import annotations

import re

from genway.dialects.body import one_of, shown
from genway.errors import InvalidRequest
from genway.operations import Size

SORA = ("720x1280", "1280x720", "1024x1792", "1792x1024")
USUAL = Size(1280, 720)
SHORT_SIDE = 720
SIDES = (128, 4096)
MOST_PIXELS = 3840 * 2160
LARGEST_WORD = 32
STEEPEST = 4


def chosen(model: str, text: str) -> Size:
    """The size that a request names, or the model's usual one. Raises InvalidRequest for `size`."""
    if model.startswith("openai/sora"):
        if text and text not in SORA:
            raise InvalidRequest(f"{one_of(SORA)}, got {shown(text)}", field="size")
        width, height = map(int, (text or SORA[0]).split("x"))
        return Size(width, height)
    return parse(text) if text else USUAL


def parse(text: str) -> Size:
    """`1280x720` in pixels, or a proportion `16:9`, whose shorter side becomes 720. Raises InvalidRequest."""
    match = re.fullmatch(r"([1-9]\d{0,4}) ?[xX*:×] ?([1-9]\d{0,4})", text.strip(), re.ASCII)
    if match is None:
        raise InvalidRequest(f"a size like 1280x720 or 16:9, got {shown(text)}", field="size")
    width, height = int(match[1]), int(match[2])
    if max(width, height) <= LARGEST_WORD:
        if max(width, height) > STEEPEST * min(width, height):
            raise InvalidRequest(f"at most {STEEPEST}:1, got {shown(text)}", field="size")
        long = round(SHORT_SIDE * max(width, height) / min(width, height) / 2) * 2
        return Size(long, SHORT_SIDE) if width > height else Size(SHORT_SIDE, long)
    least, most = SIDES
    if width % 2 or height % 2 or min(width, height) < least or max(width, height) > most or width * height > MOST_PIXELS:
        raise InvalidRequest(
            f"even sides from {least} to {most} and at most {MOST_PIXELS} pixels in all, got {shown(text)}", field="size"
        )
    return Size(width, height)
