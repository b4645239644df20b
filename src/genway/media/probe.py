"""What a file really is, by its content: its kind, type and measures. Names and declared types are never believed.

A file is recognised by its first bytes and then opened as exactly that and nothing else, so that a picture which is
also a script, or a playlist that calls itself a video, is either the picture or nothing. Only headers are read before
sizes are checked; a clip's packets are then counted without decoding one, since its header may lie about its length.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import msgspec

from genway.config import Media
from genway.errors import MediaRefused

Kind = Literal["image", "video", "audio"]

KINDS: frozenset[Kind] = frozenset(("image", "video", "audio"))
SNIFF_BYTES = 512

MOST_STREAMS = 32
MOST_PACKETS_PER_SECOND = 1000
LEAST_PACKETS = 10_000


class Format(msgspec.Struct, frozen=True):
    """A file format we take. `reader` is Pillow's name of it, or libav's demuxer; `kinds` is what it may turn out to be.

    types: the content type and the file name's extension for each kind.
    """

    reader: str
    types: dict[Kind, tuple[str, str]]

    @property
    def kinds(self) -> frozenset[Kind]:
        return frozenset(self.types)


class MediaInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file's measures. width, height: in pixels as stored, before any rotation that the file asks for.

    extension: without the dot. frames: packets of the picture stream; 1 for a picture, animated or not.
    """

    kind: Kind
    content_type: str
    extension: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    frames: int | None = None


def _picture(reader: str, content_type: str, extension: str) -> Format:
    return Format(reader, {"image": (content_type, extension)})


JPEG = _picture("JPEG", "image/jpeg", "jpg")
PNG = _picture("PNG", "image/png", "png")
GIF = _picture("GIF", "image/gif", "gif")
WEBP = _picture("WEBP", "image/webp", "webp")
BMP = _picture("BMP", "image/bmp", "bmp")
TIFF = _picture("TIFF", "image/tiff", "tiff")
AVIF = _picture("AVIF", "image/avif", "avif")
MP4 = Format("mov", {"video": ("video/mp4", "mp4"), "audio": ("audio/mp4", "m4a")})
QUICKTIME = Format("mov", {"video": ("video/quicktime", "mov"), "audio": ("audio/mp4", "m4a")})
WEBM = Format("matroska", {"video": ("video/webm", "webm"), "audio": ("audio/webm", "weba")})
MATROSKA = Format("matroska", {"video": ("video/x-matroska", "mkv"), "audio": ("audio/x-matroska", "mka")})
AVI = Format("avi", {"video": ("video/x-msvideo", "avi")})
OGG = Format("ogg", {"video": ("video/ogg", "ogv"), "audio": ("audio/ogg", "ogg")})
WAV = Format("wav", {"audio": ("audio/wav", "wav")})
FLAC = Format("flac", {"audio": ("audio/flac", "flac")})
MP3 = Format("mp3", {"audio": ("audio/mpeg", "mp3")})
AAC = Format("aac", {"audio": ("audio/aac", "aac")})

FORMATS = (JPEG, PNG, GIF, WEBP, BMP, TIFF, AVIF, MP4, QUICKTIME, WEBM, MATROSKA, AVI, OGG, WAV, FLAC, MP3, AAC)
EXTENSIONS: dict[str, str] = {content_type: extension for form in FORMATS for content_type, extension in form.types.values()}
"""Content type → extension, for every type that is stored."""

_MAGIC: tuple[tuple[re.Pattern[bytes], Format], ...] = tuple(
    (re.compile(pattern, re.DOTALL), form)
    for pattern, form in (
        (rb"\xff\xd8\xff", JPEG),
        (rb"\x89PNG\r\n\x1a\n", PNG),
        (rb"GIF8[79]a", GIF),
        (rb"RIFF....WEBP", WEBP),
        (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00", BMP),
        (rb"II\x2a\x00|MM\x00\x2a", TIFF),
        (rb"....ftyp(?:avif|avis)", AVIF),
        (rb"....ftyp(?:mif1|msf1)....(?:....)*?avi[fs]", AVIF),
        (rb"....ftypqt  ", QUICKTIME),
        (rb"....ftyp(?!hei|hev|mif1|msf1|jxl |crx )", MP4),
        (rb"....(?:moov|mdat|wide|skip|free)", QUICKTIME),
        (rb"\x1a\x45\xdf\xa3.{0,60}?\x42\x82.webm", WEBM),
        (rb"\x1a\x45\xdf\xa3.{0,60}?\x42\x82.matroska", MATROSKA),
        (rb"RIFF....AVI ", AVI),
        (rb"OggS\x00", OGG),
        (rb"RIFF....WAVE", WAV),
        (rb"fLaC", FLAC),
        (rb"ID3[\x02-\x04]", MP3),
        (rb"\xff[\xf2\xf3\xfa\xfb\xf4\xf5\xfc\xfd][^\xf0-\xff]", MP3),
        (rb"\xff[\xf0\xf1\xf8\xf9]", AAC),
    )
)

_NOT_TAKEN: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:" + pattern + rb")", re.IGNORECASE | re.DOTALL), name)
    for pattern, name in (
        (rb"<!doctype html|<html|<head|<script|<body", "a web page"),
        (rb"(?:<\?xml.*)?<svg|<!doctype svg", "an SVG drawing"),
        (rb"<\?php", "a program"),
        (rb"<", "an XML document"),
        (rb"%PDF", "a PDF"),
        (rb"%!PS", "a PostScript program"),
        (rb"PK\x03\x04", "a ZIP archive"),
        (rb"#EXTM3U|ffconcat|\[playlist\]|v=0\r?\n", "a playlist"),
        (rb"[{\[]", "JSON or text"),
        (rb"\x1f\x8b", "a compressed file"),
        (rb"....ftyp(?:hei|hev|mif1|msf1)", "a HEIC picture"),
        (rb"....ftypjxl |\xff\x0a", "a JPEG XL picture"),
    )
)

