"""A gateway of Pika's dialects as upstream, against the stand-in over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from genway.operations import (
    AnyOperation,
    Camera,
    EffectRequest,
    ExtendRequest,
    Parent,
    RestyleRequest,
    Size,
    VideoRequest,
)
from genway.providers.base import (
    Failed,
    Finished,
    OutcomeUnknown,
    ProviderError,
    ResultFile,
    Running,
    VendorDown,
    VendorKeyRefused,
    VendorLost,
    VendorOutOfCredit,
    VendorRefused,
)
from genway.providers.pika_compat import PikaCompat
from providers.stage import CLIP, END, PHOTO, HandedIn, Make
from standins.pika_vendor import PikaVendor

PARAMETERS = {"guidanceScale": 12, "motion": 1, "negativePrompt": ""}
OPTIONS: dict[str, Any] = {"frameRate": 24, "camera": {}, "parameters": PARAMETERS, "extend": False}
MIRROR = {"options": {"format": "mirror"}}


@pytest.fixture
async def vendor() -> AsyncIterator[PikaVendor]:
    async with PikaVendor() as running:
        yield running


def video(**changes: Any) -> VideoRequest:
    return VideoRequest(**{"model": "pika/1.5", "prompt": "a whale", **changes})


def page(**changes: Any) -> dict[str, Any]:
    options = OPTIONS | changes.pop("options", {})
    body = {"prompt": "a whale", "model": 1.5, "ratio": "16:9", "duration": 5, "resolution": "720p", "sfx": False}
    return body | {"options": options} | changes


def mirrored(**changes: Any) -> dict[str, Any]:
    options = OPTIONS | {"aspectRatio": 16 / 9} | changes.pop("options", {})
    body = {"promptText": "a whale", "model": "1.5", "pikaffect": "", "duration": 5, "resolution": "720p", "sfx": False}
    return body | {"options": {name: value for name, value in options.items() if value is not None}} | changes


CAMERA = Camera(pan=-6, tilt=4, roll=2, zoom=-1)
WORDS = {"pan": "left", "tilt": "up", "rotate": "cw", "zoom": "out"}
DETAILED = video(camera=CAMERA, guidance=0.5, seed=7, negative_prompt="rain", audio=True, seconds=10, size=Size(1080, 1920))
SAID = {"camera": WORDS, "parameters": {"guidanceScale": 15.0, "motion": 2, "negativePrompt": "rain", "seed": 7}}

PAGE: dict[str, tuple[AnyOperation, dict[str, Any]]] = {
    "text": (video(), page()),
    "text with everything": (
        DETAILED,
        page(duration=10, resolution="1080p", sfx=True, ratio="9:16", options=SAID),
    ),
    "first and last": (video(first_frame=PHOTO, last_frame=END), page(image=PHOTO.url, last_image=END.url)),
    "effect": (
        EffectRequest(model="pika/1.5", effect="Melt", pictures=(PHOTO,), prompt="a whale"),
        page(style="Melt", image=PHOTO.url),
    ),
    "restyle": (
        RestyleRequest(model="pika/1.5", video=CLIP, prompt="a whale", style="Anime", size=Size(1280, 720)),
        page(style="Anime", video=CLIP.url),
    ),
    "extend": (
        ExtendRequest(model="pika/1.5", parent=Parent(task_id="task-0", result=CLIP), prompt="a whale"),
        page(video=CLIP.url, options={"extend": True}),
    ),
}
MIRRORED: dict[str, tuple[AnyOperation, dict[str, Any]]] = {
    "text": (video(), mirrored()),
    "a picture": (video(first_frame=PHOTO), mirrored(image=PHOTO.url, options={"aspectRatio": None})),
    "ingredients": (video(references=(PHOTO, END)), mirrored(ingredients=[PHOTO.url, END.url])),
    "effect": (
        EffectRequest(model="pika/1.5", effect="Melt", pictures=(PHOTO,), prompt="a whale"),
        mirrored(pikaffect="Melt", image=PHOTO.url, options={"aspectRatio": None}),
    ),
}


@pytest.mark.parametrize("case", PAGE)
async def test_each_operation_becomes_the_page_s_body(case: str, vendor: PikaVendor, make: Make, handed_in: HandedIn) -> None:
    operation, body = PAGE[case]
    provider = make(PikaCompat)
    assert provider.refusal(operation) is None
    submitted = await provider.submit(handed_in(provider, operation))
    [seen] = vendor.accepted
    assert (seen.path, seen.body, seen.task_id) == ("/pika/pro/generate", body, submitted.vendor_id)


@pytest.mark.parametrize("case", MIRRORED)
async def test_each_operation_becomes_the_mirror_s_body(case: str, vendor: PikaVendor, make: Make, handed_in: HandedIn) -> None:
    operation, body = MIRRORED[case]
    provider = make(PikaCompat, **MIRROR)
    assert provider.refusal(operation) is None
    submitted = await provider.submit(handed_in(provider, operation))
    [seen] = vendor.accepted
    assert (seen.path, seen.body, seen.task_id) == ("/pika/generate", body, submitted.vendor_id)


async def test_unknown_fields_of_the_same_format_go_along(vendor: PikaVendor, make: Make, handed_in: HandedIn) -> None:
    extra = {"mystery": 1, "duration": 99, "options": {"frameRate": 8, "parameters": {"motion": 3}}}
    provider = make(PikaCompat)
    await provider.submit(handed_in(provider, video(format="pika.pro", extra=extra)))
    body = vendor.accepted[0].body
    assert (body["mystery"], body["duration"], body["options"]["frameRate"]) == (1, 5, 8)
    assert body["options"]["parameters"] == {**PARAMETERS, "motion": 3}


REFUSALS: list[tuple[AnyOperation, dict[str, Any], str]] = [
    (video(model="pika/9"), {}, "pika_compat has no model pika/9"),
    (video(seconds=7), {}, "pika makes 5 or 10 seconds, got 7"),
    (video(camera=Camera(horizontal=1)), {}, "this dialect turns and zooms the camera"),
    (video(references=(PHOTO,)), {}, "this dialect takes no pictures of subjects; the mirror does"),
    (video(last_frame=END), MIRROR, "the mirror takes no last frame"),
    (video(style="anime"), MIRROR, "the mirror takes effects and no other words for a look"),
    (video(loop=True), {}, "this dialect makes one video"),
    (EffectRequest(model="pika/1.5", effect="Melt"), {}, "an effect is done on one picture"),
]


@pytest.mark.parametrize(("operation", "settings", "reason"), REFUSALS, ids=[reason for *_, reason in REFUSALS])
async def test_what_the_dialect_cannot_say_is_refused(
    operation: AnyOperation, settings: dict[str, Any], reason: str, vendor: PikaVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(PikaCompat, **settings)
    assert (provider.refusal(operation) or "").startswith(reason)
    with pytest.raises(VendorRefused):
        await provider.submit(handed_in(provider, operation))
    assert not vendor.accepted


async def test_the_page_s_task_is_followed_to_its_file(vendor: PikaVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(PikaCompat)
    submitted = await provider.submit(handed_in(provider, video()))
    answers = [await provider.check(submitted.vendor_id) for _ in range(3)]
    assert answers == [Running(), Running(), Finished((ResultFile("video", url=f"{vendor.url}/files/video.mp4"),))]


async def test_the_mirror_s_task_is_followed_to_its_files(vendor: PikaVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(PikaCompat, **MIRROR)
    submitted = await provider.submit(handed_in(provider, video()))
    answers = [await provider.check(submitted.vendor_id) for _ in range(3)]
    files = (
        ResultFile("video", url=f"{vendor.url}/files/video.mp4"),
        ResultFile("poster", url=f"{vendor.url}/files/poster.png"),
    )
    assert answers == [Running(), Running(0.45), Finished(files)]


@pytest.mark.parametrize("settings", [{}, MIRROR], ids=["page", "mirror"])
@pytest.mark.parametrize(("words", "code"), [("content moderation", "moderation"), ("the vendor is on fire", "vendor_error")])
async def test_a_failure_is_told_with_its_reason(
    words: str, code: str, settings: dict[str, Any], vendor: PikaVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(PikaCompat, **settings)
    submitted = await provider.submit(handed_in(provider, video()))
    vendor.polls[submitted.vendor_id], vendor.end = 2, words
    assert await provider.check(submitted.vendor_id) == Failed(code, words)


@pytest.mark.parametrize("settings", [{}, MIRROR], ids=["page", "mirror"])
@pytest.mark.parametrize(
    ("refuse", "error"),
    [
        ((400, {"error": {"message": "the ratio is wrong"}}), VendorRefused),
        ((403, {"error": {"message": "insufficient_user_quota"}}), VendorOutOfCredit),
        ((200, {"code": 200, "data": {}}), OutcomeUnknown),
    ],
)
async def test_each_answer_to_a_submit_is_understood(
    refuse: Any,
    error: type[ProviderError],
    settings: dict[str, Any],
    vendor: PikaVendor,
    make: Make,
    handed_in: HandedIn,
) -> None:
    provider = make(PikaCompat, **settings)
    vendor.refuse = refuse
    with pytest.raises(error):
        await provider.submit(handed_in(provider, video()))


async def test_an_unknown_format_and_an_unknown_key_are_the_operator_s_matter(vendor: PikaVendor, make: Make) -> None:
    with pytest.raises(VendorDown, match="format: pro or mirror, got odd"):
        await make(PikaCompat, options={"format": "odd"}).check("x")
    with pytest.raises(VendorLost):
        await make(PikaCompat).check("x")


async def test_a_wrong_key_is_refused(make: Make, handed_in: HandedIn) -> None:
    provider = make(PikaCompat, secret="wrong")
    with pytest.raises(VendorKeyRefused):
        await provider.submit(handed_in(provider, video()))
