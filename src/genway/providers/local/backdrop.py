"""Soft lights that drift through the dark: a moving background made of nothing but a seed and a mood."""

from __future__ import annotations

import re
from typing import NamedTuple

import cv2
import numpy as np

from genway.providers.local.picture import Pixels, Weights

# Longer side of the grid on which the lights are worked out.
COARSE = 160
LIGHTS = 5
DISCS = 7
GRAIN = 1.3
GRAIN_MIDDLE = 4
GRAIN_MARGIN = 48


class Mood(NamedTuple):
    """Ground colour, colours of the lights, and the words that call for them."""

    ground: tuple[int, int, int]
    lights: tuple[tuple[int, int, int], ...]
    words: re.Pattern[str]


def _mood(ground: str, lights: str, words: str) -> Mood:
    colours = [(int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)) for code in (ground, *lights.split())]
    return Mood(colours[0], tuple(colours[1:]), re.compile(words, re.IGNORECASE))


MOODS = (
    _mood(
        "0b1026",
        "27408b 5b2a86 0e6e8c 14265c",
        r"\b(?:night|moon|star|space|galax|midnight)\w*|夜|月|星|宇宙|太空",
    ),
    _mood(
        "1f0d1c",
        "c2452d d9822b 7a1f4e 3b1438",
        r"\b(?:sunset|sunrise|dusk|dawn|fire|flame|desert|autumn|warm)\w*|夕|日落|日出|黄昏|晚霞|火|沙漠|秋|暖",
    ),
    _mood(
        "04171f",
        "0b6e86 128f8b 0a3f6b 1b9aaa",
        r"\b(?:sea|ocean|wave|water|river|lake|beach|rain|underwater)\w*|海|浪|水|河|湖|雨",
    ),
    _mood(
        "08170f",
        "1f6b3a 5a8f2a 0d4a3c 8a9a3b",
        r"\b(?:forest|tree|jungle|garden|grass|spring|leaf|leaves|mountain)\w*|森林|树|草|春|花园|叶|山",
    ),
    _mood(
        "10182a",
        "7fa8c9 4a7296 a8b8d8 35507a",
        r"\b(?:snow|ice|winter|cold|frozen|frost|cloud|fog|mist)\w*|雪|冰|冬|冷|云|雾",
    ),
    _mood(
        "12061f",
        "c2187a 0bb5c9 5c1fd6 241069",
        r"\b(?:neon|cyber|robot|futur|city|street|tech)\w*|霓虹|赛博|机器人|未来|城市|街|科技",
    ),
    _mood(
        "1e0d16",
        "b5446e e08e79 6a2c70 3f1d45",
        r"\b(?:love|flower|rose|romantic|heart|dream|dance)\w*|爱|花|玫瑰|浪漫|心|梦|舞",
    ),
    _mood(
        "14110c",
        "a3772f 6b4a1e c9a25a 3b2a16",
        r"\b(?:gold|ancient|castle|history|king|temple|vintage)\w*|金|古|城堡|历史|王|寺|庙",
    ),
)


def mood_for(prompt: str, seed: int) -> Mood:
    """The mood that most words of the prompt call for, or one that the seed picks."""
    called = [len(mood.words.findall(prompt)) for mood in MOODS]
    return MOODS[called.index(max(called))] if any(called) else MOODS[seed % len(MOODS)]


