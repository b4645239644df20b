"""Runway's official API as upstream, against the stand-in over a real socket."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from genway.operations import (
    AnyOperation,
    Camera,
    ImageRequest,
    PerformanceRequest,
    RestyleRequest,
    Size,
    UpscaleRequest,
    VideoRequest,
)
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
    VendorOutOfCredit,
    VendorRefused,
)
from genway.providers.runwayml import INLINE_BYTES, Runwayml
from providers.stage import CLIP, END, OURS, PHOTO, HandedIn, Make
from standins.files import FakeFiles
from standins.runway_vendor import RunwayVendor, Settings

WIDE = Size(1280, 720)
TALL = Size(720, 1280)


def video(**changes: Any) -> VideoRequest:
    return VideoRequest(**{"model": "runway/gen4_turbo", "prompt": "a cat", "first_frame": PHOTO, "size": WIDE, **changes})


BODIES: dict[str, tuple[AnyOperation, str, dict[str, Any]]] = {
    "a picture into a video": (
        video(seed=7),
        "/v1/image_to_video",
        {"model": "gen4_turbo", "promptImage": PHOTO.url, "promptText": "a cat", "ratio": "1280:720", "duration": 5, "seed": 7},
    ),
    "gen3 is made by gen3a_turbo": (
        video(model="runway/gen3", seconds=10, size=Size(768, 1280)),
        "/v1/image_to_video",
        {"model": "gen3a_turbo", "promptImage": PHOTO.url, "promptText": "a cat", "ratio": "768:1280", "duration": 10},
    ),
    "a first and a last picture": (
        video(model="runway/veo3.1", last_frame=END, seconds=8, audio=True, negative_prompt="rain", size=Size(1080, 1920)),
        "/v1/image_to_video",
        {
            "model": "veo3.1",
            "promptImage": [{"uri": PHOTO.url, "position": "first"}, {"uri": END.url, "position": "last"}],
            "promptText": "a cat",
            "ratio": "1080:1920",
            "duration": 8,
            "audio": True,
            "negativePrompt": "rain",
        },
    ),
    "a last picture alone": (
        video(model="runway/gen3", first_frame=None, last_frame=END),
        "/v1/image_to_video",
        {
            "model": "gen3a_turbo",
            "promptImage": [{"uri": END.url, "position": "last"}],
            "promptText": "a cat",
            "ratio": "1280:768",
            "duration": 5,
        },
    ),
    "text into a video": (
        video(model="runway/gen4.5", first_frame=None, seconds=7),
        "/v1/text_to_video",
        {"model": "gen4.5", "promptText": "a cat", "ratio": "1280:720", "duration": 7},
    ),
    "a camera motion in words": (
        video(camera=Camera(zoom=4, pan=-2, background_pan_x=9), style="noir"),
        "/v1/image_to_video",
        {
            "model": "gen4_turbo",
            "promptImage": PHOTO.url,
            "promptText": "a cat The camera zooms in and slowly pans left, the background drifts quickly right behind "
            "the subject. Style: noir.",
            "ratio": "1280:720",
            "duration": 5,
        },
    ),
    "a video restyled": (
        RestyleRequest(model="runway/gen4", video=CLIP, prompt="in clay", references=(PHOTO,), size=Size(1280, 768), seed=3),
        "/v1/video_to_video",
        {
            "model": "gen4_aleph",
            "videoUri": CLIP.url,
            "promptText": "in clay",
            "ratio": "1280:720",
            "references": [{"type": "image", "uri": PHOTO.url}],
            "seed": 3,
        },
    ),
    "a video restyled by a model of another maker": (
        RestyleRequest(model="runway/seedance2", video=CLIP, prompt="in clay", references=(PHOTO,), size=WIDE),
        "/v1/video_to_video",
        {
            "model": "seedance2",
            "promptVideo": CLIP.url,
            "promptText": "in clay",
            "ratio": "1280:720",
            "duration": 5,
            "references": [{"uri": PHOTO.url}],
        },
    ),
    "pictures": (
        ImageRequest(
            model="runway/gemini_image3_pro", prompt="a cat", count=4, references=(PHOTO, END), reference_tags=("cat",)
        ),
        "/v1/text_to_image",
        {
            "model": "gemini_image3_pro",
            "promptText": "a cat",
            "ratio": "1024:1024",
            "outputCount": 4,
            "referenceImages": [{"uri": PHOTO.url, "tag": "cat"}, {"uri": END.url}],
        },
    ),
    "a picture without references": (
        ImageRequest(model="runway/gen4_image", prompt="a cat", size=Size(1920, 1080), seed=1),
        "/v1/text_to_image",
        {"model": "gen4_image", "promptText": "a cat", "ratio": "1920:1080", "seed": 1},
    ),
    "a larger video": (
        UpscaleRequest(model="runway/upscale_v1", video=CLIP),
        "/v1/video_upscale",
        {"model": "upscale_v1", "videoUri": CLIP.url},
    ),
    "a performance": (
        PerformanceRequest(
            model="runway/act_two", performance=CLIP, character=PHOTO, intensity=4, body_control=True, size=TALL, seed=9
        ),
        "/v1/character_performance",
        {
            "model": "act_two",
            "character": {"type": "image", "uri": PHOTO.url},
            "reference": {"type": "video", "uri": CLIP.url},
            "ratio": "720:1280",
            "expressionIntensity": 4,
            "bodyControl": True,
            "seed": 9,
        },
    ),
}


@pytest.mark.parametrize("case", BODIES)
async def test_each_operation_becomes_the_vendors_body(
    case: str, vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    operation, path, body = BODIES[case]
    provider = make(Runwayml)
    assert provider.refusal(operation) is None
    submitted = await provider.submit(handed_in(provider, operation))
    [seen] = vendor.accepted
    assert (seen.path, seen.body) == (path, body)
    kind = "image" if isinstance(operation, ImageRequest) else "video"
    assert submitted.vendor_id == f"{kind}:{seen.task_id}"


async def test_a_task_is_followed_to_its_end(vendor: RunwayVendor, make: Make, handed_in: HandedIn) -> None:
    vendor.settings = Settings(
        steps=(
            "PENDING",
            "THROTTLED",
            "RUNNING",
            "SUCCEEDED",
        )
    )
    provider = make(Runwayml)
    submitted = await provider.submit(handed_in(provider, video()))
    seen = [await provider.check(submitted.vendor_id) for _ in range(4)]
    assert seen[:3] == [Running(), Running(), Running(0.5)]
    task_id = submitted.vendor_id.removeprefix("video:")
    assert seen[3] == Finished((ResultFile("video", url=f"{vendor.url}/files/{task_id}/video.mp4?_jwt=1"),))


async def test_every_picture_of_an_image_task_is_a_result(vendor: RunwayVendor, make: Make, handed_in: HandedIn) -> None:
    vendor.settings = Settings(steps=("SUCCEEDED",))
    provider = make(Runwayml)
    operation = ImageRequest(model="runway/gemini_image3_pro", prompt="a cat", count=4)
    finished = await provider.check((await provider.submit(handed_in(provider, operation))).vendor_id)
    assert isinstance(finished, Finished)
    assert [file.role for file in finished.files] == ["image"] * 4


async def test_results_can_be_fetched_again_when_their_links_have_died(
    vendor: RunwayVendor, make: Make, handed_in: HandedIn, http: aiohttp.ClientSession
) -> None:
    vendor.settings = Settings(steps=("SUCCEEDED",))
    vendor.fault("expired_links")
    provider = make(Runwayml)
    submitted = await provider.submit(handed_in(provider, video()))
    statuses = []
    for _ in range(2):
        finished = await provider.check(submitted.vendor_id)
        assert isinstance(finished, Finished)
        async with http.get(str(finished.files[0].url)) as response:
            statuses.append(response.status)
    assert statuses == [403, 200]


REFUSALS: list[tuple[AnyOperation, str]] = [
    (video(model="runway/gen9"), "runwayml has no model runway/gen9"),
    (video(first_frame=None), "gen4_turbo does not make a video from text alone"),
    (video(last_frame=END), "gen4_turbo takes a picture to begin with and none to end with"),
    (
        video(model="runway/veo3.1", first_frame=None, last_frame=END, seconds=8),
        "veo3.1 takes a picture to end with only beside one to begin with",
    ),
    (video(model="runway/gen3", seconds=7), "gen3a_turbo makes 5 or 10 seconds, got 7"),
    (video(seconds=5.5), "gen4_turbo makes whole seconds, got 5.5"),
    (
        video(model="runway/gen3", size=Size(1024, 1024)),
        "gen3a_turbo has no ratio that lies like 1024x1024; it has 1280:768, 768:1280",
    ),
    (video(model="runway/gen3", prompt=""), "gen3a_turbo needs a prompt"),
    (video(prompt="é" * 1001), "the prompt has 1001 characters; gen4_turbo takes 1000"),
    (
        video(prompt="x" * 990, camera=Camera(zoom=5)),
        "the prompt with camera motion and style in words has 1011 characters; gen4_turbo takes 1000",
    ),
    (video(audio=True), "gen4_turbo cannot be asked for sound"),
    (video(negative_prompt="rain"), "gen4_turbo takes no negative prompt"),
    (video(references=(END,)), "gen4_turbo takes no reference pictures, got 1"),
    (RestyleRequest(model="runway/gen4_turbo", video=CLIP, prompt="x"), "gen4_turbo does not restyle a video"),
    (RestyleRequest(model="runway/gen4", video=CLIP), "gen4_aleph needs a prompt"),
    (ImageRequest(model="runway/gen4_image_turbo", prompt="x"), "gen4_image_turbo needs at least 1 reference picture, got 0"),
    (ImageRequest(model="runway/gen4_image", prompt="x", count=2), "gen4_image makes 1 at once, not 2 pictures"),
    (
        ImageRequest(model="runway/gemini_image3_pro", prompt="x", count=2),
        "gemini_image3_pro makes 1 or 4 at once, not 2 pictures",
    ),
    (ImageRequest(model="runway/gpt_image_2", prompt="x", count=11), "gpt_image_2 makes 1 to 10 at once, not 11 pictures"),
    (video(model="runway/veo3.1", seconds=5), "veo3.1 makes 4, 6 or 8 seconds, got 5"),
    (UpscaleRequest(model="runway/upscale_v1", video=CLIP, factor=2), "upscale_v1 makes each side 4 times as long, got 2"),
    (UpscaleRequest(model="runway/enhance_frame_rate", video=CLIP), "enhance_frame_rate needs targetFramerate"),
    (
        PerformanceRequest(model="runway/act_two", performance=CLIP, character=PHOTO, intensity=6),
        "act_two takes an intensity of 1, 2, 3, 4 or 5, got 6",
    ),
]


@pytest.mark.parametrize(("operation", "reason"), REFUSALS, ids=[reason for _, reason in REFUSALS])
def test_what_a_model_cannot_do_is_refused_with_the_reason(operation: AnyOperation, reason: str, make: Make) -> None:
    assert make(Runwayml).refusal(operation) == reason


async def test_an_alias_that_leads_to_a_model_which_cannot_is_refused_without_a_call(
    vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(Runwayml)
    with pytest.raises(VendorRefused, match="upscale_v1 does not make a video from a picture"):
        await provider.submit(handed_in(provider, video(), model="upscale_v1"))
    assert vendor.submits == []


@pytest.mark.parametrize(
    ("ours", "ratio"),
    [("runway/gen4_turbo", "1104:832"), ("runway/gen7", "1000:750")],
    ids=["in the place of a known one", "under a name of its own"],
)
async def test_a_channel_may_name_a_model_that_is_newer_than_we_are(
    ours: str, ratio: str, vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(Runwayml)
    provider.models = {**provider.models, ours: "gen7"}
    operation = video(model=ours, size=Size(1000, 750))
    assert provider.refusal(operation) is None
    await provider.submit(handed_in(provider, operation))
    assert (vendor.accepted[0].body["model"], vendor.accepted[0].body["ratio"]) == ("gen7", ratio)


@pytest.mark.parametrize(
    ("model", "size", "ratio"),
    [
        ("gen4_turbo", Size(1920, 1080), "1280:720"),
        ("gen4_turbo", Size(1024, 768), "1104:832"),
        ("gen4_turbo", Size(512, 512), "960:960"),
        ("gen4_turbo", Size(2560, 1080), "1584:672"),
        ("gen4_turbo", Size(1080, 1920), "720:1280"),
        ("gen3", Size(720, 1280), "768:1280"),
        ("seedance2", Size(3840, 2160), "3840:2160"),
        ("hailuo3", Size(1280, 720), "16:9"),
    ],
)
async def test_a_size_becomes_the_nearest_ratio_of_the_same_orientation(
    model: str, size: Size, ratio: str, vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(Runwayml)
    await provider.submit(handed_in(provider, video(model=f"runway/{model}", size=size)))
    assert vendor.accepted[0].body["ratio"] == ratio


async def test_unknown_fields_of_the_same_format_are_passed_on(vendor: RunwayVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(Runwayml)
    extra = {"contentModeration": {"publicFigureThreshold": "low"}, "model": "gen4.5", "duration": 10}
    await provider.submit(handed_in(provider, video(format="runwayml", extra=extra)))
    body = vendor.accepted[0].body
    assert body["contentModeration"] == {"publicFigureThreshold": "low"}
    assert (body["model"], body["duration"]) == ("gen4_turbo", 5), "the price was made from the operation"


async def test_unknown_fields_of_another_format_stay_here(vendor: RunwayVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(Runwayml)
    await provider.submit(handed_in(provider, video(format="runway.pro", extra={"contentModeration": {}}, style="cinematic")))
    assert "contentModeration" not in vendor.accepted[0].body
    assert vendor.accepted[0].body["promptText"] == "a cat", "the page's style is known to gen2 alone"


async def test_files_are_asked_for_as_https_or_within_the_vendors_inline_limit(
    vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(Runwayml)
    files = FakeFiles({"med_1": 1000})
    await provider.submit(handed_in(provider, video(first_frame=OURS), files))
    assert files.asked == [(OURS, INLINE_BYTES, True)]
    assert vendor.accepted[0].body["promptImage"] == "data:image/png;base64,med_1"
    assert INLINE_BYTES * 4 / 3 < 5_000_000


SUBMIT_FAULTS = {
    "throttled": (VendorBusy, 0),
    "shedding": (VendorDown, 0),
    "bad_gateway": (VendorDown, 0),
    "error": (OutcomeUnknown, 0),
    "moderated": (VendorModerated, 0),
    "out_of_credit": (VendorOutOfCredit, 0),
    "bad_key": (VendorKeyRefused, 0),
    "forbidden": (VendorKeyRefused, 0),
    "dropped": (OutcomeUnknown, 0),
    "accepted_error": (OutcomeUnknown, 1),
    "accepted_timeout": (OutcomeUnknown, 1),
    "lost": (OutcomeUnknown, 1),
    "garbage": (OutcomeUnknown, 1),
    "no_id": (OutcomeUnknown, 1),
}


@pytest.mark.parametrize("kind", SUBMIT_FAULTS)
async def test_each_fault_of_a_submit_says_what_is_known_of_the_work(
    kind: str, vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    error, accepted = SUBMIT_FAULTS[kind]
    vendor.fault(kind)
    provider = make(Runwayml)
    with pytest.raises(ProviderError) as raised:
        await provider.submit(handed_in(provider, video()))
    assert type(raised.value) is error
    assert (len(vendor.submits), len(vendor.accepted)) == (1, accepted), "nothing is sent twice"


async def test_an_answer_that_does_not_come_in_time_leaves_the_outcome_unknown(
    vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    vendor.fault("late")
    provider = make(Runwayml, timeout=0.3)
    with pytest.raises(OutcomeUnknown, match="gave no answer"):
        await provider.submit(handed_in(provider, video()))
    assert len(vendor.accepted) == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://nowhere.invalid", "not an address", "ftp://example.com"])
async def test_a_vendor_that_is_not_there_has_certainly_not_started(address: str, make: Make, handed_in: HandedIn) -> None:
    provider = make(Runwayml, base_url=address)
    with pytest.raises(VendorDown):
        await provider.submit(handed_in(provider, video()))


async def test_a_busy_vendor_says_when_to_come_back(vendor: RunwayVendor, make: Make, handed_in: HandedIn) -> None:
    vendor.fault("throttled", retry_after="42")
    provider = make(Runwayml)
    with pytest.raises(VendorBusy) as raised:
        await provider.submit(handed_in(provider, video()))
    assert raised.value.retry_after == 42


async def test_a_body_that_the_vendor_does_not_take_is_refused_in_its_own_words(
    vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(Runwayml)
    with pytest.raises(VendorRefused, match="unknown field `bogus`"):
        await provider.submit(handed_in(provider, video(format="runwayml", extra={"bogus": 1})))
    assert vendor.accepted == []


POLL_FAULTS = {
    "poll_error": VendorDown,
    "poll_shedding": VendorDown,
    "poll_throttled": VendorBusy,
    "poll_garbage": VendorDown,
    "poll_odd": VendorDown,
    "poll_lost": VendorDown,
    "poll_missing": VendorLost,
    "poll_late": VendorDown,
}


@pytest.mark.parametrize("kind", POLL_FAULTS)
async def test_a_poll_that_fails_tells_nothing_of_the_task(
    kind: str, vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(Runwayml, timeout=0.3)
    submitted = await provider.submit(handed_in(provider, video()))
    vendor.fault(kind, times=2 if kind == "poll_lost" else 1)  # a GET on a connection that was closed is repeated once
    with pytest.raises(POLL_FAULTS[kind]):
        await provider.check(submitted.vendor_id)
    vendor.release()
    assert isinstance(await provider.check(submitted.vendor_id), Running)


@pytest.mark.parametrize(
    ("kind", "code"),
    [("fail_moderation", "moderation"), ("fail_output", "vendor_error"), ("fail_cancelled", "vendor_error")],
)
async def test_a_failure_is_told_in_the_vendors_words(
    kind: str, code: str, vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    vendor.settings = Settings(steps=("SUCCEEDED",))
    vendor.fault(kind)
    provider = make(Runwayml)
    failed = await provider.check((await provider.submit(handed_in(provider, video()))).vendor_id)
    assert isinstance(failed, Failed)
    assert failed.code == code
    assert failed.message


async def test_cancelling_deletes_the_task_and_may_be_done_again(vendor: RunwayVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(Runwayml)
    submitted = await provider.submit(handed_in(provider, video()))
    await provider.cancel(submitted.vendor_id)
    assert vendor.tasks == {}
    await provider.cancel(submitted.vendor_id)
    with pytest.raises(VendorLost):
        await provider.check(submitted.vendor_id)


async def test_the_channels_test_tells_the_balance(vendor: RunwayVendor, make: Make) -> None:
    vendor.settings = Settings(credits=1234)
    assert await make(Runwayml).test() == "the key is good; 1234 credits left"
    with pytest.raises(VendorKeyRefused):
        await make(Runwayml, secret="key_of_somebody_else").test()


@pytest.mark.parametrize("kind", ["throttled", "shedding", "moderated", "out_of_credit", "forbidden"])
async def test_the_secret_is_in_no_error(kind: str, vendor: RunwayVendor, make: Make, handed_in: HandedIn) -> None:
    vendor.settings = Settings(echo_key=True)
    vendor.fault(kind)
    provider = make(Runwayml)
    with pytest.raises(ProviderError) as raised:
        await provider.submit(handed_in(provider, video()))
    assert "Bearer ***" in raised.value.message, "the vendor repeated the key"
    assert provider.channel.secret not in repr(raised.value)


async def test_an_unknown_outcome_cannot_be_looked_up(make: Make) -> None:
    assert await make(Runwayml).find("reference-1") is None
