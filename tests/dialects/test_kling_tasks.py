"""Kling's wire format: how tasks, accounts and errors are told of, and who may ask."""

from __future__ import annotations

import time
from collections.abc import Iterator

import jwt
import pytest

from dialects.kling_stage import (
    PICTURE,
    PNG,
    V1,
    Client,
    refused,
    submit,
    text2video,
)
from dialects.stage import FILES, KEY, NOW, OTHER_KEY, FakeGateway, client_of
from genway.billing.usage import Usage
from genway.dialects.kling import dialect, queries
from genway.errors import Conflict, InsufficientBalance, NoChannel, RateLimited, Unavailable
from genway.tasks.model import State


@pytest.fixture(scope="module")
def kling() -> Iterator[Client]:
    with client_of(dialect) as client:
        yield client


@pytest.fixture
def client(kling: Client, gateway: FakeGateway) -> Client:
    kling.app.state.gateway = gateway
    return kling


def test_the_answer_to_a_submit_has_the_standard_shape(client: Client, gateway: FakeGateway) -> None:
    answer = client.post(f"{V1}/videos/text2video/", json={"prompt": "a", "external_task_id": "my-1"})
    content = answer.json()
    assert (content["code"], content["message"]) == (0, "SUCCEED")
    assert isinstance(content["request_id"], str)
    data = content["data"]
    assert (data["task_id"], data["task_status"]) == (gateway.last.id, "submitted")
    assert data["task_info"] == {"external_task_id": "my-1"}
    assert data["created_at"] == data["updated_at"] == int(NOW * 1000)
    assert answer.headers["x-genway-provider"] == "local"


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (State.QUEUED, "submitted"),
        (State.SUBMITTING, "submitted"),
        (State.RUNNING, "processing"),
        (State.STORING, "processing"),
        (State.PARKED, "processing"),
        (State.FAILED, "failed"),
        (State.CANCELLED, "failed"),
        (State.EXPIRED, "failed"),
    ],
)
def test_each_state_has_klings_word(client: Client, gateway: FakeGateway, state: State, word: str) -> None:
    text2video(client, gateway)
    gateway.change(state=state)
    data = client.get(f"{V1}/videos/text2video/{gateway.last.id}").json()["data"]
    assert data["task_status"] == word
    assert data["task_result"] == {}


def test_a_video_that_was_made_is_told_of_with_its_price(client: Client, gateway: FakeGateway) -> None:
    text2video(client, gateway, watermark_info={"enabled": False})
    task = gateway.succeed()
    data = client.get(f"{V1}/videos/text2video/{task.id}").json()["data"]
    assert data["task_status"] == "succeed"
    assert data["task_result"] == {"videos": [{"id": f"{task.id}-0", "url": FILES[0].url, "duration": "10"}]}
    assert (data["final_unit_deduction"], data["watermark_info"]) == ("50", {"enabled": False})
    assert data["final_balance_deduction"]["quota"] == "0.50"
    assert data["updated_at"] == int((NOW + 291) * 1000)


def test_pictures_are_numbered(client: Client, gateway: FakeGateway) -> None:
    submit(client, gateway, "images/generations", {"prompt": "a", "n": 2})
    gateway.change(state=State.SUCCEEDED, files=(PNG, PNG))
    found = client.get(f"{V1}/images/generations/{gateway.last.id}").json()["data"]["task_result"]
    assert found == {"images": [{"index": 0, "url": PNG.url}, {"index": 1, "url": PNG.url}]}


def test_a_failure_is_a_good_answer_that_says_why(client: Client, gateway: FakeGateway) -> None:
    text2video(client, gateway)
    gateway.fail()
    content = client.get(f"{V1}/videos/text2video/{gateway.last.id}").json()
    assert (content["code"], content["data"]["task_status"]) == (0, "failed")
    assert content["data"]["task_status_msg"] == "the vendor is on fire"


def test_a_task_is_found_by_the_callers_own_id(client: Client, gateway: FakeGateway) -> None:
    text2video(client, gateway, external_task_id="my-1")
    text2video(client, gateway)
    own = next(iter(gateway.tasks))
    assert client.get(f"{V1}/videos/text2video/my-1").json()["data"]["task_id"] == own
    said = refused(client, "videos/text2video", {"prompt": "a", "external_task_id": "my-1"})
    assert said == (400, 1201, "external_task_id: was used for an earlier task of this account")
    other = client.get(f"{V1}/videos/text2video/my-1", headers={"Authorization": f"Bearer {OTHER_KEY}"})
    assert (other.status_code, other.json()["code"]) == (404, 1203)


@pytest.mark.parametrize("endpoint", queries.ENDPOINTS)
def test_every_endpoint_answers_single_and_list_queries_also_with_a_double_slash(client: Client, endpoint: str) -> None:
    for path in (f"{V1}/{endpoint}/unknown", f"{V1}/{endpoint}//unknown"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, 1203)
    assert client.get(f"{V1}/{endpoint}").json()["data"] == []
    assert dialect.formats[f"kling.{endpoint}"]


