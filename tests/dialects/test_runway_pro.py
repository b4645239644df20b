from __future__ import annotations

import re
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from dialects.stage import FILES, OTHER_KEY, FakeGateway
from genway.dialects.runway import dialect
from genway.errors import AddressRefused, Conflict, Unavailable
from genway.operations import Camera, MediaRef, PerformanceRequest, RestyleRequest, Size, VideoRequest
from genway.tasks.model import State

Client = TestClient[Litestar]

PAGE = {
    "callback_url": "http://baidu.com",
    "image": "https://db.xiaohuhd.com/1.jpeg",
    "style": "cinematic",
    "model": "gen3",
    "prompt": "笑起来,吃汉堡",
    "options": {
        "seconds": 10,
        "image_as_end_frame": False,
        "flip": False,
        "motion_vector": {"x": -6.2, "y": 0, "z": 0, "r": 0, "bg_x_pan": 0, "bg_y_pan": 0},
    },
}


def generate(client: Client, **body: Any) -> Any:
    return client.post("/runway/pro/generate", json={"prompt": "a cat", **body})


def video(client: Client, gateway: FakeGateway, **body: Any) -> VideoRequest:
    answer = generate(client, **body)
    assert answer.status_code == 200, answer.text
    operation = gateway.last.operation
    assert isinstance(operation, VideoRequest)
    return operation


def refusal(client: Client, status: int = 400, **body: Any) -> str:
    answer = generate(client, **body)
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert content["code"] == status
    assert content["msg"] == content["error"]["message"]
    return str(content["msg"])


def test_the_request_of_the_page_becomes_a_video_request(client: Client, gateway: FakeGateway) -> None:
    answer = client.post("/runway/pro/generate", json=PAGE)
    assert answer.status_code == 200
    assert gateway.last.operation == VideoRequest(
        model="runway/gen3",
        format="runway.pro",
        prompt="笑起来,吃汉堡",
        first_frame=MediaRef(url="https://db.xiaohuhd.com/1.jpeg"),
        seconds=10,
        size=Size(1280, 768),
        camera=Camera(horizontal=-6.2),
        style="cinematic",
    )
    assert gateway.callback_urls == ["http://baidu.com"]
    assert gateway.media == [("image", "https://db.xiaohuhd.com/1.jpeg", ("image",))]


def test_the_answer_is_the_originals_byte_for_byte(client: Client, gateway: FakeGateway) -> None:
    answer = generate(client)
    before, _, after = answer.content.partition(b'"exec_time":')
    assert before == f'{{"code":200,"msg":"成功","data":{{"task_id":"{gateway.last.id}"}},'.encode()
    assert re.fullmatch(rb"\d+\.\d{1,6}\}", after)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("prefix", ["/runway/pro", "/runway/v1/pro"])
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("what", ["generate", "video2video", "act_one"])
def test_every_alias_answers_with_and_without_a_slash(
    client: Client, gateway: FakeGateway, prefix: str, slash: str, what: str
) -> None:
    body = {"prompt": "a cat", "video": "https://a.example/1.mp4", "image": "https://a.example/1.jpg"}
    answer = client.post(f"{prefix}/{what}{slash}", json=body)
    # act_one has no channel here, which is a word from behind the route.
    assert answer.status_code == (422 if what == "act_one" else 200)


def test_a_request_in_words_alone_has_the_defaults_of_the_page(client: Client, gateway: FakeGateway) -> None:
    assert video(client, gateway) == VideoRequest(
        model="runway/gen3",
        format="runway.pro",
        prompt="a cat",
        seconds=10,
        size=Size(1280, 768),
        style="cinematic",
        assumed=("style",),
    )
    assert gateway.callback_urls == [None]


def test_a_picture_is_not_graded_unless_a_style_is_asked_for(client: Client, gateway: FakeGateway) -> None:
    assert video(client, gateway, image="https://a.example/1.jpg").style == ""
    assert video(client, gateway, image="https://a.example/1.jpg", style="anime").style == "anime"


