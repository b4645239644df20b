"""Voices, elements and sessions in Kling's dialect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from dialects.kling_stage import CLIP, MP3, OTHER, PICTURE, PNG, SOUND, V1, Client, refused, sound_made, submit, video_made
from dialects.stage import OTHER_KEY, FakeGateway, client_of
from genway.dialects.kling import dialect
from genway.dialects.numbers import number
from genway.errors import NotFound
from genway.operations import (
    ElementRequest,
    FacesRequest,
    LipSyncRequest,
    MediaRef,
    Parent,
    RecogniseRequest,
    RestyleRequest,
    SelectionRequest,
    VoiceRequest,
)
from genway.tasks.model import State, Task

ELEMENTS = "videos/multi-elements"
ELEMENT = {"element_name": "Rex", "element_description": "a dog", "reference_type": "image_refer"}
PICTURES = {"frontal_image": PICTURE, "refer_images": [{"image_url": OTHER}]}
FACE = {"face_id": "7", "face_image": 0, "start_time": 0, "end_time": 5200}
TIMES = {"sound_start_time": 0, "sound_end_time": 3000, "sound_insert_time": 1000}


@pytest.fixture(scope="module")
def kling() -> Iterator[Client]:
    with client_of(dialect) as client:
        yield client


@pytest.fixture
def client(kling: Client, gateway: FakeGateway) -> Client:
    kling.app.state.gateway = gateway
    return kling


def at_once(client: Client, gateway: FakeGateway, endpoint: str, body: Any, **changes: Any) -> dict[str, Any]:
    """The data of an answer whose work is done while it is waited for."""
    gateway.on_wait = lambda: gateway.change(state=State.SUCCEEDED, charged=70_000, **changes)
    answer = client.post(f"{V1}/{endpoint}", json=body)
    assert answer.status_code == 200, answer.text
    gateway.on_wait = lambda: None
    data: dict[str, Any] = answer.json()["data"]
    return data


def faces(client: Client, gateway: FakeGateway, **body: Any) -> dict[str, Any]:
    details = {"kept": "session-1", "faces": msgspec.json.encode([FACE]).decode()}
    return at_once(client, gateway, "videos/identify-face", body or {"video_url": CLIP}, details=details, files=(PNG,))


def selection(client: Client, gateway: FakeGateway, **body: Any) -> dict[str, Any]:
    details = {"kept": "session-2", "clip": '{"fps":24,"total_frame":120}'}
    return at_once(client, gateway, f"{ELEMENTS}/init-selection", body or {"video_url": CLIP}, details=details)


def voice(client: Client, gateway: FakeGateway) -> Task:
    submit(client, gateway, "general/custom-voices", {"voice_name": "Grandma", "voice_url": SOUND})
    return gateway.change(state=State.SUCCEEDED, files=(MP3,), details={"kept": "99"})


def element(client: Client, gateway: FakeGateway) -> Task:
    submit(client, gateway, "general/advanced-custom-elements", {**ELEMENT, "element_image_list": PICTURES})
    return gateway.change(state=State.SUCCEEDED, details={"kept": "77"})


def test_a_voice_is_made_from_a_sound_or_an_own_video(client: Client, gateway: FakeGateway) -> None:
    task_id = video_made(client, gateway)
    operation = submit(client, gateway, "general/custom-voices", {"voice_name": "Grandma", "voice_url": SOUND})
    assert operation == VoiceRequest(model="kling/custom-voice", format="kling", name="Grandma", sound=MediaRef(url=SOUND))
    heard = submit(client, gateway, "general/custom-voices", {"voice_name": "Me", "video_id": f"{task_id}-0"})
    assert (heard.sound, heard.parent) == (None, Parent(task_id))
    both = {"voice_name": "Me", "voice_url": SOUND, "video_id": task_id}
    assert refused(client, "general/custom-voices", both)[:2] == (400, 1201)
    assert refused(client, "general/custom-voices", {"voice_name": "a" * 21, "voice_url": SOUND})[:2] == (400, 1201)


def test_a_voice_is_told_of_by_a_number_of_ours_and_never_by_the_vendors(client: Client, gateway: FakeGateway) -> None:
    task = voice(client, gateway)
    answer = client.get(f"{V1}/general/custom-voices/{task.id}")
    [told] = answer.json()["data"]["task_result"]["voices"]
    assert told == {
        "voice_id": str(number(task)),
        "voice_name": "Grandma",
        "trial_url": MP3.url,
        "owned_by": task.account_id,
    }
    listed = client.get(f"{V1}/general/custom-voices?pageSize=1000").json()["data"]
    assert [row["task_id"] for row in listed] == [task.id]
    assert client.get(f"{V1}/general/custom-voices?pageSize=1001").status_code == 400


def test_an_element_is_made_from_pictures_or_a_clip(client: Client, gateway: FakeGateway) -> None:
    body = {**ELEMENT, "element_image_list": PICTURES, "tag_list": [{"tag_id": "o_103"}]}
    operation = submit(client, gateway, "general/advanced-custom-elements", body)
    assert operation == ElementRequest(
        model="kling/element",
        format="kling",
        name="Rex",
        description="a dog",
        pictures=(MediaRef(url=PICTURE), MediaRef(url=OTHER)),
        extra={"tag_list": [{"tag_id": "o_103"}]},
    )
    task = gateway.change(state=State.SUCCEEDED, details={"kept": "77"})
    [told] = client.get(f"{V1}/general/advanced-custom-elements/{task.id}").json()["data"]["task_result"]["elements"]
    assert (told["element_id"], told["element_name"], told["tag_list"]) == (number(task), "Rex", [{"tag_id": "o_103"}])
    moving = {**ELEMENT, "reference_type": "video_refer", "element_video_list": {"refer_videos": [{"video_url": CLIP}]}}
    assert submit(client, gateway, "general/advanced-custom-elements", moving).video == MediaRef(url=CLIP)
    assert refused(client, "general/advanced-custom-elements", ELEMENT)[1:] == (
        1201,
        "element_image_list: required for image_refer",
    )


@pytest.mark.parametrize("path", ["presets-voices", "advanced-presets-elements"])
def test_presets_are_the_vendors_and_for_everybody(client: Client, gateway: FakeGateway, path: str) -> None:
    call = {"presets-voices": "kling/voices", "advanced-presets-elements": "kling/elements"}[path]
    gateway.answers[call] = {"rows": [{"task_id": "1"}]}
    answer = client.get(f"{V1}/general/{path}?pageNum=2&pageSize=7")
    assert answer.json()["data"] == [{"task_id": "1"}]
    assert answer.headers["X-Genway-Provider"] == "local"
    assert (gateway.calls[-1].call, gateway.calls[-1].arguments) == (call, {"page": 2, "size": 7})


@pytest.mark.parametrize("kind", ["voice", "element"])
def test_what_is_deleted_is_deleted_with_the_vendor_and_here(client: Client, gateway: FakeGateway, kind: str) -> None:
    task = (voice if kind == "voice" else element)(client, gateway)
    path, body = f"{V1}/general/delete-{kind}s", {f"{kind}_id": str(number(task))}
    foreign = client.post(path, json=body, headers={"Authorization": f"Bearer {OTHER_KEY}"})
    assert (foreign.status_code, foreign.json()["code"]) == (400, 1201)
    assert client.post(path, json=body).json()["data"]["task_status"] == "succeed"
    assert (gateway.calls[-1].call, gateway.calls[-1].uses) == ("kling/delete", (Parent(task.id),))
    assert task.id not in gateway.tasks
    assert client.post(path, json=body).status_code == 400


def test_what_the_vendor_has_lost_already_can_still_be_deleted(client: Client, gateway: FakeGateway) -> None:
    task = voice(client, gateway)
    gateway.refuse = NotFound("gone")
    assert client.post(f"{V1}/general/delete-voices", json={"voice_id": str(number(task))}).status_code == 200
    assert task.id not in gateway.tasks


def test_requests_use_the_accounts_own_voices_and_elements(client: Client, gateway: FakeGateway) -> None:
    spoken, shown = str(number(voice(client, gateway))), number(element(client, gateway))
    used = [task.id for task in gateway.tasks.values()]
    body = {
        "model_name": "kling-v3",
        "prompt": "<<<element_1>>>",
        "image": PICTURE,
        "sound": "on",
        "voice_list": [{"voice_id": spoken}],
        "element_list": [{"element_id": shown}, {"element_id": 160}],
    }
    operation = submit(client, gateway, "videos/image2video", body)
    assert operation.uses == (Parent(used[0], name=spoken), Parent(used[1], name=str(shown)))
    answer = client.post(f"{V1}/videos/image2video", json=body, headers={"Authorization": f"Bearer {OTHER_KEY}"})
    assert answer.status_code == 200
    assert gateway.last.operation.uses == ()


def test_faces_are_looked_for_within_the_request(client: Client, gateway: FakeGateway) -> None:
    told = faces(client, gateway)
    assert told == {
        "session_id": gateway.last.id,
        "final_unit_deduction": "7",
        "face_data": [{**FACE, "face_image": PNG.url}],
    }
    assert gateway.last.operation == FacesRequest(
        model="kling/identify-face", format="kling", video=MediaRef(url=CLIP), seconds=10
    )


@pytest.mark.parametrize("by", ["video_url", "video_id"])
def test_an_advanced_lip_sync_goes_on_from_a_session(client: Client, gateway: FakeGateway, by: str) -> None:
    task_id = video_made(client, gateway)
    session = faces(client, gateway, **{by: CLIP if by == "video_url" else f"{task_id}-0"})["session_id"]
    face = {"face_id": 7, "audio_id": f"{sound_made(client, gateway)}-1", **TIMES}
    body = {"session_id": session, "face_choose": [face]}
    operation = submit(client, gateway, "videos/advanced-lip-sync", body)
    assert isinstance(operation, LipSyncRequest)
    assert (operation.sound, operation.uses) == (MediaRef(media_id="med_w"), (Parent(session),))
    assert (operation.video, operation.parent) == ((MediaRef(url=CLIP), None) if by == "video_url" else (None, Parent(task_id)))
    assert operation.extra["face_choose"] == [{"face_id": "7", **TIMES, "sound_volume": 1.0, "original_audio_volume": 1.0}]
    if by == "video_id":
        assert gateway.last.context["parent_video"]["id"] == f"{task_id}-0"
    short = {**body, "face_choose": [{**face, "sound_end_time": 1999}]}
    assert refused(client, "videos/advanced-lip-sync", short)[:2] == (400, 1201)


@pytest.mark.parametrize("session", ["850508686686064678", "", "video"])
def test_a_lip_sync_needs_a_session_in_which_faces_were_found(client: Client, gateway: FakeGateway, session: str) -> None:
    named = video_made(client, gateway) if session == "video" else session
    body = {"session_id": named, "face_choose": [{"face_id": "0", "sound_file": SOUND, **TIMES}]}
    assert refused(client, "videos/advanced-lip-sync", body)[:2] == (400, 1201)


def test_a_session_is_of_no_use_to_another_account(client: Client, gateway: FakeGateway) -> None:
    marking, speaking = selection(client, gateway)["session_id"], faces(client, gateway)["session_id"]
    stranger = {"Authorization": f"Bearer {OTHER_KEY}"}
    lips = {"session_id": speaking, "face_choose": [{"face_id": "7", "sound_file": SOUND, **TIMES}]}
    for path, body in (
        (f"{ELEMENTS}/clear-selection", {"session_id": marking}),
        (f"{ELEMENTS}/preview-selection", {"session_id": marking}),
        (ELEMENTS, {"session_id": marking, "edit_mode": "removal", "prompt": "the hat"}),
        ("videos/advanced-lip-sync", lips),
    ):
        answer = client.post(f"{V1}/{path}", json=body, headers=stranger)
        assert (answer.status_code, answer.json()["code"]) == (400, 1201), path
    assert not gateway.calls


def test_a_clip_is_opened_for_marking(client: Client, gateway: FakeGateway) -> None:
    told = selection(client, gateway)
    assert told == {
        "status": 0,
        "session_id": gateway.last.id,
        "final_unit_deduction": "7",
        "fps": 24,
        "total_frame": 120,
        "normalized_video": CLIP,
    }
    assert isinstance(gateway.last.operation, SelectionRequest)


@pytest.mark.parametrize("step", ["add", "delete", "clear", "preview"])
def test_each_step_of_marking_goes_to_the_session_with_the_vendor(client: Client, gateway: FakeGateway, step: str) -> None:
    session = selection(client, gateway)["session_id"]
    gateway.answers["kling/selection"] = {"status": 0, "session_id": "session-2", "res": {"frame_index": 3}}
    marks = {"frame_index": 3, "points": [{"x": 0.5, "y": 0.25}]} if step in {"add", "delete"} else {}
    answer = client.post(f"{V1}/{ELEMENTS}/{step}-selection", json={"session_id": session, **marks})
    assert answer.json()["data"] == {"status": 0, "session_id": session, "res": {"frame_index": 3}}
    call = gateway.calls[-1]
    assert (call.call, call.uses) == ("kling/selection", (Parent(session),))
    assert call.arguments == {"step": step, "body": marks, "clip": CLIP}


@pytest.mark.parametrize(
    "marks",
    [
        {"frame_index": 0, "points": [{"x": 1.5, "y": 0}]},
        {"frame_index": 0, "points": []},
        {"frame_index": -1, "points": [{"x": 0, "y": 0}]},
        {"points": [{"x": 0, "y": 0}]},
    ],
)
def test_marks_outside_the_clip_are_refused(client: Client, gateway: FakeGateway, marks: dict[str, Any]) -> None:
    session = selection(client, gateway)["session_id"]
    assert refused(client, f"{ELEMENTS}/add-selection", {"session_id": session, **marks})[:2] == (400, 1201)
    assert not gateway.calls


def test_what_was_marked_is_changed(client: Client, gateway: FakeGateway) -> None:
    session = selection(client, gateway)["session_id"]
    body = {"session_id": session, "edit_mode": "swap", "prompt": "a hat", "image_list": [{"image": PICTURE}]}
    operation = submit(client, gateway, ELEMENTS, body)
    assert isinstance(operation, RestyleRequest)
    assert (operation.video, operation.references) == (MediaRef(url=CLIP), (MediaRef(url=PICTURE),))
    assert (operation.extra, operation.uses) == ({"edit_mode": "swap"}, (Parent(session),))
    said = refused(client, ELEMENTS, {**body, "edit_mode": "removal"})
    assert said == (400, 1201, "image_list: removal takes 0 pictures, got 1")


def test_a_picture_is_looked_into(client: Client, gateway: FakeGateway) -> None:
    seen = [{"type": "head_seg", "is_contain": False, "url": None}, {"type": "object_seg", "is_contain": True, "url": 0}]
    details = {"seen": msgspec.json.encode(seen).decode()}
    told = at_once(client, gateway, "videos/image-recognize", {"image": PICTURE}, details=details, files=(PNG,))
    assert [row["url"] for row in told["task_result"]["images"]] == ["", PNG.url]
    assert gateway.last.operation == RecogniseRequest(
        model="kling/image-recognize", format="kling", picture=MediaRef(url=PICTURE)
    )


@pytest.mark.parametrize(
    ("code", "status", "kling_code"),
    [("moderation", 400, 1301), ("invalid_request", 400, 1200), ("vendor_error", 500, 5000)],
)
def test_work_within_the_request_that_fails_is_an_error(
    client: Client, gateway: FakeGateway, code: str, status: int, kling_code: int
) -> None:
    gateway.on_wait = lambda: gateway.fail(code=code, message="no face in the clip")
    assert refused(client, "videos/identify-face", {"video_url": CLIP}) == (status, kling_code, "no face in the clip")


def test_work_within_the_request_that_takes_too_long_is_cancelled(client: Client, gateway: FakeGateway) -> None:
    assert refused(client, "videos/identify-face", {"video_url": CLIP})[:2] == (504, 5002)
    assert gateway.last.state is State.CANCELLED
