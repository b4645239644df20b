"""Where files are kept: a folder, or an object store. A file is there whole and for good, or it is not there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

import obstore
import obstore.store
import uuid_utils

from genway.errors import NotFound, Unavailable
from genway.media.incoming import on_thread, unavailable

if TYPE_CHECKING:
    from obstore.store import ObjectStore

READ_BYTES = 1024 * 1024
PART_BYTES = 8 * 1024 * 1024
PARTS_AT_ONCE = 4
PARTIAL_FOLDER = ".partial"

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_CLIENT_SWITCHES = frozenset({"allow_http", "allow_invalid_certificates", "http1_only", "http2_only"})
_CLIENT_OPTIONS = frozenset({"connect_timeout", "timeout", "proxy_url", "user_agent", "pool_idle_timeout"})


class Store:
    """Files under keys such as `acc_1/0198a/med_….mp4`: letters, digits, `_ - .`, and `/` between the parts.

    url: `file:///folder` (made if need be), `s3://bucket/prefix`, `gs://…`, `az://…` or `memory:///`. options: as obstore
    names them (https://developmentseed.org/obstore/latest/api/store/); the client's, such as `allow_http`, included.
    A key stands for one content for good: put under the same key again, it is the same file.

    Every method raises Unavailable where the disk or the object store does not do its part, and those that read
    raise NotFound where there is no such file.
    """

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self._root: Path | None = None
        if url.startswith("file:"):
            self._root = Path(unquote(urlsplit(url).path))
            self._root.mkdir(parents=True, exist_ok=True)
            self._objects: ObjectStore = obstore.store.LocalStore(self._root)
        else:
            self._objects = _object_store(url, options or {})

    async def put(self, path: Path, key: str, content_type: str) -> None:
        """Keep a copy of the file. On return it is on disk for good; on an error there is nothing under the key."""
        self._check(key)
        with _as_unavailable(writing=True):
            if self._root is not None:
                root, target = self._root, self._root / key
                await on_thread(lambda: _copy_for_good(path, target, root / PARTIAL_FOLDER))
            else:
                await obstore.put_async(
                    self._objects,
                    key,
                    path,
                    attributes={"Content-Type": content_type},
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_AT_ONCE,
                )

    async def open(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`, in chunks; begun on return, so NotFound comes from here.

        Each chunk is a read of its own, so that a client may take its time: object stores end a read that lasts.
        """
        first = await self._read(key, start, end)
        return self._from(first, key, start + len(first), end)

    async def read_range(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """`open` as one iterator."""
        async for chunk in await self.open(key, start, end):
            yield chunk

    async def size(self, key: str) -> int:
        """In bytes."""
        self._check(key)
        with _as_unavailable():
            return (await obstore.head_async(self._objects, key))["size"]

    async def delete(self, key: str) -> None:
        """Remove the file; one that is not there is fine."""
        self._check(key)
        try:
            with _as_unavailable():
                await obstore.delete_async(self._objects, key)
        except NotFound:
            pass

    def local_path(self, key: str) -> Path | None:
        """Where the file lies on this machine's disk, to be read only; None in an object store."""
        self._check(key)
        return None if self._root is None else self._root / key

    async def to_path(self, key: str, into: Path) -> None:
        """Copy the file to `into`, which is replaced if it exists and never seen half written."""
        self._check(key)
        partial = into.with_name(f".{into.name}.{uuid_utils.uuid7().hex}")
        local = self.local_path(key)
        try:
            with _as_unavailable():
                if local is not None:
                    await on_thread(lambda: shutil.copyfile(local, partial))
                else:
                    chunks = await self.open(key, 0, await self.size(key))
                    with partial.open("wb") as file:
                        async for chunk in chunks:
                            await on_thread(lambda chunk=chunk: file.write(chunk))  # type: ignore[misc]
                partial.replace(into)
        finally:
            partial.unlink(missing_ok=True)

    def sweep(self, before: float) -> None:
        """Remove what crashes left half written before that Unix time. Blocks."""
        if self._root is None:
            return
        for partial in (self._root / PARTIAL_FOLDER).glob("*"):
            remove_if_older(partial, before)

    async def _read(self, key: str, start: int, end: int) -> bytes:
        self._check(key)
        if start >= end:
            return b""
        with _as_unavailable():
            return bytes(await obstore.get_range_async(self._objects, key, start=start, end=min(end, start + READ_BYTES)))

    async def _from(self, first: bytes, key: str, at: int, end: int) -> AsyncIterator[bytes]:
        if first:
            yield first
        while at < end:
            chunk = await self._read(key, at, end)
            if not chunk:
                raise Unavailable("a stored file is shorter than it was")
            at += len(chunk)
            yield chunk

    @staticmethod
    def _check(key: str) -> None:
        if not _KEY.fullmatch(key):
            raise ValueError(f"not a key of the store: {key!r}")


def remove_if_older(path: Path, before: float) -> None:
    """Remove a file last changed before that Unix time; that somebody else has done so is fine."""
    with suppress(FileNotFoundError):
        if path.stat().st_mtime < before:
            path.unlink()


def _object_store(url: str, options: Mapping[str, str]) -> ObjectStore:
    client: dict[str, Any] = {name: options[name] for name in _CLIENT_OPTIONS & options.keys()}
    client |= {name: options[name].lower() in ("1", "true", "yes") for name in _CLIENT_SWITCHES & options.keys()}
    config: dict[str, Any] = {name: value for name, value in options.items() if name not in client}
    if url.startswith("memory:"):
        return obstore.store.MemoryStore()
    make: Any = obstore.store.from_url
    return cast("ObjectStore", make(url, config=config or None, client_options=client or None))


@contextmanager
def _as_unavailable(*, writing: bool = False) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if writing:
            raise Unavailable("the place where files are kept is not there; try again later", retry_after=60) from error
        raise NotFound("the file is not there (any more)") from error
    except OSError as error:
        raise unavailable(error) from error
    except obstore.exceptions.BaseError as error:
        raise Unavailable("the object store does not answer as it should; try again later", retry_after=30) from error


def _copy_for_good(source: Path, target: Path, partials: Path) -> None:
    """Copy so that after a power loss the whole file is there, or none: data first, then its name, then the folder."""
    _make_folder(target.parent)
    _make_folder(partials)
    partial = partials / uuid_utils.uuid7().hex
    try:
        with source.open("rb") as reader, partial.open("xb") as writer:
            shutil.copyfileobj(reader, writer, PART_BYTES)
            writer.flush()
            os.fsync(writer.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _make_folder(folder: Path) -> None:
    """Make a folder and see that its name outlives a power loss, in every folder above that is new."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
