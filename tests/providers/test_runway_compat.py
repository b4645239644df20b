"""A gateway of the page's dialect as upstream, against the stand-in over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from genway.operations import (
    AnyOperation,
    Camera,
    ImageRequest,
    PerformanceRequest,
    RestyleRequest,
    Size,
    VideoRequest,
)
from genway.providers.base import (
    ChannelSettings,
    Failed,
    Finished,
    OutcomeUnknown,
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
from genway.providers.runway_compat import RunwayCompat
from providers.stage import CLIP, END, OURS, PHOTO, HandedIn, Make
from standins.files import FakeFiles
from standins.runway_vendor import RunwayVendor, Settings

STILL = {"x": 0.0, "y": 0.0, "z": 0.0, "r": 0.0, "bg_x_pan": 0.0, "bg_y_pan": 0.0}


def video(**changes: Any) -> VideoRequest:
    return VideoRequest(**{"model": "runway/gen3", "prompt": "一只小猫", "size": Size(1280, 768), "seconds": 10, **changes})


def generated(**changes: Any) -> dict[str, Any]:
    options = {"seconds": 10, "motion_vector": STILL, "image_as_end_frame": False} | changes.pop("options", {})
    return {"model": "gen3", "prompt": "一只小猫", "ratio": "16:9", "options": options, **changes}


BODIES: dict[str, tuple[AnyOperation, str, dict[str, Any]]] = {
    "text into a video": (video(style="cinematic"), "generate", generated(style="cinematic")),
    "a picture into a portrait": (
        video(first_frame=PHOTO, size=Size(768, 1280), seconds=5),
        "generate",
        generated(image=PHOTO.url, ratio="9:16", options={"seconds": 5}),
    ),
    "a picture as the end": (
        video(last_frame=END),
        "generate",
        generated(image=END.url, options={"image_as_end_frame": True}),
    ),
    "a first and a last picture, at both places": (
        video(model="runway/gen4", first_frame=PHOTO, last_frame=END, size=Size(960, 720)),
        "generate",
        generated(model="gen4", image=PHOTO.url, last_image=END.url, ratio="4:3", options={"last_image": END.url}),
    ),
    "every camera motion that the dialect has": (
        video(camera=Camera(horizontal=-6.2, vertical=1, zoom=2, roll=3, background_pan_x=4, background_pan_y=-5)),
        "generate",
        generated(options={"motion_vector": {"x": -6.2, "y": 1.0, "z": 2.0, "r": 3.0, "bg_x_pan": 4.0, "bg_y_pan": -5.0}}),
    ),
    "pan and tilt in the place of moves": (
        video(camera=Camera(pan=3, tilt=-2, zoom=1)),
        "generate",
        generated(options={"motion_vector": {**STILL, "x": 3.0, "y": -2.0, "z": 1.0}}),
    ),
    "a video restyled": (
        RestyleRequest(model="runway/gen4", video=CLIP, prompt="in clay", strength=0.8, size=Size(768, 1280), seconds=10),
        "video2video",
        {
            "model": "gen4",
            "video": CLIP.url,
            "prompt": "in clay",
            "options": {"structure_transformation": 0.8, "flip": True, "seconds": 10},
        },
    ),
    "a performance": (
        PerformanceRequest(model="runway/act_one", performance=CLIP, character=PHOTO, intensity=3),
        "act_one",
        {"video": CLIP.url, "image": PHOTO.url, "options": {"flip": False, "motion_multiplier": 3}},
    ),
}


@pytest.mark.parametrize("case", BODIES)
async def test_each_operation_becomes_the_dialects_body(
    case: str, vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    operation, route, body = BODIES[case]
    provider = make(RunwayCompat)
    assert provider.refusal(operation) is None
    submitted = await provider.submit(handed_in(provider, operation))
    [seen] = vendor.accepted
    assert (seen.path, seen.body) == (f"/runway/pro/{route}", body)
    assert submitted.vendor_id == seen.task_id


REFUSALS: list[tuple[AnyOperation, str]] = [
    (video(model="runway/gen4.5"), "runway_compat has no model runway/gen4.5"),
    (video(size=Size(1024, 1024)), "gen3 has no ratio that lies like 1024x1024; it has 16:9, 9:16"),
    (video(seconds=8), "gen3 makes 5 or 10 seconds, got 8"),
    (video(negative_prompt="rain"), "this dialect takes no negative prompt"),
    (video(audio=True), "this dialect cannot be asked for sound"),
    (video(references=(PHOTO,)), "this dialect takes no reference pictures beside the first and the last frame"),
    (
        video(camera=Camera(pan=3, horizontal=1)),
        "this dialect has one number for camera pan and horizontal motion, and both are asked for",
    ),
    (
        video(camera=Camera(tilt=3, vertical=1)),
        "this dialect has one number for camera tilt and vertical motion, and both are asked for",
    ),
    (video(model="runway/act_one"), "act_one transfers performances and does nothing else"),
    (RestyleRequest(model="runway/gen2", video=CLIP), "gen2 does not restyle a video; gen3 and gen4 do"),
    (RestyleRequest(model="runway/gen4", video=CLIP, seconds=7), "gen4 takes 5 or 10 seconds of a video, got 7"),
    (
        RestyleRequest(model="runway/gen4", video=CLIP, references=(PHOTO,)),
        "this dialect takes no reference pictures for a video",
    ),
    (
        PerformanceRequest(model="runway/gen3", performance=CLIP, character=PHOTO),
        "gen3 does not transfer a performance; act_one does",
    ),
    (
        PerformanceRequest(model="runway/act_one", performance=CLIP, character=CLIP, character_kind="video"),
        "act_one takes a picture of the character, not a video",
    ),
    (
        PerformanceRequest(model="runway/act_one", performance=CLIP, character=PHOTO, body_control=True),
        "act_one has no body control",
    ),
    (
        PerformanceRequest(model="runway/act_one", performance=CLIP, character=PHOTO, intensity=1.5),
        "act_one takes a whole number as intensity, got 1.5",
    ),
    (ImageRequest(model="runway/gen4", prompt="x"), "runway_compat does not do image"),
]


@pytest.mark.parametrize(("operation", "reason"), REFUSALS, ids=[reason for _, reason in REFUSALS])
async def test_what_the_dialect_cannot_say_is_refused_with_the_reason(
    operation: AnyOperation, reason: str, vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(RunwayCompat)
    assert provider.refusal(operation) == reason
    with pytest.raises(VendorRefused):
        await provider.submit(handed_in(provider, operation))
    assert vendor.submits == []


@pytest.mark.parametrize("variant", ["wrapped", "full", "row"])
async def test_a_task_is_followed_to_its_end_in_every_shape_of_answer(
    variant: Any, vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    vendor.settings = Settings(variant=variant)
    provider = make(RunwayCompat)
    submitted = await provider.submit(handed_in(provider, video()))
    assert submitted.vendor_id == vendor.accepted[0].task_id
    assert await provider.check(submitted.vendor_id) == Running()
    assert await provider.check(submitted.vendor_id) == Running(0.45 if variant == "row" else None)
    finished = await provider.check(submitted.vendor_id)
    assert isinstance(finished, Finished)
    names = {file.role: str(file.url).rsplit("/", 1)[-1] for file in finished.files}
    assert names["video"].startswith("video.mp4")
    if variant != "row":
        assert names["poster"].startswith("poster.png")
        assert names["last_frame"].startswith("last_frame.png")
        assert finished.details == {"prompt_en": "in English: 一只小猫"}


@pytest.mark.parametrize("variant", ["wrapped", "row"])
@pytest.mark.parametrize(("kind", "code"), [("fail_moderation", "moderation"), ("fail_output", "vendor_error")])
async def test_a_failure_is_told_in_the_vendors_words(
    kind: str, code: str, variant: Any, vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    vendor.settings = Settings(steps=("SUCCEEDED",), variant=variant)
    vendor.fault(kind)
    provider = make(RunwayCompat)
    failed = await provider.check((await provider.submit(handed_in(provider, video()))).vendor_id)
    assert isinstance(failed, Failed)
    assert failed.code == code
    assert failed.message.startswith("The ")


SUBMIT_FAULTS = {
    "throttled": (VendorBusy, 0),
    "shedding": (OutcomeUnknown, 0),
    "bad_gateway": (OutcomeUnknown, 0),
    "error": (OutcomeUnknown, 0),
    "moderated": (VendorModerated, 0),
    "out_of_credit": (VendorOutOfCredit, 0),
    "bad_key": (VendorKeyRefused, 0),
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
    provider = make(RunwayCompat)
    with pytest.raises(ProviderError) as raised:
        await provider.submit(handed_in(provider, video()))
    assert type(raised.value) is error
    assert (len(vendor.submits), len(vendor.accepted)) == (1, accepted), "nothing is sent twice"


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
    provider = make(RunwayCompat, timeout=0.3)
    submitted = await provider.submit(handed_in(provider, video()))
    vendor.fault(kind)
    with pytest.raises(POLL_FAULTS[kind]):
        await provider.check(submitted.vendor_id)
    vendor.release()
    assert isinstance(await provider.check(submitted.vendor_id), Running)


async def test_unknown_fields_of_the_same_format_are_passed_on(vendor: RunwayVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(RunwayCompat)
    extra = {"watermark": "no", "options": {"resolution": "720p", "seconds": 5}, "model": "gen4"}
    await provider.submit(handed_in(provider, video(format="runway.pro", extra=extra)))
    body = vendor.accepted[0].body
    assert (body["watermark"], body["options"]["resolution"]) == ("no", "720p")
    assert (body["model"], body["options"]["seconds"]) == ("gen3", 10), "the price was made from the operation"


async def test_unknown_fields_of_another_format_stay_here(vendor: RunwayVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(RunwayCompat)
    await provider.submit(handed_in(provider, video(format="runwayml", extra={"watermark": True})))
    assert "watermark" not in vendor.accepted[0].body


async def test_a_channel_may_have_names_of_its_own(vendor: RunwayVendor, make: Make, handed_in: HandedIn) -> None:
    provider = make(RunwayCompat)
    provider.models = {**provider.models, "runway/gen3": "gen4", "kling/v1": "gen2"}
    square = Size(1024, 1024)
    assert provider.refusal(video(size=square)) is not None, "gen3's caution holds whoever makes it"
    await provider.submit(handed_in(provider, video(model="kling/v1", size=square)))
    assert (vendor.accepted[0].body["model"], vendor.accepted[0].body["ratio"]) == ("gen2", "1:1")


async def test_a_gateway_that_insists_on_a_callback_gets_the_channels(
    vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(RunwayCompat, options={"callback_url": "https://example.com/hook"})
    await provider.submit(handed_in(provider, video()))
    assert vendor.accepted[0].body["callback_url"] == "https://example.com/hook"


@pytest.mark.parametrize(("options", "inline"), [({}, 0), ({"inline_bytes": "5000"}, 5000)])
async def test_our_own_files_are_links_unless_the_channel_allows_data_uris(
    options: dict[str, str], inline: int, make: Make, handed_in: HandedIn
) -> None:
    provider, files = make(RunwayCompat, options=options), FakeFiles({"med_1": 4000})
    await provider.submit(handed_in(provider, video(first_frame=OURS), files))
    assert files.asked == [(OURS, inline, False)]


async def test_an_option_that_is_no_number_sets_the_channel_aside(
    vendor: RunwayVendor, make: Make, handed_in: HandedIn
) -> None:
    provider = make(RunwayCompat, options={"inline_bytes": "5 MB"})
    with pytest.raises(VendorDown, match="a number of bytes, got 5 MB"):
        await provider.submit(handed_in(provider, video()))
    assert vendor.submits == []


async def test_the_channels_test_finds_a_bad_key_and_a_wrong_address(vendor: RunwayVendor, make: Make) -> None:
    assert (await make(RunwayCompat).test()).startswith("the key is good")
    with pytest.raises(VendorKeyRefused):
        await make(RunwayCompat, secret="key_of_somebody_else").test()
    with pytest.raises(VendorDown):
        await make(RunwayCompat, base_url=f"{vendor.url}/elsewhere").test()


async def test_the_secret_is_in_no_error(vendor: RunwayVendor, make: Make, handed_in: HandedIn) -> None:
    vendor.settings = Settings(echo_key=True)
    vendor.fault("throttled")
    provider = make(RunwayCompat)
    with pytest.raises(VendorBusy) as raised:
        await provider.submit(handed_in(provider, video()))
    assert "Bearer ***" in raised.value.message
    assert raised.value.retry_after == 7


class Relative:
    """A gateway that gives one answer, whatever it is asked."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: Any = {}

    async def handle(self, _: web.Request) -> web.Response:
        return web.json_response(self.answer, status=self.status)


