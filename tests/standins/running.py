"""The stand-in vendor as a process of its own, for tests that have no event loop."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).parents[1]


@contextmanager
def running_vendor(key: str, *arguments: str) -> Iterator[str]:
    """A stand-in for Runway's API, as long as the block lasts; yields its address."""
    command = [sys.executable, "-m", "standins.runway_vendor", "--key", key, *arguments]
    process = subprocess.Popen(command, cwd=TESTS, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
