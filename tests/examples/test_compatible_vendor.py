"""The vendor in one file of `docs/channels.md`: the same in the text as on disk, installed beside a gateway, and at work."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from genway.providers import ENTRY_POINTS
from running import Running, start_server

ROOT = Path(__file__).parents[2]
EXAMPLE = Path(__file__).parent / "acme_chat"
EMPTY = "acme-empty"
"""A model of an account without credit."""


@pytest.mark.parametrize("page", ["docs/channels.md", "docs/zh/channels.md"])
@pytest.mark.parametrize(("language", "file"), [("python", "acme_chat.py"), ("toml", "pyproject.toml")])
def test_the_page_shows_the_example_as_it_is(page: str, language: str, file: str) -> None:
    [shown] = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert shown == (EXAMPLE / file).read_text("utf-8")


class AcmeChat(BaseHTTPRequestHandler):
    """The vendor."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["X-Acme-Key"] != "acme-secret" or self.headers["Authorization"]:
            self.answer(401, {"error": {"code": "who_are_you", "message": "no"}})
        elif asked["model"] == EMPTY:
            self.answer(400, {"error": {"code": "no_credits", "message": "buy more"}})
        elif self.path == "/v1/chat/completions":
            said = {"role": "assistant", "content": f"You said: {asked['messages'][-1]['content']}"}
            choice = {"index": 0, "message": said, "finish_reason": "stop"}
            usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
            self.answer(200, {"id": "1", "object": "chat.completion", "created": 1, "choices": [choice], "usage": usage})
        else:
            self.answer(404, {})

    def answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *values: object) -> None:
        return


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example as pip leaves it: the module and a dist-info with its entry points."""
    folder = tmp_path_factory.mktemp("site-packages")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text("utf-8"))["project"]
    information = folder / f"acme_chat-{project['version']}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [f"{name} = {target}" for name, target in project["entry-points"][ENTRY_POINTS].items()]
    (information / "entry_points.txt").write_text("\n".join([f"[{ENTRY_POINTS}]", *points, ""]))
    shutil.copy(EXAMPLE / "acme_chat.py", folder)
    return folder


@pytest.fixture(scope="module")
def gateway(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    vendor = ThreadingHTTPServer(("127.0.0.1", 0), AcmeChat)
    thread = threading.Thread(target=vendor.serve_forever)
    thread.start()
    data = tmp_path_factory.mktemp("data")
    address = f"http://127.0.0.1:{vendor.server_port}/v1"
    added = subprocess.run(
        [sys.executable, "-m", "genway", "channel", "add", "--provider", "acme-chat", "--base-url", address, "--secret-stdin",
         "--option", "unpriced=free", "--data", str(data)],
        input="acme-secret", env={"PYTHONPATH": str(installed)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    with start_server(data, PYTHONPATH=str(installed)) as running:
        yield running
    vendor.shutdown()
    thread.join()
    vendor.server_close()


MESSAGES = [{"role": "user", "content": "hello"}]


def test_the_example_answers_in_both_formats(gateway: Running) -> None:
    chat = gateway.post("/v1/chat/completions", {"model": "acme-large", "messages": MESSAGES})
    assert chat.json()["choices"][0]["message"]["content"] == "You said: hello"
    assert chat.headers["x-genway-channel"] == "acme-chat"
    message = gateway.post("/v1/messages", {"model": "acme-large", "max_tokens": 10, "messages": MESSAGES})
    assert message.json()["content"][0]["text"] == "You said: hello"


def test_the_example_says_what_it_does_not_do(gateway: Running) -> None:
    answer = gateway.post("/v1/responses", {"model": "acme-large", "input": "hello"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


def test_an_empty_account_of_the_operators_is_not_shown_as_the_clients(gateway: Running) -> None:
    answer = gateway.post("/v1/chat/completions", {"model": EMPTY, "messages": MESSAGES})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert "buy more" not in answer.text