@pytest.fixture
async def relative(http: aiohttp.ClientSession) -> AsyncIterator[tuple[Relative, RunwayCompat]]:
    gateway, app = Relative(), web.Application()
    app.router.add_route("*", "/{path:.*}", gateway.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield gateway, RunwayCompat(ChannelSettings("relative", f"http://{host}:{port}", "key"), http)
    await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "answer", "error"),
    [
        (200, {"code": 400, "msg": "callback_url_empty", "data": None}, VendorRefused),
        (200, {"code": "callback_url_empty", "message": "", "data": None}, VendorRefused),
        (200, {"code": 402, "msg": "余额不足", "data": None}, VendorOutOfCredit),
        (200, {"code": "failed", "msg": "内容违规", "data": None}, VendorModerated),
        (200, {"code": 500, "msg": "系统错误", "data": None}, OutcomeUnknown),
        (200, {"code": "do_request_failed", "message": "upstream", "data": None}, OutcomeUnknown),
        (200, {"code": 200, "msg": "成功", "data": None}, OutcomeUnknown),
        (200, [], OutcomeUnknown),
        (403, {"error": {"message": "quota", "code": "insufficient_user_quota"}}, VendorOutOfCredit),
        (503, {"error": {"message": "stopping", "code": "unavailable"}}, VendorDown),
        (503, {"error": {"message": "no channel for gen4", "code": "model_not_found"}}, VendorDown),
        (503, {"error": {"message": "bad response", "code": "bad_response_status_code"}}, OutcomeUnknown),
        (404, {"error": {"message": "Invalid URL"}}, VendorDown),
    ],
)
async def test_a_relatives_errors_are_understood(
    status: int, answer: Any, error: type[ProviderError], relative: tuple[Relative, RunwayCompat], handed_in: HandedIn
) -> None:
    gateway, provider = relative
    gateway.status, gateway.answer = status, answer
    with pytest.raises(ProviderError) as raised:
        await provider.submit(handed_in(provider, video()))
    assert type(raised.value) is error


