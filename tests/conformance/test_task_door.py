"""genway's own task door and Pika's mirror at a running gateway, over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import requests

TIMEOUT = 60


@pytest.fixture
def key(gateway_server: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {gateway_server.test_key}"}


def begun(server: Any, prompt: str) -> str:
    body = {"prompt": prompt, "model": "local/animate", "seconds": 1, "size": "256x144"}
    answer = server.post("/v1/videos", body, server.test_key)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def events(response: requests.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """The names and data of a stream of events, as they come."""
    name = ""
    for line in response.iter_lines(chunk_size=1, decode_unicode=True):
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, msgspec.json.decode(line.removeprefix("data: "))


def test_a_task_is_followed_from_begin_to_end(gateway_server: Any, key: dict[str, str]) -> None:
    task_id = begun(gateway_server, "a wave")
    address = f"{gateway_server.url}/v1/tasks/{task_id}/events"
    with requests.get(address, headers=key, stream=True, timeout=TIMEOUT) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        came = list(events(response))
    states = [data["state"] for name, data in came if name == "state"]
    assert (states[0], states[-1]) == ("queued", "succeeded")
    name, task = came[-1]
    assert (name, task["state"], task["id"]) == ("end", "succeeded", task_id)
    assert requests.get(task["files"][0]["url"], timeout=TIMEOUT).content[4:8] == b"ftyp"


def test_the_first_event_comes_while_the_task_is_under_way(gateway_server: Any, key: dict[str, str]) -> None:
    task_id = begun(gateway_server, "genway:delay=60")
    with requests.get(f"{gateway_server.url}/v1/tasks/{task_id}/events", headers=key, stream=True, timeout=TIMEOUT) as response:
        stream = events(response)
        assert next(stream)[1]["state"] == "queued"
        cancelled = requests.post(f"{gateway_server.url}/v1/tasks/{task_id}/cancel", headers=key, timeout=TIMEOUT)
        assert cancelled.json()["state"] == "cancelled"
        assert list(stream)[-1][1]["error"]["code"] == "cancelled"


def test_a_client_that_goes_away_leaves_nothing_behind(gateway_server: Any, key: dict[str, str]) -> None:
    task_id = begun(gateway_server, "genway:delay=60")
    for _ in range(3):
        response = requests.get(f"{gateway_server.url}/v1/tasks/{task_id}/events", headers=key, stream=True, timeout=TIMEOUT)
        next(events(response))
        response.close()
    answer = requests.post(f"{gateway_server.url}/v1/tasks/{task_id}/cancel", headers=key, timeout=TIMEOUT)
    assert answer.json()["state"] == "cancelled"


def test_a_submit_that_prefers_to_wait_is_answered_with_the_end(gateway_server: Any, key: dict[str, str]) -> None:
    body = {"promptText": "a wave", "model": "1.5", "options": {"frameRate": 24, "camera": {}, "extend": False}}
    address = f"{gateway_server.url}/pika/generate"
    created = requests.post(address, json=body, headers={**key, "Prefer": "wait=50"}, timeout=TIMEOUT).json()
    [video] = created["videos"]
    assert (video["status"], video["progress"], video["error"]) == ("finished", 100, "")
    fed = requests.get(f"{gateway_server.url}/pika/feed/{created['id']}", headers=key, timeout=TIMEOUT).json()
    assert fed["videos"][0]["id"] == created["id"]
    assert requests.get(fed["videos"][0]["resultUrl"], timeout=TIMEOUT).content[4:8] == b"ftyp"
    page = requests.post(
        f"{gateway_server.url}/pika/feed", json={"task_id": created["id"]}, headers=key, timeout=TIMEOUT
    ).json()
    assert (page["code"], page["data"]["status"]) == (200, "3")
    seen = requests.get(f"{gateway_server.url}/v1/tasks", params={"format": "pika.web"}, headers=key, timeout=TIMEOUT).json()
    assert seen["data"][0]["id"] == created["id"]
