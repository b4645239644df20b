from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from dialects.stage import IMAGE, OTHER_KEY, FakeGateway
from genway.dialects.runway import dialect
from genway.operations import MediaRef, RestyleRequest, Size, VideoRequest
from genway.tasks.model import State

Client = TestClient[Litestar]

PICTURE = "https://a.example/1.jpg"
CLIP = "https://a.example/1.mp4"

# As the web application's clients send them.
GEN2 = {
    "taskType": "gen2",
    "internal": False,
    "options": {
        "name": "Gen-2 2584627205",
        "seconds": 4,
        "gen2Options": {
            "mode": "gen2",
            "seed": 2584627205,
            "interpolate": True,
            "upscale": False,
            "watermark": True,
            "motion_score": 22,
            "use_motion_score": True,
            "use_motion_vectors": False,
            "text_prompt": "笑起来",
            "image_prompt": PICTURE,
            "init_image": PICTURE,
        },
        "exploreMode": False,
        "assetGroupName": "Generative Video",
    },
}
EUROPA = {
    "taskType": "europa",
    "internal": False,
    "options": {
        "name": "Gen-3 Alpha 2584627205",
        "seconds": 5,
        "text_prompt": "a wave",
        "seed": 2584627205,
        "exploreMode": True,
        "watermark": False,
        "enhance_prompt": True,
        "width": 1280,
        "height": 768,
        "image_as_end_frame": False,
        "assetGroupName": "Generative Video",
        "init_image": PICTURE,
        "resolution": "720p",
    },
}


def with_options(body: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {**body, "options": {**body["options"], **options}}


def create(client: Client, gateway: FakeGateway, body: dict[str, Any]) -> Any:
    answer = client.post("/runway/tasks", json=body)
    assert answer.status_code == 200, answer.text
    return gateway.last.operation


def refusal(client: Client, body: dict[str, Any]) -> str:
    answer = client.post("/runway/tasks", json=body)
    assert answer.status_code == 400, answer.text
    return str(answer.json()["error"]["message"])


def test_a_gen2_task_becomes_a_video_request(client: Client, gateway: FakeGateway) -> None:
    operation = create(client, gateway, GEN2)
    assert isinstance(operation, VideoRequest)
    assert (operation.model, operation.format, operation.prompt) == ("runway/gen2", "runway.web", "笑起来")
    assert (operation.first_frame, operation.seconds, operation.seed) == (MediaRef(url=PICTURE), 4, 2584627205)
    assert operation.size == Size(1280, 720)
    assert operation.extra["internal"] is False
    assert operation.extra["options"]["gen2Options"]["motion_score"] == 22


def test_a_europa_task_becomes_a_video_request_of_gen3(client: Client, gateway: FakeGateway) -> None:
    operation = create(client, gateway, EUROPA)
    assert (operation.model, operation.prompt, operation.seconds) == ("runway/gen3", "a wave", 5)
    assert (operation.first_frame, operation.last_frame) == (MediaRef(url=PICTURE), None)
    assert (operation.size, operation.seed) == (Size(1280, 768), 2584627205)


def test_a_gen3a_turbo_task_has_the_models_own_size(client: Client, gateway: FakeGateway) -> None:
    body = {"taskType": "gen3a_turbo", "options": {"seconds": 10, "text_prompt": "a wave", "init_image": PICTURE}}
    operation = create(client, gateway, body)
    assert (operation.model, operation.size, operation.seconds) == ("runway/gen3a_turbo", Size(1280, 768), 10)


def test_a_task_may_ask_for_portrait(client: Client, gateway: FakeGateway) -> None:
    assert create(client, gateway, with_options(EUROPA, width=768, height=1280)).size == Size(768, 1280)
    assert create(client, gateway, with_options(EUROPA, flip=True)).size == Size(768, 1280)


def test_a_picture_may_be_the_last_frame(client: Client, gateway: FakeGateway) -> None:
    operation = create(client, gateway, with_options(EUROPA, image_as_end_frame=True))
    assert (operation.first_frame, operation.last_frame) == (None, MediaRef(url=PICTURE))


def test_a_video_prompt_is_restyled(client: Client, gateway: FakeGateway) -> None:
    body = with_options(EUROPA, video_prompt=CLIP, structure_transformation=0.3)
    del body["options"]["init_image"]
    operation = create(client, gateway, body)
    assert isinstance(operation, RestyleRequest)
    assert (operation.video, operation.strength, operation.prompt) == (MediaRef(url=CLIP), 0.3, "a wave")


def test_a_task_is_carried_on_from_its_last_picture(client: Client, gateway: FakeGateway) -> None:
    create(client, gateway, EUROPA)
    before = gateway.succeed()
    body = with_options(EUROPA, init_image=None, extended_from_task_id=before.id, init_video=before.files[0].url)
    assert create(client, gateway, body).first_frame == MediaRef(media_id="med_l")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"text_prompt": "", "init_image": None}, "options.text_prompt or options.init_image: required"),
        ({"seconds": 7}, "options.seconds: 5 or 10, got 7"),
        ({"width": 960, "height": 960}, "options.width: gen3 can do 16:9 and 9:16, got 960:960"),
        ({"init_image": None, "image_as_end_frame": True}, "options.image_as_end_frame: needs `options.init_image`"),
        ({"init_video": CLIP}, "options.init_video: needs `options.extended_from_task_id`"),
        ({"structure_transformation": 2}, "options.structure_transformation: a number from 0 to 1, got 2"),
        ({"init_image": "broken"}, "options.init_image: not a picture"),
    ],
)
def test_a_wrong_task_is_refused(client: Client, options: dict[str, Any], said: str) -> None:
    assert refusal(client, with_options(EUROPA, **options)) == said


