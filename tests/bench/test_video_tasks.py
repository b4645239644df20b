"""The measurement of thousands of tasks of all video systems, run with a few: it checks by itself that all is as it must be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from systems import SYSTEMS

BENCH = Path(__file__).parents[2] / "bench" / "video_tasks.py"
SEED = "2137"  # it brings every trouble to these few tasks, and an answer that is lost to Kling and to another
TROUBLES = 6


def test_forty_tasks_of_all_systems_end_as_their_vendors_ended_them(tmp_path: Path) -> None:
    results = tmp_path / "rows.json"
    command = [sys.executable, str(BENCH), "--tasks", "40", "--seed", SEED, "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    whole, *parts = json.loads(results.read_text())
    assert whole["tasks"] == sum(count for name, count in whole.items() if name.startswith("ended: ")) == 40
    assert whole["vendor_requests"]["submit"] >= 40
    assert whole["gateway_cpu_seconds"] > 0
    assert {part["system"]: part["tasks"] for part in parts if "system" in part} == dict.fromkeys(SYSTEMS, 5)
    assert len([part for part in parts if "trouble" in part]) == len(("none",)) + TROUBLES
