"""How near the pictures between two pictures come to the truth, on one core: `uv run python bench/interpolate.py`.

For motions of which the truth is known (a photo panned, zoomed and turned, a thing moving before it), prints the PSNR of the
middle frame against what really was there, beside that of a cross-fade of the same two pictures, and the time a frame takes.
Raw rows are kept in `bench/results/interpolate.json`.
"""

from __future__ import annotations

import cmath
import json
import platform
import sys
from pathlib import Path
from statistics import median
from time import perf_counter, time
from typing import Any

import cv2
from rich.console import Console
from rich.table import Table

from genway.providers.local.similarity import Similarity
from genway.providers.local.tween import Tween

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from providers.local.scenes import moving, psnr

WIDTH, HEIGHT = 1280, 768
PHOTOS = ("coffee.png", "astronaut.png", "motorcycle_left.png")
MOTIONS = {
    "pan 7 %": (Similarity(1, 90 + 30j), None),
    "pan 27 %": (Similarity(1, 350), None),
    "zoom x1.25": (Similarity(1.25, 0), None),
    "turn 12°": (Similarity(cmath.exp(0.21j), 0), None),
    "thing alone, 120 px": (Similarity(), 120 + 30j),
    "thing 240 px, background 40 px": (Similarity(1, -40), 240 - 20j),
    "thing, zoom and pan": (Similarity(1.1, 60), 120 + 30j),
}
MOMENTS = (0.25, 0.5, 0.75)
RESULTS = Path(__file__).parent / "results" / "interpolate.json"


def measured(name: str, motion: Similarity, thing: complex | None) -> dict[str, Any]:
    """One row: decibels of the middle frame and of the cross-fade, seconds to prepare and a frame."""
    first, truth, last = moving(name, WIDTH, HEIGHT, motion=motion, thing=thing)
    start = perf_counter()
    tween = Tween(first, last)
    prepared = perf_counter() - start
    frames, seconds = [], []
    for moment in MOMENTS:
        start = perf_counter()
        frames.append(tween.at(moment))
        seconds.append(perf_counter() - start)
    fade = cv2.addWeighted(first, 0.5, last, 0.5, 0)
    return {
        "photo": name,
        "psnr": round(psnr(frames[1], truth), 2),
        "psnr_fade": round(psnr(fade, truth), 2),
        "prepare_seconds": round(prepared, 4),
        "frame_seconds": [round(value, 4) for value in seconds],
    }


def main() -> None:
    cv2.setNumThreads(1)
    rows = [{"motion": label, **measured(name, motion, thing)} for label, (motion, thing) in MOTIONS.items() for name in PHOTOS]
    table = Table("motion", "photo", "in between dB", "cross-fade dB", "gain dB", "ms a frame", title=f"{WIDTH}x{HEIGHT}")
    for row in rows:
        gain = row["psnr"] - row["psnr_fade"]
        table.add_row(
            row["motion"],
            row["photo"],
            *(f"{value:.1f}" for value in (row["psnr"], row["psnr_fade"], gain)),
            f"{1000 * median(row['frame_seconds']):.0f}",
        )
    console = Console()
    console.print(table)
    middle = {key: median(row[key] for row in rows) for key in ("psnr", "psnr_fade", "prepare_seconds")}
    frame = median(value for row in rows for value in row["frame_seconds"])
    console.print(
        f"median: {middle['psnr']:.1f} dB in between, {middle['psnr_fade']:.1f} dB cross-fade; "
        f"{middle['prepare_seconds']:.2f} s to prepare, {1000 * frame:.0f} ms a frame"
    )
    RESULTS.parent.mkdir(exist_ok=True)
    machine = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "opencv": cv2.__version__,
        "at": round(time()),
    }
    RESULTS.write_text(json.dumps({**machine, "width": WIDTH, "height": HEIGHT, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
