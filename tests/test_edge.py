"""What every request meets first, over a real socket."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from genway.cli import child
from running import KEY, Running, start_server

PAGE = "/runway/pro/generate"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with start_server(
        tmp_path_factory.mktemp("edge") / "data",
        GENWAY_SERVER_MAX_BODY_BYTES="100000",
        GENWAY_SERVER_BODY_SECONDS="1.5",
        GENWAY_LOG_FORMAT="json",
    ) as running:
        yield running


def raw(gateway: Running, request: bytes, *more: bytes, wait: float = 10) -> bytes:
    """Send bytes as they are and read what comes back."""
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait) as connection:
        connection.sendall(request)
        for part in more:
            connection.sendall(part)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.rstrip().endswith((b"}", b"0")):
            chunk = connection.recv(65536)
            if not chunk:
                break
            answer += chunk
    return answer


def head(path: str = PAGE, **headers: str) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: genway",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def test_every_answer_carries_a_request_id_and_keeps_the_clients_own(gateway: Running) -> None:
    made = requests.get(f"{gateway.url}/healthz", timeout=5).headers["x-request-id"]
    assert re.fullmatch(r"req_[0-9a-f]{32}", made)
    kept = requests.get(f"{gateway.url}/healthz", headers={"X-Request-Id": "mine-1"}, timeout=5).headers["x-request-id"]
    assert kept == "mine-1"
    long = requests.get(f"{gateway.url}/healthz", headers={"X-Request-Id": "x" * 500}, timeout=5).headers["x-request-id"]
    assert long.startswith("req_")


def test_a_browser_may_call_with_the_headers_known_clients_send(gateway: Running) -> None:
    asked = "authorization, content-type, x-runway-version, idempotency-key, x-stainless-lang"
    answer = requests.options(
        gateway.url + PAGE,
        headers={
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": asked,
        },
        timeout=5,
    )
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == asked
    assert "POST" in answer.headers["access-control-allow-methods"]
    refused = requests.post(gateway.url + PAGE, json={}, headers={"Origin": "https://app.example"}, timeout=5)
    assert refused.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("value", ["Bearer {}", "{}", "bearer {}", "  Bearer   {}  "])
def test_the_key_is_taken_with_and_without_bearer(gateway: Running, value: str) -> None:
    answer = requests.post(
        f"{gateway.url}/runway/feed",
        json={"task_id": "1"},
        headers={"Authorization": value.format(gateway.key).strip()},
        timeout=5,
    )
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "task_not_exist"


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer nonsense", "Basic dXNlcjpwYXNz"])
def test_without_a_valid_key_nothing_happens(gateway: Running, value: str | None) -> None:
    headers = {} if value is None else {"Authorization": value}
    answer = requests.post(gateway.url + PAGE, json={"prompt": "a cat"}, headers=headers, timeout=5)
    assert answer.status_code == 401
    body = answer.json()
    assert set(body) >= {"code", "msg", "data", "exec_time", "error"}
    assert body["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/runway/nothing", {"code", "msg", "data", "exec_time", "error"}),
        ("/runwayml/v1/nothing", {"error", "code"}),
        ("/nothing", {"error"}),
    ],
)
def test_an_unknown_path_is_answered_in_the_shape_of_its_system(gateway: Running, path: str, shape: set[str]) -> None:
    answer = requests.post(gateway.url + path, json={}, timeout=5)
    assert answer.status_code == 404
    assert set(answer.json()) >= shape


def test_a_wrong_method_is_told_so(gateway: Running) -> None:
    answer = requests.get(gateway.url + PAGE, timeout=5)
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "invalid_request"


def test_a_path_tells_its_methods(gateway: Running) -> None:
    answer = requests.options(f"{gateway.url}/runwayml/v1/tasks/a-task", timeout=5)
    assert (answer.status_code, answer.headers["allow"], answer.content) == (204, "DELETE, GET, OPTIONS", b"")
    assert requests.put(f"{gateway.url}/runwayml/v1/tasks/a-task", timeout=5).status_code == 405


def test_a_body_announced_as_ten_gigabytes_is_refused_before_it_is_sent(gateway: Running) -> None:
    began = time.monotonic()
    answer = raw(gateway, head(Content_Length=str(10**10), Content_Type="application/json", Authorization=gateway.key), b"{")
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert b'"body_too_large"' in answer
    assert time.monotonic() - began < 1.4


def test_a_body_that_never_ends_is_cut_off(gateway: Running) -> None:
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    request = head(Transfer_Encoding="chunked", Content_Type="application/json", Authorization=gateway.key)
    answer = raw(gateway, request, *([chunk] * 12))
    assert b" 413 " in answer.split(b"\r\n")[0]


def test_a_body_that_drips_is_cut_off(gateway: Running) -> None:
    answer = raw(gateway, head(Content_Length="5000", Content_Type="application/json", Authorization=gateway.key), b'{"a":')
    assert b" 408 " in answer.split(b"\r\n")[0]
    assert b'"body_too_slow"' in answer


def test_a_stranger_is_refused_before_his_body_is_read(gateway: Running) -> None:
    began = time.monotonic()
    answer = raw(gateway, head(Content_Length="5000", Content_Type="application/json"), b"{")
    assert b" 401 " in answer.split(b"\r\n")[0]
    assert time.monotonic() - began < 1.4


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"prompt": "\\ud800"}', b"[" * 5000, b'{"options": 3}', b"1e999"]
)
def test_rubbish_is_a_clear_error_and_never_a_fault(gateway: Running, body: bytes) -> None:
    headers = {"Authorization": gateway.key, "Content-Type": "application/json"}
    answer = requests.post(gateway.url + PAGE, data=body, headers=headers, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_ready_and_alive_and_counted(gateway: Running) -> None:
    assert requests.get(f"{gateway.url}/readyz", timeout=5).json() == {"status": "ready"}
    assert requests.get(f"{gateway.url}/healthz", timeout=5).json()["status"] == "ok"
    text = requests.get(f"{gateway.url}/metrics", timeout=5).text
    assert 'genway_requests_total{dialect="genway",method="GET",status="200"}' in text
    assert "genway_tasks_open" in text


def test_a_quote_is_the_same_by_both_ways_and_does_nothing(gateway: Running) -> None:
    body: dict[str, Any] = {"prompt": "a cat", "model": "gen3", "options": {"seconds": 5}}
    by_path = gateway.post("/v1/quote", {"path": PAGE, "body": body}).json()
    assert (by_path["total"], by_path["served_by"], by_path["lines"][0]["unit"]) == ("0.005", "local", "second")
    dry = requests.post(
        gateway.url + PAGE, json=body, headers={"Authorization": gateway.key, "X-Genway-Dry-Run": "1"}, timeout=5
    ).json()
    assert "0.005" in json.dumps(dry)
    refused = gateway.post("/v1/quote", {"path": PAGE, "body": body | {"options": {"seconds": 7}}})
    assert refused.status_code == 400
    assert "options.seconds: 5 or 10, got 7" in refused.text
    nothing = gateway.post("/v1/quote", {"path": "/runway/feed", "body": {"task_id": "1"}})
    assert nothing.status_code == 400
    assert "genway_tasks_accepted_total{" not in requests.get(f"{gateway.url}/metrics", timeout=5).text


def test_a_task_id_with_odd_characters_is_unknown_like_any_other(gateway: Running) -> None:
    for odd in ("../../etc", "🙂", "x" * 5000):
        assert gateway.post("/runway/feed", {"task_id": odd}).status_code == 404
    headers = {"Authorization": gateway.key}
    assert requests.get(f"{gateway.url}/runwayml/v1/tasks/a%00b", headers=headers, timeout=5).status_code == 404


def test_the_log_has_the_request_id_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "log"
    environ = os.environ | {"GENWAY_BOOTSTRAP_KEY": KEY, "GENWAY_LOG_LEVEL": "debug"}
    with child.started(tmp_path / "data", environ, log=file) as gateway:
        answer = requests.post(
            gateway.url + PAGE,
            json={"prompt": "a very secret prompt", "callback_url": "https://example.com/?token=hush"},
            headers={"Authorization": KEY},
            timeout=5,
        )
        request_id = answer.headers["x-request-id"]
    log = file.read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["path"] for line in lines if line["event"] == "request" and line["request_id"] == request_id] == [PAGE]
    for secret in (KEY, "a very secret prompt", "hush"):
        assert secret not in log
