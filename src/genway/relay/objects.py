"""What vendors keep for accounts under ids of their own, as stored. All functions work inside the caller's transaction.

A thing of the sort `unmade` is a batch that is on its way to the vendor: its deposit is taken, its id is not known yet.

An id belongs to the account that made the thing, in the mode it was made in. To anybody else it does not exist.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Connection, Row, and_, bindparam, or_, select, update
from sqlalchemy import delete as delete_row
from sqlalchemy.dialects import postgresql, sqlite

from genway.billing import deposits
from genway.db.tables import objects

Sort = Literal[
    "responses", "items", "conversations", "files", "message_files", "batches", "message_batches", "threads", "unmade"
]

NAMES: Final[dict[str, str]] = {
    "responses": "response",
    "items": "item",
    "conversations": "conversation",
    "files": "file",
    "message_files": "file",
    "batches": "batch",
    "message_batches": "message batch",
    "threads": "thread",
    "unmade": "batch",
}
FIRST_WAIT = 5.0
LONGEST_WAIT = 300.0
GROWTH = 1.5


class About(msgspec.Struct, omit_defaults=True):
    """What must be known of a thing besides what its vendor tells.

    purpose: of a file. Of work that goes on at the vendor: call, the kind of call it is made of; models, as the client named
    them; tokens, how many may have gone in; request_id; reference, of its deposit; asked, how often its vendor was asked.
    """

    purpose: str = ""
    call: str = ""
    models: tuple[str, ...] = ()
    tokens: int = 0
    request_id: str = ""
    reference: str = ""
    asked: int = 0


class Kept(msgspec.Struct, kw_only=True):
    """One thing; the members are the columns of the table `objects`. about: `About` as JSON."""

    account_id: str
    mode: str
    id: str
    key_id: str
    kind: Sort
    channel_id: str
    credential: str = ""
    model: str = ""
    body: str = ""
    about: str = "{}"
    held: int = 0
    created_at: float = 0
    next_at: float | None = None
    ended_at: float | None = None
    deleted_at: float | None = None

    @property
    def details(self) -> About:
        return msgspec.json.decode(self.about, type=About)

    @property
    def open(self) -> bool:
        """Whether it is work that goes on and is not charged yet."""
        return self.next_at is not None and self.ended_at is None


_KEY = ("account_id", "mode", "id")
_same = and_(objects.c.account_id == bindparam("a"), objects.c.mode == bindparam("m"), objects.c.id == bindparam("i"))
_known = and_(
    objects.c.account_id == bindparam("a"),
    objects.c.mode == bindparam("m"),
    objects.c.id.in_(bindparam("ids", expanding=True)),
    objects.c.deleted_at.is_(None),
)


@cache
def _put(dialect: str) -> Any:
    """A thing with the same id takes the place of the one before: it is the vendor who gives it anew."""
    insert: Any = postgresql.insert(objects) if dialect == "postgresql" else sqlite.insert(objects)
    changed = {column.name: insert.excluded[column.name] for column in objects.c if column.name not in _KEY}
    return insert.on_conflict_do_update(index_elements=_KEY, set_=changed)


def put(connection: Connection, rows: Sequence[Kept]) -> None:
    """Record whose these are."""
    if rows:
        connection.execute(_put(connection.dialect.name), [msgspec.structs.asdict(row) for row in rows])


def find(connection: Connection, account_id: str, mode: str, ids: Collection[str]) -> dict[str, Kept]:
    """Those of the ids that are the account's, by id."""
    rows = connection.execute(select(objects).where(_known), {"a": account_id, "m": mode, "ids": list(ids)})
    return {row.id: _kept(row) for row in rows}


