"""LangChain's packages for both vendors, unmodified, in an environment of their own: they need older packages than genway."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from conformance.relay.stage import PICTURE, PICTURE_SEEN, TWO_CITIES, Target, Vendors, Way, Wire, direct, through

PROGRAM = Path(__file__).with_name("langchain_program.py")
PACKAGES = ("--with", "langchain-openai==1.7.3", "--with", "langchain-anthropic==1.7.7")
CLIENTS: tuple[Wire, ...] = ("openai", "anthropic")
TARGETS: dict[str, tuple[tuple[Wire, Way], ...]] = {
    "direct": tuple((client, "direct") for client in CLIENTS),
    "genway": tuple((client, way) for client in CLIENTS for way in ("genway", "across")),
}


@pytest.mark.parametrize("where", TARGETS)
def test_langchain_works(where: str, vendors: Vendors, request: pytest.FixtureRequest) -> None:
    targets = []
    for client, way in TARGETS[where]:
        if way == "direct":
            targets.append((client, direct(client, vendors)))
        else:
            targets.append((client, through(client, way, request.getfixturevalue("relay_server"), vendors)))
    seen = told(targets)
    assert len(seen) == len(targets)
    for name, each in seen.items():
        assert "error" not in each, f"{name}: {each['error']}"
        assert (each["said"], each["tokens"]) == ("You said: one 🌍", 4), name
        assert (each["streamed"], each["chunks"] > 3) == ("You said: one 🌍", True), name
        assert each["tools"] == each["streamedTools"] == ["Oslo", "Zürich"], name
        assert each["results"] == "The tools answered: rain in Oslo; rain in Zürich", name
        assert each["function_calling"] == each["json_schema"] == {"name": "Ada", "age": 36}, name
        assert each["pictured"] == f"You said: look You showed: {PICTURE_SEEN}.", name
        assert each["missing"][1] == 404, name
        assert each.get("embedded") == (8 if name in {"openai direct", "openai genway"} else None), name


def told(targets: list[tuple[Wire, Target]]) -> dict[str, Any]:
    """What the program saw at each target."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("there is no uv to install LangChain with")
    run = [uv, "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable, *PACKAGES, "python"]
    rows = []
    for client, target in targets:
        about = msgspec.structs.asdict(target) | {"client": client, "name": f"{client} {target.way}"}
        rows.append({name: value for name, value in about.items() if name != "vendor"})
    variables = {"TARGETS": json.dumps(rows), "PICTURE": PICTURE, "TWO_CITIES": TWO_CITIES, "NO_PROXY": "127.0.0.1,localhost"}
    done = subprocess.run(
        [*run, str(PROGRAM)], env=os.environ | variables, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode == 2:
        pytest.skip(f"LangChain cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
