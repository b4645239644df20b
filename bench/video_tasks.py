"""Thousands of tasks of all video systems through one process: `uv run python bench/video_tasks.py`.

Each task is submitted in its own system's format, with a live key, and done by its own system's stand-in vendor. Of every
hundred a dozen and more meet trouble that their prompts order from the vendor: throttled, polls answered 5xx, slow, an answer
to a submit that is lost, moderation, failure. It is all random, from a seed.

It ends with an error unless in the end
- each task has ended as its vendor ended it, and none is there that was not asked for;
- no vendor has taken a work twice, or was asked for one again that it had not refused itself;
- the ledger is right, nothing is held, and what was paid is the price of what succeeded;
- the end of each task was told, and truly.

The gateway runs on one core; vendors, receiver and clients share another, in this process. A vendor finishes with the second
poll, and the providers' pace is shortened to 0.1…0.3 s between polls (the vendors' own, of several seconds, would only be
waited for), so polls a second are many times what they are in earnest, and polls a task fewer. Figures are of the whole run,
from the first submit to the last callback; the processor's time is the gateway's and its children's. Raw rows are kept in
`bench/results/video_tasks.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec
import psutil
from sqlalchemy import Connection, func, select

from genway.db.tables import callbacks, tasks
from genway.tasks.model import State

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
sys.path.insert(0, str(TESTS))

from durability.stage import LIVE, Receiver, Site  # noqa: E402 - the tests' folder is no package
from standins.town import Town  # noqa: E402
from systems import SECRETS, SYSTEMS, System, at  # noqa: E402

RESULTS = ROOT / "bench" / "results" / "video_tasks.json"
FUNDS = 10**13
PARKED_SECONDS = 3
QUIET_SECONDS = 60.0
SETTINGS = {"tasks_parked_seconds": PARKED_SECONDS, "callbacks_first_wait_seconds": 0.5, "log_level": "error"}

# What is ordered from the vendor, and how many of a thousand tasks meet it.
TROUBLES = {
    "vendor:throttled": 20,
    "vendor:poll_error=2": 50,
    "vendor:slow": 40,
    "vendor:lost": 10,
    "vendor:moderated": 15,
    "vendor:fail vendor:fail_output": 25,
}
FAILING = ("vendor:moderated", "vendor:fail")


class Work(NamedTuple):
    """One task as its client knows it."""

    name: str
    system: System
    trouble: str

    @property
    def prompt(self) -> str:
        return f"{self.name}: a paper boat on a pond {self.trouble}".strip()

    @property
    def succeeds(self) -> bool:
        """Only Kling can be asked for a work whose answer was lost; elsewhere it is given back."""
        if "vendor:lost" in self.trouble:
            return self.system.provider == "kling"
        return not any(word in self.trouble for word in FAILING)


class NoReceiver(Receiver):
    """The town has the receiver."""

    def __init__(self) -> None:
        self.url = ""


def works(count: int, chance: random.Random) -> list[Work]:
    """The systems in equal parts, troubles at random."""
    calm = 1000 - sum(TROUBLES.values())
    troubles = chance.choices(["", *TROUBLES], [calm, *TROUBLES.values()], k=count)
    systems = list(SYSTEMS.values())
    mixed = [Work(f"work-{number:05d}", systems[number % len(systems)], trouble) for number, trouble in enumerate(troubles)]
    chance.shuffle(mixed)
    return mixed


def start(site: Site, core: int) -> subprocess.Popen[str]:
    """The gateway, with a short pace and on this core alone."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GENWAY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "durability.crashing_server"],
        env=clean | site.variables | {"PYTHONPATH": str(TESTS)},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - this process has no threads yet
        stdout=subprocess.PIPE,
        stderr=(site.folder / "gateway.log").open("w"),
        text=True,
    )


def processor_seconds(gateway: psutil.Process) -> float:
    """What the gateway and its children have used of the processor."""
    family = [gateway.cpu_times(), *(child.cpu_times() for child in gateway.children(recursive=True))]
    return sum(times.user + times.system for times in family) + family[0].children_user + family[0].children_system


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had at a time."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


async def submit(site: Site, town: Town, wanted: list[Work], clients: int) -> dict[str, str]:
    """Submit all, so many at the same time; the tasks' ids by the works' names."""
    known: dict[str, str] = {}
    waiting = iter(wanted)

    async def client(http: aiohttp.ClientSession) -> None:
        for work in waiting:
            body = work.system.request(work.prompt, f"{town.hook}/{work.name}")
            async with http.post(f"{site.url}{work.system.path}", json=body) as answer:
                content = await answer.json()
            if answer.status not in {200, 201}:
                raise SystemExit(f"{work.system.name}: {answer.status}: {content}")
            known[work.name] = str(at(content, work.system.task_id))

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {LIVE}"}) as http:
        await asyncio.gather(*(client(http) for _ in range(clients)))
    return known


