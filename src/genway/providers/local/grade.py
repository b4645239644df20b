"""The look `cinematic`: a soft contrast curve, cool shadows and warm lights, a light vignette, fine grain."""

from __future__ import annotations

import cv2
import numpy as np

from genway.providers.local.picture import Pixels

STYLES = frozenset({"cinematic", "movie", "film", "filmic", "电影", "电影感"})
SHADOWS = np.array([-9.0, 2.5, 11.0], np.float32)
LIGHTS = np.array([11.0, 3.0, -13.0], np.float32)
GRAIN = 2.2
GRAIN_MIDDLE = 8
TILE_MARGIN = 64


def wanted(style: str) -> bool:
    """Whether a request's style means this look."""
    return style.strip().lower() in STYLES


def graded(rgb: Pixels) -> Pixels:
    """The part of the look that belongs to the picture: contrast and colour. height x width x 3, any size."""
    level = np.arange(256, dtype=np.float32) / 255
    curve = level + 0.16 * (level * level * (3 - 2 * level) - level) - 0.035 * np.sin(np.pi * level)
    tone = (0.018 + 0.972 * curve) * 255
    toned = cv2.LUT(rgb, np.clip(tone + 0.5, 0, 255).astype(np.uint8))
    grey = cv2.cvtColor(toned, cv2.COLOR_RGB2GRAY)
    dark = (1 - level) ** 2 * np.clip(level / 0.12, 0.35, 1)
    light = level**1.6 * np.clip((1 - level) / 0.15, 0.25, 1)
    shift = dark[:, None] * SHADOWS + light[:, None] * LIGHTS
    tints = np.clip(128 + shift + 0.5, 0, 255).astype(np.uint8)
    tint = cv2.LUT(cv2.merge((grey, grey, grey)), tints[None])
    muted = cv2.addWeighted(toned, 0.9, cv2.merge((grey, grey, grey)), 0.1, 0)
    return np.asarray(cv2.addWeighted(muted, 1.0, tint, 1.0, -128), np.uint8)


class Lens:
    """The part of the look that belongs to the frame: vignette and grain, applied to luma in place.

    seed: fixes the grain; the same frame number gets the same grain.
    """

    def __init__(self, width: int, height: int, seed: int) -> None:
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        radius = np.sqrt(x**2 * 0.9 + y**2 * 0.75)
        falloff = 1 - 0.26 * np.clip((radius - 0.45) / 0.85, 0, 1) ** 1.7
        self._falloff = (falloff * 255 + 0.5).astype(np.uint8)
        # Limited-range black is 16 and must not be dimmed; the grain is stored around a middle to stay unsigned.
        self._lift = (16 * (1 - falloff) + 0.5).astype(np.uint8)
        noise = np.random.default_rng(seed % 2**63)
        tile = noise.standard_normal((height + TILE_MARGIN, width + TILE_MARGIN), np.float32)
        tile = cv2.GaussianBlur(tile, (0, 0), 0.7)
        tile *= GRAIN / max(float(tile.std()), 1e-6)
        self._grain = np.clip(tile + GRAIN_MIDDLE + 0.5, 0, 2 * GRAIN_MIDDLE).astype(np.uint8)
        self._offsets = noise.integers(0, TILE_MARGIN, (4096, 2))

    def apply(self, luma: Pixels, frame: int) -> None:
        """Put vignette and grain on a frame's luma, height x width, limited range."""
        height, width = luma.shape
        top, left = self._offsets[frame % len(self._offsets)]
        grain = self._grain[top : top + height, left : left + width]
        cv2.multiply(luma, self._falloff, dst=luma, scale=1 / 255)
        cv2.add(luma, self._lift, dst=luma)
        cv2.add(luma, grain, dst=luma)
        cv2.subtract(luma, np.full(1, GRAIN_MIDDLE, np.float64), dst=luma)
