"""Pika at fal.ai, against the stand-in over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from genway.operations import AnyOperation, Camera, EffectRequest, MediaRef, RestyleRequest, Size, VideoRequest
from genway.providers.base import (
    Failed,
    Finished,
    OutcomeUnknown,
    ProviderError,
    ResultFile,
    Running,
    VendorBusy,
    VendorDown,
    VendorKeyRefused,
    VendorLost,
    VendorModerated,
    VendorRefused,
)
from genway.providers.pika import Pika
from providers.stage import CLIP, END, PHOTO, HandedIn, Make
from standins.files import FakeFiles
from standins.pika_vendor import PikaVendor

DETAIL = [{"loc": ["body", "duration"], "msg": "Input should be 5 or 10", "type": "literal_error"}]


@pytest.fixture
async def vendor() -> AsyncIterator[PikaVendor]:
    async with PikaVendor() as running:
        yield running


def video(**changes: Any) -> VideoRequest:
    return VideoRequest(**{"model": "pika/2.2", "prompt": "a whale", **changes})


def effect(**changes: Any) -> EffectRequest:
    return EffectRequest(**{"model": "pika/1.5", "effect": "Melt", "pictures": (PHOTO,), **changes})


BODIES: dict[str, tuple[AnyOperation, str, dict[str, Any]]] = {
    "text": (
        video(negative_prompt="rain", seed=7, size=Size(1080, 1920), seconds=10),
        "v2.2/text-to-video",
        {
            "prompt": "a whale",
            "negative_prompt": "rain",
            "seed": 7,
            "resolution": "1080p",
            "duration": 10,
            "aspect_ratio": "9:16",
        },
    ),
    "text with a camera": (
        video(camera=Camera(zoom=5)),
        "v2.2/text-to-video",
        {"prompt": "a whale The camera zooms in.", "resolution": "720p", "duration": 5, "aspect_ratio": "16:9"},
    ),
    "a picture": (
        video(first_frame=PHOTO),
        "v2.2/image-to-video",
        {"prompt": "a whale", "resolution": "720p", "duration": 5, "image_url": PHOTO.url},
    ),
    "first and last pictures": (
        video(first_frame=PHOTO, last_frame=END, seconds=7),
        "v2.2/pikaframes",
        {
            "prompt": "a whale",
            "resolution": "720p",
            "image_urls": [PHOTO.url, END.url],
            "transitions": [{"duration": 7, "prompt": "a whale"}],
        },
    ),
    "a sequence": (
        video(sequence=(PHOTO, CLIP, END), seconds=10),
        "v2.2/pikaframes",
        {
            "prompt": "a whale",
            "resolution": "720p",
            "image_urls": [PHOTO.url, CLIP.url, END.url],
            "transitions": [{"duration": 5, "prompt": "a whale"}] * 2,
        },
    ),
    "ingredients": (
        video(references=(PHOTO, END)),
        "v2.2/pikascenes",
        {
            "prompt": "a whale",
            "resolution": "720p",
            "duration": 5,
            "images": [{"image_url": PHOTO.url}, {"image_url": END.url}],
        },
    ),
    "an effect": (
        effect(prompt="slowly"),
        "v1.5/pikaffects",
        {"pikaffect": "Melt", "prompt": "slowly", "image_url": PHOTO.url},
    ),
}


@pytest.mark.parametrize("case", BODIES)
async def test_each_operation_becomes_the_model_s_input(case: str, vendor: PikaVendor, make: Make, handed_in: HandedIn) -> None:
    operation, route, body = BODIES[case]
    provider = make(Pika)
    assert provider.refusal(operation) is None
    submitted = await provider.submit(handed_in(provider, operation))
    [seen] = vendor.accepted
    assert (seen.path, seen.body) == (f"/fal-ai/pika/{route}", body)
    assert submitted.vendor_id == f"fal-ai/pika/requests/{seen.task_id}"


REFUSALS: list[tuple[AnyOperation, str]] = [
    (video(model="pika/9"), "pika has no model pika/9"),
    (video(model="pika/1.5"), "pika/1.5 does not do video"),
    (effect(model="pika/2.2"), "pika/2.2 does not do effect"),
    (RestyleRequest(model="pika/2.2", video=CLIP), "pika does not do restyle"),
    (effect(effect="Anime"), "pika has no effect Anime"),
    (effect(pictures=()), "a pikaffect is done on one picture, got 0"),
    (video(seconds=7), "pika makes 5 or 10 seconds, got 7"),
    (video(last_frame=END), "pika takes a last frame only with a first one"),
    (video(first_frame=PHOTO, references=(END,)), "pika takes pictures of subjects or pictures to go through, not both"),
    (video(sequence=(PHOTO,) * 6), "pika takes at most 5 pictures"),
    (video(references=(PHOTO,) * 6), "pika takes at most 5 pictures"),
    (video(sequence=(PHOTO, END), seconds=26), "pika makes from 1 second for each step"),
    (video(audio=True), "pika cannot be asked for audio at fal.ai"),
    (video(loop=True), "pika cannot be asked for loop at fal.ai"),
    (video(style="anime"), "pika cannot be asked for style at fal.ai"),
    (video(count=2), "pika makes one video at a time"),
]


@pytest.mark.parametrize(("operation", "reason"), REFUSALS, ids=[reason for _, reason in REFUSALS])
async def test_what_it_cannot_do_is_refused_before_anything_is_sent(
    operation: AnyOperation, reason: str, vendor: PikaVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(Pika)
    assert (provider.refusal(operation) or "").startswith(reason)
    with pytest.raises(VendorRefused):
        await provider.submit(handed_in(provider, operation))
    assert not vendor.accepted


async def test_a_request_is_followed_from_the_queue_to_its_file(vendor: PikaVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(Pika)
    submitted = await provider.submit(handed_in(provider, video()))
    answers = [await provider.check(submitted.vendor_id) for _ in range(3)]
    assert answers == [Running(), Running(), Finished((ResultFile("video", url=f"{vendor.url}/files/video.mp4"),))]


async def test_a_small_file_of_ours_is_sent_along(vendor: PikaVendor, make: Make, handed_in: HandedIn) -> None:
    provider, files = make(Pika), FakeFiles({"med_1": 10})
    await provider.submit(handed_in(provider, video(first_frame=MediaRef(media_id="med_1")), files))
    assert vendor.accepted[0].body["image_url"] == "data:image/png;base64,med_1"


@pytest.mark.parametrize(
    ("end", "failed"),
    [
        ({"error": "the runner died", "error_type": "internal"}, Failed("vendor_error", "the runner died")),
        ({"error": "no", "error_type": "content_policy_violation"}, Failed("moderation", "no")),
        ((422, {"detail": DETAIL}), Failed("vendor_error", "body.duration: Input should be 5 or 10")),
        ((500, {"detail": DETAIL}), Failed("vendor_error", "body.duration: Input should be 5 or 10")),
        (
            (422, {"detail": [{"loc": ["body"], "msg": "not this", "type": "content_policy_violation"}]}),
            Failed("moderation", "body: not this"),
        ),
    ],
)
async def test_a_failure_is_the_vendor_s_own_word(
    end: Any, failed: Failed, vendor: PikaVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(Pika)
    submitted = await provider.submit(handed_in(provider, video()))
    vendor.polls[submitted.vendor_id.rpartition("/")[2]] = 2
    vendor.end = end
    assert await provider.check(submitted.vendor_id) == failed


@pytest.mark.parametrize("end", [(500, {"detail": "Internal Server Error"}), (502, {}), (429, {})])
async def test_not_being_told_is_no_failure(end: Any, vendor: PikaVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(Pika)
    submitted = await provider.submit(handed_in(provider, video()))
    vendor.polls[submitted.vendor_id.rpartition("/")[2]] = 2
    vendor.end = end
    with pytest.raises(VendorBusy if end[0] == 429 else VendorDown):
        await provider.check(submitted.vendor_id)


@pytest.mark.parametrize(
    ("refuse", "error"),
    [
        ((422, {"detail": DETAIL}), VendorRefused),
        ((422, {"detail": [{"loc": [], "msg": "flagged", "type": "content_policy_violation"}]}), VendorModerated),
        ((429, {"detail": "slow down"}), VendorBusy),
        ((401, {"detail": "Invalid key"}), VendorKeyRefused),
        ((404, {"detail": "Application not found"}), VendorDown),
        ((500, {"detail": DETAIL}), OutcomeUnknown),
        ((200, {"status": "IN_QUEUE"}), OutcomeUnknown),
    ],
)
async def test_each_answer_to_a_submit_is_understood(
    refuse: Any, error: type[ProviderError], vendor: PikaVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(Pika)
    vendor.refuse = refuse
    with pytest.raises(error) as raised:
        await provider.submit(handed_in(provider, video()))
    assert type(raised.value) is error
    assert not vendor.accepted


async def test_a_lost_answer_leaves_the_outcome_unknown(vendor: PikaVendor, make: Make, handed_in: HandedIn) -> None:
    vendor.lose = True
    provider = make(Pika)
    with pytest.raises(OutcomeUnknown):
        await provider.submit(handed_in(provider, video()))
    assert len(vendor.accepted) == 1


async def test_a_request_is_cancelled(vendor: PikaVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(Pika)
    submitted = await provider.submit(handed_in(provider, video()))
    await provider.cancel(submitted.vendor_id)
    assert vendor.cancelled == [vendor.accepted[0].task_id]


@pytest.mark.parametrize("said", ["https://evil.example/../../x/status", "not an address", None])
async def test_a_strange_place_is_not_asked(said: Any, vendor: PikaVendor, make: Make, handed_in: HandedIn) -> None:
    vendor.refuse = (200, {"request_id": "abc-1", "status_url": said})
    provider = make(Pika)
    submitted = await provider.submit(handed_in(provider, video()))
    assert submitted.vendor_id == "fal-ai/pika/requests/abc-1"
    with pytest.raises(VendorLost):
        await provider.check(submitted.vendor_id)


async def test_a_key_is_tested_without_spending(vendor: PikaVendor, make: Make) -> None:
    assert "the key is good" in await make(Pika).test()
    with pytest.raises(VendorKeyRefused):
        await make(Pika, secret="wrong").test()
