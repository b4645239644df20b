"""What the built-in provider answers where a vendor would look, listen or write: always the same for the same request.

It neither sees nor hears: what it answers has the vendor's shape, so that programs can be tried out, and says so in its words.
"""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from typing import Any

import msgspec

from genway.operations import (
    AnyOperation,
    DirectCall,
    ElementRequest,
    FacesRequest,
    LyricsRequest,
    RecogniseRequest,
    SelectionRequest,
    VoiceRequest,
)
from genway.providers.base import Finished

ANSWERED = (VoiceRequest, ElementRequest, FacesRequest, SelectionRequest, RecogniseRequest, LyricsRequest)
CALLS = ("kling/voices", "kling/elements", "kling/selection", "kling/delete", "minimax/voices", "minimax/delete")

FPS = 24
MASK = (128, 72)
MARK_RADIUS = 9
SEEN = ("object_seg", "head_seg", "face_seg", "cloth_seg")
TITLE_WORDS = 6


def finished(operation: AnyOperation, task_id: str) -> Finished:
    """The outcome of one of the kinds in `ANSWERED`."""
    match operation:
        case FacesRequest(seconds=seconds):
            face = {"face_id": "0", "face_image": None, "start_time": 0, "end_time": int(seconds * 1000)}
            return Finished((), {"kept": task_id, "faces": _json([face])})
        case SelectionRequest(seconds=seconds):
            width, height = MASK
            clip = {"fps": FPS, "original_duration": int(seconds * 1000), "total_frame": int(seconds * FPS)}
            return Finished((), {"kept": task_id, "clip": _json({**clip, "width": width * 10, "height": height * 10})})
        case RecogniseRequest():
            return Finished((), {"seen": _json([{"type": kind, "is_contain": False, "url": None} for kind in SEEN])})
        case LyricsRequest():
            return Finished((), _song(operation))
    return Finished((), {"kept": task_id})


def answer(asked: DirectCall) -> dict[str, Any]:
    """The answer to one of `CALLS`."""
    match asked.call:
        case "kling/voices":
            return {"rows": [_preset("voices", {"voice_id": "1001", "voice_name": "Test voice", "trial_url": ""})]}
        case "kling/elements":
            element = {"element_id": 2001, "element_name": "Test element", "element_description": "stands for a preset"}
            return {"rows": [_preset("elements", element)]}
        case "minimax/voices":
            voice = {"voice_id": "male-qn-qingse", "voice_name": "Test voice", "description": ["stands for a preset"]}
            return {"system_voice": [voice]}
        case "kling/selection":
            return _selection(asked.arguments)
    return {}


def _preset(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    times = {"created_at": 0, "updated_at": 0}
    return {"task_id": "0", "task_status": "succeed", "task_result": {kind: [{**item, "owned_by": "local"}]}, **times}


def _selection(arguments: dict[str, Any]) -> dict[str, Any]:
    body = arguments["body"]
    match arguments["step"]:
        case "add" | "delete":
            points = body["points"] if arguments["step"] == "add" else []
            masks = [{"object_id": index, **_mask(point["x"], point["y"])} for index, point in enumerate(points)]
            return {"status": 0, "res": {"frame_index": body["frame_index"], "rle_mask_list": masks}}
        case "preview":
            return {"status": 0, "res": {"video": arguments["clip"], "video_cover": "", "tracking_output": ""}}
    return {"status": 0}


def _mask(x: float, y: float) -> dict[str, Any]:
    """A disc around a place, as runs column by column, and as a picture."""
    width, height = MASK
    inside = [
        [(column - x * width) ** 2 + (row - y * height) ** 2 <= MARK_RADIUS**2 for row in range(height)]
        for column in range(width)
    ]
    counts, last, run = [], False, 0
    for column in inside:
        for marked in column:
            if marked != last:
                counts.append(run)
                last, run = marked, 0
            run += 1
    counts.append(run)
    rows = b"".join(b"\0" + bytes(255 if inside[column][row] else 0 for column in range(width)) for row in range(height))
    picture = b64encode(_png(width, height, rows)).decode()
    size = [height, width]
    return {"rle_mask": {"size": size, "counts": _packed(counts)}, "png_mask": {"size": size, "base64": picture}}


def _packed(counts: list[int]) -> str:
    """Runs as COCO packs them: each as its difference to the last but one, in groups of five bits."""
    text = []
    for index, count in enumerate(counts):
        rest = count - counts[index - 2] if index > 2 else count
        while True:
            group, rest = rest & 31, rest >> 5
            more = rest != (-1 if group & 16 else 0)
            text.append(chr(group + (32 if more else 0) + 48))
            if not more:
                break
    return "".join(text)


def _png(width: int, height: int, rows: bytes) -> bytes:
    """A grey picture of 8 bits; each row begins with a zero."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _song(operation: LyricsRequest) -> dict[str, str]:
    """A verse and a chorus made of the description's own words; what is there already stays in front."""
    words = operation.prompt.split() or ["la"]
    title = operation.title or " ".join(words[:TITLE_WORDS])
    line = " ".join(words)
    made = f"[Verse]\n{line}\n[Chorus]\n{title}\n{title}"
    return {
        "song_title": title,
        "style_tags": "test",
        "lyrics": f"{operation.lyrics}\n{made}" if operation.lyrics else made,
    }


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
