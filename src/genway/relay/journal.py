"""Files of calls that are not in the database yet: what the relaxed way of accounting survives a crash by.

A line is a call. Lines are handed to the operating system before the client sees the end of its answer, so they outlive
the process (not the machine's power). A group of calls has a file of its own, which is removed once the database has them.
"""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from genway.billing.leases import CallRow

log = structlog.get_logger(__name__)

FOLDER = "calls"
_encode = msgspec.json.Encoder().encode_lines
_decoder = msgspec.json.Decoder(CallRow)


class Journal:
    """One process's files; the first is made when the first call is written."""

    def __init__(self, folder: Path, owner: str) -> None:
        self._folder = folder / FOLDER
        self._name = _name(owner)
        self._file = -1
        self._number = 0
        self._first = 0

    def append(self, rows: Sequence[CallRow]) -> None:
        """All of them or none. Raises OSError."""
        if self._file < 0:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path(self._number), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        data = _encode(rows)
        written = os.write(self._file, data)
        if written != len(data):
            # Half a line would spoil the next one as well.
            os.ftruncate(self._file, os.fstat(self._file).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def turn(self) -> int:
        """Begin a new file; returns a number to `clear` when what was written so far is in the database."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._number += 1
        return self._number

    def clear(self, before: int) -> None:
        """The database has all that was written before that `turn`."""
        while self._first < before:
            self._path(self._first).unlink(missing_ok=True)
            self._first += 1

    def close(self) -> None:
        """The database has all of it."""
        self.clear(self.turn())

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._name}.{number}.jsonl"


def left_behind(folder: Path, owner: str | None = None) -> list[tuple[Path, list[CallRow]]]:
    """The journals of processes that died: of one, or of all where no other process lives."""
    pattern = "*.jsonl" if owner is None else f"{glob.escape(_name(owner))}.*.jsonl"
    found = []
    for path in sorted((folder / FOLDER).glob(pattern)):
        rows = []
        for line in path.read_bytes().splitlines():
            try:
                rows.append(_decoder.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError):
                log.warning("journal.line_cut_off", path=str(path))  # the process died in the middle of it
        found.append((path, rows))
    return found


def _name(owner: str) -> str:
    return owner.replace(":", "-").replace("/", "-")
