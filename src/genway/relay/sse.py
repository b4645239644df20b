"""Server-sent events at the level of bytes."""

from __future__ import annotations

MARKS = (b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n")
LONGEST_EVENT = 4 * 1024 * 1024


class Splitter:
    """Cuts a stream where events end, however its pieces come. Bytes are neither changed nor lost."""

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, piece: bytes) -> bytes:
        """All events that are whole by now, as one piece; nothing if there is none. An event without end goes on in parts."""
        data = self.rest + piece if self.rest else piece
        if data.endswith(b"\n\n"):
            self.rest = b""
            return data
        marks = MARKS if b"\r" in data else MARKS[:1]
        end = max((at + len(mark) for mark in marks if (at := data.rfind(mark)) >= 0), default=0)
        if end == 0 and len(data) > LONGEST_EVENT:
            end = len(data)
        self.rest = data[end:]
        return data[:end]


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
