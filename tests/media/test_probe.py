"""A file is what its bytes say, and what would hurt is refused before it is decoded."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from genway.config import Media
from genway.errors import MediaRefused
from genway.media.probe import MediaInfo, _open_nothing, probe, probe_async, sniff
from media.stage import png
from standins.samples import FRAMES, HEIGHT, WIDTH, clip, picture

MIB = 1024 * 1024


def sound(container: str, codec: str, cover: bool = False) -> bytes:
    """Half a second of silence, with a cover picture if asked for."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=48000)
        stream.layout = "mono"
        name = stream.codec_context.format.name if stream.codec_context.format else "s16"
        for number in range(24):
            kind = {"flt": np.float32, "s32": np.int32}.get(name.removesuffix("p"), np.int16)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), kind), format=name, layout="mono")
            frame.rate, frame.pts = 48000, number * 1000
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return buffer.getvalue()


def video(container: str, codec: str, frames: int = 12) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(frames):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        output.mux(stream.encode())
    return buffer.getvalue()


def image(form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "teal").save(buffer, form, **options)
    return buffer.getvalue()


def probed(tmp_path: Path, content: bytes, name: str = "file", **limits: Any) -> MediaInfo:
    path = tmp_path / name
    path.write_bytes(content)
    return probe(path, limits=Media(**limits))


@pytest.mark.parametrize(
    ("form", "content_type", "extension"),
    [
        ("JPEG", "image/jpeg", "jpg"),
        ("PNG", "image/png", "png"),
        ("GIF", "image/gif", "gif"),
        ("WEBP", "image/webp", "webp"),
        ("BMP", "image/bmp", "bmp"),
        ("TIFF", "image/tiff", "tiff"),
        ("AVIF", "image/avif", "avif"),
        ("MPO", "image/jpeg", "jpg"),
    ],
)
def test_pictures_are_known_by_their_content(tmp_path: Path, form: str, content_type: str, extension: str) -> None:
    info = probed(tmp_path, image(form), "not-a-picture.exe")
    assert info == MediaInfo("image", content_type, extension, width=40, height=30, frames=1)


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}, {"save_all": True, "exif": b"Exif\0\0"}])
def test_every_kind_of_webp_tells_its_size(tmp_path: Path, options: dict[str, Any]) -> None:
    assert (probed(tmp_path, image("WEBP", **options)).width, probed(tmp_path, image("WEBP", **options)).height) == (40, 30)


@pytest.mark.parametrize(
    ("container", "codec", "content_type"),
    [
        ("mp4", "libx264", "video/mp4"),
        ("mov", "libx264", "video/quicktime"),
        ("webm", "libvpx-vp9", "video/webm"),
        ("matroska", "libx264", "video/x-matroska"),
        ("avi", "mpeg4", "video/x-msvideo"),
    ],
)
def test_clips_are_known_and_measured(tmp_path: Path, container: str, codec: str, content_type: str) -> None:
    info = probed(tmp_path, video(container, codec), "clip.jpg")
    assert (info.kind, info.content_type, info.width, info.height, info.frames) == ("video", content_type, 64, 48, 12)
    assert info.seconds == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize(
    ("container", "codec", "content_type"),
    [
        ("wav", "pcm_s16le", "audio/wav"),
        ("flac", "flac", "audio/flac"),
        ("mp3", "libmp3lame", "audio/mpeg"),
        ("ipod", "aac", "audio/mp4"),
        ("adts", "aac", "audio/aac"),
        ("ogg", "libopus", "audio/ogg"),
        ("webm", "libopus", "audio/webm"),
    ],
)
def test_sounds_are_known_and_measured(tmp_path: Path, container: str, codec: str, content_type: str) -> None:
    info = probed(tmp_path, sound(container, codec))
    assert (info.kind, info.content_type, info.width, info.frames) == ("audio", content_type, None, None)
    assert info.seconds == pytest.approx(0.5, abs=0.1)


async def test_what_was_not_expected_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(clip())
    with pytest.raises(MediaRefused, match=r"must be a picture .* this is video/mp4"):
        await probe_async(path, limits=Media(), expect={"image"})
    path.write_bytes(sound("ipod", "aac"))
    with pytest.raises(MediaRefused, match=r"must be a video .* this is a sound"):
        await probe_async(path, limits=Media(), expect={"video"})
    path.write_bytes(picture())
    with pytest.raises(MediaRefused, match=r"must be a video .* or a sound .* this is image/png"):
        await probe_async(path, limits=Media(), expect={"video", "audio"})


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf <!DOCTYPE html><script>", "a web page"),
        (b"<?xml version='1.0'?><svg onload='x()'/>", "an SVG drawing"),
        (b"  <svg/>", "an SVG drawing"),
        (b"<?php system('id');", "a program"),
        (b"%PDF-1.7 ", "a PDF"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "a playlist"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "a playlist"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n", "a playlist"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b\x08", "a compressed file"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "a HEIC picture"),
        (b"MZ\x90", "something else"),
    ],
)
def test_what_is_no_media_is_refused_by_name(tmp_path: Path, content: bytes, what: str) -> None:
    with pytest.raises(MediaRefused, match=what):
        probed(tmp_path, content, "innocent.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (10_001, 10_000), (200_000_000, 1)])
def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path, width: int, height: int) -> None:
    before = psutil.Process().memory_info().rss
    with pytest.raises(MediaRefused, match="too many pixels: at most 100000000"):
        probed(tmp_path, png(width, height))
    assert psutil.Process().memory_info().rss - before < 20 * MIB


