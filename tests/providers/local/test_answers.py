from __future__ import annotations

import io
from base64 import b64decode

import msgspec
import numpy as np
import pytest
from PIL import Image

from genway.operations import AnyOperation, DirectCall, FacesRequest, LyricsRequest, MediaRef, RecogniseRequest, VoiceRequest
from genway.providers.local import answers

CLIP = MediaRef(url="https://example.com/clip.mp4")


def marked(*points: tuple[float, float], step: str = "add") -> list[dict[str, dict[str, object]]]:
    body = {"frame_index": 3, "points": [{"x": x, "y": y} for x, y in points]}
    told = answers.answer(DirectCall(model="x", call="kling/selection", arguments={"step": step, "body": body, "clip": ""}))
    masks: list[dict[str, dict[str, object]]] = told["res"]["rle_mask_list"]
    return masks


def unpacked(counts: str) -> list[int]:
    """Runs as COCO's own reader takes them apart."""
    runs: list[int] = []
    place = 0
    while place < len(counts):
        value, shift, more = 0, 0, True
        while more:
            group = ord(counts[place]) - 48
            value |= (group & 31) << shift
            more, shift, place = bool(group & 32), shift + 5, place + 1
            if not more and group & 16:
                value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs


def test_a_mark_is_the_same_disc_as_runs_and_as_a_picture() -> None:
    [mask] = marked((0.5, 0.25))
    picture = np.asarray(Image.open(io.BytesIO(b64decode(str(mask["png_mask"]["base64"])))))
    height, width = mask["rle_mask"]["size"]  # type: ignore[misc]
    assert picture.shape == (height, width)
    runs = unpacked(str(mask["rle_mask"]["counts"]))
    flat = np.repeat(np.arange(len(runs)) % 2, runs)
    assert np.array_equal(flat.reshape(width, height).T * 255, picture)
    assert picture[height // 4, width // 2] == 255
    assert picture[-1, -1] == 0


def test_each_point_has_its_mark_until_it_is_taken_back() -> None:
    assert [mask["object_id"] for mask in marked((0.1, 0.1), (0.9, 0.9))] == [0, 1]
    assert marked((0.1, 0.1), step="delete") == []


@pytest.mark.parametrize(
    "operation",
    [
        FacesRequest(model="kling/identify-face", video=CLIP, seconds=4),
        RecogniseRequest(model="kling/image-recognize", picture=CLIP),
        VoiceRequest(model="kling/custom-voice", name="Me", sound=CLIP),
        LyricsRequest(model="minimax/lyrics", prompt="rain on tin roofs"),
    ],
)
def test_the_same_request_has_the_same_answer(operation: AnyOperation) -> None:
    first, second = (answers.finished(operation, "task-1") for _ in range(2))
    assert first == second
    assert first.files == ()


def test_a_face_lasts_as_long_as_the_clip() -> None:
    told = answers.finished(FacesRequest(model="kling/identify-face", video=CLIP, seconds=4), "task-1")
    assert told.details["kept"] == "task-1"
    assert msgspec.json.decode(told.details["faces"])[0]["end_time"] == 4000


def test_what_is_written_already_stays_in_front_of_a_song() -> None:
    song = answers.finished(LyricsRequest(model="minimax/lyrics", lyrics="[Intro]", title="Mine"), "task-1").details
    assert song["lyrics"].startswith("[Intro]\n")
    assert song["song_title"] == "Mine"
