"""No picture was given: the words themselves become the video, on a moving card that says what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from PIL import Image, ImageDraw
from PIL.ImageFont import FreeTypeFont

from genway.operations import Camera
from genway.providers.local import fonts, lettering, moves
from genway.providers.local.backdrop import Backdrop, mood_for
from genway.providers.local.film import film, lens_for
from genway.providers.local.job import RenderJob, RenderResult
from genway.providers.local.lettering import Block, Word
from genway.providers.local.motion import Motion
from genway.providers.local.picture import Pixels, Weights

LONGEST_PROMPT = 4000
INK = np.array([248, 246, 240], np.uint8)
WEIGHT = 560
NAME = "STORYBOARD 分镜"
ORIGIN = "LOCAL PREVIEW, NO AI MODEL · 本地预览，非模型生成"
ORIGIN_SHORT = "LOCAL PREVIEW · 本地预览"
# Of the shorter side: type that looks right, type that can just be read, small type, and the border.
COMFORTABLE, LARGEST, SMALLEST, SMALL, MARGIN = 0.062, 0.125, 0.034, 0.0235, 0.075
PAGE_SECONDS = 2.4
TURN = 0.45
UNREAD = 0.3
RETURN_SECONDS = 1.0
DRIFT = 0.5
CAMERA_NAMES = (
    ("zoom", "push in 推进", "pull out 拉远"),
    ("horizontal", "truck right 右移", "truck left 左移"),
    ("vertical", "crane up 上升", "crane down 下降"),
    ("pan", "pan right 右摇", "pan left 左摇"),
    ("tilt", "tilt up 上摇", "tilt down 下摇"),
    ("roll", "roll 顺时针", "roll 逆时针"),
)


def render(job: RenderJob, progress: Callable[[float], None]) -> RenderResult:
    """Make the video of the prompt's words, page by page; any language, any length (very long prompts are cut with …).

    `loop` lets the end go over into the beginning.
    """
    card = Card(job, seconds=job.seconds)
    progress(0.1)
    frames = (card.at(index / job.fps, index) for index in range(job.frames))
    return film(job, _returning(frames, job) if job.loop else frames, progress, lens=lens_for(job))


def _returning(frames: Iterator[Pixels], job: RenderJob) -> Iterator[Pixels]:
    """The frames, the last of them dissolving into the first."""
    fading = min(round(RETURN_SECONDS * job.fps), job.frames // 2)
    first: Pixels | None = None
    for index, rgb in enumerate(frames):
        if first is None:
            first = rgb
        share = _eased((index + 1 + fading - job.frames) / (fading + 1))
        yield cv2.addWeighted(first, share, rgb, 1 - share, 0) if share else rgb


class Card:
    """A title card. seconds: how long it is shown, which says how many pages there may be; 0 for one still page."""

    def __init__(self, job: RenderJob, seconds: float, seed: int | None = None) -> None:
        self.width, self.height = job.width, job.height
        self.seconds = seconds
        self._fps = job.fps
        seed = job.seed if seed is None else seed
        self._backdrop = Backdrop(job.width, job.height, mood_for(job.prompt, seed), seed)
        camera = moves.chosen(job.camera, job.prompt, seed)
        self._motion = Motion(_halved(camera), job.width, job.height)
        spoken = moves.from_words(job.prompt) if job.camera.still else job.camera
        self._side = min(job.width, job.height)
        self.labels: list[str] = []
        self._furniture = self._drawn_furniture("" if spoken is None else _spoken(spoken))
        self._pages = [self._page(block) for block in self._set(job.prompt)]
        self._ink = np.tile(INK, (job.height, job.width, 1))

    def at(self, second: float, frame: int = 0) -> Pixels:
        """The card at a moment: height x width x 3."""
        part = second / self.seconds if self.seconds else 0.5
        picture = self._backdrop.at(part, frame)
        length = self.seconds / len(self._pages)
        number = min(int(second / length), len(self._pages) - 1) if length else 0
        within = second - number * length
        ink, shade = self._shown(number, within if self.seconds else None, length)
        if number and within < TURN:
            fading = _eased(1 - within / TURN)
            old_ink, old_shade = self._shown(number - 1, length, length)
            ink, shade = ink * (1 - fading) + old_ink * fading, shade * (1 - fading) + old_shade * fading
        matrix = self._drift(part)
        ink = cv2.warpAffine(ink, matrix, (self.width, self.height), flags=cv2.INTER_CUBIC)
        shade = cv2.warpAffine(shade, matrix, (self.width, self.height))
        furniture = self.furniture()
        self._draw_clock(furniture, part, frame)
        ink = np.clip(np.maximum(ink, furniture.astype(np.float32) * (0.72 / 255)), 0, 1)
        dark = np.zeros_like(picture)
        picture = cv2.blendLinear(dark, picture, shade, 1 - shade)
        return np.asarray(cv2.blendLinear(self._ink, picture, ink, 1 - ink))

    def furniture(self) -> Pixels:
        """What frames the words, as ink: height x width."""
        return self._furniture.copy()

    @property
    def blocks(self) -> list[Block]:
        """The words of each page."""
        return [block for block, *_ in self._pages]

    @property
    def text(self) -> str:
        """The words that stand on the card, without those left out for want of room."""
        return " ".join("".join(run.text for run in placed.word.runs) for block in self.blocks for placed in block.words)

    def _set(self, prompt: str) -> list[Block]:
        """The prompt on as many pages as there is time for and as it takes to be comfortably read."""
        text = prompt[:LONGEST_PROMPT]
        pieces = lettering.words(text, WEIGHT) or lettering.words("Storyboard\n分镜", WEIGHT)
        region = fonts.region_of(text)
        width, height = round(self.width * (1 - 2.6 * MARGIN)), round(self.height - self._side * 4.4 * MARGIN)
        sizes = round(LARGEST * self._side), max(8, round(SMALLEST * self._side))
        best: list[Block] = []
        for pages in range(1, max(1, int(self.seconds / PAGE_SECONDS)) + 1):
            blocks = [lettering.fitted(part, width, height, *sizes, WEIGHT, region) for part in _parts(pieces, pages)]
            if any(block is None for block in blocks):
                continue
            size = min(block.size for block in blocks if block)
            if not best or size > best[0].size:
                best = [
                    block
                    for part in _parts(pieces, pages)
                    if (block := lettering.fitted(part, width, height, size, size, WEIGHT, region))
                ]
            if size >= COMFORTABLE * self._side:
                break
        return best or self._cut(pieces, width, height, sizes[1], region)

    def _cut(self, pieces: list[Word], width: int, height: int, size: int, region: int) -> list[Block]:
        """As much as can be read in the time, with an ellipsis."""
        ellipsis = lettering.words("…", WEIGHT)
        blocks: list[Block] = []
        for page in range(max(1, int(self.seconds / PAGE_SECONDS))):
            low, high = 1, len(pieces)
            while low < high:
                middle = (low + high + 1) // 2
                fits = lettering.fitted(pieces[:middle] + ellipsis, width, height, size, size, WEIGHT, region)
                low, high = (middle, high) if fits else (low, middle - 1)
            last = page + 1 == max(1, int(self.seconds / PAGE_SECONDS)) and low < len(pieces)
            block = lettering.fitted(pieces[:low] + (ellipsis if last else []), width, height, size, size, WEIGHT, region)
            pieces = pieces[low:]
            blocks += [block] if block else []
            if not pieces:
                break
        return blocks or [lettering.placed(ellipsis, size, width, WEIGHT, region)]

    def _page(self, block: Block) -> tuple[Block, Weights, Weights, Weights]:
        """The block in the frame: ink, when it is read, and the shade beneath it; each height x width."""
        left = round(self.width * 1.3 * MARGIN)
        if block.right_to_left:
            left = self.width - left - block.width
        top = max(0, (self.height - block.height) // 2)
        ink = np.zeros((self.height, self.width), np.float32)
        read = np.zeros((self.height, self.width), np.float32)
        drawn, times = block.drawn()
        wide, high = min(block.width, self.width - left), min(block.height, self.height - top)
        ink[top : top + high, left : left + wide] = drawn[:high, :wide].astype(np.float32) / 255
        read[top : top + high, left : left + wide] = times[:high, :wide]
        shade = cv2.GaussianBlur(ink, (0, 0), max(1.0, block.size * 0.22))
        return block, ink, read, np.minimum(shade * 0.85, 0.5)

    def _shown(self, number: int, within: float | None, length: float) -> tuple[Weights, Weights]:
        """Ink and shade of a page: words light up as they are read, at first faint enough to see that they come."""
        _, ink, read, shade = self._pages[number]
        if within is None:
            return ink, shade
        reading = max(0.3, length - TURN - 0.9)
        lit = np.clip((np.float32((within + 0.12) / reading * 1.15) - read) / 0.12, 0, 1)
        return ink * (UNREAD + (1 - UNREAD) * lit * lit * (3 - 2 * lit)), shade

    def _drift(self, part: float) -> Weights:
        """How the words stand at a moment: they go half the camera's way, and are at home in the middle of it."""
        moment = self._motion.background(_eased(part)) @ np.linalg.inv(self._motion.background(0.5))
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        return np.asarray((np.linalg.inv(half) @ moment @ half)[:2])

    def _drawn_furniture(self, camera: str) -> Pixels:
        """What stays: the name, where it comes from, the camera's move, and marks in the corners."""
        image = Image.new("L", (self.width, self.height), 0)
        pen = ImageDraw.Draw(image)
        size, edge = self._small, round(MARGIN * self._side)
        baseline = edge + size
        name = self._label(pen, NAME, edge, baseline, 700)
        origin = ORIGIN if name + self._length(ORIGIN) + 4 * size < self.width - 2 * edge else ORIGIN_SHORT
        if name + self._length(origin) + 2 * size < self.width - 2 * edge:
            self._label(pen, origin, round(self.width - edge - self._length(origin)), baseline, 400)
        else:
            self._label(pen, origin, edge, round(baseline + 1.7 * size), 400)
        if camera:
            self._label(pen, camera, edge, self.height - edge, 500, room=self.width - 2 * edge - 8 * size)
        arm, line, inset = round(1.2 * size), max(1, round(size / 14)), round(edge * 0.45)
        for x, across in ((inset, 1), (self.width - 1 - inset, -1)):
            for y, down in ((inset, 1), (self.height - 1 - inset, -1)):
                pen.line([(x, y), (x + across * arm, y)], fill=150, width=line)
                pen.line([(x, y), (x, y + down * arm)], fill=150, width=line)
        return np.asarray(image)

    def _draw_clock(self, furniture: Pixels, part: float, frame: int) -> None:
        """The time within the clip and how much of it has passed."""
        if not self.seconds:
            return
        edge, size = round(MARGIN * self._side), self._small
        clock = f"{int(frame / self._fps) // 60:02d}:{int(frame / self._fps) % 60:02d}:{frame % self._fps:02d}"
        patch = Image.new("L", (8 * size, 2 * size), 0)
        ImageDraw.Draw(patch).text(
            (8 * size, 1.5 * size), clock, fill=255, font=fonts.load(fonts.plain(), size, 500), anchor="rs", features=_tabular()
        )
        bottom, right = self.height - edge + size // 2, self.width - edge
        left, top = max(0, right - 8 * size), max(0, bottom - 2 * size)
        corner = furniture[top:bottom, left:right]
        corner[:] = np.maximum(corner, np.asarray(patch)[-corner.shape[0] :, -corner.shape[1] :])
        y, thick = self.height - round(edge * 0.45), max(1, round(size / 9))
        inset = round(edge * 0.45) + 2 * size
        end = round(inset + (self.width - 2 * inset) * part)
        furniture[y - thick : y, inset : self.width - inset] = 60
        furniture[y - thick : y, inset:end] = 230

    @property
    def _small(self) -> int:
        return max(9, round(SMALL * self._side))

    def _label(self, pen: ImageDraw.ImageDraw, text: str, x: float, baseline: float, weight: int, room: float = 1e9) -> float:
        """Small type with a little space between the letters; returns how long it is."""
        self.labels.append(text)
        start = x
        for character, font, advance in self._spread(text, weight):
            if x + advance - start > room:
                break
            pen.text((x, baseline), character, fill=255, font=font, anchor="ls")
            x += advance
        return x - start

    def _length(self, text: str) -> float:
        return sum(advance for *_, advance in self._spread(text, 400))

    def _spread(self, text: str, weight: int) -> Iterator[tuple[str, FreeTypeFont, float]]:
        for run in fonts.runs(text):
            font = fonts.load(run.file, self._small, weight)
            for character in run.text:
                yield character, font, font.getlength(character) + 0.06 * self._small


