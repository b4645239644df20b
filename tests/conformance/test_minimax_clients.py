"""MiniMax's format over a socket: its official MCP server's own client, and one gateway in front of a vendor or of another."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
import requests

from running import Running, start_server
from standins.minimax_vendor import KEY

TESTS = Path(__file__).parents[1]
MCP = "minimax-mcp==0.0.19"
DEADLINE = 60.0
MP4 = b"ftyp"


@pytest.fixture(scope="module")
def vendor() -> Iterator[str]:
    command = [sys.executable, "-m", "standins.minimax_vendor", "--steps", "Success"]
    process = subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def add_channel(server: Running, provider: str, address: str, secret: str) -> None:
    arguments = ["--provider", provider, "--base-url", address, "--secret-env", "VENDOR_SECRET", "--data", str(server.data)]
    command = [sys.executable, "-m", "genway", "channel", "add", *arguments]
    subprocess.run(command, env={"VENDOR_SECRET": secret}, check=True, timeout=60, capture_output=True)
    quote = {"path": "/v1/video_template_generation", "body": {"template_id": "1"}}
    until = time.monotonic() + DEADLINE
    while server.post("/v1/quote", quote).json().get("served_by") != provider:
        assert time.monotonic() < until, "the gateway has not noticed its channel"
        threading.Event().wait(0.1)


@pytest.fixture(scope="module")
def front(vendor: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A gateway whose only channel is the stand-in vendor."""
    with start_server(tmp_path_factory.mktemp("front"), GENWAY_MEDIA_ALLOW_PRIVATE="127.0.0.0/8") as server:
        add_channel(server, "minimax", vendor, KEY)
        yield server


def ask(server: Running, path: str, key: str | None = None) -> Any:
    answer = requests.get(f"{server.url}{path}", headers={"Authorization": f"Bearer {key or server.key}"}, timeout=30)
    return answer.json()


def ended(server: Running, task_id: str, key: str | None = None) -> dict[str, Any]:
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        told: dict[str, Any] = ask(server, f"/v1/query/video_generation?task_id={task_id}", key)
        if told["status"] in {"Success", "Fail"}:
            return told
        threading.Event().wait(0.2)
    raise AssertionError(f"the task has not ended within {DEADLINE:g} s: {told}")


def bytes_of(server: Running, file_id: str, key: str | None = None) -> bytes:
    file = ask(server, f"/v1/files/retrieve?file_id={file_id}", key)["file"]
    assert str(file["file_id"]) == file_id
    direct = requests.get(
        f"{server.url}/v1/files/retrieve_content?file_id={file_id}",
        headers={"Authorization": f"Bearer {key or server.key}"},
        timeout=30,
    )
    content = requests.get(file["download_url"], timeout=30).content
    assert direct.content == content
    return content


VIDEO = {"model": "MiniMax-Hailuo-02", "prompt": "a fox trots [Push in]", "duration": 6, "resolution": "768P"}
VOICE = {"voice_id": "male-qn-qingse"}
FAILURES = {"fail_moderation": 1027, "fail": 1033, "moderated": 1026, "invalid": 2013}


@pytest.fixture(scope="module")
def begun(front: Running) -> dict[str, Any]:
    """Tasks that take a while, begun together: the answers to their requests."""
    long = {"model": "speech-2.6-hd", "text": "hello", "voice_setting": VOICE}
    template = {"template_id": "393881433990066176", "text_inputs": [{"value": "lion"}]}
    failing = {word: {**VIDEO, "prompt": f"a fox vendor:{word}"} for word in FAILURES}
    return {
        "video": front.post("/v1/video_generation", VIDEO).json(),
        "long": front.post("/v1/t2a_async_v2", long).json(),
        "template": front.post("/v1/video_template_generation", template).json(),
        **{word: front.post("/v1/video_generation", body).json() for word, body in failing.items()},
    }


def test_a_video_goes_through_to_the_vendor_and_comes_back(front: Running, begun: dict[str, Any]) -> None:
    told = ended(front, begun["video"]["task_id"])
    assert (told["status"], told["base_resp"]["status_code"]) == ("Success", 0)
    assert told["video_width"] > 0
    assert bytes_of(front, told["file_id"])[4:8] == MP4


def test_a_template_has_its_link_in_the_query(front: Running, begun: dict[str, Any]) -> None:
    task_id = begun["template"]["task_id"]
    assert ended(front, task_id)["status"] == "Success"
    told = ask(front, f"/v1/query/video_template_generation?task_id={task_id}")
    assert requests.get(told["video_url"], timeout=30).content[4:8] == MP4


def test_pictures_speech_and_music_come_in_one_call(front: Running) -> None:
    pictures = front.post("/v1/image_generation", {"model": "image-01", "prompt": "a red kite", "n": 2}).json()
    assert pictures["metadata"] == {"success_count": 2, "failed_count": 0}
    assert requests.get(pictures["data"]["image_urls"][1], timeout=30).content[1:4] == b"PNG"
    spoken = front.post("/v1/t2a_v2", {"model": "speech-2.6-hd", "text": "hello", "voice_setting": VOICE}).json()
    assert bytes.fromhex(spoken["data"]["audio"])[:4] == b"RIFF"
    assert spoken["extra_info"]["audio_length"] == 100
    sung = front.post("/minimax/v1/music_generation", {"model": "music-2.5", "lyrics": "la", "output_format": "url"}).json()
    assert requests.get(sung["data"]["audio"], timeout=30).content[:4] == b"RIFF"


