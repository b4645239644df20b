"""Pictures: a card that shows the words it was asked for and says that no model made it."""

from __future__ import annotations

import colorsys
import io
from hashlib import blake2b
from html import escape
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

Format = Literal["png", "jpeg", "webp", "gif", "svg"]
NOTE = "local-image · no AI model"
INK = (250, 248, 240)
LONGEST = 400
MARGIN = 0.08
WEIGHT = 500


class Card(msgspec.Struct, frozen=True):
    """What is drawn. width, height: pixels, at least 16. number: of a series, each in its own colour. compression: 0…100, the
    quality of a JPEG or WebP. frames, frame_milliseconds: of a GIF."""

    text: str
    width: int
    height: int
    format: Format = "png"
    number: int = 0
    transparent: bool = False
    compression: int = 90
    frames: int = 9
    frame_milliseconds: int = 200


def drawn(card: Card, sharpness: float = 1) -> bytes:
    """The card as a file of its format. sharpness: 0…1, below 1 a coarser view of the same, as one that is still being made.

    The same card gives the same bytes. Takes up to a second for the largest pictures: not for an event loop.
    """
    if card.format == "svg":
        return _svg(card)
    from PIL import Image  # noqa: PLC0415 - whoever needs no pictures does not load what draws them

    picture = _picture(card)
    if sharpness < 1:
        small = (max(1, round(card.width * sharpness / 8)), max(1, round(card.height * sharpness / 8)))
        picture = picture.resize(small, Image.Resampling.BOX).resize(picture.size, Image.Resampling.NEAREST)
    file = io.BytesIO()
    match card.format:
        case "jpeg":
            picture.convert("RGB").save(file, "JPEG", quality=card.compression)
        case "webp":
            picture.save(file, "WEBP", quality=card.compression)
        case "gif":
            first, *rest = [_with_clock(picture, (index + 1) / card.frames) for index in range(card.frames)]
            first.save(file, "GIF", save_all=True, append_images=rest, duration=card.frame_milliseconds, loop=0)
        case _:
            picture.save(file, "PNG", compress_level=3)
    return file.getvalue()


def _colours(card: Card) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The upper and the lower end of the ground: dark, so that the ink stands out."""
    hue = blake2b(card.text.encode("utf-8", "replace"), digest_size=1).digest()[0] / 256 + card.number * 0.381966
    ends = (colorsys.hsv_to_rgb(hue % 1, 0.55, 0.55), colorsys.hsv_to_rgb((hue + 0.12) % 1, 0.7, 0.25))
    upper, lower = [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in ends]
    return upper, lower


def _picture(card: Card) -> Image:
    from PIL import Image, ImageDraw  # noqa: PLC0415 - as in `drawn`

    size = (card.width, card.height)
    upper, lower = _colours(card)
    mask = Image.linear_gradient("L").resize(size)
    picture = Image.composite(Image.new("RGB", size, lower), Image.new("RGB", size, upper), mask)
    if card.transparent:
        picture = Image.new("RGBA", size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    ink = INK if not card.transparent else (*lower, 255)
    side = min(size)
    margin = round(MARGIN * side)
    note = max(8, round(0.032 * side))
    for points in (0.1, 0.075, 0.055, 0.04, 0.03):
        height = max(8, round(points * side))
        lines = _lines(card.text[:LONGEST], height, card.width - 2 * margin)
        room = (card.height - 3 * margin - note) // round(1.4 * height)
        if len(lines) <= room:
            break
    for index, line in enumerate(lines[: max(1, room)]):
        _write(draw, margin, margin + round((1.4 * index + 1) * height), line, height, ink)
    _write(draw, margin, card.height - margin, NOTE, note, ink)
    return picture


def _font(character_of: str, size: int) -> list[tuple[str, FreeTypeFont]]:
    from genway.providers.local import fonts  # noqa: PLC0415 - as in `drawn`

    region = fonts.region_of(character_of)
    return [(run.text, fonts.load(run.file, size, WEIGHT, region)) for run in fonts.runs(character_of)]


def _width(text: str, size: int) -> float:
    return sum(font.getlength(part) for part, font in _font(text, size))


def _write(draw: object, left: float, baseline: float, text: str, size: int, ink: tuple[int, ...]) -> None:
    for part, font in _font(text, size):
        draw.text((left, baseline), part, fill=ink, font=font, anchor="ls")  # type: ignore[attr-defined]
        left += font.getlength(part)


def _lines(text: str, size: int, width: int) -> list[str]:
    """The text in lines, broken between tokens, and inside one that is wider than a line."""
    from genway.providers.local.echo.words import pieces  # noqa: PLC0415 - as in `drawn`

    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for token in pieces(paragraph):
            if line and _width(line + token, size) > width:
                lines.append(line)
                line = ""
            line += token if line else token.lstrip()
            while len(line) > 1 and _width(line, size) > width:
                fitting = next(end for end in range(1, len(line)) if _width(line[: end + 1], size) > width)
                lines.append(line[:fitting])
                line = line[fitting:]
        lines.append(line)
    return lines


def _with_clock(picture: Image, part: float) -> Image:
    """The picture with a bar along its lower edge that has grown by so much, 0…1."""
    from PIL import ImageDraw  # noqa: PLC0415 - as in `drawn`

    frame = picture.convert("RGB")
    ImageDraw.Draw(frame).rectangle((0, frame.height - max(2, frame.height // 64), frame.width * part, frame.height), fill=INK)
    return frame


def _svg(card: Card) -> bytes:
    upper, lower = ("#{:02x}{:02x}{:02x}".format(*colour) for colour in _colours(card))
    size = max(8, round(0.06 * min(card.width, card.height)))
    ground = "" if card.transparent else '<rect width="100%" height="100%" fill="url(#ground)"/>'
    ink = lower if card.transparent else "#faf8f0"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{card.width}" height="{card.height}"'
        f' viewBox="0 0 {card.width} {card.height}">'
        f'<defs><linearGradient id="ground" x2="0" y2="1"><stop stop-color="{upper}"/><stop offset="1" stop-color="{lower}"/>'
        f'</linearGradient></defs>{ground}<g fill="{ink}" font-family="sans-serif" font-size="{size}" text-anchor="middle">'
        f'<text x="50%" y="50%">{escape(_printable(card.text[:LONGEST]))}</text>'
        f'<text x="50%" y="94%" font-size="{size // 2}">{escape(NOTE)}</text></g></svg>'
    ).encode("utf-8", "replace")


def _printable(text: str) -> str:
    """The text without what XML cannot hold."""
    return "".join(character if character.isprintable() else " " for character in text)
