from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from genway.cli import run
from genway.cli.place import Opened, Place


class Said(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Genway = Callable[..., Said]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, which commands use without being told."""
    folder = tmp_path / "data"
    monkeypatch.setenv("GENWAY_DATA", str(folder))
    return folder


@pytest.fixture
def genway(data: Path, capsys: pytest.CaptureFixture[str]) -> Genway:
    """Runs a command in this process: `genway("key", "list")`."""

    def call(*arguments: object) -> Said:
        code = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Said(code, printed.out, printed.err)

    return call


@pytest.fixture
def opened(data: Path) -> Any:
    """The database of the data folder, to arrange and to look."""
    with Place(data=data).open() as database:
        yield database


__all__ = ["Genway", "Opened", "Said"]
