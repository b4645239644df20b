"""The commands of docs/channels.md are typed in their order, and the relay then goes where the page says."""

from __future__ import annotations

import io
import re
import shlex
import time
from pathlib import Path

import aiohttp
import pytest

from cli_stage import Genway
from genway import providers
from genway.cli.place import Opened
from genway.providers.relaying import RelayProvider
from genway.relay import options
from genway.relay.seats import Board
from genway.wire.pool import Pool

DOCS = Path(__file__).parents[2] / "docs"
GUIDE = DOCS / "channels.md"
ASKS_VENDORS = ["genway", "channel", "test"]


def commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return "".join(blocks).replace("\\\n", " ").splitlines()


@pytest.fixture
def typed(genway: Genway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything on the page has been typed, by somebody who has the variables that it names."""
    for command in commands():
        words = shlex.split(command)
        if "|" in words:
            said, words = words[1], words[words.index("|") + 1 :]
            monkeypatch.setattr("sys.stdin", io.StringIO(f"{said}\n"))
        if "--secret-env" in words:
            monkeypatch.setenv(words[words.index("--secret-env") + 1], "key-one, key-two")
        assert words[0] == "genway"
        if words != ASKS_VENDORS:
            done = genway(*words[1:])
            assert done.code == 0, f"{command}: {done.err}"


@pytest.mark.usefixtures("typed")
async def test_the_commands_of_the_guide_make_the_channels_that_it_speaks_of(opened: Opened) -> None:
    async with aiohttp.ClientSession() as http:
        board = Board(opened.database, opened.vault, http, Pool(), clock=time.time)
        await board.refresh()

        def ways(kind: str, model: str) -> dict[str, tuple[str, str]]:
            return {way.seat.channel.name: (way.kind, way.vendor_model) for way in board.choices(kind, model)}

        assert ways("chat", "gpt-5.5") == {"azure": ("chat", "my-deployment")}, "listed goes before known"
        assert ways("chat", "openai/gpt-5.5") == {"openai": ("chat", "gpt-5.5"), "cheap": ("chat", "gpt-5.5")}
        assert ways("chat", "qwen3") == {"ollama": ("chat", "qwen3:8b")}
        assert ways("chat", "claude-haiku-4-5") == {"anthropic": ("messages", "claude-haiku-4-5")}
        assert ways("messages", "deepseek-chat") == {"deepseek": ("chat", "deepseek-chat")}
        assert ways("messages", "house-model") == {"proxied": ("messages", "claude-sonnet-5-5")}
        assert set(ways("chat", "something-else")) == {"cheap"}
        cheap, proxied = (seat for seat in board.seats if seat.channel.name in {"cheap", "proxied"})
        assert [len(cheap.credentials), cheap.concurrency, cheap.requests and cheap.requests.most] == [2, 100, 1000]
        assert proxied.credentials[0].head[b"x-team"] == b"blue"
        assert proxied.path("messages", "claude-sonnet-5-5") == b"/v1/messages?region=eu"


@pytest.mark.parametrize("guide", [GUIDE, DOCS / "zh" / "channels.md"], ids=["en", "zh"])
def test_every_option_is_in_the_guide(guide: Path) -> None:
    text = guide.read_text("utf-8")
    relayed = [kind for kind in providers.discover().values() if issubclass(kind, RelayProvider)]
    named = {*options.NUMBERS, *(name for kind in relayed for name in kind.options)}
    chosen = [f"{name}={values[0]}" for name, values in options.CHOICES.items() if name != "stream_usage"]
    for option in [*named, *chosen, "stream_usage=no", *(f"{prefix}NAME" for prefix in options.PREFIXES)]:
        assert f"`{option}`" in text, option