@pytest.mark.parametrize("empty", [None, "", " "])
def test_empty_values_are_left_out_values(client: Client, gateway: FakeGateway, empty: object) -> None:
    fields = ("callback_url", "image", "last_image", "ratio", "style", "model", "options")
    assert video(client, gateway, **dict.fromkeys(fields, empty)) == video(client, gateway)
    assert gateway.callback_urls == [None, None]


@pytest.mark.parametrize(
    ("model", "ratio", "size"),
    [
        ("gen3", "16:9", "1280x768"),
        ("gen3", "9:16", "768x1280"),
        ("gen3", "1280:768", "1280x768"),
        ("gen3", "768:1280", "768x1280"),
        ("gen3", "1280:720", "1280x720"),
        ("gen3", "720:1280", "720x1280"),
        ("gen3", "1920x1080", "1920x1080"),
        ("gen3", "16：9", "1280x768"),
        ("gen3a_turbo", "16:9", "1280x768"),
        ("gen2", "16:9", "1280x720"),
        ("gen4", "16:9", "1280x720"),
        ("gen4", "9:16", "720x1280"),
        ("gen4", "1:1", "960x960"),
        ("gen4", "4:3", "1104x832"),
        ("gen4", "3:4", "832x1104"),
        ("gen4", "21:9", "1584x672"),
        ("gen4", "1000:1000", "1000x1000"),
        ("gen4_turbo", "21:9", "1584x672"),
        ("veo3.1", "16:9", "1280x720"),
        ("veo3.1", "1080:1920", "1080x1920"),
        ("kling_4", "1:1", "960x960"),
        ("kling_4", "1000:500", "1000x500"),
    ],
)
def test_a_ratio_in_words_or_pixels_becomes_a_size(
    client: Client, gateway: FakeGateway, model: str, ratio: str, size: str
) -> None:
    options = {"seconds": 8} if model.startswith("veo") else {}
    assert str(video(client, gateway, model=model, ratio=ratio, options=options).size) == size


