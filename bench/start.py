"""From nothing to ready, and what an idle server weighs.

Starts `genway serve` on an empty data folder and again on the same one, several times, and measures until
`GET /readyz` answers 200. Beside it, in the same run: a Python that only imports the libraries the server stands on, as
the floor below which no change of ours could get. Raw rows: `results/start.json`.

    uv run python bench/start.py [--runs 5]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "start.json"
LIBRARIES = "import uvloop, httptools, litestar, sqlalchemy, aiohttp, structlog, obstore, prometheus_client"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processor_seconds(pid: int) -> float:
    """What a process has used of the processor so far, which other load does not change."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> tuple[float, float]:
    """Resident and proportional memory in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
    shared = Path(f"/proc/{pid}/smaps_rollup").read_text()
    proportional = int(re.search(r"Pss:\s+(\d+)", shared)[1]) / 1024  # type: ignore[index]
    return round(resident, 1), round(proportional, 1)


def once(data: Path) -> dict[str, float]:
    port = free_port()
    began = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "genway", "serve", "--port", str(port), "--data", str(data)],
        env=os.environ | {"GENWAY_BOOTSTRAP_KEY": "bench-key-0123456789"},
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                    assert answer.status == 200
                    break
            except (urllib.error.URLError, ConnectionError):
                if server.poll() is not None or time.perf_counter() - began > 60:
                    raise SystemExit("the server does not come up") from None
                time.sleep(0.01)
        took = time.perf_counter() - began
        processor = processor_seconds(server.pid)
        time.sleep(1)
        resident, proportional = memory(server.pid)
    finally:
        server.terminate()
        server.wait()
    return {"seconds": round(took, 3), "cpu_seconds": processor, "resident_mb": resident, "proportional_mb": proportional}


def floor() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", LIBRARIES], check=True)
    return round(time.perf_counter() - began, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    rows = []
    for run in range(runs):
        with tempfile.TemporaryDirectory() as name:
            data = Path(name) / "data"
            rows.append({"run": run, "libraries_seconds": floor(), "empty": once(data), "again": once(data)})
            print(rows[-1])
    libraries = statistics.median(row["libraries_seconds"] for row in rows)
    for kind in ("empty", "again"):
        seconds = statistics.median(row[kind]["seconds"] for row in rows)
        processor = statistics.median(row[kind]["cpu_seconds"] for row in rows)
        resident = max(row[kind]["resident_mb"] for row in rows)
        print(
            f"{kind} data folder: ready in {seconds:.2f} s ({processor:.2f} s of the processor), "
            f"{seconds / libraries:.2f} x importing the libraries; {resident} MB resident when idle"
        )
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