_TAKEN_IN_WORDS: dict[str, str] = {
    "image": "a picture (JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF)",
    "video": "a video (MP4, MOV, WebM, MKV, AVI or Ogg)",
    "audio": "a sound (MP3, WAV, FLAC, Ogg, M4A or AAC)",
}


def sniff(head: bytes) -> Format | None:
    """The format that a file beginning with `head` has, if we take it. SNIFF_BYTES bytes are enough."""
    head = head[:SNIFF_BYTES]
    return next((form for pattern, form in _MAGIC if pattern.match(head)), None)


def check_head(head: bytes, expect: Collection[str]) -> Format:
    """The format of a file that begins with `head`. Raises MediaRefused unless it can be one of the expected kinds."""
    form = sniff(head)
    if form is None:
        found = next((name for pattern, name in _NOT_TAKEN if pattern.match(head[:SNIFF_BYTES])), "something else")
        raise MediaRefused(f"the file must be {_in_words(expect)}; this is {found if head else 'empty'}")
    if not form.kinds & frozenset(expect):
        content_type = next(iter(form.types.values()))[0]
        raise MediaRefused(f"the file must be {_in_words(expect)}; this is {content_type}")
    return form


def probe(path: Path, *, limits: Media, expect: Collection[str] = KINDS) -> MediaInfo:
    """Measure a file; blocks.

    Raises MediaRefused, saying why, for what is not of an expected kind, broken, or beyond the limits.
    """
    with path.open("rb") as file:
        form = check_head(file.read(SNIFF_BYTES), expect)
    if "image" in form.types:
        info = _probe_picture(path, form, limits)
        most = limits.max_image_bytes
    else:
        info = _probe_clip(path, form, limits, expect)
        most = limits.max_video_bytes
    if path.stat().st_size > most:
        raise MediaRefused(f"the {info.kind} is too large: at most {most} bytes, got {path.stat().st_size}")
    return info


async def probe_async(path: Path, *, limits: Media, expect: Collection[str] = KINDS) -> MediaInfo:
    """`probe` on a thread."""
    return await asyncio.to_thread(probe, path, limits=limits, expect=expect)


def _in_words(expect: Collection[str]) -> str:
    return " or ".join(words for kind, words in _TAKEN_IN_WORDS.items() if kind in expect)


def _check_pixels(width: int, height: int, limits: Media) -> None:
    if width < 1 or height < 1:
        raise MediaRefused("the file is broken: it has no width or height")
    if width * height > limits.max_pixels:
        raise MediaRefused(f"too many pixels: at most {limits.max_pixels} in a picture, got {width}x{height}")


def _probe_picture(path: Path, form: Format, limits: Media) -> MediaInfo:
    from PIL import Image  # noqa: PLC0415  a server that handles no file need not load it

    if form is WEBP:
        # Pillow's reader takes the whole file and makes room for the whole canvas before it tells the size.
        with path.open("rb") as file:
            _check_pixels(*_webp_size(file.read(30)), limits)
    if Image.MAX_IMAGE_PIXELS is not None and limits.max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = limits.max_pixels
    try:
        with Image.open(path, formats=[form.reader]) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise MediaRefused(f"too many pixels: at most {limits.max_pixels} in a picture") from error
    except Exception as error:  # hostile bytes make readers fail in any way there is
        raise MediaRefused(f"the {form.reader} picture is broken: {_brief(error)}") from error
    _check_pixels(width, height, limits)
    content_type, extension = form.types["image"]
    return MediaInfo("image", content_type, extension, width=width, height=height, frames=1)