def test_an_unknown_kind_of_task_is_refused_naming_those_there_are(client: Client) -> None:
    said = refusal(client, {"taskType": "gen9", "options": {"text_prompt": "a"}})
    assert said == 'taskType: gen3, gen4, gen2, gen3a_turbo or gen4_turbo, got "gen9"'


def test_what_cannot_be_carried_on_is_refused(client: Client, gateway: FakeGateway) -> None:
    create(client, gateway, EUROPA)
    under_way = with_options(EUROPA, init_image=None, extended_from_task_id=gateway.last.id)
    assert refusal(client, under_way) == "options.extended_from_task_id: that task has no last picture to go on from"
    gateway.succeed()
    said = refusal(client, with_options(EUROPA, extended_from_task_id=gateway.last.id))
    assert said == "options.init_image: conflicts with `options.extended_from_task_id`, which sets the first picture"
    answer = client.post("/runway/tasks", json=with_options(EUROPA, extended_from_task_id="nothing"))
    assert (answer.status_code, answer.json()["code"]) == (404, "task_not_exist")


def test_the_options_come_back_as_they_were_sent(client: Client, gateway: FakeGateway) -> None:
    assert client.post("/runway/tasks", json=GEN2).json()["task"]["options"] == GEN2["options"]
    create(client, gateway, EUROPA)
    told = client.get(f"/runway/tasks/{gateway.last.id}").json()["task"]
    # False is what image_as_end_frame is without being sent.
    assert told["options"] == {k: v for k, v in EUROPA["options"].items() if k != "image_as_end_frame"}
    assert (told["taskType"], told["name"]) == ("europa", "Gen-3 Alpha 2584627205")


def test_a_picture_sent_inline_does_not_come_back(client: Client, gateway: FakeGateway) -> None:
    told = client.post("/runway/tasks", json=with_options(EUROPA, init_image="data:image/png;base64," + "A" * 9000)).json()
    assert "init_image" not in told["task"]["options"]
    assert len(str(gateway.last.context)) < 2000


