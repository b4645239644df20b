"""A picture taken apart: the subject with a soft edge, and the background with the place behind it filled in."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from genway.providers.local.picture import Pixels, Weights

FILL_SIDE = 256
REFINE_RADIUS = 0.008
GROW = 0.014
WIDEN = 0.0018
TEXTURE = 14.0
# From this share of the subject on the background is filled in, fully at twice of it.
EDGE = 0.05


class Layers(NamedTuple):
    """background, foreground: height x width x 3. alpha: height x width, 0…1, not multiplied into the colour."""

    background: Pixels
    foreground: Pixels
    alpha: Weights


def separate(rgb: Pixels, mask: Weights, exact: bool = False) -> Layers:
    """Take the picture apart along a mask of its size, 0…1. exact: the mask is no guess, its edge is kept.

    Put together again unmoved, the layers give the picture back.
    """
    alpha = mask if exact else _widened(_refined(rgb, mask))
    background = _background(rgb, np.maximum(alpha, mask), alpha)
    alpha = _explaining(rgb, background, alpha)
    return Layers(background, _foreground(rgb, background, alpha), alpha)


def _box(image: Weights, radius: int) -> Weights:
    side = 2 * radius + 1
    return np.asarray(cv2.boxFilter(image, cv2.CV_32F, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)


def _refined(rgb: Pixels, mask: Weights) -> Weights:
    """Pull the mask's edge to the picture's (guided filter, He et al. 2010), computed at half size."""
    height, width = mask.shape
    size = (width // 2, height // 2)
    guide = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    rough = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    radius = max(2, round(REFINE_RADIUS * max(size)))
    mean_guide, mean_rough = _box(guide, radius), _box(rough, radius)
    slope = (_box(guide * rough, radius) - mean_guide * mean_rough) / (_box(guide * guide, radius) - mean_guide**2 + 1e-3)
    offset = mean_rough - slope * mean_guide
    slope, offset = (
        cv2.resize(_box(part, radius), (width, height), interpolation=cv2.INTER_LINEAR) for part in (slope, offset)
    )
    fine = slope * (cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255) + offset
    return np.asarray(np.clip((fine - 0.18) / 0.7, 0, 1), np.float32)


def _widened(alpha: Weights) -> Weights:
    """A little more than the subject: a breath of it left in the background would be seen as its outline."""
    radius = max(1, round(WIDEN * max(alpha.shape)))
    return np.asarray(cv2.GaussianBlur(cv2.dilate(alpha, _disc(radius)), (0, 0), radius / 2), np.float32)


def _explaining(rgb: Pixels, background: Pixels, alpha: Weights) -> Weights:
    """Alpha raised to where some colour of the subject, mixed with the filled background, gives the picture's."""
    picture, behind = rgb.astype(np.float32), background.astype(np.float32)
    darker = 1 - picture / np.maximum(behind, 1)
    brighter = (picture - behind) / np.maximum(255 - behind, 1)
    needed = np.maximum(darker, brighter).max(2)
    return np.asarray(np.where(alpha > EDGE, np.maximum(alpha, np.clip(needed, 0, 1)), alpha), np.float32)


def _foreground(rgb: Pixels, background: Pixels, alpha: Weights) -> Pixels:
    """The colour that, mixed with the filled background by alpha, is the picture's, as far as there is such a colour."""
    cover = np.maximum(alpha, 1 / 255)[..., None]
    mixed = np.where(alpha[..., None] > 0, (rgb - (1 - cover) * background) / cover, rgb)
    return np.asarray(np.clip(mixed + 0.5, 0, 255), np.uint8)


def _background(rgb: Pixels, doubtful: Weights, alpha: Weights) -> Pixels:
    """Fill in what the subject hides: large shapes from around it, fine texture mirrored across its outline.

    doubtful: where there may be something of the subject, which is no source for the filling.
    """
    height, width = alpha.shape
    grow = max(3, round(GROW * max(height, width)))
    hole = cv2.dilate((doubtful > 0.04).astype(np.uint8), _disc(grow))
    if not hole.any() or hole.all():
        return rgb
    filled = _smooth_fill(rgb, hole) + _texture(rgb, hole)
    # Around the subject the picture is no source, the subject's colours bleed there, but it stays as it is.
    weight = np.clip((alpha - EDGE) / EDGE, 0, 1)[..., None]
    return np.asarray(np.clip(rgb * (1 - weight) + filled * weight + 0.5, 0, 255), np.uint8)


def _disc(radius: int) -> Pixels:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)), np.uint8)


def _smooth_fill(rgb: Pixels, hole: Pixels) -> Weights:
    height, width = hole.shape
    factor = min(1.0, FILL_SIDE / max(height, width))
    size = (max(8, round(width * factor)), max(8, round(height * factor)))
    known = cv2.resize((1 - hole).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(rgb * (1 - hole)[..., None], size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small = np.clip(small / np.maximum(known, 1e-3)[..., None], 0, 255).astype(np.uint8)
    missing = (known < 0.5).astype(np.uint8)
    filled = cv2.inpaint(small, missing, 5, cv2.INPAINT_TELEA)
    blurred = cv2.GaussianBlur(filled, (0, 0), 2.0)
    depth = np.clip(cv2.distanceTransform(missing, cv2.DIST_L2, 3) / 6, 0, 1)[..., None]
    calm = filled * (1 - depth) + blurred * depth
    return np.asarray(cv2.resize(calm.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _texture(rgb: Pixels, hole: Pixels) -> Weights:
    """The fine part of the surroundings, mirrored across the outline of the hole, fading with depth."""
    height, width = hole.shape
    distance = cv2.distanceTransform(hole, cv2.DIST_L2, 5)
    # The direction to the outline, smoothed so that the mirror image holds together.
    calm = cv2.GaussianBlur(distance, (0, 0), max(height, width) / 160)
    across_y, across_x = cv2.Sobel(calm, cv2.CV_32F, 0, 1, ksize=5), cv2.Sobel(calm, cv2.CV_32F, 1, 0, ksize=5)
    length = np.maximum(np.hypot(across_x, across_y), 1e-4)
    step = 2 * distance + 2
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    map_x, map_y = x - across_x / length * step, y - across_y / length * step
    fine = rgb.astype(np.float32) - cv2.GaussianBlur(rgb, (0, 0), max(height, width) / 200)
    # Grain and leaves may be repeated; an outline would be seen to run back on itself.
    fine *= TEXTURE / (TEXTURE + np.abs(fine))
    usable = (1 - hole).astype(np.float32)
    mirrored = cv2.remap(fine, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    allowed = cv2.remap(usable, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    fade = np.clip(1 - distance / (0.12 * max(height, width)), 0, 1) * np.clip(allowed, 0, 1)
    return np.asarray(mirrored * (fade * hole)[..., None], np.float32)
