"""A file while it arrives: counted, hashed and capped as it is written, and gone again unless it came whole."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterable, Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from genway.errors import MediaRefused, Unavailable

T = TypeVar("T")

FLUSH_BYTES = 1024 * 1024

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def too_large(max_bytes: int) -> MediaRefused:
    """The refusal of a file of more than `max_bytes` bytes."""
    return MediaRefused(f"the file is too large: at most {max_bytes} bytes ({max_bytes / 1024 / 1024:.1f} MiB)")


def unavailable(error: OSError) -> Unavailable:
    """What a client is told when this machine cannot write a file."""
    if error.errno in _NO_ROOM:
        return Unavailable("the server has no room on its disk; try again later", retry_after=60)
    return Unavailable(f"the server cannot use its disk ({error.strerror}); try again later", retry_after=60)


async def on_thread(work: Callable[[], T]) -> T:
    """Run blocking work on a thread and, unlike `asyncio.to_thread`, see it end even when cancelled.

    So nobody closes or removes a file under a thread that still works on it.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


class IncomingFile:
    """Writes one new file of at most `max_bytes` bytes; use as an asynchronous context manager.

    On leaving with an exception the file is removed. `bytes` and `sha256` hold for all that was written. Raises
    MediaRefused when more comes than is allowed, and Unavailable when the disk cannot take it.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._file = -1

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    async def write(self, chunk: bytes) -> None:
        """Add a chunk of any size."""
        self.bytes += len(chunk)
        if self.bytes > self.max_bytes:
            raise too_large(self.max_bytes)
        self._buffer += chunk
        if len(self._buffer) >= FLUSH_BYTES:
            await self._flush()

    async def write_all(self, chunks: AsyncIterable[bytes]) -> None:
        async for chunk in chunks:
            await self.write(chunk)

    async def __aenter__(self) -> IncomingFile:
        try:
            self._file = await on_thread(self._open)
        except OSError as error:
            raise unavailable(error) from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        whole = False
        try:
            if error is None:
                await self._flush()
                whole = True
        finally:
            os.close(self._file)
            if not whole:
                self.path.unlink(missing_ok=True)

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    async def _flush(self) -> None:
        data, self._buffer = memoryview(self._buffer), bytearray()
        try:
            await on_thread(lambda: self._write(data))
        except OSError as error:
            raise unavailable(error) from error

    def _write(self, data: memoryview) -> None:
        self._hash.update(data)
        while data:
            data = data[os.write(self._file, data) :]
