"""How fast the built-in renderer is, on one core: `uv run python bench/render.py`.

Prints, each the median of several runs:
- a camera move over a whole picture (video, poster, last frame): its time ÷ the time of encoding the same frames alone, and
  ÷ the time of ffmpeg's `zoompan` filter doing the same move with the same encoder settings, and writing the same files;
- a move with subject and background apart: all of it, in a fresh process with its imports, and that process's peak memory.

`zoompan` moves in whole pixels of its input. "same" gives it a picture as fine as the renderer's, where it steps visibly and
repeats frames, which are cheap to encode; "smooth" one four times finer than the video, as it is commonly used.

Times are of the processor, on the one core that everything is bound to: on an idle machine the same as on the clock, and
usable on a busy one. Raw rows are kept in `bench/results/render.json`.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, time
from typing import Any

import av
import cv2
import msgspec
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from rich.console import Console
from rich.table import Table

from genway.operations import Camera
from genway.providers.local import camera, fit, picture
from genway.providers.local.compose import Frame
from genway.providers.local.encode import VideoWriter, rgb_from_yuv, yuv_from_rgb
from genway.providers.local.job import RenderJob
from genway.providers.local.motion import GROWTH, TURN_X, Motion

WIDTH, HEIGHT, SECONDS, FPS = 1280, 768, 5, 24
FRAMES = SECONDS * FPS
RUNS = 5
RESULTS = Path(__file__).parent / "results" / "render.json"
EASED = "(0.5-0.5*cos(PI*on/119))"


def photo(name: str) -> str:
    """A sample photo of scikit-image, found without importing it."""
    package = find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        sys.exit("scikit-image, whose sample photos are used, is not installed")
    return str(Path(package.submodule_search_locations[0]) / "data" / name)


def job(folder: str, image: str, motion: Camera) -> RenderJob:
    return RenderJob(kind="camera", out_dir=folder, width=WIDTH, height=HEIGHT, seconds=SECONDS, images=(image,), camera=motion)


def seconds(work: Callable[[], object]) -> float:
    begin = process_time()
    work()
    return process_time() - begin


def encode_alone(task: RenderJob) -> float:
    """The very frames of the job, made beforehand."""
    motion = Motion(task.camera, task.width, task.height)
    scene = camera.Scene(task, picture.read(task.images[0], longest=3 * WIDTH), motion)
    frames = []
    for moment in motion.moments(task.frames):
        frame = Frame(task.width, task.height)
        scene.draw(frame, moment)
        frames.append(frame.video)

    def encode() -> None:
        with VideoWriter(Path(task.out_dir) / "alone.mp4", WIDTH, HEIGHT, fps=FPS) as writer:
            for video in frames:
                writer.write_frame(video)

    return seconds(encode)


def zoompan(task: RenderJob, expression: str, density: float) -> float:
    """The same move by ffmpeg's filter: picture read, scaled to `density` pixels a video pixel, moved, encoded."""

    def work() -> None:
        rgb = picture.read(task.images[0], longest=3 * WIDTH).rgb
        motion = Motion(task.camera, task.width, task.height)
        scale = fit.place((rgb.shape[1], rgb.shape[0]), (WIDTH, HEIGHT), motion.reach(), None).scale * density
        size = (round(rgb.shape[1] * scale) // 2 * 2, round(rgb.shape[0] * scale) // 2 * 2)
        graph = Graph()
        source = graph.add_buffer(width=size[0], height=size[1], format="yuv420p", time_base="1/24")
        moved = graph.add("zoompan", f"{expression}:d={FRAMES}:s={WIDTH}x{HEIGHT}:fps={FPS}")
        sink = graph.add("buffersink")
        source.link_to(moved)
        moved.link_to(sink)
        graph.configure()
        still = VideoFrame.from_ndarray(yuv_from_rgb(picture.resized(rgb, *size)), format="yuv420p")
        still.pts = 0
        source.push(still)
        source.push(None)
        with VideoWriter(Path(task.out_dir) / "zoompan.mp4", WIDTH, HEIGHT, fps=FPS) as writer:
            for index in range(FRAMES):
                frame = sink.pull()
                writer.write_frame(frame)
                if index in (0, FRAMES - 1):
                    picture.save(Path(task.out_dir) / f"zoompan-{index}.png", rgb_from_yuv(frame.to_ndarray()))

    return seconds(work)


def fresh_process(task: RenderJob) -> dict[str, float]:
    """Seconds of the processor and of the clock from start to answer, and peak memory in MB."""
    begin = perf_counter()
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "genway.providers.local.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(msgspec.json.encode(task) + b"\n")
    worker.stdin.flush()
    answers = [json.loads(line) for line in worker.stdout]
    took = perf_counter() - begin
    if "done" not in answers[-1]:
        sys.exit(f"the worker failed: {answers[-1]}")
    _, _, usage = os.wait4(worker.pid, 0)
    worker.returncode = 0
    return {"total": usage.ru_utime + usage.ru_stime, "clock": took, "peak_mb": usage.ru_maxrss / 1024}


def measure(folder: str) -> list[dict[str, Any]]:
    moves = [
        (
            "pan, whole picture",
            job(folder, photo("coffee.png"), Camera(pan=8)),
            f"z={1 + 0.8 * TURN_X}:x=(iw-iw/zoom)*{EASED}:y=(ih-ih/zoom)/2",
        ),
        (
            "zoom, whole picture (mask sought, none found)",
            job(folder, photo("brick.png"), Camera(zoom=8)),
            f"z=pow({GROWTH**0.8:.5f}\\,{EASED}):x=(iw-iw/zoom)/2:y=(ih-ih/zoom)/2",
        ),
    ]
    rows: list[dict[str, Any]] = []
    # First, while this process is small: a new process starts with the peak memory of the one that starts it.
    layered = job(folder, photo("astronaut.png"), Camera(horizontal=4, zoom=3))
    for _ in range(RUNS):
        rows.append({"what": "two layers, fresh process", **fresh_process(layered)})
    for name, task, expression in moves:
        camera.render(task, lambda _: None)
        for _ in range(RUNS):
            total = seconds(lambda task=task: camera.render(task, lambda _: None))
            rows.append(
                {
                    "what": name,
                    "total": total,
                    "encode_alone": encode_alone(task),
                    "zoompan_same": zoompan(task, expression, camera.FINER),
                    "zoompan_smooth": zoompan(task, expression, 4),
                }
            )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    seconds_of = ("encode_alone", "zoompan_same", "zoompan_smooth")
    table = Table("what", "s", *(f"{key} s" for key in seconds_of), *(f"÷ {key}" for key in seconds_of), "clock s", "peak MB")
    for name in dict.fromkeys(row["what"] for row in rows):
        mine = [row for row in rows if row["what"] == name]

        def middle(key: str, form: str = ".2f", mine: list[dict[str, Any]] = mine) -> str:
            return format(median(row[key] for row in mine), form) if key in mine[0] else ""

        def ratio(key: str, mine: list[dict[str, Any]] = mine) -> str:
            return f"{median(row['total'] / row[key] for row in mine):.2f}" if key in mine[0] else ""

        table.add_row(
            name,
            middle("total"),
            *(middle(key) for key in seconds_of),
            *(ratio(key) for key in seconds_of),
            middle("clock"),
            middle("peak_mb", ".0f"),
        )
    Console(width=180).print(table)


def main() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(folder)
    show(rows)
    RESULTS.parent.mkdir(exist_ok=True)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    about = {
        "at": int(time()),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "av": av.__version__,
        "opencv": cv2.__version__,
        "numpy": np.__version__,
        "load": os.getloadavg()[0],
        "clip": f"{WIDTH}x{HEIGHT}, {SECONDS} s",
    }
    RESULTS.write_text(json.dumps([*kept, about | {"rows": rows}], indent=1) + "\n")


if __name__ == "__main__":
    main()
