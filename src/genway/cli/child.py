"""A gateway as a child process: started on a free port, waited for, and surely ended."""

from __future__ import annotations

import collections
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from genway.errors import Unavailable

START_SECONDS = 60.0
STOP_SECONDS = 20.0
LINES_KEPT = 200


class Child:
    """A running gateway. url: where it answers, without a slash at the end."""

    def __init__(self, process: subprocess.Popen[str], log: Path | None) -> None:
        self.process = process
        self.url = ""
        self.said: collections.deque[str] = collections.deque(maxlen=LINES_KEPT)
        self._started = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(log,), name="log", daemon=True)
        self._reader.start()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        """Return when `/readyz` answers 200. Raises Unavailable with the last words of a gateway that does not come up."""
        until = time.monotonic() + seconds
        self._started.wait(seconds)
        answer = "nothing"
        while self.url and time.monotonic() < until and self.process.poll() is None:
            status, answer = ready(self.port)
            if status == 200:
                return
            self._stopped(0.05)
        self._stopped(0)
        raise Unavailable(f"the gateway did not start: {self._last_words() or answer}")

    def stop(self) -> int:
        """End it as an operator would, and by force where that takes too long; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            if not self._stopped(STOP_SECONDS):
                self.process.kill()
        code = self.process.wait()
        self._reader.join(1)
        return code

    def _stopped(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _read(self, log: Path | None) -> None:
        stream: IO[str] | None = self.process.stderr
        assert stream is not None
        with stream, log.open("a", encoding="utf-8") if log else open(os.devnull, "w") as copy:
            for line in stream:
                copy.write(line)
                copy.flush()
                self.said.append(line.rstrip())
                if not self.url and '"server.started"' in line:
                    self.url = str(json.loads(line)["address"])
                    self._started.set()
        self._started.set()

    def _last_words(self) -> str:
        self._reader.join(1 if self.process.poll() is not None else 0)
        return self.said[-1].removeprefix("genway: ") if self.said else ""


@contextmanager
def started(
    data: Path, environ: Mapping[str, str], *, arguments: Sequence[str] = (), port: int = 0, log: Path | None = None
) -> Iterator[Child]:
    """A gateway on 127.0.0.1 with its data in `data`, as long as the block lasts. Raises Unavailable.

    environ: the whole environment of the process. log: a file that its log is appended to.
    """
    command = [sys.executable, "-m", "genway", "serve", "--host", "127.0.0.1", "--port", str(port), "--data", str(data)]
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*command, *arguments],
        env={**environ, "GENWAY_LOG_FORMAT": "json", "GENWAY_LOG_LEVEL": environ.get("GENWAY_LOG_LEVEL", "info")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        process_group=0,  # Ctrl-C is for the one who started it, who then ends it in order
    )
    child = Child(process, log)
    try:
        child.wait_until_ready()
        yield child
    finally:
        child.stop()


def ready(port: int) -> tuple[int, str]:
    """What `/readyz` answers: status and body; status 0 where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    except OSError as error:
        return 0, str(error)
    finally:
        connection.close()
