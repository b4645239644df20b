"""Kling's API as upstream, against the stand-in over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import jwt
import pytest

from genway.operations import (
    AnyOperation,
    AvatarRequest,
    Camera,
    EffectRequest,
    ExtendRequest,
    ImageRequest,
    LipSyncRequest,
    MediaRef,
    Parent,
    PerformanceRequest,
    RestyleRequest,
    Size,
    SoundRequest,
    SpeechRequest,
    TryOnRequest,
    VideoRequest,
)
from genway.providers.base import (
    ChannelSettings,
    Failed,
    Finished,
    OutcomeUnknown,
    ProviderError,
    ResultFile,
    Running,
    Submission,
    Submitted,
    VendorBusy,
    VendorDown,
    VendorKeyRefused,
    VendorLost,
    VendorModerated,
    VendorOutOfCredit,
    VendorRefused,
)
from genway.providers.kling import Kling, Signer
from providers.stage import HandedIn
from standins.files import FakeFiles
from standins.kling_vendor import ACCESS, PLAIN_KEY, SECRET, KlingVendor

PHOTO, END, THIRD = (MediaRef(url=f"https://example.com/{name}.jpg") for name in ("photo", "end", "third"))
CLIP, VOICE = MediaRef(url="https://example.com/clip.mp4"), MediaRef(url="https://example.com/voice.mp3")
FULL, TALL = Size(1920, 1080), Size(720, 1280)
SIDES = {f"{side}_expansion_ratio": 0.2 for side in ("up", "down", "left", "right")}


@pytest.fixture
async def vendor() -> AsyncIterator[KlingVendor]:
    async with KlingVendor() as running:
        yield running


@pytest.fixture
def make(vendor: KlingVendor, http: aiohttp.ClientSession) -> Callable[..., Kling]:
    def build(**settings: Any) -> Kling:
        defaults: dict[str, Any] = {"name": "a", "base_url": vendor.url, "secret": f"{ACCESS}:{SECRET}", "timeout": 5.0}
        return Kling(ChannelSettings(**(defaults | settings)), http)

    return build


@pytest.fixture
def kling(make: Callable[..., Kling]) -> Kling:
    return make()


def video(**changes: Any) -> VideoRequest:
    return VideoRequest(**{"model": "kling/kling-v1-6", "prompt": "a boat", **changes})


def zooming(value: float) -> dict[str, Any]:
    config = dict.fromkeys(("horizontal", "vertical", "pan", "tilt", "roll"), 0.0)
    return {"type": "simple", "config": config | {"zoom": value}}


BODIES: dict[str, tuple[AnyOperation, str, dict[str, Any]]] = {
    "text into a video": (
        video(size=TALL, negative_prompt="rain", guidance=0.7, seconds=10, seed=3),
        "videos/text2video",
        {
            "model_name": "kling-v1-6",
            "prompt": "a boat",
            "negative_prompt": "rain",
            "cfg_scale": 0.7,
            "mode": "std",
            "aspect_ratio": "9:16",
            "duration": "10",
        },
    ),
    "a model without modes and guidance": (
        video(model="kling/kling-v2-master", guidance=0.5, quality="pro"),
        "videos/text2video",
        {"model_name": "kling-v2-master", "prompt": "a boat", "aspect_ratio": "16:9", "duration": "5"},
    ),
    "a large video is made in the better mode, with sound": (
        video(model="kling/kling-v2-6", size=FULL, audio=True),
        "videos/text2video",
        {
            "model_name": "kling-v2-6",
            "prompt": "a boat",
            "mode": "pro",
            "aspect_ratio": "16:9",
            "duration": "5",
            "sound": "on",
        },
    ),
    "pictures to begin and end with choose the mode that can": (
        video(first_frame=PHOTO, last_frame=END),
        "videos/image2video",
        {
            "model_name": "kling-v1-6",
            "prompt": "a boat",
            "mode": "pro",
            "duration": "5",
            "image": PHOTO.url,
            "image_tail": END.url,
        },
    ),
    "nearer is a negative zoom of the focal length": (
        video(model="kling/kling-v1", camera=Camera(zoom=5)),
        "videos/text2video",
        {
            "model_name": "kling-v1",
            "prompt": "a boat",
            "mode": "std",
            "aspect_ratio": "16:9",
            "duration": "5",
            "camera_control": zooming(-5.0),
        },
    ),
    "a preset": (
        video(model="kling/kling-v1", camera=Camera(vertical=-5, zoom=-5)),
        "videos/text2video",
        {
            "model_name": "kling-v1",
            "prompt": "a boat",
            "mode": "std",
            "aspect_ratio": "16:9",
            "duration": "5",
            "camera_control": {"type": "down_back"},
        },
    ),
    "a motion in words where there is no control for it": (
        video(camera=Camera(zoom=5, pan=-2), style="noir"),
        "videos/text2video",
        {
            "model_name": "kling-v1-6",
            "prompt": "a boat The camera zooms in and slowly pans left. Style: noir.",
            "mode": "std",
            "aspect_ratio": "16:9",
            "duration": "5",
        },
    ),
    "several things": (
        video(references=(PHOTO,), sequence=(END,)),
        "videos/multi-image2video",
        {
            "model_name": "kling-v1-6",
            "prompt": "a boat",
            "mode": "std",
            "aspect_ratio": "16:9",
            "duration": "5",
            "image_list": [{"image": PHOTO.url}, {"image": END.url}],
        },
    ),
    "an omni video": (
        video(model="kling/kling-video-o1", first_frame=PHOTO, references=(END,), seconds=3),
        "videos/omni-video",
        {
            "model_name": "kling-video-o1",
            "prompt": "a boat",
            "mode": "pro",
            "sound": "off",
            "duration": "3",
            "image_list": [{"image_url": PHOTO.url, "type": "first_frame"}, {"image_url": END.url}],
        },
    ),
    "a clip changed by words": (
        RestyleRequest(model="kling/kling-video-o1", video=CLIP, prompt="in clay"),
        "videos/omni-video",
        {
            "model_name": "kling-video-o1",
            "prompt": "in clay",
            "mode": "pro",
            "video_list": [{"video_url": CLIP.url, "refer_type": "base"}],
        },
    ),
    "lips to a text": (
        LipSyncRequest(model="kling/lip-sync", video=CLIP, text="hello", voice="v", language="en", speed=1.26),
        "videos/lip-sync",
        {
            "input": {
                "mode": "text2video",
                "video_url": CLIP.url,
                "text": "hello",
                "voice_id": "v",
                "voice_language": "en",
                "voice_speed": 1.3,
            }
        },
    ),
    "lips to a sound": (
        LipSyncRequest(model="kling/lip-sync", video=CLIP, sound=VOICE),
        "videos/lip-sync",
        {"input": {"mode": "audio2video", "video_url": CLIP.url, "audio_type": "url", "audio_url": VOICE.url}},
    ),
    "an avatar": (
        AvatarRequest(model="kling/avatar", picture=PHOTO, sound=VOICE, prompt="smiling", quality="pro"),
        "videos/avatar/image2video",
        {"image": PHOTO.url, "sound_file": VOICE.url, "prompt": "smiling", "mode": "pro"},
    ),
    "an effect on two people": (
        EffectRequest(model="kling/kling-v1-6", effect="hug", pictures=(PHOTO, END), seconds=10),
        "videos/effects",
        {"effect_scene": "hug", "input": {"model_name": "kling-v1-6", "duration": "10", "images": [PHOTO.url, END.url]}},
    ),
    "an effect on a picture": (
        EffectRequest(model="kling/kling-v1-6", effect="squish", pictures=(PHOTO,)),
        "videos/effects",
        {"effect_scene": "squish", "input": {"model_name": "kling-v1-6", "duration": "5", "image": PHOTO.url}},
    ),
    "a motion given to a picture": (
        PerformanceRequest(model="kling/kling-v2-6", performance=CLIP, character=PHOTO, seconds=30),
        "videos/motion-control",
        {
            "model_name": "kling-v2-6",
            "character_orientation": "video",
            "mode": "std",
            "image_url": PHOTO.url,
            "video_url": CLIP.url,
        },
    ),
    "pictures": (
        ImageRequest(model="kling/kling-v2-1", prompt="a puppy", references=(PHOTO,), size=Size(2048, 2048), count=4),
        "images/generations",
        {
            "model_name": "kling-v2-1",
            "prompt": "a puppy",
            "n": 4,
            "aspect_ratio": "1:1",
            "resolution": "2k",
            "image": PHOTO.url,
        },
    ),
    "a picture of several things": (
        ImageRequest(
            model="kling/kling-v2-1",
            prompt="all",
            references=(PHOTO, END, THIRD),
            reference_tags=("subject", "scene", "subject"),
        ),
        "images/multi-image2image",
        {
            "model_name": "kling-v2-1",
            "prompt": "all",
            "n": 1,
            "aspect_ratio": "1:1",
            "subject_image_list": [{"subject_image": PHOTO.url}, {"subject_image": THIRD.url}],
            "scene_image": END.url,
        },
    ),
    "a picture that goes on": (
        ImageRequest(model="kling/expand", format="kling", references=(PHOTO,), extra=SIDES),
        "images/editing/expand",
        {"n": 1, "image": PHOTO.url, **SIDES},
    ),
    "a garment": (
        TryOnRequest(model="kling/kolors-virtual-try-on-v1", person=PHOTO, garment=END),
        "images/kolors-virtual-try-on",
        {"model_name": "kolors-virtual-try-on-v1", "human_image": PHOTO.url, "cloth_image": END.url},
    ),
    "a sound from a text": (
        SoundRequest(model="kling/text-to-audio", prompt="rain", seconds=4.26),
        "audio/text-to-audio",
        {"prompt": "rain", "duration": 4.3},
    ),
    "a sound for a clip": (
        SoundRequest(model="kling/video-to-audio", video=CLIP, music_prompt="jazz"),
        "audio/video-to-audio",
        {"video_url": CLIP.url, "bgm_prompt": "jazz"},
    ),
}


@pytest.mark.parametrize(("operation", "path", "body"), BODIES.values(), ids=BODIES.keys())
async def test_an_operation_becomes_klings_request(
    kling: Kling, vendor: KlingVendor, handed_in: HandedIn, operation: AnyOperation, path: str, body: dict[str, Any]
) -> None:
    assert kling.refusal(operation) is None
    answer = await kling.submit(handed_in(kling, operation))
    assert vendor.submits == [(path, {**body, "external_task_id": "reference-1"})]
    assert answer == Submitted(f"{path}/840000000000000000")


async def test_what_a_client_of_the_same_format_says_besides_goes_along(
    kling: Kling, vendor: KlingVendor, handed_in: HandedIn
) -> None:
    masks = [{"mask": END.url, "trajectories": [{"x": 1, "y": 1}, {"x": 2, "y": 2}]}]
    extra = {"dynamic_masks": masks, "watermark_info": {"enabled": True}, "duration": "10"}
    await kling.submit(handed_in(kling, video(first_frame=PHOTO, format="kling", extra=extra)))
    body = vendor.submits[0][1]
    assert (body["dynamic_masks"], body["watermark_info"], body["duration"]) == (masks, {"enabled": True}, "5")
    await kling.submit(Submission("t", "reference-2", video(format="luma", extra={"loop": True}), "kling-v1-6", FakeFiles()))
    assert "loop" not in vendor.submits[1][1]


async def test_our_own_small_files_are_sent_as_bare_base64_and_clips_as_links(
    kling: Kling, vendor: KlingVendor, handed_in: HandedIn
) -> None:
    files = FakeFiles({"med_1": 1000})
    await kling.submit(handed_in(kling, video(first_frame=MediaRef(media_id="med_1")), files))
    assert vendor.submits[0][1]["image"] == "med_1"
    lips = LipSyncRequest(model="kling/lip-sync", video=MediaRef(media_id="med_1"), sound=MediaRef(media_id="med_1"))
    await kling.submit(Submission("t", "reference-2", lips, "lip-sync", files))
    given = vendor.submits[1][1]["input"]
    assert given["video_url"] == "https://genway.example/media/med_1"
    assert (given["audio_type"], given["audio_file"]) == ("file", "med_1")


async def test_a_video_is_gone_on_from_by_klings_own_id(kling: Kling, vendor: KlingVendor, handed_in: HandedIn) -> None:
    made = await kling.submit(handed_in(kling, video()))
    assert isinstance(made, Submitted)
    vendor.tasks["840000000000000000"].polls = 2
    parent = Parent("t", 0, "chn_1", made.vendor_id, CLIP)
    requests: list[tuple[AnyOperation, str]] = [
        (ExtendRequest(model="kling/kling-v1-6", parent=parent, prompt="on", guidance=0.4), "videos/video-extend"),
        (SoundRequest(model="kling/video-to-audio", parent=parent), "audio/video-to-audio"),
    ]
    for number, (operation, path) in enumerate(requests):
        await kling.submit(Submission("t", f"later-{number}", operation, "", FakeFiles()))
        assert vendor.submits[-1][0] == path
        assert vendor.submits[-1][1]["video_id"] == "v-840000000000000000"
    gone = ExtendRequest(model="kling/kling-v1-6", parent=Parent("t", 0, "chn_1", "videos/text2video/0"))
    with pytest.raises(VendorRefused, match="no longer"):
        await kling.submit(Submission("t", "gone", gone, "", FakeFiles()))


async def test_speech_is_there_at_once(kling: Kling, vendor: KlingVendor, handed_in: HandedIn) -> None:
    operation = SpeechRequest(model="kling/tts", text="hello", voice="v", language="en", speed=1.2)
    answer = await kling.submit(handed_in(kling, operation))
    assert answer == Finished((ResultFile("audio", url=f"{vendor.url}/files/a.mp3"),), {"units": "2"})


async def test_a_task_is_followed_to_its_end(kling: Kling, vendor: KlingVendor, handed_in: HandedIn) -> None:
    made = await kling.submit(handed_in(kling, video()))
    assert isinstance(made, Submitted)
    assert await kling.check(made.vendor_id) == Running()
    assert await kling.check(made.vendor_id) == Running()
    assert await kling.check(made.vendor_id) == Finished(
        (ResultFile("video", url=f"{vendor.url}/files/v.mp4"),), {"units": "2"}
    )


async def test_every_picture_and_every_encoding_of_a_sound_is_taken(
    kling: Kling, vendor: KlingVendor, handed_in: HandedIn
) -> None:
    made = [
        await kling.submit(handed_in(kling, ImageRequest(model="kling/kling-v2", prompt="a", count=3))),
        await kling.submit(
            Submission("t", "reference-2", SoundRequest(model="kling/text-to-audio", prompt="a"), "", FakeFiles())
        ),
    ]
    roles = []
    for task in made:
        assert isinstance(task, Submitted)
        vendor.tasks[task.vendor_id.rpartition("/")[2]].polls = 2
        done = await kling.check(task.vendor_id)
        assert isinstance(done, Finished)
        roles.append([file.role for file in done.files])
    assert roles == [["image"] * 3, ["audio"] * 2]


@pytest.mark.parametrize(
    ("failure", "code"),
    [("Failure to pass the risk control system", "moderation"), ("out of memory", "vendor_error")],
)
async def test_a_failure_says_why(kling: Kling, vendor: KlingVendor, handed_in: HandedIn, failure: str, code: str) -> None:
    vendor.next_failure = failure
    made = await kling.submit(handed_in(kling, video()))
    assert isinstance(made, Submitted)
    vendor.tasks["840000000000000000"].polls = 2
    assert await kling.check(made.vendor_id) == Failed(code, failure)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("arrears", VendorOutOfCredit),
        ("out_of_units", VendorOutOfCredit),
        ("forbidden", VendorKeyRefused),
        ("invalid", VendorRefused),
        ("no_model", VendorRefused),
        ("moderated", VendorModerated),
        ("too_fast", VendorBusy),
        ("crowded", VendorBusy),
        ("coded", VendorBusy),
        ("error", OutcomeUnknown),
        ("maintenance", OutcomeUnknown),
        ("backlog", OutcomeUnknown),
        ("dropped", OutcomeUnknown),
        ("lost", OutcomeUnknown),
        ("garbage", OutcomeUnknown),
        ("no_id", OutcomeUnknown),
    ],
)
async def test_each_way_a_submit_goes_wrong_has_its_name(
    kling: Kling, vendor: KlingVendor, handed_in: HandedIn, fault: str, error: type[ProviderError]
) -> None:
    vendor.fault(fault)
    with pytest.raises(ProviderError) as raised:
        await kling.submit(handed_in(kling, video()))
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("no_model", VendorLost),
        ("error", VendorDown),
        ("too_fast", VendorBusy),
        ("garbage", VendorDown),
    ],
)
async def test_a_poll_that_goes_wrong_ends_nothing(
    kling: Kling, vendor: KlingVendor, handed_in: HandedIn, fault: str, error: type[ProviderError]
) -> None:
    made = await kling.submit(handed_in(kling, video()))
    assert isinstance(made, Submitted)
    vendor.fault(fault)
    with pytest.raises(ProviderError) as raised:
        await kling.check(made.vendor_id)
    assert type(raised.value) is error
    assert await kling.check(made.vendor_id) == Running()


async def test_an_attempt_whose_answer_was_lost_is_found_again(kling: Kling, vendor: KlingVendor, handed_in: HandedIn) -> None:
    vendor.fault("lost")
    with pytest.raises(OutcomeUnknown):
        await kling.submit(handed_in(kling, ImageRequest(model="kling/kling-v2", prompt="a")))
    assert await kling.find("reference-1") == Submitted("images/generations/840000000000000000")
    assert await kling.find("reference-9") is None


async def test_a_token_is_used_until_shortly_before_its_end(vendor: KlingVendor) -> None:
    now = 1_800_000_000.0
    signer = Signer(ACCESS, SECRET, lambda: now)
    first = signer.token()
    claims = jwt.decode(first, SECRET, algorithms=["HS256"], options={"verify_exp": False, "verify_nbf": False})
    assert claims == {"iss": ACCESS, "exp": 1_800_001_800, "nbf": 1_799_999_995}
    now += 1400
    assert signer.token() == first
    now += 200
    assert signer.token() != first


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_token_is_the_documented_one_byte_for_byte() -> None:
    assert Signer("test-access-key", "test-secret-key", lambda: 1_800_000_000).token() == (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
        ".eyJpc3MiOiJ0ZXN0LWFjY2Vzcy1rZXkiLCJleHAiOjE4MDAwMDE4MDAsIm5iZiI6MTc5OTk5OTk5NX0"
        ".hCnqR-YX8f6sARdFlrauafgnsuIzVmujSRN8m4paTgQ"
    )


@pytest.mark.parametrize(
    ("secret", "options", "good"),
    [
        (f"{ACCESS}:{SECRET}", {}, True),
        (f"{ACCESS}|{SECRET}", {}, True),
        (PLAIN_KEY, {}, True),
        (f"{ACCESS}:{SECRET}", {"auth": "bearer"}, False),
        (f"{ACCESS}:wrong-secret-key-0123456789abcdef", {}, False),
        ("api-key-unknown", {}, False),
    ],
)
async def test_a_channel_has_a_pair_of_keys_or_a_single_one(
    make: Callable[..., Kling], secret: str, options: dict[str, str], good: bool
) -> None:
    kling = make(secret=secret, options=options)
    if good:
        assert await kling.test() == "the key is good; 118 units left"
        return
    with pytest.raises(VendorKeyRefused) as refused:
        await kling.test()
    assert all(part not in refused.value.message for part in (SECRET, secret, secret.partition(":")[2] or secret))
