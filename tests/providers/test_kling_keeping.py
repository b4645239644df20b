"""What Kling keeps for an account: voices, elements and sessions, against the stand-in over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from genway.operations import (
    AnyOperation,
    DirectCall,
    ElementRequest,
    FacesRequest,
    LipSyncRequest,
    MediaRef,
    Parent,
    RecogniseRequest,
    RestyleRequest,
    SelectionRequest,
    SpeechRequest,
    VideoRequest,
    VoiceRequest,
)
from genway.providers.base import (
    ChannelSettings,
    Finished,
    ResultFile,
    Submission,
    Submitted,
    VendorModerated,
    VendorRefused,
)
from genway.providers.kling import Kling
from providers.stage import HandedIn
from standins.kling_vendor import ACCESS, SECRET, KlingVendor

PHOTO, SIDE = (MediaRef(url=f"https://example.com/{name}.jpg") for name in ("photo", "side"))
CLIP, SOUND = MediaRef(url="https://example.com/clip.mp4"), MediaRef(url="https://example.com/voice.mp3")
FACES = FacesRequest(model="kling/identify-face", format="kling", video=CLIP)
SELECTION = SelectionRequest(model="kling/init-selection", format="kling", video=CLIP)
VOICE = VoiceRequest(model="kling/custom-voice", format="kling", name="Grandma", sound=SOUND)
ELEMENT = ElementRequest(model="kling/element", format="kling", name="Rex", description="a dog", pictures=(PHOTO, SIDE))


def parent(kind: str, name: str, kept: str) -> Parent:
    return Parent("task-1", channel_id="chn_1", name=name, kind=kind, kept=kept)


@pytest.fixture
async def vendor() -> AsyncIterator[KlingVendor]:
    async with KlingVendor() as running:
        yield running


@pytest.fixture
def kling(vendor: KlingVendor, http: aiohttp.ClientSession) -> Kling:
    return Kling(ChannelSettings(name="a", base_url=vendor.url, secret=f"{ACCESS}:{SECRET}", timeout=5.0), http)


async def finished(kling: Kling, submission: Submission) -> Finished:
    """The outcome of work that is followed to its end."""
    answer = await kling.submit(submission)
    if isinstance(answer, Finished):
        return answer
    while not isinstance(report := await kling.check(answer.vendor_id), Finished):
        assert report is not None
    return report


async def test_a_voice_is_made_from_a_sound_and_kept_by_the_vendors_id(
    kling: Kling, vendor: KlingVendor, handed_in: HandedIn
) -> None:
    made = await finished(kling, handed_in(kling, VOICE))
    assert made.details["kept"] == "99840000000000000000"
    assert made.files == (ResultFile("audio", url=f"{vendor.url}/files/a.wav"),)
    path, body = vendor.submits[0]
    assert (path, body["voice_name"], body["voice_url"]) == ("general/custom-voices", "Grandma", SOUND.url)
    assert body["external_task_id"] == "reference-1"


async def test_a_voice_that_was_lost_on_the_way_is_found_by_its_reference(
    kling: Kling, vendor: KlingVendor, handed_in: HandedIn
) -> None:
    await kling.submit(handed_in(kling, VOICE))
    assert await kling.find("reference-1") == Submitted("general/custom-voices/840000000000000000")


async def test_an_element_is_made_from_pictures_or_a_clip(kling: Kling, vendor: KlingVendor, handed_in: HandedIn) -> None:
    made = await finished(kling, handed_in(kling, ELEMENT))
    assert (made.details["kept"], made.files) == ("77000000", ())
    body = vendor.submits[0][1]
    assert body["reference_type"] == "image_refer"
    assert body["element_image_list"] == {"frontal_image": PHOTO.url, "refer_images": [{"image_url": SIDE.url}]}
    moving = msgspec.structs.replace(ELEMENT, pictures=(), video=CLIP, extra={"tag_list": [{"tag_id": "o_103"}]})
    await kling.submit(Submission("t", "reference-2", moving, "element", handed_in(kling, moving).files))
    body = vendor.submits[-1][1]
    assert (body["reference_type"], body["tag_list"]) == ("video_refer", [{"tag_id": "o_103"}])
    assert body["element_video_list"] == {"refer_videos": [{"video_url": CLIP.url}]}


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (msgspec.structs.replace(VOICE, sound=None), "needs a sound"),
        (msgspec.structs.replace(VOICE, sound=None, prompt="deep"), "not from a description"),
        (msgspec.structs.replace(VOICE, name="a" * 21), "1 to 20 characters"),
        (msgspec.structs.replace(ELEMENT, pictures=(PHOTO,)), "2 to 4 pictures"),
        (msgspec.structs.replace(ELEMENT, video=CLIP), "one of the two"),
        (msgspec.structs.replace(ELEMENT, description=""), "to describe it"),
    ],
)
def test_what_kling_cannot_make_is_refused_before_it_is_asked(kling: Kling, operation: AnyOperation, said: str) -> None:
    assert said in str(kling.refusal(operation))


async def test_faces_are_found_at_once_with_their_pictures_as_files(
    kling: Kling, vendor: KlingVendor, handed_in: HandedIn
) -> None:
    found = await finished(kling, handed_in(kling, FACES))
    assert vendor.submits == [("videos/identify-face", {"video_url": CLIP.url})]
    assert found.details["kept"] == "session-1"
    assert msgspec.json.decode(found.details["faces"]) == [{"face_id": "7", "face_image": 0, "start_time": 0, "end_time": 5200}]
    assert found.files == (ResultFile("image", url=f"{vendor.url}/files/f.png"),)
    vendor.faces = []
    with pytest.raises(VendorRefused, match="no face"):
        await kling.submit(handed_in(kling, FACES))


async def test_a_lip_sync_names_the_session_and_the_face_that_was_chosen(
    kling: Kling, vendor: KlingVendor, handed_in: HandedIn
) -> None:
    choice = {"face_id": "7", "sound_start_time": 0, "sound_end_time": 3000, "sound_insert_time": 1000}
    lips = LipSyncRequest(
        model="kling/lip-sync",
        format="kling",
        extra={"face_choose": [choice]},
        uses=(parent("faces", "", "session-1"),),
        video=CLIP,
        sound=SOUND,
    )
    await kling.submit(handed_in(kling, lips))
    assert vendor.submits == [
        (
            "videos/advanced-lip-sync",
            {
                "session_id": "session-1",
                "face_choose": [{**choice, "sound_file": SOUND.url}],
                "external_task_id": "reference-1",
            },
        )
    ]


@pytest.mark.parametrize(("mode", "pictures"), [("addition", (PHOTO,)), ("swap", (PHOTO,)), ("removal", ())])
async def test_a_clip_is_changed_in_every_way_by_its_session(
    kling: Kling, vendor: KlingVendor, handed_in: HandedIn, mode: str, pictures: tuple[MediaRef, ...]
) -> None:
    opened = await finished(kling, handed_in(kling, SELECTION))
    assert opened.details["kept"] == "session-2"
    assert msgspec.json.decode(opened.details["clip"])["total_frame"] == 120
    assert opened.files == (ResultFile("video", url=f"{vendor.url}/files/v.mp4"),)
    changed = RestyleRequest(
        model="kling/kling-v1-6",
        format="kling",
        extra={"edit_mode": mode},
        uses=(parent("selection", "", "session-2"),),
        video=CLIP,
        prompt="a hat",
        references=pictures,
    )
    await kling.submit(handed_in(kling, changed))
    path, body = vendor.submits[-1]
    assert (path, body["session_id"], body["edit_mode"]) == ("videos/multi-elements", "session-2", mode)
    assert body.get("image_list", []) == [{"image": ref.url} for ref in pictures]
    bare = msgspec.structs.replace(changed, uses=())
    assert "marks" in str(kling.refusal(bare))


async def test_a_clip_that_kling_will_not_look_at_is_moderated(kling: Kling, vendor: KlingVendor, handed_in: HandedIn) -> None:
    vendor.selection_status = 3
    with pytest.raises(VendorModerated, match="status 3"):
        await kling.submit(handed_in(kling, SELECTION))


async def test_masks_come_as_files_and_what_they_show_beside_them(
    kling: Kling, vendor: KlingVendor, handed_in: HandedIn
) -> None:
    seen = await finished(kling, handed_in(kling, RecogniseRequest(model="kling/image-recognize", picture=PHOTO)))
    assert vendor.submits == [("videos/image-recognize", {"image": PHOTO.url})]
    assert msgspec.json.decode(seen.details["seen"]) == [
        {"type": "head_seg", "is_contain": False, "url": None},
        {"type": "object_seg", "is_contain": True, "url": 0},
    ]
    assert [file.url for file in seen.files] == [f"{vendor.url}/files/mask.png"]


async def test_what_the_account_made_goes_to_the_vendor_under_the_vendors_own_id(
    kling: Kling, vendor: KlingVendor, handed_in: HandedIn
) -> None:
    operation = VideoRequest(
        model="kling/kling-v3",
        format="kling",
        prompt="<<<element_1>>> speaks",
        first_frame=PHOTO,
        extra={"element_list": [{"element_id": 41}, {"element_id": 6001}], "voice_list": [{"voice_id": "42"}]},
        uses=(parent("element", "41", "77000001"), parent("voice", "42", "99000001")),
    )
    await kling.submit(handed_in(kling, operation))
    body = vendor.submits[-1][1]
    assert body["element_list"] == [{"element_id": 77000001}, {"element_id": 6001}]
    assert body["voice_list"] == [{"voice_id": "99000001"}]


@pytest.mark.parametrize(
    "extra", [{"element_list": [{"element_id": "77000001"}]}, {"voice_list": [{"voice_id": "99840000000000000000"}]}]
)
async def test_another_customers_voice_or_element_cannot_be_named(
    kling: Kling, vendor: KlingVendor, handed_in: HandedIn, extra: dict[str, Any]
) -> None:
    operation = VideoRequest(model="kling/kling-v3", format="kling", prompt="a", first_frame=PHOTO, extra=extra)
    with pytest.raises(VendorRefused, match=r"there is no (voice|element)"):
        await kling.submit(handed_in(kling, operation))
    assert not vendor.tasks


async def test_the_presets_are_asked_for_once_for_many_requests(kling: Kling, vendor: KlingVendor, handed_in: HandedIn) -> None:
    speech = SpeechRequest(model="kling/tts", format="kling", text="hello", voice="5001", language="en")
    for number in range(3):
        await kling.submit(Submission("t", f"reference-{number}", speech, "tts", handed_in(kling, speech).files))
    assert vendor.asked["/v1/general/presets-voices"] == 1
    named = msgspec.structs.replace(speech, voice="oversea_male1")
    await kling.submit(Submission("t", "reference-9", named, "tts", handed_in(kling, named).files))
    assert vendor.submits[-1][1]["voice_id"] == "oversea_male1"


async def test_direct_calls_lead_to_the_vendors_own(kling: Kling, vendor: KlingVendor) -> None:
    listed = await kling.answer(DirectCall(model="kling/element", call="kling/elements", arguments={"page": 1, "size": 5}))
    assert listed["rows"][0]["task_result"] == {"elements": [{"element_id": 6001}]}
    gone = DirectCall(model="kling/element", call="kling/delete", uses=(parent("element", "41", "77000001"),))
    await kling.answer(gone)
    await kling.answer(DirectCall(model="x", call="kling/delete", uses=(parent("voice", "42", "99000001"),)))
    assert vendor.deleted == ["77000001", "99000001"]
    session = (parent("selection", "", "session-2"),)
    marks = {"frame_index": 3, "points": [{"x": 0.5, "y": 0.25}]}
    for step, body in (("add", marks), ("delete", marks), ("clear", {}), ("preview", {})):
        arguments = {"step": step, "body": body, "clip": ""}
        await kling.answer(DirectCall(model="x", call="kling/selection", arguments=arguments, uses=session))
        assert vendor.submits[-1] == (f"videos/multi-elements/{step}-selection", {**body, "session_id": "session-2"})
