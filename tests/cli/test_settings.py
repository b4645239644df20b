"""`genway settings`, and the documentation that is made from the program: in English word for word, in Chinese by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli_stage import Genway
from genway.cli import settings
from genway.cli.settings import HIDDEN, every
from genway.config import load

DOCS = Path(__file__).parents[2] / "docs"
CHOICES = {"relay.durability": "relaxed"}
"""What can be chosen where not every text will do."""


def test_the_reference_of_settings_is_up_to_date(genway: Genway) -> None:
    written = (DOCS / "settings.md").read_text("utf-8")
    assert genway("settings", "--markdown").out == written, "genway settings --markdown > docs/settings.md"


def test_the_reference_of_commands_is_up_to_date(genway: Genway) -> None:
    assert genway("reference").out == (DOCS / "cli.md").read_text("utf-8"), "genway reference > docs/cli.md"


def test_the_chinese_reference_has_every_setting_with_its_default() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \| `(.*?)` \| .+ \| `(\w+)` \|$", zh("settings.md"), re.MULTILINE))
    assert rows == {(one.name, settings.in_toml(one.default), one.variable) for one in every()}


def test_the_chinese_reference_has_every_command_and_option() -> None:
    english = (DOCS / "cli.md").read_text("utf-8")
    assert headings(zh("cli.md")) == headings(english)
    for command, section in sections(english).items():
        assert options(sections(zh("cli.md"))[command]) == options(section), command


@pytest.mark.parametrize("setting", list(every()), ids=lambda setting: setting.path)
def test_every_setting_can_be_set_by_its_variable_and_is_explained(setting: settings.Setting) -> None:
    texts = {bool: "false", int: "7", float: "7", str: "x", list: "a,b", dict: "a=b"}
    config = load(environ={setting.variable: CHOICES.get(setting.path, texts[type(setting.default)])})
    assert settings.current(config, setting) != setting.default
    assert setting.about.endswith(".")


def test_what_is_set_is_shown_and_secrets_are_not(genway: Genway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENWAY_SERVER_PORT", "9999")
    monkeypatch.setenv("GENWAY_SECURITY_SECRET_KEY", "s3cret" * 8)
    monkeypatch.setenv("GENWAY_BOOTSTRAP_KEY", "b00tstrap-key")
    monkeypatch.setenv("GENWAY_STORAGE_OPTIONS", "secret_access_key=abcdef")
    monkeypatch.setenv("GENWAY_DATABASE_URL", "postgresql+psycopg://u:hunter2@h/n")
    out = genway("settings").out + genway("settings", "--json").out
    assert "port = 9999   (default 8700)" in out
    for secret in ("s3cret", "b00tstrap", "abcdef", "hunter2"):
        assert secret not in out
    values = {row["setting"]: row["value"] for row in genway("settings", "--json").json}
    assert (values["server.port"], values["security.secret_key"]) == (9999, HIDDEN)


def zh(name: str) -> str:
    return (DOCS / "zh" / name).read_text("utf-8")


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ (genway.*)$", text, re.MULTILINE)


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^#+ (genway.*)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def options(section: str) -> list[str]:
    return re.findall(r"^\* `(\S+)", section, re.MULTILINE)
