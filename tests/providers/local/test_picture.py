"""Pictures as they come: every mode, orientation and size, and those that are no pictures."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from genway.providers.local.job import RenderFailed
from genway.providers.local.picture import LONGEST, SHORTEST, load, read, save

RED, GREEN = (200, 40, 30), (30, 160, 60)


def halves(mode: str = "RGB", size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Red on the left, green on the right."""
    image = Image.new("RGB", size, GREEN)
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    return image.quantize(16) if mode == "P" else image.convert(mode)


def near(rgb: np.ndarray, x: float, y: float, colour: tuple[int, int, int], tolerance: int = 12) -> bool:
    pixel = rgb[int(y * rgb.shape[0]), int(x * rgb.shape[1])].astype(int)
    return bool(np.abs(pixel - colour).max() <= tolerance)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("RGB", "a.png"),
        ("RGB", "a.jpg"),
        ("RGB", "a.webp"),
        ("RGB", "a.bmp"),
        ("P", "a.gif"),
        ("P", "a.png"),
        ("CMYK", "a.jpg"),
    ],
)
def test_colours_come_out_as_they_are(mode: str, name: str, tmp_path: Path) -> None:
    halves(mode).save(tmp_path / name)
    rgb = load(tmp_path / name)
    assert rgb.shape == (120, 160, 3)
    assert rgb.dtype == np.uint8
    assert near(rgb, 0.2, 0.5, RED)
    assert near(rgb, 0.8, 0.5, GREEN)


def test_an_embedded_profile_is_honoured(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    halves().save(tmp_path / "srgb.png", icc_profile=srgb.tobytes())
    halves().save(tmp_path / "broken.png", icc_profile=b"not a profile")
    for name in ("srgb.png", "broken.png"):
        assert near(load(tmp_path / name), 0.2, 0.5, RED, 3)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    halves().save(tmp_path / "turned.jpg", exif=exif, quality=95)
    rgb = load(tmp_path / "turned.jpg")
    assert rgb.shape == (160, 120, 3)
    assert near(rgb, 0.5, 0.2, RED)
    assert near(rgb, 0.5, 0.8, GREEN)


def test_grey_and_sixteen_bits(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 256)[None].repeat(80, 0)
    Image.fromarray((ramp * 255).astype(np.uint8)).save(tmp_path / "8.png")
    Image.fromarray((ramp * 65535).astype(np.uint16)).save(tmp_path / "16.png")
    Image.fromarray((ramp * 3.5).astype(np.float32)).save(tmp_path / "float.tiff")
    eight = load(tmp_path / "8.png")
    for name in ("16.png", "float.tiff"):
        assert np.abs(load(tmp_path / name).astype(int) - eight).max() <= 1


@pytest.mark.parametrize(("colour", "dark"), [((245, 240, 235), True), ((40, 35, 60), False)])
def test_transparency_gets_a_backdrop_that_shows_the_figure(colour: tuple[int, int, int], dark: bool, tmp_path: Path) -> None:
    image = Image.new("RGBA", (120, 90), (0, 0, 0, 0))
    image.paste((*colour, 255), (40, 20, 80, 90))
    image.save(tmp_path / "figure.png")
    rgb, alpha = read(tmp_path / "figure.png")
    assert near(rgb, 0.5, 0.6, colour, 2)
    assert alpha is not None
    assert (alpha[60, 60], alpha[5, 5]) == (255, 0)
    backdrop = rgb[alpha == 0].astype(int)
    assert backdrop.min() > 15  # never black
    assert bool(backdrop.mean() < 90) is dark


def test_transparency_by_palette_and_none_at_all(tmp_path: Path) -> None:
    image = halves("P")
    image.save(tmp_path / "palette.gif", transparency=image.getpixel((10, 10)))
    rgb, alpha = read(tmp_path / "palette.gif")
    assert alpha is not None
    assert near(rgb, 0.8, 0.5, GREEN)
    Image.new("RGBA", (80, 80), (9, 9, 9, 0)).save(tmp_path / "empty.png")
    assert load(tmp_path / "empty.png").min() > 15
    halves("RGBA").save(tmp_path / "opaque.png")
    assert read(tmp_path / "opaque.png").alpha is None


@pytest.mark.parametrize(
    ("size", "result"), [((1, 1), (SHORTEST, SHORTEST)), ((2, 300), (SHORTEST, 2048)), ((20, 10), (128, 64))]
)
def test_tiny_pictures_are_enlarged(size: tuple[int, int], result: tuple[int, int], tmp_path: Path) -> None:
    Image.new("RGB", size, RED).save(tmp_path / "tiny.png")
    rgb = load(tmp_path / "tiny.png")
    assert (rgb.shape[1], rgb.shape[0]) == result
    assert near(rgb, 0.5, 0.5, RED, 1)


@pytest.mark.parametrize(("name", "size"), [("a.png", (8000, 100)), ("a.jpg", (9000, 1200)), ("p.png", (6000, 90))])
def test_long_pictures_are_reduced(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    halves("P" if name.startswith("p") else "RGB", size).save(tmp_path / name)
    rgb = load(tmp_path / name)
    assert max(rgb.shape) <= LONGEST or min(rgb.shape[:2]) == SHORTEST
    assert rgb.shape[1] / rgb.shape[0] == pytest.approx(size[0] / size[1], rel=0.03)
    assert near(rgb, 0.2, 0.5, RED)
    assert near(rgb, 0.8, 0.5, GREEN)


def refused(path: Path, max_pixels: int = 100_000_000) -> str:
    with pytest.raises(RenderFailed) as failure:
        load(path, max_pixels)
    assert failure.value.code == "invalid_request"
    return failure.value.message


def test_a_pixel_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    data = zlib.compress(bytes(1000))
    body = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + body)
    assert "60000x60000" in refused(tmp_path / "bomb.png")


def test_more_pixels_than_allowed_are_refused(tmp_path: Path) -> None:
    halves().save(tmp_path / "a.png")
    assert "at most 10000" in refused(tmp_path / "a.png", 10_000)


def test_what_is_no_picture_is_refused_with_the_reason(tmp_path: Path) -> None:
    halves(size=(900, 700)).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    for name, data in (
        ("empty.png", b""),
        ("words.png", b"hello there"),
        ("cut.jpg", whole[: len(whole) // 2]),
        ("script.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"),
        ("markup.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    ):
        (tmp_path / name).write_bytes(data)
        assert "picture" in refused(tmp_path / name)
    assert "picture" in refused(tmp_path / "missing.png")


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (70, 90, 3), np.uint8)
    assert np.array_equal(load(save(tmp_path / "a.png", rgb)), rgb)
