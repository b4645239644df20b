"""What Kling cannot do, and says so before anything is charged or sent."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from genway.operations import (
    AnyOperation,
    AvatarRequest,
    ExtendRequest,
    ImageRequest,
    LipSyncRequest,
    MediaRef,
    Parent,
    SoundRequest,
    VideoRequest,
)
from genway.providers.base import ChannelSettings, Submission, VendorRefused
from genway.providers.kling import Kling
from standins.files import FakeFiles

NOWHERE = "http://127.0.0.1:9"
PHOTO, END = (MediaRef(url=f"https://example.com/{name}.jpg") for name in ("photo", "end"))
CLIP = MediaRef(url="https://example.com/clip.mp4")


def video(**changes: Any) -> VideoRequest:
    return VideoRequest(**{"model": "kling/kling-v1-6", "prompt": "a boat", **changes})


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (video(model="kling/kling-v1-5"), "kling-v1-5 makes no video from text alone"),
        (video(seconds=7), "kling-v1-6 makes 5 or 10 seconds, got 7"),
        (video(prompt=""), "kling needs a prompt"),
        (video(audio=True), "kling-v1-6 makes no sound"),
        (video(loop=True), "kling makes no loops"),
        (video(count=2), "kling makes one video at a time, not 2"),
        (video(quality="ultra"), "kling-v1-6 takes std or pro as quality, got ultra"),
        (
            video(first_frame=PHOTO, last_frame=END, quality="std"),
            "kling-v1-6 takes a picture to end with in mode pro, got std",
        ),
        (
            video(model="kling/kling-v1", first_frame=PHOTO, last_frame=END, seconds=10),
            "kling-v1 makes 5 seconds with a picture to end with",
        ),
        (
            video(model="kling/kling-v2-1", last_frame=END),
            "kling-v2-1 takes a picture to end with only beside one to begin with",
        ),
        (
            video(model="kling/kling-v2-master", first_frame=PHOTO, last_frame=END),
            "kling-v2-master takes no picture to end with",
        ),
        (video(model="kling/kling-v2-1", references=(PHOTO,)), "kling-v2-1 takes no reference pictures; kling-v1-6 does"),
        (video(references=(PHOTO,) * 5), "kling-v1-6 takes 4 reference pictures, got 5"),
        (video(model="kling/kling-v9"), "kling has no model kling/kling-v9"),
        (video(model="kling/kling-image-o1"), "kling-image-o1 makes no videos"),
        (
            ExtendRequest(model="kling/kling-v2-master", parent=Parent("t")),
            "kling makes videos of kling-v1, kling-v1-5 and kling-v1-6 longer",
        ),
        (
            ExtendRequest(model="kling/kling-v1", parent=Parent("t"), negative_prompt="x"),
            "kling-v1 takes no negative prompt for more of a video",
        ),
        (ImageRequest(model="kling/kling-v2", prompt="a", count=10), "kling makes 1 to 9 pictures at once, got 10"),
        (
            ImageRequest(model="kling/kling-v1", prompt="a", references=(PHOTO, END)),
            "kling-v1 takes one reference picture; kling-v2, kling-v2-1 can do more",
        ),
        (
            LipSyncRequest(model="kling/lip-sync", video=CLIP, text="x" * 121, voice="v"),
            "kling speaks 1 to 120 characters, got 121",
        ),
        (SoundRequest(model="kling/text-to-audio", prompt="rain", seconds=11), "kling makes 3 to 10 seconds of sound, got 11"),
        (AvatarRequest(model="kling/avatar", picture=PHOTO, voice="v"), "an avatar of kling speaks a sound, not a text"),
    ],
)
async def test_what_kling_cannot_do_is_refused_before_anything_is_sent(
    http: aiohttp.ClientSession, operation: AnyOperation, said: str
) -> None:
    kling = Kling(ChannelSettings("a", NOWHERE, "access:secret"), http)
    assert kling.refusal(operation) == said
    if operation.model in kling.models:
        with pytest.raises(VendorRefused) as refused:
            await kling.submit(Submission("t", "r", operation, kling.models[operation.model], FakeFiles()))
        assert refused.value.message == said
