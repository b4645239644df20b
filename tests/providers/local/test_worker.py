"""The worker process: what it says, and when it ends."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from genway.operations import Camera
from genway.providers.local.job import RenderJob
from genway.providers.local.worker import MODULES, ORPHANED
from providers.local.views import decoded, dotted

SOON = 10.0


class Worker:
    """A worker process and its two ends of the pipe."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "genway.providers.local.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def say(self, line: bytes) -> None:
        self.stdin.write(line + b"\n")
        self.stdin.flush()

    def answer(self) -> dict[str, Any]:
        return dict(json.loads(self.stdout.readline()))

    def answers(self) -> list[dict[str, Any]]:
        """Everything it says until it ends."""
        said = [json.loads(line) for line in self.stdout]
        assert self.process.wait(SOON) == 0
        return said


@pytest.fixture
def worker() -> Iterator[Worker]:
    started = Worker()
    with started.process:
        yield started
        started.process.kill()


@pytest.fixture
def job(tmp_path: Path) -> RenderJob:
    image = dotted(tmp_path / "a.png")
    return RenderJob(
        kind="camera", out_dir=str(tmp_path), width=128, height=96, seconds=0.5, images=(image,), camera=Camera(pan=3)
    )


def endless(job: RenderJob) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(job, seconds=36000))


def test_it_tells_how_far_it_is_and_then_what_came_out(worker: Worker, job: RenderJob) -> None:
    worker.say(msgspec.json.encode(job))
    *progress, last = worker.answers()
    values = [answer["progress"] for answer in progress]
    assert values == sorted(values)
    assert values[-1] == 1
    assert last["done"].keys() == {"video", "poster", "last_frame"}
    assert len(decoded(last["done"]["video"])) == 12
    assert all(Path(path).is_file() for path in last["done"].values())


def test_it_runs_at_low_priority(worker: Worker, job: RenderJob) -> None:
    worker.say(endless(job))
    worker.answer()
    assert psutil.Process(worker.process.pid).nice() == min(psutil.Process().nice() + 10, 19)


def test_a_job_that_cannot_be_done_is_answered_with_the_reason(worker: Worker, job: RenderJob) -> None:
    Path(job.images[0]).write_bytes(b"not a picture")
    worker.say(msgspec.json.encode(job))
    failed = worker.answers()[-1]["failed"]
    assert failed["code"] == "invalid_request"
    assert "picture" in failed["message"]


def test_an_error_of_its_own_is_answered_too(worker: Worker, job: RenderJob) -> None:
    worker.say(msgspec.json.encode(msgspec.structs.replace(job, out_dir="/nowhere/at/all")))
    failed = worker.answers()[-1]["failed"]
    assert failed["code"] == "vendor_error"
    assert "/nowhere" not in failed["message"]


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"kind": "dance", "out_dir": "/", "width": 2, "height": 2}'])
def test_a_job_that_cannot_be_read_is_answered(worker: Worker, line: bytes) -> None:
    worker.say(line)
    assert worker.answers()[0]["failed"]["code"] == "vendor_error"


def test_it_ends_when_the_one_who_asked_does(worker: Worker, job: RenderJob) -> None:
    worker.say(endless(job))
    worker.answer()
    worker.stdin.close()
    assert worker.process.wait(SOON) == ORPHANED


def test_it_ends_when_nobody_asks_anything(worker: Worker) -> None:
    worker.stdin.close()
    assert worker.process.wait(SOON) == ORPHANED


def test_a_signal_ends_it_at_once(worker: Worker, job: RenderJob) -> None:
    worker.say(endless(job))
    while worker.answer()["progress"] < 0.15:
        pass
    os.kill(worker.process.pid, signal.SIGTERM)
    assert worker.process.wait(SOON) == -signal.SIGTERM


def test_every_kind_of_job_has_a_module() -> None:
    for module in MODULES.values():
        assert callable(importlib.import_module(f"genway.providers.local.{module}").render)
