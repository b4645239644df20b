"""A client of Luma, a gateway, another gateway and the stand-in vendor, one behind the other, over sockets."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from genway.cli.place import Place
from genway.routing.channels import Channel, add_channel
from running import Running, start_server

TESTS = Path(__file__).parents[1]
VENDOR_KEY = "luma-good"
PRIVATE = {"GENWAY_MEDIA_ALLOW_PRIVATE": "127.0.0.0/8"}
GENERATIONS = "/dream-machine/v1/generations"
SMALL = {"model": "ray-2", "resolution": "540p", "aspect_ratio": "1:1"}


@pytest.fixture(scope="module")
def vendor() -> Iterator[str]:
    command = [sys.executable, "-m", "standins.luma_vendor", "--key", VENDOR_KEY, "--step-seconds", "0.2"]
    process = subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.wait(10)
    process.stdout.close()


def connect(data: Path, provider: str, url: str, secret: str) -> None:
    with Place(data=data).open() as opened:
        channel = Channel(id="", name=provider, provider=provider, base_url=url)
        opened.write(lambda connection: add_channel(connection, opened.vault, channel, secret, time.time()).name)


@pytest.fixture(scope="module")
def inner(vendor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The gateway that has an account with the vendor."""
    data = tmp_path_factory.mktemp("inner")
    connect(data, "luma", vendor, VENDOR_KEY)
    with start_server(data, **PRIVATE) as running:
        yield running


@pytest.fixture(scope="module")
def outer(inner: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The gateway that has an account with the inner one."""
    data = tmp_path_factory.mktemp("outer")
    connect(data, "luma_compat", inner.url, inner.key)
    with start_server(data, **PRIVATE) as running:
        yield running


class Hook:
    """Takes callbacks."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.seen.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def states(self, task_id: str) -> list[str]:
        return [each["state"] for each in self.seen if each["id"] == task_id]


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()
    made.server.server_close()


def begin(server: Running, path: str, body: dict[str, Any]) -> str:
    answer = server.post(path, body)
    assert answer.status_code in {200, 201}, answer.text
    return str(answer.json()["id"])


def ended(server: Running, path: str) -> dict[str, Any]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found: dict[str, Any] = requests.get(
            f"{server.url}{path}", headers={"Authorization": f"Bearer {server.key}"}, timeout=10
        ).json()
        if found["state"] in {"completed", "failed"}:
            return found
        threading.Event().wait(0.1)
    raise AssertionError(f"{path} has not ended")


def submits(vendor: str, words: str) -> list[dict[str, Any]]:
    found = requests.get(f"{vendor}/_admin/submits", params={"prompt": words}, timeout=10).json()
    return [each for each in found["submits"] if each["accepted"]]


def test_everything_that_luma_makes_comes_through(inner: Running, vendor: str, hook: Hook) -> None:
    video = begin(inner, f"{GENERATIONS}/video", {**SMALL, "prompt": "a tiger", "callback_url": hook.url})
    picture = begin(inner, f"{GENERATIONS}/image", {"model": "photon-1", "prompt": "a tiger in ink"})
    done = ended(inner, f"{GENERATIONS}/{video}")
    assert done["state"] == "completed", done
    assert requests.get(done["assets"]["video"], timeout=10).content[4:8] == b"ftyp"
    assert ended(inner, f"{GENERATIONS}/{picture}")["assets"]["image"]
    [made] = submits(vendor, "a tiger")[:1]

    frames = {"frame0": {"type": "generation", "id": video}}
    longer = begin(inner, f"{GENERATIONS}/video", {**SMALL, "prompt": "it runs away", "keyframes": frames})
    larger = begin(inner, f"{GENERATIONS}/{video}/upscale", {"resolution": "1080p"})
    louder = begin(inner, f"{GENERATIONS}/{video}/audio", {"prompt": "it roars"})
    for each in (longer, larger, louder):
        assert ended(inner, f"{GENERATIONS}/{each}")["state"] == "completed"
    [extended] = submits(vendor, "it runs away")
    assert extended["body"]["keyframes"] == {"frame0": {"type": "generation", "id": made["task_id"]}}
    assert f"/{made['task_id']}/audio" in submits(vendor, "it roars")[0]["path"]
    assert {each["path"].rpartition("/")[2] for each in submits(vendor, "")} == {"video", "image", "upscale", "audio"}

    until = time.monotonic() + 20
    while len(hook.states(video)) < 2 and time.monotonic() < until:
        threading.Event().wait(0.05)
    told = hook.states(video)
    assert len(told) == 2
    assert set(told) <= {"dreaming", "completed"}
    assert "completed" in told


def test_a_gateway_behind_a_gateway_makes_and_carries_on_a_video_and_tells_of_a_failure(outer: Running, vendor: str) -> None:
    doomed = begin(outer, "/luma/generations", {"user_prompt": "a riot vendor:fail_moderation", "aspect_ratio": "1:1"})
    video = begin(outer, "/luma/generations/", {"user_prompt": "a boat leaves", "aspect_ratio": "16:9", "resolution": "540p"})
    done = ended(outer, f"/luma/generations/{video}")
    assert done["state"] == "completed", done
    assert requests.get(done["video"]["download_url"], timeout=10).content[4:8] == b"ftyp"
    longer = begin(outer, f"/luma/generations/{video}/extend", {"user_prompt": "the boat comes back"})
    assert ended(outer, f"/luma/generations/{longer}")["state"] == "completed"
    [first], [second] = submits(vendor, "a boat leaves"), submits(vendor, "the boat comes back")
    assert first["body"]["resolution"] == "540p"
    assert second["body"]["keyframes"] == {"frame0": {"type": "generation", "id": first["task_id"]}}
    failed = ended(outer, f"/luma/generations/{doomed}")
    assert (failed["state"], failed["failure_reason"]) == ("failed", "Frame moderation failed")
