"""A gateway's memory under streams, measured from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

BENCH = Path(__file__).parents[2] / "bench" / "stream_memory.py"


def test_long_streams_and_many_streams_take_little_memory() -> None:
    command = [sys.executable, str(BENCH), "--megabytes", "300", "--streams", "1000", "--json"]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)
    many, flood = found["many"], found["flood"]
    assert (many["streams"], many["whole"]) == (1000, 1000)
    assert many["megabytes"] < 250
    assert (flood["whole"], flood["megabytes"] >= 299) == (True, True)
    assert flood["ahead_megabytes"] < 40, "what the systems' own buffers between the four sockets hold, and little more"
    assert flood["grown_megabytes"] < 30