def test_a_long_text_is_a_task(front: Running, begun: dict[str, Any]) -> None:
    created = begun["long"]
    assert ended(front, created["task_token"])["status"] == "Success"
    assert ask(front, f"/v1/query/t2a_async_query_v2?task_id={created['task_id']}")["status"] == "Success"
    assert bytes_of(front, str(created["file_id"]))[:4] == b"RIFF"


@pytest.mark.parametrize("word", FAILURES)
def test_a_failure_of_the_vendor_has_its_code(word: str, front: Running, begun: dict[str, Any]) -> None:
    told = ended(front, begun[word]["task_id"])
    assert (told["status"], told["base_resp"]["status_code"]) == ("Fail", FAILURES[word])


def test_another_gateway_may_stand_before_this_one(front: Running, tmp_path: Path) -> None:
    with start_server(tmp_path / "outer", GENWAY_MEDIA_ALLOW_PRIVATE="127.0.0.0/8") as outer:
        add_channel(outer, "minimax_compat", front.url, front.key)
        created = outer.post("/minimax/v1/video_generation", VIDEO).json()
        told = ended(outer, created["task_id"])
        assert told["status"] == "Success"
        assert bytes_of(outer, told["file_id"])[4:8] == MP4
        pictures = outer.post("/v1/image_generation", {"model": "image-01", "prompt": "a red kite"}).json()
        assert pictures["metadata"]["success_count"] == 1


def test_a_receiver_is_challenged_and_then_told_of_the_end(front: Running) -> None:
    seen: list[dict[str, Any]] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = msgspec.json.decode(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(body)
            content = msgspec.json.encode(body if "challenge" in body else {"status": "success"})
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            if body.get("status") in {"success", "failed"}:
                over.set()

        def log_message(self, *_: Any) -> None:
            return

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=receiver.serve_forever, args=(0.01,), daemon=True).start()
    try:
        address = f"http://127.0.0.1:{receiver.server_port}/told"
        created = front.post("/v1/video_generation", {**VIDEO, "callback_url": address}).json()
        assert over.wait(DEADLINE)
    finally:
        receiver.shutdown()
        receiver.server_close()
    assert "challenge" in seen[0]
    told = ask(front, f"/v1/query/video_generation?task_id={created['task_id']}")
    assert seen[-1] == {**told, "status": "success"}


@pytest.fixture(scope="module")
def mcp_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The client class of the official MCP server, without what the server around it needs."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("there is no uv to install the client with")
    folder = tmp_path_factory.mktemp("mcp")
    install = [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(folder), MCP]
    if subprocess.run(install, capture_output=True, timeout=120, check=False).returncode:
        pytest.skip(f"{MCP} cannot be installed: no package index can be reached")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("minimax_mcp.client").MinimaxAPIClient


def test_the_official_mcp_client_makes_a_video(front: Running, mcp_client: Any) -> None:
    client = mcp_client(front.key, front.url)
    created = client.post("/v1/video_generation", json={"model": "T2V-01", "prompt": "a fox trots"})
    assert ended(front, created["task_id"])["status"] == "Success"
    told = client.get(f"/v1/query/video_generation?task_id={created['task_id']}")
    file = client.get(f"/v1/files/retrieve?file_id={told['file_id']}")["file"]
    assert requests.get(file["download_url"], timeout=30).content[4:8] == MP4


def test_the_official_mcp_client_shows_its_own_errors(front: Running, mcp_client: Any) -> None:
    errors = importlib.import_module("minimax_mcp.exceptions")
    client = mcp_client(front.key, f"{front.url}/minimax")
    with pytest.raises(errors.MinimaxRequestError, match="2013-duration: T2V-01 makes 6 seconds at 720P, got 7"):
        client.post("/v1/video_generation", json={"model": "T2V-01", "prompt": "a fox", "duration": 7})
    with pytest.raises(errors.MinimaxRequestError, match="2049-"):
        mcp_client("sk-nobody", front.url).get("/v1/query/video_generation?task_id=1")


def test_a_test_key_rehearses_without_any_channel(front: Running) -> None:
    key = front.test_key
    created = front.post("/v1/video_generation", {**VIDEO, "prompt": "genway:fail=moderation"}, key).json()
    told = ended(front, created["task_id"], key)
    assert (told["status"], told["base_resp"]["status_code"]) == ("Fail", 1027)
    refused = front.post("/v1/t2a_v2", {"model": "speech-2.6-hd", "text": "x", "voice_setting": {"voice_id": "a"}}, key)
    assert (refused.status_code, refused.json()["base_resp"]["status_code"]) == (422, 2013)
