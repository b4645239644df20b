"""Which font has a character: Noto, from installed packages, for nearly every script. Nothing is fetched."""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from fontTools.ttLib import TTFont
from PIL import ImageFont, features

PLAIN = "NotoSans[wght].ttf"
CJK = "NotoSansCJK-VF.otf.ttc"
PACKAGES = ("manimgx_fonts", "manimgx_fonts_cjk")
# The faces of the collection differ in how they draw characters that China, Japan and Korea write differently.
JAPAN, KOREA, CHINA, TAIWAN = 0, 1, 2, 3
JOINER = "\u200d"
# With Raqm, Arabic letters join and Indian syllables form; without its library, letters stand one by one.
SHAPING = bool(features.check("raqm"))


class Run(NamedTuple):
    """Characters that one font draws."""

    text: str
    file: Path


def runs(text: str) -> list[Run]:
    """The text by fonts. What no font has is left out, so that no empty boxes are drawn."""
    found: list[Run] = []
    for character in unicodedata.normalize("NFC", text):
        if _invisible(character):
            continue
        attached = bool(found) and (character == JOINER or unicodedata.category(character) in ("Mn", "Me", "Mc", "Sk"))
        if attached and (character == JOINER or ord(character) in _characters(found[-1].file)):
            file: Path | None = found[-1].file
        else:
            file = None if character == JOINER else file_for(character)
        if file is None:
            continue
        if found and found[-1].file == file:
            found[-1] = Run(found[-1].text + character, file)
        else:
            found.append(Run(character, file))
    return found


@lru_cache(8192)
def file_for(character: str) -> Path | None:
    """The first font that has the character."""
    return next((file for file in _files() if ord(character) in _characters(file)), None)


def plain() -> Path:
    """The font of the Latin alphabet and of figures. Raises FileNotFoundError where the fonts' packages are not installed."""
    file = file_for("0")
    if file is None:
        raise FileNotFoundError("the packages manimgx-fonts and manimgx-fonts-cjk are not installed")
    return file


@lru_cache(256)
def load(file: Path, size: int, weight: int, region: int = CHINA) -> ImageFont.FreeTypeFont:
    """size: pixels. weight: 100…900, regular is 400. region: of the CJK font."""
    engine = ImageFont.Layout.RAQM if SHAPING else ImageFont.Layout.BASIC
    font = ImageFont.truetype(str(file), size, index=region if file.name == CJK else 0, layout_engine=engine)
    font.set_variation_by_axes([weight])
    return font


def region_of(text: str) -> int:
    """Whose forms of the common characters to use."""
    if any("\u3040" <= character <= "\u30ff" for character in text):
        return JAPAN
    if any("\uac00" <= character <= "\ud7a3" for character in text):
        return KOREA
    han = "".join(character for character in text if "\u4e00" <= character <= "\u9fff")
    return TAIWAN if han and not _encodes(han, "gb2312") and _encodes(han, "big5") else CHINA


def _encodes(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _invisible(character: str) -> bool:
    """Controls, direction marks and variation selectors, which have no picture of their own."""
    if character == JOINER:
        return not SHAPING
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn") or "\ufe00" <= character <= "\ufe0f"


@cache
def _files() -> tuple[Path, ...]:
    folders = [Path(place) for name in PACKAGES for place in _places(name)]
    files = [file for folder in folders for file in sorted(folder.iterdir()) if file.suffix in (".ttf", ".otf", ".ttc")]
    first = {PLAIN: 0, CJK: 1}
    return tuple(sorted((file for file in files if "Italic" not in file.name), key=lambda file: first.get(file.name, 2)))


def _places(package: str) -> list[str]:
    spec = find_spec(package)
    return list(spec.submodule_search_locations or ()) if spec else []


@cache
def _characters(file: Path) -> frozenset[int]:
    with TTFont(file, fontNumber=0, lazy=True) as font:
        return frozenset(font.getBestCmap())
