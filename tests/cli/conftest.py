from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_stage import VENDOR_SECRET, Genway, Said
from genway.cli import run
from genway.cli.place import Opened, Place


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, which commands use without being told."""
    folder = tmp_path / "data"
    monkeypatch.setenv("GENWAY_DATA", str(folder))
    monkeypatch.setenv("VENDOR_SECRET", VENDOR_SECRET)
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
def opened(data: Path) -> Iterator[Opened]:
    """The database of the data folder, to arrange and to look."""
    with Place(data=data).open() as database:
        yield database