def test_a_list_has_the_tasks_of_its_endpoint_page_by_page(client: Client, gateway: FakeGateway) -> None:
    for _ in range(3):
        text2video(client, gateway)
    submit(client, gateway, "videos/image2video", {"image": PICTURE})
    ids = list(gateway.tasks)
    rows = client.get(f"{V1}/videos/text2video").json()["data"]
    assert [row["task_id"] for row in rows] == [ids[2], ids[1], ids[0]]
    page = client.get(f"{V1}/videos/text2video?pageNum=2&pageSize=2").json()["data"]
    assert [row["task_id"] for row in page] == [ids[0]]
    answer = client.get(f"{V1}/videos/text2video?pageSize=501")
    assert (answer.status_code, answer.json()["message"]) == (400, 'pageSize: a whole number from 1 to 500, got "501"')


def test_the_account_is_told_of_as_a_resource_pack(client: Client, gateway: FakeGateway) -> None:
    gateway.used = [Usage(day="2024-08-22", model="kling/kling-v1", tasks=1, charged=500_000)]
    answer = client.get("/kling/account/costs?start_time=1724000000000&end_time=1725000000000").json()["data"]
    pack = answer["resource_pack_subscribe_infos"][0]
    assert (pack["remaining_quantity"], pack["total_quantity"], pack["status"]) == (1235.0, 1285.0, "online")
    named = client.get("/kling/account/costs?start_time=1&end_time=2&resource_pack_name=other").json()["data"]
    assert named["resource_pack_subscribe_infos"] == []
    for query in ("", "?start_time=2&end_time=1"):
        assert client.get(f"/kling/account/costs{query}").json()["code"] == 1201


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (InsufficientBalance("poor"), 429, 1102),
        (NoChannel("nobody can", field="model"), 404, 1203),
        (Conflict("busy"), 400, 1200),
        (Unavailable("stopping"), 503, 5001),
    ],
)
def test_each_error_has_the_codes_of_the_table(
    client: Client, gateway: FakeGateway, raised: Exception, status: int, code: int
) -> None:
    gateway.refuse = raised
    assert refused(client, "videos/text2video", {"prompt": "a"})[:2] == (status, code)


def test_too_many_requests_and_too_many_tasks_have_codes_of_their_own(client: Client, gateway: FakeGateway) -> None:
    gateway.refuse = RateLimited("too many at once", retry_after=5)
    answer = client.post(f"{V1}/videos/text2video", json={"prompt": "a"})
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (429, 1303, "5")
    busy = client.post(f"{V1}/videos/text2video", json={"prompt": "a"}, headers={"Authorization": "Bearer sk-busy"})
    assert (busy.status_code, busy.json()["code"]) == (429, 1302)


def token(key: str = KEY, secret: str = KEY, *, expires: int = 1800, begins: int = -5, algorithm: str = "HS256") -> str:
    now = int(time.time())
    return jwt.encode({"iss": key, "exp": now + expires, "nbf": now + begins}, secret, algorithm=algorithm)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (f"Bearer {KEY}", None),
        (KEY, None),
        ("JWT", None),
        ("", 1001),
        ("Bearer sk-unknown", 1002),
        ("signed by another secret", 1002),
        ("unsigned", 1002),
        ("with an unknown key", 1002),
        ("without an end", 1002),
        ("eyJ.e30.c2ln", 1002),
        ("not yet", 1003),
        ("over", 1004),
    ],
)
def test_a_key_comes_as_it_is_or_in_a_token_that_it_has_signed(client: Client, authorization: str, code: int | None) -> None:
    made = {
        "JWT": lambda: token(),
        "signed by another secret": lambda: token(secret="another secret"),
        "unsigned": lambda: token(algorithm="none", secret=""),
        "with an unknown key": lambda: token("sk-unknown", "sk-unknown"),
        "without an end": lambda: jwt.encode({"iss": KEY}, KEY, algorithm="HS256"),
        "not yet": lambda: token(begins=300),
        "over": lambda: token(expires=-300),
    }
    value = f"Bearer {made[authorization]()}" if authorization in made else authorization
    answer = client.post(f"{V1}/videos/text2video", json={"prompt": "a"}, headers={"Authorization": value})
    assert answer.json()["code"] == (code or 0)
    assert answer.status_code == (401 if code else 200)


def test_a_callback_is_the_bare_task_at_every_change_of_klings_status(client: Client, gateway: FakeGateway) -> None:
    text2video(client, gateway, external_task_id="my-1", callback_url="https://me.example/kling")
    form = dialect.formats[gateway.last.dialect]
    told = {state for state in State if form.tells(state)}
    assert told == {State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED}
    body = form.render(gateway.succeed())
    assert "code" not in body
    assert (body["task_status"], body["task_info"]) == ("succeed", {"external_task_id": "my-1"})
    assert body["task_result"]["videos"][0]["url"] == FILES[0].url


def test_a_dry_run_is_priced_and_begins_nothing(client: Client, gateway: FakeGateway) -> None:
    answer = client.post(f"{V1}/videos/text2video", json={"prompt": "a"}, headers={"X-Genway-Dry-Run": "1"}).json()
    assert (answer["code"], answer["data"]["dry_run"], answer["data"]["final_unit_deduction"]) == (0, True, "50")
    assert not gateway.tasks
