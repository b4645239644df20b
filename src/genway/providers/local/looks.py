"""Looks for a moving picture. Whatever is chosen freely is chosen once, so that nothing flickers from frame to frame."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from genway.providers.local import grade
from genway.providers.local.backdrop import Mood, mood_for
from genway.providers.local.picture import Pixels, Weights

Look = Callable[[Pixels], Pixels]


class Scene(NamedTuple):
    """What a look knows beforehand. first: a typical frame, height x width x 3. strength: 0…1."""

    first: Pixels
    strength: float
    prompt: str
    seed: int

    @property
    def unit(self) -> float:
        """A hundredth of the shorter side, in pixels: what sizes are measured by."""
        return float(min(self.first.shape[:2])) / 100

    def noise(self, size: float, channel: int = 0) -> Weights:
        """A texture that stays in place, height x width, mean 0, deviation 1. size: of its grains, in pixels."""
        height, width = self.first.shape[:2]
        small = max(4, round(width / max(1.0, size))), max(4, round(height / max(1.0, size)))
        grains = np.random.default_rng([self.seed % 2**63, channel]).standard_normal((small[1], small[0]), np.float32)
        grown = cv2.resize(cv2.GaussianBlur(grains, (0, 0), 0.8), (width, height), interpolation=cv2.INTER_CUBIC)
        return np.asarray(grown / max(float(grown.std()), 1e-6))


def anime(scene: Scene) -> Look:
    """Flat, bright colours in soft steps, and fine dark lines."""
    levels = 11 - 4 * scene.strength
    curve = _steps(levels, 1.06, 0.03)

    def look(rgb: Pixels) -> Pixels:
        flat = _smoothed(rgb, scene.strength)
        light, a, b = cv2.split(cv2.cvtColor(flat, cv2.COLOR_RGB2LAB))
        coloured = _lab(cv2.LUT(light, curve), a, b, 1.28)
        return _inked(coloured, _lines(rgb, scene.unit * 0.11, 1.0), 0.8)

    return look


def comic(scene: Scene) -> Look:
    """Strong outlines, few colours, and dots for the shadows."""
    curve = _steps(5, 1.1, 0.0)
    pitch = max(4.0, scene.unit * 0.95)
    height, width = scene.first.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    turned = (x + y) * np.float32(np.pi / pitch / np.sqrt(2)), (x - y) * np.float32(np.pi / pitch / np.sqrt(2))
    dots = (np.cos(turned[0]) * np.cos(turned[1]) * 0.5 + 0.5).astype(np.float32)

    def look(rgb: Pixels) -> Pixels:
        flat = _smoothed(rgb, 1.0)
        light, a, b = cv2.split(cv2.cvtColor(flat, cv2.COLOR_RGB2LAB))
        dark = np.clip((0.62 - light.astype(np.float32) / 255) * 1.5, 0, 0.8)
        covered = np.clip((dots - 1 + dark) * 5, 0, 1)
        coloured = _lab(cv2.LUT(light, curve), a, b, 1.5)
        return _inked(_inked(coloured, covered, 0.42), _lines(rgb, scene.unit * 0.17, 1.35), 0.95)

    return look


def watercolour(scene: Scene, ink: bool = False) -> Look:
    """Thin colour that runs into wet paper and dries darker at its borders. ink: black ink instead, as in China."""
    paper = 1 + 0.016 * scene.noise(1.8, 1) + 0.010 * scene.noise(6, 2)
    pooled = np.clip(1 + 0.075 * scene.noise(scene.unit * 6, 3) + 0.035 * scene.noise(scene.unit * 1.8, 4), 0.6, 1.4)
    ground = np.array([247, 243, 232] if ink else [254, 252, 246], np.float32)
    amount = np.float32(scene.unit * (0.12 + 0.14 * scene.strength))
    height, width = scene.first.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    run = x + scene.noise(scene.unit * 3, 5) * amount, y + scene.noise(scene.unit * 3, 6) * amount
    radius = max(2, round(scene.unit * 0.75))

    def look(rgb: Pixels) -> Pixels:
        flat = _kuwahara(cv2.remap(rgb, *run, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), radius).astype(np.float32)
        grey = cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY)[..., None]
        density = 1 - np.clip(grey + (flat - grey) * (0.12 if ink else 1.35), 0, 255) / 255
        tone = 1 - grey[..., 0] / 255
        rim = np.clip(tone - cv2.GaussianBlur(tone, (0, 0), scene.unit * 0.9), 0, 0.15)
        pigment = (density ** (1.9 if ink else 1.2) * pooled[..., None] + 0.9 * rim[..., None]) * (2.1 if ink else 1.25)
        return np.asarray(np.clip(ground * np.exp(-pigment) * paper[..., None], 0, 255), np.uint8)

    return look


def ink(scene: Scene) -> Look:
    """Chinese ink on rice paper."""
    return watercolour(scene, ink=True)


def oil(scene: Scene) -> Look:
    """Thick strokes that follow the shapes, on canvas, lit from above."""
    radius = max(2, round(scene.unit * (0.45 + 0.4 * scene.strength)))
    canvas = scene.noise(1.3, 1) * 3.0
    bristles = cv2.GaussianBlur(scene.noise(1.2, 2), (0, 0), 1.0)

    def look(rgb: Pixels) -> Pixels:
        painted = _kuwahara(rgb, radius)
        light, a, b = cv2.split(cv2.cvtColor(painted, cv2.COLOR_RGB2LAB))
        height = light.astype(np.float32) + bristles * 9
        relief = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3) - 0.6 * cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3)
        lit = light + np.clip(relief * 0.16, -26, 26) + canvas
        return _lab(np.clip(lit, 0, 255).astype(np.uint8), a, b, 1.3)

    return look


def sketch(scene: Scene) -> Look:
    """Graphite on paper: outlines by dodging, hatching in the shadows."""
    paper = 246 + 2.2 * scene.noise(1.4, 1)
    height, width = scene.first.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    wobble = scene.noise(scene.unit * 3, 2) * 2.5
    pitch = np.float32(2 * np.pi / max(3.0, scene.unit * 0.55))
    hatch = [np.sin(((x + y) + wobble) * pitch * 0.75) * 0.5 + 0.5, np.sin(((x - 0.6 * y) + wobble) * pitch * 0.8) * 0.5 + 0.5]
    grain = 1 + 0.13 * scene.noise(1.2, 3)

    def look(rgb: Pixels) -> Pixels:
        grey = cv2.cvtColor(_smoothed(rgb, 0.4), cv2.COLOR_RGB2GRAY)
        soft = cv2.GaussianBlur(grey, (0, 0), scene.unit * 0.75)
        dodged = cv2.divide(grey, cv2.max(soft, 1), scale=255).astype(np.float32) / 255
        drawn = np.clip(1 - (1 - dodged) * 2.3, 0, 1) * (1 - 0.75 * _lines(rgb, scene.unit * 0.1, 0.9))
        tone = 1 - soft.astype(np.float32) / 255
        shade = np.clip((tone - 0.38) * 1.4, 0, 0.62) * hatch[0] + np.clip((tone - 0.62) * 1.6, 0, 0.5) * hatch[1]
        lead = np.clip((1 - drawn * (1 - shade * 0.85)) * grain, 0, 1)
        value = paper * (1 - lead) + 42 * lead
        return np.asarray(cv2.merge([np.clip(value * tint, 0, 255).astype(np.uint8) for tint in (1.0, 0.99, 0.965)]))

    return look


def pixel(scene: Scene) -> Look:
    """Large square pixels in two dozen colours, taken from the picture once."""
    height, width = scene.first.shape[:2]
    side = max(2, round(scene.unit * (0.6 + 1.0 * scene.strength)))
    small = max(8, round(width / side)), max(8, round(height / side))
    table = _nearest(_palette(cv2.resize(scene.first, small, interpolation=cv2.INTER_AREA), 24))
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) / 16 - 0.47
    dither = np.tile(bayer, (small[1] // 4 + 1, small[0] // 4 + 1))[: small[1], : small[0], None] * 9

    def look(rgb: Pixels) -> Pixels:
        reduced = cv2.resize(rgb, small, interpolation=cv2.INTER_AREA)
        vivid = np.clip((reduced - 128.0) * 1.12 + 130 + dither, 0, 255).astype(np.uint8) >> 3
        return np.asarray(
            cv2.resize(table[vivid[..., 0], vivid[..., 1], vivid[..., 2]], (width, height), interpolation=cv2.INTER_NEAREST)
        )

    return look


def noir(scene: Scene) -> Look:
    """Black and white with hard light, glow in the highlights and a dark border."""
    grain, vignette = scene.noise(1.3, 1) * 4.5, _vignette(scene, 0.5)
    level = np.linspace(0, 1, 256)
    curve = np.clip(255 * (1 / (1 + np.exp(-8.5 * (level - 0.47))) * 1.03 - 0.018), 0, 255).astype(np.uint8)

    def look(rgb: Pixels) -> Pixels:
        grey = cv2.transform(rgb, np.array([[0.42, 0.5, 0.08]]))
        hard = cv2.LUT(grey, curve).astype(np.float32)
        glow = cv2.GaussianBlur(np.clip(hard - 165, 0, None), (0, 0), scene.unit * 1.6)
        value = np.clip((hard + 0.45 * glow) * vignette + grain, 0, 255).astype(np.uint8)
        return np.asarray(cv2.merge([value] * 3))

    return look


def cinematic(scene: Scene) -> Look:
    """The look of `grade`, with a little bloom."""
    vignette = _vignette(scene, 0.28)[..., None]

    def look(rgb: Pixels) -> Pixels:
        graded = grade.graded(grade.graded(rgb)).astype(np.float32)
        glow = cv2.GaussianBlur(np.clip(graded - 190, 0, None), (0, 0), scene.unit * 1.4)
        return np.asarray(np.clip((graded + 0.4 * glow) * vignette, 0, 255), np.uint8)

    return look


def vintage(scene: Scene) -> Look:
    """Faded, warm film with grain, and light that leaked in at the side."""
    width = scene.first.shape[1]
    grain, vignette = scene.noise(1.4, 1)[..., None] * 5, _vignette(scene, 0.42)[..., None]
    fade = np.array([[0.62, 0.30, 0.08], [0.22, 0.62, 0.10], [0.16, 0.30, 0.46]])
    x = np.linspace(0, 1, width, dtype=np.float32)
    leak = (np.exp(-(((x - (0.02 if scene.seed % 2 else 0.98)) / 0.2) ** 2))[None, :, None]) * np.array([58, 22, 4], np.float32)
    curve = np.clip(np.linspace(34, 232, 256) + 16 * np.sin(np.linspace(0, 2 * np.pi, 256)) * -1, 0, 255).astype(np.uint8)

    def look(rgb: Pixels) -> Pixels:
        soft = cv2.GaussianBlur(rgb, (0, 0), max(0.3, scene.unit * 0.08))
        faded = cv2.LUT(cv2.transform(soft, fade), curve).astype(np.float32)
        warm = faded * np.array([1.07, 0.99, 0.84], np.float32) + leak
        return np.asarray(np.clip(warm * vignette + grain, 0, 255), np.uint8)

    return look


def neon(scene: Scene) -> Look:
    """Night, cyan in the shadows and magenta in the lights, with glowing outlines."""
    level = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    stops = np.array([[6, 4, 24], [20, 24, 92], [120, 22, 150], [255, 52, 160], [130, 240, 255], [240, 252, 255]], np.float32)
    ramp = _ramp(stops, (level**1.25)[:, 0])
    x = np.linspace(-1, 1, scene.first.shape[1], dtype=np.float32)[None, :, None]
    cyan, magenta = np.array([20, 235, 255], np.float32), np.array([255, 40, 190], np.float32)
    tint = cyan * (0.5 - 0.5 * x) + magenta * (0.5 + 0.5 * x)

    def look(rgb: Pixels) -> Pixels:
        flat = _smoothed(rgb, 0.6)
        mapped = cv2.LUT(cv2.merge([cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY)] * 3), ramp)
        dark = cv2.addWeighted(mapped, 0.7, flat, 0.18, 0).astype(np.float32)
        lines = _lines(rgb, scene.unit * 0.13, 0.9)
        glow = cv2.GaussianBlur(lines, (0, 0), scene.unit * 0.9) * 1.3 + lines * 0.75
        return np.asarray(np.clip(dark + glow[..., None] * tint, 0, 255), np.uint8)

    return look


def palette(scene: Scene) -> Look:
    """The colours of a mood: that of the prompt's words, or one that the seed picks."""
    ramp = _ramp(_stops(mood_for(scene.prompt, scene.seed)), np.linspace(0, 1, 256, dtype=np.float32))

    def look(rgb: Pixels) -> Pixels:
        flat = _smoothed(rgb, scene.strength)
        grey = cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY)
        mapped = cv2.LUT(cv2.merge([grey] * 3), ramp)
        light = cv2.cvtColor(flat, cv2.COLOR_RGB2LAB)[..., 0]
        _, a, b = cv2.split(cv2.cvtColor(cv2.addWeighted(mapped, 0.62, flat, 0.38, 0), cv2.COLOR_RGB2LAB))
        return _inked(_lab(light, a, b, 1.15), _lines(rgb, scene.unit * 0.1, 0.8), 0.35)

    return look