@pytest.mark.parametrize("ratio", ["1:1", "4:3", "3:4", "21:9", "960:960"])
def test_gen3_refuses_every_shape_but_two_and_names_them(client: Client, gateway: FakeGateway, ratio: str) -> None:
    assert refusal(client, ratio=ratio) == f"ratio: gen3 can do 16:9 and 9:16, got {ratio}"
    assert refusal(client, ratio=ratio, image="https://a.example/1.jpg") == f"ratio: gen3 can do 16:9 and 9:16, got {ratio}"
    assert not gateway.tasks
    assert not gateway.media


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"ratio": "5:4"}, 'ratio: 16:9, 9:16, 1:1, 4:3, 3:4 or 21:9, or a size like 1280:720, got "5:4"'),
        ({"ratio": "wide"}, 'ratio: 16:9, 9:16, 1:1, 4:3, 3:4 or 21:9, or a size like 1280:720, got "wide"'),
        ({"ratio": "0:9"}, 'ratio: 16:9, 9:16, 1:1, 4:3, 3:4 or 21:9, or a size like 1280:720, got "0:9"'),
        ({"ratio": "1281:721"}, "ratio: even sides from 128 to 4096 and at most 8294400 pixels in all, got 1281:721"),
        ({"ratio": "64:36"}, "ratio: even sides from 128 to 4096 and at most 8294400 pixels in all, got 64:36"),
        ({"ratio": "99999:56249"}, "ratio: even sides from 128 to 4096 and at most 8294400 pixels in all, got 99999:56249"),
        ({"model": "gen4", "ratio": "2000:500"}, "ratio: gen4 can do 16:9, 9:16, 4:3, 3:4, 1:1 and 21:9, got 2000:500"),
        ({"model": "veo3", "ratio": "1:1"}, "ratio: veo3 can do 16:9 and 9:16, got 1:1"),
        ({"prompt": "x" * 5001}, "prompt: a text of at most 5000 characters, got 5001"),
        ({"prompt": ""}, "prompt or image: required"),
        ({"prompt": 7}, "prompt: a text of at most 5000 characters, got 7"),
        ({"options": {"seconds": 7}}, "options.seconds: 5 or 10, got 7"),
        ({"options": {"seconds": "7"}}, "options.seconds: 5 or 10, got 7"),
        ({"options": {"seconds": 5.5}}, "options.seconds: a whole number, got 5.5"),
        ({"model": "gen4_turbo", "options": {"seconds": 11}}, "options.seconds: a whole number from 2 to 10, got 11"),
        ({"model": "veo3.1", "options": {"seconds": 5}}, "options.seconds: 4, 6 or 8, got 5"),
        ({"options": {"motion_vector": {"x": 10.5}}}, "options.motion_vector.x: a number from -10 to 10, got 10.5"),
        ({"options": {"motion_vector": {"bg_y_pan": -11}}}, "options.motion_vector.bg_y_pan: a number from -10 to 10, got -11"),
        ({"options": {"motion_vector": 3}}, "options.motion_vector: an object, got 3"),
        ({"options": {"flip": "sideways"}}, 'options.flip: true or false, got "sideways"'),
        ({"options": {"image_as_end_frame": True}}, "options.image_as_end_frame: needs `image`"),
        (
            {"image": "https://a/1.jpg", "last_image": "https://a/2.jpg", "options": {"image_as_end_frame": True}},
            "last_image: conflicts with `options.image_as_end_frame`, which makes `image` the last one",
        ),
        (
            {"last_image": "https://a/1.jpg", "options": {"last_image": "https://a/2.jpg"}},
            "options.last_image: differs from `last_image`; give one of them",
        ),
        (
            {"model": "gen4", "ratio": "21:9", "options": {"flip": True}},
            "options.flip: gen4 can do 16:9, 9:16, 4:3, 3:4, 1:1 and 21:9, got 672:1584",
        ),
        ({"image": "http://10.0.0.1/1.jpg"}, "image: a private address"),
        ({"options": {"last_image": "broken"}}, "options.last_image: not a picture"),
    ],
)
def test_a_wrong_value_says_which_field_what_is_allowed_and_what_came(
    client: Client, gateway: FakeGateway, body: dict[str, Any], said: str
) -> None:
    assert refusal(client, **body) == said
    assert not gateway.tasks


def test_an_unknown_model_is_refused_naming_those_there_are(client: Client) -> None:
    said = refusal(client, model="gen9")
    assert said.startswith("model: gen2, gen3, gen4, gen4.5, ")
    assert said.endswith(', got "gen9"')


@pytest.mark.parametrize(
    ("model", "qualified", "seconds"),
    [
        ("gen2", "runway/gen2", 10),
        ("gen4", "runway/gen4", 10),
        ("gen4_turbo", "runway/gen4_turbo", 10),
        ("runway/gen4", "runway/gen4", 10),
        ("gen4.5", "runway/gen4.5", 10),
        ("veo3.1", "runway/veo3.1", 8),
        ("seedance2", "runway/seedance2", 5),
    ],
)
def test_official_and_qualified_names_of_models_are_taken(
    client: Client, gateway: FakeGateway, model: str, qualified: str, seconds: int
) -> None:
    operation = video(client, gateway, model=model)
    assert (operation.model, operation.seconds) == (qualified, seconds)


@pytest.mark.parametrize("seconds", [5, 10, "5", "10", 5.0])
def test_seconds_may_be_five_or_ten_also_as_a_text(client: Client, gateway: FakeGateway, seconds: object) -> None:
    assert video(client, gateway, options={"seconds": seconds}).seconds == int(float(str(seconds)))


def test_each_number_of_the_motion_vector_is_its_own_motion_of_the_camera(client: Client, gateway: FakeGateway) -> None:
    motion = {"x": 1, "y": "0.4", "z": -3, "r": -10, "bg_x_pan": 10, "bg_y_pan": 6.5}
    assert video(client, gateway, options={"motion_vector": motion}).camera == Camera(
        horizontal=1, vertical=0.4, zoom=-3, roll=-10, background_pan_x=10, background_pan_y=6.5
    )


