"""What vendors keep for accounts under ids of their own, as stored. All functions work inside the caller's transaction.

A thing of the sort `unmade` is a batch that is on its way to the vendor: its deposit is taken, its id is not known yet.

An id belongs to the account that made the thing, in the mode it was made in. To anybody else it does not exist.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Connection, Row, and_, bindparam, or_, select, update
from sqlalchemy import delete as delete_row
from sqlalchemy.dialects import postgresql, sqlite

from genway.billing import deposits
from genway.db.tables import accounts, objects

Sort = Literal[
    "responses", "items", "conversations", "files", "message_files", "batches", "message_batches", "threads", "unmade",
    "containers", "message_containers", "audio", "vector_stores", "prompts", "skills", "voices", "tunnels",
]  # fmt: skip

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
    "containers": "container",
    "message_containers": "container",
    "audio": "audio",
    "vector_stores": "vector store",
    "prompts": "prompt",
    "skills": "skill",
    "voices": "voice",
    "tunnels": "tunnel",
}
OPERATORS: Final = frozenset({"vector_stores", "prompts", "skills", "voices", "tunnels"})
"""Sorts that nobody can make here: the operator makes them at the vendor, and says on the channel which may be named."""

FIRST_WAIT = 5.0
LONGEST_WAIT = 300.0
GROWTH = 1.5


class About(msgspec.Struct, omit_defaults=True):
    """What must be known of a thing besides what its vendor tells.

    purpose: of a file; batch: whose results it holds. Of work that goes on at the vendor: call, the kind of call it is made
    of; models, as the client named them; tokens, how many may have gone in; file: the one that a batch is made of; request_id;
    reference, of its deposit; asked, how often its vendor was asked. until: when an `unmade` batch is given up.
    """

    purpose: str = ""
    batch: str = ""
    call: str = ""
    models: tuple[str, ...] = ()
    tokens: int = 0
    file: str = ""
    request_id: str = ""
    reference: str = ""
    asked: int = 0
    until: float = 0


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
_closed = or_(objects.c.next_at.is_(None), objects.c.ended_at.is_not(None))
_any_of = and_(
    objects.c.account_id == bindparam("a"),
    objects.c.mode == bindparam("m"),
    objects.c.id.in_(bindparam("ids", expanding=True)),
)
_found = select(objects).where(_any_of, objects.c.deleted_at.is_(None))
_known = select(objects.c.id).where(_any_of)
AT_ONCE = 500  # ids in one statement


@cache
def _put(dialect: str) -> Any:
    """A thing with the same id takes the place of the one before: it is the vendor who gives it anew.

    But some ids of items are the client's own choice: none of them takes the place of another sort of thing, and nothing that
    of work which is not paid for yet.
    """
    insert: Any = postgresql.insert(objects) if dialect == "postgresql" else sqlite.insert(objects)
    changed = {column.name: insert.excluded[column.name] for column in objects.c if column.name not in _KEY}
    replaceable = and_(
        or_(objects.c.kind == insert.excluded.kind, objects.c.deleted_at.is_not(None)),
        _closed,
    )
    return insert.on_conflict_do_update(index_elements=_KEY, set_=changed, where=replaceable)


def put(connection: Connection, rows: Sequence[Kept]) -> None:
    """Record whose these are."""
    if rows:
        connection.execute(_put(connection.dialect.name), [msgspec.structs.asdict(row) for row in rows])


def find(connection: Connection, account_id: str, mode: str, ids: Collection[str]) -> dict[str, Kept]:
    """Those of the ids that are the account's, by id."""
    return {row.id: _kept(row) for row in _rows(connection, _found, account_id, mode, ids)}


def known(connection: Connection, account_id: str, mode: str, ids: Collection[str]) -> set[str]:
    """Those of the ids that are the account's or were, until they were deleted."""
    return {row.id for row in _rows(connection, _known, account_id, mode, ids)}


