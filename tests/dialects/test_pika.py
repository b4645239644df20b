"""What Pika's two formats ask for and are answered."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from dialects.stage import FILES, NOW, OTHER_KEY, FakeGateway, client_of
from genway.dialects.pika import dialect, models
from genway.errors import InsufficientBalance
from genway.operations import (
    AnyOperation,
    Camera,
    EffectRequest,
    ExtendRequest,
    MediaRef,
    Parent,
    RestyleRequest,
    Size,
    VideoRequest,
)
from genway.tasks.model import State

Client = TestClient[Litestar]

PICTURE = "https://a.example/1.jpg"
CLIP = "https://a.example/1.mp4"
# The page's own example.
PAGE: dict[str, Any] = {
    "prompt": "a whale spouting",
    "style": "Inflate",
    "ratio": "16:9",
    "sfx": True,
    "model": 1.5,
    "options": {
        "frameRate": 24,
        "camera": {"pan": "right"},
        "parameters": {"guidanceScale": 16, "motion": 2, "negativePrompt": "ugly", "seed": 144124},
    },
}
# As chatgpt-web-midjourney-proxy sends it.
FRONT_END: dict[str, Any] = {
    "promptText": "plane flies",
    "model": "2.0",
    "pikaffect": "",
    "options": {
        "aspectRatio": 1.7777777777777777,
        "frameRate": 24,
        "camera": {},
        "parameters": {"guidanceScale": 12, "motion": 1, "negativePrompt": ""},
        "extend": False,
    },
}


class OneClip:
    """A library that knows one result."""

    async def owned(self, account_id: str, media_id: str) -> SimpleNamespace:
        return SimpleNamespace(id=media_id, task_id="0198f2c0-0000-7000-8000-00000000abcd")


@pytest.fixture(scope="module")
def application() -> Iterator[Client]:
    with client_of(dialect) as client:
        yield client


@pytest.fixture
def gateway() -> FakeGateway:
    return FakeGateway()


@pytest.fixture
def client(application: Client, gateway: FakeGateway) -> Client:
    application.app.state.gateway = gateway
    application.app.state.library = OneClip()
    return application


def asked(client: Client, gateway: FakeGateway, body: dict[str, Any], path: str = "/pika/pro/generate") -> AnyOperation:
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    return gateway.last.operation


def test_the_page_s_own_example_is_understood(client: Client, gateway: FakeGateway) -> None:
    assert asked(client, gateway, PAGE) == VideoRequest(
        model="pika/1.5",
        format="pika.pro",
        extra={"options": {"frameRate": 24, "parameters": {"motion": 2}}},
        prompt="a whale spouting",
        negative_prompt="ugly",
        seed=144124,
        size=Size(1280, 720),
        camera=Camera(pan=6),
        style="Inflate",
        audio=True,
        guidance=0.55,
    )


def test_the_front_end_s_request_says_nothing_beyond_its_prompt(client: Client, gateway: FakeGateway) -> None:
    assert asked(client, gateway, FRONT_END, "/pika/generate") == VideoRequest(
        model="pika/2.0", format="pika.web", extra={"options": {"frameRate": 24}}, prompt="plane flies"
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/pika/pro/generate", {"prompt": "puff", "style": "inflate", "image": PICTURE}),
        ("/pika/generate", {"promptText": "puff", "pikaffect": "Inflate", "image": PICTURE}),
        ("/pro/pika/generate", {"promptText": "puff", "pikaffect": "Inflate", "image": PICTURE}),
    ],
)
def test_an_effect_on_a_picture_is_an_effect(path: str, body: Any, client: Client, gateway: FakeGateway) -> None:
    operation = asked(client, gateway, body, path)
    assert isinstance(operation, EffectRequest)
    assert (operation.effect, operation.pictures, operation.prompt) == ("Inflate", (MediaRef(url=PICTURE),), "puff")


def test_first_and_last_pictures_and_ingredients_are_kept_apart(client: Client, gateway: FakeGateway) -> None:
    operation = asked(client, gateway, {"prompt": "a", "model": 2.2, "image": PICTURE, "last_image": "https://a.example/2.jpg"})
    assert isinstance(operation, VideoRequest)
    assert (operation.first_frame, operation.last_frame) == (MediaRef(url=PICTURE), MediaRef(url="https://a.example/2.jpg"))
    scene = {"promptText": "a", "modelVersion": "2.0-contextualize", "ingredients": [PICTURE], "ingredientMode": "creative"}
    operation = asked(client, gateway, scene, "/pika/generate")
    assert isinstance(operation, VideoRequest)
    assert (operation.model, operation.references) == ("pika/2.0", (MediaRef(url=PICTURE),))
    assert operation.extra == {"ingredientMode": "creative"}


def test_a_clip_is_restyled(client: Client, gateway: FakeGateway) -> None:
    operation = asked(client, gateway, {"prompt": "in clay", "video": CLIP, "style": "Claymation", "ratio": "9:16"})
    assert operation == RestyleRequest(
        model="pika/1.5",
        format="pika.pro",
        prompt="in clay",
        video=MediaRef(url=CLIP),
        style="Claymation",
        size=Size(720, 1280),
    )


def test_a_clip_of_our_own_is_gone_on_from(client: Client, gateway: FakeGateway) -> None:
    body = {"promptText": "on", "video": "med_abcd", "options": {"extend": True}}
    operation = asked(client, gateway, body, "/pika/generate")
    assert isinstance(operation, ExtendRequest)
    assert operation.parent == Parent(task_id="0198f2c0-0000-7000-8000-00000000abcd")
    foreign = client.post("/pika/generate", json={**body, "video": CLIP})
    assert foreign.json()["error"]["message"] == "video: with `options.extend`, the link to a video that was made here"


@pytest.mark.parametrize(
    ("words", "motion", "camera"),
    [
        ({"pan": "right", "tilt": "up", "rotate": "cw", "zoom": "in"}, 0, Camera(pan=2, tilt=2, roll=2, zoom=2)),
        ({"pan": "left", "tilt": "down", "rotate": "ccw", "zoom": "out"}, 4, Camera(pan=-10, tilt=-10, roll=-10, zoom=-10)),
        ({"pan": "", "zoom": "in"}, 1, Camera(zoom=4)),
    ],
)
def test_the_camera_moves_as_strongly_as_motion_says(
    words: dict[str, str], motion: int, camera: Camera, client: Client, gateway: FakeGateway
) -> None:
    operation = asked(client, gateway, {"prompt": "a", "options": {"camera": words, "parameters": {"motion": motion}}})
    assert isinstance(operation, VideoRequest)
    assert operation.camera == camera


@pytest.mark.parametrize(
    ("name", "model"), [(1.5, "1.5"), ("1.5", "1.5"), (2, "2.0"), ("2", "2.0"), ("pika/2.2", "2.2"), (1.0, "1.0")]
)
def test_a_model_is_a_number_or_a_text(name: Any, model: str, client: Client, gateway: FakeGateway) -> None:
    assert asked(client, gateway, {"prompt": "a", "model": name}).model == f"pika/{model}"


@pytest.mark.parametrize(
    ("ratio", "size"), [("5:2", (1800, 720)), ("4:5", (720, 900)), ("1:1", (720, 720)), ("4:3", (960, 720))]
)
def test_every_ratio_of_the_page_has_its_size(ratio: str, size: tuple[int, int], client: Client, gateway: FakeGateway) -> None:
    operation = asked(client, gateway, {"prompt": "a", "ratio": ratio})
    assert isinstance(operation, VideoRequest)
    assert operation.size == Size(*size)


def test_length_and_resolution_can_be_chosen(client: Client, gateway: FakeGateway) -> None:
    operation = asked(client, gateway, {"prompt": "a", "duration": "10", "resolution": "1080p"})
    assert isinstance(operation, VideoRequest)
    assert (operation.seconds, operation.size) == (10, Size(1920, 1080))


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/pika/pro/generate", {}, "prompt: required"),
        ("/pika/generate", {"image": " "}, "promptText: required"),
        ("/pika/pro/generate", {"prompt": "a", "model": 3}, "model: 1.0, 1.5, 2.0, 2.1 or 2.2, got 3.0"),
        ("/pika/pro/generate", {"prompt": "a", "ratio": "wide"}, 'ratio: a proportion like 16:9, got "wide"'),
        ("/pika/pro/generate", {"prompt": "a", "ratio": "3:1"}, "ratio: from 0.4 to 2.5 times as wide as high, got 3"),
        ("/pika/pro/generate", {"image": PICTURE, "video": CLIP}, "video: conflicts with `image`; give one of them"),
        ("/pika/pro/generate", {"prompt": "a", "options": {"extend": True}}, "options.extend: needs `video`"),
        ("/pika/pro/generate", {"prompt": "a", "options": {"camera": {"pan": "up"}}}, "options.camera.pan: left or right"),
        ("/pika/generate", {"promptText": "a", "options": {"parameters": {"motion": 5}}}, "options.parameters.motion: a whole"),
        ("/pika/generate", {"promptText": "a", "pikaffect": "Boom"}, "pikaffect: Cake-ify, Crumble"),
        ("/pika/generate", {"image": "http://10.0.0.1/a.png"}, "image: a private address"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    path: str, body: dict[str, Any], message: str, client: Client, gateway: FakeGateway
) -> None:
    response = client.post(path, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(message)
    assert ("msg" in response.json()) == ("pro" in path)
    assert not gateway.tasks


def test_the_page_is_answered_in_its_envelope(client: Client, gateway: FakeGateway) -> None:
    answer = client.post("/pika/pro/generate", json=PAGE).json()
    assert {name: answer[name] for name in ("code", "msg", "data")} == {
        "code": 200,
        "msg": "成功",
        "data": {"task_id": gateway.last.id},
    }
    assert isinstance(answer["exec_time"], float)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_feed_is_asked_in_either_way(method: str, client: Client, gateway: FakeGateway) -> None:
    client.post("/pika/pro/generate", json=PAGE)
    gateway.succeed()
    task = gateway.last
    where: dict[str, Any] = {"params": {"task_id": task.id}} if method == "GET" else {"json": {"task_id": task.id}}
    answer = client.request(method, "/pika/feed", **where).json()
    assert answer["data"] == {
        "task_id": task.id,
        "status": "3",
        "prompt": "a whale spouting",
        "video_url": FILES[0].url,
        "msg": None,
        "point": "50",
        "refund": "0",
        "create_time": str(int(NOW)),
        "update_time": str(int(NOW + 291)),
        "state": "succeeded",
        "poster": FILES[1].url,
        "progress": 1.0,
        "queue_position": None,
        "provider": "local",
        "warnings": ["the built-in provider did the work"],
    }
    assert (answer["code"], answer["ip"]) == (200, "testclient")


def test_a_callback_is_told_of_every_change_and_holds_the_feed(client: Client, gateway: FakeGateway) -> None:
    client.post("/pika/pro/generate", json={**PAGE, "callback_url": "https://a.example/callback"})
    assert gateway.callback_urls == ["https://a.example/callback"]
    form = dialect.formats["pika.pro"]
    assert all(form.tells(state) for state in State)
    assert form.render(gateway.last)["data"]["status"] == "0"


@pytest.mark.parametrize(
    ("state", "page", "mirror"),
    [
        (State.QUEUED, "0", "queued"),
        (State.RUNNING, "1", "pending"),
        (State.PARKED, "1", "pending"),
        (State.SUCCEEDED, "3", "finished"),
        (State.FAILED, "2", "error"),
        (State.CANCELLED, "2", "error"),
    ],
)
def test_each_state_has_its_word_in_both_formats(
    state: State, page: str, mirror: str, client: Client, gateway: FakeGateway
) -> None:
    task_id = client.post("/pika/generate", json=FRONT_END).json()["id"]
    gateway.change(state=state, progress=0.5)
    assert client.get("/pika/feed", params={"task_id": task_id}).json()["data"]["status"] == page
    [video] = client.get(f"/pika/feed/{task_id}").json()["videos"]
    assert video["status"] == mirror
    assert bool(video["error"]) == (mirror == "error")


def test_the_mirror_has_always_an_entry_in_videos(client: Client, gateway: FakeGateway) -> None:
    created = client.post("/pika/generate", json=FRONT_END).json()
    assert (created["promptText"], len(created["videos"])) == ("plane flies", 1)
    gateway.succeed()
    for address in (f"/pika/feed/{created['id']}", f"/pro/pika/feed/{created['id']}", f"/pika/feed?id={created['id']}"):
        [video] = client.get(address).json()["videos"]
        assert video == {
            "id": created["id"],
            "status": "finished",
            "progress": 100,
            "seed": None,
            "resultUrl": FILES[0].url,
            "sharingUrl": FILES[0].url,
            "videoPoster": FILES[1].url,
            "imageThumb": FILES[1].url,
            "duration": 10,
            "error": "",
        }


def test_unknown_and_foreign_tasks_are_answered_alike_in_each_shape(client: Client) -> None:
    task_id = client.post("/pika/generate", json=FRONT_END).json()["id"]
    stranger = {"Authorization": f"Bearer {OTHER_KEY}"}
    page = client.get("/pika/feed", params={"task_id": task_id}, headers=stranger)
    assert (page.status_code, page.json()["msg"], page.json()["code"]) == (404, "task_not_exist", 404)
    for address in (f"/pika/feed/{task_id}", f"/pika/feed?id={task_id}"):
        mirror = client.get(address, headers=stranger)
        assert (mirror.status_code, mirror.json()["code"]) == (404, "task_not_exist")
        assert "msg" not in mirror.json()
    assert client.post("/pika/feed", json={}).json()["msg"] == "task_id: required"


def test_an_empty_wallet_is_said_in_each_shape(client: Client, gateway: FakeGateway) -> None:
    gateway.refuse = InsufficientBalance("the price is 0.50 USD and the balance is 0.10 USD")
    page, mirror = client.post("/pika/pro/generate", json=PAGE), client.post("/pika/generate", json=FRONT_END)
    assert page.status_code == mirror.status_code == 402
    assert page.json()["error"] == mirror.json()["error"]
    assert page.json()["code"] == 402


def test_a_dry_run_tells_the_price_in_each_shape(client: Client, gateway: FakeGateway) -> None:
    dry = {"X-Genway-Dry-Run": "1"}
    page = client.post("/pika/pro/generate", json=PAGE, headers=dry).json()
    mirror = client.post("/pika/generate", json=FRONT_END, headers=dry).json()
    assert (page["data"]["point"], mirror["quote"]["total"]) == ("50", "0.50")
    assert not gateway.tasks


def test_every_effect_is_known_whatever_its_case() -> None:
    assert {models.effect(name.upper()) for name in models.EFFECTS} == set(models.EFFECTS)
    assert models.effect("Anime") is None