def test_an_image_may_be_an_address_a_data_uri_base64_or_a_media_id(client: Client, gateway: FakeGateway) -> None:
    for value in ("https://a.example/1.jpg", "data:image/png;base64,AAAA", "iVBORw0KGgoAAAAN", "med_0123"):
        video(client, gateway, image=value)
    assert [value for _, value, _ in gateway.media][1:] == ["data:image/png;base64,AAAA", "iVBORw0KGgoAAAAN", "med_0123"]


@pytest.mark.parametrize(
    "body",
    [
        {"last_image": "https://a.example/2.jpg"},
        {"options": {"last_image": "https://a.example/2.jpg"}},
        {"last_image": "https://a.example/2.jpg", "options": {"last_image": "https://a.example/2.jpg"}},
    ],
)
def test_the_last_image_is_found_in_both_places(client: Client, gateway: FakeGateway, body: dict[str, Any]) -> None:
    operation = video(client, gateway, image="https://a.example/1.jpg", **body)
    assert operation.first_frame == MediaRef(url="https://a.example/1.jpg")
    assert operation.last_frame == MediaRef(url="https://a.example/2.jpg")


def test_a_last_image_alone_is_run_towards(client: Client, gateway: FakeGateway) -> None:
    operation = video(client, gateway, prompt="", last_image="https://a.example/2.jpg")
    assert (operation.first_frame, operation.last_frame) == (None, MediaRef(url="https://a.example/2.jpg"))


def test_image_as_end_frame_makes_the_image_the_last_one(client: Client, gateway: FakeGateway) -> None:
    operation = video(client, gateway, prompt="", image="https://a.example/1.jpg", options={"image_as_end_frame": "true"})
    assert (operation.first_frame, operation.last_frame) == (None, MediaRef(url="https://a.example/1.jpg"))


@pytest.mark.parametrize(
    ("ratio", "size"), [("16:9", "768x1280"), ("9:16", "768x1280"), ("1280:720", "720x1280"), ("720:1280", "720x1280")]
)
def test_flip_exchanges_the_sides_of_a_landscape(client: Client, gateway: FakeGateway, ratio: str, size: str) -> None:
    assert str(video(client, gateway, ratio=ratio, options={"flip": True}).size) == size


def test_flip_leaves_a_square_as_it_is(client: Client, gateway: FakeGateway) -> None:
    assert str(video(client, gateway, model="gen4", ratio="1:1", options={"flip": True}).size) == "960x960"


def test_unknown_fields_are_kept_for_a_provider_of_the_same_format(client: Client, gateway: FakeGateway) -> None:
    operation = video(client, gateway, watermark=False, options={"seconds": 5, "fps": 24})
    assert operation.extra == {"watermark": False, "options": {"fps": 24}}
    assert operation.format == "runway.pro"


def test_video2video_becomes_a_restyle_request(client: Client, gateway: FakeGateway) -> None:
    body = {
        "video": "https://a.example/1.mp4",
        "prompt": "as a watercolour",
        "model": "gen4",
        "callback_url": "https://a.example/hook",
        "options": {"structure_transformation": "0.25", "flip": True, "seconds": 5, "fps": 24},
    }
    assert client.post("/runway/pro/video2video", json=body).status_code == 200
    assert gateway.last.operation == RestyleRequest(
        model="runway/gen4",
        format="runway.pro",
        extra={"options": {"fps": 24}},
        video=MediaRef(url="https://a.example/1.mp4"),
        prompt="as a watercolour",
        seconds=5,
        size=Size(720, 1280),
        strength=0.25,
    )
    assert gateway.callback_urls == ["https://a.example/hook"]
    assert gateway.media == [("video", "https://a.example/1.mp4", ("video",))]


