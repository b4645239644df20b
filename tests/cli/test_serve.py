"""`genway serve` as a real process, and commands that work on its database while it runs."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from cli_stage import Genway
from genway.server import held_port
from running import Running, start_server

DEADLINE = 10.0
WORK = {"prompt": "a small test", "model": "seedance2", "ratio": "128:128", "options": {"seconds": 1}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with start_server(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture
def data(server: Running, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the running server, for the commands of a test."""
    monkeypatch.setenv("GENWAY_DATA", str(server.data))
    return server.data


def soon(holds: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < until, what
        threading.Event().wait(0.05)


def test_it_is_ready_and_knows_its_bootstrap_key(server: Running) -> None:
    assert requests.get(f"{server.url}/readyz", timeout=5).json() == {"status": "ready"}
    assert server.post("/runway/feed", {"task_id": "none"}).status_code == 404
    assert server.post("/runway/feed", {"task_id": "none"}, key="wrong").status_code == 401


def test_a_key_made_beside_it_works_and_a_revoked_one_is_refused(server: Running, genway: Genway) -> None:
    made = genway("key", "create", "--test", "--account", "bootstrap", "--json").json
    assert server.post("/runway/feed", {"task_id": "none"}, key=made["key"]).status_code == 404
    genway("key", "revoke", made["id"])
    soon(lambda: server.post("/runway/feed", {"task_id": "none"}, key=made["key"]).status_code == 401, "it is refused")


def test_a_price_set_beside_it_counts(server: Running, genway: Genway) -> None:
    assert genway("price", "set", "local/video", "0.5", "--unit", "second").code == 0

    def price() -> str:
        body = {"path": "/runway/pro/generate", "body": WORK}
        return str(server.post("/v1/quote", body).json()["total"])

    soon(lambda: price() == "0.50", "the price counts")
    genway("price", "remove", "local/video", "--unit", "second")
    soon(lambda: price() == "0.001", "the list's price counts again")


def test_a_task_cancelled_beside_it_ends(server: Running, genway: Genway) -> None:
    body = WORK | {"prompt": "genway:delay=600"}
    task_id = server.post("/runway/pro/generate", body, key=server.test_key).json()["data"]["task_id"]
    assert genway("task", "cancel", task_id).code == 0
    feed = server.post("/runway/feed", {"task_id": task_id}, key=server.test_key).json()["data"]
    assert (feed["status"], feed["refund"], feed["msg"]) == ("2", "1", "cancelled by the operator")


def test_a_finished_task_has_links_that_work(server: Running, genway: Genway) -> None:
    task_id = server.post("/runway/pro/generate", WORK).json()["data"]["task_id"]
    soon(lambda: genway("task", "show", task_id, "--json").json["state"] == "succeeded", "it succeeds")
    video = next(file for file in genway("task", "show", task_id, "--json").json["files"] if file["role"] == "video")
    answer = requests.get(video["url"], timeout=10)
    assert (answer.status_code, len(answer.content)) == (200, video["bytes"])


def test_the_doctor_finds_a_running_server_well(genway: Genway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENWAY_LOCAL_ENABLED", "false")
    said = genway("doctor")
    assert said.code == 0, said.out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with start_server(tmp_path) as running:
        running.process.send_signal(number)
        assert running.process.wait(15) == 0


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        arguments = ["serve", "--port", str(taken.getsockname()[1]), "--data", str(tmp_path)]
        said = subprocess.run(
            [sys.executable, "-m", "genway", *arguments], capture_output=True, text=True, timeout=60, check=False
        )
    assert said.returncode == 1
    assert said.stderr.startswith("genway: 127.0.0.1:")
    assert said.stderr.endswith("cannot be listened on: Address already in use; use --port or --host\n")


def test_a_port_is_never_shared_with_another_gateway_that_is_only_starting(tmp_path: Path) -> None:
    with held_port("127.0.0.1", 0) as port:
        arguments = ["serve", "--port", str(port), "--data", str(tmp_path)]
        said = subprocess.run(
            [sys.executable, "-m", "genway", *arguments], capture_output=True, text=True, timeout=60, check=False
        )
    assert (said.returncode, said.stderr.count("\n")) == (1, 1)
    assert "cannot be listened on" in said.stderr
