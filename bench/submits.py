"""Durable submits a second over HTTP, on one core.

Each answer comes after the task, its hold and its record are on disk (SQLite, `synchronous=FULL`). Beside it, in the
same run and on the same core: a handler that does nothing under the same web framework and server, and a plain
SQLite insert committed by itself, so that the ratios say where the time goes. Raw rows: `results/submits.json`.

    uv run python bench/submits.py [--seconds 5] [--connections 64]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parents[1]
KEY = "bench-key-0123456789"
BODY = json.dumps({"prompt": "a cat on a roof at dusk", "model": "gen3", "ratio": "16:9", "options": {"seconds": 5}}).encode()
BARE = """
import asyncio, sys
from litestar import Litestar, Request, Response, post
from granian.constants import Interfaces
from granian.server.embed import Server
import uvloop
@post("/runway/pro/generate", status_code=200)
async def generate(request: Request) -> Response[bytes]:
    await request.body()
    return Response(b'{"code":200}', media_type="application/json")
server = Server(Litestar([generate], openapi_config=None), port=int(sys.argv[1]), interface=Interfaces.ASGI, log_enabled=False)
asyncio.Runner(loop_factory=uvloop.new_event_loop).run(server.serve())
"""


def start(command: list[str], core: int, **environ: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        env=os.environ | environ,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - this process has no threads yet
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def wait_for(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(600):
            try:
                async with session.get(url) as answer:
                    if answer.status < 500:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
    raise SystemExit(f"{url} does not answer")


def processor_seconds(pid: int) -> float:
    """What a process has used of the processor so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(url: str, connections: int, seconds: float, pid: int) -> dict[str, Any]:
    """Requests one after the other on each connection, for so long; every answer is checked.

    cpu_us: microseconds of the processor that the server used for each request, which other load does not change.
    """
    used = processor_seconds(pid)
    latencies: list[float] = []
    end = time.perf_counter() + seconds

    async def one(session: aiohttp.ClientSession) -> None:
        while time.perf_counter() < end:
            began = time.perf_counter()
            async with session.post(url, data=BODY) as answer:
                content = await answer.json()
            if answer.status != 200 or content["code"] != 200:
                raise SystemExit(f"{answer.status}: {content}")
            latencies.append(time.perf_counter() - began)

    headers = {"Authorization": KEY, "Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        began = time.perf_counter()
        await asyncio.gather(*(one(session) for _ in range(connections)))
        took = time.perf_counter() - began
    used = processor_seconds(pid) - used
    ordered = sorted(latencies)
    return {
        "requests": len(latencies),
        "per_second": round(len(latencies) / took, 1),
        "cpu_us": round(used / len(latencies) * 1e6),
        "p50_ms": round(statistics.median(ordered) * 1000, 2),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 2),
    }


def plain_inserts(folder: Path, seconds: float) -> dict[str, Any]:
    """What the disk gives to a program that commits each row by itself."""
    connection = sqlite3.connect(folder / "plain.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)")
    count, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        connection.execute("INSERT INTO t (body) VALUES (?)", (BODY.decode(),))
        count += 1
    return {"requests": count, "per_second": round(count / (time.perf_counter() - began), 1)}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows.append({"what": "plain SQLite insert, one commit each"} | plain_inserts(folder, min(options.seconds, 2)))
        bare = start([sys.executable, "-c", BARE, "8798"], cores[0])
        try:
            await wait_for("http://127.0.0.1:8798/nothing")
            url = "http://127.0.0.1:8798/runway/pro/generate"
            await load(url, options.connections, 1, bare.pid)
            row = await load(url, options.connections, options.seconds, bare.pid)
            rows.append({"what": "empty handler, same framework"} | row)
        finally:
            bare.kill()
            bare.wait()
        data = folder / "data"
        cli = [sys.executable, "-m", "genway"]
        subprocess.run(  # noqa: ASYNC221 - nothing else is going on yet
            [*cli, "channel", "add", "queue", "--provider", "runway_compat", "--base-url", "http://127.0.0.1:9",
             "--secret-env", "BENCH_SECRET", "--concurrency", "1", "--data", str(data)],
            check=True, stdout=subprocess.DEVNULL, env=os.environ | {"BENCH_SECRET": "secret"},
        )  # fmt: skip
        server = start(
            [*cli, "serve", "--port", "8799", "--data", str(data)],
            cores[0],
            GENWAY_BOOTSTRAP_KEY=KEY,
            GENWAY_LOG_LEVEL="info",
        )
        try:
            await wait_for("http://127.0.0.1:8799/readyz")
            url = "http://127.0.0.1:8799/runway/pro/generate"
            await load(url, options.connections, 1, server.pid)
            before = sqlite3.connect(data / "genway.sqlite3").execute("SELECT count(*) FROM tasks").fetchone()[0]
            for attempt in range(3):
                row = await load(url, options.connections, options.seconds, server.pid)
                rows.append({"what": f"durable submit, run {attempt + 1}"} | row)
            database = sqlite3.connect(data / "genway.sqlite3")
            tasks = database.execute("SELECT count(*) FROM tasks").fetchone()[0] - before
            holds = database.execute("SELECT count(*) FROM transfers WHERE kind = 'hold'").fetchone()[0] - before
            done = sum(row["requests"] for row in rows[2:])
            assert tasks >= done, f"{done} answers but {tasks} tasks"
            assert holds >= done, f"{done} answers but {holds} holds"
        finally:
            server.terminate()
            server.wait()
    best = statistics.median(row["per_second"] for row in rows[2:])
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    cpu = statistics.median(row["cpu_us"] for row in rows[2:])
    print(
        f"durable submits a second (median): {best}; {cpu} us of the processor each, so {1e6 / cpu:.0f} a second on a free core"
    )
    print(f"  {best / rows[0]['per_second']:.2f} x plain inserts, {best / rows[1]['per_second']:.2f} x the empty handler")
    (ROOT / "bench" / "results" / "submits.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
