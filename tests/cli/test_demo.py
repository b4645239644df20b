"""`genway demo`, end to end: a real gateway, a real rendering, a real file; and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from cli_stage import Genway
from genway.cli import demo
from genway.cli.place import Place

SEED_EXAMPLE = {"callback_url", "image", "style", "model", "prompt", "options"}


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "genway", "demo", *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GENWAY_")}
    return subprocess.Popen(command, cwd=folder, env=clean, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def frames(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def test_a_picture_becomes_a_video(tmp_path: Path) -> None:
    out = tmp_path / "made" / "me.mp4"
    process = start(tmp_path, "--seconds", "5", "--motion", "x=4,z=3", "--out", str(out), "--json")
    said, complaint = process.communicate(timeout=150)
    assert process.returncode == 0, complaint
    outcome = json.loads(said)

    assert Path(outcome["file"]) == out
    with av.open(str(out)) as container:
        (stream,) = container.streams.video
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.frames) == (1280, 768, 120)
        assert stream.duration is not None
        assert stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(5)
    shown = list(frames(out))[::40]
    assert all(np.abs(one.astype(int) - other.astype(int)).mean() > 2 for one, other in pairwise(shown))
    assert all(frame.std() > 30 for frame in shown)

    assert (outcome["provider"], outcome["cost"]) == ("local", "0.005 USD")
    assert outcome["cost_lines"] == ["5 × 0.001 USD a second"]
    assert outcome["link"].startswith(f"{outcome['url']}/media/med_")
    with Place(data=tmp_path / "genway-demo").open() as opened:
        assert opened.config.data_dir.joinpath("demo.key").stat().st_mode & 0o077 == 0
    assert not left_behind(tmp_path)


def test_what_is_sent_is_the_example_of_the_page() -> None:
    body = demo.request()
    assert body.keys() == SEED_EXAMPLE
    assert (body["callback_url"], body["model"], body["style"]) == ("http://baidu.com", "gen3", "cinematic")
    assert body["prompt"] == "笑起来,吃汉堡"
    assert body["options"]["seconds"] == 10
    assert body["options"]["motion_vector"] == {"x": -6.2, "y": 0, "z": 0, "r": 0, "bg_x_pan": 0, "bg_y_pan": 0}
    assert body["image"].startswith("data:image/jpeg;base64,/9j/")


def test_what_is_asked_for_takes_the_place_of_the_example() -> None:
    body = demo.request("https://example.com/a.jpg", "hello", 5, "9:16", "x=4, z=3,bg_x_pan=-1.5", "gen4")
    assert (body["image"], body["prompt"], body["ratio"], body["model"]) == (
        "https://example.com/a.jpg",
        "hello",
        "9:16",
        "gen4",
    )
    assert body["options"]["seconds"] == 5
    assert body["options"]["motion_vector"] == {"x": 4, "y": 0, "z": 3, "r": 0, "bg_x_pan": -1.5, "bg_y_pan": 0}


def test_beside_a_prompt_of_ones_own_the_camera_follows_its_words() -> None:
    assert not any(demo.request(prompt="slow zoom out")["options"]["motion_vector"].values())


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--motion", "w=4"), "--motion: like x=4,z=3, of x, y, z, r, bg_x_pan, bg_y_pan; got w=4"),
        (("--motion", "x=far"), "--motion: a number for x, got far"),
        (("--image", "nowhere.jpg"), "nowhere.jpg: No such file or directory"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(genway: Genway, arguments: tuple[str, ...], complaint: str) -> None:
    said = genway("demo", *arguments)
    assert (said.code, said.out, said.err) == (1, "", f"genway: {complaint}\n")


def test_the_gateways_own_words_are_passed_on(tmp_path: Path) -> None:
    process = start(tmp_path, "--seconds", "7")
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert complaint == "genway: options.seconds: 5 or 10, got 7\n"
    assert not left_behind(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demonstration_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "--keep-serving")
    until = time.monotonic() + 60
    while not any("/runway/feed" in line for line in log(tmp_path)):
        assert time.monotonic() < until, "the rendering is under way"
        threading.Event().wait(0.05)
    process.send_signal(number)
    said, complaint = process.communicate(timeout=30)
    assert process.returncode == 130
    assert complaint == "genway: interrupted\n"
    assert "Traceback" not in said
    assert not left_behind(tmp_path)


def log(folder: Path) -> list[str]:
    path = folder / "genway-demo" / "server.log"
    return path.read_text("utf-8").splitlines() if path.exists() else []


def left_behind(folder: Path) -> list[list[str]]:
    """Processes that still work in this folder."""
    left = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        if process.info["cwd"] == str(folder) and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
            left.append(process.info["cmdline"])
    return left
