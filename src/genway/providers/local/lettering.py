"""Text of any language set into a block: lines broken where the language allows it, as large as the room permits."""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from genway.providers.local import fonts
from genway.providers.local.fonts import Run
from genway.providers.local.picture import Pixels, Weights

MEASURE = 64
LEADING = 1.42
WIDE_LEADING = 1.62
# These do not begin, and those do not end a line.
CLOSING = "，。、！？：；）」』】》〉”’…‥·～,.!?:;)]}%％"
OPENING = "（「『【《〈“‘([{"
_WIDE = re.compile(r"[\u2e80-\u303f\u3040-\u30ff\u3100-\u31ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")


class Word(NamedTuple):
    """What is not broken. width: at size MEASURE. spaced: a space stands before it. breaks: a line ends before it.

    strong: it has a direction of its own, as figures and signs have not.
    """

    runs: tuple[Run, ...]
    width: float
    right_to_left: bool
    strong: bool = True
    spaced: bool = False
    breaks: bool = False
    ends_sentence: bool = False


class Placed(NamedTuple):
    """A word in the block: left end and baseline in pixels."""

    word: Word
    x: float
    baseline: float


class Block(NamedTuple):
    """Set text. size: pixels. The words are in reading order."""

    words: tuple[Placed, ...]
    size: int
    width: int
    height: int
    weight: int
    region: int

    @property
    def right_to_left(self) -> bool:
        """Whether the lines begin at the right."""
        return _to_left([placed.word for placed in self.words])

    @property
    def leading(self) -> int:
        """From one baseline to the next, in pixels."""
        return _leading(self.size, [placed.word for placed in self.words])

    def drawn(self) -> tuple[Pixels, Weights]:
        """The ink, 0…255, and for each pixel when it is read, 0…1; both height x width."""
        ink = Image.new("L", (self.width, self.height), 0)
        pen = ImageDraw.Draw(ink)
        read = np.zeros((self.height, self.width), np.float32)
        lengths = np.cumsum([0.0, *(placed.word.width + MEASURE / 3 for placed in self.words)])
        lengths /= max(lengths[-1], 1.0)
        for placed, begin, end in zip(self.words, lengths[:-1], lengths[1:], strict=True):
            x = placed.x
            for run in placed.word.runs:
                font = fonts.load(run.file, self.size, self.weight, self.region)
                pen.text((x, placed.baseline), run.text, fill=255, font=font, anchor="ls")
                x += font.getlength(run.text)
            left, right = max(0, int(placed.x)), min(self.width, int(x) + 2)
            top = max(0, int(placed.baseline - self.leading * 0.8))
            times = np.linspace(begin, end, max(1, right - left), dtype=np.float32)
            bottom = top + self.leading + 2
            read[top:bottom, left:right] = (times[::-1] if placed.word.right_to_left else times)[: max(0, right - left)]
        return np.asarray(ink), read


def words(text: str, weight: int) -> list[Word]:
    """The text in pieces that are not broken."""
    region = fonts.region_of(text)
    found: list[Word] = []
    for number, paragraph in enumerate(line for line in text.splitlines() if line.strip()):
        start = len(found)
        for chunk in paragraph.split():
            for position, piece in enumerate(_pieces(chunk)):
                word = _word(piece, weight, region)
                if word.runs:
                    found.append(word._replace(spaced=position == 0 and len(found) > start))
        if number and start < len(found):
            found[start] = found[start]._replace(breaks=True)
            found[start - 1] = found[start - 1]._replace(ends_sentence=True)
    return found


def fitted(pieces: list[Word], width: int, height: int, largest: int, smallest: int, weight: int, region: int) -> Block | None:
    """The words as large as they fit into width x height pixels, or None if they do not fit at the smallest size."""
    low, high, best = smallest, largest, None
    while low <= high:
        size = (low + high) // 2
        block = placed(pieces, size, width, weight, region)
        if block.height <= height and block.width <= width:
            best, low = block, size + 1
        else:
            high = size - 1
    return None if best is None else _balanced(pieces, best)


