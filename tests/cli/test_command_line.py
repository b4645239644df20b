"""What holds for every command: help, JSON, exit codes and one clear line for what went wrong."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from cli_stage import Genway
from genway.cli import COMMANDS, app
from genway.cli.place import Opened

DOCS = Path(__file__).parents[2] / "docs"


def every_command() -> list[tuple[str, ...]]:
    """`("key", "create")` and so on."""
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        subs = [sub for sub in app[name].resolved_commands() if not sub.startswith("-")]
        found += [(name, sub) for sub in subs] or [(name,)]
    return found


@pytest.mark.parametrize("command", every_command(), ids=" ".join)
def test_help_teaches_by_an_example(genway: Genway, command: tuple[str, ...]) -> None:
    said = genway(*command, "--help")
    assert said.code == 0
    assert said.out.count(f"genway {' '.join(command)}") >= 2, "the usage line and an example at least"
    options = re.findall(r"^│ (?:\*  )?(--[\w-]+|[A-Z][A-Z_-]+)(.*)", said.out, re.MULTILINE)
    assert options
    assert all(len(about.strip(" │")) > 5 for _, about in options), "each option says what it does"


def test_every_example_in_the_help_can_be_understood() -> None:
    examples = re.findall(r"^(?:.*\| )?genway ((?:(?! \|).)+)$", (DOCS / "cli.md").read_text("utf-8"), re.MULTILINE)
    commands = [example for example in examples if "[" not in example and "COMMAND" not in example and " CHOICE" not in example]
    assert len(commands) > 40
    for command in commands:
        app.parse_args(shlex.split(command), exit_on_error=False, print_error=False)


PAGES = sorted(page for page in [*DOCS.parent.glob("*.md"), *DOCS.glob("**/*.md")] if page.name != "cli.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS.parent)))
def test_every_command_on_a_page_can_be_understood(page: Path) -> None:
    blocks = re.findall(r"^```\w*\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for block in blocks:
        for command in re.findall(r"(?:^|[|(] ?|run )genway ([^|)>\n]+)", block.replace("\\\n", " "), re.MULTILINE):
            app.parse_args(shlex.split(command, comments=True), exit_on_error=False, print_error=False)


def test_without_a_command_the_help_is_shown(genway: Genway) -> None:
    said = genway()
    assert said.code == 0
    assert genway("--help").out == said.out
    told = dict(re.findall(r"^│ (\w+) +(\S.+?) *│$", said.out, re.MULTILINE))
    assert all(len(told.get(name, "")) > 20 for name in COMMANDS), "each says what it does"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("keys",), 'Unknown command "keys". Did you mean "key"?'),
        (("key", "mak"), 'Unknown command "mak"'),
        (("account", "create"), "parameter NAME requires an argument"),
        (("task", "list", "--colour"), "Unknown option: --colour"),
    ],
)
def test_a_misused_command_ends_with_2_and_points_to_the_help(
    genway: Genway, arguments: tuple[str, ...], complaint: str
) -> None:
    said = genway(*arguments)
    assert (said.code, said.out) == (2, "")
    assert complaint in said.err
    assert "--help`." in said.err
    assert "Traceback" not in said.err


def test_a_setting_that_does_not_exist_is_one_line(genway: Genway, tmp_path: Path) -> None:
    (tmp_path / "genway.toml").write_text("[server]\nprot = 80\n")
    said = genway("key", "list", "--config", tmp_path / "genway.toml")
    assert said.code == 1
    assert said.err.count("\n") == 1
    assert "prot" in said.err


def test_a_missing_settings_file_is_one_line(genway: Genway) -> None:
    said = genway("key", "list", "--config", "/nowhere/genway.toml")
    assert (said.code, said.err) == (1, "genway: /nowhere/genway.toml: No such file or directory\n")


def test_a_data_folder_that_cannot_be_made_is_one_line(genway: Genway, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = genway("key", "list", "--data", tmp_path / "file" / "data")
    assert said.code == 1
    assert said.err.startswith("genway: ")
    assert said.err.count("\n") == 1


def test_a_file_that_is_no_database_is_one_line(genway: Genway, data: Path) -> None:
    data.mkdir()
    (data / "genway.sqlite3").write_text("this is not a database, and it is long enough to be taken for a header" * 10)
    said = genway("key", "list")
    assert (said.code, said.out) == (1, "")
    assert "genway.sqlite3 cannot be used: file is not a database" in said.err


def test_a_database_of_a_newer_version_is_left_alone(genway: Genway, opened: Opened) -> None:
    opened.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")).rowcount)
    said = genway("key", "list")
    assert said.code == 1
    assert "belongs to a newer version" in said.err


def test_a_password_in_the_address_of_a_database_is_not_shown(genway: Genway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENWAY_DATABASE_URL", "postgresql+psycopg://user:hunter2@127.0.0.1:1/none?connect_timeout=1")
    said = genway("key", "list")
    assert said.code == 1
    assert "hunter2" not in said.err
    assert "user:***@127.0.0.1" in said.err


def test_the_module_is_the_command(data: Path) -> None:
    said = subprocess.run([sys.executable, "-m", "genway", "--version"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    assert re.fullmatch(r"genway \d+\.\d+\.\d+\S*\n", said.stdout)
    said = subprocess.run([sys.executable, "-m", "genway", "nonsense"], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (2, "")


def test_a_reader_that_goes_away_is_no_error(data: Path) -> None:
    command = f"{sys.executable} -m genway settings | head -1"
    said = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert "Traceback" not in said.stderr
    assert "Exception" not in said.stderr