LOOKS: tuple[tuple[re.Pattern[str], Callable[[Scene], Look]], ...] = tuple(
    (re.compile(words, re.IGNORECASE), look)
    for words, look in (
        (r"\bink[- ]?(?:wash|painting)|\bsumi|\bchinese\s+(?:ink|painting)|水墨|国画", ink),
        (r"\bwater[- ]?colou?rs?\b|\baquarelle|水彩", watercolour),
        (r"\boil[- ]?(?:paint|on)|\bimpressionis|\bvan\s*gogh|\bmonet|\bpainterly|\bpainting\b|油画|印象派|梵高", oil),
        (r"\b(?:pencil|graphite|charcoal|sketch\w*|line\s+drawing|drawing)\b|素描|铅笔|速写|线稿", sketch),
        (r"\bpixel(?:ated|s)?\b|\b(?:8|16)[- ]?bit\b|\bretro\s+game|像素", pixel),
        (r"\bcomics?\b|\bpop[- ]?art|\bhalftone|\bgraphic\s+novel|漫画|波普", comic),
        (r"\banime\b|\bcartoon\w*|\bmanga\b|\bghibli|\bcel[- ]shad|\banimat(?:ed|ion)\b|动漫|动画|卡通|二次元|吉卜力", anime),
        (r"\bnoir\b|\bblack[- ]?(?:and|&|n)[- ]?white|\bb\s?&\s?w\b|\bmonochrome|\bgr[ae]yscale|黑白|单色", noir),
        (r"\bneon\b|\bcyber\w*|\bsynthwave|\bvaporwave|\btron\b|霓虹|赛博|蒸汽波", neon),
        (r"\bvintage|\bretro\b|\bsepia|\bold\s+(?:film|movie|photo)|\bnostalgi|\bvhs\b|复古|怀旧|老电影|胶片|做旧", vintage),
        (r"\bcinematic|\bmovie\b|\bfilmic|\bblockbuster|\bhollywood|电影|大片", cinematic),
    )
)  # fmt: skip