def placed(pieces: list[Word], size: int, width: int, weight: int, region: int) -> Block:
    """The words in lines of at most `width` pixels; a word longer than a line makes the block wider."""
    scale = size / MEASURE
    space = 0.28 * size
    lines = _lines(pieces, width / scale, space / scale)
    leading = _leading(size, pieces)
    to_left = _to_left(pieces)
    extents = [sum(word.width + (space / scale if word.spaced and at else 0) for at, word in enumerate(line)) for line in lines]
    block_width = max([extent * scale for extent in extents], default=0.0)
    done: list[Placed] = []
    for number, (line, extent) in enumerate(zip(lines, extents, strict=True)):
        x = block_width - extent * scale if to_left else 0.0
        baseline = leading * number + leading * 0.8
        starts: dict[int, float] = {}
        order = _visual(line, to_left)
        for index, following in zip(order, [*order[1:], -1], strict=True):
            starts[index] = x
            x += line[index].width * scale + (space if following >= 0 and _apart(line, index, following) else 0.0)
        done += [Placed(word, starts[index], baseline) for index, word in enumerate(line)]
    height = leading * len(lines) + round(0.1 * size)
    return Block(tuple(done), size, int(np.ceil(block_width)) + 1, height, weight, region)


def _apart(line: list[Word], left: int, right: int) -> bool:
    """Whether a space stands between two words that are neighbours on the page, though perhaps not in reading."""
    return abs(left - right) > 1 or line[max(left, right)].spaced


def _visual(line: list[Word], to_left: bool) -> list[int]:
    """The order of the words from left to right, where both directions of writing meet."""
    parts = [list(group) for _, group in groupby(range(len(line)), key=lambda index: line[index].right_to_left)]
    ordered = [part[::-1] if line[part[0]].right_to_left else part for part in (reversed(parts) if to_left else parts)]
    return [index for part in ordered for index in part]


def _lines(pieces: list[Word], width: float, space: float) -> list[list[Word]]:
    lines: list[list[Word]] = []
    used = 0.0
    for word in pieces:
        advance = word.width + (space if word.spaced else 0.0)
        if not lines or word.breaks or used + advance > width * 1.0005:
            lines.append([word])
            used = word.width
        else:
            lines[-1].append(word)
            used += advance
    return lines


def _balanced(pieces: list[Word], block: Block) -> Block:
    """The same size and number of lines in the narrowest block, so that the last line is not left alone."""
    low, high, best = block.width // 2, block.width, block
    while low < high:
        width = (low + high) // 2
        tried = placed(pieces, block.size, width, block.weight, block.region)
        if tried.height <= block.height and tried.width <= block.width:
            best, high = tried, width
        else:
            low = width + 1
    return best


def _pieces(chunk: str) -> list[str]:
    """Where a chunk without spaces may be broken: between characters of Chinese and Japanese, and nowhere else."""
    found: list[str] = []
    for character in chunk:
        glued = found and (
            character in CLOSING
            or found[-1][-1] in OPENING
            or unicodedata.combining(character)
            or not (_WIDE.match(character) or _WIDE.match(found[-1][-1]))
        )
        if glued:
            found[-1] += character
        else:
            found.append(character)
    return [part for piece in found for part in _short(piece)]


def _short(piece: str, most: int = 24) -> list[str]:
    """Words without an end, addresses and scripts without spaces: in parts that fit."""
    parts: list[str] = []
    for character in piece:
        attached = unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf") or (parts and parts[-1].endswith(fonts.JOINER))
        if parts and (attached or len(parts[-1]) < most):
            parts[-1] += character
        else:
            parts.append(character)
    return parts


def _word(piece: str, weight: int, region: int) -> Word:
    found = tuple(fonts.runs(piece))
    width = sum(fonts.load(run.file, MEASURE, weight, region).getlength(run.text) for run in found)
    direction = next((bidi for bidi in map(unicodedata.bidirectional, piece) if bidi in ("L", "R", "AL")), "")
    ends = bool(piece) and piece.rstrip("”’」』\"')）")[-1:] in tuple(".!?。！？；;…।؟")
    return Word(found, width, direction in ("R", "AL"), bool(direction), ends_sentence=ends)


def _to_left(pieces: list[Word]) -> bool:
    """The text goes the way of its first word that has one."""
    return next((word.right_to_left for word in pieces if word.strong), False)


def _leading(size: int, pieces: list[Word]) -> int:
    """Characters without ascenders fill their square and want more air between the lines."""
    wide = sum(1 for word in pieces if word.runs and word.runs[0].file.name == fonts.CJK)
    return round(size * (WIDE_LEADING if wide > len(pieces) / 2 else LEADING))
