"""Luma's official API: videos, key frames, concepts, and what every generation answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dialects.luma_stage import CLIP, END, PICTURE, Client, LumaGateway, serving
from dialects.stage import IMAGE, OTHER_KEY
from genway.dialects.luma import concepts, dialect, official
from genway.operations import Camera, ExtendRequest, ImageRequest, MediaRef, Parent, Size, VideoRequest
from genway.tasks.model import File, State

VIDEO = "/dream-machine/v1/generations/video"
GENERATIONS = "/dream-machine/v1/generations"
MINIMAL = {"model": "ray-2", "prompt": "a tiger walking in snow"}
IMAGE_0 = {"type": "image", "url": PICTURE}
IMAGE_1 = {"type": "image", "url": END}


@pytest.fixture(scope="module")
def application() -> Iterator[Client]:
    with serving() as client:
        yield client


@pytest.fixture
def gateway() -> LumaGateway:
    return LumaGateway()


@pytest.fixture
def client(application: Client, gateway: LumaGateway) -> Client:
    application.app.state.gateway = gateway
    return application


def create(client: Client, body: dict[str, Any], path: str = VIDEO) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def video(client: Client, gateway: LumaGateway, **fields: Any) -> VideoRequest:
    create(client, {**MINIMAL, **fields})
    operation = gateway.last.operation
    assert isinstance(operation, VideoRequest)
    return operation


def extension(client: Client, gateway: LumaGateway, **frames: Any) -> ExtendRequest:
    create(client, {**MINIMAL, "keyframes": frames})
    operation = gateway.last.operation
    assert isinstance(operation, ExtendRequest)
    return operation


def detail(client: Client, body: dict[str, Any], path: str = VIDEO) -> str:
    answer = client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    return str(answer.json()["detail"])


def earlier(client: Client) -> dict[str, str]:
    return {"type": "generation", "id": create(client, MINIMAL)["id"]}


def test_a_video_is_begun_and_told_of_in_lumas_shape(client: Client, gateway: LumaGateway) -> None:
    answer = create(client, {**MINIMAL, "loop": True, "callback_url": "https://hook.example/"})
    operation = gateway.last.operation
    assert isinstance(operation, VideoRequest)
    assert (operation.model, operation.format, operation.prompt) == ("luma/ray-2", "luma.official", MINIMAL["prompt"])
    assert (operation.size, operation.seconds, operation.loop) == (Size(1280, 720), 5, True)
    assert gateway.callback_urls == ["https://hook.example/"]
    assert answer == {
        "id": gateway.last.id,
        "generation_type": "video",
        "state": "queued",
        "failure_reason": None,
        "created_at": "2024-08-22T07:50:52.250000Z",
        "assets": None,
        "model": "ray-2",
        "version": None,
        "request": {
            "generation_type": "video",
            "model": "ray-2",
            "prompt": MINIMAL["prompt"],
            "aspect_ratio": "16:9",
            "loop": True,
            "keyframes": None,
            "resolution": "720p",
            "duration": None,
            "concepts": [],
            "callback_url": "https://hook.example/",
        },
        "warnings": ["the built-in provider did the work"],
    }


@pytest.mark.parametrize("prefix", ["/dream-machine/v1", "/luma/dream-machine/v1"])
def test_the_older_route_needs_no_model_and_both_places_serve(prefix: str, client: Client, gateway: LumaGateway) -> None:
    found = create(client, {"prompt": "a tiger", "keyframes": {"frame0": IMAGE_0}}, f"{prefix}/generations")
    operation = gateway.last.operation
    assert isinstance(operation, VideoRequest)
    assert (operation.model, operation.first_frame) == ("luma/ray-2", MediaRef(url=PICTURE))
    assert client.get(f"{prefix}/generations/{found['id']}").json()["request"]["keyframes"] == {"frame0": IMAGE_0}


@pytest.mark.parametrize(
    ("ratio", "resolution", "size"),
    [
        ("16:9", "540p", Size(960, 540)),
        ("9:16", "720p", Size(720, 1280)),
        ("1:1", "1080p", Size(1080, 1080)),
        ("4:3", "720p", Size(960, 720)),
        ("3:4", "720p", Size(720, 960)),
        ("21:9", "720p", Size(1680, 720)),
        ("9:21", "540p", Size(540, 1260)),
        ("16:9", "4k", Size(3840, 2160)),
    ],
)
def test_ratio_and_resolution_become_a_size(
    ratio: str, resolution: str, size: Size, client: Client, gateway: LumaGateway
) -> None:
    assert video(client, gateway, aspect_ratio=ratio, resolution=resolution).size == size


@pytest.mark.parametrize("duration", ["9s", "9", 9])
def test_a_duration_may_be_written_in_three_ways(duration: Any, client: Client, gateway: LumaGateway) -> None:
    assert video(client, gateway, duration=duration).seconds == 9


def test_pictures_are_the_first_and_the_last_frame(client: Client, gateway: LumaGateway) -> None:
    both = video(client, gateway, keyframes={"frame0": IMAGE_0, "frame1": IMAGE_1})
    assert (both.first_frame, both.last_frame) == (MediaRef(url=PICTURE), MediaRef(url=END))
    end = video(client, gateway, keyframes={"frame0": None, "frame1": IMAGE_1}, prompt="")
    assert (end.first_frame, end.last_frame) == (None, MediaRef(url=END))


def test_a_generation_first_is_carried_on(client: Client, gateway: LumaGateway) -> None:
    before = earlier(client)
    plain = extension(client, gateway, frame0=before)
    assert (plain.parent, plain.before, plain.last_frame) == (Parent(before["id"]), False, None)
    assert (plain.model, plain.prompt, plain.size, plain.seconds) == ("luma/ray-2", MINIMAL["prompt"], Size(1280, 720), 5)
    to_picture = extension(client, gateway, frame0=before, frame1=IMAGE_1)
    assert (to_picture.parent, to_picture.last_frame) == (Parent(before["id"]), MediaRef(url=END))


def test_a_generation_last_gets_a_beginning(client: Client, gateway: LumaGateway) -> None:
    after = earlier(client)
    plain = extension(client, gateway, frame1=after)
    assert (plain.parent, plain.before, plain.first_frame) == (Parent(after["id"]), True, None)
    from_picture = extension(client, gateway, frame0=IMAGE_0, frame1=after)
    assert (from_picture.before, from_picture.first_frame) == (True, MediaRef(url=PICTURE))


def test_between_two_generations_the_first_is_carried_on_to_where_the_second_begins(
    client: Client, gateway: LumaGateway
) -> None:
    first, second = earlier(client), earlier(client)
    gateway.succeed()
    between = extension(client, gateway, frame0=first, frame1=second)
    assert (between.parent, between.before, between.last_frame) == (Parent(first["id"]), False, MediaRef(media_id="med_p"))
    unfinished = earlier(client)
    said = detail(client, {**MINIMAL, "keyframes": {"frame0": first, "frame1": unfinished}})
    assert said == "keyframes.frame1.id: that generation has no first picture to arrive at"


@pytest.mark.parametrize(
    ("frame0", "frame1", "what"),
    [
        (None, "image", "end frame"),
        ("image", "image", "keyframes"),
        (None, "generation", "extend reverse"),
        ("generation", "image", "interpolate video to image"),
        ("image", "generation", "interpolate image to video"),
        ("generation", "generation", "interpolate between two videos"),
    ],
)
def test_what_cannot_be_a_loop_is_refused_in_lumas_words(frame0: str | None, frame1: str, what: str, client: Client) -> None:
    made = {"image": IMAGE_0, "generation": {"type": "generation", "id": "x"}, None: None}
    body = {**MINIMAL, "loop": True, "keyframes": {"frame0": made[frame0], "frame1": made[frame1]}}
    assert detail(client, body) == f"Loop is not supported for {what}"


def test_a_picture_and_an_extension_may_be_loops(client: Client, gateway: LumaGateway) -> None:
    assert video(client, gateway, loop=True, keyframes={"frame0": IMAGE_0}).loop
    create(client, {**MINIMAL, "loop": True, "keyframes": {"frame0": earlier(client)}})
    operation = gateway.last.operation
    assert isinstance(operation, ExtendRequest)
    assert operation.loop


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"model": "ray-2"}, "Prompt is required"),
        ({**MINIMAL, "prompt": "ab"}, "Prompt is too short, minimum length is 3 characters"),
        ({**MINIMAL, "prompt": "a" * 5001}, "Prompt is too long, maximum length is 5000 characters"),
        ({**MINIMAL, "keyframes": {}}, "No keyframes provided"),
        ({**MINIMAL, "keyframes": {"frame0": {"type": "image"}}}, "keyframes.frame0.url: required"),
        ({**MINIMAL, "keyframes": {"frame1": {"type": "generation"}}}, "keyframes.frame1.id: required"),
        ({**MINIMAL, "keyframes": {"frame0": {"type": "clip"}}}, 'keyframes.frame0.type: generation or image, got "clip"'),
        ({**MINIMAL, "model": "gen3"}, 'model: ray-2, ray-flash-2 or ray-1-6, got "gen3"'),
        ({**MINIMAL, "duration": "7s"}, 'duration: 5s or 9s, got "7s"'),
        ({**MINIMAL, "keyframes": {"frame0": {"type": "image", "url": "http://10.0.0.1/"}}},
         "keyframes.frame0.url: a private address"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_refused_in_lumas_words_or_by_field(body: dict[str, Any], said: str, client: Client) -> None:
    assert detail(client, body) == said


def test_concepts_become_a_camera_motion_and_words(client: Client, gateway: LumaGateway) -> None:
    keys = ["push_in", "pan_left", "handheld", "low_angle"]
    operation = video(client, gateway, concepts=[{"key": key} for key in keys])
    assert operation.camera == Camera(zoom=5, pan=-5)
    assert operation.style == "handheld camera, low angle shot"
    assert operation.extra["concepts"] == [{"key": key} for key in keys]
    assert video(client, gateway).camera.still
    assert detail(client, {**MINIMAL, "concepts": [{"key": "static"}, {"key": "fly"}]}).startswith(
        "concepts[1].key: truck_left"
    )


def test_concepts_that_add_up_stay_within_the_limits() -> None:
    assert concepts.camera(["push_in", "zoom_in", "zoom_in"]) == Camera(zoom=10)
    assert concepts.camera(["orbit_left", "orbit_right"]).still


def test_the_lists_of_concepts_and_camera_motions_are_served(client: Client) -> None:
    listed = client.get(f"{GENERATIONS}/concepts/list").json()
    assert len(listed) == len(set(listed)) == 34
    assert {"truck_left", "dolly_zoom", "tiny_planet", "static", "crane_down"} <= set(listed)
    assert "camera orbit left" in client.get(f"{GENERATIONS}/camera_motion/list").json()


def test_unknown_fields_are_kept_for_a_provider_of_the_same_format(client: Client, gateway: LumaGateway) -> None:
    operation = video(client, gateway, hdr=True, generation_type="image")
    assert operation.extra == {"hdr": True, "generation_type": "video"}


def test_a_finished_video_has_its_assets(client: Client, gateway: LumaGateway) -> None:
    found = create(client, MINIMAL)
    gateway.succeed()
    answer = client.get(f"{GENERATIONS}/{found['id']}").json()
    assert answer["state"] == "completed"
    assert answer["assets"] == {
        "video": "http://gen.test/media/med_v.mp4?signature=v",
        "image": "http://gen.test/media/med_p.jpg",
        "progress_video": None,
    }


def test_a_failed_generation_says_why(client: Client, gateway: LumaGateway) -> None:
    found = create(client, MINIMAL)
    gateway.fail(code="moderation", message="Frame moderation failed")
    answer = client.get(f"{GENERATIONS}/{found['id']}").json()
    assert (answer["state"], answer["failure_reason"], answer["assets"]) == ("failed", "Frame moderation failed", None)
    gateway.fail(State.CANCELLED, "cancelled", None)
    assert client.get(f"{GENERATIONS}/{found['id']}").json()["failure_reason"] == "the task was cancelled"


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (State.SUBMITTING, "queued"),
        (State.RUNNING, "dreaming"),
        (State.PARKED, "dreaming"),
        (State.STORING, "dreaming"),
        (State.EXPIRED, "failed"),
    ],
)
def test_every_state_has_a_word(state: State, word: str, client: Client, gateway: LumaGateway) -> None:
    found = create(client, MINIMAL)
    gateway.change(state=state)
    assert client.get(f"{GENERATIONS}/{found['id']}").json()["state"] == word


def test_a_task_of_another_format_is_told_of_too(client: Client, gateway: LumaGateway) -> None:
    task_id = client.post("/luma/generations", json={"user_prompt": "a boat"}).json()["id"]
    answer = client.get(f"{GENERATIONS}/{task_id}").json()
    assert answer["request"] == {"generation_type": "video", "model": "ray-2", "prompt": "a boat"}
    gateway.change(state=State.SUCCEEDED, operation=ImageRequest(model="flux/dev", prompt="a cat"), files=(IMAGE,))
    answer = client.get(f"{GENERATIONS}/{task_id}").json()
    assert (answer["generation_type"], answer["model"]) == ("image", "flux/dev")
    assert answer["assets"] == {"video": None, "image": IMAGE.url, "progress_video": None}
    sound = File(role="audio", media_id="med_a", content_type="audio/mpeg", bytes=1, sha256="a", url="http://gen.test/a.mp3")
    gateway.change(files=(sound,))
    assert client.get(f"{GENERATIONS}/{task_id}").json()["assets"]["audio"] == sound.url


def test_generations_are_listed_newest_first_page_by_page(client: Client) -> None:
    made = [create(client, MINIMAL)["id"] for _ in range(3)]
    client.post("/luma/generations", json={"user_prompt": "not in this format"})
    page = client.get(GENERATIONS, params={"limit": 2}).json()
    assert [each["id"] for each in page["generations"]] == [made[2], made[1]]
    assert {name: page[name] for name in ("count", "limit", "offset", "has_more")} == {
        "count": 2,
        "limit": 2,
        "offset": 0,
        "has_more": True,
    }
    rest = client.get(GENERATIONS, params={"limit": 2, "offset": 2}).json()
    assert ([each["id"] for each in rest["generations"]], rest["has_more"]) == ([made[0]], False)
    assert client.get(GENERATIONS).json()["limit"] == 100
    assert client.get(GENERATIONS, headers={"Authorization": f"Bearer {OTHER_KEY}"}).json()["generations"] == []
    refused = client.get(GENERATIONS, params={"limit": 0})
    assert (refused.status_code, refused.json()["detail"]) == (400, 'limit: a whole number from 1 to 100, got "0"')


def test_a_deleted_generation_is_gone(client: Client) -> None:
    made = create(client, MINIMAL)["id"]
    answer = client.delete(f"{GENERATIONS}/{made}")
    assert (answer.status_code, answer.content) == (204, b"")
    answer = client.get(f"{GENERATIONS}/{made}")
    assert (answer.status_code, answer.json()["detail"]) == (404, f"there is no task {made}")


@pytest.mark.parametrize(
    ("unlimited", "budget", "cents"),
    [(False, None, 1234.5678), (False, 250_000, 25.0), (True, None, 2147483647.0), (True, 250_000, 25.0)],
)
def test_the_balance_is_told_in_cents(
    unlimited: bool, budget: int | None, cents: float, client: Client, gateway: LumaGateway
) -> None:
    gateway.unlimited, gateway.budget_left = unlimited, budget
    assert client.get("/dream-machine/v1/credits").json() == {"credit_balance": pytest.approx(cents)}


def test_a_ping_answers_a_good_key(client: Client) -> None:
    assert client.get("/luma/dream-machine/v1/ping").json() == {"message": "pong"}
    refused = client.get("/dream-machine/v1/ping", headers={"Authorization": "Bearer sk-none"})
    assert (refused.status_code, refused.json()["detail"]) == (401, "unknown key")
    busy = client.get("/dream-machine/v1/ping", headers={"Authorization": "Bearer sk-busy"})
    assert (busy.status_code, busy.headers["Retry-After"]) == (429, "7")


def test_vercels_sdk_reads_errors_as_a_list(client: Client) -> None:
    answer = client.post(
        VIDEO, json={**MINIMAL, "duration": "7s"}, headers={"User-Agent": "ai/6.0.326 ai-sdk/provider-utils/4.0.51"}
    )
    said = 'duration: 5s or 9s, got "7s"'
    assert answer.json()["detail"] == [
        {"type": "invalid_request", "loc": ["body", "duration"], "msg": said, "input": ""},
    ]


def test_pictures_that_were_sent_inline_are_not_repeated_in_the_answer(client: Client) -> None:
    answer = create(
        client, {**MINIMAL, "keyframes": {"frame0": {"type": "image", "url": "data:image/png;base64," + "A" * 4000}}}
    )
    assert answer["request"]["keyframes"] == {"frame0": {"type": "image"}}


def test_a_callback_holds_the_generation(client: Client, gateway: LumaGateway) -> None:
    create(client, {**MINIMAL, "callback_url": "https://hook.example/"})
    task = gateway.succeed()
    assert dialect.formats[official.FORMAT].render(task) == client.get(f"{GENERATIONS}/{task.id}").json()


def test_a_dry_run_answers_the_price(client: Client, gateway: LumaGateway) -> None:
    answer = client.post(VIDEO, json=MINIMAL, headers={"X-Genway-Dry-Run": "1"}).json()
    assert (answer["dry_run"], answer["quote"]["total"]) == (True, "0.50")
    assert gateway.tasks == {}


def test_a_clip_is_no_key_frame(client: Client, gateway: LumaGateway) -> None:
    video(client, gateway, keyframes={"frame0": {"type": "image", "url": CLIP}})
    assert gateway.media[-1] == ("keyframes.frame0.url", CLIP, ("image",))
