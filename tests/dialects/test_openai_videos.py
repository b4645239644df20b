"""What OpenAI's video format asks for and is answered; files and the SDK are in `conformance`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from dialects.stage import FILES, NOW, OTHER_KEY, FakeGateway, client_of
from genway.access.model import Asked, Caller
from genway.dialects.openai import dialect, sizes
from genway.dialects.openai.videos import KINDS
from genway.errors import InvalidRequest
from genway.operations import Camera, ImageRequest, MediaRef, Parent, RestyleRequest, Size, UpscaleRequest, VideoRequest
from genway.tasks.model import State, Task

Client = TestClient[Litestar]

PICTURE = "https://a.example/1.jpg"


class ListingGateway(FakeGateway):
    """Lists as the real one does, from memory."""

    async def list(self, caller: Caller, **wanted: Any) -> list[Task]:
        kinds: Collection[str] = wanted["kinds"]
        mine = [task for task in self.tasks.values() if task.account_id == caller.account_id and task.operation.kind in kinds]
        ordered = mine if wanted["oldest_first"] else mine[::-1]
        names = [task.id for task in ordered]
        start = names.index(wanted["past"]) + 1 if wanted["past"] else 0
        return ordered[start : start + wanted["limit"]]


@pytest.fixture(scope="module")
def application() -> Iterator[Client]:
    with client_of(dialect) as client:
        yield client


@pytest.fixture
def gateway() -> ListingGateway:
    return ListingGateway()


@pytest.fixture
def client(application: Client, gateway: ListingGateway) -> Client:
    application.app.state.gateway = gateway
    application.app.state.library = None
    return application


def made(client: Client, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/videos", json={"prompt": "a wave", **body})
    assert response.status_code == 200, response.text
    return dict(response.json())


def asked(gateway: FakeGateway) -> VideoRequest:
    operation = gateway.last.operation
    assert isinstance(operation, VideoRequest)
    return operation


def test_a_prompt_alone_makes_sora_s_usual_video(client: Client, gateway: ListingGateway) -> None:
    video = made(client)
    assert video == {
        "id": gateway.last.id,
        "object": "video",
        "model": "sora-2",
        "status": "queued",
        "progress": 0,
        "created_at": int(NOW),
        "completed_at": None,
        "expires_at": None,
        "seconds": "4",
        "size": "720x1280",
        "prompt": "a wave",
        "remixed_from_video_id": None,
        "error": None,
        "url": None,
        "provider": "local",
        "warnings": ["the built-in provider did the work"],
    }
    assert asked(gateway) == VideoRequest(
        model="openai/sora-2", format="openai.videos", prompt="a wave", seconds=4, size=Size(720, 1280)
    )


@pytest.mark.parametrize("model", ["kling/kling-v2-master", "runway/gen4_turbo", "luma/ray-2", "local/animate"])
def test_a_qualified_model_reaches_any_system(model: str, client: Client, gateway: ListingGateway) -> None:
    video = made(client, model=model, seconds="10", size="1280x768")
    assert (video["model"], video["seconds"], video["size"]) == (model, "10", "1280x768")
    assert (asked(gateway).model, asked(gateway).seconds, asked(gateway).size) == (model, 10, Size(1280, 768))


def test_other_systems_have_a_usual_length_and_size_of_their_own(client: Client, gateway: ListingGateway) -> None:
    made(client, model="luma/ray-2")
    assert (asked(gateway).seconds, asked(gateway).size) == (5, Size(1280, 720))


@pytest.mark.parametrize("model", ["sora-2-pro", "openai/sora-2-pro", "sora-2-2025-12-08"])
def test_sora_s_names_are_told_as_they_were_asked(model: str, client: Client, gateway: ListingGateway) -> None:
    assert made(client, model=model, seconds=12, size="1792x1024")["model"] == model
    assert asked(gateway).model == f"openai/{model.removeprefix('openai/')}"


def test_what_openai_s_format_lacks_may_be_said_too(client: Client, gateway: ListingGateway) -> None:
    made(
        client,
        model="pika/2.2",
        input_reference=PICTURE,
        last_frame="https://a.example/2.jpg",
        references=["https://a.example/3.jpg"],
        negative_prompt="rain",
        seed="7",
        style="anime",
        quality="pro",
        guidance=0.5,
        loop=True,
        audio="true",
        camera={"zoom": 5, "pan": -2},
        callback_url="https://a.example/callback",
        mystery=1,
    )
    assert asked(gateway) == VideoRequest(
        model="pika/2.2",
        format="openai.videos",
        extra={"mystery": 1},
        prompt="a wave",
        negative_prompt="rain",
        first_frame=MediaRef(url=PICTURE),
        last_frame=MediaRef(url="https://a.example/2.jpg"),
        references=(MediaRef(url="https://a.example/3.jpg"),),
        seed=7,
        style="anime",
        quality="pro",
        guidance=0.5,
        loop=True,
        audio=True,
        camera=Camera(zoom=5, pan=-2),
    )
    assert gateway.callback_urls == ["https://a.example/callback"]


@pytest.mark.parametrize("reference", [PICTURE, {"image_url": PICTURE}, {"file_id": PICTURE}, "data:image/png;base64,aGVsbG8="])
def test_a_picture_is_given_in_each_way(reference: Any, client: Client, gateway: ListingGateway) -> None:
    made(client, input_reference=reference)
    [(field, value, kinds)] = gateway.media
    assert (field, kinds) == ("input_reference", ("image",))
    assert value in {PICTURE, "data:image/png;base64,aGVsbG8="}
    assert asked(gateway).first_frame is not None


def test_a_form_is_read_like_json(client: Client, gateway: ListingGateway) -> None:
    fields = {
        "prompt": "a wave",
        "seconds": "8",
        "size": "1280x720",
        "input_reference[image_url]": PICTURE,
        "camera[zoom]": "3",
    }
    response = client.post("/v1/videos", files={name: (None, value) for name, value in fields.items()})
    assert response.status_code == 200, response.text
    assert (asked(gateway).seconds, asked(gateway).size) == (8, Size(1280, 720))
    assert (asked(gateway).first_frame, asked(gateway).camera) == (MediaRef(url=PICTURE), Camera(zoom=3))


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"prompt": ""}, "prompt", "required"),
        ({"seconds": "5"}, "seconds", "4, 8 or 12, got 5"),
        ({"size": "640x480"}, "size", '720x1280, 1280x720, 1024x1792 or 1792x1024, got "640x480"'),
        ({"model": "luma/ray-2", "size": "wide"}, "size", 'a size like 1280x720 or 16:9, got "wide"'),
        ({"model": "luma/ray-2", "seconds": 61}, "seconds", "a number of at most 60, got 61"),
        ({"input_reference": {}}, "input_reference", "either `image_url` or `file_id`"),
        ({"input_reference": "http://10.0.0.1/a.png"}, "input_reference", "a private address"),
        ({"camera": {"zoom": 11}}, "camera.zoom", "a number from -10 to 10, got 11"),
    ],
)
def test_what_is_wrong_is_said_in_openai_s_shape(
    body: dict[str, Any], param: str, message: str, client: Client, gateway: ListingGateway
) -> None:
    response = client.post("/v1/videos", json={"prompt": "a wave", **body})
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"], error["message"]) == ("invalid_request_error", param, f"{param}: {message}")
    assert not gateway.tasks


def test_a_broken_form_is_refused(client: Client) -> None:
    for kind, words in [("multipart/form-data", "boundary"), ("multipart/form-data; boundary=x", "not a valid form")]:
        response = client.post("/v1/videos", content=b"--y\r\nnonsense", headers={"Content-Type": kind})
        assert response.status_code == 400
        assert words in response.json()["error"]["message"]


def test_a_stranger_is_answered_401_in_openai_s_words(client: Client) -> None:
    response = client.get("/v1/videos/x", headers={"Authorization": "Bearer wrong"})
    assert response.status_code == 401
    assert response.json()["error"] == {
        "message": "unknown key",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }


@pytest.mark.parametrize("state", list(State))
def test_each_state_has_its_status(state: State, client: Client, gateway: ListingGateway) -> None:
    made(client)
    gateway.change(state=state, progress=0.5)
    response = client.get(f"/v1/videos/{gateway.last.id}")
    status = response.json()["status"]
    expected = {State.QUEUED: "queued", State.SUCCEEDED: "completed"}
    assert status == expected.get(state, "failed" if state.ended else "in_progress")
    assert response.json()["progress"] == (100 if state is State.SUCCEEDED else 50)
    assert ("openai-poll-after-ms" in response.headers) == (not state.ended)


def test_a_finished_video_tells_when_and_what_it_measures(client: Client, gateway: ListingGateway) -> None:
    made(client)
    gateway.succeed()
    video = client.get(f"/v1/videos/{gateway.last.id}").json()
    assert (video["completed_at"], video["size"], video["url"]) == (int(NOW + 291), "1280x768", FILES[0].url)


@pytest.mark.parametrize(
    ("state", "code", "told"),
    [
        (State.FAILED, "moderation", "moderation_blocked"),
        (State.FAILED, "vendor_error", "vendor_error"),
        (State.CANCELLED, None, "cancelled"),
    ],
)
def test_a_failure_says_why(state: State, code: Any, told: str, client: Client, gateway: ListingGateway) -> None:
    made(client)
    gateway.fail(state, code, "because")
    assert client.get(f"/v1/videos/{gateway.last.id}").json()["error"] == {"code": told, "message": "because"}


def test_a_remix_works_on_the_earlier_video(client: Client, gateway: ListingGateway) -> None:
    made(client, model="luma/ray-2", seconds=9, size="9:16")
    before = gateway.succeed()
    response = client.post(f"/v1/videos/{before.id}/remix", json={"prompt": "in clay"})
    assert response.status_code == 200
    assert gateway.last.operation == RestyleRequest(
        model="luma/ray-2",
        format="openai.videos",
        parent=Parent(task_id=before.id),
        prompt="in clay",
        seconds=9,
        size=Size(720, 1280),
    )
    assert (response.json()["remixed_from_video_id"], response.json()["model"]) == (before.id, "luma/ray-2")


def test_a_remix_of_what_has_no_size_of_its_own_takes_the_file_s(client: Client, gateway: ListingGateway) -> None:
    made(client)
    before = gateway.change(operation=UpscaleRequest(model="runway/upscale_v1", video=MediaRef(url=PICTURE)))
    gateway.succeed()
    client.post(f"/v1/videos/{before.id}/remix", json={"prompt": "in clay"})
    operation = gateway.last.operation
    assert isinstance(operation, RestyleRequest)
    assert operation.size == Size(1280, 768)


def test_the_list_is_paged_in_either_order(client: Client, gateway: ListingGateway) -> None:
    ids = [made(client)["id"] for _ in range(5)]
    made(client)
    gateway.change(operation=ImageRequest(model="runway/gen4_image"))
    first = client.get("/v1/videos", params={"limit": 2}).json()
    assert [video["id"] for video in first["data"]] == [ids[4], ids[3]]
    assert (first["object"], first["first_id"], first["last_id"], first["has_more"]) == ("list", ids[4], ids[3], True)
    rest = client.get("/v1/videos", params={"after": ids[3]}).json()
    assert ([video["id"] for video in rest["data"]], rest["has_more"]) == ([ids[2], ids[1], ids[0]], False)
    oldest = client.get("/v1/videos", params={"order": "asc", "limit": 1}).json()
    assert oldest["first_id"] == ids[0]
    assert client.get("/v1/videos", headers={"Authorization": f"Bearer {OTHER_KEY}"}).json()["data"] == []


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 101}, {"order": "up"}])
def test_a_wrong_page_is_refused(query: dict[str, Any], client: Client) -> None:
    assert client.get("/v1/videos", params=query).json()["error"]["param"] == next(iter(query))


def test_what_makes_no_video_and_what_is_foreign_are_unknown_alike(client: Client, gateway: ListingGateway) -> None:
    made(client)
    video = gateway.last.id
    stranger = {"Authorization": f"Bearer {OTHER_KEY}"}
    for path in (f"/v1/videos/{video}", f"/v1/videos/{video}/content"):
        assert client.get(path, headers=stranger).status_code == 404
    gateway.change(operation=ImageRequest(model="runway/gen4_image"))
    assert client.get(f"/v1/videos/{video}").json()["error"]["code"] == "task_not_exist"
    assert client.delete(f"/v1/videos/{video}").status_code == 404
    assert "image" not in KINDS


def test_a_deleted_video_is_gone(client: Client, gateway: ListingGateway) -> None:
    video = made(client)["id"]
    answer = client.delete(f"/v1/videos/{video}")
    assert answer.json() == {"id": video, "object": "video.deleted", "deleted": True}
    assert client.get(f"/v1/videos/{video}").status_code == 404


def test_there_is_no_content_before_the_end_nor_of_an_unknown_kind(client: Client, gateway: ListingGateway) -> None:
    video = made(client)["id"]
    early = client.get(f"/v1/videos/{video}/content")
    assert (early.status_code, early.json()["error"]["message"]) == (409, "the video has no content: it is queued")
    gateway.succeed()
    odd = client.get(f"/v1/videos/{video}/content", params={"variant": "gif"})
    assert odd.json()["error"]["message"] == 'variant: video, thumbnail or spritesheet, got "gif"'
    assert client.get(f"/v1/videos/{video}/content", params={"variant": "spritesheet"}).status_code == 404


def test_a_dry_run_tells_the_price(client: Client, gateway: ListingGateway) -> None:
    answer = client.post("/v1/videos", json={"prompt": "a wave"}, headers={"X-Genway-Dry-Run": "1"}).json()
    assert (answer["object"], answer["model"], answer["total"]) == ("quote", "openai/sora-2", "0.50")
    assert not gateway.tasks


@pytest.mark.parametrize(
    ("text", "size"),
    [("16:9", (1280, 720)), ("9:16", (720, 1280)), ("1:1", (720, 720)), ("1920x1080", (1920, 1080)), ("5:2", (1800, 720))],
)
def test_a_size_is_in_pixels_or_a_proportion(text: str, size: tuple[int, int]) -> None:
    assert sizes.parse(text) == Size(*size)


@pytest.mark.parametrize("text", ["5:1", "1281x720", "100x100", "8192x128", "4096x4096", "", "0x0"])
def test_a_size_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="size"):
        sizes.parse(text)


async def test_the_asked_model_is_what_a_callback_tells(gateway: ListingGateway) -> None:
    caller = Caller(account_id="a", key_id="k", name="n", mode="live")
    operation = VideoRequest(model="openai/sora-2", prompt="a wave")
    task = await gateway.submit(operation, Asked(caller=caller), dialect="openai.videos", context={"model": "sora-2"})
    assert dialect.formats["openai.videos"].render(task)["model"] == "sora-2"
