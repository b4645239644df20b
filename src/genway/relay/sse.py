"""Server-sent events at the level of bytes."""

from __future__ import annotations

MARKS = (b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n")
LONGEST_MARK = max(map(len, MARKS))
LONGEST_EVENT = 64 * 1024 * 1024  # a picture's last event holds all of it


class Splitter:
    """Cuts a stream where events end, however its pieces come. Bytes are neither changed nor lost."""

    __slots__ = ("_parts", "_size", "_tail")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._tail = b""

    @property
    def holds(self) -> bool:
        """Whether a part of an event is waiting for the rest."""
        return bool(self._parts)

    def feed(self, piece: bytes) -> bytes:
        """All events that are whole by now, as one piece; nothing if there is none. Raises ValueError for one without end."""
        if not self._parts and piece.endswith(b"\n\n"):
            return piece
        # What came before holds no end, so one can only begin in its last bytes.
        seam = self._tail + piece
        marks = MARKS if b"\r" in seam else MARKS[:1]
        end = max((at + len(mark) for mark in marks if (at := seam.rfind(mark)) >= 0), default=0)
        if end == 0:
            self._keep(piece, seam[1 - LONGEST_MARK :])
            if self._size > LONGEST_EVENT:
                raise ValueError(f"an event has more than {LONGEST_EVENT} bytes")
            return b""
        end -= len(self._tail)
        ready = b"".join((*self._parts, piece[:end])) if self._parts else piece[:end]
        self._parts, self._size, self._tail = [], 0, b""
        if rest := piece[end:]:
            self._keep(rest, rest[1 - LONGEST_MARK :])
        return ready

    def take_rest(self) -> bytes:
        """What came after the last whole event."""
        rest = b"".join(self._parts)
        self._parts, self._size, self._tail = [], 0, b""
        return rest

    def _keep(self, piece: bytes, tail: bytes) -> None:
        self._parts.append(piece)
        self._size += len(piece)
        self._tail = tail


def events(data: bytes) -> list[bytes]:
    """Whole events, each with the empty line that ends it."""
    if b"\r" not in data:
        parts = data.split(b"\n\n")
        return [part + b"\n\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
    found: list[bytes] = []
    current: list[bytes] = []
    for line in data.splitlines(keepends=True):
        current.append(line)
        if not line.strip(b"\r\n"):
            found.append(b"".join(current))
            current = []
    if current:
        found.append(b"".join(current))
    return found


def data_of(event: bytes) -> bytes:
    """The data of one event; nothing for a comment or an event without data."""
    start = event.find(b"data:")
    if start < 0:
        return b""
    if (start == 0 or event[start - 1] in b"\r\n") and event.find(b"data:", start + 5) < 0:
        end = len(event)
        for mark in (b"\n", b"\r"):
            cut = event.find(mark, start)
            if 0 <= cut < end:
                end = cut
        return event[start + 5 : end].strip(b" ")
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)
