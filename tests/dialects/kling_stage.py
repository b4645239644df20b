"""A client of Kling's dialect, and the works that its tests begin with."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Litestar
from litestar.testing import TestClient

from dialects.stage import FakeGateway
from genway.operations import (
    VideoRequest,
)
from genway.tasks.model import File, State

Client = TestClient[Litestar]

V1 = "/kling/v1"
PICTURE, OTHER, CLIP, SOUND = (f"https://a.example/{name}" for name in ("1.png", "2.png", "1.mp4", "1.mp3"))
MP3 = File(
    role="audio",
    media_id="med_a",
    content_type="audio/mpeg",
    bytes=9,
    sha256="a",
    extension="mp3",
    seconds=3.2,
    url="http://m/a.mp3",
)
WAV = msgspec.structs.replace(MP3, media_id="med_w", content_type="audio/wav", extension="wav", url="http://m/a.wav")
PNG = File(role="image", media_id="med_1", content_type="image/png", bytes=5, sha256="i", url="http://m/1.png")


def submit(client: Client, gateway: FakeGateway, endpoint: str, body: Any) -> Any:
    """The operation that a body becomes."""
    answer = client.post(f"{V1}/{endpoint}", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"]["task_id"] == gateway.last.id
    assert gateway.last.dialect == f"kling.{endpoint}"
    return gateway.last.operation


def text2video(client: Client, gateway: FakeGateway, **body: Any) -> VideoRequest:
    operation = submit(client, gateway, "videos/text2video", {"prompt": "a paper boat", **body})
    assert isinstance(operation, VideoRequest)
    return operation


def refused(client: Client, endpoint: str, body: Any) -> tuple[int, int, str]:
    answer = client.post(f"{V1}/{endpoint}", json=body)
    content = answer.json()
    assert "data" not in content
    assert isinstance(content["request_id"], str)
    assert content["error"]["message"] == content["message"]
    return answer.status_code, content["code"], content["message"]


def video_made(client: Client, gateway: FakeGateway) -> str:
    """A task of ours that has made a video."""
    text2video(client, gateway, model_name="kling-v1-6")
    return gateway.succeed().id


def sound_made(client: Client, gateway: FakeGateway) -> str:
    submit(client, gateway, "audio/text-to-audio", {"prompt": "rain", "duration": 5})
    return gateway.change(state=State.SUCCEEDED, files=(MP3, WAV)).id