def test_video2video_has_defaults(client: Client, gateway: FakeGateway) -> None:
    client.post("/runway/pro/video2video", json={"video": "https://a.example/1.mp4", "prompt": "noir"})
    operation = gateway.last.operation
    assert isinstance(operation, RestyleRequest)
    assert (operation.model, operation.seconds, operation.strength) == ("runway/gen3", 10, 0.5)
    assert operation.size == Size(1280, 768)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "video: required"),
        ({"video": "https://a/1.mp4"}, "prompt: required"),
        (
            {"video": "https://a/1.mp4", "prompt": "x", "options": {"structure_transformation": 1.1}},
            "options.structure_transformation: a number from 0 to 1, got 1.1",
        ),
        ({"video": "https://a/1.mp4", "prompt": "x", "options": {"seconds": 6}}, "options.seconds: 5 or 10, got 6"),
        ({"video": "https://a/1.mp4", "prompt": "x", "ratio": "1:1"}, "ratio: gen3 can do 16:9 and 9:16, got 1:1"),
    ],
)
def test_a_wrong_video2video_is_refused(client: Client, body: dict[str, Any], said: str) -> None:
    answer = client.post("/runway/pro/video2video", json=body)
    assert (answer.status_code, answer.json()["msg"]) == (400, said)


def test_act_one_is_asked_for_as_a_performance_and_refused_where_nobody_can_do_it(
    client: Client, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    submit = gateway.submit

    async def watched(operation: Any, *arguments: Any, **more: Any) -> Any:
        asked.append(operation)
        return await submit(operation, *arguments, **more)

    monkeypatch.setattr(gateway, "submit", watched)
    body = {
        "video": "https://a.example/drive.mp4",
        "image": "https://a.example/face.jpg",
        "options": {"motion_multiplier": 3, "flip": True},
    }
    answer = client.post("/runway/pro/act_one", json=body)
    assert asked == [
        PerformanceRequest(
            model="runway/act_one",
            format="runway.pro",
            performance=MediaRef(url="https://a.example/drive.mp4"),
            character=MediaRef(url="https://a.example/face.jpg"),
            size=Size(768, 1280),
            intensity=3,
        )
    ]
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "no_channel"
    assert client.post("/runway/pro/act_one", json={"video": "https://a/1.mp4"}).json()["msg"] == "image: required"


FEED = (
    '{"code":200,"msg":"成功","data":{"task_id":"%s","status":"3","prompt":"一只小猫","prompt_en":"A little cat",'
    '"video_url":"http://gen.test/media/med_v.mp4?signature=v","poster":"http://gen.test/media/med_p.jpg",'
    '"last_frame":"http://gen.test/media/med_l.jpg","msg":null,"point":"50","refund":"0",'
    '"create_time":"1724313052","update_time":"1724313343","state":"succeeded",'
    '"raw_video_url":"http://gen.test/media/med_v.mp4?signature=v","progress":1.0,"queue_position":null,'
    '"provider":"runwayml","warnings":[]},"exec_time":'
)


def test_the_feed_of_a_finished_task_is_the_originals_byte_for_byte(client: Client, gateway: FakeGateway) -> None:
    gateway.local = False
    generate(client, prompt="一只小猫")
    task = gateway.succeed(provider="runwayml", details={"prompt_en": "A little cat"})
    answer = client.post("/runway/feed", json={"task_id": task.id})
    assert answer.content.startswith((FEED % task.id).encode())
    assert re.fullmatch(rb'\d+\.\d{1,6},"ip":"testclient"\}', answer.content[len((FEED % task.id).encode()) :])
    assert "X-Genway-Provider" not in answer.headers


@pytest.mark.parametrize("path", ["/runway/feed", "/runway/feed/", "/runway/v1/feed", "/runway/v1/feed/"])
def test_the_feed_answers_at_every_alias_by_post_and_by_get(client: Client, gateway: FakeGateway, path: str) -> None:
    generate(client)
    task_id = gateway.last.id
    answers = [
        client.post(path, json={"task_id": task_id}),
        client.post(path, params={"task_id": task_id}),
        client.get(path, params={"task_id": task_id}),
    ]
    assert [answer.json()["data"]["task_id"] for answer in answers] == [task_id] * 3


@pytest.mark.parametrize(
    ("state", "status", "word", "refund"),
    [
        (State.QUEUED, "0", "queued", "0"),
        (State.SUBMITTING, "0", "queued", "0"),
        (State.RUNNING, "1", "running", "0"),
        (State.STORING, "1", "running", "0"),
        (State.PARKED, "1", "running", "0"),
        (State.SUCCEEDED, "3", "succeeded", "0"),
        (State.FAILED, "2", "failed", "1"),
        (State.CANCELLED, "2", "cancelled", "1"),
        (State.EXPIRED, "2", "expired", "1"),
    ],
)
def test_every_state_has_its_status(
    client: Client, gateway: FakeGateway, state: State, status: str, word: str, refund: str
) -> None:
    generate(client)
    task = gateway.change(state=state, charged=500_000 if state is State.SUCCEEDED else 0)
    data = client.post("/runway/feed", json={"task_id": task.id}).json()["data"]
    assert (data["status"], data["state"], data["refund"], data["point"]) == (status, word, refund, "50")


def test_a_task_under_way_has_empty_texts_for_what_is_not_there_yet(client: Client, gateway: FakeGateway) -> None:
    generate(client)
    gateway.change(state=State.RUNNING, progress=0.123456)
    data = client.post("/runway/feed", json={"task_id": gateway.last.id}).json()["data"]
    assert [data[name] for name in ("video_url", "poster", "last_frame", "prompt_en", "raw_video_url")] == [""] * 5
    assert (data["msg"], data["progress"]) == (None, 0.1235)


def test_a_queued_task_tells_its_place(client: Client, gateway: FakeGateway) -> None:
    generate(client)
    gateway.change(queue_position=4)
    assert client.post("/runway/feed", json={"task_id": gateway.last.id}).json()["data"]["queue_position"] == 4


def test_a_failed_task_says_why(client: Client, gateway: FakeGateway) -> None:
    generate(client)
    gateway.fail()
    assert client.post("/runway/feed", json={"task_id": gateway.last.id}).json()["data"]["msg"] == "the vendor is on fire"
    gateway.fail(State.EXPIRED, message=None)
    assert client.post("/runway/feed", json={"task_id": gateway.last.id}).json()["data"]["msg"] == "the task ran out of time"


def test_what_was_really_charged_are_the_points_of_a_success(client: Client, gateway: FakeGateway) -> None:
    generate(client)
    task = gateway.succeed()
    gateway.change(charged=250_001)
    assert client.post("/runway/feed", json={"task_id": task.id}).json()["data"]["point"] == "26"


def test_work_of_the_built_in_provider_is_called_so(client: Client, gateway: FakeGateway) -> None:
    answer = generate(client)
    assert answer.headers["X-Genway-Provider"] == "local"
    answer = client.post("/runway/feed", json={"task_id": gateway.last.id})
    assert answer.headers["X-Genway-Provider"] == "local"
    assert answer.json()["data"]["provider"] == "local"
    assert answer.json()["data"]["warnings"] == ["the built-in provider did the work"]


def test_the_callback_tells_what_the_feed_would(client: Client, gateway: FakeGateway) -> None:
    generate(client)
    task = gateway.succeed()
    told = client.post("/runway/feed", json={"task_id": task.id}).json()
    body = dialect.formats["runway.pro"].render(task)
    assert body["data"] == told["data"]
    assert (body["code"], body["msg"], body["exec_time"]) == (200, "成功", 0.0)
    assert body == dialect.formats["runway.pro"].render(task)
    assert [state for state in State if dialect.formats["runway.pro"].tells(state)] == [
        State.SUCCEEDED,
        State.FAILED,
        State.CANCELLED,
        State.EXPIRED,
    ]


def test_an_unknown_and_a_foreign_task_are_answered_alike(client: Client, gateway: FakeGateway) -> None:
    generate(client)
    foreign = client.post("/runway/feed", json={"task_id": gateway.last.id}, headers={"Authorization": OTHER_KEY})
    unknown = client.post("/runway/feed", json={"task_id": "nothing"}, headers={"Authorization": OTHER_KEY})
    for answer in (foreign, unknown):
        assert answer.status_code == 404
        content = answer.json()
        assert (content["code"], content["msg"], content["data"]) == (404, "task_not_exist", None)
        assert content["error"]["code"] == "task_not_exist"


def test_a_feed_without_an_id_is_refused(client: Client) -> None:
    answer = client.post("/runway/feed", json={})
    assert (answer.status_code, answer.json()["msg"]) == (400, "task_id: required")


def test_an_error_is_the_envelope_and_the_object_that_clients_read(client: Client) -> None:
    answer = generate(client, options={"seconds": 7})
    content = answer.json()
    assert answer.status_code == 400
    assert list(content) == ["code", "msg", "data", "exec_time", "error", "request_id"]
    assert isinstance(content["exec_time"], float)
    assert content["error"] == {
        "message": "options.seconds: 5 or 10, got 7",
        "type": "invalid_request_error",
        "code": "invalid_request",
        "param": "options.seconds",
    }


def test_a_broken_body_is_refused_in_shape(client: Client) -> None:
    answer = client.post("/runway/pro/generate", content=b'{"prompt": "a cat"')
    assert answer.status_code == 400
    assert answer.json()["msg"] == "the body is not valid JSON: Expecting ',' delimiter, line 1, column 19"


@pytest.mark.parametrize("header", ["Bearer sk-live", "bearer sk-live", "sk-live", "Bearer  sk-live ", "Token sk-live"])
def test_the_key_is_taken_with_and_without_bearer(client: Client, header: str) -> None:
    assert client.post("/runway/pro/generate", json={"prompt": "a"}, headers={"Authorization": header}).status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer ", "Bearer wrong", "{{YOUR_API_KEY}}"])
def test_a_stranger_learns_nothing_of_the_body(client: Client, header: str) -> None:
    answer = client.post("/runway/pro/generate", json={"options": 7}, headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.json()["code"] == 401


def test_an_empty_wallet_is_402(client: Client) -> None:
    assert refusal(client, 402, model="gen2", prompt="poor") == "the price is 0.50 USD and the balance is 0.10 USD"


def test_a_busy_key_is_told_when_to_come_back(client: Client) -> None:
    answer = client.post("/runway/feed", json={"task_id": "x"}, headers={"Authorization": "Bearer sk-busy"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")


@pytest.mark.parametrize(
    "error",
    [AddressRefused("a private address", field="callback_url"), Conflict("already ended"), Unavailable("stopping")],
)
def test_every_error_keeps_its_true_status(client: Client, gateway: FakeGateway, error: Any) -> None:
    gateway.refuse = error
    assert refusal(client, error.status) == str(error)


def test_a_dry_run_answers_the_price_and_does_nothing(client: Client, gateway: FakeGateway) -> None:
    answer = client.post("/runway/pro/generate", json=PAGE, headers={"X-Genway-Dry-Run": "1"})
    content = answer.json()
    assert (answer.status_code, content["code"], content["msg"]) == (200, 200, "成功")
    data = content["data"]
    assert (data["dry_run"], data["point"], data["currency"], data["served_by"]) == (True, "50", "USD", "local")
    assert not gateway.tasks


def test_a_dry_run_checks_the_request_like_a_real_one(client: Client) -> None:
    answer = client.post("/runway/pro/generate", json={"ratio": "1:1", "prompt": "a"}, headers={"X-Genway-Dry-Run": "1"})
    assert answer.status_code == 400


def test_a_task_made_in_another_format_is_told_of_too(client: Client, gateway: FakeGateway) -> None:
    client.post("/runwayml/v1/text_to_image", json={"model": "gen4_image", "promptText": "a cat", "ratio": "1024:1024"})
    task = gateway.change(state=State.SUCCEEDED, charged=1, files=(FILES[1],))
    data = client.post("/runway/feed", json={"task_id": task.id}).json()["data"]
    assert (data["status"], data["prompt"], data["video_url"]) == ("3", "a cat", "")
