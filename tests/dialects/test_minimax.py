"""Videos in MiniMax's format: what is read, what is answered, and who is called back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from dialects.minimax_stage import Client, Files, Receiver, Working, serving
from dialects.stage import KEY, NOW, OTHER_KEY
from genway.dialects.minimax import camera, dialect
from genway.dialects.minimax.models import VIDEOS
from genway.errors import GenwayError, InsufficientBalance, NoChannel, RateLimited, Unavailable
from genway.operations import Camera, EffectRequest, MediaRef, Size, VideoRequest
from genway.tasks.model import State

PICTURE = "https://a.example/1.png"
END = "https://a.example/2.png"
OK = {"status_code": 0, "status_msg": "success"}


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


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "MiniMax-Hailuo-02", "prompt": "a fox trots", **fields}


def create(client: Client, gateway: Working, **fields: Any) -> Any:
    answer = client.post("/v1/video_generation", json=body(**fields))
    assert answer.status_code == 200, answer.text
    return gateway.last.operation


def refusal(client: Client, **fields: Any) -> str:
    answer = client.post("/v1/video_generation", json=body(**fields))
    assert answer.status_code == 400, answer.text
    assert answer.json()["base_resp"]["status_code"] == 2013
    return str(answer.json()["base_resp"]["status_msg"])


def query(client: Client, gateway: Working) -> dict[str, Any]:
    answer = client.get("/v1/query/video_generation", params={"task_id": gateway.last.id})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_text_becomes_a_video_of_the_models_own_length_and_size(client: Client, gateway: Working) -> None:
    answer = client.post("/v1/video_generation", json=body())
    assert answer.json()["task_id"] == gateway.last.id
    assert answer.json()["base_resp"] == OK
    assert answer.headers["Trace-Id"] == gateway.last.request_id
    operation = gateway.last.operation
    assert isinstance(operation, VideoRequest)
    assert (operation.model, operation.format, operation.prompt) == (
        "minimax/MiniMax-Hailuo-02",
        "minimax.video",
        "a fox trots",
    )
    assert (operation.seconds, operation.size, operation.camera) == (6, Size(1366, 768), Camera())
    assert gateway.last.dialect == "minimax.video"


def test_every_field_of_a_request_is_honoured(client: Client, gateway: Working) -> None:
    operation = create(
        client,
        gateway,
        duration="10",
        resolution="512p",
        first_frame_image=PICTURE,
        prompt_optimizer=False,
        fast_pretreatment=True,
        aigc_watermark=True,
        **{"prompt_optimizer ": True, "new_field": 1},
    )
    assert (operation.seconds, operation.size, operation.first_frame) == (10, Size(910, 512), MediaRef(url=PICTURE))
    assert operation.extra == {
        "prompt_optimizer": False,
        "fast_pretreatment": True,
        "aigc_watermark": True,
        "prompt_optimizer ": True,
        "new_field": 1,
    }


def test_a_first_and_a_last_frame_may_be_given(client: Client, gateway: Working) -> None:
    operation = create(client, gateway, first_frame_image=PICTURE, last_frame_image=END, resolution="1080P")
    assert (operation.first_frame, operation.last_frame) == (MediaRef(url=PICTURE), MediaRef(url=END))
    assert create(client, gateway, first_frame_image=None, last_frame_image=END, prompt="").last_frame == MediaRef(url=END)


@pytest.mark.parametrize("image", [[PICTURE], PICTURE], ids=["in a list", "bare"])
def test_a_subject_becomes_a_reference(image: Any, client: Client, gateway: Working) -> None:
    operation = create(client, gateway, model="S2V-01", subject_reference=[{"type": "character", "image": image}])
    assert (operation.references, operation.size) == ((MediaRef(url=PICTURE),), Size(1280, 720))


def test_pictures_may_be_sent_inline(client: Client, gateway: Working) -> None:
    create(client, gateway, first_frame_image="data:image/png;base64,AAAA")
    assert gateway.media == [("first_frame_image", "data:image/png;base64,AAAA", ("image",))]


@pytest.mark.parametrize("model", VIDEOS)
def test_every_model_takes_what_it_needs(model: str, client: Client, gateway: Working) -> None:
    takes = VIDEOS[model]
    given: dict[str, Any] = {"first_frame_image": PICTURE} if takes.picture else {}
    if takes.subject:
        given["subject_reference"] = [{"type": "character", "image": [PICTURE]}]
    for resolution, durations in takes.seconds.items():
        for seconds in durations:
            operation = create(client, gateway, model=f"minimax/{model}", resolution=resolution, duration=seconds, **given)
            assert (operation.model, operation.seconds) == (f"minimax/{model}", seconds)


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"model": "MiniMax-Hailuo-9"}, f'model: {", ".join(list(VIDEOS)[:-1])} or video-01-live2d, got "MiniMax-Hailuo-9"'),
    ({"model": None}, "model: required"),
    ({"prompt": ""}, "prompt: required"),
    ({"prompt": "x" * 2001}, "prompt: a text of at most 2000 characters, got 2001"),
    ({"duration": 5}, "duration: MiniMax-Hailuo-02 makes 6 or 10 seconds at 768P, got 5"),
    ({"duration": 10, "resolution": "1080P"}, "duration: MiniMax-Hailuo-02 makes 6 seconds at 1080P, got 10"),
    ({"resolution": "4K"}, 'resolution: MiniMax-Hailuo-02 makes 768P or 1080P here, got "4K"'),
    ({"resolution": "512P"}, 'resolution: MiniMax-Hailuo-02 makes 768P or 1080P here, got "512P"'),
    ({"model": "MiniMax-Hailuo-2.3-Fast"}, "first_frame_image: MiniMax-Hailuo-2.3-Fast needs a picture to begin with"),
    ({"model": "T2V-01", "first_frame_image": PICTURE}, "first_frame_image: T2V-01 takes none"),
    ({"model": "MiniMax-Hailuo-2.3", "last_frame_image": END}, "last_frame_image: MiniMax-Hailuo-2.3 takes none"),
    ({"subject_reference": [{"image": [PICTURE]}]}, "subject_reference: MiniMax-Hailuo-02 takes none"),
    ({"model": "S2V-01"}, "subject_reference: S2V-01 needs a picture of somebody"),
    (
        {"model": "S2V-01", "subject_reference": [{"image": [PICTURE, END]}]},
        "subject_reference[0].image: a list of 1 to 1 items, got a list of 2",
    ),
    ({"first_frame_image": "http://10.0.0.1/1.png"}, "first_frame_image: a private address"),
]


@pytest.mark.parametrize(("fields", "said"), REFUSALS, ids=[said for _, said in REFUSALS])
def test_what_a_model_cannot_do_is_refused_by_its_field(
    fields: dict[str, Any], said: str, client: Client, gateway: Working
) -> None:
    assert refusal(client, **fields) == said
    assert gateway.tasks == {}


CAMERAS = {
    "A fox. [Push in]": ("A fox.", Camera(zoom=5)),
    "[Pan left,Pedestal up] A fox": ("A fox", Camera(pan=-5, vertical=5)),
    "狐狸[左移]奔跑": ("狐狸奔跑", Camera(horizontal=-5)),
    "狐狸【变焦拉远，下摇】": ("狐狸", Camera(zoom=-5, tilt=-5)),
    "A fox [Tracking shot] runs": ("A fox Tracking shot runs", Camera()),
    "狐狸 [固定, 推进]": ("狐狸 固定", Camera(zoom=5)),
    "first [Truck left], then [Truck right]": ("first , then", Camera(horizontal=-5)),
    "a sign that says [EXIT]": ("a sign that says [EXIT]", Camera()),
    "[Push in, dance] a fox": ("[Push in, dance] a fox", Camera()),
}


@pytest.mark.parametrize("prompt", CAMERAS)
def test_commands_in_brackets_become_a_camera_motion(prompt: str, client: Client, gateway: Working) -> None:
    operation = create(client, gateway, prompt=prompt)
    assert (operation.prompt, operation.camera) == CAMERAS[prompt]
    kept = operation.extra.get("prompt", operation.prompt)
    assert kept == prompt, "a provider of this format is sent the words as they came"


def test_each_of_the_commands_is_known_in_both_languages() -> None:
    assert len(camera.MOVES) == len(camera.CHINESE) == 12
    for chinese, english in camera.CHINESE.items():
        assert camera.read(f"[{chinese}]") == camera.read(f"[{english.title()}]") != ("", Camera())
    assert [camera.read(f"[{word}]") for word in camera.MANNERS] == [(word, Camera()) for word in camera.MANNERS]


def test_a_template_becomes_an_effect(client: Client, gateway: Working) -> None:
    given = {"template_id": "393881433990066176", "media_inputs": [{"value": PICTURE}], "text_inputs": [{"value": "lion"}]}
    answer = client.post("/minimax/v1/video_template_generation", json=given)
    assert answer.json()["base_resp"] == OK
    operation = gateway.last.operation
    assert isinstance(operation, EffectRequest)
    assert (operation.model, operation.effect) == ("minimax/template", "393881433990066176")
    assert (operation.pictures, operation.texts) == ((MediaRef(url=PICTURE),), ("lion",))
    place = f"/v1/query/video_template_generation?task_id={gateway.last.id}"
    assert client.get(place).json()["video_url"] == ""
    gateway.succeed()
    told = client.get(place).json()
    assert (told["status"], told["video_url"]) == ("Success", "http://gen.test/media/med_v.mp4?signature=v")


@pytest.mark.parametrize("prefix", ["", "/minimax", "/minimaxi", "/hailuo", "/task/minimax"])
def test_every_prefix_that_gateways_use_leads_to_the_same(prefix: str, client: Client, gateway: Working) -> None:
    task_id = client.post(f"{prefix}/v1/video_generation", json=body()).json()["task_id"]
    gateway.succeed()
    file_id = client.get(f"{prefix}/v1/query/video_generation?task_id={task_id}").json()["file_id"]
    file = client.get(f"{prefix}/v1/files/retrieve?file_id={file_id}").json()["file"]
    assert file["download_url"] == "http://gen.test/media/med_v.mp4?signature=v"


def test_only_minimaxs_own_paths_are_claimed() -> None:
    own = {path for route in dialect.routes for path in route.paths}
    assert all(prefix in own or prefix.count("/") <= 2 for prefix in dialect.prefixes)
    assert "/v1" not in dialect.prefixes
    assert not own & {"/v1/files", "/v1/videos", "/v1/audio/speech", "/v1/images/generations"}


STATUSES = {
    State.QUEUED: "Queueing",
    State.SUBMITTING: "Preparing",
    State.RUNNING: "Processing",
    State.STORING: "Processing",
    State.PARKED: "Processing",
}


@pytest.mark.parametrize("state", STATUSES)
def test_a_query_tells_all_fields_while_there_is_nothing_yet(state: State, client: Client, gateway: Working) -> None:
    create(client, gateway)
    gateway.change(state=state, local=False, warnings=())
    assert query(client, gateway) == {
        "task_id": gateway.last.id,
        "status": STATUSES[state],
        "file_id": "",
        "video_width": 0,
        "video_height": 0,
        "base_resp": OK,
    }


def test_a_query_of_success_tells_size_and_file(client: Client, gateway: Working) -> None:
    create(client, gateway)
    gateway.succeed()
    told = query(client, gateway)
    assert (told["status"], told["video_width"], told["video_height"]) == ("Success", 1280, 768)
    assert told["file_id"].isdecimal()
    file = client.get("/v1/files/retrieve", params={"file_id": told["file_id"]}).json()["file"]
    link = "http://gen.test/media/med_v.mp4?signature=v"
    assert file == {
        "file_id": int(told["file_id"]),
        "bytes": 123,
        "created_at": int(NOW + 291),
        "filename": "output.mp4",
        "purpose": "video_generation",
        "download_url": link,
        "backup_download_url": link,
    }
    assert file["file_id"] < 2**63


def test_the_content_of_a_file_is_led_to(client: Client, gateway: Working) -> None:
    create(client, gateway)
    gateway.succeed()
    file_id = query(client, gateway)["file_id"]
    answer = client.get(f"/v1/files/retrieve_content?file_id={file_id}", follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://gen.test/media/med_v.mp4?signature=v")


def test_tasks_of_the_same_instant_have_numbers_of_their_own(client: Client, gateway: Working) -> None:
    ids = [client.post("/v1/video_generation", json=body()).json()["task_id"] for _ in range(20)]
    numbers = []
    for task_id in ids:
        gateway.tasks[task_id] = msgspec.structs.replace(gateway.tasks[task_id], state=State.SUCCEEDED)
        numbers.append(client.get(f"/v1/query/video_generation?task_id={task_id}").json()["file_id"])
    assert len(set(numbers)) == 20
    gateway.succeed()
    for number in (numbers[0], numbers[-1]):
        status = 200 if number == numbers[-1] else 409
        assert client.get(f"/v1/files/retrieve?file_id={number}").status_code == status, "the first one has no file here"


@pytest.mark.parametrize("file_id", ["1", "9" * 19, "12345678901234567890123", "abc", "-5", "٣"])
def test_a_file_that_is_not_there_is_not_found(file_id: str, client: Client, gateway: Working) -> None:
    create(client, gateway)
    answer = client.get("/v1/files/retrieve", params={"file_id": file_id})
    assert (answer.status_code, answer.json()["base_resp"]["status_code"]) == (404, 2013)


def test_a_foreign_task_and_its_file_are_not_found(client: Client, gateway: Working) -> None:
    create(client, gateway)
    gateway.succeed()
    file_id = query(client, gateway)["file_id"]
    foreign = {"Authorization": f"Bearer {OTHER_KEY}"}
    for place in (f"/v1/query/video_generation?task_id={gateway.last.id}", f"/v1/files/retrieve?file_id={file_id}"):
        answer = client.get(place, headers=foreign)
        assert (answer.status_code, answer.json()["base_resp"]["status_code"]) == (404, 2013)


@pytest.mark.parametrize("place", ["/v1/query/video_generation", "/v1/files/retrieve"])
def test_an_id_is_needed(place: str, client: Client) -> None:
    answer = client.get(place)
    assert (answer.status_code, answer.json()["base_resp"]["status_code"]) == (400, 2013)
    assert answer.json()["base_resp"]["status_msg"].endswith("_id: required")


def test_a_file_of_a_task_that_is_under_way_is_not_there_yet(client: Client, gateway: Working) -> None:
    create(client, gateway)
    gateway.succeed()
    file_id = query(client, gateway)["file_id"]
    gateway.change(state=State.RUNNING, files=())
    assert client.get(f"/v1/files/retrieve?file_id={file_id}").status_code == 409


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ({"code": "moderation", "message": "no"}, 1026, "no"),
        ({"code": "invalid_request", "message": "odd"}, 2013, "odd"),
        ({"code": "vendor_error", "message": None}, 1033, "the task failed"),
        ({"state": State.CANCELLED, "code": "cancelled", "message": None}, 1000, "the task was cancelled"),
        ({"state": State.EXPIRED, "code": "expired", "message": None}, 1001, "the task ran out of time"),
    ],
)
def test_a_failure_is_told_by_code(end: dict[str, Any], code: int, said: str, client: Client, gateway: Working) -> None:
    create(client, gateway)
    gateway.fail(**end)
    told = query(client, gateway)
    assert (told["status"], told["file_id"], told["base_resp"]) == ("Fail", "", {"status_code": code, "status_msg": said})


def test_moderation_of_what_came_out_has_a_code_of_its_own(client: Client, gateway: Working) -> None:
    create(client, gateway)
    gateway.change(vendor_id="v1")
    gateway.fail(code="moderation")
    assert query(client, gateway)["base_resp"]["status_code"] == 1027


ERRORS: list[tuple[GenwayError, int, int]] = [
    (InsufficientBalance("poor"), 402, 1008),
    (RateLimited("slow down", retry_after=7.2), 429, 1002),
    (NoChannel("nobody"), 422, 2013),
    (Unavailable("stopping"), 503, 1033),
]


@pytest.mark.parametrize(("error", "status", "code"), ERRORS, ids=[error.code for error, _, _ in ERRORS])
def test_errors_have_their_code_and_the_true_status(
    error: GenwayError, status: int, code: int, client: Client, gateway: Working
) -> None:
    gateway.refuse = error
    answer = client.post("/v1/video_generation", json=body())
    told = answer.json()
    assert (answer.status_code, told["base_resp"]) == (status, {"status_code": code, "status_msg": error.message})
    assert told["error"]["code"] == error.code
    assert answer.headers.get("Retry-After") == ("7" if status == 429 else None)


def test_the_official_mcp_client_gets_its_errors_under_200(client: Client, gateway: Working) -> None:
    gateway.refuse = InsufficientBalance("poor")
    answer = client.post("/v1/video_generation", json=body(), headers={"MM-API-Source": "Minimax-MCP"})
    assert (answer.status_code, answer.json()["base_resp"]["status_code"]) == (200, 1008)


@pytest.mark.parametrize(("key", "code"), [(None, 1004), ("sk-nobody", 2049)], ids=["no key", "an unknown key"])
def test_a_stranger_is_told_so(key: str | None, code: int, client: Client) -> None:
    kept = client.headers.pop("Authorization")
    try:
        answer = client.post("/v1/video_generation", json=body(), headers={"Authorization": f"Bearer {key}"} if key else {})
    finally:
        client.headers["Authorization"] = kept
    assert (answer.status_code, answer.json()["base_resp"]["status_code"]) == (401, code)
    assert KEY not in answer.text


def test_a_dry_run_is_answered_with_the_price(client: Client, gateway: Working) -> None:
    with Receiver() as receiver:
        headers = {"X-Genway-Dry-Run": "1"}
        told = client.post("/v1/video_generation", json=body(callback_url=receiver.url), headers=headers).json()
    assert (told["base_resp"], told["quote"]["total"]) == (OK, "0.50")
    assert (gateway.tasks, receiver.seen) == ({}, [])


def test_a_receiver_that_echoes_the_challenge_is_called_back(client: Client, gateway: Working) -> None:
    with Receiver() as receiver:
        told = client.post("/v1/video_generation", json=body(callback_url=receiver.url)).json()
    [seen] = receiver.seen
    assert list(seen) == ["challenge"]
    assert len(seen["challenge"]) == 32
    assert gateway.callback_urls == [receiver.url]
    assert told["base_resp"] == OK


def test_a_receiver_that_does_not_is_left_alone_and_the_task_goes_on(client: Client, gateway: Working) -> None:
    gateway.local = False
    with Receiver(lambda challenge: {"status": "success"}) as receiver:
        told = client.post("/v1/video_generation", json=body(callback_url=receiver.url)).json()
    assert gateway.callback_urls == [None]
    assert (told["base_resp"], told["task_id"]) == (OK, gateway.last.id)
    assert told["warnings"] == [
        "callback_url did not answer the challenge within 3 s with the same value, so nothing will be sent to it"
    ]


def test_a_private_callback_address_is_refused(client: Client, gateway: Working) -> None:
    assert refusal(client, callback_url="http://10.0.0.1/told").startswith("callback_url: 10.0.0.1 is a private address")
    assert gateway.tasks == {}


@pytest.mark.parametrize(
    ("state", "status"), [(State.RUNNING, "processing"), (State.SUCCEEDED, "success"), (State.FAILED, "failed")]
)
def test_a_callback_says_what_the_query_says_in_lower_case(state: State, status: str, client: Client, gateway: Working) -> None:
    create(client, gateway)
    task = gateway.change(state=state, local=False, warnings=(), error_message=None)
    form = dialect.formats["minimax.video"]
    assert form.tells(state)
    assert form.render(task) == {**query(client, gateway), "status": status}


def test_only_the_beginning_and_the_end_are_told() -> None:
    told = {state for state in State if dialect.formats["minimax.template"].tells(state)}
    assert told == {State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED}