class Backdrop:
    """width, height: pixels. seed: fixes every place and way."""

    def __init__(self, width: int, height: int, mood: Mood, seed: int) -> None:
        self.width, self.height = width, height
        factor = COARSE / max(width, height)
        self._small = max(8, round(width * factor)), max(8, round(height * factor))
        chance = np.random.default_rng(seed % 2**63)
        self._ground = np.array(mood.ground, np.float32)
        self._colours = np.array([mood.lights[index % len(mood.lights)] for index in range(LIGHTS)], np.float32)
        self._home = chance.uniform(0.08, 0.92, (LIGHTS, 2)).astype(np.float32)
        self._orbit = chance.uniform(0.06, 0.16, (LIGHTS, 2)).astype(np.float32)
        self._phase = chance.uniform(0, 2 * np.pi, (LIGHTS, 2)).astype(np.float32)
        self._spread = chance.uniform(0.20, 0.36, LIGHTS).astype(np.float32)
        self._discs = [self._disc(chance) for _ in range(DISCS)]
        # Grain hides the steps of the gradient, which eight bits and the encoder would show.
        grain = np.clip(chance.normal(GRAIN_MIDDLE, GRAIN, (height + GRAIN_MARGIN, width + GRAIN_MARGIN)) + 0.5, 0, 255)
        self._grain = cv2.cvtColor(grain.astype(np.uint8), cv2.COLOR_GRAY2RGB)
        self._offsets = chance.integers(0, GRAIN_MARGIN, (1024, 2))
        y, x = np.mgrid[0 : self._small[1], 0 : self._small[0]].astype(np.float32)
        self._x, self._y = x / (self._small[0] - 1), y / (self._small[1] - 1)
        self._ratio = np.float32(height / width)
        falloff = ((self._x - 0.5) ** 2 + (self._y - 0.5) ** 2) * 1.1
        self._vignette = (1 - falloff)[..., None]

    def at(self, moment: float, frame: int = 0) -> Pixels:
        """The picture at a moment, 0…1: height x width x 3."""
        field = np.tile(self._ground, (self._small[1], self._small[0], 1))
        for light in range(LIGHTS):
            place = self._home[light] + self._orbit[light] * np.sin(self._phase[light] + np.float32(2.2 * moment))
            away = (self._x - place[0]) ** 2 + ((self._y - place[1]) * self._ratio) ** 2
            weight = np.exp(away / (-2 * self._spread[light] ** 2))[..., None]
            field += (self._colours[light] - field) * weight * 0.62
        field *= self._vignette
        large = cv2.resize(field, (self.width, self.height), interpolation=cv2.INTER_CUBIC)
        for x, y, radius, drift, strength in self._discs:
            self._glow(large, x + drift * (moment - 0.5), y - 0.4 * drift * (moment - 0.5), radius, strength)
        top, left = self._offsets[frame % len(self._offsets)]
        grain = self._grain[top : top + self.height, left : left + self.width]
        grained = cv2.add(cv2.convertScaleAbs(large), grain)
        return np.asarray(cv2.subtract(grained, (GRAIN_MIDDLE,) * 4), np.uint8)

    def _disc(self, chance: np.random.Generator) -> tuple[float, float, float, float, float]:
        """Where a light out of focus hangs, how large it is, how far it drifts and how bright it is."""
        x, y = chance.uniform(0, 1, 2)
        near = chance.uniform(0.2, 1)
        return float(x), float(y), float(0.03 + 0.13 * near), float(0.05 + 0.14 * near), float(chance.uniform(0.03, 0.085))

    def _glow(self, large: Weights, x: float, y: float, radius: float, strength: float) -> None:
        """Lighten a soft-edged disc; x, y, radius as shares of the frame."""
        pixels = radius * max(self.width, self.height)
        left, top = x * self.width - pixels, y * self.height - pixels
        x0, y0 = max(0, int(left)), max(0, int(top))
        x1, y1 = min(self.width, int(left + 2 * pixels) + 1), min(self.height, int(top + 2 * pixels) + 1)
        if x1 <= x0 or y1 <= y0:
            return
        across = (np.arange(x0, x1, dtype=np.float32) - x * self.width) / pixels
        down = (np.arange(y0, y1, dtype=np.float32) - y * self.height) / pixels
        away = np.sqrt(across[None] ** 2 + down[:, None] ** 2)
        disc = np.clip((1 - away) * 12, 0, 1) * (0.55 + 0.45 * np.clip(away, 0, 1) ** 3) * strength
        part = large[y0:y1, x0:x1]
        part += (np.float32(235) - part) * disc[..., None]
