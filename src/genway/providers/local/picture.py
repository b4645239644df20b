"""Pictures as clients send them, into plain sRGB arrays: turned upright, opaque, of a size one can work with."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from genway.providers.local.job import RenderFailed

# 0…255, and 0…1, of one byte and of single precision. OpenCV's own types do not tell the two apart.
Pixels: TypeAlias = NDArray[Any]
Weights: TypeAlias = NDArray[Any]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")
LONGEST = 4096
SHORTEST = 64
# For photographs: half the time of zlib's default strategy, and smaller.
PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY)

# The pixel limit is checked here, per job and before anything is decoded; Pillow's own is one number for the process.
Image.MAX_IMAGE_PIXELS = None


class Picture(NamedTuple):
    """rgb: height x width x 3, 0…255, composited. alpha: height x width, or None where the file was opaque."""

    rgb: Pixels
    alpha: Pixels | None


def load(path: str | Path, max_pixels: int = 100_000_000) -> Pixels:
    """The picture as height x width x 3, sRGB. Raises RenderFailed naming what is wrong with the file."""
    return read(path, max_pixels).rgb


def read(path: str | Path, max_pixels: int = 100_000_000, longest: int = LONGEST) -> Picture:
    """The picture, with its transparency if it had any.

    One longer than `longest` is reduced, where the format allows it while decoding, unless it is very thin; one too
    small to work with is enlarged. Raises RenderFailed naming what is wrong with the file.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise _refused(f"the picture has {width}x{height} pixels; at most {max_pixels} are taken")
            image.draft(None, (longest, longest))
            image.load()
            return _decoded(image, longest)
    except RenderFailed:
        raise
    except UnidentifiedImageError as error:
        raise _refused("the picture is broken or of a kind that is not taken") from error
    except (OSError, SyntaxError, ValueError, EOFError, ArithmeticError, LookupError, MemoryError) as error:
        raise _refused(f"the picture cannot be decoded: {error}") from error


def save(path: str | Path, rgb: Pixels) -> str:
    """Write a PNG and return its path."""
    if not cv2.imwrite(str(path), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), PNG):
        raise OSError(f"{path} cannot be written")
    return str(path)


def resized(array: Pixels, width: int, height: int) -> Pixels:
    """The same picture at another size, with the filter that suits the direction."""
    if (array.shape[1], array.shape[0]) == (width, height):
        return array
    smaller = width * height < array.shape[0] * array.shape[1]
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(array, (width, height), interpolation=interpolation), np.uint8)


def _refused(message: str) -> RenderFailed:
    return RenderFailed(RenderFailed.INVALID, message)


def _decoded(image: Image.Image, longest: int) -> Picture:
    scale = max(longest / max(image.size), SHORTEST / min(image.size))
    if scale < 1 and image.mode not in ("P", "1"):
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BOX, reducing_gap=2.0)
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    alpha = _alpha(image)
    rgb = np.asarray(_in_srgb(image, profile).convert("RGB"))
    scale = max(longest / max(rgb.shape[:2]), SHORTEST / min(rgb.shape[:2]))
    if scale < 1:
        rgb, alpha = _scaled(rgb, alpha, scale)
    rgb, alpha = _enlarged(rgb, alpha)
    if alpha is None:
        return Picture(np.ascontiguousarray(rgb), None)
    return Picture(_composited(rgb, alpha), alpha)


def _alpha(image: Image.Image) -> Pixels | None:
    if not image.has_transparency_data:
        return None
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return None if alpha.min() == 255 else alpha


def _in_srgb(image: Image.Image, profile: Any) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _eight_bit(image)
    if image.mode not in ("RGB", "RGBA", "CMYK", "L") or not profile:
        return image.convert("RGBA") if image.has_transparency_data else image
    target = "RGBA" if image.mode == "RGBA" else "RGB"
    try:
        converted = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode=target
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # a broken or foreign profile: the plain conversion is what everybody else shows
    return image if converted is None else converted


def _eight_bit(image: Image.Image) -> Image.Image:
    """Sixteen-bit pictures by their top byte; floating point and 32 bits, which have no fixed white, by their range."""
    values = np.nan_to_num(np.asarray(image).astype(np.float32))
    if image.mode.startswith("I;16") or (image.mode == "I" and 255 < values.max() <= 65535):
        return Image.fromarray((values / 257 + 0.5).clip(0, 255).astype(np.uint8))
    if image.mode == "I" and values.max() <= 255:
        return Image.fromarray(values.clip(0, 255).astype(np.uint8))
    low, high = float(values.min()), float(values.max())
    return Image.fromarray(((values - low) * (255 / max(high - low, 1e-6))).clip(0, 255).astype(np.uint8))


def _scaled(rgb: Pixels, alpha: Pixels | None, factor: float) -> tuple[Pixels, Pixels | None]:
    width, height = max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor))
    return resized(rgb, width, height), None if alpha is None else resized(alpha, width, height)


def _enlarged(rgb: Pixels, alpha: Pixels | None) -> tuple[Pixels, Pixels | None]:
    """Give every picture at least SHORTEST pixels a side; a line of pixels, which cannot grow evenly, becomes a band."""
    height, width = rgb.shape[:2]
    if min(width, height) >= SHORTEST:
        return rgb, alpha
    factor = min(SHORTEST / min(width, height), max(1.0, LONGEST / 2 / max(width, height)))
    width, height = max(SHORTEST, round(width * factor)), max(SHORTEST, round(height * factor))
    return resized(rgb, width, height), None if alpha is None else resized(alpha, width, height)


def _composited(rgb: Pixels, alpha: Pixels) -> Pixels:
    """Put a cut-out before a calm backdrop: a soft light in the picture's own tint, dark behind bright, bright behind dark."""
    height, width = alpha.shape
    weight = alpha.astype(np.float32) / 255
    total = float(weight.sum())
    mean = (rgb * weight[..., None]).sum((0, 1)) / total if total > 1 else np.full(3, 128.0)
    grey = float(mean @ (0.2126, 0.7152, 0.0722))
    tint = (mean - grey) * 0.35
    centre, edge = (72.0, 38.0) if grey > 140 else (226.0, 182.0)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    falloff = np.clip(np.sqrt(x**2 + y**2) / np.sqrt(2), 0, 1).astype(np.float32)[..., None]
    backdrop = centre + (edge - centre) * falloff**1.5 + tint.astype(np.float32)
    mixed = rgb * weight[..., None] + backdrop * (1 - weight[..., None])
    return np.asarray(mixed.clip(0, 255) + 0.5, np.float32).clip(0, 255).astype(np.uint8)
