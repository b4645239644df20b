"""The rows of files and uploads. The functions take a connection and run inside somebody's read or write."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import uuid_utils
from sqlalchemy import Connection, Row, delete, insert, select, update

from genway.db import tables
from genway.errors import Conflict
from genway.media.probe import EXTENSIONS

TEXT = "text/plain"
MEDIA_ID = re.compile(r"med_[0-9a-f]{32,40}", re.ASCII)


class StoredMedia(msgspec.Struct, frozen=True):
    """A file in our store. seconds: of a clip or sound. width, height: in pixels, of a picture or clip.

    key: where it is in the store; changes hands with nobody.
    """

    id: str
    account_id: str
    task_id: str | None
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
        return "txt" if self.content_type == TEXT else EXTENSIONS.get(self.content_type, "bin")

    @property
    def file_name(self) -> str:
        return f"{self.id}.{self.extension}"


class Upload(msgspec.Struct, frozen=True):
    """A place that an account has reserved for one file. media_id: set once the file has come."""

    id: str
    account_id: str
    filename: str
    media_id: str | None
    created_at: float
    expires_at: float


def new_media_id() -> str:
    """A fresh media id; ids sort by the time they were made."""
    return f"med_{uuid_utils.uuid7().hex}"


def find(connection: Connection, media_id: str) -> StoredMedia | None:
    """The file, unless it is deleted."""
    table = tables.media
    row = connection.execute(select(table).where(table.c.id == media_id, table.c.deleted_at.is_(None))).first()
    return None if row is None else _stored(row)


def keep(connection: Connection, stored: StoredMedia) -> StoredMedia:
    """Add the file's row, or answer with the one that is there under this id already."""
    before = find(connection, stored.id)
    if before is not None:
        return before
    columns = msgspec.structs.asdict(stored)
    connection.execute(insert(tables.media).values(path=columns.pop("key"), **columns))
    return stored


def of_role(connection: Connection, account_id: str, role: str, limit: int, since: float) -> list[StoredMedia]:
    """The account's files whose role begins so, oldest first. since: when they came at the earliest, in Unix seconds."""
    table = tables.media
    found = select(table).where(
        table.c.account_id == account_id,
        table.c.role.startswith(role, autoescape=True),
        table.c.deleted_at.is_(None),
        table.c.created_at >= since,
    )
    return [_stored(row) for row in connection.execute(found.order_by(table.c.created_at, table.c.id).limit(limit))]


def set_role(connection: Connection, media_id: str, role: str) -> None:
    connection.execute(update(tables.media).where(tables.media.c.id == media_id).values(role=role))


def older_than(connection: Connection, created_before: float, limit: int) -> list[str]:
    """The ids of files that are there since before then, oldest first."""
    table = tables.media
    old = select(table.c.id).where(table.c.deleted_at.is_(None), table.c.created_at < created_before)
    return list(connection.scalars(old.order_by(table.c.created_at).limit(limit)))


def mark_deleted(connection: Connection, media_id: str, now: float) -> None:
    connection.execute(update(tables.media).where(tables.media.c.id == media_id).values(deleted_at=now))


def add_upload(connection: Connection, upload: Upload) -> None:
    connection.execute(insert(tables.uploads).values(**msgspec.structs.asdict(upload)))


def find_upload(connection: Connection, upload_id: str) -> Upload | None:
    row = connection.execute(select(tables.uploads).where(tables.uploads.c.id == upload_id)).first()
    return None if row is None else Upload(**row._mapping)


def fill_upload(connection: Connection, upload_id: str, media_id: str) -> None:
    """Say which file came. Raises Conflict where another came first."""
    table = tables.uploads
    empty = update(table).where(table.c.id == upload_id, table.c.media_id.is_(None)).values(media_id=media_id)
    if connection.execute(empty).rowcount != 1:
        raise Conflict("this upload has its file already; create another")


def uploads_expired_before(connection: Connection, moment: float, limit: int) -> list[Upload]:
    table = tables.uploads
    rows = connection.execute(select(table).where(table.c.expires_at < moment).order_by(table.c.expires_at).limit(limit))
    return [Upload(**row._mapping) for row in rows]


def delete_upload(connection: Connection, upload_id: str) -> None:
    connection.execute(delete(tables.uploads).where(tables.uploads.c.id == upload_id))


def _stored(row: Row[Any]) -> StoredMedia:
    values = dict(row._mapping)
    return StoredMedia(key=values["path"], **{name: values[name] for name in StoredMedia.__struct_fields__ if name != "key"})