def test_the_operators_own_limit_of_pixels_holds_both_ways(tmp_path: Path) -> None:
    assert probed(tmp_path, png(20_000, 10_000), max_pixels=200_000_000).width == 20_000
    with pytest.raises(MediaRefused, match="at most 1000 in"):
        probed(tmp_path, png(100, 11), max_pixels=1000)


def test_a_webp_with_a_gigantic_canvas_is_refused_by_its_header(tmp_path: Path) -> None:
    canvas = b"RIFF\x64\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02\x00\x00\x00" + b"\xff\xff\xff" * 2 + bytes(80)
    with pytest.raises(MediaRefused, match="too many pixels"):
        probed(tmp_path, canvas)


def test_a_clip_with_too_many_pixels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaRefused, match="too many pixels"):
        probed(tmp_path, clip(), max_pixels=WIDTH * HEIGHT - 1)
    assert probed(tmp_path, clip(), max_pixels=WIDTH * HEIGHT).frames == FRAMES


def test_a_clip_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaRefused, match=r"too long: at most 1 seconds, got 2\.0"):
        probed(tmp_path, video("mp4", "libx264", 48), max_seconds=1)


def test_a_clip_whose_header_lies_about_its_length_is_found_out(tmp_path: Path) -> None:
    """Matroska's header may say any length; here it says nothing like the 200 seconds of frames behind it."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        stream = output.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for _ in range(200):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")))
        output.mux(stream.encode())
    content = bytearray(buffer.getvalue())
    at = content.index(b"\x44\x89\x88") + 3  # the Duration element, a double of milliseconds
    content[at : at + 8] = np.array(1000.0, ">f8").tobytes()
    with av.open(io.BytesIO(bytes(content))) as lying:
        assert lying.duration == 1_000_000
    with pytest.raises(MediaRefused, match="too long: at most 120 seconds"):
        probed(tmp_path, bytes(content))


@pytest.mark.parametrize("limits", [{"max_image_bytes": 100}, {"max_video_bytes": 100}])
def test_a_file_larger_than_its_kind_may_be_is_refused(tmp_path: Path, limits: dict[str, int]) -> None:
    content = picture() if "max_image_bytes" in limits else clip()
    with pytest.raises(MediaRefused, match="too large: at most 100 bytes"):
        probed(tmp_path, content, **limits)


def test_a_picture_with_an_archive_behind_it_is_just_a_picture(tmp_path: Path) -> None:
    buffer = io.BytesIO(picture())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("evil.html", "<script>alert(1)</script>")
    assert zipfile.is_zipfile(buffer)
    assert probed(tmp_path, buffer.getvalue(), "x.zip").content_type == "image/png"


@pytest.mark.parametrize("tail", [b"<?php system($_GET[0]); ?>", b"<html><script>alert(1)</script>"])
def test_a_picture_that_is_also_a_program_is_just_a_picture(tmp_path: Path, tail: bytes) -> None:
    assert probed(tmp_path, image("JPEG", comment=tail) + tail, "x.php").content_type == "image/jpeg"


def test_a_gif_that_is_also_a_script_is_a_gif_or_nothing(tmp_path: Path) -> None:
    script = b"GIF89a/*" + image("GIF")[8:] + b"*/=1;alert(1)"
    try:
        info = probed(tmp_path, script, "x.js")
    except MediaRefused:
        return
    assert info.content_type == "image/gif"


def test_a_page_with_a_video_further_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaRefused):
        probed(tmp_path, b"<html>" + clip())


def test_a_clip_whose_data_is_said_to_be_in_another_file_opens_no_other_file(tmp_path: Path) -> None:
    """QuickTime data references may name any file; the reader is given one open file and may open none."""
    content = bytearray(video("mov", "libx264"))
    at = content.index(b"dref") + 12  # past the box's version and count, at its first entry
    assert content[at + 4 : at + 8] in (b"url ", b"alis")
    content[at + 4 : at + 12] = b"url \x00\x00\x00\x00"  # no longer "in this same file"
    before = len(psutil.Process().open_files())
    try:
        info = probed(tmp_path, bytes(content))
    except MediaRefused:
        pass
    else:
        assert info.frames == 12
    assert len(psutil.Process().open_files()) == before


def test_the_reader_may_open_nothing_even_for_a_playlist(tmp_path: Path) -> None:
    """We never ask it to read a playlist; if it did so all the same, this is what it would meet."""
    other = tmp_path / "other.ts"
    other.write_bytes(video("mpegts", "libx264"))
    playlist = f"#EXTM3U\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n".encode()
    with av.open(io.BytesIO(playlist), format="hls") as unguarded:
        assert unguarded.streams.video
    asked: list[str] = []

    def ask(url: str, flags: int, options: object) -> object:
        asked.append(url)
        return _open_nothing(url, flags, options)

    with pytest.raises((OSError, av.FFmpegError)):
        av.open(io.BytesIO(playlist), format="hls", io_open=ask)
    assert asked == [str(other)]


@pytest.mark.parametrize("content", [clip()[:2000], clip()[2000:], picture()[:20], b"\xff\xfb\x90junk" * 300, b"OggS\0" * 99])
def test_a_broken_file_is_refused_without_naming_ours(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(MediaRefused) as refusal:
        probed(tmp_path, content)
    assert str(tmp_path) not in str(refusal.value)


def test_random_bytes_are_nothing() -> None:
    generator = np.random.default_rng(7)
    taken = [sniff(generator.bytes(512)) for _ in range(2000)]
    assert sum(form is not None for form in taken) < 10


def test_readers_are_loaded_only_when_a_file_is_read() -> None:
    code = "import sys, genway.media.library; assert not {'av', 'PIL'} & sys.modules.keys(), 'loaded'"
    subprocess.run([sys.executable, "-c", code], check=True)
