"""Files that came inside a request, for as long as it is not known what becomes of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar

Removal = Callable[[], Awaitable[object]]

_removals: ContextVar[list[Removal] | None] = ContextVar("removals", default=None)


@contextlib.asynccontextmanager
async def request() -> AsyncIterator[None]:
    """Around one request: at its end, however it ends, the files go that nothing has begun with."""
    removals: list[Removal] = []
    token = _removals.set(removals)
    try:
        yield
    finally:
        _removals.reset(token)
        for remove in removals:
            await remove()


def came(remove: Removal) -> None:
    """A file was stored for the request that is being answered. Outside any request it is the caller's to remove."""
    removals = _removals.get()
    if removals is not None:
        removals.append(remove)


def used() -> None:
    """Something has begun with the files of this request: they stay."""
    removals = _removals.get()
    if removals is not None:
        removals.clear()
