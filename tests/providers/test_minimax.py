"""MiniMax's official API, and a gateway in its format, as upstream: against the stand-in over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from genway.operations import (
    AnyOperation,
    Camera,
    EffectRequest,
    ImageRequest,
    MusicRequest,
    RestyleRequest,
    Size,
    SpeechRequest,
    VideoRequest,
)
from genway.providers._minimax_requests import INLINE_BYTES, VIDEOS
from genway.providers.base import (
    ChannelSettings,
    Failed,
    Finished,
    OutcomeUnknown,
    ProviderError,
    ResultFile,
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
from providers.stage import END, OURS, PHOTO, HandedIn
from standins.files import FakeFiles
from standins.minimax_vendor import FIRST_ID, KEY, MiniMaxVendor

Make = Callable[..., MiniMax]


@pytest.fixture
async def vendor() -> AsyncIterator[MiniMaxVendor]:
    async with MiniMaxVendor() as running:
        yield running


@pytest.fixture
def make(vendor: MiniMaxVendor, http: aiohttp.ClientSession) -> Make:
    def build(kind: type[MiniMax] = MiniMax, **settings: Any) -> MiniMax:
        return kind(
            ChannelSettings(**{"name": "a channel", "base_url": vendor.url, "secret": KEY, "timeout": 5.0} | settings), http
        )

    return build


def video(**changes: Any) -> VideoRequest:
    return VideoRequest(**{"model": "minimax/MiniMax-Hailuo-02", "prompt": "a cat", "seconds": 6, **changes})


def speech(**changes: Any) -> SpeechRequest:
    return SpeechRequest(**{"model": "minimax/speech-2.6-hd", "text": "hello", "voice": "male", **changes})


def song(**changes: Any) -> MusicRequest:
    return MusicRequest(**{"model": "minimax/music-2.5", "prompt": "folk", "lyrics": "la la la", **changes})


HAILUO = {"model": "MiniMax-Hailuo-02", "prompt": "a cat", "duration": 6, "resolution": "768P"}
SPOKEN = {
    "model": "speech-2.6-hd",
    "text": "hello",
    "voice_setting": {"voice_id": "male", "speed": 1, "vol": 1, "pitch": 0},
    "audio_setting": {"format": "mp3"},
}
BODIES: dict[str, tuple[AnyOperation, str, dict[str, Any]]] = {
    "text into a video": (video(), "/v1/video_generation", HAILUO),
    "a picture into a small portrait": (
        video(prompt="", first_frame=PHOTO, size=Size(512, 910), seconds=10),
        "/v1/video_generation",
        {**HAILUO, "prompt": "", "first_frame_image": PHOTO.url, "duration": 10, "resolution": "512P"},
    ),
    "a first and a last picture": (
        video(first_frame=PHOTO, last_frame=END, size=Size(640, 360)),
        "/v1/video_generation",
        {**HAILUO, "first_frame_image": PHOTO.url, "last_frame_image": END.url},
    ),
    "full HD": (
        video(model="minimax/MiniMax-Hailuo-2.3", size=Size(1920, 1080)),
        "/v1/video_generation",
        {**HAILUO, "model": "MiniMax-Hailuo-2.3", "resolution": "1080P"},
    ),
    "a person": (
        video(model="minimax/S2V-01", references=(PHOTO,)),
        "/v1/video_generation",
        {
            **HAILUO,
            "model": "S2V-01",
            "resolution": "720P",
            "subject_reference": [{"type": "character", "image": [PHOTO.url]}],
        },
    ),
    "a camera motion in brackets, and in words what has no command": (
        video(camera=Camera(zoom=4, pan=-2, vertical=9, tilt=-1, roll=5), style="noir"),
        "/v1/video_generation",
        {
            **HAILUO,
            "prompt": "a cat [Pedestal up,Push in,Pan left] The camera rolls clockwise and slowly tilts down. Style: noir.",
        },
    ),
    "a camera motion in words for a model without commands": (
        video(model="minimax/T2V-01", camera=Camera(zoom=-4)),
        "/v1/video_generation",
        {**HAILUO, "model": "T2V-01", "prompt": "a cat The camera zooms out.", "resolution": "720P"},
    ),
    "a template": (
        EffectRequest(model="minimax/template", effect="393881433990066176", pictures=(PHOTO,), texts=("lion",)),
        "/v1/video_template_generation",
        {
            "template_id": "393881433990066176",
            "media_inputs": [{"value": PHOTO.url}],
            "text_inputs": [{"value": "lion"}],
        },
    ),
    "pictures": (
        ImageRequest(model="minimax/image-01", prompt="a kite", count=3, size=Size(1280, 720), references=(PHOTO,), seed=3),
        "/v1/image_generation",
        {
            "model": "image-01",
            "prompt": "a kite",
            "n": 3,
            "response_format": "url",
            "aspect_ratio": "16:9",
            "seed": 3,
            "subject_reference": [{"type": "character", "image_file": PHOTO.url}],
        },
    ),
    "a picture of its own size": (
        ImageRequest(model="minimax/image-01", prompt="a kite", size=Size(1536, 640)),
        "/v1/image_generation",
        {"model": "image-01", "prompt": "a kite", "n": 1, "response_format": "url", "width": 1536, "height": 640},
    ),
    "a picture of the nearest shape": (
        ImageRequest(model="minimax/image-01-live", prompt="a kite", size=Size(1920, 1080), style="noir"),
        "/v1/image_generation",
        {
            "model": "image-01-live",
            "prompt": "a kite Style: noir.",
            "n": 1,
            "response_format": "url",
            "aspect_ratio": "16:9",
        },
    ),
    "speech": (speech(), "/v1/t2a_v2", {**SPOKEN, "output_format": "url", "stream": False}),
    "speech with feeling": (
        speech(emotion="happy", language="auto", speed=1.5, volume=2, pitch=-3, encoding="flac"),
        "/v1/t2a_v2",
        {
            **SPOKEN,
            "voice_setting": {"voice_id": "male", "emotion": "happy", "speed": 1.5, "vol": 2, "pitch": -3},
            "audio_setting": {"format": "flac"},
            "language_boost": "auto",
            "output_format": "url",
            "stream": False,
        },
    ),
    "a long text": (speech(text="x" * 10_000), "/v1/t2a_async_v2", {**SPOKEN, "text": "x" * 10_000}),
    "a song": (
        song(style="slow"),
        "/v1/music_generation",
        {
            "model": "music-2.5",
            "prompt": "folk, slow",
            "lyrics": "la la la",
            "output_format": "url",
            "audio_setting": {"format": "mp3"},
        },
    ),
    "music without words": (
        song(model="minimax/music-2.6", lyrics="", instrumental=True),
        "/v1/music_generation",
        {
            "model": "music-2.6",
            "prompt": "folk",
            "is_instrumental": True,
            "output_format": "url",
            "audio_setting": {"format": "mp3"},
        },
    ),
}


@pytest.mark.parametrize("kind", [MiniMax, MiniMaxCompat], ids=["official", "another gateway"])
@pytest.mark.parametrize("case", BODIES)
async def test_each_operation_becomes_the_vendors_body(
    case: str, kind: type[MiniMax], vendor: MiniMaxVendor, make: Make, handed_in: HandedIn
) -> None:
    operation, path, body = BODIES[case]
    provider = make(kind)
    assert provider.refusal(operation) is None
    await provider.submit(handed_in(provider, operation))
    [seen] = vendor.accepted
    assert (seen.path, seen.body) == (path if kind is MiniMax else f"/minimax{path}", body)


@pytest.mark.parametrize("model", VIDEOS)
async def test_every_model_is_asked_for_what_the_vendor_takes(
    model: str, vendor: MiniMaxVendor, make: Make, handed_in: HandedIn
) -> None:
    takes = VIDEOS[model]
    provider = make()
    operation = video(
        model=f"minimax/{model}", first_frame=PHOTO if takes.first else None, references=(PHOTO,) if takes.subject else ()
    )
    assert provider.refusal(operation) is None
    assert isinstance(await provider.submit(handed_in(provider, operation)), Submitted)


@pytest.mark.parametrize("kind", [MiniMax, MiniMaxCompat], ids=["official", "another gateway"])
async def test_a_video_is_followed_to_its_file(
    kind: type[MiniMax], vendor: MiniMaxVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(kind)
    submitted = await provider.submit(handed_in(provider, video()))
    assert submitted == Submitted(f"video:{FIRST_ID}")
    seen = [await provider.check(submitted.vendor_id) for _ in range(4)]
    assert seen == [
        Running(),
        Running(),
        Running(),
        Finished((ResultFile("video", url=f"{vendor.url}/files/video.mp4?Expires=1"),)),
    ]
    again = await provider.check(submitted.vendor_id)
    assert isinstance(again, Finished)
    assert again.files[0].url == f"{vendor.url}/files/video.mp4?Expires=2", "a link that has died is asked for anew"


async def test_a_gateway_may_wrap_the_task_and_send_the_file_along(
    vendor: MiniMaxVendor, make: Make, handed_in: HandedIn
) -> None:
    vendor.envelope = True
    provider = make(MiniMaxCompat, options={"prefix": "/"})
    submitted = await provider.submit(handed_in(provider, video()))
    assert isinstance(submitted, Submitted)
    seen = [await provider.check(submitted.vendor_id) for _ in range(4)]
    assert seen[:3] == [Running()] * 3
    assert isinstance(seen[3], Finished)
    vendor.fault("fail")
    submitted = await provider.submit(handed_in(provider, video()))
    vendor.steps = ("Success",)
    assert await provider.check(submitted.vendor_id) == Failed("vendor_error", "the model could not make anything usable")


async def test_templates_and_long_speech_have_queries_of_their_own(
    vendor: MiniMaxVendor, make: Make, handed_in: HandedIn
) -> None:
    vendor.steps = ("Success",)
    provider = make()
    template = await provider.submit(handed_in(provider, BODIES["a template"][0]))
    assert await provider.check(template.vendor_id) == Finished(
        (ResultFile("video", url=f"{vendor.url}/files/video.mp4?Expires=1"),)
    )
    long = await provider.submit(handed_in(provider, speech(format="minimax.speech_async")))
    assert long == Submitted(f"speech:{FIRST_ID + 1}")
    assert await provider.check(long.vendor_id) == Finished(
        (ResultFile("audio", url=f"{vendor.url}/files/sound.mp3?Expires=2"),)
    )


async def test_one_call_makes_pictures_speech_and_music(vendor: MiniMaxVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make()
    pictures = await provider.submit(handed_in(provider, BODIES["pictures"][0]))
    assert isinstance(pictures, Finished)
    assert [file.role for file in pictures.files] == ["image"] * 3
    for operation in (speech(), song()):
        made = await provider.submit(handed_in(provider, operation))
        assert isinstance(made, Finished)
        assert [file.role for file in made.files] == ["audio"]


async def test_pictures_that_are_all_held_back_are_moderated(vendor: MiniMaxVendor, make: Make, handed_in: HandedIn) -> None:
    vendor.fault("fail_moderation")
    provider = make()
    with pytest.raises(VendorModerated):
        await provider.submit(handed_in(provider, BODIES["pictures"][0]))


REFUSALS: list[tuple[AnyOperation, str]] = [
    (video(model="minimax/MiniMax-H9"), "minimax has no model minimax/MiniMax-H9"),
    (RestyleRequest(model="minimax/MiniMax-Hailuo-02"), "minimax does not do restyle"),
    (video(seconds=5), "MiniMax-Hailuo-02 makes 6 or 10 seconds at 768P, got 5"),
    (video(seconds=10, size=Size(1920, 1080)), "MiniMax-Hailuo-02 makes 6 seconds at 1080P, got 10"),
    (video(size=Size(720, 1280)), "MiniMax-Hailuo-02 makes 16:9 where there is no picture, got 720x1280"),
    (video(model="minimax/I2V-01"), "I2V-01 needs a picture to begin with"),
    (video(model="minimax/T2V-01", first_frame=PHOTO), "T2V-01 takes no picture to begin with"),
    (video(model="minimax/MiniMax-Hailuo-2.3", last_frame=END), "MiniMax-Hailuo-2.3 takes no picture to end with"),
    (video(references=(PHOTO,)), "MiniMax-Hailuo-02 takes no reference pictures"),
    (video(model="minimax/S2V-01"), "S2V-01 takes one picture of a person as its reference, got 0"),
    (video(prompt=""), "MiniMax-Hailuo-02 needs a prompt"),
    (video(negative_prompt="rain"), "MiniMax-Hailuo-02 takes no negative prompt"),
    (video(audio=True), "MiniMax-Hailuo-02 cannot be asked for sound"),
    (video(loop=True), "MiniMax-Hailuo-02 cannot be asked for a loop"),
    (video(sequence=(PHOTO,)), "MiniMax-Hailuo-02 cannot be asked for a sequence of pictures"),
    (video(guidance=0.5), "MiniMax-Hailuo-02 takes no number for guidance"),
    (video(count=2), "MiniMax-Hailuo-02 makes one video at once, not 2"),
    (
        video(prompt="x" * 1995, camera=Camera(zoom=5)),
        "the prompt with camera motion and style has 2005 characters; MiniMax-Hailuo-02 takes 2000",
    ),
    (ImageRequest(model="minimax/image-01", prompt="x", count=10), "image-01 makes 1 to 9 pictures at once, not 10"),
    (ImageRequest(model="minimax/image-01"), "image-01 takes a prompt of 1 to 1500 characters, got 0"),
    (speech(voice=""), "speech-2.6-hd needs the name of a voice"),
    (speech(speed=3), "speech-2.6-hd takes a speed from 0.5 to 2, got 3"),
    (speech(encoding="opus"), "speech-2.6-hd makes mp3, flac, wav, got opus"),
    (song(lyrics=""), "music-2.5 needs lyrics"),
    (song(instrumental=True), "music-2.5 makes no instrumental music"),
]


@pytest.mark.parametrize(("operation", "reason"), REFUSALS, ids=[reason for _, reason in REFUSALS])
def test_what_a_model_cannot_do_is_refused_with_the_reason(operation: AnyOperation, reason: str, make: Make) -> None:
    assert make().refusal(operation) == reason


async def test_an_alias_that_leads_to_a_model_which_cannot_is_refused_without_a_call(
    vendor: MiniMaxVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make()
    with pytest.raises(VendorRefused, match="I2V-01 needs a picture to begin with"):
        await provider.submit(handed_in(provider, video(), model="I2V-01"))
    assert vendor.submits == []


async def test_fields_of_the_same_format_are_passed_on_and_the_words_as_they_came(
    vendor: MiniMaxVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make()
    extra = {"prompt": "a cat [推进]", "prompt_optimizer": False, "duration": 10, "model": "T2V-01"}
    operation = video(format="minimax.video", camera=Camera(zoom=5), extra=extra)
    await provider.submit(handed_in(provider, operation))
    assert vendor.accepted[0].body == {**HAILUO, "prompt": "a cat [推进]", "prompt_optimizer": False}


async def test_fields_of_another_format_stay_here(vendor: MiniMaxVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make()
    await provider.submit(handed_in(provider, video(format="kling", extra={"cfg_scale": 1, "prompt": "x"})))
    assert vendor.accepted[0].body == HAILUO


async def test_our_own_files_are_sent_along_as_data_uris(vendor: MiniMaxVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make()
    files = FakeFiles({"med_1": 1000})
    await provider.submit(handed_in(provider, video(first_frame=OURS), files))
    assert files.asked == [(OURS, INLINE_BYTES, False)]
    assert vendor.accepted[0].body["first_frame_image"] == "data:image/png;base64,med_1"


SUBMIT_FAULTS: dict[str, tuple[type[ProviderError], int]] = {
    "throttled": (VendorBusy, 0),
    "tokens": (VendorBusy, 0),
    "growing": (VendorBusy, 0),
    "http_throttled": (VendorBusy, 0),
    "bad_key": (VendorKeyRefused, 0),
    "not_in_plan": (VendorKeyRefused, 0),
    "out_of_credit": (VendorOutOfCredit, 0),
    "window_used": (VendorOutOfCredit, 0),
    "moderated": (VendorModerated, 0),
    "invalid": (VendorRefused, 0),
    "unknown": (OutcomeUnknown, 0),
    "timeout": (OutcomeUnknown, 0),
    "system": (OutcomeUnknown, 0),
    "http_error": (OutcomeUnknown, 0),
    "dropped": (OutcomeUnknown, 0),
    "lost": (OutcomeUnknown, 1),
    "garbage": (OutcomeUnknown, 1),
    "no_id": (OutcomeUnknown, 1),
    "bare": (OutcomeUnknown, 1),
}
WORK = {"a video": video(), "pictures": BODIES["pictures"][0], "speech": speech()}


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("kind", SUBMIT_FAULTS)
async def test_each_fault_of_a_submit_says_what_is_known_of_the_work(
    kind: str, work: str, vendor: MiniMaxVendor, make: Make, handed_in: HandedIn
) -> None:
    error, accepted = SUBMIT_FAULTS[kind]
    vendor.fault(kind)
    provider = make()
    with pytest.raises(ProviderError) as raised:
        await provider.submit(handed_in(provider, WORK[work]))
    assert type(raised.value) is error
    assert (len(vendor.submits), len(vendor.accepted)) == (1, accepted), "nothing is sent twice"
    if kind == "http_throttled":
        assert raised.value.retry_after == 42


async def test_an_answer_that_does_not_come_in_time_leaves_the_outcome_unknown(
    vendor: MiniMaxVendor, make: Make, handed_in: HandedIn
) -> None:
    vendor.fault("late")
    provider = make(timeout=0.3)
    with pytest.raises(OutcomeUnknown, match="gave no answer"):
        await provider.submit(handed_in(provider, video()))
    assert len(vendor.accepted) == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://nowhere.invalid"])
async def test_a_vendor_that_is_not_there_has_certainly_not_started(address: str, make: Make, handed_in: HandedIn) -> None:
    provider = make(base_url=address)
    with pytest.raises(VendorDown):
        await provider.submit(handed_in(provider, video()))


async def test_a_body_that_the_vendor_does_not_take_is_refused_in_its_own_words(
    vendor: MiniMaxVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make()
    operation = video(format="minimax.video", extra={"first_frame_image": "nonsense"})
    with pytest.raises(VendorRefused, match="invalid params, first_frame_image"):
        await provider.submit(handed_in(provider, operation))


POLL_FAULTS: dict[str, type[ProviderError]] = {
    "poll_error": VendorDown,
    "poll_throttled": VendorBusy,
    "poll_garbage": VendorDown,
    "poll_odd": VendorDown,
    "poll_lost": VendorDown,
    "poll_missing": VendorLost,
}


@pytest.mark.parametrize("kind", POLL_FAULTS)
async def test_a_poll_that_fails_tells_nothing_of_the_task(
    kind: str, vendor: MiniMaxVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make()
    submitted = await provider.submit(handed_in(provider, video()))
    vendor.fault(kind, times=2 if kind == "poll_lost" else 1)  # a GET on a connection that was closed is repeated once
    with pytest.raises(ProviderError) as raised:
        await provider.check(submitted.vendor_id)
    assert type(raised.value) is POLL_FAULTS[kind]
    assert isinstance(await provider.check(submitted.vendor_id), Running)


@pytest.mark.parametrize(
    ("kind", "failed"),
    [
        ("fail", Failed("vendor_error", "the model could not make anything usable")),
        ("fail_moderation", Failed("moderation", "output new_sensitive")),
        ("fail_silent", Failed("vendor_error", "the vendor gave no reason")),
        ("poll_moderated", Failed("moderation", "output new_sensitive")),
    ],
)
async def test_a_failure_is_told_in_the_vendors_words(
    kind: str, failed: Failed, vendor: MiniMaxVendor, make: Make, handed_in: HandedIn
) -> None:
    vendor.steps = ("Success",)
    vendor.fault(kind)
    provider = make()
    assert await provider.check((await provider.submit(handed_in(provider, video()))).vendor_id) == failed


async def test_a_success_without_a_file_is_asked_for_again(vendor: MiniMaxVendor, make: Make, handed_in: HandedIn) -> None:
    vendor.steps = ("Success",)
    vendor.fault("no_file")
    provider = make()
    submitted = await provider.submit(handed_in(provider, video()))
    with pytest.raises(VendorDown, match="gives no file"):
        await provider.check(submitted.vendor_id)


async def test_the_channels_test_tells_a_good_key_from_a_bad_one(make: Make) -> None:
    assert await make().test() == "the key is good; this API does not tell a balance"
    with pytest.raises(VendorKeyRefused):
        await make(secret="sk-of-somebody-else").test()


async def test_the_secret_is_in_no_error(vendor: MiniMaxVendor, make: Make, handed_in: HandedIn) -> None:
    vendor.echo_key = True
    vendor.fault("invalid")
    provider = make()
    with pytest.raises(VendorRefused) as raised:
        await provider.submit(handed_in(provider, video()))
    assert raised.value.message == "invalid params Bearer ***"
