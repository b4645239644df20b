"""Luma's official API as upstream, against the stand-in over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from genway.dialects.luma import concepts as dialect_concepts
from genway.dialects.luma.models import STRENGTHS as DIALECT_STRENGTHS
from genway.operations import (
    AnyOperation,
    Camera,
    EffectRequest,
    ExtendRequest,
    ImageRequest,
    MediaRef,
    Parent,
    RestyleRequest,
    Size,
    SoundRequest,
    UpscaleRequest,
    VideoRequest,
)
from genway.providers._luma_models import STRENGTHS, concepts
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
from genway.providers.luma import Luma
from providers.stage import CLIP, END, PHOTO, HandedIn, Make
from standins.files import FakeFiles
from standins.luma_vendor import LumaVendor

EARLIER = Parent("task-0", vendor_id="gen-0")
OFFICIAL = "luma.official"


@pytest.fixture
async def vendor() -> AsyncIterator[LumaVendor]:
    async with LumaVendor() as running:
        yield running


def video(**changes: Any) -> VideoRequest:
    return VideoRequest(**{"model": "luma/ray-2", "prompt": "a cat", **changes})


def sent(**changes: Any) -> dict[str, Any]:
    usual = {"model": "ray-2", "prompt": "a cat", "aspect_ratio": "16:9", "loop": False, "duration": "5s", "resolution": "720p"}
    return {**usual, **changes}


def image(ref: MediaRef) -> dict[str, Any]:
    return {"type": "image", "url": ref.url}


BODIES: dict[str, tuple[AnyOperation, str, dict[str, Any]]] = {
    "text": (video(seed=7), "/video", sent()),
    "a first and a last picture": (
        video(first_frame=PHOTO, last_frame=END, seconds=9, size=Size(1080, 1920)),
        "/video",
        sent(aspect_ratio="9:16", duration="9s", resolution="1080p", keyframes={"frame0": image(PHOTO), "frame1": image(END)}),
    ),
    "a picture alone": (
        video(prompt="", first_frame=PHOTO, loop=True),
        "/video",
        {name: value for name, value in sent(loop=True, keyframes={"frame0": image(PHOTO)}).items() if name != "prompt"},
    ),
    "the size of another format": (video(size=Size(1280, 768)), "/video", sent()),
    "a camera motion": (
        video(camera=Camera(zoom=3, roll=-2, background_pan_x=9), style="noir"),
        "/video",
        sent(
            prompt="a cat The background drifts quickly right behind the subject. Style: noir.",
            concepts=[{"key": "push_in"}, {"key": "roll_right"}],
        ),
    ),
    "a camera motion for a model without concepts": (
        video(model="luma/ray-1-6", camera=Camera(zoom=3)),
        "/video",
        {"model": "ray-1-6", "prompt": "a cat The camera slowly zooms in.", "aspect_ratio": "16:9", "loop": False},
    ),
    "a request of Luma's own format": (
        video(
            format=OFFICIAL,
            camera=Camera(zoom=5),
            style="handheld camera",
            extra={
                "concepts": [{"key": "zoom_in"}, {"key": "handheld"}],
                "hdr": True,
                "duration": "60s",
                "generation_type": "video",
            },
        ),
        "/video",
        sent(concepts=[{"key": "zoom_in"}, {"key": "handheld"}], hdr=True),
    ),
    "more of an earlier video": (
        ExtendRequest(model="luma/ray-2", parent=EARLIER, prompt="a cat", last_frame=END),
        "/video",
        sent(keyframes={"frame0": {"type": "generation", "id": "gen-0"}, "frame1": image(END)}),
    ),
    "a beginning for an earlier video": (
        ExtendRequest(model="luma/ray-2", parent=EARLIER, prompt="a cat", before=True, first_frame=PHOTO),
        "/video",
        sent(keyframes={"frame0": image(PHOTO), "frame1": {"type": "generation", "id": "gen-0"}}),
    ),
    "a picture": (
        ImageRequest(model="luma/photon-1", prompt="a cat", references=(PHOTO, END), style="noir"),
        "/image",
        {
            "model": "photon-1",
            "prompt": "a cat Style: noir.",
            "aspect_ratio": "1:1",
            "image_ref": [{"url": PHOTO.url}, {"url": END.url}],
        },
    ),
    "a picture with references of every kind": (
        ImageRequest(
            model="luma/photon-flash-1",
            format=OFFICIAL,
            prompt="a cat",
            size=Size(1920, 1080),
            references=(PHOTO, END, PHOTO, END),
            extra={
                "generation_type": "image",
                "format": "png",
                "roles": [
                    {"role": "style_ref", "weight": 0.8},
                    {"role": "character_ref", "identity": "identity0"},
                    {"role": "character_ref", "identity": "identity0"},
                    {"role": "modify_image_ref", "weight": 1.0},
                ],
            },
        ),
        "/image",
        {
            "model": "photon-flash-1",
            "prompt": "a cat",
            "aspect_ratio": "16:9",
            "style_ref": [{"url": PHOTO.url, "weight": 0.8}],
            "character_ref": {"identity0": {"images": [END.url, PHOTO.url]}},
            "modify_image_ref": {"url": END.url, "weight": 1.0},
            "format": "png",
        },
    ),
    "a picture of another shape": (
        ImageRequest(
            model="luma/photon-1",
            format=OFFICIAL,
            references=(PHOTO,),
            size=Size(1080, 1920),
            extra={"generation_type": "reframe_image", "x_start": 3},
        ),
        "/image/reframe",
        {
            "model": "photon-1",
            "aspect_ratio": "9:16",
            "media": {"url": PHOTO.url},
            "generation_type": "reframe_image",
            "x_start": 3,
        },
    ),
    "a video in another look": (
        RestyleRequest(model="luma/ray-2", video=CLIP, prompt="in clay", strength=0.42),
        "/video/modify",
        {
            "model": "ray-2",
            "prompt": "in clay",
            "media": {"url": CLIP.url},
            "mode": "flex_1",
            "generation_type": "modify_video",
        },
    ),
    "a video of another shape": (
        RestyleRequest(
            model="luma/ray-flash-2",
            format=OFFICIAL,
            video=CLIP,
            references=(PHOTO,),
            size=Size(720, 720),
            extra={"generation_type": "reframe_video"},
        ),
        "/video/reframe",
        {
            "model": "ray-flash-2",
            "aspect_ratio": "1:1",
            "media": {"url": CLIP.url},
            "first_frame": {"url": PHOTO.url},
            "generation_type": "reframe_video",
        },
    ),
    "a larger video": (
        UpscaleRequest(model="luma/ray-2", parent=EARLIER, factor=3),
        "/gen-0/upscale",
        {"resolution": "4k", "generation_type": "upscale_video"},
    ),
    "a larger video of a named resolution": (
        UpscaleRequest(
            model="luma/ray-2",
            format=OFFICIAL,
            parent=EARLIER,
            factor=2,
            extra={"resolution": "1080p", "generation_type": "upscale_video"},
        ),
        "/gen-0/upscale",
        {"resolution": "1080p", "generation_type": "upscale_video"},
    ),
    "a video with sound": (
        SoundRequest(model="luma/ray-2", parent=EARLIER, prompt="purring", negative_prompt="music"),
        "/gen-0/audio",
        {"prompt": "purring", "negative_prompt": "music", "generation_type": "add_audio"},
    ),
}


async def begin(vendor: LumaVendor, provider: Provider, handed_in: HandedIn, operation: AnyOperation | None = None) -> str:
    submitted = await provider.submit(handed_in(provider, operation or video()))
    return str(getattr(submitted, "vendor_id", ""))


@pytest.mark.parametrize("case", BODIES)
async def test_each_operation_becomes_the_vendors_body(case: str, vendor: LumaVendor, make: Make, handed_in: HandedIn) -> None:
    operation, path, body = BODIES[case]
    provider = make(Luma)
    if operation.continues:
        earlier = await begin(vendor, provider, handed_in)
        vendor.tasks["gen-0"] = vendor.tasks[earlier]
    assert provider.refusal(operation) is None
    vendor_id = await begin(vendor, provider, handed_in, operation)
    seen = vendor.accepted[-1]
    assert (seen.path.removeprefix("/dream-machine/v1/generations"), seen.body) == (path, body)
    assert vendor_id == seen.task_id


REFUSED: dict[str, tuple[AnyOperation, str]] = {
    "a negative prompt": (video(negative_prompt="rain"), "luma takes no negative prompt for a video"),
    "references": (video(references=(PHOTO,)), "luma takes a first and a last picture for a video and no others"),
    "a sequence": (video(sequence=(PHOTO, END)), "luma takes a first and a last picture for a video and no others"),
    "sound at once": (video(audio=True), "luma gives sound to a finished video only"),
    "a quality": (video(quality="pro"), "luma has no quality pro"),
    "several videos": (video(count=2), "luma makes one video at once, got 2"),
    "a guidance": (video(guidance=0.5), "luma cannot be told how closely to keep to the prompt"),
    "ten seconds": (video(seconds=10), "ray-2 makes 5 or 9 seconds, got 10"),
    "nine seconds of the old model": (video(model="luma/ray-1-6", seconds=9), "ray-1-6 makes 5 seconds, got 9"),
    "nothing at all": (video(prompt=""), "luma needs a prompt where there is no picture"),
    "a short prompt": (video(prompt="ab"), "luma takes a prompt of 3 to 5000 characters, got 2"),
    "a loop with an end": (
        video(loop=True, last_frame=END),
        "luma makes no loop that has a last frame, or goes before another video",
    ),
    "a picture by a video model": (ImageRequest(model="luma/ray-2", prompt="a cat"), "ray-2 makes no image"),
    "a video by a picture model": (video(model="luma/photon-1"), "photon-1 makes no video"),
    "several pictures": (ImageRequest(model="luma/photon-1", prompt="cat", count=2), "luma makes one picture at once, got 2"),
    "many references": (
        ImageRequest(model="luma/photon-1", prompt="cat", references=(PHOTO,) * 5),
        "luma takes 4 reference pictures, got 5",
    ),
    "somebody else's video": (
        ExtendRequest(model="luma/ray-2", parent=Parent("task-0"), prompt="on and on"),
        "luma extends its own generations only",
    ),
    "a clip to enlarge": (UpscaleRequest(model="luma/ray-2", video=CLIP), "luma does upscale to its own generations only"),
    "music": (SoundRequest(model="luma/ray-2", parent=EARLIER, music_prompt="jazz"), "luma cannot be asked for music"),
    "references of a restyling": (
        RestyleRequest(model="luma/ray-2", video=CLIP, prompt="clay", references=(PHOTO,)),
        "luma takes a changed first picture of the video and no references",
    ),
    "a restyling by the old model": (RestyleRequest(model="luma/ray-1-6", video=CLIP), "ray-1-6 changes no videos"),
    "an effect": (EffectRequest(model="luma/ray-2", effect="hug"), "luma does not do effect"),
    "another model": (video(model="runway/gen4"), "luma has no model runway/gen4"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_luma_cannot_do_is_refused_before_anything_is_sent(
    case: str, vendor: LumaVendor, make: Make, handed_in: HandedIn
) -> None:
    operation, why = REFUSED[case]
    provider = make(Luma)
    assert provider.refusal(operation) == why
    if operation.model in provider.models:
        with pytest.raises(VendorRefused):
            await provider.submit(handed_in(provider, operation))
    assert vendor.submits == []


async def test_a_model_that_replaces_another_is_taken_to_be_like_it(
    vendor: LumaVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(Luma)
    provider.models = {**provider.models, "luma/ray-2": "ray-flash-2"}
    assert provider.refusal(video(seconds=10)) == "ray-flash-2 makes 5 or 9 seconds, got 10"
    await begin(vendor, provider, handed_in)
    assert vendor.accepted[0].body["model"] == "ray-flash-2"


async def test_a_video_is_followed_to_its_end(vendor: LumaVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(Luma)
    vendor_id = await begin(vendor, provider, handed_in)
    seen = [await provider.check(vendor_id) for _ in range(3)]
    assert seen[:2] == [Running(), Running()]
    done = seen[2]
    assert isinstance(done, Finished)
    assert [file.role for file in done.files] == ["video", "poster"]
    assert str(done.files[0].url).startswith(f"{vendor.url}/files/{vendor_id}/video.mp4")


async def test_a_picture_is_an_image(vendor: LumaVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(Luma)
    vendor_id = await begin(vendor, provider, handed_in, ImageRequest(model="luma/photon-1", prompt="a cat"))
    for _ in range(2):
        await provider.check(vendor_id)
    done = await provider.check(vendor_id)
    assert isinstance(done, Finished)
    assert [file.role for file in done.files] == ["image"]


@pytest.mark.parametrize(
    ("fault", "reason", "code"),
    [
        ("fail_moderation", "", "moderation"),
        ("fail_output", "Contains blacklisted words", "moderation"),
        ("fail_output", "Advanced prompt moderation failed", "moderation"),
        ("fail_output", "Failed to read user input frames", "invalid_request"),
        ("fail_output", "Prompt processing failed", "vendor_error"),
    ],
)
async def test_a_failure_has_its_reason(
    fault: str, reason: str, code: str, vendor: LumaVendor, make: Make, handed_in: HandedIn
) -> None:
    vendor.fault(fault)
    vendor.reason = reason or vendor.reason
    provider = make(Luma)
    vendor_id = await begin(vendor, provider, handed_in)
    for _ in range(2):
        await provider.check(vendor_id)
    assert await provider.check(vendor_id) == Failed(code, reason or "Frame moderation failed")


@pytest.mark.parametrize(
    ("fault", "error", "accepted"),
    [
        ("throttled", VendorBusy, 0),
        ("moderated", VendorModerated, 0),
        ("out_of_credit", VendorOutOfCredit, 0),
        ("bad_key", VendorKeyRefused, 0),
        ("error", OutcomeUnknown, 0),
        ("dropped", OutcomeUnknown, 0),
        ("lost", OutcomeUnknown, 1),
        ("accepted_error", OutcomeUnknown, 1),
        ("garbage", OutcomeUnknown, 1),
        ("no_id", OutcomeUnknown, 1),
    ],
)
async def test_a_submit_that_goes_wrong_says_what_is_known(
    fault: str, error: type[ProviderError], accepted: int, vendor: LumaVendor, make: Make, handed_in: HandedIn
) -> None:
    vendor.fault(fault)
    provider = make(Luma)
    with pytest.raises(error) as raised:
        await begin(vendor, provider, handed_in)
    assert raised.type is error
    assert (len(vendor.submits), len(vendor.accepted)) == (1, accepted)
    assert raised.value.retry_after == (7 if fault == "throttled" else None)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("poll_error", VendorDown),
        ("poll_throttled", VendorBusy),
        ("poll_garbage", VendorDown),
        ("poll_odd", VendorDown),
        ("poll_missing", VendorLost),
    ],
)
async def test_a_poll_that_goes_wrong_changes_nothing(
    fault: str, error: type[ProviderError], vendor: LumaVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(Luma)
    vendor_id = await begin(vendor, provider, handed_in)
    vendor.fault(fault)
    with pytest.raises(error):
        await provider.check(vendor_id)
    assert await provider.check(vendor_id) == Running()


async def test_work_on_a_generation_that_luma_has_forgotten_is_refused(
    vendor: LumaVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(Luma)
    with pytest.raises(VendorRefused, match="Generation not found"):
        await begin(vendor, provider, handed_in, UpscaleRequest(model="luma/ray-2", parent=EARLIER, factor=2))


async def test_cancelling_deletes_the_generation_and_may_be_repeated(
    vendor: LumaVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(Luma)
    vendor_id = await begin(vendor, provider, handed_in)
    await provider.cancel(vendor_id)
    await provider.cancel(vendor_id)
    assert vendor.tasks == {}
    with pytest.raises(VendorLost):
        await provider.check(vendor_id)


async def test_the_channels_test_tells_the_balance_or_what_is_wrong(vendor: LumaVendor, make: Make) -> None:
    vendor.settings.credits = 12345
    assert await make(Luma).test() == "the key is good; 123.45 USD left"
    with pytest.raises(VendorKeyRefused):
        await make(Luma, secret="wrong").test()


async def test_a_file_of_ours_goes_as_a_link(vendor: LumaVendor, make: Make, handed_in: HandedIn) -> None:
    provider, files = make(Luma), FakeFiles({"med_1": 10})
    await provider.submit(handed_in(provider, video(first_frame=MediaRef(media_id="med_1")), files))
    assert vendor.accepted[0].body["keyframes"]["frame0"]["url"] == "https://genway.example/media/med_1"


@pytest.mark.parametrize("key", [key for key in dialect_concepts.MOTIONS if key not in {"zoom_in", "zoom_out"}])
def test_a_concept_becomes_a_motion_and_the_same_concept_again(key: str) -> None:
    assert concepts(dialect_concepts.camera([key])) == (key,)


@pytest.mark.parametrize(
    ("camera", "keys"),
    [
        (Camera(), ()),
        (Camera(horizontal=2, vertical=-9), ("truck_right", "pedestal_down")),
        (Camera(horizontal=4, pan=4), ("truck_right", "pan_right")),
        (Camera(zoom=-1, background_pan_y=5), ("pull_out",)),
        (Camera(vertical=3, tilt=-3, pan=-3, roll=1), ("crane_up", "pan_left", "roll_left")),
    ],
)
def test_a_motion_becomes_the_concepts_for_it(camera: Camera, keys: tuple[str, ...]) -> None:
    assert concepts(camera) == keys


def test_a_mode_becomes_a_strength_and_the_same_mode_again() -> None:
    assert STRENGTHS == DIALECT_STRENGTHS