def _webp_size(head: bytes) -> tuple[int, int]:
    """The size in a WebP file's first chunk. Source: RFC 9649, sections 2.5 to 2.7."""
    chunk, body = head[12:16], head[20:30]
    if len(body) < 10:
        return 0, 0
    if chunk == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def _probe_clip(path: Path, form: Format, limits: Media, expect: Collection[str]) -> MediaInfo:
    import av  # noqa: PLC0415  a server that handles no clip need not load it

    try:
        # libav gets an open file and one demuxer, and may open nothing else: not what a playlist or a data reference names.
        with (
            path.open("rb") as file,
            av.open(
                file,
                format=form.reader,
                io_open=_open_nothing,
                options={"max_pixels": str(limits.max_pixels), "probesize": "2000000", "protocol_whitelist": "none"},
            ) as container,
        ):
            return _measure(container, form, limits, expect)
    except MediaRefused:
        raise
    except Exception as error:  # hostile bytes make readers fail in any way there is
        raise MediaRefused(f"the {form.reader} file is broken: {_brief(error)}") from error


def _open_nothing(url: str, flags: int, options: object) -> Any:
    raise PermissionError("a clip may not refer to other files")


def _measure(container: Any, form: Format, limits: Media, expect: Collection[str]) -> MediaInfo:
    if len(container.streams) > MOST_STREAMS:
        raise MediaRefused(f"the file has too many streams: at most {MOST_STREAMS}, got {len(container.streams)}")
    pictures = [stream for stream in container.streams.video if not _is_cover(stream)]
    sounds = [stream for stream in container.streams.audio if stream.codec_context and stream.codec_context.sample_rate]
    kind: Kind = "video" if pictures else "audio"
    if not pictures and not sounds:
        raise MediaRefused("the file has neither a picture nor a sound that can be read")
    if kind not in expect or kind not in form.types:
        raise MediaRefused(f"the file must be {_in_words(expect)}; this is {'a video' if pictures else 'a sound'}")
    for stream in pictures:
        if stream.codec_context is None:
            raise MediaRefused("the video's coding is not known here")
        _check_pixels(stream.codec_context.width, stream.codec_context.height, limits)
    if container.duration is not None:
        _check_seconds(container.duration / 1_000_000, limits)
    main = pictures[0] if pictures else sounds[0]
    seconds, packets = _length(container, main, limits)
    content_type, extension = form.types[kind]
    return MediaInfo(
        kind,
        content_type,
        extension,
        width=pictures[0].codec_context.width if pictures else None,
        height=pictures[0].codec_context.height if pictures else None,
        seconds=round(seconds, 3),
        frames=packets if pictures else None,
    )


def _length(container: Any, main: Any, limits: Media) -> tuple[float, int]:
    """How long the main stream plays, in seconds, and how many packets it has, by its packets alone.

    No other stream may run longer than the limit either.
    """
    most = LEAST_PACKETS + int(limits.max_seconds * MOST_PACKETS_PER_SECOND)
    spans: dict[int, tuple[float, float]] = {}
    packets = 0
    for count, packet in enumerate(container.demux()):
        if count > most:
            raise MediaRefused(f"the file has more than {most} packets")
        if packet.size == 0 or packet.stream.type not in ("video", "audio") or _is_cover(packet.stream):
            continue
        if packet.is_corrupt:
            raise MediaRefused("the file is broken: it ends in the middle of a frame")
        packets += packet.stream is main
        moment = packet.pts if packet.pts is not None else packet.dts
        if moment is not None and packet.time_base:
            at = float(moment * packet.time_base)
            until = at + float((packet.duration or 0) * packet.time_base)
            begin, end = spans.get(packet.stream.index, (at, until))
            spans[packet.stream.index] = begin, end = min(begin, at), max(end, until)
            _check_seconds(end - begin, limits)
    if not packets:
        raise MediaRefused("the file is broken: it holds no frame")
    begin, end = spans.get(main.index, (0.0, 0.0))
    return (end - begin if end > begin else (container.duration or 0) / 1_000_000), packets


def _is_cover(stream: Any) -> bool:
    """Whether a picture stream is one still picture, as sound files carry it."""
    return stream.type == "video" and "attached_pic" in stream.disposition.name.lower() if stream.disposition else False


def _check_seconds(seconds: float, limits: Media) -> None:
    if seconds > limits.max_seconds + 0.5:
        raise MediaRefused(f"the clip is too long: at most {limits.max_seconds:g} seconds, got {seconds:.1f}")


def _brief(error: Exception) -> str:
    """An error of a reader in one line, without the names of our files."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return re.sub(r"['\"]?/[^\s'\"]+['\"]?", "the file", text.split("\n", 1)[0])[:200]
