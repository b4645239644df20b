"""Every command and every line of code in the README is run, in its order, against a real gateway."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import av
import pytest

from genway.cli import child, demo
from standins.running import running_vendor

ROOT = Path(__file__).parents[1]
SECRET = "key_good"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What takes long is made small; the full size is rendered in the test of the demo.
SMALLER = {'"model": "gen3"': '"model": "seedance2"', '"ratio": "16:9"': '"ratio": "128:128"', '"seconds": 5': '"seconds": 1'}

# Stands in for uv: the same commands, of this very interpreter. The vendor is a stand-in too, and of the tests only this
# file is collected, for it runs among them.
UV = """#!/bin/sh
test "$1" = run && shift || exit 2
case "$*" in
  "genway demo") set -- "$@" --model seedance2 --ratio 128:128 --seconds 1 ;;
  "genway channel add "*) set -- "$@" --base-url "$VENDOR" ;;
  pytest) cd "$ROOT" && exec "$PYTHON" -m pytest --collect-only tests/test_readme.py ;;
esac
test "$1" = genway && exec "$PYTHON" -m "$@"
"""
PIP = '#!/bin/sh\ntest "$*" = "install uv"\n'


class Block(NamedTuple):
    language: str
    code: str


def blocks(name: str) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall((ROOT / name).read_text("utf-8"))]


class Reader:
    """Somebody who types what the README says, into one terminal and a second one for the gateway."""

    def __init__(self, folder: Path, vendor: str, pictures: str) -> None:
        self.folder = folder
        self.gateway: child.Child | None = None
        self.instead = SMALLER | {"https://example.com/me.jpg": f"{pictures}/me.jpg"}
        tools = folder / "bin"
        tools.mkdir()
        for name, script in {"uv": UV, "pip": PIP}.items():
            (tools / name).write_text(script)
            (tools / name).chmod(0o755)
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("GENWAY_")} | {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHON": sys.executable,
            "ROOT": str(ROOT),
            "VENDOR": vendor,
            "RUNWAYML_API_SECRET": SECRET,
            "GENWAY_SERVER_PORT": "0",
            "GENWAY_MEDIA_ALLOW_PRIVATE": "127.0.0.1",
        }

    def type(self, code: str) -> str:
        """Run lines of shell; what they export is there for the next ones."""
        for written, meant in self.instead.items():
            code = code.replace(written, meant)
        if code == "uv run genway serve\n":
            self.serve(code)
            return ""
        state = self.folder / "exported"
        script = f'set -eu\n{code}\npython3 -c \'import os; open("{state}", "w").write(os.environ.get("GENWAY_KEY", ""))\''
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{code}{done.stdout}{done.stderr}"
        if key := state.read_text():
            self.environ["GENWAY_KEY"] = key
        if found := re.search(r'"task_id":"([0-9a-f-]{36})"', done.stdout):
            self.instead["TASK_ID"] = found[1]
        return done.stdout

    def serve(self, code: str) -> None:
        process = subprocess.Popen(
            ["sh", "-c", f"exec {code}"],
            cwd=self.folder,
            env=self.environ | {"GENWAY_LOG_FORMAT": "json"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.gateway = child.Child(process, None)
        self.gateway.wait_until_ready()
        self.instead["http://127.0.0.1:8700"] = self.gateway.url

    def execute(self, code: str) -> str:
        """Run lines of Python."""
        for written, meant in self.instead.items():
            code = code.replace(written, meant)
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    (tmp_path / "me.jpg").write_bytes(demo.sample().read_bytes())
    with running_vendor(SECRET) as vendor, pictures(tmp_path) as address:
        reader = Reader(tmp_path, vendor, address)
        yield reader
        if reader.gateway is not None:
            assert reader.gateway.stop() == 0


@contextmanager
def pictures(folder: Path) -> Iterator[str]:
    """A site that has the pictures of a folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *values: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_everything_in_it_works_in_the_order_in_which_it_stands(reader: Reader) -> None:
    said = [reader.type(code) if language == "sh" else reader.execute(code) for language, code in blocks("README.md")]
    everything = "\n".join(said)
    assert re.search(r"video +\S+\.mp4", everything), "the demo wrote a video"
    assert "test_everything_in_it_works" in everything, "pytest ran"
    assert reader.environ["GENWAY_KEY"].startswith("gw_test_")
    with av.open(str(reader.folder / "video.mp4")) as video:
        assert (video.streams.video[0].width, video.streams.video[0].frames) == (128, 24)
    assert '"model":"local-echo"' in everything, "chat was answered"
    assert "Count to three" in everything, "and streamed to the SDK"
    assert re.search(r"^http://127\.0\.0\.1:\d+/media/med_\S+$", everything, re.MULTILINE), "the SDK printed a link"
    assert f"task          {reader.instead['TASK_ID']}" in everything, "the charge was explained"
    assert "✓ main: the key is good" in everything, "the channel is good"
    assert "All is well." in everything, "the doctor is content"


def test_both_languages_show_the_same_commands_and_code() -> None:
    assert blocks("README.zh.md") == blocks("README.md")


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_what_it_links_to_is_there(name: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / name).read_text("utf-8"))
    assert len(links) >= 6
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_the_picture_is_small() -> None:
    assert (ROOT / "docs" / "images" / "demo.jpg").stat().st_size < 300_000
