"""Videos in MiniMax's second format: what is read of the list that one is made from, and what is answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from dialects.minimax_stage import Client, Files, Receiver, Working, serving
from dialects.stage import KEY, NOW, OTHER_KEY
from genway.dialects.minimax import dialect
from genway.dialects.minimax.video_v2 import UNTOLD_SECONDS, VIDEO
from genway.errors import GenwayError, InsufficientBalance, NoChannel, RateLimited
from genway.operations import MediaRef, ReferenceRequest, Size, VideoRequest
from genway.tasks.model import File, State

PLACE, QUERY = "/v2/video_generation", "/v2/query/video_generation"
PICTURE, CLIP, SOUND = "https://a.example/1.png", "https://a.example/1.mp4", "https://a.example/1.mp3"
TEXT = {"type": "text", "text": "a fox trots"}


@pytest.fixture(scope="module")
def application() -> Iterator[Client]:
    with serving() as client:
        yield client


@pytest.fixture
def gateway() -> Working:
    return Working()


@pytest.fixture
def client(application: Client, gateway: Working) -> Client:
    application.app.state.gateway = gateway
    application.app.state.library = Files()
    return application


def part(kind: str, url: str, role: str = "") -> dict[str, Any]:
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}} | ({"role": role} if role else {})


def create(client: Client, gateway: Working, *content: Any, **fields: Any) -> Any:
    answer = client.post(PLACE, json={"model": "MiniMax-H3", "content": list(content) or [TEXT], **fields})
    assert answer.status_code == 200, answer.text
    assert answer.json()["task_id"] == gateway.last.id
    return gateway.last.operation


def told(client: Client, gateway: Working) -> Any:
    answer = client.get(f"{QUERY}/{gateway.last.id}")
    assert answer.status_code == 200, answer.text
    return answer.json()["task"]


def test_text_becomes_a_video_of_the_models_usual_length_and_size(client: Client, gateway: Working) -> None:
    assert create(client, gateway) == VideoRequest(
        model="minimax/MiniMax-H3", format=VIDEO, prompt="a fox trots", seconds=5, size=Size(1366, 768)
    )


@pytest.mark.parametrize(
    ("resolution", "ratio", "size"),
    [
        ("2K", "16:9", Size(2560, 1440)),
        ("2k", "3:4", Size(1536, 2048)),
        ("768P", "1:1", Size(768, 768)),
        ("768P", "9:16", Size(768, 1366)),
    ],
)
def test_a_resolution_and_a_ratio_are_a_size(resolution: str, ratio: str, size: Size, client: Client, gateway: Working) -> None:
    made = create(client, gateway, resolution=resolution, ratio=ratio, duration=15)
    assert (made.size, made.seconds, told(client, gateway)["ratio"]) == (size, 15, ratio)


def test_frames_lead_the_shape(client: Client, gateway: Working) -> None:
    frames = (part("image", PICTURE), part("image", PICTURE, "last_frame"))
    made = create(client, gateway, TEXT, *frames, ratio="1:1", aigc_watermark=True, more=1)
    assert made.first_frame == made.last_frame == MediaRef(url=PICTURE)
    assert made.extra == {"aigc_watermark": True, "more": 1, "ratio": "adaptive"}
    assert told(client, gateway)["ratio"] == "adaptive"


def test_pictures_of_subjects_are_for_any_upstream_and_clips_and_sounds_for_one_that_goes_by_them(
    client: Client, gateway: Working
) -> None:
    pictures = [part("image", PICTURE, "reference_image")] * 9
    made = create(client, gateway, TEXT, *pictures)
    assert isinstance(made, VideoRequest)
    assert len(made.references) == 9
    made = create(client, gateway, TEXT, pictures[0], part("video", CLIP), part("audio", SOUND), part("video", CLIP))
    assert isinstance(made, ReferenceRequest)
    assert (made.clips, made.sounds) == ((MediaRef(url=CLIP),) * 2, (MediaRef(url=SOUND),))
    assert made.units() == {"call": 1, "second": 5 + 2 * UNTOLD_SECONDS}


@pytest.mark.parametrize(
    ("content", "fields", "said"),
    [
        ([], {}, "content"),
        ([{"type": "text", "text": " "}], {}, "content: a text, or a file with a role"),
        ([{"type": "text", "text": "a" * 7001}], {}, "content: at most 7000 characters"),
        ([TEXT, part("image", "")], {}, "content[1].image_url.url: required"),
        ([TEXT, part("image", PICTURE, "reference_video")], {}, "content[1].role: first_frame, last_frame or reference_image"),
        ([part("image", PICTURE), part("video", CLIP)], {}, "content: frames to begin and end with"),
        ([part("image", PICTURE, "last_frame")], {}, "content: a last_frame needs a first_frame"),
        ([part("audio", SOUND)], {}, "content: a reference_audio needs"),
        ([part("video", CLIP)] * 4, {}, "content: at most 3 with the role reference_video, got 4"),
        ([TEXT], {"ratio": "adaptive"}, "ratio: 21:9, 16:9"),
        ([TEXT], {"ratio": "2:1"}, "ratio: adaptive, 21:9"),
        ([TEXT], {"duration": 3}, "duration: MiniMax-H3 makes 4 to 15 seconds, got 3"),
        ([TEXT], {"model": "MiniMax-H3-Max", "duration": 4}, "duration: MiniMax-H3-Max makes 5 to 15 seconds"),
        ([TEXT], {"resolution": "480P"}, "resolution: MiniMax-H3 makes 768P or 2K"),
        ([TEXT], {"model": "MiniMax-Hailuo-02"}, "model: MiniMax-H3 or MiniMax-H3-Max"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(content: Any, fields: Any, said: str, client: Client, gateway: Working) -> None:
    answer = client.post(PLACE, json={"model": "MiniMax-H3", "content": content} | fields)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"].startswith(said), error
    assert error["message"].endswith("(2013)")
    assert (answer.json()["type"], error["http_code"]) == ("error", "400")


@pytest.mark.parametrize("prefix", ["/minimax", "/minimaxi", "/hailuo", "/task/minimax"])
def test_every_prefix_leads_to_the_same(prefix: str, client: Client, gateway: Working) -> None:
    made = client.post(f"{prefix}{PLACE}", json={"model": "minimax/minimax-h3", "content": [TEXT]}).json()["task_id"]
    assert client.get(f"{prefix}{QUERY}/{made}").json()["task"]["id"] == made


@pytest.mark.parametrize(
    ("state", "word"),
    [(State.QUEUED, "queued"), (State.SUBMITTING, "queued"), (State.PARKED, "running"), (State.STORING, "running")],
)
def test_a_query_tells_how_it_is_going(state: State, word: str, client: Client, gateway: Working) -> None:
    create(client, gateway)
    gateway.change(state=state)
    task = told(client, gateway)
    assert (task["status"], task["duration"], task["model"]) == (word, 5, "MiniMax-H3")
    assert "content" not in task
    assert "error" not in task


def test_a_query_of_success_has_the_link_and_the_seconds(client: Client, gateway: Working) -> None:
    create(client, gateway, part("image", PICTURE, "reference_image"), part("video", CLIP))
    video = File(
        role="video", media_id="m", content_type="video/mp4", bytes=1, sha256="a", extension="mp4", url="http://gen.test/m.mp4"
    )
    gateway.change(state=State.SUCCEEDED, files=(video,), finished_at=NOW + 3)
    task = told(client, gateway)
    assert (task["status"], task["content"]) == ("succeeded", {"url": "http://gen.test/m.mp4"})
    assert task["usage"] == {"total_seconds": 20, "input_seconds": 15, "output_seconds": 5}


@pytest.mark.parametrize(
    ("end", "status", "code"),
    [
        ({"state": State.FAILED, "error_code": "moderation"}, "failed", "1026"),
        ({"state": State.FAILED, "error_code": "moderation", "vendor_id": "v2:1"}, "failed", "1027"),
        ({"state": State.FAILED, "error_code": "vendor_error"}, "failed", "1033"),
        ({"state": State.EXPIRED}, "expired", "1001"),
        ({"state": State.CANCELLED, "error_code": "cancelled"}, "cancelled", "1000"),
    ],
)
def test_an_end_without_a_video_has_its_code(end: Any, status: str, code: str, client: Client, gateway: Working) -> None:
    create(client, gateway)
    gateway.change(error_message="so it is", finished_at=NOW, **end)
    task = told(client, gateway)
    assert (task["status"], task["error"]) == (status, {"code": code, "message": "so it is"})


def test_a_foreign_video_is_not_found(client: Client, gateway: Working) -> None:
    create(client, gateway)
    stranger = {"Authorization": f"Bearer {OTHER_KEY}"}
    for method, path in (("GET", f"{QUERY}/{gateway.last.id}"), ("DELETE", f"{PLACE}/{gateway.last.id}")):
        assert client.request(method, path, headers=stranger).status_code == 404
    assert client.get(QUERY, headers=stranger).json()["tasks"] == []


def test_the_videos_of_this_format_are_listed_newest_first(client: Client, gateway: Working) -> None:
    for seconds in (4, 5, 6):
        create(client, gateway, duration=seconds)
    page = client.get(QUERY, params={"page_num": 1, "page_size": 2}).json()
    assert ([task["duration"] for task in page["tasks"]], page["has_more"]) == ([6, 5], True)
    page = client.get(QUERY, params={"page_num": 2, "page_size": 2, "filter.status": "queued"}).json()
    assert ([task["duration"] for task in page["tasks"]], page["has_more"]) == ([4], False)
    refused = client.get(QUERY, params={"filter.status": "dreaming"})
    assert refused.json()["error"]["message"].startswith("filter.status: queued, running")


def test_what_waits_is_cancelled_what_has_ended_forgotten_and_what_is_being_made_neither(
    client: Client, gateway: Working
) -> None:
    create(client, gateway)
    place = f"{PLACE}/{gateway.last.id}"
    gateway.change(state=State.RUNNING)
    refused = client.delete(place)
    assert (refused.status_code, refused.json()["error"]["http_code"]) == (409, "409")
    gateway.change(state=State.QUEUED)
    assert client.delete(place).status_code == 200
    assert told(client, gateway)["status"] == "cancelled"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InsufficientBalance("empty"), 402, 1008),
        (RateLimited("too many", retry_after=7), 429, 1002),
        (NoChannel("nobody"), 422, 2013),
    ],
)
def test_errors_have_the_true_status_and_end_in_their_code(
    error: GenwayError, status: int, code: int, client: Client, gateway: Working
) -> None:
    gateway.refuse = error
    answer = client.post(PLACE, json={"model": "MiniMax-H3", "content": [TEXT]})
    assert (answer.status_code, answer.json()["error"]["message"]) == (status, f"{error} ({code})")


def test_a_callback_says_what_the_query_says(client: Client, gateway: Working) -> None:
    with Receiver() as receiver:
        create(client, gateway, callback_url=receiver.url)
    assert [set(body) for body in receiver.seen] == [{"challenge"}]
    gateway.change(state=State.RUNNING)
    rendered = msgspec.to_builtins(dialect.formats[VIDEO].render(gateway.last))
    assert rendered["task"] == told(client, gateway)
    assert [dialect.formats[VIDEO].tells(state) for state in (State.QUEUED, State.RUNNING, State.FAILED)] == [False, True, True]


def test_a_receiver_that_does_not_echo_the_challenge_is_left_alone(client: Client, gateway: Working) -> None:
    with Receiver(lambda challenge: {"challenge": "no"}) as receiver:
        answer = client.post(PLACE, json={"model": "MiniMax-H3", "content": [TEXT], "callback_url": receiver.url})
    assert "did not answer the challenge" in answer.json()["warnings"][-1]
    assert gateway.last.callback_url is None


def test_a_key_is_needed(client: Client) -> None:
    answer = client.get(f"{QUERY}/1", headers={"Authorization": ""})
    assert (answer.status_code, KEY not in answer.text) == (401, True)
