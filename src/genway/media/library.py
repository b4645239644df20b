"""The files of the accounts: what clients hand in, what comes out of tasks, and the way to both."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import time
from base64 import b64encode
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection
from contextlib import suppress
from pathlib import Path

import uuid_utils
from yarl import URL

from genway.config import Media
from genway.db import Database
from genway.errors import Conflict, GenwayError, InvalidRequest, MediaRefused, NotFound
from genway.media import records
from genway.media.address import check_text, origin
from genway.media.fetch import Fetcher
from genway.media.incoming import IncomingFile, on_thread, too_large, unavailable
from genway.media.inline import decode
from genway.media.links import PREFIX, LinkSigner
from genway.media.probe import KINDS, MediaInfo, probe, probe_async
from genway.media.records import MEDIA_ID, TEXT, StoredMedia, Upload, new_media_id
from genway.media.store import Store, remove_if_older
from genway.operations import MediaRef

DAY = 24 * 3600
LINKS_A_LIFETIME = 24
EXPIRE_AT_ONCE = 500
FORGOTTEN_DAYS = 7

ROLE_KINDS: dict[str, frozenset[str]] = {
    "video": frozenset({"video"}),
    "audio": frozenset({"audio"}),
    "image": frozenset({"image"}),
    "poster": frozenset({"image"}),
    "last_frame": frozenset({"image"}),
}

# What came out of a task is paid for: only what would endanger this machine is refused.
OUTPUT_LIMITS = Media(max_image_bytes=2**30, max_video_bytes=2**32, max_pixels=2**29, max_seconds=24 * 3600)

_OWN = re.compile(r"(?:genway|runway)://([a-zA-Z0-9_-]{1,64})", re.ASCII)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.ASCII | re.IGNORECASE)
_OWN_LINK = re.compile(rf".*{PREFIX}({MEDIA_ID.pattern})\.[a-z0-9]+", re.ASCII)
_SAFE_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)


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
        max_upload_bytes: int = 200 * 1024 * 1024,
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
        self._max_upload_bytes = max_upload_bytes

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
            if own or MEDIA_ID.fullmatch(text):
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
            task_id=task_id,
            role=role,
            key=_key(account_id, media_id, digest, info.extension),
            content_type=info.content_type,
            bytes=size,
            sha256=digest,
            width=info.width,
            height=info.height,
            seconds=info.seconds,
            created_at=self.clock(),
        )
        return await self._keep(stored, source)

    async def add_text(self, account_id: str, role: str, text: str) -> StoredMedia:
        """Keep a text, which is no medium: nothing but its owner reads it. Raises Unavailable."""
        media_id, content = new_media_id(), text.encode()
        digest = hashlib.sha256(content).hexdigest()
        stored = StoredMedia(
            id=media_id,
            account_id=account_id,
            task_id=None,
            role=role,
            key=_key(account_id, media_id, digest, "txt"),
            content_type=TEXT,
            bytes=len(content),
            sha256=digest,
            width=None,
            height=None,
            seconds=None,
            created_at=self.clock(),
        )

        async def whole() -> AsyncIterator[bytes]:
            yield content

        path = self.scratch / "incoming" / uuid_utils.uuid7().hex
        try:
            async with IncomingFile(path, len(content)) as file:
                await file.write_all(whole())
            return await self._keep(stored, path)
        finally:
            path.unlink(missing_ok=True)

    async def uploaded(self, account_id: str, role: str, limit: int, *, since: float = 0) -> list[StoredMedia]:
        """The account's files whose role begins so, oldest first. since: when they came at the earliest, in Unix seconds."""
        return await self.database.read(lambda connection: records.of_role(connection, account_id, role, limit, since))

    async def label(self, media_id: str, role: str) -> None:
        """Say what a file is for."""
        await self.database.write(lambda connection: records.set_role(connection, media_id, role))

    async def _keep(self, stored: StoredMedia, source: Path) -> StoredMedia:
        await self.store.put(source, stored.key, stored.content_type)
        kept = await self.database.write(lambda connection: records.keep(connection, stored))
        if kept.key != stored.key:
            await self.store.delete(stored.key)
        return kept

    async def take_result(
        self,
        *,
        account_id: str,
        task_id: str,
        media_id: str,
        role: str,
        url: str | None = None,
        path: Path | None = None,
        trusted: str = "",
    ) -> StoredMedia:
        """Keep one result of a task: at `url`, in it as a data URI, or at `path` on this machine.

        The same again, after a crash, is harmless.

        trusted: the operator's own address of the vendor, which may be private, and results there too.
        Raises FetchFailed, MediaRefused, AddressRefused, Unavailable, and FileNotFoundError where `path` is gone.
        """
        before = await self.get(media_id)
        if before is not None:
            return before
        if path is not None:
            return await self.add(account_id, task_id, role, path, media_id=media_id)
        fetched = self.folder(task_id) / f"partial-{uuid_utils.uuid7().hex}"
        try:
            if url is not None and url.startswith("data:"):
                data = await asyncio.to_thread(decode, url, OUTPUT_LIMITS.max_image_bytes)
                await asyncio.to_thread(fetched.write_bytes, data)
            else:
                await self.fetcher.fetch(
                    url or "",
                    fetched,
                    max_bytes=OUTPUT_LIMITS.max_video_bytes,
                    accept=ROLE_KINDS.get(role, KINDS),
                    trusted_origins=frozenset({origin(trusted)} if trusted else ()),
                )
            return await self.add(account_id, task_id, role, fetched, media_id=media_id)
        finally:
            fetched.unlink(missing_ok=True)

    async def get(self, media_id: str) -> StoredMedia | None:
        """The file's row, whoever it belongs to, unless it is deleted."""
        return await self.database.read(lambda connection: records.find(connection, media_id))

    async def owned(self, account_id: str, media_id: str) -> StoredMedia:
        """The account's file. Raises NotFound for an unknown one and for somebody else's alike."""
        stored = await self.get(media_id)
        if stored is None or stored.account_id != account_id:
            raise NotFound("there is no such file")
        return stored

    def url(self, base_url: str, stored: StoredMedia, now: float | None = None) -> str:
        """A signed link that works as long as the settings say, and a little longer."""
        begin = self.clock() if now is None else now
        expires_at = int(begin) + self._link_seconds
        return self.link(base_url, stored.id, stored.extension, account_id=stored.account_id, expires_at=expires_at)

    def link(self, base_url: str, media_id: str, extension: str, *, account_id: str, expires_at: int) -> str:
        """A signed link that works at least until `expires_at`.

        The time is rounded up, so that answers and callbacks which name the same file for a while name the same link.
        """
        step = max(1, self._link_seconds // LINKS_A_LIFETIME)
        until = -(-expires_at // step) * step
        return base_url.rstrip("/") + self.signer.path(media_id, extension, account_id=account_id, expires_at=until)

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
                await probe_async(present, limits=self.limits, expect=kinds)
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
                info = await probe_async(partial, limits=self.limits, expect=kinds)
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
            content_type = (await probe_async(path, limits=OUTPUT_LIMITS)).content_type
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
        folder = self._folder(task_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unavailable(error) from error
        return folder

    def release(self, task_id: str) -> None:
        """Remove the task's folder, once it has ended."""
        shutil.rmtree(self._folder(task_id), ignore_errors=True)

    async def expire(self, now: float | None = None) -> int:
        """Delete files older than `keep_days`, old uploads, and what crashes left behind. How many files went."""
        now = self.clock() if now is None else now
        await on_thread(lambda: self._sweep(now))
        gone = 0
        # A day longer, for the tasks that began with it.
        for upload in await self.database.read(lambda c: records.uploads_expired_before(c, now - DAY, EXPIRE_AT_ONCE)):
            if upload.media_id is not None:
                gone += await self.remove(upload.media_id, now)
            await self.database.write(lambda c, upload=upload: records.delete_upload(c, upload.id))  # type: ignore[misc]
        if self._keep_days:
            before = now - self._keep_days * DAY
            for media_id in await self.database.read(lambda c: records.older_than(c, before, EXPIRE_AT_ONCE)):
                gone += await self.remove(media_id, now)
        return gone

    async def remove(self, media_id: str, now: float | None = None) -> bool:
        """Delete a file, then say so in its row: after a crash in between, it is deleted once more."""
        stored = await self.get(media_id)
        if stored is None:
            return False
        await self.store.delete(stored.key)
        at = self.clock() if now is None else now
        await self.database.write(lambda connection: records.mark_deleted(connection, media_id, at))
        return True

    async def create_upload(self, account_id: str, filename: str) -> Upload:
        """Reserve a place for one file, good for 24 hours.

        Who sends the file may have no key: let the address carry `signer.sign(upload.id, …)`, and verify it.
        """
        now = self.clock()
        upload = Upload(f"upl_{uuid_utils.uuid7().hex}", account_id, filename[:255], None, now, now + DAY)
        await self.database.write(lambda connection: records.add_upload(connection, upload))
        return upload

    async def upload(self, upload_id: str) -> Upload:
        """The upload, whoever it belongs to. Raises NotFound where there is none, or it has expired."""
        upload = await self.database.read(lambda connection: records.find_upload(connection, upload_id))
        if upload is None or upload.expires_at <= self.clock():
            raise NotFound("there is no such upload, or it has expired")
        return upload

    async def put_upload(self, upload_id: str, chunks: AsyncIterable[bytes]) -> StoredMedia:
        """Take an upload's file as it arrives. Raises NotFound, Conflict for a second file, MediaRefused, Unavailable."""
        upload = await self.upload(upload_id)
        if upload.media_id is not None:
            raise Conflict("this upload has its file already; create another")
        limits = Media(
            max_image_bytes=self._max_upload_bytes,
            max_video_bytes=self._max_upload_bytes,
            max_pixels=self.limits.max_pixels,
            max_seconds=self.limits.max_seconds,
        )
        stored = await self.receive(upload.account_id, chunks, max_bytes=self._max_upload_bytes, role="upload", limits=limits)
        try:
            await self.database.write(lambda connection: records.fill_upload(connection, upload_id, stored.id))
        except Conflict:
            await self.remove(stored.id)
            raise
        return stored

    async def finish_upload(self, account_id: str, upload_id: str) -> StoredMedia:
        """The file of a completed upload. Raises NotFound, also for somebody else's; Conflict while no file has come."""
        upload = await self.upload(upload_id)
        if upload.account_id != account_id:
            raise NotFound("there is no such upload, or it has expired")
        if upload.media_id is None:
            raise Conflict("this upload has not been completed: send its file first")
        return await self.owned(account_id, upload.media_id)

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
        try:
            if MEDIA_ID.fullmatch(name):
                stored = await self.owned(account_id, name)
            else:
                stored = await self.finish_upload(account_id, name)
        except (NotFound, Conflict) as error:
            raise InvalidRequest(error.message) from None
        _check_kind(stored, kinds)
        return MediaRef(media_id=stored.id)

    async def _linked(self, account_id: str, text: str) -> StoredMedia | None:
        """The account's file behind one of our own links, whatever host it names; we need not call ourselves."""
        try:
            url = URL(text)
        except ValueError:
            return None
        found = _OWN_LINK.fullmatch(url.path)
        if found is None or not self.signer.genuine(found[1], url.query, account_id=account_id):
            return None
        return await self.owned(account_id, found[1])

    def _most_bytes(self, kinds: Collection[str]) -> int:
        return self.limits.max_image_bytes if set(kinds) == {"image"} else self.limits.max_video_bytes

    def _folder(self, task_id: str) -> Path:
        if not _SAFE_NAME.fullmatch(task_id):
            raise ValueError(f"not a task id: {task_id!r}")
        return self.scratch / "tasks" / task_id

    def _sweep(self, now: float) -> None:
        """Remove what crashes left in scratch; other processes may be at it too."""
        self.store.sweep(now - DAY)
        for path in (self.scratch / "incoming").glob("*"):
            remove_if_older(path, now - DAY)
        for folder in (self.scratch / "tasks").glob("*"):
            with suppress(FileNotFoundError):
                if folder.stat().st_mtime < now - FORGOTTEN_DAYS * DAY:
                    shutil.rmtree(folder, ignore_errors=True)


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


def _key(account_id: str, media_id: str, digest: str, extension: str) -> str:
    """Where a file is in the store.

    The time in the id spreads files over folders; the digest keeps two tries that differ from being mixed up.
    """
    return f"{account_id}/{media_id[4:9]}/{media_id}-{digest[:16]}.{extension}"


def _examine(path: Path, limits: Media, expect: Collection[str]) -> tuple[MediaInfo, int, str]:
    info = probe(path, limits=limits, expect=expect)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return info, path.stat().st_size, digest


def _check_kind(stored: StoredMedia, kinds: Collection[str]) -> None:
    kind = stored.content_type.partition("/")[0]
    if kind not in kinds:
        raise MediaRefused(f"the file must be {' or '.join(sorted(kinds))}; {stored.id} is {stored.content_type}")
