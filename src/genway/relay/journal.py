"""A file of calls that are not in the database yet: what the relaxed way of accounting survives a crash by.

A line is a call. Lines are handed to the operating system before the client sees the end of its answer, so they outlive
the process (not the machine's power); they are taken out once the database has them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from genway.billing.leases import CallRow

log = structlog.get_logger(__name__)

FOLDER = "calls"
_decoder = msgspec.json.Decoder(CallRow)


class Journal:
    """One process's file; made when the first call is written."""

    def __init__(self, folder: Path, owner: str) -> None:
        self._path = folder / FOLDER / f"{owner.replace(':', '-').replace('/', '-')}.jsonl"
        self._file = -1

    def append(self, rows: Sequence[CallRow]) -> None:
        """Raises OSError."""
        if self._file < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        data = msgspec.json.Encoder().encode_lines(rows)
        written = os.write(self._file, data)
        if written != len(data):
            raise OSError("the disk took only a part of the journal's line")

    @property
    def size(self) -> int:
        return os.fstat(self._file).st_size if self._file >= 0 else 0

    def clear(self) -> None:
        """The database has all of it."""
        if self._file >= 0:
            os.ftruncate(self._file, 0)

    def close(self) -> None:
        """Remove the file, which is empty by now."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._path.unlink(missing_ok=True)


def left_behind(folder: Path, owner: str | None = None) -> list[tuple[Path, list[CallRow]]]:
    """The journals of processes that died: of one, or of all where no other process lives."""
    pattern = "*.jsonl" if owner is None else f"{owner.replace(':', '-').replace('/', '-')}.jsonl"
    found = []
    for path in sorted((folder / FOLDER).glob(pattern)):
        rows = []
        for line in path.read_bytes().splitlines():
            try:
                rows.append(_decoder.decode(line))
            except msgspec.DecodeError:
                log.warning("journal.line_cut_off", path=str(path))  # the process died in the middle of it
        found.append((path, rows))
    return found