def test_a_finished_task_has_its_video_and_its_pictures(client: Client, gateway: FakeGateway) -> None:
    create(client, gateway, EUROPA)
    gateway.succeed()
    answer = client.get(f"/runway/tasks/{gateway.last.id}")
    task = answer.json()["task"]
    assert answer.headers["X-Genway-Provider"] == "local"
    assert (task["status"], task["progressRatio"], task["error"], task["progressText"]) == ("SUCCEEDED", "1", None, None)
    assert (task["createdAt"], task["updatedAt"]) == ("2024-08-22T07:50:52.250Z", "2024-08-22T07:55:43.250Z")
    [artifact] = task["artifacts"]
    assert artifact["url"] == "http://gen.test/media/med_v.mp4?signature=v"
    assert artifact["previewUrls"] == ["http://gen.test/media/med_p.jpg", "http://gen.test/media/med_l.jpg"]
    assert (artifact["filename"], artifact["fileSize"]) == ("med_v.mp4", "123")
    assert artifact["metadata"] == {
        "frameRate": 24,
        "duration": 10,
        "dimensions": [1280, 768],
        "size": {"width": 1280, "height": 768},
    }


@pytest.mark.parametrize(
    ("changes", "status", "ratio", "error"),
    [
        ({"state": State.QUEUED}, "PENDING", "0", None),
        ({"state": State.QUEUED, "queue_position": 3}, "THROTTLED", "0", None),
        ({"state": State.RUNNING, "progress": 0.5}, "RUNNING", "0.5", None),
        ({"state": State.PARKED}, "RUNNING", "0", None),
        (
            {"state": State.FAILED, "error_code": "moderation", "error_message": "not here"},
            "FAILED",
            "0",
            {"errorMessage": "not here", "reason": "SAFETY.INPUT.TEXT"},
        ),
        (
            {"state": State.CANCELLED, "error_code": "cancelled"},
            "CANCELLED",
            "0",
            {"errorMessage": "the task was cancelled", "reason": "INTERNAL.CANCELLED"},
        ),
    ],
)
def test_every_state_has_its_status(
    client: Client, gateway: FakeGateway, changes: dict[str, Any], status: str, ratio: str, error: object
) -> None:
    create(client, gateway, EUROPA)
    gateway.change(**changes)
    task = client.get(f"/runway/tasks/{gateway.last.id}").json()["task"]
    assert (task["status"], task["progressRatio"], task["error"]) == (status, ratio, error)
    assert task["progressText"] == (error["errorMessage"] if isinstance(error, dict) else None)
    assert task["artifacts"] == []


def test_a_foreign_task_is_not_there(client: Client, gateway: FakeGateway) -> None:
    create(client, gateway, EUROPA)
    answer = client.get(f"/runway/tasks/{gateway.last.id}", headers={"Authorization": OTHER_KEY})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"there is no task {gateway.last.id}"


def test_a_task_made_in_another_format_is_told_of_too(client: Client, gateway: FakeGateway) -> None:
    client.post("/runwayml/v1/text_to_image", json={"model": "gen4_image", "promptText": "a cat"})
    gateway.change(state=State.SUCCEEDED, files=(IMAGE,))
    task = client.get(f"/runway/tasks/{gateway.last.id}").json()["task"]
    assert (task["taskType"], task["name"], task["options"]["text_prompt"]) == ("gen4_image", "a cat", "a cat")
    assert task["artifacts"][0]["url"] == IMAGE.url


def test_a_callback_would_tell_the_same(client: Client, gateway: FakeGateway) -> None:
    create(client, gateway, EUROPA)
    assert dialect.formats["runway.web"].render(gateway.last) == client.get(f"/runway/tasks/{gateway.last.id}").json()


def test_a_dry_run_answers_the_price(client: Client, gateway: FakeGateway) -> None:
    content = client.post("/runway/tasks", json=EUROPA, headers={"X-Genway-Dry-Run": "1"}).json()
    assert (content["dryRun"], content["estimatedCost"], content["quote"]["currency"]) == (True, {"credits": 50}, "USD")
    assert not gateway.tasks