def named(prompt: str) -> Callable[[Scene], Look] | None:
    """The look the words ask for, in English or Chinese."""
    return next((look for words, look in LOOKS if words.search(prompt)), None)


def _smoothed(rgb: Pixels, strength: float) -> Pixels:
    """Flat areas with their borders kept, worked out at half the size."""
    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, (max(2, width // 2), max(2, height // 2)), interpolation=cv2.INTER_AREA)
    for _ in range(2):
        small = cv2.bilateralFilter(small, 5, 20 + 34 * strength, 4)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def _lines(rgb: Pixels, width: float, gain: float) -> Weights:
    """Dark outlines, 0…1: a difference of blurs with a soft threshold, so that a line fades and does not jump."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = cv2.GaussianBlur(grey, (0, 0), max(0.7, width))
    difference = 0.985 * cv2.GaussianBlur(grey, (0, 0), max(0.7, width) * 1.6) - fine
    return np.asarray(np.clip((difference - 1.2) * 0.16 * gain, 0, 1))


def _inked(rgb: Pixels, lines: Weights, strength: float) -> Pixels:
    weight = (lines * strength).astype(np.float32)
    dark = np.empty_like(rgb)
    dark[:] = (22, 18, 28)
    return np.asarray(cv2.blendLinear(dark, rgb, weight, 1 - weight))


def _lab(light: Pixels, a: Pixels, b: Pixels, saturation: float) -> Pixels:
    table = np.clip((np.arange(256) - 128) * saturation + 128.5, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.merge([light, cv2.LUT(a, table), cv2.LUT(b, table)]), cv2.COLOR_LAB2RGB))


def _steps(levels: float, contrast: float, lift: float) -> Pixels:
    """A tone curve in soft steps; their smooth edges keep noise from flipping a pixel between two tones."""
    value = np.linspace(0, 1, 256)
    place = value * levels
    part = place - np.floor(place)
    stepped = (np.floor(place) + 0.5 + 0.5 * np.tanh((part - 0.5) * 5) / np.tanh(2.5)) / levels
    return np.asarray(np.clip(((stepped - 0.5) * contrast + 0.5 + lift) * 255, 0, 255), np.uint8)


def _kuwahara(rgb: Pixels, radius: int) -> Pixels:
    """Each pixel takes the mean of the calmest of its four neighbouring squares; the choice is soft and so does not flicker."""
    size = (radius + 1, radius + 1)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean = cv2.blur(rgb, size, borderType=cv2.BORDER_REFLECT).astype(np.float32)
    level = cv2.blur(grey, size, borderType=cv2.BORDER_REFLECT)
    spread = np.maximum(cv2.blur(grey * grey, size, borderType=cv2.BORDER_REFLECT) - level * level, 0) + 4
    weight = spread**-4
    weighted = cv2.merge([*cv2.split(mean * weight[..., None]), weight])
    half = radius // 2 + 1
    padded = cv2.copyMakeBorder(weighted, half, half, half, half, cv2.BORDER_REFLECT)
    height, width = grey.shape
    total = sum(padded[y : y + height, x : x + width] for y in (0, 2 * half) for x in (0, 2 * half))
    return np.asarray(np.clip(total[..., :3] / total[..., 3:] + 0.5, 0, 255), np.uint8)


def _vignette(scene: Scene, depth: float) -> Weights:
    height, width = scene.first.shape[:2]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return np.asarray((1 - depth * np.clip((np.sqrt(x**2 + y**2) - 0.4) / 1.0, 0, 1) ** 1.6), np.float32)


def _palette(rgb: Pixels, colours: int) -> Pixels:
    """The main colours: colours x 3. The starting points are spread over the brightness, so no chance is involved."""
    pixels = rgb.reshape(-1, 3).astype(np.float32)
    order = np.argsort(pixels @ np.array([0.3, 0.59, 0.11], np.float32), kind="stable")
    labels = np.empty((len(pixels), 1), np.int32)
    labels[order, 0] = np.arange(len(pixels)) * colours // len(pixels)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    cv2.setRNGSeed(0)
    _, _, centres = cv2.kmeans(pixels, colours, labels, criteria, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    return np.asarray(np.clip(np.nan_to_num(centres) + 0.5, 0, 255), np.uint8)


def _nearest(colours: Pixels) -> Pixels:
    """For each of 32 x 32 x 32 colours the nearest of the given ones."""
    axis = np.arange(32, dtype=np.float32) * 8 + 4
    cube = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 1, 3)
    weight = np.array([0.55, 0.77, 0.33], np.float32)
    nearest = (((cube - colours[None].astype(np.float32)) * weight) ** 2).sum(2).argmin(1)
    return np.asarray(colours[nearest].reshape(32, 32, 32, 3))


def _stops(mood: Mood) -> Weights:
    lights = sorted(mood.lights, key=lambda colour: 3 * colour[0] + 6 * colour[1] + colour[2])
    return np.array([mood.ground, *lights, (252, 246, 232)], np.float32)


def _ramp(stops: Weights, level: Weights) -> Pixels:
    """A colour for each of 256 brightnesses, 1 x 256 x 3, along stops at even distances."""
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(level, at, stops[:, channel]) for channel in range(3)], -1)[None].astype(np.uint8)
