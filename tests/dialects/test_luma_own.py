"""Luma's own format of gateways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dialects.luma_stage import END, PICTURE, Client, LumaGateway, serving
from dialects.stage import NOW, OTHER_KEY
from genway.dialects.luma import dialect, own
from genway.operations import ExtendRequest, MediaRef, Parent, Size, VideoRequest
from genway.tasks.model import State

MINIMAL = {"user_prompt": "a paper boat drifting in rain", "aspect_ratio": "16:9"}


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


def create(client: Client, body: dict[str, Any], path: str = "/luma/generations") -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refusal(client: Client, body: dict[str, Any], path: str = "/luma/generations") -> str:
    answer = client.post(path, json=body)
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"]["message"])


def test_a_minimal_request_begins_a_video(client: Client, gateway: LumaGateway) -> None:
    answer = create(client, MINIMAL)
    operation = gateway.last.operation
    assert isinstance(operation, VideoRequest)
    assert (operation.model, operation.format, operation.prompt) == ("luma/ray-2", "luma", MINIMAL["user_prompt"])
    assert (operation.size, operation.seconds, operation.loop, operation.first_frame) == (Size(1280, 720), 5, False, None)
    assert answer == {
        "id": gateway.last.id,
        "prompt": MINIMAL["user_prompt"],
        "state": "pending",
        "created_at": "2024-08-22T07:50:52.250000Z",
        "estimate_wait_seconds": None,
        "queue_state": None,
        "liked": None,
        "video": None,
        "video_raw": None,
        "thumbnail": None,
        "last_frame": None,
        "server_id": "",
        "warnings": ["the built-in provider did the work"],
    }


@pytest.mark.parametrize(
    "path",
    [
        "/luma/generations/",
        "/luma/v1/generations",
        "/luma/V1/generations",
        "/vip/luma/generations",
        "/pro/luma/generations",
        "/pro/luma/generations/",
    ],
)
def test_the_aliases_and_a_trailing_slash_do_the_same(path: str, client: Client, gateway: LumaGateway) -> None:
    found = create(client, MINIMAL, path)
    assert client.get(f"{path.rstrip('/')}/{found['id']}").json()["id"] == gateway.last.id


def test_every_field_has_its_effect(client: Client, gateway: LumaGateway) -> None:
    create(
        client,
        {
            "user_prompt": "a boat",
            "aspect_ratio": "9:21",
            "expand_prompt": "true",
            "loop": True,
            "image_url": PICTURE,
            "image_end_url": "",
            "notify_hook": "https://hook.example/luma",
            "model_name": "ray-v1",
            "resolution": "540p",
            "duration": "5",
            "mood": "calm",
        },
    )
    operation = gateway.last.operation
    assert isinstance(operation, VideoRequest)
    assert (operation.model, operation.size, operation.seconds) == ("luma/ray-1-6", Size(540, 1260), 5)
    assert (operation.first_frame, operation.last_frame, operation.loop) == (MediaRef(url=PICTURE), None, True)
    assert operation.extra == {"mood": "calm", "expand_prompt": True}
    assert gateway.callback_urls == ["https://hook.example/luma"]


def test_pictures_may_be_sent_inline_and_need_no_prompt(client: Client, gateway: LumaGateway) -> None:
    create(client, {"image_url": PICTURE, "image_end_url": "aGVsbG8=end1", "callback_url": "https://hook.example/"})
    operation = gateway.last.operation
    assert isinstance(operation, VideoRequest)
    assert (operation.first_frame, operation.last_frame) == (MediaRef(url=PICTURE), MediaRef(media_id="med_end1"))
    assert gateway.callback_urls == ["https://hook.example/"]


def test_what_the_open_source_client_sends_is_served(client: Client, gateway: LumaGateway) -> None:
    create(client, {"user_prompt": "a boat", "image_url": "", "image_end_url": "", "expand_prompt": True}, "/luma/generations/")
    operation = gateway.last.operation
    assert isinstance(operation, VideoRequest)
    assert (operation.first_frame, operation.last_frame, operation.size) == (None, None, Size(1280, 720))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "user_prompt: required"),
        ({**MINIMAL, "aspect_ratio": "2:1"}, 'aspect_ratio: 16:9, 1:1, 21:9, 3:4, 4:3, 9:16 or 9:21, got "2:1"'),
        ({**MINIMAL, "model_name": "ray-v9"}, 'model_name: ray-2, ray-flash-2 or ray-1-6, got "ray-v9"'),
        ({**MINIMAL, "model": "gen3"}, 'model: ray-2, ray-flash-2 or ray-1-6, got "gen3"'),
        ({**MINIMAL, "duration": "7s"}, 'duration: 5s or 9s, got "7s"'),
        ({**MINIMAL, "model": "ray-1-6", "duration": 9}, "duration: 5s, got 9"),
        ({**MINIMAL, "resolution": "8k"}, 'resolution: 1080p, 4k, 540p or 720p, got "8k"'),
        ({**MINIMAL, "loop": True, "image_end_url": END}, "loop: Loop is not supported for end frame"),
        ({**MINIMAL, "user_prompt": "a" * 5001}, "user_prompt: a text of at most 5000 characters, got 5001"),
        ({**MINIMAL, "image_url": "http://10.0.0.1/a.png"}, "image_url: a private address"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(body: dict[str, Any], said: str, client: Client) -> None:
    assert refusal(client, body) == said


def test_a_finished_task_has_every_file_and_a_download_address(client: Client, gateway: LumaGateway) -> None:
    task_id = create(client, MINIMAL)["id"]
    gateway.succeed()
    found = client.get(f"/luma/generations/{task_id}").json()
    assert found["state"] == "completed"
    video = {"url": "http://gen.test/media/med_v.mp4?signature=v", "width": 1280, "height": 768}
    poster = "http://gen.test/media/med_p.jpg"
    assert found["video"] == {**video, "download_url": video["url"], "thumbnail": poster}
    assert found["video_raw"] == video
    assert found["thumbnail"]["url"] == poster
    assert found["last_frame"]["url"] == "http://gen.test/media/med_l.jpg"
    assert client.get(f"/luma/generations/{task_id}/download_video_url").json() == {"url": video["url"]}


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (State.QUEUED, "pending"),
        (State.SUBMITTING, "pending"),
        (State.RUNNING, "processing"),
        (State.PARKED, "processing"),
        (State.STORING, "processing"),
        (State.CANCELLED, "failed"),
        (State.EXPIRED, "failed"),
    ],
)
def test_every_state_has_a_word(state: State, word: str, client: Client, gateway: LumaGateway) -> None:
    task_id = create(client, MINIMAL)["id"]
    gateway.change(state=state)
    assert client.get(f"/luma/generations/{task_id}").json()["state"] == word


def test_a_failed_task_says_why_and_has_no_download(client: Client, gateway: LumaGateway) -> None:
    task_id = create(client, MINIMAL)["id"]
    gateway.fail()
    found = client.get(f"/luma/generations/{task_id}").json()
    assert (found["state"], found["failure_reason"], found["video"]) == ("failed", "the vendor is on fire", None)
    answer = client.get(f"/luma/generations/{task_id}/download_video_url")
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "conflict"


def test_a_video_is_carried_on_by_its_own_model(client: Client, gateway: LumaGateway) -> None:
    task_id = create(client, {**MINIMAL, "aspect_ratio": "9:16", "model": "ray-flash-2"})["id"]
    body = {"user_prompt": "the camera keeps rising", "expand_prompt": False, "image_url": "", "image_end_url": END}
    answer = create(client, body, f"/luma/generations/{task_id}/extend")
    assert (answer["state"], answer["prompt"]) == ("pending", "the camera keeps rising")
    operation = gateway.last.operation
    assert isinstance(operation, ExtendRequest)
    assert (operation.parent, operation.model, operation.before) == (Parent(task_id), "luma/ray-flash-2", False)
    assert (operation.last_frame, operation.size) == (MediaRef(url=END), Size(720, 1280))
    assert operation.extra == {"expand_prompt": False}


def test_a_video_that_is_carried_on_begins_with_its_own_last_picture(client: Client) -> None:
    task_id = create(client, MINIMAL)["id"]
    said = refusal(client, {"user_prompt": "on", "image_url": PICTURE}, f"/luma/generations/{task_id}/extend")
    assert said.startswith("image_url: conflicts with the video that is carried on")


def test_many_tasks_are_told_of_at_once_whatever_the_content_type(client: Client, gateway: LumaGateway) -> None:
    first, second = create(client, MINIMAL)["id"], create(client, MINIMAL)["id"]
    gateway.succeed(started_at=NOW + 1)
    text = f'{{"ids": ["{second}", "{first}", "{second}", "nothing"]}}'
    answer = client.post("/luma/tasks", content=text, headers={"Content-Type": "text/plain"}).json()
    assert (answer["code"], answer["message"]) == ("success", "")
    done, waiting = answer["data"]
    assert (done["task_id"], done["status"], done["progress"], done["fail_reason"]) == (second, "SUCCESS", "100%", "")
    assert (done["submit_time"], done["start_time"], done["finish_time"]) == (int(NOW), int(NOW + 1), int(NOW + 291))
    assert (done["action"], done["platform"]) == ("LUMA_VIDEO", "luma")
    assert done["data"] == client.get(f"/luma/generations/{second}").json()
    assert (waiting["task_id"], waiting["status"], waiting["progress"], waiting["finish_time"]) == (first, "QUEUED", "0%", 0)
    assert 0 < done["id"] < 2**53
    assert done["id"] != waiting["id"]


def test_a_failed_row_says_why(client: Client, gateway: LumaGateway) -> None:
    task_id = create(client, MINIMAL)["id"]
    gateway.change(progress=0.5)
    gateway.fail(State.EXPIRED, "expired", None)
    [row] = client.post("/luma/tasks", json={"ids": [task_id]}).json()["data"]
    assert (row["status"], row["progress"], row["fail_reason"]) == ("FAILURE", "50%", "the task ran out of time")


def test_the_ids_are_needed(client: Client) -> None:
    assert refusal(client, {}, "/luma/tasks") == "ids: required"
    assert refusal(client, {"ids": ["a"] * 201}, "/luma/tasks").startswith("ids: a list of at most 200 items")


def test_a_stranger_sees_nothing(client: Client) -> None:
    task_id = create(client, MINIMAL)["id"]
    other = {"Authorization": f"Bearer {OTHER_KEY}"}
    answer = client.get(f"/luma/generations/{task_id}", headers=other)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "task_not_exist")
    assert client.post("/luma/tasks", json={"ids": [task_id]}, headers=other).json()["data"] == []
    assert client.post("/luma/generations", json=MINIMAL, headers={"Authorization": "sk-none"}).status_code == 401


def test_a_dry_run_answers_the_price(client: Client, gateway: LumaGateway) -> None:
    answer = client.post("/luma/generations", json=MINIMAL, headers={"X-Genway-Dry-Run": "1"})
    assert answer.status_code == 200
    assert answer.json()["quote"]["total"] == "0.50"
    assert gateway.tasks == {}


def test_the_built_in_provider_says_that_it_does_the_work(client: Client, gateway: LumaGateway) -> None:
    assert client.post("/luma/generations", json=MINIMAL).headers["X-Genway-Provider"] == "local"
    gateway.local = False
    assert "X-Genway-Provider" not in client.post("/luma/generations", json=MINIMAL).headers


def test_a_callback_holds_what_the_query_answers_and_comes_when_something_changed(client: Client, gateway: LumaGateway) -> None:
    form = dialect.formats[own.FORMAT]
    assert [state for state in State if form.tells(state)] == [
        State.RUNNING,
        State.SUCCEEDED,
        State.FAILED,
        State.CANCELLED,
        State.EXPIRED,
    ]
    task_id = create(client, MINIMAL)["id"]
    gateway.succeed()
    assert form.render(gateway.last) == client.get(f"/luma/generations/{task_id}").json()
