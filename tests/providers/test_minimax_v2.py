"""MiniMax's second format as upstream: against the stand-in over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from genway.operations import Camera, MediaRef, ReferenceRequest, Size, VideoRequest
from genway.providers.base import (
    ChannelSettings,
    Failed,
    Finished,
    OutcomeUnknown,
    ProviderError,
    Running,
    Submitted,
    VendorBusy,
    VendorDown,
    VendorKeyRefused,
    VendorLost,
    VendorModerated,
    VendorOutOfCredit,
    VendorRefused,
)
from genway.providers.minimax import MiniMax
from genway.providers.minimax_compat import MiniMaxCompat
from providers.stage import CLIP, END, PHOTO, HandedIn
from standins.minimax_vendor import FIRST_ID, KEY, MiniMaxVendor

Make = Callable[..., MiniMax]
SOUND = MediaRef(url="https://example.com/voice.mp3")
FIRST = f"v2:{FIRST_ID}"


@pytest.fixture
async def vendor() -> AsyncIterator[MiniMaxVendor]:
    async with MiniMaxVendor() as running:
        yield running


@pytest.fixture
def make(vendor: MiniMaxVendor, http: aiohttp.ClientSession) -> Make:
    def build(kind: type[MiniMax] = MiniMax, **settings: Any) -> MiniMax:
        usual: dict[str, Any] = {"name": "a channel", "base_url": vendor.url, "secret": KEY, "timeout": 5.0}
        return kind(ChannelSettings(**usual | settings), http)

    return build


def video(**changes: Any) -> VideoRequest:
    return VideoRequest(**{"model": "minimax/MiniMax-H3", "prompt": "a cat", "seconds": 5, **changes})


def led(**changes: Any) -> ReferenceRequest:
    return ReferenceRequest(**{"model": "minimax/MiniMax-H3", "prompt": "a cat", "clips": (CLIP,), **changes})


def piece(kind: str, role: str, ref: MediaRef) -> dict[str, Any]:
    return {"type": f"{kind}_url", f"{kind}_url": {"url": ref.url}, "role": role}


TEXT = {"type": "text", "text": "a cat"}


@pytest.mark.parametrize("kind", [MiniMax, MiniMaxCompat])
async def test_a_video_is_made(make: Make, vendor: MiniMaxVendor, handed_in: HandedIn, kind: type[MiniMax]) -> None:
    provider = make(kind)
    assert await provider.submit(handed_in(provider, video())) == Submitted(FIRST)
    assert vendor.submits[0].path.endswith("/v2/video_generation")
    assert vendor.submits[0].body == {
        "model": "MiniMax-H3",
        "content": [TEXT],
        "resolution": "768P",
        "duration": 5,
        "ratio": "16:9",
    }
    reports = [await provider.check(FIRST) for _ in range(4)]
    assert reports[:3] == [Running()] * 3
    assert isinstance(reports[3], Finished)
    assert str(reports[3].files[0].url).startswith(f"{vendor.url}/files/video.mp4")


@pytest.mark.parametrize(
    ("operation", "pieces", "told"),
    [
        (
            video(first_frame=PHOTO, last_frame=END, size=Size(1440, 2560), seconds=15),
            [TEXT, piece("image", "first_frame", PHOTO), piece("image", "last_frame", END)],
            {"resolution": "2K", "duration": 15},
        ),
        (
            video(references=(PHOTO, END), size=Size(768, 768)),
            [TEXT, piece("image", "reference_image", PHOTO), piece("image", "reference_image", END)],
            {"resolution": "768P", "duration": 5, "ratio": "1:1"},
        ),
        (
            led(references=(PHOTO,), sounds=(SOUND,)),
            [
                TEXT,
                piece("image", "reference_image", PHOTO),
                piece("video", "reference_video", CLIP),
                piece("audio", "reference_audio", SOUND),
            ],
            {"resolution": "768P", "duration": 5, "ratio": "16:9"},
        ),
        (
            video(camera=Camera(zoom=5), style="ink"),
            [{"type": "text", "text": "a cat The camera zooms in. Style: ink."}],
            {"resolution": "768P", "duration": 5, "ratio": "16:9"},
        ),
        (
            video(
                model="minimax/MiniMax-H3-Max",
                size=Size(854, 480),
                format="minimax.video_v2",
                extra={"ratio": "21:9", "content": [], "duration": 9, "aigc_watermark": True},
            ),
            [TEXT],
            {"model": "MiniMax-H3-Max", "resolution": "480P", "duration": 5, "ratio": "21:9", "aigc_watermark": True},
        ),
    ],
)
async def test_what_is_asked_for_is_said_in_the_formats_words(
    make: Make, vendor: MiniMaxVendor, handed_in: HandedIn, operation: Any, pieces: Any, told: Any
) -> None:
    provider = make()
    assert provider.refusal(operation) is None
    await provider.submit(handed_in(provider, operation))
    [submit] = vendor.submits
    assert submit.accepted
    assert submit.body == {"model": "MiniMax-H3", "content": pieces} | told


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (video(seconds=3), "MiniMax-H3 makes 4 to 15 whole seconds, got 3"),
        (video(seconds=4.5), "whole seconds"),
        (video(model="minimax/MiniMax-H3-Max", seconds=4), "5 to 15"),
        (video(prompt=""), "needs a prompt"),
        (video(prompt="a" * 7001), "7001 characters"),
        (video(last_frame=END), "only beside one to begin with"),
        (video(first_frame=PHOTO, references=(END,)), "not both"),
        (video(references=(PHOTO,) * 10), "takes 9 pictures"),
        (video(negative_prompt="dogs"), "no negative prompt"),
        (video(loop=True), "a loop"),
        (video(sequence=(PHOTO, END)), "a sequence of pictures"),
        (video(guidance=0.5), "guidance"),
        (video(count=2), "one video at once"),
        (led(clips=(CLIP,) * 4), "3 clips"),
        (led(clips=(), sounds=(SOUND,)), "only beside a picture or a clip"),
        (led(model="minimax/MiniMax-Hailuo-02"), "takes no clips and sounds"),
    ],
)
def test_what_the_models_cannot_do_is_refused_before_anything_is_sent(make: Make, operation: Any, why: str) -> None:
    assert why in (make().refusal(operation) or "")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("throttled", VendorBusy),
        ("http_throttled", VendorBusy),
        ("bad_key", VendorKeyRefused),
        ("not_in_plan", VendorKeyRefused),
        ("out_of_credit", VendorOutOfCredit),
        ("moderated", VendorModerated),
        ("invalid", VendorRefused),
        ("unknown", OutcomeUnknown),
        ("system", OutcomeUnknown),
        ("dropped", OutcomeUnknown),
        ("lost", OutcomeUnknown),
        ("garbage", OutcomeUnknown),
        ("no_id", OutcomeUnknown),
    ],
)
async def test_each_way_a_submit_can_end_is_known(
    make: Make, vendor: MiniMaxVendor, handed_in: HandedIn, fault: str, error: type[ProviderError]
) -> None:
    vendor.fault(fault)
    vendor.echo_key = True
    provider = make()
    with pytest.raises(error) as raised:
        await provider.submit(handed_in(provider, video()))
    assert type(raised.value) is error
    assert KEY not in raised.value.message


@pytest.mark.parametrize(
    ("fault", "failed"),
    [
        ("fail", Failed("vendor_error", "the model could not make anything usable")),
        ("fail_moderation", Failed("moderation", "output new_sensitive")),
    ],
)
async def test_a_failure_is_told_with_its_reason(
    make: Make, vendor: MiniMaxVendor, handed_in: HandedIn, fault: str, failed: Failed
) -> None:
    vendor.steps = ("Success",)
    vendor.fault(fault)
    provider = make()
    await provider.submit(handed_in(provider, video()))
    assert await provider.check(FIRST) == failed


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("poll_error", VendorDown),
        ("poll_throttled", VendorBusy),
        ("poll_garbage", VendorDown),
        ("poll_odd", VendorDown),
        ("poll_lost", VendorDown),
        ("poll_missing", VendorLost),
    ],
)
async def test_a_question_that_is_not_answered_says_nothing_of_the_work(
    make: Make, vendor: MiniMaxVendor, handed_in: HandedIn, fault: str, error: type[ProviderError]
) -> None:
    vendor.steps = ("Success",)
    vendor.fault(fault, times=2)  # a question on a connection that breaks is put again at once
    provider = make()
    await provider.submit(handed_in(provider, video()))
    with pytest.raises(error) as raised:
        await provider.check(FIRST)
    assert type(raised.value) is error
    vendor._faults.clear()
    assert isinstance(await provider.check(FIRST), Finished)


async def test_a_success_without_a_file_is_no_success(make: Make, vendor: MiniMaxVendor, handed_in: HandedIn) -> None:
    vendor.steps = ("Success",)
    vendor.fault("no_file")
    provider = make()
    await provider.submit(handed_in(provider, video()))
    with pytest.raises(VendorDown, match="makes no sense"):
        await provider.check(FIRST)


async def test_what_waits_can_be_stopped_and_nothing_else(make: Make, vendor: MiniMaxVendor, handed_in: HandedIn) -> None:
    provider = make()
    await provider.submit(handed_in(provider, video()))
    await provider.cancel(FIRST)
    assert vendor.deleted == [str(FIRST_ID)]
    vendor.steps = ("Processing",)
    for vendor_id in (FIRST, f"video:{FIRST_ID}", f"speech:{FIRST_ID}"):
        with pytest.raises(VendorRefused):
            await provider.cancel(vendor_id)


async def test_a_key_is_not_shown(make: Make, handed_in: HandedIn) -> None:
    provider = make(secret="sk-wrong")
    with pytest.raises(VendorKeyRefused) as raised:
        await provider.submit(handed_in(provider, video()))
    assert "sk-wrong" not in raised.value.message
