"""Another gateway in Luma's own format as upstream, against the stand-in over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from genway.operations import AnyOperation, Camera, ExtendRequest, ImageRequest, Parent, Size, VideoRequest
from genway.providers.base import (
    Failed,
    Finished,
    OutcomeUnknown,
    Provider,
    ProviderError,
    Running,
    VendorBusy,
    VendorDown,
    VendorKeyRefused,
    VendorLost,
    VendorModerated,
    VendorOutOfCredit,
    VendorRefused,
)
from genway.providers.luma_compat import LumaCompat
from providers.stage import END, OURS, PHOTO, HandedIn, Make
from standins.files import FakeFiles
from standins.luma_vendor import LumaVendor


@pytest.fixture
async def vendor() -> AsyncIterator[LumaVendor]:
    async with LumaVendor() as running:
        yield running


def video(**changes: Any) -> VideoRequest:
    return VideoRequest(**{"model": "luma/ray-2", "prompt": "a cat", **changes})


async def begin(provider: Provider, handed_in: HandedIn, operation: AnyOperation | None = None) -> str:
    submitted = await provider.submit(handed_in(provider, operation or video()))
    return str(getattr(submitted, "vendor_id", ""))


async def test_a_video_is_asked_for_in_the_own_format(vendor: LumaVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(LumaCompat)
    operation = video(
        first_frame=PHOTO,
        last_frame=END,
        seconds=9,
        size=Size(1080, 1920),
        camera=Camera(zoom=4),
        style="noir",
        seed=3,
        format="luma",
        extra={"expand_prompt": True, "mood": "calm", "resolution": "4k"},
    )
    vendor_id = await begin(provider, handed_in, operation)
    [seen] = vendor.accepted
    assert (seen.path, seen.task_id) == ("/luma/generations", vendor_id)
    assert seen.body == {
        "user_prompt": "a cat The camera zooms in. Style: noir.",
        "aspect_ratio": "9:16",
        "model_name": "ray-v2",
        "duration": "9s",
        "resolution": "1080p",
        "image_url": PHOTO.url,
        "image_end_url": END.url,
        "expand_prompt": True,
        "mood": "calm",
    }


async def test_a_loop_of_text_alone_says_no_more_than_it_must(vendor: LumaVendor, make: Make, handed_in: HandedIn) -> None:
    await begin(make(LumaCompat), handed_in, video(model="luma/ray-1-6", loop=True))
    assert vendor.accepted[0].body == {
        "user_prompt": "a cat",
        "aspect_ratio": "16:9",
        "loop": True,
        "model_name": "ray-v1",
        "duration": "5s",
        "resolution": "720p",
    }


async def test_a_video_is_carried_on_at_the_gateway_that_made_it(vendor: LumaVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(LumaCompat)
    earlier = await begin(provider, handed_in)
    parent = Parent("task-0", vendor_id=earlier)
    longer = ExtendRequest(model="luma/ray-2", parent=parent, prompt="it yawns", last_frame=END)
    assert provider.refusal(longer) is None
    await begin(provider, handed_in, longer)
    assert vendor.accepted[1].path == f"/luma/generations/{earlier}/extend"
    assert vendor.accepted[1].body == {"user_prompt": "it yawns", "image_end_url": END.url}


async def test_a_task_that_the_gateway_has_forgotten_cannot_be_carried_on(
    vendor: LumaVendor, make: Make, handed_in: HandedIn
) -> None:
    gone = ExtendRequest(model="luma/ray-2", parent=Parent("task-0", vendor_id="gone"), prompt="it yawns")
    with pytest.raises(VendorRefused, match="task_not_exist"):
        await begin(make(LumaCompat), handed_in, gone)


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (video(negative_prompt="rain"), "this dialect takes no negative prompt"),
        (video(guidance=0.3), "this dialect cannot be told how closely to keep to the prompt"),
        (video(loop=True, last_frame=END), "this dialect makes no loop that has a last frame"),
        (video(prompt="a" * 5001), "the prompt with camera motion and style in words has more than 5000 characters"),
        (video(references=(PHOTO,)), "this dialect takes no pictures beside the first and the last frame"),
        (video(audio=True), "this dialect cannot be asked for sound, a quality or several videos"),
        (video(prompt=""), "this dialect needs a prompt where there is no picture"),
        (video(seconds=10), "luma/ray-2 makes 5 or 9 seconds, got 10"),
        (ImageRequest(model="luma/photon-1", prompt="a cat"), "luma_compat does not do image"),
        (
            ExtendRequest(model="luma/ray-2", parent=Parent("t"), prompt="on"),
            "this dialect extends the gateway's own videos only",
        ),
        (
            ExtendRequest(model="luma/ray-2", parent=Parent("t", vendor_id="v"), before=True),
            "this dialect adds to the end of a video only",
        ),
        (
            ExtendRequest(model="luma/ray-2", parent=Parent("t", vendor_id="v"), seconds=9),
            "this dialect adds 5 seconds, got 9",
        ),
    ],
)
async def test_what_the_format_cannot_say_is_refused(
    operation: AnyOperation, why: str, vendor: LumaVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(LumaCompat)
    assert provider.refusal(operation) == why
    with pytest.raises(VendorRefused):
        await begin(provider, handed_in, operation)
    assert vendor.submits == []


async def test_our_pictures_are_sent_inline_where_the_channel_says_so(
    vendor: LumaVendor, make: Make, handed_in: HandedIn
) -> None:
    inline = make(LumaCompat, options={"inline_bytes": "100"})
    await inline.submit(handed_in(inline, video(first_frame=OURS), FakeFiles({"med_1": 50})))
    linked = make(LumaCompat)
    await linked.submit(handed_in(linked, video(first_frame=OURS), FakeFiles({"med_1": 50})))
    assert [seen.body["image_url"] for seen in vendor.accepted] == [
        "data:image/png;base64,med_1",
        "https://genway.example/media/med_1",
    ]
    wrong = make(LumaCompat, options={"inline_bytes": "much"})
    with pytest.raises(VendorDown, match="inline_bytes"):
        await begin(wrong, handed_in, video(first_frame=OURS))


async def test_a_faster_way_has_another_prefix(vendor: LumaVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(LumaCompat, options={"prefix": "/pro/luma"})
    vendor_id = await begin(provider, handed_in)
    assert vendor.accepted[0].path == "/pro/luma/generations"
    assert await provider.check(vendor_id) == Running()


async def test_an_answer_in_a_list_is_read(vendor: LumaVendor, make: Make, handed_in: HandedIn) -> None:
    vendor.listed = True
    assert await begin(make(LumaCompat), handed_in) == vendor.accepted[0].task_id


@pytest.mark.parametrize(
    ("clean", "name"),
    [
        ("download_url", "clean.mp4"),
        ("raw", "clean.mp4"),
        ("asked", "clean.mp4"),
        ("nowhere", "watermarked.mp4"),
    ],
)
async def test_the_file_without_a_watermark_is_taken_where_there_is_one(
    clean: Any, name: str, vendor: LumaVendor, make: Make, handed_in: HandedIn
) -> None:
    vendor.clean = clean
    provider = make(LumaCompat)
    vendor_id = await begin(provider, handed_in)
    assert [await provider.check(vendor_id) for _ in range(2)] == [Running(), Running()]
    done = await provider.check(vendor_id)
    assert isinstance(done, Finished)
    assert [file.role for file in done.files] == ["video", "poster", "last_frame"]
    assert f"/{name}?" in str(done.files[0].url)


@pytest.mark.parametrize(("fault", "code"), [("fail_moderation", "moderation"), ("fail_output", "vendor_error")])
async def test_a_failure_has_its_reason(fault: str, code: str, vendor: LumaVendor, make: Make, handed_in: HandedIn) -> None:
    vendor.fault(fault)
    provider = make(LumaCompat)
    vendor_id = await begin(provider, handed_in)
    for _ in range(2):
        await provider.check(vendor_id)
    failed = await provider.check(vendor_id)
    assert isinstance(failed, Failed)
    assert failed.code == code


@pytest.mark.parametrize(
    ("fault", "error", "accepted"),
    [
        ("throttled", VendorBusy, 0),
        ("moderated", VendorModerated, 0),
        ("out_of_credit", VendorOutOfCredit, 0),
        ("bad_key", VendorKeyRefused, 0),
        ("error", OutcomeUnknown, 0),
        ("lost", OutcomeUnknown, 1),
        ("garbage", OutcomeUnknown, 1),
        ("no_id", OutcomeUnknown, 1),
    ],
)
async def test_a_submit_that_goes_wrong_says_what_is_known(
    fault: str, error: type[ProviderError], accepted: int, vendor: LumaVendor, make: Make, handed_in: HandedIn
) -> None:
    vendor.fault(fault)
    with pytest.raises(error) as raised:
        await begin(make(LumaCompat), handed_in)
    assert raised.type is error
    assert len(vendor.accepted) == accepted


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        ({"code": "quota", "message": "insufficient quota"}, VendorOutOfCredit),
        ({"code": 1, "message": "sensitive content"}, VendorModerated),
        ({"code": "oops", "message": "try later"}, OutcomeUnknown),
        ({"error": {"message": "user quota: 余额不足"}}, VendorOutOfCredit),
    ],
)
async def test_an_error_under_http_200_is_an_error(
    broken: dict[str, Any], error: type[ProviderError], vendor: LumaVendor, make: Make, handed_in: HandedIn
) -> None:
    vendor.broken = broken
    with pytest.raises(error) as raised:
        await begin(make(LumaCompat), handed_in)
    assert raised.type is error


@pytest.mark.parametrize(
    ("fault", "error"),
    [("poll_error", VendorDown), ("poll_missing", VendorLost), ("poll_odd", VendorDown), ("poll_throttled", VendorBusy)],
)
async def test_a_poll_that_goes_wrong_changes_nothing(
    fault: str, error: type[ProviderError], vendor: LumaVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(LumaCompat)
    vendor_id = await begin(provider, handed_in)
    vendor.fault(fault)
    with pytest.raises(error):
        await provider.check(vendor_id)
    assert await provider.check(vendor_id) == Running()


async def test_the_channels_test_finds_a_wrong_key_and_a_wrong_address(vendor: LumaVendor, make: Make) -> None:
    assert (await make(LumaCompat).test()).startswith("the key is good")
    with pytest.raises(VendorKeyRefused):
        await make(LumaCompat, secret="wrong").test()
    with pytest.raises(VendorDown):
        await make(LumaCompat, base_url=f"{vendor.url}/elsewhere").test()