def page(
    connection: Connection,
    account_id: str,
    mode: str,
    kind: Sort,
    *,
    limit: int,
    after: str = "",
    ascending: bool = False,
    purpose: str = "",
) -> tuple[list[Kept], bool]:
    """An account's things of one kind, newest first unless `ascending`, and whether there are more.

    after: the id that the page begins behind; one that is not known begins at the start.
    """
    mine = and_(objects.c.account_id == account_id, objects.c.mode == mode)
    query = select(objects).where(mine, objects.c.kind == kind, objects.c.deleted_at.is_(None))
    if purpose:
        wanted = msgspec.json.encode(About(purpose=purpose)).decode()[1:-1]
        query = query.where(objects.c.about.contains(wanted, autoescape=True))
    begin = (
        connection.execute(select(objects.c.created_at).where(mine, objects.c.id == after)).scalar_one_or_none()
        if after
        else None
    )
    at, name = objects.c.created_at, objects.c.id
    if begin is not None:
        behind = (
            or_(at > begin, and_(at == begin, name > after)) if ascending else or_(at < begin, and_(at == begin, name < after))
        )
        query = query.where(behind)
    query = query.order_by(at, name) if ascending else query.order_by(at.desc(), name.desc())
    rows = [_kept(row) for row in connection.execute(query.limit(limit + 1))]
    return rows[:limit], len(rows) > limit


def tell(connection: Connection, kept: Kept, body: str) -> None:
    """What the vendor last said of it."""
    connection.execute(update(objects).where(_same).values(body=body), _where(kept))


def delete(connection: Connection, kept: Kept, now: float) -> None:
    """It is gone, for its account."""
    connection.execute(update(objects).where(_same).values(deleted_at=now, next_at=None), _where(kept))


def replace(connection: Connection, old: Kept, new: Kept) -> None:
    """What was on its way to the vendor has come to be."""
    connection.execute(delete_row(objects).where(_same), _where(old))
    put(connection, [new])


def any_due(connection: Connection, now: float) -> bool:
    """Whether a vendor is to be asked about anything."""
    return connection.execute(select(objects.c.id).where(objects.c.next_at <= now).limit(1)).first() is not None


def due(connection: Connection, now: float, limit: int) -> list[Kept]:
    """Work whose vendor is to be asked, and that nobody else asks about: each is claimed until its next turn, which comes
    later from time to time."""
    found = []
    query = select(objects).where(objects.c.next_at <= now).order_by(objects.c.next_at).limit(limit)
    for row in connection.execute(query).all():
        kept = _kept(row)
        details = kept.details
        wait = min(FIRST_WAIT * GROWTH ** min(details.asked, 20), LONGEST_WAIT)
        details.asked += 1
        claim = (
            update(objects)
            .where(_same, objects.c.next_at == kept.next_at)
            .values(next_at=now + wait, about=msgspec.json.encode(details).decode())
        )
        if connection.execute(claim, _where(kept)).rowcount:
            found.append(kept)
    return found


def soon(connection: Connection, kept: Kept, now: float) -> None:
    """Its vendor is to be asked at once."""
    connection.execute(update(objects).where(_same, objects.c.next_at.is_not(None)).values(next_at=now), _where(kept))


def end(connection: Connection, kept: Kept, now: float, body: str) -> bool:
    """It has ended, and its deposit is given back; False where somebody else has seen that before."""
    ended = (
        update(objects)
        .where(_same, objects.c.ended_at.is_(None))
        .values(ended_at=now, next_at=None, **({"body": body} if body else {}))
    )
    if not connection.execute(ended, _where(kept)).rowcount:
        return False
    if kept.held:
        deposits.give_back(connection, key_id=kept.key_id, reference=kept.details.reference, now=now)
    return True


def give_up(connection: Connection, kept: Kept, now: float) -> None:
    """The work never began: its deposit is given back."""
    if end(connection, kept, now, ""):
        connection.execute(delete_row(objects).where(_same), _where(kept))


def _where(kept: Kept) -> dict[str, str]:
    return {"a": kept.account_id, "m": kept.mode, "i": kept.id}


def _kept(row: Row[Any]) -> Kept:
    return msgspec.convert(row._mapping, Kept)