def _parts(pieces: list[Word], pages: int) -> list[list[Word]]:
    """The words on so many pages, about equal, broken after a sentence where one ends nearby."""
    parts, begin = [], 0
    lengths = np.cumsum([word.width for word in pieces])
    for page in range(1, pages):
        target = lengths[-1] * page / pages
        reach = lengths[-1] / pages * 0.4
        ends = [at + 1 for at, word in enumerate(pieces[:-1]) if word.ends_sentence and abs(lengths[at] - target) < reach]
        end = min(ends, key=lambda at: abs(lengths[at - 1] - target)) if ends else int(np.searchsorted(lengths, target)) + 1
        if begin < end < len(pieces):
            parts.append(pieces[begin:end])
            begin = end
    return [*parts, pieces[begin:]]


def _halved(camera: Camera) -> Camera:
    return Camera(**{name: getattr(camera, name) * DRIFT for name in camera.__struct_fields__})


def _spoken(camera: Camera) -> str:
    """The camera's moves in words."""
    named = [up if getattr(camera, name) > 0 else down for name, up, down in CAMERA_NAMES if abs(getattr(camera, name)) >= 0.5]
    return "CAMERA " + " + ".join(named[:3]) if named else "CAMERA static 固定"


def _tabular() -> list[str] | None:
    return ["tnum"] if fonts.SHAPING else None


def _eased(part: float) -> float:
    clipped = min(1.0, max(0.0, part))
    return clipped * clipped * (3 - 2 * clipped)
