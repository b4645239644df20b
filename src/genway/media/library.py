"""The files of the accounts: what clients hand in, what comes out of tasks, and the way to both."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import time
from base64 import b64encode
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

import msgspec
import uuid_utils
from sqlalchemy import Connection, Row, insert, select, update
from yarl import URL

from genway.config import Media
from genway.db import Database, tables
from genway.errors import GenwayError, InvalidRequest, MediaRefused, NotFound
from genway.media.address import check_text
from genway.media.fetch import Fetcher
from genway.media.incoming import IncomingFile, on_thread, too_large, unavailable
from genway.media.inline import decode
from genway.media.links import PREFIX, LinkSigner
from genway.media.probe import EXTENSIONS, KINDS, probe
from genway.media.store import Store
from genway.operations import MediaRef

DAY = 24 * 3600
LINKS_A_LIFETIME = 24
EXPIRE_AT_ONCE = 500

ROLE_KINDS: dict[str, frozenset[str]] = {
    "video": frozenset({"video"}),
    "audio": frozenset({"audio"}),
    "image": frozenset({"image"}),
    "poster": frozenset({"image"}),
    "last_frame": frozenset({"image"}),
}

# What came out of a task is measured, not limited: it is paid for.
OUTPUT_LIMITS = Media(max_image_bytes=2**50, max_video_bytes=2**50, max_pixels=2**31, max_seconds=24 * 3600)

_MEDIA_ID = re.compile(r"med_[0-9a-f]{32}", re.ASCII)
_OWN = re.compile(r"(?:genway|runway)://([a-zA-Z0-9_-]{1,64})", re.ASCII)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.ASCII | re.IGNORECASE)
_OWN_LINK = re.compile(rf"{PREFIX}(med_[0-9a-f]{{32}})\.[a-z0-9]+", re.ASCII)
_SAFE_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)


class StoredMedia(msgspec.Struct, frozen=True):
    """A file in our store. seconds: of a clip or sound. width, height: in pixels, of a picture or clip."""

    id: str
    account_id: str
    role: str
    key: str
    content_type: str
    bytes: int
    sha256: str
    width: int | None
    height: int | None
    seconds: float | None
    created_at: float

    @property
    def extension(self) -> str:
        """Without the dot."""
        return EXTENSIONS.get(self.content_type, "bin")

    @property
    def file_name(self) -> str:
        return f"{self.id}.{self.extension}"


def new_media_id() -> str:
    """A fresh media id; ids sort by the time they were made."""
    return f"med_{uuid_utils.uuid7().hex}"


class Library:
    """Takes files in, keeps them, and gives them out to those they belong to.

    scratch: a folder on this machine for files while they are needed; it may be emptied when no server runs.
    link_seconds: how long a link works at least. keep_days: 0 keeps files for good.
    """

    def __init__(
        self,
        database: Database,
        store: Store,
        fetcher: Fetcher,
        signer: LinkSigner,
        limits: Media,
        scratch: Path,
        clock: Callable[[], float] = time.time,
        *,
        link_seconds: int = 7 * DAY,
        keep_days: int = 0,
    ) -> None:
        self.database = database
        self.store = store
        self.fetcher = fetcher
        self.signer = signer
        self.limits = limits
        self.scratch = scratch
        self.clock = clock
        self._link_seconds = link_seconds
        self._keep_days = keep_days

    async def accept(
        self, account_id: str, value: str | bytes, *, field: str, kinds: Collection[str] = KINDS, role: str = "input"
    ) -> MediaRef:
        """What a client put into a field for a file.

        An http(s) address (checked by its text, fetched later), a data URI, bare base64, the file's own bytes, a media
        id (`med_…`, `genway://med_…`), a finished upload (`genway://` or `runway://` and its id), or one of our own
        links. What is inline is checked, stored and committed before this returns.

        Raises AddressRefused, MediaRefused, InvalidRequest or Unavailable, naming `field`.
        """
        try:
            if isinstance(value, bytes):
                return await self._accept_bytes(account_id, value, kinds, role)
            text = value.strip()
            own = _OWN.fullmatch(text)
            if own or _MEDIA_ID.fullmatch(text):
                return await self._accept_own(account_id, own[1] if own else text, kinds)
            if text[:5].lower() == "data:" or not _SCHEME.match(text):
                most = max(self.limits.max_image_bytes, self.limits.max_video_bytes)
                data = await asyncio.to_thread(decode, text, most)
                return await self._accept_bytes(account_id, data, kinds, role)
            linked = await self._linked(account_id, text)
            if linked is not None:
                _check_kind(linked, kinds)
                return MediaRef(media_id=linked.id)
            check_text(text, self.fetcher.policy)
            return MediaRef(url=text)
        except GenwayError as error:
            error.field = error.field or field
            raise

    async def add(
        self,
        account_id: str,
        task_id: str | None,
        role: str,
        source: Path,
        *,
        media_id: str | None = None,
        limits: Media = OUTPUT_LIMITS,
        kinds: Collection[str] | None = None,
    ) -> StoredMedia:
        """Keep a file of this machine; `source` is left as it is.

        On return the file is on disk for good and its row is committed. With the same `media_id` again, as after a
        crash, the answer is what was stored first. kinds: as the role says unless given. Raises MediaRefused, Unavailable.
        """
        if media_id is not None and (before := await self.get(media_id)) is not None:
            return before
        media_id = media_id or new_media_id()
        expect = kinds if kinds is not None else ROLE_KINDS.get(role, KINDS)
        info, size, digest = await on_thread(lambda: _examine(source, limits, expect))
        stored = StoredMedia(
            id=media_id,
            account_id=account_id,
            role=role,
            # The time in the id spreads files over folders; the digest keeps two tries that differ from being mixed up.
            key=f"{account_id}/{media_id[4:9]}/{media_id}-{digest[:16]}.{info.extension}",
            content_type=info.content_type,
            bytes=size,
            sha256=digest,
            width=info.width,
            height=info.height,
            seconds=info.seconds,
            created_at=self.clock(),
        )
        await self.store.put(source, stored.key, stored.content_type)
        kept = await self.database.write(lambda connection: _keep(connection, stored, task_id))
        if kept.key != stored.key:
            await self.store.delete(stored.key)
        return kept

    async def get(self, media_id: str) -> StoredMedia | None:
        """The file's row, whoever it belongs to, unless it is deleted."""
        return await self.database.read(lambda connection: _find(connection, media_id))

    async def owned(self, account_id: str, media_id: str) -> StoredMedia:
        """The account's file. Raises NotFound for an unknown one and for somebody else's alike."""
        stored = await self.get(media_id)
        if stored is None or stored.account_id != account_id:
            raise NotFound("there is no such file")
        return stored

    def url(self, base_url: str, stored: StoredMedia, now: float | None = None) -> str:
        """A signed link. It stays the same for a while, so that answers and callbacks that name it agree."""
        step = max(1, self._link_seconds // LINKS_A_LIFETIME)
        begin = self.clock() if now is None else now
        expires_at = -int(-(begin + self._link_seconds) // step) * step
        return base_url.rstrip("/") + self.signer.path(stored.id, stored.extension, expires_at=expires_at)

    async def open(self, stored: StoredMedia, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`. Raises NotFound, Unavailable."""
        return await self.store.open(stored.key, start, end)

    async def path(
        self,
        account_id: str,
        ref: MediaRef,
        *,
        task_id: str,
        kinds: Collection[str] = KINDS,
        field: str | None = None,
    ) -> Path:
        """The file on this machine, checked, until the task is released. May be read, not changed.

        Raises AddressRefused, MediaRefused (FetchFailed where another try may help), Unavailable.
        """
        folder = self.folder(task_id)
        name = hashlib.sha256((ref.media_id or ref.url or "").encode()).hexdigest()[:32]
        try:
            for present in folder.glob(f"{name}.*"):
                await on_thread(lambda: probe(present, limits=self.limits, expect=kinds))
                return present
            if ref.media_id is not None:
                stored = await self.owned(account_id, ref.media_id)
                _check_kind(stored, kinds)
                into = folder / f"{name}.{stored.extension}"
                await self.store.to_path(stored.key, into)
                return into
            partial = folder / f"partial-{uuid_utils.uuid7().hex}"
            try:
                await self.fetcher.fetch(ref.url or "", partial, max_bytes=self._most_bytes(kinds), accept=kinds)
                info = await on_thread(lambda: probe(partial, limits=self.limits, expect=kinds))
                return partial.replace(folder / f"{name}.{info.extension}")
            finally:
                partial.unlink(missing_ok=True)
        except NotFound as error:
            raise MediaRefused("there is no such file (any more)", field=field) from error
        except GenwayError as error:
            error.field = error.field or field
            raise

    async def address(
        self,
        account_id: str,
        ref: MediaRef,
        *,
        task_id: str,
        base_url: str,
        inline_bytes: int,
        https_only: bool = False,
    ) -> str:
        """An address of the file that a vendor can read; see `providers.base.Files`.

        A client's plain http address that the vendor would not read is fetched here and becomes one of our files.
        """
        if ref.url is not None and (not https_only or ref.url[:6].lower() == "https:"):
            return ref.url
        path = await self.path(account_id, ref, task_id=task_id)
        size = path.stat().st_size
        if size <= inline_bytes:
            content_type = (await on_thread(lambda: probe(path, limits=OUTPUT_LIMITS))).content_type
            data = await on_thread(lambda: b64encode(path.read_bytes()).decode())
            return f"data:{content_type};base64,{data}"
        if https_only and not base_url.lower().startswith("https:"):
            raise MediaRefused(
                f"the file is too large to send along (at most {inline_bytes} bytes, got {size}), and this server "
                "has no https address to read it from; the operator can set server.public_url"
            )
        if ref.media_id is not None:
            return self.url(base_url, await self.owned(account_id, ref.media_id))
        media_id = "med_" + hashlib.sha256(f"{task_id}\n{ref.url}".encode()).hexdigest()[:32]
        return self.url(base_url, await self.add(account_id, task_id, "input", path, media_id=media_id))

    def folder(self, task_id: str) -> Path:
        """The task's own folder in scratch, made if need be; for files to fetch and to render into."""
        if not _SAFE_NAME.fullmatch(task_id):
            raise ValueError(f"not a task id: {task_id!r}")
        folder = self.scratch / "tasks" / task_id
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unavailable(error) from error
        return folder

    async def release(self, task_id: str) -> None:
        """Remove the task's folder, once it has ended."""
        folder = self.folder(task_id)
        await on_thread(lambda: shutil.rmtree(folder, ignore_errors=True))

    async def expire(self, now: float | None = None) -> int:
        """Delete files older than `keep_days`, and what crashes left behind in scratch. How many files went."""
        now = self.clock() if now is None else now
        await on_thread(lambda: self._sweep(now))
        if not self._keep_days:
            return 0
        table = tables.media
        old = select(table.c.id).where(table.c.deleted_at.is_(None), table.c.created_at < now - self._keep_days * DAY)
        ids = await self.database.read(lambda connection: list(connection.scalars(old.limit(EXPIRE_AT_ONCE))))
        for media_id in ids:
            await self.remove(media_id, now)
        return len(ids)

    async def remove(self, media_id: str, now: float | None = None) -> None:
        """Delete a file, then say so in its row: after a crash in between, it is deleted once more."""
        stored = await self.get(media_id)
        if stored is None:
            return
        await self.store.delete(stored.key)
        at = self.clock() if now is None else now
        gone = update(tables.media).where(tables.media.c.id == media_id).values(deleted_at=at)
        await self.database.write(lambda connection: connection.execute(gone).rowcount)

    async def receive(
        self,
        account_id: str,
        chunks: AsyncIterable[bytes],
        *,
        max_bytes: int,
        role: str,
        limits: Media,
        kinds: Collection[str] = KINDS,
        media_id: str | None = None,
    ) -> StoredMedia:
        """Keep a file that arrives in chunks; memory use does not grow with it. Raises MediaRefused, Unavailable."""
        path = self.scratch / "incoming" / uuid_utils.uuid7().hex
        try:
            async with IncomingFile(path, max_bytes) as file:
                await file.write_all(chunks)
            return await self.add(account_id, None, role, path, media_id=media_id, limits=limits, kinds=kinds)
        finally:
            path.unlink(missing_ok=True)

    async def _accept_bytes(self, account_id: str, data: bytes, kinds: Collection[str], role: str) -> MediaRef:
        async def whole() -> AsyncIterator[bytes]:
            yield data

        most = self._most_bytes(kinds)
        if len(data) > most:
            raise too_large(most)
        stored = await self.receive(account_id, whole(), max_bytes=most, role=role, limits=self.limits, kinds=kinds)
        return MediaRef(media_id=stored.id)

    async def _accept_own(self, account_id: str, name: str, kinds: Collection[str]) -> MediaRef:
        """One of our ids: of a file, or of an upload."""
        media_id = name
        if not _MEDIA_ID.fullmatch(name):
            upload = await self.database.read(lambda connection: _find_upload(connection, name))
            if upload is None or upload.account_id != account_id or upload.expires_at <= self.clock():
                raise InvalidRequest("there is no such upload, or it has expired")
            if upload.media_id is None:
                raise InvalidRequest("this upload has not been completed: send its file first")
            media_id = upload.media_id
        try:
            stored = await self.owned(account_id, media_id)
        except NotFound:
            raise InvalidRequest("there is no such file") from None
        _check_kind(stored, kinds)
        return MediaRef(media_id=stored.id)

    async def _linked(self, account_id: str, text: str) -> StoredMedia | None:
        """The account's file behind one of our own links, whatever host it names; we need not call ourselves."""
        try:
            url = URL(text)
        except ValueError:
            return None
        found = _OWN_LINK.search(url.path)
        if found is None or found.end() != len(url.path) or not self.signer.genuine(found[1], url.query):
            return None
        stored = await self.get(found[1])
        return stored if stored is not None and stored.account_id == account_id else None

    def _most_bytes(self, kinds: Collection[str]) -> int:
        return self.limits.max_image_bytes if set(kinds) == {"image"} else self.limits.max_video_bytes

    def _sweep(self, now: float) -> None:
        before = now - DAY
        self.store.sweep(before)
        for path in (self.scratch / "incoming").glob("*"):
            if path.stat().st_mtime < before:
                path.unlink(missing_ok=True)


class TaskFiles:
    """The files of one task, as its provider gets at them; implements `providers.base.Files`."""

    def __init__(self, account_id: str, task_id: str, library: Library, base_url: str) -> None:
        self._account_id = account_id
        self._task_id = task_id
        self._library = library
        self._base_url = base_url

    async def path(self, ref: MediaRef) -> Path:
        return await self._library.path(self._account_id, ref, task_id=self._task_id)

    async def address(self, ref: MediaRef, *, inline_bytes: int, https_only: bool = False) -> str:
        return await self._library.address(
            self._account_id,
            ref,
            task_id=self._task_id,
            base_url=self._base_url,
            inline_bytes=inline_bytes,
            https_only=https_only,
        )


def _examine(path: Path, limits: Media, expect: Collection[str]) -> Any:
    info = probe(path, limits=limits, expect=expect)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return info, path.stat().st_size, digest


def _check_kind(stored: StoredMedia, kinds: Collection[str]) -> None:
    kind = stored.content_type.partition("/")[0]
    if kind not in kinds:
        raise MediaRefused(f"the file must be {' or '.join(sorted(kinds))}; {stored.id} is {stored.content_type}")


def _keep(connection: Connection, stored: StoredMedia, task_id: str | None) -> StoredMedia:
    before = _find(connection, stored.id)
    if before is not None:
        return before
    columns = msgspec.structs.asdict(stored)
    columns["path"] = columns.pop("key")
    connection.execute(insert(tables.media).values(task_id=task_id, **columns))
    return stored


def _find(connection: Connection, media_id: str) -> StoredMedia | None:
    table = tables.media
    row = connection.execute(select(table).where(table.c.id == media_id, table.c.deleted_at.is_(None))).first()
    return None if row is None else _stored(row)


def _find_upload(connection: Connection, upload_id: str) -> Row[Any] | None:
    return connection.execute(select(tables.uploads).where(tables.uploads.c.id == upload_id)).first()


def _stored(row: Row[Any]) -> StoredMedia:
    values = row._mapping
    names = (name for name in StoredMedia.__struct_fields__ if name != "key")
    return StoredMedia(key=values["path"], **{name: values[name] for name in names})
