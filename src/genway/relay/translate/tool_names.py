"""Tools' names, which may have 128 letters in messages and 64 in chat completions.

Tools of MCP servers often have longer ones. Such a name travels shortened, always in the same way, and an answer that
calls the tool gets its full name back from the request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256

LONGEST = 64
DIGITS = 8


def to_chat(name: str) -> str:
    """`name` in as many letters as chat completions allows."""
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - DIGITS - 1]}_{sha256(name.encode()).hexdigest()[:DIGITS]}"


class Names:
    """The full names of a request's tools. given: tells them; it is asked only where an answer's name may be a short one."""

    def __init__(self, given: Callable[[], Iterable[str]]) -> None:
        self._given = given
        self._full: dict[str, str] | None = None

    def full(self, name: str) -> str:
        """What `to_chat` was given."""
        if len(name) != LONGEST:
            return name
        if self._full is None:
            self._full = {to_chat(each): each for each in self._given()}
        return self._full.get(name, name)