def _rows(connection: Connection, query: Any, account_id: str, mode: str, ids: Collection[str]) -> Iterator[Row[Any]]:
    wanted = [name for name in ids if "\0" not in name]  # which PostgreSQL cannot even look for
    for start in range(0, len(wanted), AT_ONCE):
        yield from connection.execute(query, {"a": account_id, "m": mode, "ids": wanted[start : start + AT_ONCE]})


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
        if after and "\0" not in after
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


def replace(connection: Connection, unmade: Kept, made: Kept) -> bool:
    """What was on its way to the vendor has come to be; False where that is on record already."""
    if known(connection, made.account_id, made.mode, [made.id]):
        return False
    if not connection.execute(delete_row(objects).where(_same), _where(unmade)).rowcount:
        made = msgspec.structs.replace(made, held=0)  # it was given up, and its deposit given back
    put(connection, [made])
    return True


def doubt(connection: Connection, unmade: Kept, now: float, until: float) -> None:
    """The answer about it was lost: it is looked for soon, and given up after `until`."""
    about = msgspec.structs.replace(unmade.details, until=until)
    values = {"about": msgspec.json.encode(about).decode(), "next_at": now + FIRST_WAIT}
    connection.execute(update(objects).where(_same).values(values), _where(unmade))


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
        .returning(objects.c.held, objects.c.key_id, objects.c.about)
    )
    row = connection.execute(ended, _where(kept)).one_or_none()
    if row is None:
        return False
    if row.held:  # what is on record of it: there may have been none for what the caller had in mind
        reference = msgspec.json.decode(row.about, type=About).reference
        deposits.give_back(connection, key_id=row.key_id, reference=reference, now=now)
    return True


def give_up(connection: Connection, kept: Kept, now: float) -> None:
    """The work never began: its deposit is given back."""
    if end(connection, kept, now, ""):
        connection.execute(delete_row(objects).where(_same), _where(kept))


def old(connection: Connection, kinds: Collection[Sort], before: float, limit: int) -> list[Kept]:
    """Things of these kinds that were made before and are not work that goes on or is not paid for yet; and whatever else was
    made before and is deleted."""
    which = or_(objects.c.kind.in_(kinds), objects.c.deleted_at.is_not(None))
    query = _made_before(before).where(objects.c.kind.in_(NAMES), which)
    return [_kept(row) for row in connection.execute(query.limit(limit))]


def old_files(connection: Connection, before: float, limit: int, past: int) -> list[Kept]:
    """Files that were made before, the oldest first, without the first so many (`past`)."""
    query = _made_before(before).where(objects.c.kind.in_(("files", "message_files")), objects.c.deleted_at.is_(None))
    query = query.order_by(objects.c.created_at, objects.c.id)
    return [_kept(row) for row in connection.execute(query.limit(limit).offset(past))]


def _made_before(before: float) -> Any:
    # Of each account in turn, since that is how they are indexed.
    each = objects.c.account_id.in_(select(accounts.c.id))
    return select(objects).where(each, objects.c.created_at < before, _closed)


def needed(connection: Connection) -> set[str]:
    """The ids of work that goes on or is not paid for yet, and of the files it is made of."""
    rows = connection.execute(select(objects.c.id, objects.c.about).where(objects.c.next_at.is_not(None)))
    return {name for row in rows for name in (row.id, msgspec.json.decode(row.about, type=About).file) if name}


def forget(connection: Connection, rows: Sequence[Kept]) -> None:
    """Nothing is on record of them any more, unless they are work that goes on by now."""
    if rows:
        connection.execute(delete_row(objects).where(_same, _closed), [_where(kept) for kept in rows])


def _where(kept: Kept) -> dict[str, str]:
    return {"a": kept.account_id, "m": kept.mode, "i": kept.id}


def _kept(row: Row[Any]) -> Kept:
    return msgspec.convert(row._mapping, Kept)