@pytest.mark.parametrize(
    "answer",
    [
        {"code": 200, "data": {"task_id": "t"}},
        {"code": "200", "msg": "success", "message": "", "data": {"task_id": "t"}},
        {"code": "success", "message": "", "data": "t"},
        {"task_id": "t", "status": "0"},
    ],
)
async def test_a_relatives_task_is_found_in_its_answer(
    answer: Any, relative: tuple[Relative, RunwayCompat], handed_in: HandedIn
) -> None:
    gateway, provider = relative
    gateway.answer = answer
    assert (await provider.submit(handed_in(provider, video()))).vendor_id == "t"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"status": 0}, Running()),
        ({"status": "", "state": "succeeded", "video_url": "https://v/a.mp4"}, "https://v/a.mp4"),
        ({"status": "3", "video_url": "https://v/a.mp4", "poster": None, "prompt_en": None}, "https://v/a.mp4"),
        ({"status": "SUCCESS", "fail_reason": "https://v/b.mp4", "data": {}}, "https://v/b.mp4"),
        ({"status": "SUCCESS", "data": {"data": {"video_url": "https://v/c.mp4"}}}, "https://v/c.mp4"),
        ({"status": "IN_PROGRESS", "progress": "30%"}, Running(0.3)),
        ({"status": "IN_PROGRESS", "progress": "soon"}, Running(None)),
        ({"status": "2", "msg": None}, Failed("vendor_error", "the vendor gave no reason")),
    ],
)
async def test_a_relatives_rows_are_understood(data: Any, expected: Any, relative: tuple[Relative, RunwayCompat]) -> None:
    gateway, provider = relative
    gateway.answer = {"code": 200, "msg": "成功", "data": data}
    outcome = await provider.check("t")
    if isinstance(expected, str):
        assert isinstance(outcome, Finished)
        assert [(file.role, file.url) for file in outcome.files] == [("video", expected)]
    else:
        assert outcome == expected


@pytest.mark.parametrize("data", [{"status": "3", "video_url": ""}, {"status": "7"}, None, "t"])
async def test_a_row_that_makes_no_sense_keeps_the_task_running(data: Any, relative: tuple[Relative, RunwayCompat]) -> None:
    gateway, provider = relative
    gateway.answer = {"code": 200, "msg": "成功", "data": data}
    with pytest.raises(VendorDown):
        await provider.check("t")


@pytest.mark.parametrize("status", [200, 400, 404])
async def test_a_task_that_is_not_known_yet_is_lost_for_now(status: int, relative: tuple[Relative, RunwayCompat]) -> None:
    gateway, provider = relative
    gateway.status, gateway.answer = status, {"code": "task_not_exist", "message": "task_not_exist", "data": None}
    with pytest.raises(VendorLost):
        await provider.check("t")
