"""Serves the real application in a process of its own, and ends it with SIGKILL at a chosen step of a task.

    PYTHONPATH=tests python -m durability.crashing_server --kill ending.committed --times 2    # settings from GENWAY_*

`Process` does the same from a test. Its processes are forked from one that has loaded everything and runs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from pkgutil import iter_modules
from typing import NamedTuple

import psutil

from genway import config, dialects, logs, providers, server
from genway.db.checkpoints import POINTS, RELAY_POINTS, Checkpoint, silent
from genway.providers.base import Poll
from genway.routing.channels import LOCAL

START_SECONDS = 60.0
STEPS = (*POINTS, *RELAY_POINTS)
# The vendors' own pace, 5 s and more between two polls, would leave these tests waiting.
PACE = Poll(first=0.1, factor=1.1, longest=0.3, per_second=0)


class Kill(NamedTuple):
    """Where a process ends: when a task comes to `point` for the `times`th time.

    together: end when so many tasks are at `point` at the same time instead; those that are there wait for the others.
    """

    point: str
    times: int = 1
    together: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill", metavar="POINT")
    parser.add_argument("--times", type=int, default=1)
    options = parser.parse_args()
    run(os.environ, Kill(options.kill, options.times) if options.kill else None)


def run(
    variables: Mapping[str, str], kill: Kill | None, started: Connection | None = None, epitaph: Path | None = None
) -> None:
    """Serve until a signal or the chosen step. epitaph: a file that is written in the last moment."""
    own = {name: value for name, value in variables.items() if name.startswith(config.PREFIX)}
    settings = config.load(environ=own)
    logs.configure(settings.log)
    for provider in providers.discover().values():
        if provider.name != LOCAL:
            provider.poll = PACE
    if settings.server.workers > 1:
        server.serve(settings)
        return
    with server.locked(settings):
        server.prepare(settings)
        server.run(
            settings,
            settings.server.port or server.free_port(settings.server.host),
            started.send if started else print,
            checkpoint=_ending(kill, epitaph) if kill else silent,
        )


def _ending(kill: Kill, epitaph: Path | None) -> Checkpoint:
    numbers = itertools.count(1)
    last = threading.Lock()

    def end(point: str, task_ids: Iterable[str]) -> None:
        with last:
            if epitaph:
                family = [child.pid for child in psutil.Process().children(recursive=True)]
                epitaph.write_text(" ".join(map(str, [point, ",".join(task_ids), *family])))
            os.kill(os.getpid(), signal.SIGKILL)

    def checkpoint(point: str, task_id: str) -> None:
        assert point in STEPS, point
        if point == kill.point and next(numbers) == kill.times:
            end(point, [task_id])

    return Gathering(kill, end) if kill.together else checkpoint


class Gathering:
    """A listener at which tasks wait for each other, and which ends the process when enough of them are there.

    Inside a transaction nobody can wait. There tasks wait before it, and then go into one transaction together: one that is
    committed without the others is no longer at the step and does not count.
    """

    def __init__(self, kill: Kill, end: Callable[[str, Iterable[str]], None]) -> None:
        self._point, self._enough, self._end = kill.point, kill.together, end
        self._step = kill.point.removesuffix(".before_commit") if kill.point.endswith(".before_commit") else ""
        self._ready: set[str] = set()
        self._here: set[str] = set()
        self._open = asyncio.Event()

    def __call__(self, point: str, task_id: str) -> Awaitable[None] | None:
        assert point in STEPS, point
        if self._step and point == f"{self._step}.ready":
            self._ready.add(task_id)
            if len(self._ready) >= self._enough:
                self._open.set()
            return self._wait()
        if self._step and point == f"{self._step}.committed":
            self._here.discard(task_id)
        if point != self._point:
            return None
        self._here.add(task_id)
        if len(self._here) >= self._enough:
            self._end(point, sorted(self._here))
        return None if self._step else self._forever()

    async def _wait(self) -> None:
        await self._open.wait()

    @staticmethod
    async def _forever() -> None:
        await asyncio.Event().wait()


_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    [
        *("genway.app", "genway.server", "genway.wire.server", "genway.relay.recovery"),
        *(
            f"{package.__name__}.{module.name}"
            for package in (dialects, providers)
            for module in iter_modules(package.__path__)
        ),
        *(f"litestar.plugins.{name}" for name in ("attrs", "opentelemetry", "pydantic")),
        *(f"litestar.{name}" for name in ("_kwargs", "middleware._internal.exceptions")),
        *("cryptography.fernet", "sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite.pysqlite", "uvloop"),
    ]
)


class Process:
    """One server, in a process group of its own. variables: its `GENWAY_*` settings. log: a file for what it says."""

    def __init__(self, variables: Mapping[str, str], log: Path, kill: Kill | None = None) -> None:
        self._epitaph = log.with_suffix(".epitaph")
        self._epitaph.unlink(missing_ok=True)
        self._family: list[psutil.Process] = []
        self._told, telling = _forks.Pipe(duplex=False)
        self._process = _forks.Process(target=_child, args=(dict(variables), kill, telling, self._epitaph, log), daemon=True)
        self._process.start()
        telling.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.exitcode is not None

    def started(self) -> bool:
        """Wait until it takes requests; False if it ended before."""
        wait([self._told, self._process.sentinel], START_SECONDS)
        try:
            self._told.recv()
        except EOFError:
            return False
        return True

    def send(self, number: signal.Signals) -> None:
        if not self.ended:
            os.kill(self.pid, number)

    def exit_code(self, seconds: float = 60.0) -> int:
        """How it ended, once it has: negative numbers are signals."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise AssertionError(f"process {self.pid} is still there after {seconds:g} s")
        return self._process.exitcode

    def came_to(self) -> tuple[str, str]:
        """The step at which it ended itself, and with which task, or tasks with commas between; empty if it did not."""
        point, task_id = self._last_words()[:2]
        return point, task_id

    def family(self) -> list[psutil.Process]:
        """The processes it had begun, of those that are still there."""
        for pid in self._last_words()[2:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._family.append(psutil.Process(int(pid)))
        return self._family

    def orphans(self, seconds: float = 10.0) -> list[psutil.Process]:
        """Those that are still there so many seconds after its end."""
        end = time.monotonic() + seconds
        left = self.family()
        while (left := [process for process in left if lives(process)]) and time.monotonic() < end:
            threading.Event().wait(0.01)
        return left

    def _last_words(self) -> list[str]:
        return self._epitaph.read_text().split() if self._epitaph.exists() else ["", ""]

    def kill(self) -> None:
        """End it as an accident would."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._family += psutil.Process(self.pid).children(recursive=True)
        self.send(signal.SIGKILL)
        self._process.join()


def lives(process: psutil.Process) -> bool:
    """Whether it still does anything; one that has ended and is not yet cleared away does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _child(variables: Mapping[str, str], kill: Kill | None, telling: Connection, epitaph: Path, log: Path) -> None:
    os.setsid()
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    run(variables, kill, telling, epitaph)


if __name__ == "__main__":
    main()