async def settled(site: Site) -> None:
    """Wait until no task is open and no callback is to be sent."""
    open_tasks = select(func.count()).where(tasks.c.finished_at.is_(None))
    unsent = select(func.count()).where(callbacks.c.state == "waiting")

    def look(connection: Connection) -> int:
        return sum(connection.execute(query).scalar_one() for query in (open_tasks, unsent))

    before, quiet_since = 0, time.monotonic()
    while left := await asyncio.to_thread(site.read, look):
        if left != before:
            before, quiet_since = left, time.monotonic()
        if time.monotonic() > quiet_since + QUIET_SECONDS:
            raise SystemExit(f"{left} tasks and callbacks do not get on")
        await asyncio.sleep(0.5)


def check(site: Site, town: Town, wanted: list[Work], known: dict[str, str]) -> Counter[str]:
    """Whether all is as it must be; how many tasks ended in which way. Raises AssertionError."""
    rows = {row.id: row for row in site.tasks()}
    ends = {row.task_id: row for row in site.read(lambda c: c.execute(select(callbacks)).all()) if State(row.event).ended}
    assert known.keys() == {work.name for work in wanted}, "a submit was not answered"
    assert sorted(known.values()) == sorted(rows), "a task was lost, or is there that nobody asked for"
    asked = town.works()
    for work in wanted:
        row, end = rows[known[work.name]], ends[known[work.name]]
        seen, taken = asked.seen[work.prompt], asked.taken[work.prompt]
        assert row.state == ("succeeded" if work.succeeds else "failed"), (work, row)
        assert taken == (0 if "moderated" in work.trouble else 1), (work, taken)
        assert seen == (2 if "throttled" in work.trouble else 1), (work, seen)
        # A callback tells how it is when it is sent, so an earlier one that was late may tell of the end as well.
        told = {one.headers["webhook-id"]: one.body for one in town.received[work.name]}
        outcomes = {identity: work.system.outcome(msgspec.json.decode(body)) for identity, body in told.items()}
        assert (end.event, end.state, outcomes[end.id]) == (row.state, "delivered", work.succeeds), (work, end)
        assert set(outcomes.values()) <= {None, work.succeeds}, (work, outcomes)
    site.check_money()
    return Counter(row.error_code or row.state for row in rows.values())


async def measure(options: argparse.Namespace, folder: Path, cores: list[int]) -> list[dict[str, Any]]:
    site = Site(folder, NoReceiver(), {}, funds=FUNDS, **SETTINGS)
    wanted = works(options.tasks, random.Random(options.seed))
    gateway = start(site, cores[0])
    try:
        assert gateway.stdout is not None
        os.sched_setaffinity(0, {cores[-1]})
        async with Town(steps=2) as town:
            for provider, url in town.urls.items():
                site.write(lambda c, name=provider, url=url: site.add_channel(c, name, url, SECRETS[name]))
            await asyncio.to_thread(gateway.stdout.readline)
            family = psutil.Process(gateway.pid)
            used, idle, began = processor_seconds(family), peak_bytes(gateway.pid), time.perf_counter()
            own = resource.getrusage(resource.RUSAGE_SELF)
            known = await submit(site, town, wanted, options.clients)
            submitted = time.perf_counter()
            await settled(site)
            took, used = time.perf_counter() - began, processor_seconds(family) - used
            here = resource.getrusage(resource.RUSAGE_SELF)
            others = here.ru_utime + here.ru_stime - own.ru_utime - own.ru_stime
            ends = check(site, town, wanted, known)
            whole = {
                "tasks": len(wanted),
                "seconds": round(took, 1),
                "tasks_per_second": round(len(wanted) / took, 1),
                "submits_per_second": round(len(wanted) / (submitted - began), 1),
                "gateway_cpu_seconds": round(used, 1),
                "gateway_cpu_ms_per_task": round(used / len(wanted) * 1000, 2),
                "vendors_and_clients_cpu_seconds": round(others, 1),
                "rss_mb_when_idle": round(idle / 1e6, 1),
                "rss_mb_peak": round(peak_bytes(gateway.pid) / 1e6, 1),
                "queries_per_task": round(town.asked["query"] / len(wanted), 2),
                "vendor_requests": dict(town.asked),
                "callbacks": sum(map(len, town.received.values())),
            }
            told_of = {f"ended: {end}": count for end, count in sorted(ends.items())}
            systems = Counter(work.system.name for work in wanted)
            troubles = Counter(work.trouble or "none" for work in wanted)
    finally:
        gateway.terminate()
        gateway.wait()
        if gateway.stdout:
            gateway.stdout.close()
        site.close()
    return [
        whole | told_of,
        *({"system": name, "tasks": count} for name, count in sorted(systems.items())),
        *({"trouble": name, "tasks": count} for name, count in sorted(troubles.items())),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=32, help="how many submit at the same time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the raw rows go")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = asyncio.run(measure(options, Path(name), sorted(os.sched_getaffinity(0))))
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    options.results.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
